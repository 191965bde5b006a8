//! Index keys: the bytes that a field of a record is indexed by, and their hash.
//!
//! A type is its UTF-8. An id is a byte for its form and its bytes, so that a UUID and the text of
//! the same 16 bytes differ. A subject is the length of its kind, its kind and its id's key. A
//! fingerprint is its version and its hash.

use std::borrow::Cow;

use twox_hash::XxHash3_64;

use crate::error::{Error, Result};
use crate::format::codec;
use crate::limits::{MAX_ID_BYTES, MAX_NAME_BYTES};
use crate::model::{Body, Field, Fingerprint, Id, IdForm, Subject};

const TEXT: u8 = 0;
const UUID: u8 = 1;
const HEX: u8 = 2;

/// The longest key in bytes: that of a subject.
pub const MAX_KEY_BYTES: usize = size_of::<u16>() + MAX_NAME_BYTES + size_of::<u8>() + MAX_ID_BYTES;

/// One key, held without an allocation.
#[derive(Debug, Clone)]
pub struct KeyBuf {
    len: usize,
    bytes: [u8; MAX_KEY_BYTES],
}

impl KeyBuf {
    const fn new() -> Self {
        Self { len: 0, bytes: [0; MAX_KEY_BYTES] }
    }

    /// The key.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Where the parts of a key are put one after the other.
pub(super) trait Parts {
    /// Appends a part.
    fn put(&mut self, part: &[u8]);

    #[inline]
    fn put_id(&mut self, id: &Id<'_>) {
        match id.form() {
            IdForm::Text(text) => self.put_text_id(text.as_bytes()),
            IdForm::Uuid(bytes) => {
                self.put(&[UUID]);
                self.put(bytes);
            }
            IdForm::Hex(bytes) => {
                self.put(&[HEX]);
                self.put(bytes);
            }
        }
    }

    /// Appends the key of an id that is text.
    #[inline]
    fn put_text_id(&mut self, text: &[u8]) {
        self.put(&[TEXT]);
        self.put(text);
    }

    fn put_subject(&mut self, subject: &Subject<'_>) {
        // A subject's kind is at most 256 bytes.
        self.put(&u16::try_from(subject.kind().len()).unwrap_or(u16::MAX).to_le_bytes());
        self.put(subject.kind().as_bytes());
        self.put_id(subject.id());
    }

    fn put_fingerprint(&mut self, fingerprint: Fingerprint) {
        self.put(&[fingerprint.version]);
        self.put(&fingerprint.hash.to_le_bytes());
    }
}

impl Parts for KeyBuf {
    /// The limits of the model keep every key within the buffer.
    fn put(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        debug_assert!(end <= MAX_KEY_BYTES, "the model's limits bound a key");
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(part);
            self.len = end;
        }
    }
}

impl Parts for Vec<u8> {
    #[inline]
    fn put(&mut self, part: &[u8]) {
        self.extend_from_slice(part);
    }
}

/// The hash of a key: XXH3, 64 bits.
#[inline]
#[must_use]
pub fn hash(seed: u64, key: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, key)
}

/// An id that is stored as 16 bytes.
pub type WideId = [u8; 16];

/// How long its key is.
pub const WIDE_KEY_BYTES: usize = 1 + size_of::<WideId>();

/// The id that a key is of, when it is one of 16 bytes; a record has the key as it is. What is no
/// id may seem to be one.
#[must_use]
pub fn wide_id(key: &[u8]) -> Option<&WideId> {
    match key {
        [UUID | HEX, id @ ..] => id.try_into().ok(),
        _ => None,
    }
}

/// The key of an id.
#[must_use]
pub fn id_key(id: &Id<'_>) -> KeyBuf {
    let mut key = KeyBuf::new();
    key.put_id(id);
    key
}

/// The hash of an id's key.
#[inline]
#[must_use]
pub fn id_hash(seed: u64, id: &Id<'_>) -> u64 {
    // As `id_key` makes it, without the room for a text.
    let wide = |form: u8, id: &WideId| {
        let mut key = [form; WIDE_KEY_BYTES];
        if let Some(place) = key.last_chunk_mut() {
            *place = *id;
        }
        hash(seed, &key)
    };
    match id.form() {
        IdForm::Text(_) => hash(seed, id_key(id).as_slice()),
        IdForm::Uuid(bytes) => wide(UUID, bytes),
        IdForm::Hex(bytes) => wide(HEX, bytes),
    }
}

