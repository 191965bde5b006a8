//! Segments that the operating system does not let be read when the ledger is opened, and what is
//! sealed while they are out.
//!
//! The next segment of the stream was sealed with the link of the one before them. Once they could
//! be read again the chain of hashes seemed broken: `verify` called that damage, though no record
//! was lost, and after a crash the second opening put a gap on record that there never was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runledger::{
    Body, Cleanup, Compaction, Durability, Erasure, Error, ErrorRecord, Event, Field, Id, Ledger,
    Options, Reader, Run, Status, repair, verify,
};
use torture::disk::{Fault, OpKind, SimDisk};

use super::hooked::Hooked;
use super::{DIR, within_a_minute};

fn options(disk: &SimDisk) -> Options {
    super::options(disk).segment_bytes(64 << 10).reserve_bytes(0)
}

fn append(ledger: &Ledger, count: usize) {
    for _ in 0..count {
        let event = Event::new("big").message("x".repeat(20_000));
        ledger.append_with(event, Durability::Os).unwrap();
    }
}

fn segments(disk: &SimDisk, stream: &str) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|path| {
        path.parent().is_some_and(|dir| dir.ends_with(stream))
            && path.extension().is_some_and(|ending| ending == "seg")
    });
    files
}

/// Keeps a file from being read.
fn refuse(disk: &SimDisk, path: &Path) {
    let path = path.to_owned();
    disk.set_faults(move |op| {
        let is_read = matches!(op.kind, OpKind::Open | OpKind::Read | OpKind::Map | OpKind::Len);
        (op.path == path && is_read).then_some(Fault::Io)
    });
}

fn notes(ledger: &Ledger, kind: &'static str) -> u64 {
    ledger.reader().audit().record_type(kind).count().unwrap()
}

/// All records are there and nothing is damaged, now, after an opening, and after another one.
fn is_whole(disk: &SimDisk, records: u64) {
    for opening in 0..3 {
        let report = verify(DIR, disk.storage()).unwrap();
        assert_eq!(report.findings, [], "before opening {opening}");
        let ledger = options(disk).open(DIR).unwrap();
        assert_eq!(ledger.noticed(), [] as [String; 0], "opening {opening}");
        assert_eq!(ledger.query().count().unwrap(), records);
        assert_eq!(notes(&ledger, "segment.missing"), 0, "opening {opening}");
        disk.die(|| drop(ledger));
    }
}

/// A ledger of three segments of events, closed or killed, the last of them without a footer.
fn ledger(closes: bool) -> SimDisk {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, 8);
    assert_eq!(segments(&disk, "events").len(), 3);
    match closes {
        true => ledger.close().unwrap(),
        false => disk.die(|| drop(ledger)),
    }
    disk
}

#[test]
fn a_segment_that_is_sealed_past_one_that_cannot_be_read_is_no_damage_afterwards() {
    for closes in [true, false] {
        for left_out in 0..3 {
            let disk = ledger(closes);
            refuse(&disk, &segments(&disk, "events")[left_out]);
            let ledger = options(&disk).open(DIR).unwrap();
            append(&ledger, 9);
            ledger.maintain().unwrap();
            // The second was sealed before, and names the first.
            let owed = u64::from(left_out > 0);
            assert_eq!(notes(&ledger, "segment.passed_over"), owed, "{closes}, {left_out}");
            match closes {
                true => ledger.close().unwrap(),
                false => disk.die(|| drop(ledger)),
            }
            disk.clear_hooks();
            is_whole(&disk, 17);
        }
    }
}

/// Several at once are each noted, and once, however often the ledger is opened without them.
#[test]
fn each_segment_that_is_passed_over_is_noted_once() {
    let disk = ledger(false);
    let paths = segments(&disk, "events");
    disk.set_faults(move |op| {
        (op.kind == OpKind::Open && paths[1..].contains(&op.path)).then_some(Fault::Io)
    });
    for opening in 0..3 {
        let ledger = options(&disk).open(DIR).unwrap();
        append(&ledger, 4);
        ledger.maintain().unwrap();
        assert_eq!(notes(&ledger, "segment.passed_over"), 2, "opening {opening}");
        disk.die(|| drop(ledger));
    }
    disk.clear_hooks();
    is_whole(&disk, 20);
}

