use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::identity::Identity;
use crate::format::key;
use crate::format::trailer::Trailer;
use crate::ledger::layout::{AUDIT_STREAM, Layout, STREAM_KINDS, stream_of};
use crate::model::Kind;
use crate::query::SegmentList;
use crate::segment::{FRAMES_START, Name, Segment};
use crate::storage::{DirEntry, OpenMode, Storage};
use crate::sync::{Mutex, RwLock};

/// The segments of all streams, as they are known now.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) layout: Layout,
    /// The seed of the hash function of indexes: one for all that are made of this ledger, so that
    /// a key is looked up in many footers by one hash.
    pub(crate) seed: u64,
    streams: [RwLock<Arc<SegmentList>>; STREAM_KINDS.len()],
    /// Files that cannot be read as segments, and why.
    unreadable: Mutex<Vec<Unreadable>>,
}

/// How often a stream is looked at while segments vanish under the look: a clean-up that drops
/// thousands takes that long.
const LOOKS: usize = 100;

/// A segment file that cannot be read at all.
#[derive(Debug, Clone)]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    /// The place of its stream among the streams.
    pub(crate) stream: usize,
    /// The first sequence number that its name tells.
    pub(crate) first_seq: u64,
    pub(crate) reason: Arc<Error>,
}

impl Unreadable {
    /// True when it could be read, and is damaged; false when the operating system refused.
    pub(crate) fn is_damaged(&self) -> bool {
        matches!(*self.reason, Error::Damaged { .. })
    }
}

