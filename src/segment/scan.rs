//! Reading the frames of a segment one after the other, past whatever is damaged.

use memchr::memmem;

use crate::error::{Damage, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader};
use crate::planted::{Bug, is_planted};
use crate::segment::blocks::Source;
use crate::segment::window::Window;

/// A range of a segment in which no whole frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedRange {
    /// Where it begins, in bytes from the start of the file.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// What is wrong at its beginning.
    pub damage: Damage,
    /// How many records were in it, when a header that is intact tells.
    pub records: Option<u32>,
}

impl DamagedRange {
    /// A range of bytes, not yet said what is wrong with it.
    pub(crate) const fn new(start: u64, end: u64) -> Self {
        Self { start, end, damage: Damage::HeaderChecksum, records: Some(0) }
    }

    /// The same range with this damage.
    pub(crate) const fn of(mut self, damage: Damage) -> Self {
        self.damage = damage;
        self
    }
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the last whole frame ends.
    pub(super) frames_end: u32,
    /// Damage with whole frames after it, or before the end that is known.
    pub(super) damaged: Vec<DamagedRange>,
    /// Bytes after the last whole frame, up to the last one that is not zero, where it is not known
    /// where the frames end.
    pub(super) tail: Option<DamagedRange>,
    /// The highest offset that a whole frame says was on stable storage.
    pub(super) synced: u32,
    /// The last frame with records that the visitor took, and where it begins.
    pub(super) last: Option<(u64, FrameHeader)>,
    /// Up to where it was scanned; no frame begins between there and the bounds. Unknown after an
    /// error.
    pub(super) reached: u64,
}

impl Scan {
    /// Nothing yet.
    pub(super) const fn begun_at(from: u32) -> Self {
        Self {
            frames_end: from,
            damaged: Vec::new(),
            tail: None,
            synced: 0,
            last: None,
            reached: 0,
        }
    }
}

/// What frames are bound to, and where to look for them.
pub(super) struct Bounds<'a> {
    pub(super) salt: &'a [u8; 16],
    /// Where the first frame begins.
    pub(super) from: u32,
    /// Where the last one ends, when that is known; else the end of the file.
    pub(super) until: Option<u32>,
    /// Frames that begin here or later are left for another scan.
    pub(super) stop: u32,
}

/// A whole frame: where it begins, its header and its payload. The visitor says what is wrong with
/// its content, if anything is; the frame then counts as damaged.
pub(super) type VisitFrame<'v> =
    dyn FnMut(u32, &FrameHeader, &[u8]) -> std::result::Result<(), Damage> + 'v;

/// The lowest sequence number that the next frame may have: they rise from frame to frame.
pub(super) struct NextSeq(pub(super) u64);

impl NextSeq {
    /// Takes the numbers of a frame, one for each record, also when these do not decode. A void one
    /// has none.
    ///
    /// # Errors
    /// [`Damage::Sequence`] when they were taken before, or there are not so many.
    pub(super) fn take(&mut self, frame: &FrameHeader) -> Result<(), Damage> {
        if frame.base_seq < self.0 {
            return Err(Damage::Sequence);
        }
        if !frame.is_void() {
            self.0 = frame.base_seq.checked_add(frame.count.into()).ok_or(Damage::Sequence)?;
        }
        Ok(())
    }

    /// Takes the number of a record of the frame, which is higher where there is a gap before it.
    pub(super) fn take_up_to(&mut self, seq: u64) {
        self.0 = self.0.max(seq.saturating_add(1));
    }
}

struct Scanner<'a> {
    window: Window<'a>,
    salt: &'a [u8; 16],
    end: u64,
}

enum Attempt {
    Whole(FrameHeader),
    /// What is wrong, and the header, when that is whole.
    Broken(Damage, Option<FrameHeader>),
}

/// What lies behind the last whole frame.
struct Skipped {
    /// Where the next one begins, if there is one.
    next: Option<u64>,
    /// Up to where frames whose headers are whole follow one another, and their records.
    told_to: u64,
    records: u32,
}

/// Visits every whole frame in `bounds`, in order.
///
/// # Errors
/// When the file cannot be read. Damage is no error; it is in the result.
pub(super) fn scan(
    file: &dyn Source,
    bounds: &Bounds<'_>,
    visit: &mut VisitFrame<'_>,
) -> Result<Scan> {
    let mut found = Scan::begun_at(bounds.from);
    scan_into(&mut found, file, bounds, visit)?;
    Ok(found)
}

