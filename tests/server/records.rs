//! Runs, events and errors under `/v1`.

use axum::http::Method;
use runledger::{Event, Kind, Severity, Status};
use serde_json::{Value, json};

use super::Site;

#[test]
fn a_run_from_its_start_to_its_end() {
    let site = Site::new();
    let ann = site.user("ann");
    let started = ann
        .post("/v1/runs/b%2F1/start", r#"{"type":"backup","trace_id":"t","metadata":{"a": 1.50}}"#);
    assert_eq!(started.expect(201), json!({"seq": 1}));
    assert_eq!(started.header("location"), "/v1/runs/b%2F1");
    ann.post("/v1/runs/b%2F1/heartbeat", r#"{"lease_s":60}"#).expect(201);
    let ended = ann.post(
        "/v1/runs/b%2F1/finish?durability=sync",
        r#"{"status":"failed","message":"disk full","error_type":"IoError","result":[1]}"#,
    );
    ended.expect(201);
    let run = ann.get(started.header("location"));
    assert!(run.text().contains(r#""metadata":{"a": 1.50}"#), "kept as it came: {}", run.text());
    let run = run.expect(200);
    for (key, value) in [
        ("run_id", json!("b/1")),
        ("status", json!("failed")),
        ("user_id", json!("ann")),
        ("trace_id", json!("t")),
        ("message", json!("disk full")),
        ("error_type", json!("IoError")),
        ("result", json!([1])),
    ] {
        assert_eq!(run[key], value, "{key} of {run}");
    }
    assert!(run.get("owner").is_none(), "a run that has ended has no owner: {run}");

    let again = ann.post("/v1/runs/b%2F1/finish", r#"{"status":"success"}"#);
    assert_eq!(again.problem(409), ("run-transition".into(), "status".into()));
    let beat = ann.post("/v1/runs/b%2F1/heartbeat", "{}");
    assert_eq!(beat.problem(409).0, "run-transition");
    for end in ["running", "pending", "abandoned"] {
        let open = ann.post("/v1/runs/b%2F1/finish", &format!(r#"{{"status":"{end}"}}"#));
        assert!(open.status.is_client_error(), "{end}: {}", open.text());
    }
    let missing = ann.post("/v1/runs/none/finish", r#"{"status":"success"}"#);
    assert_eq!(missing.problem(404).0, "not-found");
}

/// A heartbeat without a lease, which is to last for ever, left the lease of the one before: the
/// run was abandoned when that ended, whoever beat after it.
#[test]
fn a_heartbeat_without_a_lease_ends_the_one_before() {
    let site = Site::new();
    let ann = site.user("ann");
    ann.post("/v1/runs/r/start", r#"{"type":"backup","lease_s":60}"#).expect(201);
    assert!(ann.get("/v1/runs/r").expect(200)["owner"]["lease_until"].is_string());
    ann.post("/v1/runs/r/heartbeat", "{}").expect(201);
    let run = ann.get("/v1/runs/r").expect(200);
    assert_eq!(
        (&run["owner"]["host"], &run["owner"]["lease_until"]),
        (&json!("http"), &Value::Null)
    );
}

/// Who had begun an attempt could not say so: it ended, or kept alive, the attempt that another one
/// had begun since.
#[test]
fn what_is_about_an_earlier_attempt_is_refused() {
    let site = Site::new();
    let ann = site.user("ann");
    ann.post("/v1/runs/r/start", r#"{"type":"backup"}"#).expect(201);
    ann.post("/v1/runs/r/heartbeat", r#"{"attempt":1}"#).expect(201);
    ann.post("/v1/runs/r/start", r#"{"type":"backup","attempt":2}"#).expect(201);
    let (beat, end) = (r#"{"attempt":1}"#, r#"{"attempt":1,"status":"success"}"#);
    let later = r#"{"attempt":3,"status":"success"}"#;
    for (path, body) in [("heartbeat", beat), ("finish", end), ("finish", later)] {
        let refused = ann.post(&format!("/v1/runs/r/{path}"), body);
        assert_eq!(refused.problem(409), ("run-transition".into(), "attempt".into()), "{body}");
    }
    assert_eq!(ann.get("/v1/runs/r").expect(200)["status"], "running");
    ann.post("/v1/runs/r/finish", r#"{"attempt":2,"status":"success"}"#).expect(201);
}

#[test]
fn events_and_errors_are_got_by_number_and_by_run() {
    let site = Site::new();
    let ann = site.user("ann");
    ann.post("/v1/runs", r#"{"run_id":"r","type":"backup","status":"running"}"#).expect(201);
    let event = ann.post("/v1/events", r#"{"type":"dumped","run_id":"r","payload":{"n":1}}"#);
    let error = ann.post("/v1/errors", r#"{"type":"IoError","message":"no","run_id":"r"}"#);
    assert_eq!(event.header("location"), "/v1/events/2");
    assert_eq!(ann.get("/v1/events/2").expect(200)["payload"], json!({"n": 1}));
    assert_eq!(ann.get(error.header("location")).expect(200)["severity"], "error");
    // A number of one kind is none of another.
    assert_eq!(ann.get("/v1/errors/2").problem(404).0, "not-found");
    for (path, kind) in [("/v1/runs/r/events", "event"), ("/v1/runs/r/errors", "error")] {
        let page = ann.get(path).expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), 1, "{path}");
        assert_eq!(page["items"][0]["kind"], kind, "{path}");
        assert_eq!(page["next"], Value::Null);
    }
    assert_eq!(ann.get("/v1/runs/none/events").problem(404).0, "not-found");
}

#[test]
fn what_cannot_change_has_a_tag() {
    let site = Site::new();
    let ann = site.user("ann");
    ann.post("/v1/events", r#"{"type":"x"}"#).expect(201);
    let first = ann.get("/v1/events/1");
    assert_eq!(first.header("etag"), "W/\"1\"");
    let asked = |tag: &str| {
        let request = ann.request(Method::GET, "/v1/events/1").header("if-none-match", tag);
        site.send(request.body(axum::body::Body::empty()).unwrap())
    };
    for (tag, status) in
        [("W/\"1\"", 304), ("\"1\"", 304), ("\"7\", W/\"1\"", 304), ("*", 304), ("\"2\"", 200)]
    {
        let answer = asked(tag);
        assert_eq!(answer.status.as_u16(), status, "{tag}");
        assert_eq!(answer.header("etag"), "W/\"1\"");
        assert_eq!(answer.body.is_empty(), status == 304);
    }
}

/// An offset was passed over once more on each page that went on from the one before.
#[test]
fn an_offset_is_passed_over_once() {
    let site = Site::new();
    for _ in 0..6 {
        site.ledger.append(Event::new("x")).unwrap();
    }
    let page = |cursor: &str| {
        let path = format!("/v1/events?offset=1&limit=2{cursor}");
        let page = site.admin().get(&path).expect(200);
        let items = page["items"].as_array().unwrap().iter();
        let seqs: Vec<_> = items.map(|it| it["seq"].as_u64().unwrap()).collect();
        (seqs, page["next"].as_str().unwrap_or_default().to_owned())
    };
    let (first, next) = page("");
    let (second, _) = page(&format!("&cursor={next}"));
    assert_eq!((first, second), (vec![5, 4], vec![3, 2]));
}

/// Several values of one word, in pages by the cursor: all records once, in order.
#[test]
fn lists_are_filtered_and_walked_by_the_cursor() {
    let site = Site::new();
    let ann = site.user("ann");
    for number in 0..20 {
        let status = ["success", "failed", "skipped"][number % 3];
        let line = format!(
            r#"{{"run_id":"r{number}","type":"t{}","status":"{status}",
                "ts":"2026-11-01T00:00:{number:02}Z","subject":"booking:{}"}}"#,
            number % 2,
            number % 5,
        );
        ann.post("/v1/runs", &line).expect(201);
    }
    let ids = |path: &str| -> (Vec<String>, Value) {
        let page = ann.get(path).expect(200);
        let items = page["items"].as_array().unwrap();
        let ids = items.iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect();
        (ids, page["next"].clone())
    };
    let (mut walked, mut path) = (Vec::new(), String::new());
    loop {
        let question = format!("/v1/runs?status=failed&status=skipped&limit=4{path}");
        let (ids, next) = ids(&question);
        walked.extend(ids);
        match next.as_str() {
            Some(cursor) => path = format!("&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<_> =
        (0..20).rev().filter(|number| number % 3 != 0).map(|number| format!("r{number}")).collect();
    assert_eq!(walked, expected);
    assert_eq!(ids("/v1/runs?type=t1&subject=booking%3A3").0, ["r13", "r3"]);
    assert_eq!(ids("/v1/runs?order=oldest&limit=2&offset=1").0, ["r1", "r2"]);
    let window = "/v1/runs?since=2026-11-01T00:00:03Z&until=2026-11-01T00:00:05Z";
    assert_eq!(ids(window).0, ["r4", "r3"]);
    // A word that was left empty asks for nothing.
    assert_eq!(ids("/v1/runs?status=&type=&limit=1").0, ["r19"]);
}

/// The names in the document are those of the model.
#[test]
fn every_status_and_severity_can_be_asked_for() {
    let site = Site::new();
    let ann = site.user("ann");
    for status in Status::ALL {
        ann.get(&format!("/v1/runs?status={status}")).expect(200);
    }
    for severity in Severity::ALL {
        ann.get(&format!("/v1/events?severity={severity}")).expect(200);
        ann.get(&format!("/v1/errors?severity={severity}")).expect(200);
    }
    for kind in Kind::ALL {
        ann.get(&format!("/v1/{kind}s")).expect(200);
    }
}

/// An append is answered when its durability is reached; a sync that fails is no success. What the
/// ledger itself promises is tested there: here, that the level asked for is the one taken.
#[test]
fn each_level_of_durability_is_taken() {
    let site = Site::new();
    let ann = site.user("ann");
    for level in ["sync", "os", "interval"] {
        ann.post(&format!("/v1/events?durability={level}"), r#"{"type":"x"}"#).expect(201);
    }
    let wrong = ann.post("/v1/events?durability=none", r#"{"type":"x"}"#);
    assert_eq!(wrong.problem(400), ("invalid-value".into(), "durability".into()));
    site.app.close().unwrap();
    let closed = ann.post("/v1/events", r#"{"type":"x"}"#);
    assert_eq!(closed.problem(503).0, "unavailable");
    assert_eq!(site.stranger().get("/readyz").problem(503).0, "unavailable");
    assert_eq!(site.stranger().get("/livez").text(), "ok\n");
}
