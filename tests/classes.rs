//! Retention classes: a kind split by status or severity, and the file that says so.

use std::path::Path;

use runledger::storage::OpenMode;
use runledger::{
    Body, Class, Cleanup, Compaction, Durability, Error, ErrorRecord, Event, Field, Forecast, Id,
    Json, Keep, Kind, Ledger, Limits, Options, Order, Reader, Result, Run, Severity, Status,
};

use crate::dated::{DAY, DIR, open, options};
use torture::disk::{Fault, OpKind, SimDisk};

fn disk() -> SimDisk {
    crate::dated::disk(3)
}

fn failed() -> Class {
    Class::status(Status::Failed)
}

fn run(id: &str, status: Status) -> Run<'static> {
    Run::new(id.to_owned(), "t", status).unwrap()
}

/// Writes the policy's file.
fn say(disk: &SimDisk, text: &str) {
    let path = Path::new(DIR).join("runledger.toml");
    let storage = disk.storage();
    storage.create_dir_all(Path::new(DIR)).unwrap();
    if storage.exists(&path).unwrap() {
        storage.remove(&path).unwrap();
    }
    storage.open(&path, OpenMode::CreateNew).unwrap().write_at(text.as_bytes(), 0).unwrap();
}

/// The streams that have segments, and how many records each holds.
fn streams(reader: &Reader) -> Vec<(&'static str, u64)> {
    let streams = reader.stats().unwrap().streams;
    let of_records = streams.into_iter().filter(|stream| stream.kind.is_some());
    of_records.filter(|it| it.segments > 0).map(|it| (it.name, it.records)).collect()
}

fn state(reader: &Reader, id: &str) -> Status {
    match reader.run(id).unwrap().record().unwrap().body {
        Body::Run(run) => run.status,
        other => panic!("{other:?}"),
    }
}

fn by_status(reader: &Reader) -> Vec<(String, u64)> {
    let mut counts = reader.query().kind(Kind::Run).count_by(Field::Status).unwrap();
    counts.sort();
    counts
}

fn notes(reader: &Reader, name: &str) -> u64 {
    reader.audit().record_type(name).count().unwrap()
}

#[test]
fn a_class_has_a_stream_of_its_own_and_its_runs_are_one_with_the_others() {
    let disk = disk();
    let critical = Class::severity(Kind::Error, Severity::Critical).unwrap();
    let open = || {
        let options = options(&disk).class(failed(), Limits::new().forever());
        options.class(critical, Limits::new()).open(DIR).unwrap()
    };
    let ledger = open();
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("b", Status::Running)).unwrap();
    ledger.append(run("a", Status::Failed)).unwrap();
    ledger.append(run("b", Status::Success)).unwrap();
    ledger.append(run("a", Status::Running).attempt(2u32)).unwrap();
    ledger.append(ErrorRecord::new("E", "bad").severity(Severity::Critical)).unwrap();
    ledger.append(ErrorRecord::new("E", "bad")).unwrap();
    let expected =
        [("runs", 4), ("errors", 1), ("runs.failed", 1), ("errors.critical", 1)].to_vec();
    let check = |reader: &Reader| {
        assert_eq!(streams(reader), expected);
        assert_eq!((state(reader, "a"), state(reader, "b")), (Status::Running, Status::Success));
        let one = |status: &str| (status.to_owned(), 1);
        assert_eq!(by_status(reader), [one("running"), one("success")]);
        assert_eq!(reader.query().history(true).run("a").count().unwrap(), 3);
        assert_eq!(reader.query().kind(Kind::Error).count().unwrap(), 2);
    };
    check(ledger.reader());
    check(&Reader::with_storage(DIR, disk.storage()).unwrap());
    // A run that has ended is known as such, whichever stream its end lies in.
    ledger.append(run("c", Status::Failed)).unwrap();
    let refused = ledger.append(run("c", Status::Success));
    assert!(matches!(refused, Err(Error::RunTransition { .. })), "{refused:?}");
    ledger.append(run("a", Status::Failed)).unwrap();
    ledger.close().unwrap();
    let ledger = open();
    assert_eq!(state(ledger.reader(), "a"), Status::Failed);
    assert_eq!(by_status(ledger.reader()), [("failed".to_owned(), 2), ("success".to_owned(), 1)]);
    let refused = ledger.append(run("a", Status::Success));
    assert!(matches!(refused, Err(Error::RunTransition { .. })), "{refused:?}");
    drop(ledger);
    // After a crash, too, and without the policy.
    let disk = disk.kill();
    let ledger = self::open(&disk);
    assert_eq!(state(ledger.reader(), "a"), Status::Failed);
    assert!(ledger.append(run("a", Status::Success)).is_err());
}

