// SPDX-License-Identifier: GPL-3.0-or-later
//! The known defects of the C implementation (spec/tdb.md 25), one by one: what they do, and that
//! it does not happen here.
//!
//! | Entry | Defect | Test |
//! |---|---|---|
//! | H1 | a crashed or cancelled commit leaves space that belongs to no record | `h1_space_of_a_crashed_commit_is_used_again`, `h1_space_of_a_cancelled_commit_is_used_again`; every crash: src/crash_tests.rs |
//! | H2 | a second open in the process drops the locks of the first, and may wipe the file | `h2_a_second_open_does_no_harm` |
//! | H3 | creating overwrites a file that is no database, or a short one | `h3_creating_spares_what_is_no_database` |
//! | H4 | free-list tools look at a list that the holder of the whole database is changing | `h4_free_list_tools_wait_for_the_whole_database` |
//! | H5 | recovery of a mutex file does not stop the holders of chain mutexes | `h5_recovery_waits_for_holders_of_chain_mutexes` |
//! | H6 | a commit under locks of others does not stop openers | `h6_openers_wait_for_a_commit_without_locks` |
//! | H7 | dead records are used anew under traversers | `h7_dead_records_under_traversers_stay` |
//! | H8 | traversal and the lock of the whole database deadlock | `h8_a_traversal_does_not_hold_up_who_locks_everything`, `h8_who_locks_everything_does_not_hold_up_a_traversal` |
//! | H9 | endless traversal of longer cycles, endless count of the free list | `h9_cycles_are_errors` |
//! | H10 | recovery trusts the lengths in the undo log | `h10_undo_entries_are_judged_before_any_is_applied` |
//! | H11 | a killed writer leaves a record that no chain leads to | `h11_a_leaked_record_is_reported_and_repacked_away`; what is left of ours: src/crash_tests.rs |
//! | H12 | the process that holds marked locks may die unnoticed | none: here locks that are worked under are held by threads of the same process (`ChainToken`, `FreezeToken`), which cannot end while a token exists |
//! | H13 | a reader without write access fails without an errno while a recovery is due | `h13_a_due_recovery_is_an_error_with_a_reason`; it is still refused, as tools that read such a file expect; a wait for a commit under way: H15 |
//! | H14 | bytes at the end of a recovery area may look like a tailer | `h14_recovery_areas_end_in_no_tailer` |
//! | H15 | a writer without locks rolls back the running commit of another | `h15_an_open_without_locks_waits_for_a_running_commit`, `h15_a_handle_without_locks_never_recovers`, `h15_readers_see_nothing_of_a_running_commit` |
//! | H16 | a wipe leaves gaps too small for a record | `h16_a_wipe_leaves_no_gaps` |
//! | (not listed) | a mutex file's second opener does not hold the active lock: when the first is gone, the next opener makes its mutexes anew under it | `mutexes_in_use_are_not_made_anew` |

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use common::{hex, CPeer, BLOCKED, PATIENCE};
use ctdb_tdb::*;

const MUTEX_AND_NOT: [u32; 2] = [0, TDB_MUTEX_LOCKING];

fn options(tdb_flags: u32) -> OpenOptions {
    OpenOptions { tdb_flags, create: true, hash_size: 31, ..Default::default() }
}

fn open(path: &Path, tdb_flags: u32) -> Tdb {
    Tdb::open(path, &options(tdb_flags)).unwrap()
}

fn golden(name: &str, dir: &Path) -> PathBuf {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/tdb");
    let path = dir.join(name);
    fs::copy(vectors.join(name), &path).unwrap();
    path
}

fn words(path: &Path, at: u64, count: usize) -> Vec<u32> {
    let mut bytes = vec![0; 4 * count];
    fs::File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes.chunks_exact(4).map(|c| u32::from_ne_bytes(c.try_into().unwrap())).collect()
}

/// Not while a handle with POSIX locks is open here: the closing would drop them.
fn put_word(path: &Path, at: u64, word: u32) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&word.to_ne_bytes(), at).unwrap();
}

