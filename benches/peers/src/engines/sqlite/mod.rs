//! SQLite, by rusqlite, built with it.

mod answer;

use std::sync::{Mutex, MutexGuard};

use runledger::{Body, ErrorRecord, Event, Fingerprint, Id, IdForm, Json, Run, Timestamp};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params};

use super::CACHE_BYTES;
use crate::Outcome;
use crate::engine::{Engine, Level, Log, Setup};
use crate::question::{Pick, Question, See};

pub(super) const SETTINGS: &str = "rusqlite bundled; WAL with a checkpoint every 256 MiB, cache 1 \
     GiB, map 2 GiB, prepared statements, one connection that threads share; bulk \
     synchronous=OFF, in the kernel on return; durable: synchronous=FULL; it has no group commit";

/// Pages of 4 KiB in the log from which on it is checkpointed: much faster than with 1,000.
const CHECKPOINT_PAGES: u32 = 65536;
const SCHEMA: &str = include_str!("schema.sql");
/// An index that one question is answered by, and no other.
const LAST_FAILED_INDEX: &str = "CREATE INDEX runs_failed ON runs (type, status, created_at)";
/// Sequence numbers that an opening leaves out: those of runs' newest states can be higher than
/// those of all rows.
const SKIPPED: i64 = 4096;
/// Statements that are kept prepared.
const STATEMENTS: usize = 64;

const NEW_RUN: &str = "INSERT INTO runs (id, seq, created_at, status, type, run_id, trace_id, \
     project_id, user_id, attempt, started_at, finished_at, error_type, message, stack, metadata, \
     result) VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
     ON CONFLICT (run_id) DO UPDATE SET seq = excluded.seq, status = excluded.status, \
     started_at = excluded.started_at, finished_at = excluded.finished_at, \
     error_type = excluded.error_type, message = excluded.message, stack = excluded.stack, \
     metadata = coalesce(excluded.metadata, metadata), result = excluded.result";
const NEW_EVENT: &str = "INSERT INTO events (id, created_at, severity, type, run_id, trace_id, \
     project_id, user_id, message, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const NEW_ERROR: &str = "INSERT INTO errors (id, created_at, severity, type, run_id, trace_id, \
     project_id, user_id, message, stack, detail, endpoint, fingerprint) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// SQLite's own.
pub(super) fn version() -> &'static str {
    rusqlite::version()
}

pub(super) struct Sqlite {
    writer: Mutex<Writer>,
}

struct Writer {
    connection: Connection,
    /// The newest sequence number.
    seq: i64,
}

impl Sqlite {
    pub(super) fn open(setup: Setup<'_>) -> Outcome<Self> {
        let connection = Connection::open(setup.dir.join("sqlite"))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "cache_size", -i64::from(CACHE_BYTES >> 10))?;
        connection.pragma_update(None, "mmap_size", 2_i64 << 30)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(
            None,
            "synchronous",
            match setup.level {
                Level::Os => "OFF",
                Level::Sync => "FULL",
            },
        )?;
        connection.execute_batch(SCHEMA)?;
        let mut seq = 0;
        for table in ["runs", "events", "errors"] {
            let max = format!("SELECT max(id) FROM {table}");
            let last: Option<i64> = connection.query_row(&max, [], |row| row.get(0))?;
            seq = last.map_or(seq, |last| seq.max(last + SKIPPED));
        }
        Ok(Self { writer: Mutex::new(Writer { connection, seq }) })
    }

    fn writer(&self) -> Outcome<MutexGuard<'_, Writer>> {
        self.writer.lock().map_err(|_| "an append has panicked".into())
    }
}

