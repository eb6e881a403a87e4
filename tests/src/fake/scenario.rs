// SPDX-License-Identifier: GPL-3.0-or-later
//! Named clusters: together they show every row and flag of the tool's output.

use std::net::{IpAddr, SocketAddr};

use anyhow::{bail, Result};
use ctdb_wire::flags::{db, node, pnn, recmode, record, runstate, INVALID_GENERATION};
use ctdb_wire::types::{
    Connection, DbStatistics, HotKey, HotKeys, LatencyCounter, Statistics, Timeval,
};

use super::state::{at, Db, FakeIp, State, NOW};

/// The names of all scenarios.
pub const SCENARIOS: &[&str] = &[
    "one",
    "healthy",
    "flags",
    "partial",
    "starting",
    "unready",
    "stopped",
    "banned",
    "all-banned",
    "no-leader",
    "leader-off",
    "recovering",
    "addresses",
    "databases",
    "counters",
    "records",
    "large",
    "nodes-deleted",
    "nodes-added",
    "nodes-differ",
    "refusing",
    "deaf",
    "stubborn",
];

/// The scenario of this name.
pub fn scenario(name: &str) -> Result<State> {
    Ok(match name {
        "one" => State::healthy(1),
        "healthy" => State::healthy(3),
        "flags" => flags(),
        "partial" => partial(),
        "starting" => starting(runstate::FIRST_RECOVERY),
        "unready" => starting(runstate::INIT),
        "stopped" => inactive(node::STOPPED),
        "banned" => banned(),
        "all-banned" => all_banned(),
        "no-leader" => State { leader: None, ..State::healthy(3) },
        "leader-off" => State { leader: Some(pnn::UNKNOWN), ..State::healthy(3) },
        "recovering" => recovering(),
        "addresses" => addresses(),
        "databases" => databases(),
        "counters" => counters(),
        "records" => records(),
        "large" => large(),
        "nodes-deleted" => nodes_file(&[Some(0), None, Some(2)], 1, node::DISCONNECTED),
        "nodes-added" => nodes_file(&[Some(0), Some(1), Some(2), Some(3)], 0, 0),
        "nodes-differ" => nodes_differ(),
        "refusing" => State { refusing: vec![1], takeover_result: Some(-1), ..addresses() },
        "deaf" => {
            State { deaf: vec![1], ..nodes_file(&[Some(0), Some(1), Some(2), Some(3)], 0, 0) }
        }
        "stubborn" => State { flags_change: false, ..State::healthy(3) },
        other => bail!("{other}: no such scenario"),
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address written here")
}

/// One node with each flag, and with several.
fn flags() -> State {
    let all = [
        0,
        node::DISCONNECTED | node::UNHEALTHY,
        node::PERMANENTLY_DISABLED,
        node::UNHEALTHY,
        node::BANNED,
        node::STOPPED,
        node::DELETED | node::DISCONNECTED,
        node::PERMANENTLY_DISABLED | node::STOPPED,
        node::PERMANENTLY_DISABLED | node::BANNED | node::UNHEALTHY | node::STOPPED,
        node::DISCONNECTED,
        0,
    ];
    let mut state = State::healthy(all.len() as u32);
    for (node, flags) in state.nodes.iter_mut().zip(all) {
        node.flags = flags;
        node.vnnmap = vec![0, 2, 3, 10];
    }
    state.node(10).address = ip("fd00::a:b:c:10");
    state.node(2).address = ip("192.168.100.103");
    state.leader = Some(10);
    state
}

/// Nodes with interfaces that are up, down, both and none.
fn partial() -> State {
    let mut state = State::healthy(5);
    state.node(0).ifaces = vec![("eth0", true, 2), ("eth1", false, 0)];
    state.node(1).ifaces = vec![("eth0", true, 2), ("eth1", true, 0)];
    state.node(2).ifaces = vec![("eth0", false, 0)];
    state.node(3).ifaces = vec![("eth0", false, 0)];
    state.node(3).flags = node::UNHEALTHY;
    state
}

fn starting(run: u32) -> State {
    let unhealthy = node::UNHEALTHY;
    let mut state = State::healthy(4).flag(0, unhealthy).flag(1, unhealthy).flag(2, unhealthy);
    state.node(3).flags = node::DISCONNECTED;
    let local = state.node(0);
    local.runstate = run;
    local.generation = INVALID_GENERATION;
    local.recmode = recmode::ACTIVE;
    local.uptime.last_recovery_started = at(-1);
    local.uptime.last_recovery_finished = Timeval::default();
    state
}

/// The local node is not in the cluster.
fn inactive(flag: u32) -> State {
    let mut state = State::healthy(3).flag(0, flag);
    for node in &mut state.nodes {
        node.vnnmap = vec![1, 2];
    }
    let local = state.node(0);
    local.generation = INVALID_GENERATION;
    local.recmode = recmode::ACTIVE;
    State { leader: Some(1), ..state }
}

/// The local node is banned and does not know that node 2 is disabled.
fn banned() -> State {
    let mut state = inactive(node::BANNED).flag(2, node::PERMANENTLY_DISABLED);
    state.node(0).view = Some(vec![node::BANNED, 0, 0]);
    state
}

fn all_banned() -> State {
    let mut state = State::healthy(3);
    for node in &mut state.nodes {
        node.flags = node::BANNED;
    }
    state
}

fn recovering() -> State {
    let mut state = State::healthy(3);
    for node in &mut state.nodes {
        node.recmode = recmode::ACTIVE;
        node.generation = INVALID_GENERATION;
        node.uptime.last_recovery_started = at(-2);
        node.uptime.last_recovery_finished = at(-100_000);
        node.uptime.ctdbd_start_time = at(-987_654);
    }
    state
}

/// Public addresses of both families on interfaces of all kinds; who hosts what differs by node.
fn addresses() -> State {
    let mut state = State::healthy(3);
    let one = vec![("eth1", true, 2)];
    let two = vec![("eth1", true, 2), ("eth2", false, 0), ("bond0.100", true, 1)];
    let known = [
        ("192.168.100.10", 1, &one),
        ("192.168.100.2", 0, &two),
        ("fd00::2", 0, &two),
        ("fd00::1", 2, &one),
        ("10.0.0.32", pnn::UNKNOWN, &one),
        ("192.168.100.1", 2, &two),
    ];
    for node in &mut state.nodes {
        node.ifaces = vec![("eth1", true, 2), ("eth2", false, 0), ("bond0.100", true, 1)];
        for (address, host, ifaces) in known {
            // node 2 does not know one that node 0 hosts
            if node.pnn == 2 && address == "fd00::2" {
                continue;
            }
            let active = (host == node.pnn).then_some(ifaces.len() as u32 - 1);
            node.public.push(FakeIp {
                addr: ip(address),
                pnn: host,
                active,
                ifaces: ifaces.clone(),
            });
        }
    }
    state.node(1).ifaces.truncate(1);
    state.node(2).ifaces = Vec::new();
    let connection = |src: &str, dst: &str| Connection {
        src: SocketAddr::new(ip(src), 50_000 + src.len() as u16),
        dst: SocketAddr::new(ip(dst), if src.ends_with('9') { 2049 } else { 445 }),
    };
    state.node(0).connections = vec![
        connection("10.1.1.1", "192.168.100.2"),
        connection("10.1.1.22", "192.168.100.2"),
        connection("10.1.1.229", "192.168.100.2"),
        connection("fd00::77", "fd00::2"),
        connection("fd00::79", "fd00::2"),
    ];
    state.node(0).reclock = Some("/clusterfs/.ctdb/reclock");
    state.node(1).reclock = Some("!/usr/local/bin/lock helper");
    state
}

/// A database of each kind and each mark.
fn databases() -> State {
    let mut state = State::healthy(2);
    for (name, flags) in [
        ("sticky.tdb", db::STICKY),
        ("readonly.tdb", db::READONLY),
        ("both.tdb", db::STICKY | db::READONLY),
        ("replicated.tdb", db::REPLICATED),
        ("persistent.tdb", db::PERSISTENT),
        ("volatile.tdb", 0),
    ] {
        state = state.database(Db::new(name, flags));
    }
    let broken = Db::new("broken.tdb", db::PERSISTENT);
    let broken =
        Db { health: Some("ERROR: Health check failed: /var/lib/ctdb/broken.tdb.0"), ..broken };
    let gone = Db { missing: true, ..Db::new("gone.tdb", 0) };
    state = state.database(broken).database(gone);
    state.databases[5].statistics = db_statistics();
    state
}

fn latency(num: i32, min: f64, max: f64, total: f64) -> LatencyCounter {
    LatencyCounter { num, min, max, total }
}

fn db_statistics() -> DbStatistics {
    let mut statistics = DbStatistics { num_hot_keys: 10, ..DbStatistics::default() };
    statistics.locks.num_calls = 1_234_567;
    statistics.locks.num_current = 2;
    statistics.locks.num_pending = 31;
    statistics.locks.num_failed = 4;
    statistics.locks.latency = latency(7, 0.000_001, 12.5, 14.000_007);
    statistics.locks.buckets = std::array::from_fn(|n| 1 << n);
    statistics.vacuum.latency = latency(3, 0.25, 1.75, 3.0);
    statistics.db_ro_delegations = 99;
    statistics.db_ro_revokes = u32::MAX;
    statistics.hop_count_bucket = std::array::from_fn(|n| 15 - n as u32);
    let mut keys = HotKeys::default();
    keys.0[0] = HotKey { count: 3, key: b"k2\0\xFF".to_vec() };
    keys.0[1] = HotKey { count: 1_000_000, key: vec![0xAB; 40] };
    statistics.hot_keys = keys;
    statistics
}

/// Counters that are all different, and a history with unused slots.
fn counters() -> State {
    let mut state = State::healthy(2);
    let statistics = |begin: i64, base: u32| {
        let mut s = Statistics::default();
        let mut next = base;
        let mut count = || {
            next = next.wrapping_mul(3).wrapping_add(1);
            next
        };
        for field in [
            &mut s.num_clients,
            &mut s.client_packets_sent,
            &mut s.client_packets_recv,
            &mut s.node_packets_sent,
            &mut s.node_packets_recv,
            &mut s.keepalive_packets_sent,
            &mut s.keepalive_packets_recv,
            &mut s.node.req_call,
            &mut s.node.reply_call,
            &mut s.node.req_dmaster,
            &mut s.node.reply_dmaster,
            &mut s.node.reply_error,
            &mut s.node.req_message,
            &mut s.node.req_control,
            &mut s.node.reply_control,
            &mut s.node.req_tunnel,
            &mut s.client.req_call,
            &mut s.client.req_message,
            &mut s.client.req_control,
            &mut s.client.req_tunnel,
            &mut s.timeouts.call,
            &mut s.timeouts.control,
            &mut s.timeouts.traverse,
            &mut s.locks.num_calls,
            &mut s.locks.num_current,
            &mut s.locks.num_pending,
            &mut s.locks.num_failed,
            &mut s.total_calls,
            &mut s.pending_calls,
            &mut s.childwrite_calls,
            &mut s.pending_childwrite_calls,
            &mut s.memory_used,
            &mut s.max_hop_count,
            &mut s.total_ro_delegations,
            &mut s.total_ro_revokes,
            &mut s.num_recoveries,
        ] {
            *field = count();
        }
        s.frozen = 1;
        s.recovering = 1;
        s.hop_count_bucket = std::array::from_fn(|n| base + n as u32);
        s.locks.buckets = std::array::from_fn(|n| base * n as u32);
        s.locks.latency = latency(2, 0.125, 0.5, 0.625);
        s.reclock.ctdbd = latency(1, 0.007_292, 0.007_292, 0.007_292);
        s.reclock.recd = latency(3, 0.000_1, 9.25, 9.5);
        s.call_latency = latency(1000, 0.000_01, 0.1, 1.0);
        s.childwrite_latency = latency(0, 0.0, 0.0, 0.0);
        s.statistics_start_time = if begin == 0 { Timeval::default() } else { at(begin) };
        s.statistics_current_time = Timeval { sec: NOW, usec: 654_321 };
        s
    };
    for node in &mut state.nodes {
        node.statistics = statistics(-100_000 * (1 + i64::from(node.pnn)), 1 + node.pnn);
        node.history = vec![
            statistics(-1, 5),
            statistics(-2, 6),
            statistics(-3, 7),
            statistics(0, 8),
            statistics(0, 9),
        ];
    }
    state
}

/// Databases with records of each look.
fn records() -> State {
    let seqnum = 5u64.to_le_bytes();
    let seqnum: &'static [u8] = Box::leak(Box::new(seqnum));
    let number = (5, 1, 0);
    let all = record::MIGRATED_WITH_DATA
        | record::VACUUM_MIGRATED
        | record::AUTOMATIC
        | record::RO_HAVE_DELEGATIONS
        | record::RO_HAVE_READONLY
        | record::RO_REVOKING_READONLY
        | record::RO_REVOKE_COMPLETE;
    let volatile = Db::new("volatile.tdb", 0)
        .record(b"plain", (3, 0, 0), b"value")
        .record(b"k2\0\xFF", (3, 0, record::MIGRATED_WITH_DATA), b"\x01\x02\x03")
        .record(b"quote\"back\\slash~ \x7f", (u64::MAX, 1, all), b"\"\\\n")
        .record(b"empty", (7, 0, record::AUTOMATIC), b"")
        .record(b"", (8, 0, 0), b"no key")
        .record(b"elsewhere", (9, 1, 0), b"over there")
        .record(b"text\0", (1, 0, 0), b"with\0zero");
    let persistent = Db::new("persistent.tdb", db::PERSISTENT)
        .record(ctdb_wire::flags::SEQNUM_KEY, number, seqnum)
        .record(b"key1", (1, 0, 0), b"val1")
        .record(b"deleted", (2, 1, 0), b"")
        .record(b"with-zero", (2, 1, 0), b"be\0hind");
    let replicated = Db::new("replicated.tdb", db::REPLICATED).record(b"r", (1, 1, 0), b"s");
    let broken = Db { health: Some("not well"), ..Db::new("broken.tdb", db::PERSISTENT) };
    let gone = Db { missing: true, ..Db::new("gone.tdb", 0) };
    State::healthy(2)
        .database(volatile)
        .database(persistent)
        .database(replicated)
        .database(broken)
        .database(gone)
        .database(Db::new("nothing.tdb", 0))
}

/// As large as clusters get: 48 nodes, 200 addresses, 80 databases.
fn large() -> State {
    let mut state = State::healthy(48);
    for number in 0..200u32 {
        let octets = [10, 200, (number * 7 % 200) as u8, number as u8];
        let host = number * 5 % 48;
        for node in &mut state.nodes {
            node.public.push(FakeIp {
                addr: IpAddr::from(octets),
                pnn: host,
                active: (host == node.pnn).then_some(0),
                ifaces: vec![("eth1", true, 4)],
            });
        }
    }
    for number in 0..80u8 {
        let kinds = [0, db::PERSISTENT, db::REPLICATED, db::STICKY, db::READONLY];
        let kind = kinds[usize::from(number) % kinds.len()];
        state = state.database(Db::new(&format!("database_{number}.tdb"), kind));
    }
    for pnn in [7, 19, 33] {
        state.node(pnn).flags = node::STOPPED;
    }
    state
}

/// All nodes have read a new nodes file; `changed` is the node that it is about.
fn nodes_file(file: &[Option<u32>], changed: u32, flags: u32) -> State {
    let mut state = State::healthy(3).flag(changed, flags);
    let file: Vec<_> = file.iter().map(|n| n.map(super::state::node_address)).collect();
    for node in &mut state.nodes {
        node.nodes_file.clone_from(&file);
    }
    state
}

fn nodes_differ() -> State {
    let mut state = nodes_file(&[Some(0), Some(1), Some(2), Some(3)], 0, 0);
    state.node(1).nodes_file.pop();
    state
}
