//! Damage as an operator meets it: `verify` names it, `repair` keeps a copy and rebuilds the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::storage::Disk;
use runledger::{
    Cleanup, Damage, Durability, Erasure, Event, Field, Id, Kind, Ledger, Options, Order, Reader,
    RepairAction, Run, Status, repair, verify,
};
use torture::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};

const RECORDS: u64 = 60;

/// A closed ledger with sealed segments of events and an open one of runs.
fn ledger(dir: &Path) {
    let ledger = Options::new().segment_bytes(64 << 10).background(false).open(dir).unwrap();
    for number in 0..RECORDS {
        let event = Event::new(format!("type-{}", number % 3)).message("x".repeat(3_000));
        ledger.append_with(event, Durability::Os).unwrap();
    }
    for number in 0..5 {
        ledger.append(Run::new(format!("r{number}"), "t", Status::Success).unwrap()).unwrap();
    }
    ledger.close().unwrap();
}

fn segments(dir: &Path, stream: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("streams").join(stream))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn events(dir: &Path) -> Vec<u64> {
    let reader = Reader::open(dir).unwrap();
    let page = reader.query().kind(Kind::Event).order(Order::Seq).limit(1_000).fetch().unwrap();
    page.records().filter_map(Result::ok).map(|record| record.seq).collect()
}

fn is_damaged(dir: &Path) -> bool {
    verify(dir, Arc::new(Disk)).unwrap().is_damaged()
}

#[test]
fn a_whole_ledger_verifies_and_needs_no_repair() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let report = verify(dir.path(), Arc::new(Disk)).unwrap();
    assert_eq!((report.findings.as_slice(), report.records), (&[][..], RECORDS + 5));
    assert_eq!(repair(dir.path(), Arc::new(Disk), false).unwrap().actions, []);
}

/// Every byte of a sealed segment counts: a flip of any of them is reported, the other records are
/// still served, and what is served is what was written.
#[test]
fn a_flip_anywhere_in_a_sealed_segment_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = segments(dir.path(), "events")[0].clone();
    let whole = fs::read(&path).unwrap();
    let first: Vec<u64> = events(dir.path());
    let mut tried = 0;
    for at in (0..whole.len()).filter(|at| at % 997 == 0 || *at < 300 || whole.len() - at < 450) {
        flip(&path, at);
        assert!(is_damaged(dir.path()), "byte {at} of {}", whole.len());
        let served = events(dir.path());
        assert!(served.iter().all(|seq| first.contains(seq)), "byte {at}");
        assert!(served.len() + 22 >= first.len(), "byte {at}: {}", served.len());
        tried += 1;
        fs::write(&path, &whole).unwrap();
    }
    assert!(!is_damaged(dir.path()));
    println!("{tried} flips, all reported");
}

#[test]
fn a_damaged_frame_is_salvaged_around_and_the_copy_kept() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = segments(dir.path(), "events")[1].clone();
    flip(&path, 10_000);
    let before = fs::read(&path).unwrap();
    let planned = repair(dir.path(), Arc::new(Disk), true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before, "a dry run changes nothing");
    assert!(is_damaged(dir.path()));
    let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
    assert_eq!(report.actions.len(), planned.actions.len());
    let [RepairAction::Salvaged { lost_records, copy, .. }] = report.actions.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(*lost_records, Some(1));
    assert_eq!(fs::read(copy).unwrap(), before);
    assert_eq!(events(dir.path()).len() as u64, RECORDS - 1);
    let after = verify(dir.path(), Arc::new(Disk)).unwrap();
    assert_eq!(after.findings, [], "the chain holds over a repair that is on record");
    let notes = Reader::open(dir.path()).unwrap().audit().count().unwrap();
    assert_eq!(notes, 1);
}

#[test]
fn a_footer_or_a_header_that_is_damaged_loses_no_record() {
    for damage in [20usize, 200, usize::MAX, usize::MAX - 600] {
        let dir = tempfile::tempdir().unwrap();
        ledger(dir.path());
        let path = segments(dir.path(), "events")[0].clone();
        let len = fs::read(&path).unwrap().len();
        flip(&path, if damage < len { damage } else { len - 1 - (usize::MAX - damage) });
        assert_eq!(events(dir.path()).len() as u64, RECORDS, "{damage}");
        let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
        assert!(
            matches!(report.actions.as_slice(), [RepairAction::Rebuilt { .. }]),
            "{damage}: {report:?}"
        );
        let after = verify(dir.path(), Arc::new(Disk)).unwrap();
        assert_eq!(after.findings, [], "{damage}");
        assert_eq!(events(dir.path()).len() as u64, RECORDS);
    }
}

