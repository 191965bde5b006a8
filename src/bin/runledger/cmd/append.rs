use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use runledger::storage::{Disk, Storage};
use runledger::{
    ActorType, Body, ErrorRecord, Event, Id, Json, Owner, Result, Run, RunError, Severity, Status,
    Subject, Timestamp,
};

use crate::args;
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::time;
use crate::writer::{self, Level};

/// Append one record from flags, and print its sequence number
///
/// For shell scripts and cron. To log a whole command as a run, see `runledger exec`. A ledger has
/// one writer at a time: another is waited for, for up to 10 seconds. When the
/// record is in and its number cannot be printed, stderr names it, and the exit code is 2.
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    #[command(subcommand)]
    record: Record,
}

const EXAMPLE: &str =
    "Example: runledger append event --type deploy --project shop --message 'v42 is live'";

#[derive(Subcommand)]
enum Record {
    Run(Box<RunArgs>),
    Event(Box<EventArgs>),
    Error(Box<ErrorArgs>),
}

/// What records of every kind can have.
#[derive(clap::Args)]
struct Common {
    /// What it is, such as nightly-backup or mail.sent
    #[arg(long = "type", value_name = "TYPE")]
    type_name: String,
    /// Trace that it belongs to
    #[arg(long, value_name = "ID", value_parser = args::id)]
    trace: Option<Id<'static>>,
    /// Project that it belongs to
    #[arg(long, value_name = "ID", value_parser = args::id)]
    project: Option<Id<'static>>,
    /// User that it belongs to
    #[arg(long, value_name = "ID", value_parser = args::id)]
    user: Option<Id<'static>>,
    /// When it happened, such as 2026-11-01T08:30:00Z or -2h [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    /// What must be reached before the command returns
    #[arg(long, value_enum, default_value_t = Level::Sync)]
    durability: Level,
}

/// Append a state of a run
///
/// What is left out is kept from the run's newest record.
#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    common: Common,
    /// Id of the run
    #[arg(long, value_name = "ID", value_parser = args::id)]
    id: Id<'static>,
    /// pending, running, success, failed, skipped or cancelled
    #[arg(long, value_parser = args::status)]
    status: Status,
    /// Run that started it
    #[arg(long, value_name = "ID", value_parser = args::id)]
    parent: Option<Id<'static>>,
    /// Which attempt this is; a higher one opens a run again that has ended
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Business object that it acts on, such as booking:B-1041
    #[arg(long, value_name = "KIND:ID", value_parser = args::subject)]
    subject: Option<Subject<'static>>,
    /// When the run came to be
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    created_at: Option<String>,
    /// When it began to run
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    started_at: Option<String>,
    /// When it ended
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    finished_at: Option<String>,
    /// What went wrong
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// Type of what went wrong
    #[arg(long, value_name = "TYPE")]
    error_type: Option<String>,
    /// Where it went wrong
    #[arg(long, value_name = "TEXT")]
    stack: Option<String>,
    /// What is to be known about it
    #[arg(long, value_name = "JSON", value_parser = args::json)]
    metadata: Option<Json<'static>>,
    /// What it gave
    #[arg(long, value_name = "JSON", value_parser = args::json)]
    result: Option<Json<'static>>,
    /// Process that answers for the run, such as $$ in a script: when it ends and the run has not,
    /// the next writer closes the run as abandoned
    #[arg(long, value_name = "PID")]
    owner: Option<u32>,
    /// How long its owner vouches for the run, such as 10m, to be given anew before it ends; counts
    /// for writers that cannot see the process
    #[arg(long, value_name = "LENGTH", value_parser = time::length)]
    lease: Option<Duration>,
}

/// Append an event
#[derive(clap::Args)]
struct EventArgs {
    #[command(flatten)]
    common: Common,
    /// Run that it belongs to
    #[arg(long, value_name = "ID", value_parser = args::id)]
    run: Option<Id<'static>>,
    /// For people to read
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// trace, debug, info, warning, error or critical
    #[arg(long)]
    severity: Option<Severity>,
    /// The particulars
    #[arg(long, value_name = "JSON", value_parser = args::json)]
    payload: Option<Json<'static>>,
    /// Who caused it: user or system
    #[arg(long, value_name = "WHO")]
    actor_type: Option<ActorType>,
    /// Which user or part of the system
    #[arg(long, value_name = "ID", value_parser = args::id)]
    actor_id: Option<Id<'static>>,
}

