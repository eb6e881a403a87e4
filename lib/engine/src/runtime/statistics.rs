// SPDX-License-Identifier: GPL-3.0-or-later
//! Statistics as they are reported, and their history: one entry for each StatHistoryInterval
//! (`spec/database.md 25`, `spec/wire.md 9.10`).

use crate::env::Env;
use crate::stats::{Latency, LockStatistics, OperationCounts, Statistics};
use crate::time::WallTime;
use crate::view::RecoveryMode;
use ctdb_wire::types::{
    self, ClientCounters, LatencyCounter, LockCounters, NodeCounters, PaddedList, ReclockLatency,
    StatisticsList, Timeouts, Timeval,
};
use std::collections::VecDeque;

/// Entries of the history.
const ENTRIES: usize = 100;

/// Where counting began, and what was counted in each interval since.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When the totals began.
    start: WallTime,
    /// When the current interval began, and what the totals were then.
    interval_start: WallTime,
    before: Statistics,
    /// Newest first.
    entries: VecDeque<types::Statistics>,
}

impl History {
    pub fn start(&mut self, stats: &Statistics, wall: WallTime) {
        self.start = wall;
        self.interval_start = wall;
        self.before = stats.clone();
    }

    /// An interval is over.
    pub fn tick(&mut self, stats: &mut Statistics, wall: WallTime) {
        let mut entry = layout(&difference(stats, &self.before));
        entry.statistics_start_time = timeval(self.interval_start);
        entry.statistics_current_time = timeval(wall);
        self.entries.truncate(ENTRIES - 1);
        self.entries.push_front(entry);
        stats.forget_recent();
        self.interval_start = wall;
        self.before.clone_from(stats);
    }

    /// STATISTICS_RESET.
    pub fn reset(&mut self, stats: &mut Statistics, wall: WallTime) {
        *stats = stats.reset();
        self.start(stats, wall);
    }

    /// STATISTICS.
    pub fn statistics(&self, env: &mut Env<'_>) -> types::Statistics {
        let mut s = layout(env.stats());
        s.recovering = u32::from(env.view().recovery_mode == RecoveryMode::Active);
        s.memory_used = u32::try_from(env.ports.memory_used()).unwrap_or(u32::MAX);
        s.statistics_start_time = timeval(self.start);
        s.statistics_current_time = timeval(env.wall);
        s
    }

    /// GET_STAT_HISTORY: always the same number of entries; unused ones are zero.
    pub fn list(&self) -> StatisticsList {
        let mut stats: Vec<types::Statistics> = self.entries.iter().copied().collect();
        stats.resize(ENTRIES, types::Statistics::default());
        StatisticsList { stats: PaddedList(stats) }
    }
}

fn timeval(wall: WallTime) -> Timeval {
    Timeval {
        sec: i64::try_from(wall.0.as_secs()).unwrap_or(i64::MAX),
        usec: wall.0.subsec_micros().into(),
    }
}

fn latency(l: &Latency) -> LatencyCounter {
    LatencyCounter {
        num: i32::try_from(l.num).unwrap_or(i32::MAX),
        min: l.min,
        max: l.max,
        total: l.total,
    }
}

/// The counters in their layout; times, and what is computed at query time, are left out.
fn layout(s: &Statistics) -> types::Statistics {
    types::Statistics {
        num_clients: s.num_clients,
        frozen: u32::from(s.frozen),
        client_packets_sent: s.client_packets_sent,
        client_packets_recv: s.client_packets_recv,
        node_packets_sent: s.node_packets_sent,
        node_packets_recv: s.node_packets_recv,
        keepalive_packets_sent: s.keepalive_packets_sent,
        keepalive_packets_recv: s.keepalive_packets_recv,
        node: NodeCounters {
            req_call: s.node.req_call,
            reply_call: s.node.reply_call,
            req_dmaster: s.node.req_dmaster,
            reply_dmaster: s.node.reply_dmaster,
            reply_error: s.node.reply_error,
            req_message: s.node.req_message,
            req_control: s.node.req_control,
            reply_control: s.node.reply_control,
            req_tunnel: s.node.req_tunnel,
        },
        client: ClientCounters {
            req_call: s.client.req_call,
            req_message: s.client.req_message,
            req_control: s.client.req_control,
            req_tunnel: s.client.req_tunnel,
        },
        timeouts: Timeouts { call: 0, control: s.timeouts_control, traverse: s.timeouts_traverse },
        reclock: ReclockLatency {
            ctdbd: latency(&s.reclock_ctdbd),
            recd: latency(&s.reclock_recd),
        },
        locks: LockCounters {
            num_calls: s.locks.num_calls,
            num_current: s.locks.num_current,
            num_pending: s.locks.num_pending,
            num_failed: s.locks.num_failed,
            latency: latency(&s.locks.latency),
            buckets: s.locks.buckets,
        },
        total_calls: s.total_calls,
        pending_calls: s.pending_calls,
        childwrite_calls: s.childwrite_calls,
        pending_childwrite_calls: s.pending_childwrite_calls,
        max_hop_count: s.max_hop_count,
        hop_count_bucket: s.hop_count_bucket,
        call_latency: latency(&s.call_latency),
        childwrite_latency: latency(&s.childwrite_latency),
        num_recoveries: s.num_recoveries,
        total_ro_delegations: s.total_ro_delegations,
        total_ro_revokes: s.total_ro_revokes,
        ..types::Statistics::default()
    }
}

