//! A disk in memory that can lose power, fill up and fail: the model behind the crash tests.
//!
//! # The model
//!
//! **Files.** A write goes to a cache, from which reads and maps are served. It reaches the platter
//! at a sync of the file, and before that in part and in any order, by sectors of 512 bytes. After
//! a power cut a file has what its last sync put there, and of the changes since what [`Keep`]
//! says. The file's length is one more thing that can make it or not, apart from the content.
//!
//! **Names.** Directory entries are apart from the files that they name. A create, rename or unlink
//! is on the platter after a sync of its directory, and before that it may be or not, in order
//! ([`KeepNames`]); a rename is all or nothing. A file that was synced and whose name was not is
//! gone after a cut, and one whose unlink was not synced is back.
//!
//! **What is assumed of the drive.** What was synced stays. Writing a part of a sector leaves the
//! other bytes of that sector alone (power-safe overwrite, as SQLite assumes); the bytes written
//! can become anything, but for those that were the same before. Drives that acknowledge a flush
//! and do not do it are out of reach.
//!
//! **Space.** With a capacity set, space is given out in blocks of 4,096 bytes; a write that finds
//! too little writes what fits and fails, a reservation that finds too little does nothing. Space
//! of a removed file is free when its last handle is closed. Maps do not hold it.
//!
//! **Failures.** Every operation has a number, and a test can make any of them fail ([`Fault`]),
//! with a sync that drops what it should have written and succeeds the next time among them.
//!
//! **Maps** are copies of as many bytes as were asked for, so later writes do not show through.
//!
//! **Clock and chance.** The wall clock moves by a tick with each look at it, can be set to any
//! time and frozen; the monotonic clock moves by the same tick and only forward. Random bytes
//! follow from the seed, and after a cut from the cut's seed, so every test can be repeated.
//!
//! # Use
//!
//! A probe ([`SimDisk::set_probe`]) is called before each operation that changes something and can
//! make disks as they would be found after a power cut at this moment, as many as it likes, while
//! the original goes on.

mod cut;
mod storage;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use runledger::storage::Storage;
use runledger::{Error, Result};

pub use cut::{Cut, Keep, KeepNames};
use world::{Node, World};

use crate::ground::message;
use crate::rng::Rng;

/// What an operation on the disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    Exists,
    List,
    Open,
    Len,
    Read,
    Map,
    CreateDir,
    Create,
    Lock,
    Write,
    SetLen,
    Allocate,
    Sync,
    SyncDir,
    Rename,
    Remove,
}

impl OpKind {
    /// True when the disk can be another after it.
    pub fn changes(self) -> bool {
        self >= Self::CreateDir
    }

    fn name(self) -> &'static str {
        match self {
            Self::Exists => "look for",
            Self::List => "list directory",
            Self::Open => "open",
            Self::Len => "read the size of",
            Self::Read => "read",
            Self::Map => "map",
            Self::CreateDir => "create directory",
            Self::Create => "create",
            Self::Lock => "lock",
            Self::Write => "write",
            Self::SetLen => "set the length of",
            Self::Allocate => "reserve space for",
            Self::Sync => "sync",
            Self::SyncDir => "sync directory",
            Self::Rename => "rename",
            Self::Remove => "remove",
        }
    }
}

/// An operation that is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its number on this disk, from 0.
    pub number: u64,
    pub kind: OpKind,
    pub path: PathBuf,
}

/// How an operation is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With EIO and without effect. A sync may be tried again and then holds.
    Io,
    /// With ENOSPC and without effect.
    NoSpace,
    /// With EINTR and without effect, as no real disk does it: that one calls again.
    Interrupted,
    /// A write writes so many bytes, never all, and fails with ENOSPC; any other operation as
    /// above.
    Short(usize),
    /// A sync fails with EIO, writes nothing and takes the changes for written: the next sync
    /// succeeds, reads give what was written, and a power cut shows the truth. Any other operation
    /// fails as with [`Fault::Io`].
    LostSync,
}

type Probe = Box<dyn FnMut(&Moment<'_>) + Send>;
type Faults = Box<dyn FnMut(&Op) -> Option<Fault> + Send>;

#[derive(Default)]
struct Hooks {
    probe: Option<Probe>,
    faults: Option<Faults>,
}

struct Shared {
    world: Mutex<World>,
    hooks: Mutex<Hooks>,
    slow_syncs: AtomicBool,
}

/// The disk before an operation, for a probe.
pub struct Moment<'a> {
    /// The operation.
    pub op: &'a Op,
    world: &'a World,
}

