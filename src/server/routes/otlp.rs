//! OpenTelemetry's export over HTTP.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::server::access::{Caller, Write};
use crate::server::app::App;
use crate::server::otlp::{self, Export, Signal};
use crate::server::problem::Problem;
use crate::server::routes::records::Sure;
use crate::server::words::{Nothing, Words};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(traces)).routes(routes!(logs))
}

/// Take spans of OpenTelemetry: a root as a run, others and their events as events and errors
#[utoipa::path(
    post, path = "/v1/traces", tag = "opentelemetry", operation_id = "export_traces",
    params(Sure), security(("bearer" = ["write"])),
    request_body(description = "An ExportTraceServiceRequest",
        content((Object = "application/json"), (Vec<u8> = "application/x-protobuf"))),
    responses((
        status = 200, description = "An ExportTraceServiceResponse; what was refused is counted",
        content((Object = "application/json"), (Vec<u8> = "application/x-protobuf")),
    )),
)]
async fn traces(
    app: State<App>,
    caller: Caller<Write>,
    words: Words<Sure>,
    export: Export,
) -> Result<Response, Problem> {
    take(app, caller, words, export, Signal::Traces).await
}

/// Take log records of OpenTelemetry as events, and those that are errors as errors
#[utoipa::path(
    post, path = "/v1/logs", tag = "opentelemetry", operation_id = "export_logs",
    params(Sure), security(("bearer" = ["write"])),
    request_body(description = "An ExportLogsServiceRequest",
        content((Object = "application/json"), (Vec<u8> = "application/x-protobuf"))),
    responses((
        status = 200, description = "An ExportLogsServiceResponse; what was refused is counted",
        content((Object = "application/json"), (Vec<u8> = "application/x-protobuf")),
    )),
)]
async fn logs(
    app: State<App>,
    caller: Caller<Write>,
    words: Words<Sure>,
    export: Export,
) -> Result<Response, Problem> {
    take(app, caller, words, export, Signal::Logs).await
}

async fn take(
    State(app): State<App>,
    caller: Caller<Write>,
    Words(sure, Nothing {}): Words<Sure>,
    export: Export,
    signal: Signal,
) -> Result<Response, Problem> {
    let durability = sure.durability(&app);
    let taken = caller.write(move |pen| otlp::take(pen, &export, signal, durability)).await?;
    Ok(taken.into_response())
}
