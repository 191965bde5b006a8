//! What a row stands on: its size, its seed, its counts and its processors.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runledger::Result;

use crate::rng::Rng;

/// How often a row tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As often as fits into every run of the tests.
    Fast,
    /// As often as the scorecard asks for.
    Full,
}

/// A row gives up after so many failures: more of the same tell nothing new.
const MAX_FAILURES: u64 = 20;

/// What one row counts.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How many attempts there were.
    pub tried: u64,
    /// How many of them broke a promise.
    pub failed: u64,
    /// What the first of those were.
    pub failures: Vec<String>,
    /// How many attempts could not be made here, and why.
    pub skipped: Vec<(u64, String)>,
    /// Figures that say what the attempts met.
    pub notes: Vec<String>,
}

/// What a row is given to run on, and where it counts.
#[derive(Debug)]
pub struct Ground {
    /// How often to try.
    pub size: Size,
    /// Where all chance comes from.
    pub seed: u64,
    /// Only this case of each part, to repeat a failure.
    pub only_case: Option<u64>,
    /// This program, when it can be run again as another process.
    pub program: Option<PathBuf>,
    /// How many cases run side by side.
    pub threads: usize,
    /// After so many failures the row gives up.
    pub max_failures: u64,
    tally: Mutex<Tally>,
    part: Mutex<&'static str>,
}

impl Ground {
    /// A ground on which nothing has been tried. Without `program`, what needs other processes is
    /// skipped.
    #[must_use]
    pub fn new(size: Size, seed: u64, program: Option<PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (tally, part) = (Mutex::default(), Mutex::new(""));
        let max_failures = MAX_FAILURES;
        Self { size, seed, only_case: None, program, threads, max_failures, tally, part }
    }

    /// The number for this size.
    #[must_use]
    pub fn of(&self, fast: u64, full: u64) -> u64 {
        match self.size {
            Size::Fast => fast,
            Size::Full => full,
        }
    }

    /// Chance that follows from the row's seed.
    #[must_use]
    pub fn rng(&self) -> Rng {
        Rng::new(self.seed)
    }

    /// Counts attempts.
    pub fn tried(&self, count: u64) {
        self.tally.lock().tried += count;
    }

    /// Counts attempts that cannot be made here.
    pub fn skip(&self, count: u64, reason: impl Into<String>) {
        self.tally.lock().skipped.push((count, reason.into()));
    }

    /// Keeps a figure for the card: what the attempts met.
    pub fn note(&self, figure: impl Display) {
        let part = *self.part.lock();
        self.tally.lock().notes.push(format!("{part}: {figure}"));
    }

    /// Counts a broken promise.
    pub fn fail(&self, what: impl Display) {
        let part = *self.part.lock();
        let mut tally = self.tally.lock();
        tally.failed += 1;
        if tally.failures.len() < usize::try_from(MAX_FAILURES).unwrap_or(usize::MAX) {
            tally.failures.push(format!("{part}: {what}"));
        }
    }

    /// Runs cases side by side, each with a seed of its own and on its own processor. A case tells
    /// how many attempts it made; an error or a panic in it is a broken promise.
    pub fn cases(&self, count: u64, case: impl Fn(u64) -> Result<u64> + Sync) {
        self.numbered_cases(count, |_, seed| case(seed));
    }

    /// As [`Ground::cases`], for cases that go by their number and have a seed besides.
    pub fn numbered_cases(&self, count: u64, case: impl Fn(u64, u64) -> Result<u64> + Sync) {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| self.run_cases(&next, count, &case));
            }
        });
    }

    fn run_cases(
        &self,
        next: &AtomicU64,
        count: u64,
        case: &(impl Fn(u64, u64) -> Result<u64> + Sync),
    ) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || self.gives_up() {
                return;
            }
            if self.only_case.is_some_and(|only| only != number) {
                continue;
            }
            let seed =
                Rng::new(self.seed.wrapping_add(number.wrapping_mul(0x0100_0000_01b3))).number();
            self.guarded(&format!("case {number}"), || case(number, seed));
        }
    }

    fn gives_up(&self) -> bool {
        self.tally.lock().failed >= self.max_failures
    }

    /// Runs one attempt or several, which tell how many they were; an error or a panic in it is a
    /// broken promise, under this label.
    pub fn guarded(&self, label: &str, attempt: impl FnOnce() -> Result<u64>) {
        match catch_unwind(AssertUnwindSafe(attempt)) {
            Ok(Ok(tried)) => self.tried(tried),
            Ok(Err(err)) => self.fail(format!("{label}: {err}")),
            Err(panic) => self.fail(format!("{label}: {}", message(&*panic))),
        }
    }

    /// Runs the parts of a row, one after the other. How long that took, and what was counted.
    pub fn run(&self, parts: &[(&'static str, Part)]) -> (Tally, Duration) {
        let begin = Instant::now();
        for (name, part) in parts {
            if self.gives_up() {
                break;
            }
            *self.part.lock() = name;
            match catch_unwind(AssertUnwindSafe(|| part(self))) {
                Ok(Ok(())) => {}
                Ok(Err(err)) => self.fail(err),
                Err(panic) => self.fail(message(&*panic)),
            }
        }
        (self.tally.lock().clone(), begin.elapsed())
    }
}

/// A scenario of a row. An error or a panic is a broken promise.
pub type Part = fn(&Ground) -> Result<()>;

/// What a panic said.
#[must_use]
pub fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_that_fail_are_counted_and_named() {
        let ground = Ground::new(Size::Fast, 1, None);
        let part: Part = |ground| {
            ground.cases(5, |seed| {
                assert_ne!(seed, 0);
                Ok(2)
            });
            ground.guarded("here", || panic!("it broke"));
            ground.skip(7, "no disk");
            panic!("the part broke")
        };
        let (tally, _) = ground.run(&[("first", part)]);
        assert_eq!((tally.tried, tally.failed), (10, 2));
        assert_eq!(tally.failures, ["first: here: it broke", "first: the part broke"]);
        assert_eq!(tally.skipped, [(7, "no disk".to_owned())]);
    }

    #[test]
    fn a_row_stops_when_it_is_clear_that_it_fails() {
        let mut ground = Ground::new(Size::Fast, 1, None);
        ground.threads = 1;
        let part: Part = |ground| {
            ground.cases(1000, |_| panic!("again"));
            Ok(())
        };
        assert_eq!(ground.run(&[("all", part)]).0.failed, MAX_FAILURES);
    }

    #[test]
    fn one_case_can_be_repeated() {
        let seeds = |only| {
            let mut ground = Ground::new(Size::Fast, 3, None);
            ground.only_case = only;
            let seen = Mutex::new(Vec::new());
            ground.cases(4, |seed| {
                seen.lock().push(seed);
                Ok(1)
            });
            let mut seen = seen.into_inner();
            seen.sort_unstable();
            seen
        };
        let all = seeds(None);
        assert_eq!(all.len(), 4);
        assert!(all.contains(&seeds(Some(2))[0]) && seeds(Some(2)).len() == 1);
    }
}
