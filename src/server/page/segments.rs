//! What lies on the disk, how long it stays, and how to make room: first what would go, then a
//! confirmation, then what went.

use std::time::Duration;

use askama::Template;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use crate::ledger::{Cleanup, CleanupReport, Ledger, SegmentPlan, Stats};
use crate::model::{Kind, Status};
use crate::server::access::Failure;
use crate::server::page::frame::{Frame, html};
use crate::server::page::shown::{self, Clock, Moment};
use crate::server::page::visit::Visit;
use crate::server::page::words::Form;
use crate::server::problem::{self, Problem};
use crate::server::words::{Nothing, Word, Words};
use crate::text::human;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many segments are listed one by one, those first that do not stay as they are.
const MOST: usize = 100;

/// What is to go, in the words of the address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// By what: `retention`, or `age`.
    by: Option<String>,
    days: Option<u32>,
    status: Option<Word<Status>>,
    kind: Option<Word<Kind>>,
}

impl Wanted {
    /// `None` when nothing is asked for yet.
    fn cleanup(&self) -> Result<Option<Cleanup>, Problem> {
        let refused = |detail: &'static str, field: &'static str| {
            Err(Problem::new(problem::Kind::Invalid, detail).field(field))
        };
        let kind = self.kind.as_ref().map(|kind| kind.0);
        match (self.by.as_deref(), self.days, &self.status) {
            (None, None, None) => Ok(None),
            (Some("retention"), ..) => Ok(Some(Cleanup::retention())),
            (_, None, _) => refused("say how many days old it is to be", "days"),
            (_, Some(_), Some(_)) if kind.is_some_and(|kind| kind != Kind::Run) => {
                refused("only runs have a status", "kind")
            }
            (_, Some(days), status) => {
                let cleanup = Cleanup::older_than(DAY.saturating_mul(days));
                let cleanup = kind.into_iter().fold(cleanup, Cleanup::kind);
                Ok(Some(status.iter().fold(cleanup, |cleanup, it| cleanup.status(it.0))))
            }
        }
    }

    /// The same in words.
    fn said(&self) -> String {
        if self.by.as_deref() == Some("retention") {
            return "what has expired by the retention".to_owned();
        }
        let what = match (&self.status, &self.kind) {
            (Some(Word(status)), _) => format!("{status} runs"),
            (None, Some(Word(kind))) => format!("{kind}s"),
            (None, None) => "records".to_owned(),
        };
        format!("{what} older than {}", human::plural(self.days.unwrap_or(0).into(), "day"))
    }
}

/// A segment, and what becomes of it.
struct Line {
    segment: String,
    records: String,
    bytes: String,
    from: Option<Moment>,
    to: Option<Moment>,
    outcome: &'static str,
    reason: String,
}

impl Line {
    fn of(plan: &SegmentPlan, clock: &Clock) -> Self {
        let (outcome, reason) = match (&plan.dropped_for, &plan.rewritten_for, plan.kept_for) {
            (Some(why), ..) => ("drop", why.clone()),
            (None, Some(why), _) => ("rewrite", why.clone()),
            (None, None, Some(why)) => ("keep", why.told(|time| clock.moment(time).short)),
            (None, None, None) => ("keep", String::new()),
        };
        Self {
            segment: plan.segment.clone(),
            records: human::count(plan.records),
            bytes: human::bytes(plan.bytes),
            from: plan.times.map(|(first, _)| clock.moment(first)),
            to: plan.times.map(|(_, last)| clock.moment(last)),
            outcome,
            reason,
        }
    }
}

