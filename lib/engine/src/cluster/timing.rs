// SPDX-License-Identifier: GPL-3.0-or-later
//! How long the cluster service waits for what.
//!
//! Intervals that administrators set are tunables and configuration; these are the rest. Between daemons of
//! our own kind they are short: everyone reacts to events at once, so there is little to wait for.

use std::time::Duration;

/// Waiting times that are not configurable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How long a starting node that is connected to all others listens for a leader before it wants to be one.
    pub start_grace: Duration,
    /// How long it waits for nodes that are missing, if a cluster lock decides who may lead. Without a lock it
    /// waits for the leader timeout.
    pub start_wait: Duration,
    /// Between announcements of the leader.
    pub announcement: Duration,
    /// From a failed attempt to take the cluster lock to the next; doubled each time.
    pub lock_retry: Duration,
    /// The longest such pause.
    pub lock_retry_max: Duration,
    /// An election without a lock ends when no candidate has spoken for this long (or ElectionTimeout, if that
    /// is shorter).
    pub election_settle: Duration,
    /// How long a candidate that has been challenged waits before it answers: several challenges get one answer.
    pub election_answer: Duration,
}

impl Default for Timing {
    /// Between daemons of our own kind.
    fn default() -> Timing {
        Timing {
            start_grace: Duration::from_millis(50),
            start_wait: Duration::from_secs(1),
            announcement: Duration::from_secs(1),
            lock_retry: Duration::from_millis(50),
            lock_retry_max: Duration::from_secs(1),
            election_settle: Duration::from_millis(150),
            election_answer: Duration::from_millis(10),
        }
    }
}

impl Timing {
    /// In a cluster with C daemons, which answer a challenge after half a second (`spec/cluster.md 13`).
    pub fn compat() -> Timing {
        Timing { election_settle: Duration::from_secs(3), ..Timing::default() }
    }
}
