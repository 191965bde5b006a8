//! Damage: every bit, the body, and what is no damage but a torn tail (rows 4 and 5 of the
//! reliability scorecard).

use std::collections::BTreeSet;

use runledger::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use runledger::{Damage, Durability, Error, Order, Record, Result, verify};

use crate::check::{check, reader};
use crate::disk::SimDisk;
use crate::ground::{Ground, Size};
use crate::oracle::{Crash, Fate, Oracle, SharedOracle};
use crate::rng::Rng;
use crate::segments::{FRAMES_START, Segment, events, segments, with_file};
use crate::workload::{DIR, Writer};

/// What a reader gets of a damaged ledger: the records that are whole. Every other is an error that
/// says so.
fn readable(disk: &SimDisk, label: &str) -> Vec<Record<'static>> {
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
    writer.close()?;
    let segments = segments(&disk, "events");
    let [sealed, open] = segments.as_slice() else { panic!("two segments") };
    assert!(sealed.footer.is_some() && open.footer.is_none());
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

/// Puts something else into a range.
fn scribble(bytes: &mut [u8], rng: &mut Rng) {
    match rng.below(3) {
        0 => bytes.fill(0),
        1 => bytes.fill(0xff),
        _ => bytes.fill_with(|| rng.number().to_le_bytes()[0]),
    }
}

/// The batches whose frames are not the same in both.
fn batches_hit(oracle: &Oracle, segment: &Segment, damaged: &[u8]) -> BTreeSet<usize> {
    let hit = segment.frames.iter().filter(|frame| {
        damaged.get(frame.start..frame.end) != segment.bytes.get(frame.start..frame.end)
    });
    let seqs: BTreeSet<u64> = hit.map(|frame| frame.header.base_seq).collect();
    let batches = oracle.batches.iter().enumerate();
    let of_seqs = batches
        .filter(|(_, batch)| batch.seqs.as_ref().is_some_and(|given| seqs.contains(&given[0])));
    of_seqs.map(|(number, _)| number).collect()
}

/// The oracle of a ledger from which these batches, and no others, are gone.
fn without(oracle: &Oracle, gone: &BTreeSet<usize>) -> Oracle {
    let mut oracle = oracle.clone();
    for (number, batch) in oracle.batches.iter_mut().enumerate() {
        batch.fate = if gone.contains(&number) { Fate::Dropped } else { Fate::Durable };
    }
    oracle
}

/// Damage in the body is never cut away, and hides only what it hit.
pub(crate) fn bodies(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(6, 100), |seed| damaged_bodies(seed, 100));
    Ok(())
}

fn damaged_bodies(seed: u64, cases: u64) -> Result<u64> {
    let (disk, oracle, writer) = events(seed)?;
    let oracle = oracle.lock().clone();
    let found = disk.kill();
    drop(writer);
    let mut rng = Rng::new(seed);
    for case in 0..cases {
        let of_stream = segments(&found, "events");
        let segment = &of_stream[rng.below(of_stream.len())];
        // What the last frame says was synced ends where it begins.
        let body = segment.frames.last().unwrap().start - FRAMES_START;
        let start = FRAMES_START + rng.below(body);
        let end = (start + 1 + rng.below(4000)).min(FRAMES_START + body);
        let mut bytes = segment.bytes.clone();
        scribble(&mut bytes[start..end], &mut rng);
        let gone = batches_hit(&oracle, segment, &bytes);
        let label = format!("case {case}: {start}..{end} of {:?}", segment.path);
        let image = with_file(&found, &segment.path, bytes.clone());
        let expected = without(&oracle, &gone);
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
        assert!(gone.is_empty() || report.is_damaged(), "{label}: not found");
    }
    Ok(cases)
}

/// A torn tail costs what was torn, and is no damage.
pub(crate) fn torn_tails(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(6, 100), |seed| torn(seed, 100));
    Ok(())
}

fn torn(seed: u64, cases: u64) -> Result<u64> {
    let (disk, oracle, writer) = events(seed)?;
    let mut rng = Rng::new(seed);
    for _ in 0..8 {
        writer.append_event(100 + rng.below(1500), Durability::Os)?;
    }
    let oracle = oracle.lock().clone();
    let found = disk.kill();
    drop(writer);
    let of_stream = segments(&found, "events");
    let segment = of_stream.last().unwrap();
    let first_unsynced = segment.frames[segment.frames.len() - 8].start;
    for case in 0..cases {
        let torn = first_unsynced + rng.below(segment.end() - first_unsynced);
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
        let gone = batches_hit(&oracle, segment, &bytes);
        let expected = without(&oracle, &gone);
        let label = format!("case {case}: torn at {torn} of {:?}", segment.path);
        let image = with_file(&found, &segment.path, bytes);
        check(&image, &expected, Crash::Power, &label);
    }
    Ok(cases)
}
