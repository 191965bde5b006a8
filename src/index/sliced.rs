use std::iter;

/// How many rows a key sets its bit in.
const PROBES: u32 = 6;

/// Rows for each key, at the least, and less than twice as many: with [`PROBES`] a key that is not
/// there seems to be in a segment once in 800 times, or less often, until rows are folded.
const ROWS_PER_KEY: usize = 16;

/// No block has fewer rows.
const LEAST_ROWS: usize = 64;

/// The rows of a key lie among so many that are side by side, in one page of memory or a few.
const GROUP_ROWS: u64 = 1 << GROUP_BITS;
const GROUP_BITS: u32 = 9;

const _: () = assert!(PROBES * GROUP_BITS <= u64::BITS, "each row has bits of its own");

/// No row is longer.
const MOST_ROW_BYTES: usize = LINE_BYTES;

/// Bytes of a line of the processor's cache.
const LINE_BYTES: usize = 64;

/// Rows side by side: each lies in one line of the processor's cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([u8; LINE_BYTES]);

impl Line {
    const EMPTY: Self = Self([0; LINE_BYTES]);
}

/// Which of many segments may hold a key: a Bloom filter for each segment, with those of up to 512
/// segments interleaved bit by bit. A row holds the same bit of all of them, so that a look-up
/// reads a few rows however many segments there are.
///
/// A segment is known by its lane, a small number that the caller gives it.
#[derive(Debug)]
pub(crate) struct SlicedFilter {
    blocks: Vec<Block>,
    entered: Lanes,
    /// How many bytes the rows may take. When they would take more, blocks are folded.
    most_bytes: usize,
}

/// The filters of segments that have about as many keys, hashed with one seed.
#[derive(Debug)]
struct Block {
    seed: u64,
    /// How many rows there were before any were folded: what segments join it for.
    full_rows: usize,
    /// How many rows there are, a power of two.
    rows: usize,
    /// Bytes of a row, a power of two.
    row_bytes: usize,
    /// The lane of each bit of a row.
    lanes: Vec<u32>,
    bits: Vec<Line>,
}

/// A set of lanes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes(Vec<u64>);

impl Lanes {
    pub(crate) fn contains(&self, lane: u32) -> bool {
        self.0.get(lane as usize / 64).is_some_and(|word| word & (1 << (lane % 64)) != 0)
    }

    fn insert(&mut self, lane: u32) {
        let at = lane as usize / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            *word |= 1 << (lane % 64);
        }
    }

    /// The lanes below `end` that are not in the set.
    pub(crate) fn into_absent(self, end: u32) -> impl Iterator<Item = u32> {
        let words = self.0.into_iter().chain(iter::repeat(0));
        let firsts = (0..end).step_by(64);
        let absent = firsts.zip(words).flat_map(|(first, word)| {
            let mut left = !word;
            iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(first + bit)
            })
        });
        absent.take_while(move |&lane| lane < end)
    }

    /// Adds the lanes of `these` that are not among `others`.
    pub(crate) fn add_without(&mut self, these: &Self, others: &Self) {
        if self.0.len() < these.0.len() {
            self.0.resize(these.0.len(), 0);
        }
        let others = others.0.iter().copied().chain(iter::repeat(0));
        for ((word, these), others) in self.0.iter_mut().zip(&these.0).zip(others) {
            *word |= these & !others;
        }
    }
}

impl SlicedFilter {
    /// An empty filter, whose rows are not to take more bytes than this.
    pub(crate) const fn new(most_bytes: usize) -> Self {
        Self { blocks: Vec::new(), entered: Lanes(Vec::new()), most_bytes }
    }

    /// True when no segment was entered.
    pub(crate) const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The segments that were entered.
    pub(crate) const fn entered(&self) -> &Lanes {
        &self.entered
    }

