// SPDX-License-Identifier: GPL-3.0-or-later
//! Getting records out of a damaged file (spec/tdb.md 18.2).
//!
//! Every place is looked at that could be the header of a record in use, whatever the lists say.
//! What the chains lead to is believed; of a key that no chain leads to, all copies are handed out
//! that do not lie in free space.

use crate::freelist::CycleFinder;
use crate::layout::*;
use crate::storage::Rec;
use crate::{Result, Tdb};

/// Key bytes that are hashed at most, in lengths of the file: candidates may overlap, and a
/// malicious file is all candidates.
const HASHED_FILES_MAX: u64 = 16;
/// And as many in any case.
const HASHED_BYTES_MIN: u64 = 64 << 20;

/// Something that looks like a record in use.
struct Candidate {
    offset: u32,
    key: Vec<u8>,
    data_len: u32,
    in_chain: bool,
    in_free_space: bool,
}

impl Tdb {
    /// Calls `visit` with key and value of each record that can be recognised, however damaged the
    /// file is; by length of the keys, then by their bytes. Returns how many. A key may come more
    /// than once. Locks the whole database shared unless it is locked already; a read-only handle
    /// looks without locks.
    pub fn rescue(&mut self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<u64> {
        self.with_all_shared(|tdb| tdb.rescue_locked(&mut visit))
    }

    fn rescue_locked(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        let mut found = self.candidates()?;
        self.mark_chained(&mut found);
        self.mark_free(&mut found);
        found.sort_by(|a, b| (a.key.len(), &a.key).cmp(&(b.key.len(), &b.key)));
        let mut count = 0;
        for copies in found.chunk_by(|a, b| a.key == b.key) {
            let chained = copies.iter().any(|c| c.in_chain);
            for copy in copies {
                let wanted = if chained { copy.in_chain } else { !copy.in_free_space };
                if wanted {
                    let at = copy.offset + REC_HEADER + copy.key.len() as u32;
                    visit(&copy.key, self.io.bytes(at, copy.data_len)?);
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// All candidates, by offset.
    fn candidates(&mut self) -> Result<Vec<Candidate>> {
        let end = self.io.size();
        let mut budget = HASHED_BYTES_MIN.max(HASHED_FILES_MAX * u64::from(end));
        let mut found = Vec::new();
        let mut offset = data_start(self.hash_size);
        while u64::from(offset) + u64::from(REC_HEADER) <= u64::from(end) {
            if self.io.word(offset + 20)? == MAGIC_USED {
                let rec = self.io.rec(offset)?;
                if self.is_plausible(offset, &rec, end) && u64::from(rec.key_len) <= budget {
                    budget -= u64::from(rec.key_len);
                    let kind = self.hash_kind;
                    let key = self.io.bytes(offset + REC_HEADER, rec.key_len)?;
                    if kind.hash(key) == rec.hash {
                        let (key, data_len) = (key.to_vec(), rec.data_len);
                        let (in_chain, in_free_space) = (false, false);
                        found.push(Candidate { offset, key, data_len, in_chain, in_free_space });
                    }
                }
            }
            offset += ALIGN;
        }
        Ok(found)
    }

    fn is_plausible(&self, offset: u32, rec: &Rec, end: u32) -> bool {
        let payload = u64::from(rec.key_len) + u64::from(rec.data_len);
        let next_is_sound = rec.next == 0
            || (rec.next >= data_start(self.hash_size)
                && u64::from(rec.next) + u64::from(REC_HEADER) <= u64::from(end));
        payload <= u64::from(rec.rec_len)
            && rec.rec_len % ALIGN == 0
            && u64::from(offset) + u64::from(REC_HEADER) + payload <= u64::from(end)
            && next_is_sound
    }

    /// Follows every chain as far as it can be read.
    fn mark_chained(&mut self, found: &mut [Candidate]) {
        for chain in 0..self.hash_size {
            self.follow(chain_head(chain), |offset, _| {
                if let Ok(at) = found.binary_search_by_key(&offset, |c| c.offset) {
                    found[at].in_chain = true;
                }
                true
            });
        }
    }

    fn mark_free(&mut self, found: &mut [Candidate]) {
        let mut areas = Vec::new();
        let area_of = |offset: u32, rec: &Rec| {
            (offset, u64::from(offset) + u64::from(REC_HEADER) + u64::from(rec.rec_len))
        };
        self.follow(FREE_HEAD, |offset, rec| {
            let free = rec.magic == MAGIC_FREE;
            if free {
                areas.push(area_of(offset, rec));
            }
            free
        });
        let recovery = self.io.word(OFF_RECOVERY_START).unwrap_or(0);
        if let Some(rec) = (recovery != 0).then(|| self.io.rec(recovery).ok()).flatten() {
            areas.push(area_of(recovery, &rec));
        }
        for (from, to) in areas {
            let first = found.partition_point(|c| c.offset < from);
            let inside = found[first..].iter_mut().take_while(|c| u64::from(c.offset) < to);
            inside.for_each(|c| c.in_free_space = true);
        }
    }

    /// Walks a list as long as headers can be read, none is met twice, and `visit` says so.
    fn follow(&mut self, head: u32, mut visit: impl FnMut(u32, &Rec) -> bool) {
        let mut cycle = CycleFinder::new();
        let mut offset = self.io.word(head).unwrap_or(0);
        while offset != 0 && !cycle.meets(offset) {
            let Ok(rec) = self.io.rec(offset) else {
                return;
            };
            if !visit(offset, &rec) {
                return;
            }
            offset = rec.next;
        }
    }
}
