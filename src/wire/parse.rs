//! Lines to records.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::limits::MAX_LINE_BYTES;
use crate::model::{Body, Kind};
use crate::wire::LineError;
use crate::wire::draft::{Draft, Scalar, foreign};
use crate::wire::key::Key;
use crate::wire::line_error::clip;

/// How strictly lines are read. The default is strict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseOptions {
    /// Drop keys that are unknown or belong to another kind instead of refusing the line, and take
    /// an error without a `message` as one with an empty message.
    pub lenient: bool,
    /// What a line is that does not say its kind; `None` refuses it.
    pub kind: Option<Kind>,
}

impl ParseOptions {
    /// The strict ones.
    #[must_use]
    pub const fn new() -> Self {
        Self { lenient: false, kind: None }
    }

    /// Sets what a line is that does not say its kind.
    #[must_use]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Sets whether keys that do not belong are dropped instead of refused.
    #[must_use]
    pub const fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }
}

/// Reads one line of bytes, as [`parse_line`] does.
///
/// # Errors
/// Also [`LineError::NotUtf8`].
pub fn parse_bytes<'a>(line: &'a [u8], options: &ParseOptions) -> Result<Body<'a>, LineError> {
    check_length(line.len())?;
    let text =
        std::str::from_utf8(line).map_err(|err| LineError::NotUtf8 { at: err.valid_up_to() })?;
    parse_line(text, options)
}

/// Reads one record from one line, with or without its line end.
///
/// Text without escapes and JSON values are borrowed from the line; JSON values stay the text that
/// they are. Of an event or error, `ts` is when it was created; of a run, when it entered its
/// status ([`Run::at`](crate::Run::at)). What the ledger itself derives (`seq`, `recorded_at`,
/// `supersedes`, `duration_ms`, `fingerprint`) is ignored, so that what was written by
/// [`write_record`](crate::wire::write_record) can be read again; and so are a run's `owner`, who
/// answers for it in the ledger that the line is from, and the `origin` of what was merged.
///
/// # Errors
/// A [`LineError`] that names the key and the value, and says what would be right.
pub fn parse_line<'a>(line: &'a str, options: &ParseOptions) -> Result<Body<'a>, LineError> {
    check_length(line.len())?;
    let mut draft = Draft::default();
    let mut reason = None;
    let object = Object {
        draft: &mut draft,
        reason: &mut reason,
        lenient: options.lenient,
        kind: if options.lenient { kind_of(line).or(options.kind) } else { None },
    };
    let mut json = serde_json::Deserializer::from_str(line);
    let read = object.deserialize(&mut json).and_then(|()| json.end());
    match (reason, read) {
        (Some(reason), _) => Err(reason),
        (None, Err(err)) => Err(not_json(line, &err)),
        (None, Ok(())) => draft.finish(options),
    }
}

fn check_length(bytes: usize) -> Result<(), LineError> {
    if bytes > MAX_LINE_BYTES {
        return Err(LineError::TooLong { bytes, limit: MAX_LINE_BYTES });
    }
    Ok(())
}

/// The kind of a line, read ahead, because what is to be dropped depends on it.
fn kind_of(line: &str) -> Option<Kind> {
    #[derive(Deserialize)]
    struct Only<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
    }
    serde_json::from_str::<Only<'_>>(line).ok()?.kind.parse().ok()
}

fn not_json(line: &str, err: &serde_json::Error) -> LineError {
    if err.is_data() {
        let found = match line.trim_start().as_bytes().first() {
            Some(b'[') => "a list",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        };
        return LineError::NotAnObject { found };
    }
    let said = err.to_string();
    let problem = said.rsplit_once(" at line ").map_or(said.as_str(), |(problem, _)| problem);
    LineError::NotJson { column: err.column(), problem: problem.to_owned() }
}

/// Reads the object that a line is into a draft. What serde's errors cannot carry, the typed
/// reason, is left in `reason`.
struct Object<'d, 'a> {
    draft: &'d mut Draft<'a>,
    reason: &'d mut Option<LineError>,
    lenient: bool,
    kind: Option<Kind>,
}

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<AnyKey>()? {
            if let Some(reason) = self.entry(key, &mut map)? {
                *self.reason = Some(reason);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

impl<'de> Object<'_, 'de> {
    /// Reads the value of a key; gives the reason when it is refused.
    fn entry<A: MapAccess<'de>>(
        &mut self,
        key: AnyKey,
        map: &mut A,
    ) -> Result<Option<LineError>, A::Error> {
        let key = match key {
            AnyKey::Known(key) => key,
            AnyKey::Unknown(_) if self.lenient => {
                return map.next_value::<IgnoredAny>().map(|_| None);
            }
            AnyKey::Unknown(key) => return Ok(Some(self.unknown(&key))),
        };
        if let Some(kind) = self.kind.or(self.draft.kind)
            && !key.belongs_to(kind)
        {
            if self.lenient {
                return map.next_value::<IgnoredAny>().map(|_| None);
            }
            return Ok(Some(foreign(key, kind)));
        }
        if let Err(reason) = self.draft.note(key) {
            return Ok(Some(reason));
        }
        let set = match key {
            Key::Seq
            | Key::RecordedAt
            | Key::Supersedes
            | Key::DurationMs
            | Key::Fingerprint
            | Key::Owner
            | Key::Origin => return map.next_value::<IgnoredAny>().map(|_| None),
            Key::Metadata | Key::Payload | Key::Detail | Key::Result | Key::Subject => {
                self.draft.set_json(key, map.next_value::<&'de RawValue>()?.get())
            }
            _ => self.draft.set(key, map.next_value()?),
        };
        Ok(set.err())
    }

    fn unknown(&self, key: &str) -> LineError {
        let known = self.draft.kind.map_or_else(String::new, |kind| {
            format!("; keys of kind {kind}: {}", Key::names_of(kind))
        });
        LineError::UnknownKey { key: clip(key), known }
    }
}

/// A key of a line, known or not.
enum AnyKey {
    Known(Key),
    Unknown(String),
}

impl<'de> Deserialize<'de> for AnyKey {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = AnyKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, name: &str) -> Result<AnyKey, E> {
                Ok(Key::from_name(name)
                    .map_or_else(|| AnyKey::Unknown(name.to_owned()), AnyKey::Known))
            }
        }
        json.deserialize_str(Name)
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyScalar)
    }
}

struct AnyScalar;

impl<'de> Visitor<'de> for AnyScalar {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Whole(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Other("a negative number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Other("a number with a fraction"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other("true or false"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}
