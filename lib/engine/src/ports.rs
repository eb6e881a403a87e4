// SPDX-License-Identifier: GPL-3.0-or-later
//! Ports: what the surroundings of a daemon provide. The host implements them over sockets and TDB files, the
//! simulator over values. None of them ever waits: what takes time ends in an [`crate::Input`].

use crate::packet::{Body, ClientId, DbId, Packet, Pnn};
use crate::view::NodeView;
use bytes::Bytes;
use std::fmt;

/// A packet to or from a client of the existing socket. Node numbers, generation and the like are left out:
/// clients ignore them and the daemon ignores theirs (`spec/wire.md 3`).
#[derive(Debug, Clone, PartialEq)]
pub struct ClientPacket {
    /// Destination of a request; 0 in packets to clients.
    pub destnode: Pnn,
    /// Chosen by the client; 0 in messages and tunnels.
    pub reqid: u32,
    /// The content.
    pub body: Body,
}

/// The surroundings of one node's daemon.
pub trait Ports {
    /// The TDB files.
    fn store(&mut self) -> &mut dyn LocalStore;

    /// Queues a packet on the link to `to`. Dropped silently if the link is down.
    fn send_link(&mut self, to: Pnn, packet: Packet);
    /// Bytes queued for `to` and not yet taken by the network: bulk senders pause above a limit of theirs.
    fn link_backlog(&self, to: Pnn) -> usize;
    /// Closes both streams to `to`; LinkDown follows if it was up, and reconnecting begins.
    fn reset_link(&mut self, to: Pnn, reason: &str);
    /// The nodes file was reloaded: links to nodes that are new begin, links to deleted ones end.
    fn set_nodes(&mut self, nodes: &[NodeView]);

    /// Queues a packet to a client. Dropped silently if the client has gone.
    fn send_client(&mut self, client: ClientId, packet: ClientPacket);
    /// Packets queued for the client and not yet taken by it.
    fn client_backlog(&self, client: ClientId) -> usize;
    /// Closes a client's connection; ClientGone follows.
    fn close_client(&mut self, client: ClientId);

    /// Asks the cluster lock to be taken, tested or released; News::ClusterLock follows (not for release).
    fn cluster_lock(&mut self, request: LockRequest);

    /// Whether a process with this id exists (signal 0).
    fn process_exists(&mut self, pid: u32) -> bool;
    /// Reads the nodes file anew. The error names file and line.
    fn read_nodes(&mut self) -> Result<Vec<NodeView>, String>;
    /// The daemon's process id.
    fn daemon_pid(&self) -> u32;
    /// Bytes of memory in use, for statistics.
    fn memory_used(&self) -> u64;
    /// The log level, 0 (errors only) to 10 (`spec/events-config.md 12`).
    fn log_level(&self) -> i32;
    /// Changes the log level.
    fn set_log_level(&mut self, level: i32);
    /// Ends the process with this exit code after what is queued has been sent.
    fn exit(&mut self, code: i32);
}

/// What is wanted of the cluster lock (`spec/cluster.md 15`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockRequest {
    /// Take it; a helper that is still trying is told to stop by `Release`.
    Take,
    /// See whether somebody holds it: run a second helper, expect contention.
    Test,
    /// Give it up, or stop trying.
    Release,
}

/// What became of a request to the cluster lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockEvent {
    /// Take: held now.
    Taken,
    /// Take: someone else has it. Test: as it should be.
    Contended {
        /// Whether it answers a test.
        test: bool,
    },
    /// The helper took too long, failed, or could not be run.
    Failed {
        /// Whether it answers a test.
        test: bool,
        /// Whether it was the time limit.
        timeout: bool,
    },
    /// Test: the lock could be taken, so nobody held it.
    TestTaken,
    /// The helper that held the lock has ended.
    Lost,
}

/// Kinds of database (`spec/database.md 1.3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbKind {
    /// Records migrate; contents end with the cluster.
    Volatile,
    /// A full copy on every node, on stable storage.
    Persistent,
    /// As persistent, in files that are cleared at start.
    Replicated,
}

/// What to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachSpec {
    /// The database.
    pub db: DbId,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: DbKind,
    /// Hash chains of a new file.
    pub hash_size: u32,
    /// TDB max-dead setting.
    pub max_dead: u32,
}

/// Why the store could not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What failed and why, naming the file.
    pub message: String,
    /// Whether the file's content is to blame.
    pub corrupt: bool,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Result of trying to work on a record under its chain lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The closure ran under the chain lock, which is released again (or still granted).
    Done,
    /// A client holds the chain; the closure did not run. Ask for it with [`LocalStore::wait_chain`].
    Busy,
    /// The lock or the file failed; the closure did not run.
    Failed(StoreError),
}

