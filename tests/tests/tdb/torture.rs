// SPDX-License-Identifier: GPL-3.0-or-later
//! Seconds of what `make soak` does for minutes.

use std::time::Duration;

use ctdb_tests::tdb_torture::{torture, Figures, Plan, Scene};
use ctdb_tests::{skip, Needs};

fn run(scenes: [Scene; 2]) -> Option<[Figures; 2]> {
    if skip(Needs::Libtdb) {
        return None;
    }
    let one = |scene: Scene| {
        let plan = Plan {
            scene,
            length: Duration::from_millis(1600),
            seed: u64::from(std::process::id()),
            our_worker: vec![env!("CARGO_BIN_EXE_soak-tdb").into(), "worker".into()],
        };
        let figures = torture(&plan).unwrap();
        println!("{}, seed {}: {figures:?}", scene.name, plan.seed);
        assert!(figures.violations.is_empty(), "{}: {:#?}", scene.name, figures.violations);
        assert!(figures.operations > 100 && figures.looks > 0, "{figures:?}");
        figures
    };
    Some(scenes.map(one))
}

#[test]
fn everything_at_once_is_as_acknowledged() {
    let Some(all) = run([Scene::ALL[0], Scene::ALL[1]]) else { return };
    for figures in all {
        assert_eq!((figures.kills, figures.untidy), ([0; 3], 0));
    }
}

#[test]
fn killed_transactions_are_whole_or_nothing() {
    let Some(all) = run([Scene::ALL[2], Scene::ALL[3]]) else { return };
    for figures in all {
        assert!(figures.kills.iter().sum::<u64>() > 0, "{figures:?}");
    }
}

#[test]
fn killed_writers_cost_nobody_else_a_record() {
    let Some(all) = run([Scene::ALL[4], Scene::ALL[5]]) else { return };
    for figures in all {
        assert!(figures.kills.iter().sum::<u64>() > 0, "{figures:?}");
    }
}
