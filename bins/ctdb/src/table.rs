// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands, in the order in which usage lists them (spec/tool.md 3.1).

use crate::args::Args;
use crate::commands::{
    admin, backup, database, event, help, hosting, ips, listnodes, memory, rawtdb, record,
    reloadnodes, statistics, status, tickles, transaction, tunable,
};
use crate::exit::Done;
use crate::options::Options;
use crate::tool::Tool;
use crate::top;

/// What a command does.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Without a daemon.
    Alone(fn(&Options, Args<'_>) -> Done),
    /// With a connection to the local daemon.
    Daemon(fn(&mut Tool<'_>, Args<'_>) -> Done),
    /// With a connection of its own, for as long as somebody looks at it.
    Live(fn(Tool<'_>, Args<'_>) -> Done),
}

/// A command.
pub(crate) struct Command {
    pub name: &'static str,
    pub action: Action,
    /// Whether `-n` may name another node.
    pub remote: bool,
    /// Whether there is JSON output.
    pub json: bool,
    pub arguments: &'static str,
    pub description: &'static str,
}

const fn alone(name: &'static str, action: fn(&Options, Args<'_>) -> Done) -> Command {
    let action = Action::Alone(action);
    Command { name, action, remote: false, json: false, arguments: "", description: "" }
}

const fn local(name: &'static str, action: fn(&mut Tool<'_>, Args<'_>) -> Done) -> Command {
    let action = Action::Daemon(action);
    Command { name, action, remote: false, json: false, arguments: "", description: "" }
}

const fn remote(name: &'static str, action: fn(&mut Tool<'_>, Args<'_>) -> Done) -> Command {
    Command { remote: true, ..local(name, action) }
}

const fn live(name: &'static str, action: fn(Tool<'_>, Args<'_>) -> Done) -> Command {
    let action = Action::Live(action);
    Command { name, action, remote: true, json: false, arguments: "", description: "" }
}

impl Command {
    const fn takes(self, arguments: &'static str) -> Command {
        Command { arguments, ..self }
    }

    const fn is(self, description: &'static str) -> Command {
        Command { description, ..self }
    }

    const fn with_json(self) -> Command {
        Command { json: true, ..self }
    }
}

const DB: &str = "<dbname|dbid>";

