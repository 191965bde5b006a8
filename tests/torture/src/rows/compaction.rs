//! Compaction, erasure and clean-up by status, cut at each of their operations (row 1 of the
//! reliability scorecard).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runledger::{
    Cleanup, Compaction, Durability, Erasure, Field, Id, Ledger, Result, Status, verify,
};

use crate::check::{check, check_recovery};
use crate::disk::{Keep, KeepNames, Moment, SimDisk};
use crate::ground::Ground;
use crate::life::any_cut;
use crate::oracle::{Crash, SharedOracle, mark};
use crate::rng::Rng;
use crate::workload::{DIR, PROJECT, TRACE, Writer, run, split_off};

/// A power cut or the death of the process at any operation of a compaction takes no record, brings
/// none twice, and leaves nothing behind that a recovery does not remove; nor do they in the
/// recovery from that.
pub(crate) fn in_a_compaction(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(3, 120), |seed| {
        let (disk, writer, mut rng) = filled(seed)?;
        let images = while_cut(&disk, &writer, &mut rng, |ledger| {
            let report = ledger.compact(&Compaction::new().keep_states())?;
            assert!(!report.rewrites.is_empty(), "there was something to compact");
            Ok(())
        })?;
        check(&disk.fork(), &writer.oracle.lock(), Crash::Kill, &"after it");
        is_explained(&disk, &writer)?;
        Ok(images)
    });
    Ok(())
}

/// The same of an erasure. What goes may be there until it is over, and never after it; nothing
/// else may go.
pub(crate) fn in_an_erasure(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(3, 90), |seed| {
        let (disk, writer, mut rng) = filled(seed)?;
        let (field, id) = match rng.below(3) {
            // All events, all runs, or the states of one run.
            0 => (Field::Project, PROJECT.to_owned()),
            1 => (Field::Trace, TRACE.to_owned()),
            _ => match writer.oracle.lock().any_run() {
                Some(run) => (Field::Run, run),
                None => (Field::Trace, TRACE.to_owned()),
            },
        };
        let doomed = writer.oracle.lock().expect_erasure(&|body| {
            let found = match field {
                Field::Project => body.project_id(),
                Field::Trace => body.trace_id(),
                _ => body.run_id(),
            };
            found.is_some_and(|found| found.to_string() == id)
        });
        let erasure = Erasure::of(field, Id::new(id)?)?;
        let images = while_cut(&disk, &writer, &mut rng, |ledger| {
            assert_eq!(ledger.erase(&erasure)?.total(), doomed);
            Ok(())
        })?;
        is_gone_for_good(&disk, &writer, &mut rng)?;
        Ok(images)
    });
    Ok(())
}

/// The same of a clean-up by status, which writes segments anew that hold other runs besides, and
/// drops those that do not.
pub(crate) fn in_a_clean_up_by_status(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(3, 90), |seed| {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        if rng.below(2) == 0 {
            split_off(&disk, &oracle, &["runs.cancelled"])?;
        }
        let mut writer = Writer::open(&disk, &oracle, rng.number())?;
        for _ in 0..2 + rng.below(3) {
            for _ in 0..2 + rng.below(6) {
                cancel_some(&writer, &mut rng)?;
                writer.step()?;
            }
            disk.advance(Duration::from_secs(2 * 86_400));
            writer.ledger.maintain()?;
        }
        let cleanup = Cleanup::older_than(Duration::from_secs(86_400)).status(Status::Cancelled);
        let doomed = writer.oracle.lock().expect_end_of(Status::Cancelled);
        let images = while_cut(&disk, &writer, &mut rng, |ledger| {
            let report = ledger.cleanup(&cleanup, false)?;
            let left_out: u64 = report.rewritten().map(|plan| plan.left_out).sum();
            assert_eq!(left_out + report.dropped_records(), doomed);
            Ok(())
        })?;
        is_gone_for_good(&disk, &writer, &mut rng)?;
        Ok(images)
    });
    Ok(())
}

