use std::fs;
use std::io::Read;

use runledger::{Compaction, Durability, Event, Options};

use super::{Bench, content};

#[test]
fn what_is_exported_goes_in_again_the_same() {
    let bench = Bench::with_sample();
    for name in ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"] {
        let said = bench.run(["export", "-o", name]);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
        let copy = Bench::new();
        let said = copy.run(["import".as_ref(), bench.path(name).as_os_str()]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
        let contents = |bench: &Bench| bench.records().iter().map(content).collect::<Vec<_>>();
        assert_eq!(contents(&copy), contents(&bench));
    }
    let mut text = String::new();
    let file = fs::read(bench.path("out.jsonl.gz")).unwrap();
    flate2::read::GzDecoder::new(file.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, fs::read_to_string(bench.path("out.jsonl")).unwrap());
}

#[test]
fn filters_kinds_and_current_states() {
    let bench = Bench::with_sample();
    let count = |args: &[&str]| {
        let said = bench.run([&["export"], args].concat());
        (said.code, said.out.lines().count())
    };
    assert_eq!(count(&["--kind", "run"]), (0, 28));
    assert_eq!(count(&["--kind", "run", "--current"]), (0, 14));
    assert_eq!(count(&["--kind", "run,error"]), (0, 44));
    assert_eq!(count(&["--current", "--status", "failed"]), (0, 9));
    assert_eq!(count(&["--type", "nothing"]), (1, 0));
}

#[test]
fn a_file_is_overwritten_only_by_force() {
    let bench = Bench::with_sample();
    bench.file("x", "mine");
    let said = bench.run(["export", "-o", "x"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("use --force to overwrite it"), "{}", said.err);
    assert_eq!(fs::read(bench.path("x")).unwrap(), b"mine");
    assert_eq!(bench.run(["export", "-o", "x", "--force"]).code, 0);
    assert_eq!(fs::read_to_string(bench.path("x")).unwrap().lines().count(), 431);
}

/// `-o json`, as the other commands take it, wrote a file of that name and nothing else.
#[test]
fn a_format_is_no_name_of_a_file() {
    let bench = Bench::with_sample();
    for name in ["json", "jsonl", "csv", "table"] {
        let said = bench.run(["export", "-o", name]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{name}: {said:?}");
        assert!(said.err.contains(&format!("write ./{name} for a file")), "{}", said.err);
        assert!(!bench.path(name).exists());
    }
    assert_eq!(bench.run(["export", "-o", "./json"]).code, 0);
    assert_eq!(fs::read_to_string(bench.path("json")).unwrap().lines().count(), 431);
}

#[test]
fn a_page_stands_by_itself() {
    let bench = Bench::with_sample();
    let trace = "d3ba35f77109462adbc25f3a0d7b152d";
    let page = ["export", "--html", "a.html", "--trace", trace, "--title", "<Incident> 7"];
    let said = bench.run(page);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    let page = fs::read_to_string(bench.path("a.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("&#60;Incident&#62; 7"));
    assert!(page.contains("class=\"waterfall\"") && page.contains("is-error"), "{page}");
    // Nothing that has to be fetched, and nothing that runs.
    for banned in ["<script", "<link", "src=", "url(", "href=\"/", "@import"] {
        assert!(!page.contains(banned), "{banned}");
    }
    assert_eq!(bench.run(["export", "--html", "a.html"]).code, 2, "it is there");
    assert_eq!(bench.run(["export", "--html", "b.html", "--type", "nothing"]).code, 1);
    assert_eq!(bench.run(["export", "--html", "c.html", "-o", "c"]).code, 2, "one of the two");
}

/// What the page counts and shows was added to the kinds that were asked for.
#[test]
fn a_page_of_one_kind_counts_and_shows_no_other() {
    let bench = Bench::with_sample();
    assert_eq!(bench.run(["export", "--html", "a.html", "--kind", "error"]).code, 0);
    let errors = bench.records().iter().filter(|record| record["kind"] == "error").count();
    let page = fs::read_to_string(bench.path("a.html")).unwrap();
    let counts = page.split("<p class=\"faint\">").nth(1).and_then(|rest| rest.split('.').next());
    assert_eq!(counts, Some(&*format!("0 runs, 0 events, {errors} errors")));
    assert!(!page.contains("id=\"runs\""), "{page}");
}

#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is_one() {
    let bench = Bench::with_sample();
    let said =
        bench.shell("{ \"$runledger\" export; echo code $? >&2; } | head -n 1 | wc -l | tr -d ' '");
    assert_eq!((said.out.as_str(), said.err.as_str()), ("1\n", "code 0\n"));
    let said = bench.shell("\"$runledger\" export > /dev/full");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("cannot write the output: No space left"), "{}", said.err);
}

/// All was written, and then it was said that it could not be: a pipe cannot be synced.
#[test]
fn a_pipe_can_be_named_as_the_file() {
    let bench = Bench::with_sample();
    let export = "\"$runledger\" export -o /dev/stdout --force; echo code $? >&2";
    let said = bench.shell(&format!("{{ {export}; }} | wc -l | tr -d ' '"));
    assert_eq!((said.out.as_str(), said.err.as_str()), ("431\n", "code 0\n"));
}

/// A page of records was held unpacked until all of it was written: 4,096 of any length.
#[test]
fn long_records_of_a_compacted_ledger_take_little_memory() {
    const RECORD: usize = 1 << 20;
    let bench = Bench::new();
    let ledger = Options::new().background(false).open(bench.ledger()).unwrap();
    for number in 0..200 {
        let event = Event::new("e").message(format!("{number}{}", "x".repeat(RECORD)));
        ledger.append_with(event, Durability::Os).unwrap();
    }
    ledger.compact(&Compaction::new()).unwrap();
    ledger.close().unwrap();
    for command in [["export", "--current"].as_slice(), &["events", "-n", "all", "-o", "json"]] {
        let mut child = bench.start(bench.program().args(command));
        let mut lines = child.stdout.take().unwrap();
        let mut some = vec![0; 100 * RECORD];
        lines.read_exact(&mut some).unwrap();
        drop(some);
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let held: u64 = held.trim().trim_end_matches(" kB").parse().unwrap();
        drop(lines);
        child.wait().unwrap();
        assert!(held < 50 << 10, "{command:?}: {held} KiB");
    }
}
