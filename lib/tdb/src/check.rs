// SPDX-License-Identifier: GPL-3.0-or-later
//! The full check of a file (spec/tdb.md 18.1).
//!
//! First all lists are walked, which notes where records must be; then the data area is scanned
//! record by record, each of which must be one of those. A bit for each possible record offset
//! makes this exact: a record is referenced once, from the list it belongs to, and nothing else is.
//!
//! Dead space (zeroes or padding where a record should begin, left by crashed transactions, 25 H1)
//! is accepted up to the next record that something refers to.

use crate::layout::*;
use crate::storage::Rec;
use crate::{HashKind, Result, Tdb};

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

    /// First offset from `offset` on that is set.
    fn next_set(&self, offset: u32) -> Option<u32> {
        let slot = offset.saturating_sub(self.base).div_ceil(ALIGN);
        let (mut word, bit) = (slot as usize / 64, slot % 64);
        let mut bits = self.words.get(word)? & (u64::MAX << bit);
        while bits == 0 {
            word += 1;
            bits = *self.words.get(word)?;
        }
        Some(self.base + ALIGN * (word as u32 * 64 + bits.trailing_zeros()))
    }
}

/// The caller's judgement of a record.
type Accept<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// What is known of the file so far.
struct Scan {
    /// Offsets that a chain refers to.
    used: Bits,
    /// Offsets that the free list refers to.
    free: Bits,
    /// Number of both.
    references: u64,
    recovery_start: u32,
    end: u32,
    report: CheckReport,
}

impl Tdb {
    /// Full check of the file. Locks the whole database shared unless it is locked already; a
    /// read-only handle looks without locks. An unsound file gives `Error::Corrupt` with offset
    /// and reason; nothing is modified.
    pub fn check(&mut self) -> Result<CheckReport> {
        self.check_with(|_, _| true)
    }

