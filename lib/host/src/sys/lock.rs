// SPDX-License-Identifier: GPL-3.0-or-later
//! fcntl locks of whole files that belong to the open file description: they exclude ordinary fcntl locks of
//! other processes and survive fork and the closing of another descriptor of the file.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

fn write_lock(start: i64, length: i64) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    }
}

/// Tries to take a write lock on the whole file. False: somebody has one.
pub fn try_lock(file: &File) -> io::Result<bool> {
    let lock = write_lock(0, 0);
    // SAFETY: F_OFD_SETLK reads a flock structure, which lives through the call.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) }) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Waits for a write lock on byte 0. It ends with the file.
pub fn lock_first_byte(file: &File) -> io::Result<()> {
    let lock = write_lock(0, 1);
    loop {
        // SAFETY: as above.
        match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &lock) }) {
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
