//! Lists: filters, orders, pages, counts, and the shapes of the output.

use serde_json::Value;

use super::{Bench, Said};

/// Three runs, one of them in three states, with events, and times an hour apart.
fn bench() -> Bench {
    let bench = Bench::new();
    let lines = concat!(
        r#"{"kind":"run","ts":"2026-11-01T01:00:00Z","type":"backup","run_id":"b-1","status":"pending","project_id":"p,1"}"#,
        "\n",
        r#"{"kind":"run","ts":"2026-11-01T01:00:10Z","type":"backup","run_id":"b-1","status":"running"}"#,
        "\n",
        r#"{"kind":"event","ts":"2026-11-01T01:00:11Z","type":"disk.full","run_id":"b-1","severity":"warning","message":"3% left\u001b[2J, \"really\""}"#,
        "\n",
        r#"{"kind":"error","ts":"2026-11-01T01:00:12Z","type":"IoError","run_id":"b-1","message":"No space\nleft"}"#,
        "\n",
        r#"{"kind":"run","ts":"2026-11-01T01:01:55.5Z","type":"backup","run_id":"b-1","status":"failed","message":"No space\nin /var","subject":"booking:7"}"#,
        "\n",
        r#"{"kind":"run","ts":"2026-11-01T02:00:00Z","type":"report","run_id":"r-1","status":"success"}"#,
        "\n",
        r#"{"kind":"run","ts":"2026-11-01T03:00:00Z","type":"report","run_id":"r-2","status":"running","metadata":{"Host":"db1"}}"#,
        "\n",
    );
    let said = bench.run_with_input(["import", "-"], lines.as_bytes());
    assert_eq!(said.code, 0, "{said:?}");
    bench
}

/// The run ids in an output of JSON lines.
fn ids(said: &Said) -> Vec<String> {
    let line = |line| serde_json::from_str::<Value>(line).unwrap();
    said.out.lines().map(|text| line(text)["run_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_pipe_gets_plain_lines_with_every_column() {
    let said = bench().run(["runs"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let lines: Vec<&str> = said.out.lines().collect();
    let names: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(
        names,
        ["SEQ", "STARTED", "DURATION", "STATUS", "TYPE", "RUN", "ID", "PROJECT", "ERROR"]
    );
    assert_eq!(lines.len(), 4);
    let oldest = lines[3].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(oldest, "5 2026-11-01T01:00:10.000+00:00 1m45s failed backup b-1 p,1 No space");
    assert!(lines[1].contains("running") && lines[1].contains(" - "), "{}", lines[1]);
}

#[test]
fn filters_alone_and_together() {
    let bench = bench();
    for (args, expected) in [
        (&["--status", "failed,success"][..], &["r-1", "b-1"][..]),
        (&["--status", "failed", "--status", "running"], &["r-2", "b-1"]),
        (&["--type", "report", "--status", "running"], &["r-2"]),
        (&["--run", "b-1"], &["b-1"]),
        (&["--project", r"p\,1"], &["b-1"]),
        (&["--subject", "booking:7"], &["b-1"]),
        (&["-S", "2026-11-01T02:00:00Z"], &["r-2", "r-1"]),
        (&["-U", "2026-11-01T02:00:00Z"], &["b-1"]),
        (&["-S", "2026-11-01 02:00", "-U", "2026-11-01 03:00"], &["r-1"]),
        (&["-g", "no space"], &["b-1"]),
        (&["-g", "host"], &["r-2"]),
        (&["-g", "Host"], &["r-2"]),
        (&["-r"], &["b-1", "r-1", "r-2"]),
        (&["--order", "seq"], &["r-2", "r-1", "b-1"]),
        (&["-n", "1", "--offset", "1"], &["r-1"]),
    ] {
        let said = bench.run([&["runs", "-o", "json"], args].concat());
        assert_eq!(
            (said.code, ids(&said)),
            (0, expected.iter().map(ToString::to_string).collect())
        );
    }
    for args in [["runs", "--type", "nope"], ["events", "--severity", "critical"]] {
        let said = bench.run(args);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args:?}");
        assert!(said.err.contains("matches"), "{said:?}");
    }
}

#[test]
fn wrong_filters_say_what_would_be_right() {
    let bench = bench();
    for (args, remedy) in [
        (&["runs", "--severity", "error"][..], "events and errors have one"),
        (&["events", "--status", "failed"], "runs have one"),
        (&["runs", "--status", "done"], "success"),
        (&["runs", "-S", "someday"], "yesterday"),
        (&["runs", "--subject", "7"], "booking:B-1041"),
        (&["runs", "--cursor", "7"], "one that a query has given"),
        (&["runs", "-n", "0"], "`all`"),
        (&["runs", "--count-by", "colour"], "fingerprint"),
        (&["values", "colour"], "fingerprint"),
    ] {
        let said = bench.run(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}: {said:?}");
        assert!(said.err.contains(remedy), "{args:?}: {}", said.err);
    }
}

#[test]
fn a_listing_goes_on_from_its_cursor() {
    let bench = Bench::with_sample();
    let count: usize = bench.run(["events", "--count"]).out.trim().parse().unwrap();
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args = vec!["events", "-o", "json", "-n", "100"];
        args.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor]));
        let said = bench.run(args);
        assert_eq!(said.code, 0, "{said:?}");
        let number = |line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap();
        seen.extend(said.out.lines().map(number));
        match said.err.trim().split_once("--cursor ") {
            Some((_, next)) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen.len(), count);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "a record stood on two pages");
    assert_eq!(bench.run(["events", "-n", "all"]).out.lines().count(), count + 1);
}

