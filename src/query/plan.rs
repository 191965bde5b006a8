use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::index::{Code, MemIndex, Row, SUPERSEDED, Table};
use crate::model::{Field, Kind};
use crate::query::filter::{Filter, Wanted, only_field};
use crate::query::list::{Entry, SegmentList};
use crate::segment::{Near, Pinned, Segment};

/// A filter in terms of one segment: codes in place of keys.
pub(super) struct Plan<'a> {
    /// The tags that match, a bit for each.
    tags: u32,
    /// The keys of which a row must have one of each group, those of a group side by side.
    keyed: SmallVec<[GroupKey; 4]>,
    /// True when the newest states of runs alone count.
    newest_only: bool,
    /// The segment, when besides some of its records were overtaken in later ones.
    overtaken: Option<&'a Segment>,
    /// The last sequence number that the query sees: it answers as of that one, whatever is
    /// appended while it is asked.
    horizon: u64,
    /// True when there are rows beyond the horizon.
    is_beyond: bool,
    /// Rows overtaken in the same segment, but beyond the horizon, in their order.
    current: Vec<Row>,
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
}

/// A key in one segment, of a group of which a row must have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupKey {
    group: usize,
    pub(super) field: Field,
    pub(super) code: Code,
}

/// What to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Look at it.
    Look,
    /// Go on to the next.
    Skip,
    /// Stop: none of those that follow is wanted.
    End,
}

/// Why a segment is not searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// It has none of the keys of a group: of this field, when the group is of one alone.
    NoKey(Option<Field>),
    /// It went beyond the horizon and was sealed since the query began: what was overtaken only
    /// then cannot be told from its footer, so that the query is to begin anew.
    Sealed,
}

impl<'a> Plan<'a> {
    /// A key that is found in a footer by its hash is compared with a record; with `is_hasty` only
    /// where there are others in its group. Then what is found may be of another key with the same
    /// hash, and one record of all tells: see [`Filter::is_of_lone_keys`].
    ///
    /// # Errors
    /// Why the segment is not to be searched.
    pub(super) fn new<T: Table>(
        filter: &Filter,
        pinned: &'a Pinned,
        table: &T,
        memory: Option<&MemIndex>,
        (horizon, is_hasty): (u64, bool),
    ) -> Result<Self, Miss> {
        let segment = pinned.segment();
        if memory.is_none() && segment.last_seq() > horizon {
            return Err(Miss::Sealed);
        }
        let tags = filter.tags(segment.kind()).unwrap_or(0);
        let mut keyed = SmallVec::new();
        for (group, keys) in filter.groups().enumerate() {
            let before = keyed.len();
            for Wanted { field, key } in keys {
                let Some(code) = table.find(*field, key) else { continue };
                // An index in memory names keys exactly.
                let is_certain = memory.is_some() || (is_hasty && keys.len() == 1);
                if is_certain || confirm(pinned, table, *field, code, key) {
                    keyed.push(GroupKey { group, field: *field, code });
                }
            }
            if keyed.len() == before {
                return Err(Miss::NoKey(only_field(keys)));
            }
        }
        // Two keys are never one code, but a caller may name a key twice.
        keyed.sort_unstable();
        keyed.dedup();
        let newest_only = segment.kind() == Kind::Run && !filter.history;
        let overtaken = Some(&**segment).filter(|segment| newest_only && segment.is_overtaken());
        // An index in memory alone grows.
        let is_beyond = memory.and_then(MemIndex::last_seq).is_some_and(|last| last > horizon);
        let later = memory.filter(|_| is_beyond && newest_only);
        let mut current: Vec<_> =
            later.map(|index| index.overtaken_after(horizon).collect()).unwrap_or_default();
        current.sort_unstable();
        let Filter { since, until, .. } = *filter;
        Ok(Self { tags, keyed, newest_only, overtaken, horizon, is_beyond, current, since, until })
    }

    /// True when the row matches in all but its time and text. Of a row that was found by the
    /// postings of a key, that is `given`; of one that has several keys of a group, it is true for
    /// the first of them alone, so that the row is found once.
    pub(super) fn accepts<T: Table>(&self, table: &T, row: Row, given: Option<&GroupKey>) -> bool {
        self.accepts_tag(self.tag(table, row))
            && (!self.is_beyond || table.seq(row) <= self.horizon)
            && self.is_newest(table, row)
            && self.has_keys(table, row, given)
    }

    /// True when the row has a key of each group, as [`Plan::accepts`] says.
    fn has_keys<T: Table>(&self, table: &T, row: Row, given: Option<&GroupKey>) -> bool {
        // Mostly the only key is the one by which the row was found.
        if self.keyed.len() == usize::from(given.is_some()) {
            return true;
        }
        self.groups().all(|keys| {
            let has = |key: &GroupKey| table.has_key(key.field, key.code, row);
            match given.filter(|given| keys.first().is_some_and(|key| key.group == given.group)) {
                None => keys.iter().any(has),
                // A row has one key of a field at the most.
                Some(given) => {
                    let before = keys.iter().take_while(|key| *key != given);
                    before.filter(|key| key.field != given.field).all(|key| !has(key))
                }
            }
        })
    }

