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

    /// Puts the old bytes back, and makes free records of what the dead transaction added. While the
    /// undo log is valid nobody else changes the file, so the caller needs no locks of chains.
    ///
    /// Interrupted, it can be run again: what is freed is written outside of records, and then
    /// linked by one word, which is either undone or there.
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
        let head = self.fill_gaps()?;
        self.sync_unless_told_not_to()?;
        if let Some(head) = head {
            self.io.put_word(FREE_HEAD, head)?;
            self.sync_unless_told_not_to()?;
        }
        self.io.put_word(log.area + 20, MAGIC_RECOVERY_IDLE)?;
        self.sync_unless_told_not_to()?;
        log::info!(
            "tdb({}): recovered a database of {} bytes",
            self.path().display(),
            log.old_size
        );
        Ok(())
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
