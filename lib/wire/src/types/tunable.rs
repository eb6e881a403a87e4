// SPDX-License-Identifier: GPL-3.0-or-later
//! Tunables on the wire (spec/wire.md 9.9). Names, defaults and meaning are the daemon's.

use crate::codec::{Decode, Encode};
use crate::error::Error;
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;
use crate::text::{StringN, Text};

layout! {
    /// One tunable.
    #[derive(Eq)]
    pub struct Tunable {
        /// Its value.
        value: u32,
        /// Its name.
        name: StringN,
    }
}

layout! {
    /// All tunables in their fixed order, obsolete ones included.
    #[derive(Copy, Eq)]
    pub struct TunableList, size 248 {
        /// MaxRedirectCount, 3 by default; obsolete.
        max_redirect_count: u32,
        /// SeqnumInterval, 1000 by default.
        seqnum_interval: u32,
        /// ControlTimeout, 60 by default.
        control_timeout: u32,
        /// TraverseTimeout, 20 by default.
        traverse_timeout: u32,
        /// KeepaliveInterval, 5 by default.
        keepalive_interval: u32,
        /// KeepaliveLimit, 5 by default.
        keepalive_limit: u32,
        /// RecoverTimeout, 30 by default.
        recover_timeout: u32,
        /// RecoverInterval, 1 by default.
        recover_interval: u32,
        /// ElectionTimeout, 3 by default.
        election_timeout: u32,
        /// TakeoverTimeout, 9 by default.
        takeover_timeout: u32,
        /// MonitorInterval, 15 by default.
        monitor_interval: u32,
        /// TickleUpdateInterval, 20 by default.
        tickle_update_interval: u32,
        /// EventScriptTimeout, 30 by default.
        script_timeout: u32,
        /// MonitorTimeoutCount, 20 by default.
        monitor_timeout_count: u32,
        /// EventScriptUnhealthyOnTimeout, 0 by default; obsolete.
        script_unhealthy_on_timeout: u32,
        /// RecoveryGracePeriod, 120 by default.
        recovery_grace_period: u32,
        /// RecoveryBanPeriod, 300 by default.
        recovery_ban_period: u32,
        /// DatabaseHashSize, 100001 by default.
        database_hash_size: u32,
        /// DatabaseMaxDead, 5 by default.
        database_max_dead: u32,
        /// RerecoveryTimeout, 10 by default.
        rerecovery_timeout: u32,
        /// EnableBans, 1 by default.
        enable_bans: u32,
        /// DeterministicIPs, 0 by default; obsolete.
        deterministic_public_ips: u32,
        /// ReclockPingPeriod, 60 by default; obsolete.
        reclock_ping_period: u32,
        /// NoIPFailback, 0 by default.
        no_ip_failback: u32,
        /// DisableIPFailover, 0 by default; obsolete.
        disable_ip_failover: u32,
        /// VerboseMemoryNames, 0 by default.
        verbose_memory_names: u32,
        /// RecdPingTimeout, 60 by default.
        recd_ping_timeout: u32,
        /// RecdFailCount, 10 by default.
        recd_ping_failcount: u32,
        /// LogLatencyMs, 0 by default.
        log_latency_ms: u32,
        /// RecLockLatencyMs, 1000 by default.
        reclock_latency_ms: u32,
        /// RecoveryDropAllIPs, 120 by default.
        recovery_drop_all_ips: u32,
        /// VerifyRecoveryLock, 1 by default; obsolete.
        verify_recovery_lock: u32,
        /// VacuumInterval, 10 by default.
        vacuum_interval: u32,
        /// VacuumMaxRunTime, 120 by default.
        vacuum_max_run_time: u32,
        /// RepackLimit, 10000 by default.
        repack_limit: u32,
        /// VacuumLimit, 5000 by default; obsolete.
        vacuum_limit: u32,
        /// MaxQueueDropMsg, 1000000 by default.
        max_queue_depth_drop_msg: u32,
        /// AllowUnhealthyDBRead, 0 by default.
        allow_unhealthy_db_read: u32,
        /// StatHistoryInterval, 1 by default.
        stat_history_interval: u32,
        /// DeferredAttachTO, 120 by default.
        deferred_attach_timeout: u32,
        /// VacuumFastPathCount, 60 by default.
        vacuum_fast_path_count: u32,
        /// LCP2PublicIPs, 1 by default; obsolete.
        lcp2_public_ip_assignment: u32,
        /// AllowClientDBAttach, 1 by default.
        allow_client_db_attach: u32,
        /// RecoverPDBBySeqNum, 1 by default; obsolete.
        recover_pdb_by_seqnum: u32,
        /// DeferredRebalanceOnNodeAdd, 300 by default; obsolete.
        deferred_rebalance_on_node_add: u32,
        /// FetchCollapse, 1 by default.
        fetch_collapse: u32,
        /// HopcountMakeSticky, 50 by default.
        hopcount_make_sticky: u32,
        /// StickyDuration, 600 by default.
        sticky_duration: u32,
        /// StickyPindown, 200 by default.
        sticky_pindown: u32,
        /// NoIPTakeover, 0 by default.
        no_ip_takeover: u32,
        /// DBRecordCountWarn, 100000 by default.
        db_record_count_warn: u32,
        /// DBRecordSizeWarn, 10000000 by default.
        db_record_size_warn: u32,
        /// DBSizeWarn, 100000000 by default.
        db_size_warn: u32,
        /// PullDBPreallocation, 10485760 by default.
        pulldb_preallocation_size: u32,
        /// NoIPHostOnAllDisabled, 1 by default; obsolete.
        no_ip_host_on_all_disabled: u32,
        /// Samba3AvoidDeadlocks, 0 by default; obsolete.
        samba3_hack: u32,
        /// TDBMutexEnabled, 1 by default; obsolete.
        mutex_enabled: u32,
        /// LockProcessesPerDB, 200 by default.
        lock_processes_per_db: u32,
        /// RecBufferSizeLimit, 1000000 by default.
        rec_buffer_size_limit: u32,
        /// QueueBufferSize, 1024 by default.
        queue_buffer_size: u32,
        /// IPAllocAlgorithm, 2 by default.
        ip_alloc_algorithm: u32,
        /// AllowMixedVersions, 0 by default.
        allow_mixed_versions: u32,
    }
}

