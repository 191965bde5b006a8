//! The newest success and failure of each type, which outlive their segments, against crashes,
//! damage, clocks and runs that go on.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::{
    Body, Class, Cleanup, Erasure, Field, Id, Json, Kind, Ledger, Limits, Options, Order,
    Retention, Run, Status, Timestamp,
};

use super::{DIR, options};
use torture::disk::{Cut, Keep, KeepNames, SimDisk};

const HOUR: Duration = Duration::from_secs(3600);
/// 2026-11-21.
const NOW: i64 = 1_795_219_200_000_000_000;

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.set_now(NOW);
    disk
}

/// Runs expire after an hour; a segment takes about twenty states.
fn short(disk: &SimDisk) -> Options {
    options(disk).retention(Kind::Run, Some(HOUR)).segment_bytes(64 << 10).reserve_bytes(0)
}

fn run(id: &str, name: &str, status: Status, hour: i64) -> Run<'static> {
    let at = Timestamp::from_nanos(NOW + hour * 3_600_000_000_000);
    let padding = Json::parse(format!("\"{}\"", "x".repeat(3000))).unwrap();
    let run = Run::new(id.to_owned(), name.to_owned(), status).unwrap();
    run.created_at(at).at(at).metadata(padding)
}

/// The runs that there are, in the order of their ids, with their status.
fn left(ledger: &Ledger) -> Vec<(String, Status)> {
    let page = ledger.query().kind(Kind::Run).order(Order::Seq).limit(1000).fetch().unwrap();
    let mut runs: Vec<_> = page
        .records()
        .map(|record| match record.unwrap().body {
            Body::Run(run) => (run.run_id.to_string(), run.status),
            other => panic!("{other:?}"),
        })
        .collect();
    runs.sort_unstable();
    runs
}

fn ids(ledger: &Ledger) -> Vec<String> {
    left(ledger).into_iter().map(|(id, _)| id).collect()
}

fn expire(disk: &SimDisk, ledger: &Ledger) {
    disk.advance(50 * HOUR);
    ledger.cleanup(&Cleanup::retention(), false).unwrap();
}

/// A crash between the carrying and the removal leaves a result twice on the disk; it is one run,
/// and neither it nor any state of it is lost or comes back.
#[test]
fn a_cut_at_any_step_leaves_each_result_once() {
    let disk = disk(1);
    let ledger = short(&disk).open(DIR).unwrap();
    for number in 0..60 {
        let status = if number % 7 == 0 { Status::Failed } else { Status::Success };
        let name = ["backup", "report", "mail"][number % 3];
        let id = format!("r{number:02}");
        let hour = -100 + i64::try_from(number).unwrap();
        ledger.append(run(&id, name, Status::Running, hour)).unwrap();
        ledger.append(run(&id, name, status, hour)).unwrap();
    }
    ledger.sync().unwrap();
    disk.advance(50 * HOUR);
    let images = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&images);
    disk.set_probe(move |moment| {
        let cut = |files, names, seed| Cut { files, names, seed };
        let mut images = seen.lock();
        images.push(moment.kill());
        images.push(moment.cut(cut(Keep::Nothing, KeepNames::Nothing, 0)));
        let seed = images.len() as u64;
        images.push(moment.cut(cut(Keep::Sectors, KeepNames::Prefix, seed)));
    });
    let report = ledger.cleanup(&Cleanup::retention(), false).unwrap();
    disk.clear_hooks();
    let expected = ["r42", "r49", "r56", "r57", "r58", "r59"];
    assert_eq!((ids(&ledger), report.results), (expected.map(str::to_owned).to_vec(), 6));
    let images = std::mem::take(&mut *images.lock());
    assert!(images.len() > 30, "{}", images.len());
    for image in images {
        let ledger = short(&image).open(DIR).unwrap();
        let runs = left(&ledger);
        assert!(runs.iter().all(|(_, status)| status.is_terminal()), "{runs:?}");
        assert!(runs.is_sorted_by(|one, next| one.0 < next.0), "one state of each: {runs:?}");
        for id in expected {
            assert!(runs.iter().any(|(run, _)| run == id), "{id} is not among {runs:?}");
        }
        expire(&image, &ledger);
        assert_eq!(ids(&ledger), expected);
    }
}

