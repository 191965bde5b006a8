//! Blocks: whole frames of a packed segment, compressed together with zstd (RFC 8878).

use std::cell::RefCell;

use memchr::memmem;
use zstd::zstd_safe::{DCtx, DDict};

use crate::error::{Damage, Error, Result};
use crate::format::bytes::{before, get, put};
use crate::format::crc;
use crate::limits::MAX_FRAME_PAYLOAD;

use super::frame::FRAME_HEADER_BYTES;
use super::header::SEGMENT_HEADER_BYTES;

/// The first bytes of every block.
pub const BLOCK_MAGIC: [u8; 4] = *b"\xf7RLz";

/// The first bytes of a dictionary.
pub const DICTIONARY_MAGIC: [u8; 4] = *b"\xf7RLd";

/// How many bytes of frames go into one block, unless one frame alone has more. A look-up unpacks
/// whole blocks: a smaller one is unpacked faster, a larger one is packed tighter.
pub const BLOCK_BYTES: usize = 4 << 10;

/// Where the first block stands, or the dictionary: behind the two copies of the segment's header.
const BLOCKS_START: usize = 2 * SEGMENT_HEADER_BYTES as usize;

/// The largest dictionary that is read.
pub const MAX_DICTIONARY_BYTES: u32 = 1 << 20;

/// The most bytes of frames that a block holds: one frame of the largest size.
pub const MAX_BLOCK_BYTES: u32 = MAX_FRAME_PAYLOAD + 40;

const _: () = assert!(FRAME_HEADER_BYTES == 40);

const MAGIC_AT: usize = 0;
const START_AT: usize = MAGIC_AT + BLOCK_MAGIC.len();
const LEN_AT: usize = START_AT + size_of::<u32>();
const PACKED_LEN_AT: usize = LEN_AT + size_of::<u32>();
const PACKED_CRC_AT: usize = PACKED_LEN_AT + size_of::<u32>();
const HEADER_CRC_AT: usize = PACKED_CRC_AT + size_of::<u32>();

/// The size of a block's header: its compressed bytes follow.
pub const BLOCK_HEADER_BYTES: usize = HEADER_CRC_AT + size_of::<u32>();

const _: () = assert!(BLOCK_HEADER_BYTES == 24, "the block header is 24 bytes for ever");

/// What a block says of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// Where its frames begin in the segment that is not packed.
    pub start: u32,
    /// How many bytes of frames it holds, 1 to [`MAX_BLOCK_BYTES`].
    pub len: u32,
    /// How many compressed bytes follow.
    pub packed_len: u32,
    /// The masked CRC32 of those.
    pub packed_crc: u32,
}

impl BlockHeader {
    /// The header as it stands at `offset` of the file with this salt.
    #[must_use]
    pub fn encode(&self, salt: &[u8; 16], offset: u64) -> [u8; BLOCK_HEADER_BYTES] {
        self.encode_of(BLOCK_MAGIC, salt, offset)
    }

    fn encode_of(&self, magic: [u8; 4], salt: &[u8; 16], offset: u64) -> [u8; BLOCK_HEADER_BYTES] {
        let mut out = [0; BLOCK_HEADER_BYTES];
        put::<MAGIC_AT, _, _>(&mut out, magic);
        put::<START_AT, _, _>(&mut out, self.start.to_le_bytes());
        put::<LEN_AT, _, _>(&mut out, self.len.to_le_bytes());
        put::<PACKED_LEN_AT, _, _>(&mut out, self.packed_len.to_le_bytes());
        put::<PACKED_CRC_AT, _, _>(&mut out, self.packed_crc.to_le_bytes());
        let sum = crc::bound(salt, offset, before::<HEADER_CRC_AT, _>(&out));
        put::<HEADER_CRC_AT, _, _>(&mut out, sum.to_le_bytes());
        out
    }

