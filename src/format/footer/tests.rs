mod input;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;
use crate::error::Damage;
use crate::format::packed::{self, Packed};
use crate::format::trailer::{TRAILER_BYTES, TagCounts, Trailer};
use crate::model::Field;

const BASE: u32 = 1000;
/// The newest states of open runs in the files here, which no row has to bear out.
const OPEN: [(u64, u32); 2] = [(3, 400), (1 << 40, 90)];

#[derive(Debug, Clone)]
struct Row {
    time: i64,
    seq: u64,
    offset: u32,
    tag: u8,
    keys: [Option<u64>; Field::KEYED],
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let key = prop::option::of(prop_oneof![0..6_u64, 0..600_u64, any::<u64>()]);
    let row = (-50..50_i64, any::<u32>(), any::<u8>(), prop::array::uniform7(key));
    prop::collection::vec(row, 0..400).prop_map(|rows| {
        let mut rows: Vec<_> = (1..)
            .zip(rows)
            .map(|(seq, (time, offset, tag, keys))| Row { time, seq, offset, tag, keys })
            .collect();
        rows.sort_by_key(|row| (row.time, row.seq));
        (0..Field::KEYED).for_each(|at| hash_keys(&mut rows, at));
        rows
    })
}

/// Spreads the keys of a field as hashes are, with the first seed that keeps them apart.
fn hash_keys(rows: &mut [Row], at: usize) {
    let keys: BTreeSet<_> = rows.iter().filter_map(|row| row.keys[at]).collect();
    let seed = (0..)
        .find(|seed| {
            let hashes: BTreeSet<_> = keys.iter().map(|key| spread(*seed, *key)).collect();
            is_distinct(&hashes.into_iter().collect::<Vec<_>>())
        })
        .unwrap();
    rows.iter_mut().for_each(|row| row.keys[at] = row.keys[at].map(|key| spread(seed, key)));
}

