// SPDX-License-Identifier: GPL-3.0-or-later
//! System calls. The process has one thread.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Lets SIGTERM end the process, whatever we inherited.
pub fn default_sigterm() {
    // SAFETY: SIG_DFL is no code of ours; the set is initialised by sigemptyset before it is read.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
}

fn write_lock(byte: i64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

/// Tries to lock one byte. False: somebody has it.
pub fn try_lock_byte(file: &File, byte: i64) -> io::Result<bool> {
    let lock = write_lock(byte);
    // SAFETY: F_SETLK reads a flock structure, which lives through the call.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) }) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Waits until one byte can be locked.
pub fn lock_byte(file: &File, byte: i64) -> io::Result<()> {
    let lock = write_lock(byte);
    // SAFETY: as above.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLKW, &lock) }).map(|_| ())
}

/// A descriptor that becomes readable when the process ends; none where the kernel has no such thing.
pub fn process_fd(pid: u32) -> Option<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).ok()?;
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = libc::c_int::try_from(fd).ok().filter(|&fd| fd >= 0)?;
    // SAFETY: a new descriptor without other owner.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether standard output is something whose reader can go away.
pub fn output_is_pipe() -> bool {
    // SAFETY: an all-zero stat is valid, and fstat writes one.
    unsafe {
        let mut data: libc::stat = std::mem::zeroed();
        libc::fstat(libc::STDOUT_FILENO, &mut data) == 0
            && matches!(data.st_mode & libc::S_IFMT, libc::S_IFIFO | libc::S_IFSOCK)
    }
}

/// Lets go of standard output.
pub fn close_output() {
    // SAFETY: nothing is written to it any more; std copes with it being closed.
    unsafe { libc::close(libc::STDOUT_FILENO) };
}

/// Forks; the child's id, or none in the child. The child is killed when the parent ends.
pub fn fork() -> io::Result<Option<u32>> {
    // SAFETY: there is one thread, so the child has a consistent copy of everything.
    match check(unsafe { libc::fork() })? {
        0 => {
            // SAFETY: no memory is involved. The thread that it watches is the parent's only one.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            Ok(None)
        }
        pid => Ok(u32::try_from(pid).ok()),
    }
}

/// Ends the process at once.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// Kills our child.
pub fn kill(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: no memory is involved. It was not waited for, so the id is still its own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// What to wait for at a descriptor.
#[derive(Debug, Clone, Copy)]
pub enum Watch<'a> {
    /// Data or end of file.
    Readable(BorrowedFd<'a>),
    /// The other end is gone.
    HangUp(BorrowedFd<'a>),
    /// Nothing: never happens.
    Nothing,
}

/// Waits for one of them, or until the time is over.
pub fn poll<const N: usize>(
    watches: [Watch<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut list = watches.map(|watch| {
        let (fd, events) = match watch {
            Watch::Readable(fd) => (fd.as_raw_fd(), libc::POLLIN),
            Watch::HangUp(fd) => (fd.as_raw_fd(), 0),
            // Negative descriptors are passed over.
            Watch::Nothing => (-1, 0),
        };
        libc::pollfd { fd, events, revents: 0 }
    });
    // Rounded up, so that a wait of less than a millisecond does not become a busy loop.
    let milliseconds =
        timeout.map_or(-1, |t| i32::try_from(t.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    // SAFETY: the list is valid for its length and the descriptors are borrowed for the call.
    match check(unsafe { libc::poll(list.as_mut_ptr(), N as libc::nfds_t, milliseconds) }) {
        Ok(_) => Ok(list.map(|entry| entry.revents != 0)),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(e) => Err(e),
    }
}
