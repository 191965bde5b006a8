//! Packed columns: sequences of `u64` that are read where they lie.
//!
//! A column is cut into blocks of [`BLOCK`] values. A block holds its least value once and for each
//! value the difference to it, in as many bytes as the largest difference needs. Any value is found
//! by one look at the block's entry in the directory and one read of eight bytes.

use crate::error::{Damage, Error, Result};
use crate::format::bytes::{get, put};

/// Values in a block; the last block of a column may hold fewer.
pub const BLOCK: usize = 128;

const BASE_AT: usize = 0;
const PLACE_AT: usize = BASE_AT + size_of::<u64>();
const WIDTH_AT: usize = PLACE_AT + size_of::<u32>();
const ENTRY_BYTES: usize = 16;

const _: () = assert!(WIDTH_AT < ENTRY_BYTES);

/// Bytes of zeros after the last value, so that every value can be read as eight bytes.
const PADDING: usize = 8;

/// What is left of eight bytes for a width of 0 to 8 bytes.
const MASKS: [u64; 9] = [
    0,
    0xff,
    0xffff,
    0xff_ffff,
    0xffff_ffff,
    0xff_ffff_ffff,
    0xffff_ffff_ffff,
    0xff_ffff_ffff_ffff,
    u64::MAX,
];

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

/// Appends a column with these values to `out`.
///
/// # Errors
/// [`Error::TooLarge`] for more values, or more bytes, than 32 bits can count. `out` then ends in
/// part of a column.
pub fn encode(mut values: impl ExactSizeIterator<Item = u64>, out: &mut Vec<u8>) -> Result<()> {
    let count = values.len();
    out.extend(narrow(count)?.to_le_bytes());
    let directory = out.len();
    out.resize(directory + count.div_ceil(BLOCK) * ENTRY_BYTES, 0);
    let data = out.len();
    let mut block = [0; BLOCK];
    for at in (directory..data).step_by(ENTRY_BYTES) {
        let mut filled = 0;
        for (slot, value) in block.iter_mut().zip(&mut values) {
            *slot = value;
            filled += 1;
        }
        let entry = encode_block(block.get(..filled).unwrap_or_default(), data, out)?;
        if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = entry;
        }
    }
    out.extend([0; PADDING]);
    Ok(())
}

/// Appends the differences of a block, and gives its entry in the directory.
fn encode_block(block: &[u64], data: usize, out: &mut Vec<u8>) -> Result<[u8; ENTRY_BYTES]> {
    let base = block.iter().copied().min().unwrap_or_default();
    let most = block.iter().copied().max().unwrap_or_default().wrapping_sub(base);
    let width = MASKS.iter().position(|mask| most <= *mask).unwrap_or(MASKS.len() - 1);
    let mut entry = [0; ENTRY_BYTES];
    put::<BASE_AT, _, _>(&mut entry, base.to_le_bytes());
    put::<PLACE_AT, _, _>(&mut entry, narrow(out.len() - data)?.to_le_bytes());
    put::<WIDTH_AT, _, _>(&mut entry, [u8::try_from(width).unwrap_or_default()]);
    for value in block {
        let difference = value.wrapping_sub(base).to_le_bytes();
        out.extend_from_slice(difference.get(..width).unwrap_or_default());
    }
    Ok(entry)
}

fn narrow(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::TooLarge {
        what: "a column of the footer in bytes",
        size: u64::try_from(size).unwrap_or(u64::MAX),
        limit: u64::from(u32::MAX),
    })
}

/// A packed column, where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    len: usize,
    directory: &'a [[u8; ENTRY_BYTES]],
    data: &'a [u8],
}

/// What the directory says of a block.
#[derive(Clone, Copy)]
struct Entry {
    base: u64,
    place: usize,
    width: usize,
}

