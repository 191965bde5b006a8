use std::ops::ControlFlow;

use crate::index::keys::{Keys, NONE};
use crate::index::{Code, NoColumn, Row, SUPERSEDED, Summary, Table};
use crate::model::Field;

/// What a new row holds besides its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewRow {
    /// The record's sequence number, above all that the table has.
    pub seq: u64,
    /// When the record was created.
    pub created_at: i64,
    /// Where it lies in the segment.
    pub offset: u32,
    /// Its status or severity.
    pub tag: u8,
    /// The newest of the record's own times.
    pub newest: i64,
    /// The sequence number of the record that it takes the place of.
    pub supersedes: Option<u64>,
    /// How long a run took, as a code that the index does not read.
    pub length: Option<u16>,
}

/// The index of a segment that is still written, in memory. Rows lie in the order of seq.
///
/// A hash function that is keyed from outside must be given to [`MemIndex::new`]; keys are compared
/// in full, so a collision costs time and changes no answer.
#[derive(Debug)]
pub(crate) struct MemIndex {
    hash: fn(u64, &[u8]) -> u64,
    seed: u64,
    seqs: Vec<u64>,
    times: Vec<i64>,
    offsets: Vec<u32>,
    tags: Vec<u8>,
    /// How long runs took, or [`NO_LENGTH`]. Shorter than the table when the last rows have none.
    lengths: Vec<u16>,
    frames: Vec<u32>,
    fields: [Keys; Field::KEYED],
    /// Records of other segments whose place was taken by one here, and the number of that one.
    supersedes: Vec<(u64, u64)>,
    /// The rows here whose place was taken by a later one here: the sequence number of that one, in
    /// their order, and the row.
    overtaken: Vec<(u64, Row)>,
    /// The rows in the order of time, as far as they were sorted; unused while `in_time_order`.
    by_time: Vec<Row>,
    in_time_order: bool,
    /// For each block of rows the latest creation up to its end.
    latest: Vec<i64>,
    summary: Summary,
}

/// How many rows a block has of which the latest creation is noted.
const BLOCK_ROWS: usize = 64;

/// No length of time: no code is as high.
const NO_LENGTH: u16 = u16::MAX;

/// What the rows hold besides their keys, in the order of seq.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub times: &'a [i64],
    pub seqs: &'a [u64],
    pub offsets: &'a [u32],
    pub tags: &'a [u8],
}

