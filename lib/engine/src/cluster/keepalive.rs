// SPDX-License-Identifier: GPL-3.0-or-later
//! Links and liveness (`spec/cluster.md 5.5, 6, 7`).
//!
//! A node is connected while both directions of its link are up, which the host reports; nothing that arrives
//! makes it connected. One that has said nothing for KeepaliveLimit intervals is dead: its link is reset.

use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use crate::packet::{endpoint, Body, Endpoint, Local, Packet, Pnn};
use std::time::Duration;

impl Cluster {
    /// Both directions of a link are up.
    pub(super) fn link_up(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        self.connected(pnn);
        self.publish(env);
        // What was said before the connection does not count for it.
        let _ = env.take_heard(pnn);
        self.clear_dead_count(pnn);
        self.announce_to(env, pnn);
        self.tell_flags_to(env, pnn);
        if self.is_leader() {
            self.watch_newcomer(env, pnn);
        } else {
            self.hurry_start(env);
        }
    }

    /// A link is down.
    pub(super) fn link_down(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        if !self.disconnected(pnn) {
            return;
        }
        self.publish(env);
        self.clear_dead_count(pnn);
        self.expire_comparisons(env, Some(pnn));
        self.forget_watched(pnn);
        if let Some(run) = self.run.as_mut() {
            run.link_down(pnn, env);
        }
        if self.view.leader == Some(pnn) {
            log::error!("Leader {pnn} disconnected");
            self.lose_leader(env);
        } else {
            self.candidate_lost(env, pnn);
        }
    }

    fn clear_dead_count(&mut self, pnn: Pnn) {
        if let Some(count) = self.dead_counts.get_mut(pnn as usize) {
            *count = 0;
        }
    }

    pub(super) fn schedule_keepalive(&mut self, env: &mut Env<'_>) {
        let interval = Duration::from_secs(env.tunables().keepalive_interval.max(1).into());
        env.set_timer(Timer::Keepalive.token(), interval);
    }

    /// Counts who has been silent and says that this node is alive.
    pub(super) fn keepalives(&mut self, env: &mut Env<'_>) {
        self.schedule_keepalive(env);
        let limit = env.tunables().keepalive_limit.max(1);
        for pnn in self.view.connected() {
            if pnn == self.me {
                continue;
            }
            let silent = env.take_heard(pnn) == 0;
            let Some(count) = self.dead_counts.get_mut(pnn as usize) else { continue };
            *count = if silent { *count + 1 } else { 0 };
            if *count >= limit {
                log::error!("dead count reached for node {pnn}");
                env.ports.reset_link(pnn, "keepalive limit reached");
                continue;
            }
            self.send_keepalive(env, pnn);
        }
    }

    fn send_keepalive(&self, env: &mut Env<'_>, pnn: Pnn) {
        let sent = &mut env.stats().keepalive_packets_sent;
        *sent = sent.saturating_add(1);
        let body = Body::Keepalive { version: env.config().version, uptime: self.uptime(env) };
        env.send(Packet {
            dst: Endpoint { node: pnn, id: endpoint::BY_COMMAND },
            src: Endpoint { node: self.me, id: endpoint::CLUSTER },
            reqid: 0,
            generation: self.view.generation,
            body,
        });
    }

    fn uptime(&self, env: &Env<'_>) -> u32 {
        u32::try_from(env.now.since(self.started).as_secs()).unwrap_or(u32::MAX)
    }

    /// A keepalive: of two releases that do not belong together the newcomer leaves.
    pub(super) fn keepalive_received(
        &mut self,
        env: &mut Env<'_>,
        source: Pnn,
        version: u32,
        uptime: u32,
    ) {
        let received = &mut env.stats().keepalive_packets_recv;
        *received = received.saturating_add(1);
        let own = env.config().version;
        if env.tunables().allow_mixed_versions == 1 || version == own {
            return;
        }
        let reason = if version == 0 {
            format!("Keepalive version missing from node {source}")
        } else {
            let mine = self.uptime(env);
            if (uptime, version) <= (mine, own) {
                return;
            }
            format!("Keepalive version mismatch {own:#010x} != {version:#010x} from node {source}")
        };
        log::error!("{reason}");
        log::error!("CTDB Cluster with mixed versions, cannot continue");
        env.local(endpoint::RUNTIME, Local::Shutdown { code: 0, reason });
    }
}
