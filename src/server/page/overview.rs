//! How it goes as a whole: runs by the hour, failures, lengths, errors, and the disk.

use std::time::Duration;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::ledger::{Forecast, RetentionReport};
use crate::model::{Body, Field, Kind, Status, Timestamp, nanos};
use crate::query::Query;
use crate::server::access::{Failure, View};
use crate::server::page::errors::{self, Group};
use crate::server::page::frame::{Frame, html};
use crate::server::page::shown::{self, Clock};
use crate::server::page::visit::Visit;
use crate::server::page::words::Link;
use crate::server::problem::Problem;
use crate::server::words::{Nothing, Words};
use crate::text::human;

/// How many types are shown, how many of the newest runs of each tell how long they take, and how
/// many groups of errors there are.
const TYPES: usize = 10;
const SAMPLE: usize = 500;
const GROUPS: usize = 8;

/// How high the drawing is.
const HEIGHT: u64 = 160;

/// The statuses of the bars, from the ground up.
const STACK: [Status; 7] = [
    Status::Failed,
    Status::Abandoned,
    Status::Success,
    Status::Skipped,
    Status::Cancelled,
    Status::Running,
    Status::Pending,
];

/// A piece of time, in how many bars it is shown, and how long each of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum Range {
    #[default]
    #[serde(rename = "24h")]
    Day,
    #[serde(rename = "7d")]
    Week,
    #[serde(rename = "30d")]
    Month,
}

impl Range {
    const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    const fn name(self) -> &'static str {
        match self {
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Day => "24 hours",
            Self::Week => "7 days",
            Self::Month => "30 days",
        }
    }

    /// How many bars, and how many hours each.
    const fn bars(self) -> (u32, u32) {
        match self {
            Self::Day => (24, 1),
            Self::Week => (28, 6),
            Self::Month => (30, 24),
        }
    }

    /// How the begin of a bar is told.
    const fn words(self) -> &'static str {
        match self {
            Self::Day => "%H:%M",
            Self::Week => "%b %d %H:%M",
            Self::Month => "%b %d",
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    range: Range,
}

/// A piece of a bar.
struct Piece {
    status: &'static str,
    y: u64,
    height: u64,
}

/// The runs of a piece of time.
struct Bar {
    x: u32,
    label: String,
    pieces: Vec<Piece>,
    counts: Vec<String>,
    total: String,
    failed: String,
    /// How many in a thousand failed, of those that ended.
    rate: Option<u64>,
    words: String,
    link: String,
}

/// How long the runs of a type take, and how many there were.
struct Lengths {
    name: String,
    link: String,
    count: String,
    failed: String,
    rate: String,
    p50: String,
    p95: String,
    longest: String,
    /// Ends of the bars, in thousandths of the longest of all.
    to_p50: u64,
    to_p95: u64,
    to_longest: u64,
    nanos: [u64; 3],
}

/// The disk, for who looks after it.
struct Disk {
    used: String,
    cap: Option<String>,
    forecast: String,
    /// How full it is, in thousandths.
    part: u64,
    classes: Vec<(String, String, String, String, String)>,
}