/// True when this is the key of the id.
#[must_use]
pub fn is_id_key(id: &Id<'_>, key: &[u8]) -> bool {
    let Some((form, rest)) = key.split_first() else { return false };
    match id.form() {
        IdForm::Text(text) => *form == TEXT && rest == text.as_bytes(),
        IdForm::Uuid(bytes) => *form == UUID && rest == bytes,
        IdForm::Hex(bytes) => *form == HEX && rest == bytes,
    }
}

/// Calls `f` with the key of each keyed field that the record has.
pub fn keys_of(body: &Body<'_>, mut f: impl FnMut(Field, &[u8])) {
    f(Field::Type, body.type_name().as_bytes());
    let mut key = KeyBuf::new();
    for (field, id) in [
        (Field::Trace, body.trace_id()),
        (Field::Run, body.run_id()),
        (Field::Project, body.project_id()),
        (Field::User, body.user_id()),
    ] {
        if let Some(id) = id {
            key.len = 0;
            key.put_id(id);
            f(field, key.as_slice());
        }
    }
    key.len = 0;
    match body {
        Body::Run(run) => {
            if let Some(subject) = &run.subject {
                key.put_subject(subject);
                f(Field::Subject, key.as_slice());
            }
        }
        Body::Event(_) => {}
        Body::Error(error) => {
            if let Some(fingerprint) = error.fingerprint {
                key.put_fingerprint(fingerprint);
                f(Field::Fingerprint, key.as_slice());
            }
        }
    }
}

/// The key of the value that this text names, for a filter.
///
/// # Errors
/// [`Error::Invalid`] when no record can have that value in that field, or when the field is not
/// indexed by key.
pub fn parse_key(field: Field, text: &str) -> Result<KeyBuf> {
    let mut key = KeyBuf::new();
    match field {
        Field::Type => {
            codec::check_name("type", text)?;
            key.put(text.as_bytes());
        }
        Field::Trace | Field::Run | Field::Project | Field::User => key.put_id(&Id::new(text)?),
        Field::Subject => key.put_subject(&Subject::parse(text)?),
        Field::Fingerprint => key.put_fingerprint(text.parse()?),
        Field::Status | Field::Severity => {
            return Err(Error::invalid("field", field.name(), "a field that is indexed by key"));
        }
    }
    Ok(key)
}

/// The value whose key this is, as people read it; `None` when it is no key of that field.
#[must_use]
pub fn key_text(field: Field, key: &[u8]) -> Option<String> {
    match field {
        Field::Type => str::from_utf8(key).ok().map(str::to_owned),
        Field::Trace | Field::Run | Field::Project | Field::User => Some(read_id(key)?.to_string()),
        Field::Subject => {
            let (len, rest) = key.split_first_chunk()?;
            let (kind, id) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            let kind = Cow::Borrowed(str::from_utf8(kind).ok()?);
            Subject::from_parts(kind, read_id(id)?).ok().map(|subject| subject.to_string())
        }
        Field::Fingerprint => {
            let (version, hash) = key.split_first()?;
            let hash = u64::from_le_bytes(hash.try_into().ok()?);
            Some(Fingerprint { version: *version, hash }.to_string())
        }
        Field::Status | Field::Severity => None,
    }
}

fn read_id(key: &[u8]) -> Option<Id<'_>> {
    let (form, bytes) = key.split_first()?;
    match *form {
        TEXT => Id::new(str::from_utf8(bytes).ok()?).ok(),
        UUID => bytes.try_into().ok().map(Id::from_uuid),
        HEX => bytes.try_into().ok().map(Id::from_hex_bytes),
        _ => None,
    }
}

