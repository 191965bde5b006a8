//! A child that asks a ledger questions, whatever happens to its files.

use std::path::Path;

use runledger::{Durability, Event, Ledger, Options, Reader};

use crate::real::partner::{Partner, serve};
use crate::real::truth::{Answer, Truth};
use crate::rng::Rng;

/// What the child asks.
enum Asked {
    /// A ledger that someone else writes, or nobody.
    Reader(Reader),
    /// One that it writes itself.
    Ledger(Ledger),
}

impl Asked {
    fn reader(&self) -> &Reader {
        match self {
            Self::Reader(reader) => reader,
            Self::Ledger(ledger) => ledger.reader(),
        }
    }
}

/// The child: opens the ledger, as a writer if it is to be one, and asks as often as it is told.
pub(crate) fn child(dir: &Path, truth: &Path, writes: bool, seed: u64) {
    let asked = match writes {
        true => Asked::Ledger(Options::new().segment_bytes(64 << 10).open(dir).unwrap()),
        false => Asked::Reader(Reader::open(dir).unwrap()),
    };
    let mut truth = Truth::read(truth);
    if writes {
        // It knows what it has appended itself: its last segments have no footer.
        let ledger = Ledger::clone(match &asked {
            Asked::Ledger(ledger) => ledger,
            Asked::Reader(_) => return,
        });
        for number in 0..200 {
            let event = Event::new(format!("own-{}", number % 7)).message("m".repeat(number * 7));
            ledger.append_with(event, Durability::Os).unwrap();
        }
        // What is full is sealed now, and no file changes from here on.
        ledger.maintain().unwrap();
        truth = Truth::of(ledger.reader()).unwrap();
    }
    let mut rng = Rng::new(seed);
    serve(|line| {
        let Ok(times) = line.parse::<u64>() else { return "ready".to_owned() };
        let (mut right, mut refused) = (0, 0);
        let reader = asked.reader();
        for _ in 0..times {
            match truth.ask(reader, &mut rng) {
                Answer::True => right += 1,
                Answer::Refused => refused += 1,
                Answer::Wrong(what) => return format!("wrong {what}"),
            }
        }
        format!("{right} {refused}")
    });
}

/// How many answers were right, and how many were refused.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Answers {
    pub(crate) right: u64,
    pub(crate) refused: u64,
}

/// Starts a child, and waits until it has opened the ledger.
pub(crate) fn start(program: &Path, dir: &Path, truth: &Path, writes: bool, seed: u64) -> Partner {
    let (role, seed) = (if writes { "writer" } else { "reader" }, seed.to_string());
    let words = ["ask", dir.to_str().unwrap(), truth.to_str().unwrap(), role, &seed];
    let mut child = Partner::start(program, &words);
    child.tell("ready?");
    let ready = child.hear().unwrap_or_else(|status| panic!("it died: {status}"));
    assert_eq!(ready, "ready");
    child
}

/// Has it ask so many times.
///
/// # Panics
/// When an answer was wrong, or the child died.
pub(crate) fn ask(child: &mut Partner, times: u64, label: &str) -> Answers {
    child.tell(&times.to_string());
    let heard = child.hear().unwrap_or_else(|status| panic!("{label}: it died: {status}"));
    let mut words = heard.split(' ').map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(right)), Some(Ok(refused))) => Answers { right, refused },
        _ => panic!("{label}: {heard}"),
    }
}
