//! One box that takes any id.

use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::model::{Field, Fingerprint, Kind};
use crate::server::access::{Failure, View};
use crate::server::page::frame::{run_place, trace_place};
use crate::server::page::visit::Visit;
use crate::server::page::words::Link;
use crate::server::problem::{Kind as Refused, Problem};
use crate::server::words::{Nothing, Words};

#[derive(Deserialize)]
pub(super) struct Wanted {
    id: Option<String>,
}

/// Leads to what has this id: a run, a trace, a group of errors, a record, or the runs of a
/// business object, a project or a user.
pub(super) async fn find(
    visit: Visit,
    Words(wanted, Nothing {}): Words<Wanted>,
) -> Result<Response, Problem> {
    let id = wanted.id.unwrap_or_default().trim().to_owned();
    if id.is_empty() {
        return Ok(Redirect::to("/").into_response());
    }
    let place = visit.look(move |view| place_of(view, &id)).await?;
    Ok(Redirect::to(&place).into_response())
}

fn place_of(view: &View<'_>, id: &str) -> Result<String, Failure> {
    // What cannot be an id of this field is none of it.
    let some = |field, kind: Option<Kind>| {
        let query = view.query().within(&[(field, id)]);
        kind.into_iter().fold(query, crate::query::Query::kind).limit(1).fetch()
    };
    let has = |field, kind| some(field, kind).is_ok_and(|page| !page.is_empty());
    if view.run(id).is_ok() || has(Field::Run, None) {
        return Ok(run_place(id));
    }
    if has(Field::Trace, None) {
        return Ok(trace_place(id));
    }
    if id.parse::<Fingerprint>().is_ok() && has(Field::Fingerprint, None) {
        return Ok(format!("/errors/{id}"));
    }
    if let Ok(seq) = id.parse::<u64>() {
        let kinds = [Kind::Run, Kind::Event, Kind::Error];
        if kinds.into_iter().any(|kind| view.record(kind, seq).is_ok()) {
            return Ok(format!("/records/{seq}"));
        }
    }
    for (field, word) in
        [(Field::Subject, "subject"), (Field::Project, "project"), (Field::User, "user")]
    {
        if has(field, Some(Kind::Run)) {
            return Ok(Link::to("/").with(word, id).to_string());
        }
    }
    let short: String = id.chars().take(100).collect();
    let detail = format!("nothing in the ledger that you can see has the id {short:?}");
    Err(Problem::new(Refused::NotFound, detail).into())
}
