//! Packed columns: sequences of `u64` that are read where they lie.
//!
//! A column is cut into blocks of [`BLOCK`] values. A block holds a line, from which its values are
//! never below, and for each value the distance from it, in as many bits as the largest distance
//! needs. Slope and distances are counted in the column's unit, which divides all differences of
//! its values. Any value is found by one look at the block's entry in the directory and one read of
//! eight bytes; values that rise evenly, as times, numbers and places do, need few bits.

mod encode;

pub use encode::encode;

use std::ops::{ControlFlow, Range};

use crate::error::Damage;
use crate::format::bytes::get;

/// Values in a block; the last block of a column may hold fewer.
pub const BLOCK: usize = 128;

const COUNT_AT: usize = 0;
const UNIT_AT: usize = COUNT_AT + size_of::<u32>();
const HEAD_BYTES: usize = UNIT_AT + size_of::<u64>();

/// What a column begins with.
pub(super) type Head = [u8; HEAD_BYTES];

const BASE_AT: usize = 0;
const PLACE_AT: usize = BASE_AT + size_of::<u64>();
const SLOPE_AT: usize = PLACE_AT + size_of::<u32>();
const SHIFT_AT: usize = SLOPE_AT + size_of::<u16>();
const WIDTH_AT: usize = SHIFT_AT + size_of::<u8>();
const ENTRY_BYTES: usize = WIDTH_AT + size_of::<u8>();

const _: () = assert!(ENTRY_BYTES == 16);

/// Bytes of zeros after the last value, so that every value can be read as eight bytes.
const PADDING: usize = 8;

/// The widest value that eight bytes hold wherever in the first of them it begins. What is wider is
/// stored in [`WHOLE`] bits.
const WIDEST: u32 = 57;
const WHOLE: u32 = 64;

/// What is left of eight bytes for each width.
const MASKS: [u64; WHOLE as usize + 1] = {
    let mut masks = [u64::MAX; WHOLE as usize + 1];
    let mut width = 0;
    while width < WHOLE {
        #[expect(
            clippy::indexing_slicing,
            reason = "the compiler runs this, and checks the bounds"
        )]
        {
            masks[width as usize] = (1 << width) - 1;
        }
        width += 1;
    }
    masks
};

/// Bits of a slope behind its point.
const FRACTION: u32 = 16;
/// By how many bits a slope is shifted at most: a block's line then stays below 2^47.
const MOST_SHIFT: u32 = 40;

/// The unsigned form of a time, in the same order.
#[must_use]
pub const fn from_time(nanos: i64) -> u64 {
    nanos.cast_unsigned() ^ (1 << 63)
}

/// The time whose unsigned form this is.
#[must_use]
pub const fn to_time(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

/// A line through a block, as a slope of 16 bits with its point [`FRACTION`] bits from the right,
/// shifted to the left.
#[derive(Clone, Copy)]
struct Line {
    slope: u16,
    shift: u32,
}

impl Line {
    const FLAT: Self = Self { slope: 0, shift: 0 };

    /// The height of the line over a place in the block.
    #[inline]
    const fn at(self, index: usize) -> u64 {
        (self.slope as u64).wrapping_shl(self.shift).wrapping_mul(index as u64) >> FRACTION
    }
}

/// A packed column, where it lies; empty by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packed<'a> {
    len: usize,
    unit: u64,
    directory: &'a [[u8; ENTRY_BYTES]],
    data: &'a [u8],
}

/// A block of a column: what the directory says of it.
#[derive(Clone, Copy)]
struct Block<'a> {
    base: u64,
    unit: u64,
    line: Line,
    place: usize,
    width: u32,
    data: &'a [u8],
}

