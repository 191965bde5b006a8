//! Queries of a warm ledger, while it is written and after it was closed and opened again.

use runledger::{Field, Kind, Ledger, Order, Query, Reader, Record, Status, Timestamp};

use super::append::append_batches;
use super::measure::{Samples, timed};
use super::report::{Goal, Report, Row};
use super::workload::{Pool, Rng, START_NANOS, Workload, run_id, trace_id};
use super::{Bench, Outcome};

const SEED: u64 = 1;

/// What a query is about: one of many, chosen at random.
struct Pick {
    trace: String,
    run: String,
    name: String,
    project: String,
    /// A tenth of the time.
    window: (Timestamp, Timestamp),
    seq: u64,
}

/// One kind of question; gives how many records it has seen.
type Ask = fn(&Reader, &Pick) -> runledger::Result<u64>;

/// Each question, how often it is asked in a round, and the microseconds that it may take.
const QUESTIONS: [(&str, usize, Option<f64>, Ask); 9] = [
    ("records of a trace", 2000, Some(6.7), trace),
    ("events of a run, newest 100", 2000, Some(4.2), events_of_run),
    ("last 50 failed runs of a type", 1000, Some(28.0), last_failed),
    ("count by status, a tenth of the time", 300, Some(34.0), count_by_status),
    ("events of a type, a tenth of the time, read", 200, Some(934.0), scan),
    ("errors of a project, newest 50", 1000, None, errors_of_project),
    ("newest 100 of all", 1000, None, newest),
    ("record by seq", 5000, None, by_seq),
    ("state of a run", 5000, None, state_of_run),
];

pub(super) fn run(bench: &Bench, report: &mut Report) -> Outcome {
    let pool = Pool::new()?;
    let dir = bench.fresh("query")?.join("ledger");
    let ledger = Ledger::open(&dir)?;
    let mut workload = Workload::new(&pool, SEED);
    append_batches(&ledger, &mut workload, bench.ops)?;
    let picks = picks(&pool, &workload, bench.ops);
    ask_all(bench, report, ledger.reader(), &picks, "as written")?;
    ledger.close()?;
    drop(ledger);
    let ledger = Ledger::open(&dir)?;
    ask_all(bench, report, ledger.reader(), &picks, "reopened")?;
    ledger.close()?;
    Ok(())
}

fn picks(pool: &Pool, workload: &Workload<'_>, ops: usize) -> Vec<Pick> {
    let mut rng = Rng::new(3);
    let nanos = u64::try_from(workload.now() - START_NANOS).unwrap_or_default();
    let time = |after: u64| Timestamp::from_nanos(START_NANOS.saturating_add_unsigned(after));
    let pick = |_| {
        // The last runs that were begun may have no record yet.
        let run = rng.below(workload.runs() * 9 / 10);
        let from = rng.below(nanos * 9 / 10);
        Pick {
            trace: trace_id(SEED, run).to_string(),
            run: run_id(SEED, run).to_string(),
            name: rng.pick(&pool.types).to_owned(),
            project: rng.pick(&pool.projects).to_owned(),
            window: (time(from), time(from + nanos / 10)),
            seq: 1 + rng.below(ops as u64 - 1),
        }
    };
    (0..5000).map(pick).collect()
}

fn ask_all(
    bench: &Bench,
    report: &mut Report,
    reader: &Reader,
    picks: &[Pick],
    state: &str,
) -> Outcome {
    for (name, times, goal, ask) in QUESTIONS.into_iter().filter(|(name, ..)| bench.wants(name)) {
        let mut rounds = Samples::default();
        let (mut seen, mut asked) = (0, 0);
        for _ in 0..bench.rounds {
            let mut round = Samples::default();
            for pick in picks.iter().take(times) {
                let (records, seconds) = timed(|| ask(reader, pick));
                seen += records?;
                asked += 1;
                round.push(seconds * 1e6);
            }
            rounds.push(round.median());
        }
        let each = seen as f64 / f64::from(asked);
        let row = Row::new(format!("{name} ({each:.0} each), {state}, p50"), "µs", rounds);
        report.add(match goal {
            Some(micros) => row.goal(Goal::AtMost(micros)),
            None => row,
        });
    }
    Ok(())
}

/// Fetches, and reads every record.
fn read(query: &Query) -> runledger::Result<u64> {
    let mut seen = 0;
    for record in query.fetch()?.records() {
        seen += touch(&record?);
    }
    Ok(seen)
}

/// One record, of which a field was looked at.
fn touch(record: &Record<'_>) -> u64 {
    u64::from(!std::hint::black_box(record).body.type_name().is_empty())
}

fn trace(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    read(&reader.query().trace(&pick.trace))
}

fn events_of_run(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    read(&reader.query().kind(Kind::Event).run(&pick.run).limit(100))
}

fn last_failed(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    let failed = reader.query().kind(Kind::Run).status(Status::Failed);
    read(&failed.record_type(&pick.name).limit(50))
}

fn count_by_status(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    let (since, until) = pick.window;
    let runs = reader.query().kind(Kind::Run).since(since).until(until);
    Ok(runs.count_by(Field::Status)?.iter().map(|(_, count)| count).sum())
}

fn scan(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    let (since, until) = pick.window;
    let events = reader.query().kind(Kind::Event).record_type(&pick.name);
    read(&events.since(since).until(until).order(Order::Oldest).limit(1_000_000))
}

fn errors_of_project(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    read(&reader.query().kind(Kind::Error).project(&pick.project).limit(50))
}

fn newest(reader: &Reader, _: &Pick) -> runledger::Result<u64> {
    read(&reader.query().limit(100))
}

fn by_seq(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    Ok(touch(&reader.get(pick.seq)?.record()?))
}

fn state_of_run(reader: &Reader, pick: &Pick) -> runledger::Result<u64> {
    Ok(touch(&reader.run(&pick.run)?.record()?))
}
