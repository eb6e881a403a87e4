// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster service: membership, node flags, leadership, cluster lock, recovery (`spec/cluster.md`).
//!
//! It owns the cluster view and is the only one to replace it. What happens is acted upon in the turn in which it
//! is heard of; the periodic check only repairs what got lost.
//!
//! - the own node: [`start`] and stop, [`recmode`], [`ban`], [`nodes`] file
//! - all nodes: [`keepalive`] and links, [`flags`], [`leader`] with [`lock`] or [`election`]
//! - the leader: [`watch`] of the others, [`credits`], [`history`] of recoveries, [`suspend`], [`recovery`]

mod asking;
mod ban;
mod credits;
mod election;
mod flags;
mod history;
mod keepalive;
mod leader;
mod lock;
mod nodes;
mod recmode;
mod recovery;
mod start;
mod suspend;
#[cfg(test)]
mod tests;
mod timer;
mod timing;
mod watch;

pub use timing::Timing;

use crate::env::{Env, ReplyTo};
use crate::packet::{endpoint, Body, Control, ControlReply, Local, Packet, Pnn};
use crate::service::{Command, Event, News, Service};
use crate::time::{Time, WallTime};
use crate::view::{ClusterView, RecoveryMode, RunState, INVALID_GENERATION};
use bytes::Bytes;
use credits::Credits;
use ctdb_wire::flags::capability::{LMASTER, RECMASTER};
use ctdb_wire::types::{SrvidMessage, Uptime, VnnMap};
use ctdb_wire::{srvid, ControlRequest, Encode, MessagePayload, Opcode, Text};
use history::History;
use leader::Incomplete;
use leader::Phase;
use lock::Lock;
use recmode::Recmode;
use recovery::Run;
use std::collections::BTreeMap;
use std::time::Duration;
use timer::Timer;
use watch::Watched;

/// The controls it answers.
const CONTROLS: &[Opcode] = &[
    Opcode::GetVnnMap,
    Opcode::SetVnnMap,
    Opcode::GetRecmode,
    Opcode::SetRecmode,
    Opcode::GetPnn,
    Opcode::Startup,
    Opcode::ModifyFlags,
    Opcode::Uptime,
    Opcode::StartRecovery,
    Opcode::EndRecovery,
    Opcode::ReloadNodesFile,
    Opcode::GetCapabilities,
    Opcode::RecdPing,
    Opcode::GetNodemap,
    Opcode::RecdReclockLatency,
    Opcode::GetReclockFile,
    Opcode::StopNode,
    Opcode::ContinueNode,
    Opcode::SetLmasterRole,
    Opcode::SetRecmasterRole,
    Opcode::SetBanState,
    Opcode::GetBanState,
    Opcode::GetRunstate,
    Opcode::GetNodesFile,
    Opcode::DisableNode,
    Opcode::EnableNode,
];

/// The messages it listens to, besides the records of its recovery.
const MESSAGES: &[u64] = &[
    srvid::BANNING,
    srvid::ELECTION,
    srvid::LEADER,
    srvid::SET_NODE_FLAGS,
    srvid::MEM_DUMP,
    srvid::PUSH_NODE_FLAGS,
    srvid::RELOAD_NODES,
    srvid::DISABLE_RECOVERIES,
];

/// The cluster service.
#[derive(Debug)]
pub struct Cluster {
    timing: Timing,
    me: Pnn,
    /// What is published after every turn.
    view: ClusterView,
    /// Shutdown has begun.
    stopping: bool,
    started: Time,
    last_started: Option<WallTime>,
    last_finished: Option<WallTime>,

    phase: Phase,
    lock: Lock,
    /// Since when this node has been fit to lead.
    priority_time: WallTime,

