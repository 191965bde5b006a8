//! Reading everything and comparing it with its checksums.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::identity::{IDENTITY_BYTES, Identity};
use crate::format::seqfile::SLOT_BYTES;
use crate::ledger::audit::segment_name;
use crate::ledger::catalog::Catalog;
use crate::ledger::chain::{Before, KnownLinks, known_links};
use crate::ledger::classes::STREAM_KINDS;
use crate::ledger::cleanup::dropped;
use crate::ledger::layout::Layout;
use crate::ledger::reader::Reader;
use crate::ledger::sequence::{self, Found};
use crate::segment::{DamagedRange, Segment};
use crate::storage::{OpenMode, Storage};

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many segments were read.
    pub segments: u64,
    /// How many records are whole.
    pub records: u64,
    /// How many bytes of frames were read.
    pub bytes: u64,
    /// What is wrong, in the order of streams, segments and offsets.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// True when something is damaged. A tail that a crash tore is no damage.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.is_damage)
    }
}

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes; of the frames of a compacted segment, where they lie as it is
    /// unpacked.
    pub offset: u64,
    /// How many bytes are concerned.
    pub bytes: u64,
    /// What is wrong.
    pub damage: Damage,
    /// What the operating system said, when it refused.
    pub cause: Option<String>,
    /// How many records cannot be read for it; `None` when that cannot be told.
    pub records_lost: Option<u64>,
    /// False for what a crash leaves and the next opening puts in order.
    pub is_damage: bool,
    /// What to do about it.
    pub remedy: &'static str,
}

const HEADER_GONE: &str = "its header is gone, and with it what its frames are bound to: \
                           restore it from a backup, or run `runledger repair` to set it aside";
const REPAIR: &str = "run `runledger repair`, which keeps a copy";
const END_MISSING: &str = "restore it from a backup; without one, the next opening puts the loss \
                           on record and goes on. A copy that was made while its writer was \
                           started or stopped may only be older: copy again, or go on";
const UNREADABLE: &str = "nothing is known of its content: look at the disk, its cables and the \
                          file's owner; the rest of the ledger is served meanwhile";
const REPLACED: &str = "it, or one before it, was replaced or removed: compare with a backup";
const DROPPED_MEANWHILE: &str = "one before it is not there, as in a copy that was made while \
                                 segments were dropped: the next opening puts that on record";
const GONE_MEANWHILE: &str = "in a copy that was made while segments were dropped it is no loss; \
                              else restore it from a backup; the next opening puts it on record";
const CRASHED: &str = "a crash tore it, or a writer is at work: the next opening cuts it";
const HOLE: &str = "a crash left it in what was never synced: the next opening covers it, and puts \
                    that on record";
const CAME_BACK: &str = "a crash or a clean-up that failed has left it, a writer is about to \
                         remove it, or it was put back, as in a copy from which nothing is \
                         deleted: it is served until retention or the opening after a crash \
                         removes it";
const UNNAMED: &str = "restore it from a backup; without one, the next append makes a new one, \
                       with another id, and goes on with far higher sequence numbers";
const SLOT: &str = "a crash tore it, a writer is at work, or it was damaged: the other copy \
                    counts, and where that is the older one, what is gone from the end of a \
                    stream may not be missed. The next append writes this one anew";
const ENDS_UNKNOWN: &str = "nothing tells where the streams ended, and so what is gone from there: \
                            compare with a backup. The next writer makes it anew, and goes on \
                            with far higher sequence numbers";
const IN_THE_MAKING: &str =
    "a crash tore it, or a writer is making it: the next opening mends that";