/// Runs `work` on a thread of its own; `wait` in the middle of it sees that it is held up.
fn held_up<R: Send>(work: impl FnOnce() -> R + Send, let_go: impl FnOnce()) -> R {
    let (send, done) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || send.send(work()));
        assert!(done.recv_timeout(BLOCKED).is_err(), "was not held up");
        let_go();
        done.recv_timeout(PATIENCE).expect("is still held up")
    })
}

/// Makes the file grow behind what is there now, and asks both sides.
fn grow_and_check(path: &Path, flags: u32) {
    let mut tdb = open(path, flags);
    assert_eq!(tdb.check().unwrap().dead_space, 0);
    let before = tdb.map_size();
    let mut i = 0u32;
    while tdb.map_size() < before + 40_000 {
        tdb.store(format!("new{i}").as_bytes(), &[&[7; 400]], StoreMode::Insert).unwrap();
        i += 1;
    }
    assert_eq!(tdb.check().unwrap().dead_space, 0);
    if let Some(mut peer) = CPeer::open(path, 31, flags) {
        peer.ok("check");
    }
}

#[test]
fn h1_space_of_a_crashed_commit_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["", "fresh-"] {
        for sync in 2..=3 {
            let path = golden(&format!("txn-crash-{kind}sync{sync}.tdb"), dir.path());
            grow_and_check(&path, 0);
        }
    }
    // Ours, killed when everything is prepared: by a copy of the file, which has no owner.
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        let copy = dir.path().join(format!("copy{flags}.tdb"));
        let mut tdb = open(&path, flags);
        tdb.store(b"old", &[b"value"], StoreMode::Insert).unwrap();
        tdb.transaction_start().unwrap();
        tdb.store(b"new", &[&[1; 30_000]], StoreMode::Insert).unwrap();
        tdb.transaction_prepare().unwrap();
        fs::copy(&path, &copy).unwrap();
        tdb.transaction_cancel().unwrap();
        grow_and_check(&copy, flags);
        assert_eq!(open(&copy, flags).fetch(b"old").unwrap().unwrap(), b"value");
    }
}

#[test]
fn h1_space_of_a_cancelled_commit_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags);
        tdb.store(b"old", &[b"value"], StoreMode::Insert).unwrap();
        for size in [10usize, 20_000, 100_000] {
            tdb.transaction_start().unwrap();
            tdb.store(b"new", &[&vec![1; size]], StoreMode::Insert).unwrap();
            tdb.transaction_prepare().unwrap();
            tdb.transaction_cancel().unwrap();
            assert_eq!(tdb.check().unwrap().dead_space, 0);
        }
        drop(tdb);
        grow_and_check(&path, flags);
    }
}

#[test]
fn h2_a_second_open_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags);
        tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        let Some(mut peer) = CPeer::open(&path, 31, flags) else {
            return;
        };
        tdb.lock_chain(tdb.chain_of(b"k"), LockMode::Exclusive).unwrap();
        let second = Tdb::open(&path, &options(flags | TDB_CLEAR_IF_FIRST));
        assert!(matches!(second, Err(Error::AlreadyOpen { .. })));
        assert_eq!(peer.err(&format!("lock_nb {}", hex(b"k"))), 3, "the lock is still ours");
        assert!(tdb.fetch(b"k").unwrap().is_some());
    }
}

