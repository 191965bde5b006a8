use std::collections::BTreeMap;
use std::time::Duration;

use crate::format::rollup::{RunRow, middle_of, shortest};

/// How long runs took: counts of lengths of time, in sixteen buckets for each doubling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lengths {
    buckets: BTreeMap<u16, u64>,
    /// The code of the longest.
    longest: Option<u16>,
}

impl Lengths {
    pub(super) fn add_row(&mut self, row: &RunRow) {
        for &(bucket, count) in &row.lengths {
            let sum = self.buckets.entry(bucket).or_default();
            *sum = sum.saturating_add(count.into());
        }
        self.longest = self.longest.max(row.longest);
    }

    /// Adds those of others.
    pub fn add(&mut self, other: &Self) {
        for (&bucket, &count) in &other.buckets {
            let sum = self.buckets.entry(bucket).or_default();
            *sum = sum.saturating_add(count);
        }
        self.longest = self.longest.max(other.longest);
    }

    /// How many were counted: runs that said when they ended.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The length that so many in a hundred do not exceed; `None` when there are none. It is off by
    /// a 32nd, 3.2%, or by 32 ns, at the most.
    #[must_use]
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let rank = (u128::from(self.count()) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0;
        let bucket = self.buckets.iter().find(|&(_, &count)| {
            below += u128::from(count);
            below >= rank
        });
        let nanos = bucket.map(|(&bucket, _)| middle_of(bucket))?;
        Some(Duration::from_nanos(nanos).min(self.longest().unwrap_or(Duration::MAX)))
    }

    /// The longest of them; `None` when there are none. It may have been longer by a 1,024th.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        self.longest.map(|code| Duration::from_nanos(shortest(code)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::rollup::length_code;
    use crate::model::Status;

    #[test]
    fn percentiles_are_off_by_no_more_than_is_said() {
        let mut lengths = Lengths::default();
        assert_eq!((lengths.percentile(50), lengths.longest()), (None, None));
        for half in [0, 1] {
            let mut row = RunRow::new(0, Status::Success, 0);
            for millis in 1..=500_u64 {
                row.add(millis, Some(length_code((2 * millis - half) * 1_000_000)));
            }
            lengths.add_row(&row);
        }
        assert_eq!(lengths.count(), 1000);
        for (percent, exact) in [(1, 10), (50, 500), (95, 950), (100, 1000)] {
            let told = lengths.percentile(percent).unwrap().as_nanos();
            let exact: u128 = exact * 1_000_000;
            assert!(told.abs_diff(exact) * 32 <= exact, "p{percent}: {told} for {exact}");
        }
        let longest = lengths.longest().unwrap().as_nanos();
        assert!((1_000_000_000 - longest) * 1024 <= 1_000_000_000, "{longest}");
        assert!(lengths.percentile(100) <= lengths.longest(), "none took longer");
        let mut twice = lengths.clone();
        twice.add(&lengths);
        assert_eq!((twice.count(), twice.percentile(50)), (2000, lengths.percentile(50)));
    }
}
