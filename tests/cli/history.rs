//! What there was, in sum, once the records are gone.

use serde_json::Value;

use super::Bench;

/// A ledger with runs and errors of two days.
fn bench() -> Bench {
    let bench = Bench::new();
    let mut lines = String::new();
    for (day, seconds, status) in [(1, 1, "success"), (1, 3, "failed"), (2, 9, "success")] {
        let line = |status: &str, second: u32| {
            let ts = format!("2023-02-0{day}T08:00:{second:02}Z");
            let id = format!("r-{day}-{seconds}");
            format!(
                r#"{{"kind":"run","ts":"{ts}","run_id":"{id}","type":"backup","status":"{status}"}}"#
            )
        };
        lines.push_str(&format!("{}\n{}\n", line("running", 0), line(status, seconds)));
        let ts = format!("2023-02-0{day}T08:00:05Z");
        let error = r#""type":"Timeout","message":"no answer after 30 s""#;
        lines.push_str(&format!("{{\"kind\":\"error\",\"ts\":\"{ts}\",{error}}}\n"));
    }
    let file = bench.file("lines", lines);
    assert_eq!(bench.run(["import", file.to_str().unwrap()]).code, 0);
    bench
}

fn lines(bench: &Bench, args: &[&str]) -> Vec<Value> {
    let said = bench.run([&["history", "-o", "json"], args].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn it_is_told_before_and_after_a_clean_up() {
    let bench = bench();
    let asked: [&[&str]; 5] = [
        &[],
        &["--by", "type"],
        &["--by", "fingerprint"],
        &["--type", "backup", "-U", "2023-02-02T00:00:00Z"],
        &["--by", "fingerprint", "--type", "Timeout", "-S", "2023-02-02T00:00:00Z"],
    ];
    let before = asked.map(|args| lines(&bench, args));
    let days = &before[0];
    assert_eq!((&days[0]["day"], &days[1]["day"]), (&"2023-02-02".into(), &"2023-02-01".into()));
    assert_eq!((&days[1]["runs"], &days[1]["failed"]), (&2.into(), &1.into()));
    assert_eq!(days[1]["by_status"]["success"], 1);
    let longest = days[0]["max_ms"].as_f64().unwrap();
    assert!((8_990.0..=9_000.0).contains(&longest), "{longest}");
    assert_eq!((before[1].len(), &before[1][0]["runs"]), (1, &3.into()));
    assert_eq!(
        (&before[1][0]["first_day"], &before[1][0]["last_day"]),
        (&days[1]["day"], &days[0]["day"])
    );
    assert_eq!((&before[2][0]["count"], &before[2][0]["type"]), (&3.into(), &"Timeout".into()));
    assert_eq!((before[3].len(), before[4].len()), (1, 1));
    let said = bench.run(["cleanup", "--days", "30"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("2 runs carried forward as the newest"), "{}", said.out);
    assert_eq!(bench.run(["errors", "-o", "json"]).out, "");
    assert_eq!(asked.map(|args| lines(&bench, args)), before);
}

#[test]
fn it_is_a_table_on_request_and_nothing_is_exit_code_1() {
    let bench = bench();
    let said = bench.run(["history"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let table: Vec<_> = said.out.lines().map(words).collect();
    assert_eq!(table[0], ["DAY", "RUNS", "FAILED", "P50", "P95", "MAX"]);
    assert_eq!(table[2][..3], ["2023-02-01", "2", "1"]);
    assert_eq!(bench.run(["history", "-n", "1"]).out.lines().count(), 2);
    let said = bench.run(["history", "--by", "type"]);
    assert!(said.out.contains("backup") && said.out.contains("2023-02-01"), "{}", said.out);
    let said = bench.run(["history", "--by", "fingerprint"]);
    assert!(said.out.contains("Timeout"), "{}", said.out);
    let said = bench.run(["history", "--type", "no such"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert_eq!(bench.run(["history", "--by", "month"]).code, 2);
}
