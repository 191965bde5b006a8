use memchr::memmem;

use crate::error::Damage;
use crate::format::codec::{self, Decoded, Prior, RunHead};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::key::{self, WideId};
use crate::format::rollup::length_code;
use crate::index::{MemIndex, NewRow};
use crate::model::{Field, Kind, Run};

/// The index entries of one frame: they are made while it is decoded, and entered into the index
/// only when all of it is whole.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    seed: u64,
    rows: Vec<DraftRow>,
    keys: Vec<DraftKey>,
    arena: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct DraftRow {
    /// The sequence number, less the frame's.
    relative_seq: u32,
    /// Where the record lies, less where the payload begins.
    offset: u32,
    created_at: i64,
    newest: i64,
    tag: u8,
    prior: Prior,
    length: Option<u16>,
    keys_end: u32,
}

#[derive(Debug, Clone, Copy)]
struct DraftKey {
    field: Field,
    hash: u64,
    end: u32,
}

impl Draft {
    /// Empties it, for keys that are hashed with this seed.
    pub(crate) fn reset(&mut self, seed: u64) {
        self.seed = seed;
        self.rows.clear();
        self.keys.clear();
        self.arena.clear();
    }

    /// The last sequence number, when the frame's first one is `base_seq`.
    pub(crate) fn last_seq(&self, base_seq: u64) -> Option<u64> {
        self.rows.last().map(|row| base_seq.saturating_add(u64::from(row.relative_seq)))
    }

    /// Enters the rows into an index, as the frame that begins at `frame` and whose first sequence
    /// number is `base_seq`.
    pub(crate) fn apply(&self, index: &mut MemIndex, frame: u32, base_seq: u64, recorded_at: i64) {
        index.push_frame(frame, recorded_at);
        let payload = payload_of(frame);
        let mut keys = self.keys.iter();
        let (mut used, mut start) = (0, 0);
        for row in &self.rows {
            let seq = base_seq + u64::from(row.relative_seq);
            index.push(NewRow {
                seq,
                created_at: row.created_at,
                offset: payload + row.offset,
                tag: row.tag,
                newest: row.newest,
                supersedes: row.prior.resolve(seq),
                length: row.length,
            });
            for key in keys.by_ref().take((row.keys_end - used) as usize) {
                let bytes = self.arena.get(start as usize..key.end as usize);
                index.push_key(key.field, key.hash, bytes.unwrap_or_default());
                start = key.end;
            }
            used = row.keys_end;
        }
    }

    /// Visits the ids of 16 bytes in the keys of records, and where each stands in the payload that
    /// it was filled from: of an id that a record has twice, the first place.
    pub(super) fn for_each_wide_id(&self, payload: &[u8], mut visit: impl FnMut(usize, &WideId)) {
        let ends = self.rows.iter().skip(1).map(|row| row.offset as usize);
        let (mut key, mut start) = (0, 0);
        for (row, end) in self.rows.iter().zip(ends.chain([payload.len()])) {
            let at = row.offset as usize;
            let record = payload.get(at..end).unwrap_or_default();
            for DraftKey { end, .. } in
                self.keys.get(key..row.keys_end as usize).unwrap_or_default()
            {
                let bytes = self.arena.get(start..*end as usize).unwrap_or_default();
                start = *end as usize;
                let place =
                    key::wide_id(bytes).and_then(|id| Some((id, memmem::find(record, bytes)?)));
                if let Some((id, place)) = place {
                    visit(at + place + bytes.len() - id.len(), id);
                }
            }
            key = row.keys_end as usize;
        }
    }

    /// Fills it from a frame's payload, whose checksum was compared.
    ///
    /// # Errors
    /// When the records do not decode, or are not as many as the header says.
    pub(crate) fn decode(
        &mut self,
        kind: Kind,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<(), Damage> {
        self.reset(self.seed);
        let Self { seed, rows, keys, arena } = self;
        let mut end = 0_u32;
        let read = |bytes| {
            let entry = codec::decode_entry(kind, bytes, arena, |field, key| {
                end = end.saturating_add(u32::try_from(key.len()).unwrap_or(u32::MAX));
                keys.push(DraftKey { field, hash: key::hash(*seed, key), end });
            })?;
            let keys_end = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            Ok((entry.gap, entry.consumed, (entry, keys_end)))
        };
        walk(header, payload, read, |relative_seq, offset, (entry, keys_end)| {
            rows.push(DraftRow {
                relative_seq,
                offset,
                created_at: entry.created_at.as_nanos(),
                newest: entry.newest.as_nanos(),
                tag: entry.tag,
                prior: entry.prior,
                length: entry.duration.map(length_of),
                keys_end,
            });
        })
    }
}

/// The code of the time that a run took; one that ended before it began took none.
pub(super) fn length_of_run(run: &Run<'_>) -> Option<u16> {
    run.duration_nanos().map(length_of)
}

fn length_of(nanos: i64) -> u16 {
    length_code(u64::try_from(nanos).unwrap_or(0))
}

/// Where the payload of a frame begins.
pub(super) fn payload_of(frame: u32) -> u32 {
    frame.saturating_add(u32::try_from(FRAME_HEADER_BYTES).unwrap_or(u32::MAX))
}

/// Visits the records of a frame: the sequence number of each, less the frame's, and where it lies
/// in the payload, whose checksum was compared.
///
/// # Errors
/// When the records do not decode, or are not as many as the header says; some may have been
/// visited.
pub(super) fn for_each_record(
    kind: Kind,
    header: &FrameHeader,
    payload: &[u8],
    mut visit: impl FnMut(u32, u32, &Decoded<'_>),
) -> Result<(), Damage> {
    walk(
        header,
        payload,
        |bytes| codec::decode(kind, bytes).map(|record| (record.gap, record.consumed, record)),
        |relative, offset, record| visit(relative, offset, &record),
    )
}

/// As [`for_each_record`], with the heads of runs' records.
///
/// # Errors
/// As for [`for_each_record`].
pub(super) fn for_each_run_head(
    header: &FrameHeader,
    payload: &[u8],
    visit: impl FnMut(u32, u32, RunHead),
) -> Result<(), Damage> {
    let read = |bytes| codec::decode_run_head(bytes).map(|head| (head.gap, head.consumed, head));
    walk(header, payload, read, visit)
}

/// Reads the records of a frame one after the other: `read` gives the gap before one, the bytes
/// that it takes, and what `visit` is to have of it.
fn walk<'p, R>(
    header: &FrameHeader,
    payload: &'p [u8],
    mut read: impl FnMut(&'p [u8]) -> Result<(u32, usize, R), Damage>,
    mut visit: impl FnMut(u32, u32, R),
) -> Result<(), Damage> {
    if header.is_void() {
        return Ok(());
    }
    let (mut at, mut relative) = (0usize, 0u32);
    for number in 0..header.count {
        let (gap, consumed, record) = read(payload.get(at..).unwrap_or_default())?;
        relative = relative
            .checked_add(gap)
            .and_then(|relative| relative.checked_add(u32::from(number > 0)))
            .ok_or(Damage::Sequence)?;
        let offset = u32::try_from(at).map_err(|_| Damage::Length)?;
        visit(relative, offset, record);
        at += consumed;
    }
    let last = header.base_seq.checked_add(u64::from(relative)).ok_or(Damage::Sequence)?;
    match at == payload.len() && last < u64::MAX {
        true => Ok(()),
        false => Err(Damage::Length),
    }
}
