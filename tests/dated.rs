//! Ledgers on a modelled disk whose clock the test sets.

use std::time::Duration;

use runledger::{Ledger, Options};

use torture::disk::SimDisk;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// 2026-11-01.
pub(crate) const START: i64 = 1_793_491_200_000_000_000;
pub(crate) const DIR: &str = "/ledger";

/// A disk on which it is the start.
pub(crate) fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_now(START);
    disk
}

/// Small segments, and nothing that a test does not do itself.
pub(crate) fn options(disk: &SimDisk) -> Options {
    Options::new()
        .background(false)
        .reserve_bytes(0)
        .segment_bytes(64 << 10)
        .storage(disk.storage())
}

pub(crate) fn open(disk: &SimDisk) -> Ledger {
    options(disk).open(DIR).unwrap()
}
