//! The runs of a trace as a waterfall: what began what, how long it took, and which of them the
//! whole waited for.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::model::{Id, Run, Timestamp};
use crate::server::page::chart::{self, Mark, Span};
use crate::server::page::frame::run_place;
use crate::server::page::shown;
use crate::text::human;

/// The deepest indent.
const DEEPEST: usize = 12;

/// A run with its times.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    seq: u64,
    id: String,
    parent: Option<String>,
    name: String,
    status: &'static str,
    begin: Timestamp,
    end: Timestamp,
    is_open: bool,
}

impl Timed {
    pub(super) fn of(seq: u64, run: &Run<'_>, now: Timestamp) -> Self {
        let begin = run.started_at.or(run.created_at).unwrap_or_default();
        let is_open = !run.status.is_terminal();
        let end = if is_open { now } else { run.newest_time().unwrap_or(begin) };
        Self {
            seq,
            id: run.run_id.to_string(),
            parent: run.parent_run_id.as_ref().map(Id::to_string),
            name: shown::clipped(&run.run_type, 80),
            status: shown::of_status(run.status),
            begin,
            end: end.max(begin),
            is_open,
        }
    }
}

/// A row of the waterfall.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) place: String,
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) depth: usize,
    pub(super) offset: String,
    pub(super) duration: String,
    pub(super) x: i64,
    pub(super) width: i64,
    pub(super) is_critical: bool,
    pub(super) is_open: bool,
    /// The marks of each level, as one shape.
    pub(super) ticks: Vec<(&'static str, String)>,
}

/// Runs of a story as a waterfall: all of them, or those of a page.
pub(super) struct Waterfall {
    pub(super) rows: Vec<Row>,
    pub(super) length: String,
    /// Where the quarters of the time are.
    pub(super) marks: [(i64, String); 5],
    pub(super) has_critical: bool,
}

/// The runs by what began them. What has no parent here has none.
struct Tree<'r> {
    runs: &'r [Timed],
    children: HashMap<&'r str, Vec<usize>>,
    roots: Vec<usize>,
}

impl<'r> Tree<'r> {
    fn new(runs: &'r [Timed]) -> Self {
        let known: HashSet<&str> = runs.iter().map(|run| &*run.id).collect();
        let (mut children, mut roots) = (HashMap::<&str, Vec<usize>>::new(), Vec::new());
        for (at, run) in runs.iter().enumerate() {
            match run.parent.as_deref().filter(|parent| known.contains(parent)) {
                Some(parent) => children.entry(parent).or_default().push(at),
                None => roots.push(at),
            }
        }
        Self { runs, children, roots }
    }

    fn children(&self, at: usize) -> &[usize] {
        let id = self.runs.get(at).map(|run| &*run.id).unwrap_or_default();
        self.children.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    fn begin(&self, at: usize) -> Timestamp {
        self.runs.get(at).map(|run| run.begin).unwrap_or_default()
    }

    fn end(&self, at: usize) -> Timestamp {
        self.runs.get(at).map(|run| run.end).unwrap_or_default()
    }

    /// All runs, each below what began it, with how deep it is. Those in a circle come last.
    fn walk(&self) -> Vec<(usize, usize)> {
        let (mut order, mut seen) = (Vec::with_capacity(self.runs.len()), HashSet::new());
        let mut left: Vec<(usize, usize)> = Vec::new();
        let rest = 0..self.runs.len();
        for root in self.roots.iter().copied().chain(rest) {
            left.push((root, 0));
            while let Some((at, depth)) = left.pop() {
                if !seen.insert(at) {
                    continue;
                }
                order.push((at, depth.min(DEEPEST)));
                let mut below = self.children(at).to_vec();
                below.sort_by_key(|child| std::cmp::Reverse(self.begin(*child)));
                left.extend(below.into_iter().map(|child| (child, depth + 1)));
            }
        }
        order
    }

    /// The runs that the whole waited for: from the root that ended last backwards, at each moment
    /// the child that ended last before it.
    fn critical(&self) -> HashSet<usize> {
        let mut critical = HashSet::new();
        let last = self.roots.iter().copied().max_by_key(|root| self.end(*root));
        let mut left: Vec<usize> = last.into_iter().collect();
        while let Some(at) = left.pop() {
            if !critical.insert(at) {
                continue;
            }
            let mut below = self.children(at).to_vec();
            below.sort_by_key(|child| std::cmp::Reverse(self.end(*child)));
            let mut until = self.end(at);
            for child in below {
                if self.begin(child) < until && self.end(child) <= until.max(self.end(at)) {
                    left.push(child);
                    until = self.begin(child);
                }
            }
        }
        critical
    }
}

/// The runs of a story, each below the one that began it, on one time line.
pub(super) struct Layout<'r> {
    tree: Tree<'r>,
    /// The runs from the top, with how deep each is.
    order: Vec<(usize, usize)>,
    critical: HashSet<usize>,
    begin: Timestamp,
    span: Span,
}

impl<'r> Layout<'r> {
    /// Runs, and when something happened in them.
    pub(super) fn new(runs: &'r [Timed], times: impl IntoIterator<Item = Timestamp>) -> Self {
        let times = runs.iter().flat_map(|run| [run.begin, run.end]).chain(times);
        let widened = |known: Option<(Timestamp, Timestamp)>, time: Timestamp| {
            let (begin, end) = known.unwrap_or((time, time));
            Some((begin.min(time), end.max(time)))
        };
        let (begin, end) = times.fold(None, widened).unwrap_or_default();
        let tree = Tree::new(runs);
        let (order, critical) = (tree.walk(), tree.critical());
        Self { tree, order, critical, begin, span: Span::new(begin, end) }
    }

