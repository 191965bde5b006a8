//! The frames of a packed segment, unpacked block by block as they are read.
//!
//! All offsets are those of the segment as it would lie there not packed: a header of the same
//! length, then the frames. Only this file knows where the blocks are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::{Damage, Error, Result};
use crate::format::block::{self, BLOCK_HEADER_BYTES, BlockHeader, Dictionary};
use crate::format::packed::Packed;
use crate::segment::sealed::SealedIndex;
use crate::segment::{FRAMES_START, Segment, State};
use crate::storage::{File, Map};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// So many cells are made at a time: a query reads few of the blocks of a segment.
const CELLS: usize = 64;

/// What frames are read from: a file of them, or one of blocks of them.
pub(crate) trait Source {
    /// Where it ends.
    ///
    /// # Errors
    /// When the operating system refuses to tell.
    fn len(&self) -> Result<u64>;

    /// Reads up to `buf.len()` bytes; fewer only at the end.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;
}

impl<F: File> Source for F {
    fn len(&self) -> Result<u64> {
        File::len(self)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        File::read_at(self, buf, offset)
    }
}

/// The blocks of a packed segment.
#[derive(Debug)]
pub(super) struct Blocks {
    path: PathBuf,
    map: Map,
    salt: [u8; 16],
    /// From the first of its two copies that is whole.
    dictionary: Option<Dictionary>,
    places: Places,
    end: u32,
    /// The block that the last piece which was read ends in, and its frames, or nothing of one that
    /// is damaged: who reads on in pieces does not unpack it for each of them.
    begun: Mutex<Option<(u32, Vec<u8>)>>,
}

/// Where they are.
#[derive(Debug)]
enum Places {
    /// In two columns of the footer.
    Footer(Arc<SealedIndex>),
    /// Where they were found, as there is no footer.
    Found(Vec<Place>),
}

/// Where a block lies in the file, and its frames in the segment that is not packed.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    start: u32,
    end: u32,
}

impl Blocks {
    /// Those that the footer tells of.
    fn of_footer(path: &Path, sealed: &Arc<SealedIndex>, salt: [u8; 16]) -> Result<Self, Damage> {
        let (_, starts) = sealed.blocks()?;
        let end = starts.len().checked_sub(1).and_then(|last| starts.get(last));
        let end = end.and_then(|end| u32::try_from(end).ok()).ok_or(Damage::Footer)?;
        let dictionary = block::dictionary(sealed.map.as_slice(), &salt);
        let places = Places::Footer(Arc::clone(sealed));
        let (path, map) = (path.to_owned(), sealed.map.clone());
        Ok(Self { path, map, salt, dictionary, places, end, begun: Mutex::default() })
    }

    /// Those that are found in the file, where there is no footer to tell.
    fn found(path: &Path, map: Map, salt: [u8; 16]) -> Self {
        let (mut places, mut end) = (Vec::new(), FRAMES_START);
        for (at, header) in block::find(map.as_slice(), &salt) {
            let content = at as usize + BLOCK_HEADER_BYTES;
            let is_there = content + header.packed_len as usize <= map.as_slice().len();
            // One that does not follow those before it is not of this segment.
            if header.start >= end && is_there {
                end = header.start + header.len;
                places.push(Place { at, start: header.start, end });
            }
        }
        let dictionary = block::dictionary(map.as_slice(), &salt);
        let (path, places) = (path.to_owned(), Places::Found(places));
        Self { path, map, salt, dictionary, places, end, begun: Mutex::default() }
    }

    /// An error when a page of the file could not be read: what was read of it are zeros.
    pub(super) fn check_kept(&self) -> Result<()> {
        match self.map.is_lost() {
            true => Err(Error::io("read", &self.path, rustix::io::Errno::IO.into())),
            false => Ok(()),
        }
    }

    fn count(&self) -> usize {
        match &self.places {
            Places::Footer(sealed) => sealed.blocks().map_or(0, |(blocks, _)| blocks.len()),
            Places::Found(places) => places.len(),
        }
    }

