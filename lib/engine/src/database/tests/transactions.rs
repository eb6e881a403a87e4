// SPDX-License-Identifier: GPL-3.0-or-later
//! UPDATE_RECORD, PUSH_RECORD, TRANS3_COMMIT (spec/database.md 14, 15).

use super::world::{World, CLIENT};
use crate::packet::{DbId, Local};
use crate::view::RecoveryMode;
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{LtdbHeader, PushRecordData, RecBuffer};
use ctdb_wire::Encode;
use std::time::Duration;

const SEQNUM_KEY: &str = "__db_sequence_number__\0";

/// A buffer with one record.
pub fn buffer(db: DbId, rsn: u64, data: &str) -> Vec<u8> {
    let mut buffer = RecBuffer::new(db);
    let header = LtdbHeader { rsn, dmaster: 0, reserved1: 0, flags: 0 };
    buffer.push_with_header(0, b"key", &header, data.as_bytes());
    buffer.to_vec()
}

/// A transaction as clients build it: a record and the sequence number.
fn transaction(db: DbId, number: u64, data: &str) -> Vec<u8> {
    let mut buffer = RecBuffer::new(db);
    let header = LtdbHeader { rsn: number, dmaster: 0, reserved1: 0, flags: 0 };
    buffer.push_with_header(0, b"key", &header, data.as_bytes());
    buffer.push_with_header(0, SEQNUM_KEY.as_bytes(), &header, &number.to_le_bytes());
    buffer.to_vec()
}

fn persistent(nodes: usize) -> (World, DbId) {
    let mut w = World::new(nodes);
    let db = w.attach_as("p.tdb", Opcode::DbAttachPersistent);
    (w, db)
}

fn value(w: &World, node: u32, db: DbId) -> Option<Vec<u8>> {
    w.record(node, db, "key").map(|r| r.3)
}

#[test]
fn a_commit_is_on_all_nodes_when_it_is_answered() {
    let (mut w, db) = persistent(3);
    // A node without the lmaster capability is not in the map, and gets the update all the same (29.6).
    for node in 0..3 {
        w.publish(node, |view| view.vnnmap = vec![0, 1]);
    }
    assert_eq!(w.control(0, Opcode::Trans3Commit, transaction(db, 1, "one")).status, 0);
    for node in 0..3 {
        assert_eq!(value(&w, node, db).unwrap(), b"one");
    }
    let ask = ctdb_wire::types::DbidPadded { db_id: db }.to_vec();
    assert_eq!(w.control(2, Opcode::GetDbSeqnum, ask).data[..], 1u64.to_le_bytes());
    assert_eq!(w.control(1, Opcode::Trans3Commit, transaction(db, 2, "two")).status, 0);
    assert_eq!(value(&w, 0, db).unwrap(), b"two");
    assert_eq!(w.forced(0) + w.forced(1), 0);
    let stats = w.nodes[2].daemon.stats_mut();
    assert_eq!((stats.childwrite_calls, stats.pending_childwrite_calls), (2, 0));
}

#[test]
fn the_answer_waits_for_every_node() {
    let (mut w, db) = persistent(2);
    w.nodes[1].ports.store.hold_writes = true;
    let commit = w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, transaction(db, 1, "one"));
    w.run();
    assert_eq!(w.answered(0, commit), None);
    assert_eq!(w.database(0).pending_commits(), 1);
    // One commit for each database and client.
    let again = w.send_control(0, CLIENT + 1, 0, Opcode::Trans3Commit, transaction(db, 1, "x"));
    w.run();
    assert_eq!(w.answer(0, again).status, -1);
    let store = &mut w.nodes[1].ports.store;
    store.inputs.append(&mut store.held_writes);
    w.run();
    assert_eq!(w.answer(0, commit).status, 0);
}

