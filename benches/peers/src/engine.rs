//! What an engine has to do to be measured.

use std::path::Path;

use runledger::{Body, Timestamp};

use crate::Outcome;
use crate::question::{Pick, Question, See};

/// What an append reaches before it returns. An engine is opened for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The kernel, so that a killed process loses nothing, or what comes nearest to that.
    Os,
    /// Stable storage.
    Sync,
}

/// How an engine is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) level: Level,
    /// The size of runledger's segments, where it is not the default.
    pub(crate) segment_bytes: Option<u32>,
}

/// What takes records; the floor can do no more.
pub(crate) trait Log: Send + Sync {
    /// Appends records in one transaction.
    fn append_batch(&self, batch: &[Body<'_>]) -> Outcome;

    /// Appends one record in a transaction of its own.
    fn append(&self, body: Body<'_>) -> Outcome;

    /// Brings what was appended to the level that it was opened for, where an append did not.
    fn settle(&self) -> Outcome {
        Ok(())
    }

    /// Ends what goes on in the background, and lets go of the files.
    fn close(self: Box<Self>) -> Outcome;
}

/// What answers questions, too.
pub(crate) trait Engine: Log {
    /// Reads every record of the answer whole, and shows it, in the order asked for.
    fn ask(&self, question: Question, pick: &Pick, see: See<'_>) -> Outcome;

    /// Drops the records that are older than this, but for runs that are open. Gives how many
    /// went.
    fn drop_before(&self, time: Timestamp) -> Outcome<u64>;

    /// Adds an index that is made for this question alone, where the engine would have need of one.
    /// True when it did.
    fn tune(&self, question: Question) -> Outcome<bool> {
        _ = question;
        Ok(false)
    }

    /// Makes what is there as small as it can be.
    fn pack(&self) -> Outcome {
        Err("it has nothing to compact with".into())
    }

    /// What it tells of itself and no other engine does.
    fn insight(&self) -> Outcome<Insight> {
        Ok(Insight::default())
    }
}

/// What runledger's `stats` tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Insight {
    pub(crate) records: u64,
    pub(crate) segments: u64,
    /// Bytes of frames, of footers, and of indexes in memory.
    pub(crate) frame_bytes: u64,
    pub(crate) footer_bytes: u64,
    pub(crate) index_memory: u64,
}
