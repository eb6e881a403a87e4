// SPDX-License-Identifier: GPL-3.0-or-later
//! Several nodes in one thread: database services with stand-ins for the other services, first-in first-out
//! links, virtual time.

use super::store::MemStore;
use crate::database::record::{join, split};
use crate::database::{Database, Db};
use crate::env::Env;
use crate::hash::database_id;
use crate::packet::{
    endpoint, Body, Call, ClientId, Control, ControlReply, DbId, Endpoint, Local, Packet, Pnn,
};
use crate::ports::{ClientPacket, LocalStore, LockRequest, Ports};
use crate::service::{Command, Event, Service};
use crate::time::{Time, WallTime};
use crate::view::{flags, ClusterView, NodeView, RecoveryMode, RunState};
use crate::{Config, Daemon, Input, Tunables};
use bytes::Bytes;
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{LtdbHeader, PulldbExt, RecBuffer, RecData, Transdb};
use ctdb_wire::{Decode, Encode};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

pub const CLIENT: ClientId = endpoint::FIRST_CLIENT;
pub const GENERATION: u32 = 100;
/// A control of the stand-in for the cluster service: publish the prepared view.
const PUBLISH: u32 = 250;
pub const RECOVERY_SRVID: u64 = 0xF001_0000_0000_0001;

/// What the stand-ins saw.
#[derive(Default)]
pub struct Seen {
    /// Replies to clients: (client, reqid, status, data).
    pub replies: Vec<(ClientId, u32, i32, Bytes)>,
    /// Replies to controls of the proxy or the cluster service, by reqid.
    pub answers: BTreeMap<u32, ControlReply>,
    /// Messages delivered to local clients.
    pub delivered: Vec<(u64, Bytes)>,
    /// Reasons of forced recoveries.
    pub forced: Vec<String>,
    /// Messages with the records of pulls.
    pub pulled: Vec<Bytes>,
    view: Option<ClusterView>,
}

struct StandIn {
    endpoint: u32,
    seen: Rc<RefCell<Seen>>,
}

impl Service for StandIn {
    fn name(&self) -> &'static str {
        "stand-in"
    }
    fn endpoint(&self) -> u32 {
        self.endpoint
    }
    fn matches(&self, command: Command) -> bool {
        self.endpoint == endpoint::CLUSTER
            && matches!(command, Command::Control(PUBLISH) | Command::Message(RECOVERY_SRVID))
    }
    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        let Event::Packet(packet) = event else { return };
        let mut seen = self.seen.borrow_mut();
        match packet.body {
            Body::Control(_) => {
                if let Some(view) = seen.view.take() {
                    env.publish(view);
                }
            }
            Body::CallReply { status, data } => {
                seen.replies.push((packet.dst.id, packet.reqid, status, data))
            }
            Body::ControlReply(reply) => drop(seen.answers.insert(packet.reqid, reply)),
            Body::Local(Local::Deliver { srvid, data }) => seen.delivered.push((srvid, data)),
            Body::Local(Local::ForceRecovery { reason }) => seen.forced.push(reason),
            Body::Message { data, .. } => seen.pulled.push(data),
            _ => {}
        }
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[derive(Default)]
pub struct TestPorts {
    pub store: MemStore,
    sent: Vec<(Pnn, Packet)>,
    pub backlog: usize,
    pub client_backlog: usize,
}

impl Ports for TestPorts {
    fn store(&mut self) -> &mut dyn LocalStore {
        &mut self.store
    }
    fn send_link(&mut self, to: Pnn, packet: Packet) {
        self.sent.push((to, packet));
    }
    fn link_backlog(&self, _to: Pnn) -> usize {
        self.backlog
    }
    fn reset_link(&mut self, _to: Pnn, _reason: &str) {}
    fn set_nodes(&mut self, _nodes: &[NodeView]) {}
    fn send_client(&mut self, _client: ClientId, _packet: ClientPacket) {}
    fn client_backlog(&self, _client: ClientId) -> usize {
        self.client_backlog
    }
    fn close_client(&mut self, _client: ClientId) {}
    fn cluster_lock(&mut self, _request: LockRequest) {}
    fn process_exists(&mut self, _pid: u32) -> bool {
        false
    }
    fn read_nodes(&mut self) -> Result<Vec<NodeView>, String> {
        Err("none".to_owned())
    }
    fn daemon_pid(&self) -> u32 {
        1
    }
    fn memory_used(&self) -> u64 {
        0
    }
    fn log_level(&self) -> i32 {
        2
    }
    fn set_log_level(&mut self, _level: i32) {}
    fn exit(&mut self, _code: i32) {}
}