    /// As `check`; `accept` also judges each record in use, in file order. A record that it does
    /// not accept makes the file unsound.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # let options = ctdb_tdb::OpenOptions { tdb_flags: ctdb_tdb::TDB_INTERNAL, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open("memory", &options)?;
    /// tdb.store(b"key", &[b"value"], ctdb_tdb::StoreMode::Insert)?;
    /// assert_eq!(tdb.check_with(|_key, value| value.len() == 5)?.records, 1);
    /// let error = tdb.check_with(|_key, value| value.is_empty()).unwrap_err();
    /// assert!(error.is_corruption());
    /// # Ok(())
    /// # }
    /// ```
    pub fn check_with(
        &mut self,
        mut accept: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<CheckReport> {
        self.with_all_shared(|tdb| tdb.check_locked(&mut accept))
    }

    fn check_locked(&mut self, accept: &mut Accept<'_>) -> Result<CheckReport> {
        self.check_header()?;
        let base = data_start(self.hash_size);
        let end = self.io.size();
        let mut scan = Scan {
            used: Bits::new(base, end),
            free: Bits::new(base, end),
            references: 0,
            recovery_start: self.io.word(OFF_RECOVERY_START)?,
            end,
            report: CheckReport::default(),
        };
        for chain in 0..self.hash_size {
            self.check_chain(&mut scan, chain)?;
        }
        self.check_free_list(&mut scan)?;
        self.scan_records(&mut scan, accept)?;
        Ok(scan.report)
    }

    fn check_header(&mut self) -> Result<()> {
        let mut bytes = [0u8; HEADER_SIZE as usize];
        self.io.read(0, &mut bytes)?;
        let custom = match self.hash_kind {
            HashKind::Custom(function) => Some(function),
            _ => None,
        };
        let header = crate::header::Header::parse(&bytes, custom)
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

    fn scan_records(&mut self, scan: &mut Scan, accept: &mut Accept<'_>) -> Result<()> {
        let mut offset = data_start(self.hash_size);
        let mut recovery_seen = false;
        let mut records = 0;
        while offset < scan.end {
            if scan.end - offset < REC_HEADER {
                // A tail too short for a record (25 H16).
                scan.report.dead_space += u64::from(scan.end - offset);
                break;
            }
            let rec = self.io.rec(offset)?;
            let is_area = offset == scan.recovery_start
                && matches!(rec.magic, MAGIC_RECOVERY | MAGIC_RECOVERY_IDLE | PAD_WORD);
            if is_area {
                self.check_lengths(scan, offset, &rec)?;
                recovery_seen = true;
            } else if matches!(rec.magic, MAGIC_USED | MAGIC_DEAD | MAGIC_FREE) {
                self.check_record(scan, offset, &rec)?;
                if rec.magic == MAGIC_USED {
                    self.ask(accept, offset, &rec)?;
                }
                records += 1;
            } else {
                let next = self.skip_dead_space(scan, offset, &rec)?;
                scan.report.dead_space += u64::from(next - offset);
                offset = next;
                continue;
            }
            offset += REC_HEADER + rec.rec_len;
        }
        if scan.recovery_start != 0 && !recovery_seen {
            return Err(self.io.corrupt(
                OFF_RECOVERY_START,
                format!("a recovery area at {}", scan.recovery_start),
                "none there",
            ));
        }
        // Each record met was referenced; so if the numbers agree, each reference met its record.
        if records != scan.references {
            return Err(self.io.corrupt(
                data_start(self.hash_size),
                format!("{} records, as many as the lists refer to", scan.references),
                format!("{records}: some lie inside others"),
            ));
        }
        Ok(())
    }

    /// End of the dead space that begins at `offset`: the next thing that something refers to.
    fn skip_dead_space(&mut self, scan: &Scan, offset: u32, rec: &Rec) -> Result<u32> {
        if rec.magic == MAGIC_RECOVERY {
            return Err(self.io.corrupt(
                offset,
                format!("the recovery area at {}", scan.recovery_start),
                "another recovery record",
            ));
        }
        let first = self.io.bytes(offset, 1)?.first().copied();
        if !matches!(rec.magic, 0 | PAD_WORD) && !matches!(first, Some(0 | 0x42)) {
            return Err(self.io.corrupt(
                offset + 20,
                "the magic of a record",
                format!("{:#010x}", rec.magic),
            ));
        }
        let area = Some(scan.recovery_start).filter(|area| *area > offset);
        let after = offset + ALIGN;
        let next = [scan.used.next_set(after), scan.free.next_set(after), area];
        Ok(next.into_iter().flatten().min().unwrap_or(scan.end).min(scan.end))
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
        let list = if rec.magic == MAGIC_FREE { &scan.free } else { &scan.used };
        if !list.get(offset) {
            return Err(self.io.corrupt(
                offset,
                "a record that a list refers to",
                "no reference to it",
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

    fn ask(&mut self, accept: &mut Accept<'_>, offset: u32, rec: &Rec) -> Result<()> {
        let body = self.io.bytes(offset + REC_HEADER, rec.key_len + rec.data_len)?;
        let (key, data) = body.split_at(rec.key_len as usize);
        if accept(key, data) {
            return Ok(());
        }
        Err(self.io.corrupt(offset, "a record that the caller accepts", "one that it rejected"))
    }

    fn check_chain(&mut self, scan: &mut Scan, chain: u32) -> Result<()> {
        let mut pointer = chain_head(chain);
        let mut offset = self.io.word(pointer)?;
        while offset != 0 {
            let rec = self.referenced(scan, pointer, offset)?;
            if !matches!(rec.magic, MAGIC_USED | MAGIC_DEAD) {
                return Err(self.io.corrupt(
                    offset + 20,
                    format!("the magic of a record of chain {chain}"),
                    format!("{:#010x}", rec.magic),
                ));
            }
            if rec.hash % self.hash_size != chain {
                return Err(self.io.corrupt(
                    pointer,
                    format!("a record of chain {chain}"),
                    format!("one of chain {} at {offset}", rec.hash % self.hash_size),
                ));
            }
            scan.used.set(offset);
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
            let rec = self.referenced(scan, pointer, offset)?;
            if rec.magic != MAGIC_FREE {
                return Err(self.io.corrupt(
                    offset + 20,
                    "the magic of a free record",
                    format!("{:#010x}", rec.magic),
                ));
            }
            scan.free.set(offset);
            scan.report.free += 1;
            pointer = offset;
            offset = rec.next;
        }
        Ok(())
    }

    /// The record that the word at `pointer` refers to, which nothing else may refer to.
    fn referenced(&mut self, scan: &mut Scan, pointer: u32, offset: u32) -> Result<Rec> {
        let inside = u64::from(offset) + u64::from(REC_HEADER) <= u64::from(scan.end);
        if offset % ALIGN != 0 || offset < data_start(self.hash_size) || !inside {
            return Err(self.io.corrupt(
                pointer,
                "0 or the offset of a record",
                format!("{offset}"),
            ));
        }
        if scan.used.get(offset) || scan.free.get(offset) {
            return Err(self.io.corrupt(
                pointer,
                "each record to be referenced once",
                format!("a second reference to {offset}"),
            ));
        }
        scan.references += 1;
        self.io.rec(offset)
    }
}
