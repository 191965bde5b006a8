use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use flate2::Compression;
use flate2::write::GzEncoder;
use runledger::{Kind, Order, Query, Record, wire};

use super::query::{self, Filter, Taken};
use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::{Format, Screen};
use crate::output::records::write_json;

/// Write records as JSON lines
///
/// They come in the order in which they were appended, and `runledger import` reads them again.
/// Every state of a run is written unless --current is given. The exit code is 1 when nothing
/// matches, and 3 when a record is damaged: it is named on stderr, and the others are written.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these kinds: run, event, error
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Only the newest state of each run
    #[arg(long)]
    current: bool,
    /// Write into this file, compressed when it ends in .gz or .zst
    #[arg(short, long, value_name = "FILE", group = "file")]
    output: Option<PathBuf>,
    /// Write a page into this file instead, for a ticket: it needs no server and no other file
    ///
    /// It holds the newest state of each run, 500 runs and 2,000 records at the most.
    #[cfg(feature = "server")]
    #[arg(long, value_name = "FILE", group = "file", conflicts_with = "current")]
    html: Option<PathBuf>,
    /// What stands at the head of the page
    #[cfg(feature = "server")]
    #[arg(long, value_name = "TEXT", requires = "html", default_value = "Records of a ledger")]
    title: String,
    /// Overwrite the file when it is there
    #[arg(long, requires = "file")]
    force: bool,
    #[command(flatten)]
    filter: Filter,
}

/// How many records are found at a time.
const PAGE: usize = 4096;

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    args.output.as_deref().map_or(Ok(()), check_name)?;
    let reader = query::open(ctx)?;
    let mut query = args.filter.apply(reader.query(), ctx)?;
    for kind in &args.kind {
        query = query.kind(*kind);
    }
    #[cfg(feature = "server")]
    if let Some(path) = &args.html {
        let outcome = write_page(args, path, &query, ctx)?;
        return query::whole(&reader, outcome);
    }
    query = query.or_damaged().history(!args.current).order(Order::Seq).limit(PAGE);
    let Some(path) = &args.output else {
        let screen = Screen::stdout(ctx);
        let mut out = BufWriter::new(io::stdout().lock());
        let written = write_all(query, |record| write_json(record, &screen, &mut out));
        let written = written.and_then(|outcome| out.flush().map(|()| outcome).map_err(Into::into));
        return query::shown(&reader, written);
    };
    let named = |failure| match failure {
        Failure::Output(err) => Failure::io("write", path, err),
        other => other,
    };
    let written = Sink::create(path, args.force).and_then(|mut sink| {
        let outcome = write_all(query, |record| wire::write_record(record, &mut sink))?;
        sink.finish()?;
        Ok(outcome)
    });
    query::whole(&reader, written.map_err(named)?)
}

/// Refuses the name of a format, which is what `-o` takes in the other commands.
fn check_name(path: &Path) -> Result<(), Failure> {
    let name = path.to_str().unwrap_or_default();
    if name != "jsonl" && Format::from_str(name, false).is_err() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "--output is the file here, and an export is always JSON lines: leave it out to have them \
         on the standard output, or write ./{name} for a file of that name"
    )))
}

#[cfg(feature = "server")]
fn write_page(args: &Args, path: &Path, query: &Query, ctx: &Context) -> Result<Outcome, Failure> {
    let count = query.count()?;
    let report = runledger::server::Report::new(&*args.title, ctx.now(), ctx.zone().clone());
    let page = report.html(query)?;
    let mut sink = Sink::create(path, args.force)?;
    let written = sink.write_all(page.as_bytes()).and_then(|()| sink.finish());
    written.map_err(|err| Failure::io("write", path, err))?;
    Ok(if count > 0 { Outcome::Done } else { Outcome::Notable })
}

fn write_all(
    mut query: Query,
    mut write: impl FnMut(&Record<'_>) -> io::Result<()>,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::Notable;
    loop {
        let page = query.fetch()?;
        let mut taken = Taken::default();
        for record in page.records() {
            let goes_on = taken.count(record.as_ref().ok().map(|record| &record.body));
            match record {
                Ok(record) => {
                    write(&record)?;
                    if outcome == Outcome::Notable {
                        outcome = Outcome::Done;
                    }
                }
                Err(err) => {
                    say(&err.to_string());
                    outcome = Outcome::Damaged;
                }
            }
            if !goes_on {
                break;
            }
        }
        match taken.next(&page) {
            Some(cursor) => query = query.after(cursor),
            None => return Ok(outcome),
        }
    }
}

/// The file that is written, compressed as its name says.
enum Sink {
    Plain(BufWriter<File>),
    Gzip(BufWriter<GzEncoder<File>>),
    Zstd(BufWriter<zstd::Encoder<'static, File>>),
}

impl Sink {
    fn create(path: &Path, force: bool) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.write(true);
        let options =
            if force { options.create(true).truncate(true) } else { options.create_new(true) };
        let file = options.open(path).map_err(|err| {
            if err.kind() == io::ErrorKind::AlreadyExists {
                let text = format!("{} is there: use --force to overwrite it", path.display());
                return Failure::Usage(text);
            }
            Failure::io("create", path, err)
        })?;
        Ok(match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Self::Gzip(BufWriter::new(GzEncoder::new(file, Compression::default()))),
            Some("zst") => Self::Zstd(BufWriter::new(zstd::Encoder::new(file, 0)?)),
            _ => Self::Plain(BufWriter::new(file)),
        })
    }

    /// Writes what is left and puts it on stable storage.
    fn finish(self) -> io::Result<()> {
        let file = match self {
            Self::Plain(out) => out.into_inner()?,
            Self::Gzip(out) => out.into_inner()?.finish()?,
            Self::Zstd(out) => out.into_inner()?.finish()?,
        };
        // A pipe or a device has no place to be synced to.
        if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}
