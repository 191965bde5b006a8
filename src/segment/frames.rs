use std::sync::atomic::{AtomicU64, Ordering};

/// For each frame of a segment, whether its payload was compared with its checksum since the file
/// was opened.
#[derive(Debug)]
pub(super) struct CheckedFrames(Vec<AtomicU64>);

impl CheckedFrames {
    /// For a file with this many frames, none of them compared.
    pub(super) fn new(frames: usize) -> Self {
        Self((0..frames.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn is_checked(&self, frame: usize) -> bool {
        self.0
            .get(frame / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (frame % 64)) != 0)
    }

    pub(super) fn set_checked(&self, frame: usize) {
        if let Some(word) = self.0.get(frame / 64) {
            word.fetch_or(1 << (frame % 64), Ordering::Relaxed);
        }
    }
}