/// One record under its chain lock. Values are as in the file: header and data.
pub trait ChainRecord {
    /// The value, if the record exists.
    fn value(&self) -> Option<&[u8]>;
    /// Stores the concatenation of `parts`, replacing.
    fn store(&mut self, parts: &[&[u8]]) -> Result<(), StoreError>;
    /// Deletes the record; absence is fine.
    fn delete(&mut self) -> Result<(), StoreError>;
}

/// A record to write: the value is header and data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordWrite {
    /// The key.
    pub key: Bytes,
    /// The header (24 bytes) and the data.
    pub value: Bytes,
}

/// What a write transaction does with one record, given what the file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Store this value.
    Store(Vec<u8>),
    /// Delete the record.
    Delete,
    /// Leave it.
    Skip,
    /// Give up the whole transaction.
    Abort,
}

/// Decides on each record of a write transaction. Runs outside the daemon's thread, so it owns all it needs.
pub type Decide = Box<dyn FnMut(&RecordWrite, Option<&[u8]>) -> Decision + Send>;

/// How a write transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Committed; durable if the database is persistent.
    Committed,
    /// [`Decision::Abort`]: nothing changed.
    Aborted,
    /// It failed: nothing changed.
    Failed(StoreError),
}

/// Where a scan of a database stands. Opaque to the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanCursor {
    /// Next hash chain.
    pub chain: u32,
    /// Next record in it (a store's own position).
    pub position: u64,
    /// Whether the scan has ended.
    pub done: bool,
}

/// The local TDB files. All methods act at once and never block on a lock that a client may hold.
pub trait LocalStore {
    /// Opens or creates the file. A volatile or replicated file is emptied; a persistent one is checked in full.
    /// A corrupt persistent file is refused and kept; a corrupt volatile one is recreated.
    fn attach(&mut self, spec: &AttachSpec) -> Result<(), StoreError>;
    /// Closes the file and forgets the database.
    fn detach(&mut self, db: DbId);
    /// Names of the own persistent databases found on disk (`spec/database.md 3.4`).
    fn persistent_names(&mut self) -> Result<Vec<String>, StoreError>;
    /// The absolute path of the file.
    fn path(&self, db: DbId) -> Option<String>;
    /// TDB open flags for clients (DB_OPEN_FLAGS).
    fn open_flags(&self, db: DbId) -> Option<u32>;

    /// The hash chain of `key`: what a chain lock covers.
    fn chain_of(&self, db: DbId, key: &[u8]) -> u32;
    /// Runs `f` on the record under its chain lock if the lock is free, is granted (after ChainGranted), or
    /// the database is frozen by us.
    fn with_record(
        &mut self,
        db: DbId,
        key: &[u8],
        f: &mut dyn FnMut(&mut dyn ChainRecord),
    ) -> Access;
    /// Waits for a chain lock off the loop; News::ChainGranted follows. At most one wait for each (db, chain).
    fn wait_chain(&mut self, db: DbId, chain: u32);
    /// Releases a granted chain, or stops waiting for it.
    fn release_chain(&mut self, db: DbId, chain: u32);

    /// Begins to take the whole-database lock; News::Frozen follows.
    fn freeze(&mut self, db: DbId);
    /// Releases it, or stops trying.
    fn thaw(&mut self, db: DbId);

    /// Reads a record without keeping a lock; the value is header and data. None: absent.
    fn read(&mut self, db: DbId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Visits about `max` records from `cursor` on and moves it. A record that neither moves nor changes during the
    /// scan is seen exactly once. A chain that a client holds ends the slice early, perhaps without progress: come
    /// back later.
    fn scan(
        &mut self,
        db: DbId,
        cursor: &mut ScanCursor,
        max: usize,
        f: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError>;

    /// Begins a TDB transaction that applies `decide` to each record in turn, durable for a persistent
    /// database; News::WriteDone with `ticket` follows.
    fn write(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>, decide: Decide);
    /// Begins to replace the whole content of a frozen database by `records`; News::WriteDone with `ticket`
    /// follows. Atomic and durable for a persistent database; for others a failure leaves the content undefined.
    fn replace_all(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>);
    /// Forces what was stored to disk (fdatasync).
    fn sync(&mut self, db: DbId) -> Result<(), StoreError>;

    /// The TDB sequence number of the file (counts stores when enabled).
    fn tdb_seqnum(&mut self, db: DbId) -> Option<u32>;
    /// Makes the file count its changes in its sequence number.
    fn enable_seqnum(&mut self, db: DbId) -> Result<(), StoreError>;
    /// Raises the file's sequence number (UPDATE_SEQNUM).
    fn increment_seqnum(&mut self, db: DbId) -> Result<(), StoreError>;

    /// Why the persistent database of this name is unhealthy; None: healthy.
    fn health(&mut self, name: &str) -> Result<Option<String>, StoreError>;
    /// Records the reason, or health.
    fn set_health(&mut self, name: &str, reason: Option<&str>) -> Result<(), StoreError>;
}
