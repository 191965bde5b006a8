//! Edge ledgers in one: nothing twice, nothing left out, and each record knows where it is from.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};

use parking_lot::Mutex;
use runledger::{
    Body, Class, Compaction, Durability, Error, ErrorRecord, Event, Id, Json, Kind, Ledger, Limits,
    Options, Order, Reader, Run, Severity, Status, Timestamp,
};
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

const DIR: &str = "/ledger";

fn open(disk: &SimDisk) -> Ledger {
    Options::new().storage(disk.storage()).background(false).open(DIR).unwrap()
}

fn run(id: &str, status: Status) -> Run<'static> {
    Run::new(id.to_owned(), "sync", status).unwrap()
}

/// An edge ledger in which each run has two events and every other one an error.
fn edge(seed: u64, runs: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let ledger = open(&disk);
    for number in 0..runs {
        let id = format!("run-{seed}-{number}");
        let handle = ledger.start_run(run(&id, Status::Running)).unwrap();
        handle.event(Event::new("read").message(format!("{id} a"))).unwrap();
        handle.event(Event::new("sent").message(format!("{id} b"))).unwrap();
        match number % 2 {
            0 => drop(
                handle.error(ErrorRecord::new("Lost", id)).map(|_| handle.finish(Status::Failed)),
            ),
            _ => drop(handle.succeed()),
        }
    }
    ledger.close().unwrap();
    disk
}

fn reader(disk: &SimDisk) -> Reader {
    Reader::with_storage(DIR, disk.storage()).unwrap()
}

/// What is in a ledger by where it is from: of each record the number that it had there.
fn origins(reader: &Reader) -> BTreeMap<Option<[u8; 16]>, Vec<u64>> {
    let page = reader.query().history(true).order(Order::Seq).limit(100_000).fetch().unwrap();
    let mut origins = BTreeMap::<_, Vec<_>>::new();
    for record in page.records() {
        let record = record.unwrap();
        let origin = record.body.origin();
        let seq = origin.map_or(record.seq, |origin| origin.seq);
        origins.entry(origin.map(|origin| origin.ledger)).or_default().push(seq);
    }
    origins
}

fn seqs(reader: &Reader) -> Vec<u64> {
    let page = reader.query().history(true).order(Order::Seq).limit(100_000).fetch().unwrap();
    page.seqs().collect()
}

#[test]
fn edges_are_merged_once_however_often() {
    let edges = [edge(1, 20), edge(2, 7)];
    let central = SimDisk::new(9);
    let ledger = open(&central);
    ledger.append(Event::new("own")).unwrap();
    for disk in &edges {
        let report = ledger.merge_from(&reader(disk)).unwrap();
        assert_eq!((report.refused, report.renamed.len()), (0, 0), "{report:?}");
        assert_eq!(report.runs + report.events + report.errors, seqs(&reader(disk)).len() as u64);
        let again = ledger.merge_from(&reader(disk)).unwrap();
        assert_eq!(again, Default::default(), "nothing twice");
    }
    let merged = origins(ledger.reader());
    assert_eq!(merged.len(), 3);
    for disk in &edges {
        assert!(merged.values().any(|of_it| *of_it == seqs(&reader(disk))), "in their order");
    }
    // The runs are as they are there, but for their owners.
    for id in ["run-1-4", "run-1-5"] {
        let there = reader(&edges[0]).run(id).unwrap();
        let here = ledger.reader().run(id).unwrap();
        let (Body::Run(there), Body::Run(mut here)) =
            (there.record().unwrap().body, here.record().unwrap().body)
        else {
            panic!("runs");
        };
        assert!(here.origin.take().is_some());
        assert_eq!(here, there);
    }
    let first = ledger.reader().run_history(&Id::new("run-1-4").unwrap()).unwrap();
    let Body::Run(first) = &first[0].body else { panic!("a run") };
    assert_eq!((first.status, &first.owner), (Status::Running, &None));

    // More comes, and is added alone, also after the ledger was opened anew.
    ledger.close().unwrap();
    let more = open(&edges[0]);
    more.append(run("run-1-0", Status::Running).attempt(2u32)).unwrap();
    more.append(Event::new("more")).unwrap();
    let ledger = open(&central);
    let report = ledger.merge_from(more.reader()).unwrap();
    assert_eq!((report.runs, report.events, report.errors), (1, 1, 0));
    assert_eq!(ledger.query().kind(Kind::Run).status(Status::Running).count().unwrap(), 1);
    let itself = ledger.merge_from(&reader(&central));
    assert!(matches!(itself, Err(Error::Invalid { .. })), "{itself:?}");
}

