// SPDX-License-Identifier: GPL-3.0-or-later
//! The engine's LocalStore over TDB files (`spec/database.md 2`).
//!
//! The handle of each database belongs to the hot thread, with one exception: while a recovery replaces the
//! content of a frozen database, a thread has it. Chain locks that are busy are waited for by the waiter pool,
//! the whole-database lock by a freezer, and durable writes are done by a writer thread with a handle of its own.

mod health;
mod orphans;
mod record;
mod writer;

use crate::hot::background::{Background, Notifier};
use ctdb_engine::packet::DbId;
use ctdb_engine::ports::{
    Access, AttachSpec, ChainRecord, DbKind, Decide, LocalStore, RecordWrite, ScanCursor,
    StoreError, WriteOutcome,
};
use ctdb_engine::{Input, News};
use ctdb_tdb::{
    ChainToken, Error, Freezer, LockAccess, LockMode, LockStyle, OpenOptions, Tdb, Ticket,
    TraverseCursor, WaiterPool,
};
use health::Health;
use orphans::Orphans;
use record::Record;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use writer::Writer;

/// Where the files are and how they are made.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `[database] volatile database directory`.
    pub volatile_dir: PathBuf,
    /// `[database] persistent database directory`.
    pub persistent_dir: PathBuf,
    /// `[database] state database directory`.
    pub state_dir: PathBuf,
    /// `[database] tdb mutexes`.
    pub mutexes: bool,
    /// The own node number: part of the file names.
    pub pnn: u32,
}

/// Bytes of records visited in one slice of a scan.
const SCAN_BYTES: u64 = 1 << 20;

/// Threads that wait for chain locks, over all databases.
const MAX_WAITERS: usize = 200;

enum Wait {
    Running(Ticket),
    Granted(ChainToken),
}

enum Freeze {
    None,
    Pending(Freezer),
    Held,
}

struct Db {
    spec: AttachSpec,
    path: PathBuf,
    options: OpenOptions,
    instance: u64,
    /// None while a thread replaces the content.
    tdb: Option<Tdb>,
    access: LockAccess,
    waits: HashMap<u32, Wait>,
    freeze: Freeze,
    freezes: u64,
    writer: Option<Writer>,
}

/// The TDB files of a node.
pub struct Store {
    config: StoreConfig,
    notifier: Notifier,
    pool: WaiterPool,
    dbs: HashMap<DbId, Db>,
    next_instance: u64,
    scratch: Vec<u8>,
    health: Option<Health>,
    orphans: Orphans,
}

fn store_error(e: &Error) -> StoreError {
    StoreError { message: e.to_string(), corrupt: e.is_corruption() }
}

fn failed(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError { message: format!("{}: {why}", path.display()), corrupt: false }
}

fn unknown(db: DbId) -> StoreError {
    StoreError { message: format!("database {db:#010x} is not attached"), corrupt: false }
}

impl Db {
    fn tdb(&mut self) -> Result<&mut Tdb, StoreError> {
        self.tdb.as_mut().ok_or_else(|| failed(&self.path, "its content is being replaced"))
    }
}

impl Store {
    /// A store without databases. News goes to the hot thread through `notifier`.
    pub fn new(config: StoreConfig, notifier: Notifier) -> Store {
        Store {
            config,
            notifier,
            pool: WaiterPool::new(MAX_WAITERS),
            dbs: HashMap::new(),
            next_instance: 1,
            scratch: Vec::new(),
            health: None,
            orphans: Orphans::default(),
        }
    }

