// SPDX-License-Identifier: GPL-3.0-or-later
//! What services send each other.
//!
//! In one process a packet is a value moved in memory; between processes and nodes it is serialized by the
//! host (native or compat dialect, `spec/wire.md`). A body's `data` holds the same bytes as the payload of
//! the existing protocol, so the proxy moves payloads without rewriting them. `Bytes` are shared slices of
//! the buffer they were received in: cloning one copies nothing.

use bytes::Bytes;

/// A node number: the position of the node in the nodes file, from 0.
pub type Pnn = u32;
/// The id of a database: the hash of its name.
pub type DbId = u32;
/// The id of a client connection; never 0, unique within the daemon's life.
pub type ClientId = u32;

/// The address of a service or client: a node and an id on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The node.
    pub node: Pnn,
    /// A well-known service id (`endpoint`), or a client id (at or above `endpoint::FIRST_CLIENT`).
    pub id: u32,
}

/// Well-known endpoint ids, and the destinations a sender may use instead of a node number.
pub mod endpoint {
    /// The service that owns the command: the receiving node looks it up (what a packet from a compat peer has).
    pub const BY_COMMAND: u32 = 0;
    /// Run state, tunables, statistics, log level, shutdown.
    pub const RUNTIME: u32 = 2;
    /// Membership, leadership, recovery coordination.
    pub const CLUSTER: u32 = 3;
    /// Databases and record migration.
    pub const DATABASE: u32 = 4;
    /// Clients of the existing socket.
    pub const PROXY: u32 = 9;
    /// Public addresses and client TCP connections.
    pub const FAILOVER: u32 = 7;
    /// Ids at or above this belong to clients.
    pub const FIRST_CLIENT: u32 = 0x1_0000;

    /// The node that reads the packet.
    pub const CURRENT_NODE: u32 = 0xF000_0001;
    /// Every node that is not deleted.
    pub const BROADCAST_ALL: u32 = 0xF000_0002;
    /// Every node without an inactive flag.
    pub const BROADCAST_ACTIVE: u32 = 0xF000_0003;
    /// Every node neither deleted nor disconnected.
    pub const BROADCAST_CONNECTED: u32 = 0xF000_0004;
    /// No node.
    pub const UNKNOWN_PNN: u32 = 0xFFFF_FFFF;
}

/// A packet: where it goes, whom it answers, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// The destination.
    pub dst: Endpoint,
    /// The originator, never the link peer: a redirected call keeps it.
    pub src: Endpoint,
    /// Matches a reply to its request; chosen by the requester.
    pub reqid: u32,
    /// For record packets the generation of the database, else that of the sender's VNN map.
    pub generation: u32,
    /// The content.
    pub body: Body,
}

/// The content of a packet (`spec/wire.md 5`).
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// REQ_CALL: ask for a record.
    Call(Call),
    /// REPLY_CALL.
    CallReply {
        /// 0 or a negative error.
        status: i32,
        /// What the call function returned.
        data: Bytes,
    },
    /// REQ_DMASTER (to the lmaster) or REPLY_DMASTER (to the new dmaster): a record changes its owner.
    Dmaster(Dmaster),
    /// REPLY_ERROR: a call failed.
    Error {
        /// A negative error.
        status: i32,
        /// Text for the log.
        message: String,
    },
    /// REQ_MESSAGE: to everyone on the destination node who registered `srvid`.
    Message {
        /// The receivers' name.
        srvid: u64,
        /// The payload.
        data: Bytes,
    },
    /// REQ_CONTROL: a remote procedure call.
    Control(Control),
    /// REPLY_CONTROL.
    ControlReply(ControlReply),
    /// REQ_KEEPALIVE.
    Keepalive {
        /// (major << 16) | minor of the release.
        version: u32,
        /// Seconds since the sender's daemon started.
        uptime: u32,
    },
    /// REQ_TUNNEL.
    Tunnel {
        /// The tunnel.
        tunnel_id: u64,
        /// Passed through.
        flags: u32,
        /// The payload.
        data: Bytes,
    },
    /// A command between services of one node; never leaves it.
    Local(Local),
}

/// REQ_CALL.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Call flags (`spec/database.md 1.4`).
    pub flags: u32,
    /// The database.
    pub db: DbId,
    /// NULL, FETCH or FETCH_WITH_HEADER.
    pub callid: u32,
    /// How often the packet was redirected.
    pub hopcount: u32,
    /// The record's key.
    pub key: Bytes,
    /// Argument of the call function; unused by the three that exist.
    pub data: Bytes,
}