    recmode: Recmode,
    /// Request to freeze all databases because this node is inactive.
    freezing: Option<u32>,
    /// It succeeded since the node became inactive.
    frozen: bool,
    /// Length in seconds of the ban in force.
    ban: Option<u32>,
    /// Periodic checks before the first recovery.
    waited_checks: u32,
    /// Since when this leader's cluster, which has no lock, is not complete.
    incomplete: Option<Incomplete>,
    /// Keepalive intervals without a packet, by node.
    dead_counts: Vec<u32>,

    watched: BTreeMap<Pnn, Watched>,
    /// Why a node that disagrees about the map wants a recovery.
    watch_complaint: Option<String>,
    credits: Credits,
    /// DISABLE_RECOVERIES is in force.
    suspended: bool,
    history: History,
    run: Option<Run>,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster::new(Timing::default())
    }
}

impl Cluster {
    /// A cluster service with these waiting times.
    pub fn new(timing: Timing) -> Cluster {
        Cluster {
            timing,
            me: 0,
            view: ClusterView {
                pnn: 0,
                nodes: Vec::new(),
                generation: INVALID_GENERATION,
                vnnmap: Vec::new(),
                recovery_mode: RecoveryMode::Active,
                leader: None,
                run_state: RunState::Unknown,
            },
            stopping: false,
            started: Time::default(),
            last_started: None,
            last_finished: None,
            phase: Phase::Starting,
            lock: Lock::Free,
            priority_time: WallTime::default(),
            recmode: Recmode::default(),
            freezing: None,
            frozen: false,
            ban: None,
            waited_checks: 0,
            incomplete: None,
            dead_counts: Vec::new(),
            watched: BTreeMap::new(),
            watch_complaint: None,
            credits: Credits::default(),
            suspended: false,
            history: History::default(),
            run: None,
        }
    }

    /// Whether this node holds the cluster lock.
    pub fn holds_lock(&self) -> bool {
        self.lock.is_held()
    }

    /// Whether it runs a recovery.
    pub fn is_recovering(&self) -> bool {
        self.run.is_some()
    }

    /// Lets the other services, and what is sent in this turn, see the view as it is now.
    fn publish(&mut self, env: &mut Env<'_>) {
        if self.view != *env.view() {
            env.publish(self.view.clone());
        }
    }

    fn packet(&mut self, env: &mut Env<'_>, packet: Packet) {
        let to = ReplyTo::of(&packet);
        let source = packet.src.node;
        match &packet.body {
            Body::Control(control) => self.control(env, to, control),
            Body::ControlReply(reply) => self.reply(env, &packet, reply),
            Body::Message { srvid, data } => self.message(env, source, *srvid, data),
            Body::Keepalive { version, uptime } => {
                self.keepalive_received(env, source, *version, *uptime);
            }
            Body::Local(Local::ForceRecovery { reason }) => {
                self.activate_recovery_mode(env, reason);
            }
            Body::Local(Local::StartupDone) => self.startup_done(env),
            other => log::debug!("cluster service got {other:?}"),
        }
    }

    fn reply(&mut self, env: &mut Env<'_>, packet: &Packet, reply: &ControlReply) {
        let (reqid, ok) = (packet.reqid, reply.status == 0);
        if let Some(run) = self.run.as_mut() {
            if run.reply(packet, env) {
                return self.run_changed(env);
            }
        }
        let _ = self.databases_left(env, reqid, ok)
            || self.databases_frozen(reqid, ok)
            || self.lock_compared(env, reqid, reply)
            || self.watch_reply(env, packet);
    }

    fn control(&mut self, env: &mut Env<'_>, to: ReplyTo, control: &Control) {
        let request = Opcode::from_u32(control.opcode)
            .ok_or_else(|| "unknown control".to_string())
            .and_then(|op| ControlRequest::decode(op, &control.data).map_err(|e| e.to_string()));
        match request {
            Ok(request) => {
                if let Some(reply) = self.answer(env, to, request) {
                    env.reply(&to, reply);
                }
            }
            Err(why) => {
                log::info!("malformed control {} from {:?}: {why}", control.opcode, to.endpoint);
                env.reply(&to, ControlReply::status(-1));
            }
        }
    }

