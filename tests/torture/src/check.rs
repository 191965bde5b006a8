//! Whether a disk that a crash left holds what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use runledger::{Body, Durability, Event, Kind, Order, Page, Reader, Record, verify};

use crate::disk::{Cut, Keep, KeepNames, SimDisk};
use crate::life::any_cut;
use crate::oracle::{Crash, Oracle, SharedOracle};
use crate::rng::Rng;
use crate::workload::{DIR, Writer};

/// What the files of a disk hold.
type Content = BTreeMap<PathBuf, Arc<Vec<u8>>>;

/// The longest term of any record, in nanoseconds: for so long copies of what was lost are kept.
const COPIES_ARE_KEPT: i64 = 365 * 86_400 * 1_000_000_000;

/// All records, runs that were overtaken among them, in the order of their numbers.
pub(crate) fn records(reader: &Reader) -> runledger::Result<Vec<Record<'static>>> {
    let all = reader.query().history(true).order(Order::Seq).limit(usize::MAX / 2);
    let page = all.fetch()?;
    let records: Result<Vec<_>, _> =
        page.records().map(|record| record.map(Record::into_owned)).collect();
    assert_eq!(page.len() as u64, all.count()?, "a count and the records it counts");
    records
}

/// Opens the disk that a crash left, compares it with the oracle, goes on appending, crashes it
/// again, and compares again: a second recovery must find what the first one showed. What a crash
/// left must be no damage to `verify`.
pub(crate) fn check(found: &SimDisk, oracle: &Oracle, crash: Crash, label: &dyn fmt::Display) {
    check_with(found, oracle, crash, label, true);
}

/// As [`check`], where there may be damage besides.
pub(crate) fn check_records(
    found: &SimDisk,
    oracle: &Oracle,
    crash: Crash,
    label: &dyn fmt::Display,
) {
    check_with(found, oracle, crash, label, false);
}

fn check_with(
    found: &SimDisk,
    oracle: &Oracle,
    crash: Crash,
    label: &dyn fmt::Display,
    is_whole: bool,
) {
    let settled = SharedOracle::default();
    let writer = open(found, &settled, label);
    let records = judged(found, &writer, oracle, crash, label);
    if is_whole {
        let report = verify(DIR, found.storage()).unwrap();
        assert!(!report.is_damaged(), "{label}: a crash is no damage: {:?}", report.findings);
        second_recovery_changes_nothing(found, label);
    }
    *settled.lock() = oracle.settled(&records, crash);
    found.set_capacity(None);
    let appended = writer.append_event(40, Durability::Sync);
    appended.unwrap_or_else(|err| panic!("{label}: an append after recovery: {err}"));
    let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 0 };
    let again = found.power_cut(nothing);
    let writer = open(&again, &SharedOracle::default(), label);
    judged(&again, &writer, &settled.lock(), Crash::Power, &format!("{label}, recovered twice"));
}

/// A recovery leaves nothing to be done for a second one: not when the process died right after it,
/// and not after a clean close. Both leave every file as it is, to the byte.
///
/// Nothing but `LOCK` is exempt: its note is for people, and the first recovery may have met a full
/// disk with no room for it. `SEQ` is written when a number is taken or the ledger is closed, not
/// when it is opened.
fn second_recovery_changes_nothing(recovered: &SimDisk, label: &dyn fmt::Display) {
    let again = recovered.fork();
    let before = again.content();
    let writer = open(&again, &SharedOracle::default(), label);
    let now = again.content();
    assert_same(&before, &now, &format!("{label}: changed by a second recovery"));
    writer.ledger.close().unwrap_or_else(|err| panic!("{label}: closing: {err}"));
    drop(writer);
    let before = again.content();
    let writer = open(&again, &SharedOracle::default(), label);
    writer.ledger.close().unwrap_or_else(|err| panic!("{label}: closing again: {err}"));
    assert_same(&before, &again.content(), &format!("{label}: changed though nothing was done"));
}

fn assert_same(before: &Content, now: &Content, label: &str) {
    let paths = before.keys().chain(now.keys()).filter(|path| !path.ends_with("LOCK"));
    let paths: BTreeSet<_> = paths.collect();
    let len = |content: &Content, path| content.get(path).map(|bytes| bytes.len());
    let changed = paths.into_iter().filter(|path| before.get(*path) != now.get(*path));
    let changed: Vec<_> = changed.map(|path| (path, len(before, path), len(now, path))).collect();
    assert!(changed.is_empty(), "{label}: {changed:?} (path, length before, length now)");
}

