//! Damage that looked like nothing, or like less than it was: at the end of the frames, in several
//! frames side by side, in what a trailer says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runledger::format::block::{self, BLOCK_MAGIC, BlockPlace, Content, SHORT_BLOCK_MAGIC};
use runledger::format::frame::{FRAME_MAGIC, FrameHeader};
use runledger::format::header::SegmentHeader;
use runledger::format::trailer::{TRAILER_BYTES, Trailer};
use runledger::{
    Compaction, Damage, Durability, Event, Field, Json, Kind, Ledger, Reader, RepairAction, Run,
    Status, repair, verify,
};

use super::{DIR, options, within_a_minute};
use torture::disk::SimDisk;
use torture::rng::Rng;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Appends as many events, each in a frame of its own, and seals their segment.
fn append(disk: &SimDisk, ledger: &Ledger, events: usize) {
    let mut rng = Rng::new(events as u64);
    for _ in 0..events {
        let words: Vec<_> = (0..100).map(|_| rng.below(1_000)).collect();
        let event = Event::new("step").payload(Json::from_value(&words).unwrap());
        ledger.append_with(event, Durability::Os).unwrap();
    }
    disk.advance(DAY * 3 / 2);
    ledger.maintain().unwrap();
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter();
    files.filter(|path| path.parent().is_some_and(|dir| dir.ends_with("events"))).collect()
}

/// Where the frames end in a sealed file.
fn frames_end(bytes: &[u8]) -> usize {
    let trailer = &bytes[bytes.len() - TRAILER_BYTES..];
    u32::from_le_bytes(*trailer[12..].first_chunk().unwrap()) as usize
}

/// Where the last of these begins in the frames.
fn last_of(bytes: &[u8], magics: &[[u8; 4]]) -> usize {
    let frames = &bytes[..frames_end(bytes)];
    frames.windows(4).rposition(|four| magics.iter().any(|magic| four == magic.as_slice())).unwrap()
}

fn change(disk: &SimDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.peek(path);
    change(&mut bytes);
    disk.poke(path, bytes);
}

/// Two segments of events, the first of them packed.
fn with_a_packed_one(events: usize) -> SimDisk {
    let disk = SimDisk::new(5);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&disk, &ledger, events);
    assert_eq!(ledger.compact(&Compaction::new()).unwrap().rewrites.len(), 1);
    append(&disk, &ledger, 5);
    ledger.close().unwrap();
    disk
}

/// Two plain segments of events.
fn of_plain_ones() -> SimDisk {
    let disk = SimDisk::new(5);
    let ledger = options(&disk).open(DIR).unwrap();
    append(&disk, &ledger, 30);
    append(&disk, &ledger, 5);
    ledger.close().unwrap();
    disk
}

/// A block that is damaged reads as zeros, and zeros behind the last whole frame were the end of a
/// segment, also of one whose trailer told where its frames end: a rewrite left the records out as
/// if they had been overtaken, and removed the file in which they were. Of a segment of one block
/// nothing was left.
#[test]
fn a_segment_that_is_damaged_at_its_end_is_not_written_anew() {
    let in_its_last_block = |bytes: &mut Vec<u8>| {
        let at = last_of(bytes, &[BLOCK_MAGIC, SHORT_BLOCK_MAGIC]);
        bytes[at + 40] ^= 1;
    };
    let of_its_last_frames = |bytes: &mut Vec<u8>| {
        let (at, end) = (last_of(bytes, &[FRAME_MAGIC]), frames_end(bytes));
        bytes[at..end].fill(0);
    };
    let damaged = |disk: SimDisk, damage: &dyn Fn(&mut Vec<u8>)| {
        change(&disk, &segments(&disk)[0], damage);
        disk
    };
    for (disk, events) in [
        (damaged(with_a_packed_one(30), &in_its_last_block), 35),
        (damaged(with_a_packed_one(3), &in_its_last_block), 8),
        (damaged(of_plain_ones(), &of_its_last_frames), 35),
    ] {
        let files = segments(&disk);
        let ledger = options(&disk).open(DIR).unwrap();
        let report = ledger.compact(&Compaction::new()).unwrap();
        assert_eq!((report.rewrites.len(), report.damaged.len()), (0, 1), "{report:?}");
        assert_eq!(segments(&disk), files);
        assert_eq!(ledger.query().count().unwrap(), events);
    }
}

