//! Who else wants to write (row 15 of the reliability scorecard).

use std::path::Path;
use std::sync::Barrier;

use runledger::storage::{Disk, Storage};
use runledger::{Durability, Error, Event, Ledger, Options, Reader, Result, repair};

use crate::check::records;
use crate::disk::SimDisk;
use crate::ground::Ground;
use crate::workload::{DIR, options};

/// Of all who open at once, one writes.
pub(crate) fn races(ground: &Ground) -> Result<()> {
    let rounds = ground.of(100, 1000);
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
        ground.tried(1);
    }
    let ledger = Ledger::open(dir.path().join("ledger"))?;
    assert_eq!(ledger.query().count()?, won);
    Ok(())
}

/// The holder is named, and readers are let in.
pub(crate) fn holder_and_readers(ground: &Ground) -> Result<()> {
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
    ground.tried(1);
    Ok(())
}

/// A lock goes with its process, and with the children that have it.
pub(crate) fn forked_children(ground: &Ground) -> Result<()> {
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
        ground.skip(1, "there is no flock program here");
        return Ok(());
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
    ground.tried(1);
    Ok(())
}
