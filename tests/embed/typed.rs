//! Payloads read into types.

use runledger::{Body, Error, Event, Json, Order, Severity};
use serde::{Deserialize, Serialize};

use super::{damage_second, ledger};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct MailSent {
    to: String,
    tries: u32,
}

fn mail(tries: u32) -> Event<'static> {
    let sent = MailSent { to: "a@example.org".to_owned(), tries };
    Event::new("mail.sent").payload(Json::from_value(&sent).unwrap())
}

#[test]
fn all_events_are_read_page_by_page() {
    let (ledger, _, _dir) = ledger();
    let events: Vec<Body<'_>> = (0..2500).map(|tries| mail(tries).into()).collect();
    ledger.append_batch(&events, runledger::Durability::Os).unwrap();
    let sent = || ledger.events::<MailSent>().of_type("mail.sent");
    let tries: Vec<_> = sent().map(|event| event.unwrap().1.tries).collect();
    assert_eq!(tries, (0..2500).rev().collect::<Vec<_>>());
    let oldest = sent().narrow(|query| query.order(Order::Seq).offset(3).limit(1)).take(1200);
    let tries: Vec<_> = oldest.map(|event| event.unwrap().1.tries).collect();
    assert_eq!(tries, (3..1203).collect::<Vec<_>>());
}

#[test]
fn what_is_of_another_shape_is_an_error_in_its_place() {
    let (ledger, _, _dir) = ledger();
    ledger.append(mail(1)).unwrap();
    ledger.append(Event::new("mail.sent").payload(Json::parse("[]").unwrap())).unwrap();
    ledger.append(Event::new("mail.sent").severity(Severity::Info)).unwrap();
    ledger.append(mail(2)).unwrap();
    let read: Vec<_> =
        ledger.events::<MailSent>().map(|event| event.map(|it| it.1.tries)).collect();
    assert!(matches!(&read[..], [Ok(2), Err(_), Err(_), Ok(1)]), "{read:?}");
    let optional = ledger.events::<Option<MailSent>>();
    assert_eq!(optional.filter_map(Result::ok).filter(|it| it.1.is_none()).count(), 1);
    let asked = ledger.events::<MailSent>().of_type("mail.sent").narrow(|query| query.run(""));
    let asked: Vec<_> = asked.collect();
    assert!(matches!(&asked[..], [Err(_)]), "{asked:?}");
}

/// Of events that hold a text a damaged one was the end.
#[test]
fn events_with_a_text_go_on_behind_damage() {
    let (ledger, _, dir) = ledger();
    for tries in 0..3 {
        ledger.append(mail(tries).message("needle")).unwrap();
    }
    assert_eq!(ledger.query().count().unwrap(), 3);
    damage_second(&dir, "events");
    let found = ledger.events::<MailSent>().narrow(|query| query.text("needle"));
    let tries: Vec<_> = found.map(|event| event.map(|it| it.1.tries)).collect();
    assert!(matches!(&tries[..], [Ok(2), Err(Error::Damaged { .. }), Ok(0)]), "{tries:?}");
}
