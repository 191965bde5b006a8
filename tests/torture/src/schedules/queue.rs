//! Schedules of threads that record by a queue, one of which lets go of its guard meanwhile.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use runledger::embed::{Recorder, WhenFull};
use runledger::{Body, Durability, Event, Kind, Ledger, Order};
use shuttle::Runner;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::scheduler::RandomScheduler;
use shuttle::thread::{self, Thread};

use super::{config, of_a_case, try_cases};
use crate::disk::{Fault, OpKind, SimDisk};
use crate::rng::Rng;
use crate::workload::{DIR, options};

/// Records of each thread.
const EACH: usize = 4;

/// One workload.
#[derive(Clone, Copy)]
struct Case {
    seed: u64,
    when_full: WhenFull,
    /// A write or a sync fails once.
    fails: bool,
    /// The process is killed somewhere on the way, and another one goes on.
    is_killed: bool,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, when_full, fails, is_killed } = self;
        write!(f, "seed {seed}, {when_full:?}, fails: {fails}, is killed: {is_killed}")
    }
}

#[test]
fn threads_on_one_queue() {
    try_cases("a queue", |number, seed| {
        let ways = [WhenFull::Spill, WhenFull::Block, WhenFull::Drop];
        let mut rng = Rng::new(seed);
        let when_full = ways[usize::try_from(number).unwrap() % ways.len()];
        let (fails, is_killed) = (rng.below(3) == 0, rng.below(3) == 0);
        let case = Case { seed, when_full, fails, is_killed };
        let scheduler = RandomScheduler::new_from_seed(seed, of_a_case());
        Runner::new(scheduler, config()).run(move || one_schedule(case));
    });
}

struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::park(),
        }
    }
}

fn one_schedule(case: Case) {
    let disk = SimDisk::new(case.seed);
    let ledger = options(&disk).background(false).open(DIR).unwrap();
    let queue = Recorder::queue().records(2).durability(Durability::Os).when_full(case.when_full);
    let (recorder, guard) = queue.start(&ledger).unwrap();
    let image = Arc::<Mutex<Option<SimDisk>>>::default();
    if case.is_killed {
        let image = Arc::clone(&image);
        let mut left = thread_rng().gen_range(0..60_u32);
        disk.set_probe(move |moment| {
            if left == 0 {
                *image.lock() = Some(moment.kill());
            }
            left = left.wrapping_sub(1);
        });
    }
    if case.fails {
        fail_once(&disk);
    }
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let recorder = recorder.clone();
            thread::spawn(move || {
                let texts = (0..EACH).map(|number| format!("{thread} {number}"));
                texts.filter(|text| recorder.record(Event::new("t").message(text))).count()
            })
        })
        .collect();
    let of_awaited = recorder.clone();
    let awaited = thread::spawn(move || {
        let event = Event::new("t").message("awaited");
        wait(of_awaited.append(event, Durability::Sync)).is_ok()
    });
    if thread_rng().r#gen() {
        recorder.flush();
    }
    // The others are at it yet.
    drop(guard);
    let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let is_acknowledged = awaited.join().unwrap();
    disk.clear_hooks();
    let stats = recorder.stats();
    let found = texts(&ledger);
    check_once(&found, case);
    let has_awaited = found.iter().any(|text| text == "awaited");
    assert!(has_awaited || !is_acknowledged, "{case:?}: acknowledged, and not there");
    let lost = stats.dropped + stats.failed + stats.refused + stats.waiting;
    let recorded = found.iter().filter(|text| *text != "awaited").count();
    // A sync that fails leaves what it should have kept in the ledger.
    assert!(recorded as u64 + lost >= 2 * EACH as u64, "{case:?}: {stats:?}, {found:?}");
    assert!(case.fails || taken == recorded, "{case:?}: {taken} taken, {found:?}");
    let image = image.lock().take();
    if let Some(image) = image {
        check_after_kill(&image, case);
    }
}

/// The next process finds what was spilled, and appends it once.
fn check_after_kill(image: &SimDisk, case: Case) {
    let files =
        image.files().into_iter().filter(|path| path.starts_with(Path::new(DIR).join("spill")));
    let lines = files.map(|path| String::from_utf8(image.peek(&path)).unwrap()).collect::<String>();
    let ledger = options(image).background(false).open(DIR).unwrap();
    let before = texts(&ledger);
    let queue = Recorder::queue().when_full(WhenFull::Spill).durability(Durability::Os);
    let (_, guard) = queue.start(&ledger).unwrap();
    drop(guard);
    let found = texts(&ledger);
    check_once(&found, case);
    assert!(before.iter().all(|text| found.contains(text)), "{case:?}");
    for line in lines.split_inclusive('\n').filter(|line| line.ends_with("}\n")) {
        let is_it = |text: &String| line.contains(&format!("\"message\":\"{text}\""));
        assert!(found.iter().any(is_it), "{case:?}: spilled, and not there: {line}");
    }
}

/// One of the next writes or syncs fails.
fn fail_once(disk: &SimDisk) {
    let mut left = thread_rng().gen_range(0..20_u32);
    let is_sync: bool = thread_rng().r#gen();
    disk.set_faults(move |op| {
        let (kind, fault) = match is_sync {
            true => (OpKind::Sync, Fault::Io),
            false => (OpKind::Write, Fault::NoSpace),
        };
        if op.kind != kind {
            return None;
        }
        left = left.wrapping_sub(1);
        (left == u32::MAX).then_some(fault)
    });
}

fn texts(ledger: &Ledger) -> Vec<String> {
    let query = ledger.query().kind(Kind::Event).record_type("t").order(Order::Seq).limit(1000);
    let page = query.fetch().unwrap();
    let text = |body| match body {
        Body::Event(event) => event.message.unwrap().into_owned(),
        other => panic!("{other:?}"),
    };
    page.records().map(|record| text(record.unwrap().into_owned().body)).collect()
}

/// Nothing came twice, and what each thread recorded in its order.
fn check_once(found: &[String], case: Case) {
    for thread in ["0 ", "1 ", "awaited"] {
        let of_thread: Vec<_> = found.iter().filter(|text| text.starts_with(thread)).collect();
        assert!(of_thread.is_sorted_by(|a, b| a < b), "{case:?}: {found:?}");
    }
}
