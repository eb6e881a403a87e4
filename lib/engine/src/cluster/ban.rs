// SPDX-License-Identifier: GPL-3.0-or-later
//! Bans, and stop, continue, disable, enable (`spec/cluster.md 21.5, 22`). Only a node itself changes its state.

use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use crate::packet::ControlReply;
use crate::view::flags::{BANNED, PERMANENTLY_DISABLED, STOPPED};
use ctdb_wire::types::BanState;
use std::time::Duration;

impl Cluster {
    /// STOP_NODE.
    pub(super) fn stop_node(&mut self, env: &mut Env<'_>) -> ControlReply {
        log::error!("Stopping node");
        self.set_own_flags(STOPPED, 0);
        self.become_inactive(env);
        ControlReply::status(0)
    }

    /// CONTINUE_NODE. The databases stay frozen until a recovery includes this node.
    pub(super) fn continue_node(&mut self, env: &mut Env<'_>) -> ControlReply {
        log::error!("Continue node");
        self.become_active(env, STOPPED);
        ControlReply::status(0)
    }

    /// Clears an inactive flag.
    fn become_active(&mut self, env: &mut Env<'_>, flag: u32) {
        if self.set_own_flags(0, flag) {
            self.tell_flags(env);
            self.review_leadership(env);
        }
    }

    /// DISABLE_NODE.
    pub(super) fn disable_node(&mut self, env: &mut Env<'_>) -> ControlReply {
        log::error!("Disable node");
        self.set_own_flags(PERMANENTLY_DISABLED, 0);
        self.tell_flags(env);
        ControlReply::status(0)
    }

    /// ENABLE_NODE.
    pub(super) fn enable_node(&mut self, env: &mut Env<'_>) -> ControlReply {
        log::error!("Enable node");
        self.set_own_flags(0, PERMANENTLY_DISABLED);
        self.tell_flags(env);
        ControlReply::status(0)
    }

    /// SET_BAN_STATE.
    pub(super) fn set_ban_state(&mut self, env: &mut Env<'_>, ban: &BanState) -> ControlReply {
        if ban.pnn != self.me {
            return ControlReply::status(-1);
        }
        if ban.time == 0 {
            log::error!("Unbanning this node");
            self.end_ban(env);
            return ControlReply::status(0);
        }
        // Before the running ban's timer is touched: a ban in force keeps its end.
        if env.tunables().enable_bans == 0 {
            log::error!("Bans are disabled - ignoring ban of node {}", ban.pnn);
            return ControlReply::status(0);
        }
        self.ban_self(env, ban.time);
        ControlReply::status(0)
    }

    /// Bans this node; a ban of a banned node only changes its end.
    fn ban_self(&mut self, env: &mut Env<'_>, seconds: u32) {
        log::error!("Banning this node for {seconds} seconds");
        self.ban = Some(seconds);
        env.set_timer(Timer::Ban.token(), Duration::from_secs(seconds.into()));
        if self.set_own_flags(BANNED, 0) {
            self.become_inactive(env);
        }
    }

    fn end_ban(&mut self, env: &mut Env<'_>) {
        env.cancel_timer(Timer::Ban.token());
        self.ban = None;
        self.become_active(env, BANNED);
    }

    /// The ban's time is over.
    pub(super) fn ban_expired(&mut self, env: &mut Env<'_>) {
        if self.ban.is_none() {
            return;
        }
        if !self.frozen {
            log::error!(
                "Banning timed out, but not all databases frozen yet - banning this node again."
            );
            let period = env.tunables().recovery_ban_period.max(1);
            return self.ban_self(env, period);
        }
        log::error!("Banning timed out");
        self.end_ban(env);
    }

    /// GET_BAN_STATE: the length of the ban as it was given.
    pub(super) fn ban_state(&self) -> BanState {
        BanState { pnn: self.me, time: self.ban.unwrap_or(0) }
    }
}
