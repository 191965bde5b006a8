use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ledger::Durability;
use crate::model::{Body, Field, Id, Kind, Owner, Run, RunError, Status, Timestamp};
use crate::server::access::{Caller, Failure, Pen, Read, Write};
use crate::server::app::App;
use crate::server::input::{self, Input};
use crate::server::problem::{self, Problem};
use crate::server::routes::filter::{ErrorFilter, EventFilter, Narrow, RunFilter};
use crate::server::routes::paging::Paging;
use crate::server::routes::records::{self, Appended, Sure};
use crate::server::shape;
use crate::server::words::{Nothing, Word, Words};
use crate::storage::{Disk, Storage};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, append))
        .routes(routes!(get))
        .routes(routes!(start))
        .routes(routes!(finish))
        .routes(routes!(heartbeat))
        .routes(routes!(events))
        .routes(routes!(errors))
}

/// List runs, each in its newest state
#[utoipa::path(
    get, path = "/v1/runs", tag = "runs", operation_id = "list_runs",
    params(RunFilter, Paging), security(("bearer" = ["read"])),
    responses((status = 200, description = "A page of them", body = shape::Page)),
)]
async fn list(
    caller: Caller<Read>,
    Words(filter, paging): Words<RunFilter, Paging>,
) -> Result<Response, Problem> {
    records::list(caller, paging, move |view| Ok(filter.apply(view.query()))).await
}

/// Append a state of a run: its first, its last, or all of it at once
#[utoipa::path(
    post, path = "/v1/runs", tag = "runs", operation_id = "append_run",
    params(Sure), request_body = shape::NewRun, security(("bearer" = ["write"])),
    responses(
        (status = 201, description = "It is kept", body = Appended),
        (status = 409, description = "The run cannot go there", body = problem::Shape),
    ),
)]
async fn append(
    State(app): State<App>,
    caller: Caller<Write>,
    Words(sure, Nothing {}): Words<Sure>,
    input: Input,
) -> Result<Response, Problem> {
    let durability = sure.durability(&app);
    let work = move |pen: &Pen<'_>| {
        let body = input.record(Kind::Run)?;
        let path = body.run_id().map(|id| path_of(&id.to_string())).unwrap_or_default();
        Ok((Appended { seq: pen.append(body, durability)? }, path))
    };
    let (appended, path) = caller.write(work).await?;
    Ok(appended.at(&path))
}

/// Get a run in its newest state
#[utoipa::path(
    get, path = "/v1/runs/{run_id}", tag = "runs", operation_id = "get_run",
    params(("run_id" = String, Path, description = "Its id")), security(("bearer" = ["read"])),
    responses(
        (status = 200, description = "The run", body = shape::Record),
        (status = 304, description = "`If-None-Match` names it"),
        (status = 404, description = "No such run", body = problem::Shape),
    ),
)]
async fn get(
    caller: Caller<Read>,
    Path(id): Path<String>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    records::one(caller, &headers, move |view| view.run(&id)).await
}

/// How a run begins
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    /// What it does
    r#type: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    ts: Option<Word<Timestamp>>,
    trace_id: Option<String>,
    project_id: Option<String>,
    parent_run_id: Option<String>,
    attempt: Option<u32>,
    /// The run is abandoned when no heartbeat comes for so many seconds; 0 for never
    #[serde(default)]
    lease_s: u32,
    #[schema(value_type = Option<serde_json::Value>)]
    metadata: Option<Box<RawValue>>,
}

/// Start a run
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/start", tag = "runs", operation_id = "start_run",
    params(("run_id" = String, Path, description = "Its id"), Sure),
    request_body = Start, security(("bearer" = ["write"])),
    responses(
        (status = 201, description = "It is running", body = Appended),
        (status = 409, description = "The run has ended", body = problem::Shape),
    ),
)]
async fn start(
    State(app): State<App>,
    caller: Caller<Write>,
    Path(id): Path<String>,
    Words(sure, Nothing {}): Words<Sure>,
    input: Input,
) -> Result<Response, Problem> {
    let work = move |pen: &Pen<'_>, id, durability| {
        let start: Start = input.value()?;
        let mut run = Run::new(id, start.r#type, Status::Running)?;
        run.at = start.ts.map(|ts| ts.0);
        run.trace_id = start.trace_id.map(Id::new).transpose()?;
        run.project_id = start.project_id.map(Id::new).transpose()?;
        run.parent_run_id = start.parent_run_id.map(Id::new).transpose()?;
        run.attempt = start.attempt;
        run.metadata = input::json("metadata", start.metadata)?;
        run.owner = lease(start.lease_s);
        pen.append(Body::Run(run), durability)
    };
    move_on(&app, caller, &sure, id, work).await
}

