// SPDX-License-Identifier: GPL-3.0-or-later
//! The parent: starts a process for each node, lets them go together, puts their figures together.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

use crate::worker::{Figure, Kind};
use crate::Common;

/// How a workload is run and reported.
pub(crate) struct Workload {
    kind: Kind,
    name: &'static str,
    unit: &'static str,
    /// How the figures of the nodes become one.
    combine: Combine,
    /// Only the first node works.
    single: bool,
}

#[derive(Clone, Copy)]
enum Combine {
    /// Mean of the rates.
    MeanRate,
    /// Sum of the rates.
    SumRate,
    /// The longest gap.
    LongestGap,
}

pub(crate) const FETCH_RING: Workload = Workload {
    kind: Kind::FetchRing,
    name: "fetch-ring",
    unit: "moves/s per node",
    combine: Combine::MeanRate,
    single: false,
};
pub(crate) const MESSAGE_RING: Workload = Workload {
    kind: Kind::MessageRing,
    name: "message-ring",
    unit: "messages/s per node",
    combine: Combine::MeanRate,
    single: false,
};
pub(crate) const FETCH_LOCK: Workload = Workload {
    kind: Kind::FetchLock,
    name: "fetch-lock",
    unit: "1/s",
    combine: Combine::SumRate,
    single: true,
};
pub(crate) const FILL: Workload = Workload {
    kind: Kind::Fill,
    name: "fill",
    unit: "records/s",
    combine: Combine::SumRate,
    single: false,
};
pub(crate) const GAP: Workload = Workload {
    kind: Kind::Gap,
    name: "gap",
    unit: "s",
    combine: Combine::LongestGap,
    single: false,
};
pub(crate) const OWNED_GAP: Workload = Workload {
    kind: Kind::OwnedGap,
    name: "owned-gap",
    unit: "s",
    combine: Combine::LongestGap,
    single: true,
};

/// A worker process; killed if the parent gives up.
struct Worker {
    child: Child,
    output: BufReader<ChildStdout>,
    node: usize,
}

impl Worker {
    fn start(workload: &Workload, common: &Common, node: usize, nodes: usize) -> Result<Worker> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["worker", workload.kind.name(), "--index", &node.to_string()])
            .args(["--nodes", &nodes.to_string(), "--db", &common.db])
            .args(["--seconds", &common.seconds.to_string()])
            .args(["--records", &common.records.to_string(), "--size", &common.size.to_string()])
            .arg("--socket")
            .arg(&common.sockets[node]);
        if let Some(keys) = common.keys {
            command.args(["--keys", &keys.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("standard output of a worker")?;
        Ok(Worker { child, output: BufReader::new(output), node })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("node {}: the client ended early", self.node);
        }
        Ok(line.trim().to_string())
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("standard input of a worker")?;
        writeln!(input, "{word}").and_then(|()| input.flush()).context("start of a client")
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let line = self.line()?;
        if line != word {
            bail!("node {}: expected {word:?}, the client said {line:?}", self.node);
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a workload and prints its figure.
pub(crate) fn run(workload: &Workload, common: &Common) -> Result<()> {
    let nodes = if workload.single { 1 } else { common.sockets.len() };
    let mut workers = (0..nodes)
        .map(|node| Worker::start(workload, common, node, nodes))
        .collect::<Result<Vec<_>>>()?;
    for worker in &mut workers {
        worker.expect("ready")?;
    }
    for worker in &mut workers {
        worker.tell("go")?;
    }
    if matches!(workload.combine, Combine::LongestGap) {
        for worker in &mut workers {
            worker.expect("working")?;
        }
        eprintln!("ready");
    }
    let mut figures = Vec::new();
    for worker in &mut workers {
        let line = worker.line()?;
        let figure: Figure = serde_json::from_str(&line)
            .with_context(|| format!("node {}: figure {line:?}", worker.node))?;
        figures.push(figure);
    }
    println!("{}", report(workload, &figures));
    Ok(())
}

fn report(workload: &Workload, figures: &[Figure]) -> Value {
    let rates = figures.iter().map(Figure::rate);
    let value = match workload.combine {
        Combine::SumRate => rates.sum::<f64>(),
        Combine::MeanRate => rates.sum::<f64>() / figures.len().max(1) as f64,
        Combine::LongestGap => figures.iter().map(|f| f.longest_gap).fold(0.0, f64::max),
    };
    json!({
        "workload": workload.name,
        "unit": workload.unit,
        "value": value,
        "nodes": figures,
    })
}
