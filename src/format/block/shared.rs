//! Ids that the frames of many blocks have in common: they stand in the file once, beside the
//! blocks, and a block has their numbers.
//!
//! A record is small, and the ids of its run and trace are as good as random: in frames that are
//! compressed block by block they would be most of what is left.

use crate::format::crc;

/// How many bytes each of the ids has.
pub const ID_BYTES: usize = 16;

/// What stands before the numbers: the checksum of the frames, and how many ids were taken out.
const HEAD_BYTES: usize = size_of::<u32>() + size_of::<u16>();

/// What is said of an id that was taken out: how far behind the one before it, and which.
const SKIP_AND_NUMBER: usize = 2 * size_of::<u16>();

/// What is to be compressed has this many bytes more than the frames at the most: each id takes
/// fewer bytes than before.
pub(super) const MOST_MORE: usize = HEAD_BYTES;

/// An id in the frames of a block, and its number among those that blocks have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedId {
    /// Where it stands in the frames.
    pub at: u32,
    /// Its place among the ids that stand in the file, counted from 0.
    pub number: u16,
}

/// The frames without those ids, and what is needed to put them back.
pub(super) fn take_out(frames: &[u8], ids: &[SharedId]) -> Vec<u8> {
    let (mut taken, mut rest) = (Vec::new(), Vec::with_capacity(frames.len()));
    let (mut end, mut next) = (0, 0_u16);
    for id in ids.iter().take(u16::MAX.into()) {
        let at = id.at as usize;
        let Some(kept) = frames.get(end..at).filter(|_| at + ID_BYTES <= frames.len()) else {
            break;
        };
        let Ok(skip) = u16::try_from(kept.len()) else { break };
        rest.extend_from_slice(kept);
        let ([a, b], [c, d]) = (skip.to_le_bytes(), id.number.wrapping_sub(next).to_le_bytes());
        taken.push([a, b, c, d]);
        (end, next) = (at + ID_BYTES, id.number.wrapping_add(1));
    }
    rest.extend_from_slice(frames.get(end..).unwrap_or_default());
    let mut out = Vec::with_capacity(HEAD_BYTES + taken.len() * SKIP_AND_NUMBER + rest.len());
    out.extend(crc::masked(frames).to_le_bytes());
    out.extend(u16::try_from(taken.len()).unwrap_or(u16::MAX).to_le_bytes());
    // Byte by byte of all of them: the higher ones are nearly all zeros, and so cost nothing.
    for byte in 0..SKIP_AND_NUMBER {
        out.extend(taken.iter().filter_map(|it| it.get(byte)));
    }
    out.extend(rest);
    out
}

/// The frames that [`take_out`] has made this of, when they are so many bytes. `ids` are those that
/// stand in the file, with what follows them. `None` when it does not fit together, or an id is not
/// the one that was taken out: the frames are compared with their checksum.
pub(super) fn put_back(content: &[u8], ids: &[u8], len: usize) -> Option<Vec<u8>> {
    let (sum, content) = content.split_first_chunk()?;
    let (count, content) = content.split_first_chunk()?;
    let count = usize::from(u16::from_le_bytes(*count));
    let (taken, mut rest) = content.split_at_checked(count * SKIP_AND_NUMBER)?;
    if rest.len() + count * ID_BYTES != len {
        return None;
    }
    let (ids, _) = ids.as_chunks::<ID_BYTES>();
    let mut frames = Vec::with_capacity(len);
    let mut next = 0_u16;
    for of in 0..count {
        let byte = |place: usize| taken.get(place * count + of).copied();
        let skip = u16::from_le_bytes([byte(0)?, byte(1)?]);
        let number = next.wrapping_add(u16::from_le_bytes([byte(2)?, byte(3)?]));
        let (kept, left) = rest.split_at_checked(skip.into())?;
        frames.extend_from_slice(kept);
        frames.extend_from_slice(ids.get(usize::from(number))?);
        (rest, next) = (left, number.wrapping_add(1));
    }
    frames.extend_from_slice(rest);
    (crc::masked(&frames) == u32::from_le_bytes(*sum)).then_some(frames)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Wherever ids stand, in each others' places, too far apart or not at all: the frames come
        /// back.
        #[test]
        fn frames_come_back(
            gaps in prop::collection::vec((0..400_u32, 0..6_u16), 0..40),
            far in prop::option::of(65_530..65_550_u32),
            tail in 0..100_usize,
        ) {
            let ids: Vec<_> = (0..6_u8).flat_map(|id| [id; ID_BYTES]).collect();
            let (mut frames, mut shared) = (Vec::new(), Vec::new());
            for (gap, number) in gaps.into_iter().chain(far.map(|gap| (gap, 2))) {
                frames.resize(frames.len() + gap as usize, 0xee);
                shared.push(SharedId { at: frames.len().try_into().unwrap(), number });
                frames.extend_from_slice(&ids[usize::from(number) * ID_BYTES..][..ID_BYTES]);
            }
            frames.resize(frames.len() + tail, 0xdd);
            let content = take_out(&frames, &shared);
            prop_assert_eq!(put_back(&content, &ids, frames.len()), Some(frames.clone()));
            prop_assert_eq!(put_back(&content, &ids, frames.len() + 1), None);
        }

        #[test]
        fn places_that_overlap_or_lie_outside_stay(
            places in prop::collection::vec(0..120_u32, 0..10),
        ) {
            let frames = [7; 100];
            let shared: Vec<_> = places.iter().map(|&at| SharedId { at, number: 0 }).collect();
            let content = take_out(&frames, &shared);
            prop_assert_eq!(put_back(&content, &[7; ID_BYTES], 100), Some(frames.to_vec()));
        }

        #[test]
        fn any_bytes_are_taken(
            content in prop::collection::vec(any::<u8>(), 0..200), len in 0..400_usize,
        ) {
            let frames = put_back(&content, &[1; 64], len);
            prop_assert!(frames.is_none_or(|frames| frames.len() == len));
        }
    }
}
