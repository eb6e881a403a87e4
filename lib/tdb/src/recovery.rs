// SPDX-License-Identifier: GPL-3.0-or-later
//! Undoing a transaction whose process died in its commit (spec/tdb.md 15.6 and 15.7).

use crate::fcntl::{Wait, TO_EOF};
use crate::layout::*;
use crate::mutex::Never;
use crate::{Error, LockMode, Result, Tdb};

/// One undo entry: `len` old bytes for `offset`, found at `source` in the undo data.
struct UndoEntry {
    offset: u32,
    len: u32,
    source: usize,
}

/// A recovery area with valid undo data.
struct UndoLog {
    /// Offset of the area's record.
    area: u32,
    /// Logical size of the file before the transaction.
    old_size: u32,
    data: Vec<u8>,
    entries: Vec<UndoEntry>,
}

impl UndoLog {
    /// First byte behind the undo data.
    fn end(&self) -> u32 {
        self.area + REC_HEADER + self.data.len() as u32
    }
}

impl Tdb {
    /// Whether a commit was interrupted. Any error while looking counts as yes.
    #[inline]
    pub(crate) fn needs_recovery(&mut self) -> bool {
        match self.io.word(OFF_RECOVERY_START) {
            Ok(0) => false,
            Ok(area) => !matches!(self.io.rec(area), Ok(rec) if rec.magic != MAGIC_RECOVERY),
            Err(_) => true,
        }
    }

    /// Recovery by a process that met the interrupted commit of another. Holds no lock of data.
    pub(crate) fn recover_as_survivor(&mut self) -> Result<()> {
        let mutexes = self.locks.mutexes.is_some();
        if mutexes {
            // The fcntl range below does not stop the holders of chain mutexes (25 H5).
            self.locks.lock_all(LockMode::Exclusive, Wait::Block, &Never)?;
        }
        self.locks.lock_range(LockMode::Exclusive, LOCK_CHAINS, TO_EOF, Wait::Block)?;
        let result = self.recover_under_range();
        let released = self.locks.unlock_range(LOCK_CHAINS, TO_EOF);
        if mutexes {
            self.locks.unlock_all()?;
        }
        result?;
        released
    }

    /// Recovery by the holder of all data locks: adds the open lock.
    pub(crate) fn recover_under_range(&mut self) -> Result<()> {
        self.locks.lock_range(LockMode::Exclusive, LOCK_OPEN, 1, Wait::Block)?;
        let result = self.recover();
        let released = self.locks.unlock_range(LOCK_OPEN, 1);
        result?;
        released
    }

    /// Puts the old bytes back. The caller holds the locks. Interrupted, it can be run again.
    pub(crate) fn recover(&mut self) -> Result<()> {
        self.io.refresh()?;
        let Some(log) = self.read_undo_log()? else {
            return Ok(());
        };
        if self.read_only {
            return Err(self.io.corrupt(
                log.area + 20,
                "no interrupted transaction (the handle is read-only and cannot recover)",
                "valid undo data",
            ));
        }
        for entry in &log.entries {
            self.undo(&log, entry)?;
        }
        self.blank_behind(&log)?;
        self.sync_unless_told_not_to()?;
        self.io.put_word(log.area + 20, MAGIC_RECOVERY_IDLE)?;
        self.sync_unless_told_not_to()?;
        log::info!(
            "tdb({}): recovered a database of {} bytes",
            self.path().display(),
            log.old_size
        );
        self.reclaim(log.old_size, log.area)
    }

    /// Until the space behind the old end is reclaimed, it must look unused: the dead transaction
    /// may have written records there.
    fn blank_behind(&mut self, log: &UndoLog) -> Result<()> {
        let stop = if log.area >= log.old_size { log.area } else { self.io.size() };
        let from =
            if log.area >= log.old_size { log.old_size } else { log.old_size.max(log.end()) };
        let len = stop.saturating_sub(from).min(REC_HEADER + TAILER) as usize;
        self.io.write_through(from, &[0; (REC_HEADER + TAILER) as usize][..len])
    }

    pub(crate) fn sync_unless_told_not_to(&self) -> Result<()> {
        if self.flags & crate::TDB_NOSYNC != 0 {
            return Ok(());
        }
        self.io.sync()
    }