#[test]
fn a_segment_whose_headers_are_both_gone_is_set_aside_and_the_rest_served() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = segments(dir.path(), "events")[0].clone();
    flip(&path, 20);
    flip(&path, 150);
    let stats = Reader::open(dir.path()).unwrap().stats().unwrap();
    assert_eq!(stats.losses.unreadable_segments, 1);
    assert!(!events(dir.path()).is_empty());
    drop(Ledger::open(dir.path()).unwrap());
    assert!(is_damaged(dir.path()), "and a writer opens beside it");
    let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
    assert!(matches!(report.actions.as_slice(), [RepairAction::SetAside { .. }]), "{report:?}");
    assert!(!is_damaged(dir.path()));
}

#[test]
fn a_segment_that_was_replaced_or_reordered_breaks_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    ledger(dir.path());
    ledger(other.path());
    let path = segments(dir.path(), "events")[0].clone();
    fs::copy(&segments(other.path(), "events")[0], &path).unwrap();
    assert!(is_damaged(dir.path()), "a whole segment of another ledger, in the same place");
}

#[test]
fn a_segment_that_is_gone_without_a_note_is_missed() {
    for gone in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        ledger(dir.path());
        let more = Options::new().segment_bytes(64 << 10).open(dir.path()).unwrap();
        for _ in 0..RECORDS {
            more.append(Event::new("more").message("x".repeat(3_000))).unwrap();
        }
        more.close().unwrap();
        fs::remove_file(&segments(dir.path(), "events")[gone]).unwrap();
        assert!(is_damaged(dir.path()), "{gone}");
    }
}

/// One flipped bit in 64 bytes kept the whole ledger from opening, and repair had no word for it.
#[test]
fn a_damaged_identity_is_named_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = dir.path().join("LEDGER");
    flip(&path, 20);
    let report = verify(dir.path(), Arc::new(Disk)).unwrap();
    assert!(report.findings.iter().any(|finding| finding.path == path && finding.is_damage));
    let planned = repair(dir.path(), Arc::new(Disk), true).unwrap();
    assert!(Ledger::open(dir.path()).is_err(), "a dry run changes nothing");
    let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
    assert_eq!((planned.actions.len(), report.actions.len()), (1, 1), "{report:?}");
    assert_eq!(events(dir.path()).len() as u64, RECORDS);
    assert!(!is_damaged(dir.path()));
    let next = Ledger::open(dir.path()).unwrap().append(Event::new("after")).unwrap();
    assert!(next > RECORDS + 5, "{next}");
}

/// The file that tells where the streams end was damaged, or gone, and `verify` said that all was
/// whole, though it could miss no end any more. A crash tears one of its slots, and never both.
#[test]
fn a_damaged_sequence_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = dir.path().join("SEQ");
    let whole = fs::read(&path).unwrap();
    let told = || {
        let report = verify(dir.path(), Arc::new(Disk)).unwrap();
        let [finding] = &*report.findings else { panic!("{report:?}") };
        assert_eq!((&finding.path, report.records), (&path, RECORDS + 5));
        (finding.offset, finding.damage, finding.is_damage)
    };
    for at in [0, 4096] {
        flip(&path, at + 20);
        assert_eq!(told(), (at as u64, Damage::HeaderChecksum, false));
        fs::write(&path, &whole).unwrap();
    }
    flip(&path, 20);
    flip(&path, 4096 + 20);
    assert_eq!(told(), (0, Damage::HeaderChecksum, true));
    fs::write(&path, vec![0; whole.len()]).unwrap();
    assert_eq!(told(), (0, Damage::Magic, true));
    fs::remove_file(&path).unwrap();
    assert_eq!(told(), (0, Damage::MissingSegment, true));
    let next = Ledger::open(dir.path()).unwrap().append(Event::new("after")).unwrap();
    assert!(next > 1 << 32, "{next}");
    assert_eq!(verify(dir.path(), Arc::new(Disk)).unwrap().findings, []);
}

