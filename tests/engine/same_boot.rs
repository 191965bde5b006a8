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

use super::{DIR, is_draft, options};

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

/// Clean-up died between the note on a segment and the sync of it. The next opening took the note
/// at its word and removed the segment, synced as it was: the power cut took the note, and with it
/// the end of the run, whose beginning had been acknowledged as synced.
#[test]
fn nothing_is_removed_for_a_note_that_only_the_kernel_has() {
    let disk = SimDisk::new(1);
    let open = |disk: &SimDisk| {
        let options = options(disk).segment_age(Duration::ZERO);
        options.retention(Kind::Run, Some(HOUR)).open(DIR).unwrap()
    };
    let ledger = open(&disk);
    ledger.append_with(run("r", Status::Running), Durability::Sync).unwrap();
    disk.advance(2 * HOUR);
    ledger.append_with(run("r", Status::Success), Durability::Os).unwrap();
    let is_sync = |moment: &Moment<'_>| moment.op.kind == OpKind::Sync;
    let disk = killed(&disk, is_sync, || {
        let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
        assert_eq!(report.dropped().count(), 1);
    });
    let before = segments(&disk, "runs").len();
    let ledger = open(&disk);
    assert_eq!(segments(&disk, "runs").len(), before - 1, "the note counts");
    let ledger = (open(&disk.power_cut(ALL)), ledger).0;
    assert_eq!(ledger.query().run("r").count().unwrap(), 1);
}

fn split(disk: &SimDisk) -> Options {
    options(disk).class(Class::status(Status::Failed), Limits::new())
}

/// The process died between making the directory of a class and the sync of its name. The next one
/// found it there after a clean close, and synced nothing: what was acknowledged as synced in it
/// was gone with its directory.
#[test]
fn the_directory_of_a_class_is_synced_by_who_finds_it() {
    let disk = SimDisk::new(2);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.close().unwrap();
    let is_sync = |moment: &Moment<'_>| is(moment.op, OpKind::SyncDir, "streams");
    let disk = killed(&disk, is_sync, || drop(split(&disk).open(DIR).unwrap()));
    let ledger = split(&disk).open(DIR).unwrap();
    ledger.append_with(run("b", Status::Failed), Durability::Sync).unwrap();
    let ledger = (split(&disk.power_cut(ALL)).open(DIR).unwrap(), ledger).0;
    assert_eq!(ledger.query().run("b").count().unwrap(), 1);
}

/// A writer that follows its policy made the directory of a class and could not sync its name; the
/// next round found it there, and what was appended to it was acknowledged as synced.
#[test]
fn a_failed_sync_of_the_directory_of_a_class_stops_the_writer() {
    let disk = SimDisk::new(3);
    let ledger = options(&disk).open(DIR).unwrap();
    let path = Path::new(DIR).join("runledger.toml");
    let file = disk.storage().open(&path, OpenMode::CreateNew).unwrap();
    file.write_at(b"[retention.\"runs.failed\"]\nage = \"2y\"\n", 0).unwrap();
    disk.set_faults(|op| is(op, OpKind::SyncDir, "streams").then_some(Fault::Io));
    ledger.maintain().unwrap_err();
    disk.clear_hooks();
    let next = ledger.maintain().unwrap_err();
    assert!(matches!(next, Error::Poisoned { .. }), "{next}");
}

/// True when the last segment of the events has a trailer.
fn has_trailer(disk: &SimDisk) -> bool {
    let path = segments(disk, "events").pop().unwrap();
    disk.peek(&path).windows(7).any(|window| window == b"RUNLEND")
}

/// A ledger with a segment that the next round seals.
fn with_old_segment(disk: &SimDisk) -> Ledger {
    let ledger = options(disk).open(DIR).unwrap();
    ledger.append(Event::new("t")).unwrap();
    disk.advance(48 * HOUR);
    ledger
}

/// Opens and closes a disk, cuts the power, and looks for damage.
fn assert_no_damage_after_a_close(disk: &SimDisk) {
    assert!(has_trailer(disk), "the kernel shows it");
    options(disk).open(DIR).unwrap().close().unwrap();
    let disk = disk.power_cut(ALL);
    let report = verify(DIR, disk.storage()).unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
    let ledger = options(&disk).open(DIR).unwrap();
    let report = ledger.compact(&Compaction::new()).unwrap();
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
}

