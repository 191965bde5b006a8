//! The engine where it is under strain: threads against each other, clean-up against appends, full
//! disks, damage. Each test tells the story of a bug that it keeps from coming back.

mod answers;
mod background;
mod batches;
mod compaction;
mod costs;
mod crashes;
mod damage;
mod follow;
mod history;
pub(crate) mod hooked;
mod left_out;
mod lifecycle;
mod lost_pages;
mod many_segments;
mod overtaken;
mod packed_ids;
mod races;
mod recovery;
mod results;
mod retention;
mod same_boot;
mod side_by_side;
mod weeding;

use std::path::Path;
use std::sync::Arc;

use runledger::Options;

use torture::disk::SimDisk;

/// Where the ledger lies on a modelled disk.
pub(crate) const DIR: &str = "/ledger";

/// Options for a modelled disk, without the background thread.
pub(crate) fn options(disk: &SimDisk) -> Options {
    Options::new().storage(disk.storage()).background(false)
}

/// True for what a compaction or an erasure writes before it takes a segment's place.
pub(crate) fn is_draft(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "draft")
}

/// Runs `work` in a thread of its own, and fails when it takes longer than 60 seconds.
pub(crate) fn within_a_minute(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    match ended.recv_timeout(std::time::Duration::from_secs(60)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().unwrap(),
    }
}

/// Runs `work` in as many threads at once, and waits for all.
pub(crate) fn at_once(threads: usize, work: impl Fn(usize) + Send + Sync) {
    let work = Arc::new(work);
    std::thread::scope(|scope| {
        for number in 0..threads {
            let work = Arc::clone(&work);
            scope.spawn(move || work(number));
        }
    });
}
