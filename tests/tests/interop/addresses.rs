// SPDX-License-Identifier: GPL-3.0-or-later
//! Our tool moves, adds and deletes public addresses and changes the list of nodes, on clusters
//! whose daemons do what it says.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use ctdb_tests::{
    run, run_with_input, skip, wait_for, Cluster, Needs, Node, Options, Outcome, Side,
};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(60);

fn tool(node: &Node, args: &[&str]) -> Result<Outcome> {
    run(node.command(Side::our_tool()?).args(args), LIMIT)
}

fn says(node: &Node, args: &[&str], stdout: &str) -> Result<()> {
    let got = tool(node, args)?.ok()?;
    ensure!(got.stdout == stdout && got.stderr.is_empty(), "expected {stdout:?}: {got}");
    Ok(())
}

/// Who hosts an address.
fn host(node: &Node, address: &str) -> Result<Option<usize>> {
    let got = tool(node, &["-X", "ip", "all"])?.ok()?;
    let mut rows = got.stdout.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&address));
    Ok(row.and_then(|row| row.get(2)?.parse().ok()))
}

fn hosted(node: &Node, address: &str) -> Result<usize> {
    wait_for("the address is hosted", LIMIT, || host(node, address))
}

/// A C cluster of two nodes, which hand out two addresses.
fn c_cluster() -> Result<Cluster> {
    let mut options = Options::new(Side::debian(), 2);
    options.public_addresses = "10.77.0.1/24 lo\n10.77.0.2/24 lo\n".into();
    Cluster::start(options)
}

#[test]
fn addresses_are_moved_added_and_deleted() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = c_cluster()?;
    let node = &cluster.nodes[0];
    moves(node)?;
    adds_and_deletes(&cluster)?;
    tracks_connections(&cluster)?;
    a_node_that_hangs_is_a_failure(&cluster)
}

fn moves(node: &Node) -> Result<()> {
    let from = hosted(node, "10.77.0.1")?;
    for to in [1 - from, from] {
        says(node, &["moveip", "10.77.0.1", &to.to_string()], "")?;
        ensure!(host(node, "10.77.0.1")? == Some(to), "the address is not on node {to}");
    }
    Ok(())
}

fn adds_and_deletes(cluster: &Cluster) -> Result<()> {
    let [node, other] = [&cluster.nodes[0], &cluster.nodes[1]];
    says(node, &["addip", "10.77.0.7/24", "lo"], "")?;
    let got = tool(node, &["addip", "10.77.0.7/24", "lo"])?.ok()?;
    ensure!(got.stderr == "Node already knows about IP 10.77.0.7\n", "{got}");
    ensure!(hosted(node, "10.77.0.7")? == 0);
    says(node, &["delip", "10.77.0.7"], "")?;
    // a hosted address stays until a takeover run
    says(node, &["ipreallocate"], "")?;
    wait_for("the address is gone", LIMIT, || {
        Ok(host(node, "10.77.0.7")?.is_none().then_some(()))
    })?;
    let got = tool(other, &["delip", "10.77.0.7"])?.ok()?;
    ensure!(got.stderr == "Node does not know about IP address 10.77.0.7\n", "{got}");

    fs::write(other.base.join("public_addresses"), "10.77.0.1/24 lo\n")?;
    says(node, &["reloadips", "1"], "")?;
    ensure!(hosted(node, "10.77.0.2")? == 0, "node 1 no longer has this address");
    Ok(())
}

fn tracks_connections(cluster: &Cluster) -> Result<()> {
    let host = hosted(&cluster.nodes[0], "10.77.0.2")?;
    let node = &cluster.nodes[host];
    says(node, &["addtickle", "10.9.9.9:1234", "10.77.0.2:445"], "")?;
    let mut command = node.command(Side::our_tool()?);
    let list = b"# more\n10.9.9.8:1234\t10.77.0.2:445\n10.9.9.7:9 10.77.0.2:2049 tcp\n";
    run_with_input(command.arg("addtickle"), list, LIMIT)?.ok()?;
    let listed = |args: &[&str]| -> Result<Vec<String>> {
        let mut lines: Vec<String> =
            tool(node, args)?.ok()?.stdout.lines().skip(1).map(String::from).collect();
        lines.sort();
        Ok(lines)
    };
    let smb = ["|10.9.9.8|1234|10.77.0.2|445|", "|10.9.9.9|1234|10.77.0.2|445|"];
    ensure!(listed(&["-X", "gettickles", "10.77.0.2", "445"])? == smb);
    ensure!(listed(&["-X", "gettickles", "10.77.0.2"])?.len() == 3);
    says(node, &["deltickle", "10.9.9.9:1234", "10.77.0.2:445"], "")?;
    ensure!(listed(&["-X", "gettickles", "10.77.0.2", "445"])? == smb[..1]);
    Ok(())
}

