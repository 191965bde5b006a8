//! Later states of runs keep earlier ones from being the newest again: the segment with the later
//! state goes no sooner than the one with the earlier state.

use std::collections::{BTreeMap, HashSet};

use crate::error::Result;
use crate::ledger::catalog::Catalog;
use crate::ledger::cleanup::Keep;
use crate::ledger::cleanup::plan::Candidate;
use crate::ledger::pins::Pin;
use crate::model::{FieldSet, Kind};
use crate::segment::Segment;

/// Keeps the segments whose later states have earlier ones in segments that are kept. A segment of
/// nothing but earlier states goes along instead: nobody asks for it but who asks for history.
pub(super) fn keep_what_supersedes(
    catalog: &Catalog,
    candidates: &mut [Candidate],
    pins: &[Pin],
) -> Result<()> {
    // Those that were found to have to stay, whatever else goes.
    let mut stay = HashSet::new();
    loop {
        let mut is_settled = true;
        for at in 0..candidates.len() {
            match verdict(catalog, candidates, at, &stay, pins)? {
                Verdict::Goes => continue,
                Verdict::Stays => {
                    stay.insert(at);
                    let going = candidates.get_mut(at);
                    going.into_iter().for_each(|it| it.keep(Keep::Supersedes));
                }
                Verdict::Takes(others) => {
                    for other in others {
                        let along = candidates.get_mut(other);
                        let why = "holds only earlier states of runs that go";
                        along.into_iter().for_each(|it| it.drop_for(why.to_owned()));
                    }
                }
            }
            is_settled = false;
        }
        if is_settled {
            return Ok(());
        }
    }
}

/// What becomes of a segment that is to go.
enum Verdict {
    Goes,
    /// It cannot go.
    Stays,
    /// It can, with these.
    Takes(Vec<usize>),
}

fn verdict(
    catalog: &Catalog,
    candidates: &[Candidate],
    at: usize,
    stay: &HashSet<usize>,
    pins: &[Pin],
) -> Result<Verdict> {
    let going = candidates.get(at).filter(|candidate| candidate.loses_runs());
    let Some(going) = going else { return Ok(Verdict::Goes) };
    let mut earlier: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for (seq, _) in going.segment.supersedes()? {
        // Of what cannot be read nobody can tell either.
        if catalog.may_come_back(seq) && !catalog.holds_state(seq).unwrap_or(false) {
            return Ok(Verdict::Stays);
        }
        let mut start = 0;
        // The candidates of a stream stand side by side, in the order of their numbers.
        for of_stream in candidates.chunk_by(|one, next| one.stream == next.stream) {
            let after = of_stream.partition_point(|other| other.segment.first_seq() <= seq);
            let holder = after.checked_sub(1);
            if let Some((holder, other)) = holder.and_then(|at| Some((at, of_stream.get(at)?)))
                && other.segment.kind() == Kind::Run
                && other.plan.dropped_for.is_none()
                && other.plan.seqs.is_some_and(|(_, last)| seq <= last)
            {
                earlier.entry(start + holder).or_default().push(seq);
            }
            start += of_stream.len();
        }
    }
    let mut along = Vec::new();
    for (number, seqs) in earlier {
        let Some(other) = candidates.get(number) else { continue };
        if !other.is_unreadable() && !other.segment.holds_any(&seqs)? {
            continue;
        }
        if stay.contains(&number)
            || !other.is_free()
            || has_current(&other.segment)?
            || other.is_pinned_by(pins)?
        {
            return Ok(Verdict::Stays);
        }
        along.push(number);
    }
    Ok(if along.is_empty() { Verdict::Goes } else { Verdict::Takes(along) })
}

/// True when a record of the segment is the newest of its run.
fn has_current(segment: &Segment) -> Result<bool> {
    segment.with_rows(FieldSet::NONE, |table| {
        (0..table.rows()).any(|row| !segment.is_earlier(table.seq(row), table.tag(row)))
    })
}
