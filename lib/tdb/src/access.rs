// SPDX-License-Identifier: GPL-3.0-or-later
//! What lock waiters and freezers of a file need, and how a handle works under their locks.
//!
//! Waiters and the freezer each use an open file description of their own. So the kernel excludes
//! them from the handle and from each other exactly as it excludes other processes; with one
//! description for all, the handle's unlock of a chain would punch a hole into a freeze.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::fcntl::RangeLocks;
use crate::freezer::{FreezeState, FreezeToken};
use crate::lockfile::LockFile;
use crate::locks::HeldAll;
use crate::waiter::{ChainToken, Pool};
use crate::{Error, LockMode, LockStyle, Result, Tdb};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// What waiters and freezers of one file share. Cheap to clone; outlives the handle if need be.
#[derive(Clone)]
pub struct LockAccess(pub(crate) Arc<Access>);

pub(crate) struct Access {
    /// Names the file among all accesses of the process.
    pub id: u64,
    /// Locks of the waiters.
    pub waiters: LockFile,
    /// Locks of the freezer.
    pub freezer: LockFile,
    /// A freeze is held: chain requests stay in their queues.
    pub frozen: AtomicBool,
    pub freeze: Mutex<FreezeState>,
    /// Pools with requests for this file, to be woken at thaw.
    pub pools: Mutex<Vec<Weak<Pool>>>,
}

/// A second open file description of an open file.
pub(crate) fn reopen(file: &File, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let same = |other: &File| -> io::Result<bool> {
        let (a, b) = (file.metadata()?, other.metadata()?);
        Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
    };
    let by_descriptor = options.open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let other = by_descriptor.or_else(|_| options.open(path))?;
    if same(&other)? {
        Ok(other)
    } else {
        Err(io::Error::other("the path names another file by now"))
    }
}

impl Tdb {
    /// What lock waiters and freezers of this file work with. Needs `LockStyle::Ofd`: closing a
    /// second descriptor would drop POSIX locks.
    pub fn lock_access(&mut self) -> Result<LockAccess> {
        if let Some(access) = &self.waiters {
            return Ok(access.clone());
        }
        if self.locks.ranges.style() != LockStyle::Ofd || self.is_nolock() {
            return Err(Error::Usage("waiters need a handle with open-file-description locks"));
        }
        let description = || -> Result<LockFile> {
            let file =
                reopen(&self.io.file, &self.io.path).map_err(|e| self.io.io_error("reopen", e))?;
            Ok(LockFile {
                ranges: RangeLocks::new(Arc::new(file), LockStyle::Ofd),
                ..self.locks.clone()
            })
        };
        let access = LockAccess(Arc::new(Access {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            waiters: description()?,
            freezer: description()?,
            frozen: AtomicBool::new(false),
            freeze: Mutex::new(FreezeState::default()),
            pools: Mutex::new(Vec::new()),
        }));
        self.waiters = Some(access.clone());
        Ok(access)
    }

    fn is_mine(&self, access: &LockAccess) -> Result<()> {
        match &self.waiters {
            Some(mine) if mine.0.id == access.0.id => Ok(()),
            _ => Err(Error::Usage("the token belongs to another database")),
        }
    }

    /// Works under a chain lock that a waiter holds: inside `work` the chain counts as locked
    /// exclusively and no second lock is taken.
    ///
    /// Fails with `Error::Lock` if a process died in a commit meanwhile: then drop the token and
    /// lock the chain anew, which performs the recovery.
    pub fn with_marked_chain<R>(
        &mut self,
        token: &ChainToken,
        work: impl FnOnce(&mut Tdb) -> R,
    ) -> Result<R> {
        self.is_mine(token.access())?;
        self.mark_chain(token.chain())?;
        let marked = MarkedChain { tdb: self, chain: token.chain() };
        Ok(work(&mut *marked.tdb))
    }

    /// Works under a freeze: inside `work` the whole database counts as locked exclusively. A
    /// transaction may stay open from one call to the next; between them it cannot be used.
    pub fn with_freeze<R>(
        &mut self,
        token: &FreezeToken,
        work: impl FnOnce(&mut Tdb) -> R,
    ) -> Result<R> {
        self.mark_all(token)?;
        let marked = MarkedAll { tdb: self };
        Ok(work(&mut *marked.tdb))
    }

    /// Takes a freeze into the handle: until `thaw` every operation works under it.
    pub fn adopt_freeze(&mut self, token: FreezeToken) -> Result<()> {
        self.mark_all(&token)?;
        self.frozen = Some(token);
        Ok(())
    }

    /// Ends an adopted freeze and releases the lock of the whole database. Cancels a running
    /// transaction. Does nothing if there is no adopted freeze.
    pub fn thaw(&mut self) {
        let Some(token) = self.frozen.take() else {
            return;
        };
        if self.txn.is_some() {
            if let Err(error) = self.cancel_outermost() {
                log::error!("{}: cancel at thaw: {error}", self.path().display());
            }
        }
        self.held.all = None;
        self.changes += 1;
        drop(token);
    }

    /// Whether the handle works under a freeze.
    pub fn is_frozen(&self) -> bool {
        self.held.all.as_ref().is_some_and(|all| all.marked)
    }

    fn mark_all(&mut self, token: &FreezeToken) -> Result<()> {
        self.is_mine(token.access())?;
        if self.held.all.is_some() || self.held.has_lists() {
            return Err(Error::Lock("the handle holds locks"));
        }
        if self.txn.is_none() {
            self.recover_if_frozen_needs()?;
        }
        self.held.all =
            Some(HeldAll { mode: LockMode::Exclusive, count: 1, upgradable: false, marked: true });
        Ok(())
    }
}

/// Takes the mark away again, also if the work panics.
struct MarkedChain<'a> {
    tdb: &'a mut Tdb,
    chain: u32,
}

impl Drop for MarkedChain<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.tdb.release(Some(self.chain)) {
            log::error!("chain {} not unmarked: {error}", self.chain);
        }
    }
}

struct MarkedAll<'a> {
    tdb: &'a mut Tdb,
}

impl Drop for MarkedAll<'_> {
    fn drop(&mut self) {
        // A freeze adopted inside the work stays.
        if self.tdb.frozen.is_none() {
            self.tdb.held.all = None;
            self.tdb.changes += 1;
        }
    }
}
