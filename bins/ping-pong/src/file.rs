// SPDX-License-Identifier: GPL-3.0-or-later
//! The file: its byte range locks, and its bytes.
//!
//! The locks are the traditional ones, which belong to the process: those of the file system are what is tested.

use crate::mapping::Mapping;
use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
}

/// A lock of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pid: i32,
    kind: i32,
    start: i64,
    length: i64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "check_lock failed: lock held: pid='{}', type='{}', start='{}', len='{}'",
            self.pid, self.kind, self.start, self.length
        )
    }
}

fn lock(kind: libc::c_int, start: u32, length: u32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start.into(),
        l_len: length.into(),
        l_pid: 0,
    }
}

impl LockFile {
    /// Opens the file, and makes it if it is not there.
    pub fn open(path: &Path) -> io::Result<LockFile> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(LockFile { file: file.open(path)? })
    }

    /// Makes it that long.
    pub fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    /// Waits for the lock of one byte.
    pub fn lock(&self, byte: u32) -> Result<(), Errno> {
        fcntl(&self.file, FcntlArg::F_SETLKW(&lock(libc::F_WRLCK, byte, 1))).map(|_| ())
    }

    /// Gives it back.
    pub fn unlock(&self, byte: u32) -> Result<(), Errno> {
        fcntl(&self.file, FcntlArg::F_SETLKW(&lock(libc::F_UNLCK, byte, 1))).map(|_| ())
    }

    /// Tries to lock the whole file.
    pub fn try_lock_all(&self) -> Result<(), Errno> {
        fcntl(&self.file, FcntlArg::F_SETLK(&lock(libc::F_WRLCK, 0, 0))).map(|_| ())
    }

    /// Who else holds `length` bytes from `start`; 0 is all that follow.
    pub fn holder(&self, start: u32, length: u32) -> Result<Option<Holder>, Errno> {
        let mut found = lock(libc::F_WRLCK, start, length);
        fcntl(&self.file, FcntlArg::F_GETLK(&mut found))?;
        Ok((libc::c_int::from(found.l_type) != libc::F_UNLCK).then_some(Holder {
            pid: found.l_pid,
            kind: found.l_type.into(),
            start: found.l_start,
            length: found.l_len,
        }))
    }

    /// The bytes, read and written by system calls or through a mapping.
    pub fn bytes(&self, size: usize, mapped: bool) -> io::Result<Bytes<'_>> {
        Ok(if mapped {
            Bytes::Mapped(Mapping::new(&self.file, size)?)
        } else {
            Bytes::Calls(&self.file)
        })
    }
}

/// The bytes of the file.
#[derive(Debug)]
pub(crate) enum Bytes<'a> {
    Calls(&'a File),
    Mapped(Mapping),
}

impl Bytes<'_> {
    /// One byte.
    pub fn read(&self, offset: u32) -> io::Result<u8> {
        match self {
            Bytes::Calls(file) => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, offset.into())?;
                Ok(byte[0])
            }
            Bytes::Mapped(mapping) => mapping.read(offset as usize),
        }
    }

    /// Changes it.
    pub fn write(&self, offset: u32, value: u8) -> io::Result<()> {
        match self {
            Bytes::Calls(file) => file.write_all_at(&[value], offset.into()),
            Bytes::Mapped(mapping) => mapping.write(offset as usize, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_the_bytes_are_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let file = LockFile::open(&dir.path().join("f")).unwrap();
        file.set_size(4).unwrap();
        let (calls, mapped) = (file.bytes(4, false).unwrap(), file.bytes(4, true).unwrap());
        calls.write(1, 7).unwrap();
        assert_eq!(mapped.read(1).unwrap(), 7);
        mapped.write(3, 9).unwrap();
        assert_eq!(calls.read(3).unwrap(), 9);
        assert!(mapped.read(4).is_err() && calls.read(4).is_err() && mapped.write(4, 0).is_err());
    }

    #[test]
    fn own_locks_are_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let file = LockFile::open(&dir.path().join("f")).unwrap();
        file.lock(2).unwrap();
        assert_eq!(file.holder(2, 1).unwrap(), None);
        file.unlock(2).unwrap();
    }
}