impl MemIndex {
    /// An empty index whose keys are hashed with this function and seed.
    #[must_use]
    pub(crate) fn new(hash: fn(u64, &[u8]) -> u64, seed: u64) -> Self {
        Self {
            hash,
            seed,
            seqs: Vec::new(),
            times: Vec::new(),
            offsets: Vec::new(),
            tags: Vec::new(),
            lengths: Vec::new(),
            frames: Vec::new(),
            fields: std::array::from_fn(|_| Keys::default()),
            supersedes: Vec::new(),
            overtaken: Vec::new(),
            by_time: Vec::new(),
            in_time_order: true,
            latest: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// An empty index in the memory that this one was held in: one that grows anew has its columns
    /// copied and its memory handed out by the operating system again and again.
    #[must_use]
    pub(crate) fn emptied(self) -> Self {
        fn emptied<T>(mut column: Vec<T>) -> Vec<T> {
            column.clear();
            column
        }
        Self {
            seqs: emptied(self.seqs),
            times: emptied(self.times),
            offsets: emptied(self.offsets),
            tags: emptied(self.tags),
            lengths: emptied(self.lengths),
            frames: emptied(self.frames),
            fields: self.fields.map(Keys::emptied),
            supersedes: emptied(self.supersedes),
            overtaken: emptied(self.overtaken),
            by_time: emptied(self.by_time),
            latest: emptied(self.latest),
            ..Self::new(self.hash, self.seed)
        }
    }

    /// Notes a frame that begins at `offset`, recorded at `recorded_at`; its rows follow.
    pub(crate) fn push_frame(&mut self, offset: u32, recorded_at: i64) {
        self.frames.push(offset);
        let first = if self.frames.len() == 1 { recorded_at } else { self.summary.recorded.0 };
        self.summary.recorded = (first, recorded_at);
    }

    /// Adds a row. Its keys follow by [`MemIndex::push_key`].
    pub(crate) fn push(&mut self, row: NewRow) {
        if let Some(&last) = self.times.last() {
            self.in_time_order &= last <= row.created_at;
        }
        self.seqs.push(row.seq);
        self.times.push(row.created_at);
        self.offsets.push(row.offset);
        self.tags.push(row.tag);
        if let Some(length) = row.length {
            self.lengths.resize(self.tags.len() - 1, NO_LENGTH);
            self.lengths.push(length);
        }
        let summary = &mut self.summary;
        summary.created.0 = summary.created.0.min(row.created_at);
        summary.created.1 = summary.created.1.max(row.created_at);
        summary.newest = summary.newest.max(row.newest);
        self.latest.resize(self.times.len().div_ceil(BLOCK_ROWS), i64::MIN);
        if let Some(latest) = self.latest.last_mut() {
            *latest = summary.created.1;
        }
        if let Some(seq) = row.supersedes {
            let position = self.seqs.partition_point(|&other| other < seq);
            match self.seqs.get(position) {
                Some(&found) if found == seq => {
                    if let Some(tag) = self.tags.get_mut(position) {
                        *tag |= SUPERSEDED;
                    }
                    if let Ok(overtaken) = Row::try_from(position) {
                        self.overtaken.push((row.seq, overtaken));
                    }
                }
                _ => self.supersedes.push((seq, row.seq)),
            }
        }
    }

    /// Adds a key to the row that was pushed last. `hash` is the key's with this index's seed.
    pub(crate) fn push_key(&mut self, field: Field, hash: u64, key: &[u8]) {
        let Some(row) = self.rows().checked_sub(1) else { return };
        if let Some(keys) = field.key_index().and_then(|slot| self.fields.get_mut(slot)) {
            // Offsets in a segment are 32 bits wide and each key stands in a record, so that there
            // is always room.
            let fits = keys.insert(row, hash, key);
            debug_assert!(fits, "the keys of a segment fit 32-bit offsets");
        }
    }

    /// The seed of the hash function.
    #[must_use]
    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// Where the frames begin.
    #[must_use]
    pub(crate) fn frames(&self) -> &[u32] {
        &self.frames
    }

    /// Records of other segments whose place was taken by one here, and the number of that one, in
    /// the order of the appends.
    #[must_use]
    pub(crate) fn supersedes(&self) -> &[(u64, u64)] {
        &self.supersedes
    }

    /// The rows whose place was taken only after this sequence number.
    pub(crate) fn overtaken_after(&self, seq: u64) -> impl Iterator<Item = Row> + '_ {
        let after = self.overtaken.partition_point(|&(by, _)| by <= seq);
        self.overtaken.get(after..).unwrap_or_default().iter().map(|&(_, row)| row)
    }

    /// The highest sequence number.
    #[must_use]
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.seqs.last().copied()
    }

    /// The ends of the ranges that the rows span.
    #[must_use]
    pub(crate) const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The bytes of a key.
    #[must_use]
    pub(crate) fn key(&self, field: Field, code: Code) -> &[u8] {
        self.keys(field).map(|keys| keys.bytes(code)).unwrap_or_default()
    }

    /// For each row the code of its key, or one that is none; the last rows without a key are left
    /// out.
    #[must_use]
    pub(crate) fn codes(&self, field: Field) -> &[Code] {
        self.keys(field).map(Keys::codes).unwrap_or_default()
    }

    /// The code of the time that a run took.
    #[must_use]
    pub(crate) fn length(&self, row: Row) -> Option<u16> {
        self.lengths.get(row as usize).copied().filter(|&length| length != NO_LENGTH)
    }

    /// The hash of a key.
    #[must_use]
    pub(crate) fn key_hash(&self, field: Field, code: Code) -> u64 {
        self.keys(field).map_or(0, |keys| keys.hash(code))
    }