#[test]
fn one_batch_may_take_a_run_through_several_streams() {
    let disk = disk();
    let ledger = options(&disk).class(failed(), Limits::new()).open(DIR).unwrap();
    let states = [
        run("a", Status::Running),
        run("b", Status::Running),
        run("a", Status::Failed).metadata(Json::parse("1").unwrap()),
        run("b", Status::Failed),
        run("a", Status::Running).attempt(2u32),
    ];
    let batch = states.map(Body::Run);
    assert_eq!(ledger.append_batch(&batch, Durability::Sync).unwrap(), [1, 2, 3, 4, 5]);
    assert_eq!(streams(ledger.reader()), [("runs", 3), ("runs.failed", 2)]);
    assert_eq!(by_status(ledger.reader()), [("failed".to_owned(), 1), ("running".to_owned(), 1)]);
    let history = ledger.reader().run_history(&runledger::Id::new("a").unwrap()).unwrap();
    let supersedes: Vec<_> = history.iter().map(|record| record.supersedes).collect();
    assert_eq!(supersedes, [None, Some(1), Some(3)]);
}

/// The frame of one class was written and that of another one failed, with a state in it that stood
/// between two of a run: the one before both was current beside the last one, also after a clean
/// close, and the run was two.
#[test]
fn half_a_batch_makes_no_run_two() {
    let disk = disk();
    let split = |disk: &SimDisk| options(disk).class(failed(), Limits::new()).open(DIR).unwrap();
    let ledger = split(&disk);
    ledger.append(run("b", Status::Failed)).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    disk.set_faults(|op| {
        let is_failed = op.path.to_string_lossy().contains("runs.failed");
        (op.kind == OpKind::Write && is_failed).then_some(Fault::Io)
    });
    let states = [run("a", Status::Failed), run("a", Status::Running).attempt(2u32)];
    let half = ledger.append_batch(&states.map(Body::Run), Durability::Os);
    assert!(matches!(half, Err(Error::Io { .. })), "{half:?}");
    disk.clear_hooks();
    let check = |reader: &Reader| {
        let runs = [("failed".to_owned(), 1), ("running".to_owned(), 1)];
        assert_eq!(by_status(reader), runs);
        assert_eq!(state(reader, "a"), Status::Running);
    };
    check(ledger.reader());
    ledger.append(run("c", Status::Running).attempt(1u32)).unwrap();
    ledger.append(run("c", Status::Success)).unwrap();
    ledger.close().unwrap();
    let ledger = split(&disk);
    let runs = ledger.reader().query().kind(Kind::Run).count().unwrap();
    assert_eq!((runs, state(ledger.reader(), "a")), (3, Status::Running));
}

/// The note on that found no space. A close forgot it and counted as clean, so that the next
/// opening did not look for it either: the run was two, for good.
#[test]
fn a_close_forgets_no_note_that_is_owed() {
    let disk = disk();
    let split = |disk: &SimDisk| options(disk).class(failed(), Limits::new()).open(DIR).unwrap();
    let ledger = split(&disk);
    ledger.append(run("b", Status::Failed)).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    disk.set_faults(|op| {
        let path = op.path.to_string_lossy();
        let is_full = path.contains("runs.failed") || path.contains("audit");
        (op.kind == OpKind::Write && is_full).then_some(Fault::NoSpace)
    });
    let states = [run("a", Status::Failed), run("a", Status::Running).attempt(2u32)];
    let half = ledger.append_batch(&states.map(Body::Run), Durability::Os);
    assert!(matches!(half, Err(Error::Io { .. })), "{half:?}");
    let closed = ledger.close();
    disk.clear_hooks();
    for opening in 0..2 {
        let ledger = split(&disk);
        let runs = [("failed".to_owned(), 1), ("running".to_owned(), 1)];
        assert_eq!(by_status(ledger.reader()), runs, "opening {opening}");
        assert_eq!(notes(ledger.reader(), "run.overtaken"), 1);
        ledger.close().unwrap();
    }
    assert!(matches!(closed, Err(Error::NoSpace { .. })), "{closed:?}");
}

