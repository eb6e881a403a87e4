// SPDX-License-Identifier: GPL-3.0-or-later
//! Payloads that only the native dialect has: the greeting of a link and the error reply.

layout! {
    /// First packet on each one-way link, sent by the connecting node (docs/protocol.md).
    pub struct Hello, size 32 {
        /// Who connects.
        pnn: u32,
        /// Highest protocol version the sender speaks.
        protocol_version: u32,
        /// Instance of the sender: changes with each start, so a rebooted peer is recognised.
        boot: u64,
        /// Hash of the cluster-wide configuration; zero: not compared.
        config_hash: u64,
        /// Zero.
        features: u64,
    }
}

layout! {
    /// A request that could not be handled: unknown command or payload version, unreachable node.
    pub struct ErrorReply<'a> {
        /// Negative errno-like code.
        status: i32,
        /// The command of the request.
        command: u32,
    }
    parts {
        /// Text for logs, without NUL.
        message,
    }
}
