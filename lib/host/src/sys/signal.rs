// SPDX-License-Identifier: GPL-3.0-or-later
//! Signals: redirected ones, ignored ones, and sending one; waiting for descriptors.

use super::check;
use super::fork::pipe;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Ignores a signal, here and in every child that does not say otherwise.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN runs no code of ours. Failure means an invalid number: nothing to ignore.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sends a signal to a process.
pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid, signal) }).map(|_| ())
}

/// A descriptor that becomes readable when the process ends. Only for a child that was not waited for yet: other
/// process ids may have been given away again.
pub fn process_fd(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(libc::c_int::try_from(fd).unwrap_or(-1))?;
    // SAFETY: a new descriptor (close-on-exec by definition) without other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Signals that arrive at a pipe instead of ending the process.
///
/// A handler and not a signal mask: children begin with default actions after exec, but would inherit a mask.
#[derive(Debug)]
pub struct SignalPipe {
    reader: File,
}

/// Where the handler writes; -1 before there is a pipe.
static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn write_to_pipe(signal: libc::c_int) {
    let number = signal as u8;
    // SAFETY: write is allowed in handlers, the byte lives through the call, and the descriptor, once stored, stays
    // open for ever. errno is put back, since the interrupted code may be about to read its own.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::Relaxed), std::ptr::addr_of!(number).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

impl SignalPipe {
    /// Redirects `signals`. To be done once in a process.
    pub fn new(signals: &[i32]) -> io::Result<SignalPipe> {
        let (reader, writer) = pipe()?;
        for fd in [&reader, &writer] {
            // SAFETY: the descriptor is open.
            check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        }
        let unset =
            PIPE.compare_exchange(-1, writer.as_raw_fd(), Ordering::Relaxed, Ordering::Relaxed);
        if unset.is_err() {
            return Err(io::Error::other("signals are taken over already"));
        }
        // The handler needs it for ever.
        let _ = writer.into_raw_fd();
        for &signal in signals {
            // SAFETY: an all-zero sigaction is valid: no flags, an empty mask. The handler has the type that the
            // missing SA_SIGINFO asks for.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(libc::c_int) = write_to_pipe;
                action.sa_sigaction = handler as libc::sighandler_t;
                action.sa_flags = libc::SA_RESTART;
                check(libc::sigaction(signal, &action, std::ptr::null_mut()))?;
            }
        }
        Ok(SignalPipe { reader: File::from(reader) })
    }

    /// The next signal that arrived, if any.
    pub fn next(&mut self) -> io::Result<Option<i32>> {
        let mut number = [0];
        match self.reader.read(&mut number) {
            Ok(1) => Ok(Some(number[0].into())),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for SignalPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Waits until one of `fds` is readable or hung up, or the time is over. The answer is one flag a descriptor.
pub fn poll<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<std::time::Duration>,
) -> io::Result<[bool; N]> {
    let mut list =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
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
