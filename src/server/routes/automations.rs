//! The list of runs as the automation ledger's settings page reads it.

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Error;
use crate::model::{Body, Kind, Record, Status};
use crate::server::access::{Caller, Failure, Read};
use crate::server::app::App;
use crate::server::problem::Problem;
use crate::server::reply::{self, Row};
use crate::server::routes::paging::Offset;
use crate::server::shape;
use crate::server::words::{Word, Words};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    /// In this status, or one of these
    #[serde(default)]
    #[param(value_type = Vec<shape::Status>)]
    status: Vec<Word<Status>>,
    /// Of this type, or one of these
    #[serde(default)]
    automation_type: Vec<String>,
}

/// Runs, the newest first
#[derive(Serialize, ToSchema)]
struct Automations {
    #[schema(value_type = Vec<Automation>)]
    items: Vec<Row>,
    /// How many there are in all
    total: u64,
    limit: usize,
    offset: u64,
    /// How many records could not be read and were left out
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<u64>,
}

/// A run
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Automation {
    id: String,
    seq: u64,
    automation_type: String,
    #[schema(value_type = shape::Status)]
    status: &'static str,
    error_message: Option<String>,
    /// The metadata, parsed
    #[schema(value_type = Option<serde_json::Value>)]
    metadata: Option<Box<RawValue>>,
    /// The business object that it acted on
    booking: Option<Booking>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(format = DateTime)]
    started_at: Option<String>,
    #[schema(format = DateTime)]
    finished_at: Option<String>,
}

/// A business object
#[derive(Serialize, ToSchema)]
struct Booking {
    kind: String,
    id: String,
}

impl Automation {
    fn of(record: &Record<'_>) -> Result<Option<Self>, Error> {
        let Body::Run(run) = &record.body else { return Ok(None) };
        Ok(Some(Self {
            id: run.run_id.to_string(),
            seq: record.seq,
            automation_type: run.run_type.to_string(),
            status: run.status.name(),
            error_message: run.error.as_ref().map(|error| error.message.to_string()),
            metadata: run.metadata.as_ref().map(|json| json.to_value()).transpose()?,
            booking: run.subject.as_ref().map(|subject| Booking {
                kind: subject.kind().to_owned(),
                id: subject.id().to_string(),
            }),
            created_at: run.created_at.map(|time| time.to_string()),
            started_at: run.started_at.map(|time| time.to_string()),
            finished_at: run.finished_at.map(|time| time.to_string()),
        }))
    }
}

/// Runs with their metadata and what they acted on, the newest first
#[utoipa::path(
    get, path = "/api/automations/ledger", tag = "replaced systems",
    operation_id = "list_automations",
    params(Wanted, Offset), security(("bearer" = ["read"])),
    responses((status = 200, description = "A page of them", body = Automations)),
)]
async fn list(
    caller: Caller<Read>,
    Words(wanted, part): Words<Wanted, Offset>,
) -> Result<Response, Problem> {
    let found = caller
        .look(move |view| {
            let mut query = view.query().kind(Kind::Run);
            for Word(status) in wanted.status {
                query = query.status(status);
            }
            for name in &wanted.automation_type {
                query = query.record_type(name);
            }
            let total = query.count()?;
            let page = part.apply(query)?.fetch()?;
            let (items, damaged) = reply::rows(&page, Automation::of)?;
            let (limit, offset) = (part.limit()?, part.offset.unwrap_or(0));
            Ok::<_, Failure>(Automations { items, total, limit, offset, damaged })
        })
        .await?;
    Ok(reply::value(StatusCode::OK, &found))
}
