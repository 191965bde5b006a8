//! The runs that are open in a segment, as far as it alone can tell.

use crate::error::Result;
use crate::index::{MemIndex, Row, SUPERSEDED, Table};
use crate::model::{Kind, Status};
use crate::segment::sealed::SealedIndex;
use crate::segment::{FRAMES_START, Segment};

/// Where the newest state of an open run lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenState {
    pub(crate) seq: u64,
    /// Where its frame begins, when no index is there yet to tell.
    pub(crate) frame: Option<u32>,
    /// Where the record lies.
    pub(crate) offset: u32,
}

impl Segment {
    /// The newest states of the runs that are open here, in the order of their numbers. One of
    /// another segment may supersede them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn open_runs(&self) -> Result<Vec<OpenState>> {
        if self.kind() != Kind::Run {
            return Ok(Vec::new());
        }
        // What the opening has read anyway: for this no index has to be made.
        let found = self.still_as_found().filter(|_| self.indexed() == FRAMES_START);
        if let Some(found) = found {
            return Ok(found.open.clone());
        }
        let open = self.told(open_runs, SealedIndex::open_runs)?;
        let state = |(seq, offset)| OpenState { seq, frame: None, offset };
        Ok(open.into_iter().map(state).collect())
    }

    /// True for a state of a run, of this number and tag, that a later one supersedes: here, or in
    /// another segment.
    pub(crate) fn is_earlier(&self, seq: u64, tag: u8) -> bool {
        tag & SUPERSEDED != 0 || self.superseded_by(seq).is_some()
    }
}

/// The sequence number and the place of the newest state of each run that is open, rising.
pub(super) fn open_runs(index: &MemIndex) -> Vec<(u64, u32)> {
    let is_open = |row: &Row| {
        let tag = index.tag(*row);
        tag & SUPERSEDED == 0 && Status::from_code(tag).is_some_and(|it| !it.is_terminal())
    };
    let rows = (0..index.rows()).filter(is_open);
    // Rows in memory lie in the order of their numbers.
    rows.map(|row| (index.seq(row), index.offset(row))).collect()
}
