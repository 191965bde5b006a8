//! Blocks: whole frames of a packed segment, compressed together with zstd (RFC 8878).

mod dictionary;
mod shared;

use std::borrow::Cow;
use std::cell::RefCell;

use memchr::memmem;
use zstd::zstd_safe::DCtx;

use crate::error::{Damage, Error, Result};
use crate::format::bytes::{before, get, put};
use crate::format::crc;
use crate::limits::MAX_FRAME_PAYLOAD;

use super::frame::FRAME_HEADER_BYTES;
use super::header::SEGMENT_HEADER_BYTES;

pub use dictionary::{DICTIONARY_MAGIC, Dictionary, MAX_DICTIONARY_BYTES, dictionary};
pub use shared::{ID_BYTES, SharedId};

/// The first bytes of a block of frames as they are.
pub const BLOCK_MAGIC: [u8; 4] = *b"\xf7RLz";

/// The first bytes of a block of frames from which ids were taken out that stand before it.
pub const SHORT_BLOCK_MAGIC: [u8; 4] = *b"\xf7RLy";

/// How many bytes of frames go into one block, unless one frame alone has more. A look-up unpacks
/// whole blocks: a smaller one is unpacked faster, a larger one is packed tighter.
pub const BLOCK_BYTES: usize = 4 << 10;

/// Where the first block stands, or the dictionary: behind the two copies of the segment's header.
const BLOCKS_START: usize = 2 * SEGMENT_HEADER_BYTES as usize;

/// The most bytes of frames that a block holds: one frame of the largest size.
pub const MAX_BLOCK_BYTES: u32 = MAX_FRAME_PAYLOAD + 40;

const _: () = assert!(FRAME_HEADER_BYTES == 40);

const MAGIC_AT: usize = 0;
const START_AT: usize = MAGIC_AT + BLOCK_MAGIC.len();
const LEN_AT: usize = START_AT + size_of::<u32>();
const PACKED_LEN_AT: usize = LEN_AT + size_of::<u32>();
const PACKED_CRC_AT: usize = PACKED_LEN_AT + size_of::<u32>();
const HEADER_CRC_AT: usize = PACKED_CRC_AT + size_of::<u32>();

/// In how many bytes it is said where the ids of a block begin.
const IDS_AT_BYTES: usize = size_of::<u32>();

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
    /// True when ids were taken out of the frames that blocks have in common.
    pub is_short: bool,
}

impl BlockHeader {
    /// The header as it stands at `offset` of the file with this salt.
    #[must_use]
    pub fn encode(&self, salt: &[u8; 16], offset: u64) -> [u8; BLOCK_HEADER_BYTES] {
        let magic = if self.is_short { SHORT_BLOCK_MAGIC } else { BLOCK_MAGIC };
        self.encode_of(magic, salt, offset)
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
        Self::decode_of(&[BLOCK_MAGIC, SHORT_BLOCK_MAGIC], bytes, salt, offset)
    }

    /// Where in the file the ids begin that were taken out of the block's frames; `packed` is what
    /// follows the header. `None` when none were taken out.
    #[must_use]
    pub fn ids(&self, packed: &[u8]) -> Option<u32> {
        let at = packed.first_chunk().filter(|_| self.is_short)?;
        Some(u32::from_le_bytes(*at))
    }

