//! The benchmarks.

mod append;
mod lines;
mod open;
mod query;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runledger::{Body, Durability, Ledger, Options};

use crate::Outcome;
use crate::steady::Steady;
use crate::workload::{Pool, START_NANOS, Workload};

/// Records in a ledger before something is counted.
const RECORDS: usize = 50_000;
/// Records in a batch.
const BATCH: usize = 1000;
const SEED: u64 = 1;
/// The ledger's directory, in that of the process.
const LEDGER: &str = "ledger";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One benchmark.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the count is for each of.
    pub(crate) unit: &'static str,
    /// Does it, and gives how many units were counted.
    pub(crate) run: fn(&Bench) -> Outcome<usize>,
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    Case { name: "append_batch", unit: "record of 1,000", run: append::batch },
    Case { name: "append_event", unit: "append", run: append::event },
    Case { name: "run_start_finish", unit: "run", run: append::run },
    Case { name: "append_then_query", unit: "record of 1,000", run: append::then_query },
    Case { name: "seal", unit: "record", run: open::seal },
    Case { name: "recover", unit: "record", run: open::recover },
    Case { name: "open_clean", unit: "opening", run: open::clean },
    Case { name: "trace_open", unit: "query", run: |bench| query::open(bench, query::trace) },
    Case { name: "trace_sealed", unit: "query", run: |bench| query::sealed(bench, query::trace) },
    Case { name: "trace_segments", unit: "query", run: |bench| query::many(bench, query::trace) },
    Case { name: "trace_packed", unit: "query", run: |bench| query::packed(bench, query::trace) },
    Case { name: "events_of_run_open", unit: "query", run: |bench| query::open(bench, query::run) },
    Case {
        name: "events_of_run_sealed",
        unit: "query",
        run: |bench| query::sealed(bench, query::run),
    },
    Case { name: "failed_open", unit: "query", run: |bench| query::open(bench, query::failed) },
    Case { name: "failed_sealed", unit: "query", run: |bench| query::sealed(bench, query::failed) },
    Case {
        name: "count_open",
        unit: "query",
        run: |bench| query::open(bench, query::count_by_status),
    },
    Case {
        name: "count_sealed",
        unit: "query",
        run: |bench| query::sealed(bench, query::count_by_status),
    },
    Case { name: "scan_open", unit: "query", run: |bench| query::open(bench, query::scan) },
    Case { name: "scan_sealed", unit: "query", run: |bench| query::sealed(bench, query::scan) },
    Case { name: "parse_line", unit: "line", run: lines::parse },
    Case { name: "write_line", unit: "record", run: lines::write },
];

/// What benchmarks share.
pub(crate) struct Bench {
    pool: Pool,
    storage: Arc<Steady>,
}

impl Bench {
    pub(crate) fn new() -> Outcome<Self> {
        let pool = Pool::new().map_err(|err| err.to_string())?;
        Ok(Self { pool, storage: Arc::default() })
    }

    /// Opens a ledger that works in this thread alone.
    fn open(&self, dir: impl AsRef<Path>) -> Outcome<Ledger> {
        Ok(self.options().open(dir)?)
    }

    fn options(&self) -> Options {
        let options = Options::new().durability(Durability::Os).background(false);
        options.storage(Arc::<Steady>::clone(&self.storage))
    }

    /// A ledger with records, as it was written; the time is that of the next.
    fn filled(&self, options: Options) -> Outcome<(Ledger, Workload<'_>)> {
        let ledger = options.open(LEDGER)?;
        let mut workload = Workload::new(&self.pool, SEED);
        for batch in batches(&mut workload, RECORDS / BATCH) {
            ledger.append_batch(&batch, Durability::Os)?;
        }
        let passed = workload.now() - START_NANOS;
        self.storage.pass(Duration::from_nanos(passed.unsigned_abs()));
        Ok((ledger, workload))
    }
}

/// So many batches of the next records.
fn batches<'p>(workload: &mut Workload<'p>, count: usize) -> Vec<Vec<Body<'p>>> {
    (0..count).map(|_| workload.by_ref().take(BATCH).collect()).collect()
}
