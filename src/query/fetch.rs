use std::collections::BinaryHeap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::Result;
use crate::query::cursor::{Cursor, Order};
use crate::query::filter::{Filter, Wanted};
use crate::query::list::{Entry, InVain, SegmentList};
use crate::query::page::{AHEAD, Page, Searched};
use crate::query::plan::{Candidate, Miss, Plan, candidates};
use crate::query::select::{self, Hit, select, sort};
use crate::query::text::Search;
use crate::query::view::View;
use crate::segment::{FEW_TABLES, Near, Pinned, SealedIndex, SealedTable, TableRef, Tables};

/// Which part of the result is asked for.
pub(super) struct Part {
    pub(super) order: Order,
    pub(super) after: Option<Cursor>,
    pub(super) up_to: Option<Cursor>,
    pub(super) offset: u64,
    pub(super) limit: usize,
}

/// For each candidate its footer, while the key is looked for in all of them.
type Footers = SmallVec<[Option<Arc<SealedIndex>>; FEW_TABLES]>;

/// In more segments a key is looked for one by one: mostly the first of them give enough.
const MOST_AT_ONCE: usize = 16;

/// For how many hits room is made at first.
const ROOM: usize = 64;

/// The part of all records that match.
pub(super) fn fetch(view: &View, filter: &Filter, part: &Part) -> Result<Page> {
    if part.limit == 0 {
        // Whether there are more is not told then; to look for the first may be to read all.
        return Ok(page(Vec::new(), Vec::new(), part, 0));
    }
    view.ask(|lists| {
        // A text is looked for in records, which are then to be of no other key.
        let is_hasty = filter.text.is_none();
        let tried = match try_fetch(lists, filter, part, is_hasty)? {
            Tried::Doubtful => try_fetch(lists, filter, part, false)?,
            tried => tried,
        };
        Ok(match tried {
            Tried::Found(page) => Some(page),
            Tried::Doubtful | Tried::Outdated => None,
        })
    })
}

/// What came of a try.
enum Tried {
    Found(Page),
    /// A segment was sealed meanwhile in such a way that the query has to begin anew.
    Outdated,
    /// In haste something was found that may be of other keys.
    Doubtful,
}

/// In haste the keys that were found are compared at the end, with one record of each segment: it
/// is on its way from memory while other segments are searched.
fn try_fetch(
    lists: &[Arc<SegmentList>],
    filter: &Filter,
    part: &Part,
    is_hasty: bool,
) -> Result<Tried> {
    let offset = usize::try_from(part.offset).unwrap_or(usize::MAX);
    // One more than is given tells whether there are more.
    let count = offset.saturating_add(part.limit).saturating_add(1);
    let (mut segments, mut hits) = (Vec::new(), Vec::with_capacity(count.min(ROOM)));
    let mut to_compare = SmallVec::<[_; AHEAD]>::new();
    let mut in_vain = InVain::default();
    let mut threshold = None;
    let end = part.up_to.map(|cursor| goodness(cursor.key, part.order));
    let mut candidates = candidates(lists, filter);
    if let Some(after) = part.after {
        candidates.retain(|candidate| may_follow(candidate.entry, after));
    }
    let footers = footers(&candidates, filter);
    let mut tables = Tables::default();
    look_ahead(&footers, filter, &mut tables);
    let mut left = by_promise(candidates, part.order);
    while let Some(Promising { promise, number, candidate }) = left.pop() {
        let is_full = threshold.is_some_and(|threshold| promise <= threshold);
        if is_full || end.is_some_and(|end| promise < end) {
            // Neither this one nor those that promise less can hold a better one.
            break;
        }
        let segment = &candidate.entry.segment;
        let opened = tables.get(number);
        let pinned = match opened {
            Some(table) => Pinned::with_footer(segment, table.footer)?,
            None => Pinned::new(segment)?,
        };
        let before = hits.len();
        let how = (count, candidate.horizon, is_hasty);
        let is_compared = match select_in(&pinned, opened, filter, part, how, &mut hits)? {
            Ok(is_compared) => is_compared,
            Err(Miss::NoKey(field)) => {
                in_vain.note(candidate.list, candidate.entry, field);
                continue;
            }
            Err(Miss::Sealed) => return Ok(Tried::Outdated),
        };
        let new = hits.get_mut(before..).unwrap_or_default();
        if let Some(first) = new.first() {
            if !is_compared {
                to_compare.push((segments.len(), first.offset));
            }
            let segment = u32::try_from(segments.len()).unwrap_or(u32::MAX);
            new.iter_mut().for_each(|hit| hit.segment = segment);
            let mut near = Near::default();
            if new.len() <= AHEAD {
                new.iter().for_each(|hit| pinned.prefetch(hit.offset));
                pinned.prefetch_frames(&mut near, new.iter().map(|hit| hit.offset));
            }
            segments.push(Searched { pinned, near });
            threshold = keep_best(&mut hits, part.order, count);
        }
    }
    for (at, offset) in to_compare {
        let Some(Searched { pinned, near }) = segments.get_mut(at) else { continue };
        if !filter.is_of_lone_keys(pinned, near, offset).unwrap_or(false) {
            return Ok(Tried::Doubtful);
        }
    }
    in_vain.enter();
    sort(&mut hits, part.order);
    Ok(Tried::Found(page(segments, hits, part, offset)))
}

