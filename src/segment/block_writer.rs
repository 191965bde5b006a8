//! Writing the blocks of a packed segment, and what they have in common: a dictionary, and ids.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::block::{self, BlockPlace, Content, Dictionary, SharedId};
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::key::WideId;
use crate::segment::{Draft, FRAMES_START};
use crate::storage::File;

/// How hard zstd tries: twice as long as at level 6, for 4% less on disk that is faster to read;
/// beyond, it takes several times as long for less.
const LEVEL: i32 = 11;

/// How many bytes are written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// Blocks of so many bytes of frames are packed together: the ids that they have in common stand
/// before them once, and from the first ones the dictionary is made.
const TOGETHER_BYTES: usize = 2 << 20;

/// An id is taken out of blocks in which it stands so often, at the least: where it stands for all
/// of them takes bytes, too, and in each the number does.
const LEAST_USES: u32 = 3;

/// One byte of dictionary for so many bytes of samples, and no more than so many in all: blocks are
/// small, and without one each would have to learn anew what they all have in common.
const SAMPLES_PER_BYTE: usize = 32;
const DICTIONARY_BYTES: usize = 64 << 10;

/// What is written of a packed segment so far.
pub(super) struct BlockWriter {
    file: Arc<dyn File>,
    salt: [u8; 16],
    /// What packs, once there are samples enough for a dictionary.
    zstd: Option<zstd::bulk::Compressor<'static>>,
    dictionary: Vec<u8>,
    /// The blocks that wait to be packed together, and how many bytes they have.
    waiting: Vec<Frames>,
    waited: usize,
    /// Where the next block's frames begin in the segment that is not packed.
    start: u32,
    /// What is to be written next, and where.
    out: Vec<u8>,
    written: u64,
    /// Where the blocks are, and where their frames begin.
    pub(super) places: Vec<u32>,
    pub(super) starts: Vec<u32>,
}

/// The frames of a block.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) bytes: Vec<u8>,
    /// Ids in them that other blocks may have, too, and where they stand: in their order.
    pub(super) ids: Vec<(u32, WideId)>,
}

impl Frames {
    /// Adds a frame, whose records are those of the draft.
    pub(super) fn push(&mut self, frame: &[u8], draft: &Draft) {
        let start = self.bytes.len();
        let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let first = self.ids.len();
        draft.for_each_wide_id(payload, |at, id| {
            if let Ok(at) = u32::try_from(start + FRAME_HEADER_BYTES + at) {
                self.ids.push((at, *id));
            }
        });
        // A record may have one id in several fields, which is then found in one place.
        if let Some(new) = self.ids.get_mut(first..) {
            new.sort_unstable();
        }
        self.ids.dedup_by_key(|(at, _)| *at);
        self.bytes.extend_from_slice(frame);
    }

    /// What of them is compressed when the ids that have a number are taken out.
    fn without(&self, numbers: &HashMap<WideId, u16>) -> Content<'_> {
        let numbered = |(at, id): &(u32, _)| Some(SharedId { at: *at, number: *numbers.get(id)? });
        Content::new(&self.bytes, &self.ids.iter().filter_map(numbered).collect::<Vec<_>>())
    }
}

/// The ids that are worth taking out of these blocks, and their numbers, which are their places.
fn ids_in_common(blocks: &[Frames]) -> (Vec<WideId>, HashMap<WideId, u16>) {
    let all = || blocks.iter().flat_map(|frames| &frames.ids).map(|(_, id)| *id);
    let mut uses = HashMap::new();
    all().for_each(|id| *uses.entry(id).or_insert(0_u32) += 1);
    let (mut ids, mut numbers) = (Vec::new(), HashMap::new());
    for id in all().filter(|id| uses.get(id).is_some_and(|&uses| uses >= LEAST_USES)) {
        let Ok(number) = u16::try_from(ids.len()) else { break };
        numbers.entry(id).or_insert_with(|| {
            ids.push(id);
            number
        });
    }
    (ids, numbers)
}

impl BlockWriter {
    /// Begins with the segment's headers.
    pub(super) fn new(file: Arc<dyn File>, salt: [u8; 16], headers: Vec<u8>) -> Self {
        Self {
            file,
            salt,
            zstd: None,
            dictionary: Vec::new(),
            waiting: Vec::new(),
            waited: 0,
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
    pub(super) fn add(&mut self, frames: Frames) -> Result<()> {
        self.waited += frames.bytes.len();
        self.waiting.push(frames);
        if self.waited >= TOGETHER_BYTES { self.pack_waiting() } else { Ok(()) }
    }

    /// Packs the blocks that have waited. What the first have in common becomes the dictionary.
    fn pack_waiting(&mut self) -> Result<()> {
        self.waited = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let (mut ids, numbers) = ids_in_common(&waiting);
        let mut contents: Vec<_> = waiting.iter().map(|frames| frames.without(&numbers)).collect();
        if self.zstd.is_none() {
            self.begin(&contents)?;
        }
        if self.dictionary.is_empty() {
            // What stands at the beginning is a dictionary, or else the first block.
            ids.clear();
            contents = waiting.iter().map(|frames| Content::new(&frames.bytes, &[])).collect();
        }
        let ids_at = narrow(self.end())?;
        self.out.extend_from_slice(ids.as_flattened());
        contents.iter().try_for_each(|content| self.pack(content, ids_at))
    }

    /// Makes the dictionary of these first blocks, and writes it.
    fn begin(&mut self, contents: &[Content<'_>]) -> Result<()> {
        let samples: Vec<_> = contents.iter().map(Content::bytes).collect();
        let sampled: usize = samples.iter().map(|sample| sample.len()).sum();
        let most = (sampled / SAMPLES_PER_BYTE).min(DICTIONARY_BYTES);
        // Of few samples, or such as have nothing in common, none is made.
        self.dictionary = zstd::dict::from_samples(&samples, most).unwrap_or_default();
        let failed = |err| Error::io("pack", Path::new("a segment"), err);
        let mut zstd = match self.dictionary.is_empty() {
            true => zstd::bulk::Compressor::new(LEVEL).map_err(failed)?,
            false => {
                zstd::bulk::Compressor::with_dictionary(LEVEL, &self.dictionary).map_err(failed)?
            }
        };
        // The block's header, and the file, tell these.
        zstd.include_contentsize(false).map_err(failed)?;
        zstd.include_dictid(false).map_err(failed)?;
        self.zstd = Some(zstd);
        self.put_dictionary()
    }

    fn put_dictionary(&mut self) -> Result<()> {
        if self.dictionary.is_empty() {
            return Ok(());
        }
        let at = self.end();
        Dictionary::encode(&self.dictionary, &self.salt, at, &mut self.out)
    }

    fn pack(&mut self, content: &Content<'_>, ids: u32) -> Result<()> {
        let offset = self.end();
        let Some(zstd) = &mut self.zstd else { return Ok(()) };
        let place = BlockPlace { start: self.start, ids, salt: &self.salt, offset };
        block::pack(zstd, content, place, &mut self.out)?;
        self.places.push(narrow(offset)?);
        self.starts.push(self.start);
        self.start = narrow(u64::from(self.start) + content.frames_len() as u64)?;
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
        self.pack_waiting()?;
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
