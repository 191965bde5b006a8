use std::fmt;

use twox_hash::XxHash3_64;

use crate::error::Error;

/// What groups errors that are alike: a hash of the type, the message without its changing parts
/// and the first lines of the stack likewise.
///
/// It prints as the version of the rule, a hyphen and 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint {
    /// The version of the rule by which it was made, from 1.
    pub version: u8,
    /// The hash.
    pub hash: u64,
}

/// Bytes of normalised message that count. Beyond them messages differ by what they quote.
const MESSAGE_BYTES: usize = 1024;
/// Bytes of each normalised line of the stack that count.
const LINE_BYTES: usize = 256;
/// Lines of the stack that count.
const LINES: usize = 5;
/// The longest type that counts whole.
const TYPE_BYTES: usize = 256;
/// Hexadecimal digits from which on a run of them counts as a number.
const HEX_DIGITS: usize = 8;

impl Fingerprint {
    /// The version of the rule that [`Fingerprint::of`] follows.
    pub const VERSION: u8 = 1;

    /// The fingerprint of an error.
    ///
    /// The rule, version 1: XXH3 (64 bits, seed 0) of the first 256 bytes of the type, a zero byte,
    /// the first 1,024 bytes of the normalised message, and for each of the first five lines of the
    /// stack that are not blank a zero byte and the first 256 bytes of the normalised line.
    /// Normalised is a text in which
    ///
    /// - each run of ASCII white space is one space, and none stands at the beginning or end;
    /// - what stands in double quotes, single quotes or backticks is dropped and the quotes become
    ///   `""` (in the message only, and a single quote after a letter or digit is an apostrophe);
    /// - a word of hexadecimal digits, alone or several joined by hyphens, with at least eight
    ///   digits of which one is decimal, is `0`, and so is `0x` with hexadecimal digits;
    /// - any other run of decimal digits is `0`.
    ///
    /// ```
    /// use runledger::Fingerprint;
    /// let a = Fingerprint::of("TimeoutError", "no answer from \"db1\" after 30 s", None);
    /// let b = Fingerprint::of("TimeoutError", "no answer from \"db2\" after 31 s", None);
    /// assert_eq!(a, b);
    /// assert_ne!(a, Fingerprint::of("TimeoutError", "connection refused", None));
    /// ```
    #[must_use]
    pub fn of(error_type: &str, message: &str, stack: Option<&str>) -> Self {
        Self::of_in(&mut Vec::new(), error_type, message, stack)
    }

    /// As [`Fingerprint::of`], with a buffer that is reused.
    pub(crate) fn of_in(
        buffer: &mut Vec<u8>,
        error_type: &str,
        message: &str,
        stack: Option<&str>,
    ) -> Self {
        buffer.clear();
        let mut text = Parts { bytes: buffer, end: TYPE_BYTES };
        text.push(error_type.as_bytes());
        text.part(MESSAGE_BYTES);
        normalise(message, true, &mut text);
        let lines = stack.unwrap_or_default().lines().filter(|line| !line.trim_ascii().is_empty());
        for line in lines.take(LINES) {
            text.part(LINE_BYTES);
            normalise(line, false, &mut text);
        }
        Self { version: Self::VERSION, hash: XxHash3_64::oneshot(buffer) }
    }
}

/// What is hashed: parts with a zero byte between them, each of a bounded length.
struct Parts<'a> {
    bytes: &'a mut Vec<u8>,
    end: usize,
}

impl Parts<'_> {
    /// Appends what fits into the part; what does not is dropped.
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text.get(..self.room()).unwrap_or(text));
    }

    /// How many bytes the part takes yet.
    const fn room(&self) -> usize {
        self.end.saturating_sub(self.bytes.len())
    }

    /// Begins a part of at most this many bytes.
    fn part(&mut self, bytes: usize) {
        self.end = self.bytes.len() + 1;
        self.push(&[0]);
        self.end = self.bytes.len() + bytes;
    }
}

fn normalise(text: &str, quotes: bool, out: &mut Parts<'_>) {
    let mut rest = text.trim_ascii().as_bytes();
    let (mut after_word, mut after_space) = (false, true);
    let mut left_of_run = usize::MAX;
    loop {
        if after_space {
            let (same, others) = rest.split_at(unchanged(rest, quotes, out.room()));
            out.push(same);
            rest = others;
        }
        let Some(&first) = rest.first().filter(|_| out.room() > 0) else { return };
        let taken = if first.is_ascii_whitespace() {
            out.push(b" ");
            count(rest, u8::is_ascii_whitespace)
        } else if first.is_ascii_alphanumeric() {
            word(rest, &mut left_of_run, out)
        } else if let Some(len) = quoted(rest, after_word).filter(|_| quotes) {
            out.push(b"\"\"");
            len
        } else {
            out.push(&[first]);
            1
        };
        after_word = first.is_ascii_alphanumeric();
        after_space = first.is_ascii_whitespace();
        rest = rest.get(taken..).unwrap_or_default();
    }
}

