// SPDX-License-Identifier: GPL-3.0-or-later
//! One seed, one campaign: a cluster of some size, users with some habits, and some kinds of faults at random
//! moments; then everything is repaired, and the cluster must settle and serve everyone.
//!
//! Each seed enables only some kinds of faults, so that rare combinations get room.

use super::{services, Build, Counts, Habits, Options, Sim, Violation};
use crate::packet::{endpoint, Body, ClientId, Control, Pnn, CTRL_FLAG_NOREPLY};
use crate::rng::Rng;
use crate::time::Time;
use crate::view::flags;
use ctdb_wire::types::BanState;
use ctdb_wire::{Encode, Opcode};
use std::collections::BTreeMap;
use std::time::Duration;

/// Kinds of faults, and of what administrators do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Fault {
    KillProcess,
    MachineDeath,
    StopProcess,
    BreakLink,
    Partition,
    BlockOneWay,
    HalfOpen,
    KillClient,
    LoseLock,
    LockHangs,
    StopNode,
    BanNode,
    Recover,
    Shutdown,
}

/// All kinds.
pub const FAULTS: &[Fault] = &[
    Fault::KillProcess,
    Fault::MachineDeath,
    Fault::StopProcess,
    Fault::BreakLink,
    Fault::Partition,
    Fault::BlockOneWay,
    Fault::HalfOpen,
    Fault::KillClient,
    Fault::LoseLock,
    Fault::LockHangs,
    Fault::StopNode,
    Fault::BanNode,
    Fault::Recover,
    Fault::Shutdown,
];

/// Those after which two clusters may go on for a while, each for itself.
const EXCUSES: &[Fault] = &[
    Fault::StopProcess,
    Fault::BreakLink,
    Fault::Partition,
    Fault::BlockOneWay,
    Fault::HalfOpen,
    Fault::LoseLock,
    Fault::LockHangs,
];

/// What a campaign does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cluster.
    pub options: Options,
    /// Its users.
    pub habits: Habits,
    /// Users that work on each node.
    pub users_per_node: u32,
    /// Each node has a process that runs transactions.
    pub transactions: bool,
    /// Kinds of faults.
    pub faults: Vec<Fault>,
    /// Longest time between two faults.
    pub interval: Duration,
    /// How long faults go on.
    pub duration: Duration,
}

/// How a campaign ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Virtual time.
    pub time: Duration,
    /// Turns of daemons.
    pub steps: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// What users did.
    pub counts: Counts,
    /// Transactions that were acknowledged, and attempts whose end was not known at first.
    pub transactions: (u64, u64),
    /// What was violated.
    pub violation: Option<Violation>,
    /// The last steps, if something was violated.
    pub report: Option<String>,
}

impl Plan {
    /// The plan that a seed means.
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x5EED);
        let deletes = rng.below(3) == 0;
        let readonly = rng.below(4) == 0;
        let mut faults: Vec<Fault> = FAULTS.iter().copied().filter(|_| rng.below(3) == 0).collect();
        if rng.below(8) == 0 {
            faults.clear();
        }
        let options = Options {
            seed,
            nodes: [2, 3, 3, 3, 4, 5].get(rng.below(6) as usize).copied().unwrap_or(3),
            chains: 1 + rng.below(8) as u32,
            cluster_lock: rng.below(2) == 0,
            write_failures_permille: if rng.below(4) == 0 { 20 } else { 0 },
            link_delay: (
                Duration::from_micros(20),
                Duration::from_micros([100, 1_000, 20_000][rng.below(3) as usize]),
            ),
            ..Options::default()
        };
        let habits = Habits {
            keys: 1 + rng.below(12) as u32,
            pause: Duration::from_millis(1 + rng.below(40)),
            readonly,
            reads_percent: if readonly { 50 } else { rng.below(2) * 20 },
            deletes_percent: if deletes { 30 } else { 0 },
            long_permille: rng.below(30),
            deaths_per_10000: rng.below(3) * 10,
            ..Habits::default()
        };
        Plan {
            options,
            habits,
            users_per_node: 1 + rng.below(3) as u32,
            transactions: rng.below(2) == 0,
            faults,
            interval: Duration::from_millis(500 + rng.below(20_000)),
            duration: Duration::from_secs(60),
        }
    }

    /// Carries it out with the real services.
    pub fn run(&self) -> Outcome {
        self.run_with(Box::new(|_| services()), |_| {})
    }

    /// Carries it out with these services, after `prepare` has changed what it wants.
    pub fn run_with(&self, build: Build, prepare: impl Fn(&mut Sim)) -> Outcome {
        let mut campaign = Campaign {
            plan: self,
            sim: Sim::new(self.options.clone(), build),
            repairs: Vec::new(),
            faults: BTreeMap::new(),
        };
        let excuse = |f: &Fault| EXCUSES.contains(f);
        campaign.sim.strict_transactions = !self.faults.iter().any(excuse);
        prepare(&mut campaign.sim);
        campaign.run();
        let sim = &campaign.sim;
        Outcome {
            time: Duration::from_nanos(sim.now().0),
            steps: sim.steps(),
            faults: campaign.faults.clone(),
            counts: sim.counts(),
            transactions: (sim.ledger().committed, sim.ledger().uncertain),
            violation: sim.violation().cloned(),
            report: sim.violation().map(|_| sim.report()),
        }
    }
}