    fn run(&self, place: usize) -> Option<&'r Timed> {
        self.tree.runs.get(self.order.get(place)?.0)
    }

    /// How many runs there are.
    pub(super) const fn len(&self) -> usize {
        self.order.len()
    }

    /// Where the run with this id is, counted from the top.
    pub(super) fn place_of(&self, id: &str) -> Option<usize> {
        (0..self.order.len()).find(|place| self.run(*place).is_some_and(|run| run.id == id))
    }

    /// The sequence number of a run.
    pub(super) fn seq(&self, place: usize) -> Option<u64> {
        self.run(place).map(|run| run.seq)
    }

    /// The ids of these runs.
    pub(super) fn ids(&self, places: Range<usize>) -> impl Iterator<Item = &'r str> {
        places.filter_map(|place| self.run(place)).map(|run| &*run.id)
    }

    /// These runs, with the marks of what happened in the run at each address.
    pub(super) fn waterfall(
        &self,
        places: Range<usize>,
        marks: &HashMap<String, Vec<Mark>>,
    ) -> Waterfall {
        let row = |(at, depth): &(usize, usize)| {
            let run = self.tree.runs.get(*at)?;
            let x = self.span.place(run.begin).min(chart::WIDTH - 4);
            let place = run_place(&run.id);
            let own = marks.get(&place).map(Vec::as_slice).unwrap_or_default();
            Some(Row {
                seq: run.seq,
                name: run.name.clone(),
                status: run.status,
                depth: *depth,
                offset: shown::offset(run.begin.nanos_since(self.begin)),
                duration: human::duration(run.end.nanos_since(run.begin)),
                x,
                width: (self.span.place(run.end) - x).max(4),
                is_critical: self.critical.contains(at),
                is_open: run.is_open,
                ticks: chart::shapes(self.span, own),
                place,
            })
        };
        let mark = |quarter: i64| {
            let nanos = i128::from(self.span.nanos()) * i128::from(quarter) / 4;
            (quarter * chart::WIDTH / 4, shown::offset(i64::try_from(nanos).unwrap_or(i64::MAX)))
        };
        Waterfall {
            has_critical: self.order.len() > 1 && !self.tree.children.is_empty(),
            rows: self.order.get(places).unwrap_or_default().iter().filter_map(row).collect(),
            length: human::duration(self.span.nanos()),
            marks: [0, 1, 2, 3, 4].map(mark),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Status;

    fn run(seq: u64, id: &str, parent: Option<&str>, from: i64, to: i64) -> Timed {
        let at = Timestamp::from_nanos;
        let mut run = Run::new(id.to_owned(), id.to_owned(), Status::Success).unwrap();
        run.parent_run_id = parent.map(|parent| Id::new(parent.to_owned()).unwrap());
        run.created_at = Some(at(from));
        run.finished_at = Some(at(to));
        Timed::of(seq, &run, at(1000))
    }

    fn laid_out(runs: &[Timed]) -> Waterfall {
        Layout::new(runs, []).waterfall(0..runs.len(), &HashMap::new())
    }

    fn told(waterfall: &Waterfall) -> Vec<(&str, usize, bool)> {
        waterfall.rows.iter().map(|row| (&*row.name, row.depth, row.is_critical)).collect()
    }

    #[test]
    fn the_whole_waits_for_the_last_of_each_moment() {
        let runs = [
            run(1, "root", None, 0, 100),
            run(2, "fast", Some("root"), 5, 20),
            run(3, "slow", Some("root"), 5, 60),
            run(4, "last", Some("root"), 60, 95),
            run(5, "inner", Some("slow"), 10, 50),
        ];
        let waterfall = laid_out(&runs);
        assert_eq!(
            told(&waterfall),
            [
                ("root", 0, true),
                ("slow", 1, true),
                ("inner", 2, true),
                ("fast", 1, false),
                ("last", 1, true),
            ]
        );
        assert_eq!((waterfall.rows[4].x, waterfall.rows[4].width), (600, 350));
    }

    #[test]
    fn circles_and_strangers_end() {
        let runs = [
            run(1, "a", Some("b"), 0, 10),
            run(2, "b", Some("a"), 0, 10),
            run(3, "own", Some("own"), 0, 10),
            run(4, "orphan", Some("gone"), 0, 10),
        ];
        let waterfall = laid_out(&runs);
        assert_eq!(waterfall.rows.len(), 4);
        assert_eq!(waterfall.rows[0].name, "orphan");
        assert!(laid_out(&[]).rows.is_empty());
    }

    /// What the whole waited for is found among all runs, whichever of them are shown.
    #[test]
    fn a_part_is_cut_out_of_the_whole() {
        let runs = [
            run(1, "root", None, 0, 100),
            run(2, "one", Some("root"), 0, 40),
            run(3, "two", Some("root"), 40, 90),
            run(4, "three", Some("root"), 50, 60),
        ];
        let layout = Layout::new(&runs, [Timestamp::from_nanos(200)]);
        let part = layout.waterfall(2..4, &HashMap::new());
        assert_eq!(told(&part), [("two", 1, true), ("three", 1, false)]);
        assert_eq!((part.rows[0].x, part.rows[0].width, part.has_critical), (200, 250, true));
        assert_eq!((layout.place_of("three"), layout.place_of("four")), (Some(3), None));
        assert_eq!((layout.seq(2), layout.seq(9)), (Some(3), None));
        assert_eq!(layout.ids(1..9).collect::<Vec<_>>(), ["one", "two", "three"]);
    }
}