/// Runs go from stream to stream while others look: each is to be seen once, in one state, by the
/// writer's own queries and by a reader that follows.
#[test]
fn who_looks_meanwhile_sees_each_run_once() {
    const RUNS: usize = 20;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let options = Options::new().durability(Durability::Os).segment_bytes(64 << 10);
    let classes = [failed(), Class::status(Status::Running)];
    let options = classes.into_iter().fold(options, |it, class| it.class(class, Limits::new()));
    let ledger = options.open(&dir).unwrap();
    let ids: Vec<String> = (0..RUNS).map(|number| format!("r{number}")).collect();
    for id in &ids {
        ledger.append(run(id, Status::Pending)).unwrap();
    }
    let count = |reader: &Reader| {
        let runs = reader.query().kind(Kind::Run);
        let page = runs.clone().limit(1000).fetch().unwrap();
        let mut seen: Vec<_> =
            page.records().map(|it| it.unwrap().body.run_id().unwrap().to_string()).collect();
        seen.sort();
        let listed = seen.len();
        seen.dedup();
        (listed, seen.len(), runs.count().unwrap())
    };
    let expected = (RUNS, RUNS, RUNS as u64);
    std::thread::scope(|scope| {
        let writers: Vec<_> = ids
            .chunks(RUNS / 2)
            .map(|ids| {
                let ledger = ledger.clone();
                scope.spawn(move || {
                    let json = Json::from_value(&"x".repeat(200)).unwrap();
                    for attempt in 1..300u32 {
                        for id in ids {
                            let state =
                                |status| run(id, status).attempt(attempt).metadata(json.clone());
                            ledger.append(state(Status::Running)).unwrap();
                            ledger.append(state(Status::Failed)).unwrap();
                        }
                    }
                })
            })
            .collect();
        let (dir, count) = (&dir, &count);
        let follower = scope.spawn(move || {
            let reader = Reader::open(dir).unwrap();
            while !writers.iter().all(|writer| writer.is_finished()) {
                reader.refresh().unwrap();
                assert_eq!(count(&reader), expected, "by a reader");
            }
        });
        while !follower.is_finished() {
            let before = ledger.query();
            assert_eq!(count(ledger.reader()), expected, "by the writer");
            assert_eq!(before.kind(Kind::Run).count().unwrap(), RUNS as u64);
        }
    });
    ledger.close().unwrap();
    assert_eq!(count(&Reader::open(&dir).unwrap()), expected);
    assert!(ledger.reader().stats().unwrap().streams.iter().any(|it| it.segments > 3));
}

/// A query took down which streams there are, then the lists of those: with the first segment of
/// another stream in between, it had lists that showed everything, but for the new stream's runs.
/// They were gone: 18 of 20, on a machine that was busy at that moment. (With a pause of 60 µs
/// between the two, this failed at each try.)
#[test]
fn a_query_that_is_made_while_a_stream_begins_loses_no_run() {
    let running = Class::status(Status::Running);
    for seed in 0..1_000 {
        let disk = crate::dated::disk(seed);
        let options = options(&disk).class(failed(), Limits::new());
        let ledger = options.class(running, Limits::new()).open(DIR).unwrap();
        let append = |id, status| ledger.append(run(id, status)).unwrap();
        append("a", Status::Running);
        std::thread::scope(|scope| {
            let others = || {
                append("a", Status::Failed);
                ["b", "c", "d", "e"].map(|id| append(id, Status::Running))
            };
            let ended = scope.spawn(others);
            while !ended.is_finished() {
                let queries = [(); 8].map(|()| ledger.query());
                let is_there = |query: runledger::Query| query.run("a").count().unwrap() == 1;
                assert!(queries.into_iter().all(is_there));
            }
        });
    }
}

/// A query that was made before a segment of another stream saw the end of a run marked, and did
/// not see the end: the run was gone.
#[test]
fn a_query_of_before_a_stream_s_first_segment_loses_no_run() {
    let disk = disk();
    let ledger = options(&disk).class(failed(), Limits::new()).open(DIR).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    let before = ledger.query().kind(Kind::Run);
    ledger.append(run("a", Status::Failed)).unwrap();
    ledger.append(run("b", Status::Running)).unwrap();
    assert_eq!(before.count().unwrap(), 1, "a is seen as it was");
    assert_eq!(before.clone().status(Status::Running).count().unwrap(), 1);
    // The segment that it sees is sealed, and tells no more how it was: it looks anew.
    let filler = Json::from_value(&"x".repeat(40_000)).unwrap();
    for id in ["c", "d", "e"] {
        ledger.append(run(id, Status::Success).metadata(filler.clone())).unwrap();
    }
    assert_eq!(before.count().unwrap(), 5);
    assert_eq!(before.status(Status::Failed).count().unwrap(), 1);
}

/// A power cut took a state of a run, and not the later one in another stream: the one before both
/// was current again beside the later one, and the run was two.
#[test]
fn a_state_that_a_power_cut_took_makes_no_run_two() {
    let disk = disk();
    let split = |disk: &SimDisk| options(disk).class(failed(), Limits::new()).open(DIR).unwrap();
    let ledger = split(&disk);
    ledger.append(run("a", Status::Pending)).unwrap();
    let of_runs = disk.files().into_iter().find(|path| path.to_string_lossy().contains("/runs/"));
    let path = of_runs.unwrap();
    let before = disk.peek(&path);
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("a", Status::Failed)).unwrap();
    let disk = disk.kill();
    disk.poke(&path, before);
    let check = |reader: &Reader| {
        assert_eq!(by_status(reader), [("failed".to_owned(), 1)]);
        assert_eq!(state(reader, "a"), Status::Failed);
        assert_eq!(notes(reader, "run.overtaken"), 1);
    };
    let ledger = split(&disk);
    check(ledger.reader());
    assert!(ledger.append(run("a", Status::Running)).is_err());
    check(&Reader::with_storage(DIR, disk.storage()).unwrap());
    ledger.close().unwrap();
    let ledger = split(&disk);
    check(ledger.reader());
    // Once more, and nothing new is found.
    drop(ledger);
    check(split(&disk.kill()).reader());
}

