//! Where streams end, as the file `SEQ` tells it, compared with what is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Damage, Result};
use crate::format::seqfile::Head;
use crate::ledger::audit::{self, SEGMENT_DROPPED};
use crate::ledger::catalog::{Catalog, Unreadable};
use crate::ledger::chain::{Before, known_links};
use crate::ledger::classes::{STREAM_KINDS, stream_code};
use crate::ledger::reader::Reader;
use crate::ledger::sequence::Found;
use crate::model::{Body, Event};
use crate::segment::{Check, DamagedRange, FRAMES_START, Name, Segment};

/// The end of a stream that is not there although it was on stable storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MissingEnd {
    /// The place of its stream among the streams.
    pub(super) stream: usize,
    pub(super) path: PathBuf,
    /// Where the frames end that are there.
    pub(super) start: u64,
    /// Where they ended.
    pub(super) end: u64,
    /// True when the whole file is gone.
    pub(super) is_gone: bool,
    /// False for what a copy that was made while segments were dropped looks like, too.
    pub(super) is_damage: bool,
}

impl Found {
    /// What is said of the end of this stream.
    pub(super) fn head(&self, stream: usize) -> Option<&Head> {
        let heads = self.state.as_ref().map_or(&[][..], |state| &state.heads);
        heads.iter().find(|head| head.stream == stream_code(stream))
    }

    /// Compares it with the segments: a note of a clean close that they go beyond is older than
    /// they are. A copy of the directory that was made beside a writer can be like that.
    pub(super) fn look(&mut self, catalog: &Catalog) {
        let goes_beyond = |stream| self.goes_beyond(stream, catalog);
        self.is_stale = self.is_clean() && (0..STREAM_KINDS.len()).any(goes_beyond);
    }

    fn goes_beyond(&self, stream: usize, catalog: &Catalog) -> bool {
        let last_known = self.head(stream).map(|head| head.first_seq);
        let segments = catalog.stream(stream);
        let readable = segments.iter().map(|segment| segment.first_seq());
        let unreadable = catalog.unreadable_of(stream).into_iter();
        readable.chain(unreadable).max() > last_known
            || segments.iter().any(|segment| {
                self.head(stream).is_some_and(|head| {
                    head.first_seq == segment.first_seq() && segment.goes_beyond(head)
                })
            })
    }

    /// The ends that are missing.
    ///
    /// # Errors
    /// When a directory or a note cannot be read.
    pub(super) fn missing_ends(
        &self,
        catalog: &Catalog,
        notes: &Reader,
    ) -> Result<Vec<MissingEnd>> {
        let mut missing = Vec::new();
        for (stream, (stream_name, _)) in STREAM_KINDS.iter().enumerate() {
            let Some(head) = self.head(stream) else { continue };
            let file = Name::new(head.first_seq).to_string();
            let path = catalog.layout.stream(stream_name).join(file);
            let end = u64::from(head.end);
            let segments = catalog.stream(stream);
            match segments.iter().find(|segment| segment.first_seq() == head.first_seq) {
                // What compaction wrote anew ends elsewhere, and is whole as it has its name.
                Some(segment) if segment.name().is_compacted() => {}
                Some(segment) if !segment.falls_short_of(head) => {}
                Some(segment) => {
                    let start = segment.known_end().into();
                    let (is_gone, is_damage) = (false, true);
                    missing.push(MissingEnd { stream, path, start, end, is_gone, is_damage });
                }
                None if self.explains_absence(catalog, notes, &path, head, stream)? => {}
                None => {
                    let (start, is_gone, is_damage) = (0, true, self.is_clean());
                    missing.push(MissingEnd { stream, path, start, end, is_gone, is_damage });
                }
            }
        }
        Ok(missing)
    }

    /// True when there is a reason for the absence of a segment: it cannot be read, it was set
    /// aside or dropped, or it may have been dropped by the writer of whom this is a copy.
    fn explains_absence(
        &self,
        catalog: &Catalog,
        notes: &Reader,
        path: &Path,
        head: &Head,
        stream: usize,
    ) -> Result<bool> {
        let is_there_as = |ending| catalog.storage.exists(&path.with_extension(ending));
        let is_older = !self.is_clean()
            && catalog.stream(stream).iter().any(|other| other.first_seq() > head.first_seq);
        let is_replaced =
            catalog.stream(stream).iter().any(|other| other.name().spans(head.first_seq));
        let name = audit::file_in_ledger(path);
        Ok(is_older
            || is_replaced
            || is_there_as("seg")?
            || is_there_as("unreadable")?
            || is_there_as("torn")?
            || notes.audit().record_type(SEGMENT_DROPPED).trace(&name).count()? > 0)
    }

    /// True when this segment file was whole once: without a header it is not one that a crash left
    /// half made.
    pub(super) fn knows(&self, unreadable: &Unreadable) -> bool {
        self.head(unreadable.stream).is_some_and(|head| unreadable.first_seq <= head.first_seq)
    }