/// How a run ends
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Finish {
    /// `success`, `failed`, `skipped` or `cancelled`
    #[schema(value_type = shape::Status)]
    status: Word<Status>,
    /// Which attempt ends; else the one that the run is in
    attempt: Option<u32>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ts: Option<Word<Timestamp>>,
    error_type: Option<String>,
    message: Option<String>,
    stack: Option<String>,
    #[schema(value_type = Option<serde_json::Value>)]
    metadata: Option<Box<RawValue>>,
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
}

/// End a run
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/finish", tag = "runs", operation_id = "finish_run",
    params(("run_id" = String, Path, description = "Its id"), Sure),
    request_body = Finish, security(("bearer" = ["write"])),
    responses(
        (status = 201, description = "It has ended", body = Appended),
        (status = 404, description = "No such run", body = problem::Shape),
        (status = 409, description = "It had ended before, or is in another attempt",
            body = problem::Shape),
    ),
)]
async fn finish(
    State(app): State<App>,
    caller: Caller<Write>,
    Path(id): Path<String>,
    Words(sure, Nothing {}): Words<Sure>,
    input: Input,
) -> Result<Response, Problem> {
    let work = move |pen: &Pen<'_>, id, durability| {
        let id = Id::new(id)?;
        let end: Finish = input.value()?;
        if !end.status.0.is_terminal() {
            let detail = format!("{} is no status that a run ends in", end.status.0);
            return Err(Problem::new(problem::Kind::Body, detail).field("status").into());
        }
        pen.update(&id, durability, |newest| end.state(newest))
    };
    move_on(&app, caller, &sure, id, work).await
}

impl Finish {
    fn state(self, newest: Run<'_>) -> Result<Run<'static>, Failure> {
        check_attempt(&newest, self.attempt)?;
        let name = newest.run_type.into_owned();
        let mut run = Run::with_id(newest.run_id.into_owned(), name, self.status.0);
        (run.at, run.attempt) = (self.ts.map(|ts| ts.0), self.attempt);
        if self.message.is_some() || self.error_type.is_some() || self.stack.is_some() {
            let mut error = RunError::new(self.message.unwrap_or_default());
            error.error_type = self.error_type.map(Into::into);
            error.stack = self.stack.map(Into::into);
            run.error = Some(error);
        }
        run.metadata = input::json("metadata", self.metadata)?;
        run.result = input::json("result", self.result)?;
        Ok(run)
    }
}

/// Refuses what is about another attempt than the one that the run is in: who began that one has
/// its say.
fn check_attempt(newest: &Run<'_>, attempt: Option<u32>) -> Result<(), Failure> {
    let current = newest.attempt.unwrap_or(1);
    if attempt.is_some_and(|attempt| attempt != current) {
        let detail = format!("the run is in attempt {current}");
        return Err(Problem::new(problem::Kind::Transition, detail).field("attempt").into());
    }
    Ok(())
}

/// A sign of life
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Heartbeat {
    /// Which attempt is at work; else the one that the run is in
    attempt: Option<u32>,
    /// The run is abandoned when no other comes for so many seconds; 0 for never
    #[serde(default)]
    lease_s: u32,
}

/// Say that a run is at work
#[utoipa::path(
    post, path = "/v1/runs/{run_id}/heartbeat", tag = "runs", operation_id = "heartbeat_run",
    params(("run_id" = String, Path, description = "Its id"), Sure),
    request_body = Heartbeat, security(("bearer" = ["write"])),
    responses(
        (status = 201, description = "It is noted", body = Appended),
        (status = 404, description = "No such run", body = problem::Shape),
        (status = 409, description = "It has ended, was abandoned, or is in another attempt",
            body = problem::Shape),
    ),
)]
async fn heartbeat(
    State(app): State<App>,
    caller: Caller<Write>,
    Path(id): Path<String>,
    Words(sure, Nothing {}): Words<Sure>,
    input: Input,
) -> Result<Response, Problem> {
    let work = move |pen: &Pen<'_>, id, durability| {
        let id = Id::new(id)?;
        let beat: Heartbeat = input.value()?;
        pen.update(&id, durability, |newest| {
            if newest.status.is_terminal() {
                let detail = format!("the run has ended as {}", newest.status);
                return Err(Problem::new(problem::Kind::Transition, detail).into());
            }
            check_attempt(&newest, beat.attempt)?;
            let name = newest.run_type.into_owned();
            let mut run = Run::with_id(newest.run_id.into_owned(), name, newest.status);
            // Whom the run names stays its owner, but for a lease that is not to end it any more.
            let without =
                newest.owner.map(|owner| Owner { lease_until: None, ..owner.into_owned() });
            run.owner = lease(beat.lease_s).or(without.map(Box::new));
            run.attempt = beat.attempt;
            Ok(run)
        })
    };
    move_on(&app, caller, &sure, id, work).await
}

