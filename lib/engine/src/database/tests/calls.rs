// SPDX-License-Identifier: GPL-3.0-or-later
//! Migration: the steps of spec/database.md 8-11 with the RSNs observed there.

use super::world::{World, CLIENT};
use crate::packet::{endpoint, Body, Dmaster, Endpoint, Local, Packet};
use crate::{Input, Tunables};
use bytes::Bytes;
use ctdb_wire::control::Opcode;
use ctdb_wire::types::LtdbHeader;
use ctdb_wire::Encode;
use std::time::Duration;

const FETCH: u32 = 0xFF00_0002;
const FETCH_WITH_HEADER: u32 = 0xFF00_0003;
const MIGRATED: u32 = 0x10000;

/// 9.11, whole: the RSN over a record's life.
#[test]
fn rsn_over_a_records_life() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "one");
    assert_eq!(w.copies(db, &key), [Some((3, 0)), Some((1, 0)), None]);
    assert_eq!(w.migrate(1, db, &key), 0);
    assert_eq!(w.copies(db, &key), [Some((3, 1)), Some((5, 1)), None]);
    w.client_write(2, db, &key, "two");
    assert_eq!(w.copies(db, &key), [Some((3, 1)), Some((5, 2)), Some((7, 2))]);
    w.recover(0, &[0, 1, 2], 101, db);
    assert_eq!(w.copies(db, &key), [Some((8, 0)), Some((7, 0)), Some((7, 0))]);
    assert_eq!(w.record(2, db, &key).unwrap().3, b"two");
}

/// 9.10: first access on the lmaster itself.
#[test]
fn first_access_on_the_lmaster() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    assert_eq!(w.migrate(0, db, &key), 0);
    assert_eq!(w.copies(db, &key), [Some((2, 0)), None, None]);
    assert!(w.db(0, db).scheduled(key.as_bytes()).is_some());
}

/// 9.10: owner, lmaster and requester all different.
#[test]
fn a_move_between_three_nodes() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    w.take_trace();
    assert_eq!(w.migrate(2, db, &key), 0);
    assert_eq!(
        w.take_trace(),
        [
            "2->1 REQ_CALL hop 0",
            "1->0 REQ_CALL hop 1",
            "0->1 REQ_DMASTER rsn 3 to 2",
            "1->2 REPLY_DMASTER rsn 3"
        ]
    );
    assert_eq!(w.copies(db, &key), [Some((3, 2)), Some((3, 2)), Some((5, 2))]);
    assert_eq!(w.record(2, db, &key), Some((5, 2, MIGRATED, b"value".to_vec())));
    // Node 0's copy names node 2. It asks the lmaster all the same, which knows better in general.
    assert_eq!(w.migrate(0, db, &key), 0);
    assert_eq!(w.take_trace()[..2], ["0->1 REQ_CALL hop 0", "1->2 REQ_CALL hop 1"]);
    assert_eq!(w.copies(db, &key)[0], Some((7, 0)));
    // The lmaster itself asks the owner; and gives without a leg in between.
    assert_eq!(w.migrate(1, db, &key), 0);
    assert_eq!(w.take_trace()[..2], ["1->0 REQ_CALL hop 0", "0->1 REQ_DMASTER rsn 7 to 1"]);
    assert_eq!(w.migrate(2, db, &key), 0);
    assert_eq!(w.take_trace(), ["2->1 REQ_CALL hop 0", "1->2 REPLY_DMASTER rsn 9"]);
}

#[test]
fn an_empty_record_without_history_leaves_no_copy_behind() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    assert_eq!(w.migrate(0, db, &key), 0);
    assert_eq!(w.migrate(2, db, &key), 0);
    assert_eq!(w.copies(db, &key), [None, Some((3, 2)), Some((5, 2))]);
}

