//! The engine's own notes, on their way to the disk: one that finds no space there is owed, unless
//! somebody waits for it.

use std::collections::VecDeque;

use crate::error::{Error, Result};
use crate::ledger::append::{Encoded, with_batch};
use crate::ledger::handle::{Inner, Ledger};
use crate::limits::MAX_BATCH_RECORDS;
use crate::model::{Event, Timestamp};

impl Ledger {
    /// Puts a note on record that counts only once it is on stable storage.
    ///
    /// # Errors
    /// As for an append: on a full disk, too.
    pub(super) fn put_on_record(&self, mut note: Event<'static>) -> Result<()> {
        let now = self.inner.options.storage.now();
        note.created_at = Some(Timestamp::from_nanos(now));
        self.inner.write_together(std::iter::once(&note), now)?;
        self.inner.sync()
    }
}

impl Inner {
    /// Puts a note on record. What it is about was done, so a full disk is no error: the note is
    /// owed then, and written as soon as there is space. One that comes after a close is not.
    ///
    /// # Errors
    /// As for an append, but for a full disk.
    pub(super) fn note(&self, event: &Event<'static>) -> Result<()> {
        let mut event = event.clone();
        event.created_at.get_or_insert(Timestamp::from_nanos(self.options.storage.now()));
        let mut owed = self.owed_notes.lock();
        owed.push_back(event);
        let written = self.write_notes(&mut owed);
        if matches!(written, Err(Error::Closed)) {
            owed.pop_back();
        }
        written
    }

    /// Puts on record what is about to be done, all of it or nothing: after a crash either every
    /// one of these notes is found or none. Only when they take more than a frame holds are they in
    /// several. On a full disk they are owed, as in [`Inner::note`].
    ///
    /// # Errors
    /// As for an append, but for a full disk; then none of them is owed.
    pub(super) fn note_all(&self, mut events: Vec<Event<'static>>) -> Result<()> {
        let now = Timestamp::from_nanos(self.options.storage.now());
        events.iter_mut().for_each(|event| event.created_at = Some(now));
        let mut owed = self.owed_notes.lock();
        // What came before stays owed, whatever becomes of these.
        self.write_notes(&mut owed)?;
        let (before, new) = (owed.len(), events.len());
        owed.extend(events);
        let written = self.write_notes(&mut owed);
        if written.is_err() {
            // Those that were written went from the front.
            let gone = before + new - owed.len();
            owed.truncate(before.saturating_sub(gone));
        }
        written
    }

    /// Writes the notes for which there was no space before, as far as there is now.
    ///
    /// # Errors
    /// As for an append, but for a full disk.
    pub(super) fn write_owed_notes(&self) -> Result<()> {
        self.write_notes(&mut self.owed_notes.lock())
    }

    /// Writes the notes, in as few frames as they fit in.
    fn write_notes(&self, owed: &mut VecDeque<Event<'static>>) -> Result<()> {
        let mut count = owed.len().min(MAX_BATCH_RECORDS);
        while count > 0 {
            match self.write_together(owed.iter().take(count), self.options.storage.now()) {
                Ok(()) => {
                    owed.drain(..count);
                    count = count.min(owed.len());
                }
                Err(Error::NoSpace { .. } | Error::TooLarge { .. }) if count > 1 => count /= 2,
                Err(Error::NoSpace { .. }) => return Ok(()),
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Writes these notes in one frame.
    fn write_together<'e>(
        &self,
        notes: impl Iterator<Item = &'e Event<'static>>,
        now: i64,
    ) -> Result<()> {
        with_batch(|batch| {
            batch.encode_notes(notes)?;
            batch.is_urgent = true;
            let targets = self.lock_parts(batch, None);
            self.check_notable()?;
            self.write_frames(batch, Encoded::ENGINES, targets, now)?;
            Ok(())
        })
    }

    /// An error when a note is owed, as there was no space for it: after a clean close no opening
    /// looks for what it was to tell.
    pub(super) fn check_noted(&self) -> Result<()> {
        if self.owed_notes.lock().is_empty() {
            return Ok(());
        }
        let full = std::io::ErrorKind::StorageFull.into();
        Err(Error::io("write the notes of", self.catalog.layout.dir(), full))
    }
}