/// Append an error
#[derive(clap::Args)]
struct ErrorArgs {
    #[command(flatten)]
    common: Common,
    /// What it says
    #[arg(long, value_name = "TEXT")]
    message: String,
    /// Run that it belongs to
    #[arg(long, value_name = "ID", value_parser = args::id)]
    run: Option<Id<'static>>,
    /// warning, error or critical
    #[arg(long, default_value = "error")]
    severity: Severity,
    /// Where it happened
    #[arg(long, value_name = "TEXT")]
    stack: Option<String>,
    /// The particulars
    #[arg(long, value_name = "JSON", value_parser = args::json)]
    detail: Option<Json<'static>>,
    /// Address or entry point at which it happened
    #[arg(long, value_name = "TEXT")]
    endpoint: Option<String>,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let (body, level) = match &args.record {
        Record::Run(args) => (run_body(args, ctx)?, args.common.durability),
        Record::Event(args) => (event_body(args, ctx)?, args.common.durability),
        Record::Error(args) => (error_body(args, ctx)?, args.common.durability),
    };
    let ledger = writer::open(ctx, writer::PATIENCE)?;
    let seq = ledger.append_with(body, level.into())?;
    let told = writeln!(io::stdout(), "{seq}");
    let place = format!("record {seq} is in all the same: it is not to be appended again");
    let told = told.map_err(|err| Failure::untold(&place, &err));
    ledger.close().map_err(|source| Failure::Stopped { place, source })?;
    told?;
    Ok(Outcome::Done)
}

fn run_body<'a>(args: &'a RunArgs, ctx: &Context) -> Result<Body<'a>, Failure> {
    let common = &args.common;
    let mut run = Run::with_id(args.id.borrowed(), common.type_name.as_str(), args.status);
    run.at = moment(ctx, common.at.as_deref())?;
    run.created_at = moment(ctx, args.created_at.as_deref())?;
    run.started_at = moment(ctx, args.started_at.as_deref())?;
    run.finished_at = moment(ctx, args.finished_at.as_deref())?;
    run.trace_id = common.trace.as_ref().map(Id::borrowed);
    run.project_id = common.project.as_ref().map(Id::borrowed);
    run.user_id = common.user.as_ref().map(Id::borrowed);
    run.parent_run_id = args.parent.as_ref().map(Id::borrowed);
    run.attempt = args.attempt;
    run.subject = args.subject.as_ref().map(Subject::borrowed);
    run.metadata = args.metadata.as_ref().map(Json::borrowed);
    run.result = args.result.as_ref().map(Json::borrowed);
    run.owner = owner(args, ctx)?.map(Box::new);
    if args.message.is_some() || args.stack.is_some() || args.error_type.is_some() {
        let mut error = RunError::new(args.message.as_deref().unwrap_or_default());
        error.error_type = args.error_type.as_deref().map(Into::into);
        error.stack = args.stack.as_deref().map(Into::into);
        run.error = Some(error);
    }
    Ok(run.into())
}

/// Who answers for the run, when the flags say so.
fn owner(args: &RunArgs, ctx: &Context) -> Result<Option<Owner<'static>>, Failure> {
    if args.owner.is_none() && args.lease.is_none() {
        return Ok(None);
    }
    let mut owner = Disk.owner(args.owner.unwrap_or_default());
    match (args.owner, owner.process) {
        (Some(pid), None) if args.lease.is_none() => {
            let text = format!("there is no process {pid} here to be seen; give --lease");
            return Err(Failure::Usage(text));
        }
        _ => {}
    }
    owner.lease_until = args.lease.map(|lease| ctx.now().saturating_add(lease));
    Ok(Some(owner))
}

fn event_body<'a>(args: &'a EventArgs, ctx: &Context) -> Result<Body<'a>, Failure> {
    let common = &args.common;
    let mut event = Event::new(common.type_name.as_str());
    event.created_at = moment(ctx, common.at.as_deref())?;
    event.trace_id = common.trace.as_ref().map(Id::borrowed);
    event.project_id = common.project.as_ref().map(Id::borrowed);
    event.user_id = common.user.as_ref().map(Id::borrowed);
    event.run_id = args.run.as_ref().map(Id::borrowed);
    event.message = args.message.as_deref().map(Into::into);
    event.severity = args.severity;
    event.payload = args.payload.as_ref().map(Json::borrowed);
    event.actor_type = args.actor_type;
    event.actor_id = args.actor_id.as_ref().map(Id::borrowed);
    Ok(event.into())
}

fn error_body<'a>(args: &'a ErrorArgs, ctx: &Context) -> Result<Body<'a>, Failure> {
    let common = &args.common;
    let mut error = ErrorRecord::new(common.type_name.as_str(), args.message.as_str());
    error.severity = args.severity;
    error.created_at = moment(ctx, common.at.as_deref())?;
    error.trace_id = common.trace.as_ref().map(Id::borrowed);
    error.project_id = common.project.as_ref().map(Id::borrowed);
    error.user_id = common.user.as_ref().map(Id::borrowed);
    error.run_id = args.run.as_ref().map(Id::borrowed);
    error.stack = args.stack.as_deref().map(Into::into);
    error.detail = args.detail.as_ref().map(Json::borrowed);
    error.endpoint = args.endpoint.as_deref().map(Into::into);
    Ok(error.into())
}

fn moment(ctx: &Context, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    text.map(|text| ctx.time(text)).transpose()
}
