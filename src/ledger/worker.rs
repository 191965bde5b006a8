//! A thread that works beside the appends for as long as the ledger is open.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::sync::thread::{self, JoinHandle};

#[derive(Debug)]
pub(super) struct Worker(JoinHandle<()>);

impl Worker {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<Self> {
        let started = thread::Builder::new().name(name.to_owned()).spawn(work);
        started.map(Self).map_err(|source| Error::Io {
            operation: "start a background thread of",
            path: PathBuf::new(),
            source,
        })
    }

    /// Waits for its end, unless it is the one that calls.
    pub(super) fn join(self) {
        if self.0.thread().id() != thread::current().id() {
            // A panic of the thread has been printed; the close goes on.
            let _ = self.0.join();
        }
    }
}
