//! The source keeps to its layers, its bounds of length and its bans.
//!
//! Read as text, without a parser of Rust: comments, strings and characters are blanked first, so
//! what is left is code, and a path in it is a row of names with `::` between them. Each rule has a
//! test that feeds it a snippet that breaks it.

mod lexer;

use std::fmt;
use std::path::{Path, PathBuf};

use lexer::{Token, blank, body_end, is_name, paths, tokens};

/// Each module of the library with those it may name. Layers go up from the top of this table, and
/// modules of one layer do not know each other, but for `model` over `error` and `limits`.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("limits", &[]),
    ("planted", &[]),
    ("sync", &[]),
    ("model", &["error", "limits"]),
    ("format", &["error", "limits", "planted", "model"]),
    ("storage", &["error", "limits", "model"]),
    ("index", &["error", "limits", "model"]),
    ("segment", &["error", "limits", "planted", "sync", "model", "format", "storage", "index"]),
    ("query", &["error", "limits", "sync", "model", "format", "storage", "index", "segment"]),
    (
        "ledger",
        &[
            "error", "limits", "planted", "sync", "model", "format", "storage", "index", "segment",
            "query",
        ],
    ),
    ("wire", &["error", "limits", "model"]),
    (
        "embed",
        &["error", "limits", "sync", "model", "format", "storage", "query", "ledger", "wire"],
    ),
    ("text", &["model"]),
    (
        "server",
        &["error", "limits", "planted", "model", "storage", "query", "ledger", "wire", "text"],
    ),
];

/// Crates and modules with one home: the first name or names of a path, and where they may stand.
const HOMES: &[(&str, &[&str])] = &[
    ("serde_json", &["src/wire", "src/model/json.rs", "src/server"]),
    ("bincode", &["src/format/codec"]),
    // What the server reads there are its keys and its configuration, never the ledger.
    ("std::fs", &["src/storage", "src/bin", "src/server/auth", "src/server/config.rs"]),
    ("rustix::fs", &["src/storage", "src/bin"]),
    ("memmap2", &["src/storage/map.rs"]),
    ("tracing_core", &["src/embed/layer"]),
    ("tracing_subscriber", &["src/embed/layer"]),
    // What a test's scheduler stands in for; flags that order nothing are no part of it.
    (
        "parking_lot",
        &[
            "src/sync",
            "src/ledger/group_commit/exhausted.rs",
            "src/embed/queue/exhausted.rs",
            "src/server",
        ],
    ),
    ("std::thread", &["src/sync", "src/bin"]),
    (
        "std::sync::atomic",
        &[
            "src/sync",
            "src/bin",
            "src/format/footer/layout.rs",
            "src/ledger/group_commit/exhausted.rs",
            "src/embed/queue/exhausted.rs",
            "src/segment/frames.rs",
            // What a handler of signals reads.
            "src/storage/map.rs",
        ],
    ),
];

/// The only file with unsafe code, besides that of a benchmark which opens LMDB and that of a test
/// which cuts file systems off: no other way is offered there.
const UNSAFE_HOME: &str = "src/storage/map.rs";
const UNSAFE_OUTSIDE: [&str; 2] =
    ["benches/peers/src/engines/lmdb.rs", "tests/torture/src/real/system.rs"];

const MAX_WIDTH: usize = 100;
const MAX_FUNCTION: usize = 70;
const MAX_FILE: usize = 400;

/// What a rule found.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

/// One file under check.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
    code: &'a str,
    tokens: Vec<Token<'a>>,
}

/// Everything that is wrong with a file. `path` is relative to the repository, with slashes.
fn check(path: &str, text: &str) -> Vec<Finding> {
    let code = blank(text);
    let source = Source { path, text, code: &code, tokens: tokens(&code) };
    let mut findings = Vec::new();
    findings.extend(source.widths());
    findings.extend(source.functions());
    findings.extend(source.words());
    if path.starts_with("src/") {
        findings.extend(source.length());
        findings.extend(source.paths());
    }
    findings
}