/// As [`check`], with power cuts at every operation of the recovery, and of the recovery from that,
/// as often as `depth` says. How many images there were.
pub(crate) fn check_recovery(
    found: &SimDisk,
    oracle: &Oracle,
    crash: Crash,
    label: &str,
    seed: u64,
    depth: u32,
) -> u64 {
    let counted = Arc::new(Mutex::new(0));
    let probe = {
        let (oracle, label, counted) = (oracle.clone(), label.to_owned(), Arc::clone(&counted));
        let mut rng = Rng::new(seed);
        move |moment: &crate::disk::Moment<'_>| {
            let cut = any_cut(&mut rng);
            let label = format!("{label}, then in recovery before {:?} {cut:?}", moment.op);
            let image = moment.cut(cut);
            *counted.lock() += if depth > 1 {
                check_recovery(&image, &oracle, crash, &label, rng.number(), depth - 1)
            } else {
                check(&image, &oracle, crash, &label);
                1
            };
        }
    };
    found.set_probe(probe);
    let writer = open(found, &SharedOracle::default(), &label);
    judged(found, &writer, oracle, crash, &label);
    found.clear_hooks();
    *counted.lock()
}

fn open(disk: &SimDisk, oracle: &SharedOracle, label: &dyn fmt::Display) -> Writer {
    Writer::open(disk, oracle, 1).unwrap_or_else(|err| panic!("{label}: opening: {err}"))
}

fn judged(
    disk: &SimDisk,
    writer: &Writer,
    oracle: &Oracle,
    crash: Crash,
    label: &dyn fmt::Display,
) -> Vec<Record<'static>> {
    let reader = writer.ledger.reader();
    let records = records(reader).unwrap_or_else(|err| panic!("{label}: reading: {err}"));
    if let Err(what) = oracle.judge(&records, crash) {
        panic!("{label}: {what}");
    }
    each_run_is_one(reader, &records, label);
    let notes = reader.audit().limit(usize::MAX / 2).fetch();
    let notes = notes.unwrap_or_else(|err| panic!("{label}: reading the notes: {err}"));
    nothing_lost_goes_unsaid(disk, &notes, label);
    let mut seqs: BTreeSet<u64> = records.iter().map(|record| record.seq).collect();
    for seq in notes.seqs() {
        assert!(seqs.insert(seq), "{label}: the number {seq} is a record's and a note's");
    }
    records
}

/// Of each run the newest state that is there is the only one that counts.
fn each_run_is_one(reader: &Reader, records: &[Record<'_>], label: &dyn fmt::Display) {
    let mut newest = BTreeMap::new();
    for record in records {
        if let Body::Run(run) = &record.body {
            newest.insert(run.run_id.to_string(), record.seq);
        }
    }
    let current = reader.query().kind(Kind::Run).order(Order::Seq).limit(usize::MAX / 2).fetch();
    let current = current.unwrap_or_else(|err| panic!("{label}: reading the runs: {err}"));
    let newest: BTreeSet<u64> = newest.into_values().collect();
    let current: BTreeSet<u64> = current.seqs().collect();
    assert_eq!(current, newest, "{label}: the newest states, and what the records tell of them");
}

/// Of every copy of what a recovery cut or covered there is a note, and of every note the copy,
/// for as long as copies are kept.
fn nothing_lost_goes_unsaid(disk: &SimDisk, notes: &Page, label: &dyn fmt::Display) {
    let lost = Path::new(DIR).join("lost");
    let copies = disk.files().into_iter().filter(|path| path.parent() == Some(lost.as_path()));
    let mut copies: BTreeSet<String> = copies
        .filter(|path| path.extension().is_some_and(|ending| ending == "bin"))
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    for note in notes.records().filter_map(Result::ok) {
        if let Body::Event(Event { payload: Some(payload), .. }) = &note.body {
            let named = payload.as_str().split('"').filter(|part| part.ends_with(".bin"));
            let age = disk.now_without_tick() - note.recorded_at.as_nanos();
            for copy in named.map(Path::new).filter(|_| age < COPIES_ARE_KEPT) {
                assert!(disk.files().iter().any(|path| path == copy), "{label}: {copy:?} is gone");
            }
            copies.retain(|copy| !payload.as_str().contains(copy.as_str()));
        }
    }
    assert!(copies.is_empty(), "{label}: cut, and not on record: {copies:?}");
}

/// The ledger of a disk, read by another process.
pub(crate) fn reader(disk: &SimDisk) -> runledger::Result<Reader> {
    Reader::with_storage(Path::new(DIR), disk.storage())
}
