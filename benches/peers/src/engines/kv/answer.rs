//! The questions, answered by ranges of the index.

use std::ops::ControlFlow;

use runledger::{Kind, Status, Timestamp};

use super::key::{self, Field};
use super::{Tree, View, decode, prefix};
use crate::Outcome;
use crate::question::{Pick, Question, See, Seen};

type Range = (Vec<u8>, Vec<u8>);

pub(super) fn answer(view: &dyn View, question: Question, pick: &Pick, see: See<'_>) -> Outcome {
    let all = usize::MAX;
    match question {
        Question::Trace => {
            let range = whole(|out| key::id(out, Field::Trace, &pick.trace));
            newest(view, &range, all, &|_| true, see)
        }
        Question::EventsOfRun => {
            let range = whole(|out| key::id(out, Field::Run, &pick.run));
            newest(view, &range, 100, &|kind| kind == Kind::Event.code(), see)
        }
        Question::LastFailed => {
            let range = whole(|out| key::text(out, Field::Type, Kind::Run, &pick.name));
            newest(view, &range, 50, &|status| status == Status::Failed.code(), see)
        }
        Question::CountByStatus => count_by_status(view, pick.window, see),
        Question::Scan => {
            let fill = |out: &mut Vec<u8>| key::text(out, Field::Type, Kind::Event, &pick.name);
            let range = within(fill, pick.window);
            view.scan(&range, false, &mut |entry, _| {
                show(view, &entry_number(entry), see)?;
                Ok(ControlFlow::Continue(()))
            })
        }
        Question::ErrorsOfProject => {
            let range = whole(|out| key::text(out, Field::Project, Kind::Error, &pick.project));
            newest(view, &range, 50, &|_| true, see)
        }
        Question::Newest => newest(view, &whole(key::time), 100, &|_| true, see),
        Question::StateOfRun => {
            let id = prefix(|out| key::bare_id(out, &pick.run));
            let mut number = None;
            view.get(Tree::Runs, &id, &mut |value| number = value.first_chunk().copied())?;
            number.map_or(Ok(()), |number| show(view, &number, see))
        }
    }
}

/// Shows the newest records of a range whose entry has a value that is wanted.
fn newest(
    view: &dyn View,
    range: &Range,
    limit: usize,
    wanted: &dyn Fn(u8) -> bool,
    see: See<'_>,
) -> Outcome {
    let mut seen = 0;
    view.scan(range, true, &mut |entry, value| {
        if value.first().is_some_and(|value| wanted(*value)) {
            show(view, &entry_number(entry), see)?;
            seen += 1;
        }
        Ok(if seen < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })
}

fn count_by_status(view: &dyn View, window: (Timestamp, Timestamp), see: See<'_>) -> Outcome {
    for status in Status::ALL.iter().map(|status| status.code()) {
        let mut count = 0;
        let range = within(|out| key::tag(out, Kind::Run, status), window);
        view.scan(&range, false, &mut |_, _| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        if count > 0 {
            see(Seen::Count { status, count });
        }
    }
    Ok(())
}

/// Reads a record whole, and shows it.
fn show(view: &dyn View, number: &[u8; 8], see: See<'_>) -> Outcome {
    let mut outcome = Err("an entry of the index leads to no record".into());
    view.get(Tree::Records, number, &mut |value| {
        outcome = decode(value).map(|(seq, body)| {
            let body = std::hint::black_box(body);
            see(super::super::seen(seq, &body));
        });
    })?;
    outcome
}

fn entry_number(entry: &[u8]) -> [u8; 8] {
    key::number(entry).to_be_bytes()
}

fn whole(fill: impl FnOnce(&mut Vec<u8>)) -> Range {
    let from = prefix(fill);
    let to = key::end_of(&from);
    (from, to)
}

fn within(fill: impl Fn(&mut Vec<u8>), window: (Timestamp, Timestamp)) -> Range {
    let bound = |time| {
        let mut out = prefix(&fill);
        key::bound(&mut out, time);
        out
    };
    (bound(window.0), bound(window.1))
}
