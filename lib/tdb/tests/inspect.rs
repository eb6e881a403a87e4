// SPDX-License-Identifier: GPL-3.0-or-later
//! Looking into files (summary, lists, check, rescue) and putting them in order (repack, wipe),
//! beside the C library on the same files.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{record_digest, unhex, CPeer, Random};
use ctdb_tdb::*;

const KINDS: [u32; 3] = [0, TDB_INCOMPATIBLE_HASH, TDB_MUTEX_LOCKING];

fn create(path: &Path, tdb_flags: u32) -> Tdb {
    let tdb_flags = tdb_flags | TDB_NOSYNC;
    let options = OpenOptions { tdb_flags, create: true, hash_size: 31, ..Default::default() };
    Tdb::open(path, &options).unwrap()
}

/// Random stores and deletes: free space in pieces.
fn churn(tdb: &mut Tdb, seed: u64, count: u32) {
    let mut random = Random(seed);
    for _ in 0..count {
        let key = random.below(200).to_le_bytes();
        if random.below(3) == 0 {
            let _ = tdb.delete(&key);
        } else {
            let value = vec![1; random.below(300) as usize];
            tdb.store(&key, &[&value], StoreMode::Replace).unwrap();
        }
    }
}

fn content(tdb: &mut Tdb) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = tdb.records().collect::<Result<Vec<_>>>().unwrap();
    records.sort();
    records
}

fn text(peer: &mut CPeer, command: &str) -> String {
    String::from_utf8(unhex(&peer.ok(command))).unwrap()
}

#[test]
fn both_sides_summarise_and_count_alike() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = create(&path, flags);
        let Some(mut peer) = CPeer::open(&path, 31, flags) else {
            return;
        };
        for round in 0..6 {
            tdb.set_max_dead(round % 3);
            churn(&mut tdb, u64::from(round), 150);
            // A summary of the C library does not notice that the file has grown; a check does.
            peer.ok("check");
            assert_eq!(text(&mut peer, "summary"), tdb.summary().unwrap().to_string());
            let stats = tdb.free_stats().unwrap();
            assert_eq!(peer.ok("validate_freelist"), stats.records.to_string());
            if round % 2 == 0 {
                // Counting merges; what one side merged the other does not merge again.
                assert_eq!(peer.ok("freelist"), stats.records.to_string());
                let merged = tdb.free_stats().unwrap().records;
                assert_eq!(tdb.free_list_size().unwrap(), merged);
            } else {
                assert_eq!(tdb.free_list_size().unwrap(), stats.records);
                assert_eq!(peer.ok("freelist"), tdb.free_stats().unwrap().records.to_string());
            }
            peer.ok("check");
            // A recovery area, and one that is in use no more.
            tdb.transaction_start().unwrap();
            churn(&mut tdb, 77, 20);
            if round % 2 == 0 {
                tdb.transaction_commit().unwrap();
            } else {
                tdb.transaction_cancel().unwrap();
            }
            // A summary of the C library does not notice that the file has grown; a check does.
            peer.ok("check");
            assert_eq!(text(&mut peer, "summary"), tdb.summary().unwrap().to_string());
        }
    }
}

#[test]
fn repack_makes_free_space_whole_and_keeps_the_records() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS.into_iter().chain([TDB_NOMMAP, TDB_CONVERT]) {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = create(&path, flags);
        churn(&mut tdb, 5, 800);
        tdb.set_max_dead(3);
        churn(&mut tdb, 6, 100);
        let order: Vec<_> = tdb.records().map(|r| r.unwrap()).collect();
        let before = tdb.free_stats().unwrap();
        assert!(before.records > 5, "{before:?}");
        tdb.repack().unwrap();
        let after = tdb.free_stats().unwrap();
        assert!(after.records <= 3, "{after:?}");
        let report = tdb.check().unwrap();
        assert_eq!((report.dead, report.records), (0, order.len() as u64));
        assert_eq!(tdb.records().map(|r| r.unwrap()).collect::<Vec<_>>(), order);
        let Some(mut peer) = CPeer::open(&path, 31, flags) else {
            return;
        };
        peer.ok("check");
        peer.ok("repack");
        assert_eq!(content(&mut tdb), {
            let mut sorted = order;
            sorted.sort();
            sorted
        });
        tdb.check().unwrap();
    }
}

