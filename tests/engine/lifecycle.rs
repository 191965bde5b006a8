//! Runs that nobody ends: what is closed as abandoned, when, and what is left alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::limits::{DEFAULT_SEGMENT_BYTES, MAX_RECORD_BYTES};
use runledger::storage::{Fate, Storage};
use runledger::{
    Body, Cleanup, Durability, Error, Event, Json, Kind, Ledger, Options, Order, Owner, Process,
    Record, Run, RunError, RunHandle, Status, Timestamp,
};

use super::DIR;
use super::hooked::Hooked;
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    disk: SimDisk,
    storage: Hooked,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        Self { storage: Hooked::new(disk.storage()), disk }
    }

    fn options(&self) -> Options {
        let options = Options::new().storage(Arc::new(self.storage.clone())).background(false);
        options.segment_bytes(runledger::limits::MIN_SEGMENT_BYTES)
    }

    fn open(&self) -> Ledger {
        self.options().open(DIR).unwrap()
    }

    fn all_have(&self, fate: Fate) {
        self.storage.set_fates(move |_| fate);
    }
}

fn running(id: &str) -> Run<'static> {
    Run::new(id.to_owned(), "import", Status::Running).unwrap()
}

/// The newest state of a run.
fn state(ledger: &Ledger, id: &str) -> Record<'static> {
    ledger.reader().run(id).unwrap().record().unwrap().into_owned()
}

fn run(ledger: &Ledger, id: &str) -> Run<'static> {
    let Body::Run(run) = state(ledger, id).body else { panic!("{id} is a run") };
    run
}

fn notes(ledger: &Ledger, kind: &str) -> Vec<String> {
    let page = ledger.reader().audit().record_type(kind).order(Order::Seq).fetch().unwrap();
    let message = |record: Record<'_>| match record.body {
        Body::Event(event) => event.message.unwrap_or_default().into_owned(),
        other => panic!("{other:?}"),
    };
    page.records().map(|record| message(record.unwrap())).collect()
}

/// A service that was killed left its runs `running` for ever: in lists, in counts, and carried
/// forward by each clean-up. The next writer closes them, wherever their records lie, and no
/// others.
#[test]
fn runs_of_a_process_that_is_gone_are_closed_by_the_next_opening() {
    for (fate, said) in [
        (Fate::Ended, "its owner, process 4711 on web-1, is gone"),
        (Fate::Restarted, "its owner, process 4711 on web-1, went with a restart of the machine"),
    ] {
        let bench = Bench::new(1);
        let owner = bench.storage.owner(4711);
        let ledger = bench.open();
        ledger.append(running("sealed").owner(owner.clone())).unwrap();
        ledger.append(running("nobody's")).unwrap();
        for number in 0..40 {
            let padding = runledger::Json::from_value(&"x".repeat(4000)).unwrap();
            let run = Run::new(format!("filler-{number}"), "filler", Status::Success).unwrap();
            ledger.append(run.metadata(padding)).unwrap();
        }
        let ended = ledger.start_run(running("ended").owner(owner.clone())).unwrap();
        ended.succeed().unwrap();
        ledger.append(running("open").owner(owner)).unwrap();
        ledger.append(running("alive").owner(bench.storage.owner(4712))).unwrap();
        assert!(ledger.reader().stats().unwrap().streams[0].sealed > 0);
        let killed = bench.disk.fork();
        ledger.close().unwrap();
        for disk in [bench.disk, killed.kill()] {
            let storage = Hooked::new(disk.storage());
            let bench = Bench { disk, storage };
            bench.storage.set_fates(move |owner| match owner.process {
                Some(process) if process.pid == 4711 => fate,
                _ => Fate::Lives,
            });
            let ledger = bench.open();
            for id in ["sealed", "open"] {
                let run = run(&ledger, id);
                assert_eq!((run.status, &run.owner), (Status::Abandoned, &None), "{id}");
                let error = run.error.unwrap();
                assert_eq!(
                    (&*error.message, error.error_type.as_deref()),
                    (said, Some("Abandoned"))
                );
                assert!(run.finished_at > run.started_at, "closed when it was found");
                assert_eq!(ledger.reader().run_history(&run.run_id).unwrap().len(), 2);
            }
            assert_eq!(run(&ledger, "alive").status, Status::Running);
            assert_eq!(run(&ledger, "nobody's").status, Status::Running);
            assert_eq!(run(&ledger, "ended").status, Status::Success);
            let before = ledger.append(Event::new("next")).unwrap();
            ledger.close().unwrap();
            let again = bench.open();
            assert_eq!(again.append(Event::new("next")).unwrap(), before + 1, "once");
        }
    }
}

