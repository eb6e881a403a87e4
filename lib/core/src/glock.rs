// SPDX-License-Identifier: GPL-3.0-or-later
//! Cluster-wide locks: records of the database `g_lock.tdb` that list their holders
//! (spec/database.md 15.2). The format is the C client library's; Samba's own is another one.

use std::time::{Duration, Instant};

use ctdb_wire::types::{GLock, RestList, ServerId};
use ctdb_wire::{Decode, Encode};

use crate::client::Client;
use crate::database::{Database, DatabaseKind};
use crate::deadline::Deadline;
use crate::error::{Error, Result};

/// Name of the database.
pub const G_LOCK_DB: &str = "g_lock.tdb";

/// Pause before a lock is tried again. The same for all who wait, however long they do, and the same as in
/// the C library: whoever waited longer between tries would be passed over again and again.
const PAUSE: Duration = Duration::from_millis(1);
/// How long after its release a lock is left to others that are known to want it.
const COURTESY: Duration = Duration::from_millis(3);

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Together with other readers.
    Read,
    /// Alone.
    Write,
}

impl LockKind {
    fn code(self) -> u32 {
        match self {
            LockKind::Read => 0,
            LockKind::Write => 1,
        }
    }
}

/// The cluster's locks.
#[derive(Debug)]
pub struct LockTable {
    db: Database,
    /// The lock that was given back last, and until when others have their turn.
    left_to_others: Option<(Vec<u8>, Instant)>,
}

/// What one look at a lock gave.
enum Attempt {
    Locked,
    Busy,
}

impl LockTable {
    /// Attaches the database of locks.
    pub fn attach(client: &mut Client, deadline: impl Into<Deadline>) -> Result<LockTable> {
        let db = Database::attach(client, G_LOCK_DB, DatabaseKind::Volatile, deadline)?;
        Ok(LockTable { db, left_to_others: None })
    }

    /// Takes a lock for `owner`, whose `pid` must be connected to the daemon of its node: a holder
    /// that is not is taken for dead. [`Error::HeldAlready`] if the owner holds it.
    pub fn lock(
        &mut self,
        client: &mut Client,
        name: &[u8],
        kind: LockKind,
        owner: ServerId,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        let deadline = deadline.into();
        if let Some((_, until)) = self.left_to_others.take().filter(|(left, _)| left == name) {
            let courtesy = until.saturating_duration_since(Instant::now());
            std::thread::sleep(deadline.remaining().map_or(courtesy, |left| left.min(courtesy)));
        }
        loop {
            if let Attempt::Locked = self.attempt(client, name, kind, owner, deadline)? {
                return Ok(());
            }
            if deadline.has_passed() {
                return Err(Error::Timeout { what: "lock" });
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn attempt(
        &mut self,
        client: &mut Client,
        name: &[u8],
        kind: LockKind,
        owner: ServerId,
        deadline: Deadline,
    ) -> Result<Attempt> {
        let mut record = self.db.fetch_lock(client, name, deadline)?;
        let mut holders = parse(record.value()?)?;
        let mut at = 0;
        while let Some(holder) = holders.get(at).copied() {
            if holder.sid == owner {
                return Err(Error::HeldAlready(String::from_utf8_lossy(name).into_owned()));
            }
            let both_read = holder.lock_type == 0 && kind == LockKind::Read;
            if both_read {
                at += 1;
                continue;
            }
            let pid = u32::try_from(holder.sid.pid).unwrap_or(u32::MAX);
            if client.process_exists(holder.sid.vnn, pid, None, deadline)? {
                return Ok(Attempt::Busy);
            }
            holders.swap_remove(at);
            record.store(&RestList(holders.clone()).to_vec())?;
        }
        holders.push(GLock { lock_type: kind.code(), sid: owner });
        record.store(&RestList(holders).to_vec())?;
        Ok(Attempt::Locked)
    }

    /// Gives a lock back; no error if `owner` does not hold it.
    pub fn unlock(
        &mut self,
        client: &mut Client,
        name: &[u8],
        owner: ServerId,
        deadline: impl Into<Deadline>,
    ) -> Result<()> {
        let deadline = deadline.into();
        // The record was here when the lock was taken. If it is not, or somebody has it locked, others have
        // looked at it and wait; taken again at once, the lock would hardly ever be free for them.
        if self.db.try_local_lock(name)?.is_none() {
            self.left_to_others = Some((name.to_vec(), Instant::now() + COURTESY));
        }
        let mut record = self.db.fetch_lock(client, name, deadline)?;
        let mut holders = parse(record.value()?)?;
        if let Some(at) = holders.iter().position(|holder| holder.sid == owner) {
            holders.swap_remove(at);
        }
        if holders.is_empty() {
            return record.delete(client, deadline);
        }
        record.store(&RestList(holders).to_vec())
    }

    /// The holders of a lock.
    pub fn holders(
        &mut self,
        client: &mut Client,
        name: &[u8],
        deadline: impl Into<Deadline>,
    ) -> Result<Vec<GLock>> {
        let mut record = self.db.fetch_lock(client, name, deadline)?;
        parse(record.value()?)
    }
}

fn parse(value: &[u8]) -> Result<Vec<GLock>> {
    let list: RestList<GLock> = RestList::from_prefix(value)
        .map_err(|source| Error::Malformed { what: "lock record", source })?;
    match list.0.iter().any(|holder| holder.lock_type > 1) {
        true => Err(Error::Usage("the lock record is not in the client library's format")),
        false => Ok(list.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_lock_records_are_refused() {
        let holder = GLock { lock_type: 1, sid: ServerId { pid: 7, ..ServerId::default() } };
        let bytes = RestList(vec![holder]).to_vec();
        assert_eq!(parse(&bytes).unwrap(), vec![holder]);
        assert!(parse(&[]).unwrap().is_empty());
        // a piece of an entry at the end is ignored
        assert_eq!(parse(&[bytes.as_slice(), &[1; 7]].concat()).unwrap().len(), 1);
        let mut foreign = bytes;
        foreign[0] = 9;
        assert!(parse(&foreign).is_err());
    }
}