/// It is stopped, and so it answers nobody.
fn a_node_that_hangs_is_a_failure(cluster: &Cluster) -> Result<()> {
    let [node, hung] = [&cluster.nodes[0], &cluster.nodes[1]];
    let pid = fs::read_to_string(hung.base.join("run/ctdbd.pid"))?;
    let pid = Pid::from_raw(pid.trim().parse().context("pid")?);
    kill(pid, Signal::SIGSTOP)?;
    for (args, code, said) in [
        (&["-t", "1", "-n", "1", "ping"][..], 110, "Control PING failed to node 1, ret=110\n"),
        (
            &["-t", "1", "reloadips"],
            110,
            "Timed out waiting to disable takeover runs\nFailed to disable takeover runs\n",
        ),
        (&["-t", "1", "ip", "all"], 1, "Control GET_PUBLIC_IPS failed to node 1, ret=110\n"),
    ] {
        let began = Instant::now();
        let got = tool(node, args)?;
        ensure!(got.code == Some(code) && got.stderr == said, "{got}");
        ensure!(began.elapsed() < Duration::from_secs(5), "{got}");
    }
    let got = tool(hung, &["-T", "1", "status"])?;
    ensure!(got.code == Some(1) && got.stderr == "Maximum runtime exceeded - exiting\n", "{got}");
    kill(pid, Signal::SIGCONT)?;
    Ok(())
}

#[test]
fn the_list_of_nodes_is_read_again_everywhere() -> Result<()> {
    if skip(Needs::Cluster) {
        return Ok(());
    }
    let cluster = super::cluster(2)?;
    let node = &cluster.nodes[0];
    let write = |lines: &str| -> Result<()> {
        for node in &cluster.nodes {
            fs::write(node.base.join("nodes"), lines)?;
        }
        Ok(())
    };
    let got = tool(node, &["reloadnodes"])?.ok()?;
    let unchanged = "No change in nodes file, skipping unnecessary reload\n";
    ensure!(got.stderr == unchanged && got.stdout.is_empty(), "{got}");
    write("127.0.0.1\n127.0.0.2\n127.0.0.9\n")?;
    says(node, &["reloadnodes"], "Node 2 is NEW\n")?;
    for node in &cluster.nodes {
        wait_for("the node is there", LIMIT, || {
            let got = tool(node, &["-X", "nodestatus", "all"])?;
            Ok(got.stdout.contains("\n|2|127.0.0.9|1|").then_some(()))
        })?;
    }
    write("127.0.0.1\n127.0.0.2\n#127.0.0.9\n")?;
    says(node, &["reloadnodes"], "Node 2 is DELETED\n")?;
    write("127.0.0.1\n#127.0.0.2\n#127.0.0.9\n")?;
    let got = tool(node, &["reloadnodes"])?;
    ensure!(got.code == Some(1) && got.stdout == "Node 1 is DELETED\n", "{got}");
    ensure!(got.stderr.contains("ERROR: Node 1 is still connected\n"), "{got}");
    Ok(())
}

/// There is no node map then: every node's view is stale.
#[test]
fn the_last_node_can_be_unbanned() -> Result<()> {
    if skip(Needs::Cluster) {
        return Ok(());
    }
    let mut cluster = super::cluster(1)?;
    let node = &cluster.nodes[0];
    // the ban is there, but nobody can say so
    let got = tool(node, &["-T", "2", "-t", "1", "ban", "300"])?;
    ensure!(got.stderr.contains("Warning: All nodes are banned.\n"), "{got}");
    tool(node, &["-t", "1", "unban"])?.ok()?;
    cluster.settled(&[0])?;
    Ok(())
}
