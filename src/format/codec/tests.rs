mod by_bincode;

use std::borrow::Cow;

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::{
    ActorType, Fingerprint, Id, Origin, Owner, Process, RunError, Severity, Status, Subject,
    Timestamp,
};

// Boxed: a strategy of a whole record is larger than a test's stack.
fn id() -> BoxedStrategy<Id<'static>> {
    prop_oneof![
        "\\PC{1,32}".prop_map(|text| Id::new(text).unwrap()),
        any::<[u8; 16]>().prop_map(Id::from_uuid),
        any::<[u8; 16]>().prop_map(Id::from_hex_bytes),
    ]
    .boxed()
}

fn origin() -> impl Strategy<Value = Origin> {
    any::<([u8; 16], u64)>().prop_map(|(ledger, seq)| Origin::new(ledger, seq))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_nanos)
}

fn json_text() -> BoxedStrategy<Json<'static>> {
    "\\PC{0,300}".prop_map(|text| Json::from_value(&text).unwrap()).boxed()
}

prop_compose! {
    fn owner()(
        host in "\\PC{1,40}",
        process in option::of((any::<u32>(), any::<u64>(), any::<[u8; 16]>(), any::<u64>())),
        lease_until in option::of(time()),
    ) -> Owner<'static> {
        let mut owner = Owner::new(host);
        owner.process =
            process.map(|(pid, began, boot, space)| Process::new(pid, began, boot, space));
        owner.lease_until = lease_until;
        owner
    }
}

prop_compose! {
    fn run()(
        ids in (id(), option::of(id()), option::of(id()), option::of(id()), option::of(id())),
        run_type in "\\PC{1,40}",
        status in prop::sample::select(Status::ALL),
        times in (time(), option::of(time()), option::of(time())),
        attempt: u32,
        subject in option::of(("[a-z]{1,9}", id())),
        error in option::of((option::of("\\PC{0,9}"), "\\PC{0,99}", option::of("\\PC{0,99}"))),
        metadata in option::of(json_text()),
        result in option::of(json_text()),
        owner in option::of(owner()),
        origin in option::of(origin()),
    ) -> Run<'static> {
        let mut run = Run::with_id(ids.0, run_type, status);
        (run.trace_id, run.project_id, run.user_id, run.parent_run_id) =
            (ids.1, ids.2, ids.3, ids.4);
        (run.created_at, run.started_at, run.finished_at) = (Some(times.0), times.1, times.2);
        run.at = run.newest_time();
        run.attempt = Some(attempt);
        run.subject =
            subject.map(|(kind, id)| Subject::from_parts(Cow::Owned(kind), id).unwrap());
        run.error = error.map(|(error_type, message, stack)| {
            let mut error = RunError::new(message);
            error.error_type = error_type.map(Cow::Owned);
            error.stack = stack.map(Cow::Owned);
            error
        });
        run.metadata = metadata;
        run.result = result;
        run.owner = owner.map(Box::new);
        run.origin = origin;
        run
    }
}

prop_compose! {
    fn event()(
        ids in (option::of(id()), option::of(id()), option::of(id()), option::of(id())),
        actor in (option::of(prop::sample::select(ActorType::ALL)), option::of(id())),
        event_type in "\\PC{1,40}",
        severity in option::of(prop::sample::select(Severity::ALL)),
        created_at in time(),
        message in option::of("\\PC{0,300}"),
        payload in option::of(json_text()),
        origin in option::of(origin()),
    ) -> Event<'static> {
        let mut event = Event::new(event_type);
        (event.trace_id, event.project_id, event.run_id, event.user_id) =
            (ids.0, ids.1, ids.2, ids.3);
        (event.actor_type, event.actor_id) = actor;
        event.severity = severity;
        event.created_at = Some(created_at);
        event.message = message.map(Cow::Owned);
        event.payload = payload;
        event.origin = origin;
        event
    }
}

prop_compose! {
    fn error()(
        ids in (option::of(id()), option::of(id()), option::of(id()), option::of(id())),
        texts in ("\\PC{1,40}", "\\PC{0,300}", option::of("\\PC{0,9}"), option::of("\\PC{0,99}")),
        severity in prop::sample::select(&Severity::ALL[3..]),
        created_at in time(),
        fingerprint in option::of((1..=u8::MAX, any::<u64>())),
        detail in option::of(json_text()),
        origin in option::of(origin()),
    ) -> ErrorRecord<'static> {
        let mut error = ErrorRecord::new(texts.0, texts.1);
        (error.trace_id, error.project_id, error.run_id, error.user_id) =
            (ids.0, ids.1, ids.2, ids.3);
        error.endpoint = texts.2.map(Cow::Owned);
        error.stack = texts.3.map(Cow::Owned);
        error.severity = severity;
        error.created_at = Some(created_at);
        error.fingerprint = fingerprint.map(|(version, hash)| Fingerprint { version, hash });
        error.detail = detail;
        error.origin = origin;
        error
    }
}

