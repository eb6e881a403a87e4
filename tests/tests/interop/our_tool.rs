// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb` beside Debian's on the same cluster: the same words, the same exit codes. `make
//! compare` does more of it and writes docs/tool-compatibility.md.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Result};
use ctdb_tests::beside::{compare, scripts, scripts_without_a_node, start, Pace, Results};
use ctdb_tests::{run, skip, Needs, Node, Outcome, Side};

use super::cluster;

const LIMIT: Duration = Duration::from_secs(60);

fn tool(program: &Path, node: &Node, args: &[&str]) -> Result<Outcome> {
    run(node.command(program).args(args), LIMIT)
}

fn none_differs(results: &Results, at_least: usize) -> Result<()> {
    let unexpected = results.unexpected();
    ensure!(unexpected.is_empty(), "{} differences\n{}", unexpected.len(), unexpected.join("\n"));
    ensure!(results.scripts() >= at_least, "only {} scripts were run", results.scripts());
    Ok(())
}

/// One C daemon alone is for `make compare` too: three of them say all that one does.
fn beside_debians(side: Side, nodes: usize) -> Result<()> {
    let ours = Side::our_tool()?;
    // the C daemon takes its time for recoveries: those are for `make compare`
    let pace = if side.is_debian() { Pace::Quick } else { Pace::Full };
    let mut cluster = start(side, nodes)?;
    let results = compare(&cluster, &ours, &scripts(), pace)?;
    none_differs(&results, 200)?;
    if nodes > 2 && pace == Pace::Quick {
        cluster.nodes[2].kill()?;
        cluster.settled(&[0, 1])?;
        let results = compare(&cluster, &ours, &scripts_without_a_node(), pace)?;
        none_differs(&results, 10)?;
    }
    Ok(())
}

#[test]
fn says_what_debians_says_on_three_c_daemons() -> Result<()> {
    match skip(Needs::DebianCtdb) {
        true => Ok(()),
        false => beside_debians(Side::debian(), 3),
    }
}

#[test]
fn says_what_debians_says_on_one_of_our_daemons() -> Result<()> {
    match skip(Needs::DebianCtdb) {
        true => Ok(()),
        false => beside_debians(Side::from_env()?, 1),
    }
}

#[test]
fn says_what_debians_says_on_three_of_our_daemons() -> Result<()> {
    match skip(Needs::DebianCtdb) {
        true => Ok(()),
        false => beside_debians(Side::from_env()?, 3),
    }
}

#[test]
fn our_tool_acts() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let ours = Side::our_tool()?;
    let mut cluster = cluster(2)?;
    let act = |node: &Node, args: &[&str]| -> Result<String> {
        Ok(tool(&ours, node, args)?.ok()?.stdout)
    };
    let [first, second] = [&cluster.nodes[0], &cluster.nodes[1]];
    act(first, &["attach", "new.tdb"])?;
    act(first, &["writekey", "new.tdb", "key", "value"])?;
    ensure!(act(second, &["readkey", "new.tdb", "key"])?.contains("ptr:[value]"));
    act(first, &["setvar", "KeepaliveInterval", "7"])?;
    ensure!(act(first, &["getvar", "KeepaliveInterval"])?.trim().ends_with("= 7"));

    let before = cluster.settled(&[0, 1])?.generation;
    act(&cluster.nodes[0], &["recover"])?;
    ensure!(cluster.settled(&[0, 1])?.generation != before);
    act(&cluster.nodes[0], &["stop", "-n", "1"])?;
    let stopped = cluster.nodes[0].debian_ctdb(&["nodestatus", "1"])?;
    ensure!(stopped.stdout.contains("STOPPED"), "{stopped}");
    act(&cluster.nodes[0], &["continue", "-n", "1"])?;
    cluster.settled(&[0, 1])?;
    act(&cluster.nodes[0], &["shutdown", "-n", "1"])?;
    if let Some(mut ctdbd) = cluster.nodes[1].ctdbd.take() {
        ensure!(ctdbd.wait(Duration::from_secs(10))?.success());
    }
    cluster.settled(&[0])?;
    Ok(())
}
