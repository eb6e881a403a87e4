// SPDX-License-Identifier: GPL-3.0-or-later
//! An attached database and its records (spec/database.md 3, 7).
//!
//! The fast path: take the record's chain lock in the mapped file, see that this node is data
//! master, read or write in place, unlock. No daemon and no memory allocation is involved. A record
//! that is elsewhere is brought here by the daemon first.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ctdb_tdb::{LockMode, LockStyle, OpenOptions, Place, StoreMode, Tdb};
use ctdb_wire::control::call;
use ctdb_wire::flags::{call as call_flags, db, node, pnn, record};
use ctdb_wire::types::{DbidPadded, KeyData, LtdbHeader, PushRecordData};
use ctdb_wire::{Control, Decode, StringZ, Text};

use crate::call::RecordCall;
use crate::client::{Client, Ticket};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::header::RawHeader;
use crate::sys::ForkMark;

/// Pauses before a lock that somebody else holds is tried again, until a deadline.
const LOCK_PAUSE_MIN: Duration = Duration::from_micros(20);
const LOCK_PAUSE_MAX: Duration = Duration::from_millis(2);

/// What kind of database an attach asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatabaseKind {
    /// Records live on one node at a time; lost with the cluster.
    #[default]
    Volatile,
    /// Every node has all records on disk; written by transactions.
    Persistent,
    /// Every node has all records; written by transactions, lost with the cluster.
    Replicated,
}

impl DatabaseKind {
    /// The kind that [`ctdb_wire::flags::db`] flags say.
    pub fn from_flags(flags: u8) -> DatabaseKind {
        match flags {
            f if f & db::PERSISTENT != 0 => DatabaseKind::Persistent,
            f if f & db::REPLICATED != 0 => DatabaseKind::Replicated,
            _ => DatabaseKind::Volatile,
        }
    }
}

/// How a database is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttachOptions {
    /// Its kind, if it does not exist yet.
    pub kind: DatabaseKind,
    /// Other nodes may have read-only copies of its records. For volatile ones, on all connected nodes.
    pub readonly: bool,
    /// Records that many nodes want stay for a while. For volatile ones, on all connected nodes.
    pub sticky: bool,
}

impl From<DatabaseKind> for AttachOptions {
    fn from(kind: DatabaseKind) -> AttachOptions {
        AttachOptions { kind, ..AttachOptions::default() }
    }
}

impl AttachOptions {
    /// What [`ctdb_wire::flags::db`] flags say.
    pub fn from_flags(flags: u8) -> AttachOptions {
        AttachOptions {
            kind: DatabaseKind::from_flags(flags),
            readonly: flags & db::READONLY != 0,
            sticky: flags & db::STICKY != 0,
        }
    }
}

/// An attached database.
///
/// A process has one handle for each database: a second one of the same file is refused by the
/// engine, because closing it would drop the first one's locks.
pub struct Database {
    pub(crate) name: String,
    id: u32,
    kind: DatabaseKind,
    pub(crate) pnn: u32,
    pub(crate) tdb: Tdb,
    mark: Arc<ForkMark>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Database { name, id, kind, .. } = self;
        f.debug_struct("Database").field("name", name).field("id", id).field("kind", kind).finish()
    }
}

impl Database {
    /// Attaches a database, creating it on all nodes if it does not exist, and opens its local
    /// file with the flags that the daemon uses. All steps together have until the deadline.
    pub fn attach(
        client: &mut Client,
        name: &str,
        options: impl Into<AttachOptions>,
        deadline: impl Into<Deadline>,
    ) -> Result<Database> {
        let (options, deadline) = (options.into(), deadline.into());
        let id = attach_id(client, name, options.kind, deadline)?;
        if options.readonly || options.sticky {
            let own = client.pnn();
            let map = client.control::<call::GetNodemap, _>(own, deadline, &())?;
            let connected = map.node.iter().filter(|e| e.flags & node::DISCONNECTED == 0);
            let nodes: Vec<u32> = connected.map(|entry| entry.pnn).collect();
            if options.readonly {
                client.control_all::<call::SetDbReadonly>(&nodes, deadline, &id)?;
            }
            if options.sticky {
                client.control_all::<call::SetDbSticky>(&nodes, deadline, &id)?;
            }
        }
        Database::open(client, name, id, options.kind, deadline)
    }

