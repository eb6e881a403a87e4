// SPDX-License-Identifier: GPL-3.0-or-later
//! Files that are cut while they are mapped (spec/tdb.md 11.5 and 25 H2).
//!
//! Touching a mapped page that is no longer in the file kills the process (SIGBUS), and a library
//! may not install a handler for that. So the file's length is looked at under the lock, before
//! anything is read. That is a system call, which an operation cannot always afford: how often it
//! is made depends on who could cut the file, see `SizeWatch`.

use crate::fcntl::Wait;
use crate::layout::*;
use crate::{LockMode, OpenOptions, Result, Tdb, TDB_INTERNAL};

/// Accesses between two looks where nobody who knows the format cuts the file.
const NOW_AND_THEN: u32 = 64;

/// How often a handle looks at the file's length besides the long operations (whole-database locks,
/// transactions, traversals), which always do.
pub(crate) struct SizeWatch {
    /// 0: never.
    period: u32,
    left: u32,
}

impl SizeWatch {
    /// At every access if the opener asks for it, or if the handle holds no active lock, so that
    /// the file may be cleared at any moment. Never on other mutex files, where users hold that
    /// lock and an access makes no system call. Else now and then: only a stranger cuts the file.
    pub fn new(flags: u32, options: &OpenOptions, mutexes: bool) -> SizeWatch {
        let period = if flags & TDB_INTERNAL != 0 {
            0
        } else if options.watch_size || options.read_only {
            1
        } else if mutexes {
            0
        } else {
            NOW_AND_THEN
        };
        SizeWatch { period, left: period }
    }

    /// Counts an access. Whether to look before it.
    #[inline(always)]
    pub fn is_due(&mut self) -> bool {
        self.left = self.left.wrapping_sub(1);
        if self.left != 0 {
            return false;
        }
        self.left = self.period;
        true
    }
}

impl Tdb {
    /// Adopts the file's length, and makes sure that the file is still the one that was opened:
    /// whoever cleared it may have made a database of another kind.
    pub(crate) fn size_is_sound(&mut self) -> Result<()> {
        if self.size_watch.period == 0 {
            return Ok(());
        }
        self.look_at_size()
    }

    /// `size_is_sound`, whatever the opener asked for: for operations that are long anyway.
    pub(crate) fn look_at_size(&mut self) -> Result<()> {
        if self.io.overlay.is_some() {
            return self.io.is_whole();
        }
        self.io.refresh()?;
        for (offset, opened) in [OFF_HASH_SIZE, OFF_MAGIC1_HASH].into_iter().zip(self.identity) {
            let found = self.io.word(offset)?;
            if found != opened {
                return Err(self.io.corrupt(
                    offset,
                    format!("{opened:#010x}, as when the file was opened"),
                    format!("{found:#010x}"),
                ));
            }
        }
        Ok(())
    }

    /// Work that is covered by other locks, or by none: what was true when it began may not be now.
    #[cold]
    pub(crate) fn size_is_still_sound(&mut self) -> Result<()> {
        match &self.io.overlay {
            Some(_) => self.size_is_sound(),
            None => self.io.refresh(),
        }
    }

    /// The real lock of a list on a file whose length is watched; see `lock_recovered`.
    pub(crate) fn lock_watched(
        &mut self,
        list: Option<u32>,
        mode: LockMode,
        wait: Wait,
        first: bool,
    ) -> Result<bool> {
        if self.locks.mutexes.is_some() {
            // The mutexes are mapped too.
            self.look_at_size()?;
        }
        loop {
            if !self.locks.lock_list(list, mode, wait, &crate::mutex::Never)? {
                return Ok(false);
            }
            if !first {
                return Ok(true);
            }
            match self.size_is_sound() {
                Ok(()) if !self.needs_recovery() => return Ok(true),
                Ok(()) => self.locks.unlock_list(list)?,
                Err(error) => {
                    self.locks.unlock_list(list)?;
                    return Err(error);
                }
            }
            self.recover_as_survivor()?;
        }
    }
}
