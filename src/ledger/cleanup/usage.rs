//! What the policy costs: bytes and days held by each class, and when its caps are hit.

use crate::error::Result;
use crate::ledger::classes::{AUDIT_STREAM, Class, STREAM_KINDS};
use crate::ledger::cleanup::allocated;
use crate::ledger::cleanup::plan::look_at;
use crate::ledger::cleanup::unread::Unread;
use crate::ledger::policy::{Limits, Retention, Term};
use crate::ledger::reader::Reader;
use crate::model::Timestamp;

const DAY_NANOS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// A growth that was seen for less long than this tells nothing of the days to come.
const LEAST_SEEN: u64 = DAY_NANOS / 4;

/// For how many days it is looked ahead.
const HORIZON_DAYS: u64 = 10 * 365;

/// The policy, and what it costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionReport {
    /// The classes of the kinds, and those that are named or have segments.
    pub classes: Vec<ClassUsage>,
    /// How many bytes of disk the whole directory may take.
    pub max_bytes: Option<u64>,
    /// How many it takes.
    pub allocated_bytes: u64,
    /// When it takes all that it may, as it grows now.
    pub full: Forecast,
}

/// One class: what it may take, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassUsage {
    /// Which class.
    pub class: Class,
    /// Its limits, with the term of its kind where it has none of its own.
    pub limits: Limits,
    /// How many segments it has.
    pub segments: u64,
    /// How many records it holds, superseded states of runs included.
    pub records: u64,
    /// How many bytes of disk it takes.
    pub bytes: u64,
    /// When the oldest of its records arrived.
    pub since: Option<Timestamp>,
    /// How many bytes are added a day, by the segments that are full; `None` when they are too few
    /// or too young to tell.
    pub bytes_per_day: Option<u64>,
    /// How many records are added a day.
    pub records_per_day: Option<u64>,
    /// When it takes all that it may, as it grows now.
    pub full: Forecast,
}

/// When a limit of bytes or records is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forecast {
    /// There is no such limit.
    #[default]
    Unlimited,
    /// Too little was written yet to tell.
    Unknown,
    /// It is not: what comes and what expires are in balance below it, or it is years away.
    Never,
    /// After so many days; 0 when it is reached.
    Days(u64),
}

/// How a class grows.
#[derive(Debug, Clone, Copy, Default)]
struct Growth {
    now: u64,
    per_day: u64,
    /// Where it stays: what comes in the time for which it is kept.
    most: Option<u64>,
}

impl Growth {
    fn after(self, days: u64) -> u64 {
        let grown = self.now.saturating_add(self.per_day.saturating_mul(days));
        self.most.map_or(grown, |most| grown.min(most.max(self.now)))
    }
}

fn forecast(growths: &[Growth], limit: u64) -> Forecast {
    let total = |days| growths.iter().fold(0, |sum: u64, it| sum.saturating_add(it.after(days)));
    if total(HORIZON_DAYS) < limit {
        return Forecast::Never;
    }
    let (mut low, mut high) = (0, HORIZON_DAYS);
    while low < high {
        let middle = low.midpoint(high);
        if total(middle) < limit { low = middle + 1 } else { high = middle }
    }
    Forecast::Days(low)
}

impl Reader {
    /// The policy, and what it costs: what is given; where that says nothing, what the ledger's
    /// file `runledger.toml` does, and then the defaults.
    ///
    /// # Errors
    /// [`Error::Policy`](crate::Error::Policy) when the file says what cannot be taken;
    /// [`Error::Io`](crate::Error::Io) when it, a directory or a segment cannot be read.
    pub fn retention(&self, given: &Retention) -> Result<RetentionReport> {
        let retention = given.clone().over(&self.policy()?);
        let catalog = self.catalog();
        let now = catalog.storage.now();
        let allocated_bytes = allocated(catalog, self.dir())?;
        let mut report = RetentionReport {
            max_bytes: retention.cap(),
            allocated_bytes,
            ..RetentionReport::default()
        };
        let shown = catalog.in_use().or(retention.split());
        let (mut growths, mut of_classes, mut is_known) = (Vec::new(), 0, false);
        for stream in shown.without(AUDIT_STREAM) {
            let (Some((name, _)), Some(class)) = (STREAM_KINDS.get(stream), Class::at(stream))
            else {
                continue;
            };
            let (usage, growth) =
                ClassUsage::of(self, stream, name, class, retention.limits(class), now)?;
            is_known |= usage.bytes_per_day.is_some();
            of_classes += growth.now;
            growths.push(growth);
            report.classes.push(usage);
        }
        let rest = allocated_bytes.saturating_sub(of_classes);
        growths.push(Growth { now: rest, per_day: 0, most: None });
        report.full = match retention.cap() {
            None => Forecast::Unlimited,
            Some(cap) if allocated_bytes < cap && !is_known => Forecast::Unknown,
            Some(cap) => forecast(&growths, cap),
        };
        Ok(report)
    }
}

