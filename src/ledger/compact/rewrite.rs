//! Putting a new segment in the place of old ones.
//!
//! The order is what makes a crash harmless. The new file is written and synced under a name that
//! nobody reads; a note tells the links of the old segments and the new one; then it gets its name,
//! by which everyone passes by those whose place it takes; only then are these removed. A crash
//! before the name leaves a draft, one after it leaves old files: the next opening removes either.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::codec::Decoded;
use crate::format::header::SegmentHeader;
use crate::format::rollup::Rollup;
use crate::format::trailer::Trailer;
use crate::ledger::audit;
use crate::ledger::classes::stream_code;
use crate::ledger::compact::expiry::Expiry;
use crate::ledger::compact::notes;
use crate::ledger::compact::plan::{Group, can_be_rewritten, plan};
use crate::ledger::compact::weed::{Expired, Weeding};
use crate::ledger::compact::{Compaction, CompactionReport, Rewrite};
use crate::ledger::handle::Inner;
use crate::ledger::refresh::standing;
use crate::planted::{Bug, is_planted};
use crate::segment::{Name, Packer, Segment};
use crate::storage::OpenMode;

/// What the name of a draft ends in. What a repair makes ends otherwise: that is a copy to be kept.
const DRAFT: &str = ".draft";

/// What is done after each frame: waiting, so that the disk is left to others, or giving up.
pub(super) type Pace<'a> = dyn FnMut(u64) -> Result<()> + 'a;

/// Which records a rewrite keeps.
pub(super) trait Selection {
    /// Turns to the next segment.
    ///
    /// # Errors
    /// When it cannot be read.
    fn begin(&mut self, segment: &Arc<Segment>) -> Result<()> {
        let _ = segment;
        Ok(())
    }

