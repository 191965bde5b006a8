//! What recovery and repair have put aside: copies in `lost`, and segments under another name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::ledger::audit;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::STREAM_KINDS;
use crate::ledger::cleanup::allocated;
use crate::ledger::handle::Inner;
use crate::ledger::policy::Retention;
use crate::model::nanos;
use crate::storage::Storage;

/// The endings of files among the segments that are none: set aside by recovery or repair, or left
/// half-made by a repair that was broken off.
const ENDINGS: [&str; 3] = [".torn", ".unreadable", ".seg.tmp"];

/// A file that is kept for people to look at, and holds nothing that the ledger serves.
pub(super) struct Leftover {
    pub(super) path: PathBuf,
    pub(super) allocated: u64,
    pub(super) modified: i64,
}

/// How many files are kept of what was cut or replaced, and how much disk they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copies {
    /// How many files.
    pub files: u64,
    /// How many bytes of disk.
    pub bytes: u64,
}

impl Copies {
    pub(super) fn of(leftovers: &[Leftover]) -> Self {
        let bytes = leftovers.iter().map(|leftover| leftover.allocated).sum();
        Self { files: leftovers.len() as u64, bytes }
    }
}

/// The name that a segment file is set aside under, with this ending: none that is taken, as what
/// was set aside before is another one, with records of its own.
///
/// # Errors
/// When that cannot be told.
pub(super) fn name_aside(storage: &dyn Storage, path: &Path, ending: &str) -> Result<PathBuf> {
    let mut aside = path.with_extension(ending);
    let mut earlier = 0_u32;
    while storage.exists(&aside)? {
        earlier += 1;
        aside = path.with_extension(format!("{earlier}.{ending}"));
    }
    Ok(aside)
}

/// All that is kept.
///
/// # Errors
/// When a directory cannot be listed.
pub(super) fn leftovers(catalog: &Catalog) -> Result<Vec<Leftover>> {
    let lost = catalog.layout.lost();
    let streams = catalog.directories()?.of(&STREAM_KINDS);
    let mut dirs: Vec<_> = streams.map(|(name, _)| catalog.layout.stream(name)).collect();
    if catalog.storage.exists(&lost)? {
        dirs.push(lost.clone());
    }
    let mut found = Vec::new();
    for dir in dirs {
        for entry in catalog.storage.list(&dir)? {
            let is_kept = dir == lost || ENDINGS.iter().any(|end| entry.name.ends_with(end));
            if is_kept && !entry.is_dir {
                let path = dir.join(&entry.name);
                let (allocated, modified) = (entry.allocated, entry.modified);
                found.push(Leftover { path, allocated, modified });
            }
        }
    }
    Ok(found)
}

/// Those that retention removes: what has been kept for longer than any record is, and the oldest
/// of the others as long as the directory takes more than its cap, so that no record goes to make
/// room for them.
///
/// # Errors
/// As for [`leftovers`].
pub(super) fn going(catalog: &Catalog, retention: &Retention, now: i64) -> Result<Vec<Leftover>> {
    // What is kept for ever has no term, and copies of it have none.
    let longest = retention.longest().map(nanos);
    let mut over = match retention.cap() {
        Some(cap) => allocated(catalog, catalog.layout.dir())?.saturating_sub(cap),
        None => 0,
    };
    let mut found = leftovers(catalog)?;
    found.sort_by_key(|leftover| leftover.modified);
    found.retain(|leftover| {
        let is_old = longest.is_some_and(|it| leftover.modified.saturating_add(it) < now);
        let goes = is_old || over > 0;
        over = over.saturating_sub(if goes { leftover.allocated } else { 0 });
        goes
    });
    Ok(found)
}

impl Inner {
    /// Removes these: first that is on record, then they go, as segments do.
    pub(super) fn remove_copies(&self, leftovers: &[Leftover]) -> Result<Copies> {
        let copies = Copies::of(leftovers);
        if copies.files == 0 {
            return Ok(copies);
        }
        self.note(&audit::copies_dropped(copies.files, copies.bytes))?;
        self.sync()?;
        let storage = &self.options.storage;
        leftovers.iter().try_for_each(|leftover| storage.remove(&leftover.path))?;
        let dirs: BTreeSet<_> = leftovers.iter().filter_map(|it| it.path.parent()).collect();
        let mut synced = dirs.into_iter().map(|dir| storage.sync_dir(dir));
        synced.try_for_each(|it| it.inspect_err(|err| self.poison(err)))?;
        Ok(copies)
    }
}
