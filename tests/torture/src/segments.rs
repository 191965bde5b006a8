//! Ledgers to be damaged, and where things lie in their segments.

use std::path::{Path, PathBuf};

use runledger::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use runledger::format::header::SegmentHeader;
use runledger::format::trailer::{TRAILER_BYTES, Trailer};
use runledger::storage::Storage;
use runledger::{Durability, Result, Status};

use crate::disk::SimDisk;
use crate::oracle::{SharedOracle, mark};
use crate::rng::Rng;
use crate::workload::{DIR, Writer, error, event, mixed, run};

/// The streams that records are appended to.
pub(crate) const STREAMS: [&str; 3] = ["runs", "events", "errors"];

/// Where the first frame of a segment stands.
pub(crate) const FRAMES_START: usize = 256;

/// A segment, read without the ledger.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) stream: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) salt: [u8; 16],
    pub(crate) frames: Vec<Frame>,
    /// Where the footer begins, of a sealed one.
    pub(crate) footer: Option<usize>,
}

pub(crate) struct Frame {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) header: FrameHeader,
}

impl Segment {
    pub(crate) fn read(disk: &SimDisk, path: &Path) -> Self {
        let bytes = disk.peek(path);
        let header = SegmentHeader::decode(&bytes).unwrap();
        let (salt, stream) = (header.salt, header.stream);
        let mut frames = Vec::new();
        let mut start = FRAMES_START;
        while let Ok(header) = FrameHeader::decode(&bytes[start..], &salt, start as u64) {
            let end = start + FRAME_HEADER_BYTES + header.payload_len as usize;
            frames.push(Frame { start, end, header });
            start = end;
        }
        let at = bytes.len() - TRAILER_BYTES;
        let trailer = Trailer::decode(&bytes[at..], &salt, at as u64).ok();
        let footer = trailer.map(|trailer| trailer.frames_end as usize);
        Self { path: path.to_owned(), stream, bytes, salt, frames, footer }
    }

    /// Where the frames end.
    pub(crate) fn end(&self) -> usize {
        self.frames.last().map_or(FRAMES_START, |frame| frame.end)
    }
}

/// The segments of a stream, the oldest first.
pub(crate) fn segments(disk: &SimDisk, stream: &str) -> Vec<Segment> {
    let dir = Path::new(DIR).join("streams").join(stream);
    let names = disk.list(&dir).unwrap();
    let segments = names.iter().filter(|entry| entry.name.ends_with(".seg"));
    segments.map(|entry| Segment::read(disk, &dir.join(&entry.name))).collect()
}

/// A disk with the same content but for one file.
pub(crate) fn with_file(disk: &SimDisk, path: &Path, bytes: Vec<u8>) -> SimDisk {
    let image = disk.fork();
    image.poke(path, bytes);
    image
}

/// A ledger of synced events, one a batch: a sealed segment and one that is open.
pub(crate) fn events(seed: u64) -> Result<(SimDisk, SharedOracle, Writer)> {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    let writer = Writer::open(&disk, &oracle, seed)?;
    let mut rng = Rng::new(seed);
    while segments(&disk, "events").len() < 2 {
        writer.append_event(100 + rng.below(3000), Durability::Sync)?;
    }
    for _ in 0..20 {
        writer.append_event(100 + rng.below(2000), Durability::Sync)?;
    }
    Ok((disk, oracle, writer))
}

/// Appends something of one kind, or of all kinds, by turns.
pub(crate) fn append_any(
    writer: &Writer,
    number: usize,
    size: usize,
    durability: Durability,
) -> Result<()> {
    let make = |batch: usize| match number % 6 {
        0 => vec![event(&mark(batch, 0), size)],
        1 => vec![error(&mark(batch, 0), size)],
        2 => vec![run(&format!("run-{batch}"), &mark(batch, 0), Status::Running, size)],
        3 => mixed(batch, 4, 1, size / 4),
        _ => mixed(batch, 7, 0, size / 4),
    };
    writer.append(make, durability).map(drop)
}

/// A ledger of synced records of all kinds, alone and in batches: sealed segments of each stream,
/// and one that is open.
pub(crate) fn all_kinds(seed: u64) -> Result<(SimDisk, SharedOracle, Writer)> {
    let disk = SimDisk::new(seed);
    let oracle = SharedOracle::default();
    let writer = Writer::open(&disk, &oracle, seed)?;
    let mut rng = Rng::new(seed);
    let mut number = 0_usize;
    let is_short = |disk: &SimDisk| STREAMS.iter().any(|stream| files(disk, stream) < 2);
    while is_short(&disk) || !number.is_multiple_of(6) {
        append_any(&writer, number, 100 + rng.below(4000), Durability::Sync)?;
        number += 1;
    }
    for number in 0..12 {
        append_any(&writer, number, 100 + rng.below(2000), Durability::Sync)?;
    }
    Ok((disk, oracle, writer))
}

/// How many segments a stream has.
fn files(disk: &SimDisk, stream: &str) -> usize {
    let dir = Path::new(DIR).join("streams").join(stream);
    disk.list(&dir).unwrap().len()
}
