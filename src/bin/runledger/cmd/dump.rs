use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use memchr::memmem;
use runledger::format::block::{self, BLOCK_HEADER_BYTES, ID_BYTES};
use runledger::format::codec;
use runledger::format::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, payload_crc};
use runledger::format::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use runledger::format::trailer::{TRAILER_BYTES, Trailer};
use runledger::storage::{Disk, OpenMode, Storage};
use runledger::{Damage, Record, Timestamp};

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::Screen;
use crate::output::records::write_json;

/// Print the frames and records of a segment file as they lie
///
/// For debugging. Each line begins with an offset in bytes. Nothing else of the ledger is looked
/// at. The frames of a compacted segment lie in compressed blocks: those are printed first, with
/// the ids that they have in common, and then the frames by the offsets that they have when they
/// are unpacked. The exit code is 3 when there is damage before the last whole frame, or before the
/// footer; for the whole ledger see `runledger verify`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file, such as ledger/streams/runs/00000000000000000001.seg
    segment: PathBuf,
    /// Print the frames and not their records
    #[arg(long)]
    frames: bool,
}

/// Where the first frame begins: behind the header and its copy.
const FRAMES_START: usize = 2 * SEGMENT_HEADER_BYTES as usize;

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let file = Disk.open(&args.segment, OpenMode::Read)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
    let map = file.map(length)?;
    let bytes = map.as_slice();
    let mut out = BufWriter::new(io::stdout().lock());
    let Some(header) = headers(bytes, &mut out)? else {
        out.flush()?;
        return Err(Failure::Usage(format!(
            "{} is no segment of a ledger, or both copies of its header are damaged",
            args.segment.display()
        )));
    };
    let trailer_at = length.saturating_sub(TRAILER_BYTES);
    let trailer = bytes
        .get(trailer_at..)
        .and_then(|bytes| Trailer::decode(bytes, &header.salt, trailer_at as u64).ok());
    let end = trailer.as_ref().map_or(length, |trailer| length.min(trailer.frames_end as usize));
    let frames = bytes.get(..end).unwrap_or(bytes);
    let (unpacked, is_whole) = match header.packed {
        true => unpack(frames, &header, &mut out)?,
        false => (Vec::new(), true),
    };
    let bytes = if header.packed { &unpacked } else { frames };
    let (is_sealed, damaged) = (trailer.is_some(), !is_whole);
    let mut dump = Dump { bytes, header, out, screen: Screen::stdout(ctx), is_sealed, damaged };
    dump.frames(!args.frames)?;
    if let Some(trailer) = trailer {
        dump.trailer(&trailer, trailer_at)?;
    }
    dump.out.flush()?;
    Ok(if dump.damaged { Outcome::Damaged } else { Outcome::Done })
}

/// Prints the header and its copy; gives the first that is whole.
fn headers(bytes: &[u8], out: &mut impl Write) -> io::Result<Option<SegmentHeader>> {
    let mut found = None;
    for (at, name) in [(0, "header"), (SEGMENT_HEADER_BYTES as usize, "copy  ")] {
        match SegmentHeader::decode(bytes.get(at..).unwrap_or_default()) {
            Ok(header) => {
                writeln!(
                    out,
                    "{at:>10}  {name}  stream {}, kind {}, first seq {}, made {}, salt {}",
                    header.stream,
                    header.kind,
                    header.first_seq,
                    Timestamp::from_nanos(header.created_at),
                    hex(&header.salt),
                )?;
                found.get_or_insert(header);
            }
            Err(reason) => writeln!(out, "{at:>10}  {name}  damaged: {reason}")?,
        }
    }
    Ok(found)
}

/// Prints the blocks of a packed segment, and gives it as it is unpacked, with zeros for blocks
/// that are damaged; and whether none is.
fn unpack(
    bytes: &[u8],
    header: &SegmentHeader,
    out: &mut impl Write,
) -> io::Result<(Vec<u8>, bool)> {
    let dictionary = block::dictionary(bytes, &header.salt);
    if let Some(dictionary) = &dictionary {
        writeln!(out, "{FRAMES_START:>10}  dict    {} bytes", dictionary.bytes())?;
    }
    let (mut unpacked, mut is_whole) = (vec![0; FRAMES_START], true);
    let mut last_ids = None;
    for (at, block) in block::find(bytes, &header.salt) {
        let ids = block.ids(bytes.get(at as usize + BLOCK_HEADER_BYTES..).unwrap_or_default());
        if let Some(ids) = ids.filter(|ids| last_ids != Some(*ids)) {
            let count = at.saturating_sub(ids) as usize / ID_BYTES;
            writeln!(out, "{ids:>10}  ids     {count} that the blocks from here have in common")?;
        }
        last_ids = ids.or(last_ids);
        let content = block::unpack(bytes, &header.salt, at, dictionary.as_ref());
        writeln!(
            out,
            "{at:>10}  block   frames from {} on, {} bytes in {}{}",
            block.start,
            block.len,
            block.packed_len,
            if content.is_ok() { "" } else { ": damaged" },
        )?;
        is_whole &= content.is_ok() && unpacked.len() == block.start as usize;
        if let Ok((_, frames)) = content {
            unpacked.resize(block.start as usize, 0);
            unpacked.extend_from_slice(&frames);
        }
    }
    writeln!(out, "{:>10}  frames, by their offsets in the segment as it is unpacked:", "")?;
    Ok((unpacked, is_whole))
}

