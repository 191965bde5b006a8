//! How the ledger, which blocks, is called by a server that does not.

use std::sync::{Arc, OnceLock};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::server::problem::{Kind, Problem};

/// Work off the threads that serve connections, so much at a time and so much waiting.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    /// One for each that works or waits.
    admitted: Arc<Semaphore>,
    working: Arc<Semaphore>,
    /// One for each thread that serves connections, less one.
    here: Arc<OnceLock<Semaphore>>,
}

impl Pool {
    pub(super) fn new(workers: usize) -> Self {
        let most = workers.min(Semaphore::MAX_PERMITS / 2);
        Self {
            admitted: Arc::new(Semaphore::new(2 * most)),
            working: Arc::new(Semaphore::new(most)),
            here: Arc::default(),
        }
    }

    /// Does work that takes microseconds, as a rule, on the thread that has come to it: handing it
    /// over would take longer than doing it. When it takes longer for once, as with a disk that
    /// stalls, it is on all such threads but one, and what comes then is handed over.
    ///
    /// # Errors
    /// As for [`Pool::run`].
    pub(super) async fn run_quick<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Problem> {
        let here = self.here.get_or_init(|| {
            let runtime = Handle::current();
            Semaphore::new(match runtime.runtime_flavor() {
                RuntimeFlavor::MultiThread => runtime.metrics().num_workers().saturating_sub(1),
                _ => 0,
            })
        });
        let permit = here.try_acquire();
        match permit {
            Ok(_held) => Ok(work()),
            Err(_) => self.run(work).await,
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
        self.start(work).await?.end().await
    }

    /// Begins the work once a thread may have it, and returns then. What is begun later may wait
    /// for what was begun before, for that has its thread.
    ///
    /// # Errors
    /// A problem when too much waits already.
    pub(super) async fn start<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<Job<R>, Problem> {
        let busy = || Problem::new(Kind::Unavailable, "too much is waiting").retry_after(1);
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| busy())?;
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|_| busy())?;
        Ok(Job(tokio::task::spawn_blocking(move || {
            let result = work();
            drop((working, admitted));
            result
        })))
    }
}

/// Work that has begun, and goes on when this is dropped.
#[derive(Debug)]
pub(super) struct Job<R>(JoinHandle<R>);

impl<R> Job<R> {
    /// What it comes to.
    ///
    /// # Errors
    /// A problem when it panics.
    pub(super) async fn end(self) -> Result<R, Problem> {
        self.0.await.map_err(|_| Problem::new(Kind::Internal, "the request failed half-way"))
    }
}
