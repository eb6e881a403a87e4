// SPDX-License-Identifier: GPL-3.0-or-later
//! The simulator: many nodes in one thread, virtual time, seeded faults.
//!
//! A [`Sim`] runs one [`Daemon`] for each node over [`SimPorts`]: TDB files in memory, links with delays and
//! resets, a cluster lock, clients that share chain locks with the daemon. Everything that happens is drawn from
//! one seed, so a failure is replayed by its seed. After each turn of a daemon the invariants of [`check`] hold,
//! or [`Sim::violation`] says which does not; a test that panics prints the seed and the last steps.
//!
//! - [`store`]: files and locks; [`network`]: links; [`lock`]: the cluster lock; [`ports`]: what a daemon sees
//! - [`client`]: processes on the client socket; [`user`]: those that use records by themselves
//! - [`campaign`]: a seed's cluster, users and faults
//! - [`check`]: the invariants; [`oracle`]: the history of each record

pub mod campaign;
mod check;
mod client;
mod lock;
mod network;
mod oracle;
mod ports;
mod store;
mod trace;
mod user;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;

pub use check::Violation;
pub use client::Client;
pub use lock::LockService;
pub use oracle::{Counts, Oracle};
pub use ports::SimPorts;
pub use store::{Cause, Change, Content, Defect, SimStore};
pub use user::{Habits, User};

use crate::daemon::{Config, Daemon, Input};
use crate::packet::{ClientId, Packet, Pnn};
use crate::ports::{ClientPacket, LockEvent, LockRequest};
use crate::rng::Rng;
use crate::service::Service;
use crate::time::{Time, WallTime};
use crate::tunables::Tunables;
use crate::view::{ClusterView, NodeView, RecoveryMode, RunState};
use network::Network;
use ports::Deed;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use trace::{Note, Trace};

/// Makes the services of one node.
pub type Build = Box<dyn Fn(Pnn) -> Vec<Box<dyn Service>>>;

/// The services of a real daemon.
pub fn services() -> Vec<Box<dyn Service>> {
    vec![
        Box::new(crate::runtime::Runtime::default()),
        Box::new(crate::cluster::Cluster::default()),
        Box::new(crate::database::Database::default()),
        Box::new(crate::failover::Failover::default()),
        Box::new(crate::proxy::Proxy::default()),
    ]
}

/// What a simulation is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of nodes.
    pub nodes: u32,
    /// Decides everything that is random.
    pub seed: u64,
    /// Hash chains of each file: few, so that keys share them.
    pub chains: u32,
    /// Shortest and longest time a packet is on a link.
    pub link_delay: (Duration, Duration),
    /// The same between client and daemon.
    pub client_delay: (Duration, Duration),
    /// The same of a write transaction.
    pub write_delay: (Duration, Duration),
    /// Of 1000 write transactions this many fail.
    pub write_failures_permille: u64,
    /// Configures a cluster lock.
    pub cluster_lock: bool,
    /// How long the lock outlives its daemon's process, and the machine's death.
    pub lock_linger: (Duration, Duration),
    /// The tunables of all nodes.
    pub tunables: Tunables,
    /// `leader timeout`.
    pub leader_timeout: Duration,
    /// Steps kept for a failure report.
    pub trace: usize,
    /// Changes the configuration of a node before it starts.
    pub configure: fn(&mut Config),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            nodes: 3,
            seed: 1,
            chains: 5,
            link_delay: (Duration::from_micros(20), Duration::from_micros(400)),
            client_delay: (Duration::from_micros(2), Duration::from_micros(50)),
            write_delay: (Duration::from_micros(200), Duration::from_millis(20)),
            write_failures_permille: 0,
            cluster_lock: false,
            lock_linger: (Duration::from_millis(1), Duration::from_secs(2)),
            tunables: Tunables::default(),
            leader_timeout: Duration::from_secs(5),
            trace: 400,
            configure: |_| {},
        }
    }
}