    /// Takes news from another thread; what of it concerns the engine.
    pub fn news(&mut self, news: Background) -> Option<Input> {
        match news {
            Background::Chain { db, instance, chain, result } => {
                self.chain_news(db, instance, chain, result)
            }
            Background::Frozen { db, instance, freeze, result } => {
                let state = self
                    .dbs
                    .get_mut(&db)
                    .filter(|d| d.instance == instance && d.freezes == freeze)?;
                let adopted = result.and_then(|token| match state.tdb.as_mut() {
                    Some(tdb) => tdb.adopt_freeze(token),
                    None => Err(Error::Usage("frozen while its content is replaced")),
                });
                if let Err(e) = &adopted {
                    log::error!("freeze of database {}: {e}", state.spec.name);
                }
                state.freeze = if adopted.is_ok() { Freeze::Held } else { Freeze::None };
                Some(Input::News(News::Frozen { db, ok: adopted.is_ok() }))
            }
            Background::WriteDone { ticket, outcome } => {
                Some(Input::News(News::WriteDone { ticket, outcome }))
            }
            Background::Replaced { db, instance, ticket, outcome, tdb } => {
                if let Some(state) = self.dbs.get_mut(&db).filter(|d| d.instance == instance) {
                    state.tdb = Some(*tdb);
                    if matches!(state.freeze, Freeze::None) {
                        // Thawed meanwhile.
                        if let Some(tdb) = state.tdb.as_mut() {
                            tdb.thaw();
                        }
                    }
                }
                Some(Input::News(News::WriteDone { ticket, outcome }))
            }
            Background::Lock(_) | Background::Signal(_) => None,
        }
    }

    fn chain_news(
        &mut self,
        db: DbId,
        instance: u64,
        chain: u32,
        result: ctdb_tdb::Result<ChainToken>,
    ) -> Option<Input> {
        let state = self.dbs.get_mut(&db).filter(|d| d.instance == instance)?;
        let ok = match result {
            Ok(token) => {
                // Given up meanwhile: dropping the token releases the lock.
                *state.waits.get_mut(&chain)? = Wait::Granted(token);
                true
            }
            Err(e) => {
                // Told also if the wait could not begin; the engine knows what it still waits for.
                log::error!("database {}: wait for chain {chain}: {e}", state.spec.name);
                state.waits.remove(&chain);
                false
            }
        };
        Some(Input::News(News::ChainGranted { db, chain, ok }))
    }

    fn get(&mut self, db: DbId) -> Result<&mut Db, StoreError> {
        self.dbs.get_mut(&db).ok_or_else(|| unknown(db))
    }

    fn health(&mut self) -> Result<&mut Health, StoreError> {
        if self.health.is_none() {
            let path =
                self.config.state_dir.join(format!("persistent_health.tdb.{}", self.config.pnn));
            self.health = Some(Health::open(&path)?);
        }
        self.health.as_mut().ok_or_else(|| failed(&self.config.state_dir, "no health database"))
    }

    fn file_of(&self, spec: &AttachSpec) -> (PathBuf, OpenOptions) {
        use ctdb_tdb as t;
        let file = format!("{}.{}", spec.name, self.config.pnn);
        let cleared = t::TDB_NOSYNC
            | t::TDB_CLEAR_IF_FIRST
            | t::TDB_INCOMPATIBLE_HASH
            | t::TDB_DISALLOW_NESTING;
        let (dir, tdb_flags) = match spec.kind {
            DbKind::Volatile if self.config.mutexes => {
                (&self.config.volatile_dir, cleared | t::TDB_MUTEX_LOCKING)
            }
            DbKind::Volatile | DbKind::Replicated => (&self.config.volatile_dir, cleared),
            DbKind::Persistent => (&self.config.persistent_dir, t::TDB_DISALLOW_NESTING),
        };
        let options = OpenOptions {
            tdb_flags,
            hash_size: spec.hash_size,
            create: true,
            mode: 0o600,
            max_dead: Some(spec.max_dead),
            lock_style: LockStyle::Ofd,
            check: spec.kind == DbKind::Persistent,
            // A file that somebody cuts must not end the daemon.
            watch_size: true,
            ..OpenOptions::default()
        };
        (dir.join(file), options)
    }

    fn open(
        &self,
        spec: &AttachSpec,
        path: &Path,
        options: &OpenOptions,
    ) -> Result<Tdb, StoreError> {
        if let Some(found) = foreign_start(path) {
            // An engine that may create makes a database of any file that is none.
            if spec.kind == DbKind::Persistent {
                let message = format!(
                    "{}: offset 0: expected a TDB file, found {found}; it is left as it is: restore a backup or \
                     move it away",
                    path.display()
                );
                return Err(StoreError { message, corrupt: true });
            }
            log::error!(
                "{}: is no TDB file (it starts with {found}) and is recreated",
                path.display()
            );
        }
        let mut tdb = Tdb::open(path, options).map_err(|e| store_error(&e))?;
        if spec.kind != DbKind::Persistent {
            let mut records = 0;
            tdb.traverse(|_, _| {
                records += 1;
                false
            })
            .map_err(|e| store_error(&e))?;
            if records > 0 {
                return Err(failed(
                    path,
                    "database not empty on attach: a client of an earlier daemon still has it open",
                ));
            }
        }
        tdb.add_flags(options.tdb_flags).map_err(|e| store_error(&e))?;
        Ok(tdb)
    }
}

