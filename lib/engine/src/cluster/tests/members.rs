// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes start, stop, are banned, die and come back; the nodes file changes.

use super::*;
use crate::view::flags::*;
use ctdb_wire::types::{BanState, NodeFlagChange, NodeMap, Uptime};

/// The goal for three nodes is one second; links take up to one second to connect in the simulator.
#[test]
fn a_cold_start_is_quick() {
    for options in [with_lock(3), without_lock(3)] {
        for seed in 0..5 {
            let mut rig = Rig::new(Options { seed, ..options.clone() });
            rig.start_all();
            let linked = |r: &Rig| (0..3).all(|a| (0..3).all(|b| a == b || r.link_is_up(a, b)));
            rig.expect("linked", secs(5), linked);
            // 200 ms for each of the two lock helpers in the worst case
            let took = rig.expect("up", ms(800), Rig::all_ok);
            assert_eq!(rig.cluster(rig.leads()).map(|c| c.run.is_some()), Some(false), "{took:?}");
        }
    }
}

#[test]
fn a_cold_start_takes_one_recovery() {
    for options in [with_lock(3), without_lock(3), with_lock(1), without_lock(1)] {
        let mut rig = Rig::up(options);
        let generation = rig.generation();
        rig.always("ok", secs(30), Rig::all_ok);
        assert_eq!(rig.generation(), generation);
        let up: Uptime = decode(&rig.ok(0, Opcode::Uptime, &()));
        assert!(up.last_recovery_finished >= up.last_recovery_started);
        assert!(up.ctdbd_start_time < up.last_recovery_started);
    }
}

fn decode<T: for<'a> Decode<'a>>(data: &Bytes) -> T {
    T::from_exact(data).expect("well formed")
}

#[test]
fn a_single_node_is_a_cluster() {
    let mut rig = Rig::new(with_lock(1));
    rig.start_all();
    let took = rig.expect("up", secs(2), Rig::all_ok);
    assert!(took < ms(600), "{took:?}");
}

/// With a lock a node does not wait long for others that may never come; without one, the leader timeout.
#[test]
fn missing_nodes_are_not_waited_for_for_ever() {
    let mut rig = Rig::new(with_lock(3));
    rig.start(0).expect("starts");
    rig.start(1).expect("starts");
    let took = rig.expect("two nodes up", secs(4), |r| r.agreed(&[0, 1]));
    assert!(took >= ms(900), "{took:?}");

    let mut rig = Rig::new(without_lock(3));
    rig.start(0).expect("starts");
    rig.start(1).expect("starts");
    rig.always("waiting", ms(4900), |r| r.leader().is_none());
    rig.expect("two nodes up", secs(2), |r| r.agreed(&[0, 1]));
}

#[test]
fn a_node_joins_and_leaves() {
    for options in [with_lock(3), without_lock(3)] {
        let mut rig = Rig::up(options);
        let victim = rig.follower();
        let others: Vec<Pnn> = (0..3).filter(|p| *p != victim).collect();
        rig.kill(victim);
        let took = rig.expect("recovered without it", secs(2), |r| r.agreed(&others));
        assert!(took < ms(450), "{took:?}");
        let leader = rig.leads();
        assert_eq!(rig.seen(leader).flags(victim), DISCONNECTED | UNHEALTHY);
        rig.start(victim).expect("starts");
        rig.expect("joined", secs(4), Rig::all_ok);
        assert_eq!(rig.leads(), leader, "the leader stays");
    }
}

#[test]
fn stop_and_continue() {
    for options in [with_lock(3), without_lock(3)] {
        let mut rig = Rig::up(options);
        let node = rig.follower();
        let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
        rig.ok(node, Opcode::StopNode, &());
        assert_eq!(rig.seen(node).generation, 1);
        assert_eq!(rig.seen(node).recovery_mode, RecoveryMode::Active);
        let stopped = |r: &Rig| others.iter().all(|&p| r.seen(p).flags(node) == STOPPED);
        let took = rig.expect("seen by all", secs(2), stopped);
        assert!(took < ms(100), "{took:?}");
        rig.expect("recovered without it", secs(2), |r| r.agreed(&others));
        rig.always("left alone", secs(15), |r| r.agreed(&others) && r.seen(node).generation == 1);
        rig.ok(node, Opcode::StopNode, &());
        rig.ok(node, Opcode::ContinueNode, &());
        rig.expect("joined", secs(2), Rig::all_ok);
    }
}

