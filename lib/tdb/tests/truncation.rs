// SPDX-License-Identifier: GPL-3.0-or-later
//! Another process cuts the file under our mapping. A SIGBUS would end this test binary.

use std::path::Path;
use std::process::Command;

use ctdb_tdb::*;

const HASH_SIZE: u32 = 2000;
const HEADS_END: u64 = 172 + 4 * HASH_SIZE as u64;

fn options(tdb_flags: u32) -> OpenOptions {
    let tdb_flags = tdb_flags | TDB_NOSYNC;
    OpenOptions {
        tdb_flags,
        create: true,
        hash_size: HASH_SIZE,
        watch_size: true,
        ..Default::default()
    }
}

fn fill(tdb: &mut Tdb) {
    for i in 0..400u32 {
        tdb.store(&i.to_le_bytes(), &[&[1; 500]], StoreMode::Replace).unwrap();
    }
}

fn truncate(path: &Path, len: u64) {
    let status =
        Command::new("truncate").arg("-s").arg(len.to_string()).arg(path).status().unwrap();
    assert!(status.success());
}

/// Everything a handle can do. Returns how many of the operations failed.
fn everything(tdb: &mut Tdb) -> u32 {
    let mut failed = 0;
    let mut note = |failure: bool| failed += u32::from(failure);
    for i in [0u32, 7, 399, 1000] {
        let key = i.to_le_bytes();
        note(tdb.fetch(&key).is_err());
        note(tdb.exists(&key).is_err());
        note(tdb.chain_lock_read(&key).and_then(|mut g| g.fetch(&key).map(|_| ())).is_err());
        note(tdb.lock_record(&key).and_then(|mut r| r.value().map(|_| ())).is_err());
        note(tdb.try_chain_lock(&key).map(|_| ()).is_err());
    }
    note(tdb.traverse(|_, _| true).is_err());
    note(tdb.keys().any(|key| key.is_err()));
    note(tdb.traverse_write(|_, _, _| true).is_err());
    note(TraverseCursor::new().next_batch(tdb, 1000, u64::MAX, |_, _| true).is_err());
    note(tdb.check().is_err());
    note(tdb.summary().is_err());
    note(tdb.free_stats().is_err());
    note(tdb.rescue(|_, _| ()).is_err());
    note(tdb.lock_all(LockMode::Shared).and_then(|()| tdb.unlock_all()).is_err());
    for i in [1u32, 8, 398, 1001] {
        let key = i.to_le_bytes();
        note(tdb.store(&key, &[&[2; 900]], StoreMode::Replace).is_err());
        note(tdb.append(&key, b"more").is_err());
        note(tdb.delete(&key).is_err());
    }
    let transaction = tdb.transaction_start().and_then(|()| {
        let stored = tdb.store(b"new", &[&[3; 9000]], StoreMode::Replace);
        stored.and(tdb.transaction_commit())
    });
    note(transaction.is_err());
    if tdb.in_transaction() {
        let _ = tdb.transaction_cancel();
    }
    note(tdb.repack().is_err());
    note(tdb.wipe_all().is_err());
    failed
}

/// Lengths around everything that has a meaning: nothing, the header, a page, the heads, records.
fn lengths(start: u64, whole: u64) -> Vec<u64> {
    let mut lengths = vec![0, 1, 100, 168, 171, 1000, 4095, 4096, 4097, HEADS_END - 1, HEADS_END];
    lengths.extend([HEADS_END + 20, HEADS_END + 25, 12288, 20000, whole - 4096, whole - 1]);
    if start > 0 {
        lengths = lengths.into_iter().map(|len| len + start).chain([0, 200, start - 1]).collect();
    }
    lengths
}

