// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes and their daemons.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// Version of the tool.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Version {
    /// The version.
    pub version: String,
}

/// The cluster as a node sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Status {
    /// The nodes.
    pub node_status: NodeStatus,
    /// The nodes that share the records between them.
    pub vnn_status: VnnStatus,
    /// NORMAL or RECOVERY.
    pub recovery_mode: String,
    /// 0 or 1.
    pub recovery_mode_raw: i32,
    /// The leader; 4294967295 if it is not known.
    pub leader: u32,
}

/// The nodes of the cluster.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeStatus {
    /// Nodes in the nodes file, deleted ones too.
    pub node_count: usize,
    /// Deleted ones among them.
    pub deleted_node_count: usize,
    /// The nodes that are not deleted, by number.
    pub nodes: BTreeMap<u32, Node>,
}

/// A node.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Node {
    /// Its number.
    pub pnn: u32,
    /// Its private address.
    pub address: String,
    /// It has no flags, but an interface that is down.
    pub partially_online: bool,
    /// The flags as a number.
    pub flags_raw: u32,
    /// No flag is set.
    pub flags_ok: bool,
    /// The flags.
    pub flags: NodeFlags,
    /// The node that was asked.
    pub this_node: bool,
}

/// What is wrong with a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeFlags {
    /// No connection to it.
    pub disconnected: bool,
    /// The node that was asked has just started and has not heard of it yet.
    pub unknown: bool,
    /// Disabled by an administrator.
    pub disabled: bool,
    /// Kept out of the cluster for a while.
    pub banned: bool,
    /// Its services do not work.
    pub unhealthy: bool,
    /// Taken out of the nodes file.
    pub deleted: bool,
    /// Stopped by an administrator.
    pub stopped: bool,
    /// Takes no part: disconnected, deleted, banned or stopped.
    pub inactive: bool,
}

/// The VNN map.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VnnStatus {
    /// The generation; null if there is none yet.
    pub generation: Option<u32>,
    /// Number of slots.
    pub size: usize,
    /// The slots.
    pub vnn_map: Vec<Slot>,
}

/// A slot of the VNN map.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Slot {
    /// Its number.
    pub hash: usize,
    /// The node that is location master of the records in it.
    pub lmaster: u32,
}

/// Some nodes. The exit status is `flags_raw`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Nodes {
    /// The nodes that were asked for and are not deleted, by number.
    pub nodes: BTreeMap<u32, Node>,
    /// All their flags together.
    pub flags_raw: u32,
}

/// Times of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Uptime {
    /// The node.
    pub node: u32,
    /// Its clock.
    pub current_time: f64,
    /// When its daemon started.
    pub start_time: f64,
    /// When the last recovery began; 0 if there was none.
    pub last_recovery_started: f64,
    /// When the last recovery ended; 0 if none has.
    pub last_recovery_finished: f64,
    /// How long that took, in seconds; negative while one is going on.
    pub last_recovery_duration: f64,
}

/// An answer of a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ping {
    /// The node.
    pub node: u32,
    /// Seconds until the answer came.
    pub time: f64,
    /// Clients of its daemon.
    pub clients: i32,
}

/// The run state of a daemon. If states were asked for and it is in none of them, the exit status
/// is 1.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunState {
    /// The node.
    pub node: u32,
    /// INIT, SETUP, FIRST_RECOVERY, STARTUP, RUNNING, SHUTDOWN or UNKNOWN.
    pub runstate: String,
    /// The state as a number.
    pub runstate_raw: u32,
}

/// A tunable.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tunable {
    /// The node.
    pub node: u32,
    /// Its name as it was asked for.
    pub name: String,
    /// Its value.
    pub value: u32,
}

/// All tunables of a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tunables {
    /// The node.
    pub node: u32,
    /// The values by name.
    pub variables: BTreeMap<String, u32>,
}

/// Whether a process is a client of a daemon. The exit status is 0 if it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProcessExists {
    /// The node.
    pub node: u32,
    /// The process.
    pub pid: i32,
    /// The message address that it has to listen to, hexadecimal.
    pub srvid: Option<String>,
    /// It is one.
    pub exists: bool,
}

/// What a node can do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Capabilities {
    /// The node.
    pub node: u32,
    /// It can be leader.
    pub leader: bool,
    /// It can be location master.
    pub lmaster: bool,
}

/// The node of the daemon that the tool is connected to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OwnNode {
    /// Its number.
    pub pnn: u32,
}

/// The log level of a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogLevel {
    /// The node.
    pub node: u32,
    /// ERROR, WARNING, NOTICE, INFO, DEBUG or UNKNOWN.
    pub level: String,
    /// The level as a number.
    pub level_raw: i32,
}

/// What a daemon says of its memory.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// The node.
    pub node: u32,
    /// The text; bytes that are none are replaced.
    pub report: String,
}

/// The process of a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Process {
    /// The node.
    pub node: u32,
    /// The process id.
    pub pid: i32,
}

/// The nodes file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodeList {
    /// The nodes in order.
    pub nodes: Vec<ListedNode>,
}

/// A line of the nodes file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ListedNode {
    /// Number of the node.
    pub pnn: usize,
    /// Its private address; null if it is deleted.
    pub address: Option<String>,
    /// Taken out of the cluster.
    pub deleted: bool,
}

/// The leader.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LeaderNode {
    /// Its number; null if it is not known.
    pub leader: Option<u32>,
}

/// The cluster lock.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ClusterLock {
    /// The node.
    pub node: u32,
    /// The setting: a file, or a command behind an exclamation mark; null if there is none.
    pub cluster_lock: Option<String>,
}

/// A TCP port of this machine. The exit status is 0 if it is free.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Port {
    /// Its number.
    pub port: u16,
    /// Nothing is bound to it.
    pub free: bool,
    /// The error number if it could not be bound.
    pub errno: Option<i32>,
}
