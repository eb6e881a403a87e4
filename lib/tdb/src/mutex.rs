// SPDX-License-Identifier: GPL-3.0-or-later
//! The robust mutexes of a mutex file (spec/tdb.md 10).
//!
//! Layout of the area at file offset 0:
//!
//! ```text
//! 0      first copy of the file header (168 bytes)
//! 168    allrecord mutex       pthread_mutex_t at its natural alignment
//! +      allrecord state       i16: F_RDLCK, F_WRLCK or F_UNLCK
//! +      padding to the alignment of pthread_mutex_t
//! +      mutex of the free list, then one for each chain
//! ```
//!
//! The protocol of the words is the C library's own: nothing here touches a mutex except through
//! its functions (but see `orphan`).

use std::fs::File;
use std::io;
use std::mem::{align_of, size_of};
use std::path::Path;
use std::sync::atomic::{fence, AtomicI16, Ordering};
use std::sync::Arc;
use std::time::Instant;

use libc::pthread_mutex_t;
use memmap2::{MmapOptions, MmapRaw};

use crate::fcntl::Wait;
use crate::layout::HEADER_SIZE;
use crate::orphan::Suspect;
use crate::protocol::{Area, STATE_UNLOCKED};
use crate::robust;

/// Size of one mutex.
pub(crate) const MUTEX: usize = size_of::<pthread_mutex_t>();
const MUTEX_ALIGN: usize = align_of::<pthread_mutex_t>();
const OFF_ALLRECORD: usize = (HEADER_SIZE as usize).next_multiple_of(MUTEX_ALIGN);
const OFF_STATE: usize = OFF_ALLRECORD + MUTEX;
const OFF_ARRAY: usize = (OFF_STATE + 2).next_multiple_of(MUTEX_ALIGN);

#[cfg(target_arch = "x86_64")]
const _: () = assert!(MUTEX == 40 && OFF_ARRAY == 216);

/// How long a waiter sleeps before it looks whether its mutex is orphaned.
const SLICE_MS: u64 = 1000;

extern "C" {
    fn pthread_mutex_clocklock(
        mutex: *mut pthread_mutex_t,
        clock: libc::clockid_t,
        deadline: *const libc::timespec,
    ) -> libc::c_int;
}

/// Size of the mutex area of a file, as this machine computes it (spec/tdb.md 10.1).
pub(crate) fn area_size(hash_size: u32) -> u64 {
    // The C structure ends in an array of one element, and the array has one more than there are
    // chains: hence hash_size elements behind the structure.
    let bytes = (OFF_ARRAY + MUTEX) as u64 + MUTEX as u64 * u64::from(hash_size);
    bytes.next_multiple_of(page_size())
}

/// Page size of this machine.
pub(crate) fn page_size() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// Whether someone was told to stop waiting.
pub(crate) trait Cancel {
    fn is_cancelled(&self) -> bool;

