// SPDX-License-Identifier: GPL-3.0-or-later
//! Links that are down, or break, while their nodes take part.

use super::world::{World, CLIENT};
use crate::view::flags;
use crate::Input;
use ctdb_wire::control::Opcode;
use std::time::Duration;

const FETCH: u32 = 0xFF00_0002;

/// The lmaster has no link to the new owner yet: the record waits for it, and is not lost.
#[test]
fn ownership_waits_for_a_link() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    w.publish(1, |view| view.nodes[2].flags = flags::DISCONNECTED);
    let call = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert_eq!((w.reply(2, call), w.database(1).parked_packets()), (None, 1));
    w.take_trace();
    // Nobody chases the record meanwhile: node 0's call waits where the record does.
    let second = w.send_call(0, CLIENT, db, &key, FETCH, 0);
    w.run();
    assert!(w.take_trace().len() < 10, "no redirects in circles");
    w.publish(1, |view| view.nodes[2].flags = 0);
    w.run();
    assert_eq!(w.reply(2, call), Some((0, "value".into())));
    assert_eq!(w.reply(0, second), Some((0, "value".into())));
    assert_eq!(w.database(1).parked_packets(), 0);
    assert_eq!(w.forced(1), 0);
}

/// What waits for a link ends with its epoch.
#[test]
fn a_recovery_ends_what_waits_for_links() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(1);
    w.client_write(0, db, &key, "value");
    w.publish(1, |view| view.nodes[2].flags = flags::DISCONNECTED);
    let call = w.send_call(2, CLIENT, db, &key, FETCH, 0);
    w.run();
    w.recover(0, &[0, 1, 2], 101, db);
    assert_eq!(
        w.database(1).parked_packets(),
        1,
        "asked again, waiting again; the old one is gone"
    );
    w.publish(1, |view| view.nodes[2].flags = 0);
    w.run();
    assert_eq!(w.reply(2, call), Some((0, "value".into())));
}

/// What must reach every node fails if there is no link to one: a commit, and the deletion of a tombstone.
#[test]
fn a_node_without_a_link_still_counts() {
    let mut w = World::new(3);
    let db = w.attach("test.tdb");
    let key = w.key_of(0);
    w.client_write(2, db, &key, "stale");
    w.client_write(0, db, &key, "value");
    w.client_delete(0, db, &key);
    w.publish(0, |view| view.nodes[2].flags = flags::DISCONNECTED);
    w.advance(Duration::from_secs(30));
    assert!(w.record(0, db, &key).is_some() && w.record(2, db, &key).is_some());
    let p = w.attach_as("p.tdb", Opcode::DbAttachPersistent);
    let update = super::transactions::buffer(p, 1, "v");
    let commit = w.send_control(0, CLIENT, 0, Opcode::Trans3Commit, update);
    w.run();
    assert_eq!((w.answered(0, commit), w.forced(0)), (None, 1));
    // A node that was left out of this epoch does not.
    let mut w = World::new(3);
    let p = w.attach_as("p.tdb", Opcode::DbAttachPersistent);
    w.publish(0, |view| {
        view.nodes[2].flags = flags::DISCONNECTED;
        view.vnnmap = vec![0, 1];
    });
    let update = super::transactions::buffer(p, 1, "v");
    assert_eq!(w.control(0, Opcode::Trans3Commit, update).status, 0);
}

/// A link that breaks and comes back unnoticed may have swallowed a record.
#[test]
fn a_link_that_comes_back_in_the_same_epoch_forces_a_recovery() {
    let mut w = World::new(2);
    let db = w.attach("test.tdb");
    w.input(0, Input::LinkUp(1));
    w.run();
    assert_eq!(w.forced(0), 0);
    w.input(0, Input::LinkDown(1));
    w.run();
    assert_eq!(w.forced(0), 0);
    w.input(0, Input::LinkUp(1));
    w.run();
    assert_eq!(w.forced(0), 1);
    // With a recovery in between there is nothing to fear.
    w.input(0, Input::LinkDown(1));
    w.recover(0, &[0, 1], 101, db);
    w.input(0, Input::LinkUp(1));
    w.run();
    assert_eq!(w.forced(0), 1);
}
