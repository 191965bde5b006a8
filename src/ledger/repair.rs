//! Putting damaged segments in order: copy aside, then rebuild from what is whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::ledger::audit;
use crate::ledger::catalog::Catalog;
use crate::ledger::chain::named_by_the_next;
use crate::ledger::classes::STREAM_KINDS;
use crate::ledger::ends::MissingEnd;
use crate::ledger::layout::Layout;
use crate::ledger::leftovers::name_aside;
use crate::ledger::open::writer_note;
use crate::ledger::options::Options;
use crate::ledger::reader::Reader;
use crate::ledger::sequence::{self, Found};
use crate::model::Event;
use crate::segment::{Check, Segment};
use crate::storage::{OpenMode, Storage};

/// What [`repair`] did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// One for each segment that is not whole.
    pub actions: Vec<RepairAction>,
}

impl RepairReport {
    /// True when something is left that a repair cannot mend.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, RepairAction::Left { .. }))
    }
}

/// What becomes of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairAction {
    /// Its frames are whole: only its footer, or one copy of its header, is made anew. Or it is the
    /// file `LEDGER`, which holds no records.
    Rebuilt {
        /// The file.
        path: PathBuf,
        /// How many records it holds.
        records: u64,
        /// Where the damaged file was copied to.
        copy: PathBuf,
    },
    /// Its whole frames go into a new file.
    Salvaged {
        /// The segment.
        path: PathBuf,
        /// How many records were whole.
        records: u64,
        /// How many bytes were not.
        lost_bytes: u64,
        /// How many records those held; `None` when that cannot be told.
        lost_records: Option<u64>,
        /// Where the damaged file was copied to.
        copy: PathBuf,
    },
    /// Neither copy of its header is whole, so none of its frames can be trusted: it gets another
    /// name and is no longer part of the ledger.
    SetAside {
        /// The segment.
        path: PathBuf,
        /// Its new name.
        copy: PathBuf,
    },
    /// The operating system does not let it be read, which is not for a repair to mend.
    Left {
        /// The segment.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The end of its stream is gone, and nothing can bring it back: that is put on record, and the
    /// stream goes on from where it ends now.
    Noted {
        /// The segment.
        path: PathBuf,
        /// Where it ends now; 0 when the file is gone.
        offset: u64,
        /// How many bytes are gone.
        lost_bytes: u64,
    },
}

/// Puts in order what is damaged: footers are made anew, whole frames are salvaged from damaged
/// segments into new ones, and of every file that is replaced a copy is kept in the ledger's
/// directory `lost`. With `dry_run` nothing is done, and the report tells what would be.
///
/// # Errors
/// [`Error::Locked`] while the ledger has a writer; [`Error::NoSpace`] when there is no room for
/// the copies; else as for [`Options::open`]. What was repaired before an error stays so, and is on
/// record.
pub fn repair(
    dir: impl AsRef<Path>,
    storage: Arc<dyn Storage>,
    dry_run: bool,
) -> Result<RepairReport> {
    let dir = dir.as_ref();
    let options = Options::new().storage(Arc::clone(&storage)).create(false).background(false);
    if let Some(action) = repair_identity(dir, &*storage, dry_run)? {
        // Without it there is nothing to go by; with it made anew, the rest is looked at.
        let mut report = match dry_run {
            true => RepairReport::default(),
            false => repair(dir, storage, false)?,
        };
        report.actions.insert(0, action);
        return Ok(report);
    }
    let lost = lost_ends(dir, &storage)?;
    if !dry_run {
        // What a crash left is the opening's business, not damage.
        options.clone().open(dir)?.close()?;
    }
    let mut repairs = Repairs { dry_run, ..Repairs::default() };
    let outcome = {
        let layout = Layout::new(dir);
        let lock = match dry_run {
            true => None,
            false => Some(storage.lock(&layout.lock(), &writer_note())?),
        };
        let identity = layout.identity(&*storage)?;
        let mut found = sequence::read(&*storage, &layout.sequence(), &identity.uuid)?;
        let catalog = Catalog::new(storage, layout, Some(&identity));
        catalog.refresh(OpenMode::Read)?;
        found.look(&catalog);
        if !dry_run {
            // The streams may end elsewhere afterwards, also should it be broken off.
            sequence::forget_ends(&*catalog.storage, &catalog.layout.sequence(), &identity.uuid)?;
        }
        let outcome = repairs.mend_all(&catalog, &found);
        drop(lock);
        outcome
    };
    let Repairs { mut report, notes, .. } = repairs;
    let noted = match dry_run {
        true => Ok(()),
        // Also what was replaced before an error: nothing else tells of it.
        false => Ledger::open_noting(dir, options, notes).and_then(|ledger| ledger.close()),
    };
    outcome.and(noted)?;
    report.actions.extend(lost);
    Ok(report)
}

/// The ends of streams that are gone, which an opening puts on record.
fn lost_ends(dir: &Path, storage: &Arc<dyn Storage>) -> Result<Vec<RepairAction>> {
    let layout = Layout::new(dir);
    let identity = layout.identity(&**storage)?;
    let mut found = sequence::read(&**storage, &layout.sequence(), &identity.uuid)?;
    let catalog = Arc::new(Catalog::new(Arc::clone(storage), layout, Some(&identity)));
    catalog.refresh(OpenMode::Read)?;
    found.look(&catalog);
    let missing = found.missing_ends(&catalog, &Reader::of_writer(Arc::clone(&catalog)))?;
    let action = |end: MissingEnd| RepairAction::Noted {
        lost_bytes: end.end.saturating_sub(end.start),
        path: end.path,
        offset: end.start,
    };
    Ok(missing.into_iter().map(action).collect())
}

