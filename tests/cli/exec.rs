use std::process::Stdio;
use std::time::Duration;

use runledger::{Ledger, Timestamp};
use serde_json::Value;

use super::append::with_a_close_that_fails;
use super::{Bench, said};

/// The newest state of the only run, and the first.
fn states(bench: &Bench) -> (Value, Value) {
    let records = bench.records();
    assert_eq!(records.len(), 2, "{records:?}");
    (records[0].clone(), records[1].clone())
}

#[test]
fn a_command_that_works() {
    let bench = Bench::new();
    let said =
        bench.run(["exec", "--type", "hello", "--project", "p", "--", "echo", "hi", "there"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "hi there\n", ""));
    let (begun, ended) = states(&bench);
    assert_eq!((&begun["status"], &ended["status"]), (&"running".into(), &"success".into()));
    assert_eq!(begun["run_id"], ended["run_id"]);
    assert_eq!(ended["project_id"], "p");
    assert_eq!(ended["metadata"]["command"][1], "hi");
    assert_eq!(ended["result"]["exit_code"], 0);
    assert!(ended["duration_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(ended["run_id"].as_str().unwrap().len(), 36);
}

#[test]
fn a_command_that_fails_gives_the_end_of_its_stderr() {
    let bench = Bench::new();
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; \
                  printf 'the cause\\n\\n' >&2; exit 3";
    let said = bench.run(["exec", "--type", "x", "--id", "r", "--", "sh", "-c", script]);
    assert_eq!(said.code, 3);
    assert!(said.err.starts_with("line 0\nline 1\n"), "passed through: {:.40}", said.err);
    assert!(said.err.ends_with("line 1999\nthe cause\n\n"));
    let (_, ended) = states(&bench);
    assert_eq!(ended["status"], "failed");
    assert_eq!(ended["message"], "exit code 3: the cause");
    let stack = ended["stack"].as_str().unwrap();
    assert!(stack.ends_with("line 1999\nthe cause"), "{stack}");
    assert!(stack.starts_with("line ") && stack.len() > 8_000 && stack.len() <= 8_192);
    assert_eq!(ended["result"]["exit_code"], 3);
}

/// Of a last line that is longer than what is kept nothing was.
#[test]
fn the_end_of_a_long_last_line_is_kept() {
    let bench = Bench::new();
    for (id, end) in [("r", ""), ("q", "; echo >&2"), ("p", "; printf '\\n\\n' >&2")] {
        let script = format!("head -c 9000 /dev/zero | tr '\\0' x >&2{end}; exit 1");
        let said = bench.run(["exec", "--type", "t", "--id", id, "--", "sh", "-c", &script]);
        assert_eq!(said.code, 1);
        let ended = bench.records().pop().unwrap();
        assert_eq!((&ended["run_id"], &ended["status"]), (&id.into(), &"failed".into()));
        let stack = ended["stack"].as_str().unwrap_or_default();
        assert!(stack.len() > 8_000 && stack.bytes().all(|byte| byte == b'x'), "{id}: {ended}");
        let message = ended["message"].as_str().unwrap();
        assert!(message.starts_with("exit code 1: xxx"), "{id}: {message}");
    }
}

/// The end of what the command had said was cut off when stderr was not read for a second.
#[test]
fn a_slow_reader_of_stderr_is_waited_for() {
    let bench = Bench::new();
    // More than a pipe holds, and less than two.
    let script = "head -c 100000 /dev/zero | tr '\\0' x >&2; touch ended";
    let mut program = bench.program();
    let mut child = bench.start(program.args(["exec", "--type", "x", "--", "sh", "-c", script]));
    while !bench.path("ended").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // It ends once it is read, and not before.
    for _ in 0..75 {
        if child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let said = said(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.len()), (0, 100_000));
}

/// Once there are two states of a run. Nobody reads what the program says until then.
fn until_it_is_logged(bench: &Bench) -> (Value, Value) {
    for _ in 0..600 {
        if bench.records().len() == 2 {
            return states(bench);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the end of the run was not logged in 30 s")
}

/// The end of a run was logged only after all that the command had said was written: late, and not
/// at all where the program was killed while nobody read its stderr.
#[test]
fn the_end_is_logged_though_nobody_reads_stderr() {
    let bench = Bench::new();
    // What the opening has to say, with a policy that cannot be read, does not fit any more either.
    let script = "head -c 100000 /dev/zero | tr '\\0' x >&2; echo no >ledger/runledger.toml; \
                  touch ended; exit 3";
    let mut program = bench.program();
    let mut child = bench.start(program.args(["exec", "--type", "x", "--", "sh", "-c", script]));
    while !bench.path("ended").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (_, ended) = until_it_is_logged(&bench);
    assert!(ended["message"].as_str().unwrap().starts_with("exit code 3: xxx"), "{ended}");
    assert_eq!(ended["stack"].as_str().unwrap().len(), 8192);
    assert_eq!(child.try_wait().unwrap(), None, "there is more to write than a pipe holds");
    let said = said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 3);
    let (copied, told) = said.err.split_at(100_000);
    assert!(copied.bytes().all(|byte| byte == b'x'));
    assert!(told.starts_with("runledger: nothing expires until this is mended: "), "{told}");
}

/// A run had ended when it was logged, a second after a command that left a process behind.
#[test]
fn a_run_ends_when_its_command_does() {
    let bench = Bench::new();
    let said = bench.run(["exec", "--type", "x", "--", "sh", "-c", "sleep 5 >/dev/null & exit 0"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let (_, ended) = states(&bench);
    let time = |key: &str| ended[key].as_str().unwrap().parse::<Timestamp>().unwrap().as_nanos();
    let late = time("recorded_at") - time("finished_at");
    // It waits so long for what the process may have to say.
    assert!(late >= 1_000_000_000, "{late} ns");
}

#[test]
fn a_signal_ends_the_wait_for_a_reader() {
    let bench = Bench::new();
    let script = "head -c 100000 /dev/zero >&2; touch ended";
    let mut program = bench.program();
    let mut child = bench.start(program.args(["exec", "--type", "x", "--", "sh", "-c", script]));
    while !bench.path("ended").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // One that comes before the command has ended is the command's.
    while child.try_wait().unwrap().is_none() {
        bench.shell(&format!("kill -TERM {}", child.id()));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(states(&bench).1["kind"], "run");
}

/// What the command leaves behind may talk for ever.
#[test]
fn a_process_in_the_background_is_not_waited_for() {
    let bench = Bench::new();
    let script = "while :; do echo more >&2; done & exit 3";
    let said = bench.run(["exec", "--type", "x", "--", "sh", "-c", script]);
    assert_eq!(said.code, 3);
    assert!(states(&bench).1["stack"].as_str().unwrap().contains("more\nmore"));
}

/// It was said that the end of the run is not logged.
#[test]
fn an_end_that_is_in_is_logged_whatever_comes_of_the_close() {
    let bench = with_a_close_that_fails();
    let exec = "exec --type x --id done -- true";
    let said = bench.shell(&format!("trap '' XFSZ; ulimit -f 64; exec \"$runledger\" {exec}"));
    assert_eq!(said.code, 0, "{said:?}");
    let records = bench.records();
    let end = records.last().unwrap();
    assert_eq!((&end["run_id"], &end["status"]), (&"done".into(), &"success".into()), "{said:?}");
    let told = format!("record {}, of the run, is in all the same", end["seq"]);
    assert!(said.err.contains(&told), "{}", said.err);
    assert!(!said.err.contains("the end of the run is not logged"), "{}", said.err);
}

#[test]
fn a_command_that_is_not_there() {
    let bench = Bench::new();
    let said = bench.run(["exec", "--type", "x", "--", "no-such-command-here"]);
    assert_eq!(said.code, 127);
    assert!(said.err.contains("cannot run no-such-command-here"), "{}", said.err);
    let (_, ended) = states(&bench);
    assert_eq!(ended["status"], "failed");
    assert!(ended["message"].as_str().unwrap().contains("no-such-command-here"));
    assert_eq!(bench.run(["exec", "--type", "x", "--", "/"]).code, 126);
    assert_eq!(bench.run(["exec", "--type", "x"]).code, 2);
}

#[test]
fn a_command_that_is_killed() {
    let bench = Bench::new();
    let said = bench.run(["exec", "--type", "x", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(said.code, 137);
    let (_, ended) = states(&bench);
    assert_eq!(ended["status"], "failed");
    assert_eq!(ended["message"], "killed by SIGKILL");
}

#[test]
fn signals_are_passed_on_and_logged() {
    for (signal, code, name) in [("TERM", 143, "SIGTERM"), ("INT", 7, "SIGINT")] {
        let bench = Bench::new();
        let script = "trap 'echo got it; exit 7' INT; touch ready; while :; do sleep 0.05; done";
        // The tests may run in the background, where a shell has SIGINT ignored.
        let mut program = bench.command("env");
        program.args(["--default-signal", super::PROGRAM]);
        let child = bench.start(program.args(["exec", "--type", "x", "--", "sh", "-c", script]));
        while !bench.path("ready").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let killed = bench.shell(&format!("kill -{signal} {}", child.id()));
        assert_eq!(killed.code, 0);
        let said = said(child.wait_with_output().unwrap());
        assert_eq!(said.code, code, "{said:?}");
        assert_eq!(said.out.contains("got it"), signal == "INT");
        let (_, ended) = states(&bench);
        assert_eq!(ended["status"], "cancelled");
        assert_eq!(ended["message"], format!("stopped by {name}"));
        assert_eq!(ended["result"]["exit_code"], code);
    }
}

/// A signal that was ignored from the start was caught, and with that no longer ignored by the
/// command: `nohup` kept neither of them alive. Of a command that ended where SIGCHLD was ignored
/// it was said that it could not be run.
#[test]
fn what_is_ignored_from_the_start_stays_ignored() {
    let hangs_up = "kill -HUP $PPID; kill -HUP $$; echo on";
    for (signal, script) in [("HUP", hangs_up), ("CHLD", "echo on")] {
        let bench = Bench::new();
        let mut program = bench.command("env");
        program.args([format!("--ignore-signal={signal}").as_str(), super::PROGRAM]);
        program.args(["exec", "--type", "x", "--", "sh", "-c", script]);
        let said = said(program.output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (0, "on\n"), "{signal}: {}", said.err);
        assert_eq!(states(&bench).1["status"], "success", "{signal}");
    }
}

#[test]
fn the_command_runs_even_when_the_ledger_cannot_be_written_to() {
    let bench = Bench::new();
    bench.file("ledger", "in the way");
    let said = bench.run(["exec", "--type", "x", "--", "sh", "-c", "echo ran; exit 5"]);
    assert_eq!((said.code, said.out.as_str()), (5, "ran\n"));
    assert!(said.err.contains("runledger: the start of the run is not logged: "), "{}", said.err);
    assert!(said.err.contains("runledger: the end of the run is not logged: "), "{}", said.err);
    let said = bench.run(["exec", "--strict", "--type", "x", "--", "echo", "ran"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
}

#[test]
fn a_writer_that_goes_away_is_waited_for() {
    let bench = Bench::new();
    let holder = Ledger::open(bench.ledger()).unwrap();
    let child = bench.start(bench.program().args(["append", "event", "--type", "x"]));
    std::thread::sleep(Duration::from_millis(300));
    holder.close().unwrap();
    assert_eq!(said(child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn commands_side_by_side_and_within_each_other_share_the_ledger() {
    let bench = Bench::new();
    let inner = "\"$runledger\" append event --type step --run \"$RUNLEDGER_RUN_ID\" >/dev/null && \
                 \"$runledger\" exec --type inner -- true";
    let children: Vec<_> = (0..4)
        .map(|number| {
            let mut program = bench.program();
            program.env("runledger", super::PROGRAM).stderr(Stdio::piped());
            program.args(["exec", "--type", "outer", "--id", &format!("outer-{number}")]);
            bench.start(program.args(["--", "sh", "-c", inner]))
        })
        .collect();
    for child in children {
        let said = said(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.err.as_str()), (0, ""));
    }
    let records = bench.records();
    assert_eq!(records.len(), 4 * 5);
    for number in 0..4 {
        let outer = format!("outer-{number}");
        let of = |key: &str| records.iter().filter(|record| record[key] == *outer).count();
        assert_eq!((of("run_id"), of("parent_run_id")), (3, 2));
    }
}

/// A variable that was empty, or no id, kept the command from being run at all.
#[test]
fn a_wrong_environment_keeps_no_command_from_running() {
    let bench = Bench::new();
    let long = "x".repeat(129);
    for (trace, parent, told) in [("", "", 0), (long.as_str(), "p", 1), ("t", long.as_str(), 1)] {
        let mut exec = bench.program();
        exec.env("RUNLEDGER_TRACE_ID", trace).env("RUNLEDGER_RUN_ID", parent);
        let exec = exec.args(["exec", "--type", "x", "--", "sh", "-c", "echo ran"]);
        let said = said(exec.output().unwrap());
        assert_eq!((said.code, said.out.as_str()), (0, "ran\n"), "{said:?}");
        assert_eq!(said.err.matches("is passed over: id").count(), told, "{said:?}");
    }
    let runs = bench.run(["runs", "-o", "json"]).out;
    assert_eq!(runs.matches("\"parent_run_id\":\"p\"").count(), 1, "{runs}");
    assert_eq!(runs.matches("\"trace_id\":\"t\"").count(), 1, "{runs}");
}
