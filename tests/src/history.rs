// SPDX-License-Identifier: GPL-3.0-or-later
//! A checker of what real clients see while a cluster is being hurt.
//!
//! One client on each node adds 1 to its own component of records that all nodes take from each
//! other. A node that lives keeps the last version that it wrote in its own file, and recovery takes
//! the newest version that any survivor has; so whatever happens to the others, **no update of a
//! surviving node may be lost, and none may count twice** (spec/database.md 13, 26). What a node
//! that died had written and not yet passed on may be gone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure, Result};
use ctdbcore::{Client, Database, DatabaseKind, Error};
use nix::sys::signal::Signal;

use crate::cluster::Cluster;
use crate::wait::wait_until;

const DB: &str = "history.tdb";
const KEYS: usize = 16;
/// Longer than any recovery; an operation that takes longer hangs.
const STUCK: Duration = Duration::from_secs(40);
const JOIN: Duration = Duration::from_secs(60);
const MAX_VIOLATIONS: usize = 20;

/// What a run gave.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Updates that clients made.
    pub updates: u64,
    /// Daemons killed.
    pub kills: u64,
    /// Recoveries asked for.
    pub recoveries: u64,
    /// Daemons stopped for a while.
    pub freezes: u64,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

struct Shared {
    nodes: usize,
    stop: AtomicBool,
    updates: Vec<AtomicU64>,
    connected: Vec<AtomicBool>,
    violations: Mutex<Vec<String>>,
}

impl Shared {
    fn violation(&self, what: String) {
        if let Ok(mut list) = self.violations.lock() {
            if list.len() < MAX_VIOLATIONS {
                list.push(what);
            }
        }
    }

    fn total(&self) -> u64 {
        self.updates.iter().map(|u| u.load(Ordering::Relaxed)).sum()
    }
}

/// A small reproducible random source (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// One that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

impl Cluster {
    /// Runs the checker for `length`, while nodes are killed, stopped and made to recover.
    pub fn check_histories(&mut self, length: Duration, seed: u64) -> Result<Figures> {
        let nodes = self.nodes.len();
        let shared = Shared {
            nodes,
            stop: AtomicBool::new(false),
            updates: (0..nodes).map(|_| AtomicU64::new(0)).collect(),
            connected: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            violations: Mutex::new(Vec::new()),
        };
        let sockets: Vec<PathBuf> = self.nodes.iter().map(|n| n.socket()).collect();
        let mut figures = Figures::default();
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = sockets
                .iter()
                .enumerate()
                .map(|(pnn, socket)| {
                    let shared = &shared;
                    let random = Random::new(seed ^ (pnn as u64 + 1) << 32);
                    scope.spawn(move || work(pnn, socket, shared, random))
                })
                .collect();
            let hurt = self.hurt(&shared, length, Random::new(seed), &mut figures);
            shared.stop.store(true, Ordering::Relaxed);
            for worker in workers {
                worker.join().map_err(|_| anyhow!("a client panicked"))?;
            }
            hurt
        })?;
        figures.updates = shared.total();
        figures.violations = shared.violations.into_inner().unwrap_or_default();
        Ok(figures)
    }

    fn hurt(
        &mut self,
        shared: &Shared,
        length: Duration,
        mut random: Random,
        figures: &mut Figures,
    ) -> Result<()> {
        let all: Vec<usize> = (0..shared.nodes).collect();
        let end = Instant::now() + length;
        while Instant::now() < end {
            progress(shared, &all)?;
            let victim = random.below(shared.nodes);
            match random.below(4) {
                0 => {
                    self.nodes[victim].debian_ctdb(&["recover"])?.ok()?;
                    figures.recoveries += 1;
                }
                1 => {
                    // shorter than any limit after which others take it for dead
                    if let Some(ctdbd) = &self.nodes[victim].ctdbd {
                        ctdbd.signal(Signal::SIGSTOP)?;
                        std::thread::sleep(Duration::from_millis(200 + random.below(1500) as u64));
                        ctdbd.signal(Signal::SIGCONT)?;
                    }
                    figures.freezes += 1;
                }
                _ => {
                    self.nodes[victim].kill()?;
                    figures.kills += 1;
                    wait_until("the dead node's client notices", JOIN, || {
                        !shared.connected[victim].load(Ordering::Relaxed)
                    })?;
                    let survivors: Vec<usize> =
                        all.iter().copied().filter(|&pnn| pnn != victim).collect();
                    self.settled(&survivors)?;
                    progress(shared, &survivors)?;
                    self.nodes[victim].start()?;
                }
            }
            self.settled(&all)?;
            let violated = shared.violations.lock().is_ok_and(|v| !v.is_empty());
            ensure!(!violated, "{:#?}", shared.violations.lock().map(|v| v.clone()));
        }
        Ok(())
    }
}

