//! Directories for real ledgers, and what a run that was killed left of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::real::image::unmount_all;

/// How the directories begin; after it stand the process and a number.
const PREFIX: &str = "runledger-torture-";

/// Memory that is used like a disk, where there is such a thing. The cuts are those of the file
/// system on top of it, and of processes; nothing here waits for a slow disk.
const MEMORY: &str = "/dev/shm";

/// What is to be free there, or a disk is taken: in a container it may be next to nothing.
const LEAST_MEMORY: u64 = 2 << 30;

/// A directory that goes with its owner.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// A new directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new() -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base().join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn base() -> PathBuf {
    let room = rustix::fs::statvfs(MEMORY).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if room >= LEAST_MEMORY { PathBuf::from(MEMORY) } else { std::env::temp_dir() }
}

/// Removes what runs have left that are no more: mounts, loop devices and directories.
///
/// # Errors
/// When the directories cannot be listed.
pub(crate) fn remove_leftovers() -> io::Result<()> {
    for entry in fs::read_dir(base())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.filter(|owner| owner.parse::<u32>().is_ok()) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            unmount_all(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
