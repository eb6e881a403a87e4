// SPDX-License-Identifier: GPL-3.0-or-later
//! Pull, push, commit (spec/database.md 19.2, 20).

use super::world::{World, CLIENT, RECOVERY_SRVID};
use crate::database::record::join;
use crate::packet::Pnn;
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{LtdbHeader, PulldbExt, RecBuffer, RecData, Transdb};
use ctdb_wire::Encode;

const MIGRATED: u32 = 0x10000;

fn header(rsn: u64, dmaster: Pnn, flags: u32) -> LtdbHeader {
    LtdbHeader { rsn, dmaster, reserved1: 0, flags }
}

/// Calls that were lost with a node are asked again after the recovery.
#[test]
fn a_dead_node_costs_a_recovery_and_no_call() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    assert_eq!(w.migrate(2, db, &key), 0);
    // The lmaster sends the call on to node 2, which dies with it.
    w.stalled = vec![(1, 2)];
    let call = w.send_call(0, CLIENT, db, &key, 0xFF00_0002, 0);
    w.run();
    w.kill(2);
    w.stalled.clear();
    w.run();
    assert_eq!(w.reply(0, call), None);
    w.recover(1, &[0, 1], 101, db);
    assert_eq!(w.reply(0, call), Some((0, "value".into())));
    assert_eq!(w.record(0, db, &key).unwrap().1, 0);
    assert_eq!(w.database(0).pending_calls(), 0);
}

/// A transfer that is in flight loses nothing, wherever it is interrupted (I7).
#[test]
fn a_transfer_in_flight_is_not_lost() {
    for stalled in [(0, 1), (1, 2)] {
        let mut w = World::new(3);
        let db = w.attach("test.tdb");
        let key = w.key_of(1);
        w.client_write(0, db, &key, "value");
        w.stalled = vec![stalled];
        let call = w.send_call(2, CLIENT, db, &key, 0xFF00_0002, 0);
        w.run();
        assert_eq!(w.reply(2, call), None);
        // The ownership packet arrives after the epoch has changed, and counts for nothing.
        w.hold_back(stalled);
        w.stalled.clear();
        w.recover(0, &[0, 1, 2], 101, db);
        w.give_back(stalled);
        w.run();
        assert_eq!(w.reply(2, call), Some((0, "value".into())), "{stalled:?}");
        let owners = w.copies(db, &key).iter().flatten().filter(|c| c.1 == 2).count();
        assert!(owners >= 1);
        assert_eq!(w.record(2, db, &key).unwrap().3, b"value");
    }
}

/// The merge keeps the newest copy, drops tombstones and read-only flags, and gives all to the leader.
#[test]
fn a_recovery_keeps_the_newest_copies() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    w.plant(0, db, "a", header(5, 1, 0), "old");
    w.plant(1, db, "a", header(7, 1, 0x0100_0000), "new");
    w.plant(2, db, "a", header(6, 1, 0x0200_0000), "stale");
    w.plant(0, db, "gone", header(3, 0, MIGRATED), "was here");
    w.plant(2, db, "gone", header(4, 2, MIGRATED), "");
    w.recover(1, &[0, 1, 2], 101, db);
    for node in 0..3 {
        let rsn = if node == 1 { 8 } else { 7 };
        assert_eq!(w.record(node, db, "a"), Some((rsn, 1, MIGRATED, b"new".to_vec())));
        assert_eq!(w.record(node, db, "gone"), None);
        assert_eq!(w.db(node, db).generation(), 101);
    }
}

#[test]
fn a_large_database_comes_in_slices_and_bounded_messages() {
    let mut w = World::with(
        2,
        &[],
        crate::Tunables { rec_buffer_size_limit: 10_000, ..Default::default() },
    );
    let db = w.attach("test.tdb");
    for n in 0..3000 {
        w.plant(1, db, &format!("k{n}"), header(2, 1, 0), &"x".repeat(n % 50 + 1));
    }
    w.order(0, &[1], Opcode::DbFreeze, db.to_vec());
    w.take_trace();
    assert_eq!(w.pull(0, &[1], db).len(), 3000);
    let messages = w.take_trace().iter().filter(|t| t.contains("REQ_MESSAGE")).count();
    assert!((20..80).contains(&messages), "{messages}");
}

