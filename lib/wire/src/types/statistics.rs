// SPDX-License-Identifier: GPL-3.0-or-later
//! Statistics of a daemon and of a database (spec/wire.md 9.10).

use super::list::PaddedList;
use super::node::Timeval;
use crate::codec::{encode_len, Decode, Encode};
use crate::error::Error;
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;

/// Number of buckets of a histogram.
const BUCKETS: usize = 16;
/// Number of hot keys of a database.
pub const HOT_KEYS: usize = 10;

layout! {
    /// Durations in seconds.
    #[derive(Copy, Default)]
    pub struct LatencyCounter, size 32 {
        /// Number of durations.
        num: i32 => pad 4,
        /// Shortest; meaningful if there is one.
        min: f64,
        /// Longest.
        max: f64,
        /// Sum.
        total: f64,
    }
}

layout! {
    /// Packets to and from nodes, by operation.
    #[derive(Copy, Default)]
    pub struct NodeCounters, size 36 {
        /// REQ_CALL.
        req_call: u32,
        /// REPLY_CALL.
        reply_call: u32,
        /// REQ_DMASTER.
        req_dmaster: u32,
        /// REPLY_DMASTER.
        reply_dmaster: u32,
        /// REPLY_ERROR.
        reply_error: u32,
        /// REQ_MESSAGE.
        req_message: u32,
        /// REQ_CONTROL.
        req_control: u32,
        /// REPLY_CONTROL.
        reply_control: u32,
        /// REQ_TUNNEL.
        req_tunnel: u32,
    }
}

layout! {
    /// Packets from clients, by operation.
    #[derive(Copy, Default)]
    pub struct ClientCounters, size 16 {
        /// REQ_CALL.
        req_call: u32,
        /// REQ_MESSAGE.
        req_message: u32,
        /// REQ_CONTROL.
        req_control: u32,
        /// REQ_TUNNEL.
        req_tunnel: u32,
    }
}

layout! {
    /// Requests that timed out.
    #[derive(Copy, Default)]
    pub struct Timeouts, size 12 {
        /// Record calls.
        call: u32,
        /// Controls.
        control: u32,
        /// Traverses.
        traverse: u32,
    }
}

layout! {
    /// Latency of the cluster lock.
    #[derive(Copy, Default)]
    pub struct ReclockLatency, size 64 {
        /// Seen by the daemon.
        ctdbd: LatencyCounter,
        /// Seen by the recovery daemon.
        recd: LatencyCounter,
    }
}

layout! {
    /// Requests for record locks.
    #[derive(Copy, Default)]
    pub struct LockCounters, size 112 {
        /// All.
        num_calls: u32,
        /// Granted and held now.
        num_current: u32,
        /// Waiting now.
        num_pending: u32,
        /// Failed.
        num_failed: u32,
        /// Waiting time.
        latency: LatencyCounter,
        /// Histogram of the waiting time.
        buckets: [u32; BUCKETS],
    }
}

layout! {
    /// Statistics of a daemon since `statistics_start_time`.
    #[derive(Copy, Default)]
    pub struct Statistics, size 488 {
        /// Connected clients.
        num_clients: u32,
        /// 1 if all databases are frozen.
        frozen: u32,
        /// 1 during a recovery.
        recovering: u32,
        /// Packets sent to clients.
        client_packets_sent: u32,
        /// Packets received from clients.
        client_packets_recv: u32,
        /// Packets sent to nodes.
        node_packets_sent: u32,
        /// Packets received from nodes.
        node_packets_recv: u32,
        /// Keepalives sent.
        keepalive_packets_sent: u32,
        /// Keepalives received.
        keepalive_packets_recv: u32,
        /// Node packets by operation.
        node: NodeCounters,
        /// Client packets by operation.
        client: ClientCounters,
        /// Timeouts.
        timeouts: Timeouts => pad 4,
        /// Cluster lock.
        reclock: ReclockLatency,
        /// Record locks.
        locks: LockCounters,
        /// Record calls.
        total_calls: u32,
        /// Record calls under way.
        pending_calls: u32,
        /// Writes in child processes.
        childwrite_calls: u32,
        /// Writes in child processes under way.
        pending_childwrite_calls: u32,
        /// Bytes.
        memory_used: u32,
        /// Always 0.
        __last_counter: u32,
        /// Most redirects of a call.
        max_hop_count: u32,
        /// Histogram of redirects: index is the number of significant bits.
        hop_count_bucket: [u32; BUCKETS] => pad 4,
        /// Latency of record calls.
        call_latency: LatencyCounter,
        /// Latency of writes in child processes.
        childwrite_latency: LatencyCounter,
        /// Recoveries.
        num_recoveries: u32 => pad 4,
        /// When counting began.
        statistics_start_time: Timeval,
        /// Now.
        statistics_current_time: Timeval,
        /// Read-only delegations given out.
        total_ro_delegations: u32,
        /// Revocations of read-only delegations.
        total_ro_revokes: u32,
    }
}