/// A segment with a damaged footer was passed over without a word, though its trailer may be whole,
/// and is whatever comes of it. Repaired, or restored from a backup, it made the next one damage,
/// and the repair noted a gap that there never was.
#[test]
fn a_segment_that_is_sealed_past_a_damaged_footer_is_no_damage_afterwards() {
    const TRAILER: usize = 412;
    let disk = ledger(true);
    let path = segments(&disk, "events")[1].clone();
    let whole = disk.peek(&path);
    let trailer = whole.len() - TRAILER;
    let frames_end = u32::from_le_bytes(*whole[trailer + 12..].first_chunk().unwrap()) as usize;
    // A section, which nobody sees before it is used; the table of them; the trailer.
    for (flipped, owed) in [(frames_end + 4, 0), (trailer - 20, 0), (trailer + 40, 1)] {
        let disk = disk.fork();
        let mut damaged = whole.clone();
        damaged[flipped] ^= 1;
        disk.poke(&path, damaged);
        let ledger = options(&disk).open(DIR).unwrap();
        assert_eq!(ledger.query().fetch().unwrap().len(), 8);
        append(&ledger, 9);
        ledger.maintain().unwrap();
        assert_eq!(notes(&ledger, "segment.passed_over"), owed);
        ledger.close().unwrap();
        let restored = disk.fork();
        restored.poke(&path, whole.clone());
        is_whole(&restored, 17);
        repair(DIR, disk.storage(), false).unwrap();
        is_whole(&disk, 17);
    }
}

/// A segment was set aside after the next one had been sealed past it, and past it alone: that one
/// names the one before. Where the footer of that was damaged, the note told its link as that of
/// the segment that is gone, so that it could be removed, and no checkpoint missed it.
#[test]
fn what_is_set_aside_past_a_damaged_footer_has_no_other_s_link() {
    let disk = ledger(true);
    let segments = segments(&disk, "events");
    let (before, aside) = (&segments[1], &segments[2]);
    let mut bytes = disk.peek(before);
    *bytes.iter_mut().nth_back(431).unwrap() ^= 1;
    disk.poke(before, bytes);
    disk.poke(aside, vec![7; disk.peek(aside).len()]);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, 9);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    repair(DIR, disk.storage(), false).unwrap();
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    let name = format!("events/{}", aside.file_name().unwrap().to_str().unwrap());
    let page = reader.audit().record_type("segment.repaired").trace(&name).fetch().unwrap();
    let note = page.records().next().unwrap().unwrap();
    let Body::Event(note) = note.body else { panic!("an event") };
    let payload = note.payload.as_ref().unwrap().as_str();
    assert!(payload.contains("\"hash\":null"), "{payload}");
    is_whole(&disk, 15);
}

/// The first segment of events has a damaged footer when the next one is sealed, or after that, and
/// may be repaired then. It is dropped in the end, and nothing else is.
fn dropped_in_time(damage: impl Fn(&mut Vec<u8>), is_late: bool, mends: bool) {
    let disk = SimDisk::new(1);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, 4);
    ledger.close().unwrap();
    let path = segments(&disk, "events")[0].clone();
    let flip = || {
        let mut bytes = disk.peek(&path);
        damage(&mut bytes);
        disk.poke(&path, bytes);
    };
    if !is_late {
        flip();
    }
    disk.advance(2 * HOUR);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, 9);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    if is_late {
        flip();
    }
    if mends {
        repair(DIR, disk.storage(), false).unwrap();
    }
    let ledger = options(&disk).open(DIR).unwrap();
    // What is wrong with a footer is seen when it is used.
    assert_eq!(ledger.query().record_type("big").count().unwrap(), 13 - u64::from(mends));
    let report = ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap();
    assert_eq!(report.dropped().count(), 1, "{report:?}");
    ledger.close().unwrap();
    is_whole(&disk, 10);
}

/// The note on a segment with a damaged footer that was dropped did not tell its link, which the
/// next one names: that was damage from then on.
#[test]
fn a_segment_that_is_dropped_with_a_damaged_footer_is_not_missed() {
    within_a_minute(|| {
        dropped_in_time(|bytes| *bytes.iter_mut().nth_back(431).unwrap() ^= 1, false, false)
    });
}

/// Where the trailer was damaged, too, nothing but the next segment told the link.
#[test]
fn a_segment_that_is_dropped_with_a_damaged_trailer_is_not_missed() {
    within_a_minute(|| dropped_in_time(|bytes| *bytes.last_mut().unwrap() ^= 1, true, false));
}

