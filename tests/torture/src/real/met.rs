//! What writers met that were killed or cut off, counted over all of them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::real::writer::Heard;

#[derive(Debug, Default)]
pub(crate) struct Met {
    while_opening: AtomicU64,
    acknowledged: AtomicU64,
    judged: AtomicU64,
}

impl Met {
    /// Counts what was heard of a writer.
    pub(crate) fn add(&self, heard: &Heard) {
        self.while_opening.fetch_add(u64::from(!heard.opened), Ordering::Relaxed);
        self.acknowledged.fetch_add(heard.acknowledged, Ordering::Relaxed);
    }

    /// Counts a ledger that was compared with what was promised.
    pub(crate) fn judged(&self) {
        self.judged.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (opening, batches) = (count(&self.while_opening), count(&self.acknowledged));
        let ledgers = count(&self.judged);
        write!(f, "{opening} while opening, {batches} batches acknowledged, ")?;
        write!(f, "{ledgers} ledgers judged")
    }
}
