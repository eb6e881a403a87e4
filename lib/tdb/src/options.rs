// SPDX-License-Identifier: GPL-3.0-or-later
//! How a database is opened.

use crate::HashFunction;

/// Which kind of kernel byte-range lock a handle uses on the file.
///
/// Both kinds exclude each other and the locks of C processes (spec/tdb.md 7.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockStyle {
    /// POSIX record locks, owned by the process: what libtdb uses, and what a library loaded into
    /// foreign processes must use, because open-file-description locks are shared after fork.
    #[default]
    Posix,
    /// Open-file-description locks, owned by this handle's descriptor. For daemons: they survive
    /// the closing of another descriptor of the file, and lock waiters (`WaiterPool`) need them.
    Ofd,
}

/// Parameters of `Tdb::open`.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// TDB_* flag bits.
    pub tdb_flags: u32,
    /// Number of hash chains of a file that is created; 0 means 131.
    pub hash_size: u32,
    /// Hash function of the caller's own. A file that exists must have been made with it; without
    /// this, the file tells which of the two built-in ones it has.
    pub hash_function: Option<HashFunction>,
    /// Create the file if it is missing or empty, or was being created when its creator died.
    /// A file with other content is left alone (spec/tdb.md 25 H3).
    pub create: bool,
    /// With `create`: make an empty database whatever the file contains, even if it is none.
    /// Refused with `Error::Lock` while somebody holds the file's active lock.
    pub truncate: bool,
    /// With `create`: the file must not exist yet.
    pub exclusive: bool,
    /// Permission bits of a created file.
    pub mode: u32,
    /// Open without write access and without any lock.
    pub read_only: bool,
    /// Dead records kept per chain; `None` means 5 with TDB_VOLATILE, else 0.
    pub max_dead: Option<u32>,
    /// Look at the file's length before every access, which costs a system call: for programs that
    /// must not die when a stranger cuts the file. Without this only handles that hold no lock
    /// which keeps others from clearing the file (read-only ones) do so; others look at every 64th
    /// access, those of mutex files only in long operations. See "Files that are cut" in the
    /// documentation of the crate.
    pub watch_size: bool,
    /// Kind of kernel lock.
    pub lock_style: LockStyle,
    /// Run the full consistency check before `open` returns.
    pub check: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            tdb_flags: 0,
            hash_size: 0,
            hash_function: None,
            create: false,
            truncate: false,
            exclusive: false,
            mode: 0o600,
            read_only: false,
            max_dead: None,
            watch_size: false,
            lock_style: LockStyle::Posix,
            check: false,
        }
    }
}
