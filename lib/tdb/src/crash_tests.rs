// SPDX-License-Identifier: GPL-3.0-or-later
//! Crash consistency of transactions, against a simulated disk.
//!
//! # The rule
//!
//! What a transaction does to the file is recorded: writes, extensions, syncs. A machine that stops
//! leaves everything before the last sync. Of what came since then it leaves, for each sector of
//! 512 bytes, any version the sector went through (a sector is never torn), independently of all
//! other sectors; and any size the file went through. Of these states are tried, between any two
//! syncs:
//!
//! - cuts: everything up to a moment, sector write by sector write; all, or if there are more than
//!   the effort allows the first, the last and some at even distances;
//! - all sectors but one, one sector alone, with the old and the new size; all sectors, or some at
//!   even distances;
//! - random choices, seeded, of versions and size, with 1/8, 1/2 and 7/8 of the sectors written.
//!
//! Each is a file. Opened, it must pass the full check and hold exactly the old or exactly the new
//! content: the old one up to the step that invalidates the undo log, the new one from the sync
//! behind that step on. Then it must take a transaction. A share of the states is opened by the C
//! library, which must come to the same content and accept the file that our recovery left. A
//! share of the recoveries is crashed again by the same rule, and of these again.
//!
//! `TDB_CRASH_EFFORT=N` tries N times as many states of N times as many random transactions.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::*;

#[path = "../tests/common/mod.rs"]
mod common;
mod disk;
mod judge;
mod killed;
pub(crate) mod trace;

use common::Random;
use disk::{Disk, Effort};
use judge::{Figures, Judge};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(tdb: &mut Tdb) -> Content {
    let mut seen = Content::new();
    tdb.traverse(|key, data| {
        assert!(seen.insert(key.to_vec(), data.to_vec()).is_none());
        true
    })
    .unwrap();
    seen
}

