//! The chain of hashes, as notes on segments tell of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use crate::error::Result;
use crate::ledger::audit::{
    SEGMENT_COMPACTED, SEGMENT_DROPPED, SEGMENT_MISSING, SEGMENT_PASSED_OVER, SEGMENT_REPAIRED,
    hex, segment_name,
};
use crate::ledger::catalog::Catalog;
use crate::ledger::compact::Replaced;
use crate::ledger::reader::Reader;
use crate::model::{Body, Event};
use crate::query::Order;
use crate::segment::Segment;

/// What a note on segments holds, whichever it is.
#[derive(Default, Deserialize)]
pub(super) struct Detail {
    /// The link of the segment that is gone.
    pub(super) hash: Option<String>,
    /// The link of the one in its place.
    pub(super) new_hash: Option<String>,
    /// Of one that is gone with nothing in its place, the link of the one before it. Earlier notes
    /// do not tell it.
    pub(super) previous: Option<String>,
    /// The segments that were written anew.
    #[serde(default)]
    pub(super) replaced: Vec<Replaced>,
}

impl Detail {
    /// That of this note; nothing for one that is about something else.
    pub(super) fn of(note: &Event<'_>) -> Self {
        let payload = note.payload.as_ref();
        payload.and_then(|payload| payload.to_value().ok()).unwrap_or_default()
    }
}

/// What notes tell of links, as text: next to a segment that is on record the chain is not that of
/// the first sealing.
#[derive(Debug, Default)]
pub(super) struct KnownLinks {
    /// Of segments that are gone, where nothing tells what was before them, and those that a
    /// segment names because the one before it could not be read when it was sealed.
    gone: HashSet<String>,
    /// Of segments that are gone or were written anew, each with those of what is in its place.
    became: HashMap<String, Vec<String>>,
    /// Of segments that were repaired when it could not be told which link they had: that is what
    /// the next one names.
    unknown: HashSet<String>,
    /// The paths of those of them that are gone with nothing in their place.
    lost: Vec<String>,
}

/// The segment before another one, if there is any, and its link.
pub(super) type Before = (Option<Arc<Segment>>, [u8; 32]);

impl KnownLinks {
    /// The link that is missing before a segment that names `previous`, where the one before it has
    /// another. `None` when the one that it names is on record as gone, or has become the one that
    /// is there.
    pub(super) fn missing(
        &self,
        segment: &Segment,
        previous: [u8; 32],
        (before, link): &Before,
    ) -> Option<String> {
        let to = segment_name(segment);
        let from = before.as_deref();
        let from = from.map_or_else(|| format!("{}/", segment.header().stream), segment_name);
        let before = hex(*link);
        let (mut seen, mut left) = (HashSet::new(), vec![hex(previous)]);
        let mut last = None;
        while let Some(link) = left.pop() {
            if link == before || self.gone.contains(&link) {
                return None;
            }
            if seen.insert(link.clone()) {
                left.extend(self.became.get(&link).into_iter().flatten().cloned());
                last = Some(link);
            }
        }
        let is_unknown = self.unknown.contains(&before)
            || self.lost.iter().any(|path| (&from..&to).contains(&path));
        last.filter(|_| !is_unknown)
    }

    /// Adds what a note on a segment tells. They are given in their order.
    pub(super) fn add(&mut self, note: &Body<'_>) {
        let Body::Event(note) = note else { return };
        let Detail { hash, new_hash, previous, replaced } = Detail::of(note);
        match (hash, new_hash) {
            (Some(old), Some(new)) => {
                if self.unknown.contains(&old) {
                    self.unknown.insert(new.clone());
                }
                self.became.entry(old).or_default().push(new);
            }
            (Some(gone), None) => {
                if self.unknown.contains(&gone) {
                    // Of several that were written anew as nothing, the next one names the last.
                    let last = replaced.last().map(|it| it.segment.clone());
                    self.lost.extend(note.trace_id.as_ref().map(ToString::to_string).or(last));
                }
                match previous {
                    // The one before it is in its place.
                    Some(previous) => self.became.entry(gone).or_default().push(previous),
                    None => drop(self.gone.insert(gone)),
                }
            }
            (None, Some(new)) => drop(self.unknown.insert(new)),
            (None, None) => {}
        }
    }
}

/// The links on record.
///
/// # Errors
/// When the notes cannot be read.
pub(super) fn known_links(reader: &Reader) -> Result<KnownLinks> {
    let kinds = [
        SEGMENT_DROPPED,
        SEGMENT_REPAIRED,
        SEGMENT_COMPACTED,
        SEGMENT_MISSING,
        SEGMENT_PASSED_OVER,
    ];
    let notes = kinds.iter().fold(reader.audit(), |notes, kind| notes.record_type(kind));
    let page = notes.order(Order::Seq).limit(usize::MAX).fetch()?;
    let mut known = KnownLinks::default();
    page.records().filter_map(Result::ok).for_each(|note| known.add(&note.body));
    Ok(known)
}

/// The link of the segment that begins with this number, when the one after it names that: of one
/// that cannot be read itself.
pub(super) fn named_by_the_next(
    catalog: &Catalog,
    stream: usize,
    first_seq: u64,
) -> Option<[u8; 32]> {
    let segments = catalog.stream(stream);
    // Behind a damaged footer the trailer may be whole.
    let trailer = |segment: &Arc<Segment>| segment.was_sealed_with().ok().flatten();
    let next = segments.iter().find(|segment| segment.first_seq() > first_seq)?;
    let named = trailer(next)?.previous;
    // One that was sealed past it names the one before it.
    let before = segments.iter().rev().filter(|segment| segment.first_seq() < first_seq);
    let before = before.into_iter().find_map(trailer).map_or([0; 32], |trailer| trailer.link());
    (named != before).then_some(named)
}
