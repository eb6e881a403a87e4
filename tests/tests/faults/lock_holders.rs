// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients that end while they hold the chain lock of a record, and a cluster lock in other hands.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use ctdb_tests::{run, run_ok, skip, Cluster, Needs, Options, Side};
use ctdbcore::{Client, Database, DatabaseKind};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use super::{c_daemon_fails, logs, prepared, serves};

const DB: &str = "held.tdb";
const HOLD_CHAIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/hold_chain.c");
const SOON: Duration = Duration::from_secs(20);

/// Starts the C client that takes the chain lock of `key`, and waits until it has it.
fn hold(cluster: &Cluster, key: &str, mode: &str, then: &str) -> Result<Child> {
    let program = cluster.path().join("hold_chain");
    if !program.exists() {
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-o"]).arg(&program).args([HOLD_CHAIN, "-ltdb"]);
        run_ok(&mut cc, Duration::from_secs(60))?;
    }
    let file = cluster.nodes[0].volatile().join(format!("{DB}.0"));
    let mut child =
        Command::new(program).arg(file).args([key, mode, then]).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("output")?).read_line(&mut line)?;
    ensure!(line.trim() == "LOCKED", "hold_chain: {line:?}");
    Ok(child)
}

fn with_record(tdb_mutexes: bool) -> Result<Option<Cluster>> {
    if skip(Needs::DebianCtdb) {
        return Ok(None);
    }
    let mut options = Options::new(Side::from_env()?, 1);
    options.extra_conf = format!("\ttdb mutexes = {tdb_mutexes}\n");
    let cluster = Cluster::start(options)?;
    cluster.nodes[0].debian_ctdb(&["attach", DB])?.ok()?;
    cluster.nodes[0].debian_ctdb(&["writekey", DB, "key", "value"])?.ok()?;
    Ok(Some(cluster))
}

/// The record can be had and a recovery completes, each promptly.
fn free_again(cluster: &mut Cluster) -> Result<()> {
    let node = &cluster.nodes[0];
    for args in [&["readkey", DB, "key"][..], &["recover"], &["readkey", DB, "key"]] {
        run_ok(node.command("/usr/bin/ctdb").args(args), SOON)?;
    }
    serves(node)?;
    cluster.settled(&[0])?;
    Ok(())
}

fn killed_holder(tdb_mutexes: bool, mode: &str) -> Result<()> {
    let Some(mut cluster) = with_record(tdb_mutexes)? else { return Ok(()) };
    let mut holder = hold(&cluster, "key", mode, "wait")?;
    // while it lives nobody gets past it, and nothing else is held up
    let node = &cluster.nodes[0];
    let read = run(
        node.command("/usr/bin/ctdb").args(["readkey", DB, "key"]),
        Duration::from_millis(700),
    )?;
    ensure!(read.timed_out, "a record was read under the lock of another client: {read}");
    serves(node)?;
    holder.kill()?;
    ensure!(holder.wait()?.signal() == Some(9));
    free_again(&mut cluster)
}

/// Our client library under the lock of a C client: a deadline ends the wait, nothing waits that must not.
fn deadline_ends_the_wait(tdb_mutexes: bool) -> Result<()> {
    let Some(cluster) = with_record(tdb_mutexes)? else { return Ok(()) };
    let mut client = Client::connect(cluster.nodes[0].socket(), SOON)?;
    let mut db = Database::attach(&mut client, DB, DatabaseKind::Volatile, SOON)?;
    let mode = if tdb_mutexes { "mutex" } else { "fcntl" };
    let mut holder = hold(&cluster, "key", mode, "wait")?;
    ensure!(db.try_local_lock(b"key")?.is_none(), "locked under the lock of another");
    let began = Instant::now();
    let late = db.fetch_lock(&mut client, b"key", Duration::from_millis(150)).err();
    let took = began.elapsed();
    ensure!(late.as_ref().is_some_and(|e| e.is_timeout()), "{late:?}");
    ensure!(took >= Duration::from_millis(150) && took < Duration::from_secs(5), "{took:?}");
    holder.kill()?;
    holder.wait()?;
    ensure!(db.fetch_lock(&mut client, b"key", SOON)?.value()? == b"value");
    Ok(())
}

