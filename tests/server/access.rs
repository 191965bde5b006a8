//! Who sees and writes what.

use runledger::server::Scope;
use runledger::{Event, Id};
use serde_json::Value;

use super::{Client, Site};

fn ids(client: &Client<'_>, path: &str) -> Vec<String> {
    let page = client.get(path).expect(200);
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_user_sees_its_own_records_and_those_of_its_projects() {
    let site = Site::new();
    let event = |name: &'static str, user: &'static str, project: Option<&'static str>| {
        let mut event = Event::new(name).user_id(Id::new(user).unwrap());
        event.project_id = project.map(|id| Id::new(id).unwrap());
        site.ledger.append(event).unwrap()
    };
    event("own", "ann", None);
    event("own-shared", "ann", Some("p"));
    event("other", "bob", None);
    let shared = event("other-shared", "bob", Some("p"));
    event("other-elsewhere", "bob", Some("q"));
    site.ledger.append(Event::new("nobodys")).unwrap();

    let with = |projects: &[&str]| site.bearer(site.token("ann", &[Scope::Read], projects));
    assert_eq!(ids(&with(&[]), "/v1/events"), ["own-shared", "own"]);
    assert_eq!(ids(&with(&["p"]), "/v1/events"), ["other-shared", "own-shared", "own"]);
    // A word narrows what is seen, and never widens it.
    assert_eq!(ids(&with(&[]), "/v1/events?user=bob"), [""; 0]);
    assert_eq!(ids(&with(&[]), "/v1/events?user=bob&user=ann"), ["own-shared", "own"]);
    assert_eq!(ids(&with(&["p"]), "/v1/events?user=bob"), ["other-shared"]);
    assert_eq!(ids(&with(&["p"]), "/v1/events?project=q&project=p").len(), 2);
    with(&["p"]).get(&format!("/v1/events/{shared}")).expect(200);
    with(&["q"]).get(&format!("/v1/events/{shared}")).problem(404);
    assert_eq!(ids(&site.admin(), "/v1/events").len(), 6);
}

#[test]
fn a_record_is_written_as_the_tokens_own() {
    let site = Site::new();
    let ann = site.bearer(site.token("ann", &[Scope::Read, Scope::Write], &["p"]));
    for (path, body) in [
        ("/v1/events", r#"{"type":"x"}"#),
        ("/v1/events", r#"{"type":"x","user_id":"ann","project_id":"p"}"#),
        ("/v1/errors", r#"{"type":"x","message":"m"}"#),
        ("/v1/runs", r#"{"type":"x","run_id":"r","status":"running"}"#),
    ] {
        let made = ann.post(path, body);
        made.expect(201);
        assert_eq!(ann.get(made.header("location")).expect(200)["user_id"], "ann", "{path} {body}");
    }
    for (field, value) in [("user_id", "bob"), ("project_id", "q")] {
        for (path, body) in [
            ("/v1/events", r#"{"type":"x""#),
            ("/v1/errors", r#"{"type":"x","message":"m""#),
            ("/v1/runs", r#"{"type":"x","run_id":"new","status":"running""#),
            ("/v1/runs", r#"{"type":"x","run_id":"r","status":"running""#),
        ] {
            let refused = ann.post(path, &format!(r#"{body},"{field}":"{value}"}}"#));
            assert_eq!(refused.problem(403), ("not-yours".into(), field.into()), "{path} {body}");
        }
    }
    let old = ann.post("/api/events", r#"{"eventType":"x","userId":"bob"}"#);
    assert_eq!(old.problem(403).0, "not-yours");
    // Who may do everything writes for everyone.
    site.admin().post("/v1/events", r#"{"type":"x","user_id":"bob"}"#).expect(201);
}

/// A run's id is the first user's: nobody else moves it on, or learns what it is.
#[test]
fn a_run_cannot_be_taken_over() {
    let site = Site::new();
    let (ann, bob) = (site.user("ann"), site.user("bob"));
    ann.post("/v1/runs", r#"{"type":"secret","run_id":"r","status":"running"}"#).expect(201);
    for (path, body) in [
        ("/v1/runs", r#"{"type":"x","run_id":"r","status":"failed"}"#),
        ("/v1/runs", r#"{"type":"x","run_id":"r","status":"failed","user_id":"bob"}"#),
        ("/v1/runs/r/start", r#"{"type":"x"}"#),
        ("/v1/runs/r/finish", r#"{"status":"failed"}"#),
        ("/v1/runs/r/heartbeat", "{}"),
    ] {
        let refused = bob.post(path, body);
        assert_eq!(refused.problem(404).0, "not-found", "{path}");
        assert!(!refused.text().contains("secret") && !refused.text().contains("ann"), "{path}");
    }
    let run = ann.get("/v1/runs/r").expect(200);
    assert_eq!((&run["seq"], &run["status"]), (&Value::from(1), &Value::from("running")));
}

/// One who shares the project moves a run on, and it stays its user's.
#[test]
fn a_shared_run_stays_its_users() {
    let site = Site::new();
    let both = [Scope::Read, Scope::Write];
    let ann = site.bearer(site.token("ann", &both, &["p"]));
    let bob = site.bearer(site.token("bob", &both, &["p"]));
    let run = r#"{"type":"x","run_id":"r","status":"running","project_id":"p"}"#;
    ann.post("/v1/runs", run).expect(201);
    bob.post("/v1/runs", r#"{"type":"x","run_id":"r","status":"running","user_id":"bob"}"#)
        .expect(201);
    bob.post("/v1/runs/r/finish", r#"{"status":"success"}"#).expect(201);
    assert_eq!(ann.get("/v1/runs/r").expect(200)["user_id"], "ann");
}

/// Of many who begin a run with one id at a time, one has it.
#[test]
fn an_id_that_is_raced_for_has_one_winner() {
    let site = Site::new();
    for round in 0..20 {
        let body = format!(r#"{{"type":"x","run_id":"r{round}","status":"running"}}"#);
        let begin = |name: &str| site.user(name).post("/v1/runs", &body).status.as_u16();
        let codes: Vec<u16> = std::thread::scope(|scope| {
            let racers = ["ann", "bob", "cid"].map(|name| scope.spawn(move || begin(name)));
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let won = codes.iter().filter(|code| **code == 201).count();
        assert_eq!((won, codes.iter().filter(|code| **code == 404).count()), (1, 2), "{codes:?}");
    }
}

#[test]
fn a_scope_is_asked_for() {
    let site = Site::new();
    let event = r#"{"type":"x"}"#;
    for (scopes, reads, writes) in [
        (&[][..], 403, 403),
        (&[Scope::Read], 200, 403),
        (&[Scope::Write], 403, 201),
        (&[Scope::Cleanup], 403, 403),
        (&[Scope::Admin], 200, 201),
    ] {
        let client = site.bearer(site.token("ann", scopes, &[]));
        let read = client.get("/v1/events");
        assert_eq!(read.status.as_u16(), reads, "{scopes:?}");
        assert_eq!(client.post("/v1/events", event).status.as_u16(), writes, "{scopes:?}");
        if reads == 403 {
            assert_eq!(read.problem(403).0, "insufficient-scope");
            assert_eq!(read.header("www-authenticate"), "Bearer error=\"insufficient_scope\"");
        }
    }
}
