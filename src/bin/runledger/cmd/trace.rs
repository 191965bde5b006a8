use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use runledger::{Body, Id, Kind, Order, Query, Reader, Record, Timestamp};

use super::query::{self, Pages};
use crate::context::Context;
use crate::exit::{Failure, Outcome, say};
use crate::output::records::write_json;
use crate::output::waterfall::Waterfall;
use crate::output::{Screen, Shape};

/// Records of one time that are held to be put in order.
const MOST_TIED: usize = 1000;

/// Records at either end of which one that can be read tells when that was.
const EDGE: usize = 1000;

/// Deepest indent of runs that other runs started.
const DEEPEST: usize = 8;

/// Show everything of a trace, or of a run, in the order of time
///
/// Each line has its distance in time from the first. A run stands once, in its newest state, where
/// it began, with a bar as long as it took; what belongs to it is indented.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A trace id, else a run id
    #[arg(value_name = "TRACE_ID|RUN_ID")]
    id: String,
    /// Shape of the output
    #[arg(short = 'o', long, value_name = "SHAPE", value_enum, default_value_t = Shape::Table)]
    output: Shape,
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let reader = query::open(ctx)?;
    let Some(wanted) = find(&reader, &args.id)? else {
        say(&format!("no trace and no run {:?} in the ledger", args.id));
        return query::whole(&reader, Outcome::Notable);
    };
    query::shown(&reader, show(&wanted, args.output, &Screen::stdout(ctx)))
}

fn show(wanted: &Query, shape: Shape, screen: &Screen) -> Result<Outcome, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut pages = Pages::all(wanted.clone().order(Order::Oldest));
    let seen = match shape {
        Shape::Json => pages.each(|record| Ok(write_json(record, screen, &mut out)?))?,
        Shape::Table => {
            let tree = Tree::new(wanted)?;
            let mut waterfall = Waterfall::new(screen, tree.first, tree.last, &mut out);
            let mut tie = Tie::default();
            let seen = pages.each(|record| {
                if !tie.takes(record) {
                    tie.write(&tree, &mut waterfall)?;
                }
                tie.records.push(record.clone().into_owned());
                Ok(())
            })?;
            tie.write(&tree, &mut waterfall)?;
            waterfall.flush()?;
            seen
        }
    };
    out.flush()?;
    Ok(seen.outcome())
}

/// What is of this trace, else what is of this run; `None` when there is neither.
fn find(reader: &Reader, id: &str) -> Result<Option<Query>, Failure> {
    for wanted in [reader.query().trace(id), reader.query().run(id)] {
        if wanted.count()? > 0 {
            return Ok(Some(wanted));
        }
    }
    Ok(None)
}

/// The runs of a trace: what began what, and from when to when it all went.
struct Tree {
    first: Timestamp,
    last: Timestamp,
    depths: HashMap<String, usize>,
}

impl Tree {
    fn new(wanted: &Query) -> Result<Self, Failure> {
        let mut parents = HashMap::new();
        let edge = |order| -> Result<Option<Timestamp>, Failure> {
            let page = wanted.clone().order(order).limit(EDGE).fetch()?;
            // One that is damaged is named when the records are shown.
            Ok(page.records().find_map(|record| record.ok()?.body.created_at()))
        };
        let first = edge(Order::Oldest)?.unwrap_or_default();
        let mut last = edge(Order::Newest)?.unwrap_or_default();
        Pages::all(wanted.clone().kind(Kind::Run)).each(|record| {
            if let Body::Run(run) = &record.body {
                last = last.max(run.newest_time().unwrap_or(last));
                let parent = run.parent_run_id.as_ref().map(Id::to_string);
                parents.insert(run.run_id.to_string(), parent);
            }
            Ok(())
        })?;
        let depths = parents.keys().map(|id| (id.clone(), depth(id, &parents))).collect();
        Ok(Self { first, last, depths })
    }

    /// How far a record is indented: a run under the run that began it, all else under its run.
    fn depth(&self, record: &Record<'_>) -> usize {
        let run = record.body.run_id().and_then(|id| self.depths.get(&id.to_string()));
        match record.body {
            Body::Run(_) => run.copied().unwrap_or(0),
            _ => run.map_or(0, |depth| depth + 1),
        }
    }
}

/// Records of one time, of which runs come first: what began at that moment before what happened.
#[derive(Default)]
struct Tie {
    records: Vec<Record<'static>>,
}

impl Tie {
    /// True when the record is of the same time as those that are held, and there is room.
    fn takes(&self, record: &Record<'_>) -> bool {
        let same = |held: &Record<'_>| held.body.created_at() == record.body.created_at();
        self.records.len() < MOST_TIED && self.records.first().is_none_or(same)
    }

    fn write<W: Write>(&mut self, tree: &Tree, out: &mut Waterfall<'_, W>) -> io::Result<()> {
        self.records.sort_by_key(|record| (record.body.kind() != Kind::Run, tree.depth(record)));
        self.records.drain(..).try_for_each(|record| out.record(&record, tree.depth(&record)))
    }
}

/// How many runs stand above a run. Bounded, so that a circle of parents ends.
fn depth(id: &str, parents: &HashMap<String, Option<String>>) -> usize {
    let above = |id: &String| {
        let parent = parents.get(id).cloned().flatten();
        parent.filter(|parent| parents.contains_key(parent))
    };
    let first = above(&id.to_owned());
    std::iter::successors(first, above).take(DEEPEST).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_follows_parents_and_ends_in_circles() {
        let chain = [("a", None), ("b", Some("a")), ("c", Some("b"))];
        let circle = [("x", Some("y")), ("y", Some("x"))];
        let named = |(id, above): (&str, Option<&str>)| (id.to_owned(), above.map(str::to_owned));
        let parents = chain.into_iter().chain(circle).map(named).collect();
        assert_eq!(["a", "b", "c"].map(|id| depth(id, &parents)), [0, 1, 2]);
        assert_eq!(depth("x", &parents), DEEPEST);
    }
}
