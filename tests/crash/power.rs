//! Power cuts and kills at every operation (rows 1 and 3 of the reliability scorecard).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{Durability, Ledger};

use crate::crash::check::{check, check_recovery};
use crate::crash::oracle::{Crash, SharedOracle, mark};
use crate::crash::scaled;
use crate::crash::workload::{DIR, Writer, event, options};
use crate::support::disk::{Cut, Keep, KeepNames, Moment, OpKind, SimDisk};
use crate::support::rng::Rng;

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
        seed: rng.next(),
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

fn report(what: &str, lives: &[BTreeMap<OpKind, u64>]) -> u64 {
    let mut sum: BTreeMap<OpKind, u64> = BTreeMap::new();
    for (kind, count) in lives.iter().flatten() {
        *sum.entry(*kind).or_default() += count;
    }
    let total = sum.values().sum();
    println!("{what}: {total} images, {sum:?}");
    total
}

#[test]
fn a_power_cut_at_any_operation_takes_nothing_that_was_acknowledged() {
    let lives = (0..scaled(5)).map(|seed| {
        probed_life(seed, 40, move |moment, oracle, rng| {
            for files in Keep::ALL {
                let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
                let cut = Cut { files, names, seed: rng.next() };
                let label = format!("seed {seed}, before {:?}, {cut:?}", moment.op);
                check(&moment.cut(cut), &oracle.lock(), Crash::Power, &label);
            }
            Keep::ALL.len() as u64
        })
    });
    let lives: Vec<_> = lives.collect();
    assert!(report("power cuts", &lives) >= scaled(1000));
}

#[test]
fn a_power_cut_in_recovery_takes_nothing_either() {
    let lives = (100..100 + scaled(1)).map(|seed| {
        probed_life(seed, 40, move |moment, oracle, rng| {
            if rng.below(8) > 0 {
                return 0;
            }
            let cut = any_cut(rng);
            let label = format!("seed {seed}, before {:?}, {cut:?}", moment.op);
            check_recovery(&moment.cut(cut), &oracle.lock(), Crash::Power, &label, rng.next())
        })
    });
    let lives: Vec<_> = lives.collect();
    assert!(report("power cuts in recovery", &lives) >= scaled(100));
}

#[test]
fn the_death_of_the_process_takes_nothing_that_was_acknowledged() {
    let lives = (200..200 + scaled(3)).map(|seed| {
        probed_life(seed, 40, move |moment, oracle, _| {
            let label = format!("seed {seed}, killed before {:?}", moment.op);
            check(&moment.kill(), &oracle.lock(), Crash::Kill, &label);
            1
        })
    });
    let lives: Vec<_> = lives.collect();
    assert!(report("kills", &lives) >= scaled(200));
}

#[test]
fn no_number_is_given_twice_when_reservations_are_cut_off() {
    let disk = SimDisk::new(300);
    let oracle = SharedOracle::default();
    let writer = Writer::open(&disk, &oracle, 300).unwrap();
    let images = Arc::new(Mutex::new(0));
    disk.set_probe({
        let (oracle, images, mut rng) = (oracle.clone(), Arc::clone(&images), Rng::new(300));
        move |moment| {
            for files in Keep::ALL {
                let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
                let cut = Cut { files, names, seed: rng.next() };
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
        writer.append(batch, Durability::Os).unwrap();
    }
    disk.clear_hooks();
    println!("{} images while 24,000 numbers were given out", images.lock());
}

/// One writer of several on the same ledger.
fn write_beside_others(ledger: &Ledger, oracle: &SharedOracle, seed: u64, steps: usize) {
    let mut writer = Writer::over(ledger.clone(), oracle, seed);
    for _ in 0..steps {
        writer.step().unwrap();
    }
}

#[test]
fn a_power_cut_under_many_writers_takes_nothing_that_was_acknowledged() {
    let lives = (400..400 + scaled(2)).map(|seed| {
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
            for thread in 0..4 {
                let (ledger, oracle) = (&ledger, &oracle);
                scope.spawn(move || write_beside_others(ledger, oracle, seed * 4 + thread, 40));
            }
        });
        ledger.close().unwrap();
        disk.clear_hooks();
        counts.lock().clone()
    });
    let lives: Vec<_> = lives.collect();
    assert!(report("crashes under four writers", &lives) >= scaled(50));
}