/// A node refuses: no answer before a recovery has made all copies equal.
#[test]
fn a_failed_commit_is_ended_by_a_recovery() {
    let (mut w, db) = persistent(3);
    w.nodes[2].ports.store.full = true;
    let commit = w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, transaction(db, 1, "one"));
    w.advance(Duration::from_secs(100));
    assert_eq!(w.answered(0, commit), None);
    assert_eq!(w.forced(0), 1);
    w.nodes[2].ports.store.full = false;
    // While recovery mode is active, commits are refused.
    w.publish(0, |view| view.recovery_mode = RecoveryMode::Active);
    let early = w.send_control(0, CLIENT + 1, 0, Opcode::Trans3Commit, transaction(db, 2, "x"));
    w.run();
    assert_eq!(w.answer(0, early).status, -1);
    // The end of the recovery before does not settle it; that of a later one does.
    w.publish(0, |view| view.recovery_mode = RecoveryMode::Normal);
    w.local(0, Local::RecoveryEnded);
    w.run();
    assert_eq!(w.answered(0, commit), None);
    w.publish(0, |view| view.generation = 101);
    w.local(0, Local::RecoveryEnded);
    w.run();
    let reply = w.answer(0, commit);
    assert_eq!((reply.status, &reply.error[..]), (2, "trans3 commit ended by recovery"));
    assert_eq!(w.database(0).pending_commits(), 0);
}

/// A commit that begins between NORMAL and END_RECOVERY belongs to the new epoch.
#[test]
fn the_end_of_a_recovery_does_not_end_a_newer_commit() {
    let (mut w, db) = persistent(2);
    w.stalled = vec![(0, 1)];
    let commit = w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, transaction(db, 1, "one"));
    w.local(0, Local::RecoveryEnded);
    w.run();
    assert_eq!(w.answered(0, commit), None);
    w.stalled.clear();
    w.run();
    assert_eq!(w.answer(0, commit).status, 0);
}

#[test]
fn a_dead_node_and_a_silent_node_fail_a_commit() {
    let (mut w, db) = persistent(2);
    w.stalled = vec![(0, 1)];
    w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, transaction(db, 1, "one"));
    w.run();
    assert_eq!(w.forced(0), 0);
    w.kill(1);
    w.run();
    assert_eq!(w.forced(0), 1);

    let (mut w, db) = persistent(2);
    w.stalled = vec![(0, 1)];
    w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, transaction(db, 1, "one"));
    w.advance(Duration::from_secs(59));
    assert_eq!(w.forced(0), 0);
    w.advance(Duration::from_secs(2));
    assert_eq!(w.forced(0), 1);
}

#[test]
fn a_client_that_dies_in_its_commit_forces_a_recovery() {
    let (mut w, db) = persistent(2);
    w.stalled = vec![(0, 1)];
    w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, transaction(db, 1, "one"));
    w.run();
    w.local(0, Local::ClientGone { client: CLIENT + 1 });
    w.run();
    assert_eq!(w.forced(0), 0);
    w.local(0, Local::ClientGone { client: CLIENT });
    w.run();
    assert_eq!((w.forced(0), w.database(0).pending_commits()), (1, 0));
}

#[test]
fn persistent_update_counters_force_a_recovery_too() {
    let mut w = World::new(1);
    for (opcode, expected) in [(81, 0), (81, 0), (82, 0)] {
        assert_eq!(w.raw_control(0, CLIENT, opcode).status, expected);
    }
    assert_eq!(w.raw_control(0, CLIENT + 1, 82).status, 0);
    assert_eq!(w.raw_control(0, 0, 81).status, -1);
    w.local(0, Local::ClientGone { client: CLIENT + 1 });
    w.run();
    assert_eq!(w.forced(0), 0);
    w.local(0, Local::ClientGone { client: CLIENT });
    w.run();
    assert_eq!(w.forced(0), 1);
}

#[test]
fn updates_are_refused_when_they_must_be() {
    let (mut w, db) = persistent(1);
    let status = |w: &mut World, data| w.order(0, &[0], Opcode::UpdateRecord, data)[0].status;
    assert_eq!(status(&mut w, buffer(0x1234, 1, "v")), -1);
    assert_eq!(status(&mut w, b"short".to_vec()), -1);
    assert_eq!(status(&mut w, [db.to_vec(), 9u32.to_vec()].concat()), -1);
    assert_eq!(status(&mut w, buffer(db, 1, "one")), 0);
    assert_eq!(status(&mut w, buffer(db, 1, "two")), 1, "an old RSN with another value");
    assert_eq!(status(&mut w, buffer(db, 1, "one")), 0, "an old RSN with the same value");
    w.publish(0, |view| view.recovery_mode = RecoveryMode::Active);
    assert_eq!(status(&mut w, buffer(db, 2, "two")), -1);
    assert_eq!(value(&w, 0, db).unwrap(), b"one");
}

