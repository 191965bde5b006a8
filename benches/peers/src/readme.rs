//! The README's tables, made from the files of runs.

use std::path::Path;

use crate::Outcome;
use crate::figures::GROUPS;
use crate::number::{count, number};
use crate::results::{Results, Size};
use crate::table::{about, columns, title, wins};

const BEGIN: &str = "<!-- figures: begin (made by benches/peers, do not edit) -->\n";
const END: &str = "<!-- figures: end -->\n";

/// The figures that the README shows; the file has them all.
const SHOWN: &[&str] = &[
    "bulk.appended",
    "bulk.closed",
    "bulk.cpu",
    "durable.p50",
    "durable.beside",
    "durable.one",
    "durable.many",
    "single.one",
    "single.many",
    "latency.rate",
    "latency.p50",
    "latency.p99",
    "latency.p99.9",
    "query.trace",
    "segments.trace",
    "query.events_of_run",
    "query.last_failed",
    "query.count_by_status",
    "query.scan",
    "query.errors_of_project",
    "query.newest",
    "clean.open",
    "kill.open",
    "recover.rate",
    "clean.anon",
    "clean.anon_asked",
    "disk.bytes",
    "packed.bytes",
    "packed.trace",
    "drop.time",
];

/// Puts the tables into the README between its two marks.
pub(crate) fn write(results: &[Results], readme: &Path) -> Outcome {
    let text = std::fs::read_to_string(readme)?;
    std::fs::write(readme, with_table(&text, results)?)?;
    Ok(())
}

/// Fails when the README has other tables.
pub(crate) fn check(results: &[Results], readme: &Path) -> Outcome {
    let text = std::fs::read_to_string(readme)?;
    if with_table(&text, results)? != text {
        return Err(format!(
            "{} has other tables than these results: run the command `readme`",
            readme.display()
        )
        .into());
    }
    Ok(())
}

fn with_table(text: &str, results: &[Results]) -> Outcome<String> {
    let missing = || format!("the README lacks the line {BEGIN:?} or {END:?}");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", markdown(results)))
}

/// All tables. Those after the first are folded away.
fn markdown(results: &[Results]) -> String {
    let mut out = String::new();
    for (number, results) in results.iter().enumerate() {
        let sizes: Vec<_> = results.sizes.iter().map(|size| count(size.operations)).collect();
        if number > 0 {
            let sizes = sizes.join(" and ");
            out += &format!("\n<details>\n<summary>At {sizes} operations</summary>\n\n");
        }
        out += &tables(results);
        if number > 0 {
            out += "\n</details>\n";
        }
    }
    out
}

fn tables(results: &Results) -> String {
    let mut out = format!("{}.\n", about(results));
    for size in &results.sizes {
        out += &figures(results, size);
        out += &goals(size);
        out += &peers_win(results, size);
    }
    out
}

fn figures(results: &Results, size: &Size) -> String {
    let engines = columns(results);
    let heads: String = engines.iter().map(|name| format!(" {} |", title(name))).collect();
    let mut out = format!("\n| {} operations |{heads}\n|---|", count(size.operations));
    out += &"---:|".repeat(engines.len());
    out.push('\n');
    for (group, all) in GROUPS {
        let group = group.split(':').next().unwrap_or(group);
        for figure in all.iter().filter(|figure| SHOWN.contains(&figure.key) && size.has(figure)) {
            let unit = if figure.unit.is_empty() { "" } else { ", " };
            let cell = |name: &&str| {
                let value = size.get(figure.key, name).map_or("–".into(), number);
                format!(" {value} |")
            };
            let cells: String = engines.iter().map(cell).collect();
            out += &format!("| {group}: {}{unit}{} |{cells}\n", figure.name, figure.unit);
        }
    }
    out
}

fn goals(size: &Size) -> String {
    if size.goals.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "\n| goal at {} operations | bound | reached | |\n|---|---:|---:|---|\n",
        count(size.operations)
    );
    for goal in &size.goals {
        let met = if goal.met { "met" } else { "missed" };
        out += &format!("| {} | {} | {} | {met} |\n", goal.goal, goal.bound, goal.reached);
    }
    out
}

fn peers_win(results: &Results, size: &Size) -> String {
    let wins = wins(&columns(results), size);
    if wins.is_empty() {
        return format!("\nAt {} operations no peer wins anywhere.\n", count(size.operations));
    }
    let mut out = format!("\nWhere a peer wins at {} operations:\n\n", count(size.operations));
    for win in wins {
        out += &format!("- {win}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Measured;

    fn results() -> Results {
        let machine = crate::machine::Machine {
            cpu: "a CPU".to_owned(),
            cores: 2,
            memory_gib: 24,
            kernel: "Linux".to_owned(),
            file_system: "ext4".to_owned(),
            load: "0.1".to_owned(),
        };
        let engine = |name: &str| crate::results::EngineFacts {
            name: name.to_owned(),
            version: "1".to_owned(),
            settings: String::new(),
        };
        let mut size = Size { operations: 1_000_000, ..Size::default() };
        let mut set = |key: &str, engine: &str, median: f64| {
            let measured = Measured { median, rounds: 1, min: median, max: median };
            size.figures.entry(key.to_owned()).or_default().insert(engine.to_owned(), measured);
        };
        set("bulk.appended", "runledger", 3e6);
        set("bulk.appended", "floor", 4e6);
        set("bulk.appended", "redb", 1e5);
        set("query.trace", "runledger", 9.0);
        set("query.trace", "redb", 6.0);
        size.goals = crate::goals::verdicts(&size);
        Results {
            about: String::new(),
            date: "2026-11-21".to_owned(),
            machine,
            engines: vec![engine("floor"), engine("redb"), engine("runledger")],
            sizes: vec![size],
        }
    }

    #[test]
    fn the_table_tells_goals_and_where_a_peer_wins() {
        let text = markdown(&[results(), results()]);
        assert!(text.contains("| 1,000,000 operations | runledger | floor | redb |\n"), "{text}");
        assert!(text.contains("/s | 3.00 M | 4.00 M | 100 k |\n"), "{text}");
        assert!(
            text.contains("| bulk append against the floor | ≥ 0.6 × | 0.75 × | met |"),
            "{text}"
        );
        assert!(text.contains("| ≥ 10 × | 30.00 × | met |"), "{text}");
        assert!(text.contains("records of a trace, µs: redb 6.00; runledger 9.00"), "{text}");
        assert!(!text.contains("SQLite"), "{text}");
        let (first, second) = text.split_once("<details>").unwrap();
        assert!(first.contains("0.75 ×") && second.contains("0.75 ×"), "{text}");
        assert!(second.contains("<summary>At 1,000,000 operations</summary>"), "{text}");
        assert!(second.ends_with("</details>\n"), "{text}");
    }

    #[test]
    fn the_table_goes_between_its_marks_and_nowhere_else() {
        let results = [results()];
        let readme = format!("before\n{BEGIN}old\n{END}after\n");
        let written = with_table(&readme, &results).unwrap();
        assert!(written.starts_with(&format!("before\n{BEGIN}2026-11-21")), "{written}");
        assert!(written.ends_with(&format!("{END}after\n")), "{written}");
        assert!(!written.contains("old"), "{written}");
        assert_eq!(with_table(&written, &results).unwrap(), written);
        with_table("no marks", &results).unwrap_err();
    }
}
