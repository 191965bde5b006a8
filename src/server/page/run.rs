//! One run: what it is, how it went, and what happened meanwhile.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::model::{Body, Field, Id, Kind, Run, Timestamp};
use crate::query::{Cursor, Order};
use crate::server::access::{Failure, View};
use crate::server::page::blocks::{self, Block, MANY};
use crate::server::page::chart::{self, Axis};
use crate::server::page::feed::{self, Choice, Item, Part, Room};
use crate::server::page::frame::{Frame, html, run_place, trace_place};
use crate::server::page::links::Links;
use crate::server::page::list::{Object, Row};
use crate::server::page::shown::{self, Clock, Moment};
use crate::server::page::trace::{self, MOST_RUNS};
use crate::server::page::visit::Visit;
use crate::server::page::words::Link;
use crate::server::problem::{self, Problem};
use crate::server::words::{Nothing, Word, Words};

/// How many events and errors a page has, and the room for their values.
const ITEMS: usize = 30;
const ROOM: Room = Room { bytes: 8 << 10, with_runs: true };

/// The room for the values of the run itself, in bytes.
const OWN_ROOM: usize = 14 << 10;

/// How many states and children are listed.
const STATES: usize = 12;
const CHILDREN: usize = 12;

#[derive(Deserialize)]
pub(super) struct Place {
    cursor: Option<Word<Cursor>>,
    kind: Option<Word<Kind>>,
}

/// A state that the run went through.
struct State {
    seq: u64,
    status: &'static str,
    attempt: Option<u32>,
    at: Moment,
}

/// What a run failed of.
struct Failed {
    name: String,
    message: Block,
    stack: Option<Block>,
}

