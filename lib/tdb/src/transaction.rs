// SPDX-License-Identifier: GPL-3.0-or-later
//! Transactions (spec/tdb.md 15).
//!
//! Writes are buffered in memory. A commit first makes an undo log durable inside the file, then
//! writes the changes in place, then invalidates the log:
//!
//! ```text
//! undo data, magic 0   SYNC 1
//! magic valid          SYNC 2    a crash from here on rolls back
//! changed blocks       SYNC 3
//! magic 0              SYNC 4    committed
//! ```

use std::time::SystemTime;

use crate::fcntl::Wait;
use crate::layout::*;
use crate::locks::HeldAll;
use crate::mutex::{Cancel, Never};
use crate::overlay::BLOCK;
use crate::storage::Rec;
use crate::{Error, LockMode, Result, Tdb, TDB_ALLOW_NESTING, TDB_INTERNAL};

/// A running transaction.
pub(crate) struct Transaction {
    /// Inner levels.
    nesting: u32,
    /// The outermost commit has to fail.
    failed: bool,
    /// Data locks are guaranteed by a freeze or by the caller (TDB_NOLOCK).
    external: bool,
    /// The open lock is held.
    open_locked: bool,
    prepared: Option<Prepared>,
}

/// What the prepare phase left behind.
#[derive(Clone, Copy)]
enum Prepared {
    /// Nothing was written: the file stays untouched.
    Empty,
    /// The undo log of the area at this offset is valid.
    Logged { area: u32 },
}

impl Transaction {
    pub fn is_prepared(&self) -> bool {
        self.prepared.is_some()
    }
}

impl Tdb {
    /// Starts a transaction, waiting for other writers. Under a freeze no lock is taken.
    pub fn transaction_start(&mut self) -> Result<()> {
        self.start(Wait::Block, &Never).map(|_| ())
    }

    /// Starts a transaction unless another process is in one; `false` if busy.
    pub fn try_transaction_start(&mut self) -> Result<bool> {
        self.start(Wait::Try, &Never)
    }

    /// Whether a transaction is active on this handle.
    pub fn in_transaction(&self) -> bool {
        self.txn.is_some()
    }

    pub(crate) fn start(&mut self, wait: Wait, cancel: &dyn Cancel) -> Result<bool> {
        self.inherited()?;
        if self.read_only || self.flags & TDB_INTERNAL != 0 {
            return Err(Error::Usage("no transactions on this handle"));
        }
        if let Some(txn) = &mut self.txn {
            if self.flags & TDB_ALLOW_NESTING == 0 {
                return Err(Error::Nesting);
            }
            txn.nesting += 1;
            return Ok(true);
        }
        if self.held.has_lists() {
            return Err(Error::Lock("a chain is locked"));
        }
        if self.held.traversals > 0 {
            return Err(Error::Lock("a writing traversal is under way"));
        }
        let external = match &self.held.all {
            Some(all) if all.marked => true,
            Some(_) => return Err(Error::Lock("the whole database is locked")),
            None => self.is_nolock(),
        };
        if !external && !self.take_start_locks(wait, cancel)? {
            return Ok(false);
        }
        if let Err(error) = self.io.refresh() {
            self.drop_transaction_locks(external)?;
            return Err(error);
        }
        self.io.begin_overlay();
        self.txn = Some(Box::new(Transaction {
            nesting: 0,
            failed: false,
            external,
            open_locked: false,
            prepared: None,
        }));
        Ok(true)
    }

    fn take_start_locks(&mut self, wait: Wait, cancel: &dyn Cancel) -> Result<bool> {
        if !self.locks.lock_byte(LOCK_TRANSACTION, wait, cancel)? {
            return Ok(false);
        }
        match self.lock_all_recovered(LockMode::Shared, Wait::Block, cancel) {
            Ok(true) => {}
            refused => {
                self.locks.unlock_range(LOCK_TRANSACTION, 1)?;
                return refused;
            }
        }
        self.held.all =
            Some(HeldAll { mode: LockMode::Shared, count: 1, upgradable: true, marked: false });
        Ok(true)
    }

