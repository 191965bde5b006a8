//! What is found in the frames of a segment that has no footer, without making an index of them:
//! an opening compares them with their checksums anyway.

use crate::error::{Damage, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::header::SegmentHeader;
use crate::limits::{MAX_BATCH_RECORDS, MAX_FRAME_PAYLOAD};
use crate::model::Kind;
use crate::segment::blocks::Source;
use crate::segment::draft::{for_each_record, for_each_run_head, payload_of};
use crate::segment::scan::{Bounds, NextSeq, Scan, scan};
use crate::segment::{FRAMES_START, OpenState, Segment};

/// What was found at the opening.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the frames ended.
    pub(super) end: u32,
    /// The last sequence number, and when it was recorded.
    pub(super) last: Option<(u64, i64)>,
    /// How many records there were.
    pub(super) records: u64,
    /// Records of other segments whose place was taken by one here, and the number of that one.
    pub(super) supersedes: Vec<(u64, u64)>,
    /// The states of runs that were open, and not superseded here.
    pub(super) open: Vec<OpenState>,
}

impl Segment {
    /// What the opening found, as long as nothing was appended since and there is no footer.
    pub(super) fn still_as_found(&self) -> Option<&Found> {
        let found = self.found.as_ref().filter(|found| found.end == self.end());
        found.filter(|_| !self.is_sealed())
    }

    /// How many records the opening found, when there was no footer to tell.
    pub(crate) fn records_at_opening(&self) -> u64 {
        self.found.as_ref().map_or(0, |found| found.records)
    }

    /// What was found, once it is known which of it counts.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn found(&self, scan: &Scan, states: States) -> Result<Found> {
        let last = scan.last.map(|frame| self.last_record(frame)).transpose()?;
        let States { records, supersedes, open, .. } = states;
        Ok(Found { end: scan.frames_end, last, records, supersedes, open })
    }

    /// The last sequence number in a frame that was found, and when it was recorded. Of records
    /// that do not decode it is the last one that they can have.
    fn last_record(&self, (at, header): (u64, FrameHeader)) -> Result<(u64, i64)> {
        let mut payload = vec![0; header.payload_len.min(MAX_FRAME_PAYLOAD) as usize];
        self.source()?.as_dyn().read_at(&mut payload, at + FRAME_HEADER_BYTES as u64)?;
        let mut last = header.base_seq;
        let read = for_each_record(self.kind(), &header, &payload, |relative, _, _| {
            last = header.base_seq.saturating_add(relative.into());
        });
        if read.is_err() {
            last = header.base_seq.saturating_add(MAX_BATCH_RECORDS as u64);
        }
        Ok((last, header.recorded_at))
    }
}

/// What the frames of a file tell without an index of them.
#[derive(Debug, Default)]
pub(super) struct States {
    /// How many records there are.
    records: u64,
    /// The records of other segments whose place was taken by one here, and the number of that one.
    supersedes: Vec<(u64, u64)>,
    /// The states of runs that are open, and not superseded here.
    open: Vec<OpenState>,
    /// The sequence numbers of runs, and those that they take the place of and that may be here.
    seqs: Vec<u64>,
    priors: Vec<(u64, u64)>,
}

impl States {
    /// Enters the runs of a frame.
    fn enter(
        &mut self,
        header: &SegmentHeader,
        at: u32,
        frame: &FrameHeader,
        payload: &[u8],
    ) -> Result<(), Damage> {
        let known = (self.seqs.len(), self.supersedes.len(), self.open.len(), self.priors.len());
        let start = payload_of(at);
        let read = for_each_run_head(frame, payload, |relative, offset, head| {
            let seq = frame.base_seq.saturating_add(relative.into());
            self.seqs.push(seq);
            if !head.status.is_terminal() {
                let offset = start.saturating_add(offset);
                self.open.push(OpenState { seq, frame: Some(at), offset });
            }
            match head.prior.resolve(seq) {
                Some(prior) if prior < header.first_seq => self.supersedes.push((prior, seq)),
                Some(prior) => self.priors.push((prior, seq)),
                None => {}
            }
        });
        if read.is_err() {
            // Of a frame that is damage nothing is believed.
            self.seqs.truncate(known.0);
            self.supersedes.truncate(known.1);
            self.open.truncate(known.2);
            self.priors.truncate(known.3);
        }
        read
    }

    /// Sorts out what is in other streams, whose segments hold numbers from the same range, and
    /// which states are superseded.
    fn finish(&mut self) {
        self.priors.sort_unstable();
        let priors = &self.priors;
        let is_superseded =
            |seq: u64| priors.binary_search_by_key(&seq, |&(prior, _)| prior).is_ok();
        self.open.retain(|state| !is_superseded(state.seq));
        let mut seqs = std::mem::take(&mut self.seqs).into_iter().peekable();
        for (prior, by) in std::mem::take(&mut self.priors) {
            while seqs.next_if(|&seq| seq < prior).is_some() {}
            if seqs.peek() != Some(&prior) {
                self.supersedes.push((prior, by));
            }
        }
    }
}

/// Looks for the frames of a file and compares them with their checksums; their records are left
/// for the index.
pub(super) fn find_frames(file: &dyn Source, header: &SegmentHeader) -> Result<(Scan, States)> {
    let mut next_seq = NextSeq(header.first_seq);
    let mut states = States::default();
    let mut visit = |at: u32, frame: &FrameHeader, payload: &[u8]| -> Result<(), Damage> {
        next_seq.take(frame)?;
        if header.kind == Kind::Run {
            // Its checksums hold: it is no hole that a crash left, to be covered.
            states.enter(header, at, frame, payload).map_err(|_| Damage::Record)?;
        }
        states.records += u64::from(frame.count);
        Ok(())
    };
    let bounds = Bounds { salt: &header.salt, from: FRAMES_START, until: None, stop: u32::MAX };
    let found = scan(file, &bounds, &mut visit)?;
    states.finish();
    Ok((found, states))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of one class holds numbers between those of the others: a number that lies in its
    /// range is that of a record here only when there is one. What is here is no news to others.
    #[test]
    fn what_is_superseded_here_is_told_from_what_is_in_other_streams() {
        let open = |seq| OpenState { seq, frame: Some(256), offset: 300 };
        let mut states = States {
            records: 5,
            supersedes: vec![(2, 10)],
            open: vec![open(10), open(12), open(20)],
            seqs: vec![10, 12, 15, 20, 30],
            priors: vec![(17, 30), (10, 15), (11, 12), (20, 30)],
        };
        states.finish();
        assert_eq!(states.supersedes, [(2, 10), (11, 12), (17, 30)]);
        assert_eq!(states.open, [open(12)]);
    }
}