fn spread(seed: u64, key: u64) -> u64 {
    let mixed = (key ^ (key >> 31)).wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A file of zeros, a footer and room for a trailer, with the trailer that belongs to it.
fn file(rows: &[Row], seed: u64, supersedes: &[u64]) -> (Vec<u8>, Trailer) {
    let hashes: Vec<Vec<u64>> = (0..Field::KEYED)
        .map(|at| {
            let keys: BTreeSet<_> = rows.iter().filter_map(|row| row.keys[at]).collect();
            keys.into_iter().collect()
        })
        .collect();
    let codes: Vec<Vec<u32>> = (0..Field::KEYED)
        .map(|at| {
            let code = |row: &Row| match row.keys[at] {
                Some(key) => u32::try_from(hashes[at].binary_search(&key).unwrap()).unwrap(),
                None => NO_CODE,
            };
            rows.iter().map(code).collect()
        })
        .collect();
    let mut order: Vec<u32> = (0..).take(rows.len()).collect();
    order.sort_by_key(|&row| rows[row as usize].seq);
    let input = FooterInput {
        times: &rows.iter().map(|row| row.time).collect::<Vec<_>>(),
        seqs: &rows.iter().map(|row| row.seq).collect::<Vec<_>>(),
        seq_order: (!order.is_sorted()).then_some(&order),
        offsets: &rows.iter().map(|row| row.offset).collect::<Vec<_>>(),
        tags: &rows.iter().map(|row| row.tag).collect::<Vec<_>>(),
        frames: &[128, 500, 999],
        supersedes,
        open_runs: &OPEN,
        blocks: None,
        rollup: None,
        seed,
        fields: std::array::from_fn(|at| {
            Some(FieldInput { hashes: &hashes[at], codes: &codes[at] })
        }),
    };
    let built = build(&input, BASE).unwrap();
    let mut file = vec![0; usize::try_from(BASE).unwrap()];
    file.extend(built.bytes);
    file.extend([0; TRAILER_BYTES]);
    let trailer = Trailer {
        frames_end: BASE,
        rows: u32::try_from(rows.len()).unwrap(),
        records: 0,
        table_offset: built.table_offset,
        table_crc: built.table_crc,
        first_seq: 0,
        last_seq: 0,
        created_min: 0,
        created_max: 0,
        newest_max: 0,
        recorded_first: 0,
        recorded_last: 0,
        hash: [0; 32],
        previous: [0; 32],
        tags: TagCounts::default(),
    };
    (file, trailer)
}

fn values(column: Packed<'_>) -> Vec<u64> {
    (0..column.len()).map(|at| column.get(at).unwrap()).collect()
}

fn check_field(view: &FieldView<'_>, rows: &[Row], at: usize) {
    let mut expected: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (row, number) in rows.iter().zip(0..) {
        if let Some(key) = row.keys[at] {
            expected.entry(key).or_default().push(number);
        }
        let code = view.code(usize::try_from(number).unwrap());
        assert_eq!(code, row.keys[at].map(|key| view.find(key).unwrap()));
    }
    assert_eq!(view.key_count(), expected.len());
    let stored = |key: u64| stored_hash(key, expected.len());
    let known: BTreeSet<_> = expected.keys().map(|key| stored(*key)).collect();
    assert_eq!(known.len(), expected.len());
    for (key, rows) in &expected {
        let rank = view.find(*key).unwrap();
        assert_eq!(view.key_hash(rank), Some(stored(*key)));
        let postings = view.postings(rank);
        assert_eq!(view.count(rank), rows.len());
        assert_eq!(postings.clone().collect::<Vec<_>>(), *rows);
        assert!(postings.clone().rev().eq(rows.iter().rev().copied()));
        for bound in [0, 1, rows[0], rows[rows.len() - 1] + 1, u32::MAX] {
            assert_eq!(postings.before(bound), rows.partition_point(|row| *row < bound));
        }
        let within: Vec<_> = postings.within(50, 150).collect();
        assert!(within.iter().eq(rows.iter().filter(|row| (50..150).contains(*row))));
        for (postings, mut expected) in
            [(postings.clone(), rows.clone()), (postings.within(50, 150), within.clone())]
        {
            let _ = postings.for_each_back(|row| {
                assert_eq!(Some(row), expected.pop());
                ControlFlow::Continue(())
            });
            assert!(expected.is_empty());
        }
        assert_eq!(postings.within(150, 50).len(), 0);
        for absent in [key.wrapping_add(1), key.wrapping_sub(1), !key] {
            assert_eq!(view.find(absent).is_some(), known.contains(&stored(absent)));
        }
    }
    let none = u32::try_from(expected.len()).unwrap();
    for rank in [none, u32::MAX] {
        assert_eq!((view.key_hash(rank), view.count(rank)), (None, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_built_is_read(
        rows in rows(), seed: u64, supersedes in prop::collection::btree_set(any::<u64>(), 0..9),
    ) {
        let supersedes: Vec<_> = supersedes.into_iter().collect();
        let (file, trailer) = file(&rows, seed, &supersedes);
        let layout = FooterLayout::parse(&file, &trailer).unwrap();
        prop_assert_eq!(layout.rows(), rows.len());
        prop_assert_eq!(layout.seed(), seed);
        let times: Vec<_> =
            values(layout.times(&file).unwrap()).into_iter().map(packed::to_time).collect();
        prop_assert_eq!(times, rows.iter().map(|row| row.time).collect::<Vec<_>>());
        let seqs = values(layout.seqs(&file).unwrap());
        prop_assert!(rows.iter().map(|row| row.seq).eq(seqs.iter().copied()));
        let offsets = values(layout.offsets(&file).unwrap());
        prop_assert!(rows.iter().map(|row| u64::from(row.offset)).eq(offsets));
        let tags = layout.tags(&file).unwrap();
        prop_assert!(rows.iter().map(|row| row.tag).eq((0..).map_while(|row| tags.get(row))));
        prop_assert_eq!(values(layout.frames(&file).unwrap()), [128, 500, 999]);
        prop_assert_eq!(values(layout.supersedes(&file).unwrap()), supersedes);
        let (open, places) = layout.open_runs(&file).unwrap();
        prop_assert_eq!(values(open), OPEN.map(|(seq, _)| seq));
        prop_assert_eq!(values(places), OPEN.map(|(_, offset)| u64::from(offset)));
        match layout.seq_order(&file).unwrap() {
            None => prop_assert!(seqs.is_sorted()),
            Some(order) => {
                let row = |at: u64| seqs[usize::try_from(at).unwrap()];
                let ordered: Vec<_> = values(order).into_iter().map(row).collect();
                prop_assert!(!seqs.is_sorted());
                prop_assert!(ordered.iter().copied().eq(1..=u64::try_from(rows.len()).unwrap()));
            }
        }
        for (at, field) in Field::ALL.iter().enumerate() {
            match layout.field(&file, *field).unwrap() {
                Some(view) => {
                    check_field(&view, &rows, at);
                    let hashes: BTreeSet<_> = rows.iter().filter_map(|row| row.keys[at]).collect();
                    let heads: Vec<_> = hashes.into_iter().map(head).collect();
                    prop_assert_eq!(layout.key_heads(&file, *field).unwrap(), heads);
                }
                None => prop_assert!(
                    at >= Field::KEYED || rows.iter().all(|row| row.keys[at].is_none())
                ),
            }
        }
    }

    #[test]
    fn damage_anywhere_is_found_by_whoever_uses_the_section(
        rows in rows(), at in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        let (mut file, trailer) = file(&rows, 1, &[5]);
        let footer = usize::try_from(BASE).unwrap()..file.len() - TRAILER_BYTES;
        file[footer.start + at.index(footer.len())] ^= 1 << bit;
        let Ok(layout) = FooterLayout::parse(&file, &trailer) else { return Ok(()) };
        let uses = [
            layout.times(&file).is_err(),
            layout.seqs(&file).is_err(),
            layout.offsets(&file).is_err(),
            layout.tags(&file).is_err(),
            layout.frames(&file).is_err(),
            layout.seq_order(&file).is_err(),
            layout.supersedes(&file).is_err(),
            layout.open_runs(&file).is_err(),
        ];
        let fields = Field::ALL.iter().map(|field| layout.field(&file, *field).is_err());
        prop_assert_eq!(uses.into_iter().chain(fields).filter(|damaged| *damaged).count(), 1);
        prop_assert!(layout.verify(&file).is_err());
    }
}

fn sample() -> Vec<Row> {
    let row = |n: u64| Row {
        time: i64::try_from(n / 2).unwrap(),
        seq: 900 - n,
        offset: 200,
        tag: u8::try_from(n % 3).unwrap(),
        keys: [Some(n % 3), Some(n), None, None, None, None, None],
    };
    let mut rows: Vec<_> = (0..300).map(row).collect();
    hash_keys(&mut rows, 0);
    hash_keys(&mut rows, 1);
    rows
}

#[test]
fn a_section_that_was_found_whole_is_not_read_again_and_damage_is_remembered() {
    let (mut file, trailer) = file(&sample(), 1, &[]);
    let layout = FooterLayout::parse(&file, &trailer).unwrap();
    let whole = layout.tags(&file).unwrap().bytes.as_ptr_range();
    let at = whole.start as usize - file.as_ptr() as usize;
    file[at] ^= 1;
    assert!(layout.tags(&file).is_ok(), "it was checked before");
    assert!(layout.verify(&file).is_err(), "verify always reads");
    let fresh = FooterLayout::parse(&file, &trailer).unwrap();
    assert_eq!(fresh.tags(&file), Err(Damage::Footer));
    file[at] ^= 1;
    assert_eq!(fresh.tags(&file), Err(Damage::Footer));
}

#[test]
fn many_keys_have_no_codes_and_are_found_all_the_same() {
    // Hashes as they are, some that nearly all lie in one place, and some at both ends.
    let rows: Vec<_> = (0..5000_u64)
        .map(|n| {
            let crowded = (1 << 60) + (n << 31);
            let ends = if n % 2 == 0 { n << 31 } else { !(n << 31) };
            let hashes = [spread(0, n), crowded, ends].map(Some);
            let [first, second, third] = hashes;
            let keys = [first, second, third, None, None, None, None];
            Row { time: 0, seq: n, offset: 0, tag: 0, keys }
        })
        .collect();
    let (file, trailer) = file(&rows, 0, &[]);
    let layout = FooterLayout::parse(&file, &trailer).unwrap();
    for (field, at) in [(Field::Type, 0), (Field::Trace, 1), (Field::Run, 2)] {
        let view = layout.field(&file, field).unwrap().unwrap();
        assert!(!view.has_codes());
        for (row, number) in rows.iter().zip(0..) {
            let rank = view.find(row.keys[at].unwrap()).unwrap();
            assert_eq!(view.postings(rank).collect::<Vec<_>>(), [number]);
        }
        let known = |hash| rows.iter().any(|row| stored_hash(row.keys[at].unwrap(), 5000) == hash);
        for absent in (6000..6100).map(|n| spread(0, n)) {
            assert_eq!(view.find(absent).is_some(), known(stored_hash(absent, 5000)));
        }
    }
}

#[test]
fn sections_of_a_later_version_are_ignored_and_impossible_ones_refused() {
    let (whole, trailer) = file(&sample(), 1, &[]);
    let table = usize::try_from(trailer.table_offset).unwrap();
    let parse = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = whole.clone();
        change(&mut file);
        let end = file.len() - TRAILER_BYTES;
        let table_crc = crate::format::crc::masked(&file[table..end]);
        FooterLayout::parse(&file, &Trailer { table_crc, ..trailer.clone() })
    };
    assert!(parse(&|_| ()).is_ok());
    let last = whole.len() - TRAILER_BYTES - ENTRY_BYTES;
    assert!(parse(&|file| file[last] = 200).is_ok(), "an unknown section");
    assert!(parse(&|file| file[last + FIELD_AT] = 8).is_ok(), "an unknown field");
    let first = table + TABLE_HEAD_BYTES;
    assert!(parse(&|file| file[first] = 2).is_err(), "no times, and two of seqs");
    assert!(parse(&|file| file[first] = 200).is_err(), "no times");
    assert!(parse(&|file| file[first + OFFSET_AT + 1] = 0).is_err(), "among the frames");
    assert!(parse(&|file| file[first + LEN_AT + 3] = 0xff).is_err(), "beyond the table");
    assert!(parse(&|file| file[table + COUNT_AT] += 1).is_err());
    assert!(parse(&|file| file[table] = 0).is_err());
    assert!(FooterLayout::parse(&whole[..table], &trailer).is_err());
    assert!(FooterLayout::parse(&[], &trailer).is_err());
}

#[test]
fn rows_in_the_order_of_their_numbers_need_no_other_order() {
    let mut rows = sample();
    rows.iter_mut().zip(1..).for_each(|(row, seq)| row.seq = seq);
    let (file, trailer) = file(&rows, 1, &[]);
    let layout = FooterLayout::parse(&file, &trailer).unwrap();
    assert!(layout.seq_order(&file).unwrap().is_none());
}

/// The sample's footer with its table changed, and the checksums put right.
fn forged(change: impl FnOnce(&mut [[u8; ENTRY_BYTES]], &mut Trailer)) -> (Vec<u8>, FooterLayout) {
    let (mut file, mut trailer) = file(&sample(), 1, &[5]);
    let end = file.len() - TRAILER_BYTES;
    let table = usize::try_from(trailer.table_offset).unwrap();
    change(file[table + TABLE_HEAD_BYTES..end].as_chunks_mut().0, &mut trailer);
    trailer.table_crc = crate::format::crc::masked(&file[table..end]);
    let layout = FooterLayout::parse(&file, &trailer).unwrap();
    (file, layout)
}

#[test]
fn columns_of_another_length_fail_though_their_checksums_hold() {
    let (file, layout) = forged(|_, trailer| trailer.rows += 1);
    let uses = [layout.times(&file), layout.seqs(&file), layout.offsets(&file)];
    assert!(uses.iter().all(Result::is_err));
    assert!(layout.seq_order(&file).is_err());
    assert!(layout.tags(&file).is_err());
    assert!(layout.field(&file, Field::Type).is_err(), "the codes");
    assert!(layout.frames(&file).is_ok() && layout.supersedes(&file).is_ok());
}

/// Puts the section that is `from` in the place of the one that is `to`.
fn repoint(entries: &mut [[u8; ENTRY_BYTES]], from: (u8, u8), to: (u8, u8)) {
    let at = |wanted| entries.iter().position(|entry| (entry[0], entry[1]) == wanted).unwrap();
    let (from, to) = (at(from), at(to));
    let content: [u8; ENTRY_BYTES - CRC_AT] = *entries[from].last_chunk().unwrap();
    entries[to][CRC_AT..].copy_from_slice(&content);
}

#[test]
fn sections_in_each_others_places_fail() {
    let postings = (Section::Postings as u8, 1);
    let starts = (Section::Starts as u8, 1);
    let (file, layout) = forged(|entries, _| repoint(entries, postings, starts));
    assert!(layout.field(&file, Field::Type).is_err(), "starts that are not of these keys");
    let tags = (Section::Tags as u8, 0);
    let (file, layout) = forged(|entries, _| repoint(entries, tags, (Section::Times as u8, 0)));
    assert!(layout.times(&file).is_err(), "no packed column at all");
    let places = (Section::OpenOffsets as u8, 0);
    let (file, layout) = forged(|entries, _| repoint(entries, (Section::Seqs as u8, 0), places));
    assert!(layout.open_runs(&file).is_err(), "places of other states");
}

#[test]
fn a_section_that_stands_twice_is_refused() {
    let (mut file, mut trailer) = file(&sample(), 1, &[]);
    let end = file.len() - TRAILER_BYTES;
    let last = end - ENTRY_BYTES;
    assert_eq!(file[last], Section::Codes as u8);
    file[last] = Section::Postings as u8;
    let table = usize::try_from(trailer.table_offset).unwrap();
    trailer.table_crc = crate::format::crc::masked(&file[table..end]);
    assert!(FooterLayout::parse(&file, &trailer).is_err());
}
