// SPDX-License-Identifier: GPL-3.0-or-later
//! One attached database: its kind, generation and freeze state, and everything that waits in it.

use super::chain_queue::ChainTable;
use super::delegation::Revoke;
use super::push::{Push, Transaction};
use super::record::Place;
use super::statistics::DbCounters;
use super::sticky::Sticky;
use super::update::Update;
use crate::env::ReplyTo;
use crate::packet::{Body, ClientId, DbId, Endpoint, Packet, Pnn};
use crate::ports::DbKind;
use crate::view::{ClusterView, INVALID_GENERATION};
use bytes::Bytes;
use ctdb_wire::flags::db as db_flag;
use ctdb_wire::types::LtdbHeader;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Keys on the delete queue of a database; more are dropped, a full vacuum run finds them again.
pub const DELETE_QUEUE_MAX: usize = 100_000;

/// How far the whole-database lock is (`spec/database.md 19.1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeState {
    /// Clients work.
    None,
    /// Wanted; a write of ours has to end before the lock is asked for.
    AfterWrite,
    /// Asked for.
    Pending,
    /// Held.
    Frozen,
}

/// Work on a record that had to wait: for its chain, or for the thaw.
#[derive(Debug)]
pub(super) enum Work {
    /// A call or ownership packet, evaluated from the start.
    Packet(Packet),
    /// A read-only copy arrived for the pending call `reqid` (13.2 step 4).
    Copy { db: DbId, key: Bytes, reqid: u32, generation: u32, data: Bytes },
    /// UPDATE_RECORD or PUSH_RECORD of one record of a volatile database (14.1, 14.6).
    Update { db: DbId, key: Bytes, value: Bytes, pushed: bool, reply: ReplyTo },
    /// A revoke has its answers (13.3 step 4).
    RevokeDone { db: DbId, key: Bytes, ok: bool },
}

impl Work {
    /// The local client that asked for it.
    pub(super) fn requester(&self) -> Option<Endpoint> {
        match self {
            Work::Packet(packet) if matches!(packet.body, Body::Call(_)) => Some(packet.src),
            _ => None,
        }
    }
}

/// An attached database.
pub struct Db {
    pub(super) id: DbId,
    pub(super) name: String,
    pub(super) kind: DbKind,
    pub(super) readonly: bool,
    pub(super) sticky_enabled: bool,
    pub(super) generation: u32,
    pub(super) freeze: FreezeState,
    /// Who waits for the freeze to be decided.
    pub(super) freeze_waiters: Vec<ReplyTo>,
    /// THAWs that wait for the end of a commit.
    pub(super) thaw_waiters: Vec<ReplyTo>,
    /// Its records are not to be merged: the node was inactive (21.2), or a commit failed half-way.
    pub(super) invalid: bool,
    pub(super) unhealthy: Option<String>,
    /// The recovery's transaction.
    pub(super) transaction: Option<Transaction>,
    /// The open push.
    pub(super) push: Option<Push>,
    /// Work that waits for the thaw, in order of arrival.
    pub(super) held: VecDeque<Work>,
    /// Work that waits for chain locks.
    pub(super) chains: ChainTable,
    /// Fetch collapse (11.1): client calls behind an outstanding fetch of the same key.
    pub(super) fetches: BTreeMap<Bytes, VecDeque<Packet>>,
    pub(super) revokes: BTreeMap<Bytes, Revoke>,
    /// Which nodes hold read-only copies (13.1).
    pub(super) tracking: BTreeMap<Bytes, BTreeSet<Pnn>>,
    pub(super) sticky: BTreeMap<Bytes, Sticky>,
    pub(super) delete_queue: BTreeMap<Bytes, LtdbHeader>,
    pub(super) fetch_queue: BTreeSet<Bytes>,
    /// The ticket of the write transaction that runs.
    pub(super) writing: Option<u64>,
    /// Those that follow it.
    pub(super) updates: VecDeque<Update>,
    pub(super) counters: DbCounters,
    /// The last TDB sequence number seen, if its changes are broadcast (16.2).
    pub(super) seqnum: Option<u32>,
}

