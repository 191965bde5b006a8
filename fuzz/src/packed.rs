//! Packed segments: what a compaction made is changed, in places with its checksums put right; then
//! it is asked, verified and repaired. Nothing is returned that was never written, nothing is lost
//! in silence, and after a repair there is nothing to be found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use runledger::format::block::{self, BLOCK_HEADER_BYTES, BlockHeader};
use runledger::format::header::SegmentHeader;
use runledger::format::{crc, key};
use runledger::{
    Body, Compaction, Durability, Error, Event, Field, Id, Json, Kind, Options, Order, Reader, Run,
    Status, repair, verify,
};

use super::input::Input;
use super::memory::Memory;

const DIR: &str = "/ledger";
const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;

/// A ledger with a packed segment of runs and one of events.
struct Base {
    files: BTreeMap<PathBuf, Vec<u8>>,
    packed: Vec<PathBuf>,
    /// What it holds, by sequence number.
    known: BTreeMap<u64, Body<'static>>,
}

/// Which segment is changed, then how, piece by piece.
pub fn run(data: &[u8]) {
    static BASE: OnceLock<Base> = OnceLock::new();
    let base = BASE.get_or_init(make);
    let mut input = Input::new(data);
    let path = &base.packed[input.below(base.packed.len())];
    let mut file = base.files[path].clone();
    let mut forged = false;
    while !input.is_empty() && !file.is_empty() {
        forged |= change(&mut file, &mut input);
    }
    let storage = Arc::new(Memory::default());
    for (other, bytes) in &base.files {
        storage.put(other, if other == path { file.clone() } else { bytes.clone() });
    }
    // One damaged segment keeps nobody out.
    let reader = Reader::with_storage(DIR, storage.clone()).expect("a reader opens");
    let found = ask(base, &reader, forged);
    drop(reader);
    let said = verify(DIR, storage.clone()).expect("a look at all of it");
    let is_whole = found == base.known.len();
    assert!(is_whole || forged || said.is_damaged(), "{found} records, and nothing is said");

    let ledger = options(&storage).open(DIR).expect("a writer opens");
    ledger.append(Event::new("after")).expect("an append");
    ledger.close().expect("a close");
    drop(ledger);
    repair(DIR, storage.clone(), false).expect("a repair");
    let said = verify(DIR, storage.clone()).expect("a look at all of it");
    assert!(!said.is_damaged(), "after a repair: {:?}", said.findings);
    let reader = Reader::with_storage(DIR, storage).expect("a reader opens");
    let kept = ask(base, &reader, forged);
    assert!(kept >= found || forged, "the repair lost records: {found} were there, {kept} are");
}

fn options(storage: &Arc<Memory>) -> Options {
    let options = Options::new().background(false).reserve_bytes(0);
    options.storage(storage.clone())
}

fn make() -> Base {
    let storage = Arc::new(Memory::default());
    let ledger = options(&storage).open(DIR).expect("a ledger");
    for number in 0..150_u32 {
        // As random as ids are, so that those of several records stand in the file once.
        let id = |of: u32| {
            let mixed = u128::from(key::hash(of.into(), b"id")).wrapping_mul(u128::MAX / 7);
            Id::from_uuid(mixed.to_le_bytes())
        };
        let word = |n| ["alpha", "beta", "gamma"][(number * n / 3 + n) as usize % 3];
        let payload = Json::from_value(&(0..40).map(word).collect::<Vec<_>>());
        let payload = payload.expect("plain words");
        let event = Event::new(format!("t{}", number % 3)).payload(payload);
        let event = event.run_id(id(number / 7)).trace_id(id(1000 + number / 20));
        let status = [Status::Pending, Status::Running, Status::Success][number as usize / 50];
        let run = Run::new(format!("r{}", number % 50), "t1", status).expect("a short id");
        let batch = [Body::Run(run), Body::Event(event)];
        ledger.append_batch(&batch, Durability::Os).expect("an append");
    }
    storage.turn_clock(3 * DAY);
    ledger.maintain().expect("the segments are sealed");
    ledger.compact(&Compaction::new().keep_states()).expect("they are compacted");
    let all = ledger.query().history(true).order(Order::Seq).limit(1000).fetch().expect("all");
    let known = all.records().map(|record| {
        let record = record.expect("a record");
        (record.seq, record.body.into_owned())
    });
    let known = known.collect();
    ledger.close().expect("a close");
    let files = storage.content();
    let is_packed = |path: &&PathBuf| path.to_string_lossy().contains('-');
    let packed: Vec<_> = files.keys().filter(is_packed).cloned().collect();
    assert_eq!(packed.len(), 2, "{packed:?}");
    let is_short = |path| blocks(&files[path]).iter().any(|(_, block)| block.is_short);
    assert!(packed.iter().any(is_short), "no ids stand beside their blocks");
    Base { files, packed, known }
}

