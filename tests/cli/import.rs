use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use runledger::{Durability, Ledger, Options, Run, RunError, Status};

use super::{Bench, gzip, said, sample, shared};

const GOOD: &str = r#"{"kind":"event","type":"fine"}"#;

#[test]
fn every_record_of_a_file_goes_in() {
    let bench = Bench::new();
    let said = bench.run(["import", sample().to_str().unwrap()]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("imported 431 records, refused 0 lines, in "), "{}", said.out);
    assert_eq!(bench.records().len(), 431);
}

#[test]
fn compressed_files_pipes_and_several_at_once() {
    let text = format!("{GOOD}\r\n\n   \n{GOOD}");
    let bench = Bench::new();
    let plain = bench.file("a.jsonl", &text);
    let gzipped = bench.file("b.jsonl.gz", gzip(text.as_bytes()));
    let misnamed = bench.file("c.txt", gzip(text.as_bytes()));
    let zstd = bench.file("d.jsonl.zst", zstd::encode_all(text.as_bytes(), 0).unwrap());
    let said = bench.run_with_input(
        [
            "import".as_ref(),
            plain.as_os_str(),
            gzipped.as_os_str(),
            "-".as_ref(),
            misnamed.as_os_str(),
            zstd.as_os_str(),
        ],
        text.as_bytes(),
    );
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("imported 10 records"), "{}", said.out);
    assert_eq!(bench.run(["import", "d.jsonl.zst"]).code, 0);
    assert_eq!(bench.records().len(), 12);
}