#[test]
fn a_pull_pauses_while_the_link_is_full() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    w.plant(1, db, "k", header(2, 1, 0), "v");
    w.order(0, &[1], Opcode::DbFreeze, db.to_vec());
    w.nodes[1].ports.backlog = 100 << 20;
    let request = PulldbExt { db_id: db, lmaster: u32::MAX, srvid: RECOVERY_SRVID }.to_vec();
    let pull = w.send_control(0, 0, 1, Opcode::DbPull, request);
    w.advance(std::time::Duration::from_millis(100));
    assert_eq!(w.answered(0, pull), None);
    w.nodes[1].ports.backlog = 0;
    w.advance(std::time::Duration::from_millis(100));
    assert_eq!(w.answer(0, pull).data[..], 1u32.to_le_bytes());
    // A thaw ends a pull that runs.
    w.nodes[1].ports.backlog = 100 << 20;
    let request = PulldbExt { db_id: db, lmaster: u32::MAX, srvid: RECOVERY_SRVID }.to_vec();
    let pull = w.send_control(0, 0, 1, Opcode::DbPull, request);
    w.run();
    w.all_ok(0, &[1], Opcode::DbThaw, &db.to_vec());
    assert_eq!(w.answer(0, pull).status, -1);
}

/// Every control in the wrong state is refused and changes nothing.
#[test]
fn the_order_of_steps_is_enforced() {
    let mut w = World::new(1);
    let db = w.attach("test.tdb");
    w.plant(0, db, "k", header(2, 0, 0), "v");
    let t = Transdb { db_id: db, tid: 101 }.to_vec();
    let other = Transdb { db_id: db, tid: 102 }.to_vec();
    let ext = PulldbExt { db_id: db, lmaster: 0, srvid: 9 }.to_vec();
    let id = db.to_vec();
    let status = |w: &mut World, opcode, data: &Vec<u8>| {
        w.order(0, &[0], opcode, data.clone()).remove(0).status
    };
    let not_frozen = [
        (Opcode::DbTransactionStart, &t),
        (Opcode::DbTransactionCommit, &t),
        (Opcode::DbTransactionCancel, &id),
        (Opcode::WipeDatabase, &t),
        (Opcode::DbPull, &ext),
        (Opcode::DbPushStart, &ext),
        (Opcode::DbPushConfirm, &id),
    ];
    for (opcode, data) in not_frozen {
        assert_eq!(status(&mut w, opcode, data), -1, "{opcode} without freeze");
    }
    w.all_ok(0, &[0], Opcode::DbFreeze, &id);
    for (opcode, data) in [(Opcode::WipeDatabase, &t), (Opcode::DbTransactionCommit, &t)] {
        assert_eq!(status(&mut w, opcode, data), -1, "{opcode} without transaction");
    }
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    for opcode in [Opcode::WipeDatabase, Opcode::DbTransactionCommit] {
        assert_eq!(status(&mut w, opcode, &other), -1, "{opcode} of another transaction");
    }
    assert_eq!(status(&mut w, Opcode::DbPushConfirm, &id), -1, "no push");
    // Wiped and cancelled: the old content is untouched.
    w.all_ok(0, &[0], Opcode::WipeDatabase, &t);
    w.all_ok(0, &[0], Opcode::DbTransactionCancel, &id);
    assert_eq!(status(&mut w, Opcode::DbTransactionCommit, &t), -1);
    assert_eq!(w.record(0, db, "k").unwrap().3, b"v");
    // A second START takes the place of the first.
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    w.all_ok(0, &[0], Opcode::WipeDatabase, &t);
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &other);
    w.all_ok(0, &[0], Opcode::DbTransactionCommit, &other);
    assert_eq!(w.record(0, db, "k").unwrap().3, b"v");
    assert_eq!(w.db(0, db).generation(), 102);
    // A thaw before the commit drops what was pushed.
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    w.all_ok(0, &[0], Opcode::WipeDatabase, &t);
    w.push(0, &[0], db, &[(b"new".to_vec(), join(&header(1, 0, 0), b"x"))]);
    w.all_ok(0, &[0], Opcode::DbThaw, &id);
    assert_eq!(w.record(0, db, "new"), None);
    assert_eq!(w.record(0, db, "k").unwrap().3, b"v");
    assert_eq!(w.db(0, db).generation(), 102);
}

/// Without WIPE the old records stay and pushed ones are added.
#[test]
fn a_push_without_wipe_adds() {
    let mut w = World::new(1);
    let db = w.attach_as("p.tdb", Opcode::DbAttachPersistent);
    w.plant(0, db, "k", header(2, 0, 0), "v");
    let t = Transdb { db_id: db, tid: 101 }.to_vec();
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    w.push(0, &[0], db, &[(b"new".to_vec(), join(&header(1, 0, 0x0200_0000), b"x"))]);
    w.all_ok(0, &[0], Opcode::DbTransactionCommit, &t);
    assert_eq!(w.record(0, db, "k").unwrap().3, b"v");
    assert_eq!(w.record(0, db, "new"), Some((1, 0, 0, b"x".to_vec())));
}

