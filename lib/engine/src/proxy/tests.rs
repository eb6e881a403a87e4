// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients of whole simulated clusters.

use super::*;
use crate::sim::{services, Options, Sim};
use crate::tunables::Tunables;
use ctdb_wire::types::{EchoData, NotifyData, PidSrvid};
use ctdb_wire::{Encode, Opcode};

const NODE: Pnn = endpoint::CURRENT_NODE;

fn cluster(nodes: u32) -> Sim {
    cluster_with(nodes, Tunables::default())
}

fn cluster_with(nodes: u32, tunables: Tunables) -> Sim {
    let options = Options { seed: 7, nodes, tunables, ..Options::default() };
    let mut sim = Sim::new(options, |_| services());
    sim.start_all();
    assert!(sim.run_until(Duration::from_secs(60), |s| s.is_settled()));
    sim
}

fn control(opcode: Opcode, srvid: u64, data: impl Into<Bytes>) -> Control {
    Control { opcode: opcode as u32, srvid, data: data.into(), ..Control::default() }
}

fn ask(sim: &mut Sim, client: ClientId, node: Pnn, request: Control) -> i32 {
    sim.client_control(client, node, request).expect("a reply").status
}

fn register(sim: &mut Sim, client: ClientId, srvid: u64) {
    assert_eq!(ask(sim, client, NODE, control(Opcode::RegisterSrvid, srvid, "")), 0);
}

fn message(sim: &mut Sim, client: ClientId, node: Pnn, srvid: u64, data: &'static str) {
    sim.client_request(client, node, Body::Message { srvid, data: data.into() });
}

/// The messages a client has received: address and payload.
fn messages(sim: &mut Sim, client: ClientId) -> Vec<(u64, String)> {
    sim.run_for(Duration::from_millis(20));
    let mut out = Vec::new();
    while let Some(packet) = sim.client_take(client) {
        if let Body::Message { srvid, data } = packet.body {
            assert_eq!((packet.destnode, packet.reqid), (0, 0));
            out.push((srvid, String::from_utf8_lossy(&data).into_owned()));
        }
    }
    out
}

fn texts(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(s, t)| (*s, (*t).to_owned())).collect()
}

#[test]
fn messages_reach_everyone_registered_once_for_each_registration() {
    let mut sim = cluster(3);
    let (a, b, all) = (sim.connect(0), sim.connect(1), sim.connect(1));
    register(&mut sim, b, 5);
    register(&mut sim, b, 5);
    register(&mut sim, all, srvid::ALL);
    message(&mut sim, a, 1, 5, "one");
    message(&mut sim, a, 1, 6, "two");
    assert_eq!(messages(&mut sim, b), texts(&[(5, "one"), (5, "one")]));
    let heard = messages(&mut sim, all);
    let ours: Vec<_> = heard.into_iter().filter(|(s, _)| *s < 10).collect();
    assert_eq!(ours, texts(&[(5, "one"), (6, "two")]));
    let deregister = control(Opcode::DeregisterSrvid, 5, "");
    assert_eq!(ask(&mut sim, b, NODE, deregister.clone()), 0);
    message(&mut sim, a, 1, 5, "three");
    assert_eq!(messages(&mut sim, b), texts(&[(5, "three")]));
    assert_eq!(ask(&mut sim, b, NODE, deregister.clone()), 0);
    assert_eq!(ask(&mut sim, b, NODE, deregister), 2, "ENOENT");
    message(&mut sim, a, 1, 5, "four");
    assert_eq!(messages(&mut sim, b), texts(&[]));
}

#[test]
fn a_broadcast_comes_back_to_its_sender() {
    let mut sim = cluster(3);
    let clients: Vec<ClientId> = (0..3).map(|n| sim.connect(n)).collect();
    for &c in &clients {
        register(&mut sim, c, srvid::SAMBA_PROCESS);
    }
    message(&mut sim, clients[0], endpoint::BROADCAST_CONNECTED, srvid::SAMBA_PROCESS, "hi");
    message(&mut sim, clients[0], NODE, srvid::SAMBA_PROCESS, "me");
    // One's own message is dispatched at once and overtakes the broadcast.
    let own = messages(&mut sim, clients[0]);
    assert_eq!(own.len(), 2);
    for &c in clients.iter().skip(1) {
        assert_eq!(messages(&mut sim, c), texts(&[(srvid::SAMBA_PROCESS, "hi")]));
    }
}

