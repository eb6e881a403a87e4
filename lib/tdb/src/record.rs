// SPDX-License-Identifier: GPL-3.0-or-later
//! Finding, storing and deleting records (spec/tdb.md 14).

use crate::fcntl::Wait;
use crate::freelist::{CycleFinder, Room};
use crate::layout::*;
use crate::storage::Rec;
use crate::{Error, LockMode, Result, StoreMode, Tdb, TDB_SEQNUM};

/// Longest key and value parts together that a file can hold.
const MAX_PAYLOAD: u64 = (u32::MAX - REC_HEADER - TAILER) as u64;

/// A record in use that matches a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub offset: u32,
    pub rec: Rec,
}

impl Found {
    fn data_offset(&self) -> u32 {
        self.offset + REC_HEADER + self.rec.key_len
    }
}

impl Tdb {
    /// Reads a record header met in a chain and judges it (spec/tdb.md 5.5).
    #[inline]
    pub(crate) fn chain_rec(&mut self, offset: u32) -> Result<Rec> {
        if offset % ALIGN != 0 || offset < data_start(self.hash_size) {
            return Err(self.bad_chain_word(offset, "a record offset", offset));
        }
        let rec = self.io.rec(offset)?;
        if rec.magic != MAGIC_USED && rec.magic != MAGIC_DEAD {
            return Err(self.bad_chain_word(offset + 20, "the magic of a record", rec.magic));
        }
        match rec.key_len.checked_add(rec.data_len) {
            Some(payload) if payload <= rec.rec_len => {}
            _ => {
                return Err(self.bad_chain_word(
                    offset + 8,
                    "lengths inside the record",
                    rec.key_len,
                ))
            }
        }
        self.io.ensure(offset + REC_HEADER, rec.rec_len)?;
        if rec.next != 0 {
            self.io.ensure(rec.next, REC_HEADER)?;
        }
        Ok(rec)
    }

    #[cold]
    fn bad_chain_word(&self, offset: u32, expected: &str, found: u32) -> Error {
        self.io.corrupt(offset, expected, format!("{found:#010x}"))
    }

    #[cold]
    pub(crate) fn chain_cycle(&self, offset: u32) -> Error {
        self.io.corrupt(offset, "an acyclic chain", "a cycle")
    }

    /// Walks the chain of `hash` to the record of `key`.
    #[inline]
    pub(crate) fn find(&mut self, key: &[u8], hash: u32) -> Result<Option<Found>> {
        let chain = hash % self.hash_size;
        let mut offset = self.io.word(chain_head(chain))?;
        let mut cycle = CycleFinder::new();
        self.hints.count(self.hash_size);
        let mut depth = 0;
        while offset != 0 {
            let rec = self.chain_rec(offset)?;
            self.hints.note(chain, depth, offset);
            depth += 1;
            if rec.hash == hash
                && rec.magic == MAGIC_USED
                && rec.key_len as usize == key.len()
                && self.io.bytes(offset + REC_HEADER, rec.key_len)? == key
            {
                return Ok(Some(Found { offset, rec }));
            }
            if cycle.meets(offset) {
                return Err(self.chain_cycle(offset));
            }
            offset = rec.next;
        }
        Ok(None)
    }

    /// The value of `key`, in place. The caller made sure of the lock.
    #[inline]
    pub(crate) fn value_in_place(&mut self, key: &[u8], hash: u32) -> Result<Option<&[u8]>> {
        match self.find(key, hash)? {
            Some(found) => self.value_of(&found).map(Some),
            None => Ok(None),
        }
    }

    #[inline(always)]
    pub(crate) fn value_of(&mut self, found: &Found) -> Result<&[u8]> {
        self.io.bytes(found.data_offset(), found.rec.data_len)
    }

    /// A handle without locks does not hold the active lock either: the file may have been cleared
    /// and cut since the last look, and touching what is gone would be a SIGBUS.
    #[inline]
    pub(crate) fn refresh_unlocked(&mut self) -> Result<()> {
        if (self.is_nolock() || self.txn.is_some()) && self.size_watch.is_due() {
            self.size_is_still_sound()?;
        }
        if self.read_only {
            self.settled()?;
        }
        Ok(())
    }

    /// Runs `work` under the lock of the chain unless that is covered already.
    #[inline(always)]
    pub(crate) fn under_chain<R>(
        &mut self,
        chain: u32,
        mode: LockMode,
        work: impl FnOnce(&mut Tdb) -> Result<R>,
    ) -> Result<R> {
        if self.covers(chain, mode) {
            self.refresh_unlocked()?;
            self.prefetch_records(chain);
            return work(self);
        }
        self.acquire(Some(chain), mode, Wait::Block)?;
        let result = work(self);
        let released = self.release(Some(chain));
        let value = result?;
        released?;
        Ok(value)
    }

