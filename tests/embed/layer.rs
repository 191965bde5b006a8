//! What a layer makes of spans and events.

use std::fmt;

use runledger::embed::{LedgerLayer, Recorder};
use runledger::{Body, Durability, ErrorRecord, Id, Json, Kind, Ledger, Run, Severity, Status};
use tempfile::TempDir;
use tracing::{Span, debug_span, error, info, info_span, subscriber};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use super::{events, found};

/// Does this with a layer in place, and gives the ledger that it recorded into.
fn recorded(work: impl FnOnce()) -> (Ledger, TempDir) {
    recorded_by(|layer| layer, work)
}

fn recorded_by(
    set: impl FnOnce(LedgerLayer) -> LedgerLayer,
    work: impl FnOnce(),
) -> (Ledger, TempDir) {
    let (ledger, _, dir) = super::ledger();
    let layer = set(LedgerLayer::new(Recorder::in_place(&ledger, Durability::Os)));
    subscriber::with_default(registry().with(layer), work);
    (ledger, dir)
}

fn runs(ledger: &Ledger) -> Vec<Run<'static>> {
    states(ledger, false)
}

fn states(ledger: &Ledger, history: bool) -> Vec<Run<'static>> {
    let found = found(ledger.query().kind(Kind::Run).history(history));
    let run = |body| match body {
        Body::Run(run) => run,
        other => panic!("{other:?}"),
    };
    found.into_iter().map(|record| run(record.body)).collect()
}

fn errors(ledger: &Ledger) -> Vec<ErrorRecord<'static>> {
    let error = |body| match body {
        Body::Error(error) => error,
        other => panic!("{other:?}"),
    };
    found(ledger.query().kind(Kind::Error)).into_iter().map(|record| error(record.body)).collect()
}

fn text<'a>(json: &'a Option<Json<'_>>) -> &'a str {
    json.as_ref().unwrap().as_str()
}

