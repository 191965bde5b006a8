//! Every query's answer, against one computed from all records by plain loops.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use runledger::{
    Body, Cursor, Durability, ErrorRecord, Event, Field, Kind, Ledger, Order, Query, Record, Run,
    Status, Timestamp,
};

use super::{DIR, options};
use torture::disk::SimDisk;
use torture::rng::Rng;

/// Few, so that many are equal, and the ends of the range among them.
const TIMES: [i64; 7] = [i64::MIN, -1, 0, 1, 5, i64::MAX - 1, i64::MAX];
const NAMES: [&str; 4] = ["a", "b", "c", "nobody"];
const ORDERS: [Order; 4] = [Order::Newest, Order::Oldest, Order::Seq, Order::SeqDescending];

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len())]
}

fn body(rng: &mut Rng) -> Body<'static> {
    let time = Timestamp::from_nanos(pick(rng, &TIMES));
    let name = pick(rng, &NAMES[..3]);
    match rng.below(3) {
        0 => {
            let status = pick(rng, &[Status::Running, Status::Success, Status::Failed]);
            let run = Run::new(pick(rng, &NAMES[..3]), name, status).unwrap();
            // Attempts rise, so that nearly every state is taken.
            let attempt = u32::try_from(rng.below(1000)).unwrap() + 1;
            let run = run.created_at(time).attempt(attempt);
            Body::Run(if rng.below(2) == 0 { run.user_id(id(rng)) } else { run })
        }
        1 => Body::Event(Event::new(name).created_at(time).user_id(id(rng))),
        _ => Body::Error(ErrorRecord::new(name, pick(rng, &NAMES)).created_at(time)),
    }
}

fn id(rng: &mut Rng) -> runledger::Id<'static> {
    runledger::Id::new(pick(rng, &NAMES[..3])).unwrap()
}

/// A ledger of a few segments, some sealed, some of their footers damaged, one still written.
fn ledger(rng: &mut Rng, disk: &SimDisk) -> Ledger {
    let mut ledger = options(disk).open(DIR).unwrap();
    for _ in 0..rng.below(6) {
        for _ in 0..rng.below(9) {
            let batch: Vec<_> = (0..rng.below(4)).map(|_| body(rng)).collect();
            ledger.append_each(&batch, Durability::Os).unwrap();
        }
        if rng.below(2) == 0 {
            disk.advance(Duration::from_secs(48 * 3600));
            ledger.maintain().unwrap();
        }
        if rng.below(3) == 0 {
            ledger.close().unwrap();
            drop(ledger);
            let damaged = rng.below(2) == 0;
            for path in disk.files().iter().filter(|path| damaged && path.ends_with_seg()) {
                let mut bytes = disk.peek(path);
                let sealed = bytes.windows(8).rposition(|window| window == b"RUNLEND\xb1");
                if let Some(trailer) = sealed {
                    let frames_end = bytes[trailer + 12..].first_chunk().unwrap();
                    let footer = trailer - u32::from_le_bytes(*frames_end) as usize;
                    bytes[trailer - rng.below(footer)] ^= 0x10;
                    disk.poke(path, bytes);
                }
            }
            ledger = options(disk).open(DIR).unwrap();
        }
    }
    ledger
}

trait EndsWithSeg {
    fn ends_with_seg(&self) -> bool;
}

