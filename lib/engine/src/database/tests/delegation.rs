// SPDX-License-Identifier: GPL-3.0-or-later
//! Read-only delegations: the steps of spec/database.md 13 with the RSNs observed there.

use super::world::{World, CLIENT};
use crate::packet::{DbId, Local, Pnn};
use bytes::Bytes;
use ctdb_wire::control::Opcode;
use ctdb_wire::types::LtdbHeader;
use ctdb_wire::Encode;
use std::time::Duration;

const FETCH: u32 = 0xFF00_0002;
const FETCH_WITH_HEADER: u32 = 0xFF00_0003;
const READONLY: u32 = 4;
const MIGRATED: u32 = 0x10000;
const DELEGATIONS: u32 = 0x0100_0000;
const COPY: u32 = 0x0200_0000;
const REVOKING: u32 = 0x0400_0000;

/// Three nodes with a READONLY database; node 0 is lmaster and owner of the record, RSN 10.
fn world() -> (World, DbId, String) {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    for node in 0..3 {
        assert_eq!(w.control(node, Opcode::SetDbReadonly, db.to_vec()).status, 0);
    }
    let key = w.key_of(0);
    let header = LtdbHeader { rsn: 10, dmaster: 0, reserved1: 0, flags: 0 };
    w.plant(0, db, &key, header, "value");
    (w, db, key)
}

fn read(w: &mut World, node: Pnn, db: DbId, key: &str, callid: u32) -> (i32, Bytes) {
    let reqid = w.send_call(node, CLIENT, db, key, callid, READONLY);
    w.run();
    w.reply(node, reqid).expect("answered")
}

/// 13.6, whole.
#[test]
fn grant_revoke_migrate() {
    let (mut w, db, key) = world();
    // A FETCH gets the value, a FETCH_WITH_HEADER the copy's header too.
    assert_eq!(read(&mut w, 1, db, &key, FETCH), (0, "value".into()));
    let copy = LtdbHeader { rsn: 11, dmaster: 0, reserved1: 0, flags: COPY | MIGRATED };
    assert_eq!(w.record(0, db, &key), Some((13, 0, DELEGATIONS | MIGRATED, b"value".to_vec())));
    assert_eq!(w.record(1, db, &key), Some((11, 0, copy.flags, b"value".to_vec())));
    let with_header = [copy.to_vec(), b"value".to_vec()].concat();
    assert_eq!(read(&mut w, 2, db, &key, FETCH_WITH_HEADER), (0, with_header.into()));
    assert_eq!(w.copies(db, &key), [Some((13, 0)), Some((11, 0)), Some((11, 0))]);
    assert_eq!(w.db(0, db).delegates(key.as_bytes()).collect::<Vec<_>>(), [1, 2]);

    w.take_trace();
    assert_eq!(w.migrate(2, db, &key), 0);
    let trace = w.take_trace();
    assert_eq!(trace[0], "2->0 REQ_CALL hop 0");
    assert_eq!(trace.iter().filter(|t| t.contains("UPDATE_RECORD")).count(), 2);
    assert_eq!(trace.last().unwrap(), "0->2 REPLY_DMASTER rsn 15");
    assert_eq!(w.record(1, db, &key), Some((12, 0, MIGRATED, b"value".to_vec())));
    assert_eq!(w.record(0, db, &key), Some((15, 2, MIGRATED, b"value".to_vec())));
    assert_eq!(w.record(2, db, &key), Some((17, 2, MIGRATED, b"value".to_vec())));
    assert_eq!(w.db(0, db).delegates(key.as_bytes()).count(), 0);
    let stats = w.nodes[0].daemon.stats_mut();
    assert_eq!((stats.total_ro_delegations, stats.total_ro_revokes), (2, 1));
}

