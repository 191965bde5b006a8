//! Clean-up and retention against appends, crashes and damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runledger::format::trailer::TRAILER_BYTES;
use runledger::storage::OpenMode;
use runledger::{
    Body, Class, Cleanup, Compaction, Damage, Error, ErrorRecord, Event, Json, Kind, Ledger,
    Limits, Options, Reader, Run, Status, Timestamp, verify,
};

use super::hooked::Hooked;
use super::{DIR, options};
use torture::disk::{Cut, Fault, Keep, KeepNames, Op, OpKind, SimDisk};

const HOUR: Duration = Duration::from_secs(3600);

fn run(id: &str, status: Status) -> Run<'static> {
    Run::new(id.to_owned(), "t", status).unwrap()
}

fn event(time: i64) -> Event<'static> {
    Event::new("t").created_at(Timestamp::from_nanos(time))
}

/// Runs expire after an hour.
fn short(disk: &SimDisk) -> Options {
    options(disk).retention(Kind::Run, Some(HOUR)).retention(Kind::Event, Some(HOUR))
}

fn notes(reader: &Reader, name: &str) -> u64 {
    reader.audit().record_type(name).count().unwrap()
}

/// True of an operation that writes to the ledger's notes.
fn is_note(op: &Op) -> bool {
    op.kind == OpKind::Write && op.path.to_string_lossy().contains("audit")
}

/// The files of a stream, in order.
fn segments(disk: &SimDisk, stream: &str) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains(stream);
    disk.files().into_iter().filter(is_segment).collect()
}

