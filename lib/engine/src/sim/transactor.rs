// SPDX-License-Identifier: GPL-3.0-or-later
//! Simulated processes that run transactions on a persistent database, as the client library does
//! (`spec/database.md 15.3`): read, TRANS3_COMMIT, and after a failure decide by the sequence number.

use super::check::header;
use super::ledger::{StateId, LAST};
use super::user::version_of;
use super::{Sim, What};
use crate::packet::{endpoint, Body, ClientId, Control, DbId, Pnn};
use crate::ports::ClientPacket;
use crate::view::INVALID_GENERATION;
use bytes::Bytes;
use ctdb_wire::flags::SEQNUM_KEY;
use ctdb_wire::types::{LtdbHeader, RecBuffer};
use ctdb_wire::{Encode, Opcode, StringZ, Text};
use std::collections::BTreeMap;
use std::time::Duration;

/// The database.
pub const NAME: &str = "sim_persistent.tdb";

const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Attaching(u32),
    Idle,
    Committing {
        reqid: u32,
        commit: Commit,
    },
    /// Waits before it looks at the sequence number, or sends the same again.
    Retrying(Commit),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Commit {
    state: StateId,
    parent: StateId,
    old_seqnum: u64,
    data: Bytes,
}

/// A process that runs transactions.
#[derive(Debug)]
pub struct Transactor {
    phase: Phase,
}

impl Sim {
    fn transaction_db() -> DbId {
        crate::hash::database_id(NAME)
    }

    /// A process connects to `node` and runs transactions.
    pub fn add_transactor(&mut self, node: Pnn) -> ClientId {
        let client = self.connect(node);
        let control = Control {
            opcode: Opcode::DbAttachPersistent as u32,
            data: StringZ(Text::new(NAME)).to_vec().into(),
            ..Control::default()
        };
        let reqid = self.client_request(client, endpoint::CURRENT_NODE, Body::Control(control));
        self.transactors.insert(client, Transactor { phase: Phase::Attaching(reqid) });
        client
    }

    /// The nodes on which processes run transactions.
    pub fn transactor_nodes(&self) -> Vec<Pnn> {
        self.transactors.keys().filter_map(|c| self.clients.get(c)).map(|c| c.node).collect()
    }

    /// All of them end, at once.
    pub fn end_transactors(&mut self) {
        for client in self.transactors.keys().copied().collect::<Vec<_>>() {
            self.disconnect(client);
        }
    }

    pub(super) fn transactor_died(&mut self, client: ClientId) {
        self.transactors.remove(&client);
        if self.ledger.holder == Some(client) {
            self.ledger.holder = None;
        }
    }

    pub(super) fn transactor_receives(&mut self, client: ClientId, packet: &ClientPacket) {
        let Body::ControlReply(reply) = &packet.body else { return };
        let Some(transactor) = self.transactors.get_mut(&client) else { return };
        match &transactor.phase {
            Phase::Attaching(reqid) if packet.reqid == *reqid => {
                if reply.status != 0 {
                    return self.disconnect(client);
                }
                self.transactor_rests(client, Phase::Idle);
            }
            Phase::Committing { reqid, commit } if packet.reqid == *reqid => {
                let commit = commit.clone();
                if reply.status == 0 {
                    self.committed(client, commit.state);
                } else {
                    self.ledger.uncertain += 1;
                    self.transactor_rests(client, Phase::Retrying(commit));
                }
            }
            _ => {}
        }
    }

    pub(super) fn transactor_wakes(&mut self, client: ClientId) {
        match self.transactors.get(&client).map(|t| t.phase.clone()) {
            Some(Phase::Idle) => self.transaction_begins(client),
            Some(Phase::Retrying(commit)) => self.transaction_retries(client, commit),
            _ => {}
        }
    }

    fn transactor_rests(&mut self, client: ClientId, phase: Phase) {
        if let Some(t) = self.transactors.get_mut(&client) {
            t.phase = phase;
        }
        let delay = self.between((Duration::from_micros(1), PAUSE));
        self.after(delay, What::ClientWakes(client));
    }

    /// The sequence number and the state in a node's file.
    fn read_state(&self, node: Pnn) -> (u64, Result<StateId, String>) {
        let store = &self.nodes[node as usize].ports.store;
        let mut seqnum = 0;
        let mut file = BTreeMap::new();
        for (key, value) in store.content(Self::transaction_db()).into_iter().flatten() {
            let Some(number) = version_of(value) else { continue };
            if key == SEQNUM_KEY {
                seqnum = number;
            } else {
                file.insert(key.clone(), number);
            }
        }
        (seqnum, self.ledger.state_of(&file))
    }

