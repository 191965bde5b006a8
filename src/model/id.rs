use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::limits::MAX_ID_BYTES;

/// An identifier: 1 to 128 bytes of UTF-8, given back byte for byte.
///
/// A UUID (36 characters, lower case, hyphenated) and a string of 32 lower-case hexadecimal digits
/// are held, stored and compared as their 16 bytes.
///
/// ```
/// use runledger::Id;
/// let id = Id::new("f0f21b3342f101d546c957d98fa122f6")?;
/// assert_eq!(id.to_string(), "f0f21b3342f101d546c957d98fa122f6");
/// assert!(Id::new("x".repeat(129)).is_err());
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id<'a>(Repr<'a>);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr<'a> {
    Text(Cow<'a, str>),
    Uuid([u8; 16]),
    Hex([u8; 16]),
}

/// The three forms an [`Id`] is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm<'a> {
    /// Any other text.
    Text(&'a str),
    /// The 16 bytes of a hyphenated lower-case UUID.
    Uuid(&'a [u8; 16]),
    /// The 16 bytes of 32 lower-case hexadecimal digits.
    Hex(&'a [u8; 16]),
}

/// Where the hyphens of a UUID stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Which of the 32 digits of a UUID stand between its hyphens, and from where on.
const GROUPS: [(Range<usize>, usize); 5] =
    [(0..8, 0), (8..12, 9), (12..16, 14), (16..20, 19), (20..32, 24)];

impl<'a> Id<'a> {
    /// Checks the length and takes the text.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the text is empty or longer than 128 bytes.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self> {
        let text = text.into();
        match Self::is_len(text.len()) {
            true => Ok(Self::of_len(text)),
            false => Err(Error::invalid("id", &text, "1 to 128 bytes of UTF-8")),
        }
    }

    /// True when an id may be so long, in bytes.
    pub(crate) const fn is_len(len: usize) -> bool {
        1 <= len && len <= MAX_ID_BYTES
    }

    /// The id of a text whose length was checked.
    #[inline]
    pub(crate) fn of_len(text: Cow<'a, str>) -> Self {
        Self(match text.len() {
            32 => digits(text.as_bytes()).map_or(Repr::Text(text), Repr::Hex),
            36 if HYPHENS.iter().all(|&at| text.as_bytes().get(at) == Some(&b'-')) => {
                let hex = without_hyphens(text.as_bytes());
                hex.and_then(|hex| digits(&hex)).map_or(Repr::Text(text), Repr::Uuid)
            }
            _ => Repr::Text(text),
        })
    }

    /// The id whose UUID form has these 16 bytes.
    #[must_use]
    pub const fn from_uuid(bytes: [u8; 16]) -> Self {
        Self(Repr::Uuid(bytes))
    }

    /// The id that is these 16 bytes written as 32 hexadecimal digits, as trace ids are.
    #[must_use]
    pub const fn from_hex_bytes(bytes: [u8; 16]) -> Self {
        Self(Repr::Hex(bytes))
    }

    /// The form it is stored in.
    #[must_use]
    pub fn form(&self) -> IdForm<'_> {
        match &self.0 {
            Repr::Text(text) => IdForm::Text(text),
            Repr::Uuid(bytes) => IdForm::Uuid(bytes),
            Repr::Hex(bytes) => IdForm::Hex(bytes),
        }
    }

    /// The same id, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Id<'static> {
        Id(match self.0 {
            Repr::Text(text) => Repr::Text(Cow::Owned(text.into_owned())),
            Repr::Uuid(bytes) => Repr::Uuid(bytes),
            Repr::Hex(bytes) => Repr::Hex(bytes),
        })
    }

    /// The same id, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Id<'_> {
        Id(match &self.0 {
            Repr::Text(text) => Repr::Text(Cow::Borrowed(text)),
            Repr::Uuid(bytes) => Repr::Uuid(*bytes),
            Repr::Hex(bytes) => Repr::Hex(*bytes),
        })
    }
}

/// The 32 bytes of a UUID that are no hyphens.
fn without_hyphens(uuid: &[u8]) -> Option<[u8; 32]> {
    let mut hex = [0; 32];
    for (to, from) in GROUPS {
        let from = uuid.get(from..from + to.len())?;
        hex.get_mut(to)?.copy_from_slice(from);
    }
    Some(hex)
}

/// The 32 bytes, with hyphens between them.
fn with_hyphens(hex: &[u8; 32]) -> [u8; 36] {
    let mut uuid = [b'-'; 36];
    for (from, to) in GROUPS {
        let place = uuid.get_mut(to..to + from.len());
        if let Some((place, digits)) = place.zip(hex.get(from)) {
            place.copy_from_slice(digits);
        }
    }
    uuid
}

/// The 32 lower-case hexadecimal digits of sixteen bytes.
fn hex(bytes: &[u8; 16]) -> [u8; 32] {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let mut hex = [0; 32];
    for (pair, byte) in hex.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    hex
}

/// Sixteen bytes from 32 lower-case hexadecimal digits; `None` when any is something else.
fn digits(text: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut all = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks().0) {
        let [high, low] = pair.map(digit);
        all |= high | low;
        *byte = (high << 4) | low;
    }
    (all < 16).then_some(bytes)
}

/// What a digit stands for; of what is none, more than 15. All are looked at before any is refused,
/// and none of it branches: which of the two ranges the next digit of an id is in is chance, and
/// guessing took longer than everything else about it.
const fn digit(byte: u8) -> u8 {
    let (decimal, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        u8::MAX
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ascii = |text: &[u8], f: &mut fmt::Formatter<'_>| {
            f.pad(str::from_utf8(text).unwrap_or_default())
        };
        match &self.0 {
            Repr::Text(text) => f.pad(text),
            Repr::Uuid(bytes) => ascii(&with_hyphens(&hex(bytes)), f),
            Repr::Hex(bytes) => ascii(&hex(bytes), f),
        }
    }
}

impl fmt::Debug for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl PartialEq<str> for Id<'_> {
    fn eq(&self, other: &str) -> bool {
        Id::new(other).is_ok_and(|other| *self == other)
    }
}

impl<'a> TryFrom<&'a str> for Id<'a> {
    type Error = Error;

    fn try_from(text: &'a str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Id<'_> {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_byte_for_byte() {
        let uuid = "0192f1a4-7b3c-7def-8123-456789abcdef";
        for text in [
            "f0f21b3342f101d546c957d98fa122f6",
            "F0F21B3342F101D546C957D98FA122F6",
            uuid,
            &uuid.to_uppercase(),
            "0192f1a47b3c-7def-8123-456789abcdef-",
            "1e223ff1f80f1c69",
            "größe/日本語",
            "g0f21b3342f101d546c957d98fa122f6",
            "f0f21b3342f101d546c957d98fa122f:",
            "0192f1a4-7b3c-7def-8123-456789abcde-",
            "0192f1a4-7b3c-7def-8123-456789abcdé",
        ] {
            let id = Id::new(text).unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.clone().into_owned(), id);
            assert_eq!(id.borrowed(), id);
        }
        assert!(matches!(Id::new(uuid).unwrap().form(), IdForm::Uuid(_)));
        assert!(matches!(Id::new(uuid.to_uppercase()).unwrap().form(), IdForm::Text(_)));
    }

    #[test]
    fn lengths_at_the_bound() {
        assert!(Id::new("").is_err());
        assert!(Id::new("é".repeat(64)).is_ok());
        assert!(Id::new(format!("{}x", "é".repeat(64))).is_err());
    }
}
