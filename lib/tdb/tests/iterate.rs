// SPDX-License-Identifier: GPL-3.0-or-later
//! Traversals, iterators and cursors, also while records change, and beside the C library.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{hex, CPeer};
use ctdb_tdb::*;

const KINDS: [u32; 4] = [0, TDB_NOMMAP, TDB_MUTEX_LOCKING, TDB_CONVERT];

fn create(path: &Path, tdb_flags: u32, hash_size: u32) -> Tdb {
    let tdb_flags = tdb_flags | TDB_NOSYNC;
    Tdb::open(path, &OpenOptions { tdb_flags, create: true, hash_size, ..Default::default() })
        .unwrap()
}

fn each_kind(mut test: impl FnMut(&mut Tdb)) {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let mut tdb = create(&dir.path().join(format!("{flags}.tdb")), flags, 7);
        for i in 0..100u8 {
            tdb.store(&[i], &[&[i; 10]], StoreMode::Insert).unwrap();
        }
        test(&mut tdb);
        tdb.check().unwrap();
    }
}

#[test]
fn a_record_may_be_deleted_when_it_is_visited() {
    each_kind(|tdb| {
        let visited = tdb.traverse_write(|tdb, key, data| {
            assert_eq!(data, [key[0]; 10]);
            if key[0] % 2 == 1 {
                tdb.delete(key).unwrap();
            }
            true
        });
        assert_eq!(visited.unwrap(), 100);
        let keys: BTreeSet<u8> = tdb.keys().map(|key| key.unwrap()[0]).collect();
        assert_eq!(keys, (0..100).step_by(2).collect());
    });
}

/// Whatever happens to records meanwhile: each that stays is met once, none that is gone.
#[test]
fn records_may_move_and_vanish_during_a_traversal() {
    each_kind(|tdb| {
        let mut met = Vec::new();
        let visited = tdb.traverse_write(|tdb, key, data| {
            let i = key[0];
            assert!(i >= 100 || data.len() >= 10);
            met.push(i);
            // Grows, so that it moves to the head of its chain; and so does a neighbour.
            tdb.store(key, &[&vec![i; 900]], StoreMode::Replace).unwrap();
            tdb.append(&[i.wrapping_add(7) % 100], &[1; 300]).unwrap();
            // Gone before its turn, unless it had it.
            if i == 50 {
                for victim in 60..70u8 {
                    tdb.delete(&[victim]).unwrap();
                }
            }
            true
        });
        assert_eq!(visited.unwrap(), met.len() as u64);
        let unique: BTreeSet<u8> = met.iter().copied().collect();
        for i in (0..60).chain(70..100u8) {
            assert!(unique.contains(&i), "{i} was missed");
            assert_eq!(met.iter().filter(|m| **m == i).count(), 1, "{i} was met twice");
        }
        // Those deleted may have been stored anew by the append, before their turn or after it.
    });
}

#[test]
fn traversals_nest_and_exclude_transactions() {
    each_kind(|tdb| {
        let mut inner = 0;
        let outer = tdb.traverse_write(|tdb, key, _| {
            assert!(matches!(tdb.transaction_start(), Err(Error::Lock(_))));
            if key[0] % 25 == 0 {
                inner += tdb.traverse(|_, _| true).unwrap();
                inner += tdb.traverse_write(|tdb, key, _| tdb.exists(key).unwrap()).unwrap();
                assert!(matches!(tdb.transaction_start(), Err(Error::Lock(_))));
            }
            true
        });
        assert_eq!((outer.unwrap(), inner), (100, 800));
        // Stopped early, the exclusion ends too.
        assert_eq!(tdb.traverse_write(|_, _, _| false).unwrap(), 1);
        tdb.transaction_start().unwrap();
        let mut count = 0;
        tdb.traverse_write(|tdb, key, _| {
            count += 1;
            tdb.delete(key).is_ok()
        })
        .unwrap();
        assert_eq!(count, 100);
        assert_eq!(tdb.records().count(), 0);
        tdb.transaction_cancel().unwrap();
        assert_eq!(tdb.records().count(), 100);
        tdb.lock_all(LockMode::Exclusive).unwrap();
        assert_eq!(tdb.traverse_write(|tdb, key, _| tdb.delete(key).is_ok()).unwrap(), 100);
        tdb.unlock_all().unwrap();
        assert_eq!(tdb.keys().count(), 0);
    });
}

#[test]
fn a_writing_traversal_excludes_the_transactions_of_others() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_MUTEX_LOCKING] {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = create(&path, flags, 7);
        let Some(mut peer) = CPeer::open(&path, 7, flags) else {
            return;
        };
        for i in 0..20u8 {
            tdb.store(&[i], &[b"v"], StoreMode::Insert).unwrap();
        }
        tdb.traverse_write(|tdb, key, _| {
            // Data of others comes and goes, transactions do not.
            peer.ok(&format!("store {} {} 1", hex(&[200]), hex(key)));
            assert_eq!(peer.err("tstart_nb"), 6);
            assert_eq!(tdb.fetch(&[200]).unwrap().unwrap(), key);
            true
        })
        .unwrap();
        peer.ok("tstart_nb");
        assert!(!tdb.try_transaction_start().unwrap());
        // Holding a chain nobody waits for a transaction.
        tdb.lock_chain(0, LockMode::Shared).map(|()| tdb.unlock_chain(0)).unwrap().unwrap();
        peer.ok("tcancel");
        // A traversal of the C library that deletes, between ours.
        assert_eq!(peer.ok("delete_odd"), "21");
        let left: BTreeSet<u8> = tdb.keys().map(|key| key.unwrap()[0]).collect();
        assert_eq!(left, (0..20).step_by(2).chain([200]).collect());
        tdb.check().unwrap();
        peer.ok("check");
    }
}