    /// True when the record with this number is kept.
    ///
    /// # Errors
    /// When what that depends on cannot be read.
    fn keeps(&mut self, seq: u64, record: &Decoded<'_>) -> Result<bool>;

    /// False when what was decided holds no more, so that all has to stay as it is. Asked when the
    /// new segment is whole, at a time when nothing is pinned or dropped.
    ///
    /// # Errors
    /// When what that depends on cannot be read.
    fn still_holds(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// The sums of what was left out and is to be told of still, for each segment in its turn.
    fn sums(&mut self) -> Vec<Rollup> {
        Vec::new()
    }
}

/// What is in the place of the old segments.
enum InPlace {
    Segment(Arc<Segment>),
    /// No record was kept.
    Nothing,
    /// They were dropped meanwhile, or what was to be left out has to stay.
    Gone,
}

impl Inner {
    /// Compacts what the compaction is about.
    pub(in crate::ledger) fn compact(
        &self,
        compaction: &Compaction,
        pace: &mut Pace<'_>,
    ) -> Result<CompactionReport> {
        let _is_waited_for = self.begin_job()?;
        let mut report = CompactionReport::default();
        let retention = self.policy.current();
        let expiry = match self.policy.is_unknown() {
            true => None,
            false => Expiry::of_classes(&self.reader, &retention, self.expiring_now()?)?,
        };
        let (reader, options) = (&self.reader, &self.options);
        let groups = plan(reader, compaction, options, &retention, expiry.as_ref(), false)?;
        let mut expired = Expired::default();
        for group in groups {
            let folds = !compaction.keeps_states;
            let mut weeding = Weeding::new(&self.reader, folds, expiry.as_ref());
            match self.rewrite(&group, &mut weeding, pace) {
                Ok(Some(rewrite)) => {
                    expired.add(weeding.expired());
                    report.rewrites.push(rewrite);
                }
                Ok(None) => {}
                Err(Error::Damaged { path, damage, .. }) => {
                    report.damaged.push((audit::file_in_ledger(&path), damage.to_string()));
                }
                Err(err) => return Err(err),
            }
        }
        if expired.records > 0 {
            self.note(&notes::expired("the policy of retention", expired))?;
        }
        Ok(report)
    }

    /// Writes the records of these neighbours that are kept into one segment, which takes their
    /// place. `None` when the group is no longer what it was, as segments of it were dropped, or
    /// when what was to be left out has to stay.
    ///
    /// # Errors
    /// [`Error::Damaged`] when one of them is not whole: all stay as they are, as after
    /// [`Error::NoSpace`], [`Error::Closed`] and what `pace` gives.
    pub(super) fn rewrite(
        &self,
        group: &Group,
        selection: &mut dyn Selection,
        pace: &mut Pace<'_>,
    ) -> Result<Option<Rewrite>> {
        let _one_at_a_time = self.compactor.begin_rewriting();
        // Under the lock, for which a close waits: what comes after it touches no file.
        self.check_writable()?;
        if !self.is_current(group)? {
            return Ok(None);
        }
        let mut rewrite = group.describe(&self.catalog)?;
        let names = group.names();
        let (Some(first), Some(name)) = (group.segments.first(), Name::compacted(&names)) else {
            return Ok(None);
        };
        // After a clean close nobody looks for a draft.
        self.sequence.unclose().inspect_err(|err| self.poison_by_sequence(err))?;
        let dir = first.path().parent().ok_or(Error::Closed)?;
        let draft = dir.join(format!("{name}{DRAFT}"));
        let storage = &*self.options.storage;
        if storage.exists(&draft)? {
            storage.remove(&draft)?;
        }
        let header = SegmentHeader {
            covers: name.covers(),
            salt: storage.random()?,
            ..first.header().clone()
        };
        let previous = first.trailer().map_or([0; 32], |trailer| trailer.previous);
        let packer = Packer::create(storage, &draft, header, self.catalog.seed);
        let packed = packer.and_then(|packer| self.pack(packer, group, previous, selection, pace));
        if packed.is_err() && self.was_dropped(group) {
            // What is gone cannot be read to its end.
            self.discard(&draft);
            return Ok(None);
        }
        let made = packed
            .and_then(|trailer| {
                let path = dir.join(name.to_string());
                self.put_in_place(group, &path, &draft, trailer, selection)
            })
            .inspect_err(|_| self.discard(&draft))?;
        match made {
            InPlace::Gone => return Ok(None),
            InPlace::Segment(made) => {
                let kept = made.trailer().map_or(0, |trailer| u64::from(trailer.records));
                rewrite.left_out = rewrite.records.saturating_sub(kept);
                rewrite.to = Some(audit::segment_name(&made));
                let entries = storage.list(dir)?;
                let is_its = |file: &str| made.path().ends_with(file);
                let entry = entries.iter().find(|entry| is_its(&entry.name));
                rewrite.bytes_after = Some(entry.map_or(0, |entry| entry.allocated));
            }
            InPlace::Nothing => {
                rewrite.left_out = rewrite.records;
                rewrite.bytes_after = Some(0);
            }
        }
        Ok(Some(rewrite))
    }

    /// Writes the new segment, whole and on stable storage.
    fn pack(
        &self,
        mut packer: Packer,
        group: &Group,
        previous: [u8; 32],
        selection: &mut dyn Selection,
        pace: &mut Pace<'_>,
    ) -> Result<Option<Trailer>> {
        for segment in &group.segments {
            selection.begin(segment)?;
            packer.copy(segment, &mut |seq, record| selection.keeps(seq, record), pace)?;
        }
        let trailer = packer.finish(previous)?;
        if trailer.is_some() {
            // As with every sync: a disk that has refused one is not trusted with the next.
            packer.sync().inspect_err(|err| self.poison(err))?;
        }
        Ok(trailer)
    }

    /// True when all of these segments are still there, no damage to them has been found, and what
    /// takes their place takes no other's.
    fn is_current(&self, group: &Group) -> Result<bool> {
        let is_whole = group.segments.iter().all(|it| can_be_rewritten(it));
        Ok(self.are_there(group) && is_whole && self.is_alone(group)?)
    }

    /// True when the name of what takes the place of these segments spans no file but theirs, and
    /// those whose place they took: what it spans is removed by an opening, also what cannot be
    /// read.
    fn is_alone(&self, group: &Group) -> Result<bool> {
        let names = group.names();
        let (Some(of), Some(name)) = (self.streams.get(group.stream), Name::compacted(&names))
        else {
            return Ok(false);
        };
        let is_theirs = |file: &Name| names.iter().any(|name| name == file || name.replaces(file));
        let listed = self.catalog.list_segments(&of.dir)?;
        Ok(listed.iter().filter(|file| name.overlaps(file)).all(is_theirs))
    }

    fn are_there(&self, group: &Group) -> bool {
        let current = self.catalog.list(group.stream);
        let is_there = |wanted: &Arc<Segment>| current.segments().any(|it| Arc::ptr_eq(it, wanted));
        group.segments.iter().all(is_there)
    }

    /// True when retention has dropped one of these segments; once it is through with that.
    fn was_dropped(&self, group: &Group) -> bool {
        let _nothing_is_dropped = self.cleaning.lock();
        !self.are_there(group)
    }

    /// Removes a draft that came to nothing. The error that counts is the one before: what stays,
    /// or may come back, is removed by the next opening, which must not follow a clean close.
    fn discard(&self, draft: &Path) {
        let storage = &self.options.storage;
        if self.check_poisoned().is_ok() && storage.exists(draft).unwrap_or(true) {
            let dir = draft.parent().unwrap_or(draft);
            let gone = storage.remove(draft).and_then(|()| storage.sync_dir(dir));
            let _ = gone.inspect_err(|err| self.poison(err));
        }
    }

    /// Gives the new segment its name and removes the old ones. Without a trailer there is no new
    /// one, as no record was kept.
    fn put_in_place(
        &self,
        group: &Group,
        path: &Path,
        draft: &Path,
        trailer: Option<Trailer>,
        selection: &mut dyn Selection,
    ) -> Result<InPlace> {
        let storage = &*self.options.storage;
        // Writing took its time, and retention may have dropped some of them meanwhile.
        let _nothing_is_dropped = self.begin_cleaning()?;
        if !self.is_current(group)? || !selection.still_holds()? {
            self.discard(draft);
            return Ok(InPlace::Gone);
        }
        let dir = path.parent().ok_or(Error::Closed)?;
        // What has taken the place of states that are left out must be kept before they go.
        self.sync()?;
        if !is_planted(Bug::CompactUnsaid) {
            let sums = selection.sums();
            self.note(&notes::compacted(&group.segments, path, trailer.as_ref(), sums))?;
        }
        self.sync()?;
        if !self.owed_notes.lock().is_empty() {
            // Without a word on record, a segment with another link would pass for a forgery.
            let cause = std::io::ErrorKind::StorageFull.into();
            return Err(Error::io("note the compaction of", path, cause));
        }
        let code = stream_code(group.stream);
        let spans = |first_seq: u64| group.segments.iter().any(|it| it.first_seq() == first_seq);
        let noted = self.sequence.note_heads(|heads| {
            heads.retain(|head| head.stream != code || !spans(head.first_seq));
        });
        noted.inspect_err(|err| self.poison_by_sequence(err))?;
        let made = match trailer {
            None => {
                storage.remove(draft)?;
                None
            }
            Some(_) => {
                storage.rename(draft, path)?;
                storage.sync_dir(dir).inspect_err(|err| self.poison(err))?;
                let (storage, seed) = (&self.options.storage, self.catalog.seed);
                let opened = Segment::open(storage, path, OpenMode::Read, seed);
                Some(Arc::new(opened.inspect_err(|err| self.poison(err))?))
            }
        };
        self.catalog.replace(group.stream, &group.segments, made.as_ref());
        for segment in &group.segments {
            // It has a successor: one that cannot be removed is removed by the next opening, which
            // must not follow a clean close.
            storage.remove(segment.path()).inspect_err(|err| self.poison(err))?;
        }
        storage.sync_dir(dir).inspect_err(|err| self.poison(err))?;
        self.maintenance.let_go(group.segments.clone());
        Ok(made.map_or(InPlace::Nothing, InPlace::Segment))
    }

    /// Removes what a crash left of compactions: drafts, and segments whose place was taken.
    pub(in crate::ledger) fn remove_what_was_replaced(&self) -> Result<()> {
        let storage = &*self.options.storage;
        for number in self.catalog.directories()? {
            let Some(stream) = self.streams.get(number) else { continue };
            let files = storage.list(&stream.dir)?.into_iter().map(|entry| entry.name);
            let files: Vec<_> = files.collect();
            let mut listed: Vec<_> = files.iter().filter_map(|file| Name::parse(file)).collect();
            listed.sort_unstable();
            let standing = standing(&listed);
            let segments = self.catalog.stream(number);
            // Only what is whole may take the place of what is there.
            let is_whole =
                |name: &Name| segments.iter().any(|it| it.name() == *name && can_be_rewritten(it));
            let replaced = listed.iter().filter(|name| {
                standing.iter().any(|other| other.replaces(name) && is_whole(other))
            });
            let drafts = files.iter().filter(|file| is_draft(file)).cloned();
            let gone: Vec<_> = replaced.map(Name::to_string).chain(drafts).collect();
            for name in &gone {
                storage.remove(&stream.dir.join(name))?;
            }
            if !gone.is_empty() {
                storage.sync_dir(&stream.dir)?;
            }
        }
        Ok(())
    }
}

/// True for the draft of a compacted segment.
fn is_draft(file: &str) -> bool {
    let name = file.strip_suffix(DRAFT).and_then(Name::parse);
    name.is_some_and(|name| name.is_compacted())
}
