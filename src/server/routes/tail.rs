//! What comes, as it comes: server-sent events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::Error;
use crate::model::Record;
use crate::query::{Cursor, ENOUGH, Order};
use crate::server::access::{Caller, Failure, Read, View};
use crate::server::app::App;
use crate::server::problem::{self, Problem};
use crate::server::reply;
use crate::server::routes::filter::{AnyFilter, Narrow};
use crate::server::stream::{self, Gone, Sender};
use crate::server::words::Words;

/// How many records are taken at a time.
const AT_ONCE: usize = 500;

/// How soon after one look the next one is taken, whatever comes.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait for something that nobody told of: the ledger itself appends, too.
const LOOK: Duration = Duration::from_secs(1);

/// After how long without a record the client is told its place.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The most records that have come before.
const MOST_LAST: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(tail))
}

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct From {
    /// Behind this number; the header `Last-Event-ID` says the same, and goes before it
    after: Option<u64>,
    /// Without a place to begin at: with so many of the last records
    #[param(maximum = 1000, default = 0)]
    last: Option<usize>,
}

/// Records as they are appended
#[utoipa::path(
    get, path = "/v1/tail", tag = "records", operation_id = "tail",
    params(
        AnyFilter, From,
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on behind this number"),
    ),
    security(("bearer" = ["read"])),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "Each event has the record's number as `id`, its kind as `event` and the \
            record itself as `data`",
    )),
)]
async fn tail(
    State(app): State<App>,
    caller: Caller<Read>,
    Words(filter, from): Words<AnyFilter, From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = last_id(&headers)?.or(from.after);
    let first = Look { filter: filter.clone(), place, last: from.last()?, write: Arc::new(json) };
    begin(app, caller, filter, first).await
}

