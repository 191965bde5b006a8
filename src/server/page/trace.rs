//! Everything of one trace: a waterfall of its runs, and all of it in order.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::model::{Body, Field, Kind, Timestamp};
use crate::query::{Cursor, Order, Query};
use crate::server::access::{Failure, View};
use crate::server::page::feed::{self, Choice, Item, Part};
use crate::server::page::frame::{Frame, html, run_place, trace_place};
use crate::server::page::shown::{self, Clock};
use crate::server::page::spans::{Timed, Waterfall};
use crate::server::page::visit::Visit;
use crate::server::problem::Problem;
use crate::server::words::{Nothing, Word, Words};

/// How many runs a waterfall has, and how many records a feed.
const RUNS: usize = 500;
const ITEMS: usize = 300;

#[derive(Deserialize)]
pub(super) struct Place {
    cursor: Option<Word<Cursor>>,
    kind: Option<Word<Kind>>,
}

/// What is of a trace.
pub(super) struct Whole {
    pub(super) waterfall: Waterfall,
    pub(super) items: Vec<Item>,
    pub(super) damaged: u64,
    pub(super) next: Option<Cursor>,
    pub(super) choices: Vec<Choice>,
    pub(super) has_more_runs: bool,
    pub(super) first_error: Option<String>,
}

#[derive(Template)]
#[template(path = "trace.html")]
struct TracePage {
    frame: Frame,
    heading: &'static str,
    id: String,
    first: String,
    whole: Whole,
    more: Option<String>,
    is_first: bool,
}

pub(super) async fn page(
    visit: Visit,
    Path(id): Path<String>,
    Words(place, Nothing {}): Words<Place>,
) -> Result<Response, Problem> {
    let cursor = place.cursor.map(|cursor| cursor.0);
    let part = Part { only: place.kind.map(|kind| kind.0), cursor };
    show(&visit, Field::Trace, id, part).await
}

/// The story of a trace; or of a run of which nothing is there but what happened in it.
pub(super) async fn show(
    visit: &Visit,
    field: Field,
    id: String,
    part: Part,
) -> Result<Response, Problem> {
    let (heading, what, path) = match field {
        Field::Run => ("Run", "run", run_place(&id)),
        _ => ("Trace", "trace", trace_place(&id)),
    };
    let clock = visit.clock.clone();
    let (shown_id, own) = (shown::clipped(&id, 200), path.clone());
    let work = move |view: &View<'_>| {
        let query = view.query().within(&[(field, &id)]);
        if query.count()? == 0 {
            return Err(Problem::not_found(what, &id).into());
        }
        Whole::of(&query, &own, part, &clock)
    };
    let whole = visit.look(work).await?;
    let page = TracePage {
        frame: visit.frame(format!("{heading} {shown_id}"), "runs"),
        heading,
        id: shown_id,
        first: feed::place(&path, part.only, None),
        more: whole.next.map(|next| feed::place(&path, part.only, Some(next))),
        is_first: part.cursor.is_none(),
        whole,
    };
    html(StatusCode::OK, &page)
}

impl Whole {
    /// What this query finds, taken as one story that is shown at this path.
    pub(super) fn of(
        query: &Query,
        path: &str,
        part: Part,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let counts = [Kind::Run, Kind::Event, Kind::Error]
            .map(|kind| Ok((kind, query.clone().kind(kind).count()?)));
        let counts = counts.into_iter().collect::<Result<Vec<_>, Failure>>()?;
        let count = |wanted| counts.iter().find(|(kind, _)| *kind == wanted).map_or(0, |it| it.1);
        let first = query.clone().order(Order::Oldest).limit(1).fetch()?;
        let begin = first.records().next().transpose()?;
        let begin = begin.and_then(|record| record.body.created_at());
        let feed = query.clone().order(Order::Oldest).limit(ITEMS);
        let feed = part.only.into_iter().fold(feed, Query::kind);
        let page = part.cursor.into_iter().fold(feed, Query::after).fetch()?;
        let (mut items, damaged) = Item::all(&page, begin, clock)?;
        feed::settle(&mut items);
        let timed = timed(query, clock.now())?;
        let waterfall = Waterfall::new(&timed, &items);
        // Runs are told of where they began; what they say of themselves is on their own pages.
        items.iter_mut().filter(|item| item.is_run).for_each(|run| run.blocks.clear());
        Ok(Self {
            waterfall,
            first_error: feed::first_error(&items, path, count(Kind::Error)),
            choices: feed::choices(path, &counts, part.only),
            items,
            damaged,
            next: page.next(),
            has_more_runs: count(Kind::Run) > RUNS as u64,
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