/// The same damage to `verify` was that of the footer, and a repair put on record that no record
/// was lost while it lost them.
#[test]
fn frames_that_are_gone_at_the_end_of_a_segment_are_damage_and_not_a_footer() {
    for is_footer_gone in [false, true] {
        let disk = of_plain_ones();
        let first = segments(&disk)[0].clone();
        let mut at = 0;
        change(&disk, &first, |bytes| {
            at = last_of(bytes, &[FRAME_MAGIC]);
            // A lost block may lie across the border. By the trailer all is known.
            let until =
                if is_footer_gone { bytes.len() - TRAILER_BYTES } else { frames_end(bytes) };
            bytes[at..until].fill(0);
        });
        let report = verify(DIR, disk.storage()).unwrap();
        let finding = report.findings.iter().find(|finding| finding.damage != Damage::Footer);
        assert_eq!(finding.map(|finding| finding.offset), Some(at as u64), "{report:?}");
        let report = repair(DIR, disk.storage(), false).unwrap();
        let [RepairAction::Salvaged { records: 29, lost_bytes, .. }] = &*report.actions else {
            panic!("{report:?}");
        };
        assert!(*lost_bytes > 300, "{report:?}");
        assert_eq!(verify(DIR, disk.storage()).unwrap().findings, []);
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        let notes = reader.audit().record_type("segment.missing").count().unwrap();
        assert_eq!(notes, 0, "the note on the repair tells of the old link");
    }
}

/// Of neighbouring frames that were damaged, the first alone was counted, and the number was told
/// as if it were known.
#[test]
fn records_of_damaged_neighbours_are_all_counted_or_none_is() {
    // Of frames in a row, whether the header is damaged, too.
    for (headers, expected) in [
        (&[false][..], Some(1)),
        (&[false, false, false], Some(3)),
        (&[false, true], None),
        (&[true, false], None),
    ] {
        let disk = of_plain_ones();
        let first = segments(&disk)[0].clone();
        change(&disk, &first, |bytes| {
            let frames = frames_of(bytes);
            for (frame, is_of_header) in frames[5..].iter().zip(headers) {
                bytes[frame + 60] ^= 1;
                bytes[frame + 10] ^= u8::from(*is_of_header);
            }
        });
        let report = verify(DIR, disk.storage()).unwrap();
        let [finding] = &*report.findings else { panic!("{headers:?}: {report:?}") };
        assert_eq!(finding.records_lost, expected, "{headers:?}");
    }
}

/// Where frames begin.
fn frames_of(bytes: &[u8]) -> Vec<usize> {
    let four = bytes.windows(4).enumerate();
    four.filter(|(_, four)| *four == FRAME_MAGIC).map(|(at, _)| at).collect()
}

/// What a trailer says of the records was believed, but for how many rows there are: `verify` found
/// nothing where it told of other numbers, times and statuses than the records have.
#[test]
fn a_trailer_that_tells_other_than_the_records_is_damage() {
    let changes: [fn(&mut Trailer); 9] = [
        |it| it.records += 1,
        |it| it.first_seq -= 1,
        |it| it.last_seq += 1,
        |it| it.created_min -= 1,
        |it| it.created_max += 1,
        |it| it.newest_max += 1,
        |it| it.recorded_first -= 1,
        |it| it.recorded_last += 1,
        |it| it.tags.current.swap(0, 9),
    ];
    for (number, told) in changes.into_iter().enumerate() {
        let disk = of_plain_ones();
        let first = segments(&disk)[0].clone();
        change(&disk, &first, |bytes| {
            let salt = SegmentHeader::decode(bytes).unwrap().salt;
            let at = bytes.len() - TRAILER_BYTES;
            let mut trailer = Trailer::decode(&bytes[at..], &salt, at as u64).unwrap();
            told(&mut trailer);
            bytes[at..].copy_from_slice(&trailer.encode(&salt, at as u64));
        });
        let report = verify(DIR, disk.storage()).unwrap();
        let found: Vec<_> = report.findings.iter().map(|finding| finding.damage).collect();
        assert_eq!(found, [Damage::Footer], "{number}");
        let report = repair(DIR, disk.storage(), false).unwrap();
        assert!(matches!(&*report.actions, [RepairAction::Rebuilt { .. }]), "{number}: {report:?}");
        assert_eq!(verify(DIR, disk.storage()).unwrap().findings, [], "{number}");
    }
}

