use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use runledger::{Durability, Event, Options, verify};
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

use super::DIR;

fn options(disk: &SimDisk) -> Options {
    super::options(disk).segment_bytes(64 << 10)
}

/// The image that a power cut leaves when a second segment was begun before the first was synced,
/// with all names and of each file what was synced, or its length alone.
fn filled_before_any_sync(files: Keep) -> SimDisk {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append_with(Event::new("synced"), Durability::Sync).unwrap();
    ledger.append_with(runledger::ErrorRecord::new("synced", "too"), Durability::Sync).unwrap();
    let image = Arc::new(Mutex::new(None));
    let big = || Event::new("big").message("x".repeat(30_000));
    let fill = |durability| ledger.append_with(big(), durability).map(drop).unwrap();
    // This fills the segment that was synced, and begins one that is not.
    (0..3).for_each(|_| fill(Durability::Os));
    let begun: PathBuf = disk.files().into_iter().rfind(|it| it.ends_with_events()).unwrap();
    disk.set_probe({
        let image = Arc::clone(&image);
        move |moment| {
            if moment.op.kind == OpKind::Sync && moment.op.path == begun {
                let cut = Cut { files, names: KeepNames::All, seed: 3 };
                image.lock().get_or_insert_with(|| moment.cut(cut));
            }
        }
    });
    (0..3).for_each(|_| fill(Durability::Os));
    disk.clear_hooks();
    image.lock().take().unwrap()
}

trait EndsWithEvents {
    fn ends_with_events(&self) -> bool;
}

impl EndsWithEvents for PathBuf {
    fn ends_with_events(&self) -> bool {
        self.parent().is_some_and(|dir| dir.ends_with("events"))
    }
}

/// A power cut took the header of a segment that was filled before it was ever synced, while the
/// name of the next one was on the disk: of 5,000 cuts of a real ext4 nine. Only the last segment
/// of a stream was taken for half-made, so `verify` called this damage, for ever. Nothing that was
/// promised was lost.
#[test]
fn a_segment_that_was_never_synced_is_no_damage_where_another_follows() {
    for files in [Keep::Nothing, Keep::Zeros, Keep::Garbage] {
        let disk = filled_before_any_sync(files);
        let report = verify(DIR, disk.storage()).unwrap();
        assert!(!report.is_damaged(), "before the opening, {files:?}: {:?}", report.findings);
        let ledger = options(&disk).open(DIR).unwrap();
        let report = verify(DIR, disk.storage()).unwrap();
        assert!(!report.is_damaged(), "{files:?}: {:?}", report.findings);
        assert_eq!(ledger.query().record_type("synced").count().unwrap(), 2);
        ledger.append_with(Event::new("next"), Durability::Sync).unwrap();
    }
}

/// The header of a segment is damage, whatever crash came after it, once a later segment tells
/// that its stream was synced since.
#[test]
fn a_lost_header_is_damage_where_a_later_segment_was_synced() {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    let big = || Event::new("big").message("x".repeat(30_000));
    for _ in 0..4 {
        ledger.append_with(big(), Durability::Sync).unwrap();
    }
    let killed = disk.kill();
    let first = killed.files().into_iter().find(|it| it.ends_with_events()).unwrap();
    let mut bytes = killed.peek(&first);
    bytes[..256].fill(0);
    killed.poke(&first, bytes);
    let ledger = options(&killed).open(DIR).unwrap();
    assert!(verify(DIR, killed.storage()).unwrap().is_damaged());
    assert_eq!(ledger.query().count().unwrap(), 2);
    assert!(killed.files().contains(&first), "it is left where it is");
}

/// A sync of the file of sequence numbers failed, and the kernel showed to the next opening what
/// the disk did not have. That one wrote over the other slot, the only one that the disk had: a
/// power cut in the midst of it left the clean close of long ago, and its numbers were given out
/// again.
#[test]
fn a_sync_of_the_sequence_that_failed_is_made_good_before_the_other_slot_is_written() {
    let disk = SimDisk::new(7);
    let event = || Event::new("t");
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(event()).unwrap();
    ledger.close().unwrap();
    let ledger = options(&disk).open(DIR).unwrap();
    let mut highest = ledger.append(event()).unwrap();
    disk.set_faults(|op| {
        (op.kind == OpKind::Sync && op.path.ends_with("SEQ")).then_some(Fault::LostSync)
    });
    // Until more numbers are reserved.
    let batch = vec![event().into(); 1000];
    while let Ok(seqs) = ledger.append_batch(&batch, Durability::Os) {
        highest = seqs.last().copied().unwrap();
    }
    disk.clear_hooks();
    drop(ledger);
    let (found, cuts) = mpsc::channel();
    disk.set_probe(move |moment| {
        for (seed, files) in (0..20).flat_map(|seed| Keep::ALL.map(|files| (seed, files))) {
            let _ = found.send(moment.cut(Cut { files, names: KeepNames::All, seed }));
        }
    });
    options(&disk).open(DIR).unwrap().append(event()).unwrap();
    disk.clear_hooks();
    let mut images = 0;
    for image in cuts.try_iter() {
        let seq = options(&image).open(DIR).unwrap().append(event()).unwrap();
        assert!(seq > highest, "{seq} was given out, {highest} before");
        images += 1;
    }
    assert!(images > 100, "{images} images");
}
