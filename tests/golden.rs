//! Ledgers that version 1 of the format wrote, as files: they open, verify and give the same
//! answers for ever. `tests/fixtures/v1/NAME/` is a ledger, `NAME.jsonl` what is in it.
//!
//! - `clean`: sealed segments and open ones, closed in order.
//! - `killed`: no close; a frame torn in half and zeros after it, as a kill and a power cut leave.
//! - `void`: a hole in never-synced bytes that a recovery has covered with a void frame.
//!
//! They were written once, by `RUNLEDGER_WRITE_FIXTURES=1 cargo test golden::write`, and are not to
//! be written again: a change of the format is a new version beside this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runledger::storage::Disk;
use runledger::wire::write_record;
use runledger::{
    ActorType, Durability, ErrorRecord, Event, Field, Fingerprint, Id, Json, Kind, Ledger, Options,
    Order, Query, Reader, Run, RunError, Severity, Status, Subject, Timestamp, verify,
};

use crate::fuzz_corpus::fuzz::memory::Memory;

const DIR: &str = "/golden";
/// 2026-11-01T08:30:00.25Z.
const TIME: i64 = 1_793_521_800_250_000_000;
const TRACE: &str = "f0f21b3342f101d546c957d98fa122f6";
const UUID: &str = "0192f1a4-7b3c-7def-8123-456789abcdef";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// A copy of a fixture: opening one changes it.
fn copy(name: &str) -> tempfile::TempDir {
    fn copy_dir(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy_dir(&entry.path(), &to),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixtures().join(name), dir.path());
    dir
}

/// Every record, the engine's own notes included, as the interchange has it.
fn lines(reader: &Reader) -> String {
    let mut out = Vec::new();
    for query in [reader.query().history(true), reader.audit()] {
        for record in query.order(Order::Seq).limit(1000).fetch().unwrap().records() {
            write_record(&record.unwrap(), &mut out).unwrap();
        }
    }
    String::from_utf8(out).unwrap()
}

fn check(name: &str) -> (tempfile::TempDir, Reader) {
    let dir = copy(name);
    let expected = fs::read_to_string(fixtures().join(format!("{name}.jsonl"))).unwrap();
    let report = verify(dir.path(), Arc::new(Disk)).unwrap();
    assert!(!report.is_damaged(), "{name}: {report:?}");
    assert_eq!(report.records, u64::try_from(expected.lines().count()).unwrap());
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(lines(&reader), expected, "{name}");
    (dir, reader)
}

fn seqs(query: Query) -> Vec<u64> {
    query.fetch().unwrap().seqs().collect()
}

#[test]
fn a_ledger_that_was_closed() {
    let (dir, reader) = check("clean");
    let stats = reader.stats().unwrap();
    assert!(stats.streams.iter().any(|stream| stream.sealed > 0), "footers are read");
    let query = || reader.query();
    assert_eq!(seqs(query().trace(TRACE).order(Order::Seq)), [3, 4, 5, 8]);
    assert_eq!(seqs(query().kind(Kind::Run).order(Order::Seq)), [3, 7]);
    assert_eq!(seqs(query().run(UUID).history(true).order(Order::Seq)), [1, 2, 3, 4, 5, 8]);
    assert_eq!(seqs(query().subject("booking:B-1041")), [3]);
    let fingerprint = Fingerprint::of("IOError", "disk 7 is full", Some("write\n  at disk.rs:9"));
    assert_eq!(seqs(query().fingerprint(fingerprint)), [5]);
    let by_status = query().count_by(Field::Status).unwrap();
    assert_eq!(by_status, [("failed".to_owned(), 1), ("pending".to_owned(), 1)]);
    let window = query()
        .since(Timestamp::from_nanos(TIME + 2_000_000_000))
        .until(Timestamp::from_nanos(TIME + 3_000_000_001));
    assert_eq!(seqs(window), [5, 4]);

    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(ledger.append(Event::new("after")).unwrap(), 9, "closed: no number is skipped");
}

#[test]
fn a_ledger_whose_writer_was_killed() {
    let (dir, reader) = check("killed");
    assert_eq!(seqs(reader.query().order(Order::Seq)), [1, 2, 3]);
    drop(reader);
    let ledger = Options::new().background(false).open(dir.path()).unwrap();
    assert_eq!(seqs(ledger.query().order(Order::Seq)), [1, 2, 3]);
    let notes = ledger.reader().audit().fetch().unwrap();
    let note = notes.get(0).unwrap();
    assert_eq!(note.record().unwrap().body.type_name(), "recovery.tail_cut");
    let seq = ledger.append(Event::new("after")).unwrap();
    assert!(seq > 4096, "what was reserved is skipped: {seq}");
}

#[test]
fn a_ledger_with_a_void_frame() {
    let (dir, reader) = check("void");
    assert_eq!(seqs(reader.query().order(Order::Seq)), [2, 3], "the first was lost");
    assert_eq!(reader.audit().record_type("recovery.hole_covered").count().unwrap(), 1);
    drop(reader);
    let ledger = Ledger::open(dir.path()).unwrap();
    assert_eq!(seqs(ledger.query().order(Order::Seq)), [2, 3]);
}

