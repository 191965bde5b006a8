//! A directory that is copied file by file while its writer is at work opens as an older ledger
//! (row 12): every stream as it was when it was copied, whatever happened between two files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runledger::storage::OpenMode;
use runledger::{Cleanup, Reader, Result, verify};

use crate::check::{check, records};
use crate::disk::SimDisk;
use crate::ground::Ground;
use crate::oracle::{Crash, SharedOracle};
use crate::rng::Rng;
use crate::workload::{DIR, Writer};

/// A copy under way: what is still to be copied, and what was.
struct Copy {
    from: SimDisk,
    to: SimDisk,
    /// Directories that were not listed yet.
    dirs: Vec<PathBuf>,
    /// Files that were listed, and may be gone when their turn comes.
    files: Vec<PathBuf>,
    /// True when one was: a program that copies says so, and the copy is to be made again.
    vanished: bool,
}

impl Copy {
    fn of(from: &SimDisk, seed: u64) -> Self {
        let (from, to) = (from.clone(), SimDisk::new(seed));
        Self { from, to, dirs: vec![DIR.into()], files: Vec::new(), vanished: false }
    }

    /// Copies one file as it is at this moment, or lists one directory. A program that copies lists
    /// a directory before it copies any file of it. False when there is nothing left.
    fn step(&mut self, rng: &mut Rng) -> Result<bool> {
        let choices = self.dirs.len() + self.files.len();
        if choices == 0 {
            return Ok(false);
        }
        let chosen = rng.below(choices);
        if chosen < self.dirs.len() {
            let dir = self.dirs.swap_remove(chosen);
            self.to.storage().create_dir_all(&dir)?;
            // A copy that was synced: what a power cut takes of it is not the ledger's to answer.
            self.to.storage().sync_dir(dir.parent().unwrap())?;
            for entry in self.from.storage().list(&dir)? {
                let into = if entry.is_dir { &mut self.dirs } else { &mut self.files };
                into.push(dir.join(entry.name));
            }
        } else {
            let file = self.files.swap_remove(chosen - self.dirs.len());
            self.copy(&file)?;
        }
        Ok(true)
    }

    fn copy(&mut self, file: &Path) -> Result<()> {
        if !self.from.storage().exists(file)? {
            self.vanished = true;
            return Ok(());
        }
        let bytes = self.from.peek(file);
        let copy = self.to.storage().open(file, OpenMode::CreateNew)?;
        copy.write_at(&bytes, 0)?;
        copy.sync()?;
        self.to.storage().sync_dir(file.parent().unwrap())
    }
}

fn settings(rng: &mut Rng) -> (usize, usize) {
    (40 + rng.below(120), rng.below(12))
}

/// The writer appends, rolls, seals and syncs between any two files.
pub(crate) fn beside_a_writer(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(60, 4_000), |seed| {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let (before, between) = settings(&mut rng);
        let mut writer = Writer::open(&disk, &oracle, seed)?.compacting();
        (0..before).try_for_each(|_| writer.step())?;
        let mut copy = Copy::of(&disk, seed);
        if rng.below(3) == 0 {
            // What the file `SEQ` says of a clean close is older than everything else then.
            writer.close()?;
            copy.to.storage().create_dir_all(Path::new(DIR))?;
            copy.to.storage().sync_dir(Path::new("/"))?;
            copy.copy(&Path::new(DIR).join("SEQ"))?;
            drop(writer);
            writer = Writer::open(&disk, &oracle, seed + 1)?.compacting();
        }
        let mut begun = oracle.lock().batches.len();
        loop {
            copy_all(&mut copy, &mut rng, |rng| {
                (0..rng.below(between + 1)).try_for_each(|_| writer.step())
            })?;
            if !copy.vanished {
                break;
            }
            // As the program that copies said that a file vanished, it is asked once more.
            writer.compacts = false;
            copy = Copy::of(&disk, seed);
            begun = oracle.lock().batches.len();
        }
        let owed = oracle.lock().of_copy(begun);
        let label = format!("a copy of {begun} batches, {between} between two files");
        let report = verify(DIR, copy.to.storage())?;
        assert!(!report.is_damaged(), "{label}: a copy is no damage: {:?}", report.findings);
        check(&copy.to, &owed, Crash::Kill, &label);
        Ok(1)
    });
    Ok(())
}

fn copy_all(
    copy: &mut Copy,
    rng: &mut Rng,
    mut between: impl FnMut(&mut Rng) -> Result<()>,
) -> Result<()> {
    let has_seq = copy.to.files().iter().any(|file| file.ends_with("SEQ"));
    loop {
        let more = copy.step(rng)?;
        if has_seq {
            copy.files.retain(|file| !file.ends_with("SEQ"));
        }
        if !more {
            return Ok(());
        }
        between(rng)?;
    }
}

/// Clean-up drops segments between two files.
pub(crate) fn beside_a_clean_up(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(40, 2_000), |seed| {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        oracle.lock().carries = true;
        let mut writer = Writer::open(&disk, &oracle, seed)?;
        (0..100).try_for_each(|_| writer.step())?;
        if rng.below(2) == 0 {
            // The opening knows of segments that are dropped later.
            writer.close()?;
            drop(writer);
            writer = Writer::open(&disk, &oracle, seed + 1)?;
        }
        disk.advance(Duration::from_secs(400 * 24 * 60 * 60));
        let mut copy = Copy::of(&disk, seed);
        let mut left = rng.below(8);
        copy_all(&mut copy, &mut rng, |_| {
            left = left.wrapping_sub(1);
            if left == 0 {
                writer.ledger.cleanup(&Cleanup::older_than(Duration::from_secs(60)), false)?;
            }
            writer.step()
        })?;
        let report = verify(DIR, copy.to.storage())?;
        assert!(!report.is_damaged(), "a copy is no damage: {:?}", report.findings);
        let seen = records(&Reader::with_storage(DIR, copy.to.storage())?)?;
        let opened = Writer::open(&copy.to, &SharedOracle::default(), seed)?;
        let found = records(opened.ledger.reader())?;
        let was_seen = |seq| seen.iter().any(|record| record.seq == seq);
        assert!(found.iter().all(|record| was_seen(record.seq)), "an opening makes no records");
        let next = opened.append_event(10, runledger::Durability::Sync)?;
        assert!(found.iter().all(|record| record.seq < next[0]), "no number is given out twice");
        opened.close()?;
        let report = verify(DIR, copy.to.storage())?;
        assert!(!report.is_damaged(), "once it was opened: {:?}", report.findings);
        Ok(1)
    });
    Ok(())
}
