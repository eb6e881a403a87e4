// SPDX-License-Identifier: GPL-3.0-or-later
//! What a file consists of, as the tools print it (spec/tdb.md 18.3).

use std::fmt;

use crate::freelist::CycleFinder;
use crate::layout::*;
use crate::storage::Rec;
use crate::{HashKind, LockMode, Result, Tdb};

/// Smallest, average and largest of a series of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many numbers there are.
    pub count: u64,
    /// The smallest; 0 of none.
    pub smallest: u64,
    /// The largest; 0 of none.
    pub largest: u64,
    /// The sum.
    pub total: u64,
}

impl Tally {
    fn add(&mut self, number: u64) {
        self.smallest = if self.count == 0 { number } else { self.smallest.min(number) };
        self.largest = self.largest.max(number);
        self.count += 1;
        self.total += number;
    }

    /// The average, rounded down; 0 of none.
    pub fn average(&self) -> u64 {
        self.total.checked_div(self.count).unwrap_or(0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.smallest, self.average(), self.largest)
    }
}

/// What a file consists of. `Display` gives the text of the C library's `tdb_summary`, byte for
/// byte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Length of the file, with the mutex area.
    pub file_size: u64,
    /// File offset of logical offset 0.
    pub logical_start: u64,
    /// Logical size.
    pub logical_size: u32,
    /// Whether the file has the Jenkins hash.
    pub incompatible_hash: bool,
    /// Feature flags of the file.
    pub features: u32,
    /// Length of the keys of records in use.
    pub keys: Tally,
    /// Length of their values.
    pub data: Tally,
    /// Bytes of their bodies that hold neither.
    pub padding: Tally,
    /// Body lengths of dead records, of an idle recovery area and of dead space.
    pub dead: Tally,
    /// Body lengths of free records.
    pub free: Tally,
    /// Records a chain, dead ones included.
    pub chains: Tally,
    /// Runs of free records that could be one: length of each, less one.
    pub uncoalesced: Tally,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_no = |yes: bool| if yes { "yes" } else { "no" };
        let data_bytes = self.keys.total + self.data.total;
        writeln!(f, "Size of file/data: {}/{data_bytes}", self.file_size)?;
        writeln!(f, "Header offset/logical size: {}/{}", self.logical_start, self.logical_size)?;
        writeln!(f, "Number of records: {}", self.keys.count)?;
        writeln!(f, "Incompatible hash: {}", yes_no(self.incompatible_hash))?;
        let features = self.features;
        writeln!(f, "Active/supported feature flags: {features:#010x}/{FEATURE_MUTEX:#010x}")?;
        writeln!(f, "Robust mutexes locking: {}", yes_no(features & FEATURE_MUTEX != 0))?;
        writeln!(f, "Smallest/average/largest keys: {}", self.keys)?;
        writeln!(f, "Smallest/average/largest data: {}", self.data)?;
        writeln!(f, "Smallest/average/largest padding: {}", self.padding)?;
        writeln!(f, "Number of dead records: {}", self.dead.count)?;
        writeln!(f, "Smallest/average/largest dead records: {}", self.dead)?;
        writeln!(f, "Number of free records: {}", self.free.count)?;
        writeln!(f, "Smallest/average/largest free records: {}", self.free)?;
        writeln!(f, "Number of hash chains: {}", self.chains.count)?;
        writeln!(f, "Smallest/average/largest hash chains: {}", self.chains)?;
        writeln!(f, "Number of uncoalesced records: {}", self.uncoalesced.total)?;
        writeln!(f, "Smallest/average/largest uncoalesced runs: {}", self.uncoalesced)?;
        let records = self.keys.count + self.free.count + self.dead.count;
        let parts = [
            self.keys.total,
            self.data.total,
            self.padding.total,
            self.free.total,
            self.dead.total,
            records * u64::from(REC_HEADER + TAILER),
            self.chains.count * 4,
        ];
        let percents = parts.map(|bytes| {
            let percent = bytes as f64 * 100.0 / self.file_size.max(1) as f64;
            format!("{percent:.0}")
        });
        write!(f, "Percentage keys/data/padding/free/dead/rechdrs&tailers/hashes: ")?;
        writeln!(f, "{}", percents.join("/"))
    }
}

