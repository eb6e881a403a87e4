// SPDX-License-Identifier: GPL-3.0-or-later
//! `make bench`: our cluster and Debian's in turn, the same clients on both, medians and ratios.
//!
//! Three nodes of one side run at a time, on the same addresses, without real-time scheduling.
//! The client loops are `ctdb-bench`, which speaks the existing client protocol to either daemon:
//!
//! ```text
//! ctdb-bench COMMAND --sockets A,B,C [--seconds N] [--db NAME] [--records N] [--size N] [--keys N]
//! ```
//!
//! It prints one JSON object whose `value` is the figure. The commands are `fetch-ring`,
//! `message-ring` (per second and node), `fetch-lock` (per second, local), `load` (stores records)
//! and `gap` (longest time between two successful migrations, in seconds, through whatever is done
//! to the cluster meanwhile; says `ready` on standard error once all its clients work).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use ctdb_tests::{
    comparison_table, exit_with, median, merge_results, missing, run_ok, today, wait_for,
    write_section, Cluster, Comparison, Needs, Options, Side,
};
use serde_json::Value;

const USAGE: &str = "usage: bench [--rounds N] [--seconds N] [--records N] [--only TEXT] [--report FILE]
             [--out FILE]
  --rounds N    runs of each side, medians are compared (3)
  --seconds N   length of each loop (5)
  --records N   records that a recovery moves (200000)
  --only TEXT   only workloads whose name contains TEXT
  --report FILE also write the table into this Markdown file
  --out FILE    where the results go (target/bench/results.json)
Environment: CTDBD=PATH is compared instead of the daemon built here; PEER=PATH instead of Debian's.";

const FETCH_LOCK_C: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/fetch_lock.c");
const NODES: usize = 3;
const DB: &str = "bench.tdb";
const RECORD_BYTES: usize = 100;
const GAP_KEYS: usize = 2000;

/// What is measured: name in goals and results, unit, whether more is better.
const WORKLOADS: [(&str, &str, bool); 7] = [
    ("start of 3 nodes to all OK", "s", false),
    ("fetch ring", "moves/s per node", true),
    ("message ring", "messages/s per node", true),
    ("local fetch-lock", "1/s", true),
    ("recovery: longest gap between migrations", "s", false),
    ("recovery: duration as the daemon reports it", "s", false),
    ("leader killed: longest gap between migrations", "s", false),
];

struct Arguments {
    rounds: usize,
    seconds: u64,
    records: u64,
    only: String,
    out: PathBuf,
    report: Option<PathBuf>,
}

type Samples = BTreeMap<(&'static str, &'static str), Vec<f64>>;

fn arguments() -> Result<Arguments> {
    let mut got = Arguments {
        rounds: 3,
        seconds: 5,
        records: 200_000,
        only: String::new(),
        out: "target/bench/results.json".into(),
        report: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| USAGE)?;
        match word.as_str() {
            "--rounds" => got.rounds = value.parse()?,
            "--seconds" => got.seconds = value.parse()?,
            "--records" => got.records = value.parse()?,
            "--only" => got.only = value,
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
    let peer = match std::env::var_os("PEER") {
        Some(path) => Side { ctdbd: path.into(), ..Side::debian() },
        None => Side::debian(),
    };
    let ours = Side { name: "ours", ..Side::from_env()? };
    let mut samples = Samples::new();
    for round in 0..args.rounds {
        // the order changes, so that neither side always has the warm machine
        let mut sides = [&ours, &peer];
        sides.rotate_left(round % 2);
        for side in sides {
            eprintln!("round {} of {}: {}", round + 1, args.rounds, side.ctdbd.display());
            let mut bench = Bench { args: &args, side, samples: &mut samples };
            bench.all().with_context(|| side.ctdbd.display().to_string())?;
        }
    }
    report(&samples, &args)
}

/// One round on one side.
struct Bench<'a> {
    args: &'a Arguments,
    side: &'a Side,
    samples: &'a mut Samples,
}

