//! Dropping segments: power cuts and kills between all of its steps (row 12 of the reliability
//! scorecard).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{Cleanup, Durability, Error, Kind, Result, Status};

use crate::check::{check, check_recovery, records};
use crate::disk::{Cut, Fault, Keep, KeepNames, Moment, SimDisk};
use crate::ground::Ground;
use crate::oracle::{Crash, SharedOracle, mark};
use crate::rng::Rng;
use crate::workload::{Writer, error, event, run};

const DAY: Duration = Duration::from_secs(86_400);

/// Some segments of each kind; every fifth run stays open, and every fifth is the newest success of
/// its type.
fn fill(writer: &Writer, rng: &mut Rng, batches: usize) -> Result<()> {
    for _ in 0..batches {
        let size = 3000 + rng.below(9000);
        let kind = rng.below(3);
        let make = |batch: usize| match kind {
            0 => vec![event(&mark(batch, 0), size), event(&mark(batch, 1), 100)],
            1 => vec![error(&mark(batch, 0), size)],
            _ => {
                let status = match batch % 5 {
                    0 => Status::Running,
                    1 => Status::Success,
                    _ => Status::Cancelled,
                };
                vec![run(&format!("run-{batch}"), &mark(batch, 0), status, size)]
            }
        };
        writer.append(make, Durability::Sync)?;
    }
    Ok(())
}

/// Tells the oracle what a clean-up is about to drop. How many records that are.
pub(crate) fn expect_drop(writer: &Writer, cleanup: &Cleanup, young: usize) -> Result<u64> {
    let plan = writer.ledger.cleanup(cleanup, true)?;
    let mut oracle = writer.oracle.lock();
    let dropped = plan.dropped();
    Ok(dropped.map(|plan| oracle.expect_drop(plan.stream, plan.seqs.unwrap(), young)).sum())
}

/// A ledger whose first records are 400 days old and which has new ones. The number of the first
/// new batch.
fn aged(writer: &Writer, disk: &SimDisk, rng: &mut Rng) -> Result<usize> {
    writer.oracle.lock().carries = true;
    fill(writer, rng, 60)?;
    disk.advance(DAY * 400);
    let before = writer.oracle.lock().batches.len();
    fill(writer, rng, 15)?;
    Ok(before)
}

/// What retention drops stays away, and what it keeps stays, wherever it is cut.
pub(crate) fn each_step(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(4, 250), dropping);
    Ok(())
}

fn dropping(seed: u64) -> Result<u64> {
    let images = Arc::new(Mutex::new(0));
    {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let writer = Writer::open(&disk, &oracle, seed)?;
        let mut rng = Rng::new(seed);
        let before = aged(&writer, &disk, &mut rng)?;
        assert!(expect_drop(&writer, &Cleanup::retention(), before)? > 20);
        disk.set_probe({
            let (oracle, images, mut rng) = (oracle.clone(), Arc::clone(&images), rng.clone());
            move |moment| {
                let label = format!("seed {seed}, before {:?}", moment.op);
                *images.lock() += crash_here(moment, &oracle, &label, &mut rng);
            }
        });
        writer.ledger.maintain()?;
        disk.clear_hooks();
        oracle.lock().dropped();
        for names in KeepNames::ALL {
            let cut = Cut { files: Keep::Nothing, names, seed };
            let found = disk.fork().power_cut(cut);
            check(&found, &oracle.lock(), Crash::Power, &format!("seed {seed}, after, {cut:?}"));
            *images.lock() += 1;
        }
        check(&disk.fork(), &oracle.lock(), Crash::Kill, &format!("seed {seed}, killed after"));
        // After a clean close nobody looks for files that came back.
        writer.close()?;
        let cut = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed };
        let label = format!("seed {seed}, closed, {cut:?}");
        check(&disk.power_cut(cut), &oracle.lock(), Crash::Power, &label);
        *images.lock() += 1;
    }
    let images = *images.lock();
    Ok(images)
}

