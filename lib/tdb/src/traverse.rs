// SPDX-License-Identifier: GPL-3.0-or-later
//! Traversal (spec/tdb.md 17 and 26).
//!
//! No record locks: a chain is locked shared, its records are copied or visited in place, the chain
//! is unlocked. So a traversal never holds one lock while it waits for another, which is what
//! deadlocks the classic scheme with the allrecord lock (17.7).

use crate::fcntl::Wait;
use crate::freelist::CycleFinder;
use crate::layout::*;
use crate::storage::Rec;
use crate::{Error, LockMode, Result, Tdb};

/// Chains whose heads are looked at without a lock before the file's length is looked at again.
const CHAINS_A_LOOK: u32 = 256;

impl Tdb {
    /// Calls `visit` for each record with no lock held; stops when it returns `false`. Returns the
    /// number of records visited.
    ///
    /// A record deleted by others while its chain is being delivered may still be seen.
    pub fn traverse(&mut self, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<u64> {
        let mut visited = 0;
        let mut chain_copy = Vec::new();
        let mut lengths: Vec<(u32, u32)> = Vec::new();
        for chain in 0..self.hash_size {
            if self.chain_looks_empty(chain)? {
                continue;
            }
            if self.covers(chain, LockMode::Shared) {
                let (count, go_on) = self.visit_chain(chain, &mut visit)?;
                visited += count;
                if !go_on {
                    return Ok(visited);
                }
                continue;
            }
            chain_copy.clear();
            lengths.clear();
            self.traverse_chain(chain, |key, data| {
                chain_copy.extend_from_slice(key);
                chain_copy.extend_from_slice(data);
                lengths.push((key.len() as u32, data.len() as u32));
                true
            })?;
            let mut rest = chain_copy.as_slice();
            for (key_len, data_len) in &lengths {
                let (key, tail) = rest.split_at(*key_len as usize);
                let (data, tail) = tail.split_at(*data_len as usize);
                rest = tail;
                visited += 1;
                if !visit(key, data) {
                    return Ok(visited);
                }
            }
        }
        Ok(visited)
    }

    /// Calls `visit` for each record of one chain in place, under the chain's shared lock.
    pub fn traverse_chain(
        &mut self,
        chain: u32,
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<u64> {
        if chain >= self.hash_size {
            return Err(Error::Usage("no such chain"));
        }
        if self.covers(chain, LockMode::Shared) {
            return Ok(self.visit_chain(chain, &mut visit)?.0);
        }
        self.acquire(Some(chain), LockMode::Shared, Wait::Block)?;
        let result = self.visit_chain(chain, &mut visit);
        let released = self.release(Some(chain));
        let (visited, _) = result?;
        released?;
        Ok(visited)
    }

    /// Calls `visit` with each record's key and its value for change in place. Needs an exclusive
    /// lock of the whole database, a freeze or a transaction. Returns the number of records.
    pub fn traverse_all(&mut self, mut visit: impl FnMut(&[u8], &mut [u8]) -> bool) -> Result<u64> {
        self.writable()?;
        if self.held.all.is_none() || !self.covers(0, LockMode::Exclusive) {
            return Err(Error::Usage("traverse_all without the whole database"));
        }
        let mut visited = 0;
        for chain in 0..self.hash_size {
            let mut walk = ChainWalk::new(self, chain)?;
            while let Some((offset, rec)) = walk.next(self)? {
                visited += 1;
                if !self.change_in_place(offset, &rec, &mut visit)? {
                    return Ok(visited);
                }
            }
        }
        Ok(visited)
    }

    fn change_in_place(
        &mut self,
        offset: u32,
        rec: &Rec,
        visit: &mut impl FnMut(&[u8], &mut [u8]) -> bool,
    ) -> Result<bool> {
        let (key_len, total) = (rec.key_len as usize, rec.key_len + rec.data_len);
        let body = offset + REC_HEADER;
        if let Some(bytes) = self.io.bytes_mut(body, total) {
            let (key, data) = bytes.split_at_mut(key_len);
            return Ok(visit(key, data));
        }
        let mut copy = self.io.bytes(body, total)?.to_vec();
        let (key, data) = copy.split_at_mut(key_len);
        let go_on = visit(key, data);
        if self.io.bytes(body, total)? != copy.as_slice() {
            self.io.write(body + rec.key_len, &copy[key_len..])?;
        }
        Ok(go_on)
    }

    /// An unlocked look at the head, as a hint. Chain 0 is always visited, so that a traversal
    /// takes at least one lock and sees fresh data.
    pub(crate) fn chain_looks_empty(&mut self, chain: u32) -> Result<bool> {
        if chain % CHAINS_A_LOOK == 0 {
            self.size_is_sound()?;
        }
        Ok(chain != 0 && self.io.word(chain_head(chain))? == 0)
    }

    /// Visits a chain in place. The caller made sure of the lock. Returns the number of records and
    /// whether to go on.
    fn visit_chain(
        &mut self,
        chain: u32,
        visit: &mut impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(u64, bool)> {
        if chain == 0 {
            self.refresh_unlocked()?;
        } else if self.read_only {
            self.settled()?;
        }
        let mut visited = 0;
        let mut walk = ChainWalk::new(self, chain)?;
        while let Some((offset, rec)) = walk.next(self)? {
            let body = self.io.bytes(offset + REC_HEADER, rec.key_len + rec.data_len)?;
            let (key, data) = body.split_at(rec.key_len as usize);
            visited += 1;
            if !visit(key, data) {
                return Ok((visited, false));
            }
        }
        Ok((visited, true))
    }
}

/// Steps through the records in use of a chain.
pub(crate) struct ChainWalk {
    offset: u32,
    cycle: CycleFinder,
}

impl ChainWalk {
    pub fn new(tdb: &mut Tdb, chain: u32) -> Result<ChainWalk> {
        Ok(ChainWalk { offset: tdb.io.word(chain_head(chain))?, cycle: CycleFinder::new() })
    }

    pub fn next(&mut self, tdb: &mut Tdb) -> Result<Option<(u32, Rec)>> {
        while self.offset != 0 {
            let at = self.offset;
            if self.cycle.meets(at) {
                return Err(tdb.chain_cycle(at));
            }
            let rec = tdb.chain_rec(at)?;
            self.offset = rec.next;
            if rec.magic == MAGIC_USED {
                return Ok(Some((at, rec)));
            }
        }
        Ok(None)
    }
}

/// A traversal taken in pieces, for an event loop: each call visits whole chains until it has
/// seen at least as many records or bytes as asked for.
#[derive(Debug, Clone, Default)]
pub struct TraverseCursor {
    next_chain: u32,
}

impl TraverseCursor {
    /// A cursor before the first chain.
    pub fn new() -> TraverseCursor {
        TraverseCursor::default()
    }

    /// A cursor before the given chain.
    pub fn at(chain: u32) -> TraverseCursor {
        TraverseCursor { next_chain: chain }
    }

    /// The chain the next call begins with.
    pub fn next_chain(&self) -> u32 {
        self.next_chain
    }

    /// Visits records until at least `max_records` records or `max_bytes` bytes of keys and data
    /// were seen; `false` if the end of the database was reached.
    ///
    /// Without a lock of the whole database each chain is locked shared while it is visited; a
    /// chain that is busy then is waited for, so a loop uses this under a freeze, or
    /// `try_next_batch`. `visit` returning `false` ends the turn behind the current chain.
    pub fn next_batch(
        &mut self,
        tdb: &mut Tdb,
        max_records: u64,
        max_bytes: u64,
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool> {
        self.advance(tdb, max_records, max_bytes, Wait::Block, visit)
    }

    /// As `next_batch`, but `Error::WouldBlock` when the next chain is busy. The cursor stands
    /// before that chain; records already visited stay visited.
    pub fn try_next_batch(
        &mut self,
        tdb: &mut Tdb,
        max_records: u64,
        max_bytes: u64,
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool> {
        self.advance(tdb, max_records, max_bytes, Wait::Try, visit)
    }

    fn advance(
        &mut self,
        tdb: &mut Tdb,
        max_records: u64,
        max_bytes: u64,
        wait: Wait,
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool> {
        let (mut records, mut bytes, mut stop) = (0u64, 0u64, false);
        while self.next_chain < tdb.hash_size {
            let chain = self.next_chain;
            if !tdb.chain_looks_empty(chain)? {
                let covered = tdb.covers(chain, LockMode::Shared);
                if !covered && !tdb.acquire(Some(chain), LockMode::Shared, wait)? {
                    return Err(Error::WouldBlock);
                }
                let result = tdb.visit_chain(chain, &mut |key, data| {
                    records += 1;
                    bytes += (key.len() + data.len()) as u64;
                    stop |= !visit(key, data);
                    true
                });
                if !covered {
                    tdb.release(Some(chain))?;
                }
                result?;
            }
            self.next_chain += 1;
            if stop || records >= max_records || bytes >= max_bytes {
                break;
            }
        }
        Ok(self.next_chain < tdb.hash_size)
    }
}
