//! The ledger in a service: what its spans, log lines and panics become, and what becomes of
//! records that come faster than they are written.

#[cfg(feature = "async")]
mod asynchronous;
#[cfg(feature = "tracing")]
mod layer;
#[cfg(feature = "tracing")]
mod layer_among_others;
#[cfg(feature = "log")]
mod log;
mod panic;
mod queue;
#[cfg(feature = "tracing")]
mod service;
mod spill;
mod typed;

use std::sync::Arc;

use runledger::storage::Disk;
use runledger::{Body, Event, Kind, Ledger, Options, Order, Query, Record};
use tempfile::TempDir;

use crate::engine::hooked::Hooked;

/// A ledger on the real disk, whose operations a test can watch or hold up.
fn ledger() -> (Ledger, Hooked, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Hooked::new(Arc::new(Disk));
    let options = Options::new().storage(Arc::new(storage.clone()));
    (options.open(dir.path().join("ledger")).unwrap(), storage, dir)
}

/// What a query finds, in the order of the appends.
fn found(query: Query) -> Vec<Record<'static>> {
    let page = query.order(Order::Seq).limit(100_000).fetch().unwrap();
    page.records().map(|record| record.unwrap().into_owned()).collect()
}

fn events(ledger: &Ledger) -> Vec<Event<'static>> {
    let event = |record: Record<'static>| match record.body {
        Body::Event(event) => event,
        other => panic!("{other:?}"),
    };
    found(ledger.query().kind(Kind::Event)).into_iter().map(event).collect()
}
