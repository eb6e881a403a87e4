// SPDX-License-Identifier: GPL-3.0-or-later
//! Freeze, thaw, inactive nodes (spec/database.md 19, 21).

use super::world::{World, CLIENT, GENERATION};
use crate::database::FreezeState;
use crate::packet::Local;
use crate::view::{flags, RecoveryMode};
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{DbidPadded, Transdb};
use ctdb_wire::Encode;

const FETCH: u32 = 0xFF00_0002;

#[test]
fn freeze_and_thaw_are_idempotent() {
    let mut w = World::new(1);
    let db = w.attach("test.tdb");
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    assert_eq!(w.db(0, db).freeze_state(), FreezeState::Frozen);
    w.all_ok(0, &[0], Opcode::DbThaw, &db.to_vec());
    w.all_ok(0, &[0], Opcode::DbThaw, &db.to_vec());
    assert_eq!(w.db(0, db).freeze_state(), FreezeState::None);
}

/// Work that waited for a chain, and work that arrives during the freeze, is done after the thaw, in order.
#[test]
fn work_is_held_until_the_thaw() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(0, db, &key, "value");
    w.nodes[0].ports.store.client_lock(db, key.as_bytes());
    let remote = w.send_call(1, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.db(0, db).waiting(), (0, 1));
    let freeze = w.send_control(0, 0, 0, Opcode::DbFreeze, db.to_vec());
    w.run();
    assert_eq!(w.answer(0, freeze).status, 0);
    assert_eq!(w.db(0, db).waiting(), (1, 0));
    assert!(w.nodes[0].ports.store.waits.is_empty(), "no waiter is left");
    let local = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.db(0, db).waiting(), (2, 0));
    assert_eq!((w.reply(0, local), w.reply(1, remote)), (None, None));
    w.nodes[0].ports.store.busy.clear();
    w.all_ok(0, &[0], Opcode::DbThaw, &db.to_vec());
    // The remote call was first: node 1 got the record, then node 0 got it back.
    assert_eq!(w.reply(1, remote), Some((0, "value".into())));
    assert_eq!(w.reply(0, local), Some((0, "value".into())));
    assert_eq!(w.copies(db, &key), [Some((6, 0)), Some((4, 0))]);
}

/// A freeze that a thaw overtakes; a lock that is lost.
#[test]
fn a_thaw_decides_a_pending_freeze() {
    let mut w = World::new(1);
    let db = w.attach("test.tdb");
    let freeze = w.send_control(0, 0, 0, Opcode::DbFreeze, db.to_vec());
    let thaw = w.send_control(0, 0, 0, Opcode::DbThaw, db.to_vec());
    w.run();
    assert_eq!((w.answer(0, freeze).status, w.answer(0, thaw).status), (-1, 0));
    assert!(!w.nodes[0].ports.store.files[&db].frozen);
    assert_eq!(w.db(0, db).freeze_state(), FreezeState::None);

    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    let t = Transdb { db_id: db, tid: 7 }.to_vec();
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &t);
    w.input(0, crate::Input::News(crate::News::Frozen { db, ok: false }));
    w.run();
    assert_eq!(w.db(0, db).freeze_state(), FreezeState::None);
    assert_eq!(w.order(0, &[0], Opcode::DbTransactionCommit, t)[0].status, -1);
}

#[test]
fn a_freeze_waits_for_a_running_write() {
    let mut w = World::new(1);
    let db = w.attach_as("p.tdb", Opcode::DbAttachPersistent);
    w.nodes[0].ports.store.hold_writes = true;
    let update =
        w.send_control(0, 0, 0, Opcode::UpdateRecord, super::transactions::buffer(db, 1, "v"));
    let second =
        w.send_control(0, 0, 0, Opcode::UpdateRecord, super::transactions::buffer(db, 2, "w"));
    w.run();
    let freeze = w.send_control(0, 0, 0, Opcode::DbFreeze, db.to_vec());
    w.run();
    assert_eq!(w.db(0, db).freeze_state(), FreezeState::AfterWrite);
    assert_eq!(w.answer(0, second).status, -1, "what has not begun is refused");
    let store = &mut w.nodes[0].ports.store;
    assert!(!store.files[&db].frozen);
    store.inputs.append(&mut store.held_writes);
    w.run();
    assert_eq!((w.answer(0, update).status, w.answer(0, freeze).status), (0, 0));
    assert!(w.nodes[0].ports.store.files[&db].frozen);
}

