// SPDX-License-Identifier: GPL-3.0-or-later
//! `make bench-tool`: how long our `ctdb` and Debian's take from start to end, on the same daemons.
//!
//! The two run in turn, so that both have the same machine and the same moments of the leader's broadcast,
//! which `status` waits for where the daemon sends it only once a second.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{bail, ensure, Context, Result};
use ctdb_tests::{
    comparison_table, exit_with, median, merge_results, missing, today, write_section, Cluster,
    Comparison, Needs, Node, Options, Side,
};

const USAGE: &str = "usage: bench-tool [--rounds N] [--report FILE] [--out FILE]
  --rounds N    runs of each tool, medians are compared (100)
  --report FILE also write the table into this Markdown file
  --out FILE    where the results go (target/bench/results.json)
Environment: CTDB=PATH is measured instead of the tool built here.";

const DEBIAN: &str = "/usr/bin/ctdb";
const NODES: usize = 2;
/// As many as a file server has.
const DATABASES: usize = 30;

/// What is measured: the arguments, and whether it may take a second each.
const COMMANDS: [(&str, bool); 6] = [
    ("status", true),
    ("-X nodestatus all", false),
    ("ping -n 1", false),
    ("getdbmap", false),
    ("catdb db0.tdb", false),
    ("pfetch safe.tdb key", false),
];
/// Runs of what may take a second each.
const SLOW_ROUNDS: usize = 10;

struct Arguments {
    rounds: usize,
    out: PathBuf,
    report: Option<PathBuf>,
}

fn arguments() -> Result<Arguments> {
    let mut got = Arguments { rounds: 100, out: "target/bench/results.json".into(), report: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().context(USAGE)?;
        match word.as_str() {
            "--rounds" => got.rounds = value.parse()?,
            "--report" => got.report = Some(value.into()),
            "--out" => got.out = value.into(),
            _ => bail!("{USAGE}"),
        }
    }
    Ok(got)
}

fn main() {
    exit_with(bench());
}

fn bench() -> Result<()> {
    let args = arguments()?;
    if let Some(why) = missing(Needs::DebianCtdb) {
        bail!("{why}");
    }
    let ours = match std::env::var_os("CTDB") {
        Some(path) => path.into(),
        None => Side::our_tool()?,
    };
    let mut rows = Vec::new();
    Comparison::print_head();
    for (daemon, side) in [("our daemon", Side::ours()?), ("Debian's daemon", Side::debian())] {
        let cluster = Cluster::start(Options::new(side, NODES))?;
        let node = &cluster.nodes[0];
        prepare(node)?;
        for (line, may_wait) in COMMANDS {
            let waits = may_wait && cluster.options.side.is_debian();
            let rounds = if waits { args.rounds.min(SLOW_ROUNDS) } else { args.rounds };
            let row = compare(node, &ours, line, daemon, rounds)?;
            row.print();
            rows.push(row);
        }
    }
    if let Some(file) = &args.report {
        let text = format!(
            "Run of {}: {} runs of each tool in turn, medians; {NODES} nodes with {DATABASES} databases.\n\n{}",
            today(),
            args.rounds,
            comparison_table(&rows)
        );
        write_section(file, "make bench-tool", &text)?;
    }
    merge_results(&args.out, &rows)
}

fn prepare(node: &Node) -> Result<()> {
    for number in 0..DATABASES {
        node.debian_ctdb(&["attach", &format!("db{number}.tdb")])?.ok()?;
    }
    node.debian_ctdb(&["attach", "safe.tdb", "persistent"])?.ok()?;
    node.debian_ctdb(&["pstore", "safe.tdb", "key", "value"])?.ok()?;
    node.debian_ctdb(&["writekey", "db0.tdb", "key", "value"])?.ok()?;
    Ok(())
}

fn compare(
    node: &Node,
    ours: &std::path::Path,
    line: &str,
    daemon: &str,
    rounds: usize,
) -> Result<Comparison> {
    let mut times = [Vec::new(), Vec::new()];
    // the first runs load the programs
    for round in 0..rounds + 2 {
        for (program, times) in [ours, DEBIAN.as_ref()].into_iter().zip(&mut times) {
            let mut command = node.command(program);
            command.args(line.split(' ')).stdout(Stdio::null());
            let began = Instant::now();
            let status = command.status()?;
            let took = began.elapsed();
            ensure!(status.success(), "{} {line}: {status}", program.display());
            if round >= 2 {
                times.push(took.as_secs_f64() * 1000.0);
            }
        }
    }
    let [ours, peer] = times.map(|times| median(&times));
    let workload = format!("ctdb {line}, {daemon}");
    Ok(Comparison { workload, unit: "ms", ours, peer, higher_is_better: false })
}
