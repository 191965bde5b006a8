//! Bringing the catalog up to date with the directory, where a writer may be at work.
//!
//! First all streams are looked at, and nothing of that is shown: those of runs as of one time, as
//! the states of a run may lie in several, and the notes last, so that what is gone is on record.
//! Then what the new states have overtaken is marked, and only then are they shown: nobody sees
//! two states of a run as its newest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::error::Result;
use crate::ledger::catalog::{Catalog, Unreadable, is_of_one_file};
use crate::ledger::classes::{AUDIT_STREAM, RUN_STREAMS, STREAM_KINDS};
use crate::segment::{Followed, Name, Segment};
use crate::storage::OpenMode;

/// How often a stream is looked at while segments vanish under the look: a clean-up that drops
/// thousands takes that long.
const LOOKS: usize = 100;

/// What is there of a stream.
#[derive(Debug, Default)]
struct Look {
    stream: usize,
    current: Vec<Arc<Segment>>,
    /// The segments that show more than before.
    new: BTreeMap<Name, New>,
    unreadable: Vec<Unreadable>,
    /// False when segments vanished during the look: a listing takes a while, and so does opening.
    /// What was seen then may have gaps, as there never were.
    is_whole: bool,
}

/// A segment that is to show more than before. It shows none of it before all streams were looked
/// at, and what it takes the place of was marked.
#[derive(Debug)]
struct New {
    segment: Arc<Segment>,
    found: Followed,
}

impl New {
    /// True when no later look finds more in it.
    fn is_sealed(&self) -> bool {
        self.found.has_footer() || self.segment.is_sealed()
    }
}

impl Catalog {
    /// Brings the catalog up to date with the directory: new segments are opened, known ones that
    /// are still written are followed, and those that are gone are forgotten.
    ///
    /// # Errors
    /// [`Error::NewerFormat`](crate::Error::NewerFormat) or [`Error::Io`](crate::Error::Io). A
    /// damaged segment is no error: it is noted.
    pub(super) fn refresh(&self, mode: OpenMode) -> Result<()> {
        // Held to the end: of two that look at once, the later look must not be undone.
        let mut noted = self.unreadable_now();
        let mut unreadable = Vec::new();
        let there = self.directories()?.or(self.in_use());
        let (mut of_runs, mut others) = (Vec::new(), Vec::new());
        for stream in there.without(AUDIT_STREAM) {
            let look = self.look_until_whole(self.known(stream), mode)?;
            if RUN_STREAMS.contains(stream) { of_runs.push(look) } else { others.push(look) }
        }
        let last = self.look_at_one_time(&mut of_runs, mode)?;
        // Last, as what goes is noted before: the note is seen when the segment is not.
        others.push(self.look_until_whole(self.known(AUDIT_STREAM), mode)?);
        for looks in others.into_iter().map(|look| vec![look]).chain([of_runs]) {
            let found = self.take_in(looks, last)?;
            unreadable.extend(found);
        }
        unreadable.sort_by_key(|it: &Unreadable| it.stream);
        *noted = unreadable;
        Ok(())
    }

    /// What is known of a stream before it is looked at.
    fn known(&self, stream: usize) -> Look {
        let current = self.stream(stream);
        Look { stream, current, ..Look::default() }
    }

    /// Looks at the streams of runs until what was seen of them is what there was at one time: the
    /// states of a run may lie in several. Gives the last sequence number of that time.
    ///
    /// States are written in the order of their numbers. So whatever was there up to the last
    /// number of one look is seen by the next look at all of them. And they are taken out, the
    /// oldest first, by segments that go or take the place of others: a look that sees none of that
    /// is of one time.
    fn look_at_one_time(&self, looks: &mut [Look], mode: OpenMode) -> Result<u64> {
        // Nobody else writes while this one is to.
        if mode == OpenMode::Write || looks.len() < 2 {
            return Ok(u64::MAX);
        }
        for _ in 0..LOOKS {
            let last = looks.iter().map(Look::last_seq).max().unwrap_or(0);
            let mut is_steady = true;
            for look in looks.iter_mut() {
                let before = look.names();
                *look = self.look_until_whole(std::mem::take(look), mode)?;
                let now = look.names();
                is_steady &= before.is_subset(&now)
                    && now.difference(&before).all(|name| !name.is_compacted());
            }
            // A footer tells nothing of the time before its segment was sealed.
            let is_beyond = |new: &New| new.found.last_seq > last && new.is_sealed();
            if is_steady && !looks.iter().flat_map(|look| look.new.values()).any(is_beyond) {
                return Ok(last);
            }
        }
        Ok(u64::MAX)
    }

