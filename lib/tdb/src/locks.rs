// SPDX-License-Identifier: GPL-3.0-or-later
//! What a handle holds, and taking and giving back its locks (spec/tdb.md 8 and 9).

use std::marker::PhantomData;

use smallvec::SmallVec;

use crate::fcntl::Wait;
use crate::mutex::{Cancel, Never};
use crate::protocol::Locked;
use crate::{Error, LockMode, Result, StoreMode, Tdb, TDB_NOLOCK};

/// A chain (or with `None` the free list) this handle has locked.
#[derive(Clone, Copy)]
struct HeldList {
    list: Option<u32>,
    mode: LockMode,
    count: u32,
    /// The real lock belongs to a waiter; releasing it here only forgets it.
    marked: bool,
    /// Locked ahead of one who wants everything and waits for another of our chains: that one must
    /// stay locked meanwhile, even when it is not wanted any more (`count` is 0 then).
    ahead: bool,
}

/// The lock of the whole database.
pub(crate) struct HeldAll {
    pub mode: LockMode,
    pub count: u32,
    /// A transaction's shared lock: writes are allowed, because they are buffered.
    pub upgradable: bool,
    /// The real lock belongs to a freezer.
    pub marked: bool,
}

/// The locks of one handle.
#[derive(Default)]
pub(crate) struct HeldLocks {
    /// Seldom more than a chain and the free list.
    lists: SmallVec<[HeldList; 4]>,
    pub all: Option<HeldAll>,
    /// Writing traversals under way: they hold the transaction lock.
    pub traversals: u32,
}

impl HeldLocks {
    /// Whether nothing at all is locked.
    #[inline(always)]
    pub fn is_nothing(&self) -> bool {
        self.lists.is_empty() && self.all.is_none()
    }

    /// Whether any chain or the free list is locked.
    pub fn has_lists(&self) -> bool {
        !self.lists.is_empty()
    }

    #[inline(always)]
    fn position(&self, list: Option<u32>) -> Option<usize> {
        self.lists.iter().position(|held| held.list == list)
    }

    /// How the chains are held that are held: exclusively, if any is. Without the one at `except`.
    fn strongest(&self, except: Option<usize>) -> Option<LockMode> {
        let others = self.lists.iter().enumerate().filter(|(at, _)| Some(*at) != except);
        let chains = others.filter(|(_, held)| held.list.is_some());
        chains.map(|(_, held)| held.mode).max_by_key(|mode| *mode == LockMode::Exclusive)
    }

    /// Whether chains that are no longer wanted have to stay locked.
    fn is_ahead(&self) -> bool {
        self.lists.iter().any(|held| held.ahead && held.count > 0)
    }
}

impl Tdb {
    pub(crate) fn is_nolock(&self) -> bool {
        self.flags & TDB_NOLOCK != 0
    }

    /// Takes a chain or the free list (`None`). `false`: busy.
    #[inline(always)]
    pub(crate) fn acquire(
        &mut self,
        list: Option<u32>,
        mode: LockMode,
        wait: Wait,
    ) -> Result<bool> {
        if !self.locks_plainly() {
            return self.acquire_held(list, mode, wait);
        }
        if !self.lock_recovered(list, mode, wait, true)? {
            return Ok(false);
        }
        self.held.lists.push(HeldList { list, mode, count: 1, marked: false, ahead: false });
        Ok(true)
    }

    /// Whether a lock is just taken: nothing is held that could cover it or forbid it.
    #[inline(always)]
    pub(crate) fn locks_plainly(&self) -> bool {
        self.held.is_nothing() && !self.is_nolock() && self.txn.is_none() && self.origin.is_here()
    }

