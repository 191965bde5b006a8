//! What can stand where the next frame would: nothing of it is a record (row 9 of the reliability
//! scorecard).

use runledger::Result;
use runledger::format::frame::{FRAME_MAGIC, FrameHeader, payload_crc};

use crate::crash::check::check_records;
use crate::crash::oracle::Crash;
use crate::crash::scaled;
use crate::crash::segments::{Segment, events, segments, with_file};
use crate::support::rng::Rng;

fn random_bytes(len: usize, rng: &mut Rng) -> Vec<u8> {
    (0..len).map(|_| rng.next().to_le_bytes()[0]).collect()
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

#[test]
fn nothing_behind_the_frames_is_taken_for_a_record() -> Result<()> {
    let (disk, oracle, writer) = events(9)?;
    let oracle = oracle.lock().clone();
    let found = disk.kill();
    drop(writer);
    let (other, _, _other_writer) = events(10)?;
    let foreign = segments(&other, "events").pop().unwrap();
    let segment = segments(&found, "events").pop().unwrap();
    let mut rng = Rng::new(9);
    let cases = scaled(1000);
    for case in 0..cases {
        let tail = tail(&segment, &foreign, &mut rng);
        let mut bytes = segment.bytes[..segment.end()].to_vec();
        bytes.extend_from_slice(&tail);
        if rng.below(2) == 0 {
            bytes.resize(bytes.len() + rng.below(70_000), 0);
        }
        let label = format!("case {case}: {:?}...", &tail[..tail.len().min(48)]);
        let image = with_file(&found, &segment.path, bytes);
        check_records(&image, &oracle, Crash::Kill, &label);
    }
    println!("{cases} tails");
    Ok(())
}
