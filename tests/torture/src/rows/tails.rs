//! What can stand where the next frame would: nothing of it is a record (row 9 of the reliability
//! scorecard).

use std::sync::atomic::{AtomicU64, Ordering};

use runledger::Result;
use runledger::format::frame::{FRAME_MAGIC, FrameHeader, payload_crc};

use crate::check::check_records;
use crate::disk::SimDisk;
use crate::ground::Ground;
use crate::oracle::Crash;
use crate::rng::Rng;
use crate::segments::{Segment, events, segments, with_file};
use crate::workload::{DIR, options};

fn random_bytes(len: usize, rng: &mut Rng) -> Vec<u8> {
    (0..len).map(|_| rng.number().to_le_bytes()[0]).collect()
}

/// One of these.
fn pick<T: Copy>(choices: &[T], rng: &mut Rng) -> T {
    choices[rng.below(choices.len())]
}

/// A frame whose checksums are right for its place, and whose lengths and payload are not.
fn hostile_frame(segment: &Segment, rng: &mut Rng) -> Vec<u8> {
    let len = pick(&[1, 2, 5, 40, 300, 5000], rng);
    let payload = if rng.below(2) == 0 { vec![0; len] } else { random_bytes(len, rng) };
    let given = u32::try_from(len).unwrap();
    let most = runledger::limits::MAX_FRAME_PAYLOAD;
    let header = FrameHeader {
        payload_len: pick(&[given, given, given, 0, given + 1, most, most + 1, u32::MAX], rng),
        count: pick(&[0, 1, 2, 3, 65_536, 65_537, u32::MAX], rng),
        payload_crc: pick(&[payload_crc(&payload), payload_crc(&payload), 0], rng),
        base_seq: pick(&[0, 1, segment.frames[0].header.base_seq, 1 << 40, u64::MAX], rng),
        recorded_at: pick(&[0, i64::MIN, i64::MAX], rng),
        synced: pick(&[0, u32::MAX], rng),
    };
    let at = segment.end() as u64;
    [header.encode(&segment.salt, at).as_slice(), &payload].concat()
}

/// What stands behind the frames.
fn tail(segment: &Segment, foreign: &Segment, rng: &mut Rng) -> Vec<u8> {
    let frame_of = |segment: &Segment, rng: &mut Rng| {
        let frame = &segment.frames[rng.below(segment.frames.len())];
        segment.bytes[frame.start..frame.end].to_vec()
    };
    let len = rng.below(3000);
    match rng.below(9) {
        0 => vec![0; rng.below(100_000)],
        1 => [vec![0; rng.below(9000)], random_bytes(len, rng)].concat(),
        2 => vec![0xff; len],
        3 => frame_of(segment, rng),
        4 => frame_of(foreign, rng),
        // The naive reader's empty records: their length and the checksum of nothing are both 0.
        5 => [FRAME_MAGIC.as_slice(), &vec![0; rng.below(8192)]].concat(),
        6 => [FRAME_MAGIC.as_slice(), &random_bytes(len, rng)].concat(),
        7 => (1_u64 << 63).to_le_bytes().repeat(len / 8),
        _ => hostile_frame(segment, rng),
    }
}

/// Nothing behind the frames is taken for a record.
pub(crate) fn behind_the_frames(ground: &Ground) -> Result<()> {
    let highest = AtomicU64::new(0);
    ground.cases(ground.of(4, 400), |seed| tails(seed, 250, &highest));
    let highest = highest.into_inner() >> 10;
    ground.note(format!("at the most {highest} KiB of memory to open the ledger and count"));
    Ok(())
}

/// The memory that an opening may take: so many times the bytes of the segments without a footer,
/// which the modelled disk copies where a real one maps them, and these besides. A length that is
/// believed before its checksum takes more: the least of those tried is 64 MiB.
const MEMORY_FOR_EACH_BYTE: u64 = 4;
const MEMORY_BESIDES: u64 = 2 << 20;

/// The bytes of all segments, with other ones in place of those of one of them.
fn found_bytes(disk: &SimDisk, segment: &Segment, bytes: &[u8]) -> u64 {
    let others: usize = disk.content().values().map(|content| content.len()).sum();
    (others - segment.bytes.len() + bytes.len()) as u64
}

fn tails(seed: u64, cases: u64, highest: &AtomicU64) -> Result<u64> {
    let (disk, oracle, writer) = events(seed)?;
    let oracle = oracle.lock().clone();
    let found = disk.kill();
    drop(writer);
    let (other, _, _other_writer) = events(seed ^ 1)?;
    let foreign = segments(&other, "events").pop().unwrap();
    let segment = segments(&found, "events").pop().unwrap();
    let mut rng = Rng::new(seed);
    for case in 0..cases {
        let tail = tail(&segment, &foreign, &mut rng);
        let mut bytes = segment.bytes[..segment.end()].to_vec();
        bytes.extend_from_slice(&tail);
        if rng.below(2) == 0 {
            bytes.resize(bytes.len() + rng.below(70_000), 0);
        }
        let label = format!("case {case}: {:?}...", &tail[..tail.len().min(48)]);
        let most = MEMORY_FOR_EACH_BYTE * found_bytes(&found, &segment, &bytes) + MEMORY_BESIDES;
        let image = with_file(&found, &segment.path, bytes);
        let mut read = Ok(0);
        let memory = allocation_counter::measure(|| {
            read = options(&image).open(DIR).and_then(|ledger| ledger.query().count());
        });
        read.unwrap_or_else(|err| panic!("{label}: {err}"));
        highest.fetch_max(memory.bytes_max, Ordering::Relaxed);
        assert!(
            memory.bytes_max < most,
            "{label}: {} bytes of memory, {most} allowed",
            memory.bytes_max
        );
        check_records(&image, &oracle, Crash::Kill, &label);
    }
    Ok(cases)
}