/// The look at an owner and the end of its run are not one step: whoever ends the run, renews its
/// lease or takes it over in between has the last word.
#[test]
fn what_happens_to_a_run_while_it_is_judged_has_the_last_word() {
    type Act = fn(&RunHandle) -> runledger::Result<u64>;
    let acts: [(Act, Status); 3] = [
        (RunHandle::succeed, Status::Success),
        (RunHandle::heartbeat, Status::Running),
        (
            |run| {
                let owner = Owner::new("web-2").lease_until(Timestamp::MAX);
                run.update(running("r").owner(owner))
            },
            Status::Running,
        ),
    ];
    for (act, expected) in acts {
        let bench = Bench::new(2);
        let options = bench.options().lease(Some(MINUTE));
        let ledger = options.open(DIR).unwrap();
        let handle = ledger.start_run(running("r")).unwrap();
        bench.disk.advance(Duration::from_secs(1));
        let pending = Mutex::new(Some(handle));
        bench.storage.set_fates(move |_| {
            let handle = pending.lock().take();
            handle.iter().for_each(|handle| assert!(act(handle).is_ok()));
            if handle.is_some() { Fate::Ended } else { Fate::Lives }
        });
        ledger.maintain().unwrap();
        assert_eq!(run(&ledger, "r").status, expected);
        ledger.maintain().unwrap();
        assert_eq!(run(&ledger, "r").status, expected, "and keeps it");
    }
}

#[test]
fn a_lease_counts_where_the_process_cannot_be_seen() {
    let bench = Bench::new(3);
    let ledger = bench.options().lease(Some(MINUTE)).open(DIR).unwrap();
    let handle = ledger.start_run(running("r")).unwrap();
    let status = || run(&ledger, "r").status;
    let later = |seconds| {
        bench.disk.advance(Duration::from_secs(seconds));
        ledger.maintain().unwrap();
    };
    later(120);
    assert_eq!(status(), Status::Running, "its process lives");
    bench.all_have(Fate::Unknown);
    handle.heartbeat().unwrap();
    later(50);
    assert_eq!(status(), Status::Running, "the lease goes on");
    handle.heartbeat().unwrap();
    later(50);
    assert_eq!(status(), Status::Running, "it was renewed");
    later(20);
    assert_eq!(status(), Status::Abandoned);
    let error = run(&ledger, "r").error.unwrap().message;
    assert!(error.starts_with("the lease of its owner, process "), "{error}");
    assert!(error.contains(" on web-1, ended at 20"), "{error}");
    assert!(matches!(handle.heartbeat(), Err(Error::RunTransition { .. })));
    assert!(matches!(handle.succeed(), Err(Error::RunTransition { .. })));
    let again = running("r").attempt(2u32);
    ledger.append(again).unwrap();
    assert_eq!((run(&ledger, "r").status, run(&ledger, "r").owner), (Status::Running, None));
}

/// A handle named no attempt: the worker whose lease had ended, and whose run another one had taken
/// up again, ended the attempt of that one, or renewed its lease.
#[test]
fn a_handle_does_nothing_to_a_later_attempt() {
    type Act = fn(&RunHandle) -> runledger::Result<u64>;
    let acts: [Act; 4] = [
        RunHandle::heartbeat,
        |handle| handle.update(running("r")),
        |handle| handle.fail(RunError::new("no answer")),
        RunHandle::succeed,
    ];
    let bench = Bench::new(3);
    let ledger = bench.options().lease(Some(MINUTE)).open(DIR).unwrap();
    let late = ledger.start_run(running("r")).unwrap();
    bench.all_have(Fate::Unknown);
    bench.disk.advance(2 * MINUTE);
    ledger.maintain().unwrap();
    assert_eq!(run(&ledger, "r").status, Status::Abandoned);
    let again = ledger.start_run(running("r").attempt(2u32)).unwrap();
    for act in acts {
        let acted = act(&late);
        assert!(matches!(acted, Err(Error::RunTransition { attempt: 2, .. })), "{acted:?}");
    }
    // Who joins the attempt that is under way need not know its number.
    let joined = ledger.start_run(running("r")).unwrap();
    for handle in [&again, &joined] {
        handle.heartbeat().unwrap();
    }
    joined.succeed().unwrap();
    let run = run(&ledger, "r");
    assert_eq!((run.status, run.attempt), (Status::Success, Some(2)));
}

