// SPDX-License-Identifier: GPL-3.0-or-later
//! Space that belongs to no record (spec/tdb.md 25 H1 and H11).
//!
//! A crash between making the file longer and using the new space leaves an end without a record; an
//! interrupted commit may lose the old recovery area. All records stay readable. But the C
//! library's check accepts such space only as long as nothing comes behind it. So it is made a free
//! record before the file grows, and after each recovery.

use crate::freelist::CycleFinder;
use crate::layout::*;
use crate::storage::Rec;
use crate::{Result, Tdb};

/// Bytes compared at a time when looking for unused space.
const PIECE: u32 = 4096;

/// A range of bytes: its start, and the first byte behind it.
type Gap = (u32, u32);

/// The record that fits into a gap: its offset and length.
fn record_in((from, to): Gap) -> Option<(u32, u32)> {
    let from = from.checked_next_multiple_of(ALIGN)?;
    let len = to.checked_sub(from)?.checked_sub(REC_HEADER)? & !(ALIGN - 1);
    (len >= TAILER).then_some((from, len))
}

impl Tdb {
    /// Frees space without a record if the file ends in some. Needs the free list, or the whole
    /// database. Returns whether anything was freed.
    pub(crate) fn reclaim_end(&mut self) -> Result<bool> {
        if self.end_is_covered()? {
            return Ok(false);
        }
        let mut freed = false;
        for (offset, len) in self.gaps().into_iter().filter_map(record_in) {
            self.free_record(offset, len)?;
            freed = true;
        }
        Ok(freed)
    }

    /// Where a record may begin that is added to the file: at its end, or before that if bytes that
    /// are too few for a record belong to none.
    pub(crate) fn end_of_records(&mut self) -> Result<Option<u32>> {
        let size = self.io.size();
        let mut end = size;
        if !self.end_is_covered()? {
            if let Some(gap) = self.gaps().pop().filter(|gap| gap.1 == size) {
                if record_in(gap).is_none() {
                    end = gap.0;
                }
            }
        }
        Ok(end.checked_next_multiple_of(ALIGN))
    }

    /// Known space without a record, at least at the end of the file.
    fn gaps(&mut self) -> Vec<Gap> {
        let whole = self.held.all.is_some() || self.io.overlay.is_some() || self.is_nolock();
        // A corruption elsewhere is found by those whom it concerns.
        let gaps = if whole { self.unreferenced() } else { self.abandoned_end() };
        gaps.unwrap_or_default()
    }

    /// Makes records of all such space, for the free list, without linking them: returns the new
    /// head of the list. Only what belongs to no record is written.
    pub(crate) fn fill_gaps(&mut self) -> Result<Option<u32>> {
        // A file that is unsound elsewhere is no reason to leave a transaction half undone.
        let gaps = self.unreferenced().unwrap_or_default();
        let mut head = None;
        for (offset, rec_len) in gaps.into_iter().filter_map(record_in) {
            let next = match head {
                Some(head) => head,
                None => self.io.word(FREE_HEAD)?,
            };
            self.io.put_rec(offset, &Rec { next, rec_len, magic: MAGIC_FREE, ..Rec::default() })?;
            self.io.put_tailer(offset, rec_len)?;
            head = Some(offset);
        }
        Ok(head)
    }

    /// Whether a record ends where the file ends, or where the recovery area at its end begins.
    fn end_is_covered(&mut self) -> Result<bool> {
        let start = data_start(self.hash_size);
        let mut end = self.io.size();
        if let Some((area, area_end)) = self.area_extent()? {
            if area_end == end {
                end = area;
            }
        }
        if end <= start {
            return Ok(true);
        }
        if end % ALIGN != 0 {
            return Ok(false);
        }
        let total = self.io.word(end - TAILER)?;
        let sound = total % ALIGN == 0 && total >= REC_HEADER + TAILER && total <= end - start;
        Ok(sound && is_record(&self.io.rec(end - total)?, total))
    }

    /// Where the recovery area lies, if there is one.
    fn area_extent(&mut self) -> Result<Option<Gap>> {
        let area = self.io.word(OFF_RECOVERY_START)?;
        if area < data_start(self.hash_size) || area % ALIGN != 0 {
            return Ok(None);
        }
        let total = u64::from(REC_HEADER) + u64::from(self.io.rec(area)?.rec_len);
        let end = u32::try_from(u64::from(area) + total).ok();
        Ok(end.filter(|end| *end <= self.io.size()).map(|end| (area, end)))
    }

