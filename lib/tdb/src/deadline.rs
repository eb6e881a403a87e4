// SPDX-License-Identifier: GPL-3.0-or-later
//! Waiting for locks until a point in time.
//!
//! The kernel's file locks know no deadline, and interrupting a wait takes a signal, which a library
//! has no right to. So such a lock is tried again and again, with pauses that grow to 20 ms; who
//! waits without a deadline stands in the kernel's queue and comes first. Mutexes are waited for in
//! the kernel to the millisecond.

use std::time::Instant;

use crate::fcntl::Wait;
use crate::lockfile::Backoff;
use crate::mutex::Cancel;
use crate::{ChainGuard, LockMode, Result, Tdb};

/// A wait that ends at a point in time.
pub(crate) struct Until(pub Instant);

impl Cancel for Until {
    fn is_cancelled(&self) -> bool {
        Instant::now() >= self.0
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.0)
    }
}

impl Tdb {
    /// Waits for a chain's lock, but not beyond `deadline`; `false` if it did not become free. Kept
    /// until `unlock_chain`.
    pub fn lock_chain_until(
        &mut self,
        chain: u32,
        mode: LockMode,
        deadline: Instant,
    ) -> Result<bool> {
        let list = self.checked_chain(chain)?;
        let until = Until(deadline);
        let mut backoff = Backoff::new();
        while !self.acquire(list, mode, Wait::Try)? {
            if until.is_cancelled() {
                return Ok(false);
            }
            if self.locks.mutexes.is_none() {
                backoff.pause();
            } else if self.locks.lock_list(list, mode, Wait::Block, &until)? {
                self.locks.unlock_list(list)?;
            }
        }
        Ok(true)
    }

    /// The lock of the key's chain; `None` if it did not become free before `deadline`.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # use std::time::{Duration, Instant};
    /// # let options = ctdb_tdb::OpenOptions { tdb_flags: ctdb_tdb::TDB_INTERNAL, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open("memory", &options)?;
    /// let soon = Instant::now() + Duration::from_millis(100);
    /// match tdb.chain_lock_until(b"key", ctdb_tdb::LockMode::Exclusive, soon)? {
    ///     Some(mut guard) => guard.store(b"key", &[b"value"], ctdb_tdb::StoreMode::Replace)?,
    ///     None => println!("somebody keeps it locked"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn chain_lock_until(
        &mut self,
        key: &[u8],
        mode: LockMode,
        deadline: Instant,
    ) -> Result<Option<ChainGuard<'_>>> {
        let chain = self.chain_of(key);
        if !self.lock_chain_until(chain, mode, deadline)? {
            return Ok(None);
        }
        Ok(Some(ChainGuard::of_locked(self, chain)))
    }

    /// Waits for the lock of the whole database, but not beyond `deadline`; `false` if it did not
    /// become free. Chains that are free are kept meanwhile, so that a stream of short locks does
    /// not starve it.
    pub fn lock_all_until(&mut self, mode: LockMode, deadline: Instant) -> Result<bool> {
        self.acquire_all(mode, Wait::Block, &Until(deadline))
    }

    /// Starts a transaction unless others keep it from that until `deadline`; `false` then.
    pub fn transaction_start_until(&mut self, deadline: Instant) -> Result<bool> {
        self.start(Wait::Block, &Until(deadline))
    }
}