/// As [`scan`], into what tells also after an error what was found before it.
///
/// # Errors
/// As for [`scan`].
pub(super) fn scan_into(
    found: &mut Scan,
    file: &dyn Source,
    bounds: &Bounds<'_>,
    visit: &mut VisitFrame<'_>,
) -> Result<()> {
    let len = file.len()?.min(u64::from(u32::MAX));
    let end = bounds.until.map_or(len, |until| len.min(u64::from(until)));
    let mut scanner = Scanner { window: Window::new(file, end), salt: bounds.salt, end };
    let mut at = u64::from(bounds.from);
    // What is wrong where no whole frame follows: nothing, unless the file ends too early.
    let mut last = (Damage::Truncated, None);
    while at < end.min(u64::from(bounds.stop)) {
        let (damage, header) = match scanner.attempt(at)? {
            Attempt::Whole(header) => {
                let end = at + frame_len(&header);
                match scanner.visit(at, &header, visit)? {
                    Ok(()) if header.is_void() => {}
                    Ok(()) => found.last = Some((at, header)),
                    Err(damage) => {
                        let records = Some(header.count);
                        found.damaged.push(DamagedRange { start: at, end, damage, records });
                    }
                }
                at = end;
                found.frames_end = u32::try_from(at).unwrap_or(u32::MAX);
                found.synced = found.synced.max(header.synced);
                continue;
            }
            Attempt::Broken(damage, header) => (damage, header),
        };
        let skipped = scanner.skip(at, header)?;
        let Some(next) = skipped.next.filter(|_| !is_planted(Bug::CutAtTheFirstBadFrame)) else {
            match bounds.until {
                Some(until) => last = (damage, skipped.records_to(until.into())),
                None => {
                    let end = scanner.last_nonzero(at)?.map(|last| last + 1);
                    found.tail = end.map(|end| {
                        let records = skipped.records_to(end);
                        DamagedRange { start: at, end, damage, records }
                    });
                }
            }
            break;
        };
        let records = skipped.records_to(next);
        // A writer may have completed the frame between the two looks.
        if matches!(scanner.attempt_anew(at)?, Attempt::Broken(..)) {
            found.damaged.push(DamagedRange { start: at, end: next, damage, records });
            at = next;
        }
    }
    // Up to where the frames are known to end nothing is torn, and zeros are no end.
    if let Some(until) = bounds.until.map(u64::from)
        && at < until.min(u64::from(bounds.stop))
    {
        let (damage, records) = last;
        found.damaged.push(DamagedRange { start: at, end: until, damage, records });
        at = until;
    }
    found.reached = at;
    Ok(())
}

/// The length of a frame with its header.
pub(super) fn frame_len(header: &FrameHeader) -> u64 {
    (FRAME_HEADER_BYTES as u64) + u64::from(header.payload_len)
}

