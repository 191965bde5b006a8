//! The records that are appended: runs of ten records each, many of them at once.
//!
//! Of the records, a tenth are starts of runs, a tenth their ends, seven tenths events and a tenth
//! errors; there are 64 types, 100 projects and 1,000 users. Texts come from a pool, so that making
//! a record costs next to nothing. The same seed gives the same records.

use super::Outcome;
use runledger::{Body, ErrorRecord, Event, Id, Json, Run, RunError, Severity, Status, Timestamp};

/// Records of a run: its start, seven events, an error and its end.
const RECORDS_PER_RUN: u64 = 10;
/// How many runs are open at any time.
const LANES: usize = 256;
/// How much time passes from one record to the next, in nanoseconds.
pub(super) const STEP_NANOS: i64 = 1_000_000;
/// When the first record of all is made: 2026-01-01.
pub(super) const START_NANOS: i64 = 1_767_225_600_000_000_000;

/// A small generator of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn pick<'a>(&mut self, texts: &'a [String]) -> &'a str {
        let at = usize::try_from(self.below(texts.len() as u64)).unwrap_or_default();
        texts.get(at).map_or("none", String::as_str)
    }
}

const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The texts that records are made of.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) types: Vec<String>,
    pub(super) projects: Vec<String>,
    users: Vec<String>,
    messages: Vec<String>,
    payloads: Vec<Json<'static>>,
}

impl Pool {
    pub(super) fn new() -> Outcome<Self> {
        let areas =
            ["billing", "booking", "calendar", "export", "import", "mail", "report", "sync"];
        let acts = ["check", "close", "fetch", "merge", "notify", "purge", "retry", "update"];
        let types = areas.iter().flat_map(|area| acts.map(|act| format!("{area}.{act}"))).collect();
        let texts = |count: u64, text: &dyn Fn(u64) -> String| (0..count).map(text).collect();
        let payloads = texts(256, &|n| {
            format!(r#"{{"rows":{},"ms":{},"host":"node-{}"}}"#, mix(n) >> 48, n * 7, n % 12)
        });
        Ok(Self {
            types,
            projects: texts(100, &|n| format!("project-{n:02}")),
            users: texts(1000, &|n| format!("user-{n:04}")),
            messages: texts(256, &|n| {
                format!("step {} of booking {} is done", n % 9, mix(n) >> 44)
            }),
            payloads: payloads.into_iter().map(Json::parse).collect::<Result<_, _>>()?,
        })
    }
}

/// A run that is under way.
#[derive(Debug, Clone, Copy)]
struct Lane<'p> {
    run: u64,
    /// How many of its records were made.
    done: u64,
    /// Which of them is its error.
    error_at: u64,
    start: i64,
    run_type: &'p str,
    project: &'p str,
    user: &'p str,
}

/// Makes the records.
#[derive(Debug)]
pub(super) struct Workload<'p> {
    pool: &'p Pool,
    seed: u64,
    rng: Rng,
    lanes: Vec<Lane<'p>>,
    runs: u64,
    now: i64,
}

impl<'p> Workload<'p> {
    pub(super) fn new(pool: &'p Pool, seed: u64) -> Self {
        let rng = Rng::new(seed);
        let mut workload = Self { pool, seed, rng, lanes: Vec::new(), runs: 0, now: START_NANOS };
        workload.lanes = (0..LANES).map(|_| workload.begin()).collect();
        workload
    }

    /// The same after its first records: at the beginning most are starts of runs.
    pub(super) fn in_full_swing(pool: &'p Pool, seed: u64) -> Self {
        let mut workload = Self::new(pool, seed);
        let records = LANES * usize::try_from(RECORDS_PER_RUN).unwrap_or_default();
        workload.by_ref().take(records).for_each(drop);
        workload
    }

    /// The next `count` records, in place of those in `batch`.
    pub(super) fn fill(&mut self, batch: &mut Vec<Body<'p>>, count: usize) {
        batch.clear();
        batch.extend(self.by_ref().take(count));
    }

    /// How many runs were begun.
    pub(super) const fn runs(&self) -> u64 {
        self.runs
    }

    /// When the next record is made.
    pub(super) const fn now(&self) -> i64 {
        self.now
    }

