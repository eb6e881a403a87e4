// SPDX-License-Identifier: GPL-3.0-or-later
//! The simulator itself, with small services: links, locks, freezes, writes, determinism.

use super::*;
use crate::env::Env;
use crate::packet::{endpoint, Body, Endpoint};
use crate::ports::{Access, AttachSpec, DbKind, Decision, LocalStore, RecordWrite, WriteOutcome};
use crate::service::{Command, Event};

/// Sends a numbered message to every node each millisecond and notes what it hears.
#[derive(Default)]
struct Chatter {
    sent: u64,
    heard: Vec<(Pnn, u64)>,
    links: Vec<(Pnn, bool)>,
    inputs: Vec<String>,
}

impl Service for Chatter {
    fn name(&self) -> &'static str {
        "chatter"
    }
    fn endpoint(&self) -> u32 {
        endpoint::DATABASE
    }
    fn matches(&self, command: Command) -> bool {
        matches!(command, Command::Message(_))
    }
    fn activate(&mut self, env: &mut Env<'_>) {
        let mut view = env.view().clone();
        for node in &mut view.nodes {
            node.flags = 0;
        }
        env.publish(view);
        env.set_timer(1, Duration::from_millis(1));
    }
    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        match event {
            Event::Timer(_) => {
                self.sent += 1;
                env.message(endpoint::BROADCAST_ALL, 7, self.sent.to_le_bytes().to_vec());
                env.set_timer(1, Duration::from_millis(1));
            }
            Event::Packet(Packet { src, body: Body::Message { data, .. }, .. }) => {
                let n = data.as_ref().try_into().map_or(0, u64::from_le_bytes);
                self.heard.push((src.node, n));
            }
            Event::LinkUp(n) => self.links.push((n, true)),
            Event::LinkDown(n) => self.links.push((n, false)),
            Event::ViewChanged { .. } => {}
            other => self.inputs.push(format!("{other:?}")),
        }
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn chatter(seed: u64) -> Sim {
    let options = Options { seed, ..Options::default() };
    let mut sim = Sim::new(options, |_| vec![Box::new(Chatter::default())]);
    sim.start_all();
    sim
}

fn of(sim: &Sim, node: Pnn) -> &Chatter {
    sim.daemon(node).and_then(|d| d.service::<Chatter>()).expect("it runs")
}

fn heard(sim: &Sim, at: Pnn, from: Pnn) -> Vec<u64> {
    of(sim, at).heard.iter().filter(|(n, _)| *n == from).map(|(_, v)| *v).collect()
}

fn all_linked(sim: &mut Sim) -> bool {
    (0..3).all(|a| (0..3).all(|b| a == b || sim.link_is_up(a, b)))
}

#[test]
fn links_are_fifo_and_lose_only_at_a_reset() {
    let mut sim = chatter(3);
    assert!(sim.run_until(Duration::from_secs(5), all_linked));
    sim.run_for(Duration::from_millis(100));
    let before = heard(&sim, 1, 0);
    assert!(before.len() > 50);
    assert!(before.windows(2).all(|w| w[1] == w[0] + 1), "in order, none missing");
    sim.break_link(0, 1);
    sim.run_for(Duration::from_secs(3));
    let after = heard(&sim, 1, 0);
    assert!(after.windows(2).all(|w| w[1] > w[0]), "in order");
    assert!(after.windows(2).filter(|w| w[1] != w[0] + 1).count() == 1, "one gap");
    assert_eq!(of(&sim, 1).links.iter().filter(|l| **l == (0, false)).count(), 1);
}

#[test]
fn a_partition_stalls_and_a_reset_on_one_side_leaves_the_other_up() {
    let mut sim = chatter(4);
    assert!(sim.run_until(Duration::from_secs(5), all_linked));
    sim.run_for(Duration::from_millis(20));
    sim.partition(&[0], &[1, 2]);
    sim.run_for(Duration::from_millis(50));
    let n = heard(&sim, 1, 0).len();
    sim.run_for(Duration::from_millis(50));
    assert_eq!(heard(&sim, 1, 0).len(), n, "nothing passes");
    sim.heal();
    sim.run_for(Duration::from_millis(50));
    let v = heard(&sim, 1, 0);
    assert!(v.windows(2).all(|w| w[1] == w[0] + 1), "what stalled arrives");
    sim.partition(&[0], &[1]);
    sim.reset_link(0, 1);
    sim.run_for(Duration::from_secs(5));
    assert!(!sim.link_is_up(0, 1) && sim.link_is_up(1, 0), "half open");
    sim.heal();
    assert!(sim.run_until(Duration::from_secs(10), all_linked));
    assert!(of(&sim, 1).links.contains(&(0, false)), "the stale side was told");
}

#[test]
fn death_of_a_process_is_heard_of_a_machine_not() {
    let mut sim = chatter(5);
    assert!(sim.run_until(Duration::from_secs(5), all_linked));
    sim.machine_death(2);
    sim.run_for(Duration::from_secs(3));
    assert!(sim.link_is_up(0, 2));
    sim.kill(1);
    assert!(sim.run_until(Duration::from_secs(1), |s| of(s, 0).links.contains(&(1, false))));
    sim.start(1).expect("starts");
    sim.start(2).expect("starts");
    assert!(sim.run_until(Duration::from_secs(10), all_linked));
    assert!(of(&sim, 0).links.contains(&(2, false)), "the peer of before is gone");
}

