// SPDX-License-Identifier: GPL-3.0-or-later
//! The full check of a file (spec/tdb.md 18.1).
//!
//! One pass over the data area notes where records begin; one pass over all lists ticks them off.
//! Three bits for each possible record offset make this exact: a record is referenced once, from
//! the list it belongs to, and nothing else is referenced.
//!
//! Dead space (zeroes or padding where a record should begin, left by crashed transactions, 25 H1)
//! is accepted, and records inside it count only if something refers to them.

use crate::layout::*;
use crate::storage::Rec;
use crate::{LockMode, Result, Tdb};

/// What a full check saw in a sound file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Records in use.
    pub records: u64,
    /// Dead records.
    pub dead: u64,
    /// Free records.
    pub free: u64,
    /// Bytes that belong to no record (left by crashes; harmless).
    pub dead_space: u64,
}

/// One bit for each aligned offset of the data area.
struct Bits {
    base: u32,
    words: Vec<u64>,
}

impl Bits {
    fn new(base: u32, end: u32) -> Bits {
        let slots = (end.saturating_sub(base) / ALIGN) as usize;
        Bits { base, words: vec![0; slots / 64 + 1] }
    }

    fn locate(&self, offset: u32) -> Option<(usize, u64)> {
        let slot = offset.checked_sub(self.base)? / ALIGN;
        let word = slot as usize / 64;
        (word < self.words.len()).then_some((word, 1 << (slot % 64)))
    }

    fn get(&self, offset: u32) -> bool {
        self.locate(offset).is_some_and(|(word, bit)| self.words[word] & bit != 0)
    }

    fn set(&mut self, offset: u32) {
        if let Some((word, bit)) = self.locate(offset) {
            self.words[word] |= bit;
        }
    }

    /// First offset that is set in `self` and not in `other`.
    fn first_missing_from(&self, other: &Bits) -> Option<u32> {
        let (word, bits) = self
            .words
            .iter()
            .zip(&other.words)
            .map(|(mine, theirs)| mine & !theirs)
            .enumerate()
            .find(|(_, bits)| *bits != 0)?;
        Some(self.base + ALIGN * (word as u32 * 64 + bits.trailing_zeros()))
    }
}

/// What the scan of the data area found.
struct Scan {
    used: Bits,
    free: Bits,
    /// Records inside dead space: they need not be referenced.
    optional: Bits,
    referenced: Bits,
    recovery_start: u32,
    recovery_seen: bool,
    end: u32,
    report: CheckReport,
}

impl Tdb {
    /// Full check of the file. Locks the whole database shared unless it is locked already; a
    /// read-only handle looks without locks. An unsound file gives `Error::Corrupt` with offset
    /// and reason; nothing is modified.
    pub fn check(&mut self) -> Result<CheckReport> {
        if self.read_only || self.held.all.is_some() || self.is_nolock() {
            return self.check_locked();
        }
        self.lock_all(LockMode::Shared)?;
        let result = self.check_locked();
        let released = self.unlock_all();
        let report = result?;
        released?;
        Ok(report)
    }

    fn check_locked(&mut self) -> Result<CheckReport> {
        self.io.refresh()?;
        self.check_header()?;
        let base = data_start(self.hash_size);
        let end = self.io.size();
        let mut scan = Scan {
            used: Bits::new(base, end),
            free: Bits::new(base, end),
            optional: Bits::new(base, end),
            referenced: Bits::new(base, end),
            recovery_start: self.io.word(OFF_RECOVERY_START)?,
            recovery_seen: false,
            end,
            report: CheckReport::default(),
        };
        self.scan_records(&mut scan)?;
        if scan.recovery_start != 0 && !scan.recovery_seen {
            return Err(self.io.corrupt(
                OFF_RECOVERY_START,
                format!("a recovery area at {}", scan.recovery_start),
                "none there",
            ));
        }
        for chain in 0..self.hash_size {
            self.check_chain(&mut scan, chain)?;
        }
        self.check_free_list(&mut scan)?;
        self.check_all_referenced(&scan)?;
        Ok(scan.report)
    }

