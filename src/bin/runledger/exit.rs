//! How a command ends: its exit code, and what it says on stderr.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use runledger::Error;

/// How a command ended that did what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done: 0.
    Done,
    /// Nothing matched, something would change, or input was rejected: 1.
    Notable,
    /// Damage was found in the ledger's files: 3.
    Damaged,
    /// Another program's own exit code, passed on.
    Code(u8),
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The ledger refused.
    Ledger(Error),
    /// The ledger refused in the midst of something larger.
    Stopped {
        /// What is done and what is not, and how to go on.
        place: String,
        /// Why the ledger refused.
        source: Error,
    },
    /// The arguments make no sense; the text says what would.
    Usage(String),
    /// An operation on a file outside of the ledger failed.
    Io {
        /// What was to be done, such as `read nightly.jsonl`.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The output could not be written. A closed pipe is no error: who reads has read enough.
    Output(io::Error),
}

impl Failure {
    /// Names the operation and the file of an I/O error.
    pub(crate) fn io(operation: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("{operation} {}", path.display()), source }
    }

    /// Says beside why the output could not be written what is done all the same.
    pub(crate) fn untold(done: &str, err: &io::Error) -> Self {
        Self::Output(io::Error::new(err.kind(), format!("{err}; {done}")))
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::Ledger(err)
    }
}

/// An I/O error without a name is one of the standard output.
impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Self::Output(err)
    }
}

/// Says on stderr what went wrong, if anything did, and gives the exit code.
pub(crate) fn code(outcome: Result<Outcome, Failure>) -> ExitCode {
    let failure = match outcome {
        Ok(Outcome::Done) => return ExitCode::SUCCESS,
        Ok(Outcome::Notable) => return ExitCode::from(1),
        Ok(Outcome::Damaged) => return ExitCode::from(3),
        Ok(Outcome::Code(code)) => return ExitCode::from(code),
        Err(failure) => failure,
    };
    match failure {
        Failure::Ledger(err) => {
            say(&err.to_string());
            code_of(&err)
        }
        Failure::Stopped { place, source } => {
            say(&format!("{source}; {place}"));
            code_of(&source)
        }
        Failure::Usage(text) => {
            say(&text);
            ExitCode::from(2)
        }
        Failure::Io { what, source } => {
            say(&format!("cannot {what}: {source}"));
            ExitCode::from(2)
        }
        Failure::Output(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Failure::Output(err) => {
            say(&format!("cannot write the output: {err}"));
            ExitCode::from(2)
        }
    }
}

fn code_of(err: &Error) -> ExitCode {
    ExitCode::from(match err {
        Error::NotFound { .. } => 1,
        Error::Damaged { .. } => 3,
        _ => 2,
    })
}

/// Writes one line to stderr under the program's name.
pub(crate) fn say(text: &str) {
    // Where stderr is closed there is nowhere left to say so.
    let _ = io::stderr().write_all(line(text).as_bytes());
}

/// What is said, under the program's name.
pub(crate) fn line(text: &str) -> String {
    format!("runledger: {text}\n")
}
