//! OpenTelemetry's export: the same from protobuf as from JSON, each span and log record on its own
//! merits, and nothing that a body claims costs more than it is long.

use std::io::Write;

use axum::body::Body;
use axum::http::Method;
use flate2::{Compression, write::GzEncoder};
use runledger::Options;
use runledger::server::Scope;
use serde_json::{Value, json};
use torture::disk::{Fault, OpKind, SimDisk};

use super::{Answer, Client, Site};

const PROTOBUF: &str = "application/x-protobuf";
const TRACE: &str = "5b8efff798038103d269b633813fc60c";

/// A field: its key in JSON, its number, and what it is.
type Field = (&'static str, u64, &'static str);

const SPAN: &[Field] = &[
    ("traceId", 1, "hex"),
    ("spanId", 2, "hex"),
    ("traceState", 3, "text"),
    ("parentSpanId", 4, "hex"),
    ("name", 5, "text"),
    ("kind", 6, "varint"),
    ("startTimeUnixNano", 7, "fixed64"),
    ("endTimeUnixNano", 8, "fixed64"),
    ("attributes", 9, "KeyValue"),
    ("droppedAttributesCount", 10, "varint"),
    ("events", 11, "Event"),
    ("droppedEventsCount", 12, "varint"),
    ("links", 13, "Link"),
    ("droppedLinksCount", 14, "varint"),
    ("status", 15, "Status"),
    ("flags", 16, "fixed32"),
];

const LOG: &[Field] = &[
    ("timeUnixNano", 1, "fixed64"),
    ("severityNumber", 2, "varint"),
    ("severityText", 3, "text"),
    ("body", 5, "AnyValue"),
    ("attributes", 6, "KeyValue"),
    ("droppedAttributesCount", 7, "varint"),
    ("flags", 8, "fixed32"),
    ("traceId", 9, "hex"),
    ("spanId", 10, "hex"),
    ("observedTimeUnixNano", 11, "fixed64"),
    ("eventName", 12, "text"),
];

/// The fields of OTLP's messages that are sent here.
fn fields(message: &str) -> &'static [Field] {
    match message {
        "Request" => &[("resourceSpans", 1, "Resources"), ("resourceLogs", 1, "Resources")],
        "Resources" => {
            &[("resource", 1, "Resource"), ("scopeSpans", 2, "Scopes"), ("scopeLogs", 2, "Scopes")]
        }
        "Resource" => &[("attributes", 1, "KeyValue"), ("droppedAttributesCount", 2, "varint")],
        "Scopes" => &[("scope", 1, "Scope"), ("spans", 2, "Span"), ("logRecords", 2, "Log")],
        "Scope" => &[
            ("name", 1, "text"),
            ("version", 2, "text"),
            ("attributes", 3, "KeyValue"),
            ("droppedAttributesCount", 4, "varint"),
        ],
        "Span" => SPAN,
        "Link" => &[
            ("traceId", 1, "hex"),
            ("spanId", 2, "hex"),
            ("traceState", 3, "text"),
            ("attributes", 4, "KeyValue"),
            ("droppedAttributesCount", 5, "varint"),
            ("flags", 6, "fixed32"),
        ],
        "Event" => &[
            ("timeUnixNano", 1, "fixed64"),
            ("name", 2, "text"),
            ("attributes", 3, "KeyValue"),
            ("droppedAttributesCount", 4, "varint"),
        ],
        "Status" => &[("message", 2, "text"), ("code", 3, "varint")],
        "Log" => LOG,
        "KeyValue" => &[("key", 1, "text"), ("value", 2, "AnyValue")],
        "AnyValue" => &[
            ("stringValue", 1, "text"),
            ("boolValue", 2, "varint"),
            ("intValue", 3, "varint"),
            ("doubleValue", 4, "double"),
            ("arrayValue", 5, "ArrayValue"),
            ("kvlistValue", 6, "KeyValueList"),
            ("bytesValue", 7, "base64"),
        ],
        "ArrayValue" => &[("values", 1, "AnyValue")],
        "KeyValueList" => &[("values", 1, "KeyValue")],
        other => panic!("no message {other}"),
    }
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(0x80 | low::<1>(number.into())[0]);
        number >>= 7;
    }
    out.extend(low::<1>(number.into()));
}