    /// All space that no list refers to. Needs the whole database.
    fn unreferenced(&mut self) -> Result<Vec<Gap>> {
        let mut used: Vec<Gap> = self.area_extent()?.into_iter().collect();
        for chain in 0..self.hash_size {
            self.extents(chain_head(chain), Tdb::chain_rec, &mut used)?;
        }
        self.extents(FREE_HEAD, Tdb::free_rec, &mut used)?;
        used.sort_unstable();
        let mut gaps = Vec::new();
        let mut at = data_start(self.hash_size);
        for (from, to) in used {
            if from < at {
                return Err(self.io.corrupt(from, "records side by side", "one inside another"));
            }
            if from > at {
                gaps.push((at, from));
            }
            at = to;
        }
        if at < self.io.size() {
            gaps.push((at, self.io.size()));
        }
        Ok(gaps)
    }

    /// Where the records of a list lie.
    fn extents(
        &mut self,
        head: u32,
        read: impl Fn(&mut Tdb, u32) -> Result<Rec>,
        extents: &mut Vec<Gap>,
    ) -> Result<()> {
        let mut cycle = CycleFinder::new();
        let mut offset = self.io.word(head)?;
        while offset != 0 {
            let rec = read(self, offset)?;
            if cycle.meets(offset) {
                return Err(self.chain_cycle(offset));
            }
            extents.push((offset, offset + REC_HEADER + rec.rec_len));
            offset = rec.next;
        }
        Ok(())
    }

    /// Space at the end of the file that was added and never used, if that is certain without a
    /// look at the chains, which others may be changing: where records end, while the free list is
    /// locked nobody changes.
    fn abandoned_end(&mut self) -> Result<Vec<Gap>> {
        let size = self.io.size();
        let area = self.area_extent()?;
        let mut at = data_start(self.hash_size);
        while at < size {
            if let Some((_, end)) = area.filter(|(from, _)| *from == at) {
                at = end;
                continue;
            }
            let Some(total) = self.record_at(at)? else {
                break;
            };
            at += total;
        }
        let stop =
            area.map_or(size, |(from, end)| if end == size && from > at { from } else { size });
        let used = self.first_used_byte(at, stop)?;
        let too_short = stop == size && record_in((at, stop)).is_none();
        let abandoned =
            too_short || used == stop || (stop == size && self.is_unused_area(used, at)?);
        Ok(if abandoned && at < stop { vec![(at, stop)] } else { Vec::new() })
    }

    /// Length of the record at `offset`, with header, if there is one.
    fn record_at(&mut self, offset: u32) -> Result<Option<u32>> {
        let size = self.io.size();
        if size - offset < REC_HEADER + TAILER {
            return Ok(None);
        }
        let rec = self.io.rec(offset)?;
        let Some(total) = rec.rec_len.checked_add(REC_HEADER).filter(|t| *t <= size - offset)
        else {
            return Ok(None);
        };
        let sound = total % ALIGN == 0 && total >= REC_HEADER + TAILER && is_record(&rec, total);
        Ok((sound && self.io.word(offset + total - TAILER)? == total).then_some(total))
    }

    /// First byte of the range that is not as the file was made longer with.
    fn first_used_byte(&mut self, from: u32, to: u32) -> Result<u32> {
        let mut at = from;
        while at < to {
            let len = (to - at).min(PIECE);
            let bytes = self.io.bytes(at, len)?;
            if let Some(used) = bytes.iter().position(|byte| !matches!(byte, 0 | 0x42)) {
                return Ok(at + used as u32);
            }
            at += len;
        }
        Ok(to)
    }

    /// Whether the used byte belongs to the header of a recovery area that reaches to the end of the
    /// file and that nothing refers to: its commit got no further. Records ended at `end` then.
    fn is_unused_area(&mut self, used: u32, end: u32) -> Result<bool> {
        // The first word of an area is zero, and so may be bytes of its length.
        let area = (used & !(ALIGN - 1)).saturating_sub(ALIGN);
        if area < end || self.io.size() - area < REC_HEADER {
            return Ok(false);
        }
        let rec = self.io.rec(area)?;
        let reaches = u64::from(area) + u64::from(REC_HEADER) + u64::from(rec.rec_len);
        Ok(rec.next == 0
            && rec.hash == 0
            && matches!(rec.magic, MAGIC_RECOVERY | MAGIC_RECOVERY_IDLE)
            && reaches == u64::from(self.io.size() & !(ALIGN - 1))
            && (end..=area).contains(&rec.key_len))
    }
}

fn is_record(rec: &Rec, total: u32) -> bool {
    matches!(rec.magic, MAGIC_USED | MAGIC_DEAD | MAGIC_FREE)
        && rec.rec_len.checked_add(REC_HEADER) == Some(total)
}
