// SPDX-License-Identifier: GPL-3.0-or-later
//! Side by side with processes on the C library: same files, same locks.

mod common;

use common::{hex, CPeer};
use ctdb_tdb::*;
use std::path::Path;

const CLUSTER_VOLATILE: u32 =
    TDB_NOSYNC | TDB_CLEAR_IF_FIRST | TDB_INCOMPATIBLE_HASH | TDB_DISALLOW_NESTING;

/// Both kinds of lock, as a cluster uses them.
const KINDS: [u32; 2] = [CLUSTER_VOLATILE, CLUSTER_VOLATILE | TDB_MUTEX_LOCKING];

fn open(path: &Path, tdb_flags: u32, lock_style: LockStyle) -> Tdb {
    Tdb::open(
        path,
        &OpenOptions { tdb_flags, hash_size: 101, create: true, lock_style, ..Default::default() },
    )
    .unwrap()
}

/// A file made by one side, opened by both.
fn pair(dir: &Path, flags: u32, style: LockStyle, c_first: bool) -> Option<(Tdb, CPeer)> {
    let path = dir.join(format!("{flags}-{style:?}-{c_first}.tdb"));
    if c_first {
        let peer = CPeer::open(&path, 101, flags)?;
        Some((open(&path, flags, style), peer))
    } else {
        let tdb = open(&path, flags, style);
        Some((tdb, CPeer::open(&path, 101, flags)?))
    }
}

fn each_pair(mut test: impl FnMut(&mut Tdb, &mut CPeer)) {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        for style in [LockStyle::Posix, LockStyle::Ofd] {
            for c_first in [false, true] {
                let Some((mut tdb, mut peer)) = pair(dir.path(), flags, style, c_first) else {
                    return;
                };
                assert_eq!(tdb.uses_mutexes(), flags & TDB_MUTEX_LOCKING != 0);
                test(&mut tdb, &mut peer);
            }
        }
    }
}

#[test]
fn each_side_sees_what_the_other_writes() {
    each_pair(|tdb, peer| {
        for i in 0..300u32 {
            let key = format!("key{i}");
            let value = vec![i as u8; (i * 7 % 500) as usize];
            if i % 2 == 0 {
                tdb.store(key.as_bytes(), &[&value], StoreMode::Insert).unwrap();
            } else {
                peer.store(key.as_bytes(), &value);
            }
            assert_eq!(tdb.fetch(key.as_bytes()).unwrap().as_ref(), Some(&value));
            assert_eq!(peer.fetch(key.as_bytes()).as_ref(), Some(&value));
        }
        for i in (0..300u32).step_by(3) {
            let key = format!("key{i}");
            if i % 2 == 0 {
                peer.ok(&format!("delete {}", hex(key.as_bytes())));
            } else {
                tdb.delete(key.as_bytes()).unwrap();
            }
            assert_eq!(tdb.fetch(key.as_bytes()).unwrap(), None);
            assert_eq!(peer.fetch(key.as_bytes()), None);
        }
        tdb.append(b"key1", b"tail").unwrap();
        peer.ok(&format!("append {} {}", hex(b"key2"), hex(b"tail")));
        assert!(peer.fetch(b"key1").unwrap().ends_with(b"tail"));
        assert!(tdb.fetch(b"key2").unwrap().unwrap().ends_with(b"tail"));
        assert_eq!(peer.ok("count"), "200");
        assert_eq!(tdb.traverse(|_, _| true).unwrap(), 200);
        peer.ok("check");
        assert_eq!(tdb.check().unwrap().records, 200);
        tdb.wipe_all().unwrap();
        assert_eq!(peer.ok("count"), "0");
        peer.ok("check");
    });
}

