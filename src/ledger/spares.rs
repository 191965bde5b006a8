//! The memory of indexes that footers have taken the place of, kept for the segments to come.
//!
//! An index that grows anew for each segment has its columns copied, its tables of keys hashed
//! again and its pages zeroed by the operating system, at the cost of the appends beside it.

use crate::index::MemIndex;
use crate::ledger::classes::STREAM_KINDS;
use crate::sync::Mutex;

/// An empty index at the most for each stream.
#[derive(Debug, Default)]
pub(super) struct Spares([Mutex<Option<MemIndex>>; STREAM_KINDS.len()]);

impl Spares {
    /// Empties an index and keeps its memory for the next segment of the stream with this number.
    pub(super) fn keep(&self, stream: usize, index: MemIndex) {
        if let Some(spare) = self.0.get(stream) {
            let emptied = index.emptied();
            *spare.lock() = Some(emptied);
        }
    }

    /// The empty index that is kept for the stream.
    pub(super) fn take(&self, stream: usize) -> Option<MemIndex> {
        self.0.get(stream)?.lock().take()
    }

    /// Bytes of memory that are kept for the stream.
    pub(super) fn memory(&self, stream: usize) -> usize {
        self.0.get(stream).map_or(0, |spare| spare.lock().as_ref().map_or(0, MemIndex::memory))
    }

    /// Gives all memory back.
    pub(super) fn clear(&self) {
        for spare in &self.0 {
            *spare.lock() = None;
        }
    }
}
