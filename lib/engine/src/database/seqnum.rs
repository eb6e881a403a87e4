// SPDX-License-Identifier: GPL-3.0-or-later
//! Sequence numbers (`spec/database.md 16`): the content sequence number of persistent databases, and the
//! broadcast of changes of volatile ones.

use super::record::HEADER;
use super::{Database, FreezeState, Timer};
use crate::env::Env;
use crate::packet::{endpoint, Control, ControlReply, DbId, Packet};
use ctdb_wire::control::Opcode;
use ctdb_wire::flags::SEQNUM_KEY;
use ctdb_wire::Encode;
use std::time::Duration;

impl Database {
    /// GET_DB_SEQNUM.
    pub(super) fn db_seqnum(&self, env: &mut Env<'_>, id: DbId) -> Option<ControlReply> {
        let refused = Some(ControlReply::status(-1));
        let Some(db) = self.dbs.get(&id) else { return refused };
        let readable = match db.freeze {
            FreezeState::None => true,
            FreezeState::Frozen => db.transaction.is_some() && !db.is_committing(),
            FreezeState::AfterWrite | FreezeState::Pending => false,
        };
        if !readable {
            return refused;
        }
        let value = match env.store().read(id, SEQNUM_KEY) {
            Ok(value) => value.unwrap_or_default(),
            Err(error) => {
                log::error!("cannot read the sequence number: {error}");
                return refused;
            }
        };
        let number = value.get(HEADER..).and_then(|data| <[u8; 8]>::try_from(data).ok());
        Some(ControlReply::data(number.map_or(0, u64::from_le_bytes).to_vec()))
    }

    /// ENABLE_SEQNUM.
    pub(super) fn enable_seqnum(&mut self, env: &mut Env<'_>, id: DbId) -> bool {
        let Some(db) = self.dbs.get_mut(&id) else { return false };
        if db.seqnum.is_some() {
            return true;
        }
        if let Err(error) = env.store().enable_seqnum(id) {
            log::error!("cannot enable the sequence number: {error}");
            return false;
        }
        db.seqnum = Some(env.store().tdb_seqnum(id).unwrap_or(0));
        env.set_timer(Timer::Seqnum(id).token(), interval(env));
        true
    }

    pub(super) fn broadcast_seqnum(&mut self, env: &mut Env<'_>, id: DbId) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let Some(last) = db.seqnum else { return };
        let now = env.store().tdb_seqnum(id).unwrap_or(last);
        if now != last {
            db.seqnum = Some(now);
            let control = Control {
                opcode: Opcode::UpdateSeqnum as u32,
                data: id.to_vec().into(),
                ..Control::default()
            };
            env.notify(endpoint::BROADCAST_ACTIVE, control);
        }
        env.set_timer(Timer::Seqnum(id).token(), interval(env));
    }

    /// UPDATE_SEQNUM.
    pub(super) fn update_seqnum(&mut self, env: &mut Env<'_>, packet: &Packet, id: DbId) -> bool {
        if packet.src.node == env.pnn() {
            return true;
        }
        let Some(db) = self.dbs.get_mut(&id).filter(|db| db.unhealthy.is_none()) else {
            return false;
        };
        let before = db.seqnum.map(|last| (last, env.store().tdb_seqnum(id).unwrap_or(last)));
        if let Err(error) = env.store().increment_seqnum(id) {
            log::warn!("cannot raise the sequence number: {error}");
            return false;
        }
        if let Some((last, before)) = before {
            // Not echoed, but changes of our own that were not broadcast yet still are.
            if last == before {
                db.seqnum = env.store().tdb_seqnum(id).or(Some(last));
            }
        }
        true
    }
}

fn interval(env: &Env<'_>) -> Duration {
    Duration::from_millis(u64::from(env.tunables().seqnum_interval.max(1)))
}