/// Reads every segment of the ledger and compares it with its checksums, its index and its place
/// in the hash chain. Nothing is changed, and a writer may be at work meanwhile.
///
/// # Errors
/// [`Error::NotALedger`], [`Error::NewerFormat`] or [`Error::Io`]. Damage is no error: it is in the
/// report.
pub fn verify(dir: impl AsRef<Path>, storage: Arc<dyn Storage>) -> Result<VerifyReport> {
    let layout = Layout::new(dir.as_ref());
    let identity = match layout.identity(&*storage) {
        Ok(identity) => identity,
        Err(refused) => return verify_unnamed(&storage, &layout, refused),
    };
    let found = || sequence::read(&*storage, &layout.sequence(), &identity.uuid);
    let before = found()?;
    let report = verify_all(&storage, &layout, Some(&identity), before.clone())?;
    if report.is_damaged() {
        // When a writer came meanwhile, what it was writing may have been met half written, and a
        // segment that was missed may have been dropped.
        let now = found()?;
        if now != before {
            return verify_all(&storage, &layout, Some(&identity), now);
        }
    }
    Ok(report)
}

/// Verifies what can be without the file that tells which ledger it is. The file `SEQ` is bound to
/// that, so that nothing is known of it.
fn verify_unnamed(
    storage: &Arc<dyn Storage>,
    layout: &Layout,
    refused: Error,
) -> Result<VerifyReport> {
    let (damage, bytes, remedy) = match &refused {
        Error::Damaged { damage, .. } => (*damage, IDENTITY_BYTES as u64, REPAIR),
        Error::NotALedger { .. } => (Damage::MissingSegment, 0, UNNAMED),
        _ => return Err(refused),
    };
    let mut report = verify_all(storage, layout, None, Found::default())?;
    if damage == Damage::MissingSegment && report == VerifyReport::default() {
        // There is none, or a crash came while it was made.
        return Err(refused);
    }
    let range = DamagedRange::new(0, bytes);
    report.findings.insert(0, finding(&layout.identity_file(), range.of(damage), true, remedy));
    Ok(report)
}

/// Verifies all streams. After a clean close nothing can be torn.
fn verify_all(
    storage: &Arc<dyn Storage>,
    layout: &Layout,
    identity: Option<&Identity>,
    mut found: Found,
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let catalog = Arc::new(Catalog::new(Arc::clone(storage), layout.clone(), identity));
    catalog.refresh(OpenMode::Read)?;
    found.look(&catalog);
    let reader = Reader::of_writer(Arc::clone(&catalog));
    let (links, dropped) = (known_links(&reader)?, dropped(&reader)?);
    report.findings.extend(of_sequence(&catalog, &found));
    for unreadable in catalog.unreadable() {
        let bytes = length(&catalog, &unreadable.path);
        report.findings.push(match &*unreadable.reason {
            Error::Damaged { damage, .. } => {
                let is_torn = !found.is_clean()
                    && !found.knows(&unreadable)
                    && catalog.half_made(&unreadable.path)?.is_some();
                let remedy = if is_torn { IN_THE_MAKING } else { HEADER_GONE };
                let range = DamagedRange { records: None, ..DamagedRange::new(0, bytes) };
                finding(&unreadable.path, range.of(*damage), !is_torn, remedy)
            }
            refused => refused_by_system(&unreadable.path, bytes, refused),
        });
    }
    for stream in 0..STREAM_KINDS.len() {
        verify_stream(&catalog, stream, &found, &links, &mut report)?;
        let is_dropped = |segment: &Segment| dropped.contains(&segment_name(segment));
        for segment in catalog.stream(stream).iter().filter(|segment| is_dropped(segment)) {
            // A writer may have removed it meanwhile.
            if storage.exists(segment.path())? {
                let range = DamagedRange::new(0, segment.end().into()).of(Damage::Dropped);
                report.findings.push(finding(segment.path(), range, false, CAME_BACK));
            }
        }
    }
    for missing in found.missing_ends(&catalog, &reader)? {
        let remedy = if missing.is_damage { END_MISSING } else { GONE_MEANWHILE };
        report.findings.push(finding(&missing.path, missing.range(), missing.is_damage, remedy));
    }
    Ok(report)
}

/// The finding on the file that tells how far numbers were given out, and where the streams end.
fn of_sequence(catalog: &Catalog, found: &Found) -> Option<Finding> {
    let path = catalog.layout.sequence();
    let (start, damage) = found.damage?;
    if found.state.is_some() {
        let range = DamagedRange::new(start, start + SLOT_BYTES as u64);
        return Some(finding(&path, range.of(damage), false, SLOT));
    }
    // It is on stable storage before the first segment is made.
    let is_in_use = !catalog.all().is_empty() || !catalog.unreadable().is_empty();
    let range = DamagedRange { records: None, ..DamagedRange::new(0, length(catalog, &path)) };
    is_in_use.then(|| finding(&path, range.of(damage), true, ENDS_UNKNOWN))
}

