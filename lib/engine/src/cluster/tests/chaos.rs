// SPDX-License-Identifier: GPL-3.0-or-later
//! Random faults, many seeds: whatever happens, the cluster comes back, and what must always hold holds.

use super::*;
use crate::view::flags::{BANNED, STOPPED};
use crate::view::INVALID_GENERATION;
use ctdb_wire::types::BanState;
use std::collections::BTreeMap;

/// Things that go wrong, and right.
fn disturb(rig: &mut Rig, clients: &mut Vec<u32>) {
    let nodes = u64::from(rig.len());
    let pnn = rig.rng().below(nodes) as Pnn;
    let other = rig.rng().below(nodes) as Pnn;
    let up = rig.daemon(pnn).is_some();
    match rig.rng().below(16) {
        0 | 1 if up => rig.kill(pnn),
        2 if up => rig.machine_death(pnn),
        3..=5 if !up => rig.start(pnn).expect("starts"),
        6 if pnn != other => rig.break_link(pnn, other),
        7 if pnn != other => rig.partition(&[pnn], &[other]),
        8 => rig.heal(),
        9 if up => drop(rig.send(pnn, Opcode::StopNode, &())),
        10 if up => drop(rig.send(pnn, Opcode::ContinueNode, &())),
        11 if up => drop(rig.send(pnn, Opcode::SetBanState, &BanState { pnn, time: 3 })),
        12 if up => drop(rig.send(pnn, Opcode::SetRecmode, &1_u32)),
        13 => rig.lose_lock(),
        14 if up => {
            let client = rig.connect(pnn);
            let db = crate::hash::database_id(DB);
            if rig.store(pnn).attached().contains(&db)
                && rig.store(pnn).client_lock(client, db, b"k3")
            {
                clients.push(client);
            } else {
                rig.disconnect(client);
            }
        }
        15 => {
            if let Some(client) = clients.pop() {
                rig.disconnect(client);
            }
        }
        _ => {}
    }
}

/// What holds after every turn (`spec/cluster.md 27`).
fn sound(rig: &Rig, highest: &mut BTreeMap<Pnn, (u32, RunState)>) {
    for pnn in rig.running() {
        let view = rig.seen(pnn);
        // S2: with a lock only its holder leads, and recovers.
        let cluster = rig.cluster(pnn).expect("it has one");
        let leads = view.leader == Some(pnn);
        assert!(!leads || !view.is_inactive(), "inactive leader {}", rig.summary());
        assert!(cluster.run.is_none() || leads, "a recovery without leadership {}", rig.summary());
        // A node without a valid generation is not in use.
        assert!(
            view.generation != INVALID_GENERATION || view.recovery_mode == RecoveryMode::Active,
            "normal mode without generation {}",
            rig.summary()
        );
        assert!(
            !view.is_inactive() || view.generation == INVALID_GENERATION,
            "an inactive node with a generation {}",
            rig.summary()
        );
        // S15: run states only increase.
        let pid = rig.cluster(pnn).map_or(0, |c| c.started.0 as u32);
        let entry = highest.entry(pnn).or_insert((pid, view.run_state));
        if entry.0 != pid {
            *entry = (pid, view.run_state);
        }
        assert!(view.run_state >= entry.1);
        entry.1 = view.run_state;
    }
}

fn chaos(seed: u64, lock: bool, steps: u32) {
    let mut options = if lock { with_lock(4) } else { without_lock(4) };
    options.seed = seed;
    options.lock_linger = (ms(1), secs(1));
    options.trace = 3000;
    options.tunables.keepalive_interval = 1;
    options.tunables.keepalive_limit = 2;
    options.write_failures_permille = 20;
    let mut rig = Rig::up(options);
    rig.attach(0, DB, Opcode::DbAttach);
    rig.attach(1, "keep.tdb", Opcode::DbAttachPersistent);
    let db = crate::hash::database_id(DB);
    for i in 0..20_u32 {
        rig.put(i % 4, db, format!("k{i}").as_bytes(), 1, i % 4, b"v");
    }
    let mut clients = Vec::new();
    let mut highest = BTreeMap::new();
    for _ in 0..steps {
        disturb(&mut rig, &mut clients);
        let pause = ms(rig.rng().below(600));
        let end = rig.now().plus(pause);
        while rig.now() < end {
            rig.run_for(ms(1));
            rig.assert_ok();
            sound(&rig, &mut highest);
        }
    }
    rig.note("now everything is repaired");
    for client in clients {
        rig.disconnect(client);
    }
    rig.heal();
    for pnn in 0..4 {
        if rig.daemon(pnn).is_none() {
            rig.start(pnn).expect("starts");
        } else if rig.seen(pnn).own_flags() & (STOPPED | BANNED) != 0 {
            // A ban whose node could not be frozen in time was made longer.
            rig.send(pnn, Opcode::SetBanState, &BanState { pnn, time: 0 });
            rig.send(pnn, Opcode::ContinueNode, &());
        }
    }
    rig.expect("up again", secs(60), Rig::all_ok);
    rig.always("stable", secs(12), Rig::all_ok);
}

#[test]
fn with_a_lock_everything_heals() {
    for seed in 0..10 {
        chaos(seed, true, 40);
    }
}

#[test]
fn without_a_lock_everything_heals() {
    for seed in 0..10 {
        chaos(seed, false, 40);
    }
}

/// `CHAOS_SEEDS=FROM..TO cargo test -p ctdb-engine chaos -- --ignored`
#[test]
#[ignore = "as long as one likes"]
fn more_seeds() {
    let range = std::env::var("CHAOS_SEEDS").unwrap_or_else(|_| "100..200".to_owned());
    let (from, to) = range.split_once("..").expect("FROM..TO");
    for seed in from.parse().expect("a number")..to.parse().expect("a number") {
        chaos(seed, seed % 2 == 0, 60);
    }
}
