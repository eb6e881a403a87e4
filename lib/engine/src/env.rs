// SPDX-License-Identifier: GPL-3.0-or-later
//! What a service may do during its turn.

use crate::daemon::Config;
use crate::packet::{
    endpoint, Body, Control, ControlReply, Endpoint, Local, Packet, Pnn, CTRL_FLAG_NOREPLY,
};
use crate::ports::{LocalStore, Ports};
use crate::rng::Rng;
use crate::stats::Statistics;
use crate::time::{Time, WallTime};
use crate::tunables::Tunables;
use crate::view::ClusterView;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// State of a daemon that its services share. Owned by [`crate::Daemon`].
pub(crate) struct Shared {
    pub config: Config,
    pub view: Arc<ClusterView>,
    pub old_view: Option<Arc<ClusterView>>,
    pub tunables: Tunables,
    pub tunables_changed: bool,
    pub stats: Statistics,
    pub rng: Rng,
    pub local: VecDeque<Packet>,
    pub timers: Timers,
    pub next_reqid: u32,
    /// Packets received from each node since the last keepalive check.
    pub heard: Vec<u64>,
    /// The daemon shall end with this code.
    pub exit: Option<i32>,
}

/// Timers of all services, ordered by deadline; equal deadlines fire in the order they were set.
#[derive(Default)]
pub(crate) struct Timers {
    by_deadline: BTreeMap<(Time, u64), (usize, u64)>,
    by_token: BTreeMap<(usize, u64), (Time, u64)>,
    sequence: u64,
}

impl Timers {
    pub fn set(&mut self, service: usize, token: u64, at: Time) {
        self.cancel(service, token);
        self.sequence += 1;
        self.by_deadline.insert((at, self.sequence), (service, token));
        self.by_token.insert((service, token), (at, self.sequence));
    }

    pub fn cancel(&mut self, service: usize, token: u64) {
        if let Some(key) = self.by_token.remove(&(service, token)) {
            self.by_deadline.remove(&key);
        }
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.by_deadline.keys().next().map(|k| k.0)
    }

    pub fn pop_due(&mut self, now: Time) -> Option<(usize, u64)> {
        let (&key, &value) = self.by_deadline.iter().next()?;
        if key.0 > now {
            return None;
        }
        self.by_deadline.remove(&key);
        self.by_token.remove(&value);
        Some(value)
    }
}

/// The surroundings of one turn.
pub struct Env<'a> {
    /// Monotonic time of this turn.
    pub now: Time,
    /// Wall-clock time of this turn.
    pub wall: WallTime,
    /// Sockets and files.
    pub ports: &'a mut dyn Ports,
    pub(crate) shared: &'a mut Shared,
    pub(crate) service: usize,
    pub(crate) endpoint: u32,
}

