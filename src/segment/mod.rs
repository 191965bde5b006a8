//! One segment file: making it, writing frames to it, reading it back, sealing and recovering it.

mod ahead;
mod block_writer;
mod blocks;
mod catch_up;
mod check;
mod draft;
mod ends;
mod found;
mod frames;
mod handle;
mod header;
mod lost;
#[cfg(test)]
mod made;
mod name;
mod open;
mod open_runs;
mod pack;
mod read;
mod recover;
mod rollup;
mod salvage;
mod scan;
mod seal;
mod sealed;
mod states;
mod view;
mod window;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

pub(crate) use ahead::{FEW_TABLES, Tables};
pub(crate) use catch_up::Followed;
pub(crate) use check::Check;
pub(crate) use draft::Draft;
pub(crate) use frames::Near;
pub(crate) use name::Name;
pub(crate) use open_runs::OpenState;
pub(crate) use pack::Packer;
pub(crate) use read::Pinned;
pub(crate) use recover::{Loss, LossKind};
pub(crate) use rollup::Tally;
pub use scan::DamagedRange;
pub(crate) use sealed::{SealedIndex, SealedTable};
pub(crate) use states::{NewState, NewestState, StatesAhead};
pub(crate) use write::NewFrame;

use crate::error::{Damage, Error, Result};
use crate::format::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::key;
use crate::format::trailer::Trailer;
use crate::index::{MemIndex, NewestStates, Summary, Table};
use crate::model::{Field, Kind};
use crate::segment::blocks::Blocks;
use crate::segment::found::Found;
use crate::segment::frames::CheckedFrames;
use crate::segment::handle::Handle;
use crate::storage::{File, Map};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

/// Where the first frame begins: behind two copies of the header, so that no single damaged byte
/// takes the salt, and with it the whole segment, along.
pub(crate) const FRAMES_START: u32 = 2 * SEGMENT_HEADER_BYTES;

/// A segment file, open for reading and, while it is the last of its stream, for writing.
///
/// An append writes its frame, moves `end` and notes states of runs in `newest`; the index in
/// `state` follows when it is asked for, up to `indexed`. It gives way to the footer when the
/// segment is sealed, and comes back when that turns out to be damaged.
///
/// Who takes several of the locks `syncs`, `newest`, `state` and `findings` takes them in this
/// order; under the others none of these is taken.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Segment {
    // What a query of a sealed segment reads comes first, so that it lies in a few lines of the
    // processor's cache: in a ledger of many segments most of a look-up is to wait for such lines.
    state: RwLock<State>,
    /// Which frames were compared with their checksums; none are left to be when `None`.
    unchecked: Option<CheckedFrames>,
    /// The last sequence number that queries can see; 0 before the first.
    last_seq: AtomicU64,
    /// Where the frames end.
    end: AtomicU32,
    /// Up to where they are in the index in memory; changes with `state` locked.
    indexed: AtomicU32,
    header: SegmentHeader,
    superseded: RwLock<Superseded>,
    map: RwLock<Option<Map>>,
    path: PathBuf,
    file: Handle,
    /// The seed of the index's hash function while it is in memory.
    seed: u64,
    /// What the opening found in the frames, when there was no footer to tell.
    found: Option<Found>,
    /// Up to where the file was preallocated.
    allocated: AtomicU32,
    /// Where the blocks of a packed segment are, once that was asked for.
    blocks: RwLock<Option<Arc<Blocks>>>,
    /// What the segment spans, once it is sealed.
    span: OnceLock<Span>,
    /// Where the newest states of runs lie: made when a run is looked up, kept up to date by the
    /// appends, and let go once there is a footer.
    newest: RwLock<Option<Box<NewestStates>>>,
    /// The segments whose place this one took, and those whose place they had taken, as long as a
    /// query still reads them.
    replaced: RwLock<Vec<Weak<Segment>>>,
    findings: RwLock<Findings>,
    /// Held during a sync.
    syncs: Mutex<Syncs>,
}

/// What is known of the syncs of a segment.
#[derive(Debug, Default)]
struct Syncs {
    /// The bytes that a writer before this one has written, and that were never synced.
    left_behind: Option<(u32, u32)>,
    /// True when one failed.
    has_failed: bool,
}

#[derive(Debug)]
enum State {
    /// The index is in memory: the segment is still written, or has no valid footer. It holds the
    /// frames up to `indexed`.
    Memory(Box<MemIndex>),
    /// The index is the footer.
    Sealed(Arc<SealedIndex>),
}

