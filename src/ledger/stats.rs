use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::seqfile::Head;
use crate::ledger::audit::{
    APPENDS_REFUSED, CLOCK_JUMPED, DISK_FULL, END_MISSING, HOLE_COVERED, SEGMENT_DROPPED,
    SEGMENT_REPAIRED, TAIL_CUT, refused,
};
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, STREAM_KINDS};
use crate::ledger::cleanup::allocated;
use crate::ledger::leftovers::{Copies, leftovers};
use crate::ledger::reader::Reader;
use crate::ledger::sequence::{self, Found};
use crate::model::{Kind, Timestamp};
use crate::segment::{Check, Segment};
use crate::storage::OpenMode;

/// How large the ledger is, and what it has lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The streams, those of records first.
    pub streams: Vec<StreamStats>,
    /// Bytes of disk that the whole directory takes.
    pub allocated_bytes: u64,
    /// What was lost, dropped or is damaged.
    pub losses: Losses,
    /// What is kept of what was cut or replaced.
    pub copies: Copies,
    /// What is wrong with the ledger's file `runledger.toml`, of which nothing is applied then.
    pub policy_problem: Option<String>,
}

/// One stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStats {
    /// Its name.
    pub name: &'static str,
    /// The kind of its records; `None` for the engine's own notes.
    pub kind: Option<Kind>,
    /// How many segment files it has.
    pub segments: u64,
    /// How many of them are sealed.
    pub sealed: u64,
    /// How many of those are packed, by a compaction.
    pub packed: u64,
    /// How many records they hold, superseded states of runs included.
    pub records: u64,
    /// Bytes of frames, headers included; of packed segments as they are unpacked.
    pub frame_bytes: u64,
    /// Bytes of disk that the segments take, whatever is in them.
    pub disk_bytes: u64,
    /// Bytes of footers.
    pub footer_bytes: u64,
    /// Bytes of memory that the indexes of segments without a footer take, and what tells which
    /// segments hold a key.
    pub index_memory: u64,
    /// The lowest and highest sequence number.
    pub seqs: Option<(u64, u64)>,
    /// The earliest and latest creation.
    pub created: Option<(Timestamp, Timestamp)>,
}

/// What was lost, dropped or is damaged. The particulars are in [`Reader::audit`] and
/// [`verify`](crate::verify).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// Ends of segments that a crash tore and recovery cut.
    pub torn_tails: u64,
    /// Ranges that a crash left unwritten and recovery covered.
    pub covered_holes: u64,
    /// Segments that clean-up or retention dropped.
    pub dropped_segments: u64,
    /// Segments that a repair has rebuilt, salvaged or set aside.
    pub repaired_segments: u64,
    /// Jumps of the clock that were noticed while the ledger was written.
    pub clock_jumps: u64,
    /// Appends that were refused, for what they held or for want of space; those of a writer that
    /// is still open are counted with a delay of up to a minute.
    pub refused_appends: u64,
    /// Ranges in which no whole frame can be found, in the segments that were scanned.
    pub damaged_ranges: u64,
    /// Appends among those that found no space.
    pub refused_for_space: u64,
    /// Ends of streams that an opening found missing: a last segment that was gone, or cut short.
    pub lost_ends: u64,
    /// Ends of streams that are missing now, and that no opening has put on record yet.
    pub missing_ends: u64,
    /// Footers that are damaged; what they held was made anew from the records.
    pub damaged_footers: u64,
    /// Segment files that cannot be read at all.
    pub unreadable_segments: u64,
}

impl Losses {
    /// True when something on disk is damaged now.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        self.damaged_ranges + self.damaged_footers + self.unreadable_segments + self.missing_ends
            > 0
    }
}

