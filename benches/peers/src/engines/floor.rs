//! The floor: the least that any log must do, and nothing is indexed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use runledger::Body;
use runledger::format::codec::{self, Prior};
use runledger::format::frame::payload_crc;
use runledger::storage::{Disk, File, OpenMode, Storage};

use crate::Outcome;
use crate::engine::{Level, Log, Setup};

pub(super) const SETTINGS: &str = "encode, checksum, one write a batch, nothing indexed; durable: \
     bare write of 170 bytes into a preallocated file, and fdatasync, which those who wait share";

/// Bytes of a bare write: those of one record.
const RECORD_BYTES: usize = 170;
/// Room for bare writes.
const ALLOCATED: u64 = 8 << 20;

pub(super) struct Floor {
    file: Arc<dyn File>,
    level: Level,
    end: Mutex<End>,
    synced: Mutex<Synced>,
    sync_ended: Condvar,
}

/// Where the next write goes, and what it is made in.
#[derive(Default)]
struct End {
    at: u64,
    buffer: Vec<u8>,
    /// Bare writes so far.
    writes: u64,
}

/// How many bare writes are on stable storage, and whether one of those who wait is syncing.
#[derive(Default)]
struct Synced {
    writes: u64,
    has_leader: bool,
}

fn lock<T>(of: &Mutex<T>) -> Outcome<MutexGuard<'_, T>> {
    Ok(of.lock().map_err(|_| "an append has panicked")?)
}

impl Floor {
    pub(super) fn open(setup: Setup<'_>) -> Outcome<Self> {
        let file = Disk.open(&setup.dir.join("floor"), OpenMode::CreateNew)?;
        if setup.level == Level::Sync {
            file.allocate(ALLOCATED)?;
            file.sync()?;
        }
        let (end, synced, sync_ended) = Default::default();
        Ok(Self { file, level: setup.level, end, synced, sync_ended })
    }

    /// Returns once so many bare writes are on stable storage: one of those who wait syncs for all
    /// who have written.
    fn wait_synced(&self, writes: u64) -> Outcome {
        let mut synced = lock(&self.synced)?;
        while synced.writes < writes {
            if synced.has_leader {
                synced = self.sync_ended.wait(synced).map_err(|_| "a sync has panicked")?;
                continue;
            }
            synced.has_leader = true;
            drop(synced);
            let reached = lock(&self.end)?.writes;
            let outcome = self.file.sync();
            synced = lock(&self.synced)?;
            synced.has_leader = false;
            self.sync_ended.notify_all();
            outcome?;
            synced.writes = reached;
        }
        Ok(())
    }
}

impl Log for Floor {
    fn append_batch(&self, batch: &[Body<'_>]) -> Outcome {
        let mut end = lock(&self.end)?;
        let End { at, buffer, .. } = &mut *end;
        buffer.clear();
        buffer.extend_from_slice(&[0; 4]);
        for body in batch {
            match body {
                Body::Run(run) => codec::encode_run(buffer, 0, Prior::None, run)?,
                Body::Event(event) => codec::encode_event(buffer, 0, event)?,
                Body::Error(error) => codec::encode_error(buffer, 0, error)?,
                _ => {}
            }
        }
        if let Some((head, payload)) = buffer.split_first_chunk_mut() {
            *head = payload_crc(payload).to_le_bytes();
        }
        self.file.write_at(buffer, *at)?;
        *at += buffer.len() as u64;
        Ok(())
    }

    fn append(&self, body: Body<'_>) -> Outcome {
        if self.level == Level::Os {
            return self.append_batch(std::slice::from_ref(&body));
        }
        let mut end = lock(&self.end)?;
        self.file.write_at(&[0x5a; RECORD_BYTES], end.at)?;
        end.at = (end.at + RECORD_BYTES as u64) % (ALLOCATED - RECORD_BYTES as u64);
        end.writes += 1;
        let writes = end.writes;
        drop(end);
        self.wait_synced(writes)
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.file.sync()?)
    }
}
