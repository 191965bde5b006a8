//! Values as a page shows them: times, lengths, text of records.

use jiff::tz::TimeZone;

use crate::model::{Severity, Status, Timestamp};
use crate::text::{escape, human};

/// How many characters of a line are shown where there is one line.
const LINE: usize = 200;

/// What time it is, and where.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    now: Timestamp,
    zone: TimeZone,
}

/// A time: exact, as one reads it, and from now.
#[derive(Debug, Clone, Default)]
pub(super) struct Moment {
    pub(super) exact: String,
    /// To the nanosecond, with the zone.
    pub(super) full: String,
    pub(super) short: String,
    pub(super) ago: String,
}

impl Clock {
    pub(super) const fn new(now: Timestamp, zone: TimeZone) -> Self {
        Self { now, zone }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn local(&self, time: Timestamp) -> Option<jiff::Zoned> {
        let time = jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos())).ok()?;
        Some(time.to_zoned(self.zone.clone()))
    }

    /// A time in the zone, in these words of `strftime`.
    pub(super) fn format(&self, time: Timestamp, words: &str) -> String {
        let local = self.local(time).map(|local| local.strftime(words).to_string());
        local.unwrap_or_else(|| time.to_string())
    }

    pub(super) fn moment(&self, time: Timestamp) -> Moment {
        let year = |time| self.local(time).map(|local| local.year());
        let is_this_year = year(time) == year(self.now);
        Moment {
            exact: time.to_string(),
            full: self.format(time, "%Y-%m-%d %H:%M:%S%.f %Z"),
            short: self
                .format(time, if is_this_year { "%b %d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }),
            ago: human::relative(time, self.now),
        }
    }

    /// How long something has gone on.
    pub(super) const fn since(&self, time: Timestamp) -> i64 {
        self.now.nanos_since(time)
    }
}

/// How long after the begin something was.
pub(super) fn offset(nanos: i64) -> String {
    match nanos {
        0 => "0".to_owned(),
        1.. => format!("+{}", human::duration(nanos)),
        _ => human::duration(nanos),
    }
}

/// The first line of a text, as much of it as is shown in a line.
pub(super) fn line(text: &str) -> String {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    clipped(first, LINE)
}

/// The text in one line of so many characters at the most.
pub(super) fn clipped(text: &str, most: usize) -> String {
    let cut = text.char_indices().nth(most).map(|(at, _)| at);
    match cut.and_then(|at| text.get(..at)) {
        Some(begin) => format!("{}…", escape::line(begin)),
        None => escape::line(text).into_owned(),
    }
}

/// The name of a status as a class of the style sheet and of an icon.
pub(super) const fn of_status(status: Status) -> &'static str {
    match status {
        // The same colour: nobody waits for either any more.
        Status::Abandoned => "abandoned",
        other => other.name(),
    }
}

/// The name of a severity in the same way.
pub(super) const fn of_severity(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(severity) => severity.name(),
        None => "event",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_names_its_zone() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let clock = Clock::new("2026-11-21T10:00:00Z".parse().unwrap(), zone);
        let moment = clock.moment("2026-11-21T09:57:00.25Z".parse().unwrap());
        assert_eq!(moment.full, "2026-11-21 10:57:00.25 CET");
        assert_eq!((&*moment.short, &*moment.ago), ("Nov 21 10:57:00", "2 min ago"));
        assert_eq!(
            clock.moment("2025-01-01T00:00:00Z".parse().unwrap()).short,
            "2025-01-01 01:00:00"
        );
        assert!(!clock.moment(Timestamp::MIN).full.is_empty());
    }

    #[test]
    fn a_line_is_short_and_harmless() {
        assert_eq!(line("\n  first \u{202e}x\nsecond"), "first \\u{202e}x");
        assert_eq!(line(&"é".repeat(1 << 20)), format!("{}…", "é".repeat(LINE)));
        assert_eq!(line(""), "");
    }
}
