// SPDX-License-Identifier: GPL-3.0-or-later
//! Four processes at once on one database: how much they do together, and how evenly.

use anyhow::{Context, Result};

use crate::plan::{FCNTL, MUTEX};
use crate::sides::{Setting, Side, Started};

const PROCESSES: u32 = 4;
const MILLISECONDS: u32 = 1000;

/// One kind of lock and one choice of keys.
pub struct Scene {
    pub name: &'static str,
    pub flags: u32,
    pub records: u32,
}

pub fn scenes() -> [Scene; 4] {
    [
        Scene { name: "mutex, 4 processes on one chain", flags: MUTEX, records: 1 },
        Scene { name: "mutex, 4 processes on random chains", flags: MUTEX, records: 10_000 },
        Scene { name: "fcntl, 4 processes on one chain", flags: FCNTL, records: 1 },
        Scene { name: "fcntl, 4 processes on random chains", flags: FCNTL, records: 10_000 },
    ]
}

impl Scene {
    pub fn rows(&self) -> [String; 2] {
        let row = |what: &str| format!("tdb {}: {what}", self.name);
        [row("lock, read, store, unlock"), row("fairness")]
    }

    /// Operations per second of each process.
    pub fn run(&self, side: &Side, setting: &Setting) -> Result<Vec<f64>> {
        side.run(setting, &["insert".to_string()])?;
        let mut workers = Vec::new();
        for number in 0..PROCESSES {
            let step = format!("step:{}", number * self.records / PROCESSES);
            let work = [step, "wait".into(), format!("all=contend:{MILLISECONDS}")];
            workers.push(side.start(setting, &work)?);
        }
        for worker in &mut workers {
            worker.go()?;
        }
        let finished: Result<Vec<_>> = workers.into_iter().map(Started::finish).collect();
        let rate = |figures: &crate::sides::Figures| -> Result<f64> {
            let figure = figures.get("all").context("no figure")?;
            Ok(figure.ops / figure.seconds)
        };
        finished?.iter().map(rate).collect()
    }
}