    fn decode_of(
        magics: &[[u8; 4]],
        bytes: &[u8],
        salt: &[u8; 16],
        offset: u64,
    ) -> Result<Self, Damage> {
        let bytes: &[u8; BLOCK_HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Truncated)?;
        let magic = get::<MAGIC_AT, _, _>(bytes);
        if !magics.contains(&magic) {
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
            is_short: magic == SHORT_BLOCK_MAGIC,
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

/// What a block holds, as it is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<'a> {
    bytes: Cow<'a, [u8]>,
    /// How many bytes the frames take.
    len: usize,
    is_short: bool,
}

impl<'a> Content<'a> {
    /// These frames, without the ids that are named, which are in their order and do not overlap.
    /// Those that are too far apart, or too many for one block, stay.
    #[must_use]
    pub fn new(frames: &'a [u8], ids: &[SharedId]) -> Self {
        let bytes = match ids {
            [] => Cow::Borrowed(frames),
            ids => Cow::Owned(shared::take_out(frames, ids)),
        };
        Self { bytes, len: frames.len(), is_short: !ids.is_empty() }
    }

    /// How many bytes the frames take.
    #[must_use]
    pub const fn frames_len(&self) -> usize {
        self.len
    }

    /// What is compressed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Where a block is to stand.
#[derive(Debug, Clone, Copy)]
pub struct BlockPlace<'a> {
    /// Where its frames begin in the segment that is not packed.
    pub start: u32,
    /// Where the ids stand in the file that were taken out of them.
    pub ids: u32,
    /// The salt of the file, and where the block stands there.
    pub salt: &'a [u8; 16],
    /// Where the block stands in the file.
    pub offset: u64,
}

/// Appends a block to `out`. `packer` sets how hard it is tried.
///
/// # Errors
/// [`Error::TooLarge`] for more frames than a block holds; [`Error::Invalid`] should zstd fail.
pub fn pack(
    packer: &mut zstd::bulk::Compressor<'_>,
    content: &Content<'_>,
    place: BlockPlace<'_>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let too_large = || Error::TooLarge {
        what: "a block in bytes",
        size: content.len as u64,
        limit: u64::from(MAX_BLOCK_BYTES),
    };
    let len = u32::try_from(content.len).ok().filter(|len| (1..=MAX_BLOCK_BYTES).contains(len));
    let len = len.ok_or_else(too_large)?;
    let compressed = packer
        .compress(&content.bytes)
        .map_err(|err| Error::invalid("block", &err.to_string(), "frames that can be packed"))?;
    let ids = if content.is_short { &place.ids.to_le_bytes()[..] } else { &[] };
    let packed = [ids, &compressed].concat();
    let packed_len = u32::try_from(packed.len()).map_err(|_| too_large())?;
    let packed_crc = crc::masked(&packed);
    let BlockPlace { start, salt, offset, .. } = place;
    let header = BlockHeader { start, len, packed_len, packed_crc, is_short: content.is_short };
    out.extend_from_slice(&header.encode(salt, offset));
    out.extend_from_slice(&packed);
    Ok(())
}

/// The frames of the block that stands at `offset` of the file with this salt, and what its header
/// says. `dictionary` is that of the segment, if it has one.
///
/// # Errors
/// As for [`BlockHeader::decode`]; [`Damage::PayloadChecksum`] when the compressed bytes, or the
/// ids, are not those that were written, and when they are not what they say.
pub fn unpack(
    file: &[u8],
    salt: &[u8; 16],
    offset: u32,
    dictionary: Option<&Dictionary>,
) -> Result<(BlockHeader, Vec<u8>), Damage> {
    let bytes = file.get(offset as usize..).ok_or(Damage::Truncated)?;
    let header = BlockHeader::decode(bytes, salt, offset.into())?;
    let packed = bytes.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
    let packed = packed.get(..header.packed_len as usize).ok_or(Damage::Truncated)?;
    if crc::masked(packed) != header.packed_crc {
        return Err(Damage::PayloadChecksum);
    }
    let len = header.len as usize;
    let frames = match header.is_short {
        false => decompress(packed, dictionary, len).filter(|frames| frames.len() == len),
        true => header.ids(packed).zip(packed.get(IDS_AT_BYTES..)).and_then(|(ids, packed)| {
            let ids = file.get(ids as usize..offset as usize)?;
            shared::put_back(&decompress(packed, dictionary, len + shared::MOST_MORE)?, ids, len)
        }),
    };
    frames.map(|frames| (header, frames)).ok_or(Damage::PayloadChecksum)
}

/// What was compressed, if it is no more than so many bytes: as many as a header says, whose size
/// was compared with its checksum and has a bound.
fn decompress(packed: &[u8], dictionary: Option<&Dictionary>, most: usize) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(most);
    let mut unpack = |unpacker: &mut Option<DCtx<'static>>| {
        *unpacker = unpacker.take().or_else(DCtx::try_create);
        let unpacker = unpacker.as_mut()?;
        match dictionary {
            Some(it) => unpacker.decompress_using_ddict(&mut content, packed, it.prepared()).ok(),
            None => unpacker.decompress(&mut content, packed).ok(),
        }
    };
    // A thread that ends keeps none any more.
    let unpacked = UNPACKER.try_with(|kept| unpack(&mut kept.borrow_mut()));
    unpacked.unwrap_or_else(|_| unpack(&mut None))?;
    Some(content)
}