    /// Judges the end of a segment that was checked: whether what is behind its frames is damage,
    /// and whether frames are missing.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn judge(&self, check: &mut Check, segment: &Segment, stream: usize) -> Result<()> {
        match self.head(stream).filter(|head| head.first_seq == segment.first_seq()) {
            Some(head) => {
                check.findings.note_head(head, segment.is_sealed());
                Ok(())
            }
            None if self.is_clean() => check.end_is_damaged(segment),
            None => Ok(()),
        }
    }

    /// Tells the segments that are to be written what is known of their ends.
    pub(super) fn tell(&self, catalog: &Catalog) {
        for stream in 0..STREAM_KINDS.len() {
            let Some(head) = self.head(stream) else { continue };
            for segment in catalog.stream(stream) {
                if segment.first_seq() == head.first_seq {
                    segment.note_head(head);
                }
            }
        }
    }
}

/// Notes on segments that are not there although the one after them tells of them. A writer notes
/// what it drops; in a copy that was made meanwhile, its note may be what is not there.
///
/// # Errors
/// When the notes cannot be read.
pub(super) fn gaps(
    catalog: &Catalog,
    notes: &Reader,
    to_come: &[Event<'static>],
) -> Result<Vec<Event<'static>>> {
    let mut gaps = Vec::new();
    for stream in 0..STREAM_KINDS.len() {
        // What is unreadable, or has lost its footer, is no gap.
        let mut expected = catalog.unreadable_of(stream).is_empty().then(Before::default);
        for segment in catalog.stream(stream) {
            let Some(trailer) = segment.trailer() else {
                expected = None;
                continue;
            };
            let goes_on = expected.is_some();
            if let Some(before) = expected.filter(|(_, link)| *link != trailer.previous) {
                gaps.push((Arc::clone(&segment), trailer.previous, before));
            }
            expected = goes_on.then(|| (Some(segment), trailer.link()));
        }
    }
    if gaps.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = known_links(notes)?;
    to_come.iter().for_each(|note| known.add(&Body::Event(note.clone())));
    let missing = |(segment, previous, before): (Arc<Segment>, _, _)| {
        let link = known.missing(&segment, previous, &before)?;
        Some(audit::segment_missing(&segment, link))
    };
    Ok(gaps.into_iter().filter_map(missing).collect())
}

/// The head of a stream whose last segment cannot be read, by what is known of it: it is not one
/// that a crash left half made, or the opening would have set it aside.
fn unreadable_head(catalog: &Catalog, known: &[Head], stream: usize) -> Option<Head> {
    let first_seq = catalog.unreadable_of(stream).into_iter().max()?;
    let readable = catalog.stream(stream).pop().map(|segment| segment.first_seq());
    let code = stream_code(stream);
    let is_its = |head: &&Head| head.stream == code && head.first_seq == first_seq;
    let nothing = Head { stream: code, sealed: false, end: 0, first_seq };
    (Some(first_seq) > readable).then(|| known.iter().find(is_its).copied().unwrap_or(nothing))
}

/// The head of a segment whose frames end here. One that is `known` to have been sealed has a
/// footer, however damaged: it is no torn tail.
fn head_of(stream: usize, segment: &Segment, end: u32, known: &[Head]) -> Head {
    let (stream, first_seq) = (stream_code(stream), segment.first_seq());
    let was_sealed =
        |head: &Head| head.sealed && head.stream == stream && head.first_seq == first_seq;
    let sealed = segment.sealed_span().is_some() || known.iter().any(was_sealed);
    Head { stream, sealed, end, first_seq }
}

/// Where the streams of a closed ledger end, for all that is `known` of what cannot be read.
pub(super) fn heads(catalog: &Catalog, known: &[Head]) -> Vec<Head> {
    let of_stream = |stream| {
        if let Some(head) = unreadable_head(catalog, known, stream) {
            return Some(head);
        }
        let segment = catalog.stream(stream).pop()?;
        Some(head_of(stream, &segment, segment.known_end(), known))
    };
    (0..STREAM_KINDS.len()).filter_map(of_stream).collect()
}

/// Up to where the streams are on stable storage at an opening, with the ends that are missing
/// where they were: until that is on record, the next opening must find it, too.
pub(super) fn heads_at_opening(
    catalog: &Catalog,
    found: &Found,
    missing: &[MissingEnd],
) -> Vec<Head> {
    let of_stream = |stream| {
        if missing.iter().any(|end| end.stream == stream) {
            return found.head(stream).copied();
        }
        let known = found.state.as_ref().map_or(&[][..], |state| &state.heads);
        if let Some(head) = unreadable_head(catalog, known, stream) {
            return Some(head);
        }
        catalog.stream(stream).iter().rev().find_map(|segment| {
            let end = segment.synced_at_opening();
            (end > FRAMES_START).then(|| head_of(stream, segment, end, known))
        })
    };
    (0..STREAM_KINDS.len()).filter_map(of_stream).collect()
}

impl MissingEnd {
    /// The bytes that are missing, as damage of the file.
    pub(super) fn range(&self) -> DamagedRange {
        let damage = if self.is_gone { Damage::MissingSegment } else { Damage::MissingEnd };
        DamagedRange { start: self.start, end: self.end, damage, records: None }
    }
}
