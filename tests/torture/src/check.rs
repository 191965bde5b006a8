//! Whether a disk that a crash left holds what was promised.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use runledger::{Durability, Order, Reader, Record, verify};

use crate::disk::{Cut, Keep, KeepNames, SimDisk};
use crate::oracle::{Crash, Oracle, SharedOracle};
use crate::rng::Rng;
use crate::workload::{DIR, Writer};

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
    let records = judged(&writer, oracle, crash, label);
    if is_whole {
        let report = verify(DIR, found.storage()).unwrap();
        assert!(!report.is_damaged(), "{label}: a crash is no damage: {:?}", report.findings);
    }
    *settled.lock() = oracle.settled(&records, crash);
    found.set_capacity(None);
    let appended = writer.append_event(40, Durability::Sync);
    appended.unwrap_or_else(|err| panic!("{label}: an append after recovery: {err}"));
    let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 0 };
    let again = found.power_cut(nothing);
    let writer = open(&again, &SharedOracle::default(), label);
    judged(&writer, &settled.lock(), Crash::Power, &format!("{label}, recovered twice"));
}

/// As [`check`], with power cuts at every operation of the recovery. How many there were.
pub(crate) fn check_recovery(
    found: &SimDisk,
    oracle: &Oracle,
    crash: Crash,
    label: &str,
    seed: u64,
) -> u64 {
    let counted = Arc::new(Mutex::new(0));
    let probe = {
        let (oracle, label, counted) = (oracle.clone(), label.to_owned(), Arc::clone(&counted));
        let mut rng = Rng::new(seed);
        move |moment: &crate::disk::Moment<'_>| {
            let cut = Cut {
                files: Keep::ALL[rng.below(Keep::ALL.len())],
                names: KeepNames::ALL[rng.below(KeepNames::ALL.len())],
                seed: rng.number(),
            };
            *counted.lock() += 1;
            let label = format!("{label}, then in recovery before {:?} {cut:?}", moment.op);
            check(&moment.cut(cut), &oracle, crash, &label);
        }
    };
    found.set_probe(probe);
    let writer = open(found, &SharedOracle::default(), &label);
    judged(&writer, oracle, crash, &label);
    found.clear_hooks();
    *counted.lock()
}

fn open(disk: &SimDisk, oracle: &SharedOracle, label: &dyn fmt::Display) -> Writer {
    Writer::open(disk, oracle, 1).unwrap_or_else(|err| panic!("{label}: opening: {err}"))
}

fn judged(
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
    let notes = reader.audit().limit(usize::MAX / 2).fetch();
    let notes = notes.unwrap_or_else(|err| panic!("{label}: reading the notes: {err}"));
    let mut seqs: BTreeSet<u64> = records.iter().map(|record| record.seq).collect();
    for seq in notes.seqs() {
        assert!(seqs.insert(seq), "{label}: the number {seq} is a record's and a note's");
    }
    records
}

/// The ledger of a disk, read by another process.
pub(crate) fn reader(disk: &SimDisk) -> runledger::Result<Reader> {
    Reader::with_storage(Path::new(DIR), disk.storage())
}