#[test]
fn h3_creating_spares_what_is_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let whole = {
        let mut tdb = open(&path, 0);
        tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        drop(tdb);
        fs::read(&path).unwrap()
    };
    let mut nearly_empty = vec![0; 100_000];
    nearly_empty[99_999] = 1;
    for content in [&b"text"[..], &[1; 5000], &whole[..167], &whole[..40], &nearly_empty] {
        fs::write(&path, content).unwrap();
        for flags in [0, TDB_MUTEX_LOCKING, TDB_NOLOCK] {
            let error = Tdb::open(&path, &options(flags)).err().expect("must be refused");
            assert!(error.is_corruption());
            assert_eq!(error.errno(), libc::EIO);
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
    // Where nothing can be lost, or the caller says so.
    for (content, truncate) in [(vec![], false), (vec![0; 9000], false), (vec![7; 9000], true)] {
        for flags in [0, TDB_MUTEX_LOCKING] {
            fs::write(&path, &content).unwrap();
            let options = OpenOptions { truncate, check: true, ..options(flags) };
            Tdb::open(&path, &options).unwrap().store(b"k", &[], StoreMode::Insert).unwrap();
        }
    }
    // Not from under others.
    let Some(mut peer) = CPeer::open(&path, 31, TDB_MUTEX_LOCKING) else {
        return;
    };
    let truncating = OpenOptions { truncate: true, ..options(TDB_MUTEX_LOCKING) };
    let refused = Tdb::open(&path, &truncating).map(|_| ());
    assert!(matches!(refused, Err(Error::Lock(_))), "{refused:?}");
    assert_eq!(peer.ok("count"), "1");
}

#[test]
fn h4_free_list_tools_wait_for_the_whole_database() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags | TDB_NOSYNC);
        for i in 0..50u32 {
            tdb.store(&i.to_le_bytes(), &[&[1; 100]], StoreMode::Insert).unwrap();
        }
        for i in 0..50u32 {
            tdb.delete(&i.to_le_bytes()).unwrap();
        }
        let Some(mut peer) = CPeer::open(&path, 31, flags) else {
            return;
        };
        for (begin, end) in [("lockall", "unlockall"), ("tstart", "tcommit")] {
            peer.ok(begin);
            let count = held_up(|| tdb.free_list_size().unwrap(), || drop(peer.ok(end)));
            assert!(count > 0);
        }
        peer.ok("lockall");
        let stats = held_up(|| tdb.free_stats().unwrap(), || drop(peer.ok("unlockall")));
        assert_eq!(stats.records, tdb.free_list_size().unwrap());
        let mut seen = 0;
        peer.ok("lockall");
        held_up(
            || {
                tdb.visit_list(None, |_| {
                    seen += 1;
                    true
                })
            },
            || drop(peer.ok("unlockall")),
        )
        .unwrap();
        assert_eq!(seen, stats.records);
        peer.ok("check");
    }
}

#[test]
fn h5_recovery_waits_for_holders_of_chain_mutexes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    // The first one: only then does the C library keep the active lock.
    let Some(mut peer) = CPeer::open(&path, 31, TDB_MUTEX_LOCKING) else {
        return;
    };
    let mut tdb = open(&path, TDB_MUTEX_LOCKING);
    tdb.store(b"k", &[b"before"], StoreMode::Insert).unwrap();
    tdb.transaction_start().unwrap();
    tdb.store(b"k", &[b"after."], StoreMode::Replace).unwrap();
    tdb.transaction_commit().unwrap();
    let start = fs::metadata(&path).unwrap().len() - u64::from(tdb.map_size());
    drop(tdb);
    peer.ok(&format!("lock {}", hex(b"k")));
    // As if a commit had died just now: the peer does not know yet.
    let area = u64::from(words(&path, start + 44, 1)[0]);
    put_word(&path, start + area + 20, 0xF53B_C0E7);
    let mut tdb = held_up(
        || open(&path, TDB_MUTEX_LOCKING),
        || drop(peer.ok(&format!("unlock {}", hex(b"k")))),
    );
    assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"before");
    peer.ok("check");
}

#[test]
fn h6_openers_wait_for_a_commit_without_locks() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags);
        tdb.store(b"k", &[b"old"], StoreMode::Insert).unwrap();
        let Some(mut peer) = CPeer::start() else {
            return;
        };
        // The way of a daemon whose helper holds the locks.
        tdb.add_flags(TDB_NOLOCK).unwrap();
        tdb.transaction_start().unwrap();
        tdb.store(b"k", &[b"new"], StoreMode::Replace).unwrap();
        tdb.transaction_prepare().unwrap();
        peer.send(&format!("open {} 31 {flags}", path.display()));
        assert!(peer.is_blocked());
        tdb.transaction_commit().unwrap();
        tdb.remove_flags(TDB_NOLOCK).unwrap();
        assert_eq!(peer.answer(), "ok");
        assert_eq!(peer.fetch(b"k").unwrap(), b"new");
    }
}

