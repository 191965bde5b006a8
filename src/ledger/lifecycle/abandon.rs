//! Runs whose owner is gone.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::Durability;
use crate::ledger::append::OnReject;
use crate::ledger::cleanup::open_runs;
use crate::ledger::handle::Inner;
use crate::ledger::lifecycle::Author;
use crate::model::{Body, Owner, Process, Run, RunError, Status, Timestamp};
use crate::segment::{Pinned, Segment};
use crate::storage::{Fate, Storage};

/// The type of the error of a run that was abandoned.
const ERROR_TYPE: &str = "Abandoned";

/// What was found of the processes so far: many runs have one owner.
struct Fates<'s> {
    storage: &'s dyn Storage,
    known: Vec<(Process, Fate)>,
}

impl Inner {
    /// Closes the open runs whose owners are gone, as of this time. A run that is ended, or goes to
    /// another owner, meanwhile is left alone.
    pub(super) fn abandon_runs(&self, now: i64, unread: &mut Vec<Error>) -> Result<()> {
        let mut fates = Fates { storage: &*self.options.storage, known: Vec::new() };
        for segment in self.catalog.all() {
            let gone = match gone(&segment, &mut fates, Timestamp::from_nanos(now)) {
                Ok(gone) => gone,
                Err(err) => {
                    unread.push(err);
                    continue;
                }
            };
            for run in gone {
                let run = [Body::Run(run)];
                match self.append_as(Author::Engine, &run, Durability::Interval, OnReject::FailAll)
                {
                    Ok(_) | Err(Error::RunTransition { .. }) => {}
                    Err(err) => return Err(err),
                }
            }
        }
        Ok(())
    }
}

/// The runs that are open in this segment and whose owners are gone, as they are to be closed. Each
/// names the owner that it was judged by.
fn gone(
    segment: &Arc<Segment>,
    fates: &mut Fates<'_>,
    now: Timestamp,
) -> Result<Vec<Run<'static>>> {
    let open = open_runs(segment)?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let pinned = Pinned::new(segment)?;
    let mut gone = Vec::new();
    for (seq, offset) in open {
        let record = match pinned.record(seq, offset) {
            // `verify` names it.
            Err(Error::Damaged { .. }) => continue,
            record => record?,
        };
        let Body::Run(run) = record.body else { continue };
        let Some(owner) = run.owner else { continue };
        if let Some(reason) = fates.reason(&owner, now) {
            let error = RunError::new(reason).error_type(ERROR_TYPE);
            let run = Run::with_id(run.run_id, run.run_type, Status::Abandoned);
            gone.push(run.owner(owner).error(error).into_owned());
        }
    }
    Ok(gone)
}

impl Fates<'_> {
    /// Why a run of this owner is abandoned, in words; `None` when it is not.
    fn reason(&mut self, owner: &Owner<'_>, now: Timestamp) -> Option<String> {
        let who = Owner { lease_until: None, ..owner.borrowed() };
        match self.fate(owner) {
            Fate::Lives => None,
            Fate::Ended => Some(format!("its owner, {who}, is gone")),
            Fate::Restarted => {
                Some(format!("its owner, {who}, went with a restart of the machine"))
            }
            Fate::Unknown => owner
                .lease_until
                .filter(|until| *until <= now)
                .map(|until| format!("the lease of its owner, {who}, ended at {until}")),
        }
    }

    fn fate(&mut self, owner: &Owner<'_>) -> Fate {
        let Some(process) = owner.process else { return Fate::Unknown };
        if let Some((_, fate)) = self.known.iter().find(|(known, _)| *known == process) {
            return *fate;
        }
        let fate = self.storage.fate(owner);
        self.known.push((process, fate));
        fate
    }
}
