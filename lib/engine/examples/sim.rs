// SPDX-License-Identifier: GPL-3.0-or-later
//! Runs simulated clusters under random faults.
//!
//! ```text
//! sim [SEEDS [FIRST]]     campaigns of SEEDS seeds (100), from FIRST (0) on
//! sim --seed N            one campaign, with its plan and, if it fails, its last steps
//! ```
//!
//! Prints what was run and found; exits with 1 if an invariant was violated.

use ctdb_engine::sim::campaign::Plan;
use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| match args.get(at) {
        None => Ok(default),
        Some(text) => text.parse::<u64>().map_err(|_| text),
    };
    if args.first().is_some_and(|a| a == "--seed") {
        return match number(1, 0) {
            Ok(seed) => one(seed),
            Err(text) => usage(text),
        };
    }
    match (number(0, 100), number(1, 0)) {
        (Ok(seeds), Ok(first)) => many(first, seeds),
        (Err(text), _) | (_, Err(text)) => usage(text),
    }
}

fn usage(text: &str) -> ExitCode {
    eprintln!("sim: not a number: {text}\nusage: sim [SEEDS [FIRST]] | sim --seed N");
    ExitCode::from(2)
}

fn one(seed: u64) -> ExitCode {
    let mut plan = Plan::of(seed);
    plan.options.trace = 1_000_000;
    println!("{plan:#?}");
    let outcome = plan.run();
    println!(
        "{:?} in {} steps, faults {:?}, {:?}, transactions {:?}",
        outcome.time, outcome.steps, outcome.faults, outcome.counts, outcome.transactions
    );
    let Some(violation) = outcome.violation else {
        println!("no violation");
        return ExitCode::SUCCESS;
    };
    println!("{}{violation}", outcome.report.unwrap_or_default());
    ExitCode::FAILURE
}

fn many(first: u64, seeds: u64) -> ExitCode {
    let mut hours = 0.0;
    let (mut steps, mut writes, mut reads, mut rollbacks, mut strays) = (0, 0, 0, 0, 0);
    let mut faults: BTreeMap<String, u64> = BTreeMap::new();
    let (mut committed, mut uncertain) = (0, 0);
    let mut violations = 0;
    for seed in first..first.saturating_add(seeds) {
        let outcome = Plan::of(seed).run();
        hours += outcome.time.as_secs_f64() / 3600.0;
        steps += outcome.steps;
        writes += outcome.counts.writes;
        reads += outcome.counts.reads;
        rollbacks += outcome.counts.rollbacks;
        strays += outcome.counts.strays;
        committed += outcome.transactions.0;
        uncertain += outcome.transactions.1;
        for (fault, n) in outcome.faults {
            *faults.entry(format!("{fault:?}")).or_default() += n;
        }
        if let Some(violation) = outcome.violation {
            violations += 1;
            println!("seed {seed}: {violation}");
        }
    }
    println!("{seeds} seeds, {hours:.2} virtual hours, {steps} turns of daemons");
    println!("{writes} writes and {reads} checked reads of records");
    println!("{rollbacks} newest versions died with their nodes, {strays} came back from behind a partition");
    println!("{committed} transactions committed, {uncertain} attempts with an uncertain end");
    println!("faults: {faults:?}");
    println!("violations: {violations}");
    if violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