#[test]
fn h7_dead_records_under_traversers_stay() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        for hash_size in [1, 2] {
            let path = dir.path().join(format!("{flags}-{hash_size}.tdb"));
            let options = OpenOptions { hash_size, max_dead: Some(5), ..options(flags) };
            let mut tdb = Tdb::open(&path, &options).unwrap();
            for i in 0..8u8 {
                tdb.store(&[i], &[&[i; 50]], StoreMode::Insert).unwrap();
            }
            let Some(mut peer) = CPeer::open(&path, hash_size, flags) else {
                return;
            };
            peer.ok("firstkey");
            let mut dead = Vec::new();
            let mut first = None;
            tdb.visit_list(Some(0), |rec| {
                first = Some(rec.offset);
                false
            })
            .unwrap();
            for i in 0..8u8 {
                tdb.delete(&[i]).unwrap();
            }
            // Records of the same size for every chain.
            for i in 100..120u8 {
                tdb.store(&[i], &[&[i; 50]], StoreMode::Insert).unwrap();
            }
            tdb.visit_list(Some(0), |rec| {
                if rec.magic == 0xFEE1_DEAD {
                    dead.push(rec.offset);
                }
                true
            })
            .unwrap();
            assert!(dead.contains(&first.unwrap()), "the traverser stands on {first:?}: {dead:?}");
            drop(peer);
            tdb.check().unwrap();
        }
    }
}

#[test]
fn h8_a_traversal_does_not_hold_up_who_locks_everything() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags | TDB_NOSYNC);
        for i in 0..40u32 {
            tdb.store(&i.to_le_bytes(), &[b"v"], StoreMode::Insert).unwrap();
        }
        let Some(mut peer) = CPeer::open(&path, 31, flags) else {
            return;
        };
        let mut lock_everything = || {
            peer.ok("lockall_nb");
            peer.ok("unlockall");
        };
        tdb.traverse(|_, _| {
            lock_everything();
            true
        })
        .unwrap();
        tdb.traverse_write(|_, _, _| {
            lock_everything();
            true
        })
        .unwrap();
        for key in tdb.keys() {
            key.unwrap();
            lock_everything();
        }
    }
}

#[test]
fn h8_who_locks_everything_does_not_hold_up_a_traversal() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags);
        for i in 0..40u32 {
            tdb.store(&i.to_le_bytes(), &[b"v"], StoreMode::Insert).unwrap();
        }
        let (Some(mut standing), Some(mut walking)) =
            (CPeer::open(&path, 31, flags), CPeer::open(&path, 31, flags))
        else {
            return;
        };
        // On a record, with its lock, while we want all of them.
        standing.ok("firstkey");
        held_up(
            || {
                tdb.lock_all(LockMode::Exclusive).unwrap();
                tdb.unlock_all().unwrap();
            },
            || {
                // Chains can be had meanwhile, by both.
                assert_eq!(walking.ok("count"), "40");
                assert_eq!(standing.ok("verify").split(' ').next(), Some("40"));
                standing.ok("close");
            },
        );
        assert_eq!(walking.ok("count"), "40");
    }
}

#[test]
fn h9_cycles_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["corrupt-chain-loop.tdb", "corrupt-self-loop.tdb"] {
        let mut tdb = Tdb::open(golden(name, dir.path()), &OpenOptions::default()).unwrap();
        assert!(tdb.traverse(|_, _| true).unwrap_err().is_corruption());
        assert!(tdb.traverse_write(|_, _, _| true).unwrap_err().is_corruption());
        assert!(tdb.keys().any(|key| key.is_err()));
        let mut cycles = 0;
        for chain in 0..tdb.hash_size() {
            let end = tdb.visit_list(Some(chain), |_| true).unwrap();
            cycles += u32::from(end == ListEnd::Cycle);
        }
        assert_eq!(cycles, 1, "{name}");
        assert!(tdb.rescue(|_, _| ()).unwrap() > 0);
    }
    let path = golden("corrupt-freelist-loop.tdb", dir.path());
    let mut tdb = Tdb::open(path, &OpenOptions::default()).unwrap();
    assert!(tdb.free_list_size().unwrap_err().is_corruption());
    assert!(tdb.free_stats().unwrap_err().is_corruption());
    assert_eq!(tdb.visit_list(None, |_| true).unwrap(), ListEnd::Cycle);
    assert!(tdb.store(b"large", &[&[1; 60_000]], StoreMode::Insert).is_err());
}

