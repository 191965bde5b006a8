//! Sealing the segments that are full: those of one stream one after the other, as each names the
//! one before it, and those of several streams side by side, as far as there are hands.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::classes::{RUN_STREAMS, StreamSet};
use crate::ledger::handle::Inner;
use crate::ledger::maintain::Maintenance;
use crate::ledger::panics::telling_of_panic;
use crate::segment::Segment;

/// How many segments may wait for their footer before the append that fills another one seals one
/// first: a crash has those that wait to be read again, and a query makes their indexes in memory.
const MOST_UNSEALED: usize = 8;

/// Segments that are full.
#[derive(Debug, Default)]
pub(super) struct Full {
    /// With the number of their stream, in the order of their ends.
    segments: VecDeque<(usize, Arc<Segment>)>,
    /// Those that are being sealed.
    at_work: Vec<(usize, Arc<Segment>)>,
    /// The streams of which one has to wait: the disk has no room for its footer, or a note has to
    /// come before it.
    waiting: StreamSet,
    /// The streams of which segments are being dropped: none is sealed.
    held: StreamSet,
}

/// A segment that is being sealed: no other one of its stream is until this is dropped.
pub(super) struct Sealing<'a> {
    maintenance: &'a Maintenance,
    stream: usize,
    segment: Arc<Segment>,
}

/// Streams of which no segment is sealed until this is dropped.
pub(super) struct Held<'a>(&'a Maintenance);

impl Full {
    /// Adds one. Those before it that had to wait are tried again.
    pub(super) fn push(&mut self, stream: usize, segment: Arc<Segment>) {
        self.segments.push_back((stream, segment));
        self.waiting = lane(stream).fold(self.waiting, StreamSet::without);
    }

    /// Takes the first one of a stream of which none is being sealed or has to wait.
    fn take(&mut self) -> Option<(usize, Arc<Segment>)> {
        let next = self.segments.iter().position(|&(stream, _)| self.is_free(stream))?;
        let taken = self.segments.remove(next)?;
        self.at_work.push(taken.clone());
        Some(taken)
    }

    fn is_free(&self, stream: usize) -> bool {
        let lane = lane(stream);
        !self.waits(stream) && !self.at_work.iter().any(|&(at_work, _)| lane.contains(at_work))
    }

    fn waits(&self, stream: usize) -> bool {
        !lane(stream).and(self.waiting.or(self.held)).is_empty()
    }

    fn ended(&mut self, segment: &Arc<Segment>) {
        self.at_work.retain(|(_, other)| !Arc::ptr_eq(other, segment));
    }

    /// Has all be tried that had to wait.
    pub(super) fn try_again(&mut self) {
        self.waiting = StreamSet::NONE;
    }

    /// Takes all that are not being sealed.
    pub(super) fn take_all(&mut self) -> VecDeque<(usize, Arc<Segment>)> {
        std::mem::take(&mut self.segments)
    }

    /// True when there is one that can be sealed at once.
    pub(super) fn is_due(&self) -> bool {
        self.segments.iter().any(|&(stream, _)| self.is_free(stream))
    }

    /// True while one that began before this sequence number is being sealed, or can be.
    fn is_due_before(&self, seq: u64) -> bool {
        let due = self.segments.iter().filter(|(stream, _)| !self.waits(*stream));
        due.chain(&self.at_work).any(|(_, segment)| segment.first_seq() < seq)
    }

    /// True while one of these streams that began before this sequence number has no footer.
    pub(super) fn has_before(&self, seq: u64, streams: StreamSet) -> bool {
        let mut all = self.segments.iter().chain(&self.at_work);
        all.any(|(stream, segment)| streams.contains(*stream) && segment.first_seq() < seq)
    }

    fn is_long(&self) -> bool {
        self.segments.len() > MOST_UNSEALED
    }
}

impl Sealing<'_> {
    /// Puts the segment back, and has those of its stream wait.
    fn has_to_wait(&self) {
        self.maintenance.change_full(|full| {
            full.segments.push_front((self.stream, Arc::clone(&self.segment)));
            full.waiting.insert(self.stream);
        });
    }
}

impl Drop for Sealing<'_> {
    fn drop(&mut self) {
        self.maintenance.change_full(|full| full.ended(&self.segment));
        self.maintenance.wake.notify_one();
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.change_full(|full| full.held = StreamSet::NONE);
        self.0.wake.notify_one();
    }
}

