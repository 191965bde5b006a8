//! Segments: a file put together from whole frames and all kinds of broken ones is opened, asked
//! and recovered. Nothing is returned that no whole frame holds, and a second recovery changes
//! nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use runledger::format::codec::Prior;
use runledger::format::frame::{FrameHeader, payload_crc};
use runledger::format::header::SegmentHeader;
use runledger::format::identity::Identity;
use runledger::format::seqfile::{Head, SeqState};
use runledger::{
    Body, Error, ErrorRecord, Event, Field, Kind, Options, Order, Reader, Run, Severity, Status,
    Timestamp,
};

use super::codec::encode;
use super::footer;
use super::input::Input;
use super::memory::Memory;

const DIR: &str = "/ledger";
const LEDGER: [u8; 16] = [7; 16];
const SALT: [u8; 16] = [9; 16];

/// What kind of segment, then what stands in it, piece by piece.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.pick(Kind::ALL);
    let clean = input.flag();
    let mut file = Draft::new(kind);
    while !input.is_empty() {
        file.piece(&mut input);
    }
    let storage = Arc::new(Memory::default());
    let identity = Identity { uuid: LEDGER, created_at: 0 };
    storage.put(format!("{DIR}/LEDGER"), identity.encode().to_vec());
    let seq = SeqState { generation: 2, bound: 1 << 40, clean, heads: vec![file.head(clean)] };
    storage.put(format!("{DIR}/SEQ"), seq.encode(&LEDGER).to_vec());
    storage.put(file.path(), file.bytes.clone());

    let reader = Reader::with_storage(DIR, storage.clone()).expect("damage keeps no reader out");
    let before = file.ask(&reader);
    drop(reader);
    recover(&file, &storage, before);
}

/// Opens the ledger for writing, appends to it, and opens it again.
fn recover(file: &Draft, storage: &Arc<Memory>, before: u64) {
    let options = || Options::new().background(false).reserve_bytes(0).storage(storage.clone());
    let ledger = match options().open(DIR) {
        Ok(ledger) => ledger,
        // Sequence numbers that were forged up to the end leave none to give out.
        Err(Error::TooLarge { .. }) => return,
        Err(err) => panic!("a damaged segment keeps the ledger from opening: {err}"),
    };
    let found = file.ask(ledger.reader());
    assert!(found >= before || file.forged, "recovery lost records: {before}, now {found}");
    let settled = storage.content();
    let kept = settled.get(Path::new(&file.path())).map_or(&[][..], |bytes| trimmed(bytes));
    if kept.len() < trimmed(&file.bytes).len() {
        let has_copy = settled.keys().any(|path| path.starts_with(format!("{DIR}/lost")));
        assert!(has_copy, "bytes were cut without a copy");
        assert_ne!(ledger.reader().audit().count().expect("a count"), 0, "cut without a note");
    }
    let seq = match ledger.append(Event::new("after")) {
        Ok(seq) => seq,
        Err(Error::TooLarge { .. }) => return,
        Err(err) => panic!("no append after recovery: {err}"),
    };
    let stored = ledger.reader().get(seq).expect("the append is found");
    assert_eq!(stored.record().expect("the append is read").body.type_name(), "after");
    drop(stored);
    drop(ledger);

    let again = Arc::new(storage.after_a_kill());
    let ledger = Options::new().background(false).reserve_bytes(0).storage(again.clone()).open(DIR);
    drop(ledger.expect("a closed ledger opens"));
    if file.kind != Kind::Event && !file.forged {
        let content = again.content();
        let again = content.get(Path::new(&file.path())).map(|bytes| trimmed(bytes));
        assert_eq!(again, Some(kept), "a second opening changed the segment");
    }
}

/// Without the zeros at the end: they may be cut, and mean nothing.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

fn stream(kind: Kind) -> &'static str {
    match kind {
        Kind::Run => "runs",
        Kind::Event => "events",
        _ => "errors",
    }
}

/// The file as it grows.
struct Draft {
    kind: Kind,
    bytes: Vec<u8>,
    next_seq: u64,
    /// The records that stand in whole frames, by sequence number.
    known: BTreeMap<u64, Body<'static>>,
    /// True when checksums cover what no writer wrote, so that any record may come back.
    forged: bool,
}

impl Draft {
    fn new(kind: Kind) -> Self {
        let header = SegmentHeader {
            kind,
            stream: stream(kind).to_owned(),
            first_seq: 1,
            covers: 0,
            packed: false,
            created_at: 0,
            salt: SALT,
        };
        let bytes = header.encode().expect("a valid header").repeat(2);
        Self { kind, bytes, next_seq: 1, known: BTreeMap::new(), forged: false }
    }

    fn path(&self) -> String {
        format!("{DIR}/streams/{}/{:020}.seg", stream(self.kind), 1)
    }

    /// What the ledger knows of its end: all of it after a clean close, else the first half.
    fn head(&self, clean: bool) -> Head {
        let len = trimmed(&self.bytes).len();
        let end = u32::try_from(if clean { len } else { len / 2 }).expect("a short file");
        let stream = match self.kind {
            Kind::Run => 1,
            Kind::Event => 2,
            _ => 3,
        };
        Head { stream, sealed: false, end, first_seq: 1 }
    }