/// A clock that is set years ahead ended every lease at once.
#[test]
fn a_clock_that_jumps_years_ahead_ends_no_lease() {
    let bench = Bench::new(4);
    let ledger = bench.options().lease(Some(MINUTE)).open(DIR).unwrap();
    let _handle = ledger.start_run(running("r")).unwrap();
    ledger.append_with(Event::new("e"), Durability::Sync).unwrap();
    bench.all_have(Fate::Unknown);
    let years = 10 * 365 * 24 * 3600 * 1_000_000_000;
    bench.disk.set_now(bench.disk.now_without_tick() + years);
    ledger.maintain().unwrap();
    assert_eq!(run(&ledger, "r").status, Status::Running);
}

#[test]
fn an_owner_stays_until_another_is_named_or_the_run_ends() {
    let bench = Bench::new(5);
    let ledger = bench.open();
    let pids = || {
        let owner = run(&ledger, "r").owner;
        owner.and_then(|owner| owner.process).map(|process: Process| process.pid)
    };
    let at = |id: &str, status| Run::new(id.to_owned(), "import", status).unwrap();
    ledger.append(at("r", Status::Pending)).unwrap();
    assert_eq!(pids(), None, "an append by itself owns nothing");
    ledger.append(at("r", Status::Pending).owner(bench.storage.owner(1))).unwrap();
    ledger.append(at("r", Status::Running)).unwrap();
    assert_eq!(pids(), Some(1), "kept");
    let taken = ledger.start_run(at("r", Status::Running).owner(bench.storage.owner(2))).unwrap();
    assert_eq!(pids(), Some(2), "taken over");
    taken.update(at("r", Status::Running)).unwrap();
    assert_eq!(pids(), Some(std::process::id()), "the handle's process is at work on it");
    ledger.append(at("r", Status::Success)).unwrap();
    assert_eq!(pids(), None);
    ledger.append(at("r", Status::Running).attempt(2u32)).unwrap();
    assert_eq!(pids(), None, "of the attempt before");

    // Carried forward by a clean-up, a run keeps its owner.
    ledger.append(running("carried").owner(bench.storage.owner(3))).unwrap();
    ledger.append(at("whole", Status::Success)).unwrap();
    bench.disk.advance(3600 * Duration::from_secs(1));
    let report = ledger.cleanup(&Cleanup::older_than(MINUTE), false).unwrap();
    assert!(report.carried > 0, "{report:?}");
    assert_eq!(run(&ledger, "carried").owner, Some(Box::new(bench.storage.owner(3))));
}

/// `abandoned` says that the engine has looked: nobody else can say it, but for a ledger that is
/// restored from an export.
#[test]
fn abandoned_is_for_the_engine_to_say() {
    let bench = Bench::new(6);
    let ledger = bench.open();
    let abandoned = || Body::Run(Run::new("r", "import", Status::Abandoned).unwrap());
    assert!(matches!(ledger.append(abandoned()), Err(Error::Invalid { what: "status", .. })));
    let batch = [Event::new("a").into(), abandoned(), Event::new("b").into()];
    assert!(ledger.append_batch(&batch, Durability::Os).is_err());
    let outcomes = ledger.append_each(&batch, Durability::Os).unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(ledger.query().kind(Kind::Run).count().unwrap(), 0);
    ledger.close().unwrap();
    let ledger = bench.options().restores(true).open(DIR).unwrap();
    ledger.append(abandoned()).unwrap();
    ledger.append(running("owned").owner(bench.storage.owner(4711))).unwrap();
    let owned = Run::new("owned", "import", Status::Abandoned).unwrap();
    assert!(matches!(ledger.append(owned), Err(Error::RunTransition { .. })), "its owner lives");
}

