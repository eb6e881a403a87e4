// SPDX-License-Identifier: GPL-3.0-or-later
//! Transactions on persistent and replicated databases (spec/database.md 15.3).
//!
//! Writers exclude each other with a cluster-wide lock; the writes are collected here and committed
//! on all nodes by one control. A commit that a recovery interrupts is judged by the database's
//! sequence number: unchanged means again, one more means that it happened.

use std::collections::HashMap;
use std::time::Duration;

use ctdb_wire::control::call;
use ctdb_wire::flags::SEQNUM_KEY;
use ctdb_wire::types::{LtdbHeader, RecBuffer, ServerId};

use crate::client::Client;
use crate::database::{Database, DatabaseKind};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::glock::{LockKind, LockTable};

/// Pauses before a commit is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

struct Write {
    key: Vec<u8>,
    header: LtdbHeader,
    value: Vec<u8>,
}

/// A transaction under way. End it with [`Transaction::commit`] or [`Transaction::cancel`]: a
/// dropped one keeps its lock until the process disconnects from the daemon.
#[must_use = "a transaction holds a cluster-wide lock until it is committed or cancelled"]
pub struct Transaction<'d> {
    db: &'d mut Database,
    locks: &'d mut LockTable,
    kind: LockKind,
    owner: ServerId,
    /// In the order in which they were made.
    writes: Vec<Write>,
    /// Where the last write of each key is.
    last: HashMap<Vec<u8>, usize>,
}

/// The lock that transactions on a database take.
fn lock_name(db_id: u32) -> Vec<u8> {
    format!("transaction_db_0x{db_id:08x}\0").into_bytes()
}

impl<'d> Transaction<'d> {
    /// Begins a transaction: waits for the lock of the database.
    pub fn start(
        client: &mut Client,
        locks: &'d mut LockTable,
        db: &'d mut Database,
        kind: LockKind,
        deadline: impl Into<Deadline>,
    ) -> Result<Transaction<'d>> {
        if db.kind() == DatabaseKind::Volatile {
            return Err(Error::Usage("volatile databases have no transactions"));
        }
        let pid = std::process::id();
        let id = db.id();
        let owner = ServerId {
            pid: pid.into(),
            task_id: id,
            vnn: client.pnn(),
            unique_id: u64::from(id) << 32 | u64::from(pid),
        };
        locks.lock(client, &lock_name(id), kind, owner, deadline)?;
        Ok(Transaction { db, locks, kind, owner, writes: Vec::new(), last: HashMap::new() })
    }

    /// The value of a record as the transaction sees it; empty if there is none.
    pub fn fetch(&mut self, key: &[u8]) -> Result<Vec<u8>> {
        Ok(self.current(key)?.1)
    }

    fn current(&mut self, key: &[u8]) -> Result<(LtdbHeader, Vec<u8>)> {
        if let Some(write) = self.last.get(key).and_then(|at| self.writes.get(*at)) {
            return Ok((write.header, write.value.clone()));
        }
        Ok(self.db.read_local(key)?.unwrap_or_default())
    }

    /// Writes a record. Writing the value that is there changes nothing.
    pub fn store(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.kind == LockKind::Read {
            return Err(Error::Usage("write in a transaction for reading"));
        }
        let (header, current) = self.current(key)?;
        if current != value {
            self.append(key, header, value);
        }
        Ok(())
    }

    fn append(&mut self, key: &[u8], header: LtdbHeader, value: &[u8]) {
        let header = LtdbHeader { dmaster: self.db.pnn, rsn: header.rsn.wrapping_add(1), ..header };
        self.last.insert(key.to_vec(), self.writes.len());
        self.writes.push(Write { key: key.to_vec(), header, value: value.to_vec() });
    }

    /// Deletes a record.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.store(key, &[])
    }

    /// Commits on all nodes and gives the lock back. An error says that nothing was changed, except
    /// [`Error::NoReply`] (no answer by the deadline) and [`Error::Transaction`]: then it is not
    /// known.
    pub fn commit(mut self, client: &mut Client, deadline: impl Into<Deadline>) -> Result<()> {
        let deadline = deadline.into();
        let result = if self.writes.is_empty() { Ok(()) } else { self.write_all(client, deadline) };
        let unlocked = self.unlock(client, deadline);
        result.and(unlocked)
    }

    /// Gives the lock back without writing anything.
    pub fn cancel(mut self, client: &mut Client, deadline: impl Into<Deadline>) -> Result<()> {
        self.unlock(client, deadline.into())
    }

    fn unlock(&mut self, client: &mut Client, deadline: Deadline) -> Result<()> {
        self.locks.unlock(client, &lock_name(self.db.id()), self.owner, deadline)
    }

    fn seqnum(&mut self) -> Result<(LtdbHeader, u64)> {
        let (header, value) = self.db.read_local(SEQNUM_KEY)?.unwrap_or_default();
        Ok((header, value.as_slice().try_into().map_or(0, u64::from_le_bytes)))
    }

    fn write_all(&mut self, client: &mut Client, deadline: Deadline) -> Result<()> {
        let (header, before) = self.seqnum()?;
        self.append(SEQNUM_KEY, header, &before.wrapping_add(1).to_le_bytes());
        let mut buffer = RecBuffer::new(self.db.id());
        for write in &self.writes {
            buffer.push_with_header(0, &write.key, &write.header, &write.value);
        }
        let mut pause = PAUSE_MIN;
        loop {
            let own = client.pnn();
            let status = client.control_status::<call::Trans3Commit>(own, deadline, &buffer)?;
            if status == 0 {
                return Ok(());
            }
            match self.seqnum()?.1 {
                now if now == before => (),
                now if now == before.wrapping_add(1) => return Ok(()),
                _ => {
                    let db = self.db.name.clone();
                    let what = "sequence number jumped during the commit";
                    return Err(Error::Transaction { db, what });
                }
            }
            if deadline.has_passed() {
                return Err(Error::Timeout { what: "commit" });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
