// SPDX-License-Identifier: GPL-3.0-or-later
//! DB_PULL (`spec/database.md 20.5`): the whole content of a frozen database goes to the requesting node, as
//! messages with record buffers, and the reply after them. In slices of one turn each, and not faster than
//! the link takes it.

use super::db::FreezeState;
use super::{Database, Timer};
use crate::env::{Env, ReplyTo};
use crate::packet::{endpoint, Body, ControlReply, DbId, Endpoint, Packet, Pnn};
use crate::ports::ScanCursor;
use bytes::Bytes;
use ctdb_wire::types::{PulldbExt, RecBuffer, RecData};
use ctdb_wire::Encode;
use std::time::Duration;

/// Pulls that may run at a time.
pub const PULLS_MAX: usize = 1000;
/// Bytes that may wait on a link before a bulk sender pauses.
pub(super) const BACKLOG_MAX: usize = 4 << 20;

const SLICE: usize = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// A pull that runs.
pub(super) struct Pull {
    db: DbId,
    to: Pnn,
    srvid: u64,
    reply: ReplyTo,
    cursor: ScanCursor,
    buffer: RecBuffer<'static>,
    count: u32,
}

impl Database {
    pub(super) fn pull_request(
        &mut self,
        env: &mut Env<'_>,
        packet: &Packet,
        request: &PulldbExt,
        reply: ReplyTo,
    ) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let Some(db) = self.dbs.get(&request.db_id) else { return refused };
        if db.freeze != FreezeState::Frozen || db.is_committing() || self.pulls.len() >= PULLS_MAX {
            return refused;
        }
        if let Some(reason) = &db.unhealthy {
            log::warn!("pull from unhealthy database {}: {reason}", db.name);
        }
        if db.invalid {
            return Some(ControlReply::data(0u32.to_vec()));
        }
        let pull = Pull {
            db: request.db_id,
            to: packet.src.node,
            srvid: request.srvid,
            reply,
            cursor: ScanCursor::default(),
            buffer: RecBuffer::new(request.db_id),
            count: 0,
        };
        let id = self.next_job();
        self.pulls.insert(id, pull);
        self.continue_pull(env, id);
        None
    }

    pub(super) fn continue_pull(&mut self, env: &mut Env<'_>, id: u32) {
        let limit = env.tunables().rec_buffer_size_limit as usize;
        let Some(pull) = self.pulls.get_mut(&id) else { return };
        if env.ports.link_backlog(pull.to) > BACKLOG_MAX {
            return env.set_timer(Timer::Pull(id).token(), PAUSE);
        }
        let mut full: Vec<Bytes> = Vec::new();
        let Pull { cursor, buffer, count, .. } = pull;
        let before = cursor.clone();
        let result = env.store().scan(pull.db, cursor, SLICE, &mut |key, data| {
            buffer.push(&RecData { reqid: 0, key, data });
            *count = count.saturating_add(1);
            if buffer.size() >= limit {
                full.push(buffer.to_vec().into());
                buffer.clear();
            }
        });
        let done = pull.cursor.done;
        let wait = if pull.cursor == before { PAUSE } else { Duration::ZERO };
        let (to, srvid, reply, count) = (pull.to, pull.srvid, pull.reply, pull.count);
        if done && pull.buffer.count() > 0 {
            full.push(pull.buffer.to_vec().into());
        }
        for data in full {
            self.send_message(env, to, srvid, data);
        }
        if let Err(error) = result {
            log::error!("pull failed: {error}");
            self.pulls.remove(&id);
            env.reply(&reply, ControlReply::status(-1));
        } else if done {
            self.pulls.remove(&id);
            env.reply(&reply, ControlReply::data(count.to_vec()));
        } else {
            env.set_timer(Timer::Pull(id).token(), wait);
        }
    }

    fn send_message(&self, env: &mut Env<'_>, to: Pnn, srvid: u64, data: Bytes) {
        let generation = env.view().generation;
        env.send(Packet {
            dst: Endpoint { node: to, id: endpoint::BY_COMMAND },
            src: self.own_endpoint(env),
            reqid: 0,
            generation,
            body: Body::Message { srvid, data },
        });
    }

    /// The content changes or the lock goes: pulls of this database fail.
    pub(super) fn abort_pulls(&mut self, env: &mut Env<'_>, db: DbId) {
        let ids: Vec<u32> =
            self.pulls.iter().filter(|(_, p)| p.db == db).map(|(id, _)| *id).collect();
        for id in ids {
            env.cancel_timer(Timer::Pull(id).token());
            if let Some(pull) = self.pulls.remove(&id) {
                env.reply(&pull.reply, ControlReply::status(-1));
            }
        }
    }
}
