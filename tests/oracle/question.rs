//! Questions, and their answers by brute force.

use std::collections::HashMap;

use runledger::{Field, Kind, Order, Query, Reader, Timestamp};

use super::book::Book;
use super::record::Rec;

/// A question to a ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Question {
    pub(crate) kinds: Vec<Kind>,
    /// For each field that is named, the values of which any may be.
    pub(crate) fields: Vec<(Field, Vec<String>)>,
    /// Sets of values of which a record must have one besides.
    pub(crate) bounds: Vec<Vec<(Field, String)>>,
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    pub(crate) text: Option<String>,
    pub(crate) history: bool,
    pub(crate) order: Order,
}

impl Question {
    /// The same question in the library's terms.
    pub(crate) fn ask(&self, reader: &Reader) -> Query {
        let mut query = reader.query().order(self.order).history(self.history);
        query = self.kinds.iter().fold(query, |query, kind| query.kind(*kind));
        for (field, values) in &self.fields {
            query = values.iter().fold(query, |query, value| with(query, *field, value));
        }
        for bound in &self.bounds {
            let values: Vec<_> = bound.iter().map(|(field, value)| (*field, &**value)).collect();
            query = query.within(&values);
        }
        if let Some(since) = self.since {
            query = query.since(Timestamp::from_nanos(since));
        }
        if let Some(until) = self.until {
            query = query.until(Timestamp::from_nanos(until));
        }
        if let Some(text) = &self.text {
            query = query.text(text);
        }
        query
    }

    /// All records that match, in order.
    pub(crate) fn answer<'b>(&self, book: &'b Book) -> Vec<&'b Rec> {
        let mut found: Vec<&Rec> = book.recs.iter().filter(|rec| self.matches(rec)).collect();
        match self.order {
            Order::Newest => found.sort_by_key(|rec| std::cmp::Reverse((rec.created_at, rec.seq))),
            Order::Oldest => found.sort_by_key(|rec| (rec.created_at, rec.seq)),
            Order::Seq => found.sort_by_key(|rec| rec.seq),
            Order::SeqDescending => found.sort_by_key(|rec| std::cmp::Reverse(rec.seq)),
            _ => unreachable!("an order that the oracle does not know"),
        }
        found
    }

    fn matches(&self, rec: &Rec) -> bool {
        let kind_fits =
            self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.name() == rec.kind);
        let value_fits = |(field, values): &(Field, Vec<String>)| {
            rec.fields.get(field).is_some_and(|value| values.contains(value))
        };
        let within = |bound: &Vec<(Field, String)>| {
            bound.iter().any(|(field, value)| rec.fields.get(field) == Some(value))
        };
        kind_fits
            && (rec.newest || self.history)
            && self.since.is_none_or(|since| rec.created_at >= since)
            && self.until.is_none_or(|until| rec.created_at < until)
            && self.fields.iter().all(value_fits)
            && self.bounds.iter().all(within)
            && self.text.as_ref().is_none_or(|text| says(rec, text))
    }
}

/// Adds a value to a query by the method of its field.
fn with(query: Query, field: Field, value: &str) -> Query {
    match field {
        Field::Type => query.record_type(value),
        Field::Trace => query.trace(value),
        Field::Run => query.run(value),
        Field::Project => query.project(value),
        Field::User => query.user(value),
        Field::Subject => query.subject(value),
        Field::Fingerprint => query.fingerprint(value.parse().unwrap()),
        Field::Status => query.status(value.parse().unwrap()),
        Field::Severity => query.severity(value.parse().unwrap()),
        field => query.field(field, value),
    }
}

/// True when the text stands in one of the record's; in either case when it is all lower case.
fn says(rec: &Rec, text: &str) -> bool {
    let exact = text.chars().any(char::is_uppercase);
    rec.texts.values().any(|own| match (exact, text.is_ascii()) {
        (true, _) => own.contains(text),
        (false, true) => own.to_ascii_lowercase().contains(text),
        (false, false) => own.to_lowercase().contains(text),
    })
}

/// How many records carry each value of a field, the most frequent first, then by name.
pub(crate) fn counts(recs: &[&Rec], field: Field) -> Vec<(String, u64)> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for value in recs.iter().filter_map(|rec| rec.fields.get(&field)) {
        *counts.entry(value).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts
}
