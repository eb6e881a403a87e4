// SPDX-License-Identifier: GPL-3.0-or-later
//! Weaknesses of the C implementation that are not reproduced, in the order of `spec/cluster.md 31`. Those that are
//! tested elsewhere: 2 in `leaders`, 15 in `splits` and `flags`.

use super::*;
use crate::packet::endpoint::UNKNOWN_PNN;
use crate::view::flags::*;
use ctdb_wire::srvid;
use ctdb_wire::types::{BanState, NodeAndFlags, NodeMap};

/// 1: inactive nodes neither start elections nor put others into recovery mode.
#[test]
fn an_inactive_node_disturbs_nobody() {
    for options in [with_lock(3), without_lock(3)] {
        let mut rig = Rig::up(options);
        let node = rig.follower();
        let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
        rig.ok(node, Opcode::StopNode, &());
        rig.expect("recovered", secs(2), |r| r.agreed(&others));
        // It hears nothing of the leader for a long time.
        let leader = rig.leads();
        rig.block(leader, node);
        let before = rig.probe(others[0]).messages.len();
        rig.always("undisturbed", secs(12), |r| r.agreed(&others));
        assert_eq!(rig.seen(node).leader, None);
        let of_node = |(from, s, _): &&(Pnn, u64, Bytes)| {
            *from == node && [srvid::ELECTION, srvid::LEADER].contains(s)
        };
        assert_eq!(rig.probe(others[0]).messages[before..].iter().filter(of_node).count(), 0);
    }
}

/// 3: an announcement that there is no leader, followed by nothing.
#[test]
fn an_election_that_nobody_goes_on_with_is_bounded() {
    let mut rig = Rig::up(without_lock(3));
    let (leader, node) = (rig.leads(), rig.follower());
    rig.message(leader, node, srvid::LEADER, &UNKNOWN_PNN);
    rig.run_for(ms(20));
    rig.expect("over", secs(4), Rig::all_ok);
    assert_eq!(rig.leads(), leader);
}

/// 4: whatever is heard during the race, a node tries the lock once at a time and keeps what it got.
#[test]
fn a_race_is_not_nested() {
    for seed in 0..5 {
        let mut rig = Rig::new(Options { seed, ..with_lock(3) });
        rig.start_all();
        rig.expect("racing", secs(5), |r| {
            (0..3).any(|p| {
                r.cluster(p).is_some_and(|c| matches!(c.lock, super::super::lock::Lock::Taking(_)))
            })
        });
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)] {
            rig.message(from, to, srvid::LEADER, &UNKNOWN_PNN);
            rig.run_for(ms(5));
        }
        rig.expect("up", secs(5), Rig::all_ok);
        rig.run_for(secs(2));
        for pnn in 0..3 {
            let leads = rig.leads() == pnn;
            assert_eq!(rig.cluster(pnn).map(Cluster::holds_lock), Some(leads));
        }
    }
}

/// 7: a recovery that has failed is not in progress.
#[test]
fn a_failed_recovery_is_not_in_progress() {
    let mut rig = Rig::up(with_lock(3));
    let (leader, node) = (rig.leads(), rig.follower());
    rig.ok(leader, Opcode::SetRecmode, &1_u32);
    rig.expect("in progress", secs(1), |r| r.cluster(leader).is_some_and(Cluster::is_recovering));
    // Whatever makes it fail: here a node goes back to recovery in its middle.
    while rig.cluster(leader).is_some_and(Cluster::is_recovering) {
        rig.send(node, Opcode::SetRecmode, &1_u32);
        rig.run_for(ms(1));
    }
    let disable = ctdb_wire::types::DisableMessage { pnn: leader, srvid: 55, timeout: 2 };
    rig.message(leader, leader, srvid::DISABLE_RECOVERIES, &disable);
    let answer = |r: &Rig| {
        let of = |(_, s, d): &(Pnn, u64, Bytes)| (*s == 55).then(|| i32::from_exact(d).ok())?;
        r.probe(leader).messages.iter().find_map(of)
    };
    rig.expect("answered", secs(1), |r| answer(r).is_some());
    assert_eq!(answer(&rig), Some(leader as i32));
    rig.expect("recovered in the end", secs(15), Rig::all_ok);
}

/// 5: a node that hangs does not delay the election of the others.
#[test]
fn a_hung_node_does_not_delay_an_election() {
    for options in [with_lock(4), without_lock(4)] {
        let mut rig = Rig::up(options);
        let old = rig.leads();
        let hung = rig.follower();
        rig.stop_process(hung);
        rig.kill(old);
        let elected =
            |r: &Rig| r.running().into_iter().any(|p| p != hung && r.seen(p).leader == Some(p));
        let took = rig.expect("elected", secs(2), elected);
        assert!(took < ms(600), "{took:?}");
        rig.continue_process(hung);
        let rest: Vec<Pnn> = (0..4).filter(|p| *p != old).collect();
        rig.expect("recovered", secs(5), |r| r.agreed(&rest));
    }
}

