// SPDX-License-Identifier: GPL-3.0-or-later
//! The rules of the interface, in one process.

use std::os::unix::process::CommandExt;
use std::path::Path;

use ctdb_tdb::*;

fn create(path: &Path, tdb_flags: u32) -> Tdb {
    let options = OpenOptions { tdb_flags, create: true, hash_size: 7, ..Default::default() };
    Tdb::open(path, &options).unwrap()
}

fn kinds() -> [u32; 4] {
    [0, TDB_NOMMAP, TDB_MUTEX_LOCKING, TDB_CONVERT]
}

fn each_kind(test: impl Fn(&mut Tdb)) {
    let dir = tempfile::tempdir().unwrap();
    for flags in kinds() {
        test(&mut create(&dir.path().join(format!("{flags}.tdb")), flags | TDB_NOSYNC));
    }
}

#[test]
fn store_modes() {
    each_kind(|tdb| {
        assert!(matches!(tdb.store(b"k", &[b"v"], StoreMode::Modify), Err(Error::NotFound)));
        tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        assert!(matches!(tdb.store(b"k", &[b"w"], StoreMode::Insert), Err(Error::Exists)));
        tdb.store(b"k", &[b"a", b"", b"bc"], StoreMode::Modify).unwrap();
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"abc");
        tdb.store(b"", &[], StoreMode::Replace).unwrap();
        assert_eq!(tdb.fetch(b"").unwrap().unwrap(), b"");
        assert!(tdb.exists(b"").unwrap() && !tdb.exists(b"no").unwrap());
        tdb.append(b"new", b"12").unwrap();
        tdb.append(b"new", b"3").unwrap();
        assert_eq!(tdb.parse(b"new", |v| v.len()).unwrap(), Some(3));
        tdb.delete(b"new").unwrap();
        assert!(matches!(tdb.delete(b"new"), Err(Error::NotFound)));
        tdb.check().unwrap();
    });
}

#[test]
fn guards_read_in_place_and_refuse_other_chains() {
    each_kind(|tdb| {
        tdb.store(b"k", &[b"value"], StoreMode::Insert).unwrap();
        let chain = tdb.chain_of(b"k");
        let stranger = (0u32..).find(|n| tdb.chain_of(&n.to_le_bytes()) != chain).unwrap();
        let stranger = stranger.to_le_bytes();
        let mut guard = tdb.chain_lock(b"k").unwrap();
        assert_eq!(guard.fetch(b"k").unwrap().unwrap(), b"value");
        guard
            .store(b"k", &[b"longer than before, so it moves", &[0; 500]], StoreMode::Replace)
            .unwrap();
        assert_eq!(guard.fetch(b"k").unwrap().unwrap().len(), 531);
        assert!(matches!(guard.fetch(&stranger), Err(Error::Usage(_))));
        assert!(matches!(guard.store(&stranger, &[], StoreMode::Insert), Err(Error::Usage(_))));
        guard.delete(b"k").unwrap();
        drop(guard);
        assert!(matches!(tdb.fetch_locked(b"k"), Err(Error::Usage(_))));
        assert!(tdb.lock_chain(7, LockMode::Exclusive).is_err());
    });
}

