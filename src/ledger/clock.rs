//! How far the wall clock is believed when records are dropped for their age.

use std::time::Duration;

use crate::error::Result;
use crate::ledger::audit;
use crate::ledger::handle::Inner;
use crate::model::nanos;
use crate::planted::{Bug, is_planted};
use crate::storage::Storage;
use crate::sync::Mutex;

/// How far the wall clock may get ahead of the monotonic one from look to look: a machine that
/// sleeps stops the one and not the other.
const SLACK: i64 = 24 * 60 * 60 * 1_000_000_000;

/// How long a clock that jumped ahead by more has to go on from there before it is believed.
const TRIAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the clock may be ahead of the newest record when a ledger is opened: so long it may
/// have lain idle.
const IDLE: i64 = 8 * 24 * 60 * 60 * 1_000_000_000;

/// How far apart two times may lie that bear each other out: a machine may run for an hour a year.
const YEAR: i64 = 400 * 24 * 60 * 60 * 1_000_000_000;

/// How far the clock may be set back without a note.
const SET_BACK: i64 = 60 * 1_000_000_000;

/// The wall clock, held against the monotonic one. One that jumps years ahead must not make all
/// records look old at once; one that was set right by a jump is believed after a day.
#[derive(Debug)]
pub(super) struct Clock(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Look,
    /// Where the clock was last believed.
    believed: Look,
    /// Where it has been since it jumped ahead.
    on_trial: Option<Look>,
}

/// What both clocks showed at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    wall: i64,
    monotonic: Duration,
}

/// The time, as far as it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Believed {
    pub(super) now: i64,
    /// By how many nanoseconds the clock has jumped since the last look: back, or far ahead.
    pub(super) jump: Option<i64>,
}

/// True when the clock was set back from the one time to the other.
pub(super) const fn is_set_back(from: i64, to: i64) -> bool {
    to < from && from.abs_diff(to) > SET_BACK.unsigned_abs()
}

impl Look {
    fn at(storage: &dyn Storage) -> Self {
        Self { wall: storage.now(), monotonic: storage.monotonic() }
    }

    /// What the wall clock should show when the monotonic one shows this.
    fn wall_at(&self, monotonic: Duration) -> i64 {
        self.wall.saturating_add(nanos(monotonic.saturating_sub(self.monotonic)))
    }

    /// By how much `later` is ahead of what follows from this.
    fn lead_of(&self, later: &Self) -> i64 {
        later.wall.saturating_sub(self.wall_at(later.monotonic))
    }
}

impl Clock {
    pub(super) fn new(storage: &dyn Storage) -> Self {
        let now = Look::at(storage);
        Self(Mutex::new(State { last: now, believed: now, on_trial: None }))
    }

    /// As [`Clock::new`], for a ledger whose newest record was appended at this time. A machine can
    /// start with its clock years ahead: one that is far ahead of the newest record is on trial.
    pub(super) fn after(storage: &dyn Storage, newest: Option<i64>) -> Self {
        let now = Look::at(storage);
        let newest = newest.filter(|newest| now.wall.saturating_sub(*newest) > IDLE);
        let believed = Look { wall: newest.unwrap_or(now.wall), ..now };
        Self(Mutex::new(State { last: now, believed, on_trial: newest.map(|_| now) }))
    }

    pub(super) fn look(&self, storage: &dyn Storage) -> Believed {
        let mut state = self.0.lock();
        let look = Look::at(storage);
        let jump = state.last.lead_of(&look);
        let jump = (!(-SET_BACK..=SLACK).contains(&jump)).then_some(jump);
        state.last = look;
        Believed { now: state.believe(look), jump }
    }
}

/// The newest time among those at which records were appended, in their order, that others bear
/// out. A clock that is years ahead is not to be believed for a record that it has stamped itself,
/// as soon as the ledger is opened again: one that jumped has to be met again, a day or more later.
pub(super) fn borne_out(times: impl IntoIterator<Item = i64>) -> Option<i64> {
    let trial = nanos(TRIAL);
    let (mut believed, mut since) = (None, None);
    for time in times {
        let before = *believed.get_or_insert(time);
        let passed = since.map_or(0, |since| time.saturating_sub(since));
        if time.abs_diff(before) <= IDLE.unsigned_abs() || (trial..=YEAR).contains(&passed) {
            believed = Some(time);
            since = None;
        } else if since.is_none() || !(0..=YEAR).contains(&passed) {
            since = Some(time);
        }
    }
    believed
}

