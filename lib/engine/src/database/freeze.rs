// SPDX-License-Identifier: GPL-3.0-or-later
//! Freeze, thaw and generations (`spec/database.md 19, 21`).

use super::{Database, FreezeState};
use crate::env::{Env, ReplyTo};
use crate::packet::{ControlReply, DbId};
use crate::view::INVALID_GENERATION;

impl Database {
    /// DB_FREEZE.
    pub(super) fn freeze_request(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        to: ReplyTo,
    ) -> Option<ControlReply> {
        let Some(db) = self.dbs.get_mut(&id) else { return Some(ControlReply::status(-1)) };
        if db.freeze == FreezeState::Frozen {
            return Some(ControlReply::status(0));
        }
        db.freeze_waiters.push(to);
        self.stop_vacuum(env);
        self.begin_freeze(env, id);
        None
    }

    /// Asks for the whole-database lock, after a write of ours that runs.
    fn begin_freeze(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if db.freeze != FreezeState::None {
            return;
        }
        db.counters.freeze_since = Some(env.now);
        db.freeze = FreezeState::AfterWrite;
        self.hold_chains(env, id);
        self.refuse_updates(env, id);
        self.continue_freeze(env, id);
        self.start_lock_watch(env);
    }

    /// Asks for the lock, unless a write of ours still runs.
    pub(super) fn continue_freeze(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if db.freeze == FreezeState::AfterWrite && db.writing.is_none() {
            db.freeze = FreezeState::Pending;
            env.store().freeze(id);
        }
    }

    /// A freeze was decided, or the lock was lost.
    pub(super) fn frozen(&mut self, env: &mut Env<'_>, id: DbId, ok: bool) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        match (db.freeze, ok) {
            (FreezeState::Pending, true) => {
                db.freeze = FreezeState::Frozen;
                self.answer_freeze(env, id, 0);
                self.check_freeze_all(env, true);
            }
            (FreezeState::Pending, false) => {
                db.freeze = FreezeState::None;
                self.answer_freeze(env, id, -1);
                self.check_freeze_all(env, false);
                self.resume(env, id);
            }
            (FreezeState::Frozen, false) => {
                log::error!("lost the whole-database lock of {} - unfreezing", db.name);
                self.end_transaction(id);
                if let Some(db) = self.dbs.get_mut(&id) {
                    db.freeze = FreezeState::None;
                }
                self.resume(env, id);
            }
            // Thawed before it was decided.
            (FreezeState::None | FreezeState::AfterWrite, true) => env.store().thaw(id),
            _ => {}
        }
    }

    fn answer_freeze(&mut self, env: &mut Env<'_>, id: DbId, status: i32) {
        let now = env.now;
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let waited = db.counters.freeze_since.take().map(|since| now.since(since));
        for locks in [&mut db.counters.locks, &mut env.stats().locks] {
            locks.decided(status == 0, waited.unwrap_or_default());
        }
        for to in std::mem::take(&mut db.freeze_waiters) {
            env.reply(&to, ControlReply::status(status));
        }
    }

    /// DB_THAW.
    pub(super) fn thaw_request(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        to: ReplyTo,
    ) -> Option<ControlReply> {
        let inactive = env.view().is_inactive();
        let Some(db) = self.dbs.get_mut(&id) else { return Some(ControlReply::status(-1)) };
        if inactive {
            // A recovery that has not noticed that the node was stopped or banned: clients must not get at
            // records that others may own by now.
            return Some(ControlReply::error("node is inactive"));
        }
        if db.is_committing() {
            // The files are being replaced: the lock cannot be let go before that ends.
            db.thaw_waiters.push(to);
            return None;
        }
        self.thaw(env, id);
        Some(ControlReply::status(0))
    }

    /// Ends the recovery's transaction, lets clients work, and asks again what was pending.
    pub(super) fn thaw(&mut self, env: &mut Env<'_>, id: DbId) {
        self.end_transaction(id);
        self.abort_pulls(env, id);
        let Some(db) = self.dbs.get_mut(&id) else { return };
        db.invalid = false;
        match std::mem::replace(&mut db.freeze, FreezeState::None) {
            FreezeState::Frozen => env.store().thaw(id),
            FreezeState::Pending => {
                env.store().thaw(id);
                self.answer_freeze(env, id, -1);
            }
            FreezeState::AfterWrite => self.answer_freeze(env, id, -1),
            FreezeState::None => {}
        }
        self.resume(env, id);
        self.count_frozen(env);
    }

    fn resume(&mut self, env: &mut Env<'_>, id: DbId) {
        self.kill_revokes(env, id);
        self.reissue_calls(env, id);
        self.release_held(env, id);
    }

    /// FREEZE: all databases at once, the volatile ones not to be merged (19.2).
    pub(super) fn freeze_all(&mut self, env: &mut Env<'_>, to: ReplyTo) -> Option<ControlReply> {
        self.stop_vacuum(env);
        self.frozen_all = true;
        let ids: Vec<DbId> = self.dbs.keys().copied().collect();
        for id in ids {
            self.begin_freeze(env, id);
            if let Some(db) = self.dbs.get_mut(&id).filter(|db| db.is_volatile()) {
                db.invalid = true;
            }
        }
        self.freeze_all_waiters.push(to);
        self.check_freeze_all(env, true);
        None
    }

    /// A database that is attached while all are frozen.
    pub(super) fn freeze_new(&mut self, env: &mut Env<'_>, id: DbId) {
        if self.frozen_all {
            self.begin_freeze(env, id);
        }
    }

    fn check_freeze_all(&mut self, env: &mut Env<'_>, ok: bool) {
        let all = self.dbs.values().all(|db| db.freeze == FreezeState::Frozen);
        if all || !ok {
            for to in std::mem::take(&mut self.freeze_all_waiters) {
                env.reply(&to, ControlReply::status(if ok { 0 } else { -1 }));
            }
        }
        self.count_frozen(env);
    }

    fn count_frozen(&self, env: &mut Env<'_>) {
        let all = self.dbs.values().all(|db| db.freeze == FreezeState::Frozen);
        env.stats().frozen = self.frozen_all && all;
    }

    /// This node was stopped or banned (21.2): its records are of no use to anyone until a recovery.
    pub(super) fn become_inactive(&mut self, env: &mut Env<'_>, to: ReplyTo) {
        for db in self.dbs.values_mut() {
            db.generation = INVALID_GENERATION;
        }
        self.freeze_all(env, to);
    }

    /// Recovery mode is about to become NORMAL (19.3).
    pub(super) fn leave_recovery(&mut self, env: &mut Env<'_>, generation: u32, to: ReplyTo) {
        for db in self.dbs.values() {
            if db.generation != generation {
                log::error!("Inconsistent DB generation {} for {}", db.generation, db.name);
                return env.reply(&to, ControlReply::status(-1));
            }
        }
        if self.frozen_all {
            self.frozen_all = false;
            let ids: Vec<DbId> = self
                .dbs
                .values()
                .filter(|db| db.freeze != FreezeState::None && !db.is_committing())
                .map(|db| db.id)
                .collect();
            for id in ids {
                self.thaw(env, id);
            }
        }
        self.schedule_deferred(env);
        env.reply(&to, ControlReply::status(0));
    }
}
