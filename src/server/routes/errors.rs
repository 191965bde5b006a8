use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::model::Kind;
use crate::server::access::{Caller, Read, Write};
use crate::server::app::App;
use crate::server::input::Input;
use crate::server::problem::{self, Problem};
use crate::server::routes::filter::{ErrorFilter, Narrow};
use crate::server::routes::paging::Paging;
use crate::server::routes::records::{self, Appended, Sure};
use crate::server::shape;
use crate::server::words::{Nothing, Words};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, append)).routes(routes!(get))
}

/// List errors
#[utoipa::path(
    get, path = "/v1/errors", tag = "errors", operation_id = "list_errors",
    params(ErrorFilter, Paging), security(("bearer" = ["read"])),
    responses((status = 200, description = "A page of them", body = shape::Page)),
)]
async fn list(
    caller: Caller<Read>,
    Words(filter, paging): Words<ErrorFilter, Paging>,
) -> Result<Response, Problem> {
    records::list(caller, paging, move |view| Ok(filter.apply(view.query()))).await
}

/// Append an error
#[utoipa::path(
    post, path = "/v1/errors", tag = "errors", operation_id = "append_error",
    params(Sure), request_body = shape::NewError, security(("bearer" = ["write"])),
    responses((status = 201, description = "It is kept", body = Appended)),
)]
async fn append(
    State(app): State<App>,
    caller: Caller<Write>,
    Words(sure, Nothing {}): Words<Sure>,
    input: Input,
) -> Result<Response, Problem> {
    records::append(&app, caller, &sure, Kind::Error, input).await
}

/// Get an error
#[utoipa::path(
    get, path = "/v1/errors/{seq}", tag = "errors", operation_id = "get_error",
    params(("seq" = u64, Path, description = "Its number")), security(("bearer" = ["read"])),
    responses(
        (status = 200, description = "The error", body = shape::Record),
        (status = 304, description = "`If-None-Match` names it"),
        (status = 404, description = "No such error", body = problem::Shape),
    ),
)]
async fn get(
    caller: Caller<Read>,
    Path(seq): Path<u64>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    records::one(caller, &headers, move |view| view.record(Kind::Error, seq)).await
}