#[test]
fn chain_locks_exclude_each_other() {
    each_pair(|tdb, peer| {
        let key = hex(b"k");
        {
            let _guard = tdb.chain_lock(b"k").unwrap();
            assert_eq!(peer.err(&format!("lock_nb {key}")), 3);
            peer.send(&format!("lock {key}"));
            assert!(peer.is_blocked());
        }
        assert_eq!(peer.answer(), "ok");
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        let chain = tdb.chain_of(b"k");
        let other = (chain + 1) % tdb.hash_size();
        assert!(tdb.try_lock_chain(other, LockMode::Exclusive).unwrap());
        assert!(!tdb.try_lock_chain(chain, LockMode::Exclusive).unwrap());
        tdb.unlock_chain(other).unwrap();
        peer.ok(&format!("unlock {key}"));
        assert!(tdb.try_chain_lock(b"k").unwrap().is_some());
        assert!(tdb.unlock_chain(chain).is_err());
    });
}

#[test]
fn shared_chain_locks() {
    each_pair(|tdb, peer| {
        peer.ok(&format!("rlock {}", hex(b"k")));
        let shared = tdb.try_chain_lock_read(b"k").unwrap().is_some();
        assert_eq!(shared, !tdb.uses_mutexes(), "mutexes are always exclusive");
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        peer.ok(&format!("runlock {}", hex(b"k")));
        assert!(tdb.try_chain_lock(b"k").unwrap().is_some());
    });
}

#[test]
fn the_allrecord_lock_excludes_and_is_excluded() {
    each_pair(|tdb, peer| {
        let key = hex(b"k");
        assert!(tdb.try_lock_all(LockMode::Exclusive).unwrap());
        assert_eq!(peer.err(&format!("lock_nb {key}")), 3);
        assert_eq!(peer.err("lockall_nb"), 3);
        assert_eq!(peer.err("rlockall_nb"), 3);
        peer.send(&format!("lock {key}"));
        assert!(peer.is_blocked());
        tdb.store(b"k", &[b"under the lock"], StoreMode::Replace).unwrap();
        tdb.unlock_all().unwrap();
        assert_eq!(peer.answer(), "ok");
        assert!(!tdb.try_lock_all(LockMode::Exclusive).unwrap());
        assert!(!tdb.try_lock_all(LockMode::Shared).unwrap());
        peer.ok(&format!("unlock {key}"));
        peer.ok("lockall");
        assert!(!tdb.try_lock_all(LockMode::Exclusive).unwrap());
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        peer.ok("unlockall");
        // Readers get on under a shared lock.
        tdb.lock_all(LockMode::Shared).unwrap();
        peer.ok(&format!("rlock_nb {key}"));
        peer.ok(&format!("runlock {key}"));
        assert_eq!(peer.err(&format!("lock_nb {key}")), 3);
        assert_eq!(peer.call("rlockall_nb").starts_with("ok"), !tdb.uses_mutexes());
        tdb.unlock_all().unwrap();
    });
}

#[test]
fn a_traverser_of_the_other_side_keeps_its_record() {
    each_pair(|tdb, peer| {
        tdb.store(b"only", &[b"value"], StoreMode::Insert).unwrap();
        peer.ok("firstkey");
        // The record is dead but stays in the chain while the peer stands on it.
        tdb.delete(b"only").unwrap();
        assert_eq!(tdb.check().unwrap().dead, 1);
        assert_eq!(tdb.fetch(b"only").unwrap(), None);
        assert!(!tdb.try_lock_all(LockMode::Exclusive).unwrap(), "record range is busy");
    });
}

