// SPDX-License-Identifier: GPL-3.0-or-later
//! Handles that a child process inherits.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::Mutex;

use common::{hex, CPeer, PATIENCE};
use ctdb_tdb::*;

/// One fork at a time: a child has only the thread that forked, whatever the others had locked.
static FORKING: Mutex<()> = Mutex::new(());

const KINDS: [(u32, LockStyle); 4] = [
    (0, LockStyle::Posix),
    (0, LockStyle::Ofd),
    (TDB_MUTEX_LOCKING, LockStyle::Posix),
    (TDB_MUTEX_LOCKING | TDB_CLEAR_IF_FIRST, LockStyle::Ofd),
];

fn open(path: &Path, tdb_flags: u32, lock_style: LockStyle) -> Tdb {
    let tdb_flags = tdb_flags | TDB_NOSYNC;
    let options =
        OpenOptions { tdb_flags, create: true, hash_size: 7, lock_style, ..Default::default() };
    Tdb::open(path, &options).unwrap()
}

/// A child that runs `work` when it is told to.
struct Child {
    pid: libc::pid_t,
    line: UnixStream,
}

impl Child {
    fn fork(work: impl FnOnce() -> bool) -> Child {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // SAFETY: the child runs `work` and ends without returning into the test harness.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // A child that hangs fails.
            // SAFETY: ends this process by a signal after a while.
            unsafe { libc::alarm(PATIENCE.as_secs() as u32) };
            let _ = theirs.read(&mut [0]);
            let good = catch_unwind(AssertUnwindSafe(work)).unwrap_or(false);
            // SAFETY: ends the child.
            unsafe { libc::_exit(if good { 0 } else { 1 }) };
        }
        assert!(pid > 0);
        Child { pid, line: ours }
    }

    /// Lets the child run and waits for its verdict.
    fn verdict(mut self) -> bool {
        // It may have been told already and be gone.
        let _ = self.line.write_all(&[1]);
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        assert_eq!(unsafe { libc::waitpid(self.pid, &mut status, 0) }, self.pid);
        status == 0
    }
}

fn refused<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Inherited { .. }))
}

fn each_kind(mut test: impl FnMut(&mut Tdb, u32)) {
    let _one = FORKING.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    for (i, (flags, style)) in KINDS.into_iter().enumerate() {
        let mut tdb = open(&dir.path().join(format!("{i}.tdb")), flags, style);
        tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        test(&mut tdb, flags);
        tdb.check().unwrap();
    }
}

#[test]
fn an_inherited_handle_refuses_its_work() {
    each_kind(|tdb, _| {
        let child = Child::fork(|| {
            refused(tdb.fetch(b"k"))
                && refused(tdb.exists(b"k"))
                && refused(tdb.store(b"k", &[b"w"], StoreMode::Replace))
                && refused(tdb.append(b"k", b"w"))
                && refused(tdb.delete(b"k"))
                && refused(tdb.lock_key(b"k"))
                && refused(tdb.chain_lock(b"k").map(|_| ()))
                && refused(tdb.try_lock_all(LockMode::Shared))
                && refused(tdb.traverse(|_, _| true))
                && refused(tdb.traverse_write(|_, _, _| true))
                && refused(tdb.transaction_start())
                && refused(tdb.wipe_all())
                && refused(tdb.repack())
                && refused(tdb.check())
                && refused(tdb.free_list_size())
                && refused(tdb.increment_seqnum())
                && tdb.fetch(b"k").unwrap_err().to_string().contains("reopen")
        });
        assert!(child.verdict());
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"v");
    });
}

#[test]
fn a_reopened_handle_works_and_is_excluded() {
    each_kind(|tdb, _| {
        let chain = tdb.chain_of(b"k");
        let child = Child::fork(|| {
            tdb.reopen(false).unwrap();
            let busy = !tdb.try_lock_chain(chain, LockMode::Exclusive).unwrap();
            let other = (chain + 1) % 7;
            let free = tdb.try_lock_chain(other, LockMode::Exclusive).unwrap();
            tdb.unlock_chain(other).unwrap();
            let key = (0..=255u8).find(|i| tdb.chain_of(&[*i]) == other).unwrap();
            tdb.store(&[key], &[b"from the child"], StoreMode::Insert).unwrap();
            busy && free
        });
        tdb.lock_chain(chain, LockMode::Exclusive).unwrap();
        assert!(child.verdict());
        // The child's end did not take our lock away.
        if let Some(mut peer) = CPeer::open(tdb.path(), 7, tdb.flags() & TDB_MUTEX_LOCKING) {
            assert_eq!(peer.err(&format!("lock_nb {}", hex(b"k"))), 3);
        }
        tdb.unlock_chain(chain).unwrap();
        assert_eq!(tdb.records().count(), 2);
    });
}

