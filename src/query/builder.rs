use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::{Field, Fingerprint, Kind, Severity, Status, Timestamp};
use crate::query::count::count;
use crate::query::cursor::{Cursor, Order};
use crate::query::fetch::{Part, fetch};
use crate::query::filter::Filter;
use crate::query::page::Page;
use crate::query::text::TextPattern;
use crate::query::view::{Source, View};

/// How many records a page holds when no limit is set.
const DEFAULT_LIMIT: usize = 100;

/// A question to the ledger, built step by step.
///
/// Of several values of one field any may match; all fields that are named must match. Of a run
/// only its newest state is looked at, unless [`Query::history`] is asked for. A query may be asked
/// more than once; it looks at the segments that there were when it was made, or, where that tells
/// no more what was the newest state of a run then, at those that there are.
///
/// ```
/// use runledger::{Ledger, Run, Status};
/// # let dir = tempfile::tempdir()?;
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// ledger.append(Run::new("r1", "backup", Status::Failed)?)?;
/// let failed = ledger.query().status(Status::Failed).limit(50);
/// assert_eq!(failed.count()?, 1);
/// for record in failed.fetch()?.records() {
///     println!("{}", record?.body.type_name());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until it is fetched or counted"]
pub struct Query {
    view: View,
    filter: Filter,
    order: Order,
    after: Option<Cursor>,
    up_to: Option<Cursor>,
    offset: u64,
    limit: usize,
    /// The first value that could not be taken; told when the query is asked.
    invalid: Option<Invalid>,
}

/// The parts of an [`Error::Invalid`], which can be told more than once.
#[derive(Debug, Clone)]
struct Invalid {
    what: &'static str,
    value: String,
    expected: String,
}

