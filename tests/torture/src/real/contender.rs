//! Processes that want to write the same ledger.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runledger::storage::Disk;
use runledger::{Cleanup, Compaction, Durability, Error, Event, Ledger, Options, Result, repair};

use crate::real::partner::{die_with_parent, say, serve};
use crate::real::system::fork;

fn open(dir: &Path) -> Result<Ledger> {
    Options::new().background(false).open(dir)
}

/// The child: opens the ledger, repairs it or closes it, as it is told. What came of it: `open`,
/// `repaired`, `locked PID`, or the words of another error.
pub(crate) fn child(dir: &Path) {
    let mut held = None;
    let said = |result: Result<&str>| match result {
        Ok(word) => word.to_owned(),
        Err(Error::Locked { pid, .. }) => format!("locked {}", pid.unwrap_or(0)),
        Err(err) => err.to_string(),
    };
    serve(|line| match line {
        "open" => said(open(dir).and_then(|ledger| {
            ledger.append_with(Event::new("won"), Durability::Os)?;
            held = Some(ledger);
            Ok("open")
        })),
        "repair" => said(repair(dir, Arc::new(Disk), false).map(|_| "repaired")),
        "close" => {
            held = None;
            "closed".to_owned()
        }
        other => format!("told {other:?}"),
    });
}

/// The child that forks with an open ledger. The fork must not write, and must not give up the lock
/// when it lets go of its copy. It lives on for as long as its parent's input is open.
pub(crate) fn forked(dir: &Path) {
    let ledger = open(dir).unwrap();
    ledger.append(Event::new("before")).unwrap();
    if fork().unwrap() {
        let tried = [
            ledger.append(Event::new("of the fork")).map(drop),
            ledger.sync(),
            ledger.maintain(),
            ledger.cleanup(&Cleanup::older_than(Duration::ZERO), false).map(drop),
            ledger.compact(&Compaction::new()).map(drop),
        ];
        let is_refused = |outcome: &Result<()>| matches!(outcome, Err(Error::Locked { .. }));
        let refused = tried.iter().all(is_refused);
        drop(ledger);
        say(if refused { "the fork was refused" } else { "the fork went on" });
        let mut nothing = String::new();
        while std::io::stdin().read_line(&mut nothing).is_ok_and(|read| read > 0) {}
        return;
    }
    die_with_parent();
    let appended = ledger.append_with(Event::new("after"), Durability::Sync);
    say(&format!("the parent: {:?}", appended.is_ok()));
    loop {
        std::thread::park();
    }
}
