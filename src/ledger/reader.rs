use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::index::Table;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{AUDIT_STREAM, STREAM_KINDS};
use crate::ledger::layout::Layout;
use crate::model::{FieldSet, Id, Kind, Record};
use crate::query::{Events, Order, Query, SegmentList, Source, Stored};
use crate::segment::{Pinned, Segment};
use crate::storage::{Disk, OpenMode, Storage};

/// A view of a ledger that another process may be writing.
///
/// It takes no lock, and neither a writer nor retention nor compaction breaks it. It shows the
/// ledger as it was when it was opened or last refreshed.
///
/// ```
/// use runledger::{Event, Ledger, Reader};
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("ledger");
/// let ledger = Ledger::open(&dir)?;
/// let reader = Reader::open(&dir)?;
/// ledger.append(Event::new("started"))?;
/// assert_eq!(reader.query().count()?, 0);
/// reader.refresh()?;
/// assert_eq!(reader.query().count()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Reader {
    catalog: Arc<Catalog>,
    /// False for the writer's own view, which is always up to date.
    follows: bool,
}

impl Reader {
    /// Opens the ledger in this directory for reading.
    ///
    /// # Errors
    /// [`Error::NotALedger`] when there is none, [`Error::NewerFormat`] when a newer program wrote
    /// it, [`Error::Io`] when it cannot be read. A damaged segment is no error: the others are
    /// served, and [`Reader::stats`] says so.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::with_storage(dir, Arc::new(Disk))
    }

    /// As [`Reader::open`], on a storage of the caller's.
    ///
    /// # Errors
    /// As for [`Reader::open`].
    pub fn with_storage(dir: impl AsRef<Path>, storage: Arc<dyn Storage>) -> Result<Self> {
        let layout = Layout::new(dir.as_ref());
        let identity = layout.identity(&*storage)?;
        let catalog = Arc::new(Catalog::new(storage, layout, Some(&identity)));
        let reader = Self { catalog, follows: true };
        reader.refresh()?;
        Ok(reader)
    }

    /// The view of the writer itself.
    pub(super) const fn of_writer(catalog: Arc<Catalog>) -> Self {
        Self { catalog, follows: false }
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The ledger's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.catalog.layout.dir()
    }

    /// Takes in what was written, and what was dropped, since the opening or the last call. Queries
    /// and pages that were made before keep what they see. The view that
    /// [`Ledger::reader`](crate::Ledger::reader) gives is up to date without it.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory or a segment cannot be read.
    pub fn refresh(&self) -> Result<()> {
        if !self.follows {
            return Ok(());
        }
        self.catalog.refresh(OpenMode::Read)?;
        self.mark_noted().map(drop)
    }

    /// A question to the ledger as it is now.
    pub fn query(&self) -> Query {
        Query::new(Arc::new(Records(Arc::clone(&self.catalog))))
    }

    /// A question to the engine's own notes: what was cut, dropped or found damaged, as events.
    pub fn audit(&self) -> Query {
        self.of_stream(AUDIT_STREAM)
    }

    /// A question to each stream of records by its name, for all states of runs: for who follows a
    /// ledger that another process writes.
    ///
    /// The records of one stream come in the order of their numbers, so that who goes on in each
    /// behind the highest that it saw there misses none. Of two streams, also of one kind, the
    /// record with the higher number may come first. The stream of a class is there once it has a
    /// segment: the list is to be asked for after each [`Reader::refresh`].
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use runledger::{Cursor, Event, Ledger, Order, Reader};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let ledger = Ledger::open(dir.path())?;
    /// let reader = Reader::open(dir.path())?;
    /// let mut seen = BTreeMap::new();
    /// for said in ["one", "two"] {
    ///     ledger.append(Event::new("step").message(said))?;
    ///     reader.refresh()?;
    ///     for (stream, query) in reader.by_stream() {
    ///         let last = seen.entry(stream).or_insert(0);
    ///         let page = query.order(Order::Seq).after(Cursor::after_seq(*last)).fetch()?;
    ///         assert_eq!(page.len(), usize::from(stream == "events"));
    ///         *last = page.seqs().last().unwrap_or(*last);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn by_stream(&self) -> Vec<(&'static str, Query)> {
        let of_records = self.catalog.in_use().without(AUDIT_STREAM);
        let query = |stream: usize| {
            Some((STREAM_KINDS.get(stream)?.0, self.of_stream(stream).history(true)))
        };
        of_records.filter_map(query).collect()
    }

    fn of_stream(&self, stream: usize) -> Query {
        Query::new(Arc::new(OfStream(Arc::clone(&self.catalog), stream)))
    }

    /// The events, each with its payload as a `T`, the newest first.
    ///
    /// ```
    /// use runledger::{Event, Json, Ledger};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct MailSent {
    ///     to: String,
    ///     tries: u32,
    /// }
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// let sent = MailSent { to: "a@example.org".to_owned(), tries: 2 };
    /// ledger.append(Event::new("mail.sent").payload(Json::from_value(&sent)?))?;
    ///
    /// for event in ledger.events::<MailSent>().of_type("mail.sent") {
    ///     let (record, sent) = event?;
    ///     println!("{} {} after {} tries", record.seq, sent.to, sent.tries);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn events<T: DeserializeOwned>(&self) -> Events<T> {
        Events::new(self.query())
    }

    /// The record with this sequence number, of the engine's own notes too.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::Io`] when its segment cannot be read.
    pub fn get(&self, seq: u64) -> Result<Stored> {
        for segment in self.catalog.holders(seq) {
            if let Some(stored) = find_seq(&segment, seq)? {
                return Ok(stored);
            }
        }
        Err(Error::NotFound { what: "record", id: seq.to_string() })
    }

    /// The newest state of a run.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such run, [`Error::Invalid`] when the id is not one,
    /// [`Error::Io`] when a segment cannot be read.
    pub fn run(&self, run_id: &str) -> Result<Stored> {
        let page = self.query().kind(Kind::Run).run(run_id).order(Order::SeqDescending).limit(1);
        page.fetch()?.get(0).ok_or_else(|| Error::NotFound { what: "run", id: run_id.to_owned() })
    }

    /// All states that a run went through, in the order of the appends.
    ///
    /// # Errors
    /// As for [`Reader::run`].
    pub fn run_history(&self, run_id: &Id<'_>) -> Result<Vec<Record<'static>>> {
        let states = self.query().kind(Kind::Run).run(&run_id.to_string()).history(true);
        let page = states.order(Order::Seq).limit(usize::MAX).fetch()?;
        page.records().map(|record| Ok(record?.into_owned())).collect()
    }
}

