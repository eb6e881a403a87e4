// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster as one node sees it: an immutable snapshot that the cluster service replaces.

use crate::packet::{endpoint, Pnn};
use std::net::IpAddr;

/// Node flags (`spec/cluster.md 4.1`).
pub mod flags {
    /// No link, in the observer's view.
    pub const DISCONNECTED: u32 = 0x01;
    /// The monitor event fails.
    pub const UNHEALTHY: u32 = 0x02;
    /// Disabled by the administrator.
    pub const PERMANENTLY_DISABLED: u32 = 0x04;
    /// Banned.
    pub const BANNED: u32 = 0x08;
    /// Commented out in the nodes file.
    pub const DELETED: u32 = 0x10;
    /// Stopped by the administrator.
    pub const STOPPED: u32 = 0x20;
    /// Takes no part in databases.
    pub const INACTIVE: u32 = DELETED | DISCONNECTED | BANNED | STOPPED;
    /// Hosts no public addresses.
    pub const DISABLED: u32 = UNHEALTHY | PERMANENTLY_DISABLED;
}

/// The VNN map generation before the first recovery and on inactive nodes.
pub const INVALID_GENERATION: u32 = 1;

/// Recovery mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryMode {
    /// Databases are usable.
    Normal,
    /// Databases await or undergo a recovery.
    Active,
}

/// Run states (`spec/cluster.md 9`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum RunState {
    Unknown = 0,
    Init = 1,
    Setup = 2,
    FirstRecovery = 3,
    Startup = 4,
    Running = 5,
    Shutdown = 6,
}

impl RunState {
    /// The name that tools print.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Unknown => "UNKNOWN",
            RunState::Init => "INIT",
            RunState::Setup => "SETUP",
            RunState::FirstRecovery => "FIRST_RECOVERY",
            RunState::Startup => "STARTUP",
            RunState::Running => "RUNNING",
            RunState::Shutdown => "SHUTDOWN",
        }
    }
}

/// One line of the nodes file and what is known of that node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The address; the unspecified one for a deleted node.
    pub address: IpAddr,
    /// TCP port of the node link.
    pub port: u16,
    /// Node flags.
    pub flags: u32,
    /// Capabilities as last reported.
    pub capabilities: u32,
}

/// What one node knows of its cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterView {
    /// The own node number.
    pub pnn: Pnn,
    /// The nodes; the index is the PNN.
    pub nodes: Vec<NodeView>,
    /// Generation of the VNN map; [`INVALID_GENERATION`] before the first recovery and while inactive.
    pub generation: u32,
    /// The VNN map: which nodes are lmasters.
    pub vnnmap: Vec<Pnn>,
    /// Recovery mode.
    pub recovery_mode: RecoveryMode,
    /// The leader, if known.
    pub leader: Option<Pnn>,
    /// Run state.
    pub run_state: RunState,
}

impl ClusterView {
    /// Flags of `pnn`; a node that is not in the list counts as deleted.
    pub fn flags(&self, pnn: Pnn) -> u32 {
        self.nodes.get(pnn as usize).map_or(flags::DELETED | flags::DISCONNECTED, |n| n.flags)
    }

    /// Flags of the own node.
    pub fn own_flags(&self) -> u32 {
        self.flags(self.pnn)
    }

    /// Whether the own node is inactive.
    pub fn is_inactive(&self) -> bool {
        self.own_flags() & flags::INACTIVE != 0
    }

    /// Whether `pnn` is neither deleted nor disconnected (the own node is always connected).
    pub fn is_connected(&self, pnn: Pnn) -> bool {
        self.flags(pnn) & (flags::DELETED | flags::DISCONNECTED) == 0
    }

    /// Whether `pnn` has no inactive flag.
    pub fn is_active(&self, pnn: Pnn) -> bool {
        self.flags(pnn) & flags::INACTIVE == 0
    }

    /// All node numbers that satisfy `f`, ascending.
    fn select(&self, f: impl Fn(Pnn) -> bool) -> Vec<Pnn> {
        (0..self.nodes.len() as Pnn).filter(|&p| f(p)).collect()
    }

    /// The active nodes, ascending.
    pub fn active(&self) -> Vec<Pnn> {
        self.select(|p| self.is_active(p))
    }

    /// The connected nodes with the own one, ascending.
    pub fn connected(&self) -> Vec<Pnn> {
        self.select(|p| self.is_connected(p))
    }

    /// The nodes a destination means: a broadcast expands, CURRENT_NODE is the own one, anything else is itself.
    pub fn expand(&self, node: Pnn) -> Vec<Pnn> {
        match node {
            endpoint::CURRENT_NODE => vec![self.pnn],
            endpoint::BROADCAST_ALL => self.select(|p| self.flags(p) & flags::DELETED == 0),
            endpoint::BROADCAST_ACTIVE => self.active(),
            endpoint::BROADCAST_CONNECTED => self.connected(),
            other => vec![other],
        }
    }

    /// The lmaster of a key with this hash; none before the first VNN map.
    pub fn lmaster_of_hash(&self, hash: u32) -> Option<Pnn> {
        let n = u32::try_from(self.vnnmap.len()).ok().filter(|&n| n > 0)?;
        self.vnnmap.get((hash % n) as usize).copied()
    }

    /// The lmaster of `key`.
    pub fn lmaster(&self, key: &[u8]) -> Option<Pnn> {
        self.lmaster_of_hash(crate::hash::jenkins(key))
    }
}
