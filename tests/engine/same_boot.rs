//! A sync fails, or the process dies between a change and its sync, and the ledger is opened again
//! in the same boot: the kernel shows what the disk does not have, and then the power goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::storage::OpenMode;
use runledger::{
    Class, Cleanup, Compaction, Durability, Error, Event, Field, Json, Kind, Ledger, Limits,
    Options, Run, Status, verify,
};
use torture::disk::{Cut, Fault, Keep, KeepNames, Moment, Op, OpKind, SimDisk};

use super::{DIR, options};

const HOUR: Duration = Duration::from_secs(3600);

/// A power cut that takes all that was not synced, or of the names none.
const ALL: Cut = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 1 };
const CONTENT: Cut = Cut { names: KeepNames::All, ..ALL };

fn run(id: &str, status: Status) -> Run<'static> {
    Run::new(id.to_owned(), "t", status).unwrap()
}

fn lies_in(path: &Path, stream: &str) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with(stream))
}

fn segments(disk: &SimDisk, stream: &str) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| lies_in(path, stream)).collect()
}

/// The disk as it is left when the process is killed before the first such moment of its work.
fn killed(
    disk: &SimDisk,
    mut at: impl FnMut(&Moment<'_>) -> bool + Send + 'static,
    work: impl FnOnce(),
) -> SimDisk {
    let image = Arc::new(Mutex::new(None));
    disk.set_probe({
        let image = Arc::clone(&image);
        move |moment| {
            let mut image = image.lock();
            if image.is_none() && at(moment) {
                *image = Some(moment.kill());
            }
        }
    });
    work();
    disk.clear_hooks();
    image.lock().take().expect("it comes to that")
}

fn is(op: &Op, kind: OpKind, ending: &str) -> bool {
    op.kind == kind && op.path.ends_with(ending)
}

/// Of the directories that a ledger's path needed only the last one was put on stable storage, and
/// of a path of one name not even that.
#[test]
fn all_names_of_a_new_ledger_s_path_are_synced() {
    for dir in ["/srv/app/data/ledger", "ledger", "./data/ledger"] {
        let disk = SimDisk::new(11);
        let open = |disk: &SimDisk| options(disk).open(dir).unwrap();
        let ledger = open(&disk);
        ledger.append_with(Event::new("t"), Durability::Sync).unwrap();
        let ledger = (open(&disk.power_cut(ALL)), ledger).0;
        assert_eq!(ledger.query().count().unwrap(), 1, "{dir}");
    }
}
