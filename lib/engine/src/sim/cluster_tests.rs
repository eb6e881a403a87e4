// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole clusters of the real services in virtual time.

use super::*;

/// A cluster that has started.
fn cluster(seed: u64, nodes: u32) -> Sim {
    let options = Options { seed, nodes, ..Options::default() };
    let mut sim = Sim::new(options, |_| services());
    sim.start_all();
    let settled = sim.run_until(Duration::from_secs(60), |s| s.is_settled());
    sim.assert_ok();
    assert!(settled, "not settled: {:?}", sim.view(0));
    sim
}

#[test]
fn three_nodes_become_one_cluster() {
    for seed in 0..5 {
        let sim = cluster(seed, 3);
        eprintln!("settled after {:?}", sim.now());
    }
}

#[test]
fn users_on_all_nodes_share_records() {
    for seed in 0..10 {
        let mut sim = cluster(seed, 3);
        for node in [0, 0, 1, 1, 2, 2] {
            sim.add_user(node, Habits::default());
        }
        sim.run_for(Duration::from_secs(10));
        sim.assert_ok();
        assert!(sim.counts().writes > 1000, "{:?}", sim.counts());
        assert_eq!((sim.counts().rollbacks, sim.counts().strays), (0, 0));
        for (_, node, user) in sim.users() {
            assert!(user.done() > 100, "node {node}: {}", user.describe());
        }
    }
}
