//! Looking after the ledger: retention, clean-up, segments, verification.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ledger::{
    self, ClassUsage, Cleanup, CleanupReport, RetentionReport, SegmentPlan, Stats, StreamStats,
    Term, VerifyReport,
};
use crate::model::{Kind, Status};
use crate::server::access::{Admin, Caller, Clean};
use crate::server::app::App;
use crate::server::problem::{self, Problem};
use crate::server::reply;
use crate::server::shape;
use crate::server::words::{Nothing, Word, Words};
use crate::storage::Disk;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(retention))
        .routes(routes!(clean))
        .routes(routes!(clean_logs))
        .routes(routes!(segments))
        .routes(routes!(verify))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The policy, and what it costs
#[derive(Serialize, ToSchema)]
#[schema(as = Retention)]
struct Policy {
    /// How many bytes of disk the ledger may take
    max_bytes: Option<u64>,
    allocated_bytes: u64,
    days_until_full: Option<u64>,
    classes: Vec<Class>,
}

/// A class of records, and what it costs to keep them
#[derive(Serialize, ToSchema)]
struct Class {
    class: &'static str,
    /// For how long they are kept after they were appended; null for ever
    age_seconds: Option<u64>,
    max_bytes: Option<u64>,
    max_records: Option<u64>,
    segments: u64,
    records: u64,
    bytes: u64,
    #[schema(format = DateTime)]
    since: Option<String>,
    bytes_per_day: Option<u64>,
    days_until_full: Option<u64>,
}

impl Policy {
    fn of(report: &RetentionReport) -> Self {
        Self {
            max_bytes: report.max_bytes,
            allocated_bytes: report.allocated_bytes,
            days_until_full: report.full.days(),
            classes: report.classes.iter().map(Class::of).collect(),
        }
    }
}

impl Class {
    fn of(usage: &ClassUsage) -> Self {
        Self {
            class: usage.class.name(),
            age_seconds: usage.limits.term.and_then(Term::duration).map(|age| age.as_secs()),
            max_bytes: usage.limits.max_bytes,
            max_records: usage.limits.max_records,
            segments: usage.segments,
            records: usage.records,
            bytes: usage.bytes,
            since: usage.since.map(|time| time.to_string()),
            bytes_per_day: usage.bytes_per_day,
            days_until_full: usage.full.days(),
        }
    }
}

/// How long records are kept, and what that costs
#[utoipa::path(
    get, path = "/v1/retention", tag = "upkeep", operation_id = "get_retention",
    security(("bearer" = ["cleanup"])),
    responses((status = 200, description = "The policy", body = Policy)),
)]
async fn retention(
    caller: Caller<Clean>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
) -> Result<Response, Problem> {
    let report = caller.tend(|ledger| Ok(ledger.reader().retention(&ledger.retention())?)).await?;
    Ok(reply::value(StatusCode::OK, &Policy::of(&report)))
}

/// What a clean-up drops.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct What {
    /// Only records of this kind
    #[param(value_type = Option<shape::Kind>)]
    kind: Option<Word<Kind>>,
}

/// How old, and whether in earnest.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Old {
    /// What is older than this many days by its own time; without it, what has expired
    days: Option<u32>,
    /// Only runs in this status; it needs `days`
    #[param(value_type = Option<shape::Status>)]
    status: Option<Word<Status>>,
    /// Say what would be dropped, and drop nothing
    dry_run: Option<bool>,
}

impl Old {
    fn cleanup(&self) -> Result<Cleanup, Problem> {
        let missing = || {
            let detail = "days is missing: runs in one status are dropped by their age";
            Problem::new(problem::Kind::Invalid, detail).field("days")
        };
        match (self.days, &self.status) {
            (Some(days), None) => Ok(Cleanup::older_than(DAY.saturating_mul(days))),
            (Some(days), Some(Word(status))) => {
                Ok(Cleanup::older_than(DAY.saturating_mul(days)).status(*status))
            }
            (None, None) => Ok(Cleanup::retention()),
            (None, Some(_)) => Err(missing()),
        }
    }
}

