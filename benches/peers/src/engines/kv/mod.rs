//! A ledger over an engine that knows only keys and values: LMDB, redb, fjall.
//!
//! A record is stored as runledger's codec writes it, so that no engine pays for another encoding.
//! A run has one record, its newest state: a later state takes its place and moves the one entry
//! that changes, that of the status. The workload gives type, ids and creation alike in all states.

mod answer;
mod drops;
mod key;
mod ops;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard};

use runledger::format::codec::{self, Prior};
use runledger::{Body, Kind, Status, Timestamp};

use crate::Outcome;
use crate::engine::{Engine, Log};
use crate::question::{Pick, Question, See};
use answer::answer;
use key::Field;
pub(super) use key::number;
pub(super) use ops::{Ops, Tree};

/// What is shown a key and a value, and says whether to go on.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Outcome<ControlFlow<()>>;

/// Sequence numbers that an opening leaves out: those of runs' newest states can be higher than the
/// number of the newest record.
const SKIPPED: u64 = 4096;
/// Bytes before those of the record: its kind and its sequence number.
const HEAD: usize = 9;

/// An engine of keys and values.
pub(super) trait Store: Send + Sync {
    /// Writes all of it in one transaction.
    fn write(&self, ops: &Ops) -> Outcome;
    /// Reads as of now.
    fn read(&self, work: &mut dyn FnMut(&dyn View) -> Outcome) -> Outcome;
    fn settle(&self) -> Outcome {
        Ok(())
    }
    fn close(self) -> Outcome;
}

