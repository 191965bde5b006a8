//! What records are when they are taken together: groups, traces, values and counts.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::model::{Field, Kind};
use crate::query::ErrorGroup;
use crate::server::access::{Caller, Failure, Read, View};
use crate::server::app::App;
use crate::server::problem::{self, Problem};
use crate::server::reply;
use crate::server::routes::filter::{AnyFilter, ErrorFilter, Narrow};
use crate::server::routes::paging::{self, Paging};
use crate::server::shape;
use crate::server::words::{Nothing, Word, Words};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(groups))
        .routes(routes!(trace))
        .routes(routes!(values))
        .routes(routes!(count))
        .routes(routes!(stats))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Most {
    /// How many to give at the most
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

impl Most {
    fn limit(&self) -> Result<usize, Problem> {
        paging::Offset { limit: self.limit, offset: None }.limit()
    }
}

/// Errors that are alike
#[derive(Serialize, ToSchema)]
struct Group {
    fingerprint: String,
    count: u64,
    /// In how many runs they occurred
    runs: u64,
    #[schema(format = DateTime)]
    first_seen: String,
    #[schema(format = DateTime)]
    last_seen: String,
    /// The last of them that can be read
    #[schema(value_type = shape::Record)]
    newest: Box<RawValue>,
}

/// Groups of errors, the largest first
#[derive(Serialize, ToSchema)]
struct Groups {
    items: Vec<Group>,
}

impl Group {
    fn new(group: &ErrorGroup) -> Result<Self, Failure> {
        let mut newest = Vec::new();
        reply::write(&group.newest.record()?, &mut newest)?;
        let newest = serde_json::from_slice(&newest)
            .map_err(|_| Problem::new(problem::Kind::Internal, "the record cannot be written"))?;
        Ok(Self {
            fingerprint: group.fingerprint.to_string(),
            count: group.count,
            runs: group.runs,
            first_seen: group.first_seen.to_string(),
            last_seen: group.last_seen.to_string(),
            newest,
        })
    }
}

/// Errors in groups of those that are alike, the largest first
#[utoipa::path(
    get, path = "/v1/groups", tag = "errors", operation_id = "list_groups",
    params(ErrorFilter, Most), security(("bearer" = ["read"])),
    responses((status = 200, description = "The groups", body = Groups)),
)]
async fn groups(
    caller: Caller<Read>,
    Words(filter, most): Words<ErrorFilter, Most>,
) -> Result<Response, Problem> {
    let work = move |view: &View<'_>| {
        let groups = filter.apply(view.query()).or_damaged().limit(most.limit()?).error_groups()?;
        let items = groups.iter().map(Group::new).collect::<Result<_, _>>()?;
        Ok(Groups { items })
    };
    Ok(reply::value(StatusCode::OK, &caller.look(work).await?))
}

/// Everything of a trace, in the order of time
#[utoipa::path(
    get, path = "/v1/traces/{trace_id}", tag = "traces", operation_id = "get_trace",
    params(("trace_id" = String, Path, description = "Its id"), Paging),
    security(("bearer" = ["read"])),
    responses(
        (status = 200, description = "A page of it", body = shape::Page),
        (status = 404, description = "No such trace", body = problem::Shape),
    ),
)]
async fn trace(
    caller: Caller<Read>,
    Path(id): Path<String>,
    Words(paging, Nothing {}): Words<Paging>,
) -> Result<Response, Problem> {
    let work = move |view: &View<'_>| {
        let query = view.query().trace(&id);
        let page = paging.or_oldest().apply(query.clone())?.fetch()?;
        if page.is_empty() && query.count()? == 0 {
            return Err(Problem::not_found("trace", &id).into());
        }
        reply::page(&page)
    };
    Ok(reply::json(StatusCode::OK, caller.look(work).await?))
}

/// How many records have a value
#[derive(Serialize, ToSchema)]
struct Count {
    value: String,
    count: u64,
}

/// The values of a field, the most frequent first
#[derive(Serialize, ToSchema)]
struct Values {
    items: Vec<Count>,
}

fn counts(counts: Vec<(String, u64)>, limit: usize) -> Vec<Count> {
    counts.into_iter().take(limit).map(|(value, count)| Count { value, count }).collect()
}

/// The values of a field, and how many records have each
#[utoipa::path(
    get, path = "/v1/values/{field}", tag = "values", operation_id = "list_values",
    params(
        ("field" = String, Path, description = "`type`, `status`, `severity`, `project`, `user`, \
            `trace`, `run`, `subject` or `fingerprint`"),
        AnyFilter, Most,
    ),
    security(("bearer" = ["read"])),
    responses((status = 200, description = "The values", body = Values)),
)]
async fn values(
    caller: Caller<Read>,
    Path(field): Path<Word<Field>>,
    Words(filter, most): Words<AnyFilter, Most>,
) -> Result<Response, Problem> {
    let work = move |view: &View<'_>| {
        let values = filter.apply(view.query()).or_damaged().count_by(field.0)?;
        Ok(Values { items: counts(values, most.limit()?) })
    };
    Ok(reply::value(StatusCode::OK, &caller.look(work).await?))
}

/// How many records there are
#[derive(Serialize, ToSchema)]
struct Total {
    count: u64,
}

/// How many records match
#[utoipa::path(
    get, path = "/v1/count", tag = "values", operation_id = "count_records",
    params(AnyFilter), security(("bearer" = ["read"])),
    responses((status = 200, description = "Their number", body = Total)),
)]
async fn count(
    caller: Caller<Read>,
    Words(filter, Nothing {}): Words<AnyFilter>,
) -> Result<Response, Problem> {
    let work = move |view: &View<'_>| Ok(Total { count: filter.apply(view.query()).count()? });
    Ok(reply::value(StatusCode::OK, &caller.look(work).await?))
}

/// What there is, as far as the caller sees it
#[derive(Serialize, ToSchema)]
struct Stats {
    runs: u64,
    events: u64,
    errors: u64,
    runs_by_status: Vec<Count>,
    events_by_severity: Vec<Count>,
    errors_by_severity: Vec<Count>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Window {
    /// Created at this time or later, RFC 3339
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Word<crate::model::Timestamp>>,
    /// Created before this time, RFC 3339
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Word<crate::model::Timestamp>>,
}

/// How many runs, events and errors there are, by status and severity
#[utoipa::path(
    get, path = "/v1/stats", tag = "values", operation_id = "get_stats",
    params(Window), security(("bearer" = ["read"])),
    responses((status = 200, description = "The counts", body = Stats)),
)]
async fn stats(
    caller: Caller<Read>,
    Words(window, Nothing {}): Words<Window>,
) -> Result<Response, Problem> {
    let work = move |view: &View<'_>| {
        let of = |kind, field| -> Result<(u64, Vec<Count>), Failure> {
            let query = view.query().kind(kind);
            let query = window.since.iter().fold(query, |query, time| query.since(time.0));
            let query = window.until.iter().fold(query, |query, time| query.until(time.0));
            Ok((query.count()?, counts(query.count_by(field)?, usize::MAX)))
        };
        let (runs, runs_by_status) = of(Kind::Run, Field::Status)?;
        let (events, events_by_severity) = of(Kind::Event, Field::Severity)?;
        let (errors, errors_by_severity) = of(Kind::Error, Field::Severity)?;
        Ok(Stats { runs, events, errors, runs_by_status, events_by_severity, errors_by_severity })
    };
    Ok(reply::value(StatusCode::OK, &caller.look(work).await?))
}
