//! One user learns nothing of another from any page.

use runledger::server::Scope;

use super::super::Site;
use super::{places, story};

/// What the pages say, without what differs from one visit, ledger or moment to the next: the time,
/// the word of the forms, and how many numbers were given out, which each record's own tells.
fn told(site: &Site, path: &str) -> (u16, String) {
    let answer = site.browser_of("bob").get(path);
    let mut text = answer.text();
    for mark in ["data-now=\"", "after=", "name=\"form\" value=\""] {
        let mut pieces = text.split(mark);
        let mut kept = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            kept += piece.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        }
        text = kept;
    }
    (answer.status.as_u16(), text)
}

#[test]
fn a_page_tells_bob_no_more_than_that_of_an_empty_ledger() {
    let (full, empty) = (Site::new(), Site::new());
    story(&full);
    for path in places(&full) {
        let ann = full.browser_of("ann").get(&path);
        assert!(ann.status.as_u16() < 400, "{path}: {}", ann.text());
        assert_eq!(told(&full, &path), told(&empty, &path), "{path} tells bob of ann's records");
    }
    let stream = full.browser_of("bob").get("/tail/stream?after=0");
    assert!(!stream.text().contains("data:"), "{}", stream.text());
    let stream = full.browser_of("ann").get("/tail/stream?after=0");
    assert!(stream.text().contains("card 45 refused"));
}

#[test]
fn a_page_needs_its_scope_and_the_cookie_opens_pages_alone() {
    let site = Site::new();
    story(&site);
    let writer = site.token("ann", &[Scope::Write], &[]);
    for path in ["/", "/runs/root", "/errors", "/overview", "/tail", "/tail/stream"] {
        let refused = site.browser(&writer).get(path);
        assert_eq!(refused.status.as_u16(), 403, "{path}");
        assert!(refused.text().contains("read"), "{path}");
    }
    assert_eq!(site.browser_of("ann").get("/segments").status.as_u16(), 403);
    // A cookie is sent by the browser, whoever asks for it: the API does not look at it.
    for path in ["/v1/runs", "/v1/tail", "/metrics", "/v1/segments"] {
        assert_eq!(site.browser_of_admin().get(path).status.as_u16(), 401, "{path}");
    }
    // And a page does not look at a bearer token, so that no form can be sent with one.
    let bearer = site.user("ann").get("/");
    assert_eq!((bearer.status.as_u16(), bearer.header("location")), (303, "/login?to=%2F"));
}
