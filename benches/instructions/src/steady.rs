//! The real disk, with a clock and random bytes that are the same in every run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use runledger::Result;
use runledger::storage::{DirEntry, Disk, File, OpenMode, Storage};

use crate::workload::START_NANOS;

/// How far both clocks go on at each look, in nanoseconds.
const TICK: i64 = 1000;

/// The disk. Its clocks begin when the first record is made.
#[derive(Debug, Default)]
pub(crate) struct Steady {
    passed: AtomicI64,
    drawn: AtomicU64,
}

impl Steady {
    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.passed.fetch_add(nanos, Ordering::Relaxed);
    }

    fn look(&self) -> i64 {
        self.passed.fetch_add(TICK, Ordering::Relaxed)
    }
}

impl Storage for Steady {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        Disk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        Disk.list(path)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        Disk.exists(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        Disk.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        Disk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        Disk.sync_dir(path)
    }

    fn lock(&self, path: &Path, note: &str) -> Result<Box<dyn Send + Sync>> {
        Disk.lock(path, note)
    }

    fn now(&self) -> i64 {
        START_NANOS + self.look()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.look().unsigned_abs())
    }

    fn random(&self) -> Result<[u8; 16]> {
        let number = u128::from(self.drawn.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes())
    }
}