    fn check_header(&mut self) -> Result<()> {
        let mut bytes = [0u8; HEADER_SIZE as usize];
        self.io.read(0, &mut bytes)?;
        let header = crate::header::Header::parse(&bytes)
            .map_err(|e| self.io.corrupt(e.offset, e.expected, e.found))?
            .ok_or_else(|| self.io.corrupt(0, "the magic string", "something else"))?;
        if header.hash_size != self.hash_size {
            return Err(self.io.corrupt(
                OFF_HASH_SIZE,
                format!("{} chains as at open", self.hash_size),
                format!("{}", header.hash_size),
            ));
        }
        if header.hash_kind != self.hash_kind {
            return Err(self.io.corrupt(
                OFF_MAGIC1_HASH,
                format!("the {:?} hash as at open", self.hash_kind),
                format!("{:?}", header.hash_kind),
            ));
        }
        let area = self.io.word(OFF_RECOVERY_START)?;
        if area != 0 && area < data_start(self.hash_size) {
            return Err(self.io.corrupt(
                OFF_RECOVERY_START,
                "0 or an offset in the data area",
                format!("{area}"),
            ));
        }
        Ok(())
    }

    fn scan_records(&mut self, scan: &mut Scan) -> Result<()> {
        let mut offset = data_start(self.hash_size);
        let mut in_dead_space = false;
        while offset < scan.end {
            if scan.end - offset < REC_HEADER {
                // A tail too short for a record (25 H16).
                scan.report.dead_space += u64::from(scan.end - offset);
                return Ok(());
            }
            let rec = self.io.rec(offset)?;
            let step = match self.scan_one(scan, offset, &rec, in_dead_space)? {
                Some(len) => {
                    in_dead_space = false;
                    REC_HEADER + len
                }
                None => {
                    in_dead_space = true;
                    scan.report.dead_space += u64::from(ALIGN);
                    ALIGN
                }
            };
            offset = offset.saturating_add(step);
        }
        Ok(())
    }

    /// The record at `offset`: its length, or `None` for dead space.
    fn scan_one(
        &mut self,
        scan: &mut Scan,
        offset: u32,
        rec: &Rec,
        in_dead_space: bool,
    ) -> Result<Option<u32>> {
        if offset == scan.recovery_start && matches!(rec.magic, MAGIC_RECOVERY | 0 | PAD_WORD) {
            self.check_lengths(scan, offset, rec)?;
            scan.recovery_seen = true;
            return Ok(Some(rec.rec_len));
        }
        let known = matches!(rec.magic, MAGIC_USED | MAGIC_DEAD | MAGIC_FREE);
        if in_dead_space {
            if !known || self.check_record(scan, offset, rec).is_err() {
                return Ok(None);
            }
            scan.optional.set(offset);
        } else if known {
            self.check_record(scan, offset, rec)?;
        } else if rec.magic == MAGIC_RECOVERY {
            return Err(self.io.corrupt(
                offset,
                format!("the recovery area at {}", scan.recovery_start),
                "another recovery record",
            ));
        } else {
            let first = self.io.bytes(offset, 1)?.first().copied();
            if !matches!(rec.magic, 0 | PAD_WORD) && !matches!(first, Some(0 | 0x42)) {
                return Err(self.io.corrupt(
                    offset + 20,
                    "the magic of a record",
                    format!("{:#010x}", rec.magic),
                ));
            }
            return Ok(None);
        }
        match rec.magic {
            MAGIC_FREE => scan.free.set(offset),
            _ => scan.used.set(offset),
        }
        Ok(Some(rec.rec_len))
    }

    /// R1, R2 and R5.
    fn check_lengths(&mut self, scan: &Scan, offset: u32, rec: &Rec) -> Result<()> {
        let base = data_start(self.hash_size);
        let problem = if rec.rec_len % ALIGN != 0 {
            Some((4, "a length that is a multiple of 4", rec.rec_len))
        } else if rec.rec_len < TAILER {
            Some((4, "a length of at least 4", rec.rec_len))
        } else if u64::from(offset) + u64::from(REC_HEADER) + u64::from(rec.rec_len)
            > u64::from(scan.end)
        {
            Some((4, "a length inside the file", rec.rec_len))
        } else if rec.next % ALIGN != 0 {
            Some((0, "a next offset that is a multiple of 4", rec.next))
        } else if rec.next != 0
            && (rec.next < base
                || u64::from(rec.next) + u64::from(REC_HEADER) > u64::from(scan.end))
        {
            Some((0, "0 or a next offset inside the data area", rec.next))
        } else {
            None
        };
        match problem {
            Some((at, expected, found)) => {
                Err(self.io.corrupt(offset + at, expected, format!("{found}")))
            }
            None => Ok(()),
        }
    }

