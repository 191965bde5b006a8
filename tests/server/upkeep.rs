//! Retention, clean-up and what an operator looks at; limits and numbers.

use std::path::Path;

use axum::http::Method;
use runledger::server::{Rates, Scope};
use runledger::{Kind, Options, Run, Status, Timestamp};
use serde_json::{Value, json};

use super::Site;

/// A ledger with two runs of long ago.
fn site_with_old_runs() -> Site {
    let site = Site::new();
    for (id, time) in [("old", "2020-01-01T00:00:00Z"), ("last", "2020-01-02T00:00:00Z")] {
        let then: Timestamp = time.parse().unwrap();
        let run = Run::new(id, "backup", Status::Failed).unwrap().at(then).created_at(then);
        site.ledger.append(run).unwrap();
    }
    site
}

#[test]
fn old_executions_are_dropped_by_who_may() {
    let site = site_with_old_runs();
    let cleaner = site.bearer(site.token("ops", &[Scope::Cleanup], &[]));
    let clean = |query: &str| cleaner.ask(&Method::DELETE, &format!("/logs/cleanup?{query}"), None);
    let gone = |report: &Value| {
        report["dropped_records"].as_u64().unwrap() + report["left_out_records"].as_u64().unwrap()
    };
    // The last failure of a type stays, however old it is.
    let plan = clean("days=30&status=failed&dry_run=true").expect(200);
    assert_eq!((&plan["dry_run"], gone(&plan)), (&json!(true), 1), "{plan}");
    assert!(plan["segments"][0]["reason"].as_str().unwrap().contains("older"), "{plan}");
    assert_eq!(gone(&clean("days=30&status=success&dry_run=true").expect(200)), 0);
    assert_eq!(gone(&clean("days=99999&dry_run=true").expect(200)), 0);
    site.admin().get("/v1/runs/old").expect(200);
    let refused = clean("status=failed");
    assert_eq!(refused.problem(400), ("invalid-value".into(), "days".into()));
    for query in ["days=-1", "days=x", "days=4294967296", "dry_run=maybe", "day=1"] {
        assert_eq!(clean(query).status, 400, "{query}");
    }
    let by_user = site.user("ann").ask(&Method::DELETE, "/logs/cleanup?days=1", None);
    assert_eq!(by_user.problem(403).0, "insufficient-scope");
    assert_eq!(gone(&clean("days=30&status=failed").expect(200)), 1);
    assert_eq!(site.admin().get("/v1/runs/old").problem(404).0, "not-found");
    site.admin().get("/v1/runs/last").expect(200);
}

