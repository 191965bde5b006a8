//! Writing the blocks of a packed segment, and the dictionary that they have in common.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::block::{self, Dictionary};
use crate::segment::FRAMES_START;
use crate::storage::File;

/// How hard zstd tries: beyond, it takes several times as long for a few hundredths.
const LEVEL: i32 = 6;

/// How many bytes are written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// From so many bytes of the first blocks the dictionary is made.
const SAMPLE_BYTES: usize = 2 << 20;

/// One byte of dictionary for so many bytes of samples, and no more than so many in all: blocks are
/// small, and without one each would have to learn anew what they all have in common.
const SAMPLES_PER_BYTE: usize = 32;
const DICTIONARY_BYTES: usize = 32 << 10;

/// What is written of a packed segment so far.
pub(super) struct BlockWriter {
    file: Arc<dyn File>,
    salt: [u8; 16],
    /// What packs, once there are samples enough for a dictionary.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    dictionary: Vec<u8>,
    /// The blocks that wait for that, and how many bytes they have.
    samples: Vec<Vec<u8>>,
    sampled: usize,
    /// Where the next block's frames begin in the segment that is not packed.
    start: u32,
    /// What is to be written next, and where.
    out: Vec<u8>,
    written: u64,
    /// Where the blocks are, and where their frames begin.
    pub(super) places: Vec<u32>,
    pub(super) starts: Vec<u32>,
}

impl BlockWriter {
    /// Begins with the segment's headers.
    pub(super) fn new(file: Arc<dyn File>, salt: [u8; 16], headers: Vec<u8>) -> Self {
        Self {
            file,
            salt,
            zstd: None,
            dictionary: Vec::new(),
            samples: Vec::new(),
            sampled: 0,
            start: FRAMES_START,
            out: headers,
            written: 0,
            places: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Adds a block of these frames.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]; [`Error::TooLarge`] beyond the bounds of a segment.
    pub(super) fn add(&mut self, frames: Vec<u8>) -> Result<()> {
        if self.zstd.is_some() {
            return self.pack(&frames);
        }
        self.sampled += frames.len();
        self.samples.push(frames);
        if self.sampled >= SAMPLE_BYTES { self.begin() } else { Ok(()) }
    }

    /// Makes the dictionary and writes it, and the blocks that have waited for it.
    fn begin(&mut self) -> Result<()> {
        let most = (self.sampled / SAMPLES_PER_BYTE).min(DICTIONARY_BYTES);
        // Of few samples, or such as have nothing in common, none is made.
        self.dictionary = zstd::dict::from_samples(&self.samples, most).unwrap_or_default();
        let failed = |err| Error::io("pack", Path::new("a segment"), err);
        self.zstd = Some(match self.dictionary.is_empty() {
            true => zstd::bulk::Compressor::new(LEVEL).map_err(failed)?,
            false => {
                zstd::bulk::Compressor::with_dictionary(LEVEL, &self.dictionary).map_err(failed)?
            }
        });
        self.put_dictionary()?;
        std::mem::take(&mut self.samples).iter().try_for_each(|frames| self.pack(frames))
    }

    fn put_dictionary(&mut self) -> Result<()> {
        if self.dictionary.is_empty() {
            return Ok(());
        }
        let at = self.end();
        Dictionary::encode(&self.dictionary, &self.salt, at, &mut self.out)
    }

    fn pack(&mut self, frames: &[u8]) -> Result<()> {
        let Some(zstd) = &mut self.zstd else { return Ok(()) };
        let at = self.written + self.out.len() as u64;
        let place = narrow(at)?;
        block::pack(zstd, frames, self.start, &self.salt, at, &mut self.out)?;
        self.places.push(place);
        self.starts.push(self.start);
        self.start = narrow(u64::from(self.start) + frames.len() as u64)?;
        if self.out.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(&self.out, self.written)?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    fn end(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Ends the blocks, and gives where they end in the file.
    ///
    /// # Errors
    /// As for [`BlockWriter::add`].
    pub(super) fn finish(&mut self) -> Result<u32> {
        if self.zstd.is_none() {
            self.begin()?;
        }
        // Once more, so that no single damaged byte takes all blocks along.
        self.put_dictionary()?;
        self.starts.push(self.start);
        narrow(self.end())
    }

    /// Writes what follows the blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    /// Puts all of it on stable storage.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync()
    }
}

fn narrow(size: u64) -> Result<u32> {
    let limit = u64::from(u32::MAX);
    u32::try_from(size).map_err(|_| Error::TooLarge { what: "a segment in bytes", size, limit })
}
