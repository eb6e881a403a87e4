// SPDX-License-Identifier: GPL-3.0-or-later
//! The protocol of chain mutexes and the allrecord state under a model checker: every interleaving
//! of a few threads, and every value that a weakly ordered load may return.
//!
//! What is checked are the lines of src/protocol.rs that the engine runs. What is modelled is below
//! them: a mutex is a word that names its owner, with the owner-died bit that the kernel sets, and
//! locking it is a locked instruction, which on x86 is a full fence. A thread that dies stops and
//! leaves its words to the kernel. Data are cells that report any access that does not exclude
//! another. The tests of the test at the end leave something out and must be caught.

// The engine's lines name their neighbours; these stand in for them.
mod fcntl {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Wait {
        Block,
        Try,
    }
}
mod mutex {
    pub trait Cancel {
        #[allow(dead_code)]
        fn is_cancelled(&self) -> bool;
    }
}
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LockMode {
    Shared,
    Exclusive,
}
#[path = "../src/protocol.rs"]
mod protocol;

use std::io;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicI16, AtomicU32, Ordering};
use loom::sync::Arc;
use loom::thread;

use fcntl::Wait;
use mutex::Cancel;
use protocol::{Area, Locked, STATE_READ, STATE_UNLOCKED, STATE_WRITE};

const OWNER_DIED: u32 = 0x4000_0000;
const CHAINS: usize = 2;

struct Never;

impl Cancel for Never {
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// What a test of the test leaves out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flaw {
    None,
    /// The fence between setting the state and looking at the mutexes.
    NoFence,
    /// The look at the mutexes.
    NoLook,
    /// The order of the data in front of the state.
    RelaxedState,
    /// Declaring the state unlocked when its owner died.
    StateOutlivesOwner,
    /// Keeping the first chain while a second one was taken ahead of one who waits for the first.
    FirstIsUnlocked,
    /// The look at the state when a lock for reading is to become one for writing.
    ReadersJustWrite,
}

/// A file in use by several threads.
struct File {
    flaw: Flaw,
    allrecord: AtomicU32,
    state: AtomicI16,
    free_list: AtomicU32,
    chains: [AtomicU32; CHAINS],
    data: [UnsafeCell<u32>; CHAINS],
    free_data: UnsafeCell<u32>,
}

// SAFETY: what is in the cells is what the protocol is for; loom reports when it fails.
unsafe impl Sync for File {}
// SAFETY: as above.
unsafe impl Send for File {}

/// One thread's view of the file.
struct User {
    file: Arc<File>,
    id: u32,
}

impl File {
    fn new(flaw: Flaw) -> Arc<File> {
        Arc::new(File {
            flaw,
            allrecord: AtomicU32::new(0),
            state: AtomicI16::new(STATE_UNLOCKED),
            free_list: AtomicU32::new(0),
            chains: std::array::from_fn(|_| AtomicU32::new(0)),
            data: std::array::from_fn(|_| UnsafeCell::new(0)),
            free_data: UnsafeCell::new(0),
        })
    }

    fn user(file: &Arc<File>, id: u32) -> User {
        User { file: file.clone(), id }
    }
}

impl User {
    fn word(&self, list: Option<u32>) -> &AtomicU32 {
        list.map_or(&self.file.free_list, |chain| &self.file.chains[chain as usize])
    }

    /// A robust mutex; `died` runs if its owner did.
    fn lock(&self, word: &AtomicU32, wait: Wait, died: impl Fn()) -> bool {
        loop {
            // A locked instruction is a fence.
            match word.compare_exchange(0, self.id, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    fence(Ordering::SeqCst);
                    return true;
                }
                Err(OWNER_DIED) => {
                    let (acquire, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
                    if word.compare_exchange(OWNER_DIED, self.id, acquire, relaxed).is_ok() {
                        fence(Ordering::SeqCst);
                        died();
                        return true;
                    }
                }
                Err(_) if wait == Wait::Try => return false,
                Err(_) => thread::yield_now(),
            }
        }
    }

    fn unlock(&self, word: &AtomicU32) {
        assert_eq!(word.swap(0, Ordering::AcqRel), self.id, "unlock by another thread");
    }

    /// The thread ends; the kernel finds these mutexes in its list.
    fn die_with(self, words: &[&AtomicU32]) {
        for word in words {
            assert_eq!(word.swap(OWNER_DIED, Ordering::AcqRel), self.id);
        }
    }

    fn lock_chain(&self, chain: u32, mode: LockMode, wait: Wait) -> bool {
        protocol::lock_list(self, Some(chain), mode, wait, &Never).unwrap()
    }