pub struct Node {
    pub daemon: Daemon,
    pub ports: TestPorts,
    pub seen: Rc<RefCell<Seen>>,
    pub up: bool,
}

/// See the module.
pub struct World {
    pub nodes: Vec<Node>,
    pub now: Time,
    links: BTreeMap<(Pnn, Pnn), VecDeque<Packet>>,
    /// Links whose packets wait.
    pub stalled: Vec<(Pnn, Pnn)>,
    /// Every packet that was delivered, as text.
    pub trace: Vec<String>,
    reqid: u32,
    back: VecDeque<Packet>,
}

/// What a daemon is started with.
pub fn config(pnn: Pnn, nodes: Vec<NodeView>) -> Config {
    Config {
        pnn,
        nodes,
        seed: 1,
        cluster_lock: None,
        leader_timeout: Duration::from_secs(5),
        can_be_leader: true,
        can_be_lmaster: true,
        start_as_stopped: false,
        start_as_disabled: false,
        version: 0x0004_0019,
        test_mode: true,
        started: WallTime::default(),
    }
}

/// A record as tests name it: rsn, dmaster, flags, data.
pub type Record = (u64, Pnn, u32, Vec<u8>);

impl World {
    pub fn new(count: usize) -> World {
        World::with(count, &[], Tunables::default())
    }

    pub fn with(count: usize, persistent: &[&str], tunables: Tunables) -> World {
        let node = NodeView {
            address: std::net::IpAddr::from([10, 0, 0, 1]),
            port: 4379,
            flags: 0,
            capabilities: 3,
        };
        let nodes: Vec<NodeView> = vec![node; count];
        let mut world = World {
            nodes: Vec::new(),
            now: Time(1_000_000_000),
            links: BTreeMap::new(),
            stalled: Vec::new(),
            trace: Vec::new(),
            reqid: 1_000_000,
            back: VecDeque::new(),
        };
        for pnn in 0..count as Pnn {
            let seen = Rc::new(RefCell::new(Seen::default()));
            let stand_in = |endpoint| Box::new(StandIn { endpoint, seen: seen.clone() });
            let services: Vec<Box<dyn Service>> = vec![
                Box::<Database>::default(),
                stand_in(endpoint::CLUSTER),
                stand_in(endpoint::PROXY),
            ];
            let config = config(pnn, nodes.clone());
            let mut daemon = Daemon::new(config, tunables.clone(), services);
            let mut ports = TestPorts::default();
            ports.store.names = persistent.iter().map(|n| (*n).to_owned()).collect();
            daemon.start(world.now, WallTime::default(), &mut ports).expect("starts");
            world.nodes.push(Node { daemon, ports, seen, up: true });
        }
        world.run();
        for pnn in 0..count as Pnn {
            world.publish(pnn, |view| {
                view.generation = GENERATION;
                view.vnnmap = (0..count as Pnn).collect();
                view.recovery_mode = RecoveryMode::Normal;
                view.run_state = RunState::Running;
            });
        }
        if persistent.is_empty() {
            for pnn in 0..count as Pnn {
                let to = world.local(pnn, Local::LeaveRecovery { generation: GENERATION });
                world.run();
                assert_eq!(world.answer(pnn, to).status, 0);
            }
        }
        world
    }

    /// Changes what a node knows of the cluster.
    pub fn publish(&mut self, pnn: Pnn, change: impl FnOnce(&mut ClusterView)) {
        let node = &self.nodes[pnn as usize];
        let mut view = node.daemon.view().clone();
        change(&mut view);
        node.seen.borrow_mut().view = Some(view);
        self.inject(
            pnn,
            endpoint::PROXY,
            0,
            Body::Control(Control { opcode: PUBLISH, ..Control::default() }),
        );
    }

    fn inject(&mut self, pnn: Pnn, from: u32, reqid: u32, body: Body) {
        let packet = Packet {
            dst: Endpoint { node: pnn, id: endpoint::DATABASE },
            src: Endpoint { node: pnn, id: from },
            reqid,
            generation: 0,
            body,
        };
        self.input(pnn, Input::Packet(packet));
    }

    pub fn input(&mut self, pnn: Pnn, input: Input) {
        let node = &mut self.nodes[pnn as usize];
        node.daemon.handle(input, self.now, WallTime::default(), &mut node.ports);
    }

