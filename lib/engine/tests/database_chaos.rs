// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients of all nodes use a few records as smbd does - migrate, lock the chain, read, write, delete, read
//! delegated copies - while recoveries are forced, clients die with locks held and nodes die. Whoever holds
//! a record under its chain lock sees the value that was written last (I5, I6 of spec/database.md 26), no
//! deleted value comes back (I10), and every call is answered (L2).

use bytes::Bytes;
use ctdb_engine::hash::database_id;
use ctdb_engine::packet::{Body, Call, ClientId, Control, DbId, Pnn};
use ctdb_engine::ports::ClientPacket;
use ctdb_engine::sim::{services, Options, Sim};
use ctdb_engine::{Time, Tunables};
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{KeyData, LtdbHeader};
use ctdb_wire::{Decode, Encode};
use std::collections::BTreeMap;
use std::time::Duration;

const NODES: u32 = 3;
const KEYS: u64 = 6;
const NULL: u32 = 0xFF00_0001;
const FETCH: u32 = 0xFF00_0002;
const WANT_READONLY: u32 = 4;
const DELEGATIONS: u32 = 0x0100_0000;
const COPY: u32 = 0x0200_0000;
/// A call that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Idle(Time),
    Locking(u64),
    Calling {
        key: u64,
        reqid: u32,
        since: Time,
        /// What it asked for is to own the record.
        own: bool,
    },
    /// Holds the chain lock.
    Holding {
        key: u64,
        until: Time,
    },
    /// Holds the chain lock and waits for the reply to SCHEDULE_FOR_DELETION.
    Scheduling {
        key: u64,
        reqid: u32,
        since: Time,
    },
}

struct Worker {
    client: ClientId,
    node: Pnn,
    state: State,
}

struct Chaos {
    sim: Sim,
    db: DbId,
    workers: Vec<Worker>,
    /// The value written last; empty: deleted. None: lost with a node, whatever is found next counts.
    written: BTreeMap<u64, Option<Vec<u8>>>,
    stores: u64,
    reads: u64,
    copies_read: u64,
    down: Option<(Pnn, Time)>,
    /// Per cent of accesses that only look.
    readers: u64,
    /// Links broke then: until all is well again a node may have been left out, and what its clients write may be
    /// lost. Only the invariants of the simulator are checked.
    broken: Option<Time>,
}

/// CHAOS_SEEDS says how many; by default few.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let count = std::env::var("CHAOS_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    first..first + count
}

fn key_of(key: u64) -> Vec<u8> {
    format!("key{key}").into_bytes()
}

fn attach(sim: &mut Sim, node: Pnn, readonly: bool) -> DbId {
    let reply = sim.control(node, node, Opcode::DbAttach as u32, &b"chaos.tdb\0"[..]);
    assert_eq!(reply.map(|r| r.status), Some(0), "{}", sim.report());
    let db = database_id("chaos.tdb");
    if readonly {
        let reply = sim.control(node, node, Opcode::SetDbReadonly as u32, db.to_vec());
        assert_eq!(reply.map(|r| r.status), Some(0));
    }
    db
}

impl Chaos {
    fn new(seed: u64, readonly: bool) -> Chaos {
        let tunables = Tunables {
            vacuum_interval: 1,
            vacuum_fast_path_count: 3,
            rerecovery_timeout: 1,
            ..Tunables::default()
        };
        let options =
            Options { nodes: NODES, seed, tunables, cluster_lock: true, ..Options::default() };
        let mut sim = Sim::new(options, |_| services());
        sim.start_all();
        assert!(sim.run_until(Duration::from_secs(60), |s| s.is_settled()), "{}", sim.report());
        let mut db = 0;
        for node in 0..NODES {
            db = attach(&mut sim, node, readonly);
        }
        let mut workers = Vec::new();
        for n in 0..NODES * 3 {
            let node = n % NODES;
            let state = State::Idle(sim.now());
            workers.push(Worker { client: sim.connect(node), node, state });
        }
        let written = (0..KEYS).map(|key| (key, Some(Vec::new()))).collect();
        Chaos {
            sim,
            db,
            workers,
            written,
            stores: 0,
            reads: 0,
            copies_read: 0,
            down: None,
            readers: if readonly { 95 } else { 30 },
            broken: None,
        }
    }

