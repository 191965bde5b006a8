//! The tables of events and errors, with the names that they had.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Error;
use crate::model::{ActorType, Body, ErrorRecord, Event, Id, Kind, Record, Severity, Timestamp};
use crate::server::access::{Caller, Failure, Pen, Read, Write};
use crate::server::app::App;
use crate::server::input::{self, Input};
use crate::server::problem::Problem;
use crate::server::reply::{self, Row};
use crate::server::routes::paging::Offset;
use crate::server::words::{Nothing, Word, Words};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events, append_event)).routes(routes!(errors, append_error))
}

/// A row of the table of events
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventLog {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    id: Option<u64>,
    #[serde(alias = "event_type")]
    event_type: String,
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    #[serde(alias = "project_id")]
    project_id: Option<String>,
    #[serde(alias = "run_id")]
    run_id: Option<String>,
    #[serde(alias = "user_id")]
    user_id: Option<String>,
    #[serde(alias = "trace_id")]
    trace_id: Option<String>,
    /// `user` or `system`
    #[serde(alias = "actor_type")]
    actor_type: Option<String>,
    #[serde(alias = "actor_id")]
    actor_id: Option<String>,
    #[serde(alias = "created_at")]
    #[schema(format = DateTime)]
    created_at: Option<String>,
}

/// A row of the table of errors
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ErrorLog {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(read_only)]
    id: Option<u64>,
    #[serde(alias = "trace_id")]
    trace_id: Option<String>,
    #[serde(alias = "error_type")]
    error_type: String,
    message: String,
    stack: Option<String>,
    #[schema(value_type = Option<serde_json::Value>)]
    detail: Option<Box<RawValue>>,
    #[serde(alias = "project_id")]
    project_id: Option<String>,
    #[serde(alias = "run_id")]
    run_id: Option<String>,
    #[serde(alias = "user_id")]
    user_id: Option<String>,
    endpoint: Option<String>,
    /// `warning`, `error` or `critical`
    severity: Option<String>,
    #[serde(alias = "created_at")]
    #[schema(format = DateTime)]
    created_at: Option<String>,
}

/// A new row has no id yet.
fn given<'de, D: Deserializer<'de>>(_: D) -> Result<Option<u64>, D::Error> {
    Err(D::Error::custom("the ledger gives the id; leave it out"))
}

/// Events, the newest first
#[derive(Serialize, ToSchema)]
struct EventLogs {
    #[schema(value_type = Vec<EventLog>)]
    items: Vec<Row>,
    /// How many records could not be read and were left out
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<u64>,
}

/// Errors, the newest first
#[derive(Serialize, ToSchema)]
struct ErrorLogs {
    #[schema(value_type = Vec<ErrorLog>)]
    items: Vec<Row>,
    /// How many records could not be read and were left out
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<u64>,
}

/// The row that was made
#[derive(Serialize, ToSchema)]
struct Made {
    id: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct EventsOf {
    /// Of this run
    run_id: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct ErrorsOf {
    /// Of this trace
    trace_id: Option<String>,
    /// Of this project
    project_id: Option<String>,
    /// Created at this time or later, RFC 3339
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Word<Timestamp>>,
}

/// Events, the newest first
#[utoipa::path(
    get, path = "/api/events", tag = "replaced systems", operation_id = "list_event_logs",
    params(EventsOf, Offset), security(("bearer" = ["read"])),
    responses((status = 200, description = "A page of them", body = EventLogs)),
)]
async fn events(
    caller: Caller<Read>,
    Words(wanted, part): Words<EventsOf, Offset>,
) -> Result<Response, Problem> {
    let (items, damaged) = caller
        .look(move |view| {
            let query = view.query().kind(Kind::Event);
            let query = wanted.run_id.iter().fold(query, |query, id| query.run(id));
            reply::rows(&part.apply(query)?.fetch()?, EventLog::of)
        })
        .await?;
    Ok(reply::value(StatusCode::OK, &EventLogs { items, damaged }))
}

/// Errors, the newest first
#[utoipa::path(
    get, path = "/api/errors", tag = "replaced systems", operation_id = "list_error_logs",
    params(ErrorsOf, Offset), security(("bearer" = ["read"])),
    responses((status = 200, description = "A page of them", body = ErrorLogs)),
)]
async fn errors(
    caller: Caller<Read>,
    Words(wanted, part): Words<ErrorsOf, Offset>,
) -> Result<Response, Problem> {
    let (items, damaged) = caller
        .look(move |view| {
            let query = view.query().kind(Kind::Error);
            let query = wanted.trace_id.iter().fold(query, |query, id| query.trace(id));
            let query = wanted.project_id.iter().fold(query, |query, id| query.project(id));
            let query = wanted.since.iter().fold(query, |query, time| query.since(time.0));
            reply::rows(&part.apply(query)?.fetch()?, ErrorLog::of)
        })
        .await?;
    Ok(reply::value(StatusCode::OK, &ErrorLogs { items, damaged }))
}

