// SPDX-License-Identifier: GPL-3.0-or-later
//! Debian's `ctdb` tool, unmodified, against our daemons. The shapes were recorded from the C
//! daemon.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use ctdb_tests::{like, skip, wait_for, Cluster, Needs, Node};

use super::cluster;

/// Runs the tool on a node, wants exit code `code` and standard output of this shape.
fn says(node: &Node, args: &[&str], code: i32, shape: &str) -> Result<()> {
    let got = node.debian_ctdb(args)?;
    ensure!(got.code == Some(code), "expected exit code {code}: {got}");
    like(&got.stdout, shape).map_err(|e| e.context(format!("ctdb {}", args.join(" "))))
}

/// Waits until a node's line in `ctdb nodestatus all` of node 0 ends like this.
fn becomes(cluster: &Cluster, pnn: usize, flags: &str) -> Result<()> {
    let want = format!("pnn:{pnn} {} {flags}", cluster.nodes[pnn].address());
    let mut last = String::new();
    wait_for(&want, Duration::from_secs(30), || {
        last = cluster.nodes[0].debian_ctdb(&["nodestatus", "all"])?.stdout;
        Ok(like(&last, &format!("...\n{want}\n...")).ok())
    })
    .map_err(|e| e.context(last.clone()))
}

#[test]
fn shows_nodes_and_settings() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = cluster(2)?;
    let [node, other] = [&cluster.nodes[0], &cluster.nodes[1]];
    says(
        node,
        &["status"],
        0,
        "Number of nodes:2\npnn:0 127.0.0.1 OK (THIS NODE)\npnn:1 127.0.0.2 OK\nGeneration:#\n\
         Size:2\nhash:0 lmaster:0\nhash:1 lmaster:1\nRecovery mode:NORMAL (0)\nLeader:#",
    )?;
    says(node, &["nodestatus"], 0, "pnn:0 127.0.0.1 OK (THIS NODE)")?;
    says(
        other,
        &["-X", "nodestatus", "all"],
        0,
        "|Node|IP|Disconnected|Unknown|Banned|Disabled|Unhealthy|Stopped|Inactive|PartiallyOnline|ThisNode|\n\
         |0|127.0.0.1|0|0|0|0|0|0|0|0|N|\n|1|127.0.0.2|0|0|0|0|0|0|0|0|Y|",
    )?;
    says(other, &["pnn"], 0, "1")?;
    says(node, &["ping", "-n", "1"], 0, "response from 1 time=* sec (# clients)")?;
    says(node, &["listnodes"], 0, "127.0.0.1\n127.0.0.2")?;
    says(node, &["runstate"], 0, "RUNNING")?;
    says(node, &["getcapabilities"], 0, "LEADER: YES\nLMASTER: YES")?;
    says(node, &["leader"], 0, "#")?;
    says(node, &["ip"], 0, "Public IPs on node 0")?;
    says(node, &["getreclock"], 0, "*/lock/cluster.lock")?;
    says(
        node,
        &["uptime"],
        0,
        "Current time of node 0 : *\nCtdbd start time : (000 00:#:#) *\n\
         Time of last recovery/failover: (000 00:#:#) *\n\
         Duration of last recovery/failover: #.# seconds",
    )?;
    says(node, &["process-exists", "1"], 1, "PID 1 does not exist")?;
    says(node, &["getdebug"], 0, "INFO")?;
    says(node, &["setdebug", "NOTICE"], 0, "")?;
    says(node, &["getdebug"], 0, "NOTICE")?;

    says(node, &["listvars"], 0, include_str!("../../golden/listvars.txt"))?;
    says(node, &["setvar", "KeepaliveInterval", "4"], 0, "")?;
    says(node, &["getvar", "KeepaliveInterval"], 0, "KeepaliveInterval = 4")?;
    says(other, &["getvar", "KeepaliveInterval"], 0, "KeepaliveInterval = 5")?;
    says(node, &["statistics"], 0, include_str!("../../golden/statistics.txt"))?;
    Ok(())
}

