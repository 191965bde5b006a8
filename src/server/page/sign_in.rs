//! Signing in: a token is shown once, and a cookie keeps it from scripts and from other sites.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::model::Timestamp;
use crate::server::access::Access;
use crate::server::app::App;
use crate::server::page::frame::{Frame, html};
use crate::server::page::preferences::{Preferences, local};
use crate::server::page::session::{self, MAX_COOKIE};
use crate::server::page::words::Form;
use crate::server::problem::{Kind, Problem};
use crate::server::words::{Nothing, Words};
use crate::storage::{Disk, Storage};
use crate::text::human;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct Page {
    frame: Frame,
    to: String,
    refused: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Towards {
    /// Where to go on.
    to: Option<String>,
}

fn ask(app: &App, headers: &HeaderMap, to: &str, refused: Option<String>) -> Page {
    let plain = Frame::plain(&Preferences::of(headers), Timestamp::from_nanos(Disk.now()));
    let frame = Frame {
        title: "Sign in".to_owned(),
        form: app.forms().word(session::of(app, headers)),
        place: "/login".to_owned(),
        ..plain
    };
    Page { frame, to: local(to).to_owned(), refused }
}

pub(super) async fn page(
    State(app): State<App>,
    headers: HeaderMap,
    Words(towards, Nothing {}): Words<Towards>,
) -> Result<Response, Problem> {
    let to = towards.to.unwrap_or_default();
    if !app.gate().asks() {
        return Ok(Redirect::to(local(&to)).into_response());
    }
    html(StatusCode::OK, &ask(&app, &headers, &to, None))
}

#[derive(Deserialize)]
pub(super) struct Shown {
    form: String,
    token: String,
    #[serde(default)]
    to: String,
}

pub(super) async fn enter(
    State(app): State<App>,
    headers: HeaderMap,
    Form(shown): Form<Shown>,
) -> Result<Response, Problem> {
    app.forms().check(&headers, session::of(&app, &headers), &shown.form)?;
    match admit(&app, &headers, shown.token.trim()) {
        Ok(access) => {
            let seconds = access.expires_in().map_or(0, |left| left.as_secs());
            let mut answer = Redirect::to(local(&shown.to)).into_response();
            keep(&headers, &mut answer, shown.token.trim(), seconds);
            Ok(answer)
        }
        Err(problem) => {
            let refused = Some(problem.detail.into_owned());
            html(problem.kind.status(), &ask(&app, &headers, &shown.to, refused))
        }
    }
}

fn admit(app: &App, headers: &HeaderMap, token: &str) -> Result<Access, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if app.gate().asks() && token.len() > MAX_COOKIE {
        let detail = format!(
            "The token has {} bytes, and the cookie of a browser holds one of {}: ask whoever \
             issues tokens for one with fewer claims.",
            human::count(token.len() as u64),
            human::count(MAX_COOKIE as u64),
        );
        return Err(Problem::new(Kind::Unauthenticated, detail));
    }
    app.gate().admit_by(headers, || match token {
        token if token.bytes().all(is_plain) => Ok(token),
        _ => Err("this is no token: one has three parts of letters and digits"),
    })
}

fn keep(headers: &HeaderMap, answer: &mut Response, token: &str, seconds: u64) {
    let cookie = session::set_cookie(headers, &session::name(headers), token, seconds);
    answer.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
}

#[derive(Deserialize)]
pub(super) struct Leaving {
    form: String,
}

pub(super) async fn leave(
    State(app): State<App>,
    headers: HeaderMap,
    Form(leaving): Form<Leaving>,
) -> Result<Response, Problem> {
    app.forms().check(&headers, session::of(&app, &headers), &leaving.form)?;
    let mut answer = Redirect::to("/login").into_response();
    keep(&headers, &mut answer, "", 0);
    // What a browser keeps of the pages goes, too.
    let cached = HeaderValue::from_static("\"cache\"");
    answer.headers_mut().insert(HeaderName::from_static("clear-site-data"), cached);
    Ok(answer)
}