/// `dry_run` without a value, as a shell makes it of a variable that is not set, was passed over
/// as if it had not been there: the clean-up was one in earnest, and that of a status without a
/// name was one of every status.
#[test]
fn what_changes_the_ledger_takes_no_word_without_a_value() {
    let site = site_with_old_runs();
    let cleaner = site.bearer(site.token("ops", &[Scope::Cleanup], &[]));
    for (method, path, field) in [
        (Method::POST, "/v1/retention/cleanup?days=30&dry_run", "dry_run"),
        (Method::POST, "/v1/retention/cleanup?days=30&dry_run=", "dry_run"),
        (Method::POST, "/v1/retention/cleanup?days=&dry_run=false", "days"),
        (Method::POST, "/v1/retention/cleanup?days=30&kind=", "kind"),
        (Method::DELETE, "/logs/cleanup?days=30&status=", "status"),
    ] {
        let refused = cleaner.ask(&method, path, None);
        assert_eq!(refused.problem(400), ("invalid-value".into(), field.into()), "{path}");
    }
    site.admin().get("/v1/runs/old").expect(200);
    let refused = site.user("ann").post("/v1/events?durability=", r#"{"type":"x"}"#);
    assert_eq!(refused.problem(400), ("invalid-value".into(), "durability".into()));
}

#[test]
fn the_policy_and_the_segments_are_shown() {
    let site = site_with_old_runs();
    let cleaner = site.bearer(site.token("ops", &[Scope::Cleanup], &[]));
    let policy = cleaner.get("/v1/retention").expect(200);
    let class = |name: &str| -> Value {
        let classes = policy["classes"].as_array().unwrap();
        classes.iter().find(|class| class["class"] == name).unwrap().clone()
    };
    assert_eq!(class("events")["age_seconds"], 30 * 86_400);
    assert_eq!(class("runs")["records"], 2);
    let plan = cleaner.post("/v1/retention/cleanup?kind=run&days=1&dry_run=true", "");
    assert_eq!(plan.expect(200)["segments"].as_array().unwrap().len(), 1);
    let both = cleaner.post("/v1/retention/cleanup?kind=event&days=1&status=failed", "");
    assert_eq!(both.problem(400).1, "kind");

    let segments = site.admin().get("/v1/segments").expect(200);
    assert_eq!(segments["damaged"], false);
    assert!(segments["streams"].as_array().unwrap().iter().any(|it| it["records"] == 2));
    let verified = site.admin().post("/v1/verify", "").expect(200);
    assert_eq!((&verified["damaged"], &verified["findings"]), (&json!(false), &json!([])));
}

/// Of a ledger that was opened with a policy of its own the defaults were shown, which hold there
/// no more.
#[test]
fn the_policy_that_a_service_has_set_is_shown() {
    let open = |folder: &Path| {
        let options = Options::new().max_bytes(Some(1 << 30)).retention(Kind::Event, None);
        options.open(folder.join("ledger")).unwrap()
    };
    let site = Site::over(|_| {}, open);
    let cleaner = site.bearer(site.token("ops", &[Scope::Cleanup], &[]));
    let policy = cleaner.get("/v1/retention").expect(200);
    assert_eq!(policy["max_bytes"], 1 << 30);
    let mut classes = policy["classes"].as_array().unwrap().iter();
    let events = classes.find(|class| class["class"] == "events").unwrap();
    assert_eq!(events["age_seconds"], Value::Null);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let site = Site::with(|config| {
        config.rates = Rates { per_address: 0, per_user: 5, cleanups: 1 };
    });
    let ann = site.user("ann");
    let codes: Vec<_> = (0..30).map(|_| ann.get("/v1/runs").status.as_u16()).collect();
    assert!(codes.iter().filter(|code| **code == 429).count() >= 10, "{codes:?}");
    let refused = (0..100).map(|_| ann.get("/v1/runs")).find(|it| it.status == 429).unwrap();
    assert_eq!(refused.problem(429).0, "rate-limited");
    assert!((1..=2).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    // Others are not kept waiting.
    site.user("bob").get("/v1/runs").expect(200);

    let cleaner = site.bearer(site.token("ops", &[Scope::Cleanup], &[]));
    let path = "/v1/retention/cleanup?dry_run=true";
    let codes: Vec<_> = (0..4).map(|_| cleaner.post(path, "").status.as_u16()).collect();
    assert_eq!(codes, [200, 200, 429, 429]);
}

/// Who watched the policy had cleaned up too often.
#[test]
fn a_look_at_the_policy_is_no_clean_up() {
    let site = Site::with(|config| config.rates.cleanups = 1);
    let cleaner = site.bearer(site.token("ops", &[Scope::Cleanup], &[]));
    let codes: Vec<_> = (0..10).map(|_| cleaner.get("/v1/retention").status.as_u16()).collect();
    assert_eq!(codes, [200; 10]);
    cleaner.post("/v1/retention/cleanup?days=30", "").expect(200);
}

#[test]
fn numbers_are_shown_to_who_may_see_them() {
    let site = Site::new();
    let ann = site.user("ann");
    ann.post("/v1/events", r#"{"type":"x"}"#).expect(201);
    ann.get("/v1/events/1").expect(200);
    ann.get("/v1/events/2").problem(404);
    ann.get("/nowhere/ann");
    assert_eq!(ann.get("/metrics").problem(403).0, "insufficient-scope");
    assert_eq!(site.stranger().get("/metrics").problem(401).0, "unauthenticated");
    let text = site.admin().get("/metrics").text();
    for line in [
        "runledger_records_appended_total 1",
        "runledger_http_requests_total{method=\"GET\",route=\"/v1/events/{seq}\",status=\"200\"} 1",
        "runledger_http_requests_total{method=\"GET\",route=\"/v1/events/{seq}\",status=\"404\"} 1",
        "runledger_http_requests_at_work 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line:?} in\n{text}");
    }
    assert!(!text.contains("nowhere"), "what was asked for is no label:\n{text}");
    let open = Site::with(|config| config.open_metrics = true);
    assert_eq!(open.stranger().get("/metrics").status, 200);
}

#[test]
fn other_origins_are_named_or_left_out() {
    let site = Site::with(|config| config.cors = vec!["https://good.example".to_owned()]);
    let ask = |origin: &str| {
        let request = site.stranger().request(Method::OPTIONS, "/v1/runs").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "authorization");
        site.send(request.body(axum::body::Body::empty()).unwrap())
    };
    let good = ask("https://good.example");
    assert_eq!(good.header("access-control-allow-origin"), "https://good.example");
    assert!(good.header("access-control-allow-headers").contains("authorization"));
    assert!(good.header("access-control-allow-credentials").is_empty());
    for origin in ["https://evil.example", "https://good.example.evil", "null"] {
        assert_eq!(ask(origin).header("access-control-allow-origin"), "", "{origin}");
    }
}

/// What was refused by none of the handlers was kept from pages of an origin that is named.
#[test]
fn a_refusal_is_for_a_named_origin_too() {
    let site = Site::with(|config| config.cors = vec!["https://good.example".to_owned()]);
    let route = axum::routing::get(|| async {
        if true {
            panic!("on purpose")
        }
    });
    let broken = site.app.layered(axum::Router::new().route("/broken", route));
    let whole = site.router.clone();
    for (router, method, path, status) in [
        (&whole, Method::GET, "/v1/runs/r", 404),
        (&whole, Method::GET, "/v1/events/x", 400),
        (&whole, Method::PATCH, "/v1/runs", 405),
        (&whole, Method::GET, "/nowhere", 404),
        (&broken, Method::GET, "/broken", 500),
    ] {
        let request = site.admin().request(method, path).header("origin", "https://good.example");
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer =
            super::runtime().block_on(tower::ServiceExt::oneshot(router.clone(), request)).unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let origin = answer.headers().get("access-control-allow-origin");
        assert!(origin.is_some_and(|it| it == "https://good.example"), "{path}: {answer:?}");
    }
}
