//! The only seam to the file system, the clock, chance and the machine's processes.
//!
//! Everything above asks for files, locks, time and random bytes through [`Storage`]; [`Disk`]
//! gives the real ones, and tests put in a disk that loses power, fills up or lies.

mod disk;
mod host;
mod map;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use disk::Disk;
pub use host::Fate;
pub use map::Map;
pub(crate) use map::prefetch;

use crate::error::Result;
use crate::model::Owner;

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To read; it must be there.
    Read,
    /// To read and write; it must be there.
    Write,
    /// To read and write; it must not be there.
    CreateNew,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory. Names that are no UTF-8 are left out of listings.
    pub name: String,
    /// True for a directory.
    pub is_dir: bool,
    /// The length in bytes.
    pub len: u64,
    /// The bytes of disk that are allocated to it, which can be more or less than its length.
    pub allocated: u64,
    /// When the content was changed last, in nanoseconds since the Unix epoch.
    pub modified: i64,
}

/// A place to keep files, with a clock.
///
/// Errors name the operation and the path. No method retries after an error other than an
/// interrupted call.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Creates a directory and those above it that are missing; fine when it is there.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn create_dir_all(&self, path: &Path) -> Result<()>;

    /// Lists a directory in the order of names.
    ///
    /// # Errors
    /// When the operating system refuses. An entry that vanishes meanwhile is left out.
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>>;

    /// True when the path is there.
    ///
    /// # Errors
    /// When that cannot be told, for want of a permission for instance.
    fn exists(&self, path: &Path) -> Result<bool>;

    /// Opens a file.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>>;

    /// Gives a file another name in the same directory, in place of a file that has it.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Maps of it stay readable.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Puts a directory's entries on stable storage: files created, renamed and removed in it.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// Takes the lock of a file, creating it when it is missing, and writes `note` into it.
    /// The lock goes with the returned guard and with the process. A disk that has no room for the
    /// note keeps nobody from the lock.
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked) with the note's text as its holder when it is taken;
    /// else when the operating system refuses.
    fn lock(&self, path: &Path, note: &str) -> Result<Box<dyn Send + Sync>>;

    /// The wall clock, in nanoseconds since the Unix epoch.
    fn now(&self) -> i64;

    /// A clock that never goes back, from any origin.
    fn monotonic(&self) -> Duration;

    /// Sixteen random bytes.
    ///
    /// # Errors
    /// When the operating system has none.
    fn random(&self) -> Result<[u8; 16]>;

    /// The process with this id on this machine, as the owner of runs. Where the operating system
    /// does not tell what makes it out from others, there is no more in it than the host.
    fn owner(&self, pid: u32) -> Owner<'static> {
        host::owner(pid)
    }

    /// What has become of the process of an owner. Never says of a process that lives that it has
    /// ended.
    fn fate(&self, owner: &Owner<'_>) -> Fate {
        host::fate(owner)
    }
}

/// An open file. Offsets and lengths are in bytes.
#[expect(
    clippy::len_without_is_empty,
    reason = "a length that has to be asked for, and may fail, is no collection's"
)]
pub trait File: fmt::Debug + Send + Sync {
    /// The file's length.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn len(&self) -> Result<u64>;

    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `bytes`. After an error any part of them may have been written.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Puts the file's content and length on stable storage.
    ///
    /// # Errors
    /// When the operating system refuses. After an error nothing is known of what was written
    /// since the sync before, and a second call that succeeds proves nothing.
    fn sync(&self) -> Result<()>;

    /// Makes the file this long; new bytes read as zero.
    ///
    /// # Errors
    /// When the operating system refuses.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Reserves disk space up to `len` and makes the file at least that long; new bytes read as
    /// zero. Where the file system cannot reserve, it does nothing.
    ///
    /// # Errors
    /// When there is no space, or the operating system refuses.
    fn allocate(&self, len: u64) -> Result<()>;

    /// A view of at least the first `len` bytes.
    ///
    /// # Errors
    /// When the file is shorter, or the operating system refuses.
    fn map(&self, len: usize) -> Result<Map>;

    /// As [`File::map`], of a file that grows: where a view can show what is not there yet, it
    /// shows up to `most` bytes, so that it need not be made anew for as long as the file is no
    /// longer than that. What lies beyond the file's end is not to be read.
    ///
    /// # Errors
    /// As for [`File::map`].
    fn map_ahead(&self, len: usize, most: usize) -> Result<Map> {
        let _ = most;
        self.map(len)
    }
}
