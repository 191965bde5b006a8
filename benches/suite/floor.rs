//! The floor: the least that any log must do.

use std::path::Path;

use runledger::Body;
use runledger::format::codec::{self, Prior};
use runledger::format::frame::payload_crc;
use runledger::storage::{Disk, File, OpenMode, Storage};

use super::Outcome;
use super::measure::timed;
use super::workload::{Pool, Workload};

/// Records in a batch.
pub(super) const BATCH: usize = 1000;
/// Bytes of a bare write: those of one record.
const RECORD_BYTES: usize = 170;

/// What writing `ops` records without any index takes.
pub(super) struct Floor {
    pub(super) seconds: f64,
    pub(super) bytes: u64,
}

/// Encodes the records, takes a checksum of each batch, and writes the batch: no index, no more.
pub(super) fn bulk(dir: &Path, pool: &Pool, seed: u64, ops: usize) -> Outcome<Floor> {
    let file = Disk.open(&dir.join("floor"), OpenMode::CreateNew)?;
    let mut workload = Workload::new(pool, seed);
    let (mut batch, mut buffer) = (Vec::new(), Vec::new());
    let mut floor = Floor { seconds: 0.0, bytes: 0 };
    for _ in 0..ops / BATCH {
        workload.fill(&mut batch, BATCH);
        let (written, seconds) = timed(|| write(&*file, &batch, &mut buffer, floor.bytes));
        floor.bytes += written?;
        floor.seconds += seconds;
    }
    file.sync()?;
    Ok(floor)
}

fn write(
    file: &dyn File,
    batch: &[Body<'_>],
    buffer: &mut Vec<u8>,
    at: u64,
) -> runledger::Result<u64> {
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
    file.write_at(buffer, at)?;
    Ok(buffer.len() as u64)
}

/// A file in which there is room for bare writes, and where the next one goes.
pub(super) struct Bare {
    file: std::sync::Arc<dyn File>,
    at: u64,
}

impl Bare {
    pub(super) fn new(dir: &Path) -> Outcome<Self> {
        let file = Disk.open(&dir.join("bare"), OpenMode::CreateNew)?;
        file.allocate(8 << 20)?;
        file.sync()?;
        Ok(Self { file, at: 0 })
    }

    /// Writes as much as one record, and syncs it; gives the microseconds that it took.
    pub(super) fn durable(&mut self) -> Outcome<f64> {
        let record = [0x5a; RECORD_BYTES];
        let (done, seconds) = timed(|| {
            self.file.write_at(&record, self.at)?;
            self.file.sync()
        });
        self.at += RECORD_BYTES as u64;
        Ok(done.map(|()| seconds * 1e6)?)
    }
}
