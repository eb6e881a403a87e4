// SPDX-License-Identifier: GPL-3.0-or-later
//! The locks of one file, fcntl and mutexes together (spec/tdb.md 7, 9, 10).
//!
//! This is the raw protocol: it knows what is to be locked in which order, not what a handle holds
//! already (that is `locks`). A handle, its waiters and its freezer each use a `LockFile` of their
//! own open file description, so that the kernel excludes them from each other.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::fcntl::{RangeLocks, Wait, TO_EOF};
use crate::layout::LOCK_CHAINS;
use crate::mutex::{mutex_error, Cancel, MutexArea, Never};
use crate::protocol::{self, Area, Locked, STATE_READ};
use crate::{Error, LockMode, Result};

/// First pause of the back-off when the record half of the allrecord lock is busy.
const BACKOFF_FIRST: Duration = Duration::from_micros(200);
/// Longest pause.
const BACKOFF_LONGEST: Duration = Duration::from_millis(20);
/// How often an upgrade is tried again when the kernel sees a deadlock (spec/tdb.md 7.6).
const UPGRADE_ATTEMPTS: u32 = 1000;

/// Lock bytes and mutexes of one file.
#[derive(Clone)]
pub(crate) struct LockFile {
    pub path: Arc<Path>,
    pub ranges: RangeLocks,
    pub mutexes: Option<Arc<MutexArea>>,
    pub hash_size: u32,
}

/// Lock byte of a chain, or with `None` of the free list.
pub(crate) fn list_byte(chain: Option<u32>) -> u64 {
    match chain {
        Some(chain) => LOCK_CHAINS + 4 * u64::from(chain),
        None => LOCK_CHAINS - 4,
    }
}

/// Growing pauses.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Backoff {
        Backoff(BACKOFF_FIRST)
    }

    pub fn pause(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(BACKOFF_LONGEST);
    }
}

impl LockFile {
    #[cold]
    pub fn range_error(&self, source: io::Error) -> Error {
        if source.raw_os_error() == Some(libc::EDEADLK) {
            return Error::Deadlock;
        }
        Error::Io { path: self.path.clone(), action: "fcntl lock", source }
    }

    fn end_of_chains(&self) -> u64 {
        LOCK_CHAINS + 4 * u64::from(self.hash_size)
    }

    /// Locks a single byte or range. `false`: busy.
    pub fn lock_range(&self, mode: LockMode, start: u64, len: u64, wait: Wait) -> Result<bool> {
        self.ranges.lock(mode, start, len, wait).map_err(|e| self.range_error(e))
    }

    /// Locks one byte exclusively. `false`: busy, or cancelled.
    pub fn lock_byte(&self, byte: u64, wait: Wait, cancel: &dyn Cancel) -> Result<bool> {
        let locked = match wait {
            Wait::Try => self.ranges.lock(LockMode::Exclusive, byte, 1, wait),
            Wait::Block => self.ranges.lock_until_cancelled(LockMode::Exclusive, byte, 1, cancel),
        };
        locked.map_err(|e| self.range_error(e))
    }

    pub fn unlock_range(&self, start: u64, len: u64) -> Result<()> {
        self.ranges.unlock(start, len).map_err(|e| self.range_error(e))
    }

    /// Locks a chain, or with `None` the free list, for one who holds no chain. (On a fcntl file that
    /// makes no difference.)
    #[inline]
    pub fn lock_list(
        &self,
        chain: Option<u32>,
        mode: LockMode,
        wait: Wait,
        cancel: &dyn Cancel,
    ) -> Result<bool> {
        let Some(area) = &self.mutexes else {
            return self.lock_range(mode, list_byte(chain), 1, wait);
        };
        protocol::lock_list(&**area, chain, mode, wait, cancel)
            .map_err(|e| mutex_error(&self.path, e))
    }

    /// Locks another chain of a mutex file for one who holds chains, `strongest` the strongest way.
    pub fn lock_another(
        &self,
        area: &MutexArea,
        chain: u32,
        mode: LockMode,
        strongest: LockMode,
        wait: Wait,
    ) -> Result<Locked> {
        self.until_not_busy(wait, || {
            protocol::lock_another(area, chain, mode, strongest, wait, &Never)
        })
    }

    /// Makes a shared lock of a chain of a mutex file exclusive.
    pub fn make_exclusive(
        &self,
        area: &MutexArea,
        strongest: LockMode,
        wait: Wait,
    ) -> Result<Locked> {
        self.until_not_busy(wait, || protocol::may_change(area, strongest, &Never))
    }

