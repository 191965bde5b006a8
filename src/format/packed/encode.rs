//! Writing a packed column.

use crate::error::{Error, Result};
use crate::format::bytes::put;

use super::{
    BASE_AT, BLOCK, ENTRY_BYTES, FRACTION, Line, MOST_SHIFT, PADDING, PLACE_AT, SHIFT_AT, SLOPE_AT,
    WHOLE, WIDEST, WIDTH_AT,
};

/// Appends a column with these values to `out`.
///
/// # Errors
/// [`Error::TooLarge`] for more values, or more bytes, than 32 bits can count. `out` then ends in
/// part of a column.
pub fn encode(
    mut values: impl ExactSizeIterator<Item = u64> + Clone,
    out: &mut Vec<u8>,
) -> Result<()> {
    let count = values.len();
    let unit = unit(values.clone());
    out.extend(narrow(count)?.to_le_bytes());
    out.extend(unit.to_le_bytes());
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
        let entry = encode_block(block.get_mut(..filled).unwrap_or_default(), unit, data, out)?;
        if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = entry;
        }
    }
    out.extend([0; PADDING]);
    Ok(())
}

/// The greatest number that divides all differences of the values; 1 when they are all the same.
fn unit(mut values: impl Iterator<Item = u64>) -> u64 {
    let Some(mut last) = values.next() else { return 1 };
    let mut unit = 0;
    for value in values {
        let difference = value.abs_diff(last);
        last = value;
        // Most differences are multiples already.
        if difference.checked_rem(unit) != Some(0) {
            unit = gcd(unit, difference);
        }
        if unit == 1 {
            break;
        }
    }
    unit.max(1)
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Appends the distances of a block, and gives its entry in the directory.
fn encode_block(
    block: &mut [u64],
    unit: u64,
    data: usize,
    out: &mut Vec<u8>,
) -> Result<[u8; ENTRY_BYTES]> {
    let (least, most) = bounds(block);
    if unit > 1 {
        block.iter_mut().for_each(|value| *value = (*value - least) / unit);
    } else {
        block.iter_mut().for_each(|value| *value -= least);
    }
    let mut most = (most - least) / unit;
    let mut base = least;
    let mut line = Line::FLAT;
    let (first, last) = (block.first().copied(), block.last().copied());
    if let Some(steep) =
        Line::through(first.unwrap_or_default(), last.unwrap_or_default(), block.len())
        && let (low, high) = steep.distances(block)
        && width(high.abs_diff(low)) < width(most)
    {
        // A base below zero wraps, here and when it is read.
        base = base.wrapping_add(unit.wrapping_mul(low.cast_unsigned()));
        most = high.abs_diff(low);
        steep.subtract(low, block);
        line = steep;
    }
    let width = width(most);
    let mut entry = [0; ENTRY_BYTES];
    put::<BASE_AT, _, _>(&mut entry, base.to_le_bytes());
    put::<PLACE_AT, _, _>(&mut entry, narrow(out.len() - data)?.to_le_bytes());
    put::<SLOPE_AT, _, _>(&mut entry, line.slope.to_le_bytes());
    put::<SHIFT_AT, _, _>(&mut entry, [u8::try_from(line.shift).unwrap_or_default()]);
    put::<WIDTH_AT, _, _>(&mut entry, [u8::try_from(width).unwrap_or_default()]);
    write_bits(block, width, out);
    Ok(entry)
}

fn bounds(block: &[u64]) -> (u64, u64) {
    let (mut least, mut most) = (u64::MAX, 0);
    for &value in block {
        least = least.min(value);
        most = most.max(value);
    }
    (least.min(most), most)
}

/// In how many bits a distance is stored.
const fn width(most: u64) -> u32 {
    match u64::BITS - most.leading_zeros() {
        width if width > WIDEST => WHOLE,
        width => width,
    }
}

/// Appends so many bits of each value, the lowest first, and fills the last byte with zeros.
fn write_bits(values: &[u64], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut word, mut used) = (0, 0);
    for &value in values {
        word |= value << used;
        used += width;
        if used >= u64::BITS {
            out.extend_from_slice(&word.to_le_bytes());
            used -= u64::BITS;
            // What did not fit; nothing when the word ended with the value.
            word = value.checked_shr(width - used).unwrap_or(0);
        }
    }
    let bytes = word.to_le_bytes();
    out.extend_from_slice(bytes.get(..used.div_ceil(8) as usize).unwrap_or_default());
}

impl Line {
    /// The line through the first and the last value of a block of so many; `None` when it does
    /// not rise, or is too steep.
    fn through(first: u64, last: u64, len: usize) -> Option<Self> {
        let rise = last.checked_sub(first).filter(|rise| (1..1 << 46).contains(rise))?;
        let steps = u64::try_from(len).ok()?.checked_sub(1)?;
        let slope = (rise << FRACTION).checked_div(steps)?;
        let shift = (u64::BITS - slope.leading_zeros()).saturating_sub(u16::BITS);
        let slope = u16::try_from(slope >> shift).ok()?;
        (shift <= MOST_SHIFT).then_some(Self { slope, shift })
    }

    /// The least and the greatest distance of the values from the line.
    fn distances(self, block: &[u64]) -> (i64, i64) {
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for (index, value) in block.iter().enumerate() {
            let distance = value.wrapping_sub(self.at(index)).cast_signed();
            low = low.min(distance);
            high = high.max(distance);
        }
        (low, high)
    }

    fn subtract(self, low: i64, block: &mut [u64]) {
        for (index, value) in block.iter_mut().enumerate() {
            *value = value.wrapping_sub(self.at(index)).wrapping_sub(low.cast_unsigned());
        }
    }
}

fn narrow(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::TooLarge {
        what: "a column of the footer in bytes",
        size: u64::try_from(size).unwrap_or(u64::MAX),
        limit: u64::from(u32::MAX),
    })
}