impl Tdb {
    /// What the file consists of. Locks the whole database shared unless it is locked already; a
    /// read-only handle looks without locks.
    ///
    /// ```
    /// # fn main() -> ctdb_tdb::Result<()> {
    /// # let options = ctdb_tdb::OpenOptions { tdb_flags: ctdb_tdb::TDB_INTERNAL, ..Default::default() };
    /// # let mut tdb = ctdb_tdb::Tdb::open("memory", &options)?;
    /// tdb.store(b"key", &[b"value"], ctdb_tdb::StoreMode::Insert)?;
    /// let summary = tdb.summary()?;
    /// assert_eq!(summary.keys.count, 1);
    /// assert!(summary.to_string().contains("Number of records: 1\n"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn summary(&mut self) -> Result<Summary> {
        self.with_all_shared(Tdb::summarise)
    }

    /// Runs `work` with the whole database locked shared, unless that is covered already or the
    /// handle takes no locks.
    pub(crate) fn with_all_shared<R>(
        &mut self,
        work: impl FnOnce(&mut Tdb) -> Result<R>,
    ) -> Result<R> {
        if self.read_only || self.held.all.is_some() || self.is_nolock() {
            self.io.refresh()?;
            if self.read_only {
                self.settled()?;
            }
            return work(self);
        }
        self.lock_all(LockMode::Shared)?;
        let result = self.io.refresh().and_then(|()| work(self));
        let released = self.unlock_all();
        let value = result?;
        released?;
        Ok(value)
    }

    fn summarise(&mut self) -> Result<Summary> {
        let mut summary = Summary {
            file_size: self.io.start + u64::from(self.io.size()),
            logical_start: self.io.start,
            logical_size: self.io.size(),
            incompatible_hash: matches!(self.hash_kind, HashKind::Jenkins),
            features: if self.is_mutex_file() { FEATURE_MUTEX } else { 0 },
            ..Summary::default()
        };
        self.tally_records(&mut summary)?;
        for chain in 0..self.hash_size {
            summary.chains.add(self.chain_length(chain)?);
        }
        Ok(summary)
    }

    fn tally_records(&mut self, summary: &mut Summary) -> Result<()> {
        let end = self.io.size();
        let area = self.io.word(OFF_RECOVERY_START)?;
        let mut offset = data_start(self.hash_size);
        // Adjacent records that could be one free record.
        let mut run = 0u64;
        while offset < end {
            let rec = self.io.rec(offset)?;
            let mut rec_len = rec.rec_len;
            match rec.magic {
                MAGIC_USED => {
                    self.check_payload(offset, &rec)?;
                    summary.keys.add(rec.key_len.into());
                    summary.data.add(rec.data_len.into());
                    summary.padding.add((rec_len - rec.key_len - rec.data_len).into());
                    end_run(&mut run, summary);
                }
                MAGIC_FREE => {
                    summary.free.add(rec_len.into());
                    run += 1;
                }
                MAGIC_DEAD => summary.dead.add(rec_len.into()),
                MAGIC_RECOVERY_IDLE | PAD_WORD => {
                    if offset != area {
                        rec_len = self.dead_space(offset, end)?.saturating_sub(REC_HEADER);
                    }
                    summary.dead.add(rec_len.into());
                    run += 1;
                }
                magic => {
                    return Err(self.io.corrupt(
                        offset + 20,
                        "the magic of a record",
                        format!("{magic:#010x}"),
                    ))
                }
            }
            offset = self.behind(offset, rec_len)?;
        }
        end_run(&mut run, summary);
        Ok(())
    }

    /// Offset of the record behind one with a body of `rec_len` bytes.
    fn behind(&mut self, offset: u32, rec_len: u32) -> Result<u32> {
        let next = u64::from(offset) + u64::from(REC_HEADER) + u64::from(rec_len);
        u32::try_from(next).ok().filter(|next| *next <= self.io.size()).ok_or_else(|| {
            self.io.corrupt(offset + 4, "a length inside the file", format!("{rec_len}"))
        })
    }

    fn check_payload(&mut self, offset: u32, rec: &Rec) -> Result<()> {
        match rec.key_len.checked_add(rec.data_len) {
            Some(payload) if payload <= rec.rec_len => Ok(()),
            _ => Err(self.io.corrupt(
                offset + 8,
                format!("key and data inside {} bytes", rec.rec_len),
                format!("{} and {}", rec.key_len, rec.data_len),
            )),
        }
    }

    /// Length of the run of zero or padding bytes at `offset`, in whole words.
    fn dead_space(&mut self, offset: u32, end: u32) -> Result<u32> {
        const PIECE: u32 = 4096;
        let mut at = offset;
        while at < end {
            let count = (end - at).min(PIECE);
            let bytes = self.io.bytes(at, count)?;
            if let Some(i) = bytes.iter().position(|b| !matches!(b, 0 | 0x42)) {
                return Ok((at - offset + i as u32) & !(ALIGN - 1));
            }
            at += count;
        }
        Ok(end - offset)
    }

    fn chain_length(&mut self, chain: u32) -> Result<u64> {
        let mut length = 0;
        let mut cycle = CycleFinder::new();
        let mut offset = self.io.word(chain_head(chain))?;
        while offset != 0 {
            let rec = self.chain_rec(offset)?;
            if cycle.meets(offset) {
                return Err(self.chain_cycle(offset));
            }
            length += 1;
            offset = rec.next;
        }
        Ok(length)
    }
}

fn end_run(run: &mut u64, summary: &mut Summary) {
    if *run > 1 {
        summary.uncoalesced.add(*run - 1);
    }
    *run = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "0/0/0");
        for number in [7, 3, 9] {
            tally.add(number);
        }
        assert_eq!(tally.to_string(), "3/6/9");
    }
}
