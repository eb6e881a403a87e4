// SPDX-License-Identifier: GPL-3.0-or-later
//! Free space (spec/tdb.md 13). Everything here needs the free list lock, or the whole database.

use crate::growth::growth;
use crate::layout::*;
use crate::storage::Rec;
use crate::{Error, Result, Tdb};

/// A free record and the word that points to it.
struct Candidate {
    pointer: u32,
    offset: u32,
    rec_len: u32,
}

/// Room taken from the free list: in-use magic, tailer written, in no chain yet.
pub(crate) struct Room {
    pub offset: u32,
    pub rec_len: u32,
}

/// Finds cycles in a linked list without reading anything twice (Brent).
pub(crate) struct CycleFinder {
    mark: u32,
    steps: u32,
    limit: u32,
}

impl CycleFinder {
    pub fn new() -> CycleFinder {
        CycleFinder { mark: 0, steps: 0, limit: 2 }
    }

    /// `true` if `offset` was met before.
    #[inline(always)]
    pub fn meets(&mut self, offset: u32) -> bool {
        if offset == self.mark {
            return true;
        }
        self.steps += 1;
        if self.steps == self.limit {
            self.mark = offset;
            self.steps = 0;
            self.limit = self.limit.saturating_mul(2);
        }
        false
    }
}

/// Length to ask for, for `payload` bytes of key and data: a quarter more, so that values can grow
/// in place. `None` if it does not fit in a file.
fn wanted(payload: u32) -> Option<u32> {
    let bytes = u64::from(payload) + u64::from(payload) / 4 + u64::from(TAILER);
    u32::try_from(bytes.next_multiple_of(u64::from(ALIGN))).ok()
}

impl Tdb {
    /// The free record directly before `offset`, found by its tailer (13.1).
    pub(crate) fn free_left_neighbour(&mut self, offset: u32) -> Result<Option<(u32, Rec)>> {
        let start = data_start(self.hash_size);
        if offset - TAILER <= start {
            return Ok(None);
        }
        let total = self.io.word(offset - TAILER)?;
        let Some(left) = self.free_record_before(offset, total)? else {
            return Ok(None);
        };
        Ok(Some((left, self.io.rec(left)?)))
    }

    /// The free record of `total` bytes that ends at `end`.
    ///
    /// Behind a recovery area any bytes can look like a tailer: believe only a record that really
    /// ends here.
    fn free_record_before(&mut self, end: u32, total: u32) -> Result<Option<u32>> {
        let start = data_start(self.hash_size);
        if total % ALIGN != 0 || total < REC_HEADER + TAILER || total > end - start {
            return Ok(None);
        }
        let rec = self.io.rec(end - total)?;
        let sound = rec.magic == MAGIC_FREE && rec.rec_len == total - REC_HEADER;
        Ok(sound.then_some(end - total))
    }

    /// Makes the free record `left` swallow the `total` bytes behind it.
    pub(crate) fn swallow(&mut self, left: u32, left_rec: &Rec, total: u32) -> Result<u32> {
        let rec_len = left_rec.rec_len.checked_add(total).ok_or_else(|| {
            self.io.corrupt(left, "a record inside the file", "a length that overflows")
        })?;
        self.io.put_tailer(left, rec_len)?;
        self.io.put_word(left + 4, rec_len)?;
        Ok(rec_len)
    }

    /// Frees a record (13.2): merges it into a free left neighbour, else heads the free list.
    pub(crate) fn free_record(&mut self, offset: u32, rec_len: u32) -> Result<()> {
        self.io.ensure(offset, REC_HEADER)?;
        self.io.ensure(offset + REC_HEADER, rec_len)?;
        self.io.put_tailer(offset, rec_len)?;
        if let Some((left, left_rec)) = self.free_left_neighbour(offset)? {
            self.swallow(left, &left_rec, REC_HEADER + rec_len)?;
            return Ok(());
        }
        let next = self.io.word(FREE_HEAD)?;
        let rec = Rec { next, rec_len, magic: MAGIC_FREE, ..Rec::default() };
        self.io.put_rec(offset, &rec)?;
        self.io.put_word(FREE_HEAD, offset)
    }

