use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::storage::{File, Map, OpenMode, Storage};
use crate::sync::RwLock;

/// A segment's file. Once the segment is sealed it is read through its map, and the file is closed:
/// a ledger can have more segments than a process may have files. What still reads the file then
/// opens it for each call.
#[derive(Debug)]
pub(super) struct Handle {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    open: RwLock<Option<Arc<dyn File>>>,
}

impl Handle {
    pub(super) fn new(storage: Arc<dyn Storage>, path: PathBuf, file: Arc<dyn File>) -> Self {
        Self { storage, path, open: RwLock::new(Some(file)) }
    }

    /// Closes the file, all of which is on stable storage or of no account to this process.
    pub(super) fn close(&self) {
        *self.open.write() = None;
    }

    fn get(&self) -> Result<Arc<dyn File>> {
        let open = self.open.read().clone();
        open.map_or_else(|| self.storage.open(&self.path, OpenMode::Read), Ok)
    }
}

impl File for Handle {
    fn len(&self) -> Result<u64> {
        self.get()?.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.get()?.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.get()?.write_at(bytes, offset)
    }

    fn sync(&self) -> Result<()> {
        let open = self.open.read().clone();
        open.map_or(Ok(()), |file| file.sync())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.get()?.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.get()?.allocate(len)
    }

    fn map(&self, len: usize) -> Result<Map> {
        self.get()?.map(len)
    }

    fn map_ahead(&self, len: usize, most: usize) -> Result<Map> {
        self.get()?.map_ahead(len, most)
    }
}