#[test]
fn classes_expire_by_themselves() {
    let disk = disk();
    say(
        &disk,
        "[retention.\"runs.cancelled\"]\nage = \"2y\"\n\
         [retention.errors.critical]\nage = \"forever\"\n\
         [retention.events]\nage = \"1d\"\n",
    );
    let ledger = open(&disk);
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("a", Status::Cancelled)).unwrap();
    ledger.append(run("b", Status::Skipped)).unwrap();
    ledger.append(Event::new("e")).unwrap();
    ledger.append(ErrorRecord::new("E", "m")).unwrap();
    ledger.append(ErrorRecord::new("E", "m").severity(Severity::Critical)).unwrap();
    let mut left = Vec::new();
    for days in [3, 95, 270, 364, 3650] {
        disk.advance(DAY * days);
        ledger.maintain().unwrap();
        left.push(streams(ledger.reader()).into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
    let critical = "errors.critical";
    assert_eq!(left[0], ["runs", "errors", "runs.cancelled", critical]);
    assert_eq!(left[1], ["runs", "runs.cancelled", critical]);
    assert_eq!(left[2], ["runs.cancelled", critical]);
    assert_eq!(left[3], [critical], "two years are over, and a little more");
    assert_eq!(left[4], [critical]);
    assert_eq!(ledger.query().kind(Kind::Run).history(true).count().unwrap(), 0);
}

/// The end of a run expires before its beginning, which lies in a stream that is kept for longer:
/// the beginning would be the newest again.
#[test]
fn an_end_that_is_kept_for_less_does_not_bring_the_beginning_back() {
    let disk = disk();
    let cancelled = Class::status(Status::Cancelled);
    let short = || {
        let options = options(&disk).class(cancelled, Limits::new().age(DAY));
        options.class(Class::status(Status::Running), Limits::new())
    };
    // Another run's end in the segment of the beginning keeps the other end...
    let ledger = options(&disk).class(cancelled, Limits::new().age(DAY)).open(DIR).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("b", Status::Success)).unwrap();
    ledger.append(run("a", Status::Cancelled)).unwrap();
    disk.advance(DAY * 5);
    ledger.maintain().unwrap();
    let report = ledger.cleanup(&Cleanup::retention(), true).unwrap();
    let kept = report.segments.iter().find(|plan| plan.stream == "runs.cancelled").unwrap();
    assert_eq!(kept.kept_for, Some(Keep::Supersedes));
    assert_eq!(state(ledger.reader(), "a"), Status::Cancelled);
    ledger.close().unwrap();
    drop(ledger);
    // ... and one of nothing but beginnings that are over goes along.
    let ledger = short().open(DIR).unwrap();
    ledger.append(run("c", Status::Running)).unwrap();
    ledger.append(run("c", Status::Cancelled)).unwrap();
    disk.advance(DAY * 5);
    ledger.maintain().unwrap();
    let left: Vec<_> = streams(ledger.reader());
    assert_eq!(left, [("runs", 2), ("runs.cancelled", 1)]);
    assert_eq!(state(ledger.reader(), "a"), Status::Cancelled);
    assert!(matches!(ledger.reader().run("c"), Err(Error::NotFound { .. })));
    drop(ledger);
    let ledger = short().open(DIR).unwrap();
    assert_eq!(
        by_status(ledger.reader()),
        [("cancelled".to_owned(), 1), ("success".to_owned(), 1)]
    );
}

#[test]
fn open_runs_of_a_class_are_carried_forward() {
    let disk = disk();
    let classes = [Status::Running, Status::Pending, Status::Cancelled].map(Class::status);
    let options = classes
        .into_iter()
        .fold(options(&disk), |it, class| it.class(class, Limits::new().age(DAY)));
    let ledger = options.open(DIR).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("b", Status::Running)).unwrap();
    ledger.append(run("c", Status::Cancelled)).unwrap();
    ledger.append(run("c", Status::Running).attempt(2u32)).unwrap();
    ledger.append(run("b", Status::Cancelled)).unwrap();
    disk.advance(DAY * 5);
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!(report.carried, 2, "{report:?}");
    assert_eq!(by_status(ledger.reader()), [("running".to_owned(), 2)]);
    ledger.close().unwrap();
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    assert_eq!(by_status(&reader), [("running".to_owned(), 2)]);
}

