//! Numbers for people.

/// Three digits or so, whatever the size.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{:.2} G", value / 1e9),
        size if size >= 1e6 => format!("{:.2} M", value / 1e6),
        size if size >= 1e5 => format!("{:.0} k", value / 1e3),
        size if size >= 1e4 => format!("{:.1} k", value / 1e3),
        size if size >= 1e3 => format!("{:.2} k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A count, with commas.
pub(crate) fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(0.125), "0.12");
        assert_eq!(number(43.21), "43.2");
        assert_eq!(number(4321.0), "4.32 k");
        assert_eq!(number(1_789_000.0), "1.79 M");
        assert_eq!(count(10_000_000), "10,000,000");
        assert_eq!(count(20_000), "20,000");
        assert_eq!(count(7), "7");
    }
}
