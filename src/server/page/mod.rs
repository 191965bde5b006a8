//! The pages: last runs and failures, for people with a browser.
//!
//! They are made here and work as they are; a small script adds what moves. They read through
//! `access` as the API does, and are let in by the same tokens, which a browser keeps in a cookie.
//! No route but these takes that cookie.

mod assets;
mod blocks;
mod chart;
mod errors;
mod export;
mod feed;
mod find;
mod frame;
mod links;
mod list;
mod live;
mod overview;
mod preferences;
mod record;
mod run;
mod search;
mod segments;
mod session;
mod shown;
mod sign_in;
mod spans;
mod trace;
mod visit;
mod words;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

use crate::server::app::App;

pub use export::Report;
pub(super) use frame::{Shown, lost};
pub use links::Links;
pub(super) use session::Forms;

/// The routes of the pages.
pub(super) fn routes(app: &App) -> Router<App> {
    Router::new()
        .route("/", get(list::page))
        // Where the page of the system that this one replaces was.
        .route("/settings/automations/ledger", get(list::page))
        .route("/runs/{run_id}", get(run::page))
        .route("/records/{seq}", get(record::page))
        .route("/records/{seq}/raw", get(record::raw))
        .route("/errors", get(errors::page))
        .route("/errors/{fingerprint}", get(errors::group))
        .route("/traces/{trace_id}", get(trace::page))
        .route("/find", get(find::find))
        .route("/overview", get(overview::page))
        .route("/segments", get(segments::page).post(segments::clean))
        .route("/tail", get(live::page))
        .route("/tail/stream", get(live::stream))
        .route("/login", get(sign_in::page).post(sign_in::enter))
        .route("/logout", post(sign_in::leave))
        .route("/preferences", post(preferences::set))
        .layer(middleware::from_fn_with_state(app.clone(), frame::dress))
        .route("/static/{version}/{name}", get(assets::get))
}
