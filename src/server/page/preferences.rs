//! How one wants the pages: light or dark, in which time zone, with which columns. It is kept in
//! cookies, so that a page is right as it comes.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::server::app::App;
use crate::server::page::session;
use crate::server::page::words::Form;
use crate::server::problem::{Kind, Problem};

const THEME: &str = "runledger_theme";
const ZONE: &str = "runledger_zone";
const HIDDEN: &str = "runledger_hidden";

/// For how long it is remembered, in seconds.
const KEPT: u64 = 365 * 24 * 60 * 60;

/// The columns of the list that may be left out.
pub(super) const COLUMNS: [&str; 5] = ["started", "duration", "by", "subject", "error"];

#[derive(Debug, Clone)]
pub(super) struct Preferences {
    /// `light`, `dark`, or nothing for what the system wants.
    pub(super) theme: &'static str,
    pub(super) zone: TimeZone,
    /// Columns that are left out.
    pub(super) hidden: Vec<&'static str>,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { theme: "", zone: TimeZone::UTC, hidden: Vec::new() }
    }
}

fn theme(name: &str) -> &'static str {
    ["light", "dark"].into_iter().find(|known| *known == name).unwrap_or_default()
}

fn zone(name: &str) -> Option<TimeZone> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    let is_plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_name);
    is_plain.then(|| TimeZone::get(name).ok()).flatten()
}

impl Preferences {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let cookie = |name| session::cookie(headers, name).unwrap_or_default();
        let hidden = cookie(HIDDEN);
        let is_hidden = |name: &&str| hidden.split('.').any(|other| other == *name);
        Self {
            theme: theme(cookie(THEME)),
            zone: zone(cookie(ZONE)).unwrap_or(TimeZone::UTC),
            hidden: COLUMNS.into_iter().filter(is_hidden).collect(),
        }
    }
}

/// The zone of this machine, by its name.
pub(super) fn zone_here() -> Option<String> {
    TimeZone::system().iana_name().map(str::to_owned).filter(|name| name != "UTC")
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    form: String,
    #[serde(default)]
    back: String,
    theme: Option<String>,
    zone: Option<String>,
    /// Set when columns are chosen: those that are not named are left out.
    columns: Option<String>,
    #[serde(default)]
    column: Vec<String>,
}

/// Remembers what was chosen.
pub(super) async fn set(
    State(app): State<App>,
    headers: HeaderMap,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Problem> {
    // The page on which one signs in has these switches, too: nobody is asked for a token.
    app.forms().check(&headers, session::of(&app, &headers), &wanted.form)?;
    let mut answer = Redirect::to(local(&wanted.back)).into_response();
    let mut set = |name, value: &str| {
        let cookie = session::set_cookie(&headers, name, value, KEPT);
        answer.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    };
    if let Some(name) = &wanted.theme {
        set(THEME, theme(name));
    }
    if let Some(name) = &wanted.zone {
        let unknown = || Problem::new(Kind::Invalid, "there is no such time zone").field("zone");
        zone(name).ok_or_else(unknown)?;
        set(ZONE, name);
    }
    if wanted.columns.is_some() {
        let is_hidden = |name: &&str| !wanted.column.iter().any(|other| other == *name);
        let hidden: Vec<_> = COLUMNS.into_iter().filter(is_hidden).collect();
        set(HIDDEN, &hidden.join("."));
    }
    Ok(answer)
}

/// A place on this site; the list for any other.
pub(super) fn local(place: &str) -> &str {
    let is_local = place.starts_with('/')
        && !place.starts_with("//")
        && place.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { place } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        for place in ["/", "/runs/a?b=c", "/a//b"] {
            assert_eq!(local(place), place);
        }
        for place in ["", "//evil", "/\\evil", "https://evil", "/a\nb", "/é"] {
            assert_eq!(local(place), "/", "{place}");
        }
    }

    #[test]
    fn zones_are_known_by_name() {
        assert!(zone("UTC").is_some());
        for name in ["", "../../etc/passwd", "/etc/localtime", "Nowhere/At_All", &"a".repeat(65)] {
            assert!(zone(name).is_none(), "{name}");
        }
    }
}
