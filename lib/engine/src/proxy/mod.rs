// SPDX-License-Identifier: GPL-3.0-or-later
//! The proxy service: clients of the existing socket, mapped onto the services (`spec/wire.md 3, 4.1, 7, 8`).
//!
//! - [`clients`]: who is connected and registered for what
//! - [`pending`]: controls that were passed on and wait for an answer
//! - [`control`]: the controls about clients themselves
//!
//! A client's control gets a request id of this daemon and goes to the service that owns it, here or on another
//! node; its record call goes to the database service of this node; its messages go where they are addressed.

mod clients;
mod control;
mod pending;

#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;

use crate::env::Env;
use crate::packet::{
    endpoint, Body, ClientId, Control, ControlReply, Endpoint, Local, Packet, Pnn,
    CTRL_FLAG_NOREPLY,
};
use crate::ports::ClientPacket;
use crate::service::{Command, Event, News, Service};
use crate::time::Time;
use bytes::Bytes;
use clients::Clients;
use ctdb_wire::srvid;
use pending::{Pending, Table};
use std::collections::BTreeSet;
use std::time::Duration;

/// The controls of this service.
pub const CONTROLS: &[u32] = &[0, 3, 23, 24, 114, 115, 151, 152, 153, 156];

const TIMER_PENDING: u64 = 1;

const DISCONNECTED: &str = "ctdb_control to disconnected node";
const TIMED_OUT: &str = "ctdb_control timed out";
const LINK_LOST: &str = "node is disconnected";
const BROADCAST: &str = "a broadcast control can have no reply";
const TOO_MANY: &str = "too many controls are waiting";

/// The proxy service.
#[derive(Debug, Default)]
pub struct Proxy {
    clients: Clients,
    pending: Table,
    /// When the timer for the table is due.
    timer_at: Option<Time>,
    /// Nodes whose links are up.
    linked: BTreeSet<Pnn>,
}

