//! Running a command in the foreground: its output passed through, signals passed on to it, and the
//! end of its stderr kept.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

/// How much of the end of stderr is kept, in bytes.
const TAIL_BYTES: usize = 8 << 10;

/// How long the end of stderr is waited for once the command has ended: a process that it left in
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
    let copied = child.stderr.take().map(Copied::begin);
    if let Some(pid) = relay.pid() {
        // The process is not reaped before signals stop going to its id, which could be another's.
        while matches!(
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT),
            Err(Errno::INTR)
        ) {}
    }
    let interrupted = relay.end();
    let status = child.wait()?;
    let stderr = copied.map(|(copied, done)| copied.end(&done, &relay)).unwrap_or_default();
    handle.close();
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

/// The stderr of a command, which is copied to this program's.
struct Copied {
    pipe: File,
    tail: Mutex<Tail>,
}

/// The end of what was copied.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    /// How many bytes were read in all.
    read: u64,
    /// How many of them this program's stderr has taken.
    written: u64,
}

impl Copied {
    /// Begins to copy. What is received comes when that has ended.
    fn begin(stderr: ChildStderr) -> (Arc<Self>, Receiver<()>) {
        let pipe = File::from(OwnedFd::from(stderr));
        let copied = Arc::new(Self { pipe, tail: Mutex::default() });
        let (tell, done) = mpsc::channel();
        let shared = Arc::clone(&copied);
        thread::spawn(move || {
            shared.copy();
            let _ = tell.send(());
        });
        (copied, done)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(&self) {
        let mut chunk = [0; TAIL_BYTES];
        loop {
            let piece = match (&self.pipe).read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => chunk.get(..read).unwrap_or_default(),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            self.tail().push(piece);
            // The command goes on when nobody reads its messages.
            let _ = io::stderr().write_all(piece);
            let mut tail = self.tail();
            tail.written = tail.read;
        }
    }

    /// Waits for all that was said by now, for as long as it takes to write it unless a signal
    /// comes, and no more than the grace for what others say yet; gives the end of it.
    fn end(&self, done: &Receiver<()>, relay: &Relay) -> String {
        let due = self.tail().read + ioctl_fionread(&self.pipe).unwrap_or(0);
        let is_behind = || {
            let Tail { read, written, .. } = *self.tail();
            // A piece may have been taken from the pipe that was not counted yet.
            written < read.clamp(due, due + TAIL_BYTES as u64) && !relay.target().is_late
        };
        while done.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) && is_behind() {}
        self.tail().text()
    }
}

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        self.read += piece.len() as u64;
        self.bytes.extend_from_slice(piece);
        let excess = self.bytes.len().saturating_sub(TAIL_BYTES);
        self.bytes.drain(..excess);
    }

    /// As text, without the line that its start was cut from, unless there is no other.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim_end();
        let is_cut = self.read > self.bytes.len() as u64;
        let rest = text.split_once('\n').map(|(_, rest)| rest).filter(|_| is_cut);
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
    /// True when a signal came after that.
    is_late: bool,
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
            target.is_late = true;
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