/// The low bytes of a number.
fn low<const N: usize>(number: i128) -> [u8; N] {
    *number.to_le_bytes().first_chunk().unwrap()
}

fn whole(value: &Value) -> i128 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        Value::Bool(flag) => i128::from(*flag),
        number => number.to_string().parse().unwrap(),
    }
}

/// The message in protobuf that this is in JSON.
fn proto(message: &str, json: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in json.as_object().unwrap() {
        let (_, number, kind) = *fields(message).iter().find(|it| it.0 == key).unwrap();
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            let mut field = |wire: u64| varint(number << 3 | wire, &mut out);
            let bytes = match kind {
                "varint" => {
                    field(0);
                    varint(u64::from_le_bytes(low(whole(value))), &mut out);
                    continue;
                }
                "fixed64" => {
                    field(1);
                    out.extend(low::<8>(whole(value)));
                    continue;
                }
                "fixed32" => {
                    field(5);
                    out.extend(low::<4>(whole(value)));
                    continue;
                }
                "double" => {
                    field(1);
                    let number = value.as_f64().unwrap_or(f64::NAN);
                    out.extend(number.to_le_bytes());
                    continue;
                }
                "text" => value.as_str().unwrap().as_bytes().to_vec(),
                "base64" => b"\x00\xff".to_vec(),
                "hex" => {
                    let text = value.as_str().unwrap();
                    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
                    (0..text.len()).step_by(2).map(pair).collect()
                }
                message => proto(message, value),
            };
            field(2);
            varint(bytes.len() as u64, &mut out);
            out.extend(bytes);
        }
    }
    out
}

fn export(client: &Client<'_>, path: &str, media: &str, body: Vec<u8>) -> Answer {
    let request = client.request(Method::POST, path).header("content-type", media);
    client.site.send(request.body(Body::from(body)).unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Every record, without its number and when it came.
fn records(client: &Client<'_>) -> Vec<Value> {
    let mut records = Vec::new();
    for path in ["/v1/runs", "/v1/events", "/v1/errors"] {
        for mut record in client.get(path).expect(200)["items"].as_array().unwrap().clone() {
            let record = record.as_object_mut().unwrap();
            record.remove("recorded_at");
            let seq = record.remove("seq").unwrap();
            records.push((seq.as_u64(), Value::Object(record.clone())));
        }
    }
    records.sort_by_key(|(seq, _)| *seq);
    records.into_iter().map(|(_, record)| record).collect()
}

/// The records that this makes, which are the same in both encodings and compressed.
fn taken(path: &str, body: &Value) -> Vec<Value> {
    let site = Site::new();
    let ann = site.user("ann");
    let answer = export(&ann, path, "application/json; charset=utf-8", body.to_string().into());
    assert_eq!(answer.expect(200), json!({}), "{body}");
    assert_eq!(answer.header("content-type"), "application/json");
    let of_json = records(&ann);

    let site = Site::new();
    let ann = site.user("ann");
    let answer = export(&ann, path, PROTOBUF, proto("Request", body));
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b""[..]), "{body}");
    assert_eq!(answer.header("content-type"), PROTOBUF);
    assert_eq!(records(&ann), of_json);

    let site = Site::new();
    let ann = site.user("ann");
    let request = ann.request(Method::POST, path).header("content-type", PROTOBUF);
    let request = request.header("content-encoding", "gzip");
    let body = Body::from(gzip(&proto("Request", body)));
    assert_eq!(site.send(request.body(body).unwrap()).status, 200);
    assert_eq!(records(&ann), of_json);
    of_json
}

fn resource() -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": "mailer"}}]})
}

