//! Ids of runs and traces that have none yet.

use std::cell::RefCell;

use crate::model::{Id, Timestamp};

/// How many random bytes a thread asks the operating system for at a time.
const AT_ONCE: usize = 512;

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random::EMPTY) };
}

struct Random {
    bytes: [u8; AT_ONCE],
    left: usize,
}

impl Random {
    const EMPTY: Self = Self { bytes: [0; AT_ONCE], left: 0 };
}

/// Sixteen random bytes; `None` when the operating system has none.
fn random() -> Option<[u8; 16]> {
    let taken = RANDOM.try_with(|random| {
        let mut random = random.try_borrow_mut().ok()?;
        if random.left < 16 {
            getrandom::fill(&mut random.bytes).ok()?;
            random.left = AT_ONCE;
        }
        random.left -= 16;
        let left = random.left;
        random.bytes.get(left..left + 16)?.try_into().ok()
    });
    taken.ok().flatten()
}

/// The id of a new trace.
pub(super) fn new_trace() -> Option<Id<'static>> {
    random().map(Id::from_hex_bytes)
}

/// The id of a new run: a UUID of version 7, which sorts by its time.
pub(super) fn new_run(now: Timestamp) -> Option<Id<'static>> {
    let mut bytes = random()?;
    let millis = u64::try_from(now.as_nanos() / 1_000_000).unwrap_or(0);
    let [_, _, time @ ..] = millis.to_be_bytes();
    for (byte, of_time) in bytes.iter_mut().zip(time) {
        *byte = of_time;
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = 0x70 | (*version & 0x0f);
    *variant = 0x80 | (*variant & 0x3f);
    Some(Id::from_uuid(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_runs_are_uuids_that_sort_by_time() {
        let id = |millis: i64| new_run(Timestamp::from_nanos(millis * 1_000_000)).unwrap();
        let text = id(0x0192_f1a4_7b3c).to_string();
        assert!(text.starts_with("0192f1a4-7b3c-7"), "{text}");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        assert!(id(1).to_string() < id(2).to_string());
        let traces: std::collections::HashSet<_> =
            (0..1000).map(|_| new_trace().unwrap()).collect();
        assert_eq!(traces.len(), 1000);
    }
}