/// The events of a run
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/events", tag = "runs", operation_id = "events_of_run",
    params(("run_id" = String, Path, description = "Its id"), EventFilter, Paging),
    security(("bearer" = ["read"])),
    responses(
        (status = 200, description = "A page of them", body = shape::Page),
        (status = 404, description = "No such run", body = problem::Shape),
    ),
)]
async fn events(
    caller: Caller<Read>,
    Path(id): Path<String>,
    Words(filter, paging): Words<EventFilter, Paging>,
) -> Result<Response, Problem> {
    belongings(caller, id, filter, paging).await
}

/// The errors of a run
#[utoipa::path(
    get, path = "/v1/runs/{run_id}/errors", tag = "runs", operation_id = "errors_of_run",
    params(("run_id" = String, Path, description = "Its id"), ErrorFilter, Paging),
    security(("bearer" = ["read"])),
    responses(
        (status = 200, description = "A page of them", body = shape::Page),
        (status = 404, description = "No such run", body = problem::Shape),
    ),
)]
async fn errors(
    caller: Caller<Read>,
    Path(id): Path<String>,
    Words(filter, paging): Words<ErrorFilter, Paging>,
) -> Result<Response, Problem> {
    belongings(caller, id, filter, paging).await
}

/// What belongs to a run that the caller sees.
async fn belongings(
    caller: Caller<Read>,
    id: String,
    filter: impl Narrow + Send + 'static,
    paging: Paging,
) -> Result<Response, Problem> {
    records::list(caller, paging, move |view| {
        view.run(&id)?;
        Ok(filter.apply(view.query().within(&[(Field::Run, &id)])))
    })
    .await
}

/// An owner of whom nothing is known but until when it vouches for the run.
fn lease(seconds: u32) -> Option<Box<Owner<'static>>> {
    let until =
        Timestamp::from_nanos(Disk.now()).saturating_add(Duration::from_secs(u64::from(seconds)));
    (seconds > 0).then(|| Box::new(Owner::new("http").lease_until(until)))
}

/// Does what moves the run with this id on, and answers where it is to be found.
async fn move_on(
    app: &App,
    caller: Caller<Write>,
    sure: &Sure,
    id: String,
    work: impl FnOnce(&Pen<'_>, String, Durability) -> Result<u64, Failure> + Send + 'static,
) -> Result<Response, Problem> {
    let durability = sure.durability(app);
    let path = path_of(&id);
    let work = move |pen: &Pen<'_>| Ok(Appended { seq: work(pen, id, durability)? });
    Ok(caller.write(work).await?.at(&path))
}

/// Where a run is to be found. Its id may hold anything.
fn path_of(id: &str) -> String {
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    format!("/v1/runs/{}", id.replace('+', "%20"))
}
