//! The worked examples of FORMAT.md are what the codec writes, byte for byte, and what it reads.
//!
//! The document is the one source: an example is a code block that begins with `example: NAME`, and
//! each line below has an offset, bytes in hexadecimal (`00*24` for 24 zeros) and, after a bar,
//! what they mean. The values are here. A codec that changes a byte of format version 1 fails here.

use std::collections::BTreeMap;

use runledger::format::block::{BLOCK_HEADER_BYTES, BlockHeader, Content, SharedId};
use runledger::format::codec::{self, Prior};
use runledger::format::footer::{self, FieldInput, FooterInput, FooterLayout, NO_CODE};
use runledger::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use runledger::format::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use runledger::format::identity::Identity;
use runledger::format::key;
use runledger::format::packed::{self, Packed};
use runledger::format::rollup::{ErrorRow, Rollup, RunRow, bucket_of, day_of, length_code};
use runledger::format::seqfile::{Head, SeqState};
use runledger::format::trailer::{TRAILER_BYTES, TagCounts, Trailer};
use runledger::{
    ActorType, Body, ErrorRecord, Event, Field, Fingerprint, Id, Json, Kind, Owner, Process, Run,
    RunError, Severity, Status, Subject, Timestamp,
};

const DOCUMENT: &str = include_str!("../FORMAT.md");

/// 2026-11-01T08:30:00.25Z.
const TIME: i64 = 1_793_521_800_250_000_000;
const UUID: [u8; 16] = *b"\x01\x92\xf1\xa4\x7b\x3c\x7d\xef\x81\x23\x45\x67\x89\xab\xcd\xef";
const SALT: [u8; 16] = *b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf";
/// Behind two copies of the header.
const FRAME_AT: u32 = 2 * SEGMENT_HEADER_BYTES;

/// The bytes of each example in the document, by name.
fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    let mut examples = BTreeMap::new();
    for block in DOCUMENT.split("```text\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let Some((name, lines)) =
            block.strip_prefix("example: ").and_then(|block| block.split_once('\n'))
        else {
            continue;
        };
        let mut bytes = Vec::new();
        for line in lines.lines() {
            let hex = line.split('|').next().unwrap_or_default();
            let (offset, hex) = hex.trim().split_once(' ').unwrap_or_default();
            assert_eq!(usize::from_str_radix(offset, 16).ok(), Some(bytes.len()), "{name}: {line}");
            for word in hex.split_whitespace() {
                let run = run_of_bytes(word);
                assert!(run.is_some(), "{name}: {word:?} in {line:?} is no byte");
                bytes.extend(run.unwrap_or_default());
            }
        }
        assert!(examples.insert(name, bytes).is_none(), "{name} stands twice");
    }
    examples
}

/// The bytes of `3f` or `00*24`.
fn run_of_bytes(word: &str) -> Option<Vec<u8>> {
    let (byte, count) = word.split_once('*').unwrap_or((word, "1"));
    let whole = byte.len() == 2;
    whole.then_some(vec![u8::from_str_radix(byte, 16).ok()?; count.parse().ok()?])
}

/// Fails with the bytes as the document would have them.
fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
    let documented = examples().remove(name);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
    assert_eq!(documented.as_deref().map(hex), Some(hex(bytes)), "example {name}");
    documented.unwrap_or_default()
}

fn id(text: &str) -> Id<'_> {
    Id::new(text).expect("an id of the examples is valid")
}

fn header() -> SegmentHeader {
    SegmentHeader {
        kind: Kind::Event,
        stream: "events".to_owned(),
        first_seq: 41,
        covers: 0,
        packed: false,
        created_at: TIME,
        salt: SALT,
    }
}

/// The event of every field that FORMAT.md explains.
fn event() -> Event<'static> {
    Event::new("mail.sent")
        .created_at(Timestamp::from_nanos(TIME))
        .severity(Severity::Info)
        .actor_type(ActorType::System)
        .trace_id(id("f0f21b3342f101d546c957d98fa122f6"))
        .message("sent")
        .payload(Json::parse(r#"{"to":"a"}"#).expect("valid JSON"))
}

/// An event of no optional field, a second before the other.
fn bare_event() -> Event<'static> {
    Event::new("mail.read").created_at(Timestamp::from_nanos(TIME - 1_000_000_000))
}

