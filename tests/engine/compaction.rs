//! Compaction and erasure: what they change, what they leave alone, and what damage does to what
//! they wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runledger::format::trailer::TRAILER_BYTES;
use runledger::storage::OpenMode;
use runledger::{
    Body, Cleanup, Compaction, Durability, Erasure, Error, ErrorRecord, Event, Field, Id, Json,
    Kind, Ledger, Order, Query, Reader, Record, Run, Status, Tampering, Timestamp, repair, verify,
    verify_against,
};

use super::hooked::Hooked;
use super::{DIR, is_draft, options, within_a_minute};
use torture::disk::{Fault, OpKind, SimDisk};
use torture::rng::Rng;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn id(kind: &str, number: usize) -> Id<'static> {
    Id::new(format!("{kind}-{number}")).unwrap()
}

fn payload(rng: &mut Rng, size: usize) -> Json<'static> {
    let words: Vec<_> = (0..size / 6).map(|_| ["alpha", "beta", "gamma"][rng.below(3)]).collect();
    Json::from_value(&words).unwrap()
}

/// Appends a few records: runs that go on and end, events and errors of theirs, some together.
fn append(rng: &mut Rng, ledger: &Ledger, runs: usize) {
    let mut batch: Vec<Body<'static>> = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let run = rng.below(runs);
        let status = [Status::Running, Status::Success, Status::Failed][rng.below(3)];
        let attempt = u32::try_from(rng.below(100)).unwrap() + 1;
        batch.push(match rng.below(3) {
            0 => Run::with_id(id("run", run), format!("type-{}", run % 3), status)
                .attempt(attempt)
                .trace_id(id("trace", run % 7))
                .user_id(id("user", run % 5))
                .metadata(payload(rng, 100))
                .into(),
            1 => Event::new("step")
                .run_id(id("run", run))
                .trace_id(id("trace", run % 7))
                .payload({
                    let size = [10, 200, 9000][rng.below(3)];
                    payload(rng, size)
                })
                .into(),
            _ => ErrorRecord::new("E", format!("it failed {}", rng.below(20)))
                .run_id(id("run", run))
                .user_id(id("user", run % 5))
                .into(),
        });
    }
    for outcome in ledger.append_each(&batch, Durability::Os).unwrap() {
        assert!(matches!(outcome, Ok(_) | Err(Error::RunTransition { .. })), "{outcome:?}");
    }
}

/// A ledger of so many sealed segments in each stream, and one that is written.
fn ledger(rng: &mut Rng, disk: &SimDisk, segments: usize) -> Ledger {
    let ledger = options(disk).open(DIR).unwrap();
    for _ in 0..segments {
        for _ in 0..1 + rng.below(8) {
            append(rng, &ledger, 12);
        }
        disk.advance(DAY * 2);
        ledger.maintain().unwrap();
    }
    append(rng, &ledger, 12);
    ledger
}

fn all(query: Query) -> Vec<Record<'static>> {
    let page = query.order(Order::Seq).limit(usize::MAX / 2).fetch().unwrap();
    page.records().map(|record| record.unwrap().into_owned()).collect()
}

type Answers = (Vec<Record<'static>>, Vec<BTreeMap<String, u64>>);

/// What everyone may ask for, whatever lies beneath: newest states, and counts by the indexes.
fn answers(reader: &Reader) -> Answers {
    let records = all(reader.query());
    let fields = [Field::Type, Field::Status, Field::Trace, Field::Run, Field::User];
    let counts = fields.map(|field| reader.query().count_by(field).unwrap().into_iter().collect());
    for record in &records {
        assert_eq!(reader.get(record.seq).unwrap().record().unwrap(), *record);
    }
    (records, counts.into())
}

/// Compares answers; of a difference no more is said than what a person can read.
#[track_caller]
fn same(found: &Answers, expected: &Answers, label: &str) {
    let seqs = |answers: &Answers| answers.0.iter().map(|it| it.seq).collect::<Vec<_>>();
    assert_eq!(seqs(found), seqs(expected), "{label}");
    assert_eq!(found.1, expected.1, "{label}");
    assert!(found.0 == expected.0, "{label}: the numbers are the same, the records are not");
}

fn segments(disk: &SimDisk, stream: &str) -> usize {
    let is_of = |path: &&std::path::PathBuf| path.parent().is_some_and(|dir| dir.ends_with(stream));
    disk.files().iter().filter(is_of).count()
}

#[test]
fn no_answer_changes_but_the_history_of_runs() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let ledger = ledger(&mut rng, &disk, 5);
        // One that looked before, and looks again.
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        let before = answers(ledger.reader());
        same(&answers(&reader), &before, "a reader");
        let history = all(ledger.query().history(true));
        let report = ledger.compact(&Compaction::new().keep_states()).unwrap();
        assert!(!report.rewrites.is_empty() && report.damaged.is_empty());
        assert!(all(ledger.query().history(true)) == history, "seed {seed}: the history");
        let report = ledger.compact(&Compaction::new()).unwrap();
        assert!(report.rewrites.len() <= 1, "only runs have something to leave out");
        same(&answers(ledger.reader()), &before, &format!("seed {seed}"));
        reader.refresh().unwrap();
        same(&answers(&reader), &before, &format!("seed {seed}: a reader that was there before"));
        let fresh = Reader::with_storage(DIR, disk.storage()).unwrap();
        same(&answers(&fresh), &before, &format!("seed {seed}: a reader that comes after"));
        // Life goes on: new states take the place of those in compacted segments.
        for _ in 0..5 {
            append(&mut rng, &ledger, 12);
        }
        let later = answers(ledger.reader());
        reader.refresh().unwrap();
        same(&answers(&reader), &later, &format!("seed {seed}"));
        ledger.close().unwrap();
        drop(ledger);
        let report = verify(DIR, disk.storage()).unwrap();
        assert!(report.findings.is_empty(), "seed {seed}: {:?}", report.findings);
        let ledger = options(&disk).open(DIR).unwrap();
        same(&answers(ledger.reader()), &later, &format!("seed {seed}: after reopening"));
    }
}

