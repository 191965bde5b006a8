//! Records one below the other, in the order of time.

use askama::Template;

use crate::error::Error;
use crate::model::{Body, Id, Kind, Record, Timestamp};
use crate::query::{Cursor, Order, Page, Query};
use crate::server::access::Failure;
use crate::server::page::blocks::{self, Block, FEW};
use crate::server::page::chart::Mark;
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
    /// Where the next error is.
    pub(super) next_error: Option<String>,
    pub(super) time: Timestamp,
}

/// What of a story is shown: of its feed records of one kind, and from a place in it on; of its
/// waterfall the page with a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) only: Option<Kind>,
    pub(super) cursor: Option<Cursor>,
    /// The sequence number of a state of the run.
    pub(super) span: Option<u64>,
}

impl Part {
    /// Where it is, in the story at this path.
    pub(super) fn link(self, path: &str) -> Link {
        let link = Link::to(path.to_owned());
        let link = self.only.into_iter().fold(link, |link, kind| link.with("kind", kind));
        let link = self.cursor.into_iter().fold(link, |link, cursor| link.with("cursor", cursor));
        self.span.into_iter().fold(link, |link, span| link.with("span", span))
    }

    /// Where its feed is.
    fn feed(self, path: &str) -> String {
        format!("{}#feed", self.link(path))
    }

    /// Where the feed begins.
    pub(super) fn first(self, path: &str) -> String {
        Self { cursor: None, ..self }.feed(path)
    }

    /// Where the feed goes on.
    pub(super) fn onward(self, path: &str, next: Cursor) -> String {
        Self { cursor: Some(next), ..self }.feed(path)
    }

    /// The same story with a feed of this kind of records, from the begin.
    const fn of(self, only: Option<Kind>) -> Self {
        Self { only, cursor: None, ..self }
    }
}

/// How many bytes of the values of records a page has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes: usize,
    /// True when those of runs are shown, too.
    pub(super) with_runs: bool,
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
pub(super) fn choices(path: &str, counts: &[(Kind, u64)], part: Part) -> Vec<Choice> {
    let all = (None, counts.iter().map(|(_, count)| *count).sum::<u64>());
    let each = counts.iter().map(|(kind, count)| (Some(*kind), *count));
    let choice = |(kind, count): (Option<Kind>, u64)| Choice {
        name: kind.map_or_else(|| "all".to_owned(), |kind| format!("{kind}s")),
        count: human::count(count),
        link: part.of(kind).feed(path),
        is_on: kind == part.only,
    };
    std::iter::once(all).chain(each).map(choice).collect()
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
    /// With so many bytes of each value at the most.
    pub(super) fn of(
        record: &Record<'_>,
        begin: Option<Timestamp>,
        clock: &Clock,
        few: usize,
    ) -> Self {
        let body = &record.body;
        let Mark { time, level, seq, is_error } = mark(record);
        let (icon, message) = match body {
            Body::Run(run) => (level, run.error.as_ref().map(|error| error.message.as_ref())),
            Body::Event(event) => ("event", event.message.as_deref()),
            Body::Error(error) => ("error", Some(error.message.as_ref())),
        };
        let message = message.unwrap_or_default();
        let line = shown::line(message);
        let mut blocks = blocks::of(body, few);
        if line != message.trim() {
            blocks.insert(0, Block::text("message", message, few));
        }
        let offset = begin.map(|begin| shown::offset(time.nanos_since(begin)));
        Self {
            seq,
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
            is_error,
            next_error: None,
            time,
        }
    }

    /// Its mark on a time line.
    pub(super) const fn mark(&self) -> Mark {
        Mark { time: self.time, level: self.level, seq: self.seq, is_error: self.is_error }
    }

    /// The records of a page, each with its distance from `begin` and with as much of its values as
    /// there is room for; how many records are damaged.
    pub(super) fn all(
        page: &Page,
        begin: Option<Timestamp>,
        clock: &Clock,
        room: Room,
    ) -> Result<(Vec<Self>, u64), Failure> {
        let make = |few| Self::each(page, begin, clock, few, room.with_runs);
        let (mut items, damaged) = blocks::fit(room.bytes, FEW, make, |(items, _)| {
            items.iter().flat_map(|item| &item.blocks).map(Block::weight).sum()
        })?;
        chain(&mut items);
        Ok((items, damaged))
    }

    fn each(
        page: &Page,
        begin: Option<Timestamp>,
        clock: &Clock,
        few: usize,
        with_runs: bool,
    ) -> Result<(Vec<Self>, u64), Failure> {
        let (mut items, mut damaged) = (Vec::with_capacity(page.len()), 0);
        for record in page.records() {
            match record {
                Ok(record) => {
                    let mut item = Self::of(&record, begin, clock, few);
                    if item.is_run && !with_runs {
                        item.blocks.clear();
                    }
                    items.push(item);
                }
                Err(Error::Damaged { .. }) => damaged += 1,
                Err(err) => return Err(err.into()),
            }
        }
        Ok((items, damaged))
    }
}

/// The mark of a record on a time line.
pub(super) fn mark(record: &Record<'_>) -> Mark {
    let body = &record.body;
    Mark {
        time: body.created_at().unwrap_or(record.recorded_at),
        level: match body {
            Body::Run(run) => shown::of_status(run.status),
            Body::Event(event) => shown::of_severity(event.severity),
            Body::Error(error) => error.severity.name(),
        },
        seq: record.seq,
        is_error: body.kind() == Kind::Error,
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
        next = Some(format!("#s{}", item.seq));
    }
}

/// Lets the last error of a page of a story, the oldest first, lead to those behind the page.
pub(super) fn chain_on(
    items: &mut [Item],
    story: &Query,
    path: &str,
    part: Part,
    next: Option<Cursor>,
) -> Result<(), Failure> {
    let last = items.iter_mut().rev().find(|item| item.is_error);
    let (Some(last), Some(next)) = (last, next) else { return Ok(()) };
    let errors = story.clone().kind(Kind::Error).order(Order::Oldest).after(next);
    if !errors.limit(1).fetch()?.is_empty() {
        last.next_error = Some(part.of(Some(Kind::Error)).onward(path, next));
    }
    Ok(())
}

/// Where the first error of a story is: on the first page of its feed, or the first of the errors
/// alone; `None` when there is none.
pub(super) fn first_error(items: &[Item], path: &str, part: Part, errors: u64) -> Option<String> {
    let here = items.iter().find(|item| item.is_error && part.cursor.is_none());
    here.map(|item| format!("#s{}", item.seq))
        .or_else(|| (errors > 0).then(|| part.of(Some(Kind::Error)).feed(path)))
}
