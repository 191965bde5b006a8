//! The modelled disk, as the storage seam wants it.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runledger::storage::{DirEntry, File, Map, OpenMode, Storage};
use runledger::{Damage, Error, Result};

use super::world::World;
use super::{EINTR, EIO, ENOSPC, Fault, OpKind, SimDisk, failed};

impl Storage for SimDisk {
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let path = &from_root(path);
        self.run(OpKind::CreateDir, path, |world| world.create_dir_all(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let path = &from_root(path);
        self.run(OpKind::List, path, |world| world.list(path))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let path = &from_root(path);
        self.run(OpKind::Exists, path, |world| Ok(world.node(path).is_ok()))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>> {
        let path = &from_root(path);
        let create = mode == OpenMode::CreateNew;
        let kind = if create { OpKind::Create } else { OpKind::Open };
        let inode = self.run(kind, path, |world| {
            let inode = if create { world.create(path)? } else { world.file(path)? };
            world.opened(inode);
            Ok(inode)
        })?;
        let writes = mode != OpenMode::Read;
        Ok(Arc::new(SimFile { disk: self.clone(), inode, path: path.to_owned(), writes }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (from, to) = (&from_root(from), &from_root(to));
        self.run(OpKind::Rename, from, |world| world.rename(from, to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let path = &from_root(path);
        self.run(OpKind::Remove, path, |world| world.remove(path))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let path = &from_root(path);
        self.run(OpKind::SyncDir, path, |world| world.sync_dir(path))
    }

    fn lock(&self, path: &Path, note: &str) -> Result<Box<dyn Send + Sync>> {
        let path = &from_root(path);
        let holder = self.run(OpKind::Lock, path, |world| {
            let inode = world.file(path).or_else(|_| world.create(path))?;
            if !world.locks.insert(path.to_owned()) {
                return Ok(Some(String::from_utf8_lossy(&world.inode(inode).cache).into_owned()));
            }
            world.set_len(inode, 0);
            match world.write(inode, 0, note.as_bytes()) {
                Err(full) if full.kind() == io::ErrorKind::StorageFull => Ok(None),
                written => written.map(|()| None),
            }
        })?;
        match holder {
            None => Ok(Box::new(Guard { disk: self.clone(), path: path.to_owned() })),
            Some(holder) => {
                let pid = holder.split_whitespace().find_map(|word| word.strip_prefix("pid="));
                let pid = pid.and_then(|digits| digits.parse().ok());
                Err(Error::Locked { path: path.parent().unwrap().to_owned(), holder, pid })
            }
        }
    }

    fn now(&self) -> i64 {
        self.0.world.lock().look_at_clock()
    }

    fn monotonic(&self) -> Duration {
        let mut world = self.0.world.lock();
        let tick = world.tick;
        world.monotonic += tick;
        world.monotonic
    }

    fn random(&self) -> Result<[u8; 16]> {
        let mut world = self.0.world.lock();
        let halves = [world.rng.number(), world.rng.number()];
        Ok(std::array::from_fn(|at| halves[at / 8].to_le_bytes()[at % 8]))
    }
}

/// The path as it leads from the root, which is the working directory. An empty one names nothing.
fn from_root(path: &Path) -> PathBuf {
    let names = path.components().filter(|part| *part != Component::CurDir);
    match path.as_os_str().is_empty() {
        true => PathBuf::new(),
        false => Path::new("/").join(names.collect::<PathBuf>()),
    }
}

/// A lock that is held.
struct Guard {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.disk.0.world.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: PathBuf,
    writes: bool,
}

impl SimFile {
    fn run<T>(&self, kind: OpKind, act: impl FnOnce(&mut World) -> io::Result<T>) -> Result<T> {
        self.disk.run(kind, &self.path, |world| {
            if kind.changes() && kind != OpKind::Sync && !self.writes {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            act(world)
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.0.world.lock().closed(self.inode);
    }
}

impl File for SimFile {
    fn len(&self) -> Result<u64> {
        self.run(OpKind::Len, |world| Ok(world.inode(self.inode).cache.len() as u64))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.run(OpKind::Read, |world| {
            let content = &world.inode(self.inode).cache;
            let start = usize::try_from(offset).unwrap().min(content.len());
            let read = buf.len().min(content.len() - start);
            buf[..read].copy_from_slice(&content[start..start + read]);
            Ok(read)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let (mut world, fault) = self.disk.begin(OpKind::Write, &self.path)?;
        let failed = |err| failed(OpKind::Write, &self.path, err);
        if !self.writes {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        let no_space = || Err(failed(io::Error::from_raw_os_error(ENOSPC)));
        match fault {
            None => world.write(self.inode, offset, bytes).map_err(failed),
            Some(Fault::NoSpace) => no_space(),
            Some(Fault::Short(written)) => {
                let bytes = &bytes[..written.min(bytes.len() - 1)];
                world.write(self.inode, offset, bytes).map_err(failed)?;
                no_space()
            }
            Some(Fault::Interrupted) => Err(failed(io::Error::from_raw_os_error(EINTR))),
            Some(Fault::Io | Fault::LostSync) => Err(failed(io::Error::from_raw_os_error(EIO))),
        }
    }

    fn sync(&self) -> Result<()> {
        if self.disk.0.slow_syncs.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(200));
        }
        let (mut world, fault) = self.disk.begin(OpKind::Sync, &self.path)?;
        let inode = world.inode(self.inode);
        let error = match fault {
            None => {
                inode.sync();
                return Ok(());
            }
            Some(Fault::LostSync) => {
                inode.sync_and_lose();
                EIO
            }
            Some(Fault::Io) => EIO,
            Some(Fault::Interrupted) => EINTR,
            Some(Fault::NoSpace | Fault::Short(_)) => ENOSPC,
        };
        Err(failed(OpKind::Sync, &self.path, io::Error::from_raw_os_error(error)))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.run(OpKind::SetLen, |world| {
            world.set_len(self.inode, len);
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.run(OpKind::Allocate, |world| world.allocate(self.inode, len))
    }

    fn map(&self, len: usize) -> Result<Map> {
        self.run(OpKind::Map, |world| {
            let content = &world.inode(self.inode).cache;
            Ok(content.get(..len).map(<[u8]>::to_vec).ok_or(content.len() as u64))
        })?
        .map(Map::from_vec)
        .map_err(|offset| Error::Damaged {
            path: self.path.clone(),
            offset,
            damage: Damage::Truncated,
        })
    }
}