/// Clean-up looked at the open segment, found it expired, and dropped it together with what was
/// appended and acknowledged between the look and the drop.
#[test]
fn what_is_appended_during_a_clean_up_is_kept() {
    let disk = SimDisk::new(1);
    let storage = Hooked::new(disk.storage());
    let ledger = options(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    let (writer, done) = (ledger.clone(), AtomicBool::new(false));
    storage.set(move |operation, path| {
        if operation == "list" && path.ends_with("events") && !done.swap(true, Ordering::SeqCst) {
            writer.append(event(i64::MAX)).unwrap();
        }
    });
    let report = ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap();
    assert_eq!(report.dropped().count(), 0);
    assert_eq!(ledger.query().since(Timestamp::from_nanos(2)).count().unwrap(), 1);
}

/// The segment with a run's end needed no carrying and was dropped first; the one with the run's
/// beginning held another run that had to be carried, and waited. A crash, or a full disk, in
/// between left the beginning alone: the run was running again.
#[test]
fn a_run_s_end_is_not_dropped_before_its_beginning() {
    let disk = SimDisk::new(2);
    let storage = Hooked::new(disk.storage());
    let ledger = short(&disk).segment_age(Duration::ZERO).storage(Arc::new(storage.clone()));
    let ledger = ledger.open(DIR).unwrap();
    let begun = [Body::Run(run("a", Status::Running)), Body::Run(run("b", Status::Running))];
    ledger.append_batch(&begun, runledger::Durability::Os).unwrap();
    ledger.append(run("b", Status::Cancelled)).unwrap();
    disk.advance(2 * HOUR);
    let removed = Arc::new(Mutex::new(Vec::new()));
    let order = Arc::clone(&removed);
    storage.set(move |operation, path| {
        if operation == "remove" {
            order.lock().push(path.to_owned());
        }
    });
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!((report.dropped().count(), report.carried), (2, 1));
    assert!(removed.lock().is_sorted(), "{:?}", removed.lock());
    assert_eq!(ledger.query().run("a").status(Status::Running).count().unwrap(), 1);
}

/// The segment with the beginning of a run stayed, as something was appended to it while it was
/// looked at. The one with the run's end, in another stream, went all the same, and the run was
/// open again.
#[test]
fn an_end_stays_with_a_beginning_that_was_appended_to_meanwhile() {
    for appended in [Status::Skipped, Status::Running] {
        let disk = SimDisk::new(10);
        let storage = Hooked::new(disk.storage());
        let open = || {
            let options = options(&disk).storage(Arc::new(storage.clone()));
            options.class(Class::status(Status::Cancelled), Limits::new()).open(DIR).unwrap()
        };
        let ledger = open();
        let at = Timestamp::from_nanos;
        ledger.append(run("a", Status::Running).at(at(1))).unwrap();
        ledger.append(run("a", Status::Cancelled).at(at(2))).unwrap();
        // Listed for what the directory takes, and then for the plan, behind `runs`.
        let (writer, looks) = (ledger.clone(), AtomicUsize::new(0));
        storage.set(move |operation, path| {
            let is_listed = operation == "list" && path.ends_with("runs.cancelled");
            if is_listed && looks.fetch_add(1, Ordering::SeqCst) == 1 {
                writer.append(run("b", appended)).unwrap();
            }
        });
        let report = ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap();
        storage.set(|_, _| {});
        ledger.close().unwrap();
        let ledger = open();
        assert_eq!(ledger.query().run("a").status(Status::Running).count().unwrap(), 0);
        let kept: Vec<_> = report.segments.iter().map(|plan| plan.kept_for).collect();
        assert_eq!(kept, [runledger::Keep::Appended, runledger::Keep::Supersedes].map(Some));
    }
}

/// Does this once, before a clean-up carries runs forward: the clock is looked at twice, for the
/// plan, and for the append that carries.
fn before_it_carries(storage: &Hooked, act: impl Fn() + Send + Sync + 'static) {
    let looks = Mutex::new(0);
    storage.set(move |operation, _| {
        let due = operation == "now" && {
            *looks.lock() += 1;
            *looks.lock() == 2
        };
        if due {
            act();
        }
    });
}

/// A run that was still open was carried forward as it had been read, over a state that was
/// appended meanwhile: what that had set was undone.
#[test]
fn carrying_forward_undoes_no_newer_state() {
    let disk = SimDisk::new(3);
    let storage = Hooked::new(disk.storage());
    let ledger = short(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    let json = |text: &str| Json::parse(text.to_owned()).unwrap();
    ledger.append(run("a", Status::Running).metadata(json("1"))).unwrap();
    ledger.append(run("b", Status::Skipped)).unwrap();
    disk.advance(2 * HOUR);
    let writer = ledger.clone();
    before_it_carries(&storage, move || {
        writer.append(run("a", Status::Running).metadata(json("2"))).unwrap();
    });
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
    let stored = ledger.reader().run("a").unwrap();
    let Body::Run(state) = stored.record().unwrap().body else { panic!("a run") };
    assert_eq!(state.metadata.unwrap().as_str(), "2");
}

/// A run that was still open was to be carried forward, failed, and was to be tried again: what was
/// carried counted as a state of the new attempt, which ran before it had begun.
#[test]
fn carrying_forward_moves_no_later_attempt() {
    let disk = SimDisk::new(11);
    let storage = Hooked::new(disk.storage());
    let ledger = short(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("b", Status::Skipped)).unwrap();
    disk.advance(2 * HOUR);
    let writer = ledger.clone();
    before_it_carries(&storage, move || {
        writer.append(run("a", Status::Failed)).unwrap();
        writer.append(run("a", Status::Pending).attempt(2_u32)).unwrap();
    });
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
    storage.set(|_, _| {});
    assert_eq!(ledger.query().run("a").status(Status::Pending).count().unwrap(), 1);
}

/// Makes a sealed segment of a stream whose first frame is damaged.
fn damage_first_frame(disk: &SimDisk, ledger: Ledger, stream: &str) {
    disk.advance(48 * HOUR);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    let path = segments(disk, stream).remove(0);
    let mut bytes = disk.peek(&path);
    let frame = bytes.windows(4).position(|window| window == b"\xf7RLf").unwrap();
    bytes[frame + 45] ^= 1;
    disk.poke(&path, bytes);
}

/// A damaged record of an open run could not be carried forward, so its segment was never dropped,
/// nor any after it: the disk filled up.
#[test]
fn damage_does_not_stop_retention() {
    let disk = SimDisk::new(4);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("b", Status::Success)).unwrap();
    ledger.append(run("c", Status::Skipped)).unwrap();
    damage_first_frame(&disk, ledger, "runs");
    let ledger = short(&disk).open(DIR).unwrap();
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!((report.dropped().count(), report.carried, report.results), (1, 0, 1));
    assert_eq!(notes(ledger.reader(), "run.lost"), 1);
}

/// Appends of a run whose newest record was damaged were refused for ever, and a query for the run
/// found nothing and said nothing.
#[test]
fn a_damaged_record_is_told_and_does_not_stop_its_run() {
    let disk = SimDisk::new(5);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    damage_first_frame(&disk, ledger, "runs");
    let ledger = options(&disk).open(DIR).unwrap();
    let page = ledger.query().run("a").fetch().unwrap();
    assert!(matches!(page.records().next(), Some(Err(Error::Damaged { .. }))));
    ledger.append(run("a", Status::Success)).unwrap();
    let page = ledger.query().run("a").fetch().unwrap();
    let states: Vec<_> = page.records().map(|record| record.unwrap().body).collect();
    assert!(matches!(&states[..], [Body::Run(state)] if state.status == Status::Success));
}

/// After a crash the notes on dropped segments are read; one that was damaged kept the ledger from
/// opening.
#[test]
fn a_damaged_note_does_not_keep_the_ledger_from_opening() {
    let disk = SimDisk::new(6);
    let ledger = short(&disk).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    disk.advance(2 * HOUR);
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
    damage_first_frame(&disk, ledger, "audit");
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    let disk = disk.kill();
    let ledger = options(&disk).open(DIR).unwrap();
    assert_eq!(ledger.reader().stats().unwrap().losses.dropped_segments, 1);
}

/// On a full disk the note on a dropped segment was left out for good.
#[test]
fn a_note_without_space_is_written_later() {
    let disk = SimDisk::new(7);
    let ledger = short(&disk).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    disk.advance(2 * HOUR);
    disk.set_faults(|op| is_note(op).then_some(Fault::NoSpace));
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!((report.dropped().count(), notes(ledger.reader(), "segment.dropped")), (1, 0));
    disk.clear_hooks();
    ledger.close().unwrap();
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    assert_eq!(notes(&reader, "segment.dropped"), 1);
}

/// The space for the note was that of the segment which it is about. What was written after all was
/// nowhere but in the kernel when the clean-up was done, and a power cut took it.
#[test]
fn a_note_that_was_written_late_outlives_a_power_cut() {
    let disk = SimDisk::new(13);
    let ledger = short(&disk).reserve_bytes(0).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    disk.advance(2 * HOUR);
    let mut is_first = true;
    disk.set_faults(move |op| {
        let is_refused = is_note(op) && std::mem::take(&mut is_first);
        is_refused.then_some(Fault::NoSpace)
    });
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!((report.dropped().count(), notes(ledger.reader(), "segment.dropped")), (1, 1));
    disk.clear_hooks();
    let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 0 };
    disk.lose_power(nothing, || drop(ledger));
    let ledger = options(&disk).open(DIR).unwrap();
    assert_eq!(ledger.query().count().unwrap(), 0);
    assert_eq!(notes(ledger.reader(), "segment.dropped"), 1);
}

