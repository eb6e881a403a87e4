// SPDX-License-Identifier: GPL-3.0-or-later
//! Bad input and faults: what a daemon has to survive, and what it has to refuse.
//!
//! `CTDBD=debian` runs these against the C daemon; the tests that it is known to fail say so and
//! are left out there.

mod configuration;
mod files;
mod lock_holders;
mod node_death;
mod packets;

use std::io::Write;
use std::time::Duration;

use anyhow::{ensure, Result};
use ctdb_tests::{skip, Cluster, Needs, Node, Options, Side};

/// Starts a cluster, or gives `None` when this machine cannot.
fn cluster(nodes: usize) -> Result<Option<Cluster>> {
    if skip(Needs::DebianCtdb) {
        return Ok(None);
    }
    Cluster::start(Options::new(Side::from_env()?, nodes)).map(Some)
}

/// A cluster whose nodes are not started yet.
fn prepared(nodes: usize) -> Result<Option<Cluster>> {
    if skip(Needs::DebianCtdb) {
        return Ok(None);
    }
    Cluster::prepare(Options::new(Side::from_env()?, nodes)).map(Some)
}

/// True, and said, if the daemon under test is the C one, which fails this test.
fn c_daemon_fails(why: &str) -> Result<bool> {
    let c = Side::from_env()?.is_debian();
    if c {
        let line = format!("left out on the C daemon: {why}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    Ok(c)
}

/// A daemon serves: it migrates a record and answers.
fn serves(node: &Node) -> Result<()> {
    node.debian_ctdb(&["attach", "probe.tdb"])?.ok()?;
    let key = format!("probe{}", node.pnn);
    node.debian_ctdb(&["writekey", "probe.tdb", &key, "value"])?.ok()?;
    let got = node.debian_ctdb(&["readkey", "probe.tdb", &key])?.ok()?;
    ensure!(got.stdout.contains("ptr:[value]"), "{got}");
    Ok(())
}

/// Waits until a node's log contains a text.
fn logs(node: &Node, text: &str, limit: Duration) -> Result<()> {
    ctdb_tests::wait_until(&format!("node {} logs {text:?}", node.pnn), limit, || {
        node.log().to_lowercase().contains(&text.to_lowercase())
    })
    .map_err(|e| e.context(node.log()))
}