/// How many bytes at the beginning are whole words, with what is between them, that the rule leaves
/// as they are. It need not be all of them: most of a message is passed over with one look at each
/// byte, and none is looked at that there is no room for.
fn unchanged(text: &[u8], quotes: bool, room: usize) -> usize {
    let changed = if quotes { DIGIT | BREAK | QUOTE } else { DIGIT | BREAK };
    let mut whole = 0;
    for (at, &byte) in text.iter().enumerate().take(room) {
        let is_last = || text.get(at + 1).is_none_or(u8::is_ascii_whitespace);
        if class(byte) & changed != 0 || byte == b' ' && is_last() {
            return whole;
        }
        if byte == b' ' {
            whole = at + 1;
        }
    }
    // What there is no room for may be of the last word, and make a number of it.
    if text.len() <= room { text.len() } else { whole }
}

/// The length of the quoted text that `text` begins with, quotes included.
fn quoted(text: &[u8], after_word: bool) -> Option<usize> {
    let (quote, rest) = text.split_first()?;
    let opens = matches!(quote, b'"' | b'`') || (*quote == b'\'' && !after_word);
    memchr::memchr(*quote, rest).filter(|_| opens).map(|at| at + 2)
}

/// What a byte is: a bit for each.
const LETTER_OR_DIGIT: u8 = 1;
const DIGIT: u8 = 2;
const HEX_DIGIT: u8 = 4;
const QUOTE: u8 = 8;
/// White space other than a space.
const BREAK: u8 = 16;

/// What each byte is.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        let of_word = if byte.is_ascii_alphanumeric() { LETTER_OR_DIGIT } else { 0 };
        let digit = if byte.is_ascii_digit() { DIGIT } else { 0 };
        let hex_digit = if byte.is_ascii_hexdigit() { HEX_DIGIT } else { 0 };
        let quote = if matches!(byte, b'"' | b'\'' | b'`') { QUOTE } else { 0 };
        let is_break = byte.is_ascii_whitespace() && byte != b' ';
        #[expect(
            clippy::indexing_slicing,
            reason = "the compiler runs this, and checks the bounds"
        )]
        {
            classes[byte as usize] =
                of_word | digit | hex_digit | quote | if is_break { BREAK } else { 0 };
        }
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Writes the word that `text` begins with, with its numbers as `0`, and gives its length.
///
/// `left_of_run` is how much is left of the text behind the last words that were looked through for
/// a hexadecimal number in vain: in those of them that follow there is none either, and a run of
/// many is not looked through from each.
fn word(text: &[u8], left_of_run: &mut usize, out: &mut Parts<'_>) -> usize {
    let classes = text.iter().map(|&byte| class(byte));
    let (mut len, mut all, mut any) = (0, HEX_DIGIT, 0);
    for class in classes.take_while(|class| class & LETTER_OR_DIGIT != 0) {
        (len, all, any) = (len + 1, all & class, any | class);
    }
    let mut rest = text.get(..len).unwrap_or_default();
    let may_be_number = rest.get(1).is_some_and(|byte| matches!(byte, b'x' | b'X')) || all != 0;
    if may_be_number && text.len() <= *left_of_run {
        match hexadecimal(text) {
            Ok(len) => {
                out.push(b"0");
                return len;
            }
            Err(len) => *left_of_run = text.len() - len,
        }
    }
    if any & DIGIT == 0 {
        out.push(rest);
        return len;
    }
    while !rest.is_empty() {
        let (letters, others) = rest.split_at(count(rest, |byte| !byte.is_ascii_digit()));
        out.push(letters);
        let digits = count(others, u8::is_ascii_digit);
        if digits > 0 {
            out.push(b"0");
        }
        rest = others.get(digits..).unwrap_or_default();
    }
    len
}

/// The length of the hexadecimal number, UUID or date that `text` begins with; as an error, that of
/// the words of hexadecimal digits there that are none.
fn hexadecimal(text: &[u8]) -> Result<usize, usize> {
    if let Some(rest) = text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")) {
        let digits = count(rest, u8::is_ascii_hexdigit);
        let ends = rest.get(digits).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        return if digits > 0 && ends { Ok(digits + 2) } else { Err(0) };
    }
    let (mut end, mut digits, mut decimal) = (0, 0, false);
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let word = rest.get(..count(rest, u8::is_ascii_alphanumeric)).unwrap_or_default();
        if word.is_empty() || !word.iter().all(u8::is_ascii_hexdigit) {
            break;
        }
        digits += word.len();
        decimal |= word.iter().any(u8::is_ascii_digit);
        end = at + word.len();
        if text.get(end) != Some(&b'-') {
            break;
        }
        at = end + 1;
    }
    if digits >= HEX_DIGITS && decimal { Ok(end) } else { Err(end) }
}

