// SPDX-License-Identifier: GPL-3.0-or-later
//! The second part of `make soak`: minutes of processes of three kinds on TDB files, killed at
//! random, and what they acknowledged.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use ctdb_tests::tdb_torture::{torture, worker, Figures, Plan, Scene};
use ctdb_tests::{exit_with, missing, today, write_section, Needs};

const USAGE: &str = "usage: soak-tdb [--minutes N] [--seed N] [--only TEXT] [--report FILE]
  --only TEXT    only scenes whose name contains TEXT
  --report FILE  also write the table into this Markdown file";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    exit_with(match words.split_first() {
        Some((first, rest)) if first == "worker" => worker(rest),
        _ => soak(&words),
    });
}

struct Arguments {
    minutes: f64,
    seed: u64,
    only: String,
    report: Option<PathBuf>,
}

fn arguments(words: &[String]) -> Result<Arguments> {
    let seed = u64::from(std::process::id());
    let mut got = Arguments { minutes: 5.0, seed, only: String::new(), report: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().context(USAGE)?;
        match word.as_str() {
            "--minutes" => got.minutes = value.parse()?,
            "--seed" => got.seed = value.parse()?,
            "--only" => got.only = value.clone(),
            "--report" => got.report = Some(value.into()),
            _ => bail!("{USAGE}"),
        }
    }
    Ok(got)
}

fn soak(words: &[String]) -> Result<()> {
    let args = arguments(words)?;
    if let Some(why) = missing(Needs::Libtdb) {
        bail!("{why}");
    }
    println!("seed {}, {} minutes", args.seed, args.minutes);
    let mut scenes = Scene::ALL.to_vec();
    scenes.retain(|scene| scene.name.contains(&args.only));
    let length = Duration::from_secs_f64(args.minutes * 60.0 / scenes.len().max(1) as f64);
    let mut table = String::from(HEAD);
    let mut failed = 0;
    for scene in scenes {
        let our_worker = vec![std::env::current_exe()?.into(), "worker".into()];
        let figures = torture(&Plan { scene, length, seed: args.seed, our_worker })?;
        let [ours, c, python] = figures.kills;
        println!(
            "{}: {} operations and {} wipes acknowledged; killed {ours} of ours, {c} C, {python} \
             Python; {} looks, {} found lost space; {} C processes slept on a free mutex; \
             lost writes, corruption, hangs: {}",
            scene.name,
            figures.operations,
            figures.wipes,
            figures.looks,
            figures.untidy,
            figures.asleep,
            figures.violations.len()
        );
        for violation in &figures.violations {
            println!("  {violation}");
        }
        table += &row(scene.name, &figures);
        failed += figures.violations.len();
    }
    if let Some(file) = args.report {
        let run = format!("Run of {}, {} minutes, seed {}.\n\n", today(), args.minutes, args.seed);
        write_section(&file, "make soak", &(run + &table))?;
    }
    ensure!(failed == 0, "{failed} violations");
    Ok(())
}

const HEAD: &str = "| processes | operations | wipes | killed: ours, C, Python | looks | lost space found | C processes asleep | lost writes, corruption, hangs |\n\
    |---|---|---|---|---|---|---|---|\n";

fn row(scene: &str, figures: &Figures) -> String {
    let Figures { operations, wipes, kills: [ours, c, python], looks, untidy, asleep, violations } =
        figures;
    let wrong = violations.len();
    format!("| {scene} | {operations} | {wipes} | {ours}, {c}, {python} | {looks} | {untidy} | {asleep} | {wrong} |\n")
}
