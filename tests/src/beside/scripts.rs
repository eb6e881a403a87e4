// SPDX-License-Identifier: GPL-3.0-or-later
//! What is run with both tools.

use super::mask::Mask;

/// What a script does to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It only reads: it may run beside others.
    Reads,
    /// It changes something and changes it back.
    Acts,
    /// It waits for a recovery: the C daemon takes its time.
    Recovers,
}

/// Commands that are run one after the other with one tool.
#[derive(Clone, Debug)]
pub struct Script {
    /// The commands that it is about.
    pub commands: &'static [&'static str],
    /// Command lines without `ctdb`. `{t}` are letters and `{victim}` a node that differ between
    /// the tools; what is behind ` < ` is standard input, with `/` between lines; `@N ` in front
    /// runs on node N.
    pub lines: Vec<String>,
    /// What is not compared.
    pub mask: Mask,
    /// What it does.
    pub kind: Kind,
    /// Fewest nodes that it needs.
    pub nodes: usize,
    /// It needs public addresses that the daemon hands out.
    pub addresses: bool,
    /// Why the tools differ, if they do on purpose.
    pub differs: Option<&'static str>,
}

/// Every output mode.
const MODES: [&str; 6] = ["", "-v ", "-X ", "-Y ", "-X -x ; ", "-x : "];

/// A list of scripts that is being written.
#[derive(Default)]
struct List(Vec<Script>);

impl List {
    fn add(
        &mut self,
        kind: Kind,
        commands: &'static [&'static str],
        mask: Mask,
        lines: &[&str],
    ) -> &mut Script {
        let lines = lines.iter().map(|line| line.to_string()).collect();
        self.0.push(Script {
            commands,
            lines,
            mask,
            kind,
            nodes: 1,
            addresses: false,
            differs: None,
        });
        let at = self.0.len() - 1;
        &mut self.0[at]
    }

    /// One script for each line, in each output mode.
    fn modes(&mut self, commands: &'static [&'static str], mask: Mask, lines: &[&str]) {
        for line in lines {
            for mode in MODES {
                self.add(Kind::Reads, commands, mask, &[&format!("{mode}{line}")]);
            }
        }
    }

    /// One script for each line.
    fn reads(&mut self, commands: &'static [&'static str], mask: Mask, lines: &[&str]) {
        for line in lines {
            self.add(Kind::Reads, commands, mask, &[line]);
        }
    }

    fn acts(&mut self, commands: &'static [&'static str], lines: &[&str]) -> &mut Script {
        self.add(Kind::Acts, commands, Mask::Exact, lines)
    }

    fn recovers(&mut self, commands: &'static [&'static str], lines: &[&str]) -> &mut Script {
        self.add(Kind::Recovers, commands, Mask::Exact, lines)
    }
}

/// All scripts, those that only read first.
pub fn scripts() -> Vec<Script> {
    let mut list = List::default();
    status(&mut list);
    settings(&mut list);
    addresses(&mut list);
    databases(&mut list);
    records(&mut list);
    administration(&mut list);
    let mut scripts = list.0;
    scripts.sort_by_key(|script| script.kind);
    scripts
}

