//! The index of a segment that is still written follows its frames: an append enters nothing, and
//! who needs the index brings it up to date from the file, as recovery does.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::{Damage, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::header::SegmentHeader;
use crate::index::MemIndex;
use crate::segment::blocks::Source;
use crate::segment::open::open_sealed;
use crate::segment::recover::holes;
use crate::segment::scan::{Bounds, DamagedRange, NextSeq, Scan, frame_len, scan, scan_into};
use crate::segment::sealed::SealedIndex;
use crate::segment::{Draft, FRAMES_START, Findings, Segment, State, new_index};
use crate::sync::atomic::Ordering;
use crate::sync::{RwLockReadGuard, RwLockWriteGuard};

/// By how many bytes of frames the index lags before the background enters them, so many at a time:
/// whoever asks for the index waits for no more.
const SLICE_BYTES: u32 = 1 << 20;

/// What a look at a segment has found, for queries to be shown.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The last sequence number in it.
    pub(crate) last_seq: u64,
    /// Its footer, when it was sealed since the look before.
    footer: Option<Arc<SealedIndex>>,
}

impl Followed {
    /// Nothing new, up to this sequence number.
    pub(crate) const fn up_to(last_seq: u64) -> Self {
        Self { last_seq, footer: None }
    }

    pub(crate) const fn has_footer(&self) -> bool {
        self.footer.is_some()
    }
}

