//! What the arguments of the program's queries hold: any text is a value or is refused, a value
//! that is written out reads as itself, and every question that can be put together has an answer
//! whose count is that of its records.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use jiff::tz::TimeZone;
use runledger::text::time;
use runledger::{
    Cursor, Error, ErrorRecord, Event, Field, Id, Ledger, Options, Order, Query, Run, Severity,
    Status, Subject, Timestamp,
};

use super::memory::Memory;

const RECORDS: i64 = 12;

/// The ledger that is asked: it stays the same from input to input.
static LEDGER: LazyLock<Ledger> = LazyLock::new(ledger);
static ZONE: LazyLock<TimeZone> =
    LazyLock::new(|| TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a time zone"));

/// An argument a line: a letter for the flag, and its text.
pub fn run(data: &[u8]) {
    let mut query = LEDGER.query().limit(3);
    let mut goes_on = false;
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let Some((flag, text)) = line.split_first() else { continue };
        let Ok(text) = str::from_utf8(text) else { continue };
        goes_on |= *flag == b'a';
        query = argument(query, *flag, text);
    }
    answer(query, goes_on);
}

fn argument(query: Query, flag: u8, text: &str) -> Query {
    match flag {
        b'k' => with(query, text, Query::kind),
        b's' => with(query, text, Query::status),
        b'v' => with(query, text, Query::severity),
        b'f' => with(query, text, Query::fingerprint),
        b'a' => with::<Cursor>(query, text, Query::after),
        b'S' => with_time(query, text, Query::since),
        b'U' => with_time(query, text, Query::until),
        b'b' => {
            if let Ok(subject) = Subject::parse(text) {
                assert_eq!(subject.to_string(), text);
            }
            query.subject(text)
        }
        b'g' => query.text(text),
        b'h' => query.history(true),
        b'o' => query.order(Order::Oldest),
        b'q' => query.order(Order::Seq),
        b'd' => query.order(Order::SeqDescending),
        b'F' => {
            let (name, value) = text.split_once(' ').unwrap_or((text, ""));
            read::<Field>(name).map_or(query.clone(), |field| query.field(field, value))
        }
        _ => {
            if let Ok(id) = Id::new(text) {
                assert_eq!(id.to_string(), text);
            }
            query.record_type(text).trace(text).run(text).project(text).user(text)
        }
    }
}

/// The value of a text, which must read as itself when it is written out.
fn read<T: FromStr<Err = Error> + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            let again = value.to_string().parse::<T>();
            assert_eq!(again.as_ref().ok(), Some(&value), "{text:?} is written as {value}");
            Some(value)
        }
        Err(err) => {
            assert!(!err.to_string().is_empty());
            None
        }
    }
}

fn with<T: FromStr<Err = Error> + Display + PartialEq + Debug>(
    query: Query,
    text: &str,
    add: fn(Query, T) -> Query,
) -> Query {
    match read(text) {
        Some(value) => add(query, value),
        None => query,
    }
}

fn with_time(query: Query, text: &str, add: fn(Query, Timestamp) -> Query) -> Query {
    let now = Timestamp::from_nanos(1_793_491_200_000_000_000);
    if let Err(said) = time::length(text) {
        assert!(said.contains("expected"), "{text:?}: {said}");
    }
    match time::parse(text, now, &ZONE) {
        Ok(time) => {
            assert_eq!(read(&time.to_string()), Some(time), "of {text:?}");
            add(query, time)
        }
        Err(said) => {
            assert!(said.contains(time::FORMS) || said.contains("range"), "{text:?}: {said}");
            query
        }
    }
}

/// The pages of an answer hold as many records as are counted, each once.
fn answer(query: Query, goes_on: bool) {
    let count = match query.count() {
        Ok(count) => count,
        Err(err) => {
            assert!(matches!(err, Error::Invalid { .. }), "{err:?}");
            return;
        }
    };
    let (mut seqs, mut page) = (Vec::new(), query.fetch());
    loop {
        let found = match page {
            Ok(found) => found,
            Err(err) => {
                assert!(goes_on && matches!(err, Error::Invalid { .. }), "{err:?}");
                return;
            }
        };
        seqs.extend(found.seqs());
        assert!(found.records().all(|record| record.is_ok()));
        let Some(next) = found.next() else { break };
        page = query.clone().after(next).fetch();
    }
    let found = seqs.len() as u64;
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len() as u64, found, "a record came twice");
    assert!(found == count || goes_on && found < count, "{found} of {count} records came");
}

fn ledger() -> Ledger {
    let options = Options::new().background(false).storage(Arc::new(Memory::default()));
    let ledger = options.open("/ledger").expect("a ledger");
    for n in 0..RECORDS {
        let time = Timestamp::from_nanos(1_793_491_200_000_000_000 + n * 3_600_000_000_000);
        let id = |text: &'static str| Id::new(text).expect("a valid id");
        let appended = match n % 3 {
            0 => {
                let status = [Status::Running, Status::Failed][usize::from(n > 5)];
                let mut run = Run::new("r1", "job", status).expect("a valid run");
                run.attempt = u32::try_from(n + 1).ok();
                ledger.append(run.created_at(time).trace_id(id("tr-1")))
            }
            1 => {
                ledger.append(Event::new("a,b").created_at(time).message("Needle").run_id(id("r1")))
            }
            _ => {
                let error = ErrorRecord::new("oops", "x").severity(Severity::Critical);
                ledger.append(error.created_at(time).project_id(id("p")))
            }
        };
        appended.expect("an append");
    }
    ledger
}
