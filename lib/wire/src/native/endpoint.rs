// SPDX-License-Identifier: GPL-3.0-or-later
//! Endpoints: where native packets go to and come from. A daemon has a well-known id, a client is
//! given one when it connects.

/// One endpoint of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Endpoint {
    /// PNN of its node, or a special value of [`crate::flags::pnn`].
    pub node: u32,
    /// Which endpoint on that node.
    pub id: u32,
}

impl Endpoint {
    /// Endpoint `id` on `node`.
    pub const fn new(node: u32, id: u32) -> Self {
        Endpoint { node, id }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match name(self.id) {
            Some(name) => write!(f, "{}:{name}", self.node),
            None => write!(f, "{}:{:#x}", self.node, self.id),
        }
    }
}

/// Whoever handles the command on that node.
pub const ANY: u32 = 0;
/// ctdb-transportd: links, routing, tunnels.
pub const TRANSPORT: u32 = 1;
/// ctdb-masterd: the other daemons, run state, configuration.
pub const MASTER: u32 = 2;
/// ctdb-clusterd: membership, leadership, recovery coordination.
pub const CLUSTER: u32 = 3;
/// ctdb-databased: databases and records.
pub const DATABASE: u32 = 4;
/// ctdb-eventd: event scripts.
pub const EVENT: u32 = 5;
/// ctdb-serviced: monitoring.
pub const SERVICE: u32 = 6;
/// ctdb-failoverd: public addresses.
pub const FAILOVER: u32 = 7;
/// ctdb-conntrackd: client connections.
pub const CONNTRACK: u32 = 8;
/// ctdb-smbd-proxyd: the existing client socket.
pub const SMBD_PROXY: u32 = 9;
/// First id that is given to a client.
pub const FIRST_CLIENT: u32 = 0x0001_0000;

/// The name of a well-known endpoint.
pub const fn name(id: u32) -> Option<&'static str> {
    Some(match id {
        ANY => "any",
        TRANSPORT => "transport",
        MASTER => "master",
        CLUSTER => "cluster",
        DATABASE => "database",
        EVENT => "event",
        SERVICE => "service",
        FAILOVER => "failover",
        CONNTRACK => "conntrack",
        SMBD_PROXY => "smbd-proxy",
        _ => return None,
    })
}