    fn acquire_held(&mut self, list: Option<u32>, mode: LockMode, wait: Wait) -> Result<bool> {
        self.inherited()?;
        if let Some(all) = &self.held.all {
            if mode == LockMode::Shared || all.mode == LockMode::Exclusive || all.upgradable {
                return Ok(true);
            }
            return Err(Error::Lock("the whole database is locked shared"));
        }
        if let Some(at) = self.held.position(list) {
            return self.acquire_again(at, mode, wait);
        }
        if self.is_nolock() {
            return Ok(true);
        }
        if self.txn.is_some() {
            return Err(Error::Lock("a transaction under a freeze, without its token"));
        }
        let others = (list, self.held.strongest(None), &self.locks.mutexes);
        let locked = if let (Some(chain), Some(strongest), Some(area)) = others {
            self.locks.lock_another(area, chain, mode, strongest, wait)?
        } else if self.lock_recovered(list, mode, wait, self.held.lists.is_empty())? {
            Locked::Yes
        } else {
            Locked::Busy
        };
        if locked == Locked::Busy {
            return Ok(false);
        }
        let ahead = locked == Locked::Ahead;
        self.held.lists.push(HeldList { list, mode, count: 1, marked: false, ahead });
        Ok(true)
    }

    /// The real lock of a list. `first`: the handle holds none, so that it may wait for a recovery.
    #[inline(always)]
    fn lock_recovered(
        &mut self,
        list: Option<u32>,
        mode: LockMode,
        wait: Wait,
        first: bool,
    ) -> Result<bool> {
        if self.size_watch.is_due() {
            return self.lock_watched(list, mode, wait, first);
        }
        if let Some(chain) = list {
            self.prefetch_chain(chain);
        }
        loop {
            if !self.locks.lock_list(list, mode, wait, &Never)? {
                return Ok(false);
            }
            if !first || !self.needs_recovery() {
                return Ok(true);
            }
            self.locks.unlock_list(list)?;
            self.recover_as_survivor()?;
        }
    }