impl Moment<'_> {
    /// A disk as found after a power cut at this moment. The original goes on.
    pub fn cut(&self, cut: Cut) -> SimDisk {
        SimDisk::of(self.world.cut(cut))
    }

    /// A disk as found after the process died at this moment, the machine did not. The original
    /// goes on.
    pub fn kill(&self) -> SimDisk {
        SimDisk::of(self.world.killed())
    }
}

/// The modelled disk. A clone is the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self::of(World::new(seed))
    }

    fn of(world: World) -> Self {
        let hooks = Mutex::new(Hooks::default());
        let slow_syncs = AtomicBool::new(false);
        Self(Arc::new(Shared { world: Mutex::new(world), hooks, slow_syncs }))
    }

    /// The disk as the engine takes it.
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// Cuts the power. All handles of this disk fail from now on; the result is the disk as it is
    /// found when the power is back.
    pub fn power_cut(&self, cut: Cut) -> Self {
        let mut world = self.0.world.lock();
        world.off = true;
        let found = world.cut(cut);
        Self::of(found)
    }

    /// Ends the process. All handles of this disk fail from now on; the result has everything that
    /// was written, and what was not synced can still be lost in a power cut.
    pub fn kill(&self) -> Self {
        let mut world = self.0.world.lock();
        let found = world.killed();
        world.off = true;
        Self::of(found)
    }

    /// Puts all files and names on the platter.
    pub fn flush(&self) {
        self.0.world.lock().flush();
    }

    /// Ends the process on this very disk: what `exit` drops can do nothing any more, and the next
    /// process finds the disk as it was, with its hooks.
    pub fn die(&self, exit: impl FnOnce()) {
        self.0.world.lock().off = true;
        exit();
        let mut world = self.0.world.lock();
        world.off = world.found.is_some();
        world.locks.clear();
    }

    /// Cuts the power of this very disk, which goes on as it is found then, with its hooks. What
    /// `exit` drops can do nothing any more.
    pub fn lose_power(&self, cut: Cut, exit: impl FnOnce()) {
        self.die(exit);
        let mut world = self.0.world.lock();
        let operations = world.operations;
        *world = world.cut(cut);
        world.operations = operations;
    }

    /// A second disk of the same state; this one goes on.
    pub fn fork(&self) -> Self {
        Self::of(self.0.world.lock().killed())
    }

    /// Has this called before every operation that changes something.
    pub fn set_probe(&self, probe: impl FnMut(&Moment<'_>) + Send + 'static) {
        self.0.hooks.lock().probe = Some(Box::new(probe));
    }

    /// Has this asked before every operation whether it fails.
    pub fn set_faults(&self, faults: impl FnMut(&Op) -> Option<Fault> + Send + 'static) {
        self.0.hooks.lock().faults = Some(Box::new(faults));
    }

    /// Ends probing and failing.
    pub fn clear_hooks(&self) {
        *self.0.hooks.lock() = Hooks::default();
    }

    /// How many operations were begun on this disk.
    pub fn operations(&self) -> u64 {
        self.0.world.lock().operations
    }

    /// From now on syncs of files take their time, so that others write and wait meanwhile.
    pub fn slow_syncs(&self) {
        self.0.slow_syncs.store(true, Ordering::Relaxed);
    }

    /// Limits the bytes that files can take, or lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.world.lock().capacity = bytes;
    }

    /// The bytes that files take.
    pub fn used(&self) -> u64 {
        self.0.world.lock().used()
    }

    /// Says whether the file system can reserve space (it can from the start).
    pub fn set_reserving(&self, reserves: bool) {
        self.0.world.lock().reserves = reserves;
    }

    /// The wall clock, which does not move for it.
    pub fn now_without_tick(&self) -> i64 {
        self.0.world.lock().now
    }

    /// Sets the wall clock to a time in nanoseconds since the Unix epoch.
    pub fn set_now(&self, now: i64) {
        self.0.world.lock().now = now;
    }

    /// Sets by how much the clocks move at each look; zero freezes them.
    pub fn set_tick(&self, tick: Duration) {
        self.0.world.lock().tick = tick;
    }

    /// Has the wall clock jump by one of these at every fourth look or so, by chance that follows
    /// from the seed; `i64::MIN` sets it to 1970. Or ends that.
    pub fn set_jumps(&self, jumps: Option<(u64, Vec<i64>)>) {
        self.0.world.lock().jumps = jumps.map(|(seed, jumps)| (Rng::new(seed), jumps));
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, time: Duration) {
        let mut world = self.0.world.lock();
        world.now = world.now.saturating_add(i64::try_from(time.as_nanos()).unwrap());
        world.monotonic += time;
    }

    /// The paths of all files, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        let world = self.0.world.lock();
        let files = world.names.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// What every file holds, past the engine and its operations.
    pub fn content(&self) -> BTreeMap<PathBuf, Arc<Vec<u8>>> {
        let world = self.0.world.lock();
        let content = world.names.iter().filter_map(|(path, node)| match node {
            Node::File(inode) => Some((path.clone(), Arc::clone(&world.inodes[inode].cache))),
            Node::Dir => None,
        });
        content.collect()
    }

    /// True while a power cut could take something from the files with this ending.
    pub fn has_unsynced(&self, ending: &str) -> bool {
        let world = self.0.world.lock();
        let is_meant = |path: &Path| path.extension().is_some_and(|found| found == ending);
        let is_unsynced = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(inode) => is_meant(path) && !world.inodes[inode].pending.is_empty(),
            Node::Dir => false,
        };
        world.name_changes.iter().any(|change| is_meant(change.path()))
            || world.names.iter().any(is_unsynced)
    }

    /// What a file holds, past the engine and its operations.
    pub fn peek(&self, path: &Path) -> Vec<u8> {
        let mut world = self.0.world.lock();
        let inode = world.file(path).unwrap();
        world.inode(inode).cache.to_vec()
    }

    /// Puts content into a file, on the platter too, past the engine and its operations.
    pub fn poke(&self, path: &Path, content: Vec<u8>) {
        let mut world = self.0.world.lock();
        let inode = world.file(path).unwrap();
        world.inode(inode).replace(content);
    }

    /// Begins an operation: counts it, shows it to the probe, and asks for its fault.
    fn begin(&self, kind: OpKind, path: &Path) -> Result<(MutexGuard<'_, World>, Option<Fault>)> {
        // Between two operations of a thread others have theirs.
        #[cfg(shuttle)]
        shuttle::sync::atomic::AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
        let mut world = self.0.world.lock();
        if world.off {
            let why = world.found.clone().unwrap_or_else(|| "the power is off".to_owned());
            return Err(failed(kind, path, io::Error::other(why)));
        }
        let op = Op { number: world.operations, kind, path: path.to_owned() };
        world.operations += 1;
        let mut hooks = self.0.hooks.lock();
        if let Some(probe) = hooks.probe.as_mut().filter(|_| kind.changes()) {
            let seen = AssertUnwindSafe(|| probe(&Moment { op: &op, world: &world }));
            if let Err(panic) = catch_unwind(seen) {
                // Let loose in here it would leave the ledger in a state that no disk can bring
                // about; as a dead disk it ends the case.
                world.off = true;
                let found = format!("found before this: {}", message(&*panic));
                world.found = Some(found.clone());
                return Err(failed(kind, path, io::Error::other(found)));
            }
        }
        let fault = hooks.faults.as_mut().and_then(|faults| faults(&op));
        drop(hooks);
        Ok((world, fault))
    }

    /// Does an operation that fails wholly or not at all.
    fn run<T>(
        &self,
        kind: OpKind,
        path: &Path,
        act: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> Result<T> {
        let (mut world, fault) = self.begin(kind, path)?;
        let result = match fault {
            None => act(&mut world),
            Some(Fault::Io | Fault::LostSync) => Err(io::Error::from_raw_os_error(EIO)),
            Some(Fault::Interrupted) => Err(io::Error::from_raw_os_error(EINTR)),
            Some(Fault::NoSpace | Fault::Short(_)) => Err(io::Error::from_raw_os_error(ENOSPC)),
        };
        result.map_err(|source| failed(kind, path, source))
    }
}

const EINTR: i32 = 4;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn failed(kind: OpKind, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        // After a failed sync nothing can be promised, so that is no mere lack of space.
        io::ErrorKind::StorageFull if !matches!(kind, OpKind::Sync | OpKind::SyncDir) => {
            Error::NoSpace { path, source }
        }
        _ => Error::Io { operation: kind.name(), path, source },
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

#[cfg(test)]
mod tests;