/// A job that no longer started was missed by nobody: what is not there raises no error.
#[test]
fn a_run_that_never_comes_is_put_on_record_once() {
    let bench = Bench::new(7);
    let ledger = bench.open();
    let expected = || ledger.reader().expected_runs().unwrap();
    let later = |seconds| {
        bench.disk.advance(Duration::from_secs(seconds));
        ledger.maintain().unwrap();
    };
    let missed = || notes(&ledger, "run.missed");
    let success = |id: &str| Run::new(id.to_owned(), "backup", Status::Success).unwrap();
    ledger.append(success("before")).unwrap();
    bench.disk.advance(MINUTE);
    ledger.expect_run("backup", 5 * MINUTE, MINUTE).unwrap();
    ledger.expect_run("x".repeat(256).as_str(), 5 * MINUTE, MINUTE).unwrap();
    assert!(ledger.expect_run("", MINUTE, MINUTE).is_err());
    assert!(ledger.expect_run("x", Duration::from_millis(999), MINUTE).is_err());
    assert_eq!(expected().len(), 2);
    assert_eq!(expected()[0].last.as_ref().unwrap().run_id.to_string(), "before");
    later(350);
    assert_eq!((missed().len(), expected()[0].is_missed), (0, false), "it may still come");
    later(20);
    assert_eq!((missed().len(), expected()[0].is_missed), (2, true));
    assert!(missed()[0].starts_with("no run of backup since before of 20"), "{:?}", missed());
    assert!(missed()[1].contains("when it was first expected"), "{:?}", missed());
    later(600);
    ledger.close().unwrap();
    let ledger = bench.open();
    let missed = || notes(&ledger, "run.missed");
    assert_eq!(missed().len(), 2, "each miss once");
    ledger.append(success("late")).unwrap();
    ledger.append(success("future").created_at(Timestamp::MAX)).unwrap();
    ledger.maintain().unwrap();
    assert!(!ledger.reader().expected_runs().unwrap()[0].is_missed);
    assert!(ledger.expect_run_no_longer(&"x".repeat(256)).unwrap());
    assert!(!ledger.expect_run_no_longer(&"x".repeat(256)).unwrap());
    bench.disk.advance(10 * MINUTE);
    ledger.maintain().unwrap();
    assert_eq!(missed().len(), 3, "a run from the future hides nothing");
    assert!(missed()[2].contains("since late of"), "{:?}", missed());
}

/// A type whose last run was damaged kept the misses of all others from being noted.
#[test]
fn a_damaged_run_hides_no_miss() {
    let bench = Bench::new(11);
    let ledger = bench.open();
    ledger.append(Run::new("victim", "archive", Status::Success).unwrap()).unwrap();
    bench.disk.advance(48 * 60 * MINUTE);
    ledger.maintain().unwrap();
    for name in ["archive", "backup"] {
        ledger.expect_run(name, MINUTE, MINUTE).unwrap();
    }
    ledger.close().unwrap();
    let is_of_runs = |path: &&PathBuf| path.to_string_lossy().contains("/runs/");
    let path = bench.disk.files().iter().find(is_of_runs).unwrap().clone();
    let mut bytes = bench.disk.peek(&path);
    let at = bytes.windows(6).position(|it| it == b"victim").unwrap();
    bytes[at] ^= 1;
    bench.disk.poke(&path, bytes);
    let ledger = bench.open();
    assert!(ledger.query().kind(Kind::Run).fetch().unwrap().records().next().unwrap().is_err());
    bench.disk.advance(10 * MINUTE);
    ledger.maintain().unwrap();
    assert_eq!(notes(&ledger, "run.missed").len(), 2);
    assert_eq!(ledger.reader().expected_runs().unwrap().len(), 2);
}

/// Two types that begin alike had one trace between them, and of the notes under that the newest
/// alone was looked at: each of the two was noted again in every round.
#[test]
fn misses_of_types_that_begin_alike_are_noted_once() {
    let bench = Bench::new(12);
    let ledger = bench.open();
    for end in ["a", "b"] {
        ledger.expect_run(&("x".repeat(128) + end), MINUTE, MINUTE).unwrap();
    }
    bench.disk.advance(10 * MINUTE);
    for _ in 0..3 {
        ledger.maintain().unwrap();
    }
    assert_eq!(notes(&ledger, "run.missed").len(), 2);
}