#[test]
fn csv_has_a_header_and_quotes_what_needs_it() {
    let bench = bench();
    let said = bench.run(["runs", "-o", "csv", "--run", "b-1"]);
    let (header, row) = said.out.split_once('\n').unwrap();
    assert!(header.starts_with("seq,created_at,started_at,finished_at,duration_ms,status,type"));
    assert!(row.starts_with(
        "5,2026-11-01T01:00:00Z,2026-11-01T01:00:10Z,2026-11-01T01:01:55.5Z,105500,failed,backup,\
         b-1,1,,\"p,1\",,,booking:7,,\"No space\nin /var\",,,"
    ));
    let said = bench.run(["events", "-o", "csv"]);
    assert!(said.out.ends_with(",\"3% left\u{1b}[2J, \"\"really\"\"\",\n"), "{}", said.out);
}

#[test]
fn json_lines_carry_what_a_run_came_to() {
    let said = bench().run(["runs", "-o", "json", "--run", "b-1"]);
    let run: Value = serde_json::from_str(&said.out).unwrap();
    for (key, expected) in [
        ("seq", 5.into()),
        ("ts", "2026-11-01T01:01:55.5Z".into()),
        ("created_at", "2026-11-01T01:00:00Z".into()),
        ("started_at", "2026-11-01T01:00:10Z".into()),
        ("finished_at", "2026-11-01T01:01:55.5Z".into()),
        ("duration_ms", Value::from(105_500)),
        ("project_id", "p,1".into()),
    ] {
        assert_eq!(run[key], expected, "{key}");
    }
}

#[test]
fn counts_in_each_shape() {
    let bench = bench();
    for (args, expected) in [
        (&["runs", "--count"][..], "3\n"),
        (&["runs", "--count", "-o", "json"], "{\"count\":3}\n"),
        (&["runs", "--count", "-o", "csv"], "count\n3\n"),
        (&["runs", "--count-by", "type"], "COUNT  VALUE\n    2  report\n    1  backup\n"),
        (&["runs", "--count-by", "type", "-o", "csv"], "type,count\nreport,2\nbackup,1\n"),
        (
            &["values", "type", "--kind", "event", "-o", "json"],
            "{\"value\":\"disk.full\",\"count\":1}\n",
        ),
        (&["values", "project", "-o", "csv"], "project,count\n\"p,1\",1\n"),
    ] {
        let said = bench.run(args);
        assert_eq!((said.code, said.out.as_str()), (0, expected), "{args:?}: {said:?}");
    }
    let many: String = (0..60)
        .map(|number| format!("{{\"kind\":\"event\",\"type\":\"type-{number}\"}}\n"))
        .collect();
    assert_eq!(bench.run_with_input(["import", "-"], many.as_bytes()).code, 0);
    let said = bench.run(["events", "--count-by", "type"]);
    assert_eq!((said.out.lines().count(), said.err.as_str()), (1 + 61, ""));
    let said = bench.run(["events", "--count-by", "type", "-n", "3"]);
    assert_eq!(said.out.lines().count(), 1 + 3);
    assert!(said.err.contains("3 of 61 values shown"), "{said:?}");
    let said = bench.run(["runs", "--count", "--type", "nope"]);
    assert_eq!((said.code, said.out.as_str()), (1, "0\n"));
    assert_eq!(bench.run(["values", "user"]).code, 1);
}

#[test]
fn colours_come_when_asked_for_and_nothing_raw_reaches_a_table() {
    let bench = bench();
    assert!(!bench.run(["runs"]).out.contains('\u{1b}'));
    let said = bench.run(["runs", "--color", "always"]);
    assert!(said.out.contains("\u{1b}[32msuccess\u{1b}[0m"), "{:?}", said.out);
    for args in [&["events"][..], &["tail"], &["show", "3"], &["trace", "b-1"]] {
        let said = bench.run(args);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(!said.out.contains('\u{1b}'), "{args:?}: {:?}", said.out);
        assert!(said.out.contains("\\u{1b}[2J"), "{args:?}: {:?}", said.out);
    }
}