/// The owner's own client writes: the copies are taken back first.
#[test]
fn a_local_writer_revokes_too() {
    let (mut w, db, key) = world();
    read(&mut w, 1, db, &key, FETCH);
    w.client_write(0, db, &key, "new");
    // Revoke 14, flags cleared 15, executed 16.
    assert_eq!(w.record(0, db, &key), Some((16, 0, MIGRATED, b"new".to_vec())));
    assert_eq!(w.record(1, db, &key), Some((12, 0, MIGRATED, b"value".to_vec())));
    assert_eq!(read(&mut w, 1, db, &key, FETCH), (0, "new".into()));
}

#[test]
fn without_the_flag_a_read_migrates() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(0, db, &key, "value");
    // Only the reader's database is READONLY: the owner ignores the wish (3.8).
    assert_eq!(w.control(1, Opcode::SetDbReadonly, db.to_vec()).status, 0);
    assert_eq!(read(&mut w, 1, db, &key, FETCH), (0, "value".into()));
    assert_eq!(w.copies(db, &key)[1].unwrap().1, 1);
    let replicated = w.attach_as("r.tdb", Opcode::DbAttachReplicated);
    assert_eq!(w.control(0, Opcode::SetDbReadonly, replicated.to_vec()).status, -1);
}

/// 13.6, the race: the copy waits for the reader's chain lock when the revoke arrives.
#[test]
fn a_revoke_does_not_overtake_the_copy() {
    let (mut w, db, key) = world();
    w.nodes[1].ports.store.busy.insert((db, crate::hash::jenkins(key.as_bytes()) % 7));
    w.stalled = vec![(0, 1)];
    // The call leaves before the client takes the lock.
    w.nodes[1].ports.store.busy.clear();
    let reader = w.send_call(1, CLIENT, db, &key, FETCH, READONLY);
    w.run();
    w.nodes[1].ports.store.client_lock(db, key.as_bytes());
    let writer = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    w.stalled.clear();
    w.run();
    assert_eq!(w.db(1, db).waiting(), (0, 2), "the copy, and the revoke behind it");
    assert_eq!((w.reply(1, reader), w.reply(2, writer)), (None, None));
    w.nodes[1].ports.store.client_unlock(db, key.as_bytes());
    w.run();
    assert_eq!(w.reply(1, reader), Some((0, "value".into())));
    assert_eq!(w.reply(2, writer), Some((0, "value".into())));
    assert_eq!(w.record(1, db, &key).unwrap().2 & COPY, 0, "no read-only copy is left");
}

/// 13.3 step 3: a holder that has no copy any more.
#[test]
fn a_holder_without_copy_obeys() {
    let (mut w, db, key) = world();
    read(&mut w, 1, db, &key, FETCH);
    w.nodes[1].ports.store.files.get_mut(&db).unwrap().content.clear();
    assert_eq!(w.migrate(2, db, &key), 0);
    assert_eq!(w.copies(db, &key), [Some((15, 2)), None, Some((17, 2))]);
}

/// A holder that is silent: the revoke fails, the writer waits and tries again; the record does not move.
#[test]
fn a_failed_revoke_is_tried_again() {
    let (mut w, db, key) = world();
    read(&mut w, 1, db, &key, FETCH);
    w.stalled = vec![(0, 1)];
    let writer = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert!(w.db(0, db).is_revoking(key.as_bytes()));
    assert_eq!(w.record(0, db, &key).unwrap().2, DELEGATIONS | REVOKING | MIGRATED);
    w.advance(Duration::from_secs(60));
    assert_eq!(w.record(0, db, &key).unwrap().2, DELEGATIONS | MIGRATED);
    assert_eq!(w.reply(2, writer), None);
    w.stalled.clear();
    w.advance(Duration::from_secs(2));
    assert_eq!(w.reply(2, writer), Some((0, "value".into())));
    assert_eq!(w.record(1, db, &key).unwrap().2 & COPY, 0);
}