/// However little is left of the last frame: after a clean close it is damage, and queries know.
#[test]
fn a_frame_that_is_cut_short_after_a_clean_close_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = segments(dir.path(), "runs")[0].clone();
    let whole = fs::read(&path).unwrap();
    let magic = runledger::format::frame::FRAME_MAGIC;
    let last = whole.windows(magic.len()).rposition(|bytes| bytes == magic).unwrap();
    for left in [1, 3, 39, 41, 60] {
        fs::write(&path, &whole[..last + left]).unwrap();
        assert!(is_damaged(dir.path()), "{left} bytes");
        let losses = Reader::open(dir.path()).unwrap().losses().unwrap();
        assert_eq!(losses.damaged_ranges, 1, "{left} bytes");
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(Reader::open(dir.path()).unwrap().losses().unwrap().damaged_ranges, 0);
}

/// `verify` looked at nothing without it, and had no report.
#[test]
fn an_identity_that_is_gone_is_named_and_made_by_the_next_append() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let whole = events(dir.path());
    fs::remove_file(dir.path().join("LEDGER")).unwrap();
    let said = Reader::open(dir.path()).unwrap_err().to_string();
    assert!(said.contains("LEDGER is gone; the next append makes a new one"), "{said}");
    let report = verify(dir.path(), Arc::new(Disk)).unwrap();
    let [finding] = &*report.findings else { panic!("{report:?}") };
    assert_eq!(
        (&finding.path, finding.damage),
        (&dir.path().join("LEDGER"), Damage::MissingSegment)
    );
    assert!(report.is_damaged() && report.records == RECORDS + 5, "{report:?}");
    Ledger::open(dir.path()).unwrap().append(Event::new("after")).unwrap();
    assert_eq!(events(dir.path()).len(), whole.len() + 1);
    assert!(!is_damaged(dir.path()));
}

#[test]
fn what_holds_no_segment_is_no_damaged_ledger() {
    let dir = tempfile::tempdir().unwrap();
    // As a crash leaves it while a ledger is made.
    fs::create_dir_all(dir.path().join("streams/events")).unwrap();
    for dir in [dir.path(), &dir.path().join("nothing")] {
        let refused = verify(dir, Arc::new(Disk)).unwrap_err();
        assert!(matches!(refused, runledger::Error::NotALedger { .. }), "{refused}");
    }
}

#[test]
fn a_repair_is_refused_while_there_is_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let writer = Ledger::open(dir.path()).unwrap();
    let refused = repair(dir.path(), Arc::new(Disk), false).unwrap_err();
    let pid = std::process::id();
    assert!(
        matches!(refused, runledger::Error::Locked { pid: Some(holder), .. } if holder == pid),
        "{refused}"
    );
    drop(writer);
}

fn missing(dir: &Path) -> Vec<(PathBuf, Damage)> {
    let report = verify(dir, Arc::new(Disk)).unwrap();
    assert!(report.findings.iter().all(|finding| finding.is_damage), "{report:?}");
    report.findings.into_iter().map(|finding| (finding.path, finding.damage)).collect()
}

