// SPDX-License-Identifier: GPL-3.0-or-later
//! Recoveries: what they do to databases, and how they fail.

use super::*;
use ctdb_wire::flags::record::MIGRATED_WITH_DATA;
use ctdb_wire::srvid;
use ctdb_wire::types::DisableMessage;

#[track_caller]
fn recover(rig: &mut Rig) {
    let generation = rig.generation();
    rig.ok(0, Opcode::SetRecmode, &1_u32);
    rig.expect("recovered", secs(15), |r| r.all_ok() && r.generation() != generation);
}

/// `ctdb recover`, on any node.
#[test]
fn a_recovery_on_request_begins_at_once() {
    let mut rig = Rig::up(with_lock(3));
    for node in [rig.leads(), rig.follower()] {
        let generation = rig.generation();
        rig.ok(node, Opcode::SetRecmode, &1_u32);
        let took =
            rig.expect("recovered", secs(15), |r| r.all_ok() && r.generation() != generation);
        assert!(took < ms(250), "{took:?}");
        rig.run_for(secs(11));
    }
}

#[test]
fn a_service_may_force_a_recovery() {
    let mut rig = Rig::up(with_lock(3));
    let (node, generation) = (rig.follower(), rig.generation());
    let me = Endpoint { node, id: endpoint::DATABASE };
    let packet = Packet {
        dst: Endpoint { node, id: endpoint::CLUSTER },
        src: me,
        reqid: 0,
        generation: 0,
        body: Body::Local(Local::ForceRecovery { reason: "a test".into() }),
    };
    // Local commands have no command to be routed by: dst decides.
    rig.give(node, Input::Packet(packet));
    rig.expect("recovered", secs(2), |r| r.all_ok() && r.generation() != generation);
}

#[test]
fn volatile_records_are_merged_and_owned_by_the_leader() {
    for seed in 0..5 {
        let mut rig = Rig::up(Options { seed, ..with_lock(3) });
        let db = rig.attach(1, DB, Opcode::DbAttach);
        for node in 0..3 {
            assert!(rig.store(node).attached().contains(&db), "attached on node {node}");
        }
        rig.put(0, db, b"a", 4, 0, b"old");
        rig.put(1, db, b"a", 5, 1, b"new");
        rig.put(2, db, b"b", 9, 2, b"only");
        rig.put(0, db, b"gone", 7, 1, b"old");
        rig.put(1, db, b"gone", 8, 1, b"");
        recover(&mut rig);
        let leader = rig.leads();
        for node in 0..3 {
            let (header, data) = rig.get(node, db, b"a").expect("there");
            assert_eq!((header.dmaster, &data[..]), (leader, &b"new"[..]));
            assert_eq!(header.rsn, if node == leader { 6 } else { 5 });
            assert_eq!(header.flags, MIGRATED_WITH_DATA);
            assert_eq!(rig.get(node, db, b"b").expect("there").1, b"only");
            assert_eq!(rig.get(node, db, b"gone"), None);
        }
    }
}

#[test]
fn the_newest_copy_of_a_persistent_database_wins_whole() {
    const SEQNUM: &[u8] = ctdb_wire::flags::SEQNUM_KEY;
    let mut rig = Rig::up(with_lock(3));
    let db = rig.attach(2, DB, Opcode::DbAttachPersistent);
    for node in 0..3 {
        rig.put(node, db, b"k", 1, 7, b"first");
        rig.put(node, db, SEQNUM, 0, 7, &5_u64.to_le_bytes());
    }
    rig.put(1, db, SEQNUM, 0, 7, &6_u64.to_le_bytes());
    rig.put(1, db, b"k", 1, 7, b"second");
    rig.put(0, db, b"k", 9, 7, b"a higher RSN does not count");
    rig.put(0, db, b"extra", 9, 7, b"nor do other records");
    recover(&mut rig);
    for node in 0..3 {
        let (header, data) = rig.get(node, db, b"k").expect("there");
        assert_eq!((header.rsn, header.dmaster, header.flags), (1, 7, 0), "the header is kept");
        assert_eq!(data, b"second");
        assert_eq!(rig.get(node, db, b"extra"), None);
        assert_eq!(rig.get(node, db, SEQNUM).expect("there").1, 6_u64.to_le_bytes());
    }
}