impl Bench<'_> {
    fn wanted(&self, what: &str) -> bool {
        what.contains(&self.args.only)
    }

    fn sample(&mut self, what: &'static str, value: f64) {
        eprintln!("  {what}: {value:.4}");
        self.samples.entry((what, self.side.name)).or_default().push(value);
    }

    fn all(&mut self) -> Result<()> {
        let mut options = Options::new(self.side.clone(), NODES);
        options.log_level = "NOTICE";
        options.extra_conf = "[legacy]\n\trealtime scheduling = false\n".into();
        let mut cluster = Cluster::prepare(options)?;
        let began = Instant::now();
        for node in &mut cluster.nodes {
            node.start()?;
        }
        cluster.settled(&[0, 1, 2])?;
        if self.wanted(WORKLOADS[0].0) {
            self.sample(WORKLOADS[0].0, began.elapsed().as_secs_f64());
        }
        let loops = [(1, "fetch-ring"), (2, "message-ring")];
        for (row, command) in loops {
            if self.wanted(WORKLOADS[row].0) {
                let seconds = self.args.seconds.to_string();
                let value = client(&cluster, &[0, 1, 2], command, &["--seconds", &seconds])?;
                self.sample(WORKLOADS[row].0, value);
            }
        }
        if self.wanted(WORKLOADS[3].0) {
            let value = self.fetch_lock(&cluster)?;
            self.sample(WORKLOADS[3].0, value);
        }
        if self.wanted("recovery") {
            self.recovery(&cluster)?;
        }
        if self.wanted(WORKLOADS[6].0) {
            self.leader_killed(&mut cluster)?;
        }
        Ok(())
    }

    /// No daemon takes part in this: our client library on our nodes, on the peer's what a C client
    /// does with libtdb.
    fn fetch_lock(&self, cluster: &Cluster) -> Result<f64> {
        let seconds = self.args.seconds.to_string();
        if !self.side.is_debian() {
            return client(cluster, &[0], "fetch-lock", &["--seconds", &seconds]);
        }
        let node = &cluster.nodes[0];
        node.debian_ctdb(&["attach", DB])?.ok()?;
        node.debian_ctdb(&["writekey", DB, "key", &"v".repeat(RECORD_BYTES)])?.ok()?;
        let program = cluster.path().join("fetch_lock");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-o"]).arg(&program).args([FETCH_LOCK_C, "-ltdb"]);
        run_ok(&mut cc, Duration::from_secs(60))?;
        let mut rounds = Command::new(program);
        rounds.arg(node.volatile().join(format!("{DB}.0")));
        rounds.args(["key", "0", &RECORD_BYTES.to_string(), &seconds]);
        value_of(&run_ok(&mut rounds, Duration::from_secs(300))?.stdout)
    }

    /// Migrations go on while `ctdb recover` moves all the records.
    fn recovery(&mut self, cluster: &Cluster) -> Result<()> {
        let records = self.args.records.to_string();
        let size = RECORD_BYTES.to_string();
        let load = ["--db", DB, "--records", &records, "--size", &size];
        client(cluster, &[0, 1, 2], "load", &load)?;
        let load = start_gap(cluster, &[0, 1, 2], 6)?;
        cluster.nodes[0].debian_ctdb(&["recover"])?.ok()?;
        let gap = load.finish()?;
        self.sample(WORKLOADS[4].0, gap);
        self.sample(WORKLOADS[5].0, reported_duration(cluster)?);
        Ok(())
    }

    fn leader_killed(&mut self, cluster: &mut Cluster) -> Result<()> {
        let leader: usize = cluster.settled(&[0, 1, 2])?.leader.parse()?;
        let survivors: Vec<usize> = (0..NODES).filter(|&pnn| pnn != leader).collect();
        let load = start_gap(cluster, &survivors, 20)?;
        cluster.nodes[leader].kill()?;
        let gap = load.finish()?;
        self.sample(WORKLOADS[6].0, gap);
        cluster.settled(&survivors)?;
        Ok(())
    }
}

