use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::model::{
    ActorType, Body, ErrorRecord, Event, Fingerprint, Id, Json, Record, Run, RunError, Severity,
    Status, Subject, Timestamp,
};

const STRICT: ParseOptions = ParseOptions::new();
const LENIENT: ParseOptions = ParseOptions::new().lenient(true);

fn refused(line: &str) -> LineError {
    parse_line(line, &STRICT).expect_err(line)
}

fn written(body: Body<'_>) -> String {
    let mut line = Vec::new();
    let record =
        Record { seq: 7, recorded_at: Timestamp::from_nanos(9), supersedes: Some(5), body };
    write_record(&record, &mut line).unwrap();
    String::from_utf8(line).unwrap()
}

#[test]
fn a_line_with_every_key_of_its_kind() {
    let run = r#" {"kind":"run","ts":"2026-11-01T02:00:05Z","type":"backup","status":"failed",
        "trace_id":"t","run_id":"r","project_id":"p","user_id":"u","parent_run_id":"q","attempt":2,
        "subject":{"kind":"booking","id":"B-1"},"created_at":"2026-11-01T02:00:00Z",
        "started_at":"2026-11-01T02:00:01+00:00","finished_at":"2026-11-01T02:00:05Z",
        "error_type":"E","message":"m\n","stack":"s","metadata":{"a" : 1.50},"result":[ ]} "#;
    let Body::Run(run) = parse_line(run, &STRICT).unwrap() else { panic!() };
    assert_eq!(run.at, run.finished_at);
    assert_eq!((run.attempt, run.duration_nanos()), (Some(2), Some(4_000_000_000)));
    assert_eq!(run.subject.unwrap().to_string(), "booking:B-1");
    assert_eq!(run.error.unwrap(), RunError::new("m\n").error_type("E").stack("s"));
    assert_eq!(run.metadata.unwrap().as_str(), r#"{"a" : 1.50}"#);
    assert_eq!(run.result.unwrap().as_str(), "[ ]");

    let event = r#"{"type":"x","payload":"free","message":"m","severity":"warn","kind":"event",
        "actor_type":"user","actor_id":"u1","created_at":"1969-12-31T23:59:59.999999999Z"}"#;
    let Body::Event(event) = parse_line(event, &STRICT).unwrap() else { panic!() };
    assert_eq!(event.created_at, Some(Timestamp::from_nanos(-1)));
    assert_eq!(event.severity, Some(Severity::Warning));
    assert_eq!(event.payload.unwrap().as_str(), r#""free""#);

    let error = r#"{"kind":"error","type":"x","message":"","severity":"fatal","endpoint":"/a",
        "detail":{},"stack":"s"}"#;
    let Body::Error(error) = parse_line(error, &STRICT).unwrap() else { panic!() };
    assert_eq!((error.severity, error.created_at), (Severity::Critical, None));
}

#[test]
fn null_is_absent_and_derived_keys_are_ignored() {
    let line = r#"{"seq":1,"kind":"event","ts":null,"type":"x","severity":null,"run_id":null,
        "payload":null,"recorded_at":"later","supersedes":{},"duration_ms":-1,"fingerprint":[]}"#;
    assert_eq!(parse_line(line, &STRICT).unwrap(), Body::Event(Event::new("x")));
}

