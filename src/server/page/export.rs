//! A page that stands by itself, to be sent or attached: without a server, a script or another
//! file.

use std::collections::HashMap;

use askama::Template;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::model::{Body, Field, Kind, Timestamp};
use crate::query::{Order, Page, Query};
use crate::server::access::Failure;
use crate::server::page::assets::CSS;
use crate::server::page::feed::{self, Item, Room};
use crate::server::page::links::Links;
use crate::server::page::list::Row;
use crate::server::page::shown::Clock;
use crate::server::page::spans::{Layout, Timed, Waterfall};
use crate::text::human;

/// How many runs and how many records a page holds.
const RUNS: usize = 500;
const RECORDS: usize = 2000;

/// It is kept as a file, and is to hold what is asked about later.
const ROOM: Room = Room { bytes: usize::MAX, with_runs: true };

/// Records as one page of HTML, which needs no other file and no server: its runs, the waterfall
/// of them when they are of one trace, and all records in the order of time. It holds 500 runs and
/// 2,000 records at the most, and says so when there are more.
#[derive(Debug, Clone)]
pub struct Report {
    title: String,
    clock: Clock,
    zone: String,
    links: Links,
}

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage<'r> {
    title: &'r str,
    zone: &'r str,
    made: String,
    css: &'static str,
    rows: Vec<Row>,
    waterfall: Option<Waterfall>,
    items: Vec<Item>,
    counts: String,
    is_cut: bool,
    damaged: u64,
}

impl Report {
    /// A page with this title that is made now, with its times in this zone.
    #[must_use]
    pub fn new(title: impl Into<String>, now: Timestamp, zone: TimeZone) -> Self {
        let name = zone.iana_name().unwrap_or("local time").to_owned();
        let clock = Clock::new(now, zone);
        Self { title: title.into(), clock, zone: name, links: Links::default() }
    }

    /// With links to what runs acted on.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// The page of what a query finds, whatever its order and limit.
    ///
    /// # Errors
    /// As for [`Query::fetch`].
    pub fn html(&self, query: &Query) -> Result<String> {
        let runs = query.clone().only_kind(Kind::Run).order(Order::Oldest).limit(RUNS).fetch()?;
        let all = query.clone().order(Order::Oldest).limit(RECORDS).fetch()?;
        let (rows, _) = Row::all(&runs, &self.clock, &self.links).map_err(told)?;
        let begin = all.records().find_map(|record| record.ok()?.body.created_at());
        let (mut items, damaged) = Item::all(&all, begin, &self.clock, ROOM).map_err(told)?;
        let waterfall = match query.clone().or_damaged().count_by(Field::Trace)?.len() {
            1 => Some(self.waterfall(&runs, &items)),
            _ => None,
        };
        items.iter_mut().for_each(|item| item.run = None);
        feed::settle(&mut items);
        let counts = [Kind::Run, Kind::Event, Kind::Error]
            .map(|kind| Ok(human::plural(query.clone().only_kind(kind).count()?, kind.name())));
        let counts = counts.into_iter().collect::<Result<Vec<_>>>()?.join(", ");
        let page = ReportPage {
            title: &self.title,
            zone: &self.zone,
            made: self.clock.moment(self.clock.now()).full,
            css: CSS,
            waterfall,
            is_cut: runs.next().is_some() || all.next().is_some(),
            rows,
            items,
            counts,
            damaged,
        };
        page.render().map_err(|_| Error::invalid("report", &self.title, "a page that is whole"))
    }

    fn waterfall(&self, runs: &Page, items: &[Item]) -> Waterfall {
        let mut marks = HashMap::<_, Vec<_>>::new();
        for item in items.iter().filter(|item| !item.is_run) {
            if let Some((place, _)) = &item.run {
                marks.entry(place.clone()).or_default().push(item.mark());
            }
        }
        let timed = self.timed(runs);
        let layout = Layout::new(&timed, items.iter().map(|item| item.time));
        layout.waterfall(0..timed.len(), &marks)
    }

    fn timed(&self, runs: &Page) -> Vec<Timed> {
        let timed = runs.records().filter_map(|record| {
            let record = record.ok()?;
            match &record.body {
                Body::Run(run) => Some(Timed::of(record.seq, run, self.clock.now())),
                _ => None,
            }
        });
        timed.collect()
    }
}

fn told(failure: Failure) -> Error {
    match failure {
        Failure::Ledger(err) | Failure::InPart(err) => err,
        Failure::Problem(problem) => Error::invalid("report", &problem.detail, "a page"),
    }
}