    /// Reads an entry of the free list and judges it. An in-use magic is a writer's death between
    /// two steps.
    pub(crate) fn free_rec(&mut self, offset: u32) -> Result<Rec> {
        if offset % ALIGN != 0 || offset < data_start(self.hash_size) {
            return Err(self.io.corrupt(
                offset,
                "a record offset in the free list",
                format!("{offset}"),
            ));
        }
        let rec = self.io.rec(offset)?;
        if rec.magic != MAGIC_FREE && rec.magic != MAGIC_USED {
            return Err(self.io.corrupt(
                offset + 20,
                format!("free magic {MAGIC_FREE:#010x}"),
                format!("{:#010x}", rec.magic),
            ));
        }
        if rec.rec_len < TAILER || rec.rec_len % ALIGN != 0 {
            return Err(self.io.corrupt(
                offset + 4,
                "a multiple of 4 as length",
                format!("{}", rec.rec_len),
            ));
        }
        self.io.ensure(offset + REC_HEADER, rec.rec_len)?;
        Ok(rec)
    }

    /// Reads an entry of the free list, with its magic set right.
    pub(crate) fn free_entry(&mut self, offset: u32) -> Result<Rec> {
        let mut rec = self.free_rec(offset)?;
        if rec.magic == MAGIC_USED {
            log::warn!("free list entry at {offset} has the in-use magic");
            rec.magic = MAGIC_FREE;
            self.io.put_word(offset + 20, MAGIC_FREE)?;
        }
        Ok(rec)
    }

    /// The tailer of a free record is not its own: a process died while it split or merged free
    /// records. Merging changes the length of the left one, the common tailer, and the list, in an
    /// order that is up to the process. What must not happen is that a record is given out that
    /// overlaps another entry of the list.
    #[cold]
    fn finish_interrupted(&mut self, free: &Candidate, tailer: u32) -> Result<()> {
        let offset = free.offset;
        log::warn!("free list entry at {offset} was left by a process that died");
        let end = offset + REC_HEADER + free.rec_len;
        let mut rec_len = free.rec_len;
        if let Some(other) = self.free_record_before(end, tailer)? {
            // Either lies in a free record that swallowed it and is left to that, or has grown over
            // one that may still be in the list, and gives it back.
            let room = other.checked_sub(offset + REC_HEADER).filter(|len| *len >= TAILER);
            let Some(room) = room else {
                let next = self.io.word(offset)?;
                return self.io.put_word(free.pointer, next);
            };
            rec_len = room;
            self.io.put_word(offset + 4, rec_len)?;
        }
        self.io.put_tailer(offset, rec_len)
    }

    /// Takes room for `payload` bytes of key and data (13.3). Grows the file if need be.
    pub(crate) fn allocate(&mut self, payload: u32) -> Result<Room> {
        let want = wanted(payload).ok_or_else(|| self.no_space(u64::from(payload)))?;
        let mut reclaimed = false;
        let mut expanded = false;
        loop {
            match self.find_free(want)? {
                Search::Found(free) => {
                    let at = free.offset + REC_HEADER + free.rec_len - TAILER;
                    let tailer = self.io.word(at)?;
                    if tailer == REC_HEADER + free.rec_len {
                        return self.take(free, want);
                    }
                    self.finish_interrupted(&free, tailer)?;
                }
                Search::Again => continue,
                // A second fruitless walk after an expansion means that what we added is not
                // there: somebody writes without locks.
                Search::Nothing if expanded => {
                    return Err(self.io.corrupt(
                        FREE_HEAD,
                        "the space just added",
                        "a free list without it",
                    ))
                }
                // Space that a crash left without a record comes before new space.
                Search::Nothing if !reclaimed => {
                    reclaimed = true;
                    self.reclaim_end()?;
                }
                Search::Nothing => {
                    let need =
                        want.checked_add(REC_HEADER).ok_or_else(|| self.no_space(want.into()))?;
                    self.expand(need)?;
                    expanded = true;
                }
            }
        }
    }

    fn find_free(&mut self, want: u32) -> Result<Search> {
        let mut best: Option<Candidate> = None;
        let mut merged_enough = false;
        let mut tolerance = 1.0f64;
        let mut cycle = CycleFinder::new();
        let mut pointer = FREE_HEAD;
        let mut offset = self.io.word(pointer)?;
        while offset != 0 {
            if cycle.meets(offset) {
                return Err(self.io.corrupt(offset, "an acyclic free list", "a cycle"));
            }
            let rec = self.free_entry(offset)?;
            if let Some((left, left_rec)) = self.free_left_neighbour(offset)? {
                // First out of the list: who dies in between loses it, but nobody gets it twice.
                self.io.put_word(pointer, rec.next)?;
                let rec_len = self.swallow(left, &left_rec, REC_HEADER + rec.rec_len)?;
                merged_enough |= rec_len >= want;
                if let Some(found) = best.as_mut().filter(|b| b.offset == left) {
                    found.rec_len = rec_len;
                }
                cycle = CycleFinder::new();
                offset = rec.next;
                continue;
            }
            if rec.rec_len >= want && best.as_ref().is_none_or(|b| rec.rec_len < b.rec_len) {
                best = Some(Candidate { pointer, offset, rec_len: rec.rec_len });
            }
            if best.as_ref().is_some_and(|b| f64::from(b.rec_len) < f64::from(want) * tolerance) {
                break;
            }
            tolerance *= 1.05;
            pointer = offset;
            offset = rec.next;
        }
        Ok(match best {
            Some(candidate) => Search::Found(candidate),
            None if merged_enough => Search::Again,
            None => Search::Nothing,
        })
    }

