//! What the figures were measured on.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// The load of the last minute when the run began.
    pub(crate) load: String,
}

impl Machine {
    /// This one, and the file system under a directory.
    pub(crate) fn of(dir: &Path) -> Outcome<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let name = rustix::system::uname();
        Ok(Self {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kib.div_ceil(1 << 20),
            kernel: format!(
                "{} {}",
                name.sysname().to_string_lossy(),
                name.release().to_string_lossy()
            ),
            file_system: file_system(&read("/proc/mounts"), &dir.canonicalize()?),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        })
    }
}

/// The type of the file system that is mounted nearest above a directory.
fn file_system(mounts: &str, dir: &Path) -> String {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    let above = mounts.lines().filter_map(mount).filter(|(at, _)| dir.starts_with(at));
    above.max_by_key(|(at, _)| at.len()).map_or("unknown".to_owned(), |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmpx")), "ext4");
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }
}
