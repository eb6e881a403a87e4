// SPDX-License-Identifier: GPL-3.0-or-later
//! What can go wrong, sorted by what the caller can do about it.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// Result of every engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed engine call.
///
/// A lock that is busy is not an error of the `try_` calls: they return `Ok(None)` or `Ok(false)`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; `action` says what was tried.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The database file.
        path: Arc<Path>,
        /// What the engine was doing.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The file's content is not a sound database. Nothing was modified.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// The caller broke a rule of the interface (TDB_ERR_EINVAL).
    #[error("invalid use: {0}")]
    Usage(&'static str),
    /// The call conflicts with locks this handle holds (TDB_ERR_LOCK).
    #[error("lock conflict: {0}")]
    Lock(&'static str),
    /// The lock is held by someone else and the call may not wait.
    #[error("lock is busy")]
    WouldBlock,
    /// The kernel found a cycle of waiters (EDEADLK).
    #[error("waiting for the lock would deadlock")]
    Deadlock,
    /// No such key.
    #[error("record does not exist")]
    NotFound,
    /// An INSERT met an existing key.
    #[error("record exists")]
    Exists,
    /// Write to a read-only handle.
    #[error("write not permitted")]
    ReadOnly,
    /// The file cannot grow: disk full or the 4 GiB limit. The file is unchanged.
    #[error("{}: no room for {needed} more bytes: {source}", path.display())]
    NoSpace {
        /// The database file.
        path: Arc<Path>,
        /// Bytes asked for.
        needed: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// A transaction is active and nesting is disallowed (TDB_ERR_NESTING).
    #[error("transactions do not nest on this handle")]
    Nesting,
    /// The file is already open in this process (EBUSY; spec/tdb.md 12.5).
    #[error("{}: already open in this process", path.display())]
    AlreadyOpen {
        /// The database file.
        path: Arc<Path>,
    },
    /// The handle came over a fork and was not reopened (`Tdb::reopen`).
    #[error("{}: the handle belongs to the parent process: reopen it", path.display())]
    Inherited {
        /// The database file.
        path: Arc<Path>,
    },
    /// The ability is not there (on this platform, in this version, or for this kind of file).
    #[error("not supported: {0}")]
    Unsupported(&'static str),
}

/// Where a file is unsound, and how.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: offset {offset}: expected {expected}, found {found}", path.display())]
pub struct Corruption {
    /// The database file.
    pub path: Arc<Path>,
    /// Logical offset of the offending word (spec/tdb.md 1).
    pub offset: u32,
    /// What a sound file has there.
    pub expected: String,
    /// What this file has.
    pub found: String,
    /// The errno with which an open is refused for this reason (spec/tdb.md 12.2), else EIO.
    pub errno: i32,
}

impl Error {
    /// The errno a C interface reports for this error.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Io { source, .. } | Error::NoSpace { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
            Error::Corrupt(c) => c.errno,
            Error::Usage(_) | Error::Nesting => libc::EINVAL,
            Error::Lock(_) | Error::Inherited { .. } => libc::ENOLCK,
            Error::WouldBlock => libc::EAGAIN,
            Error::Deadlock => libc::EDEADLK,
            Error::NotFound => libc::ENOENT,
            Error::Exists => libc::EEXIST,
            Error::ReadOnly => libc::EROFS,
            Error::AlreadyOpen { .. } => libc::EBUSY,
            Error::Unsupported(_) => libc::ENOSYS,
        }
    }

    /// The TDB error code (spec/tdb.md 20.3) of this error.
    pub fn tdb_code(&self) -> u32 {
        match self {
            Error::Io { .. } => 2,
            Error::Corrupt(_) => 1,
            Error::NoSpace { .. } => 4,
            Error::Lock(_) | Error::WouldBlock | Error::Deadlock | Error::Inherited { .. } => 3,
            Error::Exists => 5,
            Error::NotFound => 8,
            Error::Usage(_) | Error::AlreadyOpen { .. } | Error::Unsupported(_) => 9,
            Error::ReadOnly => 10,
            Error::Nesting => 11,
        }
    }

    /// The C library's text for `tdb_code` (spec/tdb.md 20.3), which tools print.
    pub fn tdb_text(&self) -> &'static str {
        match self.tdb_code() {
            1 => "Corrupt database",
            2 => "IO Error",
            3 => "Locking error",
            4 => "Out of memory",
            5 => "Record exists",
            8 => "Record does not exist",
            9 => "Invalid parameter",
            10 => "write not permitted",
            _ => "Invalid error code",
        }
    }

    /// Whether the file itself is unsound (as opposed to the call or the system).
    pub fn is_corruption(&self) -> bool {
        matches!(self, Error::Corrupt(_))
    }
}
