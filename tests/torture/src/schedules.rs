//! Schedules of threads on one handle, each chosen by shuttle: who goes on at every lock, wait,
//! atomic and operation of the disk. `RUSTFLAGS="--cfg shuttle" cargo test -p torture --lib
//! schedules -- --nocapture` runs them; `SCHEDULES` says how many, `SEED` where chance comes from,
//! `CASE` repeats one, and `PLANT` plants a bug that they are to find.

mod queue;

use std::env;
use std::sync::Arc;

use parking_lot::Mutex;
use runledger::planted::{Bug, plant};
use runledger::{Cleanup, Durability, Ledger, Order, Record};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner, thread};

use crate::check::check_records;
use crate::disk::{Cut, Fault, Keep, KeepNames, OpKind, SimDisk};
use crate::ground::{Ground, Size};
use crate::oracle::{Crash, Fate, Oracle, SharedOracle};
use crate::rng::Rng;
use crate::workload::{DIR, Writer, options};

/// How many schedules of one workload are tried.
const OF_A_CASE: u64 = 25;

/// How often threads change against the priorities that a schedule gives them.
const CHANGES: usize = 4;

/// Steps after which a schedule is taken for one that never ends.
const MAX_STEPS: usize = 2_000_000;

/// What is tried on the ledger while threads append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Nothing else.
    Appends,
    /// Another thread asks.
    Queries,
    /// Another thread seals and applies retention.
    Upkeep,
    /// Another thread drops segments.
    CleanUp,
    /// A sync fails once, and would succeed the next time.
    LostSync,
    /// Another thread closes the ledger, and opens it again.
    Close,
}

impl Beside {
    const ALL: [Self; 6] =
        [Self::Appends, Self::Queries, Self::Upkeep, Self::CleanUp, Self::LostSync, Self::Close];

    /// True when appends may be refused.
    fn may_refuse(self) -> bool {
        matches!(self, Self::LostSync | Self::Close)
    }
}

/// One workload.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    beside: Beside,
    background: bool,
    /// True when segments fill up.
    rolls: bool,
    threads: u64,
    steps: usize,
}

impl Case {
    fn new(number: u64, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let beside = Beside::ALL[usize::try_from(number).unwrap() % Beside::ALL.len()];
        let background = rng.below(2) == 0;
        let (rolls, steps) = (rng.below(3) == 0, 1 + rng.below(3));
        Self { seed, beside, background, rolls, threads: 2, steps }
    }

    fn is_pct(self) -> bool {
        Rng::new(self.seed ^ 1).below(2) == 0
    }
}

/// A disk as a power cut left it, and what was promised by then.
type Image = (SimDisk, Oracle, String);

#[test]
fn threads_on_one_handle() {
    if let Ok(name) = env::var("PLANT") {
        let mut bugs = Bug::ALL.iter().filter(|bug| format!("{bug:?}") == name);
        plant(*bugs.next().unwrap_or_else(|| panic!("there is no bug {name}")));
    }
    try_cases("a handle", |number, seed| {
        let case = Case::new(number, seed);
        match case.is_pct() {
            true => run(PctScheduler::new_from_seed(seed, CHANGES, of_a_case()), case),
            false => run(RandomScheduler::new_from_seed(seed, of_a_case()), case),
        }
    });
}

/// Tries as many schedules as is said, [`OF_A_CASE`] of each case.
fn try_cases(of: &str, one: impl Fn(u64, u64) + Sync) {
    let number = |name, default| env::var(name).map_or(default, |text| text.parse().unwrap());
    let cases = number("SCHEDULES", 1000_u64).div_ceil(OF_A_CASE);
    let mut ground = Ground::new(Size::Full, number("SEED", 1), None);
    ground.only_case = env::var("CASE").ok().map(|text| text.parse().unwrap());
    let seed = ground.seed;
    ground.numbered_cases(cases, |number, seed| {
        one(number, seed);
        Ok(OF_A_CASE)
    });
    let (tally, _) = ground.run(&[]);
    println!("shuttle: {} schedules, of {of}, seed {seed}", tally.tried);
    assert!(tally.failed == 0, "seed {seed}: {:#?}", tally.failures);
}

fn of_a_case() -> usize {
    usize::try_from(OF_A_CASE).unwrap()
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.silence_warnings = true;
    config
}

fn run(scheduler: impl Scheduler + 'static, case: Case) {
    Runner::new(scheduler, config()).run(move || one_schedule(case));
}

