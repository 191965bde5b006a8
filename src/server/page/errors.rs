//! Errors in groups of those that are alike.

use std::time::Duration;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::model::{Body, Field, Fingerprint, Kind, Severity, Timestamp};
use crate::query::{Cursor, ErrorGroup, Query};
use crate::server::access::{Failure, View};
use crate::server::page::chart::{self, Spark};
use crate::server::page::feed::{Item, Room};
use crate::server::page::frame::{Frame, html, run_place};
use crate::server::page::list::moment_of;
use crate::server::page::record::Full;
use crate::server::page::search;
use crate::server::page::shown::{self, Clock, Moment};
use crate::server::page::visit::Visit;
use crate::server::page::words::Link;
use crate::server::problem::Problem;
use crate::server::words::{Nothing, Word, Words};
use crate::text::human;

/// How many groups a page has, and how many of a group's errors and runs.
const GROUPS: usize = 40;
const ERRORS: usize = 30;
const RUNS: usize = 20;

/// The room for the values of the latest error of a group, in bytes, and for those of the others.
const LATEST: usize = 18 << 10;
const OTHERS: Room = Room { bytes: 8 << 10, with_runs: true };

/// How many errors are searched for a text. Those that match are read four times: for their groups,
/// for the runs and the times of each group, and to be shown.
const MOST_SEARCHED: u64 = search::MOST / 4;

/// How many small bars show when the errors of a group happened.
const BARS: u32 = 24;

/// The pieces of time that can be chosen.
const SINCE: [(&str, &str); 4] =
    [("-24h", "24 hours"), ("-7d", "7 days"), ("-30d", "30 days"), ("", "all time")];

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    severity: Vec<Word<Severity>>,
    r#type: Vec<String>,
    project: Vec<String>,
    since: Option<String>,
    until: Option<String>,
    text: Option<String>,
}