/// An update that a slow link delivers after a recovery would undo what the recovery has decided.
#[test]
fn an_update_of_an_earlier_epoch_is_refused() {
    let (mut w, db) = persistent(2);
    w.stalled = vec![(0, 1)];
    w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, transaction(db, 1, "one"));
    w.run();
    assert_eq!(value(&w, 0, db).unwrap(), b"one");
    w.hold_back((0, 1));
    w.stalled.clear();
    // The recovery takes node 1's content: the transaction is undone.
    w.nodes[0].ports.store.files.get_mut(&db).unwrap().content.clear();
    w.recover(1, &[0, 1], 101, db);
    w.give_back((0, 1));
    w.run();
    assert_eq!(value(&w, 1, db), None);
}

/// One at a time, in order; those that wait too long are told so.
#[test]
fn updates_are_serialised_and_time_out() {
    let (mut w, db) = persistent(1);
    w.nodes[0].ports.store.hold_writes = true;
    let updates: Vec<u32> = (1..4)
        .map(|n| w.send_control(0, 0, 0, Opcode::UpdateRecord, buffer(db, n, &n.to_string())))
        .collect();
    w.run();
    assert_eq!(value(&w, 0, db).unwrap(), b"1");
    assert_eq!(w.nodes[0].ports.store.held_writes.len(), 1);
    w.advance(Duration::from_secs(61));
    for reqid in updates {
        let reply = w.answer(0, reqid);
        assert_eq!((reply.status, &reply.error[..]), (-1, "timeout in ctdb_persistent_lock"));
    }
    assert_eq!(w.nodes[0].ports.store.held_writes.len(), 1, "the others never began");
}

/// 14.1 on volatile databases: replace only, by the store rule, under the chain lock.
#[test]
fn updates_of_volatile_databases_replace_only() {
    let mut w = World::new(1);
    let db = w.attach("v.tdb");
    let status = |w: &mut World, data| w.order(0, &[0], Opcode::UpdateRecord, data)[0].status;
    assert_eq!(status(&mut w, buffer(db, 1, "v")), 0);
    assert_eq!(value(&w, 0, db), None);
    w.plant(0, db, "key", LtdbHeader { rsn: 5, dmaster: 1, reserved1: 0, flags: 0 }, "old");
    assert_eq!(status(&mut w, buffer(db, 5, "v")), 1);
    w.nodes[0].ports.store.client_lock(db, b"key");
    let update = w.send_control(0, 0, 0, Opcode::UpdateRecord, buffer(db, 6, "v"));
    w.run();
    assert_eq!(w.answered(0, update), None);
    w.nodes[0].ports.store.client_unlock(db, b"key");
    w.run();
    assert_eq!(w.answer(0, update).status, 0);
    // The record's owner is this node: RSN + 1.
    assert_eq!(w.record(0, db, "key"), Some((7, 0, 0, b"v".to_vec())));
    // Several records: a transaction.
    let mut two = RecBuffer::new(db);
    for (key, rsn) in [("key", 9), ("absent", 9)] {
        let header = LtdbHeader { rsn, dmaster: 1, reserved1: 0, flags: 0 };
        two.push_with_header(0, key.as_bytes(), &header, b"two");
    }
    assert_eq!(status(&mut w, two.to_vec()), 0);
    assert_eq!(w.record(0, db, "key"), Some((9, 1, 0, b"two".to_vec())));
    assert_eq!(w.record(0, db, "absent"), None);
}

/// 14.6.
#[test]
fn pushed_records_are_stored_and_synced() {
    let mut w = World::new(2);
    let db = w.attach("v.tdb");
    let push = |generation, dmaster, rsn, value: &'static [u8]| {
        let hdr = LtdbHeader { rsn, dmaster, reserved1: 0, flags: 1 };
        PushRecordData { generation, db_id: db, hdr, key: b"key", value }.to_vec()
    };
    let status = |w: &mut World, data| w.order(1, &[0], Opcode::PushRecord, data)[0].status;
    assert_eq!(status(&mut w, push(99, 1, 5, b"old epoch")), 0);
    assert_eq!(status(&mut w, push(100, 0, 5, b"my own")), 0);
    assert_eq!(value(&w, 0, db), None);
    assert_eq!(status(&mut w, push(100, 1, 5, b"new")), 0);
    assert_eq!(w.record(0, db, "key"), Some((5, 1, 0x10001, b"new".to_vec())));
    assert_eq!(w.nodes[0].ports.store.synced, 1);
    assert_eq!(status(&mut w, push(100, 1, 4, b"older")), 0);
    assert_eq!(value(&w, 0, db).unwrap(), b"new");
    assert_eq!(status(&mut w, b"malformed".to_vec()), -1);
}
