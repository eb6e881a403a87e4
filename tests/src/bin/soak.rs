// SPDX-License-Identifier: GPL-3.0-or-later
//! `make soak`: minutes of killed, stopped and recovering nodes under a checker of what clients
//! see.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use ctdb_tests::{exit_with, missing, Cluster, Needs, Options, Side};

const USAGE: &str = "usage: soak [--minutes N] [--nodes N] [--seed N]
Environment: CTDBD=debian runs the C daemon, CTDBD=PATH another one.";

fn main() {
    exit_with(soak());
}

fn soak() -> Result<()> {
    let (mut minutes, mut nodes, mut seed) = (5.0_f64, 3, u64::from(std::process::id()));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().context(USAGE)?;
        match word.as_str() {
            "--minutes" => minutes = value.parse()?,
            "--nodes" => nodes = value.parse()?,
            "--seed" => seed = value.parse()?,
            _ => bail!("{USAGE}"),
        }
    }
    if let Some(why) = missing(Needs::DebianCtdb) {
        bail!("{why}");
    }
    println!("seed {seed}, {nodes} nodes, {minutes} minutes");
    let mut cluster = Cluster::start(Options::new(Side::from_env()?, nodes))?;
    let figures = cluster.check_histories(Duration::from_secs_f64(minutes * 60.0), seed)?;
    println!(
        "{} updates, {} daemons killed, {} stopped for a while, {} recoveries asked for",
        figures.updates, figures.kills, figures.freezes, figures.recoveries
    );
    println!("{} lost or doubled updates or hangs", figures.violations.len());
    ensure!(figures.violations.is_empty(), "{:#?}", figures.violations);
    Ok(())
}
