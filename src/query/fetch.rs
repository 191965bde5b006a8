use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::error::Result;
use crate::query::cursor::{Cursor, Order};
use crate::query::filter::Filter;
use crate::query::list::{Entry, InVain, SegmentList, View};
use crate::query::page::Page;
use crate::query::plan::{Candidate, Miss, Plan, candidates};
use crate::query::select::{Hit, Wanted, select, sort};
use crate::segment::{Pinned, TableRef};

/// Which part of the result is asked for.
pub(super) struct Part {
    pub(super) order: Order,
    pub(super) after: Option<Cursor>,
    pub(super) up_to: Option<Cursor>,
    pub(super) offset: u64,
    pub(super) limit: usize,
}

/// The part of all records that match.
pub(super) fn fetch(view: &View, filter: &Filter, part: &Part) -> Result<Page> {
    view.ask(|lists| try_fetch(lists, filter, part))
}

/// `None` when a segment was sealed meanwhile in such a way that the query has to begin anew.
fn try_fetch(lists: &[Arc<SegmentList>], filter: &Filter, part: &Part) -> Result<Option<Page>> {
    let offset = usize::try_from(part.offset).unwrap_or(usize::MAX);
    // One more than is given tells whether there are more.
    let count = offset.saturating_add(part.limit).saturating_add(1);
    let (mut segments, mut hits) = (Vec::new(), Vec::new());
    let mut in_vain = InVain::default();
    let mut threshold = None;
    let end = part.up_to.map(|cursor| goodness(cursor.key, part.order));
    let mut left = by_promise(candidates(lists, filter), part.order);
    while let Some(Promising { promise, candidate }) = left.pop() {
        let is_full = threshold.is_some_and(|threshold| promise <= threshold);
        if is_full || end.is_some_and(|end| promise < end) {
            // Neither this one nor those that promise less can hold a better one.
            break;
        }
        let pinned = Pinned::new(&candidate.entry.segment)?;
        let before = hits.len();
        match select_in(&pinned, filter, part, (count, candidate.horizon), &mut hits)? {
            Ok(()) => {}
            Err(Miss::NoKey(field)) => in_vain.note(candidate.list, candidate.entry, field),
            Err(Miss::Sealed) => return Ok(None),
        }
        if let Some(new) = hits.get_mut(before..).filter(|new| !new.is_empty()) {
            let segment = u32::try_from(segments.len()).unwrap_or(u32::MAX);
            new.iter_mut().for_each(|hit| hit.segment = segment);
            segments.push(pinned);
            threshold = keep_best(&mut hits, part.order, count);
        }
    }
    in_vain.enter();
    sort(&mut hits, part.order);
    Ok(Some(page(segments, hits, part, offset)))
}

fn page(segments: Vec<Pinned>, mut hits: Vec<Hit>, part: &Part, offset: usize) -> Page {
    let more = hits.len() > offset.saturating_add(part.limit);
    hits.drain(..offset.min(hits.len()));
    hits.truncate(part.limit);
    let last = hits.last().filter(|_| more);
    let next = last.map(|hit| Cursor { order: part.order, key: hit.key(part.order) });
    Page { segments, hits, next }
}

/// Adds the hits of one segment, or tells why it was not searched.
fn select_in(
    pinned: &Pinned,
    filter: &Filter,
    part: &Part,
    (count, horizon): (usize, u64),
    hits: &mut Vec<Hit>,
) -> Result<Result<(), Miss>> {
    let mut damage = None;
    let mut has_text = |hit: &Hit| match (&filter.text, pinned.record(hit.seq, hit.offset)) {
        (Some(text), Ok(record)) => text.matches(&record.body),
        (_, Err(err)) => {
            damage = Some(err);
            false
        }
        (None, Ok(_)) => true,
    };
    let mut wanted = Wanted {
        order: part.order,
        after: part.after.map(|cursor| cursor.key),
        up_to: part.up_to.map(|cursor| cursor.key),
        count,
        accept: filter.text.is_some().then_some(&mut has_text),
    };
    let selected = pinned.segment().with_table(filter.fields(), |table| match table {
        TableRef::Memory(table) => Plan::new(filter, pinned, table, Some(table), horizon)
            .map(|plan| select(table, &plan, &mut wanted, hits)),
        TableRef::Sealed(table) => Plan::new(filter, pinned, table, None, horizon)
            .map(|plan| select(table, &plan, &mut wanted, hits)),
    })?;
    // A record that cannot be read might hold the text: that is not to pass in silence.
    damage.map_or(Ok(selected), Err)
}

/// A segment to be searched, those first that promise the best hits.
struct Promising<'a> {
    /// The best that a record of the segment can be.
    promise: (i64, u64),
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

fn by_promise(candidates: Vec<Candidate<'_>>, order: Order) -> BinaryHeap<Promising<'_>> {
    let promise = |entry| goodness(best_key(entry, order), order);
    let candidates = candidates.into_iter();
    candidates.map(|it| Promising { promise: promise(it.entry), candidate: it }).collect()
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
