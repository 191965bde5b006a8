//! Waiting for what was appended to be on stable storage.

use crate::error::{Error, Result};
use crate::ledger::commit::Positions;
use crate::ledger::group_commit::Target;
use crate::ledger::handle::Inner;
use crate::ledger::stream::Stream;

impl Inner {
    /// Returns once the streams are on stable storage up to these positions.
    ///
    /// # Errors
    /// When a sync fails, or one failed before.
    pub(super) fn wait_synced(&self, positions: &Positions) -> Result<()> {
        for &(number, position) in positions {
            if let Some(stream) = self.streams.get(number) {
                stream.commit.wait(position, &Syncing { inner: self, stream })?;
            }
        }
        Ok(())
    }

    /// Syncs all streams.
    ///
    /// # Errors
    /// As for [`Inner::wait_synced`].
    pub(super) fn sync(&self) -> Result<()> {
        // Of an error of the disk the kernel tells once, and a fork shares the files.
        self.check_process()?;
        self.check_poisoned()?;
        let position = |number: usize| Some((number, self.streams.get(number)?.lock().written));
        self.wait_synced(&self.catalog.in_use().filter_map(position).collect())
    }
}

/// A stream as its group commit syncs it. What fails there stops the whole writer.
struct Syncing<'a> {
    inner: &'a Inner,
    stream: &'a Stream,
}

impl Target for Syncing<'_> {
    type Error = Error;

    fn sync(&self) -> Result<u64> {
        self.stream.sync(&*self.inner.options.storage)
    }

    fn check(&self) -> Result<()> {
        self.inner.check_poisoned()
    }

    fn stop(&self, cause: Option<&Error>) {
        match cause {
            Some(err) => self.inner.poison(err),
            None => self.inner.poison("a sync ended in a panic"),
        }
    }
}
