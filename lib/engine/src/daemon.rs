// SPDX-License-Identifier: GPL-3.0-or-later
//! The runtime: a set of services that make up one node's daemon.
//!
//! The host (or the simulator) hands in one [`Input`] at a time with the time of day and its ports. Packets
//! between services of the node wait in a queue and are handled on later turns, so that no service is ever
//! called from within another.

use crate::env::{Env, Shared, Timers};
use crate::packet::{endpoint, Body, Packet, Pnn};
use crate::ports::Ports;
use crate::rng::Rng;
use crate::service::{Command, Event, News, Service};
use crate::stats::Statistics;
use crate::time::{Time, WallTime};
use crate::tunables::Tunables;
use crate::view::{flags, ClusterView, NodeView, RecoveryMode, RunState, INVALID_GENERATION};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The own node number.
    pub pnn: Pnn,
    /// The nodes file.
    pub nodes: Vec<NodeView>,
    /// Seed of the random source.
    pub seed: u64,
    /// `[cluster] cluster lock`: the text that must be equal on all nodes.
    pub cluster_lock: Option<String>,
    /// `[cluster] leader timeout`.
    pub leader_timeout: Duration,
    /// `[cluster] leader capability`.
    pub can_be_leader: bool,
    /// `[legacy] lmaster capability`.
    pub can_be_lmaster: bool,
    /// `[legacy] start as stopped`.
    pub start_as_stopped: bool,
    /// `[legacy] start as disabled`.
    pub start_as_disabled: bool,
    /// Release version sent in keepalives: (major << 16) | minor.
    pub version: u32,
    /// CTDB_TEST_MODE is set.
    pub test_mode: bool,
    /// Wall-clock time of the daemon's start.
    pub started: WallTime,
}

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// Both directions of a link are up.
    LinkUp(Pnn),
    /// A link is down.
    LinkDown(Pnn),
    /// A packet came over a link.
    Packet(Packet),
    /// What concerns one service.
    News(News),
    /// The administrator wants the daemon to end (SIGTERM): as the SHUTDOWN control.
    Terminate,
}

const CONTROLS: usize = 256;

/// The daemon of one node.
pub struct Daemon {
    services: Vec<Box<dyn Service>>,
    control_owner: [Option<u8>; CONTROLS],
    record_owner: Option<usize>,
    keepalive_owner: Option<usize>,
    tunnel_owner: Option<usize>,
    /// [`Daemon::stop`] has been called.
    stopped: bool,
    shared: Shared,
}

impl Daemon {
    /// A daemon that runs `services`. Nothing happens before [`Daemon::start`].
    pub fn new(config: Config, tunables: Tunables, services: Vec<Box<dyn Service>>) -> Daemon {
        let owner = |command| services.iter().position(|s| s.matches(command));
        let mut control_owner = [None; CONTROLS];
        for (opcode, slot) in control_owner.iter_mut().enumerate() {
            *slot = owner(Command::Control(opcode as u32)).map(|i| i as u8);
        }
        let view = ClusterView {
            pnn: config.pnn,
            nodes: config.nodes.clone(),
            generation: INVALID_GENERATION,
            vnnmap: Vec::new(),
            recovery_mode: RecoveryMode::Active,
            leader: None,
            run_state: RunState::Unknown,
        };
        Daemon {
            control_owner,
            record_owner: owner(Command::Record),
            keepalive_owner: owner(Command::Keepalive),
            tunnel_owner: owner(Command::Tunnel),
            stopped: false,
            shared: Shared {
                view: Arc::new(view),
                old_view: None,
                tunables,
                tunables_changed: false,
                stats: Statistics::default(),
                rng: Rng::new(config.seed),
                local: VecDeque::new(),
                timers: Timers::default(),
                next_reqid: 1,
                exit: None,
                heard: vec![0; config.nodes.len()],
                config,
            },
            services,
        }
    }

    /// Initialises and activates all services. An error names the service and what failed; the daemon must
    /// not be used then.
    pub fn start(
        &mut self,
        now: Time,
        wall: WallTime,
        ports: &mut dyn Ports,
    ) -> Result<(), String> {
        for index in 0..self.services.len() {
            let mut result = Ok(());
            self.turn(index, now, wall, ports, |service, env| result = service.init(env));
            if let Err(why) = result {
                return Err(format!("{}: {}", self.services[index].name(), why));
            }
        }
        for index in 0..self.services.len() {
            self.turn(index, now, wall, ports, |service, env| service.activate(env));
        }
        Ok(())
    }