/// Append an event
#[utoipa::path(
    post, path = "/api/events", tag = "replaced systems", operation_id = "append_event_log",
    request_body = EventLog, security(("bearer" = ["write"])),
    responses((status = 201, description = "It is kept", body = Made)),
)]
async fn append_event(
    State(app): State<App>,
    caller: Caller<Write>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
    input: Input,
) -> Result<Response, Problem> {
    made(&app, caller, move || input.value::<EventLog>()?.body()).await
}

/// Append an error
#[utoipa::path(
    post, path = "/api/errors", tag = "replaced systems", operation_id = "append_error_log",
    request_body = ErrorLog, security(("bearer" = ["write"])),
    responses((status = 201, description = "It is kept", body = Made)),
)]
async fn append_error(
    State(app): State<App>,
    caller: Caller<Write>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
    input: Input,
) -> Result<Response, Problem> {
    made(&app, caller, move || input.value::<ErrorLog>()?.body()).await
}

/// Appends the record that `body` reads, at the server's durability.
async fn made(
    app: &App,
    caller: Caller<Write>,
    body: impl FnOnce() -> Result<Body<'static>, Failure> + Send + 'static,
) -> Result<Response, Problem> {
    let durability = app.config().durability;
    let work = move |pen: &Pen<'_>| Ok(Made { id: pen.append(body()?, durability)? });
    Ok(reply::value(StatusCode::CREATED, &caller.write(work).await?))
}

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

fn id(field: &'static str, text: Option<String>) -> Result<Option<Id<'static>>, Problem> {
    let id = text.map(Id::new).transpose();
    id.map_err(|err| Problem::of(&err, false).field(field))
}

fn word<T: std::str::FromStr<Err = Error>>(
    field: &'static str,
    text: Option<&String>,
) -> Result<Option<T>, Problem> {
    let value = text.map(|text| text.parse()).transpose();
    value.map_err(|err| Problem::of(&err, false).field(field))
}

impl EventLog {
    fn of(record: &Record<'_>) -> Result<Option<Self>, Error> {
        let Body::Event(event) = &record.body else { return Ok(None) };
        Ok(Some(Self {
            id: Some(record.seq),
            event_type: event.event_type.to_string(),
            payload: event.payload.as_ref().map(|json| json.to_value()).transpose()?,
            project_id: text(event.project_id.as_ref()),
            run_id: text(event.run_id.as_ref()),
            user_id: text(event.user_id.as_ref()),
            trace_id: text(event.trace_id.as_ref()),
            actor_type: text(event.actor_type.as_ref()),
            actor_id: text(event.actor_id.as_ref()),
            created_at: text(event.created_at.as_ref()),
        }))
    }

    fn body(self) -> Result<Body<'static>, Failure> {
        let mut event = Event::new(self.event_type);
        event.payload = input::json("payload", self.payload)?;
        event.project_id = id("projectId", self.project_id)?;
        event.run_id = id("runId", self.run_id)?;
        event.user_id = id("userId", self.user_id)?;
        event.trace_id = id("traceId", self.trace_id)?;
        event.actor_type = word::<ActorType>("actorType", self.actor_type.as_ref())?;
        event.actor_id = id("actorId", self.actor_id)?;
        event.created_at = word::<Timestamp>("createdAt", self.created_at.as_ref())?;
        Ok(event.into())
    }
}

impl ErrorLog {
    fn of(record: &Record<'_>) -> Result<Option<Self>, Error> {
        let Body::Error(error) = &record.body else { return Ok(None) };
        Ok(Some(Self {
            id: Some(record.seq),
            trace_id: text(error.trace_id.as_ref()),
            error_type: error.error_type.to_string(),
            message: error.message.to_string(),
            stack: text(error.stack.as_ref()),
            detail: error.detail.as_ref().map(|json| json.to_value()).transpose()?,
            project_id: text(error.project_id.as_ref()),
            run_id: text(error.run_id.as_ref()),
            user_id: text(error.user_id.as_ref()),
            endpoint: text(error.endpoint.as_ref()),
            severity: Some(error.severity.to_string()),
            created_at: text(error.created_at.as_ref()),
        }))
    }

    fn body(self) -> Result<Body<'static>, Failure> {
        let mut error = ErrorRecord::new(self.error_type, self.message);
        error.trace_id = id("traceId", self.trace_id)?;
        error.stack = self.stack.map(Into::into);
        error.detail = input::json("detail", self.detail)?;
        error.project_id = id("projectId", self.project_id)?;
        error.run_id = id("runId", self.run_id)?;
        error.user_id = id("userId", self.user_id)?;
        error.endpoint = self.endpoint.map(Into::into);
        if let Some(severity) = word::<Severity>("severity", self.severity.as_ref())? {
            error.severity = severity;
        }
        error.created_at = word::<Timestamp>("createdAt", self.created_at.as_ref())?;
        Ok(error.into())
    }
}