#[test]
fn call_functions_reply_as_specified() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    for (node, callid) in [(0, FETCH), (1, FETCH), (0, FETCH_WITH_HEADER), (1, FETCH_WITH_HEADER)] {
        let reqid = w.send_call(node, CLIENT, db, &key, callid, 0);
        w.run();
        let (status, data) = w.reply(node, reqid).unwrap();
        let (rsn, dmaster, flags, value) = w.record(node, db, &key).unwrap();
        let header = LtdbHeader { rsn, dmaster, reserved1: 0, flags };
        let expected = if callid == FETCH { value } else { [header.to_vec(), value].concat() };
        assert_eq!((status, data), (0, expected.into()));
    }
    // An unknown function fails with status 0 and no data, and the record migrates.
    let reqid = w.send_call(0, CLIENT, db, &key, 7, 0);
    w.run();
    assert_eq!(w.reply(0, reqid), Some((0, Bytes::new())));
    assert_eq!(w.copies(db, &key)[0].unwrap().1, 0);
}

#[test]
fn an_unknown_database_is_an_error_after_a_while() {
    let mut w = World::new(1);
    let reqid = w.send_call(0, CLIENT, 0x1234, "k", FETCH, 0);
    w.run();
    assert_eq!(w.reply(0, reqid), None);
    w.advance(Duration::from_millis(200));
    assert_eq!(w.reply(0, reqid).unwrap().0, -1);
}

/// The lmaster does not have the database: REPLY_ERROR, and the client is told.
#[test]
fn an_error_reply_ends_the_call() {
    let mut w = World::new(2);
    w.stalled = vec![(0, 1)];
    let db = w.attach("test.tdb");
    // The attach is lost: node 1 never heard of the database.
    w.stalled.clear();
    w.kill(1);
    w.nodes[1].up = true;
    w.publish(0, |view| view.nodes[1].flags = 0);
    let key = w.key_of(1);
    let reqid = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert!(w.take_trace().contains(&"1->0 REPLY_ERROR".to_owned()));
    w.advance(Duration::from_millis(200));
    assert_eq!(w.reply(0, reqid).unwrap().0, -1);
    assert_eq!(w.database(0).pending_calls(), 0);
}

/// A client holds the chain on the owner: the call waits there, and nobody else is held up.
#[test]
fn a_busy_chain_is_waited_for() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(0, db, &key, "value");
    w.nodes[0].ports.store.client_lock(db, key.as_bytes());
    let reqid = w.send_call(1, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.reply(1, reqid), None);
    assert_eq!(w.db(0, db).waiting(), (0, 1));
    w.plant_under_lock(0, db, &key, "newer");
    w.nodes[0].ports.store.client_unlock(db, key.as_bytes());
    w.run();
    assert_eq!(w.reply(1, reqid), Some((0, "newer".into())));
    assert!(w.nodes[0].ports.store.granted.is_empty(), "the grant was given back");
    assert_eq!(w.db(0, db).waiting(), (0, 0));
    let locks = &w.nodes[0].daemon.stats_mut().locks;
    assert_eq!((locks.num_calls, locks.num_failed, locks.num_current), (1, 0, 0));
}

/// 11.2: a call that arrives behind an ownership packet for the same key is evaluated after it, although
/// the chain was busy.
#[test]
fn calls_do_not_overtake_ownership() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    // Node 2 asks; the ownership packet waits at the lmaster for a client's lock.
    w.stalled = vec![(0, 1)];
    let first = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    w.nodes[1].ports.store.client_lock(db, key.as_bytes());
    w.stalled.clear();
    w.run();
    assert_eq!(w.db(1, db).waiting(), (0, 1));
    assert_eq!(w.db(1, db).transfers_waiting(key.as_bytes()), 1);
    // Node 0 asks by way of node 2 and the lmaster.
    let second = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    w.take_trace();
    w.nodes[1].ports.store.client_unlock(db, key.as_bytes());
    w.run();
    assert_eq!(w.reply(2, first), Some((0, "value".into())));
    assert_eq!(w.reply(0, second), Some((0, "value".into())));
    assert_eq!(w.copies(db, &key)[0], Some((7, 0)));
    assert!(w.take_trace().iter().all(|t| !t.contains("hop 3")), "no bouncing");
}