/// An opening that failed halfway, before it had removed again what a crash had brought back,
/// closed the ledger as if all were well; the next opening left the records where they were.
#[test]
fn a_failed_opening_is_no_clean_close() {
    let disk = SimDisk::new(8);
    let storage = Hooked::new(disk.storage());
    let ledger = short(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    disk.advance(2 * HOUR);
    let crashed = Arc::new(Mutex::new(None));
    let (at_remove, live) = (Arc::clone(&crashed), disk.clone());
    storage.set(move |operation, _| {
        if operation == "remove" {
            *at_remove.lock() = Some(live.fork());
        }
    });
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
    let disk = crashed.lock().take().unwrap();
    disk.set_faults(|op| (op.kind == OpKind::Remove).then_some(Fault::Io));
    assert!(options(&disk).open(DIR).is_err());
    disk.clear_hooks();
    let ledger = options(&disk).open(DIR).unwrap();
    assert_eq!(ledger.query().count().unwrap(), 0);
}

/// A segment that was begun while the clock was years ahead never grew old, and everything that
/// was appended to it afterwards stayed with it.
#[test]
fn a_segment_from_the_future_grows_old() {
    let disk = SimDisk::new(9);
    let ledger = options(&disk).open(DIR).unwrap();
    let now = 1_795_000_000_000_000_000;
    disk.set_now(now * 2);
    ledger.append(event(1)).unwrap();
    disk.set_now(now);
    ledger.append(event(1)).unwrap();
    assert_eq!(segments(&disk, "events").len(), 2);
}

/// A segment tells when its first and its last record arrived. Between the two the clock was set
/// back, and what came before that expired with what came after it.
#[test]
fn what_came_before_a_clock_was_set_back_does_not_expire_early() {
    const NOW: i64 = 1_795_000_000_000_000_000;
    let hours = |hours: i64| NOW + hours * 3_600_000_000_000;
    for is_first in [true, false] {
        let disk = SimDisk::new(14);
        disk.set_now(hours(-2));
        let ledger = short(&disk).open(DIR).unwrap();
        if !is_first {
            ledger.append(Event::new("old")).unwrap();
        }
        disk.set_now(hours(0));
        ledger.append(Event::new("young")).unwrap();
        disk.set_now(hours(-1));
        ledger.append(Event::new("other")).unwrap();
        disk.set_now(hours(0));
        disk.advance(HOUR / 60);
        ledger.maintain().unwrap();
        let young = || ledger.query().record_type("young").count().unwrap();
        assert_eq!(young(), 1, "after a minute, {is_first}");
        disk.advance(HOUR);
        ledger.maintain().unwrap();
        assert_eq!(young(), 0, "after an hour, {is_first}");
    }
}

/// Small segments were merged over a clock that had been set back: the times of the whole were
/// those of the first and the last of them, and what came between expired early.
#[test]
fn a_compaction_hides_no_clock_that_was_set_back() {
    const NOW: i64 = 1_795_000_000_000_000_000;
    let disk = SimDisk::new(15);
    let days = HOUR * 24;
    disk.set_now(NOW - 15 * 3_600_000_000_000);
    let options = options(&disk).segment_age(HOUR).retention(Kind::Event, Some(32 * days));
    let ledger = options.open(DIR).unwrap();
    for hours in [-15, 0, -18] {
        disk.set_now(NOW + hours * 3_600_000_000_000);
        ledger.append(Event::new("e")).unwrap();
        disk.advance(2 * HOUR);
        ledger.maintain().unwrap();
    }
    ledger.compact(&Compaction::new()).unwrap();
    disk.advance(16 * HOUR + 32 * days - HOUR);
    ledger.maintain().unwrap();
    let left = |ledger: &Ledger| ledger.query().since(Timestamp::from_nanos(NOW)).count().unwrap();
    assert_eq!(left(&ledger), 1, "it is not 32 days old");
    disk.advance(2 * HOUR);
    ledger.maintain().unwrap();
    assert_eq!(left(&ledger), 0);
}

/// What is pinned took more than the cap alone. All else was dropped in each round, for nothing:
/// the ledger kept no record of the minute.
#[test]
fn a_cap_that_cannot_be_met_leaves_the_newest_records() {
    const CAP: u64 = 2 << 20;
    let disk = SimDisk::new(16);
    let ledger = options(&disk).max_bytes(Some(CAP)).open(DIR).unwrap();
    let large = Json::from_value(&"x".repeat(3 << 20)).unwrap();
    ledger.append(run("held", Status::Skipped).metadata(large)).unwrap();
    ledger.pin("held", "evidence").unwrap();
    for n in 0..2000 {
        ledger.append(event(n).message("x".repeat(1000))).unwrap();
        if n % 100 == 99 {
            ledger.maintain().unwrap();
            let newest = ledger.query().kind(Kind::Event).since(Timestamp::from_nanos(n));
            assert_eq!(newest.count().unwrap(), 1, "{n}");
            assert!(ledger.reader().stats().unwrap().allocated_bytes < (3 << 20) + CAP);
        }
    }
    assert_eq!(ledger.query().run("held").count().unwrap(), 1);
}

/// Copies of torn tails count towards the cap on the disk; with more of them than the cap allows,
/// every record was dropped for them, again and again. And a segment as large as the cap was
/// dropped whole, with all that there was, as soon as it was full.
#[test]
fn a_cap_on_the_disk_leaves_the_newest_records() {
    const CAP: u64 = 2 << 20;
    let disk = SimDisk::new(10);
    let capped = || options(&disk).max_bytes(Some(CAP));
    let ledger = capped().open(DIR).unwrap();
    for n in 0..3000 {
        ledger.append(event(n).message("x".repeat(1000))).unwrap();
        if n % 100 == 99 {
            ledger.maintain().unwrap();
            let left = ledger.query().count().unwrap();
            assert!(left >= 500.min(n.cast_unsigned()), "{left} of {n}");
            assert!(ledger.reader().stats().unwrap().allocated_bytes <= CAP);
        }
    }
    drop(ledger);
    let copy = Path::new(DIR).join("lost/runs-1.bin");
    disk.storage().create_dir_all(copy.parent().unwrap()).unwrap();
    disk.storage().open(&copy, OpenMode::CreateNew).unwrap().allocate(2 * CAP).unwrap();
    let ledger = capped().open(DIR).unwrap();
    ledger.maintain().unwrap();
    assert!(ledger.query().count().unwrap() >= 500);
    assert_eq!(notes(ledger.reader(), "copies.dropped"), 1);
}

/// Copies that went to keep to the cap were removed before that was on record: a crash in between
/// left no word of them. And files that recovery had set aside among the segments were no copies to
/// the cap, so that records went in their place.
#[test]
fn copies_go_for_the_cap_when_that_is_on_record() {
    const CAP: u64 = 2 << 20;
    let disk = SimDisk::new(12);
    let capped = || options(&disk).max_bytes(Some(CAP));
    capped().open(DIR).unwrap().append(event(1)).unwrap();
    let copies = ["lost/runs-1.bin", "streams/events/00000000000000000007.torn"];
    let copies = copies.map(|name| Path::new(DIR).join(name));
    for copy in &copies {
        disk.storage().create_dir_all(copy.parent().unwrap()).unwrap();
        disk.storage().open(copy, OpenMode::CreateNew).unwrap().allocate(2 * CAP).unwrap();
    }
    let ledger = capped().open(DIR).unwrap();
    let seen = Arc::new(Mutex::new(0));
    disk.set_probe({
        let (seen, copies) = (Arc::clone(&seen), copies.clone());
        move |moment| {
            if moment.op.kind != OpKind::Remove || !copies.contains(&moment.op.path) {
                return;
            }
            let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 0 };
            for image in [moment.kill(), moment.cut(nothing)] {
                let reader = Reader::with_storage(DIR, image.storage()).unwrap();
                assert_eq!(notes(&reader, "copies.dropped"), 1);
                *seen.lock() += 1;
            }
        }
    });
    ledger.maintain().unwrap();
    disk.clear_hooks();
    assert_eq!(*seen.lock(), 4);
    assert!(!copies.iter().any(|copy| disk.files().contains(copy)));
    assert_eq!(ledger.query().count().unwrap(), 1);
}