impl LocalStore for Store {
    fn attach(&mut self, spec: &AttachSpec) -> Result<(), StoreError> {
        if self.dbs.contains_key(&spec.db) {
            return Err(StoreError {
                message: format!("{} is attached", spec.name),
                corrupt: false,
            });
        }
        if spec.name.is_empty() || spec.name.contains('/') || spec.name.starts_with('.') {
            return Err(StoreError {
                message: format!("{:?} is no database name", spec.name),
                corrupt: false,
            });
        }
        let (path, options) = self.file_of(spec);
        let mut tdb = self.open(spec, &path, &options)?;
        let access = tdb.lock_access().map_err(|e| store_error(&e))?;
        if tdb.uses_mutexes() {
            self.orphans.watch(spec.db, access.clone());
        }
        let instance = self.next_instance;
        self.next_instance += 1;
        let db = Db {
            spec: spec.clone(),
            path,
            options,
            instance,
            tdb: Some(tdb),
            access,
            waits: HashMap::new(),
            freeze: Freeze::None,
            freezes: 0,
            writer: None,
        };
        self.dbs.insert(spec.db, db);
        Ok(())
    }

    fn detach(&mut self, db: DbId) {
        self.orphans.forget(db);
        if let Some(state) = self.dbs.remove(&db) {
            for (_, wait) in state.waits {
                if let Wait::Running(ticket) = wait {
                    self.pool.cancel(ticket);
                }
            }
        }
    }

