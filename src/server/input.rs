//! Bodies: of the right type, no longer than they may be, and here in time.

use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use crate::model::{Body, Json, Kind};
use crate::server::app::App;
use crate::server::problem::{self, Problem};
use crate::storage::{Disk, Storage};
use crate::wire::{ParseOptions, parse_bytes};

/// At what rate a body is to come at least, and an answer to be taken, in bytes a millisecond.
const LEAST_RATE: u64 = 8;

/// Up to how many bytes a body is short.
const SHORT: usize = 16 << 10;

/// A body of JSON.
pub(super) struct Input(Held);

impl FromRequest<App> for Input {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        check_type(request.headers(), "application/json")?;
        Ok(Self(whole(app, request.into_body(), app.config().max_body_bytes).await?))
    }
}

/// A body that was taken in. For as long as it is held it counts among what all bodies may take.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Room,
}

/// Room among what all bodies may take. Given back when it is dropped.
#[derive(Default)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Makes it room for this many bytes, if it is not yet.
    ///
    /// # Errors
    /// A problem when all bodies together take too much.
    pub(super) fn grow_to(&mut self, app: &App, bytes: usize) -> Result<(), Problem> {
        let has = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(1 << 10).saturating_sub(has);
        if more > 0 {
            let more = app.room_for_bodies(more)?;
            match &mut self.0 {
                Some(room) => room.merge(more),
                None => self.0 = Some(more),
            }
        }
        Ok(())
    }
}

/// A body as it comes. It is waited for as long as `read_timeout` says, and each piece gives back
/// the time that it takes at the least rate: neither a body that trickles nor one that stops holds
/// its connection, and a long one may take its time. What comes faster earns no more: it would pay
/// for hours of a trickle.
pub(super) struct Pieces {
    body: axum::body::Body,
    patience: Duration,
    waited: Duration,
}

impl Pieces {
    pub(super) fn new(app: &App, body: axum::body::Body) -> Self {
        Self { body, patience: app.config().read_timeout, waited: Duration::ZERO }
    }

    /// Waits for the next piece; `None` at the end.
    ///
    /// # Errors
    /// A problem when it does not come in time, or the body breaks off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let left = self.patience.saturating_sub(self.waited);
        let begun = Disk.monotonic();
        let frame = tokio::time::timeout(left, self.body.frame()).await;
        self.waited += Disk.monotonic().saturating_sub(begun);
        let slow = |_| Problem::new(problem::Kind::Slow, "the body did not come in time");
        let Some(frame) = frame.map_err(slow)? else { return Ok(None) };
        let broken =
            |_| Problem::new(problem::Kind::Body, "the body broke off or does not decompress");
        let piece = frame.map_err(broken)?.into_data().unwrap_or_default();
        self.waited = self.waited.saturating_sub(longest(piece.len()));
        Ok(Some(piece))
    }
}

/// How long so many bytes take at the least rate.
pub(super) const fn longest(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 * 1000 / LEAST_RATE)
}

/// The whole body, when it is no longer than that and comes in time.
pub(super) async fn whole(
    app: &App,
    body: axum::body::Body,
    limit: usize,
) -> Result<Held, Problem> {
    let too_large = || {
        let detail = format!("the body is over the limit of {limit} bytes");
        Problem::new(problem::Kind::TooLarge, detail)
    };
    // What is said to be too long need not come first.
    if usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    let mut room = Room::default();
    let mut pieces = Pieces::new(app, body);
    while let Some(piece) = pieces.next().await? {
        if bytes.len() + piece.len() > limit {
            return Err(too_large());
        }
        room.grow_to(app, bytes.len() + piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(Held { bytes: bytes.freeze(), _room: room })
}

impl Input {
    /// True for one that is read in microseconds.
    pub(super) fn is_short(&self) -> bool {
        self.0.bytes.len() <= SHORT
    }

    /// The body as a record of this kind.
    pub(super) fn record(&self, kind: Kind) -> Result<Body<'_>, Problem> {
        let body = parse_bytes(&self.0.bytes, &ParseOptions::new().kind(kind))?;
        if body.kind() == kind {
            return Ok(body);
        }
        let detail = format!("this route takes records of kind {kind}");
        Err(Problem::new(problem::Kind::Body, detail).field("kind"))
    }

    /// The body as a value of this type; an empty one is as `{}`.
    pub(super) fn value<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let given = &self.0.bytes;
        let bytes = if given.is_empty() { b"{}".as_slice() } else { given };
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|err| {
            let field = err.path().to_string();
            let problem = Problem::new(problem::Kind::Body, err.inner().to_string());
            if field == "." { problem } else { problem.field(field) }
        })?;
        json.end().map_err(|err| Problem::new(problem::Kind::Body, err.to_string()))?;
        Ok(value)
    }
}

/// A field of a body that holds any JSON, kept as the text that it is.
pub(super) fn json(
    field: &'static str,
    text: Option<Box<serde_json::value::RawValue>>,
) -> Result<Option<Json<'static>>, Problem> {
    let text = text.filter(|text| text.get() != "null");
    let json = text.map(|text| Json::parse(String::from(Box::<str>::from(text))));
    json.transpose().map_err(|err| Problem::of(&err, false).field(field))
}

/// A page in a browser may send some types of body to anyone, unasked: JSON is none of them.
pub(super) fn check_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok());
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let detail = format!("send the body with Content-Type: {wanted}");
    Err(Problem::new(problem::Kind::MediaType, detail).field("content-type"))
}
