//! Views of files: the one place in the crate with unsafe code.

use std::fmt;
use std::fs;
use std::io;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// The bytes of a file from its start, as a live shared map or as a copy in memory.
///
/// A clone is cheap and shows the same bytes. A map stays readable after the file is removed.
///
/// What is written to a file after its map was made shows through a live map up to the length that
/// was mapped, and never through a copy. [`Map::covers`] tells whether a view is enough.
#[derive(Clone)]
pub struct Map(Arc<View>);

enum View {
    Live(Mmap),
    Copy(Vec<u8>),
}

impl Map {
    /// A view of these bytes, for storages that are no real disk.
    ///
    /// ```
    /// use runledger::storage::Map;
    /// let map = Map::from_vec(vec![1, 2, 3]);
    /// assert_eq!(map.as_slice(), [1, 2, 3]);
    /// assert!(map.covers(3) && !map.covers(4));
    /// ```
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Arc::new(View::Copy(bytes)))
    }

    /// Maps the first `len` bytes of a file. The caller has checked that the file is that long:
    /// pages wholly past its end raise SIGBUS when they are read.
    #[expect(unsafe_code, reason = "a shared map can be had in no other way")]
    pub(super) fn live(file: &fs::File, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self::from_vec(Vec::new()));
        }
        // SAFETY: `Mmap` gives out `&[u8]`, so bytes that someone reads must not change meanwhile,
        // and pages must not vanish.
        //
        // - Within this crate both hold for every byte that is read. Writers only write past the
        //   end that they have published, readers only read before it, so a byte is written before
        //   it is read and never after. A file is cut short in one place, recovery, under the
        //   writer's lock: it cuts bytes past the last whole frame, which no reader has been given.
        //   Removing or renaming a file leaves its pages mapped.
        // - Another process that reads the segment meanwhile follows the same protocol, and takes
        //   its end from checksums: bytes that it sees half-written fail them and are not believed.
        // - Against a program outside this crate nothing helps. One that overwrites a segment in
        //   place can change bytes after their checksum was verified, and one that truncates a
        //   segment, as a disk that fails with EIO, raises SIGBUS in whoever reads the lost pages,
        //   which ends the process. This limit is documented; segments are private to the ledger.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self(Arc::new(View::Live(map))))
    }

    /// The bytes. Past what has been written, a file's preallocated bytes read as zero.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &*self.0 {
            View::Live(map) => map,
            View::Copy(bytes) => bytes,
        }
    }

    /// True when the bytes below `end` are seen through this view: a live map when it is that long,
    /// as later writes show through it; a copy when that many bytes were copied.
    ///
    /// So that this tells the truth of a copy, a storage that copies must copy no more bytes than
    /// it was asked for: the ones after them may still be written.
    #[must_use]
    pub fn covers(&self, end: usize) -> bool {
        end <= self.as_slice().len()
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &*self.0 {
            View::Live(_) => "live",
            View::Copy(_) => "copy",
        };
        write!(f, "Map({form}, {} bytes)", self.as_slice().len())
    }
}
