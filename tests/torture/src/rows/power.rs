//! Power cuts and kills at every operation (rows 1 and 3 of the reliability scorecard).

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{Durability, Ledger, Result};

use crate::check::{check, check_recovery};
use crate::disk::{Cut, Keep, KeepNames, Moment, OpKind, SimDisk};
use crate::ground::Ground;
use crate::oracle::{Crash, SharedOracle, mark};
use crate::rng::Rng;
use crate::workload::{DIR, Writer, event, options};

/// How many images were checked, by the operation they were taken before.
type Counts = Arc<Mutex<BTreeMap<OpKind, u64>>>;

/// One life of a ledger: made, filled over several segments, closed, opened when its segments are
/// old, filled on, and left without a close.
fn life(disk: &SimDisk, oracle: &SharedOracle, seed: u64, steps: usize) {
    let mut writer = Writer::open(disk, oracle, seed).unwrap();
    for _ in 0..steps {
        writer.step().unwrap();
    }
    writer.close().unwrap();
    disk.advance(Duration::from_secs(2 * 86_400));
    let mut writer = Writer::open(disk, oracle, seed + 1).unwrap();
    writer.ledger.maintain().unwrap();
    for _ in 0..steps / 2 {
        writer.step().unwrap();
    }
}

/// Some way in which a power cut can go.
fn any_cut(rng: &mut Rng) -> Cut {
    Cut {
        files: Keep::ALL[rng.below(Keep::ALL.len())],
        names: KeepNames::ALL[rng.below(KeepNames::ALL.len())],
        seed: rng.number(),
    }
}

/// Has images checked before every operation that changes something, and counts them.
fn probe_all(
    disk: &SimDisk,
    oracle: &SharedOracle,
    seed: u64,
    mut images: impl FnMut(&Moment<'_>, &SharedOracle, &mut Rng) -> u64 + Send + 'static,
) -> Counts {
    let counts = Counts::default();
    let probe = {
        let (oracle, counts, mut rng) = (oracle.clone(), Arc::clone(&counts), Rng::new(seed));
        move |moment: &Moment<'_>| {
            let checked = images(moment, &oracle, &mut rng);
            *counts.lock().entry(moment.op.kind).or_default() += checked;
        }
    };
    disk.set_probe(probe);
    counts
}

/// Runs a life with a check of crashed images before every operation.
fn probed_life(
    seed: u64,
    steps: usize,
    images: impl FnMut(&Moment<'_>, &SharedOracle, &mut Rng) -> u64 + Send + 'static,
) -> BTreeMap<OpKind, u64> {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    let counts = probe_all(&disk, &oracle, seed, images);
    life(&disk, &oracle, seed, steps);
    // The last writer is left open: dropping it closes it, with a look at every operation.
    disk.clear_hooks();
    counts.lock().clone()
}

/// Runs lives, and notes before which operations images were taken.
fn lives(
    ground: &Ground,
    count: u64,
    life: impl Fn(u64) -> BTreeMap<OpKind, u64> + Sync,
) -> Result<()> {
    let sum: Mutex<BTreeMap<OpKind, u64>> = Mutex::default();
    ground.cases(count, |seed| {
        let counts = life(seed);
        for (kind, count) in &counts {
            *sum.lock().entry(*kind).or_default() += count;
        }
        Ok(counts.values().sum())
    });
    ground.note(format!("{:?}", sum.lock()));
    Ok(())
}

/// A power cut at any operation takes nothing that was acknowledged.
pub(crate) fn at_every_operation(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(5, 1500), |seed| {
        probed_life(seed, 40, move |moment, oracle, rng| {
            for files in Keep::ALL {
                let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
                let cut = Cut { files, names, seed: rng.number() };
                let label = format!("seed {seed}, before {:?}, {cut:?}", moment.op);
                check(&moment.cut(cut), &oracle.lock(), Crash::Power, &label);
            }
            Keep::ALL.len() as u64
        })
    })
}

/// A power cut in recovery takes nothing either.
pub(crate) fn in_recovery(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(1, 200), |seed| {
        probed_life(seed, 40, move |moment, oracle, rng| {
            if rng.below(8) > 0 {
                return 0;
            }
            let cut = any_cut(rng);
            let label = format!("seed {seed}, before {:?}, {cut:?}", moment.op);
            check_recovery(&moment.cut(cut), &oracle.lock(), Crash::Power, &label, rng.number())
        })
    })
}

/// The death of the process at any operation takes nothing that was acknowledged.
pub(crate) fn death_of_the_process(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(3, 300), |seed| {
        probed_life(seed, 40, move |moment, oracle, _| {
            let label = format!("seed {seed}, killed before {:?}", moment.op);
            check(&moment.kill(), &oracle.lock(), Crash::Kill, &label);
            1
        })
    })
}

/// No number is given twice when reservations are cut off.
pub(crate) fn while_numbers_are_reserved(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(1, 40), reserving);
    Ok(())
}

fn reserving(seed: u64) -> Result<u64> {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    let writer = Writer::open(&disk, &oracle, seed)?;
    let images = Arc::new(Mutex::new(0));
    disk.set_probe({
        let (oracle, images, mut rng) = (oracle.clone(), Arc::clone(&images), Rng::new(seed));
        move |moment| {
            for files in Keep::ALL {
                let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
                let cut = Cut { files, names, seed: rng.number() };
                // What was given out is all that the oracle is asked, so the records are not read.
                let given = SharedOracle::default();
                *given.lock() = oracle.lock().clone();
                let found = moment.cut(cut);
                let writer = Writer::open(&found, &given, 1).unwrap();
                for _ in 0..3 {
                    let appended = writer.append_event(1, Durability::Os);
                    appended.unwrap_or_else(|err| panic!("before {:?}, {cut:?}: {err}", moment.op));
                }
                *images.lock() += 1;
            }
        }
    });
    // Three reservations or more are used up.
    for _ in 0..24 {
        let batch = |batch| (0..1000).map(|place| event(&mark(batch, place), 1)).collect();
        writer.append(batch, Durability::Os)?;
    }
    disk.clear_hooks();
    let images = *images.lock();
    Ok(images)
}

/// One writer of several on the same ledger.
fn write_beside_others(ledger: &Ledger, oracle: &SharedOracle, seed: u64, steps: usize) {
    let mut writer = Writer::over(ledger.clone(), oracle, seed);
    for _ in 0..steps {
        writer.step().unwrap();
    }
}

/// A power cut under several writers takes nothing that was acknowledged.
pub(crate) fn under_several_writers(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(2, 300), |seed| {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let ledger = options(&disk).background(true).open(DIR).unwrap();
        let counts = probe_all(&disk, &oracle, seed, move |moment, oracle, rng| {
            if rng.below(4) > 0 {
                return 0;
            }
            let cut = any_cut(rng);
            let label = format!("seed {seed}, before {:?}, {cut:?}", moment.op);
            let oracle = oracle.lock();
            check(&moment.cut(cut), &oracle, Crash::Power, &label);
            check(&moment.kill(), &oracle, Crash::Kill, &format!("{label}, killed"));
            2
        });
        std::thread::scope(|scope| {
            let spawn = |thread: u64| {
                let (ledger, oracle) = (&ledger, &oracle);
                scope.spawn(move || write_beside_others(ledger, oracle, seed ^ thread, 40))
            };
            let threads: Vec<_> = (0..4).map(spawn).collect();
            for thread in threads {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
        ledger.close().unwrap();
        disk.clear_hooks();
        counts.lock().clone()
    })
}
