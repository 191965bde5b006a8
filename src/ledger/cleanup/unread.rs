//! Segments that cannot be read while it is decided what goes. They stay, and all is looked at anew
//! without them: what lies in one keeps no other from going.

use crate::error::{Error, Result};
use crate::index::Summary;
use crate::ledger::catalog::{Catalog, is_of_one_file};
use crate::segment::{Overview, Segment};

/// The errors by which segments stay, no more than one of each.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Unread(Vec<Error>);

impl Unread {
    /// True for a segment that could not be read.
    pub(super) fn has(&self, segment: &Segment) -> bool {
        self.0.iter().any(|err| file_of(err) == Some(segment.path()))
    }

    /// Notes that a segment of records could not be read.
    ///
    /// # Errors
    /// This one, when it is of no such segment, or comes although what lies in it was left out. A
    /// file that could not be written has another name with every try, and there would be no end.
    pub(super) fn note(&mut self, catalog: &Catalog, err: Error) -> Result<()> {
        let Some(file) = file_of(&err).filter(|_| is_of_one_file(&err)) else { return Err(err) };
        let lists = catalog.records();
        let is_there = lists.iter().flat_map(|list| list.segments()).any(|it| it.path() == file);
        if !is_there || self.0.iter().any(|known| file_of(known) == Some(file)) {
            return Err(err);
        }
        self.0.push(err);
        Ok(())
    }

    /// What is known of a segment; of one that could not be read, what is known without that.
    pub(super) fn overview(&self, segment: &Segment) -> Result<Overview> {
        match segment.overview() {
            Err(_) if self.has(segment) => Ok(Overview {
                rows: 0,
                end: segment.end(),
                last_seq: Some(segment.last_seq()).filter(|&seq| seq > 0),
                summary: Summary::default(),
                sealed: segment.is_sealed(),
                index_memory: 0,
                footer_bytes: 0,
            }),
            overview => overview,
        }
    }

    /// The errors, in the order in which they came.
    pub(in crate::ledger) fn into_errors(self) -> Vec<Error> {
        self.0
    }
}

/// The file that an error is about.
fn file_of(err: &Error) -> Option<&std::path::Path> {
    match err {
        Error::Io { path, .. } | Error::Damaged { path, .. } => Some(path),
        _ => None,
    }
}
