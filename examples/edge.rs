//! A box at the edge: little memory, a small disk, and a power switch that anybody may use.
//!
//! `cargo run --example edge --features log [DIR]` records one round of a device that reads its
//! sensors, and shows what the ledger holds of it and of the rounds before.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use runledger::embed::{LedgerLog, PanicHook, Recorder, WhenFull};
use runledger::{Class, Durability, Kind, Ledger, Limits, Options, Run, RunError, Status};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The readings of this round; of one sensor there is none.
const READINGS: [(&str, Option<f64>); 3] =
    [("boiler", Some(71.5)), ("cellar", None), ("outside", Some(-4.0))];

fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "edge-ledger".to_owned());
    let ledger = open(&dir)?;
    for line in ledger.noticed() {
        // A power cut is no secret.
        println!("since the last start: {line}");
    }
    // Log lines may be lost when there are too many: the ledger then says how many.
    let queue = Recorder::queue().records(256).bytes(64 << 10).when_full(WhenFull::Drop);
    let (recorder, guard) = queue.start(&ledger)?;
    LedgerLog::new(recorder.clone(), log::LevelFilter::Info).install()?;
    let panics = PanicHook::new(&ledger).flushes(&recorder).install();

    read_sensors(&ledger)?;

    drop((guard, panics));
    for record in ledger.query().limit(10).fetch()?.records() {
        let record = record?;
        println!("{:>4}  {:<5}  {}", record.seq, record.body.kind(), record.body.type_name());
    }
    let stats = ledger.reader().stats()?;
    println!("{} bytes on disk", stats.allocated_bytes);
    ledger.close()?;
    Ok(())
}

/// A ledger that never takes more than 16 MiB, keeps failed runs for a year and events for a week.
fn open(dir: &str) -> Outcome<Ledger> {
    let day = Duration::from_secs(24 * 60 * 60);
    let failed = Class::status(Status::Failed);
    Ok(Options::new()
        .max_bytes(Some(16 << 20))
        .segment_bytes(1 << 20)
        .retention(Kind::Event, Some(7 * day))
        .class(failed, Limits::new().age(365 * day))
        .open(dir)?)
}

/// What the box is for. Its run is on stable storage when it ends: the power may go now.
fn read_sensors(ledger: &Ledger) -> Outcome<()> {
    let id = format!("round-{}", ledger.settled() + 1);
    let run = ledger.start_run(Run::new(id.clone(), "read-sensors", Status::Running)?)?;
    let mut missing = None;
    for (sensor, reading) in READINGS {
        match reading {
            Some(degrees) => {
                log::info!(target: "sensor.read", run_id = id.as_str(), degrees; "{sensor}");
            }
            None => {
                log::error!(target: "sensor.mute", run_id = id.as_str(); "{sensor} says nothing");
                missing = Some(sensor);
            }
        }
    }
    match missing {
        Some(sensor) => run.fail(RunError::new(format!("{sensor} says nothing")))?,
        None => run.finish_with(Status::Success, Durability::Sync)?,
    };
    ledger.sync()?;
    Ok(())
}