    /// Enters a segment: `heads` are the highest 32 bits of the hashes of all its keys. One that
    /// was entered before stays as it is.
    pub(crate) fn enter(&mut self, lane: u32, seed: u64, heads: &[u32]) {
        if self.entered.contains(lane) {
            return;
        }
        let full_rows = (heads.len() * ROWS_PER_KEY).next_power_of_two().max(LEAST_ROWS);
        let has_room =
            |block: &Block| block.lanes.len() < MOST_ROW_BYTES * 8 && block.full_rows == full_rows;
        let place = self.blocks.iter().position(|block| block.seed == seed && has_room(block));
        let place = place.unwrap_or_else(|| {
            let rows = full_rows.min(self.most_bytes.next_power_of_two());
            self.blocks.push(Block::new(seed, full_rows, rows.max(LEAST_ROWS)));
            self.blocks.len() - 1
        });
        if let Some(block) = self.blocks.get_mut(place) {
            block.enter(lane, heads, self.most_bytes);
            self.entered.insert(lane);
        }
        while self.memory() > self.most_bytes && self.fold() {}
    }

    /// Of the segments that were entered, those that may hold the key. `head` gives the highest 32
    /// bits of the key's hash with a seed.
    pub(crate) fn probe(&self, head: impl Fn(u64) -> u32, found: &mut Lanes) {
        let mut last = None;
        for block in &self.blocks {
            let head = match last {
                Some((seed, head)) if seed == block.seed => head,
                _ => head(block.seed),
            };
            last = Some((block.seed, head));
            block.probe(head, found);
        }
    }

    /// Where [`SlicedFilter::probe`] reads for the key.
    pub(crate) fn rows(&self, head: impl Fn(u64) -> u32) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().flat_map(move |block| block.rows_of(head(block.seed)))
    }

    /// False when no segment that was entered holds the key whose hash, with this seed, has these
    /// highest 32 bits.
    pub(crate) fn may_hold(&self, seed: u64, head: u32) -> bool {
        self.blocks.iter().any(|block| block.seed != seed || block.may_hold(head))
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.blocks.iter().map(Block::memory).sum()
    }

    /// Halves the largest block; false when none can be.
    pub(crate) fn fold(&mut self) -> bool {
        let can_be = self.blocks.iter_mut().filter(|block| block.rows > LEAST_ROWS);
        can_be.max_by_key(|block| block.memory()).map(Block::fold).is_some()
    }
}

impl Block {
    fn new(seed: u64, full_rows: usize, rows: usize) -> Self {
        let bits = vec![Line::EMPTY; rows.div_ceil(LINE_BYTES)];
        Self { seed, full_rows, rows, row_bytes: 1, lanes: Vec::new(), bits }
    }

    const fn memory(&self) -> usize {
        self.bits.len() * LINE_BYTES
    }

    fn enter(&mut self, lane: u32, heads: &[u32], most_bytes: usize) {
        let at = self.lanes.len();
        if at == self.row_bytes * 8 {
            // Before, so that it is not too large for a moment either.
            while self.memory() * 2 > most_bytes && self.rows > LEAST_ROWS {
                self.fold();
            }
            self.widen();
        }
        self.lanes.push(lane);
        for &head in heads {
            for row in rows_of(head, self.rows) {
                let byte = row * self.row_bytes + at / 8;
                let line = self.bits.get_mut(byte / LINE_BYTES);
                if let Some(byte) = line.and_then(|line| line.0.get_mut(byte % LINE_BYTES)) {
                    *byte |= 1 << (at % 8);
                }
            }
        }
    }

    /// Makes room for as many segments again.
    fn widen(&mut self) {
        let mut wider = vec![Line::EMPTY; self.bits.len() * 2];
        let rows = self.bits.iter().flat_map(|line| line.0.chunks_exact(self.row_bytes));
        let wider_rows =
            wider.iter_mut().flat_map(|line| line.0.chunks_exact_mut(self.row_bytes * 2));
        for (new, old) in wider_rows.zip(rows) {
            new.iter_mut().zip(old).for_each(|(new, old)| *new = *old);
        }
        self.bits = wider;
        self.row_bytes *= 2;
    }

