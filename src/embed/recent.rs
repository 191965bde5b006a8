//! The last records of each thread, for the one that panics. Nothing is kept until a panic hook
//! asks for it.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::embed::json;
use crate::model::{Body, Id, Timestamp};

/// How many records each thread keeps.
static KEPT: OnceLock<usize> = OnceLock::new();

/// How many bytes of a message are kept.
const MESSAGE_BYTES: usize = 256;

thread_local! {
    /// Each as a JSON object.
    static RECENT: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
    /// The runs of each ledger, by its directory, that were ended for the last panic of the thread
    /// for which any were.
    static FAILED: RefCell<Vec<(PathBuf, Runs)>> = const { RefCell::new(Vec::new()) };
}

pub(super) type Runs = HashSet<Id<'static>>;

/// Notes which runs of a ledger were ended for the thread's panic.
pub(super) fn note_failed_runs(ledger: &Path, runs: Runs) {
    // Another hook of the ledger may have ended them before.
    if runs.is_empty() {
        return;
    }
    let _ = FAILED.try_with(|failed| {
        let Ok(mut failed) = failed.try_borrow_mut() else { return };
        failed.retain(|(of, _)| of != ledger);
        failed.push((ledger.to_owned(), runs));
    });
}

/// True when a run of a ledger was ended for a panic of the thread. What unwinds one need not be a
/// panic that a hook was told of.
#[cfg(feature = "tracing")]
pub(super) fn has_failed_run(ledger: &Path, run: &Id<'static>) -> bool {
    let is_in = |failed: &RefCell<Vec<(PathBuf, Runs)>>| {
        let failed = failed.try_borrow().ok()?;
        Some(failed.iter().any(|(of, runs)| of == ledger && runs.contains(run)))
    };
    FAILED.try_with(is_in).ok().flatten().unwrap_or(false)
}

/// Makes threads keep so many of their records from now on. Only the first call counts.
pub(super) fn keep(records: usize) {
    let _ = KEPT.set(records);
}

/// Keeps a record, if that is asked for.
pub(super) fn note(body: &Body<'_>) {
    let Some(&kept) = KEPT.get().filter(|kept| **kept > 0) else { return };
    // At the end of a thread there is nobody to keep it for.
    let _ = RECENT.try_with(|recent| {
        let Ok(mut recent) = recent.try_borrow_mut() else { return };
        let mut line = match recent.len() < kept {
            true => String::new(),
            false => recent.pop_front().unwrap_or_default(),
        };
        line.clear();
        write(body, &mut line);
        recent.push_back(line);
    });
}

/// The thread's last records as a JSON array, the oldest first.
pub(super) fn array() -> String {
    let mut out = String::from("[");
    let _ = RECENT.try_with(|recent| {
        let Ok(recent) = recent.try_borrow() else { return };
        for line in recent.iter() {
            json::comma(&mut out);
            out.push_str(line);
        }
    });
    out.push(']');
    out
}

fn write(body: &Body<'_>, out: &mut String) {
    let message = match body {
        Body::Run(run) => Some(run.status.name()),
        Body::Event(event) => event.message.as_deref(),
        Body::Error(error) => Some(&*error.message),
    };
    let time: Option<Timestamp> = match body {
        Body::Run(run) => run.at,
        _ => body.created_at(),
    };
    out.push('{');
    json::key(out, "kind");
    json::string(out, body.kind().name());
    if let Some(time) = time {
        json::key(out, "ts");
        // Writing to a string does not fail.
        let _ = write!(out, "\"{time}\"");
    }
    json::key(out, "type");
    json::string(out, body.type_name());
    if let Some(message) = message {
        json::key(out, "message");
        json::string(out, clip(message));
    }
    out.push('}');
}

/// As much of the beginning as is kept.
fn clip(text: &str) -> &str {
    let end = (0..=MESSAGE_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
