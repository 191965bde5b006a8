//! Where the output goes, and so how it may look.

use std::io::{self, IsTerminal};

use jiff::tz::TimeZone;
use runledger::Timestamp;

use crate::context::{self, Context, When};
use crate::output::{colour, human};

/// Columns of a terminal that does not tell its width.
const USUAL_WIDTH: usize = 80;

/// What is known of the place where the output goes.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    width: Option<usize>,
    colour: bool,
    zone: TimeZone,
    now: Timestamp,
}

impl Screen {
    /// The standard output of this process.
    pub(crate) fn stdout(ctx: &Context) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = match ctx.color() {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && !no_colour(),
        };
        let width = terminal.then(terminal_width);
        Self { width, colour, zone: ctx.zone().clone(), now: ctx.now() }
    }

    /// A place of this width, without colours, in UTC: for tests.
    #[cfg(test)]
    pub(crate) fn plain(width: Option<usize>) -> Self {
        let now = Timestamp::from_nanos(1_795_000_000_000_000_000);
        Self { width, colour: false, zone: TimeZone::UTC, now }
    }

    /// The columns of the terminal; `None` in a pipe, where no line is cut.
    pub(crate) const fn width(&self) -> Option<usize> {
        self.width
    }

    /// The text in a colour, where there are to be colours.
    pub(crate) fn paint(&self, text: &str, style: anstyle::Style) -> String {
        colour::paint(text, style, self.colour)
    }

    /// A count: with its thousands apart on a terminal, as digits in a pipe.
    pub(crate) fn count(&self, count: u64) -> String {
        if self.width.is_some() { human::count(count) } else { count.to_string() }
    }

    /// A time for a column: short on a terminal, RFC 3339 with milliseconds in a pipe.
    pub(crate) fn time(&self, time: Timestamp) -> String {
        let year = |time| self.local(time).map(|local| local.year());
        let this_year = year(time) == year(self.now);
        self.formatted(time, if this_year { "%b %d %H:%M:%S" } else { "%Y-%m-%d %H:%M" })
    }

    /// As [`Screen::time`], with milliseconds on a terminal too.
    pub(crate) fn exact_time(&self, time: Timestamp) -> String {
        self.formatted(time, "%Y-%m-%d %H:%M:%S%.3f")
    }

    /// As [`Screen::time`], but the day alone on a terminal.
    pub(crate) fn date(&self, time: Timestamp) -> String {
        self.formatted(time, "%Y-%m-%d")
    }

    fn formatted(&self, time: Timestamp, on_terminal: &str) -> String {
        let Some(local) = self.local(time) else { return time.to_string() };
        let in_pipe = "%Y-%m-%dT%H:%M:%S%.3f%:z";
        local.strftime(if self.width.is_some() { on_terminal } else { in_pipe }).to_string()
    }

    /// A time in full: to the nanosecond, with its zone, and how long ago that is.
    pub(crate) fn full_time(&self, time: Timestamp) -> String {
        let Some(local) = self.local(time) else { return time.to_string() };
        let ago = human::relative(time, self.now);
        format!("{} ({ago})", local.strftime("%Y-%m-%d %H:%M:%S%.f %Z"))
    }

    fn local(&self, time: Timestamp) -> Option<jiff::Zoned> {
        let time = jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos())).ok()?;
        Some(time.to_zoned(self.zone.clone()))
    }
}

/// Columns as `COLUMNS` says, else as the terminal does.
fn terminal_width() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    named.or_else(asked).filter(|&width| width > 0).unwrap_or(USUAL_WIDTH)
}

/// True when the environment asks for no colours.
fn no_colour() -> bool {
    context::variable("NO_COLOR").is_some()
        || context::variable("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_place_and_distance() {
        let (terminal, pipe) = (Screen::plain(Some(80)), Screen::plain(None));
        let now = terminal.now;
        let old: Timestamp = "2016-08-02T15:00:04.008761Z".parse().unwrap();
        assert_eq!(terminal.time(now), "Nov 18 11:06:40");
        assert_eq!(terminal.time(old), "2016-08-02 15:00");
        assert_eq!(pipe.time(old), "2016-08-02T15:00:04.008+00:00");
        assert_eq!(terminal.full_time(old), "2016-08-02 15:00:04.008761 UTC (10 years ago)");
        for extreme in [Timestamp::MIN, Timestamp::MAX] {
            assert!(!pipe.time(extreme).is_empty() && !terminal.full_time(extreme).is_empty());
        }
    }
}
