//! The life of runs that nobody ends: those whose owner is gone, and those that never came.

mod abandon;
mod expect;

pub use expect::{ExpectedRun, LastRun};

use crate::error::{Error, Result};
use crate::ledger::handle::Inner;

impl Inner {
    /// Closes the runs whose owners are gone, and notes those that are missed. On a full disk, what
    /// cannot be written now is found again by the next look.
    ///
    /// # Errors
    /// As for an append, but for a full disk.
    pub(super) fn look_after_runs(&self) -> Result<()> {
        // No lease ends, and no run is missed, for a clock that is years ahead.
        let doubted = self.doubting_clock.look(&*self.options.storage).now;
        let now = self.options.storage.now().min(doubted);
        match self.abandon_runs(now).and_then(|()| self.note_missed(now)) {
            Err(Error::NoSpace { .. }) => Ok(()),
            looked => looked,
        }
    }
}
