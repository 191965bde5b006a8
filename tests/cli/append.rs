use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use super::Bench;

#[test]
fn each_kind_from_flags() {
    let bench = Bench::new();
    let steps: [(&str, &[&str]); 4] = [
        (
            "run --type backup --id b-1 --status running --project p --subject booking:B-1",
            &["--metadata", r#"{"a": 1}"#, "--at", "2026-11-01 02:00"],
        ),
        (
            "run --type backup --id b-1 --status failed --at 2026-11-01T02:00:05Z",
            &["--message", "no space"],
        ),
        (
            "event --type mail.sent --run b-1 --severity warn --actor-type user --actor-id u",
            &["--payload", "[1]", "--at", "-2h", "--durability", "os"],
        ),
        ("error --type E --message m --endpoint /a --trace t", &[]),
    ];
    for (seq, (flags, more)) in (1..).zip(steps) {
        let args = ["append"].into_iter().chain(flags.split(' ')).chain(more.iter().copied());
        let said = bench.run(args);
        assert_eq!((said.code, said.out, said.err), (0, format!("{seq}\n"), String::new()));
    }

    let records = bench.records();
    assert_eq!(records[0]["subject"]["id"], "B-1");
    assert_eq!(records[1]["project_id"], "p", "kept from the record before");
    assert_eq!(records[1]["duration_ms"], 5_000);
    assert_eq!(records[1]["message"], "no space");
    assert_eq!(records[2]["severity"], "warning");
    assert_eq!(records[3]["severity"], "error");
}

#[test]
fn bad_values_name_the_flag_and_the_remedy() {
    let bench = Bench::new();
    let long = "i".repeat(129);
    let event = |args: &[&str]| bench.run([&["append", "event", "--type", "x"], args].concat());
    for (args, expected) in [
        (&["--payload", "{"][..], "expected valid JSON"),
        (&["--trace", &long], "expected 1 to 128 bytes"),
        (&["--severity", "bad"], "one of: trace debug info warning error critical"),
        (&["--at", "25 o'clock"], "2026-11-01"),
        (&["--status", "failed"], "--status"),
    ] {
        let said = event(args);
        assert_eq!(said.code, 2, "{args:?}");
        assert!(said.err.contains(expected), "{args:?}: {}", said.err);
    }
    assert!(!bench.ledger().exists(), "nothing was made for a command that was wrong");
    let said = bench.run(["append", "run", "--type", "x", "--id", "r", "--status", "done"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("pending, running, success"), "{}", said.err);
    let said = bench.run(["append", "run", "--type", "x", "--id", "r", "--status", "abandoned"]);
    assert_eq!(said.code, 2, "the ledger alone says so");
}

#[test]
fn a_refused_state_says_how_to_go_on() {
    let bench = Bench::new();
    let state = |status: &str, more: &[&str]| {
        let args = ["append", "run", "--type", "x", "--id", "r", "--status", status];
        bench.run([&args, more].concat())
    };
    assert_eq!(state("success", &[]).code, 0);
    let said = state("running", &[]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("append it with an attempt above 1"), "{}", said.err);
    assert_eq!(state("running", &["--attempt", "2"]).code, 0);
}

/// A script took the exit code for that of a record that is not in, and appended it again: nothing
/// told that it is, nor its number.
#[test]
fn a_record_whose_number_cannot_be_printed_is_named_on_stderr() {
    let bench = Bench::new();
    let said = bench.shell("\"$runledger\" append event --type e > /dev/full");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("cannot write the output: No space left"), "{}", said.err);
    assert!(said.err.contains("record 1 is in all the same"), "{}", said.err);
    // Who closes the pipe has asked for no number.
    let mut append = bench.program();
    append.args(["append", "event", "--type", "e"]).stdout(super::unread());
    let said = super::said(append.output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(bench.records().len(), 2);
}

/// A crash had torn the events, and the note of that found no space, so that the close was none in
/// order: the record was in, and nothing told its number.
#[test]
fn a_record_that_is_in_is_told_of_whatever_comes_of_the_close() {
    let bench = with_a_close_that_fails();
    let append = "append error --type E --message again";
    let said = bench.shell(&format!("trap '' XFSZ; ulimit -f 64; exec \"$runledger\" {append}"));
    assert_eq!(said.code, 2, "{said:?}");
    let records = bench.records();
    let seq = records.last().unwrap()["seq"].to_string();
    assert_eq!((records.len(), said.out), (4, format!("{seq}\n")));
    assert!(said.err.contains("no space left for ./ledger"), "{}", said.err);
    assert!(said.err.contains(&format!("record {seq} is in all the same")), "{}", said.err);
}

/// A ledger of three records whose next close fails where files may have 32 KiB.
pub(super) fn with_a_close_that_fails() -> Bench {
    let bench = Bench::new();
    let run = ["append", "run", "--type", "t", "--id", "r", "--status", "success"];
    assert_eq!(bench.run(run).code, 0);
    // The notes end behind the limit that comes, and all else before it.
    assert_eq!(bench.run(["pin", "r", "--reason", &"x".repeat(40_000)]).code, 0);
    let mut child = bench.start(bench.program().args(["import", "-"]).stdin(Stdio::piped()));
    let mut pipe = child.stdin.take().unwrap();
    let lines = concat!(
        r#"{"kind":"event","type":"e"}"#,
        "\n",
        r#"{"kind":"error","type":"E","message":"m"}"#,
        "\n"
    );
    pipe.write_all(lines.as_bytes()).unwrap();
    let is_in = || {
        sleep(Duration::from_millis(20));
        bench.run(["errors", "--count"]).out == "1\n"
    };
    assert!((0..500).any(|_| is_in()));
    child.kill().unwrap();
    child.wait().unwrap();
    let events = fs::read_dir(bench.ledger().join("streams/events")).unwrap().next();
    let segment = events.unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // The last frame may end in zeros itself.
    bytes[end + 64..end + 68].copy_from_slice(b"torn");
    fs::write(&segment, bytes).unwrap();
    bench
}
