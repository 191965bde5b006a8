//! The fixed structures: identity, sequence slots, segment header and trailer.

use runledger::format::crc;
use runledger::format::header::{SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentHeader};
use runledger::format::identity::{IDENTITY_BYTES, IDENTITY_MAGIC, Identity};
use runledger::format::seqfile::{SLOT_BYTES, SeqState};
use runledger::format::trailer::{TRAILER_BYTES, TRAILER_MAGIC, Trailer};

use super::input::Input;

const HEADER: usize = SEGMENT_HEADER_BYTES as usize;

/// Which one, and its bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(4);
    let salt = input.array();
    let offset = u64::from(input.word());
    let rest = input.rest();
    match which {
        0 => {
            let _ = Identity::decode(rest);
            let bytes = sealed::<IDENTITY_BYTES>(rest, &IDENTITY_MAGIC, crc::masked);
            // Bytes of a later version may say more than this one writes.
            if let Ok(identity) = Identity::decode(&bytes) {
                assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
            }
        }
        1 => {
            let _ = SeqState::decode(rest, &salt);
            let bytes = sealed::<SLOT_BYTES>(rest, b"\xf7RLs", |b| crc::bound(&salt, 0, b));
            let state = SeqState::decode(&bytes, &salt).expect("a whole slot");
            // A slot may stand in the other's place only with the other's checksum.
            let mut file = vec![0; usize::try_from(state.offset()).expect("a short offset")];
            file.extend(state.encode(&salt));
            assert_eq!(SeqState::decode(&file, &salt), Some(state));
        }
        2 => {
            let _ = SegmentHeader::decode(rest);
            let bytes = sealed::<HEADER>(rest, &SEGMENT_MAGIC, crc::masked);
            if let Ok(header) = SegmentHeader::decode(&bytes) {
                let again = header.encode().expect("what was read can be written");
                assert_eq!(SegmentHeader::decode(&again), Ok(header));
            }
        }
        _ => {
            let _ = Trailer::decode(rest, &salt, offset);
            let bound = |bytes: &[u8]| crc::bound(&salt, offset, bytes);
            let bytes = sealed::<TRAILER_BYTES>(rest, &TRAILER_MAGIC, bound);
            if let Ok(trailer) = Trailer::decode(&bytes, &salt, offset) {
                assert!(trailer.frames_end <= trailer.table_offset);
                let again = trailer.encode(&salt, offset);
                assert_eq!(Trailer::decode(&again, &salt, offset), Ok(trailer));
            }
        }
    }
}

/// The bytes, filled up with zeros, with this magic and with the checksum at the end put right.
pub fn sealed<const N: usize>(
    bytes: &[u8],
    magic: &[u8],
    sum: impl FnOnce(&[u8]) -> u32,
) -> [u8; N] {
    let mut out: [u8; N] = Input::new(bytes).array();
    out[..magic.len()].copy_from_slice(magic);
    let sum = sum(&out[..N - 4]);
    out[N - 4..].copy_from_slice(&sum.to_le_bytes());
    out
}