/// What a clean-up did, or would do. Files of many records go as a whole, once all in one are old
/// enough; to take out runs in one status they are written anew without them
#[derive(Serialize, ToSchema)]
struct Cleaned {
    dry_run: bool,
    dropped_segments: usize,
    dropped_records: u64,
    dropped_bytes: u64,
    rewritten_segments: usize,
    /// Records that are left out of those that are written anew
    left_out_records: u64,
    /// Open runs that were appended anew
    carried: u64,
    segments: Vec<Segment>,
}

/// A file of records, and what becomes of it
#[derive(Serialize, ToSchema)]
struct Segment {
    segment: String,
    stream: &'static str,
    records: u64,
    bytes: u64,
    /// `dropped`, `rewritten` or `kept`
    outcome: &'static str,
    /// Why it goes, or what keeps it
    reason: String,
}

impl Cleaned {
    fn of(report: &CleanupReport, dry_run: bool) -> Self {
        Self {
            dry_run,
            dropped_segments: report.dropped().count(),
            dropped_records: report.dropped_records(),
            dropped_bytes: report.dropped_bytes(),
            rewritten_segments: report.rewritten().count(),
            left_out_records: report.rewritten().map(|plan| plan.left_out).sum(),
            carried: report.carried,
            segments: report.segments.iter().map(Segment::of).collect(),
        }
    }
}

impl Segment {
    fn of(plan: &SegmentPlan) -> Self {
        let kept = plan.kept_for.map(|keep| keep.to_string());
        let (outcome, reason) = match (&plan.dropped_for, &plan.rewritten_for) {
            (Some(why), _) => ("dropped", why.clone()),
            (None, Some(why)) => ("rewritten", why.clone()),
            (None, None) => ("kept", kept.unwrap_or_default()),
        };
        Self {
            segment: plan.segment.clone(),
            stream: plan.stream,
            records: plan.records,
            bytes: plan.bytes,
            outcome,
            reason,
        }
    }
}

/// Drop what has expired, or what is older than so many days
#[utoipa::path(
    post, path = "/v1/retention/cleanup", tag = "upkeep", operation_id = "clean_up",
    params(What, Old), security(("bearer" = ["cleanup"])),
    responses((status = 200, description = "What was dropped", body = Cleaned)),
)]
async fn clean(
    caller: Caller<Clean>,
    Words(what, old): Words<What, Old>,
) -> Result<Response, Problem> {
    let cleanup = match (old.cleanup()?, &what.kind) {
        (_, Some(Word(kind))) if old.status.is_some() && *kind != Kind::Run => {
            let detail = "only runs have a status";
            return Err(Problem::new(problem::Kind::Invalid, detail).field("kind"));
        }
        (cleanup, Some(Word(kind))) => cleanup.kind(*kind),
        (cleanup, None) => cleanup,
    };
    drop_what(caller, cleanup, old.dry_run.unwrap_or(false)).await
}

/// Drop old executions, all or those in one status
#[utoipa::path(
    delete, path = "/logs/cleanup", tag = "replaced systems", operation_id = "clean_up_logs",
    params(Old), security(("bearer" = ["cleanup"])),
    responses((status = 200, description = "What was dropped", body = Cleaned)),
)]
async fn clean_logs(
    caller: Caller<Clean>,
    Words(old, Nothing {}): Words<Old>,
) -> Result<Response, Problem> {
    let cleanup = old.cleanup()?.kind(Kind::Run);
    drop_what(caller, cleanup, old.dry_run.unwrap_or(false)).await
}

async fn drop_what(
    caller: Caller<Clean>,
    cleanup: Cleanup,
    dry_run: bool,
) -> Result<Response, Problem> {
    caller.count_cleanup()?;
    let report = caller.tend(move |ledger| Ok(ledger.cleanup(&cleanup, dry_run)?)).await?;
    Ok(reply::value(StatusCode::OK, &Cleaned::of(&report, dry_run)))
}

