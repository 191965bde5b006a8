//! What the OpenAPI document says besides the routes.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, Info, OpenApi, OpenApiBuilder};

/// The document without routes.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("runledger", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "An append-only ledger of automation runs, the events they emit and the errors they raise."
            .to_owned(),
    );
    let mut components = Components::new();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert("bearer".to_owned(), bearer.into());
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}