#[test]
fn the_stopped_leader_hands_over_at_once() {
    for options in [with_lock(3), without_lock(3)] {
        let mut rig = Rig::up(options);
        let old = rig.leads();
        let others: Vec<Pnn> = (0..3).filter(|p| *p != old).collect();
        rig.ok(old, Opcode::StopNode, &());
        let took = rig.expect("recovered under another", secs(3), |r| r.agreed(&others));
        assert!(took < ms(1000), "{took:?}");
        assert_eq!(rig.seen(old).leader, rig.leader(), "it knows its successor");
        rig.ok(old, Opcode::ContinueNode, &());
        rig.expect("joined", secs(2), Rig::all_ok);
        assert_ne!(rig.leads(), old);
    }
}

#[test]
fn a_ban_ends_by_itself() {
    let mut rig = Rig::up(with_lock(3));
    let node = rig.follower();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
    let wrong = BanState { pnn: others[0], time: 5 };
    assert_eq!(rig.ask(node, Opcode::SetBanState, &wrong).status, -1);
    rig.ok(node, Opcode::SetBanState, &BanState { pnn: node, time: 5 });
    rig.expect("recovered without it", secs(1), |r| r.agreed(&others));
    let ban: BanState = decode(&rig.ok(node, Opcode::GetBanState, &()));
    assert_eq!(ban, BanState { pnn: node, time: 5 });
    rig.run_for(secs(3));
    assert_eq!(rig.seen(node).own_flags(), BANNED);
    rig.expect("joined", secs(3), Rig::all_ok);
    let ban: BanState = decode(&rig.ok(node, Opcode::GetBanState, &()));
    assert_eq!(ban.time, 0);
    rig.ok(node, Opcode::SetBanState, &BanState { pnn: node, time: 500 });
    rig.run_for(secs(1));
    rig.ok(node, Opcode::SetBanState, &BanState { pnn: node, time: 0 });
    rig.expect("joined again", secs(11), Rig::all_ok);
}

#[test]
fn disable_moves_no_databases() {
    let mut rig = Rig::up(with_lock(3));
    let (node, generation) = (rig.follower(), rig.generation());
    rig.ok(node, Opcode::DisableNode, &());
    let disabled = |r: &Rig| (0..3).all(|p| r.seen(p).flags(node) == PERMANENTLY_DISABLED);
    rig.expect("seen by all", ms(100), disabled);
    rig.always("left alone", secs(3), disabled);
    rig.ok(node, Opcode::EnableNode, &());
    rig.expect("enabled", ms(100), Rig::all_ok);
    assert_eq!(rig.generation(), generation);
}

#[test]
fn a_node_configured_to_start_stopped_waits_to_be_continued() {
    fn stopped(config: &mut crate::Config) {
        config.start_as_stopped = config.pnn == 1;
        config.start_as_disabled = config.pnn == 2;
    }
    let mut rig = Rig::new(Options { configure: stopped, ..with_lock(3) });
    rig.start_all();
    rig.expect("two up", secs(4), |r| r.agreed(&[0, 2]));
    rig.always("not recovered", secs(5), |r| r.seen(1).run_state == RunState::FirstRecovery);
    assert_eq!(rig.seen(0).flags(1), STOPPED | UNHEALTHY);
    assert_eq!(rig.seen(0).flags(2), PERMANENTLY_DISABLED);
    rig.ok(1, Opcode::ContinueNode, &());
    rig.expect("three up", secs(2), |r| r.agreed(&[0, 1, 2]));
    rig.expect("healthy", secs(1), |r| r.seen(0).flags(1) == 0);
}

#[test]
fn only_a_node_itself_changes_its_flags() {
    let mut rig = Rig::up(with_lock(3));
    let change = NodeFlagChange { pnn: 0, new_flags: STOPPED, old_flags: 0 };
    rig.ok(0, Opcode::ModifyFlags, &change);
    assert_eq!(rig.seen(0).own_flags(), 0);
    let unknown = NodeFlagChange { pnn: 3, ..change };
    assert_eq!(rig.ask(0, Opcode::ModifyFlags, &unknown).status, -1);
    // A lie about another node is corrected by the leader.
    rig.ok(1, Opcode::ModifyFlags, &NodeFlagChange { pnn: 2, ..change });
    rig.expect("corrected", secs(3), |r| r.all_ok());
}

