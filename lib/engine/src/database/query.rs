// SPDX-License-Identifier: GPL-3.0-or-later
//! What may be asked about databases (`spec/database.md 3.10`), and health (23).

use super::Database;
use crate::env::Env;
use crate::packet::{ControlReply, DbId};
use crate::ports::DbKind;
use crate::view::RunState;
use ctdb_wire::types::{Dbid, DbidMap};
use ctdb_wire::{Encode, Text};

fn text(text: &str) -> ControlReply {
    ControlReply::data(Some(Text::from(text)).to_vec())
}

fn answer(reply: Option<ControlReply>) -> Option<ControlReply> {
    Some(reply.unwrap_or_else(|| ControlReply::status(-1)))
}

impl Database {
    /// GETDBPATH.
    pub(super) fn db_path(&self, env: &mut Env<'_>, id: DbId) -> Option<ControlReply> {
        answer(self.dbs.get(&id).and_then(|_| env.store().path(id)).map(|path| text(&path)))
    }

    /// GET_DBMAP: the most recently attached first.
    pub(super) fn db_map(&self) -> Option<ControlReply> {
        let latest = self.order.iter().rev().filter_map(|id| self.dbs.get(id));
        let dbs = latest.map(|db| Dbid { db_id: db.id, flags: db.flags() }).collect();
        Some(ControlReply::data(DbidMap { dbs }.to_vec()))
    }

    /// GET_DBNAME.
    pub(super) fn db_name(&self, id: DbId) -> Option<ControlReply> {
        answer(self.dbs.get(&id).map(|db| text(&db.name)))
    }

    /// DB_OPEN_FLAGS.
    pub(super) fn open_flags(&self, env: &mut Env<'_>, id: DbId) -> Option<ControlReply> {
        let flags = self.dbs.get(&id).and_then(|_| env.store().open_flags(id));
        answer(flags.map(|flags| ControlReply::data(flags.to_vec())))
    }

    /// DB_GET_HEALTH: no payload means healthy.
    pub(super) fn db_health(&self, id: DbId) -> Option<ControlReply> {
        answer(self.dbs.get(&id).map(|db| match &db.unhealthy {
            Some(reason) => text(reason),
            None => ControlReply::status(0),
        }))
    }

    /// DB_SET_HEALTHY (23.4).
    pub(super) fn set_healthy(&mut self, env: &mut Env<'_>, id: DbId) -> Option<ControlReply> {
        let Some(db) = self.dbs.get_mut(&id) else { return answer(None) };
        if db.kind == DbKind::Persistent {
            if let Err(error) = env.store().set_health(&db.name, None) {
                log::error!("cannot store the health of {}: {error}", db.name);
                return answer(None);
            }
        }
        if db.unhealthy.take().is_some() && env.view().run_state == RunState::Startup {
            self.force_recovery(env, "a database was marked healthy during start-up");
        }
        answer(Some(ControlReply::status(0)))
    }

    /// A recovery was committed: the content is good again if any node is healthy.
    pub(super) fn update_health(&mut self, env: &mut Env<'_>, id: DbId) {
        const NONE_HEALTHY: &str = "NO-HEALTHY-NODES - ";
        let view = env.view();
        let any_healthy = view.nodes.iter().any(|node| node.flags == 0);
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let Some(reason) = db.unhealthy.take() else { return };
        if any_healthy {
            log::warn!("Updated db health for db({}): OK", db.name);
        } else if reason.starts_with(NONE_HEALTHY) {
            db.unhealthy = Some(reason);
            return;
        } else {
            db.unhealthy = Some(format!("{NONE_HEALTHY}{reason}"));
        }
        if let Err(error) = env.store().set_health(&db.name, db.unhealthy.as_deref()) {
            log::error!("cannot store the health of {}: {error}", db.name);
        }
    }
}
