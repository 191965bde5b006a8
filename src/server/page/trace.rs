//! Everything of one trace: a waterfall of its runs, and all of it in order.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::model::{Body, Field, Kind, Timestamp};
use crate::query::{Cursor, Order, Query};
use crate::server::access::{Failure, View};
use crate::server::page::feed::{self, Item};
use crate::server::page::frame::{Frame, html, trace_place};
use crate::server::page::shown::{self, Clock};
use crate::server::page::spans::{Timed, Waterfall};
use crate::server::page::visit::Visit;
use crate::server::problem::Problem;
use crate::server::words::{Nothing, Word, Words};
use crate::text::human;

/// How many runs a waterfall has, and how many records a feed.
const RUNS: usize = 500;
const ITEMS: usize = 300;

#[derive(Deserialize)]
pub(super) struct Place {
    cursor: Option<Word<Cursor>>,
}

/// What is of a trace.
pub(super) struct Whole {
    pub(super) waterfall: Waterfall,
    pub(super) items: Vec<Item>,
    pub(super) damaged: u64,
    pub(super) next: Option<Cursor>,
    pub(super) runs: String,
    pub(super) events: String,
    pub(super) errors: String,
    pub(super) has_more_runs: bool,
    /// The first error, which may be on a later page.
    pub(super) first_error: Option<u64>,
}

#[derive(Template)]
#[template(path = "trace.html")]
struct TracePage {
    frame: Frame,
    id: String,
    place: String,
    whole: Whole,
    more: Option<String>,
    is_first: bool,
}

pub(super) async fn page(
    visit: Visit,
    Path(id): Path<String>,
    Words(place, Nothing {}): Words<Place>,
) -> Result<Response, Problem> {
    let (clock, cursor) = (visit.clock.clone(), place.cursor.map(|cursor| cursor.0));
    let shown_id = shown::clipped(&id, 200);
    let place = trace_place(&id);
    let work = move |view: &View<'_>| {
        let query = view.query().within(&[(Field::Trace, &id)]);
        if query.count()? == 0 {
            return Err(Problem::not_found("trace", &id).into());
        }
        Whole::of(&query, cursor, &clock)
    };
    let whole = visit.look(work).await?;
    let page = TracePage {
        frame: visit.frame(format!("Trace {shown_id}"), "runs"),
        id: shown_id,
        more: whole.next.map(|next| format!("{place}?cursor={next}#feed")),
        place,
        is_first: cursor.is_none(),
        whole,
    };
    html(StatusCode::OK, &page)
}

impl Whole {
    /// What this query finds, taken as one story.
    pub(super) fn of(
        query: &Query,
        cursor: Option<Cursor>,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let count = |kind| query.clone().kind(kind).count();
        let runs = count(Kind::Run)?;
        let first = query.clone().order(Order::Oldest).limit(1).fetch()?;
        let begin = first.records().next().transpose()?;
        let begin = begin.and_then(|record| record.body.created_at());
        let feed = query.clone().order(Order::Oldest).limit(ITEMS);
        let page = cursor.into_iter().fold(feed, Query::after).fetch()?;
        let (mut items, damaged) = Item::all(&page, begin, clock)?;
        feed::settle(&mut items);
        let timed = timed(query, clock.now())?;
        let waterfall = Waterfall::new(&timed, &items);
        // Runs are told of where they began; what they say of themselves is on their own pages.
        items.iter_mut().filter(|item| item.is_run).for_each(|run| run.blocks.clear());
        Ok(Self {
            waterfall,
            first_error: feed::first_error(&items),
            items,
            damaged,
            next: page.next(),
            has_more_runs: runs > RUNS as u64,
            runs: human::plural(runs, "run"),
            events: human::plural(count(Kind::Event)?, "event"),
            errors: human::plural(count(Kind::Error)?, "error"),
        })
    }
}

fn timed(query: &Query, now: Timestamp) -> Result<Vec<Timed>, Failure> {
    let page = query.clone().kind(Kind::Run).order(Order::Oldest).limit(RUNS).fetch()?;
    let mut timed = Vec::with_capacity(page.len());
    for record in page.records() {
        let record = record?;
        if let Body::Run(run) = &record.body {
            timed.push(Timed::of(record.seq, run, now));
        }
    }
    Ok(timed)
}
