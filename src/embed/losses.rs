//! What was not recorded, and how the ledger is told.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

use crate::embed::spill::LeftOut;
use crate::error::Error;
use crate::model::{ActorType, Event, Json, Severity, Timestamp};

/// The type of the event that tells of records which were not appended.
pub(super) const DROPPED: &str = "recorder.dropped";

/// How long after one such event the next one may follow.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// How many records were not appended, by the reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// They found the queue full.
    pub(super) full: u64,
    /// The ledger could not take them.
    pub(super) failed: u64,
}

impl Lost {
    const fn total(self) -> u64 {
        self.full + self.failed
    }
}

/// All that was lost, and that which the ledger does not know of yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) total: Lost,
    /// Records that the ledger refused for what they hold: it notes those itself.
    pub(super) refused: u64,
    pub(super) last_error: Option<String>,
    untold: Lost,
    /// When the first and the last of those were lost.
    range: Option<(Timestamp, Timestamp)>,
    /// The same of those of which somebody tells the ledger right now.
    telling: Option<(Timestamp, Timestamp)>,
    /// When the ledger was told last, by the clock that never goes back.
    told_at: Option<Duration>,
}

/// What the event holds.
#[derive(Serialize)]
struct Detail<'a> {
    count: u64,
    queue_full: u64,
    not_appended: u64,
    since: String,
    until: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
}

impl Losses {
    pub(super) fn note_full(&mut self, now: Timestamp) {
        self.note(Lost { full: 1, failed: 0 }, now);
    }

    pub(super) fn note_failed(&mut self, records: u64, reason: &impl Display, now: Timestamp) {
        self.last_error = Some(reason.to_string());
        self.note(Lost { full: 0, failed: records }, now);
    }

    /// Notes a record that the ledger did not take.
    pub(super) fn note_refused(&mut self, err: &Error, now: Timestamp) {
        match err.is_of_record() {
            true => {
                self.refused += 1;
                self.last_error = Some(err.to_string());
            }
            false => self.note_failed(1, err, now),
        }
    }

    /// Notes what was not appended of a file.
    pub(super) fn note_left_out(&mut self, left_out: &LeftOut, now: Timestamp) {
        self.refused += left_out.refused;
        self.last_error = Some(left_out.reason.clone());
        if left_out.damaged > 0 {
            self.note(Lost { full: 0, failed: left_out.damaged }, now);
        }
    }

    fn note(&mut self, lost: Lost, now: Timestamp) {
        for sum in [&mut self.total, &mut self.untold] {
            sum.full += lost.full;
            sum.failed += lost.failed;
        }
        let (first, last) = self.range.unwrap_or((now, now));
        self.range = Some((first.min(now), last.max(now)));
    }

    pub(super) const fn has_untold(&self) -> bool {
        self.untold.total() > 0
    }

    /// The event that tells of what was lost since the last one, unless that was just now and this
    /// is not the end, or another thread is at it. It is to be answered by [`Losses::told`].
    pub(super) fn tell(
        &mut self,
        monotonic: Duration,
        is_end: bool,
    ) -> Option<(Event<'static>, Lost)> {
        let is_soon = self.told_at.is_some_and(|told| monotonic.saturating_sub(told) < PAUSE);
        if self.telling.is_some() || !self.has_untold() || is_soon && !is_end {
            return None;
        }
        self.telling = self.range.take();
        let (first, last) = self.telling?;
        let Lost { full, failed } = self.untold;
        let detail = Detail {
            count: self.untold.total(),
            queue_full: full,
            not_appended: failed,
            since: first.to_string(),
            until: last.to_string(),
            last_error: self.last_error.as_deref(),
        };
        let mut event = Event::new(DROPPED).severity(Severity::Warning).message(format!(
            "{} records were not appended: {full} found the queue full, {failed} could not be \
             written",
            self.untold.total()
        ));
        event.payload = Json::from_value(&detail).ok();
        event.actor_type = Some(ActorType::System);
        event.created_at = Some(last);
        Some((event, self.untold))
    }

    /// The ledger was told of these; `None` when it could not be.
    pub(super) fn told(&mut self, lost: Option<Lost>, monotonic: Duration) {
        let untold = self.telling.take().filter(|_| lost.is_none());
        let ranges = untold.into_iter().chain(self.range);
        self.range = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let Some(lost) = lost else { return };
        self.untold.full = self.untold.full.saturating_sub(lost.full);
        self.untold.failed = self.untold.failed.saturating_sub(lost.failed);
        self.told_at = Some(monotonic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    /// Since when records are missing, as an event says.
    fn since(event: &Event<'_>) -> String {
        let detail: serde_json::Value = event.payload.as_ref().unwrap().to_value().unwrap();
        detail["since"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_ledger_is_told_once_a_second_and_at_the_end() {
        let second = Duration::from_secs;
        let mut losses = Losses::default();
        assert!(losses.tell(second(10), true).is_none(), "nothing was lost");
        losses.note_full(at(5));
        losses.note_full(at(3));
        losses.note_failed(4, &Error::Closed, at(9));
        let (event, lost) = losses.tell(second(10), false).unwrap();
        let payload = event.payload.unwrap();
        assert!(
            payload.as_str().starts_with(r#"{"count":6,"queue_full":2,"not_appended":4,"since""#)
        );
        // Another one comes while that is written.
        losses.note_full(at(11));
        losses.told(Some(lost), second(10));
        assert!(losses.tell(second(10), false).is_none());
        assert!(losses.tell(second(10), true).is_some());
        assert!(losses.tell(second(10), true).is_none(), "another one is at it");
        losses.told(None, second(10));
        let (event, lost) = losses.tell(second(11), false).unwrap();
        assert_eq!(lost, Lost { full: 1, failed: 0 });
        assert_eq!(since(&event), at(11).to_string(), "of the other one alone");
        // The ledger cannot be told, and yet another one comes meanwhile.
        losses.note_full(at(12));
        losses.told(None, second(11));
        let (event, lost) = losses.tell(second(11), false).unwrap();
        assert_eq!((lost, since(&event)), (Lost { full: 2, failed: 0 }, at(11).to_string()));
        losses.told(Some(lost), second(11));
        assert!(!losses.has_untold());
        assert_eq!(losses.total, Lost { full: 4, failed: 4 });
    }
}
