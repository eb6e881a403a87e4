// SPDX-License-Identifier: GPL-3.0-or-later
//! The recovery's transaction on a frozen database, and what is pushed into it (`spec/database.md 19.2,
//! 20.5`).
//!
//! Pushed records are kept in memory, as slices of the messages they came in, until
//! DB_TRANSACTION_COMMIT; the file keeps its old content until then. Whatever ends the transaction earlier
//! just drops them.

use super::db::{Db, FreezeState};
use super::record::{apply_rule, join, split};
use super::{AfterWrite, Database, Write};
use crate::env::{Env, ReplyTo};
use crate::packet::{Body, ControlReply, DbId, Packet};
use crate::ports::{RecordWrite, ScanCursor, StoreError, WriteOutcome};
use bytes::Bytes;
use ctdb_wire::flags::record as flag;
use ctdb_wire::types::{PulldbExt, RecBuffer, Transdb};
use ctdb_wire::{Decode, Encode};
use std::collections::BTreeMap;

/// A recovery's transaction.
pub(super) struct Transaction {
    /// Its id: the new generation.
    pub tid: u32,
    /// The old content goes.
    wiped: bool,
    /// Records of confirmed pushes. An empty value deletes.
    records: Vec<RecordWrite>,
    /// The commit has begun.
    committing: bool,
}

/// A push that is open.
pub(super) struct Push {
    srvid: u64,
    records: Vec<RecordWrite>,
    /// Records of buffers that were taken in full.
    count: u32,
    /// Something was malformed: everything further is ignored.
    failed: bool,
}

impl Db {
    pub(super) fn is_committing(&self) -> bool {
        self.transaction.as_ref().is_some_and(|t| t.committing)
    }

    /// The transaction with this id, on a frozen database.
    fn transaction_mut(&mut self, tid: u32) -> Option<&mut Transaction> {
        let frozen = self.freeze == FreezeState::Frozen;
        self.transaction.as_mut().filter(|t| frozen && t.tid == tid && !t.committing)
    }
}

impl Database {
    /// DB_TRANSACTION_START. One that runs is cancelled.
    pub(super) fn transaction_start(&mut self, request: &Transdb) -> bool {
        let ready = |db: &Db| db.freeze == FreezeState::Frozen && !db.is_committing();
        if !self.dbs.get(&request.db_id).is_some_and(ready) {
            return false;
        }
        self.end_transaction(request.db_id);
        let Some(db) = self.dbs.get_mut(&request.db_id) else { return false };
        db.transaction = Some(Transaction {
            tid: request.tid,
            wiped: false,
            records: Vec::new(),
            committing: false,
        });
        true
    }

    /// DB_TRANSACTION_CANCEL.
    pub(super) fn transaction_cancel(&mut self, id: DbId) -> bool {
        let ready = |db: &Db| db.freeze == FreezeState::Frozen && !db.is_committing();
        let ok = self.dbs.get(&id).is_some_and(ready);
        if ok {
            self.end_transaction(id);
        }
        ok
    }

    /// Drops what the transaction has gathered. A commit that runs ends by itself.
    pub(super) fn end_transaction(&mut self, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if !db.is_committing() {
            db.transaction = None;
        }
        self.close_push(id);
    }

    /// WIPE_DATABASE.
    pub(super) fn wipe(&mut self, request: &Transdb) -> bool {
        let Some(db) = self.dbs.get_mut(&request.db_id) else { return false };
        let Some(transaction) = db.transaction_mut(request.tid) else { return false };
        transaction.wiped = true;
        transaction.records = Vec::new();
        db.delete_queue.clear();
        db.fetch_queue.clear();
        true
    }

    /// DB_PUSH_START.
    pub(super) fn push_start(&mut self, request: &PulldbExt) -> bool {
        let ready = |db: &Db| {
            db.freeze == FreezeState::Frozen && db.transaction.is_some() && !db.is_committing()
        };
        if !self.dbs.get(&request.db_id).is_some_and(ready) {
            return false;
        }
        self.close_push(request.db_id);
        let Some(db) = self.dbs.get_mut(&request.db_id) else { return false };
        db.push = Some(Push { srvid: request.srvid, records: Vec::new(), count: 0, failed: false });
        self.pushes.entry(request.srvid).or_default().push(request.db_id);
        true
    }