/// The same between the moment a client releases the chain and the moment the waiting daemon is told.
#[test]
fn calls_do_not_overtake_ownership_while_the_grant_is_on_its_way() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    w.stalled = vec![(0, 1)];
    w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    w.nodes[1].ports.store.client_lock(db, key.as_bytes());
    w.stalled.clear();
    w.run();
    w.nodes[1].ports.store.client_unlock(db, key.as_bytes());
    w.send_call(1, CLIENT, db, &key, FETCH, 0);
    assert_eq!(w.db(1, db).waiting(), (0, 2));
    w.run();
    assert_eq!(w.db(1, db).waiting(), (0, 0));
}

/// Packets of one chain keep their order even if their keys differ.
#[test]
fn a_chain_is_a_queue() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let chain = |key: &str| crate::hash::jenkins(key.as_bytes()) % super::store::CHAINS;
    let first = w.key_of(0);
    let second = w.keys_of(0).find(|k| *k != first && chain(k) == chain(&first)).unwrap();
    let other = w.keys_of(0).find(|k| chain(k) != chain(&first)).unwrap();
    w.nodes[0].ports.store.client_lock(db, first.as_bytes());
    let calls: Vec<u32> =
        [&first, &second, &first].iter().map(|k| w.send_call(1, CLIENT, db, k, FETCH, 0)).collect();
    assert_eq!(w.migrate(1, db, &other), 0);
    // The third waits behind the first on node 1 itself: fetch collapse.
    assert_eq!(w.db(0, db).waiting(), (0, 2));
    assert_eq!(w.db(0, db).chains_waited_for(), 1);
    w.nodes[0].ports.store.client_unlock(db, first.as_bytes());
    w.run();
    let seen = w.nodes[1].seen.borrow().replies.iter().map(|r| r.1).collect::<Vec<_>>();
    assert_eq!(seen[1..], [calls[0], calls[1], calls[2]]);
}

#[test]
fn local_calls_for_one_key_share_a_fetch() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.stalled = vec![(0, 1)];
    let calls: Vec<u32> = (0..5).map(|n| w.send_call(0, CLIENT + n, db, &key, FETCH, 0)).collect();
    w.run();
    assert_eq!(w.database(0).pending_calls(), 1);
    w.stalled.clear();
    w.run();
    for reqid in calls {
        assert_eq!(w.reply(0, reqid).unwrap().0, 0);
    }
    assert_eq!(w.take_trace().iter().filter(|t| t.contains("REQ_CALL")).count(), 1);
}

#[test]
fn fetch_collapse_can_be_turned_off_and_ends_with_its_client() {
    let mut w = World::with(2, &[], Tunables { fetch_collapse: 0, ..Tunables::default() });
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.stalled = vec![(0, 1)];
    w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.send_call(0, CLIENT + 1, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.database(0).pending_calls(), 2);

    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    w.stalled = vec![(0, 1)];
    let first = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    let second = w.send_call(0, CLIENT + 1, db, &key, FETCH, 0);
    w.run();
    w.local(0, Local::ClientGone { client: CLIENT });
    w.run();
    assert_eq!(w.database(0).pending_calls(), 1);
    w.stalled.clear();
    w.run();
    assert_eq!(w.reply(0, first), None);
    assert_eq!(w.reply(0, second).unwrap().0, 0);
}

/// 9.6 step 5: the requester's client is dead, the record arrives all the same.
#[test]
fn ownership_arrives_although_its_client_is_dead() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    w.stalled = vec![(1, 2)];
    w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    w.local(2, Local::ClientGone { client: CLIENT });
    w.run();
    w.stalled.clear();
    w.run();
    assert_eq!(w.copies(db, &key), [Some((3, 2)), Some((3, 2)), Some((4, 2))]);
    assert_eq!(w.migrate(0, db, &key), 0);
    assert_eq!(w.record(0, db, &key).unwrap().3, b"value");
}

/// 9.5 step 6: a record that comes from a node that is not its dmaster.
#[test]
fn ownership_from_the_wrong_node_forces_a_recovery() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    let before = w.copies(db, &key);
    let forged = |lie: u32, to: u32| Packet {
        dst: Endpoint { node: to, id: endpoint::DATABASE },
        src: Endpoint { node: 2, id: endpoint::DATABASE },
        reqid: 77,
        generation: 100,
        body: Body::Dmaster(Dmaster {
            reply: false,
            db,
            rsn: lie.into(),
            dmaster: 2,
            record_flags: 0,
            key: Bytes::copy_from_slice(key.as_bytes()),
            data: Bytes::new(),
        }),
    };
    w.input(1, Input::Packet(forged(50, 1)));
    w.run();
    assert_eq!(w.forced(1), 1);
    assert_eq!(w.copies(db, &key), before);
    // To a node that is not lmaster: no abort, a recovery.
    w.input(0, Input::Packet(forged(50, 0)));
    w.run();
    assert_eq!(w.forced(0), 1);
    assert_eq!(w.copies(db, &key), before);
}