#[test]
fn a_cut_file_gives_errors() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_NOMMAP, TDB_NOLOCK, TDB_MUTEX_LOCKING, TDB_CONVERT, TDB_CLEAR_IF_FIRST] {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = Tdb::open(&path, &options(flags)).unwrap();
        fill(&mut tdb);
        let whole = u64::from(tdb.map_size());
        let start = path.metadata().unwrap().len() - whole;
        drop(tdb);
        let image = std::fs::read(&path).unwrap();
        for len in lengths(start, whole) {
            std::fs::write(&path, &image).unwrap();
            let keep = flags & !TDB_CLEAR_IF_FIRST;
            let mut tdb = Tdb::open(&path, &options(keep)).unwrap();
            // Everything is mapped and touched.
            assert_eq!(tdb.check().unwrap().records, 400);
            truncate(&path, len);
            let failed = everything(&mut tdb);
            if len < start + HEADS_END {
                assert!(failed > 30, "{flags} {len}: {failed}");
            }
            assert!(failed > 0, "{flags} {len}");
        }
    }
}

#[test]
fn readers_without_locks_notice_too() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_MUTEX_LOCKING] {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = Tdb::open(&path, &options(flags)).unwrap();
        fill(&mut tdb);
        let whole = u64::from(tdb.map_size());
        let start = path.metadata().unwrap().len() - whole;
        drop(tdb);
        let image = std::fs::read(&path).unwrap();
        for len in lengths(start, whole) {
            std::fs::write(&path, &image).unwrap();
            // Without asking for it.
            let read_only = OpenOptions { read_only: true, ..Default::default() };
            let mut tdb = Tdb::open(&path, &read_only).unwrap();
            assert_eq!(tdb.check().unwrap().records, 400);
            truncate(&path, len);
            assert!(everything(&mut tdb) > 0);
        }
    }
}

/// A transaction that is under way when the file is cut.
#[test]
fn a_transaction_on_a_cut_file_fails() {
    let dir = tempfile::tempdir().unwrap();
    for len in [0u64, 4096, HEADS_END, 40_000] {
        let path = dir.path().join(format!("{len}.tdb"));
        let mut tdb = Tdb::open(&path, &options(0)).unwrap();
        fill(&mut tdb);
        tdb.transaction_start().unwrap();
        tdb.store(&5u32.to_le_bytes(), &[&[9; 2000]], StoreMode::Replace).unwrap();
        truncate(&path, len);
        let _ = tdb.fetch(&9u32.to_le_bytes());
        assert!(tdb.transaction_commit().is_err() || tdb.check().is_err(), "{len}");
        assert!(!tdb.in_transaction());
    }
}

/// Somebody clears the file and makes another kind of database of it.
#[test]
fn a_file_that_was_cleared_is_another_file() {
    let dir = tempfile::tempdir().unwrap();
    for (i, (hash_size, flags, same)) in [
        (7, 0, false),
        (HASH_SIZE * 2, 0, false),
        (HASH_SIZE, TDB_INCOMPATIBLE_HASH, false),
        (HASH_SIZE, 0, true),
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.path().join(format!("{i}.tdb"));
        let posix = OpenOptions { lock_style: LockStyle::Ofd, ..options(0) };
        let mut tdb = Tdb::open(&path, &posix).unwrap();
        fill(&mut tdb);
        let clearing = OpenOptions {
            tdb_flags: TDB_CLEAR_IF_FIRST | flags,
            create: true,
            hash_size,
            lock_style: LockStyle::Ofd,
            ..Default::default()
        };
        let mut other = Tdb::open(&path, &clearing).unwrap();
        for n in 0..1000u32 {
            other.store(&n.to_le_bytes(), &[&[4; 600]], StoreMode::Insert).unwrap();
        }
        let key = 3u32.to_le_bytes();
        if same {
            assert_eq!(tdb.fetch(&key).unwrap().unwrap(), [4; 600]);
            continue;
        }
        let Err(Error::Corrupt(corruption)) = tdb.fetch(&key) else {
            panic!("{hash_size}");
        };
        assert!(corruption.expected.contains("as when the file was opened"));
        assert!(tdb.store(&key, &[b"x"], StoreMode::Replace).is_err());
        assert!(tdb.lock_all(LockMode::Exclusive).is_err());
        drop(tdb);
        assert_eq!(other.check().unwrap().records, 1000);
    }
}
