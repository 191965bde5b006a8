//! Look-ups by key in a ledger of many segments, of which most are known not to hold the key.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runledger::{
    Body, Cleanup, Durability, Error, ErrorRecord, Event, Field, Id, Kind, Ledger, Reader, Record,
    Run, Status, Subject, Timestamp,
};

use super::{DIR, at_once, options, within_a_minute};
use torture::disk::SimDisk;
use torture::rng::Rng;

const FIELDS: [Field; 7] = [
    Field::Type,
    Field::Trace,
    Field::Run,
    Field::Project,
    Field::User,
    Field::Subject,
    Field::Fingerprint,
];

fn id(kind: &str, number: usize) -> Id<'static> {
    Id::new(format!("{kind}-{number}")).unwrap()
}

/// Records of a few traces and runs: most are of this round alone, some are of an earlier one.
fn batch(rng: &mut Rng, round: usize) -> Vec<Body<'static>> {
    let mut records = Vec::new();
    for n in 0..1 + rng.below(6) {
        let of = if rng.below(4) == 0 { rng.below(round + 1) } else { round };
        let key = of * 8 + n;
        let time = Timestamp::from_nanos(1_000_000_000 * i64::try_from(round).unwrap());
        let status = [Status::Running, Status::Success, Status::Failed][rng.below(3)];
        let run = Run::with_id(id("run", key), format!("type-{}", of % 40), status)
            .created_at(time)
            .trace_id(id("trace", key))
            .subject(Subject::new("booking", format!("b-{key}")).unwrap())
            .user_id(id("user", key % 50));
        let event = Event::new(format!("event-{of}"))
            .created_at(time)
            .trace_id(id("trace", key))
            .project_id(id("project", of % 30))
            .run_id(id("run", key));
        let error = ErrorRecord::new("E", format!("it failed {}", "x".repeat(of % 60)))
            .created_at(time)
            .trace_id(id("trace", key))
            .user_id(id("user", key % 50));
        records.extend([Body::Run(run), Body::Event(event), Body::Error(error)]);
    }
    records
}

/// The value of a keyed field, as a query names it.
fn value(record: &Record<'_>, field: Field) -> Option<String> {
    let body = &record.body;
    let text = |id: Option<&Id<'_>>| id.map(ToString::to_string);
    match (field, body) {
        (Field::Type, _) => Some(body.type_name().to_owned()),
        (Field::Trace, _) => text(body.trace_id()),
        (Field::Run, _) => text(body.run_id()),
        (Field::Project, _) => text(body.project_id()),
        (Field::User, _) => text(body.user_id()),
        (Field::Subject, Body::Run(run)) => run.subject.as_ref().map(ToString::to_string),
        (Field::Fingerprint, Body::Error(error)) => error.fingerprint.map(|it| it.to_string()),
        _ => None,
    }
}

/// Everything in the ledger, found by no key.
fn all(reader: &Reader) -> Vec<Record<'static>> {
    let query = reader.query().history(true).order(runledger::Order::Seq).limit(usize::MAX);
    let page = query.fetch().unwrap();
    page.records().map(|record| record.unwrap().into_owned()).collect()
}

/// Each value of some of the records, and two that no record has, against plain loops.
fn compare(rng: &mut Rng, reader: &Reader) {
    let all = all(reader);
    for field in FIELDS {
        for _ in 0..6 {
            let of_record = all.get(rng.below(all.len().max(1)));
            let wanted = match of_record.and_then(|record| value(record, field)) {
                Some(wanted) if rng.below(5) > 0 => wanted,
                _ if field == Field::Subject => "booking:nobody".to_owned(),
                _ if field == Field::Fingerprint => "1-0123456789abcdef".to_owned(),
                _ => "nobody".to_owned(),
            };
            let expected: Vec<u64> = all
                .iter()
                .filter(|record| value(record, field).as_ref() == Some(&wanted))
                .map(|record| record.seq)
                .collect();
            let query =
                reader.query().field(field, &wanted).history(true).order(runledger::Order::Seq);
            // Again and again: a look-up leaves notes for the next.
            for _ in 0..2 {
                let page = query.clone().limit(10_000).fetch().unwrap();
                assert_eq!(page.seqs().collect::<Vec<_>>(), expected, "{field} {wanted}");
                assert_eq!(query.count().unwrap(), expected.len() as u64, "{field} {wanted}");
            }
        }
    }
}

