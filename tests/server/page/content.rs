//! What the pages show, and that nothing in a record becomes a part of them.

use axum::body::Body;
use axum::http::Request;
use runledger::server::Links;
use runledger::{ErrorRecord, Event, Id, Json, Run, RunError, Status, Subject};

use super::super::Site;
use super::{check, places, story};

#[test]
fn every_page_of_a_story_is_shown() {
    let site = Site::new();
    story(&site);
    let browser = site.browser_of_admin();
    for place in places(&site) {
        let answer = browser.get(&place);
        if place.ends_with("/raw") {
            assert_eq!(answer.json()["type"], "CardError");
            assert!(answer.header("content-disposition").starts_with("attachment"));
        } else if place.starts_with("/find") {
            assert_eq!(answer.status.as_u16(), 303, "{place}: {}", answer.text());
        } else {
            browser.page(&place);
        }
    }
    let list = browser.page("/");
    for part in ["the payment was refused", "booking:B-1041", "failed <b>2</b>", "All <b>3</b>"] {
        assert!(list.contains(part), "no {part:?} in {list}");
    }
    assert!(!list.contains("second line"), "one line of an error is enough");
    let only = browser.page("/?status=running");
    assert!(only.contains("/runs/open") && !only.contains("/runs/root"));
    let run = browser.page("/runs/root");
    for part in ["second line", "at checkout", "&#34;seats&#34;: 2", "next error", "/runs/child"] {
        assert!(run.contains(part), "no {part:?} in {run}");
    }
    let trace = browser.page("/traces/t-1");
    assert!(trace.contains("class=\"critical\"") && trace.contains("card 45 refused"));
    let group = browser.page(places(&site).last().unwrap());
    assert!(group.contains("card 45 refused") && group.contains("card 43 refused"));
}

/// The page of a run had its first 200 events and errors. The errors behind them were told of by a
/// number, and nothing led to them.
#[test]
fn an_error_behind_the_first_page_is_led_to() {
    let site = Site::new();
    let run = Run::new("long", "import", Status::Running).unwrap().trace_id(Id::new("t").unwrap());
    let id = run.run_id.clone().into_owned();
    site.ledger.append(run).unwrap();
    for _ in 0..400 {
        let event = Event::new("line").run_id(id.clone()).trace_id(Id::new("t").unwrap());
        site.ledger.append(event).unwrap();
    }
    let error = ErrorRecord::new("Broken", "at the very end").run_id(id);
    site.ledger.append(error.trace_id(Id::new("t").unwrap())).unwrap();
    let browser = site.browser_of_admin();
    for path in ["/runs/long", "/traces/t"] {
        let page = browser.page(path);
        let link = format!("{path}?kind=error#feed");
        assert!(page.contains(&format!("href=\"{link}\">First error")), "{path}: {page}");
        assert!(!page.contains("at the very end"), "{path}");
        let errors = browser.page(&link);
        assert!(errors.contains("at the very end") && !errors.contains(">line<"), "{path}");
        let events = browser.page(&format!("{path}?kind=event"));
        assert!(events.contains(&format!("href=\"{path}?kind=event&#38;cursor=")), "{events}");
    }
}

/// A service logs errors in runs that another one logs, or nobody: the group led to a run that was
/// not there.
#[test]
fn a_run_that_was_not_logged_shows_what_happened_in_it() {
    let site = Site::new();
    let error = ErrorRecord::new("Broken", "in a run of others").run_id(Id::new("theirs").unwrap());
    site.ledger.append(error.user_id(Id::new("ann").unwrap())).unwrap();
    let browser = site.browser_of_admin();
    let page = browser.page("/runs/theirs");
    assert!(page.contains("in a run of others") && page.contains("No run was logged here"));
    assert_eq!(browser.get("/find?id=theirs").header("location"), "/runs/theirs");
    assert_eq!(site.browser_of("bob").get("/runs/theirs").status.as_u16(), 404);
}