#[test]
fn neighbours_are_merged_and_overtaken_states_left_out() {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    for day in 0..6 {
        for status in [Status::Pending, Status::Running, Status::Success] {
            let run = Run::with_id(id("run", day), "nightly", status);
            ledger.append(run.attempt(1u32)).unwrap();
        }
        disk.advance(DAY * 2);
        ledger.maintain().unwrap();
    }
    assert_eq!(segments(&disk, "runs"), 6);
    let report = ledger.compact(&Compaction::new().kind(Kind::Run)).unwrap();
    let left_out: u64 = report.rewrites.iter().map(|rewrite| rewrite.left_out).sum();
    assert_eq!((segments(&disk, "runs"), left_out), (1, 12));
    assert_eq!(ledger.query().history(true).kind(Kind::Run).count().unwrap(), 6);
    assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 6);
    assert!(ledger.compact(&Compaction::new()).unwrap().rewrites.is_empty(), "nothing is left");
}

/// A query that was made before, and is asked again, reads the segments that there were. Of a
/// segment that was written anew twice it heard no more of what was overtaken since: the link went
/// by the one between, which was gone.
#[test]
fn a_query_shows_each_run_once_whatever_is_written_anew_meanwhile() {
    let disk = SimDisk::new(2);
    let ledger = options(&disk).open(DIR).unwrap();
    let append = |number, status| {
        ledger.append(Run::with_id(id("run", number), "nightly", status)).unwrap();
    };
    (0..4).for_each(|number| append(number, Status::Pending));
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    append(4, Status::Pending);
    let query = ledger.query().kind(Kind::Run);
    for ended in 0..4 {
        assert_eq!(query.fetch().unwrap().len(), 5, "before run {ended} ended");
        assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites.len(), 1);
        append(ended, Status::Success);
        assert_eq!(query.fetch().unwrap().len(), 5, "run {ended} has ended");
        assert_eq!(query.count().unwrap(), 5);
    }
}

/// The first segment of runs.
fn first_of_runs(disk: &SimDisk) -> PathBuf {
    disk.files().into_iter().find(|path| path.to_string_lossy().contains("runs/")).unwrap()
}

/// Flips a bit of the first segment of runs, at a place that follows from its length.
fn flip_in_first(disk: &SimDisk, place: impl Fn(usize) -> usize) {
    let first = first_of_runs(disk);
    let mut bytes = disk.peek(&first);
    let at = place(bytes.len());
    bytes[at] ^= 1;
    disk.poke(&first, bytes);
}

/// A state keeps only the one before it from being the newest. Were the middle one of three left
/// out while the first lies in a segment that stays, the first would be a run of its own again.
#[test]
fn a_state_is_left_out_only_after_the_one_before_it() {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    let mut at = Vec::new();
    for status in [Status::Pending, Status::Running, Status::Success] {
        at.push(ledger.append(Run::with_id(id("run", 0), "nightly", status)).unwrap());
        disk.advance(DAY * 2);
        ledger.maintain().unwrap();
    }
    // The first segment cannot be compacted: its footer is damaged.
    ledger.close().unwrap();
    drop(ledger);
    flip_in_first(&disk, |len| len - 1);
    let ledger = options(&disk).open(DIR).unwrap();
    let report = ledger.compact(&Compaction::new()).unwrap();
    assert_eq!(report.rewrites.iter().map(|rewrite| rewrite.left_out).sum::<u64>(), 0);
    let newest = all(ledger.query().kind(Kind::Run));
    assert_eq!(newest.iter().map(|record| record.seq).collect::<Vec<_>>(), [at[2]]);
    // The segment with the middle one is packed and of nothing but overtaken states: each round of
    // the background wrote it anew, and left out nothing.
    disk.advance(DAY * 2);
    assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites, []);
}