/// Cron jobs name their runs alike on every machine: `backup-2026-11-01`.
#[test]
fn runs_of_one_name_are_told_apart() {
    let edges: Vec<_> = (1..=2)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            let ledger = open(&disk);
            let child = run("child", Status::Success).parent_run_id(Id::new("backup").unwrap());
            let event = Event::new("e").run_id(Id::new("backup").unwrap());
            let state =
                |status| run("backup", status).user_id(Id::new(format!("u{seed}")).unwrap());
            ledger.append(state(Status::Running)).unwrap();
            ledger.append(event).unwrap();
            ledger.append(child).unwrap();
            ledger.append(state(Status::Failed)).unwrap();
            ledger.close().unwrap();
            disk
        })
        .collect();
    let ledger = open(&SimDisk::new(9));
    ledger.append(run("child", Status::Running)).unwrap();
    let mut renamed = Vec::new();
    for disk in edges.iter().chain(&edges) {
        let report = ledger.merge_from(&reader(disk)).unwrap();
        assert_eq!(report.refused, 0, "{report:?}");
        renamed.extend(report.renamed);
    }
    assert_eq!(renamed.len(), 3, "{renamed:?}");
    let (_, backup) = renamed.iter().find(|(there, _)| there == "backup").unwrap();
    assert!(backup.starts_with("backup@") && backup.len() == "backup@".len() + 8);
    for (id, user) in [("backup", "u1"), (backup, "u2")] {
        let stored = ledger.reader().run(id).unwrap();
        let Body::Run(run) = stored.record().unwrap().body else { panic!("a run") };
        assert_eq!((run.status, run.user_id), (Status::Failed, Some(Id::new(user).unwrap())));
        assert_eq!(ledger.query().kind(Kind::Event).run(id).count().unwrap(), 1);
        assert_eq!(ledger.reader().run_history(&run.run_id).unwrap().len(), 2);
    }
    let own = ledger.reader().run("child").unwrap();
    assert!(matches!(own.record().unwrap().body, Body::Run(run) if run.status == Status::Running));
}

/// A power cut at any step leaves part of the records here, of one kind more than of another; the
/// next merge adds the others and no more.
#[test]
fn a_merge_that_was_cut_off_is_gone_on_with() {
    let other = edge(1, 12);
    let expected = seqs(&reader(&other));
    let ready = SimDisk::new(9);
    open(&ready).close().unwrap();
    let mut tried = 0;
    loop {
        let disk = ready.fork();
        let found = Arc::new(Mutex::new(None));
        let (place, mut left) = (Arc::clone(&found), tried);
        disk.set_probe(move |moment| {
            if left == 0 {
                let files = [Keep::Sectors, Keep::Prefix, Keep::Nothing][tried % 3];
                let cut = Cut { files, names: KeepNames::Prefix, seed: tried as u64 };
                place.lock().get_or_insert_with(|| moment.cut(cut));
            }
            left = left.wrapping_sub(1);
        });
        let ledger = open(&disk);
        ledger.merge_from(&reader(&other)).unwrap();
        ledger.append_with(Event::new("own"), Durability::Sync).unwrap();
        ledger.close().unwrap();
        disk.clear_hooks();
        let Some(disk) = found.lock().take() else { break };
        let ledger = open(&disk);
        ledger.merge_from(&reader(&other)).unwrap();
        let mut merged = origins(ledger.reader());
        merged.remove(&None);
        let mut of_it = merged.pop_first().unwrap().1;
        // Which kind came first depends on the cut.
        of_it.sort_unstable();
        assert_eq!(of_it, expected, "cut at step {tried}");
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}

/// A run that was merged while it was open, and carried forward by a clean-up here, was then taken
/// for a run of this ledger, and its end was merged under another name.
#[test]
fn a_merged_run_that_was_carried_forward_is_still_the_others() {
    let other = SimDisk::new(1);
    let edge = open(&other);
    edge.append(run("r", Status::Running)).unwrap();
    let ledger = open(&SimDisk::new(9));
    ledger.merge_from(edge.reader()).unwrap();
    ledger.append(run("whole", Status::Skipped)).unwrap();
    let age = std::time::Duration::from_nanos(1);
    let report = ledger.cleanup(&runledger::Cleanup::older_than(age), false).unwrap();
    assert_eq!(report.carried, 1, "{report:?}");
    edge.append(run("r", Status::Success)).unwrap();
    let report = ledger.merge_from(edge.reader()).unwrap();
    assert_eq!((report.runs, report.refused, report.renamed), (1, 0, Vec::new()));
    assert_eq!(ledger.query().status(Status::Running).count().unwrap(), 0);
}

/// A ledger with the newest success of a type, merged into another one and then carried forward.
fn merged_and_then_carried() -> (Ledger, Ledger) {
    let edge = open(&SimDisk::new(1));
    edge.append(run("r", Status::Success).created_at(Timestamp::from_nanos(1))).unwrap();
    let ledger = open(&SimDisk::new(9));
    ledger.merge_from(edge.reader()).unwrap();
    edge.append(run("whole", Status::Skipped)).unwrap();
    let age = std::time::Duration::from_nanos(1);
    edge.cleanup(&runledger::Cleanup::older_than(age), false).unwrap();
    (edge, ledger)
}

/// The newest success of a type was merged, and then carried forward where it was from: what came
/// of it there is the same state once more, which is here.
#[test]
fn a_result_that_was_carried_forward_where_it_is_from_is_here_already() {
    let (edge, ledger) = merged_and_then_carried();
    let results = edge.query().status(Status::Success).fetch().unwrap();
    assert!(results.seqs().all(|seq| seq > 1), "it was carried");
    let report = ledger.merge_from(edge.reader()).unwrap();
    assert_eq!((report.refused, &report.reasons[..]), (0, &[][..]));
    assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 1);
}

