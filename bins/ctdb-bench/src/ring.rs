// SPDX-License-Identifier: GPL-3.0-or-later
//! Rings: a token goes round the nodes as a message (spec/tool.md 22.3, 22.4).

use anyhow::{bail, Result};
use ctdb_wire::control::call;
use ctdb_wire::srvid::{RANGE_SHIFT, TEST_RANGE};
use ctdbcore::{Client, Deadline, Message};

use crate::worker::{Figure, Worker, JOIN};

/// Where the tokens arrive.
const TOKEN: u64 = (TEST_RANGE as u64) << RANGE_SHIFT | 0x7269_6E67;
/// Key of the record that goes round.
const RING_KEY: &[u8] = b"testkey";
/// The record is emptied when it has grown beyond this.
const RING_BYTES: usize = 1000;

/// The PNNs of the ring: node `index` passes to the next one. All nodes of the cluster are asked,
/// because only the daemon knows the numbers of the others.
fn neighbours(worker: &mut Worker) -> Result<(u32, u32)> {
    let pnn = worker.client.pnn();
    let map = worker.client.control::<call::GetNodemap, _>(pnn, JOIN, &())?;
    let nodes = worker.args.nodes as u32;
    if map.node.len() < worker.args.nodes || pnn >= nodes {
        bail!("the ring needs the sockets of nodes 0 to {}", nodes.saturating_sub(1));
    }
    Ok(((pnn + 1) % nodes, (pnn + nodes - 1) % nodes))
}

fn next_token(client: &mut Client, deadline: Deadline) -> Result<Option<Message>> {
    match client.wait_message(TOKEN, deadline) {
        Ok(message) => Ok(Some(message)),
        Err(e) if e.is_timeout() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Two tokens go round, one in each direction.
pub(crate) fn messages(worker: &mut Worker) -> Result<Figure> {
    let (next, previous) = neighbours(worker)?;
    worker.client.register(TOKEN, JOIN)?;
    let run = worker.begin()?;
    let deadline = run.deadline();
    let client = &mut worker.client;
    if client.pnn() == 0 {
        client.send_message(next, TOKEN, &1i32.to_le_bytes())?;
        client.send_message(previous, TOKEN, &(-1i32).to_le_bytes())?;
    }
    let mut count = 0;
    while let Some(message) = next_token(client, deadline)? {
        count += 1;
        let forward = message.data == 1i32.to_le_bytes();
        client.send_message(if forward { next } else { previous }, TOKEN, &message.data)?;
        if count % 64 == 0 && deadline.has_passed() {
            break;
        }
    }
    Ok(worker.figure(count, &run))
}

/// Whoever holds the token fetches the record, appends to it and passes the token on.
pub(crate) fn fetch(worker: &mut Worker) -> Result<Figure> {
    let (next, _) = neighbours(worker)?;
    let mut db = worker.attach()?;
    worker.client.register(TOKEN, JOIN)?;
    let run = worker.begin()?;
    let deadline = run.deadline();
    let last = worker.args.nodes as u32 - 1;
    let client = &mut worker.client;
    let pnn = client.pnn();
    let mut count = 0u64;
    let mut value = Vec::with_capacity(2 * RING_BYTES);
    let mut holding = pnn == last;
    while holding || next_token(client, deadline)?.is_some() {
        if !holding {
            count += 1;
        }
        holding = false;
        let mut record = match db.fetch_lock(client, RING_KEY, deadline) {
            Ok(record) => record,
            Err(e) if e.is_timeout() => break,
            Err(e) => return Err(e.into()),
        };
        append(&mut value, record.value()?, count, pnn);
        record.store(&value)?;
        drop(record);
        client.send_message(next, TOKEN, &[])?;
    }
    Ok(worker.figure(count, &run))
}

fn append(value: &mut Vec<u8>, old: &[u8], count: u64, pnn: u32) {
    value.clear();
    let old = old.strip_suffix(&[0]).unwrap_or(old);
    if old.is_empty() || old.len() > RING_BYTES {
        value.extend_from_slice(b"Test data\n");
    } else {
        value.extend_from_slice(old);
    }
    value.extend_from_slice(format!("msg_count={count} on node {pnn}\n\0").as_bytes());
}