    fn copy(&mut self, node: Pnn, key: u64) -> Option<(LtdbHeader, Vec<u8>)> {
        let value = self.sim.store(node).client_read(self.db, &key_of(key))?;
        let header = LtdbHeader::from_prefix(value).ok()?;
        Some((header, value.get(24..)?.to_vec()))
    }

    fn sees(&mut self, who: &str, node: Pnn, key: u64, value: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        let expected = self.written.get_mut(&key).expect("a key of the test");
        let known = expected.get_or_insert_with(|| value.to_vec()).clone();
        if known != value {
            let (known, value) = (String::from_utf8_lossy(&known), String::from_utf8_lossy(value));
            let copies: Vec<_> = (0..NODES).map(|n| self.copy(n, key)).collect();
            panic!(
                "{who} on node {node} sees {value:?} in key{key}, {known:?} was written last\n\
                 {copies:#?}\n{}",
                self.sim.report()
            );
        }
    }

    fn run(&mut self, time: Duration, faults: &dyn Fn(&mut Chaos)) {
        let end = self.sim.now().plus(time);
        while self.sim.now() < end {
            self.sim.run_for(Duration::from_micros(300));
            self.sim.assert_ok();
            for at in 0..self.workers.len() {
                self.step(at);
            }
            faults(self);
        }
    }

    fn step(&mut self, at: usize) {
        let now = self.sim.now();
        let Worker { client, node, state } = self.workers[at];
        if !self.sim.is_connected(client) {
            // The daemon has gone, or the process died: a new one takes its place.
            let db = self.db;
            let up = self.sim.daemon(node).is_some() && self.down.is_none_or(|d| d.0 != node);
            if up && self.sim.store(node).kind(db).is_some() {
                let client = self.sim.connect(node);
                self.workers[at] = Worker { client, node, state: State::Idle(now) };
            }
            return;
        }
        let next = match state {
            State::Idle(until) if now < until => state,
            State::Idle(_) => self.begin(client, node),
            State::Locking(key) => {
                let db = self.db;
                match self.sim.store(node).client_holds(db, &key_of(key)) == Some(client) {
                    true => self.locked(client, node, key),
                    false => state,
                }
            }
            State::Calling { key, reqid, since, own } => {
                let answered = self.take_reply(client, reqid);
                assert!(
                    answered || now.since(since) < PATIENCE,
                    "a call of node {node} for key{key} is lost\n{}",
                    self.sim.report()
                );
                match answered {
                    true if own => self.lock(client, node, key),
                    true => self.idle(),
                    false => state,
                }
            }
            State::Scheduling { key, reqid, since } => {
                assert!(now.since(since) < PATIENCE, "no reply while a lock is held");
                match self.take_reply(client, reqid) {
                    true => self.unlock(client, node, key),
                    false => state,
                }
            }
            State::Holding { until, .. } if now < until => state,
            State::Holding { key, .. } => self.unlock(client, node, key),
        };
        self.workers[at].state = next;
    }

    fn begin(&mut self, client: ClientId, node: Pnn) -> State {
        let key = self.sim.rng().below(KEYS);
        if self.sim.rng().below(100) < self.readers {
            // A reader looks without a lock; a delegated or owned copy is enough.
            if self.takes_part(node) {
                if let Some((header, value)) = self.copy(node, key) {
                    if header.flags & COPY != 0 || header.dmaster == node {
                        self.copies_read += u64::from(header.flags & COPY != 0);
                        self.sees("a reader", node, key, &value);
                        return self.idle();
                    }
                }
            }
            return self.call(client, key, FETCH, WANT_READONLY);
        }
        self.lock(client, node, key)
    }

    /// Whether what the node's files hold is still valid: it has not become inactive.
    fn takes_part(&mut self, node: Pnn) -> bool {
        self.sim.view(node).is_some_and(|view| !view.is_inactive() && view.generation != 1)
            && !self.sim.store(node).is_frozen(self.db)
    }

    fn idle(&mut self) -> State {
        let pause = self.sim.rng().below(3000);
        State::Idle(self.sim.now().plus(Duration::from_micros(pause)))
    }