/// Something that happens at a moment of virtual time.
enum What {
    /// A node's daemon takes one turn.
    Work(Pnn),
    /// A daemon's timer may be due.
    Timer(Pnn),
    Arrive {
        from: Pnn,
        to: Pnn,
        epoch: u64,
        packet: Packet,
    },
    Connect(Pnn, Pnn),
    Link {
        node: Pnn,
        peer: Pnn,
        up: bool,
    },
    /// For the daemon of this incarnation.
    Input(Pnn, u64, Input),
    Store(Pnn, u64, store::Effect),
    Lock(Pnn, u64, LockRequest),
    LockHelperEnds(Pnn, u64),
    ToClient(ClientId, ClientPacket),
    ClientClosed(ClientId),
    ClientWakes(ClientId),
    ClientGranted(ClientId),
}

struct Node {
    daemon: Option<Daemon>,
    ports: SimPorts,
    /// Counts daemon processes.
    incarnation: u64,
    /// SIGSTOP.
    stopped: bool,
    inbox: VecDeque<Input>,
    working: bool,
    timer_at: Option<Time>,
    exit_code: Option<i32>,
}

/// A simulated cluster.
pub struct Sim {
    options: Options,
    build: Build,
    now: Time,
    rng: Rng,
    sequence: u64,
    events: BTreeMap<(Time, u64), What>,
    nodes: Vec<Node>,
    network: Network,
    /// The cluster lock.
    pub lock: LockService,
    clients: BTreeMap<ClientId, Client>,
    users: BTreeMap<ClientId, User>,
    oracle: Oracle,
    next_client: ClientId,
    check: check::Check,
    trace: Trace,
    steps: u64,
}

const EPOCH: Duration = Duration::from_secs(1_700_000_000);

impl Sim {
    /// A cluster whose nodes are all down.
    pub fn new(options: Options, build: impl Fn(Pnn) -> Vec<Box<dyn Service>> + 'static) -> Sim {
        let nodes: Vec<NodeView> = (0..options.nodes).map(node_view).collect();
        let node = || Node {
            daemon: None,
            ports: SimPorts::new(options.chains, nodes.clone()),
            incarnation: 0,
            stopped: false,
            inbox: VecDeque::new(),
            working: false,
            timer_at: None,
            exit_code: None,
        };
        Sim {
            build: Box::new(build),
            now: Time(1_000_000_000),
            rng: Rng::new(options.seed),
            sequence: 0,
            events: BTreeMap::new(),
            nodes: (0..options.nodes).map(|_| node()).collect(),
            network: Network::default(),
            lock: LockService::default(),
            clients: BTreeMap::new(),
            users: BTreeMap::new(),
            oracle: Oracle::default(),
            next_client: crate::packet::endpoint::FIRST_CLIENT,
            check: check::Check::default(),
            trace: Trace::new(options.trace),
            steps: 0,
            options,
        }
    }

    // ---- time ----------------------------------------------------------------------------------

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Turns of daemons so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn wall(&self) -> WallTime {
        WallTime(EPOCH + Duration::from_nanos(self.now.0))
    }

