// SPDX-License-Identifier: GPL-3.0-or-later
//! Our daemons under existing clients: Debian's `ctdb`, smbd and its tools, smbtorture.
//!
//! Each test runs a cluster of its own in a network namespace of its own. `CTDBD=debian` runs the
//! same tests against the C daemon, which passes all of them.

mod addresses;
mod ctdb_tool;
mod databases;
mod gates;
mod our_tool;
mod samba_tools;
mod smbtorture;

use anyhow::Result;
use ctdb_tests::{Cluster, Options, Side};

fn cluster(nodes: usize) -> Result<Cluster> {
    Cluster::start(Options::new(Side::from_env()?, nodes))
}

fn samba_cluster(nodes: usize) -> Result<Cluster> {
    Cluster::start(Options::new(Side::from_env()?, nodes).with_smbd())
}
