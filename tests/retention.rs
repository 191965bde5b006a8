//! Retention and clean-up on a disk whose clock the test sets: what goes, what stays and why.

use std::path::Path;
use std::time::Duration;

use runledger::{
    Cleanup, Durability, ErrorRecord, Event, Keep, Kind, Ledger, Order, Reader, Result, Run,
    Status, Timestamp,
};

use crate::dated::{DAY, DIR, START, open, options};
use torture::disk::SimDisk;

fn disk() -> SimDisk {
    crate::dated::disk(7)
}

/// Appends as many events as fill about two segments, spread over the next day.
fn fill(disk: &SimDisk, ledger: &Ledger) {
    for _ in 0..50 {
        disk.advance(DAY / 50);
        ledger.append(Event::new("tick").message("x".repeat(2_500))).unwrap();
    }
}

fn count(ledger: &Ledger, kind: Kind) -> u64 {
    ledger.query().kind(kind).count().unwrap()
}

fn statuses(ledger: &Ledger) -> Vec<(String, Status)> {
    let page = ledger.query().kind(Kind::Run).order(Order::Oldest).limit(1_000).fetch().unwrap();
    let run = |record: Result<runledger::Record<'_>>| match record.unwrap().body {
        runledger::Body::Run(run) => (run.run_id.to_string(), run.status),
        other => panic!("{other:?}"),
    };
    page.records().map(run).collect()
}

#[test]
fn events_go_after_their_days_and_the_segment_that_is_written_goes_too() {
    let disk = disk();
    let ledger = open(&disk);
    fill(&disk, &ledger);
    disk.advance(29 * DAY);
    ledger.maintain().unwrap();
    assert_eq!(count(&ledger, Kind::Event), 50, "none has been here for 30 days and its segment's");
    disk.advance(2 * DAY);
    ledger.maintain().unwrap();
    assert_eq!(count(&ledger, Kind::Event), 0);
    let notes = ledger.reader().audit().record_type("segment.dropped");
    assert!(notes.count().unwrap() >= 2);
    assert_eq!(ledger.reader().stats().unwrap().losses.dropped_segments, notes.count().unwrap());
    let next = ledger.append(Event::new("after")).unwrap();
    assert!(next > 50, "numbers of dropped records are not used again: {next}");
}

#[test]
fn each_kind_has_its_own_term() {
    let disk = disk();
    let ledger = open(&disk);
    ledger.append(Event::new("e")).unwrap();
    ledger.append(ErrorRecord::new("E", "m")).unwrap();
    ledger.append(Run::new("r", "t", Status::Skipped).unwrap()).unwrap();
    let mut left = Vec::new();
    for days in [29, 3, 60, 270, 5] {
        disk.advance(days * DAY);
        ledger.maintain().unwrap();
        left.push(ledger.query().count().unwrap());
    }
    assert_eq!(left, [3, 2, 1, 1, 0]);
}

#[test]
fn imported_history_is_kept_for_its_full_term() {
    let disk = disk();
    let ledger = open(&disk);
    let last_year = Timestamp::from_nanos(START).saturating_sub(400 * DAY);
    ledger.append(Event::new("old").created_at(last_year)).unwrap();
    ledger.append(Run::new("old", "t", Status::Skipped).unwrap().at(last_year)).unwrap();
    disk.advance(25 * DAY);
    ledger.maintain().unwrap();
    assert_eq!(ledger.query().count().unwrap(), 2, "it arrived 25 days ago");
    let report = ledger.cleanup(&Cleanup::older_than(300 * DAY), false).unwrap();
    assert_eq!(report.dropped_records(), 2, "but by its own time it is old");
    assert_eq!(ledger.query().count().unwrap(), 0);
}

#[test]
fn a_clean_up_by_days_keeps_whole_segments_with_a_younger_record_and_says_which() {
    let disk = disk();
    let ledger = open(&disk);
    fill(&disk, &ledger);
    let now = Timestamp::from_nanos(START).saturating_add(DAY);
    ledger.append(Event::new("from the future").created_at(now.saturating_add(90 * DAY))).unwrap();
    disk.advance(10 * DAY);
    let report = ledger.cleanup(&Cleanup::older_than(5 * DAY), true).unwrap();
    let kept: Vec<_> = report.segments.iter().filter_map(|plan| plan.kept_for).collect();
    assert!(matches!(kept.as_slice(), [Keep::Younger(time)] if *time > now), "{kept:?}");
    assert_eq!(count(&ledger, Kind::Event), 51, "a dry run drops nothing");
    let done = ledger.cleanup(&Cleanup::older_than(5 * DAY), false).unwrap();
    assert_eq!(done.dropped_records(), report.dropped_records());
    assert_eq!(count(&ledger, Kind::Event), 51 - done.dropped_records());
}