/// A dry run knew nothing of the copies that go for the cap, and would have dropped records for
/// those among the segments. The clean-up itself did not tell of them either.
#[test]
fn a_dry_run_tells_of_the_copies_that_go_for_the_cap() {
    const CAP: u64 = 2 << 20;
    for name in ["lost/runs-1.bin", "streams/events/00000000000000000007.torn"] {
        let disk = SimDisk::new(17);
        let capped = || options(&disk).max_bytes(Some(CAP)).open(DIR).unwrap();
        capped().append(event(1)).unwrap();
        let copy = Path::new(DIR).join(name);
        disk.storage().create_dir_all(copy.parent().unwrap()).unwrap();
        disk.storage().open(&copy, OpenMode::CreateNew).unwrap().allocate(2 * CAP).unwrap();
        let ledger = capped();
        let told = |is_dry: bool| {
            let report = ledger.cleanup(&Cleanup::retention(), is_dry).unwrap();
            (report.dropped().count(), report.copies.files, report.copies.bytes)
        };
        let planned = told(true);
        assert_eq!(planned, told(false), "{name}");
        assert_eq!(planned, (0, 1, 2 * CAP), "{name}");
        assert!(!disk.files().contains(&copy));
    }
}

/// A machine that started with its clock years ahead dropped all of its records a minute later.
#[test]
fn a_clock_that_starts_years_ahead_drops_nothing() {
    let disk = SimDisk::new(11);
    let now = 1_795_000_000_000_000_000;
    disk.set_now(now);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    ledger.append(run("a", Status::Cancelled)).unwrap();
    ledger.close().unwrap();
    drop(ledger);
    disk.set_now(now + now / 5);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.maintain().unwrap();
    disk.advance(2 * HOUR);
    ledger.append(event(2)).unwrap();
    ledger.maintain().unwrap();
    assert_eq!(ledger.query().count().unwrap(), 3);
    // A clock that stays there for a day is right after all.
    disk.advance(30 * HOUR);
    ledger.maintain().unwrap();
    assert_eq!(ledger.query().count().unwrap(), 1);
}