    fn persistent_names(&mut self) -> Result<Vec<String>, StoreError> {
        let dir = &self.config.persistent_dir;
        let entries = std::fs::read_dir(dir).map_err(|e| failed(dir, e))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed(dir, e))?;
            let Ok(file) = entry.file_name().into_string() else { continue };
            match own_database(&file, self.config.pnn) {
                OwnFile::Database(name) => names.push(name),
                OwnFile::Other => log::info!("Ignoring persistent database file '{file}'"),
                OwnFile::NoDatabase => {}
            }
        }
        names.sort();
        Ok(names)
    }

    fn path(&self, db: DbId) -> Option<String> {
        let path = &self.dbs.get(&db)?.path;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Some(absolute.to_string_lossy().into_owned())
    }

    fn open_flags(&self, db: DbId) -> Option<u32> {
        let state = self.dbs.get(&db)?;
        Some(state.tdb.as_ref().map_or(state.options.tdb_flags, Tdb::flags))
    }

    fn chain_of(&self, db: DbId, key: &[u8]) -> u32 {
        self.dbs.get(&db).and_then(|d| d.tdb.as_ref()).map_or(0, |t| t.chain_of(key))
    }

    fn with_record(
        &mut self,
        db: DbId,
        key: &[u8],
        f: &mut dyn FnMut(&mut dyn ChainRecord),
    ) -> Access {
        let Some(state) = self.dbs.get_mut(&db) else { return Access::Failed(unknown(db)) };
        let Some(tdb) = state.tdb.as_mut() else {
            return Access::Failed(failed(&state.path, "its content is being replaced"));
        };
        let scratch = &mut self.scratch;
        let mut work =
            |tdb: &mut Tdb| Record::load(tdb, key, scratch).map(|mut record| f(&mut record));
        if matches!(state.freeze, Freeze::Held) {
            return match work(tdb) {
                Ok(()) => Access::Done,
                Err(e) => Access::Failed(store_error(&e)),
            };
        }
        let chain = tdb.chain_of(key);
        let result = match state.waits.get(&chain) {
            Some(Wait::Granted(token)) => tdb.with_marked_chain(token, work).and_then(|r| r),
            Some(Wait::Running(_)) => return Access::Busy,
            None => match tdb.try_lock_chain(chain, LockMode::Exclusive) {
                Ok(true) => {
                    let result = work(tdb);
                    let unlocked = tdb.unlock_chain(chain);
                    result.and(unlocked)
                }
                Ok(false) => return Access::Busy,
                Err(e) => Err(e),
            },
        };
        match result {
            Ok(()) => Access::Done,
            Err(e) => Access::Failed(store_error(&e)),
        }
    }

    fn wait_chain(&mut self, db: DbId, chain: u32) {
        let Some(state) = self.dbs.get_mut(&db) else { return };
        if state.waits.contains_key(&chain) {
            return;
        }
        let instance = state.instance;
        let notifier = self.notifier.clone();
        let deliver = Box::new(move |result| {
            notifier.send(Background::Chain { db, instance, chain, result })
        });
        match self.pool.request_chain(&state.access, chain, deliver) {
            Ok(ticket) => {
                state.waits.insert(chain, Wait::Running(ticket));
            }
            Err(e) => self.notifier.send(Background::Chain { db, instance, chain, result: Err(e) }),
        }
    }

    fn release_chain(&mut self, db: DbId, chain: u32) {
        if let Some(Wait::Running(ticket)) =
            self.dbs.get_mut(&db).and_then(|d| d.waits.remove(&chain))
        {
            self.pool.cancel(ticket);
        }
    }

    fn freeze(&mut self, db: DbId) {
        let Some(state) = self.dbs.get_mut(&db) else { return };
        // One that is asked for already answers for both.
        if !matches!(state.freeze, Freeze::None) {
            return;
        }
        state.freezes += 1;
        let (instance, freeze) = (state.instance, state.freezes);
        let notifier = self.notifier.clone();
        let deliver = Box::new(move |result| {
            notifier.send(Background::Frozen { db, instance, freeze, result })
        });
        match Freezer::request(&state.access, deliver) {
            Ok(freezer) => state.freeze = Freeze::Pending(freezer),
            Err(e) => {
                self.notifier.send(Background::Frozen { db, instance, freeze, result: Err(e) })
            }
        }
    }

    fn thaw(&mut self, db: DbId) {
        let Some(state) = self.dbs.get_mut(&db) else { return };
        state.freezes += 1;
        match std::mem::replace(&mut state.freeze, Freeze::None) {
            Freeze::None => {}
            Freeze::Pending(freezer) => {
                freezer.cancel();
            }
            Freeze::Held => {
                if let Some(tdb) = state.tdb.as_mut() {
                    tdb.thaw();
                }
            }
        }
    }

    fn read(&mut self, db: DbId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        // Waiting for a client that holds the chain would stop the loop: the caller gets an error.
        let tdb = self.get(db)?.tdb()?;
        if tdb.is_frozen() {
            return tdb.fetch(key).map_err(|e| store_error(&e));
        }
        let chain = tdb.chain_of(key);
        if !tdb.try_lock_chain(chain, LockMode::Shared).map_err(|e| store_error(&e))? {
            return Err(StoreError { message: "the record is locked".into(), corrupt: false });
        }
        let result = tdb.fetch(key).map_err(|e| store_error(&e));
        tdb.unlock_chain(chain).map_err(|e| store_error(&e))?;
        result
    }

    fn scan(
        &mut self,
        db: DbId,
        cursor: &mut ScanCursor,
        max: usize,
        f: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let tdb = self.get(db)?.tdb()?;
        let mut position = TraverseCursor::at(cursor.chain);
        let more = position.try_next_batch(tdb, max as u64, SCAN_BYTES, |key, value| {
            f(key, value);
            true
        });
        cursor.chain = position.next_chain();
        match more {
            Ok(more) => cursor.done = !more,
            // A chain that a client holds ends the slice; the caller comes back.
            Err(Error::WouldBlock) => {}
            Err(e) => return Err(store_error(&e)),
        }
        Ok(())
    }

    fn write(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>, decide: Decide) {
        let notifier = self.notifier.clone();
        let result = self.get(db).and_then(|state| {
            if state.writer.is_none() {
                let mut options = state.options.clone();
                options.tdb_flags &= !ctdb_tdb::TDB_CLEAR_IF_FIRST;
                options.create = false;
                options.check = false;
                let whole = state.spec.kind != DbKind::Volatile;
                let writer = Writer::start(state.path.clone(), options, whole, notifier.clone())
                    .map_err(|e| failed(&state.path, e))?;
                state.writer = Some(writer);
            }
            match &state.writer {
                Some(writer) if writer.write(ticket, records, decide) => Ok(()),
                _ => Err(writer::gone(&state.path)),
            }
        });
        if let Err(e) = result {
            self.notifier.send(Background::WriteDone { ticket, outcome: WriteOutcome::Failed(e) });
        }
    }

    fn replace_all(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>) {
        let notifier = self.notifier.clone();
        let result = self.get(db).and_then(|state| {
            if !matches!(state.freeze, Freeze::Held) {
                return Err(failed(&state.path, "not frozen"));
            }
            let instance = state.instance;
            let in_transaction = state.spec.kind == DbKind::Persistent;
            let tdb = state
                .tdb
                .take()
                .ok_or_else(|| failed(&state.path, "its content is being replaced"))?;
            // The handle travels in a slot, so that it survives a thread that cannot be started.
            let slot = Arc::new(std::sync::Mutex::new(Some(tdb)));
            let thread_slot = slot.clone();
            let spawned = thread::Builder::new().name("ctdb-replace".into()).spawn(move || {
                let taken = thread_slot.lock().map(|mut s| s.take()).unwrap_or(None);
                let Some(mut tdb) = taken else { return };
                let outcome = writer::replace_all(&mut tdb, &records, in_transaction);
                notifier.send(Background::Replaced {
                    db,
                    instance,
                    ticket,
                    outcome,
                    tdb: Box::new(tdb),
                });
            });
            spawned.map(drop).map_err(|e| {
                state.tdb = slot.lock().map(|mut s| s.take()).unwrap_or(None);
                failed(&state.path, e)
            })
        });
        if let Err(e) = result {
            self.notifier.send(Background::WriteDone { ticket, outcome: WriteOutcome::Failed(e) });
        }
    }

    fn sync(&mut self, db: DbId) -> Result<(), StoreError> {
        let state = self.get(db)?;
        let file = std::fs::File::open(&state.path).map_err(|e| failed(&state.path, e))?;
        file.sync_data().map_err(|e| failed(&state.path, e))
    }

    fn tdb_seqnum(&mut self, db: DbId) -> Option<u32> {
        self.dbs.get_mut(&db)?.tdb.as_mut()?.seqnum().ok()
    }

    fn enable_seqnum(&mut self, db: DbId) -> Result<(), StoreError> {
        self.get(db)?.tdb()?.add_flags(ctdb_tdb::TDB_SEQNUM).map_err(|e| store_error(&e))
    }

    fn increment_seqnum(&mut self, db: DbId) -> Result<(), StoreError> {
        self.get(db)?.tdb()?.increment_seqnum().map_err(|e| store_error(&e))
    }

    fn health(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        Store::health(self)?.get(name)
    }

    fn set_health(&mut self, name: &str, reason: Option<&str>) -> Result<(), StoreError> {
        Store::health(self)?.set(name, reason)
    }
}

