//! Many records at a time: lines in, a result for each line out.

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ledger::Durability;
use crate::server::access::{Caller, Failure, Pen, Write};
use crate::server::app::App;
use crate::server::input;
use crate::server::problem::{Kind, Problem, Shape};
use crate::server::routes::records::Sure;
use crate::server::words::{Nothing, Words};
use crate::wire::{ParseOptions, parse_bytes};

/// After how many bytes of whole lines they are appended.
const AT_ONCE: usize = 256 << 10;

/// The most lines in one request: their results are held until the last is taken.
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
    let mut bulk = Bulk { caller, lines: 0, outcomes: Vec::new(), appended: 0 };
    let taken = bulk.take(lines).await;
    // What was appended is as sure as was asked before anything is answered.
    if durability == Durability::Sync && bulk.appended > 0 {
        bulk.caller.write(|pen| pen.sync()).await?;
    }
    match taken {
        Ok(()) => {
            let media = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
            Ok((StatusCode::OK, media, bulk.outcomes).into_response())
        }
        Err(problem) if bulk.appended > 0 => Err(problem.after(&format!(
            "of the {} lines before, {} records were appended",
            bulk.lines, bulk.appended
        ))),
        Err(problem) => Err(problem),
    }
}

/// A body that is read line by line.
struct Lines {
    body: Body,
    limit: usize,
    app: App,
}

impl FromRequest<App> for Lines {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        input::check_type(request.headers(), "application/x-ndjson")?;
        let limit = app.config().max_bulk_bytes;
        Ok(Self { body: request.into_body(), limit, app: app.clone() })
    }
}

impl Lines {
    /// The next piece of the body, which ends anywhere.
    async fn piece(&mut self) -> Result<Option<bytes::Bytes>, Problem> {
        let patience = self.app.config().read_timeout;
        let frame = tokio::time::timeout(patience, self.body.frame()).await;
        let slow = |_| Problem::new(Kind::Slow, "the body did not come in time");
        let Some(frame) = frame.map_err(slow)? else { return Ok(None) };
        let broken = |_| Problem::new(Kind::Body, "the body broke off or does not decompress");
        let piece = frame.map_err(broken)?.into_data().unwrap_or_default();
        let over = || {
            let detail =
                format!("the body is over the limit of {}", self.app.config().max_bulk_bytes);
            Problem::new(Kind::TooLarge, format!("{detail} bytes; send it in parts"))
        };
        self.limit = self.limit.checked_sub(piece.len()).ok_or_else(over)?;
        Ok(Some(piece))
    }
}

/// A request that is worked off.
struct Bulk {
    caller: Caller<Write>,
    /// How many lines there were.
    lines: usize,
    outcomes: Vec<u8>,
    appended: usize,
}

impl Bulk {
    async fn take(&mut self, mut lines: Lines) -> Result<(), Problem> {
        let mut held = Vec::new();
        while let Some(piece) = lines.piece().await? {
            held.extend_from_slice(&piece);
            if held.len() >= AT_ONCE
                && let Some(end) = memchr::memrchr(b'\n', &held)
            {
                let rest = held.split_off(end + 1);
                self.append(std::mem::replace(&mut held, rest)).await?;
            }
        }
        if held.is_empty() { Ok(()) } else { self.append(held).await }
    }

    /// Appends whole lines.
    async fn append(&mut self, text: Vec<u8>) -> Result<(), Problem> {
        let before = self.lines;
        let room = MAX_LINES.saturating_sub(before);
        let count = memchr::memchr_iter(b'\n', &text).count() + usize::from(!text.ends_with(b"\n"));
        if count > room {
            let detail = format!("the body has more than {MAX_LINES} lines; send it in parts");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let (outcomes, appended) =
            self.caller.write(move |pen| append_lines(pen, &text, before)).await?;
        self.outcomes.extend(outcomes);
        self.appended += appended;
        self.lines += count;
        Ok(())
    }
}

/// Appends the records of these lines, and writes what became of each. They are in the kernel then,
/// whatever else is asked for.
fn append_lines(pen: &Pen<'_>, text: &[u8], before: usize) -> Result<(Vec<u8>, usize), Failure> {
    let options = ParseOptions::new();
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
    let lines: Vec<_> = (before + 1..).zip(lines).filter(|(_, line)| !line.is_empty()).collect();
    let mut bodies = Vec::with_capacity(lines.len());
    let mut results: Vec<Option<Problem>> = Vec::with_capacity(lines.len());
    for (_, line) in &lines {
        match parse_bytes(line, &options) {
            Ok(body) => {
                bodies.push(body);
                results.push(None);
            }
            Err(err) => results.push(Some(err.into())),
        }
    }
    let mut appended = pen.append_each(bodies, Durability::Os)?.into_iter();
    let mut count = 0;
    let mut out = Vec::with_capacity(lines.len() * 24);
    for ((line, _), refused) in lines.iter().zip(results) {
        let result = match refused {
            Some(problem) => Err(problem),
            None => appended
                .next()
                .unwrap_or_else(|| Err(Problem::new(Kind::Internal, "the line has no outcome"))),
        };
        count += usize::from(result.is_ok());
        write(*line, &result, &mut out);
    }
    Ok((out, count))
}

fn write(line: usize, result: &Result<u64, Problem>, out: &mut Vec<u8>) {
    let outcome = Outcome {
        line,
        seq: result.as_ref().ok().copied(),
        problem: result.as_ref().err().map(Problem::shape),
    };
    out.extend(serde_json::to_vec(&outcome).unwrap_or_default());
    out.push(b'\n');
}