#[test]
fn a_class_keeps_to_its_limits_of_bytes_and_records() {
    let disk = disk();
    let debug = Class::severity(Kind::Event, Severity::Debug).unwrap();
    let info = Class::severity(Kind::Event, Severity::Info).unwrap();
    let options = options(&disk)
        .class(debug, Limits::new().max_bytes(200 << 10))
        .class(info, Limits::new().max_records(64));
    let ledger = options.open(DIR).unwrap();
    let event = |severity| Event::new("e").severity(severity).message("x".repeat(1000));
    let mut last = 0;
    for number in 1..=1000 {
        ledger.append(event(Severity::Debug)).unwrap();
        last = ledger.append(event(Severity::Info)).unwrap();
        ledger.append(event(Severity::Warning)).unwrap();
        if number % 100 == 0 {
            ledger.maintain().unwrap();
            let left = |severity| ledger.query().severity(severity).count().unwrap();
            assert!((60..=64).contains(&left(Severity::Info)), "{}", left(Severity::Info));
            let debug = left(Severity::Debug);
            assert!((60..200).contains(&debug), "{debug} of {number}");
            assert_eq!(left(Severity::Warning), number);
        }
    }
    let newest = ledger.query().severity(Severity::Info).order(Order::SeqDescending).limit(1);
    assert_eq!(newest.fetch().unwrap().seqs().next(), Some(last), "the newest stay");
}

#[test]
fn a_policy_that_changes_holds_at_once_for_what_comes() {
    let disk = disk();
    let ledger = open(&disk);
    ledger.append(run("a", Status::Failed)).unwrap();
    say(&disk, "[retention.runs.failed]\nage = \"2y\"\n");
    ledger.append(run("b", Status::Failed)).unwrap();
    ledger.maintain().unwrap();
    ledger.append(run("c", Status::Failed)).unwrap();
    assert_eq!(streams(ledger.reader()), [("runs", 2), ("runs.failed", 1)]);
    assert_eq!(notes(ledger.reader(), "retention.changed"), 1);
    // A file that is broken changes nothing, and is on record once.
    say(&disk, "[retention.runs.failed]\nage = \"2 years\"\n");
    for _ in 0..3 {
        ledger.maintain().unwrap();
    }
    ledger.append(run("d", Status::Failed)).unwrap();
    assert_eq!(streams(ledger.reader()), [("runs", 2), ("runs.failed", 2)]);
    assert_eq!(notes(ledger.reader(), "retention.refused"), 1);
    let problem = ledger.reader().stats().unwrap().policy_problem.unwrap();
    assert!(problem.contains("runledger.toml, line 2: retention.runs.failed.age"), "{problem}");
    // What is no longer split off stays where it is.
    say(&disk, "");
    ledger.maintain().unwrap();
    ledger.append(run("e", Status::Failed)).unwrap();
    assert_eq!(streams(ledger.reader()), [("runs", 3), ("runs.failed", 2)]);
    assert_eq!(by_status(ledger.reader()), [("failed".to_owned(), 5)]);
    assert_eq!(ledger.reader().stats().unwrap().policy_problem, None);
    disk.advance(DAY * 400);
    ledger.maintain().unwrap();
    assert_eq!(streams(ledger.reader()), [("runs", 1)], "the newest failure");
}

/// The file may say that all is to be kept: while nobody knows, nothing goes.
#[test]
fn nothing_expires_while_the_policy_was_never_understood() {
    let disk = disk();
    say(&disk, "[retention.events]\nage = forever\n");
    let ledger = open(&disk);
    assert!(ledger.noticed()[0].contains("runledger.toml, line 2"), "{:?}", ledger.noticed());
    ledger.append(Event::new("e")).unwrap();
    disk.advance(DAY * 400);
    ledger.maintain().unwrap();
    let refused = ledger.cleanup(&Cleanup::retention(), false);
    assert!(matches!(refused, Err(Error::Policy { line: 2, .. })), "{refused:?}");
    assert_eq!(ledger.query().count().unwrap(), 1);
    ledger.close().unwrap();
    // Many a program opens its ledger every minute: it is on record once.
    let ledger = open(&disk);
    assert_eq!(notes(ledger.reader(), "retention.refused"), 1);
    say(&disk, "[retention.events]\nage = \"1d\"\n");
    ledger.maintain().unwrap();
    // A clock that has jumped while nobody looked is believed after a day.
    disk.advance(DAY * 2);
    ledger.maintain().unwrap();
    assert_eq!(ledger.query().count().unwrap(), 0);
}