    /// Shutdown begins: tells every service, once. [`Env::exit`] leads here.
    pub fn stop(&mut self, now: Time, wall: WallTime, ports: &mut dyn Ports) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        for index in 0..self.services.len() {
            self.turn(index, now, wall, ports, |service, env| service.deactivate(env));
        }
    }

    /// Handles one input. Call [`Daemon::run_local`] afterwards.
    pub fn handle(&mut self, input: Input, now: Time, wall: WallTime, ports: &mut dyn Ports) {
        let news = match input {
            Input::Packet(packet) => return self.receive(packet, now, wall, ports),
            Input::LinkUp(pnn) => return self.tell_all(now, wall, ports, || Event::LinkUp(pnn)),
            Input::LinkDown(pnn) => {
                return self.tell_all(now, wall, ports, || Event::LinkDown(pnn))
            }
            Input::Terminate => {
                use crate::packet::{Control, Endpoint};
                let me = Endpoint { node: self.shared.config.pnn, id: endpoint::RUNTIME };
                let body = Body::Control(Control {
                    opcode: crate::runtime::CONTROL_SHUTDOWN,
                    flags: crate::packet::CTRL_FLAG_NOREPLY,
                    ..Control::default()
                });
                let packet = Packet { dst: me, src: me, reqid: 0, generation: 0, body };
                return self.route(packet, now, wall, ports);
            }
            Input::News(news) => news,
        };
        if let News::ClientPacket { .. } = news {
            self.shared.stats.client_packets_recv += 1;
        }
        if let Some(index) = self.service_at(news.owner()) {
            self.give(index, Event::News(news), now, wall, ports);
        }
    }

    /// Handles up to `budget` packets between services of this node. True if more are waiting.
    pub fn run_local(
        &mut self,
        budget: usize,
        now: Time,
        wall: WallTime,
        ports: &mut dyn Ports,
    ) -> bool {
        for _ in 0..budget {
            let Some(packet) = self.shared.local.pop_front() else { break };
            self.route(packet, now, wall, ports);
        }
        let more = !self.shared.local.is_empty();
        if !more {
            // The last words have been said.
            if let Some(code) = self.shared.exit.take().filter(|_| self.stopped) {
                ports.exit(code);
            }
        }
        more
    }

    /// Fires the timers that are due.
    pub fn fire_timers(&mut self, now: Time, wall: WallTime, ports: &mut dyn Ports) {
        // What a timer sets for this very moment fires in the next call, so this ends.
        let mut due = Vec::new();
        while let Some(timer) = self.shared.timers.pop_due(now) {
            due.push(timer);
        }
        for (index, token) in due {
            self.give(index, Event::Timer(token), now, wall, ports);
        }
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Time> {
        self.shared.timers.next_deadline()
    }

    /// The cluster as this node sees it.
    pub fn view(&self) -> &ClusterView {
        &self.shared.view
    }

    /// The tunables in force.
    pub fn tunables(&self) -> &Tunables {
        &self.shared.tunables
    }

    /// The statistics, for the host's own counters.
    pub fn stats_mut(&mut self) -> &mut Statistics {
        &mut self.shared.stats
    }

    /// The service of this type, for invariant checks.
    pub fn service<T: 'static>(&self) -> Option<&T> {
        self.services.iter().find_map(|s| s.as_any().downcast_ref::<T>())
    }

    fn service_at(&self, endpoint: u32) -> Option<usize> {
        self.services.iter().position(|s| s.endpoint() == endpoint)
    }

    fn receive(&mut self, packet: Packet, now: Time, wall: WallTime, ports: &mut dyn Ports) {
        self.shared.stats.node_packets_recv += 1;
        // A redirected call says nothing about its originator (spec/wire.md 4.2).
        let redirected = matches!(&packet.body, Body::Call(c) if c.hopcount > 0);
        if !redirected {
            if let Some(heard) = self.shared.heard.get_mut(packet.src.node as usize) {
                *heard += 1;
            }
        }
        self.route(packet, now, wall, ports);
    }

    /// The fence of record packets (`spec/wire.md 3.2`): only this epoch's, never on a banned node.
    fn admits(&self, packet: &Packet) -> bool {
        let view = &self.shared.view;
        !packet.body.is_record()
            || (packet.generation == view.generation
                && view.generation != INVALID_GENERATION
                && view.own_flags() & flags::BANNED == 0)
            // A client's call is not fenced: it has no generation (spec/database.md 9.9). Nor is its reply.
            || packet.src.node == view.pnn && packet.src.id >= endpoint::FIRST_CLIENT
            || packet.dst.node == view.pnn && packet.dst.id >= endpoint::FIRST_CLIENT
    }

    fn route(&mut self, packet: Packet, now: Time, wall: WallTime, ports: &mut dyn Ports) {
        if !self.admits(&packet) {
            return;
        }
        if let Body::Message { srvid, .. } = packet.body {
            return self.route_message(srvid, packet, now, wall, ports);
        }
        let counts = &mut self.shared.stats.node;
        match &packet.body {
            Body::Control(_) => counts.req_control += 1,
            Body::ControlReply(_) => counts.reply_control += 1,
            Body::Tunnel { .. } => counts.req_tunnel += 1,
            _ => {}
        }
        let owner = match Command::of(&packet.body) {
            Some(Command::Control(opcode)) => match self.control_owner.get(opcode as usize) {
                Some(Some(index)) => Some(usize::from(*index)),
                // Unknown commands get an error reply: the runtime service answers them.
                _ => self.service_at(endpoint::RUNTIME),
            },
            Some(Command::Record) => self.record_owner,
            Some(Command::Keepalive) => self.keepalive_owner,
            Some(Command::Tunnel) => self.tunnel_owner,
            Some(Command::Message(_)) => None,
            None if packet.dst.id >= endpoint::FIRST_CLIENT => self.service_at(endpoint::PROXY),
            None => self.service_at(packet.dst.id),
        };
        match owner {
            Some(index) => self.give(index, Event::Packet(packet), now, wall, ports),
            None => log::debug!("dropped a packet nobody handles: {:?}", packet.dst),
        }
    }

    fn route_message(
        &mut self,
        srvid: u64,
        packet: Packet,
        now: Time,
        wall: WallTime,
        ports: &mut dyn Ports,
    ) {
        self.shared.stats.node.req_message += 1;
        for index in 0..self.services.len() {
            if self.services[index].matches(Command::Message(srvid)) {
                self.give(index, Event::Packet(packet.clone()), now, wall, ports);
            }
        }
    }

    fn tell_all(
        &mut self,
        now: Time,
        wall: WallTime,
        ports: &mut dyn Ports,
        event: impl Fn() -> Event,
    ) {
        for index in 0..self.services.len() {
            self.give(index, event(), now, wall, ports);
        }
    }

    fn give(
        &mut self,
        index: usize,
        event: Event,
        now: Time,
        wall: WallTime,
        ports: &mut dyn Ports,
    ) {
        self.turn(index, now, wall, ports, |service, env| service.handle(event, env));
    }

    /// One turn of one service, and then what it makes necessary for all.
    fn turn(
        &mut self,
        index: usize,
        now: Time,
        wall: WallTime,
        ports: &mut dyn Ports,
        f: impl FnOnce(&mut dyn Service, &mut Env<'_>),
    ) {
        self.run(index, now, wall, ports, f);
        while let Some(old) = self.shared.old_view.take() {
            self.shared.heard.resize(self.shared.view.nodes.len(), 0);
            for other in 0..self.services.len() {
                let event = Event::ViewChanged { old: old.clone() };
                self.run(other, now, wall, ports, |service, env| service.handle(event, env));
            }
        }
        if std::mem::take(&mut self.shared.tunables_changed) {
            for other in 0..self.services.len() {
                self.run(other, now, wall, ports, |service, env| service.reconfigure(env));
            }
        }
        if self.shared.exit.is_some() {
            self.stop(now, wall, ports);
        }
    }

    fn run(
        &mut self,
        index: usize,
        now: Time,
        wall: WallTime,
        ports: &mut dyn Ports,
        f: impl FnOnce(&mut dyn Service, &mut Env<'_>),
    ) {
        let Some(service) = self.services.get_mut(index) else { return };
        let endpoint = service.endpoint();
        let mut env = Env { now, wall, ports, shared: &mut self.shared, service: index, endpoint };
        f(service.as_mut(), &mut env);
    }
}