struct Dump<'a, W> {
    /// The file up to where its frames end.
    bytes: &'a [u8],
    header: SegmentHeader,
    out: W,
    screen: Screen,
    /// True when it is known that the frames end there.
    is_sealed: bool,
    damaged: bool,
}

impl<'a, W: Write> Dump<'a, W> {
    fn frames(&mut self, records: bool) -> io::Result<()> {
        let mut at = FRAMES_START;
        while at < self.bytes.len() {
            at = match self.whole(at) {
                Ok((frame, payload)) => {
                    self.frame(at, &frame)?;
                    let start = at + FRAME_HEADER_BYTES;
                    if records && !frame.is_void() {
                        self.records(start, &frame, payload)?;
                    }
                    start + payload.len()
                }
                Err(damage) => match self.next_whole(at) {
                    Some(next) => {
                        self.damaged = true;
                        let length = next - at;
                        writeln!(self.out, "{at:>10}  damage  {damage}; {length} bytes are lost")?;
                        next
                    }
                    None => return self.tail(at, damage),
                },
            };
        }
        Ok(())
    }

    /// The frame at this place, when all of it is as it was written.
    fn whole(&self, at: usize) -> Result<(FrameHeader, &'a [u8]), Damage> {
        let rest = self.bytes.get(at..).ok_or(Damage::Truncated)?;
        let frame = FrameHeader::decode(rest, &self.header.salt, at as u64)?;
        let payload = rest
            .get(FRAME_HEADER_BYTES..)
            .and_then(|rest| rest.get(..frame.payload_len as usize))
            .ok_or(Damage::Truncated)?;
        if payload_crc(payload) != frame.payload_crc {
            return Err(Damage::PayloadChecksum);
        }
        Ok((frame, payload))
    }

    /// Where the next whole frame begins behind the broken one at `at`.
    fn next_whole(&self, mut at: usize) -> Option<usize> {
        loop {
            let from = self.behind(at);
            at = from + memmem::find(self.bytes.get(from..)?, &FRAME_MAGIC)?;
            if self.whole(at).is_ok() {
                return Some(at);
            }
        }
    }

    /// From where on to look behind a broken frame. What a whole header says is its payload holds
    /// no frame, or who made the file could have each byte of it summed for each of its frames.
    fn behind(&self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let frame = FrameHeader::decode(rest, &self.header.salt, at as u64);
        let end = frame.map(|frame| at + FRAME_HEADER_BYTES + frame.payload_len as usize);
        end.ok().filter(|end| *end <= self.bytes.len()).unwrap_or(at + 1)
    }

    fn frame(&mut self, at: usize, frame: &FrameHeader) -> io::Result<()> {
        let what = if frame.is_void() { "void" } else { "frame" };
        writeln!(
            self.out,
            "{at:>10}  {what:<6}  base seq {}, {} records in {} bytes, recorded {}, synced to {}",
            frame.base_seq,
            frame.count,
            frame.payload_len,
            Timestamp::from_nanos(frame.recorded_at),
            frame.synced,
        )
    }

    fn records(&mut self, start: usize, frame: &FrameHeader, payload: &[u8]) -> io::Result<()> {
        let (mut at, mut next) = (0, frame.base_seq);
        for _ in 0..frame.count {
            let rest = payload.get(at..).unwrap_or_default();
            let place = start + at;
            let decoded = match codec::decode(self.header.kind, rest) {
                Ok(decoded) => decoded,
                Err(damage) => {
                    self.damaged = true;
                    return writeln!(self.out, "{place:>10}  damage  {damage}");
                }
            };
            let seq = next.saturating_add(u64::from(decoded.gap));
            let recorded_at = Timestamp::from_nanos(frame.recorded_at);
            let record = Record::new(seq, recorded_at, decoded.prior.resolve(seq), decoded.body);
            write!(self.out, "{place:>10}    ")?;
            write_json(&record, &self.screen, &mut self.out)?;
            at += decoded.consumed;
            next = seq.saturating_add(1);
        }
        Ok(())
    }

    /// What lies behind the last whole frame.
    fn tail(&mut self, at: usize, damage: Damage) -> io::Result<()> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let length = rest.len();
        if self.is_sealed {
            self.damaged = true;
            writeln!(self.out, "{at:>10}  damage  {damage}; {length} bytes are lost")
        } else if rest.iter().all(|&byte| byte == 0) {
            writeln!(self.out, "{at:>10}  end     {length} bytes of zeros, reserved")
        } else {
            writeln!(self.out, "{at:>10}  tail    {length} bytes of no whole frame: {damage}")
        }
    }

    fn trailer(&mut self, trailer: &Trailer, at: usize) -> io::Result<()> {
        writeln!(
            self.out,
            "{:>10}  footer  {} rows\n{at:>10}  trailer {} records, seq {} to {}, \
             created {} to {}, hash {}, previous {}",
            trailer.frames_end,
            trailer.rows,
            trailer.records,
            trailer.first_seq,
            trailer.last_seq,
            Timestamp::from_nanos(trailer.created_min),
            Timestamp::from_nanos(trailer.created_max),
            hex(&trailer.hash),
            hex(&trailer.previous),
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
