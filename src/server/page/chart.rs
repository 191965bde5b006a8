//! Drawings, made here as numbers that a template puts into SVG.

use crate::model::Timestamp;
use crate::server::page::feed::Item;
use crate::text::human;

/// How wide every drawing is, in its own units.
pub(super) const WIDTH: i64 = 1000;

/// Something that happened, to be marked on a time line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) time: Timestamp,
    pub(super) level: &'static str,
    pub(super) seq: u64,
    pub(super) is_error: bool,
}

/// A mark on a time line.
pub(super) struct Tick {
    pub(super) x: i64,
    pub(super) level: &'static str,
    pub(super) seq: u64,
    pub(super) is_error: bool,
}

/// A time line with marks.
pub(super) struct Axis {
    /// Where the bar begins, and how long it is.
    pub(super) x: i64,
    pub(super) width: i64,
    pub(super) ticks: Vec<Tick>,
    /// How long all of it takes.
    pub(super) length: String,
}

/// A piece of time, and places in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    begin: Timestamp,
    nanos: i64,
}

impl Span {
    pub(super) fn new(begin: Timestamp, end: Timestamp) -> Self {
        Self { begin, nanos: end.nanos_since(begin).max(1) }
    }

    /// From 0 to [`WIDTH`].
    pub(super) fn place(self, time: Timestamp) -> i64 {
        let since = i128::from(time.nanos_since(self.begin)).max(0);
        let place = since * i128::from(WIDTH) / i128::from(self.nanos);
        i64::try_from(place).unwrap_or(WIDTH).min(WIDTH)
    }

    pub(super) const fn nanos(self) -> i64 {
        self.nanos
    }
}

/// The most marks that are drawn: more cannot be told apart.
const MOST_TICKS: usize = 400;

/// What happened from one time to another. What lies outside widens the line.
pub(super) fn axis(begin: Timestamp, end: Timestamp, items: &[Item]) -> Axis {
    let first = items.iter().map(|item| item.time).min().unwrap_or(begin).min(begin);
    let last = items.iter().map(|item| item.time).max().unwrap_or(end).max(end);
    let span = Span::new(first, last);
    let x = span.place(begin);
    Axis {
        x,
        width: (span.place(end) - x).max(4),
        ticks: ticks(span, items.iter().map(Item::mark)),
        length: human::duration(span.nanos()),
    }
}

/// Where these marks are, errors above the others.
fn ticks(span: Span, marks: impl Iterator<Item = Mark>) -> Vec<Tick> {
    let tick = |mark: Mark| Tick {
        x: span.place(mark.time).min(WIDTH - 6),
        level: mark.level,
        seq: mark.seq,
        is_error: mark.is_error,
    };
    let mut ticks: Vec<_> = marks.map(tick).collect();
    ticks.sort_by_key(|tick| (tick.x, std::cmp::Reverse(tick.is_error)));
    ticks.dedup_by_key(|tick| tick.x);
    ticks.truncate(MOST_TICKS);
    ticks.sort_by_key(|tick| tick.is_error);
    ticks
}

/// The marks of a lane, those of a level as one shape: a page has very many of them.
pub(super) fn shapes(span: Span, marks: &[Mark]) -> Vec<(&'static str, String)> {
    let mut shapes: Vec<(&'static str, String)> = Vec::new();
    for tick in ticks(span, marks.iter().copied()) {
        let (top, height) = if tick.is_error { (0, 18) } else { (5, 8) };
        let shape = format!("M{} {top}h6v{height}h-6z", tick.x);
        match shapes.iter_mut().find(|(level, _)| *level == tick.level) {
            Some((_, all)) => all.push_str(&shape),
            None => shapes.push((tick.level, shape)),
        }
    }
    shapes
}

/// A line of small bars.
pub(super) struct Spark {
    /// Place and height of each, of 100 by 20.
    pub(super) bars: Vec<(usize, u64)>,
    /// What it shows, in words.
    pub(super) words: String,
}

/// The height of a small line of bars.
const SPARK: u64 = 20;

pub(super) fn spark(counts: &[u64], unit: &str) -> Spark {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |(at, &count): (usize, &u64)| {
        let height = (u128::from(count) * u128::from(SPARK)).div_ceil(u128::from(most));
        let height = u64::try_from(height).unwrap_or(SPARK);
        (height > 0).then_some((at * 4, height))
    };
    let total = counts.iter().sum();
    Spark {
        bars: counts.iter().enumerate().filter_map(bar).collect(),
        words: format!("{} in all, at most {} {unit}", human::count(total), human::count(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_place() {
        let at = Timestamp::from_nanos;
        let span = Span::new(at(100), at(200));
        assert_eq!(
            [0, 100, 150, 200, 900].map(|time| span.place(at(time))),
            [0, 0, 500, 1000, 1000]
        );
        assert_eq!(Span::new(at(5), at(5)).place(at(5)), 0);
        assert_eq!(Span::new(Timestamp::MIN, Timestamp::MAX).place(Timestamp::MAX), 1000);
    }

    #[test]
    fn marks_of_a_level_are_one_shape_with_errors_on_top() {
        let at = Timestamp::from_nanos;
        let mark = |time, level, is_error| Mark { time: at(time), level, seq: 1, is_error };
        let marks = [
            mark(10, "error", true),
            mark(20, "event", false),
            mark(30, "event", false),
            mark(20, "event", false),
        ];
        let shapes = shapes(Span::new(at(0), at(100)), &marks);
        let events = "M200 5h6v8h-6zM300 5h6v8h-6z".to_owned();
        assert_eq!(shapes, [("event", events), ("error", "M100 0h6v18h-6z".to_owned())]);
    }

    #[test]
    fn small_bars_show_the_least_count() {
        let spark = spark(&[0, 1, 1000], "an hour");
        assert_eq!(spark.bars, [(4, 1), (8, 20)]);
        assert_eq!(spark.words, "1,001 in all, at most 1,000 an hour");
    }
}
