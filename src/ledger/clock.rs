use std::time::Duration;

/// How far the wall clock may stray from the monotonic one, between two looks, before that is a
/// jump (an hour, in nanoseconds).
const TOLERANCE: i128 = 3_600_000_000_000;

/// How long a clock that has jumped must run on steadily before it is believed.
const PROBATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Watches the wall clock by the monotonic one, so that a clock that jumps ahead lets nothing
/// expire early.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockGuard {
    believed: Reading,
    /// The first reading after a jump that the clock has kept to since.
    suspect: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: i64,
    monotonic: Duration,
}

impl Reading {
    /// What the wall clock should show now, if it ran steadily since this reading.
    fn expects(self, monotonic: Duration) -> i64 {
        let passed = monotonic.saturating_sub(self.monotonic).as_nanos();
        self.wall.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    fn agrees_with(self, now: Self) -> bool {
        let strayed = i128::from(now.wall) - i128::from(self.expects(now.monotonic));
        strayed.abs() <= TOLERANCE
    }
}

/// What a look at the clock gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Believed {
    /// The time by which records may expire.
    pub(super) now: i64,
    /// How far the wall clock has jumped since the last look, in nanoseconds; negative when back.
    pub(super) jump: Option<i64>,
}

impl ClockGuard {
    /// Believes the clock as it is at the opening: there is nothing to compare it with.
    pub(super) const fn new(wall: i64, monotonic: Duration) -> Self {
        Self { believed: Reading { wall, monotonic }, suspect: None }
    }

    /// The time to go by: the wall clock's, unless it has jumped. Then it is the earlier of what it
    /// shows and what it should, until it has run on steadily for a day.
    pub(super) fn look(&mut self, wall: i64, monotonic: Duration) -> Believed {
        let now = Reading { wall, monotonic };
        if self.believed.agrees_with(now) {
            *self = Self { believed: now, suspect: None };
            return Believed { now: wall, jump: None };
        }
        let expected = self.believed.expects(monotonic);
        match self.suspect.filter(|suspect| suspect.agrees_with(now)) {
            Some(first) if monotonic.saturating_sub(first.monotonic) >= PROBATION => {
                *self = Self { believed: now, suspect: None };
                Believed { now: wall, jump: None }
            }
            Some(_) => Believed { now: wall.min(expected), jump: None },
            None => {
                let before = self.suspect.map_or(expected, |suspect| suspect.expects(monotonic));
                self.suspect = Some(now);
                Believed { now: wall.min(expected), jump: Some(wall.saturating_sub(before)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;
    const YEAR: i64 = 365 * 24 * HOUR;

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(3600 * hours)
    }

    #[test]
    fn a_steady_clock_is_believed_and_a_small_step_too() {
        let mut guard = ClockGuard::new(0, hours(5));
        let steady = Believed { now: 10 * HOUR, jump: None };
        assert_eq!(guard.look(10 * HOUR, hours(15)), steady);
        assert_eq!(guard.look(10 * HOUR + HOUR / 2, hours(15)).jump, None);
    }

    #[test]
    fn a_jump_ahead_is_told_once_and_believed_after_a_day() {
        let mut guard = ClockGuard::new(0, hours(0));
        assert_eq!(guard.look(YEAR, hours(1)), Believed { now: HOUR, jump: Some(YEAR - HOUR) });
        assert_eq!(guard.look(YEAR + HOUR, hours(2)), Believed { now: 2 * HOUR, jump: None });
        let day_later = YEAR + 24 * HOUR;
        assert_eq!(guard.look(day_later, hours(25)), Believed { now: day_later, jump: None });
    }

    #[test]
    fn a_jump_and_back_leaves_no_trace_and_a_jump_back_is_the_earlier_time() {
        let mut guard = ClockGuard::new(YEAR, hours(0));
        assert!(guard.look(9 * YEAR, hours(1)).jump.is_some());
        assert_eq!(guard.look(YEAR + 2 * HOUR, hours(2)).now, YEAR + 2 * HOUR);
        assert_eq!(guard.look(0, hours(3)), Believed { now: 0, jump: Some(-YEAR - 3 * HOUR) });
        assert!(guard.look(i64::MIN, hours(4)).jump.is_some());
        assert!(guard.look(i64::MAX, hours(5)).jump.is_some());
    }
}
