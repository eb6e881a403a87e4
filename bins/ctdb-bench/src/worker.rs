// SPDX-License-Identifier: GPL-3.0-or-later
//! The process for one node: connects, says `ready`, waits for `go`, works, prints its figure.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use ctdb_wire::control::call;
use ctdb_wire::flags::recmode;
use ctdbcore::{Client, Database, DatabaseKind, Deadline};
use serde::{Deserialize, Serialize};

use crate::{gap, load, lock, ring};

/// How long joining may take: a cluster in recovery answers late.
pub(crate) const JOIN: Duration = Duration::from_secs(60);

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub(crate) enum Kind {
    FetchRing,
    MessageRing,
    FetchLock,
    Fill,
    Gap,
    OwnedGap,
}

impl Kind {
    /// The word for it on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::FetchRing => "fetch-ring",
            Kind::MessageRing => "message-ring",
            Kind::FetchLock => "fetch-lock",
            Kind::Fill => "fill",
            Kind::Gap => "gap",
            Kind::OwnedGap => "owned-gap",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    pub kind: Kind,
    #[arg(long)]
    pub index: usize,
    #[arg(long)]
    pub nodes: usize,
    #[arg(long)]
    pub socket: PathBuf,
    #[arg(long)]
    pub db: String,
    #[arg(long)]
    pub seconds: f64,
    #[arg(long)]
    pub records: u64,
    #[arg(long)]
    pub size: usize,
    #[arg(long)]
    pub keys: Option<u64>,
}

/// What one node did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub pnn: u32,
    /// Successes.
    pub count: u64,
    /// Seconds they took together.
    pub elapsed: f64,
    /// Longest time between two successes, in seconds.
    pub longest_gap: f64,
}

impl Figure {
    pub(crate) fn rate(&self) -> f64 {
        if self.elapsed > 0.0 {
            self.count as f64 / self.elapsed
        } else {
            0.0
        }
    }
}

/// A connected worker.
pub(crate) struct Worker {
    pub args: WorkerArgs,
    pub client: Client,
}

impl Worker {
    /// Tells the parent something.
    pub(crate) fn say(&self, word: &str) -> Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{word}").and_then(|()| out.flush()).context("telling the parent")
    }

    /// Says `ready`, waits for all others, and starts the clock.
    pub(crate) fn begin(&self) -> Result<Run> {
        self.say("ready")?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("waiting for the parent")?;
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(self.args.seconds);
        Ok(Run { start, end })
    }

    /// Attaches the database of the run.
    pub(crate) fn attach(&mut self) -> Result<Database> {
        Database::attach(&mut self.client, &self.args.db, DatabaseKind::Volatile, JOIN)
            .with_context(|| format!("attach {}", self.args.db))
    }

    /// A figure with what is known here.
    pub(crate) fn figure(&self, count: u64, run: &Run) -> Figure {
        let elapsed = run.start.elapsed().as_secs_f64();
        Figure { pnn: self.client.pnn(), count, elapsed, longest_gap: 0.0 }
    }
}

/// The time of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub start: Instant,
    pub end: Instant,
}

impl Run {
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::at(self.end)
    }
}

/// The worker's main.
pub(crate) fn run(args: WorkerArgs) -> Result<()> {
    let client = Client::connect(&args.socket, JOIN)
        .with_context(|| format!("connect to {}", args.socket.display()))?;
    let mut worker = Worker { args, client };
    wait_for_normal_mode(&mut worker)?;
    let figure = match worker.args.kind {
        Kind::FetchRing => ring::fetch(&mut worker)?,
        Kind::MessageRing => ring::messages(&mut worker)?,
        Kind::FetchLock => lock::local(&mut worker)?,
        Kind::Fill => load::fill(&mut worker)?,
        Kind::Gap => gap::migrations(&mut worker)?,
        Kind::OwnedGap => gap::owned(&mut worker)?,
    };
    worker.say(&serde_json::to_string(&figure)?)
}

fn wait_for_normal_mode(worker: &mut Worker) -> Result<()> {
    let deadline = Deadline::after(JOIN);
    loop {
        let pnn = worker.client.pnn();
        let mode = worker.client.control_status::<call::GetRecmode>(pnn, deadline, &())?;
        if mode == recmode::NORMAL as i32 {
            return Ok(());
        }
        anyhow::ensure!(!deadline.has_passed(), "the node stays in recovery");
        std::thread::sleep(Duration::from_millis(50));
    }
}
