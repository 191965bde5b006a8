//! Who else wants to write (row 15 of the reliability scorecard).

use std::path::Path;
use std::sync::Barrier;

use runledger::storage::{Disk, Storage};
use runledger::{Durability, Error, Event, Ledger, Options, Reader, Result, repair};

use crate::crash::check::records;
use crate::crash::scaled;
use crate::crash::workload::{DIR, options};
use crate::support::disk::SimDisk;

#[test]
fn of_all_who_open_at_once_one_writes() {
    let rounds = scaled(100);
    let dir = tempfile::tempdir().unwrap();
    let pid = std::process::id();
    let mut won = 0;
    for _ in 0..rounds {
        let start = Barrier::new(4);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                Options::new().background(false).open(dir.path().join("ledger"))
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (winners, losers): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!(winners.len(), 1);
        for loser in losers {
            match loser.unwrap_err() {
                // The note may not be written yet.
                Error::Locked { pid: holder, .. } => assert!(holder.is_none_or(|h| h == pid)),
                other => panic!("{other}"),
            }
        }
        winners[0].as_ref().unwrap().append(Event::new("won")).unwrap();
        won += 1;
    }
    let ledger = Ledger::open(dir.path().join("ledger")).unwrap();
    assert_eq!(ledger.query().count().unwrap(), won);
    println!("{rounds} races of 4");
}

#[test]
fn the_holder_is_named_and_readers_are_let_in() -> Result<()> {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(Path::new(DIR))?;
    ledger.append(Event::new("x"))?;
    let second = options(&disk).open(Path::new(DIR)).unwrap_err();
    let expected = std::process::id();
    assert!(matches!(second, Error::Locked { pid: Some(pid), .. } if pid == expected), "{second}");
    let repairing = repair(DIR, disk.storage(), false).unwrap_err();
    assert!(matches!(repairing, Error::Locked { .. }), "{repairing}");
    let reader = Reader::with_storage(DIR, disk.storage())?;
    assert_eq!(records(&reader)?.len(), 1);
    // What the dead have locked is free, and so is what was closed.
    let next = options(&disk.kill()).open(Path::new(DIR))?;
    next.append_with(Event::new("y"), Durability::Sync)?;
    next.close()?;
    assert!(matches!(next.append(Event::new("z")), Err(Error::Closed)));
    Ok(())
}

#[test]
fn a_lock_goes_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let flock = |command: &str| {
        let mut child = std::process::Command::new("flock");
        child.arg("--nonblock").arg(&path).args(["sh", "-c", command]);
        child
    };
    let Ok(mut holder) = flock("echo taken; read line")
        .stdout(std::process::Stdio::piped())
        .stdin(std::process::Stdio::piped())
        .spawn()
    else {
        println!("1 skipped: there is no flock program here");
        return;
    };
    let mut taken = [0; 6];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut taken).unwrap();
    let refused = Disk.lock(&path, "pid=1").map(drop).unwrap_err();
    assert!(matches!(refused, Error::Locked { pid: None, .. }), "{refused}");
    // The shell has the lock from its parent, as a forked child would.
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(holder);
    let mut tries = 0;
    while Disk.lock(&path, "pid=1").is_err() {
        tries += 1;
        assert!(tries < 1000, "the lock outlives those who held it");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