fn status(list: &mut List) {
    list.add(Kind::Reads, &["version"], Mask::Exact, &["version"]).differs =
        Some("each its own version");
    // the human form waits for the leader: one of each is enough
    list.reads(&["status"], Mask::Exact, &["status", "-v status", "-x : status", "@1 status"]);
    list.reads(
        &["status"],
        Mask::Exact,
        &["-X status", "-Y status", "-X -x ; status", "@1 -X status"],
    );
    list.reads(&["status"], Mask::Exact, &["-n 1 -X status", "-n 7 status"]);
    list.modes(&["nodestatus"], Mask::Exact, &["nodestatus", "nodestatus all", "nodestatus 0"]);
    list.reads(
        &["nodestatus"],
        Mask::Exact,
        &["nodestatus 0,1", "nodestatus 9", "@1 -X nodestatus"],
    );
    list.modes(&["uptime"], Mask::Numbers, &["uptime"]);
    list.reads(&["uptime"], Mask::Numbers, &["-n 1 uptime", "@1 uptime"]);
    list.modes(&["ping"], Mask::Numbers, &["ping"]);
    list.reads(&["ping"], Mask::Numbers, &["-n 1 ping", "-n 9 ping"]);
    list.modes(&["runstate"], Mask::Exact, &["runstate"]);
    list.reads(&["runstate"], Mask::Exact, &["runstate RUNNING", "runstate setup", "runstate x"]);
    list.modes(&["pnn"], Mask::Exact, &["pnn"]);
    list.reads(&["pnn"], Mask::Exact, &["@1 pnn", "-n 1 pnn"]);
    list.reads(&["leader"], Mask::Exact, &["leader", "-X leader"]);
    list.reads(&["getpid"], Mask::Exact, &["getpid", "-n 1 getpid"]);
    list.modes(&["getcapabilities"], Mask::Exact, &["getcapabilities"]);
    list.reads(&["getreclock"], Mask::Exact, &["getreclock", "@1 getreclock"]);
    list.reads(&["process-exists"], Mask::Exact, &["process-exists 1", "process-exists 1 0x7"]);
    list.modes(&["listnodes"], Mask::Exact, &["listnodes"]);
    list.reads(&["dumpmemory"], Mask::Presence, &["dumpmemory", "-n 1 dumpmemory"]);
    list.add(Kind::Reads, &["rddumpmemory"], Mask::Presence, &["-T 5 rddumpmemory"]);
    list.reads(&["checktcpport"], Mask::Exact, &["checktcpport 4379", "checktcpport 1"]);
    list.reads(&["scriptstatus"], Mask::Numbers, &["scriptstatus", "scriptstatus startup"]);
    list.reads(&["scriptstatus"], Mask::Numbers, &["scriptstatus nothing"]);
    list.reads(&["event"], Mask::Numbers, &["event status legacy monitor"]);
    list.reads(&["event"], Mask::Exact, &["event script list legacy", "event script list nothing"]);
    list.reads(&["natgw"], Mask::Exact, &["natgw leader", "natgw list", "natgw status"]);
    list.reads(&["lvs"], Mask::Exact, &["lvs leader", "lvs list", "lvs status"]);
}

/// Of a node that has gone, asked on one that is left and on the one that is gone.
pub fn scripts_without_a_node() -> Vec<Script> {
    let mut list = List::default();
    let words = [
        "status",
        "-X status",
        "nodestatus all",
        "-X nodestatus",
        "ping",
        "-n 1 ping",
        "-n 2 ping",
        "listnodes",
        "ip all",
        "getdbmap",
        "-n 2 disable",
        "-n 2 getvar x",
    ];
    for word in words {
        list.add(Kind::Reads, &["status"], Mask::Numbers, &[word, &format!("@2 {word}")]);
    }
    list.0
}

fn settings(list: &mut List) {
    list.reads(&["listvars"], Mask::Exact, &["listvars", "-X listvars", "-n 1 listvars"]);
    list.reads(&["getvar"], Mask::Exact, &["getvar KeepaliveInterval", "getvar keepaliveinterval"]);
    list.reads(&["getvar"], Mask::Exact, &["getvar NoSuchVariable"]);
    list.reads(&["getvar"], Mask::Usage, &["getvar"]);
    list.acts(
        &["setvar"],
        &[
            "setvar StickyDuration 601",
            "getvar StickyDuration",
            "-n 1 getvar StickyDuration",
            "setvar StickyDuration 600",
            "setvar StickyDuration x",
            "setvar NoSuchVariable 1",
            "getvar StickyDuration",
        ],
    );
    list.reads(&["getdebug"], Mask::Exact, &["getdebug", "-X getdebug", "-n 1 getdebug"]);
    list.acts(
        &["setdebug"],
        &["setdebug WARNING", "getdebug", "setdebug x", "setdebug INFO", "getdebug"],
    );
    list.modes(&["statistics"], Mask::Numbers, &["statistics"]);
    list.modes(&["stats"], Mask::Lines, &["stats"]);
    list.add(
        Kind::Acts,
        &["statisticsreset"],
        Mask::Numbers,
        &["statisticsreset", "-X statistics"],
    );
    list.reads(
        &["dbstatistics"],
        Mask::Numbers,
        &["dbstatistics data.tdb", "dbstatistics none.tdb"],
    );
}