#[test]
fn repack_needs_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let mut tdb = create(&dir.path().join("t.tdb"), 0);
    tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
    tdb.lock_all(LockMode::Exclusive).unwrap();
    assert!(matches!(tdb.repack(), Err(Error::Lock(_))));
    tdb.unlock_all().unwrap();
    tdb.transaction_start().unwrap();
    assert!(matches!(tdb.repack(), Err(Error::Lock(_))));
    tdb.transaction_cancel().unwrap();
    tdb.repack().unwrap();
    assert!(tdb.exists(b"k").unwrap());
}

#[test]
fn reserved_room_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = create(&path, flags);
        tdb.reserve(500_000).unwrap();
        let size = tdb.map_size();
        assert!(tdb.free_stats().unwrap().largest >= 500_000);
        tdb.store(b"k", &[&vec![1; 390_000]], StoreMode::Insert).unwrap();
        assert_eq!(tdb.map_size(), size, "the file did not grow");
        tdb.reserve(1000).unwrap();
        assert_eq!(tdb.map_size(), size, "there was room");
        tdb.check().unwrap();
        assert!(tdb.reserve(u32::MAX).is_err());
        tdb.check().unwrap();
    }
}

#[test]
fn lists_show_their_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut tdb = create(&dir.path().join("l.tdb"), 0);
    churn(&mut tdb, 9, 300);
    let mut used = 0;
    for chain in 0..tdb.hash_size() {
        let end = tdb
            .visit_list(Some(chain), |rec| {
                assert!(rec.tailer_is_sound());
                assert_eq!(rec.magic, 0x2601_1999);
                assert_eq!(rec.full_hash % 31, chain);
                used += 1;
                true
            })
            .unwrap();
        assert_eq!(end, ListEnd::Complete);
    }
    assert_eq!(used, tdb.keys().count());
    let mut free = 0;
    tdb.visit_list(None, |rec| {
        assert_eq!((rec.magic, rec.tailer_is_sound()), (0xD9FE_E666, true));
        free += 1;
        true
    })
    .unwrap();
    assert_eq!(tdb.free_stats().unwrap().records, free);
    assert_eq!(tdb.visit_list(None, |_| false).unwrap(), ListEnd::Stopped);
    assert!(matches!(tdb.visit_list(Some(31), |_| true), Err(Error::Usage(_))));
    // Under other locks of the handle.
    tdb.lock_chain(3, LockMode::Exclusive).unwrap();
    assert!(matches!(tdb.free_stats(), Err(Error::Lock(_))));
    tdb.unlock_chain(3).unwrap();
    tdb.lock_all(LockMode::Shared).unwrap();
    assert_eq!(tdb.free_list_size().unwrap(), free);
    tdb.unlock_all().unwrap();
}

#[test]
fn a_check_asks_for_every_record() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let mut tdb = create(&dir.path().join(format!("{flags}.tdb")), flags);
        churn(&mut tdb, 4, 100);
        let mut seen = Vec::new();
        let report = tdb
            .check_with(|key, data| {
                seen.push((key.to_vec(), data.to_vec()));
                true
            })
            .unwrap();
        assert_eq!(report.records, seen.len() as u64);
        seen.sort();
        assert_eq!(seen, content(&mut tdb));
        let Err(Error::Corrupt(corruption)) = tdb.check_with(|_, _| false) else {
            panic!("accepted");
        };
        assert!(corruption.offset >= 296 && corruption.expected.contains("caller"));
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/tdb")
}

