//! The names in a ledger's directory, and what makes a directory a ledger.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::identity::{IDENTITY_BYTES, Identity};
use crate::format::{HeaderError, VERSION};
use crate::ledger::classes::{BASE_STREAMS, STREAM_KINDS};
use crate::storage::{OpenMode, Storage};

/// What makes a directory a ledger.
const IDENTITY: &str = "LEDGER";
/// Where the identity is made before it gets its name.
const IDENTITY_DRAFT: &str = "LEDGER.tmp";
/// Held by the writer.
const LOCK: &str = "LOCK";
/// How far sequence numbers are given out.
const SEQUENCE: &str = "SEQ";
/// Space held back for a full disk.
const RESERVE: &str = "RESERVE";
/// The streams' directories.
const STREAMS: &str = "streams";
/// Copies of what recovery and repair have cut.
const LOST: &str = "lost";
/// Records that wait in files until they are appended; they are none of the ledger's own yet.
const SPILL: &str = "spill";
/// What an operator says of retention.
const POLICY: &str = "runledger.toml";

/// A ledger's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn identity_file(&self) -> PathBuf {
        self.dir.join(IDENTITY)
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join(LOCK)
    }

    pub(super) fn sequence(&self) -> PathBuf {
        self.dir.join(SEQUENCE)
    }

    pub(super) fn reserve(&self) -> PathBuf {
        self.dir.join(RESERVE)
    }

    pub(crate) fn lost(&self) -> PathBuf {
        self.dir.join(LOST)
    }

    pub(crate) fn spill(&self) -> PathBuf {
        self.dir.join(SPILL)
    }

    pub(super) fn policy(&self) -> PathBuf {
        self.dir.join(POLICY)
    }

    pub(super) fn streams(&self) -> PathBuf {
        self.dir.join(STREAMS)
    }

    pub(super) fn stream(&self, name: &str) -> PathBuf {
        self.dir.join(STREAMS).join(name)
    }

    /// Reads the identity.
    ///
    /// # Errors
    /// [`Error::NotALedger`], [`Error::NewerFormat`], [`Error::Damaged`] or [`Error::Io`].
    pub(super) fn identity(&self, storage: &dyn Storage) -> Result<Identity> {
        let path = self.identity_file();
        if !storage.exists(&path)? {
            let reason = if storage.exists(&self.streams())? {
                "its file LEDGER is gone; the next append makes a new one for what is there"
            } else if storage.exists(&self.dir)? {
                "it has no file named LEDGER"
            } else {
                "there is no such directory"
            };
            return Err(Error::NotALedger { path: self.dir.clone(), reason: reason.to_owned() });
        }
        let mut bytes = [0; IDENTITY_BYTES];
        let read = storage.open(&path, OpenMode::Read)?.read_at(&mut bytes, 0)?;
        Identity::decode(bytes.get(..read).unwrap_or_default()).map_err(|err| match err {
            HeaderError::Newer { version, features } => {
                Error::NewerFormat { path, found: version, features, supported: VERSION }
            }
            HeaderError::Damage(damage) => Error::damaged(&path, 0, damage),
        })
    }

    /// Refuses a directory that holds something else and no ledger. This comes before the lock, so
    /// that nothing is left behind in it.
    ///
    /// # Errors
    /// [`Error::NotALedger`] or [`Error::Io`].
    pub(super) fn refuse_foreign(&self, storage: &dyn Storage) -> Result<()> {
        const OURS: [&str; 9] =
            [IDENTITY, LOCK, IDENTITY_DRAFT, STREAMS, SEQUENCE, RESERVE, POLICY, LOST, SPILL];
        let entries = storage.list(&self.dir)?;
        let is_ledger = entries.iter().any(|entry| entry.name == IDENTITY);
        let foreign = entries.into_iter().find(|entry| !OURS.contains(&&*entry.name));
        match foreign.filter(|_| !is_ledger) {
            None => Ok(()),
            Some(entry) => {
                let reason = format!(
                    "it holds {:?} and no file named LEDGER; name an empty directory for a new one",
                    entry.name
                );
                Err(Error::NotALedger { path: self.dir.clone(), reason })
            }
        }
    }

    /// Makes the directory, its streams and its identity, in an order in which a crash leaves
    /// either no ledger or a whole one.
    ///
    /// # Errors
    /// [`Error::NotALedger`] when the directory holds files of something else; [`Error::NoSpace`]
    /// or [`Error::Io`].
    pub(super) fn create(&self, storage: &dyn Storage) -> Result<Identity> {
        self.refuse_foreign(storage)?;
        for (name, _) in BASE_STREAMS.of(&STREAM_KINDS) {
            storage.create_dir_all(&self.stream(name))?;
        }
        storage.sync_dir(&self.dir.join(STREAMS))?;
        let identity = self.write_identity(storage)?;
        self.sync_name(storage)?;
        Ok(identity)
    }

    /// Makes the directory and those above it that are missing, and puts the names of those on
    /// stable storage.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`].
    pub(super) fn make_directory(&self, storage: &dyn Storage) -> Result<()> {
        let mut missing = Vec::new();
        for dir in self.dir.ancestors().skip(1).take_while(|dir| !dir.as_os_str().is_empty()) {
            if storage.exists(dir)? {
                break;
            }
            missing.push(dir);
        }
        for dir in missing.into_iter().rev() {
            storage.create_dir_all(dir)?;
            sync_name(storage, dir)?;
        }
        storage.create_dir_all(&self.dir)
    }

    /// Puts the name of the ledger's directory on stable storage.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn sync_name(&self, storage: &dyn Storage) -> Result<()> {
        sync_name(storage, &self.dir)
    }

    /// Copies the identity's bytes, whatever they are, to `copy`.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`].
    pub(super) fn keep_identity(&self, storage: &dyn Storage, copy: &Path) -> Result<()> {
        let mut bytes = [0; IDENTITY_BYTES];
        let read = storage.open(&self.identity_file(), OpenMode::Read)?.read_at(&mut bytes, 0)?;
        storage.create_dir_all(&self.lost())?;
        let file = storage.open(copy, OpenMode::CreateNew)?;
        file.write_at(bytes.get(..read).unwrap_or_default(), 0)?;
        file.sync()?;
        storage.sync_dir(&self.lost())
    }

    /// Writes a new identity, in place of the one that is there.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`].
    pub(super) fn write_identity(&self, storage: &dyn Storage) -> Result<Identity> {
        let identity = Identity { uuid: storage.random()?, created_at: storage.now() };
        let draft = self.dir.join(IDENTITY_DRAFT);
        if storage.exists(&draft)? {
            storage.remove(&draft)?;
        }
        let file = storage.open(&draft, OpenMode::CreateNew)?;
        file.write_at(&identity.encode(), 0)?;
        file.sync()?;
        storage.rename(&draft, &self.identity_file())?;
        storage.sync_dir(&self.dir)?;
        Ok(identity)
    }
}

/// Puts the name of a directory on stable storage.
fn sync_name(storage: &dyn Storage, dir: &Path) -> Result<()> {
    match dir.parent() {
        None => Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => storage.sync_dir(Path::new(".")),
        Some(parent) => storage.sync_dir(parent),
    }
}
