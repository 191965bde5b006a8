use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use runledger::{
    Body, Cleanup, Compaction, Durability, Error, ErrorRecord, Event, Id, Ledger, Options, Order,
    Query, Reader, Result, Timestamp,
};

/// How many traces the records are of.
const TRACES: usize = 60;

/// What is asked and compared: the numbers, types and messages of all events, and of those of a few
/// traces, each of which is looked for in all segments at once.
fn all(reader: &Reader) -> Result<Vec<(u64, String)>> {
    let mut found = asked(reader.query())?;
    for trace in (0..TRACES).step_by(TRACES / 3) {
        found.extend(asked(reader.query().trace(&trace_id(trace)))?);
    }
    Ok(found)
}

fn asked(query: Query) -> Result<Vec<(u64, String)>> {
    let page = query.order(Order::Seq).limit(usize::MAX / 2).fetch()?;
    page.records().map(|record| record.map(|it| (it.seq, format!("{:?}", it.body)))).collect()
}

fn trace_id(number: usize) -> String {
    format!("trace-{number}")
}

fn fill(dir: &Path, records: usize) -> Ledger {
    let ledger = Options::new().segment_bytes(64 << 10).background(false).open(dir).unwrap();
    for number in 0..records {
        let event = Event::new(format!("type-{number}")).message("text ".repeat(number % 90));
        let event = event.trace_id(Id::new(trace_id(number % TRACES)).unwrap());
        ledger.append_with(event, Durability::Os).unwrap();
    }
    ledger
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    segments_of(dir, "events")
}

fn segments_of(dir: &Path, stream: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("streams").join(stream)).unwrap();
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn assert_true_or_refused(reader: &Reader, truth: &[(u64, String)], label: &str) -> bool {
    match all(reader) {
        Ok(found) => {
            assert_eq!(found, truth, "{label}");
            true
        }
        Err(Error::Io { .. } | Error::Damaged { .. }) => false,
        Err(err) => panic!("{label}: {err}"),
    }
}

/// Another program cut a segment short while it was mapped: whoever read the lost pages was killed
/// by SIGBUS, and a cut in the file's last page gave zeros for what was there without a word.
#[test]
fn a_segment_that_is_cut_under_its_readers_gives_errors_and_no_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = fill(dir.path(), 600);
    assert!(cut_each_segment(dir.path(), &ledger) > 100);
}

/// What was left of the blocks of a packed segment while it was cut was kept for all of them: when
/// the file was whole again, its records were still refused.
#[test]
fn a_packed_segment_that_was_cut_is_read_again_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = fill(dir.path(), 600);
    ledger.compact(&Compaction::new()).unwrap();
    assert!(segments(dir.path()).iter().any(|path| path.to_string_lossy().contains('-')));
    assert!(cut_each_segment(dir.path(), &ledger) > 30);
}

/// Cuts each segment at many lengths under its writer and a reader, and gives how often one of them
/// was refused.
fn cut_each_segment(dir: &Path, ledger: &Ledger) -> usize {
    let reader = Reader::open(dir).unwrap();
    let truth = all(&reader).unwrap();
    let mut refused = 0;
    for path in segments(dir) {
        let whole = fs::read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let lengths = (0..whole.len()).step_by(311).chain([whole.len() - 1, whole.len() - 500]);
        for len in lengths {
            file.set_len(len as u64).unwrap();
            let label = format!("{} at {len}", path.display());
            let of_reader = assert_true_or_refused(&reader, &truth, &label);
            let of_writer = assert_true_or_refused(ledger.reader(), &truth, &label);
            refused += usize::from(!of_reader) + usize::from(!of_writer);
            file.write_all_at(&whole, 0).unwrap();
            // The first look after a loss may still meet it; then the file is mapped anew.
            let _ = (all(&reader), all(ledger.reader()));
            assert_eq!(all(&reader).unwrap(), truth, "{label}, whole again");
            assert_eq!(all(ledger.reader()).unwrap(), truth, "{label}, whole again");
        }
    }
    refused
}

