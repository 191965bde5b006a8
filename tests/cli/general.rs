use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use super::Bench;

const COMMANDS: &[&str] = &[
    "runs",
    "events",
    "errors",
    "groups",
    "show",
    "trace",
    "diff",
    "tail",
    "values",
    "stats",
    "history",
    "import",
    "merge",
    "append",
    "exec",
    "expect",
    "check",
    "export",
    "cleanup",
    "compact",
    "erase",
    "cleanup-status",
    "retention",
    "why-kept",
    "pin",
    "pins",
    "unpin",
    "verify",
    "checkpoint",
    "repair",
    "dump",
    "demo",
    #[cfg(feature = "server")]
    "serve",
    #[cfg(feature = "server")]
    "token",
    "completions",
    "man",
];

#[test]
fn help_is_there_for_all_and_fits_a_terminal() {
    let bench = Bench::new();
    let top = bench.run(["--help"]);
    assert_eq!(top.code, 0);
    for command in COMMANDS {
        assert!(top.out.contains(&format!("\n  {command}")), "{command}: {}", top.out);
        for flag in ["-h", "--help"] {
            let said = bench.run([command, flag]);
            assert_eq!(said.code, 0, "{command}");
            let widest = said.out.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 80, "{command} {flag} is {widest} wide:\n{}", said.out);
        }
    }
    assert_eq!(bench.run(["--version"]).out, format!("runledger {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_2_and_says_so_on_stderr() {
    let bench = Bench::new();
    for args in [&[][..], &["nonsense"], &["runs", "--nonsense"], &["append", "run"]] {
        let said = bench.run(args);
        assert_eq!(said.code, 2, "{args:?}");
        assert_eq!(said.out, "", "{args:?}");
        assert!(!said.err.is_empty(), "{args:?}");
    }
}

#[test]
fn what_is_no_ledger_is_named_and_left_alone() {
    let bench = Bench::new();
    for command in ["runs", "stats", "export", "verify", "tail"] {
        let said = bench.run([command]);
        assert_eq!(said.code, 2, "{command}: {said:?}");
        assert!(said.err.starts_with("runledger: "), "{command}: {}", said.err);
        assert!(said.err.contains("ledger"), "{command}: {}", said.err);
        assert!(!bench.ledger().exists(), "{command} made a ledger");
    }
    fs::create_dir(bench.ledger()).unwrap();
    bench.file("ledger/notes.txt", "mine");
    for args in [&["runs"][..], &["append", "event", "--type", "x"]] {
        let said = bench.run(args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(said.err.contains("is not a ledger"), "{args:?}: {}", said.err);
    }
    assert_eq!(fs::read_dir(bench.ledger()).unwrap().count(), 1);
}

/// Runs the program as a user who may read the folder and not write to it.
#[test]
fn without_permission_the_error_names_the_path() {
    let bench = Bench::with_sample();
    for path in [bench.path(""), bench.ledger(), bench.ledger().join("streams")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let mut program = bench.program();
    if fs::File::create(bench.path("probe")).is_ok() {
        // Permissions do not bind the superuser: become nobody.
        program.uid(65534).gid(65534);
    }
    program.args(["append", "event", "--type", "x"]);
    match program.output() {
        Ok(output) => {
            let said = super::said(output);
            assert_eq!(said.code, 2, "{said:?}");
            assert!(said.err.contains("ermission denied"), "{}", said.err);
            assert!(said.err.contains("ledger/"), "{}", said.err);
        }
        Err(err) => eprintln!("skipped: nobody cannot run the program here: {err}"),
    }
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_ledger_of_a_newer_format_is_left_alone() {
    let bench = Bench::with_sample();
    let path = bench.path("ledger/LEDGER");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..10].copy_from_slice(&99_u16.to_le_bytes());
    let end = bytes.len() - 4;
    let sum = runledger::format::crc::masked(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, bytes).unwrap();
    for args in [&["runs"][..], &["append", "event", "--type", "x"], &["repair"]] {
        let said = bench.run(args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(said.err.contains("format version 99"), "{args:?}: {}", said.err);
        assert!(said.err.contains("use a newer runledger"), "{args:?}: {}", said.err);
    }
}

#[test]
fn a_read_only_file_system_can_be_read() {
    let bench = Bench::with_sample();
    let here = bench.path("").display().to_string();
    let mount = format!("mount --bind {here} {here} && mount -o remount,ro,bind {here}");
    if bench.shell(&format!("unshare -m sh -c '{mount}'")).code != 0 {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let read_only = |command: &str| {
        bench.shell(&format!(
            "unshare -m sh -c '{mount} && cd {here} && exec \"$runledger\" {command}'"
        ))
    };
    assert_eq!(read_only("export").out.lines().count(), 431);
    assert_eq!(read_only("verify").code, 0);
    let said = read_only("append event --type x");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("ead-only"), "{}", said.err);
}

#[test]
fn the_directory_comes_from_the_flag_then_the_environment() {
    let bench = Bench::new();
    let append = ["append", "event", "--type", "x"];
    let in_env = bench.program().args(append).env("RUNLEDGER_DIR", "a").output().unwrap();
    assert!(in_env.status.success());
    let mut flag = bench.program();
    flag.args(["--dir", "b"]).args(append).env("RUNLEDGER_DIR", "a");
    assert!(flag.output().unwrap().status.success());
    assert!(bench.path("a/LEDGER").exists() && bench.path("b/LEDGER").exists());
    assert!(!bench.ledger().exists());
    let behind = bench.run(["append", "event", "--type", "x", "--dir", "c"]);
    assert_eq!(behind.code, 0);
    assert!(bench.path("c/LEDGER").exists());
}

#[test]
fn completions_and_manual_pages() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = bench.run(["completions", shell]);
        assert_eq!(said.code, 0);
        assert!(said.out.contains("import"), "{shell}");
    }
    let said = bench.run(["man"]);
    assert_eq!(said.code, 0);
    assert!(said.out.contains(".TH runledger 1"), "{:.200}", said.out);
    assert_eq!(bench.run(["man", "pages"]).code, 0);
    for command in COMMANDS {
        assert!(bench.path(&format!("pages/runledger-{command}.1")).exists(), "{command}");
    }
}

#[test]
fn the_demo_makes_a_fresh_folder_each_time() {
    let bench = Bench::new();
    let said = bench.run(["demo"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for expected in [
        "431 records are in ./runledger-demo.",
        "The last runs:",
        "The last failures:",
        "No instances available for ts-train-service",
        "What to type next:",
    ] {
        assert!(said.out.contains(expected), "{expected}: {}", said.out);
    }
    assert!(!said.out.contains('\x1b'), "no colours in a pipe");
    assert_eq!(said.err, "", "a tour says nothing of what it leaves out");
    assert!(bench.run(["demo"]).out.contains("./runledger-demo-2."));
    let said = bench.run(["demo", "it's here"]);
    assert!(said.out.contains(r"--dir 'it'\''s here' stats"), "{}", said.out);
    assert_eq!(bench.run(["demo", "mine"]).code, 0);
    let said = bench.run(["demo", "mine"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("name another directory"), "{}", said.err);
    let recent = bench.run(["--dir", "mine", "runs", "--since", "-10m", "-o", "json"]);
    assert_eq!(recent.out.lines().count(), 14, "the times end now");
}

/// `demo --dir DIR` made its ledger elsewhere.
#[test]
fn the_demo_is_made_where_the_flag_says() {
    let bench = Bench::new();
    for (args, folder) in [(["--dir", "before", "demo"], "before"), (["demo", "--dir", "x"], "x")] {
        let said = bench.run(args);
        assert!(said.out.contains(&format!("431 records are in {folder}.")), "{said:?}");
        assert!(bench.path(folder).exists());
    }
    let twice = bench.run(["demo", "here", "--dir", "there"]);
    assert_eq!(twice.code, 2, "{twice:?}");
    assert!(!bench.path("here").exists() && !bench.path("there").exists());
    // In the environment it is that of the ledger that is used every day.
    let usual = bench.program().arg("demo").env("RUNLEDGER_DIR", "usual").output().unwrap();
    assert!(super::said(usual).out.contains("431 records are in ./runledger-demo."));
}