    /// Copy of the value; `None` if the key does not exist. Locks inside unless covered.
    pub fn fetch(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.parse(key, |data| data.to_vec())
    }

    /// Calls `parser` with the value in place, under the chain's shared lock.
    #[inline]
    pub fn parse<R>(&mut self, key: &[u8], parser: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        let hash = self.hash(key);
        let chain = hash % self.hash_size;
        if !self.locks_plainly() {
            return self.under_chain(chain, LockMode::Shared, |tdb| {
                Ok(tdb.value_in_place(key, hash)?.map(parser))
            });
        }
        let lock = self.lock_briefly(chain)?;
        let value = lock.tdb.value_in_place(key, hash)?.map(parser);
        lock.release()?;
        Ok(value)
    }

    /// The value in place. The key's chain must be covered by a lock of this handle.
    #[inline]
    pub fn fetch_locked(&mut self, key: &[u8]) -> Result<Option<&[u8]>> {
        let hash = self.hash(key);
        if !self.covers(hash % self.hash_size, LockMode::Shared) {
            return Err(Error::Usage("fetch_locked without a lock on the key's chain"));
        }
        self.refresh_unlocked()?;
        self.value_in_place(key, hash)
    }

    /// Whether the key exists.
    pub fn exists(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.parse(key, |_| ())?.is_some())
    }

    /// Stores the concatenation of `parts`. Locks inside unless covered.
    #[inline]
    pub fn store(&mut self, key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<()> {
        self.writable()?;
        let hash = self.hash(key);
        self.under_chain(hash % self.hash_size, LockMode::Exclusive, |tdb| {
            tdb.store_locked(key, hash, parts, mode)
        })
    }

    /// Appends to a value, creating the record if it is missing. Only the new bytes are written if
    /// the record has room for them.
    pub fn append(&mut self, key: &[u8], data: &[u8]) -> Result<()> {
        self.writable()?;
        let hash = self.hash(key);
        self.under_chain(hash % self.hash_size, LockMode::Exclusive, |tdb| {
            let Some(found) = tdb.find(key, hash)? else {
                return tdb.store_found(key, hash, None, &[data], StoreMode::Replace).map(|_| ());
            };
            if tdb.append_in_place(&found, data)? {
                return tdb.bump_seqnum();
            }
            let old = tdb.value_of(&found)?.to_vec();
            let parts = [old.as_slice(), data];
            tdb.store_found(key, hash, Some(found), &parts, StoreMode::Replace).map(|_| ())
        })
    }

    /// Appends, if the record has the room. `false`: it has not.
    fn append_in_place(&mut self, found: &Found, data: &[u8]) -> Result<bool> {
        let data_len = u64::from(found.rec.data_len) + data.len() as u64;
        let needed = u64::from(found.rec.key_len) + data_len + u64::from(TAILER);
        if u64::from(found.rec.rec_len) < needed {
            return Ok(false);
        }
        self.io.write(found.data_offset() + found.rec.data_len, data)?;
        self.io.put_word(found.offset + 12, data_len as u32)?;
        self.changes += 1;
        Ok(true)
    }

    /// Deletes a record; `Error::NotFound` if it does not exist.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.writable()?;
        let hash = self.hash(key);
        let chain = hash % self.hash_size;
        self.under_chain(chain, LockMode::Exclusive, |tdb| {
            let found = tdb.find(key, hash)?.ok_or(Error::NotFound)?;
            tdb.delete_found(chain, &found)
        })
    }

    pub(crate) fn delete_found(&mut self, chain: u32, found: &Found) -> Result<()> {
        self.bury(found)?;
        self.trim_chain(chain)
    }

    pub(crate) fn writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        if !self.origin.is_here() {
            self.inherited()?;
        }
        if self.txn.as_ref().is_some_and(|t| t.is_prepared()) {
            return Err(Error::Usage("write after the transaction was prepared"));
        }
        Ok(())
    }

    fn store_locked(
        &mut self,
        key: &[u8],
        hash: u32,
        parts: &[&[u8]],
        mode: StoreMode,
    ) -> Result<()> {
        let found = self.find(key, hash)?;
        self.store_found(key, hash, found, parts, mode).map(|_| ())
    }

    /// Stores where `find` found the record, or that there is none. Returns where it is then.
    #[inline]
    pub(crate) fn store_found(
        &mut self,
        key: &[u8],
        hash: u32,
        found: Option<Found>,
        parts: &[&[u8]],
        mode: StoreMode,
    ) -> Result<Found> {
        let data_len = parts.iter().map(|p| p.len() as u64).sum::<u64>();
        let payload = key.len() as u64 + data_len;
        if payload > MAX_PAYLOAD {
            return Err(self.no_space(payload));
        }
        let (data_len, payload) = (data_len as u32, payload as u32);
        match (found, mode) {
            (Some(_), StoreMode::Insert) => return Err(Error::Exists),
            (None, StoreMode::Modify) => return Err(Error::NotFound),
            (Some(mut found), _) if self.overwrite(&found, parts, data_len)? => {
                found.rec.data_len = data_len;
                self.bump_seqnum()?;
                return Ok(found);
            }
            _ => {}
        }
        // Room comes first: if there is none, the old value is still there.
        let chain = hash % self.hash_size;
        let room = self.room_for(chain, payload)?;
        let stored = self.fill(chain, &room, key, hash, parts, data_len)?;
        // Next to each other: who is killed between the two leaves neither value.
        if let Some(found) = &found {
            self.bury(found)?;
        }
        self.io.put_word(chain_head(chain), stored.offset)?;
        self.changes += 1;
        if found.is_some() {
            self.trim_chain(chain)?;
        }
        self.bump_seqnum()?;
        Ok(stored)
    }

    /// Stores in place, if the record has the room. `false`: it has not.
    fn overwrite(&mut self, found: &Found, parts: &[&[u8]], data_len: u32) -> Result<bool> {
        let at = found.data_offset();
        if found.rec.data_len == data_len && self.io.equals(at, parts)? {
            return Ok(true);
        }
        let needed = u64::from(found.rec.key_len) + u64::from(data_len) + u64::from(TAILER);
        if u64::from(found.rec.rec_len) < needed {
            return Ok(false);
        }
        self.write_parts(at, parts)?;
        if found.rec.data_len != data_len {
            self.io.put_word(found.offset + 12, data_len)?;
            self.changes += 1;
        }
        Ok(true)
    }

    fn write_parts(&mut self, offset: u32, parts: &[&[u8]]) -> Result<()> {
        let mut at = offset;
        for part in parts {
            self.io.write(at, part)?;
            at += part.len() as u32;
        }
        Ok(())
    }

    /// Fills a record that is to become the chain's first.
    fn fill(
        &mut self,
        chain: u32,
        room: &Room,
        key: &[u8],
        hash: u32,
        parts: &[&[u8]],
        data_len: u32,
    ) -> Result<Found> {
        let rec = Rec {
            next: self.io.word(chain_head(chain))?,
            rec_len: room.rec_len,
            key_len: key.len() as u32,
            data_len,
            hash,
            magic: MAGIC_USED,
        };
        self.io.put_rec(room.offset, &rec)?;
        self.io.write(room.offset + REC_HEADER, key)?;
        self.write_parts(room.offset + REC_HEADER + rec.key_len, parts)?;
        Ok(Found { offset: room.offset, rec })
    }

    /// Makes a record dead. It keeps its place in the chain.
    fn bury(&mut self, found: &Found) -> Result<()> {
        self.changes += 1;
        self.io.put_word(found.offset + 20, MAGIC_DEAD)?;
        self.bump_seqnum()
    }

    /// Room for a new record of `chain` (14.5). With dead records allowed, those of the own chain
    /// are used first, which spares the free list lock. Other chains' are left alone: a traverser
    /// that stands on one would end up in a foreign chain (spec/tdb.md 25 H7).
    fn room_for(&mut self, chain: u32, payload: u32) -> Result<Room> {
        if self.max_dead > 0 {
            if let Some(room) = self.take_dead(chain, payload)? {
                return Ok(room);
            }
        }
        self.with_free_list(|tdb| {
            tdb.free_dead(chain, 0)?;
            tdb.allocate(payload)
        })
    }

    /// Unlinks the smallest dead record of `chain` that has room.
    fn take_dead(&mut self, chain: u32, payload: u32) -> Result<Option<Room>> {
        let needed = u64::from(payload) + u64::from(TAILER);
        let mut best: Option<(u32, u32, Rec)> = None;
        let mut cycle = CycleFinder::new();
        let mut pointer = chain_head(chain);
        let mut offset = self.io.word(pointer)?;
        while offset != 0 {
            let rec = self.chain_rec(offset)?;
            if rec.magic == MAGIC_DEAD
                && u64::from(rec.rec_len) >= needed
                && best.is_none_or(|(_, _, b)| rec.rec_len < b.rec_len)
            {
                best = Some((pointer, offset, rec));
            }
            if cycle.meets(offset) {
                return Err(self.chain_cycle(offset));
            }
            pointer = offset;
            offset = rec.next;
        }
        let Some((pointer, offset, rec)) = best else {
            return Ok(None);
        };
        // Used anew it would lead a traverser that stands on it astray (spec/tdb.md 25 H7).
        if !self.may_remove(offset)? {
            return Ok(None);
        }
        self.io.put_word(pointer, rec.next)?;
        Ok(Some(Room { offset, rec_len: rec.rec_len }))
    }

    /// Frees dead records beyond the number a chain may keep (14.6).
    fn trim_chain(&mut self, chain: u32) -> Result<()> {
        let keep = self.max_dead;
        if keep > 0 && self.count_dead(chain)? <= keep {
            return Ok(());
        }
        self.with_free_list(|tdb| tdb.free_dead(chain, keep))
    }

    fn count_dead(&mut self, chain: u32) -> Result<u32> {
        let mut dead = 0;
        let mut cycle = CycleFinder::new();
        let mut offset = self.io.word(chain_head(chain))?;
        while offset != 0 {
            let rec = self.chain_rec(offset)?;
            dead += u32::from(rec.magic == MAGIC_DEAD);
            if cycle.meets(offset) {
                return Err(self.chain_cycle(offset));
            }
            offset = rec.next;
        }
        Ok(dead)
    }

    /// Frees the dead records of a chain behind the first `keep`, except those a traverser stands
    /// on. Needs the free list.
    fn free_dead(&mut self, chain: u32, keep: u32) -> Result<()> {
        let mut dead = 0;
        let mut cycle = CycleFinder::new();
        let mut pointer = chain_head(chain);
        let mut offset = self.io.word(pointer)?;
        while offset != 0 {
            let rec = self.chain_rec(offset)?;
            if cycle.meets(offset) {
                return Err(self.chain_cycle(offset));
            }
            let is_dead = rec.magic == MAGIC_DEAD;
            dead += u32::from(is_dead);
            if is_dead && dead > keep && self.may_remove(offset)? {
                self.io.put_word(pointer, rec.next)?;
                self.free_record(offset, rec.rec_len)?;
            } else {
                pointer = offset;
            }
            offset = rec.next;
        }
        Ok(())
    }

    /// Whether no traverser of another process stands on the record. New ones cannot arrive while
    /// we hold the chain; handles of this engine never take record locks.
    fn may_remove(&mut self, offset: u32) -> Result<bool> {
        if self.held.all.is_some() || self.is_nolock() {
            return Ok(true);
        }
        let busy = self.locks.ranges.conflicts(LockMode::Exclusive, u64::from(offset), 1);
        Ok(!busy.map_err(|e| self.locks.range_error(e))?)
    }

    fn with_free_list<R>(&mut self, work: impl FnOnce(&mut Tdb) -> Result<R>) -> Result<R> {
        self.acquire(None, LockMode::Exclusive, Wait::Block)?;
        let result = work(self);
        let released = self.release(None);
        let value = result?;
        released?;
        Ok(value)
    }

    /// The sequence number (spec/tdb.md 16).
    ///
    /// In the mapping it is counted in this machine's byte order even in a file of the other order:
    /// atomic additions cannot swap, and the C library does the same.
    pub fn seqnum(&mut self) -> Result<u32> {
        self.io.ensure(OFF_SEQNUM, 4)?;
        match self.io.atomic_load(OFF_SEQNUM) {
            Some(number) => Ok(number),
            None => self.io.word(OFF_SEQNUM),
        }
    }

    /// From now on changes by this handle are counted in the sequence number (`TDB_SEQNUM`).
    pub fn enable_seqnum(&mut self) {
        self.flags |= TDB_SEQNUM;
    }

    /// Increments the sequence number without a lock.
    pub fn increment_seqnum(&mut self) -> Result<()> {
        self.writable()?;
        if self.io.atomic_increment(OFF_SEQNUM) {
            return Ok(());
        }
        let next = self.io.word(OFF_SEQNUM)?.wrapping_add(1);
        self.io.put_word(OFF_SEQNUM, next)
    }

    /// Counts a change, if this handle counts.
    pub(crate) fn bump_seqnum(&mut self) -> Result<()> {
        if self.flags & TDB_SEQNUM == 0 {
            return Ok(());
        }
        if self.io.overlay.is_some() {
            return self.increment_seqnum();
        }
        if self.io.atomic_increment(OFF_SEQNUM) {
            return Ok(());
        }
        // The lock is advisory among those who cannot add atomically; its failure is no reason to
        // fail a store that is done.
        let lock = !self.is_nolock();
        if lock {
            let _ = self.locks.lock_range(LockMode::Exclusive, LOCK_SEQNUM, 1, Wait::Block);
        }
        let done = self.increment_seqnum();
        if lock {
            let _ = self.locks.unlock_range(LOCK_SEQNUM, 1);
        }
        done
    }
}
