//! The keys of one field, and the rows that have them.

use crate::format::packed::Packed;

/// The index of one field, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct FieldView<'a> {
    pub(super) keys: &'a [[u8; 8]],
    pub(super) starts: Packed<'a>,
    pub(super) postings: Packed<'a>,
    pub(super) codes: Option<Packed<'a>>,
}

impl<'a> FieldView<'a> {
    /// How many different keys the field has in the segment.
    #[must_use]
    pub const fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The hash of the key of this rank.
    #[must_use]
    pub fn key_hash(&self, rank: u32) -> Option<u64> {
        self.keys.get(usize::try_from(rank).ok()?).map(|hash| u64::from_le_bytes(*hash))
    }

    /// The rank of the key with this hash.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<u32> {
        // Hashes are spread evenly: the place is where the hash lies between 0 and 2^64, give or
        // take a few times the square root of the length.
        let len = self.keys.len();
        let guess = usize::try_from((u128::from(hash) * len as u128) >> 64).ok()?;
        let slack = 2 * len.isqrt() + 4;
        let (mut low, mut high) = (guess.saturating_sub(slack), len.min(guess + slack));
        let below =
            |at: usize| self.keys.get(at).is_some_and(|key| u64::from_le_bytes(*key) < hash);
        if low > 0 && !below(low - 1) {
            (low, high) = (0, low);
        } else if high < len && below(high - 1) {
            (low, high) = (high, len);
        }
        let window = self.keys.get(low..high)?;
        let at = window.binary_search_by_key(&hash, |key| u64::from_le_bytes(*key)).ok()?;
        u32::try_from(low + at).ok()
    }

    /// The rows that have the key of this rank.
    #[must_use]
    pub fn postings(&self, rank: u32) -> Postings<'a> {
        let range = usize::try_from(rank).ok().and_then(|rank| {
            let start = usize::try_from(self.starts.get(rank)?).ok()?;
            let end = usize::try_from(self.starts.get(rank + 1)?).ok()?;
            (start <= end && end <= self.postings.len()).then_some((start, end))
        });
        // A rank that is none has no rows.
        let (front, back) = range.unwrap_or_default();
        Postings { rows: self.postings, front, back }
    }

    /// How many rows have the key of this rank.
    #[must_use]
    pub fn count(&self, rank: u32) -> usize {
        self.postings(rank).len()
    }

    /// True when [`FieldView::code`] can be asked: the field has at most
    /// [`MAX_CODED_KEYS`](super::MAX_CODED_KEYS) keys.
    #[must_use]
    pub const fn has_codes(&self) -> bool {
        self.codes.is_some()
    }

    /// The rank of the row's key; `None` when the row has none, and when the field has no codes.
    #[inline]
    #[must_use]
    pub fn code(&self, row: usize) -> Option<u32> {
        u32::try_from(self.codes.as_ref()?.get(row)?).ok()?.checked_sub(1)
    }

    /// For each row the rank of its key plus 1, or 0; `None` when the field has no codes.
    #[must_use]
    pub const fn codes(&self) -> Option<Packed<'a>> {
        self.codes
    }
}

/// The rows that have one key, rising: an iterator from both ends, and a list with random access.
#[derive(Debug, Clone)]
pub struct Postings<'a> {
    rows: Packed<'a>,
    front: usize,
    back: usize,
}

impl Postings<'_> {
    /// How many rows are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.back - self.front
    }

    /// True when no row is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.front == self.back
    }

    /// The row at this place of those that are left.
    #[inline]
    #[must_use]
    pub fn get(&self, at: usize) -> Option<u32> {
        if at >= self.len() {
            return None;
        }
        self.rows.get(self.front + at).and_then(|row| u32::try_from(row).ok())
    }

    /// How many of the rows that are left lie before `row`.
    #[must_use]
    pub fn before(&self, row: u32) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle).is_some_and(|at| at < row) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The same, held to the rows from `low` on and before `high`.
    #[must_use]
    pub fn within(&self, low: u32, high: u32) -> Self {
        let start = self.before(low);
        let end = self.before(high).max(start);
        Self { rows: self.rows, front: self.front + start, back: self.front + end }
    }
}

impl Iterator for Postings<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let row = self.get(0)?;
        self.front += 1;
        Some(row)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl DoubleEndedIterator for Postings<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<u32> {
        let row = self.get(self.len().checked_sub(1)?)?;
        self.back -= 1;
        Some(row)
    }
}
