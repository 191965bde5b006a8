use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::server::app::{self, App};
use crate::server::document;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "server",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
async fn openapi() -> Response {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let document = DOCUMENT.get_or_init(|| {
        let (_, document) = app::api().split_for_parts();
        document::with_refusals(document).to_json().unwrap_or_default()
    });
    let media = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (media, document.as_str()).into_response()
}
