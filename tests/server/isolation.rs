//! Route by route, one user learns nothing of another. The routes are those of the document, so
//! that one which is new and cannot be tried here fails.

use axum::http::Method;
use runledger::server::Scope;
use serde_json::{Map, Value};

use super::{Answer, Site};

/// An operation of the document.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The scope that it needs; `None` when it needs no token.
    pub(crate) scope: Option<String>,
}

/// All operations that the document names.
pub(crate) fn operations(site: &Site) -> Vec<Operation> {
    let document = site.stranger().get("/openapi.json").expect(200);
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse() else { continue };
            let scope = operation["security"][0]["bearer"][0].as_str().map(str::to_owned);
            operations.push(Operation { method, path: path.clone(), scope });
        }
    }
    assert!(operations.len() >= 20, "only {} operations", operations.len());
    operations
}

/// What stands in the place of a parameter: all of it is ann's.
fn value(path: &str, name: &str) -> String {
    match name {
        "run_id" | "log_id" => "r-1".to_owned(),
        "workflow_id" => "ann-type".to_owned(),
        "trace_id" => "ann-trace".to_owned(),
        "field" => "type".to_owned(),
        "seq" if path.contains("errors") => "3".to_owned(),
        "seq" => "2".to_owned(),
        other => panic!("{path} has a parameter {other:?} that this test knows no value for"),
    }
}

/// The path with ann's values in it.
pub(crate) fn filled(path: &str) -> String {
    let mut filled = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap();
        filled += before;
        filled += &value(path, name);
        rest = after;
    }
    filled + rest
}

/// A body that the route would take from ann.
pub(crate) fn body(path: &str) -> &'static str {
    match path {
        "/v1/runs" => r#"{"run_id":"r-1","type":"x","status":"running"}"#,
        "/v1/events" => r#"{"type":"x"}"#,
        "/v1/errors" => r#"{"type":"x","message":"m"}"#,
        "/v1/runs/{run_id}/start" => r#"{"type":"x"}"#,
        "/v1/runs/{run_id}/finish" => r#"{"status":"success"}"#,
        "/v1/runs/{run_id}/heartbeat" => "{}",
        "/v1/bulk" => r#"{"kind":"run","run_id":"r-1","type":"x","status":"running"}"#,
        // The root of a trace, which is a run.
        "/v1/traces" => {
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x",
                "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}]}]}"#
        }
        "/v1/logs" => "{}",
        "/v1/retention/cleanup" | "/v1/verify" => "",
        "/api/events" => r#"{"eventType":"x"}"#,
        "/api/errors" => r#"{"errorType":"x","message":"m"}"#,
        other => panic!("this test knows no body for {other}"),
    }
}

/// A ledger with a run, an event and an error of ann's.
fn site_of_ann() -> Site {
    let site = Site::new();
    let ann = site.bearer(site.token("ann", &[Scope::Write], &["ann-project"]));
    for (path, own) in [
        ("/v1/runs", r#""run_id":"r-1","status":"failed","subject":"booking:ann-1""#),
        ("/v1/events", r#""run_id":"r-1","payload":{"of":"ann"}"#),
        ("/v1/errors", r#""run_id":"r-1","detail":{"of":"ann"}"#),
    ] {
        let line = format!(
            r#"{{"type":"ann-type","trace_id":"ann-trace","project_id":"ann-project",
                "message":"of ann",{own}}}"#
        );
        ann.post(path, &line).expect(201);
    }
    site
}

/// What a client can tell of an answer, without what differs from one moment to the next.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let headers = answer.headers.iter().map(|(name, value)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let headers = headers.filter(|(name, _)| name != "date").collect();
    // How many numbers were given out in all is no secret: each record's own tells it.
    let lines = answer.text();
    let lines = lines.lines().filter(|line| !line.starts_with("id: ")).collect::<Vec<_>>();
    (answer.status.as_u16(), headers, lines.join("\n"))
}

#[test]
fn reading_tells_no_more_than_an_empty_ledger_does() {
    let (full, empty) = (site_of_ann(), Site::new());
    let mut tried = 0;
    for operation in operations(&full) {
        // What the others tell is of segments.
        if operation.method != Method::GET || operation.scope.as_deref() != Some("read") {
            continue;
        }
        let path = filled(&operation.path);
        // What ann has is found, or the comparison would show nothing.
        let by_ann = full.user("ann").get(&path);
        assert_eq!(by_ann.status, 200, "{path}: {}", by_ann.text());
        for projects in [&[][..], &["bob-project"]] {
            let bob = |site: &Site| {
                let every = [Scope::Read, Scope::Write, Scope::Cleanup];
                site.bearer(site.token("bob", &every, projects)).get(&path)
            };
            let (of_full, of_empty) = (bob(&full), bob(&empty));
            assert_eq!(told(&of_full), told(&of_empty), "{path} tells bob of ann's records");
        }
        tried += 1;
    }
    assert!(tried >= 12, "only {tried} routes were tried");
}

#[test]
fn writing_touches_nothing_of_another() {
    let site = site_of_ann();
    let state = || -> Vec<Map<String, Value>> {
        let admin = site.admin();
        ["/v1/runs/r-1", "/v1/events/2", "/v1/errors/3"]
            .map(|path| admin.get(path).expect(200).as_object().unwrap().clone())
            .into()
    };
    let before = state();
    let mut tried = 0;
    for operation in operations(&site) {
        let Operation { method, path, scope } = &operation;
        if *method == Method::GET || scope.as_deref() != Some("write") {
            continue;
        }
        let answer = site.user("bob").ask(method, &filled(path), Some(body(path)));
        let names_the_run = path.contains("{run_id}") || path == "/v1/runs";
        let expected = if names_the_run { 404 } else { 201 };
        if ["/v1/traces", "/v1/logs"].contains(&&**path) {
            // A run by the trace's id is another run; the tests of the export try ann's.
            assert_eq!(answer.expect(200), serde_json::json!({}), "{path}");
        } else if path == "/v1/bulk" {
            assert!(answer.text().contains("problem:not-found"), "{}", answer.text());
        } else {
            assert_eq!(answer.status.as_u16(), expected, "{method} {path}: {}", answer.text());
        }
        tried += 1;
    }
    assert!(tried >= 8, "only {tried} routes were tried");
    assert_eq!(state(), before);
}

/// Every route that needs a token refuses one that has none, and each scope is really asked for.
#[test]
fn every_route_asks_for_its_scope() {
    let site = site_of_ann();
    let open = ["/livez", "/readyz", "/openapi.json"];
    for Operation { method, path, scope } in operations(&site) {
        let Some(scope) = scope else {
            assert!(open.contains(&&*path), "{path} needs no token");
            continue;
        };
        let json = (method == Method::POST).then(|| body(&path));
        let stranger = site.stranger().ask(&method, &filled(&path), json);
        assert_eq!(stranger.problem(401).0, "unauthenticated", "{method} {path}");
        assert_eq!(stranger.header("www-authenticate"), "Bearer");
        let others: Vec<_> = Scope::ALL
            .iter()
            .copied()
            .filter(|other| *other != Scope::Admin && other.name() != scope)
            .collect();
        let other = site.bearer(site.token("ann", &others, &[]));
        let refused = other.ask(&method, &filled(&path), json);
        assert_eq!(refused.problem(403).0, "insufficient-scope", "{method} {path}");
    }
}
