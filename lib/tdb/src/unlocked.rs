// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading without locks while others commit (spec/tdb.md 25 H15).
//!
//! A handle without locks does not keep a commit out, and in the middle of one the file is neither
//! old nor new. But it can be seen: the recovery area is valid and somebody holds the open lock. If
//! the area is valid and nobody does, the committer is dead.

use std::thread;
use std::time::{Duration, Instant};

use crate::layout::*;
use crate::{LockMode, Result, Tdb};

/// How long a commit under way is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl Tdb {
    /// Waits for the end of a commit, if one is under way.
    pub(crate) fn wait_for_commit(&mut self) -> Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while self.needs_recovery() && Instant::now() < give_up {
            let busy = self.locks.ranges.conflicts(LockMode::Exclusive, LOCK_OPEN, 1);
            if !busy.map_err(|e| self.locks.range_error(e))? {
                return Ok(());
            }
            thread::sleep(LOOK);
            self.io.refresh()?;
        }
        Ok(())
    }

    /// Before a read of a handle that may only read: nothing is read of a commit under way, and an
    /// interrupted one is an error.
    pub(crate) fn settled(&mut self) -> Result<()> {
        if !self.needs_recovery() {
            return Ok(());
        }
        self.wait_for_commit()?;
        self.recover()
    }
}
