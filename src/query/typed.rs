//! Events whose payloads are read into a type of the caller's.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::model::{Body, Json, Kind, Record};
use crate::query::cursor::Cursor;
use crate::query::{Page, Query};

/// How many events are found at a time.
const AT_ONCE: usize = 1000;

/// Events, each with its payload as a `T`: [`Reader::events`](crate::Reader::events) gives them.
///
/// They are found page by page while they are walked through, so that a whole ledger can be. An
/// event without a payload is read as `null`. One whose payload is not of the type's shape, or that
/// is damaged, is an error in its place, and the others follow it.
#[derive(Debug, Clone)]
#[must_use = "nothing is read before it is iterated over"]
pub struct Events<T> {
    query: Query,
    page: Page,
    /// How many of the page were given.
    given: usize,
    step: Step,
    of: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    After(Cursor),
    End,
}

impl<T: DeserializeOwned> Events<T> {
    pub(crate) fn new(query: Query) -> Self {
        let query = query.kind(Kind::Event);
        Self { query, page: Page::default(), given: 0, step: Step::Begin, of: PhantomData }
    }

    /// Only events of this type; of several any.
    pub fn of_type(self, name: &str) -> Self {
        self.narrow(|query| query.record_type(name))
    }

    /// Only those events, in that order, that the query then asks for. Its limit is of no account:
    /// [`Iterator::take`] ends the walk.
    ///
    /// ```
    /// # use runledger::{Event, Ledger, Order};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// let oldest = ledger.events::<Option<u64>>().narrow(|query| query.order(Order::Oldest));
    /// assert_eq!(oldest.take(10).count(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn narrow(mut self, narrow: impl FnOnce(Query) -> Query) -> Self {
        self.query = narrow(self.query);
        self
    }

    /// Finds the next page; false at the end.
    fn turn(&mut self) -> Result<bool> {
        let query = self.query.clone().or_damaged().limit(AT_ONCE);
        let query = match self.step {
            Step::Begin => query,
            Step::After(cursor) => query.offset(0).after(cursor),
            Step::End => return Ok(false),
        };
        // After an error there is nothing more.
        self.step = Step::End;
        self.page = query.fetch()?;
        self.given = 0;
        self.step = self.page.next().map_or(Step::End, Step::After);
        Ok(!self.page.is_empty())
    }
}

impl<T: DeserializeOwned> Iterator for Events<T> {
    type Item = Result<(Record<'static>, T)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.given == self.page.len() {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(err) => return Some(Err(err)),
            }
        }
        let stored = self.page.get(self.given)?;
        self.given += 1;
        Some(stored.record().and_then(|record| {
            let payload = match &record.body {
                Body::Event(event) => event.payload.as_ref(),
                _ => None,
            };
            let value = match payload {
                Some(payload) => payload.to_value()?,
                None => Json::trusted("null").to_value()?,
            };
            Ok((record.into_owned(), value))
        }))
    }
}
