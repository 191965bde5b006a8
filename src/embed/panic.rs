//! Panics, on record before anything else becomes of them.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::time::Duration;

use crate::embed::ids::Ids;
use crate::embed::recent::{self, Runs};
use crate::embed::recorder::Recorder;
use crate::embed::{json, spans};
use crate::error::Result;
use crate::ledger::{Durability, Ledger};
use crate::model::{Body, ErrorRecord, Json, Kind, Run, RunError, Severity, Status};
use crate::query::Order;
use crate::sync::{Condvar, Mutex, thread};

/// The type of the error that a panic is.
const PANIC: &str = "panic";

/// For how long a thread that panics waits until the panic is on record. It may hold a lock itself
/// that the record has to wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many open runs are read at a time.
const AT_ONCE: usize = 1000;

/// What becomes of the process's open runs when a thread panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OpenRuns {
    /// They end as failed: the process is taken to end with the panic.
    #[default]
    Fail,
    /// They go on. For services whose threads or tasks outlive a panic: those runs whose spans it
    /// unwinds fail all the same, by the layer that has opened them.
    Leave,
}

/// Puts panics on record: an error of the type `panic` and the severity `critical`, with its
/// message, backtrace, place, thread and the last records of that thread, on stable storage before
/// the hook that was installed before is called. Each hook puts them on record: of one ledger, one
/// is enough.
///
/// ```
/// use runledger::Ledger;
/// use runledger::embed::{OpenRuns, PanicHook};
/// # let dir = tempfile::tempdir()?;
/// # std::panic::set_hook(Box::new(|_| {}));
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// let _guard = PanicHook::new(&ledger).open_runs(OpenRuns::Leave).install();
/// let _ = std::thread::spawn(|| panic!("no such table: bookings")).join();
/// assert_eq!(ledger.query().record_type("panic").count()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a hook does nothing until it is installed"]
pub struct PanicHook {
    ledger: Ledger,
    recorders: Vec<Recorder>,
    last_records: usize,
    open_runs: OpenRuns,
}

impl PanicHook {
    /// A hook that writes to this ledger: with the last 20 records of the thread, and with
    /// [`OpenRuns::Fail`], unless it is set otherwise.
    pub fn new(ledger: &Ledger) -> Self {
        let ledger = ledger.clone();
        Self { ledger, recorders: Vec::new(), last_records: 20, open_runs: OpenRuns::default() }
    }

    /// Also writes what waits in this recorder's queue: when the process ends by the panic, it
    /// would be lost.
    pub fn flushes(mut self, recorder: &Recorder) -> Self {
        self.recorders.push(recorder.clone());
        self
    }

    /// How many of the last records of the thread are told, of those that a [`Recorder`] took. The
    /// first hook of a process sets it for all.
    pub const fn last_records(mut self, records: usize) -> Self {
        self.last_records = records;
        self
    }

    /// What becomes of the open runs whose owner is this process.
    pub const fn open_runs(mut self, open_runs: OpenRuns) -> Self {
        self.open_runs = open_runs;
        self
    }

    /// Installs the hook. It keeps the ledger open until the guard is dropped, and does nothing
    /// from then on.
    pub fn install(self) -> PanicGuard {
        recent::keep(self.last_records);
        spans::follow();
        let hook = Arc::new(Mutex::new(Some(self)));
        let guard = PanicGuard(Arc::clone(&hook));
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            record(&hook, info);
            before(info);
        }));
        guard
    }
}

/// Keeps a [`PanicHook`] at work. To be held until the end of `main`.
#[derive(Debug)]
#[must_use = "the hook is at work as long as its guard"]
pub struct PanicGuard(Arc<Mutex<Option<PanicHook>>>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        let hook = self.0.lock().take();
        drop(hook);
    }
}

thread_local! {
    static RECORDS: Cell<bool> = const { Cell::new(false) };
}

/// A thread that is recording its panic.
struct Recording;

impl Recording {
    /// `None` when the thread panics while it records a panic.
    fn begin() -> Option<Self> {
        let was = RECORDS.try_with(|records| records.replace(true)).unwrap_or(true);
        (!was).then_some(Self)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = RECORDS.try_with(|records| records.set(false));
    }
}