impl Scanner<'_> {
    fn visit(
        &mut self,
        at: u64,
        header: &FrameHeader,
        visit: &mut VisitFrame<'_>,
    ) -> Result<std::result::Result<(), Damage>> {
        let payload =
            self.window.bytes(at + FRAME_HEADER_BYTES as u64, header.payload_len as usize)?;
        Ok(visit(u32::try_from(at).unwrap_or(u32::MAX), header, payload))
    }

    fn attempt(&mut self, at: u64) -> Result<Attempt> {
        let bytes = self.window.bytes(at, FRAME_HEADER_BYTES)?;
        let header = match FrameHeader::decode(bytes, self.salt, at) {
            Ok(header) => header,
            Err(damage) => return Ok(Attempt::Broken(damage, None)),
        };
        if at + frame_len(&header) > self.end {
            return Ok(Attempt::Broken(Damage::Truncated, Some(header)));
        }
        let payload =
            self.window.bytes(at + FRAME_HEADER_BYTES as u64, header.payload_len as usize)?;
        Ok(match header.check_payload(payload) {
            Ok(()) => Attempt::Whole(header),
            Err(damage) => Attempt::Broken(damage, Some(header)),
        })
    }

    /// As `attempt`, with bytes read anew.
    fn attempt_anew(&mut self, at: u64) -> Result<Attempt> {
        self.window = Window::new(self.window.file(), self.end);
        self.attempt(at)
    }

    /// Looks for the next whole frame behind a broken one, and its header when that is whole.
    fn skip(&mut self, at: u64, header: Option<FrameHeader>) -> Result<Skipped> {
        let mut skipped = Skipped { next: None, told_to: at, records: 0 };
        let mut from = skipped.pass(at, header, self.end);
        while let Some(at) = self.next_magic(from)? {
            match self.attempt(at)? {
                Attempt::Whole(_) => {
                    skipped.next = Some(at);
                    break;
                }
                Attempt::Broken(_, header) => from = skipped.pass(at, header, self.end),
            }
        }
        Ok(skipped)
    }

    /// Where a frame may begin, at `from` or after it.
    fn next_magic(&mut self, mut from: u64) -> Result<Option<u64>> {
        while from < self.end {
            let bytes = self.window.some(from, FRAME_HEADER_BYTES)?;
            let len = bytes.len() as u64;
            match memmem::find(bytes, &FRAME_MAGIC) {
                Some(skip) => return Ok(Some(from + skip as u64)),
                None if len < FRAME_HEADER_BYTES as u64 => return Ok(None),
                // A magic number may lie across the border.
                None => from += len - (FRAME_MAGIC.len() as u64 - 1),
            }
        }
        Ok(None)
    }

    /// Where the last byte that is not zero lies, at `from` or after it.
    fn last_nonzero(&mut self, mut from: u64) -> Result<Option<u64>> {
        let mut last = None;
        while from < self.end {
            let bytes = self.window.some(from, FRAME_HEADER_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            let in_bounds = usize::try_from(self.end - from).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = bytes.get(..in_bounds).unwrap_or_default();
            // Mostly nothing but what was preallocated, which one look without a branch tells.
            if bytes.iter().fold(0, |all, byte| all | byte) != 0
                && let Some(skip) = bytes.iter().rposition(|&byte| byte != 0)
            {
                last = Some(from + skip as u64);
            }
            from += in_bounds as u64;
        }
        Ok(last)
    }
}

impl Skipped {
    /// Passes a broken frame, of which the header may be whole, and gives where to look on.
    fn pass(&mut self, at: u64, header: Option<FrameHeader>, end: u64) -> u64 {
        let Some(header) = header else { return at + 1 };
        let next = at + frame_len(&header);
        if at == self.told_to {
            self.told_to = next;
            self.records = self.records.saturating_add(header.count);
        }
        // Past the end, what is left of the file is what is left of its payload, unless it is cut.
        if next > end { at + 1 } else { next }
    }

    /// How many records were in what is damaged up to here, when the headers tell of all of it.
    fn records_to(&self, end: u64) -> Option<u32> {
        let is_all = match self.next {
            Some(next) => self.told_to == next,
            None => self.told_to >= end,
        };
        is_all.then_some(self.records)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SALT: [u8; 16] = [7; 16];

    /// Bytes, and how many of them were read.
    struct Counted(Vec<u8>, Cell<usize>);

    impl Source for Counted {
        fn len(&self) -> Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
            let left = &self.0[usize::try_from(offset).unwrap()..];
            let read = buf.len().min(left.len());
            buf[..read].copy_from_slice(&left[..read]);
            self.1.set(self.1.get() + read);
            Ok(read)
        }
    }

    /// Behind a frame whose header alone is whole, the next one was looked for in its payload: a
    /// file of headers that lie in the payloads of one another, all of them wrong, took hours.
    #[test]
    fn what_a_broken_frame_holds_is_passed_once() {
        let mut bytes = vec![0; 256];
        for _ in 0..2_000 {
            let header = FrameHeader {
                payload_len: 1 << 20,
                count: 1,
                payload_crc: 0,
                base_seq: 1,
                recorded_at: 0,
                synced: 0,
            };
            let header = header.encode(&SALT, bytes.len() as u64);
            bytes.extend(header);
        }
        bytes.resize(bytes.len() + (2 << 20), 0);
        let file = Counted(bytes, Cell::new(0));
        let bounds = Bounds { salt: &SALT, from: 256, until: None, stop: u32::MAX };
        let found = scan(&file, &bounds, &mut |_, _, _| Ok(())).unwrap();
        assert_eq!(found.tail.map(|tail| tail.start), Some(256));
        assert!(file.1.get() < 4 * file.0.len(), "{} of {} bytes", file.1.get(), file.0.len());
    }
}
