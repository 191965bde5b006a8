//! The streams that a ledger can have: one for each kind of record, and one for each class that a
//! kind can be split into, which is a status of runs or a severity of events and errors.

use std::fmt;

use crate::error::{Error, Result};
use crate::model::{Body, Kind, Severity, Status};

/// All streams that there can be: name and the kind of their records. Those of the kinds come
/// first, and the one of runs before all others: its lock orders the states of all runs.
pub(super) const STREAM_KINDS: [(&str, Kind); 20] = [
    ("runs", Kind::Run),
    ("events", Kind::Event),
    ("errors", Kind::Error),
    (AUDIT, Kind::Event),
    ("runs.pending", Kind::Run),
    ("runs.running", Kind::Run),
    ("runs.success", Kind::Run),
    ("runs.failed", Kind::Run),
    ("runs.skipped", Kind::Run),
    ("runs.cancelled", Kind::Run),
    ("runs.abandoned", Kind::Run),
    ("events.trace", Kind::Event),
    ("events.debug", Kind::Event),
    ("events.info", Kind::Event),
    ("events.warning", Kind::Event),
    ("events.error", Kind::Event),
    ("events.critical", Kind::Event),
    ("errors.warning", Kind::Error),
    ("errors.error", Kind::Error),
    ("errors.critical", Kind::Error),
];

/// The stream of what the engine itself has to say.
const AUDIT: &str = "audit";

/// The place of the stream that all runs go to, unless it is split.
pub(super) const RUNS: usize = 0;

/// The place of the audit stream among [`STREAM_KINDS`].
pub(super) const AUDIT_STREAM: usize = 3;

/// The streams that every ledger has.
pub(super) const BASE_STREAMS: StreamSet = StreamSet(0b1111);

/// The streams of runs, split or not.
pub(super) const RUN_STREAMS: StreamSet = StreamSet(0b111_1111_0001);

/// The code of a stream in the file `SEQ`, from its place among [`STREAM_KINDS`].
pub(super) fn stream_code(stream: usize) -> u16 {
    let code = |first: u16| first + tag_at(stream).map_or(0, u16::from);
    match stream {
        RUNS => 1,
        1 => 2,
        2 => 3,
        AUDIT_STREAM => 4,
        4..=10 => code(16),
        11..=16 => code(32),
        17..=19 => code(48),
        _ => u16::MAX,
    }
}

/// The status or severity that all records of the stream at this place have, as its code.
fn tag_at(stream: usize) -> Option<u8> {
    let tag = match stream {
        4..=10 => stream - 3,
        11..=16 => (stream - 11) * 4 + 1,
        17..=19 => (stream - 17) * 4 + 13,
        _ => return None,
    };
    u8::try_from(tag).ok()
}

/// The place of the stream that records of a kind go to, unless it is split.
const fn stream_of(kind: Kind) -> usize {
    match kind {
        Kind::Run => RUNS,
        Kind::Event => 1,
        Kind::Error => 2,
    }
}

/// The place of the stream of records with this tag, if their kind is split there.
fn split_stream(kind: Kind, tag: u8) -> Option<usize> {
    let (first, place) = match kind {
        Kind::Run => (4, tag.checked_sub(1)?),
        // The codes of severities are 1, 5, 9, 13, 17 and 21; errors begin with warnings.
        Kind::Event => (11, tag.checked_sub(1)? / 4),
        Kind::Error => (17, tag.checked_sub(13)? / 4),
    };
    Some(first + usize::from(place))
}

/// A set of streams, by their places among [`STREAM_KINDS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamSet(u32);

impl StreamSet {
    pub(super) const NONE: Self = Self(0);

    /// All that there can be.
    pub(super) const ALL: Self = Self((1 << STREAM_KINDS.len()) - 1);

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    pub(super) fn of_one(stream: usize) -> Self {
        Self(bit(stream))
    }

    pub(super) fn insert(&mut self, stream: usize) {
        self.0 |= bit(stream);
    }

    pub(super) fn without(self, stream: usize) -> Self {
        Self(self.0 & !bit(stream))
    }

    pub(super) fn contains(self, stream: usize) -> bool {
        self.0 & bit(stream) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True for the stream of a kind of which one of these is split off.
    pub(super) fn is_split(self, stream: usize) -> bool {
        let class = Class::at(stream);
        self.filter_map(Class::at).any(|split| split.parent().is_some() && split.parent() == class)
    }

    /// Those of `items`, one for each stream, that stand at the places in the set.
    pub(super) fn of<T>(self, items: &[T]) -> impl Iterator<Item = &T> {
        self.filter_map(|stream| items.get(stream))
    }

    /// The stream that a record goes to, when those of this set are split off their kinds.
    pub(super) fn route(self, kind: Kind, tag: u8) -> usize {
        match self.0 {
            0 => stream_of(kind),
            _ => {
                let split = split_stream(kind, tag).filter(|&stream| self.contains(stream));
                split.unwrap_or_else(|| stream_of(kind))
            }
        }
    }
}

fn bit(stream: usize) -> u32 {
    u32::try_from(stream).ok().and_then(|stream| 1u32.checked_shl(stream)).unwrap_or(0)
}

/// The places, in their order.
impl Iterator for StreamSet {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let lowest = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

/// A retention class: records that are kept for the same time, and lie in a stream of their own.
///
/// Runs, events and errors are a class each. Of runs those of one status can be split off, and of
/// events and errors those of one severity: a record is then of the narrower class.
///
/// ```
/// use runledger::{Class, Kind, Severity, Status};
/// assert_eq!(Class::status(Status::Failed).name(), "runs.failed");
/// assert_eq!("errors.critical".parse::<Class>()?.kind(), Kind::Error);
/// assert_eq!(Class::severity(Kind::Error, Severity::Info), None, "no error is that harmless");
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(u8);

impl Class {
    /// All records of a kind, but for those that are split off.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Run => Self(0),
            Kind::Event => Self(1),
            Kind::Error => Self(2),
        }
    }

