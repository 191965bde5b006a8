//! A storage in memory whose clock and chance are counters: a run of a target can be repeated.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runledger::storage::{DirEntry, File, Map, OpenMode, Storage};
use runledger::{Error, Result};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// What lies at each path. The paths are compared as text, which takes a fraction of the time that
/// their components do: the ledger makes all of them in one way.
type Tree<T> = BTreeMap<OsString, T>;

/// 2026-11-01T00:00:00Z.
const START: i64 = 1_793_491_200_000_000_000;

/// Files in memory.
#[derive(Debug)]
pub struct Memory {
    files: Mutex<Tree<Bytes>>,
    dirs: Mutex<Tree<()>>,
    clock: AtomicI64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { files: Mutex::default(), dirs: Mutex::default(), clock: AtomicI64::new(START) }
    }
}

impl Memory {
    /// Puts a file there, and the directories above it.
    pub fn put(&self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        let path = path.as_ref();
        lock(&self.dirs).extend(path.ancestors().skip(1).map(|dir| (dir.into(), ())));
        lock(&self.files).insert(path.into(), Arc::new(Mutex::new(bytes)));
    }

    /// The content of every file.
    pub fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = lock(&self.files);
        files.iter().map(|(path, bytes)| (path.into(), lock(bytes).clone())).collect()
    }

    /// What another process finds after this one was killed: the files as they are now.
    pub fn after_a_kill(&self) -> Self {
        let copy = Self {
            files: Mutex::default(),
            dirs: Mutex::new(lock(&self.dirs).clone()),
            clock: AtomicI64::new(self.clock.load(Ordering::Relaxed)),
        };
        for (path, bytes) in self.content() {
            copy.put(path, bytes);
        }
        copy
    }

    /// Moves the clock, forward or back.
    pub fn turn_clock(&self, nanos: i64) {
        self.clock.fetch_add(nanos, Ordering::Relaxed);
    }

    fn find(&self, operation: &'static str, path: &Path) -> Result<Bytes> {
        lock(&self.files)
            .get(path.as_os_str())
            .cloned()
            .ok_or_else(|| failed(operation, path, io::ErrorKind::NotFound))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(operation: &'static str, path: &Path, kind: io::ErrorKind) -> Error {
    Error::Io { operation, path: path.to_owned(), source: kind.into() }
}

/// Shows what lies in this directory itself, by name.
fn for_each_in<T>(tree: &Tree<T>, dir: &Path, mut show: impl FnMut(String, &T)) {
    let mut prefix = dir.as_os_str().to_owned();
    prefix.push("/");
    let all = (Bound::Included(prefix.as_os_str()), Bound::Unbounded);
    for (path, what) in tree.range::<OsStr, _>(all) {
        let (Some(path), Some(prefix)) = (path.to_str(), prefix.to_str()) else { continue };
        match path.strip_prefix(prefix) {
            Some(name) if name.contains('/') => {}
            Some(name) => show(name.to_owned(), what),
            None => return,
        }
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset in memory")
}

impl Storage for Memory {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        lock(&self.dirs).extend(path.ancestors().map(|dir| (dir.into(), ())));
        Ok(())
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for_each_in(&lock(&self.files), path, |name, bytes| {
            let len = lock(bytes).len() as u64;
            let modified = self.now();
            entries.push(DirEntry { name, is_dir: false, len, allocated: len, modified });
        });
        for_each_in(&lock(&self.dirs), path, |name, ()| {
            entries.push(DirEntry { name, is_dir: true, len: 0, allocated: 0, modified: 0 });
        });
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let path = path.as_os_str();
        Ok(lock(&self.files).contains_key(path) || lock(&self.dirs).contains_key(path))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        if mode == OpenMode::CreateNew {
            if lock(&self.files).contains_key(path.as_os_str()) {
                return Err(failed("create", path, io::ErrorKind::AlreadyExists));
            }
            self.put(path, Vec::new());
        }
        Ok(Arc::new(Open(self.find("open", path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let bytes = self.find("rename", from)?;
        let mut files = lock(&self.files);
        files.remove(from.as_os_str());
        files.insert(to.into(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.find("remove", path)?;
        lock(&self.files).remove(path.as_os_str());
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, note: &str) -> Result<Box<dyn Send + Sync>> {
        self.put(path, note.as_bytes().to_vec());
        Ok(Box::new(()))
    }

    fn now(&self) -> i64 {
        self.clock.fetch_add(1000, Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.clock.fetch_add(1000, Ordering::Relaxed).unsigned_abs())
    }

    fn random(&self) -> Result<[u8; 16]> {
        let count = self.clock.fetch_add(1, Ordering::Relaxed).unsigned_abs();
        let spread = u128::from(count).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Ok(spread.to_le_bytes())
    }
}

/// An open file.
#[derive(Debug)]
struct Open(Bytes);

impl File for Open {
    fn len(&self) -> Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let bytes = lock(&self.0);
        let from = bytes.get(place(offset)..).unwrap_or_default();
        let count = from.len().min(buf.len());
        buf[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, new: &[u8], offset: u64) -> Result<()> {
        let mut bytes = lock(&self.0);
        let (start, end) = (place(offset), place(offset) + new.len());
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        lock(&self.0).resize(place(len), 0);
        Ok(())
    }

    /// Nothing is preallocated: it would cost more than all else that a run does.
    fn allocate(&self, _len: u64) -> Result<()> {
        Ok(())
    }

    fn map(&self, len: usize) -> Result<Map> {
        let bytes = lock(&self.0);
        let mapped = bytes.get(..len).ok_or_else(|| {
            failed("map", Path::new("a file in memory"), io::ErrorKind::UnexpectedEof)
        })?;
        Ok(Map::from_vec(mapped.to_vec()))
    }
}
