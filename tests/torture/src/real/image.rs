//! File systems in a file, mounted by a loop device.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::real::place::Place;
use crate::real::system;

/// Which file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The common one, with its journal.
    Ext4,
    /// The other one, with its log.
    Xfs,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The smallest image that its tools make willingly.
    fn bytes(self) -> u64 {
        match self {
            Self::Ext4 => 64 << 20,
            Self::Xfs => 320 << 20,
        }
    }

    fn mkfs(self, image: &Path) -> Command {
        let mut mkfs = Command::new(format!("mkfs.{}", self.name()));
        match self {
            Self::Ext4 => mkfs.args(["-q", "-F", "-E", "lazy_itable_init=0,nodiscard"]),
            Self::Xfs => mkfs.args(["-q", "-f", "-K"]),
        };
        mkfs.arg(image);
        mkfs
    }
}

/// A file system on a loop device.
#[derive(Debug)]
pub(crate) struct Image {
    format: Format,
    device: PathBuf,
    at: PathBuf,
    is_mounted: bool,
    /// Removed last, with the file that the file system is in.
    _place: Place,
}

impl Image {
    /// Makes a file system; it is not mounted yet.
    ///
    /// # Errors
    /// When the machine or the user cannot: the reason, in words.
    pub(crate) fn new(format: Format) -> Result<Self, String> {
        let place = Place::new().map_err(|err| format!("no directory for an image: {err}"))?;
        let (file, at) = (place.path().join("image"), place.path().join("mounted"));
        let made = File::create_new(&file).and_then(|image| image.set_len(format.bytes()));
        made.and_then(|()| fs::create_dir(&at)).map_err(|err| format!("no image: {err}"))?;
        run(&mut format.mkfs(&file))?;
        let mut losetup = Command::new("losetup");
        let device = run(losetup.args(["--find", "--show"]).arg(&file))?;
        let device = PathBuf::from(device.trim());
        Ok(Self { format, device, at, is_mounted: false, _place: place })
    }

    /// Where it is mounted.
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Mounts it; its log is replayed when it was cut off.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn mount(&mut self) -> io::Result<()> {
        mount(&self.device, &self.at, self.format.name(), MountFlags::empty(), None)?;
        self.is_mounted = true;
        Ok(())
    }

    /// Unmounts it. Those who used it must be gone.
    ///
    /// # Errors
    /// When someone uses it still.
    pub(crate) fn unmount(&mut self) -> io::Result<()> {
        let mut tries = 0;
        while let Err(err) = unmount(&self.at, UnmountFlags::empty()) {
            // Whoever lists the mounts of this machine holds it for a moment.
            tries += 1;
            if tries > 500 {
                return Err(err.into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.is_mounted = false;
        Ok(())
    }

    /// Cuts it off, as a power cut does.
    ///
    /// # Errors
    /// When the file system cannot do that.
    pub(crate) fn cut_off(&self) -> io::Result<()> {
        system::cut_off(&self.at)
    }

    /// Why there are no such file systems here; `None` when there are.
    pub(crate) fn why_not(format: Format) -> Option<String> {
        let attempt = || -> Result<(), String> {
            let mut image = Self::new(format)?;
            let words =
                |what: &str, err: io::Error| format!("{} cannot be {what}: {err}", format.name());
            image.mount().map_err(|err| words("mounted", err))?;
            image.cut_off().map_err(|err| words("cut off", err))?;
            image.unmount().map_err(|err| words("unmounted", err))
        };
        attempt().err()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = unmount(&self.at, UnmountFlags::DETACH);
        }
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.device));
    }
}

/// Unmounts what is mounted below a directory, and gives its loop devices back.
pub(crate) fn unmount_all(below: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for place in places.filter(|place| Path::new(place).starts_with(below)) {
        let _ = unmount(place, UnmountFlags::DETACH);
    }
    let image = below.join("image");
    let devices = run(Command::new("losetup").arg("--associated").arg(&image));
    for line in devices.unwrap_or_default().lines() {
        let device = line.split(':').next().unwrap_or_default();
        let _ = run(Command::new("losetup").arg("--detach").arg(device));
    }
}

/// Runs a program to its end. What it printed, or in words why that failed.
fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|err| format!("{name} cannot be run: {err}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} failed: {}", words.lines().next().unwrap_or("without words").trim()))
}
