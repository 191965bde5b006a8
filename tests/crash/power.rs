//! Power cuts and kills at every operation (rows 1 and 3 of the reliability scorecard).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::crash::check::{check, check_recovery};
use crate::crash::oracle::{Crash, SharedOracle};
use crate::crash::scaled;
use crate::crash::workload::Writer;
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

/// Runs a life with a check of crashed images before every operation; all images are counted.
fn probed_life(
    seed: u64,
    steps: usize,
    mut images: impl FnMut(&Moment<'_>, &SharedOracle, &mut Rng) -> u64 + Send + 'static,
) -> BTreeMap<OpKind, u64> {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    let counts = Counts::default();
    let probe = {
        let (oracle, counts, mut rng) = (oracle.clone(), Arc::clone(&counts), Rng::new(seed));
        move |moment: &Moment<'_>| {
            let checked = images(moment, &oracle, &mut rng);
            *counts.lock().entry(moment.op.kind).or_default() += checked;
        }
    };
    disk.set_probe(probe);
    life(&disk, &oracle, seed, steps);
    // The handles are dropped after the power is gone, so no close helps.
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
    let lives = (0..scaled(3)).map(|seed| {
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
            let cut = Cut {
                files: Keep::ALL[rng.below(Keep::ALL.len())],
                names: KeepNames::ALL[rng.below(KeepNames::ALL.len())],
                seed: rng.next(),
            };
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
