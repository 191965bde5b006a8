//! Signing in and out, and forms that are not ours.

use runledger::server::{Auth, Scope};

use super::super::Site;
use super::{check, word_of};

#[test]
fn a_token_becomes_a_cookie_that_no_script_reads() {
    let site = Site::new();
    let nobody = site.browser("");
    let led = nobody.get("/runs/a?cursor=b");
    assert_eq!(led.header("location"), "/login?to=%2Fruns%2Fa%3Fcursor%3Db");
    let page = nobody.get(led.header("location"));
    check("/login", &page);
    let word = word_of(&page.text());
    let token = site.token("ann", &[Scope::Read], &[]);
    let entered = nobody.send("/login", &format!("form={word}&to=%2Foverview&token={token}"), &[]);
    assert_eq!((entered.status.as_u16(), entered.header("location")), (303, "/overview"));
    let cookie = entered.header("set-cookie");
    for part in ["runledger_session=", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=3"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"));
    let secured = nobody.send(
        "/login",
        &format!("form={word}&token={token}&to=//evil"),
        &[("x-forwarded-proto", "https")],
    );
    assert!(secured.header("set-cookie").contains("; Secure"));
    assert_eq!(secured.header("location"), "/");

    let browser = site.browser(&token);
    assert!(browser.page("/").contains("Signed in as <b>ann</b>"));
    let left = browser.send("/logout", &format!("form={}", browser.word("/")), &[]);
    assert_eq!(left.header("location"), "/login");
    assert!(left.header("set-cookie").contains("Max-Age=0"));
}

#[test]
fn what_is_no_token_is_refused_in_words() {
    let site = Site::new();
    let nobody = site.browser("");
    let word = nobody.word("/login");
    let long = "a".repeat(4000);
    for token in ["", "nonsense", "a.b.c", "%3Cscript%3E", &long] {
        let refused = nobody.send("/login", &format!("form={word}&token={token}"), &[]);
        assert_eq!(refused.status.as_u16(), 401, "{token}");
        check("/login", &refused);
        assert!(refused.text().contains("role=\"alert\""));
        assert_eq!(refused.header("set-cookie"), "");
    }
}

/// The field took the first 3,800 characters of a token that was pasted, and what was left of it
/// was said to be no token of this server.
#[test]
fn a_token_that_is_too_long_for_a_cookie_is_told_so() {
    let site = Site::new();
    let nobody = site.browser("");
    assert!(!nobody.get("/login").text().contains("maxlength=\"3800\""));
    let projects: Vec<_> = (0..250).map(|number| format!("project-{number}")).collect();
    let projects: Vec<_> = projects.iter().map(String::as_str).collect();
    let token = site.token("ann", &[Scope::Read], &projects);
    assert!((3801..8192).contains(&token.len()), "{}", token.len());
    let form = format!("form={}&token={token}", nobody.word("/login"));
    let refused = nobody.send("/login", &form, &[]);
    assert_eq!(refused.status.as_u16(), 401);
    let (thousands, rest) = (token.len() / 1000, token.len() % 1000);
    for part in [&*format!("has {thousands},{rest:03} bytes"), "holds one of 3,800", "fewer claims"]
    {
        assert!(refused.text().contains(part), "{part}: {}", refused.text());
    }
    assert_eq!(refused.header("set-cookie"), "");
}

#[test]
fn a_form_that_is_not_ours_is_refused() {
    let site = Site::new();
    let browser = site.browser_of_admin();
    let own = browser.word("/");
    let of_another = site.browser_of("bob").word("/");
    let of_nobody = site.browser("").word("/login");
    for path in ["/logout", "/preferences", "/segments", "/login"] {
        let form = |word: &str| format!("form={word}&token=a&by=retention");
        for word in ["", "0", &of_another, &of_nobody] {
            let refused = browser.send(path, &form(word), &[]);
            assert_eq!(refused.status.as_u16(), 403, "{path} {word}");
            check(path, &refused);
        }
        let foreign = browser.send(path, &form(&own), &[("sec-fetch-site", "cross-site")]);
        assert_eq!(foreign.status.as_u16(), 403, "{path}");
        let ours = browser.send(path, &form(&own), &[("sec-fetch-site", "same-origin")]);
        assert_ne!(ours.status.as_u16(), 403, "{path}: {}", ours.text());
    }
    // Nothing that changes anything is asked for by a link.
    for path in ["/logout", "/preferences"] {
        let refused = browser.get(path);
        assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "POST"), "{path}");
        check(path, &refused);
    }
}

#[test]
fn where_no_token_is_asked_for_nobody_signs_in() {
    let site = Site::with(|config| config.auth = Auth::Off);
    let browser = site.browser("");
    let html = browser.page("/");
    assert!(!html.contains("Sign out") && html.contains("/segments"));
    assert_eq!(browser.get("/login?to=/errors").header("location"), "/errors");
    // A form is still not taken from another site.
    let refused = browser.send("/segments", "form=&by=retention", &[]);
    assert_eq!(refused.status.as_u16(), 403);
    let word = word_of(&html);
    let done = browser.send("/segments", &format!("form={word}&by=retention"), &[]);
    assert_eq!(done.status.as_u16(), 200, "{}", done.text());
}

#[test]
fn what_all_pages_share_is_kept_for_ever() {
    let site = Site::new();
    let html = site.browser_of("ann").page("/");
    let mut bytes = html.len();
    for name in ["page.css", "page.js", "icon.svg"] {
        let (before, _) = html.split_once(name).unwrap();
        let place = format!("{}{name}", before.rsplit_once('"').unwrap().1);
        let answer = site.stranger().get(&place);
        assert_eq!(answer.status.as_u16(), 200, "{place}");
        assert!(answer.header("cache-control").contains("immutable"));
        bytes += answer.body.len();
        let old = place.replace("/static/", "/static/0");
        assert_eq!(site.stranger().get(&old).status.as_u16(), 404, "{old}");
    }
    assert!(bytes < 100 << 10, "{bytes} bytes for a first visit");
}
