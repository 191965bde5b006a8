//! What every subcommand is given besides its own arguments.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jiff::tz::TimeZone;
use runledger::Timestamp;
use runledger::storage::{Disk, Storage};

use crate::exit::Failure;
use crate::time;

/// Where the help lists the arguments below.
const EVERYWHERE: &str = "In every command";

/// The arguments that every subcommand takes.
#[derive(clap::Args)]
pub(crate) struct Global {
    /// Directory of the ledger
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    #[arg(env = "RUNLEDGER_DIR", default_value = "./ledger")]
    dir: PathBuf,
    /// Read and show times in UTC instead of the local time zone
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    utc: bool,
    /// When to use colours; `auto` also honours NO_COLOR
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "WHEN")]
    #[arg(value_enum, default_value_t = When::Auto)]
    color: When,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal
    Auto,
    /// Also in a pipe
    Always,
    /// Not at all
    Never,
}

/// Where the ledger is and how to show things.
pub(crate) struct Context {
    dir: PathBuf,
    is_dir_typed: bool,
    zone: TimeZone,
    color: When,
    now: Timestamp,
    hints: bool,
}

impl Context {
    /// Takes the arguments, the zone and the clock, once for the whole command. The directory may
    /// have been typed, and not be that of the environment or the usual one.
    pub(crate) fn new(global: Global, is_dir_typed: bool) -> Self {
        let zone = if global.utc { TimeZone::UTC } else { TimeZone::system() };
        let (dir, color) = (global.dir, global.color);
        Self { dir, is_dir_typed, zone, color, now: clock(), hints: true }
    }

    /// The same for another ledger, of which a tour shows a little: nothing is said of the rest.
    pub(crate) fn for_tour(&self, dir: &Path) -> Self {
        let (zone, color, now) = (self.zone.clone(), self.color, self.now);
        Self { dir: dir.to_owned(), is_dir_typed: true, zone, color, now, hints: false }
    }

    /// True when a listing is to say how it goes on behind its limit.
    pub(crate) const fn hints(&self) -> bool {
        self.hints
    }

    /// The ledger's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The ledger's directory, when it was typed as `--dir`.
    pub(crate) fn typed_dir(&self) -> Option<&Path> {
        self.is_dir_typed.then_some(&*self.dir)
    }

    /// The zone in which times are read and shown.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// When to use colours.
    pub(crate) fn color(&self) -> When {
        self.color
    }

    /// The time at which the command began, so that all of it counts from one moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Reads a time as it is typed, such as `yesterday`; see [`time::parse`].
    ///
    /// # Errors
    /// A usage error that names the text and what would be a time.
    pub(crate) fn time(&self, text: &str) -> Result<Timestamp, Failure> {
        time::parse(text, self.now, &self.zone).map_err(Failure::Usage)
    }
}

/// A variable of the environment. An empty one says nothing.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The system clock.
pub(crate) fn clock() -> Timestamp {
    Timestamp::from_nanos(Disk.now())
}
