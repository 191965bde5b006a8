//! The program as a server: how it starts, what it does with slow clients, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runledger::{Kind, Reader};

const PROGRAM: &str = env!("CARGO_BIN_EXE_runledger");

/// A server that listens.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_with(command(folder).args(["serve", "--listen", "127.0.0.1:0"]).args(args))
    }

    fn start_with(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Asks the server to stop, and gives how it ended.
    fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that has failed leaves no server behind; one that was stopped is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RUNLEDGER_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn post(body: &str) -> String {
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status of the next answer, whose body is read, too.
fn answer(stream: &mut BufReader<TcpStream>) -> u16 {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).unwrap();
    status
}

#[test]
fn a_signal_ends_it_and_what_was_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--no-auth"]);
    let mut stream = BufReader::new(server.connect());
    for _ in 0..3 {
        // One connection for all of them.
        stream.get_mut().write_all(post(r#"{"type":"x"}"#).as_bytes()).unwrap();
        assert_eq!(answer(&mut stream), 201);
    }
    // One that is half-way when the signal comes is still served. The server says that it has begun
    // with it: one of which it had read nothing by then would be turned away, as a busy machine has
    // it now and then.
    let request = post(r#"{"type":"last"}"#).replacen("\r\n", "\r\nExpect: 100-continue\r\n", 1);
    let (before, after) = request.split_at(request.len() - 5);
    stream.get_mut().write_all(before.as_bytes()).unwrap();
    let mut begun = String::new();
    stream.read_line(&mut begun).and_then(|_| stream.read_line(&mut String::new())).unwrap();
    assert_eq!(begun.trim(), "HTTP/1.1 100 Continue");
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| server.stop());
        std::thread::sleep(Duration::from_millis(300));
        stream.get_mut().write_all(after.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream), 201);
        assert_eq!(ended.join().unwrap(), Some(0));
    });
    let reader = Reader::open(folder.path().join("ledger")).unwrap();
    assert_eq!(reader.query().kind(Kind::Event).count().unwrap(), 4);
}

/// Clients that send a byte now and then are cut off, and cost nobody else anything.
#[test]
fn slow_clients_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--no-auth", "--read-timeout-s", "1"]);
    let mut slow: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        // Half of them in the headers, half in the body.
        let part = if number % 2 == 0 { 30 } else { 100 };
        stream.write_all(&post(&"x".repeat(500)).as_bytes()[..part]).unwrap();
    }
    let mut good = BufReader::new(server.connect());
    good.get_mut().write_all(post(r#"{"type":"x"}"#).as_bytes()).unwrap();
    assert_eq!(answer(&mut good), 201);
    for (number, stream) in slow.into_iter().enumerate() {
        let mut said = String::new();
        let mut stream = BufReader::new(stream);
        stream.read_to_string(&mut said).unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{number}: {said}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn more_connections_than_allowed_wait() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--no-auth", "--connections", "1"]);
    let mut first = BufReader::new(server.connect());
    first.get_mut().write_all(post(r#"{"type":"x"}"#).as_bytes()).unwrap();
    assert_eq!(answer(&mut first), 201);
    let mut second = server.connect();
    second.write_all(post(r#"{"type":"x"}"#).as_bytes()).unwrap();
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0]).is_err(), "the second is served beside the first");
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(answer(&mut BufReader::new(second)), 201);
}

/// A flag goes before the environment, and that before the file.
#[test]
fn the_configuration_has_an_order() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("short"), "short").unwrap();
    let file = folder.path().join("serve.toml");
    let said = |toml: &str, env: &[(&str, &str)], args: &[&str]| {
        std::fs::write(&file, toml).unwrap();
        let mut command = command(folder.path());
        let output = command
            .args(["serve", "--config", "serve.toml"])
            .args(args)
            .envs(env.iter().copied())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let file_listens = "no_auth = true\nlisten = \"0.0.0.1:1\"";
    let env = [("RUNLEDGER_LISTEN", "0.0.0.2:2")];
    for (env, args, expected) in [
        (&[][..], &[][..], "0.0.0.1:1 is none"),
        (&env, &[], "0.0.0.2:2 is none"),
        (&env, &["--listen", "0.0.0.3:3"], "0.0.0.3:3 is none"),
    ] {
        let (code, err) = said(file_listens, env, args);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(expected), "{expected}: {err}");
    }
    // Who may use the server, and what is switched off, is told in that order, too.
    let (off, secret) = (("RUNLEDGER_NO_AUTH", "false"), ("RUNLEDGER_SECRET_FILE", "short"));
    let empty = ("RUNLEDGER_NO_AUTH", "");
    for (toml, env, args, expected) in [
        ("", &[secret][..], &["--no-auth", "--listen", "0.0.0.3:3"][..], "0.0.0.3:3 is none"),
        ("", &[secret], &["--jwks-file", "b"], "keys in b"),
        ("no_auth = true", &[secret], &[], "needs 32"),
        ("no_auth = true", &[off], &[], "--secret-file"),
        ("no_auth = true", &[empty], &["--listen", "0.0.0.3:3"], "0.0.0.3:3 is none"),
        ("no_auth = true", &[off, secret], &[], "needs 32"),
        ("secret_file = \"short\"", &[off], &[], "needs 32"),
    ] {
        let (code, err) = said(toml, env, args);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(expected), "{toml} {env:?} {args:?}: {err}");
    }
    for (toml, args, expected) in [
        ("[links]\nbooking = \"javascript:{id}\"", &["--no-auth"][..], "the link of booking"),
        ("", &[][..], "--secret-file"),
        ("no_auth = false", &[], "--secret-file"),
        ("nonsense = 1", &[], "nonsense"),
        ("listen = 7", &[], "line 1"),
        ("secret_file = \"short\"", &[], "needs 32"),
        ("secret_file = \"missing\"", &[], "missing"),
        ("secret_file = \"a\"\njwks_file = \"b\"", &[], "exclude each other"),
        ("secret_file = \"a\"", &["--jwks-file", "b"], "keys in b"),
        ("no_auth = true\nworkers = 0", &[], "workers is 0"),
        ("no_auth = true", &["--durability", "none"], "expected sync, os or interval"),
        ("no_auth = true", &["--workers", "18446744073709551615"], "expected 1 to 65536"),
        ("no_auth = true", &["--read-timeout-s", "18446744073709551615"], "at most 31536000"),
    ] {
        let (code, err) = said(toml, &[], args);
        assert_eq!(code, Some(2), "{toml}: {err}");
        assert!(err.contains(expected), "{toml} {args:?}: {err}");
    }
}

