// SPDX-License-Identifier: GPL-3.0-or-later
//! Counters of daemons and databases.

use ctdb_wire::types::{self as wire, LatencyCounter};
use schemars::JsonSchema;
use serde::Serialize;

use super::records::Bytes;
use super::{id, seconds};

/// Counters of a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Statistics {
    /// The node.
    pub node: u32,
    /// When they were read.
    pub current_time: f64,
    /// When counting began.
    pub start_time: f64,
    /// Connected clients.
    pub num_clients: u32,
    /// All databases are frozen.
    pub frozen: bool,
    /// A recovery is going on.
    pub recovering: bool,
    /// Recoveries.
    pub num_recoveries: u32,
    /// Packets sent to clients.
    pub client_packets_sent: u32,
    /// Packets received from clients.
    pub client_packets_recv: u32,
    /// Packets sent to nodes.
    pub node_packets_sent: u32,
    /// Packets received from nodes.
    pub node_packets_recv: u32,
    /// Keepalives sent.
    pub keepalive_packets_sent: u32,
    /// Keepalives received.
    pub keepalive_packets_recv: u32,
    /// Packets from nodes by operation.
    pub from_nodes: NodePackets,
    /// Packets from clients by operation.
    pub from_clients: ClientPackets,
    /// Requests that timed out.
    pub timeouts: Timeouts,
    /// Requests for record locks.
    pub locks: Locks,
    /// Record calls.
    pub total_calls: u32,
    /// Record calls under way.
    pub pending_calls: u32,
    /// Writes in child processes.
    pub childwrite_calls: u32,
    /// Writes in child processes under way.
    pub pending_childwrite_calls: u32,
    /// Bytes of memory.
    pub memory_used: u32,
    /// Most hops of a call.
    pub max_hop_count: u32,
    /// Read-only copies given out.
    pub total_ro_delegations: u32,
    /// Read-only copies taken back.
    pub total_ro_revokes: u32,
    /// Calls by number of hops: 0, 1, 2 to 3, 4 to 7 and so on.
    pub hop_count_buckets: Vec<u32>,
    /// Cluster lock, as the daemon sees it.
    pub reclock_ctdbd: Latency,
    /// Cluster lock, as the recovery daemon sees it.
    pub reclock_recd: Latency,
    /// Record calls.
    pub call_latency: Latency,
    /// Writes in child processes.
    pub childwrite_latency: Latency,
}

/// Former counters of a daemon.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct History {
    /// The node.
    pub node: u32,
    /// The counters, the newest first.
    pub history: Vec<Statistics>,
}

/// Packets from nodes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NodePackets {
    /// Calls.
    pub req_call: u32,
    /// Answers to calls.
    pub reply_call: u32,
    /// Records on their way to their location master.
    pub req_dmaster: u32,
    /// Records on their way to their new owner.
    pub reply_dmaster: u32,
    /// Calls that failed.
    pub reply_error: u32,
    /// Messages.
    pub req_message: u32,
    /// Controls.
    pub req_control: u32,
    /// Answers to controls.
    pub reply_control: u32,
    /// Tunnel packets.
    pub req_tunnel: u32,
}

/// Packets from clients.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ClientPackets {
    /// Calls.
    pub req_call: u32,
    /// Messages.
    pub req_message: u32,
    /// Controls.
    pub req_control: u32,
    /// Tunnel packets.
    pub req_tunnel: u32,
}

/// Requests that timed out.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Timeouts {
    /// Calls.
    pub call: u32,
    /// Controls.
    pub control: u32,
    /// Traverses.
    pub traverse: u32,
}

/// Requests for record locks.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Locks {
    /// All.
    pub num_calls: u32,
    /// Held now.
    pub num_current: u32,
    /// Waiting now.
    pub num_pending: u32,
    /// Failed.
    pub num_failed: u32,
    /// Waiting time.
    pub latency: Latency,
    /// Requests by waiting time, from milliseconds to more than a minute.
    pub buckets: Vec<u32>,
}

/// Durations in seconds.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Latency {
    /// Number of durations.
    pub count: i32,
    /// The shortest.
    pub min: f64,
    /// Their mean; 0 if there are none.
    pub average: f64,
    /// The longest.
    pub max: f64,
}

