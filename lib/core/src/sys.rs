// SPDX-License-Identifier: GPL-3.0-or-later
//! The system calls that the standard library does not offer in the form needed here.
//!
//! The connection's descriptor stays blocking: whether a call may wait is said with each call, so
//! that waiting for a reply costs one system call and not a poll and a read.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Whether a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    /// As long as the receive timeout of the socket lets it.
    Yes,
}

fn flags(wait: Wait) -> libc::c_int {
    match wait {
        Wait::No => libc::MSG_DONTWAIT,
        Wait::Yes => 0,
    }
}

/// Receives into `buf`; 0 is the end of the stream.
pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8], wait: Wait) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `buf`, which outlives the call.
    let n = unsafe { libc::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), flags(wait)) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Sends without waiting and without raising SIGPIPE.
pub(crate) fn send(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and length describe `buf`, which outlives the call.
    let n = unsafe { libc::send(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Waits until the descriptor is readable (or writable, if asked for), or the limit is over:
/// `false`. Signals end the wait early, as if something had happened.
pub(crate) fn poll(fd: BorrowedFd<'_>, write: bool, limit: Option<Duration>) -> io::Result<bool> {
    let events = if write { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // Rounded up: a wait that ends before its deadline would be repeated in a tight loop.
    let ms = match limit {
        None => -1,
        Some(limit) => {
            let ms = limit.as_nanos().div_ceil(1_000_000);
            libc::c_int::try_from(ms).unwrap_or(libc::c_int::MAX)
        }
    };
    // SAFETY: `entry` is one valid pollfd and outlives the call.
    match unsafe { libc::poll(&mut entry, 1, ms) } {
        0 => Ok(false),
        n if n > 0 => Ok(true),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            e => Err(e),
        },
    }
}

/// A page that the kernel empties in a child process: tells parent from child without a system
/// call, so that the check is affordable on every record access.
#[derive(Debug)]
pub(crate) struct ForkMark {
    page: Option<NonNull<AtomicU8>>,
    pid: u32,
}

const PAGE: usize = 4096;

// SAFETY: the page is only read after construction, through an atomic.
unsafe impl Send for ForkMark {}
// SAFETY: as above.
unsafe impl Sync for ForkMark {}

impl ForkMark {
    /// A mark of this process.
    pub(crate) fn new() -> ForkMark {
        ForkMark { page: ForkMark::map(), pid: std::process::id() }
    }

    fn map() -> Option<NonNull<AtomicU8>> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at a place of the kernel's choice.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the page was mapped above and belongs to nobody else.
        let marked = unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) } == 0;
        let Some(cell) = NonNull::new(page.cast::<AtomicU8>()).filter(|_| marked) else {
            // SAFETY: unmaps what was mapped above; no reference to it exists.
            unsafe { libc::munmap(page, PAGE) };
            return None;
        };
        // SAFETY: the page is mapped, writable, aligned, and lives until `drop`.
        unsafe { cell.as_ref() }.store(1, Ordering::Relaxed);
        Some(cell)
    }

    /// Whether this process is the one that made the mark.
    #[inline]
    pub(crate) fn is_own_process(&self) -> bool {
        match self.page {
            // SAFETY: the page is mapped until `drop`.
            Some(cell) => unsafe { cell.as_ref() }.load(Ordering::Relaxed) == 1,
            None => self.pid == std::process::id(),
        }
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        if let Some(cell) = self.page {
            // SAFETY: unmaps the page mapped in `map`; `self` was the only way to it.
            unsafe { libc::munmap(cell.as_ptr().cast(), PAGE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_that_it_is_one() {
        let mark = ForkMark::new();
        assert!(mark.is_own_process());
        // SAFETY: the child only reads memory and leaves with _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(mark.is_own_process());
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: waits for the child started above.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "the child took itself for the parent");
        assert!(mark.is_own_process());
    }
}
