//! Operations that fail: each of them once, a sync that lies about its second try, a full disk
//! (rows 6, 7 and 8 of the reliability scorecard).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use runledger::{Body, Durability, Error, Result};

use crate::crash::check::check;
use crate::crash::oracle::{Crash, SharedOracle, mark};
use crate::crash::scaled;
use crate::crash::workload::{Writer, event};
use crate::support::disk::{Cut, Fault, Keep, KeepNames, Op, OpKind, SimDisk};
use crate::support::rng::Rng;

/// Opens a ledger, trying again as a service that is restarted does.
fn open_at_last(
    disk: &SimDisk,
    oracle: &SharedOracle,
    seed: u64,
    errors: &mut Vec<Error>,
) -> Writer {
    for _ in 0..3 {
        match Writer::open(disk, oracle, seed) {
            Ok(writer) => return writer,
            Err(err) => errors.push(err),
        }
    }
    panic!("the ledger does not open again after one failed operation: {errors:?}");
}

/// A life in which errors occur: a poisoned writer is opened again, after any other error it goes
/// on. All errors that the ledger told are the result.
fn life(disk: &SimDisk, oracle: &SharedOracle, seed: u64, steps: usize) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut writer = open_at_last(disk, oracle, seed, &mut errors);
    for step in 0..steps {
        let Err(err) = writer.step() else { continue };
        if matches!(err, Error::Poisoned { .. }) {
            let refused = writer.append_event(1, Durability::Os);
            assert!(
                matches!(refused, Err(Error::Poisoned { .. })),
                "poisoned, and then {refused:?}"
            );
            errors.extend(writer.close().err());
            drop(writer);
            writer = open_at_last(disk, oracle, seed + step as u64, &mut errors);
        }
        errors.push(err);
    }
    errors.extend(writer.close().err());
    errors
}

/// The operation that failed, noted by the one who made it fail.
type Failed = Arc<Mutex<Option<Op>>>;

/// Makes the operation of this number fail, if it is of the kind.
fn fail_once(disk: &SimDisk, number: u64, fault: Fault) -> Failed {
    let failed = Failed::default();
    let note = Arc::clone(&failed);
    disk.set_faults(move |op| {
        (op.number == number).then(|| {
            *note.lock() = Some(op.clone());
            fault
        })
    });
    failed
}

fn check_all(disk: &SimDisk, oracle: &SharedOracle, label: &str, rng: &mut Rng) {
    check(&disk.fork(), &oracle.lock(), Crash::Kill, &label);
    let files = Keep::ALL[rng.below(Keep::ALL.len())];
    let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
    let cut = Cut { files, names, seed: rng.next() };
    let label = format!("{label}, {cut:?}");
    check(&disk.fork().power_cut(cut), &oracle.lock(), Crash::Power, &label);
}

#[test]
fn an_error_at_any_operation_is_told_and_later_acknowledgements_are_true() {
    let (seed, steps) = (1, 40);
    let operations = {
        let disk = SimDisk::new(seed);
        assert!(life(&disk, &SharedOracle::default(), seed, steps).is_empty());
        disk.operations()
    };
    let mut told: BTreeMap<(OpKind, bool), u64> = BTreeMap::new();
    let mut rng = Rng::new(seed);
    for number in (0..operations).step_by(if scaled(1) == 1 { 2 } else { 1 }) {
        for fault in [Fault::Io, Fault::NoSpace, Fault::Short(rng.below(300))] {
            let disk = SimDisk::new(seed);
            let oracle = SharedOracle::default();
            let failed = fail_once(&disk, number, fault);
            let errors = life(&disk, &oracle, seed, steps);
            let Some(op) = failed.lock().take() else { continue };
            let label = format!("{fault:?} at {op:?}");
            if fault == Fault::Io {
                *told.entry((op.kind, !errors.is_empty())).or_default() += 1;
                let may_be_silent = matches!(op.kind, OpKind::Remove);
                assert!(may_be_silent || !errors.is_empty(), "{label}: nobody was told");
            }
            check_all(&disk, &oracle, &label, &mut rng);
        }
    }
    println!("errors at {operations} operations: {told:?} (kind, told)");
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_ledger_is_opened_again() {
    let (seed, steps) = (2, 40);
    let syncs = Arc::new(Mutex::new(Vec::new()));
    {
        let disk = SimDisk::new(seed);
        let syncs = Arc::clone(&syncs);
        disk.set_faults(move |op| {
            if op.kind == OpKind::Sync {
                syncs.lock().push(op.number);
            }
            None
        });
        life(&disk, &SharedOracle::default(), seed, steps);
    }
    let syncs = syncs.lock().clone();
    let mut rng = Rng::new(seed);
    for &number in &syncs {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let failed = fail_once(&disk, number, Fault::LostSync);
        let errors = life(&disk, &oracle, seed, steps);
        let op = failed.lock().take().unwrap();
        let label = format!("lost sync at {op:?}");
        assert!(!errors.is_empty(), "{label}: nobody was told");
        check_all(&disk, &oracle, &label, &mut rng);
    }
    println!("{} failed syncs", syncs.len());
    assert!(syncs.len() > 20);
}

#[test]
fn all_who_wait_for_a_sync_that_fails_are_told() {
    let rounds = scaled(30);
    let mut acknowledged = 0;
    for round in 0..rounds {
        let disk = SimDisk::new(round);
        let oracle = SharedOracle::default();
        let writer = Writer::open(&disk, &oracle, round).unwrap();
        let syncs = AtomicU64::new(0);
        disk.set_faults(move |op| {
            let segment = op.path.extension().is_some_and(|ending| ending == "seg");
            let sync = op.kind == OpKind::Sync && segment;
            (sync && syncs.fetch_add(1, Ordering::Relaxed) == round % 7).then_some(Fault::LostSync)
        });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut appends = (0..100).map(|_| writer.append_event(100, Durability::Sync));
                    appends.find(Result::is_err)
                });
            }
        });
        let refused = writer.append_event(1, Durability::Os);
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
        acknowledged += oracle.lock().batches.iter().filter(|batch| batch.seqs.is_some()).count();
        let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: round };
        check(&disk.power_cut(nothing), &oracle.lock(), Crash::Power, &format!("round {round}"));
    }
    println!(
        "{rounds} rounds of 4 threads, {acknowledged} acknowledged before the sync that failed"
    );
}

