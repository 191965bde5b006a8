use crate::error::{Error, Result};
use crate::format::key::{self, KeyBuf};
use crate::model::{Field, Kind, Severity, Status};
use crate::query::text::TextPattern;

/// What a record has to match. Of the values of one field any will do; all fields must match.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) kinds: Vec<Kind>,
    pub(super) statuses: Vec<Status>,
    pub(super) severities: Vec<Severity>,
    pub(super) keys: [Vec<KeyBuf>; Field::KEYED],
    /// The first creation that matches.
    pub(super) since: Option<i64>,
    /// The first creation after those that match.
    pub(super) until: Option<i64>,
    pub(super) text: Option<TextPattern>,
    /// Also states of a run whose place was taken by a later one.
    pub(super) history: bool,
}

impl Filter {
    /// Adds a value to those of a keyed field, from its text.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no record can have such a value.
    pub(super) fn add_key(&mut self, field: Field, text: &str) -> Result<()> {
        let key = key::parse_key(field, text)?;
        let place = field.key_index().and_then(|slot| self.keys.get_mut(slot));
        place
            .map(|keys| keys.push(key))
            .ok_or_else(|| Error::invalid("field", field.name(), "a field with keys"))
    }

    /// The tags that match among records of this kind, a bit for each; `None` when none can.
    pub(super) fn tags(&self, kind: Kind) -> Option<u32> {
        if !self.kinds.is_empty() && !self.kinds.contains(&kind) {
            return None;
        }
        let is_run = kind == Kind::Run;
        let excluded = match is_run {
            true => !self.severities.is_empty(),
            false => !self.statuses.is_empty(),
        };
        if excluded {
            return None;
        }
        let bits = |codes: &mut dyn Iterator<Item = u8>| {
            codes.fold(None, |bits, code| Some(bits.unwrap_or(0) | 1u32.checked_shl(code.into())?))
        };
        let chosen = match is_run {
            true => bits(&mut self.statuses.iter().map(|status| status.code())),
            false => bits(&mut self.severities.iter().map(|severity| severity.code())),
        };
        Some(chosen.unwrap_or(u32::MAX))
    }

    /// The keys that one of must match, by field.
    pub(super) fn keyed(&self) -> impl Iterator<Item = (Field, &[KeyBuf])> {
        Field::ALL.iter().filter_map(|&field| {
            let keys = self.keys.get(field.key_index()?)?;
            (!keys.is_empty()).then_some((field, keys.as_slice()))
        })
    }
}
