//! Records one below the other, in the order of time.

use askama::Template;

use crate::error::Error;
use crate::model::{Body, Id, Kind, Record, Timestamp};
use crate::query::{Cursor, Page};
use crate::server::access::Failure;
use crate::server::page::blocks::{self, Block, FEW};
use crate::server::page::frame::run_place;
use crate::server::page::shown::{self, Clock, Moment};
use crate::server::page::words::Link;
use crate::text::human;

/// A record in a feed.
pub(super) struct Item {
    pub(super) seq: u64,
    /// Its icon and its colour: a status or a severity.
    pub(super) level: &'static str,
    pub(super) icon: &'static str,
    /// How long after the begin it was.
    pub(super) offset: String,
    pub(super) at: Option<Moment>,
    pub(super) name: String,
    pub(super) message: String,
    pub(super) blocks: Vec<Block>,
    pub(super) run: Option<(String, String)>,
    pub(super) is_run: bool,
    pub(super) is_error: bool,
    pub(super) next_error: Option<u64>,
    pub(super) time: Timestamp,
}

/// What of a feed is shown: records of one kind, and from a place in it on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) only: Option<Kind>,
    pub(super) cursor: Option<Cursor>,
}

/// A kind of records to which a feed can be narrowed, with how many there are.
pub(super) struct Choice {
    /// Its plural; `all` for every kind.
    pub(super) name: String,
    pub(super) count: String,
    pub(super) link: String,
    pub(super) is_on: bool,
}

/// The choices of a feed in which there are so many records of each kind.
pub(super) fn choices(path: &str, counts: &[(Kind, u64)], only: Option<Kind>) -> Vec<Choice> {
    let all = (None, counts.iter().map(|(_, count)| *count).sum::<u64>());
    let each = counts.iter().map(|(kind, count)| (Some(*kind), *count));
    let choice = |(kind, count): (Option<Kind>, u64)| Choice {
        name: kind.map_or_else(|| "all".to_owned(), |kind| format!("{kind}s")),
        count: human::count(count),
        link: place(path, kind, None),
        is_on: kind == only,
    };
    std::iter::once(all).chain(each).map(choice).collect()
}

/// Where a feed is, narrowed to a kind, from a place in it on.
pub(super) fn place(path: &str, only: Option<Kind>, cursor: Option<Cursor>) -> String {
    let link = Link::to(path.to_owned());
    let link = only.into_iter().fold(link, |link, kind| link.with("kind", kind));
    let link = cursor.into_iter().fold(link, |link, cursor| link.with("cursor", cursor));
    format!("{link}#feed")
}

/// One item as HTML, for a feed that is already shown.
#[derive(Template)]
#[template(path = "item.html")]
pub(super) struct ItemPage<'i> {
    pub(super) item: &'i Item,
    pub(super) with_run: bool,
    pub(super) linked: bool,
    pub(super) is_new: bool,
}

impl Item {
    pub(super) fn of(record: &Record<'_>, begin: Option<Timestamp>, clock: &Clock) -> Self {
        let body = &record.body;
        let time = body.created_at().unwrap_or(record.recorded_at);
        let (level, icon, message) = match body {
            Body::Run(run) => {
                let status = shown::of_status(run.status);
                (status, status, run.error.as_ref().map(|error| error.message.as_ref()))
            }
            Body::Event(event) => {
                (shown::of_severity(event.severity), "event", event.message.as_deref())
            }
            Body::Error(error) => (error.severity.name(), "error", Some(error.message.as_ref())),
        };
        let message = message.unwrap_or_default();
        let line = shown::line(message);
        let mut blocks = blocks::of(body, FEW);
        if line != message.trim() {
            blocks.insert(0, Block::text("message", message, FEW));
        }
        let offset = begin.map(|begin| shown::offset(time.nanos_since(begin)));
        Self {
            seq: record.seq,
            level,
            icon,
            offset: offset.unwrap_or_default(),
            at: Some(clock.moment(time)),
            name: shown::clipped(body.type_name(), 80),
            message: line,
            blocks,
            run: body.run_id().map(Id::to_string).map(|id| {
                let place = run_place(&id);
                (place, shown::clipped(&id, 40))
            }),
            is_run: body.kind() == Kind::Run,
            is_error: body.kind() == Kind::Error,
            next_error: None,
            time,
        }
    }

    /// The records of a page, each with its distance from `begin`; how many are damaged.
    pub(super) fn all(
        page: &Page,
        begin: Option<Timestamp>,
        clock: &Clock,
    ) -> Result<(Vec<Self>, u64), Failure> {
        let (mut items, mut damaged) = (Vec::with_capacity(page.len()), 0);
        for record in page.records() {
            match record {
                Ok(record) => items.push(Self::of(&record, begin, clock)),
                Err(Error::Damaged { .. }) => damaged += 1,
                Err(err) => return Err(err.into()),
            }
        }
        chain(&mut items);
        Ok((items, damaged))
    }
}

/// Puts what began at a moment before what happened then, the oldest first.
pub(super) fn settle(items: &mut [Item]) {
    items.sort_by_key(|item| (item.time, !item.is_run));
    chain(items);
}

/// Lets each error lead to the next one.
pub(super) fn chain(items: &mut [Item]) {
    let mut next = None;
    for item in items.iter_mut().rev().filter(|item| item.is_error) {
        item.next_error = next;
        next = Some(item.seq);
    }
}

/// Where the first error of a story is: on this page of its feed, or the first of the errors alone;
/// `None` when there is none.
pub(super) fn first_error(items: &[Item], path: &str, errors: u64) -> Option<String> {
    let here = items.iter().find(|item| item.is_error).map(|item| format!("#s{}", item.seq));
    here.or_else(|| (errors > 0).then(|| place(path, Some(Kind::Error), None)))
}