    pub fn next_reqid(&mut self) -> u32 {
        self.reqid += 1;
        self.reqid
    }

    /// A command of another service.
    pub fn local(&mut self, pnn: Pnn, command: Local) -> u32 {
        let reqid = self.next_reqid();
        self.inject(pnn, endpoint::CLUSTER, reqid, Body::Local(command));
        reqid
    }

    /// A client's call; nothing else happens yet.
    pub fn send_call(
        &mut self,
        pnn: Pnn,
        client: ClientId,
        db: DbId,
        key: &str,
        callid: u32,
        flags: u32,
    ) -> u32 {
        let reqid = self.next_reqid();
        let key = Bytes::copy_from_slice(key.as_bytes());
        let call = Call { flags, db, callid, hopcount: 0, key, data: Bytes::new() };
        self.inject(pnn, client, reqid, Body::Call(call));
        reqid
    }

    /// A client's NULL call, until all is quiet; the status.
    pub fn migrate(&mut self, pnn: Pnn, db: DbId, key: &str) -> i32 {
        let reqid = self.send_call(pnn, CLIENT, db, key, 0xFF00_0001, 1);
        self.run();
        self.reply(pnn, reqid).expect("the call is answered").0
    }

    /// A client does as smbd does: migrate until owner, then store under the chain lock.
    pub fn client_write(&mut self, pnn: Pnn, db: DbId, key: &str, data: &str) {
        for _ in 0..10 {
            if let Some((rsn, dmaster, flags, _)) = self.record(pnn, db, key) {
                if dmaster == pnn && flags & 0x0100_0000 == 0 {
                    let header = LtdbHeader { rsn, dmaster, reserved1: 0, flags };
                    return self.plant(pnn, db, key, header, data);
                }
            }
            assert_eq!(self.migrate(pnn, db, key), 0);
        }
        panic!("the record does not stay");
    }

    /// Puts a record into a file behind the daemon's back.
    pub fn plant(&mut self, pnn: Pnn, db: DbId, key: &str, header: LtdbHeader, data: &str) {
        let file = self.nodes[pnn as usize].ports.store.files.get_mut(&db).expect("attached");
        file.content.insert(key.as_bytes().to_vec(), join(&header, data.as_bytes()));
        file.seqnum += 1;
    }

    /// The reply to a client's call.
    pub fn reply(&self, pnn: Pnn, reqid: u32) -> Option<(i32, Bytes)> {
        let seen = self.nodes[pnn as usize].seen.borrow();
        let mut replies = seen.replies.iter().filter(|r| r.1 == reqid);
        let reply = replies.next().map(|r| (r.2, r.3.clone()));
        assert!(replies.next().is_none(), "two replies to one call");
        reply
    }

    /// A control from `from`'s client, or its cluster service, to `to`.
    pub fn send_control(
        &mut self,
        from: Pnn,
        client: ClientId,
        to: Pnn,
        opcode: Opcode,
        data: Vec<u8>,
    ) -> u32 {
        let service = if client == 0 { endpoint::CLUSTER } else { endpoint::PROXY };
        let control = Control {
            opcode: opcode as u32,
            client_id: client,
            data: data.into(),
            ..Control::default()
        };
        let reqid = self.next_reqid();
        let generation = self.nodes[from as usize].daemon.view().generation;
        let packet = Packet {
            dst: Endpoint { node: to, id: endpoint::BY_COMMAND },
            src: Endpoint { node: from, id: service },
            reqid,
            generation,
            body: Body::Control(control),
        };
        if from == to {
            self.input(from, Input::Packet(packet));
        } else {
            self.links.entry((from, to)).or_default().push_back(packet);
        }
        reqid
    }

    /// The answer to a control, if there is one.
    pub fn answered(&self, pnn: Pnn, reqid: u32) -> Option<ControlReply> {
        self.nodes[pnn as usize].seen.borrow().answers.get(&reqid).cloned()
    }

    pub fn answer(&self, pnn: Pnn, reqid: u32) -> ControlReply {
        self.answered(pnn, reqid).expect("the control is answered")
    }

    /// A client's control to its own node, until all is quiet.
    pub fn control(&mut self, pnn: Pnn, opcode: Opcode, data: Vec<u8>) -> ControlReply {
        let reqid = self.send_control(pnn, CLIENT, pnn, opcode, data);
        self.run();
        self.answer(pnn, reqid)
    }

