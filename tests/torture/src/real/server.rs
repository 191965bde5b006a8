//! The program as a server in another process, and a client that says what it is told to say.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// Tells a program that was built with bugs which one to plant.
#[cfg(feature = "planted")]
const PLANT: &str = "RUNLEDGER_PLANT";

/// The program beside this one, or why there is none.
pub(crate) fn program() -> Result<PathBuf, &'static str> {
    let beside = std::env::current_exe().map(|own| own.with_file_name("runledger"));
    match beside {
        Ok(path) if path.exists() => Ok(path),
        _ => Err("the program `runledger` is not beside this one: build it first"),
    }
}

/// True when bugs can be planted in the program beside this one.
#[cfg(feature = "planted")]
pub(crate) fn can_plant() -> bool {
    let version = |program| Command::new(program).arg("--version").env(PLANT, "none").output();
    // One that knows bugs knows none of this name.
    program().is_ok_and(|program| version(program).is_ok_and(|said| !said.status.success()))
}

/// A server that listens. It ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: String,
    /// Where the ledger is, for as long as this is.
    _folder: TempDir,
}

impl Server {
    /// Starts a server with these files in its directory, and with these words.
    pub(crate) fn start(program: &Path, files: &[(&str, &[u8])], args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RUNLEDGER_")) {
            command.env_remove(name);
        }
        #[cfg(feature = "planted")]
        if let Some(bug) = runledger::planted::planted() {
            command.env(PLANT, format!("{bug:?}"));
        }
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
        // Nobody is asked to wait: how much is taken is what is tried.
        command.args(["--rate-per-address", "0", "--rate-per-user", "0"]);
        command.current_dir(folder.path()).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("the server says {line:?}")).to_owned();
        Self { child, address, _folder: folder }
    }

    pub(crate) fn connect(&self) -> io::Result<Client> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// How much memory it has that is of no file, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Asks it to end, and gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client(BufReader<TcpStream>);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.0.get_mut().shutdown(std::net::Shutdown::Write)
    }

    /// The head of the next answer, and its status; `None` when the server has closed the
    /// connection instead.
    pub(crate) fn hear_head(&mut self) -> io::Result<Option<(u16, String)>> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if (&mut self.0).take(64 << 10).read_line(&mut head)? == 0 {
                return Ok(None);
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("an answer is {head:?}")))?;
        Ok(Some((status, head)))
    }

    /// The next answer; `None` when the server has closed the connection instead.
    pub(crate) fn hear(&mut self) -> io::Result<Option<Answer>> {
        let Some((status, head)) = self.hear_head()? else { return Ok(None) };
        let value = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
        };
        let mut body = Vec::new();
        if value("transfer-encoding").is_some() {
            while self.chunk(&mut body)? {}
        } else if let Some(length) = value("content-length") {
            let length: u64 = length.parse().map_err(io::Error::other)?;
            (&mut self.0).take(length.min(LONGEST)).read_to_end(&mut body)?;
        }
        Ok(Some(Answer { status, head, body }))
    }

    /// Reads a chunk of a body. False when it was the last.
    fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        (&mut self.0).take(length).read_to_end(body)?;
        self.0.read_line(&mut line)?;
        Ok(length > 0)
    }
}