impl<'a> Block<'a> {
    /// The eight bytes in which the value at this place in the block begins.
    #[inline]
    fn bytes_at(&self, index: usize) -> Option<&'a [u8; 8]> {
        let bit = index * self.width as usize;
        self.data.get(self.place + bit / 8..)?.first_chunk()
    }

    /// About where values reach `bound`, if they rise: nothing but the directory is read for it.
    fn about(&self, bound: u64) -> usize {
        let steps = bound.wrapping_sub(self.base).checked_div(self.unit).unwrap_or_default();
        let most = MASKS.get(self.width as usize).copied().unwrap_or_default();
        let (steps, rise) = match self.line.at(BLOCK) {
            // Without a line the distances are the values.
            0 => (steps, most),
            // Values lie half as far above the line as the highest, more or less.
            rise => (steps.saturating_sub(most / 2), rise),
        };
        // What does not fit lies behind the block, or the line rises by more than there are values.
        let index = match steps.checked_mul(BLOCK as u64) {
            Some(steps) => steps / rise.max(1),
            None => steps / (rise / BLOCK as u64).max(1),
        };
        usize::try_from(index).unwrap_or(BLOCK)
    }

    /// The value at this place in the block, which must be below [`BLOCK`]. On bytes that were not
    /// checked a place outside of the data reads as `None`.
    #[inline]
    fn get(&self, index: usize) -> Option<u64> {
        let bit = index * self.width as usize;
        let bytes = self.bytes_at(index)?;
        let distance =
            (u64::from_le_bytes(*bytes) >> (bit % 8)) & MASKS.get(self.width as usize)?;
        let steps = self.line.at(index).wrapping_add(distance);
        Some(self.base.wrapping_add(self.unit.wrapping_mul(steps)))
    }
}

