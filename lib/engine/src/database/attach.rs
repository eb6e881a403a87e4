// SPDX-License-Identifier: GPL-3.0-or-later
//! Attach, detach and properties of databases (`spec/database.md 3`).

use super::db::Work;
use super::{Database, Db};
use crate::env::{Env, ReplyTo};
use crate::hash::database_id;
use crate::packet::{
    endpoint, ClientId, Control, ControlReply, DbId, Packet, CTRL_FLAG_ATTACH_RECOVERY,
};
use crate::ports::{AttachSpec, DbKind};
use crate::time::Time;
use crate::view::{ClusterView, RecoveryMode, RunState};
use ctdb_wire::control::Opcode;
use ctdb_wire::flags::db as db_flag;
use ctdb_wire::{Decode, Encode, StringZ};
use std::time::Duration;

/// Databases that may be attached.
pub const DATABASES_MAX: usize = 10_000;
/// Attaches that may wait for the end of a recovery.
pub const DEFERRED_MAX: usize = 10_000;
/// Bytes of a database name: a file name has to hold it with the node number.
pub const NAME_MAX: usize = 240;

const RETRY: Duration = Duration::from_secs(1);

/// An attach that waits for the end of a recovery.
pub(super) struct Deferred {
    packet: Packet,
    control: Control,
    deadline: Time,
    /// Looked at again then.
    retry: Option<Time>,
}

fn kind_of(opcode: u32) -> DbKind {
    match opcode {
        61 => DbKind::Persistent,
        150 => DbKind::Replicated,
        _ => DbKind::Volatile,
    }
}

fn opcode_of(kind: DbKind) -> Opcode {
    match kind {
        DbKind::Volatile => Opcode::DbAttach,
        DbKind::Persistent => Opcode::DbAttachPersistent,
        DbKind::Replicated => Opcode::DbAttachReplicated,
    }
}

fn kind_flags(kind: DbKind) -> u8 {
    match kind {
        DbKind::Volatile => 0,
        DbKind::Persistent => db_flag::PERSISTENT,
        DbKind::Replicated => db_flag::REPLICATED,
    }
}

/// A name that is also a file name.
fn database_name(data: &[u8]) -> Option<String> {
    let StringZ(text) = StringZ::from_prefix(data).ok()?;
    let name = text.as_str()?;
    let fits = !name.is_empty() && name.len() <= NAME_MAX && !name.contains('/');
    (fits && name != "." && name != "..").then(|| name.to_owned())
}

impl Database {
    /// At start: the own persistent databases, frozen until the first recovery (3.4).
    pub(super) fn attach_persistent(&mut self, env: &mut Env<'_>) -> Result<(), String> {
        self.frozen_all = true;
        let names = env.store().persistent_names().map_err(|error| error.message)?;
        for name in names {
            if let Err(why) = self.attach(env, &name, DbKind::Persistent) {
                let pnn = env.pnn();
                return Err(format!(
                    "Failed to attach to persistent database '{name}.{pnn}': {why}"
                ));
            }
        }
        Ok(())
    }

