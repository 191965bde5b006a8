//! All records of a ledger as the oracle knows them, with runs folded to their newest state.

use std::collections::HashMap;

use runledger::Field;

use super::record::Rec;

/// The records in the order in which they were appended.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) recs: Vec<Rec>,
    /// Where the newest state of each run stands.
    runs: HashMap<String, usize>,
}

/// What a run keeps from state to state, whatever its attempt.
const KEPT_FIELDS: [Field; 4] = [Field::Trace, Field::Project, Field::User, Field::Subject];

impl Book {
    /// What the ledger is to make of a record: what is to be stored; `None` when it must be
    /// refused, because its run has ended or goes back.
    pub(crate) fn expect(&self, rec: Rec) -> Option<Rec> {
        if rec.kind == "run" { self.expect_run(rec) } else { Some(rec) }
    }

    fn expect_run(&self, mut rec: Rec) -> Option<Rec> {
        let Some(&at) = self.runs.get(rec.get(Field::Run)) else {
            rec.attempt = rec.attempt.max(1);
            return Some(rec);
        };
        let prior = &self.recs[at];
        if rec.attempt == 0 {
            rec.attempt = prior.attempt;
        }
        let again = rec.attempt > prior.attempt;
        let open = |status: &str| matches!(status, "pending" | "running");
        let (from, to) = (prior.get(Field::Status), rec.get(Field::Status));
        let forbidden = !open(from) || (from == "running" && to == "pending");
        if rec.attempt < prior.attempt || (forbidden && !again) {
            return None;
        }
        for field in KEPT_FIELDS {
            if let (None, Some(kept)) = (rec.fields.get(&field), prior.fields.get(&field)) {
                rec.fields.insert(field, kept.clone());
            }
        }
        // An error is one: its message and its stack are kept together or not at all.
        let own_error = rec.texts.contains_key("message");
        for (name, kept) in &prior.texts {
            let of_attempt = matches!(*name, "message" | "stack" | "result");
            let of_error = matches!(*name, "message" | "stack");
            if !(of_attempt && again || of_error && own_error || rec.texts.contains_key(name)) {
                rec.texts.insert(name, kept.clone());
            }
        }
        rec.created_at = prior.created_at;
        Some(rec)
    }

    /// Takes in a record that the ledger gave this number.
    pub(crate) fn push(&mut self, mut rec: Rec, seq: u64) {
        assert!(self.recs.last().is_none_or(|last| last.seq < seq), "{seq} is out of order");
        rec.seq = seq;
        if rec.kind == "run" {
            let before = self.runs.insert(rec.get(Field::Run).to_owned(), self.recs.len());
            if let Some(before) = before {
                self.recs[before].newest = false;
            }
        }
        self.recs.push(rec);
    }

    /// The record of a number.
    pub(crate) fn get(&self, seq: u64) -> &Rec {
        let at = self.recs.binary_search_by_key(&seq, |rec| rec.seq);
        &self.recs[at.unwrap_or_else(|_| panic!("the oracle knows no record {seq}"))]
    }
}
