use crate::error::Result;
use crate::format::key;
use crate::model::{Field, FieldSet, Kind, Severity, Status};
use crate::query::text::{Search, TextPattern};
use crate::segment::{Near, Pinned};

/// What a record has to match. Of the values of one field any will do; all fields must match.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// The kinds that match, a bit for each; any when none is set.
    kinds: u8,
    /// The statuses that match, a bit for the code of each; any when none is set.
    statuses: u32,
    /// The severities that match, in the same form.
    severities: u32,
    /// The keys of which one must match, those of one field side by side.
    keys: Vec<Wanted>,
    /// Sets of keys, of whatever fields, of each of which one must match besides.
    bounds: Vec<Vec<Wanted>>,
    /// The first creation that matches.
    pub(super) since: Option<i64>,
    /// The first creation after those that match.
    pub(super) until: Option<i64>,
    pub(super) text: Option<TextPattern>,
    /// With a text: also records that cannot be read, which may hold it.
    pub(super) damaged: bool,
    /// Also states of a run whose place was taken by a later one.
    pub(super) history: bool,
}

/// A key that a record may have in a field.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) field: Field,
    pub(super) key: Box<[u8]>,
}

/// The bit of no kind.
const NO_KIND: u8 = 1 << 7;

impl Filter {
    pub(super) const fn add_kind(&mut self, kind: Kind) {
        self.kinds |= 1 << kind as u8;
    }

    /// Leaves of the kinds that match this one alone, and none when it is not one of them.
    pub(super) const fn keep_kind(&mut self, kind: Kind) {
        let bit = 1 << kind as u8;
        let is_one = self.kinds == 0 || self.kinds & bit != 0;
        self.kinds = if is_one { bit } else { NO_KIND };
    }

    pub(super) fn add_status(&mut self, status: Status) {
        self.statuses |= bit(status.code());
    }

    pub(super) fn add_severity(&mut self, severity: Severity) {
        self.severities |= bit(severity.code());
    }

    /// Adds a value to those of a keyed field, from its text.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when no record can have such a value.
    pub(super) fn add_key(&mut self, field: Field, text: &str) -> Result<()> {
        let wanted = Wanted::new(field, text)?;
        let after = self.keys.partition_point(|wanted| wanted.field <= field);
        self.keys.insert(after, wanted);
        Ok(())
    }

    /// Adds a set of values of keyed fields of which one must match, whatever else is asked.
    ///
    /// # Errors
    /// As for [`Filter::add_key`].
    pub(super) fn add_bound(&mut self, values: &[(Field, &str)]) -> Result<()> {
        let keys = values.iter().map(|(field, text)| Wanted::new(*field, text));
        self.bounds.push(keys.collect::<Result<_>>()?);
        Ok(())
    }

    /// Takes away the values of a keyed field.
    pub(super) fn remove_keys(&mut self, field: Field) {
        self.keys.retain(|wanted| wanted.field != field);
    }

    /// The tags that match among records of this kind, a bit for each; `None` when none can.
    pub(super) const fn tags(&self, kind: Kind) -> Option<u32> {
        let (chosen, excluded) = match kind {
            Kind::Run => (self.statuses, self.severities),
            Kind::Event | Kind::Error => (self.severities, self.statuses),
        };
        let is_other_kind = self.kinds != 0 && self.kinds & (1 << kind as u8) == 0;
        match (is_other_kind || excluded != 0, chosen) {
            (true, _) => None,
            (false, 0) => Some(u32::MAX),
            (false, chosen) => Some(chosen),
        }
    }

    /// The sets of keys of each of which one must match.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[Wanted]> {
        let by_field = self.keys.chunk_by(|one, next| one.field == next.field);
        by_field.chain(self.bounds.iter().map(Vec::as_slice))
    }

    /// The key that a record must have, if there is but one.
    pub(super) fn lone_key(&self) -> Option<&Wanted> {
        let mut groups = self.groups();
        match (groups.next()?, groups.next()) {
            ([wanted], None) => Some(wanted),
            _ => None,
        }
    }

    /// True when the record that lies at `offset` has the key of each set of one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn is_of_lone_keys(
        &self,
        pinned: &Pinned,
        near: &mut Near,
        offset: u32,
    ) -> Result<bool> {
        for keys in self.groups() {
            if let [Wanted { field, key }] = keys
                && !pinned.has_key(near, offset, *field, key)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The search for the text in a segment, if one is asked for.
    pub(super) fn search(&self, pinned: &Pinned) -> Option<Search<'_>> {
        self.text.as_ref().map(|text| Search::new(text, pinned, self.damaged))
    }

    /// The fields that there are keys of.
    pub(super) fn fields(&self) -> FieldSet {
        let keys = self.keys.iter().chain(self.bounds.iter().flatten());
        keys.fold(FieldSet::NONE, |fields, wanted| fields.with(wanted.field))
    }
}

impl Wanted {
    fn new(field: Field, text: &str) -> Result<Self> {
        Ok(Self { field, key: key::parse_key(field, text)?.as_slice().into() })
    }
}

/// The field that all of these keys are of; `None` when they are of several, or there are none.
pub(super) fn only_field(keys: &[Wanted]) -> Option<Field> {
    let field = keys.first()?.field;
    keys.iter().all(|wanted| wanted.field == field).then_some(field)
}

/// The bit of a code; codes are small.
fn bit(code: u8) -> u32 {
    1u32.checked_shl(code.into()).unwrap_or(0)
}