/// As before, and then the run began once more: the end of its first attempt counted as refused.
#[test]
fn an_end_that_was_carried_forward_before_another_attempt_is_here_already() {
    let (edge, ledger) = merged_and_then_carried();
    edge.append(run("r", Status::Running).attempt(2u32)).unwrap();
    let states = edge.reader().run_history(&Id::new("r").unwrap()).unwrap();
    assert_eq!(states.len(), 2, "the first one was carried");
    let report = ledger.merge_from(edge.reader()).unwrap();
    assert_eq!((report.runs, report.refused, &report.reasons[..]), (1, 0, &[][..]));
}

/// A copy of a ledger is made file after file: warnings were in it that came after the last of the
/// other events. The merge kept one mark for all events, and those between were never added.
#[test]
fn each_stream_of_a_kind_is_merged_as_far_as_it_came() {
    let disk = SimDisk::new(1);
    let warnings = Class::severity(Kind::Event, Severity::Warning).unwrap();
    let options = Options::new().storage(disk.storage()).background(false);
    let edge = options.class(warnings, Limits::new()).open(DIR).unwrap();
    let append = || {
        edge.append(Event::new("e").severity(Severity::Info)).unwrap();
        edge.append(Event::new("e").severity(Severity::Warning)).unwrap();
    };
    append();
    let copy = disk.fork();
    append();
    let files = disk.files().into_iter();
    for path in files.filter(|path| path.to_string_lossy().contains("events.warning")) {
        copy.poke(&path, disk.peek(&path));
    }
    let ledger = open(&SimDisk::new(9));
    assert_eq!(ledger.merge_from(&reader(&copy)).unwrap().events, 3, "1, 2 and 4");
    assert_eq!(ledger.merge_from(edge.reader()).unwrap().events, 1);
    assert_eq!(ledger.merge_from(edge.reader()).unwrap(), Default::default(), "nothing twice");
    assert_eq!(origins(ledger.reader()).into_values().next().unwrap(), [1, 2, 4, 3]);
}

