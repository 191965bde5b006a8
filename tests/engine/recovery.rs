//! What recovery puts aside, and that it says so.

use std::path::{Path, PathBuf};

use runledger::{Durability, Error, Event, Ledger};

use super::{DIR, options};
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

const NOTHING: Cut = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 0 };

fn append(ledger: &Ledger, byte: &str, durability: Durability) {
    ledger.append_with(Event::new("t").message(byte.repeat(3_000)), durability).unwrap();
}

fn segment(disk: &SimDisk) -> PathBuf {
    let is_segment = |path: &PathBuf| path.starts_with("/ledger/streams/events");
    disk.files().into_iter().find(is_segment).unwrap()
}

fn copies(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.starts_with("/ledger/lost")).collect()
}

/// A ledger of one durable event, killed with another half written; that one says what was lost.
fn torn(disk: &SimDisk, byte: &str) -> SimDisk {
    let ledger = options(disk).open(DIR).unwrap();
    append(&ledger, "a", Durability::Sync);
    append(&ledger, byte, Durability::Os);
    let found = disk.kill();
    drop(ledger);
    tear(&found);
    found
}

/// Leaves only half of the last event.
fn tear(disk: &SimDisk) {
    let path = segment(disk);
    let mut bytes = disk.peek(&path);
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes.truncate(end - 1_500);
    disk.poke(&path, bytes);
}

fn torn_tails(disk: &SimDisk) -> u64 {
    let ledger = options(disk).open(DIR).unwrap();
    ledger.reader().stats().unwrap().losses.torn_tails
}

/// A sync failed, and the kernel took the pages for written. The next writer read them whole from
/// memory, the kernel let go of them, and what was read of the disk for the first sync was zeros:
/// they were written, synced, and a later record was acknowledged behind them.
#[test]
fn pages_that_the_kernel_let_go_of_are_not_synced_as_zeros() {
    let disk = SimDisk::new(11);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, "a", Durability::Sync);
    append(&ledger, "b", Durability::Os);
    let found = disk.kill();
    drop(ledger);
    let ledger = options(&found).open(DIR).unwrap();
    assert_eq!(ledger.query().count().unwrap(), 2);
    let path = segment(&found);
    let mut bytes = found.peek(&path);
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[end - 1_500..=end].fill(0);
    found.poke(&path, bytes);
    let refused = ledger.append_with(Event::new("t"), Durability::Sync);
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    let poisoned = ledger.append_with(Event::new("t"), Durability::Os);
    assert!(matches!(poisoned, Err(Error::Poisoned { .. })), "{poisoned:?}");
}

/// A segment was made, the write of its first frame failed, and the ledger was closed: no sync was
/// due, so that its name was never synced. The next writer found a clean close, appended to that
/// segment and synced the file alone: a power cut took the file, and with it a record that had been
/// acknowledged as durable.
#[test]
fn a_segment_that_nothing_was_written_to_is_closed_with_its_name() {
    let disk = SimDisk::new(10);
    let ledger = options(&disk).open(DIR).unwrap();
    let mut is_made = false;
    disk.set_faults(move |op| {
        let of_segment = op.path.starts_with("/ledger/streams/events");
        let fails = is_made && op.kind == OpKind::Write && of_segment;
        is_made |= op.kind == OpKind::Allocate && of_segment;
        fails.then_some(Fault::Io)
    });
    ledger.append(Event::new("t")).unwrap_err();
    disk.clear_hooks();
    ledger.close().unwrap();
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, "a", Durability::Sync);
    let found = disk.power_cut(NOTHING);
    drop(ledger);
    assert_eq!(options(&found).open(DIR).unwrap().query().count().unwrap(), 1);
}

/// Recovery cut a torn tail for good, and noted it without a sync: a second power cut took the
/// note. The bytes were gone from the stream, and only a file in `lost/` that nobody was told of
/// knew.
#[test]
fn what_was_cut_stays_on_record_when_the_power_goes_again() {
    let found = torn(&SimDisk::new(3), "b");
    let ledger = options(&found).open(DIR).unwrap();
    let again = found.power_cut(NOTHING);
    drop(ledger);
    assert_eq!(copies(&again).len(), 1);
    assert_eq!(torn_tails(&again), 1);
}

/// The same with the power cut between the cut and its note: recovery has to put streams in order
/// before it can append to one. At every operation of it, the note comes in the end, and once.
#[test]
fn what_was_cut_gets_on_record_wherever_recovery_is_cut() {
    let found = torn(&SimDisk::new(4), "b");
    found.set_probe(|moment| {
        let image = moment.cut(NOTHING);
        assert_eq!(torn_tails(&image), 1, "before {:?}", moment.op);
        assert_eq!(copies(&image).len(), 1, "before {:?}", moment.op);
        assert_eq!(torn_tails(&image), 1, "opened again, before {:?}", moment.op);
    });
    let ledger = options(&found).open(DIR).unwrap();
    found.clear_hooks();
    ledger.close().unwrap();
}

/// Two tails were torn at the same place, one after the other. The second copy was written over the
/// first, and of a longer first one the end was left behind it.
#[test]
fn what_is_cut_twice_at_one_place_is_kept_twice() {
    let found = torn(&SimDisk::new(5), "b");
    let ledger = options(&found).open(DIR).unwrap();
    append(&ledger, "c", Durability::Os);
    let found = found.kill();
    drop(ledger);
    tear(&found);
    let ledger = options(&found).open(DIR).unwrap();
    ledger.close().unwrap();
    let copies = copies(&found);
    let first_of =
        |path: &PathBuf| found.peek(path).into_iter().filter(|b| b"bc".contains(b)).max();
    let held: Vec<_> = copies.iter().map(first_of).collect();
    assert_eq!(held, [Some(b'c'), Some(b'b')], "{copies:?}");
}

/// A segment that had expired was on record as dropped, and its file could not be removed. The
/// error was told once; after a clean close, which leaves nothing to be put in order, the next
/// opening served what was dropped.
#[test]
fn a_dropped_file_that_cannot_be_removed_stays_gone() {
    let disk = SimDisk::new(6);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, "a", Durability::Sync);
    disk.advance(std::time::Duration::from_secs(400 * 86_400));
    disk.set_faults(|op| (op.kind == OpKind::Remove).then_some(torture::disk::Fault::Io));
    assert!(ledger.maintain().is_err());
    disk.clear_hooks();
    assert_eq!(ledger.query().count().unwrap(), 0);
    let _ = ledger.close();
    drop(ledger);
    let ledger = options(&disk).open(DIR).unwrap();
    assert_eq!(ledger.query().count().unwrap(), 0);
    let segment = Path::new("/ledger/streams/events/00000000000000000001.seg");
    assert!(!disk.files().iter().any(|path| path == segment));
}
