//! The keys of one field, and the rows that have them.

use std::ops::ControlFlow;

use crate::format::packed::{Packed, partition};

use super::stored_hash;

/// The index of one field, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct FieldView<'a> {
    pub(super) keys: Packed<'a>,
    pub(super) firsts: Packed<'a>,
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

    /// What is stored of the hash of this rank's key: see [`stored_hash`].
    #[must_use]
    pub fn key_hash(&self, rank: u32) -> Option<u64> {
        self.keys.get(usize::try_from(rank).ok()?)
    }

    /// The rank of the key with this hash, or of one of which the same is stored.
    #[must_use]
    pub fn find(&self, hash: u64) -> Option<u32> {
        let len = self.keys.len();
        let wanted = stored_hash(hash, len);
        let rank = self.keys.count_below(wanted, share(hash, len));
        u32::try_from(rank).ok().filter(|_| self.keys.get(rank) == Some(wanted))
    }

    /// What [`FieldView::find`] and [`FieldView::postings`] read first for the key with this hash,
    /// as far as it can be foretold: entries of directories, where they lie.
    pub fn entries_near(&self, hash: u64) -> impl Iterator<Item = &'a [u8]> {
        // Most keys have about as many rows as others.
        let columns = [self.keys, self.firsts, self.starts, self.postings];
        let entry = move |column: Packed<'a>| column.entry_at(share(hash, column.len()));
        columns.into_iter().filter_map(entry).map(<[u8; _]>::as_slice)
    }

    /// What they read next: values in the columns of keys.
    pub fn values_near(&self, hash: u64) -> impl Iterator<Item = &'a [u8]> {
        let len = self.keys.len();
        let near = self.keys.about(stored_hash(hash, len), share(hash, len));
        let columns = [self.keys, self.firsts, self.starts];
        columns.into_iter().filter_map(move |column| column.bytes_at(near)).map(<[u8; _]>::as_slice)
    }

    /// The rows that have the key of this rank.
    #[must_use]
    pub fn postings(&self, rank: u32) -> Postings<'a> {
        let later = self.postings;
        self.try_postings(rank).unwrap_or(Postings { first: 0, later, start: 0, front: 0, back: 0 })
    }

    /// `None` for a rank that is none, and when the columns do not fit together.
    fn try_postings(&self, rank: u32) -> Option<Postings<'a>> {
        let rank = usize::try_from(rank).ok()?;
        let first = u32::try_from(self.firsts.get(rank)?).ok()?;
        let start = usize::try_from(self.starts.get(rank)?).ok()?;
        let end = usize::try_from(self.starts.get(rank + 1)?).ok()?;
        let back = end.checked_sub(start).filter(|_| end <= self.postings.len())? + 1;
        Some(Postings { first, later: self.postings, start, front: 0, back })
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

/// About where the key with this hash lies among `len` of them, as hashes are spread evenly; what
/// belongs to it lies about there among its like.
fn share(hash: u64, len: usize) -> usize {
    usize::try_from((u128::from(hash) * len as u128) >> u64::BITS).unwrap_or_default()
}

/// The rows that have one key, rising: an iterator from both ends, and a list with random access.
#[derive(Debug, Clone)]
pub struct Postings<'a> {
    first: u32,
    /// How far the other rows lie behind the first, from `start` on.
    later: Packed<'a>,
    start: usize,
    /// The places of the rows that are left; the first row has place 0.
    front: usize,
    back: usize,
}

impl<'a> Postings<'a> {
    /// What is read for the rows, but for what lies between the first and the last of them.
    pub fn ends(&self) -> impl Iterator<Item = &'a [u8]> {
        let (later, start) = (self.later, self.start);
        let ends = [start, start + self.back.saturating_sub(2)];
        ends.into_iter().filter_map(move |at| later.bytes_at(at)).map(<[u8; _]>::as_slice)
    }

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
        let Some(at) = (self.front + at).checked_sub(1) else { return Some(self.first) };
        let behind = u32::try_from(self.later.get(self.start + at)?).ok()?;
        self.first.checked_add(behind)
    }

    /// Visits the rows that are left from the last to the first, until one breaks off: faster than
    /// the iterator from its end.
    #[inline]
    pub fn for_each_back(&self, mut visit: impl FnMut(u32) -> ControlFlow<()>) -> ControlFlow<()> {
        // The first row is no place among the later ones.
        let place = |at: usize| self.start + at.saturating_sub(1);
        if self.back > 1 {
            self.later.for_each_back(place(self.front)..place(self.back), |behind| {
                match u32::try_from(behind).ok().and_then(|behind| self.first.checked_add(behind)) {
                    Some(row) => visit(row),
                    None => ControlFlow::Continue(()),
                }
            })?;
        }
        match self.front == 0 && self.back > 0 {
            true => visit(self.first),
            false => ControlFlow::Continue(()),
        }
    }

    /// How many of the rows that are left lie before `row`.
    #[must_use]
    pub fn before(&self, row: u32) -> usize {
        partition(0, self.len(), |place| self.get(place).is_some_and(|at| at < row))
    }

    /// The same, held to the rows from `low` on and before `high`.
    #[must_use]
    pub fn within(&self, low: u32, high: u32) -> Self {
        let start = self.before(low);
        let end = self.before(high).max(start);
        Self { front: self.front + start, back: self.front + end, ..*self }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::packed;

    #[test]
    fn starts_that_fall_or_lead_beyond_the_postings_are_no_rows() {
        let column = |values: &[u64]| {
            let mut out = Vec::new();
            packed::encode(values.iter().copied(), &mut out).unwrap();
            out
        };
        let (keys, firsts) = (column(&[0, 1, 2]), column(&[5, 5, 5]));
        let (starts, postings) = (column(&[3, 1, 9, 2]), column(&[0, 1, 2]));
        let view = FieldView {
            keys: Packed::new(&keys).unwrap(),
            firsts: Packed::new(&firsts).unwrap(),
            starts: Packed::new(&starts).unwrap(),
            postings: Packed::new(&postings).unwrap(),
            codes: None,
        };
        for rank in 0..3 {
            assert_eq!((view.count(rank), view.postings(rank).next()), (0, None), "rank {rank}");
        }
    }
}
