//! The bulk route over SQLite: the same lines, read by the same code, into the tables and indexes
//! of `benches/peers`, with an answer for each.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use runledger::wire::{ParseOptions, parse_bytes};
use runledger::{Body, Fingerprint, Id, IdForm, Json, Timestamp};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior, params};

use crate::Outcome;

const SCHEMA: &str = include_str!("../../peers/src/engines/sqlite/schema.sql");

const RUN: &str = "INSERT INTO runs (id, seq, created_at, status, type, run_id, trace_id, \
     project_id, user_id, started_at, finished_at, message, metadata) \
     VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
     ON CONFLICT (run_id) DO UPDATE SET seq = excluded.seq, status = excluded.status, \
     finished_at = excluded.finished_at, message = excluded.message";
const EVENT: &str = "INSERT INTO events (id, created_at, severity, type, run_id, trace_id, \
     project_id, user_id, message, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const ERROR: &str = "INSERT INTO errors (id, created_at, severity, type, run_id, trace_id, \
     project_id, user_id, message, detail, fingerprint) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// The connection, and the number of the last row.
type Shared = Arc<Mutex<(Connection, i64)>>;

/// The route, over a database in this directory.
pub(crate) fn router(dir: &Path) -> Outcome<Router> {
    let connection = Connection::open(dir.join("sqlite"))?;
    for (name, value) in [("journal_mode", "WAL"), ("synchronous", "OFF"), ("temp_store", "MEMORY")]
    {
        connection.pragma_update(None, name, value)?;
    }
    connection.pragma_update(None, "cache_size", -(1_i64 << 20))?;
    connection.pragma_update(None, "mmap_size", 2_i64 << 30)?;
    connection.pragma_update(None, "wal_autocheckpoint", 65536)?;
    connection.execute_batch(SCHEMA)?;
    let shared: Shared = Arc::new(Mutex::new((connection, 0)));
    let routes = Router::new().route("/v1/bulk", post(bulk));
    Ok(routes.layer(DefaultBodyLimit::max(64 << 20)).with_state(shared))
}

async fn bulk(State(shared): State<Shared>, body: Bytes) -> (StatusCode, String) {
    let done = tokio::task::spawn_blocking(move || append(&shared, &body)).await;
    match done.map_err(Into::into).and_then(|done| done) {
        Ok(answer) => (StatusCode::OK, answer),
        Err(err) => (StatusCode::INTERNAL_SERVER_ERROR, err.to_string()),
    }
}

/// Appends the lines in one transaction.
fn append(shared: &Shared, body: &[u8]) -> Outcome<String> {
    let options = ParseOptions::new();
    let mut shared = shared.lock().map_err(|_| "an append has panicked")?;
    let (connection, seq) = &mut *shared;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut answer = String::new();
    for (line, text) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        if !text.is_empty() {
            *seq += 1;
            insert(&transaction, *seq, &parse_bytes(text, &options)?)?;
            answer += &format!("{{\"line\":{line},\"seq\":{seq}}}\n");
        }
    }
    transaction.commit()?;
    Ok(answer)
}

fn insert(transaction: &Transaction<'_>, seq: i64, body: &Body<'_>) -> Outcome {
    let (trace, project) = (body.trace_id().map(Key), body.project_id().map(Key));
    let (run, user) = (body.run_id().map(Key), body.user_id().map(Key));
    let kind = body.type_name();
    match body {
        Body::Run(it) => transaction.prepare_cached(RUN)?.execute(params![
            seq,
            it.created_at.or(it.at).map(Timestamp::as_nanos),
            it.status.code(),
            kind,
            run,
            trace,
            project,
            user,
            it.started_at.map(Timestamp::as_nanos),
            it.finished_at.map(Timestamp::as_nanos),
            it.error.as_ref().map(|error| &error.message),
            it.metadata.as_ref().map(Json::as_str),
        ])?,
        Body::Event(it) => transaction.prepare_cached(EVENT)?.execute(params![
            seq,
            it.created_at.map(Timestamp::as_nanos),
            it.severity.map(runledger::Severity::code),
            kind,
            run,
            trace,
            project,
            user,
            it.message,
            it.payload.as_ref().map(Json::as_str),
        ])?,
        Body::Error(it) => transaction.prepare_cached(ERROR)?.execute(params![
            seq,
            it.created_at.map(Timestamp::as_nanos),
            it.severity.code(),
            kind,
            run,
            trace,
            project,
            user,
            it.message,
            it.detail.as_ref().map(Json::as_str),
            Fingerprint::of(kind, &it.message, it.stack.as_deref()).hash.cast_signed(),
        ])?,
        _ => return Err("a kind of record that is not known".into()),
    };
    Ok(())
}

/// An id as SQLite stores it: 16 bytes where they say it all.
struct Key<'a>(&'a Id<'a>);

impl ToSql for Key<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0.form() {
            IdForm::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            IdForm::Uuid(bytes) | IdForm::Hex(bytes) => {
                ToSqlOutput::Owned(Value::Blob(bytes.to_vec()))
            }
        })
    }
}
