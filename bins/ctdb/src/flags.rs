// SPDX-License-Identifier: GPL-3.0-or-later
//! Flags in words (spec/tool.md 2.2, 10.7).

use ctdb_wire::flags::{node, record};

/// Not on the wire: the state of a node that a starting daemon has not heard of yet.
pub(crate) const UNKNOWN: u32 = 0x40;

const NODE_NAMES: [(u32, &str); 8] = [
    (node::DISCONNECTED, "DISCONNECTED"),
    (UNKNOWN, "UNKNOWN"),
    (node::PERMANENTLY_DISABLED, "DISABLED"),
    (node::BANNED, "BANNED"),
    (node::UNHEALTHY, "UNHEALTHY"),
    (node::DELETED, "DELETED"),
    (node::STOPPED, "STOPPED"),
    (node::INACTIVE, "INACTIVE"),
];

/// A node's flags, `OK` when there are none.
pub(crate) fn node_text(flags: u32) -> String {
    let names = NODE_NAMES.iter().filter(|(bits, _)| flags & bits != 0).map(|(_, name)| *name);
    let text = names.collect::<Vec<_>>().join("|");
    if text.is_empty() {
        "OK".into()
    } else {
        text
    }
}

const RECORD_NAMES: [(u32, &str); 9] = [
    (record::MIGRATED_WITH_DATA, "MIGRATED_WITH_DATA"),
    (record::VACUUM_MIGRATED, "VACUUM_MIGRATED"),
    (record::AUTOMATIC, "AUTOMATIC"),
    (record::RO_HAVE_DELEGATIONS, "RO_HAVE_DELEGATIONS"),
    (record::RO_HAVE_READONLY, "RO_HAVE_READONLY"),
    (record::RO_REVOKING_READONLY, "RO_REVOKING_READONLY"),
    (record::RO_REVOKE_COMPLETE, "RO_REVOKE_COMPLETE"),
    (record::PERSISTENT, "PERSISTENT"),
    (record::PERSISTENT_IN_PROGRESS, "PERSISTENT_IN_PROGRESS"),
];

/// A record's flags, each name with a blank in front.
pub(crate) fn record_text(flags: u32) -> String {
    let names = RECORD_NAMES.iter().filter(|(bits, _)| flags & bits != 0);
    names.map(|(_, name)| format!(" {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_flags_come_in_their_order() {
        assert_eq!(node_text(0), "OK");
        assert_eq!(node_text(0x08), "BANNED|INACTIVE");
        assert_eq!(node_text(0x03), "DISCONNECTED|UNHEALTHY|INACTIVE");
        assert_eq!(node_text(0x24), "DISABLED|STOPPED|INACTIVE");
        assert_eq!(node_text(UNKNOWN), "UNKNOWN");
    }
}
