//! Runs whose process is gone, and runs that never come.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Bench;

fn status(bench: &Bench, id: &str) -> Value {
    let said = bench.run(["show", "--run", id, "-o", "json"]);
    serde_json::from_str(&said.out).unwrap()
}

/// True once the kernel has carried out a kill: that takes its time on a busy machine.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().trim_start().starts_with('Z')
}

#[test]
fn a_run_of_exec_that_is_killed_is_abandoned_by_the_next_writer() {
    let bench = Bench::new();
    let mut program = bench.program();
    let script = "touch ready; exec sleep 60";
    program.args(["exec", "--type", "x", "--id", "r", "--", "sh", "-c", script]);
    let mut child = bench.start(&mut program);
    while !bench.path("ready").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(bench.run(["append", "event", "--type", "e"]).code, 0);
    let before = status(&bench, "r");
    assert_eq!(before["status"], "running", "its process lives");
    assert_eq!(before["owner"]["pid"], child.id());
    assert!(bench.run(["show", "r"]).out.contains(&format!("process {} on ", child.id())));
    child.kill().unwrap();
    while !has_ended(child.id()) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(bench.run(["append", "event", "--type", "e"]).code, 0);
    assert_eq!(status(&bench, "r")["status"], "abandoned", "it has ended, and was not waited for");
    let message = status(&bench, "r")["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with(" is gone"), "{message}");
    child.wait().unwrap();
    let checked = bench.run(["check"]);
    assert_eq!(checked.code, 1);
    assert!(checked.out.starts_with("PROBLEM: 0 missed and 0 last failed"), "{}", checked.out);
    assert!(checked.out.contains("1 abandoned since "), "{}", checked.out);
    assert_eq!(bench.run(["check", "--since", "now"]).code, 0);
}

#[test]
fn a_script_can_answer_for_its_run() {
    let bench = Bench::new();
    let begin = "\"$runledger\" append run --type x --id r --status running --owner $$";
    assert_eq!(bench.shell(&format!("{begin}; \"$runledger\" append event --type e")).code, 0);
    assert_eq!(status(&bench, "r")["status"], "running");
    assert_eq!(bench.run(["append", "event", "--type", "e"]).code, 0);
    assert_eq!(status(&bench, "r")["status"], "abandoned", "the script has ended");

    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let pid = gone.id().to_string();
    let run = |id: &'static str, more: &[&'static str]| {
        let run = ["append", "run", "--type", "x", "--id", id, "--status", "running"];
        bench.run([&run[..], more].concat())
    };
    let said = bench
        .run(["append", "run", "--type", "x", "--id", "s", "--status", "running", "--owner", &pid]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("there is no process"), "{}", said.err);
    assert_eq!(run("leased", &["--lease", "1s"]).code, 0);
    assert_eq!(run("longer", &["--lease", "1h"]).code, 0);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(bench.run(["append", "event", "--type", "e"]).code, 0);
    assert_eq!(status(&bench, "leased")["status"], "abandoned");
    assert_eq!(status(&bench, "longer")["status"], "running");
    assert!(status(&bench, "longer")["owner"]["lease_until"].is_string());

    // What another ledger has abandoned can be restored; who answered for what is open, cannot.
    let file = bench.file("export.jsonl", bench.run(["export", "--kind", "run"]).out);
    let copy = bench.path("copy");
    let copy = copy.to_str().unwrap();
    let said = bench.run(["import", "--dir", copy, file.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = bench.run(["show", "--dir", copy, "--run", "leased", "-o", "json"]);
    assert!(said.out.contains("\"abandoned\""), "{}", said.out);
    let said = bench.run(["show", "--dir", copy, "--run", "longer", "-o", "json"]);
    assert!(!said.out.contains("owner"), "{}", said.out);
}

#[test]
fn runs_that_never_come_are_missed() {
    let bench = Bench::new();
    let said = bench.run(["expect", "nightly-backup"]);
    assert_eq!(said.code, 2, "every how often? {said:?}");
    assert_eq!(bench.run(["expect", "nightly-backup", "--every", "1s"]).code, 0);
    assert_eq!(bench.run(["expect", "weekly", "--every", "7d", "--grace", "1h"]).code, 0);
    std::thread::sleep(Duration::from_millis(1100));
    let said = bench.run(["check"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.starts_with("PROBLEM: 1 missed and 0 last failed, of 2 types"),
        "{}",
        said.out
    );
    assert!(bench.run(["stats"]).out.contains("Missed\nnightly-backup\n"));
    assert_eq!(bench.run(["append", "event", "--type", "e"]).code, 0);
    let said = bench.run(["events", "--audit", "--type", "run.missed"]);
    assert_eq!(said.out.lines().count(), 2, "a heading and one: {}", said.out);

    let end = |status| {
        let run = ["append", "run", "--type", "weekly", "--id", status, "--status", status];
        assert_eq!(bench.run(run).code, 0);
    };
    assert_eq!(bench.run(["expect", "nightly-backup", "--remove"]).code, 0);
    assert_eq!(bench.run(["expect", "nightly-backup", "--remove"]).code, 1, "it was not expected");
    end("failed");
    let said = bench.run(["check", "-o", "json"]);
    assert_eq!(said.code, 1);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&report["ok"], &report["failed"]), (&false.into(), &1.into()));
    assert_eq!(report["expected"][0]["last_status"], "failed");
    assert_eq!(report["expected"][0]["every_seconds"], 604_800);
    end("success");
    let said = bench.run(["check"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("OK: 1 type expected"), "{}", said.out);
    assert_eq!(bench.run(["check", "-q"]).out, "");
    let said = bench.run(["expect", "-o", "json"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
}