    fn until_not_busy(
        &self,
        wait: Wait,
        attempt: impl Fn() -> io::Result<Locked>,
    ) -> Result<Locked> {
        let mut backoff = Backoff::new();
        loop {
            let locked = attempt().map_err(|e| mutex_error(&self.path, e))?;
            if locked != Locked::Busy || wait == Wait::Try {
                return Ok(locked);
            }
            backoff.pause();
        }
    }

    #[inline]
    pub fn unlock_list(&self, chain: Option<u32>) -> Result<()> {
        match &self.mutexes {
            Some(area) => area.unlock_list(chain).map_err(|e| mutex_error(&self.path, e)),
            None => self.unlock_range(list_byte(chain), 1),
        }
    }

    /// The allrecord lock. `false`: busy, or cancelled.
    ///
    /// The record half is never waited for: a traverser holds a record lock while it waits for a
    /// chain, and nobody detects that cycle (spec/tdb.md 17.7). While it is busy both halves are
    /// let go, so that the traverser gets on.
    pub fn lock_all(&self, mode: LockMode, wait: Wait, cancel: &dyn Cancel) -> Result<bool> {
        let mut backoff = Backoff::new();
        loop {
            if !self.lock_all_chains(mode, wait, cancel)? {
                return Ok(false);
            }
            match self.lock_range(mode, self.end_of_chains(), TO_EOF, Wait::Try) {
                Ok(true) => return Ok(true),
                Ok(false) => self.unlock_all_chains()?,
                Err(error) => {
                    self.unlock_all_chains()?;
                    return Err(error);
                }
            }
            if wait == Wait::Try || cancel.is_cancelled() {
                return Ok(false);
            }
            backoff.pause();
        }
    }

    fn lock_all_chains(&self, mode: LockMode, wait: Wait, cancel: &dyn Cancel) -> Result<bool> {
        match &self.mutexes {
            Some(area) => protocol::lock_all(&**area, mode, wait, cancel)
                .map_err(|e| mutex_error(&self.path, e)),
            None => self.lock_chain_range(mode, wait, cancel),
        }
    }

    fn lock_chain_range(&self, mode: LockMode, wait: Wait, cancel: &dyn Cancel) -> Result<bool> {
        let len = 4 * u64::from(self.hash_size);
        self.ranges
            .lock_gradually(mode, LOCK_CHAINS, len, wait, cancel)
            .map_err(|e| self.range_error(e))
    }

    fn unlock_all_chains(&self) -> Result<()> {
        match &self.mutexes {
            Some(area) => protocol::unlock_all(&**area).map_err(|e| mutex_error(&self.path, e)),
            None => self.unlock_range(LOCK_CHAINS, 4 * u64::from(self.hash_size)),
        }
    }

    /// Releases the allrecord lock.
    pub fn unlock_all(&self) -> Result<()> {
        if self.mutexes.is_some() {
            self.unlock_all_chains()?;
            return self.unlock_range(self.end_of_chains(), TO_EOF);
        }
        self.unlock_range(LOCK_CHAINS, TO_EOF)
    }

    /// Turns a shared allrecord lock into an exclusive one, waiting for readers.
    pub fn upgrade_all(&self) -> Result<()> {
        match &self.mutexes {
            None => self.upgrade_range(LOCK_CHAINS),
            Some(area) => self.upgrade_mutexes(area),
        }
    }

    fn upgrade_range(&self, start: u64) -> Result<()> {
        for _ in 0..UPGRADE_ATTEMPTS {
            match self.lock_range(LockMode::Exclusive, start, TO_EOF, Wait::Block) {
                Err(Error::Deadlock) => std::thread::sleep(Duration::from_micros(1)),
                other => return other.map(|_| ()),
            }
        }
        Err(Error::Deadlock)
    }

    /// Upgrade on a mutex file. The record range comes first and is only tried, and so are the
    /// chains: a traverser that saw the state "exclusive" would wait on the allrecord mutex with
    /// its record lock held, and we for that record lock.
    fn upgrade_mutexes(&self, area: &MutexArea) -> Result<()> {
        let mut backoff = Backoff::new();
        let records = self.end_of_chains();
        if area.state() != STATE_READ {
            return Err(Error::Lock("allrecord state is not shared"));
        }
        loop {
            if self.lock_range(LockMode::Exclusive, records, TO_EOF, Wait::Try)? {
                let upgraded = protocol::try_upgrade(area, &crate::mutex::Never);
                if upgraded.map_err(|e| mutex_error(&self.path, e))? {
                    return Ok(());
                }
                self.lock_range(LockMode::Shared, records, TO_EOF, Wait::Try)?;
            }
            backoff.pause();
        }
    }
}
