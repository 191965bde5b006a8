//! Panics on record.

use std::env;
use std::path::Path;
use std::process::Command;

use runledger::embed::{OpenRuns, PanicHook, Recorder};
use runledger::{Body, Event, Id, Kind, Ledger, Owner, Run, Severity, Status};

use super::found;

/// Names the ledger of the process that panics.
const DIR: &str = "RUNLEDGER_TEST_PANIC";

/// Runs this test of this program in a process of its own, where it panics.
fn in_a_process(test: &str, dir: &Path) {
    let name = format!("embed::panic::{test}");
    let mut child = Command::new(env::current_exe().unwrap());
    let child = child.args([&name, "--exact", "--nocapture"]).env(DIR, dir).output().unwrap();
    assert!(!child.status.success(), "{child:?}");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(said.contains("no such table"), "the hook before was not called: {said}");
}

#[test]
fn a_panic_that_ends_the_process_is_kept_and_fails_its_runs() {
    if let Ok(dir) = env::var(DIR) {
        let ledger = Ledger::open(dir).unwrap();
        let (recorder, _queue) = Recorder::queue().start(&ledger).unwrap();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            // As where panics are not unwound.
            std::process::abort();
        }));
        let hook = PanicHook::new(&ledger).last_records(2).flushes(&recorder);
        let _guard = hook.install();
        for number in 0..2500 {
            let run = Run::new(format!("mine-{number}"), "job", Status::Running).unwrap();
            recorder.record(run);
        }
        let other = Owner::new("elsewhere");
        ledger.append(Run::new("not-mine", "job", Status::Running).unwrap().owner(other)).unwrap();
        recorder.record(Event::new("opened").message("bookings"));
        recorder.record(Event::new("asked").message("x".repeat(1000)));
        panic!("no such table: {}", "bookings");
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    in_a_process("a_panic_that_ends_the_process_is_kept_and_fails_its_runs", &dir);
    let ledger = Ledger::open(&dir).unwrap();
    let mut errors = found(ledger.query().kind(Kind::Error));
    let Body::Error(error) = errors.remove(0).body else { panic!("an error") };
    assert_eq!((&*error.error_type, error.severity), ("panic", Severity::Critical));
    assert_eq!(error.message, "no such table: bookings");
    assert!(error.stack.unwrap().contains("embed::panic"), "no backtrace");
    let detail: serde_json::Value = error.detail.unwrap().to_value().unwrap();
    assert!(detail["place"].as_str().unwrap().contains("panic.rs:"), "{detail}");
    assert!(detail["thread"].as_str().unwrap().contains("a_panic_that"), "{detail}");
    let types: Vec<_> =
        detail["records"].as_array().unwrap().iter().map(|it| it["type"].clone()).collect();
    assert_eq!(types, ["opened", "asked"]);
    assert_eq!(detail["records"][1]["message"].as_str().unwrap().len(), 256);
    let of = |status| ledger.query().kind(Kind::Run).status(status).count().unwrap();
    assert_eq!((of(Status::Failed), of(Status::Running)), (2500, 1));
    let Body::Run(run) = found(ledger.query().run("mine-7")).remove(0).body else {
        panic!("a run")
    };
    assert_eq!(run.error.unwrap().message, "no such table: bookings");
}

/// What is recorded of a panic may panic in its turn, and its place is gone with the guard.
#[test]
fn a_hook_leaves_runs_alone_where_it_is_told_to() {
    if let Ok(dir) = env::var(DIR) {
        let ledger = Ledger::open(dir).unwrap();
        let run = Run::new("r", "job", Status::Running).unwrap();
        let run = ledger.start_run(run.trace_id(Id::new("t").unwrap())).unwrap();
        let guard = PanicHook::new(&ledger).open_runs(OpenRuns::Leave).install();
        let panics = |text: &'static str| std::thread::spawn(move || panic!("{text}")).join();
        assert!(panics("one").is_err() && panics("two").is_err());
        run.succeed().unwrap();
        drop(guard);
        assert!(panics("three").is_err());
        assert_eq!(ledger.query().record_type("panic").count().unwrap(), 2);
        panic!("no such table: the last");
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    in_a_process("a_hook_leaves_runs_alone_where_it_is_told_to", &dir);
    let ledger = Ledger::open(&dir).unwrap();
    assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 1);
    assert_eq!(ledger.query().record_type("panic").count().unwrap(), 2);
}

