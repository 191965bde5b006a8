//! JSON that is written piece by piece at the end of a string, without a value in between.

use std::fmt::{self, Write};

/// Writes what parts a value from the one before, where there is one.
pub(super) fn comma(out: &mut String) {
    if !matches!(out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
        out.push(',');
    }
}

/// Writes the key of an object's next value.
pub(super) fn key(out: &mut String, name: &str) {
    comma(out);
    string(out, name);
    out.push(':');
}

/// Writes a text.
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// Writes as a text what something prints.
pub(super) fn printed(out: &mut String, text: fmt::Arguments<'_>) {
    out.push('"');
    // An error is that of what is printed: as much of it as there is, is kept.
    let _ = Escaped(out).write_fmt(text);
    out.push('"');
}

/// Writes a number with a fraction; those that JSON has no number for, as a text.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(super) fn float(out: &mut String, value: f64) {
    match value.is_finite() {
        true => plain(out, format_args!("{value:?}")),
        false => printed(out, format_args!("{value}")),
    }
}

/// Writes what prints as JSON: a number of integers, `true` or `false`.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(super) fn plain(out: &mut String, value: fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = out.write_fmt(value);
}

/// The inside of a text.
struct Escaped<'o>(&'o mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    while let Some(at) = rest.bytes().position(is_special) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        // All of them are of one byte.
        let mut chars = special.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

#[cfg(test)]
#[cfg(any(feature = "tracing", feature = "log"))]
mod tests {
    use super::*;
    use crate::model::Json;

    #[test]
    fn what_is_written_is_json_and_says_what_was_meant() {
        let every: String =
            (0..0x300).filter_map(char::from_u32).chain("日本\u{10ffff}".chars()).collect();
        let mut out = String::from("{");
        key(&mut out, &every);
        string(&mut out, &every);
        key(&mut out, "printed");
        printed(&mut out, format_args!("{every}{every}"));
        for (name, value) in [("a", 0.1), ("b", -1e300), ("c", 5.0), ("d", f64::MIN_POSITIVE)] {
            key(&mut out, name);
            float(&mut out, value);
        }
        key(&mut out, "e");
        float(&mut out, f64::NEG_INFINITY);
        key(&mut out, "f");
        plain(&mut out, format_args!("{}", u128::MAX));
        out.push('}');
        let value: serde_json::Value = Json::parse(out).unwrap().to_value().unwrap();
        assert_eq!(value[&every], *every);
        assert_eq!(value["printed"], format!("{every}{every}"));
        assert_eq!((value["a"].as_f64(), value["b"].as_f64()), (Some(0.1), Some(-1e300)));
        assert_eq!(
            (value["c"].as_f64(), value["d"].as_f64()),
            (Some(5.0), Some(f64::MIN_POSITIVE))
        );
        assert_eq!(value["e"], "-inf");
    }
}
