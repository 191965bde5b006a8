//! Footers that are damaged, missing, or another's: the answers stay (row 11 of the reliability
//! scorecard).

use runledger::format::trailer::TRAILER_BYTES;
use runledger::{Durability, Field, Kind, Order, Reader, Result, Severity, Status, Timestamp};

use std::path::Path;
use std::time::Duration;

use crate::check::reader;
use crate::disk::SimDisk;
use crate::ground::Ground;
use crate::oracle::SharedOracle;
use crate::rng::Rng;
use crate::segments::{Segment, segments, with_file};
use crate::workload::{DIR, Writer, options};
use runledger::storage::Storage;

/// The answers to many questions, as text.
fn answers(reader: &Reader) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    let query = || reader.query();
    let middle = Timestamp::from_nanos(1_700_000_000_000_000_001);
    let questions = [
        query(),
        query().history(true),
        query().kind(Kind::Run),
        query().status(Status::Running),
        query().status(Status::Failed).history(true),
        query().severity(Severity::Error),
        query().trace("0af7651916cd43dd8448eb211c80319c"),
        query().project("project"),
        query().run("run-3").history(true),
        query().since(middle),
        query().until(middle).order(Order::Oldest),
        query().kind(Kind::Event).order(Order::SeqDescending),
        query().text("at line 2"),
    ];
    for question in questions {
        answers.push(question.count()?.to_string());
        let page = question.clone().limit(7).offset(2).fetch()?;
        answers.push(format!("{:?}", page.seqs().collect::<Vec<_>>()));
        let page = question.clone().limit(1000).fetch()?;
        let bodies: Result<Vec<_>> = page.records().map(|r| r.map(|r| r.into_owned())).collect();
        answers.push(format!("{:?}", bodies?));
        for field in Field::ALL {
            answers.push(format!("{:?}", question.count_by(*field)?));
        }
    }
    Ok(answers)
}

/// An end that the segment had when it had fewer frames, in place of its own or mixed with it.
fn outdate(
    mut bytes: Vec<u8>,
    start: usize,
    stale: &Segment,
    kind: usize,
    rng: &mut Rng,
) -> (Vec<u8>, &'static str) {
    let old = &stale.bytes[stale.footer.unwrap()..];
    let (old_sections, old_trailer) = old.split_at(old.len() - TRAILER_BYTES);
    let trailer = bytes.len() - TRAILER_BYTES;
    match kind {
        10 => {
            bytes.truncate(start);
            bytes.extend_from_slice(old);
            (bytes, "an older footer of its own")
        }
        11 => {
            bytes.truncate(trailer);
            bytes.extend_from_slice(old_trailer);
            (bytes, "its footer under an older trailer")
        }
        12 => {
            let end = (start + old_sections.len()).min(trailer);
            bytes[start..end].copy_from_slice(&old_sections[..end - start]);
            (bytes, "an older footer under its trailer")
        }
        _ => {
            bytes.truncate(start);
            bytes.extend_from_slice(old);
            bytes.resize(bytes.len() + rng.below(300), 0);
            (bytes, "an older footer, and zeros")
        }
    }
}

/// Another end for a sealed segment; what it was is the second result.
fn mutate(
    segment: &Segment,
    other: &Segment,
    stale: &Segment,
    rng: &mut Rng,
) -> (Vec<u8>, &'static str) {
    let start = segment.footer.unwrap();
    let mut bytes = segment.bytes.clone();
    let at = start + rng.below(bytes.len() - start);
    let kind = rng.below(14);
    if kind >= 10 {
        return outdate(bytes, start, stale, kind, rng);
    }
    match kind {
        0 | 1 => {
            bytes[at] ^= 1 << rng.below(8);
            return (bytes, "a bit flipped");
        }
        2 => {
            let end = (at + 1 + rng.below(600)).min(bytes.len());
            bytes[at..end].fill(0);
            return (bytes, "a range zeroed");
        }
        3 => {
            let end = (at + 1 + rng.below(600)).min(bytes.len());
            bytes[at..end].fill_with(|| rng.number().to_le_bytes()[0]);
            return (bytes, "a range of garbage");
        }
        4 => bytes.truncate(at),
        5 => {
            bytes.truncate(start);
            return (bytes, "no footer");
        }
        6 => {
            bytes.resize(bytes.len() + 1 + rng.below(9000), 0);
            return (bytes, "zeros behind it");
        }
        7 => {
            bytes.truncate(start);
            bytes.extend_from_slice(&other.bytes[other.footer.unwrap()..]);
            return (bytes, "another segment's footer");
        }
        8 => {
            let trailer = bytes.len() - TRAILER_BYTES;
            let trailer = bytes[trailer..].to_vec();
            bytes.truncate(start);
            bytes.extend_from_slice(&trailer);
            return (bytes, "only the trailer");
        }
        _ => {
            bytes.truncate(start);
            bytes.resize(segment.bytes.len(), 0);
            return (bytes, "a footer of zeros");
        }
    }
    (bytes, "cut short")
}

