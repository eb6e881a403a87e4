// SPDX-License-Identifier: GPL-3.0-or-later
//! The event scripts and the function library that Debian ships call `ctdb` and take its output
//! apart (spec/events-config.md 19, spec/tool.md 3.4). Each snippet here is run with Debian's tool
//! and with ours in front of a scripted daemon: the scripts have to say and do the same, down to
//! what the daemon is told in the end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Result};
use ctdb_tests::fake::{scenario, FakeDaemon};
use ctdb_tests::{run, skip, Needs, Netns, Side};

const LIMIT: Duration = Duration::from_secs(60);
const DEBIAN: &str = "/usr/bin/ctdb";

/// Makes a configuration directory of Debian's files around the daemon's own, and a network in
/// which the scripts find what they look for.
const PRELUDE: &str = r#"
set -u
B=$CTDB_BASE
mkdir -p $B/events/legacy $B/scripts $B/etc/default $B/bin
ln -s /etc/ctdb/functions $B/functions
for script in /usr/share/ctdb/events/legacy/*.script; do ln -s $script $B/events/legacy/; done
ln -s $CTDB $B/bin/ctdb
export PATH=$B/bin:$PATH CTDB_SCRIPT_VARDIR=$B/scripts CTDB_SYS_ETCDIR=$B/etc CTDB_LOGGING=file:$B/log
for a in 192.168.100.2 10.1.1.1 10.7.7.7; do ip addr replace $a/32 dev lo; done
printf '127.0.0.1\n127.0.0.2\n127.0.0.3 follower-only\n' > $B/natgw_nodes
cp $B/natgw_nodes $B/lvs_nodes
event() { bash $B/events/legacy/$1.script $2; echo "$1 $2: $?"; }
"#;

/// A name, the scenarios, the snippet, and what has to be in its output or among what the daemon
/// was told.
const SNIPPETS: &[(&str, &[&str], &str, &[&str])] = &[
    (
        "the function library knows who and where it is",
        &["addresses", "partial", "flags", "one"],
        r#"bash -c '. $CTDB_BASE/functions; ctdb_get_pnn; ctdb_get_ip_address'"#,
        &["0\n127.0.0.1\n"],
    ),
    (
        "a service that listens is told from one that does not",
        &["one"],
        r#"python3 -c '
import os, socket, subprocess
s = socket.socket(); s.bind(("0.0.0.0", 445)); s.listen()
test = ". $CTDB_BASE/functions; for p in 445 446; do ctdb_check_tcp_ports $p; echo $?; done"
subprocess.run(["bash", "-c", test])'"#,
        &["0\n not listening on TCP port 446\n1\n"],
    ),
    (
        "tracked connections follow those that there are",
        &["addresses"],
        r#"python3 -c '
import os, socket, subprocess
s = socket.socket(); s.bind(("192.168.100.2", 445)); s.listen()
def connect(a, p):
    c = socket.socket(); c.bind((a, p)); c.connect(("192.168.100.2", 445)); return c
kept = [connect("10.7.7.7", 5555), connect("10.1.1.1", 50008)]
test = ". $CTDB_BASE/functions; ctdb_setup_state_dir service x; update_tickles 445; echo $?"
subprocess.run(["bash", "-c", test])'"#,
        &[
            "@ 0 TCP_ADD_DELAYED_UPDATE {src: {ip: \"10.7.7.7\", port: 5555}",
            "@ 0 TCP_REMOVE {src: {ip: \"10.1.1.22\", port: 50009}",
        ],
    ),
    (
        "the NAT gateway and LVS groups choose by the nodes' flags",
        &["healthy", "flags", "partial", "starting", "stopped", "banned"],
        r#"for group in ctdb_natgw ctdb_lvs; do for what in leader list status; do
/usr/libexec/ctdb/$group $what; echo "$group $what: $?"; done; done"#,
        &["ctdb_natgw leader: 0"],
    ),
    (
        "interfaces are monitored",
        &["addresses"],
        r#"printf '192.168.100.2/24 eth1,eth2\n192.168.100.1/24 eth1\n' > $B/public_addresses
ip link show eth1 >/dev/null 2>&1 || { ip link add eth1 type veth peer name eth2
ip link set eth1 up; ip link set eth2 up; }
event 10.interface startup; event 10.interface monitor"#,
        &[
            "@ 0 SET_IFACE_LINK_STATE {name: \"bond0.100\", link_state: 0",
            "10.interface startup: 0",
        ],
    ),
    (
        "routes for addresses are set up where they are",
        &["addresses"],
        r#"cat > $B/events/legacy/13.per_ip_routing.options <<END
CTDB_PER_IP_ROUTING_CONF=$B/routes
CTDB_PER_IP_ROUTING_RULE_PREF=100
CTDB_PER_IP_ROUTING_TABLE_ID_LOW=1000
CTDB_PER_IP_ROUTING_TABLE_ID_HIGH=1010
END
echo '192.168.100.2 0.0.0.0/0 192.168.100.254' > $B/routes
event 13.per_ip_routing ipreallocated; event 13.per_ip_routing startup; ip rule show"#,
        &["13.per_ip_routing ipreallocated: 0"],
    ),
    (
        "a NAT gateway is set up",
        &["healthy", "addresses"],
        r#"cat > $B/events/legacy/11.natgw.options <<END
CTDB_NATGW_PUBLIC_IP=10.99.0.1/24
CTDB_NATGW_PUBLIC_IFACE=lo
CTDB_NATGW_PRIVATE_NETWORK=10.98.0.0/24
CTDB_NATGW_NODES=$B/natgw_nodes
END
event 11.natgw ipreallocated; cat $B/scripts/failover/natgw/cfg_old"#,
        &["11.natgw ipreallocated: 0"],
    ),
    (
        "the cluster's own database is attached at startup",
        &["healthy"],
        "event 00.ctdb startup; event 00.ctdb startup",
        &["@ 0 DB_ATTACH_PERSISTENT \"ctdb.tdb\""],
    ),
    (
        "NFS clients are kept in a database",
        &["addresses"],
        r#"for name in nfs nfs-common nfs-kernel-server; do
echo NFS_HOSTNAME=cluster > $B/etc/default/$name; done
$CTDB attach ctdb.tdb persistent
for what in 'add-client 10.5.5.5 x' update notify 'add-client 10.5.5.6 x' update \
    'del-client 10.5.5.6' update; do
sh /etc/ctdb/statd-callout $what; echo "$what: $?"; done
$CTDB catdb ctdb.tdb"#,
        &["TRANS3_COMMIT [\"statd-state@192.168.100.2@10.5.5.5\"", "notify: 0"],
    ),
    (
        "onnode picks nodes by their state",
        &["flags", "partial", "healthy", "addresses"],
        r#"printf '#!/bin/sh\necho "ssh $*"\n' > $B/ssh; chmod +x $B/ssh; export ONNODE_SSH=$B/ssh
for nodes in ok con healthy connected; do onnode -q $nodes hello; echo "$nodes: $?"; done"#,
        &["ssh -n 127.0.0.2 hello"],
    ),
    (
        "the calls that services make at start and stop",
        &["healthy"],
        r#"$CTDB status >/dev/null; echo "status: $?"; $CTDB runstate startup running; echo "runstate: $?"
$CTDB shutdown; echo "shutdown: $?""#,
        &["status: 0", "shutdown: 0", "@ 0 SHUTDOWN"],
    ),
    (
        "a backup script finds the persistent databases",
        &["databases", "records"],
        r#"[ "$($CTDB pnn)" = "$($CTDB leader)" ] && echo leader
$CTDB getdbmap -X | awk -F'|' '$5 == 1 { print $3 }' | while read -r db; do
$CTDB backupdb $db $db.bak; echo "$db: $?"; ls $db.bak; done"#,
        &["leader\n", "persistent.tdb: 0"],
    ),
];

/// Everything that a snippet says and does with one tool.
fn said(snippet: &str, state: &str, program: &Path) -> Result<String> {
    let dir = tempfile::Builder::new().prefix("ctdb-scripts-").tempdir()?;
    let daemon = FakeDaemon::start(dir.path(), scenario(state)?)?;
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{PRELUDE}{snippet}")]).current_dir(dir.path());
    command.envs(daemon.env()).env("CTDB", program).env("TZ", "UTC");
    let outcome = run(&mut command, LIMIT)?;
    ensure!(!outcome.timed_out, "took too long: {outcome}");
    let notes: String = daemon.take_notes().iter().map(|note| format!("@ {note}\n")).collect();
    let text = format!("{}{}{notes}", outcome.stdout, outcome.stderr);
    let text = text.replace(&dir.path().display().to_string(), "BASE");
    Ok(text.replace(&program.display().to_string(), "ctdb"))
}

/// Without times, which are the values of NFS clients' records.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        if digits.len() == 10 && digits.starts_with("17") {
            out.push_str(&word.replace(digits, "TIME"));
        } else {
            out.push_str(word);
        }
    }
    out
}

#[test]
fn shipped_scripts_work_with_our_tool() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let _netns = Netns::private()?;
    let ours = Side::our_tool()?;
    let mut failures = Vec::new();
    for (name, states, snippet, expected) in SNIPPETS {
        let mut seen = String::new();
        for state in *states {
            let want = without_times(&said(snippet, state, DEBIAN.as_ref())?);
            let got = without_times(&said(snippet, state, &ours)?);
            if want != got {
                failures.push(format!("{name} ({state})\n--- Debian's\n{want}--- ours\n{got}"));
            }
            seen += &got;
        }
        for wanted in *expected {
            if !seen.contains(wanted) {
                failures.push(format!("{name}: no {wanted:?} in\n{seen}"));
            }
        }
    }
    ensure!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
