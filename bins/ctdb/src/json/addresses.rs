// SPDX-License-Identifier: GPL-3.0-or-later
//! Public addresses, interfaces and connections.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

/// Public addresses.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Addresses {
    /// The node that was asked; null if all were.
    pub node: Option<u32>,
    /// The addresses in order.
    pub addresses: Vec<Address>,
}

/// A public address.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Address {
    /// The address.
    pub address: String,
    /// The node that hosts it; null if none does.
    pub node: Option<u32>,
    /// The interfaces that it is on.
    pub active_interfaces: Vec<String>,
    /// The interfaces that it may be on and that are up.
    pub available_interfaces: Vec<String>,
    /// The interfaces that it may be on.
    pub configured_interfaces: Vec<String>,
}

/// A public address, as a node describes it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AddressInfo {
    /// The node that was asked.
    pub node: u32,
    /// The address.
    pub address: String,
    /// The node that hosts it; null if none does.
    pub current_node: Option<u32>,
    /// The interfaces that it may be on.
    pub interfaces: Vec<Interface>,
}

/// The interfaces for public addresses.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Interfaces {
    /// The node.
    pub node: u32,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
}

/// An interface.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Interface {
    /// Its name.
    pub name: String,
    /// Its link is up.
    pub link_up: bool,
    /// Number of addresses on it.
    pub references: u32,
    /// The address that was asked about is on it; null if none was.
    pub active: Option<bool>,
}

/// Connections of clients to a public address.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Connections {
    /// The node.
    pub node: u32,
    /// The public address.
    pub address: String,
    /// The connections.
    pub connections: Vec<Connection>,
}

/// A connection.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Connection {
    /// The client.
    pub source: Endpoint,
    /// The public address.
    pub destination: Endpoint,
}

/// One end of a connection.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Endpoint {
    /// The address.
    pub address: String,
    /// The TCP port.
    pub port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Endpoint {
        Endpoint { address: addr.ip().to_string(), port: addr.port() }
    }
}
