// SPDX-License-Identifier: GPL-3.0-or-later
//! One open database.

use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use crate::fork::Origin;
use crate::freezer::FreezeToken;
use crate::hints::Hints;
use crate::lockfile::LockFile;
use crate::locks::HeldLocks;
use crate::registry::{closing_would_unlock, Registration};
use crate::size::SizeWatch;
use crate::storage::Storage;
use crate::transaction::Transaction;
use crate::*;

/// Strength of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Readers share it (on mutex files they exclude each other too).
    Shared,
    /// One holder.
    Exclusive,
}

/// What a store does about an existing record (spec/tdb.md 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Insert or overwrite.
    Replace,
    /// Fails with `Error::Exists` if the key exists.
    Insert,
    /// Fails with `Error::NotFound` if the key does not exist.
    Modify,
}

/// What a handle does from its opening to its end.
const FIXED_FLAGS: u32 = TDB_INTERNAL | TDB_NOMMAP | TDB_CONVERT | TDB_BIGENDIAN;

/// A handle on a database file.
///
/// One thread uses it at a time. After a fork the child's copy refuses its work with
/// `Error::Inherited` until it is reopened ([`Tdb::reopen`]); dropping it there is harmless.
pub struct Tdb {
    pub(crate) io: Storage,
    pub(crate) locks: LockFile,
    pub(crate) held: HeldLocks,
    pub(crate) hints: Hints,
    /// Counts what makes a known place of a record untrue: unlocking, and records that move.
    pub(crate) changes: u64,
    pub(crate) hash_kind: HashKind,
    pub(crate) hash_size: u32,
    pub(crate) flags: u32,
    pub(crate) read_only: bool,
    /// Hash size and first hash check word of the header when the file was opened.
    pub(crate) identity: [u32; 2],
    pub(crate) size_watch: SizeWatch,
    pub(crate) max_dead: u32,
    pub(crate) txn: Option<Box<Transaction>>,
    pub(crate) frozen: Option<FreezeToken>,
    pub(crate) waiters: Option<LockAccess>,
    pub(crate) origin: Origin,
    pub(crate) _registration: Option<Registration>,
}

impl Tdb {
    /// The file's path as given to `open`.
    pub fn path(&self) -> &Path {
        &self.io.path
    }

    /// The file's descriptor, -1 of a database in memory. Only to look at, never to close.
    pub fn fd(&self) -> RawFd {
        if self.io.is_memory() {
            return -1;
        }
        self.io.file.as_raw_fd()
    }

    /// Number of hash chains.
    pub fn hash_size(&self) -> u32 {
        self.hash_size
    }

    /// Logical size of the file as this handle last saw it.
    pub fn map_size(&self) -> u32 {
        self.io.size()
    }

    /// The handle's flag word (TDB_*), as C `tdb_get_flags` reports it.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Adds flag bits (spec/tdb.md 21.1, `tdb_add_flags`).
    pub fn add_flags(&mut self, flags: u32) -> Result<()> {
        let nesting = TDB_ALLOW_NESTING | TDB_DISALLOW_NESTING;
        if flags & nesting == nesting {
            return Err(Error::Nesting);
        }
        if flags & FIXED_FLAGS & !self.flags != 0 {
            return Err(Error::Usage("this flag says how a file is opened"));
        }
        if flags & nesting != 0 {
            self.flags &= !nesting;
        }
        self.flags |= flags;
        Ok(())
    }

    /// Removes flag bits (spec/tdb.md 21.1, `tdb_remove_flags`).
    pub fn remove_flags(&mut self, flags: u32) -> Result<()> {
        if flags & FIXED_FLAGS & self.flags != 0 {
            return Err(Error::Usage("this flag says how a file is opened"));
        }
        if flags & TDB_NOLOCK != 0
            && (self.read_only || (self.io.start > 0 && self.locks.mutexes.is_none()))
        {
            return Err(Error::Lock("this handle has no locks to take"));
        }
        self.flags &= !flags;
        if flags & TDB_ALLOW_NESTING != 0 {
            self.flags |= TDB_DISALLOW_NESTING;
        }
        if flags & TDB_DISALLOW_NESTING != 0 {
            self.flags |= TDB_ALLOW_NESTING;
        }
        Ok(())
    }

    /// Whether chain locks of this file are robust mutexes.
    pub fn uses_mutexes(&self) -> bool {
        self.locks.mutexes.is_some()
    }

    /// Whether the file is a mutex file, even if this handle takes no locks.
    pub fn is_mutex_file(&self) -> bool {
        self.io.start > 0
    }

    /// Sets how many dead records a chain may keep (spec/tdb.md 14.7).
    pub fn set_max_dead(&mut self, max_dead: u32) {
        self.max_dead = max_dead;
    }

    /// The hash function of the file.
    pub fn hash_kind(&self) -> HashKind {
        self.hash_kind
    }

    /// Hash of a key with this file's function.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u32 {
        self.hash_kind.hash(key)
    }

    /// The chain a key belongs to.
    #[inline]
    pub fn chain_of(&self, key: &[u8]) -> u32 {
        self.hash(key) % self.hash_size
    }
}

impl Drop for Tdb {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // The locks are the parent's.
            self.leave_threads_behind();
            if closing_would_unlock(&self.io.file) {
                std::mem::forget(self.io.file.clone());
            }
            return;
        }
        if self.txn.is_some() {
            if let Err(error) = self.transaction_cancel() {
                log::error!("{}: cancel at close: {error}", self.path().display());
            }
        }
        self.frozen = None;
        if !self.release_everything() {
            // A mutex that another thread locked: the thread's robust list points into the
            // mapping, so the mapping must outlive us.
            if let Some(area) = self.locks.mutexes.take() {
                log::error!("{}: closed with a mutex of another thread", self.path().display());
                std::mem::forget(area);
            }
        }
    }
}