fn run() -> Run<'static> {
    let at = |seconds: i64| Timestamp::from_nanos(TIME + seconds * 1_000_000_000);
    let mut run = Run::with_id(Id::from_uuid(UUID), "backup", Status::Failed)
        .created_at(at(0))
        .started_at(at(1))
        .finished_at(at(60))
        .attempt(2_u32)
        .project_id(id("billing"))
        .subject(Subject::new("booking", "B-1041").expect("a valid subject"))
        .error(RunError::new("disk full").error_type("IOError"))
        .metadata(Json::parse("{}").expect("valid JSON"));
    run.at = run.newest_time();
    run
}

fn owned_run() -> Run<'static> {
    let at = Timestamp::from_nanos(TIME);
    let owner = Owner::new("web-1")
        .process(Process::new(4711, 887_766, UUID, 4_026_531_836))
        .lease_until(Timestamp::from_nanos(TIME + 60_000_000_000));
    let run = Run::with_id(id("r-1"), "import", Status::Running).owner(owner);
    run.at(at).created_at(at).started_at(at).attempt(1_u32)
}

fn error() -> ErrorRecord<'static> {
    let mut error = ErrorRecord::new("IOError", "disk full")
        .created_at(Timestamp::from_nanos(TIME))
        .severity(Severity::Critical)
        .endpoint("/backup");
    error.fingerprint = Some(Fingerprint::of("IOError", "disk full", None));
    error
}

/// The frame of both events, and where their records stand in the file.
fn frame() -> (FrameHeader, Vec<u8>, [u32; 2]) {
    let payload_at = FRAME_AT + u32::try_from(FRAME_HEADER_BYTES).expect("40 bytes");
    let mut payload = Vec::new();
    codec::encode_event(&mut payload, 0, &event()).expect("a valid event");
    let second = payload_at + u32::try_from(payload.len()).expect("a short payload");
    codec::encode_event(&mut payload, 0, &bare_event()).expect("a valid event");
    let header = FrameHeader {
        payload_len: u32::try_from(payload.len()).expect("a short payload"),
        count: 2,
        payload_crc: payload_crc(&payload),
        base_seq: 41,
        recorded_at: TIME + 5,
        synced: FRAME_AT,
    };
    (header, payload, [payload_at, second])
}

/// Headers and frame: what the hash of the segment covers.
fn frames() -> Vec<u8> {
    let (frame, payload, _) = frame();
    let mut file = header().encode().expect("a valid header").repeat(2);
    file.extend(frame.encode(&SALT, u64::from(FRAME_AT)));
    file.extend(payload);
    file
}

fn footer_of_the_frame() -> footer::Built {
    let (_, _, [first, second]) = frame();
    let hash =
        |field, text| key::hash(9, key::parse_key(field, text).expect("a valid key").as_slice());
    let mut types = [hash(Field::Type, "mail.sent"), hash(Field::Type, "mail.read")];
    let sent_is_first = types.is_sorted();
    types.sort_unstable();
    let traces = [hash(Field::Trace, "f0f21b3342f101d546c957d98fa122f6")];
    let mut fields = [None; Field::KEYED];
    // The rows: the bare event is the older one.
    let codes: [u32; 2] = if sent_is_first { [1, 0] } else { [0, 1] };
    fields[0] = Some(FieldInput { hashes: &types, codes: &codes });
    fields[1] = Some(FieldInput { hashes: &traces, codes: &[NO_CODE, 0] });
    let input = FooterInput {
        times: &[TIME - 1_000_000_000, TIME],
        seqs: &[42, 41],
        seq_order: Some(&[1, 0]),
        offsets: &[second, first],
        tags: &[0, Severity::Info.code()],
        frames: &[FRAME_AT],
        supersedes: &[],
        open_runs: &[],
        blocks: None,
        rollup: Some(&Rollup::default()),
        seed: 9,
        fields,
    };
    let base = u32::try_from(frames().len()).expect("a short file");
    footer::build(&input, base).expect("columns that fit together")
}

