// SPDX-License-Identifier: GPL-3.0-or-later
//! One record under its chain lock.

use super::store_error;
use ctdb_engine::ports::{ChainRecord, StoreError};
use ctdb_tdb::{Error, StoreMode, Tdb};

/// A record of a handle whose chain lock is held, or that works under a freeze.
pub struct Record<'a> {
    tdb: &'a mut Tdb,
    key: &'a [u8],
    value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// Reads the record into `scratch`: the value must stay readable while the file changes under it.
    pub fn load(
        tdb: &'a mut Tdb,
        key: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> ctdb_tdb::Result<Record<'a>> {
        scratch.clear();
        let exists = match tdb.fetch_locked(key)? {
            Some(value) => {
                scratch.extend_from_slice(value);
                true
            }
            None => false,
        };
        let value = exists.then_some(scratch.as_slice());
        Ok(Record { tdb, key, value })
    }
}

impl ChainRecord for Record<'_> {
    fn value(&self) -> Option<&[u8]> {
        self.value
    }

    fn store(&mut self, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.tdb.store(self.key, parts, StoreMode::Replace).map_err(|e| store_error(&e))
    }

    fn delete(&mut self) -> Result<(), StoreError> {
        match self.tdb.delete(self.key) {
            Ok(()) | Err(Error::NotFound) => Ok(()),
            Err(e) => Err(store_error(&e)),
        }
    }
}
