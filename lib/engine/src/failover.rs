// SPDX-License-Identifier: GPL-3.0-or-later
//! The failover service: public addresses and client TCP connections (`spec/failover.md 9-11`).
//!
//! No public addresses are configured yet. What a node without addresses answers is complete, and so is the
//! takeover run of such a cluster: the leader runs IPREALLOCATED on all nodes and answers those who asked, which
//! is what `ctdb stop`, `continue`, `ban`, `unban`, `disable` and `enable` wait for.

use crate::env::{Env, ReplyTo};
use crate::fanout::Fanout;
use crate::packet::{endpoint, Body, Control, ControlReply, Packet, Pnn};
use crate::service::{Command, Event, Service};
use crate::view::RunState;
use ctdb_wire::types::{DisableMessage, IfaceList, PublicIpList, SrvidMessage};
use ctdb_wire::{srvid, ControlRequest, Decode, Encode, Opcode};
use std::time::Duration;

/// The controls of this service.
pub const CONTROLS: &[u32] =
    &[44, 45, 46, 55, 56, 64, 77, 78, 88, 89, 90, 123, 124, 125, 126, 134, 137, 159, 160, 161];

/// The messages it listens to.
const MESSAGES: &[u64] = &[
    srvid::TAKEOVER_RUN,
    srvid::REBALANCE_NODE,
    srvid::DISABLE_TAKEOVER_RUNS,
    srvid::DISABLE_IP_CHECK,
];

/// Requests for a run that may wait for the next one.
pub const REQUESTS_MAX: usize = 10_000;

const TIMER_REENABLE: u64 = 1;
const TIMER_RUN: u64 = 2;
const TIMER_AGAIN: u64 = 3;

const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const NO_ADDRESS: i32 = 1;
/// How long a run disables the checks of other nodes, should its end never be heard of.
const RUN_LIMIT_S: u32 = 60;
/// A run that failed is made up for after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// A takeover run of this node, the leader.
#[derive(Debug)]
struct Run {
    asked: Vec<SrvidMessage>,
    reallocated: Fanout,
}

/// The failover service.
#[derive(Debug, Default)]
pub struct Failover {
    /// Who asked for a run and has not been answered.
    requests: Vec<SrvidMessage>,
    /// The last run failed and is due again.
    again: bool,
    run: Option<Run>,
    disabled: bool,
}

