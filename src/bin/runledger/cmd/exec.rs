use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path;
use std::time::Duration;

use runledger::storage::{Disk, Storage};
use runledger::{Id, Json, Result, Run, RunError, Status, Subject, Timestamp};
use serde::Serialize;
use signal_hook::low_level::signal_name;

use crate::args;
use crate::child::{self, Ended};
use crate::context::{self, Context};
use crate::exit::{Failure, Outcome, line, say};
use crate::writer::{self, Level};

/// Run a command and log it as a run
///
/// The run is `running` while the command runs, then `success` when it exits with 0, else `failed`
/// with the end of its stderr as the error. SIGINT, SIGTERM and SIGHUP are passed on to it, and the
/// run is then `cancelled`; under nohup both ignore SIGHUP. The exit code is the command's own, or
/// 128 + N when signal N killed it.
///
/// The command finds its run in RUNLEDGER_RUN_ID. The ledger is free for other writers meanwhile;
/// one that is at work is waited for, up to 2 seconds before the command and 10 after it. When the
/// run cannot be logged, stderr says so, and the exit code is the command's all the same. When this
/// program is killed, the next writer closes the run as `abandoned`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// What the command does, such as nightly-backup
    #[arg(long = "type", value_name = "TYPE")]
    type_name: String,
    /// Id of the run [default: a new UUID]
    #[arg(long, value_name = "ID", value_parser = args::id)]
    id: Option<Id<'static>>,
    /// Trace that the run belongs to [env: RUNLEDGER_TRACE_ID]
    #[arg(long, value_name = "ID", value_parser = args::id)]
    trace: Option<Id<'static>>,
    /// Project that it belongs to
    #[arg(long, value_name = "ID", value_parser = args::id)]
    project: Option<Id<'static>>,
    /// User that it belongs to
    #[arg(long, value_name = "ID", value_parser = args::id)]
    user: Option<Id<'static>>,
    /// Run that started it; a command that exec runs is told its own [env: RUNLEDGER_RUN_ID]
    #[arg(long, value_name = "ID", value_parser = args::id)]
    parent: Option<Id<'static>>,
    /// Business object that it acts on, such as booking:B-1041
    #[arg(long, value_name = "KIND:ID", value_parser = args::subject)]
    subject: Option<Subject<'static>>,
    /// Which attempt this is; a higher one opens a run again that has ended
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// What each of the two records must have reached
    #[arg(long, value_enum, default_value_t = Level::Sync)]
    durability: Level,
    /// Do not run the command when the ledger cannot be written to
    #[arg(long)]
    strict: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLE: &str = "Example: runledger exec --type nightly-backup -- pg_dump -f shop.sql shop";

/// How long the start of the command may wait for another writer.
const START_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let run_id = match &args.id {
        Some(id) => id.clone(),
        None => new_id(ctx.now())?,
    };
    let around = Around::of(args);
    let state = |status| state(args, &around, &run_id, status, ctx.now());
    let begun = state(Status::Running).at(ctx.now()).metadata(about(&args.command)?);
    let mut words = Vec::new();
    let logged = log(args, ctx, begun, START_PATIENCE, &mut words);
    words.drain(..).for_each(|line| say(&line));
    if let Err(err) = logged {
        if args.strict {
            return Err(err.into());
        }
        say(&format!("the start of the run is not logged: {err}"));
    }
    let ran = child::run(&args.command, &environment(&around, ctx, &run_id));
    let (run, code) = match &ran {
        Ok(ended) => {
            let code = exit_code(ended);
            (outcome(state(Status::Success), ended, code)?.at(ended.at), code)
        }
        Err(err) => {
            let program = args.command.first().map(|program| program.display().to_string());
            let text = format!("cannot run {}: {err}", program.unwrap_or_default());
            words.push(text.clone());
            let code = if err.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            let run = with_status(state(Status::Failed), Status::Failed, RunError::new(text));
            (run.at(context::clock()), code)
        }
    };
    let logged = log(args, ctx, run, writer::PATIENCE, &mut words);
    if let Err(err) = &logged {
        words.push(format!("the end of the run is not logged: {err}"));
    }
    // Only now: nobody may be reading.
    match ran {
        Ok(ended) => ended.finish(&words.iter().map(|text| line(text)).collect::<String>()),
        Err(_) => words.iter().for_each(|text| say(text)),
    }
    Ok(Outcome::Code(if logged.is_err() && args.strict && code == 0 { 2 } else { code }))
}

/// What the run belongs to, by the flags, else by the environment.
struct Around {
    trace: Option<Id<'static>>,
    parent: Option<Id<'static>>,
}

impl Around {
    fn of(args: &Args) -> Self {
        Self {
            trace: args.trace.clone().or_else(|| told("RUNLEDGER_TRACE_ID")),
            parent: args.parent.clone().or_else(|| told("RUNLEDGER_RUN_ID")),
        }
    }
}

