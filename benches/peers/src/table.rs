//! The table, for a terminal.

use crate::figures::{Better, Figure, GROUPS};
use crate::number::{count, number};
use crate::results::{Results, Size};

/// Width of the column of names, and of each engine's.
const NAME: usize = 38;
const CELL: usize = 9;
/// How an engine is written where there is room for its name.
const TITLES: &[(&str, &str)] = &[
    ("runledger", "runledger"),
    ("floor", "floor"),
    ("sqlite", "SQLite"),
    ("lmdb", "LMDB"),
    ("redb", "redb"),
    ("fjall", "fjall"),
];

/// Our column.
pub(crate) const OURS: &str = "runledger";

pub(crate) fn title(engine: &str) -> &str {
    TITLES.iter().find(|(name, _)| *name == engine).map_or(engine, |(_, title)| title)
}

/// The engines of a result in the order of columns: ours first, then the floor.
pub(crate) fn columns(results: &Results) -> Vec<&str> {
    let known = TITLES.iter().map(|(name, _)| *name);
    known.filter(|name| results.engines.iter().any(|engine| engine.name == *name)).collect()
}

/// How many times better ours is than another: more than 1 where ours wins.
pub(crate) fn better_by(figure: &Figure, ours: f64, other: f64) -> Option<f64> {
    match figure.better {
        Better::Higher => Some(ours / other),
        Better::Lower if ours > 0.0 && other > 0.0 => Some(other / ours),
        _ => None,
    }
}

/// All that is to be said of a run.
pub(crate) fn table(results: &Results) -> String {
    let mut out = format!("{}\n\n", about(results));
    for engine in &results.engines {
        let name = format!("{} {}", title(&engine.name), engine.version);
        let text = format!("{}: {}", name.trim(), engine.settings);
        out += &wrap(&text, "    ");
    }
    for size in &results.sizes {
        out += &one_size(results, size);
    }
    out
}

/// When and on what.
pub(crate) fn about(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "{}: {} cores of {}, {} GiB, {}, {}, load {} at the start",
        results.date,
        machine.cores,
        machine.cpu,
        machine.memory_gib,
        machine.kernel,
        machine.file_system,
        machine.load
    )
}

fn one_size(results: &Results, size: &Size) -> String {
    let engines = columns(results);
    let mut out = format!(
        "\n=== {} operations, median of {} round(s); answers {}\n",
        count(size.operations),
        size.rounds,
        size.answers
    );
    for (group, figures) in GROUPS {
        let figures: Vec<&Figure> = figures.iter().filter(|figure| size.has(figure)).collect();
        if figures.is_empty() {
            continue;
        }
        out += &format!("\n{group}\n{}\n", line("", engines.iter().map(|name| title(name).into())));
        for figure in figures {
            out += &rows(size, &engines, figure);
        }
    }
    out + &goals(size) + &peers_win(&engines, size)
}

/// The values of a figure, and below it how many times better ours is.
fn rows(size: &Size, engines: &[&str], figure: &Figure) -> String {
    let name = match figure.unit {
        "" => figure.name.to_owned(),
        unit => format!("{}, {unit}", figure.name),
    };
    let value = |engine: &&str| size.get(figure.key, engine).map_or("-".into(), number);
    let mut out = line(&name, engines.iter().map(value)) + "\n";
    let Some(ours) = size.get(figure.key, OURS) else { return out };
    let times_text = |times: f64| match times {
        0.1.. => number(times) + " ×",
        _ => format!("{times:.3} ×"),
    };
    let times = |engine: &&str| match size.get(figure.key, engine) {
        Some(other) if *engine != OURS => {
            better_by(figure, ours, other).map_or(String::new(), times_text)
        }
        _ => String::new(),
    };
    let times: Vec<String> = engines.iter().map(times).collect();
    if times.iter().any(|times| !times.is_empty()) {
        out += line("    runledger is better by", times.into_iter()).trim_end();
        out.push('\n');
    }
    out
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!(" {cell:>CELL$}")).collect();
    format!("{name:<NAME$}{cells}")
}

fn goals(size: &Size) -> String {
    if size.goals.is_empty() {
        return String::new();
    }
    let mut out = String::from("\nGoals\n");
    for goal in &size.goals {
        let met = if goal.met { "met" } else { "missed" };
        out += &format!("{:<NAME$} {:>12} {:>12}  {met}\n", goal.goal, goal.bound, goal.reached);
    }
    out
}

/// A peer wins a figure when its median is better by this much; less than that is noise.
const WIN: f64 = 0.98;

/// The figures in which peers are better than ours, in words.
pub(crate) fn wins(engines: &[&str], size: &Size) -> Vec<String> {
    let mut wins = Vec::new();
    for (group, figures) in GROUPS {
        let group = group.split(':').next().unwrap_or(group);
        for figure in *figures {
            let Some(ours) = size.get(figure.key, OURS) else { continue };
            let win = |engine: &&str| {
                let other = size.get(figure.key, engine)?;
                let is_better = better_by(figure, ours, other)? < WIN;
                is_better.then(|| format!("{} {}", title(engine), number(other)))
            };
            let peers = engines.iter().filter(|name| **name != OURS && **name != "floor");
            let better: Vec<String> = peers.filter_map(win).collect();
            if !better.is_empty() {
                wins.push(format!(
                    "{group}: {}, {}: {}; runledger {}",
                    figure.name,
                    figure.unit,
                    better.join(", "),
                    number(ours)
                ));
            }
        }
    }
    wins
}

fn peers_win(engines: &[&str], size: &Size) -> String {
    let wins = wins(engines, size);
    let mut out = String::from("\nWhere a peer wins\n");
    if wins.is_empty() {
        out += "nowhere\n";
    }
    for win in wins {
        out += &wrap(&win, "    ");
    }
    out
}

/// Lines of at most a hundred characters.
fn wrap(text: &str, indent: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let len = word.chars().count() + 1;
        if width + len > 100 {
            out = out.trim_end().to_owned() + "\n" + indent;
            width = indent.len();
        }
        out += word;
        out.push(' ');
        width += len;
    }
    out.trim_end().to_owned() + "\n"
}
