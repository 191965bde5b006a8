//! What the server notes of itself in the ledger.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::get;
use runledger::server::{Config, Scope};
use runledger::{Kind, Options};
use serde_json::{Value, json};
use torture::disk::{Fault, OpKind, SimDisk};
use tower::ServiceExt;

use super::{Site, runtime};

fn noted(site: &Site, path: &str) -> Vec<Value> {
    site.app.log();
    site.admin().get(path).expect(200)["items"].as_array().unwrap().clone()
}

#[test]
fn each_request_is_an_event_that_admins_see() {
    let site = Site::with(|config| config.access_log = true);
    let ann = site.user("ann");
    let body = r#"{"type":"x","message":"secret words"}"#;
    ann.post("/v1/events", body).expect(201);
    ann.get("/v1/runs/secret-run").problem(404);
    site.stranger().get("/v1/runs?q=secret").problem(401);
    site.stranger().get("/no/such/secret").problem(404);
    let events = noted(&site, "/v1/events?type=http.request&order=oldest");
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let payload = &event["payload"];
            assert!(payload["duration_ms"].as_f64().is_some_and(|took| took >= 0.0), "{event}");
            assert!(!event.to_string().contains("secret") && event["user_id"].is_null(), "{event}");
            (event["message"].clone(), event["severity"].clone(), event["actor_id"].clone())
        })
        .collect();
    let line = |message: &str, severity: &str, who: Value| (json!(message), json!(severity), who);
    assert_eq!(
        told,
        [
            line("POST /v1/events 201", "info", json!("ann")),
            line("GET /v1/runs/{run_id} 404", "warning", json!("ann")),
            line("GET /v1/runs 401", "warning", Value::Null),
            line("GET none 404", "warning", Value::Null),
        ]
    );
    assert!(events[0]["payload"]["sent"].as_u64().is_some_and(|bytes| bytes > 5), "{events:?}");
    // They are nobody's but the operator's.
    let seen = ann.get("/v1/events").expect(200);
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    // Noting is no request: it goes on only with what is asked.
    let count = site.ledger.query().kind(Kind::Event).count().unwrap();
    site.app.log();
    site.app.tidy();
    assert!(site.ledger.query().kind(Kind::Event).count().unwrap() <= count + 2);
}

#[test]
fn a_fault_of_the_server_is_an_error() {
    let site = Site::with(|config| config.access_log = true);
    let broken = get(|| async { panic!("it broke here") as &str });
    let router = site.app.layered(Router::new().route("/broken/{id}", broken));
    let request = Request::builder().method(Method::GET).uri("/broken/7");
    let request = request.body(Body::empty()).unwrap();
    let answer = runtime().block_on(router.oneshot(request)).unwrap();
    assert_eq!(answer.status(), 500);
    let errors = noted(&site, "/v1/errors");
    assert_eq!(errors.len(), 1);
    let error = &errors[0];
    let keys = ["type", "message", "severity", "endpoint"].map(|key| error[key].clone());
    assert_eq!(
        keys,
        ["http.panic", "it broke here", "critical", "GET /broken/{id}"].map(Value::from)
    );
    let events = noted(&site, "/v1/events?type=http.request&severity=error");
    assert_eq!(events.len(), 1);
    let all = site.bearer(site.token("ann", &[Scope::Read], &[]));
    assert_eq!(all.get("/v1/errors").expect(200)["items"], json!([]));
}

#[test]
fn nothing_is_noted_unless_asked_for() {
    let site = Site::new();
    site.user("ann").get("/v1/runs").expect(200);
    assert_eq!(noted(&site, "/v1/events"), Vec::<Value>::new());
}

/// More than can be noted costs no memory, and is told of.
#[test]
fn what_is_too_much_is_counted() {
    let site = Site::with(|config| config.access_log = true);
    let router = site.app.router();
    runtime().block_on(async {
        for _ in 0..(1 << 16) + 3 {
            let request = Request::builder().uri("/livez").body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap();
        }
    });
    site.app.log();
    assert_eq!(site.ledger.query().kind(Kind::Event).count().unwrap(), 1 << 16);
    site.stranger().get("/livez");
    let newest = &noted(&site, "/v1/events?limit=1")[0];
    assert_eq!(newest["payload"]["dropped"], 3);
}

fn actors(site: &Site) -> Vec<(Value, Value)> {
    let events = noted(site, "/v1/events?type=http.request&order=oldest");
    events.iter().map(|event| (event["message"].clone(), event["actor_id"].clone())).collect()
}

/// Who dropped records by way of a page was not told: of none of the pages it was noted who asked.
#[test]
fn who_asks_for_a_page_is_noted() {
    let site = Site::with(|config| config.access_log = true);
    let ann = site.browser(&site.token("ann", &[Scope::Read, Scope::Cleanup], &[]));
    let form = format!("form={}&days=1", ann.word("/segments"));
    assert_eq!(ann.send("/segments", &form, &[]).status.as_u16(), 200);
    let told = actors(&site);
    assert_eq!(
        told,
        [(json!("GET /segments 200"), json!("ann")), (json!("POST /segments 200"), json!("ann"))]
    );
}

/// A request that was sent again with its key was nobody's.
#[test]
fn who_asks_again_is_noted() {
    let site = Site::with(|config| config.access_log = true);
    let ann = site.user("ann");
    for _ in 0..2 {
        let request = ann.request(Method::POST, "/v1/events").header("idempotency-key", "k");
        let request = request.header("content-type", "application/json");
        site.send(request.body(Body::from(r#"{"type":"x"}"#)).unwrap()).expect(201);
    }
    let line = (json!("POST /v1/events 201"), json!("ann"));
    assert_eq!(actors(&site), [line.clone(), line]);
}

/// What a request with a key failed of was not told.
#[test]
fn a_fault_is_told_of_a_request_with_a_key_too() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let change = |config: &mut Config| config.access_log = true;
    let site = Site::over(change, |_| options.open("/ledger").unwrap());
    let ann = site.user("ann");
    disk.set_faults(|op| {
        let is_of_errors = op.path.to_string_lossy().contains("/errors/");
        (op.kind == OpKind::Create && is_of_errors).then_some(Fault::Io)
    });
    for key in ["", "k"] {
        let request =
            ann.request(Method::POST, "/v1/errors").header("content-type", "application/json");
        let request = match key {
            "" => request,
            key => request.header("idempotency-key", key),
        };
        let body = Body::from(r#"{"type":"x","message":"m"}"#);
        assert_eq!(site.send(request.body(body).unwrap()).problem(500).0, "internal");
    }
    disk.clear_hooks();
    let errors = noted(&site, "/v1/errors");
    let told: Vec<_> = errors.iter().map(|error| error["message"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 2);
    assert!(!told[0].is_empty() && told[0] == told[1], "{told:?}");
}

/// One who asked and went away before the answer left no trace, though the request was done.
#[test]
fn a_request_whose_client_goes_away_is_noted() {
    let site = Site::with(|config| config.access_log = true);
    let ann = site.user("ann");
    let body = Body::from_stream(Never);
    let request =
        ann.request(Method::POST, "/v1/events").header("content-type", "application/json");
    let request = request.body(body).unwrap();
    let patience = std::time::Duration::from_millis(1);
    runtime().block_on(async {
        let answer = site.router.clone().oneshot(request);
        assert!(tokio::time::timeout(patience, answer).await.is_err());
    });
    assert_eq!(actors(&site), [(json!("POST /v1/events 499"), json!("ann"))]);
}

/// A body of which nothing comes.
struct Never;

impl futures_core::Stream for Never {
    type Item = std::io::Result<axum::body::Bytes>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}