/// 6: a packet does not make its sender connected.
#[test]
fn packets_do_not_connect() {
    let mut rig = Rig::up(with_lock(2));
    let (leader, node) = (rig.leads(), rig.follower());
    rig.kill(node);
    rig.expect("alone", secs(2), |r| r.agreed(&[leader]));
    for _ in 0..20 {
        let packet = Packet {
            dst: Endpoint { node: leader, id: endpoint::BY_COMMAND },
            src: Endpoint { node, id: endpoint::CLUSTER },
            reqid: 0,
            generation: 0,
            body: Body::Keepalive { version: 4 << 16 | 17, uptime: 1 },
        };
        rig.give(leader, Input::Packet(packet));
        rig.run_for(secs(1));
        assert!(!rig.seen(leader).is_connected(node));
    }
}

/// 8: nodes that disagree about a database's name are an ordinary failure: retried, and the run ends.
#[test]
fn a_database_with_two_names_fails_and_ends() {
    let mut rig = Rig::with_liar(with_lock(3), Some(2));
    rig.start_all();
    rig.expect("up", secs(5), Rig::all_ok);
    rig.attach(0, DB, Opcode::DbAttach);
    rig.ok(0, Opcode::SetRecmode, &1_u32);
    // Three attempts, three credits.
    let banned = |r: &Rig| r.seen(2).own_flags() & BANNED != 0;
    rig.expect("banned", secs(2), banned);
    rig.expect("the others go on", secs(4), |r| r.agreed(&[0, 1]));
}

/// 9: a node without the LMASTER capability dies: there is a recovery. Nobody is lmaster: no endless ones.
#[test]
fn nodes_without_lmaster_capability_count() {
    fn configure(config: &mut crate::Config) {
        config.can_be_lmaster = config.pnn != 1;
    }
    let mut rig = Rig::new(Options { configure, ..with_lock(3) });
    rig.start_all();
    let up = |r: &Rig| {
        (0..3).all(|p| {
            r.view(p).is_some_and(|v| v.vnnmap == [0, 2] && v.nodes.iter().all(|n| n.flags == 0))
        })
    };
    rig.expect("up", secs(5), up);
    if rig.leads() == 1 {
        rig.ok(1, Opcode::SetRecmasterRole, &0_u32);
        rig.expect("another leader", secs(5), |r| up(r) && r.leader().is_some_and(|l| l != 1));
    }
    rig.run_for(secs(11));
    let generation = rig.generation();
    rig.kill(1);
    let took =
        rig.expect("recovered", secs(2), |r| r.agreed(&[0, 2]) && r.generation() != generation);
    assert!(took < ms(450), "{took:?}");

    let mut rig = Rig::up(with_lock(2));
    for p in 0..2 {
        rig.ok(p, Opcode::SetLmasterRole, &0_u32);
    }
    let leader = rig.leads();
    rig.expect("the leader instead", secs(12), |r| {
        (0..2).all(|p| {
            r.seen(p).vnnmap == [leader] && r.seen(p).recovery_mode == RecoveryMode::Normal
        })
    });
    rig.run_for(secs(11));
    let generation = rig.generation();
    rig.always("no more recoveries", secs(30), |r| r.generation() == generation);
}

/// 10: deleted nodes are not in the initial map.
#[test]
fn the_initial_map_leaves_out_deleted_nodes() {
    fn configure(config: &mut crate::Config) {
        config.nodes[1].flags = DELETED;
    }
    let mut rig = Rig::new(Options { configure, ..with_lock(3) });
    rig.start(0).expect("starts");
    assert_eq!(rig.seen(0).vnnmap, [0, 2]);
    assert_eq!(rig.seen(0).flags(1), DELETED | DISCONNECTED);
    rig.start(2).expect("starts");
    let took = rig.expect("up", secs(4), |r| r.agreed(&[0, 2]));
    assert!(took < secs(2), "the deleted node is not waited for: {took:?}");
}