    fn drop_transaction_locks(&mut self, external: bool) -> Result<()> {
        if external {
            return Ok(());
        }
        self.held.all = None;
        let all = self.locks.unlock_all();
        self.locks.unlock_range(LOCK_TRANSACTION, 1)?;
        all
    }

    /// Makes everything durable that the commit needs, short of the commit itself. On failure the
    /// transaction is cancelled.
    pub fn transaction_prepare(&mut self) -> Result<()> {
        self.inherited()?;
        let txn = self.txn.as_ref().ok_or(Error::Usage("no transaction"))?;
        if txn.nesting > 0 {
            return Ok(());
        }
        match self.prepare() {
            Ok(()) => Ok(()),
            Err(error) => {
                self.cancel_outermost()?;
                Err(error)
            }
        }
    }

    fn prepare(&mut self) -> Result<()> {
        let txn = self.txn.as_ref().ok_or(Error::Usage("no transaction"))?;
        if txn.prepared.is_some() {
            return Err(Error::Usage("the transaction is prepared already"));
        }
        let failed = txn.failed || self.io.overlay.as_ref().is_some_and(|o| o.failed);
        if failed {
            return Err(Error::Usage("an inner level of the transaction failed"));
        }
        if self.held.has_lists() {
            return Err(Error::Lock("a chain is locked"));
        }
        if self.io.overlay.as_ref().is_none_or(|overlay| overlay.is_empty()) {
            return self.set_prepared(Prepared::Empty);
        }
        self.size_is_sound()?;
        self.take_commit_locks()?;
        let area = self.write_undo_log()?;
        // Set before the write: from now on a cancel has to clear the magic.
        self.set_prepared(Prepared::Logged { area })?;
        self.arm_undo_log(area)
    }

    /// Makes the undo log valid. The header points to a new area only now: until then a crash
    /// leaves nothing but an end of the file that is not used.
    fn arm_undo_log(&mut self, area: u32) -> Result<()> {
        self.sync_unless_told_not_to()?;
        self.write_both(area + 20, &self.io.word_bytes(MAGIC_RECOVERY))?;
        self.sync_unless_told_not_to()?;
        if self.io.word(OFF_RECOVERY_START)? != area {
            self.write_both(OFF_RECOVERY_START, &self.io.word_bytes(area))?;
            self.sync_unless_told_not_to()?;
        }
        Ok(())
    }

    fn set_prepared(&mut self, prepared: Prepared) -> Result<()> {
        let txn = self.txn.as_mut().ok_or(Error::Usage("no transaction"))?;
        txn.prepared = Some(prepared);
        Ok(())
    }

    /// Everybody out: readers (upgrade) and openers (open lock, also where the data locks are
    /// guaranteed by others, 25 H6).
    fn take_commit_locks(&mut self) -> Result<()> {
        let external = self.txn.as_ref().is_some_and(|t| t.external);
        if !external {
            if self.held.all.as_ref().is_some_and(|all| all.count != 1) {
                return Err(Error::Lock("the whole database is locked inside the transaction"));
            }
            self.locks.upgrade_all()?;
            if let Some(all) = &mut self.held.all {
                all.mode = LockMode::Exclusive;
            }
        }
        self.locks.lock_range(LockMode::Exclusive, LOCK_OPEN, 1, Wait::Block)?;
        if let Some(txn) = &mut self.txn {
            txn.open_locked = true;
        }
        Ok(())
    }

    /// Writes past the buffer, and into the buffered block if there is one: the commit writes
    /// whole blocks and must not undo this.
    fn write_both(&mut self, offset: u32, data: &[u8]) -> Result<()> {
        self.io.write_through(offset, data)?;
        if let Some(overlay) = &mut self.io.overlay {
            overlay.patch(offset, data);
        }
        Ok(())
    }