#[test]
fn h10_undo_entries_are_judged_before_any_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    // The first entry's offset and length, the area's lengths and old size.
    let damages: [(u64, u32); 8] = [
        (28, 0xFFFF_FFF0),
        (28, 0x0001_0000),
        (24, 0xFFFF_F000),
        (24, 0x0004_0000),
        (12, 0xFFFF_FFFF),
        (8, 0xFFFF_FFF0),
        (8, 4),
        (4, 0x7FFF_FFFC),
    ];
    for (i, (at, word)) in damages.into_iter().enumerate() {
        for name in ["txn-crash-sync2.tdb", "txn-crash-fresh-sync3.tdb"] {
            let source = golden(name, dir.path());
            let path = dir.path().join(format!("{i}{name}"));
            fs::copy(&source, &path).unwrap();
            let area = u64::from(words(&path, 44, 1)[0]);
            put_word(&path, area + at, word);
            let before = fs::read(&path).unwrap();
            let error = Tdb::open(&path, &OpenOptions::default()).err().expect("must be refused");
            assert!(error.is_corruption(), "{error}");
            assert_eq!(fs::read(&path).unwrap(), before, "{name} at {at}: nothing was written");
        }
    }
}

#[test]
fn h11_a_leaked_record_is_reported_and_repacked_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    let mut tdb = Tdb::open(&path, &OpenOptions { hash_size: 1, ..options(0) }).unwrap();
    for i in 0..9u8 {
        tdb.store(&[i], &[&[i; 50]], StoreMode::Insert).unwrap();
    }
    drop(tdb);
    // A writer that died before its last step: the record is there, the chain does not begin with it.
    let leaked = words(&path, 172, 1)[0];
    put_word(&path, 172, words(&path, u64::from(leaked), 1)[0]);
    let mut tdb = open(&path, 0);
    let Err(Error::Corrupt(corruption)) = tdb.check() else {
        panic!("a leaked record passed the check");
    };
    assert_eq!(corruption.offset, leaked);
    // All else works, and what the dead writer wanted to store can be had back.
    assert_eq!(tdb.keys().count(), 8);
    tdb.store(b"more", &[&[1; 500]], StoreMode::Insert).unwrap();
    let mut rescued = Vec::new();
    tdb.rescue(|key, _| rescued.push(key.to_vec())).unwrap();
    assert!(rescued.contains(&vec![8]) && rescued.len() == 10);
    tdb.repack().unwrap();
    assert_eq!(tdb.check().unwrap().records, 9);
    if let Some(mut peer) = CPeer::open(&path, 1, 0) {
        peer.ok("check");
    }
}