/// A segment that could not be read was passed by, and what it held was never added later.
#[test]
fn what_cannot_be_read_is_merged_when_it_can_be() {
    let disk = SimDisk::new(1);
    let edge = open(&disk);
    for status in [Status::Pending, Status::Running, Status::Success] {
        edge.append(run("r", status)).unwrap();
        edge.append(Event::new("e").message(status.name())).unwrap();
        edge.append(ErrorRecord::new("E", status.name())).unwrap();
        disk.advance(std::time::Duration::from_secs(2 * 24 * 60 * 60));
        edge.maintain().unwrap();
    }
    edge.close().unwrap();
    let ledger = open(&SimDisk::new(9));
    let second = |stream: &str| {
        let is_of = |path: &std::path::PathBuf| path.parent().unwrap().ends_with(stream);
        disk.files().into_iter().filter(is_of).nth(1).unwrap()
    };
    let paths = ["events", "runs"].map(second);
    let refuse = || {
        let paths = paths.clone();
        disk.set_faults(move |op| {
            (op.kind == OpKind::Open && paths.contains(&op.path)).then_some(Fault::Io)
        });
    };
    refuse();
    // What comes behind them waits: the states of a run are added in their order.
    let report = ledger.merge_from(&reader(&disk)).unwrap();
    assert_eq!((report.runs, report.events, report.errors, report.refused), (1, 1, 3, 0));
    let [of_events, of_runs] = &report.reasons[..] else { panic!("{report:?}") };
    assert!(of_events.contains("/events/") && of_runs.contains("/runs/"), "{report:?}");
    disk.clear_hooks();
    let report = ledger.merge_from(&reader(&disk)).unwrap();
    assert_eq!((report.refused, &report.reasons[..]), (0, &[][..]));
    assert_eq!(ledger.merge_from(&reader(&disk)).unwrap(), Default::default(), "nothing twice");
    let mut merged = origins(ledger.reader()).into_values().next().unwrap();
    merged.sort_unstable();
    assert_eq!(merged, seqs(&reader(&disk)));
    assert_eq!(ledger.reader().run_history(&Id::new("r").unwrap()).unwrap().len(), 3);
    // Nothing waits for what is here.
    refuse();
    assert_eq!(ledger.merge_from(&reader(&disk)).unwrap(), Default::default());
}

/// The mark of a merge had found no space, or lay in a segment that could not be read: the next one
/// passed for the first, and added everything once more.
#[test]
fn a_merge_whose_mark_cannot_be_written_or_read_adds_nothing() {
    let other = edge(1, 5);
    let expected = seqs(&reader(&other));
    let merged = |ledger: &Ledger| {
        let mut merged = origins(ledger.reader()).into_values().next().unwrap();
        merged.sort_unstable();
        merged
    };
    let central = SimDisk::new(9);
    let refuse = |kind: OpKind, stream: &'static str, fault: Fault| {
        central.set_faults(move |op| {
            (op.kind == kind && op.path.to_string_lossy().contains(stream)).then_some(fault)
        });
    };
    let ledger = open(&central);
    refuse(OpKind::Write, "/audit/", Fault::NoSpace);
    let full = ledger.merge_from(&reader(&other));
    central.clear_hooks();
    central.die(|| drop(ledger));
    let ledger = open(&central);
    ledger.merge_from(&reader(&other)).unwrap();
    assert_eq!(merged(&ledger), expected);
    assert!(matches!(full, Err(Error::NoSpace { .. })), "{full:?}");
    ledger.close().unwrap();
    for stream in ["/audit/", "/events/", "/runs/"] {
        refuse(OpKind::Open, stream, Fault::Io);
        let ledger = open(&central);
        let unread = ledger.merge_from(&reader(&other));
        ledger.close().unwrap();
        central.clear_hooks();
        let ledger = open(&central);
        assert_eq!(merged(&ledger), expected, "{stream}");
        assert!(matches!(unread, Err(Error::Damaged { .. })), "{stream}: {unread:?}");
        assert_eq!(ledger.merge_from(&reader(&other)).unwrap(), Default::default());
        ledger.close().unwrap();
    }
}

/// What a ledger had given away came back under the other's name, all of it, its runs as `ID@`.
#[test]
fn what_the_other_ledger_has_from_here_is_here() {
    let (one, other) = (open(&edge(1, 6)), open(&edge(2, 3)));
    let (own, others) = (seqs(one.reader()).len(), seqs(other.reader()).len());
    other.merge_from(one.reader()).unwrap();
    let run = Id::new("run-1-0").unwrap();
    other.append(Event::new("seen").run_id(run)).unwrap();
    let report = one.merge_from(other.reader()).unwrap();
    assert_eq!(report.runs + report.events + report.errors, others as u64 + 1, "{report:?}");
    assert_eq!((report.refused, &report.renamed[..]), (0, &[][..]));
    assert_eq!(seqs(one.reader()).len(), own + others + 1);
    assert_eq!(one.query().kind(Kind::Event).run("run-1-0").count().unwrap(), 3);
    assert_eq!(other.merge_from(one.reader()).unwrap(), Default::default());
}

