//! A record that cannot be read takes no other with it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use runledger::{Error, ErrorRecord, Event, Field, Id, Run, Status};
use serde_json::{Value, json};

use super::Site;

/// The first bytes of a frame, and the length of its header.
const FRAME: (&[u8], usize) = (b"\xf7RLf", 40);

/// Runs 1 to 3, events 4 to 6 and errors 7 to 9, of which the second is damaged each time.
fn site() -> Site {
    let site = Site::new();
    let names = ["one", "two", "three"];
    let id = |name: &'static str| Id::new(name).unwrap();
    for name in names {
        site.ledger.append(Run::new(name, "job", Status::Failed).unwrap()).unwrap();
    }
    for name in names {
        site.ledger.append(Event::new("step").run_id(id(name)).trace_id(id(name))).unwrap();
    }
    for name in names {
        site.ledger.append(ErrorRecord::new(name, "no")).unwrap();
    }
    // The index knows them before they are damaged.
    assert_eq!(site.ledger.query().count().unwrap(), 9);
    for stream in ["runs", "events", "errors"] {
        damage(&site, stream);
    }
    site
}

/// Damages the second record of a stream, which the index knows.
fn damage(site: &Site, stream: &str) {
    let folder = site.folder.path().join("ledger/streams").join(stream);
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    let (magic, header) = FRAME;
    let second = memchr::memmem::find_iter(&bytes, magic).nth(1).unwrap();
    let damaged: Vec<_> = bytes[second..second + header].iter().map(|it| !it).collect();
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&damaged, second as u64).unwrap();
}

/// Each of these lists was refused for as long as such a record was on its page.
#[test]
fn the_older_lists_leave_it_out_and_say_so() {
    let site = site();
    for (path, key, kept) in [
        ("/api/automations/ledger", "id", json!(["three", "one"])),
        ("/workflows/job/logs", "id", json!(["three", "one"])),
        ("/api/events", "runId", json!(["three", "one"])),
        ("/api/errors", "errorType", json!(["three", "one"])),
    ] {
        let page = site.admin().get(path).expect(200);
        let of = |item: &Value| item[key].clone();
        let items = page["items"].as_array().unwrap().iter().map(of).collect::<Value>();
        assert_eq!((items, &page["damaged"]), (kept, &json!(1)), "{path}");
        // It has its place among those that an offset passes over.
        let last = site.admin().get(&format!("{path}?limit=1&offset=2")).expect(200);
        assert_eq!((&last["items"][0][key], &last["damaged"]), (&json!("one"), &Value::Null));
    }
}

/// The export was refused, or broke off, and there was no way to what came after.
#[test]
fn an_export_has_its_number_in_its_place() {
    let site = site();
    let text = site.admin().get("/v1/export").text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().map(|line| line["seq"].as_u64().unwrap()).eq(1..=9), "{text}");
    for line in lines {
        let seq = line["seq"].as_u64().unwrap();
        match [2, 5, 8].contains(&seq) {
            true => assert_eq!(line, json!({"seq": seq, "damaged": true})),
            false => assert!(line["type"].is_string(), "{line}"),
        }
    }
    let csv = site.admin().get("/v1/export?format=csv&kind=event").text();
    let rows: Vec<_> = csv.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows[0].starts_with("4,") && rows[2].starts_with("6,"), "{csv}");
    assert_eq!(rows[1], "5,,,,,,,,,,,", "{csv}");
}