/// In a packed segment without a whole footer, frames were looked for between its blocks, where
/// there are none: a run that had ended was taken for a new one, began again, and was there twice.
#[test]
fn a_run_in_a_packed_segment_without_a_whole_footer_does_not_begin_again() {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    let run = |n, status| Body::from(Run::with_id(id("run", n), "nightly", status));
    let batch: Vec<_> = (0..300).map(|n| run(n, Status::Success)).collect();
    ledger.append_batch(&batch, Durability::Os).unwrap();
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites.len(), 1);
    ledger.close().unwrap();
    drop(ledger);
    let packed = first_of_runs(&disk);
    let whole = disk.peek(&packed);
    let trailer = whole.len() - TRAILER_BYTES;
    let frames_end = u32::from_le_bytes(*whole[trailer + 12..].first_chunk().unwrap()) as usize;
    for at in (frames_end..whole.len()).step_by(61).chain([whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        disk.poke(&packed, bytes);
        let ledger = options(&disk).open(DIR).unwrap();
        let again = [run(7, Status::Running), run(8, Status::Running)];
        for outcome in ledger.append_each(&again, Durability::Os).unwrap() {
            assert!(matches!(outcome, Err(Error::RunTransition { .. })), "{at}: {outcome:?}");
        }
        let one = ledger.append(run(9, Status::Running));
        assert!(matches!(one, Err(Error::RunTransition { .. })), "{at}: {one:?}");
        assert_eq!(ledger.query().kind(Kind::Run).count().unwrap(), 300, "{at}");
    }
}

/// A state that was to be left out with a segment that then turned out to be damaged counted as
/// gone although that segment stayed. The state after it, which keeps it from being the newest, was
/// left out in the next segment, and the run was there twice.
#[test]
fn a_state_in_a_segment_that_turns_out_damaged_is_not_gone() {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    let mut at = Vec::new();
    for status in [Status::Pending, Status::Running, Status::Success] {
        ledger.append(Run::with_id(id("other", at.len()), "nightly", Status::Success)).unwrap();
        at.push(ledger.append(Run::with_id(id("run", 0), "nightly", status)).unwrap());
        // Too far apart to be merged.
        disk.advance(DAY * 60);
        ledger.maintain().unwrap();
    }
    ledger.close().unwrap();
    drop(ledger);
    // In the first of its two records: the second is that of the run.
    flip_in_first(&disk, |_| 256 + 50);
    let ledger = options(&disk).open(DIR).unwrap();
    let report = ledger.compact(&Compaction::new()).unwrap();
    assert_eq!((report.damaged.len(), report.rewrites.len()), (1, 2), "{report:?}");
    // One that knows no more than what the files say.
    let fresh = Reader::with_storage(DIR, disk.storage()).unwrap();
    let newest = fresh.query().kind(Kind::Run).run("run-0").fetch().unwrap();
    assert_eq!(newest.seqs().collect::<Vec<_>>(), [at[2]]);
}

/// Each bit of a packed segment: damage is named, and no altered record given.
#[test]
fn damage_to_a_packed_segment_is_named_and_mended() {
    let mut rng = Rng::new(5);
    let disk = SimDisk::new(5);
    let ledger = ledger(&mut rng, &disk, 4);
    ledger.compact(&Compaction::new().keep_states()).unwrap();
    let before: BTreeMap<u64, Record<'static>> =
        all(ledger.query().history(true)).into_iter().map(|it| (it.seq, it)).collect();
    ledger.close().unwrap();
    drop(ledger);
    let packed: Vec<_> = disk.files().into_iter().filter(|path| is_compacted(path)).collect();
    assert!(packed.len() >= 3, "{packed:?}");
    for path in packed {
        let bytes = disk.peek(&path);
        let step = bytes.len() / 60;
        for part in 0..60 {
            let at = part * step + rng.below(step);
            let disk = disk.fork();
            let mut damaged = bytes.to_vec();
            // Of one that was cut, the offsets of its frames led beyond the end of the file.
            let is_cut = rng.below(3) == 0;
            match is_cut {
                true => damaged.truncate(at.max(1)),
                false => damaged[at] ^= 1 << rng.below(8),
            }
            disk.poke(&path, damaged);
            let how = if is_cut { "cut at" } else { "flipped in" };
            let label = format!("{how} byte {at} of {}", path.display());
            let report = verify(DIR, disk.storage()).unwrap();
            assert!(report.is_damaged(), "{label}");
            assert!(report.findings.iter().all(|finding| finding.path == path), "{label}");
            let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
            // What cannot be read is an error of the query, and nothing else.
            if let Ok(page) = reader.query().history(true).limit(usize::MAX / 2).fetch() {
                for record in page.records().flatten() {
                    assert_eq!(before.get(&record.seq), Some(&record.into_owned()), "{label}");
                }
            }
            let report = repair(DIR, disk.storage(), false).unwrap();
            assert!(!report.actions.is_empty() && !report.is_damaged(), "{label}");
            let report = verify(DIR, disk.storage()).unwrap();
            assert!(!report.is_damaged(), "{label}: {:?}", report.findings);
            let ledger = options(&disk).open(DIR).unwrap();
            let after = all(ledger.query().history(true).kind(Kind::Run).kind(Kind::Event));
            for record in after {
                assert_eq!(before.get(&record.seq), Some(&record), "{label}");
            }
        }
    }
}

fn is_compacted(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains('-'))
}