/// REQ_DMASTER and REPLY_DMASTER.
#[derive(Debug, Clone, PartialEq)]
pub struct Dmaster {
    /// False: REQ_DMASTER, from the old owner to the lmaster. True: REPLY_DMASTER, from the lmaster to the
    /// new owner.
    pub reply: bool,
    /// The database.
    pub db: DbId,
    /// The record's sequence number before the move.
    pub rsn: u64,
    /// The new owner.
    pub dmaster: Pnn,
    /// Record flags.
    pub record_flags: u32,
    /// The record's key.
    pub key: Bytes,
    /// Its value, without header.
    pub data: Bytes,
}

/// REQ_CONTROL.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Control {
    /// Which control (`ctdb_wire` has the names).
    pub opcode: u32,
    /// Argument of some controls.
    pub srvid: u64,
    /// The client that asked, on the originating node; 0: a daemon.
    pub client_id: ClientId,
    /// NOREPLY and opcode specific bits.
    pub flags: u32,
    /// The request payload.
    pub data: Bytes,
}

/// REPLY_CONTROL.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ControlReply {
    /// 0, or a failure; some controls return their result here.
    pub status: i32,
    /// The reply payload.
    pub data: Bytes,
    /// Error text; empty if there is none.
    pub error: String,
}

/// REQ_CONTROL flag: no reply wanted, not even on error.
pub const CTRL_FLAG_NOREPLY: u32 = 0x0000_0001;
/// REQ_CONTROL flag of the attach controls: the request comes from a recovery.
pub const CTRL_FLAG_ATTACH_RECOVERY: u32 = 0x0002_0000;

/// Commands between services of one node. Answered, where an answer is named, with a [`ControlReply`] to
/// the sender's reqid.
#[derive(Debug, Clone, PartialEq)]
pub enum Local {
    /// To CLUSTER: set the own recovery mode ACTIVE so that the leader runs a recovery. No answer.
    ForceRecovery {
        /// For the log.
        reason: String,
    },
    /// To DATABASE: this node becomes inactive: all database generations become invalid, all databases are
    /// frozen, volatile ones marked invalid (`spec/database.md 21.2`). Answered when all are frozen.
    BecomeInactive,
    /// To DATABASE: recovery mode is about to become NORMAL (`spec/database.md 19.3`). Answered 0, or -1 if a
    /// database does not have this generation.
    LeaveRecovery {
        /// The VNN map's generation.
        generation: u32,
    },
    /// To DATABASE: END_RECOVERY was processed with recovery mode NORMAL; pending commits end with status 2.
    RecoveryEnded,
    /// To PROXY: close the connections of this client (an inactive node was asked whether it exists).
    DropClient {
        /// The client.
        client: ClientId,
    },
    /// To DATABASE, FAILOVER: a client has gone. No answer.
    ClientGone {
        /// The client.
        client: ClientId,
    },
    /// To PROXY: deliver `data` to the local clients registered for `srvid`, as traverse records are: no copy to those
    /// registered for ALL. No answer.
    Deliver {
        /// The receivers' name.
        srvid: u64,
        /// The payload.
        data: Bytes,
    },
    /// To CLUSTER: start-up has finished its last step; RUNNING and healthy may be set. No answer.
    StartupDone,
    /// To RUNTIME: end the daemon. No answer.
    Shutdown {
        /// The exit code.
        code: i32,
        /// For the log.
        reason: String,
    },
}

impl Body {
    /// Whether the packet is fenced by the generation (`spec/wire.md 3.2`).
    pub fn is_record(&self) -> bool {
        matches!(self, Body::Call(_) | Body::CallReply { .. } | Body::Dmaster(_))
    }

    /// Whether it answers a request.
    pub fn is_reply(&self) -> bool {
        matches!(self, Body::CallReply { .. } | Body::Error { .. } | Body::ControlReply(_))
    }
}

impl ControlReply {
    /// A reply with only a status.
    pub fn status(status: i32) -> ControlReply {
        ControlReply { status, ..Default::default() }
    }

    /// Success with a payload.
    pub fn data(data: impl Into<Bytes>) -> ControlReply {
        ControlReply { status: 0, data: data.into(), error: String::new() }
    }

    /// Failure (-1) with an error text.
    pub fn error(error: impl Into<String>) -> ControlReply {
        ControlReply { status: -1, data: Bytes::new(), error: error.into() }
    }
}