    /// A control of the cluster service on `from` to each of `to`, until all is quiet.
    pub fn order(
        &mut self,
        from: Pnn,
        to: &[Pnn],
        opcode: Opcode,
        data: Vec<u8>,
    ) -> Vec<ControlReply> {
        let reqids: Vec<u32> =
            to.iter().map(|&node| self.send_control(from, 0, node, opcode, data.clone())).collect();
        self.run();
        reqids.into_iter().map(|reqid| self.answer(from, reqid)).collect()
    }

    /// Attaches everywhere, from node 0.
    pub fn attach(&mut self, name: &str) -> DbId {
        self.attach_as(name, Opcode::DbAttach)
    }

    pub fn attach_as(&mut self, name: &str, opcode: Opcode) -> DbId {
        let mut data = name.as_bytes().to_vec();
        data.push(0);
        let reply = self.control(0, opcode, data);
        assert_eq!(reply.status, 0);
        let id = database_id(name);
        assert_eq!(&reply.data[..], id.to_le_bytes());
        id
    }

    pub fn database(&self, pnn: Pnn) -> &Database {
        self.nodes[pnn as usize].daemon.service::<Database>().expect("runs")
    }

    pub fn db(&self, pnn: Pnn, id: DbId) -> &Db {
        self.database(pnn).database(id).expect("attached")
    }

    pub fn record(&self, pnn: Pnn, db: DbId, key: &str) -> Option<Record> {
        let file = self.nodes[pnn as usize].ports.store.files.get(&db)?;
        let (header, data) = split(file.content.get(key.as_bytes())?)?;
        Some((header.rsn, header.dmaster, header.flags, data.to_vec()))
    }

    /// (rsn, dmaster) of the copies on all nodes.
    pub fn copies(&self, db: DbId, key: &str) -> Vec<Option<(u64, Pnn)>> {
        let nodes = 0..self.nodes.len() as Pnn;
        nodes.map(|n| self.record(n, db, key).map(|r| (r.0, r.1))).collect()
    }

    /// A key with this lmaster.
    pub fn key_of(&self, lmaster: Pnn) -> String {
        self.keys_of(lmaster).next().expect("there is one")
    }

    pub fn keys_of(&self, lmaster: Pnn) -> impl Iterator<Item = String> {
        let view = self.nodes[0].daemon.view().clone();
        let keys = (0..10_000).map(|n| format!("key{n}"));
        keys.filter(move |key| view.lmaster(key.as_bytes()) == Some(lmaster))
    }

    pub fn forced(&self, pnn: Pnn) -> usize {
        self.nodes[pnn as usize].seen.borrow().forced.len()
    }

    /// A node dies: the others see their links go down.
    pub fn kill(&mut self, pnn: Pnn) {
        self.nodes[pnn as usize].up = false;
        self.links.retain(|(from, to), _| *from != pnn && *to != pnn);
        for other in 0..self.nodes.len() as Pnn {
            if self.nodes[other as usize].up {
                self.publish(other, |view| {
                    view.nodes[pnn as usize].flags |= flags::DISCONNECTED;
                });
                self.input(other, Input::LinkDown(pnn));
            }
        }
    }