/// Queries beside compactions and appends see each run once, and never fewer than there were.
#[test]
fn compaction_beside_appends_and_queries() {
    within_a_minute(|| {
        let disk = SimDisk::new(9);
        let ledger = options(&disk).segment_bytes(64 << 10).open(DIR).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let runs = Arc::new(AtomicU64::new(0));
        let asking = {
            let (ledger, done, runs) = (ledger.clone(), Arc::clone(&done), Arc::clone(&runs));
            let foreign = Reader::with_storage(DIR, disk.storage()).unwrap();
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let least = runs.load(Ordering::Acquire);
                    foreign.refresh().unwrap();
                    for reader in [ledger.reader(), &foreign] {
                        let found = all(reader.query().kind(Kind::Run));
                        let mut ids: Vec<_> = found.iter().map(|it| it.body.clone()).collect();
                        let of = |body: &Body<'_>| match body {
                            Body::Run(run) => run.run_id.to_string(),
                            _ => unreachable!(),
                        };
                        let count = ids.len() as u64;
                        ids.sort_by_key(of);
                        ids.dedup_by_key(|body| of(body));
                        assert_eq!(ids.len() as u64, count, "each run once");
                        assert!(count >= least, "{count} of {least} runs");
                    }
                }
            })
        };
        let rewrites = Arc::new(AtomicUsize::new(0));
        let compacting = {
            let (ledger, done, rewrites) =
                (ledger.clone(), Arc::clone(&done), Arc::clone(&rewrites));
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let report = ledger.compact(&Compaction::new()).unwrap();
                    rewrites.fetch_add(report.rewrites.len(), Ordering::Relaxed);
                }
            })
        };
        let metadata = Json::from_value(&"x".repeat(3000)).unwrap();
        for number in 0..400 {
            for status in [Status::Running, Status::Success] {
                let run = Run::with_id(id("run", number), "nightly", status);
                ledger.append(run.metadata(metadata.clone())).unwrap();
                runs.store(number as u64 + 1, Ordering::Release);
            }
        }
        // However fast appends are beside it: something is compacted while it is asked.
        while rewrites.load(Ordering::Relaxed) < 4 && !compacting.is_finished() {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        asking.join().unwrap();
        compacting.join().unwrap();
        assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 400);
        assert_eq!(ledger.query().status(Status::Running).count().unwrap(), 0);
    });
}

/// The disk is full at any byte of a compaction: nothing is lost, no draft stays, and it works when
/// there is space again.
#[test]
fn a_full_disk_leaves_all_as_it_was() {
    let mut rng = Rng::new(11);
    let disk = SimDisk::new(11);
    let ledger = ledger(&mut rng, &disk, 4);
    let before = answers(ledger.reader());
    ledger.close().unwrap();
    drop(ledger);
    let mut refused = 0;
    for step in 0..40_u64 {
        let disk = disk.fork();
        let ledger = options(&disk).open(DIR).unwrap();
        disk.set_capacity(Some(disk.used() + step * 512));
        match ledger.compact(&Compaction::new()) {
            Ok(_) => {}
            Err(Error::NoSpace { .. }) => refused += 1,
            Err(err) => panic!("{err}"),
        }
        same(&answers(ledger.reader()), &before, &format!("step {step}"));
        assert!(!disk.files().iter().any(|path| is_draft(path)), "step {step}");
        disk.set_capacity(None);
        ledger.compact(&Compaction::new()).unwrap();
        same(&answers(ledger.reader()), &before, &format!("step {step}"));
        ledger.close().unwrap();
        assert!(!verify(DIR, disk.storage()).unwrap().is_damaged(), "step {step}");
    }
    assert!(refused > 3, "{refused}");
}

/// Each operation of a compaction fails once.
#[test]
fn an_error_at_each_operation_loses_nothing() {
    let mut rng = Rng::new(12);
    let disk = SimDisk::new(12);
    let ledger = ledger(&mut rng, &disk, 3);
    let before = answers(ledger.reader());
    ledger.close().unwrap();
    drop(ledger);
    for number in 0.. {
        let disk = disk.fork();
        let ledger = options(&disk).open(DIR).unwrap();
        let first = disk.operations();
        disk.set_faults(move |op| (op.number == first + number).then_some(Fault::Io));
        let outcome = ledger.compact(&Compaction::new());
        let is_over = disk.operations() <= first + number;
        disk.clear_hooks();
        drop(ledger);
        let ledger = options(&disk).open(DIR).unwrap();
        same(&answers(ledger.reader()), &before, &format!("operation {number}: {outcome:?}"));
        ledger.compact(&Compaction::new()).unwrap();
        same(&answers(ledger.reader()), &before, &format!("operation {number}, and again"));
        ledger.close().unwrap();
        let report = verify(DIR, disk.storage()).unwrap();
        assert!(!report.is_damaged(), "operation {number}: {:?}", report.findings);
        assert!(!disk.files().iter().any(|path| is_draft(path)), "operation {number}");
        if is_over {
            assert!(number > 30 && outcome.is_ok(), "{number} {outcome:?}");
            break;
        }
    }
}

