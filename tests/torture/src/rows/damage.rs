//! Damage: every bit, the body, and what is no damage but a torn tail (rows 4 and 5 of the
//! reliability scorecard).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use runledger::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use runledger::{Damage, Durability, Error, Order, Record, Result, repair, verify};

use crate::check::{check, reader};
use crate::disk::SimDisk;
use crate::ground::{Ground, Size};
use crate::oracle::{Crash, Fate, Oracle, SharedOracle};
use crate::rng::Rng;
use crate::segments::{
    FRAMES_START, STREAMS, Segment, all_kinds, append_any, events, segments, with_file,
};
use crate::workload::{DIR, Writer};

/// What a reader gets of a damaged ledger: the records that are whole. Every other is an error that
/// says so.
pub(crate) fn readable(disk: &SimDisk, label: &str) -> Vec<Record<'static>> {
    let reader = reader(disk).unwrap_or_else(|err| panic!("{label}: {err}"));
    let page = reader.query().history(true).order(Order::Seq).limit(usize::MAX / 2).fetch();
    let page = page.unwrap_or_else(|err| panic!("{label}: {err}"));
    let whole = page.records().filter_map(|record| match record {
        Ok(record) => Some(record.into_owned()),
        Err(Error::Damaged { .. }) => None,
        Err(other) => panic!("{label}: damage is told as {other}"),
    });
    whole.collect()
}

/// The same oracle, to which nothing is owed but that nothing is made up.
fn lenient(oracle: &Oracle) -> Oracle {
    let mut oracle = oracle.clone();
    oracle.batches.iter_mut().for_each(|batch| batch.fate = Fate::Open);
    oracle
}

/// How many bits a case flips, one after the other.
const BITS_A_CASE: usize = 256;

/// Flips single bits of a segment: every one at full size, and else those of its header and its
/// trailer and some of the others.
fn flip_bits(ground: &Ground, disk: &SimDisk, oracle: &Oracle, segment: &Segment) {
    let bits = segment.bytes.len() * 8;
    let mut rng = ground.rng();
    let chosen: BTreeSet<usize> = match ground.size {
        Size::Full => (0..bits).collect(),
        Size::Fast => {
            let edges = (0..FRAMES_START * 8).step_by(5).chain(bits - 200 * 8..bits);
            edges.chain((0..1000).map(|_| rng.below(bits))).collect()
        }
    };
    let chosen: Vec<usize> = chosen.into_iter().collect();
    let cases: Vec<&[usize]> = chosen.chunks(BITS_A_CASE).collect();
    let lenient = lenient(oracle);
    ground.numbered_cases(cases.len() as u64, |number, _| {
        let bits = cases[usize::try_from(number).unwrap()];
        bits.iter().for_each(|&bit| flip(disk, &lenient, segment, bit));
        Ok(bits.len() as u64)
    });
}

fn flip(disk: &SimDisk, lenient: &Oracle, segment: &Segment, bit: usize) {
    let mut bytes = segment.bytes.clone();
    bytes[bit / 8] ^= 1 << (bit % 8);
    let image = with_file(disk, &segment.path, bytes);
    let label = format!("bit {} of byte {} of {:?}", bit % 8, bit / 8, segment.path);
    let report = verify(DIR, image.storage()).unwrap();
    let found = report.findings.iter().any(|f| f.is_damage && f.path == segment.path);
    assert!(found, "{label}: not found, but {:?}", report.findings);
    let records = readable(&image, &label);
    if let Err(what) = lenient.judge(&records, Crash::Kill) {
        panic!("{label}: {what}");
    }
    // One bit is in one frame at the most, and a frame is one record here.
    let lost = lenient.batches.len() - records.len();
    let in_frames = (FRAMES_START..segment.end()).contains(&(bit / 8));
    assert!(lost <= usize::from(in_frames), "{label}: {lost} records lost");
}

/// Every flipped bit is found, and no altered record is given.
pub(crate) fn flipped_bits(ground: &Ground) -> Result<()> {
    let (disk, oracle, writer) = events(ground.seed)?;
    while segments(&disk, "events").last().unwrap().end() < 60_000 {
        writer.append_event(2000, Durability::Sync)?;
    }
    writer.close()?;
    let segments = segments(&disk, "events");
    let [sealed, open] = segments.as_slice() else { panic!("two segments") };
    assert!(sealed.footer.is_some() && open.footer.is_none());
    let lens = [sealed.bytes.len(), open.bytes.len()];
    assert!(lens.iter().all(|len| (55_000..=75_000).contains(len)), "{lens:?}");
    ground.note(format!("a sealed segment of {} bytes, an open one of {}", lens[0], lens[1]));
    let oracle = oracle.lock().clone();
    flip_bits(ground, &disk, &oracle, sealed);
    flip_bits(ground, &disk, &oracle, open);
    Ok(())
}

