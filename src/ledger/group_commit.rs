//! Group commit: of those who wait for what they wrote to be on stable storage, one syncs for all
//! who had written by then, and the others wait for it.
//!
//! What it promises is tried in every order of up to three threads, under loom:
//! `RUSTFLAGS="--cfg loom" cargo test --no-default-features --lib exhausted`.

#[cfg(all(test, loom))]
mod exhausted;

use crate::planted::{Bug, is_planted};
use crate::sync::{Condvar, Mutex};

/// What a group syncs.
pub(super) trait Target {
    type Error;

    /// Puts on stable storage what was written before the call, and gives the position up to which
    /// that is everything.
    fn sync(&self) -> Result<u64, Self::Error>;

    /// An error once it was stopped: by a sync that failed, in this group or elsewhere.
    fn check(&self) -> Result<(), Self::Error>;

    /// Stops it for this reason; `None` when a sync panicked. The first reason stays.
    fn stop(&self, cause: Option<&Self::Error>);
}

/// Those who wait for one stream.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    state: Mutex<State>,
    sync_ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The position up to which everything is on stable storage.
    synced: u64,
    /// True while one of those who wait is syncing for all.
    has_leader: bool,
}

impl GroupCommit {
    /// Returns once everything up to `position` is on stable storage. The caller has written that
    /// much.
    ///
    /// # Errors
    /// What the sync failed with, for the one who did it; for the others and all who come later,
    /// unless their bytes were synced before, what [`Target::check`] then says.
    pub(super) fn wait<T: Target>(&self, position: u64, target: &T) -> Result<(), T::Error> {
        let mut state = self.state.lock();
        while state.synced < position {
            target.check()?;
            if state.has_leader {
                if is_planted(Bug::WakeBeforeSync) {
                    return Ok(());
                }
                state = self.sync_ended.wait(state);
                continue;
            }
            state.has_leader = true;
            drop(state);
            let mut lead = Lead { group: self, target, reached: None };
            let outcome = target.sync();
            lead.reached = Some(outcome.inspect_err(|err| target.stop(Some(err)))?);
            drop(lead);
            state = self.state.lock();
        }
        Ok(())
    }
}

/// The part of the one who syncs. However it ends, the others are told.
struct Lead<'a, T: Target> {
    group: &'a GroupCommit,
    target: &'a T,
    /// The position that the sync has reached; `None` when it failed or panicked.
    reached: Option<u64>,
}

impl<T: Target> Drop for Lead<'_, T> {
    fn drop(&mut self) {
        if self.reached.is_none() {
            // Before the others look: none of them is to sync once more.
            self.target.stop(None);
        }
        let mut state = self.group.state.lock();
        state.synced = self.reached.map_or(state.synced, |reached| reached.max(state.synced));
        state.has_leader = false;
        self.group.sync_ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::sync::{Arc, OnceLock};
    use std::time::Duration;

    use super::*;

    /// A sync that goes on when it is told to, and ends in a panic.
    #[derive(Default)]
    struct Panicking {
        begun: OnceLock<mpsc::Sender<()>>,
        go_on: parking_lot::Mutex<Option<mpsc::Receiver<()>>>,
        stopped: OnceLock<()>,
    }

    impl Target for Panicking {
        type Error = ();

        fn sync(&self) -> Result<u64, ()> {
            self.begun.get().unwrap().send(()).unwrap();
            self.go_on.lock().take().unwrap().recv().unwrap();
            panic!("as planned")
        }

        fn check(&self) -> Result<(), ()> {
            self.stopped.get().map_or(Ok(()), |()| Err(()))
        }

        fn stop(&self, _: Option<&()>) {
            let _ = self.stopped.set(());
        }
    }

    /// A storage that panicked in the sync of one thread left it marked as the one who syncs for
    /// all: every other append that had to wait for a sync then waited for ever, and so did the
    /// close.
    #[test]
    fn a_panic_in_the_sync_is_told_to_all_who_wait() {
        let shared = Arc::new((GroupCommit::default(), Panicking::default()));
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        shared.1.begun.set(begun).unwrap();
        *shared.1.go_on.lock() = Some(may_go_on);
        let (done, outcomes) = mpsc::channel();
        let wait = |position| {
            let (shared, done) = (Arc::clone(&shared), done.clone());
            std::thread::spawn(move || {
                let waited = || shared.0.wait(position, &shared.1);
                done.send(catch_unwind(AssertUnwindSafe(waited)).ok()).unwrap();
            })
        };
        wait(1);
        has_begun.recv().unwrap();
        wait(2);
        std::thread::sleep(Duration::from_millis(20));
        go_on.send(()).unwrap();
        let soon = || outcomes.recv_timeout(Duration::from_secs(30)).unwrap();
        let mut both = [soon(), soon()];
        both.sort_unstable();
        assert_eq!(both, [None, Some(Err(()))]);
        assert_eq!(shared.0.wait(3, &shared.1), Err(()), "nor is it tried again");
    }
}
