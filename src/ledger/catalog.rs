use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Damage, Error, Result};
use crate::format::identity::Identity;
use crate::format::key;
use crate::format::trailer::Trailer;
use crate::ledger::classes::{
    AUDIT_STREAM, BASE_STREAMS, RUN_STREAMS, RUNS, STREAM_KINDS, StreamSet,
};
use crate::ledger::layout::Layout;
use crate::ledger::spares::Spares;
use crate::model::Kind;
use crate::query::{Ends, SegmentList};
use crate::segment::{FRAMES_START, Name, Segment};
use crate::storage::{DirEntry, OpenMode, Storage};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLock};

/// The segments of all streams, as they are known now.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) layout: Layout,
    /// The seed of the hash function of indexes: one for all that are made of this ledger, so that
    /// a key is looked up in many footers by one hash.
    pub(super) seed: u64,
    streams: [RwLock<Arc<SegmentList>>; STREAM_KINDS.len()],
    /// The streams that have, or had, a segment.
    in_use: AtomicU32,
    /// Counts the segments that took the place of others.
    replaced: AtomicU64,
    /// Files that cannot be read as segments, and why.
    unreadable: Mutex<Vec<Unreadable>>,
    /// The memory of indexes that footers have taken the place of.
    pub(super) spares: Spares,
}

/// A segment file that cannot be read at all.
#[derive(Debug, Clone)]
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    /// The place of its stream among the streams.
    pub(super) stream: usize,
    /// The first sequence number that its name tells.
    pub(super) first_seq: u64,
    pub(super) reason: Arc<Error>,
}

impl Unreadable {
    /// True when it could be read, and is damaged; false when the operating system refused.
    pub(super) fn is_damaged(&self) -> bool {
        matches!(*self.reason, Error::Damaged { .. })
    }
}

