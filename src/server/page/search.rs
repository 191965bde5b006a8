//! Records with a text in them, a piece of the ledger at a time: each record has to be read, and a
//! page is to come soon however many there are.

use crate::model::Timestamp;
use crate::query::{Cursor, Page, Query};
use crate::server::access::Failure;

/// How many records are read for a page.
pub(super) const MOST: u64 = 100_000;

/// What was found, and how far was looked.
pub(super) struct Found {
    pub(super) page: Page,
    /// From where the search goes on.
    pub(super) next: Option<Cursor>,
    /// Down to when was looked; `None` when the page is full, or when there is nothing older.
    pub(super) down_to: Option<Timestamp>,
}

/// What a query of the newest records finds; with a text, among so many of them.
///
/// Records of the very moment at which one search ends may be found by the next one, too.
pub(super) fn search(query: Query, text: Option<&str>, most: u64) -> Result<Found, Failure> {
    let Some(text) = text else {
        let page = query.fetch()?;
        return Ok(Found { next: page.next(), page, down_to: None });
    };
    let last = query.clone().offset(most.saturating_sub(1)).limit(1).fetch()?;
    let end = last.next().and_then(|end| {
        let record = last.records().next()?.ok()?;
        Some((end, record.body.created_at().unwrap_or(record.recorded_at)))
    });
    let query = end.iter().fold(query.text(text), |query, (_, time)| query.since(*time));
    let page = query.fetch()?;
    let end = end.filter(|_| page.next().is_none());
    Ok(Found {
        next: page.next().or(end.map(|(cursor, _)| cursor)),
        down_to: end.map(|(_, time)| time),
        page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::model::{Event, Kind};

    #[test]
    fn a_search_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
        for number in 0..100_i64 {
            let message = if number % 40 == 7 { "needle" } else { "hay" };
            let at = Timestamp::from_nanos(1_000_000_000 * (number + 1));
            ledger.append(Event::new("a").message(message).created_at(at)).unwrap();
        }
        let (mut seqs, mut steps, mut cursor) = (Vec::new(), Vec::new(), None);
        loop {
            let query = ledger.query().kind(Kind::Event).limit(2);
            let query = cursor.into_iter().fold(query, Query::after);
            let found = search(query, Some("needle"), 30).unwrap();
            seqs.extend(found.page.seqs());
            steps.push(found.down_to.map(|time| time.as_nanos() / 1_000_000_000));
            cursor = found.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seqs, [88, 48, 8]);
        assert_eq!(steps, [Some(71), Some(41), Some(11), None]);
        let all = search(ledger.query().limit(2), None, 30).unwrap();
        assert_eq!((all.page.len(), all.down_to, all.next.is_some()), (2, None, true));
    }
}