    /// The reply to a control; None: it comes later, or has been sent.
    fn answer(
        &mut self,
        env: &mut Env<'_>,
        to: ReplyTo,
        request: ControlRequest<'_>,
    ) -> Option<ControlReply> {
        let ok = ControlReply::status(0);
        Some(match request {
            ControlRequest::GetVnnMap => {
                let (generation, map) = (self.view.generation, self.view.vnnmap.clone());
                ControlReply::data(VnnMap { generation, map }.to_vec())
            }
            ControlRequest::SetVnnMap(map) => self.set_vnnmap(env, map),
            ControlRequest::GetRecmode => ControlReply::status(self.view.recovery_mode as i32),
            ControlRequest::SetRecmode(mode) => {
                self.set_recmode(env, to, mode);
                return None;
            }
            ControlRequest::GetPnn => ControlReply::status(self.me as i32),
            ControlRequest::Startup => {
                log::info!("Received startup control from node {}", to.endpoint.node);
                ok
            }
            ControlRequest::ModifyFlags(change) => {
                self.modify_flags(env, to.endpoint.node, &change)
            }
            ControlRequest::Uptime => ControlReply::data(self.times(env).to_vec()),
            ControlRequest::StartRecovery => {
                self.start_recovery(env, to);
                return None;
            }
            ControlRequest::EndRecovery => {
                self.end_recovery(env, to);
                return None;
            }
            ControlRequest::ReloadNodesFile => self.reload_nodes(env),
            ControlRequest::GetCapabilities => ControlReply::data(self.capabilities().to_vec()),
            ControlRequest::RecdPing => ok,
            ControlRequest::GetNodemap => ControlReply::data(self.node_map().to_vec()),
            ControlRequest::RecdReclockLatency(seconds) => self.reclock_latency(env, seconds),
            ControlRequest::GetReclockFile => {
                let lock = env.config().cluster_lock.clone().map(Text::from);
                ControlReply::data(lock.to_vec())
            }
            ControlRequest::StopNode => self.stop_node(env),
            ControlRequest::ContinueNode => self.continue_node(env),
            ControlRequest::SetLmasterRole(on) => self.set_role(env, LMASTER, on != 0),
            ControlRequest::SetRecmasterRole(on) => self.set_role(env, RECMASTER, on != 0),
            ControlRequest::SetBanState(ban) => self.set_ban_state(env, &ban),
            ControlRequest::GetBanState => ControlReply::data(self.ban_state().to_vec()),
            ControlRequest::GetRunstate => {
                ControlReply::data((self.view.run_state as u32).to_vec())
            }
            ControlRequest::GetNodesFile => self.nodes_file(env),
            ControlRequest::DisableNode => self.disable_node(env),
            ControlRequest::EnableNode => self.enable_node(env),
            _ => ControlReply::status(-1),
        })
    }

    fn capabilities(&self) -> u32 {
        self.view.nodes.get(self.me as usize).map_or(0, |node| node.capabilities)
    }

    /// SET_LMASTERROLE, SET_RECMASTERROLE.
    fn set_role(&mut self, env: &mut Env<'_>, bit: u32, on: bool) -> ControlReply {
        let old = self.capabilities();
        self.learn_capabilities(self.me, if on { old | bit } else { old & !bit });
        self.publish(env);
        self.hint_leader(env);
        self.review_leadership(env);
        ControlReply::status(0)
    }

    fn times(&self, env: &Env<'_>) -> Uptime {
        let time = |t: Option<WallTime>| t.map(election::timeval).unwrap_or_default();
        Uptime {
            current_time: election::timeval(env.wall),
            ctdbd_start_time: election::timeval(env.config().started),
            last_recovery_started: time(self.last_started),
            last_recovery_finished: time(self.last_finished),
        }
    }

    fn reclock_latency(&mut self, env: &mut Env<'_>, seconds: f64) -> ControlReply {
        let Ok(took) = Duration::try_from_secs_f64(seconds) else {
            return ControlReply::status(-1);
        };
        env.stats().reclock_recd.add(took);
        self.warn_latency(env, took, "recd reclock");
        ControlReply::status(0)
    }