/// The tag of a record: the code of a run's status, or of an event's or error's severity; 0 for an
/// event without one.
#[must_use]
pub fn tag(body: &Body<'_>) -> u8 {
    match body {
        Body::Run(run) => run.status.code(),
        Body::Event(event) => event.severity.map_or(0, |severity| severity.code()),
        Body::Error(error) => error.severity.code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ErrorRecord, Event, Run, Severity, Status};

    const UUID_TEXT: &str = "0192f1a4-7b3c-7def-8123-456789abcdef";
    const HEX_TEXT: &str = "0192f1a47b3c7def8123456789abcdef";

    fn keys(body: &Body<'_>) -> Vec<(Field, Vec<u8>)> {
        let mut all = Vec::new();
        keys_of(body, |field, key| all.push((field, key.to_vec())));
        all
    }

    #[test]
    fn every_key_reads_back_as_text_and_parses_to_itself() {
        let long_id = "é".repeat(64);
        let kind = "k".repeat(256);
        let mut run = Run::new(UUID_TEXT, "t".repeat(256), Status::Failed)
            .unwrap()
            .trace_id(Id::new(HEX_TEXT).unwrap())
            .project_id(Id::new("p").unwrap())
            .user_id(Id::new(long_id.as_str()).unwrap());
        run.subject = Some(Subject::new(kind.as_str(), long_id.as_str()).unwrap());
        let mut error = ErrorRecord::new("E", "m");
        error.fingerprint = Some(Fingerprint { version: 1, hash: 0x0123_4567_89ab_cdef });
        for body in [Body::Run(run), Body::Event(Event::new("e")), Body::Error(error)] {
            for (field, key) in keys(&body) {
                let text = key_text(field, &key).unwrap();
                assert_eq!(parse_key(field, &text).unwrap().as_slice(), key, "{field} {text}");
            }
        }
    }

    #[test]
    fn each_kind_yields_its_fields() {
        let run = Run::new("r", "t", Status::Running)
            .unwrap()
            .subject(Subject::new("booking", "B-1").unwrap());
        let fields: Vec<_> = keys(&Body::Run(run)).into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, [Field::Type, Field::Run, Field::Subject]);
        let event = Event::new("t").user_id(Id::new("u").unwrap());
        let expected = [(Field::Type, b"t".to_vec()), (Field::User, b"\0u".to_vec())];
        assert_eq!(keys(&Body::Event(event)), expected);
    }

    #[test]
    fn forms_of_the_same_bytes_have_different_keys() {
        let uuid = parse_key(Field::Run, UUID_TEXT).unwrap();
        let hex = parse_key(Field::Run, HEX_TEXT).unwrap();
        assert_eq!(uuid.as_slice()[1..], hex.as_slice()[1..]);
        assert_ne!(uuid.as_slice(), hex.as_slice());
        assert_ne!(hash(0, uuid.as_slice()), hash(0, hex.as_slice()));
        assert_ne!(hash(0, hex.as_slice()), hash(1, hex.as_slice()));
    }

    #[test]
    fn the_hash_of_an_id_is_that_of_its_key() {
        for text in ["r", UUID_TEXT, HEX_TEXT] {
            let id = Id::new(text).unwrap();
            assert_eq!(id_hash(7, &id), hash(7, id_key(&id).as_slice()), "{text}");
        }
    }

    #[test]
    fn what_no_record_can_have_is_refused() {
        for (field, text) in [
            (Field::Type, ""),
            (Field::Trace, ""),
            (Field::Subject, "no colon"),
            (Field::Subject, ":x"),
            (Field::Fingerprint, "1-xyz"),
            (Field::Status, "failed"),
            (Field::Severity, "error"),
        ] {
            assert!(parse_key(field, text).is_err(), "{field} {text:?}");
        }
        assert!(parse_key(Field::Type, &"t".repeat(257)).is_err());
    }

    #[test]
    fn bytes_that_are_no_key_have_no_text() {
        for field in Field::ALL {
            for bytes in [&[][..], &[9], &[0xff; 40], &[1; 5], &[0]] {
                if *field != Field::Type || bytes.contains(&0xff) {
                    assert_eq!(key_text(*field, bytes), None, "{field} {bytes:?}");
                }
            }
        }
    }

    #[test]
    fn tags_are_codes_below_the_superseded_bit() {
        let event = Body::Event(Event::new("e"));
        assert_eq!(tag(&event), 0);
        for status in Status::ALL {
            let run = Body::Run(Run::new("r", "t", *status).unwrap());
            assert_eq!(tag(&run), status.code());
            assert_eq!(tag(&run) & crate::model::SUPERSEDED, 0);
        }
        let error = Body::Error(ErrorRecord::new("E", "m").severity(Severity::Critical));
        assert_eq!(tag(&error), Severity::Critical.code());
    }

    #[test]
    fn keyed_fields_are_the_first_of_all() {
        for (at, field) in Field::ALL.iter().enumerate() {
            let expected = (at < Field::KEYED).then_some(at);
            assert_eq!(field.key_index(), expected);
        }
    }
}