impl Env<'_> {
    /// The own node number.
    pub fn pnn(&self) -> Pnn {
        self.shared.config.pnn
    }

    /// What the daemon was started with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The cluster as this node sees it.
    pub fn view(&self) -> &ClusterView {
        &self.shared.view
    }

    /// Replaces the view (cluster service only). Every service gets ViewChanged after this turn.
    pub fn publish(&mut self, view: ClusterView) {
        let old = std::mem::replace(&mut self.shared.view, Arc::new(view));
        self.shared.old_view.get_or_insert(old);
    }

    /// The tunables.
    pub fn tunables(&self) -> &Tunables {
        &self.shared.tunables
    }

    /// The tunables, to change them (runtime service only). Every service is reconfigured after this turn.
    pub fn tunables_mut(&mut self) -> &mut Tunables {
        self.shared.tunables_changed = true;
        &mut self.shared.tunables
    }

    /// The daemon's statistics.
    pub fn stats(&mut self) -> &mut Statistics {
        &mut self.shared.stats
    }

    /// The seeded random source.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.shared.rng
    }

    /// The TDB files.
    pub fn store(&mut self) -> &mut dyn LocalStore {
        self.ports.store()
    }

    /// Packets heard from `pnn` since the last call.
    pub fn take_heard(&mut self, pnn: Pnn) -> u64 {
        self.shared.heard.get_mut(pnn as usize).map_or(0, std::mem::take)
    }

    /// A request id: 31 bits, not 0, not used again soon.
    pub fn new_reqid(&mut self) -> u32 {
        let id = self.shared.next_reqid;
        self.shared.next_reqid = if id >= 0x7FFF_FFFF { 1 } else { id + 1 };
        id
    }

    /// Sends a packet. To the own node: on a later turn of this daemon. To a node whose link is down: dropped. A
    /// broadcast node number expands to one copy for each node meant.
    pub fn send(&mut self, packet: Packet) {
        match packet.dst.node {
            endpoint::CURRENT_NODE
            | endpoint::BROADCAST_ALL
            | endpoint::BROADCAST_ACTIVE
            | endpoint::BROADCAST_CONNECTED => {
                for node in self.shared.view.expand(packet.dst.node) {
                    let mut copy = packet.clone();
                    copy.dst.node = node;
                    self.send_one(copy);
                }
            }
            _ => self.send_one(packet),
        }
    }

    fn send_one(&mut self, packet: Packet) {
        if packet.dst.node == self.shared.config.pnn {
            self.shared.local.push_back(packet);
        } else if self.shared.view.is_connected(packet.dst.node) {
            self.shared.stats.node_packets_sent += 1;
            self.ports.send_link(packet.dst.node, packet);
        }
    }

    fn own_endpoint(&self) -> Endpoint {
        Endpoint { node: self.shared.config.pnn, id: self.endpoint }
    }

    /// Sends a request of this service to the service that owns the command on `node`, and returns its reqid.
    /// The reply, if any, comes as Event::Packet. Nothing comes if the node is or gets disconnected: see
    /// [`crate::fanout::Fanout`] for requests that need an end.
    pub fn request(&mut self, node: Pnn, control: Control) -> u32 {
        let reqid = self.new_reqid();
        self.send(Packet {
            dst: Endpoint { node, id: endpoint::BY_COMMAND },
            src: self.own_endpoint(),
            reqid,
            generation: self.shared.view.generation,
            body: Body::Control(control),
        });
        reqid
    }

    /// Sends a control that wants no reply; `node` may be a broadcast.
    pub fn notify(&mut self, node: Pnn, mut control: Control) {
        control.flags |= CTRL_FLAG_NOREPLY;
        self.request(node, control);
    }

    /// Sends a message to everyone who listens to `srvid` on `node`, which may be a broadcast.
    pub fn message(&mut self, node: Pnn, srvid: u64, data: impl Into<Bytes>) {
        let src = self.own_endpoint();
        let generation = self.shared.view.generation;
        self.send(Packet {
            dst: Endpoint { node, id: endpoint::BY_COMMAND },
            src,
            reqid: 0,
            generation,
            body: Body::Message { srvid, data: data.into() },
        });
    }

    /// Sends a command to another service of this node and returns its reqid.
    pub fn local(&mut self, service: u32, command: Local) -> u32 {
        let reqid = self.new_reqid();
        let src = self.own_endpoint();
        self.shared.local.push_back(Packet {
            dst: Endpoint { node: src.node, id: service },
            src,
            reqid,
            generation: 0,
            body: Body::Local(command),
        });
        reqid
    }

    /// Answers a control, unless it wanted none.
    pub fn reply(&mut self, to: &ReplyTo, reply: ControlReply) {
        if !to.wanted {
            return;
        }
        let src = self.own_endpoint();
        let generation = self.shared.view.generation;
        self.send(Packet {
            dst: to.endpoint,
            src,
            reqid: to.reqid,
            generation,
            body: Body::ControlReply(reply),
        });
    }

    /// Ends the daemon: every service is told that shutdown begins, and when what they have to say has been said the
    /// process exits with this code. Later calls change nothing.
    pub fn exit(&mut self, code: i32) {
        self.shared.exit.get_or_insert(code);
    }

    /// Fires Event::Timer(`token`) once, `after` from now. Setting a token again moves it.
    pub fn set_timer(&mut self, token: u64, after: Duration) {
        self.shared.timers.set(self.service, token, self.now.plus(after));
    }

    /// The timer will not fire.
    pub fn cancel_timer(&mut self, token: u64) {
        self.shared.timers.cancel(self.service, token);
    }
}

/// Where the reply to a control goes. Kept by a service that answers later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The requester.
    pub endpoint: Endpoint,
    /// Its reqid.
    pub reqid: u32,
    /// Whether it wants a reply.
    pub wanted: bool,
}

impl ReplyTo {
    /// Of a request packet.
    pub fn of(packet: &Packet) -> ReplyTo {
        let wanted = match &packet.body {
            Body::Control(c) => c.flags & CTRL_FLAG_NOREPLY == 0,
            Body::Local(_) => true,
            _ => false,
        };
        ReplyTo { endpoint: packet.src, reqid: packet.reqid, wanted }
    }
}
