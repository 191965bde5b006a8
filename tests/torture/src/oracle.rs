//! What was appended, and what was promised of it: kept outside of the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use runledger::{Body, Durability, Error, Record, Result};

/// What the ledger owes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The append did not return, or failed in a way that promises nothing: it may be there or not.
    Open,
    /// The append was refused: it must not be there.
    Refused,
    /// Acknowledged: the death of the process must not take it, a power cut may.
    Kept,
    /// Acknowledged and on stable storage: nothing may take it.
    Durable,
    /// Being dropped by retention: it may be there or not.
    Dropping,
    /// Dropped: it must never come back.
    Dropped,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The machine.
    Power,
    /// The process.
    Kill,
}

#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) bodies: Arc<Vec<Body<'static>>>,
    pub(crate) seqs: Option<Vec<u64>>,
    pub(crate) fate: Fate,
}

impl Batch {
    fn spans_kinds(&self) -> bool {
        self.bodies.windows(2).any(|pair| pair[0].kind() != pair[1].kind())
    }
}

/// Everything that was appended to a ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) batches: Vec<Batch>,
    /// True when retention carries open runs forward: their states are then appended anew.
    pub(crate) carries: bool,
    /// The sequence numbers that were given out.
    given: BTreeSet<u64>,
    /// The highest number that anyone had seen at the last opening: later ones are above it.
    floor: u64,
}

/// An oracle that a probe looks at while the workload goes on.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedOracle(Arc<Mutex<Oracle>>);

impl SharedOracle {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Oracle> {
        self.0.lock()
    }
}

impl Oracle {
    /// Notes that a batch is about to be appended; its number is the result.
    pub(crate) fn begin(&mut self, bodies: Vec<Body<'static>>) -> usize {
        self.batches.push(Batch { bodies: Arc::new(bodies), seqs: None, fate: Fate::Open });
        self.batches.len() - 1
    }

    /// Notes what came of it.
    pub(crate) fn end(&mut self, batch: usize, result: &Result<Vec<u64>>, durability: Durability) {
        let batch = &mut self.batches[batch];
        match result {
            Ok(seqs) => {
                assert_eq!(seqs.len(), batch.bodies.len(), "a number for each record");
                for &seq in seqs {
                    assert!(seq > self.floor, "{seq} was given out, {} before", self.floor);
                    assert!(self.given.insert(seq), "{seq} was given out twice");
                }
                batch.seqs = Some(seqs.clone());
                let durable = durability == Durability::Sync;
                batch.fate = if durable { Fate::Durable } else { Fate::Kept };
            }
            Err(Error::Io { .. } | Error::Poisoned { .. }) => batch.fate = Fate::Open,
            Err(_) => batch.fate = Fate::Refused,
        }
    }

    /// The batches that were appended and not yet synced. Those that are only begun may be written
    /// after a sync that begins now.
    pub(crate) fn kept(&self) -> Vec<usize> {
        let kept = self.batches.iter().enumerate().filter(|(_, batch)| batch.fate == Fate::Kept);
        kept.map(|(number, _)| number).collect()
    }

    /// Notes a sync that succeeded, and began when these batches were appended.
    pub(crate) fn synced(&mut self, batches: &[usize]) {
        for &number in batches {
            if let Some(batch) = self.batches.get_mut(number).filter(|b| b.fate == Fate::Kept) {
                batch.fate = Fate::Durable;
            }
        }
    }