/// The table of spec/tdb.md 21.4, one handle.
#[test]
fn lock_rules_of_one_handle() {
    each_kind(|tdb| {
        tdb.lock_chain(1, LockMode::Exclusive).unwrap();
        tdb.lock_chain(1, LockMode::Exclusive).unwrap();
        assert!(matches!(tdb.lock_all(LockMode::Exclusive), Err(Error::Lock(_))));
        assert!(matches!(tdb.transaction_start(), Err(Error::Lock(_))));
        tdb.unlock_chain(1).unwrap();
        tdb.unlock_chain(1).unwrap();
        assert!(tdb.unlock_chain(1).is_err());

        tdb.lock_all(LockMode::Shared).unwrap();
        assert!(matches!(tdb.store(b"k", &[b"v"], StoreMode::Replace), Err(Error::Lock(_))));
        assert!(tdb.lock_all(LockMode::Exclusive).is_err());
        tdb.lock_all(LockMode::Shared).unwrap();
        assert_eq!(tdb.fetch(b"k").unwrap(), None);
        tdb.unlock_all().unwrap();
        tdb.unlock_all().unwrap();
        assert!(tdb.unlock_all().is_err());

        tdb.lock_all(LockMode::Exclusive).unwrap();
        tdb.store(b"k", &[b"v"], StoreMode::Replace).unwrap();
        tdb.lock_chain(3, LockMode::Exclusive).unwrap();
        tdb.unlock_chain(3).unwrap();
        assert_eq!(tdb.traverse(|_, _| true).unwrap(), 1);
        assert!(tdb.lock_all(LockMode::Shared).is_err());
        assert!(tdb.transaction_start().is_err());
        tdb.unlock_all().unwrap();
    });
}

#[test]
fn shared_locks_become_exclusive() {
    each_kind(|tdb| {
        let chain = tdb.chain_of(b"k");
        tdb.lock_chain(chain, LockMode::Shared).unwrap();
        tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        tdb.unlock_chain(chain).unwrap();
        assert!(tdb.unlock_chain(chain).is_err());
    });
}

#[test]
fn transactions_nest_or_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut tdb = create(&dir.path().join("n.tdb"), TDB_NOSYNC);
    tdb.transaction_start().unwrap();
    tdb.store(b"a", &[b"1"], StoreMode::Insert).unwrap();
    tdb.transaction_start().unwrap();
    tdb.store(b"b", &[b"2"], StoreMode::Insert).unwrap();
    tdb.transaction_commit().unwrap();
    assert!(tdb.in_transaction());
    tdb.transaction_commit().unwrap();
    assert_eq!(tdb.traverse(|_, _| true).unwrap(), 2);

    tdb.transaction_start().unwrap();
    tdb.transaction_start().unwrap();
    tdb.delete(b"a").unwrap();
    tdb.transaction_cancel().unwrap();
    assert!(tdb.transaction_commit().is_err(), "an inner cancel dooms the outer level");
    assert!(!tdb.in_transaction());
    assert!(tdb.exists(b"a").unwrap());

    tdb.add_flags(TDB_DISALLOW_NESTING).unwrap();
    tdb.transaction_start().unwrap();
    assert!(matches!(tdb.transaction_start(), Err(Error::Nesting)));
    tdb.transaction_prepare().unwrap();
    assert!(matches!(tdb.store(b"c", &[], StoreMode::Insert), Err(Error::Usage(_))));
    assert!(tdb.transaction_prepare().is_err());
    assert!(!tdb.in_transaction(), "a second prepare cancels");
    assert!(tdb.transaction_commit().is_err() && tdb.transaction_cancel().is_err());
}

#[test]
fn an_empty_transaction_leaves_the_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.tdb");
    let mut tdb = create(&path, 0);
    tdb.store(b"a", &[b"1"], StoreMode::Insert).unwrap();
    let before = std::fs::read(&path).unwrap();
    tdb.transaction_start().unwrap();
    assert!(tdb.exists(b"a").unwrap());
    tdb.transaction_commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn read_only_handles() {
    let dir = tempfile::tempdir().unwrap();
    for flags in kinds() {
        let path = dir.path().join(format!("r{flags}.tdb"));
        create(&path, flags).store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        let options = OpenOptions { read_only: true, check: true, ..Default::default() };
        let mut tdb = Tdb::open(&path, &options).unwrap();
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"v");
        assert!(matches!(tdb.store(b"k", &[], StoreMode::Replace), Err(Error::ReadOnly)));
        assert!(matches!(tdb.delete(b"k"), Err(Error::ReadOnly)));
        assert!(matches!(tdb.append(b"k", b"x"), Err(Error::ReadOnly)));
        assert!(matches!(tdb.lock_all(LockMode::Exclusive), Err(Error::Lock(_))));
        assert!(tdb.wipe_all().is_err());
        assert!(matches!(tdb.transaction_start(), Err(Error::Usage(_))));
        assert!(tdb.chain_lock(b"k").unwrap().fetch(b"k").unwrap().is_some());
        assert_eq!(tdb.is_mutex_file(), flags == TDB_MUTEX_LOCKING);
        assert!(!tdb.uses_mutexes());
    }
}

