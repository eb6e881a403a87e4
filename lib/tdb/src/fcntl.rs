// SPDX-License-Identifier: GPL-3.0-or-later
//! Byte-range locks of the kernel (spec/tdb.md 7), as POSIX or as open-file-description locks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use crate::lockfile::Backoff;
use crate::mutex::Cancel;
use crate::{LockMode, LockStyle};

/// Byte-range locks on one open file description.
#[derive(Clone)]
pub(crate) struct RangeLocks {
    file: Arc<File>,
    style: LockStyle,
}

/// Whether a request waits for its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Sleep until the lock is granted.
    Block,
    /// Give up at once if the lock is busy.
    Try,
}

/// Length that reaches to the end of the file, however long it grows.
pub(crate) const TO_EOF: u64 = 0;

impl RangeLocks {
    pub fn new(file: Arc<File>, style: LockStyle) -> RangeLocks {
        RangeLocks { file, style }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn style(&self) -> LockStyle {
        self.style
    }

    fn request(&self, kind: libc::c_int, start: u64, len: u64, wait: Wait) -> io::Result<()> {
        let command = match (self.style, wait) {
            (LockStyle::Posix, Wait::Block) => libc::F_SETLKW,
            (LockStyle::Posix, Wait::Try) => libc::F_SETLK,
            (LockStyle::Ofd, Wait::Block) => libc::F_OFD_SETLKW,
            (LockStyle::Ofd, Wait::Try) => libc::F_OFD_SETLK,
        };
        let range = flock(kind, start, len);
        loop {
            // SAFETY: the descriptor is open while `self.file` lives, `range` is a valid flock.
            if unsafe { libc::fcntl(self.file.as_raw_fd(), command, &range) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Locks a range. `Ok(false)`: busy (only with `Wait::Try`).
    pub fn lock(&self, mode: LockMode, start: u64, len: u64, wait: Wait) -> io::Result<bool> {
        match self.request(kind_of(mode), start, len, wait) {
            Ok(()) => Ok(true),
            Err(error) if wait == Wait::Try && is_busy(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Releases a range.
    pub fn unlock(&self, start: u64, len: u64) -> io::Result<()> {
        self.request(libc::F_UNLCK, start, len, Wait::Try)
    }

    /// Whether someone else holds a lock that conflicts with `mode` on the range. One system call,
    /// against two for taking and releasing it.
    pub fn conflicts(&self, mode: LockMode, start: u64, len: u64) -> io::Result<bool> {
        let command = match self.style {
            LockStyle::Posix => libc::F_GETLK,
            LockStyle::Ofd => libc::F_OFD_GETLK,
        };
        let mut range = flock(kind_of(mode), start, len);
        loop {
            // SAFETY: the descriptor is open while `self.file` lives, `range` is a valid flock
            // that the kernel overwrites.
            if unsafe { libc::fcntl(self.file.as_raw_fd(), command, &mut range) } == 0 {
                return Ok(libc::c_int::from(range.l_type) != libc::F_UNLCK);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Locks `[start, start + len)` without a stream of short locks inside it starving us: the
    /// whole range if it is free, else its halves in ascending order (spec/tdb.md 9.3).
    pub fn lock_gradually(
        &self,
        mode: LockMode,
        start: u64,
        len: u64,
        wait: Wait,
        cancel: &dyn Cancel,
    ) -> io::Result<bool> {
        if len <= 4 && wait == Wait::Block {
            return self.lock_until_cancelled(mode, start, len, cancel);
        }
        if self.lock(mode, start, len, Wait::Try)? {
            return Ok(true);
        }
        if wait == Wait::Try {
            return Ok(false);
        }
        let half = len / 2;
        if !self.lock_gradually(mode, start, half, wait, cancel)? {
            return Ok(false);
        }
        match self.lock_gradually(mode, start + half, len - half, wait, cancel) {
            Ok(true) => Ok(true),
            refused => {
                self.unlock(start, half)?;
                refused
            }
        }
    }

    /// Waits for a lock. The kernel cannot be told a deadline: with one the lock is tried again and
    /// again.
    pub fn lock_until_cancelled(
        &self,
        mode: LockMode,
        start: u64,
        len: u64,
        cancel: &dyn Cancel,
    ) -> io::Result<bool> {
        if cancel.deadline().is_none() {
            return self.lock(mode, start, len, Wait::Block);
        }
        let mut backoff = Backoff::new();
        while !self.lock(mode, start, len, Wait::Try)? {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            backoff.pause();
        }
        Ok(true)
    }
}

fn kind_of(mode: LockMode) -> libc::c_int {
    match mode {
        LockMode::Shared => libc::F_RDLCK,
        LockMode::Exclusive => libc::F_WRLCK,
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN) | Some(libc::EACCES))
}

fn flock(kind: libc::c_int, start: u64, len: u64) -> libc::flock {
    // SAFETY: flock is plain data for which all zeroes is a valid value.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start as libc::off_t;
    range.l_len = len as libc::off_t;
    range
}