#[test]
fn a_message_behind_its_registration_is_lost_and_after_the_reply_not() {
    let mut sim = cluster(1);
    let c = sim.connect(0);
    sim.client_request(c, NODE, Body::Control(control(Opcode::RegisterSrvid, 9, "")));
    message(&mut sim, c, NODE, 9, "early");
    sim.run_for(Duration::from_millis(5));
    message(&mut sim, c, NODE, 9, "late");
    assert!(messages(&mut sim, c).ends_with(&texts(&[(9, "late")])));
}

#[test]
fn controls_reach_any_node_and_keep_the_clients_request_id() {
    let mut sim = cluster(3);
    let c = sim.connect(0);
    for node in 0..3 {
        assert_eq!(ask(&mut sim, c, node, control(Opcode::GetPnn, 0, "")), node as i32);
    }
    let echo = EchoData { timeout: 0, buf: b"echo" }.to_vec();
    let body = Body::Control(control(Opcode::EchoData, 0, echo.clone()));
    for reqid in [0, 77, 77, u32::MAX] {
        let packet = ClientPacket { destnode: 2, reqid, body: body.clone() };
        sim.client_send(c, packet);
    }
    sim.run_for(Duration::from_millis(20));
    for reqid in [0, 77, 77, u32::MAX] {
        let packet = sim.client_take(c).expect("a reply");
        assert_eq!(packet.reqid, reqid);
        assert_eq!(packet.body, Body::ControlReply(ControlReply::data(echo.clone())));
    }
}

fn error(sim: &mut Sim, client: ClientId, node: Pnn, request: Control) -> (i32, String) {
    let reply = sim.client_control(client, node, request).expect("a reply");
    (reply.status, reply.error)
}

#[test]
fn controls_that_cannot_be_answered_fail_with_the_known_texts() {
    let tunables = Tunables { control_timeout: 3, ..Tunables::default() };
    let mut sim = cluster_with(3, tunables);
    let c = sim.connect(0);
    let ping = control(Opcode::Ping, 0, "");
    for node in [3, 99, endpoint::UNKNOWN_PNN, 0xF000_0005] {
        let (status, text) = error(&mut sim, c, node, ping.clone());
        assert_eq!((status, text.as_str()), (-1, DISCONNECTED));
    }
    let (status, text) = error(&mut sim, c, endpoint::BROADCAST_ALL, ping.clone());
    assert!(status == -1 && !text.is_empty());
    sim.stop_process(1);
    let begin = sim.now();
    assert_eq!(error(&mut sim, c, 1, ping.clone()), (-1, TIMED_OUT.to_owned()));
    let took = sim.now().since(begin);
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(4), "{took:?}");
    sim.client_request(c, 1, Body::Control(ping.clone()));
    sim.run_for(Duration::from_millis(10));
    sim.kill(1);
    sim.run_for(Duration::from_millis(500));
    let reply = sim.client_take(c).expect("a reply");
    assert_eq!(reply.body, Body::ControlReply(ControlReply::error(LINK_LOST)));
    assert_eq!(error(&mut sim, c, 1, ping).1, DISCONNECTED);
}

#[test]
fn noreply_means_none_not_even_on_error() {
    let mut sim = cluster(2);
    let c = sim.connect(0);
    let quiet = |opcode: u32| {
        Body::Control(Control { opcode, flags: CTRL_FLAG_NOREPLY, ..Control::default() })
    };
    for node in [0, 1, 9, NODE, endpoint::BROADCAST_ALL, endpoint::UNKNOWN_PNN] {
        sim.client_request(c, node, quiet(Opcode::Ping as u32));
        sim.client_request(c, node, quiet(9999));
    }
    sim.run_for(Duration::from_secs(70));
    assert_eq!(sim.client_take(c), None);
    let proxy = sim.daemon(0).and_then(|d| d.service::<Proxy>()).expect("it runs");
    assert_eq!(proxy.pending_controls(), 0);
}

