//! What outlives the records in sum: the same before a segment is dropped and after it, whatever
//! crash comes between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{
    Body, Class, Cleanup, Compaction, Erasure, ErrorRecord, Field, History, Id, Json, Kind, Ledger,
    Limits, Options, Order, Reader, Run, Status, Timestamp,
};

use super::hooked::Hooked;
use super::{DIR, options};
use torture::disk::{Cut, Keep, KeepNames, SimDisk};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: i64 = 24 * 3_600_000_000_000;
/// 2026-11-21.
const NOW: i64 = 1_795_219_200_000_000_000;

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_now(NOW);
    disk
}

/// Runs and errors expire after an hour; a segment takes about twenty records.
fn short(disk: &SimDisk) -> Options {
    let options = options(disk).segment_bytes(64 << 10).reserve_bytes(0);
    options.retention(Kind::Run, Some(HOUR)).retention(Kind::Error, Some(HOUR))
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(NOW + nanos)
}

fn padding() -> Json<'static> {
    Json::parse(format!("\"{}\"", "x".repeat(3000))).unwrap()
}

/// Three days of runs of three types, some of which take two appends, and of errors.
fn fill(ledger: &Ledger) {
    for number in 0..60_i64 {
        let status = match number % 7 {
            0 => Status::Failed,
            1 => Status::Skipped,
            _ => Status::Success,
        };
        let began = number * DAY / 20 - 5 * DAY;
        let name = ["backup", "report", "mail"][usize::try_from(number % 3).unwrap()];
        let id = format!("r{number:02}");
        let run = |status| Run::new(id.clone(), name, status).unwrap().metadata(padding());
        if number % 2 == 0 {
            ledger.append(run(Status::Running).at(time(began))).unwrap();
        }
        let end = run(status).created_at(time(began)).at(time(began + number * 1_000_000_007));
        ledger.append(end).unwrap();
        let error = ErrorRecord::new("Timeout", format!("no answer {}", "x".repeat(2000)));
        let error = if number % 5 == 0 { ErrorRecord::new("Disk", "full") } else { error };
        ledger.append(error.created_at(time(began))).unwrap();
    }
}

/// How many runs there are of each day, type and status.
type Runs = BTreeMap<(i64, String, Status), u64>;

/// How many errors there are of each type.
type Errors = BTreeMap<String, u64>;

/// What the history is to be: by reading every record that there is.
fn counted(reader: &Reader) -> (Runs, Errors) {
    let (mut runs, mut errors) = (Runs::new(), Errors::new());
    let page = reader.query().order(Order::Seq).limit(100_000).fetch().unwrap();
    for record in page.records() {
        match record.unwrap().body {
            Body::Run(run) if run.status.is_terminal() => {
                let day = run.created_at.unwrap().as_nanos().div_euclid(DAY);
                *runs.entry((day, run.run_type.to_string(), run.status)).or_default() += 1;
            }
            Body::Error(error) => {
                *errors.entry(error.error_type.to_string()).or_default() += 1;
            }
            _ => {}
        }
    }
    (runs, errors)
}

/// The same of the history.
fn told(history: &History) -> (Runs, Errors) {
    let runs = history
        .runs
        .iter()
        .map(|sum| ((sum.day.as_nanos() / DAY, sum.run_type.clone(), sum.status), sum.count));
    let errors = history.errors.iter().map(|sum| (sum.error_type.clone(), sum.count));
    (runs.collect(), errors.collect())
}

fn history(ledger: &Ledger) -> History {
    ledger.reader().history().unwrap()
}

fn expire(disk: &SimDisk, ledger: &Ledger) {
    disk.advance(50 * HOUR);
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
}

