//! Whether a real ledger that a crash left holds what was promised.

use std::path::Path;
use std::sync::Arc;

use runledger::storage::Disk;
use runledger::{Body, Event, Options, Reader, Record, Status, verify};
use serde::Deserialize;

use crate::check::records;
use crate::oracle::{Crash, Fate, Oracle, SharedOracle};

/// What the note on a dropped segment holds.
#[derive(Debug, Deserialize)]
struct Dropped {
    first_seq: u64,
    last_seq: Option<u64>,
}

/// Opens the ledger that a crash left, compares it with the oracle, and closes it. From then on
/// the oracle knows what the crash has left.
pub(crate) fn judge(dir: &Path, oracle: &SharedOracle, crash: Crash) {
    let ledger = Options::new().segment_bytes(64 << 10).background(false).open(dir);
    let ledger = ledger.unwrap_or_else(|err| panic!("opening: {err}"));
    let reader = ledger.reader();
    let found = records(reader).unwrap_or_else(|err| panic!("reading: {err}"));
    let mut oracle = oracle.lock();
    note_drops(reader, &mut oracle);
    if let Err(what) = oracle.judge(&found, crash) {
        panic!("{what}");
    }
    let report = verify(dir, Arc::new(Disk)).unwrap();
    assert!(!report.is_damaged(), "a crash is no damage: {:?}", report.findings);
    *oracle = oracle.settled(&found, crash);
    oracle.learn(&found);
    ledger.close().unwrap_or_else(|err| panic!("closing: {err}"));
}

/// What retention has dropped by its notes is not owed; of what comes under one note, nothing may
/// come back.
fn note_drops(reader: &Reader, oracle: &mut Oracle) {
    let notes = reader.audit().record_type("segment.dropped").limit(usize::MAX / 2);
    let notes = notes.fetch().unwrap_or_else(|err| panic!("reading the notes: {err}"));
    let ended = oracle.ended_runs();
    for note in notes.records() {
        let note: Record<'_> = note.unwrap_or_else(|err| panic!("reading a note: {err}"));
        let Body::Event(Event { payload: Some(payload), trace_id: Some(of), .. }) = &note.body
        else {
            panic!("a note without detail: {note:?}");
        };
        let dropped: Dropped = payload.to_value().unwrap();
        let range = dropped.first_seq..=dropped.last_seq.unwrap_or(dropped.first_seq);
        let of = of.to_string();
        for batch in &mut oracle.batches {
            let Some(seqs) = &batch.seqs else { continue };
            let stream = |body: &Body<'_>| of.starts_with(&format!("{}s/", body.kind()));
            let mut records = seqs.iter().zip(batch.bodies.iter());
            if !records.any(|(seq, body)| range.contains(seq) && stream(body)) {
                continue;
            }
            let is_whole = batch.bodies.iter().all(stream);
            batch.fate = match &batch.bodies[0] {
                // It is carried forward.
                Body::Run(run)
                    if run.status == Status::Running
                        && !ended.contains(&run.run_id.to_string()) =>
                {
                    continue;
                }
                Body::Run(_) => Fate::Dropping,
                _ if is_whole => Fate::Dropped,
                _ => Fate::Dropping,
            };
        }
    }
}