#[test]
fn a_disk_that_is_full_at_any_byte_of_a_record_leaves_no_half_of_it() {
    let offsets = scaled(2000);
    let disk = SimDisk::new(3);
    let oracle = SharedOracle::default();
    disk.set_reserving(false);
    let writer = Writer::open(&disk, &oracle, 3).unwrap();
    let mut rng = Rng::new(3);
    let mut good = 0;
    for offset in 0..offsets {
        let written = usize::try_from(offset % 400).unwrap();
        disk.set_faults(move |op| (op.kind == OpKind::Write).then_some(Fault::Short(written)));
        let refused = writer.append_event(250, Durability::Os);
        disk.clear_hooks();
        match refused {
            Err(Error::NoSpace { .. }) => {}
            other => panic!("{written} bytes written, and {other:?}"),
        }
        assert_eq!(writer.ledger.query().count().unwrap(), good, "after {written} bytes");
        if rng.below(2) == 0 {
            writer.append_event(rng.below(400), Durability::Os).unwrap();
            good += 1;
        }
        if offset % 200 == 0 {
            let label = format!("{written} bytes of a record");
            check_all(&disk, &oracle, &label, &mut rng);
        }
    }
    check_all(&disk, &oracle, "at the end", &mut rng);
    println!("{offsets} full disks, {good} records between them");
}

/// Appends until the disk is full, which must be told as that.
fn fill(writer: &Writer) -> u64 {
    for count in 0.. {
        match writer.append_event(700, Durability::Sync) {
            Ok(_) => {}
            Err(Error::NoSpace { .. }) => return count,
            Err(other) => panic!("a full disk is told as {other}"),
        }
    }
    unreachable!("the disk has an end")
}

#[test]
fn a_full_disk_refuses_and_serves_again_when_there_is_space() -> Result<()> {
    for capacity in (0..40).map(|step| 200_000 + step * 4096 * 3) {
        let disk = SimDisk::new(capacity);
        let oracle = SharedOracle::default();
        let writer = Writer::open(&disk, &oracle, 5)?;
        disk.set_capacity(Some(capacity));
        assert!(fill(&writer) > 0);
        let before = writer.ledger.query().count()?;
        let batch = |batch: usize| -> Vec<Body<'static>> {
            (0..9).map(|place| event(&mark(batch, place), 900)).collect()
        };
        assert!(matches!(writer.append(batch, Durability::Os), Err(Error::NoSpace { .. })));
        assert_eq!(writer.ledger.query().count()?, before);
        check_all(&disk, &oracle, &format!("full at {capacity}"), &mut Rng::new(capacity));
        disk.set_capacity(Some(capacity + 100_000));
        assert!(fill(&writer) > 10, "{capacity}: no append after there was space again");
        // The disk is full while the ledger is closed and opened, too.
        let _ = writer.close();
        drop(writer);
        let reopened = Writer::open(&disk, &oracle, 6)?;
        disk.set_capacity(None);
        reopened.append_event(5000, Durability::Sync)?;
        drop(reopened);
        check_all(&disk, &oracle, &format!("after {capacity}"), &mut Rng::new(capacity));
    }
    Ok(())
}