    fn place(&self, number: usize) -> Option<Place> {
        match &self.places {
            Places::Footer(sealed) => {
                let (blocks, starts) = sealed.blocks().ok()?;
                let get = |column: &Packed<'_>, at| u32::try_from(column.get(at)?).ok();
                let (at, start) = (get(&blocks, number)?, get(&starts, number)?);
                Some(Place { at, start, end: get(&starts, number + 1)? })
            }
            Places::Found(places) => places.get(number).copied(),
        }
    }

    /// How many blocks begin at `offset` or before.
    fn up_to(&self, offset: u64) -> usize {
        match &self.places {
            Places::Footer(sealed) => {
                let columns = sealed.blocks();
                columns.map_or(0, |(_, starts)| starts.partition_point(|start| start <= offset))
            }
            Places::Found(places) => {
                places.partition_point(|place| u64::from(place.start) <= offset)
            }
        }
    }

    /// The block that the frame at `offset` lies in.
    fn number(&self, offset: u32) -> Option<(usize, Place)> {
        let number = self.up_to(offset.into()).checked_sub(1)?;
        let place = self.place(number).filter(|place| offset < place.end)?;
        Some((number, place))
    }

    fn unpack(&self, place: Place) -> Result<Vec<u8>, Damage> {
        let file = self.map.as_slice();
        let (header, frames) = block::unpack(file, &self.salt, place.at, self.dictionary.as_ref())?;
        let is_its = header.start == place.start && header.start + header.len == place.end;
        if is_its { Ok(frames) } else { Err(Damage::Footer) }
    }

    /// Where the blocks are, as a footer has it.
    pub(super) fn columns(&self) -> (Vec<u32>, Vec<u32>) {
        let places = (0..self.count()).filter_map(|number| self.place(number));
        let (places, mut starts): (Vec<_>, Vec<_>) = places.map(|it| (it.at, it.start)).unzip();
        starts.push(self.end);
        (places, starts)
    }

    /// True when the dictionary, if there is one, is whole in both of its copies.
    pub(super) fn has_whole_dictionary(&self) -> bool {
        let copy = |at: usize| {
            let bytes = self.map.as_slice().get(at..).unwrap_or_default();
            Dictionary::decode(bytes, &self.salt, at as u64).is_ok()
        };
        let last = self.count().checked_sub(1).and_then(|last| {
            let place = self.place(last)?;
            let bytes = self.map.as_slice().get(place.at as usize..)?;
            let header = BlockHeader::decode(bytes, &self.salt, place.at.into()).ok()?;
            Some(place.at as usize + BLOCK_HEADER_BYTES + header.packed_len as usize)
        });
        let is_first = |at: usize| at == FRAMES_START as usize;
        match &self.dictionary {
            Some(_) => copy(FRAMES_START as usize) && last.is_none_or(copy),
            // The first block stands where a dictionary would.
            None => self.place(0).is_none_or(|place| is_first(place.at as usize)),
        }
    }
}

/// A block that is damaged reads as zeros, in which no frame begins; one that cannot be read is an
/// error.
impl Source for Blocks {
    fn len(&self) -> Result<u64> {
        Ok(self.end.into())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let end = offset.saturating_add(buf.len() as u64).min(self.end.into());
        let len = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        let buf = buf.get_mut(..len).unwrap_or_default();
        buf.fill(0);
        let header = self.map.as_slice().get(..FRAMES_START as usize).unwrap_or_default();
        copy(header, 0, buf, offset);
        let first = self.up_to(offset).saturating_sub(1);
        let places = (first..).map_while(|number| self.place(number));
        for place in places.take_while(|place| u64::from(place.start) < end) {
            let begun = self.begun.lock().take_if(|(start, _)| *start == place.start);
            let frames =
                begun.map_or_else(|| self.unpack(place).unwrap_or_default(), |(_, frames)| frames);
            copy(&frames, place.start.into(), buf, offset);
            if end < place.end.into() {
                *self.begun.lock() = Some((place.start, frames));
            }
        }
        self.check_kept()?;
        Ok(len)
    }
}

