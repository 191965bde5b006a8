//! Sealing, recovery and clean openings.

use std::path::Path;

use super::{Bench, DAY, LEDGER, RECORDS};
use crate::{Outcome, counted_region};

/// A segment size of which the ledger fills several.
const SMALL_SEGMENT: u32 = 256 << 10;
/// How often the ledger is opened.
const OPENINGS: usize = 5;

/// The segments have reached their age, and are sealed.
pub(super) fn seal(bench: &Bench) -> Outcome<usize> {
    let (ledger, _) = bench.filled(bench.options())?;
    bench.storage.pass(DAY);
    counted_region(|| ledger.maintain())?;
    let stats = ledger.reader().stats()?;
    let open: u64 = stats.streams.iter().map(|stream| stream.segments - stream.sealed).sum();
    match open {
        0 => Ok(RECORDS),
        open => Err(format!("{open} segments were not sealed").into()),
    }
}

/// The writer was not closed, and its ledger is opened by another.
pub(super) fn recover(bench: &Bench) -> Outcome<usize> {
    let (ledger, _) = bench.filled(bench.options())?;
    let records = ledger.query().history(true).count()?;
    copy_dir(Path::new(LEDGER), Path::new("copy"))?;
    let again = counted_region(|| bench.open("copy"))?;
    let found = again.query().history(true).count()?;
    match found == records {
        true => Ok(RECORDS),
        false => Err(format!("{found} of {records} records were found again").into()),
    }
}

/// The writer was closed, and its segments are sealed.
pub(super) fn clean(bench: &Bench) -> Outcome<usize> {
    let (ledger, _) = bench.filled(bench.options().segment_bytes(SMALL_SEGMENT))?;
    bench.storage.pass(DAY);
    ledger.maintain()?;
    ledger.close()?;
    drop(ledger);
    for _ in 0..OPENINGS {
        let ledger = counted_region(|| bench.open(LEDGER))?;
        ledger.close()?;
    }
    Ok(OPENINGS)
}

fn copy_dir(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_dir(&entry.path(), &copy)?,
            false => drop(std::fs::copy(entry.path(), &copy)?),
        }
    }
    Ok(())
}
