//! The questions, asked of a ledger whose pages are in memory.

use crate::Outcome;
use crate::child::{Findings, Order, Task};
use crate::engine::Engine;
use crate::measure::{Samples, now, timed};
use crate::question::{Digest, Pick, Question, Seen, found};

/// A question is asked at least this often.
const ASKED_AT_LEAST: usize = 10;

/// Asks every question: first for the answers, and then for the time. A figure is the median of a
/// round of different picks.
pub(super) fn ask_all(
    engine: &dyn Engine,
    picks: &[Pick],
    order: &Order,
    prefix: &str,
    findings: &mut Findings,
) -> Outcome {
    for question in Question::ALL {
        let mut digest = Digest::default();
        for pick in picks.iter().take(question.checks()) {
            engine.ask(question, pick, &mut |seen| digest.add(comparable(seen, order)))?;
        }
        found(digest.parts(), question)?;
        findings.answers.insert(question.key().to_owned(), digest.text());
        let micros = time(engine, question, picks, order)?;
        findings.set(format!("{prefix}.{}", question.key()), micros);
    }
    Ok(())
}

/// The median of the microseconds that a question takes, asked about the last of the picks: it was
/// asked about the others before, so that what an engine keeps at hand is there, and what it maps
/// was touched.
pub(super) fn time(
    engine: &dyn Engine,
    question: Question,
    picks: &[Pick],
    order: &Order,
) -> Outcome<f64> {
    let (others, picks) = picks.split_at(picks.len().saturating_sub(question.times()));
    round(engine, question, others, order)?;
    Ok(round(engine, question, picks, order)?.median())
}

fn round(
    engine: &dyn Engine,
    question: Question,
    picks: &[Pick],
    order: &Order,
) -> Outcome<Samples> {
    let mut round = Samples::default();
    let begun = now();
    for pick in picks {
        let mut parts = 0_u64;
        let (asked, seconds) =
            timed(|| engine.ask(question, pick, &mut |_| parts = parts.wrapping_add(1)));
        asked?;
        std::hint::black_box(parts);
        round.push(seconds * 1e6);
        let spent = (now() - begun).as_secs_f64();
        if spent > order.seconds && round.len() >= ASKED_AT_LEAST {
            break;
        }
    }
    Ok(round)
}

/// What is held against the other engines. Of records that were appended after an opening the
/// sequence number is not: each engine leaves out its own.
fn comparable<'a>(seen: Seen<'a>, order: &Order) -> Seen<'a> {
    match seen {
        Seen::Record { created_at, kind, tag, name, .. } if order.task != Task::Read => {
            Seen::Record { seq: 0, created_at, kind, tag, name }
        }
        _ => seen,
    }
}
