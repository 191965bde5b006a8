//! Up to where another ledger was merged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Kind;

/// Up to which sequence number of the other ledger its records are here. Its streams are not seen
/// at one time: a crash, or a copy that is made of it, leaves one ahead of the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Merged {
    #[serde(default)]
    streams: BTreeMap<String, u64>,
    /// Of the streams that are not among those: notes had one number for all of a kind once.
    runs: u64,
    events: u64,
    errors: u64,
}

impl Merged {
    pub(super) fn of(&self, stream: &str, kind: Kind) -> u64 {
        let of_kind = match kind {
            Kind::Run => self.runs,
            Kind::Event => self.events,
            Kind::Error => self.errors,
        };
        self.streams.get(stream).copied().unwrap_or(of_kind)
    }

    pub(super) fn reach(&mut self, stream: &str, kind: Kind, seq: u64) {
        match self.streams.get_mut(stream) {
            Some(reached) => *reached = seq.max(*reached),
            None => {
                let reached = seq.max(self.of(stream, kind));
                self.streams.insert(stream.to_owned(), reached);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes that were made before have one number for each kind, and what they say still holds.
    #[test]
    fn notes_of_one_number_a_kind_are_understood() {
        let old = r#"{"runs":3,"events":900,"errors":0}"#;
        let mut merged: Merged = serde_json::from_str(old).unwrap();
        assert_eq!(merged.of("events", Kind::Event), 900);
        assert_eq!(merged.of("events.warning", Kind::Event), 900);
        merged.reach("events", Kind::Event, 950);
        merged.reach("runs.failed", Kind::Run, 2);
        let again = serde_json::to_string(&merged).unwrap();
        let merged: Merged = serde_json::from_str(&again).unwrap();
        assert_eq!(merged.of("events", Kind::Event), 950);
        assert_eq!(merged.of("events.warning", Kind::Event), 900, "not seen since");
        assert_eq!(merged.of("runs.failed", Kind::Run), 3);
    }
}
