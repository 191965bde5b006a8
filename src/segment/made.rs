//! Segments for the tests of this module.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::format::codec;
use crate::format::frame::{FRAME_HEADER_BYTES, payload_crc};
use crate::format::header::SegmentHeader;
use crate::model::{Event, Kind, Timestamp};
use crate::segment::{NewFrame, Segment, new_index};
use crate::storage::{Disk, OpenMode, Storage};

/// The seed of the keys' hashes.
pub(super) const SEED: u64 = 3;

pub(super) fn storage() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

pub(super) fn create(dir: &Path) -> Segment {
    create_of(Kind::Event, dir, 1)
}

/// An empty segment of these records, the first of which will have this sequence number.
pub(super) fn create_of(kind: Kind, dir: &Path, first_seq: u64) -> Segment {
    let (stream, covers, packed, created_at) = ("some".to_owned(), 0, false, 0);
    let header =
        SegmentHeader { kind, stream, first_seq, covers, packed, created_at, salt: [7; 16] };
    Segment::create(&storage(), dir, header, new_index(SEED)).unwrap()
}

pub(super) fn open(segment: &Segment) -> Segment {
    Segment::open(&storage(), segment.path(), OpenMode::Read, SEED).unwrap()
}

/// Appends a frame of one event with this number and a message of so many bytes.
pub(super) fn append(segment: &Segment, base_seq: u64, size: usize) {
    let event = Event::new("t").created_at(Timestamp::from_nanos(0)).message("x".repeat(size));
    append_record(segment, base_seq, |out| codec::encode_event(out, 0, &event));
}

/// Appends a frame of the record with this number that `encode` appends to the frame's bytes.
pub(super) fn append_record(
    segment: &Segment,
    base_seq: u64,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    encode(&mut bytes).unwrap();
    let payload_crc = payload_crc(&bytes[FRAME_HEADER_BYTES..]);
    let frame = NewFrame { base_seq, recorded_at: 0, count: 1, payload_crc, synced: 0 };
    segment.append(&mut bytes, frame, &[]).unwrap();
}