/// Of a segment that was salvaged without its trailer nobody knows the link that the next one
/// names. Once it was dropped, that one was damage.
#[test]
fn a_segment_that_is_dropped_after_a_repair_without_a_trailer_is_not_missed() {
    within_a_minute(|| {
        let damage = |bytes: &mut Vec<u8>| {
            bytes[30_000] ^= 1;
            *bytes.last_mut().unwrap() ^= 1;
        };
        dropped_in_time(damage, true, true);
    });
}

/// What kept a segment from being read may be over when the next one is sealed.
#[test]
fn a_segment_that_can_be_read_again_is_named_by_the_next() {
    let disk = ledger(true);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, 1);
    disk.die(|| drop(ledger));
    refuse(&disk, &segments(&disk, "events")[1]);
    let ledger = options(&disk).open(DIR).unwrap();
    disk.clear_hooks();
    append(&ledger, 4);
    ledger.maintain().unwrap();
    assert_eq!(notes(&ledger, "segment.passed_over"), 0);
    ledger.close().unwrap();
    is_whole(&disk, 13);
}

/// Has a note taken, on an append that is refused.
fn note(ledger: &Ledger) {
    ledger.append(Event::new("x".repeat(10_000))).unwrap_err();
    ledger.maintain().unwrap();
}

/// Has a note taken, and the segments sealed that are older than a day.
fn note_and_seal(disk: &SimDisk, ledger: &Ledger) {
    note(ledger);
    disk.advance(Duration::from_secs(2 * 86_400));
    ledger.maintain().unwrap();
}

/// The note goes into the stream that is concerned, behind the segment that waits for it.
#[test]
fn the_stream_of_notes_is_no_exception() {
    let disk = ledger(true);
    let ledger = options(&disk).open(DIR).unwrap();
    note_and_seal(&disk, &ledger);
    note(&ledger);
    drop(ledger);
    assert_eq!(segments(&disk, "audit").len(), 2);
    refuse(&disk, &segments(&disk, "audit")[1]);
    let ledger = options(&disk).open(DIR).unwrap();
    note_and_seal(&disk, &ledger);
    assert_eq!(notes(&ledger, "segment.passed_over"), 1);
    note_and_seal(&disk, &ledger);
    ledger.close().unwrap();
    disk.clear_hooks();
    is_whole(&disk, 8);
}

/// On a full disk there is no room for the note. The segment waits for it, also past a close.
#[test]
fn without_room_for_the_note_the_segment_waits() {
    for closes_full in [true, false] {
        let disk = ledger(true);
        refuse(&disk, &segments(&disk, "events")[2]);
        let ledger = options(&disk).open(DIR).unwrap();
        append(&ledger, 3);
        disk.set_capacity(Some(disk.used()));
        // This fills the segment, and finds no room for the next one.
        let event = Event::new("big").message("x".repeat(20_000));
        ledger.append_with(event, Durability::Os).unwrap_err();
        disk.advance(Duration::from_secs(2 * 86_400));
        ledger.maintain().unwrap();
        assert_eq!(notes(&ledger, "segment.passed_over"), 0);
        if !closes_full {
            disk.set_capacity(None);
            append(&ledger, 2);
            ledger.maintain().unwrap();
            assert_eq!(notes(&ledger, "segment.passed_over"), 1);
        }
        // The note on the append that was refused is owed, too.
        assert_eq!(ledger.close().is_err(), closes_full);
        disk.clear_hooks();
        disk.set_capacity(None);
        is_whole(&disk, if closes_full { 11 } else { 13 });
    }
}

/// The same with the work in the background, which is what a service has.
#[test]
fn the_background_notes_what_it_passes_over() {
    let disk = ledger(true);
    refuse(&disk, &segments(&disk, "events")[2]);
    let ledger = options(&disk).background(true).open(DIR).unwrap();
    append(&ledger, 12);
    ledger.close().unwrap();
    disk.clear_hooks();
    is_whole(&disk, 20);
}

fn sealed(ledger: &Ledger, stream: &str) -> u64 {
    let stats = ledger.reader().stats().unwrap();
    stats.streams.iter().find(|it| it.name == stream).map_or(0, |it| it.sealed)
}