/// The first bytes of a file that is neither empty nor a TDB file.
fn foreign_start(path: &Path) -> Option<String> {
    const MAGIC: &[u8] = b"TDB file\n\0";
    let mut start = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 32), &mut start).ok()?;
    let foreign = !start.is_empty() && !start.starts_with(MAGIC);
    foreign.then(|| format!("{:?}", String::from_utf8_lossy(&start)))
}

enum OwnFile {
    Database(String),
    Other,
    NoDatabase,
}

/// Whether a file of the persistent directory is one of our databases (`spec/database.md 3.4`).
fn own_database(file: &str, pnn: u32) -> OwnFile {
    let Some((stem, suffix)) = file.split_once(".tdb.") else { return OwnFile::NoDatabase };
    let digits = !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit());
    if file.len() >= 7 && digits && suffix.parse() == Ok(pnn) {
        OwnFile::Database(format!("{stem}.tdb"))
    } else {
        OwnFile::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_told_from_others() {
        let name = |file: &str| match own_database(file, 1) {
            OwnFile::Database(name) => Some(name),
            _ => None,
        };
        assert_eq!(name("secrets.tdb.1").as_deref(), Some("secrets.tdb"));
        assert_eq!(name("secrets.tdb.11"), None);
        assert_eq!(name("secrets.tdb.1.corrupted.20240101000000.0Z"), None);
        assert_eq!(name("secrets.tdb"), None);
        assert_eq!(name("secrets.tdb."), None);
    }
}
