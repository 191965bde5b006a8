//! Comparing a ledger with a checkpoint of it.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::ledger::audit::{
    SEGMENT_COMPACTED, SEGMENT_DROPPED, SEGMENT_MISSING, SEGMENT_REPAIRED, file_in_ledger, hex,
    segment_name,
};
use crate::ledger::catalog::Catalog;
use crate::ledger::chain::Detail;
use crate::ledger::checkpoint::{Checkpoint, OpenHead, SealedHead, StreamHead, by_stream};
use crate::ledger::compact::Replaced;
use crate::ledger::layout::Layout;
use crate::ledger::reader::Reader;
use crate::ledger::verify::{VerifyReport, verify};
use crate::model::{Body, Event, Id, Timestamp};
use crate::query::Order;
use crate::segment::Segment;
use crate::storage::{OpenMode, Storage};

/// The types of the notes on segments that are no longer there as they were.
const REPLACED: [&str; 3] = [SEGMENT_DROPPED, SEGMENT_REPAIRED, SEGMENT_COMPACTED];

/// What [`verify_against`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProofReport {
    /// The ledger by itself: checksums, indexes, hashes and chains.
    pub verified: VerifyReport,
    /// What the checkpoint vouches for and is not there as it was.
    pub findings: Vec<ProofFinding>,
    /// What was dropped, repaired or written anew since the checkpoint, by the ledger's own notes:
    /// to be compared with what the operator knows of.
    pub on_record: Vec<OnRecord>,
}

/// A note on segments that are not as the checkpoint has them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnRecord {
    /// Its sequence number.
    pub seq: u64,
    /// When it was made.
    pub recorded_at: Timestamp,
    /// What it says.
    pub message: String,
}

/// One thing that is not as the checkpoint has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProofFinding {
    /// The segment's path among the streams; empty for the ledger as a whole.
    pub segment: String,
    /// What is wrong.
    pub tampering: Tampering,
}

/// How a ledger differs from its checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tampering {
    /// It is another ledger, or was made again.
    AnotherLedger {
        /// The id that it has.
        found: Id<'static>,
    },
    /// The segment, or one before it in its stream, holds something else.
    Changed,
    /// The segment ends before the checkpoint's end of it.
    Shortened {
        /// Where it ends, in bytes.
        end: u64,
        /// Where it ended at least.
        was: u64,
    },
    /// The segment is not there, and no note tells why.
    Removed,
    /// An opening has found a segment missing since the checkpoint, and noted that.
    FoundMissing,
}

impl fmt::Display for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherLedger { found } => {
                write!(f, "it is another ledger, or was made again: its id is {found}")
            }
            Self::Changed => f.write_str("it, or one before it in its stream, was changed"),
            Self::Shortened { end, was } => {
                write!(f, "it was cut, or is an older copy: it ends at {end} and ended at {was}")
            }
            Self::Removed => f.write_str("it was removed, or the ledger is an older copy"),
            Self::FoundMissing => f.write_str("a segment before it was found missing since"),
        }
    }
}

impl ProofReport {
    /// True when all that the checkpoint vouches for is there as it was, or is on record as
    /// dropped, repaired or written anew, and nothing is damaged.
    #[must_use]
    pub fn holds(&self) -> bool {
        // A gap in a chain is no damage of its own where a copy can be the reason.
        let is_whole = |damage: &Damage| *damage != Damage::Hash;
        self.findings.is_empty()
            && !self.verified.is_damaged()
            && self.verified.findings.iter().all(|finding| is_whole(&finding.damage))
    }
}

/// Verifies the ledger, and compares it with a checkpoint that was taken of it: what was changed,
/// cut, reordered, removed or made again since is found, unless it came after what the checkpoint
/// vouches for. What retention, repair and compaction do is accepted by the notes they make, which
/// are told, too: whoever can write to the ledger can write a note.
///
/// # Errors
/// As for [`verify`].
pub fn verify_against(
    dir: impl AsRef<Path>,
    storage: Arc<dyn Storage>,
    checkpoint: &Checkpoint,
) -> Result<ProofReport> {
    let layout = Layout::new(dir.as_ref());
    let verified = verify(dir.as_ref(), Arc::clone(&storage))?;
    let mut report = ProofReport { verified, ..ProofReport::default() };
    let identity = match layout.identity(&*storage) {
        // The damage, or that it is gone, is among what was verified.
        Err(Error::Damaged { .. } | Error::NotALedger { .. }) => return Ok(report),
        identity => identity?,
    };
    let found = Id::from_uuid(identity.uuid);
    if found != checkpoint.ledger {
        let tampering = Tampering::AnotherLedger { found };
        report.findings.push(ProofFinding { segment: String::new(), tampering });
        return Ok(report);
    }
    let catalog = Arc::new(Catalog::new(storage, layout, Some(&identity)));
    report.compare(&catalog, checkpoint)?;
    if !report.findings.is_empty() {
        // A writer may have dropped a segment between the look at the directory and at the notes.
        report.compare(&catalog, checkpoint)?;
    }
    Ok(report)
}

/// What the notes tell of segments since the checkpoint.
#[derive(Default)]
struct Told {
    /// The links of those that are gone.
    links: HashSet<String>,
    /// The paths of those.
    paths: HashSet<String>,
    /// The paths of those that were repaired when nobody could tell their links any more.
    unlinked: HashSet<String>,
    notes: Vec<OnRecord>,
    /// The paths of those after a segment that was found missing, and its link.
    missing: Vec<(String, Option<String>)>,
}

