//! What is kept and why: classes, pins, clean-up by status.

use std::fs;

use serde_json::Value;

use super::Bench;

/// A ledger with runs that succeeded and failed long ago, each of which has an event.
fn bench(policy: &str) -> Bench {
    let bench = Bench::new();
    fs::create_dir(bench.ledger()).unwrap();
    fs::write(bench.ledger().join("runledger.toml"), policy).unwrap();
    for (id, status) in [("good", "success"), ("bad", "failed")] {
        let run = ["append", "run", "--type", "backup", "--id", id, "--status", status];
        assert_eq!(bench.run([&run[..], &["--at", "2023-02-01"]].concat()).code, 0);
        let event = ["append", "event", "--type", "note", "--run", id, "--at", "2023-02-01"];
        let said = bench.run(event);
        assert_eq!(said.code, 0, "{said:?}");
    }
    bench
}

const SPLIT: &str = "[retention.runs.failed]\nage = \"2y\"\nmax_bytes = \"1 GiB\"\n";

#[test]
fn the_policy_is_shown_with_what_it_costs() {
    let bench = bench(SPLIT);
    let said = bench.run(["retention"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let failed = said.out.lines().find(|line| line.starts_with("runs.failed")).unwrap();
    assert!(failed.contains("730 days") && failed.contains("unknown"), "{}", said.out);
    assert!(said.out.contains("365 days") && said.out.contains("on disk"), "{}", said.out);
    let said = bench.run(["retention", "-o", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let failed = &report["classes"][3];
    assert_eq!((&failed["class"], &failed["records"]), (&"runs.failed".into(), &1.into()));
    assert_eq!(failed["age_seconds"], 730 * 86_400);
    fs::write(bench.ledger().join("runledger.toml"), "[retention]\nmax = 1\n").unwrap();
    let said = bench.run(["retention"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    assert!(said.err.contains("runledger.toml, line 2: retention.max: no such key"), "{said:?}");
    let said = bench.run(["stats"]);
    assert!(said.out.contains("runledger.toml, line 2"), "{}", said.out);
}

#[test]
fn runs_of_one_status_are_dropped_with_their_segment_or_written_out_of_it() {
    let skipped = |policy| {
        let bench = bench(policy);
        let run = ["append", "run", "--type", "backup", "--id", "none", "--status", "skipped"];
        assert_eq!(bench.run([&run[..], &["--at", "2023-02-01"]].concat()).code, 0);
        bench
    };
    let split = skipped("[retention.runs.skipped]\nage = \"9y\"\n");
    let said = split.run(["cleanup-status", "skipped", "--days", "30", "--dry-run"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("all runs skipped and older than 30 days"), "{}", said.out);
    assert!(said.out.contains("holds no such run"), "{}", said.out);
    let said = split.run(["cleanup-status", "skipped", "--days", "30"]);
    assert!(said.out.contains("dropped 1 segment of 2"), "{}", said.out);
    assert!(said.out.contains("of disk freed"), "{}", said.out);
    assert_eq!(split.run(["runs", "-o", "json"]).out.lines().count(), 2);

    let mixed = skipped("");
    let said = mixed.run(["cleanup-status", "skipped", "--days", "30", "--dry-run"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("would write 1 segment anew, without 1 record\n"), "{}", said.out);
    let said = mixed.run(["cleanup-status", "skipped", "--days", "30"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("1 record of runs skipped and older than 30 days"), "{}", said.out);
    assert!(said.out.contains("rewritten"), "{}", said.out);
    assert!(said.out.contains("wrote 1 segment anew, without 1 record\n"), "{}", said.out);
    assert!(said.out.contains("of disk freed"), "{}", said.out);
    assert_eq!(mixed.run(["runs", "-o", "json"]).out.lines().count(), 2);
    let said = mixed.run(["events", "--audit", "--type", "records.expired"]);
    assert!(said.out.contains("a clean-up of runs skipped"), "{}", said.out);
    assert_eq!(mixed.run(["verify"]).code, 0);
    // The newest of its type is kept.
    let said = mixed.run(["cleanup-status", "failed", "--days", "30", "--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(mixed.run(["cleanup-status", "fialed", "--days", "1"]).code, 2);
}

#[test]
fn a_pinned_run_is_held_and_told_until_it_is_let_go() {
    let bench = bench(SPLIT);
    assert_eq!(bench.run(["pins"]).code, 1, "there are none");
    assert_eq!(bench.run(["pin", "nobody", "--reason", "x"]).code, 1);
    let said = bench.run(["pin", "bad", "--reason", "evidence"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""), "{said:?}");
    let said = bench.run(["pins"]);
    assert!(said.out.contains("bad") && said.out.contains("evidence"), "{}", said.out);
    let said = bench.run(["pins", "-o", "json"]);
    let pin: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&pin["run_id"], &pin["reason"]), (&"bad".into(), &"evidence".into()));
    let said = bench.run(["cleanup", "--days", "30"]);
    assert!(said.out.contains("holds a record of a run that is pinned"), "{}", said.out);
    assert_eq!(bench.run(["show", "bad"]).code, 0);
    assert_eq!(bench.run(["unpin", "bad"]).code, 0);
    assert_eq!(bench.run(["unpin", "bad"]).code, 1);
    assert_eq!(bench.run(["events", "--audit", "--type", "run.unpinned"]).code, 0);
    let said = bench.run(["cleanup", "--days", "30"]);
    assert!(!said.out.contains("pinned"), "{}", said.out);
}

#[test]
fn it_is_told_why_a_run_or_a_record_is_still_there() {
    let bench = bench(SPLIT);
    let said = bench.run(["why-kept", "bad"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("class runs.failed, kept for 730d00h"), "{}", said.out);
    assert!(said.out.contains("class events, kept for 30d00h"), "{}", said.out);
    assert!(said.out.contains("stays: kept until "), "{}", said.out);
    let said = bench.run(["why-kept", "1", "-o", "json"]);
    let place: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&place["class"], &place["goes"]), (&"runs".into(), &false.into()));
    assert_eq!(bench.run(["why-kept", "1", "--run"]).code, 1, "there is no run 1");
    assert_eq!(bench.run(["why-kept", "77"]).code, 1);
}

/// A wrong directory was made a ledger by what asks for one that is there.
#[test]
fn pins_make_no_ledger() {
    let bench = Bench::new();
    for args in [
        &["pin", "r", "--reason", "incident 17"][..],
        &["unpin", "r"],
        &["expect", "backup", "--remove"],
    ] {
        let said = bench.run(args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(said.err.contains("there is no such directory"), "{args:?}: {}", said.err);
        assert!(!bench.ledger().exists(), "{args:?}");
    }
}
