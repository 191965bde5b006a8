//! Calls of the operating system that no safe wrapper offers: the one file of this package with
//! unsafe code.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `FS_IOC_SHUTDOWN`, which was XFS's `XFS_IOC_GOINGDOWN` first.
const SHUTDOWN: libc::Ioctl = 0x8004_587d;

/// Cut the file system off as a power cut does: not even its log is written.
const WITHOUT_LOG: u32 = 2;

/// Cuts off the file system that is mounted here: from now on nothing reaches its disk, and all
/// that is asked of it fails.
///
/// # Errors
/// When the file system or the user cannot.
#[expect(unsafe_code, reason = "no wrapper offers this call")]
pub(crate) fn cut_off(mounted_at: &Path) -> io::Result<()> {
    let root = File::open(mounted_at)?;
    let how: u32 = WITHOUT_LOG;
    // SAFETY: the descriptor is open for as long as `root` is, and this request reads one `u32`
    // through its argument, which outlives the call.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &raw const how) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Forks this process, which must have no other thread that holds something the child needs: the
/// child goes on with a copy of everything. True in the child.
///
/// # Errors
/// When the operating system refuses.
#[expect(unsafe_code, reason = "no wrapper offers a fork without a new program")]
pub(crate) fn fork() -> io::Result<bool> {
    // SAFETY: the child calls what is safe after a fork of a process with one thread alone; the
    // ledger that it has a copy of was opened without a thread in the background.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(true),
        _ => Ok(false),
    }
}