/// 13.4: while a revoke runs everybody waits; readers let the writer pass.
#[test]
fn readers_wait_behind_the_writer() {
    let (mut w, db, key) = world();
    read(&mut w, 1, db, &key, FETCH);
    w.stalled = vec![(0, 1)];
    let writer = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    let reader = w.send_call(1, CLIENT, db, &key, FETCH, READONLY);
    let gone = w.send_call(0, CLIENT + 1, db, &key, FETCH, 0);
    w.run();
    w.local(0, Local::ClientGone { client: CLIENT + 1 });
    w.stalled.clear();
    w.run();
    assert_eq!(w.reply(2, writer), Some((0, "value".into())));
    assert_eq!((w.reply(1, reader), w.reply(0, gone)), (None, None));
    w.advance(Duration::from_millis(1100));
    assert_eq!(w.reply(1, reader), Some((0, "value".into())));
}

/// 13.5: a recovery revokes everything, also what was being revoked.
#[test]
fn a_recovery_ends_delegations_and_revokes() {
    let (mut w, db, key) = world();
    read(&mut w, 1, db, &key, FETCH);
    w.stalled = vec![(0, 1)];
    let writer = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert!(w.db(0, db).is_revoking(key.as_bytes()));
    w.hold_back((0, 1));
    w.stalled.clear();
    w.recover(2, &[0, 1, 2], 101, db);
    assert!(!w.db(0, db).is_revoking(key.as_bytes()));
    assert_eq!(w.db(0, db).delegates(key.as_bytes()).count(), 0);
    assert_eq!(w.reply(0, writer), Some((0, "value".into())));
    for node in 0..3 {
        assert_eq!(w.record(node, db, &key).unwrap().2, MIGRATED);
    }
}

/// A thaw without a recovery: the flag in the file makes the next access revoke anew.
#[test]
fn a_revoke_survives_a_plain_freeze() {
    let (mut w, db, key) = world();
    read(&mut w, 1, db, &key, FETCH);
    w.stalled = vec![(0, 1)];
    let writer = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    w.all_ok(0, &[0], Opcode::DbFreeze, &db.to_vec());
    w.all_ok(0, &[0], Opcode::DbThaw, &db.to_vec());
    w.stalled.clear();
    w.run();
    assert_eq!(w.reply(0, writer), Some((0, "value".into())));
    assert_eq!(w.record(1, db, &key).unwrap().2 & COPY, 0);
}

/// 13.7, the whole story: a deleted record does not come back from a stale read-only copy.
#[test]
fn delegation_does_not_resurrect() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    for node in 0..3 {
        assert_eq!(w.control(node, Opcode::SetDbReadonly, db.to_vec()).status, 0);
    }
    let key = w.key_of(0);
    w.client_write(0, db, &key, "v0");
    assert_eq!(read(&mut w, 1, db, &key, FETCH), (0, "v0".into()));
    w.client_write(0, db, &key, "v1");
    assert_eq!(w.record(1, db, &key).unwrap().3, b"v0", "a stale copy stays");
    w.client_delete(0, db, &key);
    w.advance(Duration::from_secs(60));
    assert_eq!(w.copies(db, &key), [None, None, None], "vacuumed everywhere");
    w.recover(1, &[0, 1, 2], 101, db);
    assert_eq!(w.copies(db, &key), [None, None, None]);
}

/// A copy of an empty record must not outlive it: the key's next life begins at a lower RSN.
#[test]
fn an_empty_copy_does_not_outlive_its_record() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    for node in 0..2 {
        w.control(node, Opcode::SetDbReadonly, db.to_vec());
    }
    let key = w.key_of(0);
    assert_eq!(read(&mut w, 1, db, &key, FETCH), (0, Bytes::new()));
    assert_eq!(w.record(0, db, &key), Some((4, 0, DELEGATIONS | MIGRATED, vec![])));
    assert_eq!(w.record(1, db, &key), Some((2, 0, COPY | MIGRATED, vec![])));
    w.client_delete(0, db, &key);
    w.advance(Duration::from_secs(30));
    assert_eq!(w.copies(db, &key), [None, None]);
    w.client_write(0, db, &key, "second life");
    w.recover(1, &[0, 1], 101, db);
    assert_eq!(w.record(0, db, &key).unwrap().3, b"second life");
}
