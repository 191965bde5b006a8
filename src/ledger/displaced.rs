//! Records that lie in the stream of their kind although their class was split off it: they came
//! before that. They are kept for as long as their class says, too.

use crate::error::Result;
use crate::index::SUPERSEDED;
use crate::ledger::classes::{Class, StreamSet};
use crate::model::FieldSet;
use crate::segment::Segment;

/// The classes of which a segment holds records.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The tags of those of its own stream's class.
    pub(super) own: Tags,
    /// The other classes, with the tag of each.
    pub(super) displaced: Vec<(u8, Class)>,
}

/// A set of tags: of statuses or of severities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tags(u32);

impl Tags {
    pub(super) fn insert(&mut self, tag: u8) {
        self.0 |= 1u32.checked_shl(tag.into()).unwrap_or(0);
    }

    pub(super) fn contains(self, tag: u8) -> bool {
        self.0 & 1u32.checked_shl(tag.into()).unwrap_or(0) != 0
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Sorts the records of a segment of this stream by their classes, when these are split off. States
/// of runs whose place was taken in the segment itself do not count.
///
/// # Errors
/// When the segment cannot be read.
pub(super) fn held(segment: &Segment, stream: usize, split: StreamSet) -> Result<Held> {
    let mut held = Held::default();
    let tags = current_tags(segment)?;
    for tag in (0..32).filter(|&tag| tags.contains(tag)) {
        let goes_to = split.route(segment.kind(), tag);
        match Class::at(goes_to).filter(|_| goes_to != stream) {
            Some(class) => held.displaced.push((tag, class)),
            None => held.own.insert(tag),
        }
    }
    Ok(held)
}

fn current_tags(segment: &Segment) -> Result<Tags> {
    let mut tags = Tags::default();
    if let Some(trailer) = segment.trailer() {
        let counts = (0..).zip(trailer.tags.current);
        counts.filter(|(_, count)| *count > 0).for_each(|(tag, _)| tags.insert(tag));
        return Ok(tags);
    }
    segment.with_rows(FieldSet::NONE, |table| {
        let all = (0..table.rows()).map(|row| table.tag(row));
        all.filter(|tag| tag & SUPERSEDED == 0).for_each(|tag| tags.insert(tag));
        tags
    })
}
