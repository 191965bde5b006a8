//! Power cuts and kills at every operation (rows 1 and 3 of the reliability scorecard).

use std::collections::BTreeMap;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runledger::{Durability, Ledger, Result};

use crate::check::{check, check_recovery};
use crate::disk::{Cut, Keep, KeepNames, Moment, Op, OpKind, SimDisk};
use crate::ground::{Ground, Size};
use crate::life::{Life, any_cut};
use crate::oracle::{Crash, SharedOracle, mark};
use crate::rng::Rng;
use crate::workload::{DIR, Writer, event, options};

/// How many images were checked, by the operation they were taken before.
type Counts = Arc<Mutex<BTreeMap<OpKind, u64>>>;

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

/// Lives a life with a check of crashed images before every operation.
fn probed(
    life: Life,
    images: impl FnMut(&Moment<'_>, &SharedOracle, &mut Rng) -> u64 + Send + 'static,
) -> BTreeMap<OpKind, u64> {
    let disk = SimDisk::new(life.seed);
    let oracle = SharedOracle::default();
    let counts = probe_all(&disk, &oracle, life.seed, images);
    life.live(&disk, &oracle);
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

/// Checks what a power cut here leaves, in every way in which it can go. How many those are.
fn every_cut(moment: &Moment<'_>, oracle: &SharedOracle, rng: &mut Rng, every_name: bool) -> u64 {
    let oracle = oracle.lock();
    let mut images = 0;
    let any = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
    for files in Keep::ALL {
        for names in KeepNames::ALL.into_iter().filter(|&names| every_name || names == any) {
            let cut = Cut { files, names, seed: rng.number() };
            check(&moment.cut(cut), &oracle, Crash::Power, &Before(moment.op, cut));
            images += 1;
        }
    }
    images
}

/// Which image it is.
struct Before<'a>(&'a Op, Cut);

impl fmt::Display for Before<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "before {:?}, {:?}", self.0, self.1)
    }
}

/// A power cut at any operation takes nothing that was acknowledged.
pub(crate) fn at_every_operation(ground: &Ground) -> Result<()> {
    let every_name = ground.size == Size::Full;
    lives(ground, ground.of(2, 90), |seed| {
        probed(Life::new(seed), move |moment, oracle, rng| {
            every_cut(moment, oracle, rng, every_name)
        })
    })
}

/// Nor where records lie in the streams of their classes, which are split off or joined meanwhile.
pub(crate) fn with_classes(ground: &Ground) -> Result<()> {
    let every_name = ground.size == Size::Full;
    lives(ground, ground.of(2, 60), |seed| {
        probed(Life { splits: true, ..Life::new(seed) }, move |moment, oracle, rng| {
            every_cut(moment, oracle, rng, every_name)
        })
    })
}

/// A sync that failed and lost what it should have written is survived, and so is a power cut at
/// any operation after it.
pub(crate) fn after_a_lost_sync(ground: &Ground) -> Result<()> {
    let every_name = ground.size == Size::Full;
    lives(ground, ground.of(2, 60), |seed| {
        let life = Life { loses_a_sync: true, retains: false, openings: 3, ..Life::new(seed) };
        probed(life, move |moment, oracle, rng| every_cut(moment, oracle, rng, every_name))
    })
}

/// Nor does a power cut at any operation of the processes after one that died in the midst of
/// something: what they find in the kernel, and build on, is not on the disk.
pub(crate) fn after_a_death(ground: &Ground) -> Result<()> {
    let stride = usize::try_from(ground.of(16, 1)).unwrap();
    lives(ground, ground.of(2, 12), |seed| {
        let splits = seed.is_multiple_of(2);
        let life = Life { openings: 3, splits, ..Life::new(seed) };
        let mut sum = BTreeMap::new();
        for after in (0..).step_by(stride) {
            let (disk, oracle) = (SimDisk::new(seed), SharedOracle::default());
            if !life.die(&disk, &oracle, after) {
                break;
            }
            let counts = probe_all(&disk, &oracle, seed ^ after, move |moment, oracle, rng| {
                let cut = any_cut(rng);
                let label = format!("died after {after}, then {}", Before(moment.op, cut));
                check(&moment.cut(cut), &oracle.lock(), Crash::Power, &label);
                1
            });
            life.go_on(&disk, &oracle);
            disk.clear_hooks();
            for (kind, count) in &*counts.lock() {
                *sum.entry(*kind).or_default() += count;
            }
        }
        sum
    })
}

/// A power cut in recovery takes nothing either.
pub(crate) fn in_recovery(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(1, 160), |seed| recovered(seed, 8, 1))
}