/// The state of a store at a moment.
pub(super) trait View {
    /// Shows the value of a key, if there is one.
    fn get(&self, tree: Tree, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Outcome;
    /// Visits the entries of the index from `range.0` to before `range.1`, or from the last of
    /// them back.
    fn scan(&self, range: &(Vec<u8>, Vec<u8>), reverse: bool, visit: Visit<'_>) -> Outcome;
    /// The last key of the records.
    fn last_number(&self) -> Outcome<u64>;
}

pub(super) struct Kv<S> {
    store: S,
    writer: Mutex<Writer>,
}

/// What only the one who writes has.
#[derive(Default)]
struct Writer {
    /// The newest sequence number.
    seq: u64,
    ops: Ops,
    /// The runs of this batch, with the number of their record and their status.
    runs: HashMap<Vec<u8>, (u64, u8)>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<S: Store> Kv<S> {
    pub(super) fn open(store: S) -> Outcome<Self> {
        let mut seq = 0;
        store.read(&mut |view| {
            seq = view.last_number()?;
            Ok(())
        })?;
        if seq > 0 {
            seq += SKIPPED;
        }
        Ok(Self { store, writer: Mutex::new(Writer { seq, ..Writer::default() }) })
    }

    fn writer(&self) -> Outcome<MutexGuard<'_, Writer>> {
        self.writer.lock().map_err(|_| "an append has panicked".into())
    }
}

impl Writer {
    /// Adds the writes of a new record, or those of a run's next state.
    fn enter<S: Store>(&mut self, store: &S, body: &Body<'_>) -> Outcome {
        self.seq += 1;
        let tag = super::tag(body);
        let created_at = body.created_at().ok_or("the workload gives every record its time")?;
        let prior = match body {
            Body::Run(run) => {
                self.key.clear();
                key::bare_id(&mut self.key, &run.run_id);
                self.prior(store)?
            }
            _ => None,
        };
        let number = match prior {
            Some((_, status)) if Status::from_code(status).is_some_and(Status::is_terminal) => {
                return Err("the workload ends every run once".into());
            }
            Some((number, _)) => number,
            None => self.seq,
        };
        if body.kind() == Kind::Run {
            self.runs.insert(self.key.clone(), (number, tag));
            self.value.clear();
            self.value.extend_from_slice(&number.to_be_bytes());
            self.value.push(tag);
            self.ops.put(Tree::Runs, &self.key, &self.value);
        }
        self.value.clear();
        self.value.push(body.kind().code());
        self.value.extend_from_slice(&self.seq.to_be_bytes());
        encode(&mut self.value, body)?;
        self.ops.put(Tree::Records, &number.to_be_bytes(), &self.value);
        match prior {
            None => self.enter_all(body, tag, created_at, number),
            Some((_, before)) => self.move_status(body, (before, tag), created_at, number),
        }
        Ok(())
    }

    /// The number of the record of the run whose id is in `self.key`, and its status.
    fn prior<S: Store>(&self, store: &S) -> Outcome<Option<(u64, u8)>> {
        if let Some(prior) = self.runs.get(&self.key) {
            return Ok(Some(*prior));
        }
        let mut prior = None;
        store.read(&mut |view| {
            view.get(Tree::Runs, &self.key, &mut |value| {
                prior = value.split_last().map(|(status, number)| (key::number(number), *status));
            })
        })?;
        Ok(prior)
    }

    fn enter_all(&mut self, body: &Body<'_>, tag: u8, created_at: Timestamp, number: u64) {
        let (ops, out) = (&mut self.ops, &mut self.key);
        key::entries(body, tag, |entry, value| {
            out.clear();
            out.extend_from_slice(entry);
            key::tail(out, created_at, number);
            ops.put(Tree::Index, out, &[value]);
        });
    }

    fn move_status(&mut self, body: &Body<'_>, tags: (u8, u8), at: Timestamp, number: u64) {
        let mut entry = prefix(|out| key::tag(out, Kind::Run, tags.0));
        key::tail(&mut entry, at, number);
        self.ops.delete(Tree::Index, &entry);
        let mut entry = prefix(|out| key::tag(out, Kind::Run, tags.1));
        key::tail(&mut entry, at, number);
        self.ops.put(Tree::Index, &entry, &[0]);
        let mut entry = prefix(|out| key::text(out, Field::Type, Kind::Run, body.type_name()));
        key::tail(&mut entry, at, number);
        self.ops.put(Tree::Index, &entry, &[tags.1]);
    }
}

impl<S: Store> Log for Kv<S> {
    fn append_batch(&self, batch: &[Body<'_>]) -> Outcome {
        let mut writer = self.writer()?;
        writer.ops.clear();
        writer.runs.clear();
        for body in batch {
            writer.enter(&self.store, body)?;
        }
        writer.ops.sort();
        self.store.write(&writer.ops)
    }

    fn append(&self, body: Body<'_>) -> Outcome {
        self.append_batch(std::slice::from_ref(&body))
    }

    fn settle(&self) -> Outcome {
        self.store.settle()
    }

    fn close(self: Box<Self>) -> Outcome {
        self.store.close()
    }
}

impl<S: Store> Engine for Kv<S> {
    fn ask(&self, question: Question, pick: &Pick, see: See<'_>) -> Outcome {
        self.store.read(&mut |view| answer(view, question, pick, see))
    }

    fn drop_before(&self, time: Timestamp) -> Outcome<u64> {
        let mut writer = self.writer()?;
        drops::drop_before(&self.store, &mut writer.ops, time)
    }
}

fn prefix(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    fill(&mut out);
    out
}

fn encode(out: &mut Vec<u8>, body: &Body<'_>) -> Outcome {
    match body {
        Body::Run(run) => codec::encode_run(out, 0, Prior::None, run)?,
        Body::Event(event) => codec::encode_event(out, 0, event)?,
        Body::Error(error) => codec::encode_error(out, 0, error)?,
        _ => return Err("a kind of record that is not known".into()),
    }
    Ok(())
}

/// The sequence number and the record in a value.
fn decode(value: &[u8]) -> Outcome<(u64, Body<'_>)> {
    let (head, bytes) = value.split_at_checked(HEAD).ok_or("a record without its head")?;
    let kind = head.first().copied().and_then(Kind::from_code).ok_or("a kind that is none")?;
    let decoded = codec::decode(kind, bytes).map_err(|damage| format!("{damage:?}"))?;
    Ok((key::number(head), decoded.body))
}
