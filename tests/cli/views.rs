//! Single records, traces, the tail and the statistics.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;

use runledger::{
    Class, Durability, ErrorRecord, Event, Id, Json, Kind, Limits, Options, Run, RunError,
    Severity, Status,
};
use serde_json::Value;

use super::{Bench, said};

/// One parent with a child, an error in it, and an event of the trace that belongs to no run.
fn family() -> Bench {
    let bench = Bench::new();
    let lines = concat!(
        r#"{"kind":"run","ts":"2026-11-01T01:00:00Z","type":"deploy","run_id":"parent","trace_id":"t","status":"running","metadata":{"b":[1,{"a":null}]}}"#,
        "\n",
        r#"{"kind":"run","ts":"2026-11-01T01:00:02Z","type":"migrate","run_id":"child","parent_run_id":"parent","trace_id":"t","status":"running"}"#,
        "\n",
        r#"{"kind":"error","ts":"2026-11-01T01:00:05Z","type":"SqlError","run_id":"child","trace_id":"t","message":"deadlock","stack":"a\n  b"}"#,
        "\n",
        r#"{"kind":"event","ts":"2026-11-01T01:00:06Z","type":"alert","trace_id":"t","payload":{"to":"ops"}}"#,
        "\n",
        r#"{"kind":"run","ts":"2026-11-01T01:00:08Z","type":"migrate","run_id":"child","status":"failed","message":"deadlock"}"#,
        "\n",
        r#"{"kind":"run","ts":"2026-11-01T01:00:10Z","type":"deploy","run_id":"parent","status":"failed","message":"child failed"}"#,
        "\n",
    );
    let said = bench.run_with_input(["import", "-"], lines.as_bytes());
    assert_eq!(said.code, 0, "{said:?}");
    bench
}

#[test]
fn a_run_is_shown_with_its_history_and_what_belongs_to_it() {
    let bench = family();
    let elsewhere = bench.command("mv").args(["ledger", "my ledger"]).status().unwrap();
    assert!(elsewhere.success());
    let said = bench.run(["--dir", "my ledger", "show", "child"]);
    let command = "1 error: runledger --dir 'my ledger' errors --run child\n";
    assert!(said.out.contains(command), "{}", said.out);
    let said = family().run(["show", "child"]);
    assert_eq!(said.code, 0, "{said:?}");
    for expected in [
        "run migrate  failed\n",
        "  parent run   parent\n",
        "  duration     6.00s\n",
        "\nerror\n  deadlock\n",
        "\nhistory\n",
        "\n0 events\n1 error: runledger errors --run child\n",
    ] {
        assert!(said.out.contains(expected), "{expected:?} in {}", said.out);
    }
}

#[test]
fn a_record_is_shown_by_its_number() {
    let bench = family();
    let said = bench.run(["show", "1"]);
    let pretty =
        "metadata\n  {\n    \"b\": [\n      1,\n      {\n        \"a\": null\n      }\n    ]\n  }";
    assert!(said.out.contains(pretty), "{}", said.out);
    let said = bench.run(["show", "3"]);
    assert!(said.out.contains("stack\n  a\n    b\n"), "{}", said.out);
    let said = bench.run(["show", "3", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["type"], "SqlError");
    for missing in ["99", "nobody"] {
        let said = bench.run(["show", missing]);
        assert_eq!((said.code, said.out.as_str()), (1, ""));
        assert!(said.err.contains(missing), "{said:?}");
    }
}

#[test]
fn a_run_whose_id_is_a_number_is_found_when_no_record_has_it() {
    let bench = Bench::new();
    let run = ["append", "run", "--id", "77", "--type", "t", "--status", "success"];
    assert_eq!(bench.run(run).code, 0);
    let run = ["append", "run", "--id", "1", "--type", "u", "--status", "success"];
    assert_eq!(bench.run(run).code, 0);
    assert!(bench.run(["show", "77"]).out.starts_with("run t  success"));
    assert!(bench.run(["show", "1"]).out.starts_with("run t  success"));
    assert!(bench.run(["show", "1", "--run"]).out.starts_with("run u  success"));
}

#[test]
fn a_trace_is_told_in_the_order_of_time() {
    let bench = family();
    let said = bench.run(["trace", "t"]);
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.out.lines().skip(1).map(str::trim_start).collect();
    for (line, expected) in lines.iter().zip([
        "+0.000 s  |================|  failed  10.0s  deploy       child failed",
        "+2.000 s  |   ==========   |  failed  6.00s    migrate    deadlock",
        "+5.000 s  |        x       |  error       -      SqlError  deadlock",
        "+6.000 s  |         .      |  event       -  alert       {\"to\":\"ops\"}",
    ]) {
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(line), squeeze(expected));
    }
    let of_run = bench.run(["trace", "child"]);
    assert_eq!(of_run.out.lines().count(), 3, "a run id will do: {}", of_run.out);
    assert_eq!(bench.run(["trace", "t", "-o", "json"]).out.lines().count(), 4);
    assert_eq!(bench.run(["trace", "nobody"]).code, 1);
}