/// The headers of the blocks of a packed file with this salt that are whole, with where they stand,
/// in their order; for a file without a footer to tell.
#[must_use]
pub fn find(file: &[u8], salt: &[u8; 16]) -> Vec<(u32, BlockHeader)> {
    let (mut found, mut at) = (Vec::new(), BLOCKS_START);
    // What all blocks begin with.
    let magic: &[u8] = BLOCK_MAGIC.split_last().map_or(&[], |(_, common)| common);
    while let Some(skip) = file.get(at..).and_then(|rest| memmem::find(rest, magic)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = *b"sixteen bytes...";
    const AT: u32 = 4096;

    fn block(frames: &[u8]) -> Vec<u8> {
        let mut packer = zstd::bulk::Compressor::new(3).unwrap();
        let mut out = vec![0; AT as usize];
        let place = BlockPlace { start: 256, ids: 0, salt: &SALT, offset: AT.into() };
        pack(&mut packer, &Content::new(frames, &[]), place, &mut out).unwrap();
        out
    }

    #[test]
    fn what_was_packed_comes_back() {
        let frames: Vec<u8> = (0..20_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut bytes = block(&frames);
        let packed_len = bytes.len() - AT as usize - BLOCK_HEADER_BYTES;
        assert!(packed_len < frames.len() / 2);
        bytes.extend_from_slice(b"what follows");
        let (header, unpacked) = unpack(&bytes, &SALT, AT, None).unwrap();
        assert_eq!(unpacked, frames);
        assert_eq!((header.start, header.len as usize), (256, frames.len()));
        assert_eq!(header.packed_len as usize, packed_len);
    }

    #[test]
    fn every_bit_flip_every_truncation_and_another_place_fail() {
        let bytes = block(b"frames, frames, frames, and frames");
        for bit in AT as usize * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unpack(&flipped, &SALT, AT, None).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(unpack(&bytes[..len], &SALT, AT, None).is_err(), "{len}");
        }
        assert_eq!(unpack(&bytes[1..], &SALT, AT - 1, None), Err(Damage::HeaderChecksum));
        assert_eq!(unpack(&bytes, &[0; 16], AT, None), Err(Damage::HeaderChecksum));
    }

    /// A forged block is no bomb: it says how large it is, and no more is unpacked.
    #[test]
    fn a_block_that_unpacks_to_another_size_fails() {
        let packed = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
        for len in [1, 1 << 19, (1 << 20) + 1, MAX_BLOCK_BYTES] {
            let packed_len = u32::try_from(packed.len()).unwrap();
            let packed_crc = crc::masked(&packed);
            for is_short in [false, true] {
                let header = BlockHeader { start: 256, len, packed_len, packed_crc, is_short };
                let bytes = [&header.encode(&SALT, 0)[..], &packed].concat();
                assert_eq!(unpack(&bytes, &SALT, 0, None), Err(Damage::PayloadChecksum), "{len}");
            }
        }
        for len in [0, MAX_BLOCK_BYTES + 1, u32::MAX] {
            let header =
                BlockHeader { start: 256, len, packed_len: 0, packed_crc: 0, is_short: false };
            assert_eq!(
                BlockHeader::decode(&header.encode(&SALT, 0), &SALT, 0),
                Err(Damage::Length)
            );
        }
    }

    /// Ids stand in the file once, at its beginning, and the block behind them; its frames have the
    /// id in the middle twice.
    fn short_block() -> (Vec<u8>, Vec<u8>) {
        let ids = *b"the first of ids the second one, the third of the ids.";
        let id = |number: usize| &ids[number * 16..][..16];
        let frames =
            [b"a frame of ", id(1), b" and ", id(2), id(0), b" and again ", id(1)].concat();
        let at = |at, number| SharedId { at, number };
        let shared = [at(11, 1), at(32, 2), at(48, 0), at(75, 1)];
        let mut out = ids.to_vec();
        let place = BlockPlace { start: 256, ids: 0, salt: &SALT, offset: out.len() as u64 };
        let mut packer = zstd::bulk::Compressor::new(3).unwrap();
        let content = Content::new(&frames, &shared);
        assert!(content.bytes().len() < frames.len() - 3 * 12);
        pack(&mut packer, &content, place, &mut out).unwrap();
        (frames, out)
    }

    #[test]
    fn ids_that_were_taken_out_are_put_back() {
        let (frames, file) = short_block();
        let (header, unpacked) = unpack(&file, &SALT, 54, None).unwrap();
        assert_eq!(unpacked, frames);
        assert!(header.is_short);
        assert_eq!(find(&[&[0; 256], &file[54..]].concat(), &SALT), [], "bound to its place");
    }

    /// No id is believed either: what it is put into is compared as it was before.
    #[test]
    fn an_id_that_was_changed_fails_what_has_it_and_nothing_else() {
        let (frames, file) = short_block();
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let unpacked = unpack(&flipped, &SALT, 54, None);
            match bit / 8 {
                // Behind the last id nothing is read.
                48..54 => assert_eq!(unpacked.unwrap().1, frames),
                at => assert!(unpacked.is_err(), "bit {bit} of byte {at}"),
            }
        }
    }
}