#[test]
fn refused_lines_are_named_and_kept_and_the_others_go_in() {
    let long_id = format!(r#"{{"kind":"event","type":"x","run_id":"{}"}}"#, "i".repeat(129));
    let huge = format!(
        r#"{{"kind":"event","type":"x","message":"{}"}}"#,
        "m".repeat(runledger::limits::MAX_RECORD_BYTES)
    );
    let bad: [(&str, &str); 9] = [
        ("hello", "not JSON at column 1"),
        (r#"{"kind":"event","type":"x","colour":1}"#, r#"unknown key "colour""#),
        (
            r#"{"kind":"run","type":"x","run_id":"r","status":"done"}"#,
            r#"unknown status "done"; expected one of: pending running"#,
        ),
        (&long_id, r#"key "run_id" holds 129 bytes"#),
        (&huge, "over the limit of 16777216"),
        (r#"{"kind":"event","type":"x","ts":"2999-01-01T00:00:00Z"}"#, "1678 and 2262"),
        (r#"{"kind":"event","type":"x","ts":"tomorrow"}"#, "RFC 3339"),
        (r#"{"kind":"run","type":"x","status":"success"}"#, r#"key "run_id" is missing"#),
        ("[1]", "each line must be one JSON object"),
    ];
    let bench = Bench::new();
    let mut text = Vec::new();
    for (line, _) in bad {
        text.extend_from_slice(line.as_bytes());
        text.extend_from_slice(format!("\n{GOOD}\n").as_bytes());
    }
    text.extend_from_slice(b"{\"kind\":\"\xff\"}\n");
    bench.file("bad.jsonl", &text);
    let said = bench.run(["import", "bad.jsonl", "--rejects", "rejects.jsonl"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.starts_with("imported 9 records, refused 10 lines"), "{}", said.out);
    for (number, (line, reason)) in bad.iter().enumerate() {
        let place = format!("bad.jsonl:{}: ", 2 * number + 1);
        let found = said.err.lines().find(|line| line.starts_with(&place));
        assert!(found.is_some_and(|said| said.contains(reason)), "{line:.80}: {}", said.err);
    }
    assert!(said.err.contains("bad.jsonl:19: the line is not UTF-8 at byte 9"), "{}", said.err);
    let mut rejects = bad.iter().fold(Vec::new(), |mut all, (line, _)| {
        all.extend_from_slice(line.as_bytes());
        all.push(b'\n');
        all
    });
    rejects.extend_from_slice(b"{\"kind\":\"\xff\"}\n");
    // The order is that of the refusals: the ledger's own come at the end of each batch.
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<_> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&fs::read(bench.path("rejects.jsonl")).unwrap()), sorted(&rejects));
    assert_eq!(bench.records().len(), 9);
}

/// It was an empty line in the file of refused lines, and nothing told that it is not there.
#[test]
fn a_line_that_is_too_long_to_be_held_is_said_to_be_missing() {
    let bench = Bench::new();
    let said = bench.shell(
        "(echo bad; head -c 100663297 /dev/zero | tr '\\0' x; echo; echo worse) \
         | \"$runledger\" import - --rejects rejects.jsonl",
    );
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.out.starts_with("imported 0 records, refused 3 lines"), "{}", said.out);
    assert_eq!(fs::read(bench.path("rejects.jsonl")).unwrap(), b"bad\nworse\n");
    let told = "1 refused lines, too long to be held, are not in rejects.jsonl";
    assert!(said.err.contains(told), "{}", said.err);
}

#[test]
fn lenient_drops_unknown_keys() {
    let bench = Bench::new();
    bench.file("x.jsonl", r#"{"kind":"event","type":"x","colour":1,"status":"no"}"#);
    let said = bench.run(["import", "x.jsonl"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("(--lenient drops it)"), "{}", said.err);
    let said = bench.run(["import", "--lenient", "x.jsonl"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

/// What an import before had refused was gone when the next one found the ledger locked.
#[test]
fn the_rejects_of_before_stay_where_nothing_is_imported() {
    let bench = Bench::new();
    bench.file("x.jsonl", format!("{GOOD}\n"));
    bench.file("rejects", "refused before\n");
    let import = || bench.run(["import", "x.jsonl", "--rejects", "rejects"]);
    let ledger = Ledger::open(bench.ledger()).unwrap();
    let said = import();
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("is being written by"), "{}", said.err);
    assert_eq!(fs::read_to_string(bench.path("rejects")).unwrap(), "refused before\n");
    ledger.close().unwrap();
    assert_eq!(import().code, 0);
    assert_eq!(fs::read_to_string(bench.path("rejects")).unwrap(), "");
}

#[test]
fn the_rejects_never_overwrite_an_input() {
    let bench = Bench::new();
    bench.file("x.jsonl", "no\n");
    let said = bench.run(["import", "x.jsonl", "--rejects", "./x.jsonl"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("name another file for --rejects"), "{}", said.err);
    assert_eq!(fs::read(bench.path("x.jsonl")).unwrap(), b"no\n");
}

#[test]
fn a_run_that_goes_back_is_refused_unless_its_attempt_rises() {
    let line = |status: &str, more: &str| {
        format!(r#"{{"kind":"run","type":"x","run_id":"r","status":"{status}"{more}}}"#)
    };
    let bench = Bench::new();
    let text = [
        line("running", ""),
        line("success", ""),
        line("pending", ""),
        line("pending", r#","attempt":2"#),
    ];
    bench.file("x.jsonl", text.join("\n"));
    let said = bench.run(["import", "x.jsonl"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.starts_with(r#"x.jsonl:3: run "r" cannot go from success to pending"#),
        "{}",
        said.err
    );
    assert_eq!(said.err.lines().count(), 1);
}

#[test]
fn broken_gzip_names_the_place_and_keeps_what_came_before() {
    let bench = Bench::new();
    let text: String = (0..5_000)
        .map(|number| format!("{{\"kind\":\"event\",\"type\":\"t{}\"}}\n", number * 7919 % 10_007))
        .collect();
    let mut bytes = gzip(text.as_bytes());
    bytes.truncate(bytes.len() / 2);
    bench.file("x.jsonl.gz", bytes);
    let said = bench.run(["import", "x.jsonl.gz"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("cannot read x.jsonl.gz at line "), "{}", said.err);
    let taken = bench.records().len();
    assert!((1_000..5_000).contains(&taken), "{taken}");
    assert!(said.out.contains(&format!("imported {taken} records")), "{}", said.out);
}

#[test]
fn inputs_that_are_none() {
    let bench = Bench::new();
    let said = bench.run(["import", "nothing.jsonl"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("cannot open nothing.jsonl: "), "{}", said.err);
    let said = bench.run(["import", "."]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("is a directory: name the files in it"), "{}", said.err);
    assert_eq!(bench.run(["import"]).code, 2);
    assert!(!bench.ledger().exists(), "nothing was made for a name that is wrong");
}

#[test]
fn a_second_writer_is_refused_with_the_pid_of_the_first() {
    let bench = Bench::new();
    let _holder = Ledger::open(bench.ledger()).unwrap();
    let said = bench.run(["import", sample().to_str().unwrap()]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains(&std::process::id().to_string()), "{}", said.err);
    assert!(said.err.contains("stop that writer"), "{}", said.err);
}

#[test]
fn a_disk_without_space_loses_nothing_that_was_in() {
    let bench = Bench::with_sample();
    // The limit is in blocks of 512 bytes; where the signal is ignored, the write fails instead.
    let said = bench.shell(&format!(
        "trap '' XFSZ; ulimit -f 8; exec \"$runledger\" import {}",
        sample().display()
    ));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("no space left for "), "{}", said.err);
    assert_eq!(bench.records().len(), 431);
    bench.file("x.jsonl", GOOD);
    assert_eq!(bench.run(["import", "x.jsonl"]).code, 0);
    assert_eq!(bench.records().len(), 432);
}

#[test]
fn a_killed_import_leaves_a_whole_prefix() {
    const LINES: usize = 200_000;
    let text: String = (0..LINES)
        .map(|number| format!("{{\"kind\":\"event\",\"type\":\"t\",\"payload\":{number}}}\n"))
        .collect();
    let mut cut_short = 0;
    for millis in [0, 5, 20, 50, 100] {
        let bench = Bench::new();
        let file = bench.file("x.jsonl", &text);
        let mut child = bench.start(bench.program().arg("import").arg(file));
        while !bench.ledger().join("streams/events").exists() {
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = bench.run(["append", "event", "--type", "after"]);
        assert_eq!(said.code, 0, "after {millis} ms: {said:?}");
        let mut records = bench.records();
        assert_eq!(records.pop().unwrap()["type"], "after");
        for (number, record) in records.iter().enumerate() {
            assert_eq!(record["payload"], number, "after {millis} ms");
        }
        cut_short += usize::from(records.len() < LINES);
        assert_eq!(bench.run(["verify"]).code, 0, "after {millis} ms");
    }
    assert!(cut_short > 0, "all were killed too late to show anything");
}

#[test]
fn the_public_sets_go_in() {
    // What is refused: ids of more than 128 bytes, and runs that go from success back to pending.
    for (name, taken, refused, reason) in [
        ("nezha", 39_633, 0, ""),
        ("zipkin", 1_338, 0, ""),
        ("gha-ionic", 4_334, 0, ""),
        ("gha-ionic.anomalies", 64, 32, "cannot go from success to pending"),
        ("wfinstances", 9_163, 231, "expected 1 to 128 bytes"),
        ("loghub-openstack", 4_100, 0, ""),
        ("loghub-hadoop", 2_062, 0, ""),
    ] {
        let Some(path) = shared(&format!("{name}.jsonl.gz")) else { return };
        let bench = Bench::new();
        let said = bench.run(["import".as_ref(), path.as_os_str()]);
        assert_eq!(said.code, i32::from(refused > 0), "{name}: {:.1000}", said.err);
        let summary = format!("imported {taken} records, refused {refused} lines");
        assert!(said.out.starts_with(&summary), "{name}: {}", said.out);
        let named = said.err.lines().filter(|line| line.contains(reason)).count();
        assert_eq!((named, said.err.lines().count()), (refused, refused), "{name}");
        assert_eq!(bench.run(["verify", "--quiet"]).code, 0, "{name}");
    }
}

/// A line whose run could not be read was counted as refused, as if it were at fault: the import
/// went on, ended with 1, and did not say that this line is to be imported again.
#[test]
fn an_import_stops_where_the_ledger_cannot_be_read() {
    let bench = Bench::new();
    let options = Options::new().segment_bytes(64 << 10).background(false);
    let ledger = options.open(bench.ledger()).unwrap();
    for number in 0..100 {
        let run = Run::new(format!("run-{number}"), "t", Status::Failed).unwrap();
        ledger.append_with(run.error(RunError::new("x".repeat(1000))), Durability::Os).unwrap();
    }
    ledger.close().unwrap();
    let mut program = bench.program();
    program.args(["import", "-", "--rejects", "rejects"]).stdin(Stdio::piped());
    let mut child = bench.start(&mut program);
    let mut pipe = child.stdin.take().unwrap();
    writeln!(pipe, "{GOOD}").unwrap();
    let is_in = || bench.run(["events", "--count"]).out == "1\n";
    assert!((0..500).any(|_| is_in() || pause()), "the ledger is open when its line is in");
    let segment = bench.ledger().join("streams/runs/00000000000000000001.seg");
    fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(0).unwrap();
    // One piece, and so one batch.
    let line = r#"{"kind":"run","type":"t","run_id":"run-0","status":"running","attempt":2}"#;
    pipe.write_all(format!("{line}\n{GOOD}\n").as_bytes()).unwrap();
    drop(pipe);
    let said = said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.starts_with("imported 2 records, refused 1 lines"), "{}", said.out);
    let told: Vec<_> = said.err.lines().collect();
    assert!(told[0].contains(":2: ") && told[0].contains("damaged"), "{}", said.err);
    assert!(told[1].contains("the import stopped behind "), "{}", said.err);
    assert_eq!(fs::read_to_string(bench.path("rejects")).unwrap(), format!("{line}\n"));
}

/// Who follows a service through a pipe sees each line when it comes, not when the batch is full.
#[test]
fn a_line_from_a_slow_pipe_goes_in_at_once() {
    let bench = Bench::new();
    let mut child = bench.start(bench.program().args(["import", "-"]).stdin(Stdio::piped()));
    let mut pipe = child.stdin.take().unwrap();
    for count in 1..=3 {
        pipe.write_all(b"{\"kind\":\"event\",\"type\":\"tick\"}\n").unwrap();
        let is_in = || bench.run(["events", "--count"]).out == format!("{count}\n");
        assert!((0..500).any(|_| is_in() || pause()), "line {count} is not in");
    }
    drop(pipe);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The good lines beside one that could not be written there were left out, and nothing told which
/// were in.
#[test]
fn an_import_that_cannot_keep_a_refused_line_tells_how_far_it_came() {
    let bench = Bench::new();
    // More than a buffer, so that it is written at once.
    let bad = "x".repeat(20_000);
    bench.file("long.jsonl", format!("{GOOD}\n{bad}\n{GOOD}\n"));
    let said = bench.run(["import", "long.jsonl", "--rejects", "/dev/full"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.starts_with("imported 2 records, refused 1 lines"), "{said:?}");
    assert!(said.err.contains("cannot write /dev/full"), "{said:?}");
    assert!(said.err.contains("behind long.jsonl:3, the 2 records up to there are in"), "{said:?}");
    // What is written at the end alone fails when all is in.
    bench.file("short.jsonl", format!("{GOOD}\nbad\n"));
    let said = bench.run(["import", "short.jsonl", "--rejects", "/dev/full"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.out.starts_with("imported 1 records, refused 1 lines"), "{said:?}");
    assert!(said.err.contains("cannot write /dev/full: "), "{said:?}");
    assert_eq!(bench.records().len(), 3);
}

/// The run of the batch was in, and to import the rest from that line on was to append it twice.
#[test]
fn an_import_that_stops_between_two_kinds_says_that_some_may_be_in() {
    let bench = Bench::new();
    let run =
        |id| format!(r#"{{"kind":"run","type":"t","run_id":"{id}","status":"running"}}"#) + "\n";
    // The events end behind the limit that comes, and the runs before it.
    let long = format!(r#"{{"kind":"event","type":"t","message":"{}"}}"#, "x".repeat(40_000));
    let mut child = bench.start(bench.program().args(["import", "-"]).stdin(Stdio::piped()));
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(format!("{}{long}\n", run("first")).as_bytes()).unwrap();
    let is_in = || bench.run(["events", "--count"]).out == "1\n";
    assert!((0..500).any(|_| is_in() || pause()), "the long one is in");
    child.kill().unwrap();
    child.wait().unwrap();
    bench.file("x.jsonl", format!("{}{GOOD}\n", run("second")));
    let said = bench.shell("trap '' XFSZ; ulimit -f 64; exec \"$runledger\" import x.jsonl");
    assert_eq!(said.code, 2, "{said:?}");
    let records = bench.records();
    assert!(records.iter().any(|record| record["run_id"] == "second"), "{said:?}");
    let told = "stopped at x.jsonl:1, the 0 records before that are in, and of the lines from \
                there to 2 some may be";
    assert!(said.err.contains(told), "{said:?}");
}

/// Waits a little; false, so that it can stand between two tries.
fn pause() -> bool {
    sleep(Duration::from_millis(20));
    false
}

/// Where nobody read the sum, an import that had broken off ended with 0, and one of which lines
/// were refused, too; why it had broken off was not told.
#[test]
fn a_closed_pipe_hides_no_failure() {
    let bench = Bench::new();
    bench.file("x.jsonl", format!("{GOOD}\nno\n"));
    let mut cut = gzip(GOOD.repeat(1000).as_bytes());
    cut.truncate(cut.len() - 9);
    bench.file("cut.jsonl.gz", cut);
    let import = |name: &str| {
        let mut child = bench.program();
        let child = child.args(["import", name]).stdout(super::unread()).stderr(Stdio::piped());
        said(child.spawn().unwrap().wait_with_output().unwrap())
    };
    let refused = import("x.jsonl");
    assert_eq!(refused.code, 1, "{refused:?}");
    let broken = import("cut.jsonl.gz");
    assert_eq!(broken.code, 2, "{broken:?}");
    assert!(broken.err.contains("cannot read cut.jsonl.gz"), "{broken:?}");
}

/// A script took the exit code for that of an import that had failed, and imported all of it again.
#[test]
fn an_import_whose_sum_cannot_be_printed_says_that_all_is_in() {
    let bench = Bench::new();
    bench.file("x.jsonl", format!("{GOOD}\n{GOOD}\n"));
    let said = bench.shell("\"$runledger\" import x.jsonl > /dev/full");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("cannot write the output: No space left"), "{}", said.err);
    assert!(said.err.contains("2 records are in all the same"), "{}", said.err);
    assert_eq!(bench.records().len(), 2);
}

/// The name was tried before anything was made, by opening it and closing it again: that ended who
/// wrote into the pipe, and the import waited for another one for ever.
#[test]
fn a_named_pipe_is_opened_once() {
    let bench = Bench::new();
    bench.file("x.jsonl", GOOD);
    let said = bench
        .shell("mkfifo pipe && { cat x.jsonl > pipe & timeout 20 \"$runledger\" import pipe; }");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("imported 1 records"), "{}", said.out);
}
