//! What a ledger holds, noted while it was whole, and questions whose answers follow from that.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use runledger::{Body, Error, Field, Order, Reader, Record, Result};

use crate::check::records;
use crate::rng::Rng;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    seq: u64,
    name: String,
    digest: u64,
}

/// All records, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Truth(Vec<Row>);

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The truth.
    True,
    /// An error that says that the file is not what it was.
    Refused,
    /// Something else.
    Wrong(String),
}

fn row(record: &Record<'_>) -> Row {
    let mut digest = DefaultHasher::new();
    format!("{record:?}").hash(&mut digest);
    Row { seq: record.seq, name: name(&record.body), digest: digest.finish() }
}

fn name(body: &Body<'_>) -> String {
    body.type_name().to_owned()
}

impl Truth {
    /// Notes what a ledger holds.
    pub(crate) fn of(reader: &Reader) -> Result<Self> {
        Ok(Self(records(reader)?.iter().map(row).collect()))
    }

    /// Writes it to a file.
    pub(crate) fn write(&self, path: &Path) {
        let line = |row: &Row| format!("{} {} {}\n", row.seq, row.digest, row.name);
        fs::write(path, self.0.iter().map(line).collect::<String>()).unwrap();
    }

    /// Reads it from a file.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let row = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut number = || words.next().unwrap().parse().unwrap();
            let (seq, digest) = (number(), number());
            Row { seq, digest, name: words.next().unwrap().to_owned() }
        };
        Self(text.lines().map(row).collect())
    }

    /// Asks something and compares the answer.
    pub(crate) fn ask(&self, reader: &Reader, rng: &mut Rng) -> Answer {
        let asked = match rng.below(8) {
            0 => self.ask_for_all(reader),
            1 | 2 => self.ask_for_name(reader, rng),
            3 => self.ask_for_counts(reader),
            4 => self.ask_for_newest(reader, rng),
            _ => self.ask_for_one(reader, rng),
        };
        match asked {
            Ok(None) => Answer::True,
            Ok(Some(what)) => Answer::Wrong(what),
            Err(Error::Io { .. } | Error::Damaged { .. }) => Answer::Refused,
            Err(err) => Answer::Wrong(err.to_string()),
        }
    }

    fn ask_for_all(&self, reader: &Reader) -> Result<Option<String>> {
        let all = reader.query().history(true).order(Order::Seq).limit(usize::MAX / 2).fetch()?;
        let all: Vec<Row> = all.records().map(|it| it.map(|it| row(&it))).collect::<Result<_>>()?;
        Ok(differs("all", &all, &self.0.iter().collect::<Vec<_>>()))
    }

    fn ask_for_newest(&self, reader: &Reader, rng: &mut Rng) -> Result<Option<String>> {
        let limit = 1 + rng.below(60);
        let newest = reader.query().history(true).order(Order::SeqDescending).limit(limit);
        let page = newest.fetch()?;
        let found: Vec<Row> =
            page.records().map(|it| it.map(|it| row(&it))).collect::<Result<_>>()?;
        Ok(differs("the newest", &found, &self.0.iter().rev().take(limit).collect::<Vec<_>>()))
    }

    fn ask_for_name(&self, reader: &Reader, rng: &mut Rng) -> Result<Option<String>> {
        let name = &self.0[rng.below(self.0.len())].name;
        let page = reader.query().record_type(name).history(true).order(Order::Seq);
        let page = page.limit(usize::MAX / 2).fetch()?;
        let found: Vec<Row> =
            page.records().map(|it| it.map(|it| row(&it))).collect::<Result<_>>()?;
        let of_name: Vec<&Row> = self.0.iter().filter(|row| row.name == *name).collect();
        Ok(differs(name, &found, &of_name))
    }

    fn ask_for_counts(&self, reader: &Reader) -> Result<Option<String>> {
        let counts: BTreeMap<String, u64> =
            reader.query().history(true).count_by(Field::Type)?.into_iter().collect();
        let mut expected = BTreeMap::new();
        self.0.iter().for_each(|row| *expected.entry(row.name.clone()).or_default() += 1);
        Ok((counts != expected).then(|| format!("counts: {counts:?}, not {expected:?}")))
    }

    fn ask_for_one(&self, reader: &Reader, rng: &mut Rng) -> Result<Option<String>> {
        let expected = &self.0[rng.below(self.0.len())];
        let stored = reader.get(expected.seq)?;
        Ok(differs("one", &[row(&stored.record()?)], &[expected]))
    }
}

fn differs(what: &str, found: &[Row], expected: &[&Row]) -> Option<String> {
    if found.iter().eq(expected.iter().copied()) {
        return None;
    }
    let place = found.iter().zip(expected).position(|(one, other)| one != *other);
    let place = place.unwrap_or(found.len().min(expected.len()));
    let (len, of) = (found.len(), expected.len());
    Some(format!("{what}: {len} records of {of}, at {place} {:?}", found.get(place)))
}
