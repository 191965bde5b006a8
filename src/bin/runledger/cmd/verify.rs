use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use runledger::storage::Disk;
use runledger::{Finding, VerifyReport, verify};

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::human;
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
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let report = progress::during("verifying", || verify(ctx.dir(), Arc::new(Disk)))?;
    let damaged = report.is_damaged();
    if damaged || !args.quiet {
        print(&report)?;
    }
    Ok(if damaged { Outcome::Damaged } else { Outcome::Done })
}

fn print(report: &VerifyReport) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for finding in &report.findings {
        print_finding(finding, &mut out)?;
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
    )?;
    out.flush()
}

fn print_finding(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let lost = match (finding.records_lost, finding.is_damage) {
        (_, false) => String::new(),
        (Some(records), true) => format!(", {} lost", human::plural(records, "record")),
        (None, true) => ", an unknown number of records lost".to_owned(),
    };
    writeln!(
        out,
        "{}: offset {}, {}{lost}: {}\n  {}",
        finding.path.display(),
        finding.offset,
        human::plural(finding.bytes, "byte"),
        finding.damage,
        finding.remedy,
    )
}