impl Source<'_> {
    fn finding(&self, line: usize, rule: &'static str, what: impl Into<String>) -> Finding {
        Finding { path: self.path.to_owned(), line, rule, what: what.into() }
    }

    /// How many lines stand before the tests.
    fn lines_before_tests(&self) -> usize {
        let lines = self.code.lines();
        lines.take_while(|line| !line.trim_start().starts_with("#[cfg(test)]")).count()
    }

    /// Rows of a table and raw strings may be wider: they cannot be broken.
    fn widths(&self) -> impl Iterator<Item = Finding> {
        let whole = |line: &str| ["/// |", "//! |", "r#\""].iter().any(|part| line.contains(part));
        let lines = self.text.lines().enumerate().filter(move |(_, line)| !whole(line));
        let widths = lines.map(|(at, line)| (at, line.chars().count()));
        let wide = widths.filter(|(_, width)| *width > MAX_WIDTH);
        wide.map(|(at, width)| self.finding(at + 1, "width", format!("{width} columns")))
    }

    fn length(&self) -> Option<Finding> {
        let lines = self.lines_before_tests();
        let what = || format!("{lines} lines before the tests");
        (lines > MAX_FILE).then(|| self.finding(lines, "file length", what()))
    }

    fn functions(&self) -> impl Iterator<Item = Finding> {
        (0..self.tokens.len()).filter_map(|at| {
            let line = self.tokens[at].line;
            let name = self.tokens.get(at + 1).filter(|name| is_name(Some(name)))?;
            let is_function = self.tokens[at].text == "fn";
            let lines = is_function.then(|| body_end(&self.tokens[at..]))?? + 1 - line;
            let what = || format!("{} has {lines} lines", name.text);
            (lines > MAX_FUNCTION).then(|| self.finding(line, "function length", what()))
        })
    }

    fn words(&self) -> impl Iterator<Item = Finding> {
        self.tokens.iter().enumerate().filter_map(|(at, token)| {
            let before = at.checked_sub(1).map_or("", |before| self.tokens[before].text);
            match (before, token.text) {
                (_, "unsafe")
                    if self.path != UNSAFE_HOME && !UNSAFE_OUTSIDE.contains(&self.path) =>
                {
                    Some(self.finding(token.line, "unsafe", format!("only {UNSAFE_HOME} may")))
                }
                ("[", "ignore") => {
                    Some(self.finding(token.line, "ignored test", "what does not run is no test"))
                }
                _ => None,
            }
        })
    }

    fn paths(&self) -> Vec<Finding> {
        let end = self.lines_before_tests();
        let mut findings = Vec::new();
        for (line, path) in paths(&self.tokens).into_iter().filter(|(line, _)| *line <= end) {
            findings.extend(self.home(line, &path));
            if !self.path.starts_with("src/bin/") {
                findings.extend(self.layer(line, &path));
            }
        }
        findings
    }

    fn home(&self, line: usize, path: &[String]) -> Option<Finding> {
        let path = path.join("::");
        let named = |name: &str| path == name || path.starts_with(&format!("{name}::"));
        let (_, homes) = HOMES.iter().find(|(name, _)| named(name))?;
        let away = !homes.iter().any(|home| is_under(self.path, home));
        let what = || format!("{path} outside of {}", homes.join(", "));
        away.then(|| self.finding(line, "home", what()))
    }

    fn layer(&self, line: usize, path: &[String]) -> Option<Finding> {
        let here = module_of(self.path);
        let from = here.first()?;
        let target = target_of(&here, path)?;
        let allowed = LAYERS.iter().find(|(name, _)| name == from).map_or(&[][..], |(_, to)| to);
        let what = || format!("{from} must not know {}", path.join("::"));
        let up = (target != *from || LAYERS.iter().all(|(name, _)| name != from))
            && !allowed.contains(&target.as_str());
        up.then(|| self.finding(line, "layer", what()))
    }
}