#[test]
fn options_take_precedence_over_the_file_and_the_file_over_the_defaults() -> Result<()> {
    let disk = disk();
    say(
        &disk,
        "[retention]\nmax_bytes = \"1 GiB\"\n[retention.runs]\nage = \"5d\"\n\
         [retention.events]\nage = \"5d\"\n",
    );
    let ledger = options(&disk).retention(Kind::Run, None).open(DIR)?;
    let (run, event) = (run("a", Status::Success), Event::new("e"));
    ledger.append_batch(&[Body::Run(run), Body::Event(event)], Durability::Os)?;
    ledger.append(ErrorRecord::new("E", "m"))?;
    disk.advance(DAY * 10);
    ledger.maintain()?;
    assert_eq!(streams(ledger.reader()), [("runs", 1), ("errors", 1)]);
    let policy = ledger.reader().policy()?;
    assert_eq!(policy.cap(), Some(1 << 30));
    let term = |kind| policy.limits(Class::of(kind)).term.and_then(runledger::Term::duration);
    assert_eq!((term(Kind::Run), term(Kind::Error)), (Some(DAY * 5), Some(DAY * 90)));
    Ok(())
}

/// The segments with a pinned run's records stay, whatever is due, also after a crash.
#[test]
fn a_pinned_run_outlives_retention_clean_up_and_caps() {
    let disk = disk();
    let open = |disk: &SimDisk| options(disk).max_bytes(Some(600 << 10)).open(DIR).unwrap();
    let ledger = open(&disk);
    let of = |id: &str| runledger::Id::new(id.to_owned()).unwrap();
    ledger.append(run("a", Status::Failed)).unwrap();
    ledger.append(Event::new("of a").run_id(of("a"))).unwrap();
    ledger.append(ErrorRecord::new("E", "of a").run_id(of("a"))).unwrap();
    assert!(matches!(ledger.pin("b", "x"), Err(Error::NotFound { .. })));
    assert!(matches!(ledger.pin("a", " "), Err(Error::Invalid { .. })));
    ledger.pin("a", "first").unwrap();
    ledger.pin("a", "evidence").unwrap();
    drop(ledger);
    let disk = disk.kill();
    let ledger = open(&disk);
    let pins = ledger.reader().pins().unwrap();
    assert_eq!((pins.len(), pins[0].reason.as_str()), (1, "evidence"));
    for number in 0..2000 {
        ledger.append(Event::new("x").message("y".repeat(1000))).unwrap();
        if number % 200 == 0 {
            ledger.maintain().unwrap();
        }
    }
    disk.advance(DAY * 400);
    ledger.maintain().unwrap();
    let report = ledger.cleanup(&Cleanup::older_than(DAY), false).unwrap();
    let pinned = report.segments.iter().filter(|plan| plan.kept_for == Some(Keep::Pinned));
    assert_eq!(pinned.count(), 3);
    assert_eq!(ledger.query().run("a").count().unwrap(), 3);
    let left = ledger.query().record_type("x").count().unwrap();
    assert!(left < 64, "only what lies beside the run's event is left: {left}");
    ledger.unpin("a", "over").unwrap();
    assert!(matches!(ledger.unpin("a", "over"), Err(Error::NotFound { .. })));
    ledger.cleanup(&Cleanup::older_than(DAY), false).unwrap();
    assert_eq!(ledger.query().run("a").kind(Kind::Event).count().unwrap(), 0);
    assert_eq!(ledger.reader().pins().unwrap(), []);
}

/// A segment of nothing but earlier states went along with the one that held a later state of one
/// of them, and a state of a pinned run with it: only what is due was looked at for pins.
#[test]
fn what_holds_a_state_of_a_pinned_run_goes_along_with_nothing() {
    let disk = disk();
    let options = options(&disk).class(failed(), Limits::new().forever());
    let succeeded = Class::status(Status::Success);
    let ledger = options.class(succeeded, Limits::new().age(DAY * 7)).open(DIR).unwrap();
    for id in ["held", "b"] {
        ledger.append(run(id, Status::Running)).unwrap();
    }
    ledger.append(run("held", Status::Failed)).unwrap();
    ledger.append(run("b", Status::Success)).unwrap();
    ledger.pin("held", "evidence").unwrap();
    disk.advance(DAY * 8);
    ledger.maintain().unwrap();
    // The newest of its type stays.
    ledger.append(run("c", Status::Success)).unwrap();
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    let history = ledger.reader().run_history(&Id::new("held").unwrap()).unwrap();
    assert_eq!(history.len(), 2, "{report:?}");
    // So the end of the other run stays, too, or else it would be running again.
    assert_eq!(state(ledger.reader(), "b"), Status::Success);
    ledger.unpin("held", "over").unwrap();
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!(streams(ledger.reader()), [("runs.success", 1), ("runs.failed", 1)]);
}

