// SPDX-License-Identifier: GPL-3.0-or-later
//! The lock: an fcntl write lock on byte 0. It is what makes nodes of different implementations exclude each other.
//!
//! An ordinary (POSIX) lock and not one of the open file description: not every cluster file system has those. It
//! is lost when this process closes any descriptor of the file, so nothing else here may open it.

use crate::sys;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The byte that is the cluster lock.
const CLUSTER_LOCK_BYTE: i64 = 0;

/// What came of it.
#[derive(Debug)]
pub enum Taken {
    /// The lock is held as long as the file is open.
    Held(File),
    /// Somebody else holds it.
    Contended,
}

/// The lock could be neither taken nor found taken.
#[derive(Debug)]
pub enum LockError {
    /// The file cannot be opened or created.
    Open(PathBuf, io::Error),
    /// Its file system refuses locks.
    Lock(PathBuf, io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::Open(path, e) => {
                write!(f, "Unable to open {} - ({})", path.display(), reason(e))
            }
            LockError::Lock(path, e) => {
                write!(f, "Failed to get lock on '{}' - ({})", path.display(), reason(e))
            }
        }
    }
}

/// The system's words alone.
fn reason(e: &io::Error) -> String {
    let text = e.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Tries to take the lock; never waits.
pub fn take(path: &Path) -> Result<Taken, LockError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| LockError::Open(path.to_path_buf(), e))?;
    match sys::try_lock_byte(&file, CLUSTER_LOCK_BYTE) {
        Ok(true) => Ok(Taken::Held(file)),
        Ok(false) => Ok(Taken::Contended),
        Err(e) => Err(LockError::Lock(path.to_path_buf(), e)),
    }
}
