use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use runledger::storage::Disk;
use runledger::{Finding, ProofReport, VerifyReport, verify, verify_against};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::{Screen, Shape, escape, human, json};
use crate::progress;
use crate::signature::{self, Signed};

/// Check every byte of the ledger
///
/// All is compared with its checksums, indexes and hashes. Nothing is changed, and a writer may be
/// at work meanwhile. The exit code is 3 when something is damaged; what a crash tore off at the
/// end is named and is no damage.
///
/// By itself that finds damage, and a careless hand. Whoever can make every checksum anew is found
/// by a checkpoint that was stored elsewhere (`runledger checkpoint`): with --against the exit code
/// is 3 as well when something that it vouches for was changed, cut, reordered, removed or made
/// again. What retention, repair and compaction have done since is listed, by the ledger's notes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Say nothing when all is well
    #[arg(short, long)]
    quiet: bool,
    /// Compare the ledger with a checkpoint of it, too
    #[arg(long, value_name = "CHECKPOINT")]
    against: Option<PathBuf>,
    /// Ask that the checkpoint is signed by this Ed25519 key: in hexadecimal, or a file with that
    /// or with PEM
    #[arg(long, value_name = "PUBKEY", requires = "against")]
    key: Option<String>,
    /// Shape of the output; JSON is one object with all findings
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

/// The width of the text below a place.
const WIDTH: usize = 76;

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let against = args.against.as_deref();
    let signed = against.map(|path| signature::read(path, args.key.as_deref())).transpose()?;
    let storage = Arc::new(Disk);
    let proof = progress::during("verifying", || match &signed {
        Some(signed) => verify_against(ctx.dir(), storage, &signed.checkpoint),
        None => verify(ctx.dir(), storage).map(|verified| {
            let mut report = ProofReport::default();
            report.verified = verified;
            report
        }),
    })?;
    let holds = proof.holds() || signed.is_none() && !proof.verified.is_damaged();
    if holds && args.quiet {
        return Ok(Outcome::Done);
    }
    let shown = show(&proof, signed.as_ref(), args.output, &Screen::stdout(ctx));
    if !holds {
        // That is told also to who has read enough.
        return Ok(Outcome::Damaged);
    }
    shown?;
    Ok(Outcome::Done)
}

fn show(
    proof: &ProofReport,
    signed: Option<&Signed>,
    shape: Shape,
    screen: &Screen,
) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match shape {
        Shape::Json => {
            let mut report = Report::of(&proof.verified);
            report.against = signed.map(|signed| Against::of(proof, signed));
            json::line(&report, screen, &mut out)?;
        }
        Shape::Table => {
            print(&proof.verified, &mut out)?;
            if let Some(signed) = signed {
                print_against(proof, signed, screen, &mut out)?;
            }
        }
    }
    out.flush()
}

/// The report as JSON.
#[derive(Serialize)]
struct Report {
    segments: u64,
    records: u64,
    frame_bytes: u64,
    damaged: bool,
    findings: Vec<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

/// What came of the comparison with a checkpoint, as JSON.
#[derive(Serialize)]
struct Against {
    created_at: String,
    signed_by: Option<String>,
    holds: bool,
    findings: Vec<Tampered>,
    on_record: Vec<Noted>,
}

#[derive(Serialize)]
struct Tampered {
    segment: String,
    finding: String,
}

#[derive(Serialize)]
struct Noted {
    seq: u64,
    recorded_at: String,
    message: String,
}

impl Against {
    fn of(proof: &ProofReport, signed: &Signed) -> Self {
        let tampered = proof.findings.iter().map(|finding| Tampered {
            segment: finding.segment.clone(),
            finding: finding.tampering.to_string(),
        });
        let noted = proof.on_record.iter().map(|note| Noted {
            seq: note.seq,
            recorded_at: note.recorded_at.to_string(),
            message: note.message.clone(),
        });
        Self {
            created_at: signed.checkpoint.created_at.to_string(),
            signed_by: signed.signed_by.clone(),
            holds: proof.holds(),
            findings: tampered.collect(),
            on_record: noted.collect(),
        }
    }
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
            against: None,
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

/// What is not as the checkpoint has it, what has changed on record, and the verdict.
fn print_against(
    proof: &ProofReport,
    signed: &Signed,
    screen: &Screen,
    out: &mut impl Write,
) -> io::Result<()> {
    for finding in &proof.findings {
        let place = if finding.segment.is_empty() { "LEDGER" } else { &finding.segment };
        writeln!(out, "{place}:")?;
        let lines = human::wrapped(&finding.tampering.to_string(), WIDTH);
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    if !proof.on_record.is_empty() {
        writeln!(out, "since the checkpoint, by the ledger's own notes:")?;
    }
    for note in &proof.on_record {
        let text = format!("{} {}", screen.time(note.recorded_at), escape::line(&note.message));
        let lines = human::wrapped(&text, WIDTH);
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    let signer = match &signed.signed_by {
        Some(key) => format!("signed by {}", key.get(..16).unwrap_or(key)),
        None => "not signed".to_owned(),
    };
    let time = screen.time(signed.checkpoint.created_at);
    let verdict = if proof.holds() { "holds" } else { "does not hold" };
    writeln!(out, "the checkpoint of {time} ({signer}) {verdict}")
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
