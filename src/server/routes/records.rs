//! What the routes of runs, events and errors have in common.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ledger::Durability;
use crate::model::Kind;
use crate::query::{Query, Stored};
use crate::server::access::{Caller, Failure, Pen, Read, View, Write};
use crate::server::app::App;
use crate::server::config::Level;
use crate::server::input::Input;
use crate::server::problem::Problem;
use crate::server::reply::{self, One};
use crate::server::routes::paging::Paging;

/// How sure an append has to be.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Sure {
    /// What the record has reached when this is answered; the server's default unless given
    #[param(inline)]
    durability: Option<Level>,
}

impl Sure {
    pub(super) fn durability(&self, app: &App) -> Durability {
        self.durability.map_or(app.config().durability, Level::durability)
    }
}

/// What was appended
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Appended {
    /// The number of the record, which is its id
    pub(super) seq: u64,
}

impl Appended {
    /// The answer, which names where the record is to be found.
    pub(super) fn at(self, path: &str) -> Response {
        let mut response = reply::value(StatusCode::CREATED, &self);
        if let Ok(path) = HeaderValue::try_from(path) {
            response.headers_mut().insert(header::LOCATION, path);
        }
        response
    }
}

/// A page of what a question finds.
pub(super) async fn list(
    caller: Caller<Read>,
    paging: Paging,
    ask: impl FnOnce(&View<'_>) -> Result<Query, Failure> + Send + 'static,
) -> Result<Response, Problem> {
    let look = move |view: &View<'_>| reply::page(&paging.apply(ask(view)?)?.or_damaged().fetch()?);
    let page = caller.look(look).await?;
    Ok(reply::json(StatusCode::OK, page))
}

/// The record that `find` finds.
pub(super) async fn one(
    caller: Caller<Read>,
    headers: &HeaderMap,
    find: impl FnOnce(&View<'_>) -> Result<Stored, Failure> + Send + 'static,
) -> Result<Response, Problem> {
    Ok(caller.look(move |view| One::new(&find(view)?)).await?.answer(headers))
}

/// Appends the body as an event or an error.
pub(super) async fn append(
    app: &App,
    caller: Caller<Write>,
    sure: &Sure,
    kind: Kind,
    input: Input,
) -> Result<Response, Problem> {
    let durability = sure.durability(app);
    let is_quick = durability != Durability::Sync && input.is_short();
    let work =
        move |pen: &Pen<'_>| Ok(Appended { seq: pen.append(input.record(kind)?, durability)? });
    let appended = match is_quick {
        true => caller.write_here(work).await?,
        false => caller.write(work).await?,
    };
    let path = format!("/v1/{kind}s/{}", appended.seq);
    Ok(appended.at(&path))
}