/// The streams, and what was lost
#[derive(Serialize, ToSchema)]
struct Segments {
    allocated_bytes: u64,
    streams: Vec<Stream>,
    /// True when something on disk is damaged now
    damaged: bool,
    torn_tails: u64,
    dropped_segments: u64,
    refused_appends: u64,
    damaged_ranges: u64,
    unreadable_segments: u64,
    /// What is wrong with the file of the policy
    policy_problem: Option<String>,
}

/// The files of one class of records
#[derive(Serialize, ToSchema)]
struct Stream {
    stream: &'static str,
    segments: u64,
    sealed: u64,
    records: u64,
    frame_bytes: u64,
    footer_bytes: u64,
    index_memory_bytes: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
}

impl Segments {
    fn of(stats: &Stats) -> Self {
        Self {
            allocated_bytes: stats.allocated_bytes,
            streams: stats.streams.iter().map(Stream::of).collect(),
            damaged: stats.losses.is_damaged(),
            torn_tails: stats.losses.torn_tails,
            dropped_segments: stats.losses.dropped_segments,
            refused_appends: stats.losses.refused_appends,
            damaged_ranges: stats.losses.damaged_ranges,
            unreadable_segments: stats.losses.unreadable_segments,
            policy_problem: stats.policy_problem.clone(),
        }
    }
}

impl Stream {
    fn of(stream: &StreamStats) -> Self {
        Self {
            stream: stream.name,
            segments: stream.segments,
            sealed: stream.sealed,
            records: stream.records,
            frame_bytes: stream.frame_bytes,
            footer_bytes: stream.footer_bytes,
            index_memory_bytes: stream.index_memory,
            first_seq: stream.seqs.map(|(first, _)| first),
            last_seq: stream.seqs.map(|(_, last)| last),
        }
    }
}

/// How large the ledger is, and what it has lost
#[utoipa::path(
    get, path = "/v1/segments", tag = "upkeep", operation_id = "get_segments",
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "The streams", body = Segments)),
)]
async fn segments(
    caller: Caller<Admin>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
) -> Result<Response, Problem> {
    let stats = caller.tend(|ledger| Ok(ledger.reader().stats()?)).await?;
    Ok(reply::value(StatusCode::OK, &Segments::of(&stats)))
}

/// What a verification found
#[derive(Serialize, ToSchema)]
struct Verified {
    damaged: bool,
    segments: u64,
    records: u64,
    bytes: u64,
    findings: Vec<Finding>,
}

/// Something that is not as it was written
#[derive(Serialize, ToSchema)]
struct Finding {
    path: String,
    offset: u64,
    bytes: u64,
    damage: String,
    records_lost: Option<u64>,
    is_damage: bool,
    remedy: &'static str,
}

impl Verified {
    fn of(report: &VerifyReport) -> Self {
        let findings = report.findings.iter().map(|finding| Finding {
            path: finding.path.display().to_string(),
            offset: finding.offset,
            bytes: finding.bytes,
            damage: finding.damage.to_string(),
            records_lost: finding.records_lost,
            is_damage: finding.is_damage,
            remedy: finding.remedy,
        });
        Self {
            damaged: report.is_damaged(),
            segments: report.segments,
            records: report.records,
            bytes: report.bytes,
            findings: findings.collect(),
        }
    }
}

/// Read everything, and compare it with its checksums
#[utoipa::path(
    post, path = "/v1/verify", tag = "upkeep", operation_id = "verify",
    security(("bearer" = ["admin"])),
    responses((status = 200, description = "What was found", body = Verified)),
)]
async fn verify(
    caller: Caller<Admin>,
    Words(Nothing {}, Nothing {}): Words<Nothing>,
) -> Result<Response, Problem> {
    let report = caller.tend(|ledger| Ok(ledger::verify(ledger.dir(), Arc::new(Disk))?)).await?;
    Ok(reply::value(StatusCode::OK, &Verified::of(&report)))
}