    /// Handles everything until nothing is left that is due now.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            for pnn in 0..self.nodes.len() {
                busy |= self.step(pnn as Pnn);
            }
            for link in self.links.keys().copied().collect::<Vec<_>>() {
                busy |= self.deliver(link);
            }
            if !busy {
                return;
            }
        }
        panic!("the nodes never come to rest");
    }

    fn step(&mut self, pnn: Pnn) -> bool {
        let now = self.now;
        let node = &mut self.nodes[pnn as usize];
        if !node.up {
            return false;
        }
        let inputs = std::mem::take(&mut node.ports.store.inputs);
        let mut busy = !inputs.is_empty();
        for input in inputs {
            node.daemon.handle(input, now, WallTime::default(), &mut node.ports);
        }
        busy |= node.daemon.run_local(1, now, WallTime::default(), &mut node.ports);
        if node.daemon.next_deadline().is_some_and(|due| due <= now) {
            node.daemon.fire_timers(now, WallTime::default(), &mut node.ports);
            busy = true;
        }
        for (to, packet) in std::mem::take(&mut node.ports.sent) {
            busy = true;
            if self.nodes[to as usize].up {
                self.links.entry((pnn, to)).or_default().push_back(packet);
            }
        }
        busy
    }

    fn deliver(&mut self, link: (Pnn, Pnn)) -> bool {
        if self.stalled.contains(&link) {
            return false;
        }
        let Some(packet) = self.links.get_mut(&link).and_then(VecDeque::pop_front) else {
            return false;
        };
        self.trace.push(format!("{}->{} {}", link.0, link.1, describe(&packet)));
        self.input(link.1, Input::Packet(packet));
        true
    }

    /// Lets time pass; timers fire at their moments.
    pub fn advance(&mut self, after: Duration) {
        let end = self.now.plus(after);
        self.run();
        loop {
            let up = self.nodes.iter().filter(|n| n.up);
            let next = up.filter_map(|n| n.daemon.next_deadline()).min();
            match next.filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            self.run();
        }
        self.now = end;
    }

    /// The classic recovery of one database by `leader` over `nodes`, with the view changed as it goes.
    pub fn recover(&mut self, leader: Pnn, nodes: &[Pnn], generation: u32, db: DbId) {
        self.recover_some(leader, nodes, generation, &[db]);
    }

    /// The same for all databases of the leader.
    pub fn recover_all(&mut self, leader: Pnn, nodes: &[Pnn], generation: u32) {
        let dbs: Vec<DbId> = self.database(leader).databases().map(Db::id).collect();
        self.recover_some(leader, nodes, generation, &dbs);
    }

    fn recover_some(&mut self, leader: Pnn, nodes: &[Pnn], generation: u32, dbs: &[DbId]) {
        for &node in nodes {
            self.publish(node, |view| {
                view.generation = generation;
                view.vnnmap = nodes.to_vec();
                view.recovery_mode = RecoveryMode::Active;
            });
        }
        for &db in dbs {
            let t = Transdb { db_id: db, tid: generation }.to_vec();
            let id = db.to_vec();
            self.all_ok(leader, nodes, Opcode::DbFreeze, &id);
            self.all_ok(leader, nodes, Opcode::DbTransactionStart, &t);
            let merged = self.pull(leader, nodes, db);
            self.all_ok(leader, nodes, Opcode::WipeDatabase, &t);
            self.push(leader, nodes, db, &merged);
            self.all_ok(leader, nodes, Opcode::DbTransactionCommit, &t);
            self.all_ok(leader, nodes, Opcode::DbThaw, &id);
        }
        for &node in nodes {
            let reqid = self.local(node, Local::LeaveRecovery { generation });
            self.run();
            assert_eq!(self.answer(node, reqid).status, 0);
            self.publish(node, |view| view.recovery_mode = RecoveryMode::Normal);
            self.local(node, Local::RecoveryEnded);
        }
        self.run();
    }

    pub fn all_ok(&mut self, leader: Pnn, nodes: &[Pnn], opcode: Opcode, data: &[u8]) {
        for (node, reply) in nodes.iter().zip(self.order(leader, nodes, opcode, data.to_vec())) {
            assert_eq!(reply.status, 0, "{opcode} on node {node}");
        }
    }

    /// Pulls from all nodes and merges: the highest RSN of each key (20.2), filtered and owned by the leader
    /// (20.4).
    pub fn pull(&mut self, leader: Pnn, nodes: &[Pnn], db: DbId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let request = PulldbExt { db_id: db, lmaster: u32::MAX, srvid: RECOVERY_SRVID }.to_vec();
        let mut merged: BTreeMap<Vec<u8>, (LtdbHeader, Vec<u8>)> = BTreeMap::new();
        for &node in nodes {
            let reply = self.order(leader, &[node], Opcode::DbPull, request.clone()).remove(0);
            assert_eq!(reply.status, 0);
            let messages =
                std::mem::take(&mut self.nodes[leader as usize].seen.borrow_mut().pulled);
            let mut count = 0u32;
            for message in &messages {
                for record in RecBuffer::from_exact(message).expect("well-formed").iter() {
                    count += 1;
                    let (header, data) = split(record.data).expect("a header");
                    let old = merged.get(record.key).map_or(0, |(h, _)| h.rsn);
                    if header.rsn > old || !merged.contains_key(record.key) {
                        merged.insert(record.key.to_vec(), (header, data.to_vec()));
                    }
                }
            }
            assert_eq!(&reply.data[..], count.to_le_bytes());
        }
        merged.retain(|_, (_, data)| !data.is_empty());
        let owned = merged.into_iter().map(|(key, (mut header, data))| {
            header.dmaster = leader;
            header.flags |= 0x10000;
            (key, join(&header, &data))
        });
        owned.collect()
    }

    pub fn push(&mut self, leader: Pnn, nodes: &[Pnn], db: DbId, records: &[(Vec<u8>, Vec<u8>)]) {
        let request = PulldbExt { db_id: db, lmaster: 0, srvid: RECOVERY_SRVID + 1 }.to_vec();
        self.all_ok(leader, nodes, Opcode::DbPushStart, &request);
        for chunk in records.chunks(3) {
            let mut buffer = RecBuffer::new(db);
            for (key, data) in chunk {
                buffer.push(&RecData { reqid: 0, key, data });
            }
            for &node in nodes {
                self.send_message(leader, node, RECOVERY_SRVID + 1, buffer.to_vec());
            }
        }
        self.run();
        for reply in self.order(leader, nodes, Opcode::DbPushConfirm, db.to_vec()) {
            assert_eq!(reply.status, 0);
            assert_eq!(&reply.data[..], (records.len() as u32).to_le_bytes());
        }
    }

    pub fn send_message(&mut self, from: Pnn, to: Pnn, srvid: u64, data: Vec<u8>) {
        let packet = Packet {
            dst: Endpoint { node: to, id: endpoint::BY_COMMAND },
            src: Endpoint { node: from, id: endpoint::CLUSTER },
            reqid: 0,
            generation: 0,
            body: Body::Message { srvid, data: data.into() },
        };
        if from == to {
            self.input(from, Input::Packet(packet));
        } else {
            self.links.entry((from, to)).or_default().push_back(packet);
        }
    }

    /// The record packets in the trace, and forgets it.
    pub fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }
}

