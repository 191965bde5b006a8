use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::error::Result;
use crate::format::footer::head;
use crate::format::key;
use crate::index::Lanes;
use crate::model::{Field, Kind};
use crate::query::filter::{Filter, Wanted, only_field};
use crate::query::key_filters::KeyFilters;
use crate::segment::{Segment, Span};
use crate::storage::prefetch;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A look-up that searches no more segments than this in vain brings no filter into use.
const FEW: usize = 2;

/// How many keys a look-up enters into the filters at the most, unless one segment has more: about
/// a millisecond's work.
const MOST_KEYS_ENTERED: usize = 1 << 15;

/// The place of a segment that is gone.
const NOWHERE: u32 = u32::MAX;

/// So many lanes may be those of segments that are gone, besides as many as are of others.
const SPARE_LANES: usize = 64;

/// The segments of one stream as they were at one time, in the order of their sequence numbers.
///
/// Beside them stands what is known of the keys that they hold: segments that were searched in vain
/// are entered into a filter, and need not be looked at the next time.
#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentList {
    entries: Vec<Entry>,
    filters: Arc<KeyFilters>,
    /// The place of the segment of each lane, and of none for one that is gone.
    by_lane: Vec<u32>,
    ends: Ends,
    kind: Option<Kind>,
    /// Up to where queries saw what was in the list before: what was overtaken by then stays so
    /// when the segment is gone that holds what overtook it.
    seen: u64,
}

/// The first sequence number that may lie in a segment which lists of its time do not have: the
/// streams of runs have one in common, as the states of a run may lie in several of them.
#[derive(Debug, Clone)]
pub(crate) struct Ends(Arc<AtomicU64>);

impl Default for Ends {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Ends {
    /// Notes a segment that was made. Nothing of it is published yet.
    pub(crate) fn note(&self, first_seq: u64) {
        self.0.fetch_min(first_seq, Ordering::AcqRel);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A segment, and what tells without touching it whether it may hold an answer.
///
/// It is as long as a line of the processor's cache, and lies in one.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Entry {
    pub(crate) segment: Arc<Segment>,
    first_seq: u64,
    /// Its lane in the filters.
    lane: u32,
    /// What it spans, once it is sealed.
    span: OnceLock<Span>,
}

impl Entry {
    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// What it spans; `None` while it is written, or has no valid footer.
    pub(super) fn span(&self) -> Option<Span> {
        self.span.get().copied().or_else(|| {
            let span = self.segment.sealed_span()?;
            Some(*self.span.get_or_init(|| span))
        })
    }
}

impl SegmentList {
    /// These segments, which are in the order of their sequence numbers. What was known of those
    /// that were in the list before stays known.
    pub(crate) fn renewed(&self, segments: Vec<Arc<Segment>>) -> Self {
        let mut list = Self {
            entries: Vec::with_capacity(segments.len()),
            filters: Arc::clone(&self.filters),
            by_lane: self.by_lane.clone(),
            ends: self.ends.clone(),
            kind: self.kind,
            seen: self.horizon(),
        };
        for segment in segments {
            let known = self.holder_entry(segment.first_seq());
            match known.filter(|known| Arc::ptr_eq(&known.segment, &segment)) {
                Some(known) => list.entries.push(known.clone()),
                None => list.add(segment),
            }
        }
        list.tidy();
        list
    }

    /// Makes the list one of these streams and this time.
    pub(crate) fn set_ends(&mut self, ends: &Ends) {
        self.ends = ends.clone();
    }

    /// Up to where this list and others of its kind show everything.
    pub(crate) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Adds a segment at the end.
    pub(crate) fn push(&mut self, segment: Arc<Segment>) {
        self.add(segment);
        self.tidy();
    }

    fn add(&mut self, segment: Arc<Segment>) {
        let lane = u32::try_from(self.by_lane.len()).unwrap_or(u32::MAX);
        self.by_lane.push(NOWHERE);
        let first_seq = segment.first_seq();
        self.kind = Some(segment.kind());
        self.entries.push(Entry { segment, first_seq, lane, span: OnceLock::new() });
    }

    /// Notes where the segment of each lane is now. When most lanes are of segments that are gone,
    /// what is known is forgotten, and lanes are given anew.
    fn tidy(&mut self) {
        if self.by_lane.len() > 2 * self.entries.len() + SPARE_LANES {
            self.filters = Arc::default();
            self.by_lane.truncate(self.entries.len());
            self.entries.iter_mut().zip(0..).for_each(|(entry, lane)| entry.lane = lane);
        }
        self.by_lane.fill(NOWHERE);
        for (entry, at) in self.entries.iter().zip(0..) {
            if let Some(place) = self.by_lane.get_mut(entry.lane as usize) {
                *place = at;
            }
        }
    }

