//! Many records at a time: lines in, a result for each line out.

use std::collections::VecDeque;

use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ledger::Durability;
use crate::model;
use crate::server::access::{Caller, Failure, Pen, Write};
use crate::server::app::App;
use crate::server::input::{self, Pieces, Room};
use crate::server::pool::Job;
use crate::server::problem::{Kind, Problem, Shape};
use crate::server::routes::records::Sure;
use crate::server::words::{Nothing, Words};
use crate::wire::{ParseOptions, parse_bytes};

/// From how many bytes on whole lines are a part, which is read and appended at once.
const PART: usize = 128 << 10;

/// How many parts are worked on at a time: while one is appended, the next one is read.
const PARTS: usize = 2;

/// The most lines in one request: their results are held until the last is taken, and read.
const MAX_LINES: usize = 100_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(bulk))
}

/// What became of a line
#[derive(Serialize, ToSchema)]
struct Outcome<'a> {
    /// The line, from 1; those that are empty count, too, and have no outcome
    line: usize,
    /// The number of its record, when it was appended
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// Why it was not
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Shape<'a>>,
}

/// Append many records, each on its own merits
///
/// A refusal that comes after a part was appended says of how many lines how many records were.
/// With an `Idempotency-Key` it is kept as an answer is: what is left goes with another key.
#[utoipa::path(
    post, path = "/v1/bulk", tag = "records", operation_id = "append_bulk",
    params(Sure), security(("bearer" = ["write"])),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "A record in the interchange shape on each line"),
    responses((
        status = 200, description = "What became of each line, a line of JSON for each",
        body = Outcome, content_type = "application/x-ndjson",
    )),
)]
async fn bulk(
    State(app): State<App>,
    caller: Caller<Write>,
    Words(sure, Nothing {}): Words<Sure>,
    lines: Lines,
) -> Result<Response, Problem> {
    let durability = sure.durability(&app);
    let mut bulk = Bulk::new(app, caller);
    let taken = bulk.take(lines).await;
    // What was begun ends, whatever came of the rest, so that it can be told.
    let settled = bulk.settle(0).await;
    // What was appended is as sure as was asked before anything is answered.
    let synced = match durability == Durability::Sync && bulk.appended > 0 {
        true => bulk.caller.write(|pen| pen.sync()).await,
        false => Ok(()),
    };
    match settled.and(taken).and(synced) {
        Ok(()) => {
            let media = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
            Ok((StatusCode::OK, media, Bytes::from_owner(bulk.outcomes)).into_response())
        }
        Err(problem) if bulk.appended > 0 || bulk.is_half_done => {
            let (lines, records) = (bulk.settled, bulk.appended);
            let mut done = format!("of the {lines} lines before, {records} records were appended");
            if bulk.is_half_done {
                done.push_str("; of those after them, some may have been");
            }
            Err(problem.after(&done))
        }
        Err(problem) => Err(problem),
    }
}

/// A body that is read in parts.
struct Lines {
    app: App,
    body: Pieces,
    /// How many bytes may come yet.
    limit: usize,
    /// What is left of the piece of the body that came last, which ends anywhere.
    piece: Bytes,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// Whole lines.
struct Part {
    text: Vec<u8>,
    _room: Room,
}

impl FromRequest<App> for Lines {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        input::check_type(request.headers(), "application/x-ndjson")?;
        let body = Pieces::new(app, request.into_body());
        let (app, limit) = (app.clone(), app.config().max_bulk_bytes);
        Ok(Self { app, body, limit, piece: Bytes::new(), rest: Vec::new() })
    }
}

impl Lines {
    /// The next part, which has its room; `None` at the end.
    async fn part(&mut self) -> Result<Option<Part>, Problem> {
        let mut room = Room::default();
        let mut text = std::mem::take(&mut self.rest);
        // Where the last whole line ends.
        let mut end = 0;
        while text.len() < PART || end == 0 {
            if self.piece.is_empty() && !self.next_piece().await? {
                return Ok((!text.is_empty()).then_some(Part { text, _room: room }));
            }
            let some = self.piece.split_to(self.piece.len().min(PART / 4));
            room.grow_to(&self.app, text.len() + some.len())?;
            end = memchr::memrchr(b'\n', &some).map_or(end, |at| text.len() + at + 1);
            text.extend_from_slice(&some);
        }
        self.rest = text.split_off(end);
        Ok(Some(Part { text, _room: room }))
    }

