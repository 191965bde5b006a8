//! What stands around every page, and what becomes of a refusal.

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::model::Timestamp;
use crate::server::access_log::Fault;
use crate::server::app::App;
use crate::server::page::assets;
use crate::server::page::preferences::{Preferences, zone_here};
use crate::server::page::session;
use crate::server::page::words::{Link, encoded};
use crate::server::problem::{self, Kind, Problem};
use crate::storage::{Disk, Storage};

/// What a page may load and send: its own files, to its own server, and nothing that stands in the
/// page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
                      data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";

/// On an answer that is a page already.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Shown;

/// What stands around a page.
pub(super) struct Frame {
    pub(super) title: String,
    /// Which entry of the navigation it is under.
    pub(super) section: &'static str,
    pub(super) theme: &'static str,
    /// The name of the time zone, and that of the server's own when it has another one.
    pub(super) zone: String,
    pub(super) zone_here: Option<String>,
    /// The word of the page's forms, and where they lead back to.
    pub(super) form: String,
    pub(super) place: String,
    pub(super) user: Option<String>,
    pub(super) may_read: bool,
    pub(super) may_clean: bool,
    pub(super) css: String,
    pub(super) script: String,
    pub(super) icon: String,
    /// Now, in milliseconds, by the server's clock.
    pub(super) now: i64,
}

impl Frame {
    /// That of a page for nobody in particular.
    pub(super) fn plain(preferences: &Preferences, now: Timestamp) -> Self {
        let zone = preferences.zone.iana_name().unwrap_or("UTC").to_owned();
        Self {
            title: String::new(),
            section: "",
            theme: preferences.theme,
            zone_here: zone_here().filter(|here| *here != zone),
            zone,
            form: String::new(),
            place: "/".to_owned(),
            user: None,
            may_read: false,
            may_clean: false,
            css: assets::place("page.css"),
            script: assets::place("page.js"),
            icon: assets::place("icon.svg"),
            now: now.as_nanos() / 1_000_000,
        }
    }
}

/// A page.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Result<Response, Problem> {
    let failed = |_| Problem::new(Kind::Internal, "the page cannot be written");
    let media = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    Ok((status, media, page.render().map_err(failed)?).into_response())
}

/// A page that says why there is none.
#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal {
    frame: Frame,
    status: u16,
    title: &'static str,
    detail: String,
    help: &'static str,
}

/// What one can do about it.
const fn help(kind: Kind) -> &'static str {
    match kind {
        Kind::NoRoute => "Look at the address again, or begin with the runs.",
        Kind::NotFound => {
            "It may have been dropped by retention, belong to somebody else, or never have been \
             there."
        }
        Kind::Scope => {
            "Your token does not include that. Sign in with one that does, or ask whoever issues \
             them."
        }
        Kind::Invalid | Kind::UnknownWord => "Go back and change the value, or clear the filters.",
        Kind::TooMany | Kind::Unavailable => "Wait a moment, and load the page again.",
        _ => "",
    }
}

/// The last that happens to every answer of a page: a refusal becomes a page, one who is not let in
/// is led to where one signs in, and the headers are set that pages need.
pub(super) async fn dress(State(app): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let place = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let is_shown = request.method() == Method::GET && request.uri().path() != "/login";
    let mut response = next.run(request).await;
    if let Some(problem) = refused(&mut response) {
        // What the access log is to know stays on the answer.
        let fault = response.extensions_mut().remove::<Fault>();
        let enters = problem.kind == Kind::Unauthenticated && is_shown;
        response = match enters {
            true => {
                Redirect::to(&Link::to("/login").with("to", &place).to_string()).into_response()
            }
            false => refusal(&app, &headers, &place, &problem, response.headers()),
        };
        if let Some(fault) = fault {
            response.extensions_mut().insert(fault);
        }
    }
    shown(response)
}

/// Why there is no page; `None` when there is one.
fn refused(response: &mut Response) -> Option<Problem> {
    let status = response.status();
    let media = response.headers().get(header::CONTENT_TYPE);
    let is_page = media.is_some_and(|media| media.as_bytes().starts_with(b"text/html"));
    let is_refusal = status.is_client_error() || status.is_server_error();
    let said = response.extensions_mut().remove::<Problem>();
    said.or_else(|| (is_refusal && !is_page).then(|| problem::of_status(status)))
}

/// The answer with the headers that pages need.
fn shown(mut response: Response) -> Response {
    response.extensions_mut().insert(Shown);
    let own = response.headers_mut();
    own.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    own.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    own.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    response
}

/// What is answered where there is nothing: a page to one who wants pages.
pub(in crate::server) fn lost(app: &App, request: &Request) -> Response {
    let problem = problem::of_status(StatusCode::NOT_FOUND);
    let wanted = request.headers().get(header::ACCEPT).and_then(|wanted| wanted.to_str().ok());
    match wanted.is_some_and(|wanted| wanted.contains("text/html")) {
        true => {
            let nothing = HeaderMap::new();
            shown(refusal(app, request.headers(), "/", &problem, &nothing))
        }
        false => problem.into_response(),
    }
}

fn refusal(
    app: &App,
    headers: &HeaderMap,
    place: &str,
    problem: &Problem,
    said: &HeaderMap,
) -> Response {
    let plain = Frame::plain(&Preferences::of(headers), Timestamp::from_nanos(Disk.now()));
    let frame = Frame {
        title: problem.kind.title().to_owned(),
        form: app.forms().word(session::of(app, headers)),
        place: place.to_owned(),
        may_read: true,
        ..plain
    };
    let status = problem.kind.status();
    let page = Refusal {
        frame,
        status: status.as_u16(),
        title: problem.kind.title(),
        detail: problem.detail.clone().into_owned(),
        help: help(problem.kind),
    };
    let mut response = html(status, &page).unwrap_or_else(|_| status.into_response());
    for name in [header::RETRY_AFTER, header::ALLOW] {
        if let Some(value) = said.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Where the page of a run is.
pub(super) fn run_place(id: &str) -> String {
    format!("/runs/{}", encoded(id))
}

/// Where the page of a trace is.
pub(super) fn trace_place(id: &str) -> String {
    format!("/traces/{}", encoded(id))
}
