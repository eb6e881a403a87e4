// SPDX-License-Identifier: GPL-3.0-or-later
//! Fills a database: each node creates its share of the records and stays their data master.

use anyhow::Result;

use crate::worker::{Figure, Worker, JOIN};

/// Creates this node's share of the records.
pub(crate) fn fill(worker: &mut Worker) -> Result<Figure> {
    let mut db = worker.attach()?;
    let value = vec![b'f'; worker.args.size];
    let run = worker.begin()?;
    let mut count = 0;
    let (first, step) = (worker.args.index as u64, worker.args.nodes.max(1));
    for i in (first..worker.args.records).step_by(step) {
        let key = format!("record-{i:010}");
        db.fetch_lock(&mut worker.client, key.as_bytes(), JOIN)?.store(&value)?;
        count += 1;
    }
    Ok(worker.figure(count, &run))
}
