// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster lock, as the one who wants to lead sees it (`spec/cluster.md 14, 15`).
//!
//! ```text
//! Free --Take--> Taking --Taken--> Held --Lost--> Free
//!   ^               |                |
//!   +-- Contended --+--- Release ----+
//! ```
//!
//! With a lock configured a node is leader exactly while it holds the lock.

use super::leader::Phase;
use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use crate::ports::{LockEvent, LockRequest};
use crate::time::Time;
use std::time::Duration;

/// What we have of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Lock {
    /// Nothing.
    #[default]
    Free,
    /// A helper is trying to take it, since when.
    Taking(Time),
    /// A helper holds it for us.
    Held,
}

impl Lock {
    pub fn is_held(self) -> bool {
        self == Lock::Held
    }
}

impl Cluster {
    pub(super) fn has_lock_configured(&self, env: &Env<'_>) -> bool {
        env.config().cluster_lock.is_some()
    }

    /// Tries to take the lock, unless that is going on already.
    pub(super) fn take_lock(&mut self, env: &mut Env<'_>) {
        if self.lock == Lock::Free {
            let lock = env.config().cluster_lock.clone().unwrap_or_default();
            log::info!("Attempting to take cluster lock ({lock})");
            self.lock = Lock::Taking(env.now);
            env.ports.cluster_lock(LockRequest::Take);
        }
    }

    /// Gives it up or stops trying.
    pub(super) fn release_lock(&mut self, env: &mut Env<'_>) {
        match self.lock {
            Lock::Free => return,
            Lock::Taking(_) => log::error!("Cancelling cluster lock"),
            Lock::Held => log::error!("Releasing cluster lock"),
        }
        self.lock = Lock::Free;
        env.ports.cluster_lock(LockRequest::Release);
    }

    /// News from the helpers.
    pub(super) fn lock_event(&mut self, env: &mut Env<'_>, event: LockEvent) {
        match event {
            LockEvent::Contended { test: true }
            | LockEvent::Failed { test: true, .. }
            | LockEvent::TestTaken => self.lock_tested(env, event),
            LockEvent::Taken => self.lock_taken(env),
            LockEvent::Contended { test: false } => self.lock_refused(env, "contention"),
            LockEvent::Failed { test: false, timeout: true } => self.lock_refused(env, "timeout"),
            LockEvent::Failed { test: false, timeout: false } => {
                self.lock_refused(env, "unknown error");
            }
            LockEvent::Lost => self.lock_lost(env),
        }
    }

    fn lock_taken(&mut self, env: &mut Env<'_>) {
        let Lock::Taking(since) = self.lock else {
            // It was given up while it was being taken.
            env.ports.cluster_lock(LockRequest::Release);
            return;
        };
        self.lock = Lock::Held;
        let took = env.now.since(since);
        env.stats().reclock_recd.add(took);
        self.warn_latency(env, took, "recd reclock");
        if !self.can_lead() {
            return self.release_lock(env);
        }
        log::error!("Cluster lock taken successfully");
        log::error!("Took cluster lock, leader={}", self.me);
        self.become_leader(env);
    }

    fn lock_refused(&mut self, env: &mut Env<'_>, why: &str) {
        if !matches!(self.lock, Lock::Taking(_)) {
            return;
        }
        self.lock = Lock::Free;
        let Phase::Racing { pause } = &mut self.phase else { return };
        let wait = *pause;
        *pause = (wait * 2).min(self.timing.lock_retry_max);
        // Once at the highest level: it goes on like this for as long as someone else has it.
        if wait == self.timing.lock_retry {
            log::error!("Unable to take cluster lock - {why}");
        } else {
            log::info!("Unable to take cluster lock - {why}");
        }
        env.set_timer(Timer::LockRetry.token(), wait);
    }

    fn lock_lost(&mut self, env: &mut Env<'_>) {
        match self.lock {
            Lock::Free => {}
            Lock::Taking(_) => self.lock_refused(env, "unknown error"),
            Lock::Held => {
                log::error!("Cluster lock helper terminated");
                self.lock = Lock::Free;
                self.lose_leader(env);
            }
        }
    }

    pub(super) fn warn_latency(&self, env: &Env<'_>, took: Duration, operation: &str) {
        let limit = Duration::from_millis(env.tunables().rec_lock_latency_ms.into());
        if limit > Duration::ZERO && took > limit {
            log::error!(
                "High RECLOCK latency {:.6}s for operation {operation}",
                took.as_secs_f64()
            );
        }
    }
}
