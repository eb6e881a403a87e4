// SPDX-License-Identifier: GPL-3.0-or-later
//! Transactions beside those of the C library: who keeps whom out, and who recovers whom.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use common::{hex, CPeer};
use ctdb_tdb::*;

const KINDS: [u32; 4] = [0, TDB_NOSYNC, TDB_MUTEX_LOCKING, TDB_MUTEX_LOCKING | TDB_NOSYNC];

fn open(path: &Path, tdb_flags: u32) -> Tdb {
    let options = OpenOptions { tdb_flags, create: true, hash_size: 31, ..Default::default() };
    Tdb::open(path, &options).unwrap()
}

/// Not a test of its own: a process that dies in its transaction.
#[test]
#[ignore = "started by another test"]
fn process_that_dies() {
    let Some(path) = std::env::var_os("TDB_DIES") else {
        return;
    };
    let mut tdb = open(Path::new(&path), std::env::var("TDB_FLAGS").unwrap().parse().unwrap());
    tdb.transaction_start().unwrap();
    tdb.store(b"k", &[b"never committed"], StoreMode::Replace).unwrap();
    tdb.store(b"large", &[&[1; 50_000]], StoreMode::Replace).unwrap();
    tdb.transaction_prepare().unwrap();
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

fn child(test: &str, path: &Path, flags: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command.env("TDB_DIES", path).env("TDB_FLAGS", flags.to_string());
    command
}

fn die_in_a_transaction(path: &Path, flags: u32) {
    let output = child("process_that_dies", path, flags).output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{output:?}");
}

#[test]
fn the_c_library_recovers_our_dead() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let path = dir.path().join(format!("{flags}.tdb"));
        open(&path, flags).store(b"k", &[b"old"], StoreMode::Insert).unwrap();
        // One that has the file open already, by its next lock.
        let Some(mut survivor) = CPeer::open(&path, 31, flags) else {
            return;
        };
        die_in_a_transaction(&path, flags);
        assert_eq!(survivor.fetch(b"k").unwrap(), b"old");
        assert_eq!(survivor.fetch(b"large"), None);
        survivor.ok("check");
        // One that locks everything, and one that starts a transaction.
        for command in ["lockall", "tstart"] {
            die_in_a_transaction(&path, flags);
            survivor.ok(command);
            assert_eq!(survivor.fetch(b"k").unwrap(), b"old");
            survivor.ok(if command == "tstart" { "tcancel" } else { "unlockall" });
        }
        // One that opens it.
        survivor.ok("close");
        die_in_a_transaction(&path, flags);
        let mut opener = CPeer::open(&path, 31, flags).unwrap();
        assert_eq!(opener.fetch(b"k").unwrap(), b"old");
        opener.ok("check");
        opener.store(b"k", b"old");
        opener.ok("close");
        let mut tdb = open(&path, flags);
        let report = tdb.check().unwrap();
        assert_eq!(report.records, 1);
    }
}

#[test]
fn we_recover_the_dead_of_both() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags);
        tdb.store(b"k", &[b"old"], StoreMode::Insert).unwrap();
        let die = |by_us: bool| {
            if by_us {
                die_in_a_transaction(&path, flags);
                return true;
            }
            let Some(mut peer) = CPeer::open(&path, 31, flags) else {
                return false;
            };
            peer.ok("tstart");
            peer.store(b"k", b"never committed");
            peer.store(b"large", &[1; 50_000]);
            peer.ok("tprepare");
            peer.kill();
            true
        };
        for by_us in [true, false] {
            type Look = fn(&mut Tdb) -> Result<()>;
            let looks: [Look; 7] = [
                |tdb| tdb.fetch(b"k").map(|_| ()),
                |tdb| tdb.store(b"other", &[b"x"], StoreMode::Replace),
                |tdb| tdb.lock_all(LockMode::Shared).and_then(|()| tdb.unlock_all()),
                |tdb| tdb.transaction_start().and_then(|()| tdb.transaction_commit()),
                |tdb| tdb.traverse(|_, _| true).map(|_| ()),
                |tdb| tdb.free_stats().map(|_| ()),
                |tdb| tdb.check().map(|_| ()),
            ];
            for look in looks {
                if !die(by_us) {
                    return;
                }
                look(&mut tdb).unwrap();
                assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"old");
                assert!(!tdb.exists(b"large").unwrap());
                assert_eq!(tdb.check().unwrap().dead_space, 0);
            }
        }
        drop(tdb);
        die_in_a_transaction(&path, flags);
        assert_eq!(open(&path, flags).fetch(b"k").unwrap().unwrap(), b"old");
    }
}

