// SPDX-License-Identifier: GPL-3.0-or-later
//! Robust mutexes that nobody will ever unlock.
//!
//! The kernel frees the robust mutexes of a dying thread by walking a list of addresses in the
//! thread's memory. A process that unmapped the file (exec, munmap) with a mutex held and then
//! exits leaves its thread id in the word for ever. This module frees such a mutex the way the
//! kernel would have: it sets the owner-died bit and wakes one waiter. When it may do so is argued
//! in docs/decisions/0003-orphaned-mutexes.md.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::pthread_mutex_t;

const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const TID_MASK: u32 = 0x3FFF_FFFF;

/// Whether this lock word names an owner that the kernel has not marked as dead.
pub(crate) fn is_owned(word: u32) -> bool {
    word & TID_MASK != 0 && word & OWNER_DIED == 0
}

/// What one waiter knows about the holder of the mutex it waits for.
pub(crate) struct Suspect {
    device: u64,
    inode: u64,
    owner: u32,
    samples: u32,
}

impl Suspect {
    pub fn new(device: u64, inode: u64) -> Suspect {
        Suspect { device, inode, owner: 0, samples: 0 }
    }

    /// Looks at the mutex; the second look in a row that sees the same owner, gone or without the
    /// file mapped, frees it.
    ///
    /// # Safety
    /// `mutex` must point to a mapped robust process-shared mutex.
    pub unsafe fn sample(&mut self, mutex: *mut pthread_mutex_t) {
        // The lock word is the first field of glibc's pthread_mutex_t.
        // SAFETY: mapped and aligned by the caller's contract; other users treat it as atomic too.
        let word = unsafe { AtomicU32::from_ptr(mutex.cast::<u32>()) };
        let seen = word.load(Ordering::Relaxed);
        let owner = seen & TID_MASK;
        if !is_owned(seen) || !cfg!(target_env = "gnu") {
            self.samples = 0;
            return;
        }
        if owner != self.owner {
            self.owner = owner;
            self.samples = 0;
        }
        if !self.owner_lost_it(owner) {
            self.samples = 0;
            return;
        }
        self.samples += 1;
        if self.samples < 2 {
            return;
        }
        self.samples = 0;
        let freed = (seen & WAITERS) | OWNER_DIED;
        if word.compare_exchange(seen, freed, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            log::warn!("freed a mutex whose owner {owner} is gone or no longer maps the file");
            // SAFETY: a wake on a mapped word has no further preconditions.
            unsafe {
                libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1);
            }
        }
    }

    /// Certain that no thread `owner` holds a mutex of this file. Any doubt says no.
    fn owner_lost_it(&self, owner: u32) -> bool {
        // We map the file ourselves: if our own entry does not show it, file identities in /proc do
        // not compare with those of stat (some file systems), and nothing can be concluded.
        if !proc_is_ours() || !matches!(self.maps_file("self"), Mapping::Yes) {
            return false;
        }
        match self.maps_file(&owner.to_string()) {
            Mapping::Unknown | Mapping::Yes => return false,
            Mapping::No => {}
        }
        self.no_foreign_user()
    }

    /// Whether process (or thread) `id` maps the file.
    fn maps_file(&self, id: &str) -> Mapping {
        match fs::read(format!("/proc/{id}/maps")) {
            Ok(maps) => {
                let wanted = format!(
                    " {:02x}:{:02x} {} ",
                    libc::major(self.device),
                    libc::minor(self.device),
                    self.inode
                );
                if maps.windows(wanted.len()).any(|w| w == wanted.as_bytes()) {
                    Mapping::Yes
                } else if maps.is_empty() && !is_zombie(id) {
                    // A process in exec or exit shows no mappings for a moment.
                    Mapping::Unknown
                } else {
                    Mapping::No
                }
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) | Some(libc::ESRCH) => Mapping::No,
                _ => Mapping::Unknown,
            },
        }
    }

    /// Whether no process of a nested pid namespace maps the file: such an owner's id means nothing
    /// here. A process of that kind that we may not look into is taken for such a user.
    fn no_foreign_user(&self) -> bool {
        let Ok(entries) = fs::read_dir("/proc") else {
            return false;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().filter(|n| n.bytes().all(|b| b.is_ascii_digit())) else {
                continue;
            };
            match fs::read_to_string(format!("/proc/{id}/status")) {
                Ok(status) if is_in_our_namespace(&status) => continue,
                Ok(_) => {
                    if !matches!(self.maps_file(id), Mapping::No) {
                        return false;
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOENT) | Some(libc::ESRCH) => continue,
                    _ => return false,
                },
            }
        }
        true
    }
}

/// "NSpid:" lists a process's ids from the reader's namespace inwards: one id, no nesting. Unlike
/// /proc/ID/ns it may be read without the right to trace the process.
fn is_in_our_namespace(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .is_some_and(|ids| ids.split_ascii_whitespace().count() == 1)
}

enum Mapping {
    Yes,
    No,
    Unknown,
}

/// Whether /proc shows our own pid namespace: only then do thread ids mean the same in both.
fn proc_is_ours() -> bool {
    match fs::read_link("/proc/self") {
        Ok(link) => link.to_str() == Some(std::process::id().to_string().as_str()),
        Err(_) => false,
    }
}

fn is_zombie(id: &str) -> bool {
    // "pid (name) state ...": the name may contain anything, so look behind the last ')'.
    match fs::read_to_string(format!("/proc/{id}/stat")) {
        Ok(stat) => stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| matches!(rest.trim_start().chars().next(), Some('Z' | 'X'))),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_namespaces_show() {
        assert!(is_in_our_namespace("Name:\tx\nNSpid:\t123\nNSpgid:\t1\n"));
        assert!(!is_in_our_namespace("Name:\tx\nNSpid:\t123\t7\n"));
        assert!(!is_in_our_namespace("Name:\tx\n"));
    }

    #[test]
    fn a_living_owner_is_no_orphan() {
        let file = tempfile::tempfile().expect("temporary file");
        let (device, inode) = {
            use std::os::unix::fs::MetadataExt;
            let meta = file.metadata().expect("fstat");
            (meta.dev(), meta.ino())
        };
        let suspect = Suspect::new(device, inode);
        // We do not map it, so nothing can be concluded.
        assert!(!suspect.owner_lost_it(u32::MAX >> 2));
    }
}