/// The module path of a file: `src/model/id.rs` is `model`, `id`; `src/lib.rs` is empty.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = path.split('/').filter(|part| *part != "mod" && *part != "lib");
    parts.map(str::to_owned).collect()
}

/// The module at the crate's root that a path leads into; `None` when it stays where it is or
/// leaves the crate.
fn target_of(here: &[String], path: &[String]) -> Option<String> {
    match path.first()?.as_str() {
        "crate" => Some(path.get(1)?.clone()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            let kept = here.len().checked_sub(up)?;
            here.get(..kept)?.first().or(path.get(up)).cloned()
        }
        _ => None,
    }
}

fn is_under(path: &str, home: &str) -> bool {
    path == home || path.starts_with(&format!("{home}/")) || path == format!("{home}.rs")
}

#[test]
fn the_source_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 20, "only {} files found", files.len());
    let mut findings = Vec::new();
    for file in &files {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        findings.extend(check(&path, &std::fs::read_to_string(file).unwrap()));
    }
    let report: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(report.is_empty(), "{} rules broken:\n{}", report.len(), report.join("\n"));
}

/// All Rust files under a folder, but those that a build made.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

/// The rules that a file with this text breaks.
fn broken(path: &str, text: &str) -> Vec<&'static str> {
    check(path, text).iter().map(|finding| finding.rule).collect()
}