    /// R1 to R6 of a used, dead or free record.
    fn check_record(&mut self, scan: &Scan, offset: u32, rec: &Rec) -> Result<()> {
        self.check_lengths(scan, offset, rec)?;
        let at = offset + REC_HEADER + rec.rec_len - TAILER;
        let tailer = self.io.word(at)?;
        if tailer != REC_HEADER + rec.rec_len {
            return Err(self.io.corrupt(
                at,
                format!("tailer {}", REC_HEADER + rec.rec_len),
                format!("{tailer}"),
            ));
        }
        if rec.magic == MAGIC_FREE {
            return Ok(());
        }
        let payload = u64::from(rec.key_len) + u64::from(rec.data_len) + u64::from(TAILER);
        if payload > u64::from(rec.rec_len) {
            return Err(self.io.corrupt(
                offset + 8,
                format!("key and data inside {} bytes", rec.rec_len),
                format!("{} and {}", rec.key_len, rec.data_len),
            ));
        }
        let kind = self.hash_kind;
        let hash = kind.hash(self.io.bytes(offset + REC_HEADER, rec.key_len)?);
        if hash != rec.hash {
            return Err(self.io.corrupt(
                offset + 16,
                format!("hash {hash:#010x} of the key"),
                format!("{:#010x}", rec.hash),
            ));
        }
        Ok(())
    }

    fn check_chain(&mut self, scan: &mut Scan, chain: u32) -> Result<()> {
        let mut pointer = chain_head(chain);
        let mut offset = self.io.word(pointer)?;
        while offset != 0 {
            if offset % ALIGN != 0 || !scan.used.get(offset) {
                return Err(self.io.corrupt(
                    pointer,
                    format!("a record of chain {chain}"),
                    format!("offset {offset}, where there is none"),
                ));
            }
            self.check_single_reference(scan, pointer, offset)?;
            let rec = self.io.rec(offset)?;
            if rec.hash % self.hash_size != chain {
                return Err(self.io.corrupt(
                    pointer,
                    format!("a record of chain {chain}"),
                    format!("one of chain {} at {offset}", rec.hash % self.hash_size),
                ));
            }
            match rec.magic {
                MAGIC_DEAD => scan.report.dead += 1,
                _ => scan.report.records += 1,
            }
            pointer = offset;
            offset = rec.next;
        }
        Ok(())
    }

    fn check_free_list(&mut self, scan: &mut Scan) -> Result<()> {
        let mut pointer = FREE_HEAD;
        let mut offset = self.io.word(pointer)?;
        while offset != 0 {
            if offset % ALIGN != 0 || !scan.free.get(offset) {
                return Err(self.io.corrupt(
                    pointer,
                    "a free record",
                    format!("offset {offset}, where there is none"),
                ));
            }
            self.check_single_reference(scan, pointer, offset)?;
            scan.report.free += 1;
            pointer = offset;
            offset = self.io.rec(offset)?.next;
        }
        Ok(())
    }

    fn check_single_reference(&mut self, scan: &mut Scan, from: u32, offset: u32) -> Result<()> {
        if scan.referenced.get(offset) {
            return Err(self.io.corrupt(
                from,
                "each record to be referenced once",
                format!("a second reference to {offset}"),
            ));
        }
        scan.referenced.set(offset);
        Ok(())
    }

    fn check_all_referenced(&mut self, scan: &Scan) -> Result<()> {
        let mut required = Bits { base: scan.used.base, words: scan.used.words.clone() };
        let kinds = scan.free.words.iter().zip(&scan.optional.words);
        for (word, (free, optional)) in required.words.iter_mut().zip(kinds) {
            *word = (*word | free) & !optional;
        }
        match required.first_missing_from(&scan.referenced) {
            Some(offset) => {
                Err(self.io.corrupt(offset, "a record that a list refers to", "no reference to it"))
            }
            None => Ok(()),
        }
    }
}
