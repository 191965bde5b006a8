//! Small ledgers at random: equal times, times that go back, the ends of the range of times, runs
//! that are refused, texts that look alike.

use proptest::prelude::*;
use runledger::Reader;

use super::book::Book;
use super::compare::Exam;
use super::{append, note_fingerprints, options, split, spoil_footers};

/// Times that meet: few of them, and the extremes.
const TIMES: [&str; 7] = [
    "1677-09-21T00:12:43.145224192Z",
    "1677-09-21T00:12:43.145224193Z",
    "1970-01-01T00:00:00Z",
    "2026-11-01T08:30:00.000000001Z",
    "2026-11-01T08:30:00Z",
    "2262-04-11T23:47:16.854775806Z",
    "2262-04-11T23:47:16.854775807Z",
];

/// Ids of each form, and some that differ in little.
const IDS: [&str; 6] = [
    "a",
    "A",
    "f0f21b3342f101d546c957d98fa122f6",
    "F0F21B3342F101D546C957D98FA122F6",
    "0192f1a4-7b3c-7def-8123-456789abcdef",
    "größe/日本語",
];

const STATUSES: [&str; 6] = ["pending", "running", "success", "failed", "skipped", "cancelled"];
const TYPES: [&str; 3] = ["backup", "backup ", "mail.sent"];

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(values)
}

fn maybe(key: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::option::of(one_of(values)).prop_map(move |value| {
        value.map_or(String::new(), |value| format!(r#","{key}":"{value}""#))
    })
}

/// What all kinds share: a time, a type, ids; sometimes enough text to fill a segment soon.
fn shared() -> impl Strategy<Value = String> {
    let ids = (maybe("trace_id", &IDS), maybe("project_id", &IDS), maybe("user_id", &IDS));
    (one_of(&TIMES), one_of(&TYPES), ids).prop_map(|(time, name, (trace, project, user))| {
        format!(r#""ts":"{time}","type":"{name}"{trace}{project}{user}"#)
    })
}

fn payload() -> impl Strategy<Value = String> {
    let size = prop_oneof![3 => Just(0_usize), 1 => 1..20_usize, 1 => Just(10_000)];
    (size, any::<u8>())
        .prop_map(|(size, byte)| format!(r#"{{"n": {byte},"Text":"{}"}}"#, "Ab".repeat(size)))
}

fn line() -> impl Strategy<Value = String> {
    let subject = maybe("subject", &["booking:1", "booking:2", "room:1"]);
    let attempt = prop_oneof![4 => Just(String::new()), 1 => (1..4_u32)
        .prop_map(|attempt| format!(r#","attempt":{attempt}"#))];
    let message = maybe("message", &["Disk full", "disk full", "größe"]);
    let run = (shared(), one_of(&IDS), one_of(&STATUSES), subject, attempt, message, payload())
        .prop_map(|(shared, id, status, subject, attempt, message, json)| {
            let own = format!(r#""run_id":"{id}","status":"{status}"{subject}{attempt}{message}"#);
            format!(r#"{{"kind":"run",{shared},{own},"metadata":{json}}}"#)
        });
    let severity = maybe("severity", &["debug", "info", "warning", "critical"]);
    let message = maybe("message", &["Disk full", "disk full", "größe"]);
    let event = (shared(), maybe("run_id", &IDS), severity, message, payload()).prop_map(
        |(shared, run, severity, message, json)| {
            format!(r#"{{"kind":"event",{shared}{run}{severity}{message},"payload":{json}}}"#)
        },
    );
    let severity = maybe("severity", &["warning", "error", "critical"]);
    let message = one_of(&["Disk full", "disk 7 full", "disk 8 full"]);
    let error = (shared(), maybe("run_id", &IDS), severity, message, payload()).prop_map(
        |(shared, run, severity, message, json)| {
            let own = format!(r#""message":"{message}","detail":{json}"#);
            format!(r#"{{"kind":"error",{shared}{run}{severity},{own}}}"#)
        },
    );
    prop_oneof![3 => run, 2 => event, 1 => error]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_index_agrees_with_a_full_scan(
        lines in prop::collection::vec(line(), 1..80),
        reopened in 0..80_usize,
        seed in any::<u64>(),
        // None are split off, some, all; and others at the second opening.
        masks in prop::array::uniform2(prop_oneof![Just(0), any::<u32>(), Just(super::EVERY)]),
    ) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("ledger");
        let mut book = Book::default();
        let (before, after) = lines.split_at(reopened.min(lines.len()));
        let open = |mask| split(options(64 << 10), mask).open(&dir).unwrap();
        append(&open(masks[0]), &mut book, before);
        let ledger = open(masks[1]);
        append(&ledger, &mut book, after);
        if book.recs.is_empty() {
            return Ok(());
        }
        note_fingerprints(&mut book, ledger.reader());
        let exam = Exam::new(&book, 20, seed);
        exam.sit(ledger.reader(), 1);
        ledger.close().unwrap();
        exam.sit(&Reader::open(&dir).unwrap(), 2);
        spoil_footers(&dir);
        exam.sit(&Reader::open(&dir).unwrap(), 3);
    }
}
