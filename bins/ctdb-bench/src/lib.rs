// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-bench`: client loops that measure any daemon with the existing client socket
//! (spec/tool.md 22).
//!
//! One process for each node, as real clients are. The parent starts them, waits until all are
//! ready, lets them go together and prints one JSON object: `workload`, `unit`, `value`, and what
//! each node counted.

mod gap;
mod load;
mod lock;
mod parent;
mod ring;
mod worker;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measure a cluster through its client sockets.
#[derive(Debug, Parser)]
#[command(name = "ctdb-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Nodes pass a record round, each appending to it: moves per second and node
    FetchRing(Common),
    /// Nodes pass messages round in both directions: messages per second and node
    MessageRing(Common),
    /// One node locks, checks, stores and unlocks records that are already there: per second
    FetchLock(Common),
    /// Creates records, spread over the nodes: records per second
    #[command(visible_alias = "load")]
    Fill(Common),
    /// Nodes take records away from each other: longest time between two successes, in seconds.
    /// Says `ready` on standard error once every node has had a success
    #[command(name = "gap", visible_alias = "migrate-watch")]
    Gap(Common),
    /// One node locks and unlocks a record that it owns: longest time between two successes, in
    /// seconds. Says `ready` on standard error
    OwnedGap(Common),
    /// The process for one node; started by the others
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// What all workloads take.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Client sockets, one for each node that takes part
    #[arg(long, value_delimiter = ',', required = true)]
    pub sockets: Vec<PathBuf>,
    /// Seconds to run
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Database; volatile, created if it does not exist
    #[arg(long, default_value = "bench.tdb")]
    pub db: String,
    /// Records to create
    #[arg(long, default_value_t = 10_000)]
    pub records: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// Records that are used in turn
    #[arg(long)]
    pub keys: Option<u64>,
    /// Print JSON (always done; accepted for scripts)
    #[arg(long)]
    pub json: bool,
}

/// The command line as clap describes it.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the program; ends this process if it fails.
pub fn main() {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Worker(args) => worker::run(args),
        Command::FetchRing(c) => parent::run(&parent::FETCH_RING, &c),
        Command::MessageRing(c) => parent::run(&parent::MESSAGE_RING, &c),
        Command::FetchLock(c) => parent::run(&parent::FETCH_LOCK, &c),
        Command::Fill(c) => parent::run(&parent::FILL, &c),
        Command::Gap(c) => parent::run(&parent::GAP, &c),
        Command::OwnedGap(c) => parent::run(&parent::OWNED_GAP, &c),
    };
    if let Err(e) = result {
        eprintln!("ctdb-bench: {e:#}");
        std::process::exit(1);
    }
}
