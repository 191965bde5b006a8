//! Bodies: of the right type, no longer than they may be, and here in time.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::model::{Body, Json, Kind};
use crate::server::app::App;
use crate::server::problem::{self, Problem};
use crate::wire::{ParseOptions, parse_bytes};

/// A body of JSON.
pub(super) struct Input(Bytes);

impl FromRequest<App> for Input {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        check_type(request.headers(), "application/json")?;
        let config = app.config();
        let body = whole(request.into_body(), config.max_body_bytes, config.read_timeout).await?;
        Ok(Self(body))
    }
}

/// The whole body, when it is no longer than that and comes in this time.
pub(super) async fn whole(
    body: axum::body::Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Problem> {
    let slow = |_| Problem::new(problem::Kind::Slow, "the body did not come in time");
    let body = Limited::new(body, limit).collect();
    let read = tokio::time::timeout(patience, body).await.map_err(slow)?;
    let body = read.map_err(|err| match err.downcast_ref::<LengthLimitError>() {
        Some(_) => Problem::new(
            problem::Kind::TooLarge,
            format!("the body is over the limit of {limit} bytes"),
        ),
        None => Problem::new(problem::Kind::Body, "the body broke off or does not decompress"),
    })?;
    Ok(body.to_bytes())
}

impl Input {
    /// The body as a record of this kind.
    pub(super) fn record(&self, kind: Kind) -> Result<Body<'_>, Problem> {
        let body = parse_bytes(&self.0, &ParseOptions::new().kind(kind))?;
        if body.kind() == kind {
            return Ok(body);
        }
        let detail = format!("this route takes records of kind {kind}");
        Err(Problem::new(problem::Kind::Body, detail).field("kind"))
    }

    /// The body as a value of this type; an empty one is as `{}`.
    pub(super) fn value<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let bytes = if self.0.is_empty() { b"{}".as_slice() } else { &self.0 };
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