#[test]
fn a_clean_up_by_status_drops_what_lies_alone_and_writes_the_rest_anew() {
    let disk = disk();
    let ledger = options(&disk).class(failed(), Limits::new()).open(DIR).unwrap();
    for id in ["a", "b"] {
        ledger.append(run(id, Status::Running)).unwrap();
    }
    ledger.append(run("a", Status::Failed)).unwrap();
    ledger.append(run("b", Status::Success)).unwrap();
    ledger.append(run("c", Status::Skipped)).unwrap();
    disk.advance(DAY * 10);
    ledger.append(run("d", Status::Failed)).unwrap();
    let cleanup = |status| Cleanup::older_than(DAY * 5).status(status);
    let verdicts = |status, dry_run| {
        let report = ledger.cleanup(&cleanup(status), dry_run).unwrap();
        let segments = report.segments.into_iter();
        segments.map(|it| (it.stream, it.left_out, it.kept_for)).collect::<Vec<_>>()
    };
    let other = Some(Keep::OtherStatus);
    for dry_run in [true, false] {
        let skipped = verdicts(Status::Skipped, dry_run);
        let of_failed = ("runs.failed", 0, other);
        assert_eq!(skipped, [("runs", 1, None), of_failed, of_failed], "{dry_run}");
    }
    // The run that began in `runs` goes with its beginning.
    for dry_run in [true, false] {
        let of_failed = verdicts(Status::Failed, dry_run);
        assert_eq!(of_failed[..2], [("runs", 1, None), ("runs.failed", 1, None)], "{dry_run}");
        assert!(matches!(of_failed[2], (_, 0, Some(Keep::Younger(_)))), "{of_failed:?}");
    }
    assert_eq!(by_status(ledger.reader()), [("failed".into(), 1), ("success".into(), 1)]);
    assert!(matches!(ledger.reader().run("a"), Err(Error::NotFound { .. })));
    assert_eq!(notes(ledger.reader(), "records.expired"), 2);
    // The newest of its kind stays, whatever its age.
    assert_eq!(verdicts(Status::Success, true)[0].1, 0);
    // Where they lie alone, the segment goes.
    ledger.maintain().unwrap();
    ledger.append(run("e", Status::Skipped)).unwrap();
    disk.advance(DAY * 10);
    ledger.maintain().unwrap();
    ledger.append(run("f", Status::Skipped)).unwrap();
    let report = ledger.cleanup(&cleanup(Status::Skipped), false).unwrap();
    assert_eq!((report.dropped().count(), report.rewritten().count()), (1, 0), "{report:?}");
    assert_eq!(state(ledger.reader(), "f"), Status::Skipped);
}

/// Row 1 of the scorecard found it: a segment whose runs were all cancelled went as a whole, and
/// took along the earlier state of a run that has ended well in another segment.
#[test]
fn a_clean_up_by_status_leaves_earlier_states_of_other_runs() {
    let disk = disk();
    let ledger = open(&disk);
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("b", Status::Running)).unwrap();
    ledger.append(run("b", Status::Cancelled)).unwrap();
    disk.advance(DAY * 10);
    ledger.maintain().unwrap();
    ledger.append(run("a", Status::Success)).unwrap();
    let states = |id: &str| ledger.query().run(id).kind(Kind::Run).history(true).count().unwrap();
    let cleanup = Cleanup::older_than(DAY * 5).status(Status::Cancelled);
    for dry_run in [true, false] {
        let report = ledger.cleanup(&cleanup, dry_run).unwrap();
        let left_out: Vec<u64> = report.rewritten().map(|plan| plan.left_out).collect();
        assert_eq!((report.dropped().count(), left_out), (0, vec![2]), "{report:?}");
    }
    assert_eq!((states("a"), states("b")), (2, 0));
}

#[test]
fn what_the_policy_costs_is_told_by_what_was_written() {
    let disk = disk();
    let info = Class::severity(Kind::Event, Severity::Info).unwrap();
    let ledger = options(&disk).class(info, Limits::new()).open(DIR).unwrap();
    let reader = ledger.reader();
    let given = runledger::Retention::new()
        .class(info, Limits::new().max_bytes(10 << 20).age(DAY * 1000))
        .max_bytes(Some(20 << 20));
    let usage = || {
        let report = reader.retention(&given).unwrap();
        let of_class = report.classes.iter().find(|it| it.class == info).unwrap().clone();
        (report, of_class)
    };
    let (report, before) = usage();
    assert_eq!((before.full, report.full), (Forecast::Unknown, Forecast::Unknown));
    // A segment of about 64 KiB a day.
    for _ in 0..600 {
        ledger.append(Event::new("e").severity(Severity::Info).message("x".repeat(1000))).unwrap();
        disk.advance(DAY / 60);
    }
    ledger.maintain().unwrap();
    let (report, after) = usage();
    let per_day = after.bytes_per_day.unwrap();
    assert!((55 << 10..80 << 10).contains(&per_day), "{per_day}");
    let Forecast::Days(days) = after.full else { panic!("{after:?}") };
    assert!((120..180).contains(&days), "{days}");
    assert_eq!(report.full, Forecast::Never, "the class has its own limit below");
    let limited = Limits::new().max_records(700).age(DAY * 1000);
    let by_records = runledger::Retention::new().class(info, limited).max_bytes(Some(20 << 20));
    let full = reader.retention(&by_records).unwrap().full;
    assert_eq!(full, Forecast::Never, "as it does when that is one of records");
    assert_eq!((after.records, after.segments > 5), (600, true));
    assert_eq!(reader.why_kept(1, &given).unwrap()[0].class, info);
}

