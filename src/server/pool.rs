//! How the ledger, which blocks, is called by a server that does not.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::server::problem::{Kind, Problem};

/// Work off the threads that serve connections, so much at a time and so much waiting.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    /// One for each that works or waits.
    admitted: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(workers: usize) -> Self {
        let most = workers.min(Semaphore::MAX_PERMITS / 2);
        Self {
            admitted: Arc::new(Semaphore::new(2 * most)),
            working: Arc::new(Semaphore::new(most)),
        }
    }

    /// Does the work, also when nobody waits for its end any more.
    ///
    /// # Errors
    /// A problem when too much waits already, or the work panics.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Problem> {
        let busy = || Problem::new(Kind::Unavailable, "too much is waiting").retry_after(1);
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((working, admitted));
            result
        });
        done.await.map_err(|_| Problem::new(Kind::Internal, "the request failed half-way"))
    }
}
