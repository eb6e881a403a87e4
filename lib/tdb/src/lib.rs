// SPDX-License-Identifier: GPL-3.0-or-later
//! The TDB engine: one database file, many processes.
//!
//! Opens, creates, reads, writes, deletes, locks and traverses TDB files at the same time as
//! processes that use the C library on the same file. Knows nothing of clusters.
//!
//! ```
//! use ctdb_tdb::{OpenOptions, StoreMode, Tdb};
//!
//! # fn main() -> ctdb_tdb::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("example.tdb");
//! let mut tdb = Tdb::open(&path, &OpenOptions { create: true, ..Default::default() })?;
//! tdb.store(b"key", &[b"header", b"value"], StoreMode::Replace)?;
//! assert_eq!(tdb.fetch(b"key")?.as_deref(), Some(&b"headervalue"[..]));
//!
//! // Under the lock of the key's chain, in place.
//! let mut guard = tdb.chain_lock(b"key")?;
//! let value = guard.fetch(b"key")?.map_or(0, <[u8]>::len);
//! guard.store(b"key", &[b"header", &[0; 3]], StoreMode::Modify)?;
//! drop(guard);
//!
//! // All or nothing, also if the machine stops.
//! tdb.transaction_start()?;
//! tdb.delete(b"key")?;
//! tdb.store(b"other", &[b"value"], StoreMode::Insert)?;
//! tdb.transaction_commit()?;
//! assert_eq!(tdb.check()?.records, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Shape
//!
//! - [`Tdb`] is one handle. It is `Send` and takes `&mut self`: one thread uses it at a time.
//! - [`ChainGuard`] holds one chain lock, [`RecordGuard`] one record's; data is read in place from
//!   the mapping and is borrowed from the guard, so it cannot outlive the lock.
//! - [`WaiterPool`] waits for chain locks and [`Freezer`] for the whole-database lock away from the
//!   event loop. They report tokens; the loop works under a token without taking locks itself.
//! - [`Error`] says what the caller can do; an unsound file names offset, expectation and finding.
//!
//! # Threads and processes
//!
//! Robust mutexes belong to threads: on a mutex file a lock must be released by the thread that
//! took it, and that thread must not end while it holds one. A child process must
//! [`reopen`](Tdb::reopen) the handles it inherits. With POSIX locks ([`LockStyle::Posix`]) the file
//! must not be opened and closed elsewhere in the process: that drops the locks.
//!
//! # Files that are cut
//!
//! Touching a mapped page that is no longer in the file ends the process (SIGBUS); no signal handler
//! is installed. Instead the file's length is looked at before anything is read: at every operation
//! of read-only handles and of those opened with [`OpenOptions::watch_size`], at every 64th of others
//! on files without mutexes, and in all long operations (whole-database locks, transactions,
//! traversals). Single operations of other handles on mutex files do not look: they hold the active
//! lock, which keeps everybody who knows the format from clearing the file. What remains is a
//! stranger who cuts the file in the middle of an operation, or between two looks;
//! [`TDB_NOMMAP`] maps nothing and has no such limit.

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
mod parking;
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
mod sync;
mod transaction;
mod traverse;
mod unlocked;
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
pub use hash::{jenkins_hash, old_hash, HashFunction, HashKind};
pub use iterate::{ChainRecords, KeyCursor, Keys, Records};
pub use locks::ChainGuard;
pub use options::{LockStyle, OpenOptions};
pub use place::{Place, RecordGuard};
pub use summary::{Summary, Tally};
pub use sweep::OrphanSweep;
pub use traverse::TraverseCursor;
pub use waiter::{ChainToken, Ticket, WaiterPool};
