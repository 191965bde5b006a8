//! Two runs side by side, errors in groups, and the ledgers of several machines in one.

use serde_json::Value;

use super::Bench;

fn ledger() -> Bench {
    let bench = Bench::new();
    let mut lines = String::new();
    let mut line = |text: String| lines.push_str(&(text + "\n"));
    for (run, minute, status) in [("good", 10, "success"), ("bad", 20, "failed")] {
        let ts = |second| format!("2026-11-01T08:{minute}:{second:02}Z");
        let head =
            |kind, second| format!(r#"{{"kind":"{kind}","ts":"{}","run_id":"{run}""#, ts(second));
        line(format!(r#"{},"type":"import","status":"running"}}"#, head("run", 0)));
        for step in 1..=5 {
            let rows = if run == "bad" && step == 5 { 0 } else { step };
            let event = head("event", step);
            line(format!(
                r#"{event},"type":"step","message":"step {step}","payload":{{"rows":{rows}}}}}"#
            ));
        }
        if run == "bad" {
            line(format!(
                r#"{},"type":"TimeoutError","message":"no answer after 30 s"}}"#,
                head("error", 9)
            ));
        }
        line(format!(r#"{},"type":"import","status":"{status}"}}"#, head("run", 30)));
    }
    for second in 1..=3 {
        let ts = format!("2026-11-02T08:00:0{second}Z");
        let error = format!(r#""type":"TimeoutError","message":"no answer after {second} s""#);
        line(format!(r#"{{"kind":"error","ts":"{ts}","run_id":"r-{second}",{error}}}"#));
        line(format!(r#"{{"kind":"error","ts":"{ts}","type":"DiskError","message":"full"}}"#));
    }
    line(
        r#"{"kind":"error","ts":"2026-11-03T08:00:00Z","type":"OtherError","message":"odd"}"#
            .into(),
    );
    let file = bench.file("lines", lines);
    assert_eq!(bench.run(["import", file.to_str().unwrap()]).code, 0);
    bench
}

#[test]
fn runs_are_compared_up_to_where_they_part_and_beyond() {
    let bench = ledger();
    let said = bench.run(["diff", "good", "bad"]);
    assert_eq!(said.code, 1, "{said:?}");
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines[0].starts_with("A  good  import") && lines[0].ends_with("success 30.0s"));
    assert!(lines[1].starts_with("B  bad  import") && lines[1].ends_with("failed 30.0s"));
    assert_eq!(lines[2], "4 events alike, then they part:");
    let words = |at: usize| lines[at].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(4), "2 = 2.00s step step 2 2.00s step step 2");
    assert_eq!(words(7), "5 | 5.00s step step 5 5.00s step step 5", "another payload");
    assert_eq!(words(8), "6 > - - 9.00s TimeoutError no answer after 30 s");
    assert_eq!(lines.len(), 9);

    let said = bench.run(["diff", "good", "bad", "-o", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&report["alike"], &report["parts_at"]), (&4.into(), &5.into()));
    assert_eq!(report["pairs"][4]["b"]["kind"], "error");
    assert_eq!(report["pairs"][4]["b"]["offset_ms"], 9000.0);
    assert_eq!(report["pairs"][4]["a"], Value::Null);

    let said = bench.run(["diff", "good", "bad", "--types", "-n", "1"]);
    assert!(said.out.contains("5 events alike, then they part:"), "{}", said.out);
    // None from there on: they were said to be alike.
    let said = bench.run(["diff", "good", "bad", "-n", "0", "-o", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["parts_at"]), (1, &5.into()), "{said:?}");
    assert_eq!(report["pairs"].as_array().unwrap().len(), 3);
    assert_eq!(bench.run(["diff", "good", "good", "-n", "0"]).code, 0);
    let said = bench.run(["diff", "good", "good"]);
    assert_eq!((said.code, said.out.lines().last()), (0, Some("5 events, all alike")));
    assert_eq!(bench.run(["diff", "good", "none"]).code, 1);
    // 80 columns, whatever is in it.
    let mut wide = bench.program();
    wide.env("COLUMNS", "80");
    for line in super::said(wide.args(["diff", "good", "bad"]).output().unwrap()).out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn errors_in_groups() {
    let bench = ledger();
    let said = bench.run(["groups"]);
    assert_eq!(said.code, 0, "{said:?}");
    let rows: Vec<Vec<_>> =
        said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!((rows[1][..2].to_vec(), rows[1][4]), (vec!["4", "4"], "TimeoutError"));
    assert_eq!((rows[2][..2].to_vec(), rows[2][4]), (vec!["3", "0"], "DiskError"));
    assert!(said.out.lines().nth(1).unwrap().contains("no answer after 3 s"), "{}", said.out);

    let json = |args: &[&str]| -> Vec<Value> {
        let said = bench.run([&["groups", "-o", "json"], args].concat());
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let groups = json(&[]);
    assert_eq!(groups[0]["first_seen"], "2026-11-01T08:20:09Z");
    assert_eq!(groups[0]["last_seen"], "2026-11-02T08:00:03Z");
    assert_eq!(
        (&groups[0]["newest_run_id"], &groups[1]["newest_run_id"]),
        (&"r-3".into(), &Value::Null)
    );
    let since = json(&["--since", "2026-11-02"]);
    assert_eq!(since.iter().map(|it| it["count"].clone()).collect::<Vec<_>>(), [3, 3, 1]);
    let prints: Vec<_> = groups.iter().map(|it| it["fingerprint"].as_str().unwrap()).collect();
    let two = json(&["--fingerprint", &format!("{},{}", prints[0], prints[2])]);
    assert_eq!(two.iter().map(|it| it["count"].clone()).collect::<Vec<_>>(), [4, 1]);
    assert_eq!(json(&["-n", "1"]).len(), 1);
    assert_eq!(json(&["-g", "odd"])[0]["type"], "OtherError");
    let none = bench.run(["groups", "--type", "none"]);
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    assert_eq!(bench.run(["groups", "--status", "failed"]).code, 2);
}

#[test]
fn ledgers_in_one() {
    let bench = ledger();
    let merge = ["merge", "ledger", "--into", "central"];
    let said = bench.run(merge);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "ledger: added 4 run states, 10 events and 8 errors\n")
    );
    let said = bench.run([&merge[..], &["-o", "json"]].concat());
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&report["runs"], &report["refused"]), (&0.into(), &0.into()));
    let said = bench.run(["show", "--dir", "central", "bad", "-o", "json"]);
    let shown: Value = serde_json::from_str(&said.out).unwrap();
    let there: Value = serde_json::from_str(&bench.run(["show", "bad", "-o", "json"]).out).unwrap();
    assert_eq!(shown["origin"]["seq"], there["seq"]);
    assert!(bench.run(["show", "--dir", "central", "bad"]).out.contains("  origin       "));

    // A run of the same name on another machine.
    let said = bench.run([
        "append", "run", "--dir", "other", "--type", "x", "--id", "bad", "--status", "success",
    ]);
    assert_eq!(said.code, 0);
    let said = bench.run(["merge", "other", "--into", "central"]);
    assert!(said.out.contains("\n  run bad is bad@"), "{}", said.out);
    assert_eq!(bench.run(["merge", "nowhere", "--into", "central"]).code, 2);
    assert_eq!(bench.run(["merge", "central", "--into", "central"]).code, 2);
}

/// Of three ledgers the second had more to tell than a pipe's buffer takes, and nobody read: the
/// third was not merged, and the exit code was 0.
#[test]
fn a_merge_goes_on_where_nobody_reads() {
    let bench = Bench::new();
    let runs = |kind: &str| -> String {
        let line = |number| {
            format!(
                r#"{{"kind":"run","type":"{kind}","run_id":"{number:0>100}","status":"failed"}}"#
            )
        };
        (0..200).map(|number| line(number) + "\n").collect()
    };
    for name in ["one", "two", "three"] {
        let said = bench.run_with_input(["import", "--dir", name, "-"], runs(name).as_bytes());
        assert_eq!(said.code, 0, "{said:?}");
    }
    let merge = ["merge", "one", "two", "three", "--into", "central"];
    let status = bench.program().args(merge).stdout(super::unread()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let said = bench.run(["runs", "--dir", "central", "--type", "three", "--count"]);
    assert_eq!(said.out, "200\n", "{said:?}");
}
