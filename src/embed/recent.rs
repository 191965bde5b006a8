//! The last records of each thread, for the one that panics. Nothing is kept until a panic hook
//! asks for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use crate::embed::json;
use crate::model::{Body, Timestamp};

/// How many records each thread keeps.
static KEPT: OnceLock<usize> = OnceLock::new();

/// How many bytes of a message are kept.
const MESSAGE_BYTES: usize = 256;

thread_local! {
    /// Each as a JSON object.
    static RECENT: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
    /// When the thread's last panic was, if it has ended the runs that were open then: by the clock
    /// that never goes back.
    static FAILED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Notes when the thread's panic was, if it has ended the runs that were open.
pub(super) fn note_failed_runs(at: Option<Duration>) {
    let _ = FAILED.try_with(|failed| failed.set(at));
}

/// True when the last panic of this thread has ended a run that was opened then. What unwinds a
/// later one need not be a panic that a hook was told of.
#[cfg(feature = "tracing")]
pub(super) fn has_failed_run(opened: Duration) -> bool {
    FAILED.try_with(Cell::get).ok().flatten().is_some_and(|at| opened <= at)
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
