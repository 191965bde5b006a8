//! Signs of life on stderr, for what takes its time, and only on a terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use runledger::storage::{Disk, Storage};

/// What takes longer than this is shown.
const SILENCE: Duration = Duration::from_secs(1);

const TICK: Duration = Duration::from_millis(100);

/// A bar for work of which the end is known, or a count where it is not.
pub(crate) struct Progress {
    start: Duration,
    bar: Option<ProgressBar>,
    wanted: bool,
}

impl Progress {
    /// Begins to count the time.
    pub(crate) fn new() -> Self {
        Self { start: Disk.monotonic(), bar: None, wanted: io::stderr().is_terminal() }
    }

    /// The time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        Disk.monotonic().saturating_sub(self.start)
    }

    /// Shows how many bytes of how many are done, once it has taken long enough.
    pub(crate) fn show(&mut self, done: u64, of: Option<u64>, message: &str) {
        if !self.wanted || self.elapsed() < SILENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(ProgressBar::no_length);
        match of {
            Some(size) => {
                bar.set_length(size);
                bar.set_style(style("{wide_bar} {percent}% {msg}"));
            }
            None => bar.set_style(style("{spinner} {bytes} {msg}")),
        }
        bar.set_position(done);
        bar.set_message(message.to_owned());
    }

    /// Says something without the bar in between.
    pub(crate) fn aside(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Does work that does not tell how far it is, with the time that it has taken.
pub(crate) fn during<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let (done, end) = mpsc::channel::<()>();
    let waiting = thread::spawn(move || {
        if end.recv_timeout(SILENCE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let spinner = ProgressBar::new_spinner().with_message(what);
        spinner.set_style(style("{spinner} {msg}, {elapsed}"));
        while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            spinner.tick();
        }
        spinner.finish_and_clear();
    });
    let result = work();
    drop(done);
    // It has nothing to give but the line that it takes away.
    let _ = waiting.join();
    result
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
