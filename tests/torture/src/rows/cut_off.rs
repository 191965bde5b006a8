//! File systems that are cut off under a writer (row 2 of the reliability scorecard).

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use runledger::Result;

use crate::ground::Ground;
use crate::oracle::{Crash, SharedOracle};
use crate::real::image::{Format, Image};
use crate::real::judge::judge;
use crate::real::met::Met;
use crate::real::place::remove_leftovers;
use crate::real::writer::LiveWriter;
use crate::rng::Rng;
use crate::rows::kills::wait;

/// How many cuts a file system goes through, with one ledger on it.
const CUTS: u64 = 25;

/// What was synced survives a power cut on ext4.
pub(crate) fn ext4(ground: &Ground) -> Result<()> {
    cuts(ground, Format::Ext4, ground.of(2, 204))
}

/// What was synced survives a power cut on XFS.
pub(crate) fn xfs(ground: &Ground) -> Result<()> {
    cuts(ground, Format::Xfs, ground.of(2, 42))
}

fn cuts(ground: &Ground, format: Format, images: u64) -> Result<()> {
    let Some(program) = &ground.program else {
        ground.skip(images * CUTS, "cutting off a file system needs the program `torture`");
        return Ok(());
    };
    remove_leftovers().unwrap();
    if let Some(reason) = Image::why_not(format) {
        ground.skip(images * CUTS, reason);
        return Ok(());
    }
    let met = Met::default();
    ground.cases(images, |seed| image(program, format, seed, &met));
    ground.note(met);
    Ok(())
}

fn image(program: &Path, format: Format, seed: u64, met: &Met) -> Result<u64> {
    let mut image = Image::new(format).unwrap_or_else(|reason| panic!("{reason}"));
    let dir = image.at().join("ledger");
    let oracle = SharedOracle::default();
    oracle.lock().carries = true;
    let mut rng = Rng::new(seed);
    image.mount().unwrap();
    for cut in 1..=CUTS {
        let writer = LiveWriter::start(program, &dir, &oracle, rng.number());
        wait(&writer, &mut rng);
        let before = writer.heard().errors;
        writer.note_cut();
        image.cut_off().unwrap();
        let (status, heard) = writer.kill();
        assert!(before.is_empty(), "cut {cut}: {before:?} before it");
        assert_ne!(status.signal(), Some(libc::SIGBUS), "cut {cut}: the writer died of it");
        met.add(&heard);
        image.unmount().unwrap();
        image.mount().unwrap();
        // At times the next writer has to do with what several cuts have left.
        if cut == CUTS || rng.below(2) == 0 {
            judge(&dir, &oracle, Crash::Power);
            met.judged();
        } else {
            oracle.lock().cut_unseen();
        }
    }
    image.unmount().unwrap();
    Ok(CUTS)
}