impl Db {
    pub(super) fn new(id: DbId, name: String, kind: DbKind, generation: u32) -> Db {
        Db {
            id,
            name,
            kind,
            readonly: false,
            sticky_enabled: false,
            generation,
            freeze: FreezeState::None,
            freeze_waiters: Vec::new(),
            thaw_waiters: Vec::new(),
            invalid: false,
            unhealthy: None,
            transaction: None,
            push: None,
            held: VecDeque::new(),
            chains: ChainTable::default(),
            fetches: BTreeMap::new(),
            revokes: BTreeMap::new(),
            tracking: BTreeMap::new(),
            sticky: BTreeMap::new(),
            delete_queue: BTreeMap::new(),
            fetch_queue: BTreeSet::new(),
            writing: None,
            updates: VecDeque::new(),
            counters: DbCounters::default(),
            seqnum: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> DbId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    pub fn kind(&self) -> DbKind {
        self.kind
    }

    /// The generation its record packets carry.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// How far the whole-database lock is.
    pub fn freeze_state(&self) -> FreezeState {
        self.freeze
    }

    /// Whether a recovery must not merge its records.
    pub fn is_invalid(&self) -> bool {
        self.invalid
    }

    /// The transaction id of the recovery that works on it.
    pub fn transaction(&self) -> Option<u32> {
        self.transaction.as_ref().map(|t| t.tid)
    }

    /// Work that waits for the thaw and for chain locks.
    pub fn waiting(&self) -> (usize, usize) {
        (self.held.len(), self.chains.len())
    }

    /// The nodes that hold read-only copies of the record, as its owner knows.
    pub fn delegates(&self, key: &[u8]) -> impl Iterator<Item = Pnn> + '_ {
        self.tracking.get(key).into_iter().flatten().copied()
    }

    /// Whether a revoke of the record's read-only copies runs.
    pub fn is_revoking(&self, key: &[u8]) -> bool {
        self.revokes.contains_key(key)
    }

    /// The header of the record when it went on the delete queue.
    pub fn scheduled(&self, key: &[u8]) -> Option<LtdbHeader> {
        self.delete_queue.get(key).copied()
    }

    /// Ownership packets for the record that wait for its chain or for the thaw.
    pub fn transfers_waiting(&self, key: &[u8]) -> usize {
        let is_transfer = |work: &&Work| match work {
            Work::Packet(Packet { body: Body::Dmaster(d), .. }) => d.key == key,
            _ => false,
        };
        self.held.iter().chain(self.chains.work()).filter(is_transfer).count()
    }

    /// Flags as in the dbmap (1.3).
    pub fn flags(&self) -> u8 {
        let kind = match self.kind {
            DbKind::Volatile => 0,
            DbKind::Persistent => db_flag::PERSISTENT,
            DbKind::Replicated => db_flag::REPLICATED,
        };
        kind | if self.readonly { db_flag::READONLY } else { 0 }
            | if self.sticky_enabled { db_flag::STICKY } else { 0 }
    }

    /// Whether record work must wait for a thaw: it is frozen or about to be, or a recovery has changed the
    /// VNN map and not yet this database (calls would be evaluated with the wrong lmaster).
    pub fn is_held(&self, view: &ClusterView) -> bool {
        self.freeze != FreezeState::None
            || self.generation != view.generation
            || self.generation == INVALID_GENERATION
    }

    /// Whether packets of this generation belong to the database's present epoch.
    pub(super) fn is_current(&self, generation: u32, view: &ClusterView) -> bool {
        generation == self.generation && generation == view.generation
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.kind == DbKind::Volatile
    }

    /// Where a store of this key happens; none without a VNN map.
    pub(super) fn place(&self, key: &[u8], view: &ClusterView) -> Option<Place> {
        let lmaster = match self.kind {
            DbKind::Volatile => view.lmaster(key)?,
            _ => view.pnn,
        };
        Some(Place { own: view.pnn, lmaster, kind: self.kind })
    }

    /// The delete queue after a store (5.1).
    pub(super) fn note_effect(
        &mut self,
        key: &Bytes,
        header: &LtdbHeader,
        effect: super::record::Effect,
    ) {
        use super::record::Effect;
        match effect {
            Effect::Scheduled => self.schedule(key, header),
            Effect::Kept if !self.delete_queue.is_empty() => {
                self.delete_queue.remove(key);
            }
            Effect::Kept | Effect::Deleted => {}
        }
    }

    /// Puts a key on the delete queue.
    pub(super) fn schedule(&mut self, key: &Bytes, header: &LtdbHeader) {
        if self.delete_queue.len() < DELETE_QUEUE_MAX || self.delete_queue.contains_key(key) {
            // The key may be a slice of a large packet: the queue must not keep that alive.
            self.delete_queue.insert(Bytes::copy_from_slice(key), *header);
        }
    }

    /// Drops what a client that has gone had asked for.
    pub(super) fn forget_client(&mut self, own: Pnn, client: ClientId) {
        let gone = Endpoint { node: own, id: client };
        let stays = |packet: &Packet| packet.src != gone;
        self.held.retain(|w| w.requester() != Some(gone));
        self.chains.retain(|w| w.requester() != Some(gone));
        for queue in self.fetches.values_mut() {
            queue.retain(stays);
        }
        for revoke in self.revokes.values_mut() {
            revoke.queue.retain(stays);
        }
    }
}
