// SPDX-License-Identifier: GPL-3.0-or-later
//! Every workload runs on real daemons and gives a figure; Debian's daemons, or those that `CTDBD`
//! names.

use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ctdb_tests::{run, skip, Cluster, Needs, Options, Side};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn each_workload_gives_its_figure() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let side = match std::env::var_os("CTDBD") {
        Some(_) => Side::from_env()?,
        None => Side::debian(),
    };
    let cluster = Cluster::start(Options::new(side, 2))?;
    let sockets: Vec<String> =
        cluster.nodes.iter().map(|node| node.socket().display().to_string()).collect();
    let sockets = sockets.join(",");
    let bench = |line: &str| -> Result<(Value, String)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctdb-bench"));
        command.args(line.split(' ')).args(["--sockets", &sockets, "--json"]);
        let got = run(&mut command, LIMIT)?.ok()?;
        let value = serde_json::from_str(&got.stdout).with_context(|| got.stdout.clone())?;
        Ok((value, got.stderr))
    };
    for (line, nodes) in [
        ("message-ring --seconds 0.5", 2),
        ("fetch-ring --seconds 0.5", 2),
        ("fetch-lock --seconds 0.2 --keys 10", 1),
        ("load --records 100 --size 50", 2),
        ("fill --records 100 --db other.tdb", 2),
        ("gap --seconds 1 --keys 50", 2),
        ("owned-gap --seconds 0.2", 1),
    ] {
        let (figure, said) = bench(line)?;
        let value = figure["value"].as_f64().context("a value")?;
        ensure!(value > 0.0 && figure["unit"].is_string(), "ctdb-bench {line}: {figure}");
        let counts = figure["nodes"].as_array().context("figures of nodes")?;
        ensure!(counts.len() == nodes, "ctdb-bench {line}: {figure}");
        ensure!(counts.iter().all(|node| node["count"].as_u64() > Some(0)), "{line}: {figure}");
        ensure!(line.contains("gap") == said.contains("ready"), "ctdb-bench {line} said {said:?}");
    }
    let filled = cluster.nodes[0].debian_ctdb(&["catdb", "other.tdb"])?;
    ensure!(filled.stdout.ends_with("Dumped 100 records\n"), "{}", filled.stdout);

    let mut lost = Command::new(env!("CARGO_BIN_EXE_ctdb-bench"));
    let failed = run(lost.args(["fetch-lock", "--sockets", "/nonexistent/socket"]), LIMIT)?;
    ensure!(failed.code == Some(1) && failed.stderr.contains("/nonexistent/socket"), "{failed}");
    Ok(())
}