    /// What the rows hold besides their keys.
    #[must_use]
    pub(crate) fn columns(&self) -> Columns<'_> {
        let Self { times, seqs, offsets, tags, .. } = self;
        Columns { times, seqs, offsets, tags }
    }

    /// The rows in the order of time, once they were sorted; `None` when that is their own.
    #[must_use]
    pub(crate) fn time_order(&self) -> Option<&[Row]> {
        (!self.in_time_order).then_some(&self.by_time)
    }

    /// True when queries find all rows, by each of their keys and in the order of time.
    #[must_use]
    pub(crate) fn is_ready(&self) -> bool {
        !self.needs_sort() && self.fields.iter().all(Keys::is_linked)
    }

    /// Makes it ready for queries.
    pub(crate) fn make_ready(&mut self) {
        self.sort();
        self.link();
    }

    /// Has queries find all rows by each of their keys.
    pub(crate) fn link(&mut self) {
        self.fields.iter_mut().for_each(Keys::link);
    }

    /// True when the order of time is not known for all rows.
    #[must_use]
    pub(crate) fn needs_sort(&self) -> bool {
        !self.in_time_order && self.by_time.len() != self.times.len()
    }

    /// Brings the order of time up to date. Rows added since the last call are sorted and merged
    /// in; the cost is that of the rows which the new ones fall among.
    pub(crate) fn sort(&mut self) {
        if !self.needs_sort() {
            return;
        }
        let mut by_time = std::mem::take(&mut self.by_time);
        let at = |row: Row| (self.created_at(row), row);
        let old = u32::try_from(by_time.len()).unwrap_or(u32::MAX);
        let earliest_new = (old..self.rows()).map(at).min();
        let keep = by_time.partition_point(|&row| Some(at(row)) < earliest_new);
        // Rows that come in the order of time, as most do, and those that fall among them.
        let (mut in_order, mut others) = (Vec::new(), Vec::new());
        for place in by_time.drain(keep..).chain(old..self.rows()).map(at) {
            match in_order.last() > Some(&place) {
                true => others.push(place),
                false => in_order.push(place),
            }
        }
        others.sort_unstable();
        in_order.append(&mut others);
        // The stable sort finds and merges the two.
        in_order.sort();
        by_time.extend(in_order.iter().map(|&(_, row)| row));
        self.by_time = by_time;
    }

    /// Bytes of memory held.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
        (self.seqs.capacity() + self.times.capacity()) * 8
            + self.latest.capacity() * 8
            + self.supersedes.capacity() * size_of::<(u64, u64)>()
            + self.overtaken.capacity() * size_of::<(u64, Row)>()
            + (self.offsets.capacity() + self.frames.capacity() + self.by_time.capacity()) * 4
            + self.tags.capacity()
            + self.lengths.capacity() * 2
            + self.fields.iter().map(Keys::memory).sum::<usize>()
    }

    fn keys(&self, field: Field) -> Option<&Keys> {
        self.fields.get(field.key_index()?)
    }
}

impl Table for MemIndex {
    fn rows(&self) -> u32 {
        u32::try_from(self.seqs.len()).unwrap_or(u32::MAX)
    }

    fn created_at(&self, row: Row) -> i64 {
        self.times.get(row as usize).copied().unwrap_or_default()
    }

    fn seq(&self, row: Row) -> u64 {
        self.seqs.get(row as usize).copied().unwrap_or_default()
    }

    fn offset(&self, row: Row) -> u32 {
        self.offsets.get(row as usize).copied().unwrap_or_default()
    }

    fn tag(&self, row: Row) -> u8 {
        self.tags.get(row as usize).copied().unwrap_or_default()
    }

    fn time_row(&self, position: u32) -> Row {
        if self.in_time_order {
            position
        } else {
            self.by_time.get(position as usize).copied().unwrap_or(NONE)
        }
    }

    fn seq_row(&self, position: u32) -> Row {
        position
    }

    fn rows_follow_time(&self) -> bool {
        self.in_time_order
    }

    fn latest_up_to(&self, row: Row) -> i64 {
        self.latest.get(row as usize / BLOCK_ROWS).copied().unwrap_or(i64::MAX)
    }

    fn rows_follow_seq(&self) -> bool {
        true
    }

    fn key_count(&self, field: Field) -> u32 {
        self.keys(field).map_or(0, Keys::len)
    }

    fn find(&self, field: Field, key: &[u8]) -> Option<Code> {
        self.keys(field)?.find_hashed((self.hash)(self.seed, key), key)
    }

    fn posting_count(&self, field: Field, code: Code) -> u32 {
        self.keys(field).map_or(0, |keys| keys.count(code))
    }

    fn for_each_posting(
        &self,
        field: Field,
        code: Code,
        visit: &mut dyn FnMut(Row) -> ControlFlow<()>,
    ) {
        if let Some(keys) = self.keys(field) {
            keys.for_each(code, visit);
        }
    }

    fn has_key(&self, field: Field, code: Code, row: Row) -> bool {
        self.keys(field).and_then(|keys| keys.code(row)) == Some(code)
    }

