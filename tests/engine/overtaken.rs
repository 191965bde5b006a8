//! States of runs that are lost between two others: a state names the one before it and no other,
//! so the one before the lost one was the newest of its run once more, beside the last one, and the
//! run was two.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{Class, Durability, Json, Ledger, Limits, Reader, Run, Status, repair, verify};
use torture::disk::{Cut, Keep, KeepNames, SimDisk};

use super::{DIR, options};

const STATES: [Status; 3] = [Status::Pending, Status::Running, Status::Success];

/// A state with something in it that is found in the file.
fn state(status: Status, size: usize) -> Run<'static> {
    let run = Run::new("r", "t", status).unwrap();
    run.metadata(Json::from_value(&status.name().repeat(size)).unwrap())
}

fn files_of(disk: &SimDisk, stream: &str) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|path| path.parent().is_some_and(|dir| dir.ends_with(stream)));
    files
}

/// Damages what has this text in it.
fn damage(disk: &SimDisk, stream: &str, text: &str) {
    for path in files_of(disk, stream) {
        let mut bytes = disk.peek(&path);
        let places = bytes.windows(text.len()).position(|it| it == text.as_bytes());
        places.into_iter().for_each(|at| bytes[at] ^= 1);
        disk.poke(&path, bytes);
    }
}

/// Ends the segments that are written.
fn seal(disk: &SimDisk, ledger: &Ledger) {
    disk.advance(Duration::from_secs(40 * 24 * 60 * 60));
    ledger.maintain().unwrap();
}

/// The run is there once, as it ended, for the writer and for who reads beside it.
fn is_one(disk: &SimDisk, ledger: &Ledger, label: &str) {
    let beside = Reader::with_storage(DIR, disk.storage()).unwrap();
    for reader in [ledger.reader(), &beside] {
        assert_eq!(reader.query().count().unwrap(), 1, "{label}");
        assert_eq!(reader.query().status(Status::Success).count().unwrap(), 1, "{label}");
    }
}

/// Now, after a crash, after a clean close, and to who reads then.
fn stays_one(disk: &SimDisk, label: &str) {
    for closes in [false, true, true] {
        let ledger = options(disk).open(DIR).unwrap();
        is_one(disk, &ledger, label);
        match closes {
            true => ledger.close().unwrap(),
            false => disk.die(|| drop(ledger)),
        }
    }
}

/// The frame of the state between was damaged. The index in the footer still hid the first one; the
/// one that a repair made did not.
#[test]
fn a_repair_that_loses_a_state_makes_no_run_two() {
    for (is_sealed, is_spread) in [(false, false), (true, false), (true, true)] {
        let label = format!("sealed: {is_sealed}, in three segments: {is_spread}");
        let disk = SimDisk::new(1);
        let ledger = options(&disk).open(DIR).unwrap();
        for status in STATES {
            ledger.append(state(status, 10)).unwrap();
            if is_sealed && (is_spread || status == Status::Success) {
                seal(&disk, &ledger);
            }
        }
        ledger.close().unwrap();
        damage(&disk, "runs", &Status::Running.name().repeat(10));
        assert!(verify(DIR, disk.storage()).unwrap().is_damaged(), "{label}");
        repair(DIR, disk.storage(), false).unwrap();
        assert!(!verify(DIR, disk.storage()).unwrap().is_damaged(), "{label}");
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        assert_eq!(reader.query().history(true).count().unwrap(), 2, "{label}");
        assert_eq!(reader.query().count().unwrap(), 1, "{label}");
        stays_one(&disk, &label);
        // The word of what is overtaken may be lost in its turn.
        let ledger = options(&disk).open(DIR).unwrap();
        seal(&disk, &ledger);
        ledger.close().unwrap();
        damage(&disk, "audit", "run.overtaken");
        repair(DIR, disk.storage(), false).unwrap();
        stays_one(&disk, &format!("{label}, without the word of it"));
    }
}

/// Of the files at the end of a stream that are gone the last one alone is known. What was lost in
/// those before it counted as there, so that the state before that was the newest once more.
#[test]
fn segments_that_are_gone_make_no_run_two() {
    let disk = SimDisk::new(2);
    let failed = Class::status(Status::Failed);
    let open = || options(&disk).class(failed, Limits::new()).open(DIR).unwrap();
    let ledger = open();
    for state in [("r", Status::Pending), ("r", Status::Running), ("other", Status::Running)] {
        seal(&disk, &ledger);
        ledger.append(Run::new(state.0, "t", state.1).unwrap()).unwrap();
    }
    ledger.append(Run::new("r", "t", Status::Failed).unwrap()).unwrap();
    seal(&disk, &ledger);
    ledger.close().unwrap();
    let mut files = files_of(&disk, "runs");
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    files[1..].iter().for_each(|file| disk.storage().remove(file).unwrap());
    for opening in 0..2 {
        let ledger = open();
        let states = ledger.query().history(true).count().unwrap();
        assert_eq!((ledger.query().count().unwrap(), states), (1, 2), "opening {opening}");
        ledger.close().unwrap();
    }
}

/// A power cut took blocks out of the middle of what was not synced: the recovery covers the hole,
/// and what follows it stays. A crash in the midst of that recovery changes nothing.
#[test]
fn a_hole_that_takes_a_state_makes_no_run_two() {
    let mut holes = 0;
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let ledger = options(&disk).open(DIR).unwrap();
        ledger.append_with(state(Status::Pending, 10), Durability::Sync).unwrap();
        for (status, size) in [(Status::Running, 300), (Status::Success, 10)] {
            ledger.append_with(state(status, size), Durability::Os).unwrap();
        }
        let cut = Cut { files: Keep::Zeros, names: KeepNames::All, seed };
        disk.lose_power(cut, || drop(ledger));
        let found = disk.fork();
        let ledger = options(&disk).open(DIR).unwrap();
        let states = ledger.query().history(true).count().unwrap();
        assert_eq!(ledger.query().count().unwrap(), 1, "seed {seed}, {states} states");
        let has_ended = ledger.query().status(Status::Success).count().unwrap() == 1;
        disk.die(|| drop(ledger));
        if !has_ended || states != 2 {
            continue;
        }
        holes += 1;
        stays_one(&disk, &format!("seed {seed}"));
        let images = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&images);
        found.set_probe(move |moment| {
            let seed = moment.op.number;
            let cut = Cut { files: Keep::Sectors, names: KeepNames::Prefix, seed };
            taken.lock().extend([moment.kill(), moment.cut(cut)]);
        });
        drop(options(&found).open(DIR).unwrap());
        found.clear_hooks();
        let images = std::mem::take(&mut *images.lock());
        for (step, image) in images.iter().enumerate() {
            stays_one(image, &format!("seed {seed}, image {step} of the recovery"));
        }
    }
    assert!(holes > 0);
}