fn body() -> impl Strategy<Value = Body<'static>> {
    prop_oneof![
        run().prop_map(Body::Run).boxed(),
        event().prop_map(Body::Event).boxed(),
        error().prop_map(Body::Error).boxed()
    ]
}

fn prior() -> impl Strategy<Value = Prior> {
    prop_oneof![
        Just(Prior::None),
        any::<u64>().prop_map(Prior::Seq),
        any::<u32>().prop_map(Prior::Back)
    ]
}

fn encode(out: &mut Vec<u8>, gap: u32, prior: Prior, body: &Body<'_>) -> Result<()> {
    match body {
        Body::Run(run) => encode_run(out, gap, prior, run),
        Body::Event(event) => encode_event(out, gap, event),
        Body::Error(error) => encode_error(out, gap, error),
    }
}

proptest! {
    #[test]
    fn round_trip(gap: u32, prior in prior(), body in body(), before: Vec<u8>, after: Vec<u8>) {
        let mut out = before.clone();
        encode(&mut out, gap, prior, &body).unwrap();
        let len = out.len() - before.len();
        prop_assert_eq!(&out[..before.len()], &before[..]);
        out.extend(&after);
        let decoded = decode(body.kind(), &out[before.len()..]).unwrap();
        prop_assert_eq!(decoded.consumed, len);
        prop_assert_eq!(decoded.gap, gap);
        let kept = if body.kind() == Kind::Run { prior } else { Prior::None };
        prop_assert_eq!(decoded.prior, kept);
        prop_assert_eq!(decoded.body, body);
    }

    #[test]
    fn any_bytes_decode_or_fail_without_a_panic(
        kind in prop::sample::select(Kind::ALL), bytes: Vec<u8>,
    ) {
        if let Ok(decoded) = decode(kind, &bytes) {
            prop_assert!(decoded.consumed <= bytes.len());
        }
    }

    #[test]
    fn a_record_cut_short_fails(body in body(), cut in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        encode(&mut out, 0, Prior::None, &body).unwrap();
        let cut = cut.index(out.len());
        prop_assert!(decode(body.kind(), &out[..cut]).is_err());
    }

    #[test]
    fn a_damaged_record_stays_within_its_bytes(
        body in body(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut out = Vec::new();
        encode(&mut out, 0, Prior::None, &body).unwrap();
        let at = at.index(out.len());
        out[at] = byte;
        if let Ok(decoded) = decode(body.kind(), &out) {
            prop_assert!(decoded.consumed <= out.len());
        }
    }
}

fn small_event() -> Event<'static> {
    let mut event = Event::new("mail.sent");
    event.created_at = Some(Timestamp::from_nanos(1));
    event
}

#[test]
fn zeros_never_decode() {
    for &kind in Kind::ALL {
        assert_eq!(decode(kind, &[]), Err(Damage::Length));
        assert_eq!(decode(kind, &[0; 64]), Err(Damage::Length));
        assert_eq!(decode(kind, &[0; 4096]), Err(Damage::Length));
    }
}

#[test]
fn hostile_lengths_are_refused_before_anything_is_allocated() {
    for &kind in Kind::ALL {
        for head in [
            &[252, 0xff, 0xff, 0xff, 0xff][..],
            &[252, 1, 0, 0, 1],
            &[253, 0, 0, 0, 0, 0, 32, 0, 0],
            &[254; 17],
            &[255; 17],
        ] {
            let mut bytes = head.to_vec();
            bytes.extend([1; 64]);
            assert_eq!(decode(kind, &bytes), Err(Damage::Length), "{head:?}");
        }
        assert_eq!(decode(kind, &[200, 1, 2]), Err(Damage::Truncated));
        assert_eq!(decode(kind, &[251, 200]), Err(Damage::Length));
    }
    // A text inside of the record that claims 2^45 bytes, the one that aborts without a limit.
    let mut record = vec![0; 11];
    record.extend([253, 0, 0, 0, 0, 0, 32, 0, 0]);
    let mut bytes = vec![u8::try_from(record.len()).unwrap()];
    bytes.extend(record);
    assert_eq!(decode(Kind::Event, &bytes), Err(Damage::Record));
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    let mut out = Vec::new();
    encode_event(&mut out, 3, &small_event()).unwrap();
    out[0] += 5;
    // No origin, and what this version does not know.
    out.extend([0, 9, 9, 9, 9, 0xee]);
    let decoded = decode(Kind::Event, &out).unwrap();
    assert_eq!(decoded.body, Body::Event(small_event()));
    assert_eq!(decoded.consumed, out.len() - 1);
}

