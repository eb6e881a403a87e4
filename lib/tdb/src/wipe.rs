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
        let pointer = self.io.word(OFF_RECOVERY_START)?;
        let capacity = if pointer == 0 { None } else { self.usable_area(pointer)? };
        let area = capacity.map(|capacity| (pointer, pointer + REC_HEADER + capacity));
        // Space too small for a record would be left without one (25 H16).
        let fits = |gap: u32| gap == 0 || gap >= REC_HEADER + TAILER;
        let area = area.filter(|(from, to)| fits(from - start) && fits(end - to));
        if area.is_none() && pointer != 0 {
            // What is no recovery area, or stands in the way, goes with the rest.
            self.io.put_word(OFF_RECOVERY_START, 0)?;
        }
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

    /// Heads the free list with one record for `[from, to)`. No merging: the neighbours' tailers
    /// are stale.
    fn free_gap(&mut self, from: u32, to: u32) -> Result<()> {
        let gap = to.saturating_sub(from);
        if gap < REC_HEADER + TAILER {
            // The file itself is too small for a record.
            return self.io.write(from, &[0; (REC_HEADER + TAILER) as usize][..gap as usize]);
        }
        let rec_len = (gap - REC_HEADER) & !(ALIGN - 1);
        let next = self.io.word(FREE_HEAD)?;
        self.io.put_rec(from, &Rec { next, rec_len, magic: MAGIC_FREE, ..Rec::default() })?;
        self.io.put_tailer(from, rec_len)?;
        self.io.put_word(FREE_HEAD, from)
    }
}
