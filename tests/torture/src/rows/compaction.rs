//! Compaction cut at each of its operations (row 1 of the reliability scorecard).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runledger::{Compaction, Durability, Result, verify};

use crate::check::{check, check_recovery};
use crate::disk::{Keep, KeepNames, Moment, SimDisk};
use crate::ground::Ground;
use crate::life::any_cut;
use crate::oracle::{Crash, SharedOracle};
use crate::rng::Rng;
use crate::workload::{DIR, Writer};

/// A power cut or the death of the process at any operation of a compaction takes no record, brings
/// none twice, and leaves nothing behind that a recovery does not remove; nor do they in the
/// recovery from that.
pub(crate) fn in_a_compaction(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(3, 120), |seed| {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let mut writer = Writer::open(&disk, &oracle, rng.number())?;
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
        let images = Arc::new(AtomicU64::new(0));
        let (probed, judge, chance) = (Arc::clone(&images), oracle.clone(), rng.number());
        let mut rng = Rng::new(chance);
        disk.set_probe(move |moment| {
            let checked = every_end(moment, &judge, &mut rng);
            probed.fetch_add(checked, Ordering::Relaxed);
        });
        let report = writer.ledger.compact(&Compaction::new().keep_states());
        disk.clear_hooks();
        assert!(!report?.rewrites.is_empty(), "there was something to compact");
        check(&disk.fork(), &oracle.lock(), Crash::Kill, &"after it");
        // After a clean close nothing but what is on record explains another link.
        writer.close()?;
        let report = verify(DIR, disk.storage())?;
        assert!(!report.is_damaged(), "after it: {:?}", report.findings);
        Ok(images.load(Ordering::Relaxed))
    });
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