impl Catalog {
    /// A catalog of no segments yet, of the ledger with this identity; `None` when that is lost.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        layout: Layout,
        identity: Option<&Identity>,
    ) -> Self {
        let seed = identity.map_or(0, |identity| key::hash(0, &identity.uuid));
        let streams = std::array::from_fn(|_| RwLock::default());
        Self { storage, layout, seed, streams, unreadable: Mutex::default() }
    }

    /// The segments of a stream as they are now.
    pub(crate) fn list(&self, stream: usize) -> Arc<SegmentList> {
        self.streams.get(stream).map(|list| Arc::clone(&list.read())).unwrap_or_default()
    }

    /// The segments of a stream, in the order of their sequence numbers.
    pub(crate) fn stream(&self, stream: usize) -> Vec<Arc<Segment>> {
        self.list(stream).segments().cloned().collect()
    }

    /// The segments that hold runs, events and errors.
    pub(crate) fn records(&self) -> Vec<Arc<SegmentList>> {
        (0..AUDIT_STREAM).map(|stream| self.list(stream)).collect()
    }

    /// The segments of all streams.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        (0..STREAM_KINDS.len()).flat_map(|stream| self.stream(stream)).collect()
    }

    /// The segments, one of each stream at the most, in which a record with this number may lie.
    pub(crate) fn holders(&self, seq: u64) -> Vec<Arc<Segment>> {
        self.streams.iter().filter_map(|list| list.read().holder(seq).cloned()).collect()
    }

    pub(crate) fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable.lock().clone()
    }

    /// The trailer of a segment that could not be read, when it can be now.
    pub(crate) fn look_again(&self, unreadable: &Unreadable) -> Option<Trailer> {
        let (name, kind) = STREAM_KINDS.get(unreadable.stream)?;
        self.open_segment(&unreadable.path, *kind, name, OpenMode::Read).ok()?.trailer()
    }

    /// The first sequence numbers that the names of the unreadable segments of a stream tell.
    pub(crate) fn unreadable_of(&self, stream: usize) -> Vec<u64> {
        let noted = self.unreadable.lock();
        noted.iter().filter(|it| it.stream == stream).map(|it| it.first_seq).collect()
    }

    /// Adds a segment that was just made at the end of a stream.
    pub(crate) fn add(&self, stream: usize, segment: Arc<Segment>) {
        if let Some(list) = self.streams.get(stream) {
            Arc::make_mut(&mut list.write()).push(segment);
        }
    }

    /// Forgets a segment that is about to be removed.
    pub(crate) fn forget(&self, stream: usize, first_seq: u64) {
        if let Some(list) = self.streams.get(stream) {
            Arc::make_mut(&mut list.write()).remove(first_seq);
        }
    }

    /// Puts a segment in the place of neighbours, or nothing. Queries that have begun go on with
    /// those.
    pub(crate) fn replace(&self, stream: usize, old: &[Arc<Segment>], new: Option<&Arc<Segment>>) {
        let Some(list) = self.streams.get(stream) else { return };
        // Held to the end: who marks a record as overtaken finds it in the old or in the new one.
        let mut list = list.write();
        if let Some(new) = new {
            new.take_over(old);
        }
        let mut segments: Vec<_> = list.segments().cloned().collect();
        segments.retain(|segment| !old.iter().any(|it| Arc::ptr_eq(it, segment)));
        segments.extend(new.cloned());
        segments.sort_by_key(|segment| segment.first_seq());
        *list = Arc::new(list.renewed(segments));
    }

    /// Brings the catalog up to date with the directory: new segments are opened, known ones that
    /// are still written are followed, and those that are gone are forgotten.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] or [`Error::Io`]. A damaged segment is no error: it is noted.
    pub(crate) fn refresh(&self, mode: OpenMode) -> Result<()> {
        // Held to the end: of two that look at once, the later look must not be undone.
        let mut noted = self.unreadable.lock();
        let mut unreadable = Vec::new();
        for stream in 0..STREAM_KINDS.len() {
            for _ in 0..LOOKS {
                let before = unreadable.len();
                if self.refresh_stream(stream, mode, &mut unreadable)? {
                    break;
                }
                unreadable.truncate(before);
            }
        }
        *noted = unreadable;
        Ok(())
    }

    /// False when segments vanished during the look: a listing takes a while, and so does opening.
    /// What was seen then may have gaps, as there never were.
    fn refresh_stream(
        &self,
        stream: usize,
        mode: OpenMode,
        unreadable: &mut Vec<Unreadable>,
    ) -> Result<bool> {
        let (Some((name, kind)), Some(list)) = (STREAM_KINDS.get(stream), self.streams.get(stream))
        else {
            return Ok(true);
        };
        let dir = self.layout.stream(name);
        let before = self.list(stream);
        let known: Vec<_> = before.segments().cloned().collect();
        let mut current = Vec::with_capacity(known.len());
        let mut new = Vec::new();
        let mut is_whole = true;
        let listed = self.list_segments(&dir)?;
        let mut left = VecDeque::from(standing(&listed));
        while let Some(file) = left.pop_front() {
            let (first_seq, path) = (file.first_seq, dir.join(file.to_string()));
            match holder(&known, first_seq).filter(|segment| segment.name() == file) {
                Some(segment) if segment.is_sealed() => current.push(Arc::clone(segment)),
                Some(segment) => {
                    // What it takes the place of counts for queries that see what comes now.
                    let by = segment.last_seq().saturating_add(1);
                    let last_seq = segment.follow()?;
                    current.push(Arc::clone(segment));
                    new.push((Arc::clone(segment), by, last_seq));
                }
                None => match self.open_segment(&path, *kind, name, mode) {
                    Ok(segment) => {
                        let segment = Arc::new(segment);
                        current.push(Arc::clone(&segment));
                        let last_seq = segment.last_seq();
                        new.push((segment, first_seq, last_seq));
                    }
                    // Retention may have removed it since the listing.
                    Err(_) if !self.storage.exists(&path)? => is_whole = false,
                    Err(reason) if is_of_one_file(&reason) => {
                        let reason = Arc::new(reason);
                        unreadable.push(Unreadable { path, stream, first_seq, reason });
                        // Those whose place it took may still be there.
                        let replaced = listed.iter().copied().filter(|other| file.replaces(other));
                        for other in standing(&replaced.collect::<Vec<_>>()).into_iter().rev() {
                            left.push_front(other);
                        }
                    }
                    Err(err) => return Err(err),
                },
            }
        }
        if *kind == Kind::Run {
            mark_overtaken(&current, &new)?;
        }
        new.iter().for_each(|(segment, _, last_seq)| segment.publish(*last_seq));
        *list.write() = Arc::new(before.renewed(current));
        let is_steady = known.iter().all(|known| listed.binary_search(&known.name()).is_ok());
        if is_whole && (known.is_empty() || !is_steady) {
            // What was added at the end meanwhile is for the next look; what else has changed was
            // perhaps seen in part, and a compacted segment not at all.
            let again = self.list_segments(&dir)?;
            is_whole = again.starts_with(&listed);
        }
        Ok(is_whole)
    }

    /// The names of the segment files in a directory, in their order.
    pub(crate) fn list_segments(&self, dir: &Path) -> Result<Vec<Name>> {
        if !self.storage.exists(dir)? {
            return Ok(Vec::new());
        }
        let entries = self.storage.list(dir)?.into_iter();
        let mut names: Vec<_> = entries.filter_map(|entry| Name::parse(&entry.name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The entry of this segment file, when a crash may have left it half-made: when nothing tells
    /// that a segment after it in its stream was ever synced. Whoever syncs a segment has synced
    /// those before it.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub(crate) fn half_made(&self, path: &Path) -> Result<Option<DirEntry>> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let was_synced =
            |later: &Segment| later.is_sealed() || later.findings().synced > FRAMES_START;
        let is_later = |other: &Path| other.parent() == Some(dir) && other.file_name() > Some(name);
        if self.all().iter().any(|segment| is_later(segment.path()) && was_synced(segment)) {
            return Ok(None);
        }
        let entries = self.storage.list(dir)?;
        Ok(entries.into_iter().find(|entry| path.ends_with(&entry.name)))
    }

    fn open_segment(
        &self,
        path: &Path,
        kind: Kind,
        stream: &str,
        mode: OpenMode,
    ) -> Result<Segment> {
        let segment = match Segment::open(&self.storage, path, mode, self.seed) {
            // A file of another owner can be served, unless it is still to be written.
            Err(denied) if mode == OpenMode::Write && is_denied(&denied) => {
                let segment = Segment::open(&self.storage, path, OpenMode::Read, self.seed);
                segment.ok().filter(Segment::is_sealed).ok_or(denied)?
            }
            opened => opened?,
        };
        let header = segment.header();
        let name = segment.name();
        let is_its = header.first_seq == name.first_seq && header.covers == name.covers();
        if header.kind != kind || header.stream != stream || !is_its {
            // A file that was put in another's place.
            return Err(Error::damaged(path, 0, crate::error::Damage::HeaderChecksum));
        }
        Ok(segment)
    }

    /// Marks a run's record as overtaken by this one in a later segment.
    pub(crate) fn mark_superseded(&self, seq: u64, by: u64) {
        if let Some(runs) = self.streams.get(stream_of(Kind::Run)) {
            mark(runs.read().holder(seq), seq, by);
        }
    }
}

/// True when the other files may be fine: then they are served. A process that is out of memory or
/// of file descriptors is not.
fn is_of_one_file(err: &Error) -> bool {
    match err {
        Error::Damaged { .. } => true,
        Error::Io { source, .. } => !matches!(
            Errno::from_io_error(source),
            None | Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR)
        ),
        _ => false,
    }
}

