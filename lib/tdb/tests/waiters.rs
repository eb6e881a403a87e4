// SPDX-License-Identifier: GPL-3.0-or-later
//! Lock waiters and freezers, with C processes as the other side.

mod common;

use std::path::Path;
use std::sync::mpsc::{channel, Receiver};

use common::{hex, CPeer, BLOCKED, PATIENCE};
use ctdb_tdb::*;

const FCNTL: u32 = TDB_NOSYNC | TDB_CLEAR_IF_FIRST | TDB_INCOMPATIBLE_HASH;
const KINDS: [u32; 2] = [FCNTL, FCNTL | TDB_MUTEX_LOCKING];

fn open(path: &Path, tdb_flags: u32) -> Tdb {
    let options = OpenOptions {
        tdb_flags,
        hash_size: 101,
        create: true,
        lock_style: LockStyle::Ofd,
        ..Default::default()
    };
    Tdb::open(path, &options).unwrap()
}

/// Runs a test on a fcntl file and on a mutex file.
fn each_kind(mut test: impl FnMut(&mut Tdb, &mut CPeer)) {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags);
        let Some(mut peer) = CPeer::open(&path, 101, flags) else {
            return;
        };
        test(&mut tdb, &mut peer);
    }
}

fn request(pool: &WaiterPool, tdb: &mut Tdb, key: &[u8]) -> (Ticket, Receiver<Result<ChainToken>>) {
    let access = tdb.lock_access().unwrap();
    let (send, got) = channel();
    let deliver = Box::new(move |token| {
        let _ = send.send(token);
    });
    (pool.request_chain(&access, tdb.chain_of(key), deliver).unwrap(), got)
}

fn freeze(tdb: &mut Tdb) -> (Freezer, Receiver<Result<FreezeToken>>) {
    let access = tdb.lock_access().unwrap();
    let (send, got) = channel();
    let deliver = Box::new(move |token| {
        let _ = send.send(token);
    });
    (Freezer::request(&access, deliver).unwrap(), got)
}

fn got<T>(receiver: &Receiver<Result<T>>) -> T {
    receiver.recv_timeout(PATIENCE).expect("delivered").unwrap()
}

fn is_waiting<T>(receiver: &Receiver<T>) -> bool {
    receiver.recv_timeout(BLOCKED).is_err()
}

#[test]
fn a_waiter_gets_the_lock_when_it_is_free_and_the_loop_works_under_it() {
    each_kind(|tdb, peer| {
        let pool = WaiterPool::new(4);
        let key = hex(b"k");
        peer.ok(&format!("lock {key}"));
        let (_, result) = request(&pool, tdb, b"k");
        assert!(is_waiting(&result));
        peer.ok(&format!("unlock {key}"));
        let token = got(&result);
        assert_eq!(token.chain(), tdb.chain_of(b"k"));
        // Held: by the peer's and by the loop's view.
        assert_eq!(peer.err(&format!("lock_nb {key}")), 3);
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        tdb.with_marked_chain(&token, |tdb| {
            tdb.store(b"k", &[b"under", b" token"], StoreMode::Replace).unwrap();
            assert_eq!(tdb.fetch_locked(b"k").unwrap().unwrap(), b"under token");
            let mut guard = tdb.try_chain_lock(b"k").unwrap().expect("counts as held");
            guard.store(b"k", &[&[9; 1000]], StoreMode::Replace).unwrap();
        })
        .unwrap();
        assert!(tdb.fetch_locked(b"k").is_err(), "the mark is gone");
        assert_eq!(peer.err(&format!("lock_nb {key}")), 3);
        peer.send(&format!("lock {key}"));
        assert!(peer.is_blocked());
        drop(token);
        assert_eq!(peer.answer(), "ok");
        assert_eq!(peer.fetch(b"k").unwrap(), [9; 1000]);
        peer.ok(&format!("unlock {key}"));
        assert!(tdb.try_chain_lock(b"k").unwrap().is_some());
    });
}