/// Writes the fixtures when the environment asks for it, and nothing else.
#[test]
fn write() {
    if std::env::var_os("RUNLEDGER_WRITE_FIXTURES").is_some() {
        store("clean", &written_clean());
        store("killed", &written_killed());
        store("void", &written_void());
    }
}

fn store(name: &str, storage: &Arc<Memory>) {
    let reader = Reader::with_storage(DIR, storage.clone()).unwrap();
    let dir = fixtures().join(name);
    for (path, bytes) in storage.content() {
        let path = dir.join(path.strip_prefix(DIR).unwrap());
        if !path.ends_with("LOCK") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    fs::write(fixtures().join(format!("{name}.jsonl")), lines(&reader)).unwrap();
}

fn open(storage: &Arc<Memory>) -> Ledger {
    let options = Options::new().background(false).reserve_bytes(0).durability(Durability::Os);
    options.storage(storage.clone()).open(DIR).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(TIME + seconds * 1_000_000_000)
}

fn id(text: &str) -> Id<'_> {
    Id::new(text).unwrap()
}

fn run(status: Status, seconds: i64) -> Run<'static> {
    Run::new(UUID, "nightly-backup", status).unwrap().at(at(seconds)).trace_id(id(TRACE))
}

fn written_clean() -> Arc<Memory> {
    let storage = Arc::new(Memory::default());
    let ledger = open(&storage);
    let first = run(Status::Pending, 0)
        .project_id(id("billing"))
        .user_id(id("größe"))
        .parent_run_id(id("parent"))
        .subject(Subject::new("booking", "B-1041").unwrap())
        .metadata(Json::parse(r#"{"host": "db1", "tags": [1.50, null]}"#).unwrap());
    ledger.append(first).unwrap();
    let error = RunError::new("disk full").error_type("IOError").stack("write\n  at disk.rs:9");
    let failed = run(Status::Failed, 60).error(error).result(Json::parse("null").unwrap());
    ledger
        .append_batch(&[run(Status::Running, 1).into(), failed.into()], Durability::Sync)
        .unwrap();
    let event = Event::new("table.dumped")
        .created_at(at(2))
        .severity(Severity::Info)
        .actor_type(ActorType::System)
        .actor_id(id("cron"))
        .run_id(id(UUID))
        .trace_id(id(TRACE))
        .message("bookings: 12,004 rows, «ünïcode» 日本語")
        .payload(Json::parse(r#"{"rows":12004}"#).unwrap());
    ledger.append(event).unwrap();
    let error = ErrorRecord::new("IOError", "disk 7 is full")
        .created_at(at(3))
        .severity(Severity::Critical)
        .stack("write\n  at disk.rs:9")
        .endpoint("/backup")
        .detail(Json::parse(r#"{"free":0}"#).unwrap())
        .run_id(id(UUID))
        .trace_id(id(TRACE));
    ledger.append(error).unwrap();
    // A day later maintenance seals every segment for its age.
    storage.turn_clock(25 * 60 * 60 * 1_000_000_000);
    ledger.maintain().unwrap();
    ledger.append(Event::new("bare").created_at(Timestamp::MIN)).unwrap();
    let open_run = Run::new("run-2", "report", Status::Pending).unwrap().at(Timestamp::MAX);
    ledger.append(open_run).unwrap();
    let late = Event::new("late").created_at(at(-5)).run_id(id(UUID)).trace_id(id(TRACE));
    ledger.append(late.message("x".repeat(400))).unwrap();
    ledger.close().unwrap();
    storage
}

fn three_events(storage: &Arc<Memory>) -> Ledger {
    let ledger = open(storage);
    for name in ["first", "second", "third"] {
        ledger.append(Event::new(name).created_at(at(0)).message("of three")).unwrap();
    }
    ledger
}

fn segment(storage: &Memory) -> (PathBuf, Vec<u8>) {
    let events = |path: &Path| path.to_string_lossy().contains("/events/");
    storage.content().into_iter().find(|(path, _)| events(path)).unwrap()
}

fn written_killed() -> Arc<Memory> {
    let storage = Arc::new(Memory::default());
    let ledger = three_events(&storage);
    let before = segment(&storage).1.len();
    ledger.append(Event::new("torn").created_at(at(1)).message("of three")).unwrap();
    let killed = Arc::new(storage.after_a_kill());
    let (path, mut bytes) = segment(&killed);
    bytes.truncate(before + 50);
    bytes.resize(before + 1000, 0);
    killed.put(path, bytes);
    killed
}

fn written_void() -> Arc<Memory> {
    let storage = Arc::new(Memory::default());
    let ledger = three_events(&storage);
    let killed = Arc::new(storage.after_a_kill());
    drop(ledger);
    let (path, mut bytes) = segment(&killed);
    // The first frame never reached the disk.
    let header = 256;
    bytes[header..header + 40].fill(0);
    killed.put(path, bytes);
    open(&killed).close().unwrap();
    killed
}