fn is_denied(err: &Error) -> bool {
    matches!(err, Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}

/// Those of these names, which are in their order, that no other takes the place of.
pub(super) fn standing(names: &[Name]) -> Vec<Name> {
    let mut standing: Vec<Name> = Vec::with_capacity(names.len());
    for name in names {
        // What takes the place of several may come after the first of them.
        while standing.pop_if(|last| name.replaces(last)).is_some() {}
        if standing.last().is_none_or(|last| !last.replaces(name)) {
            standing.push(*name);
        }
    }
    standing
}

/// Marks the records of runs whose place is taken by others of segments after theirs, where one of
/// the two is new. The new ones come with the sequence number from which on that counts.
fn mark_overtaken(current: &[Arc<Segment>], new: &[(Arc<Segment>, u64, u64)]) -> Result<()> {
    for (segment, by, _) in new {
        for seq in segment.supersedes()? {
            mark(holder(current, seq), seq, *by);
        }
    }
    let compacted: Vec<_> =
        new.iter().map(|(new, ..)| new).filter(|new| new.name().is_compacted()).collect();
    if compacted.is_empty() {
        return Ok(());
    }
    // Of a segment that took the place of others all is new, also what was known of those.
    let is_of = |it: &&Arc<Segment>| compacted.iter().any(|new| Arc::ptr_eq(new, it));
    for segment in current {
        for seq in segment.supersedes()? {
            mark(holder(current, seq).filter(is_of), seq, segment.first_seq());
        }
    }
    Ok(())
}

fn mark(segment: Option<&Arc<Segment>>, seq: u64, by: u64) {
    if let Some(segment) = segment {
        segment.mark_superseded(seq, by);
    }
}

/// The segment of a stream in which a record with this sequence number would lie.
fn holder(segments: &[Arc<Segment>], seq: u64) -> Option<&Arc<Segment>> {
    let after = segments.partition_point(|segment| segment.first_seq() <= seq);
    segments.get(after.checked_sub(1)?)
}