    /// When it will be, if that is known.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// A wait that nobody cancels.
pub(crate) struct Never;

impl Cancel for Never {
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// The mapped mutex area. Stays at one address for its life: the robust lists of the threads that
/// hold mutexes point into it.
pub(crate) struct MutexArea {
    map: MmapRaw,
    hash_size: u32,
    /// Identity of the file, to find who maps it.
    device: u64,
    inode: u64,
}

// SAFETY: the area is shared memory made for use by many threads; it is only touched through
// pthread functions and atomics.
unsafe impl Send for MutexArea {}
// SAFETY: as above.
unsafe impl Sync for MutexArea {}

impl MutexArea {
    /// Maps the area of `file`, which must reach beyond it.
    pub fn map(file: &File, hash_size: u32) -> io::Result<MutexArea> {
        use std::os::unix::fs::MetadataExt;
        let size = area_size(hash_size);
        let meta = file.metadata()?;
        if meta.len() < size {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let map = MmapOptions::new().len(size as usize).map_raw(file)?;
        Ok(MutexArea { map, hash_size, device: meta.dev(), inode: meta.ino() })
    }

    /// Makes every mutex free and the state unlocked. Nobody may be using the area.
    pub fn initialise(&self) -> io::Result<()> {
        // SAFETY: plain data, initialised by the call below before use.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        robust_attributes(&mut attributes)?;
        let array = (0..=self.hash_size).map(|i| self.list_mutex(i));
        let result = std::iter::once(self.allrecord_mutex()).chain(array).try_for_each(|mutex| {
            // SAFETY: the caller guarantees that no one uses the mutex; it lies in the mapping.
            check(unsafe {
                std::ptr::write_bytes(mutex, 0, 1);
                libc::pthread_mutex_init(mutex, &attributes)
            })
        });
        self.set_state(STATE_UNLOCKED);
        // SAFETY: initialised above, not used afterwards.
        unsafe { libc::pthread_mutexattr_destroy(&mut attributes) };
        result
    }

    #[inline(always)]
    fn list_mutex(&self, index: u32) -> *mut pthread_mutex_t {
        assert!(index <= self.hash_size);
        // SAFETY: the area has hash_size + 1 mutexes from OFF_ARRAY on (area_size).
        unsafe { self.map.as_mut_ptr().add(OFF_ARRAY + MUTEX * index as usize) }.cast()
    }

    /// Number of mutexes in the array: the free list's and one for each chain.
    pub fn count(&self) -> u32 {
        self.hash_size + 1
    }

    /// Where a mutex of the array is in the file.
    pub fn offset(&self, index: u32) -> u64 {
        (OFF_ARRAY + MUTEX * index as usize) as u64
    }

    /// What is known of the owner of one of these mutexes: nothing yet.
    pub fn suspect(&self) -> Suspect {
        Suspect::new(self.device, self.inode)
    }

    /// Looks at the owner of a mutex of the array.
    pub fn sample(&self, index: u32, suspect: &mut Suspect) {
        // SAFETY: an initialised robust mutex of the mapped area.
        unsafe { suspect.sample(self.list_mutex(index)) };
    }

    fn allrecord_mutex(&self) -> *mut pthread_mutex_t {
        // SAFETY: inside the area.
        unsafe { self.map.as_mut_ptr().add(OFF_ALLRECORD) }.cast()
    }

    #[inline(always)]
    fn state_word(&self) -> &AtomicI16 {
        // SAFETY: inside the area, aligned (OFF_STATE is a multiple of 8), shared as an atomic.
        unsafe { AtomicI16::from_ptr(self.map.as_mut_ptr().add(OFF_STATE).cast()) }
    }

    /// Fetches a chain's mutex into the cache in the background.
    #[inline(always)]
    pub fn prefetch(&self, chain: u32) {
        let mutex: *const u8 = self.list_mutex(chain + 1).cast();
        crate::storage::prefetch(mutex);
        crate::storage::prefetch(mutex.wrapping_add(MUTEX - 1));
    }

    #[inline(always)]
    fn unlock(&self, mutex: *mut pthread_mutex_t) -> io::Result<()> {
        // SAFETY: an initialised mutex of the area; ERRORCHECK refuses if we are not the owner.
        if unsafe { robust::try_unlock(mutex) } {
            return Ok(());
        }
        // SAFETY: as above.
        check(unsafe { libc::pthread_mutex_unlock(mutex) })
    }

    /// `Ok(false)`: busy with `Wait::Try`, or cancelled. `on_owner_death` runs before the mutex is
    /// declared consistent.
    #[inline(always)]
    fn lock(
        &self,
        mutex: *mut pthread_mutex_t,
        wait: Wait,
        cancel: &dyn Cancel,
        on_owner_death: impl Fn(&MutexArea),
    ) -> io::Result<bool> {
        // SAFETY: `mutex` is an initialised robust mutex of the mapped area, which stays where it is.
        if unsafe { robust::try_lock(mutex) } {
            return Ok(true);
        }
        self.lock_by_library(mutex, wait, cancel, on_owner_death)
    }

    #[cold]
    fn lock_by_library(
        &self,
        mutex: *mut pthread_mutex_t,
        wait: Wait,
        cancel: &dyn Cancel,
        on_owner_death: impl Fn(&MutexArea),
    ) -> io::Result<bool> {
        // SAFETY: `mutex` is an initialised mutex of the mapped area.
        match unsafe { libc::pthread_mutex_trylock(mutex) } {
            0 => Ok(true),
            libc::EOWNERDEAD => self.adopt(mutex, on_owner_death),
            libc::EBUSY if wait == Wait::Try => Ok(false),
            libc::EDEADLK if wait == Wait::Try => Ok(false),
            libc::EBUSY => self.lock_slowly(mutex, cancel, on_owner_death),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn adopt(
        &self,
        mutex: *mut pthread_mutex_t,
        on_owner_death: impl Fn(&MutexArea),
    ) -> io::Result<bool> {
        on_owner_death(self);
        // SAFETY: we own the mutex after EOWNERDEAD.
        check(unsafe { libc::pthread_mutex_consistent(mutex) })?;
        Ok(true)
    }

    /// Waits in slices, so that a cancelled wait ends and an orphaned mutex is noticed.
    fn lock_slowly(
        &self,
        mutex: *mut pthread_mutex_t,
        cancel: &dyn Cancel,
        on_owner_death: impl Fn(&MutexArea),
    ) -> io::Result<bool> {
        let mut suspect = Suspect::new(self.device, self.inode);
        loop {
            let left = cancel.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            let slice = left.map_or(SLICE_MS, |left| SLICE_MS.min(left.as_millis() as u64 + 1));
            let deadline = after_ms(slice);
            // SAFETY: an initialised mutex of the mapped area; `deadline` is valid for the call.
            match unsafe { pthread_mutex_clocklock(mutex, libc::CLOCK_MONOTONIC, &deadline) } {
                0 => return Ok(true),
                libc::EOWNERDEAD => return self.adopt(mutex, on_owner_death),
                libc::ETIMEDOUT => {
                    if cancel.is_cancelled() {
                        return Ok(false);
                    }
                    if slice == SLICE_MS {
                        // SAFETY: `mutex` lies in the mapped area and is a robust, shared mutex.
                        unsafe { suspect.sample(mutex) };
                    }
                }
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

impl Area for MutexArea {
    const LOCK_IS_A_FENCE: bool = cfg!(target_arch = "x86_64");

    fn chains(&self) -> u32 {
        self.hash_size
    }

    #[inline]
    fn lock_list(&self, list: Option<u32>, wait: Wait, cancel: &dyn Cancel) -> io::Result<bool> {
        let mutex = self.list_mutex(list.map_or(0, |c| c + 1));
        self.lock(mutex, wait, cancel, |_| ())
    }

    #[inline]
    fn unlock_list(&self, list: Option<u32>) -> io::Result<()> {
        self.unlock(self.list_mutex(list.map_or(0, |c| c + 1)))
    }

    fn is_free(&self, chain: u32) -> bool {
        // SAFETY: a mutex of the mapped area.
        unsafe { robust::is_free(self.list_mutex(chain + 1)) }
    }

    fn lock_allrecord(&self, wait: Wait, cancel: &dyn Cancel) -> io::Result<bool> {
        self.lock(self.allrecord_mutex(), wait, cancel, |area| area.set_state(STATE_UNLOCKED))
    }

    fn unlock_allrecord(&self) -> io::Result<()> {
        self.unlock(self.allrecord_mutex())
    }

    #[inline(always)]
    fn state(&self) -> i16 {
        self.state_word().load(Ordering::Acquire)
    }

    fn set_state(&self, state: i16) {
        self.state_word().store(state, Ordering::Release);
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// The attributes of every mutex in a file.
pub(crate) fn robust_attributes(attributes: &mut libc::pthread_mutexattr_t) -> io::Result<()> {
    use libc::{PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_SHARED};
    // SAFETY: a valid object for all four calls.
    unsafe {
        check(libc::pthread_mutexattr_init(attributes))?;
        check(libc::pthread_mutexattr_settype(attributes, PTHREAD_MUTEX_ERRORCHECK))?;
        check(libc::pthread_mutexattr_setpshared(attributes, PTHREAD_PROCESS_SHARED))?;
        check(libc::pthread_mutexattr_setrobust(attributes, PTHREAD_MUTEX_ROBUST))
    }
}

fn after_ms(ms: u64) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let nanos = now.tv_nsec + (ms % 1000) as libc::c_long * 1_000_000;
    libc::timespec {
        tv_sec: now.tv_sec + (ms / 1000) as libc::time_t + nanos / 1_000_000_000,
        tv_nsec: nanos % 1_000_000_000,
    }
}

fn check(error: libc::c_int) -> io::Result<()> {
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Whether this system has what mutex files need.
pub(crate) fn supported() -> bool {
    cfg!(all(target_os = "linux", target_env = "gnu"))
}

/// A lock of the allrecord kind holds the area's name for messages.
pub(crate) fn mutex_error(path: &Arc<Path>, source: io::Error) -> crate::Error {
    if source.raw_os_error() == Some(libc::EDEADLK) {
        return crate::Error::Deadlock;
    }
    crate::Error::Io { path: path.clone(), action: "mutex lock", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn area_sizes() {
        if page_size() != 4096 {
            return;
        }
        for (hash_size, bytes) in
            [(7, 4096), (96, 4096), (97, 8192), (101, 8192), (10007, 401408), (100001, 4001792)]
        {
            assert_eq!(area_size(hash_size), bytes, "hash size {hash_size}");
        }
    }
}
