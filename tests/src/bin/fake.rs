// SPDX-License-Identifier: GPL-3.0-or-later
//! A shell, or a command, with a scripted daemon to talk to.
//!
//! `fake STATE [FAULT ...] [-- COMMAND ...]`; without STATE, the names of all states. A fault is
//! one argument, such as `"GET_IFACES node=1 silent"`.

use std::process::Command;

use anyhow::{Context, Result};
use ctdb_tests::exit_with;
use ctdb_tests::fake::{scenario, FakeDaemon, Fault, SCENARIOS};

fn main() {
    exit_with(run());
}

fn run() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let command = match words.iter().position(|word| word == "--") {
        Some(at) => words.split_off(at).split_off(1),
        None => vec![std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into())],
    };
    let Some((name, faults)) = words.split_first() else {
        println!("{}", SCENARIOS.join("\n"));
        return Ok(());
    };
    let mut state = scenario(name)?;
    for fault in faults {
        state = state.fault(Fault::parse(fault)?);
    }
    let dir = tempfile::tempdir()?;
    let daemon = FakeDaemon::start(dir.path(), state)?;
    let (program, args) = command.split_first().context("no command behind --")?;
    let status = Command::new(program).args(args).envs(daemon.env()).status().context("command")?;
    for note in daemon.take_notes() {
        eprintln!("@ {note}");
    }
    std::process::exit(status.code().unwrap_or(1));
}