    /// Takes out the segment that begins with this sequence number.
    pub(crate) fn remove(&mut self, first_seq: u64) {
        self.seen = self.horizon();
        self.entries.retain(|entry| entry.first_seq != first_seq);
        self.tidy();
    }

    pub(crate) fn segments(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        self.entries.iter().map(|entry| &entry.segment)
    }

    /// Which kind the records are of, or were; `None` when there never were segments.
    pub(super) const fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The last sequence number that a query begun now sees.
    pub(super) fn horizon(&self) -> u64 {
        let last_seqs = self.entries.iter().rev().map(|entry| entry.segment.last_seq());
        last_seqs.into_iter().find(|&seq| seq > 0).unwrap_or(0).max(self.seen)
    }

    /// The last sequence number that a query begun now sees in those of these lists that are of
    /// runs: one cut through all, so that a run whose states lie in several is seen once.
    pub(super) fn horizon_of_runs(lists: &[Arc<Self>]) -> u64 {
        let of_runs = || lists.iter().filter(|list| list.kind() == Some(Kind::Run));
        // First what is published, then what is missing: it is noted before it is published.
        let last = of_runs().map(|list| list.horizon()).max().unwrap_or(0);
        let ends = of_runs().map(|list| list.ends.get()).filter(|&end| end < u64::MAX).min();
        ends.map_or(last, |end| last.min(end.saturating_sub(1)))
    }

    /// False for a segment that holds numbers beyond this one and of segments behind it: a file of
    /// another ledger that was put in its place. No later look would see less of it.
    pub(super) fn is_in_order(&self, entry: &Entry, horizon: u64) -> bool {
        let last_seq = entry.span().map_or_else(|| entry.segment.last_seq(), |span| span.last_seq);
        let is_its = |holder: &Entry| holder.lane == entry.lane;
        last_seq <= horizon || self.holder_entry(last_seq).is_some_and(is_its)
    }

    /// True when a segment was made since, in the stream or, for runs, in another one of theirs.
    pub(super) fn is_outdated(&self) -> bool {
        self.ends.get() < u64::MAX
    }

    /// The segment in which a record with this sequence number would lie.
    pub(crate) fn holder(&self, seq: u64) -> Option<&Arc<Segment>> {
        self.holder_entry(seq).map(|entry| &entry.segment)
    }

    fn holder_entry(&self, seq: u64) -> Option<&Entry> {
        let after = self.entries.partition_point(|entry| entry.first_seq <= seq);
        self.entries.get(after.checked_sub(1)?)
    }

    /// Bytes of memory that the filters hold.
    pub(crate) fn filter_memory(&self) -> usize {
        self.filters.memory()
    }

    /// What `find` gives for the last segment for which it gives anything, of those that may hold
    /// the key. `hash` is that of the key with a seed.
    ///
    /// # Errors
    /// The first that `find` gives.
    pub(crate) fn find_from_end<R>(
        &self,
        field: Field,
        hash: impl Fn(u64) -> u64,
        find: impl Fn(&Arc<Segment>) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        // Mostly it is in the last one, or there is no other.
        let Some((last, others)) = self.entries.split_last() else { return Ok(None) };
        let found = find(&last.segment)?;
        if found.is_some() || others.is_empty() {
            return Ok(found);
        }
        let mut without = Lanes::default();
        self.exclude(field, [hash], &mut without);
        let mut in_vain = InVain::default();
        let is_other = |entry: &&Entry| entry.lane != last.lane;
        let mut left: SmallVec<[_; FEW]> = self.entries_but(without).filter(is_other).collect();
        // In the order of lanes they are nearly always in that of their sequence numbers, too.
        left.sort_unstable_by_key(|entry| entry.first_seq);
        for entry in left.into_iter().rev() {
            if let Some(found) = find(&entry.segment)? {
                return Ok(Some(found));
            }
            in_vain.note(self, entry, Some(field));
        }
        in_vain.enter();
        Ok(None)
    }