#[test]
fn every_reason_names_the_place_and_the_remedy() {
    let long_id = format!(r#"{{"kind":"event","type":"x","user_id":"{}"}}"#, "é".repeat(65));
    let deep = format!(
        r#"{{"kind":"event","type":"x","payload":{}{}}}"#,
        "[".repeat(128),
        "]".repeat(128)
    );
    for (line, said) in [
        ("", "not JSON at column 0: EOF while parsing a value"),
        (r#"{"kind":"event""#, "not JSON at column 15: EOF while parsing an object"),
        ("hello", "not JSON at column 1: expected value"),
        (r#"{"kind":"event","type":"x"} {}"#, "not JSON at column 29: trailing characters"),
        ("{\"kind\":\"event\",\"type\":\"a\nb\"}", "not JSON at column 0: control character"),
        (r#"[{"kind":"event"}]"#, "the line holds a list; each line must be one JSON object"),
        ("12", "the line holds a number"),
        (r#"{"type":"x"}"#, r#"key "kind" is missing; expected run, event or error"#),
        (r#"{"kind":"job"}"#, r#"unknown kind "job"; expected one of: run event error"#),
        (r#"{"kind":"event"}"#, r#"key "type" is missing"#),
        (r#"{"kind":"event","type":""}"#, r#"key "type" holds 0 bytes"#),
        (r#"{"kind":"run","type":"x","run_id":"r"}"#, r#"key "status" is missing"#),
        (r#"{"kind":"run","type":"x","status":"success"}"#, r#"key "run_id" is missing"#),
        (r#"{"kind":"error","type":"x"}"#, r#"key "message" is missing"#),
        (
            r#"{"kind":"run","type":"x","run_id":"r","status":"done"}"#,
            r#"unknown status "done"; expected one of: pending running success failed"#,
        ),
        (r#"{"kind":"error","type":"x","message":"","severity":"info"}"#, "warning error critical"),
        (r#"{"kind":"event","type":"x","typ":1}"#, r#"unknown key "typ"; leave it out"#),
        (r#"{"kind":"event","status":"success"}"#, r#"key "status" belongs to runs, not to"#),
        (r#"{"status":"success","kind":"event"}"#, r#"key "status" belongs to runs, not to"#),
        (r#"{"kind":"run","severity":"info"}"#, r#"key "severity" belongs to events and errors"#),
        (r#"{"kind":"event","kind":"run"}"#, r#"key "kind" is given twice"#),
        (
            r#"{"kind":"event","type":7}"#,
            r#"key "type" holds a number; expected a string, in quotes"#,
        ),
        (r#"{"kind":"event","type":["x"]}"#, r#"key "type" holds a list"#),
        (r#"{"kind":"run","attempt":"2"}"#, r#"key "attempt" holds a string; expected a whole"#),
        (r#"{"kind":"run","attempt":0}"#, "from 1 to 4294967295"),
        (r#"{"kind":"run","attempt":4294967296}"#, "from 1 to 4294967295"),
        (r#"{"kind":"run","attempt":-1}"#, "a negative number"),
        (&long_id, r#"key "user_id" holds 130 bytes"#),
        (&long_id, "expected 1 to 128 bytes"),
        (r#"{"kind":"event","trace_id":""}"#, r#"key "trace_id" holds 0 bytes"#),
        (
            r#"{"kind":"event","ts":"yesterday"}"#,
            r#"key "ts" holds "yesterday"; expected RFC 3339"#,
        ),
        (r#"{"kind":"event","ts":"1500-01-01T00:00:00Z"}"#, "between the years 1678 and 2262"),
        (
            r#"{"kind":"event","type":"x","ts":"2026-01-01T00:00:00Z","created_at":"2026-01-02T00:00:00Z"}"#,
            "are the same time for this kind, and differ",
        ),
        (r#"{"kind":"run","subject":"B-1"}"#, r#"expected {"kind":"booking","id":"B-1041"} or"#),
        (r#"{"kind":"run","subject":{"kind":"b","id":"1","x":2}}"#, r#"or "booking:B-1041""#),
        (r#"{"kind":"run","subject":{"kind":"a:b","id":"1"}}"#, "no colon"),
        (&deep, r#"the JSON under "payload" nests deeper than 127 levels"#),
    ] {
        let reason = refused(line).to_string();
        assert!(reason.contains(said), "{line}\n said: {reason}\n  not: {said}");
    }
    assert!(matches!(
        parse_bytes(b"{\"kind\":\"\xff\"}", &STRICT),
        Err(LineError::NotUtf8 { at: 9 })
    ));
    let long = vec![b' '; crate::limits::MAX_LINE_BYTES + 1];
    assert!(matches!(parse_bytes(&long, &STRICT), Err(LineError::TooLong { .. })));
}

#[test]
fn lenient_drops_what_does_not_belong_wherever_the_kind_stands() {
    for line in [
        r#"{"status":"no status","x":{"y":1},"kind":"event","type":"x"}"#,
        r#"{"kind":"event","type":"x","x":[1],"status":5,"x":2}"#,
    ] {
        assert_eq!(parse_line(line, &LENIENT).unwrap(), Body::Event(Event::new("x")));
    }
    let error = parse_line(r#"{"kind":"error","type":"x"}"#, &LENIENT).unwrap();
    assert_eq!(error, Body::Error(ErrorRecord::new("x", "")));
    assert!(parse_line(r#"{"kind":"event","type":"x","ts":"soon"}"#, &LENIENT).is_err());
}

#[test]
fn one_record_is_one_line_and_numbers_stay_as_they_were() {
    let json = Json::parse("{\r\n \"a\": 1.50e0,\n\"b\": \"x\\ny\"}\n").unwrap();
    let line = written(Body::Event(Event::new("x").payload(json)));
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.ends_with("\"payload\":{   \"a\": 1.50e0, \"b\": \"x\\ny\"} }\n"), "{line}");
    let Body::Event(event) = parse_line(&line, &STRICT).unwrap() else { panic!() };
    assert_eq!(event.payload.unwrap().as_str(), r#"{   "a": 1.50e0, "b": "x\ny"}"#);
}

#[test]
fn keys_stand_in_one_order() {
    let at = Timestamp::from_nanos;
    let run = Run::new("r", "backup", Status::Failed)
        .unwrap()
        .created_at(at(0))
        .finished_at(at(1_500_001))
        .subject(Subject::new("b", "1").unwrap())
        .error(RunError::new("no"));
    assert_eq!(
        written(Body::Run(run)),
        "{\"seq\":7,\"kind\":\"run\",\"ts\":\"1970-01-01T00:00:00.001500001Z\",\"type\":\"backup\",\
         \"status\":\"failed\",\"run_id\":\"r\",\"recorded_at\":\"1970-01-01T00:00:00.000000009Z\",\
         \"supersedes\":5,\"subject\":{\"kind\":\"b\",\"id\":\"1\"},\
         \"created_at\":\"1970-01-01T00:00:00Z\",\
         \"finished_at\":\"1970-01-01T00:00:00.001500001Z\",\"duration_ms\":1.500001,\
         \"message\":\"no\"}\n"
    );
    let error = ErrorRecord {
        fingerprint: Some(Fingerprint { version: 1, hash: 10 }),
        ..ErrorRecord::new("E", "no")
    };
    assert!(written(Body::Error(error)).contains("\"fingerprint\":\"1-000000000000000a\""));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}", "(\\PC|[\\x00-\\x1f\"\\\\\u{2028}]){0,20}"]
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), -5_i64..5]
        .prop_map(Timestamp::from_nanos)
}

fn id() -> impl Strategy<Value = Id<'static>> {
    prop_oneof![
        "(\\PC|[\\x00-\\x1f\"\\\\]){1,30}".prop_map(|text| Id::new(text).unwrap()),
        any::<[u8; 16]>().prop_map(Id::from_uuid),
        any::<[u8; 16]>().prop_map(Id::from_hex_bytes),
    ]
}

/// Any JSON but null, which is the same as no JSON.
fn json() -> impl Strategy<Value = Json<'static>> {
    let leaf = prop_oneof![
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has no others", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|list| format!("[{}]", list.join(" , "))),
            (text(), inner).prop_map(|(key, value)| {
                format!("{{{}:\t{value}}}", serde_json::to_string(&key).unwrap())
            }),
        ]
    });
    tree.prop_map(|text| Json::parse(text).unwrap())
}

fn run() -> impl Strategy<Value = Body<'static>> {
    let status = prop::sample::select(Status::ALL);
    let subject =
        ("[^:]{1,10}", id()).prop_map(|(kind, id)| Subject::from_parts(kind.into(), id).unwrap());
    let error =
        (of(text()), text(), of(text())).prop_map(|(error_type, message, stack)| RunError {
            error_type: error_type.map(Into::into),
            message: message.into(),
            stack: stack.map(Into::into),
        });
    (
        (id(), "[^\u{0}]{1,20}", status, of(1_u32..)),
        (of(id()), of(id()), of(id()), of(id())),
        (of(subject), of(error), of(json()), of(json())),
        (of(time()), of(time()), of(time())),
    )
        .prop_map(|((run_id, run_type, status, attempt), ids, parts, times)| {
            let mut run = Run::with_id(run_id, run_type, status);
            run.attempt = attempt;
            (run.trace_id, run.project_id, run.user_id, run.parent_run_id) = ids;
            (run.subject, run.error, run.metadata, run.result) = parts;
            (run.created_at, run.started_at, run.finished_at) = times;
            run.at = run.newest_time();
            Body::Run(run)
        })
}

fn event() -> impl Strategy<Value = Body<'static>> {
    (
        ("[^\u{0}]{1,20}", of(prop::sample::select(Severity::ALL)), of(time())),
        (of(id()), of(id()), of(id()), of(id()), of(id())),
        (of(json()), of(text()), of(prop::sample::select(ActorType::ALL))),
    )
        .prop_map(
            |((event_type, severity, created_at), ids, (payload, message, actor_type))| {
                let mut event = Event::new(event_type);
                (event.severity, event.created_at) = (severity, created_at);
                (event.trace_id, event.run_id, event.project_id, event.user_id, event.actor_id) =
                    ids;
                (event.payload, event.actor_type) = (payload, actor_type);
                event.message = message.map(Into::into);
                Body::Event(event)
            },
        )
}

fn error() -> impl Strategy<Value = Body<'static>> {
    let severity =
        prop::sample::select(vec![Severity::Warning, Severity::Error, Severity::Critical]);
    (
        ("[^\u{0}]{1,20}", severity, of(time())),
        (of(id()), of(id()), of(id()), of(id())),
        (of(json()), text(), of(text()), of(text())),
    )
        .prop_map(
            |((error_type, severity, created_at), ids, (detail, message, stack, endpoint))| {
                let mut error = ErrorRecord::new(error_type, message).severity(severity);
                (error.trace_id, error.run_id, error.project_id, error.user_id) = ids;
                (error.detail, error.created_at) = (detail, created_at);
                error.stack = stack.map(Into::into);
                error.endpoint = endpoint.map(Into::into);
                Body::Error(error)
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same(body in prop_oneof![run(), event(), error()]) {
        let line = written(body.clone());
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(parse_line(&line, &STRICT).unwrap(), body.clone());
        prop_assert_eq!(parse_line(&line, &LENIENT).unwrap(), body);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_bytes(&bytes, &STRICT);
        let _ = parse_bytes(&bytes, &LENIENT);
    }

    #[test]
    fn no_damage_to_a_line_panics(body in run(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut line = written(body).into_bytes();
        let at = at.index(line.len());
        line[at] = byte;
        let _ = parse_bytes(&line, &STRICT);
        let _ = parse_bytes(&line[..at], &LENIENT);
    }
}
