//! What the blocks of a packed segment have in common.

use memchr::memmem;
use zstd::zstd_safe::DDict;

use crate::error::{Damage, Error, Result};
use crate::format::crc;

use super::{BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCKS_START, BlockHeader};

/// The first bytes of a dictionary.
pub const DICTIONARY_MAGIC: [u8; 4] = *b"\xf7RLd";

/// The largest dictionary that is read.
pub const MAX_DICTIONARY_BYTES: u32 = 1 << 20;

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

    pub(super) const fn prepared(&self) -> &DDict<'static> {
        &self.prepared
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
        let header = BlockHeader { start: 0, len, packed_len: len, packed_crc, is_short: false };
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
        let header = BlockHeader::decode_of(&[DICTIONARY_MAGIC], bytes, salt, offset)?;
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

/// The dictionary of a packed file with this salt: it stands before the blocks, and once more
/// behind them. `None` when there is none, or neither copy is whole.
#[must_use]
pub fn dictionary(file: &[u8], salt: &[u8; 16]) -> Option<Dictionary> {
    let at = |at: usize| Dictionary::decode(file.get(at..)?, salt, at as u64).ok();
    // The last header alone is believed: else who made the file could have each byte of it summed
    // for each of its headers.
    let has_header = |at: &usize| {
        let bytes = file.get(*at..).unwrap_or_default();
        BlockHeader::decode_of(&[DICTIONARY_MAGIC], bytes, salt, *at as u64).is_ok()
    };
    let first = file.get(BLOCKS_START..).unwrap_or_default();
    match at(BLOCKS_START) {
        None if !first.starts_with(&BLOCK_MAGIC) => {
            memmem::rfind_iter(file, &DICTIONARY_MAGIC).find(has_header).and_then(at)
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::block::{BlockPlace, Content, pack, unpack};

    const SALT: [u8; 16] = *b"sixteen bytes...";

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
        let place = BlockPlace { start: 256, ids: 0, salt: &SALT, offset: 0 };
        pack(&mut packer, &Content::new(&frames, &[]), place, &mut packed).unwrap();
        assert_eq!(unpack(&packed, &SALT, 0, Some(&dictionary)).unwrap().1, frames);
        assert_eq!(unpack(&packed, &SALT, 0, None), Err(Damage::PayloadChecksum));
        for bit in (0..bytes.len() * 8).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Dictionary::decode(&flipped, &SALT, 256).is_err(), "bit {bit}");
        }
        assert!(Dictionary::decode(&bytes, &SALT, 257).is_err());
        assert!(BlockHeader::decode(&bytes, &SALT, 256).is_err(), "no block");
    }

    /// What follows each header was summed until one was right: of headers that lie in the contents
    /// of one another all of it, each time.
    #[test]
    fn one_copy_alone_is_looked_at_behind_the_blocks() {
        let mut file = vec![0; 300];
        let append = |file: &mut Vec<u8>| {
            let at = file.len();
            Dictionary::encode(b"what many records say", &SALT, at as u64, file).unwrap();
            at
        };
        append(&mut file);
        file.extend_from_slice(&DICTIONARY_MAGIC);
        assert!(dictionary(&file, &SALT).is_some(), "whatever follows that is no header");
        let last = append(&mut file);
        assert!(dictionary(&file, &SALT).is_some());
        file[last + BLOCK_HEADER_BYTES] ^= 1;
        assert!(dictionary(&file, &SALT).is_none());
    }
}
