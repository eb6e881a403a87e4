// SPDX-License-Identifier: GPL-3.0-or-later
//! Clusters of cluster and database services in the simulator, in virtual time.

mod chaos;
mod hazards;
mod leaders;
mod members;
mod recoveries;
mod splits;

use super::Cluster;
use crate::daemon::Input;
use crate::database::Database;
use crate::env::Env;
use crate::packet::{endpoint, Body, ControlReply, DbId, Endpoint, Local, Packet, Pnn};
use crate::service::{Command, Event, Service};
use crate::sim::{Options, Sim};
use crate::view::{ClusterView, RecoveryMode, RunState};
use bytes::Bytes;
use ctdb_wire::types::LtdbHeader;
use ctdb_wire::{Decode, Encode, Opcode, StringZ, Text};
use std::collections::BTreeMap;
use std::time::Duration;

/// Stands for the clients of a node: takes the replies to what a test asks, and all messages.
#[derive(Default)]
struct Probe {
    replies: BTreeMap<u32, ControlReply>,
    messages: Vec<(Pnn, u64, Bytes)>,
    controls: Vec<(Pnn, u32)>,
}

impl Service for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }
    fn endpoint(&self) -> u32 {
        endpoint::PROXY
    }
    fn matches(&self, command: Command) -> bool {
        matches!(command, Command::Message(_))
    }
    fn handle(&mut self, event: Event, _env: &mut Env<'_>) {
        let Event::Packet(packet) = event else { return };
        match packet.body {
            Body::ControlReply(reply) => {
                self.replies.insert(packet.reqid, reply);
            }
            Body::Message { srvid, data } => self.messages.push((packet.src.node, srvid, data)),
            Body::Control(control) => self.controls.push((packet.src.node, control.opcode)),
            _ => {}
        }
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Says that every database has another name.
struct Liar;

impl Service for Liar {
    fn name(&self) -> &'static str {
        "liar"
    }
    fn endpoint(&self) -> u32 {
        99
    }
    fn matches(&self, command: Command) -> bool {
        command == Command::Control(Opcode::GetDbName.into())
    }
    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        if let Event::Packet(packet) = event {
            let name = Some(Text::from("other.tdb")).to_vec();
            env.reply(&crate::env::ReplyTo::of(&packet), ControlReply::data(name));
        }
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Ends the daemon when it is told to, and disables bans at SET_TUNABLE.
struct Ender;

impl Service for Ender {
    fn name(&self) -> &'static str {
        "runtime"
    }
    fn endpoint(&self) -> u32 {
        endpoint::RUNTIME
    }
    fn matches(&self, command: Command) -> bool {
        command == Command::Control(Opcode::SetTunable.into())
    }
    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        let Event::Packet(packet) = event else { return };
        match packet.body {
            Body::Local(Local::Shutdown { code, .. }) => env.ports.exit(code),
            Body::Control(_) => {
                env.tunables_mut().enable_bans = 0;
                env.reply(&crate::env::ReplyTo::of(&packet), ControlReply::status(0));
            }
            _ => {}
        }
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

const DB: &str = "test.tdb";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct Rig {
    sim: Sim,
    reqid: u32,
}

impl std::ops::Deref for Rig {
    type Target = Sim;
    fn deref(&self) -> &Sim {
        &self.sim
    }
}

impl std::ops::DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut Sim {
        &mut self.sim
    }
}

fn with_lock(nodes: u32) -> Options {
    Options { nodes, cluster_lock: true, lock_linger: (ms(1), ms(10)), ..Options::default() }
}

fn without_lock(nodes: u32) -> Options {
    Options { nodes, ..Options::default() }
}

impl Rig {
    fn new(options: Options) -> Rig {
        Rig::with_liar(options, None)
    }

    /// One of the nodes gives wrong answers.
    fn with_liar(options: Options, liar: Option<Pnn>) -> Rig {
        let services = move |pnn| -> Vec<Box<dyn Service>> {
            let mut services: Vec<Box<dyn Service>> = vec![
                Box::new(Cluster::default()),
                Box::new(Database::default()),
                Box::new(Probe::default()),
                Box::new(Ender),
            ];
            if liar == Some(pnn) {
                services.insert(0, Box::new(Liar));
            }
            services
        };
        Rig { sim: Sim::new(options, services), reqid: 0x4000_0000 }
    }

    /// A cluster that has come up.
    #[track_caller]
    fn up(options: Options) -> Rig {
        let mut rig = Rig::new(options);
        rig.start_all();
        rig.expect("up", secs(20), Rig::all_ok);
        rig
    }

    /// Runs until the condition holds and says how long it took.
    #[track_caller]
    fn expect(&mut self, what: &str, limit: Duration, f: impl Fn(&Rig) -> bool) -> Duration {
        let (start, end) = (self.now(), self.now().plus(limit));
        while !f(self) {
            self.assert_ok();
            assert!(self.now() < end, "not {what} within {limit:?}: {}", self.summary());
            self.run_for(ms(1));
        }
        self.assert_ok();
        self.now().since(start)
    }

    /// Runs, and the condition holds all the time.
    #[track_caller]
    fn always(&mut self, what: &str, time: Duration, f: impl Fn(&Rig) -> bool) {
        let end = self.now().plus(time);
        while self.now() < end {
            assert!(f(self), "no longer {what}: {}", self.summary());
            self.run_for(ms(1));
            self.assert_ok();
        }
    }