#[test]
fn a_malformed_push_is_noticed_by_its_count() {
    let mut w = World::new(1);
    let db = w.attach("test.tdb");
    let t = Transdb { db_id: db, tid: 101 }.to_vec();
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    for bad in [b"short".to_vec(), {
        let mut buffer = RecBuffer::new(db);
        buffer.push(&RecData { reqid: 0, key: b"k", data: b"no header" });
        buffer.to_vec()
    }] {
        let start = PulldbExt { db_id: db, lmaster: 0, srvid: 9 }.to_vec();
        w.all_ok(0, &[0], Opcode::DbPushStart, &start);
        let mut good = RecBuffer::new(db);
        good.push_with_header(0, b"good", &header(1, 0, 0), b"x");
        w.send_message(0, 0, 9, bad);
        w.send_message(0, 0, 9, good.to_vec());
        w.run();
        let reply = w.order(0, &[0], Opcode::DbPushConfirm, db.to_vec()).remove(0);
        assert_eq!(reply.data[..], 0u32.to_le_bytes());
    }
}

/// `ctdb restoredb` of two databases at once uses one srvid; backups carry a wrong database id.
#[test]
fn pushes_with_one_srvid_are_told_apart_if_they_can_be() {
    let mut w = World::new(1);
    let (a, b) = (w.attach("a.tdb"), w.attach("b.tdb"));
    for db in [a, b] {
        w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
        let t = Transdb { db_id: db, tid: 5 }.to_vec();
        w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
        w.all_ok(0, &[0], Opcode::WipeDatabase, &t);
        let start = PulldbExt { db_id: db, lmaster: 0, srvid: 9 }.to_vec();
        w.all_ok(0, &[0], Opcode::DbPushStart, &start);
    }
    let counts = |w: &mut World| {
        [a, b].map(|db| {
            let reply = w.order(0, &[0], Opcode::DbPushConfirm, db.to_vec()).remove(0);
            u32::from_le_bytes(reply.data[..].try_into().unwrap())
        })
    };
    let buffer = |db| {
        let mut buffer = RecBuffer::new(db);
        buffer.push_with_header(0, b"k", &header(1, 0, 0), b"x");
        buffer.to_vec()
    };
    w.send_message(0, 0, 9, buffer(a));
    w.run();
    assert_eq!(counts(&mut w), [1, 0]);
    let start = PulldbExt { db_id: b, lmaster: 0, srvid: 9 }.to_vec();
    w.all_ok(0, &[0], Opcode::DbPushStart, &start);
    w.send_message(0, 0, 9, buffer(0xDEAD_BEEF));
    w.run();
    assert_eq!(w.order(0, &[0], Opcode::DbPushConfirm, b.to_vec())[0].data[..], [1, 0, 0, 0]);
}

/// The commit cannot be stored: -1, and undefined content is never merged.
#[test]
fn a_failed_commit_invalidates_a_volatile_database() {
    let mut w = World::new(1);
    let db = w.attach("test.tdb");
    let t = Transdb { db_id: db, tid: 101 }.to_vec();
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    w.all_ok(0, &[0], Opcode::WipeDatabase, &t);
    w.nodes[0].ports.store.full = true;
    assert_eq!(w.order(0, &[0], Opcode::DbTransactionCommit, t.clone())[0].status, -1);
    assert!(w.db(0, db).is_invalid());
    assert_eq!(w.db(0, db).generation(), 100);
    w.plant(0, db, "half", header(9, 0, 0), "x");
    assert_eq!(w.pull(0, &[0], db), []);
    // The next attempt succeeds and makes it good.
    w.nodes[0].ports.store.full = false;
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    w.all_ok(0, &[0], Opcode::WipeDatabase, &t);
    w.all_ok(0, &[0], Opcode::DbTransactionCommit, &t);
    assert!(!w.db(0, db).is_invalid());
    assert_eq!(w.record(0, db, "half"), None);
}

/// A thaw that arrives while the files are replaced waits for the end.
#[test]
fn a_thaw_waits_for_a_running_commit() {
    let mut w = World::new(1);
    let db = w.attach("test.tdb");
    let t = Transdb { db_id: db, tid: 101 }.to_vec();
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    w.all_ok(0, &[0], Opcode::WipeDatabase, &t);
    w.nodes[0].ports.store.hold_writes = true;
    let commit = w.send_control(0, 0, 0, Opcode::DbTransactionCommit, t.clone());
    let thaw = w.send_control(0, 0, 0, Opcode::DbThaw, db.to_vec());
    let start = w.send_control(0, 0, 0, Opcode::DbTransactionStart, t);
    w.run();
    assert_eq!((w.answered(0, commit), w.answered(0, thaw)), (None, None));
    assert_eq!(w.answer(0, start).status, -1);
    assert!(w.nodes[0].ports.store.files[&db].frozen);
    let store = &mut w.nodes[0].ports.store;
    store.inputs.append(&mut store.held_writes);
    w.run();
    assert_eq!((w.answer(0, commit).status, w.answer(0, thaw).status), (0, 0));
    assert!(!w.nodes[0].ports.store.files[&db].frozen);
    assert_eq!(w.db(0, db).generation(), 101);
}
