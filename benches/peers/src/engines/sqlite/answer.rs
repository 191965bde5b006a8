//! The questions, in SQL.

use runledger::{Kind, Status};
use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row, params};

use super::Key;
use crate::Outcome;
use crate::question::{Pick, Question, See, Seen};

const EVENTS_OF_RUN: &str =
    "SELECT * FROM events WHERE run_id = ?1 ORDER BY created_at DESC LIMIT 100";
const LAST_FAILED: &str = "SELECT * FROM runs WHERE type = ?1 AND status = ?2 \
     ORDER BY created_at DESC LIMIT 50";
const COUNT_BY_STATUS: &str = "SELECT status, count(*) FROM runs \
     WHERE status IN (1, 2, 3, 4, 5, 6, 7) AND created_at >= ?1 AND created_at < ?2 \
     GROUP BY status";
const SCAN: &str = "SELECT * FROM events WHERE type = ?1 AND created_at >= ?2 AND created_at < ?3 \
     ORDER BY created_at";
const ERRORS_OF_PROJECT: &str =
    "SELECT * FROM errors WHERE project_id = ?1 ORDER BY created_at DESC LIMIT 50";
const STATE_OF_RUN: &str = "SELECT * FROM runs WHERE run_id = ?1";
/// The three tables by one field, and by time.
const TRACE: [&str; 3] = [
    "SELECT * FROM runs WHERE trace_id = ?1 ORDER BY created_at DESC",
    "SELECT * FROM events WHERE trace_id = ?1 ORDER BY created_at DESC",
    "SELECT * FROM errors WHERE trace_id = ?1 ORDER BY created_at DESC",
];
const NEWEST: [&str; 3] = [
    "SELECT * FROM runs ORDER BY created_at DESC LIMIT 100",
    "SELECT * FROM events ORDER BY created_at DESC LIMIT 100",
    "SELECT * FROM errors ORDER BY created_at DESC LIMIT 100",
];
/// Where `SELECT *` has what is shown of a record.
const SEQ: usize = 1;
const CREATED_AT: usize = 2;
const TAG: usize = 3;
const TYPE: usize = 4;

pub(super) fn answer(db: &Connection, question: Question, pick: &Pick, see: See<'_>) -> Outcome {
    let (since, until) = (pick.window.0.as_nanos(), pick.window.1.as_nanos());
    match question {
        Question::Trace => merged(db, TRACE, [Key(&pick.trace)], usize::MAX, see),
        Question::Newest => merged(db, NEWEST, [], 100, see),
        Question::EventsOfRun => rows(db, Kind::Event, EVENTS_OF_RUN, [Key(&pick.run)], see),
        Question::LastFailed => {
            let params = params![pick.name, Status::Failed.code()];
            rows(db, Kind::Run, LAST_FAILED, params, see)
        }
        Question::Scan => rows(db, Kind::Event, SCAN, params![pick.name, since, until], see),
        Question::ErrorsOfProject => rows(db, Kind::Error, ERRORS_OF_PROJECT, [&pick.project], see),
        Question::StateOfRun => rows(db, Kind::Run, STATE_OF_RUN, [Key(&pick.run)], see),
        Question::CountByStatus => {
            let mut statement = db.prepare_cached(COUNT_BY_STATUS)?;
            let mut counts = statement.query([since, until])?;
            while let Some(row) = counts.next()? {
                see(Seen::Count { status: row.get(0)?, count: number(row, 1)? });
            }
            Ok(())
        }
    }
}

fn rows(db: &Connection, kind: Kind, sql: &str, params: impl Params, see: See<'_>) -> Outcome {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        show(kind, row, see)?;
    }
    Ok(())
}

/// The rows of the three tables, each newest first, as one list.
fn merged<P: Params + Copy>(
    db: &Connection,
    sql: [&str; 3],
    params: P,
    limit: usize,
    see: See<'_>,
) -> Outcome {
    let [runs, events, errors] = sql;
    let mut statements =
        [db.prepare_cached(runs)?, db.prepare_cached(events)?, db.prepare_cached(errors)?];
    let mut tables = Vec::with_capacity(statements.len());
    for (statement, kind) in statements.iter_mut().zip([Kind::Run, Kind::Event, Kind::Error]) {
        let mut rows = statement.query(params)?;
        rows.advance()?;
        tables.push((kind, rows));
    }
    for _ in 0..limit {
        let mut newest: Option<(i64, usize)> = None;
        for (at, (_, rows)) in tables.iter().enumerate() {
            if let Some(row) = rows.get() {
                newest = newest.max(Some((row.get(CREATED_AT)?, at)));
            }
        }
        let Some((kind, rows)) = newest.and_then(|(_, at)| tables.get_mut(at)) else { break };
        if let Some(row) = rows.get() {
            show(*kind, row, see)?;
        }
        rows.advance()?;
    }
    Ok(())
}

/// Reads a row whole, and shows it.
fn show(kind: Kind, row: &Row<'_>, see: See<'_>) -> Outcome {
    let mut columns = 0;
    while let Ok(value) = row.get_ref(columns) {
        std::hint::black_box(match value {
            ValueRef::Text(text) => std::str::from_utf8(text)?.len(),
            _ => 0,
        });
        columns += 1;
    }
    see(Seen::Record {
        seq: number(row, SEQ)?,
        created_at: row.get(CREATED_AT)?,
        kind: kind.code(),
        tag: row.get::<_, Option<u8>>(TAG)?.unwrap_or_default(),
        name: row.get_ref(TYPE)?.as_str()?,
    });
    Ok(())
}

fn number(row: &Row<'_>, column: usize) -> Outcome<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?)?)
}
