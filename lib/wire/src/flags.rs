// SPDX-License-Identifier: GPL-3.0-or-later
//! Flag words and enumerations that travel as numbers (spec/wire.md 3.1, 6, 8.2, 10).

/// Special node numbers (spec/wire.md 3.1).
pub mod pnn {
    /// The daemon that reads the packet; only on the client socket.
    pub const CURRENT_NODE: u32 = 0xF000_0001;
    /// Every node that is not deleted, connected or not.
    pub const BROADCAST_ALL: u32 = 0xF000_0002;
    /// Every node with none of the inactive flags.
    pub const BROADCAST_ACTIVE: u32 = 0xF000_0003;
    /// Every node that is neither deleted nor disconnected.
    pub const BROADCAST_CONNECTED: u32 = 0xF000_0004;
    /// Reserved; treated as a node that does not exist.
    pub const MULTICAST: u32 = 0xF000_0005;
    /// "No node": address not assigned, leader unknown.
    pub const UNKNOWN: u32 = 0xFFFF_FFFF;
}

/// The generation of a daemon before its first recovery and while it is inactive.
pub const INVALID_GENERATION: u32 = 1;

/// TCP port of the node links.
pub const TCP_PORT: u16 = 4379;

/// Key of the sequence number record of persistent databases, NUL included; its value is a u64.
pub const SEQNUM_KEY: &[u8] = b"__db_sequence_number__\0";

/// Flags of a node (spec/wire.md 10.1).
pub mod node {
    /// No connection in both directions.
    pub const DISCONNECTED: u32 = 0x01;
    /// A monitor event failed.
    pub const UNHEALTHY: u32 = 0x02;
    /// Disabled by the administrator.
    pub const PERMANENTLY_DISABLED: u32 = 0x04;
    /// Banned from the cluster for a while.
    pub const BANNED: u32 = 0x08;
    /// Removed from the nodes file.
    pub const DELETED: u32 = 0x10;
    /// Stopped by the administrator.
    pub const STOPPED: u32 = 0x20;
    /// Hosts no addresses: unhealthy or disabled.
    pub const DISABLED: u32 = UNHEALTHY | PERMANENTLY_DISABLED;
    /// Takes no part in the databases.
    pub const INACTIVE: u32 = DELETED | DISCONNECTED | BANNED | STOPPED;
}

/// Flags in the header of a record (spec/wire.md 10.6).
pub mod record {
    /// Of a persistent database.
    pub const PERSISTENT: u32 = 0x0000_0001;
    /// Being written by a persistent transaction.
    pub const PERSISTENT_IN_PROGRESS: u32 = 0x0000_0002;
    /// Has moved between nodes with data.
    pub const MIGRATED_WITH_DATA: u32 = 0x0001_0000;
    /// Fetched by vacuuming in order to be deleted (transient).
    pub const VACUUM_MIGRATED: u32 = 0x0002_0000;
    /// Created by the daemon.
    pub const AUTOMATIC: u32 = 0x0004_0000;
    /// Read-only delegations have been given out.
    pub const RO_HAVE_DELEGATIONS: u32 = 0x0100_0000;
    /// This copy is a read-only delegation.
    pub const RO_HAVE_READONLY: u32 = 0x0200_0000;
    /// Delegations are being revoked.
    pub const RO_REVOKING_READONLY: u32 = 0x0400_0000;
    /// All delegations have been revoked.
    pub const RO_REVOKE_COMPLETE: u32 = 0x0800_0000;
    /// All read-only flags.
    pub const RO_FLAGS: u32 = 0x0F00_0000;
}

/// Flags of a database (spec/wire.md 10.2); none of persistent and replicated means volatile.
pub mod db {
    /// Kept on disk across restarts, written by transactions.
    pub const PERSISTENT: u8 = 0x01;
    /// Read-only delegations are enabled.
    pub const READONLY: u8 = 0x02;
    /// Records stay a while on a node that had to wait long for them.
    pub const STICKY: u8 = 0x04;
    /// Written by transactions, empty after a restart of the cluster.
    pub const REPLICATED: u8 = 0x08;
}

/// Functions of a record call (spec/wire.md 6.1).
pub mod call {
    /// Does nothing; used to make a record migrate.
    pub const NULL: u32 = 0xFF00_0001;
    /// Returns the record's data.
    pub const FETCH: u32 = 0xFF00_0002;
    /// Returns the record's header and data.
    pub const FETCH_WITH_HEADER: u32 = 0xFF00_0003;

    /// Historic; set in migrate calls, ignored by daemons.
    pub const IMMEDIATE_MIGRATION: u32 = 0x1;
    /// Vacuuming fetches the record in order to delete it.
    pub const VACUUM_MIGRATION: u32 = 0x2;
    /// A read-only delegation is enough.
    pub const WANT_READONLY: u32 = 0x4;
}

/// Flags of a control (spec/wire.md 8.2).
pub mod control {
    /// No reply, not even on error.
    pub const NOREPLY: u32 = 0x0000_0001;
    /// Bits whose meaning depends on the opcode.
    pub const OPCODE_SPECIFIC: u32 = 0xFFFF_0000;
    /// GET_PUBLIC_IPS: only addresses that this node could host now.
    pub const PUBLIC_IP_FLAGS_ONLY_AVAILABLE: u32 = 0x0001_0000;
    /// DB_ATTACH*: the request comes from a recovery.
    pub const ATTACH_RECOVERY: u32 = 0x0002_0000;
}

/// Flags of a tunnel packet (spec/wire.md 5.10).
pub mod tunnel {
    /// A request.
    pub const REQUEST: u32 = 0x01;
    /// A reply.
    pub const REPLY: u32 = 0x02;
    /// A request without reply.
    pub const NOREPLY: u32 = 0x10;
}

/// Capabilities of a node (spec/wire.md 10.3).
pub mod capability {
    /// May become leader.
    pub const RECMASTER: u32 = 0x0000_0001;
    /// May be location master.
    pub const LMASTER: u32 = 0x0000_0002;
    /// Obsolete.
    pub const LVS: u32 = 0x0000_0004;
    /// Obsolete.
    pub const NATGW: u32 = 0x0000_0008;
    /// Recovers databases in parallel; always set.
    pub const PARALLEL_RECOVERY: u32 = 0x0001_0000;
    /// Splits large recovery controls; always set.
    pub const FRAGMENTED_CONTROLS: u32 = 0x0002_0000;
    /// What a node has unless configured otherwise.
    pub const DEFAULT: u32 = RECMASTER | LMASTER | PARALLEL_RECOVERY | FRAGMENTED_CONTROLS;
}

/// Run states of a daemon (spec/wire.md 10.4).
pub mod runstate {
    /// Not known.
    pub const UNKNOWN: u32 = 0;
    /// Initialising.
    pub const INIT: u32 = 1;
    /// Running the setup event.
    pub const SETUP: u32 = 2;
    /// Waiting for the first recovery.
    pub const FIRST_RECOVERY: u32 = 3;
    /// Running the startup event.
    pub const STARTUP: u32 = 4;
    /// In normal operation.
    pub const RUNNING: u32 = 5;
    /// Shutting down.
    pub const SHUTDOWN: u32 = 6;
}

/// Recovery modes (spec/wire.md 10.5).
pub mod recmode {
    /// Normal operation.
    pub const NORMAL: u32 = 0;
    /// A recovery is under way.
    pub const ACTIVE: u32 = 1;
}