/// Waits until the client of each of `nodes` has made some more updates.
fn progress(shared: &Shared, nodes: &[usize]) -> Result<()> {
    let count = |pnn: usize| shared.updates[pnn].load(Ordering::Relaxed);
    let before: Vec<u64> = (0..shared.nodes).map(count).collect();
    wait_until("clients go on", JOIN, || nodes.iter().all(|&pnn| count(pnn) > before[pnn] + 20))
}

/// The client of a node: as long as its daemon lives, what it wrote is there.
fn work(pnn: usize, socket: &Path, shared: &Shared, mut random: Random) {
    while !shared.stop.load(Ordering::Relaxed) {
        let joined = Client::connect(socket, STUCK).and_then(|mut client| {
            let db = Database::attach(&mut client, DB, DatabaseKind::Volatile, STUCK)?;
            Ok((client, db))
        });
        match joined {
            Ok((client, db)) => {
                shared.connected[pnn].store(true, Ordering::Relaxed);
                if let Err(e) = update(pnn, client, db, shared, &mut random) {
                    shared.violation(format!("node {pnn}: {e}"));
                }
                shared.connected[pnn].store(false, Ordering::Relaxed);
            }
            Err(e) if e.is_timeout() => shared.violation(format!("node {pnn}: joining: {e}")),
            // its daemon is being started, or died again
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Updates until told to stop or until the daemon has gone. An error is a violation.
fn update(
    pnn: usize,
    mut client: Client,
    mut db: Database,
    shared: &Shared,
    random: &mut Random,
) -> Result<()> {
    let mut written: [Option<u64>; KEYS] = [None; KEYS];
    while !shared.stop.load(Ordering::Relaxed) {
        if client.dispatch().is_err() {
            return Ok(());
        }
        let index = random.below(KEYS);
        let key = format!("key{index}");
        let mut record = match db.fetch_lock(&mut client, key.as_bytes(), STUCK) {
            Ok(record) => record,
            Err(Error::Closed | Error::Io { .. }) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let mut counts = decode(record.value()?, shared.nodes)?;
        if let Some(mine) = written[index].filter(|&mine| mine != counts[pnn]) {
            anyhow::bail!("{key}: wrote {mine}, found {} ({counts:?})", counts[pnn]);
        }
        counts[pnn] += 1;
        let bytes: Vec<u8> = counts.iter().flat_map(|c| c.to_le_bytes()).collect();
        record.store(&bytes)?;
        drop(record);
        written[index] = Some(counts[pnn]);
        shared.updates[pnn].fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn decode(value: &[u8], nodes: usize) -> Result<Vec<u64>> {
    if value.is_empty() {
        return Ok(vec![0; nodes]);
    }
    ensure!(value.len() == nodes * 8, "a value of {} bytes", value.len());
    let words = value.chunks_exact(8);
    Ok(words.map(|w| w.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counts_of_all_nodes() {
        assert_eq!(decode(&[], 2).unwrap(), [0, 0]);
        let bytes: Vec<u8> = [5_u64, 1 << 40].iter().flat_map(|c| c.to_le_bytes()).collect();
        assert_eq!(decode(&bytes, 2).unwrap(), [5, 1 << 40]);
        assert!(decode(&bytes, 3).is_err());
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| -> Vec<usize> {
            let mut random = Random::new(seed);
            (0..10).map(|_| random.below(1000)).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