impl Catalog {
    /// A catalog of no segments yet, of the ledger with this identity; `None` when that is lost.
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        layout: Layout,
        identity: Option<&Identity>,
    ) -> Self {
        let seed = identity.map_or(0, |identity| key::hash(0, &identity.uuid));
        let streams = std::array::from_fn(|_| RwLock::default());
        let in_use = AtomicU32::new(BASE_STREAMS.bits());
        let (replaced, unreadable) = (AtomicU64::new(0), Mutex::default());
        let spares = Spares::default();
        let catalog = Self { storage, layout, seed, streams, in_use, replaced, unreadable, spares };
        catalog.go_on_with_lists_of_runs();
        catalog
    }

    /// The segments of a stream as they are now.
    pub(super) fn list(&self, stream: usize) -> Arc<SegmentList> {
        self.streams.get(stream).map(|list| Arc::clone(&list.read())).unwrap_or_default()
    }

    /// The segments of a stream, in the order of their sequence numbers.
    pub(super) fn stream(&self, stream: usize) -> Vec<Arc<Segment>> {
        self.list(stream).segments().cloned().collect()
    }

    /// The streams of every ledger, and those besides that have, or had, a segment.
    pub(super) fn in_use(&self) -> StreamSet {
        StreamSet::from_bits(self.in_use.load(Ordering::Acquire))
    }

    fn note_in_use(&self, stream: usize) {
        if !self.in_use().contains(stream) {
            self.in_use.fetch_or(StreamSet::of_one(stream).bits(), Ordering::AcqRel);
        }
    }

    /// The streams that have a directory.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory of the streams cannot be listed.
    pub(super) fn directories(&self) -> Result<StreamSet> {
        let mut there = StreamSet::NONE;
        let dir = self.layout.streams();
        if self.storage.exists(&dir)? {
            let names: Vec<_> = self.storage.list(&dir)?.into_iter().map(|it| it.name).collect();
            let is_there = |name: &str| names.iter().any(|other| other == name);
            let named = STREAM_KINDS.iter().enumerate().filter(|(_, (name, _))| is_there(name));
            named.for_each(|(stream, _)| there.insert(stream));
        }
        Ok(there)
    }

    /// The segments that hold runs, events and errors, as they were at one time: the states of a
    /// run, which may lie in several streams, are taken out of them one after the other.
    pub(super) fn records(&self) -> Vec<Arc<SegmentList>> {
        loop {
            let before = self.replaced.load(Ordering::Acquire);
            let streams = self.in_use().without(AUDIT_STREAM);
            let lists = streams.map(|stream| self.list(stream)).collect();
            // With a stream that began in between, the lists that were taken after it show runs as
            // overtaken whose newest states lie in it.
            let is_all = self.in_use().without(AUDIT_STREAM) == streams;
            if is_all && self.replaced.load(Ordering::Acquire) == before {
                return lists;
            }
        }
    }

    /// The segments of all streams.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.in_use().flat_map(|stream| self.stream(stream)).collect()
    }

    /// The segments, one of each stream at the most, in which a record with this number may lie.
    pub(super) fn holders(&self, seq: u64) -> Vec<Arc<Segment>> {
        let lists = self.in_use().filter_map(|stream| self.streams.get(stream));
        lists.filter_map(|list| list.read().holder(seq).cloned()).collect()
    }

    /// True when there is a state of a run with this number.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(super) fn holds_state(&self, seq: u64) -> Result<bool> {
        let mut held = RUN_STREAMS.of(&self.streams).filter_map(|list| {
            let holder = list.read().holder(seq).cloned()?;
            Some(holder.holds_any(&[seq]))
        });
        held.try_fold(false, |any, holds| Ok(any || holds?))
    }

    /// True when there is a state of a run with this number, or may be one in a segment that cannot
    /// be read.
    ///
    /// # Errors
    /// As for [`Catalog::holds_state`].
    pub(super) fn may_hold_state(&self, seq: u64) -> Result<bool> {
        Ok(self.may_come_back(seq) || self.holds_state(seq)?)
    }

    /// True when there may be a state of a run with this number in a segment that cannot be read.
    pub(super) fn may_come_back(&self, seq: u64) -> bool {
        let may_hold = |it: &Unreadable| {
            let is_after = |holder: &Arc<Segment>| holder.first_seq() >= it.first_seq;
            RUN_STREAMS.contains(it.stream)
                && it.first_seq <= seq
                && !self.list(it.stream).holder(seq).is_some_and(is_after)
        };
        self.unreadable().iter().any(may_hold)
    }

    pub(super) fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable.lock().clone()
    }

    /// An error when a segment of one of these streams cannot be read: what it holds is unknown.
    ///
    /// # Errors
    /// [`Error::Damaged`], which names the first of them.
    pub(super) fn check_readable(&self, streams: StreamSet) -> Result<()> {
        let unreadable = self.unreadable.lock();
        match unreadable.iter().find(|it| streams.contains(it.stream)) {
            Some(it) => Err(Error::damaged(&it.path, 0, Damage::Unreadable)),
            None => Ok(()),
        }
    }

    /// The trailer of a segment that could not be read, when it can be now.
    pub(super) fn look_again(&self, unreadable: &Unreadable) -> Option<Trailer> {
        let (name, kind) = STREAM_KINDS.get(unreadable.stream)?;
        self.open_segment(&unreadable.path, *kind, name, OpenMode::Read).ok()?.trailer()
    }

    /// The first sequence numbers that the names of the unreadable segments of a stream tell.
    pub(super) fn unreadable_of(&self, stream: usize) -> Vec<u64> {
        let noted = self.unreadable.lock();
        noted.iter().filter(|it| it.stream == stream).map(|it| it.first_seq).collect()
    }

    /// Adds a segment that was just made at the end of a stream.
    pub(super) fn add(&self, stream: usize, segment: Arc<Segment>) {
        let is_of_runs = RUN_STREAMS.contains(stream);
        if is_of_runs {
            self.end_lists_of_runs(segment.first_seq());
        }
        self.note_in_use(stream);
        if let Some(list) = self.streams.get(stream) {
            Arc::make_mut(&mut list.write()).push(segment);
        }
        if is_of_runs {
            self.go_on_with_lists_of_runs();
        }
    }

    /// Forgets a segment that is about to be removed.
    pub(super) fn forget(&self, stream: usize, first_seq: u64) {
        if let Some(list) = self.streams.get(stream) {
            Arc::make_mut(&mut list.write()).remove(first_seq);
        }
    }

    /// Puts a segment in the place of neighbours, or nothing. Queries that have begun go on with
    /// those.
    pub(super) fn replace(&self, stream: usize, old: &[Arc<Segment>], new: Option<&Arc<Segment>>) {
        let Some(list) = self.streams.get(stream) else { return };
        // Held to the end: who marks a record as overtaken finds it in the old or in the new one.
        let mut list = list.write();
        self.replaced.fetch_add(1, Ordering::AcqRel);
        if let Some(new) = new {
            new.take_over(old);
        }
        let mut segments: Vec<_> = list.segments().cloned().collect();
        segments.retain(|segment| !old.iter().any(|it| Arc::ptr_eq(it, segment)));
        segments.extend(new.cloned());
        segments.sort_by_key(|segment| segment.first_seq());
        *list = Arc::new(list.renewed(segments));
    }

    /// What cannot be read, to be brought up to date.
    pub(super) fn unreadable_now(&self) -> MutexGuard<'_, Vec<Unreadable>> {
        self.unreadable.lock()
    }

    /// Has a stream be these segments.
    pub(super) fn renew(&self, stream: usize, segments: Vec<Arc<Segment>>) {
        if !segments.is_empty() {
            self.note_in_use(stream);
        }
        if let Some(list) = self.streams.get(stream) {
            let mut list = list.write();
            *list = Arc::new(list.renewed(segments));
        }
    }

    /// Has the lists of runs that there are show nothing from this sequence number on: a segment
    /// with it is about to be added to one of them.
    pub(super) fn end_lists_of_runs(&self, first_seq: u64) {
        if let Some(list) = self.streams.get(RUNS) {
            list.read().ends().note(first_seq);
        }
    }

    /// Has the lists of runs from now on show all that they have: the segment is in.
    pub(super) fn go_on_with_lists_of_runs(&self) {
        let ends = Ends::default();
        for list in RUN_STREAMS.of(&self.streams) {
            Arc::make_mut(&mut list.write()).set_ends(&ends);
        }
    }

    /// The names of the segment files in a directory, in their order.
    pub(super) fn list_segments(&self, dir: &Path) -> Result<Vec<Name>> {
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
    pub(super) fn half_made(&self, path: &Path) -> Result<Option<DirEntry>> {
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

    /// Opens a segment file of this stream.
    ///
    /// # Errors
    /// As for [`Segment::open`]; a file that was put in another's place is damaged.
    pub(super) fn open_segment(
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
            return Err(Error::damaged(path, 0, Damage::HeaderChecksum));
        }
        Ok(segment)
    }

    /// Marks a run's record in this stream as overtaken by one of another segment.
    pub(super) fn mark_superseded(&self, stream: usize, seq: u64, by: u64) {
        let list = self.streams.get(stream).map(RwLock::read);
        if let Some(segment) = list.as_ref().and_then(|list| list.holder(seq)) {
            segment.mark_superseded(seq, by);
        }
    }
}

/// True when the other files may be fine: then they are served. A process that is out of memory or
/// of file descriptors is not.
pub(crate) fn is_of_one_file(err: &Error) -> bool {
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
