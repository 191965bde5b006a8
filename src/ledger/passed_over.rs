//! Segments that an opening had to leave out, or whose end is damaged, in the chain of hashes: the
//! segment sealed after them names the one before them, and that is on record before it does.

use crate::error::Result;
use crate::ledger::audit::{self, SEGMENT_PASSED_OVER};
use crate::ledger::chain::Detail;
use crate::ledger::handle::Inner;
use crate::ledger::sealing::Full;
use crate::model::Body;
use crate::segment::Segment;

/// A segment whose link cannot be read, and the link that its stream's chain goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PassedOver {
    /// The place of its stream among the streams.
    stream: usize,
    /// Its path in the ledger, as notes have it.
    pub(super) name: String,
    /// The link of the segment before it.
    pub(super) link: [u8; 32],
}

/// What seals have to pass over.
#[derive(Debug, Default)]
pub(super) struct PassedOvers {
    /// What the first segment of each stream that waits for its footer passes over, until that is
    /// on record.
    owed: Vec<PassedOver>,
    /// What is on stable storage.
    on_record: Vec<PassedOver>,
}

impl Inner {
    /// The link that a segment has to name as the one before it. `None` when segments before it, or
    /// their links, cannot be read, and it is not on record yet that they are passed over.
    pub(super) fn link_before(&self, stream: usize, segment: &Segment) -> Option<[u8; 32]> {
        let list = self.catalog.list(stream);
        let (mut from, mut link, mut between) = (0, [0; 32], Vec::new());
        for before in list.segments().rev().filter(|it| it.first_seq() < segment.first_seq()) {
            // Behind a damaged footer the trailer may be whole.
            if let Ok(Some(trailer)) = before.was_sealed_with() {
                (from, link) = (before.first_seq(), trailer.link());
                break;
            }
            between.push((before.first_seq(), audit::segment_name(before), None));
        }
        let mut left_out = self.catalog.unreadable();
        left_out.retain(|it| {
            it.stream == stream && (from + 1..segment.first_seq()).contains(&it.first_seq)
        });
        between.extend(
            left_out
                .into_iter()
                .map(|it| (it.first_seq, audit::file_in_ledger(&it.path), Some(it))),
        );
        between.sort_by_key(|(first_seq, ..)| *first_seq);
        let mut passed = Vec::new();
        while let Some((_, name, unreadable)) = between.pop() {
            // What kept it from being read may be over.
            if let Some(trailer) = unreadable.and_then(|it| self.catalog.look_again(&it)) {
                link = trailer.link();
                break;
            }
            passed.push(name);
        }
        let mut known = self.passed_over.lock();
        let mut passed: Vec<_> =
            passed.into_iter().map(|name| PassedOver { stream, name, link }).collect();
        passed.retain(|it| !known.on_record.contains(it));
        let is_on_record = passed.is_empty();
        known.owed.retain(|it| it.stream != stream);
        known.owed.extend(passed);
        is_on_record.then_some(link)
    }

    /// Seals the segments that are full by now. What they pass over is put on record first.
    ///
    /// # Errors
    /// As for an append, when a note cannot be written. A full disk is no error: what waits for
    /// the note is sealed when there is space again.
    pub(super) fn seal_and_note(&self) -> Result<()> {
        self.seal_full();
        while self.note_passed_over()? {
            self.seal_full();
        }
        // The background may have written the note just now.
        self.seal_full();
        Ok(())
    }

    /// As [`Inner::seal_and_note`], one segment at the most, for who has other work besides.
    pub(super) fn seal_one(&self) {
        self.seal_next(Full::is_due);
        // What keeps a note from being written keeps appends from it, too, and they say so.
        let _ = self.note_passed_over();
    }

    /// Puts on record what the next segment to be sealed passes over. True when that was owed, and
    /// is on stable storage now: what waited for it is tried again.
    fn note_passed_over(&self) -> Result<bool> {
        let owed = self.passed_over.lock().owed.clone();
        if owed.is_empty() {
            return Ok(false);
        }
        self.write_owed_notes()?;
        for passed in &owed {
            // Of notes that wait for space this may be one.
            if !self.owed_notes.lock().is_empty() {
                return Ok(false);
            }
            if !self.is_on_record(passed)? {
                self.note(&audit::passed_over(passed))?;
            }
        }
        if !self.owed_notes.lock().is_empty() {
            return Ok(false);
        }
        self.sync()?;
        let mut known = self.passed_over.lock();
        // What waited for it may be dropped by now, and not be sealed any more.
        known.owed.retain(|it| !owed.contains(it));
        known.on_record.extend(owed);
        drop(known);
        self.maintenance.change_full(Full::try_again);
        Ok(true)
    }

    /// True when there is a note, of an earlier writer's, too.
    fn is_on_record(&self, passed: &PassedOver) -> Result<bool> {
        let notes = self.reader.audit().record_type(SEGMENT_PASSED_OVER).trace(&passed.name);
        let page = notes.limit(usize::MAX).fetch()?;
        let link = audit::hex(passed.link);
        let is_its = |note: &Body<'_>| match note {
            Body::Event(note) => Detail::of(note).hash.as_ref() == Some(&link),
            Body::Run(_) | Body::Error(_) => false,
        };
        Ok(page.records().filter_map(Result::ok).any(|note| is_its(&note.body)))
    }
}