#[test]
fn reads_and_writes_databases() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = cluster(2)?;
    let [node, other] = [&cluster.nodes[0], &cluster.nodes[1]];
    says(node, &["attach", "volatile.tdb"], 0, "")?;
    says(node, &["attach", "persistent.tdb", "persistent"], 0, "")?;
    says(node, &["attach", "replicated.tdb", "replicated"], 0, "")?;
    for (member, pnn) in [(node, 0), (other, 1)] {
        let map = member.debian_ctdb(&["getdbmap"])?.ok()?.stdout;
        for line in [
            format!("dbid:0x* name:volatile.tdb path:*/db/volatile/volatile.tdb.{pnn}"),
            format!(
                "dbid:0x* name:persistent.tdb path:*/db/persistent/persistent.tdb.{pnn} PERSISTENT"
            ),
            format!(
                "dbid:0x* name:replicated.tdb path:*/db/volatile/replicated.tdb.{pnn} REPLICATED"
            ),
        ] {
            like(&map, &format!("Number of databases:3\n...\n{line}\n..."))?;
        }
    }
    says(
        node,
        &["getdbstatus", "persistent.tdb"],
        0,
        "dbid: 0x*\nname: persistent.tdb\npath: */db/persistent/persistent.tdb.0\n\
         PERSISTENT: yes\nREPLICATED: no\nSTICKY: no\nREADONLY: no\nHEALTH: OK",
    )?;

    says(node, &["writekey", "volatile.tdb", "k", "v"], 0, "")?;
    says(node, &["readkey", "volatile.tdb", "k"], 0, "Data: size:1 ptr:[v]")?;
    says(other, &["readkey", "volatile.tdb", "k"], 0, "Data: size:1 ptr:[v]")?;
    says(
        other,
        &["catdb", "volatile.tdb"],
        0,
        "key(1) = \"k\"\ndmaster: 1\nrsn: #\nflags: *\ndata(1) = \"v\"\nDumped 1 records",
    )?;
    says(other, &["deletekey", "volatile.tdb", "k"], 0, "")?;
    says(node, &["catdb", "volatile.tdb"], 0, "Dumped 0 records")?;

    says(node, &["pstore", "persistent.tdb", "a", "b"], 0, "")?;
    says(other, &["pfetch", "persistent.tdb", "a"], 0, "b")?;
    for member in [node, other] {
        says(member, &["getdbseqnum", "persistent.tdb"], 0, "0x1")?;
        says(
            member,
            &["catdb", "persistent.tdb"],
            0,
            "...\nkey(1) = \"a\"\ndmaster: #\nrsn: 1\nflags: *\ndata(1) = \"b\"\n...\nDumped 2 records",
        )?;
        says(
            member,
            &["cattdb", "persistent.tdb"],
            0,
            "...\ndata(1) = \"b\"\n...\nDumped 2 record(s)",
        )?;
    }
    says(other, &["pdelete", "persistent.tdb", "a"], 0, "")?;
    says(node, &["getdbseqnum", "persistent.tdb"], 0, "0x2")?;
    says(node, &["pfetch", "persistent.tdb", "a"], 0, "")?;
    says(
        node,
        &["dbstatistics", "volatile.tdb"],
        0,
        include_str!("../../golden/dbstatistics.txt"),
    )?;
    Ok(())
}

