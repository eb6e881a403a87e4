// SPDX-License-Identifier: GPL-3.0-or-later
//! The TDB engine: one database file, many processes.
//!
//! Opens, creates, reads, writes, deletes, locks and traverses TDB files at the same time as
//! processes that use the C library on the same file. Knows nothing of clusters.
//!
//! # Shape
//!
//! - [`Tdb`] is one handle. It is `Send` and takes `&mut self`: one thread uses it at a time.
//! - [`ChainGuard`] holds one chain lock; record data is read in place from the mapping and is
//!   borrowed from the guard, so it cannot outlive the lock.
//! - [`WaiterPool`] waits for chain locks and [`Freezer`] for the whole-database lock away from the
//!   event loop. They report tokens; the loop works under a token without taking locks itself.
//!
//! # Threads
//!
//! Robust mutexes belong to threads: on a mutex file a lock must be released by the thread that
//! took it, and that thread must not end while it holds one.

mod access;
mod check;
#[cfg(test)]
mod crash_tests;
mod deadline;
mod error;
mod fcntl;
mod flags;
mod fork;
mod freelist;
mod freestats;
mod freezer;
mod growth;
mod handle;
mod hash;
mod header;
mod hints;
mod iterate;
mod layout;
mod lockfile;
mod locks;
mod mutex;
mod open;
mod options;
mod orphan;
mod overlay;
mod place;
mod protocol;
mod reclaim;
mod record;
mod recovery;
mod registry;
mod repack;
mod rescue;
mod robust;
mod size;
mod storage;
mod summary;
mod sweep;
mod transaction;
mod traverse;
mod waiter;
mod wipe;

pub use access::LockAccess;
pub use check::CheckReport;
pub use error::{Corruption, Error, Result};
pub use flags::*;
pub use fork::reopen_all;
pub use freestats::{FreeStats, ListEnd, ListedRecord};
pub use freezer::{FreezeToken, Freezer};
pub use handle::{LockMode, StoreMode, Tdb};
pub use hash::{jenkins_hash, old_hash, HashKind};
pub use iterate::{ChainRecords, KeyCursor, Keys, Records};
pub use locks::ChainGuard;
pub use options::{LockStyle, OpenOptions};
pub use place::{Place, RecordGuard};
pub use summary::{Summary, Tally};
pub use sweep::OrphanSweep;
pub use traverse::TraverseCursor;
pub use waiter::{ChainToken, Ticket, WaiterPool};
