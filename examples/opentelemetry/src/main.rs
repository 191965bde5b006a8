//! The ledger beside the OpenTelemetry layer: records have the trace ids that the exported spans
//! have, those that came from another service among them.
//!
//! `cargo run --manifest-path examples/opentelemetry/Cargo.toml [DIR]`

use opentelemetry::trace::{TraceContextExt, TraceId, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use runledger::embed::{LedgerLayer, Recorder};
use runledger::{Durability, Id, Kind, Ledger};
use tracing::{Dispatch, Span, error, info, info_span, span};
use tracing_opentelemetry::{OpenTelemetrySpanExt, get_otel_context};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

/// The trace of a span, for [`LedgerLayer::trace_ids`].
fn trace_of(span: &span::Id, subscriber: &Dispatch) -> Option<Id<'static>> {
    let context = get_otel_context(span, subscriber)?;
    let trace = context.span().span_context().trace_id();
    (trace != TraceId::INVALID).then(|| Id::from_hex_bytes(trace.to_bytes()))
}

/// The trace that the thread is in, as OpenTelemetry knows it.
fn current_trace() -> String {
    Span::current().context().span().span_context().trace_id().to_string()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "opentelemetry-ledger".to_owned());
    let ledger = Ledger::open(dir)?;
    // A service adds an exporter here.
    let provider = SdkTracerProvider::builder().build();
    let layer = LedgerLayer::new(Recorder::in_place(&ledger, Durability::Os));
    let subscriber = registry()
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("bookings")))
        .with(layer.trace_ids(trace_of));
    let trace = tracing::subscriber::with_default(subscriber, || {
        let _run = info_span!("import", runledger.run = "import", file = "bookings.csv").entered();
        info!(rows = 1204, "read");
        error!(error.type = "TimeoutError", "no answer from db1");
        current_trace()
    });
    println!("trace {trace}:");
    for record in ledger.query().trace(&trace).fetch()?.records() {
        let record = record?;
        println!("  {} {}: {}", record.seq, record.body.kind(), record.body.type_name());
    }
    assert_eq!(ledger.query().trace(&trace).kind(Kind::Run).count()?, 1);
    ledger.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
    use runledger::{Body, Order, Record};
    use tracing::Subscriber;
    use tracing_subscriber::registry::{LookupSpan, Registry};
    use tracing_subscriber::{Layer, filter::LevelFilter};

    use super::*;

    type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

    fn of_otel<S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync>() -> Boxed<S> {
        let provider = SdkTracerProvider::builder().build();
        tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).boxed()
    }

    fn of_ledger<S>(ledger: &Ledger) -> Boxed<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        let recorder = Recorder::in_place(ledger, Durability::Os);
        LedgerLayer::new(recorder).trace_ids(trace_of).boxed()
    }

    /// What is recorded, with the layers in either order.
    fn in_both_orders(work: impl Fn(), check: impl Fn(&[Record<'static>])) {
        for ledger_first in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
            let layers: [Boxed<Registry>; 2] = match ledger_first {
                true => [of_ledger(&ledger), of_otel()],
                false => [of_otel(), of_ledger(&ledger)],
            };
            tracing::subscriber::with_default(registry().with(Vec::from(layers)), &work);
            let all = ledger.query().history(true).order(Order::Seq).limit(1000).fetch().unwrap();
            let records: Vec<_> = all.records().map(|it| it.unwrap().into_owned()).collect();
            check(&records);
        }
    }

    fn trace(record: &Record<'_>) -> Option<String> {
        record.body.trace_id().map(ToString::to_string)
    }

    #[test]
    fn records_have_the_traces_of_the_spans_that_are_exported() {
        in_both_orders(
            || {
                for request in 0..3 {
                    let run = info_span!("request", runledger.run = "request").entered();
                    info!(trace = current_trace(), request, "outer");
                    info_span!("query").in_scope(|| info!(trace = current_trace(), "inner"));
                    drop(run);
                }
            },
            |records| {
                let mut of_runs: HashMap<String, String> = HashMap::new();
                for record in records {
                    let Body::Event(event) = &record.body else { continue };
                    let payload = event.payload.as_ref().unwrap().as_str();
                    let known = trace(record).unwrap();
                    assert!(payload.contains(&known), "{payload} is of {known}");
                    of_runs.insert(event.run_id.as_ref().unwrap().to_string(), known);
                }
                assert_eq!(of_runs.len(), 3);
                let is_run = |record: &&Record<'_>| record.body.kind() == Kind::Run;
                let states: Vec<_> = records.iter().filter(is_run).collect();
                for state in &states {
                    let run = state.body.run_id().unwrap().to_string();
                    // The first state is there before OpenTelemetry knows of the span.
                    assert!(trace(state).is_none_or(|trace| trace == of_runs[&run]));
                }
                assert_eq!(states.iter().filter(|state| trace(state).is_none()).count(), 3);
                assert_eq!(states.len(), 9, "opened, of a trace, and closed");
            },
        );
    }

    /// The layer had asked for the context as the span began, which starts the span: no parent from
    /// another service could be set any more, and every service had traces of its own.
    #[test]
    fn a_span_can_still_be_made_a_part_of_the_callers_trace() {
        let of_caller = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
        in_both_orders(
            || {
                let caller = SpanContext::new(
                    of_caller,
                    SpanId::from_hex("b7ad6b7169203331").unwrap(),
                    TraceFlags::SAMPLED,
                    true,
                    TraceState::default(),
                );
                let span = info_span!("request", runledger.run = "request");
                span.set_parent(Context::new().with_remote_span_context(caller)).unwrap();
                span.in_scope(|| info!("asked"));
            },
            |records| {
                let known = records.iter().filter_map(trace).collect::<Vec<_>>();
                assert_eq!(known, vec![of_caller.to_string(); 3]);
            },
        );
    }

    #[test]
    fn what_the_other_layer_does_not_see_is_of_the_trace_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
        let filtered = of_otel::<Registry>().with_filter(LevelFilter::INFO);
        let subscriber = registry().with(filtered).with(of_ledger(&ledger));
        let known = tracing::subscriber::with_default(subscriber, || {
            info!("of no span");
            let _outer = info_span!("outer").entered();
            let known = current_trace();
            tracing::debug_span!("hidden").in_scope(|| info!("in it"));
            known
        });
        let page = ledger.query().kind(Kind::Event).order(Order::Seq).fetch().unwrap();
        let traces: Vec<_> = page.records().map(|record| trace(&record.unwrap())).collect();
        assert_eq!(traces, [None, Some(known)]);
    }
}
