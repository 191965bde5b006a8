use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use runledger::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use runledger::format::header::SegmentHeader;

use super::Bench;

/// The one segment file of a stream.
fn segment(bench: &Bench, stream: &str) -> PathBuf {
    let folder = bench.ledger().join("streams").join(stream);
    let mut files = fs::read_dir(folder).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

/// Changes one byte in the middle of what the stream's segment holds.
fn damage(bench: &Bench, stream: &str) -> PathBuf {
    let path = segment(bench, stream);
    let mut bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    bytes[used / 2] ^= 0x10;
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_dry_run_says_what_goes_and_what_keeps_the_rest() {
    let bench = Bench::with_sample();
    // The lines are of 2023 and have just arrived: their retention begins now.
    let said = bench.run(["cleanup", "--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out.matches("kept until ").count(), 3, "{}", said.out);

    let said = bench.run(["cleanup", "--days", "30", "--dry-run"]);
    assert_eq!(said.code, 1, "something would change");
    assert!(said.out.contains("all records older than 30 days"), "{}", said.out);
    assert!(said.out.contains("would drop 3 segments of 3 with 431 records"), "{}", said.out);
    assert_eq!(bench.records().len(), 431);

    assert_eq!(bench.run(["append", "event", "--type", "young"]).code, 0);
    let said = bench.run(["cleanup", "--days", "30", "--dry-run"]);
    assert!(said.out.contains("which is younger"), "{}", said.out);
    assert!(said.out.contains("would drop 2 segments of 3 with 44 records"), "{}", said.out);
}

#[test]
fn old_segments_go_and_open_runs_stay() {
    let bench = Bench::with_sample();
    let open = ["append", "run", "--type", "x", "--id", "open", "--status", "running"];
    assert_eq!(bench.run([&open[..], &["--at", "2023-02-01"]].concat()).code, 0);
    let said = bench.run(["cleanup", "--days", "30", "--stream", "runs"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("1 open run carried forward"), "{}", said.out);
    let records = bench.records();
    assert!(said.out.contains("2 runs carried forward as the newest"), "{}", said.out);
    assert_eq!(records.len(), 403 + 3);
    let run = records.iter().find(|record| record["status"] == "running").unwrap();
    assert_eq!(
        (&run["run_id"], &run["created_at"]),
        (&"open".into(), &"2023-02-01T00:00:00Z".into())
    );
    let said = bench.run(["cleanup", "--days", "30"]);
    assert_eq!(said.code, 0);
    assert!(!said.out.contains("carried"), "{}", said.out);
    assert_eq!(bench.records().len(), 3);
    assert_eq!(bench.run(["verify"]).code, 0);
}

#[test]
fn clean_up_makes_no_ledger() {
    let bench = Bench::new();
    for args in [&["cleanup"][..], &["cleanup", "--dry-run"], &["repair"], &["verify"]] {
        assert_eq!(bench.run(args).code, 2, "{args:?}");
        assert!(!bench.ledger().exists(), "{args:?}");
    }
}

#[test]
fn damage_is_named_and_never_hidden_behind_exit_0() {
    let bench = Bench::with_sample();
    assert_eq!(bench.run(["append", "error", "--type", "later", "--message", "m"]).code, 0);
    let said = bench.run(["verify"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");

    let path = damage(&bench, "errors");
    let said = bench.run(["verify"]);
    assert_eq!(said.code, 3, "{said:?}");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(said.out.contains(name), "{}", said.out);
    assert!(said.out.contains("checksum does not match"), "{}", said.out);
    let said = bench.run(["dump", path.to_str().unwrap()]);
    assert_eq!(said.code, 3);
    assert!(said.out.contains("damage"), "{}", said.out);
    // What was not hit is there, and can be added to.
    assert_eq!(bench.run(["append", "event", "--type", "still"]).code, 0);
    let said = bench.run(["export", "--kind", "error,event"]);
    assert_eq!(said.out.lines().count(), 1 + 387 + 1, "{}", said.err);
}

#[test]
fn dump_shows_frames_and_records_as_they_lie() {
    let bench = Bench::with_sample();
    let path = segment(&bench, "runs");
    let said = bench.run(["dump", path.to_str().unwrap()]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.contains("header  stream runs, kind run, first seq 2"), "{}", said.out);
    assert!(
        said.out.contains("       128  copy    stream runs, kind run, first seq 2"),
        "{}",
        said.out
    );
    assert_eq!(said.out.matches("{\"seq\":").count(), 28);
    let frames = bench.run(["dump", "--frames", path.to_str().unwrap()]).out;
    assert!(frames.contains("frame ") && !frames.contains("{\"seq\":"), "{frames}");
    bench.file("none", "nothing of a segment");
    let said = bench.run(["dump", "none"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("none is no segment of a ledger"), "{}", said.err);
    assert_eq!(bench.run(["dump", "missing"]).code, 2);
}

/// All that a file of frames which lie in the payloads of one another holds was summed for each of
/// them: hours for one of 64 MiB. And `verify` told of other frames.
#[test]
fn dump_passes_what_a_broken_frame_holds() {
    let bench = Bench::new();
    assert_eq!(bench.run(["append", "event", "--type", "e"]).code, 0);
    let path = segment(&bench, "events");
    let mut bytes = fs::read(&path).unwrap();
    let salt = SegmentHeader::decode(&bytes).unwrap().salt;
    let first = FrameHeader::decode(&bytes[256..], &salt, 256).unwrap();
    let payload = bytes[256 + FRAME_HEADER_BYTES..][..first.payload_len as usize].to_vec();
    let frame = |at: usize| [&first.encode(&salt, at as u64)[..], &payload].concat();
    // One around another, and one behind both.
    let (inner, last) = (256 + FRAME_HEADER_BYTES, 256 + 1000);
    bytes.resize(last + 1000, 0);
    let payload_len = u32::try_from(last - inner).unwrap();
    let outer = FrameHeader { payload_len, ..first }.encode(&salt, 256);
    for (at, frame) in [(256, outer.to_vec()), (inner, frame(inner)), (last, frame(last))] {
        bytes[at..][..frame.len()].copy_from_slice(&frame);
    }
    fs::write(&path, bytes).unwrap();
    let said = bench.run(["dump", path.to_str().unwrap()]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("checksum does not match; 1000 bytes are lost"), "{}", said.out);
    assert_eq!(said.out.matches("  frame   base seq").count(), 1, "{}", said.out);
}

/// The last frame of a segment with a footer was called a tail when it was broken, as of one that
/// is still written.
#[test]
fn dump_knows_where_the_frames_of_a_sealed_segment_end() {
    let bench = Bench::with_sample();
    assert_eq!(bench.run(["erase", "--user", "nobody"]).code, 0, "which seals all");
    let path = segment(&bench, "runs");
    let mut bytes = fs::read(&path).unwrap();
    let frames_end = u32::from_le_bytes(*bytes[bytes.len() - 400..].first_chunk().unwrap());
    bytes[frames_end as usize - 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    let said = bench.run(["dump", path.to_str().unwrap()]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("  damage  ") && !said.out.contains("  tail  "), "{}", said.out);
}

#[test]
fn repair_puts_a_damaged_ledger_in_order() {
    let bench = Bench::with_sample();
    assert_eq!(bench.run(["append", "error", "--type", "later", "--message", "m"]).code, 0);
    let said = bench.run(["repair", "--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    damage(&bench, "errors");
    let said = bench.run(["repair", "--dry-run"]);
    assert_eq!(said.code, 1, "something would change: {said:?}");
    assert_eq!(bench.run(["verify"]).code, 3);
    let said = bench.run(["repair"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(bench.run(["verify"]).code, 0);
    assert_eq!(bench.records().len(), 387 + 28 + 1);
    let said = bench.run(["stats"]);
    assert!(said.out.contains("1 segment put in order by a repair"), "{}", said.out);
    assert!(said.out.contains("1 file ("), "the copy is listed: {}", said.out);
}

#[test]
fn verify_and_repair_speak_json() {
    let bench = Bench::with_sample();
    let path = damage(&bench, "events");
    let parse = |said: &str| -> serde_json::Value { serde_json::from_str(said).unwrap() };
    let said = bench.run(["verify", "-o", "json"]);
    let report = parse(&said.out);
    assert_eq!((said.code, &report["damaged"]), (3, &true.into()), "{said:?}");
    let finding = &report["findings"][0];
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(finding["path"].as_str().unwrap().ends_with(name), "{finding}");
    assert!(finding["records_lost"].as_u64().unwrap() > 0, "{finding}");
    let said = bench.run(["repair", "-o", "json"]);
    let report = parse(&said.out);
    assert_eq!((said.code, &report["actions"][0]["action"]), (0, &"salvaged".into()), "{said:?}");
    assert_eq!(parse(&bench.run(["verify", "-o", "json"]).out)["findings"], serde_json::json!([]));
}

/// The file was gone, and everything said that all was well.
#[test]
fn a_stream_whose_end_is_gone_is_named_by_every_command() {
    let bench = Bench::with_sample();
    fs::remove_file(segment(&bench, "runs")).unwrap();
    for args in [&["runs"][..], &["events", "-n", "1"], &["stats"], &["export"]] {
        let said = bench.run(args);
        assert_eq!(said.code, 3, "{args:?}: {said:?}");
        assert!((said.err + &said.out).contains("runledger verify"), "{args:?}");
    }
    let said = bench.run(["verify"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("the file is missing"), "{}", said.out);
    assert!(said.out.lines().skip(1).all(|line| line.chars().count() <= 80), "{}", said.out);
    let said = bench.run(["append", "event", "--type", "after"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("is missing"), "an opening says so: {}", said.err);
    assert_eq!(bench.run(["verify"]).code, 0, "it is on record now");
    let said = bench.run(["stats"]);
    assert!(said.out.contains("1 stream end found missing by an opening"), "{}", said.out);
}

/// What was looked for lay in the segment that was gone: it was said that there is none, with an
/// exit code of 1, and nothing of the segment. Others said nothing of it at all.
#[test]
fn what_is_not_found_beside_damage_is_no_answer() {
    let bench = Bench::with_sample();
    fs::remove_file(segment(&bench, "runs")).unwrap();
    let run = "d3ba35f77109462adbc25f3a0d7b152d";
    for args in [
        &["show", run][..],
        &["show", "1"],
        &["diff", run, run],
        &["why-kept", run],
        &["why-kept", "1"],
        &["pins"],
        &["retention"],
        &["cleanup", "--dry-run"],
        &["cleanup", "--days", "30", "--dry-run"],
        &["compact", "--dry-run"],
        &["erase", "--run", "x", "--dry-run"],
    ] {
        let said = bench.run(args);
        assert_eq!(said.code, 3, "{args:?}: {said:?}");
        assert!(said.err.contains("1 missing end: records may be missing here"), "{args:?}");
    }
}

/// A tail that follows said nothing of what cannot be read, for as long as it went on.
#[test]
fn a_tail_that_follows_says_what_it_cannot_show() {
    let bench = Bench::with_sample();
    fs::remove_file(segment(&bench, "runs")).unwrap();
    let mut child = bench.start(bench.program().args(["tail", "-f", "-n", "1", "-o", "json"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().is_ok());
    assert_eq!(bench.run(["append", "event", "--type", "news"]).code, 0);
    assert!(lines.next().unwrap().unwrap().contains("news"), "it is at work");
    assert_eq!(bench.shell(&format!("kill -INT {}", child.id())).code, 0);
    let said = super::said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("1 missing end: records may be missing here"), "{said:?}");
}

/// Who had read enough of the report was told that all is well.
#[test]
fn damage_is_told_by_the_exit_code_also_to_who_reads_no_more() {
    let bench = Bench::with_sample();
    damage(&bench, "errors");
    let mut program = bench.program();
    let status = program.arg("verify").stdout(super::unread()).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

/// What that writer does by itself was told before it was said that there is one.
#[test]
fn a_writer_in_the_way_is_named_first() {
    let bench = Bench::with_sample();
    let _holder = runledger::Ledger::open(bench.ledger()).unwrap();
    for args in [&["cleanup"][..], &["compact"], &["erase", "--user", "u"]] {
        let said = bench.run(args);
        assert_eq!((said.code, said.err.lines().count()), (2, 1), "{args:?}: {said:?}");
        let (named, by_itself) = said.err.split_once("is being written by").unwrap();
        assert!(named.starts_with("runledger: ./ledger "), "{said:?}");
        assert!(by_itself.contains("it applies retention and compacts by itself"), "{said:?}");
    }
}

/// Of the file that names the ledger it was said that no record of it is whole.
#[test]
fn a_repair_says_of_no_file_without_records_that_none_is_whole() {
    let bench = Bench::with_sample();
    let path = bench.ledger().join("LEDGER");
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(path, bytes).unwrap();
    let said = bench.run(["repair"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("LEDGER:\n  made anew; it holds no records\n"), "{}", said.out);
}

/// `| head` kept a list from telling of damage: it ended where the pipe was closed, with 0.
#[test]
fn damage_is_told_also_to_who_reads_the_head() {
    let bench = Bench::with_sample();
    fs::remove_file(segment(&bench, "runs")).unwrap();
    let trace = "d3ba35f77109462adbc25f3a0d7b152d";
    for args in [&["events", "-n", "all"][..], &["export"], &["trace", trace]] {
        let mut program = bench.program();
        let program =
            program.args(args).stdout(super::unread()).stderr(std::process::Stdio::piped());
        let said = super::said(program.spawn().unwrap().wait_with_output().unwrap());
        assert_eq!(said.code, 3, "{args:?}: {said:?}");
        assert!(said.err.contains("1 missing end: records may be missing here"), "{args:?}");
    }
}
