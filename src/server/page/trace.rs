//! Everything of one trace: a waterfall of its runs, and all of it in order.

use std::collections::HashMap;
use std::ops::Range;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::model::{Body, Field, Id, Kind, Timestamp};
use crate::query::{Cursor, Order, Query};
use crate::server::access::{Failure, View};
use crate::server::page::chart::Mark;
use crate::server::page::feed::{self, Choice, Item, Part, Room};
use crate::server::page::frame::{Frame, html, run_place, trace_place};
use crate::server::page::shown::{self, Clock};
use crate::server::page::spans::{Layout, Timed, Waterfall};
use crate::server::page::visit::Visit;
use crate::server::problem::Problem;
use crate::server::words::{Nothing, Word, Words};
use crate::text::human;

/// How many runs of the waterfall and how many records of the feed a page has, and the room for the
/// values of these.
const RUNS: usize = 40;
const ITEMS: usize = 30;
const ROOM: Room = Room { bytes: 8 << 10, with_runs: false };

/// How many runs are laid out, a part of them on each page.
pub(super) const MOST_RUNS: usize = 10_000;

/// How many errors and how many events are marked on a page.
const MARKS: usize = 400;

#[derive(Deserialize)]
pub(super) struct Place {
    cursor: Option<Word<Cursor>>,
    kind: Option<Word<Kind>>,
    span: Option<u64>,
}

/// The part of a waterfall that is on a page.
pub(super) struct Runs {
    pub(super) waterfall: Waterfall,
    /// Which of how many they are; nothing when they are all.
    pub(super) which: String,
    pub(super) before: Option<String>,
    pub(super) behind: Option<String>,
    /// True when not everything that happened in them is marked.
    pub(super) is_cut: bool,
}

/// What is of a trace.
pub(super) struct Whole {
    pub(super) runs: Runs,
    pub(super) items: Vec<Item>,
    pub(super) damaged: u64,
    pub(super) next: Option<Cursor>,
    pub(super) choices: Vec<Choice>,
    /// How many runs are not laid out.
    pub(super) left_out: Option<String>,
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
    let part = Part { only: place.kind.map(|kind| kind.0), cursor, span: place.span };
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
        first: part.first(&path),
        more: whole.next.map(|next| part.onward(&path, next)),
        is_first: part.cursor.is_none(),
        whole,
    };
    html(StatusCode::OK, &page)
}

impl Whole {
    /// What this query finds, taken as one story that is shown at this path.
    fn of(query: &Query, path: &str, part: Part, clock: &Clock) -> Result<Self, Failure> {
        let counts = [Kind::Run, Kind::Event, Kind::Error]
            .map(|kind| Ok((kind, query.clone().kind(kind).count()?)));
        let counts = counts.into_iter().collect::<Result<Vec<_>, Failure>>()?;
        let count = |wanted| counts.iter().find(|(kind, _)| *kind == wanted).map_or(0, |it| it.1);
        let begin = end(query, Order::Oldest)?;
        let feed = query.clone().order(Order::Oldest).limit(ITEMS);
        let feed = part.only.into_iter().fold(feed, Query::kind);
        let page = part.cursor.into_iter().fold(feed, Query::after).fetch()?;
        // Runs are told of where they began; what they say of themselves is on their own pages.
        let (mut items, damaged) = Item::all(&page, begin, clock, ROOM)?;
        feed::settle(&mut items);
        feed::chain_on(&mut items, query, path, part, page.next())?;
        let timed = timed(query, clock.now())?;
        let times = [begin, end(query, Order::Newest)?];
        let layout = Layout::new(&timed, times.into_iter().flatten());
        let left_out = count(Kind::Run).saturating_sub(MOST_RUNS as u64);
        Ok(Self {
            runs: Runs::of(query, &layout, path, part)?,
            first_error: feed::first_error(&items, path, part, count(Kind::Error)),
            choices: feed::choices(path, &counts, part),
            items,
            damaged,
            next: page.next(),
            left_out: (left_out > 0).then(|| human::count(left_out)),
        })
    }
}

impl Runs {
    /// The page of this waterfall with the run that is asked for, or else the first.
    fn of(query: &Query, layout: &Layout<'_>, path: &str, part: Part) -> Result<Self, Failure> {
        let asked = part.span.map(|seq| run_of(query, seq)).transpose()?.flatten();
        let asked = asked.and_then(|id| layout.place_of(&id));
        let from = asked.map_or(0, |place| place / RUNS * RUNS);
        let all = layout.len();
        let places = from..all.min(from + RUNS);
        let (marks, is_cut) = marks(query, layout, places.clone())?;
        let mut waterfall = layout.waterfall(places.clone(), &marks);
        // The run may have gone on to another state since it was linked to.
        let row = asked.and_then(|place| waterfall.rows.get_mut(place - from));
        if let (Some(row), Some(seq)) = (row, part.span) {
            row.seq = seq;
        }
        let page = |place: usize| {
            let part = Part { span: Some(layout.seq(place)?), ..part };
            Some(format!("{}#waterfall", part.link(path)))
        };
        let number = |number: usize| human::count(number as u64);
        let which = format!("{}–{} of {}", number(from + 1), number(places.end), number(all));
        Ok(Self {
            waterfall,
            which: if all > RUNS { which } else { String::new() },
            before: from.checked_sub(RUNS).and_then(page),
            behind: page(places.end),
            is_cut,
        })
    }
}

/// When the first record in this order happened.
fn end(query: &Query, order: Order) -> Result<Option<Timestamp>, Failure> {
    let page = query.clone().order(order).limit(1).fetch()?;
    let record = page.records().next().and_then(Result::ok);
    Ok(record.and_then(|record| record.body.created_at()))
}

fn timed(query: &Query, now: Timestamp) -> Result<Vec<Timed>, Failure> {
    let page = query.clone().kind(Kind::Run).order(Order::Oldest).limit(MOST_RUNS).fetch()?;
    let mut timed = Vec::with_capacity(page.len());
    // What cannot be read is told of by the feed.
    for record in page.records().filter_map(Result::ok) {
        if let Body::Run(run) = &record.body {
            timed.push(Timed::of(record.seq, run, now));
        }
    }
    Ok(timed)
}

/// The id of the run of which the record with this sequence number is a state.
fn run_of(query: &Query, seq: u64) -> Result<Option<String>, Failure> {
    let states = query.clone().kind(Kind::Run).history(true).order(Order::Seq).limit(1);
    let page = states.after(Cursor::after_seq(seq.saturating_sub(1))).fetch()?;
    let Some(record) = page.records().next().and_then(Result::ok) else { return Ok(None) };
    Ok(record.body.run_id().filter(|_| record.seq == seq).map(Id::to_string))
}

/// What happened in these runs, by the place of each: so many of the first errors and events, and
/// whether there are more.
fn marks(
    query: &Query,
    layout: &Layout<'_>,
    places: Range<usize>,
) -> Result<(HashMap<String, Vec<Mark>>, bool), Failure> {
    let runs: Vec<_> = layout.ids(places).map(|id| (Field::Run, id)).collect();
    let query = query.clone().within(&runs).order(Order::Oldest).limit(MARKS);
    let (mut marks, mut is_cut) = (HashMap::<_, Vec<_>>::new(), false);
    for kind in [Kind::Error, Kind::Event] {
        let page = query.clone().kind(kind).fetch()?;
        is_cut |= page.next().is_some();
        for record in page.records().filter_map(Result::ok) {
            if let Some(id) = record.body.run_id() {
                marks.entry(run_place(&id.to_string())).or_default().push(feed::mark(&record));
            }
        }
    }
    Ok((marks, is_cut))
}