/// A `ctdb-bench gap` that runs meanwhile.
struct Load {
    child: std::process::Child,
    seconds: u64,
}

fn start_gap(cluster: &Cluster, nodes: &[usize], seconds: u64) -> Result<Load> {
    let mut command = bench_command(cluster, nodes, "gap")?;
    command.args(["--db", DB, "--keys", &GAP_KEYS.to_string()]);
    command.args(["--seconds", &seconds.to_string()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stderr = child.stderr.take().context("standard error")?;
    let mut ready = false;
    for line in BufReader::new(stderr).lines() {
        ready = line?.trim() == "ready";
        if ready {
            break;
        }
    }
    let load = Load { child, seconds };
    ensure!(ready, "ctdb-bench gap ended before it was ready");
    Ok(load)
}

impl Load {
    fn finish(mut self) -> Result<f64> {
        let limit = Duration::from_secs(self.seconds + 60);
        let status = wait_for("ctdb-bench gap ends", limit, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "ctdb-bench gap: {status}");
        let stdout = self.child.stdout.take().context("standard output")?;
        value_of(&std::io::read_to_string(stdout)?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bench_command(cluster: &Cluster, nodes: &[usize], name: &str) -> Result<Command> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("ctdb-bench");
    let sockets: Vec<String> = nodes
        .iter()
        .map(|&pnn| cluster.nodes[pnn].socket().to_string_lossy().into_owned())
        .collect();
    let mut command = Command::new(program);
    command.arg(name).arg("--sockets").arg(sockets.join(","));
    Ok(command)
}

fn client(cluster: &Cluster, nodes: &[usize], name: &str, args: &[&str]) -> Result<f64> {
    let got = run_ok(bench_command(cluster, nodes, name)?.args(args), Duration::from_secs(300))?;
    value_of(&got.stdout)
}

fn value_of(text: &str) -> Result<f64> {
    let object: Value = serde_json::from_str(text.trim()).with_context(|| text.to_string())?;
    object["value"].as_f64().with_context(|| format!("no value: {text}"))
}

/// `Duration of last recovery/failover: 1.234 seconds` of the leader.
fn reported_duration(cluster: &Cluster) -> Result<f64> {
    let leader = cluster.nodes[0].debian_ctdb(&["leader"])?.ok()?.stdout;
    let leader: usize = leader.trim().parse()?;
    let text = cluster.nodes[leader].debian_ctdb(&["uptime"])?.ok()?.stdout;
    let line = text.lines().find(|l| l.starts_with("Duration of last recovery"));
    let value = line.and_then(|l| l.split(':').nth(1)?.split_whitespace().next()?.parse().ok());
    value.with_context(|| text.clone())
}

fn markdown(rows: &[Comparison], args: &Arguments) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Run of {}: {processors} processors, {} rounds of each side in turn, medians; loops of {} s, recoveries of {} \
         records of {RECORD_BYTES} bytes. The peer is Debian's ctdbd, in the local loop a C program on libtdb.\n\n{}",
        today(),
        args.rounds,
        args.seconds,
        args.records,
        comparison_table(rows),
    )
}

/// Prints the table and adds its rows to the file of results.
fn report(samples: &Samples, args: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    for (what, unit, higher_is_better) in WORKLOADS {
        let of = |side: &'static str| samples.get(&(what, side)).map(|v| median(v));
        let (Some(ours), Some(peer)) = (of("ours"), of("debian")) else { continue };
        rows.push(Comparison { workload: what.into(), unit, ours, peer, higher_is_better });
    }
    Comparison::print_head();
    rows.iter().for_each(Comparison::print);
    if let Some(file) = &args.report {
        write_section(file, "make bench", &markdown(&rows, args))?;
    }
    merge_results(&args.out, &rows)
}
