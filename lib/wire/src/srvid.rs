// SPDX-License-Identifier: GPL-3.0-or-later
//! Well-known message addresses and address ranges (spec/wire.md 7.2, 7.3).

/// Prefix of the addresses of recovery transfers; the low bits number the transfer.
pub const RECOVERY: u64 = 0xF001_0000_0000_0000;
/// Adds banning credits to a node.
pub const BANNING: u64 = 0xF002_0000_0000_0000;
/// Leader election without cluster lock.
pub const ELECTION: u64 = 0xF100_0000_0000_0000;
/// The leader announces itself.
pub const LEADER: u64 = 0xF101_0000_0000_0000;
/// A recovery has finished.
pub const RECONFIGURE: u64 = 0xF200_0000_0000_0000;
/// An address has been released.
pub const RELEASE_IP: u64 = 0xF300_0000_0000_0000;
/// An address has been taken.
pub const TAKE_IP: u64 = 0xF301_0000_0000_0000;
/// The ipreallocated event has run.
pub const IPREALLOCATED: u64 = 0xF302_0000_0000_0000;
/// The startipreallocate event has run.
pub const START_IPREALLOCATE: u64 = 0xF303_0000_0000_0000;
/// Obsolete.
pub const SET_NODE_FLAGS: u64 = 0xF400_0000_0000_0000;
/// Obsolete.
pub const RECD_UPDATE_IP: u64 = 0xF500_0000_0000_0000;
/// Obsolete; a control now.
pub const VACUUM_FETCH: u64 = 0xF700_0000_0000_0000;
/// Obsolete.
pub const DETACH_DATABASE: u64 = 0xF701_0000_0000_0000;
/// The recovery daemon reports its memory.
pub const MEM_DUMP: u64 = 0xF800_0000_0000_0000;
/// Obsolete.
pub const GETLOG: u64 = 0xF801_0000_0000_0000;
/// Obsolete.
pub const CLEARLOG: u64 = 0xF802_0000_0000_0000;
/// Monitoring has changed this node's health.
pub const PUSH_NODE_FLAGS: u64 = 0xF900_0000_0000_0000;
/// The nodes file is to be read again.
pub const RELOAD_NODES: u64 = 0xFA00_0000_0000_0000;
/// A takeover run is wanted.
pub const TAKEOVER_RUN: u64 = 0xFB00_0000_0000_0000;
/// Addresses are to be moved onto a node.
pub const REBALANCE_NODE: u64 = 0xFB01_0000_0000_0000;
/// No takeover runs for a while.
pub const DISABLE_TAKEOVER_RUNS: u64 = 0xFB03_0000_0000_0000;
/// No recoveries for a while.
pub const DISABLE_RECOVERIES: u64 = 0xFB04_0000_0000_0000;
/// Old form of [`DISABLE_TAKEOVER_RUNS`].
pub const DISABLE_IP_CHECK: u64 = 0xFC00_0000_0000_0000;
/// Samba: a client has disconnected.
pub const SAMBA_NOTIFY: u64 = 0xFE00_0000_0000_0000;
/// Samba: the notify daemons.
pub const SAMBA_NOTIFY_PROXY: u64 = 0xFE00_0000_0000_0001;
/// Samba: every Samba process.
pub const SAMBA_PROCESS: u64 = 0xFE00_0000_0000_0002;
/// Registration for every message.
pub const ALL: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// Number of bits that a range leaves free.
pub const RANGE_SHIFT: u32 = 56;
/// Top byte: process ids.
pub const PID_RANGE: u8 = 0x00;
/// Top byte: the daemon's own reply addresses.
pub const SERVER_RANGE: u8 = 0x9E;
/// Top byte: test programs.
pub const TEST_RANGE: u8 = 0xAE;
/// Top byte: the client library.
pub const CLIENT_RANGE: u8 = 0xBE;
/// Top byte: the tool.
pub const TOOL_RANGE: u8 = 0xCE;
/// Top byte: reserved.
pub const ISCSID_RANGE: u8 = 0xDE;
/// Top byte: reserved.
pub const NFSD_RANGE: u8 = 0xEE;
/// Top byte: Samba.
pub const SAMBA_RANGE: u8 = 0xFE;

/// The address of recovery transfer number `n`.
pub const fn recovery(n: u32) -> u64 {
    RECOVERY | n as u64
}

/// A reply address of the daemon on node `pnn`.
pub const fn server(pnn: u32, n: u32) -> u64 {
    ((SERVER_RANGE as u64) << RANGE_SHIFT) | (((pnn & 0x00FF_FFFF) as u64) << 32) | n as u64
}

/// The range an address belongs to: its top byte.
pub const fn range(srvid: u64) -> u8 {
    (srvid >> RANGE_SHIFT) as u8
}