    /// What tells of the hash of a key, with this seed, whether a segment before the one that
    /// begins with this sequence number may hold it.
    pub(crate) fn may_hold_before(
        &self,
        first_seq: u64,
        field: Field,
        seed: u64,
    ) -> impl Fn(u64) -> bool {
        let filter = self.filters.of(field).map(|filter| filter.read()).filter(|filter| {
            let mut unknown = self.entries_but(filter.entered().clone());
            unknown.all(|entry| entry.first_seq >= first_seq)
        });
        move |hash| filter.as_ref().is_none_or(|filter| filter.may_hold(seed, head(hash)))
    }

    /// Fetches what [`SegmentList::with_keys`] reads for this key.
    pub(super) fn prefetch_rows(&self, Wanted { field, key }: &Wanted) {
        let Some(filter) = self.filters.of(*field).map(|filter| filter.read()) else { return };
        filter.rows(|seed| head(key::hash(seed, key))).for_each(prefetch);
    }

    /// The segments that may hold a key in each field that the filter names, in no order.
    pub(super) fn with_keys(&self, filter: &Filter) -> impl Iterator<Item = &Entry> {
        let mut without = Lanes::default();
        for keys in filter.groups() {
            let Some(field) = only_field(keys) else { continue };
            let hashes = keys.iter().map(|wanted| |seed| key::hash(seed, &wanted.key));
            self.exclude(field, hashes, &mut without);
        }
        self.entries_but(without)
    }

    fn entries_but(&self, without: Lanes) -> impl Iterator<Item = &Entry> {
        let end = u32::try_from(self.by_lane.len()).unwrap_or(u32::MAX);
        let places = without.into_absent(end).filter_map(|lane| self.by_lane.get(lane as usize));
        places.filter_map(|&place| self.entries.get(place as usize))
    }

    /// Adds those segments to `without` that hold no key with one of these hashes.
    fn exclude<H: Fn(u64) -> u64>(
        &self,
        field: Field,
        hashes: impl IntoIterator<Item = H>,
        without: &mut Lanes,
    ) {
        let Some(filter) = self.filters.of(field).map(|filter| filter.read()) else { return };
        if filter.is_empty() {
            return;
        }
        let mut found = Lanes::default();
        hashes.into_iter().for_each(|hash| filter.probe(|seed| head(hash(seed)), &mut found));
        without.add_without(filter.entered(), &found);
    }

    /// Enters a segment that was just sealed into the filters that are in use, so that no look-up
    /// has to. For each run that begins, an append looks in all segments of runs: a segment of
    /// theirs is always entered.
    pub(crate) fn enter_sealed(&self, segment: &Segment) {
        let Some(entry) = self.holder_entry(segment.first_seq()) else { return };
        let is_needed = |field| field == Field::Run && segment.kind() == Kind::Run;
        for &field in Field::ALL {
            if is_needed(field) || self.is_in_use(field) {
                self.enter_keys(entry, field);
            }
        }
    }

    /// True when segments are known by the filter of this field.
    fn is_in_use(&self, field: Field) -> bool {
        self.filters.of(field).is_some_and(|filter| !filter.read().is_empty())
    }

    /// Gives how many keys there were to enter.
    fn enter_keys(&self, entry: &Entry, field: Field) -> usize {
        let Some(filter) = self.filters.of(field) else { return 0 };
        if filter.read().entered().contains(entry.lane) {
            // It only seemed to hold the key.
            return 0;
        }
        let Some((seed, heads)) = entry.segment.key_heads(field) else { return 0 };
        self.filters.enter(field, entry.lane, seed, &heads);
        heads.len().max(1)
    }
}

/// Segments with a footer in which no key of a field was found.
#[derive(Debug, Default)]
pub(super) struct InVain<'a>(Vec<(&'a SegmentList, &'a Entry, Field)>);

impl<'a> InVain<'a> {
    /// Notes a segment in which no key of this field was found, if it is one of many.
    pub(super) fn note(&mut self, list: &'a SegmentList, entry: &'a Entry, field: Option<Field>) {
        if let Some(field) = field.filter(|_| list.entries.len() > FEW && entry.span().is_some()) {
            self.0.push((list, entry, field));
        }
    }

    /// Enters them into the filters that are in use, or into all when they are more than a few.
    pub(super) fn enter(&self) {
        let are_few = self.0.len() <= FEW;
        let mut left = MOST_KEYS_ENTERED;
        for (list, entry, field) in &self.0 {
            if are_few && !list.is_in_use(*field) {
                continue;
            }
            left = left.saturating_sub(list.enter_keys(entry, *field));
            if left == 0 {
                return;
            }
        }
    }
}
