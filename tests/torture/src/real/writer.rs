//! A writer in another process. It says what it is about to append before it does so, and what was
//! acknowledged after, a line each; whoever started it tells the oracle.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use runledger::{Cleanup, Compaction, Durability, Error, Kind, Ledger, Options, Result};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::time::{ClockId, clock_gettime};

use crate::oracle::{Fate, SharedOracle};
use crate::real::deed::Deed;
use crate::rng::Rng;

/// How many threads append.
const THREADS: u64 = 3;

/// The cap on the disk that retention keeps to.
const MAX_BYTES: u64 = 1 << 20;

/// How long an opening may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was heard of a writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// True once the ledger was open.
    pub(crate) opened: bool,
    /// How many batches were acknowledged.
    pub(crate) acknowledged: u64,
    /// What failed, the first few.
    pub(crate) errors: Vec<String>,
    /// When its disk was cut off.
    cut: Option<usize>,
}

impl Heard {
    fn is_cut_by(&self, time: usize) -> bool {
        self.cut.is_some_and(|cut| time >= cut)
    }
}

/// A writer that is alive.
#[derive(Debug)]
pub(crate) struct LiveWriter {
    child: Child,
    listener: Option<JoinHandle<()>>,
    heard: Arc<Mutex<Heard>>,
}

impl LiveWriter {
    /// Starts a writer of the ledger in `dir`, of which this oracle is told.
    pub(crate) fn start(program: &Path, dir: &Path, oracle: &SharedOracle, seed: u64) -> Self {
        let first = oracle.lock().batches.len();
        let mut command = Command::new(program);
        command.args(["child", "write"]).arg(dir).args([first.to_string(), seed.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = child.stdout.take().unwrap();
        let heard = Arc::default();
        let listener = {
            let (heard, oracle) = (Arc::clone(&heard), oracle.clone());
            std::thread::spawn(move || listen(lines, &heard, &oracle))
        };
        Self { child, listener: Some(listener), heard }
    }

    /// What was heard of it by now.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.lock().clone()
    }

    /// Waits until the ledger is open, or cannot be opened.
    pub(crate) fn wait_until_open(&self) {
        let begin = Instant::now();
        loop {
            let heard = self.heard();
            if heard.opened || !heard.errors.is_empty() {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "the ledger does not open");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Notes that its disk is cut off from now on. Cutting takes a while, and a sync that meets it
    /// may seem to have succeeded, where a machine without power would not have answered.
    pub(crate) fn note_cut(&self) {
        self.heard.lock().cut = Some(now());
    }

    /// Kills it, and hears it out. How it died, and all that was heard.
    pub(crate) fn kill(mut self) -> (ExitStatus, Heard) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        if let Err(panic) = self.listener.take().unwrap().join() {
            std::panic::resume_unwind(panic);
        }
        (status, self.heard())
    }
}

impl Drop for LiveWriter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells the oracle what a writer says. A line that was cut off was not said.
fn listen(lines: ChildStdout, heard: &Mutex<Heard>, oracle: &SharedOracle) {
    let mut lines = BufReader::new(lines);
    let mut line = String::new();
    let mut before_sync = Vec::new();
    while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        let (what, rest) = line.trim_end().split_once(' ').unwrap();
        let mut words = rest.split(' ');
        let mut number = || words.next().unwrap().parse().unwrap();
        match what {
            "open" => {
                oracle.lock().opened();
                heard.lock().opened = true;
            }
            "begin" => {
                let (batch, deed) = (number(), rest.split_once(' ').unwrap().1);
                let begun = oracle.lock().begin(deed.parse::<Deed>().unwrap().bodies(batch));
                assert_eq!(begun, batch);
            }
            "kept" | "durable" => {
                let (batch, when) = (number(), number());
                let seqs = words.map(|seq| seq.parse().unwrap()).collect();
                let is_durable = what == "durable" && !heard.lock().is_cut_by(when);
                let durability = if is_durable { Durability::Sync } else { Durability::Os };
                oracle.lock().end(batch, &Ok(seqs), durability);
                heard.lock().acknowledged += 1;
            }
            "open-ended" => oracle.lock().batches[number()].fate = Fate::Open,
            "refused" => oracle.lock().batches[number()].fate = Fate::Refused,
            "sync" => before_sync.push((number(), oracle.lock().kept())),
            "synced" => {
                let (sync, when) = (number(), number());
                let at = before_sync.iter().position(|(number, _)| *number == sync).unwrap();
                let batches = before_sync.swap_remove(at).1;
                if !heard.lock().is_cut_by(when) {
                    oracle.lock().synced(&batches);
                }
            }
            "error" => heard.lock().errors.push(rest.to_owned()),
            other => panic!("a writer says {other:?}"),
        }
        line.clear();
    }
}

/// How the writer opens its ledger.
fn options() -> Options {
    Options::new()
        .segment_bytes(64 << 10)
        .interval(Duration::from_millis(5))
        .max_bytes(Some(MAX_BYTES))
}

/// The child: writes until it is killed, or to the first error.
pub(crate) fn child(dir: &Path, first_batch: usize, seed: u64) {
    // Without whoever counts, nothing is to be left behind.
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let ledger = match options().open(dir) {
        Ok(ledger) => ledger,
        Err(err) => return say(format_args!("error opening: {err}")),
    };
    say("open now");
    let next = Mutex::new(first_batch);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ledger, next) = (&ledger, &next);
            let rng = Rng::new(seed.wrapping_mul(THREADS).wrapping_add(thread));
            scope.spawn(move || {
                if let Err(err) = write(ledger, next, rng) {
                    say(format_args!("error {err}"));
                }
            });
        }
    });
}

