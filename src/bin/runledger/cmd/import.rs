use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runledger::limits::MAX_LINE_BYTES;
use runledger::wire::{self, LineError, ParseOptions};
use runledger::{Body, Error, Ledger, Options};

use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::input::{self, Found, Lines};
use crate::progress::Progress;
use crate::writer::{self, Level};

/// Import JSON lines, one record a line
///
/// A line that is refused is named on stderr as FILE:LINE: REASON, and the others go in. The exit
/// code is then 1. Where the ledger is at fault, and not the line, the import stops and says from
/// which line on it is to be gone on with. gzip and zstd are told by the file's first bytes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Files of JSON lines, also compressed; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Drop keys that are unknown or of another kind instead of refusing the line
    #[arg(long)]
    lenient: bool,
    /// Write the lines that are refused into this file, as they came, but for those over 96 MiB
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// What each batch must have reached before the next; the end is synced in any case
    #[arg(long, value_enum, default_value_t = Level::Os)]
    durability: Level,
}

const EXAMPLE: &str = "Example: zcat old/*.gz | runledger import - --rejects refused.jsonl";

/// A batch goes to the ledger when it has this many lines, or this many bytes.
const BATCH_LINES: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    for path in &args.files {
        // A name that is wrong is told before anything is made or imported.
        input::check(path)?;
    }
    let rejects = match &args.rejects {
        Some(path) => Some(open_rejects(path, &args.files)?),
        None => None,
    };
    let ledger = Options::new().restores(true).open(ctx.dir())?;
    writer::tell(&ledger);
    if let Some((path, file)) = &rejects {
        empty(path, file.get_ref())?;
    }
    let mut import = Import {
        ledger: &ledger,
        args,
        rejects,
        unwritten: None,
        text: Vec::new(),
        lines: Vec::new(),
        taken: 0,
        refused: 0,
        too_long: 0,
        progress: Progress::new(),
    };
    let mut outcome = Ok(());
    for path in &args.files {
        outcome = import.file(path);
        if outcome.is_err() {
            break;
        }
    }
    import.progress.finish();
    let (taken, refused, elapsed) = (import.taken, import.refused, import.progress.elapsed());
    if let Some((path, mut file)) = import.rejects {
        outcome = outcome.and(file.flush().map_err(|err| Failure::io("write", path, err)));
        if import.too_long > 0 {
            let (lines, path) = (import.too_long, path.display());
            let told = format!("{lines} refused lines, too long to be held, are not in {path}");
            say(&told);
        }
    }
    let closed = ledger.close();
    let summed = summarize(taken, refused, elapsed);
    outcome?;
    closed?;
    // What went wrong is told also where nobody reads the sum.
    if refused > 0 {
        return Ok(Outcome::Notable);
    }
    let done = format!("{taken} records are in all the same: they are not to be imported again");
    summed.map_err(|err| Failure::untold(&done, &err))?;
    Ok(Outcome::Done)
}

fn summarize(taken: u64, refused: u64, elapsed: Duration) -> io::Result<()> {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people to read"
    )]
    let rate = (taken as f64 / seconds) as u64;
    writeln!(
        io::stdout(),
        "imported {taken} records, refused {refused} lines, in {seconds:.2} s ({rate} records/s)"
    )
}