/// Each look put a note of the miss among those that wait for space: with an hour of a full disk
/// there were sixty of one miss.
#[test]
fn a_miss_on_a_full_disk_is_noted_once() {
    let bench = Bench::new(14);
    let ledger = bench.options().reserve_bytes(0).open(DIR).unwrap();
    ledger.expect_run("backup", MINUTE, MINUTE).unwrap();
    bench.disk.set_faults(|op| {
        let is_note = op.path.to_string_lossy().contains("audit");
        (op.kind == OpKind::Write && is_note).then_some(Fault::NoSpace)
    });
    bench.disk.advance(10 * MINUTE);
    for _ in 0..3 {
        ledger.maintain().unwrap();
    }
    bench.disk.clear_hooks();
    ledger.maintain().unwrap();
    assert_eq!(notes(&ledger, "run.missed").len(), 1);
}

/// A service that says at each start what it expects began the wait anew: where it was started more
/// often than that, nothing was ever missed.
#[test]
fn what_is_expected_again_is_expected_since_the_first_time() {
    let bench = Bench::new(15);
    for _ in 0..3 {
        let ledger = bench.open();
        ledger.expect_run("backup", 5 * MINUTE, MINUTE).unwrap();
        bench.disk.advance(3 * MINUTE);
        ledger.close().unwrap();
    }
    let ledger = bench.open();
    assert_eq!(notes(&ledger, "run.missed").len(), 1);
    assert_eq!(notes(&ledger, "run.expected").len(), 1);
    ledger.expect_run("backup", 5 * MINUTE, 2 * MINUTE).unwrap();
    assert!(!ledger.reader().expected_runs().unwrap()[0].is_missed, "other terms begin anew");
}

/// The states of a run whose owner was gone were looked for in a segment that could not be read:
/// that kept the ledger from opening.
#[test]
fn an_owner_that_is_gone_keeps_no_ledger_from_opening() {
    let bench = Bench::new(16);
    let ledger = bench.open();
    ledger.append(running("r").owner(bench.storage.owner(4711))).unwrap();
    let is_of_runs = |path: &PathBuf| path.to_string_lossy().contains("/runs/");
    let of_runs = || bench.disk.files().into_iter().filter(is_of_runs);
    while of_runs().count() < 2 {
        let padding = Json::from_value(&"x".repeat(4000)).unwrap();
        let run = Run::new(format!("r-{}", ledger.settled()), "filler", Status::Success).unwrap();
        ledger.append(run.metadata(padding)).unwrap();
    }
    ledger.close().unwrap();
    let (disk, last) = (bench.disk.clone(), of_runs().next_back().unwrap());
    bench.storage.set_fates(move |_| {
        let last = last.clone();
        disk.set_faults(move |op| {
            let reads = matches!(op.kind, OpKind::Read | OpKind::Map);
            (reads && op.path == last).then_some(Fault::Io)
        });
        Fate::Ended
    });
    let ledger = bench.open();
    let told = ledger.noticed().join(", ");
    assert!(told.contains("left out of the look at open runs"), "{told}");
    bench.disk.clear_hooks();
    bench.all_have(Fate::Ended);
    ledger.maintain().unwrap();
    assert_eq!(run(&ledger, "r").status, Status::Abandoned);
}

/// The clock was ahead when runs were first expected. No miss was noted until that time had come.
#[test]
fn a_clock_that_was_ahead_hides_no_miss() {
    let bench = Bench::new(13);
    let ledger = bench.open();
    let now = bench.disk.now_without_tick();
    bench.disk.advance(300 * 24 * 60 * MINUTE);
    ledger.expect_run("backup", MINUTE, MINUTE).unwrap();
    bench.disk.set_now(now);
    ledger.append(Run::new("last", "backup", Status::Success).unwrap()).unwrap();
    ledger.maintain().unwrap();
    assert_eq!(notes(&ledger, "run.missed").len(), 0);
    bench.disk.advance(10 * MINUTE);
    ledger.maintain().unwrap();
    assert_eq!(notes(&ledger, "run.missed").len(), 1);
}

