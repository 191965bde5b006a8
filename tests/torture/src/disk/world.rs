//! The state of the modelled disk: what the running system sees, and what the platter has.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runledger::storage::DirEntry;

use crate::rng::Rng;

/// What is written to the platter in one piece.
pub(super) const SECTOR: usize = 512;

/// The unit in which disk space is given to files.
pub(super) const BLOCK: u64 = 4096;

const ENOSPC: i32 = 28;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

/// A change to a directory that is not on the platter yet.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Add(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    pub(super) fn path(&self) -> &Path {
        let (Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, _)) = self;
        path
    }

    pub(super) fn dir(&self) -> &Path {
        self.path().parent().unwrap_or(self.path())
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Add(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// A change to a file that is not on the platter yet.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    /// The length of the file after this change, when it was `len` before.
    pub(super) fn length_after(&self, len: usize) -> usize {
        match self {
            Self::Write { offset, bytes } => len.max(offset + bytes.len()),
            Self::Length(len) => *len,
        }
    }

    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        content.resize(self.length_after(content.len()), 0);
        if let Self::Write { offset, bytes } = self {
            content[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// What reads give.
    pub(super) cache: Arc<Vec<u8>>,
    /// What is left when the cache is lost.
    pub(super) platter: Arc<Vec<u8>>,
    /// What leads from the platter to the cache, unless a sync failed.
    pub(super) pending: Vec<Change>,
    /// True after a sync failed and dropped changes: the cache has what the platter never gets.
    lost: bool,
    blocks: BTreeSet<u64>,
    links: u32,
    open: u32,
    modified: i64,
}

impl Inode {
    /// A file that is whole on the platter, under one name.
    fn stored(content: Arc<Vec<u8>>) -> Self {
        let blocks = (0..(content.len() as u64).div_ceil(BLOCK)).collect();
        Self { cache: Arc::clone(&content), platter: content, blocks, links: 1, ..Self::default() }
    }

    fn change(&mut self, change: Change) {
        change.apply(Arc::make_mut(&mut self.cache));
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        if self.lost {
            let platter = Arc::make_mut(&mut self.platter);
            self.pending.drain(..).for_each(|change| change.apply(platter));
        } else {
            self.platter = Arc::clone(&self.cache);
            self.pending.clear();
        }
    }

    /// A sync that fails as on XFS and Btrfs: the cache goes on serving what was written, takes it
    /// for clean, and never writes it.
    pub(super) fn sync_and_lose(&mut self) {
        self.lost |= !self.pending.is_empty();
        self.pending.clear();
    }

    /// Puts another content in the file, on the platter too.
    pub(super) fn replace(&mut self, content: Vec<u8>) {
        *self = Self { links: self.links, open: self.open, ..self.found_with(Arc::new(content)) };
    }

    /// The file as a power cut leaves it, with this content.
    pub(super) fn found_with(&self, content: Arc<Vec<u8>>) -> Self {
        Self { modified: self.modified, ..Self::stored(content) }
    }

    fn allocated(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) names: BTreeMap<PathBuf, Node>,
    pub(super) kept_names: BTreeMap<PathBuf, Node>,
    pub(super) name_changes: Vec<NameChange>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) operations: u64,
    pub(super) now: i64,
    pub(super) monotonic: Duration,
    pub(super) tick: Duration,
    pub(super) rng: Rng,
    /// By what the wall clock jumps now and then.
    pub(super) jumps: Option<(Rng, Vec<i64>)>,
    pub(super) capacity: Option<u64>,
    pub(super) reserves: bool,
    pub(super) off: bool,
    /// What a probe has found: the disk is dead from then on.
    pub(super) found: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Dir)]);
        Self {
            names: root.clone(),
            kept_names: root,
            name_changes: Vec::new(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            locks: BTreeSet::new(),
            operations: 0,
            now: 1_800_000_000_000_000_000,
            monotonic: Duration::ZERO,
            tick: Duration::from_millis(1),
            rng: Rng::new(seed),
            jumps: None,
            capacity: None,
            reserves: true,
            off: false,
            found: None,
        }
    }

    /// The same machine started anew, with these files, all on the platter.
    pub(super) fn restarted(
        &self,
        names: BTreeMap<PathBuf, Node>,
        inodes: BTreeMap<u64, Inode>,
        rng: Rng,
    ) -> Self {
        Self {
            kept_names: names.clone(),
            names,
            name_changes: Vec::new(),
            inodes,
            next_inode: self.next_inode,
            locks: BTreeSet::new(),
            operations: 0,
            now: self.now,
            monotonic: self.monotonic,
            tick: self.tick,
            rng,
            jumps: self.jumps.clone(),
            capacity: self.capacity,
            reserves: self.reserves,
            off: false,
            found: None,
        }
    }

    /// The disk as another process finds it when all processes that had files open are gone.
    pub(super) fn killed(&self) -> Self {
        let mut found = self.clone();
        found.locks.clear();
        found.inodes.values_mut().for_each(|inode| inode.open = 0);
        found.operations = 0;
        found.off = false;
        found.found = None;
        found
    }

    /// Looks at the wall clock, which moves for it.
    pub(super) fn look_at_clock(&mut self) -> i64 {
        let tick = i64::try_from(self.tick.as_nanos()).unwrap();
        self.now = self.now.saturating_add(tick);
        if let Some((rng, jumps)) = self.jumps.as_mut().filter(|(rng, _)| rng.clone().below(4) == 0)
        {
            rng.number();
            self.now = match jumps[rng.below(jumps.len())] {
                i64::MIN => 0,
                jump => self.now.saturating_add(jump),
            };
        } else if let Some((rng, _)) = &mut self.jumps {
            rng.number();
        }
        self.now
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    pub(super) fn node(&self, path: &Path) -> io::Result<Node> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.node(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).unwrap()
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        for dir in path.ancestors() {
            match self.names.get(dir) {
                Some(Node::Dir) => break,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => missing.push(dir.to_owned()),
            }
        }
        for dir in missing.into_iter().rev() {
            self.change_names(NameChange::Add(dir, Node::Dir));
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        if self.node(path)? != Node::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let inside = self.names.range(path.to_owned()..).skip(1);
        let below = inside.take_while(|(name, _)| name.starts_with(path));
        let children = below.filter(|(name, _)| name.parent() == Some(path));
        let entries = children.map(|(name, node)| {
            let name = name.file_name().unwrap().to_str().unwrap().to_owned();
            match node {
                Node::Dir => {
                    DirEntry { name, is_dir: true, len: BLOCK, allocated: BLOCK, modified: 0 }
                }
                Node::File(inode) => {
                    let inode = &self.inodes[inode];
                    let (len, allocated) = (inode.cache.len() as u64, inode.allocated());
                    DirEntry { name, is_dir: false, len, allocated, modified: inode.modified }
                }
            }
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.node(path.parent().unwrap_or(path))? != Node::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode { links: 1, ..Inode::default() });
        self.change_names(NameChange::Add(path.to_owned(), Node::File(inode)));
        Ok(inode)
    }

    pub(super) fn opened(&mut self, inode: u64) {
        self.inode(inode).open += 1;
    }

    pub(super) fn closed(&mut self, inode: u64) {
        self.inode(inode).open -= 1;
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.file(from)?;
        assert_eq!(from.parent(), to.parent(), "the seam renames within a directory only");
        if from == to {
            return Ok(());
        }
        if let Ok(replaced) = self.file(to) {
            self.inode(replaced).links -= 1;
        }
        self.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.file(path)?;
        self.inode(inode).links -= 1;
        self.change_names(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        if self.node(path)? != Node::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let kept = &mut self.kept_names;
        self.name_changes.retain(|change| {
            let elsewhere = change.dir() != path;
            if !elsewhere {
                change.apply(kept);
            }
            elsewhere
        });
        Ok(())
    }

    pub(super) fn flush(&mut self) {
        self.inodes.values_mut().for_each(Inode::sync);
        self.kept_names = self.names.clone();
        self.name_changes.clear();
    }

    /// The bytes of disk space in use.
    pub(super) fn used(&self) -> u64 {
        let held = self.inodes.values().filter(|inode| inode.links > 0 || inode.open > 0);
        held.map(Inode::allocated).sum()
    }

    /// Gives the file the blocks of `from..to` as far as there is space; where it ended, and
    /// whether that was the end.
    fn grow(&mut self, inode: u64, from: u64, to: u64) -> (u64, bool) {
        let mut free = self.capacity.map_or(u64::MAX, |all| all.saturating_sub(self.used()));
        let blocks = &mut self.inode(inode).blocks;
        for block in from / BLOCK..to.div_ceil(BLOCK) {
            if blocks.contains(&block) {
                continue;
            }
            if free < BLOCK {
                return ((block * BLOCK).max(from), false);
            }
            free -= BLOCK;
            blocks.insert(block);
        }
        (to, true)
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (end, whole) = self.grow(inode, offset, offset + bytes.len() as u64);
        let bytes = bytes[..usize::try_from(end - offset).unwrap()].to_vec();
        if !bytes.is_empty() {
            self.inode(inode).modified = self.now;
            let offset = usize::try_from(offset).unwrap();
            self.inode(inode).change(Change::Write { offset, bytes });
        }
        if whole { Ok(()) } else { Err(io::Error::from_raw_os_error(ENOSPC)) }
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) {
        let file = self.inode(inode);
        file.change(Change::Length(usize::try_from(len).unwrap()));
        file.blocks.retain(|block| *block < len.div_ceil(BLOCK));
    }

    pub(super) fn allocate(&mut self, inode: u64, len: u64) -> io::Result<()> {
        if !self.reserves {
            return Ok(());
        }
        let before = self.inode(inode).blocks.clone();
        if !self.grow(inode, 0, len).1 {
            self.inode(inode).blocks = before;
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        if (self.inode(inode).cache.len() as u64) < len {
            self.inode(inode).change(Change::Length(usize::try_from(len).unwrap()));
        }
        Ok(())
    }
}