    /// A second chain, while one is held exclusively.
    fn lock_another(&self, chain: u32) -> Locked {
        let mode = LockMode::Exclusive;
        protocol::lock_another(self, chain, mode, mode, Wait::Block, &Never).unwrap()
    }

    fn unlock_chain(&self, chain: u32) {
        self.unlock_list(Some(chain)).unwrap();
    }

    fn lock_all(&self, mode: LockMode, wait: Wait) -> bool {
        protocol::lock_all(self, mode, wait, &Never).unwrap()
    }

    fn unlock_all(&self) {
        protocol::unlock_all(self).unwrap();
    }

    fn change(&self, chain: u32) {
        // SAFETY: loom checks it.
        self.file.data[chain as usize].with_mut(|data| unsafe { *data += 1 });
    }

    fn change_all(&self) {
        (0..CHAINS as u32).for_each(|chain| self.change(chain));
    }

    fn read(&self, chain: u32) -> u32 {
        // SAFETY: loom checks it.
        self.file.data[chain as usize].with(|data| unsafe { *data })
    }

    fn change_free_list(&self) {
        // SAFETY: loom checks it.
        self.file.free_data.with_mut(|data| unsafe { *data += 1 });
    }

    /// Stores into a chain: with the chain, then the free list, as the engine does.
    fn store(&self, chain: u32) {
        assert!(self.lock_chain(chain, LockMode::Exclusive, Wait::Block));
        self.change(chain);
        assert!(self.lock_list(None, Wait::Block, &Never).unwrap());
        self.change_free_list();
        self.unlock_list(None).unwrap();
        self.unlock_chain(chain);
    }
}

impl Area for User {
    const LOCK_IS_A_FENCE: bool = true;

    fn chains(&self) -> u32 {
        CHAINS as u32
    }

    fn lock_list(&self, list: Option<u32>, wait: Wait, _: &dyn Cancel) -> io::Result<bool> {
        Ok(self.lock(self.word(list), wait, || ()))
    }

    fn unlock_list(&self, list: Option<u32>) -> io::Result<()> {
        self.unlock(self.word(list));
        Ok(())
    }

    fn is_free(&self, chain: u32) -> bool {
        self.file.flaw == Flaw::NoLook || self.word(Some(chain)).load(Ordering::Acquire) == 0
    }

    fn lock_allrecord(&self, wait: Wait, _: &dyn Cancel) -> io::Result<bool> {
        Ok(self.lock(&self.file.allrecord, wait, || {
            if self.file.flaw != Flaw::StateOutlivesOwner {
                self.set_state(STATE_UNLOCKED);
            }
        }))
    }

    fn unlock_allrecord(&self) -> io::Result<()> {
        self.unlock(&self.file.allrecord);
        Ok(())
    }

    fn state(&self) -> i16 {
        if self.file.flaw == Flaw::RelaxedState {
            return self.file.state.load(Ordering::Relaxed);
        }
        self.file.state.load(Ordering::Acquire)
    }

    fn set_state(&self, state: i16) {
        if self.file.flaw == Flaw::RelaxedState {
            return self.file.state.store(state, Ordering::Relaxed);
        }
        self.file.state.store(state, Ordering::Release);
    }

    fn fence(&self) {
        if self.file.flaw != Flaw::NoFence {
            fence(Ordering::SeqCst);
        }
    }
}

/// Explores every execution, or those with at most so many forced switches between threads: with
/// three threads there are too many of the others.
fn explore(switches: Option<usize>, scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = switches;
    model.max_branches = 10_000;
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = executions.clone();
    model.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        scenario();
    });
    println!("{executions:?} executions");
}

fn chain_against_all(flaw: Flaw, mode: LockMode) {
    explore(None, move || {
        let file = File::new(flaw);
        let writer = File::user(&file, 2);
        let thread = thread::spawn(move || {
            assert!(writer.lock_chain(1, LockMode::Exclusive, Wait::Block));
            writer.change(1);
            writer.unlock_chain(1);
        });
        let user = File::user(&file, 1);
        assert!(user.lock_all(mode, Wait::Block));
        match mode {
            LockMode::Exclusive => user.change_all(),
            LockMode::Shared => assert_eq!(user.read(1), user.read(1)),
        }
        user.unlock_all();
        thread.join().unwrap();
        assert_eq!(user.state(), STATE_UNLOCKED);
    });
}