    /// The row's tag as of the horizon.
    #[inline]
    fn tag<T: Table>(&self, table: &T, row: Row) -> u8 {
        let tag = table.tag(row);
        let is_current = !self.current.is_empty() && self.current.binary_search(&row).is_ok();
        if is_current { tag & !SUPERSEDED } else { tag }
    }

    fn groups(&self) -> impl Iterator<Item = &[GroupKey]> {
        self.keyed.chunk_by(|one, next| one.group == next.group)
    }

    /// True when rows with this tag match, for all that the tag tells.
    #[inline]
    pub(super) fn accepts_tag(&self, tag: u8) -> bool {
        self.tags & 1u32.checked_shl((tag & !SUPERSEDED).into()).unwrap_or(0) != 0
            && (tag & SUPERSEDED == 0 || !self.newest_only)
    }

    /// The records that do not match although their tags do, when the tag alone tells of all others
    /// and they are no more than so many.
    pub(super) fn not_by_tag(&self, most: usize) -> Option<Vec<u64>> {
        if !self.keyed.is_empty() || self.is_beyond {
            return None;
        }
        match self.overtaken {
            Some(segment) => segment.superseded_as_of(self.horizon, most),
            None => Some(Vec::new()),
        }
    }

    fn is_newest<T: Table>(&self, table: &T, row: Row) -> bool {
        self.overtaken.is_none_or(|segment| {
            segment.superseded_by(table.seq(row)).is_none_or(|by| by > self.horizon)
        })
    }

    /// The keys of the group whose keys are carried by the fewest rows, and how many those are.
    pub(super) fn narrowest<T: Table>(&self, table: &T) -> Option<(u64, &[GroupKey])> {
        let rows = |key: &GroupKey| u64::from(table.posting_count(key.field, key.code));
        let counted = self.groups().map(|keys| (keys.iter().map(rows).sum(), keys));
        counted.min_by_key(|&(rows, _)| rows)
    }

    /// The rows between `since` and `until`, as positions in the order of time.
    pub(super) fn window<T: Table>(&self, table: &T) -> (u32, u32) {
        let low = self.since.map_or(0, |since| table.time_position(since, 0));
        let high = self.until.map_or(table.rows(), |until| table.time_position(until, 0));
        (low, high.max(low))
    }

    /// What to do with a row of a key, whose rows come from the highest down, as far as its number
    /// tells: nothing, where rows lie in the order of time and it lies outside of the window.
    pub(super) fn pass<T: Table>(&self, table: &T) -> impl Fn(Row) -> Pass + use<T> {
        let window = table.rows_follow_time().then(|| self.window(table));
        move |row| match window {
            Some((low, _)) if row < low => Pass::End,
            Some((_, high)) if row >= high => Pass::Skip,
            _ => Pass::Look,
        }
    }

    pub(super) fn in_window(&self, created_at: i64) -> bool {
        self.since.is_none_or(|since| created_at >= since)
            && self.until.is_none_or(|until| created_at < until)
    }
}

/// True when the code is that of the key, and not of another with the same hash: the first record
/// of it that can be read tells. When none can, it is taken for the key's, so that the damage is
/// seen and not passed over.
pub(crate) fn confirm<T: Table + ?Sized>(
    pinned: &Pinned,
    table: &T,
    field: Field,
    code: Code,
    wanted: &[u8],
) -> bool {
    let mut same = true;
    table.for_each_posting(field, code, &mut |row| match pinned.has_key(
        &mut Near::default(),
        table.offset(row),
        field,
        wanted,
    ) {
        Ok(found) => {
            same = found;
            ControlFlow::Break(())
        }
        Err(_) => ControlFlow::Continue(()),
    });
    same
}

/// A segment that may hold an answer.
pub(super) struct Candidate<'a> {
    pub(super) list: &'a SegmentList,
    pub(super) entry: &'a Entry,
    /// The last sequence number of its stream that the query sees.
    pub(super) horizon: u64,
}

/// The segments whose created range the window touches, and that hold a key of each field that is
/// filtered by, as far as is known without touching them.
pub(super) fn candidates<'a>(lists: &'a [Arc<SegmentList>], filter: &Filter) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::with_capacity(lists.len() * 2);
    let of_runs = SegmentList::horizon_of_runs(lists);
    if let Some(key) = filter.lone_key() {
        lists.iter().for_each(|list| list.prefetch_rows(key));
    }
    for list in lists {
        let Some(kind) = list.kind().filter(|&kind| filter.tags(kind).is_some()) else { continue };
        let horizon = if kind == Kind::Run { of_runs } else { list.horizon() };
        for entry in list.with_keys(filter) {
            let span = entry.span();
            let may_hold = span.map(|span| span.created).is_none_or(|(first, last)| {
                let before = filter.until.is_some_and(|until| first >= until);
                let after = filter.since.is_some_and(|since| last < since);
                first <= last && !before && !after
            });
            if may_hold {
                let horizon = if list.is_in_order(entry, horizon) { horizon } else { u64::MAX };
                candidates.push(Candidate { list, entry, horizon });
            }
        }
    }
    candidates
}