/// A thread's panic ended the runs that were open, and one that was opened later and unwound
/// without a hook was taken for one of them: nobody closed it.
#[cfg(feature = "tracing")]
#[test]
fn a_run_that_was_opened_after_a_panic_is_closed_by_its_layer() {
    use runledger::Durability;
    use runledger::embed::LedgerLayer;
    use tracing_subscriber::layer::SubscriberExt;

    if let Ok(dir) = env::var(DIR) {
        let ledger = Ledger::open(dir).unwrap();
        let layer = LedgerLayer::new(Recorder::in_place(&ledger, Durability::Os));
        let _guard = PanicHook::new(&ledger).install();
        let unwound = |name: &'static str, work: fn()| {
            let run = || {
                let _run = tracing::info_span!("run", runledger.run = name).entered();
                work();
            };
            assert!(std::panic::catch_unwind(run).is_err());
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            unwound("first", || panic!("no such table: bookings"));
            unwound("second", || std::panic::resume_unwind(Box::new("as planned")));
        });
        ledger.close().unwrap();
        std::process::exit(3);
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    in_a_process("a_run_that_was_opened_after_a_panic_is_closed_by_its_layer", &dir);
    let ledger = Ledger::open(&dir).unwrap();
    for (name, reason) in [("first", "no such table: bookings"), ("second", "the thread panicked")]
    {
        let Body::Run(run) = found(ledger.query().record_type(name)).remove(0).body else {
            panic!("a run")
        };
        assert_eq!((run.status, &*run.error.unwrap().message), (Status::Failed, reason), "{name}");
    }
}

/// Opens a run in these layers, which a panic then unwinds.
#[cfg(feature = "tracing")]
fn unwound(layers: impl tracing::Subscriber + Send + Sync + 'static) {
    let run = || {
        let _run = tracing::info_span!("run", runledger.run = "job").entered();
        panic!("no such table: bookings");
    };
    let unwound = || std::panic::catch_unwind(run).unwrap_err();
    drop(tracing::subscriber::with_default(layers, unwound));
}

/// The one run of a ledger, and why it failed.
#[cfg(feature = "tracing")]
fn failed(ledger: &Ledger) -> (Status, String) {
    let Body::Run(run) = found(ledger.query().kind(Kind::Run)).remove(0).body else {
        panic!("a run")
    };
    (run.status, run.error.map(|error| error.message.into_owned()).unwrap_or_default())
}

/// A panic that had ended the runs of one ledger was taken to have ended those of another, too:
/// nobody closed them. Where the hook of the other was called last, those that the first one had
/// ended were closed once more.
#[cfg(feature = "tracing")]
#[test]
fn a_hook_ends_the_runs_of_its_ledger_alone() {
    use runledger::Durability;
    use runledger::embed::LedgerLayer;
    use tracing_subscriber::layer::SubscriberExt;

    for fails_first in [false, true] {
        let order = if fails_first { "first" } else { "last" };
        if let Ok(dir) = env::var(DIR) {
            let ledgers = ["fails", "leaves"]
                .map(|name| Ledger::open(format!("{dir}/{order}/{name}")).unwrap());
            let [fails, leaves] = ledgers
                .each_ref()
                .map(|ledger| LedgerLayer::new(Recorder::in_place(ledger, Durability::Os)));
            let [of_fails, of_leaves] = ledgers.each_ref().map(PanicHook::new);
            let of_leaves = of_leaves.open_runs(OpenRuns::Leave);
            // The one that is installed last is called first.
            let hooks = match fails_first {
                true => [of_leaves, of_fails],
                false => [of_fails, of_leaves],
            };
            let guards = hooks.map(PanicHook::install);
            unwound(tracing_subscriber::registry().with(fails).with(leaves));
            drop(guards);
            ledgers.iter().for_each(|ledger| ledger.close().unwrap());
        }
    }
    if env::var(DIR).is_ok() {
        std::process::exit(3);
    }
    let dir = tempfile::tempdir().unwrap();
    in_a_process("a_hook_ends_the_runs_of_its_ledger_alone", dir.path());
    for order in ["first", "last"] {
        let reasons = [("fails", "no such table: bookings"), ("leaves", "the thread panicked")];
        for (name, reason) in reasons {
            let ledger = Ledger::open(dir.path().join(order).join(name)).unwrap();
            assert_eq!(failed(&ledger), (Status::Failed, reason.to_owned()), "{order} {name}");
            let refused = ledger.reader().audit().record_type("appends.refused");
            assert_eq!(refused.count().unwrap(), 0, "{order} {name}");
        }
    }
}