/// The table of spec/tdb.md 21.4, between processes, both ways round.
#[test]
fn who_keeps_whom_out() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [0, TDB_MUTEX_LOCKING] {
        let fcntl = flags == 0;
        let path = dir.path().join(format!("{flags}.tdb"));
        let mut tdb = open(&path, flags | TDB_NOSYNC);
        let Some(mut peer) = CPeer::open(&path, 31, flags | TDB_NOSYNC) else {
            return;
        };
        let key = hex(b"k");
        tdb.transaction_start().unwrap();
        assert_eq!(peer.err("tstart_nb"), 6);
        assert_eq!(peer.err("lockall_nb"), 3);
        assert_eq!(peer.err(&format!("lock_nb {key}")), 3);
        let shared = |answer: String, wanted: bool| assert_eq!(answer == "ok", wanted, "{answer}");
        shared(peer.call("rlockall_nb"), fcntl);
        if fcntl {
            peer.ok("runlockall");
        }
        // A reader of one chain gets on in either kind of file.
        peer.ok(&format!("rlock_nb {key}"));
        peer.ok(&format!("runlock {key}"));
        tdb.transaction_cancel().unwrap();

        peer.ok("tstart");
        assert!(!tdb.try_transaction_start().unwrap());
        assert!(!tdb.try_lock_all(LockMode::Exclusive).unwrap());
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        assert_eq!(tdb.try_lock_all(LockMode::Shared).unwrap(), fcntl);
        if fcntl {
            tdb.unlock_all().unwrap();
        }
        assert!(tdb.try_chain_lock_read(b"k").unwrap().is_some());
        peer.ok("tcancel");

        peer.ok("rlockall");
        assert!(tdb.try_chain_lock_read(b"k").unwrap().is_some());
        assert_eq!(tdb.try_lock_all(LockMode::Shared).unwrap(), fcntl);
        if fcntl {
            tdb.unlock_all().unwrap();
        }
        assert!(tdb.try_chain_lock(b"k").unwrap().is_none());
        peer.ok("runlockall");
        assert!(tdb.try_chain_lock(b"k").unwrap().is_some());
    }
}

/// And inside one handle.
#[test]
fn rules_inside_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    for flags in KINDS {
        let mut tdb = open(&dir.path().join(format!("{flags}.tdb")), flags);
        tdb.transaction_start().unwrap();
        // Locks are covered.
        tdb.lock_all(LockMode::Exclusive).unwrap();
        tdb.unlock_all().unwrap();
        assert!(tdb.unlock_all().is_err(), "the transaction's own");
        tdb.lock_chain(3, LockMode::Exclusive).unwrap();
        tdb.unlock_chain(3).unwrap();
        tdb.wipe_all().unwrap();
        tdb.store(b"k", &[b"v"], StoreMode::Insert).unwrap();
        assert_eq!(tdb.traverse(|_, _| true).unwrap(), 1);
        tdb.check().unwrap();
        // Prepared: no further writes, and a second prepare cancels.
        tdb.transaction_prepare().unwrap();
        assert!(matches!(tdb.store(b"x", &[], StoreMode::Insert), Err(Error::Usage(_))));
        assert_eq!(tdb.fetch(b"k").unwrap().unwrap(), b"v");
        tdb.transaction_commit().unwrap();
        assert!(tdb.exists(b"k").unwrap());
        // An inner cancel dooms the whole.
        tdb.transaction_start().unwrap();
        tdb.transaction_start().unwrap();
        tdb.delete(b"k").unwrap();
        tdb.transaction_cancel().unwrap();
        assert!(tdb.transaction_prepare().is_err());
        assert!(!tdb.in_transaction() && tdb.exists(b"k").unwrap());
        // Closing cancels.
        tdb.transaction_start().unwrap();
        tdb.delete(b"k").unwrap();
        let path = tdb.path().to_path_buf();
        drop(tdb);
        assert!(open(&path, flags).exists(b"k").unwrap());
    }
}

/// Not a test of its own: a process that is told not to wait for disks.
#[test]
#[ignore = "started by another test"]
fn process_without_fsync() {
    let Some(path) = std::env::var_os("TDB_DIES") else {
        return;
    };
    assert!(std::env::var_os("TDB_NO_FSYNC").is_some());
    assert_eq!(open(Path::new(&path), 0).flags() & TDB_NOSYNC, TDB_NOSYNC);
}

#[test]
fn the_environment_can_turn_syncs_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    let mut command = child("process_without_fsync", &path, 0);
    let output = command.env("TDB_NO_FSYNC", "1").output().unwrap();
    assert!(output.status.success() && path.exists(), "{output:?}");
}
