use std::slice;

use crate::error::{Error, Result};
use crate::ledger::part::OnReject;
use crate::ledger::{Durability, Ledger};
use crate::model::{Body, ErrorRecord, Event, Id, Run, RunError, Status};

/// A run that was started and has not ended: it keeps the ledger, the run's id and its trace.
///
/// It is one attempt of the run: once another has begun, such as after this one was abandoned, it
/// ends and patches nothing any more. Dropping it ends nothing; the run then stays open until
/// something ends it.
#[derive(Debug, Clone)]
#[must_use = "a run that is started is to be ended"]
pub struct RunHandle {
    ledger: Ledger,
    run: Run<'static>,
}

impl Ledger {
    /// Appends the first state of a run, and gives a handle to go on with. A run without a time
    /// starts now; one without an owner is this process's, and is abandoned when that is gone.
    ///
    /// # Errors
    /// As for [`Ledger::append`].
    pub fn start_run(&self, run: Run<'_>) -> Result<RunHandle> {
        let mut run = run.into_owned();
        run.owner.get_or_insert_with(|| Box::new(self.owner()));
        let appended = {
            let state = Body::Run(run.borrowed());
            let durability = self.inner.options.durability;
            self.inner.append(slice::from_ref(&state), durability, OnReject::FailAll)?
        };
        run.attempt = Some(appended.encoded.attempt);
        Ok(RunHandle { ledger: self.clone(), run })
    }
}

impl RunHandle {
    /// The run's id.
    #[must_use]
    pub const fn id(&self) -> &Id<'static> {
        &self.run.run_id
    }

    /// Appends a state of the run: what it leaves out stays as it was. Its id is replaced by the
    /// run's. Unless it names them itself, the attempt is this one, and the lease of its owner
    /// begins anew. An attempt that begins by it has no handle: [`Ledger::start_run`] gives one.
    ///
    /// # Errors
    /// As for [`Ledger::append`]: [`Error::RunTransition`] when it has ended, or another attempt
    /// has begun.
    pub fn update<'a>(&'a self, mut state: Run<'a>) -> Result<u64> {
        state.run_id = self.run.run_id.borrowed();
        state.attempt = state.attempt.or(self.run.attempt);
        state.owner.get_or_insert_with(|| Box::new(self.ledger.owner()));
        self.ledger.append(state)
    }

    /// Says that the run is at work: its state is appended anew, with a lease from now on
    /// ([`Options::lease`](crate::Options::lease)). To be called well before the lease ends.
    ///
    /// # Errors
    /// As for [`Ledger::append`]: [`Error::RunTransition`] when the run has ended, was abandoned
    /// because its lease had, or is in another attempt since.
    pub fn heartbeat(&self) -> Result<u64> {
        loop {
            let stored = self.ledger.reader().run(&self.run.run_id.to_string())?;
            let Body::Run(newest) = stored.record()?.body else { return Err(Error::Closed) };
            let (status, owner) = (newest.status, self.ledger.owner());
            if status.is_terminal() {
                return Err(Error::RunTransition {
                    run_id: newest.run_id.to_string(),
                    from: status.name(),
                    to: self.run.status.name(),
                    attempt: newest.attempt.unwrap_or(1),
                });
            }
            let mut state = Run::with_id(newest.run_id, newest.run_type, status).owner(owner);
            state.attempt = self.run.attempt;
            match self.ledger.append(state) {
                // Another thread has moved it on since the look.
                Err(Error::RunTransition { from, .. }) if from != status.name() => {}
                appended => return appended,
            }
        }
    }

    /// Appends an event of the run: of its trace, project and user, unless the event names others.
    ///
    /// # Errors
    /// As for [`Ledger::append`].
    pub fn event<'a>(&'a self, mut event: Event<'a>) -> Result<u64> {
        let run = self.run.borrowed();
        event.run_id = Some(run.run_id);
        event.trace_id = event.trace_id.or(run.trace_id);
        event.project_id = event.project_id.or(run.project_id);
        event.user_id = event.user_id.or(run.user_id);
        self.ledger.append(event)
    }

    /// Appends an error of the run: of its trace, project and user, unless the error names others.
    ///
    /// # Errors
    /// As for [`Ledger::append`].
    pub fn error<'a>(&'a self, mut error: ErrorRecord<'a>) -> Result<u64> {
        let run = self.run.borrowed();
        error.run_id = Some(run.run_id);
        error.trace_id = error.trace_id.or(run.trace_id);
        error.project_id = error.project_id.or(run.project_id);
        error.user_id = error.user_id.or(run.user_id);
        self.ledger.append(error)
    }

    /// Ends the run in this status, now.
    ///
    /// # Errors
    /// As for [`Ledger::append`]: [`Error::RunTransition`] when it has ended already, or another
    /// attempt has begun.
    pub fn finish(&self, status: Status) -> Result<u64> {
        self.ledger.append(self.state(status))
    }

    /// As [`RunHandle::finish`], at this durability.
    ///
    /// # Errors
    /// As for [`RunHandle::finish`].
    pub fn finish_with(&self, status: Status, durability: Durability) -> Result<u64> {
        self.ledger.append_with(self.state(status), durability)
    }

    /// Ends the run as `success`, now.
    ///
    /// # Errors
    /// As for [`RunHandle::finish`].
    pub fn succeed(&self) -> Result<u64> {
        self.finish(Status::Success)
    }

    /// Ends the run as `failed`, now.
    ///
    /// # Errors
    /// As for [`RunHandle::finish`].
    pub fn fail<'a>(&'a self, error: RunError<'a>) -> Result<u64> {
        self.ledger.append(self.state(Status::Failed).error(error))
    }

    fn state(&self, status: Status) -> Run<'_> {
        let mut run = Run::with_id(self.run.run_id.borrowed(), &*self.run.run_type, status);
        run.attempt = self.run.attempt;
        run
    }
}
