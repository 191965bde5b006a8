//! A writer that appends what a seed says, and tells the oracle.

use std::path::Path;

use runledger::storage::OpenMode;
use runledger::{
    Body, Class, Compaction, Durability, ErrorRecord, Event, Id, Json, Ledger, Options, Result,
    Run, Severity, Status, Timestamp,
};

use crate::disk::SimDisk;
use crate::oracle::{SharedOracle, mark};
use crate::rng::Rng;

/// Where the ledger is on the modelled disk.
pub(crate) const DIR: &str = "/ledger";

/// What all events belong to, and all runs.
pub(crate) const PROJECT: &str = "project";
pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// All durabilities.
const LEVELS: [Durability; 3] = [Durability::Sync, Durability::Os, Durability::Interval];

/// The smallest segments, and nothing in the background.
pub(crate) fn options(disk: &SimDisk) -> Options {
    Options::new()
        .segment_bytes(64 << 10)
        .background(false)
        .reserve_bytes(0)
        .durability(Durability::Os)
        .storage(disk.storage())
}

/// Has these classes split off from the next opening on, by the file in the ledger's directory, and
/// tells the oracle. They are kept for as long as what they are split off.
pub(crate) fn split_off(disk: &SimDisk, oracle: &SharedOracle, classes: &[&str]) -> Result<()> {
    let tables = classes.iter().map(|class| format!("[retention.\"{class}\"]\nage = \"365d\"\n"));
    let path = Path::new(DIR).join("runledger.toml");
    let storage = disk.storage();
    if !storage.exists(&path)? {
        storage.create_dir_all(Path::new(DIR))?;
        storage.open(&path, OpenMode::CreateNew)?;
        storage.sync_dir(Path::new(DIR))?;
    }
    disk.poke(&path, tables.collect::<String>().into_bytes());
    oracle.lock().split =
        classes.iter().map(|class| class.parse()).collect::<Result<Vec<Class>>>()?;
    Ok(())
}

/// A ledger on a modelled disk, and the oracle that is told of all that is appended to it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) ledger: Ledger,
    pub(crate) oracle: SharedOracle,
    rng: Rng,
    /// Runs that are known to be open.
    open_runs: Vec<String>,
    /// True when compaction is one of the things that it does.
    pub(crate) compacts: bool,
}

impl Writer {
    pub(crate) fn open(disk: &SimDisk, oracle: &SharedOracle, seed: u64) -> Result<Self> {
        let ledger = options(disk).open(Path::new(DIR))?;
        oracle.lock().opened();
        Ok(Self::over(ledger, oracle, seed))
    }

    pub(crate) fn over(ledger: Ledger, oracle: &SharedOracle, seed: u64) -> Self {
        let (oracle, rng) = (oracle.clone(), Rng::new(seed));
        Self { ledger, oracle, rng, open_runs: Vec::new(), compacts: false }
    }

    /// The same, which compacts now and then, too: for all that looks at records, and not at files.
    pub(crate) fn compacting(self) -> Self {
        Self { compacts: true, ..self }
    }

    /// Appends a batch and tells the oracle.
    pub(crate) fn append(
        &self,
        make: impl FnOnce(usize) -> Vec<Body<'static>>,
        durability: Durability,
    ) -> Result<Vec<u64>> {
        let (number, bodies) = {
            let mut oracle = self.oracle.lock();
            let number = oracle.batches.len();
            let bodies = make(number);
            (oracle.begin(bodies.clone()), bodies)
        };
        let result = match bodies.as_slice() {
            [one] => self.ledger.append_with(one.clone(), durability).map(|seq| vec![seq]),
            all => self.ledger.append_batch(all, durability),
        };
        self.oracle.lock().end(number, &result, durability);
        result
    }

    /// Appends an event with a payload of about so many bytes.
    pub(crate) fn append_event(&self, size: usize, durability: Durability) -> Result<Vec<u64>> {
        self.append(|batch| vec![event(&mark(batch, 0), size)], durability)
    }

    /// Syncs and tells the oracle.
    pub(crate) fn sync(&self) -> Result<()> {
        let before = self.oracle.lock().kept();
        self.ledger.sync()?;
        self.oracle.lock().synced(&before);
        Ok(())
    }

