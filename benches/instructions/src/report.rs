//! What was measured, beside the limits.

use crate::Measured;
use crate::limits::Limits;

/// A figure below this share of its limit, in percent, calls for a tighter one.
const SLACK_PERCENT: u64 = 90;

const UPDATE: &str =
    "cargo run --release --manifest-path benches/instructions/Cargo.toml -- --update";

/// How a figure stands to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Within,
    /// So far below that a regression could hide in the gap.
    FarBelow,
    Above,
    NoLimit,
}

fn standing(count: u64, limit: Option<u64>) -> Standing {
    match limit {
        None => Standing::NoLimit,
        Some(limit) if count > limit => Standing::Above,
        Some(limit) if percent(count, limit) < SLACK_PERCENT => Standing::FarBelow,
        Some(_) => Standing::Within,
    }
}

/// Prints a row for each benchmark.
pub(crate) fn print(limits: &Limits, measured: &[Measured]) {
    println!("{:<24} {:>12} {:>12} {:>7}  for each", "instructions", "measured", "limit", "used");
    for one in measured {
        let (limit, used) = match limits.of(one.case.name) {
            Some(limit) => (limit.to_string(), format!("{}%", percent(one.instructions, limit))),
            None => ("none".to_owned(), String::new()),
        };
        let (name, unit) = (one.case.name, one.case.unit);
        println!("{name:<24} {:>12} {limit:>12} {used:>7}  {unit}", one.instructions);
    }
}

/// Says what is wrong, and how it is mended; true when nothing is.
pub(crate) fn verdict(limits: &Limits, measured: &[Measured]) -> bool {
    if let Some(note) = limits.other_compiler() {
        println!("note: {note}, and counts may differ by it");
    }
    let mut failures = 0;
    for one in measured {
        let (name, unit, count) = (one.case.name, one.case.unit, one.instructions);
        let limit = limits.of(name).unwrap_or_default();
        match standing(count, limits.of(name)) {
            Standing::Within => {}
            Standing::FarBelow => println!(
                "note: {name} is far below its limit of {limit}: tighten it, or the next \
                 regression hides in the gap"
            ),
            Standing::Above => {
                failures += 1;
                let over = percent(count, limit) - 100;
                println!(
                    "FAILED: {name} takes {count} instructions for each {unit}, {over}% above its \
                     limit of {limit}"
                );
            }
            Standing::NoLimit => {
                failures += 1;
                println!("FAILED: {name} has no limit");
            }
        }
    }
    for name in limits.left_over() {
        failures += 1;
        println!("FAILED: there is a limit for {name}, and no such benchmark");
    }
    if failures > 0 {
        println!("When the change is meant, set the limits anew and say why: {UPDATE}");
    }
    failures == 0
}

/// `part` of `whole`, in percent, rounded up.
fn percent(part: u64, whole: u64) -> u64 {
    (part * 100).div_ceil(whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_within_far_below_or_above_its_limit() {
        let standings = [0, 890, 891, 1000, 1001].map(|count| standing(count, Some(1000)));
        use Standing::{Above, FarBelow, NoLimit, Within};
        assert_eq!(standings, [FarBelow, FarBelow, Within, Within, Above]);
        assert_eq!(standing(1, None), NoLimit);
        assert_eq!(standing(1, Some(0)), Above);
    }
}