    fn transaction_begins(&mut self, client: ClientId) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        if self.ledger.holder.is_some() {
            return self.transactor_rests(client, Phase::Idle);
        }
        let (old_seqnum, state) = self.read_state(node);
        let parent = match state {
            Ok(state) => state,
            Err(why) => {
                return self.check.violated(format!("transaction torn on node {node}: {why}"));
            }
        };
        if !self.is_left_out(node) {
            self.transaction_must_be_there(node, parent);
        }
        self.ledger.holder = Some(client);
        let keys: Vec<Vec<u8>> = (0..6)
            .filter(|_| self.rng.below(2) == 0)
            .map(|n| format!("t{n}").into_bytes())
            .collect();
        let state = self.ledger.begin(parent, &keys);
        let db = Self::transaction_db();
        let mut buffer = RecBuffer::new(db);
        let store = &self.nodes[node as usize].ports.store;
        let mut push = |key: &[u8], number: u64| {
            let old = store.client_read(db, key).and_then(header);
            let header = LtdbHeader {
                rsn: old.map_or(0, |h| h.rsn) + 1,
                dmaster: node,
                reserved1: 0,
                flags: old.map_or(0, |h| h.flags),
            };
            buffer.push_with_header(0, key, &header, &number.to_le_bytes());
        };
        keys.iter().for_each(|key| push(key, state));
        push(LAST, state);
        push(SEQNUM_KEY, old_seqnum + 1);
        let data = Bytes::from(buffer.to_vec());
        self.note(format!("client {client:x} of node {node} commits state {state} on {parent}"));
        self.send_commit(client, Commit { state, parent, old_seqnum, data });
    }

    fn send_commit(&mut self, client: ClientId, commit: Commit) {
        let control = Control {
            opcode: Opcode::Trans3Commit as u32,
            srvid: Self::transaction_db().into(),
            data: commit.data.clone(),
            ..Control::default()
        };
        let reqid = self.client_request(client, endpoint::CURRENT_NODE, Body::Control(control));
        if let Some(t) = self.transactors.get_mut(&client) {
            t.phase = Phase::Committing { reqid, commit };
        }
        if self.rng.below(200) == 0 {
            self.note(format!("client {client:x} dies while it commits"));
            self.disconnect(client);
        }
    }

    /// After a failure: the sequence number tells.
    fn transaction_retries(&mut self, client: ClientId, commit: Commit) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        let (seqnum, state) = self.read_state(node);
        // A real client cannot see that the number belongs to another history than the one it read: this one
        // spares the checks that case, which only two clusters that went on apart can bring about.
        if seqnum == commit.old_seqnum && state == Ok(commit.parent) {
            return self.send_commit(client, commit);
        }
        if seqnum == commit.old_seqnum + 1 && state == Ok(commit.state) {
            return self.committed(client, commit.state);
        }
        // Another transaction has this number: that of a client that died before (P5).
        self.note(format!("client {client:x} gives up state {}", commit.state));
        self.transaction_ends(client);
    }

    fn committed(&mut self, client: ClientId, state: StateId) {
        let Some(node) = self.clients.get(&client).map(|c| c.node) else { return };
        self.note(format!("client {client:x} of node {node} has committed state {state}"));
        if !self.is_left_out(node) {
            self.ledger.acknowledge(state);
            let members: Vec<Pnn> = self
                .view(node)
                .map(|v| {
                    let active = |n: &Pnn| v.is_active(*n);
                    v.vnnmap.iter().copied().filter(active).collect()
                })
                .unwrap_or_default();
            for member in members {
                let same = self.view(member).map(|v| v.generation)
                    == self.view(node).map(|v| v.generation);
                if same && !self.is_left_out(member) {
                    if let (_, Ok(there)) = self.read_state(member) {
                        self.transaction_must_be_there(member, there);
                    }
                }
            }
        }
        self.transaction_ends(client);
    }

    fn transaction_ends(&mut self, client: ClientId) {
        if self.ledger.holder == Some(client) {
            self.ledger.holder = None;
        }
        self.transactor_rests(client, Phase::Idle);
    }

    /// A node of the cluster has `state`: what was acknowledged is in it.
    fn transaction_must_be_there(&mut self, node: Pnn, state: StateId) {
        let acknowledged = self.ledger.acknowledged();
        if self.strict_transactions && !self.ledger.contains(state, acknowledged) {
            self.check.violated(format!(
                "transaction {acknowledged} was acknowledged, and is not in state {state} of node {node}"
            ));
        }
    }

    /// A recovery begins. If none of its nodes has what was acknowledged, since those that have it are down, there are
    /// two histories from here on (P5).
    pub(super) fn new_generation(&mut self, node: Pnn) {
        let Some(view) = self.view(node) else { return };
        if view.generation == INVALID_GENERATION {
            return;
        }
        let has = |n: &Pnn| {
            let state = self.read_state(*n).1;
            state.is_ok_and(|s| self.ledger.contains(s, self.ledger.acknowledged()))
        };
        if !view.vnnmap.iter().any(has) {
            self.strict_transactions = false;
        }
    }

    /// When nothing is under way, all nodes have the same state, with everything acknowledged (P2, P3).
    pub fn check_transactions(&mut self) {
        let states: Vec<(Pnn, Result<StateId, String>)> =
            self.running().into_iter().map(|n| (n, self.read_state(n).1)).collect();
        let Some((_, first)) = states.first().cloned() else { return };
        if states.iter().any(|(_, state)| *state != first) || first.is_err() {
            return self.check.violated(format!("persistent database differs: {states:?}"));
        }
        if let Ok(state) = first {
            self.transaction_must_be_there(0, state);
        }
    }
}
