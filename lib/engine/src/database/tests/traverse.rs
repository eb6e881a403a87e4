// SPDX-License-Identifier: GPL-3.0-or-later
//! Traverse (spec/database.md 18).

use super::world::{World, CLIENT};
use crate::packet::{DbId, Local};
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{LtdbHeader, RecData, TraverseStart, TraverseStartExt};
use ctdb_wire::{Decode, Encode};
use std::time::Duration;

const SRVID: u64 = 0xBE00_0000_0000_0007;

fn start(w: &mut World, db: DbId) -> i32 {
    let request = TraverseStart { db_id: db, reqid: 42, srvid: SRVID };
    w.control(0, Opcode::TraverseStart, request.to_vec()).status
}

/// What was delivered to the client: the keys, sorted, and the number of end marks, which must come last.
fn delivered(w: &World) -> (Vec<String>, usize) {
    let seen = w.nodes[0].seen.borrow();
    let mut keys = Vec::new();
    let mut ends = 0;
    for (srvid, data) in &seen.delivered {
        assert_eq!(*srvid, SRVID);
        let record = RecData::from_exact(data).unwrap();
        assert_eq!(record.reqid, 42);
        if record.is_end_of_traverse() {
            ends += 1;
        } else {
            assert_eq!(ends, 0, "a record after the end");
            keys.push(String::from_utf8_lossy(record.key).into_owned());
        }
    }
    keys.sort();
    (keys, ends)
}

fn world() -> (World, DbId, Vec<String>) {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let mut keys = Vec::new();
    for n in 0..30u32 {
        let key = format!("key{n}");
        w.client_write(n % 3, db, &key, "one");
        w.client_write((n + 1) % 3, db, &key, "two");
        keys.push(key);
    }
    keys.sort();
    (w, db, keys)
}

#[test]
fn every_record_comes_once_from_its_owner() {
    let (mut w, db, keys) = world();
    assert_eq!(w.migrate(2, db, "empty"), 0);
    assert_eq!(start(&mut w, db), 0);
    assert_eq!(delivered(&w), (keys, 1));
    let seen = w.nodes[0].seen.borrow();
    for (_, data) in &seen.delivered {
        let record = RecData::from_exact(data).unwrap();
        assert!(record.is_end_of_traverse() || record.data.ends_with(b"two"));
    }
    drop(seen);
    assert_eq!(w.database(0).traverses(), 0);
}

#[test]
fn empty_records_come_when_asked_for() {
    let (mut w, db, mut keys) = world();
    assert_eq!(w.migrate(2, db, "empty"), 0);
    let request = TraverseStartExt { db_id: db, reqid: 42, srvid: SRVID, withemptyrecords: true };
    assert_eq!(w.control(0, Opcode::TraverseStartExt, request.to_vec()).status, 0);
    keys.push("empty".to_owned());
    keys.sort();
    assert_eq!(delivered(&w), (keys, 1));
}

/// Persistent databases: one copy, with tombstones and all; from another node if this one is not in the map.
#[test]
fn one_node_walks_a_persistent_database() {
    for (map, expected) in [(vec![0, 1, 2], "here"), (vec![1, 2], "there")] {
        let mut w = World::new(3);
        let db = w.attach_as("p.tdb", Opcode::DbAttachPersistent);
        let header = LtdbHeader { rsn: 1, dmaster: 2, reserved1: 0, flags: 0 };
        w.plant(0, db, "here", header, "");
        w.plant(1, db, "there", header, "");
        w.publish(0, |view| view.vnnmap = map);
        assert_eq!(start(&mut w, db), 0);
        assert_eq!(delivered(&w), (vec![expected.to_owned()], 1));
    }
}

#[test]
fn starts_are_refused_when_they_must_be() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    assert_eq!(start(&mut w, 0x1234), -1);
    let request = TraverseStart { db_id: db, reqid: 42, srvid: SRVID }.to_vec();
    assert_eq!(w.order(0, &[0], Opcode::TraverseStart, request.clone())[0].status, -1, "no client");
    let remote = w.send_control(1, CLIENT, 0, Opcode::TraverseStart, request);
    w.run();
    assert_eq!(w.answer(1, remote).status, -1);
}

/// A node is silent: after TraverseTimeout the client gets the end mark, and the walks are stopped.
#[test]
fn a_traverse_times_out() {
    let (mut w, db, _) = world();
    w.stalled = vec![(2, 0)];
    assert_eq!(start(&mut w, db), 0);
    assert_eq!(delivered(&w).1, 0);
    w.advance(Duration::from_secs(21));
    assert_eq!(delivered(&w).1, 1);
    assert_eq!(w.nodes[0].daemon.stats_mut().timeouts_traverse, 1);
    assert!(w.take_trace().contains(&"0->1 TRAVERSE_KILL".to_owned()));
    w.stalled.clear();
    w.run();
    assert_eq!(delivered(&w).1, 1, "what is late is ignored");
}

/// 29.11: a node that dies does not make the client wait.
#[test]
fn a_dead_node_does_not_hold_the_end_up() {
    let (mut w, db, _) = world();
    w.stalled = vec![(2, 0)];
    assert_eq!(start(&mut w, db), 0);
    w.kill(2);
    w.run();
    assert_eq!(delivered(&w).1, 1);
}

#[test]
fn a_client_that_goes_ends_its_traverse() {
    let (mut w, db, _) = world();
    w.stalled = vec![(2, 0)];
    assert_eq!(start(&mut w, db), 0);
    w.local(0, Local::ClientGone { client: CLIENT });
    w.run();
    assert_eq!((w.database(0).traverses(), delivered(&w).1), (0, 0));
    assert!(w.take_trace().contains(&"0->1 TRAVERSE_KILL".to_owned()));
}

/// Walks pause while the database is frozen, the link full, the client slow, or a chain held.
#[test]
fn walks_pause() {
    let (mut w, db, keys) = world();
    w.nodes[1].ports.backlog = 100 << 20;
    w.nodes[0].ports.client_backlog = 1_000_000;
    w.nodes[2].ports.store.client_lock(db, b"key0");
    assert_eq!(start(&mut w, db), 0);
    w.advance(Duration::from_secs(1));
    assert_eq!(delivered(&w).1, 0);
    w.nodes[1].ports.backlog = 0;
    w.nodes[0].ports.client_backlog = 0;
    w.nodes[2].ports.store.client_unlock(db, b"key0");
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    w.advance(Duration::from_secs(1));
    assert_eq!(delivered(&w).1, 0);
    w.all_ok(0, &[0], Opcode::DbThaw, &db.to_vec());
    w.advance(Duration::from_secs(1));
    assert_eq!(delivered(&w), (keys, 1));
}
