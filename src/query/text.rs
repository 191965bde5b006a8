use memchr::{memchr2_iter, memmem};

use crate::error::{Error, Result};
use crate::model::{Body, Json};
use crate::segment::Pinned;

/// Text to be found in a record's message, stack or JSON.
#[derive(Debug, Clone)]
pub(super) enum TextPattern {
    /// As it stands: it holds an upper-case letter.
    Exact(String),
    /// In either case, ASCII.
    Ascii(String),
    /// In either case, other letters too.
    Folded(String),
}

impl TextPattern {
    pub(super) fn new(text: String) -> Self {
        if text.chars().any(char::is_uppercase) {
            Self::Exact(text)
        } else if text.is_ascii() {
            Self::Ascii(text)
        } else {
            // Title-case letters are no upper-case ones, and fold too.
            Self::Folded(text.to_lowercase())
        }
    }

    fn matches(&self, body: &Body<'_>) -> bool {
        let json =
            |value: &Option<Json<'_>>| value.as_ref().is_some_and(|v| self.is_in(v.as_str()));
        let some = |text: Option<&str>| text.is_some_and(|text| self.is_in(text));
        match body {
            Body::Run(run) => {
                json(&run.metadata)
                    || json(&run.result)
                    || run.error.as_ref().is_some_and(|error| {
                        self.is_in(&error.message) || some(error.stack.as_deref())
                    })
            }
            Body::Event(event) => some(event.message.as_deref()) || json(&event.payload),
            Body::Error(error) => {
                self.is_in(&error.message) || some(error.stack.as_deref()) || json(&error.detail)
            }
        }
    }

    fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Exact(pattern) => memmem::find(text.as_bytes(), pattern.as_bytes()).is_some(),
            Self::Ascii(pattern) => contains_ignoring_case(text.as_bytes(), pattern.as_bytes()),
            Self::Folded(pattern) => text.to_lowercase().contains(pattern.as_str()),
        }
    }
}

/// A text that is looked for in records of one segment.
pub(super) struct Search<'a> {
    text: &'a TextPattern,
    /// Its own: what a query gives is not to hold what is unpacked here.
    pinned: Pinned,
    /// True when a record that is damaged counts as one that holds the text.
    passes_damaged: bool,
    /// Why a record could not be read that might hold the text.
    unread: Option<Error>,
}

impl<'a> Search<'a> {
    pub(super) fn new(text: &'a TextPattern, pinned: &Pinned, passes_damaged: bool) -> Self {
        Self { text, pinned: pinned.anew(), passes_damaged, unread: None }
    }

    /// True when the record that lies at `offset` holds the text.
    pub(super) fn finds(&mut self, seq: u64, offset: u32) -> bool {
        self.pinned.let_go();
        match self.pinned.record(seq, offset) {
            Ok(record) => self.text.matches(&record.body),
            Err(Error::Damaged { .. }) if self.passes_damaged => true,
            Err(err) => {
                self.unread = Some(err);
                false
            }
        }
    }

    /// Ends the search.
    ///
    /// # Errors
    /// When a record could not be read: that it might hold the text is not to pass in silence.
    pub(super) fn end(self) -> Result<()> {
        self.unread.map_or(Ok(()), Err)
    }
}

fn contains_ignoring_case(text: &[u8], pattern: &[u8]) -> bool {
    let Some(&first) = pattern.first() else { return true };
    memchr2_iter(first, first.to_ascii_uppercase(), text).any(|at| {
        text.get(at..at + pattern.len()).is_some_and(|part| part.eq_ignore_ascii_case(pattern))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_case_finds_either_case_and_upper_case_only_itself() {
        let found = |pattern: &str, text: &str| TextPattern::new(pattern.to_owned()).is_in(text);
        assert!(found("timeout", "a TimeOut b") && found("timeout", "timeout"));
        assert!(!found("Timeout", "a timeout") && found("Timeout", "a Timeout"));
        assert!(found("größe", "GRÖSSE GRÖßE") && !found("größe", "grosse"));
        assert!(found("\u{1c5}", "\u{1c5}\u{1fbc}") && found("\u{1fbc}", "\u{1fb3}"));
        assert!(found("", "") && found("b", "aB") && !found("ab", "b"));
    }
}