impl Entry {
    fn read(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let place = u32::from_le_bytes(get::<PLACE_AT, _, _>(bytes));
        let [width] = get::<WIDTH_AT, 1, _>(bytes);
        Self {
            base: u64::from_le_bytes(get::<BASE_AT, _, _>(bytes)),
            place: usize::try_from(place).unwrap_or(usize::MAX),
            width: usize::from(width),
        }
    }
}

impl<'a> Packed<'a> {
    /// Takes the bytes of a column and checks that each of its values lies within them.
    ///
    /// # Errors
    /// [`Damage::Footer`] when one does not.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Damage> {
        let column = Self::unchecked(bytes)?;
        let mut left = column.len;
        for entry in column.directory {
            let entry = Entry::read(entry);
            let values = left.min(BLOCK);
            left -= values;
            let end = entry.place.saturating_add(values * entry.width).saturating_add(PADDING);
            if entry.width >= MASKS.len() || end > column.data.len() {
                return Err(Damage::Footer);
            }
        }
        Ok(column)
    }

    /// As [`Packed::new`], for bytes that were checked before: in a time that does not depend on
    /// the length. On bytes that were not, values are missing or wrong, and nothing is read that
    /// lies outside.
    ///
    /// # Errors
    /// [`Damage::Footer`] when the directory does not fit.
    pub(super) fn unchecked(bytes: &'a [u8]) -> Result<Self, Damage> {
        let (count, rest) = bytes.split_first_chunk().ok_or(Damage::Footer)?;
        let len = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| Damage::Footer)?;
        let blocks = len.div_ceil(BLOCK);
        let (directory, data) =
            rest.split_at_checked(blocks.saturating_mul(ENTRY_BYTES)).ok_or(Damage::Footer)?;
        Ok(Self { len, directory: directory.as_chunks().0, data })
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
        let entry = Entry::read(self.directory.get(index / BLOCK)?);
        let at = entry.place + (index % BLOCK) * entry.width;
        let bytes = self.data.get(at..)?.first_chunk()?;
        Some(entry.base.wrapping_add(u64::from_le_bytes(*bytes) & MASKS.get(entry.width)?))
    }

    /// The index of the first value for which `pred` is false, when it is true for all before it
    /// and false for all after; the values must rise or stay.
    #[must_use]
    pub fn partition_point(&self, mut pred: impl FnMut(u64) -> bool) -> usize {
        // The base of a block of rising values is its first value.
        let block = self.directory.partition_point(|entry| pred(Entry::read(entry).base));
        let Some(block) = block.checked_sub(1) else { return 0 };
        let (mut low, mut high) = (block * BLOCK, self.len.min((block + 1) * BLOCK));
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle).is_some_and(&mut pred) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Reads the values of a whole block, those from `block * BLOCK` on, and gives how many there
    /// are: none beyond the end.
    #[inline]
    pub fn for_block(&self, block: usize, out: &mut [u64; BLOCK]) -> usize {
        let filled = self.len.saturating_sub(block.saturating_mul(BLOCK)).min(BLOCK);
        let (Some(entry), Some(out)) = (self.directory.get(block), out.get_mut(..filled)) else {
            return 0;
        };
        let Entry { base, place, width } = Entry::read(entry);
        let bytes = place.checked_add(filled * width).and_then(|end| self.data.get(place..end));
        let Some(bytes) = bytes else { return 0 };
        match width {
            0 => out.fill(base),
            1 => unpack::<1>(base, bytes, out),
            2 => unpack::<2>(base, bytes, out),
            3 => unpack::<3>(base, bytes, out),
            4 => unpack::<4>(base, bytes, out),
            5 => unpack::<5>(base, bytes, out),
            6 => unpack::<6>(base, bytes, out),
            7 => unpack::<7>(base, bytes, out),
            8 => unpack::<8>(base, bytes, out),
            _ => return 0,
        }
        filled
    }
}

