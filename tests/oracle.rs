//! The ledger's answers against those of an oracle that shares no code with it.
//!
//! The oracle reads the same JSON lines with its own structures, folds runs to their newest state
//! itself, and answers each question by looking at every record. Both are asked on open segments,
//! after a reopen, with many small segments, without valid footers, by the writer and by readers of
//! their own. It takes one thing from the ledger: the fingerprint of an error, which is a hash.

mod book;
mod compare;
mod question;
mod random;
mod record;
mod small;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use runledger::format::trailer::{TRAILER_BYTES, TRAILER_MAGIC};
use runledger::wire::{self, ParseOptions};
use runledger::{Body, Durability, Error, Field, Ledger, Options, Reader};

use book::Book;
use compare::everything;

/// The questions at random for each state of the ledger.
const ROUNDS: usize = 300;

/// Lines that are appended at once.
const BATCH: usize = 500;

/// The options of a ledger whose state follows from what is done to it, not from a clock.
fn options(segment_bytes: u32) -> Options {
    let mut options = Options::new().durability(Durability::Os).background(false);
    for kind in runledger::Kind::ALL {
        options = options.retention(*kind, None);
    }
    options.segment_bytes(segment_bytes)
}

/// Appends lines to a ledger and a book, and compares which are refused.
fn append(ledger: &Ledger, book: &mut Book, lines: &[String]) -> u64 {
    let mut refused = 0;
    for batch in lines.chunks(BATCH) {
        let parsed = |line| wire::parse_line(line, &ParseOptions::default()).unwrap();
        let bodies: Vec<Body<'_>> = batch.iter().map(|line| parsed(line)).collect();
        let results = ledger.append_each(&bodies, Durability::Os).unwrap();
        assert_eq!(results.len(), batch.len());
        for (line, result) in batch.iter().zip(results) {
            match (book.expect(line), result) {
                (Some(rec), Ok(seq)) => book.push(rec, seq),
                (None, Err(Error::RunTransition { .. })) => refused += 1,
                (expected, result) => panic!("{line}: {expected:?} and {result:?}"),
            }
        }
    }
    refused
}

/// Takes the fingerprints of errors from the ledger: they are hashes of its own.
fn note_fingerprints(book: &mut Book, reader: &Reader) {
    for rec in book.recs.iter_mut().filter(|rec| rec.kind == "error") {
        let stored = reader.get(rec.seq).unwrap();
        let Body::Error(error) = stored.record().unwrap().body else { panic!("not an error") };
        rec.fields.insert(Field::Fingerprint, error.fingerprint.unwrap().to_string());
    }
}

/// The segment files of a ledger.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for stream in fs::read_dir(dir.join("streams")).unwrap() {
        for file in fs::read_dir(stream.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.sort();
    files
}

/// Spoils the footer of every segment that has one, each in another way, and says of how many.
fn spoil_footers(dir: &Path) -> usize {
    let mut spoiled = 0;
    for file in segments(dir) {
        let mut bytes = fs::read(&file).unwrap();
        let Some(trailer) = bytes.len().checked_sub(TRAILER_BYTES) else { continue };
        if !bytes[trailer..].starts_with(&TRAILER_MAGIC) {
            continue;
        }
        match spoiled % 3 {
            0 => bytes.truncate(trailer),
            1 => bytes[trailer + 20] ^= 0x40,
            // The section table stands before the trailer: what it says of a section is now false.
            _ => bytes[trailer - 30..trailer].iter_mut().for_each(|byte| *byte ^= 0xff),
        }
        fs::write(&file, bytes).unwrap();
        spoiled += 1;
    }
    spoiled
}

/// Everything, in every state that a ledger can be in.
fn in_every_state(lines: &[String], segment_bytes: u32) -> u64 {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let mut book = Book::default();

    let ledger = options(segment_bytes).open(&dir).unwrap();
    let refused = append(&ledger, &mut book, lines);
    note_fingerprints(&mut book, ledger.reader());
    everything(&book, ledger.reader(), ROUNDS, 1);
    everything(&book, &Reader::open(&dir).unwrap(), ROUNDS / 4, 2);
    ledger.close().unwrap();

    everything(&book, &Reader::open(&dir).unwrap(), ROUNDS, 3);
    let ledger = options(segment_bytes).open(&dir).unwrap();
    everything(&book, ledger.reader(), ROUNDS / 4, 4);
    drop(ledger);

    let spoiled = spoil_footers(&dir);
    println!("{} records, {spoiled} footers spoiled", book.recs.len());
    everything(&book, &Reader::open(&dir).unwrap(), ROUNDS, 5);
    let ledger = options(segment_bytes).open(&dir).unwrap();
    everything(&book, ledger.reader(), ROUNDS / 4, 6);
    refused
}

/// The slice of real records that the demo shows.
fn slice() -> Vec<String> {
    let path = "src/bin/runledger/demo/nezha-slice.jsonl";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn answers_on_the_slice() {
    assert_eq!(in_every_state(&slice(), 64 << 20), 0);
}

#[test]
fn answers_on_the_slice_with_small_segments() {
    assert_eq!(in_every_state(&slice(), 64 << 10), 0);
}

/// The lines of the shared sets of real records; `None`, and said so, where they are not there.
fn shared(names: &[&str]) -> Option<Vec<String>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let mut lines = Vec::new();
    for name in names {
        let Ok(file) = fs::File::open(data.join(format!("{name}.jsonl.gz"))) else {
            println!("skipped: no shared data ({name})");
            return None;
        };
        let reader: Box<dyn Read> = Box::new(GzDecoder::new(file));
        lines.extend(BufReader::new(reader).lines().map(Result::unwrap));
    }
    Some(lines)
}

#[test]
fn answers_on_real_records() {
    let names = ["zipkin", "gha-ionic", "loghub-openstack", "loghub-hadoop", "wfinstances"];
    if let Some(lines) = shared(&names) {
        in_every_state(&lines, 64 << 20);
    }
}

#[test]
fn answers_on_real_records_with_small_segments() {
    let names = ["gha-ionic", "gha-ionic.anomalies", "loghub-openstack", "loghub-hadoop"];
    if let Some(lines) = shared(&names) {
        assert!(in_every_state(&lines, 64 << 10) > 0, "runs that go back are refused");
    }
}

#[test]
fn answers_on_the_largest_set() {
    if let Some(lines) = shared(&["nezha"]) {
        in_every_state(&lines, 1 << 20);
    }
}
