// SPDX-License-Identifier: GPL-3.0-or-later
//! Our tool and Debian's, one after the other on the same daemons: output, complaints and exit code
//! have to be the same to the byte. The daemons are Debian's, or those that `CTDBD` names.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use ctdb_tests::{run, skip, Cluster, Needs, Node, Options, Outcome, Side};

const OURS: &str = env!("CARGO_BIN_EXE_ctdb");
const DEBIANS: &str = "/usr/bin/ctdb";
const LIMIT: Duration = Duration::from_secs(60);

/// Commands that leave the cluster as it is, or that can be given twice.
const TWICE: &[&str] = &[
    "status",
    "-X status",
    "-X -x : status",
    "-n 1 status",
    "nodestatus",
    "nodestatus all",
    "-X nodestatus all",
    "nodestatus 0,7",
    "nodestatus 1,0",
    "nodestatus x",
    "-n 1 nodestatus",
    "runstate",
    "runstate foo",
    "runstate startup",
    "runstate startup running foo",
    "getvar foo",
    "getvar traversetimeout",
    "-n 1 getvar TraverseTimeout",
    "setvar TraverseTimeout x",
    "setvar nosuch 3",
    "setvar TraverseTimeout 21x",
    "getvar TraverseTimeout",
    "listvars",
    "uptime",
    "-n 1 uptime",
    "ping",
    "-n 1 ping",
    "-t 0 ping",
    "-n 9 ping",
    "-n all ping",
    "-n",
    "--badopt",
    "-Xq ping",
    "-T x ping",
    "nosuchcommand",
    "-n 1 pnn",
    "-n 0 pnn",
    "pnn extra",
    "getcapabilities",
    "-X getcapabilities",
    "getpid",
    "leader",
    "-n 1 leader",
    "getreclock",
    "getdebug",
    "setdebug foo",
    "setdebug info",
    "setdebug 11",
    "process-exists 1",
    "process-exists 1 0x5",
    "process-exists 1 zz",
    "ip",
    "-X ip",
    "ip all",
    "-v ip",
    "-Xv ip all",
    "ipinfo 1.2.3.4",
    "ipinfo foo",
    "ifaces",
    "setifacelink lo up",
    "setifacelink 12345678901234567 up",
    "gettickles 1.2.3.4",
    "attach v.tdb",
    "attach p.tdb persistent",
    "attach r.tdb replicated",
    "attach s.tdb sticky",
    "attach o.tdb readonly",
    "attach v.tdb persistent",
    "attach p.tdb",
    "getdbmap",
    "-X getdbmap",
    "-n 1 getdbmap",
    "getdbstatus p.tdb",
    "getdbstatus 0x1",
    "getdbstatus nosuch",
    "writekey v.tdb k v",
    "writekey v.tdb 0x6b3200 0x0102ff22",
    "readkey v.tdb k",
    "readkey v.tdb k readonly",
    "readkey v.tdb 0x6b3200",
    "readkey v.tdb none",
    "readkey v.tdb 0xzz",
    "readkey v.tdb 0x1",
    "writekey v.tdb k 0x1",
    "readkey p.tdb k",
    "readkey nosuch k",
    "catdb v.tdb",
    "cattdb v.tdb",
    "deletekey v.tdb k",
    "cattdb v.tdb",
    "catdb v.tdb",
    "pstore p.tdb pk pv",
    "getdbseqnum p.tdb",
    "pfetch p.tdb pk",
    "pfetch p.tdb none",
    "pdelete p.tdb pk",
    "pfetch p.tdb pk",
    "getdbseqnum p.tdb",
    "pstore r.tdb rk rv",
    "pfetch r.tdb rk",
    "pstore v.tdb a b",
    "catdb p.tdb",
    "cattdb r.tdb",
    "dbstatistics s.tdb",
    "dbstatistics nosuch",
    "setdbreadonly p.tdb",
    "setdbsticky p.tdb",
    "ban 0",
    "ban x",
    "continue",
    "unban",
    "enable",
    "statisticsreset",
    "listnodes",
    "-X listnodes",
    "-n 1 listnodes",
    "checktcpport 4379",
    "detach v.tdb",
];

/// Commands whose numbers differ from call to call.
const SHAPES: &[&str] =
    &["statistics", "-X statistics", "-n 1 statistics", "dbstatistics v.tdb", "-X stats", "stats"];

fn cluster() -> Result<Option<Cluster>> {
    if skip(Needs::DebianCtdb) {
        return Ok(None);
    }
    let side = match std::env::var_os("CTDBD") {
        Some(_) => Side::from_env()?,
        None => Side::debian(),
    };
    Ok(Some(Cluster::start(Options::new(side, 2))?))
}

fn call(node: &Node, program: &str, line: &str) -> Result<Outcome> {
    let args: Vec<&str> = line.split_whitespace().collect();
    run(node.command(Path::new(program)).args(args), LIMIT)
}

