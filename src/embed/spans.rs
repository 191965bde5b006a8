//! The spans that a thread is in, for those who cannot ask the subscriber: a log line and a panic
//! may come while it holds its locks.

use std::cell::RefCell;
use std::sync::OnceLock;

use crate::embed::ids::Ids;

/// Set when somebody wants to know.
static FOLLOWED: OnceLock<()> = OnceLock::new();

thread_local! {
    static SPANS: RefCell<Vec<(u64, Ids)>> = const { RefCell::new(Vec::new()) };
}

/// Follows the spans that threads enter from now on.
pub(super) fn follow() {
    FOLLOWED.get_or_init(|| ());
}

/// What holds in the span that the thread is in.
pub(super) fn current() -> Ids {
    let last = |spans: &RefCell<Vec<(u64, Ids)>>| Some(spans.try_borrow().ok()?.last()?.1.clone());
    SPANS.try_with(last).ok().flatten().unwrap_or_default()
}

#[cfg(feature = "tracing")]
pub(super) fn are_followed() -> bool {
    FOLLOWED.get().is_some()
}

/// The thread enters a span.
#[cfg(feature = "tracing")]
pub(super) fn enter(span: u64, ids: Ids) {
    let _ = SPANS.try_with(|spans| spans.borrow_mut().push((span, ids)));
}

/// What holds in a span has changed, which the thread may be in.
#[cfg(feature = "tracing")]
pub(super) fn change(span: u64, ids: &Ids) {
    let _ = SPANS.try_with(|spans| {
        for (_, held) in spans.borrow_mut().iter_mut().filter(|(entered, _)| *entered == span) {
            held.clone_from(ids);
        }
    });
}

/// The thread leaves a span, which need not be the last that it has entered.
#[cfg(feature = "tracing")]
pub(super) fn exit(span: u64) {
    let _ = SPANS.try_with(|spans| {
        let mut spans = spans.borrow_mut();
        if let Some(at) = spans.iter().rposition(|(entered, _)| *entered == span) {
            spans.remove(at);
        }
    });
}
