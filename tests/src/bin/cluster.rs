// SPDX-License-Identifier: GPL-3.0-or-later
//! `make cluster`: a command, or a shell, inside a running test cluster.

use std::process::Command;

use anyhow::{bail, Result};
use ctdb_tests::{exit_with, missing, Cluster, Needs, Options, Side};

const USAGE: &str = "usage: cluster [--smbd] NODES [COMMAND ARG...]
Starts NODES nodes in a network namespace, runs COMMAND (default: a shell) in it with the
environment of node 0 and CLUSTER=directory, and stops everything when that ends.
Environment: CTDBD=debian runs the C daemon, CTDBD=PATH another one; KEEP=1 keeps the directory.";

fn main() {
    exit_with(cluster());
}

fn cluster() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let smbd = words.first().is_some_and(|w| w == "--smbd");
    if smbd {
        words.remove(0);
    }
    let Some(Ok(nodes)) = words.first().map(|w| w.parse::<usize>()) else { bail!("{USAGE}") };
    if let Some(why) = missing(if smbd { Needs::Samba } else { Needs::Cluster }) {
        bail!("{why}");
    }
    let mut options = Options::new(Side::from_env()?, nodes);
    options.smbd = smbd;
    let cluster = Cluster::start(options)?;
    eprintln!("{nodes} nodes of {} in {}", cluster.options.side.name, cluster.path().display());
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    let program = words.get(1).cloned().unwrap_or(shell);
    let status = Command::new(program)
        .args(words.iter().skip(2))
        .envs(cluster.nodes[0].env())
        .env("CLUSTER", cluster.path())
        .env("CTDB", &cluster.options.side.ctdb)
        .status()?;
    drop(cluster);
    std::process::exit(status.code().unwrap_or(1));
}
