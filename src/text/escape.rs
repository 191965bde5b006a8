//! Text that is safe to show: a record must not be able to move the cursor, recolour the screen or
//! pass for another line.

use std::borrow::Cow;
use std::fmt::Write;

/// The text as one line, its line breaks, controls and reordering signs written as escapes.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// As [`line`], but line breaks and tabs stay.
pub fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unsafe(c) && c != '\n' && c != '\t')
}

/// As [`block`], with escapes that JSON knows. `text` must be JSON, where such characters can only
/// stand inside strings.
pub fn json(text: &str) -> Cow<'_, str> {
    let refused = |c| is_unsafe(c) && c != '\n' && c != '\t' && c != '\r';
    if !text.contains(refused) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if refused(c) {
            // Writing to a string cannot fail. All these characters lie below U+10000.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn escaped(text: &str, refused: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&refused) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !refused(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c => safe.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(safe)
}

/// Controls (C0, DEL, C1), and the signs that change the direction of what follows.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let attack = "ok\u{1b}[2J\u{9b}31m\u{7}\r\nroot:\u{202e}gpj\u{7f}";
        let shown = line(attack);
        assert!(!shown.chars().any(is_unsafe), "{shown}");
        assert_eq!(shown, "ok\\u{1b}[2J\\u{9b}31m\\u{7}\\r\\nroot:\\u{202e}gpj\\u{7f}");
        assert_eq!(block("a\n\tb\u{1b}\r"), "a\n\tb\\u{1b}\\r");
        assert!(matches!(line("Größe 日本語 👍"), Cow::Borrowed(_)));
    }

    /// The mark of Arabic letters was left out of those that Unicode has for the direction.
    #[test]
    fn no_sign_that_changes_the_direction_is_left() {
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}'];
        let signs = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        assert!(signs.chain(marks).all(is_unsafe));
        assert_eq!(json("\"\u{61c}\""), "\"\\u061c\"");
    }

    #[test]
    fn json_stays_json() {
        assert_eq!(json("{\"a\":\"\u{9b}\u{202e}\"}\n"), "{\"a\":\"\\u009b\\u202e\"}\n");
    }
}
