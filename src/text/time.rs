//! Times as they are typed, in journalctl's words.

use std::time::Duration;

use crate::model::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, ToSpan, Zoned};

/// What can be typed, for error messages and help texts.
pub const FORMS: &str = "a time such as 2026-11-01, '2026-11-01 12:30', \
                                2026-11-01T12:30:00Z, now, today, yesterday, -2h or '2h ago'";

/// Reads a time: RFC 3339, a date, a date and a time of day, `now`, `today`, `yesterday`,
/// `tomorrow`, or a distance from `now` such as `-2h`, `-30m`, `-7d`, `+1h` or `2h ago`.
///
/// Without an offset it is one of `zone`. A day that a date or a word names begins at its first
/// moment there; `-1d` is the same time of day one calendar day before.
///
/// # Errors
/// A text that names the value and says what can be typed.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let text = text.trim();
    let refused = || format!("{text:?} is no time: expected {FORMS}");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let now = jiff::Timestamp::from_nanosecond(i128::from(now.as_nanos()))
        .map_err(|_| refused())?
        .to_zoned(zone.clone());
    let time = named(text, &now).or_else(|| civil(text, zone)).or_else(|| distance(text, &now));
    let nanos = time.ok_or_else(refused)?.timestamp().as_nanosecond();
    i64::try_from(nanos)
        .map(Timestamp::from_nanos)
        .map_err(|_| format!("{text:?} is out of range: expected a year from 1678 to 2261"))
}

/// `now` and the days that have names.
fn named(text: &str, now: &Zoned) -> Option<Zoned> {
    let days = match text {
        "now" => return Some(now.clone()),
        "yesterday" => -1,
        "today" => 0,
        "tomorrow" => 1,
        _ => return None,
    };
    now.checked_add(days.days()).ok()?.start_of_day().ok()
}

/// A date, or a date and a time of day with a space or a `T` between them.
fn civil(text: &str, zone: &TimeZone) -> Option<Zoned> {
    if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
        return date.to_zoned(zone.clone()).ok();
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| DateTime::strptime(format, text).ok())?
        .to_zoned(zone.clone())
        .ok()
}

/// `-2h`, `+2h`, `2h ago`: whole numbers, each with a unit, `1h30m` too.
fn distance(text: &str, now: &Zoned) -> Option<Zoned> {
    let (amount, back) = if let Some(amount) = text.strip_suffix("ago") {
        (amount, true)
    } else if let Some(amount) = text.strip_prefix('-') {
        (amount, true)
    } else {
        (text.strip_prefix('+')?, false)
    };
    let span = span(amount.trim())?;
    if back { now.checked_sub(span).ok() } else { now.checked_add(span).ok() }
}

/// Reads a length of time as it is typed: `90s`, `5m`, `1h30m`, `1d`; a day has 24 hours.
///
/// # Errors
/// A text that names the value and says what can be typed.
pub fn length(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no length of time: expected one such as 90s, 5m or 1d");
    let span = span(text.trim()).ok_or_else(refused)?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| refused())?;
    Duration::try_from(signed).map_err(|_| refused())
}

/// A length of time: one or more of a number and a unit.
fn span(mut text: &str) -> Option<Span> {
    let mut span = Span::new();
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let number: i64 = number.parse().ok()?;
        span = match unit {
            "s" | "sec" | "second" | "seconds" => {
                span.try_seconds(span_part(number, span.get_seconds())?)
            }
            "m" | "min" | "minute" | "minutes" => {
                span.try_minutes(span_part(number, span.get_minutes())?)
            }
            "h" | "hour" | "hours" => {
                span.try_hours(span_part(number, i64::from(span.get_hours()))?)
            }
            "d" | "day" | "days" => span.try_days(span_part(number, i64::from(span.get_days()))?),
            "w" | "week" | "weeks" => {
                span.try_weeks(span_part(number, i64::from(span.get_weeks()))?)
            }
            _ => return None,
        }
        .ok()?;
        text = rest.trim_start();
    }
    Some(span)
}

/// A unit may stand twice (`1h1h`); its numbers add up.
fn span_part(number: i64, before: i64) -> Option<i64> {
    number.checked_add(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let now = "2026-11-21T10:20:30.5Z".parse().unwrap();
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        parse(text, now, &zone).map(|time| time.to_string())
    }

    #[test]
    fn words_dates_and_distances() {
        for (text, expected) in [
            ("2026-11-01T12:30:00Z", "2026-11-01T12:30:00Z"),
            ("2026-11-01T12:30:00.123456789+02:00", "2026-11-01T10:30:00.123456789Z"),
            ("2026-11-01", "2026-10-31T23:00:00Z"),
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            ("2026-11-01 12:30", "2026-11-01T11:30:00Z"),
            ("2026-11-01T12:30:15.25", "2026-11-01T11:30:15.25Z"),
            ("now", "2026-11-21T10:20:30.5Z"),
            ("today", "2026-11-20T23:00:00Z"),
            ("yesterday", "2026-11-19T23:00:00Z"),
            ("-2h", "2026-11-21T08:20:30.5Z"),
            ("-30m", "2026-11-21T09:50:30.5Z"),
            ("-1h30m", "2026-11-21T08:50:30.5Z"),
            ("-7d", "2026-11-14T10:20:30.5Z"),
            ("-1w", "2026-11-14T10:20:30.5Z"),
            ("2h ago", "2026-11-21T08:20:30.5Z"),
            ("2 hours ago", "2026-11-21T08:20:30.5Z"),
            ("+1d", "2026-11-22T10:20:30.5Z"),
            (" -2h ", "2026-11-21T08:20:30.5Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_day_before_the_clock_changed_keeps_its_time_of_day() {
        // Summer time ended on 2026-10-25: 28 days before lies on the other side of it.
        assert_eq!(read("-28d").unwrap(), "2026-10-24T09:20:30.5Z");
    }

    #[test]
    fn lengths_have_units() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1d", 86_400)] {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "-5m", "5 x", "m", "99999999999w"] {
            assert!(length(text).unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms() {
        for text in [
            "",
            "-",
            "ago",
            "2h",
            "-2x",
            "-2",
            "-h",
            "last week",
            "2026-13-01",
            "12:30",
            "-99999999999999999999h",
            "-9223372036854775807w",
            "2026-11-01T25:00:00Z",
            "-1.5h",
            "9999-01-01",
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains("expected"), "{text}: {said}");
        }
    }
}