    fn lock(&mut self, client: ClientId, node: Pnn, key: u64) -> State {
        let db = self.db;
        match self.sim.store(node).client_lock(client, db, &key_of(key)) {
            true => self.locked(client, node, key),
            false => State::Locking(key),
        }
    }

    fn locked(&mut self, client: ClientId, node: Pnn, key: u64) -> State {
        let now = self.sim.now();
        match self.copy(node, key) {
            Some((header, value)) if header.dmaster == node && header.flags & DELEGATIONS == 0 => {
                self.sees("the owner", node, key, &value);
                self.reads += 1;
                match self.sim.rng().below(10) {
                    0 => {}
                    1 | 2 => return self.delete(client, node, key, header),
                    _ => {
                        self.stores += 1;
                        let value = format!("value {}", self.stores).into_bytes();
                        self.store(client, node, key, header, value);
                    }
                }
                let hold = match self.sim.rng().below(20) {
                    0 => 30_000,
                    n => n * 20,
                };
                State::Holding { key, until: now.plus(Duration::from_micros(hold)) }
            }
            _ => {
                self.unlock(client, node, key);
                self.call(client, key, NULL, 1)
            }
        }
    }

    fn store(&mut self, client: ClientId, node: Pnn, key: u64, header: LtdbHeader, value: Vec<u8>) {
        let db = self.db;
        let stored = [header.to_vec(), value.clone()].concat();
        self.sim.store(node).client_store(client, db, &key_of(key), stored);
        self.written.insert(key, Some(value));
    }

    fn delete(&mut self, client: ClientId, node: Pnn, key: u64, header: LtdbHeader) -> State {
        self.store(client, node, key, header, Vec::new());
        let request = KeyData { db_id: self.db, header, key: &key_of(key) }.to_vec();
        let control = Control {
            opcode: Opcode::ScheduleForDeletion as u32,
            data: request.into(),
            ..Control::default()
        };
        let reqid = self.sim.client_request(client, node, Body::Control(control));
        State::Scheduling { key, reqid, since: self.sim.now() }
    }

    fn unlock(&mut self, client: ClientId, node: Pnn, key: u64) -> State {
        let db = self.db;
        self.sim.store(node).client_unlock(client, db, &key_of(key));
        self.idle()
    }

    fn call(&mut self, client: ClientId, key: u64, callid: u32, flags: u32) -> State {
        let key_bytes = key_of(key).into();
        let call =
            Call { flags, db: self.db, callid, hopcount: 0, key: key_bytes, data: Bytes::new() };
        let reqid = self.sim.client_request(client, 0, Body::Call(call));
        State::Calling { key, reqid, since: self.sim.now(), own: callid == NULL }
    }

    fn take_reply(&mut self, client: ClientId, reqid: u32) -> bool {
        let is_reply = |p: &ClientPacket| p.reqid == reqid && p.body.is_reply();
        self.sim.client_take_if(client, is_reply).is_some()
    }

    /// One time in `n` steps.
    fn chance(&mut self, n: u64) -> bool {
        self.sim.rng().below(n) == 0
    }

    /// `ctdb recover` on some node.
    fn force_recovery(&mut self) {
        let node = self.sim.rng().below(NODES.into()) as Pnn;
        let control = Control {
            opcode: Opcode::SetRecmode as u32,
            data: 1u32.to_vec().into(),
            ..Control::default()
        };
        if let Some(worker) = self.workers.iter().find(|w| w.node == node) {
            let client = worker.client;
            self.sim.client_request(client, node, Body::Control(control));
        }
    }

    /// A client dies, whatever it does.
    fn kill_client(&mut self) {
        let at = self.sim.rng().below(self.workers.len() as u64) as usize;
        let client = self.workers[at].client;
        self.sim.disconnect(client);
    }

    /// A daemon dies. What it owned, or what was on its way, is lost unless a copy happens to be as new.
    fn kill_node(&mut self) {
        let node = self.sim.rng().below(NODES.into()) as Pnn;
        for key in 0..KEYS {
            let others = (0..NODES).filter(|n| *n != node);
            let mut kept = false;
            for other in others {
                kept |= self.copy(other, key).is_some_and(|(h, _)| h.dmaster == other);
            }
            if !kept {
                self.written.insert(key, None);
            }
        }
        self.sim.kill(node);
        let clients: Vec<ClientId> =
            self.workers.iter().filter(|w| w.node == node).map(|w| w.client).collect();
        for client in clients {
            self.sim.disconnect(client);
        }
        let back = Duration::from_millis(1000 + self.sim.rng().below(15_000));
        self.down = Some((node, self.sim.now().plus(back)));
    }

