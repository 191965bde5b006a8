//! Readers beside a live writer: each sees of every stream records without a gap, and never less at
//! its end than before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use runledger::{
    Body, Compaction, Durability, ErrorRecord, Event, Kind, Ledger, Options, Order, Reader, Result,
    Run, Status,
};

use crate::real::partner::{die_with_parent, say, serve};
use crate::rng::Rng;

/// The cap on the disk that retention keeps to: some segments of each stream.
const MAX_BYTES: u64 = 1 << 20;

/// In which round of upkeep segments are compacted: some are read as they were written, others
/// packed, and others while they are replaced.
const COMPACTS_EVERY: u32 = 7;

/// How often each reader looks.
const LOOKS: usize = 12;

/// The writer: numbers the records of each kind from 0, without a gap, until it is killed.
pub(crate) fn write(dir: &Path, seed: u64) -> Result<()> {
    die_with_parent();
    let options = Options::new().segment_bytes(64 << 10).max_bytes(Some(MAX_BYTES));
    let ledger = options.open(dir)?;
    say("open");
    std::thread::scope(|scope| {
        let writers = Kind::ALL.iter().map(|&kind| {
            let (ledger, rng) = (&ledger, Rng::new(seed ^ kind as u64));
            scope.spawn(move || write_kind(ledger, kind, rng))
        });
        let writers: Vec<_> = writers.collect();
        for round in 1.. {
            std::thread::sleep(Duration::from_millis(5));
            ledger.maintain()?;
            if round % COMPACTS_EVERY == 0 {
                ledger.compact(&Compaction::new())?;
            }
            if writers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        Ok(())
    })
}

fn write_kind(ledger: &Ledger, kind: Kind, mut rng: Rng) -> Result<()> {
    let mut next: u64 = 0;
    loop {
        let text = "x".repeat(rng.below(2500));
        let body = |number: u64| -> Result<Body<'static>> {
            let (name, text) = (number.to_string(), text.clone());
            Ok(match kind {
                Kind::Run => Run::new(format!("run-{number}"), name, Status::Success)?.into(),
                Kind::Event => Event::new(name).message(text).into(),
                _ => ErrorRecord::new(name, text).into(),
            })
        };
        let batch: Vec<_> = (next..next + 1 + rng.number() % 3).map(body).collect::<Result<_>>()?;
        next += batch.len() as u64;
        let durability = [Durability::Os, Durability::Interval][rng.below(2)];
        ledger.append_batch(&batch, durability)?;
        std::thread::sleep(Duration::from_micros(rng.number() % 300));
    }
}

/// What a reader has seen of a kind: the sequence number of each record by the record's own.
type Seen = BTreeMap<u64, u64>;

/// The child: as often as it is told, so many threads at once each open a reader and look at all
/// there is a few times. Says how many records they saw.
pub(crate) fn child(dir: &Path, seed: u64) {
    let mut rng = Rng::new(seed);
    serve(|line| {
        let threads: usize = line.parse().unwrap();
        let seeds: Vec<u64> = (0..threads).map(|_| rng.number()).collect();
        let looked: Result<Vec<u64>, String> = std::thread::scope(|scope| {
            let look = |&seed| scope.spawn(move || read(dir, seed));
            let readers: Vec<_> = seeds.iter().map(look).collect();
            let said = |panic: Box<dyn std::any::Any + Send>| {
                Err(crate::ground::message(&*panic).to_owned())
            };
            readers.into_iter().map(|reader| reader.join().unwrap_or_else(said)).collect()
        });
        match looked {
            Ok(seen) => seen.iter().sum::<u64>().to_string(),
            Err(what) => format!("wrong {what}"),
        }
    });
}

fn read(dir: &Path, seed: u64) -> Result<u64, String> {
    let mut rng = Rng::new(seed);
    let words = |err: runledger::Error| err.to_string();
    let reader = Reader::open(dir).map_err(words)?;
    let mut seen = [const { Seen::new() }; 3];
    for _ in 0..LOOKS {
        for (kind, seen) in Kind::ALL.iter().zip(&mut seen) {
            *seen = look(&reader, *kind, seen).map_err(|what| format!("{kind}: {what}"))?;
        }
        std::thread::sleep(Duration::from_micros(rng.number() % 5000));
        reader.refresh().map_err(words)?;
    }
    Ok(seen.iter().map(|seen| seen.len() as u64).sum())
}

/// All of a kind, compared with what was seen before.
fn look(reader: &Reader, kind: Kind, before: &Seen) -> Result<Seen, String> {
    let query = reader.query().kind(kind).history(true).order(Order::Seq).limit(usize::MAX / 2);
    let page = query.fetch().map_err(|err| err.to_string())?;
    // What was found stays readable, whatever becomes of its files meanwhile.
    std::thread::yield_now();
    let mut now = Seen::new();
    for record in page.records() {
        let record = record.map_err(|err| err.to_string())?;
        let number: u64 = record.body.type_name().parse().map_err(|_| format!("{record:?}"))?;
        now.insert(number, record.seq);
    }
    let ends = |seen: &Seen| Some((*seen.first_key_value()?.0, *seen.last_key_value()?.0));
    match (ends(before), ends(&now)) {
        (_, Some((first, last))) if last - first + 1 != now.len() as u64 => {
            Err(format!("a gap: {} records from {first} to {last}", now.len()))
        }
        (Some((first, last)), Some((now_first, now_last)))
            if now_first < first || now_last < last =>
        {
            Err(format!("{first} to {last} were there, then {now_first} to {now_last}"))
        }
        // Retention may drop the last of them, too.
        (Some(_), None) => Ok(before.clone()),
        _ => match before.iter().find(|(number, seq)| now.get(number).is_some_and(|it| it != *seq))
        {
            Some((number, seq)) => Err(format!("{number} was {seq}, then {:?}", now.get(number))),
            None => Ok(now),
        },
    }
}
