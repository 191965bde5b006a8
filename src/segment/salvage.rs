//! A new segment from the whole frames of a damaged one.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::header::SegmentHeader;
use crate::segment::draft::for_each_record;
use crate::segment::scan::{NextSeq, scan};
use crate::segment::{FRAMES_START, NewFrame, Segment, new_index};
use crate::storage::Storage;

impl Segment {
    /// Writes the frames of this segment that are whole, in order, and decode, into a new one at
    /// `path`, and seals that. When all are whole the new frames are the old ones to the byte, so
    /// that their hash stays; else they move together.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]; a half-made file may be left at `path`.
    pub(crate) fn salvage(
        &self,
        storage: &Arc<dyn Storage>,
        path: &Path,
        previous: [u8; 32],
        all_whole: bool,
    ) -> Result<Self> {
        let mut header = SegmentHeader { packed: false, ..self.header.clone() };
        if !all_whole {
            // What was at other places is bound to another salt.
            header.salt = storage.random()?;
        }
        if storage.exists(path)? {
            storage.remove(path)?;
        }
        let rescued = Self::create_at(storage, path, header, new_index(self.seed))?;
        let until = self.is_sealed().then(|| self.end());
        let mut bytes = Vec::new();
        let mut failed = None;
        let mut next_seq = NextSeq(self.header.first_seq);
        let mut copy = |_: u32, frame: &FrameHeader, payload: &[u8]| -> Result<(), Damage> {
            next_seq.take(frame)?;
            for_each_record(self.header.kind, frame, payload, |relative, _, _| {
                next_seq.take_up_to(frame.base_seq.saturating_add(relative.into()));
            })?;
            if frame.is_void() && !all_whole || failed.is_some() {
                return Ok(());
            }
            bytes.clear();
            bytes.resize(FRAME_HEADER_BYTES, 0);
            bytes.extend_from_slice(payload);
            let frame = NewFrame {
                base_seq: frame.base_seq,
                recorded_at: frame.recorded_at,
                count: frame.count,
                payload_crc: frame.payload_crc,
                synced: if all_whole { frame.synced } else { 0 },
            };
            failed = rescued.append(&mut bytes, frame, &[]).err();
            Ok(())
        };
        scan(self.source()?.as_dyn(), &self.bounds(FRAMES_START, until), &mut copy)?;
        failed.map_or(Ok(()), Err::<(), Error>)?;
        rescued.seal(previous)?;
        Ok(rescued)
    }
}