#[test]
fn a_file_is_open_once_in_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("once.tdb");
    let mut tdb = create(&path, TDB_CLEAR_IF_FIRST);
    tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
    for lock_style in [LockStyle::Posix, LockStyle::Ofd] {
        let options =
            OpenOptions { tdb_flags: TDB_CLEAR_IF_FIRST, lock_style, ..Default::default() };
        let error = Tdb::open(&path, &options).err().unwrap();
        assert!(matches!(error, Error::AlreadyOpen { .. }));
        assert_eq!(error.errno(), libc::EBUSY);
    }
    assert!(tdb.exists(b"k").unwrap());
    drop(tdb);
    create(&path, 0);
}

#[test]
fn ofd_handles_of_one_process_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ofd.tdb");
    let options = OpenOptions { create: true, lock_style: LockStyle::Ofd, ..Default::default() };
    let (mut a, mut b) = (Tdb::open(&path, &options).unwrap(), Tdb::open(&path, &options).unwrap());
    let guard = a.chain_lock(b"k").unwrap();
    assert!(b.try_chain_lock(b"k").unwrap().is_none());
    drop(guard);
    assert!(b.try_chain_lock(b"k").unwrap().is_some());
    // Growth by one is seen by the other.
    for i in 0..200u32 {
        a.store(&i.to_le_bytes(), &[&[1; 500]], StoreMode::Insert).unwrap();
    }
    assert_eq!(b.traverse(|_, _| true).unwrap(), 200);
    b.store(&3u32.to_le_bytes(), &[&[2; 5000]], StoreMode::Replace).unwrap();
    assert_eq!(a.fetch(&3u32.to_le_bytes()).unwrap().unwrap().len(), 5000);
}

#[test]
fn options_that_do_not_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("o.tdb");
    for flags in [
        TDB_ALLOW_NESTING | TDB_DISALLOW_NESTING,
        TDB_MUTEX_LOCKING | TDB_NOMMAP,
        TDB_MUTEX_LOCKING | TDB_INTERNAL,
        TDB_MUTEX_LOCKING | TDB_CONVERT,
    ] {
        let options = OpenOptions { tdb_flags: flags, create: true, ..Default::default() };
        assert_eq!(Tdb::open(&path, &options).err().unwrap().errno(), libc::EINVAL);
    }
    assert!(!path.exists());
    let missing = Tdb::open(&path, &OpenOptions::default()).err().unwrap();
    assert_eq!(missing.errno(), libc::ENOENT);
    create(&path, TDB_MUTEX_LOCKING);
    let plain = Tdb::open(&path, &OpenOptions::default()).err().unwrap();
    assert_eq!(plain.errno(), libc::EINVAL, "a mutex file needs the flag");
    let exclusive = OpenOptions { create: true, exclusive: true, ..Default::default() };
    assert_eq!(Tdb::open(&path, &exclusive).err().unwrap().errno(), libc::EEXIST);
    std::fs::write(&path, b"no database").unwrap();
    assert_eq!(Tdb::open(&path, &OpenOptions::default()).err().unwrap().errno(), libc::EIO);
    assert_eq!(std::fs::read(&path).unwrap(), b"no database");
}

