// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking for orphaned mutexes that only foreign processes wait for.
//!
//! Whoever waits for a mutex through this library notices by itself that its owner is gone. A C process does not:
//! it sleeps for ever. So a daemon looks through the mutexes of its files from time to time. It reads the words
//! from the file, not from the mapping: pages that nobody uses do not become resident.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use crate::mutex::{MutexArea, MUTEX};
use crate::orphan::{is_owned, Suspect};
use crate::{Error, LockAccess, Result};

/// Mutexes read at a time.
const BLOCK: usize = 1600;
/// Owned mutexes looked at closely in one look; the others wait for the next.
const SUSPECTS_MAX: usize = 64;

/// What earlier looks have seen. An orphan is freed by the second look in a row that sees it.
#[derive(Default)]
pub struct OrphanSweep {
    /// By file and mutex.
    suspects: BTreeMap<(u64, u32), Suspect>,
}

impl OrphanSweep {
    /// Looks through the mutexes of one file once. Nothing, if it has none.
    pub fn look(&mut self, access: &LockAccess) -> Result<()> {
        let locks = &access.0.waiters;
        let Some(area) = &locks.mutexes else { return Ok(()) };
        let id = access.0.id;
        let owned = owned_mutexes(area, locks.ranges.file()).map_err(|e| Error::Io {
            path: locks.path.clone(),
            action: "read mutexes",
            source: e,
        })?;
        self.suspects.retain(|key, _| key.0 != id || owned.contains(&key.1));
        for index in owned.into_iter().take(SUSPECTS_MAX) {
            let suspect = self.suspects.entry((id, index)).or_insert_with(|| area.suspect());
            area.sample(index, suspect);
        }
        Ok(())
    }

    /// Forgets all files but these.
    pub fn retain(&mut self, accesses: &[LockAccess]) {
        self.suspects.retain(|key, _| accesses.iter().any(|a| a.0.id == key.0));
    }
}

/// The mutexes of the array that have an owner now.
fn owned_mutexes(area: &MutexArea, file: &std::fs::File) -> std::io::Result<Vec<u32>> {
    let count = area.count();
    let mut owned = Vec::new();
    let mut buffer = vec![0; BLOCK * MUTEX];
    let mut index = 0;
    while index < count {
        let n = (count - index).min(BLOCK as u32);
        let part = &mut buffer[..n as usize * MUTEX];
        file.read_exact_at(part, area.offset(index))?;
        for (i, mutex) in (0..).zip(part.chunks_exact(MUTEX)) {
            let word = mutex.first_chunk().map_or(0, |w| u32::from_ne_bytes(*w));
            if is_owned(word) {
                owned.push(index + i);
            }
        }
        index += n;
    }
    Ok(owned)
}
