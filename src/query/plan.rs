use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::RwLockReadGuard;

use crate::error::Result;
use crate::format::key;
use crate::index::{Code, Row, SUPERSEDED, Table};
use crate::model::{Field, Kind};
use crate::query::filter::Filter;
use crate::segment::{Pinned, Segment};

/// A filter in terms of one segment: codes in place of keys.
pub(super) struct Plan<'a> {
    /// The tags that match, a bit for each.
    tags: u32,
    /// For each field that is filtered by, the codes of which a row must have one.
    pub(super) keyed: Vec<(Field, Vec<Code>)>,
    /// Runs whose newest state alone counts: those overtaken in later segments.
    superseded: Option<RwLockReadGuard<'a, HashSet<u64>>>,
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    /// Where the frames end that can be read; rows beyond came while the query was asked.
    end: Option<u32>,
}

impl<'a> Plan<'a> {
    /// `None` when no record of the segment can match.
    pub(super) fn new<T: Table>(
        filter: &Filter,
        pinned: &'a Pinned,
        table: &T,
        exact_keys: bool,
    ) -> Result<Option<Self>> {
        let segment = pinned.segment();
        let Some(tags) = filter.tags(segment.kind()) else { return Ok(None) };
        let mut keyed = Vec::new();
        for (field, keys) in filter.keyed() {
            let mut codes = Vec::with_capacity(keys.len());
            for wanted in keys {
                let Some(code) = table.find(field, wanted.as_slice()) else { continue };
                if exact_keys || confirm(pinned, table, field, code, wanted.as_slice()) {
                    codes.push(code);
                }
            }
            if codes.is_empty() {
                return Ok(None);
            }
            codes.sort_unstable();
            codes.dedup();
            keyed.push((field, codes));
        }
        let newest_only = segment.kind() == Kind::Run && !filter.history;
        let superseded = newest_only.then(|| segment.superseded());
        // An index in memory names keys exactly, and it alone grows.
        let end = exact_keys.then(|| pinned.end());
        let Filter { since, until, .. } = *filter;
        Ok(Some(Self { tags, keyed, superseded, since, until, end }))
    }

    /// True when the row matches in all but its time and text, and in but the key of `given`: the
    /// field by whose postings the row was found.
    pub(super) fn accepts<T: Table>(&self, table: &T, row: Row, given: Option<Field>) -> bool {
        self.accepts_tag(table.tag(row))
            && self.end.is_none_or(|end| table.offset(row) < end)
            && self.is_newest(table, row)
            && self
                .keyed
                .iter()
                .filter(|(field, _)| Some(*field) != given)
                .all(|(field, codes)| codes.iter().any(|&code| table.has_key(*field, code, row)))
    }

    /// True when rows with this tag match, for all that the tag tells.
    #[inline]
    pub(super) fn accepts_tag(&self, tag: u8) -> bool {
        self.tags & 1u32.checked_shl((tag & !SUPERSEDED).into()).unwrap_or(0) != 0
            && (tag & SUPERSEDED == 0 || self.superseded.is_none())
    }

    /// True when the tag alone tells whether a row matches.
    pub(super) fn is_by_tag(&self) -> bool {
        self.keyed.is_empty() && self.superseded.as_ref().is_none_or(|rows| rows.is_empty())
    }

    fn is_newest<T: Table>(&self, table: &T, row: Row) -> bool {
        match &self.superseded {
            Some(overtaken) if !overtaken.is_empty() => !overtaken.contains(&table.seq(row)),
            _ => true,
        }
    }

    /// The field whose keys are carried by the fewest rows, and how many those are.
    pub(super) fn narrowest<T: Table>(&self, table: &T) -> Option<(u64, Field, &[Code])> {
        self.keyed
            .iter()
            .map(|(field, codes)| {
                let rows = codes.iter().map(|&code| u64::from(table.posting_count(*field, code)));
                (rows.sum::<u64>(), *field, codes.as_slice())
            })
            .min_by_key(|&(rows, ..)| rows)
    }

    /// The rows between `since` and `until`, as positions in the order of time.
    pub(super) fn window<T: Table>(&self, table: &T) -> (u32, u32) {
        let low = self.since.map_or(0, |since| table.time_position(since, 0));
        let high = self.until.map_or(table.rows(), |until| table.time_position(until, 0));
        (low, high.max(low))
    }

    pub(super) fn in_window(&self, created_at: i64) -> bool {
        self.since.is_none_or(|since| created_at >= since)
            && self.until.is_none_or(|until| created_at < until)
    }
}

/// True when the code is that of the key, and not of another with the same hash: the first record
/// of it that can be read tells. When none can, it is taken for the key's, so that the damage is
/// seen and not passed over.
pub(crate) fn confirm<T: Table>(
    pinned: &Pinned,
    table: &T,
    field: Field,
    code: Code,
    wanted: &[u8],
) -> bool {
    let mut same = true;
    table.for_each_posting(field, code, &mut |row| {
        let Ok(record) = pinned.record(table.seq(row), table.offset(row)) else {
            return ControlFlow::Continue(());
        };
        same = false;
        key::keys_of(&record.body, |other, bytes| same |= other == field && bytes == wanted);
        ControlFlow::Break(())
    });
    same
}

/// Segments whose created range the window touches, each held with its bytes.
pub(super) fn candidates(segments: &[Arc<Segment>], filter: &Filter) -> Result<Vec<Pinned>> {
    let mut pinned = Vec::new();
    for segment in segments {
        if filter.tags(segment.kind()).is_none() {
            continue;
        }
        let may_hold = segment.created_range().is_none_or(|(first, last)| {
            let before = filter.until.is_some_and(|until| first >= until);
            let after = filter.since.is_some_and(|since| last < since);
            first <= last && !before && !after
        });
        if may_hold {
            pinned.push(Pinned::new(segment)?);
        }
    }
    Ok(pinned)
}