impl ClassUsage {
    fn of(
        reader: &Reader,
        stream: usize,
        name: &'static str,
        class: Class,
        limits: Limits,
        now: i64,
    ) -> Result<(Self, Growth)> {
        let candidates = match reader.catalog().in_use().contains(stream) {
            true => look_at(reader.catalog(), stream, name, now, &Unread::default())?,
            false => Vec::new(),
        };
        let records = candidates.iter().map(|candidate| candidate.plan.records).sum();
        let bytes = candidates.iter().map(|candidate| candidate.plan.bytes).sum();
        let recorded =
            |at: Option<&super::plan::Candidate>| at.map(|it| it.overview.summary.recorded);
        let full: Vec<_> =
            candidates.iter().filter(|candidate| candidate.overview.sealed).collect();
        let seen = match (recorded(full.first().copied()), recorded(full.last().copied())) {
            (Some((first, _)), Some((_, last))) if last > first => last.abs_diff(first),
            _ => 0,
        };
        let per_day = |total: u64| {
            let daily = u128::from(total) * u128::from(DAY_NANOS) / u128::from(seen.max(1));
            (seen >= LEAST_SEEN).then(|| u64::try_from(daily).unwrap_or(u64::MAX))
        };
        let bytes_per_day = per_day(full.iter().map(|candidate| candidate.plan.bytes).sum());
        let records_per_day = per_day(full.iter().map(|candidate| candidate.plan.records).sum());
        let days = limits.term.and_then(Term::duration).map(|term| term.as_secs() / 86_400 + 1);
        let growth = |now, per_day: Option<u64>| {
            let per_day = per_day.unwrap_or(0);
            Growth { now, per_day, most: days.map(|days| per_day.saturating_mul(days)) }
        };
        let (of_bytes, of_records) =
            (growth(bytes, bytes_per_day), growth(records, records_per_day));
        let until = |limit: Option<u64>, growth: Growth, per_day: Option<u64>| match limit {
            None => Forecast::Unlimited,
            Some(limit) if growth.now < limit && per_day.is_none() => Forecast::Unknown,
            Some(limit) => forecast(&[growth], limit),
        };
        let full = until(limits.max_bytes, of_bytes, bytes_per_day).sooner(until(
            limits.max_records,
            of_records,
            records_per_day,
        ));
        let since = recorded(candidates.iter().find(|candidate| candidate.plan.records > 0));
        let since = since.map(|(first, _)| Timestamp::from_nanos(first));
        let segments = candidates.len() as u64;
        let usage = Self {
            class,
            limits,
            segments,
            records,
            bytes,
            since,
            bytes_per_day,
            records_per_day,
            full,
        };
        // At its limit of records it takes about as much for each as now.
        let at_most = limits.max_records.filter(|_| records > 0).map(|most| {
            let bytes = u128::from(bytes) * u128::from(most) / u128::from(records);
            u64::try_from(bytes).unwrap_or(u64::MAX)
        });
        let most = limits.max_bytes.into_iter().chain(of_bytes.most).chain(at_most).min();
        Ok((usage, Growth { most, ..of_bytes }))
    }
}

impl Forecast {
    /// After how many days it is reached; `None` when it is not, or that cannot be told.
    ///
    /// ```
    /// use runledger::Forecast;
    /// assert_eq!((Forecast::Days(3).days(), Forecast::Never.days()), (Some(3), None));
    /// ```
    #[must_use]
    pub const fn days(self) -> Option<u64> {
        match self {
            Self::Days(days) => Some(days),
            Self::Unlimited | Self::Unknown | Self::Never => None,
        }
    }

    /// The one of two limits that is reached first.
    fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Days(one), Self::Days(other)) => Self::Days(one.min(other)),
            (days @ Self::Days(_), _) | (_, days @ Self::Days(_)) => days,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::Unlimited, Self::Unlimited) => Self::Unlimited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_tells_the_first_day_on_which_a_limit_is_reached() {
        let growth = |now, per_day, most| Growth { now, per_day, most };
        assert_eq!(forecast(&[growth(0, 10, None)], 95), Forecast::Days(10));
        assert_eq!(forecast(&[growth(95, 0, None)], 95), Forecast::Days(0));
        assert_eq!(forecast(&[growth(0, 10, Some(90))], 95), Forecast::Never);
        let both = [growth(0, 10, Some(90)), growth(5, 1, None)];
        assert_eq!(forecast(&both, 105), Forecast::Days(10));
        assert_eq!(forecast(&[growth(0, u64::MAX, None)], u64::MAX), Forecast::Days(1));
        assert_eq!(forecast(&[growth(0, 0, None)], 1), Forecast::Never);
    }
}
