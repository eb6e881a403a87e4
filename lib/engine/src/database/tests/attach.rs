// SPDX-License-Identifier: GPL-3.0-or-later
//! Attach, detach, properties and queries (spec/database.md 3, 16, 23).

use super::world::{config, World, CLIENT, GENERATION};
use crate::hash::database_id;
use crate::packet::Local;
use crate::time::{Time, WallTime};
use crate::view::{flags, RecoveryMode, RunState};
use crate::{Daemon, Tunables};
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{Dbid, DbidMap, DbidPadded};
use ctdb_wire::{Decode, Encode};
use std::time::Duration;

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

#[test]
fn an_attach_reaches_every_node_and_the_kind_counts() {
    let mut w = World::new(3);
    let volatile = w.attach("a.tdb");
    let persistent = w.attach_as("b.tdb", Opcode::DbAttachPersistent);
    let replicated = w.attach_as("c.tdb", Opcode::DbAttachReplicated);
    for node in 0..3 {
        let reply = w.control(node, Opcode::GetDbMap, vec![]);
        let map = DbidMap::from_exact(&reply.data).unwrap();
        let expected = [Dbid { db_id: replicated, flags: 8 }, Dbid { db_id: persistent, flags: 1 }]
            .into_iter()
            .chain([Dbid { db_id: volatile, flags: 0 }]);
        assert_eq!(map.dbs, expected.collect::<Vec<_>>());
    }
    // 3.1 step 4: lenient one way only.
    assert_eq!(w.control(1, Opcode::DbAttach, name("b.tdb")).status, 0);
    assert_eq!(w.control(1, Opcode::DbAttachPersistent, name("a.tdb")).status, -1);
    assert_eq!(w.control(1, Opcode::DbAttachPersistent, name("c.tdb")).status, -1);
}

#[test]
fn names_are_checked() {
    let mut w = World::new(1);
    for bad in ["", "../x.tdb", "a/b.tdb", "..", &"x".repeat(300)] {
        assert_eq!(w.control(0, Opcode::DbAttach, name(bad)).status, -1, "{bad}");
    }
    assert_eq!(w.control(0, Opcode::DbAttach, b"no-nul.tdb".to_vec()).status, -1);
    assert_eq!(w.control(0, Opcode::DbAttach, vec![0xFF, 0]).status, -1);
}

#[test]
fn queries_answer_or_refuse() {
    let mut w = World::new(1);
    let db = w.attach("test.tdb");
    assert_eq!(&w.control(0, Opcode::GetDbName, db.to_vec()).data[..], b"test.tdb\0");
    assert!(w.control(0, Opcode::GetDbPath, db.to_vec()).data.ends_with(b".tdb.0\0"));
    assert_eq!(&w.control(0, Opcode::DbOpenFlags, db.to_vec()).data[..], 0x1441u32.to_le_bytes());
    let health = w.control(0, Opcode::DbGetHealth, db.to_vec());
    assert_eq!((health.status, health.data.len()), (0, 0));
    let seqnum = DbidPadded { db_id: db }.to_vec();
    assert_eq!(&w.control(0, Opcode::GetDbSeqnum, seqnum).data[..], [0; 8]);
    assert!(w.nodes[0].ports.store.files[&db].content.is_empty(), "a query stores nothing");
    let one_id = [
        Opcode::GetDbPath,
        Opcode::GetDbName,
        Opcode::DbOpenFlags,
        Opcode::DbGetHealth,
        Opcode::GetDbStatistics,
        Opcode::DbFreeze,
        Opcode::DbThaw,
        Opcode::DbTransactionCancel,
        Opcode::DbPushConfirm,
        Opcode::SetDbReadonly,
        Opcode::SetDbSticky,
        Opcode::EnableSeqnum,
        Opcode::DbDetach,
    ];
    for opcode in one_id {
        assert_eq!(w.control(0, opcode, 0x1234u32.to_vec()).status, -1, "{opcode}");
        assert_eq!(w.control(0, opcode, vec![1]).status, -1, "{opcode}: wrong size");
    }
}

#[test]
fn attaches_wait_for_the_end_of_a_recovery() {
    let mut w = World::new(2);
    w.publish(0, |view| view.recovery_mode = RecoveryMode::Active);
    let first = w.send_control(0, CLIENT, 0, Opcode::DbAttach, name("a.tdb"));
    let gone = w.send_control(0, CLIENT + 1, 0, Opcode::DbAttach, name("b.tdb"));
    w.run();
    assert_eq!(w.answered(0, first), None);
    // Other nodes and recovery attach at once.
    let remote = w.send_control(1, CLIENT, 0, Opcode::DbAttach, name("c.tdb"));
    w.run();
    assert_eq!(w.answer(1, remote).status, 0);
    w.local(0, Local::ClientGone { client: CLIENT + 1 });
    w.local(0, Local::LeaveRecovery { generation: GENERATION });
    w.publish(0, |view| view.recovery_mode = RecoveryMode::Normal);
    w.run();
    assert_eq!(w.answered(0, first), None);
    w.advance(Duration::from_millis(1100));
    assert_eq!(w.answer(0, first).status, 0);
    assert_eq!(w.answered(0, gone), None);
    assert!(w.database(1).database(database_id("a.tdb")).is_some());
    assert!(w.database(0).database(database_id("b.tdb")).is_none());
}

