// SPDX-License-Identifier: GPL-3.0-or-later
//! The quick smbtorture tests, on one node and across two, give what they give on the C daemon
//! (spec/samba-client.md 22). `make smbtorture` runs all of them.

use std::sync::Mutex;

use anyhow::{ensure, Result};
use ctdb_tests::{expected, skip, Needs};

use super::samba_cluster;

#[test]
fn quick_tests_on_one_node() -> Result<()> {
    quick_tests(1)
}

#[test]
fn quick_tests_across_two_nodes() -> Result<()> {
    quick_tests(2)
}

fn quick_tests(nodes: usize) -> Result<()> {
    if skip(Needs::Torture) {
        return Ok(());
    }
    let cluster = samba_cluster(nodes)?;
    let rows: Vec<_> = expected()?.into_iter().filter(|r| r.quick && r.nodes == nodes).collect();
    let seen = Mutex::new(Vec::new());
    cluster.torture_rows(&rows, |row, verdict| {
        let line = format!("{} {}", row.test, verdict.counts.figures());
        let detail = match verdict.differences.is_empty() {
            true => None,
            false => Some(format!(
                "{}: {}\n{}",
                row.test,
                verdict.differences.join("; "),
                verdict.counts.output
            )),
        };
        if let Ok(mut seen) = seen.lock() {
            seen.push((line, detail));
        }
    })?;
    let seen = seen.into_inner().unwrap_or_default();
    ensure!(seen.len() == rows.len(), "{} of {} tests ran", seen.len(), rows.len());
    let different: Vec<String> = seen.into_iter().filter_map(|(_, detail)| detail).collect();
    ensure!(different.is_empty(), "{}", different.join("\n"));
    Ok(())
}