impl State {
    fn believe(&mut self, look: Look) -> i64 {
        let lead = self.believed.lead_of(&look);
        if lead <= SLACK || is_planted(Bug::BelieveTheClock) {
            self.on_trial = None;
            // From a time in the past nothing is dropped early, and the way back is no jump.
            if lead >= -SLACK {
                self.believed = look;
            }
            return look.wall;
        }
        let since = self.on_trial.filter(|since| since.lead_of(&look).abs() <= SLACK);
        let since = since.unwrap_or(look);
        if look.monotonic.saturating_sub(since.monotonic) >= TRIAL {
            self.believed = look;
            self.on_trial = None;
            return look.wall;
        }
        self.on_trial = Some(since);
        self.believed.wall_at(look.monotonic)
    }
}

impl Inner {
    /// The time by which records expire. A clock that has jumped is put on record.
    pub(super) fn believed_now(&self) -> Result<i64> {
        let believed = self.clock.look(&*self.options.storage);
        if let Some(jump) = believed.jump {
            self.note(&audit::clock_jumped(jump))?;
        }
        Ok(believed.now)
    }

    /// The time by the clock that was held against the newest record, too: [`Clock::after`].
    pub(super) fn doubted_now(&self) -> i64 {
        self.doubting_clock.look(&*self.options.storage).now
    }

    /// The time by which records expire that nobody asks to be dropped.
    pub(super) fn expiring_now(&self) -> Result<i64> {
        let doubted = self.doubted_now();
        Ok(self.believed_now()?.min(doubted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60 * 1_000_000_000;
    const YEAR: i64 = 365 * 24 * HOUR;

    /// What is believed at each of these looks: hours on the monotonic clock, and the wall clock.
    fn believed(looks: &[(u64, i64)]) -> Vec<i64> {
        let start = Look { wall: 0, monotonic: Duration::ZERO };
        let mut state = State { last: start, believed: start, on_trial: None };
        let look = |&(hours, wall): &(u64, i64)| {
            state.believe(Look { wall, monotonic: Duration::from_secs(hours * 3600) })
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn a_steady_clock_a_sleep_and_the_past_are_believed() {
        assert_eq!(believed(&[(1, HOUR), (2, 20 * HOUR)]), [HOUR, 20 * HOUR]);
        assert_eq!(believed(&[(1, -YEAR), (2, 2 * HOUR)]), [-YEAR, 2 * HOUR]);
    }

    #[test]
    fn a_jump_ahead_is_believed_after_a_day() {
        let looks = [(1, YEAR), (10, YEAR + 9 * HOUR), (25, YEAR + 24 * HOUR)];
        assert_eq!(believed(&looks), [HOUR, 10 * HOUR, YEAR + 24 * HOUR]);
    }

    #[test]
    fn a_record_does_not_bear_out_its_own_time() {
        let days = |days: &[i64]| borne_out(days.iter().map(|day| day * 24 * HOUR));
        let day = |day: i64| Some(day * 24 * HOUR);
        assert_eq!(days(&[]), None);
        assert_eq!(days(&[0, 3, 9, 15]), day(15));
        assert_eq!(days(&[0, 3650]), day(0));
        assert_eq!(days(&[0, 3650, 3651]), day(3651), "a day later it is still that time");
        assert_eq!(days(&[0, 3650, 7300, -20_000, 1]), day(1));
        assert_eq!(days(&[0, 30, 60, 90]), day(60), "once a month: the last is on trial");
        assert_eq!(days(&[3650, 0, 1, 2]), day(2), "the first was wrong");
    }

    #[test]
    fn every_jump_is_on_trial_for_itself() {
        let looks = [(1, YEAR), (20, 3 * YEAR), (26, 3 * YEAR + 6 * HOUR), (27, 27 * HOUR)];
        assert_eq!(believed(&looks), [HOUR, 20 * HOUR, 26 * HOUR, 27 * HOUR]);
    }
}