#[test]
fn flag_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut tdb = create(&dir.path().join("f.tdb"), TDB_DISALLOW_NESTING);
    assert_eq!(tdb.flags(), TDB_DISALLOW_NESTING);
    assert!(tdb.add_flags(TDB_ALLOW_NESTING | TDB_DISALLOW_NESTING).is_err());
    tdb.add_flags(TDB_ALLOW_NESTING | TDB_SEQNUM).unwrap();
    assert_eq!(tdb.flags(), TDB_ALLOW_NESTING | TDB_SEQNUM);
    tdb.remove_flags(TDB_ALLOW_NESTING).unwrap();
    assert_eq!(tdb.flags(), TDB_DISALLOW_NESTING | TDB_SEQNUM);
    for fixed in [TDB_INTERNAL, TDB_NOMMAP, TDB_CONVERT, TDB_BIGENDIAN] {
        assert!(matches!(tdb.add_flags(fixed), Err(Error::Usage(_))));
        tdb.remove_flags(fixed).unwrap();
    }
    let internal = OpenOptions { tdb_flags: TDB_INTERNAL, ..Default::default() };
    let mut internal = Tdb::open("anything", &internal).unwrap();
    assert_eq!(internal.flags(), 2574);
    internal.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
    assert_eq!(internal.fetch(b"k").unwrap().unwrap(), b"v");
    assert!(internal.transaction_start().is_err());
    assert!(!Path::new("anything").exists());
}

#[test]
fn dead_records_are_kept_up_to_the_bound_and_reused() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        OpenOptions { create: true, hash_size: 1, max_dead: Some(3), ..Default::default() };
    let mut tdb = Tdb::open(dir.path().join("d.tdb"), &options).unwrap();
    for i in 0..8u8 {
        tdb.store(&[i], &[&[i; 40]], StoreMode::Insert).unwrap();
    }
    for i in 0..6u8 {
        tdb.delete(&[i]).unwrap();
    }
    let report = tdb.check().unwrap();
    assert_eq!((report.records, report.dead), (2, 3));
    tdb.store(b"x", &[&[9; 40]], StoreMode::Insert).unwrap();
    assert_eq!(tdb.check().unwrap().dead, 2, "a dead record was used");
    tdb.set_max_dead(0);
    tdb.delete(b"x").unwrap();
    assert_eq!(tdb.check().unwrap().dead, 0);
}

#[test]
fn volatile_files_keep_five_dead_records() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        |tdb_flags| OpenOptions { create: true, hash_size: 1, tdb_flags, ..Default::default() };
    for (flags, kept) in [(0, 0), (TDB_VOLATILE, 5)] {
        let mut tdb = Tdb::open(dir.path().join(format!("{flags}.tdb")), &options(flags)).unwrap();
        for i in 0..9u8 {
            tdb.store(&[i], &[b"v"], StoreMode::Insert).unwrap();
        }
        for i in 0..9u8 {
            tdb.delete(&[i]).unwrap();
        }
        assert_eq!(tdb.check().unwrap().dead, kept);
    }
}

#[test]
fn cursors_can_be_interrupted() {
    each_kind(|tdb| {
        for i in 0..100u32 {
            tdb.store(&i.to_le_bytes(), &[b"v"], StoreMode::Insert).unwrap();
        }
        let mut cursor = TraverseCursor::new();
        let mut seen = 0;
        let mut turns = 1;
        while cursor
            .try_next_batch(tdb, 1, u64::MAX, |_, _| {
                seen += 1;
                true
            })
            .unwrap()
        {
            turns += 1;
        }
        assert_eq!((seen, turns), (100, 7));
        assert_eq!(tdb.traverse(|_, _| false).unwrap(), 1);
    });
}