    /// Writes one entry back, except for the words that keep the recovery itself repeatable: the
    /// pointer to the area and the area.
    fn undo(&mut self, log: &UndoLog, entry: &UndoEntry) -> Result<()> {
        let keep = [(OFF_RECOVERY_START, OFF_RECOVERY_START + 4), (log.area, log.end())];
        let end = entry.offset + entry.len;
        let mut at = entry.offset;
        while at < end {
            if let Some((_, skip_to)) = keep.iter().find(|(from, to)| (*from..*to).contains(&at)) {
                at = (*skip_to).min(end);
                continue;
            }
            let stop = keep.iter().map(|k| k.0).filter(|f| *f > at).min().unwrap_or(end).min(end);
            let source = entry.source + (at - entry.offset) as usize;
            let bytes = &log.data[source..source + (stop - at) as usize];
            self.io.write_through(at, bytes)?;
            at = stop;
        }
        Ok(())
    }

    /// Reads and judges the undo log; nothing was modified if this fails.
    fn read_undo_log(&mut self) -> Result<Option<UndoLog>> {
        let area = self.io.word(OFF_RECOVERY_START)?;
        if area == 0 {
            return Ok(None);
        }
        let rec = self.io.rec(area)?;
        if rec.magic != MAGIC_RECOVERY {
            return Ok(None);
        }
        if area < data_start(self.hash_size) || area % ALIGN != 0 {
            return Err(self.io.corrupt(OFF_RECOVERY_START, "a record offset", format!("{area}")));
        }
        if rec.data_len > rec.rec_len {
            return Err(self.io.corrupt(
                area + 12,
                format!("undo data of at most {} bytes", rec.rec_len),
                format!("{}", rec.data_len),
            ));
        }
        let old_size = rec.key_len;
        if old_size > self.io.size() || old_size < data_start(self.hash_size) {
            return Err(self.io.corrupt(
                area + 8,
                format!("an old size of at most {}", self.io.size()),
                format!("{old_size}"),
            ));
        }
        self.io.ensure(area, REC_HEADER)?;
        let mut data = Vec::new();
        self.io.ensure(area + REC_HEADER, rec.rec_len)?;
        data.resize(rec.data_len as usize, 0);
        self.io.read(area + REC_HEADER, &mut data)?;
        let entries = self.parse_undo_entries(area, &data)?;
        Ok(Some(UndoLog { area, old_size, data, entries }))
    }

    fn parse_undo_entries(&self, area: u32, data: &[u8]) -> Result<Vec<UndoEntry>> {
        let mut entries = Vec::new();
        let mut at = 0usize;
        // The last word is no entry: an entry has at least 9 bytes.
        while data.len() - at > 8 {
            let word =
                |i: usize| self.io.word_from([data[i], data[i + 1], data[i + 2], data[i + 3]]);
            let (offset, len) = (word(at), word(at + 4));
            let source = at + 8;
            let in_log = len as usize <= data.len() - source;
            let in_file = u64::from(offset) + u64::from(len) <= u64::from(self.io.size());
            if !in_log || !in_file {
                return Err(self.io.corrupt(
                    area + REC_HEADER + at as u32,
                    "an undo entry inside the log and the file",
                    format!("offset {offset} length {len}"),
                ));
            }
            entries.push(UndoEntry { offset, len, source });
            at = source + len as usize;
        }
        Ok(entries)
    }

    /// Makes free records of the bytes that a dead or cancelled transaction added and nothing refers
    /// to (25 H1). The caller holds the locks of a commit, and the undo log is idle. An area that
    /// the transaction made stays where it is, for the next one.
    pub(crate) fn reclaim(&mut self, old_size: u32, area: u32) -> Result<()> {
        let size = self.io.size();
        let mut gaps = [(old_size, size), (size, size)];
        if area != 0 {
            let area_len = u64::from(REC_HEADER) + u64::from(self.io.rec(area)?.rec_len);
            let area_end = u32::try_from(u64::from(area) + area_len).unwrap_or(u32::MAX);
            gaps = [(old_size, area), (old_size.max(area_end), size)];
        }
        let records = gaps.map(|(from, to)| {
            let gap = to.saturating_sub(from);
            let fits = from % ALIGN == 0 && gap >= REC_HEADER + TAILER;
            fits.then(|| (from, (gap - REC_HEADER) & !(ALIGN - 1)))
        });
        self.free_atomically(&records)
    }

    /// Frees records in one crash-proof step.
    pub(crate) fn free_atomically(&mut self, records: &[Option<(u32, u32)>]) -> Result<()> {
        if records.iter().all(Option::is_none) {
            return Ok(());
        }
        self.atomically(|tdb| {
            records.iter().flatten().try_for_each(|(offset, len)| tdb.free_record(*offset, *len))
        })
    }

    /// Recovery that the handle may need before it works under a lock others took for it.
    pub(crate) fn recover_if_frozen_needs(&mut self) -> Result<()> {
        if !self.needs_recovery() {
            return Ok(());
        }
        self.recover_under_range()?;
        if self.needs_recovery() {
            return Err(Error::Lock("the database still needs recovery"));
        }
        Ok(())
    }
}