fn traces(spans: Value) -> Value {
    json!({"resourceSpans": [{"resource": resource(),
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": spans}]}]})
}

fn logs(records: Value) -> Value {
    json!({"resourceLogs": [{"resource": resource(),
        "scopeLogs": [{"scope": {"name": "app.mail"}, "logRecords": records}]}]})
}

fn root() -> Value {
    json!({"traceId": TRACE, "spanId": "eee19b7ec3c1b174", "name": "POST /mail", "kind": 2,
        "startTimeUnixNano": "1760000000000000000", "endTimeUnixNano": "1760000000250000000",
        "flags": 257, "traceState": "a=b",
        "attributes": [
            {"key": "http.route", "value": {"stringValue": "/mail"}},
            {"key": "n", "value": {"intValue": "-9007199254740993"}},
            {"key": "ok", "value": {"boolValue": true}},
            {"key": "ratio", "value": {"doubleValue": 0.25}},
            {"key": "list", "value": {"arrayValue": {"values": [
                {"stringValue": "a"}, {}, {"kvlistValue": {"values": [
                    {"key": "k", "value": {"bytesValue": "AP8="}}]}}]}}}]})
}

#[test]
fn a_root_span_is_a_run() {
    let run = json!({"kind": "run", "ts": "2025-10-09T08:53:20.25Z", "type": "POST /mail",
        "status": "success", "run_id": TRACE, "trace_id": TRACE, "user_id": "ann", "attempt": 1,
        "created_at": "2025-10-09T08:53:20Z", "started_at": "2025-10-09T08:53:20Z",
        "finished_at": "2025-10-09T08:53:20.25Z", "duration_ms": 250,
        "metadata": {"span_id": "eee19b7ec3c1b174", "kind": "server", "scope": "lib",
            "resource": {"service.name": "mailer"}, "flags": 257, "trace_state": "a=b",
            "attributes": {"http.route": "/mail", "n": -9007199254740993_i64, "ok": true,
                "ratio": 0.25, "list": ["a", null, {"k": "AP8="}]}}});
    assert_eq!(taken("/v1/traces", &traces(json!([root()]))), [run]);
}

#[test]
fn a_span_that_failed_is_a_failed_run_with_the_error_that_it_met() {
    let mut failed = root();
    failed["status"] = json!({"code": 2, "message": "gave up"});
    failed["attributes"] = json!([]);
    let of_status = taken("/v1/traces", &traces(json!([failed])));
    assert_eq!(
        (&of_status[0]["status"], &of_status[0]["message"]),
        (&json!("failed"), &json!("gave up"))
    );
    failed["events"] = json!([
        {"timeUnixNano": "1760000000100000000", "name": "retry", "attributes":
            [{"key": "after", "value": {"stringValue": "1 s"}}]},
        {"timeUnixNano": "1760000000200000000", "name": "exception", "attributes": [
            {"key": "exception.type", "value": {"stringValue": "TimeoutError"}},
            {"key": "exception.message", "value": {"stringValue": "no answer"}},
            {"key": "exception.stacktrace", "value": {"stringValue": "at a\nat b"}},
            {"key": "exception.escaped", "value": {"boolValue": true}}]}]);
    let told = taken("/v1/traces", &traces(json!([failed])));
    assert_eq!(told.len(), 3);
    let run = &told[0];
    assert_eq!(
        (&run["error_type"], &run["message"]),
        (&json!("TimeoutError"), &json!("no answer"))
    );
    assert_eq!(
        (&run["stack"], &run["metadata"]["status_message"]),
        (&json!("at a\nat b"), &json!("gave up"))
    );
    assert_eq!(
        told[1],
        json!({"kind": "event", "type": "retry", "ts": "2025-10-09T08:53:20.1Z",
        "trace_id": TRACE, "run_id": TRACE, "user_id": "ann", "actor_type": "system",
        "actor_id": "mailer",
        "payload": {"attributes": {"after": "1 s"}, "span_id": "eee19b7ec3c1b174"}})
    );
    let mut error = told[2].clone();
    assert!(error.as_object_mut().unwrap().remove("fingerprint").is_some());
    assert_eq!(
        error,
        json!({"kind": "error", "type": "TimeoutError", "severity": "error",
        "ts": "2025-10-09T08:53:20.2Z", "message": "no answer", "stack": "at a\nat b",
        "trace_id": TRACE, "run_id": TRACE, "user_id": "ann",
        "detail": {"attributes": {"exception.escaped": true}, "span_id": "eee19b7ec3c1b174"}})
    );
}

#[test]
fn a_span_within_another_is_an_event_that_took_time() {
    let mut child = root();
    child["parentSpanId"] = json!("1111111111111111");
    child["attributes"] = json!([]);
    child["status"] = json!({"code": 2, "message": "refused"});
    let event = json!({"kind": "event", "type": "POST /mail", "ts": "2025-10-09T08:53:20Z",
        "severity": "error", "message": "refused", "trace_id": TRACE, "run_id": TRACE,
        "user_id": "ann", "actor_type": "system", "actor_id": "mailer",
        "payload": {"span_id": "eee19b7ec3c1b174", "parent_span_id": "1111111111111111",
            "kind": "server", "scope": "lib", "resource": {"service.name": "mailer"},
            "flags": 257, "trace_state": "a=b", "duration_ms": 250.0}});
    assert_eq!(taken("/v1/traces", &traces(json!([child]))), [event]);
}

/// Whoever has had no answer sends everything again: there is one run then, and its spans' events
/// are not told twice.
#[test]
fn a_run_that_is_sent_again_is_one() {
    let site = Site::new();
    let ann = site.user("ann");
    let mut span = root();
    span["events"] = json!([{"name": "e"}]);
    let both = traces(json!([span, span])).to_string();
    for _ in 0..3 {
        assert_eq!(
            export(&ann, "/v1/traces", "application/json", both.clone().into()).expect(200),
            json!({})
        );
    }
    assert_eq!(records(&ann).len(), 2);
    // Another root of the trace is refused, and said to be.
    span["spanId"] = json!("2222222222222222");
    let other = traces(json!([span])).to_string();
    let answer = export(&ann, "/v1/traces", "application/json", other.into()).expect(200);
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
}

#[test]
fn log_records_are_events_or_errors() {
    let log = |more: Value| {
        let mut log = json!({"timeUnixNano": "1760000000000000001", "traceId": TRACE,
            "spanId": "eee19b7ec3c1b174", "severityText": "x"});
        log.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        log
    };
    let text = |text: &str| json!({"stringValue": text});
    let told = taken(
        "/v1/logs",
        &logs(json!([
            log(json!({"severityNumber": 9, "body": text("sent"), "eventName": "mail.sent"})),
            log(json!({"severityNumber": 16, "body": {"intValue": 7}, "timeUnixNano": 0,
            "observedTimeUnixNano": 1760000000000000002_u64})),
            log(json!({"severityNumber": 17, "body": text("it broke")})),
            log(json!({"severityNumber": 24, "body": text("it fell over"), "traceId": "00"})),
            log(json!({"severityNumber": 13, "body": text("it broke"), "attributes": [
            {"key": "exception.type", "value": text("E")},
            {"key": "exception.message", "value": text("m")},
            {"key": "url.path", "value": text("/a")}]})),
            log(json!({"attributes": [{"key": "exception.stacktrace", "value": text("s")}],
            "traceId": "00000000000000000000000000000000"})),
        ])),
    );
    let part = |at: usize, keys: &[&str]| -> Vec<Value> {
        keys.iter().map(|key| told[at][key].clone()).collect()
    };
    let event = ["kind", "type", "severity", "message", "trace_id", "run_id", "actor_id", "ts"];
    assert_eq!(
        part(0, &event),
        [
            json!("event"),
            json!("mail.sent"),
            json!("info"),
            json!("sent"),
            json!(TRACE),
            json!(TRACE),
            json!("mailer"),
            json!("2025-10-09T08:53:20.000000001Z")
        ]
    );
    assert_eq!(
        told[0]["payload"],
        json!({"resource": {"service.name": "mailer"}, "scope": "app.mail",
        "span_id": "eee19b7ec3c1b174", "severity_text": "x"})
    );
    assert_eq!(
        part(1, &["type", "severity", "ts"]),
        [json!("app.mail"), json!("warning"), json!("2025-10-09T08:53:20.000000002Z")]
    );
    assert_eq!(told[1]["payload"]["body"], 7);
    assert_eq!(
        part(2, &["kind", "type", "severity", "message"]),
        [json!("error"), json!("app.mail"), json!("error"), json!("it broke")]
    );
    assert_eq!(
        part(3, &["kind", "severity", "trace_id"]),
        [json!("error"), json!("critical"), Value::Null]
    );
    assert_eq!(
        part(4, &["kind", "type", "severity", "message", "endpoint"]),
        [json!("error"), json!("E"), json!("warning"), json!("m"), json!("/a")]
    );
    assert_eq!(told[4]["detail"]["body"], "it broke");
    assert_eq!(
        part(5, &["kind", "severity", "trace_id"]),
        [json!("event"), Value::Null, Value::Null]
    );
    assert_eq!(told[5]["payload"]["attributes"], json!({"exception.stacktrace": "s"}));
}

/// What a span, a link or a log record says besides was dropped without a word.
#[test]
fn what_has_no_field_is_kept_with_the_rest() {
    let attributes = json!([{"key": "k", "value": {"stringValue": "v"}}]);
    let mut span = root();
    span["attributes"] = json!([]);
    span["links"] = json!([
        {"traceId": TRACE, "spanId": "1111111111111111", "traceState": "c=d", "flags": 1,
            "attributes": attributes, "droppedAttributesCount": 2},
        {"spanId": "2222222222222222"}]);
    for (key, count) in
        [("droppedAttributesCount", 3), ("droppedEventsCount", 4), ("droppedLinksCount", 5)]
    {
        span[key] = json!(count);
    }
    span["events"] = json!([{"timeUnixNano": 1, "name": "e", "droppedAttributesCount": 6}]);
    let mut body = traces(json!([span]));
    body["resourceSpans"][0]["resource"] = json!({"droppedAttributesCount": 7});
    body["resourceSpans"][0]["scopeSpans"][0]["scope"] = json!({"name": "lib", "version": "1.2",
        "attributes": attributes, "droppedAttributesCount": 8});
    let told = taken("/v1/traces", &body);
    let of_scope = json!({"scope": "lib", "scope_version": "1.2", "scope_attributes": {"k": "v"},
        "scope_dropped_attributes_count": 8, "resource_dropped_attributes_count": 7});
    let mut metadata = json!({"span_id": "eee19b7ec3c1b174", "kind": "server", "flags": 257,
        "trace_state": "a=b", "dropped_attributes_count": 3, "dropped_events_count": 4,
        "dropped_links_count": 5, "links": [
            {"trace_id": TRACE, "span_id": "1111111111111111", "trace_state": "c=d", "flags": 1,
                "attributes": {"k": "v"}, "dropped_attributes_count": 2},
            {"span_id": "2222222222222222"}]});
    metadata.as_object_mut().unwrap().extend(of_scope.as_object().unwrap().clone());
    assert_eq!(told[0]["metadata"], metadata);
    assert_eq!(told[1]["payload"]["dropped_attributes_count"], 6);

    let log = json!({"timeUnixNano": 1, "body": {"intValue": 0}, "flags": 1,
        "droppedAttributesCount": 9, "severityNumber": 9, "severityText": "Info"});
    let payload = taken("/v1/logs", &logs(json!([log])))[0]["payload"].clone();
    let kept = ["body", "flags", "dropped_attributes_count", "severity_text"];
    assert_eq!(kept.map(|key| payload[key].clone()), [json!(0), json!(1), json!(9), Value::Null]);
}

/// A log record whose severity is given as text alone was an event without one.
#[test]
fn a_severity_may_be_a_text() {
    let log = |text: &str| json!({"timeUnixNano": 1, "severityText": text, "body": {}});
    for (text, kind, severity) in [
        ("ERROR", "error", "error"),
        ("Fatal", "error", "critical"),
        ("warn", "event", "warning"),
        ("INFO2", "event", "info"),
        ("debug", "event", "debug"),
        ("TRACE", "event", "trace"),
    ] {
        let told = taken("/v1/logs", &logs(json!([log(text)])));
        assert_eq!((&told[0]["kind"], &told[0]["severity"]), (&json!(kind), &json!(severity)));
    }
    let told = taken("/v1/logs", &logs(json!([log("odd")])));
    assert_eq!(told[0]["severity"], Value::Null);
    assert_eq!(told[0]["payload"]["severity_text"], "odd");
    // What it says more precisely stays.
    let told = taken("/v1/logs", &logs(json!([log("Notice")])));
    assert_eq!(told[0]["severity"], "info");
    assert_eq!(told[0]["payload"]["severity_text"], "Notice");
}

/// It was answered 507, at which who sends telemetry drops it.
#[test]
fn a_full_disk_is_a_reason_to_send_again() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let site = Site::over(|_| {}, |_| options.open("/ledger").unwrap());
    disk.set_capacity(Some(disk.used()));
    let body = logs(json!([{"timeUnixNano": 1}])).to_string();
    let refused = export(&site.user("ann"), "/v1/logs", "application/json", body.into());
    assert_eq!(refused.problem(503).0, "unavailable");
    assert_eq!(refused.header("retry-after"), "60");
}

/// A disk that was full after a part of a request was appended was answered 503, too: all of it was
/// sent again, and its log records were there twice.
#[test]
fn what_was_appended_in_part_is_not_sent_again() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let site = Site::over(|_| {}, |_| options.open("/ledger").unwrap());
    let ann = site.user("ann");
    let send = |count: usize| {
        let log = json!({"timeUnixNano": 1, "body": {"stringValue": "x".repeat(1000)}});
        let body = logs(Value::Array(vec![log; count])).to_string();
        export(&ann, "/v1/logs", "application/json", body.into())
    };
    assert_eq!(send(1).expect(200), json!({}));
    let mut writes = 0;
    disk.set_faults(move |op| {
        let is_of_events = op.path.to_string_lossy().contains("/events/");
        writes += usize::from(op.kind == OpKind::Write && is_of_events);
        (op.kind == OpKind::Write && is_of_events && writes > 1).then_some(Fault::NoSpace)
    });
    let answer = send(600).expect(200);
    disk.clear_hooks();
    let kept = site.ledger.query().user("ann").count().unwrap() - 1;
    assert!(kept > 0 && kept < 600, "{kept}");
    let partial = &answer["partialSuccess"];
    assert_eq!(partial["rejectedLogRecords"], (600 - kept).to_string());
    assert!(partial["errorMessage"].as_str().unwrap().contains("full"), "{partial}");
}

/// A run that could not be read when its span came was refused for good, though the disk might give
/// it the next time.
#[test]
fn what_cannot_be_read_now_is_a_reason_to_send_again() {
    let disk = SimDisk::new(1);
    let options = Options::new().storage(disk.storage()).background(false);
    let site = Site::over(|_| {}, |_| options.open("/ledger").unwrap());
    let ann = site.user("ann");
    let send = |spans: Value| {
        export(&ann, "/v1/traces", "application/json", traces(spans).to_string().into())
    };
    assert_eq!(send(json!([root()])).expect(200), json!({}));
    disk.set_faults(|op| {
        let is_of_runs = op.path.to_string_lossy().contains("/runs/");
        (op.kind == OpKind::Map && is_of_runs).then_some(Fault::Io)
    });
    let refused = send(json!([root()]));
    assert_eq!(refused.problem(503).0, "unavailable");
    assert_eq!(refused.header("retry-after"), "60");
    // Others that came with it are taken, once.
    let mut child = root();
    child["parentSpanId"] = json!("1111111111111111");
    let answer = send(json!([root(), child])).expect(200);
    disk.clear_hooks();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    assert_eq!(records(&ann).len(), 2);
    assert_eq!(send(json!([root()])).expect(200), json!({}));
}

/// A span was refused for links beyond those that are kept, and in JSON for the id of one that is
/// none.
#[test]
fn no_link_costs_its_span() {
    let mut span = root();
    span["links"] = json!(vec![json!({"traceId": TRACE}); 1002]);
    span["droppedLinksCount"] = json!(3);
    let told = taken("/v1/traces", &traces(json!([span])));
    let metadata = &told[0]["metadata"];
    assert_eq!(metadata["links"].as_array().map(Vec::len), Some(1000));
    assert_eq!(metadata["dropped_links_count"], 5);

    let site = Site::new();
    let ann = site.user("ann");
    span["links"] = json!([{"traceId": "5g", "spanId": 7, "flags": 1}, {"traceId": TRACE}]);
    let body = traces(json!([span])).to_string();
    let answer = export(&ann, "/v1/traces", "application/json", body.into());
    assert_eq!(answer.expect(200), json!({}));
    assert_eq!(records(&ann)[0]["metadata"]["links"], json!([{"flags": 1}, {"trace_id": TRACE}]));
}

/// Numbers that JSON has no digits for, in both encodings.
#[test]
fn numbers_that_are_none_are_kept_by_name() {
    let attributes = json!([{"key": "k", "value": {"doubleValue": "NaN"}}]);
    let body = logs(json!([{"timeUnixNano": 1, "attributes": attributes}]));
    assert_eq!(taken("/v1/logs", &body)[0]["payload"]["attributes"]["k"], "NaN");
}

/// What cannot be taken is counted, with the first reason; the rest is taken.
#[test]
fn what_is_refused_is_counted() {
    let with = |key: &str, value: Value| {
        let mut span = root();
        span[key] = value;
        span
    };
    let mut deep = json!({"stringValue": "x"});
    for _ in 0..60 {
        deep = json!({"arrayValue": {"values": [deep]}});
    }
    for (key, value, reason) in [
        ("traceId", json!("5b8e"), "trace id"),
        ("traceId", json!("00000000000000000000000000000000"), "trace id"),
        ("traceId", json!(""), "trace id"),
        ("spanId", json!("00"), "an id of 8 bytes"),
        ("startTimeUnixNano", json!(u64::MAX), "2262"),
        ("endTimeUnixNano", json!(i64::MAX as u64 + 1), "2262"),
        ("attributes", json!([{"key": "k", "value": deep}]), ""),
        (
            "attributes",
            json!([{"key": "k", "value": {"stringValue": "x".repeat(1 << 20)}}]),
            "over the limit",
        ),
        ("events", json!(vec![json!({}); 1001]), "1000 events"),
    ] {
        let site = Site::new();
        let ann = site.user("ann");
        let mut good = root();
        good["parentSpanId"] = json!("1111111111111111");
        let body = traces(json!([with(key, value.clone()), good, with(key, value)]));
        let answer = export(&ann, "/v1/traces", "application/json", body.to_string().into());
        let partial = answer.expect(200)["partialSuccess"].clone();
        assert_eq!(partial["rejectedSpans"], "2", "{key}: {partial}");
        assert!(partial["errorMessage"].as_str().unwrap().contains(reason), "{key}: {partial}");
        assert_eq!(records(&ann).len(), 1, "{key}");
        let answer = export(&ann, "/v1/traces", PROTOBUF, proto("Request", &body));
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, PROTOBUF));
        assert_eq!(
            &answer.body[..2],
            [1 << 3 | 2, u8::try_from(answer.body.len() - 2).unwrap()],
            "{key}"
        );
        assert_eq!(&answer.body[2..4], [1 << 3, 2], "{key}: how many");
        assert_eq!(records(&ann).len(), 2, "{key}");
    }
}