#[test]
fn text_is_borrowed() {
    let mut out = Vec::new();
    let event = small_event()
        .message("a message")
        .trace_id(Id::new("trace").unwrap())
        .payload(Json::parse("{}").unwrap());
    encode_event(&mut out, 0, &event).unwrap();
    let Body::Event(read) = decode(Kind::Event, &out).unwrap().body else { panic!("an event") };
    let range = out.as_ptr_range();
    for text in [
        &*read.event_type,
        read.message.as_deref().unwrap(),
        read.payload.as_ref().unwrap().as_str(),
    ] {
        assert!(range.contains(&text.as_ptr()), "{text}");
    }
    assert!(matches!(read.event_type, Cow::Borrowed(_)));
}

#[test]
fn lengths_at_the_steps_of_the_length_field() {
    let overhead = {
        let mut out = Vec::new();
        encode_event(&mut out, 0, &small_event().message("")).unwrap();
        out.len() - 1
    };
    // The text's own length takes one byte up to 250, then three, then five.
    for (len, text, head) in [
        (250, 250 - overhead, 1),
        (251, 251 - overhead, 3),
        (65_535, 65_535 - overhead - 2, 3),
        (65_536 + 2, 65_536 - overhead, 5),
        (MAX_RECORD_BYTES, MAX_RECORD_BYTES - overhead - 4, 5),
    ] {
        let event = small_event().message("x".repeat(text));
        let mut out = vec![7];
        encode_event(&mut out, 0, &event).unwrap();
        assert_eq!(out.len() - 1, head + len);
        let decoded = decode(Kind::Event, &out[1..]).unwrap();
        assert_eq!(decoded.consumed, head + len);
        assert_eq!(decoded.body, Body::Event(event));
    }
}

#[test]
fn what_is_refused_leaves_the_buffer_as_it_was() {
    let mut out = vec![1, 2, 3];
    let long = "x".repeat(MAX_RECORD_BYTES);
    let refused = [
        encode_event(&mut out, 0, &small_event().message(long.as_str())),
        encode_event(&mut out, 0, &small_event().message(format!("{long}x"))),
        encode_event(&mut out, 0, &Event::new("no time")),
        encode_event(&mut out, 0, &Event { event_type: "".into(), ..small_event() }),
        encode_event(&mut out, 0, &Event { event_type: "x".repeat(257).into(), ..small_event() }),
        encode_error(
            &mut out,
            0,
            &ErrorRecord {
                severity: Severity::Info,
                created_at: Some(Timestamp::MIN),
                ..ErrorRecord::new("E", "m")
            },
        ),
    ];
    assert!(matches!(refused[0], Err(Error::TooLarge { .. })));
    assert!(matches!(refused[1], Err(Error::TooLarge { .. })));
    for refusal in &refused[2..] {
        assert!(matches!(refusal, Err(Error::Invalid { .. })), "{refusal:?}");
    }
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn what_is_plainly_too_large_is_not_copied_first() {
    let mut out = Vec::new();
    let huge = small_event().message("x".repeat(MAX_RECORD_BYTES + 1));
    assert!(matches!(encode_event(&mut out, 0, &huge), Err(Error::TooLarge { .. })));
    assert_eq!(out.capacity(), 0);
}

#[test]
fn an_attempt_that_is_not_named_is_the_first() {
    let mut run = Run::new("r", "t", Status::Running).unwrap();
    run.created_at = Some(Timestamp::from_nanos(1));
    let mut out = Vec::new();
    encode_run(&mut out, 0, Prior::None, &run).unwrap();
    let Body::Run(read) = decode(Kind::Run, &out).unwrap().body else { panic!("a run") };
    assert_eq!((read.attempt, read.at), (Some(1), run.created_at));
}

#[test]
fn codes_that_mean_nothing_are_damage() {
    let mut out = Vec::new();
    encode_event(&mut out, 0, &small_event()).unwrap();
    // Length, gap, eight bytes of time, and then the two codes.
    for at in [10, 11] {
        let mut bytes = out.clone();
        assert_eq!(bytes[at], 0);
        bytes[at] = 200;
        assert_eq!(decode(Kind::Event, &bytes), Err(Damage::Record));
    }
}

#[test]
fn prior_resolves_only_to_an_earlier_record() {
    assert_eq!(Prior::None.resolve(9), None);
    assert_eq!(Prior::Seq(8).resolve(9), Some(8));
    assert_eq!(Prior::Seq(9).resolve(9), None);
    assert_eq!(Prior::Seq(0).resolve(9), None);
    assert_eq!(Prior::Back(8).resolve(9), Some(1));
    for distance in [0, 9, 10, u32::MAX] {
        assert_eq!(Prior::Back(distance).resolve(9), None);
    }
}
