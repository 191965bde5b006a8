use crate::error::Result;
use crate::segment::blocks::Source;

/// How much is read at a time: large enough to be fast, small enough to stay in a core's cache
/// until it was looked at.
const WINDOW_BYTES: usize = 256 << 10;

/// Reads a file from front to back through a buffer.
///
/// Frames that are not yet known to be whole are read this way and not through a map, because a
/// writer may cut the file behind them at any moment, and a map does not survive that.
pub(super) struct Window<'f> {
    file: &'f dyn Source,
    buffer: Vec<u8>,
    start: u64,
    /// No bytes from here on are wanted.
    end: u64,
}

impl<'f> Window<'f> {
    pub(super) const fn new(file: &'f dyn Source, end: u64) -> Self {
        Self { file, buffer: Vec::new(), start: 0, end }
    }

    pub(super) const fn file(&self) -> &'f dyn Source {
        self.file
    }

    /// The `len` bytes at `at`; fewer at the end of the file. `len` must have been checked against
    /// a limit, as the buffer grows to it.
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let held = self.held(at);
        if held.len() < len {
            self.fill(at, len)?;
        }
        let held = self.held(at);
        Ok(held.get(..len).unwrap_or(held))
    }

    /// The bytes at `at` that are at hand, `least` or more of them unless the file ends before.
    pub(super) fn some(&mut self, at: u64, least: usize) -> Result<&[u8]> {
        if self.held(at).len() < least {
            self.fill(at, least)?;
        }
        Ok(self.held(at))
    }

    fn held(&self, at: u64) -> &[u8] {
        at.checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .and_then(|skip| self.buffer.get(skip..))
            .unwrap_or_default()
    }

    fn fill(&mut self, at: u64, len: usize) -> Result<()> {
        let end = self.file.len()?.min(self.end);
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        self.buffer.resize(len.max(WINDOW_BYTES).min(left), 0);
        self.start = at;
        match self.file.read_at(&mut self.buffer, at) {
            Ok(read) => {
                self.buffer.truncate(read);
                Ok(())
            }
            Err(err) => {
                self.buffer.clear();
                Err(err)
            }
        }
    }
}