#[test]
fn a_body_that_is_none_is_refused_whole() {
    let site = Site::new();
    let ann = site.user("ann");
    let good = proto("Request", &traces(json!([root()])));
    for (media, body, status, name) in [
        (PROTOBUF, good[..good.len() - 1].to_vec(), 400, "invalid-body"),
        (
            PROTOBUF,
            vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            400,
            "invalid-body",
        ),
        (PROTOBUF, vec![0x0b], 400, "invalid-body"),
        (PROTOBUF, vec![0x00], 400, "invalid-body"),
        ("application/json", b"{".to_vec(), 400, "invalid-body"),
        ("application/json", b"[]".to_vec(), 400, "invalid-body"),
        ("application/json", br#"{"resourceSpans": 7}"#.to_vec(), 400, "invalid-body"),
        ("application/json", "[".repeat(100_000).into(), 400, "invalid-body"),
        ("text/plain", good.clone(), 415, "unsupported-media-type"),
        ("application/x-ndjson", good.clone(), 415, "unsupported-media-type"),
        // Two bytes a span: more than are taken, and not held before that is known.
        (PROTOBUF, wrapped(&b"\x12\x00".repeat(8 << 20)), 413, "too-large"),
        ("application/json", listed(&"{},".repeat(4 << 20)), 413, "too-large"),
    ] {
        let answer = export(&ann, "/v1/traces", media, body);
        assert_eq!(answer.problem(status).0, name, "{media}");
    }
    // What says nothing is nothing.
    for (media, body) in [
        (PROTOBUF, Vec::new()),
        ("application/json", b"{}".to_vec()),
        ("application/json", br#"{"resourceSpans": null, "other": [1]}"#.to_vec()),
    ] {
        assert_eq!(export(&ann, "/v1/traces", media, body).status, 200);
    }
    assert_eq!(records(&ann).len(), 0);
}

/// A scope of a resource that has this in it.
fn wrapped(bytes: &[u8]) -> Vec<u8> {
    let within = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        varint(bytes.len() as u64, &mut out);
        out.extend(bytes);
        out
    };
    within(1, &within(2, bytes))
}

fn listed(spans: &str) -> Vec<u8> {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.trim_end_matches(',')
    )
    .into()
}

