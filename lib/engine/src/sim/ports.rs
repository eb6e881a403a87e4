// SPDX-License-Identifier: GPL-3.0-or-later
//! The ports of a simulated daemon: they note what it did; the simulator makes it happen after the turn.

use super::store::SimStore;
use crate::packet::{ClientId, Packet, Pnn};
use crate::ports::{ClientPacket, LocalStore, LockRequest, Ports};
use crate::view::NodeView;
use std::collections::{BTreeMap, BTreeSet};

/// What a daemon did to its surroundings during one turn.
#[derive(Debug)]
pub(super) enum Deed {
    Send(Pnn, Packet),
    ResetLink(Pnn, String),
    SetNodes(Vec<NodeView>),
    ToClient(ClientId, ClientPacket),
    CloseClient(ClientId),
    Lock(LockRequest),
    Exit(i32),
}

/// The surroundings of one simulated daemon.
pub struct SimPorts {
    /// The machine's TDB files.
    pub store: SimStore,
    /// What reading the nodes file gives.
    pub nodes_file: Result<Vec<NodeView>, String>,
    /// The log level.
    pub log_level: i32,
    pub(super) deeds: Vec<Deed>,
    /// Bytes on the way, by node.
    pub(super) link_bytes: BTreeMap<Pnn, usize>,
    /// Packets on the way, by client.
    pub(super) client_packets: BTreeMap<ClientId, usize>,
    /// Processes of the machine.
    pub(super) pids: BTreeSet<u32>,
    pub(super) pid: u32,
}

impl SimPorts {
    pub(super) fn new(chains: u32, nodes: Vec<NodeView>) -> SimPorts {
        SimPorts {
            store: SimStore::new(chains),
            nodes_file: Ok(nodes),
            log_level: 2,
            deeds: Vec::new(),
            link_bytes: BTreeMap::new(),
            client_packets: BTreeMap::new(),
            pids: BTreeSet::new(),
            pid: 0,
        }
    }
}

impl Ports for SimPorts {
    fn store(&mut self) -> &mut dyn LocalStore {
        &mut self.store
    }

    fn send_link(&mut self, to: Pnn, packet: Packet) {
        self.deeds.push(Deed::Send(to, packet));
    }

    fn link_backlog(&self, to: Pnn) -> usize {
        self.link_bytes.get(&to).copied().unwrap_or(0)
    }

    fn reset_link(&mut self, to: Pnn, reason: &str) {
        self.deeds.push(Deed::ResetLink(to, reason.to_owned()));
    }

    fn set_nodes(&mut self, nodes: &[NodeView]) {
        self.deeds.push(Deed::SetNodes(nodes.to_vec()));
    }

    fn send_client(&mut self, client: ClientId, packet: ClientPacket) {
        self.deeds.push(Deed::ToClient(client, packet));
    }

    fn client_backlog(&self, client: ClientId) -> usize {
        self.client_packets.get(&client).copied().unwrap_or(0)
    }

    fn close_client(&mut self, client: ClientId) {
        self.deeds.push(Deed::CloseClient(client));
    }

    fn cluster_lock(&mut self, request: LockRequest) {
        self.deeds.push(Deed::Lock(request));
    }

    fn process_exists(&mut self, pid: u32) -> bool {
        self.pids.contains(&pid)
    }

    fn read_nodes(&mut self) -> Result<Vec<NodeView>, String> {
        self.nodes_file.clone()
    }

    fn daemon_pid(&self) -> u32 {
        self.pid
    }

    fn memory_used(&self) -> u64 {
        1 << 20
    }

    fn log_level(&self) -> i32 {
        self.log_level
    }

    fn set_log_level(&mut self, level: i32) {
        self.log_level = level;
    }

    fn exit(&mut self, code: i32) {
        self.deeds.push(Deed::Exit(code));
    }
}

/// About the bytes a packet takes on a link.
pub(super) fn size_of(packet: &Packet) -> usize {
    use crate::packet::Body;
    64 + match &packet.body {
        Body::Call(c) => c.key.len() + c.data.len(),
        Body::CallReply { data, .. } | Body::Message { data, .. } | Body::Tunnel { data, .. } => {
            data.len()
        }
        Body::Dmaster(d) => d.key.len() + d.data.len(),
        Body::Error { message, .. } => message.len(),
        Body::Control(c) => c.data.len(),
        Body::ControlReply(r) => r.data.len() + r.error.len(),
        Body::Keepalive { .. } | Body::Local(_) => 0,
    }
}