#[inline]
fn unpack<const WIDTH: usize>(base: u64, bytes: &[u8], out: &mut [u64]) {
    for (slot, narrow) in out.iter_mut().zip(bytes.as_chunks::<WIDTH>().0) {
        let mut wide = [0; 8];
        for (to, from) in wide.iter_mut().zip(narrow) {
            *to = *from;
        }
        *slot = base.wrapping_add(u64::from_le_bytes(wide));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(values: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values.iter().copied(), &mut out).unwrap();
        out
    }

    fn check(values: &[u64]) {
        let bytes = column(values);
        let packed = Packed::new(&bytes).unwrap();
        assert_eq!(packed.len(), values.len());
        for (at, value) in values.iter().enumerate() {
            assert_eq!(packed.get(at), Some(*value), "at {at}");
        }
        assert_eq!(packed.get(values.len()), None);
        assert_eq!(packed.get(usize::MAX), None);
        let mut all = Vec::new();
        let mut block = [0; BLOCK];
        for at in 0..=values.len().div_ceil(BLOCK) {
            let filled = packed.for_block(at, &mut block);
            all.extend_from_slice(&block[..filled]);
        }
        assert_eq!(all, values);
        assert_eq!(packed.for_block(usize::MAX, &mut block), 0);
    }

    #[test]
    fn every_width_at_its_bounds_and_every_length_about_a_block() {
        for mask in MASKS {
            check(&[0, mask]);
            check(&[7, mask, mask / 2 + 1]);
        }
        for len in [0, 1, 2, 127, 128, 129, 255, 256, 257, 1000] {
            check(&(0..len).map(|n| n * 1_000_003).collect::<Vec<_>>());
            check(&vec![u64::MAX; usize::try_from(len).unwrap()]);
        }
    }

    #[test]
    fn times_keep_their_order() {
        let times = [i64::MIN, -1, 0, 1, 1_793_521_800_250_000_000, i64::MAX];
        assert!(times.is_sorted_by_key(|time| from_time(*time)));
        for time in times {
            assert_eq!(to_time(from_time(time)), time);
        }
    }

    #[test]
    fn hostile_columns_are_refused() {
        assert!(Packed::new(&[]).is_err());
        assert!(Packed::new(&[0, 0, 0]).is_err());
        assert!(Packed::new(&[0xff; 4]).is_err(), "a length that the bytes do not bear out");
        assert!(Packed::new(&[1, 0, 0, 0]).is_err());
        let mut wide = column(&[1, 2, 3]);
        wide[4 + WIDTH_AT] = 9;
        wide.extend([0; 64]);
        assert!(Packed::new(&wide).is_err(), "wider than a value, though it fits");
        let mut far = column(&[1, 2, 3]);
        far[4 + PLACE_AT] = 1;
        assert!(Packed::new(&far).is_err());
        far[4 + PLACE_AT..4 + PLACE_AT + 4].fill(0xff);
        assert!(Packed::new(&far).is_err());
        let mut short = column(&[1, 2, 3]);
        short.pop();
        assert!(Packed::new(&short).is_err());
    }

    proptest! {
        #[test]
        fn any_values(
            values in prop::collection::vec((any::<u64>(), 0..64_u32), 0..600),
        ) {
            check(&values.into_iter().map(|(value, shift)| value >> shift).collect::<Vec<_>>());
        }

        #[test]
        fn partition_point_is_that_of_a_slice(
            mut values in prop::collection::vec(0..2000_u64, 0..600), bound in 0..2000_u64,
        ) {
            values.sort_unstable();
            let bytes = column(&values);
            let packed = Packed::new(&bytes).unwrap();
            prop_assert_eq!(
                packed.partition_point(|value| value < bound),
                values.partition_point(|value| *value < bound),
            );
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, index in 0..700_usize) {
            for packed in [Packed::new(&bytes), Packed::unchecked(&bytes)].into_iter().flatten() {
                let _ = packed.get(index);
                let _ = packed.partition_point(|value| value < 9);
                let _ = packed.for_block(index / BLOCK, &mut [0; BLOCK]);
            }
        }
    }
}