/// Who repeated a command with the cursor that it told of left out the first ones once more.
#[test]
fn an_offset_is_passed_over_once() {
    let bench = Bench::with_sample();
    let args = ["events", "-o", "json", "-n", "2", "--offset", "1"];
    let first = bench.run(args);
    let (_, next) = first.err.trim().split_once("--cursor ").unwrap();
    let second = bench.run(args.into_iter().chain(["--cursor", next]));
    let five = bench.run(["events", "-o", "json", "-n", "5"]);
    let expected: Vec<_> = five.out.lines().skip(1).collect();
    assert_eq!(first.out.lines().chain(second.out.lines()).collect::<Vec<_>>(), expected);
}

#[test]
fn damage_is_never_hidden_behind_exit_0() {
    let bench = Bench::with_sample();
    let event = |message: &str| {
        let line = format!(
            r#"{{"kind":"event","ts":"2026-11-01T01:00:11Z","type":"last","message":"{message}"}}"#
        );
        assert_eq!(bench.run_with_input(["import", "-"], line.as_bytes()).code, 0);
    };
    let before = bench.run(["events", "-o", "json", "-n", "all"]).out.lines().count();
    event("needle");
    event("thread");
    let folder = std::fs::read_dir(bench.ledger().join("streams/events")).unwrap();
    let file = folder.map(|file| file.unwrap().path()).next().unwrap();
    let whole = std::fs::read(&file).unwrap();
    // The last record too: after a clean close nothing at the end can be a torn tail.
    for hit in ["needle", "thread"] {
        let mut bytes = whole.clone();
        let at = bytes.windows(6).position(|window| window == hit.as_bytes()).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        for args in [
            &["events", "-o", "json", "-n", "all"][..],
            &["events", "--count"],
            &["events", "--count-by", "type"],
            &["events", "--type", "nope"],
            &["values", "type"],
            &["tail"],
            &["trace", "nope"],
            &["stats"],
            &["export"],
            &["export", "--type", "nope"],
            &["export", "--output", "copy.jsonl", "--force"],
        ] {
            let said = bench.run(args);
            assert_eq!(said.code, 3, "{hit} {args:?}: {said:?}");
            assert!((said.err + &said.out).contains("runledger verify"), "{hit} {args:?}");
        }
        let said = bench.run(["events", "-o", "json", "-n", "all"]);
        let lines = said.out.lines().count();
        assert_eq!(lines, before + 1, "{hit}: all but the one that was hit: {}", said.err);
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let bench = Bench::with_sample();
    let said = bench.shell("\"$runledger\" events -n all | head -n 1; \"$runledger\" runs | true");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
}

/// A flag whose value was empty, as that of a variable that is not set, narrowed nothing: the whole
/// ledger was shown as what belongs to one trace, and went into the page for a ticket.
#[test]
fn a_flag_that_names_nothing_is_refused() {
    let bench = Bench::with_sample();
    for args in [
        &["errors", "--trace", ""][..],
        &["runs", "--type", ","],
        &["tail", "--run", ""],
        &["values", "type", "--user", ""],
        &["groups", "--project", ""],
        &["export", "--subject", ""],
    ] {
        let said = bench.run(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}: {:.300}", said.err);
        assert!(said.err.contains("names nothing: give a value"), "{args:?}: {}", said.err);
    }
    assert_eq!(bench.run(["events", "--run", ",nobody,"]).code, 1, "a comma too many is none");
}

/// What `export` and `dump` wrote to a terminal could steer it: JSON has no escapes for signs from
/// U+0080 on, of which U+009B begins the commands of a terminal as well.
#[test]
fn nothing_raw_of_a_record_reaches_a_terminal() {
    let bench = Bench::new();
    let line = "{\"kind\":\"event\",\"type\":\"x\",\"message\":\"\u{9b}2J\u{202e}\"}";
    assert_eq!(bench.run_with_input(["import", "-"], line.as_bytes()).code, 0);
    for command in ["export", "dump ledger/streams/events/*.seg", "tail -o json", "events"] {
        let on_terminal = format!("script -qec '\"$runledger\" {command}' /dev/null < /dev/null");
        let said = bench.shell(&on_terminal);
        if said.code == 127 {
            eprintln!("skipped: no terminal can be had without script(1)");
            return;
        }
        assert_eq!(said.code, 0, "{command}: {said:?}");
        assert!(!said.out.contains(['\u{9b}', '\u{202e}']), "{command}: {:?}", said.out);
        assert!(said.out.contains("9b"), "{command}: {:?}", said.out);
    }
    assert!(bench.run(["export"]).out.contains('\u{9b}'), "in a pipe all is as it was");
}