impl Segment {
    /// Enters frames into the index until it lags by little, a slice at a time, as long as `go_on`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn catch_up(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        while let Some(until) = self.indexed().checked_add(SLICE_BYTES)
            && until <= self.end()
            && go_on()
        {
            self.enter_frames(&self.file, &mut self.state.write(), until)?;
        }
        Ok(())
    }

    /// Has queries find by its keys what is in the index.
    pub(crate) fn link(&self) {
        if let State::Memory(index) = &mut *self.state.write() {
            index.link();
        }
    }

    /// True when an append that ended at `end` made the index lag by another slice.
    pub(crate) fn is_slice_full(at: u32, end: u32) -> bool {
        at / SLICE_BYTES != end / SLICE_BYTES
    }

    /// The state, with all frames in the index that there are now, ready for queries.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn current(&self) -> Result<RwLockReadGuard<'_, State>> {
        self.made(MemIndex::is_ready, MemIndex::make_ready)
    }

    /// As [`Segment::current`], ready to be sealed: in the order of time.
    ///
    /// # Errors
    /// As for [`Segment::current`].
    pub(super) fn sorted(&self) -> Result<RwLockReadGuard<'_, State>> {
        self.made(|index| !index.needs_sort(), MemIndex::sort)
    }

    fn made(
        &self,
        is_made: impl Fn(&MemIndex) -> bool,
        make: impl Fn(&mut MemIndex),
    ) -> Result<RwLockReadGuard<'_, State>> {
        let end = self.end();
        let state = self.state.read();
        match &*state {
            State::Memory(index) if self.indexed() < end || !is_made(index) => drop(state),
            State::Memory(_) | State::Sealed(_) => return Ok(state),
        }
        let source = self.source()?;
        let mut state = self.state.write();
        self.enter_frames(source.as_dyn(), &mut state, end)?;
        if let State::Memory(index) = &mut *state {
            make(index);
        }
        Ok(RwLockWriteGuard::downgrade(state))
    }

    /// Up to where the frames are in the index.
    pub(super) fn indexed(&self) -> u32 {
        self.indexed.load(Ordering::Acquire)
    }

    /// Enters the frames that begin before `until`, up to where all frames end at the most.
    fn enter_frames(&self, source: &dyn Source, state: &mut State, until: u32) -> Result<()> {
        let (from, end) = (self.indexed(), self.end());
        let State::Memory(index) = state else { return Ok(()) };
        if from >= until {
            return Ok(());
        }
        let bounds = Bounds { stop: until, ..self.bounds(from, Some(end)) };
        let mut findings = self.findings.write();
        // Of a segment that had no footer, all frames were compared when it was opened, or written
        // since: where one is missing now, what is left would make a silent half of an answer.
        let is_whole = self.unchecked.is_none() && findings.damaged.is_empty();
        let (found, whole_to, read) = enter(index, source, &self.header, &bounds, is_whole);
        if read.is_err() {
            // What is in the index is not to be entered once more: it would seem to be damage.
            let before = |range: &&DamagedRange| range.end <= u64::from(whole_to);
            findings.note_damage(found.damaged.iter().filter(before));
            self.indexed.store(whole_to, Ordering::Release);
            return read;
        }
        if is_whole && whole_to < until {
            self.indexed.store(whole_to, Ordering::Release);
            let damage = found.damaged.first().map_or(Damage::Truncated, |range| range.damage);
            return Err(self.damaged(whole_to, damage));
        }
        findings.note_damage(&found.damaged);
        self.indexed.store(u32::try_from(found.reached).unwrap_or(end), Ordering::Release);
        Ok(())
    }

    /// Looks for what a writer in another process has added since the last look. Queries see none
    /// of it before [`Segment::show`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn follow(&self) -> Result<Followed> {
        let mut state = self.state.write();
        let State::Memory(index) = &mut *state else { return Ok(Followed::up_to(self.last_seq())) };
        if self.header.packed {
            // It was whole when it got its name; its footer was damaged since.
            return Ok(Followed::up_to(self.last_seq()));
        }
        let mut findings = self.findings.write();
        // A tail that was found may begin with zeros: only a scan tells that it is gone.
        if findings.tail.is_none() && self.ends_in_zeros()? {
            // More may be known than is published.
            let last_seq = index.last_seq().unwrap_or(0).max(self.last_seq());
            return Ok(Followed::up_to(last_seq));
        }
        self.forget_covered(&mut findings)?;
        // Sealed meanwhile: its footer is to be the index, once all frames were seen.
        let mut of_footer = Findings::default();
        let sealed = open_sealed(&self.file, &self.header, &mut of_footer)?;
        let sealed = sealed.map(|(sealed, _)| sealed);
        let until = sealed.as_ref().map(|sealed| sealed.trailer.frames_end);
        let bounds = self.bounds(self.indexed(), until);
        let (found, _, read) = enter(index, &self.file, &self.header, &bounds, false);
        // Also of a file that could not be read any further: what is in the index is not to be
        // entered once more. All else stays as it was then.
        self.indexed.store(found.frames_end, Ordering::Release);
        if let Err(err) = read {
            findings.note_damage(&found.damaged);
            return Err(err);
        }
        self.end.store(found.frames_end, Ordering::Release);
        findings.note(&found);
        let last_seq = index.last_seq().unwrap_or(0).max(self.last_seq());
        let is_whole = findings.damaged.is_empty() && findings.footer.is_none();
        let footer = sealed.filter(|_| is_whole && Some(found.frames_end) == until);
        Ok(Followed { last_seq, footer })
    }

    /// Forgets the holes that a recovery has covered since they were found.
    fn forget_covered(&self, findings: &mut Findings) -> Result<()> {
        let found: Vec<_> = holes(findings).collect();
        for hole in found {
            let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
            let bounds = self.bounds(place(hole.start), Some(place(hole.end)));
            if scan(&self.file, &bounds, &mut |_, _, _| Ok(()))?.damaged.is_empty() {
                findings.damaged.retain(|range| *range != hole);
            }
        }
        Ok(())
    }

    /// Lets queries see what a look has found, up to this sequence number: as for
    /// [`Segment::publish`]. A footer becomes the index only after that, as it does not tell which
    /// of its rows came later, and what they took the place of.
    pub(crate) fn show(&self, found: Followed, until: u64) {
        self.publish(found.last_seq.min(until));
        found.footer.into_iter().for_each(|footer| drop(self.take_footer(footer)));
    }

    /// Makes the footer the index, and gives what was.
    pub(super) fn take_footer(&self, footer: Arc<SealedIndex>) -> State {
        *self.map.write() = Some(footer.map.clone());
        let trailer = footer.trailer.clone();
        let replaced = std::mem::replace(&mut *self.state.write(), State::Sealed(footer));
        self.note_sealed(&trailer);
        *self.newest.write() = None;
        self.file.close();
        replaced
    }

    /// True when no frame was begun behind the last one.
    fn ends_in_zeros(&self) -> Result<bool> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let read = self.file().read_at(&mut bytes, u64::from(self.end()))?;
        Ok(bytes.iter().take(read).all(|&byte| byte == 0))
    }

    /// Enters all frames into an index that is empty.
    pub(super) fn enter_all(&self, index: &mut MemIndex, until: Option<u32>) -> Result<Scan> {
        let bounds = self.bounds(FRAMES_START, until);
        let source = self.source()?;
        let (found, _, read) = enter(index, source.as_dyn(), &self.header, &bounds, false);
        read.map(|()| found)
    }

    pub(super) fn bounds(&self, from: u32, until: Option<u32>) -> Bounds<'_> {
        Bounds { salt: &self.header.salt, from, until, stop: u32::MAX }
    }

    /// Replaces the index in a damaged footer by one that is made from the records. It holds all
    /// frames from the beginning: another query may just read a record that it found in the footer.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn rebuild(&self, damage: Damage) -> Result<()> {
        let source = self.source()?;
        let mut state = self.state.write();
        if matches!(*state, State::Memory(_)) {
            return Ok(());
        }
        self.findings.write().footer = Some(damage);
        self.indexed.store(FRAMES_START, Ordering::Release);
        *state = State::Memory(Box::new(new_index(self.seed)));
        self.enter_frames(source.as_dyn(), &mut state, self.end())
    }
}