/// Bug 14294, second part: databases are created inside the recovery.
#[test]
fn a_database_is_created_where_it_is_missing() {
    let mut rig = Rig::up(with_lock(3));
    let node = rig.follower();
    rig.kill(node);
    let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
    rig.expect("recovered", secs(2), |r| r.agreed(&others));
    let kinds = [Opcode::DbAttach, Opcode::DbAttachPersistent, Opcode::DbAttachReplicated];
    let mut dbs = Vec::new();
    for (i, kind) in kinds.into_iter().enumerate() {
        let db = rig.attach(others[0], &format!("new{i}.tdb"), kind);
        for &p in &others {
            rig.put(p, db, b"k", 3, others[0], b"v");
            if i > 0 {
                rig.put(p, db, ctdb_wire::flags::SEQNUM_KEY, 0, 0, &1_u64.to_le_bytes());
            }
        }
        dbs.push(db);
    }
    rig.start(node).expect("starts");
    rig.expect("joined", secs(4), Rig::all_ok);
    for db in dbs {
        assert_eq!(rig.get(node, db, b"k").expect("there").1, b"v");
    }
}

/// Bug 14294, first part, and S7: what an inactive node has is never merged.
#[test]
fn records_of_an_inactive_node_do_not_come_back() {
    let mut rig = Rig::up(with_lock(3));
    let db = rig.attach(0, DB, Opcode::DbAttach);
    let node = rig.follower();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
    for p in 0..3 {
        rig.put(p, db, b"k", 5, others[0], b"old");
    }
    rig.ok(node, Opcode::StopNode, &());
    rig.expect("recovered", secs(2), |r| r.agreed(&others));
    // Deleted and vacuumed while the node is stopped; it still has an old copy.
    for &p in &others {
        rig.store(p).content_mut(db).expect("attached").clear();
    }
    assert!(rig.get(node, db, b"k").is_some());
    rig.ok(node, Opcode::ContinueNode, &());
    rig.expect("joined", secs(2), Rig::all_ok);
    for p in 0..3 {
        assert_eq!(rig.get(p, db, b"k"), None, "on node {p}");
    }
}

/// A node that is stopped in the middle of a recovery is not left with thawed databases or a valid generation.
#[test]
fn a_node_stopped_during_a_recovery_is_dropped() {
    for delay in 0..12 {
        let mut rig = Rig::up(Options { seed: delay, ..with_lock(3) });
        let db = rig.attach(0, DB, Opcode::DbAttach);
        let node = rig.follower();
        let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
        rig.run_for(secs(11));
        rig.ok(others[0], Opcode::SetRecmode, &1_u32);
        rig.run_for(Duration::from_micros(delay * 400));
        rig.ok(node, Opcode::StopNode, &());
        let took = rig.expect("recovered without it", secs(4), |r| r.agreed(&others));
        assert!(took < ms(900), "begun again at once: {took:?}");
        rig.run_for(secs(2));
        let view = rig.seen(node);
        assert_eq!((view.generation, view.recovery_mode), (1, RecoveryMode::Active));
        assert!(rig.store(node).is_frozen(db));
        rig.ok(node, Opcode::ContinueNode, &());
        rig.expect("joined", secs(12), Rig::all_ok);
    }
}

/// S14: the death of any node at any step of a recovery leaves the others able to recover.
#[test]
fn death_during_a_recovery() {
    for seed in 0..24 {
        let mut rig = Rig::up(Options { seed, ..with_lock(3) });
        let db = rig.attach(0, DB, Opcode::DbAttach);
        for i in 0_u32..50 {
            rig.put(i % 3, db, &i.to_be_bytes(), 1, i % 3, b"data");
        }
        let victim = if seed % 2 == 0 { rig.leads() } else { rig.follower() };
        let others: Vec<Pnn> = (0..3).filter(|p| *p != victim).collect();
        rig.ok(others[0], Opcode::SetRecmode, &1_u32);
        rig.run_for(Duration::from_micros(seed * 700));
        rig.kill(victim);
        rig.expect("recovered without it", secs(4), |r| r.agreed(&others));
        for i in (0_u32..50).filter(|i| i % 3 != victim) {
            for &p in &others {
                assert!(rig.get(p, db, &i.to_be_bytes()).is_some(), "{i} on {p}, seed {seed}");
            }
        }
        rig.start(victim).expect("starts");
        rig.expect("joined", secs(15), Rig::all_ok);
    }
}

