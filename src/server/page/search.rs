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

/// Behind so many of the records that a query finds: where it goes on, and when the last of them
/// was created; `None` when there are no more.
fn reach(query: &Query, most: u64) -> Result<Option<(Cursor, Timestamp)>, Failure> {
    let last = query.clone().offset(most.saturating_sub(1)).limit(1).fetch()?;
    let Some(end) = last.next() else { return Ok(None) };
    // One that is damaged is told of by the search, which reads it.
    let time = last.records().next().and_then(Result::ok);
    let time = time.map(|record| record.body.created_at().unwrap_or(record.recorded_at));
    Ok(Some((end, time.unwrap_or_default())))
}

/// What a query finds; with a text, among so many of the records that it would find without.
pub(super) fn search(query: Query, text: Option<&str>, most: u64) -> Result<Found, Failure> {
    let Some(text) = text else {
        let page = query.fetch()?;
        return Ok(Found { next: page.next(), page, down_to: None });
    };
    let end = reach(&query, most)?;
    let query = end.iter().fold(query.text(text), |query, (cursor, _)| query.up_to(*cursor));
    let page = query.fetch()?;
    let end = end.filter(|_| page.next().is_none());
    Ok(Found {
        next: page.next().or(end.map(|(cursor, _)| cursor)),
        down_to: end.map(|(_, time)| time),
        page,
    })
}

/// For what is counted: the query with this text among so many of the newest records, and those of
/// the same moment as the last of them, and down to when that is; `None` when that is all.
pub(super) fn newest(
    query: Query,
    text: &str,
    most: u64,
) -> Result<(Query, Option<Timestamp>), Failure> {
    let down_to = reach(&query, most)?.map(|(_, time)| time);
    Ok((down_to.into_iter().fold(query.text(text), Query::since), down_to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::model::{Event, Kind};
    use crate::query::Order;

    fn seconds(time: Timestamp) -> i64 {
        time.as_nanos() / 1_000_000_000
    }

    /// Hay with a needle at every 40th record from the 8th on, `created` being the second of each.
    fn stack(dir: &tempfile::TempDir, created: impl Fn(i64) -> i64) -> Ledger {
        let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
        for number in 0..100_i64 {
            let message = if number % 40 == 7 { "needle" } else { "hay" };
            let name = if number % 2 == 1 { "odd" } else { "even" };
            let at = Timestamp::from_nanos(1_000_000_000 * created(number));
            ledger.append(Event::new(name).message(message).created_at(at)).unwrap();
        }
        ledger
    }

    /// The records of all pieces, and down to when each of them was looked at.
    fn walk(query: &Query, order: Order, most: u64) -> (Vec<u64>, Vec<Option<i64>>) {
        let (mut seqs, mut steps, mut cursor) = (Vec::new(), Vec::new(), None);
        loop {
            let query = query.clone().kind(Kind::Event).order(order).limit(2);
            let query = cursor.into_iter().fold(query, Query::after);
            let found = search(query, Some("needle"), most).unwrap();
            seqs.extend(found.page.seqs());
            steps.push(found.down_to.map(seconds));
            cursor = found.next;
            if cursor.is_none() {
                return (seqs, steps);
            }
        }
    }

    #[test]
    fn a_search_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = stack(&dir, |number| number + 1);
        let expected = (vec![88, 48, 8], vec![Some(71), Some(41), Some(11), None]);
        assert_eq!(walk(&ledger.query(), Order::Newest, 30), expected);
        let expected = (vec![8, 48, 88], vec![Some(30), Some(60), Some(90), None]);
        for order in [Order::Oldest, Order::Seq] {
            assert_eq!(walk(&ledger.query(), order, 30), expected, "{order:?}");
        }
        // The odd ones are found by their type, which half of the records have.
        let odd = ledger.query().record_type("odd");
        let expected = (vec![88, 48, 8], vec![Some(72), Some(42), Some(12), None]);
        for order in [Order::Newest, Order::SeqDescending] {
            assert_eq!(walk(&odd, order, 15), expected, "{order:?}");
        }
        let all = search(ledger.query().limit(2), None, 30).unwrap();
        assert_eq!((all.page.len(), all.down_to, all.next.is_some()), (2, None, true));
    }

    /// A search that ended by the time of its last record took all others of that moment along: as
    /// many as there were, and the next one found them again.
    #[test]
    fn records_of_one_moment_are_searched_once() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = stack(&dir, |_| 5);
        let expected = (vec![88, 48, 8], vec![Some(5), Some(5), Some(5), None]);
        assert_eq!(walk(&ledger.query(), Order::Newest, 30), expected);
    }

    /// What came last need not be what was created last: records of old times are imported.
    #[test]
    fn in_the_order_of_appends_the_last_ones_are_searched() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = stack(&dir, |number| 100 - number);
        let expected = (vec![88, 48, 8], vec![Some(30), Some(60), Some(90), None]);
        assert_eq!(walk(&ledger.query(), Order::SeqDescending, 30), expected);
    }

    #[test]
    fn what_is_counted_goes_on_before_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = stack(&dir, |number| number + 1);
        let (mut counts, mut before) = (Vec::new(), None);
        loop {
            let query = before.into_iter().fold(ledger.query(), Query::until);
            let (query, down_to) = newest(query, "needle", 30).unwrap();
            counts.push((query.count().unwrap(), down_to.map(seconds)));
            before = down_to;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(counts, [(1, Some(71)), (1, Some(41)), (0, Some(11)), (1, None)]);
    }
}
