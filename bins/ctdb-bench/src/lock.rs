// SPDX-License-Identifier: GPL-3.0-or-later
//! The local loop: chain lock, header check, store in place, unlock; no daemon involved.

use std::time::Instant;

use anyhow::Result;

use crate::worker::{Figure, Worker, JOIN};

/// Rounds between two looks at the clock.
const BATCH: u64 = 256;

/// Keys of the records that are used in turn.
pub(crate) fn keys(count: u64) -> Vec<Vec<u8>> {
    (0..count.max(1)).map(|i| format!("key-{i:08}").into_bytes()).collect()
}

/// Locks and overwrites records that are already here.
pub(crate) fn local(worker: &mut Worker) -> Result<Figure> {
    let mut db = worker.attach()?;
    let keys = keys(worker.args.keys.unwrap_or(1));
    let mut value = vec![b'v'; worker.args.size.max(8)];
    for key in &keys {
        db.fetch_lock(&mut worker.client, key, JOIN)?.store(&value)?;
    }
    let run = worker.begin()?;
    let mut count = 0u64;
    let mut next = keys.iter().cycle();
    while Instant::now() < run.end {
        for _ in 0..BATCH {
            let Some(key) = next.next() else { break };
            // A changed value: an unchanged one would not be written.
            if let Some(counter) = value.first_chunk_mut::<8>() {
                *counter = count.to_le_bytes();
            }
            db.fetch_lock(&mut worker.client, key, JOIN)?.store(&value)?;
            count += 1;
        }
    }
    Ok(worker.figure(count, &run))
}
