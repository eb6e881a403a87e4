// SPDX-License-Identifier: GPL-3.0-or-later
//! Going through the records: with changes on the way, as iterators, in place under a chain lock,
//! from key to key (spec/tdb.md 17).
//!
//! Nothing here holds a lock while it waits for another, and nothing takes record locks: what is
//! to be visited of a chain is noted under the chain's lock, and a record is looked up again by its
//! key when its turn comes. So a record that exists all the time is met exactly once, even if its
//! value moves meanwhile, and one that is deleted before its turn is not met.

use std::collections::VecDeque;

use crate::fcntl::Wait;
use crate::layout::*;
use crate::traverse::ChainWalk;
use crate::{ChainGuard, Error, LockMode, Result, Tdb};

impl Tdb {
    /// Calls `visit` for each record with the handle, which it may use for anything but starting a
    /// transaction: store, delete (also the record it is called for), traverse again. Stops when it
    /// returns `false`. Returns the number of records visited.
    ///
    /// Transactions and other writing traversals of all processes are excluded meanwhile. Records
    /// added to the chain that is being visited are not met. On a read-only handle it just reads.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # let options = ctdb_tdb::OpenOptions { tdb_flags: ctdb_tdb::TDB_INTERNAL, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open("memory", &options)?;
    /// # for i in 0..10u8 {
    /// #     tdb.store(&[i], &[&[i]], ctdb_tdb::StoreMode::Insert)?;
    /// # }
    /// let mut failed = None;
    /// tdb.traverse_write(|tdb, key, value| {
    ///     if value[0] % 2 == 0 {
    ///         failed = tdb.delete(key).err();
    ///     }
    ///     failed.is_none()
    /// })?;
    /// assert!(failed.is_none());
    /// assert_eq!(tdb.keys().count(), 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn traverse_write(
        &mut self,
        mut visit: impl FnMut(&mut Tdb, &[u8], &[u8]) -> bool,
    ) -> Result<u64> {
        let guard = self.begin_write_traverse()?;
        let mut visited = 0;
        for chain in 0..guard.tdb.hash_size {
            for key in guard.tdb.keys_of(chain)? {
                let Some(data) = guard.tdb.fetch(&key)? else {
                    continue;
                };
                visited += 1;
                if !visit(guard.tdb, &key, &data) {
                    return Ok(visited);
                }
            }
        }
        Ok(visited)
    }

    /// Excludes transactions until the guard is gone. Who holds everything, or is in a transaction
    /// already, needs nothing more.
    fn begin_write_traverse(&mut self) -> Result<WriteTraverse<'_>> {
        self.inherited()?;
        let covered = self.held.all.is_some() || self.in_transaction();
        let takes_lock = !(covered || self.is_nolock() || self.held.traversals > 0);
        if takes_lock {
            // Whoever has the transaction lock may be waiting for a chain that we hold.
            let wait = if self.held.has_lists() { Wait::Try } else { Wait::Block };
            if !self.locks.lock_range(LockMode::Exclusive, LOCK_TRANSACTION, 1, wait)? {
                return Err(Error::Lock("a chain is locked while another process is writing"));
            }
        }
        let counted = takes_lock || self.held.traversals > 0;
        self.held.traversals += u32::from(counted);
        Ok(WriteTraverse { tdb: self, counted })
    }

    /// Copies of the keys of a chain, in its order; nothing if the chain looks empty.
    fn keys_of(&mut self, chain: u32) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        if self.chain_looks_empty(chain)? {
            return Ok(keys);
        }
        self.traverse_chain(chain, |key, _| {
            keys.push(key.to_vec());
            true
        })?;
        Ok(keys)
    }

    /// Calls `visit` for each record of the chain of `key` in place, under the chain's shared lock.
    pub fn traverse_key_chain(
        &mut self,
        key: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<u64> {
        self.traverse_chain(self.chain_of(key), visit)
    }

    /// Iterates over copies of all records. Each chain is read under its shared lock.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # let options = ctdb_tdb::OpenOptions { tdb_flags: ctdb_tdb::TDB_INTERNAL, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open("memory", &options)?;
    /// tdb.store(b"key", &[b"value"], ctdb_tdb::StoreMode::Insert)?;
    /// for record in tdb.records() {
    ///     let (key, value) = record?;
    ///     assert_eq!((key.as_slice(), value.as_slice()), (&b"key"[..], &b"value"[..]));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn records(&mut self) -> Records<'_> {
        Records { tdb: self, next_chain: 0, ready: VecDeque::new() }
    }

    /// Iterates over copies of all keys. Each chain is read under its shared lock.
    pub fn keys(&mut self) -> Keys<'_> {
        Keys { tdb: self, next_chain: 0, ready: VecDeque::new() }
    }
}

struct WriteTraverse<'a> {
    tdb: &'a mut Tdb,
    /// This traversal is among those counted.
    counted: bool,
}