/// The engine adds to what it was given: why a run was abandoned, or which state it follows. One
/// that took all of a record could not be closed, and the ledger not be opened; nor could it be
/// carried forward, and nothing expired any more.
#[test]
fn the_largest_runs_are_closed_and_carried_like_others() {
    let bench = Bench::new(10);
    let options = bench.options().segment_bytes(DEFAULT_SEGMENT_BYTES);
    let ledger = options.retention(Kind::Run, Some(MINUTE)).open(DIR).unwrap();
    let append_largest = |run: Run<'static>| {
        let of = |len: usize| run.clone().metadata(Json::from_value(&"x".repeat(len)).unwrap());
        let mut len = MAX_RECORD_BYTES - 16;
        while let Err(err) = ledger.append(of(len)) {
            let Error::TooLarge { size, limit, .. } = err else { panic!("{err}") };
            len -= usize::try_from(size - limit).unwrap();
        }
        assert!(len < MAX_RECORD_BYTES - 16);
    };
    append_largest(running("owned").owner(bench.storage.owner(4711)));
    append_largest(running("nobody's"));
    append_largest(Run::new("ended", "import", Status::Success).unwrap());
    ledger.append(Run::new("other", "import", Status::Skipped).unwrap()).unwrap();
    bench.disk.advance(2 * MINUTE);
    for (carried, results) in [(2, 1), (2, 1)] {
        let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
        assert_eq!((report.carried, report.results), (carried, results), "{report:?}");
        ledger.append(Run::new("more", "import", Status::Skipped).unwrap()).unwrap();
        bench.disk.advance(2 * MINUTE);
    }
    ledger.close().unwrap();
    bench.all_have(Fate::Ended);
    let ledger = bench.open();
    assert_eq!(run(&ledger, "owned").status, Status::Abandoned);
    assert_eq!(run(&ledger, "nobody's").status, Status::Running);
    assert_eq!(run(&ledger, "ended").status, Status::Success);
}

/// Ok was said of an expectation that had found no space, or was nowhere but in the kernel: nobody
/// missed the runs after a crash.
#[test]
fn what_is_expected_is_kept_or_refused() {
    let bench = Bench::new(9);
    let ledger = bench.open();
    bench.disk.set_faults(|op| {
        let is_note = op.path.to_string_lossy().contains("audit");
        (op.kind == OpKind::Write && is_note).then_some(Fault::NoSpace)
    });
    let expect = || ledger.expect_run("backup", MINUTE, MINUTE);
    assert!(matches!(expect(), Err(Error::NoSpace { .. })));
    bench.disk.clear_hooks();
    expect().unwrap();
    let types = |ledger: &Ledger| ledger.reader().expected_runs().unwrap().len();
    let nothing = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 0 };
    bench.disk.lose_power(nothing, || drop(ledger));
    let ledger = bench.open();
    assert_eq!(types(&ledger), 1);
    assert!(ledger.expect_run_no_longer("backup").unwrap());
    bench.disk.lose_power(nothing, || drop(ledger));
    assert_eq!(types(&bench.open()), 0);
}

/// What the engine closes at an opening can be lost to a power cut like any append: then the next
/// opening finds the same again.
#[test]
fn a_power_cut_at_any_step_of_the_opening_leaves_the_run_open_or_abandoned() {
    let bench = Bench::new(8);
    let ledger = bench.open();
    ledger.append_with(running("r").owner(bench.storage.owner(9)), Durability::Sync).unwrap();
    ledger.close().unwrap();
    let cut_at = |step: u64, seed| {
        let disk = bench.disk.fork();
        let cuts = Arc::new(Mutex::new(None));
        let (place, mut left) = (Arc::clone(&cuts), step);
        disk.set_probe(move |moment| {
            if left == 0 {
                let cut = Cut { files: Keep::Sectors, names: KeepNames::Prefix, seed };
                place.lock().get_or_insert_with(|| moment.cut(cut));
            }
            left = left.saturating_sub(1);
        });
        let storage = Hooked::new(disk.storage());
        storage.set_fates(|_| Fate::Ended);
        let of_it = Bench { disk: disk.clone(), storage };
        of_it.open().close().unwrap();
        disk.clear_hooks();
        cuts.lock().take()
    };
    let mut tried = 0;
    while let Some(disk) = cut_at(tried, tried) {
        let storage = Hooked::new(disk.storage());
        storage.set_fates(|_| Fate::Ended);
        let ledger = Bench { disk, storage }.open();
        assert_eq!(run(&ledger, "r").status, Status::Abandoned);
        assert_eq!(ledger.query().kind(Kind::Run).history(true).count().unwrap(), 2);
        tried += 1;
    }
    assert!(tried > 5, "{tried}");
}
