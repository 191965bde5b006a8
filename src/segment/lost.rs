//! What is no longer in the file: segments that another program has cut short, and pages that the
//! disk cannot read. A map gives zeros for them, which must not be taken for an answer.

use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::index::{MemIndex, Table};
use crate::model::FieldSet;
use crate::segment::open::open_sealed;
use crate::segment::sealed::{SealedIndex, SealedTable};
use crate::segment::{Findings, Segment, State, TableRef};
use crate::storage::{Map, prefetch};

impl SealedIndex {
    /// Has the processor fetch what [`SealedIndex::is_intact`] reads.
    #[inline]
    pub(super) fn fetch_end(&self) {
        let end = self.map.as_slice().last_chunk::<8>();
        end.into_iter().for_each(|end| prefetch(end));
    }

    /// True when what was read of the map was in the file; to be asked after it was read. Of a file
    /// that was cut in its last page no page is lost, but its end is.
    #[inline]
    pub(super) fn is_intact(&self) -> bool {
        self.map.as_slice().last_chunk() == Some(&self.end) && !self.map.is_lost()
    }
}

impl Segment {
    /// Calls `read` with the rows and the keys of these fields. A footer that turns out to be
    /// damaged is replaced by an index made from the records.
    pub(crate) fn with_table<R>(
        &self,
        fields: FieldSet,
        read: impl FnOnce(TableRef<'_>) -> R,
    ) -> Result<R> {
        loop {
            let damage = match &*self.current()? {
                State::Memory(index) => return Ok(read(TableRef::Memory(index))),
                State::Sealed(sealed) if sealed.map.is_lost() => None,
                State::Sealed(sealed) => match sealed.table(fields) {
                    Ok(table) => return self.read_table(&table, read),
                    Err(_) if !sealed.is_intact() => return Err(self.lost(&sealed.map)),
                    Err(damage) => Some(damage),
                },
            };
            self.renew(damage)?;
        }
    }

    /// As [`Segment::with_table`], by code that is made once and not for each form of a table.
    pub(crate) fn with_rows<R>(
        &self,
        fields: FieldSet,
        read: impl FnOnce(&dyn Table) -> R,
    ) -> Result<R> {
        self.with_table(fields, |table| match table {
            TableRef::Memory(table) => read(table),
            TableRef::Sealed(table) => read(table),
        })
    }

    /// What `read` makes of a table of the segment's footer.
    ///
    /// # Errors
    /// When what it read is not in the file any more.
    pub(crate) fn read_table<R>(
        &self,
        table: &SealedTable<'_>,
        read: impl FnOnce(TableRef<'_>) -> R,
    ) -> Result<R> {
        let answer = read(TableRef::Sealed(table));
        let is_intact = table.footer.is_intact();
        if is_intact { Ok(answer) } else { Err(self.lost(&table.footer.map)) }
    }

    /// The footer of a sealed segment; `None` while the index is in memory, and when the footer is
    /// not in the file any more.
    pub(crate) fn footer(&self) -> Option<Arc<SealedIndex>> {
        match &*self.state.read() {
            State::Sealed(sealed) if !sealed.map.is_lost() => Some(Arc::clone(sealed)),
            State::Sealed(_) | State::Memory(_) => None,
        }
    }

    /// What the index tells, in memory or where it lies. A footer that turns out to be damaged is
    /// replaced by an index made from the records.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn told<R>(
        &self,
        in_memory: impl Fn(&MemIndex) -> R,
        in_footer: impl Fn(&SealedIndex) -> Result<R, Damage>,
    ) -> Result<R> {
        loop {
            let damage = match &*self.current()? {
                State::Memory(index) => return Ok(in_memory(index)),
                State::Sealed(sealed) if sealed.map.is_lost() => None,
                State::Sealed(sealed) => match in_footer(sealed) {
                    _ if !sealed.is_intact() => return Err(self.lost(&sealed.map)),
                    Ok(told) => return Ok(told),
                    Err(damage) => Some(damage),
                },
            };
            self.renew(damage)?;
        }
    }

    /// Has a damaged footer replaced by an index made from the records; without damage it is the
    /// map that has lost a page.
    #[cold]
    fn renew(&self, damage: Option<Damage>) -> Result<()> {
        damage.map_or_else(|| self.map_anew(), |damage| self.rebuild(damage))
    }

    /// The error of a map that has lost a page, or the end of the file.
    #[cold]
    pub(super) fn lost(&self, map: &Map) -> Error {
        // The map of a file that grows shows more than there is.
        let had = match self.is_whole_file() {
            true => map.as_slice().len() as u64,
            false => u64::from(self.end()),
        };
        match self.file().len() {
            Ok(len) if len < had => Error::damaged(self.path(), len, Damage::Truncated),
            Ok(_) if map.is_lost() => Error::io("read", self.path(), rustix::io::Errno::IO.into()),
            Ok(len) => Error::damaged(self.path(), len, Damage::Footer),
            Err(err) => err,
        }
    }

    /// Maps a sealed segment anew if its map has lost a page: the file may be whole again, or may
    /// have been all along but for one page.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn map_anew(&self) -> Result<()> {
        let is_lost = |state: &State| matches!(state, State::Sealed(it) if it.map.is_lost());
        if !is_lost(&self.state.read()) {
            return Ok(());
        }
        let mut state = self.state.write();
        let State::Sealed(sealed) = &mut *state else { return Ok(()) };
        if !sealed.map.is_lost() {
            return Ok(());
        }
        match open_sealed(&self.file, &self.header, &mut Findings::default())? {
            Some((anew, _)) if anew.is_intact() => {
                *self.map.write() = Some(anew.map.clone());
                *sealed = anew;
                Ok(())
            }
            Some((anew, _)) => Err(self.lost(&anew.map)),
            None => Err(self.lost(&sealed.map)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Pinned;
    use crate::segment::made::{append, create, open};

    /// A query that had found a record in a footer was told that the record was damaged, when
    /// another query had found a section of the footer damaged and not yet made the index anew.
    #[test]
    fn a_record_is_read_while_the_footer_it_was_found_in_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let made = create(dir.path());
        (1..=50).for_each(|seq| append(&made, seq, 10));
        made.seal([0; 32]).unwrap();
        let segment = Arc::new(open(&made));
        let footer = segment.footer().unwrap();
        let table = footer.table(FieldSet::NONE).unwrap();
        let pinned = Pinned::new(&segment).unwrap();
        let read = || pinned.record(table.seq(7), table.offset(7)).map(|record| record.seq);
        assert_eq!(read().unwrap(), 8);
        segment.rebuild(Damage::Footer).unwrap();
        assert!(segment.footer().is_none());
        assert_eq!(read().unwrap(), 8);
    }
}
