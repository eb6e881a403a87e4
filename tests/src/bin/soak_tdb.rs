// SPDX-License-Identifier: GPL-3.0-or-later
//! The second part of `make soak`: minutes of processes of three kinds on TDB files, killed at
//! random, and what they acknowledged.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use ctdb_tests::tdb_torture::{torture, worker, Plan, Scene};
use ctdb_tests::{exit_with, missing, Needs};

const USAGE: &str = "usage: soak-tdb [--minutes N] [--seed N] [--only TEXT]
  --only TEXT  only scenes whose name contains TEXT";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    exit_with(match words.split_first() {
        Some((first, rest)) if first == "worker" => worker(rest),
        _ => soak(&words),
    });
}

fn soak(words: &[String]) -> Result<()> {
    let (mut minutes, mut seed) = (5.0_f64, u64::from(std::process::id()));
    let mut only = "";
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().context(USAGE)?;
        match word.as_str() {
            "--minutes" => minutes = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--only" => only = value,
            _ => bail!("{USAGE}"),
        }
    }
    if let Some(why) = missing(Needs::Libtdb) {
        bail!("{why}");
    }
    println!("seed {seed}, {minutes} minutes");
    let scenes: Vec<Scene> = Scene::ALL.into_iter().filter(|s| s.name.contains(only)).collect();
    let length = Duration::from_secs_f64(minutes * 60.0 / scenes.len().max(1) as f64);
    let mut failed = 0;
    for scene in scenes {
        let our_worker = vec![std::env::current_exe()?.into(), "worker".into()];
        let figures = torture(&Plan { scene, length, seed, our_worker })?;
        let [ours, c, python] = figures.kills;
        println!(
            "{}: {} operations and {} wipes acknowledged; killed {ours} of ours, {c} C, {python} Python; \
             {} looks, {} found space lost; lost writes, corruption, hangs: {}",
            scene.name, figures.operations, figures.wipes, figures.looks, figures.untidy, figures.violations.len()
        );
        for violation in &figures.violations {
            println!("  {violation}");
        }
        failed += figures.violations.len();
    }
    ensure!(failed == 0, "{failed} violations");
    Ok(())
}