#[test]
fn unknown_and_malformed_controls_get_minus_one_without_text() {
    let mut sim = cluster(2);
    let c = sim.connect(0);
    for opcode in [2, 10, 34, 83, 136, 163, 255, 256, 4_000_000_000] {
        let reply = sim.control(0, 1, opcode, "").expect("a reply");
        assert_eq!(reply, ControlReply::status(-1), "opcode {opcode}");
    }
    let short = control(Opcode::ProcessExists, 0, "abc");
    assert_eq!(sim.client_control(c, NODE, short), Some(ControlReply::status(-1)));
}

#[test]
fn a_process_exists_while_it_is_connected() {
    let mut sim = cluster(2);
    let (c, other) = (sim.connect(0), sim.connect(1));
    let pid = sim.pid(other) as i32;
    let exists = control(Opcode::ProcessExists, 0, pid.to_vec());
    let with = |srvid| control(Opcode::CheckPidSrvid, 0, PidSrvid { pid, srvid }.to_vec());
    assert_eq!(ask(&mut sim, c, 1, exists.clone()), 0);
    assert_eq!(ask(&mut sim, c, 0, exists.clone()), -1, "of the other node");
    assert_eq!(ask(&mut sim, c, 1, with(4)), -1);
    register(&mut sim, other, 4);
    assert_eq!(ask(&mut sim, c, 1, with(4)), 0);
    assert_eq!(ask(&mut sim, c, 1, with(5)), -1);
    sim.disconnect(other);
    sim.run_for(Duration::from_millis(1));
    assert_eq!(ask(&mut sim, c, 1, exists.clone()), -1);
    assert_eq!(ask(&mut sim, c, 1, with(4)), -1);
}

#[test]
fn an_inactive_node_cuts_off_who_is_asked_for() {
    let mut sim = cluster(2);
    let (c, other) = (sim.connect(0), sim.connect(1));
    let pid = sim.pid(other) as i32;
    assert_eq!(ask(&mut sim, c, 1, control(Opcode::StopNode, 0, "")), 0);
    let stopped = |s: &mut Sim| s.view(1).is_some_and(ClusterViewExt::is_stopped);
    assert!(sim.run_until(Duration::from_secs(5), stopped));
    let exists = control(Opcode::ProcessExists, 0, pid.to_vec());
    assert_eq!(ask(&mut sim, c, 1, exists), -1);
    sim.run_for(Duration::from_millis(5));
    assert!(!sim.is_connected(other));
}

trait ClusterViewExt {
    fn is_stopped(&self) -> bool;
}

impl ClusterViewExt for crate::view::ClusterView {
    fn is_stopped(&self) -> bool {
        self.own_flags() & crate::view::flags::STOPPED != 0
    }
}

#[test]
fn the_number_of_clients_is_the_status_of_ping() {
    let mut sim = cluster(2);
    let c = sim.connect(0);
    let before = ask(&mut sim, c, NODE, control(Opcode::Ping, 0, ""));
    let more: Vec<ClientId> = (0..3).map(|_| sim.connect(0)).collect();
    assert_eq!(ask(&mut sim, c, NODE, control(Opcode::Ping, 0, "")), before + 3);
    for client in more {
        sim.disconnect(client);
    }
    sim.run_for(Duration::from_millis(1));
    assert_eq!(ask(&mut sim, c, NODE, control(Opcode::Ping, 0, "")), before);
}

#[test]
fn a_client_that_goes_leaves_its_notifications() {
    let mut sim = cluster(3);
    let (leaver, watcher) = (sim.connect(0), sim.connect(2));
    register(&mut sim, watcher, srvid::SAMBA_NOTIFY);
    let notify = NotifyData { srvid: srvid::SAMBA_NOTIFY, data: b"\0" }.to_vec();
    let add = control(Opcode::RegisterNotify, 0, notify);
    assert_eq!(ask(&mut sim, leaver, NODE, add.clone()), 0);
    assert_eq!(ask(&mut sim, leaver, NODE, add.clone()), -1, "once for each address");
    assert_eq!(ask(&mut sim, leaver, 1, add.clone()), -1, "only on the own node");
    let remove = control(Opcode::DeregisterNotify, 0, srvid::SAMBA_NOTIFY.to_vec());
    assert_eq!(ask(&mut sim, leaver, NODE, remove.clone()), 0);
    assert_eq!(ask(&mut sim, leaver, NODE, remove), -1);
    assert_eq!(ask(&mut sim, leaver, NODE, add), 0);
    sim.disconnect(leaver);
    assert_eq!(messages(&mut sim, watcher), texts(&[(srvid::SAMBA_NOTIFY, "\0")]));
}