fn operations(now: &OperationCounts, then: &OperationCounts) -> OperationCounts {
    OperationCounts {
        req_call: now.req_call.wrapping_sub(then.req_call),
        reply_call: now.reply_call.wrapping_sub(then.reply_call),
        req_dmaster: now.req_dmaster.wrapping_sub(then.req_dmaster),
        reply_dmaster: now.reply_dmaster.wrapping_sub(then.reply_dmaster),
        reply_error: now.reply_error.wrapping_sub(then.reply_error),
        req_message: now.req_message.wrapping_sub(then.req_message),
        req_control: now.req_control.wrapping_sub(then.req_control),
        reply_control: now.reply_control.wrapping_sub(then.reply_control),
        req_tunnel: now.req_tunnel.wrapping_sub(then.req_tunnel),
    }
}

fn buckets(now: &[u32; 16], then: &[u32; 16]) -> [u32; 16] {
    let mut out = *now;
    for (to, earlier) in out.iter_mut().zip(then) {
        *to = to.wrapping_sub(*earlier);
    }
    out
}

/// What was counted between two moments; what is not a counter is as it is now.
fn difference(now: &Statistics, then: &Statistics) -> Statistics {
    let minus = u32::wrapping_sub;
    Statistics {
        client_packets_sent: minus(now.client_packets_sent, then.client_packets_sent),
        client_packets_recv: minus(now.client_packets_recv, then.client_packets_recv),
        node_packets_sent: minus(now.node_packets_sent, then.node_packets_sent),
        node_packets_recv: minus(now.node_packets_recv, then.node_packets_recv),
        keepalive_packets_sent: minus(now.keepalive_packets_sent, then.keepalive_packets_sent),
        keepalive_packets_recv: minus(now.keepalive_packets_recv, then.keepalive_packets_recv),
        node: operations(&now.node, &then.node),
        client: operations(&now.client, &then.client),
        timeouts_control: minus(now.timeouts_control, then.timeouts_control),
        timeouts_traverse: minus(now.timeouts_traverse, then.timeouts_traverse),
        reclock_ctdbd: now.reclock_ctdbd.since(&then.reclock_ctdbd),
        reclock_recd: now.reclock_recd.since(&then.reclock_recd),
        locks: LockStatistics {
            num_calls: minus(now.locks.num_calls, then.locks.num_calls),
            num_failed: minus(now.locks.num_failed, then.locks.num_failed),
            latency: now.locks.latency.since(&then.locks.latency),
            buckets: buckets(&now.locks.buckets, &then.locks.buckets),
            ..now.locks
        },
        total_calls: minus(now.total_calls, then.total_calls),
        childwrite_calls: minus(now.childwrite_calls, then.childwrite_calls),
        hop_count_bucket: buckets(&now.hop_count_bucket, &then.hop_count_bucket),
        call_latency: now.call_latency.since(&then.call_latency),
        childwrite_latency: now.childwrite_latency.since(&then.childwrite_latency),
        num_recoveries: minus(now.num_recoveries, then.num_recoveries),
        total_ro_delegations: minus(now.total_ro_delegations, then.total_ro_delegations),
        total_ro_revokes: minus(now.total_ro_revokes, then.total_ro_revokes),
        ..now.clone()
    }
}
