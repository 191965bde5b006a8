//! Ids that the blocks of a packed segment have in common stand in its file once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use memchr::memmem;
use runledger::format::block;
use runledger::format::header::SegmentHeader;
use runledger::{
    Body, Compaction, Durability, Event, Id, Json, Kind, Ledger, Order, Query, Reader, Record,
    Severity, repair, verify,
};

use super::{DIR, options};
use torture::disk::SimDisk;
use torture::rng::Rng;

/// So many runs have events, and so many each.
const RUNS: u8 = 40;
const EVENTS: u8 = 12;

/// Bytes of an id that are not to be compressed.
fn wide(kind: u8, run: u8) -> [u8; 16] {
    let mut rng = Rng::new(u64::from(kind) << 8 | u64::from(run));
    std::array::from_fn(|_| u8::try_from(rng.below(256)).unwrap())
}

fn event(rng: &mut Rng, run: u8) -> Body<'static> {
    let words: Vec<_> = (0..12).map(|_| ["alpha", "beta", "gamma"][rng.below(3)]).collect();
    Event::new(format!("step.{}", rng.below(5)))
        .severity([Severity::Info, Severity::Warning][rng.below(2)])
        .trace_id(Id::from_hex_bytes(wide(1, run)))
        .run_id(Id::from_uuid(wide(2, run)))
        .payload(Json::from_value(&words).unwrap())
        .into()
}

/// A ledger of one packed segment of events, and what it holds.
fn packed(disk: &SimDisk) -> (Ledger, BTreeMap<u64, Record<'static>>) {
    let mut rng = Rng::new(7);
    let ledger = options(disk).open(DIR).unwrap();
    for run in 0..RUNS {
        let batch: Vec<_> = (0..EVENTS).map(|_| event(&mut rng, run)).collect();
        ledger.append_batch(&batch, Durability::Os).unwrap();
    }
    let before = all(&ledger.query());
    disk.advance(Duration::from_secs(3 * 24 * 60 * 60));
    ledger.maintain().unwrap();
    assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites.len(), 1);
    (ledger, before)
}

/// The records that can be read.
fn all(query: &Query) -> BTreeMap<u64, Record<'static>> {
    let page = query.clone().order(Order::Seq).limit(10_000).fetch().unwrap();
    page.records().flatten().map(|record| (record.seq, record.into_owned())).collect()
}

/// The packed segment and what is in its file.
fn file(disk: &SimDisk) -> (PathBuf, Vec<u8>) {
    let is_packed = |path: &PathBuf| path.to_string_lossy().contains("events/");
    let path = disk.files().into_iter().find(is_packed).unwrap();
    let bytes = disk.peek(&path).to_vec();
    (path, bytes)
}

#[test]
fn an_id_of_many_records_stands_in_the_file_once() {
    let disk = SimDisk::new(1);
    let (ledger, before) = packed(&disk);
    let (_, bytes) = file(&disk);
    let salt = SegmentHeader::decode(&bytes).unwrap().salt;
    let blocks = block::find(&bytes, &salt);
    assert!(blocks.len() > 10 && blocks.iter().all(|(_, header)| header.is_short), "{blocks:?}");
    for run in 0..RUNS {
        for id in [wide(1, run), wide(2, run)] {
            assert_eq!(memmem::find_iter(&bytes, &id).count(), 1);
        }
        let id = Id::from_uuid(wide(2, run)).to_string();
        assert_eq!(all(&ledger.query().kind(Kind::Event).run(&id)).len(), usize::from(EVENTS));
    }
    assert_eq!(all(&ledger.query()), before);
    assert!(!verify(DIR, disk.storage()).unwrap().is_damaged());
}

/// A bit of an id is lost: the blocks of its run are, and no others; none is given with another id.
#[test]
fn a_damaged_id_hides_the_blocks_that_have_it() {
    let disk = SimDisk::new(1);
    let (ledger, before) = packed(&disk);
    ledger.close().unwrap();
    drop(ledger);
    let (path, bytes) = file(&disk);
    for (run, bit) in [(0, 0), (17, 64), (RUNS - 1, 127)] {
        let disk = disk.fork();
        let mut damaged = bytes.clone();
        damaged[memmem::find(&bytes, &wide(2, run)).unwrap() + bit / 8] ^= 1 << (bit % 8);
        disk.poke(&path, damaged);
        let report = verify(DIR, disk.storage()).unwrap();
        assert!(report.is_damaged() && report.findings.iter().all(|it| it.path == path));
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        let check = |left: &BTreeMap<u64, Record<'static>>| {
            assert!(left.iter().all(|(seq, record)| before.get(seq) == Some(record)));
            let lost = before.iter().filter(|(seq, _)| !left.contains_key(seq));
            let id = Id::from_uuid(wide(2, run));
            let own = lost.clone().filter(|(_, record)| record.body.run_id() == Some(&id)).count();
            // A block begins and ends among the events of other runs.
            let others = lost.count() - own;
            assert_eq!(own, usize::from(EVENTS));
            assert!(others < 3 * usize::from(EVENTS), "{others} of other runs");
        };
        check(&all(&reader.query()));
        assert!(!repair(DIR, disk.storage(), false).unwrap().is_damaged());
        assert!(!verify(DIR, disk.storage()).unwrap().is_damaged());
        check(&all(&Reader::with_storage(DIR, disk.storage()).unwrap().query()));
    }
}

/// Without its footer the blocks are found, and what they have in common with them.
#[test]
fn a_file_that_ends_early_gives_what_is_left() {
    let disk = SimDisk::new(1);
    let (ledger, before) = packed(&disk);
    ledger.close().unwrap();
    drop(ledger);
    let (path, bytes) = file(&disk);
    let salt = SegmentHeader::decode(&bytes).unwrap().salt;
    let blocks = block::find(&bytes, &salt);
    let cut = blocks[blocks.len() / 2].0 as usize;
    disk.poke(&path, bytes[..cut].to_vec());
    let left = all(&Reader::with_storage(DIR, disk.storage()).unwrap().query());
    assert!(left.len() * 3 > before.len(), "{} of {}", left.len(), before.len());
    assert!(left.iter().all(|(seq, record)| before.get(seq) == Some(record)));
}
