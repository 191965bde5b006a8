//! What a checkpoint proves: each attack on real bytes, by one who has the code and makes every
//! checksum anew, is found; what the ledger does to itself is not taken for one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runledger::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use runledger::format::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use runledger::format::identity::Identity;
use runledger::format::seqfile::{SEQ_FILE_BYTES, SeqState};
use runledger::format::trailer::{TRAILER_BYTES, Trailer};
use runledger::storage::Disk;
use runledger::{
    Checkpoint, Cleanup, Compaction, Durability, Erasure, Event, Field, Id, Kind, Ledger, Options,
    ProofReport, Reader, Tampering, Timestamp, repair, verify, verify_against,
};
use torture::disk::{Fault, OpKind, SimDisk};

const FRAMES_AT: usize = 2 * SEGMENT_HEADER_BYTES as usize;

/// A ledger with sealed segments of events and an open one, and a checkpoint of it.
struct Bench {
    folder: tempfile::TempDir,
    checkpoint: Checkpoint,
}

fn options() -> Options {
    Options::new().segment_bytes(64 << 10).background(false)
}

fn fill(ledger: &Ledger, events: u64) {
    for number in 0..events {
        let event = Event::new("t").message(format!("paid {number} {}", "x".repeat(3_000)));
        ledger.append_with(event, Durability::Os).unwrap();
    }
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = options().open(folder.path().join("ledger")).unwrap();
        fill(&ledger, 100);
        let checkpoint = ledger.checkpoint().unwrap();
        ledger.close().unwrap();
        Self { folder, checkpoint }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    fn open(&self) -> Ledger {
        options().open(self.dir()).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir().join("streams/events")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    fn against(&self) -> ProofReport {
        // As it is stored.
        let text = self.checkpoint.to_string();
        let checkpoint = text.parse().unwrap();
        assert_eq!(checkpoint, self.checkpoint);
        verify_against(self.dir(), Arc::new(Disk), &checkpoint).unwrap()
    }

    /// What is found, when the ledger by itself shows nothing.
    fn found(&self) -> Vec<Tampering> {
        assert_eq!(verify(self.dir(), Arc::new(Disk)).unwrap().findings, [], "by itself");
        let report = self.against();
        assert!(!report.holds());
        report.findings.into_iter().map(|finding| finding.tampering).collect()
    }

    /// Has the file that tells where the streams end tell nothing, as after a kill.
    fn forge_ends(&self) {
        let ledger = Identity::decode(&fs::read(self.dir().join("LEDGER")).unwrap()).unwrap().uuid;
        let mut bytes = vec![0; usize::try_from(SEQ_FILE_BYTES).unwrap()];
        for generation in [1, 2] {
            let state = SeqState { generation, bound: 1 << 32, clean: false, heads: Vec::new() };
            let at = usize::try_from(state.offset()).unwrap();
            let slot = state.encode(&ledger);
            bytes[at..at + slot.len()].copy_from_slice(&slot);
        }
        fs::write(self.dir().join("SEQ"), bytes).unwrap();
    }

    fn holds(&self) -> usize {
        let report = self.against();
        assert!(report.holds(), "{report:?}");
        report.on_record.len()
    }
}

/// Changes the payload of the first frame, and makes the frame's checksums and the trailer anew.
/// `previous` replaces the link before the segment. Gives the new link, when it is sealed.
fn forge(path: &Path, previous: Option<[u8; 32]>, change: bool) -> Option<[u8; 32]> {
    let mut bytes = fs::read(path).unwrap();
    let salt = SegmentHeader::decode(&bytes).unwrap().salt;
    if change {
        let header = FrameHeader::decode(&bytes[FRAMES_AT..], &salt, FRAMES_AT as u64).unwrap();
        let start = FRAMES_AT + FRAME_HEADER_BYTES;
        let payload = &mut bytes[start..start + header.payload_len as usize];
        let at = payload.windows(5).position(|window| window == b"paid ").unwrap();
        payload[at..at + 5].copy_from_slice(b"owed ");
        let header = FrameHeader { payload_crc: payload_crc(payload), ..header };
        bytes[FRAMES_AT..start].copy_from_slice(&header.encode(&salt, FRAMES_AT as u64));
    }
    let at = bytes.len() - TRAILER_BYTES;
    let trailer = Trailer::decode(&bytes[at..], &salt, at as u64).ok().map(|mut trailer| {
        trailer.hash = *blake3::hash(&bytes[..trailer.frames_end as usize]).as_bytes();
        trailer.previous = previous.unwrap_or(trailer.previous);
        bytes[at..].copy_from_slice(&trailer.encode(&salt, at as u64));
        trailer.link()
    });
    fs::write(path, bytes).unwrap();
    trailer
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_ledger_that_goes_on_holds() {
    let bench = Bench::new();
    let stream = &bench.checkpoint.streams[0];
    assert!(stream.sealed.as_ref().unwrap().segments >= 3, "{stream:?}");
    assert_eq!(stream.open.len(), 1);
    assert!(bench.checkpoint.to_string().len() < 1000, "small");
    assert_eq!(bench.holds(), 0);
    fill(&bench.open(), 100);
    assert_eq!(bench.holds(), 0, "the open segment was sealed, and others came");
    let killed = Bench::new();
    std::mem::forget(killed.open());
    assert_eq!(killed.holds(), 0);

    // A reader beside the writer vouches for what it can tell to be synced.
    let ledger = bench.open();
    fill(&ledger, 5);
    ledger.sync().unwrap();
    fill(&ledger, 1);
    let beside = Reader::open(bench.dir()).unwrap().checkpoint().unwrap();
    assert!(verify_against(bench.dir(), Arc::new(Disk), &beside).unwrap().holds());
    let open = |checkpoint: &Checkpoint| checkpoint.streams[0].open[0].end;
    assert!(open(&beside) < open(&ledger.checkpoint().unwrap()));
}

#[test]
fn a_changed_record_is_found_whoever_makes_the_checksums_anew() {
    // The frame's checksums, the trailer, and the trailers of all that follow.
    let bench = Bench::new();
    let segments = bench.segments();
    let mut previous = None;
    for (number, path) in segments.iter().enumerate() {
        previous = forge(path, previous, number == 0);
    }
    assert_eq!(bench.found(), [Tampering::Changed]);
    // With the trailer of the one segment alone, the chain is broken already.
    let bench = Bench::new();
    forge(&bench.segments()[0], None, true);
    assert!(verify(bench.dir(), Arc::new(Disk)).unwrap().is_damaged());
    assert!(!bench.against().holds());
    // In the segment that is still written there is no trailer to give it away.
    let bench = Bench::new();
    assert_eq!(forge(bench.segments().last().unwrap(), None, true), None);
    assert_eq!(bench.found(), [Tampering::Changed]);
}

#[test]
fn reordered_records_are_found() {
    let bench = Bench::new();
    let path = bench.segments().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let salt = SegmentHeader::decode(&bytes).unwrap().salt;
    let first = FrameHeader::decode(&bytes[FRAMES_AT..], &salt, FRAMES_AT as u64).unwrap();
    let len = FRAME_HEADER_BYTES + first.payload_len as usize;
    let second_at = FRAMES_AT + len;
    let second = FrameHeader::decode(&bytes[second_at..], &salt, second_at as u64).unwrap();
    assert_eq!(first.payload_len, second.payload_len);
    // Each payload under the other's number and time.
    let (left, right) = bytes.split_at_mut(second_at);
    left[FRAMES_AT + FRAME_HEADER_BYTES..].swap_with_slice(&mut right[FRAME_HEADER_BYTES..len]);
    for (at, header, of) in [(FRAMES_AT, first, second), (second_at, second, first)] {
        let header = FrameHeader { payload_crc: of.payload_crc, ..header };
        let head = header.encode(&salt, at as u64);
        bytes[at..at + FRAME_HEADER_BYTES].copy_from_slice(&head);
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(bench.found(), [Tampering::Changed]);
}

#[test]
fn what_is_cut_or_removed_is_found() {
    // The open segment, at the end of a frame, and the file that told of its end.
    let bench = Bench::new();
    let path = bench.segments().pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let salt = SegmentHeader::decode(&bytes).unwrap().salt;
    let first = FrameHeader::decode(&bytes[FRAMES_AT..], &salt, FRAMES_AT as u64).unwrap();
    let end = FRAMES_AT + FRAME_HEADER_BYTES + first.payload_len as usize;
    fs::write(&path, &bytes[..end]).unwrap();
    bench.forge_ends();
    let was = bench.checkpoint.streams[0].open[0].end.into();
    assert_eq!(bench.found(), [Tampering::Shortened { end: end as u64, was }]);

    // All of it.
    fs::remove_file(&path).unwrap();
    assert_eq!(bench.found(), [Tampering::Removed]);
    // And the last sealed one.
    fs::remove_file(bench.segments().pop().unwrap()).unwrap();
    assert_eq!(bench.found(), [Tampering::Removed, Tampering::Removed]);

    // One in the midst, with the next one's trailer and those after it made to follow.
    let bench = Bench::new();
    let segments = bench.segments();
    let mut previous = forge(&segments[0], None, false);
    fs::remove_file(&segments[1]).unwrap();
    for path in &segments[2..] {
        previous = forge(path, previous, false);
    }
    assert_eq!(bench.found(), [Tampering::Changed]);
}

/// After a crash an opening notes what it finds missing, for a copy that was made while segments
/// were dropped looks like that: the note is the ledger's own, and no excuse.
#[test]
fn what_an_opening_has_found_missing_is_told() {
    let bench = Bench::new();
    let segments = bench.segments();
    fs::remove_file(&segments[1]).unwrap();
    fs::remove_file(bench.dir().join("SEQ")).unwrap();
    bench.open().close().unwrap();
    assert_eq!(bench.found(), [Tampering::FoundMissing]);
}

#[test]
fn an_older_copy_and_another_ledger_are_found() {
    let bench = Bench::new();
    let copied = bench.folder.path().join("copy");
    copy(&bench.dir(), &copied);
    let ledger = bench.open();
    fill(&ledger, 30);
    let later = Bench { checkpoint: ledger.checkpoint().unwrap(), ..bench };
    ledger.close().unwrap();
    assert_eq!(later.holds(), 0);
    fs::remove_dir_all(later.dir()).unwrap();
    copy(&copied, &later.dir());
    assert_eq!(later.found(), [Tampering::Removed, Tampering::Removed], "rolled back");

    // Made again, record by record, with the clock that it had.
    fs::remove_dir_all(later.dir()).unwrap();
    fill(&later.open(), 130);
    let [Tampering::AnotherLedger { found }] = &later.found()[..] else { panic!("another") };
    assert_ne!(*found, later.checkpoint.ledger);
    // And under the name that it had: the salts are others.
    fs::copy(copied.join("LEDGER"), later.dir().join("LEDGER")).unwrap();
    later.forge_ends();
    let found = later.found();
    assert!(!found.is_empty() && !found.contains(&Tampering::Removed), "{found:?}");
}

/// Without it nothing was compared, and nothing told.
#[test]
fn a_ledger_whose_identity_is_gone_does_not_hold() {
    let bench = Bench::new();
    fs::remove_file(bench.dir().join("LEDGER")).unwrap();
    let report = bench.against();
    assert!(!report.holds() && report.verified.segments > 3, "{report:?}");
}

/// What the ledger does to itself is told by its notes, and by nothing else.
#[test]
fn retention_and_repair_are_accepted_as_they_are_on_record() {
    let bench = Bench::new();
    std::thread::sleep(Duration::from_millis(5));
    let ledger = bench.open();
    let report = ledger.cleanup(&Cleanup::older_than(Duration::from_millis(1)), false).unwrap();
    let dropped = report.dropped().count();
    assert!(dropped > 3);
    fill(&ledger, 30);
    ledger.close().unwrap();
    assert_eq!(bench.holds(), dropped, "each is told");

    for which in [1, usize::MAX] {
        let bench = Bench::new();
        let segments = bench.segments();
        let path = &segments[which.min(segments.len() - 1)];
        let mut bytes = fs::read(path).unwrap();
        bytes[FRAMES_AT + 100] ^= 1;
        fs::write(path, bytes).unwrap();
        assert!(!bench.against().holds(), "damaged");
        repair(bench.dir(), Arc::new(Disk), false).unwrap();
        assert_eq!(bench.holds(), 1, "{which}");
        let message = &bench.against().on_record[0].message;
        assert!(message.contains("salvaged"), "{message}");
        // The notes of before are no excuse for what comes after another checkpoint.
        let again = bench.open().checkpoint().unwrap();
        let bench = Bench { checkpoint: again, ..bench };
        assert_eq!(bench.holds(), 0);
        if which > 1 {
            forge(bench.segments().last().unwrap(), None, true);
            assert_eq!(bench.found(), [Tampering::Changed]);
        }
    }
}

/// One flipped bit in the footer of a compacted segment kept every checkpoint from being taken.
#[test]
fn a_checkpoint_is_taken_beside_a_compacted_segment_with_a_damaged_footer() {
    let bench = Bench::new();
    bench.open().compact(&Compaction::new()).unwrap();
    let sealed = bench.segments().len() - 1;
    for damaged in [0, sealed - 1] {
        let path = &bench.segments()[damaged];
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() - TRAILER_BYTES - 20] ^= 1;
        fs::write(path, bytes).unwrap();
        let checkpoint = Reader::open(bench.dir()).unwrap().checkpoint().unwrap();
        let verified = || verify_against(bench.dir(), Arc::new(Disk), &checkpoint).unwrap();
        let [finding] = &verified().verified.findings[..] else { panic!("{:?}", verified()) };
        assert_eq!(finding.offset + finding.bytes, whole.len() as u64, "its place in the file");
        assert!(finding.bytes > TRAILER_BYTES as u64);
        fs::write(path, &whole).unwrap();
        assert!(verified().holds());
    }
}

/// A compaction that failed after its note was believed when it came after the checkpoint: the
/// newest sealed segment could be removed, as if another had taken its place.
#[test]
fn a_compaction_that_came_to_nothing_is_no_excuse() {
    let disk = SimDisk::new(1);
    let options = || options().reserve_bytes(0).storage(disk.storage());
    let ledger = options().open("/ledger").unwrap();
    fill(&ledger, 50);
    let checkpoint = ledger.checkpoint().unwrap();
    let head = checkpoint.streams[0].sealed.clone().unwrap();
    let newest = Path::new("/ledger/streams").join(head.segment);
    let its = newest.with_extension("");
    let name = its.file_name().unwrap().to_str().unwrap().to_owned();
    disk.set_faults(move |op| {
        let is_its = op.path.to_str().unwrap().contains(&name);
        (op.kind == OpKind::Rename && is_its).then_some(Fault::Io)
    });
    ledger.compact(&Compaction::new()).unwrap_err();
    disk.clear_hooks();
    ledger.close().unwrap();
    let against = || verify_against("/ledger", disk.storage(), &checkpoint).unwrap();
    assert!(against().holds());
    disk.storage().remove(&newest).unwrap();
    assert_eq!(verify("/ledger", disk.storage()).unwrap().findings, [], "by itself");
    let findings = against().findings;
    assert_eq!(findings.iter().map(|it| &it.tampering).collect::<Vec<_>>(), [&Tampering::Removed]);
}

/// A segment that the operating system does not let be read was said to be removed.
#[test]
fn what_cannot_be_read_is_not_called_removed() {
    let disk = SimDisk::new(1);
    let ledger = options().reserve_bytes(0).storage(disk.storage()).open("/ledger").unwrap();
    fill(&ledger, 50);
    let checkpoint = ledger.checkpoint().unwrap();
    ledger.close().unwrap();
    let head = &checkpoint.streams[0];
    for segment in [&head.sealed.as_ref().unwrap().segment, &head.open[0].segment] {
        let path = Path::new("/ledger/streams").join(segment);
        disk.set_faults(move |op| {
            (op.path == path && op.kind == OpKind::Open).then_some(Fault::Io)
        });
        let report = verify_against("/ledger", disk.storage(), &checkpoint).unwrap();
        assert!(!report.holds() && report.findings.is_empty(), "{report:?}");
        disk.clear_hooks();
        assert!(verify_against("/ledger", disk.storage(), &checkpoint).unwrap().holds());
    }
}

/// With its trailer damaged, too, nobody can tell the link of the newest sealed segment: what a
/// repair saved of it was taken for a forgery, and what it set aside for removed.
#[test]
fn a_repair_that_cannot_tell_the_link_is_accepted_by_the_name() {
    let damage = [&[FRAMES_AT + 100, usize::MAX][..], &[20, 150]];
    for (flips, seals) in damage.into_iter().flat_map(|flips| [(flips, false), (flips, true)]) {
        let bench = Bench::new();
        let sealed = bench.checkpoint.streams[0].sealed.clone().unwrap();
        let path = bench.dir().join("streams").join(sealed.segment);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        flips.iter().for_each(|&at| bytes[at.min(last)] ^= 1);
        fs::write(path, bytes).unwrap();
        assert!(!bench.against().holds(), "damaged");
        if seals {
            // The next one names the one before it.
            fill(&bench.open(), 60);
        }
        repair(bench.dir(), Arc::new(Disk), false).unwrap();
        assert_eq!(bench.holds(), 1, "{flips:?}, {seals}");
    }
}

/// The note on a segment that was written anew explained whatever was there: a compacted segment
/// could be removed, or any that followed it or one that was repaired, and no checkpoint that was
/// taken later missed it.
#[test]
fn what_is_removed_beside_a_segment_that_was_written_anew_is_found() {
    let bench = Bench::new();
    let path = &bench.segments()[1];
    let mut bytes = fs::read(path).unwrap();
    bytes[FRAMES_AT + 100] ^= 1;
    fs::write(path, bytes).unwrap();
    repair(bench.dir(), Arc::new(Disk), false).unwrap();
    let removed_from = |bench: Bench| {
        let ledger = bench.open();
        fill(&ledger, 60);
        let bench = Bench { checkpoint: ledger.checkpoint().unwrap(), ..bench };
        ledger.close().unwrap();
        assert_eq!(bench.holds(), 0);
        let sealed = bench.checkpoint.streams.iter().find(|it| it.stream == "events").unwrap();
        let newest = sealed.sealed.as_ref().unwrap().segment.clone();
        for path in bench.segments() {
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            assert!(!bench.against().holds(), "{}", path.display());
            if !newest.ends_with(path.file_name().unwrap().to_str().unwrap()) {
                let report = verify(bench.dir(), Arc::new(Disk)).unwrap();
                assert!(report.is_damaged(), "{}", path.display());
            }
            fs::write(&path, bytes).unwrap();
        }
        assert_eq!(bench.holds(), 0);
        bench
    };
    let bench = removed_from(bench);
    let report = bench.open().compact(&Compaction::new()).unwrap();
    assert!(report.rewrites.len() > 3, "{report:?}");
    removed_from(bench);
}

/// The note on a segment that went from between others explained whatever was before the next one:
/// the one before it could be removed, and nothing missed that. Where its footer had been repaired
/// before, and its link was the old one, the note on what is missing told that link once more.
#[test]
fn what_is_removed_before_a_segment_that_went_is_found() {
    const DIR: &str = "/ledger";
    const DAY: Duration = Duration::from_secs(86_400);
    let of_events = |disk: &SimDisk| {
        let mut segments = disk.files();
        segments.retain(|path| path.parent().unwrap().ends_with("events"));
        segments
    };
    for (erases, repairs) in [(false, false), (true, false), (false, true)] {
        let disk = SimDisk::new(2);
        let open = |disk: &SimDisk| options().reserve_bytes(0).storage(disk.storage()).open(DIR);
        let mut ledger = open(&disk).unwrap();
        for number in 0..5 {
            let user = Id::new(format!("u{number}")).unwrap();
            let at = disk.storage().now() * i64::from(number != 2);
            let event = Event::new("t").user_id(user).created_at(Timestamp::from_nanos(at));
            ledger.append(event).unwrap();
            disk.advance(DAY * 2);
            ledger.maintain().unwrap();
        }
        if repairs {
            ledger.close().unwrap();
            let mut bytes = disk.peek(&of_events(&disk)[2]);
            *bytes.iter_mut().nth_back(TRAILER_BYTES + 1).unwrap() ^= 1;
            disk.poke(&of_events(&disk)[2], bytes);
            assert_eq!(repair(DIR, disk.storage(), false).unwrap().actions.len(), 1);
            ledger = open(&disk).unwrap();
        }
        let went = match erases {
            true => {
                let erasure = Erasure::of(Field::User, Id::new("u2").unwrap()).unwrap();
                ledger.erase(&erasure).unwrap().rewrites.len()
            }
            false => {
                ledger.cleanup(&Cleanup::older_than(DAY * 99), false).unwrap().dropped().count()
            }
        };
        let segments = of_events(&disk);
        assert_eq!((went, segments.len()), (1, 4));
        let checkpoint = ledger.checkpoint().unwrap();
        let killed = disk.fork().kill();
        ledger.close().unwrap();
        let against = |disk: &SimDisk| verify_against(DIR, disk.storage(), &checkpoint).unwrap();
        assert!(against(&disk).holds() && against(&killed).holds());
        for path in &segments[..3] {
            let (disk, killed) = (disk.fork(), killed.fork());
            disk.storage().remove(path).unwrap();
            assert!(verify(DIR, disk.storage()).unwrap().is_damaged(), "{}", path.display());
            assert!(!against(&disk).holds());
            // After a crash an opening puts it on record, which is no excuse.
            killed.storage().remove(path).unwrap();
            open(&killed).unwrap().close().unwrap();
            assert_eq!(verify(DIR, killed.storage()).unwrap().findings, []);
            let [finding] = &against(&killed).findings[..] else { panic!("{}", path.display()) };
            assert_eq!(finding.tampering, Tampering::FoundMissing);
        }
    }
}

#[test]
fn what_is_no_checkpoint_is_refused_by_name() {
    let text = Bench::new().checkpoint.to_string();
    for broken in [
        String::new(),
        "{}".to_owned(),
        text.replace("\"runledger_checkpoint\":1", "\"runledger_checkpoint\":2"),
        text.replace("next_seq", "next"),
        text[..text.len() / 2].to_owned(),
    ] {
        let said = broken.parse::<Checkpoint>().unwrap_err().to_string();
        assert!(said.contains("checkpoint") || said.contains("JSON"), "{said}");
    }
    let empty = tempfile::tempdir().unwrap();
    let ledger = options().open(empty.path().join("ledger")).unwrap();
    let checkpoint = ledger.checkpoint().unwrap();
    assert_eq!((checkpoint.next_seq, checkpoint.streams.len()), (1, 0));
    ledger.append_with(Event::new("e"), Durability::Sync).unwrap();
    assert_eq!(ledger.query().kind(Kind::Event).count().unwrap(), 1);
    assert!(verify_against(ledger.dir(), Arc::new(Disk), &checkpoint).unwrap().holds());
}
