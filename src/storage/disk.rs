use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::error::{Damage, Error, Result};
use crate::model::Timestamp;
use crate::storage::{DirEntry, File, Map, OpenMode, Storage};

/// Longest note that is read back from a lock file, in bytes.
const MAX_NOTE_BYTES: u64 = 1024;

/// The bytes of a block in which the operating system counts what is allocated to a file.
const STAT_BLOCK_BYTES: u64 = 512;

/// The file system, clock and random source of the operating system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk;

impl Storage for Disk {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        named("create directory", path, || fs::create_dir_all(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let fail = |source| Error::io("list directory", path, source);
        let mut entries = Vec::new();
        for entry in retry(|| fs::read_dir(path)).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(meta) => entries.push(DirEntry {
                    name,
                    is_dir: meta.is_dir(),
                    len: meta.len(),
                    allocated: meta.blocks().saturating_mul(STAT_BLOCK_BYTES),
                    modified: meta
                        .mtime()
                        .saturating_mul(1_000_000_000)
                        .saturating_add(meta.mtime_nsec()),
                }),
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(Error::io("read the size of", &entry.path(), err)),
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        named("look for", path, || path.try_exists())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true);
        let operation = match mode {
            OpenMode::Read => "open",
            OpenMode::Write => {
                options.write(true);
                "open for writing"
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
                "create"
            }
        };
        let file = named(operation, path, || options.open(path))?;
        Ok(Arc::new(DiskFile { file, path: path.to_owned() }))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam that the lint points to")]
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        named("rename", from, || fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        named("remove", path, || fs::remove_file(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let directory = named("open directory", path, || OpenOptions::new().read(true).open(path))?;
        synced(path, || directory.sync_all())
    }

    fn lock(&self, path: &Path, note: &str) -> Result<Box<dyn Send + Sync>> {
        // The directory besides: a file can be removed while its lock is held, and the next writer
        // would then lock one of its own.
        let directory = lock_directory(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = named("open the lock", path, || options.open(path))?;
        take(&file, path)?;
        let noted = named("write the lock's note to", path, || {
            // Over the note that is there, not after cutting it: a disk that is full may not give
            // the block back, and the ledger has to open for a clean-up.
            file.write_all_at(note.as_bytes(), 0)?;
            file.set_len(note.len() as u64)
        });
        match noted {
            // The note is for people; the lock is held without it.
            Ok(()) | Err(Error::NoSpace { .. }) => {
                Ok(Box::new(Held { files: [Some(file), directory], pid: std::process::id() }))
            }
            Err(err) => Err(err),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam that the lint points to")]
    fn now(&self) -> i64 {
        Timestamp::from(SystemTime::now()).as_nanos()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam that the lint points to")]
    fn monotonic(&self) -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let origin = *ORIGIN;
        Instant::now().saturating_duration_since(origin)
    }

    fn random(&self) -> Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|err| {
            let source = io::Error::other(err.to_string());
            Error::io("read random bytes of", Path::new("the operating system"), source)
        })?;
        Ok(bytes)
    }
}

/// An open file and the path that its errors name.
#[derive(Debug)]
struct DiskFile {
    file: fs::File,
    path: PathBuf,
}

impl File for DiskFile {
    fn len(&self) -> Result<u64> {
        named("read the size of", &self.path, || Ok(self.file.metadata()?.len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            match named("read", &self.path, || self.file.read_at(rest, at))? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        // This goes on after an interrupted call and after a short write; after a full disk or a
        // limit on the file's size, the call that goes on is the one that says so.
        named("write", &self.path, || self.file.write_all_at(bytes, offset))
    }

    fn sync(&self) -> Result<()> {
        synced(&self.path, || self.file.sync_data())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        named("set the length of", &self.path, || self.file.set_len(len))
    }

    fn allocate(&self, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let allocate = || {
            let result = rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len);
            result.map_err(io::Error::from)
        };
        match retry(allocate) {
            Err(err)
                if matches!(Errno::from_io_error(&err), Some(Errno::OPNOTSUPP | Errno::NOSYS)) =>
            {
                Ok(())
            }
            result => result.map_err(|err| Error::io("reserve space for", &self.path, err)),
        }
    }

    fn map(&self, len: usize) -> Result<Map> {
        self.map_ahead(len, 0)
    }

    fn map_ahead(&self, len: usize, most: usize) -> Result<Map> {
        let size = self.len()?;
        if size < len as u64 {
            return Err(Error::damaged(&self.path, size, Damage::Truncated));
        }
        let fail = |source| Error::io("map", &self.path, source);
        let size = usize::try_from(size).map_err(|err| fail(io::Error::other(err)))?;
        Map::live(&self.file, size.max(most)).map_err(fail)
    }
}

/// A lock that is held.
struct Held {
    files: [Option<fs::File>; 2],
    /// The process that took it: in a fork of it, the lock is still the parent's.
    pid: u32,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file alone does not give the lock back while a child that another thread is
        // just starting has a copy of the descriptor.
        if self.pid == std::process::id() {
            for file in self.files.iter().flatten() {
                let _ = file.unlock();
            }
        }
    }
}

/// Takes the lock of the directory that a lock file is in; `None` where the file system has no such
/// locks.
fn lock_directory(path: &Path) -> Result<Option<fs::File>> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let directory = named("open", dir, || OpenOptions::new().read(true).open(dir))?;
    match retry(|| directory.try_lock().map_err(io::Error::from)) {
        Ok(()) => Ok(Some(directory)),
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
            let file = OpenOptions::new().read(true).open(path);
            Err(match file {
                Ok(file) => locked(&file, path),
                Err(_) => Error::Locked {
                    path: dir.to_owned(),
                    holder: "another process, whose lock file was removed".to_owned(),
                    pid: None,
                },
            })
        }
        Err(_) => Ok(None),
    }
}

/// Takes a lock, or tells who holds it.
fn take(file: &fs::File, path: &Path) -> Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => return Err(locked(file, path)),
            Err(TryLockError::Error(err)) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(err)) => return Err(Error::io("lock", path, err)),
        }
    }
}