/// A segment expired that was full and not sealed yet. It was sealed when its note was made, which
/// told no hash of it, and the next one named it: `verify` called that damage.
#[test]
fn nothing_is_sealed_onto_a_segment_that_is_just_dropped() {
    let disk = SimDisk::new(9);
    let storage = Hooked::new(disk.storage());
    let options = short(&disk).segment_bytes(64 << 10).storage(Arc::new(storage.clone()));
    let ledger = options.open(DIR).unwrap();
    let fill = |segments| {
        for _ in 0..segments {
            ledger.append(Event::new("t").message("x".repeat(40_000))).unwrap();
        }
    };
    fill(1);
    let first = segments(&disk, "events").remove(0);
    let full = first.clone();
    disk.set_faults(move |op| {
        (op.kind == OpKind::Write && op.path == full).then_some(Fault::NoSpace)
    });
    disk.advance(HOUR * 2);
    fill(2);
    let (writer, free, is_noted) = (ledger.clone(), disk.clone(), AtomicBool::new(false));
    storage.set(move |operation, path| {
        let is_note =
            operation == "sync" && path.parent().is_some_and(|dir| dir.ends_with("audit"));
        if is_note && !is_noted.swap(true, Ordering::SeqCst) {
            // There is room for footers again, and the next segment that is full has all sealed.
            free.clear_hooks();
            for _ in 0..2 {
                writer.append(ErrorRecord::new("t", "x".repeat(40_000))).unwrap();
            }
        }
    });
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!(report.dropped().count(), 1);
    assert!(!disk.files().contains(&first));
    storage.set(|_, _| {});
    ledger.close().unwrap();
    assert_eq!(verify(DIR, disk.storage()).unwrap().findings, []);
}

