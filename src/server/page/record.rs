//! One record of any kind, in full, and as it is.

use askama::Template;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::model::{Body, Id, Kind};
use crate::query::Stored;
use crate::server::access::{Failure, View};
use crate::server::page::blocks::{self, Block, FEW, MANY};
use crate::server::page::feed::Item;
use crate::server::page::frame::{Frame, html, run_place, trace_place};
use crate::server::page::shown::{self, Clock};
use crate::server::page::visit::Visit;
use crate::server::page::words::Link;
use crate::server::problem::{self, Problem};
use crate::server::reply;
use crate::server::words::{Nothing, Words};

/// The room for the values of a record that has a page for itself, in bytes.
const ROOM: usize = 56 << 10;

/// A record in full.
pub(super) struct Full {
    pub(super) kind: &'static str,
    pub(super) item: Item,
    pub(super) message: Option<Block>,
    /// Names and values, with a place for those that have one.
    pub(super) facts: Vec<(&'static str, String, String)>,
    pub(super) blocks: Vec<Block>,
}

#[derive(Template)]
#[template(path = "record.html")]
struct RecordPage {
    frame: Frame,
    full: Full,
}

/// A record that the caller sees, of whatever kind.
fn find(view: &View<'_>, seq: u64) -> Result<Stored, Failure> {
    for kind in [Kind::Error, Kind::Event, Kind::Run] {
        match view.record(kind, seq) {
            Err(Failure::Problem(problem)) if problem.kind == problem::Kind::NotFound => {}
            found => return found,
        }
    }
    Err(Problem::not_found("record", &seq.to_string()).into())
}

impl Full {
    /// With its values as far as there is room for so many bytes of them.
    pub(super) fn of(stored: &Stored, clock: &Clock, room: usize) -> Result<Self, Failure> {
        let record = stored.record()?;
        let body = &record.body;
        let message = match body {
            Body::Run(run) => run.error.as_ref().map(|error| error.message.as_ref()),
            Body::Event(event) => event.message.as_deref(),
            Body::Error(error) => Some(error.message.as_ref()),
        };
        let mut facts = facts(body);
        facts.push(("Recorded", clock.moment(record.recorded_at).full, String::new()));
        if let Some(before) = record.supersedes {
            facts.push(("Before", before.to_string(), format!("/records/{before}")));
        }
        let make = |most| {
            let message = message.map(|message| Block::text("message", message, most));
            Ok((message, blocks::of(body, most)))
        };
        let (message, blocks) = blocks::fit(room, MANY, make, |(message, blocks)| {
            message.iter().chain(blocks).map(Block::weight).sum()
        })?;
        Ok(Self {
            kind: body.kind().name(),
            item: Item::of(&record, None, clock, FEW),
            message,
            facts,
            blocks: blocks.into_iter().map(Block::open).collect(),
        })
    }
}

fn facts(body: &Body<'_>) -> Vec<(&'static str, String, String)> {
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>, place: &dyn Fn(&str) -> String| {
        facts.extend(value.map(|value| (name, shown::clipped(&value, 130), place(&value))));
    };
    let of = |word: &'static str| move |value: &str| Link::to("/").with(word, value).to_string();
    let nowhere = |_: &str| String::new();
    match body {
        Body::Event(event) => {
            let actor = event.actor_type.map(|it| it.to_string());
            add("Actor", actor, &nowhere);
            add("Actor id", event.actor_id.as_ref().map(Id::to_string), &nowhere);
        }
        Body::Error(error) => {
            add("Endpoint", error.endpoint.as_deref().map(str::to_owned), &nowhere);
            let group = error.fingerprint.map(|it| it.to_string());
            add("Group", group, &|group| format!("/errors/{group}"));
        }
        Body::Run(_) => {}
    }
    add("Run", body.run_id().map(Id::to_string), &run_place);
    add("Trace", body.trace_id().map(Id::to_string), &trace_place);
    add("Project", body.project_id().map(Id::to_string), &of("project"));
    add("User", body.user_id().map(Id::to_string), &of("user"));
    add("Origin", body.origin().map(|it| it.to_string()), &nowhere);
    facts
}

pub(super) async fn page(
    visit: Visit,
    Path(seq): Path<u64>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
) -> Result<Response, Problem> {
    let clock = visit.clock.clone();
    let full = visit.look(move |view| Full::of(&find(view, seq)?, &clock, ROOM)).await?;
    let section = if full.item.is_error { "errors" } else { "runs" };
    let frame = visit.frame(format!("{} {}", full.kind, full.item.name), section);
    html(StatusCode::OK, &RecordPage { frame, full })
}

/// The record as JSON, to be kept as a file.
pub(super) async fn raw(
    visit: Visit,
    Path(seq): Path<u64>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
) -> Result<Response, Problem> {
    let work = move |view: &View<'_>| {
        let mut json = Vec::new();
        reply::write(&find(view, seq)?.record()?, &mut json)?;
        json.push(b'\n');
        Ok(json)
    };
    let json = visit.look(work).await?;
    let name = format!("attachment; filename=\"record-{seq}.json\"");
    let name = HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("attachment"));
    let media = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, media), (header::CONTENT_DISPOSITION, name)], json).into_response())
}
