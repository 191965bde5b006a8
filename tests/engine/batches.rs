//! Runs in batches, against the same runs one at a time.

use std::time::Duration;

use runledger::{
    Body, Class, Durability, Error, Event, Id, Json, Ledger, Limits, Order, Reader, Record, Run,
    Status, Timestamp,
};

use super::{DIR, options};
use torture::disk::{Fault, OpKind, SimDisk};
use torture::rng::Rng;

/// A ledger whose segments take some ten states; those of failed runs lie in a stream of their own.
fn open(disk: &SimDisk) -> Ledger {
    let failed = Class::status(Status::Failed);
    let limits = Limits::new().age(Duration::from_secs(3600));
    options(disk).segment_bytes(64 << 10).class(failed, limits).open(DIR).unwrap()
}

/// States of forty runs, in which most of what a run has stands in an earlier one. Many runs are in
/// a batch twice.
fn states(rng: &mut Rng, attempt: &mut u32) -> Vec<Run<'static>> {
    let count = 1 + rng.below(12);
    let state = |_| {
        *attempt += 1;
        let id = Id::new(format!("run-{}", rng.below(40))).unwrap();
        let status = [Status::Running, Status::Success, Status::Failed][rng.below(3)];
        let time = Timestamp::from_nanos(i64::from(*attempt) * 1_000_000_007);
        let run = Run::with_id(id, "t", status).at(time).attempt(*attempt);
        match rng.below(4) {
            0 => run.trace_id(Id::new(format!("trace-{attempt}")).unwrap()),
            1 => run.metadata(Json::parse(format!("\"{}\"", "x".repeat(5000))).unwrap()),
            _ => run,
        }
    };
    (0..count).map(state).collect()
}

/// All states, but for when each was written.
fn all(disk: &SimDisk) -> Vec<Record<'static>> {
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    let query = reader.query().history(true).order(Order::Seq).limit(10_000);
    let untimed = |record: Record<'_>| {
        let mut record = record.into_owned();
        record.recorded_at = Timestamp::from_nanos(0);
        record
    };
    query.fetch().unwrap().records().map(|record| untimed(record.unwrap())).collect()
}

/// A place that the disk could not read, under the newest state of one run, took with it all that
/// was appended beside that run: of a queue some hundred records of others.
#[test]
fn a_state_that_cannot_be_read_takes_no_other_record_along() {
    for others in [0, 1] {
        let disk = SimDisk::new(1);
        let ledger = options(&disk).open(DIR).unwrap();
        let run = |id: &'static str, status| Body::Run(Run::new(id, "t", status).unwrap());
        ledger.append_batch(&[run("begun", Status::Running)], Durability::Os).unwrap();
        let mut batch = vec![Body::Event(Event::new("t")); 100];
        batch.insert(50, run("begun", Status::Success));
        batch.extend(vec![run("new", Status::Running); others]);
        disk.set_faults(|op| {
            let is_of_runs = op.path.to_string_lossy().contains("/runs/");
            (op.kind == OpKind::Map && is_of_runs).then_some(Fault::Io)
        });
        let outcomes = ledger.append_each(&batch, Durability::Os).unwrap();
        disk.clear_hooks();
        let refused: Vec<_> =
            outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).collect();
        assert!(matches!(refused[..], [(50, Err(Error::Io { .. }))]), "{refused:?}");
        assert_eq!(ledger.query().count().unwrap(), 101 + others as u64);
        ledger.append_batch(&[run("begun", Status::Success)], Durability::Os).unwrap();
    }
}

/// The state before could not be read once, and then it could: the first state of a run in a batch
/// was refused, and the second taken in its place. A merge that was gone on with put the first one
/// behind it, and the run was as it had been.
#[test]
fn after_a_state_that_is_refused_unread_no_later_one_of_its_batch_is_taken() {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    let run = |id: &'static str, attempt: u32| {
        Body::Run(Run::new(id, "t", Status::Running).unwrap().attempt(attempt))
    };
    ledger.append_batch(&[run("a", 1), run("b", 1)], Durability::Os).unwrap();
    let mut left = 2;
    disk.set_faults(move |op| {
        let is_of_runs = op.path.to_string_lossy().contains("/runs/");
        let fails = op.kind == OpKind::Map && is_of_runs && left > 0;
        left -= u32::from(fails);
        fails.then_some(Fault::Io)
    });
    let batch = [run("a", 2), run("b", 2), run("a", 3), run("b", 3)];
    let outcomes = ledger.append_each(&batch, Durability::Os).unwrap();
    disk.clear_hooks();
    let taken: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [false, true, false, true], "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(Error::Io { .. })), "{outcomes:?}");
}

/// The states of a batch are looked up together in the last segment of each stream, and one by one
/// in those before it.
#[test]
fn a_state_follows_the_one_before_it_wherever_that_lies() {
    for seed in 0..20 {
        let (together, apart) = (SimDisk::new(seed), SimDisk::new(seed));
        let (ledger, other) = (open(&together), open(&apart));
        let (mut rng, mut attempt) = (Rng::new(seed), 0);
        for _ in 0..60 {
            let states = states(&mut rng, &mut attempt);
            for state in &states {
                other.append(state.borrowed()).unwrap();
            }
            let states: Vec<_> = states.into_iter().map(Body::Run).collect();
            ledger.append_batch(&states, Durability::Os).unwrap();
        }
        let streams = ledger.reader().stats().unwrap().streams;
        let segments = |stream: &runledger::StreamStats| {
            stream.name.contains("runs").then_some(stream.segments)
        };
        let segments: Vec<_> = streams.iter().filter_map(segments).collect();
        assert!(segments.len() == 2 && segments.iter().all(|&count| count > 2), "{segments:?}");
        let (found, expected) = (all(&together), all(&apart));
        assert!(found.iter().filter(|record| record.supersedes.is_some()).count() > 200);
        assert_eq!(found, expected, "seed {seed}");
    }
}