#[test]
fn a_trace_is_its_users() {
    let site = Site::new();
    let (ann, bob) = (site.user("ann"), site.user("bob"));
    let body = traces(json!([root()])).to_string();
    export(&ann, "/v1/traces", "application/json", body.clone().into()).expect(200);
    let before = records(&ann);
    // The trace is another's: to bob it is as if there were none, and he cannot have it.
    let mut failed = root();
    failed["status"] = json!({"code": 2});
    for span in [root(), failed] {
        let body = traces(json!([span])).to_string();
        let answer = export(&bob, "/v1/traces", "application/json", body.into()).expect(200);
        assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
    }
    assert_eq!((records(&bob), records(&ann)), (Vec::new(), before));
    let reader = site.bearer(site.token("ann", &[Scope::Read], &[]));
    for path in ["/v1/traces", "/v1/logs"] {
        let refused = export(&reader, path, "application/json", b"{}".to_vec());
        assert_eq!(refused.problem(403).0, "insufficient-scope");
        let refused = export(&site.stranger(), path, PROTOBUF, Vec::new());
        assert_eq!(refused.problem(401).0, "unauthenticated");
    }
}

/// Whatever the bytes are, the server answers, and not with a fault of its own.
#[test]
fn no_bytes_are_a_fault_of_the_server() {
    let site = Site::new();
    let ann = site.user("ann");
    let whole = proto("Request", &traces(json!([root()])));
    let text = traces(json!([root()])).to_string().into_bytes();
    for (media, whole) in [(PROTOBUF, whole), ("application/json", text)] {
        for at in 0..whole.len() {
            for bits in [0x01, 0x80, 0xff] {
                let mut body = whole.clone();
                body[at] ^= bits;
                let answer = export(&ann, "/v1/traces", media, body);
                assert!([200, 400, 413].contains(&answer.status.as_u16()), "{}", answer.text());
            }
        }
    }
}

/// A body that comes byte by byte takes no more room than it is long, or one client of many small
/// pieces would leave none for others.
#[test]
fn small_pieces_take_little_room() {
    let site = Site::new();
    let ann = site.user("ann");
    let body = traces(json!([root()])).to_string() + &" ".repeat(300_000);
    let request = ann.request(Method::POST, "/v1/traces");
    let request = request.header("content-type", "application/json");
    let answer =
        site.send(request.body(Body::from_stream(Bytes(body.into_bytes().into_iter()))).unwrap());
    assert_eq!(answer.expect(200), json!({}));
}

struct Bytes(std::vec::IntoIter<u8>);

impl futures_core::Stream for Bytes {
    type Item = std::io::Result<Vec<u8>>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(|byte| Ok(vec![byte])))
    }
}
