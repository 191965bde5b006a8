use std::fs;
use std::path::PathBuf;

use super::Bench;

fn files(bench: &Bench, stream: &str) -> Vec<PathBuf> {
    let dir = fs::read_dir(bench.ledger().join("streams").join(stream)).unwrap();
    let mut files: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A ledger whose segments are sealed: an erasure that finds nothing ends them all.
fn sealed() -> Bench {
    let bench = Bench::with_sample();
    let said = bench.run(["erase", "--user", "nobody", "--reason", "a test"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("erased 0 run states, 0 events and 0 errors"), "{}", said.out);
    bench
}

#[test]
fn what_is_compacted_answers_as_before() {
    let bench = sealed();
    let before = bench.run(["export"]).out;
    let said = bench.run(["compact", "--dry-run"]);
    assert_eq!(said.code, 1, "something would be done");
    assert!(said.out.contains("would compact 3 segments"), "{}", said.out);
    let said = bench.run(["compact", "--keep-states"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("compacted 3 segments into 3"), "{}", said.out);
    assert_eq!(bench.run(["export"]).out, before);
    assert_eq!(bench.run(["verify"]).code, 0);
    let said = bench.run(["compact", "--dry-run", "--keep-states"]);
    assert_eq!(said.code, 0, "nothing is left to be done: {}", said.out);
    let said = bench.run(["events", "--audit", "--type", "segment.compacted"]);
    assert_eq!(said.out.lines().count(), 1 + 3, "{}", said.out);
}

#[test]
fn a_packed_segment_is_dumped_as_it_is_unpacked() {
    let bench = sealed();
    assert_eq!(bench.run(["compact", "--stream", "runs"]).code, 0);
    let [path] = &files(&bench, "runs")[..] else { panic!("one segment") };
    let name = path.to_str().unwrap();
    let said = bench.run(["dump", name]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("  block   frames from 256 on, "), "{}", said.out);
    assert!(said.out.contains("{\"seq\":"), "{}", said.out);
    let mut bytes = fs::read(path).unwrap();
    bytes[400] ^= 1;
    fs::write(path, bytes).unwrap();
    let said = bench.run(["dump", name]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("damage"), "{}", said.out);
    assert_eq!(bench.run(["verify"]).code, 3);
    assert_eq!(bench.run(["compact"]).code, 0, "events and errors are whole");
    assert_eq!(bench.run(["repair"]).code, 0);
    assert_eq!(bench.run(["verify"]).code, 0);
}

/// What stands between the blocks is seen, too.
#[test]
fn the_ids_that_blocks_have_in_common_are_named() {
    let bench = sealed();
    assert_eq!(bench.run(["compact", "--stream", "events"]).code, 0);
    let [path] = &files(&bench, "events")[..] else { panic!("one segment") };
    let said = bench.run(["dump", "--frames", path.to_str().unwrap()]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let line = said.out.lines().find(|line| line.contains("  ids     ")).expect("ids");
    let (at, count) = line.split_once("  ids     ").unwrap();
    let count = count.strip_suffix(" that the blocks from here have in common").unwrap();
    let end = at.trim().parse::<usize>().unwrap() + 16 * count.parse::<usize>().unwrap();
    assert!(said.out.contains(&format!("\n{end:>10}  block ")), "{}", said.out);
}

#[test]
fn erasing_says_what_goes_and_leaves_a_word_of_it() {
    let bench = Bench::with_sample();
    for line in [
        &[
            "append", "run", "--type", "mail", "--id", "r-1", "--status", "success", "--user",
            "u-17",
        ][..],
        &["append", "event", "--type", "sent", "--run", "r-1", "--message", "to her"],
        &["append", "event", "--type", "other", "--user", "u-18"],
    ] {
        let said = bench.run(line);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let before = bench.records().len();
    let said = bench.run(["erase"]);
    assert_eq!(said.code, 2, "whose? {said:?}");
    let said = bench.run(["erase", "--user", "u-17", "--run", "r-1"]);
    assert_eq!(said.code, 2, "one at a time: {said:?}");
    let said = bench.run(["erase", "--user", "u-17", "--dry-run"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("would erase 1 run state, 1 event and 0 errors in 2"),
        "{}",
        said.out
    );
    assert_eq!(bench.records().len(), before);
    let said = bench.run(["erase", "--user", "u-17", "--reason", "she asked", "--by", "ops"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("erased 1 run state, 1 event and 0 errors in 2"), "{}", said.out);
    assert_eq!(bench.records().len(), before - 2);
    let said = bench.run(["events", "--audit", "--type", "records.erased", "-o", "json"]);
    assert!(said.out.contains("she asked") && !said.out.contains("u-17"), "{}", said.out);
    assert_eq!(bench.run(["verify"]).code, 0);
}
