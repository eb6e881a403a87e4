// SPDX-License-Identifier: GPL-3.0-or-later
//! Sticky records (`spec/database.md 12`): a record that calls had to chase stays a moment on each node that
//! gets it, so that several local clients can work on it before it leaves again.

use super::chain_queue::CHAIN_QUEUE_MAX;
use super::{Database, Timer};
use crate::env::Env;
use crate::hash::jenkins;
use crate::packet::{DbId, Packet};
use crate::time::Time;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// Records of one database that may be sticky at a time.
pub const STICKY_MAX: usize = 10_000;

/// A record that is marked sticky.
pub(super) struct Sticky {
    until: Time,
    /// Calls of daemons wait until then.
    pinned: Option<Time>,
    queue: VecDeque<Packet>,
}

impl Database {
    /// A call is about to be answered: mark the record if the call had to chase it.
    pub(super) fn mark_sticky(&mut self, env: &mut Env<'_>, id: DbId, key: &Bytes, hops: u32) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let tunables = env.tunables();
        if !db.sticky_enabled || hops < tunables.hopcount_make_sticky {
            return;
        }
        let duration = tunables.sticky_duration;
        if db.sticky.len() >= STICKY_MAX || db.sticky.contains_key(key) {
            return;
        }
        log::error!(
            "Make record sticky for {duration} seconds in db {} key:0x{:08x}.",
            db.name,
            jenkins(key)
        );
        let until = env.now.plus(Duration::from_secs(duration.into()));
        let sticky = Sticky { until, pinned: None, queue: VecDeque::new() };
        db.sticky.insert(Bytes::copy_from_slice(key), sticky);
        self.set_sticky_timer(env);
    }

    /// This node became dmaster: if the record is marked, it stays for a moment.
    pub(super) fn pin_down(&mut self, env: &mut Env<'_>, id: DbId, key: &Bytes) {
        let Some(db) = self.dbs.get_mut(&id) else { return };
        let Some(sticky) = db.sticky.get_mut(key).filter(|s| s.pinned.is_none()) else { return };
        let pindown = env.tunables().sticky_pindown;
        log::error!("Pinning down record in {} for {pindown} ms", db.name);
        sticky.pinned = Some(env.now.plus(Duration::from_millis(pindown.into())));
        self.set_sticky_timer(env);
    }

    /// Queues a daemon's call for a record that is pinned down.
    pub(super) fn pinned_down(
        &mut self,
        env: &mut Env<'_>,
        id: DbId,
        key: &Bytes,
        packet: Packet,
    ) -> Option<Packet> {
        let db = self.dbs.get_mut(&id)?;
        if db.sticky.is_empty() {
            return Some(packet);
        }
        let now = env.now;
        match db.sticky.get_mut(key) {
            Some(s) if s.pinned.is_some_and(|until| until > now) => {
                if s.queue.len() >= CHAIN_QUEUE_MAX {
                    return Some(packet);
                }
                log::warn!("Defer request for pinned down record in {}", db.name);
                s.queue.push_back(packet);
                None
            }
            _ => Some(packet),
        }
    }

    pub(super) fn expire_sticky(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let mut released = Vec::new();
        for db in self.dbs.values_mut() {
            let name = &db.name;
            db.sticky.retain(|_, sticky| {
                let marked = sticky.until > now;
                if !marked || sticky.pinned.is_some_and(|until| until <= now) {
                    if sticky.pinned.take().is_some() {
                        log::error!("Pindown timeout db:{name} unstick record");
                    }
                    released.extend(std::mem::take(&mut sticky.queue));
                }
                marked
            });
        }
        for packet in released {
            env.send(packet);
        }
        self.set_sticky_timer(env);
    }

    fn set_sticky_timer(&self, env: &mut Env<'_>) {
        let all = self.dbs.values().flat_map(|db| db.sticky.values());
        let next = all.map(|s| s.pinned.map_or(s.until, |pinned| pinned.min(s.until))).min();
        if let Some(next) = next {
            env.set_timer(Timer::Sticky.token(), next.since(env.now));
        }
    }
}
