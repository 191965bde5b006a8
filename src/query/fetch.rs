use crate::error::Result;
use crate::query::cursor::{Cursor, Order};
use crate::query::filter::Filter;
use crate::query::page::{Page, PageHit};
use crate::query::plan::Plan;
use crate::query::select::{Hit, Wanted, select};
use crate::segment::{Pinned, TableRef};

/// Which part of the result is asked for.
pub(super) struct Part {
    pub(super) order: Order,
    pub(super) after: Option<Cursor>,
    pub(super) offset: u64,
    pub(super) limit: usize,
}

/// A hit and the segment it is in.
type Found = (u32, Hit);

/// The part of all records that match.
pub(super) fn fetch(segments: Vec<Pinned>, filter: &Filter, part: &Part) -> Result<Page> {
    let offset = usize::try_from(part.offset).unwrap_or(usize::MAX);
    // One more than is given tells whether there are more.
    let count = offset.saturating_add(part.limit).saturating_add(1);
    let mut best: Vec<Found> = Vec::new();
    let mut threshold = None;
    for number in by_promise(&segments, part.order) {
        let Some(segment) = segments.get(number) else { continue };
        if threshold.is_some_and(|bound| !may_hold(segment, part.order, bound)) {
            continue;
        }
        let hits = select_in(segment, filter, part, count)?;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        best.extend(hits.into_iter().map(|hit| (number, hit)));
        threshold = keep_best(&mut best, part.order, count);
    }
    sort(&mut best, part.order);
    Ok(page(segments, best, part, offset))
}

fn page(segments: Vec<Pinned>, found: Vec<Found>, part: &Part, offset: usize) -> Page {
    let more = found.len() > offset.saturating_add(part.limit);
    let given: Vec<Found> = found.into_iter().skip(offset).take(part.limit).collect();
    let next = given
        .last()
        .filter(|_| more)
        .map(|(_, hit)| Cursor { order: part.order, key: hit.key(part.order) });
    let hits = given
        .iter()
        .map(|(segment, hit)| PageHit { segment: *segment, offset: hit.offset, seq: hit.seq })
        .collect();
    Page { segments, hits, next }
}

fn select_in(pinned: &Pinned, filter: &Filter, part: &Part, count: usize) -> Result<Vec<Hit>> {
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
        count,
        accept: filter.text.is_some().then_some(&mut has_text),
    };
    let hits = pinned.segment().with_table(filter.fields(), |table| match table {
        TableRef::Memory(table) => Plan::new(filter, pinned, table, true)
            .map(|plan| plan.map(|plan| select(table, &plan, &mut wanted)).unwrap_or_default()),
        TableRef::Sealed(table) => Plan::new(filter, pinned, table, false)
            .map(|plan| plan.map(|plan| select(table, &plan, &mut wanted)).unwrap_or_default()),
    })??;
    // A record that cannot be read might hold the text: that is not to pass in silence.
    damage.map_or(Ok(hits), Err)
}

/// Segments in an order in which the best hits come early.
fn by_promise(segments: &[Pinned], order: Order) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..segments.len()).collect();
    let first = |number: &usize| segments.get(*number).map(|s| best_key(s, order));
    match order.is_descending() {
        true => numbers.sort_by_key(|number| std::cmp::Reverse(first(number))),
        false => numbers.sort_by_key(first),
    }
    numbers
}

/// The best key that a record of the segment can have.
fn best_key(pinned: &Pinned, order: Order) -> (i64, u64) {
    let segment = pinned.segment();
    let (first, last) = segment.created_range().unwrap_or((i64::MIN, i64::MAX));
    match order {
        Order::Newest => (last, u64::MAX),
        Order::Oldest => (first, 0),
        Order::Seq => (0, segment.first_seq()),
        Order::SeqDescending => (0, segment.trailer().map_or(u64::MAX, |trailer| trailer.last_seq)),
    }
}

fn may_hold(pinned: &Pinned, order: Order, threshold: (i64, u64)) -> bool {
    match order.is_descending() {
        true => best_key(pinned, order) > threshold,
        false => best_key(pinned, order) < threshold,
    }
}

/// Keeps the best `count`; gives the key of the last of them once there are so many.
fn keep_best(found: &mut Vec<Found>, order: Order, count: usize) -> Option<(i64, u64)> {
    if found.len() < count {
        return None;
    }
    sort(found, order);
    found.truncate(count);
    found.last().map(|(_, hit)| hit.key(order))
}

fn sort(found: &mut [Found], order: Order) {
    match order.is_descending() {
        true => found.sort_unstable_by_key(|(_, hit)| std::cmp::Reverse(hit.key(order))),
        false => found.sort_unstable_by_key(|(_, hit)| hit.key(order)),
    }
}
