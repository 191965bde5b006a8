use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::Result;
use runledger::storage::{DirEntry, File, OpenMode, Storage};

/// What is called before an operation: its name and path.
type Hook = Arc<dyn Fn(&str, &Path) + Send + Sync>;

/// A storage that lets a test act in the midst of the engine's work, in the engine's own thread.
#[derive(Clone)]
pub(crate) struct Hooked {
    inner: Arc<dyn Storage>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Hooked {
    pub(crate) fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, hook: Arc::default() }
    }

    /// Has this called before every operation but those on open files.
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
        self.inner.open(path, mode)
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
}
