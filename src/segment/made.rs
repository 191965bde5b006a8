//! Segments for the tests of this module.

use std::path::Path;
use std::sync::Arc;

use crate::format::codec;
use crate::format::frame::{FRAME_HEADER_BYTES, payload_crc};
use crate::format::header::SegmentHeader;
use crate::model::{Event, Kind, Timestamp};
use crate::segment::{NewFrame, Segment};
use crate::storage::{Disk, OpenMode, Storage};

pub(super) fn storage() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

pub(super) fn create(dir: &Path) -> Segment {
    let (kind, stream) = (Kind::Event, "events".to_owned());
    let (first_seq, covers, packed, created_at) = (1, 0, false, 0);
    let header =
        SegmentHeader { kind, stream, first_seq, covers, packed, created_at, salt: [7; 16] };
    Segment::create(&storage(), dir, header, 3).unwrap()
}

pub(super) fn open(segment: &Segment) -> Segment {
    Segment::open(&storage(), segment.path(), OpenMode::Read, 3).unwrap()
}

/// Appends a frame of one event with this number and a message of so many bytes.
pub(super) fn append(segment: &Segment, base_seq: u64, size: usize) {
    let event = Event::new("t").created_at(Timestamp::from_nanos(0)).message("x".repeat(size));
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    codec::encode_event(&mut bytes, 0, &event).unwrap();
    let payload_crc = payload_crc(&bytes[FRAME_HEADER_BYTES..]);
    let frame = NewFrame { base_seq, recorded_at: 0, count: 1, payload_crc, synced: 0 };
    segment.append(&mut bytes, frame, &[]).unwrap();
}
