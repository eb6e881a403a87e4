// SPDX-License-Identifier: GPL-3.0-or-later
//! Numbers that must not be reused (spec/wire.md 8.6).

use super::Opcode;

/// The name of an obsolete control: it always fails, with status -1 and no message.
pub const fn obsolete_name(number: u32) -> Option<&'static str> {
    Some(match number {
        10 => "GET_NODEMAPv4",
        11 => "SET_DMASTER",
        13 => "PULL_DB",
        14 => "PUSH_DB",
        19 => "SET_CALL",
        31 => "GET_RECMASTER",
        32 => "SET_RECMASTER",
        34 => "THAW",
        37 => "GET_MONMODE",
        42 => "TAKEOVER_IPv4",
        43 => "RELEASE_IPv4",
        51 => "GET_PUBLIC_IPSv4",
        54 => "KILL_TCP",
        57 => "REGISTER_SERVER_ID",
        58 => "UNREGISTER_SERVER_ID",
        59 => "CHECK_SERVER_ID",
        60 => "GET_SERVER_ID_LIST",
        62 => "PERSISTENT_STORE",
        65 => "TRANSACTION_START",
        66 => "TRANSACTION_COMMIT",
        75 => "ENABLE_MONITOR",
        76 => "DISABLE_MONITOR",
        79 => "RUN_EVENTSCRIPTS",
        81 => "START_PERSISTENT_UPDATE",
        82 => "CANCEL_PERSISTENT_UPDATE",
        83 => "TRANS2_COMMIT",
        84 => "TRANS2_FINISHED",
        85 => "TRANS2_ERROR",
        86 => "TRANS2_COMMIT_RETRY",
        96 => "GET_EVENT_SCRIPT_STATUS",
        100 => "SET_RECLOCK_FILE",
        103 => "SET_NATGWSTATE",
        107 => "ENABLE_SCRIPT",
        108 => "DISABLE_SCRIPT",
        111 => "SET_DB_PRIORITY",
        112 => "GET_DB_PRIORITY",
        113 => "TRANSACTION_CANCEL",
        116 => "TRANS2_ACTIVE",
        117 => "GET_LOG",
        118 => "CLEAR_LOG",
        130 => "CHECK_SRVIDS",
        136 => "RECEIVE_RECORDS",
        _ => return None,
    })
}

impl std::fmt::Display for Opcode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Opcode> for u32 {
    fn from(opcode: Opcode) -> u32 {
        opcode as u32
    }
}
