//! A run's state, and the one that follows it.
//!
//! Each state holds all of the run, and mostly says little that the one before it did not. What it
//! only repeats is taken over as the bytes that it is stored in: read into the model, and encoded
//! from it once more, the end of a run takes a third more instructions.

use crate::error::{Damage, Result};
use crate::limits::MAX_ID_BYTES;
use crate::model::{Id, Owner, Run, Status, Timestamp};

use super::read::Row;
use super::row::resolved;
use super::split;

/// A state of a run, with what the next one may take over.
#[derive(Debug, Clone)]
pub(crate) struct RunState<'a> {
    pub(crate) run_id: Id<'a>,
    pub(crate) status: Status,
    pub(crate) attempt: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) kept: Kept<'a>,
}

/// Fields of a run, each as it lies in a record, with the mark before it that tells whether it is
/// there; empty when it is not taken over.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kept<'a> {
    pub(super) trace_id: &'a [u8],
    pub(super) project_id: &'a [u8],
    pub(super) user_id: &'a [u8],
    pub(super) parent_run_id: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) error: &'a [u8],
    pub(super) metadata: &'a [u8],
    pub(super) result: &'a [u8],
    pub(super) owner: &'a [u8],
}

/// A state of a run that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct NextRun<'a> {
    /// What is said of it. Its attempt, owner and times count as they are given below.
    pub(crate) run: &'a Run<'a>,
    pub(crate) attempt: u32,
    pub(crate) owner: Option<&'a Owner<'a>>,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// What stands for that which is not said.
    pub(crate) kept: Kept<'a>,
}

/// Reads the state of a run that begins at the beginning of `bytes`, and tells how many it takes.
///
/// # Errors
/// As for [`decode`](super::decode), which takes the same records.
pub(crate) fn decode_state(bytes: &[u8]) -> Result<(RunState<'_>, usize), Damage> {
    let (record, consumed) = split(bytes)?;
    let state = Row::new(record).run_state().ok_or(Damage::Record)?;
    Ok((state, consumed))
}

impl<'a> Row<'a> {
    #[inline]
    fn run_state(&mut self) -> Option<RunState<'a>> {
        let (_gap, _prior, created_at) = (self.u32()?, self.prior()?, self.time()?);
        let after = |row: &mut Self| row.time_after(created_at);
        let (started_at, finished_at) = (self.option(after)?, self.option(after)?);
        let (status, attempt) = (Status::from_code(self.byte()?)?, self.u32()?);
        self.name_bytes()?;
        let run_id = self.id()?;
        let kept = Kept {
            trace_id: self.lying(Self::pass_id)?,
            project_id: self.lying(Self::pass_id)?,
            user_id: self.lying(Self::pass_id)?,
            parent_run_id: self.lying(Self::pass_id)?,
            subject: self.lying(Self::subject)?,
            error: self.lying(Self::run_error)?,
            metadata: self.lying(Self::text_bytes)?,
            result: self.lying(Self::text_bytes)?,
            owner: if self.left.is_empty() { &[] } else { self.lying(Self::owner)? },
        };
        self.trailing(Self::origin)?;
        Some(RunState { run_id, status, attempt, created_at, started_at, finished_at, kept })
    }

    /// The bytes of a field that may be absent.
    #[inline(always)]
    fn lying<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<&'a [u8]> {
        let from = self.left;
        self.option(read)?;
        from.get(..from.len() - self.left.len())
    }

    #[inline]
    fn pass_id(&mut self) -> Option<()> {
        match self.u32()? {
            0 => self.text_bytes().filter(|id| (1..=MAX_ID_BYTES).contains(&id.len())).map(drop),
            1 | 2 => self.bytes(16).map(drop),
            _ => None,
        }
    }
}

impl RunState<'_> {
    /// Who answers for the run.
    pub(crate) fn owner(&self) -> Option<Owner<'_>> {
        Row::new(self.kept.owner).trailing(Row::owner).flatten()
    }

    /// The newest of the run's times.
    pub(crate) fn newest_time(&self) -> Timestamp {
        let latest = self.started_at.max(self.finished_at);
        latest.map_or(self.created_at, |latest| latest.max(self.created_at))
    }
}

impl Kept<'_> {
    /// Without what belongs to one attempt.
    pub(crate) fn of_any_attempt(self) -> Self {
        Self { error: &[], result: &[], owner: &[], ..self }
    }

    /// Without an owner.
    pub(crate) fn of_nobody(self) -> Self {
        Self { owner: &[], ..self }
    }

    /// How many bytes it is.
    pub(super) fn len(&self) -> usize {
        let ids = [self.trace_id, self.project_id, self.user_id, self.parent_run_id];
        let others = [self.subject, self.error, self.metadata, self.result, self.owner];
        ids.iter().chain(&others).map(|field| field.len()).sum()
    }
}

impl<'a> NextRun<'a> {
    /// The state that is said, with nothing of another.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an absent `created_at`.
    pub(crate) fn of(run: &'a Run<'_>) -> Result<Self> {
        Ok(Self {
            run,
            attempt: run.attempt.unwrap_or(1),
            owner: run.owner.as_deref(),
            created_at: resolved(run.created_at)?,
            started_at: run.started_at,
            finished_at: run.finished_at,
            kept: Kept::default(),
        })
    }
}
