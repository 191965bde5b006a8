//! Opening the ledger to write to it.

use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use runledger::storage::{Disk, Storage};
use runledger::{Durability, Error, Ledger, Options, Result};

use crate::context::Context;
use crate::exit::{Failure, say};

/// How long a command that writes one record waits for the writer before it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a writer does that is in the way of who looks after the ledger.
const BY_ITSELF: &str = "it applies retention and compacts by itself, and its program can call \
                         Ledger::cleanup, compact and erase";

const PAUSE: Duration = Duration::from_millis(20);

/// What a record has reached when its append returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Stable storage: no crash loses it
    Sync,
    /// The operating system: only a power cut loses it
    Os,
    /// The operating system, and stable storage 200 ms later
    Interval,
}

impl From<Level> for Durability {
    fn from(level: Level) -> Self {
        match level {
            Level::Sync => Self::Sync,
            Level::Os => Self::Os,
            Level::Interval => Self::Interval,
        }
    }
}

/// Opens the ledger to write a record or two to it, and makes it when it is missing. Another writer
/// is waited for as long as `patience` says: commands in cron often meet for a moment.
///
/// # Errors
/// [`Error::Locked`] when the other writer outlasts the patience; else as [`Options::open`].
pub(crate) fn open(ctx: &Context, patience: Duration) -> Result<Ledger> {
    open_untold(ctx, patience).inspect(tell)
}

/// As [`open`], and says nothing: who reads stderr may not be there, and is not to be waited for.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_untold(ctx: &Context, patience: Duration) -> Result<Ledger> {
    wait_for(Options::new(), ctx, patience)
}

/// As [`open`], of a ledger that is there: none is made.
///
/// # Errors
/// As for [`open`], and when there is none.
pub(crate) fn open_if_there(ctx: &Context, patience: Duration) -> Result<Ledger> {
    wait_for(Options::new().create(false), ctx, patience).inspect(tell)
}

fn wait_for(options: Options, ctx: &Context, patience: Duration) -> Result<Ledger> {
    let start = Disk.monotonic();
    loop {
        match options.clone().background(false).open(ctx.dir()) {
            Err(Error::Locked { .. }) if Disk.monotonic() - start < patience => {
                thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Most lines about what an opening found; the rest is counted.
const MOST_LINES: usize = 3;

/// Says on stderr what the opening found.
pub(crate) fn tell(ledger: &Ledger) {
    told(ledger).iter().for_each(|line| say(line));
}

/// What is to be said of what the opening found.
pub(crate) fn told(ledger: &Ledger) -> Vec<String> {
    let noticed = ledger.noticed();
    let mut lines: Vec<_> = noticed.iter().take(MOST_LINES).cloned().collect();
    match noticed.len().saturating_sub(MOST_LINES) {
        0 => {}
        more => lines.push(format!("and {more} more such notes: `runledger events --audit`")),
    }
    lines
}

/// Opens a ledger that is there, to look after it.
///
/// # Errors
/// As [`Options::open`]. Of a writer it is said what that does by itself.
pub(crate) fn open_existing(ctx: &Context) -> Result<Ledger, Failure> {
    let opened = Options::new().background(false).create(false).open(ctx.dir());
    let ledger = opened.map_err(|err| match err {
        source @ Error::Locked { .. } => Failure::Stopped { place: BY_ITSELF.to_owned(), source },
        err => err.into(),
    })?;
    tell(&ledger);
    Ok(ledger)
}