/// An id in the environment. What is none there keeps no command from being run.
fn told(name: &str) -> Option<Id<'static>> {
    let value = context::variable(name)?;
    match args::id(&value.to_string_lossy()) {
        Ok(id) => Some(id),
        Err(err) => {
            say(&format!("{name} is passed over: {err}"));
            None
        }
    }
}

/// The run in this status, with what does not change.
fn state<'a>(
    args: &'a Args,
    around: &'a Around,
    id: &'a Id<'_>,
    status: Status,
    start: Timestamp,
) -> Run<'a> {
    let mut run = Run::with_id(id.borrowed(), args.type_name.as_str(), status).started_at(start);
    run.trace_id = around.trace.as_ref().map(Id::borrowed);
    run.project_id = args.project.as_ref().map(Id::borrowed);
    run.user_id = args.user.as_ref().map(Id::borrowed);
    run.parent_run_id = around.parent.as_ref().map(Id::borrowed);
    run.subject = args.subject.as_ref().map(Subject::borrowed);
    run.attempt = args.attempt;
    run
}

/// Appends, and closes the ledger again, so that others can write while the command runs. Adds to
/// the words what is to be said of what the opening found, and of a close that failed.
fn log(
    args: &Args,
    ctx: &Context,
    run: Run<'_>,
    patience: Duration,
    words: &mut Vec<String>,
) -> Result<()> {
    let ledger = writer::open_untold(ctx, patience)?;
    words.extend(writer::told(&ledger));
    let owner = ledger.owner();
    let seq = ledger.append_with(run.owner(owner), args.durability.into())?;
    if let Err(err) = ledger.close() {
        words.push(format!("{err}; record {seq}, of the run, is in all the same"));
    }
    Ok(())
}

fn with_status<'a>(mut run: Run<'a>, status: Status, error: RunError<'a>) -> Run<'a> {
    run.status = status;
    run.error(error)
}

/// The run as the command's end makes it.
fn outcome<'a>(run: Run<'a>, ended: &Ended, code: u8) -> Result<Run<'a>> {
    #[derive(Serialize)]
    struct Gave {
        exit_code: u8,
    }
    let run = run.result(Json::from_value(&Gave { exit_code: code })?);
    let (status, what) = match (ended.interrupted, ended.status.signal()) {
        (Some(signal), _) => (Status::Cancelled, format!("stopped by {}", name_of(signal))),
        (None, Some(signal)) => (Status::Failed, format!("killed by {}", name_of(signal))),
        (None, None) if code == 0 => return Ok(run),
        (None, None) => (Status::Failed, format!("exit code {code}")),
    };
    let last = ended.stderr.lines().next_back().map(str::trim).unwrap_or_default();
    let message = match last {
        "" => what,
        last => format!("{what}: {}", last.chars().take(500).collect::<String>()),
    };
    let mut error = RunError::new(message);
    error.stack = (!ended.stderr.is_empty()).then(|| ended.stderr.clone().into());
    Ok(with_status(run, status, error))
}

fn name_of(signal: i32) -> String {
    signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

fn exit_code(ended: &Ended) -> u8 {
    let code = ended.status.code().or_else(|| ended.status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// What is to be known about the run: the command, where it ran and as which process.
fn about(command: &[OsString]) -> Result<Json<'static>> {
    #[derive(Serialize)]
    struct About {
        command: Vec<String>,
        directory: Option<String>,
        logged_by_pid: u32,
    }
    Json::from_value(&About {
        command: command.iter().map(|part| part.to_string_lossy().into_owned()).collect(),
        directory: std::env::current_dir().ok().map(|path| path.display().to_string()),
        logged_by_pid: std::process::id(),
    })
}

/// What the command is told, so that what it appends itself joins its run.
fn environment(around: &Around, ctx: &Context, id: &Id<'_>) -> Vec<(&'static str, OsString)> {
    let directory = path::absolute(ctx.dir()).unwrap_or_else(|_| ctx.dir().to_owned());
    let mut variables = vec![
        ("RUNLEDGER_RUN_ID", id.to_string().into()),
        ("RUNLEDGER_DIR", directory.into_os_string()),
    ];
    if let Some(trace) = &around.trace {
        variables.push(("RUNLEDGER_TRACE_ID", trace.to_string().into()));
    }
    variables
}

/// A version 7 UUID: the time in milliseconds, then chance.
fn new_id(now: Timestamp) -> Result<Id<'static>> {
    let mut bytes = Disk.random()?;
    let millis = now.as_nanos().max(0) / 1_000_000;
    let [_, _, time @ ..] = millis.to_be_bytes();
    for (byte, time) in bytes.iter_mut().zip(time) {
        *byte = time;
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x70;
    *variant = (*variant & 0x3f) | 0x80;
    Ok(Id::from_uuid(bytes))
}
