//! Log lines.

use std::fmt;

use log::{Level, LevelFilter, Log, Record};
use runledger::embed::{LedgerLog, Recorder};
use runledger::{Body, Durability, Kind, Severity};

use super::{events, found, ledger};

#[test]
fn a_log_line_is_an_event_and_its_pairs_are_the_payload() {
    let (ledger, _, _dir) = ledger();
    let logger = LedgerLog::new(Recorder::in_place(&ledger, Durability::Os), LevelFilter::Info);
    let pairs: &[(&str, log::kv::Value<'_>)] = &[
        ("to", "a@example.org".into()),
        ("tries", 3.into()),
        ("part", 0.5.into()),
        ("last", true.into()),
        ("project_id", "billing".into()),
    ];
    let line = |level, target| {
        let mut line = Record::builder();
        line.level(level).target(target).file(Some("mail.rs")).line(Some(7));
        line
    };
    logger.log(
        &line(Level::Warn, "mail.sent")
            .args(format_args!("one of {}", 3))
            .key_values(&pairs)
            .build(),
    );
    logger.log(&line(Level::Debug, "hidden").args(format_args!("finer")).build());
    logger
        .log(&line(Level::Error, "mail").args(format_args!("no route")).key_values(&pairs).build());
    logger.flush();
    let events = events(&ledger);
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&*events[0].event_type, events[0].severity),
        ("mail.sent", Some(Severity::Warning))
    );
    assert_eq!(events[0].message.as_deref(), Some("one of 3"));
    let payload = r#"{"to":"a@example.org","tries":3,"part":0.5,"last":true}"#;
    assert_eq!(events[0].payload.as_ref().unwrap().as_str(), payload);
    assert_eq!(events[0].project_id.as_ref().unwrap().to_string(), "billing");
    let Body::Error(error) = found(ledger.query().kind(Kind::Error)).remove(0).body else {
        panic!("an error")
    };
    assert_eq!((&*error.error_type, &*error.message), ("mail", "no route"));
    let detail = format!(r#"{{"fields":{payload},"file":"mail.rs","line":7}}"#);
    assert_eq!(error.detail.unwrap().as_str(), detail);
}

/// Log lines were of no run where the rest of the service speaks through `tracing`.
#[cfg(feature = "tracing")]
#[test]
fn a_log_line_belongs_to_the_span_that_its_thread_is_in() {
    use runledger::embed::LedgerLayer;
    use tracing_subscriber::layer::SubscriberExt;

    let (ledger, _, _dir) = ledger();
    let recorder = Recorder::in_place(&ledger, Durability::Os);
    let logger = LedgerLog::new(recorder.clone(), LevelFilter::Info);
    let line = || {
        logger.log(&Record::builder().level(Level::Info).args(format_args!("no target")).build());
    };
    let layers = tracing_subscriber::registry().with(LedgerLayer::new(recorder));
    tracing::subscriber::with_default(layers, || {
        line();
        let outer = tracing::info_span!("run", runledger.run = "job", run_id = "r-1").entered();
        line();
        let inner = tracing::info_span!("inner", user_id = "ann").entered();
        // Left in the order in which they were not entered.
        drop(outer);
        line();
        drop(inner);
        line();
    });
    let ids = |event: &runledger::Event<'_>| {
        [&event.run_id, &event.user_id].map(|id| id.as_ref().map(ToString::to_string))
    };
    let run = Some("r-1".to_owned());
    let told: Vec<_> = events(&ledger).iter().map(ids).collect();
    let nothing = [None, None];
    let expected = [nothing.clone(), [run.clone(), None], [run, Some("ann".to_owned())], nothing];
    assert_eq!(told, expected);
}

/// Says a half, and breaks off.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half")?;
        Err(fmt::Error)
    }
}

/// What breaks off as it is printed, such as a time with a pattern that is none, ended the thread
/// that logged it.
#[test]
fn of_what_breaks_off_a_log_line_has_as_much_as_there_is() {
    let (ledger, _, _dir) = ledger();
    let logger = LedgerLog::new(Recorder::in_place(&ledger, Durability::Os), LevelFilter::Info);
    let pairs = [("user_id", log::kv::Value::from_display(&Broken))];
    let mut line = Record::builder();
    line.level(Level::Info).target("t").key_values(&pairs);
    logger.log(&line.args(format_args!("it is {Broken}")).build());
    let events = events(&ledger);
    assert_eq!(events[0].message.as_deref(), Some("it is half"));
    assert_eq!(events[0].user_id.as_ref().unwrap().to_string(), "half");
}

/// What was recorded of a span after it was entered, as who asks is of a request, was not known to
/// the log lines in it.
#[cfg(feature = "tracing")]
#[test]
fn a_log_line_knows_what_was_recorded_late_of_its_span() {
    use runledger::embed::LedgerLayer;
    use tracing::field::Empty;
    use tracing_subscriber::layer::SubscriberExt;

    let (ledger, _, _dir) = ledger();
    let recorder = Recorder::in_place(&ledger, Durability::Os);
    let logger = LedgerLog::new(recorder.clone(), LevelFilter::Info);
    let layers = tracing_subscriber::registry().with(LedgerLayer::new(recorder));
    tracing::subscriber::with_default(layers, || {
        let span = tracing::info_span!("request", trace_id = Empty, user_id = Empty).entered();
        span.record("trace_id", "t-1").record("user_id", "ann");
        logger.log(&Record::builder().level(Level::Info).args(format_args!("late")).build());
    });
    let event = events(&ledger).remove(0);
    let ids = [event.trace_id, event.user_id].map(|id| id.map(|id| id.to_string()));
    assert_eq!(ids, [Some("t-1".to_owned()), Some("ann".to_owned())]);
}