impl Findings {
    /// Adds what a scan has found.
    pub(super) fn note(&mut self, found: &Scan) {
        self.note_damage(&found.damaged);
        self.tail = found.tail;
        self.synced = self.synced.max(found.synced);
    }

    /// Adds damage, unless it is known: frames are scanned when they are looked for, and again
    /// when they are entered into the index.
    fn note_damage<'a>(&mut self, ranges: impl IntoIterator<Item = &'a DamagedRange>) {
        let known: HashSet<_> = self.damaged.iter().map(|range| range.start).collect();
        self.damaged.extend(ranges.into_iter().filter(|range| !known.contains(&range.start)));
    }
}

/// Enters frames into an index; of those that are known to be `whole`, none that follow a gap.
/// Gives besides up to where they followed one another, and whether the file could be read.
fn enter(
    index: &mut MemIndex,
    file: &dyn Source,
    header: &SegmentHeader,
    bounds: &Bounds<'_>,
    whole: bool,
) -> (Scan, u32, Result<()>) {
    let mut next_seq = NextSeq(index.last_seq().map_or(header.first_seq, |last| last + 1));
    let mut whole_to = bounds.from;
    let mut draft = Draft::default();
    draft.reset(index.seed());
    let mut visit = |offset: u32, frame: &FrameHeader, payload: &[u8]| {
        if whole && offset != whole_to {
            return Err(Damage::Sequence);
        }
        whole_to = u32::try_from(u64::from(offset) + frame_len(frame)).unwrap_or(u32::MAX);
        next_seq.take(frame)?;
        if frame.is_void() {
            // It holds no record, and was recorded at no time.
            return Ok(());
        }
        draft.decode(header.kind, frame, payload)?;
        draft.apply(index, offset, frame.base_seq, frame.recorded_at);
        draft.last_seq(frame.base_seq).into_iter().for_each(|last| next_seq.take_up_to(last));
        Ok(())
    };
    let mut found = Scan::begun_at(bounds.from);
    let read = scan_into(&mut found, file, bounds, &mut visit);
    (found, whole_to, read)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::format::frame::payload_crc;
    use crate::index::Table;
    use crate::segment::NewFrame;
    use crate::segment::made::{append, create, open};

    fn rows(segment: &Segment) -> u32 {
        match &*segment.current().unwrap() {
            State::Memory(index) => index.rows(),
            State::Sealed(_) => unreachable!("it is never sealed"),
        }
    }

    #[test]
    fn a_slice_is_full_when_its_end_is_reached() {
        for (at, end, is_full) in [
            (0, SLICE_BYTES - 1, false),
            (0, SLICE_BYTES, true),
            (SLICE_BYTES - 1, SLICE_BYTES, true),
            (SLICE_BYTES, 2 * SLICE_BYTES - 1, false),
            (SLICE_BYTES + 1, 3 * SLICE_BYTES, true),
        ] {
            assert_eq!(Segment::is_slice_full(at, end), is_full, "{at} to {end}");
        }
    }

    #[test]
    fn the_index_catches_up_by_slices_for_as_long_as_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(dir.path());
        for seq in 1..=30 {
            append(&segment, seq, 100_000);
        }
        segment.catch_up(&|| false).unwrap();
        assert_eq!(segment.indexed(), FRAMES_START);
        let left = std::cell::Cell::new(2);
        segment.catch_up(&|| left.replace(left.get() - 1) > 0).unwrap();
        let two = 2 * SLICE_BYTES..3 * SLICE_BYTES;
        assert!(two.contains(&segment.indexed()), "{}", segment.indexed());
        segment.catch_up(&|| true).unwrap();
        assert!(segment.end() - segment.indexed() < SLICE_BYTES);
        assert_eq!(rows(&segment), 30);
        assert_eq!(segment.indexed(), segment.end());
    }

    #[test]
    fn a_slice_that_is_just_full_is_entered() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (segment, probe) = (create(dir.path()), create(other.path()));
        append(&probe, 1, 500_000);
        let message = SLICE_BYTES - (probe.end() - FRAMES_START - 500_000);
        append(&segment, 1, message as usize);
        assert_eq!(segment.end(), FRAMES_START + SLICE_BYTES);
        segment.catch_up(&|| true).unwrap();
        assert_eq!(segment.indexed(), segment.end());
    }

    /// Whoever asks for an index that is up to date takes it as others read it.
    #[test]
    fn an_index_that_is_up_to_date_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let segment = Arc::new(create(dir.path()));
        append(&segment, 1, 10);
        assert_eq!(rows(&segment), 1);
        let (done, answered) = mpsc::channel();
        let reading = segment.current().unwrap();
        let other = Arc::clone(&segment);
        let asker = std::thread::spawn(move || done.send(rows(&other)).unwrap());
        let answer = answered.recv_timeout(Duration::from_secs(20));
        drop(reading);
        asker.join().unwrap();
        assert_eq!(answer, Ok(1), "who asks waits for who reads");
    }

    /// Numbers rise from frame to frame, whether the frames are found, entered at once or one by
    /// one: a frame that goes back is damage.
    #[test]
    fn a_frame_whose_numbers_go_back_is_damage() {
        for second in [1, 2, 3] {
            let dir = tempfile::tempdir().unwrap();
            let segment = create(dir.path());
            append(&segment, 2, 10);
            let end = segment.end();
            assert_eq!(rows(&segment), 1);
            append(&segment, second, 10);
            let is_taken = second == 3;
            assert_eq!(rows(&segment), 1 + u32::from(is_taken), "entered after the first");
            let opened = open(&segment);
            for findings in [segment.findings(), opened.findings()] {
                let damage: Vec<_> = findings.damaged.iter().map(|it| it.damage).collect();
                let expected = if is_taken { &[][..] } else { &[Damage::Sequence][..] };
                assert_eq!(damage, expected, "{second} after 2");
                assert!(findings.damaged.iter().all(|range| range.start == u64::from(end)));
            }
            assert_eq!(rows(&opened), 1 + u32::from(is_taken), "entered at once");
        }
    }

    /// The opening took the numbers of a frame whose records do not decode for given out, the index
    /// did not: a frame with some of them again was passed by the one and served by the other, so
    /// that the next record got a number that one was served under.
    #[test]
    fn the_numbers_of_a_frame_that_does_not_decode_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(dir.path());
        append(&segment, 1, 10);
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend([14, 1]);
        let payload_crc = payload_crc(&[14, 1]);
        let frame = NewFrame { base_seq: 2, recorded_at: 0, count: 4, payload_crc, synced: 0 };
        segment.append(&mut bytes, frame, &[]).unwrap();
        append(&segment, 2, 10);
        append(&segment, 6, 10);
        for segment in [&segment, &open(&segment)] {
            assert_eq!(rows(segment), 2);
            assert_eq!(segment.findings().damaged.len(), 2);
        }
        assert_eq!(open(&segment).last_at_opening(), Some((6, 0)));
    }

    /// The first number of a segment is one that its first frame may have, and none below it is.
    #[test]
    fn a_frame_before_the_first_number_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(dir.path());
        append(&segment, 0, 10);
        append(&segment, 1, 10);
        let opened = open(&segment);
        assert_eq!(rows(&opened), 1);
        assert_eq!(opened.findings().damaged.len(), 1);
    }

    /// A reader that met a tail behind zeros sees when a writer has cut it, and what is appended.
    #[test]
    fn a_tail_behind_zeros_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(dir.path());
        append(&segment, 1, 10);
        let end = u64::from(segment.end());
        segment.file().write_at(b"torn", end + 100).unwrap();
        let reader = open(&segment);
        assert_eq!(reader.findings().tail.map(|tail| tail.start), Some(end));
        reader.follow().unwrap();
        assert!(reader.findings().tail.is_some(), "it is still there");
        segment.file().set_len(end).unwrap();
        assert_eq!(reader.follow().unwrap().last_seq, 1);
        assert_eq!(reader.findings().tail, None);
        append(&segment, 2, 10);
        assert_eq!(reader.follow().unwrap().last_seq, 2);
        assert_eq!((rows(&reader), reader.end()), (2, segment.end()));
    }

    /// Where nothing but zeros follows the last frame, a look reads no more than a header.
    #[test]
    fn a_segment_that_only_was_reserved_for_ends_where_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let segment = create(dir.path());
        append(&segment, 1, 10);
        segment.reserve(5_000, true).unwrap();
        let reader = open(&segment);
        assert!(reader.ends_in_zeros().unwrap());
        append(&segment, 2, 10);
        assert!(!reader.ends_in_zeros().unwrap());
        assert_eq!(reader.follow().unwrap().last_seq, 2);
        assert!(reader.ends_in_zeros().unwrap());
    }
}
