// SPDX-License-Identifier: GPL-3.0-or-later
//! Vacuuming (spec/database.md 17, 14.2-14.5).

use super::world::World;
use crate::packet::{DbId, Pnn};
use crate::Tunables;
use ctdb_wire::control::Opcode;
use ctdb_wire::types::{DbVacuum, LtdbHeader, RecBuffer};
use ctdb_wire::{Decode, Encode};
use std::time::Duration;

const MIGRATED: u32 = 0x10000;

fn interval(w: &mut World) {
    w.advance(Duration::from_secs(11));
}

/// 17.6, whole.
#[test]
fn a_tombstone_travels_to_its_lmaster_and_disappears() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "one");
    w.client_write(2, db, &key, "two");
    w.client_delete(2, db, &key);
    assert_eq!(w.copies(db, &key), [Some((3, 2)), Some((3, 2)), Some((5, 2))]);
    interval(&mut w);
    w.take_trace();
    interval(&mut w);
    assert_eq!(w.copies(db, &key)[1], Some((7, 1)), "node 1 has fetched it");
    interval(&mut w);
    interval(&mut w);
    assert_eq!(w.copies(db, &key), [None, None, None]);
    let trace = w.take_trace();
    assert!(trace.contains(&"1->0 TRY_DELETE_RECORDS".to_owned()));
    assert!(trace.contains(&"1->2 TRY_DELETE_RECORDS".to_owned()));
}

/// V5: a record that never left its node with data needs nobody's consent.
#[test]
fn a_record_that_never_moved_is_deleted_directly() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(0, db, &key, "one");
    w.client_delete(0, db, &key);
    w.take_trace();
    interval(&mut w);
    assert_eq!(w.record(0, db, &key), None);
    assert!(w.take_trace().is_empty());
}

/// A record that is used again meanwhile stays (V4).
#[test]
fn a_record_that_came_back_to_life_stays() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(1, db, &key, "one");
    w.client_write(0, db, &key, "two");
    w.client_delete(0, db, &key);
    // The question is under way when a client writes again.
    w.stalled = vec![(1, 0)];
    interval(&mut w);
    assert_eq!(w.record(1, db, &key), None, "node 1 has deleted its copy");
    w.client_write(0, db, &key, "three");
    w.stalled.clear();
    interval(&mut w);
    assert_eq!(w.record(0, db, &key).unwrap().3, b"three");
}

/// V1: a node that refuses, or is silent, keeps the tombstone alive.
#[test]
fn without_consent_a_tombstone_stays() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(1, db, &key, "one");
    w.client_write(0, db, &key, "two");
    w.client_delete(0, db, &key);
    w.nodes[1].ports.store.client_lock(db, key.as_bytes());
    interval(&mut w);
    assert!(w.record(0, db, &key).is_some());
    w.nodes[1].ports.store.client_unlock(db, key.as_bytes());
    // The queue has forgotten it: a full run finds it.
    let full = DbVacuum { db_id: db, full_vacuum_run: true }.to_vec();
    assert_eq!(w.control(0, Opcode::DbVacuum, full.clone()).status, 0);
    assert_eq!(w.copies(db, &key), [None, None]);
    assert_eq!(w.control(0, Opcode::DbVacuum, DbVacuum::default().to_vec()).status, -1);
}

/// V6: a freeze kills the run.
#[test]
fn a_freeze_kills_a_run() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(1, db, &key, "one");
    w.client_write(0, db, &key, "two");
    w.client_delete(0, db, &key);
    w.stalled = vec![(0, 1)];
    let run = DbVacuum { db_id: db, full_vacuum_run: false }.to_vec();
    let first = w.send_control(0, 0, 0, Opcode::DbVacuum, run.clone());
    w.run();
    let second = w.send_control(0, 0, 0, Opcode::DbVacuum, run);
    w.run();
    assert_eq!((w.answered(0, first), w.answer(0, second).status), (None, -1));
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    assert_eq!(w.answer(0, first).status, -1);
    w.stalled.clear();
    w.run();
    assert!(w.record(0, db, &key).is_some(), "late answers delete nothing");
}

/// A full run comes after VacuumFastPathCount fast ones.
#[test]
fn full_runs_find_what_was_never_queued() {
    let tunables = Tunables { vacuum_fast_path_count: 3, ..Tunables::default() };
    let mut w = World::with(1, &[], tunables);
    let db = w.attach("test.tdb");
    w.plant(0, db, "k", LtdbHeader { rsn: 4, dmaster: 0, reserved1: 0, flags: 0 }, "");
    w.advance(Duration::from_secs(31));
    assert!(w.record(0, db, "k").is_some());
    w.advance(Duration::from_secs(10));
    assert_eq!(w.record(0, db, "k"), None);
}

/// 14.3: what a node may delete for the lmaster.
#[test]
fn try_delete_refuses_what_it_must() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let keys: Vec<String> = w.keys_of(1).take(6).collect();
    let plant = |w: &mut World, key: &str, rsn, dmaster: Pnn, flags| {
        w.plant(0, db, key, LtdbHeader { rsn, dmaster, reserved1: 0, flags }, "stale");
    };
    plant(&mut w, &keys[0], 5, 1, MIGRATED);
    plant(&mut w, &keys[1], 6, 1, MIGRATED);
    plant(&mut w, &keys[2], 5, 0, MIGRATED);
    plant(&mut w, &keys[3], 5, 1, 0x0200_0000);
    let mine = w.key_of(0);
    plant(&mut w, &mine, 5, 1, MIGRATED);
    let given = LtdbHeader { rsn: 5, dmaster: 1, reserved1: 0, flags: MIGRATED };
    let mut buffer = RecBuffer::new(db);
    for key in keys.iter().chain([&mine]) {
        buffer.push_with_header(0, key.as_bytes(), &given, b"");
    }
    buffer.push_with_header(0, keys[5].as_bytes(), &given, b"too long");
    let reply = w.order(1, &[0], Opcode::TryDeleteRecords, buffer.to_vec()).remove(0);
    let left = RecBuffer::from_exact(&reply.data).unwrap();
    let left: Vec<&[u8]> = left.iter().map(|r| r.key).collect();
    let expected = [&keys[1], &keys[2], &keys[3], &mine, &keys[5]].map(|k| k.as_bytes());
    assert_eq!(left, expected);
    assert_eq!(w.record(0, db, &keys[0]), None);
    let short = [db.to_vec(), 1u32.to_vec(), vec![17, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], vec![0; 5]];
    assert_eq!(w.order(1, &[0], Opcode::TryDeleteRecords, short.concat())[0].status, -1);
}

/// The delete queue is accepted in any state and bounded.
#[test]
fn schedule_for_deletion_needs_no_lock() {
    let mut w = World::new(1);
    let db: DbId = w.attach("test.tdb");
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    assert_eq!(w.schedule(0, db, "k"), 0);
    assert!(w.db(0, db).scheduled(b"k").is_some());
    assert_eq!(w.schedule(0, 0x1234, "k"), -1);
    assert_eq!(w.control(0, Opcode::ScheduleForDeletion, vec![0; 37]).status, -1);
}