    /// Undo entries for the changed blocks: what was in the file before, without the area itself,
    /// which must survive its own replay.
    fn undo_ranges(&self, area: (u32, u32)) -> Vec<(u32, u32)> {
        let Some(overlay) = &self.io.overlay else {
            return Vec::new();
        };
        let mut ranges = Vec::new();
        let mut push = |from: u32, to: u32| {
            if from < to {
                ranges.push((from, to - from));
            }
        };
        for number in overlay.changed() {
            let from = number * BLOCK;
            let to = from.saturating_add(BLOCK).min(overlay.old_size);
            push(from, to.min(area.0.max(from)));
            push(from.max(area.1.min(to)), to);
        }
        ranges
    }

    /// Writes the undo log with an idle magic; returns its area.
    fn write_undo_log(&mut self) -> Result<u32> {
        let old_size = self.io.overlay.as_ref().map_or(0, |o| o.old_size);
        let (area, capacity) = self.place_area()?;
        let ranges = self.undo_ranges((area, area + REC_HEADER + capacity));
        let bytes: u64 = ranges.iter().map(|(_, len)| 8 + u64::from(*len)).sum::<u64>() + 4;
        if bytes > u64::from(capacity) {
            return Err(Error::Usage("recovery area too small"));
        }
        let rec = Rec {
            next: 0,
            rec_len: capacity,
            key_len: old_size,
            data_len: bytes as u32,
            hash: 0,
            magic: MAGIC_RECOVERY_IDLE,
        };
        let as_before =
            self.io.word(OFF_RECOVERY_START)? == area && self.io.word(area + 4)? == capacity;
        self.write_both(area, &self.io.rec_bytes(&rec))?;
        if !as_before {
            // Undo data outside of an area could be taken for anything.
            self.sync_unless_told_not_to()?;
        }
        let mut log = Vec::with_capacity(bytes as usize);
        for (offset, len) in ranges {
            log.extend_from_slice(&self.io.word_bytes(offset));
            log.extend_from_slice(&self.io.word_bytes(len));
            let at = log.len();
            log.resize(at + len as usize, 0);
            self.io.read_through(offset, &mut log[at..])?;
            if offset == 0 {
                // A replay that is interrupted must find the area again.
                let pointer = log.get_mut(at + OFF_RECOVERY_START as usize..).unwrap_or_default();
                let word = self.io.word_bytes(area);
                pointer.iter_mut().zip(word).for_each(|(byte, new)| *byte = new);
            }
        }
        log.extend_from_slice(&self.io.word_bytes(REC_HEADER + capacity));
        if (log.len() as u32) < capacity {
            // The record behind the area must not take old bytes for our tailer (25 H14).
            self.write_both(area + REC_HEADER + capacity - TAILER, &[0; TAILER as usize])?;
        }
        self.write_both(area + REC_HEADER, &log)?;
        Ok(area)
    }

    /// Finds or makes the recovery area (15.5 step 5) and makes sure that the file physically has
    /// all bytes the commit will write. Returns offset and capacity.
    fn place_area(&mut self) -> Result<(u32, u32)> {
        let area = self.io.word(OFF_RECOVERY_START)?;
        let existing = if area == 0 { None } else { self.usable_area(area)? };
        let mut needed = self.log_size();
        if let Some(capacity) = existing {
            if u64::from(capacity) >= needed {
                let size = self.io.size();
                self.io.extend_under_overlay(size)?;
                return Ok((area, capacity));
            }
            if area + REC_HEADER + capacity == self.io.size() {
                return self.extend_area(area, needed);
            }
            self.free_record(area, capacity)?;
        }
        self.reclaim_end()?;
        let end = self.part_from_area()?;
        needed = self.log_size();
        self.extend_area(end, needed)
    }

    /// Where a new area may begin. Until the header points to it, what begins at the old end of the
    /// file must look unused, which an area with its magic does not: so a small record, which the
    /// commit will write, comes between.
    fn part_from_area(&mut self) -> Result<u32> {
        let old_size = self.io.overlay.as_ref().map_or(0, |o| o.old_size);
        let least = if self.io.size() > old_size { 0 } else { REC_HEADER + TAILER };
        let from = self.end_of_records()?;
        let size = self.io.size().checked_next_multiple_of(ALIGN);
        let end = size.and_then(|size| size.checked_add(least));
        let (Some(from), Some(end)) = (from, end) else {
            return Err(self.no_space(u64::from(least)));
        };
        self.io.grow_overlay(end);
        if end - from >= REC_HEADER + TAILER {
            self.free_record(from, end - from - REC_HEADER)?;
        }
        Ok(end)
    }