/// The error of a lock that another holds, with what it noted of itself.
fn locked(file: &fs::File, path: &Path) -> Error {
    let mut note = Vec::new();
    // A note that cannot be read is a holder that is not known; the lock is taken all the same.
    let holder = match file.take(MAX_NOTE_BYTES).read_to_end(&mut note) {
        Ok(read) if read > 0 => String::from_utf8_lossy(&note).trim().to_owned(),
        _ => "another process, which left no note".to_owned(),
    };
    let pid = holder
        .split_whitespace()
        .find_map(|word| word.strip_prefix("pid="))
        .and_then(|digits| digits.parse().ok());
    Error::Locked { path: path.parent().unwrap_or(path).to_owned(), holder, pid }
}

/// Runs an operation on a file, naming both when it fails.
fn named<T>(operation: &'static str, path: &Path, run: impl FnMut() -> io::Result<T>) -> Result<T> {
    retry(run).map_err(|source| Error::io(operation, path, source))
}

/// Runs a sync. Whatever it fails with, a full disk included, is [`Error::Io`]: the other errors
/// promise that nothing was written, and after a failed sync nothing can be promised.
fn synced(path: &Path, sync: impl FnMut() -> io::Result<()>) -> Result<()> {
    retry(sync).map_err(|source| Error::Io { operation: "sync", path: path.to_owned(), source })
}

