// SPDX-License-Identifier: GPL-3.0-or-later
//! Samba's own tools on a cluster: the acceptance checks of spec/samba-client.md 23 (A1 to A20)
//! and the behaviour between nodes of its section 21 (X1 to X12).

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use ctdb_tests::{like, skip, wait_for, wait_until, Cluster, Needs, ShareMode, SMB_USER};

use super::samba_cluster;

/// Runs a Samba tool on a node and wants exit code 0 and output of this shape.
fn gives(cluster: &Cluster, pnn: usize, program: &str, args: &[&str], shape: &str) -> Result<()> {
    let got = cluster.samba_tool(pnn, program, args)?.ok()?;
    like(&got.stdout, shape).with_context(|| format!("node {pnn}: {program} {}", args.join(" ")))
}

#[test]
fn dbwrap_tool_sees_one_database_on_all_nodes() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let cluster = samba_cluster(2)?;
    let tool = |pnn: usize, kind: &str, args: &[&str], shape: &str| {
        gives(&cluster, pnn, "dbwrap_tool", &[&[kind], args].concat(), shape)
    };
    // A1, A2
    let persistent = "--persistent";
    tool(0, persistent, &["foo.tdb", "store", "k", "string", "v"], "...")?;
    tool(1, persistent, &["foo.tdb", "fetch", "k", "string"], "*v*")?;
    tool(0, persistent, &["foo.tdb", "listkeys"], "k\\00")?;
    // A3 to A5
    let volatile = "--non-persistent";
    tool(0, volatile, &["foov.tdb", "store", "k", "string", "v"], "...")?;
    tool(1, volatile, &["foov.tdb", "fetch", "k", "string"], "*v*")?;
    tool(0, volatile, &["foov.tdb", "fetch", "k", "string"], "*v*")?;
    tool(1, volatile, &["foov.tdb", "listkeys"], "k\\00")?;
    tool(0, volatile, &["foov.tdb", "delete", "k"], "...")?;
    tool(1, volatile, &["foov.tdb", "listkeys"], "")?;
    Ok(())
}

