//! A layer beside others, and beside itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runledger::embed::{LedgerLayer, Recorder};
use runledger::{Durability, Kind, Ledger, Status};
use tracing::{Event, Subscriber, debug, info, info_span, subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{registry, reload};

use super::{events, ledger};
use crate::engine::within_a_minute;

/// Counts the events that it sees.
#[derive(Clone, Default)]
struct Counts(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Counts {
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_filter_of_one_layer_is_no_filter_of_the_others() {
    for ledger_filter in [LevelFilter::INFO, LevelFilter::TRACE] {
        let (ledger, _, _dir) = ledger();
        let counts = Counts::default();
        let layer = LedgerLayer::new(Recorder::in_place(&ledger, Durability::Os));
        let other = match ledger_filter {
            LevelFilter::INFO => LevelFilter::TRACE,
            _ => LevelFilter::INFO,
        };
        let layers = registry()
            .with(counts.clone().with_filter(other))
            .with(layer.with_filter(ledger_filter))
            .with(Counts::default());
        subscriber::with_default(layers, || {
            // Of a span that the filter hides, what is below it is of the one above.
            let _run = info_span!("run", runledger.run = "job").entered();
            let _hidden = tracing::debug_span!("hidden", runledger.run = "hidden").entered();
            info!("both");
            debug!("one of them");
        });
        let (told, all) = match ledger_filter {
            LevelFilter::INFO => (1, 1),
            _ => (2, 2),
        };
        assert_eq!(events(&ledger).len(), told);
        assert_eq!(counts.0.load(Ordering::SeqCst), 3 - told);
        let runs = ledger.query().kind(Kind::Run).status(Status::Success).count().unwrap();
        assert_eq!(runs, all);
        assert!(events(&ledger).iter().all(|event| event.run_id.is_some()));
    }
}

#[test]
fn two_ledgers_have_a_run_each_of_one_span() {
    let ((a, _, _dir_a), (b, _, _dir_b)) = (ledger(), ledger());
    let layer = |ledger| LedgerLayer::new(Recorder::in_place(ledger, Durability::Os));
    subscriber::with_default(registry().with(layer(&a)).with(layer(&b)), || {
        info_span!("run", runledger.run = "job").in_scope(|| info!("in it"));
    });
    for ledger in [&a, &b] {
        assert_eq!(ledger.query().kind(Kind::Run).status(Status::Success).count().unwrap(), 1);
        assert_eq!(events(ledger).len(), 1);
    }
    assert_ne!(events(&a)[0].run_id, events(&b)[0].run_id);
}

/// A run whose layer was taken out, or exchanged for another, while it was open stayed open.
#[test]
fn a_run_ends_with_its_span_when_its_layer_is_gone() {
    let ((a, _, _dir_a), (b, _, _dir_b)) = (ledger(), ledger());
    let layer = |ledger| LedgerLayer::new(Recorder::in_place(ledger, Durability::Os));
    for next in [None, Some(&b)] {
        let (of_a, handle) = reload::Layer::new(Some(layer(&a)));
        subscriber::with_default(registry().with(of_a), || {
            let run = info_span!("run", runledger.run = "job");
            handle.reload(next.map(layer)).unwrap();
            run.in_scope(|| info!("in it"));
        });
    }
    let runs = |ledger: &Ledger| ledger.query().kind(Kind::Run);
    assert_eq!(runs(&a).status(Status::Success).count().unwrap(), 2);
    assert_eq!((events(&a).len(), events(&b).len()), (0, 1));
    assert_eq!(runs(&b).count().unwrap(), 0, "it was not opened there");
}

/// Logs when it is printed, as the fields of an event are.
struct Chatty;

impl fmt::Debug for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!("while it is printed");
        f.write_str("Chatty")
    }
}

/// A storage that logs what it does would log the appends of what it logged, without an end, and
/// would wait for a lock of the ledger that its own thread holds, or for room in the queue that
/// its own thread empties.
#[test]
fn what_the_ledger_causes_is_not_recorded() {
    within_a_minute(|| {
        for by_queue in [false, true] {
            let (ledger, storage, _dir) = ledger();
            let (recorder, guard) = match by_queue {
                true => {
                    let (recorder, guard) = Recorder::queue().records(2).start(&ledger).unwrap();
                    (recorder, Some(guard))
                }
                false => (Recorder::in_place(&ledger, Durability::Sync), None),
            };
            let dispatch = tracing::Dispatch::new(registry().with(LedgerLayer::new(recorder)));
            let of_storage = dispatch.clone();
            storage.set(move |operation, _| {
                let log = || info!(operation, "of the disk");
                let thread = std::thread::current();
                match thread.name().is_some_and(|name| name.starts_with("runledger")) {
                    true => tracing::dispatcher::with_default(&of_storage, log),
                    false => log(),
                }
            });
            tracing::dispatcher::with_default(&dispatch, || {
                for _ in 0..20 {
                    info!(what = ?Chatty, "once");
                }
            });
            drop(guard);
            storage.set(|_, _| {});
            let events = events(&ledger);
            let of = |message: &str| {
                events.iter().filter(|event| event.message.as_deref() == Some(message)).count()
            };
            let told = (of("once"), of("while it is printed"), of("of the disk"));
            assert_eq!(told, (20, 0, 0));
        }
    });
}

/// What a storage logged while an awaited append was made in place waited for a lock that its own
/// thread held.
#[test]
fn what_an_awaited_append_in_place_causes_is_not_recorded() {
    within_a_minute(|| {
        let (ledger, storage, _dir) = ledger();
        let recorder = Recorder::in_place(&ledger, Durability::Sync);
        let dispatch = tracing::Dispatch::new(registry().with(LedgerLayer::new(recorder.clone())));
        storage.set(|operation, _| info!(operation, "of the disk"));
        let awaited = tracing::dispatcher::with_default(&dispatch, || {
            smol::block_on(recorder.append(runledger::Event::new("once"), Durability::Sync))
        });
        storage.set(|_, _| {});
        awaited.unwrap();
        assert_eq!(events(&ledger).len(), 1);
    });
}