/// The time on a clock that all processes share, in nanoseconds.
fn now() -> usize {
    let time = clock_gettime(ClockId::Monotonic);
    usize::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// Writes a line in one call, so that lines of several threads do not mix.
fn say(line: impl Display) {
    let line = format!("{line}\n");
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

fn write(ledger: &Ledger, next: &Mutex<usize>, mut rng: Rng) -> Result<()> {
    let mut open = Vec::new();
    loop {
        if rng.below(2) == 0 {
            std::thread::sleep(Duration::from_micros(rng.number() % 300));
        }
        match rng.below(200) {
            0..=5 => sync(ledger, &mut rng)?,
            6..=9 => ledger.maintain()?,
            10 => {
                let kind = [Kind::Event, Kind::Error][rng.below(2)];
                let all = Cleanup::older_than(Duration::from_secs(3600)).kind(kind);
                ledger.cleanup(&all, false)?;
            }
            11 => drop(ledger.compact(&Compaction::new().keep_states())?),
            _ => append(ledger, next, &mut rng, &mut open)?,
        }
    }
}

fn sync(ledger: &Ledger, rng: &mut Rng) -> Result<()> {
    let number = rng.number() >> 1;
    say(format_args!("sync {number}"));
    ledger.sync()?;
    say(format_args!("synced {number} {}", now()));
    Ok(())
}

fn append(
    ledger: &Ledger,
    next: &Mutex<usize>,
    rng: &mut Rng,
    open: &mut Vec<usize>,
) -> Result<()> {
    let deed = Deed::any(rng, open);
    let durability = [Durability::Sync, Durability::Os, Durability::Interval][rng.below(3)];
    let batch = {
        let mut next = next.lock();
        say(format_args!("begin {next} {deed}"));
        *next += 1;
        *next - 1
    };
    let bodies = deed.bodies(batch);
    let result = match bodies.as_slice() {
        [one] => ledger.append_with(one.clone(), durability).map(|seq| vec![seq]),
        all => ledger.append_batch(all, durability),
    };
    let now = now();
    match result {
        Ok(seqs) => {
            let word = if durability == Durability::Sync { "durable" } else { "kept" };
            let seqs: Vec<String> = seqs.iter().map(u64::to_string).collect();
            say(format_args!("{word} {batch} {now} {}", seqs.join(" ")));
            if matches!(deed, Deed::Start(_)) {
                open.push(batch);
            }
            Ok(())
        }
        Err(err) => {
            let may_be_there = matches!(err, Error::Io { .. } | Error::Poisoned { .. });
            let word = if may_be_there { "open-ended" } else { "refused" };
            say(format_args!("{word} {batch}"));
            Err(err)
        }
    }
}