    /// Closes and tells the oracle.
    pub(crate) fn close(&self) -> Result<()> {
        let before = self.oracle.lock().kept();
        self.ledger.close()?;
        self.oracle.lock().synced(&before);
        Ok(())
    }

    /// Does one thing, by chance.
    pub(crate) fn step(&mut self) -> Result<()> {
        let durability = LEVELS[self.rng.below(LEVELS.len())];
        let size = match self.rng.below(10) {
            0..=4 => self.rng.below(200),
            5..=7 => self.rng.below(3000),
            _ => 10_000 + self.rng.below(12_000),
        };
        match self.rng.below(20) {
            0..=6 => self.append_event(size, durability).map(drop),
            7..=9 => self.append(|batch| vec![error(&mark(batch, 0), size)], durability).map(drop),
            10..=12 => self.start_run(size, durability),
            13..=14 => self.end_run(durability),
            15..=17 => {
                let count = 2 + self.rng.below(5);
                let kinds = self.rng.below(3);
                self.append(|batch| mixed(batch, count, kinds, size / 4), durability).map(drop)
            }
            18 => self.sync(),
            // Of what it would leave out the oracle is not told.
            _ if self.compacts && self.rng.below(2) == 0 => {
                self.ledger.compact(&Compaction::new().keep_states()).map(drop)
            }
            _ => self.ledger.maintain().map(drop),
        }
    }

    fn start_run(&mut self, size: usize, durability: Durability) -> Result<()> {
        let mut id = String::new();
        self.append(
            |batch| {
                id = format!("run-{batch}");
                vec![run(&id, &mark(batch, 0), Status::Running, size)]
            },
            durability,
        )?;
        self.open_runs.push(id);
        Ok(())
    }

    fn end_run(&mut self, durability: Durability) -> Result<()> {
        if self.open_runs.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.open_runs.len());
        let id = self.open_runs.swap_remove(at);
        self.append(|batch| vec![run(&id, &mark(batch, 0), Status::Failed, 100)], durability)
            .map(drop)
    }
}

/// Records of one kind, or of all three in turn.
pub(crate) fn mixed(batch: usize, count: usize, kinds: usize, size: usize) -> Vec<Body<'static>> {
    let body = |place| {
        let mark = mark(batch, place);
        match if kinds == 0 { place % 3 } else { kinds } {
            0 => run(&format!("run-{batch}-{}", place / 6), &mark, Status::Running, size),
            1 => event(&mark, size),
            _ => error(&mark, size),
        }
    };
    (0..count).map(body).collect()
}

/// Text that differs from place to place, so that a shifted or mixed copy is seen.
fn filler(mark: &str, size: usize) -> String {
    let mut rng = Rng::new(
        mark.bytes()
            .fold(size as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))),
    );
    let mut text = String::with_capacity(size + 16);
    while text.len() < size {
        text.push_str(&format!("{:016x}", rng.number()));
    }
    text
}

/// Every third is a warning.
pub(crate) fn event(mark: &str, size: usize) -> Body<'static> {
    let payload = Json::from_value(&filler(mark, size)).unwrap();
    let sum: u32 = mark.bytes().map(u32::from).sum();
    let severity = if sum.is_multiple_of(3) { Severity::Warning } else { Severity::Info };
    Event::new(mark.to_owned())
        .severity(severity)
        .payload(payload)
        .project_id(Id::new(PROJECT).unwrap())
        .created_at(Timestamp::from_nanos(1_700_000_000_000_000_000))
        .into()
}

pub(crate) fn error(mark: &str, size: usize) -> Body<'static> {
    ErrorRecord::new(mark.to_owned(), filler(mark, size))
        .stack("at line 1\nat line 2".to_owned())
        .created_at(Timestamp::from_nanos(1_700_000_000_000_000_001))
        .into()
}

pub(crate) fn run(id: &str, mark: &str, status: Status, size: usize) -> Body<'static> {
    let metadata = Json::from_value(&filler(mark, size)).unwrap();
    Run::new(id.to_owned(), mark.to_owned(), status)
        .unwrap()
        .metadata(metadata)
        .trace_id(Id::new(TRACE).unwrap())
        .into()
}
