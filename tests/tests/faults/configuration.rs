// SPDX-License-Identifier: GPL-3.0-or-later
//! Configurations with which a daemon must not start: it says why and ends.

use std::fs;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ctdb_tests::Cluster;

use super::{c_daemon_fails, cluster, prepared};

/// Node 0 ends by itself, not successfully, and its output has `text` in it.
fn refuses_to_start(cluster: &mut Cluster, text: &str) -> Result<()> {
    let node = &mut cluster.nodes[0];
    node.start()?;
    let mut ctdbd = node.ctdbd.take().context("just started")?;
    let status = ctdbd.wait(Duration::from_secs(20)).with_context(|| node.log())?;
    ensure!(!status.success(), "it ended successfully:\n{}", node.log());
    ensure!(node.log().contains(text), "no {text:?} in what it said:\n{}", node.log());
    Ok(())
}

#[test]
fn a_nodes_file_with_an_address_twice() -> Result<()> {
    if c_daemon_fails("it takes the list as it is")? {
        return Ok(());
    }
    let Some(mut cluster) = prepared(2)? else { return Ok(()) };
    fs::write(cluster.nodes[0].base.join("nodes"), "127.0.0.1\n127.0.0.2\n127.0.0.2\n")?;
    refuses_to_start(&mut cluster, "127.0.0.2")
}

#[test]
fn a_nodes_file_with_something_else_in_it() -> Result<()> {
    if c_daemon_fails("it refuses, but does not say which line")? {
        return Ok(());
    }
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    fs::write(cluster.nodes[0].base.join("nodes"), "127.0.0.1\nnot-an-address\n")?;
    refuses_to_start(&mut cluster, "not-an-address")
}

#[test]
fn no_nodes_file() -> Result<()> {
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    fs::remove_file(cluster.nodes[0].base.join("nodes"))?;
    refuses_to_start(&mut cluster, "nodes")
}

#[test]
fn an_address_that_is_not_ours() -> Result<()> {
    if c_daemon_fails("it refuses, but does not name the address")? {
        return Ok(());
    }
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    // listed, but on no interface of this machine
    let base = cluster.nodes[0].base.clone();
    fs::write(base.join("nodes"), "192.0.2.1\n")?;
    let conf = fs::read_to_string(base.join("ctdb.conf"))?;
    fs::write(base.join("ctdb.conf"), conf.replace("address = 127.0.0.1", "address = 192.0.2.1"))?;
    refuses_to_start(&mut cluster, "192.0.2.1")
}

#[test]
fn an_address_that_is_not_listed() -> Result<()> {
    if c_daemon_fails("it aborts and does not name the address")? {
        return Ok(());
    }
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    fs::write(cluster.nodes[0].base.join("nodes"), "127.0.0.7\n127.0.0.8\n")?;
    refuses_to_start(&mut cluster, "127.0.0.1")
}

#[test]
fn a_syntax_error_in_ctdb_conf() -> Result<()> {
    if c_daemon_fails("it takes the rest of the file as it is")? {
        return Ok(());
    }
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    let path = cluster.nodes[0].base.join("ctdb.conf");
    let conf = fs::read_to_string(&path)?;
    fs::write(&path, conf + "[legacy\n\tlmaster capability = true\n")?;
    refuses_to_start(&mut cluster, "ctdb.conf")
}

#[test]
fn a_bad_value_in_ctdb_conf() -> Result<()> {
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    let path = cluster.nodes[0].base.join("ctdb.conf");
    let conf = fs::read_to_string(&path)?;
    fs::write(&path, conf + "[legacy]\n\tlmaster capability = perhaps\n")?;
    refuses_to_start(&mut cluster, "lmaster capability")
}

#[test]
fn a_database_directory_that_is_not_there() -> Result<()> {
    let Some(mut cluster) = prepared(1)? else { return Ok(()) };
    fs::remove_dir(cluster.nodes[0].persistent())?;
    refuses_to_start(&mut cluster, "does not exist")
}

#[test]
fn a_second_daemon_with_the_same_directories() -> Result<()> {
    let Some(mut cluster) = cluster(1)? else { return Ok(()) };
    let first = cluster.nodes[0].ctdbd.take();
    refuses_to_start(&mut cluster, "pid")?;
    cluster.nodes[0].ctdbd = first;
    cluster.settled(&[0])?;
    super::serves(&cluster.nodes[0])
}
