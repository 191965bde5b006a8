//! Numbers as people read them.

use std::time::Duration;

use crate::model::{Timestamp, nanos};

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000 * MICRO;
const SECOND: u64 = 1_000 * MILLI;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;

/// A length of time, as [`duration`] has it.
pub fn length(of: Duration) -> String {
    duration(nanos(of))
}

/// A length of time in nanoseconds, such as `350ms`, `12.3s`, `2m05s` or `4d03h`. Cut, not
/// rounded, so that nothing shows as more than it was.
pub fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = match nanos {
        0..MICRO => format!("{nanos}ns"),
        MICRO..MILLI => format!("{}µs", three_digits(nanos, MICRO)),
        MILLI..SECOND => format!("{}ms", three_digits(nanos, MILLI)),
        SECOND..MINUTE => format!("{}s", three_digits(nanos, SECOND)),
        MINUTE..HOUR => format!("{}m{:02}s", nanos / MINUTE, nanos % MINUTE / SECOND),
        HOUR..DAY => format!("{}h{:02}m", nanos / HOUR, nanos % HOUR / MINUTE),
        _ => format!("{}d{:02}h", nanos / DAY, nanos % DAY / HOUR),
    };
    format!("{sign}{text}")
}

/// Nanoseconds as milliseconds, exactly, such as `12.5`: what JSON calls `duration_ms`.
pub fn millis(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = format!("{sign}{}.{:06}", nanos / MILLI, nanos % MILLI);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number of bytes, such as `512 B` or `1.50 MiB`.
pub fn bytes(bytes: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
        if bytes / unit < 1024 || name == "PiB" {
            return if unit == 1 {
                format!("{bytes} B")
            } else {
                format!("{} {name}", three_digits(bytes, unit))
            };
        }
        unit <<= 10;
    }
    format!("{bytes} B")
}

/// A count with its thousands apart, such as `39,633`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of a whole in percent, such as `12.5 %`; `-` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    let tenths = u128::from(part).saturating_mul(1000).checked_div(u128::from(whole));
    tenths.map_or_else(|| "-".to_owned(), |tenths| format!("{}.{} %", tenths / 10, tenths % 10))
}

/// A count and its noun, such as `1 record` or `2 records`.
pub fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", self::count(count))
}

/// The text in lines of at most so many characters, broken between words.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { continue };
        let is_full = line.chars().count() + 1 + word.chars().count() > width;
        if line.is_empty() {
            line.push_str(word);
        } else if is_full {
            lines.push(word.to_owned());
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}

/// How long before or after `now` a time is, such as `3 min ago` or `in 2 h`.
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let nanos = now.nanos_since(time);
    let away = nanos.unsigned_abs();
    let text = match away {
        0..SECOND => return "now".to_owned(),
        SECOND..MINUTE => format!("{} s", away / SECOND),
        MINUTE..HOUR => format!("{} min", away / MINUTE),
        HOUR..DAY => format!("{} h", away / HOUR),
        _ if away < 2 * YEAR => plural(away / DAY, "day"),
        _ => plural(away / YEAR, "year"),
    };
    if nanos > 0 { format!("{text} ago") } else { format!("in {text}") }
}

/// `value / unit` with three digits that count, cut.
fn three_digits(value: u64, unit: u64) -> String {
    let whole = value / unit;
    let hundredths = u128::from(value % unit) * 100 / u128::from(unit);
    match whole {
        0..10 => format!("{whole}.{hundredths:02}"),
        10..100 => format!("{whole}.{}", hundredths / 10),
        _ => whole.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_at_the_edges_of_their_units() {
        for (nanos, expected) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_500, "1.50µs"),
            (45_670_000, "45.6ms"),
            (999_999_999, "999ms"),
            (1_000_000_000, "1.00s"),
            (59_999_999_999, "59.9s"),
            (125_000_000_000, "2m05s"),
            (11_520_000_000_000, "3h12m"),
            (356_400_000_000_000, "4d03h"),
            (-1_500_000, "-1.50ms"),
            (i64::MAX, "106751d23h"),
            (i64::MIN, "-106751d23h"),
        ] {
            assert_eq!(duration(nanos), expected);
        }
    }

    #[test]
    fn milliseconds_are_exact() {
        for (nanos, expected) in [
            (0, "0"),
            (1, "0.000001"),
            (12_500_000, "12.5"),
            (-1_000_000, "-1"),
            (100_000_000, "100"),
            (i64::MIN, "-9223372036854.775808"),
        ] {
            assert_eq!(millis(nanos), expected);
        }
    }

    #[test]
    fn bytes_counts_and_shares() {
        for (value, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_572_864, "1.50 MiB"),
            (64 << 20, "64.0 MiB"),
            (1023 << 20, "1023 MiB"),
            (u64::MAX, "16383 PiB"),
        ] {
            assert_eq!(bytes(value), expected);
        }
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(39_633), "39,633");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0 %");
    }

    #[test]
    fn times_beside_now() {
        let now = Timestamp::from_nanos(0);
        let at = |seconds: i64| relative(Timestamp::from_nanos(seconds * 1_000_000_000), now);
        assert_eq!(at(0), "now");
        assert_eq!(at(-5), "5 s ago");
        assert_eq!(at(-200), "3 min ago");
        assert_eq!(at(7200), "in 2 h");
        assert_eq!(at(-86_400), "1 day ago");
        assert_eq!(relative(Timestamp::MIN, Timestamp::MAX), "292 years ago");
        assert_eq!(at(-729 * 86_400), "729 days ago");
        assert_eq!(at(730 * 86_400), "in 2 years");
    }
}