/// Changes something. True when its checksums were put right, so that it may be believed.
fn change(file: &mut Vec<u8>, input: &mut Input<'_>) -> bool {
    let at = usize::from(input.short()) % file.len();
    match input.below(8) {
        0 => file[at] ^= 1 << input.below(8),
        1 => file.truncate(at),
        2 => {
            let end = (at + input.below(256)).min(file.len());
            file[at..end].fill(0);
        }
        3 => {
            let len = input.below(64);
            let new = input.bytes(len);
            let end = (at + new.len()).min(file.len());
            file[at..end].copy_from_slice(&new[..end - at]);
        }
        4 => {
            let len = input.below(64);
            file.extend_from_slice(input.bytes(len));
        }
        _ => return forge(file, input),
    }
    false
}

/// The blocks of a file, and where they stand.
fn blocks(file: &[u8]) -> Vec<(u32, BlockHeader)> {
    SegmentHeader::decode(file)
        .map_or_else(|_| Vec::new(), |header| block::find(file, &header.salt))
}

/// Changes a block under checksums that hold.
fn forge(file: &mut [u8], input: &mut Input<'_>) -> bool {
    let Ok(header) = SegmentHeader::decode(file) else { return false };
    let blocks = blocks(file);
    if blocks.is_empty() {
        return false;
    }
    let (at, mut block) = blocks[input.below(blocks.len().min(256))];
    let at = at as usize;
    let content = at + BLOCK_HEADER_BYTES;
    match input.below(5) {
        0 => block.start = block.start.wrapping_add_signed(i32::from(input.byte()) - 128),
        1 => block.len = input.word(),
        2 => block.packed_len = u32::from(input.short()),
        3 => block.is_short = !block.is_short,
        _ => {
            let len = (block.packed_len as usize).min(file.len() - content);
            for _ in 0..1 + input.below(8) {
                if len > 0 {
                    file[content + usize::from(input.short()) % len] = input.byte();
                }
            }
        }
    }
    let end = content.saturating_add(block.packed_len as usize).min(file.len());
    block.packed_crc = crc::masked(&file[content..end]);
    file[at..content].copy_from_slice(&block.encode(&header.salt, at as u64));
    true
}

/// Asks all kinds of questions; how many of the records that were written are given is the result.
fn ask(base: &Base, reader: &Reader, forged: bool) -> usize {
    let query = || reader.query().history(true).limit(10_000);
    let mut found = 0;
    for order in [Order::Seq, Order::SeqDescending, Order::Newest] {
        let page = only_damage(query().order(order).fetch());
        found = 0;
        for record in page.iter().flat_map(|page| page.records()) {
            let Some(record) = only_damage(record) else { continue };
            let known = base.known.get(&record.seq);
            let is_new = record.body.type_name() == "after";
            assert!(known == Some(&record.body) || is_new || forged, "{record:?}");
            found += usize::from(known == Some(&record.body));
        }
    }
    for field in Field::ALL {
        only_damage(query().count_by(*field));
    }
    only_damage(query().text("gamma").fetch());
    only_damage(query().kind(Kind::Run).run("r3").fetch());
    only_damage(query().record_type("t1").count());
    only_damage(reader.stats());
    for seq in base.known.keys().step_by(17) {
        match reader.get(*seq) {
            Ok(stored) => drop(only_damage(stored.record())),
            Err(err) => assert!(matches!(err, Error::NotFound { .. } | Error::Damaged { .. })),
        }
    }
    found
}

/// What was given; the only error that there may be is the one that tells of damage.
fn only_damage<T>(given: runledger::Result<T>) -> Option<T> {
    match given {
        Ok(given) => Some(given),
        Err(Error::Damaged { .. }) => None,
        Err(err) => panic!("{err}"),
    }
}