#[test]
fn a_client_that_holds_a_lock_delays_the_recovery_only() {
    let mut rig = Rig::up(with_lock(3));
    let db = rig.attach(0, DB, Opcode::DbAttach);
    let node = rig.follower();
    let client = rig.connect(node);
    assert!(rig.store(node).client_lock(client, db, b"k"));
    let generation = rig.generation();
    rig.ok(0, Opcode::SetRecmode, &1_u32);
    rig.always("waiting", secs(5), |r| r.generation() != generation || !r.all_ok());
    rig.disconnect(client);
    rig.expect("recovered", secs(2), Rig::all_ok);
}

/// 20.5: three failed freezes of 30 seconds, then the node is banned and the others go on.
#[test]
fn a_node_that_cannot_freeze_is_banned() {
    let mut rig = Rig::up(with_lock(3));
    let db = rig.attach(0, DB, Opcode::DbAttach);
    let node = rig.follower();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
    let client = rig.connect(node);
    assert!(rig.store(node).client_lock(client, db, b"k"));
    rig.ok(0, Opcode::SetRecmode, &1_u32);
    let banned = |r: &Rig| r.seen(node).own_flags() & crate::view::flags::BANNED != 0;
    let took = rig.expect("banned", secs(100), banned);
    assert!(took > secs(85), "{took:?}");
    rig.expect("recovered without it", secs(5), |r| r.agreed(&others));
    rig.disconnect(client);
    rig.expect("the ban ends", secs(310), Rig::all_ok);
}

#[test]
fn failing_writes_are_retried() {
    let options = Options { write_failures_permille: 150, ..with_lock(3) };
    let mut rig = Rig::up(options);
    let dbs: Vec<DbId> =
        (0..4).map(|i| rig.attach(0, &format!("db{i}.tdb"), Opcode::DbAttachPersistent)).collect();
    for db in &dbs {
        rig.put(1, *db, b"k", 1, 1, b"v");
        rig.put(1, *db, ctdb_wire::flags::SEQNUM_KEY, 0, 0, &3_u64.to_le_bytes());
    }
    for _ in 0..3 {
        rig.run_for(secs(11));
        let generation = rig.generation();
        rig.ok(2, Opcode::SetRecmode, &1_u32);
        rig.expect("recovered", secs(60), |r| r.all_ok() && r.generation() != generation);
        for db in &dbs {
            for p in 0..3 {
                assert_eq!(rig.get(p, *db, b"k").expect("there").1, b"v");
            }
        }
    }
}

#[test]
fn many_recoveries_in_a_row_are_spaced() {
    let mut rig = Rig::up(with_lock(3));
    rig.run_for(secs(11));
    let generations = |rig: &mut Rig, time: Duration| {
        let mut seen = std::collections::BTreeSet::new();
        let end = rig.now().plus(time);
        while rig.now() < end {
            if rig.all_ok() {
                rig.send(0, Opcode::SetRecmode, &1_u32);
            }
            rig.run_for(ms(20));
            seen.insert(rig.generation());
        }
        seen.len()
    };
    assert_eq!(generations(&mut rig, secs(9)), 3);
    // The window moves on.
    assert!(generations(&mut rig, secs(10)) <= 4);
    rig.expect("settled", secs(12), Rig::all_ok);
}

