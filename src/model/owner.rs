use std::borrow::Cow;
use std::fmt;

use crate::model::{Id, Timestamp, setters};

/// Who answers for a run as long as it is open.
///
/// A run that has an owner is closed as [`Abandoned`](crate::Status::Abandoned) by the ledger's
/// writer when its owner is gone: when its process was on this machine and is no more, or, where
/// that cannot be seen, when its lease has ended. A run without an owner stays open until somebody
/// ends it.
///
/// ```
/// use runledger::{Ledger, Owner, Run, Status};
/// # let dir = tempfile::tempdir()?;
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// let run = Run::new("r-1", "import", Status::Running)?.owner(ledger.owner());
/// ledger.append(run)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner<'a> {
    /// The name of the machine; 1 to 256 bytes.
    pub host: Cow<'a, str>,
    /// The process, where the operating system tells what makes it out from all others.
    pub process: Option<Process>,
    /// Until when the owner vouches for the run, by its own clock. It counts where the process
    /// cannot be seen.
    pub lease_until: Option<Timestamp>,
}

/// What makes a process out from all others: a process id alone is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// When it began, in clock ticks since the machine was started.
    pub began: u64,
    /// The machine's start: a random number that the kernel draws each time.
    pub boot_id: [u8; 16],
    /// Whose process ids these are: a container has its own.
    pub namespace: u64,
}

impl<'a> Owner<'a> {
    /// An owner on this machine of whom nothing else is known.
    #[must_use]
    pub fn new(host: impl Into<Cow<'a, str>>) -> Self {
        Self { host: host.into(), process: None, lease_until: None }
    }

    setters! {
        /// Sets the process.
        process: process = Process => Some;
        /// Sets until when the owner vouches for the run.
        lease_until: lease_until = Timestamp => Some;
    }

    /// The same owner, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Owner<'static> {
        Owner { host: Cow::Owned(self.host.into_owned()), ..self }
    }

    /// The same owner, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Owner<'_> {
        Owner { host: Cow::Borrowed(&self.host), ..*self }
    }
}

impl Process {
    /// The process with this id, that began so many clock ticks after the start of the machine
    /// which this boot id stands for, in this namespace of process ids.
    #[must_use]
    pub const fn new(pid: u32, began: u64, boot_id: [u8; 16], namespace: u64) -> Self {
        Self { pid, began, boot_id, namespace }
    }

    /// The boot id as the kernel prints it.
    #[must_use]
    pub const fn boot(&self) -> Id<'static> {
        Id::from_uuid(self.boot_id)
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(process) = &self.process {
            write!(f, "process {} on ", process.pid)?;
        }
        f.write_str(&self.host)?;
        match self.lease_until {
            Some(until) => write!(f, ", lease until {until}"),
            None => Ok(()),
        }
    }
}