#[test]
fn frames_without_ids_are_as_documented() {
    let ids: Vec<u8> = (0..32).collect();
    let (first, second) = ids.split_at(16);
    let frames = [b"begin ", first, b" and ", second, first, b" end"].concat();
    let at = |at, number| SharedId { at, number };
    let content = Content::new(&frames, &[at(6, 0), at(27, 1), at(43, 0)]);
    check("short-content", content.bytes());
}

#[test]
fn the_block_header_is_as_documented() {
    let packed_crc = runledger::format::crc::masked(b"1,724 compressed bytes, for instance");
    let header =
        BlockHeader { start: 8448, len: 8146, packed_len: 1724, packed_crc, is_short: false };
    let bytes = check("block-header", &header.encode(&SALT, 2048));
    assert_eq!(bytes.len(), BLOCK_HEADER_BYTES);
    assert_eq!(BlockHeader::decode(&bytes, &SALT, 2048), Ok(header));
}

fn trailer() -> Trailer {
    let frames = frames();
    let footer = footer_of_the_frame();
    let mut tags = TagCounts::default();
    tags.add(0);
    tags.add(Severity::Info.code());
    Trailer {
        frames_end: u32::try_from(frames.len()).expect("a short file"),
        rows: 2,
        records: 2,
        table_offset: footer.table_offset,
        table_crc: footer.table_crc,
        first_seq: 41,
        last_seq: 42,
        created_min: TIME - 1_000_000_000,
        created_max: TIME,
        newest_max: TIME,
        recorded_first: TIME + 5,
        recorded_last: TIME + 5,
        hash: *blake3::hash(&frames).as_bytes(),
        previous: [0; 32],
        tags,
    }
}

#[test]
fn identity() {
    let identity = Identity { uuid: UUID, created_at: TIME };
    assert_eq!(Identity::decode(&check("identity", &identity.encode())), Ok(identity));
}

#[test]
fn sequence_slot() {
    let head = |stream, sealed, end, first_seq| Head { stream, sealed, end, first_seq };
    let heads = vec![head(1, false, 387, 41), head(4, true, 8192, 7)];
    let state = SeqState { generation: 3, bound: 4096, clean: false, heads };
    let mut file = vec![0; usize::try_from(state.offset()).unwrap()];
    file.extend(check("seq-slot", &state.encode(&UUID)));
    assert_eq!(SeqState::decode(&file, &UUID), Some(state));
}

#[test]
fn segment_header() {
    let documented = check("segment-header", &header().encode().unwrap());
    assert_eq!(SegmentHeader::decode(&documented), Ok(header()));
}

#[test]
fn records() {
    let mut out = Vec::new();
    codec::encode_run(&mut out, 0, Prior::Seq(300), &run()).unwrap();
    let documented = check("run-record", &out);
    let decoded = codec::decode(Kind::Run, &documented).unwrap();
    assert_eq!((decoded.prior, decoded.body), (Prior::Seq(300), Body::Run(run())));

    let mut out = Vec::new();
    codec::encode_run(&mut out, 0, Prior::None, &owned_run()).unwrap();
    let documented = check("owned-run", &out);
    let decoded = codec::decode(Kind::Run, &documented).unwrap();
    assert_eq!(decoded.body, Body::Run(owned_run()));

    let mut out = Vec::new();
    codec::encode_error(&mut out, 2, &error()).unwrap();
    let documented = check("error-record", &out);
    let decoded = codec::decode(Kind::Error, &documented).unwrap();
    assert_eq!((decoded.gap, decoded.body), (2, Body::Error(error())));
}

