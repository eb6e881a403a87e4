// SPDX-License-Identifier: GPL-3.0-or-later
//! Whatever a daemon answers, and at whichever control, our tool ends in time and in order: it
//! neither panics nor hangs. `make test` takes a part of what there is to try; with
//! `CTDB_NONSENSE=all` in the environment all of it is tried, which takes minutes.

use std::collections::VecDeque;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use ctdb_tests::fake::{scenario, Action, FakeDaemon, Fault};
use ctdb_tests::{run_with_input, Outcome, Side};

/// Most runs wait for something.
const WORKERS: usize = 12;
/// Of so many runs one is made.
const SHARE: usize = 10;
/// Controls of a command at which something goes wrong: the first ones.
const MAX_CONTROLS: u32 = 14;
/// Changed answers for each control.
const SEEDS: u64 = 3;
/// `-T 3`, and what starting and ending take on a busy machine.
const LIMIT: Duration = Duration::from_secs(8);

/// A scenario and a command that uses as many controls as it can.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "flags",
        &[
            "status",
            "-X status",
            "nodestatus all",
            "-n 10 -X nodestatus",
            "uptime",
            "ping",
            "runstate",
            "leader",
            "getpid",
            "getcapabilities",
            "getreclock",
            "process-exists 14728",
            "process-exists 14728 0xabcd",
            "getdebug",
            "setdebug INFO",
            "dumpmemory",
            "rddumpmemory",
            "disable",
            "-n 2 enable",
            "-n 5 continue",
            "-n 4 unban",
            "stop",
            "ban 10",
            "recover",
            "ipreallocate",
            "setlmasterrole on",
            "shutdown",
            "reloadips all",
            "reloadnodes",
        ],
    ),
    (
        "addresses",
        &[
            "ip",
            "ip all",
            "-Xv ip all",
            "ipinfo fd00::2",
            "ifaces",
            "-X ifaces",
            "setifacelink eth1 up",
            "gettickles 192.168.100.2",
            "-X gettickles fd00::2",
            "addtickle 10.5.5.5:1 192.168.100.2:445",
            "deltickle",
            "gratarp 192.168.100.2 eth1",
            "moveip 192.168.100.2 1",
            "addip 10.7.7.7/24 eth1",
            "delip 192.168.100.2",
        ],
    ),
    (
        "counters",
        &[
            "statistics",
            "-X statistics",
            "stats",
            "-X stats 2",
            "statisticsreset",
            "listvars",
            "getvar KeepaliveInterval",
            "setvar KeepaliveInterval 6",
        ],
    ),
    (
        "databases",
        &[
            "getdbmap",
            "-X getdbmap",
            "getdbstatus both.tdb",
            "dbstatistics volatile.tdb",
            "getdbseqnum persistent.tdb",
            "setdbreadonly volatile.tdb",
            "detach volatile.tdb",
        ],
    ),
    (
        "records",
        &[
            "catdb volatile.tdb",
            "cattdb persistent.tdb",
            "attach new.tdb sticky",
            "readkey volatile.tdb elsewhere",
            "writekey volatile.tdb k v",
            "deletekey volatile.tdb plain",
            "pfetch persistent.tdb key1",
            "pstore persistent.tdb k v",
            "pdelete persistent.tdb key1",
            "ptrans persistent.tdb",
            "backupdb volatile.tdb x.bak",
            "wipedb volatile.tdb",
            "pushrecord volatile.tdb k v",
        ],
    ),
    ("nodes-added", &["reloadnodes", "listnodes"]),
];

fn run(program: &Path, state: &str, line: &str, fault: Option<&Fault>) -> Result<(Outcome, u32)> {
    let dir = tempfile::Builder::new().prefix("ctdb-nonsense-").tempdir()?;
    let mut state = scenario(state)?;
    state.faults.extend(fault.cloned());
    let daemon = FakeDaemon::start(dir.path(), state)?;
    let mut command = Command::new(program);
    command.args(["-t", "1", "-T", "3"]).args(line.split(' ')).current_dir(dir.path());
    command.process_group(0).envs(daemon.env()).env_remove("CTDB_TIMEOUT");
    let outcome = run_with_input(&mut command, b"\"a\" \"b\"\n", LIMIT)?;
    Ok((outcome, daemon.controls()))
}

/// What a command did wrong under a fault.
fn complaint(program: &Path, state: &str, line: &str, fault: &Fault) -> Result<Option<String>> {
    let began = Instant::now();
    let (outcome, _) = run(program, state, line, Some(fault))?;
    let crashed =
        outcome.code.is_none_or(|code| code == 101) || outcome.stderr.contains("panicked");
    let wrong = crashed || outcome.timed_out;
    let took = began.elapsed().as_secs_f64();
    Ok(wrong.then(|| format!("{line} ({state}, {fault:?}, {took:.1} s)\n{outcome}")))
}

fn faults(controls: u32) -> Vec<Fault> {
    let mut faults = Vec::new();
    for after in 0..controls.min(MAX_CONTROLS) {
        let mut actions = vec![
            Action::Close,
            Action::Status(-1, String::new()),
            Action::Status(i32::MIN, "no \u{fffd} luck".into()),
            Action::Garbage,
            Action::Truncated,
            Action::Huge,
            Action::Tiny,
            Action::Overlong,
            Action::Cut,
            Action::Empty,
            Action::Counted,
        ];
        let seeds = (0..SEEDS).map(|seed| Action::Flipped(u64::from(after) * SEEDS + seed));
        actions.extend(seeds);
        let fault = |action| Fault { control: None, node: None, after, action };
        faults.extend(actions.into_iter().map(fault));
    }
    faults
}

#[test]
fn no_answer_makes_it_panic_or_hang() -> Result<()> {
    let program = Side::our_tool()?;
    let share = if std::env::var_os("CTDB_NONSENSE").is_some() { 1 } else { SHARE };
    let all =
        COMMANDS.iter().flat_map(|(state, lines)| lines.iter().map(move |line| (*state, *line)));
    let queue: Mutex<VecDeque<(&str, &str)>> = Mutex::new(all.collect());
    let complaints = Mutex::new(Vec::new());
    let runs = Mutex::new(0);
    let work = || -> Result<()> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((state, line)) = next else { return Ok(()) };
            let (_, controls) = run(&program, state, line, None)?;
            // another part of each command's
            let first = line.len() % share;
            for fault in faults(controls).into_iter().skip(first).step_by(share) {
                let found = complaint(&program, state, line, &fault)?;
                complaints.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                *runs.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Ok(())))
    })?;
    let complaints = complaints.into_inner().unwrap_or_else(PoisonError::into_inner);
    let runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(runs > 200, "only {runs} runs");
    ensure!(complaints.is_empty(), "{} of {runs}\n{}", complaints.len(), complaints.join("\n"));
    Ok(())
}