fn record(hook: &Mutex<Option<PanicHook>>, info: &PanicHookInfo<'_>) {
    let Some(_recording) = Recording::begin() else { return };
    let Some(hook) = hook.lock().clone() else { return };
    let dir = hook.ledger.dir().to_owned();
    let (error, ids) = (error_of(info), spans::current());
    let done = Arc::new((Mutex::new(Done::default()), Condvar::default()));
    let work = {
        let done = Arc::clone(&done);
        move || {
            // Also when this ends in a panic of its own, nobody waits for it in vain.
            let _recording = Recording::begin();
            let told = Told(&done);
            let failed = hook.write(error, &ids);
            told.0.0.lock().failed = failed;
        }
    };
    // A thread of its own, as this one may hold what the append waits for.
    if thread::Builder::new().name("runledger-panic".to_owned()).spawn(work).is_err() {
        return;
    }
    let (state, told) = &*done;
    let mut state = state.lock();
    if !state.is_over {
        state = told.wait_for(state, PATIENCE);
    }
    recent::note_failed_runs(&dir, std::mem::take(&mut state.failed));
}

/// What has become of the record of a panic.
#[derive(Debug, Default)]
struct Done {
    is_over: bool,
    /// The runs that were ended.
    failed: Runs,
}

struct Told<'a>(&'a (Mutex<Done>, Condvar));

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.0.lock().is_over = true;
        self.0.1.notify_all();
    }
}

fn error_of(info: &PanicHookInfo<'_>) -> ErrorRecord<'static> {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let mut detail = String::from("{");
    json::key(&mut detail, "thread");
    json::string(&mut detail, thread::current().name().unwrap_or("unnamed"));
    if let Some(place) = info.location() {
        json::key(&mut detail, "place");
        json::printed(&mut detail, format_args!("{place}"));
    }
    json::key(&mut detail, "records");
    detail.push_str(&recent::array());
    detail.push('}');
    let mut error = ErrorRecord::new(PANIC, message.unwrap_or("a panic without a text").to_owned());
    error.severity = Severity::Critical;
    error.stack = Some(Backtrace::force_capture().to_string().into());
    error.detail = Some(Json::trusted(detail));
    error
}

impl PanicHook {
    /// Writes what is to be written, and gives the runs that were ended. What cannot be written now
    /// can be told to nobody; the hook before tells of the panic.
    fn write(&self, error: ErrorRecord<'static>, ids: &Ids) -> Runs {
        let reason = RunError::new(error.message.clone()).error_type(PANIC);
        let mut error = Body::Error(error);
        ids.lend(&mut error);
        let _ = self.ledger.append_with(error, Durability::Sync);
        // What the queues hold may open runs.
        self.recorders.iter().for_each(Recorder::flush_all);
        let mut failed = Runs::new();
        if self.open_runs == OpenRuns::Fail {
            let _ = self.fail_runs(&reason, &mut failed);
        }
        failed
    }

    /// Ends the open runs whose owner is this process.
    fn fail_runs(&self, reason: &RunError<'static>, failed: &mut Runs) -> Result<()> {
        let mine = self.ledger.owner();
        let query = || {
            let open = self.ledger.query().kind(Kind::Run).status(Status::Pending);
            open.status(Status::Running).order(Order::Seq).limit(AT_ONCE)
        };
        let mut page = query().fetch()?;
        loop {
            let mut states = Vec::new();
            for record in page.records() {
                let Ok(Body::Run(run)) = record.map(|record| record.body) else { continue };
                let owner = run.owner.as_deref();
                if owner.is_some_and(|it| it.process == mine.process && it.host == mine.host) {
                    let run = Run::with_id(run.run_id, run.run_type, Status::Failed);
                    states.push(Body::Run(run.error(reason.clone())));
                }
            }
            // One that has just ended by itself is refused, and the others are not.
            let outcomes = self.ledger.append_each(&states, Durability::Sync)?;
            let ended = states.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            failed
                .extend(ended.filter_map(|(state, _)| Some(state.run_id()?.clone().into_owned())));
            let Some(next) = page.next() else { return Ok(()) };
            page = query().after(next).fetch()?;
        }
    }
}
