//! How lengths of time spread, in bounded memory.

use std::collections::BTreeMap;

/// Buckets in each doubling, so that a quantile is off by 0.2% at the most.
const STEPS: u32 = 8;

/// Counts of lengths of time, in buckets whose width grows with the length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durations {
    buckets: BTreeMap<u64, u64>,
    count: u64,
}

impl Durations {
    /// Adds one, in nanoseconds; a negative one counts as 0.
    pub(crate) fn add(&mut self, nanos: i64) {
        let nanos = u64::try_from(nanos).unwrap_or(0);
        *self.buckets.entry(middle(nanos)).or_default() += 1;
        self.count += 1;
    }

    /// The length that this share of all, in percent, does not exceed; `None` when there are none.
    pub(crate) fn percentile(&self, percent: u64) -> Option<i64> {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            below += u128::from(**count);
            below >= rank
        });
        bucket.map(|(nanos, _)| i64::try_from(*nanos).unwrap_or(i64::MAX))
    }
}

/// The middle of the bucket that holds a number.
fn middle(nanos: u64) -> u64 {
    let width = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEPS + 1);
    ((nanos >> width) << width) | ((1 << width) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near_the_exact_ones() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(50), None);
        for nanos in 1..=10_000 {
            durations.add(nanos * 1_000_003);
        }
        for (percent, exact) in [(1, 100), (50, 5_000), (95, 9_500), (100, 10_000)] {
            let exact = exact * 1_000_003;
            let off = (durations.percentile(percent).unwrap() - exact).abs();
            assert!(off * 500 <= exact, "p{percent}: off by {off} of {exact}");
        }
        durations.add(-1);
        assert_eq!(durations.percentile(0), Some(0));
    }

    #[test]
    fn memory_is_bounded() {
        let mut durations = Durations::default();
        for step in 0..1_000_000_i64 {
            durations.add(step.wrapping_mul(0x5851_f42d_4c95_7f2d));
        }
        durations.add(i64::MAX);
        assert!(durations.buckets.len() <= 256 * 63, "{}", durations.buckets.len());
    }
}