    fn extend_area(&mut self, area: u32, needed: u64) -> Result<(u32, u32)> {
        let needed = u32::try_from(needed).map_err(|_| self.no_space(needed))?;
        let page = crate::mutex::page_size() as u32;
        let added = crate::growth::growth(self.io.size(), needed.saturating_add(REC_HEADER), page);
        let end = area.checked_add(added).filter(|_| added >= needed);
        let end = end.ok_or_else(|| self.no_space(needed.into()))?.max(self.io.size());
        let capacity = (end - area - REC_HEADER) & !(ALIGN - 1);
        self.io.extend_under_overlay(area + REC_HEADER + capacity)?;
        if self.io.word(OFF_RECOVERY_START)? == area {
            // No area reaches beyond what the disk has.
            self.sync_unless_told_not_to()?;
        }
        Ok((area, capacity))
    }

    /// Capacity of the existing area, if it is one.
    pub(crate) fn usable_area(&mut self, area: u32) -> Result<Option<u32>> {
        if area < data_start(self.hash_size) || area % ALIGN != 0 {
            return Ok(None);
        }
        let rec = self.io.rec(area)?;
        let end = u64::from(area) + u64::from(REC_HEADER) + u64::from(rec.rec_len);
        let sound = matches!(rec.magic, MAGIC_RECOVERY | MAGIC_RECOVERY_IDLE)
            && rec.next == 0
            && rec.rec_len % ALIGN == 0
            && rec.rec_len >= TAILER
            && end <= u64::from(self.io.size());
        Ok(sound.then_some(rec.rec_len))
    }

    /// Upper bound of the undo log's size: one block may be split in two by the area.
    fn log_size(&self) -> u64 {
        let blocks = self.undo_ranges((0, 0));
        4 + 16 + blocks.iter().map(|(_, len)| 8 + u64::from(*len)).sum::<u64>()
    }

    /// Commits; when this returns the content is durable (unless TDB_NOSYNC). On failure the
    /// transaction is cancelled.
    pub fn transaction_commit(&mut self) -> Result<()> {
        self.inherited()?;
        let txn = self.txn.as_mut().ok_or(Error::Usage("no transaction"))?;
        if txn.nesting > 0 {
            txn.nesting -= 1;
            return Ok(());
        }
        if txn.prepared.is_none() {
            self.transaction_prepare()?;
        }
        match self.txn.as_ref().and_then(|t| t.prepared) {
            Some(Prepared::Logged { area }) => match self.write_changes(area) {
                Ok(()) => {
                    let grown = self.io.overlay.as_ref().is_some_and(|o| o.grown);
                    self.finish()?;
                    if grown {
                        self.repack_if_fragmented();
                    }
                    Ok(())
                }
                Err(error) => {
                    self.roll_back()?;
                    Err(error)
                }
            },
            _ => self.finish(),
        }
    }

    fn write_changes(&mut self, area: u32) -> Result<()> {
        self.size_is_sound()?;
        let size = self.io.size();
        if let Some(overlay) = self.io.overlay.take() {
            let mut done = Ok(());
            for number in overlay.changed() {
                let from = number * BLOCK;
                let count = size.saturating_sub(from).min(BLOCK) as usize;
                let block = overlay.block(number).unwrap_or_default();
                done = done.and_then(|()| self.io.write_through(from, &block[..count]));
            }
            self.io.overlay = Some(overlay);
            done?;
        }
        self.sync_unless_told_not_to()?;
        if let Err(error) = self.io.file.set_modified(SystemTime::now()) {
            log::warn!("{}: modification time: {error}", self.path().display());
        }
        self.io.write_through(area + 20, &self.io.word_bytes(MAGIC_RECOVERY_IDLE))?;
        self.sync_unless_told_not_to()
    }