#[test]
fn frame_with_two_events() {
    let (header, payload, _) = frame();
    let mut bytes = header.encode(&SALT, u64::from(FRAME_AT)).to_vec();
    bytes.extend(&payload);
    let documented = check("frame", &bytes);
    assert_eq!(FrameHeader::decode(&documented, &SALT, u64::from(FRAME_AT)), Ok(header));
    let payload = &documented[FRAME_HEADER_BYTES..];
    assert_eq!(payload_crc(payload), header.payload_crc);
    let first = codec::decode(Kind::Event, payload).unwrap();
    assert_eq!(first.body, Body::Event(event()));
    let second = codec::decode(Kind::Event, &payload[first.consumed..]).unwrap();
    assert_eq!(second.body, Body::Event(bare_event()));
}

#[test]
fn packed_column() {
    let values = [1000, 1003, 2000];
    let mut out = Vec::new();
    packed::encode(values.into_iter(), &mut out).unwrap();
    let documented = check("packed-column", &out);
    let column = Packed::new(&documented).unwrap();
    assert_eq!([0, 1, 2].map(|at| column.get(at)), values.map(Some));
}

#[test]
fn subject_key() {
    let key = key::parse_key(Field::Subject, "booking:B-1041").unwrap();
    let documented = check("subject-key", key.as_slice());
    assert_eq!(key::key_text(Field::Subject, &documented).as_deref(), Some("booking:B-1041"));
    let hash = format!("{:016x}", key::hash(9, &documented));
    assert!(DOCUMENT.contains(&hash), "the document names the hash {hash}");
}

#[test]
fn whole_sealed_segment() {
    let mut file = frames();
    file.extend(check("footer", &footer_of_the_frame().bytes));
    let trailer_at = u64::try_from(file.len()).unwrap();
    file.extend(check("trailer", &trailer().encode(&SALT, trailer_at)));
    let parts = examples();
    let whole = ["segment-header", "segment-header", "frame", "footer", "trailer"]
        .map(|name| parts[name].clone());
    assert_eq!(whole.concat(), file, "the examples are one file");

    let trailer_at = file.len() - TRAILER_BYTES;
    let read =
        Trailer::decode(&file[trailer_at..], &SALT, u64::try_from(trailer_at).unwrap()).unwrap();
    assert_eq!(read, trailer());
    let layout = FooterLayout::parse(&file, &read).unwrap();
    let seqs = layout.seqs(&file).unwrap();
    assert_eq!([seqs.get(0), seqs.get(1)], [Some(42), Some(41)]);
    let types = layout.field(&file, Field::Type).unwrap().unwrap();
    let sent = types.find(key::hash(layout.seed(), b"mail.sent")).unwrap();
    assert_eq!(types.postings(sent).collect::<Vec<_>>(), [1]);
    let offset = usize::try_from(layout.offsets(&file).unwrap().get(1).unwrap()).unwrap();
    let record = codec::decode(Kind::Event, &file[offset..]).unwrap();
    assert_eq!(record.body, Body::Event(event()));
}

#[test]
fn a_word_that_is_no_byte_is_refused() {
    for word in ["5", "zz", "00*x", "0ff"] {
        assert_eq!(run_of_bytes(word), None);
    }
    assert_eq!(run_of_bytes("0f*3"), Some(vec![15, 15, 15]));
}

#[test]
fn rollup() {
    let second = 1_000_000_000_u64;
    let mut failed = RunRow::new(1, Status::Failed, day_of(TIME));
    failed.add(41, Some(length_code(59 * second)));
    failed.add(44, Some(length_code(60 * second)));
    assert_eq!(failed.lengths, [(bucket_of(length_code(60 * second)), 2)]);
    let fingerprint = Fingerprint::of("IOError", "disk full", None);
    let (count, first) = (3, TIME);
    let last = TIME + 250_000_000;
    let rollup = Rollup {
        types: vec!["IOError".to_owned(), "backup".to_owned()],
        runs: vec![failed],
        errors: vec![ErrorRow { fingerprint, error_type: 0, count, first, last }],
    };
    let mut bytes = Vec::new();
    rollup.encode(&mut bytes);
    let documented = check("rollup", &bytes);
    assert_eq!(Rollup::decode(&documented), Ok(rollup));
}