    /// Waits for the next piece; false at the end.
    async fn next_piece(&mut self) -> Result<bool, Problem> {
        let Some(piece) = self.body.next().await? else { return Ok(false) };
        self.piece = piece;
        let over = || {
            let detail =
                format!("the body is over the limit of {}", self.app.config().max_bulk_bytes);
            Problem::new(Kind::TooLarge, format!("{detail} bytes; send it in parts"))
        };
        self.limit = self.limit.checked_sub(self.piece.len()).ok_or_else(over)?;
        Ok(true)
    }
}

/// A request that is worked off. Its parts are read side by side and appended one after the other.
struct Bulk {
    app: App,
    caller: Caller<Write>,
    /// How many lines the parts had that were begun.
    begun: usize,
    at_work: VecDeque<Job<Result<Done, Problem>>>,
    /// Comes when the part that was begun last is appended, and is lost when it is not.
    turn: oneshot::Receiver<()>,
    /// How many lines the parts had that are done.
    settled: usize,
    appended: usize,
    outcomes: Outcomes,
    /// What stopped the first part that was not done.
    stopped: Option<Problem>,
    /// True when some of the records of that part may have been appended.
    is_half_done: bool,
}

/// What became of all lines. It has its room for as long as any of it is held to be sent, or to be
/// answered again.
#[derive(Default)]
struct Outcomes {
    text: Vec<u8>,
    room: Room,
}

impl AsRef<[u8]> for Outcomes {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// What became of a part.
struct Done {
    lines: usize,
    appended: usize,
    outcomes: Vec<u8>,
    /// What stopped it, when records of one kind may have been appended before those of another
    /// could not be. Then it tells of none.
    stopped: Option<Problem>,
}

impl Bulk {
    fn new(app: App, caller: Caller<Write>) -> Self {
        let (first, turn) = oneshot::channel();
        // The receiver is there.
        let _ = first.send(());
        Self {
            app,
            caller,
            begun: 0,
            at_work: VecDeque::new(),
            turn,
            settled: 0,
            appended: 0,
            outcomes: Outcomes::default(),
            stopped: None,
            is_half_done: false,
        }
    }