#[test]
fn the_history_is_what_reading_every_record_tells_and_stays_that() {
    let disk = disk(1);
    let ledger = short(&disk).open(DIR).unwrap();
    fill(&ledger);
    let before = history(&ledger);
    assert_eq!(told(&before), counted(ledger.reader()));
    let lengths = &before.runs.iter().find(|sum| sum.count > 1).unwrap().lengths;
    assert!(lengths.percentile(50).unwrap() <= lengths.longest().unwrap());
    ledger.close().unwrap();
    let ledger = short(&disk).open(DIR).unwrap();
    assert_eq!(history(&ledger), before, "from footers");
    ledger.compact(&Compaction::new()).unwrap();
    assert_eq!(history(&ledger), before, "of compacted segments");
    expire(&disk, &ledger);
    assert_eq!(ledger.query().kind(Kind::Error).count().unwrap(), 0);
    assert!(ledger.query().kind(Kind::Run).count().unwrap() <= 6, "the newest results");
    assert_eq!(history(&ledger), before, "of dropped segments and what was carried");
    ledger.append(Run::new("later", "backup", Status::Failed).unwrap()).unwrap();
    expire(&disk, &ledger);
    let after = history(&ledger);
    let count = |history: &History| history.runs.iter().map(|sum| sum.count).sum::<u64>();
    assert_eq!((count(&before), count(&after)), (60, 61));
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    assert_eq!(reader.history().unwrap(), after);
}

/// Runs whose states lie in two streams, and that go on in another segment, count once.
#[test]
fn runs_count_once_whatever_streams_and_segments_their_states_are_in() {
    let disk = disk(2);
    let split = || short(&disk).class(Class::status(Status::Failed), Limits::new().age(HOUR));
    let ledger = split().open(DIR).unwrap();
    fill(&ledger);
    let again = |status| Run::new("r07", "report", status).unwrap().attempt(2_u32);
    disk.advance(25 * HOUR);
    ledger.append(again(Status::Running)).unwrap();
    assert_eq!(told(&history(&ledger)), counted(ledger.reader()), "r07 runs again");
    ledger.append(again(Status::Success)).unwrap();
    let before = history(&ledger);
    assert_eq!(told(&before), counted(ledger.reader()));
    ledger.close().unwrap();
    let ledger = split().open(DIR).unwrap();
    expire(&disk, &ledger);
    assert_eq!(told(&history(&ledger)), told(&before));
}

/// Failed runs, which lie among others, all but the newest of each type: whichever way they go, the
/// history tells of them. Until it was written into the note of the rewrite what had gone, a
/// clean-up by status took 131 failed runs of a real ledger out of the history but for one.
#[test]
fn runs_that_are_taken_out_of_segments_that_stay_are_told_of_still() {
    let disk = disk(6);
    let ledger = short(&disk).open(DIR).unwrap();
    fill(&ledger);
    let before = history(&ledger);
    let failed = |ledger: &Ledger| ledger.query().status(Status::Failed).count().unwrap();
    assert!(failed(&ledger) >= 8);
    let cleanup = Cleanup::older_than(Duration::ZERO).status(Status::Failed);
    let report = ledger.cleanup(&cleanup, false).unwrap();
    assert!(report.rewritten().count() > 0, "some are mixed");
    assert!(failed(&ledger) <= 3, "the newest of each type");
    assert_eq!(told(&history(&ledger)), told(&before));
    ledger.compact(&Compaction::new()).unwrap();
    ledger.close().unwrap();
    let ledger = short(&disk).open(DIR).unwrap();
    assert_eq!(told(&history(&ledger)), told(&before), "what was rewritten is rewritten again");
    expire(&disk, &ledger);
    assert_eq!(told(&history(&ledger)), told(&before), "and dropped");
}

/// The same of runs and errors whose class was split off late and has a shorter term.
#[test]
fn records_of_a_late_class_are_told_of_once_they_were_taken_out() {
    let disk = disk(7);
    let ledger = options(&disk).segment_bytes(64 << 10).reserve_bytes(0).open(DIR).unwrap();
    fill(&ledger);
    let before = history(&ledger);
    ledger.close().unwrap();
    disk.advance(50 * HOUR);
    let split = options(&disk).segment_bytes(64 << 10).reserve_bytes(0);
    let split = split.class(Class::status(Status::Success), Limits::new().age(HOUR));
    let ledger = split.open(DIR).unwrap();
    let runs = |ledger: &Ledger| ledger.query().kind(Kind::Run).count().unwrap();
    let had = runs(&ledger);
    ledger.compact(&Compaction::new()).unwrap();
    assert!(runs(&ledger) < had, "compaction took some out");
    assert_eq!(told(&history(&ledger)), told(&before));
}