    /// Reads the header that stands at `offset` of the file with this salt, at the beginning of
    /// `bytes`.
    ///
    /// # Errors
    /// [`Damage::Truncated`], [`Damage::Magic`], [`Damage::HeaderChecksum`] (also for a header that
    /// was written for another place or segment) or [`Damage::Length`].
    pub fn decode(bytes: &[u8], salt: &[u8; 16], offset: u64) -> Result<Self, Damage> {
        Self::decode_of(BLOCK_MAGIC, bytes, salt, offset)
    }

    fn decode_of(
        magic: [u8; 4],
        bytes: &[u8],
        salt: &[u8; 16],
        offset: u64,
    ) -> Result<Self, Damage> {
        let bytes: &[u8; BLOCK_HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Truncated)?;
        if get::<MAGIC_AT, _, _>(bytes) != magic {
            return Err(Damage::Magic);
        }
        let sum = crc::bound(salt, offset, before::<HEADER_CRC_AT, _>(bytes));
        if u32::from_le_bytes(get::<HEADER_CRC_AT, _, _>(bytes)) != sum {
            return Err(Damage::HeaderChecksum);
        }
        let header = Self {
            start: u32::from_le_bytes(get::<START_AT, _, _>(bytes)),
            len: u32::from_le_bytes(get::<LEN_AT, _, _>(bytes)),
            packed_len: u32::from_le_bytes(get::<PACKED_LEN_AT, _, _>(bytes)),
            packed_crc: u32::from_le_bytes(get::<PACKED_CRC_AT, _, _>(bytes)),
        };
        match (1..=MAX_BLOCK_BYTES).contains(&header.len)
            && header.start.checked_add(header.len).is_some()
        {
            true => Ok(header),
            false => Err(Damage::Length),
        }
    }
}

