//! Records as bytes: the one home of bincode.
//!
//! A record on disk is its length and then a row: the fields of the record in a fixed order, in
//! bincode's standard configuration (little endian, variable-length integers). The rows are private
//! to this module, so that neither the model nor bincode can change the bytes unseen; FORMAT.md
//! specifies them and a test holds both together.
//!
//! Decoding borrows: text and JSON stay where they lie.

mod entry;
mod next;
mod read;
mod row;

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;

use crate::error::{Damage, Error, Result};
use crate::format::key;
use crate::limits::{MAX_NAME_BYTES, MAX_RECORD_BYTES};
use crate::model::{Body, ErrorRecord, Event, Field, Json, Kind, Origin, Run, Status};
pub(crate) use entry::decode_entry;
pub(crate) use next::{Kept, NextRun, RunState, decode_state};
use read::Row;
use row::{ErrorRow, EventRow, OriginRow, RunRow};

/// What bincode may claim for one record. It counts an integer by its size in memory, not by that
/// on disk, so the longest record needs some room beyond its own bytes.
const CLAIM_LIMIT: usize = MAX_RECORD_BYTES + 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<CLAIM_LIMIT>> =
    config::standard().with_limit::<CLAIM_LIMIT>();

/// The largest length that bincode writes in one byte.
const ONE_BYTE_MAX: usize = 250;
/// What bincode puts before a 16-bit integer.
const U16_MARK: u8 = 251;
/// What bincode puts before a 32-bit integer.
const U32_MARK: u8 = 252;
/// What bincode puts before a 64-bit integer.
const U64_MARK: u8 = 253;
/// The longest encoded length: the mark and 32 bits.
const MAX_LEN_BYTES: usize = 5;
/// Room for all of a record that is no text of the caller's: ids as bytes, marks, times.
const FIXED_BYTES: usize = 192;

/// Which record a run's record supersedes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prior {
    /// None: it is the first of its run, or no record of a run.
    #[default]
    None,
    /// The one with this sequence number.
    Seq(u64),
    /// The one whose sequence number is less than its own by this much: inside of one batch, where
    /// its own is not known yet.
    Back(u32),
}

impl Prior {
    /// The sequence number of the superseded record, for a record that has `seq`.
    ///
    /// `None` also for a distance that leads below sequence number 1, or one that is not below
    /// `seq`: such a record was not written by this program.
    #[must_use]
    pub fn resolve(self, seq: u64) -> Option<u64> {
        let prior = match self {
            Self::None => return None,
            Self::Seq(prior) => prior,
            Self::Back(distance) => seq.checked_sub(u64::from(distance))?,
        };
        (1..seq).contains(&prior).then_some(prior)
    }
}

/// A record as it lies in a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// Its sequence number minus that of the record before it in the frame, minus 1; for the first
    /// record of a frame, its sequence number minus the frame's `base_seq`.
    pub gap: u32,
    /// Which record it supersedes.
    pub prior: Prior,
    /// What it holds, borrowed from the bytes.
    pub body: Body<'a>,
    /// How many bytes it takes, its length included: where the next record begins.
    pub consumed: usize,
}

/// Appends the record of a run to a payload.
///
/// `created_at` must have been set; an absent `attempt` is written as 1.
///
/// # Errors
/// [`Error::Invalid`] for a type of 0 or over 256 bytes or an absent `created_at`,
/// [`Error::TooLarge`] for a record over [`MAX_RECORD_BYTES`]. `out` is then as it was.
pub fn encode_run(out: &mut Vec<u8>, gap: u32, prior: Prior, run: &Run<'_>) -> Result<()> {
    encode_next(out, gap, prior, &NextRun::of(run)?)
}

/// As [`encode_run`], with what is kept of the state before it.
pub(crate) fn encode_next(
    out: &mut Vec<u8>,
    gap: u32,
    prior: Prior,
    next: &NextRun<'_>,
) -> Result<()> {
    let run = next.run;
    let error = run.error.as_ref().map_or(0, |error| {
        error.message.len() + text(error.error_type.as_deref()) + text(error.stack.as_deref())
    });
    let given = error + json(run.metadata.as_ref()) + json(run.result.as_ref());
    let texts = given + next.kept.len();
    let row = RunRow::of(gap, prior, next)?;
    let owner = RunRow::owner_of(next)?;
    // A record ends where what follows is absent.
    match (owner.is_none(), &run.origin) {
        (true, None) => append(out, texts, &row),
        (false, None) => append(out, texts, &(row, owner)),
        (_, Some(origin)) => append(out, texts, &(row, owner, Some(OriginRow::of(origin)))),
    }
}