/// 21.2: everything is frozen, generations are invalid, and volatile records are not given away.
#[test]
fn an_inactive_node_gives_no_records() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(1, db, &key, "stale");
    w.publish(1, |view| {
        view.generation = 1;
        view.recovery_mode = RecoveryMode::Active;
        view.nodes[1].flags = flags::STOPPED;
    });
    let reqid = w.local(1, Local::BecomeInactive);
    w.run();
    assert_eq!(w.answer(1, reqid).status, 0);
    assert!(w.db(1, db).is_invalid());
    assert_eq!(w.db(1, db).generation(), 1);
    assert!(w.nodes[1].daemon.stats_mut().frozen);
    assert_eq!(w.pull(1, &[1], db), []);
    // A database that appears meanwhile is frozen with the others.
    let other = w.order(0, &[1], Opcode::DbAttach, b"other.tdb\0".to_vec());
    assert_eq!(other[0].status, 0);
    let other = crate::hash::database_id("other.tdb");
    assert_eq!(w.db(1, other).freeze_state(), FreezeState::Frozen);
    // A recovery that began before does not open the files of a node that has left it.
    for db in [db, other] {
        let thaw = w.order(0, &[1], Opcode::DbThaw, db.to_vec());
        assert_eq!(thaw[0].status, -1);
        assert_eq!(w.db(1, db).freeze_state(), FreezeState::Frozen);
    }
    // It comes back: the recovery overwrites its file, and only then its records count again.
    w.publish(1, |view| view.nodes[1].flags = 0);
    w.recover_all(0, &[0, 1], 101);
    assert!(!w.db(1, db).is_invalid());
    assert_eq!(w.record(1, db, &key), None, "the other node never had it");
    assert!(!w.nodes[1].daemon.stats_mut().frozen);
    assert_eq!(w.db(1, other).freeze_state(), FreezeState::None);
}

#[test]
fn freeze_without_databases_is_decided_at_once() {
    let mut w = World::new(1);
    assert_eq!(w.order(0, &[0], Opcode::Freeze, vec![])[0].status, 0);
}

/// 19.3: recovery mode cannot end while a database is of another generation.
#[test]
fn leaving_recovery_needs_one_generation() {
    let mut w = World::new(1);
    w.attach("test.tdb");
    let refused = w.local(0, Local::LeaveRecovery { generation: GENERATION + 1 });
    w.run();
    assert_eq!(w.answer(0, refused).status, -1);
}

/// While the VNN map is newer than the database, calls wait: they would be evaluated with the wrong lmaster.
#[test]
fn a_new_map_holds_calls_until_the_database_follows() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(1, db, &key, "value");
    w.publish(0, |view| {
        view.generation = 101;
        view.vnnmap = vec![0];
    });
    let reqid = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.record(0, db, &key), None, "nothing was invented");
    assert_eq!(w.db(0, db).waiting(), (1, 0));
    w.recover(0, &[0, 1], 101, db);
    assert_eq!(w.reply(0, reqid), Some((0, "value".into())));
}

#[test]
fn sequence_numbers_can_be_read_in_a_recovery_transaction_only() {
    let mut w = World::new(1);
    let db = w.attach_as("p.tdb", Opcode::DbAttachPersistent);
    let ask = DbidPadded { db_id: db }.to_vec();
    assert_eq!(w.control(0, Opcode::GetDbSeqnum, ask.clone()).status, 0);
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    assert_eq!(w.control(0, Opcode::GetDbSeqnum, ask.clone()).status, -1);
    w.all_ok(0, &[0], Opcode::DbTransactionStart, &Transdb { db_id: db, tid: 5 }.to_vec());
    assert_eq!(w.control(0, Opcode::GetDbSeqnum, ask).status, 0);
}