    fn look_until_whole(&self, known: Look, mode: OpenMode) -> Result<Look> {
        let mut look = known;
        for _ in 0..LOOKS {
            look = self.look(look, mode)?;
            if look.is_whole {
                break;
            }
        }
        Ok(look)
    }

    /// Looks at a stream of which this is known.
    fn look(&self, known: Look, mode: OpenMode) -> Result<Look> {
        let stream = known.stream;
        let Some((name, kind)) = STREAM_KINDS.get(stream) else {
            return Ok(Look { is_whole: true, ..known });
        };
        let dir = self.layout.stream(name);
        let Look { current: before, mut new, .. } = known;
        let mut look = Look { stream, is_whole: true, ..Look::default() };
        let listed = self.list_segments(&dir)?;
        let mut left = VecDeque::from(standing(&listed));
        while let Some(file) = left.pop_front() {
            let path = dir.join(file.to_string());
            let at = before.binary_search_by_key(&file.first_seq, |segment| segment.first_seq());
            let at_hand = at.ok().and_then(|at| before.get(at));
            match at_hand.filter(|segment| segment.name() == file) {
                Some(segment)
                    if segment.is_sealed() || new.get(&file).is_some_and(New::is_sealed) =>
                {
                    look.new.extend(new.remove(&file).map(|new| (file, new)));
                    look.current.push(Arc::clone(segment));
                }
                Some(segment) => {
                    let found = segment.follow()?;
                    look.push(file, Arc::clone(segment), found);
                }
                None => match self.open_segment(&path, *kind, name, mode) {
                    Ok(segment) => {
                        let found = Followed::up_to(segment.last_seq());
                        look.push(file, Arc::new(segment), found);
                    }
                    // Retention may have removed it since the listing.
                    Err(_) if !self.storage.exists(&path)? => look.is_whole = false,
                    Err(reason) if is_of_one_file(&reason) => {
                        let (reason, first_seq) = (Arc::new(reason), file.first_seq);
                        look.unreadable.push(Unreadable { path, stream, first_seq, reason });
                        // Those whose place it took may still be there.
                        let replaced = listed.iter().copied().filter(|other| file.replaces(other));
                        for other in standing(&replaced.collect::<Vec<_>>()).into_iter().rev() {
                            left.push_front(other);
                        }
                    }
                    Err(err) => return Err(err),
                },
            }
        }
        let is_steady = before.iter().all(|known| listed.binary_search(&known.name()).is_ok());
        if look.is_whole && (before.is_empty() || !is_steady) {
            // What was added at the end meanwhile is for the next look; what else has changed was
            // perhaps seen in part, and a compacted segment not at all.
            look.is_whole = self.list_segments(&dir)?.starts_with(&listed);
        }
        Ok(look)
    }

    /// Has the catalog show what was seen of one stream, or of all those of runs, up to this
    /// sequence number; gives what cannot be read of it.
    fn take_in(&self, looks: Vec<Look>, until: u64) -> Result<Vec<Unreadable>> {
        let of_runs = looks.iter().any(|look| RUN_STREAMS.contains(look.stream));
        let mut are_others = false;
        if of_runs {
            let runs = || RUN_STREAMS.flat_map(|stream| self.stream(stream));
            let seen = runs().map(|segment| segment.last_seq()).max().unwrap_or(0);
            let late = looks.iter().flat_map(|look| self.late(look, seen)).collect();
            let next = seen.saturating_add(1);
            let of_late = mark_overtaken(&looks, next, &late)?;
            let known: BTreeSet<Name> = runs().map(|segment| segment.name()).collect();
            // What is found later is not marked in segments that are gone by then.
            are_others = known != looks.iter().flat_map(Look::names).collect::<BTreeSet<_>>();
            if are_others {
                let first = late.first().map_or(next, |name| name.first_seq);
                self.end_lists_of_runs(first);
            }
            for (late, seq, by) in of_late {
                mark(&looks, &late, seq, by, &|_| true);
            }
        }
        let mut unreadable = Vec::new();
        for look in looks {
            let until = if of_runs { until } else { u64::MAX };
            look.new.into_values().for_each(|new| new.segment.show(new.found, until));
            self.renew(look.stream, look.current);
            unreadable.extend(look.unreadable);
        }
        if are_others {
            self.go_on_with_lists_of_runs();
        }
        Ok(unreadable)
    }