    /// Lays the upper half of the rows over the lower one: half the memory, and more segments that
    /// seem to hold a key. Those that do still do, as the number of a row is taken modulo theirs.
    fn fold(&mut self) {
        let half = self.bits.len() / 2;
        let (lower, upper) = self.bits.split_at_mut(half);
        for (low, high) in lower.iter_mut().zip(upper) {
            low.0.iter_mut().zip(high.0).for_each(|(low, high)| *low |= high);
        }
        self.bits.truncate(half);
        self.bits.shrink_to_fit();
        self.rows /= 2;
    }

    fn rows_of(&self, head: u32) -> impl Iterator<Item = &[u8]> {
        rows_of(head, self.rows).filter_map(|row| {
            let byte = row * self.row_bytes;
            self.bits.get(byte / LINE_BYTES)?.0.get(byte % LINE_BYTES..)
        })
    }

    fn probe(&self, head: u32, found: &mut Lanes) {
        self.with_common_bits(head, |bits| self.note_lanes(bits, found));
    }

    fn may_hold(&self, head: u32) -> bool {
        self.with_common_bits(head, |bits| bits.iter().any(|&byte| byte != 0))
    }

    /// What `work` makes of the bits that all rows of the key have.
    fn with_common_bits<R>(&self, head: u32, work: impl FnOnce(&[u8]) -> R) -> R {
        // Each width by itself: a row is then read at once, and none waits for the one before it.
        match self.row_bytes {
            1 => work(&self.common_bits::<1>(head)),
            2 => work(&self.common_bits::<2>(head)),
            4 => work(&self.common_bits::<4>(head)),
            8 => work(&self.common_bits::<8>(head)),
            16 => work(&self.common_bits::<16>(head)),
            32 => work(&self.common_bits::<32>(head)),
            _ => work(&self.common_bits::<MOST_ROW_BYTES>(head)),
        }
    }

    fn common_bits<const BYTES: usize>(&self, head: u32) -> [u8; BYTES] {
        let mut all = [u8::MAX; BYTES];
        for row in rows_of(head, self.rows) {
            let line = self.bits.get(row * BYTES / LINE_BYTES);
            let bytes = line.and_then(|line| line.0.as_chunks().0.get(row % (LINE_BYTES / BYTES)));
            let bytes = bytes.unwrap_or(&[0; BYTES]);
            all.iter_mut().zip(bytes).for_each(|(all, byte)| *all &= byte);
        }
        all
    }

    fn note_lanes(&self, bits: &[u8], found: &mut Lanes) {
        for (lanes, &byte) in self.lanes.chunks(8).zip(bits) {
            let mut left = byte;
            while left != 0 {
                if let Some(&lane) = lanes.get(left.trailing_zeros() as usize) {
                    found.insert(lane);
                }
                left &= left - 1;
            }
        }
    }
}