    fn start_node(&mut self) {
        if let Some((node, _)) = self.down.take() {
            self.sim.start(node).expect("starts");
        }
    }

    /// A link is reset, or stalls in one direction for a while.
    fn break_link(&mut self) {
        let from = self.sim.rng().below(NODES.into()) as Pnn;
        let to = (from + 1 + self.sim.rng().below(u64::from(NODES) - 1) as Pnn) % NODES;
        match self.chance(3) {
            true => self.sim.block(from, to),
            false => self.sim.break_link(from, to),
        }
        self.broken = Some(self.sim.now());
    }

    /// Whether all is well again: from here on nothing that is found now may get lost.
    fn check_mended(&mut self) {
        let pairs = (0..NODES).flat_map(|a| (0..NODES).map(move |b| (a, b)));
        let mended = self.broken.is_some_and(|at| {
            self.sim.now().since(at) > Duration::from_secs(5)
                && self.sim.is_settled()
                && pairs.filter(|(a, b)| a != b).all(|(a, b)| self.sim.link_is_up(a, b))
        });
        if mended {
            self.broken = None;
            self.written.values_mut().for_each(|value| *value = None);
        }
    }

    /// Everything comes to rest and every client gets through once more.
    fn finish(&mut self) {
        self.start_node();
        self.sim.heal();
        let limit = self.sim.now().plus(Duration::from_secs(120));
        while !self.sim.is_settled() {
            assert!(self.sim.now() < limit, "{}", self.sim.report());
            self.run(Duration::from_millis(100), &|_| {});
        }
        let before = self.reads;
        self.run(Duration::from_secs(2), &|_| {});
        assert!(self.reads > before + 20, "{} {before}", self.reads);
    }
}

fn recoveries_and_dead_clients(chaos: &mut Chaos) {
    if chaos.chance(10_000) {
        chaos.force_recovery();
    }
    if chaos.chance(1000) {
        chaos.kill_client();
    }
}

#[test]
fn clients_see_what_was_written_last() {
    for seed in seeds(0) {
        let mut chaos = Chaos::new(seed, false);
        chaos.run(Duration::from_secs(10), &recoveries_and_dead_clients);
        chaos.finish();
        assert!(chaos.stores > 500, "{}", chaos.stores);
    }
}

#[test]
fn read_only_copies_are_never_stale() {
    for seed in seeds(1000) {
        let mut chaos = Chaos::new(seed, true);
        chaos.run(Duration::from_secs(10), &recoveries_and_dead_clients);
        chaos.finish();
        let counts = (chaos.stores, chaos.copies_read);
        assert!(counts.0 > 100 && counts.1 > 100, "{counts:?}");
    }
}

#[test]
fn a_dead_node_takes_only_its_own_records_along() {
    for seed in seeds(2000) {
        let mut chaos = Chaos::new(seed, true);
        chaos.run(Duration::from_secs(60), &|chaos| {
            recoveries_and_dead_clients(chaos);
            let kill = chaos.chance(30_000) && chaos.sim.is_settled();
            match chaos.down {
                Some((_, back)) if chaos.sim.now() >= back => chaos.start_node(),
                None if kill => chaos.kill_node(),
                _ => {}
            }
        });
        chaos.finish();
    }
}

/// Resets and stalls: nodes are left out and come back, packets are lost, and yet there is one owner of each
/// record in each epoch, and in the end every client gets through.
#[test]
fn links_that_break_leave_one_owner() {
    for seed in seeds(3000) {
        let mut chaos = Chaos::new(seed, true);
        chaos.readers = 50;
        chaos.run(Duration::from_secs(60), &|chaos| {
            if chaos.chance(10_000) {
                chaos.break_link();
            }
            if chaos.chance(10_000) {
                chaos.sim.heal();
            }
            if chaos.chance(1000) {
                chaos.kill_client();
            }
            chaos.check_mended();
        });
        chaos.finish();
    }
}