#[test]
fn one_token_per_chain_at_a_time() {
    each_kind(|tdb, peer| {
        let pool = WaiterPool::new(4);
        peer.ok(&format!("lock {}", hex(b"k")));
        let requests: Vec<_> = (0..3).map(|_| request(&pool, tdb, b"k").1).collect();
        peer.ok(&format!("unlock {}", hex(b"k")));
        for (i, result) in requests.iter().enumerate() {
            let token = got(result);
            for later in &requests[i + 1..] {
                assert!(later.try_recv().is_err(), "two tokens for one chain");
            }
            drop(token);
        }
    });
}

#[test]
fn requests_beyond_the_bound_queue() {
    each_kind(|tdb, _| {
        let pool = WaiterPool::new(1);
        let first = got(&request(&pool, tdb, b"a").1);
        assert_ne!(tdb.chain_of(b"a"), tdb.chain_of(b"b"));
        let (_, second) = request(&pool, tdb, b"b");
        if tdb.uses_mutexes() {
            assert!(is_waiting(&second), "the only thread is parked with the first mutex");
        }
        drop(first);
        drop(got(&second));
    });
}

#[test]
fn cancelled_requests_are_not_delivered() {
    each_kind(|tdb, peer| {
        let pool = WaiterPool::new(1);
        peer.ok(&format!("lock {}", hex(b"k")));
        let (active, cancelled) = request(&pool, tdb, b"k");
        assert!(is_waiting(&cancelled));
        let (queued, also) = request(&pool, tdb, b"k");
        let (_, third) = request(&pool, tdb, b"k");
        assert!(pool.cancel(queued));
        assert!(pool.cancel(active));
        assert!(!pool.cancel(active));
        peer.ok(&format!("unlock {}", hex(b"k")));
        drop(got(&third));
        assert!(cancelled.try_recv().is_err() && also.try_recv().is_err());
        assert_eq!(pool.pending(), 0);
        // Nothing is left locked.
        peer.ok(&format!("lock {}", hex(b"k")));
    });
}

#[test]
fn a_dropped_pool_gives_back_what_it_gets_later() {
    each_kind(|tdb, peer| {
        let pool = WaiterPool::new(2);
        peer.ok(&format!("lock {}", hex(b"k")));
        let (_, result) = request(&pool, tdb, b"k");
        assert!(is_waiting(&result));
        drop(pool);
        peer.ok(&format!("unlock {}", hex(b"k")));
        assert!(tdb.chain_lock(b"k").is_ok());
        assert!(result.recv_timeout(PATIENCE).is_err(), "the request is gone");
    });
}

#[test]
fn a_freeze_excludes_everybody_but_its_token() {
    each_kind(|tdb, peer| {
        peer.store(b"k", b"v");
        peer.ok(&format!("lock {}", hex(b"other")));
        let (_freezer, result) = freeze(tdb);
        assert!(is_waiting(&result));
        assert!(Freezer::request(&tdb.lock_access().unwrap(), Box::new(|_| ())).is_err());
        peer.ok(&format!("unlock {}", hex(b"other")));
        let token = got(&result);
        assert!(Freezer::request(&tdb.lock_access().unwrap(), Box::new(|_| ())).is_err());
        assert_eq!(peer.err(&format!("lock_nb {}", hex(b"k"))), 3);
        assert_eq!(peer.err("lockall_nb"), 3);
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        // A chain request waits for the thaw in its queue.
        let pool = WaiterPool::new(1);
        let (_, chain) = request(&pool, tdb, b"k");
        tdb.with_freeze(&token, |tdb| {
            assert!(tdb.is_frozen());
            assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"v");
            tdb.store(b"k", &[b"frozen"], StoreMode::Modify).unwrap();
            tdb.transaction_start().unwrap();
            tdb.wipe_all().unwrap();
        })
        .unwrap();
        assert!(tdb.fetch(b"k").is_err(), "the transaction is not usable without the token");
        tdb.with_freeze(&token, |tdb| {
            for i in 0..1000u32 {
                tdb.store(&i.to_le_bytes(), &[&[3; 50]], StoreMode::Insert).unwrap();
            }
            tdb.transaction_commit().unwrap();
        })
        .unwrap();
        assert!(chain.try_recv().is_err());
        tdb.adopt_freeze(token).unwrap();
        assert_eq!(tdb.traverse(|_, _| true).unwrap(), 1000);
        let mut cursor = TraverseCursor::new();
        let mut seen = 0;
        let mut turns = 0;
        while cursor.next_batch(tdb, 100, u64::MAX, |_, _| true).unwrap() {
            turns += 1;
        }
        assert!(turns >= 5, "{turns}");
        let changed = tdb
            .traverse_all(|_, data| {
                seen += data.len();
                data[0] = 77;
                true
            })
            .unwrap();
        assert_eq!((changed, seen), (1000, 50_000));
        assert_eq!(tdb.check().unwrap().records, 1000);
        tdb.thaw();
        assert!(!tdb.is_frozen());
        drop(got(&chain));
        assert_eq!(peer.ok("count"), "1000");
        assert_eq!(peer.fetch(&5u32.to_le_bytes()).unwrap()[..2], [77, 3]);
        peer.ok("check");
    });
}

