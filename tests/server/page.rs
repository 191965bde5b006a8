//! The pages, as a browser gets them: without a script, and without a browser.

mod cleaning;
mod content;
mod privacy;
mod signing_in;
mod weight;

use axum::body::Body;
use axum::http::{Method, Request};
use runledger::server::Scope;

use super::{Answer, Site};

/// A browser that keeps a cookie.
pub(crate) struct Browser<'s> {
    site: &'s Site,
    cookies: String,
}

impl Site {
    /// A browser in which one has signed in with this token.
    pub(crate) fn browser(&self, token: &str) -> Browser<'_> {
        Browser { site: self, cookies: format!("runledger_session={token}") }
    }

    /// One of somebody with this name, who reads and writes.
    pub(crate) fn browser_of(&self, name: &str) -> Browser<'_> {
        self.browser(&self.token(name, &[Scope::Read, Scope::Write], &[]))
    }

    /// One of somebody who may do everything.
    pub(crate) fn browser_of_admin(&self) -> Browser<'_> {
        self.browser(&self.token("root", &[Scope::Admin], &[]))
    }
}

impl Browser<'_> {
    pub(crate) fn with(mut self, cookie: &str) -> Self {
        self.cookies = format!("{}; {cookie}", self.cookies);
        self
    }

    pub(crate) fn request(&self, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().uri(path).header("host", "localhost");
        request.header("cookie", &self.cookies)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.site.send(self.request(path).body(Body::empty()).unwrap())
    }

    /// The text of a page that is there.
    #[track_caller]
    pub(crate) fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
        check(path, &answer);
        answer.text()
    }

    /// Sends a form, with these headers besides.
    pub(crate) fn send(&self, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        let request = Request::builder().method(Method::POST).uri(path).header("host", "localhost");
        let request = request
            .header("cookie", &self.cookies)
            .header("content-type", "application/x-www-form-urlencoded");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.site.send(request.body(Body::from(form.to_owned())).unwrap())
    }

    /// The word that the forms of a page carry.
    #[track_caller]
    pub(crate) fn word(&self, path: &str) -> String {
        word_of(&self.get(path).text())
    }
}

#[track_caller]
pub(crate) fn word_of(html: &str) -> String {
    let (_, rest) = html.split_once("name=\"form\" value=\"").expect("a form with a word");
    rest.split_once('"').unwrap().0.to_owned()
}

/// What every page keeps to: nothing of another host, no script and no style in the page itself, a
/// language, a title, one heading, and the headers of a page.
#[track_caller]
pub(crate) fn check(path: &str, answer: &Answer) {
    let html = answer.text();
    let policy = answer.header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(answer.header("cache-control"), "private, no-store", "{path}");
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"en\""), "{path}: {html}");
    assert_eq!(html.matches("<h1").count(), 1, "{path}");
    assert_eq!(html.matches("<title>").count() - html.matches("<g><title>").count(), 1, "{path}");
    for (at, _) in html.match_indices("<script") {
        assert!(html[at..].starts_with("<script src=\"/static/"), "{path}: {}", &html[at..at + 40]);
    }
    for tag in tags(&html) {
        let banned = ["style", "<style", "<img", "<iframe", "<object", "<base", "srcdoc"];
        let names = tag.split([' ', '=', '/', '>', '\n']);
        let harmful = names
            .map(str::to_lowercase)
            .find(|name| banned.contains(&&**name) || name.starts_with("on"));
        assert_eq!(harmful, None, "{path}: {tag}");
    }
    for attribute in ["src=\"", "href=\"", "action=\""] {
        for (at, _) in html.match_indices(attribute) {
            let place = html[at + attribute.len()..].split('"').next().unwrap();
            let is_own = place.starts_with('/') && !place.starts_with("//");
            let is_here = place.starts_with('#') || place.starts_with("?span=");
            let is_object = place.starts_with("https://shop.example/");
            assert!(is_own || is_here || is_object, "{path}: {attribute}{place}");
        }
    }
}

/// The tags of a page, without the values of their attributes.
fn tags(html: &str) -> Vec<String> {
    let (mut tags, mut tag, mut in_value) = (Vec::new(), None::<String>, false);
    for c in html.chars() {
        match (&mut tag, c) {
            (None, '<') => tag = Some("<".to_owned()),
            (None, _) => {}
            (Some(_), '"') => in_value = !in_value,
            (Some(_), _) if in_value => {}
            (Some(text), c) => {
                text.push(c);
                if c == '>' {
                    tags.extend(tag.take());
                }
            }
        }
    }
    tags
}

/// A ledger with a story: a failed run of three, with what happened in them.
pub(crate) fn story(site: &Site) {
    let ann = site.bearer(site.token("ann", &[Scope::Write], &["shop"]));
    for line in [
        r#"{"run_id":"root","type":"order","status":"failed","trace_id":"t-1",
            "subject":"booking:B-1041","message":"the payment was refused\nsecond line",
            "error_type":"PaymentError","stack":"at pay\n  at checkout","metadata":{"seats":2},
            "project_id":"shop","started_at":"2026-11-01T10:00:00Z",
            "created_at":"2026-11-01T10:00:00Z","finished_at":"2026-11-01T10:00:09Z"}"#,
        r#"{"run_id":"child","type":"pay","status":"failed","trace_id":"t-1","parent_run_id":"root",
            "created_at":"2026-11-01T10:00:01Z","finished_at":"2026-11-01T10:00:08Z"}"#,
        r#"{"run_id":"open","type":"mail","status":"running","trace_id":"t-2"}"#,
    ] {
        ann.post("/v1/runs", line).expect(201);
    }
    ann.post(
        "/v1/events",
        r#"{"type":"seat.reserved","run_id":"root","trace_id":"t-1","ts":"2026-11-01T10:00:02Z",
            "message":"two seats","payload":{"seats":["1a","1b"]}}"#,
    )
    .expect(201);
    for second in 3..6 {
        let line = format!(
            r#"{{"type":"CardError","message":"card 4{second} refused","run_id":"root",
                "trace_id":"t-1","endpoint":"/pay","detail":{{"code":5{second}}},
                "ts":"2026-11-01T10:00:0{second}Z"}}"#
        );
        ann.post("/v1/errors", &line).expect(201);
    }
}

/// The pages of that story, and those that need none.
pub(crate) fn places(site: &Site) -> Vec<String> {
    let groups = site.admin().get("/v1/groups").expect(200);
    let group =
        groups["items"][0]["fingerprint"].as_str().unwrap_or("1-0000000000000000").to_owned();
    let mut places: Vec<String> = [
        "/",
        "/settings/automations/ledger",
        "/?status=failed&status=running&type=order&since=-30d&text=refused",
        "/runs/root",
        "/runs/open",
        "/records/1",
        "/records/4",
        "/records/5",
        "/records/5/raw",
        "/errors",
        "/errors?since=-7d&severity=error",
        "/traces/t-1",
        "/overview",
        "/overview?range=7d",
        "/overview?range=30d",
        "/tail",
        "/tail?kind=event&text=seats",
        "/find?id=t-1",
        "/find?id=5",
        "/find?id=booking%3AB-1041",
    ]
    .map(str::to_owned)
    .into();
    places.push(format!("/errors/{group}"));
    places
}
