// SPDX-License-Identifier: GPL-3.0-or-later
//! Counters of a daemon (`spec/database.md 25`, layout `spec/wire.md 9.10`).

use std::time::Duration;

/// Count, minimum, maximum and sum of a duration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latency {
    /// How many.
    pub num: u32,
    /// Shortest, seconds.
    pub min: f64,
    /// Longest, seconds.
    pub max: f64,
    /// Sum, seconds.
    pub total: f64,
    /// Shortest and longest since the last entry of the history; none yet: None.
    recent: Option<(f64, f64)>,
}

impl Latency {
    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        let s = took.as_secs_f64();
        if self.num == 0 || s < self.min {
            self.min = s;
        }
        if s > self.max {
            self.max = s;
        }
        let (min, max) = self.recent.unwrap_or((s, s));
        self.recent = Some((min.min(s), max.max(s)));
        self.total += s;
        self.num = self.num.saturating_add(1);
    }

    /// What was added after `earlier`, which is the same counter as it was then.
    pub fn since(&self, earlier: &Latency) -> Latency {
        let (min, max) = self.recent.unwrap_or_default();
        Latency {
            num: self.num.saturating_sub(earlier.num),
            min,
            max,
            total: (self.total - earlier.total).max(0.0),
            recent: None,
        }
    }

    /// An entry of the history has been made.
    pub fn forget_recent(&mut self) {
        self.recent = None;
    }
}

/// Lock requests that had to wait.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LockStatistics {
    /// Decided.
    pub num_calls: u32,
    /// Being waited for now.
    pub num_current: u32,
    /// Queued, not yet being waited for.
    pub num_pending: u32,
    /// Decided negatively.
    pub num_failed: u32,
    /// Waiting time of those obtained.
    pub latency: Latency,
    /// By waiting time: < 1 ms, < 10 ms, < 100 ms, < 1 s, < 2 s, ... < 64 s, more.
    pub buckets: [u32; 16],
}

impl LockStatistics {
    /// A wait that began `waited` ago was decided.
    pub fn decided(&mut self, ok: bool, waited: Duration) {
        self.num_calls = self.num_calls.saturating_add(1);
        if !ok {
            self.num_failed = self.num_failed.saturating_add(1);
            return;
        }
        self.latency.add(waited);
        let limits_ms = [1, 10, 100, 1000, 2000, 4000, 8000, 16000, 32000, 64000];
        let bucket = limits_ms.iter().take_while(|&&l| waited.as_millis() >= l).count();
        if let Some(b) = self.buckets.get_mut(bucket) {
            *b = b.saturating_add(1);
        }
    }
}

/// Packets by operation.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct OperationCounts {
    pub req_call: u32,
    pub reply_call: u32,
    pub req_dmaster: u32,
    pub reply_dmaster: u32,
    pub reply_error: u32,
    pub req_message: u32,
    pub req_control: u32,
    pub reply_control: u32,
    pub req_tunnel: u32,
}

/// Statistics of a daemon since start or reset. Names are those of the layout.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Statistics {
    /// Connected clients; kept by the proxy service.
    pub num_clients: u32,
    pub client_packets_sent: u32,
    pub client_packets_recv: u32,
    pub node_packets_sent: u32,
    pub node_packets_recv: u32,
    pub keepalive_packets_sent: u32,
    pub keepalive_packets_recv: u32,
    /// From daemons, after the admission test.
    pub node: OperationCounts,
    /// From clients.
    pub client: OperationCounts,
    pub timeouts_control: u32,
    pub timeouts_traverse: u32,
    pub reclock_ctdbd: Latency,
    pub reclock_recd: Latency,
    pub locks: LockStatistics,
    pub total_calls: u32,
    pub pending_calls: u32,
    pub childwrite_calls: u32,
    pub pending_childwrite_calls: u32,
    pub max_hop_count: u32,
    pub hop_count_bucket: [u32; 16],
    pub call_latency: Latency,
    pub childwrite_latency: Latency,
    pub num_recoveries: u32,
    pub total_ro_delegations: u32,
    pub total_ro_revokes: u32,
    /// Set by the database service: all databases are frozen as a whole.
    pub frozen: bool,
    /// Malformed packets: connections closed because of them.
    pub malformed_packets: u32,
}

impl Statistics {
    /// All counters at zero, and what is not a counter as it is now.
    pub fn reset(&self) -> Statistics {
        Statistics {
            num_clients: self.num_clients,
            pending_calls: self.pending_calls,
            pending_childwrite_calls: self.pending_childwrite_calls,
            locks: LockStatistics {
                num_current: self.locks.num_current,
                num_pending: self.locks.num_pending,
                ..LockStatistics::default()
            },
            frozen: self.frozen,
            ..Statistics::default()
        }
    }

    /// An entry of the history has been made.
    pub fn forget_recent(&mut self) {
        self.reclock_ctdbd.forget_recent();
        self.reclock_recd.forget_recent();
        self.locks.latency.forget_recent();
        self.call_latency.forget_recent();
        self.childwrite_latency.forget_recent();
    }
}

/// The bucket of a hop count: its number of significant bits, capped at 15.
pub fn hop_bucket(hopcount: u32) -> usize {
    ((32 - hopcount.leading_zeros()) as usize).min(15)
}