#[test]
fn a_transaction_left_open_is_cancelled_by_the_thaw() {
    each_kind(|tdb, peer| {
        peer.store(b"k", b"v");
        let token = got(&freeze(tdb).1);
        tdb.adopt_freeze(token).unwrap();
        tdb.transaction_start().unwrap();
        tdb.wipe_all().unwrap();
        tdb.thaw();
        assert!(!tdb.in_transaction());
        assert_eq!(peer.fetch(b"k").unwrap(), b"v");
    });
}

#[test]
fn a_withdrawn_freeze_leaves_nothing_locked() {
    each_kind(|tdb, peer| {
        peer.ok(&format!("lock {}", hex(b"k")));
        let (freezer, first) = freeze(tdb);
        assert!(is_waiting(&first));
        assert!(freezer.cancel());
        let (_freezer, second) = freeze(tdb);
        peer.ok(&format!("unlock {}", hex(b"k")));
        drop(got(&second));
        assert!(first.try_recv().is_err());
        peer.ok("lockall");
        peer.ok("unlockall");
    });
}

/// The C traverser stands on a record; the freeze backs off and gets through when it moves on.
#[test]
fn a_freeze_does_not_deadlock_with_a_traverser() {
    each_kind(|tdb, peer| {
        peer.store(b"a", b"1");
        peer.store(b"b", b"2");
        peer.ok("firstkey");
        let (_freezer, result) = freeze(tdb);
        assert!(is_waiting(&result));
        // The traverser goes on: it gets chain locks although a freeze is wanted.
        peer.ok("verify");
        peer.ok("close");
        drop(got(&result));
    });
}

#[test]
fn a_freeze_survives_the_death_of_a_lock_holder() {
    each_kind(|tdb, peer| {
        peer.ok(&format!("lock {}", hex(b"k")));
        let (_freezer, result) = freeze(tdb);
        assert!(is_waiting(&result));
        peer.kill();
        drop(got(&result));
    });
}

#[test]
fn a_freeze_survives_an_orphaned_mutex() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.tdb");
    let mut tdb = open(&path, KINDS[1]);
    let Some(mut peer) = CPeer::open(&path, 101, KINDS[1]) else {
        return;
    };
    peer.ok(&format!("lock {}", hex(b"k")));
    peer.ok("vanish");
    peer.wait();
    drop(got(&freeze(&mut tdb).1));
}

#[test]
fn tokens_of_other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = open(&dir.path().join("1.tdb"), FCNTL);
    let mut two = open(&dir.path().join("2.tdb"), FCNTL);
    let pool = WaiterPool::new(2);
    let token = got(&request(&pool, &mut one, b"k").1);
    two.lock_access().unwrap();
    assert!(two.with_marked_chain(&token, |_| ()).is_err());
    let token = got(&freeze(&mut two).1);
    assert!(one.with_freeze(&token, |_| ()).is_err());
}

#[test]
fn posix_handles_have_no_waiters() {
    let dir = tempfile::tempdir().unwrap();
    let options = OpenOptions { create: true, ..Default::default() };
    let mut tdb = Tdb::open(dir.path().join("p.tdb"), &options).unwrap();
    assert!(matches!(tdb.lock_access(), Err(Error::Usage(_))));
}
