// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking at the lists of a file: the free list's size and statistics, and every record of a list
//! with its header, for tools (spec/tdb.md 18.6 to 18.8).
//!
//! The C library's free-list tools take only the free list lock, which neither a transaction nor
//! the holder of the whole database takes, and they merge records under a shared one
//! (spec/tdb.md 25 H4). Here a chain is locked first, which excludes both, and merging needs
//! exclusive locks.

use crate::fcntl::Wait;
use crate::freelist::CycleFinder;
use crate::layout::*;
use crate::{Error, LockMode, Result, Tdb};

/// What the free list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FreeStats {
    /// Number of free records.
    pub records: u64,
    /// Sum of their body lengths.
    pub bytes: u64,
    /// The largest body length.
    pub largest: u32,
}

impl FreeStats {
    /// Whether the space is scattered: a file in this state is worth a repack after it had to grow
    /// (spec/tdb.md 15.5 step 11).
    pub fn is_fragmented(&self) -> bool {
        self.bytes > 2 * u64::from(self.largest)
    }
}

/// A record as a list has it, unjudged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedRecord {
    /// Where the record is.
    pub offset: u32,
    /// The next record of the list; 0 is none.
    pub next: u32,
    /// Length of the body.
    pub rec_len: u32,
    /// Length of the key.
    pub key_len: u32,
    /// Length of the value.
    pub data_len: u32,
    /// Hash of the key.
    pub full_hash: u32,
    /// In use, dead, free, or something that does not belong there.
    pub magic: u32,
    /// The word that ends the body; `None` if the body does not end inside the file. Of a sound
    /// record it is the length of header and body.
    pub tailer: Option<u32>,
}

impl ListedRecord {
    /// Whether the tailer is what the length demands.
    pub fn tailer_is_sound(&self) -> bool {
        self.tailer.is_some_and(|t| t == self.rec_len.wrapping_add(REC_HEADER))
    }
}

/// How a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListEnd {
    /// With its last record.
    Complete,
    /// The visitor had seen enough.
    Stopped,
    /// It came back to a record that was already visited.
    Cycle,
}

impl Tdb {
    /// Number of free records. On a writable handle neighbours are merged meanwhile; those merged
    /// away still count, as in the C library.
    pub fn free_list_size(&mut self) -> Result<u64> {
        let merge = !self.read_only && self.may_write_lists();
        let mode = if merge { LockMode::Exclusive } else { LockMode::Shared };
        self.with_free_list_from_outside(mode, |tdb| tdb.count_free(merge))
    }

    /// Number, sum and maximum of the free records. Fails with `Error::Corrupt` if the list is
    /// unsound; modifies nothing.
    pub fn free_stats(&mut self) -> Result<FreeStats> {
        self.with_free_list_from_outside(LockMode::Shared, Tdb::walk_free_list)
    }

    pub(crate) fn walk_free_list(&mut self) -> Result<FreeStats> {
        let mut stats = FreeStats::default();
        let mut cycle = CycleFinder::new();
        let mut offset = self.io.word(FREE_HEAD)?;
        while offset != 0 {
            if cycle.meets(offset) {
                return Err(self.free_cycle(offset));
            }
            let rec = self.free_rec(offset)?;
            stats.records += 1;
            stats.bytes += u64::from(rec.rec_len);
            stats.largest = stats.largest.max(rec.rec_len);
            offset = rec.next;
        }
        Ok(stats)
    }

    /// Calls `visit` for each record of a chain, or with `None` of the free list, with the list
    /// locked; dead records too. Nothing is judged but that headers are inside the file: for tools
    /// that show what is wrong.
    pub fn visit_list(
        &mut self,
        chain: Option<u32>,
        mut visit: impl FnMut(&ListedRecord) -> bool,
    ) -> Result<ListEnd> {
        match chain {
            None => self.with_free_list_from_outside(LockMode::Shared, |tdb| {
                tdb.visit_records(FREE_HEAD, &mut visit)
            }),
            Some(chain) if chain < self.hash_size => {
                self.under_chain(chain, LockMode::Shared, |tdb| {
                    tdb.visit_records(chain_head(chain), &mut visit)
                })
            }
            Some(_) => Err(Error::Usage("no such chain")),
        }
    }

    fn visit_records(
        &mut self,
        head: u32,
        visit: &mut impl FnMut(&ListedRecord) -> bool,
    ) -> Result<ListEnd> {
        let mut cycle = CycleFinder::new();
        let mut offset = self.io.word(head)?;
        while offset != 0 {
            if cycle.meets(offset) {
                return Ok(ListEnd::Cycle);
            }
            let rec = self.io.rec(offset)?;
            let tailer = offset
                .checked_add(REC_HEADER - TAILER)
                .and_then(|at| at.checked_add(rec.rec_len))
                .and_then(|at| self.io.word(at).ok());
            let listed = ListedRecord {
                offset,
                next: rec.next,
                rec_len: rec.rec_len,
                key_len: rec.key_len,
                data_len: rec.data_len,
                full_hash: rec.hash,
                magic: rec.magic,
                tailer,
            };
            if !visit(&listed) {
                return Ok(ListEnd::Stopped);
            }
            offset = rec.next;
        }
        Ok(ListEnd::Complete)
    }

    /// Whether the locks this handle holds let it change lists, or it holds none.
    fn may_write_lists(&self) -> bool {
        self.held.all.is_none() || self.covers(0, LockMode::Exclusive)
    }

    fn count_free(&mut self, merge: bool) -> Result<u64> {
        let mut count = 0;
        let mut cycle = CycleFinder::new();
        let mut pointer = FREE_HEAD;
        let mut offset = self.io.word(pointer)?;
        while offset != 0 {
            if cycle.meets(offset) {
                return Err(self.free_cycle(offset));
            }
            count += 1;
            let rec = self.free_rec(offset)?;
            let left = if merge { self.free_left_neighbour(offset)? } else { None };
            if let Some((left, left_rec)) = left {
                self.io.put_word(pointer, rec.next)?;
                self.swallow(left, &left_rec, REC_HEADER + rec.rec_len)?;
                cycle = CycleFinder::new();
            } else {
                pointer = offset;
            }
            offset = rec.next;
        }
        Ok(count)
    }

    fn free_cycle(&self, offset: u32) -> Error {
        self.io.corrupt(offset, "an acyclic free list", "a cycle")
    }

    /// Runs `work` with the free list locked by one who is not in the middle of a store: a chain
    /// lock keeps transactions and holders of the whole database out.
    pub(crate) fn with_free_list_from_outside<R>(
        &mut self,
        mode: LockMode,
        work: impl FnOnce(&mut Tdb) -> Result<R>,
    ) -> Result<R> {
        if self.read_only {
            self.io.refresh()?;
            return work(self);
        }
        if self.held.has_lists() && !self.covers(0, mode) {
            return Err(Error::Lock("a chain is locked"));
        }
        self.under_chain(0, mode, |tdb| {
            tdb.acquire(None, mode, Wait::Block)?;
            let result = work(tdb);
            let released = tdb.release(None);
            let value = result?;
            released?;
            Ok(value)
        })
    }
}