#[test]
fn open_runs_are_carried_forward_and_ended_ones_dropped() {
    let disk = disk();
    let ledger = open(&disk);
    for number in 0..20 {
        let id = format!("r{number:02}");
        ledger.append(Run::new(&*id, "t", Status::Running).unwrap()).unwrap();
        if number % 5 != 0 {
            ledger.append(Run::new(&*id, "t", Status::Cancelled).unwrap()).unwrap();
        }
    }
    disk.advance(400 * DAY);
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!(report.carried, 4);
    let open = ["r00", "r05", "r10", "r15"].map(|id| (id.to_owned(), Status::Running));
    assert_eq!(statuses(&ledger), open);
    let again = ledger.cleanup(&Cleanup::older_than(DAY), false).unwrap();
    assert_eq!(again.dropped().count(), 0, "nothing but open runs: {again:?}");
    // They go on as if nothing had happened, also after a reopening.
    ledger.close().unwrap();
    drop(ledger);
    let ledger = self::open(&disk);
    assert_eq!(statuses(&ledger), open);
    ledger.append(Run::new("r05", "t", Status::Success).unwrap()).unwrap();
    assert_eq!(statuses(&ledger)[1], ("r05".to_owned(), Status::Success));
}

/// Story: a run begins in one segment and ends in the next. The first holds a young record besides,
/// and is kept; dropping the second would make the run seem to be running again.
#[test]
fn a_segment_with_the_end_of_a_run_does_not_go_before_the_one_with_its_start() {
    let disk = disk();
    let ledger = open(&disk);
    let old = Timestamp::from_nanos(START).saturating_sub(100 * DAY);
    let filler = "x".repeat(1_500);
    let whole = |id: String| {
        let json = runledger::Json::from_value(&filler).unwrap();
        Run::new(id, "t", Status::Success).unwrap().at(old).metadata(json)
    };
    ledger.append(Run::new("a", "t", Status::Running).unwrap().at(old)).unwrap();
    ledger.append(Run::new("young", "t", Status::Success).unwrap()).unwrap();
    for number in 0..60 {
        ledger.append(whole(format!("f{number}"))).unwrap();
    }
    ledger.append(Run::new("a", "t", Status::Success).unwrap().at(old)).unwrap();
    assert!(ledger.reader().stats().unwrap().streams[0].segments > 1);
    let report = ledger.cleanup(&Cleanup::older_than(50 * DAY), false).unwrap();
    let kept: Vec<_> = report.segments.iter().filter_map(|plan| plan.kept_for).collect();
    assert!(kept.contains(&Keep::Supersedes), "{report:?}");
    ledger.close().unwrap();
    drop(ledger);
    let ledger = open(&disk);
    let a = statuses(&ledger).into_iter().find(|run| run.0 == "a");
    assert_eq!(a, Some(("a".to_owned(), Status::Success)));
}

/// What is asked of a ledger years later: when did this last work, and when did it last fail.
#[test]
fn the_newest_result_of_each_type_outlives_its_term() {
    let disk = disk();
    let ledger = open(&disk);
    let start = Timestamp::from_nanos(START);
    for number in 0..30 {
        let status = if number % 3 == 0 { Status::Failed } else { Status::Success };
        let name = if number < 20 { "backup" } else { "report" };
        let at = start.saturating_add(Duration::from_secs(number));
        let run = Run::new(format!("r{number:02}"), name, status).unwrap().at(at);
        ledger.append(run.created_at(at)).unwrap();
    }
    ledger.append(Run::new("skipped", "backup", Status::Skipped).unwrap()).unwrap();
    let expected = [
        ("r18".to_owned(), Status::Failed),
        ("r19".to_owned(), Status::Success),
        ("r27".to_owned(), Status::Failed),
        ("r29".to_owned(), Status::Success),
    ];
    for round in 0..3 {
        disk.advance(400 * DAY);
        ledger.maintain().unwrap();
        assert_eq!(statuses(&ledger), expected, "round {round}");
    }
    let stored = ledger.reader().run("r19").unwrap();
    let record = stored.record().unwrap();
    assert_eq!(record.body.created_at(), Some(start.saturating_add(Duration::from_secs(19))));
    let report = ledger.cleanup(&Cleanup::older_than(DAY), false).unwrap();
    assert_eq!(report.segments[0].kept_for, Some(Keep::LastResults), "{report:?}");
    // One that is newer takes its place, and the old one goes.
    ledger.append(Run::new("r99", "backup", Status::Success).unwrap()).unwrap();
    disk.advance(400 * DAY);
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!(report.results, 3, "{report:?}");
    let left: Vec<_> = statuses(&ledger).into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, ["r18", "r27", "r29", "r99"]);
    drop(ledger);
    assert_eq!(statuses(&self::open(&disk.kill())).len(), 4);
}

