//! Why an append ended, and whether it has left something.

use crate::error::Error;

/// Why an append ended.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) error: Error,
    /// True when some of its records may be in the ledger all the same.
    pub(crate) is_in_part: bool,
}

impl Stopped {
    /// By a write, after that of another kind or not. A disk that is full after it had reserved the
    /// space is no mere lack of space, which would promise that nothing was written.
    pub(super) fn by_write(error: Error, after_another: bool) -> Self {
        // Nothing is left of a write that failed, unless it could not be taken back.
        let is_in_part = after_another || matches!(error, Error::Poisoned { .. });
        let error = match error {
            Error::NoSpace { path, source } if after_another => {
                Error::Io { operation: "write", path, source }
            }
            other => other,
        };
        Self { error, is_in_part }
    }

    /// By a sync: what was written is there.
    pub(super) fn by_sync(error: Error) -> Self {
        Self { error, is_in_part: true }
    }

    /// After others of the same call, of which some are in the ledger or none.
    pub(super) fn after(self, is_in_part: bool) -> Self {
        Self { error: self.error, is_in_part: self.is_in_part || is_in_part }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self { error, is_in_part: false }
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        stopped.error
    }
}
