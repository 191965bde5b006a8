//! What the ledger knows of a segment's end, compared with what the file holds.

use crate::error::Damage;
use crate::format::seqfile::Head;
use crate::segment::{DamagedRange, Findings, Segment};

impl Segment {
    /// Where the frames end, those that are damaged among them.
    pub(crate) fn known_end(&self) -> u32 {
        let findings = self.findings.read();
        let damaged = findings.damaged.iter().map(|range| range.end).max().unwrap_or_default();
        self.end().max(u32::try_from(damaged).unwrap_or(u32::MAX))
    }

    /// True when frames are missing that the head tells of, with nothing left in their place.
    pub(crate) fn falls_short_of(&self, head: &Head) -> bool {
        self.known_end() < head.end && self.findings.read().tail.is_none()
    }

    /// True when the segment was written after the head was noted.
    pub(crate) fn goes_beyond(&self, head: &Head) -> bool {
        let is_sealed_since = self.is_sealed() && !head.sealed;
        let begins_beyond = |tail: DamagedRange| tail.start >= head.end.into() && !head.sealed;
        is_sealed_since
            || self.known_end() > head.end
            || self.findings.read().tail.is_some_and(begins_beyond)
    }

    /// Takes in what is known of the end, before the segment is made ready for appends: what is not
    /// whole up to there is damage, and stays.
    pub(crate) fn note_head(&self, head: &Head) {
        let is_sealed = self.is_sealed();
        let mut findings = self.findings.write();
        if findings.note_head(head, is_sealed) {
            findings.footer = Some(Damage::Footer);
        }
    }
}

impl Findings {
    /// Takes in what is known of the end. True when the end is damaged, and no frame may follow it.
    pub(crate) fn note_head(&mut self, head: &Head, is_sealed: bool) -> bool {
        self.synced = self.synced.max(head.end);
        if let Some(tail) = self.tail.take_if(|tail| tail.start < head.end.into()) {
            let end = tail.end.max(head.end.into());
            self.damaged.push(DamagedRange { end, ..tail });
            return true;
        }
        if head.sealed && !is_sealed {
            // What is behind the frames is what is left of the footer.
            self.tail = None;
            self.footer = Some(Damage::Footer);
        }
        false
    }
}