#[test]
fn tunnels_carry_packets_between_their_two_clients() {
    let mut sim = cluster(2);
    let (a, b) = (sim.connect(0), sim.connect(1));
    let add = control(Opcode::TunnelRegister, 0xFFFF_FFFF_0000_0001, "");
    assert_eq!(ask(&mut sim, b, NODE, add.clone()), 0);
    assert_eq!(ask(&mut sim, b, NODE, add.clone()), -1);
    let body =
        Body::Tunnel { tunnel_id: 0xFFFF_FFFF_0000_0001, flags: 0x11, data: "through".into() };
    sim.client_send(a, ClientPacket { destnode: 1, reqid: 42, body: body.clone() });
    sim.run_for(Duration::from_millis(5));
    assert_eq!(sim.client_take(b), None, "not registered on the sending node");
    assert_eq!(ask(&mut sim, a, NODE, add), 0);
    for destnode in [NODE, endpoint::BROADCAST_ALL, 7, 1] {
        sim.client_send(a, ClientPacket { destnode, reqid: 42, body: body.clone() });
    }
    sim.run_for(Duration::from_millis(5));
    let got = sim.client_take(b).expect("it arrives");
    assert_eq!((got.reqid, got.body), (42, body));
    assert_eq!(sim.client_take(b), None);
    let remove = control(Opcode::TunnelDeregister, 0xFFFF_FFFF_0000_0001, "");
    assert_eq!(ask(&mut sim, a, NODE, remove.clone()), 0);
    assert_eq!(ask(&mut sim, a, NODE, remove), -1);
}

#[test]
fn who_does_not_read_messages_is_cut_off() {
    let tunables = Tunables { max_queue_drop_msg: 10, ..Tunables::default() };
    let mut sim = cluster_with(1, tunables);
    let (reader, writer) = (sim.connect(0), sim.connect(0));
    register(&mut sim, reader, 3);
    sim.stall_client(reader, true);
    for _ in 0..11 {
        message(&mut sim, writer, NODE, 3, "x");
    }
    sim.run_for(Duration::from_millis(20));
    assert!(sim.is_connected(reader));
    message(&mut sim, writer, NODE, 3, "one too many");
    sim.run_for(Duration::from_millis(20));
    assert!(!sim.is_connected(reader));
    assert!(sim.is_connected(writer));
}

#[test]
fn what_clients_must_not_send_is_ignored() {
    let mut sim = cluster(2);
    let c = sim.connect(0);
    let bodies = [
        Body::CallReply { status: 0, data: Bytes::new() },
        Body::ControlReply(ControlReply::status(0)),
        Body::Keepalive { version: 0, uptime: 0 },
        Body::Error { status: 1, message: String::new() },
        Body::Local(Local::Shutdown { code: 1, reason: String::new() }),
    ];
    for body in bodies {
        sim.client_send(c, ClientPacket { destnode: 0, reqid: 1, body });
    }
    sim.run_for(Duration::from_millis(50));
    assert_eq!(sim.client_take(c), None);
    assert!(sim.is_connected(c) && sim.daemon(0).is_some());
    assert_eq!(ask(&mut sim, c, NODE, control(Opcode::GetPnn, 0, "")), 0);
}

#[test]
fn whoever_begins_to_listen_hears_the_leader_at_once() {
    let mut sim = cluster(2);
    let client = sim.connect(1);
    let asked = sim.now();
    register(&mut sim, client, srvid::LEADER);
    let heard = loop {
        if let Some(packet) = sim.client_take(client) {
            break packet;
        }
        sim.run_for(Duration::from_millis(1));
        assert!(
            sim.now().since(asked) < Duration::from_millis(100),
            "well within the announcing period"
        );
    };
    let leader = sim.view(1).and_then(|v| v.leader).expect("a leader");
    let data = leader.to_vec().into();
    assert_eq!(heard.body, Body::Message { srvid: srvid::LEADER, data });
}
