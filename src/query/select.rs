use std::ops::ControlFlow;

use crate::index::{Row, Table};
use crate::query::cursor::Order;
use crate::query::plan::{GroupKey, Pass, Plan};

/// Of so few rows each lies in a place of its own: all of them are fetched before the first is
/// looked at, so that they come at once and not one after the other.
const FEW: u64 = 32;

/// A row that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) created_at: i64,
    pub(super) seq: u64,
    pub(super) offset: u32,
    /// Which of the segments of its page it is in.
    pub(super) segment: u32,
}

impl Hit {
    pub(super) fn new<T: Table>(table: &T, row: Row) -> Self {
        let (created_at, seq) = (table.created_at(row), table.seq(row));
        Self { created_at, seq, offset: table.offset(row), segment: 0 }
    }

    pub(super) const fn key(&self, order: Order) -> (i64, u64) {
        order.key(self.created_at, self.seq)
    }
}

/// Which of the rows that match are wanted.
pub(super) struct Wanted<'a> {
    pub(super) order: Order,
    /// The key of the last record that is not wanted any more.
    pub(super) after: Option<(i64, u64)>,
    /// The key of the last record that may be wanted.
    pub(super) up_to: Option<(i64, u64)>,
    /// How many are wanted.
    pub(super) count: usize,
    /// The last test, dear as it reads the record.
    pub(super) accept: Option<&'a mut dyn FnMut(&Hit) -> bool>,
}

impl Wanted<'_> {
    fn has(&self, key: (i64, u64)) -> bool {
        match self.order.is_descending() {
            true => {
                self.after.is_none_or(|after| key < after)
                    && self.up_to.is_none_or(|end| key >= end)
            }
            false => {
                self.after.is_none_or(|after| key > after)
                    && self.up_to.is_none_or(|end| key <= end)
            }
        }
    }
}

/// Adds the first rows that match, in the order that is wanted.
pub(super) fn select<T: Table>(
    table: &T,
    plan: &Plan<'_>,
    wanted: &mut Wanted<'_>,
    hits: &mut Vec<Hit>,
) {
    let (low, high) = positions(table, plan, wanted);
    let window = u64::from(high.saturating_sub(low));
    let before = hits.len();
    let narrowest = plan.narrowest(table).filter(|&(rows, _)| rows < window);
    if let Some(narrowest) = narrowest.filter(|_| wanted.accept.is_none()) {
        by_postings(table, plan, wanted, narrowest, hits);
        return hits.truncate(before.saturating_add(wanted.count));
    }
    let mut take = |wanted: &mut Wanted<'_>, hit: Hit| {
        if wanted.accept.as_mut().is_none_or(|accept| accept(&hit)) {
            hits.push(hit);
        }
        match hits.len() - before < wanted.count {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    match narrowest {
        Some(narrowest) => {
            let mut found = Vec::new();
            by_postings(table, plan, wanted, narrowest, &mut found);
            // Stops when there are enough.
            let _ = found.into_iter().try_for_each(|hit| take(wanted, hit));
        }
        None => by_position(table, plan, wanted, (low, high), &mut take),
    }
}

/// The rows to look at, as positions in the order that is wanted.
fn positions<T: Table>(table: &T, plan: &Plan<'_>, wanted: &Wanted<'_>) -> (u32, u32) {
    let by_time = wanted.order.is_by_time();
    let (mut low, mut high) = if by_time { plan.window(table) } else { (0, table.rows()) };
    let before = |(created_at, seq)| match by_time {
        true => table.time_position(created_at, seq),
        false => table.seq_position(seq),
    };
    let behind = |(at, seq): (i64, u64)| {
        let in_time = || at.checked_add(1).filter(|_| by_time).map(|at| (at, 0));
        let next = seq.checked_add(1).map(|seq| (at, seq)).or_else(in_time);
        next.map_or(table.rows(), before)
    };
    let (from, to) = match wanted.order.is_descending() {
        true => (wanted.up_to.map(before), wanted.after.map(before)),
        false => (wanted.after.map(behind), wanted.up_to.map(behind)),
    };
    low = low.max(from.unwrap_or(low));
    high = high.min(to.unwrap_or(high));
    (low, high.max(low))
}

fn by_position<T: Table>(
    table: &T,
    plan: &Plan<'_>,
    wanted: &mut Wanted<'_>,
    (low, high): (u32, u32),
    take: &mut dyn FnMut(&mut Wanted<'_>, Hit) -> ControlFlow<()>,
) {
    let by_time = wanted.order.is_by_time();
    let descending = wanted.order.is_descending();
    for step in 0..high - low {
        let position = if descending { high - 1 - step } else { low + step };
        let row = if by_time { table.time_row(position) } else { table.seq_row(position) };
        let fits =
            plan.accepts(table, row, None) && (by_time || plan.in_window(table.created_at(row)));
        if fits && take(wanted, Hit::new(table, row)).is_break() {
            return;
        }
    }
}

/// Adds the rows that match, found by the postings of these keys and put in order: all of them, or
/// the first `count` and some more.
fn by_postings<T: Table>(
    table: &T,
    plan: &Plan<'_>,
    wanted: &Wanted<'_>,
    (rows, keys): (u64, &[GroupKey]),
    hits: &mut Vec<Hit>,
) {
    // One key's rows come from the highest down, which may be the order that is wanted; then the
    // first that match are enough, unless a text is to be found in them.
    let follows = match wanted.order {
        Order::Newest => table.rows_follow_time(),
        Order::SeqDescending => table.rows_follow_seq(),
        Order::Oldest | Order::Seq => false,
    };
    let before = hits.len();
    let first_are_enough = follows && keys.len() == 1 && wanted.accept.is_none();
    let enough = if first_are_enough { wanted.count } else { usize::MAX };
    // Else those that were created before the first `count` are too old, whatever their order.
    let may_end_early = wanted.order == Order::Newest && wanted.accept.is_none();
    let mut too_old = None;
    let pass = plan.pass(table);
    for key in keys {
        if rows <= FEW {
            table.prefetch_postings(key.field, key.code);
        }
        table.for_each_posting(key.field, key.code, &mut |row| {
            match pass(row) {
                Pass::Look => {}
                Pass::Skip => return ControlFlow::Continue(()),
                Pass::End => return ControlFlow::Break(()),
            }
            if too_old.is_some_and(|bound| table.latest_up_to(row) < bound) {
                return ControlFlow::Break(());
            }
            if plan.accepts(table, row, Some(key)) {
                let hit = Hit::new(table, row);
                if plan.in_window(hit.created_at) && wanted.has(hit.key(wanted.order)) {
                    hits.push(hit);
                    if hits.len() - before == wanted.count && may_end_early {
                        let found = hits.iter().skip(before);
                        too_old = found.map(|hit| hit.created_at).min();
                    }
                }
            }
            match hits.len() - before < enough {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
    }
    sort(hits.get_mut(before..).unwrap_or_default(), wanted.order);
}

/// Sorts into the order that is wanted.
pub(super) fn sort(hits: &mut [Hit], order: Order) {
    match order.is_descending() {
        true => hits.sort_unstable_by_key(|hit| std::cmp::Reverse(hit.key(order))),
        false => hits.sort_unstable_by_key(|hit| hit.key(order)),
    }
}