/// What was erased is in no file, and of it only its number and a hash stay on record.
#[test]
fn what_is_erased_is_in_no_file() {
    let disk = SimDisk::new(3);
    let ledger = options(&disk).open(DIR).unwrap();
    let user = || Id::new("jane.doe@example.org").unwrap();
    let secret = || Json::from_value(&"a secret of jane's").unwrap();
    let mut others = Vec::new();
    for round in 0..6 {
        let run = id("run", round);
        // Her id comes with the second state; an event and an error of the run are without it.
        ledger.append(Run::with_id(run.clone(), "mail", Status::Running)).unwrap();
        ledger.append(Event::new("sent").run_id(run.clone()).payload(secret())).unwrap();
        ledger.append(ErrorRecord::new("E", "a secret of jane's").run_id(run.clone())).unwrap();
        let last = Run::with_id(run, "mail", Status::Success);
        ledger.append(last.user_id(user()).metadata(secret())).unwrap();
        ledger.append(Event::new("seen").user_id(user()).payload(secret())).unwrap();
        others.push(ledger.append(Event::new("other").user_id(id("user", 1))).unwrap());
        if round % 2 == 0 {
            disk.advance(DAY * 2);
            ledger.maintain().unwrap();
        }
    }
    ledger.compact(&Compaction::new().keep_states()).unwrap();
    let erasure = Erasure::of(Field::User, user()).unwrap().reason("she asked").by("ops");
    let plan = ledger.reader().plan_erasure(&erasure).unwrap();
    let report = ledger.erase(&erasure).unwrap();
    assert_eq!((report.records, plan.records), ([12, 12, 6], [12, 12, 6]));
    assert_eq!(all(ledger.query()).iter().map(|it| it.seq).collect::<Vec<_>>(), others);
    let notes = all(ledger.reader().audit().record_type("records.erased"));
    let Body::Event(note) = &notes[0].body else { panic!() };
    let note = note.payload.as_ref().unwrap().as_str();
    assert!(note.contains("she asked") && note.contains("\"runs\":12"), "{note}");
    let again = ledger.erase(&erasure).unwrap();
    assert!(again.total() == 0 && again.rewrites.is_empty());
    ledger.close().unwrap();
    for (path, bytes) in disk.content() {
        for trace in ["jane.doe", "a secret"] {
            let found = bytes.windows(trace.len()).any(|window| window == trace.as_bytes());
            assert!(!found, "{trace:?} in {}", path.display());
        }
    }
    assert!(!verify(DIR, disk.storage()).unwrap().is_damaged());
}

/// A pin names the run that it holds, and why, in the engine's own notes, where an erasure did not
/// look. Nothing else there goes, whatever is asked for, and what a checkpoint says of it holds.
#[test]
fn an_erasure_takes_the_pins_of_its_runs_along() {
    let disk = SimDisk::new(4);
    let ledger = options(&disk).open(DIR).unwrap();
    for name in ["jane-1", "jane-2", "other"] {
        let run = Run::new(name, "mail", Status::Success).unwrap();
        let user = if name == "other" { "joe" } else { "jane" };
        ledger.append(run.user_id(Id::new(user).unwrap())).unwrap();
        ledger.pin(name, &format!("what {user} said")).unwrap();
    }
    ledger.unpin("jane-2", "jane said so").unwrap();
    let checkpoint = ledger.checkpoint().unwrap();
    let notes = ledger.reader().audit().count().unwrap();
    let erasure = Erasure::of(Field::User, Id::new("jane").unwrap()).unwrap();
    assert_eq!(ledger.reader().plan_erasure(&erasure).unwrap().notes, 3);
    let report = ledger.erase(&erasure).unwrap();
    assert_eq!((report.records, report.notes), ([2, 0, 0], 3));
    let pins: Vec<_> = ledger.reader().pins().unwrap();
    assert_eq!(pins.iter().map(|pin| pin.run_id.to_string()).collect::<Vec<_>>(), ["other"]);
    // Two segments were written anew, and it is on record that something was erased.
    assert_eq!(ledger.reader().audit().count().unwrap(), notes - 3 + 3);
    // The path of a segment is the trace of a note on it, and no trace of anybody.
    let path = report.rewrites[0].to.clone().unwrap();
    let by_trace = Erasure::of(Field::Trace, Id::new(path).unwrap()).unwrap();
    assert_eq!(ledger.erase(&by_trace).unwrap().notes, 0);
    ledger.close().unwrap();
    drop(ledger);
    for (path, bytes) in disk.content() {
        let found = bytes.windows(4).any(|window| window == b"jane");
        assert!(!found, "in {}", path.display());
    }
    let report = verify_against(DIR, disk.storage(), &checkpoint).unwrap();
    assert!(report.holds(), "{:?}", report.findings);
    let ledger = options(&disk).open(DIR).unwrap();
    assert_eq!(ledger.reader().pins().unwrap().len(), 1);
}

fn of_user(user: &str) -> Erasure {
    Erasure::of(Field::User, Id::new(user.to_owned()).unwrap()).unwrap()
}

/// Has `act` called once, when a segment of this stream is opened to be read.
fn once_read(storage: &Hooked, stream: &'static str, act: impl Fn() + Send + Sync + 'static) {
    let is_done = AtomicBool::new(false);
    storage.set(move |operation, path| {
        let is_segment = path.extension().is_some_and(|it| it == "seg");
        let is_its = path.parent().is_some_and(|dir| dir.ends_with(stream));
        if operation == "open" && is_segment && is_its && !is_done.swap(true, Ordering::Relaxed) {
            act();
        }
    });
}

