//! A thread that works beside the appends for as long as the ledger is open.

use std::path::PathBuf;
use std::sync::Weak;

use crate::error::{Error, Result};
use crate::ledger::handle::Inner;
use crate::ledger::panics::telling_of_panic;
use crate::sync::thread::{self, JoinHandle};

#[derive(Debug)]
pub(super) struct Worker(JoinHandle<()>);

impl Worker {
    /// Starts a thread of this name. A panic in it stops the writer: nobody waits for what it does,
    /// so that nobody else would be told.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub(super) fn start(
        name: &'static str,
        inner: &Weak<Inner>,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let inner = Weak::clone(inner);
        let stop = move || {
            let cause = format!("the thread {name} ended in a panic");
            inner.upgrade().into_iter().for_each(|inner| inner.poison(&cause));
        };
        let guarded = move || telling_of_panic(work, stop);
        let started = thread::Builder::new().name(name.to_owned()).spawn(guarded);
        started.map(Self).map_err(|source| Error::Io {
            operation: "start a background thread of",
            path: PathBuf::new(),
            source,
        })
    }

    /// Waits for its end, unless it is the one that calls.
    pub(super) fn join(self) {
        if self.0.thread().id() != thread::current().id() {
            // A panic of the thread was printed, and has stopped the writer; the close goes on.
            let _ = self.0.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::Options;

    #[test]
    fn a_panic_in_a_thread_stops_the_writer_and_its_end_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().background(false).open(dir.path()).unwrap();
        let inner = Arc::downgrade(&ledger.inner);
        let end = |work: fn()| Worker::start("worker", &inner, work).unwrap().join();
        end(|| {});
        ledger.inner.check_poisoned().unwrap();
        end(|| panic!("as planned"));
        let told = ledger.inner.check_poisoned().unwrap_err();
        assert!(told.to_string().contains("the thread worker ended in a panic"), "{told}");
    }
}