impl Log for Sqlite {
    fn append_batch(&self, batch: &[Body<'_>]) -> Outcome {
        let mut writer = self.writer()?;
        let Writer { connection, seq } = &mut *writer;
        let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for body in batch {
            *seq += 1;
            match body {
                Body::Run(run) => insert_run(&txn, *seq, run)?,
                Body::Event(event) => insert_event(&txn, *seq, event)?,
                Body::Error(error) => insert_error(&txn, *seq, error)?,
                _ => return Err("a kind of record that is not known".into()),
            }
        }
        Ok(txn.commit()?)
    }

    fn append(&self, body: Body<'_>) -> Outcome {
        self.append_batch(std::slice::from_ref(&body))
    }

    fn close(self: Box<Self>) -> Outcome {
        let writer = self.writer.into_inner().map_err(|_| "an append has panicked")?;
        writer.connection.execute_batch("DROP INDEX IF EXISTS runs_failed")?;
        // So that the checkpoint at the end is synced, as it is with the others.
        writer.connection.pragma_update(None, "synchronous", "FULL")?;
        writer.connection.close().map_err(|(_, err)| err.into())
    }
}

impl Engine for Sqlite {
    fn tune(&self, question: Question) -> Outcome<bool> {
        let is_tuned = question == Question::LastFailed;
        if is_tuned {
            self.writer()?.connection.execute_batch(LAST_FAILED_INDEX)?;
        }
        Ok(is_tuned)
    }

    fn ask(&self, question: Question, pick: &Pick, see: See<'_>) -> Outcome {
        answer::answer(&self.writer()?.connection, question, pick, see)
    }

    fn drop_before(&self, time: Timestamp) -> Outcome<u64> {
        let mut writer = self.writer()?;
        let txn = writer.connection.transaction()?;
        let mut dropped = 0;
        for table in ["events", "errors", "runs"] {
            let mut delete = format!("DELETE FROM {table} WHERE created_at < ?1");
            if table == "runs" {
                delete.push_str(" AND finished_at IS NOT NULL");
            }
            dropped += txn.execute(&delete, [time.as_nanos()])?;
        }
        txn.commit()?;
        Ok(dropped as u64)
    }
}

fn insert_run(connection: &Connection, seq: i64, run: &Run<'_>) -> Outcome {
    let error = run.error.as_ref();
    connection.prepare_cached(NEW_RUN)?.execute(params![
        seq,
        run.created_at.map(Timestamp::as_nanos),
        run.status.code(),
        run.run_type,
        Key(&run.run_id),
        run.trace_id.as_ref().map(Key),
        run.project_id.as_ref().map(Key),
        run.user_id.as_ref().map(Key),
        run.attempt,
        run.started_at.map(Timestamp::as_nanos),
        run.finished_at.map(Timestamp::as_nanos),
        error.and_then(|error| error.error_type.as_deref()),
        error.map(|error| &error.message),
        error.and_then(|error| error.stack.as_deref()),
        run.metadata.as_ref().map(Json::as_str),
        run.result.as_ref().map(Json::as_str),
    ])?;
    Ok(())
}

fn insert_event(connection: &Connection, seq: i64, event: &Event<'_>) -> Outcome {
    connection.prepare_cached(NEW_EVENT)?.execute(params![
        seq,
        event.created_at.map(Timestamp::as_nanos),
        event.severity.map(runledger::Severity::code),
        event.event_type,
        event.run_id.as_ref().map(Key),
        event.trace_id.as_ref().map(Key),
        event.project_id.as_ref().map(Key),
        event.user_id.as_ref().map(Key),
        event.message,
        event.payload.as_ref().map(Json::as_str),
    ])?;
    Ok(())
}

fn insert_error(connection: &Connection, seq: i64, error: &ErrorRecord<'_>) -> Outcome {
    let stack = error.stack.as_deref();
    let fingerprint = Fingerprint::of(&error.error_type, &error.message, stack);
    connection.prepare_cached(NEW_ERROR)?.execute(params![
        seq,
        error.created_at.map(Timestamp::as_nanos),
        error.severity.code(),
        error.error_type,
        error.run_id.as_ref().map(Key),
        error.trace_id.as_ref().map(Key),
        error.project_id.as_ref().map(Key),
        error.user_id.as_ref().map(Key),
        error.message,
        stack,
        error.detail.as_ref().map(Json::as_str),
        error.endpoint,
        fingerprint.hash.cast_signed(),
    ])?;
    Ok(())
}

/// An id as SQLite stores it: 16 bytes where they say it all.
#[derive(Clone, Copy)]
struct Key<'a>(&'a Id<'a>);

impl ToSql for Key<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0.form() {
            IdForm::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            IdForm::Uuid(bytes) | IdForm::Hex(bytes) => {
                ToSqlOutput::Owned(rusqlite::types::Value::Blob(bytes.to_vec()))
            }
        })
    }
}
