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
        let (mut filled, mut least, mut most) = (0, u64::MAX, 0);
        for (slot, value) in block.iter_mut().zip(&mut values) {
            *slot = value;
            filled += 1;
            least = least.min(value);
            most = most.max(value);
        }
        let values = block.get_mut(..filled).unwrap_or_default();
        let entry = encode_block(values, (least, most), unit, data, out)?;
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
    (least, most): (u64, u64),
    unit: u64,
    data: usize,
    out: &mut Vec<u8>,
) -> Result<[u8; ENTRY_BYTES]> {
    let mut origin = least;
    let mut range = most - least;
    if unit > 1 {
        block.iter_mut().for_each(|value| *value = (*value - least) / unit);
        origin = 0;
        range /= unit;
    }
    let place = narrow(out.len() - data)?;
    let mut base = least;
    let mut line = Line::FLAT;
    let bits;
    match Line::through(block, range).map(|line| (line, line.distances(block, origin))) {
        Some((steep, (low, high))) if width(high.abs_diff(low)) < width(range) => {
            let low = low.cast_unsigned();
            bits = width(high.cast_unsigned().wrapping_sub(low));
            // A base below zero wraps, here and when it is read.
            base = base.wrapping_add(unit.wrapping_mul(low));
            let start = origin.wrapping_add(low);
            let above = |(index, value): (usize, &u64)| {
                value.wrapping_sub(steep.at(index)).wrapping_sub(start)
            };
            write_bits(block.iter().enumerate().map(above), bits, out);
            line = steep;
        }
        _ => {
            bits = width(range);
            write_bits(block.iter().map(|value| value - origin), bits, out);
        }
    }
    let mut entry = [0; ENTRY_BYTES];
    put::<BASE_AT, _, _>(&mut entry, base.to_le_bytes());
    put::<PLACE_AT, _, _>(&mut entry, place.to_le_bytes());
    put::<SLOPE_AT, _, _>(&mut entry, line.slope.to_le_bytes());
    put::<SHIFT_AT, _, _>(&mut entry, [u8::try_from(line.shift).unwrap_or_default()]);
    put::<WIDTH_AT, _, _>(&mut entry, [u8::try_from(bits).unwrap_or_default()]);
    Ok(entry)
}

/// In how many bits a distance is stored.
const fn width(most: u64) -> u32 {
    match u64::BITS - most.leading_zeros() {
        width if width > WIDEST => WHOLE,
        width => width,
    }
}

/// Appends so many bits of each value, the lowest first, and fills the last byte with zeros.
fn write_bits(values: impl ExactSizeIterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let bytes = (values.len() * width as usize).div_ceil(8);
    let mut words = [[0; 8]; BLOCK];
    let mut room = words.iter_mut();
    let (mut word, mut used) = (0, 0);
    for value in values {
        word |= value << used;
        used += width;
        if used >= u64::BITS {
            if let Some(place) = room.next() {
                *place = word.to_le_bytes();
            }
            used -= u64::BITS;
            // What did not fit; nothing when the word ended with the value.
            word = value.checked_shr(width - used).unwrap_or(0);
        }
    }
    if let Some(place) = room.next() {
        *place = word.to_le_bytes();
    }
    out.extend_from_slice(words.as_flattened().get(..bytes).unwrap_or_default());
}

impl Line {
    /// The line through the first and the last value of a block; `None` when that is less than half
    /// of the way up to the highest, or too steep.
    fn through(block: &[u64], most: u64) -> Option<Self> {
        let rise = block.last()?.checked_sub(*block.first()?)?;
        // Most blocks that do not rise are told here, before their distances are taken.
        if rise <= most / 2 || rise >= 1 << 46 {
            return None;
        }
        let steps = u64::try_from(block.len()).ok()?.checked_sub(1)?;
        let slope = (rise << FRACTION).checked_div(steps)?;
        let shift = (u64::BITS - slope.leading_zeros()).saturating_sub(u16::BITS);
        let slope = u16::try_from(slope >> shift).ok()?;
        (shift <= MOST_SHIFT).then_some(Self { slope, shift })
    }

    /// The least and the greatest distance of the values, less `origin`, from the line.
    fn distances(self, block: &[u64], origin: u64) -> (i64, i64) {
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for (index, value) in block.iter().enumerate() {
            let distance = (value - origin).wrapping_sub(self.at(index)).cast_signed();
            low = low.min(distance);
            high = high.max(distance);
        }
        (low, high)
    }
}

fn narrow(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::TooLarge {
        what: "a column of the footer in bytes",
        size: u64::try_from(size).unwrap_or(u64::MAX),
        limit: u64::from(u32::MAX),
    })
}
