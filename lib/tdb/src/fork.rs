// SPDX-License-Identifier: GPL-3.0-or-later
//! Handles after a fork (spec/tdb.md 12.7 and 26).
//!
//! A child inherits the memory of a handle but none of its kernel locks, no waiter threads, and
//! mutexes that belong to a thread of the parent. Working on as if nothing had happened would
//! write without locks. So every handle knows which process it belongs to: an inherited one refuses
//! its work with `Error::Inherited` until it is reopened. Handles that take no locks (read-only,
//! `TDB_NOLOCK`, `TDB_INTERNAL`) have nothing to lose and go on working.
//!
//! The process is told apart by a count that the C library advances in each child, because asking
//! the kernel for the process id would cost more than a lookup. A child made by a bare `clone`
//! system call is not noticed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};

use crate::fcntl::{RangeLocks, Wait};
use crate::layout::LOCK_ACTIVE;
use crate::registry::Registration;
use crate::{Error, LockMode, LockStyle, Result, Tdb};
use crate::{TDB_CLEAR_IF_FIRST, TDB_INTERNAL, TDB_MUTEX_LOCKING};

/// Forks between the first process that used this library and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process a handle belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin(u32);

impl Origin {
    /// This process.
    pub fn here() -> Origin {
        static WATCH: Once = Once::new();
        extern "C" fn count() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        WATCH.call_once(|| {
            // SAFETY: the handler does nothing but add to an atomic.
            if unsafe { libc::pthread_atfork(None, None, Some(count)) } != 0 {
                log::error!("forks are not noticed: out of memory");
            }
        });
        Origin(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this is the process.
    #[inline(always)]
    pub fn is_here(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

impl Tdb {
    /// Refuses an inherited handle that relies on locks.
    #[cold]
    pub(crate) fn inherited(&self) -> Result<()> {
        if self.origin.is_here() || self.is_nolock() {
            return Ok(());
        }
        Err(Error::Inherited { path: self.io.path.clone() })
    }

    /// Makes an inherited handle one of this process. In the process that opened it this does
    /// nothing but look whether it would be allowed.
    ///
    /// `parent_lives_on`: the parent will keep its handle for longer than this process lives, so
    /// that a file opened with `TDB_CLEAR_IF_FIRST` needs no further process to keep it alive.
    ///
    /// Fails with `Error::Lock` if the handle held locks or was in a transaction when the process
    /// forked: those are the parent's. After a failure the handle still refuses its work; dropping
    /// it does no harm.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let options = ctdb_tdb::OpenOptions { create: true, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open(dir.path().join("a.tdb"), &options)?;
    /// # let fork = || 0;
    /// if fork() == 0 {
    ///     tdb.reopen(false)?;
    ///     tdb.store(b"child", &[b"was here"], ctdb_tdb::StoreMode::Replace)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn reopen(&mut self, parent_lives_on: bool) -> Result<()> {
        if self.flags & TDB_INTERNAL != 0 {
            return Ok(());
        }
        if self.txn.is_some() || !self.held.is_nothing() || self.held.traversals > 0 {
            return Err(Error::Lock("locks are held or a transaction is active"));
        }
        if self.origin.is_here() {
            return Ok(());
        }
        let registration = Registration::inherited(&self.io.file, self.locks.ranges.style())
            .map_err(|e| self.io.io_error("fstat", e))?;
        let registration =
            registration.ok_or_else(|| Error::AlreadyOpen { path: self.io.path.clone() })?;
        self.leave_threads_behind();
        if self.locks.ranges.style() == LockStyle::Ofd {
            // The locks of the inherited description are the parent's as much as ours.
            let file = crate::access::reopen(&self.io.file, &self.io.path)
                .map_err(|e| self.io.io_error("reopen", e))?;
            self.io.file = Arc::new(file);
            self.locks.ranges = RangeLocks::new(self.io.file.clone(), LockStyle::Ofd);
        }
        let keeps_alive = self.flags & (TDB_CLEAR_IF_FIRST | TDB_MUTEX_LOCKING) != 0;
        if keeps_alive && !parent_lives_on && !self.is_nolock() {
            self.locks.lock_range(LockMode::Shared, LOCK_ACTIVE, 1, Wait::Block)?;
        }
        // The parent's entry, which only the parent needs.
        drop(self._registration.replace(registration));
        self.origin = Origin::here();
        self.io.refresh()
    }

    /// Waiters and the freezer are threads of the parent; what they share with the handle may be
    /// locked by one of them for ever. It costs a little memory.
    pub(crate) fn leave_threads_behind(&mut self) {
        std::mem::forget(self.waiters.take());
        std::mem::forget(self.frozen.take());
    }
}

/// Reopens several handles, as [`Tdb::reopen`] does, up to the first that fails.
pub fn reopen_all<'a>(
    handles: impl IntoIterator<Item = &'a mut Tdb>,
    parent_lives_on: bool,
) -> Result<()> {
    handles.into_iter().try_for_each(|tdb| tdb.reopen(parent_lives_on))
}
