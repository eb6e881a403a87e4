// SPDX-License-Identifier: GPL-3.0-or-later
//! A locked record whose place is known: one hash and one walk serve lock, read, store and unlock.
//!
//! This is the pattern of a cluster's client (lock the chain, look at the header, write the value,
//! unlock), which with separate calls hashes the key four times and walks the chain twice.

use std::marker::PhantomData;

use crate::fcntl::Wait;
use crate::record::Found;
use crate::{Error, LockMode, Result, StoreMode, Tdb};

/// Where the record of a key is while its chain is locked; from [`Tdb::lock_key`]. For holders that
/// cannot keep a borrow of the handle; others use [`Tdb::lock_record`].
#[derive(Debug)]
#[must_use = "the chain stays locked until unlock_key"]
pub struct Place {
    hash: u32,
    chain: u32,
    found: Option<Found>,
    /// The handle's count of changes when `found` was true.
    changes: u64,
}

impl Tdb {
    /// Waits for the exclusive lock of the key's chain and looks up the record. The lock is kept
    /// until `unlock_key`. Nests like `lock_chain`.
    #[inline]
    pub fn lock_key(&mut self, key: &[u8]) -> Result<Place> {
        self.lock_place(key, Wait::Block)?.ok_or(Error::WouldBlock)
    }

    /// The same if the lock is free; `None` if it is busy.
    #[inline]
    pub fn try_lock_key(&mut self, key: &[u8]) -> Result<Option<Place>> {
        self.lock_place(key, Wait::Try)
    }

    #[inline(always)]
    fn lock_place(&mut self, key: &[u8], wait: Wait) -> Result<Option<Place>> {
        let hash = self.hash(key);
        let chain = hash % self.hash_size;
        if !self.acquire(Some(chain), LockMode::Exclusive, wait)? {
            return Ok(None);
        }
        match self.refresh_unlocked().and_then(|()| self.find(key, hash)) {
            Ok(found) => Ok(Some(Place { hash, chain, found, changes: self.changes })),
            Err(error) => {
                self.release(Some(chain))?;
                Err(error)
            }
        }
    }

    /// Releases one level of `lock_key`.
    #[inline]
    pub fn unlock_key(&mut self, place: Place) -> Result<()> {
        self.release(Some(place.chain))
    }

    /// The value of the key that `place` was made for, in place; `None` if it does not exist.
    #[inline]
    pub fn value_at(&mut self, key: &[u8], place: &mut Place) -> Result<Option<&[u8]>> {
        self.look_again_if_changed(key, place)?;
        match &place.found {
            Some(found) => self.value_of(found).map(Some),
            None => Ok(None),
        }
    }

    /// Stores the concatenation of `parts` for the key that `place` was made for.
    #[inline]
    pub fn store_at(
        &mut self,
        key: &[u8],
        place: &mut Place,
        parts: &[&[u8]],
        mode: StoreMode,
    ) -> Result<()> {
        self.writable()?;
        self.look_again_if_changed(key, place)?;
        let found = self.store_found(key, place.hash, place.found, parts, mode)?;
        *place = Place { found: Some(found), changes: self.changes, ..*place };
        Ok(())
    }

    /// Deletes the record of the key that `place` was made for; `Error::NotFound` if there is none.
    pub fn delete_at(&mut self, key: &[u8], place: &mut Place) -> Result<()> {
        self.writable()?;
        self.look_again_if_changed(key, place)?;
        let found = place.found.take().ok_or(Error::NotFound)?;
        self.delete_found(place.chain, &found)
    }

    /// A place is true as long as the lock was never released and this handle moved no record.
    #[inline(always)]
    fn look_again_if_changed(&mut self, key: &[u8], place: &mut Place) -> Result<()> {
        if place.changes == self.changes {
            return Ok(());
        }
        self.look_again(key, place)
    }

    #[cold]
    fn look_again(&mut self, key: &[u8], place: &mut Place) -> Result<()> {
        if self.hash(key) != place.hash || !self.covers(place.chain, LockMode::Exclusive) {
            return Err(Error::Usage("a place of another key, or whose chain is not locked"));
        }
        place.found = self.find(key, place.hash)?;
        place.changes = self.changes;
        Ok(())
    }

    /// Waits for the exclusive lock of the key's chain and looks up the record, for as long as the
    /// guard lives.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let options = ctdb_tdb::OpenOptions { create: true, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open(dir.path().join("a.tdb"), &options)?;
    /// let mut record = tdb.lock_record(b"counter")?;
    /// let count = record.value()?.map_or(0, |v| v[0]);
    /// record.store(&[&[count + 1]], ctdb_tdb::StoreMode::Replace)?;
    /// drop(record);
    /// assert_eq!(tdb.fetch(b"counter")?, Some(vec![1]));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn lock_record<'a>(&'a mut self, key: &'a [u8]) -> Result<RecordGuard<'a>> {
        let place = self.lock_key(key)?;
        Ok(RecordGuard { tdb: self, key, place, _thread: PhantomData })
    }
}

