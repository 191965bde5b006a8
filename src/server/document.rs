//! What the OpenAPI document says besides the routes.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, Content, Info, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
};

use crate::server::problem::MEDIA_TYPE;

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

/// The document with what every operation may answer besides: a problem.
pub(super) fn with_refusals(mut document: OpenApi) -> OpenApi {
    let problem = || Content::new(Some(Ref::from_schema_name("Problem")));
    let default = ResponseBuilder::new().description("A refusal").content(MEDIA_TYPE, problem());
    let default = default.build();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response
                    && status.starts_with(['4', '5'])
                {
                    response.content.clear();
                    response.content.insert(MEDIA_TYPE.to_owned(), problem().into());
                }
            }
            responses.insert("default".to_owned(), default.clone().into());
        }
    }
    document
}