/// What a clean-up did, or would do.
struct Told {
    said: String,
    is_done: bool,
    changes: bool,
    sums: Vec<(&'static str, String)>,
    lines: Vec<Line>,
    more: usize,
}

impl Told {
    fn of(report: &CleanupReport, said: String, is_done: bool, clock: &Clock) -> Self {
        let left_out = report.rewritten().map(|plan| plan.left_out).sum();
        let mut sums = vec![
            ("segments dropped", human::count(report.dropped().count() as u64)),
            ("records dropped", human::count(report.dropped_records())),
            ("disk freed", human::bytes(report.dropped_bytes())),
            ("segments rewritten", human::count(report.rewritten().count() as u64)),
            ("records left out", human::count(left_out)),
            ("open runs carried forward", human::count(report.carried)),
        ];
        if is_done {
            sums.push(("less on disk now", human::bytes(report.freed_bytes)));
        }
        let changes = report.dropped().count() + report.rewritten().count() > 0;
        let stays =
            |plan: &&SegmentPlan| plan.dropped_for.is_none() && plan.rewritten_for.is_none();
        let kept = report.segments.iter().filter(stays);
        let lines = report.dropped().chain(report.rewritten()).chain(kept);
        Self {
            said,
            is_done,
            changes,
            sums,
            lines: lines.take(MOST).map(|plan| Line::of(plan, clock)).collect(),
            more: report.segments.len().saturating_sub(MOST),
        }
    }
}

#[derive(Template)]
#[template(path = "segments.html")]
struct SegmentsPage {
    frame: Frame,
    told: Told,
    /// Set when it is what was asked for, and can be confirmed.
    asked: Option<Wanted>,
    days: String,
    statuses: Vec<&'static str>,
    kinds: Vec<&'static str>,
    losses: Vec<(&'static str, String)>,
    is_damaged: bool,
}

impl SegmentsPage {
    fn is_status(&self, name: &str) -> bool {
        let status = self.asked.as_ref().and_then(|asked| asked.status.as_ref());
        status.is_some_and(|status| status.0.name() == name)
    }

    fn is_kind(&self, name: &str) -> bool {
        let kind = self.asked.as_ref().and_then(|asked| asked.kind.as_ref());
        kind.is_some_and(|kind| kind.0.name() == name)
    }

    fn by_retention(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.by.as_deref() == Some("retention"))
    }
}

/// What the ledger has lost, for who may see that.
fn losses(stats: &Stats) -> Vec<(&'static str, String)> {
    let losses = &stats.losses;
    let all = [
        ("torn tails cut", losses.torn_tails),
        ("segments dropped so far", losses.dropped_segments),
        ("appends refused", losses.refused_appends),
        ("damaged places", losses.damaged_ranges),
        ("segments that cannot be read", losses.unreadable_segments),
    ];
    all.into_iter().map(|(name, count)| (name, human::count(count))).collect()
}

pub(super) async fn page(
    visit: Visit,
    Words(wanted, Nothing {}): Words<Wanted>,
) -> Result<Response, Problem> {
    let cleanup = wanted.cleanup()?;
    show(visit, wanted, cleanup, true).await
}

async fn show(
    visit: Visit,
    wanted: Wanted,
    cleanup: Option<Cleanup>,
    dry_run: bool,
) -> Result<Response, Problem> {
    let clock = visit.clock.clone();
    let said = match cleanup {
        Some(_) => wanted.said(),
        None => "what has expired by the retention".to_owned(),
    };
    let wants = cleanup.is_some();
    let cleanup = cleanup.unwrap_or_else(Cleanup::retention);
    let work = move |ledger: &Ledger| {
        let report = ledger.cleanup(&cleanup, dry_run)?;
        let stats = ledger.reader().stats()?;
        Ok::<_, Failure>((Told::of(&report, said, !dry_run, &clock), stats))
    };
    let (told, stats) = visit.tend(work).await?;
    let sees_all = visit.access.sees_all();
    let kinds = [Kind::Run, Kind::Event, Kind::Error];
    let terminal = Status::ALL.iter().filter(|status| status.is_terminal());
    let page = SegmentsPage {
        frame: visit.frame("Storage", "segments"),
        days: wanted.days.map(|days| days.to_string()).unwrap_or_default(),
        asked: (wants && dry_run).then_some(wanted),
        told,
        statuses: terminal.map(|status| shown::of_status(*status)).collect(),
        kinds: kinds.map(Kind::name).into(),
        losses: if sees_all { losses(&stats) } else { Vec::new() },
        is_damaged: sees_all && stats.losses.is_damaged(),
    };
    html(StatusCode::OK, &page)
}

#[derive(Deserialize)]
pub(super) struct Confirmed {
    form: String,
    by: Option<String>,
    days: Option<u32>,
    status: Option<Word<Status>>,
    kind: Option<Word<Kind>>,
}

/// Does what was shown before.
pub(super) async fn clean(
    visit: Visit,
    headers: HeaderMap,
    Form(confirmed): Form<Confirmed>,
) -> Result<Response, Problem> {
    visit.app.forms().check(&headers, &visit.session, &confirmed.form)?;
    let Confirmed { by, days, status, kind, .. } = confirmed;
    let wanted = Wanted { by, days, status, kind };
    let missing = || Problem::new(problem::Kind::Invalid, "nothing is said of what is to go");
    let cleanup = wanted.cleanup()?.ok_or_else(missing)?;
    visit.app.limits().cleanup(visit.access.name())?;
    show(visit, wanted, Some(cleanup), false).await
}