fn crash_here(moment: &Moment<'_>, oracle: &SharedOracle, label: &str, rng: &mut Rng) -> u64 {
    let oracle = oracle.lock();
    check(&moment.kill(), &oracle, Crash::Kill, &format!("{label}, killed"));
    let mut images = 1;
    for names in KeepNames::ALL {
        let files = Keep::ALL[rng.below(Keep::ALL.len())];
        let cut = Cut { files, names, seed: rng.number() };
        check(&moment.cut(cut), &oracle, Crash::Power, &format!("{label}, {cut:?}"));
        images += 1;
    }
    if rng.below(5) == 0 {
        let cut = Cut { files: Keep::Nothing, names: KeepNames::Prefix, seed: rng.number() };
        let label = format!("{label}, {cut:?}");
        images += check_recovery(&moment.cut(cut), &oracle, Crash::Power, &label, rng.number(), 1);
    }
    images
}

/// An operation of a clean-up that fails brings nothing back that was gone, not after a clean close
/// either.
pub(crate) fn an_error_at_each_step(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(1, 40), |seed| {
        let operations = failing_clean_up(seed, None)?;
        let stride = usize::try_from(ground.of(3, 1)).unwrap();
        let mut tried = 0;
        for number in (0..operations).step_by(stride) {
            failing_clean_up(seed, Some(number))?;
            tried += 1;
        }
        Ok(tried)
    });
    Ok(())
}

/// Fails the operation of this number in a clean-up, and goes on as a service does. How many
/// operations the clean-up has.
fn failing_clean_up(seed: u64, fails: Option<u64>) -> Result<u64> {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    let writer = Writer::open(&disk, &oracle, seed)?;
    let before = aged(&writer, &disk, &mut Rng::new(seed))?;
    expect_drop(&writer, &Cleanup::retention(), before)?;
    let first = disk.operations();
    let what = Arc::new(Mutex::new(None));
    disk.set_faults({
        let what = Arc::clone(&what);
        move |op| {
            let is_it = fails.is_some_and(|number| op.number == first + number);
            is_it.then(|| {
                *what.lock() = Some(op.clone());
                Fault::Io
            })
        }
    });
    let outcome = writer.ledger.maintain();
    let operations = disk.operations() - first;
    let label = format!("seed {seed}, an error at {:?}: {outcome:?}", what.lock());
    assert!(fails.is_none() == what.lock().is_none(), "{label}");
    // What is no longer there stays away from now on.
    let judge = |writer: &Writer| {
        let found = records(writer.ledger.reader()).unwrap_or_else(|err| panic!("{label}: {err}"));
        let mut oracle = oracle.lock();
        oracle.judge(&found, Crash::Kill).unwrap_or_else(|what| panic!("{label}: {what}"));
        let settled = oracle.settled(&found, Crash::Kill);
        *oracle = settled;
    };
    judge(&writer);
    let _ = writer.close();
    drop(writer);
    let writer = Writer::open(&disk, &oracle, seed)?;
    judge(&writer);
    writer.ledger.maintain()?;
    judge(&writer);
    writer.close()?;
    drop(writer);
    check(&disk.fork(), &oracle.lock(), Crash::Kill, &label);
    Ok(operations)
}

/// A clean-up makes room on a full disk.
pub(crate) fn clean_up_on_a_full_disk(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(4, 200), |seed| make_room(seed).map(|()| 1));
    Ok(())
}

fn make_room(seed: u64) -> Result<()> {
    {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let writer = Writer::open(&disk, &oracle, seed)?;
        let before = aged(&writer, &disk, &mut Rng::new(seed))?;
        disk.set_capacity(Some(disk.used()));
        let full = loop {
            if let Err(err) = writer.append_event(5000, Durability::Sync) {
                break err;
            }
        };
        assert!(matches!(full, Error::NoSpace { .. }), "{full}");
        let cleanup = Cleanup::retention().kind(Kind::Event);
        assert!(expect_drop(&writer, &cleanup, before)? > 5);
        let used = disk.used();
        let report = writer.ledger.cleanup(&cleanup, false)?;
        let bytes: u64 = report.dropped().map(|plan| plan.bytes).sum();
        oracle.lock().dropped();
        // The writer's maps and handles hold nothing that was dropped; the notes begin a segment.
        let freed = used.saturating_sub(disk.used());
        assert!(freed + 73_728 > bytes, "{freed} of {bytes} bytes were freed");
        writer.append_event(5000, Durability::Sync)?;
        let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed };
        check(&disk.power_cut(nothing), &oracle.lock(), Crash::Power, &format!("seed {seed}"));
    }
    Ok(())
}