    /// Ends the transaction: buffer and locks.
    fn finish(&mut self) -> Result<()> {
        self.changes += 1;
        self.io.end_overlay();
        let Some(txn) = self.txn.take() else {
            return Ok(());
        };
        let refreshed = self.io.refresh();
        let released = self.drop_transaction_locks(txn.external);
        if txn.open_locked {
            self.locks.unlock_range(LOCK_OPEN, 1)?;
        }
        refreshed?;
        released
    }

    /// The changes could not be written: put the old bytes back.
    fn roll_back(&mut self) -> Result<()> {
        self.io.end_overlay();
        let recovered = self.recover();
        self.finish()?;
        recovered
    }

    /// Drops every change since the start. In an inner level it dooms the whole transaction.
    pub fn transaction_cancel(&mut self) -> Result<()> {
        self.inherited()?;
        let txn = self.txn.as_mut().ok_or(Error::Usage("no transaction"))?;
        if txn.nesting > 0 {
            txn.nesting -= 1;
            txn.failed = true;
            return Ok(());
        }
        self.cancel_outermost()
    }

    pub(crate) fn cancel_outermost(&mut self) -> Result<()> {
        let prepared = self.txn.as_ref().and_then(|t| t.prepared);
        self.io.end_overlay();
        let done = match prepared {
            Some(Prepared::Logged { area }) => self.disarm_undo_log(area),
            _ => Ok(()),
        };
        self.finish()?;
        done
    }

    /// Ends a prepared transaction. Nothing was changed, but the file may be longer: recovery frees
    /// what was added.
    fn disarm_undo_log(&mut self, area: u32) -> Result<()> {
        self.io.refresh()?;
        if self.io.word(OFF_RECOVERY_START)? == area {
            return self.recover();
        }
        // Preparing failed half-way: nothing refers to the log.
        self.io.write_through(area + 20, &self.io.word_bytes(MAGIC_RECOVERY_IDLE))?;
        self.sync_unless_told_not_to()
    }
}

#[cfg(test)]
mod tests {
    use crate::crash_tests::trace::{self, Traced};
    use crate::layout::*;
    use crate::*;

    /// The steps of a commit that finds its recovery area: what is written between the waits.
    fn steps(tdb_flags: u32) -> Vec<Vec<(u32, Vec<u8>)>> {
        let dir = tempfile::tempdir().unwrap();
        let options = OpenOptions { create: true, tdb_flags, ..OpenOptions::default() };
        let mut tdb = Tdb::open(dir.path().join("t.tdb"), &options).unwrap();
        let mut commit = |value: &[u8]| {
            tdb.transaction_start().unwrap();
            tdb.store(b"key", &[value], StoreMode::Replace).unwrap();
            tdb.transaction_commit().unwrap();
        };
        commit(b"value");
        trace::start();
        commit(b"other");
        let mut steps = vec![Vec::new()];
        for step in trace::stop() {
            match step {
                Traced::Write(offset, data) => steps.last_mut().unwrap().push((offset, data)),
                Traced::Sync => steps.push(Vec::new()),
                Traced::Extend(_) => {}
            }
        }
        steps
    }

    #[test]
    fn a_commit_waits_four_times() {
        let steps = steps(0);
        assert_eq!(steps.len(), 5, "{steps:?}");
        let [log, valid, changes, idle, rest] = &steps[..] else { unreachable!() };
        let area = log.first().unwrap().0;
        let magic = |value: u32| vec![(area + 20, value.to_ne_bytes().to_vec())];
        assert!(log.iter().all(|(at, _)| *at >= area), "only the area");
        assert_eq!(valid, &magic(MAGIC_RECOVERY));
        assert!(changes.iter().all(|(at, _)| *at < area) && !changes.is_empty());
        assert_eq!(idle, &magic(MAGIC_RECOVERY_IDLE));
        assert!(rest.is_empty());
    }

    #[test]
    fn or_never() {
        let waiting: Vec<_> = steps(0).concat();
        assert_eq!(steps(TDB_NOSYNC), [waiting], "the same writes in the same order");
    }
}