impl<'a> Packed<'a> {
    /// Takes the bytes of a column and checks that each of its values lies within them.
    ///
    /// # Errors
    /// [`Damage::Footer`] when one does not.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Damage> {
        let column = Self::with_head(bytes, bytes.first_chunk().ok_or(Damage::Footer)?)?;
        let mut left = column.len;
        for entry in column.directory {
            let block = column.open(entry);
            let bits = left.min(BLOCK) * block.width as usize;
            left = left.saturating_sub(BLOCK);
            let end = block.place.saturating_add(bits.div_ceil(8)).saturating_add(PADDING);
            let is_width = block.width <= WIDEST || block.width == WHOLE;
            if !is_width || block.line.shift > MOST_SHIFT || end > column.data.len() {
                return Err(Damage::Footer);
            }
        }
        Ok(column)
    }

    /// As [`Packed::new`], for bytes that were checked before, and by a copy of what they begin
    /// with: in a time that does not depend on the length, and without reading any. On bytes that
    /// were not checked, values are missing or wrong, and nothing is read that lies outside.
    ///
    /// # Errors
    /// [`Damage::Footer`] when the directory does not fit.
    pub(super) fn with_head(bytes: &'a [u8], head: &Head) -> Result<Self, Damage> {
        let rest = bytes.get(HEAD_BYTES..).ok_or(Damage::Footer)?;
        let len = u32::from_le_bytes(get::<COUNT_AT, _, _>(head));
        let len = usize::try_from(len).map_err(|_| Damage::Footer)?;
        let blocks = len.div_ceil(BLOCK);
        let (directory, data) =
            rest.split_at_checked(blocks.saturating_mul(ENTRY_BYTES)).ok_or(Damage::Footer)?;
        let unit = u64::from_le_bytes(get::<UNIT_AT, _, _>(head));
        Ok(Self { len, unit, directory: directory.as_chunks().0, data })
    }

    /// How many values there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `index`, in a time that does not depend on the length; `None` beyond the end.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u64> {
        if index >= self.len {
            return None;
        }
        self.block(index / BLOCK)?.get(index % BLOCK)
    }

    /// The bytes that the value at `index` is read from.
    #[inline]
    #[must_use]
    pub fn bytes_at(&self, index: usize) -> Option<&'a [u8; 8]> {
        self.block(index / BLOCK)?.bytes_at(index % BLOCK)
    }

    /// What the directory has of the value at `index`.
    #[inline]
    #[must_use]
    pub fn entry_at(&self, index: usize) -> Option<&'a [u8; ENTRY_BYTES]> {
        self.directory.get(index / BLOCK)
    }

    #[inline]
    fn block(&self, number: usize) -> Option<Block<'a>> {
        self.directory.get(number).map(|entry| self.open(entry))
    }

    #[inline]
    fn open(&self, entry: &[u8; ENTRY_BYTES]) -> Block<'a> {
        let place = u32::from_le_bytes(get::<PLACE_AT, _, _>(entry));
        let [shift] = get::<SHIFT_AT, 1, _>(entry);
        let [width] = get::<WIDTH_AT, 1, _>(entry);
        let slope = u16::from_le_bytes(get::<SLOPE_AT, _, _>(entry));
        Block {
            base: u64::from_le_bytes(get::<BASE_AT, _, _>(entry)),
            unit: self.unit,
            line: Line { slope, shift: u32::from(shift) },
            place: place as usize,
            width: u32::from(width),
            data: self.data,
        }
    }

    /// Visits the values of a range from its end to its beginning, until one breaks off.
    #[inline]
    pub fn for_each_back(
        &self,
        range: Range<usize>,
        mut visit: impl FnMut(u64) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut end = range.end.min(self.len);
        while let Some(last) = end.checked_sub(1).filter(|last| *last >= range.start) {
            let Some(block) = self.block(last / BLOCK) else { break };
            let start = last - last % BLOCK;
            for index in (range.start.saturating_sub(start)..=last % BLOCK).rev() {
                if let Some(value) = block.get(index) {
                    visit(value)?;
                }
            }
            end = start;
        }
        ControlFlow::Continue(())
    }

    /// The index of the first value for which `pred` is false, when it is true for all before it
    /// and false for all after; the values must rise or stay.
    #[must_use]
    pub fn partition_point(&self, mut pred: impl FnMut(u64) -> bool) -> usize {
        let first = |number| self.block(number).and_then(|block| block.get(0));
        let begins = |number| first(number).is_some_and(&mut pred);
        let Some(number) = partition(0, self.directory.len(), begins).checked_sub(1) else {
            return 0;
        };
        let Some(block) = self.block(number) else { return 0 };
        let start = number * BLOCK;
        let len = BLOCK.min(self.len - start);
        start + partition(0, len, |index| block.get(index).is_some_and(&mut pred))
    }

    /// How many values are below `bound`; they must rise or stay. It is found the faster the nearer
    /// it is to `guess`, and the more evenly the values rise.
    #[must_use]
    pub fn count_below(&self, bound: u64, guess: usize) -> usize {
        if let Some((number, block)) = self.block_below(bound, guess) {
            let start = number * BLOCK;
            let len = BLOCK.min(self.len - start);
            let is_below = |index| block.get(index).is_some_and(|value| value < bound);
            let count = partition_near(len, block.about(bound), is_below);
            if (1..len).contains(&count) {
                return start + count;
            }
        }
        // At the end of a block the next one may begin below its first value, or wrap.
        self.partition_point(|value| value < bound)
    }

    /// About what [`Packed::count_below`] gives, of which it is a good guess: nothing but the
    /// directory is read for it.
    #[must_use]
    pub fn about(&self, bound: u64, guess: usize) -> usize {
        let found = self.block_below(bound, guess);
        found.map_or(0, |(number, block)| number * BLOCK + block.about(bound).min(BLOCK))
    }

    /// The last block whose base is below `bound`.
    #[inline]
    fn block_below(&self, bound: u64, guess: usize) -> Option<(usize, Block<'a>)> {
        // No value of a block is below its base, so that the directory tells mostly in which block
        // the place is, and the block's line about where.
        let is_below = |number| self.block(number).is_some_and(|block| block.base < bound);
        let after = partition_near(self.directory.len(), guess / BLOCK, is_below);
        let number = after.checked_sub(1)?;
        Some((number, self.block(number)?))
    }
}

/// The first of `low..high` for which `before` is false, which must be true and then false.
#[inline]
pub(super) fn partition(
    mut low: usize,
    mut high: usize,
    mut before: impl FnMut(usize) -> bool,
) -> usize {
    while low < high {
        let middle = low.midpoint(high);
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The same of `0..len`; the faster the nearer it is to `guess`.
#[inline]
fn partition_near(len: usize, guess: usize, mut before: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high, mut step) = (0, len, 1);
    let guess = guess.min(len);
    if guess < len && before(guess) {
        low = guess + 1;
        while low + step <= high {
            let probe = low + step - 1;
            if !before(probe) {
                high = probe;
                break;
            }
            low = probe + 1;
            step *= 2;
        }
    } else {
        high = guess;
        while let Some(probe) = high.checked_sub(step) {
            if before(probe) {
                low = probe + 1;
                break;
            }
            high = probe;
            step *= 2;
        }
    }
    partition(low, high, before)
}

#[cfg(test)]
mod tests;