/// The records of a segment whose place was taken by one of another segment, and from which
/// sequence number on that counts.
type Superseded = HashMap<u64, u64>;

/// What is wrong with a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Ranges in which no whole frame lies, with whole frames after them.
    pub(crate) damaged: Vec<DamagedRange>,
    /// Bytes after the last whole frame.
    pub(crate) tail: Option<DamagedRange>,
    /// The highest offset that a whole frame says was on stable storage.
    pub(crate) synced: u32,
    /// What is wrong with the footer of a sealed segment.
    pub(crate) footer: Option<Damage>,
    /// True when one of the two copies of the header is damaged.
    pub(crate) header: bool,
}

/// An empty index in memory, whose keys are hashed as in a footer with this seed.
pub(crate) fn new_index(seed: u64) -> MemIndex {
    MemIndex::new(key::hash, seed)
}

/// The rows of a segment, in whichever form they are in.
pub(crate) enum TableRef<'a> {
    Memory(&'a MemIndex),
    Sealed(&'a SealedTable<'a>),
}

/// What the records of a sealed segment span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The earliest and the latest creation.
    pub(crate) created: (i64, i64),
    pub(crate) last_seq: u64,
}

/// What is known of a segment without reading its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overview {
    pub(crate) rows: u32,
    /// Where the frames end that hold them.
    pub(crate) end: u32,
    pub(crate) last_seq: Option<u64>,
    pub(crate) summary: Summary,
    pub(crate) sealed: bool,
    /// Bytes of memory that the index holds.
    pub(crate) index_memory: usize,
    /// Bytes of the footer.
    pub(crate) footer_bytes: u64,
}

impl Segment {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(crate) fn kind(&self) -> Kind {
        self.header.kind
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.header.first_seq
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> Name {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.and_then(Name::parse).unwrap_or(Name::new(self.first_seq()))
    }

    /// Where the frames end, in bytes.
    pub(crate) fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) const fn file(&self) -> &dyn File {
        &self.file
    }

    pub(crate) fn findings(&self) -> Findings {
        self.findings.read().clone()
    }

    /// True when damage to its frames or its footer is known.
    pub(crate) fn is_damaged(&self) -> bool {
        let findings = self.findings.read();
        !findings.damaged.is_empty() || findings.footer.is_some()
    }

    pub(crate) fn is_sealed(&self) -> bool {
        matches!(*self.state.read(), State::Sealed(_))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end() == FRAMES_START
    }

    /// The trailer of a sealed segment.
    pub(crate) fn trailer(&self) -> Option<Trailer> {
        match &*self.state.read() {
            State::Sealed(sealed) => Some(sealed.trailer.clone()),
            State::Memory(_) => None,
        }
    }

    /// What a sealed segment spans. Never waits for the index, as appends ask for it.
    pub(crate) fn sealed_span(&self) -> Option<Span> {
        self.span.get().copied()
    }

    /// Notes what the trailer says, once the footer is the index.
    fn note_sealed(&self, trailer: &Trailer) {
        let created = (trailer.created_min, trailer.created_max);
        let _ = self.span.set(Span { created, last_seq: trailer.last_seq });
    }

    /// The seed of a sealed segment, and the highest 32 bits of the hash of each key of a field.
    /// `None` while the index is in memory, and when the footer is damaged.
    pub(crate) fn key_heads(&self, field: Field) -> Option<(u64, Vec<u32>)> {
        match &*self.state.read() {
            State::Memory(_) => None,
            State::Sealed(sealed) => {
                let heads = sealed.key_heads(field).ok()?;
                sealed.is_intact().then(|| (sealed.layout.seed(), heads))
            }
        }
    }

    /// The last sequence number that was found at the opening, and when it was recorded.
    pub(crate) fn last_at_opening(&self) -> Option<(u64, i64)> {
        match &*self.state.read() {
            State::Memory(_) => self.found.as_ref()?.last,
            State::Sealed(sealed) => {
                let trailer = &sealed.trailer;
                (trailer.rows > 0).then_some((trailer.last_seq, trailer.recorded_last))
            }
        }
    }