    /// Forgets the open push of a database.
    pub(super) fn close_push(&mut self, id: DbId) {
        let Some(push) = self.dbs.get_mut(&id).and_then(|db| db.push.take()) else { return };
        if let Some(ids) = self.pushes.get_mut(&push.srvid) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.pushes.remove(&push.srvid);
            }
        }
    }

    /// A message to the srvid of a push: a record buffer. Its database id is that of a backup's making and not
    /// to be trusted, unless it tells two pushes with the same srvid apart.
    pub(super) fn push_message(&mut self, env: &mut Env<'_>, srvid: u64, packet: &Packet) {
        let Body::Message { data, .. } = &packet.body else { return };
        let Some(ids) = self.pushes.get(&srvid) else { return };
        let named = u32::from_prefix(data).ok().filter(|id| ids.contains(id));
        let ids = named.map_or_else(|| ids.clone(), |id| vec![id]);
        for id in ids {
            let Some(db) = self.dbs.get_mut(&id) else { continue };
            let Some(mut push) = db.push.take() else { continue };
            push.take(db, data, env);
            db.push = Some(push);
        }
    }

    /// DB_PUSH_CONFIRM: the push is complete. Read-only copies become void with the commit (13.5): were they
    /// forgotten here, a cancelled transaction would leave copies that nobody revokes.
    pub(super) fn push_confirm(&mut self, id: DbId) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let Some(db) = self.dbs.get_mut(&id) else { return refused };
        if db.freeze != FreezeState::Frozen || db.is_committing() {
            return refused;
        }
        let (Some(push), Some(transaction)) = (db.push.as_mut(), db.transaction.as_mut()) else {
            return refused;
        };
        let count = push.count;
        if !push.failed {
            transaction.records.append(&mut push.records);
        }
        self.close_push(id);
        Some(ControlReply::data(count.to_vec()))
    }

    /// DB_TRANSACTION_COMMIT.
    pub(super) fn transaction_commit(
        &mut self,
        env: &mut Env<'_>,
        request: &Transdb,
        reply: ReplyTo,
    ) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let Some(db) = self.dbs.get_mut(&request.db_id) else { return refused };
        let Some(transaction) = db.transaction_mut(request.tid) else { return refused };
        transaction.committing = true;
        let records = std::mem::take(&mut transaction.records);
        let wiped = transaction.wiped;
        self.close_push(request.db_id);
        self.abort_pulls(env, request.db_id);
        let ticket = self.next_number();
        let Some(db) = self.dbs.get_mut(&request.db_id) else { return refused };
        db.writing = Some(ticket);
        let then = AfterWrite::Commit { tid: request.tid, reply };
        self.writes.insert(ticket, Write { db: request.db_id, since: env.now, then });
        if !wiped && records.is_empty() {
            self.write_done(env, ticket, WriteOutcome::Committed);
            return None;
        }
        let content = if wiped { Ok(Vec::new()) } else { whole_content(env, request.db_id) };
        match content {
            Ok(mut content) => {
                content.extend(records);
                env.store().replace_all(ticket, request.db_id, without_deleted(content, wiped));
            }
            Err(error) => self.write_done(env, ticket, WriteOutcome::Failed(error)),
        }
        None
    }

    /// The commit ended. The database is of the new generation now, or as it was.
    pub(super) fn commit_done(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        tid: u32,
        reply: ReplyTo,
        outcome: WriteOutcome,
    ) {
        let inactive = env.view().is_inactive();
        let Some(db) = self.dbs.get_mut(&id) else {
            return env.reply(&reply, ControlReply::status(-1));
        };
        let wiped = db.transaction.take().is_some_and(|t| t.wiped);
        let ok = outcome == WriteOutcome::Committed;
        if ok && !inactive {
            db.generation = tid;
            if wiped {
                db.invalid = false;
                db.tracking.clear();
            }
            self.update_health(env, id);
        } else if let WriteOutcome::Failed(error) = &outcome {
            log::error!("cannot commit the recovered content of {}: {error}", db.name);
            if wiped && db.is_volatile() {
                // The content is undefined: it must not be merged.
                db.invalid = true;
            }
        }
        env.reply(&reply, ControlReply::status(if ok { 0 } else { -1 }));
        let waiters = match self.dbs.get_mut(&id) {
            Some(db) => std::mem::take(&mut db.thaw_waiters),
            None => return,
        };
        if !waiters.is_empty() && !inactive {
            self.thaw(env, id);
        }
        for to in waiters {
            env.reply(&to, ControlReply::status(if inactive { -1 } else { 0 }));
        }
    }
}