    /// Takes `want` bytes of a free record (13.4): the whole of it, or its end.
    fn take(&mut self, free: Candidate, want: u32) -> Result<Room> {
        if u64::from(free.rec_len) < u64::from(want) + u64::from(SPLIT_THRESHOLD) {
            let next = self.io.word(free.offset)?;
            self.io.put_word(free.pointer, next)?;
            self.io.put_word(free.offset + 20, MAGIC_USED)?;
            return Ok(Room { offset: free.offset, rec_len: free.rec_len });
        }
        let rest = free.rec_len - want - REC_HEADER;
        let offset = free.offset + REC_HEADER + rest;
        self.io.put_rec(offset, &Rec { rec_len: want, magic: MAGIC_USED, ..Rec::default() })?;
        self.io.put_tailer(offset, want)?;
        self.io.put_tailer(free.offset, rest)?;
        self.io.put_word(free.offset + 4, rest)?;
        Ok(Room { offset, rec_len: want })
    }

    /// Adds at least `need` bytes to the end of the file as a free record (11.3).
    pub(crate) fn expand(&mut self, need: u32) -> Result<()> {
        self.io.refresh()?;
        // A file may have been cut anywhere.
        let old = self.io.size().checked_next_multiple_of(ALIGN);
        let (Some(old), Some(from)) = (old, self.end_of_records()?) else {
            return Err(self.no_space(need.into()));
        };
        let page = crate::mutex::page_size() as u32;
        let mut added = growth(old, need, page);
        if added < need || old.checked_add(added).is_none() {
            return Err(self.no_space(need.into()));
        }
        if self.io.overlay.is_some() {
            self.io.grow_overlay(old + added);
        } else if let Err(error) = self.io.extend_file(old, added) {
            // Growing generously is for speed; on a nearly full disk the bare need may still fit.
            let bare = need.next_multiple_of(ALIGN);
            if !matches!(error, Error::NoSpace { .. }) || bare >= added {
                return Err(error);
            }
            added = bare;
            self.io.extend_file(old, added)?;
        }
        self.forget_stale_neighbour(from)?;
        // A jump to 4 GiB - 1 leaves an end that is no multiple of 4; the record stops before it.
        let rec_len = (old - from + added - REC_HEADER) & !(ALIGN - 1);
        self.free_record(from, rec_len)
    }

    /// What a crash left at the end of the file can look like a free record. What is merged into one
    /// that is not in the free list is lost.
    fn forget_stale_neighbour(&mut self, end: u32) -> Result<()> {
        let Some((left, _)) = self.free_left_neighbour(end)? else {
            return Ok(());
        };
        let mut cycle = CycleFinder::new();
        let mut offset = self.io.word(FREE_HEAD)?;
        while offset != 0 && offset != left && !cycle.meets(offset) {
            offset = self.io.word(offset)?;
        }
        if offset == left {
            return Ok(());
        }
        self.io.put_word(end - TAILER, 0)
    }

    #[cold]
    pub(crate) fn no_space(&self, needed: u64) -> Error {
        Error::NoSpace {
            path: self.io.path.clone(),
            needed,
            source: std::io::Error::from_raw_os_error(libc::ENOSPC),
        }
    }
}

enum Search {
    Found(Candidate),
    Again,
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanted_lengths() {
        assert_eq!(wanted(0), Some(4));
        assert_eq!(wanted(10), Some(16));
        assert_eq!(wanted(100), Some(132));
        assert_eq!(wanted(u32::MAX), None);
    }

    #[test]
    fn cycles_are_met() {
        let next = |n: u32| if n == 9 { 4 } else { n + 1 };
        let mut cycle = CycleFinder::new();
        let mut at = 1;
        let mut steps = 0;
        while !cycle.meets(at) {
            at = next(at);
            steps += 1;
            assert!(steps < 100);
        }
    }
}