/// What two runs cannot have in common: times.
fn timeless(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = match line {
            l if l.starts_with("response from") => {
                let cut = |l: &str| l.split(" time=").next().unwrap_or_default().to_string();
                format!("{} {}", cut(l), l.split("sec").nth(1).unwrap_or_default())
            }
            l if l.contains(" node ") && l.contains("Current time") => cut_numbers(l),
            l if l.contains("Ctdbd start") || l.contains("Time of last") => cut_numbers(l),
            l => l.to_string(),
        };
        lines.push(line);
    }
    lines.join("\n")
}

/// Layout without numbers: a row of a table keeps its width.
fn shape(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(cut_times).collect();
    lines.iter_mut().for_each(|line| {
        if !line.contains("_buckets:") && !line.contains("MIN/AVG/MAX") && !line.contains('|') {
            let width = line.len();
            let name = line.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
            *line = format!("{name} ({width})");
        } else {
            line.retain(|c| !c.is_ascii_digit());
        }
    });
    lines.join("\n")
}

fn cut_times(line: &str) -> String {
    match line.split_once(" : ") {
        Some((name, _)) => name.to_string(),
        None => line.to_string(),
    }
}

fn cut_numbers(line: &str) -> String {
    line.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

#[test]
fn says_what_debians_tool_says() -> Result<()> {
    let Some(cluster) = cluster()? else { return Ok(()) };
    let node = &cluster.nodes[0];
    let mut differences = Vec::new();
    for line in TWICE {
        let theirs = call(node, DEBIANS, line)?;
        let ours = call(node, OURS, line)?;
        let same = timeless(&theirs.stdout) == timeless(&ours.stdout)
            && theirs.stderr == ours.stderr
            && theirs.code == ours.code;
        if !same {
            differences.push(format!("ctdb {line}\nDebian's: {theirs}\nours: {ours}"));
        }
    }
    for line in SHAPES {
        let theirs = shape(&call(node, DEBIANS, line)?.stdout);
        let ours = shape(&call(node, OURS, line)?.stdout);
        if theirs != ours {
            differences.push(format!("ctdb {line}\nDebian's: {theirs}\nours: {ours}"));
        }
    }
    ensure!(
        differences.is_empty(),
        "{} of {} invocations differ:\n{}",
        differences.len(),
        TWICE.len() + SHAPES.len(),
        differences.join("\n\n")
    );
    Ok(())
}

#[test]
fn administration_waits_for_its_effect() -> Result<()> {
    let Some(cluster) = cluster()? else { return Ok(()) };
    let node = &cluster.nodes[0];
    let steps = [
        ("-n 1 disable", "-n 1 nodestatus", 4),
        ("-n 1 disable", "-n 1 nodestatus", 4),
        ("-n 1 enable", "-n 1 nodestatus", 0),
        ("-n 1 stop", "-n 1 nodestatus", 32),
        ("-n 1 continue", "-n 1 nodestatus", 0),
        ("-n 1 ban 600", "-n 1 nodestatus", 8),
        ("-n 1 unban", "-n 1 nodestatus", 0),
        ("ipreallocate", "nodestatus all", 0),
    ];
    for (action, question, flags) in steps {
        let done = call(node, OURS, action)?;
        ensure!(done.code == Some(0) && done.stdout.is_empty(), "ctdb {action}: {done}");
        let seen = call(node, DEBIANS, question)?;
        ensure!(seen.code == Some(flags), "after ctdb {action}: {seen}");
    }
    let generation = |node: &Node| -> Result<String> {
        let status = call(node, DEBIANS, "status")?.stdout;
        let line = status.lines().find(|l| l.starts_with("Generation:"));
        Ok(line.unwrap_or_default().to_string())
    };
    let before = generation(node)?;
    let done = call(node, OURS, "recover")?;
    ensure!(done.code == Some(0), "ctdb recover: {done}");
    let after = generation(node)?;
    ensure!(before != after && !after.contains("INVALID"), "{before}, then {after}");
    Ok(())
}

#[test]
fn limits_end_a_run() -> Result<()> {
    let Some(mut cluster) = cluster()? else { return Ok(()) };
    // A daemon that does not run does not even answer the first request, which has no limit.
    let pid = cluster.nodes[0].ctdbd.as_ref().map(|daemon| daemon.pid()).unwrap_or_default();
    let stopped = std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status()?;
    ensure!(stopped.success());
    let started = Instant::now();
    let ended = call(&cluster.nodes[0], OURS, "-T 1 status")?;
    let _ = std::process::Command::new("kill").args(["-CONT", &pid.to_string()]).status();
    ensure!(ended.code == Some(1), "{ended}");
    ensure!(ended.stderr == "Maximum runtime exceeded - exiting\n", "{ended}");
    ensure!(started.elapsed() < Duration::from_secs(10));

    let shut = call(&cluster.nodes[0], OURS, "shutdown")?;
    ensure!(shut.code == Some(0) && shut.stderr.is_empty(), "{shut}");
    let mut daemon = cluster.nodes[0].ctdbd.take();
    if let Some(daemon) = &mut daemon {
        daemon.wait(LIMIT)?;
    }
    let nobody = call(&cluster.nodes[0], OURS, "status")?;
    let theirs = call(&cluster.nodes[0], DEBIANS, "status")?;
    ensure!(nobody.stderr == theirs.stderr && nobody.code == theirs.code, "{nobody}\n{theirs}");
    Ok(())
}
