// SPDX-License-Identifier: GPL-3.0-or-later
//! Waiting for locks that others hold, for a limited time.

mod common;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{hex, CPeer, PATIENCE};
use ctdb_tdb::*;

const HASH_SIZE: u32 = 31;
const KINDS: [(u32, LockStyle); 4] = [
    (0, LockStyle::Posix),
    (0, LockStyle::Ofd),
    (TDB_MUTEX_LOCKING, LockStyle::Posix),
    (TDB_MUTEX_LOCKING, LockStyle::Ofd),
];
const SHORT: Duration = Duration::from_millis(60);

fn open(path: &Path, tdb_flags: u32, lock_style: LockStyle) -> Tdb {
    let options = OpenOptions {
        tdb_flags: tdb_flags | TDB_NOSYNC,
        create: true,
        hash_size: HASH_SIZE,
        lock_style,
        ..Default::default()
    };
    Tdb::open(path, &options).unwrap()
}

fn each_pair(mut test: impl FnMut(&mut Tdb, &mut CPeer)) {
    let dir = tempfile::tempdir().unwrap();
    for (i, (flags, style)) in KINDS.into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.tdb"));
        let Some(mut peer) = CPeer::open(&path, HASH_SIZE, flags) else {
            return;
        };
        test(&mut open(&path, flags, style), &mut peer);
    }
}

/// `lock` fails when its time is over (and not before), and succeeds when `let_go` comes in time.
fn in_time(tdb: &mut Tdb, lock: impl Fn(&mut Tdb, Instant) -> bool, let_go: impl FnOnce() + Send) {
    let start = Instant::now();
    assert!(!lock(tdb, start + SHORT));
    let waited = start.elapsed();
    // Long before a mutex waiter looks after a lost owner.
    assert!(waited >= SHORT && waited < Duration::from_millis(700), "{waited:?}");
    assert!(!lock(tdb, start), "a deadline in the past just tries");
    // A mutex stays with the thread that took it: that is this one.
    thread::scope(|scope| {
        scope.spawn(|| {
            // Likely in the middle of the wait; right in any case.
            thread::sleep(Duration::from_millis(10));
            let_go();
        });
        assert!(lock(tdb, Instant::now() + PATIENCE));
    });
}

#[test]
fn a_chain_is_waited_for_until_the_deadline() {
    each_pair(|tdb, peer| {
        let chain = tdb.chain_of(b"k");
        peer.ok(&format!("lock {}", hex(b"k")));
        let lock = |tdb: &mut Tdb, deadline: Instant| {
            tdb.lock_chain_until(chain, LockMode::Exclusive, deadline).unwrap()
        };
        in_time(tdb, lock, || drop(peer.ok(&format!("unlock {}", hex(b"k")))));
        assert_eq!(peer.err(&format!("lock_nb {}", hex(b"k"))), 3);
        tdb.unlock_chain(chain).unwrap();
        let soon = Instant::now() + SHORT;
        let mut guard = tdb.chain_lock_until(b"k", LockMode::Exclusive, soon).unwrap().unwrap();
        guard.store(b"k", &[b"v"], StoreMode::Replace).unwrap();
        drop(guard);
        peer.ok("lockall");
        let guard = tdb.chain_lock_until(b"k", LockMode::Shared, Instant::now() + SHORT);
        assert!(guard.unwrap().is_none());
        assert!(tdb.lock_chain_until(HASH_SIZE, LockMode::Shared, Instant::now()).is_err());
    });
}

#[test]
fn everything_is_waited_for_until_the_deadline() {
    each_pair(|tdb, peer| {
        peer.ok(&format!("lock {}", hex(b"k")));
        let lock = |tdb: &mut Tdb, deadline: Instant| {
            tdb.lock_all_until(LockMode::Exclusive, deadline).unwrap()
        };
        in_time(tdb, lock, || drop(peer.ok(&format!("unlock {}", hex(b"k")))));
        assert_eq!(peer.err(&format!("lock_nb {}", hex(b"other"))), 3);
        tdb.unlock_all().unwrap();
        // Nothing is left behind by those that gave up.
        peer.ok(&format!("lock_nb {}", hex(b"other")));
        peer.ok(&format!("unlock {}", hex(b"other")));
        peer.ok("lockall");
        in_time(tdb, lock, || drop(peer.ok("unlockall")));
        tdb.unlock_all().unwrap();
        // A traverser that stands on a record.
        tdb.store(b"k", &[b"v"], StoreMode::Replace).unwrap();
        peer.ok("firstkey");
        in_time(tdb, lock, || drop(peer.ok("close")));
        tdb.unlock_all().unwrap();
    });
}

#[test]
fn a_transaction_is_waited_for_until_the_deadline() {
    each_pair(|tdb, peer| {
        let start =
            |tdb: &mut Tdb, deadline: Instant| tdb.transaction_start_until(deadline).unwrap();
        peer.ok("tstart");
        in_time(tdb, start, || drop(peer.ok("tcommit")));
        tdb.transaction_cancel().unwrap();
        peer.ok("lockall");
        in_time(tdb, start, || drop(peer.ok("unlockall")));
        tdb.store(b"k", &[b"v"], StoreMode::Replace).unwrap();
        tdb.transaction_commit().unwrap();
        assert_eq!(peer.fetch(b"k").unwrap(), b"v");
        peer.ok("tstart_nb");
    });
}
