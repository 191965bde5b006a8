//! Groups, traces, values, counts.

use serde_json::json;

use super::Site;

#[test]
fn records_are_grouped_counted_and_traced() {
    let site = Site::new();
    let ann = site.user("ann");
    ann.post("/v1/runs", r#"{"type":"b","run_id":"r","status":"failed","trace_id":"t"}"#)
        .expect(201);
    for number in 0..5 {
        let line = format!(
            r#"{{"type":"Timeout","message":"no answer after {number} s","run_id":"r",
                "trace_id":"t"}}"#
        );
        ann.post("/v1/errors", &line).expect(201);
    }
    ann.post("/v1/errors", r#"{"type":"IoError","message":"no","severity":"critical"}"#)
        .expect(201);
    ann.post("/v1/events", r#"{"type":"x"}"#).expect(201);

    let groups = ann.get("/v1/groups").expect(200);
    assert_eq!(groups["items"].as_array().unwrap().len(), 2);
    let first = &groups["items"][0];
    assert_eq!((&first["count"], &first["runs"]), (&json!(5), &json!(1)));
    assert_eq!(first["newest"]["message"], "no answer after 4 s");
    let same = first["fingerprint"].as_str().unwrap();
    let alike = ann.get(&format!("/v1/errors?fingerprint={same}")).expect(200);
    assert_eq!(alike["items"].as_array().unwrap().len(), 5);
    assert_eq!(ann.get("/v1/groups?limit=1").expect(200)["items"].as_array().unwrap().len(), 1);

    let trace = ann.get("/v1/traces/t?limit=2").expect(200);
    assert_eq!(trace["items"][0]["kind"], "run");
    let rest = ann.get(&format!("/v1/traces/t?cursor={}", trace["next"].as_str().unwrap()));
    assert_eq!(rest.expect(200)["items"].as_array().unwrap().len(), 4);
    assert_eq!(ann.get("/v1/traces/none").problem(404).0, "not-found");

    let types = ann.get("/v1/values/type?kind=error").expect(200);
    assert_eq!(types["items"][0], json!({"value": "Timeout", "count": 5}));
    assert_eq!(ann.get("/v1/values/severity?kind=error").expect(200)["items"][1]["count"], 1);
    let field = ann.get("/v1/values/nonsense");
    assert_eq!(field.problem(400).0, "bad-request");
    assert_eq!(ann.get("/v1/count?kind=error&severity=critical").expect(200), json!({"count": 1}));
    assert_eq!(ann.get("/v1/count").expect(200), json!({"count": 8}));
    let stats = ann.get("/v1/stats").expect(200);
    assert_eq!(
        (&stats["runs"], &stats["events"], &stats["errors"]),
        (&json!(1), &json!(1), &json!(6))
    );
    assert_eq!(stats["runs_by_status"], json!([{"value": "failed", "count": 1}]));
    let later = ann.get("/v1/stats?since=2200-01-01T00:00:00Z").expect(200);
    assert_eq!(later["errors"], 0);
}