impl Maintenance {
    /// Notes a segment to be sealed.
    pub(super) fn note_full(&self, stream: usize, segment: Arc<Segment>) {
        self.change_full(|full| full.push(stream, segment));
        self.wake.notify_one();
    }

    /// Takes a segment that is dropped off the list.
    pub(super) fn forget(&self, segment: &Arc<Segment>) {
        self.change_full(|full| full.segments.retain(|(_, other)| !Arc::ptr_eq(other, segment)));
    }

    /// Keeps the segments of these streams from being sealed, and waits for the one that just is.
    /// Who calls this has the right to drop segments, which one has at a time.
    pub(super) fn hold(&self, streams: StreamSet) -> Held<'_> {
        let lanes = streams.map(lane).fold(StreamSet::NONE, StreamSet::or);
        let held = Held(self);
        let mut state = self.state.lock();
        state.full.held = lanes;
        while state.full.at_work.iter().any(|&(stream, _)| lanes.contains(stream)) {
            state = self.sealed.wait(state);
        }
        held
    }

    /// The next segment to be sealed, once there is none before it in its stream that still is.
    /// None when all are or have to wait, when the list says that it no longer `goes_on`, or when
    /// the writer `is_poisoned`.
    fn next_full(
        &self,
        goes_on: impl Fn(&Full) -> bool,
        is_poisoned: impl Fn() -> bool,
    ) -> Option<Sealing<'_>> {
        let mut state = self.state.lock();
        loop {
            if is_poisoned() {
                state.full.segments.clear();
                return None;
            }
            if !goes_on(&state.full) {
                return None;
            }
            if let Some((stream, segment)) = state.full.take() {
                return Some(Sealing { maintenance: self, stream, segment });
            }
            if state.full.at_work.is_empty() {
                return None;
            }
            state = self.sealed.wait(state);
        }
    }
}

/// The streams of which one segment is sealed at a time: those of runs together, as a footer of one
/// vouches for states in the others.
fn lane(stream: usize) -> StreamSet {
    match RUN_STREAMS.contains(stream) {
        true => RUN_STREAMS,
        false => StreamSet::of_one(stream),
    }
}

impl Inner {
    /// Seals the segments that are full by now, and waits for those that another thread seals. One
    /// that there is no space for stays as it is, to be tried again, and so does one that passes
    /// over another without a note of it; those of other streams do not wait for it.
    pub(super) fn seal_full(&self) {
        self.maintenance.change_full(Full::try_again);
        let now = self.sequence.peek();
        while self.seal_next(|full| full.is_due_before(now)) {}
    }

    /// Seals segments, or waits for those that another thread seals, as long as too many wait.
    /// An append does this, so that it is one segment that it waits for, and not all.
    pub(super) fn seal_surplus(&self) {
        while self.seal_next(Full::is_long) {}
    }

    /// Seals the next segment, as long as the list `goes_on`. False when there is none.
    pub(super) fn seal_next(&self, goes_on: impl Fn(&Full) -> bool) -> bool {
        let is_poisoned = || self.check_poisoned().is_err();
        // A sync that failed may have been that of their frames, and a second one would succeed all
        // the same: a footer must not vouch for them. The next opening sees.
        let Some(next) = self.maintenance.next_full(goes_on, is_poisoned) else { return false };
        let seal = || self.seal(next.stream, &next.segment);
        // The segment is on no list any more: a clean close would leave half a footer in it.
        let stop = || self.poison("a segment was sealed, which ended in a panic");
        match telling_of_panic(seal, stop) {
            Ok(true) => {}
            Ok(false) => {
                next.has_to_wait();
                // The thread writes the note.
                self.maintenance.note_due();
            }
            Err(Error::NoSpace { .. }) => next.has_to_wait(),
            Err(err) => self.poison(&err),
        }
        true
    }

    /// False when it has to wait for a note.
    fn seal(&self, stream: usize, segment: &Segment) -> Result<bool> {
        let list = self.catalog.list(stream);
        let Some(previous) = self.link_before(stream, segment) else { return Ok(false) };
        self.sequence.unclose()?;
        self.sync_before_sealing(stream)?;
        let index = segment.seal(previous)?;
        // The thread beside the appends gives it back in a quiet moment; without it none is kept.
        if let Some(index) = index.filter(|_| self.options.background) {
            self.catalog.spares.keep(stream, index);
            self.maintenance.note_due();
        }
        list.enter_sealed(segment);
        Ok(true)
    }