/// The process died between a trailer and its sync. The next one believed the trailer, and its
/// clean close vouched for it: after a power cut, what was left of the footer was damage.
#[test]
fn a_trailer_that_only_the_kernel_has_is_synced_by_who_finds_it() {
    let disk = SimDisk::new(4);
    let ledger = with_old_segment(&disk);
    let is_its_sync =
        |moment: &Moment<'_>| moment.op.kind == OpKind::Sync && has_trailer(&moment.kill());
    let disk = killed(&disk, is_its_sync, || ledger.maintain().unwrap());
    assert_no_damage_after_a_close(&disk);
}

/// The same where the sync has failed, after which the kernel never writes what it shows, and the
/// footer could not be cut either.
#[test]
fn a_trailer_whose_sync_has_failed_is_written_anew() {
    let disk = SimDisk::new(5);
    let ledger = with_old_segment(&disk);
    let (mut lengths, mut syncs) = (0, 0);
    disk.set_faults(move |op| {
        let is_sealed = lies_in(&op.path, "events") && lengths > 0;
        lengths += u32::from(lies_in(&op.path, "events") && op.kind == OpKind::SetLen);
        syncs += u32::from(is_sealed && op.kind == OpKind::Sync);
        // First the footer is synced, and then its trailer.
        match op.kind {
            OpKind::Sync if is_sealed && syncs == 2 => Some(Fault::LostSync),
            OpKind::SetLen if is_sealed => Some(Fault::Io),
            _ => None,
        }
    });
    let _ = ledger.maintain();
    disk.clear_hooks();
    let poisoned = ledger.append(Event::new("t")).unwrap_err();
    assert!(matches!(poisoned, Error::Poisoned { .. }), "{poisoned}");
    assert_no_damage_after_a_close(&disk.kill());
}

/// A ledger with a sealed segment, whose file `SEQ` says still that it was closed.
fn closed_with_sealed_segment(disk: &SimDisk) -> Ledger {
    let ledger = with_old_segment(disk);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    options(disk).open(DIR).unwrap()
}

/// A compaction died before it took a number, in a ledger that said still that it was closed: its
/// draft was not looked for, counted under the size cap for good, and kept records that were erased
/// since.
#[test]
fn a_compaction_that_died_leaves_no_draft_behind() {
    let disk = SimDisk::new(6);
    let ledger = closed_with_sealed_segment(&disk);
    let is_packing =
        |moment: &Moment<'_>| moment.op.kind == OpKind::Sync && is_draft(&moment.op.path);
    let disk = killed(&disk, is_packing, || {
        assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites.len(), 1);
    });
    assert!(disk.files().iter().any(|path| is_draft(path)));
    options(&disk).open(DIR).unwrap();
    assert!(!disk.files().iter().any(|path| is_draft(path)), "{:?}", disk.files());
}

/// A compaction that found the disk full removed its draft, and did not sync that: a power cut
/// after a clean close brought the draft back, where nobody looked for it.
#[test]
fn a_draft_that_was_given_up_does_not_come_back() {
    let disk = SimDisk::new(12);
    let ledger = closed_with_sealed_segment(&disk);
    disk.set_faults(|op| {
        (op.kind == OpKind::Write && is_draft(&op.path)).then_some(Fault::NoSpace)
    });
    ledger.compact(&Compaction::new()).unwrap_err();
    disk.clear_hooks();
    ledger.close().unwrap();
    for seed in 0..20 {
        let cut = Cut { files: Keep::Nothing, names: KeepNames::Prefix, seed };
        let disk = disk.fork().power_cut(cut);
        options(&disk).open(DIR).unwrap();
        assert!(!disk.files().iter().any(|path| is_draft(path)), "{:?}", disk.files());
    }
}

/// The same where the draft could not be removed at all: the clean close said that there was none.
#[test]
fn no_clean_close_follows_a_draft_that_could_not_be_removed() {
    let disk = SimDisk::new(13);
    let ledger = with_old_segment(&disk);
    ledger.maintain().unwrap();
    disk.set_faults(|op| match op.kind {
        OpKind::Write if is_draft(&op.path) => Some(Fault::NoSpace),
        OpKind::Remove if is_draft(&op.path) => Some(Fault::Io),
        _ => None,
    });
    ledger.compact(&Compaction::new()).unwrap_err();
    disk.clear_hooks();
    ledger.close().unwrap_err();
    assert!(disk.files().iter().any(|path| is_draft(path)));
    options(&disk).open(DIR).unwrap();
    assert!(!disk.files().iter().any(|path| is_draft(path)), "{:?}", disk.files());
}