impl EndsWithSeg for std::path::PathBuf {
    fn ends_with_seg(&self) -> bool {
        self.extension().is_some_and(|extension| extension == "seg")
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Ask {
    kinds: Vec<Kind>,
    types: Vec<&'static str>,
    users: Vec<&'static str>,
    statuses: Vec<Status>,
    since: Option<i64>,
    until: Option<i64>,
    text: Option<&'static str>,
    history: bool,
    order: Order,
}

impl Ask {
    fn random(rng: &mut Rng) -> Self {
        let mut some = |of: &[&'static str]| -> Vec<&'static str> {
            (0..rng.below(4).saturating_sub(1)).map(|_| pick(rng, of)).collect()
        };
        let (types, users) = (some(&NAMES), some(&NAMES));
        let kinds = (0..rng.below(3)).map(|_| pick(rng, &[Kind::Run, Kind::Event, Kind::Error]));
        let kinds = kinds.collect();
        let mut sometimes = |one_in: usize| (rng.below(one_in) == 0).then(|| pick(rng, &TIMES));
        Self {
            kinds,
            types,
            users,
            since: sometimes(3),
            until: sometimes(3),
            statuses: (rng.below(5) == 0).then_some(Status::Success).into_iter().collect(),
            text: (rng.below(6) == 0).then(|| pick(rng, &NAMES)),
            history: rng.below(3) == 0,
            order: pick(rng, &ORDERS),
        }
    }

    fn query(&self, ledger: &Ledger) -> Query {
        let mut query = ledger.query().history(self.history).order(self.order);
        query = self.kinds.iter().fold(query, |query, kind| query.kind(*kind));
        query = self.types.iter().fold(query, |query, name| query.record_type(name));
        query = self.users.iter().fold(query, |query, name| query.user(name));
        query = self.statuses.iter().fold(query, |query, status| query.status(*status));
        query = self.since.iter().fold(query, |q, time| q.since(Timestamp::from_nanos(*time)));
        query = self.until.iter().fold(query, |q, time| q.until(Timestamp::from_nanos(*time)));
        self.text.iter().fold(query, |query, text| query.text(*text))
    }

    fn accepts(&self, record: &Record<'_>, newest: &HashMap<String, u64>) -> bool {
        let body = &record.body;
        let user = body.user_id().map(ToString::to_string);
        let time = body.created_at().unwrap().as_nanos();
        let (status, text, is_newest) = match body {
            Body::Run(run) => {
                let newest = newest[&run.run_id.to_string()];
                (Some(run.status), String::new(), newest == record.seq)
            }
            Body::Error(error) => (None, error.message.to_string(), true),
            _ => (None, String::new(), true),
        };
        (self.kinds.is_empty() || self.kinds.contains(&body.kind()))
            && (self.types.is_empty() || self.types.contains(&body.type_name()))
            && (self.users.is_empty() || user.is_some_and(|user| self.users.contains(&&*user)))
            && (self.statuses.is_empty() || status.is_some_and(|s| self.statuses.contains(&s)))
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self.text.is_none_or(|pattern| text.contains(pattern))
            && (self.history || is_newest)
    }

    fn expected(&self, all: &[Record<'_>]) -> Vec<u64> {
        let mut newest = HashMap::new();
        for record in all {
            if let Body::Run(run) = &record.body {
                newest.insert(run.run_id.to_string(), record.seq);
            }
        }
        let mut found: Vec<_> = all.iter().filter(|record| self.accepts(record, &newest)).collect();
        found.sort_by_key(|record| match self.order {
            Order::Newest | Order::Oldest => (record.body.created_at(), record.seq),
            _ => (None, record.seq),
        });
        if matches!(self.order, Order::Newest | Order::SeqDescending) {
            found.reverse();
        }
        found.iter().map(|record| record.seq).collect()
    }
}

fn compare(rng: &mut Rng, ledger: &Ledger, ask: &Ask, all: &[Record<'_>]) {
    let expected = ask.expected(all);
    let query = ask.query(ledger);
    assert_eq!(query.count().unwrap(), expected.len() as u64, "{ask:?}");
    let whole: Vec<u64> = query.clone().limit(1000).fetch().unwrap().seqs().collect();
    assert_eq!(whole, expected, "{ask:?}");
    let (offset, limit) = (rng.below(6), rng.below(5));
    let part: Vec<u64> = expected.iter().copied().skip(offset).take(limit).collect();
    let page = query.clone().offset(offset as u64).limit(limit).fetch().unwrap();
    assert_eq!(page.seqs().collect::<Vec<_>>(), part, "{ask:?} {offset} {limit}");
    let (mut walked, mut after, step) = (Vec::new(), None, 1 + rng.below(3));
    loop {
        let query = query.clone().limit(step);
        let page = after.map_or(query.clone(), |cursor| query.after(cursor)).fetch().unwrap();
        walked.extend(page.seqs());
        after = page.next();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(walked, expected, "{ask:?} by steps of {step}");
    let mut by_type = BTreeMap::new();
    for record in all.iter().filter(|record| expected.contains(&record.seq)) {
        *by_type.entry(record.body.type_name().to_owned()).or_insert(0) += 1;
    }
    let counted: BTreeMap<_, _> = query.count_by(Field::Type).unwrap().into_iter().collect();
    assert_eq!(counted, by_type, "{ask:?}");
}

/// Equal times, times at the ends of their range, runs overtaken within a segment and across, and
/// footers that are damaged.
#[test]
fn every_answer_is_that_of_plain_loops() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let ledger = ledger(&mut rng, &disk);
        let page = ledger.query().history(true).order(Order::Seq).limit(1000).fetch().unwrap();
        let all: Vec<_> = page.records().map(|record| record.unwrap()).collect();
        assert!(all.is_sorted_by_key(|record| record.seq));
        for _ in 0..25 {
            let ask = Ask::random(&mut rng);
            compare(&mut rng, &ledger, &ask, &all);
        }
    }
}

/// A cursor behind all records of one time went on behind all that there are, and one up to there
/// had no end; but not where the records were found by a key.
#[test]
fn a_cursor_at_the_end_of_a_time_goes_on_with_the_next() {
    for is_sealed in [false, true] {
        let disk = SimDisk::new(1);
        let ledger = options(&disk).open(DIR).unwrap();
        let mut all = Vec::new();
        for (time, name) in [TIMES; 6].into_iter().flatten().zip(NAMES.into_iter().cycle()) {
            let event = Event::new(name).created_at(Timestamp::from_nanos(time));
            all.push((time, ledger.append(event).unwrap(), name));
        }
        all.sort_unstable();
        if is_sealed {
            disk.advance(Duration::from_secs(48 * 3600));
            ledger.maintain().unwrap();
        }
        for key in TIMES.into_iter().flat_map(|time| [(time, 0), (time, 8), (time, u64::MAX)]) {
            for name in NAMES.map(Some).into_iter().chain([None]) {
                let is_of = |of: &str| name.is_none_or(|name| name == of);
                let label = format!("{name:?} at {key:?}, sealed: {is_sealed}");
                goes_on_at(&ledger, key, name, &label, |is_in| {
                    let found = all.iter().filter(|it| is_of(it.2) && is_in(&(it.0, it.1)));
                    found.map(|it| it.1).collect()
                });
            }
        }
    }
}

/// Compares what comes up to a place and after it with the numbers `of` those in order.
fn goes_on_at(
    ledger: &Ledger,
    key: (i64, u64),
    name: Option<&str>,
    label: &str,
    of: impl Fn(&dyn Fn(&(i64, u64)) -> bool) -> Vec<u64>,
) {
    let time = key.0.cast_unsigned() ^ 1 << 63;
    let query = |order| {
        let query = ledger.query().order(order).limit(1000);
        name.iter().fold(query, |query, name| query.record_type(name))
    };
    let cursor = |letter| format!("{letter}{time:016x}{:016x}", key.1).parse::<Cursor>().unwrap();
    let seqs = |query: Query| query.fetch().unwrap().seqs().collect::<Vec<_>>();
    let reversed = |mut seqs: Vec<u64>| {
        seqs.reverse();
        seqs
    };
    let (oldest, newest) = (|| query(Order::Oldest), || query(Order::Newest));
    assert_eq!(seqs(oldest().after(cursor('o'))), of(&|it| *it > key), "after {label}");
    assert_eq!(seqs(oldest().up_to(cursor('o'))), of(&|it| *it <= key), "up to {label}");
    assert_eq!(seqs(newest().after(cursor('n'))), reversed(of(&|it| *it < key)), "after {label}");
    assert_eq!(seqs(newest().up_to(cursor('n'))), reversed(of(&|it| *it >= key)), "up to {label}");
}