/// A segment that was dropped was put back, by hand or by a copy in which nothing is deleted. After
/// a crash the next opening removed it; after a clean close its records were served again, and
/// `verify` said nothing of it.
#[test]
fn a_dropped_segment_that_is_put_back_is_told() {
    let disk = SimDisk::new(16);
    let ledger = short(&disk).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    let path = segments(&disk, "events").remove(0);
    let bytes = disk.peek(&path);
    disk.advance(2 * HOUR);
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!(report.dropped().count(), 1);
    ledger.append(event(2)).unwrap();
    let killed = disk.fork().kill();
    ledger.close().unwrap();
    for (disk, stays) in [(killed, false), (disk, true)] {
        assert_eq!(verify(DIR, disk.storage()).unwrap().findings, []);
        let file = disk.storage().open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(&bytes, 0).unwrap();
        let report = verify(DIR, disk.storage()).unwrap();
        let [finding] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((&finding.path, finding.damage), (&path, Damage::Dropped));
        assert!(!finding.is_damage, "a clean-up that failed leaves the same");
        let ledger = options(&disk).open(DIR).unwrap();
        assert_eq!(ledger.query().count().unwrap(), 1 + u64::from(stays));
    }
}

/// Damages the footer of a segment: its index is made of the frames then, when it is asked for.
fn damage_footer(disk: &SimDisk, path: &Path) {
    let mut bytes = disk.peek(path);
    let at = bytes.len() - TRAILER_BYTES - 2;
    bytes[at] ^= 1;
    disk.poke(path, bytes);
}

