//! The life of a ledger: opened and filled several times, and left in between by a close, the death
//! of its process or a power cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runledger::{Cleanup, Durability, Error};

use crate::check::records;
use crate::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};
use crate::oracle::{Crash, SharedOracle};
use crate::rng::Rng;
use crate::rows::retention::expect_drop;
use crate::workload::{Writer, split_off};

const DAY: Duration = Duration::from_secs(86_400);

/// Some way in which a power cut can go.
pub(crate) fn any_cut(rng: &mut Rng) -> Cut {
    Cut {
        files: Keep::ALL[rng.below(Keep::ALL.len())],
        names: KeepNames::ALL[rng.below(KeepNames::ALL.len())],
        seed: rng.number(),
    }
}

/// One life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) seed: u64,
    /// How often it is opened.
    pub(crate) openings: usize,
    /// How much is done after each opening.
    pub(crate) steps: usize,
    /// Whether one of its syncs fails and has lost what it should have written.
    pub(crate) loses_a_sync: bool,
    /// Whether retention drops what was appended before the middle of it.
    pub(crate) retains: bool,
    /// Whether records go to streams of their classes, other ones from the middle of it on.
    pub(crate) splits: bool,
}

/// What is split off at first, and later: one class is so no longer, and another one only then.
const SPLIT: [&[&str]; 2] =
    [&["runs.failed", "events.warning"], &["runs.failed", "events.info", "errors.error"]];

impl Life {
    /// A life of several openings.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, openings: 4, steps: 14, loses_a_sync: false, retains: true, splits: false }
    }

    /// Lives it on this disk, and tells the oracle. Every fourth finds no way to reserve space.
    pub(crate) fn live(&self, disk: &SimDisk, oracle: &SharedOracle) {
        let mut rng = Rng::new(self.seed ^ 0x11fe);
        disk.set_reserving(!self.seed.is_multiple_of(4));
        if self.loses_a_sync {
            lose_a_sync(disk, rng.below(self.openings * self.steps));
        }
        oracle.lock().carries = self.retains;
        let mut is_after_a_kill = false;
        for opening in 0..self.openings {
            self.split(disk, oracle, opening);
            let mut writer = reopen(disk, oracle, rng.number(), is_after_a_kill);
            if self.retains && opening == self.openings / 2 {
                retain(&mut writer, disk);
            }
            for _ in 0..self.steps {
                if writer.step().is_err() {
                    writer = after_an_error(disk, writer, rng.number());
                }
            }
            is_after_a_kill = self.leave(disk, writer, &mut rng);
        }
    }

    /// Splits off the classes of this opening, if they are others than before.
    fn split(&self, disk: &SimDisk, oracle: &SharedOracle, opening: usize) {
        let part = opening * SPLIT.len();
        if self.splits && part.is_multiple_of(self.openings) {
            split_off(disk, oracle, SPLIT[part / self.openings]).unwrap();
        }
    }

    /// Lives a life of one process that dies in the midst of something, after so many operations
    /// that change the disk. False when it came to its end before.
    pub(crate) fn die(&self, disk: &SimDisk, oracle: &SharedOracle, after: u64) -> bool {
        disk.set_reserving(!self.seed.is_multiple_of(4));
        self.split(disk, oracle, 0);
        let is_dead = die_in_the_midst(disk, after);
        if let Ok(writer) = Writer::open(disk, oracle, self.seed) {
            let mut writer = writer.compacting();
            let live = |step| match step % 4 {
                0 => writer.append_event(30_000, Durability::Os).map(drop),
                _ => writer.step(),
            };
            let lived = (0..self.steps).try_for_each(live).and_then(|()| writer.close());
            assert_eq!(lived.is_err(), is_dead.load(Ordering::Relaxed), "{lived:?}");
            disk.die(|| drop(writer));
        }
        disk.set_faults(|_| None);
        is_dead.load(Ordering::Relaxed)
    }

    /// The processes after one that died: each closes what it has opened.
    pub(crate) fn go_on(&self, disk: &SimDisk, oracle: &SharedOracle) {
        for opening in 1..self.openings {
            let mut writer = reopen(disk, oracle, self.seed ^ opening as u64, opening == 1);
            for _ in 0..self.steps / 3 {
                writer.step().unwrap();
            }
            writer.close().unwrap();
            disk.die(|| drop(writer));
        }
    }

    /// Ends the process in one of the ways in which it can; true when what it left is unsettled.
    fn leave(&self, disk: &SimDisk, writer: Writer, rng: &mut Rng) -> bool {
        match rng.below(4) {
            0 | 1 => {
                let closed = writer.close();
                assert!(closed.is_ok() || self.loses_a_sync, "{closed:?}");
                disk.die(|| drop(writer));
                // What a close that failed has left is as after a crash.
                closed.is_err()
            }
            2 => {
                disk.die(|| drop(writer));
                true
            }
            _ => {
                let oracle = writer.oracle.clone();
                disk.lose_power(any_cut(rng), || drop(writer));
                // What is there now is owed to all that looks at the recovery.
                let found = Writer::open(&disk.fork(), &SharedOracle::default(), 1).unwrap();
                settle(&found, &oracle, Crash::Power);
                false
            }
        }
    }
}