fn describe(packet: &Packet) -> String {
    match &packet.body {
        Body::Call(c) => format!("REQ_CALL hop {}", c.hopcount),
        Body::CallReply { status, .. } => format!("REPLY_CALL {status}"),
        Body::Dmaster(d) if d.reply => format!("REPLY_DMASTER rsn {}", d.rsn),
        Body::Dmaster(d) => format!("REQ_DMASTER rsn {} to {}", d.rsn, d.dmaster),
        Body::Error { .. } => "REPLY_ERROR".to_owned(),
        Body::Message { .. } => "REQ_MESSAGE".to_owned(),
        Body::Control(c) => Opcode::from_u32(c.opcode).map_or("?", Opcode::name).to_owned(),
        Body::ControlReply(r) => format!("REPLY_CONTROL {}", r.status),
        _ => "other".to_owned(),
    }
}

impl World {
    /// A client that holds the chain lock stores.
    pub fn plant_under_lock(&mut self, pnn: Pnn, db: DbId, key: &str, data: &str) {
        let (rsn, dmaster, flags, _) = self.record(pnn, db, key).expect("present");
        self.plant(pnn, db, key, LtdbHeader { rsn, dmaster, reserved1: 0, flags }, data);
    }
}

impl World {
    /// Takes what is on its way on a link, to arrive later.
    pub fn hold_back(&mut self, link: (Pnn, Pnn)) {
        self.back = self.links.remove(&link).unwrap_or_default();
        assert!(!self.back.is_empty());
    }

    /// What was held back arrives.
    pub fn give_back(&mut self, link: (Pnn, Pnn)) {
        let back = std::mem::take(&mut self.back);
        self.links.entry(link).or_default().extend(back);
    }
}

impl World {
    /// A client's control without payload, by number.
    pub fn raw_control(&mut self, pnn: Pnn, client: ClientId, opcode: u32) -> ControlReply {
        let reqid = self.next_reqid();
        let control = Control { opcode, client_id: client, ..Control::default() };
        self.inject(pnn, endpoint::PROXY, reqid, Body::Control(control));
        self.run();
        self.answer(pnn, reqid)
    }
}

impl World {
    /// SCHEDULE_FOR_DELETION as a client sends it.
    pub fn schedule(&mut self, pnn: Pnn, db: DbId, key: &str) -> i32 {
        let (rsn, dmaster, flags, _) = self.record(pnn, db, key).unwrap_or_default();
        let header = LtdbHeader { rsn, dmaster, reserved1: 0, flags };
        let request = ctdb_wire::types::KeyData { db_id: db, header, key: key.as_bytes() };
        self.control(pnn, Opcode::ScheduleForDeletion, request.to_vec()).status
    }

    /// A client deletes a record that its node owns.
    pub fn client_delete(&mut self, pnn: Pnn, db: DbId, key: &str) {
        self.client_write(pnn, db, key, "");
        assert_eq!(self.schedule(pnn, db, key), 0);
    }
}