#[test]
fn g_lock_excludes_across_nodes() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let cluster = samba_cluster(2)?;
    let conf = format!("--configfile={}", cluster.smb_conf(0).display());
    let mut holder = cluster.nodes[0]
        .command("net")
        .args([&conf, "g_lock", "do", "L", "9000", "echo got; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // A8
    wait_for("node 0 holds L", Duration::from_secs(20), || {
        let dump = cluster.samba_tool(1, "net", &["g_lock", "dump", "L"])?;
        Ok(like(&dump.stdout, "0:#: WRITE*").ok())
    })?;
    // A7
    let refused = cluster.samba_tool(1, "net", &["g_lock", "do", "L", "1", "echo b"])?;
    ensure!(refused.code == Some(255), "{refused}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(said.contains("NT_STATUS_IO_TIMEOUT"), "{refused}");
    // A6: released at once when the holder's command ends
    drop(holder.stdin.take());
    let second = cluster.samba_tool(1, "net", &["g_lock", "do", "L", "9000", "echo b"])?.ok()?;
    ensure!(second.stdout.lines().any(|l| l == "b"), "{second}");
    holder.wait()?;
    // A9
    let locks = cluster.samba_tool(0, "net", &["g_lock", "locks"])?;
    let text = format!("{}{}", locks.stdout, locks.stderr);
    ensure!(text.contains("samba_ve"), "X15, A9: {locks}");
    Ok(())
}

#[test]
fn smbcontrol_and_smbstatus_reach_all_nodes() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let mut cluster = samba_cluster(2)?;
    let held = [
        cluster.smb_hold_open(0, "shared", ShareMode::DenyNone)?,
        cluster.smb_hold_open(1, "shared", ShareMode::DenyNone)?,
    ];
    // X3, A17
    let status = cluster.samba_tool(1, "smbstatus", &[])?.ok()?.stdout;
    let session = |pnn: usize| {
        let prefix = format!("{pnn}:");
        let lines = status.lines().filter(|l| l.contains(SMB_USER) && l.starts_with(&prefix));
        lines.filter_map(|l| l.split_whitespace().next().map(str::to_string)).next()
    };
    let first = session(0).with_context(|| status.clone())?;
    let second = session(1).with_context(|| status.clone())?;
    let open = status.lines().filter(|l| l.contains("shared") && l.contains("DENY_NONE")).count();
    ensure!(open == 2, "{open} opens of the file, expected 2:\n{status}");
    let json = cluster.samba_tool(0, "smbstatus", &["--json"])?.ok()?.stdout;
    let value: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(value["sessions"].as_object().map(|s| s.len()) == Some(2), "{json}");
    for (option, shape) in [("-L", "...\n*shared*\n..."), ("-p", "...\n0:*\n..."), ("-B", "...")] {
        gives(&cluster, 0, "smbstatus", &[option], shape)?;
    }
    // A10 to A12
    let pongs = cluster.samba_tool(0, "smbcontrol", &["all", "ping"])?.ok()?.stdout;
    for pnn in 0..2 {
        let count = pongs.lines().filter(|l| l.contains(&format!("pid {pnn}:"))).count();
        ensure!(count >= 3, "{count} processes of node {pnn} answered:\n{pongs}");
    }
    gives(&cluster, 0, "smbcontrol", &[&second, "ping"], &format!("PONG from pid {second}*"))?;
    gives(&cluster, 0, "smbcontrol", &[&second, "debuglevel"], "PID #:*\n...").or_else(|_| {
        gives(&cluster, 0, "smbcontrol", &[&second, "debuglevel"], "...\n*all:1*\n...")
    })?;
    let nobody = cluster.samba_tool(0, "smbcontrol", &["1:99999", "ping"])?;
    ensure!(nobody.code == Some(1), "{nobody}");
    let said = format!("{}{}", nobody.stdout, nobody.stderr);
    ensure!(said.contains("No replies received"), "{nobody}");
    // A19
    let pid = first.trim_start_matches("0:").to_string();
    let exists = cluster.nodes[0].debian_ctdb(&["process-exists", &pid])?.ok()?;
    like(&exists.stdout, &format!("PID {pid} exists"))?;

    for open in held {
        open.close()?;
    }
    // A20: nothing with data is left of the clients
    wait_until("sessions are gone", Duration::from_secs(20), || {
        let dump = cluster.nodes[0].debian_ctdb(&["catdb", "smbXsrv_session_global.tdb"]);
        dump.is_ok_and(|d| like(&d.stdout, "Dumped 0 records").is_ok())
    })?;

    // X10: what belonged to a dead node is not listed any more
    let held = cluster.smb_hold_open(1, "shared", ShareMode::DenyNone)?;
    cluster.nodes[0].kill()?;
    cluster.settled(&[1])?;
    wait_until("smbstatus forgets node 0", Duration::from_secs(20), || {
        cluster
            .samba_tool(1, "smbstatus", &[])
            .is_ok_and(|s| s.success() && s.stdout.contains("shared") && !s.stdout.contains("\n0:"))
    })?;
    held.close()
}

#[test]
fn registry_shares_and_accounts_are_the_same_everywhere() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let cluster = samba_cluster(2)?;
    let net = |pnn: usize, args: &[&str], shape: &str| gives(&cluster, pnn, "net", args, shape);
    // A13
    net(0, &["registry", "createkey", r"HKLM\Software\Test"], "...")?;
    net(0, &["registry", "setvalue", r"HKLM\Software\Test", "name", "sz", "value"], "...")?;
    net(1, &["registry", "getvalue", r"HKLM\Software\Test", "name"], "...\nValue*\"value\"\n...")?;
    let seqnum = |pnn: usize| -> Result<String> {
        Ok(cluster.nodes[pnn].debian_ctdb(&["getdbseqnum", "registry.tdb"])?.ok()?.stdout)
    };
    ensure!(seqnum(0)? == seqnum(1)?, "sequence numbers of registry.tdb differ");
    // A14
    net(1, &["conf", "addshare", "S", "/tmp"], "...")?;
    net(0, &["conf", "showshare", "S"], "...\n*path = /tmp\n...")?;
    net(0, &["conf", "delshare", "S"], "...")?;
    net(1, &["conf", "listshares"], "")?;
    // A15, A16
    let sid = cluster.samba_tool(0, "net", &["getlocalsid"])?.ok()?.stdout;
    net(1, &["getlocalsid"], &sid)?;
    for pnn in 0..2 {
        gives(&cluster, pnn, "pdbedit", &["-L"], &format!("...\n{SMB_USER}:*\n..."))?;
    }
    Ok(())
}

#[test]
fn clients_notice_no_recovery() -> Result<()> {
    if skip(Needs::Samba) {
        return Ok(());
    }
    let mut cluster = samba_cluster(2)?;
    // X1
    cluster.smb_write(0, "a", "text")?;
    cluster.smbclient(1, "rename a b")?.ok()?;
    ensure!(!cluster.smbclient(0, "get a")?.success());
    ensure!(cluster.smb_read(0, "b")? == "text");
    // X12: an open survives, work goes on
    let held = cluster.smb_hold_open(0, "b", ShareMode::DenyAll)?;
    for round in 0..5 {
        cluster.nodes[round % 2].debian_ctdb(&["recover"])?.ok()?;
        let name = format!("file{round}");
        let began = Instant::now();
        cluster.smb_write(round % 2, &name, &name)?;
        ensure!(cluster.smb_read((round + 1) % 2, &name)? == name);
        ensure!(began.elapsed() < Duration::from_secs(20), "round {round}: too slow");
        cluster.smbclient(0, &format!("del {name}"))?.ok()?;
    }
    let refused = cluster.smb_open(1, "b", ShareMode::DenyNone)?;
    ensure!(refused != ctdb_tests::OpenResult::Opened, "the recovery lost an open");
    held.close()?;
    cluster.settled(&[0, 1])?;
    Ok(())
}
