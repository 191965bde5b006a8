use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::server::app::App;
use crate::server::problem::{self, Kind, Problem};
use crate::server::words::{Nothing, Words};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Is the server there
#[utoipa::path(
    get, path = "/livez", tag = "server",
    responses((status = 200, description = "It is", body = String, content_type = "text/plain")),
)]
async fn livez() -> &'static str {
    "ok\n"
}

/// Does the ledger take records
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain"),
        (status = 503, description = "It does not", body = problem::Shape,
            content_type = "application/problem+json"),
    ),
)]
async fn readyz(State(app): State<App>) -> Response {
    let (store, stops) = (app.store(), *app.stopping().borrow());
    match app.pool().run(move || store.check()).await {
        Ok(Ok(())) if !stops => (StatusCode::OK, "ok\n").into_response(),
        Ok(_) => Problem::new(Kind::Unavailable, "the ledger takes no records now")
            .retry_after(60)
            .into_response(),
        Err(busy) => busy.into_response(),
    }
}

/// What the server has done, for Prometheus
///
/// It needs the scope `admin`, unless the server is told to show it to everyone.
#[utoipa::path(
    get, path = "/metrics", tag = "server", security(("bearer" = ["admin"])),
    responses((
        status = 200, description = "OpenMetrics", body = String,
        content_type = "application/openmetrics-text",
    )),
)]
async fn metrics(
    State(app): State<App>,
    headers: HeaderMap,
    words: Result<Words<Nothing>, Problem>,
) -> Result<Response, Problem> {
    if !app.config().open_metrics && !app.gate().admit(&Method::GET, &headers)?.sees_all() {
        return Err(Problem::new(Kind::Scope, "this needs the scope \"admin\""));
    }
    words?;
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media))];
    Ok((headers, app.metrics().text()).into_response())
}
