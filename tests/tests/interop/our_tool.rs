// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb` beside Debian's on the same cluster: the same words, the same exit codes.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ctdb_tests::{run, skip, Cluster, Needs, Node, Outcome, Side};

use super::cluster;

const LIMIT: Duration = Duration::from_secs(60);
const DEBIAN: &str = "/usr/bin/ctdb";

fn tool(program: &Path, node: &Node, args: &[&str]) -> Result<Outcome> {
    run(node.command(program).args(args), LIMIT)
}

/// Numbers become `#`: times, counters.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            _ => out.push(c),
        }
    }
    // a column of numbers is as wide as its numbers
    out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn same(node: &Node, ours: &Path, args: &[&str], mask: fn(&str) -> String) -> Result<()> {
    let want = tool(DEBIAN.as_ref(), node, args)?;
    let got = tool(ours, node, args)?;
    let differs = got.code != want.code
        || mask(&got.stdout) != mask(&want.stdout)
        || mask(&got.stderr) != mask(&want.stderr);
    ensure!(
        !differs,
        "ctdb {} on node {}\nours: {got}\nDebian's: {want}",
        args.join(" "),
        node.pnn
    );
    Ok(())
}

/// What a usage message says of commands; the list of options above it is each tool's own.
fn from_commands(text: &str) -> String {
    text.lines().skip_while(|l| *l != "Commands:").map(|l| l.to_string() + "\n").collect()
}

fn exactly(text: &str) -> String {
    text.to_string()
}

fn compare_all(cluster: &Cluster, ours: &Path) -> Result<()> {
    let exact: &[&[&str]] = &[
        &["status"],
        &["-X", "status"],
        &["-Y", "status"],
        &["nodestatus"],
        &["nodestatus", "all"],
        &["nodestatus", "0,1"],
        &["-X", "nodestatus", "all"],
        &["-x", ";", "nodestatus", "all"],
        &["listnodes"],
        &["-X", "listnodes"],
        &["pnn"],
        &["getdbmap"],
        &["-X", "getdbmap"],
        &["getvar", "KeepaliveInterval"],
        &["getvar", "NoSuchVariable"],
        &["setvar", "NoSuchVariable", "1"],
        &["setvar", "KeepaliveInterval", "5"],
        &["attach", "data.tdb"],
        &["catdb", "data.tdb"],
        &["catdb", "safe.tdb"],
        &["readkey", "data.tdb", "key"],
        &["readkey", "data.tdb", "nothing"],
        &["readkey", "none.tdb", "key"],
        &["no-such-command"],
        &["status", "-n", "7"],
        &["-n", "1", "pnn"],
        &["-n", "1", "status"],
    ];
    let masked: &[&[&str]] =
        &[&["ping", "-n", "1"], &["ping"], &["statistics"], &["-X", "statistics"]];
    let mut failures = Vec::new();
    for node in &cluster.nodes {
        for args in exact {
            failures.extend(same(node, ours, args, exactly).err());
        }
        failures.extend(same(node, ours, &["readkey"], from_commands).err());
        for args in masked {
            failures.extend(same(node, ours, args, without_numbers).err());
        }
    }
    let text: Vec<String> = failures.iter().map(|e| format!("{e:#}")).collect();
    ensure!(text.is_empty(), "{} differences\n{}", text.len(), text.join("\n"));
    Ok(())
}

#[test]
fn our_tool_says_what_debians_says() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let ours = Side::our_tool()?;
    let mut cluster = cluster(2)?;
    let node = &cluster.nodes[0];
    for args in [
        &["attach", "data.tdb"][..],
        &["attach", "safe.tdb", "persistent"],
        &["attach", "copied.tdb", "replicated"],
        &["writekey", "data.tdb", "key", "value"],
        &["pstore", "safe.tdb", "key", "value"],
    ] {
        node.debian_ctdb(args)?.ok()?;
    }
    compare_all(&cluster, &ours).context("all nodes OK")?;

    // the same of a node that is gone, on the one that is left and on the one that is gone
    cluster.nodes[1].kill()?;
    cluster.settled(&[0])?;
    let mut failures = Vec::new();
    for args in [&["status"][..], &["nodestatus", "all"], &["-X", "status"], &["ping", "-n", "1"]] {
        for node in &cluster.nodes {
            failures
                .extend(same(node, &ours, args, without_numbers).err().map(|e| format!("{e:#}")));
        }
    }
    ensure!(failures.is_empty(), "{} differences\n{}", failures.len(), failures.join("\n"));
    Ok(())
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