/// A record that was changed and given new checksums is not what was sealed: the hash tells.
pub(crate) fn with_new_checksums(ground: &Ground) -> Result<()> {
    let (disk, _, writer) = events(ground.seed)?;
    writer.close()?;
    let sealed = segments(&disk, "events").swap_remove(0);
    for frame in &sealed.frames {
        let mut bytes = sealed.bytes.clone();
        // The filler of an event is hexadecimal digits, and takes more than half of it.
        let digit = &mut bytes[frame.start + (frame.end - frame.start) * 3 / 4];
        assert!(digit.is_ascii_hexdigit());
        *digit = if *digit == b'0' { b'1' } else { b'0' };
        let payload = frame.start + FRAME_HEADER_BYTES;
        let payload_crc = payload_crc(&bytes[payload..frame.end]);
        let header = FrameHeader { payload_crc, ..frame.header };
        let header = header.encode(&sealed.salt, frame.start as u64);
        bytes[frame.start..payload].copy_from_slice(&header);
        let report = verify(DIR, with_file(&disk, &sealed.path, bytes).storage())?;
        let told = |f: &runledger::Finding| f.damage == Damage::Hash && f.path == sealed.path;
        assert!(report.findings.iter().any(told), "{}: {:?}", frame.start, report.findings);
        ground.tried(1);
    }
    Ok(())
}

/// A flipped bit in the two files that are no segments costs no record and gives no number twice.
///
/// One in `LEDGER` is told by `verify` and by an opening, and a repair makes the file anew. One in
/// `SEQ` is what a crash may leave, unless no other slot was written yet: what it says is kept
/// twice, and made up for by skipping.
pub(crate) fn flipped_bits_of_the_others(ground: &Ground) -> Result<()> {
    for is_closed in [true, false] {
        let (disk, oracle, writer) = events(ground.seed)?;
        if is_closed {
            writer.close()?;
        }
        let found = disk.kill();
        drop(writer);
        let (oracle, told) = (oracle.lock().clone(), AtomicU64::new(0));
        for (file, stride) in [("LEDGER", 1), ("SEQ", ground.of(101, 1))] {
            let path = Path::new(DIR).join(file);
            let bits = found.peek(&path).len() as u64 * 8;
            ground.numbered_cases(bits.div_ceil(stride * 64), |case, _| {
                let chunk = (case * 64..(case + 1) * 64).map(|bit| bit * stride);
                let chosen = chunk.filter(|&bit| bit < bits);
                let mut tried = 0;
                for bit in chosen {
                    let bit = usize::try_from(bit).unwrap();
                    let was_told = flip_other(&found, &oracle, &path, bit);
                    told.fetch_add(u64::from(was_told), Ordering::Relaxed);
                    tried += 1;
                }
                Ok(tried)
            });
            let told = told.swap(0, Ordering::Relaxed);
            let way = if is_closed { "closed" } else { "killed" };
            ground.note(format!("{file} of a {way} ledger: {told} of {bits} bits were told of"));
        }
    }
    Ok(())
}

/// Flips one bit of a file that is no segment. Whether `verify` told of it.
fn flip_other(found: &SimDisk, oracle: &Oracle, path: &Path, bit: usize) -> bool {
    let label = format!("bit {} of byte {} of {path:?}", bit % 8, bit / 8);
    let mut bytes = found.peek(path);
    bytes[bit / 8] ^= 1 << (bit % 8);
    let image = with_file(found, path, bytes);
    let was_told = verify(DIR, image.storage()).is_ok_and(|report| report.is_damaged());
    let opens = Writer::open(&image.fork(), &SharedOracle::default(), 1).is_ok();
    assert!(opens || was_told, "{label}: the ledger does not open, and verify says nothing");
    if was_told {
        let repaired = repair(DIR, image.storage(), false);
        repaired.unwrap_or_else(|err| panic!("{label}: repairing: {err}"));
    }
    check(&image, oracle, Crash::Kill, &label);
    was_told
}

/// Puts something else into a range.
pub(crate) fn scribble(bytes: &mut [u8], rng: &mut Rng) {
    match rng.below(3) {
        0 => bytes.fill(0),
        1 => bytes.fill(0xff),
        _ => bytes.fill_with(|| rng.number().to_le_bytes()[0]),
    }
}