    fn message(&mut self, env: &mut Env<'_>, source: Pnn, srvid: u64, data: &Bytes) {
        if let Some(run) = self.run.as_mut().filter(|run| run.wants_message(srvid)) {
            return run.message(srvid, source, data.clone());
        }
        match MessagePayload::decode(srvid, data) {
            Ok(MessagePayload::Leader(said)) => self.leader_message(env, source, said),
            Ok(MessagePayload::Election(m)) => self.election_message(env, source, &m),
            Ok(MessagePayload::Banning(pnn)) if self.is_leader() => {
                let credits = self.view.nodes.len() as u32;
                self.blame(env, pnn, credits);
            }
            Ok(MessagePayload::PushNodeFlags(change)) => self.push_node_flags(env, &change),
            Ok(MessagePayload::DisableRecoveries(m)) => self.disable_recoveries(env, &m),
            Ok(MessagePayload::MemDump(to)) => Self::report_memory(env, &to),
            Ok(MessagePayload::SetNodeFlags(_)) => {
                log::warn!("SET_NODE_FLAGS message from node {source} is obsolete");
            }
            Ok(_) => {}
            Err(e) => log::warn!("malformed message {srvid:#x} from node {source}: {e}"),
        }
    }

    /// MEM_DUMP.
    fn report_memory(env: &mut Env<'_>, to: &SrvidMessage) {
        let report = format!("{} bytes in use\n", env.ports.memory_used());
        if to.srvid != 0 {
            env.message(to.pnn, to.srvid, report.into_bytes());
        }
    }

    fn timer(&mut self, env: &mut Env<'_>, timer: Timer) {
        match timer {
            Timer::Check => self.check(env),
            Timer::Announce => self.announce(env),
            Timer::Leader => self.leader_timeout(env),
            Timer::Start => self.start_election(env),
            Timer::LockRetry => self.retry_lock(env),
            Timer::Election => self.election_ended(env),
            Timer::Candidacy => self.answer_challenge(env),
            Timer::Keepalive => self.keepalives(env),
            Timer::Ban => self.ban_expired(env),
            Timer::Reenable => self.suspension_over(env),
            // It begins at the end of the turn.
            Timer::Recovery => {}
            Timer::Run => {
                if let Some(run) = self.run.as_mut() {
                    run.tick(env);
                }
            }
            Timer::Push => self.push_records(env),
        }
    }
}

impl Service for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn endpoint(&self) -> u32 {
        endpoint::CLUSTER
    }

    fn matches(&self, command: Command) -> bool {
        match command {
            Command::Control(opcode) => {
                Opcode::from_u32(opcode).is_some_and(|op| CONTROLS.contains(&op))
            }
            Command::Message(srvid) => {
                MESSAGES.contains(&srvid)
                    || self.run.as_ref().is_some_and(|run| run.wants_message(srvid))
            }
            Command::Keepalive => true,
            Command::Record | Command::Tunnel => false,
        }
    }

    fn init(&mut self, env: &mut Env<'_>) -> Result<(), String> {
        self.prepare(env)
    }

    fn activate(&mut self, env: &mut Env<'_>) {
        self.begin(env);
    }

    fn deactivate(&mut self, env: &mut Env<'_>) {
        self.stop(env);
    }

    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        match event {
            Event::Packet(packet) => self.packet(env, packet),
            Event::Timer(token) => {
                if let Some(timer) = Timer::of(token) {
                    self.timer(env, timer);
                }
            }
            Event::LinkUp(pnn) => self.link_up(env, pnn),
            Event::LinkDown(pnn) => self.link_down(env, pnn),
            Event::News(News::ClusterLock(event)) => self.lock_event(env, event),
            _ => return,
        }
        self.run_changed(env);
        self.consider_recovery(env);
        self.publish(env);
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
