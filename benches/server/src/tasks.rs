//! What is measured, and the table of it.

use std::time::Duration;

use runledger::storage::{Disk, Storage};
use runledger::wire::write_record;
use runledger::{Body, Durability, Options, Record, Timestamp};

use crate::client::{Client, get, hammer, percentile, post};
use crate::number::{count, number};
use crate::server::Server;
use crate::table;
use crate::table::Goal::{AtLeast, AtMost, Below, Told};
use crate::workload::{Pool, START_NANOS, Workload};
use crate::{Amounts, Outcome};

/// How many clients ask at a time.
const CLIENTS: usize = 8;

/// Records of one body of a bulk, and of one batch of the library's.
const LINES: usize = 5_000;
const BATCH: usize = 1_000;

/// How often each client of the soak asks for a list, in appends.
const LIST_EVERY: usize = 100;

const LINES_OF_JSON: &str = "application/x-ndjson";

pub(crate) fn all(amounts: Amounts) -> Outcome {
    table::head(&tempfile::tempdir()?)?;
    single(amounts)?;
    bulk(amounts)?;
    list(amounts)?;
    soak(amounts)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn seconds(since: Duration) -> f64 {
    Disk.monotonic().saturating_sub(since).as_secs_f64()
}

/// Single appends beside a route that does nothing.
fn single(amounts: Amounts) -> Outcome {
    let dir = tempfile::tempdir()?;
    let server = Server::start("ledger", dir.path())?;
    let event = r#"{"type":"booking.check","message":"step 3 of booking 71 is done",
        "run_id":"0f0f21b3-42f1-4d54-9c95-7d98fa122f60","project_id":"project-07",
        "payload":{"rows":4711,"ms":7,"host":"node-3"}}"#;
    let append = vec![post("/v1/events", "application/json", event.as_bytes())];
    for clients in [1, CLIENTS] {
        let (appends, idles) = (vec![append.clone(); clients], vec![vec![get("/livez")]; clients]);
        let (mut rates, mut idle_rates) = (Vec::new(), Vec::new());
        for _ in 0..amounts.seconds {
            for (requests, rates) in [(&appends, &mut rates), (&idles, &mut idle_rates)] {
                let begin = Disk.monotonic();
                let took = hammer(&server.address, requests, Duration::from_secs(1))?;
                rates.push(took.len() as f64 / seconds(begin));
            }
        }
        let figure = format!("single appends a second, {clients} at a time; `/livez`");
        table::row(&figure, median(rates), median(idle_rates), AtLeast(0.7));
    }
    Ok(())
}

/// Many records at a time, beside the library and beside SQLite.
fn bulk(amounts: Amounts) -> Outcome {
    let pool = Pool::new()?;
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    let mut batch = Vec::new();
    let mut workload = Workload::in_full_swing(&pool, 1);
    for _ in 0..amounts.records.div_ceil(LINES) {
        workload.fill(&mut batch, LINES);
        let mut text = Vec::new();
        for body in &batch {
            let record = Record::new(1, Timestamp::from_nanos(START_NANOS), None, body.borrowed());
            write_record(&record, &mut text)?;
        }
        bodies.push(post("/v1/bulk", LINES_OF_JSON, &text));
    }
    let records = (bodies.len() * LINES) as f64;
    let (appended, closed) = library(&pool, bodies.len() * LINES)?;
    let over_http = |what: &str| -> Outcome<f64> {
        let dir = tempfile::tempdir()?;
        let server = Server::start(what, dir.path())?;
        let mut client = Client::connect(&server.address)?;
        let begin = Disk.monotonic();
        for body in &bodies {
            client.ask(body)?;
        }
        let rate = records / seconds(begin);
        let answered = client.body.iter().filter(|byte| **byte == b'\n').count();
        match answered == LINES && !client.body.windows(7).any(|part| part == b"problem") {
            true => Ok(rate),
            false => Err(format!("{what} did not take all lines").into()),
        }
    };
    let ledger = over_http("ledger")?;
    let (figure, sqlite) = ("records of NDJSON a second;", over_http("sqlite")?);
    table::row(&format!("{figure} the library"), ledger, records / appended, AtLeast(0.25));
    table::row(
        &format!("{figure} the library, indexed and closed"),
        ledger,
        records / closed,
        Told,
    );
    table::row(&format!("{figure} SQLite in the same handler"), ledger, sqlite, AtLeast(5.0));
    Ok(())
}