/// A repair took frames whose numbers do not rise for whole: it copied the segment aside and made
/// the same one again, each time.
#[test]
fn a_frame_out_of_order_is_left_out_by_a_repair() {
    let disk = of_plain_ones();
    let first = segments(&disk)[0].clone();
    change(&disk, &first, |bytes| {
        let salt = SegmentHeader::decode(bytes).unwrap().salt;
        let at = frames_of(bytes)[7];
        let mut header = FrameHeader::decode(&bytes[at..], &salt, at as u64).unwrap();
        header.base_seq = 1;
        bytes[at..at + 40].copy_from_slice(&header.encode(&salt, at as u64));
    });
    let report = verify(DIR, disk.storage()).unwrap();
    assert_eq!(report.findings.first().map(|finding| finding.damage), Some(Damage::Sequence));
    let report = repair(DIR, disk.storage(), false).unwrap();
    let [RepairAction::Salvaged { records: 29, lost_records: Some(1), .. }] = &*report.actions
    else {
        panic!("{report:?}");
    };
    assert_eq!(verify(DIR, disk.storage()).unwrap().findings, []);
    assert_eq!(repair(DIR, disk.storage(), false).unwrap().actions, []);
}

/// A reader that had found a hole which a power cut left told of damage for as long as it lived,
/// and took no footer of that segment, after the next writer had covered the hole.
#[test]
fn a_hole_that_was_covered_is_no_damage_to_a_reader_that_had_found_it() {
    let disk = SimDisk::new(5);
    let ledger = options(&disk).open(DIR).unwrap();
    let event = || Event::new("step").message("x".repeat(100));
    ledger.append_with(event(), Durability::Sync).unwrap();
    (0..3).for_each(|_| ledger.append_with(event(), Durability::Os).map(drop).unwrap());
    let disk = disk.kill();
    change(&disk, &segments(&disk)[0], |bytes| {
        let frames = frames_of(bytes);
        bytes[frames[2]..frames[3]].fill(0);
    });
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    assert_eq!(reader.losses().unwrap().damaged_ranges, 1);
    // Nor to `verify`, which said before the next opening that a repair is needed.
    let report = verify(DIR, disk.storage()).unwrap();
    assert!(!report.is_damaged() && report.findings.len() == 1, "{report:?}");
    let synced = disk.fork();
    change(&synced, &segments(&disk)[0], |bytes| bytes[300] ^= 1);
    let findings = verify(DIR, synced.storage()).unwrap().findings;
    assert_eq!(findings.iter().map(|it| it.is_damage).collect::<Vec<_>>(), [true, false]);
    let ledger = options(&disk).open(DIR).unwrap();
    ledger.append_with(event(), Durability::Os).unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.losses().unwrap().damaged_ranges, 0);
    assert_eq!(reader.query().count().unwrap(), 4);
}

/// A ledger whose first segments hold so many runs and events, and the second ones one of each.
fn of_runs_and_events(first: usize) -> SimDisk {
    let disk = SimDisk::new(6);
    let ledger = options(&disk).open(DIR).unwrap();
    for (number, count) in [first, 1].into_iter().enumerate() {
        for at in 0..count {
            let run = Run::new(format!("r-{number}-{at}"), "t", Status::Success).unwrap();
            ledger.append(run).unwrap();
            ledger.append(Event::new("t")).unwrap();
        }
        disk.advance(DAY * 3 / 2);
        ledger.maintain().unwrap();
    }
    ledger.close().unwrap();
    disk
}

