// SPDX-License-Identifier: GPL-3.0-or-later
//! Marshalled types (spec/wire.md 9): what controls, messages and records carry.

mod address;
mod client;
mod database;
mod list;
mod node;
mod record;
mod script;
mod statistics;
#[cfg(test)]
mod tests;
mod traverse;
mod tunable;

pub use address::{
    AddrInfo, Connection, ConnectionList, Iface, IfaceList, PublicIp, PublicIpInfo, PublicIpList,
    TickleList,
};
pub use client::{
    DisableMessage, EchoData, ElectionMessage, GLock, NotifyData, PidSrvid, ServerId, SrvidMessage,
};
pub use database::{
    DbVacuum, Dbid, DbidMap, DbidPadded, KeyData, Pulldb, PulldbExt, PushRecordData, Transdb,
    VnnMap,
};
pub use list::{PaddedList, RestList};
pub use node::{BanState, NodeAndFlags, NodeFlagChange, NodeMap, Timeval, Uptime};
pub use record::{LtdbHeader, RecBuffer, RecData};
pub use script::{Script, ScriptList};
pub use statistics::{
    ClientCounters, DbStatistics, HotKey, HotKeys, LatencyCounter, LockCounters, NodeCounters,
    ReclockLatency, Statistics, StatisticsList, Timeouts, VacuumLatency, HOT_KEYS,
};
pub use traverse::{TraverseAll, TraverseAllExt, TraverseStart, TraverseStartExt};
pub use tunable::{Tunable, TunableList, VarList};