    async fn take(&mut self, mut lines: Lines) -> Result<(), Problem> {
        while let Some(part) = lines.part().await? {
            self.settle(PARTS - 1).await?;
            self.begin(part).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, part: Part) -> Result<(), Problem> {
        let text = &part.text;
        let lines = memchr::memchr_iter(b'\n', text).count() + usize::from(!text.ends_with(b"\n"));
        let before = self.begun;
        self.begun += lines;
        if self.begun > MAX_LINES {
            let detail = format!("the body has more than {MAX_LINES} lines; send it in parts");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let (appended, turn) = oneshot::channel();
        let turn = std::mem::replace(&mut self.turn, turn);
        let work = move |pen: &Pen<'_>| {
            let read = Read::new(&part.text, before);
            let lost = |_| Problem::new(Kind::Internal, "what came before was not appended");
            turn.blocking_recv().map_err(lost)?;
            let done = match read.append(pen, lines) {
                Err(err @ Failure::InPart(_)) => Done {
                    lines: 0,
                    appended: 0,
                    outcomes: Vec::new(),
                    stopped: Some(pen.told(err)),
                },
                done => done?,
            };
            if done.stopped.is_none() {
                // Nobody waits for the last one.
                let _ = appended.send(());
            }
            Ok(done)
        };
        self.at_work.push_back(self.caller.start_write(work).await?);
        Ok(())
    }

    /// Takes what became of the oldest parts, until no more than so many are left.
    async fn settle(&mut self, left: usize) -> Result<(), Problem> {
        while self.at_work.len() > left
            && let Some(job) = self.at_work.pop_front()
        {
            let done = job.end().await.flatten().and_then(|done| self.note(done));
            if let Err(problem) = done {
                self.stopped.get_or_insert(problem);
            }
        }
        self.stopped.clone().map_or(Ok(()), Err)
    }

    fn note(&mut self, done: Done) -> Result<(), Problem> {
        if let Some(problem) = done.stopped {
            self.is_half_done = true;
            return Err(problem);
        }
        self.settled += done.lines;
        self.appended += done.appended;
        let Outcomes { text, room } = &mut self.outcomes;
        room.grow_to(&self.app, text.len() + done.outcomes.len())?;
        text.extend(done.outcomes);
        Ok(())
    }
}

/// The lines of a part as they were read, and the records among them.
struct Read<'t> {
    lines: Vec<(usize, Result<(), Problem>)>,
    bodies: Vec<model::Body<'t>>,
}

impl<'t> Read<'t> {
    /// Reads lines that stand after so many others.
    fn new(text: &'t [u8], before: usize) -> Self {
        let options = ParseOptions::new();
        let (mut lines, mut bodies) = (Vec::new(), Vec::new());
        let mut begin = 0;
        let ends = memchr::memchr_iter(b'\n', text).chain(std::iter::once(text.len()));
        for (number, end) in (before + 1..).zip(ends) {
            let line = text.get(begin..end).unwrap_or_default().trim_ascii_end();
            begin = end + 1;
            if !line.is_empty() {
                let read = parse_bytes(line, &options).map(|body| bodies.push(body));
                lines.push((number, read.map_err(Problem::from)));
            }
        }
        Self { lines, bodies }
    }

    /// Appends the records, and writes what became of each line. They are in the kernel then,
    /// whatever else is asked for.
    fn append(self, pen: &Pen<'_>, lines: usize) -> Result<Done, Failure> {
        let results = pen.append_each(self.bodies, Durability::Os)?.into_iter();
        let mut results = results.map(|result| result.map_err(|failure| pen.told(failure)));
        let outcomes = Vec::with_capacity(self.lines.len() * 32);
        let mut done = Done { lines, appended: 0, outcomes, stopped: None };
        for (line, read) in self.lines {
            let none = || Err(Problem::new(Kind::Internal, "the line has no outcome"));
            let result = read.and_then(|()| results.next().unwrap_or_else(none));
            done.appended += usize::from(result.is_ok());
            write(line, &result, &mut done.outcomes);
        }
        Ok(done)
    }
}

fn write(line: usize, result: &Result<u64, Problem>, out: &mut Vec<u8>) {
    let outcome = Outcome {
        line,
        seq: result.as_ref().ok().copied(),
        problem: result.as_ref().err().map(Problem::shape),
    };
    // Numbers and text can be written, and a vector takes them.
    let _ = serde_json::to_writer(&mut *out, &outcome);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;
    use crate::ledger::Ledger;
    use crate::server::app::MAX_BODIES;
    use crate::server::{Auth, Config};

    /// What a bulk was answered, up to 25 MiB of refusals, was held beside all bounds for as long
    /// as the client took to read it.
    #[test]
    fn an_answer_has_its_room_until_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path().join("ledger")).unwrap();
        let app = App::new(ledger, Config::new(Auth::Off)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for key in [None, Some("k")] {
            let request = Request::post("/v1/bulk").header("host", "localhost");
            let request = request.header("content-type", "application/x-ndjson");
            let request = match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            };
            let request = request.body(Body::from("x\n".repeat(1000))).unwrap();
            let answer = runtime.block_on(app.router().oneshot(request)).unwrap();
            assert_eq!(answer.status(), 200);
            assert!(app.room_for_bodies(MAX_BODIES >> 10).is_err(), "{key:?}");
            drop(answer);
            // With a key it is kept, to be given again.
            assert_eq!(app.room_for_bodies(MAX_BODIES >> 10).is_ok(), key.is_none(), "{key:?}");
        }
    }
}
