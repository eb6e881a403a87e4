// SPDX-License-Identifier: GPL-3.0-or-later
//! The tunables: 32-bit run-time variables of a daemon (`spec/events-config.md 8`).
//!
//! The table below is in the order that listings use. The index is the position in the fixed structure of
//! GET_ALL_TUNABLES.

/// Whether a tunable is listed and has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Listed by tools.
    Live,
    /// Can be read and stored, has no effect, is not listed.
    Obsolete,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunable {
    /// The name as listings spell it.
    pub name: &'static str,
    /// The default.
    pub default: u32,
    /// Position in GET_ALL_TUNABLES.
    pub index: usize,
    /// Live or obsolete.
    pub status: Status,
}

macro_rules! tunables {
    ($($(#[$doc:meta])* ($field:ident, $name:literal, $default:literal, $index:literal, $status:ident),)*) => {
        /// The values of all tunables.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Tunables {
            $($(#[$doc])* pub $field: u32,)*
        }

        impl Default for Tunables {
            fn default() -> Tunables {
                Tunables { $($field: $default,)* }
            }
        }

        /// All tunables in listing order.
        pub const TABLE: &[Tunable] = &[$(Tunable {
            name: $name,
            default: $default,
            index: $index,
            status: Status::$status,
        },)*];

        impl Tunables {
            /// The value of a tunable.
            pub fn get(&self, tunable: &Tunable) -> u32 {
                match tunable.index {
                    $($index => self.$field,)*
                    _ => tunable.default,
                }
            }

            /// Changes a tunable.
            pub fn set(&mut self, tunable: &Tunable, value: u32) {
                match tunable.index {
                    $($index => self.$field = value,)*
                    _ => {}
                }
            }
        }
    };
}

tunables! {
    /// No effect.
    (max_redirect_count, "MaxRedirectCount", 3, 0, Obsolete),
    /// Milliseconds between seqnum update broadcasts.
    (seqnum_interval, "SeqnumInterval", 1000, 1, Live),
    /// Seconds: default control timeout (recovery daemon, tools).
    (control_timeout, "ControlTimeout", 60, 2, Live),
    /// Seconds: traverse.
    (traverse_timeout, "TraverseTimeout", 20, 3, Live),
    /// Seconds between keepalives.
    (keepalive_interval, "KeepaliveInterval", 5, 4, Live),
    /// Missed intervals before a node is dead.
    (keepalive_limit, "KeepaliveLimit", 5, 5, Live),
    /// Seconds: controls during recovery.
    (recover_timeout, "RecoverTimeout", 30, 6, Live),
    /// Seconds: minimum period of the recovery daemon's main loop.
    (recover_interval, "RecoverInterval", 1, 7, Live),
    /// Seconds: election without cluster lock.
    (election_timeout, "ElectionTimeout", 3, 8, Live),
    /// Seconds: takeover run controls.
    (takeover_timeout, "TakeoverTimeout", 9, 9, Live),
    /// Seconds between monitor events.
    (monitor_interval, "MonitorInterval", 15, 10, Live),
    /// Seconds between tickle list updates.
    (tickle_update_interval, "TickleUpdateInterval", 20, 11, Live),
    /// Seconds: whole-event deadline.
    (event_script_timeout, "EventScriptTimeout", 30, 12, Live),
    /// Consecutive monitor timeouts before UNHEALTHY.
    (monitor_timeout_count, "MonitorTimeoutCount", 20, 13, Live),
    /// No effect.
    (event_script_unhealthy_on_timeout, "EventScriptUnhealthyOnTimeout", 0, 14, Obsolete),
    /// Seconds: banning credit grace.
    (recovery_grace_period, "RecoveryGracePeriod", 120, 15, Live),
    /// Seconds: ban length.
    (recovery_ban_period, "RecoveryBanPeriod", 300, 16, Live),
    /// Hash chains of new local databases.
    (database_hash_size, "DatabaseHashSize", 100001, 17, Live),
    /// Dead records kept per chain.
    (database_max_dead, "DatabaseMaxDead", 5, 18, Live),
    /// Seconds: minimum between recoveries; start-up delay.
    (rerecovery_timeout, "RerecoveryTimeout", 10, 19, Live),
    /// 0: never ban.
    (enable_bans, "EnableBans", 1, 20, Live),
    /// See IPAllocAlgorithm.
    (deterministic_ips, "DeterministicIPs", 0, 21, Obsolete),
    /// See IPAllocAlgorithm.
    (lcp2_public_ips, "LCP2PublicIPs", 1, 41, Obsolete),
    /// No effect.
    (reclock_ping_period, "ReclockPingPeriod", 60, 22, Obsolete),
    /// 1: no rebalancing of addresses.
    (no_ip_failback, "NoIPFailback", 0, 23, Live),
    /// `[failover] disabled`.
    (disable_ip_failover, "DisableIPFailover", 0, 24, Obsolete),
    /// Debugging aid.
    (verbose_memory_names, "VerboseMemoryNames", 0, 25, Live),
    /// Seconds: recovery daemon liveness.
    (recd_ping_timeout, "RecdPingTimeout", 60, 26, Live),
    /// Missed pings before restart.
    (recd_fail_count, "RecdFailCount", 10, 27, Live),
    /// Accepted, unused.
    (log_latency_ms, "LogLatencyMs", 0, 28, Live),
    /// Accepted, unused.
    (rec_lock_latency_ms, "RecLockLatencyMs", 1000, 29, Live),
    /// Seconds in recovery before dropping all public IPs.
    (recovery_drop_all_ips, "RecoveryDropAllIPs", 120, 30, Live),
    /// No effect.
    (verify_recovery_lock, "VerifyRecoveryLock", 1, 31, Obsolete),
    /// Seconds between vacuum runs.
    (vacuum_interval, "VacuumInterval", 10, 32, Live),
    /// Seconds a vacuum run may take.
    (vacuum_max_run_time, "VacuumMaxRunTime", 120, 33, Live),
    /// Freelist size triggering repack.
    (repack_limit, "RepackLimit", 10000, 34, Live),
    /// No effect.
    (vacuum_limit, "VacuumLimit", 5000, 35, Obsolete),
    /// Vacuum runs between full scans.
    (vacuum_fast_path_count, "VacuumFastPathCount", 60, 40, Live),
    /// Client queue limit for messages.
    (max_queue_drop_msg, "MaxQueueDropMsg", 1000000, 36, Live),
    /// 1: traverses may read unhealthy databases.
    (allow_unhealthy_db_read, "AllowUnhealthyDBRead", 0, 37, Live),
    /// Seconds between statistics history entries.
    (stat_history_interval, "StatHistoryInterval", 1, 38, Live),
    /// Seconds: deferred attach during recovery.
    (deferred_attach_to, "DeferredAttachTO", 120, 39, Live),
    /// 0: clients cannot attach.
    (allow_client_db_attach, "AllowClientDBAttach", 1, 42, Live),
    /// Always on.
    (recover_pdb_by_seq_num, "RecoverPDBBySeqNum", 1, 43, Obsolete),
    /// No effect.
    (deferred_rebalance_on_node_add, "DeferredRebalanceOnNodeAdd", 300, 44, Obsolete),
    /// 1: local calls for a record already asked for wait for that call.
    (fetch_collapse, "FetchCollapse", 1, 45, Live),
    /// Hops of a call that make a record of a STICKY database sticky.
    (hopcount_make_sticky, "HopcountMakeSticky", 50, 46, Live),
    /// Seconds a record stays sticky.
    (sticky_duration, "StickyDuration", 600, 47, Live),
    /// Milliseconds a sticky record is pinned down.
    (sticky_pindown, "StickyPindown", 200, 48, Live),
    /// 1: do not assign released addresses.
    (no_ip_takeover, "NoIPTakeover", 0, 49, Live),
    /// Accepted, unused.
    (db_record_count_warn, "DBRecordCountWarn", 100000, 50, Live),
    /// Accepted, unused.
    (db_record_size_warn, "DBRecordSizeWarn", 10000000, 51, Live),
    /// Accepted, unused.
    (db_size_warn, "DBSizeWarn", 100000000, 52, Live),
    /// Accepted, unused.
    (pull_db_preallocation, "PullDBPreallocation", 10485760, 53, Live),
    /// No effect.
    (no_ip_host_on_all_disabled, "NoIPHostOnAllDisabled", 1, 54, Obsolete),
    /// No effect.
    (samba3_avoid_deadlocks, "Samba3AvoidDeadlocks", 0, 55, Obsolete),
    /// `[database] tdb mutexes`.
    (tdb_mutex_enabled, "TDBMutexEnabled", 1, 56, Obsolete),
    /// Concurrent lock helpers per database.
    (lock_processes_per_db, "LockProcessesPerDB", 200, 57, Live),
    /// Bytes per recovery batch.
    (rec_buffer_size_limit, "RecBufferSizeLimit", 1000000, 58, Live),
    /// Bytes, initial read buffer.
    (queue_buffer_size, "QueueBufferSize", 1024, 59, Live),
    /// 0 deterministic, 1 non-deterministic, 2 LCP2.
    (ip_alloc_algorithm, "IPAllocAlgorithm", 2, 60, Live),
    /// 1: nodes of different releases may be in one cluster.
    (allow_mixed_versions, "AllowMixedVersions", 0, 61, Live),
}

/// The tunable of this name, in any case.
pub fn find(name: &str) -> Option<&'static Tunable> {
    TABLE.iter().find(|t| t.name.eq_ignore_ascii_case(name))
}

impl Tunables {
    /// The values in the order of GET_ALL_TUNABLES.
    pub fn by_index(&self) -> Vec<u32> {
        let mut values = vec![0; TABLE.len()];
        for tunable in TABLE {
            if let Some(v) = values.get_mut(tunable.index) {
                *v = self.get(tunable);
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_complete() {
        assert_eq!(TABLE.len(), 62);
        assert_eq!(TABLE.iter().filter(|t| t.status == Status::Live).count(), 49);
        let mut indexes: Vec<_> = TABLE.iter().map(|t| t.index).collect();
        indexes.sort_unstable();
        assert_eq!(indexes, (0..62).collect::<Vec<_>>());
    }

    #[test]
    fn set_and_get_every_one() {
        let mut tunables = Tunables::default();
        for (n, t) in TABLE.iter().enumerate() {
            assert_eq!(tunables.get(t), t.default, "{}", t.name);
            tunables.set(t, 1000 + n as u32);
        }
        for (n, t) in TABLE.iter().enumerate() {
            let found = find(&t.name.to_lowercase()).expect("in the table");
            assert_eq!(tunables.get(found), 1000 + n as u32);
        }
        assert_eq!(tunables.by_index()[0], 1000);
        assert!(find("NoSuchTunable").is_none());
    }
}
