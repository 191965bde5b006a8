//! Runs whose owner is gone.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::Durability;
use crate::ledger::cleanup::open_runs;
use crate::ledger::handle::Inner;
use crate::ledger::lifecycle::Author;
use crate::ledger::part::OnReject;
use crate::model::{Body, Owner, Process, Run, RunError, Status, Timestamp};
use crate::segment::{OpenState, Pinned, Segment};
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
                let (durability, reject) = (Durability::Interval, OnReject::FailAll);
                let closed = self.append_as(Author::Engine, &run, durability, reject);
                match closed.map_err(Error::from) {
                    Ok(_) | Err(Error::RunTransition { .. }) => {}
                    // It has no room for more: that is its own matter, and keeps no other open.
                    Err(err @ Error::TooLarge { .. }) => unread.push(err),
                    // So is what cannot be read, where its states are looked for.
                    Err(err) if err.is_unread() && self.check_poisoned().is_ok() => {
                        unread.push(err);
                    }
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
    for OpenState { seq, frame, offset } in open {
        let record = match pinned.record_at(frame, seq, offset) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Options, Reader};
    use crate::storage::{Disk, OpenMode};

    fn run(id: u32, status: Status) -> Body<'static> {
        Run::new(format!("r-{id}"), "t", status).unwrap().into()
    }

    /// After a crash the open runs are told from what the opening reads anyway: for an index of all
    /// runs it took five times as long. Both have to tell the same.
    #[test]
    fn the_opening_tells_the_same_open_runs_as_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("ledger");
        let ledger = Options::new().background(false).open(&dir).unwrap();
        for id in 0..40 {
            ledger.append(run(id, Status::Running)).unwrap();
        }
        for id in (0..40).step_by(3) {
            let again = [run(id, Status::Running), run(id, Status::Success)];
            ledger.append_batch(&again, Durability::Os).unwrap();
        }
        for id in (1..40).step_by(3) {
            ledger.append(run(id, Status::Running)).unwrap();
        }
        ledger.append(run(99, Status::Pending)).unwrap();
        let reader = Reader::open(&dir).unwrap();
        let segment = reader.catalog().all().remove(0);
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let opened = Segment::open(&storage, segment.path(), OpenMode::Read, 1);
        let segment = Arc::new(opened.unwrap());
        let told = open_runs(&segment).unwrap();
        assert_eq!(told.len(), 27);
        assert!(told.iter().all(|state| state.frame.is_some()), "there is no index yet");
        segment.overview().unwrap();
        let places = |told: &[OpenState]| {
            told.iter().map(|state| (state.seq, state.offset)).collect::<Vec<_>>()
        };
        let by_index = open_runs(&segment).unwrap();
        assert!(by_index.iter().all(|state| state.frame.is_none()));
        assert_eq!(places(&by_index), places(&told));
        let pinned = Pinned::new(&segment).unwrap();
        for &OpenState { seq, frame, offset } in &told {
            assert_eq!(pinned.record_at(frame, seq, offset).unwrap().seq, seq);
        }

        // Sealed, its footer tells them; and where that is damaged, the records do.
        drop(ledger);
        let path = segment.path();
        let open = |mode| Arc::new(Segment::open(&storage, path, mode, 1).unwrap());
        let frames_end = segment.end() as usize;
        open(OpenMode::Write).seal([0; 32]).unwrap();
        let sealed = open(OpenMode::Read);
        assert_eq!(sealed.trailer().unwrap().tags.open_runs(), 27);
        assert_eq!(places(&open_runs(&sealed).unwrap()), places(&told));
        let whole = std::fs::read(path).unwrap();
        for at in frames_end..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(path, damaged).unwrap();
            let open = open_runs(&open(OpenMode::Read)).unwrap();
            assert_eq!(places(&open), places(&told), "byte {at} of {}", whole.len());
        }
    }
}
