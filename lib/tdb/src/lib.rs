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

mod error;
mod flags;
mod freezer;
mod handle;
mod hash;
mod layout;
mod options;
mod traverse;
mod waiter;

pub use error::{Corruption, Error, Result};
pub use flags::*;
pub use freezer::{FreezeToken, Freezer};
pub use handle::{ChainGuard, CheckReport, LockMode, StoreMode, Tdb};
pub use hash::{jenkins_hash, old_hash, HashKind};
pub use options::{LockStyle, OpenOptions};
pub use traverse::TraverseCursor;
pub use waiter::{ChainToken, LockAccess, Ticket, WaiterPool};
