//! Many lines at a time, and everything out again.

use axum::body::Body;
use axum::http::Method;
use runledger::{Event, Kind};
use serde_json::{Value, json};

use super::{Answer, Site};

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_line_has_its_own_result() {
    let site = Site::new();
    let ann = site.user("ann");
    let body = [
        r#"{"kind":"run","type":"backup","run_id":"r","status":"running"}"#,
        r#"{"kind":"event","type":"x","run_id":"r","payload":{"n": 1.50}}"#,
        "",
        r#"{"kind":"event","typ":"x"}"#,
        "no json",
        r#"{"type":"x"}"#,
        r#"{"kind":"event","type":"x","user_id":"bob"}"#,
        "{\"kind\":\"error\",\"type\":\"x\",\"message\":\"m\"}\r",
        r#"{"kind":"run","type":"backup","run_id":"r","status":"success"}"#,
        r#"{"kind":"run","type":"backup","run_id":"r","status":"failed"}"#,
    ];
    let results = lines(&ann.post("/v1/bulk?durability=sync", &body.join("\n")));
    // There is no such word here.
    assert!(results.iter().all(|it| !it.to_string().contains("lenient")));
    let told: Vec<_> = results
        .iter()
        .map(|it| {
            let name = it["problem"]["type"].as_str().map(|name| name.rsplit(':').next().unwrap());
            (
                it["line"].as_u64().unwrap(),
                it["seq"].as_u64(),
                name,
                it["problem"]["field"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, Some(1), None, None),
            (2, Some(2), None, None),
            (4, None, Some("invalid-body"), Some("typ")),
            (5, None, Some("invalid-body"), None),
            (6, None, Some("invalid-body"), Some("kind")),
            (7, None, Some("not-yours"), Some("user_id")),
            (8, Some(3), None, None),
            (9, Some(4), None, None),
            (10, None, Some("run-transition"), Some("status")),
        ]
    );
    assert_eq!(ann.get("/v1/runs/r").expect(200)["status"], "success");
    assert!(ann.get("/v1/events/2").text().contains(r#"{"n": 1.50}"#));
}

/// Lines are cut where they end, wherever the pieces do.
#[test]
fn many_lines_are_taken_in_order() {
    let site = Site::new();
    let ann = site.user("ann");
    let text = "x".repeat(300);
    let body: String = (0..5000)
        .map(|n| format!("{{\"kind\":\"event\",\"type\":\"t{n}\",\"message\":\"{text}\"}}\n"))
        .collect();
    let results = lines(&ann.post("/v1/bulk", &body));
    assert_eq!(results.len(), 5000);
    for (line, result) in (1_u64..).zip(&results) {
        assert_eq!(*result, json!({"line": line, "seq": line}));
    }
    let seventh = ann.get("/v1/events/7").expect(200);
    assert_eq!((&seventh["type"], &seventh["user_id"]), (&json!("t6"), &json!("ann")));
}

#[test]
fn a_bulk_is_bounded_and_says_what_was_done() {
    let site = Site::with(|config| config.max_bulk_bytes = 1 << 20);
    let ann = site.user("ann");
    let line =
        format!("{{\"kind\":\"event\",\"type\":\"x\",\"message\":\"{}\"}}\n", "x".repeat(999));
    // Piece by piece, as it comes over a wire.
    let pieces: Vec<_> =
        (0..2000).map(|_| Ok::<_, std::io::Error>(line.clone().into_bytes())).collect();
    let body = Body::from_stream(Pieces(pieces.into_iter()));
    let request =
        ann.request(Method::POST, "/v1/bulk").header("content-type", "application/x-ndjson");
    let refused = site.send(request.body(body).unwrap());
    assert_eq!(refused.problem(413).0, "too-large");
    let kept = site.ledger.query().kind(Kind::Event).count().unwrap();
    assert!(kept > 0 && kept < 2000);
    assert!(
        refused.text().contains(&format!("{kept} records were appended")),
        "{}",
        refused.text()
    );

    let many = ann.post("/v1/bulk", &"\n".repeat(100_001));
    assert_eq!(many.problem(413).0, "too-large");
    let form = ann.request(Method::POST, "/v1/bulk").header("content-type", "application/json");
    assert_eq!(
        site.send(form.body(Body::from("{}")).unwrap()).problem(415).0,
        "unsupported-media-type"
    );
}

struct Pieces(std::vec::IntoIter<std::io::Result<Vec<u8>>>);

impl futures_core::Stream for Pieces {
    type Item = std::io::Result<Vec<u8>>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[test]
fn an_export_holds_every_record_once() {
    let site = Site::new();
    for number in 0..2500 {
        site.ledger.append(Event::new(format!("t{}", number % 3))).unwrap();
    }
    let admin = site.admin();
    let all = lines(&admin.get("/v1/export"));
    let seqs: Vec<_> = all.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=2500).collect::<Vec<_>>());
    assert_eq!(lines(&admin.get("/v1/export?type=t1")).len(), 833);
    assert_eq!(lines(&site.user("ann").get("/v1/export")).len(), 0);
}

#[test]
fn values_that_a_spreadsheet_would_execute_are_text() {
    let site = Site::new();
    let ann = site.user("ann");
    let line = r#"{"type":"=cmd()","message":"+1,\"a\"","payload":{"a":1}}"#;
    ann.post("/v1/events", line).expect(201);
    let csv = ann.get("/v1/export?format=csv&kind=event");
    assert!(csv.header("content-type").starts_with("text/csv"));
    assert!(csv.header("content-disposition").starts_with("attachment"));
    let text = csv.text();
    let (head, row) = text.split_once('\n').unwrap();
    assert!(head.starts_with("seq,ts,severity,type,"), "{head}");
    assert!(row.contains(",'=cmd(),") && row.contains("\"'+1,\"\"a\"\"\""), "{row}");
    for question in ["", "&kind=run&kind=event"] {
        let refused = ann.get(&format!("/v1/export?format=csv{question}"));
        assert_eq!(refused.problem(400).1, "kind");
    }
}