/// The figure that `TDB_CRASH_EFFORT` multiplies.
fn effort() -> usize {
    std::env::var("TDB_CRASH_EFFORT").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A directory in memory if there is one.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// One file that goes from transaction to transaction, each of which is crashed everywhere.
struct Subject {
    _dir: tempfile::TempDir,
    path: PathBuf,
    flags: u32,
    judge: Judge,
    random: Random,
}

impl Subject {
    fn new(flags: u32, hash_size: u32, seed: u64) -> Subject {
        let dir = directory();
        let path = dir.path().join("t.tdb");
        let options =
            OpenOptions { create: true, hash_size, tdb_flags: flags, ..Default::default() };
        drop(Tdb::open(&path, &options).unwrap());
        let n = effort();
        let effort = Effort { cuts: 24 * n, singles: 4 * n, random: 12 * n };
        let judge = Judge::new(dir.path(), flags, effort, 12);
        Subject { _dir: dir, path, flags, judge, random: Random(seed) }
    }

    fn open(&self) -> Tdb {
        let tdb_flags = self.flags & TDB_MUTEX_LOCKING;
        Tdb::open(&self.path, &OpenOptions { tdb_flags, ..Default::default() }).unwrap()
    }

    /// Changes that are not crashed.
    fn prepare(&self, work: impl FnOnce(&mut Tdb)) {
        work(&mut self.open());
    }

    /// Records what `work` does and crashes it everywhere.
    fn crash(&mut self, what: &str, work: impl FnOnce(&mut Tdb)) {
        let before = fs::read(&self.path).unwrap();
        let mut tdb = self.open();
        let old = content(&mut tdb);
        let start = tdb.io.start;
        trace::start();
        work(&mut tdb);
        let steps = trace::stop();
        let new = content(&mut tdb);
        drop(tdb);
        // Nothing reached the file past the recorder.
        let mut disk = Disk::new(before.clone(), start);
        steps.iter().for_each(|step| disk.apply(step));
        let after = fs::read(&self.path).unwrap();
        assert!(disk.cache()[start as usize..] == after[start as usize..], "{what}: incomplete");
        let disk = Disk::new(before, start);
        self.judge.crash(disk, &steps, (&old, &new), &mut self.random, what);
    }

    fn commit(&mut self, what: &str, work: impl FnOnce(&mut Tdb)) {
        self.crash(what, |tdb| {
            tdb.transaction_start().unwrap();
            work(tdb);
            tdb.transaction_commit().unwrap();
        });
    }
}

fn fill(tdb: &mut Tdb, tag: u8, count: u32, size: usize) {
    for i in 0..count {
        tdb.store(&i.to_le_bytes(), &[&vec![tag; size]], StoreMode::Replace).unwrap();
    }
}

/// The transactions with a name; then random ones.
fn run(flags: u32, hash_size: u32, seed: u64, random_transactions: u32) -> Figures {
    let mut subject = Subject::new(flags, hash_size, seed);
    subject.commit("small, fresh area", |tdb| fill(tdb, 1, 10, 30));
    subject.commit("small, area used again", |tdb| fill(tdb, 2, 10, 30));
    subject.commit("larger, area replaced", |tdb| fill(tdb, 3, 60, 300));
    subject.commit("nested", |tdb| {
        fill(tdb, 5, 5, 50);
        tdb.transaction_start().unwrap();
        fill(tdb, 6, 20, 400);
        tdb.transaction_start().unwrap();
        tdb.delete(&3u32.to_le_bytes()).unwrap();
        tdb.transaction_commit().unwrap();
        tdb.transaction_commit().unwrap();
    });
    subject.crash("an inner level cancelled", |tdb| {
        tdb.transaction_start().unwrap();
        tdb.transaction_start().unwrap();
        fill(tdb, 7, 20, 400);
        tdb.transaction_cancel().unwrap();
        tdb.transaction_commit().unwrap_err();
    });
    subject.crash("prepared, then committed", |tdb| {
        tdb.transaction_start().unwrap();
        fill(tdb, 8, 70, 100);
        tdb.transaction_prepare().unwrap();
        tdb.transaction_commit().unwrap();
    });
    subject.crash("prepared, then cancelled", |tdb| {
        tdb.transaction_start().unwrap();
        fill(tdb, 9, 60, 900);
        tdb.transaction_prepare().unwrap();
        tdb.transaction_cancel().unwrap();
    });
    subject.commit("deletes", |tdb| {
        for i in (0..60u32).step_by(2) {
            tdb.delete(&i.to_le_bytes()).unwrap();
        }
    });
    subject.commit("appends", |tdb| {
        for i in (1..60u32).step_by(2) {
            tdb.append(&i.to_le_bytes(), &[10; 150]).unwrap();
        }
    });
    subject.crash("a repack", |tdb| tdb.repack().unwrap());
    subject.commit("a wipe", |tdb| {
        tdb.wipe_all().unwrap();
        tdb.store(b"only", &[b"one"], StoreMode::Insert).unwrap();
    });
    for i in 0..random_transactions {
        let seed = subject.random.next();
        subject.commit(&format!("random {i}"), |tdb| random_work(tdb, &mut Random(seed.into())));
    }
    subject.commit("expanding", |tdb| fill(tdb, 4, 40, 3000));
    subject.prepare(|tdb| fill(tdb, 11, 300, 100));
    subject.commit("large", |tdb| fill(tdb, 12, 290, 600));
    subject.judge.figures
}

/// The recovery area is the last thing in the file and becomes larger where it is.
fn run_area_at_the_end() -> Figures {
    let mut subject = Subject::new(0, 31, 5);
    let change = |tdb: &mut Tdb, tag: u8, count: u32| fill(tdb, tag, count, 300);
    subject.prepare(|tdb| change(tdb, 1, 700));
    subject.commit("many blocks", |tdb| change(tdb, 2, 260));
    let area_at_end = |tdb: &mut Tdb| {
        let area = tdb.io.word(layout::OFF_RECOVERY_START).unwrap();
        let len = layout::REC_HEADER + tdb.io.rec(area).unwrap().rec_len;
        assert_eq!(area + len, tdb.map_size());
        (area, len)
    };
    let before = area_at_end(&mut subject.open());
    subject.commit("more blocks", |tdb| change(tdb, 3, 700));
    let after = area_at_end(&mut subject.open());
    assert!(after.0 == before.0 && after.1 > before.1, "{before:?} {after:?}");
    subject.judge.figures
}

/// A transaction of some size.
fn random_work(tdb: &mut Tdb, random: &mut Random) {
    let size = [20, 200, 600][random.below(3) as usize];
    for _ in 0..1 + random.below(40) {
        let key = random.below(120).to_le_bytes();
        match random.below(20) {
            0..=10 => {
                let value = vec![random.next() as u8; random.below(size) as usize];
                tdb.store(&key, &[&value], StoreMode::Replace).unwrap();
            }
            11..=16 => match tdb.delete(&key) {
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => panic!("{error}"),
            },
            17 | 18 => tdb.append(&key, &[3; 60]).unwrap(),
            _ if random.below(20) == 0 => tdb.wipe_all().unwrap(),
            _ => {}
        }
    }
    // At least one change.
    tdb.store(b"serial", &[&random.next().to_le_bytes()], StoreMode::Replace).unwrap();
}

fn crash_everywhere(flags: u32, hash_size: u32, seed: u64) {
    let figures = run(flags, hash_size, seed, 4 * effort() as u32);
    println!("{figures:?}");
    assert!(figures.cuts > 300 && figures.reordered > 300);
    assert!(figures.with_old > 300 && figures.with_new >= figures.transactions - 2);
    assert!(figures.in_recovery > 100);
}

#[test]
fn an_area_that_grows_in_place() {
    let figures = run_area_at_the_end();
    println!("{figures:?}");
    assert!(figures.cuts > 40 && figures.reordered > 40);
}

#[test]
fn a_plain_file() {
    crash_everywhere(0, 31, 1);
}

#[test]
fn a_file_of_one_chain_in_foreign_byte_order() {
    crash_everywhere(TDB_CONVERT | TDB_INCOMPATIBLE_HASH, 1, 2);
}

#[test]
fn a_mutex_file() {
    crash_everywhere(TDB_MUTEX_LOCKING, 131, 3);
}