/// Writes a record into an event, without a line feed.
pub(in crate::server) type Write =
    Arc<dyn Fn(&Record<'_>, &mut Vec<u8>) -> Result<(), Failure> + Send + Sync>;

fn json(record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    reply::write(record, out)
}

/// Records as they are appended, behind this number or from now on, as `write` writes them.
pub(in crate::server) async fn follow(
    app: App,
    caller: Caller<Read>,
    filter: AnyFilter,
    after: Option<u64>,
    headers: &HeaderMap,
    write: Write,
) -> Result<Response, Problem> {
    let place = last_id(headers)?.or(after);
    let first = Look { filter: filter.clone(), place, last: 0, write };
    begin(app, caller, filter, first).await
}

async fn begin(
    app: App,
    caller: Caller<Read>,
    filter: AnyFilter,
    first: Look,
) -> Result<Response, Problem> {
    let permit = app.follower()?;
    let write = Arc::clone(&first.write);
    // What is wrong with the question is said before the answer begins.
    let first = caller.look(move |view| first.take(view)).await?;
    let (sender, body) = stream::body();
    let tail = Tail { app, caller, filter, sender, write, _permit: permit };
    tokio::spawn(tail.run(first));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // A proxy is not to hold events back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

impl From {
    fn last(&self) -> Result<usize, Problem> {
        match self.last.unwrap_or(0) {
            last @ 0..=MOST_LAST => Ok(last),
            last => {
                let detail = format!("last is {last}; expected no more than {MOST_LAST}");
                Err(Problem::new(problem::Kind::Invalid, detail).field("last"))
            }
        }
    }
}

fn last_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    let wrong = || {
        let detail = "Last-Event-ID is no number of a record; leave it out to begin now";
        Problem::new(problem::Kind::Invalid, detail).field("Last-Event-ID")
    };
    id.map(Some).ok_or_else(wrong)
}

/// One look at what has come.
struct Look {
    filter: AnyFilter,
    /// Behind which number; `None` for now.
    place: Option<u64>,
    last: usize,
    write: Write,
}

/// What a look has found.
struct Seen {
    events: Vec<u8>,
    /// Up to where everything was seen.
    place: u64,
    more: bool,
}

impl Look {
    fn take(self, view: &View<'_>) -> Result<Seen, Failure> {
        let settled = view.settled();
        let query = self.filter.apply(view.query().history(true)).or_damaged();
        let mut events = Vec::new();
        let Some(place) = self.place else {
            let page = query.order(Order::SeqDescending).limit(self.last).fetch()?;
            let mut last = settled;
            for stored in (0..page.len()).rev().filter_map(|at| page.get(at)) {
                if stored.seq() <= settled {
                    if events.len() >= ENOUGH {
                        return Ok(Seen { events, place: last, more: true });
                    }
                    last = stored.seq();
                    put(last, stored.record(), &self.write, &mut events)?;
                }
            }
            return Ok(Seen { events, place: settled, more: false });
        };
        if settled <= place {
            return Ok(Seen { events, place, more: false });
        }
        let page =
            query.order(Order::Seq).after(Cursor::after_seq(place)).limit(AT_ONCE).fetch()?;
        let mut last = place;
        for (seq, record) in page.seqs().zip(page.records()) {
            if seq > settled {
                break;
            }
            if events.len() >= ENOUGH {
                return Ok(Seen { events, place: last, more: true });
            }
            put(seq, record, &self.write, &mut events)?;
            last = seq;
        }
        let more = page.next().is_some() && last < settled;
        Ok(Seen { events, place: if more { last } else { settled }, more })
    }
}

/// Writes a record as an event; of one that is damaged its number alone is told.
fn put(
    seq: u64,
    record: Result<Record<'_>, Error>,
    write: &Write,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    out.extend_from_slice(format!("id: {seq}\n").as_bytes());
    match record {
        Ok(record) => {
            out.extend_from_slice(format!("event: {}\ndata: ", record.body.kind()).as_bytes());
            write(&record, out)?;
        }
        Err(Error::Damaged { .. }) => {
            out.extend_from_slice(format!("event: damaged\ndata: {{\"seq\":{seq}}}").as_bytes());
        }
        Err(err) => return Err(err.into()),
    }
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// One who follows.
struct Tail {
    app: App,
    caller: Caller<Read>,
    filter: AnyFilter,
    sender: Sender,
    write: Write,
    _permit: OwnedSemaphorePermit,
}

impl Tail {
    /// Sends what comes until the client is gone, its token expires, its key counts no more or the
    /// server stops.
    async fn run(self, first: Seen) {
        let mut stopping = self.app.stopping();
        let ends = self.caller.expires_in().map(|left| Instant::now() + left);
        let expired = async {
            match ends {
                Some(ends) => tokio::time::sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stops| *stops) => {}
            () = expired => {}
            () = self.caller.disowned() => {}
            () = self.sender.gone() => {}
            // The client is gone, or the ledger cannot be read: either ends the answer.
            _ = self.follow(first) => {}
        }
        self.sender.end();
    }

    async fn follow(&self, first: Seen) -> Result<(), Gone> {
        let mut appended = self.app.appended();
        let Seen { events, mut place, mut more } = first;
        // The client learns at once that it is connected, and where it is.
        self.sender.send(prefixed(events, place)).await?;
        let mut told = Instant::now();
        loop {
            if !more {
                sleep(PAUSE).await;
                // Without news a look is taken all the same.
                let _ = timeout(LOOK, appended.changed()).await;
            }
            let (filter, write) = (self.filter.clone(), Arc::clone(&self.write));
            let look = Look { filter, place: Some(place), last: 0, write };
            let seen = self.caller.look(move |view| look.take(view)).await.map_err(|_| Gone)?;
            (place, more) = (seen.place, seen.more);
            if !seen.events.is_empty() {
                self.sender.send(seen.events).await?;
                told = Instant::now();
            } else if told.elapsed() >= KEEP_ALIVE {
                // An id without data sets the place, and is no event.
                self.sender.send(format!("id: {place}\n\n").into_bytes()).await?;
                told = Instant::now();
            }
        }
    }
}

/// The first piece: a comment, the events, and the place behind them.
fn prefixed(events: Vec<u8>, place: u64) -> Vec<u8> {
    let mut piece = b": following\n\n".to_vec();
    piece.extend(events);
    piece.extend(format!("id: {place}\n\n").into_bytes());
    piece
}