impl Query {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            view: View::new(source),
            filter: Filter::default(),
            order: Order::Newest,
            after: None,
            up_to: None,
            offset: 0,
            limit: DEFAULT_LIMIT,
            invalid: None,
        }
    }

    /// Only this kind of record.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.filter.add_kind(kind);
        self
    }

    /// Only runs in this status.
    pub fn status(mut self, status: Status) -> Self {
        self.filter.add_status(status);
        self
    }

    /// Only events and errors of this severity.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.filter.add_severity(severity);
        self
    }

    /// Only records of this type.
    pub fn record_type(self, name: &str) -> Self {
        self.key(Field::Type, name)
    }

    /// Only records of this trace.
    pub fn trace(self, id: &str) -> Self {
        self.key(Field::Trace, id)
    }

    /// Only this run, and the events and errors that belong to it.
    pub fn run(self, id: &str) -> Self {
        self.key(Field::Run, id)
    }

    /// Only records of this project.
    pub fn project(self, id: &str) -> Self {
        self.key(Field::Project, id)
    }

    /// Only records of this user.
    pub fn user(self, id: &str) -> Self {
        self.key(Field::User, id)
    }

    /// Only runs that acted on this business object, named as `kind:id`.
    pub fn subject(self, subject: &str) -> Self {
        self.key(Field::Subject, subject)
    }

    /// Only errors with this fingerprint.
    pub fn fingerprint(self, fingerprint: Fingerprint) -> Self {
        self.key(Field::Fingerprint, &fingerprint.to_string())
    }

    /// Only records with this value in a field.
    pub fn field(self, field: Field, value: &str) -> Self {
        let result = match field {
            Field::Status => value.parse().map(|status| self.clone().status(status)),
            Field::Severity => value.parse().map(|severity| self.clone().severity(severity)),
            _ => return self.key(field, value),
        };
        result.unwrap_or_else(|err| self.invalid(err))
    }

    /// Only records that carry one of these values, whatever else is asked: what a user may see.
    /// Each call sets another such bound, and none of them widens what another field leaves; an
    /// empty one leaves nothing. A status or a severity cannot be one.
    ///
    /// ```
    /// # use runledger::{Event, Field, Id, Ledger};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// ledger.append(Event::new("a").user_id(Id::new("ann")?))?;
    /// ledger.append(Event::new("b").user_id(Id::new("bob")?).project_id(Id::new("shared")?))?;
    /// ledger.append(Event::new("c").user_id(Id::new("bob")?))?;
    /// let of_ann = || ledger.query().within(&[(Field::User, "ann"), (Field::Project, "shared")]);
    /// assert_eq!(of_ann().count()?, 2);
    /// assert_eq!(of_ann().user("bob").count()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn within(mut self, values: &[(Field, &str)]) -> Self {
        match self.filter.add_bound(values) {
            Ok(()) => self,
            Err(err) => self.invalid(err),
        }
    }

    /// Only records created at this time or later.
    pub fn since(mut self, time: Timestamp) -> Self {
        self.filter.since = Some(time.as_nanos());
        self
    }

    /// Only records created before this time.
    pub fn until(mut self, time: Timestamp) -> Self {
        self.filter.until = Some(time.as_nanos());
        self
    }

    /// Only records with this text in their message, stack or JSON (as it is written there). Text
    /// without upper-case letters is found in either case.
    ///
    /// Each record that matches in all else is read, so name a time or a type besides.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.filter.text = Some(TextPattern::new(text.into()));
        self
    }

    /// Where a text is looked for, also records that are damaged and might hold it, in their place:
    /// each is an error there, and the search goes on behind it. Without this one ends the search.
    /// [`Query::count`] counts it, too; [`Query::count_by`] leaves out what nothing tells the name
    /// of, and [`Query::error_groups`] groups of which no error can be read.
    ///
    /// ```
    /// # use runledger::{Event, Ledger};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// # ledger.append(Event::new("a").message("needle"))?;
    /// let page = ledger.query().text("needle").or_damaged().fetch()?;
    /// for (seq, record) in page.seqs().zip(page.records()) {
    ///     match record {
    ///         Ok(record) => println!("{seq}: {}", record.body.type_name()),
    ///         Err(err) => eprintln!("{seq} might hold it: {err}"),
    ///     }
    /// }
    /// # assert_eq!(page.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn or_damaged(mut self) -> Self {
        self.filter.damaged = true;
        self
    }

    /// Also the states of runs whose place was taken by a later one.
    pub fn history(mut self, history: bool) -> Self {
        self.filter.history = history;
        self
    }

    /// The order of the result; the newest first when it is not set.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// How many records to give at the most; 100 when it is not set.
    ///
    /// What is found is held as 24 bytes a record until it is read, `offset` included: to walk a
    /// whole ledger, take pages of some thousand and go on with [`Query::after`].
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How many of the first records to leave out.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Goes on behind the page that gave this cursor, whose order it must have.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Ends with the record behind which this cursor goes on, whose order it must have. So a text
    /// can be looked for in a piece of the ledger at a time:
    ///
    /// ```
    /// # use runledger::{Event, Ledger};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// # for message in ["needle", "hay", "hay", "needle", "hay"] {
    /// #     ledger.append(Event::new("a").message(message))?;
    /// # }
    /// let all = ledger.query();
    /// let piece = all.clone().offset(2).limit(1).fetch()?.next();
    /// let newest = piece.into_iter().fold(all.clone(), |query, end| query.up_to(end));
    /// assert_eq!(newest.text("needle").fetch()?.len(), 1);
    /// let others = piece.into_iter().fold(all, |query, end| query.after(end));
    /// assert_eq!(others.text("needle").fetch()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn up_to(mut self, cursor: Cursor) -> Self {
        self.up_to = Some(cursor);
        self
    }

    /// The records.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that was not valid or a cursor of another order;
    /// [`Error::Damaged`] when a text is to be found and a record cannot be read, but for
    /// [`Query::or_damaged`];
    /// [`Error::Io`] when a segment cannot be.
    pub fn fetch(&self) -> Result<Page> {
        self.check()?;
        let Self { order, after, up_to, offset, limit, .. } = *self;
        let part = Part { order, after, up_to, offset, limit };
        fetch(&self.view, &self.filter, &part)
    }

    /// How many records match, whatever the limit, offset and cursor.
    ///
    /// # Errors
    /// As for [`Query::fetch`].
    pub fn count(&self) -> Result<u64> {
        self.check()?;
        Ok(count(&self.view, &self.filter, None)?.total)
    }

    /// How many of the records that match carry each value of a field, the most frequent value
    /// first and equally frequent ones by name. Records without a value are not counted.
    ///
    /// # Errors
    /// As for [`Query::fetch`]; [`Error::Damaged`] also when of a value no record in a segment can
    /// be read, so that nothing there tells its name: with [`Query::or_damaged`] it is not counted.
    pub fn count_by(&self, field: Field) -> Result<Vec<(String, u64)>> {
        self.check()?;
        let counts = count(&self.view, &self.filter, Some(field))?;
        let mut values: Vec<_> = counts.by_value.into_iter().collect();
        values.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(values)
    }

    /// True for [`Query::or_damaged`].
    pub(super) const fn passes_damaged(&self) -> bool {
        self.filter.damaged
    }

    /// How many results are asked for.
    pub(super) const fn page_size(&self) -> usize {
        self.limit
    }

    /// The same question about those of the records alone that are of this kind.
    pub(crate) fn only_kind(mut self, kind: Kind) -> Self {
        self.filter.keep_kind(kind);
        self
    }

    /// The same question about records with this value alone in a keyed field.
    pub(super) fn only(mut self, field: Field, text: &str) -> Self {
        self.filter.remove_keys(field);
        self.key(field, text)
    }

    /// The same question for the first record in this order.
    pub(super) fn first_in(mut self, order: Order) -> Self {
        (self.after, self.up_to, self.offset) = (None, None, 0);
        self.order(order).limit(1)
    }

    fn key(mut self, field: Field, text: &str) -> Self {
        match self.filter.add_key(field, text) {
            Ok(()) => self,
            Err(err) => self.invalid(err),
        }
    }

    fn invalid(mut self, err: Error) -> Self {
        if let (None, Error::Invalid { what, value, expected }) = (&self.invalid, err) {
            self.invalid = Some(Invalid { what, value, expected });
        }
        self
    }

    fn check(&self) -> Result<()> {
        if let Some(Invalid { what, value, expected }) = self.invalid.clone() {
            return Err(Error::Invalid { what, value, expected });
        }
        match [self.after, self.up_to].into_iter().flatten().find(|it| it.order != self.order) {
            Some(cursor) => Err(Error::invalid(
                "cursor",
                &cursor.to_string(),
                "a cursor of a query in the same order",
            )),
            None => Ok(()),
        }
    }
}
