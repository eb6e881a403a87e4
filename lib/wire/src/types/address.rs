// SPDX-License-Identifier: GPL-3.0-or-later
//! Client connections, public addresses, interfaces (spec/wire.md 9.4, 9.8).

use std::net::SocketAddr;

use crate::text::{CharArray, StringN};

layout! {
    /// A TCP connection of a client.
    #[derive(Copy, Eq, PartialOrd, Ord)]
    pub struct Connection, size 56 {
        /// The remote client.
        src: SocketAddr,
        /// The public address it uses.
        dst: SocketAddr,
    }
}

layout! {
    /// Connections; used by tools and in files.
    #[derive(Eq, Default)]
    pub struct ConnectionList {
        /// The connections.
        conn: Vec<Connection>,
    }
}

layout! {
    /// The tracked connections of one public address.
    #[derive(Eq)]
    pub struct TickleList {
        /// The public address.
        addr: SocketAddr,
        /// Its connections.
        conn: Vec<Connection>,
    }
}

layout! {
    /// A public address and the node that hosts it.
    #[derive(Copy, Eq)]
    pub struct PublicIp, size 32 {
        /// The node, or 0xFFFFFFFF.
        pnn: u32,
        /// The address; port 0.
        addr: SocketAddr,
    }
}

layout! {
    /// Public addresses.
    #[derive(Eq, Default)]
    pub struct PublicIpList {
        /// The addresses.
        ip: Vec<PublicIp>,
    }
}

layout! {
    /// An address with prefix length and interfaces.
    #[derive(Eq)]
    pub struct AddrInfo {
        /// The address.
        addr: SocketAddr,
        /// Prefix length.
        mask: u32,
        /// Interface names, separated by commas.
        iface: StringN,
    }
}

layout! {
    /// A network interface.
    #[derive(Copy, Eq, Default)]
    pub struct Iface, size 24 {
        /// Name; at most 15 characters are valid.
        name: CharArray<18>,
        /// 1 is up.
        link_state: u16,
        /// Number of addresses on it.
        references: u32,
    }
}

layout! {
    /// Network interfaces.
    #[derive(Eq, Default)]
    pub struct IfaceList {
        /// The interfaces.
        iface: Vec<Iface>,
    }
}

layout! {
    /// A public address with the interfaces that may hold it.
    #[derive(Eq)]
    pub struct PublicIpInfo {
        /// The address.
        ip: PublicIp,
        /// Index into the interfaces; 0xFFFFFFFF: not hosted here.
        active_idx: u32,
        /// The interfaces.
        ifaces: IfaceList,
    }
}
