//! Looking for a key in the footers of several segments at once.
//!
//! What a look-up reads lies in places far apart, and each tells where the next one is: in a large
//! ledger it does little but wait for them, one after the other. So each step is done in all the
//! footers before the next one, and fetches what that will read: the processor then waits for the
//! places in all segments about as long as for those in one. It is the group prefetching of Chen,
//! Ailamaki, Gibbons and Mowry, "Improving hash join performance through prefetching" (ICDE 2004).

use smallvec::SmallVec;

use crate::format::footer::Postings;
use crate::format::key;
use crate::format::packed::Packed;
use crate::index::{Code, Row};
use crate::model::{Field, FieldSet};
use crate::segment::sealed::{SealedIndex, SealedTable};
use crate::storage::prefetch;

/// In so many tables a key is mostly looked for at a time, or in fewer.
pub(crate) const FEW_TABLES: usize = 4;

/// Tables in which a key is looked for at once. Each has a number that its user knows it by.
///
/// A table is large: it is filled in where it stays, as to hand on four of them takes longer than
/// to look into one.
#[derive(Debug, Default)]
pub(crate) struct Tables<'a>(SmallVec<[(usize, SealedTable<'a>); FEW_TABLES]>);

/// The rows of a key that has more are not fetched.
const FEW_ROWS: usize = 32;

/// What was found of a key before it is asked for.
#[derive(Debug)]
pub(super) struct Found<'a> {
    field: Field,
    hash: u64,
    /// Its code and its rows, if it is there.
    rows: Option<(Code, Postings<'a>)>,
}

impl<'a> Found<'a> {
    /// The code of a key, or that there is none; `None` when another key was looked for.
    pub(super) fn code(&self, field: Field, hash: u64) -> Option<Option<Code>> {
        let is_it = self.field == field && self.hash == hash;
        is_it.then(|| self.rows.as_ref().map(|(code, _)| *code))
    }

    /// The rows of the key with this code; `None` when another key was looked for.
    pub(super) fn postings(&self, field: Field, code: Code) -> Option<&Postings<'a>> {
        let rows = self.rows.as_ref().filter(|(of, _)| self.field == field && *of == code);
        rows.map(|(_, rows)| rows)
    }
}

impl<'a> Tables<'a> {
    /// Adds the table of a footer, with the keys of these fields, unless that is damaged.
    pub(crate) fn push(&mut self, number: usize, footer: &'a SealedIndex, fields: FieldSet) {
        if let Ok(table) = footer.table(fields) {
            self.0.push((number, table));
        }
    }

    /// The table with this number, if it is there.
    pub(crate) fn get(&self, number: usize) -> Option<&SealedTable<'a>> {
        self.0.iter().find(|(of, _)| *of == number).map(|(_, table)| table)
    }

    /// Looks for a key in the tables, which then give at once what they are asked of it. A table is
    /// taken away when what was read of it was not in the file: of that nothing may be noted.
    pub(crate) fn find_in_all(&mut self, field: Field, key: &[u8]) {
        let opened = self.0.iter_mut();
        let mut opened: SmallVec<[_; FEW_TABLES]> =
            opened.map(|(_, table)| (key::hash(table.seed(), key), table)).collect();
        for (hash, table) in &opened {
            table.footer.fetch_end();
            let view = table.field(field);
            view.into_iter().for_each(|view| view.entries_near(*hash).for_each(prefetch));
        }
        for (hash, table) in &opened {
            let view = table.field(field);
            view.into_iter().for_each(|view| view.values_near(*hash).for_each(prefetch));
        }
        opened.iter_mut().for_each(|(hash, table)| table.find_ahead(field, *hash));
        for (_, table) in &opened {
            table.few_rows().for_each(|row| table.fetch_entries(row));
        }
        for (_, table) in &opened {
            table.few_rows().for_each(|row| table.fetch_values(row));
        }
        drop(opened);
        self.0.retain(|(_, table)| table.footer.is_intact());
    }
}

impl<'a> SealedTable<'a> {
    /// Looks for the key, and notes what is found.
    fn find_ahead(&mut self, field: Field, hash: u64) {
        let Some(view) = self.field(field) else { return };
        let rows = view.find(hash).map(|code| (code, view.postings(code)));
        if let Some((_, rows)) = &rows {
            rows.ends().for_each(prefetch);
            rows.clone().next().into_iter().for_each(|first| self.fetch_entries(first));
        }
        self.found = Some(Found { field, hash, rows });
    }

    /// The rows of the key that was looked for, unless they are many.
    fn few_rows(&self) -> impl Iterator<Item = Row> {
        let rows = self.found.as_ref().and_then(|found| found.rows.as_ref());
        let rows = rows.map(|(_, rows)| rows).filter(|rows| rows.len() <= FEW_ROWS);
        rows.into_iter().cloned().flatten()
    }

    /// The columns in which each row has a value.
    fn columns(&self) -> [&Packed<'a>; 3] {
        [&self.times, &self.seqs, &self.offsets]
    }