/// A ledger whose file `SEQ` tells of a segment of events that goes with the next clean-up.
fn with_known_segment(disk: &SimDisk) -> Ledger {
    let open = || options(disk).retention(Kind::Event, Some(HOUR)).open(DIR).unwrap();
    let ledger = open();
    ledger.append(Event::new("t")).unwrap();
    ledger.close().unwrap();
    disk.advance(48 * HOUR);
    open()
}

/// The file `SEQ` could not be synced when it was to tell no more of a segment. The next try found
/// nothing to change, and went on as if it was written.
#[test]
fn a_failed_sync_of_the_heads_stops_the_writer() {
    let disk = SimDisk::new(7);
    let ledger = with_known_segment(&disk);
    ledger.append(Event::new("number")).unwrap();
    disk.set_faults(|op| is(op, OpKind::Sync, "SEQ").then_some(Fault::LostSync));
    ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap_err();
    disk.clear_hooks();
    let next = ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap_err();
    assert!(matches!(next, Error::Poisoned { .. }), "{next}");
}

/// The same for a disk that had no room for it, which is no reason to stop.
#[test]
fn heads_that_could_not_be_written_are_written_by_the_next_try() {
    let disk = SimDisk::new(8);
    let ledger = with_known_segment(&disk);
    ledger.append(Event::new("number")).unwrap();
    let is_write = |op: &Op| is(op, OpKind::Write, "SEQ");
    disk.set_faults(move |op| is_write(op).then_some(Fault::NoSpace));
    ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap_err();
    let written = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&written);
    disk.set_faults(move |op| {
        *counted.lock() += u32::from(is_write(op));
        None
    });
    let report = ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap();
    assert_eq!((report.dropped().count(), *written.lock()), (1, 1));
}

/// Copies were removed, and the directory could not be synced: the writer went on.
#[test]
fn a_failed_sync_of_removed_copies_stops_the_writer() {
    let disk = SimDisk::new(9);
    let ledger = options(&disk).open(DIR).unwrap();
    let lost = Path::new(DIR).join("lost");
    disk.storage().create_dir_all(&lost).unwrap();
    disk.storage().open(&lost.join("copy.bin"), OpenMode::CreateNew).unwrap();
    disk.advance(24 * HOUR * 1000);
    disk.set_faults(|op| is(op, OpKind::SyncDir, "lost").then_some(Fault::Io));
    ledger.cleanup(&Cleanup::retention(), false).unwrap_err();
    disk.clear_hooks();
    assert!(segments(&disk, "lost").is_empty());
    let next = ledger.append(Event::new("t")).unwrap_err();
    assert!(matches!(next, Error::Poisoned { .. }), "{next}");
}

/// A power cut took a state of a run between two others. The opening that found that put it on
/// record and died before the sync; the next one took the record as it was, and synced nothing. The
/// later state was then sealed, where nobody looks for such gaps: without the note, the run was two
/// for good.
#[test]
fn a_note_on_an_overtaken_state_that_only_the_kernel_has_is_synced() {
    let disk = SimDisk::new(10);
    let open = |disk: &SimDisk| split(disk).segment_bytes(64 << 10).open(DIR).unwrap();
    let ledger = open(&disk);
    ledger.append(run("a", Status::Pending)).unwrap();
    let path = segments(&disk, "runs").pop().unwrap();
    let before = disk.peek(&path);
    ledger.append(run("a", Status::Running)).unwrap();
    ledger.append(run("a", Status::Failed)).unwrap();
    let disk = disk.kill();
    disk.poke(&path, before);
    disk.flush();
    let mut is_noted = false;
    let is_sync = move |moment: &Moment<'_>| {
        is_noted |= moment.op.kind == OpKind::Write && lies_in(&moment.op.path, "audit");
        is_noted && moment.op.kind == OpKind::Sync
    };
    let disk = killed(&disk, is_sync, || drop(open(&disk)));
    let by_status =
        |ledger: &Ledger| ledger.query().kind(Kind::Run).run("a").count_by(Field::Status).unwrap();
    let ledger = open(&disk);
    assert_eq!(by_status(&ledger), [("failed".to_owned(), 1)]);
    let filler = Json::from_value(&"x".repeat(40_000)).unwrap();
    for id in ["b", "c", "d"] {
        let failed = run(id, Status::Failed).metadata(filler.clone());
        ledger.append_with(failed, Durability::Os).unwrap();
    }
    let ledger = (open(&disk.power_cut(CONTENT)), ledger).0;
    assert_eq!(by_status(&ledger), [("failed".to_owned(), 1)]);
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