#[test]
fn transactions_exclude_writers_and_appear_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for (i, flags) in [TDB_NOSYNC, TDB_NOSYNC | TDB_MUTEX_LOCKING].into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.tdb"));
        let mut tdb = open(&path, flags, LockStyle::Posix);
        let Some(mut peer) = CPeer::open(&path, 101, flags) else {
            return;
        };
        tdb.store(b"k", &[b"old"], StoreMode::Insert).unwrap();
        tdb.transaction_start().unwrap();
        tdb.store(b"k", &[b"new"], StoreMode::Replace).unwrap();
        tdb.store(b"big", &[&vec![5; 100_000]], StoreMode::Replace).unwrap();
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"new");
        assert_eq!(peer.fetch(b"k").unwrap(), b"old");
        assert_eq!(peer.err("tstart_nb"), 6);
        peer.send(&format!("store {} {} 1", hex(b"k"), hex(b"theirs")));
        assert!(peer.is_blocked());
        tdb.transaction_commit().unwrap();
        assert_eq!(peer.answer(), "ok");
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"theirs");
        assert_eq!(peer.fetch(b"big").unwrap().len(), 100_000);
        peer.ok("check");
        // And the other way round.
        peer.ok("tstart");
        peer.store(b"k", b"from C");
        assert!(!tdb.try_transaction_start().unwrap());
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"theirs");
        peer.ok("tcommit");
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"from C");
        // The area is used again, grows, and is cancelled.
        for size in [10usize, 5_000, 60_000, 300_000] {
            tdb.transaction_start().unwrap();
            tdb.store(b"big", &[&vec![6; size]], StoreMode::Replace).unwrap();
            tdb.transaction_prepare().unwrap();
            tdb.transaction_cancel().unwrap();
            assert_eq!(tdb.check().unwrap().dead_space, 0, "{size}");
            peer.ok("check");
            tdb.transaction_start().unwrap();
            for i in 0..size as u32 / 100 {
                tdb.store(&i.to_le_bytes(), &[&[1; 90]], StoreMode::Replace).unwrap();
            }
            tdb.store(b"big", &[&vec![7; size]], StoreMode::Replace).unwrap();
            tdb.transaction_commit().unwrap();
            assert_eq!(peer.fetch(b"big").unwrap(), vec![7; size]);
            peer.ok("check");
            tdb.check().unwrap();
        }
        peer.ok("tstart");
        peer.ok("wipe");
        peer.ok("tcommit");
        assert_eq!(tdb.traverse(|_, _| true).unwrap(), 0);
    }
}

#[test]
fn sequence_numbers_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.tdb");
    let mut tdb = open(&path, TDB_SEQNUM, LockStyle::Posix);
    let Some(mut peer) = CPeer::open(&path, 101, TDB_SEQNUM) else {
        return;
    };
    let both = |tdb: &mut Tdb, peer: &mut CPeer| {
        let seen = tdb.seqnum().unwrap();
        assert_eq!(peer.ok("seqnum"), seen.to_string());
        seen
    };
    tdb.store(b"a", &[b"1"], StoreMode::Replace).unwrap();
    assert_eq!(both(&mut tdb, &mut peer), 1);
    tdb.store(b"a", &[b"1"], StoreMode::Replace).unwrap();
    assert_eq!(both(&mut tdb, &mut peer), 2);
    tdb.store(b"a", &[&[1; 500]], StoreMode::Replace).unwrap();
    assert_eq!(both(&mut tdb, &mut peer), 4, "a move counts twice");
    tdb.delete(b"a").unwrap();
    assert!(matches!(tdb.delete(b"a"), Err(Error::NotFound)));
    assert_eq!(both(&mut tdb, &mut peer), 5);
    peer.store(b"b", b"2");
    assert_eq!(both(&mut tdb, &mut peer), 6);
    tdb.wipe_all().unwrap();
    assert_eq!(both(&mut tdb, &mut peer), 7);
}

#[test]
fn clear_if_first_clears_only_for_the_first() {
    let dir = tempfile::tempdir().unwrap();
    for (i, flags) in KINDS.into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.tdb"));
        let mut tdb = open(&path, flags, LockStyle::Ofd);
        tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        let Some(mut peer) = CPeer::open(&path, 7, flags) else {
            return;
        };
        assert_eq!(peer.fetch(b"k").unwrap(), b"v");
        drop(tdb);
        let mut tdb = open(&path, flags, LockStyle::Posix);
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"v", "the peer keeps it alive");
        drop(tdb);
        peer.ok("close");
        let mut tdb = open(&path, flags, LockStyle::Ofd);
        assert_eq!(tdb.fetch(b"k").unwrap(), None);
        peer.ok(&format!("open {} 7 {flags}", path.display()));
        assert_eq!(peer.ok("flags"), tdb.flags().to_string());
    }
}