    /// Fetches what tells where the row's values are.
    fn fetch_entries(&self, row: Row) {
        let entries = self.columns().into_iter().filter_map(|column| column.entry_at(row as usize));
        entries.for_each(|entry| prefetch(entry));
    }

    /// Fetches the row's values.
    pub(super) fn fetch_values(&self, row: Row) {
        prefetch(self.tags.from(row as usize));
        let values = self.columns().into_iter().filter_map(|column| column.bytes_at(row as usize));
        values.for_each(|value| prefetch(value));
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::path::Path;

    use super::*;
    use crate::format::codec;
    use crate::index::Table;
    use crate::model::{Event, Id, Timestamp};
    use crate::segment::Segment;
    use crate::segment::made::{append_record, create};

    const FIELDS: [Field; 2] = [Field::Project, Field::Trace];

    /// Events of as many projects as traces, with names in common: of the first a row, of the next
    /// two rows, and so on. One name is of no trace. Two keys with one name have one hash, and many
    /// have one code.
    fn sealed(dir: &Path, keys: u32) -> Segment {
        let segment = create(dir);
        let mut seq = 1_u64;
        for (key, rows) in (0..keys).map(|key| (key, key + 1)) {
            for _ in 0..rows {
                let id = |shift| Id::new(name((key + shift) % keys)).unwrap();
                let mut event = Event::new("t").project_id(id(0));
                event.created_at = Some(Timestamp::from_nanos(seq.cast_signed()));
                event.trace_id = (key != keys / 2).then(|| id(keys / 2));
                append_record(&segment, seq, |out| codec::encode_event(out, 0, &event));
                seq += 1;
            }
        }
        segment.seal([0; 32]).unwrap();
        segment
    }

    fn name(key: u32) -> String {
        format!("key-{key}")
    }

    fn key_of(name: &str) -> key::KeyBuf {
        key::id_key(&Id::new(name).unwrap())
    }

    fn fields() -> FieldSet {
        FIELDS.into_iter().fold(FieldSet::NONE, FieldSet::with)
    }

    fn open(footer: &SealedIndex) -> SealedTable<'_> {
        footer.table(fields()).unwrap()
    }

    /// What the table tells of a key.
    fn told(table: &SealedTable<'_>, field: Field, key: &str) -> Option<(Code, u32, Vec<Row>)> {
        let code = table.find(field, key_of(key).as_slice())?;
        let mut rows = Vec::new();
        table.for_each_posting(field, code, &mut |row| {
            rows.push(row);
            ControlFlow::Continue(())
        });
        assert!(rows.iter().all(|row| table.has_key(field, code, *row)));
        Some((code, table.posting_count(field, code), rows))
    }

    #[test]
    fn what_was_found_ahead_is_what_is_found_without() {
        let dirs = [1, 2, 9, 40].map(|keys| (tempfile::tempdir().unwrap(), keys));
        let segments = dirs.each_ref().map(|(dir, keys)| sealed(dir.path(), *keys));
        let footers = segments.each_ref().map(|segment| segment.footer().unwrap());
        let keys: Vec<_> = (0..42).map(name).collect();
        for (asked, field) in keys.iter().flat_map(|key| FIELDS.map(|field| (key, field))) {
            let mut tables = Tables::default();
            (0..).zip(&footers).for_each(|(at, footer)| tables.push(at, footer, fields()));
            tables.find_in_all(field, key_of(asked).as_slice());
            for (at, footer) in footers.iter().enumerate() {
                let (table, plain) = (tables.get(at).unwrap(), open(footer));
                // What was not asked for ahead is found as ever, also under the same code.
                for (key, field) in keys.iter().flat_map(|key| FIELDS.map(|field| (key, field))) {
                    let [ahead, without] = [table, &plain].map(|table| told(table, field, key));
                    assert_eq!(ahead, without, "{field} {key} after {asked}");
                }
            }
        }
        let [.., (_, most)] = dirs;
        let table = open(&footers[3]);
        assert_eq!(told(&table, Field::Project, &name(39)).unwrap().1, most);
        assert_eq!(told(&table, Field::Trace, &name(39)).unwrap().1, most / 2);
        assert_eq!(told(&table, Field::Trace, &name(40)), None);
    }

    /// That a key was not in a page that had been cut off was noted, and taken for an answer when
    /// the file was whole again.
    #[test]
    fn what_was_read_of_a_file_that_was_cut_is_not_noted() {
        let dir = tempfile::tempdir().unwrap();
        let segment = sealed(dir.path(), 9);
        let footer = segment.footer().unwrap();
        let whole = std::fs::read(segment.path()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(segment.path()).unwrap();
        let mut tables = Tables::default();
        tables.push(7, &footer, fields());
        assert!(tables.get(7).is_some());
        file.set_len(whole.len() as u64 - 1).unwrap();
        tables.find_in_all(Field::Trace, key_of(&name(3)).as_slice());
        std::os::unix::fs::FileExt::write_all_at(&file, &whole, 0).unwrap();
        assert!(tables.get(7).is_none());
    }
}