/// 11: a bad nodes file is an error reply.
#[test]
fn a_bad_nodes_file_kills_nobody() {
    let mut rig = Rig::up(with_lock(3));
    rig.ports(1).nodes_file = Err("nodes:2: bad address".into());
    let reply = rig.ask(1, Opcode::ReloadNodesFile, &());
    assert_eq!((reply.status, &reply.error[..]), (-1, "nodes:2: bad address"));
    assert_eq!(rig.ask(1, Opcode::GetNodesFile, &()).status, -1);
    // One in which the node itself is gone.
    let mut nodes = rig.seen(1).nodes.clone();
    nodes.truncate(1);
    rig.ports(1).nodes_file = Ok(nodes);
    assert_eq!(rig.ask(1, Opcode::ReloadNodesFile, &()).status, -1);
    rig.always("unmoved", secs(3), Rig::all_ok);
}

/// 13: a node whose lock is configured differently leaves; the others go on.
#[test]
fn a_different_lock_configuration_leaves() {
    fn configure(config: &mut crate::Config) {
        if config.pnn == 2 {
            config.cluster_lock = None;
        }
    }
    for seed in 0..4 {
        let mut rig = Rig::new(Options { configure, seed, ..with_lock(3) });
        rig.start_all();
        rig.expect("two up", secs(12), |r| r.agreed(&[0, 1]));
        assert_eq!(rig.exit_code(2), Some(1), "seed {seed}");
    }
}

/// 14: bans that are disabled while one is in force.
#[test]
fn a_ban_keeps_its_end_when_bans_are_disabled() {
    let mut options = with_lock(3);
    options.tunables.enable_bans = 0;
    let mut rig = Rig::up(options);
    rig.ok(1, Opcode::SetBanState, &BanState { pnn: 1, time: 50 });
    assert_eq!(rig.seen(1).own_flags(), 0, "ignored");

    let mut rig = Rig::up(with_lock(3));
    rig.run_for(secs(11));
    rig.ok(1, Opcode::SetBanState, &BanState { pnn: 1, time: 5 });
    rig.ok(1, Opcode::SetTunable, &());
    rig.ok(1, Opcode::SetBanState, &BanState { pnn: 1, time: 500 });
    rig.run_for(secs(1));
    assert_eq!(rig.seen(1).own_flags(), BANNED);
    rig.expect("the first ban ends", secs(6), Rig::all_ok);
}

/// 16 is the protocol's: replicated databases are pushed with dmaster and flags changed, as C peers do.
#[test]
fn replicated_databases_are_pushed_as_c_nodes_do() {
    let mut rig = Rig::up(with_lock(3));
    let db = rig.attach(0, DB, Opcode::DbAttachReplicated);
    for p in 0..3 {
        rig.put(p, db, b"k", 1, 9, b"v");
        rig.put(p, db, ctdb_wire::flags::SEQNUM_KEY, 0, 9, &1_u64.to_le_bytes());
    }
    let generation = rig.generation();
    rig.ok(0, Opcode::SetRecmode, &1_u32);
    rig.expect("recovered", secs(12), |r| r.all_ok() && r.generation() != generation);
    let leader = rig.leads();
    let (header, _) = rig.get(1, db, b"k").expect("there");
    assert_eq!((header.rsn, header.dmaster), (1, leader));
}

/// A node whose node list differs is complained of, blamed and in the end banned, without a storm of recoveries.
#[test]
fn a_different_node_list_is_noticed() {
    let mut rig = Rig::up(with_lock(3));
    let node = rig.follower();
    let mut nodes = rig.seen(node).nodes.clone();
    let mut extra = nodes[0].clone();
    extra.address = "10.0.0.77".parse().expect("an address");
    nodes.push(extra);
    rig.ports(node).nodes_file = Ok(nodes);
    rig.run_for(secs(11));
    let generation = rig.generation();
    rig.ok(node, Opcode::ReloadNodesFile, &());
    let map: NodeMap =
        NodeMap::from_exact(&rig.ok(node, Opcode::GetNodemap, &())).expect("well formed");
    assert!(matches!(map.node[3], NodeAndFlags { pnn: 3, flags: 3, .. }));
    rig.expect("a recovery", secs(12), |r| r.generation() != generation);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..90 {
        rig.run_for(ms(100));
        seen.insert(rig.seen(rig.leads()).generation);
    }
    assert!(seen.len() <= 2, "{seen:?}");
}

/// While a recovery has to wait for the pause after the last, nobody is blamed for lacking it.
#[test]
fn nobody_is_blamed_during_the_pause() {
    let mut rig = Rig::up(with_lock(3));
    let node = rig.follower();
    let mut nodes = rig.seen(node).nodes.clone();
    nodes.push(nodes[0].clone());
    rig.ports(node).nodes_file = Ok(nodes);
    rig.ok(node, Opcode::ReloadNodesFile, &());
    rig.always("not banned", secs(9), |r| r.seen(node).own_flags() == 0);
}
