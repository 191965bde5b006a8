//! The life of runs that nobody ends: those whose owner is gone, and those that never came.

mod abandon;
mod expect;

pub(super) use expect::last_before_miss;
pub use expect::{ExpectedRun, LastRun};

use crate::error::{Error, Result};
use crate::ledger::handle::Inner;

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// A caller. What ends a run may have the space that is held back for a full disk.
    Caller,
    /// Another ledger, whose runs may have been abandoned there.
    Merge,
    /// The ledger itself, which may have that space in any case, and may abandon runs.
    Engine,
}

impl Inner {
    /// Closes the runs whose owners are gone, and notes those that are missed. On a full disk, what
    /// cannot be written now is found again by the next look. What could not be read is the result:
    /// it keeps nothing else from being looked after.
    ///
    /// # Errors
    /// As for an append, but for a full disk.
    pub(super) fn look_after_runs(&self) -> Result<Vec<Error>> {
        // No lease ends, and no run is missed, for a clock that is years ahead.
        let now = self.options.storage.now().min(self.doubted_now());
        let mut unread = Vec::new();
        let looked =
            self.abandon_runs(now, &mut unread).and_then(|()| self.note_missed(now, &mut unread));
        match looked {
            Ok(()) | Err(Error::NoSpace { .. }) => Ok(unread),
            Err(err) => Err(err),
        }
    }
}