    fn summary(&self) -> String {
        let show = |pnn: Pnn| match self.sim.view(pnn) {
            None => format!("\n  node {pnn}: down"),
            Some(v) => {
                let flags: Vec<_> = v.nodes.iter().map(|n| n.flags).collect();
                format!(
                    "\n  node {pnn}: {:?} leader {:?} gen {:#x} map {:?} {} flags {flags:x?}, {:?}",
                    v.recovery_mode,
                    v.leader,
                    v.generation,
                    v.vnnmap,
                    v.run_state.name(),
                    self.cluster(pnn).map(|c| (&c.phase, c.lock, c.run.is_some())),
                )
            }
        };
        (0..self.len()).map(show).collect()
    }

    fn cluster(&self, pnn: Pnn) -> Option<&Cluster> {
        self.daemon(pnn)?.service::<Cluster>()
    }

    fn probe(&self, pnn: Pnn) -> &Probe {
        self.daemon(pnn).and_then(|d| d.service()).expect("the daemon runs")
    }

    #[track_caller]
    fn seen(&self, pnn: Pnn) -> &ClusterView {
        self.sim.view(pnn).expect("the daemon runs")
    }

    fn leader(&self) -> Option<Pnn> {
        self.running().into_iter().find(|&pnn| self.seen(pnn).leader == Some(pnn))
    }

    #[track_caller]
    fn leads(&self) -> Pnn {
        self.leader().expect("there is a leader")
    }

    /// A running node that does not lead.
    #[track_caller]
    fn follower(&self) -> Pnn {
        self.running().into_iter().find(|p| Some(*p) != self.leader()).expect("a follower")
    }

    fn generation(&self) -> u32 {
        self.seen(self.running()[0]).generation
    }

    /// All running nodes agree, serve, and see each other without any flag.
    fn all_ok(&self) -> bool {
        self.agreed(&self.running())
            && self.running().iter().all(|&a| {
                let view = self.seen(a);
                view.run_state == RunState::Running
                    && self.running().iter().all(|&b| view.flags(b) == 0)
            })
    }

    /// These nodes have one leader, one generation and the map of just these, and are in normal mode.
    fn agreed(&self, set: &[Pnn]) -> bool {
        let Some(first) = set.first().and_then(|&p| self.sim.view(p)) else { return false };
        first.leader.is_some_and(|l| set.contains(&l))
            && set.iter().all(|&pnn| {
                self.sim.view(pnn).is_some_and(|view| {
                    view.recovery_mode == RecoveryMode::Normal
                        && view.leader == first.leader
                        && view.generation == first.generation
                        && view.vnnmap == set
                }) && self.cluster(pnn).is_some_and(|c| c.run.is_none())
            })
    }

    /// Sends a control to a node as a client of its own would.
    fn send(&mut self, pnn: Pnn, opcode: Opcode, payload: &impl Encode) -> u32 {
        self.reqid += 1;
        let me = Endpoint { node: pnn, id: endpoint::PROXY };
        let body = Body::Control(super::asking::control(opcode, payload));
        let packet = Packet {
            dst: Endpoint { node: pnn, id: endpoint::BY_COMMAND },
            src: me,
            reqid: self.reqid,
            generation: 0,
            body,
        };
        self.sim.give(pnn, Input::Packet(packet));
        self.reqid
    }

    fn reply(&self, pnn: Pnn, reqid: u32) -> Option<&ControlReply> {
        self.probe(pnn).replies.get(&reqid)
    }

    /// Sends a control and returns the reply.
    #[track_caller]
    fn ask(&mut self, pnn: Pnn, opcode: Opcode, payload: &impl Encode) -> ControlReply {
        let reqid = self.send(pnn, opcode, payload);
        self.expect(opcode.name(), secs(60), |rig| rig.reply(pnn, reqid).is_some());
        self.reply(pnn, reqid).cloned().expect("a reply")
    }

    #[track_caller]
    fn ok(&mut self, pnn: Pnn, opcode: Opcode, payload: &impl Encode) -> Bytes {
        let reply = self.ask(pnn, opcode, payload);
        assert_eq!(reply.status, 0, "{opcode} on node {pnn}: {}", reply.error);
        reply.data
    }

    /// A message to a node, as if `from` had sent it.
    fn message(&mut self, from: Pnn, to: Pnn, srvid: u64, payload: &impl Encode) {
        let packet = Packet {
            dst: Endpoint { node: to, id: endpoint::BY_COMMAND },
            src: Endpoint { node: from, id: endpoint::CLUSTER },
            reqid: 0,
            generation: 0,
            body: Body::Message { srvid, data: payload.to_vec().into() },
        };
        self.sim.give(to, Input::Packet(packet));
    }

    #[track_caller]
    fn attach(&mut self, pnn: Pnn, name: &str, kind: Opcode) -> DbId {
        let data = self.ok(pnn, kind, &StringZ(Text::from(name)));
        let id = u32::from_prefix(&data).expect("an id");
        self.run_for(ms(50));
        id
    }

    fn put(&mut self, pnn: Pnn, db: DbId, key: &[u8], rsn: u64, dmaster: Pnn, data: &[u8]) {
        let header = LtdbHeader { rsn, dmaster, reserved1: 0, flags: 0 };
        let mut value = header.to_vec();
        value.extend_from_slice(data);
        self.store(pnn).content_mut(db).expect("attached").insert(key.to_vec(), value);
    }

    fn get(&mut self, pnn: Pnn, db: DbId, key: &[u8]) -> Option<(LtdbHeader, Vec<u8>)> {
        let value = self.store(pnn).content(db)?.get(key)?.clone();
        let header = LtdbHeader::from_prefix(&value).ok()?;
        Some((header, value[24..].to_vec()))
    }
}