    /// The segments that were found only now, although what follows them was seen before: they
    /// could not be read then.
    fn late(&self, look: &Look, seen: u64) -> Vec<Name> {
        let known = self.stream(look.stream);
        let is_known = |name: &Name| {
            known.iter().map(|it| it.name()).any(|other| *name == other || name.replaces(&other))
        };
        let new = look.new.keys().copied();
        new.filter(|name| name.first_seq <= seen && !is_known(name)).collect()
    }
}

impl Look {
    fn push(&mut self, name: Name, segment: Arc<Segment>, found: Followed) {
        self.current.push(Arc::clone(&segment));
        self.new.insert(name, New { segment, found });
    }

    fn names(&self) -> BTreeSet<Name> {
        self.current.iter().map(|segment| segment.name()).collect()
    }

    fn last_seq(&self) -> u64 {
        let known = self.current.last().map_or(0, |segment| segment.last_seq());
        self.new.values().map(|new| new.found.last_seq).max().unwrap_or(0).max(known)
    }
}

/// Those of these names, which are in their order, that no other takes the place of.
pub(super) fn standing(names: &[Name]) -> Vec<Name> {
    let mut standing: Vec<Name> = Vec::with_capacity(names.len());
    for name in names {
        // What takes the place of several may come after the first of them.
        while standing.pop_if(|last| name.replaces(last)).is_some() {}
        if standing.last().is_none_or(|last| !last.replaces(name)) {
            standing.push(*name);
        }
    }
    standing
}

/// Marks the records of runs whose place is taken by others of other segments, where one of the two
/// is new. `next` is above all numbers that were seen before. Gives what is overtaken by those that
/// come `late`: it is to be marked once no query looks without them.
fn mark_overtaken(
    looks: &[Look],
    next: u64,
    late: &BTreeSet<Name>,
) -> Result<Vec<(Arc<Segment>, u64, u64)>> {
    let mut of_late = Vec::new();
    for (name, new) in looks.iter().flat_map(|look| &look.new) {
        for (seq, by) in new.segment.supersedes()? {
            if late.contains(name) {
                of_late.push((Arc::clone(&new.segment), seq, by.unwrap_or(name.first_seq)));
                continue;
            }
            // Where it is not known by which one, it is one that was not seen before.
            mark(looks, &new.segment, seq, by.unwrap_or(next), &|_| true);
        }
    }
    // Of a segment that took the place of others all is new, also what was known of those. Of one
    // that comes late nothing was known.
    let is_anew = |name: &Name| name.is_compacted() || late.contains(name);
    let is_new = |it: &Segment| {
        let name = it.name();
        is_anew(&name) && looks.iter().any(|look| look.new.contains_key(&name))
    };
    if looks.iter().flat_map(|look| look.new.keys()).any(is_anew) {
        for segment in looks.iter().flat_map(|look| &look.current) {
            for (seq, by) in segment.supersedes()? {
                mark(looks, segment, seq, by.unwrap_or(segment.first_seq()), &is_new);
            }
        }
    }
    Ok(of_late)
}

/// Marks a record of a run as overtaken by one in the segment `by_one_of`, in each of the other
/// segments that may hold it. One that does not hold it makes nothing of it.
fn mark(
    looks: &[Look],
    by_one_of: &Arc<Segment>,
    seq: u64,
    by: u64,
    is_wanted: &dyn Fn(&Segment) -> bool,
) {
    for look in looks {
        let after = look.current.partition_point(|segment| segment.first_seq() <= seq);
        let holder = after.checked_sub(1).and_then(|at| look.current.get(at));
        let Some(holder) = holder.filter(|holder| !Arc::ptr_eq(holder, by_one_of)) else {
            continue;
        };
        if is_wanted(holder) && holder.sealed_span().is_none_or(|span| seq <= span.last_seq) {
            holder.mark_superseded(seq, by);
        }
    }
}
