//! The records of a trace as rows, with their distance from the first and their place on a time
//! line.

use std::io::{self, Write};

use runledger::{Body, Record, Timestamp};

use crate::output::records::{level, message};
use crate::output::{Cell, Column, Screen, Table, colour, human};

/// Signs between the ends of the time line, and on a narrow terminal.
const SLOTS: usize = 16;
const FEW_SLOTS: usize = 10;

/// Columns of a terminal that is not narrow.
const WIDE: usize = 100;

const COLUMNS: &[Column] = &[
    Column::number("OFFSET"),
    Column::new("TIME LINE"),
    Column::new("LEVEL"),
    Column::number("TOOK"),
    Column::text("TYPE", 12),
    Column::text("MESSAGE", 12),
];

/// A table of records in the order of time.
pub(crate) struct Waterfall<'a, W: Write> {
    table: Table<'a, W>,
    first: Timestamp,
    unit: Unit,
    total: u64,
    slots: usize,
}

impl<'a, W: Write> Waterfall<'a, W> {
    /// A waterfall from the first to the last time in it.
    pub(crate) fn new(screen: &'a Screen, first: Timestamp, last: Timestamp, out: W) -> Self {
        let total = distance(first, last);
        let slots =
            if screen.width().is_some_and(|width| width < WIDE) { FEW_SLOTS } else { SLOTS };
        let table = Table::new(screen, COLUMNS, out);
        Self { table, first, unit: Unit::of(total), total, slots }
    }

    /// Adds a record, indented by its depth.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn record(&mut self, record: &Record<'_>, depth: usize) -> io::Result<()> {
        let body = &record.body;
        let from = body.created_at().unwrap_or(self.first);
        let (line, took) = match body {
            Body::Run(run) => {
                let open = !run.status.is_terminal();
                let until = run.newest_time().unwrap_or(from);
                let line = self.bar(from, if open { None } else { Some(until) });
                (Cell::new(&line).style(colour::status(run.status)), run.duration_nanos())
            }
            Body::Error(error) => {
                (Cell::new(&self.mark(from, 'x')).style(colour::severity(error.severity)), None)
            }
            _ => (Cell::new(&self.mark(from, '.')).style(colour::faint()), None),
        };
        self.table.row(vec![
            Cell::new(&self.unit.show(distance(self.first, from))),
            line,
            level(body).or("event"),
            Cell::maybe(took.map(human::duration)),
            Cell::new(&format!("{:width$}{}", "", body.type_name(), width = 2 * depth)),
            message(body),
        ])
    }

    /// Writes what was held back.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.table.flush()
    }

    /// A bar from one time to another, or to the end with an open one.
    fn bar(&self, from: Timestamp, until: Option<Timestamp>) -> String {
        let begin = self.slot(from);
        let end = until.map_or(self.slots - 1, |until| self.slot(until)).max(begin);
        let sign = |slot| match slot {
            slot if slot < begin || slot > end => ' ',
            slot if slot == end && until.is_none() => '>',
            _ => '=',
        };
        framed((0..self.slots).map(sign))
    }

    fn mark(&self, at: Timestamp, sign: char) -> String {
        let at = self.slot(at);
        framed((0..self.slots).map(|slot| if slot == at { sign } else { ' ' }))
    }

    /// The slot of a time, from 0 for the first to the last.
    fn slot(&self, time: Timestamp) -> usize {
        let place = u128::from(distance(self.first, time)) * self.slots as u128;
        let slot = place.checked_div(u128::from(self.total)).unwrap_or(0);
        usize::try_from(slot).unwrap_or(SLOTS).min(self.slots - 1)
    }
}

fn framed(signs: impl Iterator<Item = char>) -> String {
    let mut line = String::with_capacity(SLOTS + 2);
    line.push('|');
    line.extend(signs);
    line.push('|');
    line
}

/// Nanoseconds from one time to a later one; 0 when it is not later.
fn distance(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.nanos_since(from)).unwrap_or(0)
}

/// In what all offsets of a trace are given, so that they can be compared at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Micros,
    Millis,
    Seconds,
    Clock,
}

impl Unit {
    const fn of(total: u64) -> Self {
        match total {
            0..1_000_000 => Self::Micros,
            1_000_000..10_000_000_000 => Self::Millis,
            10_000_000_000..3_600_000_000_000 => Self::Seconds,
            _ => Self::Clock,
        }
    }

    fn show(self, nanos: u64) -> String {
        let thousandths =
            |unit: u64| format!("+{}.{:03}", nanos / unit, nanos % unit * 1000 / unit);
        match self {
            Self::Micros => format!("{} µs", thousandths(1_000)),
            Self::Millis => format!("{} ms", thousandths(1_000_000)),
            Self::Seconds => format!("{} s", thousandths(1_000_000_000)),
            Self::Clock => {
                let seconds = nanos / 1_000_000_000;
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                let seconds = seconds % 60;
                format!("+{hours}:{minutes:02}:{seconds:02}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_one_unit_for_a_trace() {
        for (total, nanos, expected) in [
            (999_999, 1_500, "+1.500 µs"),
            (1_000_000, 1_500, "+0.001 ms"),
            (20_000_000_000, 1_234_567_890, "+1.234 s"),
            (7_200_000_000_000, 3_725_000_000_000, "+1:02:05"),
            (u64::MAX, u64::MAX, "+5124095:34:33"),
        ] {
            assert_eq!(Unit::of(total).show(nanos), expected);
        }
    }

    #[test]
    fn the_line_holds_every_time() {
        let screen = Screen::plain(None);
        let at = Timestamp::from_nanos;
        let waterfall = Waterfall::new(&screen, at(0), at(1600), Vec::new());
        assert_eq!(waterfall.bar(at(0), Some(at(1600))), format!("|{}|", "=".repeat(16)));
        assert_eq!(waterfall.bar(at(800), None), "|        =======>|");
        assert_eq!(waterfall.mark(at(-5), 'x'), "|x               |");
        assert_eq!(waterfall.mark(Timestamp::MAX, 'x'), "|               x|");
        let empty = Waterfall::new(&screen, Timestamp::MIN, Timestamp::MIN, Vec::new());
        assert_eq!(empty.mark(Timestamp::MAX, '.'), "|.               |");
    }
}