/// The segment as it would have been sealed when it had fewer frames.
fn stale(disk: &SimDisk, segment: &Segment, rng: &mut Rng) -> Segment {
    let end = segment.frames[rng.below(segment.frames.len() - 1)].end;
    let image = disk.fork();
    let dir = segment.path.parent().unwrap();
    for later in image.files() {
        if later.parent() == Some(dir) && later > segment.path {
            image.remove(&later).unwrap();
        }
    }
    // The sequence file would miss what is gone.
    image.remove(&Path::new(DIR).join("SEQ")).unwrap();
    image.poke(&segment.path, segment.bytes[..end].to_vec());
    let ledger = options(&image).retention(Kind::Run, None).retention(Kind::Event, None);
    let ledger = ledger.retention(Kind::Error, None).open(DIR).unwrap();
    image.advance(Duration::from_secs(3 * 86_400));
    ledger.maintain().unwrap();
    let stale = Segment::read(&image, &segment.path);
    assert_eq!(stale.footer, Some(end), "{:?}", segment.path);
    stale
}

/// A closed ledger with several sealed segments, in which runs go on from segment to segment.
fn ledger(disk: &SimDisk, seed: u64) -> Result<()> {
    let oracle = SharedOracle::default();
    let mut writer = Writer::open(disk, &oracle, seed)?;
    for _ in 0..150 {
        writer.step()?;
    }
    writer.append_event(100, Durability::Sync)?;
    writer.close()
}

/// Whatever becomes of a footer, the answers are the same.
pub(crate) fn mutations(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(2, 80), |seed| mutated(seed, 125));
    Ok(())
}

fn mutated(seed: u64, cases: u64) -> Result<u64> {
    let disk = SimDisk::new(seed);
    ledger(&disk, seed)?;
    let mut sealed: Vec<Segment> =
        ["runs", "events", "errors"].iter().flat_map(|name| segments(&disk, name)).collect();
    sealed.retain(|segment| segment.footer.is_some());
    assert!(sealed.len() >= 2, "{} sealed segments", sealed.len());
    let expected = answers(&reader(&disk)?)?;

    // Without any footer all answers are those of a full scan.
    let bare = disk.fork();
    for segment in &sealed {
        bare.poke(&segment.path, segment.bytes[..segment.footer.unwrap()].to_vec());
    }
    assert!(answers(&reader(&bare)?)? == expected, "the footers and a full scan disagree");

    let mut rng = Rng::new(seed);
    let stale: Vec<_> = sealed.iter().map(|segment| stale(&disk, segment, &mut rng)).collect();
    for case in 0..cases {
        let chosen = rng.below(sealed.len());
        let segment = &sealed[chosen];
        let other = &sealed[rng.below(sealed.len())];
        let (bytes, what) = mutate(segment, other, &stale[chosen], &mut rng);
        let image = with_file(&disk, &segment.path, bytes);
        let label = format!("case {case}: {what}, {:?}", segment.path);
        let found = reader(&image).and_then(|reader| answers(&reader));
        let found = found.unwrap_or_else(|err| panic!("{label}: {err}"));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{label}");
        }
        if case % 5 == 0 {
            let ledger = options(&image).open(DIR).unwrap_or_else(|err| panic!("{label}: {err}"));
            assert!(answers(ledger.reader())? == expected, "{label}, opened for writing");
        }
    }
    Ok(cases)
}
