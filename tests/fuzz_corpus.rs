//! The fuzz targets on a stable toolchain: each file of the kept corpus, and some inputs by chance.
//!
//! `cargo +nightly fuzz run TARGET` adds to the corpus what reaches new code. An input that made a
//! target fail once belongs into `fuzz/corpus/TARGET/`, and fails here until it is mended.

#[expect(unreachable_pub, reason = "the fuzz crate's library is taken in as it is")]
#[path = "../fuzz/src/lib.rs"]
pub(crate) mod fuzz;

use std::fs;
use std::path::Path;

use fuzz::TARGETS;

#[test]
fn the_kept_corpus_breaks_nothing() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, run) in TARGETS {
        let mut files = 0;
        for file in fs::read_dir(corpus.join(name)).unwrap() {
            run(&fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "{name} has no corpus");
    }
}

#[test]
fn inputs_by_chance_break_nothing() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chance = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (_, run) in TARGETS {
        for _ in 0..100 {
            let len = usize::try_from(chance() % 600).unwrap();
            let data: Vec<u8> = (0..len).map(|_| chance().to_le_bytes()[0]).collect();
            run(&data);
        }
    }
}