/// A run that was damaged took the page of its trace along.
#[test]
fn what_is_damaged_is_told_of_among_the_others() {
    let site = Site::new();
    let trace = || Id::new("t").unwrap();
    site.ledger.append(Run::new("r", "t", Status::Success).unwrap().trace_id(trace())).unwrap();
    let event = Event::new("intact").run_id(Id::new("r").unwrap()).trace_id(trace());
    site.ledger.append(event).unwrap();
    let browser = site.browser_of_admin();
    // The index knows the run before it is damaged.
    browser.page("/traces/t");
    for entry in std::fs::read_dir(site.folder.path().join("ledger/streams/runs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100..].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&path, bytes).unwrap();
    }
    let page = browser.page("/traces/t");
    assert!(page.contains(">intact<") && page.contains("1 of these records cannot be read"));
}

#[test]
fn an_empty_ledger_has_pages_too() {
    let site = Site::new();
    let browser = site.browser_of_admin();
    for path in ["/", "/errors", "/overview", "/tail", "/segments", "/?status=failed"] {
        browser.page(path);
    }
    assert!(browser.page("/").contains("No runs yet"));
    assert!(browser.page("/?type=x").contains("No run matches"));
    for path in ["/runs/none", "/records/1", "/traces/none", "/errors/x", "/find?id=none"] {
        let answer = browser.get(path);
        assert_eq!(answer.status.as_u16(), 404, "{path}");
        check(path, &answer);
    }
    let words = ["/?status=nonsense", "/?no-such-word=1", "/?since=whenever", "/?cursor=x"];
    for path in words.into_iter().chain(["/records/x"]) {
        let answer = browser.get(path);
        assert_eq!(answer.status.as_u16(), 400, "{path}: {}", answer.text());
        check(path, &answer);
    }
}

#[test]
fn who_wants_pages_is_told_by_one_that_there_is_none() {
    let site = Site::new();
    let ask = |accept: &str| {
        let request = Request::builder().uri("/nowhere").header("host", "localhost");
        site.send(request.header("accept", accept).body(Body::empty()).unwrap())
    };
    let page = ask("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    assert_eq!(page.status.as_u16(), 404);
    check("/nowhere", &page);
    assert_eq!(ask("*/*").problem(404).0, "no-such-route");
}

/// What a record may hold that means something in HTML, in a style, in an address or to a screen.
const HOSTILE: [&str; 6] = [
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'--><svg/onload=alert(1)>",
    "\u{202e}gnp.exe\u{2066}\u{0}\u{1b}[2J",
    "{{ 7*7 }} {% raw %} &lt;b&gt;",
    "javascript:alert(1)//../../..",
];

#[test]
fn nothing_in_a_record_becomes_a_part_of_a_page() {
    let links = Links::default().with("booking", "https://shop.example/b/{id}").unwrap();
    let site = Site::with(|config| config.links = links);
    for (number, text) in HOSTILE.into_iter().enumerate() {
        let id = || Id::new(text.to_owned()).unwrap();
        let json = || Json::parse(serde_json::json!({ text: [text] }).to_string()).unwrap();
        let error = RunError::new(format!("{text}\n{text}")).error_type(text).stack(text);
        let run = Run::new(format!("r{number}{text}"), text, Status::Failed).unwrap();
        let run = run.trace_id(id()).project_id(id()).user_id(id()).parent_run_id(id());
        let subject = Subject::new("booking", text).unwrap();
        let run = run.error(error).metadata(json()).result(json()).subject(subject);
        let run_id = run.run_id.clone().into_owned();
        site.ledger.append(run).unwrap();
        let event = Event::new(text).message(text).payload(json()).run_id(run_id.clone());
        site.ledger.append(event.actor_id(id()).trace_id(id())).unwrap();
        let error = ErrorRecord::new(text, text).stack(text).detail(json()).endpoint(text);
        site.ledger.append(error.run_id(run_id.clone()).trace_id(id())).unwrap();
        let browser = site.browser_of_admin();
        let encoded = |text: &str| {
            form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
        };
        let seq = number * 3 + 1;
        for path in [
            "/".to_owned(),
            "/errors".to_owned(),
            "/overview".to_owned(),
            "/tail".to_owned(),
            format!("/runs/{}", encoded(&run_id.to_string())),
            format!("/traces/{}", encoded(text)),
            format!("/records/{seq}"),
            format!("/records/{}", seq + 1),
            format!("/records/{}", seq + 2),
            format!("/?text={}&type={0}&project={0}&user={0}", encoded(text)),
            format!("/errors?text={}", encoded(text)),
        ] {
            let html = browser.page(&path);
            let harmful = ['\u{202e}', '\u{2066}', '\u{0}', '\u{1b}'];
            // What one has typed oneself stands in its field again.
            assert!(path.contains('?') || !html.contains(harmful), "{path}");
            for tag in ["<script>", "<img", "<svg/"] {
                assert!(!html.contains(tag), "{path} has {tag}");
            }
        }
        let stream = browser.get("/tail/stream?after=0&form=row");
        assert!(!stream.text().contains("<script>"), "{}", stream.text());
    }
}

#[test]
fn a_megabyte_in_one_field_is_folded_and_cut() {
    let site = Site::new();
    let text = "x<".repeat(512 << 10);
    let error = RunError::new(text.clone()).stack(text.clone());
    let run = Run::new("r", "t", Status::Failed).unwrap().error(error);
    site.ledger.append(run).unwrap();
    let json = Json::parse(serde_json::json!({ "long": text }).to_string()).unwrap();
    site.ledger.append(Event::new("e").payload(json).run_id(Id::new("r").unwrap())).unwrap();
    let browser = site.browser_of_admin();
    assert!(browser.page("/").len() < 64 << 10);
    for path in ["/runs/r", "/records/2"] {
        let html = browser.page(path);
        assert!(html.len() < 100 << 10, "{path}: {}", html.len());
        assert!(html.contains("more: see the raw record"), "{path}");
    }
    assert!(browser.get("/records/2/raw").body.len() > 1 << 20);
}

#[test]
fn preferences_are_kept_and_used() {
    let site = Site::new();
    story(&site);
    let browser = site.browser_of("ann");
    let word = browser.word("/");
    let chosen = browser.send(
        "/preferences",
        &format!("form={word}&back=%2Foverview&theme=dark&zone=Asia%2FKathmandu"),
        &[],
    );
    assert_eq!((chosen.status.as_u16(), chosen.header("location")), (303, "/overview"));
    let cookies: Vec<_> =
        chosen.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    let html = browser.with("runledger_theme=dark; runledger_zone=Asia/Kathmandu").page("/");
    assert!(html.contains("<html lang=\"en\" data-theme=\"dark\">"));
    assert!(html.contains("Times in Asia/Kathmandu") && html.contains("15:45:00"), "{html}");
    let narrow = site.browser_of("ann").with("runledger_hidden=by.error").page("/");
    assert!(narrow.contains("no-by no-error"));
    let odd =
        site.browser_of("ann").with("runledger_theme=\"><x; runledger_zone=../../etc").page("/");
    assert!(odd.contains("Times in UTC"));
}

#[test]
fn a_list_goes_on_where_it_ended() {
    let site = Site::new();
    for number in 0..120 {
        site.ledger
            .append(Run::new(format!("r{number:03}"), "t", Status::Success).unwrap())
            .unwrap();
    }
    let browser = site.browser_of_admin();
    let (mut path, mut seen) = ("/".to_owned(), Vec::new());
    loop {
        let html = browser.page(&path);
        let ids = html.split("data-run=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        seen.extend(ids.map(str::to_owned));
        let Some((before, _)) = html.split_once("\">Older") else { break };
        path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
    }
    let expected: Vec<_> = (0..120).rev().map(|number| format!("/runs/r{number:03}")).collect();
    assert_eq!(seen, expected);
}

/// The row of a run takes the place of the one that it had: that of another run went whose id began
/// with the same 60 characters.
#[test]
fn a_row_knows_its_run_by_the_whole_id() {
    let site = Site::new();
    for (number, status) in [(1, Status::Running), (2, Status::Running), (1, Status::Success)] {
        let run = Run::new(format!("{}{number}", "r".repeat(60)), "t", status).unwrap();
        site.ledger.append(run).unwrap();
    }
    let browser = site.browser_of_admin();
    let runs = |html: &str| -> Vec<_> {
        let ids = html.split("data-run=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        ids.map(str::to_owned).collect()
    };
    let came = runs(&browser.get("/tail/stream?after=0&form=row").text());
    assert_ne!(came[0], came[1]);
    assert_eq!(came[0], came[2]);
    assert_eq!(runs(&browser.page("/")), [came[1].as_str(), &came[0]]);
}