#[test]
fn packets_of_another_generation_change_nothing() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    w.nodes[0].ports.store.client_lock(db, key.as_bytes());
    let reqid = w.send_call(1, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.db(0, db).waiting(), (0, 1));
    w.nodes[0].ports.store.client_unlock(db, key.as_bytes());
    // The grant comes after the epoch has changed everywhere; the queued call belongs to the old one.
    w.nodes[0].ports.store.inputs.clear();
    w.recover(0, &[0, 1], 101, db);
    assert_eq!(w.reply(1, reqid), Some((0, "value".into())), "asked again after the thaw");
    let copies = w.copies(db, &key);
    assert_eq!(copies[1].unwrap().1, 1);
    assert!(copies[0].unwrap().0 < copies[1].unwrap().0);
}

/// The disk is full: the record stays where it is.
#[test]
fn a_failed_store_loses_nothing() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    let before = w.copies(db, &key);
    // At the owner: it keeps the record, the caller gets an error.
    w.nodes[0].ports.store.full = true;
    let reqid = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.advance(Duration::from_secs(1));
    assert_eq!(w.reply(2, reqid).unwrap().0, -1);
    assert_eq!(w.copies(db, &key), before);
    assert_eq!(w.forced(0), 0);
    // At the lmaster: the sender's copy names the new owner, and a recovery finds it.
    w.nodes[0].ports.store.full = false;
    w.nodes[1].ports.store.full = true;
    let reqid = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.forced(1), 1);
    w.nodes[1].ports.store.full = false;
    w.recover(0, &[0, 1, 2], 101, db);
    assert_eq!(w.reply(2, reqid), Some((0, "value".into())));
    // At the new owner: likewise.
    w.nodes[0].ports.store.full = true;
    let reqid = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.forced(0), 1);
    w.nodes[0].ports.store.full = false;
    w.recover(2, &[0, 1, 2], 102, db);
    assert_eq!(w.reply(0, reqid), Some((0, "value".into())));
}

#[test]
fn hops_and_hot_keys_are_counted() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    for n in 0..6 {
        assert_eq!(w.migrate([0, 2][n % 2], db, &key), 0);
    }
    let reply = w.control(0, Opcode::GetDbStatistics, db.to_vec());
    let statistics = <ctdb_wire::types::DbStatistics as ctdb_wire::Decode>::from_exact(&reply.data);
    let statistics = statistics.unwrap();
    assert_eq!(statistics.num_hot_keys, 10);
    assert_eq!(statistics.hot_keys.0[0].count, 3);
    assert_eq!(statistics.hot_keys.0[0].key, key.as_bytes());
    assert!(statistics.hop_count_bucket.iter().sum::<u32>() >= 2);
}

/// 12: a record that calls chased stays a moment.
#[test]
fn sticky_records_are_pinned_down() {
    let tunables = Tunables { hopcount_make_sticky: 1, ..Tunables::default() };
    let mut w = World::with(3, &[], tunables);
    let db = w.attach("test.tdb");
    for node in 0..3 {
        assert_eq!(w.control(node, Opcode::SetDbSticky, db.to_vec()).status, 0);
    }
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    // Hop 1 at node 0 marks the record there; it is pinned down when it comes back.
    assert_eq!(w.migrate(2, db, &key), 0);
    assert_eq!(w.migrate(0, db, &key), 0);
    let reqid = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!(w.reply(2, reqid), None);
    w.advance(Duration::from_millis(199));
    assert_eq!(w.reply(2, reqid), None);
    w.advance(Duration::from_millis(2));
    assert_eq!(w.reply(2, reqid), Some((0, "value".into())));
}
