//! Whether a thread is at work here already: what it causes on the way is not recorded, or it would
//! have no end.

use std::cell::Cell;

use crate::sync::{thread, thread_local};

/// The names of the ledger's own threads.
const OWN_THREADS: [&str; 5] =
    ["runledger", "runledger-follow", "runledger-pack", "runledger-panic", "runledger-queue"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// It has not been looked at yet.
    New,
    Free,
    Busy,
    /// It is the ledger's own. What is recorded there comes from a storage that logs, in the midst
    /// of what an append would wait for.
    Own,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::New) };
}

/// The work of one thread, from its beginning until this is dropped.
#[derive(Debug)]
pub(super) struct Within(());

impl Within {
    /// Begins; `None` when the thread is at it already, is the ledger's own, or comes to its end.
    pub(super) fn begin() -> Option<Self> {
        let begun = |state: &Cell<Thread>| match state.get() {
            Thread::Free => {
                state.set(Thread::Busy);
                Some(())
            }
            Thread::Busy | Thread::Own => None,
            Thread::New => {
                let thread = thread::current();
                let is_own = thread.name().is_some_and(|name| OWN_THREADS.contains(&name));
                state.set(if is_own { Thread::Own } else { Thread::Busy });
                (!is_own).then_some(())
            }
        };
        THREAD.try_with(begun).ok().flatten().map(|()| Self(()))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        // Without its local values the thread records nothing anyhow.
        let _ = THREAD.try_with(|state| state.set(Thread::Free));
    }
}
