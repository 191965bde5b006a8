//! Appends at a steady rate.

use std::time::Duration;

use super::setup;
use crate::Outcome;
use crate::child::{Findings, Order};
use crate::engine::Level;
use crate::engines::Name;
use crate::measure::{Samples, now, timed};
use crate::workload::{Pool, Workload};

/// How far apart the appends are: 100,000 a second.
const INTERVAL: Duration = Duration::from_micros(10);
/// An engine that falls behind by this much does not reach the rate.
const HOPELESS: Duration = Duration::from_secs(1);
/// The share of the rate that counts as reaching it.
const REACHED: f64 = 0.99;
/// What is told of the latencies.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

/// One thread appends. An append's latency counts from when it was due: one that is late delays
/// those behind it, and all of them say so. The call alone tells what the engine itself took.
pub(super) fn latency(order: &Order, name: Name) -> Outcome<Findings> {
    let pool = Pool::new()?;
    let log = name.open_log(setup(order, Level::Os))?;
    let mut workload = Workload::in_full_swing(&pool, order.seed);
    let (mut latencies, mut calls) = (Samples::default(), Samples::default());
    let wanted = (3.0 * order.seconds / INTERVAL.as_secs_f64()).round();
    let start = now();
    let mut due = start;
    while (latencies.len() as f64) < wanted {
        let Some(body) = workload.next() else { break };
        due += INTERVAL;
        while now() < due {
            std::hint::spin_loop();
        }
        let (done, seconds) = timed(|| log.append(body));
        done?;
        let late = now() - due;
        latencies.push(late.as_secs_f64() * 1e6);
        calls.push(seconds * 1e6);
        if late > HOPELESS {
            break;
        }
    }
    let reached = latencies.len() as f64 / (now() - start).as_secs_f64();
    log.close()?;
    let mut findings = Findings::default();
    findings.set("latency.rate", reached);
    if reached * INTERVAL.as_secs_f64() >= REACHED {
        for (text, percent) in PERCENTILES {
            findings.set(format!("latency.{text}"), latencies.percentile(percent));
            findings.set(format!("latency.call_{text}"), calls.percentile(percent));
        }
    }
    Ok(findings)
}
