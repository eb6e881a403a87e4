// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes on the client socket of simulated nodes: those that a test drives by hand.

use super::{Sim, What};
use crate::daemon::Input;
use crate::packet::{endpoint, Body, ClientId, Control, ControlReply, Pnn};
use crate::ports::ClientPacket;
use crate::service::News;
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// A connected process.
pub struct Client {
    pub(super) node: Pnn,
    pub(super) incarnation: u64,
    pid: u32,
    connected: bool,
    alive: bool,
    /// It reads nothing.
    stalled: bool,
    inbox: VecDeque<ClientPacket>,
    last_to_daemon: Time,
    last_to_client: Time,
    next_reqid: u32,
}

impl Sim {
    /// A new process connects to the daemon of `node`.
    pub fn connect(&mut self, node: Pnn) -> ClientId {
        let client = self.next_client;
        self.next_client += 1;
        let pid = 1000 + (client - endpoint::FIRST_CLIENT);
        let n = &mut self.nodes[node as usize];
        n.ports.pids.insert(pid);
        let state = Client {
            node,
            incarnation: n.incarnation,
            pid,
            connected: n.daemon.is_some(),
            alive: true,
            stalled: false,
            inbox: VecDeque::new(),
            last_to_daemon: self.now,
            last_to_client: self.now,
            next_reqid: 1,
        };
        self.clients.insert(client, state);
        self.tell_daemon(client, Input::News(News::ClientConnected { client, pid }));
        client
    }

    /// Whether the client's connection is open.
    pub fn is_connected(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|c| c.connected)
    }

    /// The process id of a client.
    pub fn pid(&self, client: ClientId) -> u32 {
        self.clients.get(&client).map_or(0, |c| c.pid)
    }

    fn tell_daemon(&mut self, client: ClientId, input: Input) {
        let delay = self.between(self.options.client_delay);
        let at = self.now.plus(delay);
        let Some(c) = self.clients.get_mut(&client) else { return };
        let at = at.max(c.last_to_daemon);
        c.last_to_daemon = at;
        let (node, incarnation) = (c.node, c.incarnation);
        self.at(at, What::Input(node, incarnation, input));
    }

    /// A client sends a packet.
    pub fn client_send(&mut self, client: ClientId, packet: ClientPacket) {
        if self.is_connected(client) {
            self.tell_daemon(client, Input::News(News::ClientPacket { client, packet }));
        }
    }

    /// A client sends a request with a new reqid, which is returned.
    pub fn client_request(&mut self, client: ClientId, destnode: Pnn, body: Body) -> u32 {
        let Some(c) = self.clients.get_mut(&client) else { return 0 };
        let reqid = c.next_reqid;
        c.next_reqid += 1;
        self.client_send(client, ClientPacket { destnode, reqid, body });
        reqid
    }

    /// Takes the oldest packet that a client received.
    pub fn client_take(&mut self, client: ClientId) -> Option<ClientPacket> {
        self.clients.get_mut(&client)?.inbox.pop_front()
    }

    /// Takes the first received packet that `matches`, and leaves the others.
    pub fn client_take_if(
        &mut self,
        client: ClientId,
        matches: impl Fn(&ClientPacket) -> bool,
    ) -> Option<ClientPacket> {
        let inbox = &mut self.clients.get_mut(&client)?.inbox;
        let at = inbox.iter().position(matches)?;
        inbox.remove(at)
    }

    /// Sends a control from a client and runs until its reply, at most 100 seconds.
    pub fn client_control(
        &mut self,
        client: ClientId,
        destnode: Pnn,
        control: Control,
    ) -> Option<ControlReply> {
        let reqid = self.client_request(client, destnode, Body::Control(control));
        let mut reply = None;
        let is_reply =
            |p: &ClientPacket| p.reqid == reqid && matches!(p.body, Body::ControlReply(_));
        self.run_until(Duration::from_secs(100), |sim| {
            reply = sim.client_take_if(client, is_reply);
            reply.is_some() || !sim.is_connected(client)
        });
        match reply?.body {
            Body::ControlReply(reply) => Some(reply),
            _ => None,
        }
    }

    /// A process connects to `node`, sends a control to `destnode`, waits for the reply and goes.
    pub fn control(
        &mut self,
        node: Pnn,
        destnode: Pnn,
        opcode: u32,
        data: impl Into<bytes::Bytes>,
    ) -> Option<ControlReply> {
        let client = self.connect(node);
        let control = Control { opcode, data: data.into(), ..Control::default() };
        let reply = self.client_control(client, destnode, control);
        self.disconnect(client);
        reply
    }

    /// A client closes its connection and its process ends.
    pub fn disconnect(&mut self, client: ClientId) {
        if self.is_connected(client) {
            self.tell_daemon(client, Input::News(News::ClientGone { client }));
        }
        self.client_dies(client);
    }

    /// The client reads nothing any more (or reads again).
    pub fn stall_client(&mut self, client: ClientId, stalled: bool) {
        if let Some(c) = self.clients.get_mut(&client) {
            c.stalled = stalled;
            if !stalled {
                let node = c.node as usize;
                self.nodes[node].ports.client_packets.remove(&client);
            }
        }
    }

    pub(super) fn client_dies(&mut self, client: ClientId) {
        let Some(c) = self.clients.get_mut(&client) else { return };
        if !std::mem::take(&mut c.alive) {
            return;
        }
        c.connected = false;
        let (node, pid) = (c.node, c.pid);
        let ports = &mut self.nodes[node as usize].ports;
        ports.pids.remove(&pid);
        ports.client_packets.remove(&client);
        ports.store.client_died(client);
        self.users.remove(&client);
        self.transactor_died(client);
        self.pump(node);
    }

    pub(super) fn send_to_client(&mut self, client: ClientId, packet: ClientPacket) {
        let delay = self.between(self.options.client_delay);
        let at = self.now.plus(delay);
        let Some(c) = self.clients.get_mut(&client).filter(|c| c.connected) else { return };
        let at = at.max(c.last_to_client);
        c.last_to_client = at;
        let node = c.node as usize;
        *self.nodes[node].ports.client_packets.entry(client).or_default() += 1;
        self.at(at, What::ToClient(client, packet));
    }

    pub(super) fn client_receives(&mut self, client: ClientId, packet: ClientPacket) {
        let Some(c) = self.clients.get_mut(&client).filter(|c| c.connected) else { return };
        if !c.stalled {
            let node = c.node as usize;
            if let Some(n) = self.nodes[node].ports.client_packets.get_mut(&client) {
                *n = n.saturating_sub(1);
            }
        }
        if self.users.contains_key(&client) {
            return self.user_receives(client, &packet);
        }
        if self.transactors.contains_key(&client) {
            return self.transactor_receives(client, &packet);
        }
        if let Some(c) = self.clients.get_mut(&client) {
            c.inbox.push_back(packet);
        }
    }

    pub(super) fn client_closed(&mut self, client: ClientId) {
        if let Some(c) = self.clients.get_mut(&client) {
            c.connected = false;
        }
        self.client_dies(client);
    }
}