    /// Compares what a ledger holds after a crash with what was promised.
    pub(crate) fn judge(&self, records: &[Record<'static>], crash: Crash) -> Result<(), String> {
        let mut found: BTreeMap<usize, Vec<(usize, u64)>> = BTreeMap::new();
        let mut before = 0;
        for record in records {
            if record.seq <= before {
                return Err(format!("seq {} after {before}", record.seq));
            }
            before = record.seq;
            let (batch, place) = self.identify(record)?;
            let found = found.entry(batch).or_default();
            if self.carries && matches!(record.body, Body::Run(_)) {
                // Carried forward, a run's state has another number, and for a while two.
                let seq = self.batches[batch].seqs.as_ref().map_or(record.seq, |seqs| seqs[place]);
                found.retain(|(other, _)| *other != place);
                found.push((place, seq));
            } else {
                found.push((place, record.seq));
            }
        }
        for (number, batch) in self.batches.iter().enumerate() {
            let found = found.get(&number).map_or(&[][..], Vec::as_slice);
            judge_batch(batch, found, crash).map_err(|what| {
                let size = batch.bodies.len();
                format!("batch {number} of {size}, {:?}, {:?}: {what}", batch.fate, batch.seqs)
            })?;
        }
        Ok(())
    }

    /// What is owed after a recovery that found these records: what was not among them stays away.
    /// What a power cut has left stays; what the kernel still had of a killed process stays as it
    /// was promised, until it is synced.
    pub(crate) fn settled(&self, records: &[Record<'static>], crash: Crash) -> Self {
        let mut settled = self.clone();
        let there: BTreeSet<usize> =
            records.iter().filter_map(|record| Some(parse_mark(&record.body)?.0)).collect();
        for (number, batch) in settled.batches.iter_mut().enumerate() {
            batch.fate = match (batch.fate, there.contains(&number)) {
                (fate @ (Fate::Refused | Fate::Dropped), _) => fate,
                (Fate::Dropping, true) => Fate::Dropping,
                (Fate::Dropping, false) => Fate::Dropped,
                // Of a batch over several streams each stream may have kept its part or not.
                (_, true) if batch.spans_kinds() => Fate::Open,
                (_, true) if crash == Crash::Power => Fate::Durable,
                (fate, true) => fate,
                (_, false) => Fate::Refused,
            };
        }
        settled.given.extend(records.iter().map(|record| record.seq));
        settled.opened();
        settled
    }

    /// What is owed by a copy whose making began after so many batches: what was acknowledged by
    /// then is there, and of what came since anything. It is a ledger of its own, which gives out
    /// its own numbers.
    pub(crate) fn of_copy(&self, batches: usize) -> Self {
        let mut copied = self.clone();
        for (number, batch) in copied.batches.iter_mut().enumerate() {
            if number >= batches && batch.fate != Fate::Refused {
                batch.fate = Fate::Open;
            }
        }
        copied.given.clear();
        copied.floor = 0;
        copied
    }

    /// Notes that the ledger was opened again: from now on numbers are above all those before.
    pub(crate) fn opened(&mut self) {
        self.floor = self.given.last().copied().unwrap_or(0);
    }

    /// Notes a power cut after which nobody looked at what it has left.
    pub(crate) fn cut_unseen(&mut self) {
        self.batches
            .iter_mut()
            .filter(|it| it.fate == Fate::Kept)
            .for_each(|it| it.fate = Fate::Open);
    }

    /// Takes the numbers of batches whose append did not return from the records that are there.
    pub(crate) fn learn(&mut self, records: &[Record<'static>]) {
        let mut found: BTreeMap<usize, BTreeMap<usize, u64>> = BTreeMap::new();
        for record in records {
            if let Some((batch, place)) = parse_mark(&record.body) {
                found.entry(batch).or_default().insert(place, record.seq);
            }
        }
        for (number, places) in found {
            let Some(batch) = self.batches.get_mut(number) else { continue };
            if batch.seqs.is_none() && places.len() == batch.bodies.len() {
                batch.seqs = Some(places.into_values().collect());
            }
        }
    }

    /// The runs for which an end was appended, or may have been.
    pub(crate) fn ended_runs(&self) -> BTreeSet<String> {
        let bodies = self.batches.iter().flat_map(|batch| batch.bodies.iter());
        let ended = bodies.filter_map(|body| match body {
            Body::Run(run) if run.status.is_terminal() => Some(run.run_id.to_string()),
            _ => None,
        });
        ended.collect()
    }

    /// Which record of which batch this is. Every byte that was appended must be in it.
    fn identify(&self, record: &Record<'static>) -> Result<(usize, usize), String> {
        let phantom = || format!("a record that was never appended: {}", brief(record));
        let (batch, place) = parse_mark(&record.body).ok_or_else(phantom)?;
        let body = self.batches.get(batch).and_then(|batch| batch.bodies.get(place));
        let body = body.ok_or_else(phantom)?;
        if same(body, &record.body) {
            Ok((batch, place))
        } else {
            Err(format!("an altered record: {}", brief(record)))
        }
    }
}

fn judge_batch(batch: &Batch, found: &[(usize, u64)], crash: Crash) -> Result<(), String> {
    let owed = match batch.fate {
        Fate::Durable => true,
        Fate::Kept => crash == Crash::Kill,
        Fate::Open | Fate::Refused | Fate::Dropping | Fate::Dropped => false,
    };
    if owed && found.is_empty() {
        return Err("was promised and is gone".to_owned());
    }
    if matches!(batch.fate, Fate::Refused | Fate::Dropped) && !found.is_empty() {
        return Err("is there".to_owned());
    }
    let mut places: Vec<_> = found.iter().map(|(place, _)| *place).collect();
    places.sort_unstable();
    let count = places.len();
    places.dedup();
    if places.len() < count {
        return Err("holds a record twice".to_owned());
    }
    // Of several states of a run only the last is carried forward, and behind what follows it.
    let is_dropping = batch.fate == Fate::Dropping;
    // A batch is one frame in each stream that it touches, and whole in each of them.
    for kind in runledger::Kind::ALL {
        let of_kind = |place: &&usize| batch.bodies[**place].kind() == *kind;
        if is_dropping && *kind == runledger::Kind::Run {
            continue;
        }
        let there = places.iter().filter(of_kind).count();
        let all = batch.bodies.iter().filter(|body| body.kind() == *kind).count();
        if there != all && (there != 0 || owed) {
            return Err(format!("has {there} of its {all} {kind} records"));
        }
    }
    let in_order = found.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !in_order && !is_dropping {
        return Err("is out of order".to_owned());
    }
    match &batch.seqs {
        Some(seqs) if found.iter().any(|(place, seq)| seqs[*place] != *seq) => {
            Err(format!("has other numbers: {found:?}"))
        }
        _ => Ok(()),
    }
}

/// The text by which a record tells which it is: its batch and its place there.
pub(crate) fn mark(batch: usize, place: usize) -> String {
    format!("{batch}/{place}")
}

fn parse_mark(body: &Body<'_>) -> Option<(usize, usize)> {
    let text = match body {
        Body::Run(run) => run.run_type.as_ref(),
        Body::Event(event) => event.event_type.as_ref(),
        Body::Error(error) => error.error_type.as_ref(),
        _ => return None,
    };
    let (batch, place) = text.split_once('/')?;
    Some((batch.parse().ok()?, place.parse().ok()?))
}

/// True when what was stored is what was given, but for what the ledger adds.
fn same(given: &Body<'_>, stored: &Body<'_>) -> bool {
    match (given, stored) {
        (Body::Event(given), Body::Event(stored)) => given == stored,
        (Body::Error(given), Body::Error(stored)) => {
            let mut stored = stored.clone();
            stored.fingerprint = None;
            *given == stored
        }
        (Body::Run(given), Body::Run(stored)) => {
            given.run_id == stored.run_id
                && given.status == stored.status
                && given.metadata == stored.metadata
                && given.trace_id == stored.trace_id
        }
        _ => false,
    }
}

fn brief(record: &Record<'_>) -> String {
    let text: String = format!("{:?}", record.body).chars().take(160).collect();
    format!("seq {} {text}", record.seq)
}
