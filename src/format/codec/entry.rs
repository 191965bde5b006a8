//! What an index holds of a record, read past its texts.
//!
//! Every record of a bulk load goes through here once more, in the background: without the model in
//! between, and with the keys put where the index takes them from, that is half of the work. A test
//! holds it to accept what [`decode`](super::decode) accepts, and to give the same.

use crate::error::Damage;
use crate::format::key::{Parts, WIDE_KEY_BYTES, wide_id};
use crate::limits::MAX_ID_BYTES;
use crate::model::{ActorType, Field, Fingerprint, Kind, Severity, Status, Timestamp};

use super::read::{Row, coded};
use super::{Prior, split};

/// What an index holds of a record besides its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As in [`Decoded`](super::Decoded).
    pub(crate) gap: u32,
    /// Which record it supersedes.
    pub(crate) prior: Prior,
    pub(crate) created_at: Timestamp,
    /// The newest of the record's own times.
    pub(crate) newest: Timestamp,
    /// How many nanoseconds a run took that has ended.
    pub(crate) duration: Option<i64>,
    /// As of [`key::tag`](crate::format::key::tag).
    pub(crate) tag: u8,
    /// How many bytes the record takes, its length included.
    pub(crate) consumed: usize,
}

/// Reads the record that begins at the beginning of `bytes`. Each of its keys is appended to
/// `arena`, and then shown to `note`.
///
/// # Errors
/// As for [`decode`](super::decode). Some keys may have been noted.
pub(crate) fn decode_entry(
    kind: Kind,
    bytes: &[u8],
    arena: &mut Vec<u8>,
    note: impl FnMut(Field, &[u8]),
) -> Result<Entry, Damage> {
    let (record, consumed) = split(bytes)?;
    let mut entry = EntryRow { row: Row::new(record), arena, note };
    let read = match kind {
        Kind::Run => entry.run(),
        Kind::Event => entry.event(),
        Kind::Error => entry.error(),
    };
    read.map(|entry| Entry { consumed, ..entry }).ok_or(Damage::Record)
}

/// A row, and where its keys go.
struct EntryRow<'a, 'k, F> {
    row: Row<'a>,
    arena: &'k mut Vec<u8>,
    note: F,
}

impl<F: FnMut(Field, &[u8])> EntryRow<'_, '_, F> {
    /// Notes a key, which `put` appends.
    #[inline]
    fn key(&mut self, field: Field, put: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        put(self.arena);
        (self.note)(field, self.arena.get(start..).unwrap_or_default());
    }

    /// Notes a key that stands in the record as it is. It is hashed where it stands: for what was
    /// just copied, and is read in other pieces, the processor waits.
    #[inline]
    fn stored_key(&mut self, field: Field, key: &[u8]) {
        self.arena.put(key);
        (self.note)(field, key);
    }

    #[inline]
    fn name(&mut self) -> Option<()> {
        let name = self.row.name_bytes()?;
        self.stored_key(Field::Type, name);
        Some(())
    }

    #[inline]
    fn id(&mut self, field: Field) -> Option<()> {
        let begun = self.row.left;
        if let Some(key) = begun.get(..WIDE_KEY_BYTES).filter(|key| wide_id(key).is_some()) {
            self.row.bytes(key.len())?;
            self.stored_key(field, key);
            return Some(());
        }
        if self.row.u32()? == 0 {
            let text = self.row.text_bytes()?;
            if matches!(text.len(), 1..=31 | 33..=35 | 37..=MAX_ID_BYTES) {
                self.key(field, |arena| arena.put_text_id(text));
                return Some(());
            }
        }
        // It may be another form of an id, or none.
        self.row.left = begun;
        let id = self.row.id()?;
        self.key(field, |arena| arena.put_id(&id));
        Some(())
    }

    #[inline]
    fn id_if_any(&mut self, field: Field) -> Option<()> {
        match self.row.byte()? {
            0 => Some(()),
            1 => self.id(field),
            _ => None,
        }
    }

    #[inline]
    fn text_if_any(&mut self) -> Option<()> {
        self.row.option(Row::text_bytes).map(drop)
    }

    fn run(&mut self) -> Option<Entry> {
        let (gap, prior, created_at) = (self.row.u32()?, self.row.prior()?, self.row.time()?);
        let after = |row: &mut Row<'_>| row.time_after(created_at);
        let (started_at, finished_at) = (self.row.option(after)?, self.row.option(after)?);
        let status = Status::from_code(self.row.byte()?)?;
        self.row.u32()?;
        self.name()?;
        self.id(Field::Run)?;
        self.id_if_any(Field::Trace)?;
        self.id_if_any(Field::Project)?;
        self.id_if_any(Field::User)?;
        self.row.option(Row::id)?;
        if let Some(subject) = self.row.option(Row::subject)? {
            self.key(Field::Subject, |arena| arena.put_subject(&subject));
        }
        self.row.option(Row::run_error)?;
        self.text_if_any()?;
        self.text_if_any()?;
        self.row.trailing(Row::owner)?;
        self.row.trailing(Row::origin)?;
        let took = |end: Timestamp| end.nanos_since(started_at.unwrap_or(created_at));
        let newest = Some(created_at).max(started_at).max(finished_at)?;
        let (tag, duration) = (status.code(), finished_at.map(took));
        Some(Entry { gap, prior, created_at, newest, duration, tag, consumed: 0 })
    }

    fn event(&mut self) -> Option<Entry> {
        let (gap, created_at, tag) = (self.row.u32()?, self.row.time()?, self.row.byte()?);
        coded(tag, Severity::from_code)?;
        coded(self.row.byte()?, ActorType::from_code)?;
        self.name()?;
        self.id_if_any(Field::Trace)?;
        self.id_if_any(Field::Project)?;
        self.id_if_any(Field::Run)?;
        self.id_if_any(Field::User)?;
        self.row.option(Row::id)?;
        self.text_if_any()?;
        self.text_if_any()?;
        self.row.trailing(Row::origin)?;
        Some(Entry::at(gap, created_at, tag))
    }

    fn error(&mut self) -> Option<Entry> {
        let (gap, created_at, tag) = (self.row.u32()?, self.row.time()?, self.row.byte()?);
        Severity::from_code(tag)?;
        let (version, hash) = (self.row.byte()?, self.row.array().map(u64::from_le_bytes)?);
        self.name()?;
        self.row.text_bytes()?;
        self.id_if_any(Field::Trace)?;
        self.id_if_any(Field::Project)?;
        self.id_if_any(Field::Run)?;
        self.id_if_any(Field::User)?;
        self.text_if_any()?;
        self.text_if_any()?;
        self.text_if_any()?;
        self.row.trailing(Row::origin)?;
        if version != 0 {
            let fingerprint = Fingerprint { version, hash };
            self.key(Field::Fingerprint, |arena| arena.put_fingerprint(fingerprint));
        }
        Some(Entry::at(gap, created_at, tag))
    }
}

impl Entry {
    /// That of a record with one time.
    const fn at(gap: u32, at: Timestamp, tag: u8) -> Self {
        let (prior, duration) = (Prior::None, None);
        Self { gap, prior, created_at: at, newest: at, duration, tag, consumed: 0 }
    }
}