    /// Opens the local file of a database that the daemon has attached.
    pub fn open(
        client: &mut Client,
        name: &str,
        id: u32,
        kind: DatabaseKind,
        deadline: impl Into<Deadline>,
    ) -> Result<Database> {
        let deadline = deadline.into();
        let pnn = client.pnn();
        let path = client.control::<call::GetDbPath, _>(pnn, deadline, &id)?;
        let path: PathBuf = OsStr::from_bytes(path.as_ref().map_or(&[], Text::as_bytes)).into();
        if let Some(reason) = client.control::<call::DbGetHealth, _>(pnn, deadline, &id)? {
            return Err(Error::Unhealthy { db: name.into(), reason: reason.to_string() });
        }
        let flags = client.control::<call::DbOpenFlags, _>(pnn, deadline, &id)?;
        let options = OpenOptions {
            tdb_flags: flags as u32,
            lock_style: LockStyle::Posix,
            ..OpenOptions::default()
        };
        let tdb =
            Tdb::open(&path, &options).map_err(|source| Error::Tdb { db: name.into(), source })?;
        Ok(Database { name: name.into(), id, kind, pnn, tdb, mark: client.mark().clone() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id: the hash of its name.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its kind, as asked for.
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Makes changes visible in [`Database::change_counter`], those of other nodes at most once in a time
    /// that a tunable of the daemon says. For volatile databases.
    pub fn enable_change_counter(
        &mut self,
        client: &mut Client,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        self.check()?;
        let pnn = client.pnn();
        client.control::<call::EnableSeqnum, ()>(pnn, deadline, &self.id)?;
        self.tdb.add_flags(ctdb_tdb::TDB_SEQNUM).map_err(|e| self.failed(e))
    }

    /// A number in the local file that grows with every change.
    pub fn change_counter(&mut self) -> Result<u32> {
        self.check()?;
        self.tdb.seqnum().map_err(|e| self.failed(e))
    }

    /// The number of transactions that the database has seen. For persistent and replicated ones.
    pub fn seqnum(&self, client: &mut Client, deadline: impl Into<Deadline>) -> Result<u64> {
        self.check()?;
        let pnn = client.pnn();
        let request = DbidPadded { db_id: self.id };
        client.control::<call::GetDbSeqnum, u64>(pnn, deadline, &request)
    }

    /// Its local file.
    pub fn path(&self) -> &Path {
        self.tdb.path()
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.mark.is_own_process() {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }

    #[cold]
    pub(crate) fn failed(&self, source: ctdb_tdb::Error) -> Error {
        Error::Tdb { db: self.name.clone(), source }
    }

    /// Locks a record for this process, wherever it is in the cluster. Nobody else can read or
    /// write it, and no node can take it away, until the guard is dropped.
    ///
    /// Other holders of the record's lock on this node are waited for in the order of their coming if there
    /// is no deadline; with one, the lock is tried again and again until then.
    #[inline]
    pub fn fetch_lock<'d>(
        &'d mut self,
        client: &mut Client,
        key: &'d [u8],
        deadline: impl Into<Deadline>,
    ) -> Result<Record<'d>> {
        self.check()?;
        // Not even a look at the clock as long as the record is here and free.
        let (place, header) = match self.lock_if_free(key)? {
            Some(found) => found,
            None => self.bring_here(client, key, deadline.into())?,
        };
        Ok(Record { db: self, place: Some(place), key, header })
    }

    /// Locks a record only if this node is its data master already and nobody has it locked: `None`
    /// otherwise. Neither asks the daemon nor waits. For event loops: [`Database::start_fetch`] gets it
    /// here.
    pub fn try_local_lock<'d>(&'d mut self, key: &'d [u8]) -> Result<Option<Record<'d>>> {
        self.check()?;
        let found = self.lock_if_free(key)?;
        Ok(found.map(|(place, header)| Record { db: self, place: Some(place), key, header }))
    }

    fn check_volatile(&self) -> Result<()> {
        match self.kind {
            DatabaseKind::Volatile => Ok(()),
            _ => Err(Error::Usage("records of this kind of database are written by transactions")),
        }
    }

    /// Takes the chain lock if nobody has it, and keeps it if the record is this node's to write.
    #[inline]
    fn lock_if_free(&mut self, key: &[u8]) -> Result<Option<(Place, RawHeader)>> {
        self.check_volatile()?;
        match self.tdb.try_lock_key(key).map_err(|e| self.failed(e))? {
            Some(place) => self.keep_if_owned(key, place),
            None => Ok(None),
        }
    }

    /// Waits for the chain lock, and keeps it if the record is this node's to write.
    fn lock_if_owned(
        &mut self,
        key: &[u8],
        deadline: Deadline,
    ) -> Result<Option<(Place, RawHeader)>> {
        let place = match self.tdb.try_lock_key(key).map_err(|e| self.failed(e))? {
            Some(place) => place,
            None => self.wait_for_lock(key, deadline)?,
        };
        self.keep_if_owned(key, place)
    }

    /// Somebody on this node has the lock.
    #[cold]
    fn wait_for_lock(&mut self, key: &[u8], deadline: Deadline) -> Result<Place> {
        if deadline == Deadline::NEVER {
            return self.tdb.lock_key(key).map_err(|e| self.failed(e));
        }
        let mut pause = LOCK_PAUSE_MIN;
        while let Some(left) = deadline.remaining().filter(|left| !left.is_zero()) {
            std::thread::sleep(pause.min(left));
            if let Some(place) = self.tdb.try_lock_key(key).map_err(|e| self.failed(e))? {
                return Ok(place);
            }
            pause = (pause * 2).min(LOCK_PAUSE_MAX);
        }
        Err(Error::Timeout { what: "lock of the record" })
    }

    #[inline]
    fn keep_if_owned(
        &mut self,
        key: &[u8],
        mut place: Place,
    ) -> Result<Option<(Place, RawHeader)>> {
        let pnn = self.pnn;
        let owned = match self.tdb.value_at(key, &mut place) {
            Ok(data) => Ok(RawHeader::of(data).filter(|header| header.is_writable_at(pnn))),
            Err(e) => Err(e),
        };
        if let Ok(Some(header)) = owned {
            return Ok(Some((place, header)));
        }
        self.tdb.unlock_key(place).map_err(|e| self.failed(e))?;
        owned.map_err(|e| self.failed(e)).map(|_| None)
    }

    /// Asks the daemon to make this node the record's data master, or for a read-only copy, and does not
    /// wait: when the ticket is answered, [`Database::try_local_lock`] or [`Database::try_readonly`] is
    /// worth a try. Another node may be faster; then it has to be asked for again.
    pub fn start_fetch(&self, client: &mut Client, key: &[u8], readonly: bool) -> Result<Ticket> {
        self.check()?;
        self.check_volatile()?;
        let readonly = if readonly { call_flags::WANT_READONLY } else { 0 };
        let flags = call_flags::IMMEDIATE_MIGRATION | readonly;
        client.start_call(&RecordCall { db_id: self.id, function: call_flags::NULL, flags, key })
    }

    /// The value of the local copy of a record, if this node may read it: its own or a read-only copy.
    /// The outer `None`: it may not; the inner one: there is no value.
    pub fn try_readonly(&mut self, key: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
        self.check()?;
        self.usable_copy(key)
    }

    /// Lets the daemon make this node the data master until the lock finds it so.
    #[cold]
    fn bring_here(
        &mut self,
        client: &mut Client,
        key: &[u8],
        deadline: Deadline,
    ) -> Result<(Place, RawHeader)> {
        let mut asked = false;
        loop {
            if let Some(found) = self.lock_if_owned(key, deadline)? {
                return Ok(found);
            }
            if asked && deadline.has_passed() {
                return Err(Error::Timeout { what: "record to stay on this node" });
            }
            self.migrate(client, key, call_flags::IMMEDIATE_MIGRATION, deadline)?;
            asked = true;
        }
    }

    fn migrate(
        &mut self,
        client: &mut Client,
        key: &[u8],
        flags: u32,
        deadline: Deadline,
    ) -> Result<()> {
        let request = RecordCall { db_id: self.id, function: call_flags::NULL, flags, key };
        let outcome = client.call(&request, deadline)?;
        if outcome.status != 0 {
            return Err(Error::Call { db: self.name.clone(), status: outcome.status });
        }
        Ok(())
    }

    /// Reads a record of a volatile database without becoming its data master, where the database
    /// allows read-only copies; otherwise the record migrates here. `None`: no value.
    pub fn fetch_readonly(
        &mut self,
        client: &mut Client,
        key: &[u8],
        deadline: impl Into<Deadline>,
    ) -> Result<Option<Vec<u8>>> {
        self.check()?;
        let deadline = deadline.into();
        let flags = call_flags::IMMEDIATE_MIGRATION | call_flags::WANT_READONLY;
        loop {
            if let Some(value) = self.usable_copy(key)? {
                return Ok(value);
            }
            self.migrate(client, key, flags, deadline)?;
            if deadline.has_passed() {
                return Err(Error::Timeout { what: "read-only copy" });
            }
        }
    }

    /// The value of the local copy if it may be read.
    fn usable_copy(&mut self, key: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
        let pnn = self.pnn;
        let parsed = self.tdb.parse(key, |data| {
            let header = RawHeader::of(Some(data))?;
            let value = header.is_readable_at(pnn).then(|| header.value(data).to_vec())?;
            Some((!value.is_empty()).then_some(value))
        });
        Ok(parsed.map_err(|e| self.failed(e))?.flatten())
    }

    /// The local copy of a record as it is in the file, whoever is its data master. This is how
    /// records of persistent databases are read.
    pub fn read_local(&mut self, key: &[u8]) -> Result<Option<(LtdbHeader, Vec<u8>)>> {
        self.check()?;
        let parsed = self.tdb.parse(key, split).map_err(|e| self.failed(e))?;
        match parsed {
            None => Ok(None),
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(found)) => Err(Error::ShortRecord { db: self.name.clone(), found }),
        }
    }

    /// [`Database::traverse_local`] with the whole file locked against writers: the records are those
    /// of one moment, so that no transaction is seen by half.
    pub fn snapshot_local(
        &mut self,
        visit: impl FnMut(&[u8], LtdbHeader, &[u8]) -> bool,
    ) -> Result<u64> {
        self.check()?;
        self.tdb.lock_all(LockMode::Shared).map_err(|e| self.failed(e))?;
        let visited = self.traverse_local(visit);
        let unlocked = self.tdb.unlock_all().map_err(|e| self.failed(e));
        let visited = visited?;
        unlocked.map(|()| visited)
    }

    /// Visits every record of the local file with its header, until `visit` returns `false`.
    /// Returns how many were visited.
    pub fn traverse_local(
        &mut self,
        mut visit: impl FnMut(&[u8], LtdbHeader, &[u8]) -> bool,
    ) -> Result<u64> {
        self.check()?;
        let mut short = None;
        let visited = self.tdb.traverse(|key, data| match LtdbHeader::from_prefix(data) {
            Ok(header) => visit(key, header, data.get(LtdbHeader::SIZE..).unwrap_or_default()),
            Err(_) => {
                short = Some(data.len());
                false
            }
        });
        let visited = visited.map_err(|e| self.failed(e))?;
        match short {
            Some(found) => Err(Error::ShortRecord { db: self.name.clone(), found }),
            None => Ok(visited),
        }
    }
}

fn split(data: &[u8]) -> std::result::Result<(LtdbHeader, Vec<u8>), usize> {
    let header = LtdbHeader::from_prefix(data).map_err(|_| data.len())?;
    Ok((header, data.get(LtdbHeader::SIZE..).unwrap_or_default().to_vec()))
}

/// Sends the attach control of a kind; the answer is the database's id.
pub fn attach_id(
    client: &mut Client,
    name: &str,
    kind: DatabaseKind,
    deadline: impl Into<Deadline>,
) -> Result<u32> {
    fn ask<C>(client: &mut Client, name: &str, deadline: Deadline) -> Result<u32>
    where
        C: for<'a> Control<Request<'a> = StringZ, Reply<'a> = u32>,
    {
        client.control::<C, u32>(client.pnn(), deadline, &StringZ(name.into()))
    }
    let deadline = deadline.into();
    match kind {
        DatabaseKind::Volatile => ask::<call::DbAttach>(client, name, deadline),
        DatabaseKind::Persistent => ask::<call::DbAttachPersistent>(client, name, deadline),
        DatabaseKind::Replicated => ask::<call::DbAttachReplicated>(client, name, deadline),
    }
}

const UNLOCKED: &str = "the record is not locked any more";

/// A record of a volatile database that this process has locked; unlocked when dropped.
pub struct Record<'d> {
    db: &'d mut Database,
    /// Where it is; taken when it is unlocked.
    place: Option<Place>,
    key: &'d [u8],
    /// What is in front of the value as long as the lock is held.
    header: RawHeader,
}