/// Everything about one run.
struct Whole {
    row: Row,
    id: String,
    /// Names and values, with a place for those that have one.
    facts: Vec<(&'static str, String, String)>,
    times: Vec<(&'static str, Moment)>,
    failed: Option<Failed>,
    blocks: Vec<Block>,
    states: Vec<State>,
    /// How many states there were before these.
    earlier: u64,
    children: Vec<Row>,
    /// Where the others are, when there are more.
    other_children: Option<String>,
    subject: Option<Object>,
    items: Vec<Item>,
    axis: Axis,
    damaged: u64,
    next: Option<Cursor>,
    choices: Vec<Choice>,
    first_error: Option<String>,
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    run: Whole,
    first: String,
    more: Option<String>,
    is_first: bool,
}

pub(super) async fn page(
    visit: Visit,
    Path(id): Path<String>,
    Words(place, Nothing {}): Words<Place>,
) -> Result<Response, Problem> {
    let (clock, links) = (visit.clock.clone(), visit.app.config().links.clone());
    let cursor = place.cursor.map(|cursor| cursor.0);
    let part = Part { only: place.kind.map(|kind| kind.0), cursor, span: None };
    let asked = id.clone();
    let found = visit.look(move |view| Whole::find(view, &asked, part, &clock, &links)).await;
    let run = match found {
        // Services log what happens in runs of others.
        Err(problem) if problem.kind == problem::Kind::NotFound => {
            return trace::show(&visit, Field::Run, id, part).await;
        }
        found => found?,
    };
    let path = &run.row.place;
    let page = RunPage {
        frame: visit.frame(format!("{} {}", run.row.name, run.row.status), "runs"),
        first: part.first(path),
        more: run.next.map(|next| part.onward(path, next)),
        is_first: cursor.is_none(),
        run,
    };
    html(StatusCode::OK, &page)
}

impl Whole {
    fn find(
        view: &View<'_>,
        id: &str,
        part: Part,
        clock: &Clock,
        links: &Links,
    ) -> Result<Self, Failure> {
        let stored = view.run(id)?;
        let record = stored.record()?;
        let Body::Run(run) = &record.body else {
            return Err(Problem::not_found("run", id).into());
        };
        let belongs = |kind| view.query().within(&[(Field::Run, id)]).kind(kind);
        let feed = match part.only {
            Some(kind) => belongs(kind),
            None => belongs(Kind::Event).kind(Kind::Error),
        };
        let feed = feed.order(Order::Oldest).limit(ITEMS);
        let page = part.cursor.into_iter().fold(feed, crate::query::Query::after).fetch()?;
        let counts = [Kind::Event, Kind::Error].map(|kind| Ok((kind, belongs(kind).count()?)));
        let counts = counts.into_iter().collect::<Result<Vec<_>, Failure>>()?;
        let errors = counts.last().map_or(0, |(_, count)| *count);
        let begin = run.started_at.or(run.created_at);
        let path = run_place(id);
        let (mut items, damaged) = Item::all(&page, begin, clock, ROOM)?;
        feed::chain_on(&mut items, &belongs(Kind::Error), &path, part, page.next())?;
        let (failed, blocks) = values(&record.body, run)?;
        let (states, earlier) = states(view, id, clock)?;
        let (children, other_children) = children(view, record.seq, run, clock, links)?;
        Ok(Self {
            axis: axis(run, &items, clock),
            id: shown::clipped(id, 200),
            row: Row::of(record.seq, run, clock, links),
            facts: facts(record.seq, run),
            times: times(run, record.recorded_at, clock),
            failed,
            blocks,
            states,
            earlier,
            children,
            other_children,
            subject: Object::of(run, links),
            choices: feed::choices(&path, &counts, part),
            first_error: feed::first_error(&items, &path, part, errors),
            items,
            damaged,
            next: page.next(),
        })
    }
}

/// What a run failed of, and its metadata and result.
fn values(body: &Body<'_>, run: &Run<'_>) -> Result<(Option<Failed>, Vec<Block>), Failure> {
    let make = |most| {
        let failed = run.error.as_ref().map(|error| Failed {
            name: error.error_type.as_deref().map(shown::line).unwrap_or_default(),
            message: Block::text("message", &error.message, most),
            stack: error.stack.as_deref().map(|stack| Block::text("stack", stack, most)),
        });
        Ok((failed, blocks::of(body, most)))
    };
    blocks::fit(OWN_ROOM, MANY, make, |(failed, blocks)| {
        let failed = failed.iter().flat_map(|it| std::iter::once(&it.message).chain(&it.stack));
        failed.chain(blocks).map(Block::weight).sum()
    })
}

fn facts(seq: u64, run: &Run<'_>) -> Vec<(&'static str, String, String)> {
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>, place: &dyn Fn(&str) -> String| {
        facts.extend(value.map(|value| (name, shown::clipped(&value, 130), place(&value))));
    };
    let text = |id: &Option<Id<'_>>| id.as_ref().map(Id::to_string);
    let of = |word: &'static str| move |value: &str| Link::to("/").with(word, value).to_string();
    add("Trace", text(&run.trace_id), &|trace| in_trace(trace, seq));
    add("Parent", text(&run.parent_run_id), &run_place);
    add("Project", text(&run.project_id), &of("project"));
    add("User", text(&run.user_id), &of("user"));
    let attempt = run.attempt.filter(|attempt| *attempt > 1);
    add("Attempt", attempt.map(|attempt| attempt.to_string()), &|_| String::new());
    add("Owner", run.owner.as_ref().map(ToString::to_string), &|_| String::new());
    add("Origin", run.origin.as_ref().map(ToString::to_string), &|_| String::new());
    facts
}

fn times(run: &Run<'_>, recorded: Timestamp, clock: &Clock) -> Vec<(&'static str, Moment)> {
    let times = [
        ("Created", run.created_at),
        ("Started", run.started_at),
        ("Finished", run.finished_at),
        ("Recorded", Some(recorded)),
    ];
    times.into_iter().filter_map(|(name, at)| Some((name, clock.moment(at?)))).collect()
}

/// The run as a bar, with what happened meanwhile.
fn axis(run: &Run<'_>, items: &[Item], clock: &Clock) -> Axis {
    let begin = run.started_at.or(run.created_at).unwrap_or_default();
    let end = match run.status.is_terminal() {
        true => run.newest_time().unwrap_or(begin),
        false => clock.now(),
    };
    chart::axis(begin, end, items)
}

/// Where a run is in the waterfall of its trace.
fn in_trace(trace: &str, seq: u64) -> String {
    format!("{}?span={seq}#run-{seq}", trace_place(trace))
}

/// The last states of a run, and how many there were before.
fn states(view: &View<'_>, id: &str, clock: &Clock) -> Result<(Vec<State>, u64), Failure> {
    let states = view.query().within(&[(Field::Run, id)]).kind(Kind::Run).history(true);
    let page = states.clone().order(Order::SeqDescending).limit(STATES).fetch()?;
    let mut last = Vec::with_capacity(page.len());
    for record in page.records().filter_map(Result::ok) {
        if let Body::Run(run) = &record.body {
            let at = run.newest_time().unwrap_or(record.recorded_at);
            let status = shown::of_status(run.status);
            last.push(State {
                seq: record.seq,
                status,
                attempt: run.attempt.filter(|attempt| *attempt > 1),
                at: clock.moment(at),
            });
        }
    }
    last.reverse();
    Ok((last, states.count()?.saturating_sub(page.len() as u64)))
}

/// The first runs that this one began, and where all of them are when there are more. Runs are not
/// found by their parent, but by their trace.
fn children(
    view: &View<'_>,
    seq: u64,
    run: &Run<'_>,
    clock: &Clock,
    links: &Links,
) -> Result<(Vec<Row>, Option<String>), Failure> {
    let Some(trace) = &run.trace_id else { return Ok((Vec::new(), None)) };
    let trace = trace.to_string();
    let runs = view.query().kind(Kind::Run).within(&[(Field::Trace, &trace)]);
    let page = runs.order(Order::Oldest).limit(MOST_RUNS).fetch()?;
    let (mut rows, mut count) = (Vec::new(), 0);
    for record in page.records().filter_map(Result::ok) {
        if let Body::Run(child) = &record.body
            && child.parent_run_id.as_ref() == Some(&run.run_id)
        {
            count += 1;
            if count <= CHILDREN {
                rows.push(Row::of(record.seq, child, clock, links));
            }
        }
    }
    let has_more = count > CHILDREN || page.next().is_some();
    Ok((rows, has_more.then(|| in_trace(&trace, seq))))
}