fn addresses(list: &mut List) {
    list.modes(&["ip"], Mask::Exact, &["ip", "ip all"]);
    list.reads(&["ip"], Mask::Exact, &["-Xv ip", "-Xv ip all", "@1 ip", "-n 1 -v ip"]);
    list.reads(&["ipinfo"], Mask::Exact, &["ipinfo 10.77.0.1", "-n 1 ipinfo 10.77.0.2"]);
    list.reads(&["ipinfo"], Mask::Exact, &["ipinfo 10.77.0.9", "ipinfo x"]);
    list.modes(&["ifaces"], Mask::Exact, &["ifaces"]);
    list.reads(&["gettickles"], Mask::Exact, &["gettickles 10.77.0.1", "gettickles 10.77.0.9"]);
    list.add(Kind::Reads, &["gettickles"], Mask::Exact, &["-X gettickles 10.77.0.1"]).differs =
        Some("\"Destination\" is spelt right, as in 4.25");
    let tickles = list.acts(
        &["addtickle", "deltickle"],
        &[
            "addtickle 10.9.9.9:1234 10.77.0.1:445",
            "addtickle < 10.9.9.8:1234 10.77.0.1:445/10.9.9.7:1 10.77.0.1:445",
            "addtickle x y",
            "deltickle 10.9.9.9:1234 10.77.0.1:445",
            "deltickle < 10.9.9.8:1234 10.77.0.1:445/10.9.9.7:1 10.77.0.1:445",
        ],
    );
    tickles.addresses = true;
    list.acts(&["deltickle"], &["deltickle 10.9.9.6:1234 10.77.0.1:445", "deltickle x y"]);
    list.acts(&["tickle"], &["tickle 10.9.9.9:1234 127.0.0.1:445", "tickle x y"]);
    list.acts(&["setifacelink"], &["setifacelink lo up", "setifacelink none up"]);
    list.acts(&["gratarp"], &["gratarp 10.77.0.1 lo", "gratarp x lo"]);
    let moved = list.acts(&["moveip"], &["-t 2 moveip 10.77.0.1 1", "moveip 10.77.0.1 x"]);
    (moved.addresses, moved.nodes) = (true, 2);
    let added = list.acts(
        &["addip"],
        &["addip 10.77.0.7/24 lo", "addip 10.77.0.7/24 lo", "ipinfo 10.77.0.7", "delip 10.77.0.7"],
    );
    (added.addresses, added.mask) = (true, Mask::Numbers);
    list.acts(&["delip"], &["delip 10.77.0.99", "delip x"]);
    list.acts(&["reloadips"], &["-t 3 reloadips", "-t 3 reloadips all", "reloadips x"]);
}

fn databases(list: &mut List) {
    list.modes(&["getdbmap"], Mask::Exact, &["getdbmap"]);
    list.reads(&["getdbmap"], Mask::Exact, &["@1 getdbmap", "-n 1 -X getdbmap"]);
    let status = ["getdbstatus data.tdb", "getdbstatus safe.tdb", "-n 1 getdbstatus copied.tdb"];
    list.reads(&["getdbstatus"], Mask::Exact, &status);
    list.reads(&["getdbstatus"], Mask::Exact, &["getdbstatus none.tdb", "getdbstatus 0x1"]);
    list.reads(&["getdbseqnum"], Mask::Exact, &["getdbseqnum safe.tdb", "getdbseqnum data.tdb"]);
    list.acts(
        &["attach"],
        &[
            "attach data.tdb",
            "attach safe.tdb",
            "attach data.tdb persistent",
            "attach new-{t}.tdb",
            "attach new-{t}.tdb",
            "attach new-{t}-p.tdb persistent",
            "attach new-{t}-r.tdb replicated",
            "attach new-{t}-s.tdb sticky",
        ],
    );
    list.acts(
        &["setdbreadonly"],
        &[
            "setdbreadonly safe.tdb",
            "setdbreadonly none.tdb",
            "attach ro-{t}.tdb",
            "setdbreadonly ro-{t}.tdb",
        ],
    );
    list.acts(
        &["setdbsticky"],
        &[
            "setdbsticky safe.tdb",
            "setdbsticky none.tdb",
            "attach st-{t}.tdb",
            "setdbsticky st-{t}.tdb",
        ],
    );
    list.acts(&["detach"], &["detach data.tdb", "detach safe.tdb", "detach none.tdb"]);
    list.add(
        Kind::Acts,
        &["backupdb"],
        Mask::Numbers,
        &["backupdb safe.tdb s{t}.bak", "dumpdbbackup s{t}.bak", "backupdb none.tdb x.bak"],
    );
    list.add(
        Kind::Acts,
        &["dumpdbbackup"],
        Mask::Numbers,
        &["backupdb data.tdb d{t}.bak", "dumpdbbackup d{t}.bak", "dumpdbbackup no-such-file"],
    );
    list.add(
        Kind::Acts,
        &["restoredb"],
        Mask::Numbers,
        &[
            "backupdb safe.tdb r{t}.bak",
            "pstore safe.tdb other value",
            "restoredb r{t}.bak",
            "pfetch safe.tdb other",
            "pfetch safe.tdb key",
            "restoredb r{t}.bak restored-{t}.tdb",
            "catdb restored-{t}.tdb",
            "restoredb nodes",
        ],
    );
    list.add(
        Kind::Acts,
        &["wipedb"],
        Mask::Numbers,
        &[
            "attach wiped-{t}.tdb persistent",
            "pstore wiped-{t}.tdb k v",
            "wipedb wiped-{t}.tdb",
            "pfetch wiped-{t}.tdb k",
            "wipedb none.tdb",
        ],
    );
}