/// Appends the record of an event to a payload.
///
/// # Errors
/// As for [`encode_run`].
pub fn encode_event(out: &mut Vec<u8>, gap: u32, event: &Event<'_>) -> Result<()> {
    let texts = text(event.message.as_deref()) + json(event.payload.as_ref());
    append_with_origin(out, texts, EventRow::of(gap, event)?, event.origin.as_ref())
}

/// Appends the record of an error to a payload.
///
/// # Errors
/// As for [`encode_run`], and [`Error::Invalid`] for a severity below `warning`.
pub fn encode_error(out: &mut Vec<u8>, gap: u32, error: &ErrorRecord<'_>) -> Result<()> {
    let texts = error.message.len()
        + text(error.stack.as_deref())
        + text(error.endpoint.as_deref())
        + json(error.detail.as_ref());
    append_with_origin(out, texts, ErrorRow::of(gap, error)?, error.origin.as_ref())
}

/// Reads the record that begins at the beginning of `bytes`, which may go on after it.
///
/// Bytes that the record's length covers and this version does not know are ignored.
///
/// # Errors
/// [`Damage::Length`] for a length of 0 or over [`MAX_RECORD_BYTES`], [`Damage::Truncated`] when it
/// reaches beyond `bytes`, [`Damage::Record`] when the record is not one of this kind.
#[inline]
pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Decoded<'_>, Damage> {
    let (record, consumed) = split(bytes)?;
    let (gap, prior, body) = read(kind, Row::new(record)).ok_or(Damage::Record)?;
    Ok(Decoded { gap, prior, body, consumed })
}

/// True when the record that begins at the beginning of `bytes` has this key in this field. Reads
/// no more of an id's record than that takes.
///
/// # Errors
/// As for [`decode`].
pub fn has_key(kind: Kind, bytes: &[u8], field: Field, key: &[u8]) -> Result<bool, Damage> {
    if matches!(field, Field::Trace | Field::Run | Field::Project | Field::User) {
        let (record, _) = split(bytes)?;
        let id = Row::new(record).id_in(kind, field).ok_or(Damage::Record)?;
        return Ok(id.is_some_and(|id| key::is_id_key(&id, key)));
    }
    let mut found = false;
    key::keys_of(&decode(kind, bytes)?.body, |of, bytes| found |= of == field && bytes == key);
    Ok(found)
}

#[inline]
fn read(kind: Kind, mut row: Row<'_>) -> Option<(u32, Prior, Body<'_>)> {
    match kind {
        Kind::Run => row.run(),
        Kind::Event => row.event(),
        Kind::Error => row.error(),
    }
}

/// What the record of a run begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunHead {
    /// As in [`Decoded`].
    pub gap: u32,
    /// Which record it supersedes.
    pub prior: Prior,
    /// The run's status.
    pub status: Status,
    /// How many bytes the record takes, its length included.
    pub consumed: usize,
}

/// Reads the head of the run's record that begins at the beginning of `bytes`. The rest of it is
/// not looked at.
///
/// # Errors
/// As for [`decode`].
pub fn decode_run_head(bytes: &[u8]) -> Result<RunHead, Damage> {
    let (record, consumed) = split(bytes)?;
    let (gap, prior, status) = Row::new(record).run_head().ok_or(Damage::Record)?;
    Ok(RunHead { gap, prior, status, consumed })
}

/// Appends the record that begins at the beginning of `bytes` to another payload, in which this is
/// the gap before it. All else of it stays as it is, what this version does not know included.
///
/// # Errors
/// As for [`decode`]. `out` is then as it was.
pub fn append_with_gap(out: &mut Vec<u8>, bytes: &[u8], gap: u32) -> Result<(), Damage> {
    let (record, _) = split(bytes)?;
    let mut row = Row::new(record);
    row.u32().ok_or(Damage::Record)?;
    let start = out.len();
    out.push(0);
    bincode::encode_into_writer(gap, Sink(out), CONFIG)
        .map_err(|_| Damage::Record)
        .and_then(|()| {
            out.extend_from_slice(row.left);
            close(out, start).map_err(|_| Damage::Length)
        })
        .inspect_err(|_| out.truncate(start))
}

