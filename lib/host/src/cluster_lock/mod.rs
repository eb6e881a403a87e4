// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's side of the cluster lock (`spec/cluster.md 15`): a helper program takes the lock, says so with one
//! character, and holds it until it is told to stop.
//!
//! Each helper has a thread of its own that starts it, waits for it and collects it ([`helper`]). Requests return
//! at once; what becomes of them is told to a callback. Only the latest attempt to take the lock is heard:
//! [`ClusterLock::accept`] tells news that were on their way when the engine changed its mind from current ones.

mod command;
mod helper;

pub use command::{CommandError, HelperCommand};

use ctdb_engine::ports::{LockEvent, LockRequest};
use helper::{Helper, Purpose};
use std::sync::Arc;
use std::time::Duration;

/// Time limits of a helper.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To take the lock.
    pub take: Duration,
    /// To see that somebody else has it.
    pub test: Duration,
    /// From being told to stop until it is killed.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            take: Duration::from_secs(120),
            test: Duration::from_secs(5),
            stop: Duration::from_secs(30),
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockNews {
    /// Which request it is about.
    pub attempt: u64,
    /// What happened.
    pub event: LockEvent,
    /// Time since the helper was started: the latency that statistics show.
    pub elapsed: Duration,
}

/// Where news go. Called from the helpers' threads.
pub type Notify = Arc<dyn Fn(LockNews) + Send + Sync>;

/// The cluster lock of one daemon.
pub struct ClusterLock {
    command: HelperCommand,
    limits: Limits,
    notify: Notify,
    attempts: u64,
    taking: Option<Helper>,
    testing: Option<Helper>,
}

impl ClusterLock {
    /// A lock that nobody has asked for yet.
    pub fn new(command: HelperCommand, limits: Limits, notify: Notify) -> ClusterLock {
        ClusterLock { command, limits, notify, attempts: 0, taking: None, testing: None }
    }

    /// Starts to do what the engine wants; never waits.
    pub fn request(&mut self, request: LockRequest) {
        match request {
            LockRequest::Take => {
                let previous = self.taking.take();
                self.taking = Some(self.start(Purpose::Take, self.limits.take, previous));
            }
            LockRequest::Test => {
                let previous = self.testing.take();
                self.testing = Some(self.start(Purpose::Test, self.limits.test, previous));
            }
            LockRequest::Release => {
                if let Some(helper) = &mut self.taking {
                    helper.stop();
                }
            }
        }
    }

    /// The event if the news is about a request that still stands.
    pub fn accept(&self, news: LockNews) -> Option<LockEvent> {
        let current = [&self.taking, &self.testing].into_iter().flatten();
        current.into_iter().any(|h| h.is_current(news.attempt)).then_some(news.event)
    }

    /// A new helper, which begins once `previous` has given the lock up: it must not contend with our own.
    fn start(&mut self, purpose: Purpose, limit: Duration, previous: Option<Helper>) -> Helper {
        self.attempts += 1;
        Helper::start(helper::Plan {
            attempt: self.attempts,
            command: self.command.clone(),
            purpose,
            limit,
            stop_limit: self.limits.stop,
            notify: Arc::clone(&self.notify),
            previous,
        })
    }
}