#[test]
fn a_stopped_process_does_nothing_and_then_catches_up() {
    let mut sim = chatter(6);
    assert!(sim.run_until(Duration::from_secs(5), all_linked));
    sim.stop_process(1);
    let n = of(&sim, 1).heard.len();
    sim.run_for(Duration::from_millis(300));
    assert_eq!(of(&sim, 1).heard.len(), n);
    sim.continue_process(1);
    sim.run_for(Duration::from_millis(300));
    let v = heard(&sim, 1, 0);
    assert!(v.windows(2).all(|w| w[1] == w[0] + 1));
    assert!(v.len() > 500);
}

#[test]
fn a_seed_decides_everything() {
    let run = |seed| {
        let mut sim = chatter(seed);
        sim.run_for(Duration::from_secs(1));
        sim.kill(1);
        sim.run_for(Duration::from_secs(1));
        (sim.steps(), of(&sim, 0).heard.clone())
    };
    assert_eq!(run(9), run(9));
    assert_ne!(run(9), run(10));
}

const DB: u32 = 0x77;

fn with_db(kind: DbKind) -> Sim {
    let mut sim = chatter(11);
    let spec = AttachSpec { db: DB, name: "t.tdb".into(), kind, hash_size: 1, max_dead: 0 };
    sim.store(0).attach(&spec).expect("attaches");
    sim
}

fn store_one(sim: &mut Sim, key: &[u8], value: &[u8]) -> Access {
    sim.store(0).with_record(DB, key, &mut |r| r.store(&[value]).expect("stores"))
}

#[test]
fn a_chain_a_client_holds_is_busy_until_granted() {
    let mut sim = with_db(DbKind::Volatile);
    let client = sim.connect(0);
    assert!(sim.store(0).client_lock(client, DB, b"k"));
    assert_eq!(store_one(&mut sim, b"k", b"v"), Access::Busy);
    sim.store(0).wait_chain(DB, 0);
    sim.pump(0);
    sim.run_for(Duration::from_millis(5));
    assert!(of(&sim, 0).inputs.iter().all(|i| !i.contains("ChainGranted")));
    sim.disconnect(client);
    sim.run_for(Duration::from_millis(5));
    assert!(of(&sim, 0).inputs.iter().any(|i| i.contains("ChainGranted")));
    assert_eq!(store_one(&mut sim, b"k", b"v"), Access::Done);
    let other = sim.connect(0);
    assert!(!sim.store(0).client_lock(other, DB, b"k"), "granted to the daemon");
    sim.store(0).release_chain(DB, 0);
    sim.pump(0);
    assert_eq!(sim.store(0).client_holds(DB, b"k"), Some(other));
}

#[test]
fn a_freeze_waits_for_holders_and_excludes_clients() {
    let mut sim = with_db(DbKind::Volatile);
    let client = sim.connect(0);
    sim.store(0).client_lock(client, DB, b"k");
    sim.store(0).freeze(DB);
    sim.pump(0);
    sim.run_for(Duration::from_millis(5));
    assert!(of(&sim, 0).inputs.iter().all(|i| !i.contains("Frozen")));
    sim.store(0).client_unlock(client, DB, b"k");
    sim.pump(0);
    sim.run_for(Duration::from_millis(5));
    assert!(of(&sim, 0).inputs.iter().any(|i| i.contains("Frozen")));
    assert!(!sim.store(0).client_lock(client, DB, b"k"));
    assert_eq!(store_one(&mut sim, b"k", b"v"), Access::Done);
    sim.store(0).thaw(DB);
    sim.pump(0);
    assert_eq!(sim.store(0).client_holds(DB, b"k"), Some(client));
}

#[test]
fn a_machine_forgets_what_was_not_synced() {
    let mut sim = with_db(DbKind::Persistent);
    store_one(&mut sim, b"a", b"1");
    sim.store(0).sync(DB).expect("syncs");
    store_one(&mut sim, b"b", b"2");
    let record = RecordWrite { key: "c".into(), value: "3".into() };
    sim.store(0).write(5, DB, vec![record], Box::new(|r, _| Decision::Store(r.value.to_vec())));
    let mut copy = sim.store(0).content(DB).cloned().expect("a file");
    assert_eq!(copy.len(), 2);
    assert_eq!(
        sim.store(0).finish_write(5, Some("disk full")),
        Some(WriteOutcome::Failed(crate::ports::StoreError {
            message: "disk full".into(),
            corrupt: false
        }))
    );
    store_one(&mut sim, b"d", b"4");
    sim.machine_death(0);
    copy.retain(|k, _| k == b"a");
    assert_eq!(sim.store(0).content(DB), Some(&copy));
}

#[test]
fn two_owners_and_a_falling_rsn_are_violations() {
    let value = |rsn: u64, dmaster: u32| {
        let mut v = rsn.to_le_bytes().to_vec();
        v.extend(dmaster.to_le_bytes());
        v.extend([0; 12]);
        v
    };
    let mut sim = with_db(DbKind::Volatile);
    store_one(&mut sim, b"k", &value(5, 0));
    sim.check_changes(0);
    sim.assert_ok();
    store_one(&mut sim, b"k", &value(4, 0));
    sim.check_changes(0);
    assert!(sim.violation().is_some_and(|v| v.what.contains("RSN goes back")));
}

#[test]
fn packets_to_clients_pile_up_when_they_do_not_read() {
    let mut sim = with_db(DbKind::Volatile);
    let client = sim.connect(0);
    sim.stall_client(client, true);
    let body = Body::Message { srvid: 1, data: bytes::Bytes::new() };
    for _ in 0..3 {
        let body = body.clone();
        sim.send_to_client(client, ClientPacket { destnode: 0, reqid: 0, body });
    }
    sim.run_for(Duration::from_millis(1));
    use crate::ports::Ports;
    assert_eq!(sim.ports(0).client_backlog(client), 3);
    let _ = Endpoint { node: 0, id: 0 };
}