#[test]
fn a_writer_excludes_who_locks_everything() {
    chain_against_all(Flaw::None, LockMode::Exclusive);
    chain_against_all(Flaw::None, LockMode::Shared);
}

#[test]
fn readers_go_on_under_a_shared_lock_and_not_under_its_upgrade() {
    explore(None, || {
        let file = File::new(Flaw::None);
        let reader = File::user(&file, 2);
        let thread = thread::spawn(move || {
            assert!(reader.lock_chain(0, LockMode::Shared, Wait::Block));
            let before = reader.read(0);
            assert_eq!(reader.read(0), before);
            reader.unlock_chain(0);
        });
        let user = File::user(&file, 1);
        assert!(user.lock_all(LockMode::Shared, Wait::Block));
        user.read(0);
        while !protocol::try_upgrade(&user, &Never).unwrap() {
            assert_eq!(user.state(), STATE_READ);
            thread::yield_now();
        }
        assert_eq!(user.state(), STATE_WRITE);
        user.change_all();
        user.unlock_all();
        thread.join().unwrap();
    });
}

#[test]
fn a_busy_chain_undoes_a_try() {
    explore(None, || {
        let file = File::new(Flaw::None);
        let writer = File::user(&file, 2);
        let thread = thread::spawn(move || {
            assert!(writer.lock_chain(0, LockMode::Exclusive, Wait::Block));
            writer.change(0);
            writer.unlock_chain(0);
        });
        let user = File::user(&file, 1);
        if user.lock_all(LockMode::Exclusive, Wait::Try) {
            user.change_all();
            user.unlock_all();
        } else {
            assert_eq!(user.state(), STATE_UNLOCKED);
        }
        thread.join().unwrap();
        // Nothing stays locked.
        assert!(user.lock_all(LockMode::Exclusive, Wait::Try));
    });
}

#[test]
fn a_try_of_a_chain_does_not_wait() {
    explore(None, || {
        let file = File::new(Flaw::None);
        let writer = File::user(&file, 2);
        let thread = thread::spawn(move || {
            if writer.lock_chain(1, LockMode::Exclusive, Wait::Try) {
                writer.change(1);
                writer.unlock_chain(1);
            }
        });
        let user = File::user(&file, 1);
        assert!(user.lock_all(LockMode::Exclusive, Wait::Block));
        user.change_all();
        user.unlock_all();
        thread.join().unwrap();
    });
}

/// Holds chain 1, takes chain 0, and lets go of chain 1 first if the engine would.
fn two_chains_against_all(flaw: Flaw) {
    explore(None, move || {
        let file = File::new(flaw);
        let writer = File::user(&file, 2);
        let thread = thread::spawn(move || {
            assert!(writer.lock_chain(1, LockMode::Exclusive, Wait::Block));
            let locked = writer.lock_another(0);
            assert_ne!(locked, Locked::Busy);
            let stays = locked == Locked::Ahead && writer.file.flaw != Flaw::FirstIsUnlocked;
            writer.change(1);
            if !stays {
                writer.unlock_chain(1);
            }
            writer.change(0);
            writer.unlock_chain(0);
            if stays {
                writer.unlock_chain(1);
            }
        });
        let user = File::user(&file, 1);
        assert!(user.lock_all(LockMode::Exclusive, Wait::Block));
        user.change_all();
        user.unlock_all();
        thread.join().unwrap();
    });
}

#[test]
fn who_holds_a_chain_can_take_another_while_someone_waits_for_everything() {
    two_chains_against_all(Flaw::None);
}

/// Reads a chain and then wants to change it, or another, while someone reads everything.
fn a_reader_becomes_a_writer(flaw: Flaw, other: bool) {
    explore(None, move || {
        let file = File::new(flaw);
        let writer = File::user(&file, 2);
        let thread = thread::spawn(move || {
            assert!(writer.lock_chain(1, LockMode::Shared, Wait::Block));
            let chain = u32::from(!other);
            let (shared, exclusive) = (LockMode::Shared, LockMode::Exclusive);
            let locked = match (writer.file.flaw, other) {
                (Flaw::ReadersJustWrite, _) => Ok(Locked::Yes),
                (_, false) => protocol::may_change(&writer, shared, &Never),
                _ => protocol::lock_another(&writer, chain, exclusive, shared, Wait::Try, &Never),
            };
            if let Ok(Locked::Yes) = locked {
                writer.change(chain);
                if other {
                    writer.unlock_chain(chain);
                }
            } else {
                assert!(!matches!(locked, Ok(Locked::Ahead)));
            }
            writer.unlock_chain(1);
        });
        let user = File::user(&file, 1);
        assert!(user.lock_all(LockMode::Shared, Wait::Block));
        (0..CHAINS as u32).for_each(|chain| {
            user.read(chain);
        });
        user.unlock_all();
        thread.join().unwrap();
    });
}

