//! The paths of the systems that this one replaces.

use serde_json::{Value, json};

use super::Site;

#[test]
fn the_ledger_of_automations() {
    let site = Site::new();
    let ann = site.user("ann");
    for (id, name, status) in [("a", "reminder", "success"), ("b", "sync", "failed")] {
        let line = format!(
            r#"{{"run_id":"{id}","type":"{name}","status":"{status}","subject":"booking:B-1",
                "message":"no","metadata":{{"n": 1.50}}}}"#
        );
        ann.post("/v1/runs", &line).expect(201);
    }
    let all = ann.get("/api/automations/ledger?status=&automationType=&limit=&offset=").expect(200);
    assert_eq!((&all["total"], &all["limit"], &all["offset"]), (&json!(2), &json!(100), &json!(0)));
    let newest = &all["items"][0];
    assert_eq!(newest["id"], "b");
    assert_eq!(newest["automationType"], "sync");
    assert_eq!(newest["errorMessage"], "no");
    assert_eq!(newest["metadata"], json!({"n": 1.5}));
    assert_eq!(newest["booking"], json!({"kind": "booking", "id": "B-1"}));
    let failed = ann.get("/api/automations/ledger?status=failed&status=skipped").expect(200);
    assert_eq!((failed["total"].as_u64(), &failed["items"][0]["id"]), (Some(1), &json!("b")));
    let page = ann.get("/api/automations/ledger?automationType=reminder&limit=1").expect(200);
    assert_eq!(page["items"][0]["id"], "a");
    let beyond = ann.get("/api/automations/ledger?limit=1&offset=5").expect(200);
    assert_eq!((beyond["total"].as_u64(), &beyond["items"]), (Some(2), &json!([])));
}

#[test]
fn the_log_of_workflow_executions() {
    let site = Site::new();
    let ann = site.user("ann");
    let start = r#"{"type":"wf-1","metadata":{"in":1}}"#;
    ann.post("/v1/runs/x/start", start).expect(201);
    let end = r#"{"status":"failed","message":"no","stack":"at f","result":{"out":2}}"#;
    ann.post("/v1/runs/x/finish", end).expect(201);
    ann.post("/v1/runs/y/start", start).expect(201);
    let list = ann.get("/workflows/wf-1/logs?status=failed&limit=10&offset=0").expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["id"], "x");
    assert_eq!(list["items"][0].get("stack"), None);
    assert_eq!(ann.get("/workflows/wf-1/logs/count").expect(200), json!({"count": 2}));
    let count = ann.get("/workflows/wf-1/logs/count?status=running").expect(200);
    assert_eq!(count, json!({"count": 1}));
    assert_eq!(ann.get("/workflows/wf-2/logs/count").expect(200), json!({"count": 0}));
    let log = ann.get("/logs/x").expect(200);
    for (key, value) in [
        ("workflow_id", json!("wf-1")),
        ("payload", json!({"in": 1})),
        ("result", json!({"out": 2})),
        ("error", json!("no")),
        ("stack", json!("at f")),
    ] {
        assert_eq!(log[key], value, "{key}");
    }
    assert!(log["duration_ms"].as_f64().is_some_and(|millis| millis >= 0.0));
    assert_eq!(ann.get("/logs/none").problem(404).0, "not-found");
}

#[test]
fn the_tables_of_events_and_errors() {
    let site = Site::new();
    let ann = site.bearer(site.token(
        "ann",
        &[runledger::server::Scope::Read, runledger::server::Scope::Write],
        &["p"],
    ));
    let event = r#"{"eventType":"mail.sent","payload":{"to": "x"},"runId":"r","actorType":"user",
        "actorId":"7","createdAt":"2026-11-01T00:00:00Z"}"#;
    let id = ann.post("/api/events", event).expect(201)["id"].clone();
    ann.post("/api/events", r#"{"event_type":"other","run_id":"q"}"#).expect(201);
    let found = ann.get("/api/events?runId=r").expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    let row = &found["items"][0];
    for (key, value) in [
        ("id", id),
        ("eventType", json!("mail.sent")),
        ("payload", json!({"to": "x"})),
        ("actorType", json!("user")),
        ("userId", json!("ann")),
        ("createdAt", json!("2026-11-01T00:00:00Z")),
        ("projectId", Value::Null),
    ] {
        assert_eq!(row[key], value, "{key}");
    }

    let error = r#"{"traceId":"t","errorType":"IoError","message":"no","stack":"at f",
        "detail":{"k":1},"endpoint":"/x","severity":"critical"}"#;
    ann.post("/api/errors", error).expect(201);
    let old = r#"{"errorType":"E","message":"old","projectId":"p",
        "createdAt":"2020-01-01T00:00:00Z"}"#;
    ann.post("/api/errors", old).expect(201);
    let found = ann.get("/api/errors?traceId=t").expect(200);
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    assert_eq!(found["items"][0]["severity"], "critical");
    let count = |path: &str| ann.get(path).expect(200)["items"].as_array().unwrap().len();
    assert_eq!(count("/api/errors?projectId=p&since=2019-01-01T00:00:00Z"), 1);
    assert_eq!(count("/api/errors?projectId=p&since=2026-01-01T00:00:00Z"), 0);

    for (body, field) in [
        (r#"{"errorType":"E","message":"m","severity":"bad"}"#, "severity"),
        (r#"{"errorType":"E","message":"m","createdAt":"now"}"#, "createdAt"),
        (r#"{"errorType":"E","message":"m","runId":""}"#, "runId"),
    ] {
        assert_eq!(ann.post("/api/errors", body).problem(400).1, field, "{body}");
    }
    let unknown = ann.post("/api/errors", r#"{"errorType":"E","message":"m","x":1}"#);
    assert!(unknown.text().contains("unknown field `x`"), "{}", unknown.text());
}
