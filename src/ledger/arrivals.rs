//! When a segment's records arrived, whatever the clock did meanwhile.

/// No clock that is set shows a time before this (2020-01-01): one that does was not set yet.
const FIRST_SANE: i64 = 1_577_836_800_000_000_000;

/// The time at which the newest record of each segment of a stream arrived, at the latest, from
/// the times at which its first and last frame were recorded.
///
/// A clock that was set back, or was not set yet, makes nothing look older than what was appended
/// before it: so nothing is dropped early. A time in the future is not believed, but bounded by
/// what was appended after it: so nothing is kept for ever.
pub(super) fn arrivals(recorded: &[(i64, i64)], now: i64) -> Vec<i64> {
    let is_sane = |time: i64| (FIRST_SANE..=now).contains(&time);
    let mut arrivals = Vec::with_capacity(recorded.len());
    let mut latest = i64::MIN;
    for (at, &(first, last)) in recorded.iter().enumerate() {
        if is_sane(last) {
            // The clock may have been set back within the segment, too.
            latest = latest.max(if is_sane(first) { first.max(last) } else { last });
            arrivals.push(latest);
            continue;
        }
        let after = recorded.get(at + 1..).unwrap_or_default();
        let times = after.iter().flat_map(|&(first, last)| [first, last]);
        let bound = times.filter(|&time| is_sane(time)).min();
        arrivals.push(bound.unwrap_or(now).max(latest));
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;
    const NOW: i64 = FIRST_SANE + 1000 * DAY;

    fn days(days: &[(i64, i64)]) -> Vec<i64> {
        let times: Vec<_> =
            days.iter().map(|&(a, b)| (FIRST_SANE + a * DAY, FIRST_SANE + b * DAY)).collect();
        arrivals(&times, NOW).iter().map(|time| (time - FIRST_SANE) / DAY).collect()
    }

    #[test]
    fn a_steady_clock_is_believed() {
        assert_eq!(days(&[(1, 2), (2, 3), (3, 9)]), [2, 3, 9]);
        assert_eq!(days(&[]), [0; 0]);
    }

    #[test]
    fn a_clock_set_back_makes_nothing_look_older() {
        assert_eq!(days(&[(900, 910), (10, 20), (911, 920)]), [910, 910, 920]);
        assert_eq!(days(&[(20, 10)]), [20]);
    }

    #[test]
    fn a_clock_that_was_not_set_yet_is_bounded_by_what_came_after() {
        assert_eq!(days(&[(-18000, -17999), (900, 910)]), [900, 910]);
        assert_eq!(days(&[(-18000, -17999)]), [1000], "unknown: it counts as of now");
    }

    #[test]
    fn a_time_in_the_future_pins_nothing() {
        assert_eq!(days(&[(1, 5), (9000, 9001), (6, 7)]), [5, 6, 7]);
        assert_eq!(days(&[(9000, 9001)]), [1000]);
        assert_eq!(days(&[(1, 9000), (9000, 9001), (9001, 7)]), [7, 7, 7]);
    }
}
