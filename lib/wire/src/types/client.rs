// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients and structured messages (spec/wire.md 9.11, 9.12).

use super::node::Timeval;

layout! {
    /// A message that may be answered: where to.
    #[derive(Copy, Eq, Default)]
    pub struct SrvidMessage, size 16 {
        /// Node that waits for the answer.
        pnn: u32 => pad 4,
        /// Address there; 0: no answer wanted.
        srvid: u64,
    }
}

layout! {
    /// Disables something for a while.
    #[derive(Copy, Eq, Default)]
    pub struct DisableMessage, size 24 {
        /// Node that waits for the answer.
        pnn: u32 => pad 4,
        /// Address there; 0: no answer wanted.
        srvid: u64,
        /// Seconds; 0 enables again.
        timeout: u32 => pad 4,
    }
}

layout! {
    /// A candidate for leader.
    #[derive(Copy, Eq, Default)]
    pub struct ElectionMessage, size 32 {
        /// Number of nodes it is connected to.
        num_connected: u32 => pad 4,
        /// Older is better.
        priority_time: Timeval,
        /// Its PNN.
        pnn: u32,
        /// Its flags.
        node_flags: u32,
    }
}

layout! {
    /// A process and an address. Packed: 12 bytes.
    #[derive(Copy, Eq, Default)]
    pub struct PidSrvid, size 12 {
        /// Process id.
        pid: i32,
        /// Address it has registered.
        srvid: u64,
    }
}

layout! {
    /// A message to send when the client disconnects.
    #[derive(Copy, Eq)]
    pub struct NotifyData<'a> {
        /// Its address.
        srvid: u64,
        /// Its payload.
        data: &'a [u8],
    }
}

layout! {
    /// Data to send back.
    #[derive(Copy, Eq)]
    pub struct EchoData<'a> {
        /// Milliseconds to wait; ignored.
        timeout: u32,
        /// The data.
        buf: &'a [u8],
    }
}

layout! {
    /// Samba's name of a process in the cluster.
    #[derive(Copy, Eq, Default)]
    pub struct ServerId, size 24 {
        /// Process id.
        pid: u64,
        /// Task in the process.
        task_id: u32,
        /// Node.
        vnn: u32,
        /// Distinguishes processes that had the same pid.
        unique_id: u64,
    }
}

layout! {
    /// A holder of a lock in the client library's `g_lock` database.
    #[derive(Copy, Eq, Default)]
    pub struct GLock, size 32 {
        /// 0 read, 1 write.
        lock_type: u32 => pad 4,
        /// The holder.
        sid: ServerId,
    }
}