/// Number and digest of what a rescue of ours finds.
fn rescued(tdb: &mut Tdb) -> (u64, u64) {
    let mut digest = 0u64;
    let mut last: (usize, Vec<u8>) = (0, Vec::new());
    let count = tdb
        .rescue(|key, data| {
            let order = (key.len(), key.to_vec());
            assert!(order >= last, "sorted by length, then bytes");
            last = order;
            digest = digest.wrapping_add(record_digest(key, data));
        })
        .unwrap();
    (count, digest)
}

/// Whatever is damaged, both sides get the same records out.
#[test]
fn rescues_agree_with_the_c_library() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut peer) = CPeer::start() else {
        return;
    };
    let mut random = Random(11);
    let (mut seen, mut records) = (0, 0);
    for name in
        ["fragmented", "sizes-jenkins", "dead-records", "txn-leftover-area", "bigendian-oldhash"]
    {
        let whole = fs::read(vectors().join(format!("{name}.tdb"))).unwrap();
        for round in 0..40 {
            let path = dir.path().join(format!("{name}{round}.tdb"));
            let mut bytes = whole.clone();
            // The header stays: without it nobody opens the file.
            for _ in 0..round {
                let at = (168 + random.below(bytes.len() as u32 - 168) as usize) & !3;
                let word = [0u32, 0x2601_1999, 696, random.next(), random.below(9000) & !3];
                let word = word[random.below(5) as usize];
                bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            }
            if round % 5 == 4 {
                bytes.truncate(bytes.len() - (random.below(2000) & !3) as usize);
            }
            fs::write(&path, &bytes).unwrap();
            let options = OpenOptions { read_only: true, ..Default::default() };
            let ours = Tdb::open(&path, &options).map(|mut tdb| rescued(&mut tdb));
            let theirs = peer.call(&format!("open_ro {} 0", path.display()));
            let Ok((count, digest)) = ours else {
                assert!(theirs.starts_with("err"), "{name} {round}");
                continue;
            };
            assert_eq!(theirs, "ok", "{name} {round}");
            assert_eq!(peer.ok("rescue"), format!("{count} {digest:016x}"), "{name} {round}");
            peer.ok("close");
            seen += 1;
            records += count;
        }
    }
    assert!(seen > 150 && records > 2000, "{seen} files, {records} records");
}

/// A file that grew in a transaction because its free space was in pieces is repacked.
#[test]
fn growth_of_a_fragmented_file_repacks_it() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = create(&path, flags);
        let scatter = |tdb: &mut Tdb| {
            for i in 0..600u32 {
                tdb.store(&i.to_le_bytes(), &[&[1; 400]], StoreMode::Insert).unwrap();
            }
            for i in (0..600u32).step_by(2) {
                tdb.delete(&i.to_le_bytes()).unwrap();
            }
        };
        scatter(&mut tdb);
        assert!(tdb.free_stats().unwrap().is_fragmented());
        let before = content(&mut tdb);
        // No piece is large enough for this.
        tdb.transaction_start().unwrap();
        tdb.store(b"large", &[&[2; 2000]], StoreMode::Insert).unwrap();
        let size = tdb.map_size();
        tdb.transaction_commit().unwrap();
        let after = tdb.free_stats().unwrap();
        assert!(after.records <= 3 && !after.is_fragmented(), "{after:?} {size}");
        assert_eq!(content(&mut tdb).len(), before.len() + 1);
        tdb.check().unwrap();
        // Without growth nothing of the kind happens.
        tdb.transaction_start().unwrap();
        tdb.delete(&1u32.to_le_bytes()).unwrap();
        tdb.delete(&5u32.to_le_bytes()).unwrap();
        tdb.transaction_commit().unwrap();
        assert!(tdb.free_stats().unwrap().records > after.records);
        if let Some(mut peer) = CPeer::open(&path, 31, flags) {
            peer.ok("check");
        }
    }
}