/// Makes the file that makes the directory a ledger anew, when it is damaged. What says how far
/// sequence numbers were given out is bound to the old one, so the next opening skips far ahead.
fn repair_identity(
    dir: &Path,
    storage: &dyn Storage,
    dry_run: bool,
) -> Result<Option<RepairAction>> {
    let layout = Layout::new(dir);
    let path = match layout.identity(storage) {
        Err(Error::Damaged { path, .. }) => path,
        Err(err) => return Err(err),
        Ok(_) => return Ok(None),
    };
    let copy = layout.lost().join(format!("LEDGER.{}", storage.now()));
    if !dry_run {
        let _lock = storage.lock(&layout.lock(), &writer_note())?;
        layout.keep_identity(storage, &copy)?;
        layout.write_identity(storage)?;
    }
    Ok(Some(RepairAction::Rebuilt { path, records: 0, copy }))
}

/// What is repaired of the segments.
#[derive(Default)]
struct Repairs {
    dry_run: bool,
    report: RepairReport,
    /// What is to be put on record.
    notes: Vec<Event<'static>>,
}

impl Repairs {
    fn mend_all(&mut self, catalog: &Catalog, found: &Found) -> Result<()> {
        self.set_unreadable_aside(catalog)?;
        for stream in 0..STREAM_KINDS.len() {
            let mut previous = [0; 32];
            for segment in catalog.stream(stream) {
                match self.mend(catalog, found, stream, &segment, previous) {
                    // It keeps no other one from being repaired.
                    Err(refused @ Error::Io { .. }) if is_about(&refused, segment.path()) => {
                        let (path, reason) = (segment.path().to_owned(), refused.to_string());
                        self.report.actions.push(RepairAction::Left { path, reason });
                    }
                    link => previous = link?.unwrap_or(previous),
                }
            }
        }
        Ok(())
    }

    fn set_unreadable_aside(&mut self, catalog: &Catalog) -> Result<()> {
        for unreadable in catalog.unreadable() {
            if !unreadable.is_damaged() {
                let reason = unreadable.reason.to_string();
                self.report.actions.push(RepairAction::Left { path: unreadable.path, reason });
                continue;
            }
            let copy = name_aside(&*catalog.storage, &unreadable.path, "unreadable")?;
            if !self.dry_run {
                let link = named_by_the_next(catalog, unreadable.stream, unreadable.first_seq);
                self.notes.push(audit::unreadable(&unreadable.path, link));
                rename(&*catalog.storage, &unreadable.path, &copy)?;
            }
            self.report.actions.push(RepairAction::SetAside { path: unreadable.path, copy });
        }
        Ok(())
    }

    /// Repairs a segment, if it is damaged, in a stream that has this link before it. Gives its own
    /// link, when it is sealed.
    fn mend(
        &mut self,
        catalog: &Catalog,
        found: &Found,
        stream: usize,
        segment: &Arc<Segment>,
        previous: [u8; 32],
    ) -> Result<Option<[u8; 32]>> {
        let mut check = segment.check()?;
        found.judge(&mut check, segment, stream)?;
        let old = segment.was_sealed_with()?;
        let mut link = old.as_ref().map(|trailer| trailer.link());
        if check.needs_repair() {
            let before = old.map_or(previous, |trailer| trailer.previous);
            let name = audit::segment_name(segment).replace('/', "-");
            let copy = catalog.layout.lost().join(format!("{name}.{}", catalog.storage.now()));
            let action = action(segment, &check, copy.clone());
            if !self.dry_run {
                let all_whole = check.findings.damaged.is_empty();
                let draft = segment.path().with_extension("seg.tmp");
                let new = rescue(catalog, segment, &copy, &draft, before, all_whole)?;
                self.notes.push(audit::repaired(segment, link, new, &action));
                rename(&*catalog.storage, &draft, segment.path())?;
                link = new;
            }
            self.report.actions.push(action);
        }
        Ok(link)
    }
}

/// True for an error of this file.
fn is_about(err: &Error, file: &Path) -> bool {
    matches!(err, Error::Io { path, .. } if path == file)
}

fn action(segment: &Segment, check: &Check, copy: PathBuf) -> RepairAction {
    let (path, records) = (segment.path().to_owned(), check.records);
    let damaged = &check.findings.damaged;
    if damaged.is_empty() {
        return RepairAction::Rebuilt { path, records, copy };
    }
    RepairAction::Salvaged {
        path,
        records,
        lost_bytes: damaged.iter().map(|range| range.end.saturating_sub(range.start)).sum(),
        lost_records: damaged.iter().map(|range| range.records.map(u64::from)).sum(),
        copy,
    }
}

/// Copies the file aside and makes a whole one beside it, of which it gives the link. A crash
/// leaves the old or the new one, and the copy.
fn rescue(
    catalog: &Catalog,
    segment: &Segment,
    copy: &Path,
    draft: &Path,
    previous: [u8; 32],
    all_whole: bool,
) -> Result<Option<[u8; 32]>> {
    segment.copy_whole(&*catalog.storage, copy)?;
    let rescued = segment.salvage(&catalog.storage, draft, previous, all_whole)?;
    Ok(rescued.trailer().map(|trailer| trailer.link()))
}

/// Gives a segment file another name, for good.
fn rename(storage: &dyn Storage, from: &Path, to: &Path) -> Result<()> {
    storage.rename(from, to)?;
    to.parent().map_or(Ok(()), |dir| storage.sync_dir(dir))
}
