//! A child process that is told what to do and answers, a line each.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The other end of a child.
#[derive(Debug)]
pub(crate) struct Partner {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Partner {
    /// Starts this part of the program.
    pub(crate) fn start(program: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.arg("child").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (heard, lines) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.all(|line| heard.send(line).is_ok());
        });
        Self { child, stdin, lines }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it something. That it is dead is seen when it does not answer.
    pub(crate) fn tell(&mut self, line: &str) {
        let _ = self.stdin.write_all(format!("{line}\n").as_bytes());
    }

    /// Waits for what it says next; an error tells how it died.
    pub(crate) fn hear(&mut self) -> Result<String, ExitStatus> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(_) => {
                // Nothing to a child that is dead, and the end of one that hangs.
                let _ = self.child.kill();
                Err(self.child.wait().unwrap())
            }
        }
    }

    /// True while it has not ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The child's end: calls `answer` with each line that it is told, and says what that gives.
pub(crate) fn serve(mut answer: impl FnMut(&str) -> String) {
    die_with_parent();
    for line in std::io::stdin().lines().map_while(Result::ok) {
        say(&answer(&line));
    }
}

/// Without whoever counts, nothing is to be left behind.
pub(crate) fn die_with_parent() {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
}

/// Says a line, in one call, so that lines of several threads do not mix.
pub(crate) fn say(line: &str) {
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}