    /// What is known of the segment, with all frames that it has now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn overview(&self) -> Result<Overview> {
        let states = self.newest.read().as_ref().map_or(0, |states| states.memory());
        let state = self.current()?;
        Ok(match &*state {
            State::Memory(index) => Overview {
                rows: index.rows(),
                end: self.indexed(),
                last_seq: index.last_seq(),
                summary: *index.summary(),
                sealed: false,
                index_memory: index.memory() + states,
                footer_bytes: 0,
            },
            State::Sealed(sealed) => {
                let trailer = &sealed.trailer;
                Overview {
                    rows: trailer.rows,
                    end: self.end(),
                    last_seq: (trailer.rows > 0).then_some(trailer.last_seq),
                    summary: Summary {
                        created: (trailer.created_min, trailer.created_max),
                        newest: trailer.newest_max,
                        recorded: (trailer.recorded_first, trailer.recorded_last),
                    },
                    sealed: true,
                    index_memory: size_of::<SealedIndex>(),
                    footer_bytes: (sealed.map.as_slice().len() as u64)
                        .saturating_sub(u64::from(trailer.frames_end)),
                }
            }
        })
    }

    /// Notes that the record's place was taken by one of another segment, whose sequence number is
    /// `by` or, where that is not known, above all that were seen before.
    pub(crate) fn mark_superseded(&self, seq: u64, by: u64) {
        let mark = |segment: &Self| {
            let mut superseded = segment.superseded.write();
            let since = superseded.entry(seq).or_insert(by);
            *since = by.min(*since);
        };
        mark(self);
        self.replaced.read().iter().filter_map(Weak::upgrade).for_each(|it| mark(&it));
    }

    /// Takes over what is known of the records of segments whose place this one takes; what becomes
    /// known later is passed on to them, for queries that still read them. Any of them may be gone
    /// before those whose place it took.
    pub(crate) fn take_over(&self, from: &[Arc<Self>]) {
        let mut superseded = self.superseded.write();
        let mut replaced = self.replaced.write();
        for segment in from {
            superseded.extend(segment.superseded.read().iter().map(|(&seq, &by)| (seq, by)));
            let before = segment.replaced.read();
            replaced.extend(before.iter().filter(|it| it.strong_count() > 0).cloned());
            replaced.push(Arc::downgrade(segment));
        }
    }

    /// True when a record of another segment takes the place of one here.
    pub(crate) fn is_overtaken(&self) -> bool {
        !self.superseded.read().is_empty()
    }

    /// The records whose place is taken by one of another segment, in no order.
    pub(crate) fn superseded(&self) -> Vec<u64> {
        self.superseded.read().keys().copied().collect()
    }

    /// The same as of this sequence number; `None` when they are more than so many.
    pub(crate) fn superseded_as_of(&self, horizon: u64, most: usize) -> Option<Vec<u64>> {
        let superseded = self.superseded.read();
        if superseded.len() > most {
            return None;
        }
        let taken = superseded.iter().filter(|&(_, &by)| by <= horizon);
        Some(taken.map(|(&seq, _)| seq).collect())
    }

    /// From which sequence number on the record's place is taken by one of another segment.
    pub(crate) fn superseded_by(&self, seq: u64) -> Option<u64> {
        // Held for one look: an append that marks a record does not wait for a query.
        self.superseded.read().get(&seq).copied()
    }

    /// Lets queries see what was appended up to this sequence number. The records whose place it
    /// takes were marked before: a query sees a run once, in one state.
    pub(crate) fn publish(&self, last_seq: u64) {
        self.last_seq.store(last_seq, Ordering::Release);
    }

    /// The last sequence number that a query can see; 0 before the first.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq.load(Ordering::Acquire)
    }

    /// The records of other segments, of this stream or another, whose place was taken by one here,
    /// and the sequence number of that one where there is no footer yet.
    pub(crate) fn supersedes(&self) -> Result<Vec<(u64, Option<u64>)>> {
        let with_its_own =
            |list: &[(u64, u64)]| list.iter().map(|&(seq, by)| (seq, Some(by))).collect();
        if let Some(found) = self.still_as_found() {
            return Ok(with_its_own(&found.supersedes));
        }
        let in_footer = |sealed: &SealedIndex| {
            Ok(sealed.supersedes()?.into_iter().map(|seq| (seq, None)).collect())
        };
        self.told(|index| with_its_own(index.supersedes()), in_footer)
    }

    fn damaged(&self, offset: u32, damage: Damage) -> Error {
        Error::damaged(&self.path, u64::from(offset), damage)
    }
}