    fn begin(&mut self) -> Lane<'p> {
        self.runs += 1;
        Lane {
            run: self.runs - 1,
            done: 0,
            error_at: 1 + self.rng.below(RECORDS_PER_RUN - 2),
            start: 0,
            run_type: self.rng.pick(&self.pool.types),
            project: self.rng.pick(&self.pool.projects),
            user: self.rng.pick(&self.pool.users),
        }
    }

    /// The end is given whole, as its start is: what is written is then the same with a ledger
    /// that merges the two and with a floor that does not.
    fn run(&mut self, lane: &Lane<'p>, status: Status) -> Run<'p> {
        let failed = status == Status::Failed;
        let mut run = Run::with_id(run_id(self.seed, lane.run), lane.run_type, status)
            .at(Timestamp::from_nanos(self.now))
            .trace_id(trace_id(self.seed, lane.run))
            .created_at(Timestamp::from_nanos(lane.start))
            .started_at(Timestamp::from_nanos(lane.start));
        run.metadata = self.json();
        run.project_id = Id::new(lane.project).ok();
        run.user_id = Id::new(lane.user).ok();
        run.finished_at = status.is_terminal().then_some(Timestamp::from_nanos(self.now));
        run.error = failed.then(|| RunError::new(self.rng.pick(&self.pool.messages)));
        run
    }

    fn event(&mut self, lane: &Lane<'p>) -> Event<'p> {
        let mut event = Event::new(self.rng.pick(&self.pool.types))
            .message(self.rng.pick(&self.pool.messages))
            .severity(Severity::Info)
            .trace_id(trace_id(self.seed, lane.run))
            .run_id(run_id(self.seed, lane.run))
            .created_at(Timestamp::from_nanos(self.now));
        event.project_id = Id::new(lane.project).ok();
        event.payload = self.json();
        event.user_id = Id::new(lane.user).ok();
        event
    }

    fn error(&mut self, lane: &Lane<'p>) -> ErrorRecord<'p> {
        let message = self.rng.pick(&self.pool.messages);
        let mut error = ErrorRecord::new(self.rng.pick(&self.pool.types), message)
            .severity(Severity::Error)
            .trace_id(trace_id(self.seed, lane.run))
            .run_id(run_id(self.seed, lane.run))
            .created_at(Timestamp::from_nanos(self.now));
        error.project_id = Id::new(lane.project).ok();
        error.detail = self.json();
        error.user_id = Id::new(lane.user).ok();
        error
    }

    fn json(&mut self) -> Option<Json<'p>> {
        let payloads = &self.pool.payloads;
        let at = usize::try_from(self.rng.below(payloads.len() as u64)).ok()?;
        payloads.get(at).map(Json::borrowed)
    }
}

impl<'p> Iterator for Workload<'p> {
    type Item = Body<'p>;

    fn next(&mut self) -> Option<Body<'p>> {
        let at = usize::try_from(self.rng.below(LANES as u64)).unwrap_or_default();
        let mut lane = *self.lanes.get(at)?;
        let body = match lane.done {
            0 => {
                lane.start = self.now;
                Body::Run(self.run(&lane, Status::Running))
            }
            done if done == lane.error_at => Body::Error(self.error(&lane)),
            done if done == RECORDS_PER_RUN - 1 => {
                let status = match self.rng.below(10) {
                    0 => Status::Failed,
                    1 => Status::Skipped,
                    _ => Status::Success,
                };
                Body::Run(self.run(&lane, status))
            }
            _ => Body::Event(self.event(&lane)),
        };
        self.now += STEP_NANOS;
        lane.done += 1;
        if lane.done == RECORDS_PER_RUN {
            lane = self.begin();
        }
        *self.lanes.get_mut(at)? = lane;
        Some(body)
    }
}

/// The id of a run, from its number.
pub(super) fn run_id(seed: u64, run: u64) -> Id<'static> {
    Id::from_uuid(bytes(seed, run))
}

/// The trace of a run, from its number.
pub(super) fn trace_id(seed: u64, run: u64) -> Id<'static> {
    Id::from_hex_bytes(bytes(!seed, run))
}

fn bytes(seed: u64, number: u64) -> [u8; 16] {
    let high = mix(seed ^ 0x5eed);
    ((u128::from(high) << 64) | u128::from(mix(number))).to_be_bytes()
}
