//! The OpenAPI document, and the routes that it speaks of.

use axum::http::Method;
use runledger::{ErrorRecord, Event, Id, Json, Owner, Run, RunError, Status, Subject};
use serde_json::Value;

use super::Site;
use super::isolation::{body, filled, operations};

/// A route that is not there is answered by the fallback, one that is by anything else.
#[test]
fn every_route_of_the_document_is_there() {
    let site = Site::new();
    for operation in operations(&site) {
        let path = filled(&operation.path);
        let json = (operation.method == Method::POST).then(|| body(&operation.path));
        let answer = site.admin().ask(&operation.method, &path, json);
        assert_ne!(answer.status.as_u16(), 405, "{} {path}", operation.method);
        assert!(!answer.text().contains("no-such-route"), "{} {path}", operation.method);
        // And nothing but what the document says.
        let other = site.admin().ask(&Method::PATCH, &path, None);
        assert_eq!(other.problem(405).0, "method-not-allowed", "PATCH {path}");
        assert!(!other.header("allow").is_empty());
    }
}

#[test]
fn the_document_is_whole() {
    let site = Site::new();
    let document = site.stranger().get("/openapi.json").expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut names = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            names.push(operation["operationId"].as_str().unwrap().to_owned());
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for parameter in parameters {
                let place = &parameter["in"];
                let in_path =
                    path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                assert_eq!(place == "path", in_path, "{path}: {parameter}");
                assert!(parameter["description"].is_string(), "{path}: {parameter}");
            }
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two operations have one name");
    let text = document.to_string();
    for (at, _) in text.match_indices("#/components/schemas/") {
        let name = text[at + 21..].split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "no schema {name}");
    }
}

/// Each word of the document is read, and each that is read stands in the document.
#[test]
fn query_words_are_those_of_the_document() {
    let site = Site::new();
    let document = site.stranger().get("/openapi.json").expect(200);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"].is_null() {
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let json = (method == Method::POST).then(|| body(path));
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let mut named: Vec<_> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            let unknown = format!("{}?no-such-word=1", filled(path));
            let refused = site.admin().ask(&method, &unknown, json);
            assert_eq!(refused.problem(400), ("unknown-parameter".into(), "no-such-word".into()));
            let detail = refused.json()["detail"].as_str().unwrap().to_owned();
            let mut read: Vec<_> = match detail.split_once("; this route has ") {
                Some((_, "none")) | None => Vec::new(),
                Some((_, words)) => words.split(", ").map(str::to_owned).collect(),
            };
            if detail.ends_with("none") {
                read.clear();
            }
            named.sort();
            read.sort();
            assert_eq!(named, read, "{method} {path}");
        }
    }
}

/// The shape of a record in the document has every key that a record can have, and no other.
#[test]
fn records_are_as_the_document_says() {
    let site = Site::new();
    let id = || Id::new("i").unwrap();
    let json = || Json::parse("{}").unwrap();
    let run = |status| {
        let run = Run::new("r", "t", status).unwrap().trace_id(id()).project_id(id()).user_id(id());
        let run = run.parent_run_id(id()).subject(Subject::new("k", "i").unwrap());
        run.metadata(json()).result(json())
    };
    let error = RunError::new("m").error_type("e").stack("s");
    let began = run(Status::Running).owner(Owner::new("host")).error(error);
    site.ledger.append(began).unwrap();
    site.ledger.append(Run::new("q", "t", Status::Running).unwrap()).unwrap();
    site.ledger.append(Run::new("q", "t", Status::Success).unwrap()).unwrap();
    let event = Event::new("t").severity(runledger::Severity::Info).actor_id(id()).payload(json());
    site.ledger.append(event.actor_type(runledger::ActorType::User).message("m")).unwrap();
    let error = ErrorRecord::new("t", "m").stack("s").endpoint("/").detail(json());
    site.ledger.append(error).unwrap();

    let document = site.stranger().get("/openapi.json").expect(200);
    let schema = &document["components"]["schemas"]["Record"];
    let known: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    let required: Vec<_> = schema["required"].as_array().unwrap().iter().collect();
    let mut seen = std::collections::BTreeSet::new();
    for path in ["/v1/runs", "/v1/events", "/v1/errors"] {
        for record in site.admin().get(path).expect(200)["items"].as_array().unwrap() {
            let record = record.as_object().unwrap();
            for key in record.keys() {
                assert!(known.contains(&key), "{key} is not in the document");
                seen.insert(key.clone());
            }
            for key in &required {
                assert!(record.contains_key(key.as_str().unwrap()), "{key} is missing");
            }
        }
    }
    // Only merged records have an origin.
    let missing: Vec<_> =
        known.iter().filter(|key| !seen.contains(**key) && **key != "origin").collect();
    assert!(missing.is_empty(), "no record has {missing:?}");
    let statuses: Vec<_> = Status::ALL.iter().map(|it| Value::from(it.name())).collect();
    assert_eq!(document["components"]["schemas"]["Status"]["enum"], Value::from(statuses));
}

/// What a client has already was answered by a status that the document had as a refusal.
#[test]
fn what_is_known_already_stands_in_the_document() {
    let site = Site::new();
    site.ledger.append(Run::new("r-1", "t", Status::Running).unwrap()).unwrap();
    site.ledger.append(Event::new("t")).unwrap();
    site.ledger.append(ErrorRecord::new("t", "m")).unwrap();
    let document = site.stranger().get("/openapi.json").expect(200);
    let mut tagged = 0;
    for operation in operations(&site) {
        let path = filled(&operation.path);
        let tag = match (operation.method == Method::GET, operation.scope.as_deref()) {
            (true, Some("read")) => site.admin().get(&path).header("etag").to_owned(),
            _ => continue,
        };
        if tag.is_empty() {
            continue;
        }
        let request = site.admin().request(Method::GET, &path).header("if-none-match", tag);
        let known = site.send(request.body(axum::body::Body::empty()).unwrap());
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0), "{path}");
        let said = &document["paths"][&operation.path]["get"]["responses"]["304"];
        assert!(said.is_object() && said["content"].is_null(), "{path}: {said}");
        tagged += 1;
    }
    assert_eq!(tagged, 3);
}