/// Who went on behind a cursor looked once more in all that lies before it: one segment there that
/// could not be read stopped everyone who followed.
#[test]
fn who_goes_on_behind_a_segment_does_not_read_it() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 2000).close().unwrap();
    let paths = segments(dir.path());
    assert!(paths.len() > 4);
    let seqs = |query: &Query| query.fetch().map(|page| page.seqs().collect::<Vec<_>>());
    for order in [Order::Newest, Order::Oldest, Order::Seq, Order::SeqDescending] {
        let is_newest_first = matches!(order, Order::Newest | Order::SeqDescending);
        // The last segment is not sealed.
        let first = if is_newest_first { paths.len() - 2 } else { 0 };
        let reader = Reader::open(dir.path()).unwrap();
        let all = reader.query().order(order).limit(usize::MAX / 2);
        let behind = all.clone().after(all.clone().limit(1000).fetch().unwrap().next().unwrap());
        let truth = seqs(&behind).unwrap();
        let whole = fs::read(&paths[first]).unwrap();
        let file = OpenOptions::new().write(true).open(&paths[first]).unwrap();
        file.set_len(0).unwrap();
        assert!(all.fetch().is_err(), "{order:?}");
        let found = seqs(&behind);
        file.write_all_at(&whole, 0).unwrap();
        assert_eq!(found.unwrap(), truth, "{order:?}");
    }
}

/// The same, where the writer goes on behind the cut: a hole is read as zeros, and no fault tells.
#[test]
fn a_hole_in_an_open_segment_gives_errors_and_no_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = fill(dir.path(), 40);
    let truth = all(ledger.reader()).unwrap();
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().rposition(|&byte| byte != 0).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for len in 256..=end {
        file.set_len(len as u64).unwrap();
        file.set_len(whole.len() as u64).unwrap();
        let label = format!("a hole from {len}");
        assert!(!assert_true_or_refused(ledger.reader(), &truth, &label), "{label}");
        file.write_all_at(&whole, 0).unwrap();
    }
    assert_eq!(all(ledger.reader()).unwrap(), truth);
}

/// Some segments of errors that are older than any clean-up asks for.
fn fill_with_errors(dir: &Path) -> Ledger {
    let ledger = Options::new().segment_bytes(64 << 10).background(false).open(dir).unwrap();
    for number in 0..60 {
        let error = ErrorRecord::new(format!("type-{number}"), "text ".repeat(900));
        let error = error.created_at(Timestamp::from_nanos(number));
        ledger.append_with(error, Durability::Os).unwrap();
    }
    ledger
}

/// Once a page of a footer was lost, its sums were refused until a query had read something else of
/// the segment.
#[test]
fn the_sums_in_a_footer_are_read_again_when_its_file_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = fill_with_errors(dir.path());
    let truth = ledger.reader().history().unwrap();
    let path = segments_of(dir.path(), "errors").remove(0);
    let whole = fs::read(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    assert!(ledger.reader().history().unwrap().errors.len() < truth.errors.len());
    file.write_all_at(&whole, 0).unwrap();
    assert_eq!(ledger.reader().history().unwrap(), truth);
}

/// A segment whose sums could not be read went without them, and without a word of that.
#[test]
fn who_is_dropped_without_sums_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = fill_with_errors(dir.path());
    let path = segments_of(dir.path(), "errors").remove(0);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let report = ledger.cleanup(&Cleanup::older_than(hour), false).unwrap();
    assert!(report.dropped().count() > 2, "{report:?}");
    let notes = ledger.reader().audit().record_type("segment.dropped").fetch().unwrap();
    let messages = notes.records().map(|note| match note.unwrap().body {
        Body::Event(note) => note.message.unwrap().into_owned(),
        other => panic!("{other:?}"),
    });
    let unsummed: Vec<_> = messages.filter(|message| message.contains("in no sum")).collect();
    let [message] = &unsummed[..] else { panic!("{unsummed:?}") };
    assert!(message.contains("00001.seg dropped: all records older than"), "{message}");
    assert!(message.contains("the file ends too early"), "{message}");
}