/// How long the library takes for as many of the same records: until the last append returned, and
/// until all is indexed and closed.
fn library(pool: &Pool, records: usize) -> Outcome<(f64, f64)> {
    let dir = tempfile::tempdir()?;
    let ledger = Options::new().durability(Durability::Os).open(dir.path())?;
    let mut workload = Workload::in_full_swing(pool, 1);
    let mut batch: Vec<Body<'_>> = Vec::new();
    let mut appended = 0.0;
    for _ in 0..records / BATCH {
        workload.fill(&mut batch, BATCH);
        let begin = Disk.monotonic();
        ledger.append_batch(&batch, Durability::Os)?;
        appended += seconds(begin);
    }
    let begin = Disk.monotonic();
    ledger.close()?;
    Ok((appended, appended + seconds(begin)))
}

/// A list by status over many runs.
fn list(amounts: Amounts) -> Outcome {
    let dir = tempfile::tempdir()?;
    let ledger = Options::new().durability(Durability::Os).open(dir.path())?;
    let pool = Pool::new()?;
    let mut workload = Workload::new(&pool, 2);
    let mut runs = 0;
    while runs < amounts.records {
        let ends = workload
            .by_ref()
            .filter(|body| matches!(body, Body::Run(run) if run.status.is_terminal()));
        let batch: Vec<_> = ends.take(BATCH).collect();
        ledger.append_batch(&batch, Durability::Os)?;
        runs += batch.len();
    }
    ledger.close()?;
    let server = Server::start("ledger", dir.path())?;
    let mut lists = vec![get("/v1/runs?status=failed&limit=50")];
    lists.extend(
        pool.types.iter().map(|name| get(&format!("/v1/runs?status=failed&type={name}&limit=50"))),
    );
    for clients in [1, 4] {
        let requests = vec![lists.clone(); clients];
        // The first of them maps what is read.
        hammer(&server.address, &requests, Duration::from_secs(1))?;
        let took = hammer(&server.address, &requests, Duration::from_secs(amounts.seconds))?;
        let of = number(runs as f64);
        let figure = format!("50 of {of} runs by status, {clients} at a time, p99 in µs; p50");
        let micros = |percent| percentile(&took, percent).as_secs_f64() * 1e6;
        table::row(&figure, micros(99), micros(50), Below(5_000.0));
    }
    Ok(())
}

/// Memory under load that goes on.
fn soak(amounts: Amounts) -> Outcome {
    let dir = tempfile::tempdir()?;
    let server = Server::start("ledger", dir.path())?;
    let append = post("/v1/events", "application/json", br#"{"type":"soak","message":"m"}"#);
    let mut own = vec![append; LIST_EVERY];
    own.push(get("/v1/events?limit=50&type=soak"));
    let requests = vec![own; 4];
    let step = Duration::from_millis(amounts.soak * 100);
    let mut memory = Vec::new();
    let mut sent = 0;
    for _ in 0..10 {
        sent += hammer(&server.address, &requests, step)?.len();
        memory.push(server.memory()? as f64 / f64::from(1 << 20));
    }
    let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
    let (first, second) = memory.split_at(5);
    let figure = format!(
        "anonymous MiB under {} requests in {} s, second half; first half",
        count(sent),
        amounts.soak
    );
    table::row(&figure, most(second), most(first), AtMost(1.1));
    println!("\nMiB at each tenth of that time: {memory:.1?}");
    Ok(())
}
