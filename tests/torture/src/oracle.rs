//! What was appended, and what was promised of it: kept outside of the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use runledger::{Body, Class, Durability, Error, Record, Result, Status};

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
    /// The class of each record, as they were split at the time: the stream that it went to.
    classes: Arc<Vec<Class>>,
    pub(crate) seqs: Option<Vec<u64>>,
    pub(crate) fate: Fate,
    /// The fates of single records that retention has taken, or is about to take; empty when there
    /// are none.
    gone: Vec<Option<Fate>>,
}

impl Batch {
    /// Has a single record dropped by retention, or about to be.
    fn drop_record(&mut self, place: usize, fate: Fate) {
        self.gone.resize(self.bodies.len(), None);
        self.gone[place] = Some(fate);
    }

    fn gone(&self, place: usize) -> Option<Fate> {
        self.gone.get(place).copied().flatten()
    }

    fn spans_streams(&self) -> bool {
        self.classes.windows(2).any(|pair| pair[0] != pair[1])
    }
}

/// Everything that was appended to a ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) batches: Vec<Batch>,
    /// True when retention carries open runs forward: their states are then appended anew.
    pub(crate) carries: bool,
    /// The classes that are split off now.
    pub(crate) split: Vec<Class>,
    /// True when clean-ups run beside appends: they can then meet what is written and not returned.
    pub(crate) cleans_beside: bool,
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
        let classes = Arc::new(bodies.iter().map(|body| self.class_of(body)).collect());
        let (bodies, gone) = (Arc::new(bodies), Vec::new());
        self.batches.push(Batch { bodies, classes, seqs: None, fate: Fate::Open, gone });
        self.batches.len() - 1
    }

    fn class_of(&self, body: &Body<'_>) -> Class {
        let narrow = match body {
            Body::Run(run) => Some(Class::status(run.status)),
            Body::Event(event) => {
                event.severity.and_then(|severity| Class::severity(body.kind(), severity))
            }
            Body::Error(error) => Class::severity(body.kind(), error.severity),
            _ => None,
        };
        let narrow = narrow.filter(|class| self.split.contains(class));
        narrow.unwrap_or_else(|| Class::of(body.kind()))
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

    /// Notes that retention is about to drop the records in this range of a stream, but for the
    /// newest states of runs that are open, succeeded or failed, which it carries forward: each run
    /// is of a type of its own, and so the newest of that. How many those are. None of them may be
    /// of a batch from `young` on.
    pub(crate) fn expect_drop(&mut self, stream: &str, seqs: (u64, u64), young: usize) -> u64 {
        let newest = self.newest_states();
        let mut count = 0;
        for (number, batch) in self.batches.iter_mut().enumerate() {
            let Some(given) = batch.seqs.clone() else { continue };
            for (place, seq) in given.into_iter().enumerate() {
                let body = &batch.bodies[place];
                let is_in =
                    batch.classes[place].name() == stream && (seqs.0..=seqs.1).contains(&seq);
                let is_carried = matches!(body, Body::Run(run) if is_kept(run.status)
                    && newest.get(&run.run_id.to_string()) == Some(&(number, place)));
                if is_in && !is_carried {
                    assert!(number < young, "batch {number} is too young to be dropped");
                    batch.drop_record(place, Fate::Dropping);
                    count += 1;
                }
            }
        }
        count
    }

    /// Notes that the records like these are about to be erased. How many those are.
    pub(crate) fn expect_erasure(&mut self, is_doomed: &dyn Fn(&Body<'_>) -> bool) -> u64 {
        let mut count = 0;
        for batch in self.batches.iter_mut().filter(|batch| batch.seqs.is_some()) {
            let bodies = Arc::clone(&batch.bodies);
            for (place, _) in bodies.iter().enumerate().filter(|(_, body)| is_doomed(body)) {
                batch.drop_record(place, Fate::Dropping);
                count += 1;
            }
        }
        count
    }

    /// Notes that the runs that are in this status are about to go, with all their states. How many
    /// of these there are.
    pub(crate) fn expect_end_of(&mut self, status: Status) -> u64 {
        let of = |(batch, place): (usize, usize)| &self.batches[batch].bodies[place];
        let newest = self.newest_states();
        let doomed = |at| matches!(of(at), Body::Run(run) if run.status == status);
        let runs = newest.into_iter().filter(|(_, at)| doomed(*at)).map(|(run, _)| run);
        let runs: BTreeSet<String> = runs.collect();
        self.expect_erasure(&|body| match body {
            Body::Run(run) => runs.contains(&run.run_id.to_string()),
            _ => false,
        })
    }

    /// One of the runs.
    pub(crate) fn any_run(&self) -> Option<String> {
        let mut bodies = self.batches.iter().flat_map(|batch| batch.bodies.iter());
        bodies.find_map(|body| match body {
            Body::Run(run) => Some(run.run_id.to_string()),
            _ => None,
        })
    }

    /// Where the newest state of each run is.
    fn newest_states(&self) -> BTreeMap<String, (usize, usize)> {
        let mut newest = BTreeMap::new();
        let there = self.batches.iter().enumerate();
        for (number, batch) in there.filter(|(_, batch)| batch.fate != Fate::Refused) {
            for (place, body) in batch.bodies.iter().enumerate() {
                if let (Body::Run(run), Some(seqs)) = (body, &batch.seqs) {
                    let state =
                        newest.entry(run.run_id.to_string()).or_insert((seqs[place], (0, 0)));
                    if seqs[place] >= state.0 {
                        *state = (seqs[place], (number, place));
                    }
                }
            }
        }
        newest.into_iter().map(|(run, (_, place))| (run, place)).collect()
    }

    /// Notes that damage took a frame of a stream: the records of one batch, from this sequence
    /// number on. How many those are.
    pub(crate) fn lose(&mut self, stream: &str, base_seq: u64) -> usize {
        let of_batch =
            |batch: &Batch| batch.seqs.as_ref().is_some_and(|seqs| seqs.contains(&base_seq));
        let Some(batch) = self.batches.iter_mut().find(|batch| of_batch(batch)) else { return 0 };
        let is_of = |place: &usize| batch.classes[*place].name() == stream;
        let places: Vec<usize> = (0..batch.bodies.len()).filter(is_of).collect();
        places.iter().for_each(|&place| batch.drop_record(place, Fate::Dropped));
        places.len()
    }

    /// Notes that what was about to be dropped is gone for good.
    pub(crate) fn dropped(&mut self) {
        let gone = self.batches.iter_mut().flat_map(|batch| &mut batch.gone);
        gone.flatten().for_each(|fate| *fate = Fate::Dropped);
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
            judge_batch(batch, found, crash, self.cleans_beside).map_err(|what| {
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
        let places: BTreeSet<(usize, usize)> =
            records.iter().filter_map(|record| parse_mark(&record.body)).collect();
        let there: BTreeSet<usize> = places.iter().map(|(batch, _)| *batch).collect();
        for (number, batch) in settled.batches.iter_mut().enumerate() {
            for (place, gone) in batch.gone.iter_mut().enumerate() {
                if *gone == Some(Fate::Dropping) && !places.contains(&(number, place)) {
                    *gone = Some(Fate::Dropped);
                }
            }
            batch.fate = match (batch.fate, there.contains(&number)) {
                (fate @ (Fate::Refused | Fate::Dropped), _) => fate,
                (Fate::Dropping, true) => Fate::Dropping,
                (Fate::Dropping, false) => Fate::Dropped,
                // Of a batch over several streams each stream may have kept its part or not; where
                // it was owed as a whole, it is there as a whole.
                (Fate::Durable, true) => Fate::Durable,
                (Fate::Kept, true) if batch.spans_streams() && crash == Crash::Kill => Fate::Kept,
                (_, true) if batch.spans_streams() => Fate::Open,
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

fn judge_batch(
    batch: &Batch,
    found: &[(usize, u64)],
    crash: Crash,
    cleans_beside: bool,
) -> Result<(), String> {
    let owed = match batch.fate {
        Fate::Durable => true,
        Fate::Kept => crash == Crash::Kill,
        Fate::Open | Fate::Refused | Fate::Dropping | Fate::Dropped => false,
    };
    let is_away = |place: usize| {
        matches!(batch.fate, Fate::Refused | Fate::Dropped)
            || batch.gone(place) == Some(Fate::Dropped)
    };
    if let Some((place, seq)) = found.iter().find(|(place, _)| is_away(*place)) {
        return Err(format!("its record {place} is there, as {seq}"));
    }
    let mut places: Vec<_> = found.iter().map(|(place, _)| *place).collect();
    places.sort_unstable();
    let count = places.len();
    places.dedup();
    if places.len() < count {
        return Err("holds a record twice".to_owned());
    }
    // Of several states of a run only the last is carried forward, and behind what follows it.
    let is_dropping = batch.fate == Fate::Dropping || cleans_beside && batch.fate == Fate::Open;
    // A batch is one frame in each stream that it touches, and whole in each of them, but for what
    // retention takes.
    let classes: BTreeSet<Class> = batch.classes.iter().copied().collect();
    for class in classes {
        if is_dropping && class.kind() == runledger::Kind::Run {
            continue;
        }
        let stays = |place: &usize| batch.classes[*place] == class && batch.gone(*place).is_none();
        let there = places.iter().filter(|place| stays(place)).count();
        let all = (0..batch.bodies.len()).filter(stays).count();
        if owed && there == 0 && all > 0 {
            return Err(format!("its {all} records of {class} were promised and are gone"));
        }
        if there != all && there != 0 {
            return Err(format!("has {there} of its {all} records of {class}"));
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

/// True when a run in this status, which is the newest of its type, is carried forward.
const fn is_kept(status: Status) -> bool {
    !status.is_terminal() || matches!(status, Status::Success | Status::Failed)
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