/// The rows that a key sets its bit in.
fn rows_of(head: u32, rows: usize) -> impl Iterator<Item = usize> {
    // Each by bits of its own. Rows at equal steps are those of another key so often that four
    // times as many segments would be searched in vain.
    let mixed = u64::from(head).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let group = (mixed >> 32) & !(GROUP_ROWS - 1);
    let spread = (mixed ^ (mixed >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (1..=PROBES).map(move |probe| {
        let within = (spread >> (u64::BITS - GROUP_BITS * probe)) % GROUP_ROWS;
        usize::try_from(group | within).unwrap_or_default() & (rows - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of a segment, all different from those of others.
    fn heads(segment: u32, count: u32) -> Vec<u32> {
        (0..count).map(|key| mix(segment * 1_000_000 + key)).collect()
    }

    fn mix(value: u32) -> u32 {
        let wide = u64::from(value + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((wide ^ (wide >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    }

    fn found(filter: &SlicedFilter, head: u32, segments: u32) -> Vec<u32> {
        let mut lanes = Lanes::default();
        filter.probe(|seed| head ^ u32::try_from(seed).unwrap(), &mut lanes);
        (0..segments).filter(|&lane| lanes.contains(lane)).collect()
    }

    /// A filter with segments of many sizes and of two seeds.
    fn filled(segments: u32, keys: impl Fn(u32) -> u32, most_bytes: usize) -> SlicedFilter {
        let mut filter = SlicedFilter::new(most_bytes);
        for segment in 0..segments {
            let seed = u32::from(segment.is_multiple_of(17));
            let heads: Vec<_> =
                heads(segment, keys(segment)).iter().map(|head| head ^ seed).collect();
            filter.enter(segment, seed.into(), &heads);
            filter.enter(segment, seed.into(), &[]);
        }
        filter
    }

    #[test]
    fn every_key_is_found_and_few_others_are() {
        let keys = |segment: u32| 1 + (segment % 5) * 150;
        let filter = filled(1200, keys, usize::MAX >> 1);
        let (mut false_ones, mut asked) = (0, 0);
        for segment in 0..1200 {
            for head in heads(segment, keys(segment)).into_iter().step_by(37) {
                let lanes = found(&filter, head, 1200);
                assert!(lanes.contains(&segment));
                (false_ones, asked) = (false_ones + lanes.len() - 1, asked + 1);
            }
        }
        // A five thousandth of the segments, and so one every fourth look-up.
        assert!(false_ones < asked * 3 / 10, "{false_ones} in {asked}");
        assert!(!filter.entered().contains(1200) && filter.entered().contains(1199));
    }

    #[test]
    fn a_key_that_no_segment_holds_is_mostly_known_for_one() {
        let mut filter = SlicedFilter::new(usize::MAX >> 1);
        assert!(!filter.may_hold(0, 7));
        // Of one size and then of another: two blocks, the first of which becomes full.
        for segment in 0..600 {
            filter.enter(segment, 0, &heads(segment, if segment < 590 { 100 } else { 900 }));
            let absent = heads(4000, 100).into_iter().filter(|&head| filter.may_hold(0, head));
            assert!(absent.count() <= 20, "beside {segment}");
        }
        for segment in (0..600).step_by(11) {
            assert!(heads(segment, 100).into_iter().all(|head| filter.may_hold(0, head)));
        }
        // What those with another seed hold is not known.
        assert!(heads(4000, 100).into_iter().all(|head| filter.may_hold(1, head)));
    }

    #[test]
    fn memory_is_bounded_and_no_key_is_lost() {
        for most_bytes in [0, 4 << 10, 64 << 10, 512 << 10] {
            let keys = |segment: u32| if segment.is_multiple_of(50) { 20_000 } else { 200 };
            let filter = filled(600, keys, most_bytes);
            // Blocks of the fewest rows are left when all are folded.
            let least = filter.blocks.len() * LEAST_ROWS * MOST_ROW_BYTES;
            assert!(filter.memory() <= most_bytes.max(least), "{} bytes", filter.memory());
            for segment in (0..600).step_by(7) {
                for head in heads(segment, keys(segment)).into_iter().step_by(31) {
                    assert!(found(&filter, head, 600).contains(&segment), "at {most_bytes}");
                }
            }
        }
    }

    #[test]
    fn lanes_are_a_set() {
        let mut these = Lanes::default();
        [0, 63, 64, 500].into_iter().for_each(|lane| these.insert(lane));
        let mut others = Lanes::default();
        [63, 70].into_iter().for_each(|lane| others.insert(lane));
        let mut left = Lanes::default();
        left.add_without(&these, &others);
        let left: Vec<_> = (0..600).filter(|&lane| left.contains(lane)).collect();
        assert_eq!(left, [0, 64, 500]);
        for end in [0, 1, 64, 65, 500, 600] {
            let absent: Vec<_> = (0..end).filter(|&lane| !these.contains(lane)).collect();
            assert_eq!(these.clone().into_absent(end).collect::<Vec<_>>(), absent);
        }
    }
}
