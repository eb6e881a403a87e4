// SPDX-License-Identifier: GPL-3.0-or-later
//! What a message hop and a control cost the engine: `cargo test --release -p ctdb-engine -- --ignored speed`.

use super::*;
use crate::daemon::{Config, Daemon, Input};
use crate::ports::{LocalStore, LockRequest, Ports};
use crate::service::News;
use crate::sim::{services, SimStore};
use crate::time::WallTime;
use crate::tunables::Tunables;
use crate::view::NodeView;
use ctdb_wire::Opcode;
#[allow(clippy::disallowed_types)] // it measures
use std::time::Instant;

/// Ports that keep the last packet.
struct Sink {
    store: SimStore,
    sent: Option<Packet>,
    told: u64,
}

impl Ports for Sink {
    fn store(&mut self) -> &mut dyn LocalStore {
        &mut self.store
    }
    fn send_link(&mut self, _to: Pnn, packet: Packet) {
        self.sent = Some(packet);
    }
    fn link_backlog(&self, _to: Pnn) -> usize {
        0
    }
    fn reset_link(&mut self, _to: Pnn, _reason: &str) {}
    fn set_nodes(&mut self, _nodes: &[NodeView]) {}
    fn send_client(&mut self, _client: ClientId, packet: ClientPacket) {
        self.told += 1;
        std::hint::black_box(packet);
    }
    fn client_backlog(&self, _client: ClientId) -> usize {
        0
    }
    fn close_client(&mut self, _client: ClientId) {}
    fn cluster_lock(&mut self, _request: LockRequest) {}
    fn process_exists(&mut self, _pid: u32) -> bool {
        true
    }
    fn read_nodes(&mut self) -> Result<Vec<NodeView>, String> {
        Ok(Vec::new())
    }
    fn daemon_pid(&self) -> u32 {
        1
    }
    fn memory_used(&self) -> u64 {
        0
    }
    fn log_level(&self) -> i32 {
        0
    }
    fn set_log_level(&mut self, _level: i32) {}
    fn exit(&mut self, _code: i32) {}
}

struct Bench {
    daemon: Daemon,
    sink: Sink,
    now: Time,
}

const WALL: WallTime = WallTime(Duration::from_secs(1));

impl Bench {
    fn new() -> Bench {
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let node = |_| NodeView { address, port: 4379, flags: 1, capabilities: 0 };
        let config = Config {
            pnn: 0,
            nodes: (0..3).map(node).collect(),
            seed: 1,
            cluster_lock: None,
            leader_timeout: Duration::from_secs(5),
            can_be_leader: true,
            can_be_lmaster: true,
            start_as_stopped: false,
            start_as_disabled: false,
            version: 1,
            test_mode: false,
            started: WALL,
        };
        let mut sink = Sink { store: SimStore::new(7), sent: None, told: 0 };
        let mut daemon = Daemon::new(config, Tunables::default(), services());
        let now = Time(1_000_000_000);
        daemon.start(now, WALL, &mut sink).expect("starts");
        let mut bench = Bench { daemon, sink, now };
        for pnn in [1, 2] {
            bench.give(Input::LinkUp(pnn));
        }
        for client in 0..20 {
            let client = endpoint::FIRST_CLIENT + client;
            bench.give(Input::News(News::ClientConnected { client, pid: client }));
            for n in 0..4 {
                let srvid = u64::from(client) << 8 | n;
                let register =
                    Control { opcode: Opcode::RegisterSrvid as u32, srvid, ..Control::default() };
                bench.client(client, endpoint::CURRENT_NODE, Body::Control(register));
            }
        }
        bench
    }

    fn give(&mut self, input: Input) {
        self.daemon.handle(input, self.now, WALL, &mut self.sink);
        while self.daemon.run_local(64, self.now, WALL, &mut self.sink) {}
    }

    fn client(&mut self, client: ClientId, destnode: Pnn, body: Body) {
        let packet = ClientPacket { destnode, reqid: 7, body };
        self.give(Input::News(News::ClientPacket { client, packet }));
    }

    fn measure(&mut self, what: &str, mut f: impl FnMut(&mut Bench)) {
        const ROUNDS: u32 = 300_000;
        for _ in 0..ROUNDS / 10 {
            f(self);
        }
        #[allow(clippy::disallowed_types)]
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            f(self);
        }
        println!("{what}: {:?} each", begin.elapsed() / ROUNDS);
    }
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let mut bench = Bench::new();
    let client = endpoint::FIRST_CLIENT + 5;
    let srvid = u64::from(client) << 8 | 2;
    let data = Bytes::from_static(b"0123456789abcdef");
    let message = Body::Message { srvid, data: data.clone() };
    let body = message.clone();
    bench.measure("message of a client to another node", |b| b.client(client, 1, body.clone()));
    let body = message.clone();
    bench.measure("message of a client to its own node", |b| {
        b.client(client, endpoint::CURRENT_NODE, body.clone())
    });
    let hop = Packet {
        dst: Endpoint { node: 0, id: 0 },
        src: Endpoint { node: 1, id: client },
        reqid: 0,
        generation: 1,
        body: message,
    };
    bench.measure("message of another node to a client", |b| b.give(Input::Packet(hop.clone())));
    let ping = Body::Control(Control { opcode: Opcode::Ping as u32, ..Control::default() });
    let body = ping.clone();
    bench.measure("control to the own node, with its reply", |b| b.client(client, 0, body.clone()));
    bench.measure("control to another node, with its reply", |b| {
        b.client(client, 1, ping.clone());
        let Some(sent) = b.sink.sent.take() else { panic!("not sent") };
        b.give(Input::Packet(Packet {
            dst: sent.src,
            src: Endpoint { node: 1, id: endpoint::PROXY },
            reqid: sent.reqid,
            generation: 1,
            body: Body::ControlReply(ControlReply::status(0)),
        }));
    });
    assert!(bench.sink.told > 0);
}