/// The bytes of the record at the beginning of `bytes`, and how many it takes with its length.
#[inline]
fn split(bytes: &[u8]) -> Result<(&[u8], usize), Damage> {
    let mut rest = Row::new(bytes);
    let len = rest.u32().and_then(|len| usize::try_from(len).ok()).ok_or(Damage::Length)?;
    if !(1..=MAX_RECORD_BYTES).contains(&len) {
        return Err(Damage::Length);
    }
    let record = rest.left.get(..len).ok_or(Damage::Truncated)?;
    Ok((record, bytes.len() - rest.left.len() + len))
}

/// As [`append`], with where the record was first, where that is another ledger.
fn append_with_origin(
    out: &mut Vec<u8>,
    texts: usize,
    row: impl bincode::Encode,
    origin: Option<&Origin>,
) -> Result<()> {
    match origin {
        None => append(out, texts, &row),
        Some(origin) => append(out, texts, &(row, Some(OriginRow::of(origin)))),
    }
}

/// Appends length and row; on an error `out` is as it was. `texts` is the number of bytes of text
/// in the row that no other limit holds.
fn append(out: &mut Vec<u8>, texts: usize, row: &impl bincode::Encode) -> Result<()> {
    // Refused before it is copied, when it is plain to see.
    if texts > MAX_RECORD_BYTES {
        return Err(too_large(texts));
    }
    let start = out.len();
    out.reserve(texts + FIXED_BYTES);
    // Most records are short: the length gets one byte, and a longer record is moved up.
    out.push(0);
    bincode::encode_into_writer(row, Sink(out), CONFIG)
        .map_err(|err| Error::invalid("record", &err.to_string(), "a record that can be encoded"))
        .and_then(|()| close(out, start))
        .inspect_err(|_| out.truncate(start))
}

/// Puts the length before the record that begins one byte after `start` and goes on to the end.
fn close(out: &mut Vec<u8>, start: usize) -> Result<()> {
    let body = start + 1;
    let len = out.len() - body;
    if len > MAX_RECORD_BYTES {
        return Err(too_large(len));
    }
    let mut head = [0; MAX_LEN_BYTES];
    let head_len = match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
        (Ok(short), ..) if len <= ONE_BYTE_MAX => {
            head = [short, 0, 0, 0, 0];
            1
        }
        (_, Ok(medium), _) => {
            let [a, b] = medium.to_le_bytes();
            head = [U16_MARK, a, b, 0, 0];
            3
        }
        (_, _, Ok(long)) => {
            let [a, b, c, d] = long.to_le_bytes();
            head = [U32_MARK, a, b, c, d];
            5
        }
        _ => 0,
    };
    if head_len > 1 {
        let end = out.len();
        out.resize(end + head_len - 1, 0);
        out.copy_within(body..end, start + head_len);
    }
    if let (Some(place), Some(head)) = (out.get_mut(start..start + head_len), head.get(..head_len))
    {
        place.copy_from_slice(head);
    }
    Ok(())
}

/// Where bincode writes to: the end of a buffer that the caller keeps.
struct Sink<'a>(&'a mut Vec<u8>);

impl Writer for Sink<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn text(text: Option<&str>) -> usize {
    text.map_or(0, str::len)
}

fn json(json: Option<&Json<'_>>) -> usize {
    json.map_or(0, |json| json.as_str().len())
}

fn too_large(size: usize) -> Error {
    let limit = u64::try_from(MAX_RECORD_BYTES).unwrap_or(u64::MAX);
    Error::TooLarge {
        what: "a record in bytes",
        size: u64::try_from(size).unwrap_or(u64::MAX),
        limit,
    }
}

fn is_name_len(len: usize) -> bool {
    (1..=MAX_NAME_BYTES).contains(&len)
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<()> {
    if is_name_len(name.len()) {
        Ok(())
    } else {
        Err(Error::invalid(what, name, "1 to 256 bytes of UTF-8"))
    }
}

#[cfg(test)]
mod tests;
