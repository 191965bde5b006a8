//! Checkpoints: printed, signed, and compared with the ledger.

use serde_json::Value;

use super::Bench;

/// As `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` print them, and in
/// hexadecimal.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIBM2Bakj7Ocpy4QVQf4Z8xjuZ69ZnNF5iOpKvqw7ry7M\n\
                   -----END PRIVATE KEY-----\n";
const SEED: &str = "133605a923ece729cb841541fe19f318ee67af599cd17988ea4abeac3baf2ecc\n";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
                          MCowBQYDK2VwAyEADhgmmfq212pSsNyk78cAtnnB8oPPYA1s4VJYjCKGxJY=\n\
                          -----END PUBLIC KEY-----\n";
const PUBLIC: &str = "0e182699fab6d76a52b0dca4efc700b679c1f283cf600d6ce152588c2286c496";

#[test]
fn a_checkpoint_holds_until_the_ledger_is_another() {
    let bench = Bench::with_sample();
    let said = bench.run(["checkpoint"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
    bench.file("head", &said.out);
    let holds = bench.run(["verify", "--against", "head"]);
    assert_eq!(holds.code, 0, "{holds:?}");
    assert!(holds.out.contains("(not signed) holds"), "{}", holds.out);
    assert_eq!(bench.run(["append", "event", "--type", "more"]).code, 0);
    assert_eq!(bench.run(["verify", "-q", "--against", "head"]).out, "");

    // The same records in another ledger.
    let file = bench.file("all.jsonl", bench.run(["export"]).out);
    std::fs::remove_dir_all(bench.ledger()).unwrap();
    assert_eq!(bench.run(["import", file.to_str().unwrap()]).code, 0);
    assert_eq!(bench.run(["verify"]).code, 0, "by itself it is whole");
    let said = bench.run(["verify", "--against", "head"]);
    assert_eq!(said.code, 3);
    assert!(
        said.out.contains("LEDGER:\n  it is another ledger, or was made again"),
        "{}",
        said.out
    );
    assert!(said.out.contains("does not hold"), "{}", said.out);
    let said = bench.run(["verify", "--against", "head", "-o", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&report["damaged"], &report["against"]["holds"]), (&false.into(), &false.into()));
}

#[test]
fn what_is_cut_is_named() {
    let bench = Bench::with_sample();
    bench.file("head", bench.run(["checkpoint"]).out);
    let folder = bench.ledger().join("streams/events");
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..256]).unwrap();
    let said = bench.run(["verify", "--against", "head"]);
    assert_eq!(said.code, 3);
    assert!(said.out.contains("it was cut, or is an older copy: it ends at 256"), "{}", said.out);
}

#[test]
fn signatures() {
    let bench = Bench::with_sample();
    bench.file("key", KEY);
    bench.file("seed", SEED);
    bench.file("public", PUBLIC_KEY);
    let said = bench.run(["checkpoint", "--sign", "key"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 2), "{said:?}");
    bench.file("head", &said.out);
    for key in ["public", PUBLIC] {
        let holds = bench.run(["verify", "--against", "head", "--key", key]);
        assert_eq!(holds.code, 0, "{holds:?}");
        assert!(holds.out.contains("(signed by 0e182699fab6d76a) holds"), "{}", holds.out);
    }
    assert!(bench.run(["checkpoint", "--sign", "seed"]).out.contains(PUBLIC));
    let refused = |text: &str, key: &str| {
        bench.file("other", text);
        let said = bench.run(["verify", "--against", "other", "--key", key]);
        assert_eq!(said.code, 2, "{said:?}");
        said.err
    };
    let other = &PUBLIC.replace("0e18", "0f18");
    assert!(refused(&said.out, other).contains("signed by another key"));
    let changed = said.out.replacen("\"next_seq\":4", "\"next_seq\":5", 1);
    assert_ne!(changed, said.out);
    assert!(refused(&changed, PUBLIC).contains("its signature does not hold"));
    let first = said.out.lines().next().unwrap();
    assert!(refused(first, PUBLIC).contains("is not signed"));
    assert!(refused(&format!("{first}\n{{}}\n"), PUBLIC).contains("no signature"));
    assert!(refused(&said.out, "nowhere").contains("nowhere"));
    assert_eq!(bench.run(["checkpoint", "--sign", "public"]).code, 2);
}

/// What compaction and erasure wrote anew was taken for removed: it is on record, and is listed.
#[test]
fn a_checkpoint_holds_over_compaction_and_erasure() {
    let bench = Bench::with_sample();
    let sealed = bench.run(["erase", "--user", "nobody"]);
    assert_eq!(sealed.code, 0, "{sealed:?}");
    let checkpoint = bench.run(["checkpoint"]).out;
    bench.file("checkpoint.json", &checkpoint);
    for command in [&["compact"][..], &["erase", "--project", "billing"]] {
        let said = bench.run(command);
        assert_eq!(said.code, 0, "{said:?}");
        let said = bench.run(["verify", "--against", "checkpoint.json"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains("written anew"), "{}", said.out);
    }
}
