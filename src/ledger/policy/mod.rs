//! How long records are kept, and how much disk they may take: what the options, the ledger's file
//! `runledger.toml` and the defaults say of it.

mod file;
mod live;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::classes::{Class, StreamSet};
use crate::model::Kind;

pub(super) use file::read;
pub(super) use live::{LivePolicy, Roll, make_directories, rolls};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Term {
    /// For this long after they were appended.
    For(Duration),
    /// For ever, but for limits of bytes and records.
    Forever,
}

impl Term {
    /// The duration; `None` for ever.
    #[must_use]
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Self::For(duration) => Some(duration),
            Self::Forever => None,
        }
    }
}

/// What is said of one class. Whole segments go, the oldest first, so that of bytes and records
/// there may be fewer than the limit, and of time more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// For how long its records are kept; `None` leaves that to the class that it is split off, and
    /// for the class of a kind to the default.
    pub term: Option<Term>,
    /// How many bytes of disk its segments may take.
    pub max_bytes: Option<u64>,
    /// How many records it may hold, superseded states of runs included.
    pub max_records: Option<u64>,
}

impl Limits {
    /// No limits of its own.
    #[must_use]
    pub const fn new() -> Self {
        Self { term: None, max_bytes: None, max_records: None }
    }

    /// Sets for how long records are kept after they were appended.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.term = Some(Term::For(age));
        self
    }

    /// Has records kept for ever.
    #[must_use]
    pub const fn forever(mut self) -> Self {
        self.term = Some(Term::Forever);
        self
    }

    /// Sets how many bytes of disk the class may take.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets how many records the class may hold.
    #[must_use]
    pub const fn max_records(mut self, records: u64) -> Self {
        self.max_records = Some(records);
        self
    }

    fn over(self, below: Self) -> Self {
        Self {
            term: self.term.or(below.term),
            max_bytes: self.max_bytes.or(below.max_bytes),
            max_records: self.max_records.or(below.max_records),
        }
    }
}

/// How long records are kept, and how much disk they may take, class by class.
///
/// A class narrower than a kind that is named here is split off: its records go to a stream of
/// their own, which expires by itself.
///
/// ```
/// use std::time::Duration;
/// use runledger::{Class, Limits, Retention, Status, Term};
/// let two_years = Duration::from_secs(2 * 365 * 24 * 60 * 60);
/// let failed = Class::status(Status::Failed);
/// let retention = Retention::new().class(failed, Limits::new().age(two_years));
/// assert_eq!(retention.limits(failed).term, Some(Term::For(two_years)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    classes: BTreeMap<Class, Limits>,
    max_bytes: Option<u64>,
}

impl Retention {
    /// Nothing is said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What holds where nobody says anything else: runs are kept for 365 days, events for 30,
    /// errors for 90, and nothing is capped.
    #[must_use]
    pub fn standard() -> Self {
        let days = |days| Limits::new().age(DAY * days);
        Self::new()
            .class(Class::of(Kind::Run), days(365))
            .class(Class::of(Kind::Event), days(30))
            .class(Class::of(Kind::Error), days(90))
    }

    /// Sets the limits of a class, in place of what was set of it before.
    #[must_use]
    pub fn class(mut self, class: Class, limits: Limits) -> Self {
        self.classes.insert(class, limits);
        self
    }

    /// Sets how many bytes of disk the whole directory may take; `None` sets no bound.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: Option<u64>) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How many bytes of disk the whole directory may take.
    #[must_use]
    pub const fn cap(&self) -> Option<u64> {
        self.max_bytes
    }

    /// The limits of a class: of one that is split off, its term is that of its kind when it is not
    /// set, and its other limits are its own.
    #[must_use]
    pub fn limits(&self, class: Class) -> Limits {
        let own = self.classes.get(&class).copied().unwrap_or_default();
        let parent = class.parent().and_then(|parent| self.classes.get(&parent));
        Limits { term: own.term.or(parent.and_then(|parent| parent.term)), ..own }
    }

    /// The classes that are named.
    pub fn classes(&self) -> impl Iterator<Item = Class> + '_ {
        self.classes.keys().copied()
    }

    /// What this says, and where it says nothing, what `below` does.
    pub(super) fn over(mut self, below: &Self) -> Self {
        for (class, limits) in &below.classes {
            let own = self.classes.entry(*class).or_default();
            *own = own.over(*limits);
        }
        self.max_bytes = self.max_bytes.or(below.max_bytes);
        self
    }

    /// Sets for how long records of a class are kept.
    pub(super) fn set_term(&mut self, class: Class, term: Term) {
        self.classes.entry(class).or_default().term = Some(term);
    }

    /// The streams that are split off their kinds.
    pub(super) fn split(&self) -> StreamSet {
        let mut split = StreamSet::NONE;
        let narrow = self.classes().filter(|class| class.parent().is_some());
        narrow.for_each(|class| split.insert(class.stream()));
        split
    }

    /// The longest term of any class; `None` when one is kept for ever.
    pub(super) fn longest(&self) -> Option<Duration> {
        let kinds = Kind::ALL.iter().map(|kind| Class::of(*kind));
        let terms = kinds.chain(self.classes()).map(|class| self.limits(class).term);
        let terms: Option<Vec<_>> = terms.map(|term| term.and_then(Term::duration)).collect();
        terms?.into_iter().max()
    }
}