#[test]
fn deferred_attaches_time_out_and_a_run_state_releases_them() {
    let mut w = World::new(1);
    w.publish(0, |view| view.recovery_mode = RecoveryMode::Active);
    let late = w.send_control(0, CLIENT, 0, Opcode::DbAttach, name("a.tdb"));
    w.advance(Duration::from_secs(119));
    assert_eq!(w.answered(0, late), None);
    w.advance(Duration::from_secs(2));
    assert_eq!(w.answer(0, late).status, -1);

    w.publish(0, |view| {
        view.recovery_mode = RecoveryMode::Normal;
        view.run_state = RunState::FirstRecovery;
    });
    let early = w.send_control(0, CLIENT, 0, Opcode::DbAttach, name("a.tdb"));
    w.run();
    assert_eq!(w.answered(0, early), None);
    w.publish(0, |view| view.run_state = RunState::Startup);
    w.advance(Duration::from_millis(1100));
    assert_eq!(w.answer(0, early).status, 0);
}

#[test]
fn an_inactive_node_refuses_its_clients() {
    let mut w = World::new(1);
    w.publish(0, |view| view.nodes[0].flags = flags::STOPPED);
    assert_eq!(w.control(0, Opcode::DbAttach, name("a.tdb")).status, -1);
    // AllowClientDBAttach 0 stops clients, not daemons (29.12).
    let mut w = World::with(2, &[], Tunables { allow_client_db_attach: 0, ..Tunables::default() });
    assert_eq!(w.control(0, Opcode::DbAttach, name("a.tdb")).status, -1);
    assert_eq!(w.order(1, &[0], Opcode::DbAttach, name("a.tdb"))[0].status, 0);
}

#[test]
fn persistent_databases_are_there_at_start_and_frozen() {
    let mut w = World::with(2, &["secrets.tdb"], Tunables::default());
    let db = database_id("secrets.tdb");
    assert_eq!(w.db(0, db).freeze_state(), crate::database::FreezeState::Frozen);
    assert!(w.nodes[0].daemon.stats_mut().frozen);
    w.recover(0, &[0, 1], 101, db);
    assert_eq!(w.db(0, db).freeze_state(), crate::database::FreezeState::None);
    assert!(!w.nodes[0].daemon.stats_mut().frozen);
}

#[test]
fn an_unhealthy_database_stops_the_start() {
    let mut ports = super::world::TestPorts::default();
    ports.store.names = vec!["secrets.tdb".to_owned()];
    ports.store.health.insert("secrets.tdb".to_owned(), "bad".to_owned());
    let services: Vec<Box<dyn crate::Service>> = vec![Box::<crate::database::Database>::default()];
    let mut daemon = Daemon::new(config(0, vec![]), Tunables::default(), services);
    let why = daemon.start(Time(0), WallTime::default(), &mut ports).unwrap_err();
    assert!(why.contains("Failed to attach to persistent database 'secrets.tdb.0'"), "{why}");
}

#[test]
fn detach_needs_clients_locked_out() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    assert_eq!(w.control(0, Opcode::DbDetach, db.to_vec()).status, -1);
    let mut w = World::with(2, &[], Tunables { allow_client_db_attach: 0, ..Tunables::default() });
    assert_eq!(w.order(0, &[0], Opcode::DbAttach, name("test.tdb"))[0].status, 0);
    // A call is outstanding: its client is told.
    let key = w.key_of(1);
    w.stalled = vec![(0, 1)];
    let call = w.send_call(0, CLIENT, db, &key, 0xFF00_0002, 0);
    w.run();
    assert_eq!(w.control(0, Opcode::DbDetach, db.to_vec()).status, 0);
    w.stalled.clear();
    w.advance(Duration::from_secs(1));
    assert_eq!(w.reply(0, call).unwrap().0, -1);
    for node in 0..2 {
        assert!(w.database(node).database(db).is_none());
        assert!(w.nodes[node as usize].ports.store.files.is_empty());
    }
}

/// 16.2: the fact of a change reaches the other nodes, and is not echoed.
#[test]
fn sequence_number_changes_are_broadcast() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    for node in 0..2 {
        assert_eq!(w.control(node, Opcode::EnableSeqnum, db.to_vec()).status, 0);
    }
    let seqnum = |w: &World, node: usize| w.nodes[node].ports.store.files[&db].seqnum;
    w.advance(Duration::from_secs(2));
    assert_eq!((seqnum(&w, 0), seqnum(&w, 1)), (0, 0));
    w.nodes[0].ports.store.files.get_mut(&db).unwrap().seqnum = 5;
    w.advance(Duration::from_secs(5));
    assert_eq!((seqnum(&w, 0), seqnum(&w, 1)), (5, 1));
}