/// The last segment of a stream was deleted by hand, or a file was cut exactly between two frames.
/// Nothing told how far a stream had gone, so `verify` said that all was whole, and an opening
/// went on as if the records had never been there. The file `SEQ` tells it now.
#[test]
fn an_end_that_is_gone_after_a_clean_close_is_missed_and_put_on_record() {
    let magic = runledger::format::frame::FRAME_MAGIC;
    for (stream, whole_file) in [("events", true), ("runs", true), ("runs", false)] {
        let dir = tempfile::tempdir().unwrap();
        ledger(dir.path());
        let path = segments(dir.path(), stream).pop().unwrap();
        let expected = if whole_file {
            fs::remove_file(&path).unwrap();
            Damage::MissingSegment
        } else {
            let whole = fs::read(&path).unwrap();
            let last = whole.windows(magic.len()).rposition(|bytes| bytes == magic).unwrap();
            fs::write(&path, &whole[..last]).unwrap();
            Damage::MissingEnd
        };
        assert_eq!(missing(dir.path()), [(path.clone(), expected)], "{stream} {whole_file}");
        let losses = Reader::open(dir.path()).unwrap().losses().unwrap();
        assert_eq!((losses.missing_ends, losses.lost_ends), (1, 0));
        assert!(losses.is_damaged());
        let planned = repair(dir.path(), Arc::new(Disk), true).unwrap();
        assert!(matches!(planned.actions.as_slice(), [RepairAction::Noted { .. }]), "{planned:?}");

        // A kill right after the opening leaves the loss known, once more or on record.
        let writer = Ledger::open(dir.path()).unwrap();
        let losses = writer.reader().losses().unwrap();
        assert_eq!((losses.missing_ends, losses.lost_ends), (0, 1));
        assert_eq!(writer.reader().audit().record_type("recovery.end_missing").count().unwrap(), 1);
        writer.append(Event::new("after")).unwrap();
        writer.append(Run::new("after", "t", Status::Success).unwrap()).unwrap();
        writer.close().unwrap();
        assert_eq!(missing(dir.path()), [], "it is on record, and the stream goes on");
        let again = Ledger::open(dir.path()).unwrap();
        assert_eq!(again.reader().losses().unwrap().lost_ends, 1, "noted once");
    }
}

/// After a kill the last frame of a stream that had been closed in order, and that nobody wrote to
/// since, was damaged: it looked like a torn tail, and was cut.
#[test]
fn what_was_synced_before_the_opening_is_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let killed = tempfile::tempdir().unwrap();
    let writer = Ledger::open(dir.path()).unwrap();
    writer.append_with(Event::new("more"), Durability::Sync).unwrap();
    copy_dir(dir.path(), killed.path());
    drop(writer);
    let path = segments(killed.path(), "runs")[0].clone();
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    flip(&path, end - 3);
    let damaged = fs::read(&path).unwrap();
    assert_eq!(missing(killed.path()), [(path.clone(), Damage::PayloadChecksum)]);
    for run in ["after", "and after that"] {
        let writer = Ledger::open(killed.path()).unwrap();
        writer.append(Run::new(run, "t", Status::Success).unwrap()).unwrap();
        writer.close().unwrap();
        assert_eq!(fs::read(&path).unwrap(), damaged, "nothing of it is cut");
        assert_eq!(missing(killed.path()), [(path.clone(), Damage::PayloadChecksum)]);
    }
    let report = repair(killed.path(), Arc::new(Disk), false).unwrap();
    let [RepairAction::Salvaged { lost_records: Some(1), records: 4, .. }] = &*report.actions
    else {
        panic!("{report:?}");
    };
    assert_eq!(missing(killed.path()), []);
    assert_eq!(Reader::open(killed.path()).unwrap().losses().unwrap().lost_ends, 0);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

const SIM: &str = "/ledger";

/// The same ledger on the modelled disk.
fn sim_ledger() -> SimDisk {
    let disk = SimDisk::new(11);
    let options = Options::new().segment_bytes(64 << 10).background(false).reserve_bytes(0);
    let ledger = options.storage(disk.storage()).open(SIM).unwrap();
    for number in 0..RECORDS {
        let event = Event::new(format!("type-{}", number % 3)).message("x".repeat(3_000));
        ledger.append_with(event, Durability::Os).unwrap();
    }
    ledger.close().unwrap();
    disk
}

fn sim_events(disk: &SimDisk) -> u64 {
    let reader = Reader::with_storage(SIM, disk.storage()).unwrap();
    let page = reader.query().kind(Kind::Event).limit(1_000).fetch().unwrap();
    page.records().filter(Result::is_ok).count() as u64
}

fn sim_segments(disk: &SimDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter();
    files.filter(|file| file.parent().unwrap().ends_with("events")).collect()
}