fn one_schedule(case: Case) {
    let disk = SimDisk::new(case.seed);
    let oracle = SharedOracle::default();
    oracle.lock().carries = case.beside == Beside::CleanUp;
    oracle.lock().cleans_beside = case.beside == Beside::CleanUp;
    let ledger = options(&disk).background(case.background).open(DIR).unwrap();
    let images = cut_somewhere(&disk, &oracle);
    if case.beside == Beside::LostSync {
        lose_a_sync(&disk);
    }
    let mut threads: Vec<_> = (0..case.threads)
        .map(|thread| {
            let mut writer = Writer::over(ledger.clone(), &oracle, case.seed ^ thread << 32);
            thread::spawn(move || append(&mut writer, case))
        })
        .collect();
    let (other, of_other) = (ledger.clone(), oracle.clone());
    let of_disk = disk.clone();
    threads.push(thread::spawn(move || beside(other, &of_disk, &of_other, case)));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    if case.beside != Beside::LostSync && thread_rng().r#gen() {
        Writer::over(ledger.clone(), &oracle, 0).close().unwrap();
    }
    disk.clear_hooks();
    let crash_at_end = Cut { files: Keep::Nothing, names: KeepNames::Nothing, seed: case.seed };
    let mut images = std::mem::take(&mut *images.lock());
    images.push((disk.power_cut(crash_at_end), oracle.lock().clone(), "at the end".to_owned()));
    drop(ledger);
    for (found, mut oracle, label) in images {
        if case.beside == Beside::CleanUp {
            forgive_drops(&mut oracle);
        }
        check_records(&found, &oracle, Crash::Power, &format!("{case:?}, {label}"));
    }
}

fn append(writer: &mut Writer, case: Case) {
    for step in 0..case.steps {
        let durability = [Durability::Sync, Durability::Os, Durability::Interval][step % 3];
        let done = match case.rolls {
            true => writer.append_event(40_000, durability).map(drop),
            false => writer.step(),
        };
        match done {
            Err(err) if !case.beside.may_refuse() => panic!("{case:?}: an append: {err}"),
            _ => {}
        }
    }
}

/// Takes the disk's image before some operation, with what was promised by then.
fn cut_somewhere(disk: &SimDisk, oracle: &SharedOracle) -> Arc<Mutex<Vec<Image>>> {
    let images = Arc::<Mutex<Vec<Image>>>::default();
    let (taken, oracle) = (Arc::clone(&images), oracle.clone());
    let mut chance = Rng::new(thread_rng().r#gen());
    let mut left = chance.below(60);
    disk.set_probe(move |moment| {
        if left == 0 {
            let cut = Cut {
                files: Keep::ALL[chance.below(Keep::ALL.len())],
                names: KeepNames::ALL[chance.below(KeepNames::ALL.len())],
                seed: chance.number(),
            };
            let label = format!("before {:?}, {cut:?}", moment.op);
            taken.lock().push((moment.cut(cut), oracle.lock().clone(), label));
        }
        left = left.wrapping_sub(1);
    });
    images
}

/// One of the next syncs of a segment loses what it should have kept.
fn lose_a_sync(disk: &SimDisk) {
    let mut left: u32 = thread_rng().gen_range(0..6);
    disk.set_faults(move |op| {
        let is_segment = op.path.extension().is_some_and(|ending| ending == "seg");
        if op.kind != OpKind::Sync || !is_segment {
            return None;
        }
        left = left.wrapping_sub(1);
        (left == u32::MAX).then_some(Fault::LostSync)
    });
}

/// What goes on beside the appends.
fn beside(ledger: Ledger, disk: &SimDisk, oracle: &SharedOracle, case: Case) {
    match case.beside {
        Beside::Appends => {
            let mut writer = Writer::over(ledger, oracle, case.seed ^ 77);
            append(&mut writer, case);
        }
        Beside::Queries => (0..2).for_each(|_| ask(&ledger, oracle)),
        Beside::Upkeep => ledger.maintain().unwrap(),
        Beside::CleanUp => {
            ledger.cleanup(&Cleanup::older_than(std::time::Duration::ZERO), false).unwrap();
            ask_anything(&ledger);
        }
        Beside::LostSync => {
            let _ = ledger.sync();
        }
        Beside::Close => {
            Writer::over(ledger, oracle, 0).close().unwrap();
            let ledger = options(disk).background(case.background).open(DIR).unwrap();
            let mut writer = Writer::over(ledger, oracle, case.seed ^ 99);
            (0..2).for_each(|_| writer.step().unwrap());
        }
    }
}

/// A query sees what was acknowledged when it began, whole, in order, and nothing else.
fn ask(ledger: &Ledger, oracle: &SharedOracle) {
    let before = oracle.lock().clone();
    let seen = see(ledger);
    let mut after = oracle.lock().clone();
    for (number, batch) in after.batches.iter_mut().enumerate() {
        let was = before.batches.get(number).map(|batch| batch.fate);
        if batch.fate != Fate::Refused && !matches!(was, Some(Fate::Kept | Fate::Durable)) {
            batch.fate = Fate::Open;
        }
    }
    if let Err(what) = after.judge(&seen, Crash::Kill) {
        panic!("a query: {what}");
    }
}

fn ask_anything(ledger: &Ledger) {
    let seqs: Vec<u64> = see(ledger).iter().map(|record| record.seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "a query: {seqs:?}");
}

fn see(ledger: &Ledger) -> Vec<Record<'static>> {
    let all = ledger.query().history(true).order(Order::Seq).limit(usize::MAX / 2);
    all.fetch().unwrap().records().map(|record| record.unwrap().into_owned()).collect()
}

/// What a clean-up may have dropped is there or not.
fn forgive_drops(oracle: &mut Oracle) {
    for batch in &mut oracle.batches {
        if matches!(batch.fate, Fate::Kept | Fate::Durable) {
            batch.fate = Fate::Dropping;
        }
    }
}
