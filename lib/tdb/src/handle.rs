// SPDX-License-Identifier: GPL-3.0-or-later
//! One open database.

use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::path::Path;

use crate::{ChainToken, Error, FreezeToken, LockAccess, OpenOptions, Result};

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

/// What a full check saw in a sound file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Records in use.
    pub records: u64,
    /// Dead records.
    pub dead: u64,
    /// Free records.
    pub free: u64,
    /// Bytes that belong to no record (left by crashes; harmless).
    pub dead_space: u64,
}

/// A handle on a database file.
pub struct Tdb {
    _later: (),
}

const LATER: Error = Error::Unsupported("not there yet");

#[allow(unused_variables)]
impl Tdb {
    /// Opens (and with `options.create` creates) the database at `path`; spec/tdb.md 12.
    ///
    /// Runs recovery if a transaction was interrupted. May wait for the open lock.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Tdb> {
        Err(LATER)
    }

    /// The file's path as given to `open`.
    pub fn path(&self) -> &Path {
        Path::new("")
    }
    /// The file's descriptor, -1 for an internal database. Only to look at, never to close.
    pub fn fd(&self) -> RawFd {
        -1
    }
    /// Number of hash chains.
    pub fn hash_size(&self) -> u32 {
        0
    }
    /// Logical size of the file as this handle last saw it.
    pub fn map_size(&self) -> u32 {
        0
    }
    /// The handle's flag word (TDB_*), as C `tdb_get_flags` reports it.
    pub fn flags(&self) -> u32 {
        0
    }
    /// Adds flag bits (spec/tdb.md 21.1, `tdb_add_flags`).
    pub fn add_flags(&mut self, flags: u32) -> Result<()> {
        Err(LATER)
    }
    /// Removes flag bits (spec/tdb.md 21.1, `tdb_remove_flags`).
    pub fn remove_flags(&mut self, flags: u32) -> Result<()> {
        Err(LATER)
    }
    /// Whether chain locks of this file are robust mutexes.
    pub fn uses_mutexes(&self) -> bool {
        false
    }
    /// Sets how many dead records a chain may keep (spec/tdb.md 14.7).
    pub fn set_max_dead(&mut self, max_dead: u32) {}
    /// Hash of a key with this file's function.
    pub fn hash(&self, key: &[u8]) -> u32 {
        0
    }
    /// The chain a key belongs to.
    pub fn chain_of(&self, key: &[u8]) -> u32 {
        0
    }

    /// Waits for the exclusive lock of the key's chain.
    pub fn chain_lock(&mut self, key: &[u8]) -> Result<ChainGuard<'_>> {
        Err(LATER)
    }
    /// Waits for the shared lock of the key's chain.
    pub fn chain_lock_read(&mut self, key: &[u8]) -> Result<ChainGuard<'_>> {
        Err(LATER)
    }
    /// The exclusive lock of the key's chain if it is free; `None` if it is busy.
    pub fn try_chain_lock(&mut self, key: &[u8]) -> Result<Option<ChainGuard<'_>>> {
        Err(LATER)
    }
    /// The shared lock of the key's chain if it is free; `None` if it is busy.
    pub fn try_chain_lock_read(&mut self, key: &[u8]) -> Result<Option<ChainGuard<'_>>> {
        Err(LATER)
    }
    /// Waits for a chain's lock and keeps it until `unlock_chain`. Nests.
    pub fn lock_chain(&mut self, chain: u32, mode: LockMode) -> Result<()> {
        Err(LATER)
    }
    /// Takes a chain's lock if it is free and keeps it until `unlock_chain`; `false` if busy.
    pub fn try_lock_chain(&mut self, chain: u32, mode: LockMode) -> Result<bool> {
        Err(LATER)
    }
    /// Releases one level of `lock_chain`.
    pub fn unlock_chain(&mut self, chain: u32) -> Result<()> {
        Err(LATER)
    }
    /// Waits for the lock of the whole database (spec/tdb.md 9).
    pub fn lock_all(&mut self, mode: LockMode) -> Result<()> {
        Err(LATER)
    }
    /// Takes the lock of the whole database if it is free; `false` if busy.
    pub fn try_lock_all(&mut self, mode: LockMode) -> Result<bool> {
        Err(LATER)
    }
    /// Releases one level of `lock_all`.
    pub fn unlock_all(&mut self) -> Result<()> {
        Err(LATER)
    }

    /// Copy of the value; `None` if the key does not exist. Locks inside unless covered.
    pub fn fetch(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Err(LATER)
    }
    /// Calls `parser` with the value in place, under the chain's shared lock.
    pub fn parse<R>(&mut self, key: &[u8], parser: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        Err(LATER)
    }
    /// The value in place. The key's chain must be covered by a lock of this handle.
    pub fn fetch_locked(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        Err(LATER)
    }
    /// Whether the key exists.
    pub fn exists(&mut self, key: &[u8]) -> Result<bool> {
        Err(LATER)
    }
    /// Stores the concatenation of `parts`. Locks inside unless covered.
    pub fn store(&mut self, key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<()> {
        Err(LATER)
    }
    /// Appends to a value, creating the record if it is missing.
    pub fn append(&mut self, key: &[u8], data: &[u8]) -> Result<()> {
        Err(LATER)
    }
    /// Deletes a record; `Error::NotFound` if it does not exist.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        Err(LATER)
    }

    /// Calls `visit` for each record with no lock held; stops when it returns `false`. Returns the
    /// number of records visited.
    pub fn traverse(&mut self, visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<u64> {
        Err(LATER)
    }
    /// Calls `visit` for each record of one chain in place, under the chain's shared lock.
    pub fn traverse_chain(
        &mut self,
        chain: u32,
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<u64> {
        Err(LATER)
    }
    /// Calls `visit` with each record's key and its value for change in place. Needs an exclusive
    /// lock of the whole database, a freeze or a transaction.
    pub fn traverse_all(&mut self, visit: impl FnMut(&[u8], &mut [u8]) -> bool) -> Result<u64> {
        Err(LATER)
    }

    /// Starts a transaction, waiting for other writers (spec/tdb.md 15). Under a freeze token no
    /// lock is taken.
    pub fn transaction_start(&mut self) -> Result<()> {
        Err(LATER)
    }
    /// Starts a transaction unless another process is in one; `false` if busy.
    pub fn try_transaction_start(&mut self) -> Result<bool> {
        Err(LATER)
    }
    /// Makes everything durable that the commit needs, short of the commit itself.
    pub fn transaction_prepare(&mut self) -> Result<()> {
        Err(LATER)
    }
    /// Commits; when this returns the content is durable (unless TDB_NOSYNC).
    pub fn transaction_commit(&mut self) -> Result<()> {
        Err(LATER)
    }
    /// Drops every change since the start.
    pub fn transaction_cancel(&mut self) -> Result<()> {
        Err(LATER)
    }
    /// Whether a transaction is active on this handle.
    pub fn in_transaction(&self) -> bool {
        false
    }

    /// Full check of the file (spec/tdb.md 18.1). An unsound file gives `Error::Corrupt` with
    /// offset and reason.
    pub fn check(&mut self) -> Result<CheckReport> {
        Err(LATER)
    }
    /// Removes all records.
    pub fn wipe_all(&mut self) -> Result<()> {
        Err(LATER)
    }
    /// The sequence number.
    pub fn seqnum(&mut self) -> Result<u32> {
        Err(LATER)
    }
    /// Increments the sequence number without a lock.
    pub fn increment_seqnum(&mut self) -> Result<()> {
        Err(LATER)
    }

    /// What lock waiters and freezers of this file work with. Needs `LockStyle::Ofd`.
    pub fn lock_access(&mut self) -> Result<LockAccess> {
        Err(LATER)
    }
    /// Works under a chain lock that a waiter holds: inside `work` the chain counts as locked and
    /// no second lock is taken.
    pub fn with_marked_chain<R>(
        &mut self,
        token: &ChainToken,
        work: impl FnOnce(&mut Tdb) -> R,
    ) -> Result<R> {
        Err(LATER)
    }
    /// Works under a freeze: inside `work` the whole database counts as locked.
    pub fn with_freeze<R>(
        &mut self,
        token: &FreezeToken,
        work: impl FnOnce(&mut Tdb) -> R,
    ) -> Result<R> {
        Err(LATER)
    }
    /// Takes a freeze into the handle: until `thaw` every operation works under it.
    pub fn adopt_freeze(&mut self, token: FreezeToken) -> Result<()> {
        Err(LATER)
    }
    /// Ends an adopted freeze and releases the lock of the whole database. Cancels a running
    /// transaction. Does nothing if there is none.
    pub fn thaw(&mut self) {}
    /// Whether the handle works under a freeze.
    pub fn is_frozen(&self) -> bool {
        false
    }
}

/// One chain lock of a handle; released when dropped.
///
/// Must be dropped on the thread that made it.
pub struct ChainGuard<'a> {
    tdb: &'a mut Tdb,
    _thread: PhantomData<*mut ()>,
}

#[allow(unused_variables)]
impl ChainGuard<'_> {
    /// The value in place, borrowed from the guard.
    pub fn fetch(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.tdb.fetch_locked(key)
    }
    /// Stores the concatenation of `parts`; in place if it fits.
    pub fn store(&mut self, key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<()> {
        self.tdb.store(key, parts, mode)
    }
    /// Deletes the record; `Error::NotFound` if it does not exist.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.tdb.delete(key)
    }
    /// The locked chain.
    pub fn chain(&self) -> u32 {
        0
    }
}