/// One file that the operating system would not let be read kept the whole ledger from opening.
#[test]
fn a_segment_that_cannot_be_read_keeps_nothing_else_from_being_served() {
    let disk = sim_ledger();
    let segments = sim_segments(&disk);
    for broken in &segments {
        let disk = disk.fork();
        let path = broken.clone();
        disk.set_faults(move |op| {
            (op.path == path && matches!(op.kind, OpKind::Open | OpKind::Read)).then_some(Fault::Io)
        });
        let reader = Reader::with_storage(SIM, disk.storage()).unwrap();
        assert_eq!(reader.stats().unwrap().losses.unreadable_segments, 1);
        let served = sim_events(&disk);
        assert!(served > 0 && served < RECORDS, "{served}");
        let report = verify(SIM, disk.storage()).unwrap();
        let [finding] = &*report.findings else { panic!("{:?}", report.findings) };
        assert_eq!((&finding.path, finding.damage), (broken, Damage::Unreadable));
        assert!(finding.is_damage && finding.cause.is_some());
        let report = repair(SIM, disk.storage(), false).unwrap();
        assert!(matches!(&*report.actions, [RepairAction::Left { .. }]), "{report:?}");
        assert!(report.is_damaged());

        let options = Options::new().background(false).reserve_bytes(0).storage(disk.storage());
        let ledger = options.clone().open(SIM).unwrap();
        assert!(ledger.noticed()[0].contains("left out"), "{:?}", ledger.noticed());
        ledger.append(Event::new("after")).unwrap();
        ledger.close().unwrap();
        disk.clear_hooks();
        assert_eq!(sim_events(&disk), RECORDS + 1, "nothing was touched meanwhile");
        assert_eq!(verify(SIM, disk.storage()).unwrap().findings, []);
        drop(options.open(SIM).unwrap());
        assert_eq!(sim_events(&disk), RECORDS + 1);
    }
}

/// A repair that is broken off, by the power or by hand, leaves all that was whole, and the next
/// one puts the rest in order.
#[test]
fn a_repair_that_is_broken_off_loses_nothing() {
    let disk = sim_ledger();
    let path = sim_segments(&disk)[1].clone();
    let mut bytes = disk.peek(&path);
    bytes[10_000] ^= 0x10;
    disk.poke(&path, bytes);
    assert_eq!(sim_events(&disk), RECORDS - 1);
    let tried = Arc::new(Mutex::new(0));
    let count = Arc::clone(&tried);
    disk.set_probe(move |moment| {
        let cut = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: 3 };
        for found in [moment.kill(), moment.cut(cut)] {
            let label = format!("broken off before {:?}", moment.op);
            repair(SIM, found.storage(), false).unwrap_or_else(|err| panic!("{label}: {err}"));
            assert_eq!(sim_events(&found), RECORDS - 1, "{label}");
            let report = verify(SIM, found.storage()).unwrap();
            assert!(!report.is_damaged(), "{label}: {:?}", report.findings);
        }
        *count.lock() += 1;
    });
    repair(SIM, disk.storage(), false).unwrap();
    disk.clear_hooks();
    assert_eq!(sim_events(&disk), RECORDS - 1);
    assert!(*tried.lock() > 15, "{} moments", tried.lock());
}

#[test]
fn copies_are_listed_and_go_when_they_are_older_than_any_record() {
    let disk = sim_ledger();
    let path = sim_segments(&disk)[1].clone();
    let mut bytes = disk.peek(&path);
    bytes[10_000] ^= 0x10;
    disk.poke(&path, bytes);
    repair(SIM, disk.storage(), false).unwrap();
    let options = Options::new().background(false).reserve_bytes(0).storage(disk.storage());
    let ledger = options.open(SIM).unwrap();
    assert_eq!(ledger.reader().stats().unwrap().copies.files, 1);
    let day = Duration::from_secs(24 * 60 * 60);
    disk.advance(day * 300);
    assert_eq!(ledger.cleanup(&Cleanup::retention(), false).unwrap().copies.files, 0);
    disk.advance(day * 100);
    assert_eq!(ledger.cleanup(&Cleanup::retention(), true).unwrap().copies.files, 1, "planned");
    assert_eq!(ledger.cleanup(&Cleanup::retention(), false).unwrap().copies.files, 1);
    assert_eq!(ledger.reader().stats().unwrap().copies.files, 0);
    assert_eq!(ledger.reader().audit().record_type("copies.dropped").count().unwrap(), 1);
}

