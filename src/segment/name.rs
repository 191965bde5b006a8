//! The names of segment files, which tell whose place a compacted one takes.

use std::fmt;

/// The ending of a segment's file name.
const SUFFIX: &str = ".seg";

/// How many digits a sequence number has in a file name.
const DIGITS: usize = 20;

/// The name of a segment file.
///
/// A compacted segment stands for all that were there from its first to its last one, and lies
/// beside them until they are removed: of files that overlap, the highest generation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// No record in it has a lower sequence number.
    pub(crate) first_seq: u64,
    /// The first sequence number of the last segment that it stands for.
    covers: u64,
    /// How often compaction was at work; 0 for a segment as it was written.
    generation: u32,
}

impl Name {
    /// The name of a segment that is written.
    pub(crate) const fn new(first_seq: u64) -> Self {
        Self { first_seq, covers: first_seq, generation: 0 }
    }

    /// The name of the segment that takes the place of these, which are neighbours; `None` of none.
    pub(crate) fn compacted(of: &[Self]) -> Option<Self> {
        let generation = of.iter().map(|name| name.generation).max()?.checked_add(1)?;
        Some(Self { first_seq: of.first()?.first_seq, covers: of.last()?.covers, generation })
    }

    /// Reads a file's name; `None` for one that is no segment's.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let name = file.strip_suffix(SUFFIX)?;
        let Some((range, generation)) = name.split_once('.') else {
            return Some(Self::new(number(name)?));
        };
        let (first, last) = range.split_once('-')?;
        let (first_seq, covers) = (number(first)?, number(last)?);
        let is_canonical = !generation.starts_with(['0', '+']);
        let generation = generation.parse().ok().filter(|_| is_canonical)?;
        (first_seq <= covers).then_some(Self { first_seq, covers, generation })
    }

    /// What the header of the segment has to say of the ones whose place it takes.
    pub(crate) const fn covers(&self) -> u64 {
        if self.is_compacted() { self.covers } else { 0 }
    }

    pub(crate) const fn is_compacted(&self) -> bool {
        self.generation > 0
    }

    /// True when this segment takes the place of the other one.
    pub(crate) const fn replaces(&self, other: &Self) -> bool {
        self.generation > other.generation && self.spans(other.first_seq)
    }

    /// True when a file may lie in both.
    pub(crate) const fn overlaps(&self, other: &Self) -> bool {
        self.first_seq <= other.covers && other.first_seq <= self.covers
    }

    /// True when a segment that began with this sequence number is this one, or in it.
    pub(crate) const fn spans(&self, first_seq: u64) -> bool {
        self.first_seq <= first_seq && first_seq <= self.covers
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_compacted() {
            false => write!(f, "{:0DIGITS$}{SUFFIX}", self.first_seq),
            true => write!(
                f,
                "{:0DIGITS$}-{:0DIGITS$}.{}{SUFFIX}",
                self.first_seq, self.covers, self.generation
            ),
        }
    }
}

fn number(digits: &str) -> Option<u64> {
    (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let plain = [1, 7, 9].map(Name::new);
        let merged = Name::compacted(&plain).unwrap();
        assert_eq!(merged.to_string(), "00000000000000000001-00000000000000000009.1.seg");
        let last = Name::compacted(&[merged, Name::new(u64::MAX)]).unwrap();
        for name in [plain[0], merged, last] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_eq!(Name::compacted(&[]), None);
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in [
            "",
            ".seg",
            "1.seg",
            "00000000000000000001",
            "00000000000000000001.seg.tmp",
            "00000000000000000001.1.seg",
            "00000000000000000001-00000000000000000009.seg",
            "00000000000000000001-00000000000000000009.0.seg",
            "00000000000000000001-00000000000000000009.01.seg",
            "00000000000000000001-00000000000000000009.+1.seg",
            "00000000000000000001-00000000000000000009.4294967296.seg",
            "00000000000000000009-00000000000000000001.1.seg",
            "99999999999999999999.seg",
        ] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }

    #[test]
    fn the_higher_generation_takes_the_place_of_what_it_spans() {
        let (one, two, three) = (Name::new(1), Name::new(5), Name::new(9));
        let merged = Name::compacted(&[one, two]).unwrap();
        assert!(merged.replaces(&one) && merged.replaces(&two) && !merged.replaces(&three));
        assert!(!one.replaces(&merged) && !merged.replaces(&merged));
        assert!(merged.overlaps(&one) && two.overlaps(&merged) && !merged.overlaps(&three));
        let again = Name::compacted(&[merged]).unwrap();
        assert!(again.replaces(&merged) && again.replaces(&two) && !again.replaces(&three));
    }
}