    /// Locks a chain for the time of one read, without entering it among the held ones. Only for a
    /// handle that holds nothing and takes locks.
    #[inline(always)]
    pub(crate) fn lock_briefly(&mut self, chain: u32) -> Result<BriefLock<'_>> {
        self.lock_recovered(Some(chain), LockMode::Shared, Wait::Block, true)?;
        Ok(BriefLock { tdb: self, chain })
    }

    /// The mutex and the first records of a chain are far apart in memory. Fetching all of them
    /// before the lock overlaps what are otherwise several waits, the better part of an operation.
    #[inline(always)]
    fn prefetch_chain(&self, chain: u32) {
        if let Some(area) = &self.locks.mutexes {
            area.prefetch(chain);
        }
        self.prefetch_records(chain);
    }

    /// The same without the mutex, where no lock is needed.
    #[inline(always)]
    pub(crate) fn prefetch_records(&self, chain: u32) {
        match self.hints.of(chain) {
            Some(known) => {
                self.io.prefetch_word(crate::layout::chain_head(chain));
                known.iter().for_each(|offset| self.io.prefetch_record(*offset));
            }
            None => self.io.prefetch_target(crate::layout::chain_head(chain)),
        }
    }

    fn acquire_again(&mut self, at: usize, mode: LockMode, wait: Wait) -> Result<bool> {
        let held = self.held.lists[at];
        if held.mode == LockMode::Shared && mode == LockMode::Exclusive {
            if !held.marked && !self.make_exclusive(at, wait)? {
                return Ok(false);
            }
            self.held.lists[at].mode = LockMode::Exclusive;
        }
        self.held.lists[at].count += 1;
        Ok(true)
    }

    fn make_exclusive(&mut self, at: usize, wait: Wait) -> Result<bool> {
        let list = self.held.lists[at].list;
        let Some(area) = &self.locks.mutexes else {
            let byte = crate::lockfile::list_byte(list);
            return self.locks.lock_range(LockMode::Exclusive, byte, 1, wait);
        };
        if list.is_none() {
            return Ok(true);
        }
        let strongest = self.held.strongest(Some(at)).unwrap_or(LockMode::Shared);
        let locked = self.locks.make_exclusive(area, strongest, wait)?;
        self.held.lists[at].ahead |= locked == Locked::Ahead;
        Ok(locked != Locked::Busy)
    }

    /// Gives back one level of a chain or the free list.
    #[inline(always)]
    pub(crate) fn release(&mut self, list: Option<u32>) -> Result<()> {
        self.changes += 1;
        if let [only] = self.held.lists[..] {
            let plain = only.count == 1 && !only.marked && self.origin.is_here();
            if only.list == list && plain {
                self.held.lists.clear();
                return self.locks.unlock_list(list);
            }
        }
        self.release_held(list)
    }

    fn release_held(&mut self, list: Option<u32>) -> Result<()> {
        self.inherited()?;
        let Some(at) = self.held.position(list).filter(|at| self.held.lists[*at].count > 0) else {
            if self.held.all.is_some() || self.is_nolock() {
                return Ok(());
            }
            return Err(Error::Lock("unlock of a chain that is not locked"));
        };
        let held = &mut self.held.lists[at];
        held.count -= 1;
        if held.count > 0 {
            return Ok(());
        }
        if list.is_none() {
            self.held.lists.swap_remove(at);
            return self.locks.unlock_list(None);
        }
        self.release_unwanted()
    }

    /// Unlocks the chains that are no longer wanted, if they may be unlocked.
    fn release_unwanted(&mut self) -> Result<()> {
        if self.held.is_ahead() {
            return Ok(());
        }
        let mut done = Ok(());
        while let Some(at) = self.held.lists.iter().position(|held| held.count == 0) {
            let held = self.held.lists.swap_remove(at);
            if !held.marked {
                done = done.and(self.locks.unlock_list(held.list));
            }
        }
        done
    }

    /// Enters a chain as held without locking: the lock belongs to a waiter.
    pub(crate) fn mark_chain(&mut self, chain: u32) -> Result<()> {
        if self.held.all.is_some() {
            return Err(Error::Lock("the whole database is locked"));
        }
        if let Some(at) = self.held.position(Some(chain)) {
            if !self.held.lists[at].marked {
                return Err(Error::Lock("the chain is locked by the handle itself"));
            }
            self.held.lists[at].count += 1;
            return Ok(());
        }
        if !self.held.has_lists() && self.needs_recovery() {
            return Err(Error::Lock("the database needs recovery: release the token and retry"));
        }
        self.held.lists.push(HeldList {
            list: Some(chain),
            mode: LockMode::Exclusive,
            count: 1,
            marked: true,
            ahead: false,
        });
        Ok(())
    }

    /// Whether work on `chain` in `mode` is covered by a lock this handle holds.
    #[inline(always)]
    pub(crate) fn covers(&self, chain: u32, mode: LockMode) -> bool {
        if self.held.is_nothing() {
            return self.is_nolock();
        }
        self.held_covers(chain, mode)
    }

    fn held_covers(&self, chain: u32, mode: LockMode) -> bool {
        if let Some(all) = &self.held.all {
            let strong = all.mode == LockMode::Exclusive || all.upgradable;
            return (mode == LockMode::Shared || strong) && self.origin.is_here();
        }
        if let Some(at) = self.held.position(Some(chain)) {
            let strong = self.held.lists[at].mode == LockMode::Exclusive;
            return (mode == LockMode::Shared || strong) && self.origin.is_here();
        }
        self.is_nolock()
    }

    pub(crate) fn checked_chain(&self, chain: u32) -> Result<Option<u32>> {
        if chain < self.hash_size {
            Ok(Some(chain))
        } else {
            Err(Error::Usage("no such chain"))
        }
    }

    /// Waits for a chain's lock and keeps it until `unlock_chain`. Nests.
    pub fn lock_chain(&mut self, chain: u32, mode: LockMode) -> Result<()> {
        let list = self.checked_chain(chain)?;
        self.acquire(list, mode, Wait::Block).map(|_| ())
    }

    /// Takes a chain's lock if it is free and keeps it until `unlock_chain`; `false` if busy.
    pub fn try_lock_chain(&mut self, chain: u32, mode: LockMode) -> Result<bool> {
        let list = self.checked_chain(chain)?;
        self.acquire(list, mode, Wait::Try)
    }

    /// Releases one level of `lock_chain`. On a mutex file: on the thread that locked it.
    pub fn unlock_chain(&mut self, chain: u32) -> Result<()> {
        let list = self.checked_chain(chain)?;
        self.release(list)
    }

    #[inline(always)]
    fn guard(&mut self, key: &[u8], mode: LockMode, wait: Wait) -> Result<Option<ChainGuard<'_>>> {
        let chain = self.chain_of(key);
        if !self.acquire(Some(chain), mode, wait)? {
            return Ok(None);
        }
        Ok(Some(ChainGuard { tdb: self, chain, _thread: PhantomData }))
    }

    /// Waits for the exclusive lock of the key's chain.
    #[inline]
    pub fn chain_lock(&mut self, key: &[u8]) -> Result<ChainGuard<'_>> {
        self.guard(key, LockMode::Exclusive, Wait::Block)?.ok_or(Error::WouldBlock)
    }

    /// Waits for the shared lock of the key's chain.
    #[inline]
    pub fn chain_lock_read(&mut self, key: &[u8]) -> Result<ChainGuard<'_>> {
        self.guard(key, LockMode::Shared, Wait::Block)?.ok_or(Error::WouldBlock)
    }

    /// The exclusive lock of the key's chain if it is free; `None` if it is busy.
    pub fn try_chain_lock(&mut self, key: &[u8]) -> Result<Option<ChainGuard<'_>>> {
        self.guard(key, LockMode::Exclusive, Wait::Try)
    }

    /// The shared lock of the key's chain if it is free; `None` if it is busy.
    pub fn try_chain_lock_read(&mut self, key: &[u8]) -> Result<Option<ChainGuard<'_>>> {
        self.guard(key, LockMode::Shared, Wait::Try)
    }

    /// Waits for the lock of the whole database (spec/tdb.md 9).
    pub fn lock_all(&mut self, mode: LockMode) -> Result<()> {
        self.acquire_all(mode, Wait::Block, &Never).map(|_| ())
    }

    /// Takes the lock of the whole database if it is free; `false` if busy.
    pub fn try_lock_all(&mut self, mode: LockMode) -> Result<bool> {
        self.acquire_all(mode, Wait::Try, &Never)
    }

    pub(crate) fn acquire_all(
        &mut self,
        mode: LockMode,
        wait: Wait,
        cancel: &dyn Cancel,
    ) -> Result<bool> {
        if self.read_only {
            return Err(Error::Lock("read-only handle"));
        }
        self.inherited()?;
        if let Some(all) = &mut self.held.all {
            if all.mode == mode || (all.upgradable && mode == LockMode::Exclusive) {
                all.count += 1;
                return Ok(true);
            }
            return Err(Error::Lock("the whole database is locked in another mode"));
        }
        if self.held.has_lists() || self.txn.is_some() {
            return Err(Error::Lock("a chain is locked, or a transaction is active"));
        }
        if !self.lock_all_recovered(mode, wait, cancel)? {
            return Ok(false);
        }
        self.held.all = Some(HeldAll { mode, count: 1, upgradable: false, marked: false });
        Ok(true)
    }

    /// The real allrecord lock, on a database that needs no recovery.
    pub(crate) fn lock_all_recovered(
        &mut self,
        mode: LockMode,
        wait: Wait,
        cancel: &dyn Cancel,
    ) -> Result<bool> {
        if self.is_nolock() {
            return Ok(true);
        }
        if self.locks.mutexes.is_some() {
            // The mutexes are mapped too.
            self.look_at_size()?;
        }
        loop {
            if !self.locks.lock_all(mode, wait, cancel)? {
                return Ok(false);
            }
            if let Err(error) = self.look_at_size() {
                self.locks.unlock_all()?;
                return Err(error);
            }
            if !self.needs_recovery() {
                return Ok(true);
            }
            self.locks.unlock_all()?;
            self.recover_as_survivor()?;
        }
    }

    /// Releases one level of `lock_all`.
    pub fn unlock_all(&mut self) -> Result<()> {
        self.inherited()?;
        self.changes += 1;
        let Some(all) = &mut self.held.all else {
            return Err(Error::Lock("the whole database is not locked"));
        };
        if all.count > 1 {
            all.count -= 1;
            return Ok(());
        }
        if all.upgradable || all.marked {
            return Err(Error::Lock("the lock belongs to a transaction or a freeze"));
        }
        self.held.all = None;
        if self.is_nolock() {
            return Ok(());
        }
        self.locks.unlock_all()
    }

    /// Gives up every lock; for closing. `true` if all could be given up: a mutex can only be
    /// unlocked by its thread.
    pub(crate) fn release_everything(&mut self) -> bool {
        let mut clean = true;
        if let Some(all) = self.held.all.take() {
            if !all.marked && !self.is_nolock() {
                clean &= self.locks.unlock_all().is_ok();
            }
        }
        for held in std::mem::take(&mut self.held.lists) {
            if !held.marked {
                clean &= self.locks.unlock_list(held.list).is_ok();
            }
        }
        clean
    }
}