impl Service for Proxy {
    fn name(&self) -> &'static str {
        "proxy"
    }

    fn endpoint(&self) -> u32 {
        endpoint::PROXY
    }

    fn matches(&self, command: Command) -> bool {
        match command {
            Command::Control(opcode) => CONTROLS.contains(&opcode),
            Command::Message(_) | Command::Tunnel => true,
            Command::Record | Command::Keepalive => false,
        }
    }

    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        match event {
            Event::News(News::ClientPacket { client, packet }) => {
                self.client_packet(env, client, packet)
            }
            Event::Packet(packet) => self.packet(env, packet),
            Event::News(News::ClientConnected { client, pid }) => {
                self.clients.add(client, pid);
                self.count_clients(env);
            }
            Event::News(News::ClientGone { client }) => self.client_gone(env, client),
            Event::LinkUp(pnn) => {
                self.linked.insert(pnn);
            }
            Event::LinkDown(pnn) => {
                self.linked.remove(&pnn);
                for pending in self.pending.take_of_node(pnn) {
                    self.fail(env, pending.client, pending.reqid, LINK_LOST);
                }
            }
            Event::Timer(TIMER_PENDING) => self.expire(env),
            _ => {}
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Proxy {
    /// The connected clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Controls of clients that wait for an answer.
    pub fn pending_controls(&self) -> usize {
        self.pending.count()
    }

    // ---- from clients --------------------------------------------------------------------------

    fn client_packet(&mut self, env: &mut Env<'_>, client: ClientId, packet: ClientPacket) {
        let ClientPacket { destnode, reqid, body } = packet;
        let counts = &mut env.stats().client;
        match body {
            Body::Control(control) => {
                counts.req_control += 1;
                self.client_control(env, client, destnode, reqid, control);
            }
            Body::Message { srvid, data } => {
                counts.req_message += 1;
                self.client_message(env, client, destnode, srvid, data);
            }
            Body::Call(_) => {
                counts.req_call += 1;
                // Whatever the destination says: the local database service (spec/database.md 8).
                let own = env.pnn();
                env.send(Packet {
                    dst: Endpoint { node: own, id: endpoint::DATABASE },
                    src: Endpoint { node: own, id: client },
                    reqid,
                    generation: env.view().generation,
                    body,
                });
            }
            Body::Tunnel { tunnel_id, flags, data } => {
                counts.req_tunnel += 1;
                let known = self.clients.tunnel(tunnel_id).is_some();
                if known && (destnode as usize) < env.view().nodes.len() {
                    let body = Body::Tunnel { tunnel_id, flags, data };
                    self.pass_on(env, client, destnode, reqid, body);
                }
            }
            // Nothing else is taken from clients (spec/wire.md 4.1).
            _ => env.stats().malformed_packets += 1,
        }
    }

    fn client_control(
        &mut self,
        env: &mut Env<'_>,
        client: ClientId,
        destnode: Pnn,
        reqid: u32,
        mut control: Control,
    ) {
        control.client_id = client;
        let wants_reply = control.flags & CTRL_FLAG_NOREPLY == 0;
        let own = env.pnn();
        let node = match destnode {
            endpoint::CURRENT_NODE => own,
            endpoint::BROADCAST_ALL
            | endpoint::BROADCAST_ACTIVE
            | endpoint::BROADCAST_CONNECTED => {
                if wants_reply {
                    return self.fail(env, client, reqid, BROADCAST);
                }
                let request = env.new_reqid();
                return self.pass_on(
                    env,
                    endpoint::PROXY,
                    destnode,
                    request,
                    Body::Control(control),
                );
            }
            other => other,
        };
        if node != own && !(self.linked.contains(&node) && env.view().is_connected(node)) {
            if wants_reply {
                self.fail(env, client, reqid, DISCONNECTED);
            }
            return;
        }
        let request = env.new_reqid();
        if wants_reply {
            let limit = Duration::from_secs(env.tunables().control_timeout.into());
            let deadline = env.now.plus(limit);
            if !self.pending.add(request, Pending { client, reqid, node, deadline }) {
                return self.fail(env, client, reqid, TOO_MANY);
            }
            if self.timer_at.is_none() {
                self.timer_at = Some(deadline);
                env.set_timer(TIMER_PENDING, limit);
            }
        }
        self.pass_on(env, endpoint::PROXY, node, request, Body::Control(control));
    }

    fn client_message(
        &mut self,
        env: &mut Env<'_>,
        client: ClientId,
        destnode: Pnn,
        srvid: u64,
        data: Bytes,
    ) {
        let own = env.pnn();
        if destnode == own || destnode == endpoint::CURRENT_NODE {
            // At once, not in a later turn (spec/wire.md 3.5). The services of this node get a copy
            // that names this service, so that it is not delivered to clients again.
            self.dispatch(env, srvid, &data);
            env.send(Packet {
                dst: Endpoint { node: own, id: endpoint::PROXY },
                src: Endpoint { node: own, id: client },
                reqid: 0,
                generation: env.view().generation,
                body: Body::Message { srvid, data },
            });
        } else {
            self.pass_on(env, client, destnode, 0, Body::Message { srvid, data });
        }
    }

    fn pass_on(&mut self, env: &mut Env<'_>, src: u32, node: Pnn, reqid: u32, body: Body) {
        let own = env.pnn();
        env.send(Packet {
            dst: Endpoint { node, id: endpoint::BY_COMMAND },
            src: Endpoint { node: own, id: src },
            reqid,
            generation: env.view().generation,
            body,
        });
    }

    // ---- to clients ----------------------------------------------------------------------------

    fn packet(&mut self, env: &mut Env<'_>, packet: Packet) {
        match packet.body {
            Body::Message { srvid, data } => {
                let own = env.pnn();
                let dispatched = packet.dst.id == endpoint::PROXY && packet.src.node == own;
                if !dispatched {
                    self.dispatch(env, srvid, &data);
                }
            }
            Body::ControlReply(reply) => {
                // None: it timed out, or its client has gone.
                if let Some(pending) = self.pending.take(packet.reqid) {
                    let body = Body::ControlReply(reply);
                    self.to_client(env, pending.client, pending.reqid, body);
                }
            }
            Body::CallReply { .. } => {
                self.to_client(env, packet.dst.id, packet.reqid, packet.body);
            }
            Body::Error { status, .. } => {
                // The client library only understands REPLY_CALL (spec/database.md 8).
                let status = if status == 0 { -1 } else { status };
                let body = Body::CallReply { status, data: Bytes::new() };
                self.to_client(env, packet.dst.id, packet.reqid, body);
            }
            Body::Control(_) => self.control(env, packet),
            Body::Tunnel { tunnel_id, .. } => match self.clients.tunnel(tunnel_id) {
                Some(client) => self.to_client(env, client, packet.reqid, packet.body),
                None => log::info!("Tunnel id {tunnel_id:#x} not registered"),
            },
            Body::Local(Local::DropClient { client }) => {
                if self.clients.contains(client) {
                    env.ports.close_client(client);
                }
            }
            Body::Local(Local::Deliver { srvid, data }) => {
                self.deliver(env, srvid, srvid, &data);
            }
            Body::Local(_) | Body::Call(_) | Body::Dmaster(_) | Body::Keepalive { .. } => {}
        }
    }

    /// A message to the clients registered for `srvid`, and those registered for everything.
    fn dispatch(&mut self, env: &mut Env<'_>, srvid: u64, data: &Bytes) {
        self.deliver(env, srvid, srvid, data);
        if srvid != srvid::ALL {
            self.deliver(env, srvid::ALL, srvid, data);
        }
    }

    fn deliver(&self, env: &mut Env<'_>, registered: u64, srvid: u64, data: &Bytes) {
        for &client in self.clients.receivers(registered) {
            // A client that does not read is cut off, but never for a reply (spec/wire.md 2.4).
            let limit = env.tunables().max_queue_drop_msg as usize;
            if env.ports.client_backlog(client) > limit {
                log::error!("Drop client {client}: its message queue is full");
                env.ports.close_client(client);
                continue;
            }
            let body = Body::Message { srvid, data: data.clone() };
            self.to_client(env, client, 0, body);
        }
    }

    fn to_client(&self, env: &mut Env<'_>, client: ClientId, reqid: u32, body: Body) {
        if self.clients.contains(client) {
            env.stats().client_packets_sent += 1;
            env.ports.send_client(client, ClientPacket { destnode: 0, reqid, body });
        }
    }

    fn fail(&self, env: &mut Env<'_>, client: ClientId, reqid: u32, why: &str) {
        self.to_client(env, client, reqid, Body::ControlReply(ControlReply::error(why)));
    }

    // ---- what ends -----------------------------------------------------------------------------

    fn expire(&mut self, env: &mut Env<'_>) {
        for pending in self.pending.take_expired(env.now) {
            self.fail(env, pending.client, pending.reqid, TIMED_OUT);
        }
        self.timer_at = self.pending.next_deadline();
        if let Some(at) = self.timer_at {
            env.set_timer(TIMER_PENDING, at.since(env.now));
        }
    }

    fn count_clients(&self, env: &mut Env<'_>) {
        env.stats().num_clients = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
    }

    fn client_gone(&mut self, env: &mut Env<'_>, client: ClientId) {
        let Some(notifications) = self.clients.remove(client) else { return };
        self.count_clients(env);
        for (srvid, data) in notifications {
            env.message(endpoint::BROADCAST_CONNECTED, srvid, data);
        }
        for service in [endpoint::DATABASE, endpoint::FAILOVER] {
            env.local(service, Local::ClientGone { client });
        }
    }
}
