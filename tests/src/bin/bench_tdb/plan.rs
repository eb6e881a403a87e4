// SPDX-License-Identifier: GPL-3.0-or-later
//! What is measured: databases, and the work that is done on each.

use ctdb_tdb::{TDB_INCOMPATIBLE_HASH, TDB_MUTEX_LOCKING, TDB_NOLOCK, TDB_NOSYNC};

/// A database without locks between processes, with kernel locks, and with robust mutexes.
const NOLOCK: u32 = FCNTL | TDB_NOLOCK;
pub const FCNTL: u32 = TDB_NOSYNC | TDB_INCOMPATIBLE_HASH;
pub const MUTEX: u32 = FCNTL | TDB_MUTEX_LOCKING;
const SYNCED: u32 = TDB_INCOMPATIBLE_HASH;

pub const VALUE_BYTES: usize = 100;

const STORE_NEW: &str = "store new";
const STORE_OVER: &str = "store overwrite";
const DELETE: &str = "delete";
const LOCK_READ: &str = "chain lock, read in place, unlock";
const RECORD_READ: &str = "record lock, read in place, unlock";
const LOCK_READ_STORE: &str = "chain lock, read, overwrite, unlock";
const RECORD_READ_STORE: &str = "record lock, read, overwrite, unlock";
const READ: &str = "read in place";
const READ_LOCKED: &str = "read in place, whole database locked";
const TRAVERSE: &str = "traverse";
const TRANSACTION: &str = "transaction of 10 stores";
pub const SIZE: &str = "size of the file";

/// Keys in the order of the work.
#[derive(Clone, Copy)]
pub enum Order {
    /// All numbers below this, shuffled.
    Shuffled(u32),
    /// Stores of random sizes and deletes on this many keys, this many in all.
    Churn { keys: u32, steps: u32, largest: u32 },
}

/// Work on one database, done once by each side in each round.
pub struct Group {
    pub name: String,
    pub flags: u32,
    pub hash_size: u32,
    pub order: Order,
    /// `[LABEL=]WORK[:COUNT]`: what has a label is a row.
    pub work: Vec<String>,
    /// On the disk, where time and not processor time is what counts.
    pub on_disk: bool,
    /// The size of the file is a row too.
    pub grows: bool,
}

impl Group {
    fn new(name: &str, flags: u32, hash_size: u32, records: u32) -> Group {
        Group {
            name: name.into(),
            flags,
            hash_size,
            order: Order::Shuffled(records),
            work: Vec::new(),
            on_disk: false,
            grows: false,
        }
    }

    fn add(mut self, label: &str, work: &str, count: u32) -> Group {
        let labelled = if label.is_empty() { String::new() } else { format!("{label}=") };
        self.work.push(format!("{labelled}{work}:{count}"));
        self
    }

    /// Everything that is done to records, with locks; reads `passes` times.
    fn everything(mut self, passes: u32) -> Group {
        for _ in 1..passes {
            self = self.add(STORE_NEW, "insert", 1).add(DELETE, "delete", 1);
        }
        self.add(STORE_NEW, "insert", 1)
            .add(LOCK_READ, "lock-read", passes)
            .add(RECORD_READ, "record-read", passes)
            .add(READ, "read", passes)
            .add(STORE_OVER, "replace", passes)
            .add(LOCK_READ_STORE, "lock-read-store", passes)
            .add(RECORD_READ_STORE, "record-read-store", passes)
            .add(TRAVERSE, "traverse", passes)
            .add("", "lock-all", 1)
            .add(READ_LOCKED, "read", passes)
            .add("", "unlock-all", 1)
            .add(DELETE, "delete", 1)
    }

    fn without_locks(self, passes: u32) -> Group {
        self.add("", "insert", 1)
            .add(READ, "read", passes)
            .add(STORE_OVER, "replace", passes)
            .add(TRAVERSE, "traverse", passes)
    }

    fn transactions(self, count: u32) -> Group {
        self.add("", "insert", 1).add("", "transactions", 5).add(TRANSACTION, "transactions", count)
    }

    fn churn(name: &str, flags: u32, keys: u32, largest: u32) -> Group {
        let mut group = Group::new(name, flags, 1009, 0).add("stores and deletes", "churn", 1);
        group.order = Order::Churn { keys, steps: 40 * keys, largest };
        group.grows = true;
        group
    }

    pub fn row(&self, label: &str) -> String {
        format!("tdb {}: {label}", self.name)
    }

    /// All rows of the group.
    pub fn rows(&self) -> Vec<String> {
        let size = self.grows.then_some(SIZE);
        self.labels().into_iter().chain(size).map(|label| self.row(label)).collect()
    }

    /// The labels that the work has, each once.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels = Vec::new();
        for label in self.work.iter().filter_map(|word| Some(word.split_once('=')?.0)) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }
}

/// What is timed.
pub fn timed() -> Vec<Group> {
    let synced = Group { on_disk: true, ..Group::new("synced, hash size 131", SYNCED, 131, 1000) };
    vec![
        Group::new("mutex, 300k records", MUTEX, 100_001, 300_000).everything(1),
        Group::new("fcntl, 300k records", FCNTL, 100_001, 300_000).everything(1),
        Group::new("unlocked, 300k records", NOLOCK, 100_001, 300_000).without_locks(1),
        Group::new("mutex, 1k records", MUTEX, 1009, 1000).everything(100),
        Group::new("fcntl, 1k records", FCNTL, 1009, 1000).everything(20),
        Group::new("unlocked, 1k records", NOLOCK, 1009, 1000).without_locks(200),
        Group::new("mutex, hash size 10007", MUTEX, 10_007, 1000).transactions(1000),
        Group::new("fcntl, hash size 10007", FCNTL, 10_007, 1000).transactions(2000),
        Group::new("fcntl, hash size 131", FCNTL, 131, 1000).transactions(2000),
        synced.transactions(40),
        Group::churn("growth, values to 500 bytes", MUTEX, 10_000, 500),
        Group::churn("growth, values to 4 kB", MUTEX, 5000, 4000),
        Group::churn("growth, values to 60 kB", MUTEX, 1000, 60_000),
    ]
}

/// Where instructions are counted: the same work on fewer records with chains of the same length.
pub fn counted() -> Vec<Group> {
    vec![
        Group::new("mutex", MUTEX, 1009, 3000).everything(1),
        Group::new("fcntl", FCNTL, 1009, 3000).everything(1),
        Group::new("unlocked", NOLOCK, 1009, 3000).without_locks(1),
        Group::new("mutex, hash size 10007", MUTEX, 10_007, 1000).transactions(50),
        Group::new("fcntl, hash size 10007", FCNTL, 10_007, 1000).transactions(50),
        Group::new("fcntl, hash size 131", FCNTL, 131, 1000).transactions(50),
    ]
}