fn count(text: &[u8], is: impl Fn(&u8) -> bool) -> usize {
    text.iter().position(|byte| !is(byte)).unwrap_or(text.len())
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{:016x}", self.version, self.hash))
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once('-')
            .filter(|(_, hash)| hash.len() == 16)
            .and_then(|(version, hash)| {
                Some(Self {
                    version: version.parse().ok()?,
                    hash: u64::from_str_radix(hash, 16).ok()?,
                })
            })
            .ok_or_else(|| {
                Error::invalid("fingerprint", text, "a version, a hyphen and 16 hexadecimal digits")
            })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn normal(text: &str, quotes: bool) -> String {
        let mut bytes = Vec::new();
        let mut out = Parts { bytes: &mut bytes, end: MESSAGE_BYTES };
        normalise(text, quotes, &mut out);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_rule_by_example() {
        for (text, expected) in [
            ("", ""),
            ("  no   answer\n\tfrom db1  ", "no answer from db0"),
            ("after 30.25 s, 1,000 times", "after 0.0 s, 0,0 times"),
            ("worker12 of w3b", "worker0 of w0b"),
            ("id 0192f1a4-7b3c-7def-8123-456789abcdef gone", "id 0 gone"),
            ("trace f0f21b3342f101d546c957d98fa122f6.", "trace 0."),
            ("at 0x7ffee4c0 in f", "at 0 in f"),
            ("0xzz", "0xzz"),
            ("on 2026-11-01T08:30:00Z", "on 0-0-0T0:0:0Z"),
            ("on 2026-11-01", "on 0"),
            ("deadbeef facade", "deadbeef facade"),
            ("no 'such' key \"x y\" or `z`", "no \"\" key \"\" or \"\""),
            ("can't find user's file", "can't find user's file"),
            ("open \"never closed", "open \"never closed"),
            ("größe 日本語 7", "größe 日本語 0"),
        ] {
            assert_eq!(normal(text, true), expected, "{text}");
        }
        assert_eq!(normal("File \"/app/x.py\", line 3", false), "File \"/app/x.py\", line 0");
    }

    #[test]
    fn version_1_stays_what_it_is() {
        let stack = "connect\n\n  at pool.rs:41\n  at main.rs:7";
        let of = Fingerprint::of("TimeoutError", "no answer from 'db1' after 30 s", Some(stack));
        let text =
            b"TimeoutError\0no answer from \"\" after 0 s\0connect\0at pool.rs:0\0at main.rs:0";
        assert_eq!(of, Fingerprint { version: 1, hash: XxHash3_64::oneshot(text) });
        assert_eq!(of.to_string().parse::<Fingerprint>().unwrap(), of);
    }

    #[test]
    fn only_the_beginning_counts() {
        let of = |message: &str, stack: &str| Fingerprint::of("E", message, Some(stack));
        let long = "x".repeat(MESSAGE_BYTES);
        assert_eq!(of(&long, "a"), of(&format!("{long} and more"), "a"));
        let line = "x".repeat(LINE_BYTES - 1);
        assert_eq!(of("m", &format!("{line}a")), of("m", &format!("{line}ab")));
        assert_ne!(of("m", &format!("{line}a")), of("m", &format!("{line}b")));
        let of_type = |error_type: &str| Fingerprint::of(error_type, "m", None);
        let long = "x".repeat(TYPE_BYTES - 1);
        assert_eq!(of_type(&format!("{long}a")), of_type(&format!("{long}ab")));
        assert_ne!(of_type(&format!("{long}a")), of_type(&format!("{long}b")));
        assert_eq!([MESSAGE_BYTES, LINE_BYTES, TYPE_BYTES], [1024, 256, 256], "the rule's bounds");
        assert_eq!(of("m", "a\nb\nc\nd\ne"), of("m", "a\nb\nc\nd\ne\nf"));
        assert_ne!(of("m", "a\nb\nc\nd\ne"), of("m", "a\nb\nc\nd\nf"));
        assert_ne!(of("m", "a"), of("m a", ""));
    }

    /// Words of hexadecimal digits that hyphens join were looked through to the end of them all,
    /// from each: a message of 16 MiB, of which 1,024 bytes count, held its append for 18 seconds.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "two lengths of time are compared")]
    fn a_long_message_is_looked_through_once() {
        let least_of_three = |message: &str| {
            let time = |_| {
                let begun = Instant::now();
                std::hint::black_box(Fingerprint::of("E", message, None));
                begun.elapsed()
            };
            (0..3).map(time).min().unwrap()
        };
        let one_word = least_of_three(&"x".repeat(4 << 20));
        for (words, end) in [("a-", ""), ("a.", "9"), ("a ", "9"), ("f'", "9")] {
            let took = least_of_three(&format!("{}{end}", words.repeat(2 << 20)));
            assert!(took < one_word * 30, "{words}: {took:?}, one word {one_word:?}");
        }
    }

    proptest! {
        /// Of two spaces in a row neither is passed over with the words about it.
        #[test]
        fn words_that_stay_as_they_are_may_be_passed_over(
            text in "[a-fxX 01'\"`.\\-\tz\u{e9}]{0,60}",
            quotes: bool,
        ) {
            prop_assert_eq!(normal(&text, quotes), normal(&text.replace(' ', "  "), quotes));
        }

        #[test]
        fn any_text_has_one(error_type: String, message: String, stack: String) {
            let of = Fingerprint::of(&error_type, &message, Some(&stack));
            prop_assert_eq!(of.version, Fingerprint::VERSION);
        }
    }
}