#[test]
fn a_killed_holder_frees_its_locks() {
    each_pair(|tdb, peer| {
        peer.ok(&format!("lock {}", hex(b"k")));
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        peer.send("die");
        peer.wait();
        assert!(tdb.chain_lock(b"k").is_ok());
        let mut second = CPeer::open(tdb.path(), 101, tdb.flags() & !TDB_CLEAR_IF_FIRST).unwrap();
        second.ok("lockall");
        second.send("die");
        second.wait();
        tdb.lock_all(LockMode::Exclusive).unwrap();
        tdb.unlock_all().unwrap();
    });
}

#[test]
fn an_orphaned_mutex_is_freed() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut tdb, mut peer)) =
        pair(dir.path(), CLUSTER_VOLATILE | TDB_MUTEX_LOCKING, LockStyle::Ofd, true)
    else {
        return;
    };
    peer.ok(&format!("lock {}", hex(b"k")));
    peer.ok("vanish");
    peer.wait();
    assert!(tdb.try_chain_lock(b"k").unwrap().is_none(), "the mutex is orphaned");
    assert!(tdb.chain_lock(b"k").is_ok());
    assert!(tdb.try_chain_lock(b"k").unwrap().is_some());
}

/// A mutex whose owner lives and maps the file is left alone, however long it is held.
#[test]
fn a_slow_holder_keeps_its_mutex() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut tdb, mut peer)) =
        pair(dir.path(), CLUSTER_VOLATILE | TDB_MUTEX_LOCKING, LockStyle::Ofd, true)
    else {
        return;
    };
    peer.ok(&format!("lock {}", hex(b"k")));
    let access = tdb.lock_access().unwrap();
    let pool = WaiterPool::new(1);
    let (send, got) = std::sync::mpsc::channel();
    let deliver = Box::new(move |token: Result<ChainToken>| send.send(token).unwrap());
    pool.request_chain(&access, tdb.chain_of(b"k"), deliver).unwrap();
    // Longer than two samples of the orphan check.
    assert!(got.recv_timeout(std::time::Duration::from_millis(3500)).is_err());
    peer.ok(&format!("unlock {}", hex(b"k")));
    assert!(got.recv_timeout(common::PATIENCE).unwrap().is_ok());
}

/// The peer dies in its commit; whoever comes first repairs the file.
#[test]
fn survivors_recover_an_interrupted_commit() {
    let dir = tempfile::tempdir().unwrap();
    for (i, flags) in [0, TDB_MUTEX_LOCKING].into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.tdb"));
        let mut tdb = open(&path, flags, LockStyle::Posix);
        let Some(mut peer) = CPeer::open(&path, 101, flags) else {
            return;
        };
        tdb.store(b"k", &[b"old"], StoreMode::Insert).unwrap();
        peer.ok("tstart");
        peer.store(b"k", b"never committed");
        peer.ok("tprepare");
        peer.send("die");
        peer.wait();
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"old");
        let report = tdb.check().unwrap();
        assert_eq!((report.records, report.dead_space), (1, 0));
        // And one that we interrupt: the C library recovers it.
        let mut second = CPeer::open(&path, 101, flags).unwrap();
        second.ok("check");
        assert_eq!(second.fetch(b"k").unwrap(), b"old");
    }
}

#[test]
fn the_tools_accept_our_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tools.tdb");
    let mut tdb = open(&path, 0, LockStyle::Posix);
    for i in 0..50u32 {
        let key = format!("k{i}");
        tdb.store(key.as_bytes(), &[b"v\"\\", &[i as u8]], StoreMode::Insert).unwrap();
    }
    drop(tdb);
    let tool = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).arg(&path).output();
        output.ok().map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
    };
    let Some(dump) = tool("tdbdump", &[]) else {
        eprintln!("SKIPPED: needs tdb-tools");
        return;
    };
    assert_eq!(dump.matches("key(").count(), 50);
    let output = std::process::Command::new("tdbtool").arg(&path).arg("check").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("integrity is OK and has 50 records"), "{text}");
}