/// The newest state of an open run that retention carried forward meanwhile stayed, and was counted
/// as erased.
#[test]
fn an_erasure_beside_retention_takes_what_is_carried_forward() {
    let disk = SimDisk::new(6);
    let storage = Hooked::new(disk.storage());
    let ledger = options(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    let run = Run::new("r", "mail", Status::Running).unwrap();
    ledger.append(run.user_id(Id::new("jane").unwrap())).unwrap();
    // A segment of nothing but open runs would stay.
    ledger.append(Run::new("other", "mail", Status::Skipped).unwrap()).unwrap();
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    let (cleaner, is_done) = (ledger.clone(), AtomicBool::new(false));
    storage.set(move |operation, path| {
        if operation == "open" && is_draft(path) && !is_done.swap(true, Ordering::Relaxed) {
            let runs = Cleanup::older_than(DAY).kind(Kind::Run);
            let report = cleaner.cleanup(&runs, false).unwrap();
            assert_eq!(report.carried, 1, "{report:?}");
        }
    });
    let report = ledger.erase(&of_user("jane")).unwrap();
    assert_eq!((ledger.query().history(true).count().unwrap(), report.total()), (0, 1));
}

/// The records that tell which runs are a user's went first. Whoever repeated an erasure that broke
/// off after that was told that all was well, and the events, errors, pins and other states of
/// those runs stayed for good.
#[test]
fn an_erasure_that_broke_off_anywhere_is_gone_on_with() {
    let disk = SimDisk::new(7);
    let ledger = options(&disk).open(DIR).unwrap();
    let state = |run: &'static str, status, user: &'static str| {
        let run = Run::new(run, "mail", status).unwrap();
        ledger.append(if user.is_empty() { run } else { run.user_id(Id::new(user).unwrap()) })
    };
    // Each run has a state that names her and one that does not, the one before the other or after.
    state("r-1", Status::Running, "jane").unwrap();
    state("r-2", Status::Running, "").unwrap();
    ledger.append(Event::new("sent").run_id(Id::new("r-1").unwrap())).unwrap();
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    state("r-1", Status::Success, "joe").unwrap();
    state("r-2", Status::Success, "jane").unwrap();
    ledger.append(ErrorRecord::new("E", "m").run_id(Id::new("r-2").unwrap())).unwrap();
    ledger.pin("r-1", "evidence").unwrap();
    let other = state("other", Status::Success, "joe").unwrap();
    ledger.close().unwrap();
    drop(ledger);
    let mut failed = 0;
    for number in 0.. {
        let disk = disk.fork();
        let ledger = options(&disk).open(DIR).unwrap();
        let first = disk.operations();
        disk.set_faults(move |op| (op.number == first + number).then_some(Fault::Io));
        let outcome = ledger.erase(&of_user("jane"));
        let is_over = disk.operations() <= first + number;
        disk.clear_hooks();
        drop(ledger);
        failed += u32::from(outcome.is_err());
        let ledger = options(&disk).open(DIR).unwrap();
        ledger.erase(&of_user("jane")).unwrap();
        let left = all(ledger.query().history(true));
        let seqs: Vec<_> = left.iter().map(|it| it.seq).collect();
        assert_eq!(seqs, [other], "operation {number}: {outcome:?}");
        assert_eq!(ledger.reader().pins().unwrap().len(), 0, "operation {number}: {outcome:?}");
        ledger.close().unwrap();
        assert!(!verify(DIR, disk.storage()).unwrap().is_damaged(), "operation {number}");
        if is_over {
            assert!(failed > 30 && outcome.is_ok(), "{failed} {outcome:?}");
            break;
        }
    }
}

/// A record that was appended while others were erased lies in a segment that is still written,
/// which was called damaged.
#[test]
fn what_is_appended_beside_an_erasure_goes_too() {
    let disk = SimDisk::new(8);
    let storage = Hooked::new(disk.storage());
    let ledger = options(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    ledger.append(Event::new("seen").user_id(Id::new("jane").unwrap())).unwrap();
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    let beside = ledger.clone();
    once_read(&storage, "events", move || {
        let error = ErrorRecord::new("E", "it failed").user_id(Id::new("jane").unwrap());
        beside.append(error).unwrap();
    });
    assert_eq!(ledger.erase(&of_user("jane")).unwrap().records, [0, 1, 1]);
    assert_eq!(ledger.query().count().unwrap(), 0);
}

/// Who writes on as fast as it is erased is told so.
#[test]
fn an_erasure_does_not_go_on_for_ever() {
    let disk = SimDisk::new(9);
    let storage = Hooked::new(disk.storage());
    let ledger = options(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    let append = |ledger: &Ledger| {
        ledger.append(Event::new("seen").user_id(Id::new("jane").unwrap())).unwrap();
    };
    append(&ledger);
    let (beside, is_under_way) = (ledger.clone(), AtomicBool::new(false));
    storage.set(move |operation, path| {
        if operation == "open" && is_draft(path) && !is_under_way.swap(true, Ordering::Relaxed) {
            append(&beside);
            is_under_way.store(false, Ordering::Relaxed);
        }
    });
    let err = ledger.erase(&of_user("jane")).unwrap_err();
    assert!(err.to_string().contains("still being written"), "{err}");
    storage.set(|_, _| {});
    assert_eq!(ledger.erase(&of_user("jane")).unwrap().total(), 1);
}

/// What an erasure took before it broke off was never on record.
#[test]
fn what_was_erased_before_an_error_is_on_record() {
    let disk = SimDisk::new(10);
    let ledger = options(&disk).open(DIR).unwrap();
    let mut last = 0;
    for _ in 0..2 {
        let event = Event::new("seen").user_id(Id::new("jane").unwrap());
        last = ledger.append(event).unwrap();
        ledger.append(Event::new("other")).unwrap();
        disk.advance(DAY * 2);
        ledger.maintain().unwrap();
    }
    disk.set_faults(move |op| {
        let is_of_last = op.path.to_string_lossy().contains(&format!("{last:020}"));
        (is_of_last && is_draft(&op.path)).then_some(Fault::NoSpace)
    });
    let notes = || all(ledger.reader().audit().record_type("records.erased"));
    let erasure = of_user("jane").reason("she asked");
    assert!(matches!(ledger.erase(&erasure), Err(Error::NoSpace { .. })));
    let noted = notes();
    assert_eq!(noted.len(), 1);
    let Body::Event(note) = &noted[0].body else { panic!() };
    let payload = note.payload.as_ref().unwrap().as_str();
    assert!(payload.contains("\"events\":1") && payload.contains("she asked"), "{payload}");
    // Where nothing was taken, nothing is to be told.
    assert!(ledger.erase(&erasure).is_err());
    assert_eq!(notes().len(), 1);
    disk.clear_hooks();
    ledger.erase(&erasure).unwrap();
    assert_eq!(notes().len(), 2);
}

/// A segment that was set aside lies among the others, and was not counted with the copies in
/// `lost`.
#[test]
fn files_that_were_set_aside_are_told_of() {
    let disk = SimDisk::new(11);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(Event::new("seen")).unwrap();
    let segment = disk.files().into_iter().find(|it| it.to_string_lossy().contains("events/"));
    let segment = segment.unwrap();
    for ending in ["seg.unreadable", "seg.torn", "seg.tmp"] {
        let path = segment.with_extension(ending);
        disk.storage().open(&path, OpenMode::CreateNew).unwrap().write_at(b"seen", 0).unwrap();
    }
    assert_eq!(ledger.reader().plan_erasure(&of_user("jane")).unwrap().copies, 3);
    assert_eq!(ledger.erase(&of_user("jane")).unwrap().copies, 3);
}

/// The note on a run that never came names the last one that did, where an erasure did not look.
#[test]
fn an_erasure_takes_notes_on_what_was_missed_after_its_runs() {
    let disk = SimDisk::new(12);
    let ledger = options(&disk).open(DIR).unwrap();
    let minute = Duration::from_secs(60);
    for (user, run_type) in [("jane", "mail"), ("joe", "backup")] {
        ledger.expect_run(run_type, minute, minute).unwrap();
        let run = Run::new(format!("of-{user}"), run_type, Status::Success).unwrap();
        ledger.append(run.user_id(Id::new(user).unwrap())).unwrap();
    }
    disk.advance(minute * 3);
    ledger.maintain().unwrap();
    let missed = || all(ledger.reader().audit().record_type("run.missed")).len();
    assert_eq!(missed(), 2);
    assert_eq!(ledger.reader().plan_erasure(&of_user("jane")).unwrap().notes, 1);
    assert_eq!(ledger.erase(&of_user("jane")).unwrap().notes, 1);
    assert_eq!(missed(), 1);
    ledger.close().unwrap();
    for (path, bytes) in disk.content() {
        let found = bytes.windows(7).any(|window| window == b"of-jane");
        assert!(!found, "in {}", path.display());
    }
}

/// A copy that was made with a compacted segment and without those whose place it took, or with
/// both, opens with every record.
#[test]
fn a_copy_from_any_moment_of_a_compaction_is_whole() {
    let mut rng = Rng::new(13);
    let disk = SimDisk::new(13);
    let ledger = ledger(&mut rng, &disk, 3);
    ledger.sync().unwrap();
    let before = answers(ledger.reader());
    let copies = Arc::new(AtomicU64::new(0));
    let (counted, expected) = (Arc::clone(&copies), before.clone());
    disk.set_probe(move |moment| {
        if moment.op.kind < OpKind::CreateDir {
            return;
        }
        let copy = moment.kill();
        let reader = Reader::with_storage(DIR, copy.storage()).unwrap();
        same(&answers(&reader), &expected, &format!("before {:?}", moment.op));
        let ledger = options(&copy).open(DIR).unwrap();
        same(&answers(ledger.reader()), &expected, &format!("before {:?}", moment.op));
        drop(ledger);
        let report = verify(DIR, copy.storage()).unwrap();
        assert!(!report.is_damaged(), "before {:?}: {:?}", moment.op, report.findings);
        counted.fetch_add(1, Ordering::Relaxed);
    });
    ledger.compact(&Compaction::new()).unwrap();
    disk.clear_hooks();
    assert!(copies.load(Ordering::Relaxed) > 20);
    same(&answers(ledger.reader()), &before, "at the end");
}

#[test]
fn the_time_of_a_record_and_of_its_arrival_stay() {
    let disk = SimDisk::new(3);
    let ledger = options(&disk).open(DIR).unwrap();
    for second in 0..50 {
        disk.advance(Duration::from_secs(1));
        let time = Timestamp::from_nanos(1_000_000_000 * (50 - second));
        ledger.append(Event::new("step").created_at(time)).unwrap();
    }
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    let before = all(ledger.query());
    assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites.len(), 1);
    assert_eq!(all(ledger.query()), before);
    let by_time: Vec<_> = ledger.query().limit(50).fetch().unwrap().seqs().collect();
    assert_eq!(by_time, (1..=50).collect::<Vec<_>>(), "newest first, by their own times");
}

/// Retention dropped a segment that a compaction was reading, and whoever had asked for that got an
/// error that a file was not there: real power cuts met it, with a writer of three threads.
#[test]
fn what_is_dropped_while_it_is_compacted_is_no_error() {
    let mut rng = Rng::new(3);
    let disk = SimDisk::new(3);
    ledger(&mut rng, &disk, 4).close().unwrap();
    let hooked = Hooked::new(disk.storage());
    let ledger = options(&disk).storage(Arc::new(hooked.clone())).open(DIR).unwrap();
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let (cleaner, count) = (ledger.clone(), Arc::clone(&dropped));
    hooked.set(move |operation, path| {
        if operation == "open" && is_draft(path) && count.load(Ordering::Relaxed) == 0 {
            let all = Cleanup::older_than(DAY).kind(Kind::Event);
            let report = cleaner.cleanup(&all, false).unwrap();
            count.store(report.dropped().count() as u64, Ordering::Relaxed);
        }
    });
    let compaction = Compaction::new().kind(Kind::Event);
    assert_eq!(ledger.compact(&compaction).unwrap().rewrites, []);
    hooked.set(|_, _| {});
    assert!(dropped.load(Ordering::Relaxed) > 1);
    assert!(disk.files().iter().all(|path| !path.to_string_lossy().ends_with(".draft")));
    assert!(!verify(DIR, disk.storage()).unwrap().is_damaged());
}

/// The newest sealed segment was being written anew when a checkpoint was taken: the note of that
/// was made and the old segment still there. For ever after, `verify` called it removed.
#[test]
fn a_checkpoint_that_is_taken_during_a_rewrite_holds() {
    let disk = SimDisk::new(14);
    let ledger = options(&disk).open(DIR).unwrap();
    for user in 0..4 {
        ledger.append(Event::new("step").user_id(id("user", user % 2))).unwrap();
        disk.advance(DAY);
        ledger.maintain().unwrap();
    }
    let taken = Arc::new(Mutex::new(Vec::new()));
    let found = Arc::clone(&taken);
    disk.set_probe(move |moment| {
        let reader = Reader::with_storage(DIR, moment.kill().storage()).unwrap();
        found.lock().push(reader.checkpoint().unwrap());
    });
    assert_ne!(ledger.compact(&Compaction::new()).unwrap().rewrites, []);
    let erasure = Erasure::of(Field::User, id("user", 1)).unwrap();
    assert_eq!(ledger.erase(&erasure).unwrap().records, [0, 2, 0]);
    disk.clear_hooks();
    let taken = std::mem::take(&mut *taken.lock());
    assert!(taken.len() > 20, "{}", taken.len());
    for (step, checkpoint) in taken.iter().enumerate() {
        let report = verify_against(DIR, disk.storage(), checkpoint).unwrap();
        assert!(report.holds(), "step {step}: {:?}", report.findings);
    }
}

/// A compaction that a close had broken off left its draft, with records that an erasure may have
/// been about: after a clean close nobody looks for one.
#[test]
fn a_compaction_that_a_close_breaks_off_leaves_no_draft() {
    within_a_minute(|| {
        let mut rng = Rng::new(15);
        let disk = SimDisk::new(15);
        ledger(&mut rng, &disk, 4).close().unwrap();
        let hooked = Hooked::new(disk.storage());
        let ledger = options(&disk).storage(Arc::new(hooked.clone())).open(DIR).unwrap();
        let closing = Arc::new(Mutex::new(None));
        let (closer, begun) = (ledger.clone(), Arc::clone(&closing));
        hooked.set(move |operation, path| {
            if operation == "open" && is_draft(path) && begun.lock().is_none() {
                let closes = closer.clone();
                *begun.lock() = Some(std::thread::spawn(move || closes.close()));
                while closer.cleanup(&Cleanup::retention(), true).is_ok() {
                    std::thread::yield_now();
                }
            }
        });
        let outcome = ledger.compact(&Compaction::new());
        assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
        let closing = closing.lock().take().unwrap();
        closing.join().unwrap().unwrap();
        assert!(!disk.files().iter().any(|path| is_draft(path)), "{:?}", disk.files());
    });
}

/// The note of a compaction comes before the new segment gets its name. Where that failed, the note
/// was believed for ever: a checkpoint of later did not miss the segments that it tells of.
#[test]
fn a_note_of_what_never_came_about_excuses_nothing() {
    let disk = SimDisk::new(16);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(Event::new("step")).unwrap();
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    disk.set_faults(|op| (op.kind == OpKind::Rename).then_some(Fault::Io));
    ledger.compact(&Compaction::new()).unwrap_err();
    disk.clear_hooks();
    let checkpoint = ledger.checkpoint().unwrap();
    let disk = disk.kill();
    let is_of_events = |path: &PathBuf| path.to_string_lossy().contains("events/");
    let newest = disk.files().into_iter().rfind(is_of_events).unwrap();
    assert!(verify_against(DIR, disk.storage(), &checkpoint).unwrap().holds());
    disk.storage().remove(&newest).unwrap();
    let report = verify_against(DIR, disk.storage(), &checkpoint).unwrap();
    let found: Vec<_> = report.findings.iter().map(|it| &it.tampering).collect();
    assert_eq!(found, [&Tampering::Removed]);
}
