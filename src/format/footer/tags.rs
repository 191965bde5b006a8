//! The tags of rows.

/// The tag of each row: a byte for each, or one for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tags<'a> {
    pub(super) bytes: &'a [u8],
    rows: usize,
}

impl<'a> Tags<'a> {
    /// Those of so many rows, as they are stored; `None` when they are of another number of rows.
    pub(super) fn of(bytes: &'a [u8], rows: usize) -> Option<Self> {
        (bytes.len() == rows || bytes.len() == 1).then_some(Self { bytes, rows })
    }

    /// How the tags of rows are stored: a stream that is split by its tags has one for all.
    pub(super) fn stored(tags: &[u8]) -> &[u8] {
        match tags {
            [first, others @ ..] if others.iter().all(|tag| tag == first) => {
                std::slice::from_ref(first)
            }
            _ => tags,
        }
    }

    /// The tag of a row; `None` when there is no such row.
    #[inline]
    #[must_use]
    pub fn get(&self, row: usize) -> Option<u8> {
        match self.bytes {
            [all] => (row < self.rows).then_some(*all),
            each => each.get(row).copied(),
        }
    }

    /// Where the tag of a row lies, and what follows, for a processor to fetch.
    #[inline]
    #[must_use]
    pub fn from(&self, row: usize) -> &'a [u8] {
        self.bytes.get(row..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_tag_also_when_all_have_one() {
        for (tags, stored) in [(vec![], 0), (vec![3], 1), (vec![3; 500], 1), (vec![3, 4, 4], 3)] {
            let bytes = Tags::stored(&tags);
            assert_eq!(bytes.len(), stored);
            let read = Tags::of(bytes, tags.len()).unwrap();
            let all: Vec<_> = (0..tags.len() + 2).filter_map(|row| read.get(row)).collect();
            assert_eq!(all, tags);
        }
        assert_eq!(Tags::of(&[3, 4], 3), None);
        assert_eq!(Tags::of(&[], 3), None);
    }
}
