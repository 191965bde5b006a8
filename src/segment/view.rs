//! The view of a segment's file that its records are read through.

use crate::error::Result;
use crate::segment::Segment;
use crate::storage::Map;

/// How much of a file that grows is mapped at once, where that can be: as much as a segment mostly
/// has. It takes addresses, and no memory.
const MAP_AHEAD_BYTES: usize = 64 << 20;

impl Segment {
    /// True of a file that grows no more.
    pub(super) fn is_whole_file(&self) -> bool {
        self.header.packed || self.sealed_span().is_some()
    }

    /// A view of the file that shows at least its first `end` bytes.
    pub(crate) fn map(&self, end: usize) -> Result<Map> {
        let is_enough = |map: &&Map| map.covers(end) && !map.is_lost();
        if let Some(map) = self.map.read().as_ref().filter(is_enough) {
            return Ok(map.clone());
        }
        let mut place = self.map.write();
        match place.as_ref().filter(is_enough) {
            Some(map) => Ok(map.clone()),
            None => {
                let map = match self.is_whole_file() {
                    true => self.file().map(end)?,
                    // Mapped anew as it grows, an append of a run would wait for the unmapping of
                    // all that was there: up to a millisecond.
                    false => {
                        let most = end.checked_next_multiple_of(MAP_AHEAD_BYTES);
                        self.file().map_ahead(end, most.unwrap_or(end))?
                    }
                };
                *place = Some(map.clone());
                Ok(map)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::segment::made::{append, create};

    /// A map that is made anew is one that is unmapped, for which the append of a run waits.
    #[test]
    fn a_segment_that_grows_is_mapped_once() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(dir.path());
        append(&segment, 1, 10);
        let first = segment.map(segment.end() as usize).unwrap();
        for seq in 2..=20 {
            append(&segment, seq, 1_000_000);
            let end = segment.end() as usize;
            let view = segment.map(end).unwrap();
            assert_eq!(view.as_slice().as_ptr(), first.as_slice().as_ptr());
            assert!(view.as_slice()[end - 1_000..end].iter().any(|&byte| byte != 0), "{seq}");
            assert!(!view.is_lost());
        }
    }
}
