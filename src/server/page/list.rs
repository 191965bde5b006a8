//! The list of runs: the newest first, with filters that stand in the address.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::model::{Body, Field, Kind, Run, Status, Timestamp};
use crate::query::{Cursor, Page, Query};
use crate::server::access::{Failure, View};
use crate::server::page::frame::{Frame, html, run_place};
use crate::server::page::links::Links;
use crate::server::page::preferences::COLUMNS;
use crate::server::page::search::{self, search};
use crate::server::page::shown::{self, Clock, Moment};
use crate::server::page::visit::Visit;
use crate::server::page::words::Link;
use crate::server::problem::{self, Problem};
use crate::server::words::{Word, Words};
use crate::text::{escape, human, time};

/// How many runs a page has.
const ROWS: usize = 50;

/// How many types can be chosen from.
const MOST_TYPES: usize = 200;

/// What runs have to match, in the words of the address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    status: Vec<Word<Status>>,
    r#type: Vec<String>,
    project: Vec<String>,
    user: Vec<String>,
    subject: Vec<String>,
    trace: Vec<String>,
    since: Option<String>,
    until: Option<String>,
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Place {
    cursor: Option<Word<Cursor>>,
}

/// The words that narrow the list without being chosen by a link of their own.
const NARROWING: [(&str, &str); 8] = [
    ("type", "type"),
    ("project", "project"),
    ("user", "user"),
    ("subject", "object"),
    ("trace", "trace"),
    ("since", "since"),
    ("until", "until"),
    ("text", "text"),
];

impl Wanted {
    /// The address of this list.
    pub(super) fn link(&self) -> Link {
        let mut link = Link::to("/");
        for Word(status) in &self.status {
            link = link.with("status", status);
        }
        for (name, values) in [
            ("type", &self.r#type),
            ("project", &self.project),
            ("user", &self.user),
            ("subject", &self.subject),
            ("trace", &self.trace),
        ] {
            link = values.iter().fold(link, |link, value| link.with(name, value));
        }
        for (name, value) in [("since", &self.since), ("until", &self.until), ("text", &self.text)]
        {
            link = value.iter().fold(link, |link, value| link.with(name, value));
        }
        link
    }

    /// A question to what the caller sees, but for the statuses and the text.
    fn narrow(&self, query: Query, clock: &Clock) -> Result<Query, Failure> {
        let all = |query, values: &[String], add: fn(Query, &str) -> Query| {
            values.iter().fold(query, |query, value| add(query, value))
        };
        let query = all(query.kind(Kind::Run), &self.r#type, Query::record_type);
        let query = all(query, &self.project, Query::project);
        let query = all(query, &self.user, Query::user);
        let query = all(query, &self.subject, Query::subject);
        let query = all(query, &self.trace, Query::trace);
        let since = moment_of("since", self.since.as_deref(), clock)?;
        let until = moment_of("until", self.until.as_deref(), clock)?;
        let query = since.into_iter().fold(query, Query::since);
        Ok(until.into_iter().fold(query, Query::until))
    }

    fn with_status(&self, query: Query) -> Query {
        self.status.iter().fold(query, |query, status| query.status(status.0))
    }

    fn has(&self, status: Status) -> bool {
        self.status.iter().any(|other| other.0 == status)
    }
}

/// A time as it is typed: exact, a day, or a distance from now.
pub(super) fn moment_of(
    field: &'static str,
    text: Option<&str>,
    clock: &Clock,
) -> Result<Option<Timestamp>, Problem> {
    let read = |text| time::parse(text, clock.now(), clock.zone());
    let moment = text.map(read).transpose();
    moment.map_err(|err| Problem::new(problem::Kind::Invalid, err).field(field))
}

/// A run in a list.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) place: String,
    pub(super) status: &'static str,
    pub(super) name: String,
    pub(super) created: Option<Moment>,
    pub(super) duration: String,
    /// Since when it goes on, in milliseconds, when it does.
    pub(super) running_since: Option<i64>,
    pub(super) by: String,
    pub(super) attempt: Option<u32>,
    pub(super) subject: Option<Object>,
    pub(super) error: String,
}

/// What a run acted on, and where that is found.
pub(super) struct Object {
    pub(super) name: String,
    /// The runs that acted on it.
    pub(super) runs: String,
    pub(super) link: Option<String>,
}

impl Object {
    pub(super) fn of(run: &Run<'_>, links: &Links) -> Option<Self> {
        let subject = run.subject.as_ref()?;
        Some(Self {
            name: shown::clipped(&subject.to_string(), 60),
            runs: Link::to("/").with("subject", subject).to_string(),
            link: links.of(subject),
        })
    }
}

impl Row {
    pub(super) fn of(seq: u64, run: &Run<'_>, clock: &Clock, links: &Links) -> Self {
        let id = run.run_id.to_string();
        let began = run.started_at.or(run.created_at);
        let open = began.filter(|_| !run.status.is_terminal());
        let took = run.duration_nanos().filter(|_| open.is_none());
        let took = took.or_else(|| open.map(|began| clock.since(began).max(0)));
        let parent = run.parent_run_id.as_ref();
        Self {
            seq,
            place: run_place(&id),
            id: shown::clipped(&id, 60),
            status: shown::of_status(run.status),
            name: shown::clipped(&run.run_type, 80),
            created: run.created_at.map(|time| clock.moment(time)),
            duration: took.map(human::duration).unwrap_or_default(),
            running_since: open.map(|began| began.as_nanos() / 1_000_000),
            by: match (&run.user_id, parent, &run.project_id) {
                (Some(user), ..) => shown::clipped(&user.to_string(), 40),
                (_, Some(parent), _) => {
                    format!("run {}", shown::clipped(&parent.to_string(), 16))
                }
                (_, _, Some(project)) => shown::clipped(&project.to_string(), 40),
                _ => String::new(),
            },
            attempt: run.attempt.filter(|attempt| *attempt > 1),
            subject: Object::of(run, links),
            error: run.error.as_ref().map(|it| shown::line(&it.message)).unwrap_or_default(),
        }
    }

