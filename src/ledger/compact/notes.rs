//! What compaction and erasure put on record.

use std::iter::repeat_with;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::format::rollup::Rollup;
use crate::format::trailer::Trailer;
use crate::ledger::audit::{
    RECORDS_ERASED, RECORDS_EXPIRED, SEGMENT_COMPACTED, file_in_ledger, hex, segment_name, system,
};
use crate::ledger::compact::weed::Expired;
use crate::ledger::history::Sums;
use crate::model::{Event, Field, Id, Severity};
use crate::segment::Segment;

#[derive(Serialize)]
struct CompactedDetail {
    /// The link of the last of the old segments, which the one after it names.
    hash: Option<String>,
    new_hash: Option<String>,
    /// The link of the one before the first of them, where nothing comes in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    new_segment: Option<String>,
    replaced: Vec<Replaced>,
}

/// A segment that was written anew.
#[derive(Serialize, Deserialize)]
pub(in crate::ledger) struct Replaced {
    pub(in crate::ledger) segment: String,
    /// Its link in the chain of hashes.
    pub(in crate::ledger) hash: Option<String>,
    /// The sums of the records that had expired and were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ledger) rollup: Option<Sums>,
}

/// The note on segments in whose place one comes at `path`, or nothing, with the sums of what went
/// by each of them.
pub(super) fn compacted(
    old: &[Arc<Segment>],
    path: &Path,
    new: Option<&Trailer>,
    expired: Vec<Rollup>,
) -> Event<'static> {
    let link = |segment: &Arc<Segment>| segment.trailer().map(|trailer| hex(trailer.link()));
    let sums = expired.into_iter().map(|rollup| Sums::of(rollup, old.len()));
    let replaced = old.iter().zip(sums.chain(repeat_with(|| None)));
    let replaced =
        replaced.map(|(it, rollup)| Replaced { segment: segment_name(it), hash: link(it), rollup });
    let stream = old.first().map_or("", |segment| &segment.header().stream);
    let name = new.map(|_| file_in_ledger(path));
    let what = name.as_deref().map_or("nothing: no record was kept".to_owned(), str::to_owned);
    let first = old.first().filter(|_| new.is_none()).and_then(|segment| segment.trailer());
    let detail = CompactedDetail {
        hash: old.last().and_then(link),
        previous: first.map(|trailer| hex(trailer.previous)),
        new_hash: new.map(|trailer| hex(trailer.link())),
        replaced: replaced.collect(),
        new_segment: name.clone(),
    };
    let message = format!("{} segment(s) of {stream} were written anew as {what}", old.len());
    let mut event = system(SEGMENT_COMPACTED, &detail).message(message);
    event.trace_id = name.and_then(|name| Id::new(name).ok());
    event
}

#[derive(Serialize)]
struct ExpiredDetail {
    records: u64,
    segments: u64,
}

/// The note on records that were left out of segments that stay, as they had expired by this.
pub(super) fn expired(by: &str, Expired { records, segments }: Expired) -> Event<'static> {
    system(RECORDS_EXPIRED, &ExpiredDetail { records, segments })
        .message(format!("{records} record(s) of {segments} segment(s) that stay went by {by}"))
}

#[derive(Serialize)]
struct ErasedDetail<'a> {
    field: &'static str,
    /// BLAKE3 of the id: who knows it can tell that it was erased, and nobody else.
    id_hash: String,
    runs: u64,
    events: u64,
    errors: u64,
    reason: Option<&'a str>,
    by: Option<&'a str>,
}

/// The note on records that were erased. It does not tell whose they were.
pub(super) fn erased(
    field: Field,
    id: &Id<'_>,
    [runs, events, errors]: [u64; 3],
    reason: Option<&str>,
    by: Option<&str>,
) -> Event<'static> {
    let id_hash = hex(*blake3::hash(id.to_string().as_bytes()).as_bytes());
    let field = field.name();
    let detail = ErasedDetail { field, id_hash, runs, events, errors, reason, by };
    let count = runs + events + errors;
    system(RECORDS_ERASED, &detail)
        .severity(Severity::Warning)
        .message(format!("{count} records of one {field} were erased"))
}