#[derive(Debug)]
enum Repair {
    Start(Pnn),
    Continue(Pnn),
    Heal,
    Admin(Pnn, Opcode, Vec<u8>),
    Disconnect(ClientId),
    LockWorks,
}

struct Campaign<'a> {
    plan: &'a Plan,
    sim: Sim,
    repairs: Vec<(Time, Repair)>,
    faults: BTreeMap<Fault, u64>,
}

/// The cluster must have settled this long after the last repair.
const SETTLES: Duration = Duration::from_secs(300);
/// Everyone must have been served within this time.
const SERVED: Duration = Duration::from_secs(60);

impl Campaign<'_> {
    fn run(&mut self) {
        self.sim.start_all();
        let end = self.sim.now().plus(self.plan.duration);
        while self.sim.violation().is_none() && self.sim.now() < end {
            let pause = self.within(self.plan.interval);
            self.pass(pause);
            if !self.plan.faults.is_empty() {
                let pick = self.sim.rng().below(self.plan.faults.len() as u64) as usize;
                if let Some(&fault) = self.plan.faults.get(pick) {
                    self.inject(fault);
                }
            }
        }
        // What was done last has its effect.
        self.pass(Duration::from_secs(2));
        self.sim.note("repairing everything");
        for (_, repair) in std::mem::take(&mut self.repairs) {
            self.repair(repair);
        }
        self.sim.heal();
        self.sim.start_all();
        self.pass(Duration::from_secs(2));
        self.settle();
        self.serve();
        self.compare();
    }

    fn settle(&mut self) {
        if self.sim.violation().is_some() {
            return;
        }
        let all = self.sim.len() as usize;
        let end = self.sim.now().plus(SETTLES);
        while self.sim.violation().is_none() {
            let second = Duration::from_secs(1);
            if self.sim.run_until(second, |s| s.running().len() == all && s.is_settled()) {
                return;
            }
            if self.sim.now() > end {
                let views: Vec<String> = self.sim.running().iter().map(|n| self.show(*n)).collect();
                let what = format!("does not settle after all repairs: {}", views.join("; "));
                return self.sim.check.violated(what);
            }
            // A request of an administrator may have been on its way.
            self.sim.start_all();
            for node in self.sim.running() {
                self.repair(Repair::Admin(node, Opcode::ContinueNode, Vec::new()));
            }
        }
    }

    fn show(&self, node: Pnn) -> String {
        self.sim.view(node).map_or(String::new(), |v| {
            format!(
                "node {node}: leader {:?}, {:?}, {:?}, generation {:#x}, VNN map {:?}, flags {:?}",
                v.leader,
                v.run_state,
                v.recovery_mode,
                v.generation,
                v.vnnmap,
                v.nodes.iter().map(|n| n.flags).collect::<Vec<_>>()
            )
        })
    }

    /// Users on every node get what they want.
    fn serve(&mut self) {
        self.employ();
        self.sim.run_for(Duration::from_secs(5));
        let before: BTreeMap<ClientId, u64> =
            self.sim.users().map(|(c, _, u)| (c, u.done())).collect();
        self.sim.run_for(SERVED);
        let stuck = self.sim.users().find_map(|(c, node, user)| {
            let waits = before.get(&c) == Some(&user.done());
            waits.then(|| format!("client {c:x} of node {node} is not served: {}", user.describe()))
        });
        if let (Some(what), None) = (stuck, self.sim.violation()) {
            self.sim.check.violated(what);
        }
    }

    /// Without transactions under way, all nodes have the same persistent database.
    fn compare(&mut self) {
        self.sim.end_transactors();
        self.sim.run_for(Duration::from_secs(5));
        self.settle();
        if self.plan.transactions && self.sim.violation().is_none() {
            self.sim.check_transactions();
        }
    }

    fn within(&mut self, longest: Duration) -> Duration {
        self.sim.between((Duration::from_millis(1), longest))
    }

    /// Lets time pass, with repairs when they are due and users where there are too few.
    fn pass(&mut self, time: Duration) {
        let end = self.sim.now().plus(time);
        while self.sim.now() < end && self.sim.violation().is_none() {
            self.employ();
            self.sim.run_for(Duration::from_millis(100).min(end.since(self.sim.now())));
            let now = self.sim.now();
            let (due, later) =
                std::mem::take(&mut self.repairs).into_iter().partition(|(at, _)| *at <= now);
            self.repairs = later;
            let due: Vec<(Time, Repair)> = due;
            due.into_iter().for_each(|(_, repair)| self.repair(repair));
        }
    }

    fn employ(&mut self) {
        for node in self.sim.running() {
            let active = self.sim.view(node).is_some_and(|v| !v.is_inactive());
            let there = self.sim.users().filter(|(_, n, _)| *n == node).count() as u32;
            if active && there < self.plan.users_per_node {
                self.sim.add_user(node, self.plan.habits.clone());
            }
            if active && self.plan.transactions && !self.sim.transactor_nodes().contains(&node) {
                self.sim.add_transactor(node);
            }
        }
    }

    fn later(&mut self, longest: Duration, repair: Repair) {
        let after = self.within(longest);
        self.repairs.push((self.sim.now().plus(after), repair));
    }

    fn any_node(&mut self) -> Pnn {
        let nodes = self.sim.len();
        self.sim.rng().below(nodes.into()) as Pnn
    }

    fn two_nodes(&mut self) -> (Pnn, Pnn) {
        let a = self.any_node();
        let others = u64::from(self.sim.len().max(2) - 1);
        let step = 1 + self.sim.rng().below(others) as Pnn;
        (a, (a + step) % self.sim.len())
    }

    fn inject(&mut self, fault: Fault) {
        const MINUTE: Duration = Duration::from_secs(60);
        *self.faults.entry(fault).or_default() += 1;
        let node = self.any_node();
        let (a, b) = self.two_nodes();
        match fault {
            Fault::KillProcess => {
                self.sim.kill(node);
                self.later(Duration::from_secs(20), Repair::Start(node));
            }
            Fault::MachineDeath => {
                self.sim.machine_death(node);
                self.later(MINUTE, Repair::Start(node));
            }
            Fault::StopProcess => {
                self.sim.stop_process(node);
                let longest = if self.sim.rng().below(2) == 0 { 2 } else { 60 };
                self.later(Duration::from_secs(longest), Repair::Continue(node));
            }
            Fault::BreakLink => self.sim.break_link(a, b),
            Fault::Partition => {
                let some: Vec<Pnn> =
                    (0..self.sim.len()).filter(|_| self.sim.rng.below(2) == 0).collect();
                let others: Vec<Pnn> = (0..self.sim.len()).filter(|n| !some.contains(n)).collect();
                self.sim.partition(&some, &others);
                self.later(MINUTE, Repair::Heal);
            }
            Fault::BlockOneWay => {
                self.sim.block(a, b);
                self.later(MINUTE, Repair::Heal);
            }
            Fault::HalfOpen => {
                self.sim.block(a, b);
                self.sim.break_link(a, b);
                self.later(Duration::from_secs(10), Repair::Heal);
            }
            Fault::KillClient => {
                let clients: Vec<ClientId> = self.sim.users().map(|(c, _, _)| c).collect();
                let pick = self.sim.rng().below(clients.len() as u64) as usize;
                if let Some(&client) = clients.get(pick) {
                    self.sim.note(format!("client {client:x} is killed"));
                    self.sim.disconnect(client);
                }
            }
            Fault::LoseLock => self.sim.lose_lock(),
            Fault::LockHangs => {
                self.sim.note("the cluster lock hangs");
                self.sim.lock.hangs = true;
                self.later(Duration::from_secs(20), Repair::LockWorks);
            }
            Fault::StopNode => {
                self.admin(node, Opcode::StopNode, Vec::new());
                let back = Repair::Admin(node, Opcode::ContinueNode, Vec::new());
                self.later(MINUTE, back);
            }
            Fault::BanNode => {
                let time = 1 + self.sim.rng().below(20) as u32;
                let ban = BanState { pnn: node, time };
                self.admin(node, Opcode::SetBanState, ban.to_vec());
            }
            Fault::Recover => {
                self.admin(node, Opcode::SetRecmode, 1u32.to_vec());
            }
            Fault::Shutdown => {
                self.admin(node, Opcode::Shutdown, Vec::new());
                self.later(Duration::from_secs(20), Repair::Start(node));
            }
        }
    }

    /// A process on `node` sends it a control.
    fn admin(&mut self, node: Pnn, opcode: Opcode, data: Vec<u8>) {
        if self.sim.daemon(node).is_none() {
            return;
        }
        let client = self.sim.connect(node);
        let control = Control {
            opcode: opcode as u32,
            flags: CTRL_FLAG_NOREPLY,
            data: data.into(),
            ..Control::default()
        };
        self.sim.client_request(client, endpoint::CURRENT_NODE, Body::Control(control));
        self.later(Duration::from_secs(1), Repair::Disconnect(client));
    }

    fn repair(&mut self, repair: Repair) {
        match repair {
            Repair::Start(node) => {
                if self.sim.daemon(node).is_none() {
                    if let Err(why) = self.sim.start(node) {
                        self.sim.check.violated(format!("node {node} does not start: {why}"));
                    }
                }
            }
            Repair::Continue(node) => {
                if self.sim.daemon(node).is_some() {
                    self.sim.continue_process(node);
                }
            }
            Repair::Heal => self.sim.heal(),
            Repair::Admin(node, opcode, data) => {
                let stopped =
                    self.sim.view(node).is_some_and(|v| v.own_flags() & flags::STOPPED != 0);
                if stopped {
                    self.admin(node, opcode, data);
                }
            }
            Repair::Disconnect(client) => self.sim.disconnect(client),
            Repair::LockWorks => self.sim.lock.hangs = false,
        }
    }
}