impl Drop for WriteTraverse<'_> {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        self.tdb.held.traversals -= 1;
        if self.tdb.held.traversals == 0 {
            if let Err(error) = self.tdb.locks.unlock_range(LOCK_TRANSACTION, 1) {
                log::error!("{}: after a traversal: {error}", self.tdb.path().display());
            }
        }
    }
}

/// Copies of all records; from [`Tdb::records`]. Ends after an error.
pub struct Records<'a> {
    tdb: &'a mut Tdb,
    next_chain: u32,
    ready: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Iterator for Records<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.next_chain < self.tdb.hash_size {
            let ready = &mut self.ready;
            let read = self.tdb.traverse_chain(self.next_chain, |key, data| {
                ready.push_back((key.to_vec(), data.to_vec()));
                true
            });
            self.next_chain += 1;
            if let Err(error) = read {
                self.next_chain = self.tdb.hash_size;
                self.ready.clear();
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// Copies of all keys; from [`Tdb::keys`]. Ends after an error.
pub struct Keys<'a> {
    tdb: &'a mut Tdb,
    next_chain: u32,
    ready: VecDeque<Vec<u8>>,
}

impl Iterator for Keys<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.next_chain < self.tdb.hash_size {
            match self.tdb.keys_of(self.next_chain) {
                Ok(keys) => self.ready = keys.into(),
                Err(error) => {
                    self.next_chain = self.tdb.hash_size;
                    return Some(Err(error));
                }
            }
            self.next_chain += 1;
        }
        self.ready.pop_front().map(Ok)
    }
}

impl ChainGuard<'_> {
    /// The records of the locked chain, in place, one after the other.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # let options = ctdb_tdb::OpenOptions { tdb_flags: ctdb_tdb::TDB_INTERNAL, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open("memory", &options)?;
    /// tdb.store(b"key", &[b"value"], ctdb_tdb::StoreMode::Insert)?;
    /// let mut guard = tdb.chain_lock_read(b"key")?;
    /// let mut records = guard.records()?;
    /// while let Some((key, value)) = records.next()? {
    ///     println!("{} bytes: {value:?}", key.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn records(&mut self) -> Result<ChainRecords<'_>> {
        let walk = ChainWalk::new(self.tdb, self.chain)?;
        Ok(ChainRecords { tdb: self.tdb, walk })
    }
}

/// The records of a locked chain; from [`ChainGuard::records`].
pub struct ChainRecords<'a> {
    tdb: &'a mut Tdb,
    walk: ChainWalk,
}

impl ChainRecords<'_> {
    /// Key and value of the next record, borrowed until the one after it is asked for.
    #[allow(clippy::should_implement_trait, clippy::type_complexity)]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some((offset, rec)) = self.walk.next(self.tdb)? else {
            return Ok(None);
        };
        let body = self.tdb.io.bytes(offset + REC_HEADER, rec.key_len + rec.data_len)?;
        Ok(Some(body.split_at(rec.key_len as usize)))
    }
}

/// A position among the keys, for callers that come back with the key they were given last
/// (`tdb_firstkey` and `tdb_nextkey`).
#[derive(Debug, Clone, Default)]
pub struct KeyCursor {
    /// The key handed out last.
    current: Option<Vec<u8>>,
    /// What follows it in its chain.
    rest: VecDeque<Vec<u8>>,
    next_chain: u32,
}

impl KeyCursor {
    /// A cursor at no key.
    pub fn new() -> KeyCursor {
        KeyCursor::default()
    }

    /// The first key of the database.
    pub fn first(&mut self, tdb: &mut Tdb) -> Result<Option<&[u8]>> {
        *self = KeyCursor::default();
        self.advance(tdb)
    }

    /// The key after `key`. If that is not the one handed out last it is looked up; `None` if it
    /// does not exist. The key handed out last may have been deleted meanwhile.
    pub fn next(&mut self, tdb: &mut Tdb, key: &[u8]) -> Result<Option<&[u8]>> {
        if self.current.as_deref() != Some(key) {
            *self = KeyCursor::default();
            let chain = tdb.chain_of(key);
            let mut keys = tdb.keys_of(chain)?.into_iter();
            if !keys.any(|k| k == key) {
                return Ok(None);
            }
            self.rest = keys.collect();
            self.next_chain = chain + 1;
        }
        self.advance(tdb)
    }

    fn advance(&mut self, tdb: &mut Tdb) -> Result<Option<&[u8]>> {
        self.current = None;
        loop {
            while let Some(key) = self.rest.pop_front() {
                if tdb.exists(&key)? {
                    return Ok(Some(self.current.insert(key)));
                }
            }
            if self.next_chain >= tdb.hash_size {
                return Ok(None);
            }
            self.rest = tdb.keys_of(self.next_chain)?.into();
            self.next_chain += 1;
        }
    }
}