/// A follower had looked at the notes when a segment of a class was dropped, and looked for it
/// after that: it knew of neither the runs nor their sums.
#[test]
fn a_follower_counts_what_is_dropped_while_it_looks() {
    let disk = disk(8);
    let split = short(&disk).class(Class::status(Status::Failed), Limits::new().age(HOUR));
    let ledger = split.open(DIR).unwrap();
    fill(&ledger);
    let before = told(&history(&ledger));
    let storage = Hooked::new(disk.storage());
    let reader = Reader::with_storage(DIR, Arc::new(storage.clone())).unwrap();
    disk.advance(50 * HOUR);
    let done = AtomicBool::new(false);
    storage.set(move |operation, path| {
        let is_late = operation == "list" && path.ends_with("runs.failed");
        if is_late && !done.swap(true, Ordering::SeqCst) {
            let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
            assert!(report.dropped().any(|plan| plan.stream == "runs.failed"));
        }
    });
    reader.refresh().unwrap();
    assert_eq!(told(&reader.history().unwrap()), before);
}

/// A crash between the note and the removal, or a removed file that comes back.
#[test]
fn a_cut_at_any_step_of_a_clean_up_counts_nothing_twice_and_loses_nothing() {
    let by_status = Cleanup::older_than(Duration::ZERO).status(Status::Failed);
    cut_at_each_step(&Cleanup::retention());
    cut_at_each_step(&by_status);
}

fn cut_at_each_step(cleanup: &Cleanup) {
    let disk = disk(3);
    let ledger = short(&disk).open(DIR).unwrap();
    fill(&ledger);
    ledger.sync().unwrap();
    let before = told(&history(&ledger));
    disk.advance(50 * HOUR);
    let images = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&images);
    disk.set_probe(move |moment| {
        let mut images = seen.lock();
        let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 0 };
        images.push(moment.kill());
        images.push(moment.cut(nothing));
        let seed = images.len() as u64;
        images.push(moment.cut(Cut { files: Keep::Prefix, names: KeepNames::Prefix, seed }));
    });
    ledger.cleanup(cleanup, false).unwrap();
    disk.clear_hooks();
    let images = std::mem::take(&mut *images.lock());
    assert!(images.len() > 60, "{}", images.len());
    for (number, image) in images.into_iter().enumerate() {
        let ledger = short(&image).open(DIR).unwrap();
        assert_eq!(told(&history(&ledger)), before, "image {number}");
        // What a note says of a rewrite that a crash came before may be followed by another rewrite
        // of the segment, or by the end of it.
        if number % 2 == 0 {
            ledger.cleanup(cleanup, false).unwrap();
            assert_eq!(told(&history(&ledger)), before, "image {number}, cleaned up again");
        }
        expire(&image, &ledger);
        assert_eq!(told(&history(&ledger)), before, "image {number}, once it was cleaned up");
    }
}

/// Sums hold no id: what is left of a person is that there were so many runs.
#[test]
fn an_erasure_takes_what_is_there_out_of_the_history() {
    let disk = disk(4);
    let ledger = short(&disk).open(DIR).unwrap();
    fill(&ledger);
    let of_ada = Run::new("secret", "letter", Status::Success).unwrap();
    ledger.append(of_ada.user_id(Id::new("ada").unwrap())).unwrap();
    ledger.erase(&Erasure::of(Field::User, Id::new("ada").unwrap()).unwrap()).unwrap();
    assert!(history(&ledger).runs.iter().all(|sum| sum.run_type != "letter"));
    assert_eq!(told(&history(&ledger)), counted(ledger.reader()));
}

/// What outlives its records is small: a handful of bytes for a day of a type.
#[test]
fn the_note_of_a_segment_is_small() {
    let disk = disk(5);
    let ledger = short(&disk).open(DIR).unwrap();
    fill(&ledger);
    expire(&disk, &ledger);
    let page = ledger.reader().audit().record_type("segment.dropped").limit(99).fetch().unwrap();
    for note in page.records() {
        let Body::Event(event) = note.unwrap().body else { panic!("a note") };
        let bytes = event.payload.unwrap().as_str().len();
        assert!(bytes < 4096, "{bytes} bytes");
    }
}