/// One segment that had to wait for a note was always the next to be sealed: until upkeep came, no
/// segment of any stream was, and all their indexes stayed in memory. An erasure wrote no note, and
/// said that the disk was full.
#[test]
fn a_segment_that_waits_for_a_note_holds_up_no_other_stream() {
    let disk = ledger(true);
    refuse(&disk, &segments(&disk, "events")[1]);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&ledger, 4);
    for _ in 0..8 {
        let error = ErrorRecord::new("t", "x".repeat(20_000));
        ledger.append_with(error, Durability::Os).unwrap();
    }
    assert_eq!(notes(&ledger, "segment.passed_over"), 0);
    assert_eq!(sealed(&ledger, "errors"), 2);
    let erasure = Erasure::of(Field::User, Id::new("nobody").unwrap()).unwrap();
    let refused = ledger.erase(&erasure).unwrap_err();
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    assert_eq!(notes(&ledger, "segment.passed_over"), 1);
    ledger.close().unwrap();
    disk.clear_hooks();
    is_whole(&disk, 20);
}

/// It was an append that met the segment, and the thread came to write the note a minute later.
#[test]
fn the_background_notes_what_an_append_passes_over() {
    within_a_minute(|| {
        let disk = ledger(true);
        refuse(&disk, &segments(&disk, "events")[1]);
        let storage = Hooked::new(disk.storage());
        let options = options(&disk).background(true).storage(Arc::new(storage.clone()));
        let ledger = options.open(DIR).unwrap();
        let filled = Arc::new(AtomicBool::new(false));
        let is_filled = Arc::clone(&filled);
        // The thread looks at the clock before it seals.
        storage.set(move |operation, _| {
            let is_thread = std::thread::current().name() == Some("runledger");
            while operation == "monotonic" && is_thread && !is_filled.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        append(&ledger, 40);
        filled.store(true, Ordering::SeqCst);
        let is_noted = (0..20_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            notes(&ledger, "segment.passed_over") == 1
        });
        assert!(is_noted);
        ledger.close().unwrap();
        disk.clear_hooks();
        is_whole(&disk, 48);
    });
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Two small segments were compacted into one, over the one between them that could not be read.
/// By its name the new one stood for all three: at the next look the one between was no longer
/// listed, `verify` found nothing, and after a crash the next opening removed it.
#[test]
fn a_compaction_goes_over_no_segment_that_cannot_be_read() {
    for is_damaged in [false, true] {
        let disk = SimDisk::new(2);
        let ledger = options(&disk).segment_age(HOUR).open(DIR).unwrap();
        for _ in 0..4 {
            ledger.append(Event::new("small")).unwrap();
            disk.advance(HOUR * 2);
            ledger.maintain().unwrap();
        }
        ledger.close().unwrap();
        let path = segments(&disk, "events")[1].clone();
        match is_damaged {
            false => refuse(&disk, &path),
            true => disk.poke(&path, vec![7; disk.peek(&path).len()]),
        }
        let ledger = options(&disk).open(DIR).unwrap();
        let compaction = Compaction::new();
        let report = ledger.compact(&compaction).unwrap();
        assert_eq!(report.rewrites.len(), 2, "{report:?}");
        assert_eq!(ledger.compact(&compaction).unwrap().rewrites, [], "and that is all");
        assert_eq!(ledger.reader().stats().unwrap().losses.unreadable_segments, 1);
        assert_eq!(verify(DIR, disk.storage()).unwrap().findings.len(), 1);
        disk.die(|| drop(ledger));
        let ledger = options(&disk).open(DIR).unwrap();
        disk.die(|| drop(ledger));
        disk.clear_hooks();
        assert!(disk.files().contains(&path));
        match is_damaged {
            false => is_whole(&disk, 4),
            true => assert_eq!(verify(DIR, disk.storage()).unwrap().findings.len(), 1),
        }
    }
}

/// A run that is pending in one segment and ends in the next.
fn run_in_two_segments() -> SimDisk {
    let disk = SimDisk::new(3);
    let ledger = options(&disk).open(DIR).unwrap();
    let run = |status| Run::new("r", "t", status).unwrap();
    for states in [&[Status::Pending][..], &[Status::Running, Status::Success]] {
        for &status in states {
            ledger.append(run(status)).unwrap();
        }
        disk.advance(HOUR * 24);
        ledger.maintain().unwrap();
    }
    ledger.close().unwrap();
    disk
}

/// The state before the one that was to be left out lay in a segment that could not be read, and
/// counted as gone: once it could be read again, the run was pending beside its success.
#[test]
fn no_state_is_left_out_while_the_one_before_it_may_come_back() {
    let disk = run_in_two_segments();
    refuse(&disk, &segments(&disk, "runs")[0]);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.compact(&Compaction::new()).unwrap();
    ledger.close().unwrap();
    disk.clear_hooks();
    let ledger = options(&disk).open(DIR).unwrap();
    assert_eq!(ledger.query().count().unwrap(), 1, "the run is there once");
    assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 1);
    // Now that it can be read, all but the newest are left out.
    ledger.compact(&Compaction::new()).unwrap();
    assert_eq!(ledger.query().history(true).count().unwrap(), 1);
    assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 1);
}