/// Opens the file for refused lines, unless it is one of those that are imported. What is in it
/// stays until there is an import to replace it.
fn open_rejects<'a>(
    path: &'a Path,
    inputs: &[PathBuf],
) -> Result<(&'a Path, BufWriter<File>), Failure> {
    let same = |input: &PathBuf| {
        fs::canonicalize(input)
            .is_ok_and(|input| fs::canonicalize(path).is_ok_and(|it| it == input))
    };
    if inputs.iter().any(same) {
        let text =
            format!("{} is itself imported: name another file for --rejects", path.display());
        return Err(Failure::Usage(text));
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    Ok((path, BufWriter::new(file.map_err(|err| Failure::io("create", path, err))?)))
}

/// Empties the file for refused lines. A pipe or a device has nothing to be emptied of.
fn empty(path: &Path, file: &File) -> Result<(), Failure> {
    let emptied = file.metadata().and_then(|meta| match meta.is_file() {
        true => file.set_len(0),
        false => Ok(()),
    });
    emptied.map_err(|err| Failure::io("empty", path, err))
}

/// An import under way. The lines of a batch lie in `text`, so that records borrow from it.
struct Import<'a> {
    ledger: &'a Ledger,
    args: &'a Args,
    rejects: Option<(&'a Path, BufWriter<File>)>,
    /// Why a refused line could not be written there.
    unwritten: Option<io::Error>,
    text: Vec<u8>,
    lines: Vec<(u64, Range<usize>)>,
    taken: u64,
    refused: u64,
    /// Those among them that were not held.
    too_long: u64,
    progress: Progress,
}

impl Import<'_> {
    /// Imports one file. What was read before a failure is in the ledger.
    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let mut lines = Lines::open(path)?;
        loop {
            let start = self.text.len();
            match lines.read_into(&mut self.text) {
                Ok(Found::Line) => self.lines.push((lines.number(), start..self.text.len())),
                Ok(Found::TooLong(bytes)) => {
                    let reason = LineError::TooLong { bytes, limit: MAX_LINE_BYTES };
                    self.too_long += 1;
                    self.tell_refused(lines.name(), lines.number(), &advised(&reason));
                }
                Ok(Found::End) => return self.flush(&lines),
                Err(err) => {
                    self.flush(&lines)?;
                    return Err(err);
                }
            }
            let full = self.lines.len() >= BATCH_LINES || self.text.len() >= BATCH_BYTES;
            if full || lines.may_wait() {
                self.flush(&lines)?;
            }
        }
    }

    /// Hands the batch to the ledger.
    fn flush(&mut self, lines: &Lines) -> Result<(), Failure> {
        let text = std::mem::take(&mut self.text);
        let batch = std::mem::take(&mut self.lines);
        let done = self.append(lines.name(), &text, &batch);
        let done = done.and_then(|()| self.check_rejects(lines.name(), &batch));
        // The buffers are used again.
        (self.text, self.lines) = (text, batch);
        self.text.clear();
        self.lines.clear();
        self.progress.show(lines.consumed(), lines.size(), &format!("{} records", self.taken));
        done
    }

    fn append(
        &mut self,
        name: &str,
        text: &[u8],
        batch: &[(u64, Range<usize>)],
    ) -> Result<(), Failure> {
        let options = ParseOptions::new().lenient(self.args.lenient);
        let mut bodies: Vec<Body<'_>> = Vec::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        for (number, range) in batch {
            let line = text.get(range.clone()).unwrap_or_default();
            // An empty line separates, and says nothing.
            if line.trim_ascii().is_empty() {
                continue;
            }
            match wire::parse_bytes(line, &options) {
                Ok(body) => {
                    bodies.push(body);
                    places.push((*number, line));
                }
                Err(reason) => self.refuse(name, *number, &advised(&reason), line),
            }
        }
        let Some((first, _)) = places.first() else { return Ok(()) };
        let results = self.ledger.append_each(&bodies, self.args.durability.into());
        let last = batch.last().map_or(0, |(number, _)| *number);
        let results = results.map_err(|err| self.stopped(name, (*first, last), err))?;
        let mut failed = None;
        for ((result, body), (number, line)) in results.into_iter().zip(&bodies).zip(places) {
            let result = match result {
                // What could not be read may be read the next time.
                Err(err) if !err.is_of_record() => self.append_again(body),
                result => result.map(drop),
            };
            match result {
                Ok(()) => self.taken += 1,
                Err(reason) => {
                    self.refuse(name, number, &reason.to_string(), line);
                    failed = failed.or(Some(reason).filter(|reason| !reason.is_of_record()));
                }
            }
        }
        failed.map_or(Ok(()), |source| Err(self.stopped_behind(name, last, source)))
    }

    fn append_again(&self, body: &Body<'_>) -> runledger::Result<()> {
        let body = std::slice::from_ref(body);
        self.ledger.append_batch(body, self.args.durability.into()).map(drop)
    }

    /// The others of the batch are in when it is known that one is not.
    fn stopped_behind(&self, name: &str, line: u64, source: Error) -> Failure {
        let place = format!(
            "the import stopped behind {name}:{line}, the {} records up to there are in, but for \
             the lines that are named above: import those, and the rest from behind that line on",
            self.taken
        );
        Failure::Stopped { place, source }
    }

    /// Of a batch records of one kind may be in when those of another could not be written.
    fn stopped(&self, name: &str, (first, last): (u64, u64), source: Error) -> Failure {
        let taken = self.taken;
        let place = match source {
            Error::Io { .. } | Error::Poisoned { .. } => format!(
                "the import stopped at {name}:{first}, the {taken} records before that are in, and \
                 of the lines from there to {last} some may be: look which before you import them \
                 again, and the rest from behind those on"
            ),
            _ => format!(
                "the import stopped before {name}:{first}, the {taken} records before that are in: \
                 import the rest from that line on"
            ),
        };
        Failure::Stopped { place, source }
    }

    /// Refuses a line. Where it cannot be kept, the others of the batch go in before that is told.
    fn refuse(&mut self, name: &str, number: u64, reason: &str, line: &[u8]) {
        self.tell_refused(name, number, reason);
        let Some((_, file)) = self.rejects.as_mut().filter(|_| self.unwritten.is_none()) else {
            return;
        };
        self.unwritten = file.write_all(line).and_then(|()| file.write_all(b"\n")).err();
    }

    /// An error when a refused line of the batch could not be written where those are kept.
    fn check_rejects(
        &mut self,
        name: &str,
        batch: &[(u64, Range<usize>)],
    ) -> Result<(), Failure> {
        let (Some(source), Some((path, _))) = (self.unwritten.take(), &self.rejects) else {
            return Ok(());
        };
        let (path, last) = (path.display(), batch.last().map_or(0, |(number, _)| *number));
        let what = format!(
            "write {path} (the import stopped behind {name}:{last}, the {} records up to there are \
             in: import the rest from behind that line on)",
            self.taken
        );
        Err(Failure::Io { what, source })
    }

    fn tell_refused(&mut self, name: &str, number: u64, reason: &str) {
        self.refused += 1;
        self.progress.aside(|| {
            // Where stderr is closed, the count and the exit code still tell.
            let _ = writeln!(io::stderr(), "{name}:{number}: {reason}");
        });
    }
}

/// Why a line was refused, and the word that takes it all the same.
fn advised(reason: &LineError) -> String {
    match reason {
        LineError::UnknownKey { .. } | LineError::ForeignKey { .. } => {
            format!("{reason} (--lenient drops it)")
        }
        _ => reason.to_string(),
    }
}