/// Names joined by colons, encoded like a `stringn`. C daemons put a colon in front of the first
/// name too; clients skip empty names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VarList(
    /// The names and colons.
    pub StringN,
);

impl VarList {
    /// Joins `names`, without a leading colon.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        VarList(StringN::new(names.join(":")))
    }

    /// The names; empty ones are skipped.
    pub fn names(&self) -> impl Iterator<Item = Text> + '_ {
        self.0.as_bytes().split(|b| *b == b':').filter(|name| !name.is_empty()).map(Text::new)
    }
}

impl Encode for VarList {
    fn size(&self) -> usize {
        self.0.size()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        self.0.encode(out);
    }
}

impl<'a> Decode<'a> for VarList {
    const MIN_SIZE: usize = StringN::MIN_SIZE;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        StringN::decode(r).map(VarList)
    }
}

impl Inspect for VarList {
    fn inspect(&self) -> Value {
        let names: Vec<Value> = self.names().map(|name| name.inspect()).collect();
        Value::Record(vec![
            ("count", Value::Unsigned(names.len() as u64)),
            ("var", Value::List(names)),
        ])
    }
}

#[cfg(test)]
impl<'a> crate::sample::Sample<'a> for VarList {
    fn sample(u: &mut crate::sample::Entropy<'a>) -> Self {
        VarList(crate::sample::Sample::sample(u))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_colon_is_kept_and_skipped() {
        let daemon = VarList(StringN::new(":SeqnumInterval:ControlTimeout"));
        let names: Vec<String> = daemon.names().map(|name| name.to_string()).collect();
        assert_eq!(names, ["SeqnumInterval", "ControlTimeout"]);
        assert_eq!(VarList::from_exact(&daemon.to_vec()), Ok(daemon));
        assert_eq!(VarList::new(["a", "b"]).to_vec(), b"\x04\0\0\0a:b\0");
    }
}