    /// Random numbers of this simulation, for a test's own decisions.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn between(&mut self, range: (Duration, Duration)) -> Duration {
        let (low, high) = (range.0.as_nanos() as u64, range.1.as_nanos() as u64);
        Duration::from_nanos(low + self.rng.below(high.saturating_sub(low) + 1))
    }

    fn after(&mut self, delay: Duration, what: What) {
        self.at(self.now.plus(delay), what);
    }

    fn at(&mut self, time: Time, what: What) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), what);
    }

    /// Runs for this long, or until an invariant is violated.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.violation().is_none() && self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Runs until `condition`, at most for `limit`. False: it did not become true.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut condition: impl FnMut(&mut Sim) -> bool,
    ) -> bool {
        let end = self.now.plus(limit);
        loop {
            if condition(self) {
                return true;
            }
            if self.violation().is_some() || !self.step(end) {
                return false;
            }
        }
    }

    /// Makes the next thing happen, unless it is later than `end`.
    fn step(&mut self, end: Time) -> bool {
        let Some(entry) = self.events.first_entry() else { return false };
        if entry.key().0 > end {
            return false;
        }
        let ((time, _), what) = entry.remove_entry();
        self.now = self.now.max(time);
        self.happen(what);
        true
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Work(node) => self.work(node),
            What::Timer(node) => self.timer(node),
            What::Arrive { from, to, epoch, packet } => self.arrive(from, to, epoch, packet),
            What::Connect(a, b) => self.connect_link(a, b),
            What::Link { node, peer, up } => {
                let input = if up { Input::LinkUp(peer) } else { Input::LinkDown(peer) };
                self.give(node, input);
            }
            What::Input(node, incarnation, input) => {
                if self.nodes[node as usize].incarnation == incarnation {
                    self.give(node, input);
                }
            }
            What::Store(node, incarnation, effect) => self.store_effect(node, incarnation, effect),
            What::Lock(node, incarnation, request) => self.lock_request(node, incarnation, request),
            What::LockHelperEnds(node, incarnation) => self.lock.helper_ended(node, incarnation),
            What::ToClient(client, packet) => self.client_receives(client, packet),
            What::ClientClosed(client) => self.client_closed(client),
            What::ClientWakes(client) => self.client_wakes(client),
            What::ClientGranted(client) => self.client_granted(client),
        }
    }

    // ---- what a test looks at ------------------------------------------------------------------

    /// Number of nodes.
    pub fn len(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The daemon of a node, if its process runs.
    pub fn daemon(&self, node: Pnn) -> Option<&Daemon> {
        self.nodes.get(node as usize)?.daemon.as_ref()
    }

    /// The cluster as a node sees it, if its daemon runs.
    pub fn view(&self, node: Pnn) -> Option<&ClusterView> {
        self.daemon(node).map(Daemon::view)
    }

    /// The surroundings of a node's daemon.
    pub fn ports(&mut self, node: Pnn) -> &mut SimPorts {
        &mut self.nodes[node as usize].ports
    }

    /// The files of a node.
    pub fn store(&mut self, node: Pnn) -> &mut SimStore {
        &mut self.nodes[node as usize].ports.store
    }

    /// How a node's daemon ended, if it ended by itself.
    pub fn exit_code(&self, node: Pnn) -> Option<i32> {
        self.nodes[node as usize].exit_code
    }

    /// Nodes whose daemon runs.
    pub fn running(&self) -> Vec<Pnn> {
        (0..self.len()).filter(|&n| self.daemon(n).is_some()).collect()
    }

    /// The invariant that was violated.
    pub fn violation(&self) -> Option<&Violation> {
        self.check.violation()
    }

    /// Panics if an invariant was violated.
    #[track_caller]
    pub fn assert_ok(&self) {
        if let Some(violation) = self.violation() {
            panic!("{violation}");
        }
    }

    /// The seed and the last steps.
    pub fn report(&self) -> String {
        let at = self.now;
        format!("{}seed {} at {:?} after {} steps\n", self.trace, self.options.seed, at, self.steps)
    }

    /// Notes something in the trace.
    pub fn note(&mut self, text: impl Into<String>) {
        self.trace.add(self.now, None, Note::Text(text.into()));
    }

    /// Whether every running node is healthy, connected to all other running ones, and of one generation with
    /// them.
    pub fn is_settled(&self) -> bool {
        let running = self.running();
        let views: Vec<&ClusterView> = running.iter().filter_map(|n| self.view(*n)).collect();
        let Some(first) = views.first() else { return false };
        views.iter().all(|v| {
            v.recovery_mode == RecoveryMode::Normal
                && v.run_state == RunState::Running
                && v.generation == first.generation
                && v.leader.is_some()
                && running.iter().all(|n| v.flags(*n) == 0)
        })
    }

    // ---- nodes ---------------------------------------------------------------------------------

    /// Starts the daemons of all nodes that are down, at about the same time.
    pub fn start_all(&mut self) {
        for node in 0..self.len() {
            if self.daemon(node).is_none() {
                self.start(node).unwrap_or_else(|e| panic!("node {node} does not start: {e}"));
            }
        }
    }

    /// Starts the daemon of a node.
    pub fn start(&mut self, node: Pnn) -> Result<(), String> {
        let (now, wall) = (self.now, self.wall());
        let mut config = Config {
            pnn: node,
            nodes: (0..self.len()).map(node_view).collect(),
            seed: self.rng.next_u64(),
            cluster_lock: self.options.cluster_lock.then(|| "!/sim/lock".to_owned()),
            leader_timeout: self.options.leader_timeout,
            can_be_leader: true,
            can_be_lmaster: true,
            start_as_stopped: false,
            start_as_disabled: false,
            version: (4 << 16) | 17,
            test_mode: false,
            started: wall,
        };
        (self.options.configure)(&mut config);
        let mut daemon = Daemon::new(config, self.options.tunables.clone(), (self.build)(node));
        let n = &mut self.nodes[node as usize];
        n.incarnation += 1;
        n.stopped = false;
        n.inbox.clear();
        n.timer_at = None;
        n.exit_code = None;
        n.ports.deeds.clear();
        n.ports.link_bytes.clear();
        n.ports.client_packets.clear();
        n.ports.pid = 100_000 * (node + 1) + n.incarnation as u32;
        daemon.start(now, wall, &mut n.ports)?;
        n.daemon = Some(daemon);
        self.trace.add(now, Some(node), Note::Text("daemon starts".to_owned()));
        self.after_turn(node);
        for peer in 0..self.len() {
            if peer != node {
                self.reconnect(node, peer);
            }
        }
        Ok(())
    }

    /// The daemon's process dies; the machine goes on, and says so to peers and clients.
    pub fn kill(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("daemon killed".to_owned()));
        self.process_ends(node, true);
    }

    /// The whole machine dies: silence, and what was not synced is lost. [`Sim::start`] boots it again.
    pub fn machine_death(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("machine dies".to_owned()));
        let on_it: Vec<ClientId> =
            self.clients.iter().filter(|(_, c)| c.node == node).map(|(id, _)| *id).collect();
        for client in on_it {
            self.client_dies(client);
        }
        self.process_ends(node, false);
        self.nodes[node as usize].ports.store.machine_died();
        self.check_changes(node);
    }

    fn process_ends(&mut self, node: Pnn, heard: bool) {
        let n = &mut self.nodes[node as usize];
        if n.daemon.take().is_none() {
            return;
        }
        let incarnation = n.incarnation;
        n.inbox.clear();
        n.timer_at = None;
        let rng = &mut self.rng;
        n.ports.store.process_died(&mut || rng.below(2) == 0);
        self.check_changes(node);
        self.check.node_lost(node);
        self.oracle.lost(node, false);
        let linger = self.between(self.options.lock_linger);
        self.after(linger, What::LockHelperEnds(node, incarnation));
        for peer in 0..self.len() {
            if peer != node {
                let was_up = self.network.is_up(peer, node);
                self.network.set_up(node, peer, false);
                self.network.new_epoch(node, peer);
                if heard && was_up && !self.network.is_blocked(node, peer) {
                    self.link_ends(peer, node);
                }
            }
        }
        let clients: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, c)| c.node == node && c.incarnation == incarnation)
            .map(|(id, _)| *id)
            .collect();
        for client in clients {
            let notices = self.between((Duration::from_micros(10), Duration::from_millis(100)));
            self.after(notices, What::ClientClosed(client));
        }
        self.pump(node);
    }

    /// Stops the daemon's process (SIGSTOP): links stay up, nothing is done.
    pub fn stop_process(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("process stopped".to_owned()));
        self.nodes[node as usize].stopped = true;
    }

    /// Lets it go on (SIGCONT).
    pub fn continue_process(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("process continues".to_owned()));
        self.nodes[node as usize].stopped = false;
        self.schedule_work(node);
        self.schedule_timer(node);
    }

    /// Hands an input to a node's daemon.
    pub fn give(&mut self, node: Pnn, input: Input) {
        let n = &mut self.nodes[node as usize];
        if n.daemon.is_some() {
            n.inbox.push_back(input);
            self.schedule_work(node);
        }
    }

    fn schedule_work(&mut self, node: Pnn) {
        let n = &mut self.nodes[node as usize];
        if !n.working && !n.stopped {
            n.working = true;
            let delay = self.between((Duration::from_micros(1), Duration::from_micros(20)));
            self.after(delay, What::Work(node));
        }
    }

    fn work(&mut self, node: Pnn) {
        let (now, wall) = (self.now, self.wall());
        let coin = self.rng.below(2) == 0;
        let n = &mut self.nodes[node as usize];
        n.working = false;
        let Some(daemon) = n.daemon.as_mut().filter(|_| !n.stopped) else { return };
        let local = daemon.run_local(0, now, wall, &mut n.ports);
        if local && (coin || n.inbox.is_empty()) {
            daemon.run_local(1, now, wall, &mut n.ports);
        } else if let Some(input) = n.inbox.pop_front() {
            self.trace.add(now, Some(node), Note::of(&input));
            daemon.handle(input, now, wall, &mut n.ports);
        } else {
            return;
        }
        self.after_turn(node);
    }

    fn timer(&mut self, node: Pnn) {
        let (now, wall) = (self.now, self.wall());
        let n = &mut self.nodes[node as usize];
        n.timer_at = None;
        let Some(daemon) = n.daemon.as_mut().filter(|_| !n.stopped) else { return };
        daemon.fire_timers(now, wall, &mut n.ports);
        self.after_turn(node);
    }

    fn schedule_timer(&mut self, node: Pnn) {
        let n = &mut self.nodes[node as usize];
        let Some(due) = n.daemon.as_ref().and_then(Daemon::next_deadline) else { return };
        let due = due.max(self.now);
        if n.timer_at.is_none_or(|at| at > due) {
            n.timer_at = Some(due);
            self.at(due, What::Timer(node));
        }
    }

    /// Makes happen what a daemon did, and checks what must hold.
    fn after_turn(&mut self, node: Pnn) {
        self.steps += 1;
        for deed in std::mem::take(&mut self.nodes[node as usize].ports.deeds) {
            self.do_deed(node, deed);
        }
        self.pump(node);
        self.check_changes(node);
        self.check_views(node);
        self.schedule_timer(node);
        let (now, wall) = (self.now, self.wall());
        let n = &mut self.nodes[node as usize];
        let Some(daemon) = n.daemon.as_mut() else { return };
        if !n.inbox.is_empty() || daemon.run_local(0, now, wall, &mut n.ports) {
            self.schedule_work(node);
        }
    }

    fn do_deed(&mut self, node: Pnn, deed: Deed) {
        let incarnation = self.nodes[node as usize].incarnation;
        match deed {
            Deed::Send(to, packet) => self.send(node, to, packet),
            Deed::ResetLink(to, why) => {
                self.trace.add(self.now, Some(node), Note::Text(format!("resets {to}: {why}")));
                self.reset_link(node, to);
            }
            Deed::SetNodes(nodes) => {
                let deleted = crate::view::flags::DELETED;
                for (peer, _) in nodes.iter().enumerate().filter(|(_, n)| n.flags & deleted != 0) {
                    self.reset_link(node, peer as Pnn);
                }
            }
            Deed::ToClient(client, packet) => self.send_to_client(client, packet),
            Deed::CloseClient(client) => {
                self.give(node, Input::ClientGone { client });
                self.after(Duration::from_micros(5), What::ClientClosed(client));
            }
            Deed::Lock(request) => {
                let takes = self.between((Duration::from_millis(1), Duration::from_millis(200)));
                self.after(takes, What::Lock(node, incarnation, request));
            }
            Deed::Exit(code) => {
                self.trace.add(self.now, Some(node), Note::Text(format!("exits with {code}")));
                self.nodes[node as usize].exit_code = Some(code);
                self.process_ends(node, true);
            }
        }
    }

    /// Grants what is free, and carries out what the store began.
    fn pump(&mut self, node: Pnn) {
        let n = &mut self.nodes[node as usize];
        let incarnation = n.incarnation;
        let rng = &mut self.rng;
        n.ports.store.pump(&mut |choices| rng.below(choices as u64) as usize);
        for effect in std::mem::take(&mut self.nodes[node as usize].ports.store.effects) {
            let delay = match effect {
                store::Effect::WriteStarted { .. } => self.between(self.options.write_delay),
                _ => self.between((Duration::from_micros(3), Duration::from_micros(60))),
            };
            if let store::Effect::ClientGranted { client, .. } = effect {
                self.after(delay, What::ClientGranted(client));
            } else {
                self.after(delay, What::Store(node, incarnation, effect));
            }
        }
    }

    fn store_effect(&mut self, node: Pnn, incarnation: u64, effect: store::Effect) {
        if self.nodes[node as usize].incarnation != incarnation || self.daemon(node).is_none() {
            return;
        }
        let store = &mut self.nodes[node as usize].ports.store;
        let input = match effect {
            store::Effect::ChainGranted { db, chain, wait } => {
                if !store.grant_stands(db, chain, wait) {
                    return;
                }
                Input::ChainGranted { db, chain, ok: true }
            }
            store::Effect::Frozen { db, wait } => {
                if !store.freeze_stands(db, wait) {
                    return;
                }
                Input::Frozen { db, ok: true }
            }
            store::Effect::WriteStarted { ticket, durable } => {
                let fails = self.rng.below(1000) < self.options.write_failures_permille;
                let store = &mut self.nodes[node as usize].ports.store;
                let Some(outcome) = store.finish_write(ticket, fails.then_some("disk full")) else {
                    let again = store::Effect::WriteStarted { ticket, durable };
                    return self
                        .after(Duration::from_micros(200), What::Store(node, incarnation, again));
                };
                self.check_changes(node);
                if std::mem::take(&mut self.nodes[node as usize].ports.store.damaged) {
                    self.oracle.lost(node, false);
                }
                Input::WriteDone { ticket, outcome }
            }
            store::Effect::ClientGranted { .. } => return,
        };
        self.give(node, input);
    }

    fn lock_request(&mut self, node: Pnn, incarnation: u64, request: LockRequest) {
        let alive =
            self.daemon(node).is_some() && self.nodes[node as usize].incarnation == incarnation;
        if !alive && request != LockRequest::Release {
            return;
        }
        if let Some(event) = self.lock.request(node, incarnation, request) {
            self.give(node, Input::ClusterLock(event));
        }
    }

    /// Whoever holds the cluster lock loses it, and is told.
    pub fn lose_lock(&mut self) {
        if let Some((node, incarnation)) = self.lock.lose() {
            self.note(format!("node {node} loses the cluster lock"));
            let told = self.between((Duration::from_millis(1), Duration::from_millis(50)));
            let input = Input::ClusterLock(LockEvent::Lost);
            self.after(told, What::Input(node, incarnation, input));
        }
    }

    // ---- links ---------------------------------------------------------------------------------

    fn send(&mut self, from: Pnn, to: Pnn, packet: Packet) {
        if to >= self.len() || !self.network.is_up(from, to) {
            return;
        }
        *self.nodes[from as usize].ports.link_bytes.entry(to).or_default() +=
            ports::size_of(&packet);
        let delay = self.between(self.options.link_delay);
        let at = self.now.plus(delay);
        let epoch = self.network.pair(from, to).epoch;
        let direction = self.network.direction(from, to);
        let at = at.max(direction.last_arrival);
        direction.last_arrival = at;
        self.at(at, What::Arrive { from, to, epoch, packet });
    }

    fn arrive(&mut self, from: Pnn, to: Pnn, epoch: u64, packet: Packet) {
        let lost = self.network.pair(from, to).epoch != epoch;
        if !lost && self.network.is_blocked(from, to) {
            self.network.direction(from, to).stalled.push_back(packet);
            return;
        }
        let size = ports::size_of(&packet);
        if let Some(bytes) = self.nodes[from as usize].ports.link_bytes.get_mut(&to) {
            *bytes = bytes.saturating_sub(size);
        }
        if !lost && self.network.is_up(to, from) {
            self.give(to, Input::Packet(packet));
        }
    }

    /// One side closes: what is on the way is lost. The other hears of it if it can.
    fn reset_link(&mut self, node: Pnn, peer: Pnn) {
        if peer >= self.len() || peer == node || !self.network.is_up(node, peer) {
            return;
        }
        self.network.new_epoch(node, peer);
        self.link_ends(node, peer);
        if !self.network.is_blocked(node, peer) && self.network.is_up(peer, node) {
            self.link_ends(peer, node);
        }
    }

    fn link_ends(&mut self, node: Pnn, peer: Pnn) {
        self.network.set_up(node, peer, false);
        self.nodes[node as usize].ports.link_bytes.remove(&peer);
        let delay = self.between(self.options.link_delay);
        self.link_input(node, peer, false, delay);
        self.reconnect(node, peer);
    }

    fn link_input(&mut self, node: Pnn, peer: Pnn, up: bool, delay: Duration) {
        // Never before what arrived earlier on this link.
        let last = self.network.direction(peer, node).last_arrival;
        let at = self.now.plus(delay).max(last);
        self.network.direction(peer, node).last_arrival = at;
        self.at(at, What::Link { node, peer, up });
    }

    fn reconnect(&mut self, a: Pnn, b: Pnn) {
        let pair = self.network.pair(a, b);
        if !pair.connecting {
            pair.connecting = true;
            let delay = self.between((Duration::from_millis(1), Duration::from_millis(1000)));
            self.after(delay, What::Connect(a, b));
        }
    }

    fn connect_link(&mut self, a: Pnn, b: Pnn) {
        self.network.pair(a, b).connecting = false;
        let (a_up, b_up) = (self.network.is_up(a, b), self.network.is_up(b, a));
        if a_up && b_up {
            return;
        }
        let possible = [a, b].iter().all(|&n| {
            let node = &self.nodes[n as usize];
            node.daemon.is_some() && !node.stopped
        }) && !self.network.is_blocked(a, b)
            && !self.network.is_blocked(b, a);
        if !possible {
            if self.daemon(a).is_some() || self.daemon(b).is_some() {
                self.reconnect(a, b);
            }
            return;
        }
        if a_up || b_up {
            // The side that still believed in the old connection learns that it has ended.
            let (node, peer) = if a_up { (a, b) } else { (b, a) };
            return self.link_ends(node, peer);
        }
        self.network.new_epoch(a, b);
        for (node, peer) in [(a, b), (b, a)] {
            self.network.set_up(node, peer, true);
            let delay = self.between(self.options.link_delay);
            self.link_input(node, peer, true, delay);
        }
    }

    /// Resets the link between two nodes: what is on the way is lost.
    pub fn break_link(&mut self, a: Pnn, b: Pnn) {
        self.note(format!("link {a}-{b} breaks"));
        self.reset_link(a, b);
    }

    /// Stalls the direction from one node to another.
    pub fn block(&mut self, from: Pnn, to: Pnn) {
        self.note(format!("{from} -> {to} blocked"));
        self.network.block(from, to);
    }

    /// No packet passes between the two groups.
    pub fn partition(&mut self, some: &[Pnn], others: &[Pnn]) {
        for &a in some {
            for &b in others {
                self.block(a, b);
                self.block(b, a);
            }
        }
    }

    /// Opens every blocked direction.
    pub fn heal(&mut self) {
        for (from, to) in self.network.blocked() {
            self.note(format!("{from} -> {to} opens"));
            let epoch = self.network.pair(from, to).epoch;
            for packet in self.network.unblock(from, to) {
                let delay = self.between(self.options.link_delay);
                let direction = self.network.direction(from, to);
                let at = self.now.plus(delay).max(direction.last_arrival);
                direction.last_arrival = at;
                self.at(at, What::Arrive { from, to, epoch, packet });
            }
        }
    }

    /// Whether `node` believes its link to `peer` is up.
    pub fn link_is_up(&self, node: Pnn, peer: Pnn) -> bool {
        self.network.is_up(node, peer)
    }

    // ---- checks --------------------------------------------------------------------------------

    fn check_changes(&mut self, node: Pnn) {
        let changes = std::mem::take(&mut self.nodes[node as usize].ports.store.changes);
        for change in &changes {
            self.check.change(node, change);
            if change.cause != Cause::Reset {
                if let Some(value) = change.new.as_deref().filter(|v| v.len() >= 24) {
                    let name = (change.db, change.key.clone());
                    let version = user::version_of(value);
                    if self.is_left_out(node) {
                        self.oracle.left_out_with(node, &name, version);
                    } else {
                        self.oracle.stored(node, &name, version);
                    }
                }
            }
        }
        for change in changes {
            self.check_owner(change.db, &change.key);
        }
    }

    fn check_owner(&mut self, db: crate::packet::DbId, key: &[u8]) {
        let mut seats = Vec::new();
        for (pnn, node) in self.nodes.iter().enumerate() {
            if let Some(view) = node.daemon.as_ref().map(Daemon::view) {
                seats.push(check::Seat { pnn: pnn as Pnn, view, store: &node.ports.store });
            }
        }
        self.check.one_owner(db, key, &seats);
    }

    fn check_views(&mut self, node: Pnn) {
        let views: Vec<(Pnn, &ClusterView)> = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(n, d)| Some((n as Pnn, d.daemon.as_ref()?.view())))
            .collect();
        let before = self.check.generation(node);
        let (left_out, back) = self.check.views(node, &views);
        if let Some(view) = self.view(node).filter(|v| before != Some(v.generation)) {
            let (generation, map) = (view.generation, &view.vnnmap);
            let text =
                format!("generation {generation:x}, VNN map {map:?}, leader {:?}", view.leader);
            self.trace.add(self.now, Some(node), Note::Text(text));
        }
        for pnn in left_out {
            self.trace.add(self.now, Some(pnn), Note::Text("is left out from now on".to_owned()));
            self.oracle.lost(pnn, true);
            for (db, key, value) in self.nodes[pnn as usize].ports.store.records() {
                let name = (db, key.to_vec());
                self.oracle.left_out_with(pnn, &name, user::version_of(value));
            }
        }
        for pnn in back {
            for (db, key, value) in self.nodes[pnn as usize].ports.store.records() {
                self.oracle.stored(pnn, &(db, key.to_vec()), user::version_of(value));
            }
        }
    }

    /// Whether a node does not belong to the cluster: what its clients do does not count.
    fn is_left_out(&self, node: Pnn) -> bool {
        self.daemon(node).is_none() || self.check.is_left_out(node)
    }

    /// What the oracle has counted.
    pub fn counts(&self) -> Counts {
        self.oracle.counts()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

fn node_view(pnn: Pnn) -> NodeView {
    let address = std::net::Ipv4Addr::new(10, 0, (pnn >> 8) as u8, pnn as u8).into();
    let flags = crate::view::flags::DISCONNECTED;
    NodeView { address, port: 4379, flags, capabilities: 0 }
}
