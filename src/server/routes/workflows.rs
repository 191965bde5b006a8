//! The log of workflow executions: a workflow is a type of run, and a log is a run.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Error;
use crate::model::{Body, Kind, Run, Status};
use crate::query::Query;
use crate::server::access::{Caller, Failure, Read, View};
use crate::server::app::App;
use crate::server::problem::{self, Problem};
use crate::server::reply::{self, Row};
use crate::server::routes::paging::Offset;
use crate::server::shape;
use crate::server::words::{Nothing, Word, Words};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(count)).routes(routes!(get))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// In this status, or one of these
    #[serde(default)]
    #[param(value_type = Vec<shape::Status>)]
    status: Vec<Word<Status>>,
}

impl Wanted {
    fn of(self, workflow: &str, view: &View<'_>) -> Query {
        let query = view.query().kind(Kind::Run).record_type(workflow);
        self.status.into_iter().fold(query, |query, status| query.status(status.0))
    }
}

/// Executions, the newest first
#[derive(Serialize, ToSchema)]
struct Logs {
    #[schema(value_type = Vec<Log>)]
    items: Vec<Row>,
    limit: usize,
    offset: u64,
    /// How many records could not be read and were left out
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<u64>,
}

/// How many executions there are
#[derive(Serialize, ToSchema)]
#[schema(as = LogCount)]
struct Count {
    count: u64,
}

/// An execution of a workflow
#[derive(Serialize, ToSchema)]
struct Log {
    id: String,
    workflow_id: String,
    #[schema(value_type = shape::Status)]
    status: &'static str,
    user_id: Option<String>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    started_at: Option<String>,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    duration_ms: Option<f64>,
    error: Option<String>,
    /// What it was started with; only with a single execution
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    /// What it gave; only with a single execution
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// Where it failed; only with a single execution
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<String>,
}

impl Log {
    fn brief(run: &Run<'_>) -> Self {
        Self {
            id: run.run_id.to_string(),
            workflow_id: run.run_type.to_string(),
            status: run.status.name(),
            user_id: run.user_id.as_ref().map(ToString::to_string),
            created_at: run.created_at.map(|time| time.to_string()),
            started_at: run.started_at.map(|time| time.to_string()),
            finished_at: run.finished_at.map(|time| time.to_string()),
            duration_ms: run.duration_nanos().map(|nanos| nanos as f64 / 1e6),
            error: run.error.as_ref().map(|error| error.message.to_string()),
            payload: None,
            result: None,
            stack: None,
        }
    }

    fn whole(run: &Run<'_>) -> Result<Self, Error> {
        let stack = run.error.as_ref().and_then(|error| error.stack.as_deref());
        Ok(Self {
            payload: run.metadata.as_ref().map(|json| json.to_value()).transpose()?,
            result: run.result.as_ref().map(|json| json.to_value()).transpose()?,
            stack: stack.map(str::to_owned),
            ..Self::brief(run)
        })
    }
}

/// The executions of a workflow, the newest first
#[utoipa::path(
    get, path = "/workflows/{workflow_id}/logs", tag = "replaced systems",
    operation_id = "list_workflow_logs",
    params(("workflow_id" = String, Path, description = "The type of the runs"), Wanted, Offset),
    security(("bearer" = ["read"])),
    responses((status = 200, description = "A page of them", body = Logs)),
)]
async fn list(
    caller: Caller<Read>,
    Path(workflow): Path<String>,
    Words(wanted, part): Words<Wanted, Offset>,
) -> Result<Response, Problem> {
    let logs = caller
        .look(move |view| {
            let page = part.apply(wanted.of(&workflow, view))?.fetch()?;
            let (items, damaged) = reply::rows(&page, |record| match &record.body {
                Body::Run(run) => Ok(Some(Log::brief(run))),
                Body::Event(_) | Body::Error(_) => Ok(None),
            })?;
            let (limit, offset) = (part.limit()?, part.offset.unwrap_or(0));
            Ok::<_, Failure>(Logs { items, limit, offset, damaged })
        })
        .await?;
    Ok(reply::value(StatusCode::OK, &logs))
}

/// How many executions a workflow has
#[utoipa::path(
    get, path = "/workflows/{workflow_id}/logs/count", tag = "replaced systems",
    operation_id = "count_workflow_logs",
    params(("workflow_id" = String, Path, description = "The type of the runs"), Wanted),
    security(("bearer" = ["read"])),
    responses((status = 200, description = "Their number", body = Count)),
)]
async fn count(
    caller: Caller<Read>,
    Path(workflow): Path<String>,
    Words(wanted, Nothing {}): Words<Wanted>,
) -> Result<Response, Problem> {
    let count = caller.look(move |view| Ok(wanted.of(&workflow, view).count()?)).await?;
    Ok(reply::value(StatusCode::OK, &Count { count }))
}

/// An execution with its payload, its result and its error
#[utoipa::path(
    get, path = "/logs/{log_id}", tag = "replaced systems", operation_id = "get_workflow_log",
    params(("log_id" = String, Path, description = "The id of the run")),
    security(("bearer" = ["read"])),
    responses(
        (status = 200, description = "The execution", body = Log),
        (status = 404, description = "No such execution", body = problem::Shape),
    ),
)]
async fn get(
    caller: Caller<Read>,
    Path(id): Path<String>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
) -> Result<Response, Problem> {
    let log = caller
        .look(move |view| {
            let stored = view.run(&id)?;
            match &stored.record()?.body {
                Body::Run(run) => Ok(Log::whole(run)?),
                _ => Err(Problem::not_found("run", &id).into()),
            }
        })
        .await?;
    Ok(reply::value(StatusCode::OK, &log))
}
