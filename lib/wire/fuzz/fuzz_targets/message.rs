// SPDX-License-Identifier: GPL-3.0-or-later
//! The payloads of all structured messages.
#![no_main]

use ctdb_wire::{srvid, Encode, MessagePayload};
use libfuzzer_sys::fuzz_target;

const SRVIDS: [u64; 24] = [
    srvid::RECOVERY,
    srvid::BANNING,
    srvid::ELECTION,
    srvid::LEADER,
    srvid::RECONFIGURE,
    srvid::RELEASE_IP,
    srvid::TAKE_IP,
    srvid::IPREALLOCATED,
    srvid::START_IPREALLOCATE,
    srvid::SET_NODE_FLAGS,
    srvid::RECD_UPDATE_IP,
    srvid::VACUUM_FETCH,
    srvid::DETACH_DATABASE,
    srvid::MEM_DUMP,
    srvid::GETLOG,
    srvid::CLEARLOG,
    srvid::PUSH_NODE_FLAGS,
    srvid::RELOAD_NODES,
    srvid::TAKEOVER_RUN,
    srvid::REBALANCE_NODE,
    srvid::DISABLE_TAKEOVER_RUNS,
    srvid::DISABLE_RECOVERIES,
    srvid::DISABLE_IP_CHECK,
    srvid::ALL,
];

fuzz_target!(|data: &[u8]| {
    let Some((number, payload)) = data.split_first() else { return };
    let srvid = SRVIDS[usize::from(*number) % SRVIDS.len()];
    if let Ok(message) = MessagePayload::decode(srvid, payload) {
        let bytes = message.to_vec();
        assert_eq!(MessagePayload::decode(srvid, &bytes), Ok(message));
    }
});
