//! Checkpoints: what is noted elsewhere of a ledger, to tell later that nothing of it was changed.

mod against;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use against::{OnRecord, ProofFinding, ProofReport, Tampering, verify_against};

use crate::error::{Error, Result};
use crate::ledger::audit::{hex, segment_name};
use crate::ledger::catalog::Catalog;
use crate::ledger::handle::Ledger;
use crate::ledger::reader::Reader;
use crate::ledger::sequence;
use crate::model::{Id, Json, Timestamp};
use crate::segment::{FRAMES_START, Segment};

/// The version of the text form.
const VERSION: u32 = 1;

/// The heads of a ledger at one time: small, to be stored where whoever may change the ledger
/// cannot.
///
/// It prints as one line of JSON and is read back from it. [`verify_against`] compares a ledger
/// with it.
///
/// ```
/// use runledger::{Checkpoint, Durability, Event, Ledger, verify_against};
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("ledger");
/// let ledger = Ledger::open(&dir)?;
/// ledger.append_with(Event::new("first"), Durability::Sync)?;
/// let elsewhere = ledger.checkpoint()?.to_string();
/// ledger.append(Event::new("second"))?;
/// ledger.close()?;
///
/// let checkpoint: Checkpoint = elsewhere.parse()?;
/// let report = verify_against(&dir, std::sync::Arc::new(runledger::storage::Disk), &checkpoint)?;
/// assert!(report.holds());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The ledger's own id.
    pub ledger: Id<'static>,
    /// When it was taken, by the clock of the machine that took it.
    pub created_at: Timestamp,
    /// A number above those of all records that it vouches for.
    pub next_seq: u64,
    /// The ends of the streams that have any, in the order of their names.
    pub streams: Vec<StreamHead>,
}

/// The end of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StreamHead {
    /// Its name.
    pub stream: String,
    /// Its newest sealed segment, whose link stands for all before it.
    pub sealed: Option<SealedHead>,
    /// Its segments without a footer: the one that is written, as a rule.
    pub open: Vec<OpenHead>,
}

/// A sealed segment at the end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SealedHead {
    /// Its path among the streams, as in `runs/00000000000000000001.seg`.
    pub segment: String,
    /// Its link in hexadecimal: BLAKE3 of the link before it and of its own frames' hash.
    pub link: String,
    /// How many sealed segments the stream had.
    pub segments: u64,
    /// The link that the oldest of them names as the one before it: zeros, unless that is gone.
    pub before: String,
}

/// The beginning of a segment without a footer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OpenHead {
    /// Its path among the streams.
    pub segment: String,
    /// Up to which offset in bytes it was on stable storage.
    pub end: u32,
    /// BLAKE3 of the file up to there, in hexadecimal.
    pub hash: String,
}

/// The text form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    runledger_checkpoint: u32,
    ledger: String,
    created_at: String,
    next_seq: u64,
    streams: Vec<StreamHead>,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Text {
            runledger_checkpoint: VERSION,
            ledger: self.ledger.to_string(),
            created_at: self.created_at.to_string(),
            next_seq: self.next_seq,
            streams: self.streams.clone(),
        };
        f.write_str(Json::from_value(&text).map_err(|_| fmt::Error)?.as_str())
    }
}

impl FromStr for Checkpoint {
    type Err = Error;

    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is none, or of a version that this program does not know.
    fn from_str(text: &str) -> Result<Self> {
        let refused =
            || Error::invalid("checkpoint", text, "what `runledger checkpoint` has printed");
        let read: Text = Json::parse(text)?.to_value().map_err(|_| refused())?;
        if read.runledger_checkpoint != VERSION {
            return Err(Error::invalid("checkpoint", text, "one of version 1"));
        }
        Ok(Self {
            ledger: Id::new(read.ledger)?,
            created_at: read.created_at.parse()?,
            next_seq: read.next_seq,
            streams: read.streams,
        })
    }
}

