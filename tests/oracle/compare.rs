//! The ledger's answers beside the oracle's.

use std::collections::BTreeMap;

use runledger::{Body, Cursor, Field, Json, Kind, Order, Query, Reader, Record};

use super::book::Book;
use super::question::{Question, counts};
use super::random;
use super::record::Rec;
use torture::rng::Rng;

/// Questions with the oracle's answers.
pub(crate) struct Exam<'b> {
    book: &'b Book,
    questions: Vec<Answered>,
}

/// A question with its answer: the records, and the counts of some fields.
struct Answered {
    question: Question,
    seqs: Vec<u64>,
    counts: Vec<(Field, Vec<(String, u64)>)>,
}

impl<'b> Exam<'b> {
    /// What can be asked of the whole ledger, counted by each field, and `rounds` questions at
    /// random, each counted by one.
    pub(crate) fn new(book: &'b Book, rounds: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut questions = Vec::new();
        for question in plain() {
            questions.push(Answered::new(book, question, Field::ALL));
        }
        for _ in 0..rounds {
            let question = random::question(book, &mut rng);
            let field = Field::ALL[rng.below(Field::ALL.len())];
            questions.push(Answered::new(book, question, &[field]));
        }
        Self { book, questions }
    }

    /// Asks the ledger everything, in parts and pages that follow from the seed.
    pub(crate) fn sit(&self, reader: &Reader, seed: u64) {
        let mut rng = Rng::new(seed);
        for answered in &self.questions {
            answered.compare(self.book, reader, &mut rng);
        }
    }
}

/// Each kind and all of them, with and without history, in each order.
fn plain() -> Vec<Question> {
    let mut questions = Vec::new();
    for kinds in [vec![], vec![Kind::Run], vec![Kind::Event], vec![Kind::Error]] {
        for history in [false, true] {
            let order = if history { Order::Seq } else { Order::Newest };
            questions.push(Question {
                kinds: kinds.clone(),
                history,
                order,
                ..Question::default()
            });
        }
    }
    questions
}

impl Answered {
    fn new(book: &Book, question: Question, fields: &[Field]) -> Self {
        let answer = question.answer(book);
        let counts = fields.iter().map(|&field| (field, counts(&answer, field))).collect();
        Self { seqs: answer.iter().map(|rec| rec.seq).collect(), counts, question }
    }

    /// The question in all its forms: whole, in parts, page by page, counted.
    fn compare(&self, book: &Book, reader: &Reader, rng: &mut Rng) {
        let Self { question, seqs, counts } = self;
        let query = question.ask(reader);
        assert_eq!(query.count().unwrap(), seqs.len() as u64, "count of {question:?}");
        for (field, counts) in counts {
            assert_eq!(&query.count_by(*field).unwrap(), counts, "{field} of {question:?}");
        }
        let offset = if rng.below(2) == 0 { 0 } else { rng.below(seqs.len() + 2) };
        let limit = [1, 7, 50, 1000, usize::MAX][rng.below(5)];
        part(book, &query, seqs, (offset, limit));
        if seqs.len() < 3000 {
            walk(&query, seqs, 1 + rng.below(seqs.len().max(20)));
        }
    }
}

/// A part of the answer, with the content of its records.
fn part(book: &Book, query: &Query, seqs: &[u64], (offset, limit): (usize, usize)) {
    let page = query.clone().offset(offset as u64).limit(limit).fetch().unwrap();
    let rest = &seqs[offset.min(seqs.len())..];
    let expected = &rest[..limit.min(rest.len())];
    assert_eq!(page.seqs().collect::<Vec<_>>(), expected, "{offset} and {limit} of {query:?}");
    assert_eq!(page.next().is_some(), expected.len() < rest.len(), "the rest of {query:?}");
    for record in page.records().take(50) {
        let record = record.unwrap();
        same(&record, book.get(record.seq));
    }
}

/// The whole answer, page by page, over the text of the cursors.
fn walk(query: &Query, seqs: &[u64], size: usize) {
    let mut found = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let query = query.clone().limit(size);
        let page = match after {
            Some(cursor) => query.after(cursor).fetch().unwrap(),
            None => query.fetch().unwrap(),
        };
        found.extend(page.seqs());
        assert!(found.len() <= seqs.len(), "pages of {size} do not end");
        match page.next() {
            Some(cursor) => after = Some(cursor.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(found, seqs, "pages of {size} of {query:?}");
}

/// A record beside what the oracle read from its line.
pub(crate) fn same(record: &Record<'_>, rec: &Rec) {
    let body = &record.body;
    assert_eq!(body.kind().name(), rec.kind);
    assert_eq!(body.created_at().unwrap().as_nanos(), rec.created_at, "of {}", rec.seq);
    let (fields, texts) = parts(body);
    assert_eq!(fields, rec.fields, "of {}", rec.seq);
    assert_eq!(texts, rec.texts, "of {}", rec.seq);
}

/// The fields and texts of a record, as the oracle keeps them.
fn parts(body: &Body<'_>) -> (BTreeMap<Field, String>, BTreeMap<&'static str, String>) {
    let id = |id: Option<&runledger::Id<'_>>| id.map(ToString::to_string);
    let text = |text: Option<&std::borrow::Cow<'_, str>>| text.map(ToString::to_string);
    let json = |json: &Option<Json<'_>>| json.as_ref().map(|json| json.as_str().to_owned());
    let mut fields = vec![
        (Field::Type, Some(body.type_name().to_owned())),
        (Field::Trace, id(body.trace_id())),
        (Field::Run, id(body.run_id())),
        (Field::Project, id(body.project_id())),
        (Field::User, id(body.user_id())),
    ];
    let texts = match body {
        Body::Run(run) => {
            fields.push((Field::Status, Some(run.status.to_string())));
            fields.push((Field::Subject, run.subject.as_ref().map(ToString::to_string)));
            let error = run.error.as_ref();
            vec![
                ("message", error.map(|error| error.message.to_string())),
                ("stack", text(error.and_then(|error| error.stack.as_ref()))),
                ("metadata", json(&run.metadata)),
                ("result", json(&run.result)),
            ]
        }
        Body::Event(event) => {
            fields.push((Field::Severity, event.severity.map(|severity| severity.to_string())));
            vec![("message", text(event.message.as_ref())), ("payload", json(&event.payload))]
        }
        Body::Error(error) => {
            fields.push((Field::Severity, Some(error.severity.to_string())));
            let fingerprint = error.fingerprint.map(|fingerprint| fingerprint.to_string());
            fields.push((Field::Fingerprint, fingerprint));
            vec![
                ("message", Some(error.message.to_string())),
                ("stack", text(error.stack.as_ref())),
                ("detail", json(&error.detail)),
            ]
        }
        _ => unreachable!("a kind that the oracle does not know"),
    };
    let fields = fields.into_iter().filter_map(|(field, value)| Some((field, value?)));
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    (fields.collect(), texts.collect())
}
