//! Operations that fail: each of them once, a sync that lies about its second try, a full disk
//! (rows 6, 7 and 8 of the reliability scorecard).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{Body, Durability, Error, Result};

use crate::check::check;
use crate::disk::{Cut, Fault, Keep, KeepNames, Op, OpKind, SimDisk};
use crate::ground::Ground;
use crate::oracle::{Crash, SharedOracle, mark};
use crate::rng::Rng;
use crate::segments::append_any;
use crate::workload::{DIR, Writer, event, options};

/// Opens a ledger, trying again as a service that is restarted does.
fn open_at_last(
    disk: &SimDisk,
    oracle: &SharedOracle,
    seed: u64,
    errors: &mut Vec<Error>,
) -> Writer {
    for _ in 0..3 {
        match Writer::open(disk, oracle, seed) {
            // A segment that could not be read is no reason not to open; it is told all the same.
            Ok(writer) if is_short(&writer) => errors.push(Error::Closed),
            Ok(writer) => return writer.compacting(),
            Err(err) => errors.push(err),
        }
    }
    panic!("the ledger does not open again after one failed operation: {errors:?}");
}

fn is_short(writer: &Writer) -> bool {
    writer.ledger.noticed().iter().any(|line| line.starts_with("left out"))
}

/// A life in which errors occur: a poisoned writer is opened again, after any other error it goes
/// on. All errors that the ledger told are the result.
///
/// When the operation that fails is a sync of a writer's, nothing may be acknowledged after it,
/// whoever it was told to.
fn life(
    disk: &SimDisk,
    oracle: &SharedOracle,
    seed: u64,
    steps: usize,
    failed: &Failed,
) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut writer = open_at_last(disk, oracle, seed, &mut errors);
    // A sync that failed in the opening is over with it: what was opened is recovered.
    let mut is_told = failed.lock().is_some();
    for step in 0..steps {
        let outcome = writer.step();
        let is_sync = |op: &Op| matches!(op.kind, OpKind::Sync | OpKind::SyncDir);
        let must_stop = !is_told && failed.lock().as_ref().is_some_and(is_sync);
        is_told |= must_stop;
        if must_stop || matches!(outcome, Err(Error::Poisoned { .. })) {
            let refused = writer.append_event(1, Durability::Sync);
            let is_refused = matches!(refused, Err(Error::Poisoned { .. }));
            assert!(is_refused, "{outcome:?}, {:?}, and then {refused:?}", failed.lock());
            errors.extend(writer.close().err());
            drop(writer);
            writer = open_at_last(disk, oracle, seed + step as u64, &mut errors);
        }
        errors.extend(outcome.err());
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
    let cut = Cut { files, names, seed: rng.number() };
    let label = format!("{label}, {cut:?}");
    check(&disk.fork().power_cut(cut), &oracle.lock(), Crash::Power, &label);
}

/// An error at any operation is told, and later acknowledgements are true.
pub(crate) fn each_operation(ground: &Ground) -> Result<()> {
    let steps = 40;
    let told: Mutex<BTreeMap<(OpKind, bool), u64>> = Mutex::default();
    for round in 0..ground.of(1, 12) {
        let seed = ground.seed + round;
        let operations = {
            let disk = SimDisk::new(seed);
            let errors = life(&disk, &SharedOracle::default(), seed, steps, &Failed::default());
            assert!(errors.is_empty(), "{errors:?}");
            disk.operations()
        };
        let stride = ground.of(3, 1);
        ground.numbered_cases(operations.div_ceil(stride), |case, chance| {
            let mut rng = Rng::new(chance);
            let faults =
                [Fault::Io, Fault::NoSpace, Fault::Interrupted, Fault::Short(rng.below(300))];
            let mut tried = 0;
            for fault in faults {
                tried += failing_at(case * stride, fault, (seed, steps), &told, &mut rng);
            }
            Ok(tried)
        });
    }
    ground.note(format!("errors at each operation: {:?} (kind, told)", told.lock()));
    Ok(())
}

/// A life whose operation of this number fails. How many that are: one, or none when there is no
/// such operation.
fn failing_at(
    number: u64,
    fault: Fault,
    (seed, steps): (u64, usize),
    told: &Mutex<BTreeMap<(OpKind, bool), u64>>,
    rng: &mut Rng,
) -> u64 {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    let failed = fail_once(&disk, number, fault);
    let errors = life(&disk, &oracle, seed, steps, &failed);
    let Some(op) = failed.lock().take() else { return 0 };
    let label = format!("seed {seed}, {fault:?} at {op:?}");
    // A write that is short, and a disk that is full, can be mended by another way to go on.
    if matches!(fault, Fault::Io | Fault::Interrupted) {
        *told.lock().entry((op.kind, !errors.is_empty())).or_default() += 1;
        let may_be_silent = matches!(op.kind, OpKind::Remove);
        assert!(may_be_silent || !errors.is_empty(), "{label}: nobody was told");
    }
    check_all(&disk, &oracle, &label, rng);
    1
}

/// The same beside other threads and the work in the background: what fails there is told to who
/// appends next, or to the one who closes.
pub(crate) fn beside_other_threads(ground: &Ground) -> Result<()> {
    ground.numbered_cases(ground.of(60, 6000), |case, seed| {
        let mut rng = Rng::new(seed);
        let fault = [Fault::Io, Fault::NoSpace, Fault::LostSync, Fault::Short(rng.below(300))];
        let fault = fault[rng.below(fault.len())];
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let failed = fail_once(&disk, 30 + case % 220, fault);
        let mut errors = Vec::new();
        for opening in 0..2 {
            errors.extend(live_in_threads(&disk, &oracle, seed ^ opening));
        }
        let Some(op) = failed.lock().take() else { return Ok(0) };
        let label = format!("seed {seed}, {fault:?} at {op:?}");
        // Reads in the background are made again by who asks for what was to be read.
        let is_change = op.kind.changes() && op.kind != OpKind::Remove;
        let is_plain = matches!(fault, Fault::Io | Fault::LostSync);
        assert!(!is_plain || !is_change || !errors.is_empty(), "{label}: nobody was told");
        check_all(&disk, &oracle, &label, &mut rng);
        Ok(1)
    });
    Ok(())
}