impl Ledger {
    /// Syncs what was appended, and gives the ledger's heads as they are then.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Poisoned`] when a sync or a reading fails.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let ends: Vec<_> = self.inner.catalog.all().into_iter().map(|it| (it.end(), it)).collect();
        self.sync()?;
        // What was appended since may not be on stable storage.
        let synced = |segment: &Segment| {
            let is_it = |(_, it): &&(u32, Arc<Segment>)| std::ptr::eq(&**it, segment);
            ends.iter().find(is_it).map_or(FRAMES_START, |(end, _)| *end)
        };
        self.reader().checkpoint_to(&synced)
    }
}

impl Reader {
    /// The ledger's heads, as far as they are known to be on stable storage: what a writer has
    /// appended last may be vouched for by a later checkpoint only.
    ///
    /// # Errors
    /// [`Error::Io`] when a segment cannot be read.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let (storage, layout) = (&self.catalog().storage, &self.catalog().layout);
        let identity = layout.identity(&**storage)?;
        let mut found = sequence::read(&**storage, &layout.sequence(), &identity.uuid)?;
        found.look(self.catalog());
        self.checkpoint_to(&|segment| match found.is_clean() {
            true => segment.end(),
            false => segment.findings().synced.min(segment.end()),
        })
    }

    /// The heads, of segments without a footer up to where `synced` says.
    fn checkpoint_to(&self, synced: &dyn Fn(&Segment) -> u32) -> Result<Checkpoint> {
        let catalog = self.catalog();
        let identity = catalog.layout.identity(&*catalog.storage)?;
        let mut streams = Vec::new();
        let mut last_seq = 0;
        for (stream, segments) in by_stream(catalog) {
            let head = StreamHead {
                stream,
                sealed: sealed_head(&segments),
                open: open_heads(&segments, synced)?,
            };
            last_seq = segments.iter().map(|it| it.last_seq()).fold(last_seq, u64::max);
            if head.sealed.is_some() || !head.open.is_empty() {
                streams.push(head);
            }
        }
        Ok(Checkpoint {
            ledger: Id::from_uuid(identity.uuid),
            created_at: Timestamp::from_nanos(catalog.storage.now()),
            next_seq: last_seq.saturating_add(1),
            streams,
        })
    }
}

/// The segments of each stream, in their order.
fn by_stream(catalog: &Catalog) -> Vec<(String, Vec<Arc<Segment>>)> {
    let mut streams = std::collections::BTreeMap::<String, Vec<_>>::new();
    for segment in catalog.all() {
        streams.entry(segment.header().stream.clone()).or_default().push(segment);
    }
    streams.into_iter().collect()
}

fn sealed_head(segments: &[Arc<Segment>]) -> Option<SealedHead> {
    let sealed = || segments.iter().filter_map(|it| Some((it, it.trailer()?)));
    let (newest, trailer) = sealed().next_back()?;
    let before = sealed().next().map_or([0; 32], |(_, oldest)| oldest.previous);
    Some(SealedHead {
        segment: segment_name(newest),
        link: hex(trailer.link()),
        segments: sealed().count() as u64,
        before: hex(before),
    })
}

fn open_heads(
    segments: &[Arc<Segment>],
    synced: &dyn Fn(&Segment) -> u32,
) -> Result<Vec<OpenHead>> {
    let mut open = Vec::new();
    // What is packed was whole once, and its frames do not lie in the file as they are.
    let is_open = |it: &&Arc<Segment>| it.trailer().is_none() && !it.header().packed;
    for segment in segments.iter().filter(is_open) {
        let end = synced(segment);
        // Of a segment that was never synced, a power cut may leave nothing.
        if end > FRAMES_START {
            open.push(OpenHead {
                segment: segment_name(segment),
                end,
                hash: hex(segment.hash_to(end)?),
            });
        }
    }
    Ok(open)
}