/// The footers of the candidates, when there is one key to be looked for in a few of them.
fn footers(candidates: &[Candidate<'_>], filter: &Filter) -> Footers {
    if filter.lone_key().is_none() || candidates.len() > MOST_AT_ONCE {
        return Footers::new();
    }
    candidates.iter().map(|candidate| candidate.entry.segment.footer()).collect()
}

/// Looks for the key in all the footers.
fn look_ahead<'a>(footers: &'a Footers, filter: &Filter, tables: &mut Tables<'a>) {
    let Some(Wanted { field, key }) = filter.lone_key() else { return };
    let fields = filter.fields();
    for (number, footer) in footers.iter().enumerate() {
        footer.iter().for_each(|footer| tables.push(number, footer, fields));
    }
    tables.find_in_all(*field, key);
}

fn page(segments: Vec<Searched>, mut hits: Vec<Hit>, part: &Part, offset: usize) -> Page {
    let more = hits.len() > offset.saturating_add(part.limit);
    hits.drain(..offset.min(hits.len()));
    hits.truncate(part.limit);
    let last = hits.last().filter(|_| more);
    let next = last.map(|hit| Cursor { order: part.order, key: hit.key(part.order) });
    Page { segments, hits, order: part.order, next }
}

/// Adds the hits of one segment, or tells why it was not searched. False when they may be of other
/// keys that have the hashes of those that are asked for.
fn select_in(
    pinned: &Pinned,
    opened: Option<&SealedTable<'_>>,
    filter: &Filter,
    part: &Part,
    (count, horizon, is_hasty): (usize, u64, bool),
    hits: &mut Vec<Hit>,
) -> Result<Result<bool, Miss>> {
    let mut search = filter.search(pinned);
    let mut has_text = search.as_mut().map(|it| move |hit: &Hit| it.finds(hit.seq, hit.offset));
    let mut wanted = select::Wanted {
        order: part.order,
        after: part.after.map(|cursor| cursor.key),
        up_to: part.up_to.map(|cursor| cursor.key),
        count,
        accept: has_text.as_mut().map(|it| it as &mut dyn FnMut(&Hit) -> bool),
    };
    let how = (horizon, is_hasty);
    let read = |table: TableRef<'_>| match table {
        TableRef::Memory(table) => Plan::new(filter, pinned, table, Some(table), how).map(|plan| {
            select(table, &plan, &mut wanted, hits);
            true
        }),
        TableRef::Sealed(table) => Plan::new(filter, pinned, table, None, how).map(|plan| {
            select(table, &plan, &mut wanted, hits);
            !is_hasty
        }),
    };
    let selected = match opened {
        Some(table) => pinned.segment().read_table(table, read)?,
        None => pinned.segment().with_table(filter.fields(), read)?,
    };
    search.map_or(Ok(()), Search::end)?;
    Ok(selected)
}

/// A segment to be searched, those first that promise the best hits.
struct Promising<'a> {
    /// The best that a record of the segment can be.
    promise: (i64, u64),
    /// Its number among the candidates.
    number: usize,
    candidate: Candidate<'a>,
}

impl Ord for Promising<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.promise.cmp(&other.promise)
    }
}

impl PartialOrd for Promising<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Promising<'_> {}

impl PartialEq for Promising<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.promise == other.promise
    }
}

fn by_promise<'a>(candidates: Vec<Candidate<'a>>, order: Order) -> BinaryHeap<Promising<'a>> {
    let promise = |entry| goodness(best_key(entry, order), order);
    let candidates = candidates.into_iter().enumerate();
    let promising = |(number, it): (_, Candidate<'a>)| Promising {
        promise: promise(it.entry),
        number,
        candidate: it,
    };
    candidates.map(promising).collect()
}

/// The best key that a record of the segment can have.
fn best_key(entry: &Entry, order: Order) -> (i64, u64) {
    let span = entry.span();
    match order {
        Order::Newest => (span.map_or(i64::MAX, |span| span.created.1), u64::MAX),
        Order::Oldest => (span.map_or(i64::MIN, |span| span.created.0), 0),
        Order::Seq => (0, entry.first_seq()),
        Order::SeqDescending => (0, span.map_or(u64::MAX, |span| span.last_seq)),
    }
}

/// True when a record of the segment may come behind the cursor.
fn may_follow(entry: &Entry, after: Cursor) -> bool {
    let Cursor { order, key } = after;
    entry.span().is_none_or(|span| {
        let worst = match order {
            Order::Newest => (span.created.0, 0),
            Order::Oldest => (span.created.1, u64::MAX),
            Order::Seq => (0, span.last_seq),
            Order::SeqDescending => (0, entry.first_seq()),
        };
        goodness(worst, order) < goodness(key, order)
    })
}

/// A key turned such that the better one is the larger one.
const fn goodness(key: (i64, u64), order: Order) -> (i64, u64) {
    if order.is_descending() { key } else { (!key.0, !key.1) }
}

/// Keeps the best `count`; once there are so many, gives how good the last of them is.
fn keep_best(hits: &mut Vec<Hit>, order: Order, count: usize) -> Option<(i64, u64)> {
    if hits.len() < count {
        return None;
    }
    sort(hits, order);
    hits.truncate(count);
    hits.last().map(|hit| goodness(hit.key(order), order))
}
