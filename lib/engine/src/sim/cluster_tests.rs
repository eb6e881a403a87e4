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

/// A seed's campaign in which all daemons have a defect.
fn with_defect(mut plan: campaign::Plan, defect: Defect) -> campaign::Outcome {
    plan.options.trace = 0;
    let nodes = plan.options.nodes;
    plan.run_with(Box::new(|_| services()), move |sim| {
        (0..nodes).for_each(|node| sim.store(node).defect = Some(defect));
    })
}

/// Number of the first seed that finds it.
fn found_by(seeds: u64, defect: Defect, change: impl Fn(&mut campaign::Plan)) -> Option<u64> {
    (0..seeds).find(|&seed| {
        let mut plan = campaign::Plan::of(seed);
        change(&mut plan);
        let outcome = with_defect(plan, defect);
        outcome.violation.inspect(|v| eprintln!("{defect:?} at seed {seed}: {v}")).is_some()
    })
}

#[test]
fn missing_rsn_increments_are_found() {
    assert!(found_by(20, Defect::KeepRsn, |_| {}).is_some());
}

#[test]
fn ignored_chain_locks_are_found() {
    assert!(found_by(20, Defect::IgnoreLocks, |_| {}).is_some());
}

#[test]
fn a_freeze_that_does_not_wait_is_found() {
    assert!(found_by(20, Defect::FreezeEarly, |_| {}).is_some());
}

#[test]
fn delegations_that_resurrect_deleted_data_are_found() {
    let found = found_by(40, Defect::ForgetMigrated, |plan| {
        plan.faults = vec![campaign::Fault::Recover];
        plan.interval = Duration::from_secs(10);
        plan.options.tunables.vacuum_interval = 1;
        plan.habits = Habits {
            readonly: true,
            keys: 100,
            pause: Duration::from_millis(400),
            reads_percent: 60,
            deletes_percent: 60,
            ..Habits::default()
        };
    });
    assert!(found.is_some());
}

#[test]
fn campaigns_find_nothing() {
    for seed in 0..8 {
        let outcome = campaign::Plan::of(seed).run();
        if let Some(violation) = outcome.violation {
            panic!("{}seed {seed}: {violation}", outcome.report.unwrap_or_default());
        }
        assert!(outcome.counts.writes > 100, "{:?}", outcome.counts);
    }
}
