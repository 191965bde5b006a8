//! What is to be done before a panic goes on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What `work` gives. Should it panic, `tell` is called before anything else learns of it.
pub(super) fn telling_of_panic<R>(work: impl FnOnce() -> R, tell: impl FnOnce()) -> R {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        tell();
        resume_unwind(panic)
    })
}