#[test]
fn the_newcomer_of_another_release_leaves() {
    fn versions(config: &mut crate::Config) {
        config.version = if config.pnn == 2 { 4 << 16 | 18 } else { 4 << 16 | 17 };
    }
    let mut rig = Rig::new(Options { configure: versions, ..with_lock(3) });
    rig.start(0).expect("starts");
    rig.start(1).expect("starts");
    rig.run_for(secs(8));
    rig.start(2).expect("starts");
    rig.expect("gone", secs(12), |r| r.exit_code(2) == Some(0));
    rig.expect("the others go on", secs(12), |r| r.agreed(&[0, 1]));
}

/// A machine that dies is silent: it is dead after KeepaliveLimit intervals.
#[test]
fn silence_is_death() {
    let mut rig = Rig::up(with_lock(3));
    let node = rig.follower();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
    rig.machine_death(node);
    let took = rig.expect("dead", secs(31), |r| !r.seen(others[0]).is_connected(node));
    assert!(took > secs(20), "{took:?}");
    rig.expect("recovered", secs(8), |r| r.agreed(&others));
}

fn nodes_file(rig: &mut Rig, pnn: Pnn, change: impl Fn(&mut Vec<crate::NodeView>)) {
    let mut nodes = rig.seen(pnn).nodes.clone();
    for node in &mut nodes {
        node.flags &= DELETED;
    }
    change(&mut nodes);
    rig.ports(pnn).nodes_file = Ok(nodes);
}

#[test]
fn a_node_is_deleted_and_comes_back() {
    let mut rig = Rig::up(with_lock(3));
    let node = rig.follower();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
    rig.kill(node);
    rig.expect("recovered", secs(2), |r| r.agreed(&others));
    for &p in &others {
        nodes_file(&mut rig, p, |nodes| nodes[node as usize].flags = DELETED);
        rig.ok(p, Opcode::ReloadNodesFile, &());
        assert_eq!(rig.seen(p).flags(node), DELETED | DISCONNECTED);
    }
    let map: NodeMap = decode(&rig.ok(others[0], Opcode::GetNodesFile, &()));
    assert_eq!(map.node[node as usize].flags, DELETED);
    assert_eq!(map.node[others[0] as usize].flags, 0);
    rig.run_for(secs(2));
    assert!(rig.agreed(&others));
    for &p in &others {
        nodes_file(&mut rig, p, |nodes| nodes[node as usize].flags = 0);
        rig.ok(p, Opcode::ReloadNodesFile, &());
        assert_eq!(rig.seen(p).flags(node), UNHEALTHY | DISCONNECTED);
    }
    rig.start(node).expect("starts");
    rig.expect("joined", secs(5), Rig::all_ok);
}

#[test]
fn the_other_answers() {
    let mut rig = Rig::up(with_lock(3));
    assert_eq!(rig.ask(2, Opcode::GetPnn, &()).status, 2);
    assert_eq!(rig.ask(2, Opcode::GetRecmode, &()).status, 0);
    assert_eq!(decode::<u32>(&rig.ok(2, Opcode::GetRunstate, &())), 5);
    assert_eq!(decode::<u32>(&rig.ok(2, Opcode::GetCapabilities, &())), 0x0003_0003);
    assert_eq!(&rig.ok(2, Opcode::GetReclockFile, &())[..], b"!/sim/lock\0");
    assert!(rig.ok(2, Opcode::RecdPing, &()).is_empty());
    rig.ok(2, Opcode::RecdReclockLatency, &0.25_f64);
    assert_eq!(rig.ask(2, Opcode::RecdReclockLatency, &f64::NAN).status, -1);
    assert_eq!(rig.ask(2, Opcode::RecdReclockLatency, &1_u32).status, -1, "wrong size");
    let map: NodeMap = decode(&rig.ok(2, Opcode::GetNodemap, &()));
    assert_eq!(
        map.node.iter().map(|n| (n.pnn, n.flags)).collect::<Vec<_>>(),
        [(0, 0), (1, 0), (2, 0)]
    );
    let map: ctdb_wire::types::VnnMap = decode(&rig.ok(2, Opcode::GetVnnMap, &()));
    assert_eq!((map.generation, map.map.clone()), (rig.generation(), vec![0, 1, 2]));
    assert_eq!(rig.ask(2, Opcode::SetVnnMap, &map).status, -1, "not in recovery");
    let dump = ctdb_wire::types::SrvidMessage { pnn: 2, srvid: 99 };
    rig.message(2, 2, ctdb_wire::srvid::MEM_DUMP, &dump);
    let report = |r: &Rig| r.probe(2).messages.iter().any(|(_, s, d)| *s == 99 && !d.is_empty());
    rig.expect("a memory report", secs(1), report);
}