#[test]
fn h13_a_due_recovery_is_an_error_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = golden("txn-crash-sync3.tdb", dir.path());
    let before = fs::read(&path).unwrap();
    let read_only = OpenOptions { read_only: true, ..Default::default() };
    let error = Tdb::open(&path, &read_only).err().expect("must be refused");
    assert_ne!(error.errno(), 0);
    assert!(error.to_string().contains("recover"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    // Once somebody who may write has opened it, all is well.
    drop(Tdb::open(&path, &OpenOptions::default()).unwrap());
    assert!(Tdb::open(&path, &read_only).unwrap().check().is_ok());
}

#[test]
fn h14_recovery_areas_end_in_no_tailer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    let mut tdb = Tdb::open(&path, &options(0)).unwrap();
    let mut checked = 0;
    for round in 0..12u32 {
        // Values full of what could be a tailer.
        let filler: Vec<u8> = (0..3000).flat_map(|_| 60u32.to_ne_bytes()).collect();
        tdb.transaction_start().unwrap();
        for i in 0..round % 5 {
            tdb.store(&i.to_le_bytes(), &[&filler], StoreMode::Replace).unwrap();
        }
        tdb.store(b"k", &[&round.to_le_bytes()], StoreMode::Replace).unwrap();
        tdb.transaction_commit().unwrap();
        let area = u64::from(peek(&tdb, 44));
        let rec = [4u64, 12].map(|at| peek(&tdb, area + at));
        let [capacity, used] = rec;
        let last = peek(&tdb, area + 24 + u64::from(capacity) - 4);
        if used < capacity {
            assert_eq!(last, 0, "round {round}");
            checked += 1;
        } else {
            assert_eq!(last, 24 + capacity, "round {round}");
        }
    }
    assert!(checked > 5);
    tdb.check().unwrap();
}

/// A word of an open file, without a second descriptor.
fn peek(tdb: &Tdb, at: u64) -> u32 {
    let mut bytes = [0u8; 4];
    // SAFETY: `bytes` has room for 4 bytes, the descriptor is open while `tdb` lives.
    let count = unsafe { libc::pread(tdb.fd(), bytes.as_mut_ptr().cast(), 4, at as i64) };
    assert_eq!(count, 4);
    u32::from_ne_bytes(bytes)
}

#[test]
fn h15_an_open_without_locks_waits_for_a_running_commit() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        for read_only in [false, true] {
            let path = dir.path().join(format!("{flags}{read_only}.tdb"));
            open(&path, flags).store(b"k", &[b"old"], StoreMode::Insert).unwrap();
            let Some(mut peer) = CPeer::open(&path, 31, flags) else {
                return;
            };
            peer.ok("tstart");
            peer.store(b"k", b"new");
            peer.ok("tprepare");
            let options = OpenOptions { read_only, tdb_flags: TDB_NOLOCK, ..Default::default() };
            let mut tdb =
                held_up(|| Tdb::open(&path, &options).unwrap(), || drop(peer.ok("tcommit")));
            assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"new", "read-only: {read_only}");
            peer.ok("check");
            // And one whose owner is dead is rolled back, if that is allowed.
            peer.ok("tstart");
            peer.store(b"k", b"never");
            peer.ok("tprepare");
            drop(tdb);
            peer.kill();
            let opened = Tdb::open(&path, &options);
            assert_eq!(opened.is_err(), read_only);
            if let Ok(mut tdb) = opened {
                assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"new");
                tdb.check().unwrap();
            }
        }
    }
}

#[test]
fn h15_a_handle_without_locks_never_recovers() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        open(&path, flags).store(b"k", &[b"old"], StoreMode::Insert).unwrap();
        let mut tdb = open(&path, TDB_NOLOCK);
        let Some(mut peer) = CPeer::open(&path, 31, flags) else {
            return;
        };
        peer.ok("tstart");
        peer.store(b"k", b"new");
        peer.ok("tprepare");
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"old");
        assert_eq!(tdb.traverse(|_, _| true).unwrap(), 1);
        tdb.lock_chain(0, LockMode::Exclusive).unwrap();
        tdb.unlock_chain(0).unwrap();
        assert_eq!(peek_magic(&tdb), 0xF53B_C0E7, "the commit is still under way");
        peer.ok("tcommit");
        assert_eq!(peer.fetch(b"k").unwrap(), b"new");
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"new");
    }
}