/// A last segment whose header was gone was left out by an opening, and the close after it told
/// nothing of it: then it looked like one that a crash had left half made, was named as no damage,
/// and was set aside by the next opening.
#[test]
fn a_last_segment_without_a_header_stays_damage_whoever_writes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = segments(dir.path(), "runs").pop().unwrap();
    flip(&path, 20);
    flip(&path, 150);
    for _ in 0..3 {
        assert_eq!(missing(dir.path()), [(path.clone(), Damage::HeaderChecksum)]);
        Ledger::open(dir.path()).unwrap().append(Event::new("other")).unwrap();
        assert!(path.exists(), "it is nobody's to set aside but a repair's");
    }
    Ledger::open(dir.path()).unwrap().append(Run::new("r", "t", Status::Success).unwrap()).unwrap();
    assert_eq!(missing(dir.path()), [(path.clone(), Damage::HeaderChecksum)]);
    let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
    assert!(matches!(&*report.actions, [RepairAction::SetAside { .. }]), "{report:?}");
    assert_eq!(missing(dir.path()), []);
    assert_eq!(Reader::open(dir.path()).unwrap().losses().unwrap().lost_ends, 0);
}

/// Once a writer had come by, a damaged footer of the newest segment of a stream looked like a
/// torn tail: `verify` named it as no damage, the next opening cut it, and records were added to
/// what had been sealed.
#[test]
fn a_damaged_footer_at_the_end_of_a_stream_stays_damage_whoever_writes_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let seal = |ledger: &Ledger| {
        let erasure = Erasure::of(Field::User, Id::new("nobody").unwrap()).unwrap();
        ledger.erase(&erasure).unwrap();
    };
    seal(&Ledger::open(dir.path()).unwrap());
    let path = segments(dir.path(), "events").pop().unwrap();
    flip(&path, fs::read(&path).unwrap().len() - 1);
    let damaged = fs::read(&path).unwrap();
    for number in 0..3 {
        assert_eq!(missing(dir.path()), [(path.clone(), Damage::Footer)]);
        let run = Run::new(format!("other {number}"), "t", Status::Success).unwrap();
        Ledger::open(dir.path()).unwrap().append(run).unwrap();
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
    let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
    assert!(matches!(&*report.actions, [RepairAction::Rebuilt { .. }]), "{report:?}");
    assert_eq!(missing(dir.path()), []);
    assert_eq!(events(dir.path()).len() as u64, RECORDS);
}

/// A repair that had salvaged frames opened the ledger to put that on record, and the opening took
/// the salvaged segment for one that was missing: `segment before ... is not there`.
#[test]
fn a_salvaged_segment_is_not_noted_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    flip(&segments(dir.path(), "events")[1], 400);
    repair(dir.path(), Arc::new(Disk), false).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let notes = |kind| reader.audit().record_type(kind).count().unwrap();
    assert_eq!((notes("segment.repaired"), notes("segment.missing")), (1, 0));
}

/// Where the trailer was damaged, too, nobody knew the link that the next segment names: the repair
/// itself put on record that the salvaged one was missing.
#[test]
fn a_salvaged_segment_without_a_trailer_is_not_noted_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = &segments(dir.path(), "events")[0];
    flip(path, 400);
    flip(path, fs::read(path).unwrap().len() - 1);
    repair(dir.path(), Arc::new(Disk), false).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let notes = |kind| reader.audit().record_type(kind).count().unwrap();
    assert_eq!((notes("segment.repaired"), notes("segment.missing")), (1, 0));
    assert_eq!(verify(dir.path(), Arc::new(Disk)).unwrap().findings, []);
}

/// Of a segment that is set aside the next one tells the link. Where that one's footer was damaged,
/// too, the repair put on record that a segment was missing.
#[test]
fn what_is_set_aside_before_a_damaged_footer_is_not_noted_as_missing() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let segments = segments(dir.path(), "events");
    let (aside, next) = (&segments[0], &segments[1]);
    flip(aside, 20);
    flip(aside, 150);
    flip(next, fs::read(next).unwrap().len() - 412 - 20);
    let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
    let [RepairAction::SetAside { .. }, RepairAction::Rebuilt { .. }] = &*report.actions else {
        panic!("{report:?}");
    };
    let reader = Reader::open(dir.path()).unwrap();
    let notes = |kind| reader.audit().record_type(kind).count().unwrap();
    assert_eq!((notes("segment.repaired"), notes("segment.missing")), (2, 0));
    assert_eq!(verify(dir.path(), Arc::new(Disk)).unwrap().findings, []);
}

