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
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use runledger::format::trailer::{TRAILER_BYTES, TRAILER_MAGIC};
use runledger::wire::{self, LineError, ParseOptions};
use runledger::{Body, Class, Durability, Error, Field, Ledger, Limits, Options, Reader};

use book::Book;
use compare::Exam;
use record::Rec;

/// Lines that are appended at once: few, so that segments of 64 KiB are not outgrown by a batch.
const BATCH: usize = 40;

/// The options of a ledger whose state follows from what is done to it, not from a clock.
fn options(segment_bytes: u32) -> Options {
    let mut options = Options::new().durability(Durability::Os).background(false);
    for kind in runledger::Kind::ALL {
        options = options.retention(*kind, None);
    }
    options.segment_bytes(segment_bytes)
}

/// The same with those classes split off their kinds of which `mask` has the bit.
fn split(options: Options, mask: u32) -> Options {
    let narrow = Class::all().filter(|class| class.parent().is_some()).zip(0..);
    let chosen = narrow.filter(|(_, bit)| mask & (1 << bit) != 0);
    chosen.fold(options, |options, (class, _)| options.class(class, Limits::new().forever()))
}

/// All classes.
const EVERY: u32 = u32::MAX;

/// Lines that the ledger refused, as it must: for what the run's status was, and for a long id.
#[derive(Debug, Default, PartialEq, Eq)]
struct Refused {
    transitions: usize,
    ids: usize,
}

/// Appends lines to a ledger and a book, and compares which are refused.
fn append(ledger: &Ledger, book: &mut Book, lines: &[String]) -> Refused {
    let mut refused = Refused::default();
    for batch in lines.chunks(BATCH) {
        let mut bodies = Vec::new();
        let mut recs = Vec::new();
        for line in batch {
            let rec = Rec::parse(line);
            match (rec.has_long_id(), wire::parse_line(line, &ParseOptions::default())) {
                (false, Ok(body)) => {
                    bodies.push(body);
                    recs.push(rec);
                }
                (true, Err(LineError::Length { .. })) => refused.ids += 1,
                (_, parsed) => panic!("{line}: {parsed:?}"),
            }
        }
        let results = ledger.append_each(&bodies, Durability::Os).unwrap();
        assert_eq!(results.len(), recs.len());
        for (rec, result) in recs.into_iter().zip(results) {
            match (book.expect(rec), result) {
                (Some(rec), Ok(seq)) => book.push(rec, seq),
                (None, Err(Error::RunTransition { .. })) => refused.transitions += 1,
                (expected, result) => panic!("{expected:?} and {result:?}"),
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

/// All questions, in every state that a ledger can be in.
fn in_every_state(lines: &[String], segment_bytes: u32, rounds: usize) -> Refused {
    in_every_state_split(lines, segment_bytes, rounds, 0)
}

/// The same with classes split off.
fn in_every_state_split(lines: &[String], segment_bytes: u32, rounds: usize, mask: u32) -> Refused {
    let options = || split(options(segment_bytes), mask);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ledger");
    let mut book = Book::default();

    let ledger = options().open(&dir).unwrap();
    let refused = append(&ledger, &mut book, lines);
    note_fingerprints(&mut book, ledger.reader());
    let exam = Exam::new(&book, rounds, 1);
    exam.sit(ledger.reader(), 1);
    exam.sit(&Reader::open(&dir).unwrap(), 2);
    ledger.close().unwrap();

    exam.sit(&Reader::open(&dir).unwrap(), 3);
    let ledger = options().open(&dir).unwrap();
    exam.sit(ledger.reader(), 4);
    drop(ledger);

    let spoiled = spoil_footers(&dir);
    println!("{} records, {spoiled} footers spoiled, refused: {refused:?}", book.recs.len());
    exam.sit(&Reader::open(&dir).unwrap(), 5);
    let ledger = options().open(&dir).unwrap();
    exam.sit(ledger.reader(), 6);
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
    assert_eq!(in_every_state(&slice(), 64 << 20, 400), Refused::default());
}

#[test]
fn answers_on_the_slice_with_small_segments() {
    assert_eq!(in_every_state(&slice(), 64 << 10, 400), Refused::default());
}

/// Half of the classes, so that runs go from a stream of their own to that of all others and back.
const SOME: u32 = 0b1010_1010_1010_1010;

#[test]
fn answers_on_the_slice_by_classes() {
    for mask in [EVERY, SOME] {
        let refused = in_every_state_split(&slice(), 64 << 10, 200, mask);
        assert_eq!(refused, Refused::default());
    }
}

/// The lines of the shared sets of real records; `None`, and said so, where they are not there.
fn shared(names: &[&str]) -> Option<Vec<String>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let mut lines = Vec::new();
    for name in names {
        let Ok(packed) = fs::read(data.join(format!("{name}.jsonl.gz"))) else {
            println!("skipped: no shared data ({name})");
            return None;
        };
        let reader = BufReader::new(GzDecoder::new(packed.as_slice()));
        lines.extend(reader.lines().map(Result::unwrap));
    }
    Some(lines)
}

#[test]
fn answers_on_real_records() {
    if let Some(lines) = shared(&["zipkin", "gha-ionic", "loghub-openstack", "wfinstances"]) {
        let refused = in_every_state(&lines, 64 << 20, 200);
        // The names of some tasks of one workflow make ids of up to 146 bytes.
        assert_eq!(refused, Refused { transitions: 0, ids: 231 });
    }
}

#[test]
fn answers_on_real_records_with_small_segments() {
    if let Some(lines) = shared(&["gha-ionic.anomalies", "loghub-openstack", "loghub-hadoop"]) {
        let refused = in_every_state(&lines, 64 << 10, 200);
        assert!(refused.transitions > 0 && refused.ids == 0, "{refused:?}");
        assert_eq!(in_every_state_split(&lines, 64 << 10, 100, SOME), refused);
    }
}

#[test]
fn answers_on_the_largest_set() {
    if let Some(lines) = shared(&["nezha"]) {
        assert_eq!(in_every_state(&lines, 1 << 20, 100), Refused::default());
    }
}
