//! Running a command in the foreground: its output passed through, signals passed on to it, and the
//! end of its stderr kept.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

/// How much of the end of stderr is kept, in bytes.
const TAIL_BYTES: usize = 8 << 10;

/// How long the rest of stderr is waited for once the command has ended: a process that it left in
/// the background may hold the pipe open for ever.
const GRACE: Duration = Duration::from_secs(1);

/// How a command ended.
pub(crate) struct Ended {
    /// Its exit code or the signal that killed it.
    pub(crate) status: ExitStatus,
    /// The last 8 KiB of its stderr, from the start of a line on where there is one in them.
    pub(crate) stderr: String,
    /// The first signal that was sent to stop it.
    pub(crate) interrupted: Option<i32>,
}

/// Runs a command to its end, with these variables added to its environment.
///
/// # Errors
/// When the command cannot be started.
pub(crate) fn run(command: &[OsString], env: &[(&str, OsString)]) -> io::Result<Ended> {
    let [program, args @ ..] = command else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let relay = Arc::new(Relay::default());
    let mut signals = SignalsInfo::<WithOrigin>::new(passed_on())?;
    // Where it is ignored, as it may be from the start, nothing is known of how a command ended.
    flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
    let handle = signals.handle();
    let receiver = Arc::clone(&relay);
    thread::spawn(move || signals.forever().for_each(|origin| receiver.receive(&origin)));

    let mut command = Command::new(program);
    command.args(args).stderr(Stdio::piped());
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn()?;
    relay.begin(i32::try_from(child.id()).ok().and_then(Pid::from_raw));
    let (tail, done) = pass_through(child.stderr.take());
    if let Some(pid) = relay.pid() {
        // The process is not reaped before signals stop going to its id, which could be another's.
        while matches!(
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT),
            Err(Errno::INTR)
        ) {}
    }
    let interrupted = relay.end();
    let status = child.wait()?;
    handle.close();
    // An error means that the grace is over; what was read by then is the tail.
    let _ = done.recv_timeout(GRACE);
    let stderr = tail.lock().unwrap_or_else(PoisonError::into_inner).text();
    Ok(Ended { status, stderr, interrupted })
}

/// The signals that are passed on. One that this program was started to ignore, as `nohup` has it,
/// is left so: the command would begin with what a handler is reset to, which is to end by it.
fn passed_on() -> impl Iterator<Item = i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let ignored = ignored.unwrap_or_default();
    [SIGINT, SIGTERM, SIGHUP].into_iter().filter(move |signal| (ignored >> (signal - 1)) & 1 == 0)
}

/// Copies the command's stderr to this program's, and keeps its end.
fn pass_through(stderr: Option<ChildStderr>) -> (Arc<Mutex<Tail>>, Receiver<()>) {
    let tail = Arc::new(Mutex::new(Tail::default()));
    let (tell, done) = mpsc::channel();
    let shared = Arc::clone(&tail);
    thread::spawn(move || {
        if let Some(pipe) = stderr {
            copy(pipe, &shared);
        }
        let _ = tell.send(());
    });
    (tail, done)
}

fn copy(mut pipe: ChildStderr, tail: &Mutex<Tail>) {
    let mut chunk = [0; TAIL_BYTES];
    loop {
        let piece = match pipe.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        // The command goes on when nobody reads its messages.
        let _ = io::stderr().write_all(piece);
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
    }
}

/// The end of what a command said.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    /// Whether there was more before.
    is_cut: bool,
}

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        let excess = self.bytes.len().saturating_sub(TAIL_BYTES);
        self.bytes.drain(..excess);
        self.is_cut |= excess > 0;
    }

    /// As text, without the line that its start was cut from, unless there is no other.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim_end();
        let rest = text.split_once('\n').map(|(_, rest)| rest).filter(|_| self.is_cut);
        rest.unwrap_or(text).to_owned()
    }
}

/// Where signals go.
#[derive(Default)]
struct Relay(Mutex<Target>);

#[derive(Default)]
struct Target {
    first: Option<i32>,
    pid: Option<Pid>,
    early: Vec<i32>,
    ended: bool,
}

impl Relay {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pid(&self) -> Option<Pid> {
        self.target().pid
    }

    /// Passes a signal on, or keeps it until the command has begun.
    fn receive(&self, origin: &Origin) {
        let mut target = self.target();
        if target.ended {
            return;
        }
        target.first.get_or_insert(origin.signal);
        match target.pid {
            // What a terminal sends, it sends to the command as well.
            Some(_) if matches!(origin.cause, Cause::Kernel) => {}
            Some(pid) => send(pid, origin.signal),
            None => target.early.push(origin.signal),
        }
    }

    fn begin(&self, pid: Option<Pid>) {
        let mut target = self.target();
        target.pid = pid;
        for signal in std::mem::take(&mut target.early) {
            if let Some(pid) = pid {
                send(pid, signal);
            }
        }
    }

    /// Stops passing signals on; gives the first that came.
    fn end(&self) -> Option<i32> {
        let mut target = self.target();
        target.ended = true;
        target.first
    }
}

fn send(pid: Pid, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // A command that has just ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}