#[test]
fn who_reads_a_chain_does_not_write_under_one_who_reads_everything() {
    a_reader_becomes_a_writer(Flaw::None, false);
    a_reader_becomes_a_writer(Flaw::None, true);
}

#[test]
fn two_who_want_everything_and_a_writer() {
    explore(Some(1), || {
        let file = File::new(Flaw::None);
        let threads: Vec<_> = [2, 3]
            .map(|id| {
                let user = File::user(&file, id);
                thread::spawn(move || {
                    if id == 2 {
                        assert!(user.lock_chain(0, LockMode::Exclusive, Wait::Block));
                        user.change(0);
                        user.unlock_chain(0);
                    } else {
                        assert!(user.lock_all(LockMode::Exclusive, Wait::Block));
                        user.change_all();
                        user.unlock_all();
                    }
                })
            })
            .into();
        let user = File::user(&file, 1);
        assert!(user.lock_all(LockMode::Exclusive, Wait::Block));
        user.change_all();
        user.unlock_all();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
}

#[test]
fn the_free_list_is_the_innermost_lock() {
    explore(Some(1), || {
        let file = File::new(Flaw::None);
        let threads: Vec<_> = [2, 3]
            .map(|id| {
                let user = File::user(&file, id);
                thread::spawn(move || user.store(id - 2))
            })
            .into();
        // Who has everything does not take the free list's lock.
        let user = File::user(&file, 1);
        assert!(user.lock_all(LockMode::Exclusive, Wait::Block));
        user.change_all();
        user.change_free_list();
        user.unlock_all();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
}

#[test]
fn a_chain_whose_owner_died_is_taken_over() {
    explore(Some(1), || {
        let file = File::new(Flaw::None);
        let (dying, writer) = (File::user(&file, 2), File::user(&file, 3));
        let threads = [
            thread::spawn(move || {
                assert!(dying.lock_chain(0, LockMode::Exclusive, Wait::Block));
                dying.change(0);
                let file = dying.file.clone();
                dying.die_with(&[&file.chains[0]]);
            }),
            thread::spawn(move || {
                assert!(writer.lock_chain(0, LockMode::Exclusive, Wait::Block));
                writer.change(0);
                writer.unlock_chain(0);
            }),
        ];
        let user = File::user(&file, 1);
        assert!(user.lock_all(LockMode::Exclusive, Wait::Block));
        user.change_all();
        user.unlock_all();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
}

/// Dies as the owner of everything, before or after it is so.
fn owner_of_everything_dies(flaw: Flaw) {
    explore(None, move || {
        let file = File::new(flaw);
        let dying = File::user(&file, 2);
        let thread = thread::spawn(move || {
            assert!(dying.lock_all(LockMode::Exclusive, Wait::Block));
            dying.change_all();
            let file = dying.file.clone();
            dying.die_with(&[&file.allrecord]);
        });
        let user = File::user(&file, 1);
        assert!(user.lock_chain(1, LockMode::Exclusive, Wait::Block));
        user.change(1);
        user.unlock_chain(1);
        thread.join().unwrap();
        assert!(user.lock_all(LockMode::Exclusive, Wait::Block));
        user.change_all();
        user.unlock_all();
    });
}

#[test]
fn everything_is_free_again_when_its_owner_died() {
    owner_of_everything_dies(Flaw::None);
}

/// Whether the checker finds a fault.
fn is_caught(scenario: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let caught = std::panic::catch_unwind(scenario).is_err();
    std::panic::set_hook(hook);
    caught
}

#[test]
fn what_is_left_out_is_caught() {
    assert!(is_caught(|| chain_against_all(Flaw::NoFence, LockMode::Exclusive)), "no fence");
    assert!(is_caught(|| chain_against_all(Flaw::NoLook, LockMode::Exclusive)), "no look");
    assert!(is_caught(|| chain_against_all(Flaw::RelaxedState, LockMode::Exclusive)), "order");
    assert!(is_caught(|| two_chains_against_all(Flaw::FirstIsUnlocked)), "first unlocked");
    let writes = || a_reader_becomes_a_writer(Flaw::ReadersJustWrite, false);
    assert!(is_caught(writes), "readers write");
    assert!(is_caught(|| owner_of_everything_dies(Flaw::StateOutlivesOwner)), "owner");
}