/// What a child inherits over fork is not its own: dropping it there changes nothing here.
#[test]
fn a_forked_child_leaves_the_locks_alone() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_MUTEX_LOCKING] {
        let path = dir.path().join(format!("fork{flags}.tdb"));
        let options = OpenOptions {
            tdb_flags: flags,
            create: true,
            lock_style: LockStyle::Ofd,
            ..Default::default()
        };
        let mut tdb = Tdb::open(&path, &options).unwrap();
        let mut other = (flags == 0).then(|| Tdb::open(&path, &options).unwrap());
        tdb.lock_chain(1, LockMode::Exclusive).unwrap();
        let mut inherited = Some(tdb);
        // SAFETY: the child only drops the handle and exits.
        match unsafe { libc::fork() } {
            0 => {
                drop(inherited.take());
                // SAFETY: ends the child without running anything of the test harness.
                unsafe { libc::_exit(0) };
            }
            child => {
                let mut status = 0;
                // SAFETY: `status` is valid for the call.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(status, 0);
            }
        }
        if let Some(other) = &mut other {
            assert!(!other.try_lock_chain(1, LockMode::Exclusive).unwrap());
        }
        inherited.unwrap().unlock_chain(1).unwrap();
    }
}

/// Not a test of its own: a process that may not make files larger than 64 KiB.
#[test]
#[ignore = "started by another test"]
fn process_on_a_full_disk() {
    let Some(path) = std::env::var_os("TDB_FULL_DISK") else {
        return;
    };
    let flags = std::env::var("TDB_FLAGS").unwrap().parse().unwrap();
    let mut tdb = create(Path::new(&path), flags);
    tdb.store(b"first", &[&[1; 1000]], StoreMode::Insert).unwrap();
    let mut stored = 1;
    let error = loop {
        let key = (stored as u32).to_le_bytes();
        match tdb.store(&key, &[&[2; 1000]], StoreMode::Insert) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(tdb.check().unwrap().records, stored);
    // The old value survives a replacement for which there is no room.
    let error = tdb.store(b"first", &[&vec![3; 30_000]], StoreMode::Replace).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(tdb.fetch(b"first").unwrap().unwrap(), [1; 1000]);
    // A transaction that has no room fails as a whole.
    tdb.transaction_start().unwrap();
    tdb.delete(b"first").unwrap();
    tdb.store(b"large", &[&vec![4; 60_000]], StoreMode::Insert).unwrap();
    assert!(matches!(tdb.transaction_commit(), Err(Error::NoSpace { .. })));
    assert!(!tdb.in_transaction());
    assert!(tdb.exists(b"first").unwrap());
    assert_eq!(tdb.check().unwrap().records, stored);
    // What is freed can be used again.
    tdb.delete(b"first").unwrap();
    tdb.store(b"again", &[&[5; 900]], StoreMode::Insert).unwrap();
    tdb.check().unwrap();
}

#[test]
fn a_full_disk_is_an_error_and_leaves_the_file_sound() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_NOMMAP, TDB_MUTEX_LOCKING] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "process_on_a_full_disk", "--ignored", "--nocapture"])
            .env("TDB_FULL_DISK", dir.path().join(format!("full{flags}.tdb")))
            .env("TDB_FLAGS", (flags | TDB_NOSYNC).to_string());
        // SAFETY: setrlimit and signal are safe to call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                let limit = libc::rlimit { rlim_cur: 64 << 10, rlim_max: 64 << 10 };
                libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                Ok(())
            })
        };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn appending_writes_in_place_while_there_is_room() {
    each_kind(|tdb| {
        tdb.enable_seqnum();
        tdb.append(b"log", b"").unwrap();
        let mut expected = Vec::new();
        for i in 0..200u32 {
            let part = vec![i as u8; (i % 7) as usize];
            tdb.append(b"log", &part).unwrap();
            expected.extend_from_slice(&part);
            assert_eq!(tdb.fetch(b"log").unwrap().unwrap(), expected);
        }
        // A move counts twice, an append in place once, and most are in place.
        let moves = tdb.seqnum().unwrap() - 201;
        assert!((1..60).contains(&moves), "{moves}");
        tdb.append(b"log", &[9; 70_000]).unwrap();
        assert_eq!(tdb.fetch(b"log").unwrap().unwrap().len(), expected.len() + 70_000);
        assert!(tdb.append(b"log", b"").is_ok());
        tdb.check().unwrap();
    });
}