/// Makes one sync fail and lose what it should have written, after so many that did not.
fn lose_a_sync(disk: &SimDisk, after: usize) {
    let mut left = after;
    disk.set_faults(move |op| {
        if op.kind != OpKind::Sync {
            return None;
        }
        let is_lost = left == 0;
        left = left.wrapping_sub(1);
        is_lost.then_some(Fault::LostSync)
    });
}

/// Has the process die after so many operations that change the disk: none comes after them. Tells
/// whether it has.
fn die_in_the_midst(disk: &SimDisk, after: u64) -> Arc<AtomicBool> {
    let is_dead = Arc::new(AtomicBool::new(false));
    let (mut left, died) = (after, Arc::clone(&is_dead));
    disk.set_faults(move |op| {
        if !op.kind.changes() {
            return None;
        }
        died.fetch_or(left == 0, Ordering::Relaxed);
        left = left.saturating_sub(1);
        died.load(Ordering::Relaxed).then_some(Fault::Io)
    });
    is_dead
}

/// Opens the ledger, again if need be; what a process left that was killed is settled.
fn reopen(disk: &SimDisk, oracle: &SharedOracle, seed: u64, is_after_a_kill: bool) -> Writer {
    let writer = Writer::open(disk, oracle, seed).unwrap_or_else(|first| {
        let second = Writer::open(disk, oracle, seed);
        second.unwrap_or_else(|err| panic!("opening: {first}; and again: {err}"))
    });
    if is_after_a_kill {
        settle(&writer, oracle, Crash::Kill);
    }
    writer.compacting()
}

/// Compares what a crash has left with what was promised, and has the oracle go on from there.
fn settle(found: &Writer, oracle: &SharedOracle, crash: Crash) {
    let found = records(found.ledger.reader()).unwrap();
    let mut oracle = oracle.lock();
    oracle.judge(&found, crash).unwrap();
    let settled = oracle.settled(&found, crash);
    *oracle = settled;
}

/// A writer that is poisoned is opened again, as the same process would do it.
fn after_an_error(disk: &SimDisk, writer: Writer, seed: u64) -> Writer {
    match writer.append_event(1, Durability::Os) {
        Err(Error::Poisoned { .. }) => {
            let oracle = writer.oracle.clone();
            drop(writer);
            reopen(disk, &oracle, seed, true)
        }
        _ => writer,
    }
}

/// Has everything that was there before grow old, and retention drop it.
fn retain(writer: &mut Writer, disk: &SimDisk) {
    disk.advance(DAY * 400);
    let young = writer.oracle.lock().batches.len();
    for _ in 0..3 {
        // Not any step: upkeep would drop what the oracle is not yet told of.
        writer.append_event(300, Durability::Os).unwrap();
    }
    // What is too old to be written on is retired first, as retention does it.
    expect_drop(writer, &Cleanup::retention(), young).unwrap();
    writer.ledger.maintain().unwrap();
    writer.oracle.lock().dropped();
}
