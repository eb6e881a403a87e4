// SPDX-License-Identifier: GPL-3.0-or-later
//! Gaps: how long clients wait while something is done to the cluster.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lock::keys;
use crate::worker::{Figure, Worker, JOIN};

/// Records that are migrated in turn unless told otherwise.
const DEFAULT_KEYS: u64 = 2000;
/// Pause of the local loop: it shall measure the cluster, not starve it.
const PAUSE: Duration = Duration::from_micros(200);

/// The longest time between two successes.
struct Gaps {
    last: Instant,
    longest: Duration,
    count: u64,
}

impl Gaps {
    fn new() -> Gaps {
        Gaps { last: Instant::now(), longest: Duration::ZERO, count: 0 }
    }

    fn success(&mut self) {
        self.pause();
        self.count += 1;
    }

    /// The time since the last success counts, even if none ended it.
    fn pause(&mut self) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last);
        self.last = now;
    }

    fn figure(&self, figure: Figure) -> Figure {
        Figure { longest_gap: self.longest.as_secs_f64(), ..figure }
    }
}

/// Takes records away from the other nodes, which do the same.
pub(crate) fn migrations(worker: &mut Worker) -> Result<Figure> {
    let mut db = worker.attach()?;
    let keys = keys(worker.args.keys.unwrap_or(DEFAULT_KEYS));
    let value = vec![b'm'; worker.args.size];
    // The nodes start at different places and follow each other: what one comes to, the other has
    // had in between.
    let share = keys.len() / worker.args.nodes.max(1);
    let run = worker.begin()?;
    let client = &mut worker.client;
    let mut gaps: Option<Gaps> = None;
    for key in keys.iter().cycle().skip(share * worker.args.index) {
        if Instant::now() >= run.end {
            break;
        }
        // A record that is still here says nothing about the cluster.
        if db.try_local_lock(key)?.is_some() {
            continue;
        }
        match db.fetch_lock(client, key, run.deadline()) {
            Ok(mut record) => record.store(&value)?,
            Err(e) if e.is_timeout() => break,
            Err(e) => return Err(e.into()),
        }
        match &mut gaps {
            Some(gaps) => gaps.success(),
            None => {
                gaps = Some(Gaps::new());
                println!("working");
            }
        }
    }
    let mut gaps = gaps.ok_or_else(|| anyhow::anyhow!("no record ever came to this node"))?;
    gaps.pause();
    Ok(gaps.figure(worker.figure(gaps.count, &run)))
}

/// Locks and unlocks a record that this node owns; after a recovery it may have to be fetched.
pub(crate) fn owned(worker: &mut Worker) -> Result<Figure> {
    let mut db = worker.attach()?;
    let key = format!("owned-{}", worker.client.pnn());
    db.fetch_lock(&mut worker.client, key.as_bytes(), JOIN)?.store(b"owned")?;
    let run = worker.begin()?;
    worker.say("working")?;
    let mut gaps = Gaps::new();
    while Instant::now() < run.end {
        drop(db.fetch_lock(&mut worker.client, key.as_bytes(), JOIN)?);
        gaps.success();
        std::thread::sleep(PAUSE);
    }
    Ok(gaps.figure(worker.figure(gaps.count, &run)))
}
