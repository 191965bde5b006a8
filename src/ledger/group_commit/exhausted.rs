//! Every order in which up to three threads can go through a group commit. How many there were is
//! printed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::thread;
use parking_lot::Mutex;

use super::{GroupCommit, Target};

/// The words of a panic that a sync ends in.
const PLANNED: &str = "as planned";

/// What becomes of a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// It fails, and what it should have kept is lost; the next one would succeed.
    Fails,
    Panics,
}

/// A file with a cache, to which the threads append bytes.
struct Cached {
    /// No thread is stopped while it holds it: what is tried is the group's order, not the file's.
    state: Mutex<State>,
    fates: &'static [Fate],
    /// Where a thread that syncs is stopped, so that others write and begin to wait meanwhile.
    busy: crate::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    written: u64,
    /// Up to where everything is on stable storage, in truth.
    kept: u64,
    /// Bytes that a failed sync has lost.
    lost: u64,
    syncs: usize,
    stopped: bool,
}

/// A thread's view of the file.
struct OfThread<'a> {
    file: &'a Cached,
    position: u64,
}

impl Target for OfThread<'_> {
    type Error = &'static str;

    fn sync(&self) -> Result<u64, Self::Error> {
        let (upto, fate) = {
            let mut state = self.file.state.lock();
            assert!(state.kept < self.position, "it syncs again what another's sync has covered");
            let fate = self.file.fates.get(state.syncs).copied().unwrap_or(Fate::Good);
            state.syncs += 1;
            (state.written, fate)
        };
        drop(self.file.busy.lock());
        let mut state = self.file.state.lock();
        match fate {
            Fate::Good => {
                assert_eq!(state.lost, 0, "a sync after one that failed");
                state.kept = state.kept.max(upto);
                Ok(upto)
            }
            Fate::Fails => {
                state.lost += 1;
                Err("the disk failed")
            }
            Fate::Panics => {
                state.lost += 1;
                drop(state);
                panic!("{PLANNED}")
            }
        }
    }

    fn check(&self) -> Result<(), Self::Error> {
        if self.file.state.lock().stopped { Err("stopped") } else { Ok(()) }
    }

    fn stop(&self, _: Option<&Self::Error>) {
        self.file.state.lock().stopped = true;
    }
}

/// Appends a byte and waits for it.
fn append(group: &GroupCommit, file: &Cached) {
    let position = {
        let mut state = file.state.lock();
        state.written += 1;
        state.written
    };
    let target = OfThread { file, position };
    match catch_unwind(AssertUnwindSafe(|| group.wait(position, &target))) {
        Ok(Ok(())) => {
            let kept = file.state.lock().kept;
            assert!(kept >= position, "acknowledged at {position}, kept up to {kept}");
        }
        Ok(Err(_)) | Err(_) => {
            assert_ne!(file.fates, &[], "refused, and no sync had failed");
            assert!(file.state.lock().lost > 0, "refused before a sync had failed");
        }
    }
}

/// Tries all orders of so many threads, each of which appends so often.
fn exhaust(name: &str, threads: usize, appends: usize, fates: &'static [Fate]) {
    silence_planned_panics();
    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let (state, busy) = (Mutex::default(), crate::sync::Mutex::default());
        let file = Cached { state, fates, busy };
        let shared = Arc::new((GroupCommit::default(), file));
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || (0..appends).for_each(|_| append(&shared.0, &shared.1)))
            })
            .collect();
        (0..appends).for_each(|_| append(&shared.0, &shared.1));
        others.into_iter().for_each(|other| other.join().unwrap());
        let state = shared.1.state.lock();
        assert!(state.syncs <= threads * appends);
        let is_good = state.lost == 0;
        assert!(!is_good || state.kept == state.written, "all waited, and not all is kept");
    });
    println!("loom: {name}, {threads} threads, {} orders", orders.load(Ordering::Relaxed));
}

fn silence_planned_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(PLANNED) {
            loud(panic);
        }
    }));
}

#[test]
fn of_two() {
    exhaust("each twice", 2, 2, &[]);
}

#[test]
fn of_two_and_a_failure() {
    exhaust("the first sync fails", 2, 2, &[Fate::Fails]);
    exhaust("the second sync fails", 2, 2, &[Fate::Good, Fate::Fails]);
}

#[test]
fn of_two_and_a_panic() {
    exhaust("the first sync panics", 2, 2, &[Fate::Panics]);
    exhaust("the second sync panics", 2, 2, &[Fate::Good, Fate::Panics]);
}

#[test]
fn of_three() {
    exhaust("each once", 3, 1, &[]);
}

#[test]
fn of_three_and_a_failure() {
    exhaust("the first sync fails", 3, 1, &[Fate::Fails]);
    exhaust("the second sync fails", 3, 1, &[Fate::Good, Fate::Fails]);
}

#[test]
fn of_three_and_a_panic() {
    exhaust("the first sync panics", 3, 1, &[Fate::Panics]);
    exhaust("the second sync panics", 3, 1, &[Fate::Good, Fate::Panics]);
}
