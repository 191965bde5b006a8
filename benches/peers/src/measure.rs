//! The clocks, memory and disk, and what a list of measurements says.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use runledger::storage::{Disk, Storage};
use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// Bytes of a block in which the file system counts what it has allocated.
const BLOCK: u64 = 512;

/// A clock that never goes back.
pub(crate) fn now() -> Duration {
    Disk.monotonic()
}

/// Runs it, and gives the seconds that it took.
pub(crate) fn timed<R>(work: impl FnOnce() -> R) -> (R, f64) {
    let start = now();
    let result = work();
    (result, (now() - start).as_secs_f64())
}

/// Seconds of CPU that all threads of this process have used, and this thread.
pub(crate) fn cpu() -> (f64, f64) {
    let seconds = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    (seconds(ClockId::ProcessCPUTime), seconds(ClockId::ThreadCPUTime))
}

/// Bytes of memory that this process holds: without a file behind it, and mapped from files.
/// Nothing is known of it outside of Linux.
pub(crate) fn memory() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().map_or(f64::NAN, |kib: f64| kib * 1024.0)
    };
    (bytes("RssAnon:"), bytes("RssFile:"))
}

/// Bytes of disk that a directory takes, with all that is in it.
pub(crate) fn disk_bytes(dir: &Path) -> Outcome<u64> {
    let mut bytes = std::fs::symlink_metadata(dir)?.blocks() * BLOCK;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            entry.metadata()?.blocks() * BLOCK
        };
    }
    Ok(bytes)
}

/// Measurements of one thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The smallest value that this share of the samples does not exceed.
    pub(crate) fn percentile(&mut self, percent: f64) -> f64 {
        self.0.sort_unstable_by(f64::total_cmp);
        let wanted = percent / 100.0;
        let len = self.0.len() as f64;
        let reached = |(at, _): &(usize, &f64)| (*at as f64 + 1.0) / len >= wanted;
        self.0.iter().enumerate().find(reached).map_or(f64::NAN, |(_, sample)| *sample)
    }

    pub(crate) fn median(&mut self) -> f64 {
        self.percentile(50.0)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}
