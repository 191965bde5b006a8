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

use std::os::unix::fs::FileExt;
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

/// Damages the second record of a stream, which the index is to know.
fn damage_second(dir: &TempDir, stream: &str) {
    let stream = dir.path().join("ledger/streams").join(stream);
    let path = std::fs::read_dir(stream).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    let mut frames = memchr::memmem::find_iter(&bytes, b"\xf7RLf");
    let second = frames.nth(1).unwrap() as u64;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"damaged", second).unwrap();
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
