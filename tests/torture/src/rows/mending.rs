//! Repairs that are cut between their steps (row 1 of the reliability scorecard).

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use runledger::{Result, repair, verify};

use crate::disk::{Moment, SimDisk};
use crate::ground::Ground;
use crate::life::any_cut;
use crate::oracle::{Crash, Oracle, SharedOracle};
use crate::rng::Rng;
use crate::rows::damage::{readable, scribble, without_hit};
use crate::segments::{FRAMES_START, STREAMS, all_kinds, segments};
use crate::workload::{DIR, Writer};

/// A repair that is cut at any operation is made again, and loses nothing that was whole.
pub(crate) fn in_a_repair(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(2, 300), cut_repair);
    Ok(())
}

fn cut_repair(seed: u64) -> Result<u64> {
    let (disk, oracle, writer) = all_kinds(seed)?;
    let mut rng = Rng::new(seed);
    if rng.below(2) == 0 {
        writer.close()?;
    }
    let found = disk.kill();
    drop(writer);
    let expected = damage(&found, &oracle.lock(), &mut rng);
    reads_only(&found)?;
    let images = Arc::new(Mutex::new(0));
    found.set_probe({
        let (expected, images, mut rng) = (expected.clone(), Arc::clone(&images), rng.clone());
        move |moment| {
            for _ in 0..3 {
                cut_here(moment, &expected, &mut rng);
                *images.lock() += 1;
            }
        }
    });
    repair(DIR, found.storage(), false)?;
    found.clear_hooks();
    whole(&found, &expected, "after the repair");
    let images = *images.lock();
    Ok(images)
}

/// Damages one segment or two of each stream, now and then the file `LEDGER` besides. What is owed
/// of the rest.
fn damage(found: &SimDisk, oracle: &Oracle, rng: &mut Rng) -> Oracle {
    let mut expected = oracle.clone();
    for stream in STREAMS {
        for segment in segments(found, stream) {
            if rng.below(3) == 0 {
                continue;
            }
            let mut bytes = segment.bytes.clone();
            let at = match (rng.below(4), segment.footer) {
                (0, Some(footer)) => footer + rng.below(bytes.len() - footer),
                (1, _) => rng.below(FRAMES_START / 2),
                // The last frame of an open segment may look torn.
                _ => FRAMES_START + rng.below(segment.frames.last().unwrap().start - FRAMES_START),
            };
            let end = (at + 1 + rng.below(100)).min(bytes.len());
            let end = if at < FRAMES_START / 2 { end.min(FRAMES_START / 2) } else { end };
            scribble(&mut bytes[at..end], rng);
            (expected, _) = without_hit(&expected, &segment, &bytes);
            found.poke(&segment.path, bytes);
        }
    }
    if rng.below(4) == 0 {
        let path = Path::new(DIR).join("LEDGER");
        let mut bytes = found.peek(&path);
        bytes[10] ^= 4;
        found.poke(&path, bytes);
    }
    expected
}

/// Neither `verify` nor a dry run changes anything.
fn reads_only(found: &SimDisk) -> Result<()> {
    let before = found.content();
    found.set_probe(|moment| panic!("{:?} for who only looks", moment.op));
    verify(DIR, found.storage())?;
    repair(DIR, found.storage(), true)?;
    found.clear_hooks();
    assert!(found.content() == before);
    Ok(())
}

fn cut_here(moment: &Moment<'_>, expected: &Oracle, rng: &mut Rng) {
    let cut = any_cut(rng);
    let label = format!("a repair cut before {:?}, {cut:?}", moment.op);
    let image = moment.cut(cut);
    if verify(DIR, image.storage())
        .is_ok_and(|report| report.findings.iter().all(|finding| !finding.path.ends_with("LEDGER")))
    {
        let opened = Writer::open(&image, &SharedOracle::default(), 1);
        let opened = opened.unwrap_or_else(|err| panic!("{label}: opening: {err}"));
        image.die(|| drop(opened));
        judge(&image, expected, &label);
    }
    let repaired = repair(DIR, image.storage(), false);
    repaired.unwrap_or_else(|err| panic!("{label}: repairing: {err}"));
    whole(&image, expected, &label);
}

/// The ledger is whole, and holds all that was whole in the damaged one.
fn whole(image: &SimDisk, expected: &Oracle, label: &str) {
    let report = verify(DIR, image.storage()).unwrap_or_else(|err| panic!("{label}: {err}"));
    assert!(!report.is_damaged(), "{label}: {:?}", report.findings);
    judge(image, expected, label);
}

fn judge(image: &SimDisk, expected: &Oracle, label: &str) {
    let records = readable(image, label);
    if let Err(what) = expected.judge(&records, Crash::Power) {
        panic!("{label}: {what}");
    }
}
