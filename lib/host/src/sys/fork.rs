// SPDX-License-Identifier: GPL-3.0-or-later
//! Leaving the caller's process and session, redirecting descriptors.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Forks; true in the child. Refused once there are threads, since only the calling one would exist in the child.
pub fn fork() -> io::Result<bool> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("cannot fork with {threads} threads running")));
    }
    // SAFETY: there is one thread, so the child has a consistent copy of everything.
    check(unsafe { libc::fork() }).map(|pid| pid == 0)
}

/// Ends the process without running exit handlers or flushing buffers, which a fork has left to the child.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code.into()) }
}

/// Starts a session without controlling terminal.
pub fn new_session() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setsid() }).map(|_| ())
}

/// Makes the descriptor number of `target` refer to what `source` refers to.
pub fn redirect(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open descriptors. The target keeps its owner and stays open.
    check(unsafe { libc::dup2(source.as_raw_fd(), target.as_raw_fd()) }).map(|_| ())
}

/// Whether a descriptor is a pipe.
pub fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fd.try_clone_to_owned()
        .and_then(|fd| File::from(fd).metadata())
        .is_ok_and(|data| data.file_type().is_fifo())
}

/// A pipe: the end to read from and the end to write to.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: the array has room for the two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: pipe2 succeeded: both are open and have no other owner.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}