/// A reader's lock of a chain becomes a writer's only when nobody reads everything: on a mutex file
/// the mutex alone does not tell.
#[test]
fn a_chain_lock_becomes_exclusive_only_without_readers_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    let options = OpenOptions {
        tdb_flags: TDB_MUTEX_LOCKING | TDB_NOSYNC,
        hash_size: 7,
        create: true,
        ..Default::default()
    };
    let mut tdb = Tdb::open(&path, &options).unwrap();
    let Some(mut peer) = CPeer::open(&path, 7, TDB_MUTEX_LOCKING) else {
        return;
    };
    peer.ok("rlockall");
    tdb.lock_chain(3, LockMode::Shared).unwrap();
    assert!(!tdb.try_lock_chain(3, LockMode::Exclusive).unwrap());
    assert!(!tdb.try_lock_chain(4, LockMode::Exclusive).unwrap());
    assert!(tdb.try_lock_chain(4, LockMode::Shared).unwrap());
    peer.ok("runlockall");
    assert!(tdb.try_lock_chain(3, LockMode::Exclusive).unwrap());
    // Now who wants everything waits for us, and we can go on.
    peer.send("lockall");
    assert!(peer.is_blocked());
    tdb.lock_chain(5, LockMode::Exclusive).unwrap();
    // Chain 3 stays locked as long as chain 5, which was taken ahead of him.
    for chain in [4, 3, 3] {
        tdb.unlock_chain(chain).unwrap();
    }
    assert!(peer.is_blocked());
    assert!(tdb.unlock_chain(3).is_err());
    tdb.unlock_chain(5).unwrap();
    assert_eq!(peer.answer(), "ok");
    peer.ok("unlockall");
    tdb.lock_all(LockMode::Exclusive).unwrap();
    tdb.unlock_all().unwrap();
}

/// A hash function of the caller's own: both sides bring it, and nobody opens the file without.
#[test]
fn own_hash_functions() {
    fn own(key: &[u8]) -> u32 {
        key.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
    }
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_INCOMPATIBLE_HASH, TDB_MUTEX_LOCKING] {
        for c_first in [false, true] {
            let path = dir.path().join(format!("{flags}{c_first}.tdb"));
            let options = OpenOptions {
                tdb_flags: flags,
                hash_size: 101,
                hash_function: Some(own),
                create: true,
                ..Default::default()
            };
            let Some(mut peer) = CPeer::start() else {
                return;
            };
            let open_peer = format!("open_custom {} 101 {flags}", path.display());
            if c_first {
                peer.ok(&open_peer);
            }
            let mut tdb = Tdb::open(&path, &options).unwrap();
            if !c_first {
                peer.ok(&open_peer);
            }
            assert_eq!(tdb.hash_kind(), HashKind::Custom(own));
            for i in 0..50u32 {
                let key = format!("key{i}");
                if i % 2 == 0 {
                    tdb.store(key.as_bytes(), &[b"v"], StoreMode::Insert).unwrap();
                } else {
                    peer.store(key.as_bytes(), b"v");
                }
                assert!(tdb.exists(key.as_bytes()).unwrap());
                assert!(peer.fetch(key.as_bytes()).is_some());
            }
            assert_eq!(tdb.check().unwrap().records, 50);
            peer.ok("check");
            let text = String::from_utf8(common::unhex(&peer.ok("summary"))).unwrap();
            assert_eq!(tdb.summary().unwrap().to_string(), text);
            drop(tdb);
            let others: [Option<HashFunction>; 2] = [None, Some(jenkins_hash)];
            for hash_function in others {
                let wrong = OpenOptions { hash_function, ..options.clone() };
                let error = Tdb::open(&path, &wrong).err().expect("must be refused");
                assert_eq!(error.errno(), libc::EINVAL);
            }
        }
    }
}