/// With a text to look for, an export and a list ended there for good, though neither does without
/// one. What is damaged might hold it, and is told of.
#[test]
fn a_search_goes_on_behind_it() {
    let site = site();
    let page = site.admin().get("/v1/errors?text=no").expect(200);
    let types: Vec<_> = page["items"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    let (three, one) = (json!("three"), json!("one"));
    assert_eq!((types, &page["damaged"]), (vec![&three, &one], &json!(1)));
    let text = site.admin().get("/v1/export?text=no").text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |line: &Value| (line["seq"].as_u64().unwrap(), line.get("damaged").is_some());
    let told: Vec<_> = lines.iter().map(told).collect();
    assert_eq!(told, [(2, true), (5, true), (7, false), (8, true), (9, false)]);
}

/// The values of a field were refused, and with them the overview and a report, where all records
/// of one value were damaged: its name is in them alone. Who counts is told so, as the sum would be
/// short without a word.
#[test]
fn a_value_without_a_name_is_passed_over() {
    let site = site();
    let runs = site.admin().get("/v1/values/run").expect(200);
    let of = |value: &str, count: u64| json!({"value": value, "count": count});
    assert_eq!(runs["items"], json!([of("one", 2), of("three", 2)]));
    let counted = site.ledger.query().count_by(Field::Trace);
    assert!(matches!(counted, Err(Error::Damaged { .. })), "{counted:?}");
    let traces = site.ledger.query().or_damaged().count_by(Field::Trace).unwrap();
    assert_eq!(traces, [("one".to_owned(), 1), ("three".to_owned(), 1)]);
}

/// All groups of errors were refused, and the page with them, where the newest of one, or the
/// oldest, could not be read.
#[test]
fn groups_of_errors_are_shown_with_one_that_can_be_read() {
    let alike = Site::new();
    for _ in 0..2 {
        alike.ledger.append(ErrorRecord::new("E", "no")).unwrap();
    }
    assert_eq!(alike.ledger.query().count().unwrap(), 2);
    damage(&alike, "errors");
    let site = site();
    let of = |site: &Site, words: &str| {
        let groups = site.admin().get(&format!("/v1/groups{words}")).expect(200);
        let seen = |item: &Value| [item["newest"]["seq"].clone(), item["count"].clone()];
        groups["items"].as_array().unwrap().iter().map(seen).collect::<Vec<_>>()
    };
    // With a text to look for, what is damaged might hold it.
    for words in ["", "?text=no"] {
        assert_eq!(of(&alike, words), [[1, 2]], "{words}");
        let mut groups = of(&site, words);
        groups.sort_by_key(|group| group[0].as_u64());
        assert_eq!(groups, [[7, 1], [9, 1]], "{words}");
        for (site, count) in [(&alike, 1), (&site, 2)] {
            let page = site.browser_of_admin().page(&format!("/errors{words}"));
            assert_eq!(page.matches("data-label=\"When\"").count(), count, "{words}");
        }
    }
    let group = alike.ledger.query().or_damaged().error_groups().unwrap().remove(0);
    assert!(group.first_seen < group.last_seen, "the index has both");
    let refused = alike.ledger.query().error_groups();
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    alike.browser_of_admin().page(&format!("/errors/{}", group.fingerprint));
}

/// One damaged run was the end of every request with a span of its trace: the server failed.
#[test]
fn telemetry_of_it_takes_no_other_along() {
    let site = Site::new();
    let traces = ["1", "2", "3"].map(|digit| digit.repeat(32));
    let export = |traces: &[String]| {
        let span = |trace| json!({"traceId": trace, "spanId": "1111111111111111", "name": "s"});
        let spans: Vec<_> = traces.iter().map(span).collect();
        let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
        site.user("ann").post("/v1/traces", &body.to_string()).expect(200)
    };
    for trace in &traces[..2] {
        assert_eq!(export(std::slice::from_ref(trace)), json!({}));
    }
    assert_eq!(site.ledger.query().count().unwrap(), 2);
    damage(&site, "runs");
    assert_eq!(export(&traces)["partialSuccess"]["rejectedSpans"], "1");
    assert_eq!(site.user("ann").get(&format!("/v1/runs/{}", traces[2])).status, 200);
}

/// Everyone was told of a record of another that cannot be read, and so of the run with an id.
#[test]
fn one_of_another_is_not_found() {
    let site = site();
    let bob = site.user("bob");
    for path in ["/v1/runs/two", "/v1/runs/two/events", "/logs/two", "/v1/events/5", "/v1/errors/8"]
    {
        assert_eq!(site.admin().get(path).status.as_u16() / 100, 5, "{path}");
        assert_eq!(bob.get(path).problem(404).0, "not-found", "{path}");
    }
    for (path, body) in [
        ("/v1/runs", r#"{"type":"job","run_id":"two","status":"failed"}"#),
        ("/v1/runs/two/start", r#"{"type":"job"}"#),
        ("/v1/runs/two/finish", r#"{"status":"failed"}"#),
    ] {
        assert_eq!(bob.post(path, body).problem(404).0, "not-found", "{path}");
    }
    for seq in [2, 5, 8] {
        let page = format!("/records/{seq}");
        assert_eq!(site.browser_of_admin().get(&page).status.as_u16(), 500, "{page}");
        assert_eq!(site.browser_of("bob").get(&page).status.as_u16(), 404, "{page}");
    }
}