/// With one segment that could not be read nothing was dropped any more, in any stream, and the
/// background said nothing of it: the disk filled up.
#[test]
fn a_segment_that_cannot_be_read_keeps_no_other_from_going() {
    let disk = SimDisk::new(18);
    let ledger = options(&disk).open(DIR).unwrap();
    for (id, status) in [("a", Status::Running), ("a", Status::Cancelled), ("b", Status::Skipped)] {
        ledger.append(run(id, status)).unwrap();
        disk.advance(48 * HOUR);
        ledger.maintain().unwrap();
    }
    ledger.close().unwrap();
    let first = segments(&disk, "runs").remove(0);
    damage_footer(&disk, &first);
    let ledger = short(&disk).open(DIR).unwrap();
    let unreadable = first.clone();
    disk.set_faults(move |op| {
        let is_read = matches!(op.kind, OpKind::Open | OpKind::Read | OpKind::Map);
        (is_read && op.path == unreadable).then_some(Fault::Io)
    });
    let kept = [Some(runledger::Keep::Unreadable), Some(runledger::Keep::Supersedes), None];
    for is_dry in [true, false] {
        let report = ledger.cleanup(&Cleanup::retention(), is_dry).unwrap();
        let found: Vec<_> = report.segments.iter().map(|plan| plan.kept_for).collect();
        assert_eq!(found, kept, "{report:?}");
    }
    assert_eq!(segments(&disk, "runs").len(), 2);
    let told = ledger.maintain().unwrap_err();
    assert!(matches!(&told, Error::Io { path, .. } if *path == first), "{told}");
    disk.clear_hooks();
    ledger.maintain().unwrap();
    assert_eq!(segments(&disk, "runs"), [] as [PathBuf; 0]);
}

/// An open run could not be read to be carried forward: its segment kept all that are dropped with
/// it, and those after it, for as long as that was so.
#[test]
fn an_open_run_that_cannot_be_read_keeps_its_segment_alone() {
    let disk = SimDisk::new(19);
    let ledger = short(&disk).class(Class::status(Status::Pending), Limits::new());
    let ledger = ledger.open(DIR).unwrap();
    for (id, status) in [
        ("b", Status::Pending),
        ("d", Status::Pending),
        ("a", Status::Running),
        ("d", Status::Cancelled),
    ] {
        ledger.append(run(id, status)).unwrap();
    }
    disk.advance(2 * HOUR);
    disk.set_faults(|op| {
        let is_of_runs = op.path.parent().is_some_and(|dir| dir.ends_with("runs"));
        (is_of_runs && op.kind == OpKind::Map).then_some(Fault::Io)
    });
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    let kept: Vec<_> = report.segments.iter().map(|plan| (plan.stream, plan.kept_for)).collect();
    let unreadable = ("runs", Some(runledger::Keep::Unreadable));
    assert!(kept.contains(&unreadable) && kept.contains(&("runs.pending", None)), "{report:?}");
    assert_eq!((report.dropped().count(), report.carried), (1, 1));
    disk.clear_hooks();
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!((report.dropped().count(), report.carried), (1, 1));
    for (id, status) in [("a", Status::Running), ("b", Status::Pending)] {
        assert_eq!(ledger.query().run(id).status(status).count().unwrap(), 1, "{id}");
    }
}

/// A run's end, which lay in another stream, was dropped a moment before what came before it: a
/// query between the two showed the run as it was before its end.
#[test]
fn a_query_beside_a_clean_up_shows_no_run_in_an_earlier_state() {
    let disk = SimDisk::new(20);
    let storage = Hooked::new(disk.storage());
    let ledger = options(&disk).class(Class::status(Status::Failed), Limits::new());
    let ledger = ledger.storage(Arc::new(storage.clone())).open(DIR).unwrap();
    let at = |run: Run<'static>, time| run.at(Timestamp::from_nanos(time));
    ledger.append(at(run("a", Status::Failed), 1)).unwrap();
    ledger.append(at(run("a", Status::Cancelled).attempt(2_u32), 2)).unwrap();
    let (asks, seen) = (ledger.clone(), Arc::new(Mutex::new(Vec::new())));
    let found = Arc::clone(&seen);
    storage.set(move |operation, _| {
        if operation == "remove" {
            let failed = asks.query().run("a").status(Status::Failed);
            found.lock().push(failed.count().unwrap());
        }
    });
    let report = ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap();
    storage.set(|_, _| {});
    assert_eq!(report.dropped().count(), 2);
    assert_eq!(*seen.lock(), [0, 0]);
}

