// SPDX-License-Identifier: GPL-3.0-or-later
//! Counters of each database and its hot keys (`spec/database.md 25`).

use super::{Database, Timer};
use crate::env::Env;
use crate::packet::{ControlReply, DbId};
use crate::stats::{hop_bucket, Latency, LockStatistics};
use crate::time::Time;
use bytes::Bytes;
use ctdb_wire::types::{
    DbStatistics, HotKey, HotKeys, LatencyCounter, LockCounters, VacuumLatency, HOT_KEYS,
};
use ctdb_wire::Encode;
use std::collections::BTreeMap;
use std::time::Duration;

use super::chain_queue::hex;

/// Keys whose migrations are counted at a time.
const COUNTED_MAX: usize = 10_000;
const WINDOW: Duration = Duration::from_secs(1);
const PURGE_INTERVAL: Duration = Duration::from_secs(10);

/// Counters of one database.
#[derive(Default)]
pub(super) struct DbCounters {
    pub locks: LockStatistics,
    pub vacuum: Latency,
    pub ro_delegations: u32,
    pub ro_revokes: u32,
    hop_count_bucket: [u32; 16],
    /// Migrations of each key within a second.
    migrations: BTreeMap<Bytes, Migrations>,
    /// Ascending by count.
    hot: Vec<Hot>,
    /// When the freeze that is not decided yet was asked for.
    pub freeze_since: Option<Time>,
}

struct Migrations {
    count: u32,
    since: Time,
}

struct Hot {
    count: u32,
    logged: u32,
    key: Bytes,
}

impl DbCounters {
    /// Counts a migration of `key` to this node.
    fn migrated(&mut self, name: &str, key: &Bytes, now: Time) {
        let full = self.migrations.len() >= COUNTED_MAX;
        let count = match self.migrations.get_mut(key) {
            Some(m) if now.since(m.since) <= WINDOW => {
                m.count = m.count.saturating_add(1);
                m.count
            }
            Some(m) => {
                *m = Migrations { count: 1, since: now };
                1
            }
            None if !full => {
                let key = Bytes::copy_from_slice(key);
                self.migrations.insert(key, Migrations { count: 1, since: now });
                1
            }
            None => return,
        };
        self.rank(name, key, count);
    }

    /// Keeps the highest counts seen.
    fn rank(&mut self, name: &str, key: &Bytes, count: u32) {
        let known = self.hot.iter().position(|h| h.key == key);
        if let Some(hot) = known.and_then(|at| self.hot.get_mut(at)) {
            if count <= hot.count {
                return;
            }
            hot.count = count;
            if count >= hot.logged.saturating_mul(2) {
                hot.logged = count;
                log::info!("Updated hot key database={name} key={} count={count}", hex(key));
            }
        } else {
            if self.hot.len() >= HOT_KEYS {
                if self.hot.first().is_some_and(|lowest| count <= lowest.count) {
                    return;
                }
                self.hot.remove(0);
            }
            self.hot.push(Hot { count, logged: count, key: Bytes::copy_from_slice(key) });
            log::info!("Added hot key database={name} key={} count={count}", hex(key));
        }
        self.hot.sort_by_key(|h| h.count);
    }

    fn statistics(&self) -> DbStatistics {
        let mut hot_keys: [HotKey; HOT_KEYS] = Default::default();
        for (slot, hot) in hot_keys.iter_mut().zip(&self.hot) {
            *slot = HotKey { count: hot.count, key: hot.key.to_vec() };
        }
        DbStatistics {
            locks: lock_counters(&self.locks),
            vacuum: VacuumLatency { latency: latency_counter(&self.vacuum) },
            db_ro_delegations: self.ro_delegations,
            db_ro_revokes: self.ro_revokes,
            hop_count_bucket: self.hop_count_bucket,
            num_hot_keys: HOT_KEYS as u32,
            hot_keys: HotKeys(hot_keys),
        }
    }
}

fn latency_counter(latency: &Latency) -> LatencyCounter {
    LatencyCounter {
        num: i32::try_from(latency.num).unwrap_or(i32::MAX),
        min: latency.min,
        max: latency.max,
        total: latency.total,
    }
}

fn lock_counters(locks: &LockStatistics) -> LockCounters {
    LockCounters {
        num_calls: locks.num_calls,
        num_current: locks.num_current,
        num_pending: locks.num_pending,
        num_failed: locks.num_failed,
        latency: latency_counter(&locks.latency),
        buckets: locks.buckets,
    }
}

impl Database {
    /// GET_DB_STATISTICS.
    pub(super) fn db_statistics(&self, _env: &mut Env<'_>, id: DbId) -> Option<ControlReply> {
        Some(match self.dbs.get(&id) {
            Some(db) => ControlReply::data(db.counters.statistics().to_vec()),
            None => ControlReply::status(-1),
        })
    }

    /// A call is answered after this many redirects.
    pub(super) fn count_hop(&mut self, env: &mut Env<'_>, id: DbId, hops: u32) {
        let bucket = hop_bucket(hops);
        let stats = env.stats();
        stats.max_hop_count = stats.max_hop_count.max(hops);
        let of_db = self.dbs.get_mut(&id).map(|db| &mut db.counters.hop_count_bucket);
        for buckets in of_db.into_iter().chain([&mut stats.hop_count_bucket]) {
            if let Some(n) = buckets.get_mut(bucket) {
                *n = n.wrapping_add(1);
            }
        }
    }

    /// This node became dmaster of a record for one of its callers.
    pub(super) fn count_migration(&mut self, env: &mut Env<'_>, id: DbId, key: &Bytes) {
        let now = env.now;
        let Some(db) = self.dbs.get_mut(&id) else { return };
        if db.counters.migrations.is_empty() {
            env.set_timer(Timer::HotKeys.token(), PURGE_INTERVAL);
        }
        db.counters.migrated(&db.name, key, now);
    }

    pub(super) fn purge_hot_keys(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let mut any = false;
        for db in self.dbs.values_mut() {
            db.counters.migrations.retain(|_, m| now.since(m.since) <= WINDOW);
            any |= !db.counters.migrations.is_empty();
        }
        if any {
            env.set_timer(Timer::HotKeys.token(), PURGE_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_keys_are_the_highest_counts_in_ascending_order() {
        let mut counters = DbCounters::default();
        let second = |n: u64| Time(n * 1_000_000_000);
        for n in 0..12u8 {
            for _ in 0..=n {
                counters.migrated("x.tdb", &Bytes::copy_from_slice(&[n]), second(n.into()));
            }
        }
        let hot = counters.statistics().hot_keys.0;
        let seen: Vec<(u32, Vec<u8>)> = hot.iter().map(|h| (h.count, h.key.clone())).collect();
        let expected: Vec<_> = (2..12u8).map(|n| (u32::from(n) + 1, vec![n])).collect();
        assert_eq!(seen, expected);
        // A second later the count begins anew, and the table keeps the maximum.
        counters.migrated("x.tdb", &Bytes::from_static(&[11]), second(20));
        assert_eq!(counters.statistics().hot_keys.0[9].count, 12);
    }

    #[test]
    fn unused_slots_are_reported() {
        let statistics = DbCounters::default().statistics();
        assert_eq!(statistics.num_hot_keys, 10);
        assert!(statistics.hot_keys.0.iter().all(|h| h.count == 0 && h.key.is_empty()));
    }
}