/// Nor does a power cut in the recovery from a power cut in recovery.
pub(crate) fn in_recovery_from_recovery(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(1, 40), |seed| recovered(seed, 60, 2))
}

/// A life of which one image in so many is recovered under power cuts, and those, too.
fn recovered(seed: u64, one_of: usize, depth: u32) -> BTreeMap<OpKind, u64> {
    probed(Life::new(seed), move |moment, oracle, rng| {
        if rng.below(one_of) > 0 {
            return 0;
        }
        let cut = any_cut(rng);
        let (label, chance) = (Before(moment.op, cut).to_string(), rng.number());
        check_recovery(&moment.cut(cut), &oracle.lock(), Crash::Power, &label, chance, depth)
    })
}

/// The death of the process at any operation takes nothing that was acknowledged.
pub(crate) fn death_of_the_process(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(2, 200), |seed| {
        probed(Life::new(seed), move |moment, oracle, _| {
            let label = format!("killed before {:?}", moment.op);
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

/// Several writers on the same ledger, each with its own share of the work.
fn write_side_by_side(ledger: &Ledger, oracle: &SharedOracle, seed: u64, steps: usize) {
    std::thread::scope(|scope| {
        let spawn = |thread: u64| {
            scope.spawn(move || {
                let mut writer = Writer::over(ledger.clone(), oracle, seed ^ thread).compacting();
                for _ in 0..steps {
                    writer.step().unwrap();
                }
            })
        };
        let threads: Vec<_> = (1..=4).map(spawn).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

/// How long a sync in the background is waited for, which is due after a small part of that.
const PATIENCE: Duration = Duration::from_secs(20);

/// Appends at `Interval`, and returns when that is on stable storage, with all that was appended
/// before it: nobody asks for it but the background.
fn await_the_interval(disk: &SimDisk, ledger: &Ledger, oracle: &SharedOracle) {
    let writer = Writer::over(ledger.clone(), oracle, 0);
    writer.append_event(10, Durability::Interval).unwrap();
    let kept = oracle.lock().kept();
    let begin = Instant::now();
    while disk.has_unsynced("seg") {
        assert!(begin.elapsed() < PATIENCE, "nothing was synced in the background");
        std::thread::sleep(Duration::from_micros(200));
    }
    oracle.lock().synced(&kept);
}

/// A power cut under several writers, with work in the background, takes nothing that was
/// acknowledged, nor what an interval has synced.
pub(crate) fn under_several_writers(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(1, 400), |seed| {
        let disk = SimDisk::new(seed);
        disk.set_reserving(!seed.is_multiple_of(4));
        let oracle = SharedOracle::default();
        let options = options(&disk).background(true).interval(Duration::from_millis(2));
        let ledger = options.open(DIR).unwrap();
        let counts = probe_all(&disk, &oracle, seed, move |moment, oracle, rng| {
            if rng.below(3) > 0 {
                return 0;
            }
            let cut = any_cut(rng);
            let oracle = oracle.lock();
            check(&moment.cut(cut), &oracle, Crash::Power, &Before(moment.op, cut));
            let killed = format!("killed before {:?}", moment.op);
            check(&moment.kill(), &oracle, Crash::Kill, &killed);
            2
        });
        for round in 0..4 {
            write_side_by_side(&ledger, &oracle, seed ^ (round << 8), 10);
            await_the_interval(&disk, &ledger, &oracle);
        }
        ledger.close().unwrap();
        disk.clear_hooks();
        counts.lock().clone()
    })
}

/// The same where segments are so large that their index lags behind and catches up beside the
/// appends.
pub(crate) fn in_large_segments(ground: &Ground) -> Result<()> {
    lives(ground, ground.of(1, 24), |seed| {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let ledger = options(&disk).segment_bytes(3 << 20).background(true).open(DIR).unwrap();
        let counts = probe_all(&disk, &oracle, seed, move |moment, oracle, rng| {
            if rng.below(24) > 0 {
                return 0;
            }
            let cut = any_cut(rng);
            check(&moment.cut(cut), &oracle.lock(), Crash::Power, &Before(moment.op, cut));
            1
        });
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let writer = Writer::over(ledger.clone(), &oracle, seed ^ thread);
                scope.spawn(move || append_much(&writer));
            }
        });
        ledger.close().unwrap();
        disk.clear_hooks();
        counts.lock().clone()
    })
}

/// Megabytes of events, one of them durable now and then.
fn append_much(writer: &Writer) {
    for step in 0..180 {
        let is_durable = step % 16 == 0;
        let durability = if is_durable { Durability::Sync } else { Durability::Interval };
        writer.append_event(12_000, durability).unwrap();
    }
}
