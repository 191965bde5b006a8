//! The one error type. A variant is what a caller can act on; its text says what happened, where,
//! and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that the caller gave is not one that can be taken. Nothing was written.
    #[error("{what} {value:?} is not valid: expected {expected}")]
    Invalid {
        /// Which value.
        what: &'static str,
        /// Its text, cut after 80 characters.
        value: String,
        /// What would be valid.
        expected: String,
    },

    /// A run cannot go from the one status to the other, or is in a later attempt. Nothing was
    /// written.
    #[error(
        "run {run_id:?} cannot go from {from} to {to}: it is in attempt {attempt}, and what has \
         ended stays so; append it with an attempt above {attempt} to open it again"
    )]
    RunTransition {
        /// Which run.
        run_id: String,
        /// The status it is in.
        from: &'static str,
        /// The status that was refused.
        to: &'static str,
        /// The attempt it is in.
        attempt: u32,
    },

    /// A record, batch or frame is larger than the ledger takes. Nothing was written.
    #[error("{what} of {size} is over the limit of {limit}; split it or store a reference to it")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },

    /// No record has this sequence number or id.
    #[error("no {what} {id:?} in the ledger; it may have been dropped by retention")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        id: String,
    },

    /// The directory holds no ledger.
    #[error("{path} is not a ledger: {reason}")]
    NotALedger {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },

    /// The file was written by a newer version of the format.
    #[error(
        "{path} has format version {found} with features {features:#x}, this program reads up to \
         version {supported}: use a newer runledger"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: u16,
        /// The incompatible features it names that this program does not know.
        features: u32,
        /// The newest version this program reads.
        supported: u16,
    },

    /// The ledger's file `runledger.toml` says what cannot be taken. Nothing of it is applied.
    #[error("{path}, line {line}: {field}: {reason}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Which key, with the tables that it stands in; the file's name when it is no TOML.
        field: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },

    /// Another process, or another handle of this one, writes to the ledger.
    #[error("{path} is being written by {holder}; stop that writer, or open the ledger read-only")]
    Locked {
        /// The ledger's directory.
        path: PathBuf,
        /// The writer: its pid and host as it noted them.
        holder: String,
        /// The writer's process id, when it could be read.
        pid: Option<u32>,
    },

    /// The file system lets nobody write.
    #[error(
        "{path} cannot be written: {reason}; mount its file system for writing, or use a ledger \
         elsewhere"
    )]
    ReadOnly {
        /// The ledger's directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// The disk or the quota is full. Nothing of the append is visible; appends go on by themselves
    /// when there is space.
    #[error("no space left for {path}: free some, or run `runledger cleanup`")]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },

    /// The operating system refused an operation on a file.
    #[error("cannot {operation} {path}: {source}{}", remedy(.source))]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },

    /// Bytes on disk are not what was written.
    #[error(
        "{path} is damaged at offset {offset}: {damage}; run `runledger verify` for the extent"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },

    /// A sync or a write failed, or work in the background panicked, in a way after which nothing
    /// is known of the disk's content. The writer takes no more appends; what was acknowledged
    /// before is not affected.
    #[error(
        "the writer of {path} stopped after an I/O error ({cause}); \
         check the disk, then open the ledger again"
    )]
    Poisoned {
        /// The ledger's directory.
        path: PathBuf,
        /// The error that stopped it.
        cause: String,
    },

    /// The ledger was closed.
    #[error("the ledger is closed; open it again")]
    Closed,
}

/// What is wrong with bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The magic number is another.
    #[error("not the expected magic number")]
    Magic,
    /// The file ends before the structure does.
    #[error("the file ends too early")]
    Truncated,
    /// A header's checksum does not match: damaged, moved, or of another segment.
    #[error("the header's checksum does not match")]
    HeaderChecksum,
    /// A payload's checksum does not match.
    #[error("the payload's checksum does not match")]
    PayloadChecksum,
    /// A length or count is out of its bounds.
    #[error("a length is out of bounds")]
    Length,
    /// The checksums match, and still the record does not decode.
    #[error("the record does not decode")]
    Record,
    /// The footer or its trailer is damaged or missing.
    #[error("the footer is damaged or missing")]
    Footer,
    /// The hash chain does not hold.
    #[error("the hash does not match the chain")]
    Hash,
    /// Sequence numbers do not rise.
    #[error("sequence numbers do not rise")]
    Sequence,
    /// Frames that were on stable storage are not there, nor anything in their place.
    #[error("its end is missing: the file was cut, or is an older copy")]
    MissingEnd,
    /// The operating system does not let the file be read.
    #[error("it cannot be read")]
    Unreadable,
    /// The file is not there: the last segment of a stream, `LEDGER` or `SEQ`.
    #[error("the file is missing: it was removed, or not copied")]
    MissingSegment,
    /// A note tells that the segment was dropped.
    #[error("it was dropped, and is there again")]
    Dropped,
}

/// What to do about an error of the operating system, where that can be said.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; run this as the user who owns the ledger, or let this one read and write it"
        }
        _ => "",
    }
}

impl Error {
    /// An [`Error::Invalid`] with the value cut to a length that fits a line.
    pub(crate) fn invalid(what: &'static str, value: &str, expected: &str) -> Self {
        let mut clipped: String = value.chars().take(80).collect();
        if clipped.len() < value.len() {
            clipped.push('…');
        }
        Self::Invalid { what, value: clipped, expected: expected.to_owned() }
    }

    /// Names the operation and the file of an I/O error; a full disk becomes [`Error::NoSpace`] and
    /// a read-only file system [`Error::ReadOnly`].
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace { path, source },
            io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path, reason: source.to_string() }
            }
            _ => Self::Io { operation, path, source },
        }
    }

    pub(crate) fn damaged(path: &Path, offset: u64, damage: Damage) -> Self {
        Self::Damaged { path: path.to_owned(), offset, damage }
    }

    /// True for an error that is the fault of the record that was to be appended, which would be
    /// refused again: [`Error::Invalid`], [`Error::RunTransition`] and [`Error::TooLarge`]. Any
    /// other is the ledger's.
    ///
    /// ```
    /// use runledger::{Error, Run, Status};
    ///
    /// let refused = Run::new("", "backup", Status::Running).unwrap_err();
    /// assert!(refused.is_of_record());
    /// assert!(!Error::Closed.is_of_record());
    /// ```
    pub const fn is_of_record(&self) -> bool {
        matches!(self, Self::Invalid { .. } | Self::RunTransition { .. } | Self::TooLarge { .. })
    }

    /// True for an error of what was read for one record, such as the state that its run was in:
    /// others may be taken, and this one when that can be read.
    pub(crate) const fn is_unread(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Damaged { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_named_with_a_remedy() {
        let text =
            |kind: io::ErrorKind| Error::io("open", Path::new("a/b"), kind.into()).to_string();
        let denied = text(io::ErrorKind::PermissionDenied);
        assert!(denied.starts_with("cannot open a/b: permission denied; run this as"), "{denied}");
        assert_eq!(text(io::ErrorKind::NotFound), "cannot open a/b: entity not found");
        assert!(text(io::ErrorKind::ReadOnlyFilesystem).contains("mount its file system"));
        assert!(text(io::ErrorKind::StorageFull).contains("runledger cleanup"));
    }
}
