//! The routes, a file for each resource.

mod automations;
mod bulk;
mod errors;
mod events;
mod export;
mod filter;
mod health;
mod insight;
mod openapi;
mod otlp;
mod paging;
mod records;
mod runs;
mod tables;
pub(super) mod tail;
mod upkeep;
mod workflows;

pub(super) use filter::AnyFilter;
use utoipa_axum::router::OpenApiRouter;

use crate::server::app::App;

/// All of them.
pub(super) fn all() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(openapi::routes())
        .merge(runs::routes())
        .merge(events::routes())
        .merge(errors::routes())
        .merge(bulk::routes())
        .merge(otlp::routes())
        .merge(export::routes())
        .merge(tail::routes())
        .merge(insight::routes())
        .merge(upkeep::routes())
        .merge(automations::routes())
        .merge(workflows::routes())
        .merge(tables::routes())
}
