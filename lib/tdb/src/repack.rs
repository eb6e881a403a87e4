// SPDX-License-Identifier: GPL-3.0-or-later
//! Storing all records anew, and asking for room ahead (spec/tdb.md 18.5, 11.3).

use std::time::Instant;

use crate::layout::REC_HEADER;
use crate::{Error, LockMode, Result, StoreMode, Tdb};

/// All records of a file, in traversal order.
#[derive(Default)]
struct Copies {
    bytes: Vec<u8>,
    /// Lengths of key and value.
    lengths: Vec<(u32, u32)>,
}

impl Copies {
    fn push(&mut self, key: &[u8], data: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(data);
        self.lengths.push((key.len() as u32, data.len() as u32));
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map(move |(key_len, data_len)| {
            let (key, tail) = rest.split_at(*key_len as usize);
            let (data, tail) = tail.split_at(*data_len as usize);
            rest = tail;
            (key, data)
        })
    }
}

impl Tdb {
    /// Stores all records anew in one transaction: free space becomes whole again, dead records and
    /// leaked ones are gone, of a key that was there twice the copy that lookups find stays. Every
    /// record must fit into memory twice. On failure the file is as before. The file does not
    /// shrink.
    ///
    /// Needs the right to start a transaction: no locks held, or a freeze. The order of records
    /// within their chains stays.
    pub fn repack(&mut self) -> Result<()> {
        if self.in_transaction() {
            return Err(Error::Lock("a transaction is active"));
        }
        self.transaction_start()?;
        self.end_repack(true)
    }

    /// Ends the transaction just started with a repack, or without one.
    fn end_repack(&mut self, wanted: bool) -> Result<()> {
        let done = if wanted { self.repack_in_transaction() } else { Ok(()) };
        if wanted && done.is_ok() {
            // What a repack added is one piece: no reason for another.
            self.io.forget_growth();
            return self.transaction_commit();
        }
        self.transaction_cancel()?;
        done
    }

    /// A transaction had to make the file longer: if that is because its free space is scattered,
    /// it is put together (spec/tdb.md 15.5 step 11). Not if somebody is in the way; and a failure
    /// is no failure of the transaction, which is committed.
    pub(crate) fn repack_if_fragmented(&mut self) {
        let done = match self.transaction_start_until(Instant::now()) {
            Ok(true) => {
                let fragmented = self.walk_free_list().is_ok_and(|stats| stats.is_fragmented());
                self.end_repack(fragmented)
            }
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            log::warn!("tdb({}): repack after growth: {error}", self.path().display());
        }
    }

    fn repack_in_transaction(&mut self) -> Result<()> {
        let mut copies = Copies::default();
        for chain in 0..self.hash_size {
            let mut records = Copies::default();
            self.traverse_chain(chain, |key, data| {
                records.push(key, data);
                true
            })?;
            // A new record becomes the first of its chain: the last one goes in first.
            for (key, data) in records.iter().collect::<Vec<_>>().into_iter().rev() {
                copies.push(key, data);
            }
        }
        self.wipe_all()?;
        for (key, data) in copies.iter() {
            // Replace: a key that a crash left twice is stored once, the first of its chain last.
            self.store(key, &[data], StoreMode::Replace)?;
        }
        Ok(())
    }

    /// Makes sure that a record with a body of `bytes` can be stored without growing the file: it
    /// grows now, if no free record is as large. Room can be taken by any process.
    pub fn reserve(&mut self, bytes: u32) -> Result<()> {
        self.writable()?;
        let need = bytes.checked_add(REC_HEADER).ok_or_else(|| self.no_space(bytes.into()))?;
        self.with_free_list_from_outside(LockMode::Exclusive, |tdb| {
            if tdb.walk_free_list()?.largest >= bytes {
                return Ok(());
            }
            tdb.expand(need)
        })
    }
}
