//! What a recovery put aside, and a second crash kept it from putting on record.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::ledger::audit::{self, HOLE_COVERED, TAIL_CUT};
use crate::ledger::classes::STREAM_KINDS;
use crate::ledger::handle::Inner;
use crate::model::{Body, Event};

/// How the copies end that a recovery makes, and the files without a header that it sets aside.
const ENDINGS: [&str; 2] = [".bin", ".torn"];

impl Inner {
    /// Notes on what lies aside and is in no note yet. A recovery has to cut before it can append,
    /// so a crash may come between the two.
    pub(super) fn notes_owed_by_recovery(&self) -> Result<Vec<Event<'static>>> {
        let layout = &self.catalog.layout;
        let mut aside = self.put_aside(&layout.lost())?;
        for (name, _) in self.catalog.directories()?.of(&STREAM_KINDS) {
            aside.extend(self.put_aside(&layout.stream(name))?);
        }
        if aside.is_empty() {
            return Ok(Vec::new());
        }
        let notes = self.reader.audit().record_type(TAIL_CUT).record_type(HOLE_COVERED);
        let page = notes.limit(usize::MAX).fetch()?;
        for note in page.records().filter_map(Result::ok) {
            if let Body::Event(Event { payload: Some(payload), .. }) = &note.body {
                aside.retain(|(place, ..)| !payload.as_str().contains(place.as_str()));
            }
        }
        Ok(aside.iter().map(|(place, path, len)| audit::put_aside(place, path, *len)).collect())
    }

    /// The files in a directory that a recovery put there, as `lost/...`, their paths and lengths.
    fn put_aside(&self, dir: &Path) -> Result<Vec<(String, PathBuf, u64)>> {
        let storage = &self.options.storage;
        if !storage.exists(dir)? {
            return Ok(Vec::new());
        }
        let of_dir = dir.file_name().unwrap_or_default().to_string_lossy();
        let is_aside = |name: &str| ENDINGS.iter().any(|ending| name.ends_with(ending));
        let files = storage.list(dir)?.into_iter().filter(|entry| is_aside(&entry.name));
        let place = |name: &str| format!("{of_dir}/{name}");
        Ok(files.map(|file| (place(&file.name), dir.join(&file.name), file.len)).collect())
    }
}
