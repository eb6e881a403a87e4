// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes, their flags and times (spec/wire.md 9.7, 1.1).

use std::net::SocketAddr;

layout! {
    /// Wall-clock time. Zero: never.
    #[derive(Copy, Eq, PartialOrd, Ord, Default)]
    pub struct Timeval, size 16 {
        /// Seconds since the epoch.
        sec: i64,
        /// Microseconds.
        usec: i64,
    }
}

layout! {
    /// A node of the cluster.
    #[derive(Copy, Eq)]
    pub struct NodeAndFlags, size 36 {
        /// Its number.
        pnn: u32,
        /// [`crate::flags::node`] flags.
        flags: u32,
        /// Its address and port; 0.0.0.0 for a deleted node.
        addr: SocketAddr,
    }
}

layout! {
    /// All nodes in PNN order, deleted ones included.
    #[derive(Eq, Default)]
    pub struct NodeMap {
        /// The nodes.
        node: Vec<NodeAndFlags>,
    }
}

layout! {
    /// A change of a node's flags.
    #[derive(Copy, Eq, Default)]
    pub struct NodeFlagChange, size 12 {
        /// The node.
        pnn: u32,
        /// Its flags from now on.
        new_flags: u32,
        /// Its flags before; ignored.
        old_flags: u32,
    }
}

layout! {
    /// A ban.
    #[derive(Copy, Eq, Default)]
    pub struct BanState, size 8 {
        /// The node.
        pnn: u32,
        /// Seconds; 0 is not banned.
        time: u32,
    }
}

layout! {
    /// Times of a daemon.
    #[derive(Copy, Eq, Default)]
    pub struct Uptime, size 64 {
        /// Now.
        current_time: Timeval,
        /// Start of the daemon.
        ctdbd_start_time: Timeval,
        /// Start of the last recovery.
        last_recovery_started: Timeval,
        /// End of the last recovery.
        last_recovery_finished: Timeval,
    }
}
