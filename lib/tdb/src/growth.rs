// SPDX-License-Identifier: GPL-3.0-or-later
//! Making the file larger (spec/tdb.md 11.3 and 11.4).

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::storage::Storage;
use crate::{Error, Result};

/// From here on the file grows by a tenth instead of a quarter.
const LARGE_FILE: u32 = 100 << 20;
/// Needs above this are doubled, smaller ones multiplied by a hundred.
const LARGE_NEED: u32 = 100 << 10;
/// Size of the pieces in which space is filled that cannot be allocated.
const FILL_PIECE: usize = 8192;

/// How many bytes to add to a file of `size` bytes so that at least `need` become free.
pub(crate) fn growth(size: u32, need: u32, page: u32) -> u32 {
    let room = u32::MAX - size;
    if need > room {
        return need;
    }
    let factor = if need > LARGE_NEED { 2 } else { 100 };
    let Some(top) = need.checked_mul(factor).and_then(|bytes| size.checked_add(bytes)) else {
        return room;
    };
    let scaled = if size > LARGE_FILE { f64::from(size) * 1.10 } else { f64::from(size) * 1.25 };
    if scaled > f64::from(u32::MAX) {
        return room;
    }
    let new = top.max(scaled as u32);
    if new.checked_add(page).is_none() {
        return room;
    }
    new.next_multiple_of(page) - size
}

impl Storage {
    /// Appends `added` bytes of real blocks: a full disk must show here, as an error, and not
    /// later as SIGBUS in every process that maps the file. On failure the file is as before.
    pub fn extend_file(&mut self, old: u32, added: u32) -> Result<()> {
        if self.is_memory() {
            return self.extend_memory(old + added).map_err(|source| Error::NoSpace {
                path: self.path.clone(),
                needed: u64::from(added),
                source,
            });
        }
        let from = self.start + u64::from(old);
        let to = from + u64::from(added);
        if let Err(error) = self.allocate_blocks(from, u64::from(added)) {
            let undone = self.file.set_len(from);
            self.remap(old);
            undone.map_err(|e| self.io_error("truncate", e))?;
            return match error.raw_os_error() {
                Some(libc::ENOSPC) | Some(libc::EDQUOT) | Some(libc::EFBIG) => {
                    Err(Error::NoSpace {
                        path: self.path.clone(),
                        needed: u64::from(added),
                        source: error,
                    })
                }
                _ => Err(self.io_error("expand", error)),
            };
        }
        debug_assert!(self.file.metadata().map(|m| m.len() >= to).unwrap_or(true));
        self.remap(old + added);
        Ok(())
    }

    fn allocate_blocks(&self, from: u64, added: u64) -> io::Result<()> {
        // SAFETY: the descriptor is open while `self.file` lives.
        let error = unsafe {
            libc::posix_fallocate(self.file.as_raw_fd(), from as libc::off_t, added as libc::off_t)
        };
        match error {
            0 => return Ok(()),
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => {
                return Err(io::Error::from_raw_os_error(error))
            }
            _ => {}
        }
        self.file.set_len(from + added)?;
        let filler = [0x42u8; FILL_PIECE];
        let mut at = from;
        while at < from + added {
            let count = ((from + added - at) as usize).min(FILL_PIECE);
            self.file.write_all_at(&filler[..count], at)?;
            at += count as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::growth;

    #[test]
    fn table_of_the_format_description() {
        for (size, need, expected) in [
            (696, 40, 7496),
            (8192, 600, 61440),
            (1048576, 100, 262144),
            (1048576, 102400, 10240000),
            (1048576, 102401, 262144),
            (104857600, 100, 26214400),
            (104857601, 100, 10489855),
            (4000000000, 100, 294967295),
        ] {
            assert_eq!(growth(size, need, 4096), expected, "size {size} need {need}");
        }
    }
}