#[test]
fn recoveries_can_be_disabled() {
    let mut rig = Rig::up(with_lock(3));
    let (leader, node) = (rig.leads(), rig.follower());
    let disable = |timeout| DisableMessage { pnn: leader, srvid: 55, timeout };
    let answers = |r: &Rig| {
        let of =
            |(_, s, d): &(Pnn, u64, Bytes)| (*s == 55).then(|| i32::from_exact(d).ok()).flatten();
        r.probe(leader).messages.iter().filter_map(of).collect::<Vec<_>>()
    };
    rig.message(leader, leader, srvid::DISABLE_RECOVERIES, &disable(5));
    rig.expect("answered", secs(1), |r| answers(r) == [leader as i32]);
    rig.kill(node);
    let generation = rig.generation();
    rig.always("suspended", ms(4900), |r| r.seen(leader).generation == generation);
    let others: Vec<Pnn> = (0..3).filter(|p| *p != node).collect();
    rig.expect("resumed by itself", secs(2), |r| r.agreed(&others));
    rig.message(leader, leader, srvid::DISABLE_RECOVERIES, &disable(500));
    rig.run_for(ms(10));
    rig.ok(leader, Opcode::SetRecmode, &1_u32);
    rig.run_for(secs(2));
    assert_eq!(rig.seen(leader).recovery_mode, RecoveryMode::Active);
    rig.message(leader, leader, srvid::DISABLE_RECOVERIES, &disable(0));
    rig.expect("enabled", secs(1), |r| r.agreed(&others));
    rig.ok(leader, Opcode::SetRecmode, &1_u32);
    rig.expect("in progress", secs(1), |r| r.cluster(leader).is_some_and(|c| c.run.is_some()));
    rig.message(leader, leader, srvid::DISABLE_RECOVERIES, &disable(5));
    rig.run_for(ms(10));
    let me = leader as i32;
    assert_eq!(answers(&rig), [me, me, me, -11]);
}

/// Large databases take several buffers, and nothing is lost between them.
#[test]
fn many_records_travel_in_many_buffers() {
    let mut options = with_lock(3);
    options.tunables.rec_buffer_size_limit = 4000;
    options.trace = 20;
    let mut rig = Rig::up(options);
    let db = rig.attach(0, DB, Opcode::DbAttach);
    for i in 0_u32..3000 {
        rig.put(i % 3, db, &i.to_be_bytes(), 2, i % 3, &[i as u8; 90]);
        rig.put((i + 1) % 3, db, &i.to_be_bytes(), 1, i % 3, b"stale");
    }
    recover(&mut rig);
    for p in 0..3 {
        assert_eq!(rig.store(p).content(db).map(|c| c.len()), Some(3000));
        assert_eq!(rig.get(p, db, &77_u32.to_be_bytes()).expect("there").1, [77; 90]);
    }
    recover(&mut rig);
    for p in 0..3 {
        assert_eq!(rig.store(p).content(db).map(|c| c.len()), Some(3000));
    }
}

#[test]
fn the_databases_have_the_generation_of_the_map() {
    let mut rig = Rig::up(with_lock(3));
    rig.attach(0, DB, Opcode::DbAttach);
    // S6: a database that does not have it keeps its node in recovery.
    let node = rig.follower();
    rig.ok(node, Opcode::SetRecmode, &1_u32);
    let map = ctdb_wire::types::VnnMap { generation: 0x1234, map: vec![0, 1, 2] };
    rig.ok(node, Opcode::SetVnnMap, &map);
    let refused = rig.ask(node, Opcode::SetRecmode, &0_u32);
    if rig.generation() != 0x1234 || refused.status != 0 {
        rig.expect("recovered", secs(12), Rig::all_ok);
    }
    assert_ne!(rig.seen(node).generation, 0x1234);
}

/// 15.5: a node that could take the lock itself does not leave recovery.
#[test]
fn a_lock_that_nobody_holds_keeps_the_nodes_in_recovery() {
    let mut rig = Rig::up(with_lock(3));
    let (node, generation) = (rig.follower(), rig.generation());
    let testing = |r: &Rig| {
        r.seen(node).generation != generation
            && r.cluster(node).is_some_and(|c| c.recmode.is_testing_lock())
    };
    rig.ok(node, Opcode::SetRecmode, &1_u32);
    rig.expect("testing", secs(1), testing);
    let generation = rig.seen(node).generation;
    rig.give(node, Input::News(crate::News::ClusterLock(crate::ports::LockEvent::TestTaken)));
    rig.always("in recovery", ms(500), |r| r.seen(node).recovery_mode == RecoveryMode::Active);
    rig.expect("recovered by another", secs(4), Rig::all_ok);
    assert_ne!(rig.generation(), generation);
}