#[test]
fn the_tail_shows_the_last_records_as_they_came() {
    let bench = family();
    let said = bench.run(["tail", "-n", "2", "-o", "json"]);
    let seqs: Vec<u64> = said
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [5, 6]);
    assert_eq!(bench.run(["tail", "--kind", "event,error"]).out.lines().count(), 3);
    assert_eq!(bench.run(["tail", "--type", "nope"]).code, 1);
}

#[test]
fn a_tail_that_follows_shows_what_comes_and_ends_with_a_signal() {
    let bench = family();
    let args = ["tail", "-f", "-n", "1", "-o", "json", "--kind", "event"];
    let mut child = bench.start(bench.program().args(args));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("alert"));
    assert_eq!(bench.run(["append", "event", "--type", "news"]).code, 0);
    assert!(lines.next().unwrap().unwrap().contains("news"));
    let kill = format!("kill -INT {}", child.id());
    assert_eq!(bench.shell(&kill).code, 0);
    let said = said(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

/// More has come since the last look than is taken at a time, of two kinds in turn.
#[test]
fn a_tail_that_is_far_behind_keeps_the_order() {
    const LINES: u64 = 9_000;
    let bench = family();
    let mut child = bench.start(bench.program().args(["tail", "-f", "-n", "1", "-o", "json"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seq = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["seq"].as_u64().unwrap()
    };
    let first = seq();
    let send = |signal: &str| bench.shell(&format!("kill -{signal} {}", child.id())).code;
    assert_eq!(send("STOP"), 0);
    let line = |number: u64| match number % 9 {
        0 => format!(r#"{{"kind":"run","run_id":"r{number}","type":"t","status":"success"}}"#),
        _ => r#"{"kind":"event","type":"t"}"#.to_owned(),
    };
    let input: Vec<String> = (0..LINES).map(line).collect();
    let said = bench.run_with_input(["import", "-"], input.join("\n").as_bytes());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(send("CONT"), 0);
    let seqs: Vec<u64> = (0..LINES).map(|_| seq()).collect();
    assert_eq!(send("INT"), 0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(seqs.is_sorted_by(|a, b| a < b) && first < seqs[0]);
}

/// A record came to a stream when one with a higher number had been shown that came to another one
/// of its kind: the tail went on behind that one, and never showed it.
#[test]
fn a_tail_shows_what_comes_behind_a_higher_number_of_another_stream() {
    let bench = Bench::new();
    let critical = Class::severity(Kind::Error, Severity::Critical).unwrap();
    let options = Options::new().class(critical, Limits::new().forever()).background(false);
    let ledger = options.open(bench.ledger()).unwrap();
    let append = |severity| {
        let error = ErrorRecord::new("E", "m").severity(severity);
        ledger.append_with(error, Durability::Os).unwrap();
    };
    append(Severity::Error);
    let errors = fs::read_dir(bench.ledger().join("streams/errors")).unwrap();
    let segment = errors.map(|entry| entry.unwrap().path()).next().unwrap();
    let before = fs::read(&segment).unwrap();
    append(Severity::Error);
    let after = fs::read(&segment).unwrap();
    append(Severity::Critical);
    // As it is while the one of the two that came first is not written yet.
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&before, 0).unwrap();
    let mut child = bench.start(bench.program().args(["tail", "-f", "-n", "1", "-o", "json"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seq = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["seq"].as_u64().unwrap()
    };
    assert_eq!(seq(), 3);
    file.write_all_at(&after, 0).unwrap();
    append(Severity::Error);
    let mut seen = vec![seq()];
    if seen == [2] {
        seen.push(seq());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(seen, [2, 4]);
}

/// 200 errors of a trace, the first of them damaged in a segment whose footer knows it.
fn damaged() -> Bench {
    let bench = Bench::new();
    add_damaged(&bench, 0);
    bench
}

/// As many in a ledger, of which the first one in this segment is damaged.
fn add_damaged(bench: &Bench, segment: usize) {
    let options = Options::new().segment_bytes(64 << 10).background(false);
    let ledger = options.open(bench.ledger()).unwrap();
    for number in 0..200 {
        let error = ErrorRecord::new("E", format!("record {number:0>1000}"));
        ledger.append_with(error.trace_id(Id::new("t").unwrap()), Durability::Os).unwrap();
    }
    ledger.close().unwrap();
    let files = fs::read_dir(bench.ledger().join("streams/errors")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let segment = &files[segment];
    let mut bytes = fs::read(segment).unwrap();
    let at = bytes.windows(7).position(|window| window == b"record ").unwrap();
    bytes[at] ^= 1;
    fs::write(segment, bytes).unwrap();
}

/// The first record of a trace could not be read, and none of the others was shown.
#[test]
fn a_trace_whose_first_record_is_damaged_is_shown_without_it() {
    let said = damaged().run(["trace", "t"]);
    assert_eq!((said.code, said.out.lines().skip(1).count()), (3, 199), "{}", said.err);
    let first = said.out.lines().nth(1).unwrap();
    assert!(first.trim_start().starts_with("+0.000 "), "{first}");
}

/// An earlier state of a run could not be read, and neither the others nor its events were told of.
#[test]
fn a_run_with_a_damaged_state_is_shown_with_the_others() {
    let bench = Bench::new();
    let options = Options::new().segment_bytes(64 << 10).background(false);
    let ledger = options.open(bench.ledger()).unwrap();
    let run = |id: &str, status| Run::new(id.to_owned(), "t", status).unwrap();
    let noted = Json::parse(r#""a state to be damaged""#).unwrap();
    ledger.append(run("r", Status::Pending).result(noted)).unwrap();
    for number in 0..100 {
        let error = RunError::new("x".repeat(1000));
        let other = run(&format!("run-{number}"), Status::Failed).error(error);
        ledger.append_with(other, Durability::Os).unwrap();
    }
    let again = |status| run("r", status).result(Json::parse("1").unwrap());
    ledger.append(again(Status::Running)).unwrap();
    ledger.append(again(Status::Success)).unwrap();
    ledger.append(Event::new("e").run_id(Id::new("r").unwrap())).unwrap();
    ledger.close().unwrap();
    let segment = bench.ledger().join("streams/runs/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(10).position(|window| window == b"to be dama").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let said = bench.run(["show", "r"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("00000000000000000001.seg is damaged"), "{said:?}");
    assert!(said.out.contains("  running  ") && said.out.contains("1 event: "), "{}", said.out);
}

/// Of none of the last records the first was looked for, through all of them.
#[test]
fn a_tail_that_begins_with_none_reads_none() {
    let bench = damaged();
    assert_eq!(bench.run(["tail", "-g", "needle"]).code, 3, "what is damaged may hold it");
    assert_eq!(bench.run(["tail", "-n", "0", "-g", "needle"]).code, 1);
}

/// A listing that looked for a text ended at a damaged record, though one without a text tells of
/// it and goes on; counts and groups were refused.
#[test]
fn what_is_damaged_is_told_and_passed_over() {
    let bench = damaged();
    for (args, shown) in [
        (&["errors", "-n", "all", "-g", "record"][..], 199),
        (&["errors", "-r", "-n", "3", "-g", "record"], 2),
        (&["errors", "--count", "-g", "record"], 1),
        (&["errors", "--count-by", "type", "-g", "record"], 1),
        (&["groups", "-g", "record"], 1),
        (&["values", "trace", "-g", "record"], 1),
    ] {
        let said = bench.run(args);
        let titles = usize::from(!args.contains(&"--count"));
        assert_eq!((said.code, said.out.lines().count()), (3, shown + titles), "{args:?} {said:?}");
        assert!(said.err.contains("streams/errors"), "{args:?} {}", said.err);
    }
}

/// A damaged record ended a search that followed, though without a text it is told and passed by.
/// An export that looked for a text ended there, too.
#[test]
fn a_search_goes_on_behind_damage() {
    let bench = family();
    let args = ["tail", "-f", "-n", "1", "-o", "json", "-g", "o"];
    let mut child = bench.start(bench.program().args(args));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("deadlock"));
    let send = |signal: &str| bench.shell(&format!("kill -{signal} {}", child.id())).code;
    assert_eq!(send("STOP"), 0);
    // One that it has not seen yet, whose footer it believes.
    add_damaged(&bench, 1);
    assert_eq!(send("CONT"), 0);
    for number in 0..199 {
        let line = lines.next().expect("it has ended").unwrap();
        assert!(line.contains("record 000"), "{number}: {line}");
    }
    assert_eq!(send("INT"), 0);
    let said = said(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.lines().count()), (0, 1), "{}", said.err);
    let said = bench.run(["export", "-g", "record"]);
    assert_eq!((said.code, said.out.lines().count()), (3, 199), "{}", said.err);
}

#[test]
fn statistics_in_both_shapes() {
    let bench = family();
    let said = bench.run(["stats"]);
    assert_eq!(said.code, 0, "{said:?}");
    for expected in ["Runs by status\nCOUNT  VALUE\n    2  failed\n", "100.0 %", "Lost\nnothing"] {
        assert!(said.out.contains(expected), "{expected:?} in {}", said.out);
    }
    let said = bench.run(["stats", "-o", "json"]);
    let stats: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(stats["streams"][0]["stream"], "runs");
    assert_eq!(stats["streams"][0]["records"], 4);
    assert_eq!(stats["lost"]["damaged_ranges"], 0);
    assert_eq!(stats["lost"]["refused_appends"], 0);
    let migrate = &stats["run_types"][1];
    assert_eq!((&migrate["type"], &migrate["error_rate"]), (&"migrate".into(), &1.0.into()));
    assert!((migrate["p50_ms"].as_f64().unwrap() - 6000.0).abs() < 12.0, "{migrate}");
}

#[test]
fn what_was_dropped_is_counted_and_can_be_asked_for() {
    let bench = Bench::with_sample();
    assert_eq!(bench.run(["events", "--audit"]).code, 1, "nothing happened yet");
    assert_eq!(bench.run(["cleanup", "--days", "30", "--stream", "errors"]).code, 0);
    let said = bench.run(["events", "--audit", "-o", "json", "--type", "segment.dropped"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
    let note: Value = serde_json::from_str(&said.out).unwrap();
    assert!(note["trace_id"].as_str().unwrap().starts_with("errors/"), "{note}");
    assert_eq!(bench.run(["events", "--type", "segment.dropped"]).code, 1, "no event of a user's");
    let said = bench.run(["stats"]);
    assert!(said.out.contains("1 segment dropped by retention"), "{}", said.out);
    assert!(said.out.contains("runledger events --audit"), "{}", said.out);
}

/// What `show` and `check` said to type found nothing, or another thing: a comma in an id parts two
/// ids in a list, a hyphen before it makes it a flag, and a time may have spaces.
#[test]
fn what_is_said_to_be_typed_can_be() {
    let bench = Bench::new();
    for id in ["a,b", r"a\,b", "-x", "it's", "größe"] {
        let run = format!("--id={id}");
        let run = ["append", "run", "--type", "t", "--status", "running", &run, "--lease", "1s"];
        assert_eq!(bench.run(run).code, 0, "{id}");
        let event = ["append", "event", &format!("--type={id}"), &format!("--run={id}")];
        assert_eq!(bench.run(event).code, 0, "{id}");
        let shown = bench.run(["show", "--", id]).out;
        let (_, command) =
            shown.lines().rev().find_map(|it| it.split_once(": runledger ")).unwrap();
        let said = bench.shell(&format!("\"$runledger\" {command} -o json"));
        assert_eq!(said.code, 0, "{id}: {command}: {said:?}");
        let event: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(event["type"], id, "{command}");
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(bench.run(["append", "event", "--type", "e"]).code, 0);
    bench.command("mv").args(["ledger", "my ledger"]).status().unwrap();
    let said = bench.run(["--dir", "my ledger", "check", "--since", "2h ago"]);
    assert_eq!(said.code, 1, "{said:?}");
    let (_, command) = said.out.trim_end().rsplit_once(": runledger ").unwrap();
    let said = bench.shell(&format!("\"$runledger\" {command} --count"));
    assert_eq!((said.code, said.out.as_str()), (0, "5\n"), "{command}: {said:?}");
}

/// Groups of errors were four columns too wide, and a clean-up of classes or of compacted segments
/// up to seventeen.
#[test]
fn tables_fit_a_terminal_of_80_columns() {
    let bench = Bench::with_sample();
    let policy = "[retention.errors.critical]\nage = \"forever\"\n";
    fs::write(bench.ledger().join("runledger.toml"), policy).unwrap();
    let error = ["append", "error", "--type", "E", "--message", "m", "--severity", "critical"];
    assert_eq!(bench.run(error).code, 0);
    for args in [&["erase", "--user", "nobody"][..], &["compact"]] {
        assert_eq!(bench.run(args).code, 0, "{args:?}");
    }
    for command in ["groups", "cleanup --dry-run", "stats", "retention", "history"] {
        let on_terminal = format!("script -qec '\"$runledger\" {command}' /dev/null < /dev/null");
        let said = bench.shell(&format!("export COLUMNS=80 NO_COLOR=1; {on_terminal}"));
        if said.code == 127 {
            eprintln!("skipped: no terminal can be had without script(1)");
            return;
        }
        let lines: Vec<_> = said.out.lines().map(str::trim_end).collect();
        assert!(lines.len() > 1, "{command}: {said:?}");
        let wide = lines.iter().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{command}: {}", said.out);
    }
}
