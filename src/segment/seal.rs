//! Making the footer of a segment from its index in memory.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::format::footer::{
    BlockInput, Built, FieldInput, FooterInput, NO_CODE, build, is_distinct,
};
use crate::format::header::SegmentHeader;
use crate::format::key;
use crate::format::trailer::{TagCounts, Trailer};
use crate::index::{Code, MemIndex, Row, Table};
use crate::model::{Field, Kind};
use crate::segment::open_runs::open_runs;
use crate::segment::rollup::rollup;

/// How many seeds are tried until all keys of a segment hash apart. One is nearly always enough.
const SEEDS: u64 = 16;

/// One field's keys, renumbered by the order of their hashes.
struct Ranked {
    hashes: Vec<u64>,
    codes: Vec<u32>,
}

/// The footer's bytes for a segment with this header whose footer begins at `base`, and whose
/// frames lie in these blocks, if it is packed.
///
/// # Errors
/// When a size is out of bounds.
pub(crate) fn footer(
    index: &MemIndex,
    header: &SegmentHeader,
    base: u32,
    blocks: Option<BlockInput<'_>>,
) -> Result<Built> {
    let order = index.time_order();
    let seq_order = order.map(|order| places(order.iter().copied()));
    let columns = index.columns();
    let kind = header.kind;
    let (seed, fields) = seeds(index.seed(), &header.salt)
        .find_map(|seed| rank_all(index, order, seed).map(|fields| (seed, fields)))
        .ok_or_else(|| Error::invalid("keys", "of one segment", "keys whose hashes differ"))?;
    let of_others = index.supersedes().iter();
    let mut supersedes: Vec<u64> = of_others.map(|&(seq, _)| seq).collect();
    supersedes.sort_unstable();
    let open = if kind == Kind::Run { open_runs(index) } else { Vec::new() };
    build(
        &FooterInput {
            times: &ordered(columns.times, order),
            seqs: &ordered(columns.seqs, order),
            seq_order: seq_order.as_deref(),
            offsets: &ordered(columns.offsets, order),
            tags: &ordered(columns.tags, order),
            frames: index.frames(),
            supersedes: &supersedes,
            open_runs: &open,
            blocks,
            rollup: Some(&rollup(index, kind)),
            seed,
            fields: fields.each_ref().map(|ranked| {
                ranked
                    .as_ref()
                    .map(|ranked| FieldInput { hashes: &ranked.hashes, codes: &ranked.codes })
            }),
        },
        base,
    )
}

/// The seeds to try, first that of the ledger. It follows from the ledger's identity, which is told
/// in exports: keys can be chosen that collide under it. The others follow from the segment's salt,
/// which who only appends does not see.
fn seeds(first: u64, salt: &[u8]) -> impl Iterator<Item = u64> {
    let others = (1..SEEDS).map(move |attempt| key::hash(first.wrapping_add(attempt), salt));
    std::iter::once(first).chain(others)
}

/// The trailer of a segment with this index and footer, whose frames end at `frames_end` of the
/// file.
pub(crate) fn trailer(
    index: &MemIndex,
    frames_end: u32,
    footer: &Built,
    hash: [u8; 32],
    previous: [u8; 32],
) -> Trailer {
    let summary = index.summary();
    let mut tags = TagCounts::default();
    (0..index.rows()).for_each(|row| tags.add(index.tag(row)));
    Trailer {
        frames_end,
        rows: index.rows(),
        records: index.rows(),
        table_offset: footer.table_offset,
        table_crc: footer.table_crc,
        first_seq: index.seq(0),
        last_seq: index.seq(index.rows().saturating_sub(1)),
        created_min: summary.created.0,
        created_max: summary.created.1,
        newest_max: summary.newest,
        recorded_first: summary.recorded.0,
        recorded_last: summary.recorded.1,
        hash,
        previous,
        tags,
    }
}

/// A column in the order of time, in which it is when there is no other `order`.
fn ordered<'a, T: Copy + Default>(column: &'a [T], order: Option<&[Row]>) -> Cow<'a, [T]> {
    let value = |row: &Row| column.get(*row as usize).copied().unwrap_or_default();
    order.map_or(Cow::Borrowed(column), |order| order.iter().map(value).collect())
}

/// The place of each row, or code, in an order of all of them.
fn places(order: impl ExactSizeIterator<Item = Row>) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (row, place) in order.zip(0..) {
        if let Some(slot) = places.get_mut(row as usize) {
            *slot = place;
        }
    }
    places
}