/// Runs a call again for as long as signals interrupt it.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, name: &str, mode: OpenMode) -> Arc<dyn File> {
        Disk.open(&dir.join(name), mode).unwrap()
    }

    #[test]
    fn bytes_come_back_and_reads_stop_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path(), "a", OpenMode::CreateNew);
        file.write_at(b"hello", 3).unwrap();
        file.sync().unwrap();
        let mut buf = [9; 16];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
        assert_eq!(&buf[..9], b"\0\0\0hello\x09");
        assert_eq!(file.read_at(&mut buf, 8).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
        file.set_len(4).unwrap();
        assert_eq!(file.len().unwrap(), 4);
    }

    #[test]
    fn modes_differ_in_what_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [OpenMode::Read, OpenMode::Write] {
            let err = Disk.open(&dir.path().join("a"), mode).unwrap_err();
            assert!(err.to_string().starts_with("cannot open"), "{err}");
            assert!(err.to_string().contains("/a: No such file"), "{err}");
        }
        open(dir.path(), "a", OpenMode::CreateNew);
        let err = Disk.open(&dir.path().join("a"), OpenMode::CreateNew).unwrap_err();
        assert!(err.to_string().starts_with("cannot create"), "{err}");
        let read_only = open(dir.path(), "a", OpenMode::Read);
        assert!(read_only.write_at(b"x", 0).is_err());
        assert!(!Disk.exists(&dir.path().join("b")).unwrap());
        assert!(Disk.exists(&dir.path().join("a")).unwrap());
    }

    #[test]
    fn listings_are_sorted_and_count_blocks() {
        let dir = tempfile::tempdir().unwrap();
        Disk.create_dir_all(&dir.path().join("sub/deep")).unwrap();
        Disk.create_dir_all(&dir.path().join("sub/deep")).unwrap();
        open(dir.path(), "b", OpenMode::CreateNew).allocate(1 << 20).unwrap();
        open(dir.path(), "a", OpenMode::CreateNew).set_len(1 << 30).unwrap();
        let entries = Disk.list(dir.path()).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "sub"]);
        assert!(entries[2].is_dir && !entries[0].is_dir);
        assert!(entries[0].len == 1 << 30 && entries[0].allocated < 1 << 20);
        assert!(Disk.list(&dir.path().join("none")).is_err());
    }

    #[test]
    fn renames_replace_and_removed_files_stay_mapped() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        open(dir.path(), "to", OpenMode::CreateNew).write_at(b"old", 0).unwrap();
        open(dir.path(), "from", OpenMode::CreateNew).write_at(b"new", 0).unwrap();
        Disk.rename(&from, &to).unwrap();
        Disk.sync_dir(dir.path()).unwrap();
        let map = open(dir.path(), "to", OpenMode::Read).map(3).unwrap();
        Disk.remove(&to).unwrap();
        assert_eq!(map.as_slice(), b"new");
        assert!(Disk.remove(&to).is_err() && Disk.rename(&from, &to).is_err());
    }

    #[test]
    fn a_live_map_shows_later_writes_up_to_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path(), "a", OpenMode::CreateNew);
        assert!(file.map(0).unwrap().as_slice().is_empty());
        file.set_len(100).unwrap();
        let map = file.map(0).unwrap();
        file.write_at(b"late", 96).unwrap();
        assert!(map.clone().covers(100) && !map.covers(101));
        assert_eq!(&map.as_slice()[96..], b"late");
        let err = file.map(101).unwrap_err();
        assert!(matches!(err, Error::Damaged { offset: 100, damage: Damage::Truncated, .. }));
    }

    #[test]
    fn a_map_ahead_shows_what_the_file_grows_by() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path(), "a", OpenMode::CreateNew);
        file.write_at(b"first", 0).unwrap();
        assert!(file.map_ahead(6, 100_000).is_err(), "what is asked for must be there");
        let map = file.map_ahead(5, 100_000).unwrap();
        assert!(map.covers(100_000) && !map.covers(100_001));
        file.write_at(b"later", 90_000).unwrap();
        assert_eq!(
            (&map.as_slice()[..5], &map.as_slice()[90_000..90_005]),
            (&b"first"[..], &b"later"[..])
        );
        assert!(!map.is_lost());
        file.set_len(5).unwrap();
        assert_eq!(map.as_slice()[90_000], 0);
        assert!(map.is_lost(), "what is not there is not taken for zeros");
    }

    #[test]
    fn allocating_extends_and_never_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let file = open(dir.path(), "a", OpenMode::CreateNew);
        file.allocate(0).unwrap();
        file.write_at(b"data", 0).unwrap();
        file.allocate(4096).unwrap();
        assert!(matches!(file.len().unwrap(), 4 | 4096));
        file.allocate(10).unwrap();
        assert!(matches!(file.len().unwrap(), 4 | 4096));
        let mut buf = [0; 4];
        file.read_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"data");
    }

    #[test]
    fn a_lock_has_one_holder_and_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        fs::write(&path, "pid=1 host=a-long-note-of-a-writer-that-died").unwrap();
        let guard = Disk.lock(&path, "pid=4711 host=edge\n").unwrap();
        match Disk.lock(&path, "pid=2 host=b").map(|_| ()).unwrap_err() {
            Error::Locked { path, holder, pid } => {
                assert_eq!((path.as_path(), pid), (dir.path(), Some(4711)));
                assert_eq!(holder, "pid=4711 host=edge");
            }
            other => panic!("{other}"),
        }
        drop(guard);
        assert!(Disk.lock(&path, "no number here: pid=x").is_ok());
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut left = 3;
        let mut call = || match left {
            0 => Ok(7),
            _ => {
                left -= 1;
                Err(io::Error::from(io::ErrorKind::Interrupted))
            }
        };
        assert_eq!(retry(&mut call).unwrap(), 7);
        let refused = || Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(retry(refused).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn clocks_and_chance_move() {
        assert!(Disk.now() > 1_700_000_000_000_000_000);
        let before = Disk.monotonic();
        assert!(Disk.monotonic() >= before);
        assert_ne!(Disk.random().unwrap(), Disk.random().unwrap());
    }

    /// A ledger that was closed and opened again at once now and then seemed to have a writer:
    /// while another thread starts a child, that has a copy of every descriptor until it runs its
    /// program, the lock's among them. Nothing was lost; the opening failed.
    #[test]
    fn a_lock_that_was_given_back_is_free_while_children_are_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        std::thread::scope(|scope| {
            let children = scope.spawn(|| {
                for _ in 0..100 {
                    std::process::Command::new("true").status().unwrap();
                }
            });
            while !children.is_finished() {
                drop(Disk.lock(&path, "pid=1").unwrap());
            }
        });
    }

    /// A second writer got in when the lock file of the first was removed: an operator had taken it
    /// for a stale one. Both then wrote to the same segments.
    #[test]
    fn a_lock_outlives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let lock = Disk.lock(&path, "pid=1").unwrap();
        Disk.remove(&path).unwrap();
        let refused = Disk.lock(&path, "pid=2").map(drop).unwrap_err();
        assert!(matches!(refused, Error::Locked { pid: None, .. }), "{refused}");
        assert!(!Disk.exists(&path).unwrap(), "who is refused makes nothing");
        drop(lock);
        Disk.lock(&path, "pid=2").map(drop).unwrap();
    }
}