#[test]
fn a_span_is_a_run_from_its_beginning_to_its_end() {
    let (ledger, _dir) = recorded(|| {
        let span = info_span!(
            "backup",
            runledger.run = "nightly-backup",
            host = "db1",
            rows = tracing::field::Empty,
            project_id = "billing",
        );
        span.record("rows", 12_004);
        span.in_scope(|| span.record("rows", 12_005));
    });
    let states = states(&ledger, true);
    let status: Vec<_> = states.iter().map(|run| run.status).collect();
    assert_eq!(status, [Status::Running, Status::Running, Status::Running, Status::Success]);
    let metadata: Vec<_> = states.iter().map(|run| text(&run.metadata)).collect();
    let last = r#"{"host":"db1","rows":12005}"#;
    assert_eq!(metadata, [r#"{"host":"db1"}"#, r#"{"host":"db1","rows":12004}"#, last, last]);
    let run = &states[3];
    assert_eq!((&*run.run_type, run.error.as_ref()), ("nightly-backup", None));
    assert_eq!(run.project_id.as_ref().unwrap().to_string(), "billing");
    assert!(run.duration_nanos().unwrap() > 0 && run.started_at == run.created_at);
    assert!(run.trace_id.is_some() && run.run_id.to_string().len() == 36, "{run:?}");
    assert_eq!(states[0].owner.as_ref().unwrap().process, ledger.owner().process);
}

#[test]
fn a_run_has_the_type_that_its_span_says() {
    let (ledger, _dir) = recorded_by(
        |layer| layer.run_field("job").run_target("jobs"),
        || {
            drop(info_span!("a", job = "by-field", otel.name = "no"));
            drop(info_span!("b", job = true, otel.name = "by-otel-name"));
            drop(info_span!("by-name", job = tracing::field::Empty));
            drop(info_span!(target: "jobs", "by-target"));
            drop(info_span!("no run", runledger.run = "of the field that is not asked"));
        },
    );
    let types: Vec<_> = runs(&ledger).into_iter().map(|run| run.run_type).collect();
    assert_eq!(types, ["by-field", "by-otel-name", "by-name", "by-target"]);
}

#[test]
fn a_run_ends_as_its_fields_say_or_as_it_went() {
    let (ledger, _dir) = recorded(|| {
        let run = |name| {
            info_span!(
                "run",
                runledger.run = name,
                runledger.status = tracing::field::Empty,
                otel.status_code = tracing::field::Empty,
                otel.status_description = tracing::field::Empty,
            )
        };
        run("skipped").record("runledger.status", "skipped").record("otel.status_code", "OK");
        run("otel")
            .record("otel.status_code", "ERROR")
            .record("otel.status_description", "no disk");
        run("otel-ok").in_scope(|| {
            error!("one of three hosts");
            Span::current().record("otel.status_code", "Ok");
        });
        run("error").in_scope(|| {
            debug_span!("inner").in_scope(|| error!(error.type = "Timeout", "no answer"));
            error!("and so on");
        });
        let outer = run("parent").entered();
        run("child").in_scope(|| error!("only the child"));
        drop(outer);
    });
    let mut runs = runs(&ledger);
    runs.sort_by_key(|run| run.run_type.clone());
    let of = |run: &Run<'_>| {
        let error = run.error.as_ref();
        let message = error.map_or_else(String::new, |error| error.message.to_string());
        let error_type = error.and_then(|error| error.error_type.clone()).unwrap_or_default();
        format!("{} {} {error_type} {message}", run.run_type, run.status)
    };
    let told: Vec<_> = runs.iter().map(of).collect();
    let here = module_path!();
    assert_eq!(
        told,
        [
            format!("child failed {here} only the child"),
            "error failed Timeout no answer".to_owned(),
            "otel failed  no disk".to_owned(),
            "otel-ok success  ".to_owned(),
            "parent success  ".to_owned(),
            "skipped skipped  ".to_owned(),
        ]
    );
    let (child, parent) = (&runs[0], &runs[4]);
    assert_eq!(child.parent_run_id.as_ref(), Some(&parent.run_id));
    assert_eq!(child.trace_id, parent.trace_id);
}

/// A run of a longer type than there can be was not recorded at all, and one that its span called
/// abandoned, which only the ledger can tell, was not closed.
#[test]
fn what_no_run_can_be_keeps_none_from_being_recorded() {
    let long = "\u{e4}".repeat(200);
    let (ledger, _dir) = recorded_by(
        |layer| layer.run_target("http"),
        || {
            drop(info_span!("long", runledger.run = long));
            drop(info_span!(target: "http", "request", otel.name = format!("GET /{long}")));
            drop(info_span!("job", runledger.run = "cart", runledger.status = "abandoned"));
        },
    );
    let told: Vec<_> = runs(&ledger).into_iter().map(|it| (it.run_type.len(), it.status)).collect();
    assert_eq!(told, [(256, Status::Success), (255, Status::Success), (4, Status::Success)]);
}

#[test]
fn a_run_may_wait_before_it_is_at_work() {
    let (ledger, _dir) = recorded(|| {
        let run = info_span!("import", runledger.run = true, runledger.status = "pending");
        run.record("runledger.status", "running");
    });
    let status: Vec<_> = states(&ledger, true).iter().map(|run| run.status).collect();
    assert_eq!(status, [Status::Pending, Status::Running, Status::Success]);
}

#[test]
fn a_span_is_closed_with_its_last_clone_on_whatever_thread() {
    let (ledger, _, _dir) = super::ledger();
    let layer = LedgerLayer::new(Recorder::in_place(&ledger, Durability::Os));
    let subscriber = registry().with(layer);
    let dispatch = tracing::Dispatch::new(subscriber);
    tracing::dispatcher::with_default(&dispatch, || {
        let span = info_span!("run", runledger.run = "job");
        let clone = span.clone();
        drop(span.entered());
        assert_eq!(runs(&ledger)[0].status, Status::Running, "there is a clone yet");
        std::thread::spawn(move || clone.in_scope(|| info!("elsewhere"))).join().unwrap();
    });
    assert_eq!(runs(&ledger)[0].status, Status::Success);
    // The other thread has no subscriber of its own: the event is nobody's.
    assert_eq!(events(&ledger).len(), 0);
}

#[test]
fn a_run_that_a_panic_unwinds_has_failed() {
    let (ledger, _dir) = recorded(|| {
        let unwound = std::panic::catch_unwind(|| {
            let _run = info_span!("run", runledger.run = "job").entered();
            std::panic::resume_unwind(Box::new("as planned"));
        });
        assert!(unwound.is_err());
    });
    let run = runs(&ledger).remove(0);
    assert_eq!(run.status, Status::Failed);
    assert_eq!(run.error.unwrap().error_type.unwrap(), "panic");
}

#[test]
fn the_fields_of_an_event_are_its_payload_each_of_its_type() {
    let (ledger, _dir) = recorded(|| {
        info!(
            text = "a \"b\"\n",
            int = -7,
            count = u64::MAX,
            big = i128::MIN,
            part = 0.25,
            nan = f64::NAN,
            yes = true,
            debug = ?Some("x"),
            display = %7,
            bytes = &b"\x01\xff"[..],
            "12 of {}",
            13
        );
        info!(name: "mail.sent", to = "a@example.org");
        tracing::warn!(runledger.type = "said", message = "by field");
        tracing::trace!("finer");
    });
    let events = events(&ledger);
    let expected = r#"{"text":"a \"b\"\n","int":-7,"count":18446744073709551615,"big":-170141183460469231731687303715884105728,"part":0.25,"nan":"NaN","yes":true,"debug":"Some(\"x\")","display":"7","bytes":"[01 ff]"}"#;
    assert_eq!(text(&events[0].payload), expected);
    Json::parse(expected).unwrap();
    assert_eq!(events[0].message.as_deref(), Some("12 of 13"));
    assert_eq!(
        (&*events[0].event_type, events[0].severity),
        (module_path!(), Some(Severity::Info))
    );
    assert_eq!((&*events[1].event_type, &events[1].message), ("mail.sent", &None));
    assert_eq!((&*events[2].event_type, events[2].severity), ("said", Some(Severity::Warning)));
    assert_eq!((&events[3].payload, events[3].severity), (&None, Some(Severity::Trace)));
    assert_eq!((&events[0].trace_id, &events[0].run_id), (&None, &None), "it is in no span");
}

#[test]
fn ids_of_a_span_hold_for_all_that_happens_in_it() {
    const TRACE: &str = "f0f21b3342f101d546c957d98fa122f6";
    let (ledger, _dir) = recorded(|| {
        let run = info_span!("run", runledger.run = "job", run_id = "r-1", user_id = 7);
        let _run = run.entered();
        let inner = debug_span!("inner", trace_id = TRACE, project_id = tracing::field::Empty);
        let _inner = inner.enter();
        inner.record("project_id", "billing");
        info!("in both");
        info!(user_id = "ann", run_id = "x".repeat(129), "its own");
        info!(parent: None, "in none");
    });
    let events = events(&ledger);
    let ids = |at: usize| {
        let event = &events[at];
        [&event.run_id, &event.trace_id, &event.project_id, &event.user_id]
            .map(|id| id.as_ref().map_or_else(String::new, Id::to_string))
    };
    assert_eq!(ids(0), ["r-1", TRACE, "billing", "7"]);
    assert_eq!(ids(1), ["r-1", TRACE, "billing", "ann"]);
    assert!(text(&events[1].payload).starts_with(r#"{"run_id":"xxx"#), "what is no id is kept");
    assert_eq!(ids(2), ["", "", "", ""]);
}

#[test]
fn each_root_span_begins_a_trace_unless_there_is_one() {
    let (ledger, _dir) = recorded(|| {
        info_span!("a").in_scope(|| {
            info!("1");
            info_span!("b").in_scope(|| info!("2"));
        });
        info_span!("c").in_scope(|| info!("3"));
    });
    let trace = |at: usize| events(&ledger)[at].trace_id.clone().unwrap();
    assert_eq!(trace(0), trace(1));
    assert_ne!(trace(0), trace(2));

    let of_context = Id::from_hex_bytes([7; 16]);
    let (ledger, _dir) = recorded_by(
        {
            let id = of_context.clone();
            move |layer| layer.trace_ids(move |_, _| Some(id.clone()))
        },
        || info_span!("a").in_scope(|| info!("1")),
    );
    assert_eq!(events(&ledger)[0].trace_id, Some(of_context));
}

#[derive(Debug)]
struct SaveError(std::io::Error);

impl fmt::Display for SaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the booking was not saved")
    }
}

impl std::error::Error for SaveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn what_is_logged_as_an_error_is_one() {
    let (ledger, _dir) = recorded(|| {
        let failed = SaveError(std::io::Error::other("no space left"));
        let _run = info_span!("run", runledger.run = "job").entered();
        let _inner = info_span!("save").entered();
        error!(error = &failed as &dyn std::error::Error, booking = 17, "giving up");
        error!(error = %failed);
        error!(exception.type = "E1", exception.message = "e", exception.stacktrace = "at a:1");
    });
    let errors = errors(&ledger);
    assert_eq!(&*errors[0].error_type, "SaveError");
    assert_eq!(errors[0].message, "giving up: the booking was not saved");
    let detail: serde_json::Value = errors[0].detail.as_ref().unwrap().to_value().unwrap();
    assert_eq!(detail["fields"]["booking"], 17);
    assert_eq!(detail["fields"]["error.sources"][0], "no space left");
    assert_eq!(detail["spans"], serde_json::json!(["run", "save"]));
    assert_eq!(detail["target"], module_path!());
    assert!(detail["file"].as_str().unwrap().ends_with("layer.rs") && detail["line"].is_u64());
    assert_eq!(errors[1].message, "the booking was not saved");
    assert_eq!((&*errors[2].error_type, &*errors[2].message), ("E1", "e"));
    assert_eq!(errors[2].stack.as_deref(), Some("at a:1"));
    let run = runs(&ledger).remove(0);
    assert!(errors.iter().all(|error| error.run_id.as_ref() == Some(&run.run_id)));
    assert!(errors.iter().all(|error| error.trace_id == run.trace_id));
    assert_eq!(run.error.unwrap().message, errors[0].message, "the first of them");
}

/// Says a half, and breaks off; so does its source.
#[derive(Debug)]
struct Broken(Option<Box<Broken>>);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        Err(fmt::Error)
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_deref().map(|source| source as _)
    }
}

/// An error whose source breaks off as it is printed ended the thread that logged it.
#[test]
fn of_a_source_that_breaks_off_there_is_as_much_as_it_says() {
    let broken = Broken(Some(Box::new(Broken(None))));
    let (ledger, _dir) = recorded(|| error!(error = &broken as &dyn std::error::Error, "broken"));
    let error = errors(&ledger).remove(0);
    assert_eq!(error.message, "broken: half");
    let detail: serde_json::Value = error.detail.unwrap().to_value().unwrap();
    assert_eq!(detail["fields"]["error.sources"], serde_json::json!(["half"]));
    let of_error = ErrorRecord::from_error(&broken);
    assert_eq!(of_error.message, "half");
    assert_eq!(of_error.detail.unwrap().as_str(), r#"{"sources":["half"]}"#);
}
