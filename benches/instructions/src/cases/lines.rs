//! The interchange lines.

use runledger::Record;
use runledger::wire::{LineError, ParseOptions, parse_line, write_record};

use super::{BATCH, Bench};
use crate::{Outcome, counted_region};

/// Lines of mixed records are parsed, as for an import.
pub(super) fn parse(bench: &Bench) -> Outcome<usize> {
    let lines = with_records(bench, lines)?;
    let text = String::from_utf8(lines)?;
    let options = ParseOptions::default();
    let parsed = counted_region(|| {
        text.lines().try_fold(0, |parsed, line| {
            std::hint::black_box(&parse_line(line, &options)?);
            Ok::<usize, LineError>(parsed + 1)
        })
    })?;
    Ok(parsed)
}

/// Mixed records are written as lines, as by an export.
pub(super) fn write(bench: &Bench) -> Outcome<usize> {
    with_records(bench, |records| {
        let room = lines(records)?.len();
        let mut out = Vec::with_capacity(room);
        counted_region(|| records.iter().try_for_each(|record| write_record(record, &mut out)))?;
        Ok(records.len())
    })
}

fn lines(records: &[Record<'_>]) -> Outcome<Vec<u8>> {
    let mut out = Vec::new();
    records.iter().try_for_each(|record| write_record(record, &mut out))?;
    Ok(out)
}

fn with_records<T>(bench: &Bench, work: impl FnOnce(&[Record<'_>]) -> Outcome<T>) -> Outcome<T> {
    let (ledger, _) = bench.filled(bench.options())?;
    let page = ledger.query().history(true).limit(BATCH).fetch()?;
    let records = page.records().collect::<runledger::Result<Vec<_>>>()?;
    work(&records)
}