impl Push {
    /// Takes the records of one buffer (20.5 step 3).
    fn take(&mut self, db: &Db, data: &Bytes, env: &Env<'_>) {
        if self.failed {
            return;
        }
        let Ok(buffer) = RecBuffer::from_prefix(data) else {
            log::error!("malformed record buffer pushed into {}", db.name);
            self.failed = true;
            return;
        };
        let mut records = Vec::with_capacity(buffer.count() as usize);
        let mut reader = ctdb_wire::Reader::new(data.get(8..).unwrap_or_default());
        for _ in 0..buffer.count() {
            // Checked above; read anew because the keys have to borrow from `data`.
            let Ok(record) = ctdb_wire::types::RecData::decode(&mut reader) else { break };
            match pushed_record(db, data, &record, env) {
                Some(write) => records.push(write),
                None => {
                    log::error!("a record pushed into {} has no header", db.name);
                    self.failed = true;
                    return;
                }
            }
        }
        self.count = self.count.saturating_add(buffer.count());
        self.records.append(&mut records);
    }
}

/// What a pushed record becomes in the file. Most are stored as they came: slices of the message.
fn pushed_record(
    db: &Db,
    message: &Bytes,
    record: &ctdb_wire::types::RecData<'_>,
    env: &Env<'_>,
) -> Option<RecordWrite> {
    let (given, data) = split(record.data)?;
    let mut header = given;
    header.flags &= !flag::RO_FLAGS;
    let key = message.slice_ref(record.key);
    let plan = apply_rule(&mut header, data.is_empty(), &db.place(record.key, env.view())?);
    let value = if !plan.keep {
        Bytes::new()
    } else if header == given {
        message.slice_ref(record.data)
    } else {
        join(&header, data).into()
    };
    Some(RecordWrite { key, value })
}

/// The old content, for a transaction that does not wipe it. No existing tool does that.
fn whole_content(env: &mut Env<'_>, id: DbId) -> Result<Vec<RecordWrite>, StoreError> {
    let mut content = Vec::new();
    let mut cursor = ScanCursor::default();
    while !cursor.done {
        let before = cursor.clone();
        env.store().scan(id, &mut cursor, usize::MAX, &mut |key, value| {
            content.push(RecordWrite {
                key: Bytes::copy_from_slice(key),
                value: Bytes::copy_from_slice(value),
            });
        })?;
        if cursor == before {
            let message = "a record of the frozen file is locked".to_owned();
            return Err(StoreError { message, corrupt: false });
        }
    }
    Ok(content)
}

/// The content that a sequence of stores and deletions leaves behind. `distinct`: if nothing is deleted, the
/// sequence is as good.
fn without_deleted(records: Vec<RecordWrite>, distinct: bool) -> Vec<RecordWrite> {
    if distinct && records.iter().all(|r| !r.value.is_empty()) {
        return records;
    }
    let mut content = BTreeMap::new();
    for record in records {
        match record.value.is_empty() {
            true => content.remove(&record.key),
            false => content.insert(record.key, record.value),
        };
    }
    content.into_iter().map(|(key, value)| RecordWrite { key, value }).collect()
}