    /// The runs of a page; how many records of it are damaged.
    pub(super) fn all(
        page: &Page,
        clock: &Clock,
        links: &Links,
    ) -> Result<(Vec<Self>, u64), Failure> {
        let (mut rows, mut damaged) = (Vec::with_capacity(page.len()), 0);
        for record in page.records() {
            match record {
                Ok(record) => {
                    if let Body::Run(run) = &record.body {
                        rows.push(Self::of(record.seq, run, clock, links));
                    }
                }
                Err(crate::error::Error::Damaged { .. }) => damaged += 1,
                Err(err) => return Err(err.into()),
            }
        }
        Ok((rows, damaged))
    }
}

/// One row as HTML, for a list that is already shown.
#[derive(Template)]
#[template(path = "row.html")]
pub(super) struct RowPage<'r> {
    pub(super) row: &'r Row,
    pub(super) is_new: bool,
}

/// A status that can be chosen, with how many runs are in it.
struct Chip {
    name: &'static str,
    count: Option<String>,
    is_on: bool,
    link: String,
}

/// A filter that is set, and the list without it.
struct Set {
    name: &'static str,
    value: String,
    without: String,
}

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    frame: Frame,
    wanted: Wanted,
    rows: Vec<Row>,
    damaged: u64,
    chips: Vec<Chip>,
    total: Option<String>,
    any_status: String,
    set: Vec<Set>,
    types: Vec<String>,
    hidden_words: Vec<(&'static str, String)>,
    older: Option<String>,
    searched: Option<Moment>,
    most_searched: String,
    newest: Option<String>,
    stream: String,
    hidden: Vec<&'static str>,
    columns: [&'static str; 5],
    is_filtered: bool,
}

impl ListPage {
    fn has_type(&self, name: &str) -> bool {
        self.wanted.r#type.iter().any(|other| other == name)
    }

    fn shows(&self, column: &str) -> bool {
        !self.hidden.contains(&column)
    }

    fn text<'a>(&self, value: &'a Option<String>) -> &'a str {
        value.as_deref().unwrap_or_default()
    }

    fn first<'a>(&self, values: &'a [String]) -> &'a str {
        values.first().map(String::as_str).unwrap_or_default()
    }
}

