// SPDX-License-Identifier: GPL-3.0-or-later
//! Databases.

use schemars::JsonSchema;
use serde::Serialize;

/// Attached databases.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Databases {
    /// The node.
    pub node: u32,
    /// Its databases, the newest first.
    pub databases: Vec<Database>,
}

/// A database.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Database {
    /// Its id, hexadecimal.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its file on the node.
    pub path: String,
    /// Its records outlive the daemons.
    pub persistent: bool,
    /// Its records are the same on all nodes, and gone when all daemons are.
    pub replicated: bool,
    /// Records stay on a node for a while.
    pub sticky: bool,
    /// Nodes may have copies of records to read.
    pub readonly: bool,
    /// Its content is sound.
    pub healthy: bool,
    /// Why it is not.
    pub unhealthy_reason: Option<String>,
}

/// The sequence number of a database.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SequenceNumber {
    /// The database.
    pub name: String,
    /// Its id, hexadecimal.
    pub id: String,
    /// The number.
    pub seqnum: u64,
}
