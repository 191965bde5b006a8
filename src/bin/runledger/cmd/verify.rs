use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use runledger::storage::Disk;
use runledger::{Finding, VerifyReport, verify};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Screen, Shape, human, json};
use crate::progress;

/// Check every byte of the ledger
///
/// All is compared with its checksums, indexes and hashes. Nothing is changed, and a writer may be
/// at work meanwhile. The exit code is 3 when something is damaged; what a crash tore off at the
/// end is named and is no damage.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
    /// Shape of the output; JSON is one object with all findings
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// The width of the text below a place.
const WIDTH: usize = 76;

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let report = progress::during("verifying", || verify(ctx.dir(), Arc::new(Disk)))?;
    let damaged = report.is_damaged();
    if damaged || !args.quiet {
        let mut out = BufWriter::new(io::stdout().lock());
        match args.output {
            Shape::Json => json::line(&Report::of(&report), &Screen::stdout(ctx), &mut out)?,
            Shape::Table => print(&report, &mut out)?,
        }
        out.flush()?;
    }
    Ok(if damaged { Outcome::Damaged } else { Outcome::Done })
}

/// The report as JSON.
#[derive(Serialize)]
struct Report {
    segments: u64,
    records: u64,
    frame_bytes: u64,
    damaged: bool,
    findings: Vec<Place>,
}

/// A finding as JSON.
#[derive(Serialize)]
struct Place {
    path: String,
    offset: u64,
    bytes: u64,
    damage: String,
    cause: Option<String>,
    records_lost: Option<u64>,
    is_damage: bool,
    remedy: &'static str,
}

impl Report {
    fn of(report: &VerifyReport) -> Self {
        let place = |finding: &Finding| Place {
            path: finding.path.display().to_string(),
            offset: finding.offset,
            bytes: finding.bytes,
            damage: finding.damage.to_string(),
            cause: finding.cause.clone(),
            records_lost: finding.records_lost.filter(|_| finding.is_damage),
            is_damage: finding.is_damage,
            remedy: finding.remedy,
        };
        Self {
            segments: report.segments,
            records: report.records,
            frame_bytes: report.bytes,
            damaged: report.is_damaged(),
            findings: report.findings.iter().map(place).collect(),
        }
    }
}

fn print(report: &VerifyReport, out: &mut impl Write) -> io::Result<()> {
    for finding in &report.findings {
        print_finding(finding, out)?;
    }
    let damaged = report.findings.iter().filter(|finding| finding.is_damage).count();
    let verdict = match damaged {
        0 => "all whole".to_owned(),
        damaged => human::plural(damaged as u64, "damaged place"),
    };
    writeln!(
        out,
        "{}, {}, {} of frames: {verdict}",
        human::plural(report.segments, "segment"),
        human::plural(report.records, "record"),
        human::bytes(report.bytes),
    )
}

/// The place, then what is wrong, what it costs and what to do, in lines of their own.
fn print_finding(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let (path, offset) = (finding.path.display(), finding.offset);
    writeln!(out, "{path}: offset {offset}, {}", human::plural(finding.bytes, "byte"))?;
    let cause = finding.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let lost = match (finding.records_lost, finding.is_damage) {
        (_, false) => "no damage".to_owned(),
        (Some(0), true) => "no record is lost".to_owned(),
        (Some(records), true) => format!("{} lost", human::plural(records, "record")),
        (None, true) => "how many records are lost cannot be told".to_owned(),
    };
    for text in [format!("{}{cause}; {lost}", finding.damage), finding.remedy.to_owned()] {
        human::wrapped(&text, WIDTH).iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    Ok(())
}