impl Reader {
    /// How large the ledger is, and what it has lost, without reading records.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let catalog = self.catalog();
        let mut stats = Stats {
            allocated_bytes: allocated(catalog, self.dir())?,
            losses: self.losses()?,
            copies: Copies::of(&leftovers(catalog)?),
            policy_problem: self.policy().err().map(|err| err.to_string()),
            ..Stats::default()
        };
        for number in catalog.in_use() {
            let Some((name, kind)) = STREAM_KINDS.get(number) else { continue };
            let list = catalog.list(number);
            let is_audit = number == AUDIT_STREAM;
            let mut stream =
                StreamStats { name, kind: (!is_audit).then_some(*kind), ..StreamStats::default() };
            let dir = catalog.layout.stream(name);
            if catalog.storage.exists(&dir)? {
                stream.disk_bytes = allocated(catalog, &dir)?;
            }
            for segment in list.segments() {
                match stream.add(segment) {
                    // It is counted among those that cannot be read.
                    Ok(()) | Err(Error::Io { .. }) => {}
                    Err(err) => return Err(err),
                }
            }
            stream.index_memory += list.filter_memory() as u64;
            stream.index_memory += catalog.spares.memory(number) as u64;
            stats.streams.push(stream);
        }
        Ok(stats)
    }

    /// What the ledger has lost: what the engine has noted, and the damage that is known without
    /// reading what was not asked for. [`verify`](crate::verify) reads all.
    ///
    /// # Errors
    /// As for [`Query::fetch`](crate::Query::fetch).
    pub fn losses(&self) -> Result<Losses> {
        let mut losses = self.noted_losses()?;
        losses.unreadable_segments = self.catalog().unreadable().len() as u64;
        for segment in self.catalog().all() {
            // Records that do not decode are found when they are entered into the index.
            match segment.overview() {
                Err(Error::Io { .. }) => losses.unreadable_segments += 1,
                known => drop(known?),
            }
            let findings = segment.findings();
            losses.damaged_ranges += findings.damaged.len() as u64;
            losses.damaged_footers += u64::from(findings.footer.is_some());
        }
        self.judge_ends(&mut losses)?;
        Ok(losses)
    }

    /// Counts the ends that are damaged or missing by what the file `SEQ` tells of them: those are
    /// no tails that a crash tore. Where a writer came between, none counts.
    fn judge_ends(&self, losses: &mut Losses) -> Result<()> {
        let layout = &self.catalog().layout;
        let storage = &self.catalog().storage;
        let Ok(ledger) = layout.identity(&**storage) else { return Ok(()) };
        let found = || sequence::read(&**storage, &layout.sequence(), &ledger.uuid);
        let before = found()?;
        if !self.has_odd_end(&before) {
            return Ok(());
        }
        let now = Catalog::new(Arc::clone(storage), layout.clone(), Some(&ledger));
        now.refresh(OpenMode::Read)?;
        let mut looked = before.clone();
        looked.look(&now);
        let missing = looked.missing_ends(&now, self)?;
        let missing = missing.iter().filter(|end| end.is_damage).count() as u64;
        if found()? != before {
            return Ok(());
        }
        losses.missing_ends = missing;
        for stream in 0..STREAM_KINDS.len() {
            for segment in now.stream(stream) {
                let findings = segment.findings();
                let known = findings.damaged.len();
                let mut check = Check { findings, ..Check::default() };
                looked.judge(&mut check, &segment, stream)?;
                losses.damaged_ranges += u64::from(check.findings.damaged.len() > known);
            }
        }
        Ok(())
    }

    /// True when a segment has something behind its frames, or a stream does not reach its head.
    fn has_odd_end(&self, found: &Found) -> bool {
        let catalog = self.catalog();
        (0..STREAM_KINDS.len()).any(|stream| {
            let segments = catalog.stream(stream);
            let reaches = |head: &Head| {
                let named = |segment: &&Arc<Segment>| segment.first_seq() == head.first_seq;
                segments.iter().find(named).is_some_and(|segment| !segment.falls_short_of(head))
            };
            segments.iter().any(|segment| segment.findings().tail.is_some())
                || found.head(stream).is_some_and(|head| !reaches(head))
        })
    }

    fn noted_losses(&self) -> Result<Losses> {
        // Counted without reading the notes, which may be damaged themselves.
        let for_space = self.noted_refusals(DISK_FULL)?;
        let count = |name| self.audit().record_type(name).count();
        Ok(Losses {
            torn_tails: count(TAIL_CUT)?,
            covered_holes: count(HOLE_COVERED)?,
            dropped_segments: count(SEGMENT_DROPPED)?,
            repaired_segments: count(SEGMENT_REPAIRED)?,
            clock_jumps: count(CLOCK_JUMPED)?,
            refused_appends: self.noted_refusals(APPENDS_REFUSED)? + for_space,
            refused_for_space: for_space,
            lost_ends: count(END_MISSING)?,
            ..Losses::default()
        })
    }

    fn noted_refusals(&self, note: &'static str) -> Result<u64> {
        let notes = self.audit().record_type(note).limit(usize::MAX).fetch()?;
        notes.records().map(|note| Ok(refused(&note?.body))).sum()
    }
}

impl StreamStats {
    fn add(&mut self, segment: &Segment) -> Result<()> {
        let overview = segment.overview()?;
        self.segments += 1;
        self.sealed += u64::from(overview.sealed);
        self.packed += u64::from(segment.header().packed);
        self.records += u64::from(overview.rows);
        self.frame_bytes += u64::from(segment.end());
        self.footer_bytes += overview.footer_bytes;
        self.index_memory += overview.index_memory as u64;
        let Some(last) = overview.last_seq else { return Ok(()) };
        let (first, _) = self.seqs.unwrap_or((segment.first_seq(), last));
        self.seqs = Some((first, last));
        let created = overview.summary.created;
        let (from, to) = self.created.map_or(created, |(from, to)| {
            (created.0.min(from.as_nanos()), created.1.max(to.as_nanos()))
        });
        self.created = Some((Timestamp::from_nanos(from), Timestamp::from_nanos(to)));
        Ok(())
    }
}
