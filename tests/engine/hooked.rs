use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::storage::{DirEntry, Fate, File, Map, OpenMode, Storage};
use runledger::{Owner, Process, Result};

/// What is called before an operation: its name and path.
type Hook = Arc<dyn Fn(&str, &Path) + Send + Sync>;

/// What has become of an owner's process, asked in the midst of the engine's work.
type Fates = Arc<dyn Fn(&Owner<'_>) -> Fate + Send + Sync>;

/// A storage that lets a test act in the midst of the engine's work, in the engine's own thread.
#[derive(Clone)]
pub(crate) struct Hooked {
    inner: Arc<dyn Storage>,
    hook: Arc<Mutex<Option<Hook>>>,
    fates: Arc<Mutex<Option<Fates>>>,
}

impl Hooked {
    pub(crate) fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, hook: Arc::default(), fates: Arc::default() }
    }

    /// Has this tell what has become of processes, of which all live otherwise.
    pub(crate) fn set_fates(&self, fate: impl Fn(&Owner<'_>) -> Fate + Send + Sync + 'static) {
        *self.fates.lock() = Some(Arc::new(fate));
    }

    /// Has this called before every operation, of those on open files before `write`, `sync` and
    /// `allocate`.
    pub(crate) fn set(&self, hook: impl Fn(&str, &Path) + Send + Sync + 'static) {
        *self.hook.lock() = Some(Arc::new(hook));
    }

    fn call(&self, operation: &str, path: &Path) {
        // Not held during the call, which may come back here.
        let hook = self.hook.lock().clone();
        hook.into_iter().for_each(|hook| hook(operation, path));
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Storage for Hooked {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        self.inner.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.call("list", path);
        self.inner.list(path)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.inner.exists(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.call("open", path);
        let (inner, storage) = (self.inner.open(path, mode)?, self.clone());
        Ok(Arc::new(HookedFile { inner, path: path.to_owned(), storage }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.call("remove", path);
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.call("sync_dir", path);
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path, note: &str) -> Result<Box<dyn Send + Sync>> {
        self.inner.lock(path, note)
    }

    fn now(&self) -> i64 {
        self.call("now", Path::new(""));
        self.inner.now()
    }

    fn monotonic(&self) -> Duration {
        self.call("monotonic", Path::new(""));
        self.inner.monotonic()
    }

    fn random(&self) -> Result<[u8; 16]> {
        self.inner.random()
    }

    fn owner(&self, pid: u32) -> Owner<'static> {
        Owner::new("web-1").process(Process::new(pid, 887_766, [7; 16], 4_026_531_836))
    }

    fn fate(&self, owner: &Owner<'_>) -> Fate {
        // Not held during the call, which may come back here.
        let fates = self.fates.lock().clone();
        fates.map_or(Fate::Lives, |fates| fates(owner))
    }
}

#[derive(Debug)]
struct HookedFile {
    inner: Arc<dyn File>,
    path: PathBuf,
    storage: Hooked,
}

impl File for HookedFile {
    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.storage.call("write", &self.path);
        self.inner.write_at(bytes, offset)
    }

    fn sync(&self) -> Result<()> {
        self.storage.call("sync", &self.path);
        self.inner.sync()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.inner.set_len(len)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.storage.call("allocate", &self.path);
        self.inner.allocate(len)
    }

    fn map(&self, len: usize) -> Result<Map> {
        self.inner.map(len)
    }
}
