//! Reading the frames of a segment one after the other, past whatever is damaged.

use memchr::memmem;

use crate::error::{Damage, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, payload_crc};
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
pub(crate) struct Scan {
    /// Where the last whole frame ends.
    pub(crate) frames_end: u32,
    /// Damage with whole frames after it, or before the end that is known.
    pub(crate) damaged: Vec<DamagedRange>,
    /// Bytes after the last whole frame, up to the last one that is not zero, where it is not known
    /// where the frames end.
    pub(crate) tail: Option<DamagedRange>,
    /// The highest offset that a whole frame says was on stable storage.
    pub(crate) synced: u32,
    /// The last frame with records that the visitor took, and where it begins.
    pub(crate) last: Option<(u64, FrameHeader)>,
    /// Up to where it was scanned; no frame begins between there and the bounds.
    pub(crate) reached: u64,
}

/// What frames are bound to, and where to look for them.
pub(crate) struct Bounds<'a> {
    pub(crate) salt: &'a [u8; 16],
    /// Where the first frame begins.
    pub(crate) from: u32,
    /// Where the last one ends, when that is known; else the end of the file.
    pub(crate) until: Option<u32>,
    /// Frames that begin here or later are left for another scan.
    pub(crate) stop: u32,
}

/// A whole frame: where it begins, its header and its payload. The visitor says what is wrong with
/// its content, if anything is; the frame then counts as damaged.
pub(crate) type VisitFrame<'v> =
    dyn FnMut(u32, &FrameHeader, &[u8]) -> std::result::Result<(), Damage> + 'v;

struct Scanner<'a> {
    window: Window<'a>,
    salt: &'a [u8; 16],
    end: u64,
}

enum Attempt {
    Whole(FrameHeader),
    /// What is wrong, where to look on, and how many records there were.
    Broken(Damage, u64, Option<u32>),
}

/// Visits every whole frame in `bounds`, in order.
///
/// # Errors
/// When the file cannot be read. Damage is no error; it is in the result.
pub(crate) fn scan(
    file: &dyn Source,
    bounds: &Bounds<'_>,
    visit: &mut VisitFrame<'_>,
) -> Result<Scan> {
    let len = file.len()?.min(u64::from(u32::MAX));
    let end = bounds.until.map_or(len, |until| len.min(u64::from(until)));
    let mut scanner = Scanner { window: Window::new(file, end), salt: bounds.salt, end };
    let mut found = Scan {
        frames_end: bounds.from,
        damaged: Vec::new(),
        tail: None,
        synced: 0,
        last: None,
        reached: 0,
    };
    let mut at = u64::from(bounds.from);
    // What is wrong where no whole frame follows: nothing, unless the file ends too early.
    let mut last = (Damage::Truncated, None);
    while at < end.min(u64::from(bounds.stop)) {
        let (damage, resume, records) = match scanner.attempt(at)? {
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
            Attempt::Broken(damage, resume, records) => (damage, resume, records),
        };
        let next = scanner.next_whole(resume)?;
        let Some(next) = next.filter(|_| !is_planted(Bug::CutAtTheFirstBadFrame)) else {
            if bounds.until.is_none() {
                let last = scanner.last_nonzero(at)?;
                found.tail =
                    last.map(|last| DamagedRange { start: at, end: last + 1, damage, records });
            }
            last = (damage, records);
            break;
        };
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
    Ok(found)
}

/// The length of a frame with its header.
pub(crate) fn frame_len(header: &FrameHeader) -> u64 {
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
            Err(damage) => return Ok(Attempt::Broken(damage, at + 1, None)),
        };
        let next = at + frame_len(&header);
        let records = Some(header.count);
        if next > self.end {
            // The header is intact, so the rest of the file is what is left of its payload.
            return Ok(Attempt::Broken(Damage::Truncated, at + 1, records));
        }
        let payload =
            self.window.bytes(at + FRAME_HEADER_BYTES as u64, header.payload_len as usize)?;
        if payload.len() < header.payload_len as usize {
            return Ok(Attempt::Broken(Damage::Truncated, at + 1, records));
        }
        if payload_crc(payload) != header.payload_crc {
            return Ok(Attempt::Broken(Damage::PayloadChecksum, next, records));
        }
        Ok(Attempt::Whole(header))
    }

    /// As `attempt`, with bytes read anew.
    fn attempt_anew(&mut self, at: u64) -> Result<Attempt> {
        self.window = Window::new(self.window.file(), self.end);
        self.attempt(at)
    }

    /// Where the next whole frame begins, at `from` or after it.
    fn next_whole(&mut self, mut from: u64) -> Result<Option<u64>> {
        while from < self.end {
            let bytes = self.window.some(from, FRAME_HEADER_BYTES)?;
            let len = bytes.len() as u64;
            match memmem::find(bytes, &FRAME_MAGIC) {
                Some(skip) => {
                    from += skip as u64;
                    if matches!(self.attempt(from)?, Attempt::Whole(_)) {
                        return Ok(Some(from));
                    }
                    from += 1;
                }
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