/// What queries look at: the runs, events and errors.
#[derive(Debug)]
struct Records(Arc<Catalog>);

impl Source for Records {
    fn lists(&self) -> Vec<Arc<SegmentList>> {
        self.0.records()
    }
}

/// One stream alone.
#[derive(Debug)]
struct OfStream(Arc<Catalog>, usize);

impl Source for OfStream {
    fn lists(&self) -> Vec<Arc<SegmentList>> {
        vec![self.0.list(self.1)]
    }
}

fn find_seq(segment: &Arc<Segment>, seq: u64) -> Result<Option<Stored>> {
    if seq < segment.first_seq() {
        return Ok(None);
    }
    let find = |table: &dyn Table| table.row_of(seq).map(|row| table.offset(row));
    let offset = segment.with_rows(FieldSet::NONE, find)?;
    // Held only now, so that it holds what was found.
    offset.map(|offset| Ok(Stored::new(Pinned::new(segment)?, seq, offset))).transpose()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::Reader;
    use crate::format::footer::{head, stored_hash};
    use crate::format::key;
    use crate::{Body, Compaction, Durability, Event, Field, Id, Ledger, Options};

    const KEPT: u32 = 60_000;

    /// The key of a trace; its text follows the first byte.
    fn key_of(number: u32) -> [u8; 14] {
        let mut key = *b"\0trace........";
        key[6..].iter_mut().zip(0..).for_each(|(digit, at)| {
            *digit = b'a' + u8::try_from(number >> (4 * at) & 15).unwrap();
        });
        key
    }

    fn trace_of(number: u32) -> String {
        String::from_utf8(key_of(number)[1..].to_vec()).unwrap()
    }

    /// A footer holds 40 bits of the hash of a key. Of the first few million traces that are not
    /// there one has those of a trace that is, and must not be given its records.
    #[test]
    fn a_key_with_the_hash_of_another_finds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Options::new().segment_bytes(2 << 20).open(dir.path()).unwrap();
        let event = |n| Event::new("a").trace_id(Id::new(trace_of(n)).unwrap());
        for first in (0..KEPT).step_by(10_000) {
            let batch: Vec<Body<'_>> = (first..first + 10_000).map(|n| event(n).into()).collect();
            ledger.append_batch(&batch, Durability::Os).unwrap();
        }
        ledger.close().unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        let lists = reader.catalog().records();
        let mut segments = lists.iter().flat_map(|list| list.segments());
        let (seed, heads) = segments.find_map(|it| it.key_heads(Field::Trace)).unwrap();
        let hash = |n| key::hash(seed, &key_of(n));
        let mut known = HashMap::new();
        let mut begins = vec![false; 1 << 20];
        for (n, hash) in (0..KEPT).map(|n| (n, hash(n))) {
            if heads.binary_search(&head(hash)).is_ok() {
                known.insert(stored_hash(hash, heads.len()), n);
                begins[(hash >> 44) as usize] = true;
            }
        }
        let mut others = (KEPT..).map(|n| (n, hash(n))).filter(|(_, hash)| {
            begins[(hash >> 44) as usize] && known.contains_key(&stored_hash(*hash, heads.len()))
        });
        let (other, hash) = others.next().unwrap();
        let like = known[&stored_hash(hash, heads.len())];
        let (one, none) = (trace_of(like), trace_of(other));
        assert_eq!(reader.query().trace(&one).fetch().unwrap().len(), 1);
        assert_eq!(reader.query().trace(&none).fetch().unwrap().len(), 0);
        assert_eq!(reader.query().trace(&none).count().unwrap(), 0);
        let either = reader.query().trace(&none).trace(&one).fetch().unwrap();
        assert_eq!(either.len(), 1);
    }

    /// A page of a text search held every block that was unpacked to look for it: all of a ledger,
    /// where each segment had the text once.
    #[test]
    fn a_text_that_was_looked_for_in_blocks_leaves_none_of_them_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new().segment_bytes(64 << 10).background(false);
        let ledger = options.open(dir.path()).unwrap();
        for number in 0..1000 {
            let text = if number % 100 == 0 { "needle" } else { "hay" };
            let event = Event::new("a").message(format!("{text} {number:0>500}"));
            ledger.append_with(event, Durability::Os).unwrap();
        }
        ledger.compact(&Compaction::new()).unwrap();
        let page = ledger.query().text("needle").fetch().unwrap();
        assert_eq!(page.len(), 10);
        assert_eq!(page.unpacked(), 0);
        assert!(page.records().all(|record| record.is_ok()));
        let unpacked = page.unpacked();
        assert!((1..100_000).contains(&unpacked), "{unpacked}");
    }

    /// A query that reads records while it holds the rows must not wait for an append that waits
    /// for the rows. When it does, this test never ends.
    #[test]
    fn counting_by_name_goes_on_while_another_thread_appends() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..3000 {
                    let event = Event::new(format!("type-{}", number % 7)).message("a message");
                    ledger.append_with(event, Durability::Os).unwrap();
                }
            });
            while !writer.is_finished() {
                let counts = ledger.query().count_by(Field::Type).unwrap();
                let total: u64 = counts.iter().map(|(_, count)| count).sum();
                assert!(ledger.query().text("message").count().unwrap() >= total);
            }
        });
        assert_eq!(ledger.query().count().unwrap(), 3000);
    }
}