    fn piece(&mut self, input: &mut Input<'_>) {
        match input.below(10) {
            0..=2 => {
                let records = 1 + input.below(4);
                let payload = self.records(input, records);
                self.frame(&payload, u32::try_from(records).expect("few"), true);
            }
            3 => {
                let len = input.below(200);
                self.bytes.extend(input.bytes(len));
            }
            4 => {
                let len = usize::from(input.short()) % 5000;
                self.bytes.resize(self.bytes.len() + len, 0);
            }
            5 => self.frame_with_a_flaw(input),
            6 => {
                let len = 1 + input.below(64);
                let payload: Vec<u8> = (0..len).map(|_| input.byte()).collect();
                self.frame(&payload, 0, true);
            }
            7 => {
                // A payload that no writer wrote, under checksums that hold.
                let (count, len) = (1 + u32::from(input.byte() % 4), 1 + input.below(200));
                let payload: Vec<u8> = (0..len).map(|_| input.byte()).collect();
                self.forged = true;
                self.frame(&payload, count, true);
            }
            8 => {
                self.forged = true;
                self.next_seq = match input.below(3) {
                    0 => self.next_seq.saturating_sub(u64::from(input.byte())),
                    1 => u64::MAX - u64::from(input.byte()),
                    _ => self.next_seq.saturating_add(input.long()),
                };
            }
            _ => self.forge_footer(input),
        }
    }

    /// A frame whose bytes are changed after its checksums were made.
    fn frame_with_a_flaw(&mut self, input: &mut Input<'_>) {
        let (start, seq) = (self.bytes.len(), self.next_seq);
        let payload = self.records(input, 2);
        // One that is cut off is whole again when what follows is what was cut: zeros, say.
        let is_cut = input.flag();
        self.frame(&payload, 2, is_cut);
        let at = start + usize::from(input.short()) % (self.bytes.len() - start);
        if is_cut {
            self.bytes.truncate(at);
        } else {
            self.bytes[at] ^= 1 << input.below(8);
        }
        self.next_seq = seq.saturating_add(2);
    }

    fn records(&self, input: &mut Input<'_>, count: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        for _ in 0..count {
            let body = record(self.kind, input);
            encode(&mut payload, 0, Prior::None, &body).expect("a valid record");
        }
        payload
    }

    fn frame(&mut self, payload: &[u8], count: u32, is_whole: bool) {
        let at = u64::try_from(self.bytes.len()).expect("a short file");
        let header = FrameHeader {
            payload_len: u32::try_from(payload.len()).expect("a short payload"),
            count,
            payload_crc: payload_crc(payload),
            base_seq: self.next_seq,
            recorded_at: 5,
            synced: 0,
        };
        self.bytes.extend(header.encode(&SALT, at));
        self.bytes.extend(payload);
        let mut rest = payload;
        for seq in (0..u64::from(count)).map(|n| self.next_seq.saturating_add(n)) {
            let Ok(record) = runledger::format::codec::decode(self.kind, rest) else { break };
            rest = &rest[record.consumed..];
            if is_whole {
                self.known.insert(seq, record.body.into_owned());
            }
        }
        self.next_seq = self.next_seq.saturating_add(u64::from(count));
    }

    /// A footer and a trailer out of any bytes.
    fn forge_footer(&mut self, input: &mut Input<'_>) {
        let base = self.bytes.len();
        let (rows, table) = (u32::from(input.short()), usize::from(input.short()));
        let len = usize::from(input.short());
        self.bytes.extend(input.bytes(len));
        self.forged = true;
        if let Some(trailer) = footer::repair(&mut self.bytes, base, table, rows) {
            let at = u64::try_from(self.bytes.len()).expect("a short file");
            self.bytes.extend(trailer.encode(&SALT, at));
        }
    }

    /// Asks all kinds of questions; the number of records is the result.
    fn ask(&self, reader: &Reader) -> u64 {
        let query = || reader.query().history(true).limit(10_000);
        let mut found = 0;
        for order in [Order::Seq, Order::SeqDescending, Order::Newest, Order::Oldest] {
            let page = query().order(order).fetch().expect("a query without text");
            found = u64::try_from(page.len()).expect("few");
            for record in page.records() {
                match record {
                    Ok(record) => self.check(record.seq, &record.body),
                    Err(err) => assert!(self.forged, "a record that was found: {err}"),
                }
            }
        }
        let count = query().count().expect("a count");
        assert!(count == found || self.forged, "{count} counted, {found} found");
        for field in Field::ALL {
            let _ = query().count_by(*field);
        }
        let _ = query().text("a").fetch();
        let _ = query().record_type("t1").trace("x").fetch();
        let _ = query().since(Timestamp::from_nanos(3)).until(Timestamp::from_nanos(9)).count();
        let _ = reader.stats();
        for seq in self.known.keys().take(3) {
            let _ = reader.get(*seq).map(|stored| stored.record().map(|_| ()));
        }
        found
    }

    fn check(&self, seq: u64, body: &Body<'_>) {
        let known = self.known.get(&seq);
        assert!(known == Some(body) || self.forged, "{seq} is {body:?}, written was {known:?}");
    }
}

fn record(kind: Kind, input: &mut Input<'_>) -> Body<'static> {
    let name = format!("t{}", input.below(3));
    let time = Timestamp::from_nanos(i64::from(input.byte()));
    match kind {
        Kind::Run => {
            let id = format!("r{}", input.below(4));
            let status = input.pick(Status::ALL);
            let mut run = Run::new(id, name, status).expect("a valid id").created_at(time);
            run.attempt = Some(1);
            run.at = run.newest_time();
            Body::Run(run)
        }
        Kind::Event => Body::Event(Event::new(name).created_at(time)),
        _ => {
            let severity = input.pick(&[Severity::Warning, Severity::Error, Severity::Critical]);
            Body::Error(ErrorRecord::new(name, "m").created_at(time).severity(severity))
        }
    }
}