    /// The runs in this status.
    #[must_use]
    pub fn status(status: Status) -> Self {
        Self::with_tag(Kind::Run, status.code()).unwrap_or(Self::of(Kind::Run))
    }

    /// The events or errors of this severity; `None` for runs, which have none, and for severities
    /// that errors do not have.
    #[must_use]
    pub fn severity(kind: Kind, severity: Severity) -> Option<Self> {
        if kind == Kind::Run { None } else { Self::with_tag(kind, severity.code()) }
    }

    fn with_tag(kind: Kind, tag: u8) -> Option<Self> {
        split_stream(kind, tag).and_then(|stream| u8::try_from(stream).ok()).map(Self)
    }

    /// All classes that there can be.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..STREAM_KINDS.len()).filter_map(Self::at)
    }

    /// The class of the stream at this place; `None` for the engine's own notes, which are kept for
    /// ever.
    pub(super) fn at(stream: usize) -> Option<Self> {
        let is_class = stream < STREAM_KINDS.len() && stream != AUDIT_STREAM;
        is_class.then(|| u8::try_from(stream).ok().map(Self)).flatten()
    }

    /// The place of its stream among [`STREAM_KINDS`].
    pub(super) const fn stream(self) -> usize {
        self.0 as usize
    }

    /// Its name, which is that of its stream: `runs`, `runs.failed`, `errors.critical`.
    #[must_use]
    pub fn name(self) -> &'static str {
        STREAM_KINDS.get(self.stream()).map_or("", |(name, _)| name)
    }

    /// The kind of its records.
    #[must_use]
    pub fn kind(self) -> Kind {
        STREAM_KINDS.get(self.stream()).map_or(Kind::Event, |(_, kind)| *kind)
    }

    /// The class that it is split off; `None` for that of a kind.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        let parent = Self::of(self.kind());
        (parent != self).then_some(parent)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Class {
    type Err = Error;

    /// Reads a name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no class has it.
    fn from_str(text: &str) -> Result<Self> {
        Self::all().find(|class| class.name() == text).ok_or_else(|| {
            let expected = "runs, events or errors, or one of them with a status or severity, \
                            as in runs.failed or errors.critical";
            Error::invalid("class", text, expected)
        })
    }
}

/// The status or severity of a record as a code; 0 for an event without any.
pub(super) fn tag_of(body: &Body<'_>) -> u8 {
    match body {
        Body::Run(run) => run.status.code(),
        Body::Event(event) => event.severity.map_or(0, Severity::code),
        Body::Error(error) => error.severity.code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_and_severity_has_a_stream_of_its_name() {
        for status in Status::ALL {
            assert_eq!(Class::status(*status).name(), format!("runs.{status}"));
            assert_eq!(tag_at(Class::status(*status).stream()), Some(status.code()));
        }
        for kind in [Kind::Event, Kind::Error] {
            for severity in Severity::ALL {
                let Some(class) = Class::severity(kind, *severity) else { continue };
                let kind_name = Class::of(kind).name();
                assert_eq!(class.name(), format!("{kind_name}.{severity}"));
                assert_eq!((class.kind(), tag_at(class.stream())), (kind, Some(severity.code())));
            }
        }
        let of_errors = |severity| Class::severity(Kind::Error, severity).is_some();
        assert!(of_errors(Severity::Warning) && !of_errors(Severity::Info));
        assert_eq!(Class::severity(Kind::Run, Severity::Info), None);
    }

    #[test]
    fn the_codes_of_streams_are_those_of_the_format() {
        let code = |name: &str| stream_code(name.parse::<Class>().unwrap().stream());
        let codes = [code("runs"), code("events"), code("errors"), stream_code(AUDIT_STREAM)];
        assert_eq!(codes, [1, 2, 3, 4]);
        assert_eq!((code("runs.pending"), code("runs.abandoned")), (17, 23));
        assert_eq!((code("events.trace"), code("events.critical")), (33, 53));
        assert_eq!((code("errors.warning"), code("errors.critical")), (61, 69));
        let mut all: Vec<_> = (0..STREAM_KINDS.len()).map(stream_code).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), all.contains(&u16::MAX)), (STREAM_KINDS.len(), false));
    }

    #[test]
    fn a_record_goes_to_the_narrowest_stream_that_is_split_off() {
        let mut split = StreamSet::NONE;
        split.insert(Class::status(Status::Failed).stream());
        split.insert(Class::severity(Kind::Error, Severity::Critical).unwrap().stream());
        let name = |kind, tag| STREAM_KINDS[split.route(kind, tag)].0;
        assert_eq!(name(Kind::Run, Status::Failed.code()), "runs.failed");
        assert_eq!(name(Kind::Run, Status::Running.code()), "runs");
        assert_eq!(name(Kind::Error, Severity::Critical.code()), "errors.critical");
        assert_eq!(name(Kind::Error, Severity::Error.code()), "errors");
        assert_eq!(name(Kind::Event, Severity::Critical.code()), "events");
        assert_eq!(name(Kind::Event, 0), "events");
        assert_eq!(split.collect::<Vec<_>>(), [7, 19]);
        let runs = RUN_STREAMS.filter(|&stream| STREAM_KINDS[stream].1 != Kind::Run).count();
        assert_eq!((runs, RUN_STREAMS.len()), (0, 8));
    }
}