impl Service for Failover {
    fn name(&self) -> &'static str {
        "failover"
    }

    fn endpoint(&self) -> u32 {
        endpoint::FAILOVER
    }

    fn matches(&self, command: Command) -> bool {
        match command {
            Command::Control(opcode) => CONTROLS.contains(&opcode),
            Command::Message(srvid) => MESSAGES.contains(&srvid),
            Command::Record | Command::Keepalive | Command::Tunnel => false,
        }
    }

    fn deactivate(&mut self, _env: &mut Env<'_>) {
        self.disabled = true;
    }

    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        match event {
            Event::Packet(packet) => self.packet(env, packet),
            Event::LinkDown(pnn) => {
                if let Some(run) = &mut self.run {
                    run.reallocated.link_down(pnn);
                }
            }
            Event::Timer(TIMER_RUN) => {
                if let Some(run) = &mut self.run {
                    run.reallocated.tick(env.now);
                }
            }
            Event::Timer(TIMER_REENABLE) => {
                log::error!("Reenabling takeover runs after timeout");
                self.disabled = false;
            }
            Event::Timer(TIMER_AGAIN) => self.again = true,
            Event::ViewChanged { .. } => {}
            _ => return,
        }
        self.proceed(env);
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Failover {
    fn packet(&mut self, env: &mut Env<'_>, packet: Packet) {
        match &packet.body {
            Body::Control(control) => self.control(env, ReplyTo::of(&packet), control),
            Body::ControlReply(_) => {
                if let Some(run) = &mut self.run {
                    run.reallocated.reply(&packet);
                }
            }
            Body::Message { srvid, data } => self.message(env, *srvid, data),
            _ => {}
        }
    }

    // ---- controls ------------------------------------------------------------------------------

    fn control(&mut self, env: &mut Env<'_>, to: ReplyTo, control: &Control) {
        let request = Opcode::from_u32(control.opcode)
            .and_then(|op| ControlRequest::decode(op, &control.data).ok());
        let reply = match request {
            Some(request) => self.answer(env, &request),
            None => ControlReply::status(-1),
        };
        env.reply(&to, reply);
    }

    /// What a node without public addresses answers (`spec/failover.md 10, 11, 16`).
    fn answer(&self, env: &mut Env<'_>, request: &ControlRequest<'_>) -> ControlReply {
        use ControlRequest as R;
        match request {
            R::GetPublicIps => ControlReply::data(PublicIpList::default().to_vec()),
            R::GetIfaces => ControlReply::data(IfaceList::default().to_vec()),
            R::TcpClient(_)
            | R::TcpClientDisconnected(_)
            | R::TcpClientPassed(_)
            | R::TcpAdd(_)
            | R::TcpRemove(_)
            | R::TcpAddDelayedUpdate(_)
            | R::ReleaseIp(_)
            | R::ReloadPublicIps => ControlReply::status(0),
            R::TakeoverIp(ip) => ControlReply::status(if ip.pnn == env.pnn() { 0 } else { -1 }),
            R::GetTcpTickleList(_) | R::SetTcpTickleList(_) => ControlReply::status(NO_ADDRESS),
            R::StartIpreallocate => {
                if env.view().run_state >= RunState::Running {
                    env.message(env.pnn(), srvid::START_IPREALLOCATE, Vec::new());
                }
                ControlReply::status(0)
            }
            R::Ipreallocated => {
                env.message(env.pnn(), srvid::IPREALLOCATED, Vec::new());
                ControlReply::status(0)
            }
            // No address and no interface is known here.
            _ => ControlReply::status(-1),
        }
    }

    // ---- messages ------------------------------------------------------------------------------

    fn message(&mut self, env: &mut Env<'_>, srvid: u64, data: &[u8]) {
        match srvid {
            srvid::TAKEOVER_RUN => match SrvidMessage::from_exact(data) {
                Ok(request) => self.run_wanted(env, request),
                Err(why) => log::error!("Wrong size of takeover run request: {why}"),
            },
            srvid::DISABLE_TAKEOVER_RUNS => match DisableMessage::from_exact(data) {
                Ok(request) => {
                    let result = self.disable(env, request.timeout);
                    answer(env, request.pnn, request.srvid, result);
                }
                Err(why) => log::error!("Wrong size of disable request: {why}"),
            },
            srvid::DISABLE_IP_CHECK => {
                if let Ok(timeout) = u32::from_exact(data) {
                    self.disable(env, timeout);
                }
            }
            // REBALANCE_NODE: nothing to move.
            _ => {}
        }
    }

    fn disable(&mut self, env: &mut Env<'_>, timeout_s: u32) -> i32 {
        if timeout_s == 0 {
            log::error!("Reenabling takeover runs");
            env.cancel_timer(TIMER_REENABLE);
            self.disabled = false;
        } else if self.run.is_some() {
            log::error!("Unable to disable takeover runs - in progress");
            return -EAGAIN;
        } else {
            log::error!("Disabling takeover runs for {timeout_s} seconds");
            env.set_timer(TIMER_REENABLE, Duration::from_secs(timeout_s.into()));
            self.disabled = true;
        }
        own_pnn(env)
    }

    fn run_wanted(&mut self, env: &mut Env<'_>, request: SrvidMessage) {
        if !is_leader(env) {
            return;
        }
        if self.requests.len() >= REQUESTS_MAX {
            return answer(env, request.pnn, request.srvid, -ENOMEM);
        }
        self.requests.push(request);
    }

    // ---- the run -------------------------------------------------------------------------------

    /// Begins a run if one is due, ends it if it is done.
    fn proceed(&mut self, env: &mut Env<'_>) {
        if !is_leader(env) {
            // Whoever leads now makes its own run; those who asked ask again.
            self.requests.clear();
            self.again = false;
            self.run = None;
            return;
        }
        if self.run.as_ref().is_some_and(|run| run.reallocated.is_done()) {
            if let Some(run) = self.run.take() {
                self.finish(env, run);
            }
        }
        let due = !self.requests.is_empty() || self.again;
        if due && self.run.is_none() && !self.disabled {
            self.begin(env);
        }
    }

    fn begin(&mut self, env: &mut Env<'_>) {
        log::error!("Takeover run starting");
        env.cancel_timer(TIMER_AGAIN);
        self.again = false;
        self.tell_others(env, RUN_LIMIT_S);
        let limit = Duration::from_secs(3 * u64::from(env.tunables().takeover_timeout));
        let control = Control { opcode: Opcode::Ipreallocated as u32, ..Control::default() };
        let nodes = env.view().connected();
        let reallocated = Fanout::start(env, &nodes, limit, &control);
        env.set_timer(TIMER_RUN, limit);
        self.run = Some(Run { asked: std::mem::take(&mut self.requests), reallocated });
    }

    fn finish(&mut self, env: &mut Env<'_>, run: Run) {
        env.cancel_timer(TIMER_RUN);
        self.tell_others(env, 0);
        let result = match run.reallocated.first_failure() {
            None => {
                log::error!("Takeover run completed successfully");
                own_pnn(env)
            }
            Some((node, outcome)) => {
                log::error!("IPREALLOCATED failed on node {node}, {outcome:?}");
                log::error!("Takeover run unsuccessful");
                if env.tunables().enable_bans != 0 {
                    env.message(env.pnn(), srvid::BANNING, node.to_vec());
                }
                env.set_timer(TIMER_AGAIN, AGAIN);
                -1
            }
        };
        for request in run.asked {
            answer(env, request.pnn, request.srvid, result);
        }
    }

    /// The other nodes do not check their addresses meanwhile.
    fn tell_others(&self, env: &mut Env<'_>, timeout_s: u32) {
        let own = env.pnn();
        let message = DisableMessage { pnn: own, srvid: 0, timeout: timeout_s };
        for node in env.view().connected() {
            if node != own {
                env.message(node, srvid::DISABLE_TAKEOVER_RUNS, message.to_vec());
            }
        }
    }
}