/// A run that has ended is refused another state, however long ago that was.
fn append_to_old_runs(rng: &mut Rng, ledger: &Ledger) {
    let all = all(ledger.reader());
    for _ in 0..5 {
        let Some(record) = all.get(rng.below(all.len().max(1))) else { return };
        let Body::Run(run) = &record.body else { continue };
        let newest = all.iter().rev().find_map(|record| match &record.body {
            Body::Run(other) if other.run_id == run.run_id => Some(other.status),
            _ => None,
        });
        let next = Run::with_id(run.run_id.clone(), "again", Status::Pending);
        let refused = matches!(ledger.append(next), Err(Error::RunTransition { .. }));
        assert_eq!(refused, newest.is_some_and(|status| status != Status::Pending));
    }
}

/// Flips a bit in the footer of some segments.
fn damage(rng: &mut Rng, disk: &SimDisk) {
    for path in disk.files() {
        let mut bytes = disk.peek(&path);
        let trailer = bytes.windows(8).rposition(|window| window == b"RUNLEND\xb1");
        if let Some(trailer) = trailer.filter(|_| rng.below(8) == 0) {
            let frames_end = bytes[trailer + 12..].first_chunk().unwrap();
            let footer = trailer - u32::from_le_bytes(*frames_end) as usize;
            bytes[trailer - rng.below(footer)] ^= 0x10;
            disk.poke(&path, bytes);
        }
    }
}

/// Segments are sealed, dropped, damaged and opened again between the look-ups, and a second reader
/// follows.
#[test]
fn a_key_is_found_in_whichever_segments_hold_it() {
    for seed in 0..3 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let open = || {
            let runs = Some(Duration::from_secs(60 * 24 * 3600));
            let options = options(&disk).retention(Kind::Run, runs);
            options.retention(Kind::Event, None).retention(Kind::Error, None).open(DIR).unwrap()
        };
        let mut ledger = open();
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        for round in 0..60 {
            ledger.append_each(&batch(&mut rng, round), Durability::Os).unwrap();
            if rng.below(8) > 0 {
                disk.advance(Duration::from_secs(48 * 3600));
                ledger.maintain().unwrap();
            }
            if round == 25 || round == 50 {
                ledger.close().unwrap();
                drop(ledger);
                damage(&mut rng, &disk);
                ledger = open();
            }
            if round % 13 == 12 {
                let age =
                    disk.now_without_tick() - 1_000_000_000 * (i64::try_from(round).unwrap() - 20);
                let age = Duration::from_nanos(u64::try_from(age).unwrap());
                ledger.cleanup(&Cleanup::older_than(age).kind(Kind::Event), false).unwrap();
            }
            if round % 5 == 4 {
                compare(&mut rng, &reader);
                reader.refresh().unwrap();
                compare(&mut rng, &reader);
            }
            if round % 3 == 2 {
                compare(&mut rng, ledger.reader());
                append_to_old_runs(&mut rng, &ledger);
            }
        }
    }
}

const EVENTS: usize = 30_000;

/// Appends events that are numbered, and drops the older ones now and then.
fn fill(ledger: &Ledger, appended: &AtomicUsize) {
    for number in 0..EVENTS {
        let event = Event::new("t")
            .message("x".repeat(150))
            // A second apart: the time that passes before the clean-up looks at the clock is less.
            .created_at(Timestamp::from_nanos(1_000_000_000 * i64::try_from(number).unwrap()))
            .trace_id(id("trace", number));
        ledger.append(event).unwrap();
        appended.store(number + 1, Ordering::SeqCst);
        if number % 7000 == 6999 {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            let age = now - Duration::from_secs(number as u64 - 5000);
            ledger.cleanup(&Cleanup::older_than(age), false).unwrap();
        }
    }
}

/// Look-ups that enter what they have searched, beside an appender that fills segments and a
/// clean-up that drops them.
#[test]
fn look_ups_beside_sealing_and_dropping_miss_nothing() {
    within_a_minute(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = runledger::Options::new();
        let options = options.segment_bytes(runledger::limits::MIN_SEGMENT_BYTES);
        let ledger = options.open(dir.path().join("ledger")).unwrap();
        let appended = AtomicUsize::new(0);
        at_once(3, |thread| {
            if thread == 0 {
                return fill(&ledger, &appended);
            }
            let mut rng = Rng::new(thread as u64);
            loop {
                let count = appended.load(Ordering::SeqCst);
                if count > 0 {
                    // The last are never dropped.
                    let number = count - 1 - rng.below(count.min(2000));
                    let trace = format!("trace-{number}");
                    assert_eq!(ledger.query().trace(&trace).count().unwrap(), 1, "{trace}");
                    assert_eq!(ledger.query().trace("nobody").count().unwrap(), 0);
                }
                if count == EVENTS {
                    return;
                }
            }
        });
    });
}