/// A record that others delete while we traverse is not met; one they keep is.
#[test]
fn others_may_change_records_during_a_traversal() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_MUTEX_LOCKING] {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = create(&path, flags, 1);
        let Some(mut peer) = CPeer::open(&path, 1, flags) else {
            return;
        };
        for i in 0..20u8 {
            tdb.store(&[i], &[b"v"], StoreMode::Insert).unwrap();
        }
        let mut met = BTreeSet::new();
        tdb.traverse_write(|_, key, _| {
            if met.is_empty() {
                for i in (0..20u8).filter(|i| *i != key[0] && *i % 2 == 0) {
                    peer.ok(&format!("delete {}", hex(&[i])));
                }
                // Into the room of the deleted ones.
                peer.ok(&format!("store {} {} 1", hex(&[99]), hex(b"new")));
            }
            assert!(met.insert(key[0]));
            true
        })
        .unwrap();
        let expected: BTreeSet<u8> = (0..20)
            .filter(|i| i % 2 == 1)
            .chain(met.iter().copied().filter(|i| i % 2 == 0))
            .collect();
        assert_eq!(met, expected);
        assert!(met.iter().filter(|i| **i % 2 == 0).count() <= 1 && !met.contains(&99));
    }
}

#[test]
fn read_only_handles_traverse_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.tdb");
    create(&path, 0, 7).store(b"k", &[b"v"], StoreMode::Insert).unwrap();
    let mut tdb = Tdb::open(&path, &OpenOptions { read_only: true, ..Default::default() }).unwrap();
    let visited = tdb.traverse_write(|tdb, key, data| {
        assert_eq!((key, data), (&b"k"[..], &b"v"[..]));
        assert!(matches!(tdb.delete(key), Err(Error::ReadOnly)));
        true
    });
    assert_eq!(visited.unwrap(), 1);
}

#[test]
fn one_chain_in_place() {
    each_kind(|tdb| {
        let key = [3];
        let chain = tdb.chain_of(&key);
        let expected: BTreeSet<u8> = (0..100).filter(|i| tdb.chain_of(&[*i]) == chain).collect();
        let mut seen = BTreeSet::new();
        let count = tdb
            .traverse_key_chain(&key, |key, data| {
                assert_eq!(data, [key[0]; 10]);
                seen.insert(key[0])
            })
            .unwrap();
        assert_eq!((seen.len() as u64, &seen), (count, &expected));
        let mut guard = tdb.chain_lock(&key).unwrap();
        let mut records = guard.records().unwrap();
        let mut seen = BTreeSet::new();
        while let Some((key, data)) = records.next().unwrap() {
            assert_eq!(data, [key[0]; 10]);
            seen.insert(key[0]);
        }
        assert_eq!(seen, expected);
        // The lock is still there, and good for writing.
        guard.store(&key, &[b"x"], StoreMode::Replace).unwrap();
        drop(guard);
        assert!(matches!(tdb.traverse_chain(7, |_, _| true), Err(Error::Usage(_))));
    });
}

#[test]
fn from_key_to_key() {
    each_kind(|tdb| {
        let order: Vec<Vec<u8>> = tdb.keys().map(|key| key.unwrap()).collect();
        let mut cursor = KeyCursor::new();
        let mut seen = Vec::new();
        let mut next = cursor.first(tdb).unwrap().map(<[u8]>::to_vec);
        while let Some(key) = next {
            next = cursor.next(tdb, &key).unwrap().map(<[u8]>::to_vec);
            seen.push(key);
        }
        assert_eq!(seen, order);
        // From any key, with a fresh cursor.
        for pair in order.windows(2) {
            assert_eq!(KeyCursor::new().next(tdb, &pair[0]).unwrap(), Some(&pair[1][..]));
        }
        assert_eq!(KeyCursor::new().next(tdb, order.last().unwrap()).unwrap(), None);
        assert_eq!(KeyCursor::new().next(tdb, b"no such key").unwrap(), None);
        // Over records that are deleted meanwhile, also the one we stand on.
        let first = cursor.first(tdb).unwrap().unwrap().to_vec();
        tdb.delete(&order[0]).unwrap();
        tdb.delete(&order[1]).unwrap();
        assert_eq!(cursor.next(tdb, &first).unwrap(), Some(&order[2][..]));
        assert_eq!(cursor.first(tdb).unwrap(), Some(&order[2][..]));
    });
}
