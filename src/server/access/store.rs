//! What holds the ledger.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::model::Id;
use crate::server::access_log::AccessLog;

/// What holds the ledger.
pub(in crate::server) struct Store {
    pub(super) ledger: Ledger,
    /// Held while a run is looked at and moved on, so that nobody takes a run's id in between.
    /// Runs share them by chance.
    runs: [Mutex<()>; 64],
    hasher: RandomState,
    appended: watch::Sender<()>,
    total: Counter,
}

impl Store {
    pub(in crate::server) fn new(ledger: Ledger, total: Counter) -> Self {
        let runs = std::array::from_fn(|_| Mutex::new(()));
        Self { ledger, runs, hasher: RandomState::new(), appended: watch::Sender::new(()), total }
    }

    /// Closes the ledger, once nobody uses it any more.
    pub(in crate::server) fn close(&self) -> Result<(), Error> {
        self.ledger.close()
    }

    /// An error when the ledger takes no records.
    pub(in crate::server) fn check(&self) -> Result<(), Error> {
        self.ledger.sync()
    }

    fn place(&self, id: &Id<'_>) -> usize {
        let places = self.runs.len() as u64;
        usize::try_from(self.hasher.hash_one(id) % places).unwrap_or(0)
    }

    pub(super) fn hold(&self, id: &Id<'_>) -> Option<MutexGuard<'_, ()>> {
        self.runs.get(self.place(id)).map(Mutex::lock)
    }

    /// Holds all of these runs. Everyone takes the locks in one order, so that nobody waits for one
    /// who waits for them.
    pub(super) fn hold_all<'i>(
        &self,
        ids: impl Iterator<Item = &'i Id<'i>>,
    ) -> Vec<MutexGuard<'_, ()>> {
        let places: BTreeSet<usize> = ids.map(|id| self.place(id)).collect();
        places.into_iter().filter_map(|place| self.runs.get(place)).map(Mutex::lock).collect()
    }

    /// Appends what the server notes of itself.
    pub(in crate::server) fn log(&self, log: &AccessLog) {
        log.append(&self.ledger);
        self.appended.send_replace(());
    }

    pub(super) fn note_appended(&self, records: u64) {
        self.total.inc_by(records);
        // Who comes to follow after this looks for itself first.
        if self.appended.receiver_count() > 0 {
            self.appended.send_replace(());
        }
    }

    /// What changes with every append that came through here.
    pub(in crate::server) fn appended(&self) -> watch::Receiver<()> {
        self.appended.subscribe()
    }
}
