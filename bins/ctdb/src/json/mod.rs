// SPDX-License-Identifier: GPL-3.0-or-later
//! What `--json` prints: one type for each command, from which the published schema
//! (docs/ctdb-json.schema.json) is made.
//!
//! The schema is stable: members keep their name and meaning, and readers ignore those they do not
//! know. `version` and `status` are what the C tool prints since 4.25 (spec/tool.md 1.7, 4.1), the
//! rest follows its conventions. Nodes are numbers, database ids text as everywhere else, times
//! seconds since 1970, durations seconds, and what does not exist is `null`.

mod addresses;
mod databases;
mod nodes;
mod records;
mod statistics;

use schemars::generate::{Contract, SchemaSettings};
use serde::Serialize;
use serde_json::{json, Value};

pub(crate) use addresses::{
    Address, AddressInfo, Addresses, Connection, Connections, Interface, Interfaces,
};
pub(crate) use databases::{Database, Databases, SequenceNumber};
pub(crate) use nodes::{
    Capabilities, ClusterLock, LeaderNode, ListedNode, LogLevel, Node, NodeFlags, NodeList,
    NodeStatus, Nodes, OwnNode, Ping, Port, Process, ProcessExists, Report, RunState, Slot, Status,
    Tunable, Tunables, Uptime, Version, VnnStatus,
};
pub(crate) use records::{Dump, Fetched, RawRecord, RecordStream};
pub(crate) use statistics::{DbStatistics, History, Statistics};

use crate::exit::Done;

/// What a value is in JSON. None of ours has anything that could not be.
fn text(text: serde_json::Result<String>) -> String {
    text.unwrap_or_else(|_| {
        errln!("failed to create json object");
        std::process::exit(1)
    })
}

/// Prints a value as the C tool does: indented by two, and without a newline at its end.
pub(crate) fn print_bare<T: Serialize>(value: &T) -> Done {
    out!("{}", text(serde_json::to_string_pretty(value)));
    Ok(())
}

/// Prints a value and a newline.
pub(crate) fn print<T: Serialize>(value: &T) -> Done {
    outln!("{}", text(serde_json::to_string_pretty(value)));
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn seconds(time: ctdb_wire::types::Timeval) -> f64 {
    time.sec as f64 + time.usec as f64 / 1e6
}

/// A database id as text.
pub(crate) fn id(id: u32) -> String {
    format!("0x{id:08x}")
}

macro_rules! commands {
    ($($name:literal => $of:ty,)*) => {
        /// The commands that have JSON output.
        #[cfg(test)]
        pub(crate) const COMMANDS: &[&str] = &[$($name),*];

        fn properties(generator: &mut schemars::SchemaGenerator) -> Value {
            let mut properties = serde_json::Map::new();
            $(
                properties.insert($name.into(), generator.subschema_for::<$of>().into());
            )*
            Value::Object(properties)
        }
    };
}

commands! {
    "version" => Version,
    "status" => Status,
    "uptime" => Uptime,
    "ping" => Ping,
    "runstate" => RunState,
    "getvar" => Tunable,
    "listvars" => Tunables,
    "statistics" => Statistics,
    "stats" => History,
    "ip" => Addresses,
    "ipinfo" => AddressInfo,
    "ifaces" => Interfaces,
    "process-exists" => ProcessExists,
    "getdbmap" => Databases,
    "getdbstatus" => Database,
    "catdb" => Dump,
    "cattdb" => Dump,
    "getcapabilities" => Capabilities,
    "pnn" => OwnNode,
    "getdebug" => LogLevel,
    "dumpmemory" => Report,
    "rddumpmemory" => Report,
    "getpid" => Process,
    "gettickles" => Connections,
    "listnodes" => NodeList,
    "dumpdbbackup" => Dump,
    "leader" => LeaderNode,
    "getreclock" => ClusterLock,
    "pfetch" => Fetched,
    "tfetch" => RawRecord,
    "readkey" => Fetched,
    "checktcpport" => Port,
    "getdbseqnum" => SequenceNumber,
    "nodestatus" => Nodes,
    "dbstatistics" => DbStatistics,
}

/// The schema of all outputs: an object with a member for each command.
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.contract = Contract::Serialize);
    let mut generator = settings.into_generator();
    let properties = properties(&mut generator);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ctdb --json",
        "description": "What `ctdb --json COMMAND` prints, by command. Members that are not known here may be added by later versions.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_with_json_is_in_the_schema() {
        let with_json = crate::table::COMMANDS.iter().filter(|command| command.json);
        let with_json: Vec<&str> = with_json.map(|command| command.name).collect();
        assert_eq!(with_json, COMMANDS);
    }
}