#[test]
fn imports_go_down_the_layers_only() {
    for (path, text) in [
        ("src/model/id.rs", "use crate::segment::Reader;"),
        ("src/model/id.rs", "use crate::{error::Error, ledger::{Ledger}};"),
        ("src/model/id.rs", "fn f() -> crate::wire::Line { loop {} }"),
        ("src/model/id.rs", "use super::super::storage::Storage;"),
        ("src/error.rs", "use crate::model::Id;"),
        ("src/error.rs", "use super::model::Id;"),
        ("src/index/mod.rs", "use crate::storage::Storage;"),
        ("src/query/mod.rs", "use crate::ledger::Ledger;"),
        ("src/ledger/mod.rs", "use crate::wire;"),
        ("src/wire/mod.rs", "use crate::ledger::Ledger;"),
        ("src/segment/mod.rs", "use crate::Error;"),
        ("src/unheard_of.rs", "use crate::error::Error;"),
    ] {
        assert_eq!(broken(path, text), ["layer"], "{path}: {text}");
    }
    for (path, text) in [
        ("src/model/id.rs", "use crate::error::Error; use super::Json; use crate::model::Run;"),
        ("src/model/id.rs", "// crate::ledger\nconst A: &str = \"crate::ledger::Ledger\";"),
        ("src/model/id.rs", "#[cfg(test)]\nmod tests { use crate::ledger::Ledger; }"),
        ("src/ledger/mod.rs", "use crate::{query::Query, storage::{Disk, Storage}};"),
        ("src/lib.rs", "pub use crate::ledger::Ledger;"),
        ("src/bin/runledger/main.rs", "use crate::cmd; use runledger::Ledger;"),
    ] {
        assert_eq!(broken(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn what_has_one_home_stays_there() {
    for (path, text) in [
        ("src/ledger/mod.rs", "use serde_json::Value;"),
        ("src/bin/runledger/main.rs", "fn f() { serde_json::to_string(&1); }"),
        ("src/format/frame.rs", "use bincode::config;"),
        ("src/ledger/open.rs", "use std::{fmt, fs};"),
        ("src/ledger/open.rs", "fn f() { std::fs::remove_file(\"a\"); }"),
        ("src/segment/mod.rs", "use memmap2::Mmap;"),
        ("src/ledger/stream.rs", "use parking_lot::Mutex;"),
        ("src/segment/mod.rs", "use std::sync::atomic::AtomicU64;"),
        ("src/ledger/maintain.rs", "fn f() { std::thread::yield_now(); }"),
        ("src/segment/mod.rs", "use rustix::fs::fallocate;"),
    ] {
        assert_eq!(broken(path, text), ["home"], "{path}: {text}");
    }
    for (path, text) in [
        ("src/wire/mod.rs", "use serde_json::value::RawValue;"),
        ("src/model/json.rs", "use serde_json::Value;"),
        ("src/format/codec.rs", "use bincode::config;"),
        ("src/storage/disk.rs", "use std::fs;"),
        ("src/bin/runledger/main.rs", "use std::fs::File;"),
        ("src/ledger/mod.rs", "use std::fmt; // std::fs"),
        ("src/ledger/mod.rs", "#[cfg(test)]\nmod tests { use std::fs; }"),
        ("tests/x.rs", "use serde_json::Value; use std::fs;"),
    ] {
        assert_eq!(broken(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn unsafe_code_and_ignored_tests_are_found() {
    assert_eq!(broken("src/ledger/mod.rs", "fn f() { unsafe { g() } }"), ["unsafe"]);
    assert_eq!(broken("tests/x.rs", "unsafe fn f() {}"), ["unsafe"]);
    assert_eq!(broken(UNSAFE_HOME, "fn f() { unsafe { g() } }"), [""; 0]);
    assert_eq!(broken("src/lib.rs", "#![deny(unsafe_code)] // unsafe"), [""; 0]);
    assert_eq!(broken("tests/x.rs", "#[test]\n#[ignore]\nfn f() {}"), ["ignored test"]);
    assert_eq!(broken("tests/x.rs", "#[ignore = \"slow\"]\nfn f() {}"), ["ignored test"]);
}

#[test]
fn bounds_hold_to_the_line() {
    let function =
        |lines: usize| format!("fn f(a: [u8; 2]) {{\n{}}}\n", "g();\n".repeat(lines - 2));
    assert_eq!(broken("tests/x.rs", &function(MAX_FUNCTION)), [""; 0]);
    assert_eq!(broken("tests/x.rs", &function(MAX_FUNCTION + 1)), ["function length"]);
    let declared = format!("trait T {{ fn f(&self);\n{}fn g() {{}} }}", "// more\n".repeat(80));
    assert_eq!(broken("tests/x.rs", &declared), [""; 0]);

    let file =
        |lines: usize| format!("{}#[cfg(test)]\nmod tests {{\n\n}}\n", "// a\n".repeat(lines));
    assert_eq!(broken("src/lib.rs", &file(MAX_FILE)), [""; 0]);
    assert_eq!(broken("src/lib.rs", &file(MAX_FILE + 1)), ["file length"]);

    assert_eq!(broken("src/lib.rs", &format!("//{}", "ü".repeat(98))), [""; 0]);
    assert_eq!(broken("src/lib.rs", &format!("//{}", "ü".repeat(99))), ["width"]);
    assert_eq!(broken("src/lib.rs", &format!("//! | {} |", "a".repeat(99))), [""; 0]);
}

#[test]
fn text_is_not_taken_for_code() {
    for text in [
        "let a = \"unsafe \\\" unsafe\";",
        "let a = r#\"unsafe \" unsafe\"#;",
        "let a = br\"unsafe\\\"; let b = '\"'; let c = b'\"'; let d = '\\'';",
        "/* unsafe /* unsafe */ unsafe */",
        "let a = '\\u{22}'; // unsafe",
        "let a = \"\nunsafe\n\";",
    ] {
        assert_eq!(broken("src/lib.rs", text), [""; 0], "{text}");
    }
    for text in
        ["let a = '\"'; unsafe {}", "fn f<'a>(a: &'a str) { unsafe {} }", "r#fn!(); unsafe {}"]
    {
        assert_eq!(broken("src/lib.rs", text), ["unsafe"], "{text}");
    }
}