/// A chain lock for one read; released when dropped.
pub(crate) struct BriefLock<'a> {
    pub tdb: &'a mut Tdb,
    chain: u32,
}

impl BriefLock<'_> {
    /// Unlocks and tells of failure.
    #[inline(always)]
    pub fn release(self) -> Result<()> {
        let lock = std::mem::ManuallyDrop::new(self);
        lock.tdb.locks.unlock_list(Some(lock.chain))
    }
}

impl Drop for BriefLock<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Err(error) = self.tdb.locks.unlock_list(Some(self.chain)) {
            log::error!("chain {} not unlocked: {error}", self.chain);
        }
    }
}

/// One chain lock of a handle; released when dropped.
///
/// Must be dropped on the thread that made it.
pub struct ChainGuard<'a> {
    pub(crate) tdb: &'a mut Tdb,
    pub(crate) chain: u32,
    _thread: PhantomData<*mut ()>,
}

impl<'a> ChainGuard<'a> {
    /// A guard for a chain that the handle has just locked.
    pub(crate) fn of_locked(tdb: &'a mut Tdb, chain: u32) -> ChainGuard<'a> {
        ChainGuard { tdb, chain, _thread: PhantomData }
    }
}

impl ChainGuard<'_> {
    #[inline(always)]
    fn own_hash(&self, key: &[u8]) -> Result<u32> {
        let hash = self.tdb.hash(key);
        if hash % self.tdb.hash_size == self.chain {
            Ok(hash)
        } else {
            Err(Error::Usage("the key belongs to another chain than the locked one"))
        }
    }

    /// The value in place, borrowed from the guard.
    #[inline]
    pub fn fetch(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let hash = self.own_hash(key)?;
        self.tdb.refresh_unlocked()?;
        self.tdb.value_in_place(key, hash)
    }

    /// Stores the concatenation of `parts`; in place if it fits.
    #[inline]
    pub fn store(&mut self, key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<()> {
        self.own_hash(key)?;
        self.tdb.store(key, parts, mode)
    }

    /// Deletes the record; `Error::NotFound` if it does not exist.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.own_hash(key)?;
        self.tdb.delete(key)
    }

    /// The locked chain.
    pub fn chain(&self) -> u32 {
        self.chain
    }

    /// The handle, for work on other keys of the chain.
    pub fn tdb(&mut self) -> &mut Tdb {
        self.tdb
    }
}

impl Drop for ChainGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Err(error) = self.tdb.release(Some(self.chain)) {
            log::error!("chain {} not unlocked: {error}", self.chain);
        }
    }
}