    /// DB_ATTACH, DB_ATTACH_PERSISTENT, DB_ATTACH_REPLICATED (3.1).
    pub(super) fn attach_request(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        control: &Control,
    ) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let Some(name) = database_name(&control.data) else { return refused };
        let in_recovery = control.flags & CTRL_FLAG_ATTACH_RECOVERY != 0;
        let from_client = control.client_id != 0;
        if from_client && !in_recovery && env.tunables().allow_client_db_attach == 0 {
            log::error!("DB Attach to database {name} denied by tunable AllowClientDBAccess == 0");
            return refused;
        }
        if from_client && packet.src.node == env.pnn() {
            let view = env.view();
            let active = view.recovery_mode == RecoveryMode::Active;
            if view.is_inactive() || in_recovery && !active {
                return refused;
            }
            if !in_recovery && (active || view.run_state < RunState::Startup) {
                return self.defer(env, packet, control);
            }
        }
        let kind = kind_of(control.opcode);
        let id = database_id(&name);
        if let Some(db) = self.dbs.get(&id) {
            let wanted = kind_flags(kind);
            let fits = db.name == name && db.flags() & wanted == wanted;
            return if fits { Some(ControlReply::data(id.to_vec())) } else { refused };
        }
        if let Err(why) = self.attach(env, &name, kind) {
            log::error!("Failed to attach to database '{name}': {why}");
            return refused;
        }
        let wave = Control {
            opcode: opcode_of(kind) as u32,
            data: control.data.clone(),
            ..Control::default()
        };
        env.notify(endpoint::BROADCAST_CONNECTED, wave);
        Some(ControlReply::data(id.to_vec()))
    }

    /// Opens the file (3.3).
    fn attach(&mut self, env: &mut Env<'_>, name: &str, kind: DbKind) -> Result<(), String> {
        let id = database_id(name);
        if self.dbs.len() >= DATABASES_MAX {
            return Err("too many databases".to_owned());
        }
        if kind == DbKind::Persistent {
            match env.store().health(name) {
                Ok(None) => {}
                Ok(Some(reason)) => return Err(format!("it is unhealthy: {reason}")),
                Err(error) => return Err(error.message),
            }
        }
        let spec = AttachSpec {
            db: id,
            name: name.to_owned(),
            kind,
            hash_size: env.tunables().database_hash_size,
            max_dead: env.tunables().database_max_dead,
        };
        env.store().attach(&spec).map_err(|error| error.message)?;
        let generation = env.view().generation;
        self.dbs.insert(id, Db::new(id, name.to_owned(), kind, generation));
        self.order.push(id);
        self.freeze_new(env, id);
        self.schedule_vacuum(env, id);
        log::info!("Attached to database '{name}' with id 0x{id:08x}");
        Ok(())
    }

    fn defer(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        control: &Control,
    ) -> Option<ControlReply> {
        if self.deferred.len() >= DEFERRED_MAX {
            return Some(ControlReply::status(-1));
        }
        let limit = Duration::from_secs(env.tunables().deferred_attach_to.into());
        self.deferred.push(Deferred {
            packet: packet.clone(),
            control: control.clone(),
            deadline: env.now.plus(limit),
            retry: None,
        });
        self.set_deferred_timer(env);
        None
    }

    /// Deferred attaches are looked at again in a second.
    pub(super) fn schedule_deferred(&mut self, env: &mut Env<'_>) {
        for deferred in &mut self.deferred {
            deferred.retry = Some(env.now.plus(RETRY));
        }
        self.set_deferred_timer(env);
    }

    fn set_deferred_timer(&self, env: &mut Env<'_>) {
        let due = |d: &Deferred| d.retry.map_or(d.deadline, |retry| retry.min(d.deadline));
        if let Some(next) = self.deferred.iter().map(due).min() {
            env.set_timer(super::Timer::Deferred.token(), next.since(env.now));
        }
    }

    pub(super) fn retry_deferred(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        for deferred in std::mem::take(&mut self.deferred) {
            let to = ReplyTo::of(&deferred.packet);
            if now >= deferred.deadline {
                env.reply(&to, ControlReply::status(-1));
            } else if deferred.retry.is_some_and(|retry| now >= retry) {
                let waiting = self.deferred.len();
                let reply = self.attach_request(env, &deferred.packet, &deferred.control);
                if let Some(reply) = reply {
                    env.reply(&to, reply);
                } else if let Some(again) = self.deferred.get_mut(waiting) {
                    again.deadline = deferred.deadline;
                }
            } else {
                self.deferred.push(deferred);
            }
        }
        self.set_deferred_timer(env);
    }

    pub(super) fn forget_deferred(&mut self, client: ClientId) {
        self.deferred.retain(|d| d.control.client_id != client);
    }

    /// Recovery mode or run state may now allow what was deferred (29.13).
    pub(super) fn attach_view_changed(&mut self, env: &mut Env<'_>, old: &ClusterView) {
        let view = env.view();
        let changed = view.recovery_mode != old.recovery_mode || view.run_state != old.run_state;
        if changed && view.recovery_mode == RecoveryMode::Normal && !self.deferred.is_empty() {
            self.schedule_deferred(env);
        }
    }

    /// DB_DETACH (3.7).
    pub(super) fn detach_request(
        &mut self,
        env: &mut Env<'_>,
        _packet: &Packet,
        control: &Control,
        id: DbId,
    ) -> bool {
        let Some(db) = self.dbs.get(&id) else { return false };
        let active = env.view().recovery_mode == RecoveryMode::Active;
        if env.tunables().allow_client_db_attach == 1 || !db.is_volatile() || active {
            return false;
        }
        if control.client_id != 0 {
            let wave = Control { client_id: 0, ..control.clone() };
            env.notify(endpoint::BROADCAST_CONNECTED, wave);
        } else {
            self.detach(env, id);
        }
        true
    }

    /// Forgets the database. Whoever waits for something in it is told that it failed.
    fn detach(&mut self, env: &mut Env<'_>, id: DbId) {
        self.detach_vacuum(env, id);
        self.hold_chains(env, id);
        self.kill_revokes(env, id);
        self.abort_pulls(env, id);
        self.refuse_updates(env, id);
        self.close_push(id);
        self.fail_calls(env, id);
        self.detach_traverses(env, id);
        env.cancel_timer(super::Timer::Seqnum(id).token());
        env.cancel_timer(super::Timer::Update(id).token());
        let Some(db) = self.dbs.remove(&id) else { return };
        self.order.retain(|other| *other != id);
        let queued = db.fetches.into_values().flatten().map(Work::Packet).chain(db.held);
        for work in queued {
            match work {
                Work::Packet(packet) if self.is_client(env, &packet) => {
                    self.fail_later(env, packet)
                }
                _ => {}
            }
        }
        for to in db.freeze_waiters.iter().chain(&db.thaw_waiters) {
            env.reply(to, ControlReply::status(-1));
        }
        env.store().detach(id);
        log::info!("Detached from database '{}'", db.name);
    }

    /// SET_DB_READONLY (3.8).
    pub(super) fn set_readonly(&mut self, id: DbId) -> bool {
        match self.dbs.get_mut(&id) {
            Some(db) if db.is_volatile() => {
                db.readonly = true;
                true
            }
            _ => false,
        }
    }

    /// SET_DB_STICKY (3.8).
    pub(super) fn set_sticky(&mut self, id: DbId) -> bool {
        match self.dbs.get_mut(&id) {
            Some(db) if db.is_volatile() => {
                db.sticky_enabled = true;
                true
            }
            _ => false,
        }
    }
}