#[test]
fn h15_readers_see_nothing_of_a_running_commit() {
    let dir = tempfile::tempdir().unwrap();
    for flags in MUTEX_AND_NOT {
        let path = dir.path().join(format!("{flags}.tdb"));
        open(&path, flags).store(b"k", &[b"old"], StoreMode::Insert).unwrap();
        let options = OpenOptions { read_only: true, ..Default::default() };
        let mut tdb = Tdb::open(&path, &options).unwrap();
        let Some(mut peer) = CPeer::open(&path, 31, flags) else {
            return;
        };
        let prepare = |peer: &mut CPeer, value: &[u8]| {
            peer.ok("tstart");
            peer.store(b"k", value);
            peer.ok("tprepare");
        };
        type Read = fn(&mut Tdb) -> Result<Vec<u8>>;
        let reads: [Read; 3] = [
            |tdb| Ok(tdb.fetch(b"k")?.unwrap()),
            |tdb| tdb.records().next().unwrap().map(|(_, value)| value),
            |tdb| {
                let mut value = Vec::new();
                tdb.check_with(|_, data| {
                    value = data.to_vec();
                    true
                })?;
                Ok(value)
            },
        ];
        for (i, read) in reads.into_iter().enumerate() {
            let new = [i as u8; 4];
            prepare(&mut peer, &new);
            assert_eq!(held_up(|| read(&mut tdb).unwrap(), || drop(peer.ok("tcommit"))), new);
        }
        prepare(&mut peer, b"never");
        peer.kill();
        for read in reads {
            assert!(read(&mut tdb).unwrap_err().is_corruption());
        }
        // Somebody who may write recovers it.
        CPeer::open(&path, 31, flags).unwrap().ok("check");
        for read in reads {
            assert_eq!(read(&mut tdb).unwrap(), [2; 4]);
        }
    }
}

fn peek_magic(tdb: &Tdb) -> u32 {
    // SAFETY: plain data, filled in by the call; the descriptor is open.
    let len = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        assert_eq!(libc::fstat(tdb.fd(), &mut stat), 0);
        stat.st_size as u64
    };
    let start = if tdb.is_mutex_file() { len - u64::from(tdb.map_size()) } else { 0 };
    // The file may have grown since the handle looked: the mutex area has a size of its own.
    let start = start & !4095;
    peek(tdb, start + u64::from(peek(tdb, start + 44)) + 20)
}

#[test]
fn h16_a_wipe_leaves_no_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let heads_end = 172 + 4 * 31u32;
    // A recovery area this far behind the heads, and this much behind it.
    for (before, behind) in [(0, 0), (4, 0), (24, 0), (28, 0), (0, 4), (0, 24), (20, 20), (40, 400)]
    {
        let path = dir.path().join(format!("{before}-{behind}.tdb"));
        drop(open(&path, 0));
        let area = heads_end + before;
        let len = area + 24 + 600 + behind;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(u64::from(len)).unwrap();
        put_word(&path, 44, area);
        put_word(&path, u64::from(area) + 4, 600);
        let mut tdb = open(&path, 0);
        tdb.wipe_all().unwrap();
        assert_eq!(tdb.check().unwrap().dead_space, 0, "{before} {behind}");
        let Some(mut peer) = CPeer::open(&path, 31, 0) else {
            return;
        };
        peer.ok("check");
        tdb.transaction_start().unwrap();
        tdb.store(b"k", &[&[1; 3000]], StoreMode::Insert).unwrap();
        tdb.transaction_commit().unwrap();
        tdb.wipe_all().unwrap();
        assert_eq!(tdb.check().unwrap().dead_space, 0, "{before} {behind}");
        peer.ok("check");
    }
}

#[test]
fn mutexes_in_use_are_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    let Some(mut first) = CPeer::open(&path, 31, TDB_MUTEX_LOCKING) else {
        return;
    };
    let mut tdb = open(&path, TDB_MUTEX_LOCKING);
    first.ok("close");
    tdb.lock_chain(tdb.chain_of(b"k"), LockMode::Exclusive).unwrap();
    let mut next = CPeer::open(&path, 31, TDB_MUTEX_LOCKING).unwrap();
    assert_eq!(next.err(&format!("lock_nb {}", hex(b"k"))), 3, "our mutex is still locked");
    tdb.unlock_chain(tdb.chain_of(b"k")).unwrap();
    next.ok(&format!("lock_nb {}", hex(b"k")));
}
