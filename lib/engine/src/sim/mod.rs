// SPDX-License-Identifier: GPL-3.0-or-later
//! The simulator: many nodes in one thread, virtual time, seeded faults.
//!
//! A [`Sim`] runs one [`Daemon`] for each node over [`SimPorts`]: TDB files in memory, links with delays and
//! resets, a cluster lock, clients that share chain locks with the daemon. Everything that happens is drawn from
//! one seed, so a failure is replayed by its seed. After each turn of a daemon the invariants of [`check`] hold,
//! or [`Sim::violation`] says which does not; a test that panics prints the seed and the last steps.
//!
//! - [`node`]: processes and their turns; [`store`]: files and locks; [`links`], [`network`]: links; [`lock`]: the cluster lock; [`ports`]: what a daemon sees
//! - [`client`]: processes on the client socket; [`user`]: those that use records by
//!   themselves; [`transactor`]: those that run transactions
//! - [`campaign`]: a seed's cluster, users and faults
//! - [`check`]: the invariants; [`oracle`]: the history of each record; [`ledger`]: that of a persistent database

pub mod campaign;
mod check;
mod client;
mod ledger;
mod links;
mod lock;
mod network;
mod node;
mod oracle;
mod ports;
mod store;
mod trace;
mod transactor;
mod user;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;

pub use check::Violation;
pub use client::Client;
pub use ledger::Ledger;
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
    transactors: BTreeMap<ClientId, transactor::Transactor>,
    ledger: Ledger,
    /// No acknowledged transaction may be lost: there is no network fault that could excuse it.
    pub strict_transactions: bool,
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
            transactors: BTreeMap::new(),
            ledger: Ledger::default(),
            strict_transactions: true,
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
            What::ClientWakes(client) => {
                self.client_wakes(client);
                self.transactor_wakes(client);
            }
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

    // ---- checks --------------------------------------------------------------------------------

    fn check_changes(&mut self, node: Pnn) {
        let changes = std::mem::take(&mut self.nodes[node as usize].ports.store.changes);
        for change in &changes {
            self.check.change(node, change);
            if change.cause == Cause::Daemon && change.new.is_none() {
                // Vacuuming: a copy goes because the owner has deleted the record. The owner's goes last.
                let copy = change.old.as_deref().and_then(check::header);
                if copy.is_some_and(|h| h.dmaster != node) {
                    self.oracle.copy_deleted(node, &(change.db, change.key.clone()));
                }
            }
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
        if before != self.check.generation(node) {
            self.new_generation(node);
        }
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

    /// What became of transactions.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
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