impl ProofReport {
    fn compare(&mut self, catalog: &Arc<Catalog>, checkpoint: &Checkpoint) -> Result<()> {
        catalog.refresh(OpenMode::Read)?;
        let told = told(&Reader::of_writer(Arc::clone(catalog)), checkpoint.next_seq)?;
        self.findings.clear();
        let streams = by_stream(catalog);
        for head in &checkpoint.streams {
            let of_it = streams.iter().find(|(stream, _)| *stream == head.stream);
            let segments = of_it.map_or(&[][..], |(_, segments)| segments);
            self.compare_stream(head, segments, &told)?;
        }
        // What the operating system does not let be read is among what was verified.
        let refused = catalog.unreadable().into_iter().filter(|it| !it.is_damaged());
        let refused: HashSet<_> = refused.map(|it| file_in_ledger(&it.path)).collect();
        self.findings.retain(|finding| !refused.contains(&finding.segment));
        // What another note tells of is not missing.
        let is_told =
            |link: &Option<String>| link.as_ref().is_some_and(|it| told.links.contains(it));
        let missing = told.missing.into_iter().filter(|(_, link)| !is_told(link));
        let found = |(segment, _)| ProofFinding { segment, tampering: Tampering::FoundMissing };
        self.findings.extend(missing.map(found));
        self.on_record = told.notes;
        Ok(())
    }

    fn compare_stream(
        &mut self,
        head: &StreamHead,
        segments: &[Arc<Segment>],
        told: &Told,
    ) -> Result<()> {
        if let Some(sealed) = &head.sealed
            && let Some(tampering) = compare_sealed(sealed, segments, told)
        {
            self.findings.push(ProofFinding { segment: sealed.segment.clone(), tampering });
        }
        for open in &head.open {
            if let Some(tampering) = compare_open(open, segments, told)? {
                self.findings.push(ProofFinding { segment: open.segment.clone(), tampering });
            }
        }
        Ok(())
    }
}

/// That each segment's frames have the hash in its trailer, and that the trailers make a chain, was
/// verified before: what is left is whether it is the same chain.
fn compare_sealed(head: &SealedHead, segments: &[Arc<Segment>], told: &Told) -> Option<Tampering> {
    let link = |segment: &Arc<Segment>| Some(hex(segment.trailer()?.link()));
    if segments.iter().filter_map(link).any(|link| link == head.link)
        || told.links.contains(&head.link)
        || told.unlinked.contains(&head.segment)
    {
        return None;
    }
    let is_there = segments.iter().any(|segment| segment_name(segment) == head.segment);
    Some(if is_there { Tampering::Changed } else { Tampering::Removed })
}

fn compare_open(
    head: &OpenHead,
    segments: &[Arc<Segment>],
    told: &Told,
) -> Result<Option<Tampering>> {
    if told.paths.contains(&head.segment) {
        return Ok(None);
    }
    let Some(segment) = segments.iter().find(|segment| segment_name(segment) == head.segment)
    else {
        return Ok(Some(Tampering::Removed));
    };
    if segment.end() < head.end {
        let (end, was) = (segment.end().into(), head.end.into());
        return Ok(Some(Tampering::Shortened { end, was }));
    }
    match segment.hash_to(head.end) {
        Ok(hash) => Ok((hex(hash) != head.hash).then_some(Tampering::Changed)),
        // It is among what was verified, and keeps nothing else from being told.
        Err(Error::Io { .. }) => Ok(None),
        Err(err) => Err(err),
    }
}

/// What the notes tell of segments since this sequence number.
fn told(reader: &Reader, since: u64) -> Result<Told> {
    let types = REPLACED.iter().chain([&SEGMENT_MISSING]);
    let notes = types.fold(reader.audit(), |notes, name| notes.record_type(name));
    // From the newest on: what became of a segment tells whether it ever came about.
    let page = notes.order(Order::SeqDescending).limit(usize::MAX).fetch()?;
    let segments = reader.catalog().all();
    let links = segments.iter().filter_map(|it| Some(hex(it.trailer()?.link())));
    let there: HashSet<_> = links.collect();
    let names: HashSet<_> = segments.iter().map(|it| segment_name(it)).collect();
    let mut told = Told::default();
    // One that is damaged is among what was verified.
    for note in page.records().filter_map(Result::ok) {
        let Body::Event(event) = note.body else { continue };
        let Detail { hash, new_hash, replaced, .. } = Detail::of(&event);
        let Event { event_type, message, trace_id, .. } = event;
        let path = trace_id.map(|path| path.to_string());
        // A segment goes after the note of it, and the checkpoint can lie between. But a compaction
        // may have come to nothing after its note.
        let comes_first = [SEGMENT_DROPPED, SEGMENT_COMPACTED].contains(&&*event_type);
        let is_done = new_hash.is_none_or(|it| there.contains(&it) || told.links.contains(&it));
        let is_named = |path: &String| names.contains(path) || told.paths.contains(path);
        let is_meant = match note.seq < since {
            true => comes_first && is_done,
            false => {
                event_type != SEGMENT_COMPACTED || is_done || path.as_ref().is_some_and(is_named)
            }
        };
        if !is_meant {
            continue;
        }
        if event_type == SEGMENT_MISSING {
            told.missing.extend(path.map(|path| (path, hash)));
            continue;
        }
        if event_type == SEGMENT_REPAIRED && hash.is_none() {
            told.unlinked.extend(path.clone());
        }
        told.links.extend(hash);
        told.paths.extend(path);
        for Replaced { segment, hash, .. } in replaced {
            told.links.extend(hash);
            told.paths.insert(segment);
        }
        if note.seq >= since {
            let message = message.unwrap_or_default().into_owned();
            told.notes.push(OnRecord { seq: note.seq, recorded_at: note.recorded_at, message });
        }
    }
    told.notes.reverse();
    told.missing.reverse();
    Ok(told)
}