/// The oracle that is owed everything but the records in frames that are not the same in both, and
/// how many those are.
pub(crate) fn without_hit(oracle: &Oracle, segment: &Segment, damaged: &[u8]) -> (Oracle, usize) {
    let mut oracle = oracle.clone();
    oracle.batches.iter_mut().for_each(|batch| batch.fate = Fate::Durable);
    let mut gone = 0;
    for frame in &segment.frames {
        if damaged.get(frame.start..frame.end) != segment.bytes.get(frame.start..frame.end) {
            gone += oracle.lose(&segment.stream, frame.header.base_seq);
        }
    }
    (oracle, gone)
}

/// Damage in the body is never cut away, and hides only what it hit.
pub(crate) fn bodies(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(6, 100), |seed| damaged_bodies(seed, 100));
    Ok(())
}

fn damaged_bodies(seed: u64, cases: u64) -> Result<u64> {
    let (disk, oracle, writer) = all_kinds(seed)?;
    let oracle = oracle.lock().clone();
    let found = disk.kill();
    drop(writer);
    let of_streams = STREAMS.map(|stream| segments(&found, stream));
    let mut rng = Rng::new(seed);
    for case in 0..cases {
        let of_stream = &of_streams[rng.below(STREAMS.len())];
        let segment = &of_stream[rng.below(of_stream.len())];
        // What the last frame says was synced ends where it begins.
        let body = segment.frames.last().unwrap().start - FRAMES_START;
        let start = FRAMES_START + rng.below(body);
        let end = (start + 1 + rng.below(4000)).min(FRAMES_START + body);
        let mut bytes = segment.bytes.clone();
        scribble(&mut bytes[start..end], &mut rng);
        let (expected, gone) = without_hit(&oracle, segment, &bytes);
        let label = format!("case {case}: {start}..{end} of {:?}", segment.path);
        let image = with_file(&found, &segment.path, bytes.clone());
        let opened = Writer::open(&image, &SharedOracle::default(), 1);
        let opened = opened.unwrap_or_else(|err| panic!("{label}: {err}"));
        opened.ledger.append(runledger::Event::new("1000000/0"))?;
        opened.ledger.close()?;
        let kept = image.peek(&segment.path);
        assert!(kept[..segment.end()] == bytes[..segment.end()], "{label}: the body was changed");
        let mut records = readable(&image, &label);
        records.pop();
        if let Err(what) = expected.judge(&records, Crash::Power) {
            panic!("{label}: {what}");
        }
        let report = verify(DIR, image.storage())?;
        assert!(gone == 0 || report.is_damaged(), "{label}: not found");
    }
    Ok(cases)
}

/// A torn tail costs what was torn, and is no damage.
pub(crate) fn torn_tails(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(6, 100), |seed| torn(seed, 100));
    Ok(())
}

fn torn(seed: u64, cases: u64) -> Result<u64> {
    let (disk, oracle, writer) = all_kinds(seed)?;
    let mut rng = Rng::new(seed);
    let first_unsynced = oracle.lock().batches.len();
    for number in 0..18 {
        let size = 100 + rng.below(1500);
        append_any(&writer, number, size, Durability::Os)?;
    }
    let oracle = oracle.lock().clone();
    let first_unsynced = oracle.batches[first_unsynced].seqs.as_ref().unwrap()[0];
    let found = disk.kill();
    drop(writer);
    // One tail is torn at a time; the others made it.
    found.flush();
    let last = STREAMS.map(|stream| segments(&found, stream).pop().unwrap());
    for case in 0..cases {
        let segment = &last[rng.below(STREAMS.len())];
        let synced = segment.frames.iter().find(|it| it.header.base_seq >= first_unsynced);
        let start = synced.unwrap().start;
        let torn = start + rng.below(segment.end() - start);
        let mut bytes = segment.bytes.clone();
        match rng.below(3) {
            0 => bytes.truncate(torn),
            1 => scribble(&mut bytes[torn..segment.end()], &mut rng),
            _ => {
                let end = (torn + 1 + rng.below(20_000)).min(bytes.len());
                scribble(&mut bytes[torn..end], &mut rng);
                bytes[end.max(segment.end())..].fill(0);
                bytes[end.min(segment.end())..segment.end()].fill(0);
            }
        }
        let (expected, _) = without_hit(&oracle, segment, &bytes);
        let label = format!("case {case}: torn at {torn} of {:?}", segment.path);
        let image = with_file(&found, &segment.path, bytes);
        check(&image, &expected, Crash::Power, &label);
    }
    Ok(cases)
}
