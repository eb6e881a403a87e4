// SPDX-License-Identifier: GPL-3.0-or-later
//! Files that are cut while they are mapped (spec/tdb.md 11.5 and 25 H2).
//!
//! Touching a mapped page that is no longer in the file kills the process (SIGBUS), and a library
//! may not install a handler for that. So the file's length is looked at under the lock, before
//! anything is read: one more system call where locks are system calls anyway. A mutex file is
//! locked without any, and whoever uses one holds the active lock, so that nobody clears the file;
//! there it is done if the opener asks for it (`OpenOptions::watch_size`).

use crate::fcntl::Wait;
use crate::layout::*;
use crate::{LockMode, Result, Tdb};

impl Tdb {
    /// Adopts the file's length, and makes sure that the file is still the one that was opened:
    /// whoever cleared it may have made a database of another kind.
    pub(crate) fn size_is_sound(&mut self) -> Result<()> {
        if !self.watches_size {
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
        holds_chain: bool,
    ) -> Result<bool> {
        if self.locks.mutexes.is_some() {
            // The mutexes are mapped too.
            self.look_at_size()?;
        }
        loop {
            if !self.locks.lock_list(list, mode, wait, holds_chain, &crate::mutex::Never)? {
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
