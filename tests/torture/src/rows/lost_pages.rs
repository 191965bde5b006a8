//! Segments that are cut short, and disks that fail, under maps (row 14 of the reliability
//! scorecard).

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use runledger::{Compaction, Durability, ErrorRecord, Event, Json, Options, Result, Run, Status};

use crate::ground::Ground;
use crate::real::asker::{Answers, ask, start};
use crate::real::image::{Format, Image};
use crate::real::place::{Place, remove_leftovers};
use crate::real::truth::Truth;
use crate::rng::Rng;

/// How often the files are cut under the same processes.
const CUTS: u64 = 20;

/// How many questions are asked while a file is cut, and again once it is whole.
const QUESTIONS: u64 = 12;

/// How many processes ask.
const ASKERS: u64 = 2;

/// What the questions met.
#[derive(Debug, Default)]
struct Met {
    right: AtomicU64,
    refused: AtomicU64,
}

impl Met {
    fn add(&self, answers: Answers) {
        self.right.fetch_add(answers.right, Ordering::Relaxed);
        self.refused.fetch_add(answers.refused, Ordering::Relaxed);
    }

    fn note(self, ground: &Ground) {
        let (right, refused) = (self.right.into_inner(), self.refused.into_inner());
        ground.note(format!("{right} right answers, {refused} refused ones"));
    }
}

/// A segment that is cut short under those who have it mapped gives true answers or errors, and
/// true ones again when it is whole again.
pub(crate) fn cut_short(ground: &Ground) -> Result<()> {
    let ledgers = ground.of(8, 250);
    let Some(program) = &ground.program else {
        ground.skip(ledgers * CUTS, "whoever may die of it must be another process: `torture`");
        return Ok(());
    };
    remove_leftovers().unwrap();
    let met = Met::default();
    ground.cases(ledgers, |seed| cutting(program, seed, &met));
    met.note(ground);
    Ok(())
}

/// A disk that cannot read a page under a map gives errors for what lies there.
pub(crate) fn unreadable(ground: &Ground) -> Result<()> {
    let images = ground.of(2, 60);
    let Some(program) = &ground.program else {
        ground.skip(images, "whoever may die of it must be another process: `torture`");
        return Ok(());
    };
    if let Some(reason) = Image::why_not(Format::Ext4) {
        ground.skip(images, reason);
        return Ok(());
    }
    let met = Met::default();
    ground.cases(images, |seed| failing(program, seed, &met));
    met.note(ground);
    Ok(())
}

/// Fills a ledger with segments of this size, and notes what it holds.
fn fill(dir: &Path, segment_bytes: u32, records: usize, rng: &mut Rng) -> Result<Truth> {
    let ledger = Options::new().segment_bytes(segment_bytes).background(false).open(dir)?;
    for number in 0..records {
        let text = "text ".repeat(rng.below(200));
        let name = format!("type-{}", rng.below(9));
        match rng.below(4) {
            0 => {
                let run = Run::new(format!("run-{number}"), name, Status::Success)?;
                ledger.append_with(run.metadata(Json::from_value(&text)?), Durability::Os)?
            }
            1 => ledger.append_with(ErrorRecord::new(name, text), Durability::Os)?,
            2 => ledger.append_with(Event::new(name).message(text), Durability::Os)?,
            _ => {
                let event = |at| Event::new(format!("batch-{at}")).message(text.clone()).into();
                let batch: Vec<_> = (0..1 + rng.below(8)).map(event).collect();
                ledger.append_batch(&batch, Durability::Os)?.len() as u64
            }
        };
    }
    if rng.below(2) == 0 {
        ledger.compact(&Compaction::new())?;
    }
    let truth = Truth::of(ledger.reader())?;
    ledger.close()?;
    Ok(truth)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let streams = fs::read_dir(dir.join("streams")).unwrap();
    let files = streams.flat_map(|stream| fs::read_dir(stream.unwrap().path()).unwrap());
    let mut segments: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    segments.sort();
    segments
}

fn cutting(program: &Path, seed: u64, met: &Met) -> Result<u64> {
    let place = Place::new().unwrap();
    let (dir, noted) = (place.path().join("ledger"), place.path().join("truth"));
    let mut rng = Rng::new(seed);
    fill(&dir, 64 << 10, 500, &mut rng)?.write(&noted);
    // The last of them writes, so that some segments are open.
    let mut askers: Vec<_> =
        (1..=ASKERS).map(|at| start(program, &dir, &noted, at == ASKERS, rng.number())).collect();
    for cut in 0..CUTS {
        let segments = segments(&dir);
        let path = &segments[rng.below(segments.len())];
        let whole = fs::read(path).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let len = cut_length(whole.len(), &mut rng);
        let grows = rng.below(4) == 0;
        let label = format!("cut {cut}, of {} at {len}, grows: {grows}", path.display());
        file.set_len(len as u64).unwrap();
        if grows {
            file.set_len(whole.len() as u64).unwrap();
        }
        for asker in &mut askers {
            met.add(ask(asker, QUESTIONS, &label));
        }
        put_back(&file, &whole);
        for asker in &mut askers {
            // Whoever has met the cut maps the file anew, and then nothing is wrong with it.
            ask(asker, QUESTIONS, &label);
            let after = ask(asker, QUESTIONS, &label);
            assert_eq!(after.refused, 0, "{label}: the file is whole again");
        }
    }
    Ok(CUTS)
}

fn put_back(file: &File, whole: &[u8]) {
    file.set_len(whole.len() as u64).unwrap();
    file.write_all_at(whole, 0).unwrap();
}

/// Some length below that of the file: anywhere, at a page, or in its last bytes.
fn cut_length(whole: usize, rng: &mut Rng) -> usize {
    match rng.below(4) {
        0 => rng.below(whole) / 4096 * 4096,
        1 => whole.saturating_sub(1 + rng.below(600)),
        _ => rng.below(whole),
    }
}

fn failing(program: &Path, seed: u64, met: &Met) -> Result<u64> {
    let mut image = Image::new(Format::Ext4).unwrap_or_else(|reason| panic!("{reason}"));
    let place = Place::new().unwrap();
    let (dir, noted) = (image.at().join("ledger"), place.path().join("truth"));
    let mut rng = Rng::new(seed);
    image.mount().unwrap();
    fill(&dir, 1 << 20, 12_000, &mut rng)?.write(&noted);
    // What was read before stays in memory; mounted anew, nothing was.
    image.unmount().unwrap();
    image.mount().unwrap();
    let mut askers: Vec<_> =
        (0..ASKERS).map(|_| start(program, &dir, &noted, false, rng.number())).collect();
    image.cut_off().unwrap();
    let mut refused = 0;
    for asker in &mut askers {
        let answers = ask(asker, 60, "cut off");
        met.add(answers);
        refused += answers.refused;
    }
    assert!(refused > 0, "everything was in memory");
    drop(askers);
    image.unmount().unwrap();
    Ok(1)
}
