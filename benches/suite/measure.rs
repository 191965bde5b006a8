//! The clock, and what a list of measurements says.

use std::time::Duration;

use runledger::storage::{Disk, Storage};

/// A clock that never goes back.
pub(super) fn now() -> Duration {
    Disk.monotonic()
}

/// Runs it, and gives the seconds that it took.
pub(super) fn timed<R>(work: impl FnOnce() -> R) -> (R, f64) {
    let start = now();
    let result = work();
    (result, (now() - start).as_secs_f64())
}

/// Measurements of one thing.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The smallest value that this share of the samples does not exceed.
    pub(super) fn percentile(&mut self, percent: f64) -> f64 {
        self.0.sort_unstable_by(f64::total_cmp);
        let wanted = percent / 100.0;
        let len = self.0.len() as f64;
        let reached = |(at, _): &(usize, &f64)| (*at as f64 + 1.0) / len >= wanted;
        self.0.iter().enumerate().find(reached).map_or(f64::NAN, |(_, sample)| *sample)
    }

    pub(super) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    pub(super) fn median(&mut self) -> f64 {
        self.percentile(50.0)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

impl From<f64> for Samples {
    fn from(sample: f64) -> Self {
        Self(vec![sample])
    }
}