#[test]
fn the_cap_drops_the_oldest_segments_of_any_stream_and_no_more_than_it_must() {
    let disk = disk();
    let ledger = options(&disk).max_bytes(Some(400 << 10)).open(DIR).unwrap();
    for _ in 0..4 {
        fill(&disk, &ledger);
    }
    ledger.maintain().unwrap();
    let stats = ledger.reader().stats().unwrap();
    assert!(stats.allocated_bytes <= 400 << 10, "{}", stats.allocated_bytes);
    let left = count(&ledger, Kind::Event);
    assert!((50..200).contains(&left), "{left}");
    let newest = ledger.query().order(Order::SeqDescending).limit(1).fetch().unwrap();
    assert_eq!(newest.seqs().next(), Some(200), "the newest stay");
}

/// A clock that is set to 1970, back by an hour, or forward by ten years, and then right again.
#[test]
fn a_clock_that_jumps_drops_nothing_early_and_pins_nothing() {
    let hour = 3_600_000_000_000;
    for wrong in [0, START - hour, START + 3_650 * 24 * hour] {
        let disk = disk();
        let ledger = open(&disk);
        fill(&disk, &ledger);
        disk.set_now(wrong);
        fill(&disk, &ledger);
        ledger.maintain().unwrap();
        // Two days have passed.
        disk.set_now(START + 2 * 24 * hour);
        disk.advance(23 * DAY);
        ledger.append(Event::new("right again")).unwrap();
        ledger.maintain().unwrap();
        assert_eq!(count(&ledger, Kind::Event), 101, "{wrong}: nothing was here for 30 days");
        disk.advance(60 * DAY);
        ledger.maintain().unwrap();
        assert_eq!(count(&ledger, Kind::Event), 0, "{wrong}: all were");
        let jumps = ledger.reader().stats().unwrap().losses.clock_jumps;
        assert!(jumps > 0, "{wrong}: a jump is on record");
    }
}

#[test]
fn a_reader_keeps_what_it_holds_while_segments_are_dropped() {
    let disk = disk();
    let ledger = open(&disk);
    fill(&disk, &ledger);
    let reader = Reader::with_storage(Path::new(DIR), disk.storage()).unwrap();
    let page = reader.query().limit(1_000).fetch().unwrap();
    disk.advance(40 * DAY);
    ledger.append_with(Event::new("x"), Durability::Sync).unwrap();
    ledger.maintain().unwrap();
    assert_eq!(page.records().filter(Result::is_ok).count(), 50);
    reader.refresh().unwrap();
    assert_eq!(reader.query().count().unwrap(), 1);
}

/// The clock was set ten years ahead by mistake, records were appended, and the process started
/// again. What was there before was dropped at once: at its opening the ledger held the clock
/// against its newest record, which had that very time.
#[test]
fn a_clock_years_ahead_is_not_believed_for_its_own_records() {
    let disk = disk();
    let ledger = open(&disk);
    fill(&disk, &ledger);
    disk.set_now(disk.now_without_tick() + 3_650 * 86_400_000_000_000);
    ledger.append(Event::new("tock")).unwrap();
    ledger.close().unwrap();
    let ledger = open(&disk);
    ledger.maintain().unwrap();
    assert_eq!(count(&ledger, Kind::Event), 51);
    // A clock that stays there was set right: it is believed after a day.
    disk.advance(2 * DAY);
    ledger.maintain().unwrap();
    ledger.append(Event::new("tock")).unwrap();
    disk.advance(2 * DAY);
    ledger.maintain().unwrap();
    assert_eq!(ledger.query().record_type("tick").count().unwrap(), 0);
}
