// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory locking.

use super::check;
use std::io;

/// Keeps the pages that are mapped now in memory.
pub fn lock_current_memory() -> io::Result<()> {
    // SAFETY: no memory of ours is touched.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT) }).map(|_| ())
}

/// Whether we are root.
pub fn is_root() -> bool {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() == 0 }
}
