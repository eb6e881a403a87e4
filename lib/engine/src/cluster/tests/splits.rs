// SPDX-License-Identifier: GPL-3.0-or-later
//! Partitions and healing (`spec/cluster.md 25`).

use super::*;

/// Links notice a partition after the keepalive limit: make it short.
fn impatient(mut options: Options) -> Options {
    options.tunables.keepalive_interval = 1;
    options.tunables.keepalive_limit = 3;
    options
}

#[test]
fn the_side_with_the_lock_goes_on_and_the_other_waits() {
    let mut rig = Rig::up(impatient(with_lock(3)));
    let db = rig.attach(0, DB, Opcode::DbAttach);
    let leader = rig.leads();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != leader).collect();
    rig.put(leader, db, b"k", 3, leader, b"v");
    rig.partition(&[leader], &others);
    rig.expect("the leader recovers alone", secs(8), |r| r.agreed(&[leader]));
    let waiting = |r: &Rig| {
        others
            .iter()
            .all(|&p| r.seen(p).leader.is_none() && r.seen(p).recovery_mode == RecoveryMode::Active)
    };
    rig.expect("the others wait", secs(8), waiting);
    rig.always("still", secs(20), |r| waiting(r) && r.agreed(&[leader]));
    rig.heal();
    rig.expect("healed", secs(6), Rig::all_ok);
    assert_eq!(rig.leads(), leader);
    for p in 0..3 {
        assert_eq!(rig.get(p, db, b"k").expect("there").1, b"v");
    }
}

#[test]
fn without_a_lock_both_sides_go_on_and_merge() {
    let mut rig = Rig::up(impatient(without_lock(4)));
    let leader = rig.leads();
    let (a, b): (Vec<Pnn>, Vec<Pnn>) = (0..4).partition(|p| p / 2 == leader / 2);
    rig.partition(&a, &b);
    rig.expect("two clusters", secs(15), |r| r.agreed(&a) && r.agreed(&b));
    rig.heal();
    rig.expect("one cluster", secs(15), Rig::all_ok);
}

/// A--B, B--C up; A--C down. No remedy, but no storm either (hazard 15).
#[test]
fn a_partial_mesh_is_quiet() {
    let mut rig = Rig::up(impatient(with_lock(3)));
    let leader = rig.leads();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != leader).collect();
    rig.partition(&others[..1], &others[1..]);
    let apart = |r: &Rig| !r.seen(others[0]).is_connected(others[1]);
    rig.expect("apart", secs(8), apart);
    rig.run_for(secs(2));
    let (generation, steps) = (rig.generation(), rig.steps());
    rig.always("quiet", secs(10), |r| apart(r) && r.generation() == generation);
    let per_second = (rig.steps() - steps) / 10;
    assert!(per_second < 120, "{per_second} turns a second");
    rig.heal();
    rig.expect("healed", secs(8), Rig::all_ok);
}

/// The same with the leader at an end: the far node is left out and waits.
#[test]
fn a_node_out_of_the_leaders_reach_waits() {
    let mut rig = Rig::up(impatient(with_lock(3)));
    let leader = rig.leads();
    let (middle, far) = match leader {
        0 => (1, 2),
        1 => (0, 2),
        _ => (0, 1),
    };
    rig.partition(&[leader], &[far]);
    let set = [leader.min(middle), leader.max(middle)];
    rig.expect("recovered without it", secs(12), |r| r.agreed(&set));
    let generation = rig.seen(leader).generation;
    rig.always("left alone", secs(20), |r| {
        r.agreed(&set) && r.seen(leader).generation == generation && r.seen(far).leader.is_none()
    });
    rig.heal();
    rig.expect("healed", secs(8), Rig::all_ok);
}

#[test]
fn a_flapping_link_ends_in_one_cluster() {
    for seed in 0..4 {
        let mut rig = Rig::up(Options { seed, ..with_lock(3) });
        let leader = rig.leads();
        for _ in 0..6 {
            let peer = rig.follower();
            rig.break_link(leader, peer);
            let pause = ms(100 + rig.sim.rng().below(2000));
            rig.run_for(pause);
            rig.assert_ok();
        }
        rig.expect("settled", secs(25), Rig::all_ok);
    }
}

#[test]
fn asymmetric_links_are_down_on_both_sides() {
    let mut rig = Rig::up(impatient(with_lock(3)));
    let (leader, node) = (rig.leads(), rig.follower());
    rig.block(leader, node);
    let down = |r: &Rig| !r.seen(leader).is_connected(node) && !r.seen(node).is_connected(leader);
    rig.expect("down", secs(12), down);
    rig.always("still", secs(5), down);
    rig.heal();
    rig.expect("healed", secs(8), Rig::all_ok);
}

#[test]
fn larger_clusters_come_up_and_recover() {
    let mut options = with_lock(16);
    options.trace = 10;
    let mut rig = Rig::up(options);
    rig.attach(3, DB, Opcode::DbAttach);
    let old = rig.leads();
    rig.kill(old);
    let rest: Vec<Pnn> = (0..16).filter(|p| *p != old).collect();
    let took = rig.expect("recovered", secs(3), |r| r.agreed(&rest));
    assert!(took < ms(900), "{took:?}");
}