/// Counters of a database.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DbStatistics {
    /// The node.
    pub node: u32,
    /// The database.
    pub name: String,
    /// Its id, hexadecimal.
    pub id: String,
    /// Read-only copies given out.
    pub ro_delegations: u32,
    /// Read-only copies taken back.
    pub ro_revokes: u32,
    /// Requests for record locks.
    pub locks: Locks,
    /// Calls by number of hops: 0, 1, 2 to 3, 4 to 7 and so on.
    pub hop_count_buckets: Vec<u32>,
    /// Vacuuming.
    pub vacuum_latency: Latency,
    /// The records that calls had to chase, most hops last.
    pub hot_keys: Vec<HotKey>,
}

/// A record that calls had to chase.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HotKey {
    /// Hops.
    pub count: u32,
    /// The key.
    pub key: Bytes,
}

impl From<&LatencyCounter> for Latency {
    fn from(counter: &LatencyCounter) -> Latency {
        let LatencyCounter { num, min, max, .. } = *counter;
        let average = crate::commands::statistics::average(counter);
        // a daemon may say anything, and JSON has no words for some of it
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        Latency { count: num, min: finite(min), average: finite(average), max: finite(max) }
    }
}

impl From<&wire::LockCounters> for Locks {
    fn from(locks: &wire::LockCounters) -> Locks {
        Locks {
            num_calls: locks.num_calls,
            num_current: locks.num_current,
            num_pending: locks.num_pending,
            num_failed: locks.num_failed,
            latency: (&locks.latency).into(),
            buckets: locks.buckets.to_vec(),
        }
    }
}

impl Statistics {
    pub(crate) fn new(node: u32, s: &wire::Statistics) -> Statistics {
        Statistics {
            node,
            current_time: seconds(s.statistics_current_time),
            start_time: seconds(s.statistics_start_time),
            num_clients: s.num_clients,
            frozen: s.frozen != 0,
            recovering: s.recovering != 0,
            num_recoveries: s.num_recoveries,
            client_packets_sent: s.client_packets_sent,
            client_packets_recv: s.client_packets_recv,
            node_packets_sent: s.node_packets_sent,
            node_packets_recv: s.node_packets_recv,
            keepalive_packets_sent: s.keepalive_packets_sent,
            keepalive_packets_recv: s.keepalive_packets_recv,
            from_nodes: NodePackets {
                req_call: s.node.req_call,
                reply_call: s.node.reply_call,
                req_dmaster: s.node.req_dmaster,
                reply_dmaster: s.node.reply_dmaster,
                reply_error: s.node.reply_error,
                req_message: s.node.req_message,
                req_control: s.node.req_control,
                reply_control: s.node.reply_control,
                req_tunnel: s.node.req_tunnel,
            },
            from_clients: ClientPackets {
                req_call: s.client.req_call,
                req_message: s.client.req_message,
                req_control: s.client.req_control,
                req_tunnel: s.client.req_tunnel,
            },
            timeouts: Timeouts {
                call: s.timeouts.call,
                control: s.timeouts.control,
                traverse: s.timeouts.traverse,
            },
            locks: (&s.locks).into(),
            total_calls: s.total_calls,
            pending_calls: s.pending_calls,
            childwrite_calls: s.childwrite_calls,
            pending_childwrite_calls: s.pending_childwrite_calls,
            memory_used: s.memory_used,
            max_hop_count: s.max_hop_count,
            total_ro_delegations: s.total_ro_delegations,
            total_ro_revokes: s.total_ro_revokes,
            hop_count_buckets: s.hop_count_bucket.to_vec(),
            reclock_ctdbd: (&s.reclock.ctdbd).into(),
            reclock_recd: (&s.reclock.recd).into(),
            call_latency: (&s.call_latency).into(),
            childwrite_latency: (&s.childwrite_latency).into(),
        }
    }
}

impl DbStatistics {
    pub(crate) fn new(node: u32, db: &crate::tool::FoundDb, s: &wire::DbStatistics) -> Self {
        let used = s.hot_keys.0.iter().take(s.num_hot_keys as usize);
        let used = used.filter(|slot| !slot.key.is_empty());
        DbStatistics {
            node,
            name: db.name.clone(),
            id: id(db.id),
            ro_delegations: s.db_ro_delegations,
            ro_revokes: s.db_ro_revokes,
            locks: (&s.locks).into(),
            hop_count_buckets: s.hop_count_bucket.to_vec(),
            vacuum_latency: (&s.vacuum.latency).into(),
            hot_keys: used
                .map(|slot| HotKey { count: slot.count, key: Bytes::new(&slot.key) })
                .collect(),
        }
    }
}
