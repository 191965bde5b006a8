//! Processes of this machine, as Linux shows them in `/proc`. Elsewhere nothing is known of them.

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::model::{Id, IdForm, Owner, Process};

/// What has become of the process of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It is at work.
    Lives,
    /// It has ended; its process id may be another's by now.
    Ended,
    /// The machine was started anew since it began.
    Restarted,
    /// It cannot be seen from here: it is another machine's, or a container's, or none was named.
    Unknown,
}

/// What tells the processes that can be seen from here apart from all others.
struct View {
    boot_id: [u8; 16],
    namespace: u64,
}

/// What the kernel says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: String,
    threads: u64,
    began: u64,
}

/// The process with this id, as the owner of runs.
pub(super) fn owner(pid: u32) -> Owner<'static> {
    let mut owner = Owner::new(host());
    if let (Some(view), Some(stat)) = (View::of_this_process(), stat(pid)) {
        owner.process = Some(Process::new(pid, stat.began, view.boot_id, view.namespace));
    }
    owner
}

/// What has become of an owner's process.
pub(super) fn fate(owner: &Owner<'_>) -> Fate {
    let (Some(process), Some(view)) = (&owner.process, View::of_this_process()) else {
        return Fate::Unknown;
    };
    if owner.host != host() {
        return Fate::Unknown;
    }
    if process.boot_id != view.boot_id {
        return Fate::Restarted;
    }
    // The same number is another process there.
    if process.namespace != view.namespace {
        return Fate::Unknown;
    }
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return Fate::Unknown;
    };
    // A process of another user can be hidden in `/proc`, and still be asked for.
    if test_kill_process(pid) == Err(Errno::SRCH) {
        return Fate::Ended;
    }
    match stat(process.pid) {
        None => Fate::Unknown,
        Some(stat) if stat.began != process.began || stat.is_over() => Fate::Ended,
        Some(_) => Fate::Lives,
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl View {
    fn of_this_process() -> Option<Self> {
        // A `/proc` of other process ids than this process has would show others in their place.
        let own = fs::read_link("/proc/self").ok()?;
        if own != Path::new(&std::process::id().to_string()) {
            return None;
        }
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot_id = Id::new(boot_id.trim()).ok()?;
        let IdForm::Uuid(boot_id) = boot_id.form() else { return None };
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let namespace = namespace.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
        Some(Self { boot_id: *boot_id, namespace: namespace.parse().ok()? })
    }
}

fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl Stat {
    /// Reads the fields from the state on. Before it stands the program's name in parentheses, in
    /// which anything may stand.
    fn parse(text: &str) -> Option<Self> {
        const THREADS: usize = 20 - 3;
        const BEGAN: usize = 22 - 3;
        let fields: Vec<_> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse().ok();
        let state = (*fields.first()?).to_owned();
        Some(Self { state, threads: number(THREADS)?, began: number(BEGAN)? })
    }

    /// True for a process that has ended and that nobody has asked for its exit code. One whose
    /// first thread has ended before the others looks the same but for their number.
    fn is_over(&self) -> bool {
        matches!(&*self.state, "Z" | "X") && self.threads <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_program_is_called() {
        let line = |name: &str, state: &str| {
            format!(
                "4242 ({name}) {state} 1 4242 4242 0 -1 4194304 100 0 0 0 5 3 0 0 20 0 7 0 \
                 887766 1000 2 18446744073709551615\n"
            )
        };
        for name in ["sh", "a b", "x) Z 1 (y", ""] {
            let stat = Stat::parse(&line(name, "S")).unwrap();
            assert_eq!(stat, Stat { state: "S".to_owned(), threads: 7, began: 887_766 });
            assert!(!stat.is_over());
        }
        assert!(!Stat::parse(&line("sh", "Z")).unwrap().is_over(), "other threads go on");
        assert!(Stat { state: "Z".to_owned(), threads: 1, began: 0 }.is_over());
        for broken in ["", "4242 (sh", "4242 (sh) S 1 2", "1 (a) S a b c d e f"] {
            assert_eq!(Stat::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn this_process_lives_and_others_like_it_do_not() {
        let this = owner(std::process::id());
        let Some(process) = this.process else {
            assert_eq!(fate(&this), Fate::Unknown, "not on Linux, or without /proc");
            return;
        };
        let with = |process: Process| Owner { process: Some(process), ..this.clone() };
        assert_eq!(fate(&this), Fate::Lives);
        let reused = Process { began: process.began + 1, ..process };
        assert_eq!(fate(&with(reused)), Fate::Ended);
        assert_eq!(fate(&with(Process { pid: 4_194_304, ..process })), Fate::Ended);
        assert_eq!(fate(&with(Process { boot_id: [7; 16], ..process })), Fate::Restarted);
        assert_eq!(fate(&with(Process { namespace: 1, ..process })), Fate::Unknown);
        assert_eq!(fate(&Owner { host: "elsewhere".into(), ..this.clone() }), Fate::Unknown);
        assert_eq!(fate(&Owner { process: None, ..this }), Fate::Unknown);
    }

    #[test]
    fn a_child_that_nobody_has_waited_for_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let owner = owner(child.id());
        while fate(&owner) == Fate::Lives {
            std::thread::yield_now();
        }
        let before = fate(&owner);
        child.wait().unwrap();
        if owner.process.is_some() {
            assert_eq!((before, fate(&owner)), (Fate::Ended, Fate::Ended));
        }
    }
}