/// Copies what of `from`, which begins at `start`, lies in `buf`, which begins at `offset`.
fn copy(from: &[u8], start: u64, buf: &mut [u8], offset: u64) {
    let skip = |by: u64| usize::try_from(by).unwrap_or(usize::MAX);
    let from = from.get(skip(offset.saturating_sub(start))..).unwrap_or_default();
    let to = buf.get_mut(skip(start.saturating_sub(offset))..).unwrap_or_default();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Blocks, and what was unpacked of them.
#[derive(Debug)]
pub(super) struct Unpacked {
    blocks: Arc<Blocks>,
    cells: Box<[OnceLock<Box<[Cell]>>]>,
    /// How many bytes were unpacked.
    bytes: AtomicUsize,
}

type Cell = OnceLock<Vec<u8>>;

impl Unpacked {
    pub(super) fn new(blocks: Arc<Blocks>) -> Self {
        let cells = (0..blocks.count().div_ceil(CELLS)).map(|_| OnceLock::new()).collect();
        Self { blocks, cells, bytes: AtomicUsize::new(0) }
    }

    /// The same blocks, of which nothing is unpacked yet.
    pub(super) fn anew(&self) -> Self {
        Self::new(Arc::clone(&self.blocks))
    }

    /// How many bytes were unpacked.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The bytes from `offset` to the end of its block.
    pub(super) fn at(&self, offset: u32) -> Result<&[u8], Damage> {
        let (number, place) = self.blocks.number(offset).ok_or(Damage::Length)?;
        let cells = self.cells.get(number / CELLS).ok_or(Damage::Length)?;
        let cells = cells.get_or_init(|| (0..CELLS).map(|_| OnceLock::new()).collect());
        let cell = cells.get(number % CELLS).ok_or(Damage::Length)?;
        let frames = match cell.get() {
            Some(frames) => frames,
            None => {
                let frames = self.blocks.unpack(place)?;
                self.bytes.fetch_add(frames.len(), Ordering::Relaxed);
                cell.get_or_init(|| frames)
            }
        };
        frames.get((offset - place.start) as usize..).ok_or(Damage::Truncated)
    }

    pub(super) fn map(&self) -> &Map {
        &self.blocks.map
    }
}

impl Segment {
    /// What the frames are read from one after the other.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn source(&self) -> Result<FrameSource<'_>> {
        match self.header.packed {
            false => Ok(FrameSource::Plain(&self.file)),
            true => self.blocks().map(FrameSource::Packed),
        }
    }

    /// Where the blocks of a packed segment are.
    ///
    /// # Errors
    /// When the file cannot be read, or a page of it is lost. What is left of one that was cut is
    /// not kept, for the file may be whole again.
    pub(super) fn blocks(&self) -> Result<Arc<Blocks>> {
        let is_whole = |blocks: &&Arc<Blocks>| !blocks.map.is_lost();
        if let Some(blocks) = self.blocks.read().as_ref().filter(is_whole) {
            return Ok(Arc::clone(blocks));
        }
        let of_footer = match &*self.state.read_recursive() {
            State::Sealed(sealed) if sealed.map.is_lost() => return Err(self.lost(&sealed.map)),
            State::Sealed(sealed) => Blocks::of_footer(&self.path, sealed, self.header.salt).ok(),
            State::Memory(_) => None,
        };
        let blocks = match of_footer {
            Some(blocks) => blocks,
            None => {
                let len = usize::try_from(File::len(&self.file)?).unwrap_or(usize::MAX);
                Blocks::found(&self.path, self.map(len)?, self.header.salt)
            }
        };
        if blocks.map.is_lost() {
            return Err(self.lost(&blocks.map));
        }
        let blocks = Arc::new(blocks);
        // What is missing is damaged, or cut off for now.
        if blocks.end >= self.end() {
            *self.blocks.write() = Some(Arc::clone(&blocks));
        }
        Ok(blocks)
    }
}

/// What the frames of a segment are read from.
pub(super) enum FrameSource<'a> {
    Plain(&'a dyn Source),
    Packed(Arc<Blocks>),
}

impl FrameSource<'_> {
    pub(super) fn as_dyn(&self) -> &dyn Source {
        match self {
            Self::Plain(file) => *file,
            Self::Packed(blocks) => &**blocks,
        }
    }
}

/// What is found in a packed file that is opened without a footer.
pub(super) fn blocks_of(path: &Path, file: &dyn File, salt: [u8; 16]) -> Result<Blocks> {
    let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let blocks = Blocks::found(path, file.map(len)?, salt);
    blocks.check_kept()?;
    Ok(blocks)
}