/// All fields with this seed; `None` when two keys of one field have one hash.
fn rank_all(
    index: &MemIndex,
    order: Option<&[Row]>,
    seed: u64,
) -> Option<[Option<Ranked>; Field::KEYED]> {
    let mut fields = [const { None }; Field::KEYED];
    for &field in Field::ALL {
        let Some(place) = field.key_index().and_then(|slot| fields.get_mut(slot)) else { continue };
        if index.key_count(field) > 0 {
            *place = Some(rank(index, order, field, seed)?);
        }
    }
    Some(fields)
}

fn rank(index: &MemIndex, order: Option<&[Row]>, field: Field, seed: u64) -> Option<Ranked> {
    let hash_of = |code| match seed == index.seed() {
        true => index.key_hash(field, code),
        false => key::hash(seed, index.key(field, code)),
    };
    let by_hash = sorted((0..index.key_count(field)).map(|code| (hash_of(code), code)));
    let rank_of = places(by_hash.iter().map(|&(_, code)| code));
    let hashes: Vec<u64> = by_hash.iter().map(|&(hash, _)| hash).collect();
    if !is_distinct(&hashes) {
        return None;
    }
    let codes = index.codes(field);
    let rank = |code: &Code| rank_of.get(*code as usize).copied().unwrap_or(NO_CODE);
    let codes = match order {
        None => {
            let mut ranks = Vec::with_capacity(index.rows() as usize);
            ranks.extend(codes.iter().map(rank));
            // The last rows have no key.
            ranks.resize(index.rows() as usize, NO_CODE);
            ranks
        }
        Some(order) => {
            let of_row = |row: &Row| codes.get(*row as usize).map_or(NO_CODE, rank);
            order.iter().map(of_row).collect()
        }
    };
    Some(Ranked { hashes, codes })
}

/// The pairs in the order of their hashes, which are spread evenly: each is put where its hash lies
/// between 0 and 2^64, and the few that share a place are sorted.
fn sorted(pairs: impl ExactSizeIterator<Item = (u64, u32)> + Clone) -> Vec<(u64, u32)> {
    let len = pairs.len();
    let place = |hash: u64| usize::try_from((u128::from(hash) * len as u128) >> 64).unwrap_or(0);
    // Where the pairs of each place end, and, once they were put there from the end on, begin.
    let mut bounds = vec![0usize; len + 1];
    for (hash, _) in pairs.clone() {
        if let Some(count) = bounds.get_mut(place(hash)) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for bound in &mut bounds {
        sum += *bound;
        *bound = sum;
    }
    let mut out = vec![(0, 0); len];
    for pair in pairs {
        if let Some(bound) = bounds.get_mut(place(pair.0)) {
            *bound = bound.saturating_sub(1);
            if let Some(slot) = out.get_mut(*bound) {
                *slot = pair;
            }
        }
    }
    for ends in bounds.windows(2) {
        if let &[start, end] = ends
            && end - start > 1
            && let Some(shared) = out.get_mut(start..end)
        {
            shared.sort_unstable();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::format::codec;
    use crate::model::{Event, Timestamp};
    use crate::segment::made::{SEED, append_record, create, open};

    /// Two keys that are alike in the 40 bits that are stored of their hashes under this seed.
    fn colliding(seed: u64) -> [String; 2] {
        let mut seen = HashMap::new();
        let name = |number: u64| format!("{seed}-{number}");
        let pair = (0..).find_map(|number| {
            let stored = key::hash(seed, name(number).as_bytes()) >> 24;
            seen.insert(stored, number).map(|other| [name(number), name(other)])
        });
        pair.unwrap()
    }

    /// All seeds followed from the ledger's identity: who knew that could append keys that no
    /// segment was sealed with, and nothing could be appended any more.
    #[test]
    fn keys_that_are_chosen_to_collide_do_not_keep_a_segment_from_being_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(dir.path());
        let types = (0..SEEDS).flat_map(|attempt| colliding(SEED + attempt));
        for (seq, event_type) in (1..).zip(types) {
            let event = Event::new(event_type).created_at(Timestamp::from_nanos(0));
            append_record(&segment, seq, |out| codec::encode_event(out, 0, &event));
        }
        segment.seal([0; 32]).unwrap();
        let sealed = open(&segment);
        assert_eq!(u64::from(sealed.trailer().unwrap().rows), 2 * SEEDS);
        assert_ne!(sealed.footer().unwrap().layout.seed(), SEED);
    }

    proptest! {
        #[test]
        fn hashes_are_sorted_however_they_are_spread(
            hashes in prop::collection::vec((any::<u64>(), 0..64_u32), 0..300),
        ) {
            let pairs: Vec<_> =
                hashes.into_iter().map(|(hash, shift)| hash >> shift).zip(0..).collect();
            let mut expected = pairs.clone();
            expected.sort_unstable();
            prop_assert_eq!(sorted(pairs.into_iter()), expected);
        }
    }
}