impl Record<'_> {
    /// The record's key.
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// Its value, in place. A record that does not exist has an empty value.
    #[inline]
    pub fn value(&mut self) -> Result<&[u8]> {
        let place = self.place.as_mut().ok_or(Error::Usage(UNLOCKED))?;
        match self.db.tdb.value_at(self.key, place) {
            Ok(data) => Ok(data.and_then(|data| data.get(LtdbHeader::SIZE..)).unwrap_or_default()),
            Err(source) => Err(Error::Tdb { db: self.db.name.clone(), source }),
        }
    }

    /// Its header.
    pub fn header(&self) -> LtdbHeader {
        self.header.into()
    }

    /// Replaces its value; the header stays as it is: sequence numbers are the daemons' business.
    #[inline]
    pub fn store(&mut self, value: &[u8]) -> Result<()> {
        self.write(value)
    }

    /// Replaces header and value. For tools: a wrong header loses data in the next recovery.
    pub fn store_with_header(&mut self, header: &LtdbHeader, value: &[u8]) -> Result<()> {
        self.header = RawHeader::from(header);
        self.write(value)
    }

    #[inline]
    fn write(&mut self, value: &[u8]) -> Result<()> {
        let parts = [self.header.as_bytes(), value];
        let place = self.place.as_mut().ok_or(Error::Usage(UNLOCKED))?;
        let stored = self.db.tdb.store_at(self.key, place, &parts, StoreMode::Replace);
        stored.map_err(|e| self.db.failed(e))
    }

    /// Replaces its value on the file of every node at once, and marks the copies as ones with data: what
    /// has to survive the loss of this node. Nothing tells whether the others have it; a daemon of 4.17
    /// does not know this.
    pub fn push(&mut self, client: &mut Client, generation: u32, value: &[u8]) -> Result<()> {
        let old = self.header();
        let header = LtdbHeader {
            rsn: old.rsn.wrapping_add(1),
            flags: old.flags | record::MIGRATED_WITH_DATA,
            ..old
        };
        self.store_with_header(&header, value)?;
        let db_id = self.db.id;
        let request = PushRecordData { generation, db_id, hdr: header, key: self.key, value };
        client.post_control::<call::PushRecord>(pnn::BROADCAST_ACTIVE, &request)
    }

    /// Empties the record and tells the daemon, which deletes it when no node needs it any more.
    /// Waits for the daemon's answer with the lock held.
    pub fn delete(mut self, client: &mut Client, deadline: impl Into<Deadline>) -> Result<()> {
        self.write(&[])?;
        let request = KeyData { db_id: self.db.id, header: self.header(), key: self.key };
        let pnn = client.pnn();
        client.control::<call::ScheduleForDeletion, ()>(pnn, deadline, &request)
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // A child process has the guard's memory but not its lock.
        let place = self.place.take().filter(|_| self.db.mark.is_own_process());
        if let Some(Err(e)) = place.map(|place| self.db.tdb.unlock_key(place)) {
            log::error!("database {}: record not unlocked: {e}", self.db.name);
        }
    }
}