layout! {
    /// History of statistics, newest first.
    #[derive(Default)]
    pub struct StatisticsList {
        /// The statistics.
        stats: PaddedList<Statistics>,
    }
}

layout! {
    /// Vacuuming of a database.
    #[derive(Copy, Default)]
    pub struct VacuumLatency, size 32 {
        /// Duration of the runs.
        latency: LatencyCounter,
    }
}

layout! {
    /// Statistics of a database.
    #[derive(Default)]
    pub struct DbStatistics {
        /// Record locks.
        locks: LockCounters,
        /// Vacuuming.
        vacuum: VacuumLatency,
        /// Read-only delegations given out.
        db_ro_delegations: u32,
        /// Revocations of read-only delegations.
        db_ro_revokes: u32,
        /// Histogram of redirects.
        hop_count_bucket: [u32; BUCKETS],
        /// Always [`HOT_KEYS`].
        num_hot_keys: u32 => pad 4,
        /// The records with most redirects.
        hot_keys: HotKeys,
    }
}

/// A record that calls had to chase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HotKey {
    /// Number of redirects.
    pub count: u32,
    /// Key of the record.
    pub key: Vec<u8>,
}

/// Slots of hot keys, used ones first, ascending by count; unused slots are 0 and empty.
///
/// ```text
/// 0 + 24*i   u32 count, 4 bytes padding
/// 8 + 24*i   u64 meaningless
/// 16 + 24*i  u64 key length
/// 240        the keys, back to back
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HotKeys(
    /// The slots.
    pub [HotKey; HOT_KEYS],
);

const HOT_KEY_SLOT: usize = 24;

impl Encode for HotKeys {
    fn size(&self) -> usize {
        self.0.iter().map(|slot| HOT_KEY_SLOT + slot.key.len()).sum()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        for slot in &self.0 {
            slot.count.encode(out);
            out.put_zeros(12);
            encode_len(slot.key.len(), out);
            out.put_zeros(4);
        }
        self.0.iter().for_each(|slot| out.put_bytes(&slot.key));
    }
}

impl<'a> Decode<'a> for HotKeys {
    const MIN_SIZE: usize = HOT_KEYS * HOT_KEY_SLOT;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let mut slots: [HotKey; HOT_KEYS] = Default::default();
        let mut lengths = [0u64; HOT_KEYS];
        for (slot, length) in slots.iter_mut().zip(&mut lengths) {
            slot.count = u32::decode(r)?;
            r.skip(12)?;
            *length = u64::decode(r)?;
        }
        for (slot, length) in slots.iter_mut().zip(lengths) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            slot.key = r.take(length).map_err(|e| e.named("HotKeys key"))?.to_vec();
        }
        Ok(HotKeys(slots))
    }
}

impl Inspect for HotKeys {
    fn inspect(&self) -> Value {
        let slot = |slot: &HotKey| {
            Value::Record(vec![
                ("count", slot.count.inspect()),
                ("key", Value::Bytes(slot.key.clone())),
            ])
        };
        Value::List(self.0.iter().map(slot).collect())
    }
}

#[cfg(test)]
mod sample {
    use super::{HotKey, HotKeys};
    use crate::sample::{Entropy, Sample};

    impl<'a> Sample<'a> for HotKeys {
        fn sample(u: &mut Entropy<'a>) -> Self {
            HotKeys(std::array::from_fn(|_| HotKey {
                count: Sample::sample(u),
                key: <&[u8]>::sample(u).to_vec(),
            }))
        }
    }
}
