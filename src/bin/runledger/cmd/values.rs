use std::io::{self, BufWriter};

use runledger::{Field, Kind};

use super::query::{self, Filter};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::counts::{self, Count};
use crate::output::{Format, Screen};

/// List the values of a field with how many records carry each
///
/// Of a run its newest state counts. For the types of error, for instance:
/// runledger values type --kind error
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which field: type, status, severity, trace, run, project, user, subject or fingerprint
    field: Field,
    /// Only records of this kind: run, event or error
    #[arg(long)]
    kind: Option<Kind>,
    #[command(flatten)]
    filter: Filter,
    /// At most this many; all when it is not given
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    /// Shape of the output
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let mut query = args.filter.apply(reader.query(), ctx)?;
    if let Some(kind) = args.kind {
        args.filter.check(kind)?;
        query = query.kind(kind);
    }
    let (counts, outcome) =
        query::answer(query, |query| query.count_by(args.field), |counts| !counts.is_empty())?;
    let counts = counts.into_iter().take(args.limit.unwrap_or(usize::MAX));
    let counts: Vec<_> = counts.map(Count::from).collect();
    let out = BufWriter::new(io::stdout().lock());
    counts::by_value(args.field, &counts, args.output, &Screen::stdout(ctx), out)?;
    query::whole(&reader, outcome)
}