/// Opens a ledger with work in the background, appends from three threads until they are done or
/// refused, and closes. All errors that were told are the result.
fn live_in_threads(disk: &SimDisk, oracle: &SharedOracle, seed: u64) -> Vec<Error> {
    let open = || options(disk).background(true).interval(Duration::from_millis(1)).open(DIR);
    let mut errors = Vec::new();
    let ledger = match open() {
        Ok(ledger) => ledger,
        Err(err) => {
            errors.push(err);
            open().unwrap()
        }
    };
    let told = Mutex::new(errors);
    oracle.lock().opened();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (ledger, told) = (ledger.clone(), &told);
            scope.spawn(move || {
                let mut writer = Writer::over(ledger, oracle, seed ^ (thread << 20));
                let errors = (0..14).filter_map(|_| writer.step().err());
                let errors: Vec<_> = errors.collect();
                told.lock().extend(errors);
            });
        }
    });
    let closed = Writer::over(ledger, oracle, seed).close();
    let mut told = told.into_inner();
    told.extend(closed.err());
    told
}

/// After a failed sync nothing is acknowledged until the ledger is opened again.
pub(crate) fn each_sync(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(1, 120), failing_syncs);
    Ok(())
}

fn failing_syncs(seed: u64) -> Result<u64> {
    let steps = 40;
    let syncs = Arc::new(Mutex::new(Vec::new()));
    {
        let disk = SimDisk::new(seed);
        let syncs = Arc::clone(&syncs);
        disk.set_faults(move |op| {
            if matches!(op.kind, OpKind::Sync | OpKind::SyncDir) {
                syncs.lock().push(op.number);
            }
            None
        });
        life(&disk, &SharedOracle::default(), seed, steps, &Failed::default());
    }
    let syncs = syncs.lock().clone();
    let mut rng = Rng::new(seed);
    for &number in &syncs {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let failed = fail_once(&disk, number, Fault::LostSync);
        let errors = life(&disk, &oracle, seed, steps, &failed);
        let op = failed.lock().take().unwrap();
        let label = format!("lost sync at {op:?}");
        assert!(!errors.is_empty(), "{label}: nobody was told");
        check_all(&disk, &oracle, &label, &mut rng);
    }
    assert!(syncs.len() > 10, "a life with {} syncs", syncs.len());
    Ok(syncs.len() as u64)
}

/// All who wait for a sync that fails are told.
pub(crate) fn all_waiters(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(30, 2000), |round| {
        let disk = SimDisk::new(round);
        let oracle = SharedOracle::default();
        let writer = Writer::open(&disk, &oracle, round)?;
        disk.slow_syncs();
        let syncs = AtomicU64::new(0);
        disk.set_faults(move |op| {
            let segment = op.path.extension().is_some_and(|ending| ending == "seg");
            let sync = op.kind == OpKind::Sync && segment;
            (sync && syncs.fetch_add(1, Ordering::Relaxed) == round % 7).then_some(Fault::LostSync)
        });
        std::thread::scope(|scope| {
            let spawn = |_| {
                scope.spawn(|| {
                    let mut appends = (0..100).map(|_| writer.append_event(100, Durability::Sync));
                    appends.find_map(Result::err)
                })
            };
            let threads: Vec<_> = (0..4).map(spawn).collect();
            for thread in threads {
                assert!(thread.join().unwrap().is_some(), "a thread was told nothing");
            }
        });
        let refused = writer.append_event(1, Durability::Os);
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{refused:?}");
        let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: round };
        check(&disk.power_cut(nothing), &oracle.lock(), Crash::Power, &format!("seed {round}"));
        Ok(1)
    });
    Ok(())
}

/// A disk that is full at any byte of a record leaves no half of it.
pub(crate) fn full_at_each_byte(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(2, 20), |seed| full_at(seed, 1000));
    Ok(())
}

fn full_at(seed: u64, offsets: u64) -> Result<u64> {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    disk.set_reserving(false);
    let writer = Writer::open(&disk, &oracle, seed)?;
    let mut rng = Rng::new(seed);
    let mut good = 0;
    for offset in 0..offsets {
        let written = usize::try_from(offset % 400).unwrap();
        disk.set_faults(move |op| (op.kind == OpKind::Write).then_some(Fault::Short(written)));
        let level = [Durability::Os, Durability::Sync][rng.below(2)];
        let refused = append_any(&writer, rng.below(6), 250, level);
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
    Ok(offsets)
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

/// A full disk refuses, and serves again when there is space.
pub(crate) fn full_and_space_again(ground: &Ground) -> Result<()> {
    ground.numbered_cases(ground.of(30, 400), |step, _| {
        let capacity = 200_000 + step * 4096 * 3;
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
        let mut rng = Rng::new(capacity);
        (0..3).for_each(|_| {
            check_all(&disk, &oracle, &format!("closed full at {capacity}"), &mut rng)
        });
        let reopened = Writer::open(&disk, &oracle, 6)?;
        disk.set_capacity(None);
        reopened.append_event(5000, Durability::Sync)?;
        drop(reopened);
        check_all(&disk, &oracle, &format!("after {capacity}"), &mut Rng::new(capacity));
        Ok(1)
    });
    Ok(())
}