/// What is pinned is told by notes alone. The user of a service could not read those that another
/// one had made, and took it that nothing was pinned: what had been was dropped, for good.
#[test]
fn nothing_is_dropped_while_a_pin_may_lie_in_what_cannot_be_read() {
    let disk = SimDisk::new(4);
    let ledger = options(&disk).open(DIR).unwrap();
    for id in ["held", "other"] {
        ledger.append(Run::new(id, "t", Status::Cancelled).unwrap()).unwrap();
        disk.advance(HOUR * 24);
        ledger.maintain().unwrap();
    }
    ledger.pin("held", "evidence").unwrap();
    ledger.close().unwrap();
    refuse(&disk, &segments(&disk, "audit")[0]);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.maintain().expect("nothing is due");
    disk.advance(HOUR * 24 * 400);
    let names_the_file = |outcome: runledger::Result<()>| match outcome {
        Err(Error::Damaged { path, .. }) => assert!(path.parent().unwrap().ends_with("audit")),
        other => panic!("{other:?}"),
    };
    let cleanup = Cleanup::older_than(HOUR);
    names_the_file(ledger.reader().pins().map(drop));
    names_the_file(ledger.maintain());
    names_the_file(ledger.cleanup(&cleanup, false).map(drop));
    names_the_file(ledger.cleanup(&cleanup.status(Status::Cancelled), false).map(drop));
    ledger.append(Event::new("appends go on")).unwrap();
    ledger.close().unwrap();
    disk.clear_hooks();
    let ledger = options(&disk).open(DIR).unwrap();
    assert_eq!(ledger.query().run("other").count().unwrap(), 1);
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
    assert_eq!(ledger.query().run("held").count().unwrap(), 1);
    assert_eq!(ledger.query().run("other").count().unwrap(), 0);
}

/// Retention dropped the segment with the end of the run, which it carried forward as the last
/// success of its type. That names the state before it and no other, and the first came back.
#[test]
fn no_state_is_dropped_while_the_one_before_it_may_come_back() {
    for by_hand in [false, true] {
        let disk = run_in_two_segments();
        refuse(&disk, &segments(&disk, "runs")[0]);
        let ledger = options(&disk).open(DIR).unwrap();
        disk.advance(HOUR * 24 * 400);
        match by_hand {
            false => ledger.maintain().unwrap(),
            true => drop(ledger.cleanup(&Cleanup::older_than(HOUR), false).unwrap()),
        }
        ledger.close().unwrap();
        disk.clear_hooks();
        let ledger = options(&disk).open(DIR).unwrap();
        assert_eq!(ledger.query().count().unwrap(), 1, "the run is there once, {by_hand}");
        assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 1);
        // Now that it can be read, they go together.
        ledger.cleanup(&Cleanup::retention(), false).unwrap();
        assert_eq!(ledger.query().history(true).count().unwrap(), 1);
        assert_eq!(ledger.query().status(Status::Success).count().unwrap(), 1);
    }
}

/// A reader that could read a segment of runs only after it had seen the next one went through
/// neither: each run of which a state lies there was shown twice, for good.
#[test]
fn a_segment_that_can_be_read_later_is_no_second_state_of_its_runs() {
    for refused in [0, 1] {
        let disk = SimDisk::new(5);
        let ledger = options(&disk).open(DIR).unwrap();
        for status in [Status::Pending, Status::Running, Status::Success] {
            ledger.append(Run::new("r", "t", status).unwrap()).unwrap();
            disk.advance(HOUR * 24);
            ledger.maintain().unwrap();
        }
        refuse(&disk, &segments(&disk, "runs")[refused]);
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        let kept = reader.query();
        assert!(kept.count().unwrap() >= 1);
        disk.clear_hooks();
        reader.refresh().unwrap();
        for query in [reader.query(), kept] {
            assert_eq!(query.count().unwrap(), 1, "without segment {refused} at first");
            assert_eq!(query.status(Status::Success).fetch().unwrap().len(), 1);
        }
        assert_eq!(reader.query().history(true).count().unwrap(), 3);
    }
}