/// A segment of another ledger, or of another time of this one, in the place of one with fewer
/// records: it holds numbers beyond those behind it. A query took it for one that was written and
/// sealed meanwhile, and began anew without end; without its footer most of it was not shown.
#[test]
fn a_segment_that_goes_beyond_the_next_one_ends_no_query_and_hides_nothing() {
    type Change = fn(&mut Vec<u8>);
    let as_it_is: Change = |_| {};
    let without_footer: Change = |bytes| bytes.truncate(frames_end(bytes));
    for change in [as_it_is, without_footer] {
        let (disk, other) = (of_runs_and_events(3), of_runs_and_events(50));
        for stream in ["runs", "events"] {
            let is_its = |path: &&PathBuf| path.parent().is_some_and(|dir| dir.ends_with(stream));
            let path = disk.files().iter().find(is_its).unwrap().clone();
            let mut bytes = other.peek(&path);
            change(&mut bytes);
            disk.poke(&path, bytes);
        }
        within_a_minute(move || {
            let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
            for kind in [Kind::Run, Kind::Event] {
                let query = reader.query().kind(kind);
                assert_eq!(query.count().unwrap(), 51, "{kind}");
                assert_eq!(query.fetch().unwrap().len(), 51, "{kind}");
            }
        });
    }
}

/// The same without end with a trailer that tells of the highest number that there can be.
#[test]
fn a_trailer_with_the_highest_number_ends_no_query() {
    let disk = of_runs_and_events(3);
    let is_of_runs = |path: &&PathBuf| path.parent().is_some_and(|dir| dir.ends_with("runs"));
    let path = disk.files().iter().rfind(is_of_runs).unwrap().clone();
    change(&disk, &path, |bytes| {
        let salt = SegmentHeader::decode(bytes).unwrap().salt;
        let at = bytes.len() - TRAILER_BYTES;
        let mut trailer = Trailer::decode(&bytes[at..], &salt, at as u64).unwrap();
        trailer.last_seq = u64::MAX;
        bytes[at..].copy_from_slice(&trailer.encode(&salt, at as u64));
    });
    within_a_minute(move || {
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        assert_eq!(reader.query().kind(Kind::Run).count().unwrap(), 4);
    });
}

/// With a text, `count` and `count_by` failed for one damaged record that `fetch` passes.
#[test]
fn a_damaged_record_is_counted_where_it_is_found() {
    let disk = SimDisk::new(7);
    let ledger = options(&disk).open(DIR).unwrap();
    for (number, name) in ["one", "two", "one", "one"].into_iter().enumerate() {
        let message = if number == 3 { "hay" } else { "needle" };
        ledger.append_with(Event::new(name).message(message), Durability::Os).unwrap();
    }
    disk.advance(DAY * 3 / 2);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    change(&disk, &segments(&disk)[0], |bytes| {
        let at = bytes.windows(6).rposition(|six| six == b"needle").unwrap();
        bytes[at] ^= 1;
    });
    let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
    let query = reader.query().text("needle");
    assert!(query.fetch().is_err() && query.count().is_err());
    let query = query.or_damaged();
    assert_eq!(query.fetch().unwrap().len(), 3);
    assert_eq!(query.count().unwrap(), 3);
    let counts = query.count_by(Field::Type).unwrap();
    assert_eq!(counts, [("one".to_owned(), 2), ("two".to_owned(), 1)]);
}

/// Blocks of nothing but zeros were unpacked once for each piece of them that was looked at: some
/// minutes for a file of a few kilobytes.
#[test]
fn large_blocks_are_unpacked_once_to_be_read_in_pieces() {
    let disk = with_a_packed_one(30);
    let path = segments(&disk)[0].clone();
    let header = SegmentHeader::decode(&disk.peek(&path)).unwrap();
    let mut bytes = [header.encode().unwrap(); 2].concat();
    let (zeros, mut start) = (vec![0; 64 << 20], u32::try_from(bytes.len()).unwrap());
    let mut zstd = zstd::bulk::Compressor::new(1).unwrap();
    for _ in 0..8 {
        let (salt, offset) = (&header.salt, bytes.len() as u64);
        let place = BlockPlace { start, ids: 0, salt, offset };
        block::pack(&mut zstd, &Content::new(&zeros, &[]), place, &mut bytes).unwrap();
        start += 64 << 20;
    }
    disk.poke(&path, bytes);
    within_a_minute(move || {
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        assert_eq!(reader.query().kind(Kind::Event).count().unwrap(), 5);
    });
}
