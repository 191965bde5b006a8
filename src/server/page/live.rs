//! Everything as it comes: the last records to begin with, and then a stream of them.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use crate::model::{Body, Kind, Record, Severity, Status};
use crate::query::{Cursor, Order, Query};
use crate::server::access::{Failure, Read, View};
use crate::server::app::App;
use crate::server::page::blocks::FEW;
use crate::server::page::feed::{self, Item, ItemPage, Room};
use crate::server::page::frame::{Frame, html};
use crate::server::page::links::Links;
use crate::server::page::list::{Row, RowPage};
use crate::server::page::search::{self, search};
use crate::server::page::shown::{Clock, Moment};
use crate::server::page::visit::Visit;
use crate::server::page::words::Link;
use crate::server::problem::{self, Problem};
use crate::server::routes::{AnyFilter, tail};
use crate::server::words::{Word, Words};
use crate::text::human;

/// How many records there are to begin with, and the room for their values.
const LAST: usize = 40;
const ROOM: Room = Room { bytes: 8 << 10, with_runs: true };

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    kind: Vec<Word<Kind>>,
    severity: Vec<Word<Severity>>,
    status: Vec<Word<Status>>,
    text: Option<String>,
}

struct Choice {
    name: &'static str,
    link: String,
    is_on: bool,
}

#[derive(Template)]
#[template(path = "live.html")]
struct LivePage {
    frame: Frame,
    kinds: Vec<Choice>,
    words: Vec<(&'static str, String)>,
    text: String,
    stream: String,
    found: Found,
    older: Option<String>,
    newest: Option<String>,
    most_searched: String,
}

#[derive(Deserialize)]
pub(super) struct Place {
    cursor: Option<Word<Cursor>>,
}

/// What there is to begin with.
struct Found {
    items: Vec<Item>,
    damaged: u64,
    next: Option<Cursor>,
    /// Down to when a text was searched, when there is more.
    searched: Option<Moment>,
    /// Up to where all of it was seen.
    settled: u64,
}

fn look(
    view: &View<'_>,
    wanted: &Wanted,
    cursor: Option<Cursor>,
    clock: &Clock,
) -> Result<Found, Failure> {
    let settled = view.settled();
    let query = wanted.kind.iter().fold(view.query(), |query, kind| query.kind(kind.0));
    let query = wanted.severity.iter().fold(query, |query, it| query.severity(it.0));
    let query = wanted.status.iter().fold(query, |query, it| query.status(it.0));
    let query = query.history(true).order(Order::SeqDescending).limit(LAST);
    let query = cursor.into_iter().fold(query, Query::after);
    let found = search(query, wanted.text.as_deref(), search::MOST)?;
    let (mut items, damaged) = Item::all(&found.page, None, clock, ROOM)?;
    items.retain(|item| item.seq <= settled);
    items.reverse();
    feed::chain(&mut items);
    let searched = found.down_to.map(|time| clock.moment(time));
    Ok(Found { items, damaged, next: found.next, searched, settled })
}

pub(super) async fn page(
    visit: Visit,
    Words(wanted, place): Words<Wanted, Place>,
) -> Result<Response, Problem> {
    let (asked, clock) = (wanted.clone(), visit.clock.clone());
    let cursor = place.cursor.map(|cursor| cursor.0);
    let found = visit.look(move |view| look(view, &asked, cursor, &clock)).await?;
    html(StatusCode::OK, &lay_out(&visit, &wanted, cursor, found))
}

fn lay_out(visit: &Visit, wanted: &Wanted, cursor: Option<Cursor>, found: Found) -> LivePage {
    let mut link = Link::to("/tail");
    for Word(kind) in &wanted.kind {
        link = link.with("kind", kind);
    }
    for Word(severity) in &wanted.severity {
        link = link.with("severity", severity);
    }
    for Word(status) in &wanted.status {
        link = link.with("status", status);
    }
    let text = wanted.text.clone().unwrap_or_default();
    let link = link.with("text", &text);
    let kind = |kind: Kind| {
        let name = kind.name();
        let is_on = wanted.kind.iter().any(|other| other.0 == kind);
        let link = match is_on {
            true => link.without("kind", Some(name)),
            false => link.clone().with("kind", name),
        };
        Choice { name, link: link.to_string(), is_on }
    };
    let stream = link.at("/tail/stream").with("form", "item").with("after", found.settled);
    LivePage {
        frame: visit.frame("Tail", "tail"),
        kinds: [Kind::Run, Kind::Event, Kind::Error].map(kind).into(),
        words: link.others(&["text"]),
        stream: stream.to_string(),
        text,
        older: found.next.map(|next| link.clone().with("cursor", next).to_string()),
        newest: cursor.map(|_| link.to_string()),
        most_searched: human::count(search::MOST),
        found,
    }
}

/// What the pieces of a stream are to be.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shape {
    /// A row of the list of runs.
    Row,
    /// An entry of a feed.
    Item,
}

#[derive(Debug, Deserialize)]
pub(super) struct From {
    form: Option<Shape>,
    after: Option<u64>,
}

pub(super) async fn stream(
    State(app): State<App>,
    visit: Visit,
    Words(filter, from): Words<AnyFilter, From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let preferences = visit.preferences.clone();
    let links = app.config().links.clone();
    let shape = from.form.unwrap_or(Shape::Item);
    let write: tail::Write = std::sync::Arc::new(move |record: &Record<'_>, out| {
        let clock = Clock::new(Visit::now(), preferences.zone.clone());
        piece(record, shape, &clock, &links, out)
    });
    let caller = visit.caller::<Read>()?;
    tail::follow(app, caller, filter, from.after, &headers, write).await
}

/// Writes a record as a line of HTML.
fn piece(
    record: &Record<'_>,
    shape: Shape,
    clock: &Clock,
    links: &Links,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let html = match (shape, &record.body) {
        (Shape::Row, Body::Run(run)) => {
            let row = Row::of(record.seq, run, clock, links);
            RowPage { row: &row, is_new: true }.render()
        }
        _ => {
            let item = Item::of(record, None, clock, FEW);
            ItemPage { item: &item, with_run: true, linked: true, is_new: true }.render()
        }
    };
    let failed = |_| Problem::new(problem::Kind::Internal, "the record cannot be shown");
    // A line feed ends a field of the stream; the browser puts one between two fields.
    for (number, line) in html.map_err(failed)?.lines().enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\ndata: ");
        }
        out.extend_from_slice(line.as_bytes());
    }
    Ok(())
}