/// The length of a file, as its directory has it; 0 when that cannot be told.
fn length(catalog: &Catalog, path: &Path) -> u64 {
    let dir = path.parent().unwrap_or(path);
    let entries = catalog.storage.list(dir).unwrap_or_default();
    entries.into_iter().find(|entry| path.ends_with(&entry.name)).map_or(0, |entry| entry.len)
}

/// The finding on a segment that the operating system does not let be read.
fn refused_by_system(path: &Path, bytes: u64, refused: &Error) -> Finding {
    let range = DamagedRange { records: None, ..DamagedRange::new(0, bytes) };
    let cause = match refused {
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let finding = finding(path, range.of(Damage::Unreadable), true, UNREADABLE);
    Finding { cause: Some(cause), ..finding }
}

fn verify_stream(
    catalog: &Catalog,
    stream: usize,
    found: &Found,
    links: &KnownLinks,
    report: &mut VerifyReport,
) -> Result<()> {
    // What the next sealed segment has to name as the one before it, unless that cannot be told.
    let mut expected = Some(Before::default());
    let mut unreadable = catalog.unreadable_of(stream);
    for segment in catalog.stream(stream) {
        let before = unreadable.len();
        unreadable.retain(|first_seq| *first_seq > segment.first_seq());
        if unreadable.len() < before {
            expected = None;
        }
        let mut check = match segment.check() {
            // Retention may have removed it meanwhile, with a note that was not yet there.
            Err(_) if !catalog.storage.exists(segment.path())? => {
                expected = None;
                continue;
            }
            Err(refused @ Error::Io { .. }) => {
                let bytes = length(catalog, segment.path());
                report.segments += 1;
                report.findings.push(refused_by_system(segment.path(), bytes, &refused));
                expected = None;
                continue;
            }
            other => other?,
        };
        found.judge(&mut check, &segment, stream)?;
        report.segments += 1;
        report.records += check.records;
        report.bytes += u64::from(segment.end());
        let mut add = |range: DamagedRange, is_damage, remedy| {
            report.findings.push(finding(segment.path(), range, is_damage, remedy));
        };
        if check.findings.header {
            let range = DamagedRange::new(0, u64::from(crate::segment::FRAMES_START));
            add(range.of(Damage::HeaderChecksum), true, REPAIR);
        }
        for range in &check.findings.damaged {
            let is_torn = !found.is_clean() && segment.will_cover(range, &check.findings);
            add(*range, !is_torn, if is_torn { HOLE } else { REPAIR });
        }
        if let Some(tail) = check.findings.tail {
            add(tail, false, CRASHED);
        }
        if let Some(damage) = check.findings.footer {
            add(segment.footer_range(damage), true, REPAIR);
        }
        let Some(trailer) = segment.trailer() else {
            // It has been named; that the next one does not fit to it is no news.
            expected = expected.filter(|_| check.findings.footer.is_none());
            continue;
        };
        let missing = expected.and_then(|it| links.missing(&segment, trailer.previous, &it));
        if check.hash_differs || missing.is_some() {
            let range = DamagedRange::new(0, u64::from(segment.end())).of(Damage::Hash);
            let is_damage = check.hash_differs || found.is_clean();
            add(range, is_damage, if is_damage { REPLACED } else { DROPPED_MEANWHILE });
        }
        expected = Some((Some(segment), trailer.link()));
    }
    Ok(())
}

fn finding(path: &Path, range: DamagedRange, is_damage: bool, remedy: &'static str) -> Finding {
    Finding {
        path: path.to_owned(),
        offset: range.start,
        bytes: range.end.saturating_sub(range.start),
        damage: range.damage,
        cause: None,
        records_lost: range.records.map(u64::from),
        is_damage,
        remedy,
    }
}