/// What the ledger says of a list.
struct Found {
    rows: Vec<Row>,
    damaged: u64,
    next: Option<Cursor>,
    /// Down to when a text was searched, when there is more.
    searched: Option<Moment>,
    /// How many runs are in each status; not known where each would have to be read.
    counts: Option<Vec<(String, u64)>>,
    types: Vec<String>,
    /// Up to where the list was seen.
    place: u64,
}

fn find(
    view: &View<'_>,
    wanted: &Wanted,
    cursor: Option<Cursor>,
    clock: &Clock,
    links: &Links,
) -> Result<Found, Failure> {
    let place = view.settled();
    let query = wanted.narrow(view.query(), clock)?;
    let counts = match wanted.text {
        None => Some(query.count_by(Field::Status)?),
        Some(_) => None,
    };
    let query = wanted.with_status(query).limit(ROWS);
    let query = cursor.into_iter().fold(query, Query::after);
    let found = search(query, wanted.text.as_deref(), search::MOST)?;
    let (rows, damaged) = Row::all(&found.page, clock, links)?;
    let types = view.query().kind(Kind::Run).or_damaged().count_by(Field::Type)?.into_iter();
    // What cannot be shown as it is cannot be chosen; a link still leads to it.
    let types = types.map(|(name, _)| name).filter(|name| escape::line(name) == name.as_str());
    let mut types: Vec<_> = types.take(MOST_TYPES).collect();
    types.sort_unstable();
    let searched = found.down_to.map(|time| clock.moment(time));
    Ok(Found { rows, damaged, next: found.next, searched, counts, types, place })
}

pub(super) async fn page(
    visit: Visit,
    Words(wanted, place): Words<Wanted, Place>,
) -> Result<Response, Problem> {
    let (asked, clock) = (wanted.clone(), visit.clock.clone());
    let cursor = place.cursor.map(|cursor| cursor.0);
    let links = visit.app.config().links.clone();
    let found = visit.look(move |view| find(view, &asked, cursor, &clock, &links)).await?;
    html(StatusCode::OK, &lay_out(&visit, wanted, cursor, found))
}

fn lay_out(visit: &Visit, wanted: Wanted, cursor: Option<Cursor>, found: Found) -> ListPage {
    let link = wanted.link();
    let hidden_words = link.others(&["type", "project", "user", "since", "until", "text"]);
    let count_of = |name: &str| {
        let counts = found.counts.as_ref()?;
        Some(counts.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count))
    };
    let chip = |status: &Status| {
        let name = shown::of_status(*status);
        let is_on = wanted.has(*status);
        let link = match is_on {
            true => link.without("status", Some(name)),
            false => link.clone().with("status", name),
        };
        let count = count_of(name).map(human::count);
        Chip { name, count, is_on, link: link.to_string() }
    };
    let total = found.counts.as_ref().map(|all| all.iter().map(|(_, count)| count).sum());
    let mut set = Vec::new();
    for (name, title) in NARROWING {
        for (_, value) in link.words().iter().filter(|(other, _)| *other == name) {
            let without = link.without(name, Some(value)).to_string();
            set.push(Set { name: title, value: shown::clipped(value, 60), without });
        }
    }
    // What comes is newer than any time that can be named.
    let stream = link.without("since", None).without("until", None).at("/tail/stream");
    let stream = stream.with("kind", "run").with("form", "row").with("after", found.place);
    let next = |cursor: Cursor| link.clone().with("cursor", cursor).to_string();
    ListPage {
        frame: visit.frame("Runs", "runs"),
        chips: Status::ALL.iter().map(chip).collect(),
        total: total.map(human::count),
        any_status: link.without("status", None).to_string(),
        is_filtered: !link.words().is_empty(),
        set,
        hidden_words,
        older: found.next.map(next),
        searched: found.searched,
        most_searched: human::count(search::MOST),
        newest: cursor.map(|_| link.to_string()),
        stream: stream.to_string(),
        hidden: visit.preferences.hidden.clone(),
        columns: COLUMNS,
        rows: found.rows,
        damaged: found.damaged,
        types: found.types,
        wanted,
    }
}
