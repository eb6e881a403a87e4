// SPDX-License-Identifier: GPL-3.0-or-later
//! Removing all records at once (spec/tdb.md 18.4).

use crate::layout::*;
use crate::storage::Rec;
use crate::{LockMode, Result, Tdb};

impl Tdb {
    /// Removes all records. Allowed inside a transaction and under a freeze.
    pub fn wipe_all(&mut self) -> Result<()> {
        self.writable()?;
        if self.held.all.is_some() || self.is_nolock() {
            return self.wipe_locked();
        }
        self.lock_all(LockMode::Exclusive)?;
        let result = self.wipe_locked();
        let released = self.unlock_all();
        result?;
        released
    }

    fn wipe_locked(&mut self) -> Result<()> {
        if !self.covers(0, LockMode::Exclusive) {
            return Err(crate::Error::Lock("the whole database is locked shared"));
        }
        self.changes += 1;
        self.io.refresh()?;
        let start = data_start(self.hash_size);
        let end = self.io.size();
        let area = self.io.word(OFF_RECOVERY_START)?;
        let area = if area == 0 { None } else { Some((area, self.area_end(area, end)?)) };
        // Both heads and all chains, in one write.
        let heads = vec![0u8; (start - FREE_HEAD) as usize];
        self.io.write(FREE_HEAD, &heads)?;
        match area {
            Some((from, to)) => {
                self.free_gap(start, from)?;
                self.free_gap(to, end)?;
            }
            None => self.free_gap(start, end)?,
        }
        self.bump_seqnum()
    }

    fn area_end(&mut self, area: u32, end: u32) -> Result<u32> {
        let rec = self.io.rec(area)?;
        let to = u64::from(area) + u64::from(REC_HEADER) + u64::from(rec.rec_len);
        if area < data_start(self.hash_size) || area % ALIGN != 0 || to > u64::from(end) {
            return Err(self.io.corrupt(
                OFF_RECOVERY_START,
                "a recovery area inside the file",
                format!("offset {area} length {}", rec.rec_len),
            ));
        }
        Ok(to as u32)
    }

    /// Heads the free list with one record for `[from, to)`. No merging: the neighbours' tailers
    /// are stale.
    fn free_gap(&mut self, from: u32, to: u32) -> Result<()> {
        let gap = to.saturating_sub(from);
        if gap < REC_HEADER + TAILER {
            // Too small for a record: it must not look like the one it was part of (25 H16).
            return self.io.write(from, &[0; (REC_HEADER + TAILER) as usize][..gap as usize]);
        }
        let rec_len = (gap - REC_HEADER) & !(ALIGN - 1);
        let next = self.io.word(FREE_HEAD)?;
        self.io.put_rec(from, &Rec { next, rec_len, magic: MAGIC_FREE, ..Rec::default() })?;
        self.io.put_tailer(from, rec_len)?;
        self.io.put_word(FREE_HEAD, from)
    }
}