/// Each note on a segment that is dropped was a frame of its own. When a crash came between two of
/// them, the next opening removed what was noted: of two segments that hold later states of each
/// other's runs, one. In the opening after that an earlier state of a run was its newest again.
#[test]
fn a_crash_during_a_clean_up_brings_no_earlier_state_back() {
    let disk = SimDisk::new(27);
    let split = |disk: &SimDisk| options(disk).class(Class::status(Status::Skipped), Limits::new());
    let storage = Hooked::new(disk.storage());
    let ledger = split(&disk).storage(Arc::new(storage.clone())).open(DIR).unwrap();
    let at = |run: Run<'static>, time| run.at(Timestamp::from_nanos(time));
    for (id, first, then) in
        [("a", Status::Skipped, Status::Cancelled), ("b", Status::Cancelled, Status::Skipped)]
    {
        ledger.append(at(run(id, first), 1)).unwrap();
        ledger.append(at(run(id, then).attempt(2_u32), 2)).unwrap();
    }
    let images = Arc::new(Mutex::new(Vec::new()));
    let (live, taken) = (disk.clone(), Arc::clone(&images));
    storage.set(move |_, _| taken.lock().push(live.fork().kill()));
    assert_eq!(ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap().dropped().count(), 2);
    storage.set(|_, _| {});
    let images = std::mem::take(&mut *images.lock());
    let mut seen = Vec::new();
    for (moment, image) in images.iter().enumerate() {
        split(image).open(DIR).unwrap().close().unwrap();
        let ledger = split(image).open(DIR).unwrap();
        let newest = |id, status| ledger.query().run(id).status(status).count().unwrap();
        let earlier = newest("a", Status::Skipped) + newest("b", Status::Cancelled);
        assert_eq!(earlier, 0, "after operation {moment} of {}", images.len());
        let later = newest("a", Status::Cancelled) + newest("b", Status::Skipped);
        seen.push(later);
    }
    seen.dedup();
    assert_eq!(seen, [2, 0], "both are there, and then none");
}

/// The disk refused a note on what was to be dropped. Nothing was, but the notes before it were on
/// record and it was owed itself. Or the clean-up tried again without end: the file that it could
/// not write, of another name with each try, was taken for one more segment that cannot be read.
#[test]
fn a_clean_up_that_cannot_be_noted_leaves_no_word_of_it() {
    let disk = SimDisk::new(29);
    let ledger = short(&disk).open(DIR).unwrap();
    ledger.append(event(1)).unwrap();
    ledger.append(run("a", Status::Cancelled).at(Timestamp::from_nanos(1))).unwrap();
    for refused in 0..3 {
        let mut writes = 0;
        disk.set_faults(move |op| {
            writes += u32::from(is_note(op));
            (is_note(op) && writes > refused).then_some(Fault::Io)
        });
        let cleaned = ledger.cleanup(&Cleanup::older_than(HOUR), false);
        disk.clear_hooks();
        // With one write more both notes are there.
        let Err(err) = cleaned else { break };
        assert!(matches!(err, Error::Io { .. }), "{err}");
        assert_eq!(notes(ledger.reader(), "segment.dropped"), 0, "after {refused} writes");
    }
    assert_eq!(notes(ledger.reader(), "segment.dropped"), 2);
    assert_eq!(ledger.query().count().unwrap(), 0);
}

/// One note was owed when the disk took that and refused the next: of what was not dropped then the
/// note was owed in its place.
#[test]
fn of_what_was_not_dropped_no_note_is_owed_beside_others() {
    for (full, taken) in (0..10).flat_map(|full| (0..4).map(move |taken| (full, taken))) {
        let disk = SimDisk::new(31);
        let ledger = short(&disk).reserve_bytes(0).open(DIR).unwrap();
        let refuse = |full: u32, taken: u32| {
            let mut writes = 0;
            disk.set_faults(move |op| {
                writes += u32::from(is_note(op));
                let fault = if writes <= full { Fault::NoSpace } else { Fault::Io };
                let is_taken = (full + 1..=full + taken).contains(&writes);
                (is_note(op) && !is_taken).then_some(fault)
            });
        };
        ledger.append(event(1)).unwrap();
        refuse(99, 0);
        ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap();
        ledger.append(event(2)).unwrap();
        refuse(full, taken);
        let cleaned = ledger.cleanup(&Cleanup::older_than(HOUR), false);
        disk.clear_hooks();
        let left = ledger.query().count().unwrap();
        assert!(left == 0 || cleaned.is_err());
        ledger.close().unwrap();
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        assert_eq!(notes(&reader, "segment.dropped"), 2 - left, "{full} refused, {taken} taken");
    }
}