/// What one hook of a ledger had ended was forgotten as the other one found nothing to end: the
/// layer closed it once more, which was refused.
#[cfg(feature = "tracing")]
#[test]
fn of_two_hooks_of_a_ledger_the_first_ends_its_runs() {
    use runledger::Durability;
    use runledger::embed::LedgerLayer;
    use tracing_subscriber::layer::SubscriberExt;

    if let Ok(dir) = env::var(DIR) {
        let ledger = Ledger::open(dir).unwrap();
        let layer = LedgerLayer::new(Recorder::in_place(&ledger, Durability::Os));
        let _guards = [PanicHook::new(&ledger), PanicHook::new(&ledger)].map(PanicHook::install);
        unwound(tracing_subscriber::registry().with(layer));
        ledger.close().unwrap();
        std::process::exit(3);
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    in_a_process("of_two_hooks_of_a_ledger_the_first_ends_its_runs", &dir);
    let ledger = Ledger::open(&dir).unwrap();
    assert_eq!(failed(&ledger), (Status::Failed, "no such table: bookings".to_owned()));
    assert_eq!(ledger.reader().audit().record_type("appends.refused").count().unwrap(), 0);
}

/// The hook did not find a run that waited in a queue yet, and the layer took it to have done so.
#[cfg(feature = "tracing")]
#[test]
fn a_run_that_the_hook_has_not_found_is_closed_by_its_layer() {
    use std::sync::{Arc, mpsc};

    use runledger::embed::LedgerLayer;
    use tracing_subscriber::layer::SubscriberExt;

    if let Ok(dir) = env::var(DIR) {
        let storage = crate::engine::hooked::Hooked::new(Arc::new(runledger::storage::Disk));
        let options = runledger::Options::new().storage(Arc::new(storage.clone()));
        let ledger = options.open(dir).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = parking_lot::Mutex::new(released);
        storage.set(move |operation, _| {
            let is_of_queue = std::thread::current().name() == Some("runledger-queue");
            if operation == "monotonic" && is_of_queue {
                let _ = begun.send(());
                let _ = released.lock().recv();
            }
        });
        let (recorder, queue) = Recorder::queue().start(&ledger).unwrap();
        let _guard = PanicHook::new(&ledger).install();
        recorder.record(Event::new("first"));
        has_begun.recv().unwrap();
        unwound(tracing_subscriber::registry().with(LedgerLayer::new(recorder)));
        storage.set(|_, _| {});
        drop((release, queue));
        ledger.close().unwrap();
        std::process::exit(3);
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    in_a_process("a_run_that_the_hook_has_not_found_is_closed_by_its_layer", &dir);
    let ledger = Ledger::open(&dir).unwrap();
    assert_eq!(failed(&ledger), (Status::Failed, "the thread panicked".to_owned()));
}

/// A thread that panics in the midst of an append holds what the record of its panic needs.
#[test]
fn a_panic_within_the_ledger_is_recorded_later_and_stops_nothing() {
    if let Ok(dir) = env::var(DIR) {
        let storage =
            crate::engine::hooked::Hooked::new(std::sync::Arc::new(runledger::storage::Disk));
        let options = runledger::Options::new().storage(std::sync::Arc::new(storage.clone()));
        let ledger = options.open(dir).unwrap();
        let _guard = PanicHook::new(&ledger).install();
        storage.set({
            let storage = storage.clone();
            move |operation, path| {
                if operation == "write" && path.extension().is_some_and(|ext| ext == "seg") {
                    storage.set(|_, _| {});
                    panic!("no such table: in the midst");
                }
            }
        });
        let appended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ledger.append(runledger::ErrorRecord::new("t", "m"))
        }));
        assert!(appended.is_err());
        while ledger.query().record_type("panic").count().unwrap() == 0 {
            std::thread::yield_now();
        }
        std::process::exit(3);
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("ledger");
    in_a_process("a_panic_within_the_ledger_is_recorded_later_and_stops_nothing", &dir);
    let ledger = Ledger::open(&dir).unwrap();
    assert_eq!(ledger.query().record_type("panic").count().unwrap(), 1);
}
