//! What is taken out of segments that stay: runs of one status, and records whose class has a term
//! of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runledger::{
    Body, Class, Cleanup, Compaction, Durability, Kind, Ledger, Limits, Options, Order, Reader,
    Record, Run, Status, Timestamp, verify, verify_against,
};

use super::{DIR, options};
use torture::disk::{Cut, Keep as KeepFiles, KeepNames, SimDisk};
use torture::rng::Rng;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_NANOS: i64 = 24 * 60 * 60 * 1_000_000_000;

const TYPES: [&str; 3] = ["backup", "report", "mail"];

/// A ledger in which runs of the class `runs.failed` lie in a stream of their own.
fn split(disk: &SimDisk) -> Options {
    options(disk).class(Class::status(Status::Failed), Limits::new())
}

/// Runs that begin, end, and are tried again, over some segments of each stream.
fn runs(rng: &mut Rng, disk: &SimDisk, ledger: &Ledger, segments: usize) {
    for _ in 0..segments {
        for _ in 0..4 + rng.below(12) {
            let id = format!("run-{}", rng.below(30));
            let statuses =
                [Status::Running, Status::Running, Status::Failed, Status::Failed, Status::Success];
            let status = statuses[rng.below(statuses.len())];
            let number: usize = id.trim_start_matches("run-").parse().unwrap();
            let run = Run::new(id, TYPES[number % TYPES.len()], status).unwrap();
            let run = run.attempt(u32::try_from(1 + rng.below(6)).unwrap());
            // Some cannot go where they are sent: an attempt that is over.
            let _ = ledger.append_with(run, Durability::Os);
            disk.advance(Duration::from_secs(600));
        }
        if rng.below(2) == 0 {
            disk.advance(DAY * 2);
        }
        ledger.maintain().unwrap();
    }
}

fn all(reader: &Reader) -> Vec<Record<'static>> {
    let page = reader.query().order(Order::Seq).limit(usize::MAX / 2).fetch().unwrap();
    page.records().map(|record| record.unwrap().into_owned()).collect()
}

/// The newest state of each run, by its id.
fn newest(reader: &Reader) -> BTreeMap<String, (u64, Run<'static>)> {
    let mut newest = BTreeMap::new();
    for record in all(reader) {
        let seq = record.seq;
        let Body::Run(run) = record.body else { continue };
        let other = newest.insert(run.run_id.to_string(), (seq, run));
        assert_eq!(other, None, "each run once");
    }
    newest
}