/// A merge was broken off before its mark, and then a compaction left out an overtaken state. The
/// next merge took that one for missing, and put it behind the one that had overtaken it.
#[test]
fn a_state_that_was_folded_since_is_not_put_behind_a_later_one() {
    let edge = open(&SimDisk::new(1));
    let noted = |said: &str| Json::parse(format!("{said:?}")).unwrap();
    for said in ["old", "new"] {
        edge.append(run("r", Status::Running).metadata(noted(said))).unwrap();
    }
    let disk = SimDisk::new(9);
    let ledger = open(&disk);
    let mut is_added = false;
    disk.set_faults(move |op| {
        let is_in = |stream: &str| op.path.to_string_lossy().contains(stream);
        is_added |= op.kind == OpKind::Write && is_in("/runs/");
        (is_added && op.kind == OpKind::Write && is_in("/audit/")).then_some(Fault::NoSpace)
    });
    let full = ledger.merge_from(edge.reader());
    assert!(matches!(full, Err(Error::NoSpace { .. })), "{full:?}");
    disk.clear_hooks();
    disk.advance(std::time::Duration::from_secs(2 * 24 * 60 * 60));
    ledger.maintain().unwrap();
    ledger.compact(&Compaction::new()).unwrap();
    let id = Id::new("r").unwrap();
    assert_eq!(ledger.reader().run_history(&id).unwrap().len(), 1, "one is left out");
    let report = ledger.merge_from(edge.reader()).unwrap();
    let stored = ledger.reader().run("r").unwrap();
    let Body::Run(newest) = stored.record().unwrap().body else { panic!("a run") };
    assert_eq!(newest.metadata, Some(noted("new")));
    assert_eq!((report.runs, report.refused), (0, 0));
}

/// Between two pages of a merge its reader was refreshed, as another thread may do, and the view of
/// a writer always is. An error came into sight that had a lower number than what was merged by
/// then, and one with a higher number: the mark was set behind both, and the first never added.
#[test]
fn what_comes_into_sight_while_a_merge_goes_on_is_left_to_the_next() {
    let disk = SimDisk::new(1);
    let edge = open(&disk);
    edge.append(ErrorRecord::new("E", "first of the file")).unwrap();
    edge.append(Event::new("e")).unwrap();
    let copy = disk.fork();
    let events: Vec<Body<'_>> = (0..5000).map(|_| Event::new("e").into()).collect();
    edge.append(ErrorRecord::new("E", "before")).unwrap();
    edge.append_batch(&events, Durability::Os).unwrap();
    edge.append(ErrorRecord::new("E", "behind")).unwrap();
    let take_over = move |stream: &str| {
        let is_of = |path: &std::path::Path| path.to_string_lossy().contains(stream);
        for path in disk.files().into_iter().filter(|path| is_of(path)) {
            copy.poke(&path, disk.peek(&path));
        }
        reader(&copy)
    };
    let seen = Arc::new(take_over("/events/"));
    let central = SimDisk::new(9);
    let ledger = open(&central);
    let refreshed = Arc::clone(&seen);
    central.set_probe(move |moment| {
        if moment.op.path.to_string_lossy().contains("/events/") {
            take_over("/errors/");
            refreshed.refresh().unwrap();
        }
    });
    let first = ledger.merge_from(&seen).unwrap();
    central.clear_hooks();
    let second = ledger.merge_from(&seen).unwrap();
    assert_eq!(first.events + second.events, 5001);
    assert_eq!(first.errors + second.errors, 3, "{first:?} {second:?}");
}

/// Each of the two looked up what was here before the other had added anything.
#[test]
fn two_merges_of_one_ledger_at_once_add_nothing_twice() {
    let other = SimDisk::new(1);
    let edge = open(&other);
    let events: Vec<Body<'_>> = (0..20_000).map(|_| Event::new("e").into()).collect();
    edge.append_batch(&events, Durability::Os).unwrap();
    edge.close().unwrap();
    let ledger = open(&SimDisk::new(9));
    let both = Barrier::new(2);
    let merge = || {
        both.wait();
        ledger.merge_from(&reader(&other)).unwrap().events
    };
    let added = std::thread::scope(|scope| {
        let first = scope.spawn(merge);
        merge() + first.join().unwrap()
    });
    assert_eq!((added, seqs(ledger.reader()).len()), (20_000, 20_000));
}
