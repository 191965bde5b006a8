//! What a request is answered with when it is refused: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::server::access_log::Fault;
use crate::wire::LineError;

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// What the types of problems begin with.
const PREFIX: &str = "urn:runledger:problem:";

/// Declares the kinds of problem, each with its status, the end of its type, and its title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $status:ident $name:literal $title:literal;)*) => {
        /// A kind of problem. Its name is part of the API and never changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            pub(super) const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            pub(super) const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// A value that cannot be taken.
    Invalid BAD_REQUEST "invalid-value" "A value is not valid";
    /// A query word that the route does not know.
    UnknownWord BAD_REQUEST "unknown-parameter" "The query has an unknown parameter";
    /// A body that is not what the route reads.
    Body BAD_REQUEST "invalid-body" "The body cannot be read";
    /// No token, or one that does not count.
    Unauthenticated UNAUTHORIZED "unauthenticated" "A valid bearer token is needed";
    /// A token without the scope.
    Scope FORBIDDEN "insufficient-scope" "The token does not have the scope";
    /// A record of another user or project.
    NotYours FORBIDDEN "not-yours" "The token may not write this";
    /// A request for another host, where no token is asked for.
    Host FORBIDDEN "wrong-host" "The request is for another host";
    /// A change by a page of another site, where no token is asked for.
    Origin FORBIDDEN "foreign-origin" "The request is from another site";
    /// A form that did not come from one of the pages.
    Form FORBIDDEN "foreign-form" "The form cannot be taken";
    /// No such record, or another's.
    NotFound NOT_FOUND "not-found" "There is no such record";
    /// No such route.
    NoRoute NOT_FOUND "no-such-route" "There is no such route";
    /// A method that the route does not have.
    Method METHOD_NOT_ALLOWED "method-not-allowed" "The route does not have this method";
    /// The body did not come in time.
    Slow REQUEST_TIMEOUT "too-slow" "The request did not come in time";
    /// A run cannot go there.
    Transition CONFLICT "run-transition" "The run cannot go to this status";
    /// The same request is still at work.
    AtWork CONFLICT "request-at-work" "The same request is still at work";
    /// A key that stands for another request.
    KeyTaken UNPROCESSABLE_ENTITY "key-reused" "The key stands for another request";
    /// Too many requests.
    TooMany TOO_MANY_REQUESTS "rate-limited" "Too many requests";
    /// Too much of anything.
    TooLarge PAYLOAD_TOO_LARGE "too-large" "The request is too large";
    /// A body of another type.
    MediaType UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body has another media type";
    /// Anything else that is the client's fault.
    Refused BAD_REQUEST "bad-request" "The request cannot be read";
    /// A fault of the server.
    Internal INTERNAL_SERVER_ERROR "internal" "The server failed";
    /// The server cannot do it now.
    Unavailable SERVICE_UNAVAILABLE "unavailable" "The server cannot do this now";
    /// The disk is full.
    NoSpace INSUFFICIENT_STORAGE "no-space" "The disk is full";
}

/// A refusal.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    pub(super) detail: Cow<'static, str>,
    field: Option<String>,
    retry_after: Option<u64>,
    is_after_a_part: bool,
}

/// Its form in JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Shape<'a> {
    /// Which kind of problem it is; it does not change between versions
    r#type: String,
    /// The same in words
    title: &'a str,
    /// The HTTP status
    status: u16,
    /// What is wrong this time, and what would be right
    detail: &'a str,
    /// The key or the query parameter at fault
    #[schema(required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self { kind, detail, field: None, retry_after: None, is_after_a_part: false }
    }

    /// Names the key or the query word at fault.
    pub(super) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says what had been done before: it is not to be sent again as it was.
    pub(super) fn after(mut self, done: &str) -> Self {
        self.retry_after = None;
        self.detail = format!("{}; {done}", self.detail).into();
        self.is_after_a_part = true;
        self
    }

    /// True when a part of the request was done before, or may have been.
    pub(super) const fn is_after_a_part(&self) -> bool {
        self.is_after_a_part
    }

    /// Says when to try again, in seconds.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// What is wrong this time.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        Self::new(Kind::NotFound, format!("no {what} {id:?} in the ledger"))
    }

    /// What an error of the ledger says to this caller: where its files lie is for those alone who
    /// `see_all`.
    pub(super) fn of(err: &Error, see_all: bool) -> Self {
        let said = |kind| Self::new(kind, err.to_string());
        let hidden = |kind, instead| {
            if see_all { said(kind) } else { Self::new(kind, instead) }
        };
        match err {
            Error::Invalid { what, .. } => said(Kind::Invalid).field(*what),
            Error::RunTransition { .. } => said(Kind::Transition).field("status"),
            Error::TooLarge { .. } => said(Kind::TooLarge),
            Error::NotFound { what, id } => Self::not_found(what, id),
            Error::NoSpace { .. } => hidden(Kind::NoSpace, "the disk is full").retry_after(60),
            Error::Poisoned { .. } | Error::Closed | Error::Locked { .. } => {
                hidden(Kind::Unavailable, "the ledger takes no records now").retry_after(60)
            }
            Error::ReadOnly { .. } => hidden(Kind::Unavailable, "the ledger cannot be written"),
            Error::Damaged { .. } => hidden(Kind::Internal, "the record cannot be read"),
            _ => hidden(Kind::Internal, "the ledger cannot be read"),
        }
    }

    pub(super) fn shape(&self) -> Shape<'_> {
        Shape {
            r#type: format!("{PREFIX}{}", self.kind.name()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
        }
    }
}

impl From<LineError> for Problem {
    fn from(err: LineError) -> Self {
        let kind = match err {
            LineError::TooLong { .. } => Kind::TooLarge,
            _ => Kind::Body,
        };
        let field = err.key().map(str::to_owned);
        Self { field, ..Self::new(kind, err.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = serde_json::to_vec(&self.shape()).unwrap_or_default();
        let media = [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))];
        let mut response = (status, media, body).into_response();
        // A page says the same in its own form.
        response.extensions_mut().insert(self.clone());
        if status.is_server_error() {
            let fault = Fault { what: self.detail.into_owned(), is_panic: false };
            response.extensions_mut().insert(fault);
        }
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.kind {
            Kind::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::Scope => {
                let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}

/// The problem that stands for a bare status, as a library's layer answers with.
pub(super) fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => {
            Problem::new(Kind::NoRoute, "no such route; /openapi.json lists them")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(Kind::Method, "the header Allow lists the methods of this route")
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Kind::TooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(Kind::MediaType, "the body may be encoded as gzip or zstd, or not at all")
        }
        status if status.is_client_error() => Problem::new(Kind::Refused, "malformed request"),
        _ => Problem::new(Kind::Internal, "see the server's log"),
    }
}
