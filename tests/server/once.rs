//! Requests that are sent again.

use axum::body::Body;
use axum::http::Method;
use runledger::server::Scope;
use runledger::{Kind, Options};
use torture::disk::{Fault, OpKind, SimDisk};

use super::{Answer, Client, Site};

fn post(client: &Client<'_>, key: &str, path: &str, body: &str) -> Answer {
    let media = match path {
        "/v1/bulk" => "application/x-ndjson",
        _ => "application/json",
    };
    let request = client.request(Method::POST, path).header("content-type", media);
    let request = request.header("idempotency-key", key);
    client.site.send(request.body(Body::from(body.to_owned())).unwrap())
}

#[test]
fn a_request_with_a_key_is_done_once() {
    let site = Site::new();
    let ann = site.user("ann");
    let event = r#"{"type":"x"}"#;
    let first = post(&ann, "k", "/v1/events", event);
    assert_eq!(first.expect(201)["seq"], 1);
    let again = post(&ann, "k", "/v1/events", event);
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("location"), "/v1/events/1");
    assert_eq!(
        (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
        ("", "true")
    );
    assert_eq!(site.ledger.query().count().unwrap(), 1);
    // A key stands for one request.
    for (path, body) in [
        ("/v1/events", r#"{"type":"y"}"#),
        ("/v1/events?durability=sync", event),
        ("/api/events", event),
    ] {
        assert_eq!(post(&ann, "k", path, body).problem(422).0, "key-reused", "{path} {body}");
    }
    assert_eq!(post(&ann, "other", "/v1/events", event).expect(201)["seq"], 2);
    // And it is its user's: another's is another.
    assert_eq!(post(&site.user("bob"), "k", "/v1/events", event).expect(201)["seq"], 3);
    for key in ["", &"x".repeat(256)] {
        assert_eq!(post(&ann, key, "/v1/events", event).problem(400).1, "Idempotency-Key");
    }
}

/// Who is not let in, or may not write, is told the same with a key as without.
#[test]
fn a_key_opens_no_door() {
    let site = Site::new();
    post(&site.user("ann"), "k", "/v1/events", r#"{"type":"x"}"#).expect(201);
    let refused = post(&site.stranger(), "k", "/v1/events", r#"{"type":"x"}"#);
    assert_eq!(refused.problem(401).0, "unauthenticated");
    // The same user with a token that may only read: the answer was for one that may write.
    let reader = site.bearer(site.token("ann", &[Scope::Read], &[]));
    let refused = post(&reader, "k", "/v1/events", r#"{"type":"x"}"#);
    assert_eq!(refused.problem(422).0, "key-reused");
    let refused = post(&reader, "another", "/v1/events", r#"{"type":"x"}"#);
    assert_eq!(refused.problem(403).0, "insufficient-scope");
}

/// What was refused was not done: it may be tried again with the same key.
#[test]
fn a_refusal_is_not_kept() {
    let site = Site::new();
    let ann = site.user("ann");
    let end = r#"{"status":"success"}"#;
    assert_eq!(post(&ann, "k", "/v1/runs/r/finish", end).problem(404).0, "not-found");
    ann.post("/v1/runs/r/start", r#"{"type":"x"}"#).expect(201);
    post(&ann, "k", "/v1/runs/r/finish", end).expect(201);
    post(&ann, "k", "/v1/runs/r/finish", end).expect(201);
}

/// A bulk that failed after a part of it was appended was taken for one that was not done: sent
/// again, that part was appended twice.
#[test]
fn a_refusal_that_came_after_a_part_is_kept() {
    let site = Site::new();
    let ann = site.user("ann");
    let line =
        format!("{{\"kind\":\"event\",\"type\":\"x\",\"message\":\"{}\"}}\n", "x".repeat(999));
    // More lines than one request may have, of which the first are appended before that is seen.
    let body = line.repeat(1000) + &"\n".repeat(100_000);
    let first = post(&ann, "k", "/v1/bulk", &body);
    assert_eq!(first.problem(413).0, "too-large");
    let kept = site.ledger.query().count().unwrap();
    assert!(kept > 0 && kept <= 1000, "{kept}");
    let again = post(&ann, "k", "/v1/bulk", &body);
    assert_eq!(site.ledger.query().count().unwrap(), kept, "appended twice");
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("content-type"), "application/problem+json");
}

/// The records of one kind were written and those of another could not be: the refusal told of
/// none, was not kept, and what had been written was there twice when the bulk was sent again.
#[test]
fn a_bulk_that_was_done_by_half_is_not_done_again() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let site = Site::over(|_| {}, |_| options.open("/ledger").unwrap());
    let ann = site.user("ann");
    let body = concat!(
        r#"{"kind":"event","type":"x"}"#,
        "\n",
        r#"{"kind":"error","type":"x","message":"m"}"#,
        "\n"
    );
    assert_eq!(post(&ann, "before", "/v1/bulk", body).status, 200);
    disk.set_faults(|op| {
        let is_of_errors = op.path.to_string_lossy().contains("/errors/");
        (op.kind == OpKind::Write && is_of_errors).then_some(Fault::Io)
    });
    let first = post(&ann, "k", "/v1/bulk", body);
    disk.clear_hooks();
    let again = post(&ann, "k", "/v1/bulk", body);
    assert_eq!(site.ledger.query().kind(Kind::Event).count().unwrap(), 2, "{}", again.text());
    assert_eq!(first.problem(500).0, "internal");
    assert!(first.text().contains("some may have been"), "{}", first.text());
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
}

/// So it was with telemetry, whose refusal told that some of it may be there.
#[test]
fn telemetry_that_was_done_by_half_is_not_done_again() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let site = Site::over(|_| {}, |_| options.open("/ledger").unwrap());
    let ann = site.user("ann");
    let logs = r#"[{"timeUnixNano":1},{"severityNumber":17,"body":{"stringValue":"m"}}]"#;
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":{logs}}}]}}]}}"#);
    post(&ann, "before", "/v1/logs", &body).expect(200);
    disk.set_faults(|op| {
        let is_of_errors = op.path.to_string_lossy().contains("/errors/");
        (op.kind == OpKind::Write && is_of_errors).then_some(Fault::Io)
    });
    let first = post(&ann, "k", "/v1/logs", &body);
    disk.clear_hooks();
    let again = post(&ann, "k", "/v1/logs", &body);
    assert_eq!(site.ledger.query().kind(Kind::Event).count().unwrap(), 2, "{}", again.text());
    assert_eq!(first.problem(500).0, "internal");
    assert!(first.text().contains("may have been appended"), "{}", first.text());
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
}

/// One of which nothing could be written, as where no more files may be open, was taken for one
/// that was done by half: it was answered so for a day, whatever became of the disk.
#[test]
fn a_bulk_of_which_nothing_was_written_may_be_sent_again() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let site = Site::over(|_| {}, |_| options.open("/ledger").unwrap());
    let ann = site.user("ann");
    let body = concat!(
        r#"{"kind":"event","type":"x"}"#,
        "\n",
        r#"{"kind":"error","type":"x","message":"m"}"#,
        "\n"
    );
    disk.set_faults(|op| {
        let is_of_errors = op.path.to_string_lossy().contains("/errors/");
        (op.kind == OpKind::Create && is_of_errors).then_some(Fault::Io)
    });
    let first = post(&ann, "k", "/v1/bulk", body);
    disk.clear_hooks();
    assert_eq!(first.problem(500).0, "internal");
    assert!(!first.text().contains("some may have been"), "{}", first.text());
    let again = post(&ann, "k", "/v1/bulk", body);
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(site.ledger.query().count().unwrap(), 2);
}

/// Of many that are sent at a time, one is done.
#[test]
fn a_race_is_done_once() {
    let site = Site::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let answer = post(&site.user("ann"), "k", "/v1/events", r#"{"type":"x"}"#);
                assert!([201, 409].contains(&answer.status.as_u16()), "{}", answer.text());
            });
        }
    });
    assert_eq!(site.ledger.query().count().unwrap(), 1);
}

/// What was answered again was not counted among what its user may ask.
#[test]
fn a_request_that_is_sent_again_is_counted() {
    let site = Site::with(|config| config.rates.per_user = 1);
    let ann = site.user("ann");
    let codes: Vec<_> =
        (0..20).map(|_| post(&ann, "k", "/v1/events", r#"{"type":"x"}"#).status.as_u16()).collect();
    assert!(codes.starts_with(&[201, 201]) && codes.contains(&429), "{codes:?}");
    assert_eq!(site.ledger.query().count().unwrap(), 1);
}