struct Choice {
    title: &'static str,
    link: String,
    is_on: bool,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    choices: Vec<Choice>,
    range: &'static str,
    bars: Vec<Bar>,
    step: u32,
    bar_width: u32,
    statuses: Vec<(&'static str, String)>,
    most: String,
    rate_line: String,
    rate: String,
    total: String,
    lengths: Vec<Lengths>,
    groups: Vec<Group>,
    disk: Option<Disk>,
}

/// What the ledger says of runs and errors.
struct Seen {
    bars: Vec<(Timestamp, Vec<u64>)>,
    lengths: Vec<Lengths>,
    groups: Vec<Group>,
}

pub(super) async fn page(
    visit: Visit,
    Words(wanted, Nothing {}): Words<Wanted>,
) -> Result<Response, Problem> {
    let (clock, range) = (visit.clock.clone(), wanted.range);
    let seen = visit.look(move |view| look(view, range, &clock)).await?;
    let disk = match visit.may_clean() {
        true => {
            let report = visit.tend(|ledger| Ok(ledger.reader().retention(&ledger.retention())?));
            Some(Disk::of(&report.await?))
        }
        false => None,
    };
    html(StatusCode::OK, &lay_out(&visit, range, seen, disk))
}

/// The begins of the bars, on whole hours of the zone.
fn begins(range: Range, clock: &Clock) -> Vec<Timestamp> {
    let (bars, hours) = range.bars();
    let hour = Duration::from_secs(60 * 60);
    let now = clock.now().as_nanos();
    let this = Timestamp::from_nanos(now - now.rem_euclid(nanos(hour)));
    let end = this.saturating_add(hour);
    (0..bars).rev().map(|back| end.saturating_sub(hour * hours * (back + 1))).collect()
}

fn look(view: &View<'_>, range: Range, clock: &Clock) -> Result<Seen, Failure> {
    let begins = begins(range, clock);
    let runs = view.query().kind(Kind::Run);
    let mut bars = Vec::with_capacity(begins.len());
    for (at, begin) in begins.iter().enumerate() {
        let query = runs.clone().since(*begin);
        let query = begins.get(at + 1).into_iter().fold(query, |query, end| query.until(*end));
        let counts = query.count_by(Field::Status)?;
        let count = |status: &Status| {
            counts.iter().find(|(name, _)| name == status.name()).map_or(0, |(_, count)| *count)
        };
        bars.push((*begin, STACK.iter().map(count).collect()));
    }
    let since = begins.first().copied().unwrap_or_default();
    let mut lengths = Vec::new();
    let runs = runs.since(since);
    for (name, count) in runs.clone().or_damaged().count_by(Field::Type)?.into_iter().take(TYPES) {
        lengths.push(Lengths::of(&runs, name, count)?);
    }
    let longest = lengths.iter().flat_map(|it| it.nanos).max().unwrap_or(0);
    lengths.iter_mut().for_each(|it| it.scale(longest));
    let errors = view.query().kind(Kind::Error).since(since);
    let groups = errors::groups(&errors, GROUPS, Some(since), clock.now(), clock)?;
    Ok(Seen { bars, lengths, groups })
}

impl Lengths {
    /// Of the newest runs of this type.
    fn of(runs: &Query, name: String, count: u64) -> Result<Self, Failure> {
        let query = runs.clone().record_type(&name);
        let failed = query.clone().status(Status::Failed).status(Status::Abandoned).count()?;
        let mut nanos = Vec::new();
        for record in query.limit(SAMPLE).fetch()?.records() {
            if let Ok(record) = record
                && let Body::Run(run) = &record.body
            {
                // One that ended before it began took no time, as everywhere.
                nanos.extend(run.duration_nanos().map(|it| u64::try_from(it).unwrap_or(0)));
            }
        }
        nanos.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (nanos.len() * percent).div_ceil(100).max(1);
            nanos.get(rank - 1).copied()
        };
        let all = [50, 95, 100].map(percentile);
        let [p50, p95, longest] = all.map(|nanos| match nanos {
            Some(nanos) => human::duration(i64::try_from(nanos).unwrap_or(i64::MAX)),
            None => "–".to_owned(),
        });
        Ok(Self {
            link: Link::to("/").with("type", &name).to_string(),
            name: shown::clipped(&name, 60),
            count: human::count(count),
            failed: human::count(failed),
            rate: human::percent(failed, count),
            p50,
            p95,
            longest,
            to_p50: 0,
            to_p95: 0,
            to_longest: 0,
            nanos: all.map(Option::unwrap_or_default),
        })
    }

    /// Where its bars end.
    fn scale(&mut self, longest: u64) {
        let place = |nanos: u64| {
            let place = u128::from(nanos) * 1000 / u128::from(longest.max(1));
            u64::try_from(place).unwrap_or(1000)
        };
        [self.to_p50, self.to_p95, self.to_longest] = self.nanos.map(place);
    }
}

fn words(forecast: Forecast, nothing: &str) -> String {
    match forecast {
        Forecast::Unlimited => nothing.to_owned(),
        Forecast::Unknown => "too little was written yet to tell".to_owned(),
        Forecast::Never => "stays below its limit".to_owned(),
        Forecast::Days(0) => "its limit is reached".to_owned(),
        Forecast::Days(days) => format!("full in {}", human::plural(days, "day")),
    }
}

impl Disk {
    fn of(report: &RetentionReport) -> Self {
        let part = report.max_bytes.map_or(0, |cap| {
            let part = u128::from(report.allocated_bytes) * 1000;
            u64::try_from(part / u128::from(cap.max(1))).unwrap_or(1000).min(1000)
        });
        let class = |usage: &crate::ledger::ClassUsage| {
            let term = usage.limits.term.and_then(crate::ledger::Term::duration);
            let days = term.map(|term| human::plural(term.as_secs() / 86_400, "day"));
            (
                usage.class.name().to_owned(),
                human::count(usage.records),
                human::bytes(usage.bytes),
                usage.bytes_per_day.map_or_else(|| "–".to_owned(), human::bytes),
                days.unwrap_or_else(|| "for ever".to_owned()),
            )
        };
        Self {
            used: human::bytes(report.allocated_bytes),
            cap: report.max_bytes.map(human::bytes),
            forecast: words(report.full, "no limit is set"),
            part,
            classes: report.classes.iter().map(class).collect(),
        }
    }
}