fn records(list: &mut List) {
    list.reads(
        &["catdb"],
        Mask::Records,
        &["catdb data.tdb", "catdb safe.tdb", "catdb copied.tdb"],
    );
    list.reads(&["catdb"], Mask::Exact, &["catdb none.tdb"]);
    list.reads(
        &["cattdb"],
        Mask::Records,
        &["cattdb data.tdb", "cattdb safe.tdb", "@1 cattdb data.tdb"],
    );
    let volatile = [
        "writekey data.tdb new-{t} value",
        "readkey data.tdb new-{t}",
        "@1 readkey data.tdb new-{t}",
        "@1 writekey data.tdb new-{t} 0x00ff",
        "readkey data.tdb new-{t} readonly",
        "readkey data.tdb nothing-{t}",
        "deletekey data.tdb new-{t}",
        "readkey data.tdb new-{t}",
        "readkey safe.tdb key",
        "writekey none.tdb k v",
    ];
    list.acts(&["readkey", "writekey", "deletekey"], &volatile);
    let persistent = [
        "pstore safe.tdb new value",
        "pfetch safe.tdb new",
        "@1 pfetch safe.tdb new",
        "pstore safe.tdb new 0x6100",
        "pdelete safe.tdb new",
        "pfetch safe.tdb new",
        "pfetch data.tdb key",
        "pstore none.tdb k v",
    ];
    list.acts(&["pfetch", "pstore", "pdelete"], &persistent);
    list.acts(
        &["ptrans"],
        &[
            "ptrans safe.tdb < \"one\" \"1\"/\"two\" \"2\"/nonsense",
            "pfetch safe.tdb one",
            "ptrans safe.tdb < \"one\" \"\"/\"two\" \"\"",
            "pfetch safe.tdb one",
            "ptrans data.tdb < \"one\" \"1\"",
        ],
    );
    let raw = [
        "backupdb none.tdb x",
        "tstore db/volatile/raw-{t}.tdb.0 key value",
        "tfetch db/volatile/raw-{t}.tdb.0 key",
        "tfetch db/volatile/none key",
    ];
    list.acts(&["tfetch", "tstore"], &raw);
}

fn administration(list: &mut List) {
    let disabled = [
        "-n 1 disable",
        "-X nodestatus all",
        "-n 1 disable",
        "-n 1 enable",
        "-X nodestatus all",
        "-n 1 enable",
    ];
    list.acts(&["disable", "enable"], &disabled).nodes = 2;
    list.acts(&["ipreallocate"], &["ipreallocate", "ipreallocate x"]).mask = Mask::Usage;
    list.acts(&["sync"], &["sync"]);
    let roles = ["setlmasterrole off", "getcapabilities", "setlmasterrole on", "getcapabilities"];
    list.acts(&["setlmasterrole"], &roles);
    let roles = ["setleaderrole off", "getcapabilities", "setleaderrole on", "getcapabilities"];
    list.acts(&["setleaderrole"], &roles);
    list.acts(&["reloadnodes"], &["reloadnodes"]);
    let stopped = [
        "-t 2 -n 1 stop",
        "-X nodestatus all",
        "@1 -X nodestatus all",
        "-n 1 stop",
        "-t 2 -n 1 continue",
        "-X nodestatus all",
        "-n 1 continue",
    ];
    list.recovers(&["stop", "continue"], &stopped).nodes = 2;
    let banned = [
        "-t 2 -n 1 ban 300",
        "-X nodestatus all",
        "@1 -X nodestatus all",
        "-n 1 ban 300",
        "-t 2 -n 1 unban",
        "-X nodestatus all",
        "-n 1 unban",
        "-n 1 ban 0",
    ];
    list.recovers(&["ban", "unban"], &banned).nodes = 2;
    list.recovers(&["recover"], &["-t 2 recover", "-X status"]);
    list.recovers(&["shutdown"], &["-n {victim} shutdown"]).nodes = 3;
}
