//! The floor: the least that any log must do, and nothing is indexed.

use std::sync::{Arc, Mutex};

use runledger::Body;
use runledger::format::codec::{self, Prior};
use runledger::format::frame::payload_crc;
use runledger::storage::{Disk, File, OpenMode, Storage};

use crate::Outcome;
use crate::engine::{Level, Log, Setup};

pub(super) const SETTINGS: &str = "encode, checksum, one write a batch, nothing indexed; durable: \
     bare write of 170 bytes into a preallocated file, and fdatasync";

/// Bytes of a bare write: those of one record.
const RECORD_BYTES: usize = 170;
/// Room for bare writes.
const ALLOCATED: u64 = 8 << 20;

pub(super) struct Floor {
    file: Arc<dyn File>,
    level: Level,
    end: Mutex<End>,
}

/// Where the next write goes, and what it is made in.
#[derive(Default)]
struct End {
    at: u64,
    buffer: Vec<u8>,
}

impl Floor {
    pub(super) fn open(setup: Setup<'_>) -> Outcome<Self> {
        let file = Disk.open(&setup.dir.join("floor"), OpenMode::CreateNew)?;
        if setup.level == Level::Sync {
            file.allocate(ALLOCATED)?;
            file.sync()?;
        }
        Ok(Self { file, level: setup.level, end: Mutex::default() })
    }
}

impl Log for Floor {
    fn append_batch(&self, batch: &[Body<'_>]) -> Outcome {
        let mut end = self.end.lock().map_err(|_| "an append has panicked")?;
        let End { at, buffer } = &mut *end;
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
        let mut end = self.end.lock().map_err(|_| "an append has panicked")?;
        self.file.write_at(&[0x5a; RECORD_BYTES], end.at)?;
        self.file.sync()?;
        end.at = (end.at + RECORD_BYTES as u64) % (ALLOCATED - RECORD_BYTES as u64);
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.file.sync()?)
    }
}