/// A repair for which the disk had no room, after the first of two damaged segments, kept the notes
/// to itself. The next one found the first segment whole: nothing told that records of it were
/// lost, and its successor named a link that nobody knew, which was noted as a missing segment.
#[test]
fn what_a_repair_did_before_it_failed_is_on_record() {
    let disk = sim_ledger();
    let damaged: Vec<_> = sim_segments(&disk)[..2].to_vec();
    for path in &damaged {
        let mut bytes = disk.peek(path);
        bytes[10_000] ^= 0x10;
        disk.poke(path, bytes);
    }
    let mut copies = 0;
    disk.set_faults(move |op| {
        let is_copy = op.kind == OpKind::Create && op.path.starts_with(format!("{SIM}/lost"));
        copies += u32::from(is_copy);
        (is_copy && copies == 2).then_some(Fault::NoSpace)
    });
    let refused = repair(SIM, disk.storage(), false).unwrap_err();
    assert!(matches!(refused, runledger::Error::NoSpace { .. }), "{refused}");
    disk.clear_hooks();
    let notes = |kind| {
        let reader = Reader::with_storage(SIM, disk.storage()).unwrap();
        reader.audit().record_type(kind).count().unwrap()
    };
    assert_eq!(notes("segment.repaired"), 1);
    assert_eq!(repair(SIM, disk.storage(), false).unwrap().actions.len(), 1);
    assert_eq!((notes("segment.repaired"), notes("segment.missing")), (2, 0));
    assert_eq!(sim_events(&disk), RECORDS - 2);
    assert_eq!(verify(SIM, disk.storage()).unwrap().findings, []);
}

/// A damaged segment that could not be read to be copied ended each repair; those behind it were
/// never mended.
#[test]
fn a_segment_that_cannot_be_copied_keeps_no_other_from_being_repaired() {
    let disk = sim_ledger();
    let damaged: Vec<_> = sim_segments(&disk)[..2].to_vec();
    for path in &damaged {
        let mut bytes = disk.peek(path);
        bytes[10_000] ^= 0x10;
        disk.poke(path, bytes);
    }
    let (mut is_copied, first) = (false, damaged[0].clone());
    disk.set_faults(move |op| {
        is_copied |= op.kind == OpKind::Create && op.path.starts_with(format!("{SIM}/lost"));
        (is_copied && op.kind == OpKind::Read && op.path == first).then_some(Fault::Io)
    });
    let report = repair(SIM, disk.storage(), false).unwrap();
    let [RepairAction::Left { path, .. }, RepairAction::Salvaged { .. }] = &*report.actions else {
        panic!("{report:?}");
    };
    assert_eq!(*path, damaged[0]);
    disk.clear_hooks();
    let report = repair(SIM, disk.storage(), false).unwrap();
    assert!(matches!(&*report.actions, [RepairAction::Salvaged { .. }]), "{report:?}");
    assert_eq!(verify(SIM, disk.storage()).unwrap().findings, []);
}

/// A segment that had come back from a backup, and was damaged again, was set aside over the one
/// that had been set aside before.
#[test]
fn what_was_set_aside_before_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    ledger(dir.path());
    let path = segments(dir.path(), "events")[0].clone();
    let whole = fs::read(&path).unwrap();
    let mut aside = Vec::new();
    for end in 0..3 {
        fs::write(&path, &whole[..whole.len() - end]).unwrap();
        flip(&path, 20);
        flip(&path, 150);
        let damaged = fs::read(&path).unwrap();
        let report = repair(dir.path(), Arc::new(Disk), false).unwrap();
        let [RepairAction::SetAside { copy, .. }] = &*report.actions else { panic!("{report:?}") };
        aside.push((copy.clone(), damaged));
    }
    for (copy, damaged) in aside {
        assert!(fs::read(&copy).unwrap() == damaged, "{}", copy.display());
    }
    let copies = Reader::open(dir.path()).unwrap().stats().unwrap().copies;
    assert_eq!(copies.files, 3);
}