    /// Syncs the open segments of the other streams of runs before one of a stream of runs is
    /// sealed: a footer vouches for states that follow those. No lock of a stream is taken, which
    /// the one who seals may hold.
    fn sync_before_sealing(&self, stream: usize) -> Result<()> {
        let runs = self.catalog.in_use().and(RUN_STREAMS);
        if !runs.contains(stream) {
            return Ok(());
        }
        for other in runs.without(stream) {
            let segments = self.catalog.stream(other);
            for segment in segments.iter().filter(|segment| !segment.is_sealed()) {
                segment.sync()?;
            }
            if let Some(stream) = self.streams.get(other) {
                self.options.storage.sync_dir(&stream.dir)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::ledger::classes::RUNS;
    use crate::ledger::{Durability, Ledger, Options};
    use crate::model::{Event, Id, Kind, Run, Status};

    const EVENTS: usize = 1;
    const ERRORS: usize = 2;
    const PENDING_RUNS: usize = 4;

    fn ledger(dir: &std::path::Path) -> (Ledger, Arc<Segment>) {
        let ledger = Options::new().background(false).open(dir).unwrap();
        ledger.append(Event::new("e")).unwrap();
        let segment = ledger.inner.streams[EVENTS].lock().segment.clone().unwrap();
        (ledger, segment)
    }

    #[test]
    fn segments_of_several_streams_are_sealed_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let (_ledger, segment) = ledger(dir.path());
        let mut full = Full::default();
        for stream in [EVENTS, EVENTS, ERRORS, RUNS, PENDING_RUNS] {
            full.push(stream, Arc::clone(&segment));
        }
        let take = |full: &mut Full| full.take().map(|(stream, _)| stream);
        assert_eq!(
            [(); 4].map(|()| take(&mut full)),
            [Some(EVENTS), Some(ERRORS), Some(RUNS), None]
        );
        let end = |full: &mut Full, stream| full.at_work.retain(|&(at, _)| at != stream);
        end(&mut full, RUNS);
        assert_eq!([(); 2].map(|()| take(&mut full)), [Some(PENDING_RUNS), None]);
        end(&mut full, EVENTS);
        assert_eq!([(); 2].map(|()| take(&mut full)), [Some(EVENTS), None]);
    }

    #[test]
    fn who_seals_waits_for_one_of_the_same_stream_and_until_all_are() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, segment) = ledger(dir.path());
        let maintenance = &ledger.inner.maintenance;
        maintenance.note_full(EVENTS, Arc::clone(&segment));
        maintenance.note_full(EVENTS, segment);
        let first = maintenance.next_full(|_| true, || false);
        assert!(first.is_some());
        let (told, taken) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(sealing) = maintenance.next_full(|_| true, || false) {
                    told.send(Some(sealing.stream)).unwrap();
                }
                told.send(None).unwrap();
            });
            assert!(taken.recv_timeout(Duration::from_millis(50)).is_err(), "beside the first");
            drop(first);
            let wait = Duration::from_secs(20);
            assert_eq!(taken.recv_timeout(wait), Ok(Some(EVENTS)));
            assert_eq!(taken.recv_timeout(wait), Ok(None));
        });
        assert!(!maintenance.change_full(|full| full.has_before(u64::MAX, StreamSet::ALL)));
    }

    /// The append that filled the ninth segment sealed all nine: at ten million records, where the
    /// background thread had fallen behind, one append took 1.3 seconds.
    #[test]
    fn an_append_seals_only_as_many_segments_as_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().segment_bytes(64 << 10).open(dir.path()).unwrap();
        let Inner { catalog, maintenance, .. } = &*ledger.inner;
        maintenance.stop();
        let waiting = || maintenance.change_full(|full| full.segments.len());
        while catalog.stream(EVENTS).len() < MOST_UNSEALED + 5 {
            ledger.append(Event::new("e").message("x".repeat(2000))).unwrap();
            assert_eq!(waiting(), MOST_UNSEALED.min(catalog.stream(EVENTS).len() - 1));
        }
        ledger.inner.seal_full();
        assert_eq!(waiting(), 0);
    }

    /// A bulk load grows an index in the memory of the one before it, which counts as the stream's
    /// until a quiet moment; no memory is kept where nothing would give it back.
    #[test]
    fn the_memory_of_an_index_is_kept_while_segments_follow_one_another() {
        let kept = |ledger: &Ledger| ledger.inner.catalog.spares.memory(EVENTS);
        let fill = |ledger: &Ledger| {
            let segments = || ledger.inner.catalog.stream(EVENTS).len();
            let before = segments();
            while segments() == before {
                ledger.append(Event::new("e").message("x".repeat(2000))).unwrap();
            }
        };
        let options = || Options::new().segment_bytes(64 << 10);
        for background in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let ledger = options().background(background).open(dir.path()).unwrap();
            // Nothing is given back beside the appends.
            ledger.inner.maintenance.stop();
            (0..2).for_each(|_| fill(&ledger));
            ledger.inner.seal_full();
            assert_eq!(kept(&ledger) > 0, background);
            let of_segments = || -> usize {
                let segments = ledger.inner.catalog.stream(EVENTS);
                segments.iter().map(|it| it.overview().unwrap().index_memory).sum()
            };
            let stats = ledger.reader().stats().unwrap();
            let events = stats.streams.iter().find(|stream| stream.name == "events").unwrap();
            assert!(events.index_memory >= (of_segments() + kept(&ledger)) as u64);
            let before = kept(&ledger);
            fill(&ledger);
            assert_eq!(kept(&ledger), 0, "it is the new segment's");
            assert!(of_segments() >= before);
            ledger.inner.seal_full();
            ledger.close().unwrap();
            assert_eq!(kept(&ledger), 0);
        }
        let dir = tempfile::tempdir().unwrap();
        let ledger = options().open(dir.path()).unwrap();
        (0..3).for_each(|_| fill(&ledger));
        ledger.inner.seal_full();
        let is_given_back = || {
            std::thread::sleep(Duration::from_millis(5));
            kept(&ledger) == 0
        };
        assert!((0..4000).any(|_| is_given_back()), "no moment is quiet enough");
    }

    /// With one or two sealed segments of runs, the footer of each was searched for every run that
    /// began: at ten million records it took a tenth of the appends' time.
    #[test]
    fn a_sealed_segment_of_runs_need_not_be_searched_for_a_run_that_begins() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().background(false).segment_bytes(64 << 10);
        let ledger = options.open(dir.path()).unwrap();
        let run = |id: u32, status| Run::new(format!("run-{id}"), "t", status).unwrap();
        let filter_memory = |stream| ledger.inner.catalog.list(stream).filter_memory();
        let mut begun = 0;
        while ledger.inner.catalog.stream(RUNS).len() < 2 {
            assert_eq!(filter_memory(RUNS), 0, "nothing is sealed");
            ledger.append_batch(&[run(begun, Status::Running).into()], Durability::Os).unwrap();
            ledger.append(Event::new("e").message("x".repeat(100))).unwrap();
            begun += 1;
        }
        assert!(filter_memory(RUNS) > 0);
        assert_eq!(filter_memory(EVENTS), 0);
        let batch: Vec<_> = (0..2 * begun).map(|id| run(id, Status::Success).into()).collect();
        ledger.append_batch(&batch, Durability::Os).unwrap();
        assert_eq!(ledger.query().kind(Kind::Run).count().unwrap(), 2 * u64::from(begun));
        let ended = ledger.query().run("run-0").history(true).fetch().unwrap();
        assert_eq!(ended.len(), 2, "its beginning was found in the sealed segment");
    }

    /// The one or two segments that a filter did not know after the first look-up it did not know
    /// for good: each look-up searched them, as they were too few for a filter of their own.
    #[test]
    fn the_last_segment_that_a_filter_does_not_know_is_entered_too() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().background(false).segment_bytes(64 << 10);
        let ledger = options.open(dir.path()).unwrap();
        let segments = || ledger.inner.catalog.stream(EVENTS).len();
        // Nine are sealed: one more than a byte has bits for.
        while segments() < 10 {
            let trace = Id::new(format!("trace-{}", segments())).unwrap();
            ledger.append(Event::new("e").trace_id(trace).message("x".repeat(2000))).unwrap();
        }
        let filter_memory = || ledger.inner.catalog.list(EVENTS).filter_memory();
        let found = |trace: &str| ledger.query().trace(trace).count().unwrap();
        assert!(found("trace-5") > 0);
        let without_those = filter_memory();
        assert!(without_those > 0);
        assert_eq!(found("trace-none"), 0);
        assert_eq!(filter_memory(), 2 * without_those);
        assert!(found("trace-5") > 0);
    }
}