/// All commands.
pub(crate) const COMMANDS: &[Command] = &[
    alone("version", status::version).with_json().is("show version of ctdb"),
    remote("status", status::status).with_json().is("show node status"),
    remote("uptime", status::uptime).with_json().is("show node uptime"),
    remote("ping", status::ping).with_json().is("ping a node"),
    remote("runstate", status::runstate)
        .with_json()
        .takes("[setup|first_recovery|startup|running]")
        .is("get/check runstate of a node"),
    remote("getvar", tunable::getvar).with_json().takes("<name>").is("get a tunable variable"),
    remote("setvar", tunable::setvar).takes("<name> <value>").is("set a tunable variable"),
    remote("listvars", tunable::listvars).with_json().is("list tunable variables"),
    remote("statistics", statistics::statistics).with_json().is("show ctdb statistics"),
    remote("statisticsreset", statistics::reset).is("reset ctdb statistics"),
    remote("stats", statistics::history).with_json().takes("[count]").is("show rolling statistics"),
    remote("ip", ips::ip).with_json().takes("[all]").is("show public ips"),
    remote("ipinfo", ips::ipinfo).with_json().takes("<ip>").is("show public ip details"),
    remote("ifaces", ips::ifaces).with_json().is("show interfaces"),
    remote("setifacelink", ips::setifacelink)
        .takes("<iface> up|down")
        .is("set interface link status"),
    remote("process-exists", status::process_exists)
        .with_json()
        .takes("<pid> [<srvid>]")
        .is("check if a process exists on a node"),
    remote("getdbmap", database::getdbmap).with_json().is("show attached databases"),
    remote("getdbstatus", database::getdbstatus).with_json().takes(DB).is("show database status"),
    local("catdb", record::catdb).with_json().takes(DB).is("dump cluster-wide ctdb database"),
    local("cattdb", record::cattdb).with_json().takes(DB).is("dump local ctdb database"),
    remote("getcapabilities", status::getcapabilities).with_json().is("show node capabilities"),
    local("pnn", status::pnn).with_json().is("show the pnn of the current node"),
    local("lvs", event::lvs).takes("leader|list|status").is("show lvs configuration"),
    remote("setdebug", status::setdebug)
        .takes("ERROR|WARNING|NOTICE|INFO|DEBUG")
        .is("set debug level"),
    remote("getdebug", status::getdebug).with_json().is("get debug level"),
    local("attach", database::attach)
        .takes("<dbname> [persistent|replicated]")
        .is("attach a database"),
    local("detach", database::detach).takes("<dbname|dbid> ...").is("detach database(s)"),
    remote("dumpmemory", memory::dumpmemory).with_json().is("dump ctdbd memory map"),
    remote("rddumpmemory", memory::rddumpmemory).with_json().is("dump recoverd memory map"),
    remote("getpid", status::getpid).with_json().is("get ctdbd process ID"),
    remote("disable", admin::disable).is("disable a node"),
    remote("enable", admin::enable).is("enable a node"),
    remote("stop", admin::stop).is("stop a node"),
    remote("continue", admin::resume).is("continue a stopped node"),
    remote("ban", admin::ban).takes("<bantime>").is("ban a node"),
    remote("unban", admin::unban).is("unban a node"),
    remote("shutdown", admin::shutdown).is("shutdown ctdb daemon"),
    remote("recover", admin::recover).is("force recovery"),
    remote("sync", admin::ipreallocate).is("run ip reallocation (deprecated)"),
    remote("ipreallocate", admin::ipreallocate).is("run ip reallocation"),
    remote("gratarp", ips::gratarp).takes("<ip> <interface>").is("send a gratuitous arp"),
    alone("tickle", tickles::tickle).takes("<srcip:port> <dstip:port>").is("send a tcp tickle ack"),
    remote("gettickles", tickles::gettickles)
        .with_json()
        .takes("<ip> [<port>]")
        .is("get the list of tickles"),
    remote("addtickle", tickles::addtickle).takes("<ip>:<port> <ip>:<port>").is("add a tickle"),
    remote("deltickle", tickles::deltickle).takes("<ip>:<port> <ip>:<port>").is("delete a tickle"),
    alone("listnodes", listnodes::listnodes).with_json().is("list nodes in the cluster"),
    local("reloadnodes", reloadnodes::reloadnodes).is("reload the nodes file all nodes"),
    local("moveip", hosting::moveip).takes("<ip> <node>").is("move an ip address to another node"),
    remote("addip", hosting::addip).takes("<ip/mask> <iface>").is("add an ip address to a node"),
    remote("delip", hosting::delip).takes("<ip>").is("delete an ip address from a node"),
    local("backupdb", backup::backupdb)
        .takes("<dbname|dbid> <file>")
        .is("backup a database into a file"),
    local("restoredb", backup::restoredb)
        .takes("<file> [dbname]")
        .is("restore a database from a file"),
    alone("dumpdbbackup", backup::dumpdbbackup)
        .with_json()
        .takes("<file>")
        .is("dump database from a backup file"),
    local("wipedb", backup::wipedb).takes(DB).is("wipe the contents of a database."),
    remote("leader", status::leader).with_json().is("show the pnn of the leader"),
    alone("event", event::event).is("event and event script commands"),
    alone("scriptstatus", event::scriptstatus)
        .takes("[init|setup|startup|monitor|takeip|releaseip|ipreallocated]")
        .is("show event script status"),
    local("natgw", event::natgw).takes("leader|list|status").is("show natgw configuration"),
    remote("getreclock", status::getreclock).with_json().is("get recovery lock file"),
    remote("setlmasterrole", admin::setlmasterrole).takes("on|off").is("set LMASTER role"),
    remote("setleaderrole", admin::setleaderrole).takes("on|off").is("set LEADER role"),
    remote("setdbreadonly", database::setdbreadonly).takes(DB).is("enable readonly records"),
    remote("setdbsticky", database::setdbsticky).takes(DB).is("enable sticky records"),
    local("pfetch", transaction::pfetch)
        .with_json()
        .takes("<dbname|dbid> <key>")
        .is("fetch record from persistent database"),
    local("pstore", transaction::pstore)
        .takes("<dbname|dbid> <key> <value>")
        .is("write record to persistent database"),
    local("pdelete", transaction::pdelete)
        .takes("<dbname|dbid> <key>")
        .is("delete record from persistent database"),
    local("ptrans", transaction::ptrans)
        .takes("<dbname|dbid> [<file>]")
        .is("update a persistent database (from file or stdin)"),
    remote("tfetch", rawtdb::tfetch)
        .with_json()
        .takes("<tdb-file> <key> [<file>]")
        .is("fetch a record"),
    remote("tstore", rawtdb::tstore)
        .takes("<tdb-file> <key> <data> [<rsn> <dmaster> <flags>]")
        .is("store a record"),
    local("readkey", record::readkey)
        .with_json()
        .takes("<dbname|dbid> <key> [readonly]")
        .is("read value of a database key"),
    local("writekey", record::writekey)
        .takes("<dbname|dbid> <key> <value>")
        .is("write value for a database key"),
    local("deletekey", record::deletekey).takes("<dbname|dbid> <key>").is("delete a database key"),
    local("pushrecord", record::pushrecord)
        .takes("<dbname|dbid> <key> <value>")
        .is("push a record to all nodes"),
    alone("checktcpport", listnodes::checktcpport)
        .with_json()
        .takes("<port>")
        .is("check if a service is bound to a specific tcp port or not"),
    local("getdbseqnum", database::getdbseqnum)
        .with_json()
        .takes(DB)
        .is("get database sequence number"),
    remote("nodestatus", status::nodestatus)
        .with_json()
        .takes("[all|<pnn-list>]")
        .is("show and return node status"),
    remote("dbstatistics", statistics::dbstatistics)
        .with_json()
        .takes(DB)
        .is("show database statistics"),
    local("reloadips", hosting::reloadips)
        .takes("[all|<pnn-list>]")
        .is("reload the public addresses file"),
    // not in the C tool
    live("top", top::top).takes("[<seconds>]").is("watch nodes, databases and hot keys"),
    alone("help", help::help).takes("[<command>]").is("explain a command"),
];

/// The command of this name.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_one_name_each_and_a_description() {
        for (at, command) in COMMANDS.iter().enumerate() {
            assert!(!command.description.is_empty(), "{}", command.name);
            assert!(COMMANDS[at + 1..].iter().all(|other| other.name != command.name));
        }
        assert!(find("STATUS").is_none());
    }
}