/// A run that is cancelled, at once or after it was running, or both in one batch.
fn cancel_some(writer: &Writer, rng: &mut Rng) -> Result<()> {
    let (size, way) = (rng.below(4000), rng.below(3));
    let mut id = String::new();
    let state =
        |batch, place, status| run(&format!("run-{batch}"), &mark(batch, place), status, size);
    let begin = |batch| {
        id = format!("run-{batch}");
        match way {
            0 => vec![state(batch, 0, Status::Cancelled)],
            1 => vec![state(batch, 0, Status::Running), state(batch, 1, Status::Cancelled)],
            _ => vec![state(batch, 0, Status::Running)],
        }
    };
    writer.append(begin, Durability::Os)?;
    if way == 2 {
        let end = |batch| vec![run(&id, &mark(batch, 0), Status::Cancelled, size)];
        writer.append(end, Durability::Os)?;
    }
    Ok(())
}

/// What went does not come back, after a power cut or the death of the process.
fn is_gone_for_good(disk: &SimDisk, writer: &Writer, rng: &mut Rng) -> Result<()> {
    writer.oracle.lock().dropped();
    let gone = disk.fork();
    gone.lose_power(any_cut(rng), || {});
    check(&gone, &writer.oracle.lock(), Crash::Power, &"cut off after it");
    check(&disk.fork(), &writer.oracle.lock(), Crash::Kill, &"after it");
    is_explained(disk, writer)
}

/// A ledger of some sealed segments in each stream.
fn filled(seed: u64) -> Result<(SimDisk, Writer, Rng)> {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(seed);
    let mut writer = Writer::open(&disk, &SharedOracle::default(), rng.number())?;
    for _ in 0..2 + rng.below(4) {
        for _ in 0..1 + rng.below(12) {
            writer.step()?;
        }
        // What is old is retired and sealed.
        disk.advance(Duration::from_secs(2 * 86_400));
        writer.ledger.maintain()?;
    }
    if rng.below(2) == 0 {
        writer.append_event(100, Durability::Os)?;
    }
    Ok((disk, writer, rng))
}

/// Does some work and checks what is left of it by a crash at any of its operations. How many
/// images that were.
fn while_cut(
    disk: &SimDisk,
    writer: &Writer,
    rng: &mut Rng,
    work: impl FnOnce(&Ledger) -> Result<()>,
) -> Result<u64> {
    let images = Arc::new(AtomicU64::new(0));
    let (probed, judge, chance) = (Arc::clone(&images), writer.oracle.clone(), rng.number());
    let mut rng = Rng::new(chance);
    disk.set_probe(move |moment| {
        let checked = every_end(moment, &judge, &mut rng);
        probed.fetch_add(checked, Ordering::Relaxed);
    });
    let done = work(&writer.ledger);
    disk.clear_hooks();
    done.map(|()| images.load(Ordering::Relaxed))
}

/// After a clean close nothing but what is on record explains another link.
fn is_explained(disk: &SimDisk, writer: &Writer) -> Result<()> {
    writer.close()?;
    let report = verify(DIR, disk.storage())?;
    assert!(!report.is_damaged(), "after it: {:?}", report.findings);
    Ok(())
}

/// Checks what a crash here leaves, and one in eight with crashes in its recovery.
fn every_end(moment: &Moment<'_>, oracle: &SharedOracle, rng: &mut Rng) -> u64 {
    let oracle = oracle.lock();
    let mut images = 1;
    check(&moment.kill(), &oracle, Crash::Kill, &format!("killed before {:?}", moment.op));
    for files in Keep::ALL {
        let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
        let cut = crate::disk::Cut { files, names, seed: rng.number() };
        let label = format!("before {:?}, {cut:?}", moment.op);
        check(&moment.cut(cut), &oracle, Crash::Power, &label);
        images += 1;
    }
    if rng.below(8) == 0 {
        let cut = any_cut(rng);
        let label = format!("before {:?}, {cut:?}", moment.op);
        let found = moment.cut(cut);
        images += check_recovery(&found, &oracle, Crash::Power, &label, rng.number(), 1);
    }
    images
}