/// The newest success had another attempt since: it is no success any more, and the one before it
/// is the newest.
#[test]
fn a_run_that_goes_on_is_no_result() {
    let disk = disk(2);
    let ledger = short(&disk).open(DIR).unwrap();
    for (id, hour) in [("a", -9), ("b", -8)] {
        ledger.append(run(id, "backup", Status::Success, hour)).unwrap();
    }
    ledger.append(run("c", "backup", Status::Skipped, -9)).unwrap();
    // In a segment of its own, as the first is old.
    disk.advance(50 * HOUR);
    ledger.append(run("b", "backup", Status::Running, 1).attempt(2_u32)).unwrap();
    expire(&disk, &ledger);
    assert_eq!(left(&ledger), [("a".to_owned(), Status::Success), ("b".into(), Status::Running)]);
}

/// A run of a clock that was years ahead would be the newest for years, and each that is newer in
/// truth would go.
#[test]
fn a_run_of_the_future_takes_no_other_s_place() {
    let disk = disk(3);
    let ledger = short(&disk).open(DIR).unwrap();
    ledger.append(run("future", "backup", Status::Success, 50_000)).unwrap();
    ledger.append(run("before", "backup", Status::Success, -2)).unwrap();
    ledger.append(run("now", "backup", Status::Success, -1)).unwrap();
    ledger.append(run("alone", "report", Status::Failed, 50_000)).unwrap();
    expire(&disk, &ledger);
    assert_eq!(ids(&ledger), ["alone", "now"]);
}

/// A newest result that is damaged is on record as lost, and the one before it is carried.
#[test]
fn what_cannot_be_read_is_told_and_the_one_before_it_stays() {
    let disk = disk(4);
    let ledger = options(&disk).open(DIR).unwrap();
    for (id, hour) in [("a", -9), ("b", -8), ("c", -7)] {
        ledger.append(run(id, "backup", Status::Success, hour)).unwrap();
    }
    disk.advance(50 * HOUR);
    ledger.maintain().unwrap();
    ledger.close().unwrap();
    let is_run = |path: &std::path::PathBuf| path.to_string_lossy().contains("streams/runs");
    let path = disk.files().into_iter().find(is_run).unwrap();
    let mut bytes = disk.peek(&path);
    let mut frames = memchr_all(&bytes, b"\xf7RLf");
    bytes[frames.pop().unwrap() + 45] ^= 1;
    disk.poke(&path, bytes);
    let ledger = short(&disk).open(DIR).unwrap();
    expire(&disk, &ledger);
    assert_eq!(ids(&ledger), ["b"]);
    assert_eq!(ledger.reader().audit().record_type("run.lost").count().unwrap(), 1);
}

fn memchr_all(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let found = bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
    found.map(|(at, _)| at).collect()
}

/// What is carried is a record like any other to an erasure.
#[test]
fn what_was_carried_can_be_erased() {
    let disk = disk(5);
    let ledger = short(&disk).open(DIR).unwrap();
    let of_user = run("a", "backup", Status::Success, -9);
    ledger.append(of_user.user_id(Id::new("ada").unwrap())).unwrap();
    ledger.append(run("b", "backup", Status::Skipped, -9)).unwrap();
    expire(&disk, &ledger);
    assert_eq!(ids(&ledger), ["a"]);
    ledger.erase(&Erasure::of(Field::User, Id::new("ada").unwrap()).unwrap()).unwrap();
    assert_eq!(ids(&ledger), [""; 0]);
    expire(&disk, &ledger);
    assert_eq!(ids(&ledger), [""; 0]);
}

/// Nothing that is asked for is carried again and again: a dry run tells the same as the clean-up,
/// and a second one finds nothing to do.
#[test]
fn a_plan_tells_what_is_carried() {
    let disk = disk(6);
    let ledger = short(&disk).open(DIR).unwrap();
    for number in 0..9 {
        let id = format!("r{number}");
        ledger.append(run(&id, "backup", Status::Success, number - 20)).unwrap();
    }
    disk.advance(50 * HOUR);
    let retention = Retention::new().class(Class::of(Kind::Run), Limits::new().age(HOUR));
    let carried = |id| {
        let kept = ledger.reader().why_run_kept(id, &retention).unwrap();
        assert!(kept[0].segment.dropped_for.is_some(), "{kept:?}");
        kept[0].carried
    };
    assert_eq!((carried("r8"), carried("r7")), (1, 0));
    let cleanup = Cleanup::older_than(HOUR);
    let plan = ledger.cleanup(&cleanup, true).unwrap();
    let done = ledger.cleanup(&cleanup, false).unwrap();
    assert_eq!((plan.results, done.results, done.carried), (1, 1, 0));
    assert_eq!(ids(&ledger), ["r8"]);
    let again = ledger.cleanup(&cleanup, false).unwrap();
    assert_eq!((again.results, again.dropped().count()), (0, 0));
    assert_eq!(again.segments[0].kept_for, Some(runledger::Keep::LastResults));
}