thread_local! {
    /// A context of zstd takes time and memory to make, so each thread keeps the one it has.
    static UNPACKER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// What the blocks of a segment have in common: they are packed and unpacked with it, and without
/// it not at all.
pub struct Dictionary {
    prepared: DDict<'static>,
    /// How many bytes it takes in the file, with its header.
    bytes: usize,
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Dictionary {
    /// How many bytes it takes in the file, with its header.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a dictionary to `out`; it is to stand at `offset` of the file with this salt.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when it is.
    pub fn encode(
        dictionary: &[u8],
        salt: &[u8; 16],
        offset: u64,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let len = u32::try_from(dictionary.len()).ok();
        let len = len.filter(|len| (1..=MAX_DICTIONARY_BYTES).contains(len));
        let len = len.ok_or(Error::TooLarge {
            what: "a dictionary in bytes",
            size: dictionary.len() as u64,
            limit: u64::from(MAX_DICTIONARY_BYTES),
        })?;
        let packed_crc = crc::masked(dictionary);
        let header = BlockHeader { start: 0, len, packed_len: len, packed_crc };
        out.extend_from_slice(&header.encode_of(DICTIONARY_MAGIC, salt, offset));
        out.extend_from_slice(dictionary);
        Ok(())
    }

    /// Reads the dictionary that stands at `offset` of the file with this salt, at the beginning of
    /// `bytes`.
    ///
    /// # Errors
    /// As for [`BlockHeader::decode`]; [`Damage::PayloadChecksum`] when it is not the one that was
    /// written.
    pub fn decode(bytes: &[u8], salt: &[u8; 16], offset: u64) -> Result<Self, Damage> {
        let header = BlockHeader::decode_of(DICTIONARY_MAGIC, bytes, salt, offset)?;
        if header.len > MAX_DICTIONARY_BYTES || header.packed_len != header.len {
            return Err(Damage::Length);
        }
        let content = bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
        let content = content.get(..header.len as usize).ok_or(Damage::Truncated)?;
        if crc::masked(content) != header.packed_crc {
            return Err(Damage::PayloadChecksum);
        }
        let prepared = DDict::try_create(content).ok_or(Damage::PayloadChecksum)?;
        Ok(Self { prepared, bytes: BLOCK_HEADER_BYTES + content.len() })
    }
}

/// Appends the block of these frames, which begin at `start` of the segment that is not packed, to
/// `out`; it is to stand at `offset` of the file. `packer` sets how hard it is tried.
///
/// # Errors
/// [`Error::TooLarge`] for more frames than a block holds; [`Error::Invalid`] should zstd fail.
pub fn pack(
    packer: &mut zstd::bulk::Compressor<'_>,
    frames: &[u8],
    start: u32,
    salt: &[u8; 16],
    offset: u64,
    out: &mut Vec<u8>,
) -> Result<()> {
    let too_large = || Error::TooLarge {
        what: "a block in bytes",
        size: frames.len() as u64,
        limit: u64::from(MAX_BLOCK_BYTES),
    };
    let len = u32::try_from(frames.len()).ok().filter(|len| (1..=MAX_BLOCK_BYTES).contains(len));
    let len = len.ok_or_else(too_large)?;
    let packed = packer
        .compress(frames)
        .map_err(|err| Error::invalid("block", &err.to_string(), "frames that can be packed"))?;
    let packed_len = u32::try_from(packed.len()).map_err(|_| too_large())?;
    let header = BlockHeader { start, len, packed_len, packed_crc: crc::masked(&packed) };
    out.extend_from_slice(&header.encode(salt, offset));
    out.extend_from_slice(&packed);
    Ok(())
}

/// The frames of the block that stands at `offset` of the file with this salt, at the beginning of
/// `bytes`, and what its header says. `dictionary` is that of the segment, if it has one.
///
/// # Errors
/// As for [`BlockHeader::decode`]; [`Damage::PayloadChecksum`] when the compressed bytes are not
/// those that were written, and when they are not what they say.
pub fn unpack(
    bytes: &[u8],
    salt: &[u8; 16],
    offset: u64,
    dictionary: Option<&Dictionary>,
) -> Result<(BlockHeader, Vec<u8>), Damage> {
    let header = BlockHeader::decode(bytes, salt, offset)?;
    let packed = bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
    let packed = packed.get(..header.packed_len as usize).ok_or(Damage::Truncated)?;
    if crc::masked(packed) != header.packed_crc {
        return Err(Damage::PayloadChecksum);
    }
    let len = header.len as usize;
    // The size was compared with its checksum, and has a bound.
    let mut frames = Vec::with_capacity(len);
    let unpacked = UNPACKER.with_borrow_mut(|unpacker| {
        if unpacker.is_none() {
            *unpacker = DCtx::try_create();
        }
        let unpacker = unpacker.as_mut()?;
        match dictionary {
            Some(it) => unpacker.decompress_using_ddict(&mut frames, packed, &it.prepared).ok(),
            None => unpacker.decompress(&mut frames, packed).ok(),
        }
    });
    match unpacked == Some(len) && frames.len() == len {
        true => Ok((header, frames)),
        false => Err(Damage::PayloadChecksum),
    }
}

/// The headers of the blocks of a packed file with this salt that are whole, with where they stand,
/// in their order; for a file without a footer to tell.
#[must_use]
pub fn find(file: &[u8], salt: &[u8; 16]) -> Vec<(u32, BlockHeader)> {
    let (mut found, mut at) = (Vec::new(), BLOCKS_START);
    while let Some(skip) = file.get(at..).and_then(|rest| memmem::find(rest, &BLOCK_MAGIC)) {
        at += skip;
        let header = BlockHeader::decode(file.get(at..).unwrap_or_default(), salt, at as u64);
        match (header, u32::try_from(at)) {
            (Ok(header), Ok(place)) => {
                found.push((place, header));
                at += BLOCK_HEADER_BYTES + header.packed_len as usize;
            }
            _ => at += 1,
        }
    }
    found
}

/// The dictionary of a packed file with this salt: it stands before the blocks, and once more
/// behind them. `None` when there is none, or neither copy is whole.
#[must_use]
pub fn dictionary(file: &[u8], salt: &[u8; 16]) -> Option<Dictionary> {
    let at = |at: usize| Dictionary::decode(file.get(at..)?, salt, at as u64).ok();
    let is_block = file.get(BLOCKS_START..).is_some_and(|rest| rest.starts_with(&BLOCK_MAGIC));
    match at(BLOCKS_START) {
        None if !is_block => memmem::rfind_iter(file, &DICTIONARY_MAGIC).find_map(at),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = *b"sixteen bytes...";

    fn block(frames: &[u8]) -> Vec<u8> {
        let mut packer = zstd::bulk::Compressor::new(3).unwrap();
        let mut out = Vec::new();
        pack(&mut packer, frames, 256, &SALT, 4096, &mut out).unwrap();
        out
    }

    #[test]
    fn what_was_packed_comes_back() {
        let frames: Vec<u8> = (0..20_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut bytes = block(&frames);
        let packed_len = bytes.len() - BLOCK_HEADER_BYTES;
        assert!(packed_len < frames.len() / 2);
        bytes.extend_from_slice(b"what follows");
        let (header, unpacked) = unpack(&bytes, &SALT, 4096, None).unwrap();
        assert_eq!(unpacked, frames);
        assert_eq!((header.start, header.len as usize), (256, frames.len()));
        assert_eq!(header.packed_len as usize, packed_len);
    }

    #[test]
    fn every_bit_flip_every_truncation_and_another_place_fail() {
        let bytes = block(b"frames, frames, frames, and frames");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unpack(&flipped, &SALT, 4096, None).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(unpack(&bytes[..len], &SALT, 4096, None).is_err(), "{len}");
        }
        assert_eq!(unpack(&bytes, &SALT, 4097, None), Err(Damage::HeaderChecksum));
        assert_eq!(unpack(&bytes, &[0; 16], 4096, None), Err(Damage::HeaderChecksum));
    }

    /// A forged block is no bomb: it says how large it is, and no more is unpacked.
    #[test]
    fn a_block_that_unpacks_to_another_size_fails() {
        let packed = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
        for len in [1, 1 << 19, (1 << 20) + 1, MAX_BLOCK_BYTES] {
            let packed_len = u32::try_from(packed.len()).unwrap();
            let header =
                BlockHeader { start: 256, len, packed_len, packed_crc: crc::masked(&packed) };
            let bytes = [&header.encode(&SALT, 0)[..], &packed].concat();
            assert_eq!(unpack(&bytes, &SALT, 0, None), Err(Damage::PayloadChecksum), "{len}");
        }
        for len in [0, MAX_BLOCK_BYTES + 1, u32::MAX] {
            let header = BlockHeader { start: 256, len, packed_len: 0, packed_crc: 0 };
            assert_eq!(
                BlockHeader::decode(&header.encode(&SALT, 0), &SALT, 0),
                Err(Damage::Length)
            );
        }
    }

    #[test]
    fn blocks_of_a_dictionary_need_it() {
        let line = |n: u32| format!("run {n} of backup-{} failed: no answer from db2\n", n % 7);
        let samples: Vec<String> = (0..2000).map(line).collect();
        let content = zstd::dict::from_samples(&samples, 1 << 12).unwrap();
        let mut bytes = Vec::new();
        Dictionary::encode(&content, &SALT, 256, &mut bytes).unwrap();
        let dictionary = Dictionary::decode(&bytes, &SALT, 256).unwrap();
        assert_eq!(dictionary.bytes(), bytes.len());
        let frames = samples[..50].concat().into_bytes();
        let mut packer = zstd::bulk::Compressor::with_dictionary(3, &content).unwrap();
        let mut packed = Vec::new();
        pack(&mut packer, &frames, 256, &SALT, 4096, &mut packed).unwrap();
        assert_eq!(unpack(&packed, &SALT, 4096, Some(&dictionary)).unwrap().1, frames);
        assert_eq!(unpack(&packed, &SALT, 4096, None), Err(Damage::PayloadChecksum));
        for bit in (0..bytes.len() * 8).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Dictionary::decode(&flipped, &SALT, 256).is_err(), "bit {bit}");
        }
        assert!(Dictionary::decode(&bytes, &SALT, 257).is_err());
        assert!(BlockHeader::decode(&bytes, &SALT, 256).is_err(), "no block");
    }
}