    fn code(&self, field: Field, row: Row) -> Result<Option<Code>, NoColumn> {
        Ok(self.keys(field).and_then(|keys| keys.code(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(times: &[i64]) -> MemIndex {
        let mut index = MemIndex::new(|_, key| key.len() as u64, 7);
        for (at, &created_at) in times.iter().enumerate() {
            push(&mut index, at as u64, created_at);
        }
        index
    }

    fn push(index: &mut MemIndex, at: u64, created_at: i64) {
        index.push(NewRow {
            seq: at + 10,
            created_at,
            offset: 100,
            tag: 1,
            newest: created_at,
            supersedes: None,
            length: None,
        });
    }

    /// The memory of a sealed segment's index goes to the next segment: nothing else may.
    #[test]
    fn an_emptied_index_is_as_a_new_one_in_the_same_memory() {
        let mut used = index(&[9, 7, 8, 1]);
        used.push_frame(100, 5);
        for (supersedes, length) in [(Some(11), Some(3)), (Some(2), None)] {
            let seq = used.last_seq().unwrap() + 1;
            let (created_at, newest) = (i64::MAX, i64::MAX);
            used.push(NewRow { seq, created_at, offset: 7, tag: 2, newest, supersedes, length });
            used.push_key(Field::Type, 5, b"a-key");
            used.push_key(Field::Trace, seq, b"a-trace");
        }
        used.make_ready();
        let held = used.memory();
        let used = used.emptied();
        assert_eq!(used.memory(), held);
        assert_eq!(format!("{used:?}"), format!("{:?}", index(&[])));
        assert_eq!(used.find(Field::Type, b"a-key"), None);
    }

    fn in_time_order(index: &MemIndex) -> Vec<(i64, u64)> {
        (0..index.rows())
            .map(|position| index.time_row(position))
            .map(|row| (index.created_at(row), index.seq(row)))
            .collect()
    }

    #[test]
    fn rows_are_found_in_the_order_of_time_however_they_came() {
        let mut times = vec![5, 5, 9, 1, i64::MIN, 7, 5, i64::MAX];
        let mut index = index(&times);
        index.sort();
        for (more, &time) in [3, 3, i64::MIN, 8, 100].iter().enumerate() {
            let mut want: Vec<_> =
                times.iter().enumerate().map(|(at, &time)| (time, at as u64 + 10)).collect();
            want.sort_unstable();
            assert_eq!(in_time_order(&index), want);
            for &(time, seq) in &want {
                let position = index.time_position(time, seq);
                assert_eq!(want[position as usize], (time, seq));
            }
            push(&mut index, 8 + more as u64, time);
            times.push(time);
            assert!(index.needs_sort());
            index.sort();
        }
    }

    #[test]
    fn keys_with_one_hash_stay_apart() {
        let mut index = index(&[]);
        for (at, key) in ["aa", "bb", "aa", "ccc", "bb", "aa"].iter().enumerate() {
            push(&mut index, at as u64, 0);
            if at != 3 {
                index.push_key(Field::Trace, key.len() as u64, key.as_bytes());
            }
            if at % 2 == 0 {
                assert!(!index.is_ready());
                index.make_ready();
            }
        }
        assert!(!index.is_ready());
        index.make_ready();
        assert!(index.is_ready());
        let rows = |key: &str| {
            let mut rows = Vec::new();
            if let Some(code) = index.find(Field::Trace, key.as_bytes()) {
                index.for_each_posting(Field::Trace, code, &mut |row| {
                    rows.push(row);
                    ControlFlow::Continue(())
                });
                assert_eq!(rows.len(), index.posting_count(Field::Trace, code) as usize);
                assert!(rows.iter().all(|&row| index.has_key(Field::Trace, code, row)));
            }
            rows
        };
        assert_eq!(rows("aa"), [5, 2, 0]);
        assert_eq!(rows("bb"), [4, 1]);
        assert_eq!(rows("cc"), [0; 0]);
        assert_eq!(index.code(Field::Trace, 3), Ok(None));
    }

    #[test]
    fn a_superseded_row_of_this_segment_is_marked_and_one_of_another_is_listed() {
        let mut index = index(&[1, 2]);
        for (seq, supersedes) in [(20, 11), (21, 3), (22, 20)] {
            index.push(NewRow {
                seq,
                created_at: 0,
                offset: 0,
                tag: 2,
                newest: 0,
                supersedes: Some(supersedes),
                length: None,
            });
        }
        assert_eq!((0..5).map(|row| index.tag(row)).collect::<Vec<_>>(), [1, 0x81, 0x82, 2, 2]);
        assert_eq!(index.supersedes(), [(3, 21)]);
    }
}
