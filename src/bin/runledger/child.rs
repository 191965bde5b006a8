//! Running a command in the foreground: its output passed through, signals passed on to it, and the
//! end of its stderr kept.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use runledger::Timestamp;
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::context;

/// How much of the end of stderr is kept, in bytes.
const TAIL_BYTES: usize = 8 << 10;

/// How long the end of stderr is waited for once the command has ended: a process that it left in
/// the background may hold the pipe open for ever.
const GRACE: Duration = Duration::from_secs(1);

/// From how many bytes of stderr on that are read and not written yet no more are read.
const MOST_WAITING: usize = 8 << 10;

/// How often a wait for who reads stderr looks whether a signal came.
const LOOK: Duration = Duration::from_millis(100);

/// How a command ended.
pub(crate) struct Ended {
    /// Its exit code or the signal that killed it.
    pub(crate) status: ExitStatus,
    /// When.
    pub(crate) at: Timestamp,
    /// The last 8 KiB of its stderr, from the start of a line on where there is one in them.
    pub(crate) stderr: String,
    /// The first signal that was sent to stop it.
    pub(crate) interrupted: Option<i32>,
    copied: Option<Arc<Copied>>,
    relay: Arc<Relay>,
    signals: Handle,
}

/// Runs a command to its end, with these variables added to its environment. What it said may wait
/// to be written yet.
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
    let at = context::clock();
    let stderr = copied.as_ref().map(|copied| copied.read_to_end()).unwrap_or_default();
    Ok(Ended { status, at, stderr, interrupted, copied, relay, signals: handle })
}

impl Ended {
    /// Says this after what the command has said, and waits until both are written, for as long as
    /// it takes unless a signal comes.
    pub(crate) fn finish(self, words: &str) {
        if let Some(copied) = self.copied {
            copied.write_to_end(words, &self.relay);
        }
        self.signals.close();
    }
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

/// The stderr of a command, which is copied to this program's. One thread reads it and another one
/// writes, so that its end is known when nobody takes what is written.
struct Copied {
    pipe: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The end of what was read.
    tail: Vec<u8>,
    /// What is to be written.
    waiting: Vec<u8>,
    /// How many bytes were to be written in all, and how many were.
    taken: u64,
    written: u64,
    /// Up to how many bytes are read however many wait.
    due: u64,
    /// True once nothing more is read.
    is_at_end: bool,
}

impl Copied {
    /// Begins to copy.
    fn begin(stderr: ChildStderr) -> Arc<Self> {
        let pipe = File::from(OwnedFd::from(stderr));
        let copied = Arc::new(Self { pipe, state: Mutex::default(), changed: Condvar::default() });
        for work in [Self::read, Self::write] {
            let shared = Arc::clone(&copied);
            thread::spawn(move || work(&shared));
        }
        copied
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for as long as that is so.
    fn wait_while(&self, is_so: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.state(), is_so).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for as long as that is so, and no longer than this.
    fn wait_a_while(
        &self,
        time: Duration,
        is_so: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.state(), time, is_so);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn read(&self) {
        let mut chunk = [0; TAIL_BYTES];
        loop {
            drop(self.wait_while(|it| it.waiting.len() >= MOST_WAITING && it.taken >= it.due));
            match (&self.pipe).read(&mut chunk) {
                Ok(read @ 1..) => {
                    let piece = chunk.get(..read).unwrap_or_default();
                    let mut state = self.state();
                    state.keep(piece);
                    state.push(piece);
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.state().is_at_end = true;
                    return self.changed.notify_all();
                }
            }
            self.changed.notify_all();
        }
    }

    fn write(&self) {
        loop {
            let piece = std::mem::take(&mut self.wait_while(|it| it.waiting.is_empty()).waiting);
            // The command goes on when nobody reads its messages.
            let _ = io::stderr().write_all(&piece);
            self.state().written += piece.len() as u64;
            self.changed.notify_all();
        }
    }

    /// Waits for all that was said by now, and no more than the grace for what others say yet;
    /// gives the end of it.
    fn read_to_end(&self) -> String {
        let said = {
            let mut state = self.state();
            let said = state.taken + ioctl_fionread(&self.pipe).unwrap_or(0);
            // A piece may have been taken from the pipe that was not counted yet.
            state.due = said + TAIL_BYTES as u64;
            said
        };
        self.changed.notify_all();
        drop(self.wait_a_while(GRACE, |it| !it.is_at_end));
        self.wait_while(|it| !it.is_at_end && it.taken < said).text()
    }

    /// Says this, too, and waits until all that is to be written by now is, or a signal comes.
    fn write_to_end(&self, words: &str, relay: &Relay) {
        let taken = {
            let mut state = self.state();
            state.push(words.as_bytes());
            state.taken
        };
        self.changed.notify_all();
        while !relay.target().is_late {
            if self.wait_a_while(LOOK, |it| it.written < taken).written >= taken {
                return;
            }
        }
    }
}

impl State {
    fn keep(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
    }

    fn push(&mut self, piece: &[u8]) {
        self.taken += piece.len() as u64;
        self.waiting.extend_from_slice(piece);
    }

    /// The end as text, without the line that its start was cut from, unless there is no other.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let text = text.trim_end();
        let is_cut = self.taken > self.tail.len() as u64;
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