#[test]
fn recovers_and_keeps_records() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let mut cluster = cluster(3)?;
    cluster.nodes[0].debian_ctdb(&["attach", "data.tdb"])?.ok()?;
    cluster.nodes[0].debian_ctdb(&["attach", "safe.tdb", "persistent"])?.ok()?;
    for pnn in 0..3 {
        let (key, value) = (format!("key{pnn}"), format!("value{pnn}"));
        cluster.nodes[pnn].debian_ctdb(&["writekey", "data.tdb", &key, &value])?.ok()?;
        cluster.nodes[pnn].debian_ctdb(&["pstore", "safe.tdb", &key, &value])?.ok()?;
    }
    let before = cluster.settled(&[0, 1, 2])?;
    says(&cluster.nodes[2], &["recover"], 0, "")?;
    let after = cluster.settled(&[0, 1, 2])?;
    ensure!(before.generation != after.generation, "`ctdb recover` left the generation as it was");
    for pnn in 0..3 {
        let (key, value) = (format!("key{pnn}"), format!("value{pnn}"));
        let reader = &cluster.nodes[(pnn + 1) % 3];
        says(reader, &["readkey", "data.tdb", &key], 0, &format!("Data: size:6 ptr:[{value}]"))?;
        says(reader, &["pfetch", "safe.tdb", &key], 0, &value)?;
    }
    says(&cluster.nodes[0], &["getdbseqnum", "safe.tdb"], 0, "0x3")?;
    Ok(())
}

#[test]
fn stops_bans_and_disables_nodes() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let mut cluster = cluster(3)?;
    cluster.nodes[0].debian_ctdb(&["attach", "data.tdb"])?.ok()?;
    cluster.nodes[0].debian_ctdb(&["writekey", "data.tdb", "k", "v"])?.ok()?;

    says(&cluster.nodes[0], &["stop", "-n", "1"], 0, "")?;
    becomes(&cluster, 1, "STOPPED|INACTIVE")?;
    says(&cluster.nodes[0], &["readkey", "data.tdb", "k"], 0, "Data: size:1 ptr:[v]")?;
    says(&cluster.nodes[0], &["continue", "-n", "1"], 0, "")?;
    cluster.settled(&[0, 1, 2])?;
    says(&cluster.nodes[1], &["readkey", "data.tdb", "k"], 0, "Data: size:1 ptr:[v]")?;

    says(&cluster.nodes[0], &["ban", "300", "-n", "2"], 0, "")?;
    becomes(&cluster, 2, "BANNED|INACTIVE")?;
    says(&cluster.nodes[0], &["unban", "-n", "2"], 0, "")?;
    cluster.settled(&[0, 1, 2])?;

    says(&cluster.nodes[0], &["disable", "-n", "1"], 0, "")?;
    becomes(&cluster, 1, "DISABLED")?;
    ensure!(cluster.nodes[0].debian_ctdb(&["nodestatus", "1"])?.code == Some(4));
    says(&cluster.nodes[0], &["enable", "-n", "1"], 0, "")?;
    cluster.settled(&[0, 1, 2])?;
    Ok(())
}

#[test]
fn a_short_ban_ends_by_itself() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let mut cluster = cluster(2)?;
    says(&cluster.nodes[0], &["ban", "12", "-n", "1"], 0, "")?;
    becomes(&cluster, 1, "BANNED|INACTIVE")?;
    cluster.settled(&[0, 1])?;
    Ok(())
}

#[test]
fn shuts_down_promptly_and_is_missed() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let mut cluster = cluster(3)?;
    let began = Instant::now();
    says(&cluster.nodes[0], &["shutdown", "-n", "1"], 0, "")?;
    if let Some(mut ctdbd) = cluster.nodes[1].ctdbd.take() {
        let status = ctdbd.wait(Duration::from_secs(10))?;
        ensure!(status.success(), "node 1 ended with {status}");
    }
    ensure!(began.elapsed() < Duration::from_secs(10));
    ensure!(!cluster.nodes[1].base.join("run/ctdbd.pid").exists(), "the pid file is still there");
    cluster.settled(&[0, 2])?;
    let got = cluster.nodes[1].debian_ctdb(&["status"])?;
    ensure!(!got.success(), "the tool found a daemon that is gone: {got}");
    cluster.nodes[1].start()?;
    cluster.settled(&[0, 1, 2])?;
    Ok(())
}
