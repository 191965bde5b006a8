//! Questions at random, from a seed.

use runledger::{Field, Kind, Order};

use super::book::Book;
use super::question::Question;
use super::record::Rec;
use torture::rng::Rng;

const ORDERS: [Order; 4] = [Order::Newest, Order::Oldest, Order::Seq, Order::SeqDescending];

/// A question of which most have an answer: its values are those of a record that is there.
pub(crate) fn question(book: &Book, rng: &mut Rng) -> Question {
    let mut question =
        Question { order: ORDERS[rng.below(4)], history: rng.below(3) == 0, ..Question::default() };
    let model = pick(book, rng);
    for _ in 0..rng.below(3) {
        question.kinds.push(match rng.below(4) {
            0 => Kind::ALL[rng.below(3)],
            _ => model.kind.parse().unwrap(),
        });
    }
    for _ in 0..rng.below(3) {
        let field = Field::ALL[rng.below(Field::ALL.len())];
        if question.fields.iter().all(|(other, _)| *other != field) {
            let values = values(book, model, field, rng);
            question.fields.extend((!values.is_empty()).then_some((field, values)));
        }
    }
    for _ in 0..rng.below(6).saturating_sub(3) {
        let fields: Vec<_> = (0..rng.below(4)).map(|_| Field::ALL[rng.below(7)]).collect();
        let bound = fields.into_iter().flat_map(|field| {
            values(book, model, field, rng).into_iter().map(move |value| (field, value))
        });
        question.bounds.push(bound.collect());
    }
    if rng.below(2) == 0 {
        window(book, model, &mut question, rng);
    }
    if rng.below(5) == 0 {
        question.text = text(model, rng);
    }
    question
}

fn pick<'b>(book: &'b Book, rng: &mut Rng) -> &'b Rec {
    &book.recs[rng.below(book.recs.len())]
}

/// Values of a field: mostly the model's, with some of other records and some that nobody has.
fn values(book: &Book, model: &Rec, field: Field, rng: &mut Rng) -> Vec<String> {
    let mut values: Vec<String> = model.fields.get(&field).cloned().into_iter().collect();
    for _ in 0..rng.below(4) {
        values.extend(pick(book, rng).fields.get(&field).cloned());
    }
    let free = !matches!(field, Field::Status | Field::Severity | Field::Fingerprint);
    if free && rng.below(8) == 0 {
        values.push("nobody:has this".to_owned());
    }
    values
}

/// A window in time whose ends are times of records, or next to them.
fn window(book: &Book, model: &Rec, question: &mut Question, rng: &mut Rng) {
    let near = |time: i64, rng: &mut Rng| match rng.below(3) {
        0 => time,
        1 => time.saturating_add(1),
        _ => time.saturating_sub(1),
    };
    let mut ends = [near(model.created_at, rng), near(pick(book, rng).created_at, rng)];
    // Now and then the ends stay the wrong way round: such a window is empty, and no error.
    if rng.below(8) > 0 {
        ends.sort_unstable();
    }
    question.since = (rng.below(4) > 0).then_some(ends[0]);
    question.until = (rng.below(4) > 0).then_some(ends[1]);
}

/// A piece of one of the record's texts, as it stands or in lower case.
fn text(model: &Rec, rng: &mut Rng) -> Option<String> {
    let texts: Vec<&String> = model.texts.values().collect();
    let own: Vec<char> = texts.get(rng.below(texts.len()))?.chars().collect();
    let from = rng.below(own.len());
    let piece: String = own[from..].iter().take(1 + rng.below(12)).collect();
    Some(if rng.below(2) == 0 { piece.to_lowercase() } else { piece })
}
