// SPDX-License-Identifier: GPL-3.0-or-later
//! Locking and unlocking a free robust mutex without a call into the C library.
//!
//! A chain lock and unlock are most of what a read of a cached record costs, and most of that is
//! the C library looking again at what kind of mutex it has. This module does the two steps of an
//! uncontended robust mutex itself, in the words that glibc and the kernel (robust futex ABI,
//! Documentation/locking/robust-futex-ABI) define:
//!
//! ```text
//! mutex   0 lock u32: 0 free, else thread id, waiters and owner-died bits
//!         8 owner u32    12 users u32    24 list.prev    32 list.next
//! thread  robust list head: list, futex offset, pending
//! ```
//!
//! Anything else (contended, owner died, not ours) is left to the C library. Whether this C
//! library keeps its mutexes this way is found out by comparing bytes once in each process; if it
//! does not, everything is left to it. Argued in docs/decisions/0006-robust-mutexes-inline.md.

use libc::pthread_mutex_t;

/// Whether the word of this mutex says that nobody holds it and nobody died with it.
///
/// # Safety
/// `mutex` must point to a mapped mutex.
#[inline(always)]
pub(crate) unsafe fn is_free(mutex: *mut pthread_mutex_t) -> bool {
    // SAFETY: the lock word is the first field; other users treat it as atomic too.
    unsafe { std::sync::atomic::AtomicU32::from_ptr(mutex.cast()) }
        .load(std::sync::atomic::Ordering::SeqCst)
        == 0
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")))]
mod words {
    use super::pthread_mutex_t;

    /// Not on this system.
    pub(crate) unsafe fn try_lock(_mutex: *mut pthread_mutex_t) -> bool {
        false
    }

    /// Not on this system.
    pub(crate) unsafe fn try_unlock(_mutex: *mut pthread_mutex_t) -> bool {
        false
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod words {
    use std::cell::Cell;
    use std::mem::size_of;
    use std::ptr::{addr_of_mut, null_mut, read_volatile, write_volatile};
    use std::sync::atomic::{compiler_fence, AtomicU32, Ordering};
    use std::sync::OnceLock;

    use super::pthread_mutex_t;

    const WAITERS: u32 = 0x8000_0000;

    /// A mutex as glibc lays it out.
    #[repr(C)]
    struct Words {
        lock: AtomicU32,
        count: u32,
        owner: u32,
        users: u32,
        kind: u32,
        spins: u32,
        prev: usize,
        next: usize,
    }

    const _: () = assert!(size_of::<Words>() == size_of::<pthread_mutex_t>());

    /// The kernel's `struct robust_list_head`.
    #[repr(C)]
    struct Head {
        list: usize,
        futex_offset: isize,
        pending: usize,
    }

    /// From the list entry of a mutex (`next`) to its lock word.
    const FUTEX_OFFSET: isize = -32;
    /// `prev` is this much in front of `next`, also at the head.
    const PREV_BEFORE_NEXT: usize = size_of::<usize>();

    /// The calling thread: its kernel id and its list of held robust mutexes.
    #[derive(Clone, Copy)]
    struct Thread {
        /// 0: not looked up yet.
        id: u32,
        /// Null: the C library does it all.
        head: *mut Head,
    }

    const UNKNOWN: Thread = Thread { id: 0, head: null_mut() };

    thread_local! {
        static THREAD: Cell<Thread> = const { Cell::new(UNKNOWN) };
    }

    #[inline(always)]
    fn this_thread() -> Thread {
        let thread = THREAD.get();
        if thread.id == 0 {
            return look_up();
        }
        thread
    }

    #[cold]
    fn look_up() -> Thread {
        // SAFETY: gettid has no preconditions.
        let id = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
        // Marked as known first: the trial comes here too.
        THREAD.set(Thread { id, head: null_mut() });
        let thread = Thread { id, head: robust_head() };
        THREAD.set(thread);
        let alike = *ALIKE.get_or_init(trial);
        THREAD.set(if alike { thread } else { Thread { id, head: null_mut() } });
        THREAD.get()
    }

    /// The calling thread's list, if it is of the expected form.
    fn robust_head() -> *mut Head {
        let mut head: *mut Head = null_mut();
        let mut len = 0usize;
        // SAFETY: both out-parameters are valid; thread 0 is the calling one.
        let done = unsafe {
            libc::syscall(libc::SYS_get_robust_list, 0, addr_of_mut!(head), addr_of_mut!(len))
        };
        if done != 0 || head.is_null() || len != size_of::<Head>() {
            return null_mut();
        }
        // SAFETY: the kernel says that this thread registered a head of this size there.
        if unsafe { (*head).futex_offset } != FUTEX_OFFSET {
            return null_mut();
        }
        head
    }

    /// Whether the C library does to a mutex what this module does to it, to the byte.
    static ALIKE: OnceLock<bool> = OnceLock::new();

    fn trial() -> bool {
        // SAFETY: resets the calling thread's own cell; a child has only the forking thread.
        if unsafe { libc::pthread_atfork(None, None, Some(forget_thread)) } != 0 {
            return false;
        }
        let (Some(mut first), Some(mut second)) = (robust_mutex(), robust_mutex()) else {
            return false;
        };
        // SAFETY: two initialised robust mutexes that only this thread knows, unlocked again
        // before they go out of scope.
        let alike = unsafe {
            let mutex: *mut pthread_mutex_t = &mut second;
            let below: *mut pthread_mutex_t = &mut first;
            // Held meanwhile, so that the list has neighbours.
            if libc::pthread_mutex_lock(below) != 0 {
                return false;
            }
            // A mutex that was used once keeps a trace of that (the count).
            let mut same = libc::pthread_mutex_lock(below) == libc::EDEADLK;
            same &= libc::pthread_mutex_lock(mutex) == 0 && libc::pthread_mutex_unlock(mutex) == 0;
            let free = bytes(&*mutex);
            same &= libc::pthread_mutex_lock(mutex) == 0;
            let theirs = bytes(&*mutex);
            same &= libc::pthread_mutex_unlock(mutex) == 0;
            same &= bytes(&*mutex) == free;
            same &= try_lock(mutex) && bytes(&*mutex) == theirs;
            same &= libc::pthread_mutex_unlock(mutex) == 0 && bytes(&*mutex) == free;
            same &= libc::pthread_mutex_lock(mutex) == 0;
            same &= try_unlock(mutex) && bytes(&*mutex) == free;
            same & (libc::pthread_mutex_unlock(below) == 0) & (bytes(&*below) == free)
        };
        if !alike {
            log::info!("robust mutexes of this C library are not as expected: it does the locking");
        }
        alike
    }

    extern "C" fn forget_thread() {
        THREAD.set(UNKNOWN);
    }

    fn robust_mutex() -> Option<pthread_mutex_t> {
        // SAFETY: plain data; the attributes are initialised before use and destroyed after it.
        unsafe {
            let mut mutex: pthread_mutex_t = std::mem::zeroed();
            let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
            crate::mutex::robust_attributes(&mut attributes).ok()?;
            let done = libc::pthread_mutex_init(&mut mutex, &attributes);
            libc::pthread_mutexattr_destroy(&mut attributes);
            (done == 0).then_some(mutex)
        }
    }

    fn bytes(mutex: &pthread_mutex_t) -> [u8; size_of::<pthread_mutex_t>()] {
        // SAFETY: any object may be read as bytes; this one has no padding (see `Words`).
        unsafe { std::ptr::read_volatile((mutex as *const pthread_mutex_t).cast()) }
    }

    /// Locks a mutex that is free; `false`: nothing done, ask the C library.
    ///
    /// # Safety
    /// `mutex` must be an initialised robust process-shared mutex that stays mapped at this address
    /// while the thread holds it.
    #[inline(always)]
    pub(crate) unsafe fn try_lock(mutex: *mut pthread_mutex_t) -> bool {
        let thread = this_thread();
        if thread.head.is_null() {
            return false;
        }
        let words: *mut Words = mutex.cast();
        // SAFETY: `words` is a mapped mutex by the caller's contract, `head` this thread's own.
        // What is written without atomics belongs to the holder of the lock; the kernel reads it
        // only when this thread is dead, so the order of the compiler is all that matters.
        unsafe {
            let head = thread.head;
            let entry = addr_of_mut!((*words).next);
            write_volatile(addr_of_mut!((*head).pending), entry as usize);
            compiler_fence(Ordering::SeqCst);
            let lock = &(*words).lock;
            if lock.compare_exchange(0, thread.id, Ordering::SeqCst, Ordering::Relaxed).is_err() {
                write_volatile(addr_of_mut!((*head).pending), 0);
                return false;
            }
            if read_volatile(addr_of_mut!((*words).owner)) != 0 {
                // Declared unrecoverable: the C library says so.
                release(lock);
                write_volatile(addr_of_mut!((*head).pending), 0);
                return false;
            }
            let first = read_volatile(addr_of_mut!((*head).list));
            let first_prev = ((first & !1) - PREV_BEFORE_NEXT) as *mut usize;
            write_volatile(first_prev, entry as usize);
            write_volatile(entry, first);
            write_volatile(addr_of_mut!((*words).prev), head as usize);
            compiler_fence(Ordering::SeqCst);
            write_volatile(addr_of_mut!((*head).list), entry as usize);
            write_volatile(addr_of_mut!((*words).count), 1);
            write_volatile(addr_of_mut!((*words).owner), thread.id);
            let users = read_volatile(addr_of_mut!((*words).users));
            write_volatile(addr_of_mut!((*words).users), users.wrapping_add(1));
            compiler_fence(Ordering::SeqCst);
            write_volatile(addr_of_mut!((*head).pending), 0);
        }
        true
    }

    /// Unlocks a mutex that this thread holds; `false`: nothing done, ask the C library.
    ///
    /// # Safety
    /// As for `try_lock`.
    #[inline(always)]
    pub(crate) unsafe fn try_unlock(mutex: *mut pthread_mutex_t) -> bool {
        let thread = this_thread();
        if thread.head.is_null() {
            return false;
        }
        let words: *mut Words = mutex.cast();
        // SAFETY: as in `try_lock`; the list's neighbours are mutexes that this thread holds, hence
        // mapped, or its head.
        unsafe {
            if read_volatile(addr_of_mut!((*words).owner)) != thread.id {
                return false;
            }
            let head = thread.head;
            let entry = addr_of_mut!((*words).next);
            write_volatile(addr_of_mut!((*head).pending), entry as usize);
            compiler_fence(Ordering::SeqCst);
            write_volatile(addr_of_mut!((*words).owner), 0);
            let next = read_volatile(entry);
            let prev = read_volatile(addr_of_mut!((*words).prev));
            write_volatile(((next & !1) - PREV_BEFORE_NEXT) as *mut usize, prev);
            write_volatile((prev & !1) as *mut usize, next);
            write_volatile(entry, 0);
            write_volatile(addr_of_mut!((*words).prev), 0);
            let users = read_volatile(addr_of_mut!((*words).users));
            write_volatile(addr_of_mut!((*words).users), users.wrapping_sub(1));
            compiler_fence(Ordering::SeqCst);
            release(&(*words).lock);
            compiler_fence(Ordering::SeqCst);
            write_volatile(addr_of_mut!((*head).pending), 0);
        }
        true
    }

    #[inline(always)]
    fn release(lock: &AtomicU32) {
        if lock.swap(0, Ordering::SeqCst) & WAITERS != 0 {
            wake(lock);
        }
    }

    #[cold]
    fn wake(lock: &AtomicU32) {
        // SAFETY: a wake has no preconditions beyond a mapped word.
        unsafe { libc::syscall(libc::SYS_futex, lock.as_ptr(), libc::FUTEX_WAKE, 1) };
    }
}

pub(crate) use words::{try_lock, try_unlock};

#[cfg(all(test, target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    use libc::pthread_mutex_t;
    use memmap2::MmapRaw;

    use super::*;

    /// A robust mutex in memory that children share.
    struct Shared(MmapRaw);

    impl Shared {
        fn new() -> Shared {
            let file = tempfile::tempfile().unwrap();
            file.set_len(4096).unwrap();
            let map = MmapRaw::map_raw(&file).unwrap();
            // SAFETY: plain data, initialised by the calls; the mapping is large enough.
            unsafe {
                let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
                crate::mutex::robust_attributes(&mut attributes).unwrap();
                assert_eq!(libc::pthread_mutex_init(map.as_mut_ptr().cast(), &attributes), 0);
            }
            Shared(map)
        }

        fn mutex(&self) -> *mut pthread_mutex_t {
            self.0.as_mut_ptr().cast()
        }

        fn word(&self) -> u32 {
            // SAFETY: the lock word comes first.
            unsafe { AtomicU32::from_ptr(self.0.as_mut_ptr().cast()) }.load(Ordering::SeqCst)
        }

        fn lock(&self) -> bool {
            // SAFETY: an initialised mutex, mapped as long as `self`.
            unsafe { try_lock(self.mutex()) }
        }

        fn unlock(&self) -> bool {
            // SAFETY: as in `lock`.
            unsafe { try_unlock(self.mutex()) }
        }

        fn library_lock(&self) -> i32 {
            // SAFETY: as in `lock`.
            unsafe { libc::pthread_mutex_lock(self.mutex()) }
        }

        fn library_unlock(&self) -> i32 {
            // SAFETY: as in `lock`.
            unsafe { libc::pthread_mutex_unlock(self.mutex()) }
        }
    }

    fn thread_id() -> u32 {
        // SAFETY: no preconditions.
        unsafe { libc::syscall(libc::SYS_gettid) as u32 }
    }

    /// Runs `work` in a child and returns its exit status, or 128 and the signal that ended it.
    fn in_child(work: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child only touches its own words and leaves with _exit.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(work()),
                child => {
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &mut status, 0), child);
                    match libc::WIFEXITED(status) {
                        true => libc::WEXITSTATUS(status),
                        false => 128 + libc::WTERMSIG(status),
                    }
                }
            }
        }
    }

    #[test]
    fn this_c_library_keeps_its_mutexes_as_expected() {
        let mutex = Shared::new();
        assert!(mutex.lock());
        assert_eq!(mutex.word(), thread_id());
        assert!(!mutex.lock());
        assert_eq!(mutex.library_lock(), libc::EDEADLK);
        assert!(mutex.unlock());
        assert!(!mutex.unlock());
        assert_eq!(mutex.library_unlock(), libc::EPERM);
    }

    #[test]
    fn held_mutexes_are_unlinked_in_any_order() {
        let mutexes: Vec<Shared> = (0..4).map(|_| Shared::new()).collect();
        assert!(mutexes[0].lock() && mutexes[2].lock());
        assert_eq!((mutexes[1].library_lock(), mutexes[3].library_lock()), (0, 0));
        assert!(mutexes[1].unlock() && mutexes[2].unlock());
        assert_eq!((mutexes[0].library_unlock(), mutexes[3].library_unlock()), (0, 0));
        assert!(mutexes.iter().all(|m| m.word() == 0 && m.lock() && m.unlock()));
    }

    #[test]
    fn a_dead_thread_leaves_its_mutex_marked() {
        for (work, ends) in [((|| 0) as fn() -> i32, 0), (|| std::process::abort(), 128 + 6)] {
            let mutex = Shared::new();
            assert!(mutex.lock() && mutex.unlock());
            let status = in_child(|| if mutex.lock() { work() } else { 99 });
            assert_eq!(status, ends);
            assert!(!mutex.lock());
            assert_eq!(mutex.library_lock(), libc::EOWNERDEAD);
            // SAFETY: this thread owns it.
            assert_eq!(unsafe { libc::pthread_mutex_consistent(mutex.mutex()) }, 0);
            assert!(mutex.unlock() && mutex.lock() && mutex.unlock());
        }
    }

    #[test]
    fn a_child_is_another_thread() {
        let mutex = Shared::new();
        assert!(mutex.lock());
        // Neither the parent's lock nor its identity is the child's.
        assert_eq!(in_child(|| i32::from(mutex.lock() || mutex.unlock())), 0);
        assert!(mutex.unlock());
        let own = || mutex.lock() && mutex.word() == thread_id() && mutex.unlock();
        assert_eq!(in_child(|| i32::from(own())), 1);
    }

    #[test]
    fn who_waits_in_the_library_is_woken() {
        let mutex = Shared::new();
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            assert!(mutex.lock());
            let mutex = &mutex;
            scope.spawn(move || {
                sender.send(()).unwrap();
                assert_eq!(mutex.library_lock(), 0);
                assert!(mutex.unlock());
            });
            receiver.recv().unwrap();
            while mutex.word() & 0x8000_0000 == 0 {
                std::thread::yield_now();
            }
            assert!(mutex.unlock());
        });
        assert_eq!(mutex.word(), 0);
    }

    #[test]
    fn a_mutex_that_was_given_up_is_left_to_the_library() {
        let mutex = Shared::new();
        assert_eq!(in_child(|| i32::from(mutex.lock())), 1);
        assert_eq!(mutex.library_lock(), libc::EOWNERDEAD);
        assert_eq!(mutex.library_unlock(), 0);
        assert!(!mutex.lock());
        assert_eq!(mutex.library_lock(), libc::ENOTRECOVERABLE);
    }
}
