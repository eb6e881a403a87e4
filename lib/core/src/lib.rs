// SPDX-License-Identifier: GPL-3.0-or-later
//! The client library: clustered databases, locks and messages for programs of one node.
//!
//! - [`Client`] is a connection to the local daemon: controls to any node ([`ControlOutcome`]),
//!   messages ([`Message`]), record calls.
//! - [`Database`] is an attached database; [`Record`] is one of its records, locked for this
//!   process. A record that is here is read and written in the mapped file, without the daemon.
//! - [`Transaction`] writes persistent and replicated databases; [`LockTable`] has the cluster's
//!   locks; [`Client::traverse`] visits all records of all nodes.
//! - [`Replacement`] exchanges the whole content of a database on all nodes.
//! - [`Environment`] knows where the daemon's socket is.
//!
//! Synchronous, without threads of its own, poll-able: [`Client::fd`] and [`Client::dispatch`] fit
//! any event loop, the blocking calls wait on top of them until a [`Deadline`].

mod call;
mod client;
mod control;
mod database;
mod deadline;
mod error;
mod fanout;
mod glock;
mod header;
mod message;
mod paths;
mod replacement;
mod stream;
mod sys;
mod transaction;
mod traverse;

pub use call::RecordCall;
pub use client::{CallOutcome, Client, Ticket};
pub use control::{ControlAddress, ControlOutcome};
pub use database::{attach_id, AttachOptions, Database, DatabaseKind, Record};
pub use deadline::Deadline;
pub use error::{Error, Result};
pub use fanout::FanOut;
pub use glock::{LockKind, LockTable, G_LOCK_DB};
pub use message::Message;
pub use paths::Environment;
pub use replacement::Replacement;
pub use transaction::Transaction;
pub use traverse::{Traverse, Visited};
