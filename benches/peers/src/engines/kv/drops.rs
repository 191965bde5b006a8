//! Dropping all that is older than a time.
//!
//! The index is walked once, in the order of its keys, so that each of its pages is changed once:
//! faster than record by record, whose entries lie all over it. It is many transactions, so a crash
//! in the midst of it would leave entries without a record: less than the others promise.

use std::collections::HashSet;
use std::ops::ControlFlow;

use runledger::{Body, Kind, Status, Timestamp};

use super::{Ops, Store, Tree, View, decode, key, prefix};
use crate::Outcome;

/// Deletes in one transaction.
const DELETED_AT_ONCE: usize = 100_000;

/// What to keep, and where the walk is.
struct Walk {
    time: Timestamp,
    /// The numbers of the runs that are open.
    open: HashSet<u64>,
    from: Vec<u8>,
    to: Vec<u8>,
}

/// Drops the records that are older, but for runs that are open, and gives how many.
pub(super) fn drop_before<S: Store>(store: &S, ops: &mut Ops, time: Timestamp) -> Outcome<u64> {
    let mut to = prefix(key::time);
    key::bound(&mut to, time);
    let mut walk = Walk { time, open: open_runs(store)?, from: prefix(key::time), to };
    let mut dropped = 0;
    // Records, and the runs among them, in the order of time, which is nearly that of numbers.
    walk.all(store, ops, |view, ops, entry, kind| {
        dropped += 1;
        delete_record(view, ops, key::number(entry), kind)
    })?;
    // All entries of the index.
    (walk.from, walk.to) = (vec![0], vec![u8::MAX]);
    walk.all(store, ops, |_, ops, entry, _| {
        ops.delete(Tree::Index, entry);
        Ok(())
    })?;
    Ok(dropped)
}

fn open_runs<S: Store>(store: &S) -> Outcome<HashSet<u64>> {
    let mut open = HashSet::new();
    for status in Status::ALL.iter().filter(|status| !status.is_terminal()) {
        let from = prefix(|out| key::tag(out, Kind::Run, status.code()));
        let range = (from.clone(), key::end_of(&from));
        store.read(&mut |view| {
            view.scan(&range, false, &mut |entry, _| {
                open.insert(key::number(entry));
                Ok(ControlFlow::Continue(()))
            })
        })?;
    }
    Ok(open)
}

impl Walk {
    /// Has each entry of the range that is older than the time deleted.
    fn all<S: Store>(
        &mut self,
        store: &S,
        ops: &mut Ops,
        mut delete: impl FnMut(&dyn View, &mut Ops, &[u8], u8) -> Outcome,
    ) -> Outcome {
        loop {
            ops.clear();
            let range = (self.from.clone(), self.to.clone());
            let mut is_done = true;
            store.read(&mut |view| {
                view.scan(&range, false, &mut |entry, value| {
                    let is_older = key::created_before(entry, self.time);
                    if is_older && !self.open.contains(&key::number(entry)) {
                        delete(view, ops, entry, value.first().copied().unwrap_or_default())?;
                    }
                    if ops.len() < DELETED_AT_ONCE {
                        return Ok(ControlFlow::Continue(()));
                    }
                    is_done = false;
                    self.from = entry.to_vec();
                    self.from.push(0);
                    Ok(ControlFlow::Break(()))
                })
            })?;
            ops.sort();
            store.write(ops)?;
            if is_done {
                return Ok(());
            }
        }
    }
}

fn delete_record(view: &dyn View, ops: &mut Ops, number: u64, kind: u8) -> Outcome {
    let number = number.to_be_bytes();
    ops.delete(Tree::Records, &number);
    if kind != Kind::Run.code() {
        return Ok(());
    }
    let mut outcome = Ok(());
    view.get(Tree::Records, &number, &mut |value| {
        outcome = decode(value).map(|(_, body)| {
            if let Body::Run(run) = body {
                ops.delete(Tree::Runs, &prefix(|out| key::bare_id(out, &run.run_id)));
            }
        });
    })?;
    outcome
}