/// Which of these runs a clean-up takes: those of the status whose times all lie before `before`,
/// but for pinned ones, and but for the newest success and the newest failure of each type.
fn taken(
    runs: &BTreeMap<String, (u64, Run<'static>)>,
    status: Status,
    before: i64,
    pinned: &str,
) -> BTreeSet<String> {
    let mut results: HashMap<(&str, Status), (Timestamp, u64)> = HashMap::new();
    for (seq, run) in runs.values() {
        if matches!(run.status, Status::Success | Status::Failed) {
            let at = (run.created_at.unwrap(), *seq);
            let newest = results.entry((&run.run_type, run.status)).or_insert(at);
            *newest = at.max(*newest);
        }
    }
    let goes = |(id, (seq, run)): &(&String, &(u64, Run<'_>))| {
        let newest = run.created_at.max(run.started_at).max(run.finished_at).unwrap();
        let is_result =
            results.get(&(&*run.run_type, run.status)).is_some_and(|(_, newest)| newest == seq);
        run.status == status && newest.as_nanos() < before && *id != pinned && !is_result
    };
    runs.iter().filter(goes).map(|(id, _)| id.clone()).collect()
}

type Runs = BTreeMap<String, Run<'static>>;

fn runs_alone(runs: BTreeMap<String, (u64, Run<'static>)>) -> Runs {
    runs.into_iter().map(|(id, (_, run))| (id, run)).collect()
}

/// Compares runs; of a difference no more is said than what a person can read.
#[track_caller]
fn same(found: &Runs, expected: &Runs, label: &str) {
    let statuses = |runs: &Runs| -> Vec<_> {
        runs.iter().map(|(id, run)| (id.clone(), run.status, run.attempt)).collect()
    };
    assert_eq!(statuses(found), statuses(expected), "{label}");
    assert!(found == expected, "{label}: the times are not the same");
}

/// What a clean-up by status leaves is what the model says, for the writer, for readers that were
/// there before, and after reopening; and a checkpoint from before holds.
#[test]
fn a_clean_up_by_status_takes_what_the_model_says() {
    let mut all_taken = 0;
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let ledger = if seed % 2 == 0 { split(&disk) } else { options(&disk) };
        let ledger = ledger.open(DIR).unwrap();
        runs(&mut rng, &disk, &ledger, 6);
        if seed % 3 == 0 {
            ledger.compact(&Compaction::new()).unwrap();
        }
        let before = newest(ledger.reader());
        let pinned = before.keys().next().unwrap().clone();
        ledger.pin(&pinned, "evidence").unwrap();
        let reader = Reader::with_storage(DIR, disk.storage()).unwrap();
        let checkpoint = ledger.checkpoint().unwrap();
        let status = [Status::Failed, Status::Success][rng.below(2)];
        let days = rng.below(8);
        let age = DAY * u32::try_from(days).unwrap();
        let limit = disk.storage().now() - DAY_NANOS * i64::try_from(days).unwrap();
        let goes = taken(&before, status, limit, &pinned);
        all_taken += goes.len();
        let mut expected = before.clone();
        expected.retain(|id, _| !goes.contains(id));
        let cleanup = Cleanup::older_than(age).status(status);
        let plan = ledger.cleanup(&cleanup, true).unwrap();
        let would = plan.rewritten().chain(plan.dropped()).count();
        assert_eq!(would > 0, !goes.is_empty(), "seed {seed}: {plan:?}");
        let report = ledger.cleanup(&cleanup, false).unwrap();
        let label = format!("seed {seed}: {report:?}");
        // What is carried forward has another number.
        let found = |reader: &Reader| runs_alone(newest(reader));
        let expected = runs_alone(expected);
        same(&found(ledger.reader()), &expected, &label);
        reader.refresh().unwrap();
        same(&found(&reader), &expected, &label);
        for id in &goes {
            let states = ledger.query().run(id).history(true).kind(Kind::Run).count().unwrap();
            assert_eq!(states, 0, "{id}: {label}");
        }
        let again = ledger.cleanup(&cleanup, false).unwrap();
        assert_eq!(again.rewritten().count(), 0, "seed {seed}: {again:?}");
        ledger.close().unwrap();
        drop(ledger);
        let report = verify_against(DIR, disk.storage(), &checkpoint).unwrap();
        assert!(report.holds(), "seed {seed}: {:?}", report.findings);
        let ledger = options(&disk).open(DIR).unwrap();
        same(&found(ledger.reader()), &expected, &format!("seed {seed}: after reopening"));
    }
    assert!(all_taken > 100, "{all_taken}");
}

/// A crash at any step of a clean-up by status leaves each run as it was, or gone: never in an
/// earlier state.
#[test]
fn a_cut_at_each_step_brings_no_earlier_state_back() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let ledger = split(&disk).open(DIR).unwrap();
        runs(&mut rng, &disk, &ledger, 5);
        ledger.sync().unwrap();
        let before = newest(ledger.reader());
        let limit = disk.storage().now() - DAY_NANOS;
        let goes = taken(&before, Status::Failed, limit, "");
        assert!(goes.len() > 2, "seed {seed}: {goes:?}");
        let images = Arc::new(AtomicU64::new(0));
        let (counted, expected, may_go) = (Arc::clone(&images), before.clone(), goes.clone());
        disk.set_probe(move |moment| {
            let label = format!("seed {seed}, before {:?}", moment.op);
            let judge = |image: SimDisk, label: &str| {
                let fresh = Reader::with_storage(DIR, image.storage()).unwrap();
                is_between(&fresh, &expected, &may_go, label);
                let ledger = split(&image).open(DIR).unwrap();
                is_between(ledger.reader(), &expected, &may_go, label);
                ledger.close().unwrap();
                let report = verify(DIR, image.storage()).unwrap();
                assert!(!report.is_damaged(), "{label}: {:?}", report.findings);
            };
            judge(moment.kill(), &label);
            for files in KeepFiles::ALL {
                let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
                let cut = Cut { files, names, seed: rng.number() };
                judge(moment.cut(cut), &format!("{label}, {cut:?}"));
            }
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let cleanup = Cleanup::older_than(DAY).status(Status::Failed);
        ledger.cleanup(&cleanup, false).unwrap();
        disk.clear_hooks();
        let images = images.load(Ordering::Relaxed);
        assert!(images > 10, "seed {seed}: {images}");
        let left = newest(ledger.reader());
        assert!(goes.iter().all(|id| !left.contains_key(id)), "seed {seed}");
    }
}

/// Every run is there as it was, but that some of those that may go are gone.
#[track_caller]
fn is_between(
    reader: &Reader,
    before: &BTreeMap<String, (u64, Run<'static>)>,
    may_go: &BTreeSet<String>,
    label: &str,
) {
    let found = newest(reader);
    for (id, (_, run)) in before {
        match found.get(id) {
            Some((_, found)) => assert_eq!(found, run, "{label}"),
            None => assert!(may_go.contains(id), "{id} is gone: {label}"),
        }
    }
    assert!(found.keys().all(|id| before.contains_key(id)), "{label}");
}
