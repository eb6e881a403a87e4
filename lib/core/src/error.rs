// SPDX-License-Identifier: GPL-3.0-or-later
//! What can go wrong, sorted by what the caller can do about it.

use std::io;
use std::path::PathBuf;

use ctdb_wire::{FrameFault, Opcode};

/// Result of every client call.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed client call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The environment names no place for the daemon's socket.
    #[error("{0}")]
    Environment(&'static str),
    /// No daemon answers at the socket.
    #[error("connect to {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The daemon closed the connection. Every later call on the client gives the same error.
    #[error("connection to the daemon is closed")]
    Closed,
    /// A system call on the connection failed.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The deadline passed first.
    #[error("{what}: timed out")]
    Timeout {
        /// What was waited for.
        what: &'static str,
    },
    /// The handle was inherited over a fork; only the process that made it may use it.
    #[error("handle belongs to the parent process")]
    Forked,
    /// No answer to a control; the reason is in `source`.
    #[error("control {control} to node {node}: {source}")]
    NoReply {
        /// The control.
        control: Opcode,
        /// Where it went.
        node: u32,
        /// What happened instead of the reply.
        source: Box<Error>,
    },
    /// A control was answered, with a status that is not 0.
    #[error("control {control} to node {node}: status {status}{}", text(message))]
    Refused {
        /// The control.
        control: Opcode,
        /// Where it went.
        node: u32,
        /// The status.
        status: i32,
        /// The daemon's words, if it had any.
        message: Option<String>,
    },
    /// The daemon sent something that is no packet: the connection is of no use any more.
    #[error("stream from the daemon is broken: {0}")]
    Stream(FrameFault),
    /// A packet, payload or record has not the layout it should have.
    #[error("{what}: {source}")]
    Malformed {
        /// Which one.
        what: &'static str,
        /// Where and how.
        source: ctdb_wire::Error,
    },
    /// More is queued than the connection keeps: receive what arrived, or wait for the daemon.
    #[error("{0}")]
    QueueFull(&'static str),
    /// The daemon could not bring the record here.
    #[error("record call on database {db}: status {status}")]
    Call {
        /// Name of the database.
        db: String,
        /// The status.
        status: i32,
    },
    /// The daemon considers the database's content unsound.
    #[error("database {db}: unhealthy ({reason})")]
    Unhealthy {
        /// Name of the database.
        db: String,
        /// The daemon's reason.
        reason: String,
    },
    /// The engine refused an operation on the local file.
    #[error("database {db}: {source}")]
    Tdb {
        /// Name of the database.
        db: String,
        /// The engine's error.
        source: ctdb_tdb::Error,
    },
    /// A record in a local file is shorter than its header.
    #[error("database {db}: record of {found} bytes is shorter than its header")]
    ShortRecord {
        /// Name of the database.
        db: String,
        /// Its size.
        found: usize,
    },
    /// A lock that this same handle holds already (EDEADLK).
    #[error("lock {0}: held by this process already")]
    HeldAlready(String),
    /// A transaction can neither be seen to have happened nor be tried again.
    #[error("database {db}: {what}")]
    Transaction {
        /// Name of the database.
        db: String,
        /// The reason.
        what: &'static str,
    },
    /// A node has not got all the records that were pushed to it.
    #[error("node {node} received {received} of {sent} records")]
    PushIncomplete {
        /// The node.
        node: u32,
        /// What it has.
        received: u32,
        /// What it should have.
        sent: u64,
    },
    /// The caller broke a rule of the interface.
    #[error("invalid use: {0}")]
    Usage(&'static str),
}

fn text(message: &Option<String>) -> String {
    message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default()
}

impl Error {
    pub(crate) fn io(action: &'static str, source: io::Error) -> Error {
        Error::Io { action, source }
    }

    /// The errno a C interface reports for this error.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Connect { source, .. } | Error::Io { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
            Error::Closed => libc::EPIPE,
            Error::Timeout { .. } => libc::ETIMEDOUT,
            Error::Forked => libc::ECHILD,
            Error::NoReply { source, .. } => source.errno(),
            Error::Refused { .. } | Error::Call { .. } | Error::Transaction { .. } => libc::EIO,
            Error::Stream(_)
            | Error::Malformed { .. }
            | Error::ShortRecord { .. }
            | Error::PushIncomplete { .. } => libc::EPROTO,
            Error::QueueFull(_) => libc::ENOBUFS,
            Error::Unhealthy { .. } => libc::EIO,
            Error::Tdb { source, .. } => source.errno(),
            Error::HeldAlready(_) => libc::EDEADLK,
            Error::Environment(_) | Error::Usage(_) => libc::EINVAL,
        }
    }

    /// Whether the reason is that time ran out.
    pub fn is_timeout(&self) -> bool {
        match self {
            Error::Timeout { .. } => true,
            Error::NoReply { source, .. } => source.is_timeout(),
            _ => false,
        }
    }

    /// Whether the reason is that the daemon has gone.
    pub fn is_closed(&self) -> bool {
        match self {
            Error::Closed => true,
            Error::NoReply { source, .. } => source.is_closed(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_where_and_why() {
        let refused = Error::Refused {
            control: Opcode::SetVnnMap,
            node: 2,
            status: -1,
            message: Some("node is disconnected".into()),
        };
        let said = refused.to_string();
        assert_eq!(said, "control SETVNNMAP to node 2: status -1 (node is disconnected)");
        let late = Error::NoReply {
            control: Opcode::Ping,
            node: 1,
            source: Box::new(Error::Timeout { what: "reply" }),
        };
        assert_eq!(late.to_string(), "control PING to node 1: reply: timed out");
        assert!(late.is_timeout() && !late.is_closed());
        assert_eq!(late.errno(), 110);
    }
}