impl Wanted {
    fn link(&self) -> Link {
        let mut link = Link::to("/errors");
        for Word(severity) in &self.severity {
            link = link.with("severity", severity);
        }
        for (name, values) in [("type", &self.r#type), ("project", &self.project)] {
            link = values.iter().fold(link, |link, value| link.with(name, value));
        }
        for (name, value) in [("since", &self.since), ("until", &self.until), ("text", &self.text)]
        {
            link = value.iter().fold(link, |link, value| link.with(name, value));
        }
        link
    }

    /// The errors that match but for the text, and since when and until when they are looked for.
    fn narrow(
        &self,
        query: Query,
        before: Option<Timestamp>,
        clock: &Clock,
    ) -> Result<(Query, Option<Timestamp>, Timestamp), Failure> {
        let (since, until) = (
            moment_of("since", self.since.as_deref(), clock)?,
            moment_of("until", self.until.as_deref(), clock)?,
        );
        let query = query.kind(Kind::Error);
        let query = self.severity.iter().fold(query, |query, it| query.severity(it.0));
        let query = self.r#type.iter().fold(query, |query, it| query.record_type(it));
        let query = self.project.iter().fold(query, |query, it| query.project(it));
        let query = since.into_iter().fold(query, Query::since);
        let until = before.or(until);
        let query = until.into_iter().fold(query, Query::until);
        Ok((query, since, until.unwrap_or_else(|| clock.now())))
    }
}

/// A group in a list.
pub(super) struct Group {
    pub(super) place: String,
    pub(super) fingerprint: String,
    pub(super) name: String,
    pub(super) message: String,
    pub(super) level: &'static str,
    pub(super) count: String,
    pub(super) runs: String,
    pub(super) first: Moment,
    pub(super) last: Moment,
    pub(super) spark: Spark,
}

impl Group {
    fn of(group: &ErrorGroup, spark: Spark, clock: &Clock) -> Result<Self, Failure> {
        let record = group.newest.record()?;
        let (message, level) = match &record.body {
            Body::Error(error) => (shown::line(&error.message), error.severity.name()),
            _ => Default::default(),
        };
        let fingerprint = group.fingerprint.to_string();
        Ok(Self {
            place: format!("/errors/{fingerprint}"),
            fingerprint,
            name: shown::clipped(record.body.type_name(), 80),
            message,
            level,
            count: human::count(group.count),
            runs: human::count(group.runs),
            first: clock.moment(group.first_seen),
            last: clock.moment(group.last_seen),
            spark,
        })
    }
}

/// The largest groups of what a query finds, each with its place in this time.
pub(super) fn groups(
    query: &Query,
    most: usize,
    since: Option<Timestamp>,
    until: Timestamp,
    clock: &Clock,
) -> Result<Vec<Group>, Failure> {
    let query = query.clone().or_damaged();
    let groups = query.clone().limit(most).error_groups()?;
    let first = groups.iter().map(|group| group.first_seen).min().unwrap_or(until);
    let since = since.unwrap_or(first);
    let group = |group: &ErrorGroup| {
        let errors = query.clone().fingerprint(group.fingerprint);
        Group::of(group, spark(&errors, since, until)?, clock)
    };
    groups.iter().map(group).collect()
}

/// When the errors of a query happened.
fn spark(query: &Query, since: Timestamp, until: Timestamp) -> Result<Spark, Failure> {
    let counts = counts(query, since, until, BARS)?;
    let each = u64::try_from(until.nanos_since(since)).unwrap_or(0) / u64::from(BARS);
    let each = human::duration(i64::try_from(each).unwrap_or(i64::MAX));
    Ok(chart::spark(&counts, &format!("in {each}")))
}

/// How many there are in each of so many equal pieces of a time.
fn counts(
    query: &Query,
    since: Timestamp,
    until: Timestamp,
    pieces: u32,
) -> Result<Vec<u64>, Failure> {
    let nanos = u64::try_from(until.nanos_since(since)).unwrap_or(0);
    let each = Duration::from_nanos((nanos / u64::from(pieces)).max(1));
    let begin = |piece: u32| since.saturating_add(each.saturating_mul(piece));
    (0..pieces)
        .map(|piece| {
            let query = query.clone().since(begin(piece));
            // What happened this moment is in the last of them.
            let is_last = piece + 1 == pieces;
            let query = if is_last { query } else { query.until(begin(piece + 1)) };
            Ok(query.count()?)
        })
        .collect()
}

struct Choice {
    name: &'static str,
    link: String,
    is_on: bool,
    count: Option<String>,
}

#[derive(Template)]
#[template(path = "errors.html")]
struct ErrorsPage {
    frame: Frame,
    groups: Vec<Group>,
    times: Vec<Choice>,
    levels: Vec<Choice>,
    words: Vec<(&'static str, String)>,
    text: String,
    is_filtered: bool,
    is_cut: bool,
    /// Where a text is searched on, and down to when it was; the first such page, on another one.
    older: Option<(String, Moment)>,
    newest: Option<String>,
    most_searched: String,
}

/// Before when errors are looked for, where a search for a text goes on.
#[derive(Deserialize)]
pub(super) struct Before {
    before: Option<Word<Timestamp>>,
}

/// What the ledger says of a page of groups.
struct Found {
    groups: Vec<Group>,
    /// How many errors there are of each severity; not known where each would have to be read.
    levels: Vec<(String, u64)>,
    /// Down to when a text was searched, when there is more.
    down_to: Option<Timestamp>,
}

fn look(
    view: &View<'_>,
    wanted: Wanted,
    before: Option<Timestamp>,
    clock: &Clock,
) -> Result<Found, Failure> {
    let (query, since, until) = wanted.narrow(view.query(), before, clock)?;
    let Some(text) = &wanted.text else {
        let groups = groups(&query, GROUPS, since, until, clock)?;
        let all = Wanted { severity: Vec::new(), ..wanted };
        let levels = all.narrow(view.query(), before, clock)?.0.count_by(Field::Severity)?;
        return Ok(Found { groups, levels, down_to: None });
    };
    let (query, down_to) = search::newest(query, text, MOST_SEARCHED)?;
    let groups = groups(&query, GROUPS, down_to.or(since), until, clock)?;
    Ok(Found { groups, levels: Vec::new(), down_to })
}

pub(super) async fn page(
    visit: Visit,
    Words(wanted, place): Words<Wanted, Before>,
) -> Result<Response, Problem> {
    let (asked, clock) = (wanted.clone(), visit.clock.clone());
    let before = place.before.map(|before| before.0);
    let found = visit.look(move |view| look(view, asked, before, &clock)).await?;
    html(StatusCode::OK, &lay_out(&visit, &wanted, before, found))
}

fn lay_out(visit: &Visit, wanted: &Wanted, before: Option<Timestamp>, found: Found) -> ErrorsPage {
    let link = wanted.link();
    let since = wanted.since.clone().unwrap_or_default();
    let time = |(word, name): (&str, &'static str)| Choice {
        name,
        link: link.without("since", None).with("since", word).to_string(),
        is_on: since == word,
        count: None,
    };
    let level = |level: Severity| {
        let is_on = wanted.severity.iter().any(|other| other.0 == level);
        let name = level.name();
        let link = match is_on {
            true => link.without("severity", Some(name)),
            false => link.clone().with("severity", name),
        };
        let count = found.levels.iter().find(|(other, _)| other == name);
        let count = count.map(|(_, count)| human::count(*count));
        Choice { name, link: link.to_string(), is_on, count }
    };
    let older = |down_to: Timestamp| {
        (link.clone().with("before", down_to).to_string(), visit.clock.moment(down_to))
    };
    ErrorsPage {
        frame: visit.frame("Errors", "errors"),
        is_cut: found.groups.len() == GROUPS,
        groups: found.groups,
        older: found.down_to.map(older),
        newest: before.map(|_| link.to_string()),
        most_searched: human::count(MOST_SEARCHED),
        times: SINCE.into_iter().map(time).collect(),
        levels: [Severity::Critical, Severity::Error, Severity::Warning].map(level).into(),
        words: link.others(&["text"]),
        text: wanted.text.clone().unwrap_or_default(),
        is_filtered: !link.words().is_empty(),
    }
}

#[derive(Deserialize)]
pub(super) struct Place {
    cursor: Option<Word<Cursor>>,
}

/// One group: its latest error, the runs in which it happened, and the others.
struct Whole {
    group: Group,
    full: Full,
    items: Vec<Item>,
    runs: Vec<(String, String, String)>,
    next: Option<Cursor>,
}

#[derive(Template)]
#[template(path = "group.html")]
struct GroupPage {
    frame: Frame,
    whole: Whole,
    older: Option<String>,
    is_first: bool,
}

pub(super) async fn group(
    visit: Visit,
    Path(fingerprint): Path<String>,
    Words(place, Nothing {}): Words<Place>,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("group of errors", &fingerprint);
    let wanted: Fingerprint = fingerprint.parse().map_err(|_| missing())?;
    let (clock, cursor) = (visit.clock.clone(), place.cursor.map(|cursor| cursor.0));
    let whole = visit.look(move |view| find(view, wanted, cursor, &clock)).await?;
    let whole = whole.ok_or_else(missing)?;
    let older = whole.next.map(|next| format!("{}?cursor={next}#all", whole.group.place));
    let frame = visit.frame(whole.group.name.clone(), "errors");
    let page = GroupPage { frame, older, is_first: cursor.is_none(), whole };
    html(StatusCode::OK, &page)
}

fn find(
    view: &View<'_>,
    fingerprint: Fingerprint,
    cursor: Option<Cursor>,
    clock: &Clock,
) -> Result<Option<Whole>, Failure> {
    let query = view.query().kind(Kind::Error).fingerprint(fingerprint).or_damaged();
    let groups = query.clone().limit(1).error_groups()?;
    let Some(group) = groups.first() else { return Ok(None) };
    let spark = spark(&query, group.first_seen, clock.now())?;
    let full = Full::of(&group.newest, clock, LATEST)?;
    let page = cursor.into_iter().fold(query.clone().limit(ERRORS), Query::after).fetch()?;
    let (mut items, _) = Item::all(&page, None, clock, OTHERS)?;
    // All are errors here, one below the other.
    items.iter_mut().for_each(|item| item.next_error = None);
    let runs = query.count_by(Field::Run)?.into_iter().take(RUNS);
    let run =
        |(id, count): (String, u64)| (run_place(&id), shown::clipped(&id, 60), human::count(count));
    Ok(Some(Whole {
        group: Group::of(group, spark, clock)?,
        full,
        items,
        runs: runs.map(run).collect(),
        next: page.next(),
    }))
}