#[test]
fn locks_and_transactions_stay_with_the_parent() {
    each_kind(|tdb, _| {
        tdb.lock_chain(1, LockMode::Exclusive).unwrap();
        let child = Child::fork(|| {
            matches!(tdb.reopen(false), Err(Error::Lock(_))) && refused(tdb.unlock_chain(1))
        });
        assert!(child.verdict());
        tdb.unlock_chain(1).unwrap();

        tdb.lock_all(LockMode::Exclusive).unwrap();
        let child = Child::fork(|| {
            refused(tdb.store(b"k", &[b"child"], StoreMode::Replace))
                && refused(tdb.fetch(b"k"))
                && refused(tdb.unlock_all())
                && tdb.reopen(true).is_err()
        });
        assert!(child.verdict());
        tdb.unlock_all().unwrap();

        tdb.transaction_start().unwrap();
        tdb.store(b"k", &[b"parent"], StoreMode::Replace).unwrap();
        let child = Child::fork(|| {
            refused(tdb.transaction_commit())
                && refused(tdb.transaction_cancel())
                && refused(tdb.store(b"k", &[b"child"], StoreMode::Replace))
                && tdb.reopen(false).is_err()
        });
        assert!(child.verdict());
        tdb.transaction_commit().unwrap();
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"parent");
    });
}

/// A file that is cleared by its first user stays as it is while a child uses it.
#[test]
fn a_reopened_handle_keeps_the_file_alive() {
    let _one = FORKING.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    for (i, flags) in [0, TDB_MUTEX_LOCKING].into_iter().enumerate() {
        for (parent_lives_on, kept) in [(false, true), (true, false)] {
            let flags = flags | TDB_CLEAR_IF_FIRST;
            let path = dir.path().join(format!("{i}{parent_lives_on}.tdb"));
            let mut tdb = Some(open(&path, flags, LockStyle::Posix));
            tdb.as_mut().unwrap().store(b"k", &[b"v"], StoreMode::Insert).unwrap();
            let (mut told, tell) = UnixStream::pair().unwrap();
            let mut done = tell.try_clone().unwrap();
            let mut inherited = tdb.take();
            let child = Child::fork(|| {
                let mut tdb = inherited.take().unwrap();
                tdb.reopen(parent_lives_on).unwrap();
                done.write_all(&[1]).unwrap();
                // Until the parent has looked.
                let _ = done.read(&mut [0]);
                true
            });
            let mut line = child.line.try_clone().unwrap();
            line.write_all(&[1]).unwrap();
            told.read_exact(&mut [0]).unwrap();
            drop(inherited);
            let mut again = open(&path, flags, LockStyle::Posix);
            assert_eq!(again.exists(b"k").unwrap(), kept, "parent lives on: {parent_lives_on}");
            told.write_all(&[1]).unwrap();
            drop((told, tell, done));
            assert!(child.verdict());
        }
    }
}

#[test]
fn all_handles_at_once_and_those_without_locks() {
    let _one = FORKING.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let mut locked: Vec<Tdb> =
        (0..3).map(|i| open(&dir.path().join(format!("{i}.tdb")), 0, LockStyle::Posix)).collect();
    locked[0].store(b"k", &[b"v"], StoreMode::Insert).unwrap();
    let path = dir.path().join("memory");
    let mut internal = open(&path, TDB_INTERNAL, LockStyle::Posix);
    internal.store(b"k", &[b"before"], StoreMode::Insert).unwrap();
    let child = Child::fork(|| {
        // Memory is copied: what the child changes is the child's.
        internal.store(b"k", &[b"in the child"], StoreMode::Replace).unwrap();
        for i in 0..200u32 {
            internal.store(&i.to_le_bytes(), &[&[1; 500]], StoreMode::Insert).unwrap();
        }
        internal.reopen(false).unwrap();
        reopen_all(&mut locked, false).unwrap();
        internal.keys().count() == 201
            && locked[0].fetch(b"k").unwrap().unwrap() == b"v"
            && locked[2].store(b"c", &[b"child"], StoreMode::Insert).is_ok()
    });
    assert!(child.verdict());
    assert_eq!(internal.fetch(b"k").unwrap().unwrap(), b"before");
    assert_eq!(internal.keys().count(), 1);
    internal.store(b"more", &[&[2; 50_000]], StoreMode::Insert).unwrap();
    internal.check().unwrap();
    assert_eq!(locked[2].fetch(b"c").unwrap().unwrap(), b"child");
    // Here nothing has to be done, and it can be asked for.
    reopen_all(&mut locked, true).unwrap();
    locked[1].lock_chain(0, LockMode::Shared).unwrap();
    assert!(matches!(reopen_all(&mut locked, true), Err(Error::Lock(_))));
}

/// A child that opens the file anew and lets go of what it inherited keeps its locks.
#[test]
fn dropping_an_inherited_handle_drops_no_lock() {
    let _one = FORKING.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.tdb");
    let mut inherited = Some(open(&path, 0, LockStyle::Posix));
    let (mut told, mut tell) = UnixStream::pair().unwrap();
    let child = Child::fork(|| {
        let mut own = open(&path, 0, LockStyle::Posix);
        own.lock_chain(2, LockMode::Exclusive).unwrap();
        drop(inherited.take());
        tell.write_all(&[1]).unwrap();
        let _ = tell.read(&mut [0]);
        true
    });
    let mut line = child.line.try_clone().unwrap();
    line.write_all(&[1]).unwrap();
    told.read_exact(&mut [0]).unwrap();
    let tdb = inherited.as_mut().unwrap();
    assert!(!tdb.try_lock_chain(2, LockMode::Exclusive).unwrap());
    told.write_all(&[1]).unwrap();
    assert!(child.verdict());
    assert!(tdb.try_lock_chain(2, LockMode::Exclusive).unwrap());
}
