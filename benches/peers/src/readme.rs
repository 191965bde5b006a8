//! The README's table, made from the file of a run.

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
    "drop.time",
];

/// Puts the table into the README between its two marks.
pub(crate) fn write(results: &Results, readme: &Path) -> Outcome {
    let text = std::fs::read_to_string(readme)?;
    std::fs::write(readme, with_table(&text, results)?)?;
    Ok(())
}

/// Fails when the README has another table.
pub(crate) fn check(results: &Results, readme: &Path) -> Outcome {
    let text = std::fs::read_to_string(readme)?;
    if with_table(&text, results)? != text {
        return Err(format!(
            "{} has another table than these results: run the command `readme`",
            readme.display()
        )
        .into());
    }
    Ok(())
}

fn with_table(text: &str, results: &Results) -> Outcome<String> {
    let missing = || format!("the README lacks the line {BEGIN:?} or {END:?}");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", markdown(results)))
}

fn markdown(results: &Results) -> String {
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