/// A class that is split off late has its say about what was there before, too: what is to be kept
/// for longer keeps its segment, and a compaction takes out what has expired beside it.
#[test]
fn a_class_that_is_split_off_late_is_kept_and_expires_by_its_own_term() {
    let disk = disk();
    let critical = Class::severity(Kind::Error, Severity::Critical).unwrap();
    let debug = Class::severity(Kind::Event, Severity::Debug).unwrap();
    let ledger = open(&disk);
    for (id, status) in [("a", Status::Failed), ("b", Status::Skipped), ("c", Status::Success)] {
        ledger.append(run(id, Status::Running)).unwrap();
        ledger.append(run(id, status)).unwrap();
    }
    ledger.append(run("open", Status::Running)).unwrap();
    // The newest of its type stays for ever.
    ledger.append(run("z", Status::Failed)).unwrap();
    ledger.append(ErrorRecord::new("E", "bad").severity(Severity::Critical)).unwrap();
    ledger.append(ErrorRecord::new("E", "not good").severity(Severity::Warning)).unwrap();
    for id in ["a", "held"] {
        let event = Event::new("step").severity(Severity::Debug).run_id(Id::new(id).unwrap());
        ledger.append(event).unwrap();
    }
    ledger.append(Event::new("step").severity(Severity::Info)).unwrap();
    ledger.append(run("held", Status::Skipped)).unwrap();
    ledger.pin("held", "evidence").unwrap();
    ledger.close().unwrap();
    drop(ledger);

    let split = || {
        let options = options(&disk).class(failed(), Limits::new().age(DAY * 1000));
        let options = options.class(Class::status(Status::Skipped), Limits::new().age(DAY * 30));
        let options = options.class(critical, Limits::new().forever());
        options.class(debug, Limits::new().age(DAY * 3)).open(DIR).unwrap()
    };
    let ledger = split();
    let left = |ledger: &Ledger| {
        let page = ledger.query().order(Order::Seq).limit(100).fetch().unwrap();
        page.records().map(|it| it.unwrap().seq).collect::<Vec<_>>()
    };
    let compact = |ledger: &Ledger| {
        ledger.maintain().unwrap();
        let plan = ledger.reader().plan_compaction(&Compaction::new(), &options(&disk)).unwrap();
        ledger.compact(&Compaction::new()).unwrap();
        ledger.maintain().unwrap();
        plan.rewrites.len()
    };
    let everything = left(&ledger);
    disk.advance(DAY * 4);
    compact(&ledger);
    // The event of no pinned run is over.
    assert_eq!(left(&ledger).len(), everything.len() - 1);
    assert_eq!(ledger.query().kind(Kind::Event).count().unwrap(), 2);
    disk.advance(DAY * 30);
    compact(&ledger);
    assert!(matches!(ledger.reader().run("b"), Err(Error::NotFound { .. })));
    assert_eq!(state(ledger.reader(), "held"), Status::Skipped);
    assert_eq!(ledger.query().run("b").history(true).count().unwrap(), 0);
    disk.advance(DAY * 70);
    compact(&ledger);
    assert_eq!(ledger.query().kind(Kind::Error).count().unwrap(), 1, "the critical one");
    disk.advance(DAY * 300);
    let report = ledger.reader().plan_cleanup(&Cleanup::retention(), &retention_of()).unwrap();
    let of_runs = report.segments.iter().find(|plan| plan.stream == "runs").unwrap();
    assert!(matches!(of_runs.kept_for, Some(Keep::Class(class, Some(_))) if class == failed()));
    compact(&ledger);
    assert_eq!(state(ledger.reader(), "a"), Status::Failed);
    assert_eq!(state(ledger.reader(), "open"), Status::Running);
    assert_eq!(state(ledger.reader(), "z"), Status::Failed);
    assert_eq!(state(ledger.reader(), "c"), Status::Success, "the newest of its type");
    assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites, [], "nothing is left to do");
    assert!(notes(ledger.reader(), "records.expired") >= 3);
    ledger.close().unwrap();
    assert!(!runledger::verify(DIR, disk.storage()).unwrap().is_damaged());
}

fn retention_of() -> runledger::Retention {
    runledger::Retention::new().class(failed(), Limits::new().age(DAY * 1000))
}