#[test]
fn a_deadline_ends_the_wait_for_a_mutex() -> Result<()> {
    deadline_ends_the_wait(true)
}

#[test]
fn a_deadline_ends_the_wait_for_a_record_lock() -> Result<()> {
    deadline_ends_the_wait(false)
}

#[test]
fn a_client_killed_with_a_mutex_held() -> Result<()> {
    killed_holder(true, "mutex")
}

#[test]
fn a_client_killed_with_a_file_lock_held() -> Result<()> {
    killed_holder(false, "fcntl")
}

#[test]
fn a_client_killed_while_the_freeze_waits_for_it() -> Result<()> {
    let Some(mut cluster) = with_record(true)? else { return Ok(()) };
    let mut holder = hold(&cluster, "key", "mutex", "wait")?;
    let mut recover = cluster.nodes[0].command("/usr/bin/ctdb").arg("recover").spawn()?;
    let held_up = ctdb_tests::wait_until("recovery ends", Duration::from_millis(700), || {
        matches!(recover.try_wait(), Ok(Some(_)))
    });
    ensure!(held_up.is_err(), "a recovery went past the chain lock of a living client");
    holder.kill()?;
    holder.wait()?;
    let ended = ctdb_tests::wait_for("recovery ends", SOON, || Ok(recover.try_wait()?));
    let _ = recover.kill();
    ensure!(ended?.success());
    free_again(&mut cluster)
}

#[test]
fn a_client_that_unmaps_the_file_with_a_mutex_held() -> Result<()> {
    if c_daemon_fails("it hangs in the freeze for ever: the kernel cannot mark the mutex")? {
        return Ok(());
    }
    let Some(mut cluster) = with_record(true)? else { return Ok(()) };
    let mut holder = hold(&cluster, "key", "mutex", "unmap")?;
    ensure!(holder.wait()?.success());
    // a C client waits in pthread_mutex_lock and cannot know; the daemon notices when it wants the
    // chain itself, as in any recovery
    let node = &cluster.nodes[0];
    let mut waiting = node.command("/usr/bin/ctdb").args(["readkey", DB, "key"]).spawn()?;
    run_ok(node.command("/usr/bin/ctdb").arg("recover"), SOON)?;
    let ended =
        ctdb_tests::wait_for("the waiting client goes on", SOON, || Ok(waiting.try_wait()?));
    let _ = waiting.kill();
    ensure!(ended?.success());
    free_again(&mut cluster)
}

#[test]
fn a_cluster_lock_held_by_someone_else() -> Result<()> {
    let Some(mut cluster) = prepared(2)? else { return Ok(()) };
    let lock = cluster.path().join("lock/cluster.lock");
    let mut holder = Command::new("/usr/bin/python3")
        .arg("-c")
        .arg(
            "import fcntl, os, sys\n\
             fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\n\
             fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)\n\
             print('LOCKED', flush=True)\n\
             sys.stdin.read()\n",
        )
        .arg(&lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().context("output")?).read_line(&mut line)?;
    for node in &mut cluster.nodes {
        node.start()?;
    }
    for node in &cluster.nodes {
        logs(node, "Unable to take cluster lock - contention", SOON)?;
    }
    for node in &cluster.nodes {
        if let Some(view) = node.view() {
            ensure!(view.recovery_mode != "NORMAL", "a cluster without its lock: {view:?}");
        }
    }
    drop(holder.stdin.take());
    holder.wait()?;
    cluster.settled(&[0, 1])?;
    serves(&cluster.nodes[1])
}

#[test]
fn a_leader_that_loses_its_lock_helper() -> Result<()> {
    let Some(mut cluster) = super::cluster(2)? else { return Ok(()) };
    let before = cluster.settled(&[0, 1])?;
    let helper = cluster
        .netns()
        .processes()
        .into_iter()
        .find(|pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm.replace('-', "_").starts_with("ctdb_mutex_fcnt")
        })
        .context("no lock helper runs")?;
    kill(Pid::from_raw(helper), Signal::SIGKILL)?;
    ctdb_tests::wait_until("a new generation", SOON, || {
        cluster.nodes[0].view().is_some_and(|v| v.generation != before.generation)
    })?;
    cluster.settled(&[0, 1])?;
    for node in &cluster.nodes {
        serves(node)?;
    }
    Ok(())
}