/// How many of these failed, and how many ended.
fn failures(counts: &[u64]) -> (u64, u64) {
    let of = |wanted: fn(Status) -> bool| {
        let both = STACK.iter().zip(counts);
        both.filter(|(status, _)| wanted(**status)).map(|(_, count)| *count).sum()
    };
    let has_failed = |status| matches!(status, Status::Failed | Status::Abandoned);
    (of(has_failed), of(Status::is_terminal))
}

fn lay_out(visit: &Visit, range: Range, seen: Seen, disk: Option<Disk>) -> OverviewPage {
    let most = seen.bars.iter().map(|(_, counts)| counts.iter().sum()).max().unwrap_or(0);
    let (number, _) = range.bars();
    let step = 1000 / number;
    let bar = |(at, (begin, counts)): (u32, &(Timestamp, Vec<u64>))| {
        let x = at * step;
        bar(x, *begin, counts, most, range, &visit.clock)
    };
    let bars: Vec<_> = (0..).zip(&seen.bars).map(bar).collect();
    let sums: Vec<u64> = (0..STACK.len()).map(|at| column(&seen.bars, at)).collect();
    let statuses = STACK.iter().zip(&sums).filter(|(_, sum)| **sum > 0);
    let (failed, ended) = failures(&sums);
    let middle = step / 2;
    let points = bars.iter().filter_map(|bar| Some((bar.x + middle, bar.rate?)));
    let points = points.map(|(x, rate)| format!("{x},{}", HEIGHT - rate * HEIGHT / 1000));
    let choice = |other: Range| Choice {
        title: other.title(),
        link: Link::to("/overview").with("range", other.name()).to_string(),
        is_on: other == range,
    };
    OverviewPage {
        frame: visit.frame("Overview", "overview"),
        choices: Range::ALL.map(choice).into(),
        range: range.title(),
        rate_line: points.collect::<Vec<_>>().join(" "),
        bars,
        step,
        bar_width: step.saturating_sub(6).max(1),
        statuses: statuses.map(|(it, sum)| (shown::of_status(*it), human::count(*sum))).collect(),
        most: human::count(most),
        rate: human::percent(failed, ended),
        total: human::count(sums.iter().sum()),
        lengths: seen.lengths,
        groups: seen.groups,
        disk,
    }
}

fn column(bars: &[(Timestamp, Vec<u64>)], at: usize) -> u64 {
    bars.iter().filter_map(|(_, counts)| counts.get(at)).sum()
}

fn bar(x: u32, begin: Timestamp, counts: &[u64], most: u64, range: Range, clock: &Clock) -> Bar {
    let (mut ground, mut pieces) = (HEIGHT, Vec::new());
    for (status, count) in STACK.iter().zip(counts).filter(|(_, count)| **count > 0) {
        // The least is seen, too.
        let height = count.saturating_mul(HEIGHT).checked_div(most).unwrap_or(0).max(2);
        ground = ground.saturating_sub(height);
        pieces.push(Piece { status: shown::of_status(*status), y: ground, height });
    }
    let (failed, ended) = failures(counts);
    let total = counts.iter().sum();
    let label = clock.format(begin, range.words());
    let (_, hours) = range.bars();
    let end = begin.saturating_add(Duration::from_secs(60 * 60) * hours);
    Bar {
        x,
        pieces,
        rate: (ended > 0).then(|| failed.saturating_mul(1000) / ended),
        words: format!("{label}: {}, {} failed", human::plural(total, "run"), human::count(failed)),
        counts: counts.iter().map(|count| human::count(*count)).collect(),
        total: human::count(total),
        failed: human::percent(failed, ended),
        link: Link::to("/").with("since", begin).with("until", end).to_string(),
        label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ledger, Run};

    /// A run that ended before it began was left out, where `stats` and `history` count it as one
    /// that took no time.
    #[test]
    fn a_run_that_ended_before_it_began_took_no_time() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let at = |second: i64| Timestamp::from_nanos(second * 1_000_000_000);
        for (id, end) in [("a", 60), ("b", 90), ("c", 130)] {
            let run = Run::new(id, "t", Status::Success).unwrap();
            let run = run.created_at(at(100)).started_at(at(100)).finished_at(at(end));
            ledger.append(run).unwrap();
        }
        let runs = ledger.query().kind(Kind::Run);
        let lengths = Lengths::of(&runs, "t".to_owned(), 3).unwrap();
        assert_eq!(lengths.nanos, [0, 30_000_000_000, 30_000_000_000]);
    }
}