/// A record with its chain locked; unlocked when dropped, on the thread that locked it.
pub struct RecordGuard<'a> {
    tdb: &'a mut Tdb,
    key: &'a [u8],
    place: Place,
    _thread: PhantomData<*mut ()>,
}

impl RecordGuard<'_> {
    /// The value, in place, until the next store; `None` if the record does not exist.
    #[inline]
    pub fn value(&mut self) -> Result<Option<&[u8]>> {
        self.tdb.value_at(self.key, &mut self.place)
    }

    /// Stores the concatenation of `parts`; in place if it fits.
    #[inline]
    pub fn store(&mut self, parts: &[&[u8]], mode: StoreMode) -> Result<()> {
        self.tdb.store_at(self.key, &mut self.place, parts, mode)
    }

    /// Deletes the record; `Error::NotFound` if it does not exist.
    pub fn delete(&mut self) -> Result<()> {
        self.tdb.delete_at(self.key, &mut self.place)
    }
}

impl Drop for RecordGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Err(error) = self.tdb.release(Some(self.place.chain)) {
            log::error!("chain {} not unlocked: {error}", self.place.chain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;

    fn open(dir: &tempfile::TempDir, tdb_flags: u32) -> Tdb {
        // One chain: every key is a neighbour of every other.
        let options =
            OpenOptions { create: true, hash_size: 1, tdb_flags, ..OpenOptions::default() };
        Tdb::open(dir.path().join("place.tdb"), &options).unwrap()
    }

    #[test]
    fn reads_and_stores_without_looking_again() {
        for flags in [0, crate::TDB_MUTEX_LOCKING] {
            let dir = tempfile::tempdir().unwrap();
            let mut tdb = open(&dir, flags);
            let mut record = tdb.lock_record(b"key").unwrap();
            assert_eq!(record.value().unwrap(), None);
            for value in [&b"small"[..], b"smaller", &[7; 500], b""] {
                record.store(&[value], StoreMode::Replace).unwrap();
                assert_eq!(record.value().unwrap(), Some(value));
            }
            record.delete().unwrap();
            assert_eq!(record.value().unwrap(), None);
            assert!(matches!(record.delete(), Err(Error::NotFound)));
            assert!(matches!(record.store(&[b"v"], StoreMode::Modify), Err(Error::NotFound)));
            drop(record);
            tdb.check().unwrap();
        }
    }

    #[test]
    fn a_place_notices_what_the_handle_did_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let mut tdb = open(&dir, 0);
        tdb.store(b"key", &[b"old"], StoreMode::Insert).unwrap();
        let mut place = tdb.lock_key(b"key").unwrap();
        tdb.delete(b"key").unwrap();
        tdb.store(b"other", &[b"took its room"], StoreMode::Insert).unwrap();
        assert_eq!(tdb.value_at(b"key", &mut place).unwrap(), None);
        tdb.store_at(b"key", &mut place, &[b"new"], StoreMode::Insert).unwrap();
        assert_eq!(tdb.value_at(b"key", &mut place).unwrap(), Some(&b"new"[..]));
        for value in [&b"in place"[..], b"short", b""] {
            tdb.store(b"key", &[value], StoreMode::Replace).unwrap();
            assert_eq!(tdb.value_at(b"key", &mut place).unwrap(), Some(value));
        }
        tdb.append(b"key", b"+").unwrap();
        assert_eq!(tdb.value_at(b"key", &mut place).unwrap(), Some(&b"+"[..]));
        tdb.store(b"key", &[b"new"], StoreMode::Replace).unwrap();
        tdb.unlock_key(place).unwrap();
        assert_eq!(tdb.fetch(b"other").unwrap().as_deref(), Some(&b"took its room"[..]));
        assert_eq!(tdb.fetch(b"key").unwrap().as_deref(), Some(&b"new"[..]));
        tdb.check().unwrap();
    }

    #[test]
    fn a_place_outside_its_lock_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut tdb = open(&dir, 0);
        let mut place = tdb.lock_key(b"key").unwrap();
        tdb.unlock_chain(0).unwrap();
        assert!(matches!(tdb.value_at(b"key", &mut place), Err(Error::Usage(_))));
        assert!(matches!(
            tdb.store_at(b"key", &mut place, &[b"v"], StoreMode::Replace),
            Err(Error::Usage(_))
        ));
        assert!(tdb.unlock_key(place).is_err());
    }
}
