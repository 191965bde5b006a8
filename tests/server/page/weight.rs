//! What the pages weigh: with style and script 100 KiB at the most, however much there is to show.

use runledger::server::Scope;
use runledger::{
    Body, Durability, ErrorRecord, Event, Id, Json, Run, RunError, Severity, Status, Timestamp,
};

use super::super::Site;
use super::Browser;

const MOST: usize = 100 << 10;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const RUNS: u64 = 2000;

fn id(text: &str) -> Id<'static> {
    Id::new(text.to_owned()).unwrap()
}

fn run_id(number: u64) -> Id<'static> {
    id(&format!("0196f0c2-7b1e-7d31-9c4e-{number:012}"))
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_nanos(1_790_000_000_000_000_000 + i64::try_from(second).unwrap() * 10_000_000)
}

fn put(site: &Site, records: &[Body<'_>]) {
    for some in records.chunks(1000) {
        site.ledger.append_batch(some, Durability::Os).unwrap();
    }
}

/// 2,000 runs that began one another, with 20,000 events and 400 errors in them.
fn large_trace(site: &Site) {
    let mut records: Vec<Body<'_>> = Vec::new();
    for number in 0..RUNS {
        let run = Run::new(
            run_id(number).to_string(),
            "collect measurements of a shard",
            Status::Success,
        );
        let mut run = run.unwrap().trace_id(id(TRACE)).created_at(at(number * 10));
        run.started_at = Some(at(number * 10));
        // The first one lasts until all have ended.
        let end = if number == 0 { RUNS * 10 + 500 } else { number * 10 + 500 };
        run.finished_at = Some(at(end));
        run.metadata = Some(Json::parse(r#"{"shard":17,"region":"eu-west-1"}"#).unwrap());
        records.push(if number == 0 { run } else { run.parent_run_id(run_id(number / 40)) }.into());
        for step in 0..10 {
            let event =
                Event::new("measurement.stored").message("written to the store of shard 17");
            let event = event.run_id(run_id(number)).trace_id(id(TRACE));
            let json = format!(r#"{{"step":{step},"name":"a value","unit":"ms","value":17.25}}"#);
            let event = event.payload(Json::parse(json).unwrap());
            records.push(event.created_at(at(number * 10 + step)).into());
        }
        if number % 5 == 4 {
            let error = ErrorRecord::new("TimeoutError", "no answer from the store after 20 s");
            let error = error.stack("    at Client.send (client.js:81:13)\n".repeat(20));
            let error = error.run_id(run_id(number)).trace_id(id(TRACE));
            records.push(error.created_at(at(number * 10 + 9)).into());
        }
    }
    put(site, &records);
}

/// A run with very many of everything, and long values.
fn large_run(site: &Site) {
    let mut records: Vec<Body<'_>> = Vec::new();
    let json = format!("[{}]", vec![r#"{"name":"<a> & \"b\""}"#; 9000].join(","));
    for attempt in 1..200 {
        let mut run = Run::new("large", "import", Status::Running).unwrap();
        run.attempt = Some(attempt);
        records.push(run.trace_id(id("of-large")).into());
    }
    let error = RunError::new("x<y ".repeat(30_000)).stack("    at a (b.js:1:2)\n".repeat(9000));
    let run = Run::new("large", "import", Status::Failed).unwrap().error(error);
    let run = run.trace_id(id("of-large")).metadata(Json::parse(json).unwrap());
    records.push(run.into());
    put(site, &records);
    let mut records: Vec<Body<'_>> = Vec::new();
    for number in 0..300 {
        let child =
            Run::new(run_id(10_000 + number).to_string(), "part of an import", Status::Failed)
                .unwrap();
        let child = child.error(RunError::new("no answer ".repeat(30)));
        records.push(child.trace_id(id("of-large")).parent_run_id(id("large")).into());
        let event = Event::new("line").run_id(id("large")).trace_id(id("of-large"));
        let value = serde_json::json!({ "text": "<\"&".repeat(2000) });
        records.push(event.payload(Json::parse(value.to_string()).unwrap()).into());
        // Each of another kind, and each kind at many times.
        for time in 0..24 {
            let error = ErrorRecord::new(format!("Error{}", letters(number)), "x ".repeat(300));
            let error = error.severity(Severity::Critical).stack("at a\n".repeat(100));
            records.push(error.run_id(id("large")).created_at(at(time * 360_000)).into());
        }
    }
    put(site, &records);
}

/// A name without digits, which groups do not look at.
fn letters(number: u64) -> String {
    number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

impl Browser<'_> {
    /// The page, after it was weighed with what it loads.
    #[track_caller]
    fn weighed(&self, path: &str) -> String {
        let html = self.page(path);
        let place = |begin: &str| {
            let (_, rest) = html.split_once(begin).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let loaded = [
            place("rel=\"stylesheet\" href=\""),
            place("rel=\"icon\" href=\""),
            place("<script src=\""),
        ];
        let loaded: usize = loaded.iter().map(|path| self.get(path).body.len()).sum();
        println!("{path}: {} with {loaded}", html.len());
        assert!(html.len() + loaded <= MOST, "{path}: {} and {loaded}", html.len());
        html
    }
}

/// Where the link with this text leads.
fn link(html: &str, text: &str) -> Option<String> {
    let (before, _) = html.split_once(&format!("\">{text}"))?;
    Some(before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&"))
}

fn count(html: &str, what: &str) -> usize {
    html.matches(what).count()
}

/// A page of a trace had 500 runs and 300 records, with 4 KiB of each of their values: up to a
/// megabyte.
#[test]
fn a_large_trace_is_light_and_whole() {
    let site = Site::new();
    large_trace(&site);
    let browser = site.browser_of_admin();
    let (mut path, mut runs, mut critical) = (format!("/traces/{TRACE}"), Vec::new(), 0);
    loop {
        let html = browser.weighed(&path);
        let ids = html.split("<tr id=\"run-").skip(1).map(|rest| rest.split('"').next().unwrap());
        runs.extend(ids.map(str::to_owned));
        critical += count(&html, "class=\"critical\"");
        assert!(count(&html, "class=\"tick l-event\"") > 20 && html.contains("tick l-error"));
        assert!(html.contains("of 2,000"));
        let Some(next) = link(&html, "Next runs") else { break };
        path = next;
    }
    assert_eq!(runs.len(), 2000);
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len(), 2000, "each run is on one page");
    assert!(critical > 1, "{critical}");
    let feed = browser.weighed(&format!("/traces/{TRACE}?kind=error"));
    let next = link(&feed, "Later").unwrap();
    assert!(browser.weighed(&next).contains("« First"));
}

/// The page with a run is found by any of its states, and keeps the place in the feed.
#[test]
fn a_run_of_a_large_trace_is_led_to() {
    let site = Site::new();
    large_trace(&site);
    let run = |status| Run::new("late", "late", status).unwrap().created_at(at(90_000));
    let late = |status| run(status).trace_id(id(TRACE)).parent_run_id(run_id(49));
    let old = site.ledger.append(late(Status::Running)).unwrap();
    let new = site.ledger.append(late(Status::Success)).unwrap();
    let browser = site.browser_of_admin();
    for seq in [old, new] {
        let html = browser.weighed(&format!("/traces/{TRACE}?span={seq}"));
        assert!(html.contains(&format!("<tr id=\"run-{seq}\"")), "{html}");
        assert!(html.contains("href=\"/runs/late\""));
    }
    let own = browser.page("/runs/late");
    assert!(own.contains(&format!("/traces/{TRACE}?span={new}#run-{new}")), "{own}");
    let html = browser.page(&format!("/traces/{TRACE}?kind=error&span={new}"));
    let (before, later) = (link(&html, "‹ Runs before").unwrap(), link(&html, "Later").unwrap());
    assert!(before.contains("kind=error&") && before.ends_with("#waterfall"), "{before}");
    assert!(later.contains("kind=error&") && later.contains(&format!("span={new}")), "{later}");
    // What is no run of this trace is on no page of it.
    let other = browser.page(&format!("/traces/{TRACE}?span=2"));
    assert!(other.contains("Runs 1–40 of 2,001"));
}

/// The last error of a page led nowhere, though there were more on the next one.
#[test]
fn the_last_error_of_a_page_leads_to_the_next_one() {
    let site = Site::new();
    large_trace(&site);
    let browser = site.browser_of_admin();
    let mut path = format!("/traces/{TRACE}?kind=error");
    let mut seen = 0;
    loop {
        let html = browser.page(&path);
        let (errors, jumps) = (count(&html, " is-error"), count(&html, "next error ↓"));
        seen += errors;
        // From a later page, too, the first error is the first of all.
        let first = link(&html, "First error").unwrap();
        let is_here = !path.contains("cursor=");
        assert_eq!(first.starts_with("#s"), is_here, "{first}");
        let Some(next) = link(&html, "Later") else {
            assert_eq!(jumps, errors - 1, "the very last one leads nowhere");
            break;
        };
        assert_eq!(jumps, errors, "{path}");
        assert!(html.contains(&format!("class=\"jump\" href=\"{}\"", next.replace('&', "&#38;"))));
        path = next;
    }
    assert_eq!(seen, 400);
    let run = browser.page(&format!("/runs/{}", run_id(4)));
    assert_eq!(count(&run, "next error ↓"), 0, "one error has no next one");
}

#[test]
fn a_large_run_is_light_and_so_is_what_happened_in_it() {
    let site = Site::new();
    large_run(&site);
    let browser = site.browser(&site.token("root", &[Scope::Admin], &[]));
    let html = browser.weighed("/runs/large");
    assert!(html.contains("there were 188 before"), "{html}");
    assert!(html.contains("More may be in the trace"));
    let html = browser.weighed(&link(&html, "Later").unwrap());
    assert!(html.contains("more: see the raw record"));
    for path in ["/traces/of-large", "/records/200", "/", "/tail", "/tail?kind=error", "/errors"] {
        browser.weighed(path);
    }
    let group = browser.page("/errors").split_once("class=\"go\" href=\"").unwrap().1.to_owned();
    browser.weighed(group.split('"').next().unwrap());
}
