//! Frame headers: any bytes, with and without the checksum put right.

use runledger::format::crc;
use runledger::format::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader};
use runledger::limits::{MAX_BATCH_RECORDS, MAX_FRAME_PAYLOAD};

use super::input::Input;

/// Salt, offset and header, as they come.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let salt = input.array();
    let offset = u64::from(input.word());
    let bytes = input.rest();
    check(bytes, &salt, offset);
    if let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() {
        let mut header = *header;
        header[..FRAME_MAGIC.len()].copy_from_slice(&FRAME_MAGIC);
        let crc_at = FRAME_HEADER_BYTES - 4;
        let sum = crc::bound(&salt, offset, &header[..crc_at]);
        header[crc_at..].copy_from_slice(&sum.to_le_bytes());
        check(&header, &salt, offset);
        assert!(FrameHeader::decode(&header, &salt, offset + 1).is_err(), "moved");
    }
}

fn check(bytes: &[u8], salt: &[u8; 16], offset: u64) {
    let Ok(header) = FrameHeader::decode(bytes, salt, offset) else { return };
    assert!((1..=MAX_FRAME_PAYLOAD).contains(&header.payload_len));
    assert!(usize::try_from(header.count).is_ok_and(|count| count <= MAX_BATCH_RECORDS));
    assert_eq!(header.encode(salt, offset), bytes[..FRAME_HEADER_BYTES]);
}