/// What the environment switched off the file switched on again.
#[test]
fn what_is_switched_off_stays_off() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s".repeat(32)).unwrap();
    let toml = "secret_file = \"secret\"\nopen_metrics = true\n";
    std::fs::write(folder.path().join("serve.toml"), toml).unwrap();
    let metrics = |env: &[(&str, &str)], flags: &[&str]| {
        let mut command = command(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--config", "serve.toml"]).args(flags);
        let server = Server::start_with(command.envs(env.iter().copied()));
        let mut stream = BufReader::new(server.connect());
        stream.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let status = answer(&mut stream);
        drop(stream);
        assert_eq!(server.stop(), Some(0));
        status
    };
    let off = ("RUNLEDGER_OPEN_METRICS", "false");
    assert_eq!(metrics(&[], &[]), 200);
    assert_eq!(metrics(&[off], &[]), 401);
    // As of a variable that is not set where the server is started.
    assert_eq!(metrics(&[("RUNLEDGER_OPEN_METRICS", "")], &[]), 200);
    assert_eq!(metrics(&[off], &["--open-metrics"]), 200);
    assert_eq!(metrics(&[], &["--open-metrics=false"]), 401);
}

/// A number that was too large was a panic: at once, or with each connection.
#[test]
fn numbers_may_be_large() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["--connections", "--followers", "--drain-s", "--max-body-bytes"];
    let numbers = names.iter().flat_map(|name| [name, "18446744073709551615"]);
    let longest = ["--no-auth", "--read-timeout-s", "31536000", "--workers", "65536"];
    let args: Vec<_> = longest.into_iter().chain(numbers).collect();
    let server = Server::start(folder.path(), &args);
    let mut stream = BufReader::new(server.connect());
    stream.get_mut().write_all(post(r#"{"type":"x"}"#).as_bytes()).unwrap();
    assert_eq!(answer(&mut stream), 201);
    drop(stream);
    assert_eq!(server.stop(), Some(0));
}

/// A server that could not say where it listens ended at once, with 0 where a pipe was closed.
#[test]
fn a_server_to_which_nobody_listens_serves() {
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let (reader, unread) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = command(folder.path());
    command.args(["serve", "--no-auth", "--listen", &address]).stdout(unread);
    let mut server = Server { child: command.spawn().unwrap(), address };
    let answers = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(server.child.try_wait().unwrap(), None, "it has ended");
        TcpStream::connect(&server.address).is_ok()
    });
    assert!(answers);
    assert_eq!(server.stop(), Some(0));
}

/// A second server, or any other writer, is told who has the ledger.
#[test]
fn one_ledger_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--no-auth"]);
    let second = command(folder.path())
        .args(["serve", "--no-auth", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&server.child.id().to_string()), "{said}");
}

/// A token that the program makes is taken by the server with the same secret.
#[test]
fn a_minted_token_opens_the_door() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), [b's'; 32]).unwrap();
    let token = command(folder.path())
        .args(["token", "ann", "--scope", "read", "--secret-file", "secret"])
        .output()
        .unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let server = Server::start(folder.path(), &["--secret-file", "secret"]);
    let ask = |token: &str| {
        let mut stream = BufReader::new(server.connect());
        let head = "GET /v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer";
        write!(stream.get_mut(), "{head} {token}\r\n\r\n").unwrap();
        answer(&mut stream)
    };
    assert_eq!((ask(token.trim()), ask("x.y.z")), (200, 401));
    for args in [&["token", "ann"][..], &["token", "ann", "--secret-file", "none"]] {
        assert_eq!(command(folder.path()).args(args).output().unwrap().status.code(), Some(2));
    }
}