fn is_leader(env: &Env<'_>) -> bool {
    env.view().leader == Some(env.pnn())
}

fn own_pnn(env: &Env<'_>) -> i32 {
    i32::try_from(env.pnn()).unwrap_or(i32::MAX)
}

/// The result of a request by message, if it is wanted.
fn answer(env: &mut Env<'_>, pnn: Pnn, srvid: u64, result: i32) {
    if srvid != 0 {
        env.message(pnn, srvid, result.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ClientId;
    use crate::sim::{services, Options, Sim};

    const REPLY: u64 = 0xCE01_0000_0000_0000;

    fn cluster(nodes: u32) -> Sim {
        let options = Options { seed: 9, nodes, ..Options::default() };
        let mut sim = Sim::new(options, |_| services());
        sim.start_all();
        assert!(sim.run_until(Duration::from_secs(60), |s| s.is_settled()));
        sim.run_for(Duration::from_secs(2));
        sim
    }

    /// A client of node 0 that waits for results by message.
    fn asker(sim: &mut Sim) -> ClientId {
        let client = sim.connect(0);
        let opcode = Opcode::RegisterSrvid as u32;
        let register = Control { opcode, srvid: REPLY, ..Control::default() };
        assert_eq!(sim.client_control(client, 0, register).map(|r| r.status), Some(0));
        client
    }

    fn send(sim: &mut Sim, client: ClientId, node: Pnn, srvid: u64, data: Vec<u8>) {
        sim.client_request(client, node, Body::Message { srvid, data: data.into() });
    }

    /// The results that arrive within a time.
    fn results(sim: &mut Sim, client: ClientId, within: Duration) -> Vec<i32> {
        sim.run_for(within);
        let mut out = Vec::new();
        while let Some(packet) = sim.client_take(client) {
            if let Body::Message { srvid: REPLY, data } = packet.body {
                out.push(i32::from_exact(&data).expect("an i32"));
            }
        }
        out
    }

    fn request() -> Vec<u8> {
        SrvidMessage { pnn: 0, srvid: REPLY }.to_vec()
    }

    fn disable(timeout: u32) -> Vec<u8> {
        DisableMessage { pnn: 0, srvid: REPLY, timeout }.to_vec()
    }

    #[test]
    fn only_the_leader_answers_a_takeover_run() {
        let mut sim = cluster(3);
        let leader = sim.view(0).and_then(|v| v.leader).expect("a leader");
        let client = asker(&mut sim);
        for node in 0..3 {
            send(&mut sim, client, node, srvid::TAKEOVER_RUN, request());
        }
        send(&mut sim, client, leader, srvid::TAKEOVER_RUN, vec![0; 15]);
        let got = results(&mut sim, client, Duration::from_secs(1));
        assert_eq!(got, [leader as i32]);
    }

    #[test]
    fn a_disabled_run_is_made_when_enabled() {
        let mut sim = cluster(3);
        let leader = sim.view(0).and_then(|v| v.leader).expect("a leader");
        let client = asker(&mut sim);
        send(&mut sim, client, leader, srvid::DISABLE_TAKEOVER_RUNS, disable(5));
        send(&mut sim, client, leader, srvid::TAKEOVER_RUN, request());
        let own = leader as i32;
        assert_eq!(results(&mut sim, client, Duration::from_secs(1)), [own]);
        assert_eq!(results(&mut sim, client, Duration::from_secs(5)), [own], "timed out");
        send(&mut sim, client, leader, srvid::DISABLE_IP_CHECK, 60u32.to_vec());
        send(&mut sim, client, leader, srvid::TAKEOVER_RUN, request());
        assert_eq!(results(&mut sim, client, Duration::from_secs(10)), []);
        send(&mut sim, client, leader, srvid::DISABLE_TAKEOVER_RUNS, disable(0));
        assert_eq!(results(&mut sim, client, Duration::from_secs(1)), [own, own]);
    }

    #[test]
    fn a_run_waits_for_a_silent_node_and_is_repeated() {
        let mut sim = cluster(3);
        let leader = sim.view(0).and_then(|v| v.leader).expect("a leader");
        let silent = (leader + 1) % 3;
        let client = asker(&mut sim);
        sim.stop_process(silent);
        send(&mut sim, client, leader, srvid::TAKEOVER_RUN, request());
        send(&mut sim, client, leader, srvid::DISABLE_TAKEOVER_RUNS, disable(5));
        if silent == 0 {
            return;
        }
        let refused = results(&mut sim, client, Duration::from_millis(200));
        assert_eq!(refused, [-EAGAIN], "in progress");
        let got = results(&mut sim, client, Duration::from_secs(40));
        assert_eq!(got, [-1]);
    }

    #[test]
    fn a_node_without_addresses_answers() {
        let mut sim = cluster(1);
        let mut ask = |opcode: Opcode, data: Vec<u8>| {
            sim.control(0, 0, opcode as u32, data).expect("a reply")
        };
        assert_eq!(ask(Opcode::GetPublicIps, vec![]), ControlReply::data(vec![0; 4]));
        assert_eq!(ask(Opcode::GetIfaces, vec![]), ControlReply::data(vec![0; 4]));
        let mut address = vec![2, 0, 0, 0, 10, 0, 0, 1];
        address.resize(28, 0);
        let connection = [address.clone(), address.clone()].concat();
        assert_eq!(ask(Opcode::TcpClient, connection.clone()).status, 0);
        assert_eq!(ask(Opcode::TcpClient, connection[1..].to_vec()).status, -1, "size");
        assert_eq!(ask(Opcode::TcpAdd, connection).status, 0);
        assert_eq!(ask(Opcode::GetTcpTickleList, address.clone()).status, 1);
        assert_eq!(ask(Opcode::GetPublicIpInfo, address.clone()).status, -1);
        let of = |pnn: u32| [pnn.to_vec(), address.clone()].concat();
        assert_eq!(ask(Opcode::TakeoverIp, of(0)).status, 0);
        assert_eq!(ask(Opcode::TakeoverIp, of(1)).status, -1);
        assert_eq!(ask(Opcode::ReleaseIp, of(1)).status, 0);
        for opcode in [Opcode::Ipreallocated, Opcode::StartIpreallocate, Opcode::ReloadPublicIps] {
            assert_eq!(ask(opcode, vec![]).status, 0);
        }
    }
}
